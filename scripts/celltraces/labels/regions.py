"""Tabulate the regions of a label image (label, area, box), compare boxes, and relabel regions by track."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class FrameTracks(NamedTuple):
    """Which label of a frame is which track: two (N,) arrays, sorted by label. Dropped regions are not in it.

    A region in which tracks have run together is not in it either: `parts` has the pixels of each track in it, as
    positions in the flat frame, and the track. `place`: where linking took the first frame's contents to lie in this
    one, (y, x) in pixels, as the stage moves; None from a method that does not ask.
    """

    labels: np.ndarray
    ids: np.ndarray
    parts: Sequence[tuple[np.ndarray, int]] = ()
    place: tuple[int, int] | None = None


class PixelRuns(NamedTuple):
    """Horizontal runs of equal pixels in raster order: position in the flat frame, length, value."""

    start: np.ndarray
    length: np.ndarray
    value: np.ndarray


def regions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Table of the regions of one frame.

    `labels`: (H, W) integers; each value above 0 is one region, in one piece or not. Returns (label, area, bbox),
    sorted by label: (N,) in the frame's dtype, (N,) int64 pixels, (N, 4) int32 half-open [y0, x0, y1, x1].
    """
    return region_table(pixel_runs(labels), labels.shape[1])


def pixel_runs(labels: np.ndarray) -> PixelRuns:
    """The runs of a label image (H, W), those of background among them; a run ends at the end of its row."""
    flat = labels.ravel()
    new = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=new[:, 1:])
    start = np.flatnonzero(new)
    length = np.diff(start, append=flat.size)
    return PixelRuns(start, length, flat[start])


def select_runs(runs: PixelRuns, keep: np.ndarray) -> PixelRuns:
    """Some of the runs; keep: (n,) bool or positions."""
    return PixelRuns(*(part[keep] for part in runs))


def region_table(runs: PixelRuns, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `regions` returns, from the runs of a frame of this width."""
    runs = select_runs(runs, runs.value > 0)
    order = np.argsort(runs.value, kind="stable")
    value, length = runs.value[order], runs.length[order]
    if not value.size:
        return value, np.zeros(0, np.int64), np.zeros((0, 4), np.int32)
    y, x = np.divmod(runs.start[order], width)
    first = np.flatnonzero(np.concatenate([[True], value[1:] != value[:-1]]))
    last = np.append(first[1:], value.size) - 1
    x0, x1 = np.minimum.reduceat(x, first), np.maximum.reduceat(x + length, first)
    bbox = np.stack([y[first], x0, y[last] + 1, x1], axis=1).astype(np.int32)
    return value[first], np.add.reduceat(length, first), bbox


def positions_in_runs(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """All positions in runs, one run after the other."""
    positions = (start - length.cumsum() + length).repeat(length)
    positions += np.arange(positions.size)
    return positions


def tracks_of(mapping: FrameTracks) -> np.ndarray:
    """(N,) IDs of all tracks of a frame."""
    return np.concatenate([mapping.ids, np.array([track for _, track in mapping.parts], np.int64)])


def relabel(labels: np.ndarray, mapping: FrameTracks, dtype: np.dtype | type) -> np.ndarray:
    """The frame with track IDs instead of labels; regions that are not in the mapping become 0. (H, W) `dtype`."""
    highest = tracks_of(mapping).max(initial=0)
    if highest > np.iinfo(dtype).max:
        raise ValueError(f"track ID {highest} does not fit {np.dtype(dtype)}")
    runs = pixel_runs(labels)
    index, known = find_sorted(mapping.labels, runs.value)
    value = np.zeros(known.size, dtype)
    value[known] = mapping.ids[index[known]]
    out = np.repeat(value, runs.length)
    for pixels, track in mapping.parts:
        out[pixels] = track
    return out.reshape(labels.shape)


def find_sorted(labels: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position of each value in the sorted labels, and whether it is there."""
    index = np.searchsorted(labels, value)
    known = np.append(labels, labels[:1])[index] == value if labels.size else np.zeros(value.size, bool)
    return index, known


def boxes_near_edge(boxes: np.ndarray, shape: Sequence[int], margin: int) -> np.ndarray:
    """Which half-open boxes [y0, x0, y1, x1], (..., 4), have a pixel within `margin` of the edge of an image of this
    shape; (...,) bool. A margin of 1 is the edge itself."""
    return ((boxes[..., :2] < margin) | (boxes[..., 2:] > np.array(shape) - margin)).any(axis=-1)


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a half-open box (4,) with each of some (n, 4): (n,) float64.

    All in one order of axes: [y0, x0, y1, x1] or [x0, y0, x1, y1].
    """
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return common / np.maximum(areas - common, 1)


def typical_diameter(*pictures: np.ndarray) -> float:
    """Diameter (px, of a disk of the same area) of the cell in which the median pixel of all cells lies; 0: none.

    pictures: label images, each (H, W).
    """
    areas = np.sort(np.concatenate([np.bincount(labels.ravel())[1:] for labels in pictures] or [np.zeros(0, np.int64)]))
    if not areas.sum():
        return 0.0
    median = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]
    return float(2 * np.sqrt(median / np.pi))
