"""Cut regions that hold both daughters of a division in two, by the frames after, in which they lie apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from celltraces.labels.regions import FrameTracks
from celltraces.tracking.region_pixels import divide


def cut(
    mappings: Sequence[FrameTracks],
    frames: Sequence[int],
    apart: int,
    daughters: tuple[int, int],
    read: Callable[[int], np.ndarray],
) -> dict[int, FrameTracks]:
    """The mappings of some frames, by frame, with the first daughter's region cut in two, backwards in time.

    frames: ascending, those in which her region holds her sister as well; apart: a later one in which both have one.
    daughters: their numbers. read: gives the label image (H, W) of a frame.
    """
    image = read(apart)
    parts = [_pixels(image, mappings[apart], daughter) for daughter in daughters]
    changed = {}
    for frame in reversed(frames):
        image, mapping = read(frame), mappings[frame]
        parts = divide(_pixels(image, mapping, daughters[0]), parts, image.shape)
        others = [part for part in mapping.parts if part[1] != daughters[0]]
        whole = mapping.ids != daughters[0]
        both = list(zip(parts, daughters, strict=True))
        changed[frame] = mapping._replace(labels=mapping.labels[whole], ids=mapping.ids[whole], parts=others + both)
    return changed


def _pixels(image: np.ndarray, mapping: FrameTracks, number: int) -> np.ndarray:
    """Positions of a cell's pixels in the flat frame, ascending."""
    for pixels, track in mapping.parts:
        if track == number:
            return pixels
    label = mapping.labels[mapping.ids == number]
    return np.flatnonzero(np.isin(image.ravel(), label))
