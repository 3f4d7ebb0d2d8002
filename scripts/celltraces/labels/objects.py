"""Find the 4-connected objects of a mask, and work with them as runs of pixels within rows."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from celltraces.labels.regions import PixelRuns, positions_in_runs, region_table


class Components(NamedTuple):
    """The 4-connected objects of a mask, numbered from 1 in raster order, as runs of pixels within rows.

    There are a hundred times fewer runs than pixels.
    """

    start: np.ndarray  # position of the first pixel of each run in the flat image, in raster order
    length: np.ndarray  # px
    owner: np.ndarray  # the object of each run
    area: np.ndarray  # of each object, px; 0 for number 0


def components(mask: np.ndarray) -> Components:
    """The 4-connected objects of (H, W) uint8 0/1.

    A run belongs to the first of those that it touches in the row above. Where it touches more of them, the greater of
    the first runs of two gets the lesser one for its own, until no two that touch differ.
    """
    width = mask.shape[1]
    bounds = _bounds(mask)
    start = bounds[::2].copy()
    length = bounds[1::2] - start
    # The runs that touch a run from above are some that follow each other: from the first that ends after its start to
    # the last that begins before its end.
    above = bounds - width
    above[::2] += 1
    before = _below(bounds, above)
    first = before[::2] >> 1
    touching = ((before[1::2] + 1) >> 1) - first
    number = np.arange(start.size)
    root = _first_of_all(np.where(touching > 0, first, number))
    several = (touching > 1).nonzero()[0]
    others = touching.take(several) - 1
    above = positions_in_runs(first.take(several) + 1, others)
    below = several.repeat(others)
    while above.size:
        one, other = root.take(above), root.take(below)
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        root = _first_of_all(root)
        apart = root.take(above) != root.take(below)
        above, below = above[apart], below[apart]
    owner = (root == number).cumsum().take(root)
    return Components(start, length, owner, _areas(owner, length))


def _below(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """How many of the values, (n,) rising, are below each limit, (m,) rising. Two rising sequences are merged in half
    the time that `numpy.searchsorted` takes."""
    order = np.concatenate([limits, values]).argsort(kind="stable")
    return (order < limits.size).nonzero()[0] - np.arange(limits.size)


def _first_of_all(lesser: np.ndarray) -> np.ndarray:
    """Where one gets, (n,), from each number by going on to a lesser one until there is none."""
    nearer = lesser.take(lesser)
    while (nearer != lesser).any():
        lesser = nearer.take(nearer)
        nearer = lesser.take(lesser)
    return lesser


def _areas(owner: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Pixels of each object, int64, from its runs; of number 0 too."""
    return np.bincount(owner, length, owner.max(initial=0) + 1).astype(np.int64)


def _bounds(mask: np.ndarray) -> np.ndarray:
    """Start and end of each run of 1 in the rows of a mask (H, W) uint8 0/1, one after the other, (2 n,) rising."""
    width = mask.shape[1] + 1
    # With a 0 before the first row and after each, a run begins and ends with a change.
    flat = cv2.copyMakeBorder(mask, 1, 0, 0, 1, cv2.BORDER_CONSTANT, value=0).ravel()[width - 1 :]
    changes = (flat[1:] != flat[:-1]).nonzero()[0]
    return changes - changes // width


