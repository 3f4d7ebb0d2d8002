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
from celltraces.labels import bit_morphology
from celltraces.labels.distances import squared_distances
from celltraces.labels.objects import Components, bounds_of, components, painted
from celltraces.labels.shapes import Shapes, shapes, shapes_of_runs
from celltraces.segmentation.mask_objects import between, fill_holes, fill_holes_of, morph, openings

GAP = 3  # px: width of the disk of the closing that joins what belongs together; it bridges gaps of 2 px
OPEN = 4  # times, at most: two pieces may hang together by no more than the disk of the opening is wide
WHOLE = 0.95  # of the ellipse with the same second moments: a region that fills more of it is one cell
ALIKE = 0.4  # of the frame's median piece, or of its region's largest if that is smaller: a piece's area, at least
COVER = 0.5  # of a region's granular pixels: what all these pieces cover, at least


class Joined(NamedTuple):
    """A region that may be several cells, or a part of it, in a box of the frame; (h, w) uint8 0/1."""

    box: tuple[slice, slice]
    inside: np.ndarray  # its pixels
    granular: np.ndarray
    eroded: np.ndarray  # `granular`, eroded so far; it goes on beyond the edge of the frame by `margins`
    margins: tuple[int, int, int, int]  # px above, below, left and right


def part_joined(
    regions: Components,
    rough: np.ndarray,
    morph_size: int,
    min_size: int,
    max_size: int,
    uncovered: np.ndarray | None,
) -> Components:
    """The regions with lines of 1 px between the cells that are apart in `rough`, (H, W) uint8 0/1.

    rough: pixels that are as granular as cells are, and no halo. These are closed with a disk of 3 px, filled, and
    opened with one of `morph_size` px: once, then up to four times, so that wider and wider necks part. Each time, a
    region that is no ellipse, or larger than `max_size`, is parted if two or more pieces lie in it that have
    at least `min_size` pixels, and 0.4 of the largest one or of the median of all the frame's pieces of `min_size` or
    more, and cover half of what is `rough` in it. Each of its pixels goes to the nearest of these. Regions with area 0
    are none.

    Few regions are parted, so each is looked at in its box, and the whole frame is opened only where it depends on the
    median.
    """
    there = regions.area.take(regions.owner) > 0
    found = shapes_of_runs(*(of_runs[there] for of_runs in regions[:3]), rough.shape)
    several = np.zeros(regions.area.size, bool)
    several[_may_be_several(found, min_size, max_size)] = True
    if not several.any():
        return regions
    whole = mask = painted(regions, (regions.area > 0).view(np.uint8), rough.shape)
    rough = morph(rough & mask, bit_morphology.dilate, bit_morphology.erode, GAP, 1, uncovered) & mask
    rough = fill_holes(rough) if uncovered is None else fill_holes_of(rough, uncovered)
    disk = _disk(morph_size // 2)
    now = list(_in_boxes(regions, several, rough, OPEN * (morph_size // 2), uncovered))
    for times in range(1, OPEN + 1):
        pieces = []
        for region in now:
            eroded = cv2.erode(region.eroded, disk, borderType=cv2.BORDER_CONSTANT, borderValue=0)
            if cv2.countNonZero(eroded):
                region = region._replace(eroded=eroded)
                pieces.append((region, *_pieces(region, disk, times, min_size)))
        usual = np.inf
        if any(area.size and area.min() < ALIKE * area.max() for *_, area in pieces):
            opened = next(openings(rough, morph_size, [times], uncovered))
            area = components(opened & mask).area[1:]
            usual = np.median(area[area >= min_size])
        now = []
        lines = np.zeros_like(mask)
        for region, piece, number, area in pieces:
            alike = area >= ALIKE * min(area.max(initial=0), usual)
            if _covered(region, area[alike]):
                line = _lines(region.inside, piece, number[alike])
                lines[region.box] |= line
                parts = _parts(region.inside & ~line, min_size, max_size)
                now += [region._replace(inside=part) for part in parts]
            else:
                now.append(region)
        mask = mask & ~lines
    return regions if (mask == whole).all() else components(mask)


def _may_be_several(found: Shapes, min_size: int, max_size: int) -> np.ndarray:
    """Labels of the regions that are no ellipses and large enough for two cells, or larger than `max_size`."""
    return found.label[(found.filling < WHOLE) & (found.area >= 2 * min_size) | (found.area > max_size)]


def _in_boxes(
    regions: Components, chosen: np.ndarray, granular: np.ndarray, radius: int, uncovered: np.ndarray | None
) -> Iterator[Joined]:
    """Chosen regions, (n,) bool. radius: px, of the largest opening."""
    height, width = granular.shape
    reach = 2 * radius  # beyond an edge, or in pixels without data, everything goes on as it is there
    beside = 0 if uncovered is None else reach
    number = painted(regions, np.where(chosen, np.arange(chosen.size), 0).astype(np.int32), granular.shape)
    for one, (y0, x0, y1, x1) in zip(*(found.tolist() for found in bounds_of(regions, chosen, width)), strict=True):
        y0, x0, y1, x1 = max(y0 - beside, 0), max(x0 - beside, 0), min(y1 + beside, height), min(x1 + beside, width)
        box = np.s_[y0:y1, x0:x1]
        margins = tuple(reach * ends for ends in (y0 == 0, y1 == height, x0 == 0, x1 == width))
        wide = granular[box] if uncovered is None else coverage.continued(granular[box], uncovered[box], mirrored=False)
        wide = cv2.copyMakeBorder(wide, *margins, cv2.BORDER_REPLICATE)
        yield Joined(box, (number[box] == one).view(np.uint8), granular[box], wide, margins)


def _disk(radius: int) -> np.ndarray:
    """(2 * radius + 1, 2 * radius + 1) uint8 0/1: what is within `radius` from centre to centre."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (y**2 + x**2 <= radius**2).view(np.uint8)


def _pieces(region: Joined, disk: np.ndarray, times: int, min_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What so many openings leave of a region: numbers of its 4-connected pieces, (h, w) int32; which of them have
    `min_size` pixels or more, and their areas. The latter two are empty where these are not enough to part it."""
    (height, width), (top, _, left, _) = region.inside.shape, region.margins
    opened = cv2.dilate(region.eroded, disk, iterations=times)[top : top + height, left : left + width]
    n, piece = cv2.connectedComponents(opened & region.inside, connectivity=4)
    area = np.bincount(piece.ravel()) if n > 2 else np.zeros(1, np.int64)
    number = 1 + np.flatnonzero(area[1:] >= min_size)
    if not _covered(region, area[number]):
        number = number[:0]
    return piece, number, area[number]


def _covered(region: Joined, area: np.ndarray) -> bool:
    """Whether two pieces or more, of these areas, cover enough of the region."""
    granular = cv2.countNonZero(region.granular & region.inside)
    return area.size > 1 and granular > 0 and bool(area.sum() >= COVER * granular)


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
