"""Find white cells: rounded ones, which are thick and therefore brighter than what is around them.

Cells round up when they divide. `outline.refine` takes what is bright for halo, so of a white cell it leaves a middle
or a crescent, or one region that holds two sisters and the light between them. Halos are bright too, but narrow, or
rings around something dark. A white cell is a compact body that is bright inside, far brighter than cells are dark. It
ends where its brightness has fallen to a third.

The whole frame is compared with one number; everything else is done in the boxes of what is bright.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from celltraces.labels.objects import Components, bounds_of, components, painted, pixels_of
from celltraces.segmentation.mask_objects import fill_holes, usual_area
from celltraces.segmentation.percentiles import percentile
from celltraces.segmentation.uneven_light import evened, unevenness

SAMPLE = 4  # px: of every fourth row and column the background's level and the cells' darkness are measured
DARK = 3  # per cent of the pixels in regions are below the level by more than the darkness
NOISE = 4.0  # STDs of the limit: the darkness, at least
UNEVEN = 0.3  # darknesses: a background that differs by more is evened
BRIGHT = 1.2  # darknesses: pixels so much above the level may be of a white cell
WHITE = 1.8  # darknesses: a white cell's brightness, at least. That of two halos that overlap is up to 1.5
INSIDE = 75  # per cent of its bright pixels are no brighter than its brightness
MARGIN = 12  # px around the bright pixels that are looked at
EDGE = 0.35  # of the brightness: where a white cell ends
SEED = 0.65  # of the greatest depth in a bright region: what is deeper, in two places, is two cells
FEWEST = 50  # px: what has fewer has no shape to tell
USUAL = 8  # an eighth of the pixels of a usual object, at least: what is smaller is debris
FILLED = 0.7  # of a white cell's pixels are bright, at least: what has fewer is a ring around something dark
SOLID = 0.85  # of its convex hull, at least
LONG = 2.2  # length by width, at most
THIN = 0.5  # of the area of an ellipse as deep and as long as may be: what has less is thin
REST = 0.4  # of the white cell's area, or the usual one if that is smaller: what is left beside it is a cell


class WhiteCell(NamedTuple):
    """box: rows and columns. inside: bool, of the pixels in the box."""

    box: tuple[slice, slice]
    inside: np.ndarray


def with_white_cells(
    objects: Components,
    regions: np.ndarray,
    image: np.ndarray,
    std: float,
    morph_size: int,
    min_size: int,
    max_size: int,
    uncovered: np.ndarray | None = None,
) -> tuple[Components, np.ndarray]:
    """`objects` with the white cells of the frame as objects of their own, and these alone, (H, W) uint8 0/1.

    objects: those with area 0 are none. regions: (H, W) uint8 0/1, all that is no background. image: (H, W) integers of
    up to 16 bits. std: that which the limit of the log-STD stands for, counts. uncovered: (H, W) bool, pixels without
    data. Returns `objects` themselves where no cell is white.

    1. The level is the median of the background; the darkness is that of the darkest pixels in regions. Where the level
       differs by more than 0.3 darknesses over the frame (see uneven_light.py), this is subtracted first.
    2. Connected pixels that are above the level by 1.2 darknesses belong to a candidate, whose brightness, the 75th
       percentile, has to be 1.8 darknesses. It is grown to where it falls to 0.35 of that, and its holes are filled.
    3. It is parted where it has two deep places.
    4. Parts are cells that are large enough beside the other objects, mostly bright, solid and not long.
    5. Objects that a white cell touches lose its pixels. Of what is left, pieces are kept that look like a cell by
       their size.
    """
    nothing = np.zeros(image.shape, np.uint8)
    values, within = image[::SAMPLE, ::SAMPLE], regions[::SAMPLE, ::SAMPLE].view(bool)
    background = ~within
    if uncovered is not None:
        covered = ~uncovered[::SAMPLE, ::SAMPLE]
        within, background = within & covered, background & covered
    if not within.any():
        return objects, nothing
    level, dark = _levels(values, within, background, std)
    uneven = unevenness(values, background, UNEVEN * dark)
    if uneven is not None:
        image = evened(image, uneven)
        level, dark = _levels(values - uneven, within, background, std)
    usual = usual_area(objects.area[(objects.area >= min_size) & (objects.area <= max_size)])
    cells = _white_cells(image, level, dark, max(min_size, FEWEST, usual / USUAL), max_size, uncovered)
    if not cells:
        return objects, nothing
    return _with_cells(objects, cells, image.shape, usual, morph_size, min_size)


def _levels(values: np.ndarray, within: np.ndarray, background: np.ndarray, std: float) -> tuple[float, float]:
    """The level and the darkness, by values (h, w), of which those `within` (h, w) bool lie in regions."""
    inside, outside = values[within], values[background]
    level = percentile(outside if outside.size else inside, 50)
    return level, max(level - percentile(inside, DARK), NOISE * std)


def _white_cells(
    image: np.ndarray, level: float, dark: float, min_size: float, max_size: int, uncovered: np.ndarray | None
) -> list[WhiteCell]:
    """Steps 2 to 4 of `with_white_cells`; none has pixels of another, or without data."""
    bright = (image >= int(np.ceil(level + BRIGHT * dark))).view(np.uint8)
    taken = np.zeros(image.shape, bool)
    if uncovered is not None:
        bright[uncovered] = 0
    found: list[WhiteCell] = []
    for box, own in _boxes(bright, min_size, max_size):
        counts = cv2.blur(image[box].astype(np.float32), (3, 3)) - np.float32(level)
        brightness = percentile(counts[own > 0], INSIDE)
        if brightness < WHITE * dark:
            continue
        for part in _parts(counts, own, brightness, min_size):
            inside = part.view(bool)
            if uncovered is not None:
                inside &= ~uncovered[box]
            if inside.any() and not (inside & taken[box]).any():
                taken[box] |= inside
                found.append(WhiteCell(box, inside))
    return found


def _boxes(bright: np.ndarray, min_size: float, max_size: int) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Boxes, 12 px wider where the image is, of 4-connected bright pixels, and these pixels in them, uint8 0/1.

    Of those that have from half of `min_size` to `max_size` pixels, and are not much longer than such a cell.
    """
    if 2 * cv2.countNonZero(bright) < min_size:
        return []
    found = components(bright)
    chosen = (2 * found.area >= min_size) & (found.area <= max_size)
    numbers, bbox = bounds_of(found, chosen, bright.shape[1])
    y0, x0, y1, x1 = bbox.T
    wide = LONG * np.minimum(y1 - y0, x1 - x0) ** 2 >= min_size
    if not wide.any():
        return []
    number = painted(found, np.where(chosen, np.arange(chosen.size), 0).astype(np.int32), bright.shape)
    boxes = []
    for one, (y0, x0, y1, x1) in zip(numbers[wide].tolist(), bbox[wide].tolist(), strict=True):
        box = np.s_[max(y0 - MARGIN, 0) : y1 + MARGIN, max(x0 - MARGIN, 0) : x1 + MARGIN]
        boxes.append((box, (number[box] == one).view(np.uint8)))
    return boxes


