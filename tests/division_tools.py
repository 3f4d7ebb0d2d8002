"""Movies of cells that are drawn as ellipses and divide."""

import numpy as np

from celltraces.labels.regions import FrameTracks, relabel
from celltraces.labels.shapes import shapes
from celltraces.tracking import overlap
from celltraces.tracking.divisions import find_divisions, numbered
from celltraces.tracking.sightings import sightings_of

SETTINGS = {"division_roundness": 0.65, "division_frames": 3, "division_min_age": 4}
SHAPE = (120, 160)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def ellipse(y, x, radius, length=1.0, angle=0.0):
    """Mask of a cell with the area of a disk of this radius; its long axis, at `angle` to x, is `length` short ones."""
    along = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
    across = (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)
    return (along / length**0.5) ** 2 + (across * length**0.5) ** 2 < radius**2


def frame_of(masks):
    labels = np.zeros(SHAPE, np.uint16)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels


OTHERS = [ellipse(20, 140, 12), ellipse(100, 20, 13), ellipse(100, 140, 14)]


def movie(cells, n_frames=24):
    """Frames with three cells that never change, and cells(frame): a list of masks; they come first."""
    return [frame_of([*cells(frame), *OTHERS]) for frame in range(n_frames)]


def dividing(frame, at=10, radius=14.0, share=0.5, apart=1.1, leaving=1.5, length=1.0, angle=0.3):
    """A cell at (60, 80) that divides in frame `at` into two that move apart along `angle`."""
    if frame < at:
        return [ellipse(60, 80, radius, length, angle)]
    radii = radius * share**0.5, radius * (1 - share) ** 0.5
    distance = apart * sum(radii) + leaving * (frame - at)
    return [
        ellipse(60 + side * np.sin(angle) * distance, 80 + side * np.cos(angle) * distance, size)
        for size, side in zip(radii, (1 - share, -share), strict=True)
    ]


def found_in(frames, track=overlap.track, max_gap=3, displacement=None, **changes):
    """Tracked frames and divisions."""
    mappings = [FrameTracks(*entry) for entry in track(frames)]
    seen = sightings_of(mappings, list(map(shapes, frames)), frames[0].shape, displacement)
    splits = find_divisions(seen, max_gap, **{**SETTINGS, **changes})
    mappings, divisions = numbered(mappings, seen, splits, frames.__getitem__)
    return [relabel(frame, mapping, np.uint16) for frame, mapping in zip(frames, mappings, strict=True)], divisions


def touching(frames):
    return overlap.track(frames, split_touching=True)


def pair(frame, at, start=0):
    """Two cells that touch as one region from frame `start` to `at`, and are apart after, and before."""
    apart = 26 + max(0, 1.5 * (frame - at)) + max(0, 2 * (start - frame))
    return [ellipse(60, 80 - apart / 2, 13), ellipse(60, 80 + apart / 2, 13)]
