"""Estimate the background of fluorescence frames."""
