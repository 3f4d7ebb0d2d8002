"""Find channels whose background is darker at the rim of the field than in its middle, in all FOVs alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from celltraces.frames import coverage
from celltraces.storage.frames import Frames

FRAMES = 24  # of a channel, over all FOVs, that are looked at
LEAST_SIDE = 256  # px: the background of smaller frames is known at too few places to tell light from cells
GRID = 48  # about as many rows and columns of a background, which is smooth
DARK, BRIGHT = 0.2, 95.0  # percentiles: what the rim is, and the middle


def rim_darkness(backgrounds: Sequence[Frames], offset: float = 0.0) -> float | None:
    """Share by which the background of a channel is darker at the rim than in the middle; None: there is no light.

    backgrounds: those of all FOVs, (T, H, W) float32 each; FOVs of another size than the first are passed over.
    offset: the camera's, in counts. Only what all frames have in common counts, and of that what is alike on opposite
    sides: light that is brighter on one side alone is not the optics'. Pixels that were not imaged do not count.
    """
    common = _common(backgrounds, offset)
    if common is None:
        return None
    even = (common + common[::-1, ::-1]) / 2
    middle = _middle(even)
    return float(1 - np.nanpercentile(even, DARK) / middle) if middle > 0 else None


def darkening(backgrounds: Sequence[Frames], offset: float = 0.0) -> float | None:
    """Share by which the background of a channel is darker in its darkest places than in its brightest ones, in all
    frames; arguments as above. None: there is no light."""
    common = _common(backgrounds, offset)
    if common is None or not np.isfinite(common).any():
        return None
    dark, bright = np.nanpercentile(common, (DARK, 100 - DARK))
    return float(1 - dark / bright) if bright > 0 else None


def _common(backgrounds: Sequence[Frames], offset: float) -> np.ndarray | None:
    """What the backgrounds of up to FRAMES frames have in common, on about GRID rows and columns, by their middles; NaN
    where any has no data. None where there is no light, or frames are too small."""
    shape = backgrounds[0].shape[1:]
    alike = [frames for frames in backgrounds if frames.shape[1:] == shape]
    places = [
        (at, frame) for at, frames in enumerate(alike) for frame in range(frames.shape[0]) if frames.present(frame)
    ]
    if min(shape) < LEAST_SIDE:
        return None
    step = max(1, min(shape) // GRID)
    grid = (slice(step // 2, None, step),) * 2
    patterns = []
    for at, frame in places[:: -(-len(places) // FRAMES) or 1]:
        surface = alike[at].read(frame)[grid] - offset
        uncovered = coverage.mask_of_boxes(coverage.of_frame(alike[at].attributes, frame), shape)
        surface[uncovered[grid]] = np.nan
        middle = _middle(surface)
        if middle > 0:
            patterns.append(surface / middle)
    return np.median(patterns, axis=0) if patterns else None


def _middle(values: np.ndarray) -> float:
    """What is bright in the third of the rows and columns in the middle; NaN where nothing is known there."""
    inner = values[tuple(slice(side // 3, side - side // 3) for side in values.shape)]
    known = inner[np.isfinite(inner)]
    return float(np.percentile(known, BRIGHT)) if known.size else math.nan
