"""Fit kinetic models to traces, with confidence intervals, and describe traces without a model."""
