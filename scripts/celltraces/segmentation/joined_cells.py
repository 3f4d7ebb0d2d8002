"""Part cells that the closing has joined, though a halo or a neck lies between them.

`outline.refine` clears the pixels of halos, and then closes what is left: that heals what it cleared within cells, and
joins cells that are nearer to each other than the closing reaches, as the daughters of a cell are for some frames after
it divided. What is left is looked at here before that: where it lies in two pieces or more that look like cells of
their own, the region is parted between them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from celltraces.frames import coverage
from celltraces.labels.distances import squared_distances
from celltraces.labels.objects import Components, bounds_of, components, painted
from celltraces.labels.shapes import Shapes, shapes, shapes_of_runs
from celltraces.segmentation.mask_objects import between, fill_holes, fill_holes_of

GAP = 1  # px: radius of the disk of the closing that joins what belongs together; it bridges gaps of 2 px
OPEN = 4  # times, at most: two pieces may hang together by no more than the disk of the opening is wide
WHOLE = 0.92  # of the ellipse with the same second moments: a region that fills more of it is one cell
ALIKE = 0.4  # of the median piece, or of its region's largest if that is smaller: a piece's area, at least
COVER = 0.5  # of a region's granular pixels: what all these pieces cover, at least


class Joined(NamedTuple):
    """A region that may be several cells, in a box of the frame."""

    box: tuple[slice, slice]
    inside: np.ndarray  # (h, w) uint8 0/1: its pixels
    granular: np.ndarray  # (h, w) uint8 0/1: those of the region that it is a part of, without gaps and holes
    margins: tuple[int, int, int, int]  # px above, below, left and right, where the box ends with the frame
    uncovered: np.ndarray | None  # (h, w) bool


def part_joined(
    regions: Components,
    rough: np.ndarray,
    morph_size: int,
    min_size: int,
    max_size: int,
    uncovered: np.ndarray | None,
) -> Components:
    """The regions with lines of 1 px between the cells that are apart in `rough`, (H, W) uint8 0/1.

    rough: pixels that are as granular as cells are, and no halo. Only regions are looked at that are no ellipses and
    large enough for two cells, or larger than `max_size`; each of them alone, in its box. What is `rough` in it is
    closed with a disk of 3 px, filled, and opened with one of `morph_size` px: once, then up to four times, so that
    wider and wider necks part. Each time, a region is parted if two or more pieces lie in it that have at least
    `min_size` pixels, and 0.4 of the largest one or of the median of all regions' pieces of `min_size` or more, and
    cover half of what is `rough` in it. Each of its pixels goes to the nearest of these. Parts that look like cells are
    done. Regions with area 0 are none.
    """
    there = regions.area.take(regions.owner) > 0
    found = shapes_of_runs(*(of_runs[there] for of_runs in regions[:3]), rough.shape)
    several = np.zeros(regions.area.size, bool)
    several[_may_be_several(found, min_size, max_size)] = True
    if not several.any():
        return regions
    disk = _disk(morph_size // 2)
    lines = np.zeros(rough.shape, np.uint8)
    now = [(region, _continued(region.granular, region)) for region in _boxes(regions, several, rough, disk, uncovered)]
    for times in range(1, OPEN + 1):
        now = [(region, cv2.erode(mask, disk, borderType=cv2.BORDER_CONSTANT, borderValue=0)) for region, mask in now]
        now = [(region, eroded) for region, eroded in now if cv2.countNonZero(eroded)]
        pieces = [_pieces(region, eroded, disk, times) for region, eroded in now]
        areas = np.concatenate([area[1:] for _, area in pieces] or [[]])
        usual = np.median(areas[areas >= min_size]) if (areas >= min_size).any() else 0
        then = []
        for (region, eroded), (piece, area) in zip(now, pieces, strict=True):
            cells = _cells(area, region, usual, min_size)
            if cells.size:
                line = _lines(region.inside, piece, cells)
                lines[region.box] |= line
                parts = _parts(region.inside & ~line, min_size, max_size)
                then += [(region._replace(inside=part), eroded) for part in parts]
            else:
                then.append((region, eroded))
        now = then
    if not lines.any():
        return regions
    mask = painted(regions, (regions.area > 0).view(np.uint8), rough.shape)
    return components(mask & ~lines)


def _may_be_several(found: Shapes, min_size: int, max_size: int) -> np.ndarray:
    """Labels of the regions that are no ellipses and large enough for two cells, or larger than `max_size`."""
    return found.label[(found.filling < WHOLE) & (found.area >= 2 * min_size) | (found.area > max_size)]


def _boxes(
    regions: Components, chosen: np.ndarray, rough: np.ndarray, disk: np.ndarray, uncovered: np.ndarray | None
) -> Iterator[Joined]:
    """Chosen regions, (n,) bool, in their boxes. disk: that of the openings."""
    height, width = rough.shape
    reach = 2 * OPEN * (len(disk) // 2)
    beside = 0 if uncovered is None else reach
    number = painted(regions, np.where(chosen, np.arange(chosen.size), 0).astype(np.int32), rough.shape)
    for one, (y0, x0, y1, x1) in zip(*(found.tolist() for found in bounds_of(regions, chosen, width)), strict=True):
        y0, x0, y1, x1 = max(y0 - beside, 0), max(x0 - beside, 0), min(y1 + beside, height), min(x1 + beside, width)
        box = np.s_[y0:y1, x0:x1]
        margins = tuple(reach * ends for ends in (y0 == 0, y1 == height, x0 == 0, x1 == width))
        inside = (number[box] == one).view(np.uint8)
        region = Joined(box, inside, rough[box] & inside, margins, None if uncovered is None else uncovered[box])
        closed = cv2.morphologyEx(
            _continued(region.granular, region), cv2.MORPH_CLOSE, _disk(GAP), borderType=cv2.BORDER_CONSTANT
        )
        closed = _within(closed, region)
        filled = fill_holes(closed) if uncovered is None else fill_holes_of(closed, region.uncovered)
        yield region._replace(granular=filled)


def _disk(radius: int) -> np.ndarray:
    """(2 * radius + 1, 2 * radius + 1) uint8 0/1: what is within `radius` from centre to centre."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (y**2 + x**2 <= radius**2).view(np.uint8)


