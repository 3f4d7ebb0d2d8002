"""Leave out small objects that are in one frame only: debris that floats by, or that a network sees by chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from celltraces.labels import left_out
from celltraces.labels.regions import typical_diameter

SMALL = 0.4  # share of the usual area; larger ones always stay
STAYS = 0.3  # intersection over union with an object of a neighbouring frame, from which an object has stayed
MOST = 0.7  # share of a frame's larger objects that stay, below which nothing can be said

Labelled = tuple[np.ndarray, np.ndarray | None]  # labels, and what was left out, as `methods.label_frame` gives them


def without_floating(frames: Iterable[Labelled | None]) -> Iterator[Labelled | None]:
    """The frames of a movie, in order, without what floats; it is left out as too small. None: a missing frame."""
    before: Labelled | None = None
    now: Labelled | None = None
    at = -1
    for at, after in enumerate(frames):
        if at:
            yield _settled(before, now, after)
            before = now
        now = after
    if at >= 0:
        yield _settled(before, now, None)


def _settled(before: Labelled | None, now: Labelled | None, after: Labelled | None) -> Labelled | None:
    if now is None:
        return None
    labels, rejected = now
    floating = find_floating(labels, [frame[0] for frame in (before, after) if frame is not None])
    if rejected is None or not len(floating):
        return now
    gone = np.isin(labels, floating)
    numbers = np.setdiff1d(np.arange(int(labels.max()) + 1), floating)
    renumbered = np.zeros(int(labels.max()) + 1, labels.dtype)
    renumbered[numbers] = np.arange(len(numbers))
    return renumbered[labels], np.where(gone, np.uint8(left_out.TOO_SMALL), rejected)


def find_floating(labels: np.ndarray, neighbours: Sequence[np.ndarray]) -> np.ndarray:
    """Labels of the small objects of a frame (H, W) that touch no object of the frames before and after.

    Empty where most of the larger objects are not where one was in these frames: then cells move too far to tell. Empty
    also where there are no larger objects.
    """
    areas = np.bincount(labels.ravel())
    found = np.flatnonzero(areas[1:]) + 1
    if not neighbours or not len(found):
        return found[:0]
    touched, overlap = np.zeros(len(areas), bool), np.zeros(len(areas))
    for other in neighbours:
        both = (labels > 0) & (other > 0)
        pairs, pixels = np.unique(np.stack([labels[both], other[both]]), axis=1, return_counts=True)
        one, two = pairs
        touched[one] = True
        union = areas[one] + np.bincount(other.ravel())[two] - pixels
        np.maximum.at(overlap, one, pixels / union)
    usual = np.pi / 4 * typical_diameter(labels, *neighbours) ** 2  # as large with much debris as with none
    small = areas[found] < SMALL * usual
    large = found[~small]
    if not len(large) or np.mean(overlap[large] >= STAYS) < MOST:
        return found[:0]
    return found[small & ~touched[found]]