def _parts(counts: np.ndarray, own: np.ndarray, brightness: float, min_size: float) -> list[np.ndarray]:
    """The white cells that hold bright pixels `own` (h, w) uint8 0/1, each as `own`.

    counts: (h, w) above the level.
    """
    bright = (counts > EDGE * brightness).view(np.uint8)
    _, number = cv2.connectedComponents(bright, connectivity=4)
    touched = np.zeros(int(number.max()) + 1, np.uint8)
    touched[number[own > 0]] = 1
    touched[0] = 0
    bright = touched[number]
    whole = fill_holes(bright)
    if whole.all():
        return []  # it has no edge here, as where the frame is unevenly lit
    depth = _depths(whole)
    if _is_thin(depth, min_size):
        return []  # and what lies within `whole` is no deeper
    return _parted(depth, whole, bright, min_size)


def _depths(inside: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one that is 0; a cell goes on beyond the edge of the image."""
    wider = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return cv2.distanceTransform(wider, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]


def _is_thin(depth: np.ndarray, min_size: float) -> bool:
    return math.pi * LONG * float(depth.max(initial=0)) ** 2 < THIN * min_size


def _parted(depth: np.ndarray, whole: np.ndarray, bright: np.ndarray, min_size: float) -> list[np.ndarray]:
    """The parts of `whole` nearest to each of the places of greatest `depth`, where they look like white cells."""
    deepest = float(depth.max())
    n, number = cv2.connectedComponents((depth > SEED * deepest).view(np.uint8))
    seeds = [number == seed for seed in range(1, n)]
    away = [cv2.distanceTransform((~seed).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5) for seed in seeds]
    nearest = np.argmin(away, axis=0) if len(seeds) > 1 else 0
    parts = []
    for k, seed in enumerate(seeds):
        deepest = float(depth[seed].max())
        part = whole & ((nearest == k) & (away[k] <= deepest)).view(np.uint8)
        part = cv2.morphologyEx(part, cv2.MORPH_OPEN, _disk(max(deepest / 3, 1)))
        if _looks_like_white_cell(part, bright, min_size):
            parts.append(part)
    return parts


def _looks_like_white_cell(part: np.ndarray, bright: np.ndarray, min_size: float) -> bool:
    area = int(part.sum())
    if area < min_size or int((part & bright).sum()) < FILLED * area:
        return False
    hull = np.zeros_like(part)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(part)), 1)
    if area < SOLID * int(hull.sum()):
        return False
    of_second_order = cv2.moments(part, binaryImage=True)
    xx, xy, yy = (of_second_order[name] / area for name in ("mu20", "mu11", "mu02"))
    short, long = np.linalg.eigvalsh([[xx + 1 / 12, xy], [xy, yy + 1 / 12]])  # a pixel is a square, not a point
    return bool(long <= LONG**2 * short)


def _with_cells(
    objects: Components,
    cells: list[WhiteCell],
    shape: tuple[int, ...],
    usual: float,
    morph_size: int,
    min_size: int,
) -> tuple[Components, np.ndarray]:
    """Step 5 of `with_white_cells`, and the white cells, (H, W) uint8 0/1, with lines of 1 px between them."""
    white = np.zeros(shape, np.uint8)
    there = objects.area > 0
    number = painted(objects, np.where(there, np.arange(there.size), 0).astype(np.int32), shape)
    least: dict[int, float] = {}  # pixels of a piece, by the object that it is left of
    for box, inside in cells:
        cell = inside.view(np.uint8)
        wider = cv2.dilate(cell, _disk(1))
        white[box] = white[box] & ~wider | cell
        for touched in np.flatnonzero(np.bincount(number[box][wider > 0])).tolist():
            least[touched] = REST * min(int(cell.sum()), usual, least.get(touched, np.inf) / REST)
    beside = cv2.dilate(white, _disk(1))
    mask = (number > 0).view(np.uint8) & ~beside
    for touched in least.keys() - {0}:
        own, _ = pixels_of(objects, np.arange(there.size) == touched)
        y, x = np.divmod(own, shape[1])
        box = np.s_[y[0] : y[-1] + 1, x.min() : x.max() + 1]
        inside = number[box] == touched
        rest = (inside & (beside[box] == 0)).view(np.uint8)
        opened = cv2.morphologyEx(rest, cv2.MORPH_OPEN, _disk(morph_size / 2))
        _, pieces, figures, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
        kept = figures[:, cv2.CC_STAT_AREA] >= max(min_size, least[touched])
        kept[0] = False
        mask[box][inside] = kept[pieces[inside]]
    return components(mask | white), white


def _disk(radius: float) -> np.ndarray:
    """A disk as cv2 wants it; of 1 px, a cross."""
    size = 2 * int(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