def means(group: np.ndarray, values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Means of the values of each group's pixels, of which there are `count`, of any shape; as that, float64.

    group: of each pixel, a number; that of an object, or a position in the flat `count`. 0 where there are none.
    """
    return np.bincount(group, values, count.size).reshape(count.shape) / np.maximum(count, 1)


def bounds_of(objects: Components, chosen: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of chosen objects, (n,) rising, and where they lie: (n, 4) int32 half-open [y0, x0, y1, x1].

    chosen: bool, of each object, False for number 0. width: of the image.
    """
    value = np.where(chosen, np.arange(chosen.size), 0).take(objects.owner)
    numbers, _, bbox = region_table(PixelRuns(objects.start, objects.length, value), width)
    return numbers, bbox


def pixels_of(objects: Components, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the flat image of the pixels of chosen objects, in raster order, and the object of each.

    chosen: (n,) bool, of each object.
    """
    runs = chosen.take(objects.owner).nonzero()[0]
    length = objects.length.take(runs)
    return positions_in_runs(objects.start.take(runs), length), objects.owner.take(runs).repeat(length)


def some_pixels_of(objects: Components, chosen: np.ndarray, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Of what `pixels_of` gives, the first and each `every`-th after it: enough for what is measured of objects."""
    runs = np.flatnonzero(chosen.take(objects.owner))
    start, length = objects.start.take(runs), objects.length.take(runs)
    end = np.cumsum(length)
    taken = -(-end // every)  # up to the end of each run
    number = np.diff(taken, prepend=0)
    at = every * np.arange(taken[-1] if runs.size else 0) + np.repeat(start + length - end, number)
    return at, np.repeat(objects.owner.take(runs), number)


def painted(objects: Components, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image of this shape in which the pixels of each object have its value, (n,), and all others 0."""
    value = np.zeros(2 * objects.start.size + 1, values.dtype)
    value[1::2] = values.take(objects.owner)
    bounds = np.empty(2 * objects.start.size + 2, np.int64)
    bounds[0], bounds[-1] = 0, math.prod(shape)
    bounds[1:-1:2] = objects.start
    np.add(objects.start, objects.length, out=bounds[2:-1:2])
    return value.repeat(bounds[1:] - bounds[:-1]).reshape(shape)


def every_nth(objects: Components, n: int, shape: tuple[int, ...]) -> tuple[Components, tuple[int, int]]:
    """The same objects in the image of every n-th pixel of every n-th row, and its shape. The numbers stay; what has no
    pixel there has area 0, and two may touch that did not."""
    y, x = np.divmod(objects.start, shape[1])
    first, end = -(-x // n), -(-(x + objects.length) // n)
    there = (y % n == 0) & (end > first)
    smaller = -(-shape[0] // n), -(-shape[1] // n)
    start, length, owner = (y // n * smaller[1] + first)[there], (end - first)[there], objects.owner[there]
    return Components(start, length, owner, np.bincount(owner, length, objects.area.size).astype(np.int64)), smaller


class CutOut(NamedTuple):
    """Some objects of an image alone: `objects`, numbered anew, in the image that only those rows and columns make in
    which one of them lies, or that are up to `margin` px from these. Between two objects there may be fewer of them
    than in the whole image, but never fewer than `margin`."""

    rows: np.ndarray
    columns: np.ndarray
    width: int  # of the whole image
    objects: Components

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.size, self.columns.size

    def of(self, image: np.ndarray) -> np.ndarray:
        """The rows and columns of an image (H, W)."""
        if self.rows.size < image.shape[0]:
            image = image.take(self.rows, axis=0)
        return image.take(self.columns, axis=1) if self.columns.size < image.shape[1] else image

    def inside(self, objects: Components, chosen: np.ndarray) -> Components:
        """Those chosen, (n,) bool, of other objects of the whole image, which lie in these rows and columns; the
        numbers stay."""
        runs = np.flatnonzero(chosen.take(objects.owner))
        y, x = np.divmod(objects.start.take(runs), self.width)
        start = np.searchsorted(self.rows, y) * self.columns.size + np.searchsorted(self.columns, x)
        return Components(start, objects.length.take(runs), objects.owner.take(runs), objects.area)

    def outside(self, start: np.ndarray) -> np.ndarray:
        """Positions in the whole image, flat, of positions in this one."""
        y, x = np.divmod(start, self.columns.size)
        return self.rows.take(y) * self.width + self.columns.take(x)


def cut_out(objects: Components, chosen: np.ndarray, shape: tuple[int, ...], margin: int) -> CutOut:
    """The chosen objects of an image of this shape; chosen: bool, of each object, False for number 0."""
    runs = np.flatnonzero(chosen.take(objects.owner))
    y, x = np.divmod(objects.start.take(runs), shape[1])
    rows = _near(y, y + 1, shape[0], margin)
    columns = _near(x, x + objects.length.take(runs), shape[1], margin)
    cut = CutOut(rows, columns, shape[1], objects)
    start, length, owner, area = cut.inside(objects, chosen)
    alone = Components(start, length, np.cumsum(chosen).take(owner), np.append(0, area[chosen]))
    return cut._replace(objects=alone)


def _near(first: np.ndarray, end: np.ndarray, size: int, margin: int) -> np.ndarray:
    """Which of 0, 1, ... `size` - 1 lie in one of the intervals from `first` to before `end`, or near to one."""
    change = np.bincount(np.maximum(first - margin, 0), minlength=size + 1)
    change -= np.bincount(np.minimum(end + margin, size), minlength=size + 1)
    return np.flatnonzero(np.cumsum(change)[:size])


def in_raster_order(one: Components, other: Components) -> Components:
    """The objects of both, which do not touch, numbered anew. Those of area 0 are not in it."""
    parts = [
        (objects.start[there], objects.length[there], objects.owner[there] + before)
        for objects, before in ((one, 0), (other, one.area.size))
        for there in [objects.area.take(objects.owner) > 0]
    ]
    start, length, owner = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(start, kind="stable")
    start, length, owner = start.take(order), length.take(order), owner.take(order)
    first = np.full(one.area.size + other.area.size, owner.size)
    np.minimum.at(first, owner, np.arange(owner.size))
    number = np.empty(first.size, np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(1, first.size + 1)  # those without pixels come last
    owner = number.take(owner)
    return Components(start, length, owner, _areas(owner, length))


def replaced(objects: Components, gone: np.ndarray, new: Components) -> Components:
    """The objects without those that are `gone`, (n,) bool, which get area 0, but with `new` ones in their place, which
    are numbered after all others."""
    kept = ~gone.take(objects.owner)
    start = np.concatenate([objects.start[kept], new.start])
    length = np.concatenate([objects.length[kept], new.length])
    owner = np.concatenate([objects.owner[kept], new.owner + (gone.size - 1)])
    order = np.argsort(start, kind="stable")
    area = np.concatenate([np.where(gone, 0, objects.area), new.area[1:]])
    return Components(start.take(order), length.take(order), owner.take(order), area)
