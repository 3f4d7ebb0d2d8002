"""Part cells that the closing has joined, though a halo or a neck lies between them.

`outline.refine` clears the pixels of halos, and then closes what is left: that heals what it cleared within cells, and
joins cells that are nearer to each other than the closing reaches, as the daughters of a cell are for some frames after
it divided. What is left is looked at here before that: where it lies in two pieces or more that look like cells of
their own, the region is parted between them.
"""

import cv2
import numpy as np

from celltraces.labels import bit_morphology
from celltraces.labels.objects import (
    Components,
    bounds_of,
    components,
    cut_out,
    in_raster_order,
    painted,
    pixels_of,
    replaced,
)
from celltraces.labels.shapes import shapes_of_runs
from celltraces.segmentation.mask_objects import between, fill_holes, morph, openings
from celltraces.segmentation.percentiles import percentile

GAP = 3  # px: width of the disk of the closing that joins what belongs together; it bridges gaps of 2 px
APART = 3  # px between regions in what is looked at, at least, so that the closing joins none
OPEN = 4  # times, at most: two pieces may hang together by no more than the disk of the opening is wide
WHOLE = 0.95  # of the ellipse with the same second moments: a region that fills more of it is one cell
LEFT = 2  # the openings leave half of a usual region's pixels, or more
ALIKE = 0.4  # of the frame's median piece, or of its region's largest if that is smaller: a piece's area, at least
COVER = 0.5  # of a region's granular pixels: what all these pieces cover, at least


