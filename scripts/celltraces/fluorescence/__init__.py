"""Estimate the background of fluorescence frames, and how evenly the field is lit."""
