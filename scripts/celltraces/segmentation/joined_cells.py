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
from celltraces.segmentation.mask_objects import fill_holes, fill_holes_of, label_mask, morph

GAP = 3  # px: width of the disk of the closing that joins what belongs together; it bridges gaps of 2 px
OPEN = 4  # times, at most: two pieces may hang together by no more than the disk of the opening is wide
WHOLE = 0.95  # of the ellipse with the same second moments: a region that fills more of it is one cell
ALIKE = 0.4  # of the frame's median piece, or of its region's largest if that is smaller: a piece's area, at least
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
    at least `min_size` pixels, and 0.4 of the largest one or of the median of all the frame's pieces of `min_size` or
    more, and cover half of what is `rough` in it. Each of its pixels goes to the nearest of these.
    """
    rough = morph(rough & mask, bit_morphology.dilate, bit_morphology.erode, GAP, 1, uncovered) & mask
    rough = fill_holes(rough) if uncovered is None else fill_holes_of(rough, uncovered)
    for times in range(1, OPEN + 1):
        _, region = label_mask(mask)
        found = shapes(region)
        candidate = (found.filling < WHOLE) & (found.area >= 2 * min_size) | (found.area > max_size)
        if not candidate.any():
            break
        pieces = morph(rough, bit_morphology.erode, bit_morphology.dilate, morph_size, times, uncovered) & mask
        granular = np.bincount(region[rough.view(bool)], minlength=int(found.label[-1]) + 1)[found.label]
        seeds = _seeds(pieces, region, found._replace(area=np.where(candidate, granular, 0)), min_size)
        if seeds is not None:
            mask = _parted(mask, region, seeds)
    return mask


def _seeds(pieces: np.ndarray, region: np.ndarray, regions: Shapes, min_size: int) -> np.ndarray | None:
    """The pieces that look like cells, (H, W) numbers, of those regions that are parted; None if none is.

    region: (H, W) numbers. regions: their shapes, with the number of granular pixels for area; those with 0 are not
    parted.
    """
    n_pieces, piece = label_mask(pieces)
    at = np.flatnonzero(pieces)
    owner = piece.ravel().take(at)
    area = np.bincount(owner, minlength=n_pieces)
    of = np.zeros(n_pieces, np.intp)
    of[owner] = region.ravel().take(at)
    rough = np.zeros(int(regions.label[-1]) + 1, np.int64)
    rough[regions.label] = regions.area
    largest = np.zeros(rough.size, np.int64)
    np.maximum.at(largest, of, area)
    cell = area >= min_size
    cell[0] = False
    if not cell.any():
        return None
    usual = np.minimum(largest, np.median(area[cell]))
    cell &= (area >= ALIKE * usual.take(of)) & (rough.take(of) > 0)
    number, covered = (np.bincount(of[cell], weights, rough.size) for weights in (None, area[cell]))
    cell &= ((number > 1) & (covered >= COVER * rough)).take(of)
    return np.where(cell, np.arange(n_pieces), 0).take(piece) if cell.any() else None


def _parted(mask: np.ndarray, region: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """`mask` with lines of 1 px where in a region (H, W) numbers of seeds meet, each grown to the pixels nearest to it.

    Of two seeds that are equally near, a pixel goes to the one with the lower number.
    """
    parted = np.zeros(int(region.max()) + 1, bool)
    parted[region[seeds > 0]] = True
    parted[0] = False
    at = np.flatnonzero(parted.take(region))
    owner = region.ravel().take(at)
    order = np.argsort(owner, kind="stable")
    result = mask.copy()
    for pixels in np.split(at[order], np.flatnonzero(np.diff(owner[order])) + 1):
        y, x = np.divmod(pixels, mask.shape[1])
        box = slice(y[0], y[-1] + 1), slice(int(x.min()), int(x.max()) + 1)
        inside = region[box] == region[y[0], x[0]]
        own = np.where(inside, seeds[box], 0)
        away = [
            cv2.distanceTransform((own != number).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            for number in np.unique(own[own > 0]).tolist()
        ]
        result[box] &= ~_between(np.where(inside, 1 + np.argmin(away, axis=0), 0))
    return result


def _between(numbers: np.ndarray) -> np.ndarray:
    """(H, W) uint8 0/1: pixels of which the next one, to the right or below, has another number; both are not 0."""
    line = np.zeros(numbers.shape, bool)
    line[:, :-1] |= (numbers[:, 1:] != numbers[:, :-1]) & (numbers[:, 1:] > 0) & (numbers[:, :-1] > 0)
    line[:-1] |= (numbers[1:] != numbers[:-1]) & (numbers[1:] > 0) & (numbers[:-1] > 0)
    return line.view(np.uint8)