def _continued(mask: np.ndarray, region: Joined) -> np.ndarray:
    """A mask in the region's box, and how it goes on where the frame ends or has no data: as it is there."""
    if region.uncovered is not None:
        mask = coverage.continued(mask, region.uncovered, mirrored=False)
    return cv2.copyMakeBorder(mask, *region.margins, cv2.BORDER_REPLICATE)


def _within(wide: np.ndarray, region: Joined) -> np.ndarray:
    """What lies in the region of a mask that was `_continued`."""
    (height, width), (top, _, left, _) = region.inside.shape, region.margins
    return wide[top : top + height, left : left + width] & region.inside


def _pieces(region: Joined, eroded: np.ndarray, disk: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """The 4-connected pieces in a region that so many openings leave: their numbers, (h, w) uint16, and areas, from 0.

    eroded: what as many erosions left. A region in one piece counts with all that is granular in it.
    """
    n, piece = cv2.connectedComponents(eroded, connectivity=4, ltype=cv2.CV_16U)
    if n == 2:
        return piece, np.array([0, cv2.countNonZero(region.granular & region.inside)])
    opened = cv2.dilate(eroded, disk, iterations=times)
    _, piece = cv2.connectedComponents(_within(opened, region), connectivity=4, ltype=cv2.CV_16U)
    return piece, np.bincount(piece.ravel())


def _cells(area: np.ndarray, region: Joined, usual: float, min_size: int) -> np.ndarray:
    """Numbers of a region's pieces that look like cells, if it is to be parted between them; or none."""
    if area.size < 3:
        return np.zeros(0, np.int64)
    cell = (area >= min_size) & (area >= ALIKE * min(area[1:].max(), usual))
    cell[0] = False
    covered = area[cell].sum() >= COVER * cv2.countNonZero(region.granular & region.inside)
    return np.flatnonzero(cell) if covered and np.count_nonzero(cell) > 1 else np.zeros(0, np.int64)


def _lines(inside: np.ndarray, piece: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Lines of 1 px where the pixels that are nearest to one and to another piece meet, (h, w) uint8 0/1.

    Of two pieces that are equally near, a pixel goes to the one with the lower number.
    """
    own = np.ones(inside.shape, np.int32)
    least = None
    for number, cell in enumerate(cells.tolist(), 1):
        away = squared_distances(piece != cell)
        if least is None:
            least = away
        else:
            own[away < least] = number
            least = np.minimum(least, away)
    return between(own * inside)


def _parts(inside: np.ndarray, min_size: int, max_size: int) -> list[np.ndarray]:
    """The 4-connected parts of a region, (h, w) uint8 0/1 each, that may be several cells again."""
    _, part = cv2.connectedComponents(inside, connectivity=4)
    return [(part == one).view(np.uint8) for one in _may_be_several(shapes(part), min_size, max_size).tolist()]
