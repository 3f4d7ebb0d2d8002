"""Find white cells: round ones, as cells are that divide, are balls and therefore brighter than all around them.

`outline.refine` takes what is bright for halo. So of a white cell a middle or a crescent is left, or one region holds
two sisters and the light between them. Halos are bright too, but they are narrow, or rings around something dark: a
white cell is a compact body that is bright inside. It ends where its brightness falls to half.

Whole frames are compared once; all else is done in the boxes of what is bright.
"""

from typing import NamedTuple

import cv2
import numpy as np

from celltraces.segmentation.mask_objects import Components, components, painted, pixels_of

SAMPLE = 4  # of every fourth pixel of every fourth row the level and the darkness of cells are measured
DARK = 3  # per cent of the pixels in regions are darker than what is called the darkness of the cells
BRIGHT = 1.2  # darknesses above the level: what is so bright may be a white cell
PEAK = 1.5
NOISE = 4.0  # STDs of the background: darkness, at least
INSIDE = 75  # per cent of the bright pixels of a white cell are darker than what is called its brightness
MARGIN = 12  # px around the bright pixels that are looked at
EDGE = 0.35
SEED = 0.65  # of the greatest depth in a bright region: what is deeper than this and apart are two cells
USUAL = 10  # a white cell has at least the sixth part of the pixels of the median object
BESIDE = 4  # px
IN_CELL = 0.3
HOLE = 0.3  # of its pixels may be darker than half of its brightness, at most
SOLID = 0.85  # of its convex hull, at least
LONG = 2.2  # length by width, at most
RIM = 6  # px: how far from the bright body the edge is sought where it has a dark rim
RIM_DARK = 0.0  # darknesses below the level: a rim, at least
RIM_EDGE = 0.25
RISE = 0.1  # of the brightness: so much brighter than the rim is the halo, at least
REST = 0.4  # of the white cell, or of the median object: what is left beside it is a cell if it is no smaller


