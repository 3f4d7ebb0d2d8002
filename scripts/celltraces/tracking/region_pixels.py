"""Compare, move and divide the pixels of regions, given as horizontal runs or as positions in the flat frame."""

from collections.abc import Sequence

import numpy as np

from celltraces.labels.distances import squared_distances
from celltraces.labels.regions import PixelRuns, positions_in_runs, select_runs
from celltraces.tracking.box_pairs import expand


def pixels_of_entry(runs: PixelRuns, entry: int) -> np.ndarray:
    """Positions of an entry's pixels in the flat frame, ascending."""
    mine = runs.value == entry
    return positions_in_runs(runs.start[mine], runs.length[mine])


def runs_of(pixels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of the runs within rows of width pixels, of ascending positions in the flat frame."""
    first = np.flatnonzero(np.diff(pixels, prepend=-2) != 1)
    first = np.union1d(first, np.flatnonzero(np.diff(pixels // width, prepend=-1)))
    return pixels[first], np.diff(first, append=pixels.size)


def with_parts_of(
    runs: PixelRuns, entry: int, parts: Sequence[np.ndarray], values: Sequence[int], width: int
) -> PixelRuns:
    """The runs of a frame of this width in which parts, ascending positions with a value each, stand for an entry."""
    rest = select_runs(runs, runs.value != entry)
    start, length, value = [rest.start], [rest.length], [rest.value]
    for part, own in zip(parts, values, strict=True):
        first, count = runs_of(part, width)
        start.append(first)
        length.append(count)
        value.append(np.full(first.size, own))
    columns = [np.concatenate(column) for column in (start, length, value)]
    order = np.argsort(columns[0], kind="stable")
    return PixelRuns(*(column[order] for column in columns))


def moved_runs(runs: PixelRuns, step: np.ndarray, window: np.ndarray, width: int) -> PixelRuns:
    """The runs of a frame of this width, moved by step (y, x), and of them what lies in window [y0, x0, y1, x1]."""
    y, x = np.divmod(runs.start, width) + step[:, None]
    begin, end = np.maximum(x, window[1]), np.minimum(x + runs.length, window[3])
    seen = (y >= window[0]) & (y < window[2]) & (begin < end)
    return PixelRuns((y * width + begin)[seen], (end - begin)[seen], runs.value[seen])


def shared_pixels(a: PixelRuns, b: PixelRuns, n_b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of regions of two frames that share pixels, (P,) each: values of both, how many. n_b: above those of b."""
    end_a, end_b = a.start + a.length, b.start + b.length
    i, j = expand(np.searchsorted(end_a, b.start, "right"), np.searchsorted(a.start, end_b, "left"))
    shared = np.minimum(end_a[i], end_b[j]) - np.maximum(a.start[i], b.start[j])
    pair, inverse = np.unique(a.value[i] * n_b + b.value[j], return_inverse=True)
    total = np.zeros(pair.size, np.int64)
    np.add.at(total, inverse, shared)
    return *np.divmod(pair, max(n_b, 1)), total


def moved_pixels(pixels: np.ndarray, step: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Positions in the flat frame moved by step (y, x), of those that stay within the frame."""
    row, column = np.divmod(pixels, shape[1])
    row, column = row + step[0], column + step[1]
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    return (row * shape[1] + column)[inside]


def divide(region: np.ndarray, before: Sequence[np.ndarray], shape: tuple[int, ...]) -> list[np.ndarray]:
    """The pixels of a region, each given to the track whose pixels before were nearest; all as flat positions.

    The earlier pixels are first moved along with the region as a whole. Each track gets at least one pixel.
    """
    width = shape[1]
    y, x = np.divmod(region, width)
    y_before, x_before = (list(axis) for axis in zip(*(np.divmod(part, width) for part in before), strict=True))
    step_y = round(float(y.mean() - np.concatenate(y_before).mean()))
    step_x = round(float(x.mean() - np.concatenate(x_before).mean()))
    y_before, x_before = [part + step_y for part in y_before], [part + step_x for part in x_before]
    top, left = min(map(np.min, [y, *y_before])), min(map(np.min, [x, *x_before]))
    size = (max(map(np.max, [y, *y_before])) - top + 1, max(map(np.max, [x, *x_before])) - left + 1)
    distance = []
    for part_y, part_x in zip(y_before, x_before, strict=True):
        outside = np.ones(size, np.uint8)
        outside[part_y - top, part_x - left] = 0
        distance.append(squared_distances(outside)[y - top, x - left])
    owner = np.argmin(distance, axis=0)
    for track, own in enumerate(distance):
        if not (owner == track).any():
            owner[np.argmin(own)] = track
    return [region[owner == track] for track in range(len(before))]
