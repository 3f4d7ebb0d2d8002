"""Percentiles of few values.

`numpy.percentile`, `numpy.median` of floats and `numpy.unique` import `numpy.ma`, which nothing here needs: 0.02 s of
CPU time per job.
"""

import numpy as np


def percentile(values: np.ndarray, percent: int) -> float:
    """As `numpy.percentile` of integers or floats (n,), n at least 1, without NaN, to the last digit."""
    place = (values.size - 1) * (percent / 100)
    below = int(place)
    above = min(below + 1, values.size - 1)
    values = np.partition(values, (below, above))
    low, high, part = values[below], values[above], place - below
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))