class Body(NamedTuple):
    """A white cell. box: rows and columns. mask: bool, of the pixels in the box."""

    box: tuple[slice, slice]
    mask: np.ndarray


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
    up to 16 bits. std: of the background, counts. Returns `objects` themselves where no cell is white.
    """
    white = np.zeros(image.shape, np.uint8)
    sample = np.s_[::SAMPLE, ::SAMPLE]
    values, within = image[sample], regions[sample].view(bool)
    if uncovered is not None:
        values, within = values[~uncovered[sample]], within[~uncovered[sample]]
    if not within.any():
        return objects, white
    level = float(np.median(values if within.all() else values[~within]))
    dark = max(level - float(np.percentile(values[within], DARK)), NOISE * std)
    area = objects.area[(objects.area >= min_size) & (objects.area <= max_size)]
    usual = _usual_area(area) if area.size else 0.0
    least = max(min_size, usual / USUAL)
    bodies = _bodies(image, level, BRIGHT * dark, least, max_size)
    if not bodies:
        return objects, white
    return _merged(objects, bodies, white, image, level + dark / 4, usual, morph_size, min_size)


def _bodies(image: np.ndarray, level: float, bright: float, least: float, max_size: int) -> list[Body]:
    found = components(cv2.compare(image, np.ceil(level + bright), cv2.CMP_GE) & 1)
    large = (2 * found.area >= least) & (found.area <= max_size)
    bodies: list[Body] = []
    height, width = image.shape
    runs = np.flatnonzero(large.take(found.owner))
    runs = runs[np.argsort(found.owner.take(runs), kind="stable")]
    owner = found.owner.take(runs)
    y, x = np.divmod(found.start.take(runs), width)
    end = x + found.length.take(runs)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    if not first.size:
        return bodies
    last = np.append(first[1:], owner.size) - 1
    taken = np.zeros(image.shape, bool)
    for y0, y1, x0, x1, a, b in zip(
        y[first], y[last] + 1, np.minimum.reduceat(x, first), np.maximum.reduceat(end, first), first, last + 1, strict=True
    ):
        if min(y1 - y0, x1 - x0) ** 2 < least / LONG:
            continue
        box = np.s_[max(y0 - MARGIN, 0) : min(y1 + MARGIN, height), max(x0 - MARGIN, 0) : min(x1 + MARGIN, width)]
        own = np.zeros(image[box].shape, np.uint8)
        for row, left, right in zip(y[a:b] - box[0].start, x[a:b] - box[1].start, end[a:b] - box[1].start, strict=True):
            own[row, left:right] = 1
        counts = cv2.blur(image[box].astype(np.float32), (3, 3)) - np.float32(level)
        brightness = float(np.percentile(counts[own > 0], INSIDE))
        if brightness < PEAK * bright:
            continue
        bodies += _in_box(counts, own, brightness, bright / BRIGHT, least, box, taken)
    return bodies


def _in_box(counts, own, brightness, dark, least, box, taken):
    half = (counts > EDGE * brightness).view(np.uint8)
    _, number = cv2.connectedComponents(half, connectivity=4)
    touched = np.unique(number[own > 0])
    half = np.isin(number, touched[touched > 0]).view(np.uint8)
    whole = _filled(half)
    if whole.sum() < least:
        return []
    depth = cv2.distanceTransform(cv2.copyMakeBorder(whole, 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.DIST_L2, 5)[1:-1, 1:-1]
    n, number = cv2.connectedComponents((depth > SEED * depth.max()).view(np.uint8))
    away = np.stack([cv2.distanceTransform((number != k).view(np.uint8), cv2.DIST_L2, 5) for k in range(1, n)])
    nearest = away.argmin(axis=0)
    pieces = []
    for k in range(n - 1):
        deepest = float(depth[number == k + 1].max())
        piece = (whole > 0) & (nearest == k) & (away[k] <= deepest)
        piece = cv2.morphologyEx(piece.view(np.uint8), cv2.MORPH_OPEN, _disk(max(deepest / 3, 1)), borderType=cv2.BORDER_REPLICATE)
        if _is_body(piece, half, least):
            pieces.append(piece)
    result = []
    for piece in pieces:
        if taken[box][piece > 0].any():
            continue
        others = sum((p for p in pieces if p is not piece), np.zeros_like(piece)) > 0
        piece = _with_rim(piece, others, counts, brightness, dark)
        beside = cv2.dilate(piece.view(np.uint8), _disk(BESIDE)).view(bool) & ~piece & ~others
        if (counts[beside] < -dark / 2).sum() > IN_CELL * beside.sum():
            continue
        taken[box] |= piece
        result.append(Body(box, piece))
    return result


def _is_body(piece, half, least):
    area = int(piece.sum())
    if area < least or (1 - HOLE) * area > (piece & half).sum():
        return False
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)
    hull = np.zeros_like(piece)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    if area < SOLID * hull.sum():
        return False
    m = cv2.moments(piece, binaryImage=True)
    spread = np.linalg.eigvalsh(np.array([[m["mu20"], m["mu11"]], [m["mu11"], m["mu02"]]]) / area + np.eye(2) / 12)
    return bool(spread[1] <= LONG**2 * spread[0])


def _with_rim(piece, others, counts, brightness, dark):
    away = cv2.distanceTransform(1 - piece, cv2.DIST_L2, 5)
    layer = np.ceil(away).astype(np.int64)
    layer[others] = 2 * RIM + 1
    layer = np.minimum(layer, 2 * RIM + 1)
    n = np.bincount(layer.ravel(), minlength=2 * RIM + 2)
    mean = np.bincount(layer.ravel(), counts.ravel(), 2 * RIM + 2) / np.maximum(n, 1)
    mean = mean[: 2 * RIM + 1]
    lowest = 1 + int(np.argmin(mean[1 : RIM + 1]))
    highest = lowest + int(np.argmax(mean[lowest:]))
    if mean[lowest] > -RIM_DARK * dark or mean[highest] - mean[lowest] < RISE * brightness:
        return piece > 0
    middle = mean[lowest] + RIM_EDGE * (mean[highest] - mean[lowest])
    edge = lowest + int(np.argmax(mean[lowest:] > middle)) - 1
    return (away <= edge) & ~others


def _merged(objects, bodies, white, image, halo, usual, morph_size, min_size):
    shape = image.shape
    mask = painted(objects, (objects.area > 0).view(np.uint8), shape)
    number = painted(objects, np.where(objects.area > 0, np.arange(objects.area.size), 0).astype(np.int32), shape)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    smallest: dict[int, float] = {}
    near = np.zeros(shape, bool)
    for box, body in bodies:
        line = cv2.dilate(body.view(np.uint8), cross)
        wide = cv2.dilate(line, np.ones((2 * MARGIN + 1,) * 2, np.uint8)) > 0
        near[box] |= wide
        for k in np.unique(number[box][line > 0]).tolist():
            if k:
                smallest[k] = min(REST * body.sum(), smallest.get(k, np.inf))
        white[box] &= 1 - line
        white[box] |= body.view(np.uint8)
    chosen = np.zeros(objects.area.size, bool)
    chosen[list(smallest)] = True
    at, of = pixels_of(objects, chosen)
    for k in smallest:
        own = at[of == k]
        y, x = np.divmod(own, shape[1])
        b = np.s_[y.min() : y.max() + 1, x.min() : x.max() + 1]
        rest = (number[b] == k) & ~(cv2.dilate(white, np.ones((3, 3), np.uint8))[b] > 0)
        rest &= ~(near[b] & (cv2.blur(image[b].astype(np.float32), (3, 3)) > halo))
        rest = _filled(rest.view(np.uint8))
        rest = cv2.morphologyEx(rest, cv2.MORPH_OPEN, _disk(morph_size / 2))
        rest &= cv2.dilate(white, np.ones((3, 3), np.uint8))[b] ^ 1
        n, parts, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=4)
        keep = stats[:, cv2.CC_STAT_AREA] >= max(min_size, min(smallest[k], REST * usual))
        keep[0] = False
        mask[b][number[b] == k] = keep[parts][number[b] == k]
    mask &= 1 - cv2.dilate(white, cross)
    mask |= white
    return components(mask), white


def _filled(mask: np.ndarray) -> np.ndarray:
    wider = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(wider, None, (0, 0), 2)
    return (wider[1:-1, 1:-1] != 2).view(np.uint8)


def _disk(radius: float) -> np.ndarray:
    size = 2 * int(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _usual_area(areas: np.ndarray) -> float:
    areas = np.sort(areas)
    total = np.cumsum(areas)
    return float(areas[np.searchsorted(2 * total, total[-1])])
