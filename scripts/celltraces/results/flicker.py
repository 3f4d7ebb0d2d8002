"""Find frames in which nearly all cells are brighter or darker than in those around.

A lamp that flickered or failed, a shutter that opened late, a focus that was lost in one channel, or a frame of another
place. Cells light up, bleach or divide one by one; what they all do at once they do not take back in the next frame,
and they do not all go out from one frame to the next.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from celltraces.results.light_by_cell import ByFrame

FEWEST = 5  # cells that shine: of fewer nobody knows whether it is all of them
SHINING = 5.0  # times the usual difference of a cell between two frames
NEARLY_ALL = 0.8  # of these cells
DARK = 0.2  # of the light before: nearly all cells went out


def flickers(by_frame: ByFrame, factor: float) -> dict[int, float]:
    """Return the frames in which nearly all cells differ from both neighbours by `factor`, or went out: by how much.

    Neighbours are the nearest frames that the channel has. Of cells that went out and are not seen to shine again there
    is the first frame alone. Of the first and the last frame nobody can tell a flicker, and of the first two not
    whether cells went out.
    """
    return {**dict(_single(by_frame, factor)), **dict(_dark(by_frame))}


def _single(by_frame: ByFrame, factor: float) -> Iterator[tuple[int, float]]:
    """Frames unlike both the one before and the one after; the value is against the one that they differ less from."""
    frames = sorted(by_frame)
    for previous, frame, following in zip(frames, frames[1:], frames[2:], strict=False):
        now, before, after = _common(by_frame, (frame, previous, following))
        low, high, shining = _shining(before, after)
        if np.count_nonzero(shining) < FEWEST:
            continue
        now, low, high = now[shining], low[shining], high[shining]
        for differing, ratios in ((now * factor <= low, now / low), (now >= factor * high, now / high)):
            if np.count_nonzero(differing) >= NEARLY_ALL * len(now):
                yield frame, float(np.median(ratios))


def _dark(by_frame: ByFrame) -> Iterator[tuple[int, float]]:
    """Frames in which nearly all cells have at most DARK of the light that they had before they went out."""
    frames = sorted(by_frame)
    run: list[tuple[int, float]] = []
    lit = 0  # the frame before it, in the order of these frames, is the last in which cells shone
    for at in range(2, len(frames)):
        lit = lit if run else at
        now, before, earlier = _common(by_frame, (frames[at], frames[lit - 1], frames[lit - 2]))
        shining = _shining(before, earlier)[2]
        ratios = now[shining] / before[shining]
        if len(ratios) < FEWEST:  # too few are left to tell whether they shine
            continue
        if np.count_nonzero(ratios <= DARK) >= NEARLY_ALL * len(ratios):
            run.append((frames[at], float(np.median(ratios))))
        else:
            yield from run
            run = []
    yield from run[:1]


def _common(by_frame: ByFrame, frames: tuple[int, int, int]) -> list[np.ndarray]:
    """Intensities (n,) in three frames of the cells that all of them have."""
    now, *others = (by_frame.get(frame, {}) for frame in frames)
    cells = [cell for cell in now if all(cell in other for other in others)]
    return [np.array([of[cell] for cell in cells]) for of in (now, *others)]


def _shining(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and higher of a cell's intensities in two frames (n,), and which cells shine beyond all doubt (n,) bool."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return low, high, low > SHINING * np.median(high - low) if len(low) else np.zeros(0, bool)
