"""Describe a trace without a model: area under the curve, onset, maximum, slope.

Each function takes the times (n,) in hours, ascending, and the values (n,) of one trace, without gaps left as NaN.
"""

from __future__ import annotations

import numpy as np

from celltraces.array_types import Float

UNITS = {"auc": "counts h", "onset": "h", "maximum": "counts", "time_of_maximum": "h", "maximal_slope": "counts/h"}
SLOPE_POINTS = 5  # a slope is that of the line through so many points
BASELINE_POINTS = 3  # at least so many points before an onset
CLEAR = 5.0  # standard deviations of the noise by which a trace has to rise
PARTS = 4  # onsets looked for between two time points


def describe_trace(times: Float, values: Float) -> dict[str, float]:
    """All numbers of one trace, NaN where there are too few points."""
    there = np.isfinite(values)
    t, y = times[there], values[there]
    if len(y) < 2:
        return dict.fromkeys(UNITS, np.nan)
    top = int(np.argmax(y))
    return {
        "auc": float(np.trapezoid(y, t)),
        "onset": onset(t, y),
        "maximum": float(y[top]),
        "time_of_maximum": float(t[top]),
        "maximal_slope": maximal_slope(t, y),
    }


def maximal_slope(t: Float, y: Float) -> float:
    """Steepest rise, per hour: the greatest slope of the straight lines through SLOPE_POINTS points in a row."""
    if len(y) < SLOPE_POINTS:
        return np.nan
    windows = len(t) - SLOPE_POINTS + 1
    x, z = (np.stack([array[first : first + windows] for first in range(SLOPE_POINTS)]) for array in (t, y))
    x = x - x.mean(axis=0)
    return float(((x * z).sum(axis=0) / (x * x).sum(axis=0)).max())


def onset(t: Float, y: Float) -> float:
    """When the trace leaves its baseline: the corner of the flat line that turns into a rising one.

    Both are fitted together (least squares) to the trace up to half of its rise, single outliers removed. NaN where
    the rise does not stand out of the noise, or begins before there is a baseline to leave.
    """
    if len(y) < BASELINE_POINTS + 2:
        return np.nan
    smooth = y.copy()
    before, at, after = y[:-2], y[1:-1], y[2:]
    smooth[1:-1] = np.maximum(np.minimum(before, at), np.minimum(np.maximum(before, at), after))  # medians of 3
    smooth[0], smooth[-1] = smooth[1], smooth[-2]
    top = int(np.argmax(smooth))
    lowest = smooth[: top + 1].min()
    half = int(np.argmax(smooth >= (lowest + smooth[top]) / 2))
    # Noise from differences of second order, which know nothing of a level or a slope.
    bends = np.sort(np.abs(before - 2 * at + after))
    noise = 1.4826 * bends[len(bends) // 2] / np.sqrt(6)
    x, z = t[: half + 1], smooth[: half + 1]
    if half < BASELINE_POINTS + 1 or smooth[top] - np.sort(z[:BASELINE_POINTS])[BASELINE_POINTS // 2] <= CLEAR * noise:
        return np.nan
    corners = (x[:-1, None] + np.diff(x)[:, None] * (np.arange(PARTS) / PARTS)).ravel()
    rising = np.maximum(x - corners[:, None], 0.0)
    rising -= rising.mean(axis=1, keepdims=True)
    squared, along = np.einsum("ct,ct->c", rising, rising), rising @ (z - z.mean())
    explained = np.where(along > 0, along, 0.0) ** 2 / np.where(squared > 0, squared, np.inf)
    corner = corners[int(np.argmax(explained))]
    return float(corner) if corner >= x[BASELINE_POINTS - 1] else np.nan
