"""Part cells that the closing has joined, though a halo or a neck lies between them.

`outline.refine` clears the pixels of halos, and then closes what is left: that heals what it cleared within cells, and
joins cells that are nearer to each other than the closing reaches, as the daughters of a cell are for some frames after
it divided. What is left is looked at here before that: where it lies in two pieces or more that look like cells of
their own, the region is parted between them.
"""

import cv2
import numpy as np

from celltraces.labels import bit_morphology
from celltraces.labels.shapes import Shapes, shapes
from celltraces.segmentation.mask_objects import components, fill_holes, fill_holes_of, morph, painted

GAP = 3  # px: width of the disk of the closing that joins what belongs together; it bridges gaps of 2 px
OPEN = 4  # times, at most: two pieces may hang together by no more than the disk of the opening is wide
WHOLE = 0.95  # of the ellipse with the same second moments: a region that fills more of it is one cell
ALIKE = 0.3  # of the largest piece of a region: the area of another one, at least
COVER = 0.5  # of a region's granular pixels: what all these pieces cover, at least


def part_joined(
    mask: np.ndarray,
    rough: np.ndarray,
    morph_size: int,
    min_size: int,
    max_size: int,
    uncovered: np.ndarray | None,
) -> np.ndarray:
    """`mask` with lines of 1 px between the cells that are apart in `rough`; (H, W) uint8 0/1.

    rough: pixels that are as granular as cells are, and no halo. These are closed with a disk of 3 px, filled, and
    opened with one of `morph_size` px: once, then up to four times, so that wider and wider necks part. Each time, a
    region of `mask` that is no ellipse, or larger than `max_size`, is parted if two or more pieces lie in it that have
    at least `min_size` pixels and 0.3 of the largest one, and cover half of what is `rough` in it. Each of its pixels
    goes to the nearest of these.
    """
    rough = morph(rough & mask, bit_morphology.dilate, bit_morphology.erode, GAP, 1, uncovered) & mask
    rough = fill_holes(rough) if uncovered is None else fill_holes_of(rough, uncovered)
    for times in range(1, OPEN + 1):
        region = _numbered(mask)
        found = shapes(region)
        candidate = (found.filling < WHOLE) & (found.area >= 2 * min_size) | (found.area > max_size)
        if not candidate.any():
            break
        pieces = morph(rough, bit_morphology.erode, bit_morphology.dilate, morph_size, times, uncovered) & mask
        granular = np.bincount(region[rough.view(bool)], minlength=int(found.label[-1]) + 1)[found.label]
        seeds = _seeds(pieces, region, found._replace(area=np.where(candidate, granular, 0)), min_size)
        if seeds is not None:
            mask = mask & ~_between(_nearest(seeds, region))
    return mask


def _seeds(pieces: np.ndarray, region: np.ndarray, regions: Shapes, min_size: int) -> np.ndarray | None:
    """The pieces that look like cells, (H, W) numbers, of those regions that are parted; None if none is.

    region: (H, W) numbers. regions: their shapes, with the number of granular pixels for area; those with 0 are not
    parted.
    """
    piece = _numbered(pieces)
    n_pieces = int(piece.max()) + 1
    at = np.flatnonzero(pieces)
    owner = piece.ravel().take(at)
    area = np.bincount(owner, minlength=n_pieces)
    of = np.zeros(n_pieces, np.intp)
    of[owner] = region.ravel().take(at)
    rough = np.zeros(int(regions.label[-1]) + 1, np.int64)
    rough[regions.label] = regions.area
    largest = np.zeros(rough.size, np.int64)
    np.maximum.at(largest, of, area)
    cell = (area >= min_size) & (area >= ALIKE * largest.take(of)) & (rough.take(of) > 0)
    number, covered = (np.bincount(of[cell], weights, rough.size) for weights in (None, area[cell]))
    cell &= ((number > 1) & (covered >= COVER * rough)).take(of)
    return np.where(cell, np.arange(n_pieces), 0).take(piece) if cell.any() else None


def _numbered(mask: np.ndarray) -> np.ndarray:
    """(H, W) int32: the number of the object that a pixel is in, 0 elsewhere."""
    objects = components(mask)
    return painted(objects, np.arange(objects.area.size, dtype=np.int32), mask.shape)


def _nearest(seeds: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(H, W) numbers: of each pixel of the regions that hold seeds, that of the nearest seed's pixel; 0 elsewhere."""
    beyond = (seeds == 0).astype(np.uint8)
    _, index = cv2.distanceTransformWithLabels(beyond, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    known = seeds > 0
    number = np.zeros(int(index.max()) + 1, seeds.dtype)
    number[index[known]] = seeds[known]
    held = np.zeros(int(region.max()) + 1, bool)
    held[region[known]] = True
    return np.where(held.take(region), number.take(index), 0)


def _between(numbers: np.ndarray) -> np.ndarray:
    """(H, W) uint8 0/1: pixels of which the next one, to the right or below, has another number; both are not 0."""
    line = np.zeros(numbers.shape, bool)
    line[:, :-1] |= (numbers[:, 1:] != numbers[:, :-1]) & (numbers[:, 1:] > 0) & (numbers[:, :-1] > 0)
    line[:-1] |= (numbers[1:] != numbers[:-1]) & (numbers[1:] > 0) & (numbers[:-1] > 0)
    return line.view(np.uint8)
