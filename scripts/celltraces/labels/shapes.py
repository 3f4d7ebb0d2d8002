"""Tabulate area, centre and shape of the regions of a frame, from its runs of equal pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from celltraces.labels.regions import pixel_runs


@dataclass(frozen=True)
class Shapes:
    """What is measured of regions; (N,) each.

    Areas in pixels, centres in pixels (the middle of the first pixel is 0). roundness: short axis by long axis of the
    ellipse with the same second moments, 0 to 1. filling: area by that of this ellipse, about 1 for an ellipse and less
    for what has a waist or arms. edge: bool, a pixel lies at the edge of the image.
    """

    area: np.ndarray
    y: np.ndarray
    x: np.ndarray
    roundness: np.ndarray
    filling: np.ndarray
    edge: np.ndarray

    def columns(self) -> list[np.ndarray]:
        """What is measured, in the order of the arguments of `Shapes`."""
        return [getattr(self, field.name) for field in fields(Shapes)]


@dataclass(frozen=True)
class RegionShapes(Shapes):
    """The regions of a frame, sorted by label, (N,)."""

    label: np.ndarray


def shapes(labels: np.ndarray) -> RegionShapes:
    """Shapes of the regions of a label image (H, W)."""
    runs = pixel_runs(labels)
    inside = np.flatnonzero(runs.value)
    return shapes_of_runs(runs.start[inside], runs.length[inside], runs.value[inside], labels.shape)


def shapes_of_runs(start: np.ndarray, length: np.ndarray, value: np.ndarray, shape: Sequence[int]) -> RegionShapes:
    """Shapes of regions given by runs of pixels within rows of a frame (H, W): position, length and region of each."""
    order = np.argsort(value, kind="stable")
    return _shapes(start[order], length[order], value[order], shape)


def shapes_of_pixels(parts: Sequence[np.ndarray], shape: Sequence[int]) -> RegionShapes:
    """Shapes of regions given by their pixels, as positions in the flat frame (H, W); labels are 0, 1, 2, ..."""
    start = np.concatenate(parts)
    value = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    return _shapes(start, np.ones(start.size, np.int64), value, shape)


def _shapes(start: np.ndarray, length: np.ndarray, value: np.ndarray, shape: Sequence[int]) -> RegionShapes:
    """From runs sorted by value. A pixel counts as a square, so that its second moment is 1/12 along each axis."""
    if not value.size:
        return RegionShapes(np.zeros(0, np.int64), *np.zeros((4, 0)), np.zeros(0, bool), value)
    new = np.ones(value.size, bool)
    np.not_equal(value[1:], value[:-1], out=new[1:])
    first, region = new.nonzero()[0], new.cumsum() - 1
    row, column = np.divmod(start, shape[1])
    cut = (row == 0) | (row == shape[0] - 1) | (column == 0) | (column + length == shape[1])
    middle = column + (length - 1) / 2
    area = np.add.reduceat(length, first)
    y = np.add.reduceat(length * row, first) / area
    x = np.add.reduceat(length * middle, first) / area
    row, middle = row - y[region], middle - x[region]
    yy = np.add.reduceat(length * row**2, first) / area + 1 / 12
    xx = np.add.reduceat(length * (middle**2 + length**2 / 12), first) / area  # of a run: length squared / 12
    xy = np.add.reduceat(length * row * middle, first) / area
    mean, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    short, long = np.sqrt(mean - spread), np.sqrt(mean + spread)
    filling, edge = area / (4 * np.pi * short * long), np.logical_or.reduceat(cut, first)
    return RegionShapes(area, y, x, short / long, filling, edge, value[first])