def part_joined(
    regions: Components,
    kept: np.ndarray,
    spread: np.ndarray,
    least: np.ndarray,
    morph_size: int,
    min_size: int,
    max_size: int,
    uncovered: np.ndarray | None,
) -> Components:
    """The regions with lines of 1 px between the cells that are apart in what is granular in them.

    Granular are the pixels of `kept`, (H, W) uint8 0/1, no halo, of which `spread`, (H, W), is at least what `least`,
    (n,), says of their region. Only regions are looked at that are no ellipse, or larger than `max_size`. What is
    granular in these is closed with a disk of 3 px, filled, and opened with one of `morph_size` px: once, then up to
    four times, so that wider and wider necks part. Each time, a region is parted if two or more pieces lie in it that
    have at least `min_size` pixels, and 0.4 of the largest one or of the frame's usual piece, and cover half of what is
    granular in it. Each of its pixels goes to the nearest of these. The usual piece is the median of those of
    `min_size` or more, where a region that is not looked at is a piece of half its pixels. Those with area 0 are none.
    """
    there = regions.area.take(regions.owner) > 0
    regions = Components(*(of_runs[there] for of_runs in regions[:3]), regions.area)
    looked_at = _may_be_joined(regions, kept.shape, min_size, max_size)
    if not looked_at.any():
        return regions
    cut = cut_out(regions, looked_at, kept.shape, APART)
    joined = cut.objects
    if uncovered is not None:
        uncovered = np.ascontiguousarray(cut.of(uncovered))
    mask = painted(joined, (joined.area > 0).view(np.uint8), cut.shape)
    least = painted(joined, np.ceil(np.append(0, least[looked_at])).astype(spread.dtype), cut.shape)
    rough = cut.of(kept) & (cut.of(spread) >= least).view(np.uint8) & mask
    rough = morph(rough, bit_morphology.dilate, bit_morphology.erode, GAP, 1, uncovered) & mask
    rough = fill_holes(rough, uncovered)
    alone = regions.area[~looked_at] // LEFT
    candidate = np.append(False, np.ones(joined.area.size - 1, bool))
    at_edge = uncovered is not None or any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    for times, opened in enumerate(openings(rough, morph_size, range(1, OPEN + 1), uncovered), 1):
        pieces = components(opened & mask)
        if not pieces.start.size:
            break
        others = np.concatenate([alone, joined.area[~candidate] // LEFT])
        cell_of = _cells(pieces, joined, candidate, rough, others, min_size)
        if cell_of.any():
            parted = np.bincount(cell_of, minlength=joined.area.size) > 0
            parted[0] = False
            lines, parts = _divided(joined, parted, pieces, cell_of, mask.shape)
            mask.ravel()[lines] = 0
            joined = replaced(joined, parted, parts)
            candidate = np.append(candidate & ~parted, _may_be_joined(parts, mask.shape, min_size, max_size)[1:])
        largest = joined.area[candidate].max(initial=0)
        if not at_edge and 2 * bit_morphology.disk_area(morph_size // 2, times + 1) > largest:
            break  # the next opening leaves two pieces of larger ones only; at an edge a piece may be part of a disk
    if joined is cut.objects:
        return regions
    rest = regions._replace(area=np.where(looked_at, 0, regions.area))
    return in_raster_order(rest, joined._replace(start=cut.outside(joined.start)))


def _may_be_joined(regions: Components, shape: tuple[int, ...], min_size: int, max_size: int) -> np.ndarray:
    """Whether each region is no ellipse, or larger than `max_size`, (n,) bool. Those with area 0 have no runs."""
    found = shapes_of_runs(*regions[:3], shape)
    candidate = np.zeros(regions.area.size, bool)
    candidate[found.label] = (found.filling < WHOLE) & (found.area >= 2 * min_size) | (found.area > max_size)
    return candidate


def _cells(
    pieces: Components, regions: Components, candidate: np.ndarray, rough: np.ndarray, alone: np.ndarray, min_size: int
) -> np.ndarray:
    """The region of each piece that looks like a cell, if the region is to be parted; 0 for all other pieces.

    candidate: (n,) bool, the regions that may be parted. rough: (H, W) uint8 0/1, granular pixels. alone: areas of the
    pieces of all other regions.
    """
    of = np.zeros(pieces.area.size, np.int64)
    of[pieces.owner] = regions.owner.take(np.searchsorted(regions.start, pieces.start, "right") - 1)
    cell = (pieces.area >= min_size) & candidate.take(of)
    if np.bincount(of[cell]).max(initial=0) < 2:
        return np.zeros_like(of)
    largest = np.zeros(candidate.size, np.int64)
    np.maximum.at(largest, of[cell], pieces.area[cell])
    counted = np.concatenate([alone[alone >= max(min_size, 1)], pieces.area[cell]])
    usual = np.minimum(largest, percentile(counted, 50))
    cell &= pieces.area >= ALIKE * usual.take(of)
    number, covered = (np.bincount(of[cell], weights, candidate.size) for weights in (None, pieces.area[cell]))
    parted = number > 1
    pixels, owner = pixels_of(regions, parted)
    parted &= covered >= COVER * np.bincount(owner, rough.ravel().take(pixels), candidate.size)
    return np.where(cell & parted.take(of), of, 0)


def _divided(
    regions: Components, parted: np.ndarray, pieces: Components, cell_of: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, Components]:
    """Lines of 1 px between the parts of the regions that are `parted`, (n,) bool, as positions in the flat image, and
    the parts without them.

    cell_of: of each piece, the region that is parted between it and others; 0 for a piece that does not count. Lines
    are where in a region the pixels that are nearest to one and to another piece meet. Distances are those of OpenCV's
    5 x 5 mask, 2 % too small or large at most. Of two pieces that are equally near, a pixel goes to the one with the
    lower number.
    """
    cut = cut_out(regions, parted, shape, 1)
    number = painted(cut.objects, np.arange(cut.objects.area.size, dtype=np.int32), cut.shape)
    piece = painted(cut.inside(pieces, cell_of > 0), np.arange(cell_of.size, dtype=np.int32), cut.shape)
    inside = (number > 0).view(np.uint8)
    lines = np.zeros(cut.shape, np.uint8)
    numbers, bbox = bounds_of(cut.objects, cut.objects.area > 0, cut.shape[1])
    for region, of_whole, (y0, x0, y1, x1) in zip(
        numbers.tolist(), np.flatnonzero(parted).tolist(), bbox.tolist(), strict=True
    ):
        box = np.s_[y0:y1, x0:x1]
        here = number[box] == region
        own = piece[box] * here
        free = np.flatnonzero(here & (own == 0))
        seeds = np.flatnonzero(cell_of == of_whole)
        nearest, least = np.full(free.size, seeds[0]), np.full(free.size, np.inf, np.float32)
        for seed in seeds.tolist():
            outside = (own != seed).view(np.uint8)
            away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5).ravel().take(free)
            nearest[away < least] = seed
            np.minimum(least, away, out=least)
        own.ravel()[free] = nearest
        lines[box] |= between(own)
    parts = components(inside & ~lines)
    return cut.outside(np.flatnonzero(lines.view(bool))), parts._replace(start=cut.outside(parts.start))
