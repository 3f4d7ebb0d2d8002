"""Part evenly granular cells that touch, where the outline has a neck.

Where no halo lies between two cells, and both are granular all over, the outline alone tells that they are two. It is
asked only if what the necks part are ellipses: outlines of single cells of other shapes have necks too.
"""

import math

import cv2
import numpy as np

from celltraces.labels.objects import Components, bounds_of, components, cut_out, painted, some_pixels_of
from celltraces.labels.shapes import shapes_of_runs
from celltraces.segmentation.even_clumps import evenly_granular
from celltraces.segmentation.mask_objects import between
from celltraces.segmentation.percentiles import percentile

NECK = 0.9  # of the depth of the shallower of two cells: a neck is less deep
WHOLE = 0.97  # of the ellipse with the same second moments: a region that fills more of it is one cell
ELLIPSE = 0.95  # of its ellipse, that a part fills which is one cell
MOST = 0.75  # of a region's pixels, that are in such parts
ALIKE = 0.4  # of the frame's usual region: a part's area, at least
SMOOTHING = 1.0  # px, standard deviation, of depths
PEAK = 11  # px: within a square of this width a depth is the greatest where a cell has its middle
EVERY = 4  # one in so many pixels tells whether a region is evenly granular
STEPS = 6  # halvings of the interval in which the depth of a neck lies


def part_at_necks(
    regions: Components, spread: np.ndarray, shape: tuple[int, ...], min_size: int, max_size: int
) -> Components:
    """The regions with lines of 1 px across the necks between cells that touch.

    Only regions are looked at that are no ellipse, and evenly granular. Depth is the distance of a pixel from what lies
    outside of its region, smoothed. A cell has its middle where that is greatest within 11 x 11 px; two middles are two
    cells' if the deepest way from one to the other leads through places less deep than 0.9 of the shallower one. The
    necks part a region, beginning with the one that is the least deep: each pixel goes to the nearest of the places
    that are deeper than it. A part has `min_size` pixels, and 0.4 of the median region, or its middle does not count. A
    region is parted if the parts that are ellipses have 0.75 of its pixels.
    spread: (H, W), what `local_variance.n2_variance` gave. Regions with area 0 are none.
    """
    found = shapes_of_runs(*regions[:3], shape)
    there = regions.area.take(found.label) > 0
    counted = found.area[there & (found.area >= min_size) & (found.area <= max_size)]
    usual = percentile(counted, 50) if counted.size else float(min_size)
    candidate = np.zeros(regions.area.size, bool)
    least = max(min_size, ALIKE * usual)
    candidate[found.label] = there & (found.filling < WHOLE) & (found.area >= 2 * least)
    if candidate.any():
        at, of = some_pixels_of(regions, candidate, EVERY)
        candidate = evenly_granular(of, spread.ravel().take(at), candidate.size)
    if not candidate.any():
        return regions
    cut = cut_out(regions, candidate, shape, 1)
    lines = np.zeros(cut.shape, np.uint8)
    number = painted(cut.objects, np.arange(cut.objects.area.size, dtype=np.int32), cut.shape)
    numbers, bbox = bounds_of(cut.objects, cut.objects.area > 0, cut.shape[1])
    for region, (y0, x0, y1, x1) in zip(numbers.tolist(), bbox.tolist(), strict=True):
        box = np.s_[y0:y1, x0:x1]
        inside = number[box] == region
        parts = _parts(inside, least)
        if len(parts) > 1 and sum(part.sum() for part in parts if _filling(part) >= ELLIPSE) >= MOST * inside.sum():
            lines[box] |= between(np.sum([n * part for n, part in enumerate(parts, start=1)], axis=0, dtype=np.int32))
    if not lines.any():
        return regions
    parted = painted(regions, (regions.area > 0).view(np.uint8), shape)
    parted.ravel()[cut.outside(np.flatnonzero(lines.view(bool)))] = 0
    return components(parted)


def _parts(inside: np.ndarray, least: float) -> list[np.ndarray]:
    """The parts of a region, (h, w) bool each, of `least` pixels or more; one if there is no neck."""
    wider = cv2.copyMakeBorder(inside.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.GaussianBlur(cv2.distanceTransform(wider, cv2.DIST_L2, cv2.DIST_MASK_5), (0, 0), SMOOTHING)
    depth = depth[1:-1, 1:-1] * inside
    done, todo = [], [(inside, _middles(depth))]
    while todo:
        part, middles = todo.pop()
        pieces = _cut(part, depth, middles, least)
        if len(pieces) == 1:
            done.append(part)
        todo += pieces if len(pieces) > 1 else []
    return done


def _middles(depth: np.ndarray) -> np.ndarray:
    """Positions in the flat image of the middles of cells, the deepest first."""
    highest = cv2.dilate(depth, np.ones((PEAK, PEAK), np.uint8))
    peaks = np.flatnonzero((depth == highest) & (depth > 0))
    flat = depth.ravel()
    middles: list[int] = []
    for peak in peaks[np.argsort(-flat.take(peaks), kind="stable")].tolist():
        place = _places(depth, NECK * float(flat[peak])) if middles else None
        if place is None or place[peak] not in place.take(middles):
            middles.append(peak)
    return np.array(middles)


def _places(depth: np.ndarray, level: float) -> np.ndarray:
    """The numbers of the 4-connected places that are deeper than that, flat; 0 where it is not."""
    return cv2.connectedComponents((depth > level).view(np.uint8), connectivity=4)[1].ravel()


def _cut(part: np.ndarray, depth: np.ndarray, middles: np.ndarray, least: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pieces of a part, each with its middles, on both sides of the neck that is the least deep; the part itself,
    if there is none between pieces of `least` pixels or more.

    How deep the neck is is found to a 64th of the depth of the shallowest middle.
    """
    own = depth * part
    while middles.size > 1:
        low, high = 0.0, NECK * float(own.ravel().take(middles).min())
        place = _places(own, high)
        for _ in range(STEPS):
            level = (low + high) / 2
            places = _places(own, level)
            place_of = places.take(middles)
            if (place_of != place_of[0]).any():
                high, place = level, places
            else:
                low = level
        place_of = place.take(middles)
        numbers = np.flatnonzero(np.bincount(place_of))
        away = [cv2.distanceTransform((place != n).view(np.uint8).reshape(part.shape), cv2.DIST_L2, 5) for n in numbers]
        nearest = np.argmin(away, axis=0)
        pieces = [part & (nearest == k) for k in range(numbers.size)]
        area = np.array([np.count_nonzero(piece) for piece in pieces])
        if area.min() >= least:
            return [(piece, middles[place_of == n]) for piece, n in zip(pieces, numbers, strict=True)]
        middles = middles[place_of != numbers[area.argmin()]]
    return [(part, middles)]


def _filling(part: np.ndarray) -> float:
    """The pixels of a part by those of the ellipse with the same second moments."""
    moments = cv2.moments(part.view(np.uint8), binaryImage=True)
    area = moments["m00"]
    yy, xx, xy = (moments[name] / area for name in ("mu02", "mu20", "mu11"))
    return area / (4 * math.pi * math.sqrt((yy + 1 / 12) * (xx + 1 / 12) - xy**2))
