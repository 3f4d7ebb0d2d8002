"""Sum up the traces of many cells, for the report and for plots: spread and mean in each frame, distributions."""

import numpy as np

FEWEST = 3  # cells in a frame for a mean and a spread
PERCENTILES = (10, 50, 90)
SPREAD = len(PERCENTILES) + 1  # numbers of a sample in a frame: these, and the mean
BOX = (10, 25, 50, 75, 90)


def spread_by_frame(values: np.ndarray) -> np.ndarray:
    """PERCENTILES and mean of (frames, cells), as (SPREAD, frames); NaN where there are fewer than FEWEST cells."""
    found = np.full((SPREAD, len(values)), np.nan)
    for frame, of_frame in enumerate(values):
        there = of_frame[np.isfinite(of_frame)]
        if len(there) >= FEWEST:
            found[:, frame] = *np.percentile(there, PERCENTILES), there.mean(dtype=np.float64)
    return found


def means_over_time(values: np.ndarray) -> np.ndarray:
    """Each cell's mean over time, (frames, cells) -> (cells,); NaN where it has no value."""
    counts = np.isfinite(values).sum(axis=0)
    return np.where(counts > 0, np.nansum(values, axis=0, dtype=np.float64) / np.maximum(counts, 1), np.nan)


def box(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The percentiles BOX of the finite values, NaN where there are none, and how many these are."""
    values = values[np.isfinite(values)]
    return (np.percentile(values, BOX) if len(values) else np.full(len(BOX), np.nan)), len(values)
