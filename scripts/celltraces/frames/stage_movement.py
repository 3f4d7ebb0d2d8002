"""Tell from the displacements of a movie's frames how the stage moved: where it jumped, beside how it drifts.

The displacements are measured while frames are copied (see displacement) and are an attribute of the array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

SIDE = 256  # px, of a binned picture at most
NEIGHBOURS = 6  # nearest frames, half of them before and half after, whose displacement is the drift
MOSTLY_ALIKE = 0.5  # correlation of neighbouring frames that show little but noise is lower
ATTRIBUTE = "stage_movement"  # of the array of a channel
NAMES = ("y", "x", "alike", "unmoved", "since")


def bin_width(shape: Sequence[int]) -> int:
    """Pixels of a frame (H, W) that are one of the binned picture, along each axis."""
    return max(1, -(-max(shape) // SIDE))


def displacements(movement: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """(T, 2) float64: y, x of each frame in pixels against the last frame that has one (or the first); NaN: unknown."""
    return np.array([movement["y"], movement["x"]], float).T.reshape(-1, 2)


def best_measured(movements: Sequence[Mapping[str, Sequence[Any]]]) -> Mapping[str, Sequence[Any]]:
    """Of several channels' movements of the same frames that with most frames measured, of these the one most alike."""
    return max(movements, key=lambda one: (len(one["y"]) - one["y"].count(None), sum(filter(None, one["alike"]))))


def other_places(movement: Mapping[str, Sequence[Any]]) -> list[int]:
    """Frames that are not alike to the last one before them that was measured, where the others of the movie are.

    Of phase contrast: a jump too far to be measured in the last frame, or one that is taken back in the next.
    """
    measured = [alike for y, alike in zip(movement["y"], movement["alike"], strict=True) if y is not None]
    if not measured or median(measured) < MOSTLY_ALIKE:
        return []
    pairs = zip(movement["y"], movement["unmoved"], strict=True)
    return [frame for frame, (y, unmoved) in enumerate(pairs) if y is None and unmoved is not None]


def jumps(
    movement: Mapping[str, Sequence[Any]], limit: float, *, phase_contrast: bool = False
) -> list[tuple[int, float | None]]:
    """Frames before which the stage moved by more than `limit` pixels other than it drifts, and by how many.

    Drift is the median displacement of the NEIGHBOURS nearest measured frames; of a single one nobody knows whether it
    is drift. None: the frame has nothing in common with those before, and those after it are like it: a jump too large
    to be measured, or another place. At the start of a movie that tells so in `phase_contrast` alone: of fluorescence
    the first frames may be dark.
    """
    moved = displacements(movement)
    measured = np.flatnonzero(np.isfinite(moved[:, 0]))
    found: list[tuple[int, float | None]] = []
    for at, frame in enumerate(measured.tolist()):
        since = movement["since"][frame]
        if not np.isfinite(moved[since, 0]) and movement["unmoved"][since] is not None and (at or phase_contrast):
            found.append((since, None))
        begin = max(min(at - NEIGHBOURS // 2, len(measured) - 1 - NEIGHBOURS), 0)
        around = np.delete(measured, at)[begin : begin + NEIGHBOURS]
        drifts = [np.median(moved[around], axis=0)] if len(around) > 1 else [np.zeros(2), *moved[around]]
        size = min(float(np.hypot(*(moved[frame] - drift))) for drift in drifts)
        if size > limit:
            found.append((frame, size))
    return found
