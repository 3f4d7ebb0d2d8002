"""Sum up the traces of many cells, for the report and for plots: spread and mean in each frame, distributions."""

import numpy as np

FEWEST = 3  # cells in a frame for a mean and a spread
PERCENTILES = (10, 50, 90)
SPREAD = len(PERCENTILES) + 1  # numbers of a sample in a frame: these, and the mean
BOX = (10, 25, 50, 75, 90)
WORDS = ("10 %", "median", "90 %", "mean")  # what the numbers of `spread_by_frame` are


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN: six digits, or None."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


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


def box(values: np.ndarray) -> list[float | None]:
    """The percentiles BOX of the finite values, and how many these are."""
    values = values[np.isfinite(values)]
    if not len(values):
        return [*[None] * len(BOX), 0]
    return [*map(number, np.percentile(values, BOX)), len(values)]
