"""Tell clumps of evenly granular cells, and take out of them what is no cell.

Where cells are granular all over, a higher threshold takes pieces out of all of them alike, and so parts none. But then
it is known how granular a cell is: as the clump's median pixel. What is far smoother lies between cells: halos, and
background that the closing took in.
"""

import math

import numpy as np

from celltraces.labels import bit_morphology
from celltraces.labels.objects import Components, components, cut_out, means, painted, some_pixels_of
from celltraces.segmentation.mask_objects import morph
from celltraces.segmentation.percentiles import percentile

EVEN = 0.25  # log-STD: by how much the median of a region is below the root mean square of its STD, at most
EVERY = 16  # one in so many pixels of large regions tells whether these are evenly granular, and their median
SMOOTH = 1.0  # log-STD below a clump's median: what is smoother lies between cells
GAP = 3  # px: width of the disk of the closing of what is not
APART = 3  # px between clumps in what is looked at, at least, so that the closing joins none
COVER = 2  # all pieces cover at least one in so many pixels of a clump


def evenly_granular(of: np.ndarray, variance: np.ndarray, n: int) -> np.ndarray:
    """Which of `n` regions are evenly granular, (n,) bool, by some of their pixels; those with none are not.

    of: of each of these pixels, the region. variance: what `local_variance.n2_variance` gave. Even is a region of which
    half of the pixels or more have a log-STD no more than 0.25 below the root mean square of its STD: the mean is that
    of the middle, not of some rough places.
    """
    number = np.bincount(of, minlength=n)
    mean = means(of, variance, number)
    as_rough = variance >= (mean * math.exp(-2 * EVEN)).take(of)
    return (mean > 0) & (2 * np.bincount(of, as_rough, n) >= number)


def without_gaps(
    mask: np.ndarray,
    regions: Components,
    spread: np.ndarray,
    morph_size: int,
    min_size: int,
    max_size: int,
    uncovered: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """`mask` without what is smooth in clumps of evenly granular cells, and which regions these are.

    Clumps are regions of more than `max_size` pixels that are evenly granular. Smooth is what is more than 1.0 below
    their median log-STD. The rest is closed with a disk of 3 px, and opened with a disk of `morph_size` px. Pieces are
    what then has `min_size` pixels. A region with one piece alone, or of which they cover less than the half, stays as
    it is. Returns (H, W) uint8 0/1, and bool, of each region.
    """
    at, of = some_pixels_of(regions, regions.area > max_size, EVERY)
    variance = spread.ravel().take(at)
    clump = evenly_granular(of, variance, regions.area.size)
    if not clump.any():
        return mask, clump
    cut = cut_out(regions, clump, mask.shape, APART)
    if uncovered is not None:
        uncovered = np.ascontiguousarray(cut.of(uncovered))
    number = painted(cut.objects, np.arange(cut.objects.area.size), cut.shape)
    inside = (number > 0).view(np.uint8)
    median = [percentile(variance[of == region], 50) for region in np.flatnonzero(clump)]
    least = np.array([0, *median]) * math.exp(-2 * SMOOTH)
    rough = (cut.of(spread) >= least.take(number)).view(np.uint8) & inside
    rough = morph(rough, bit_morphology.dilate, bit_morphology.erode, GAP, 1, uncovered) & inside
    rough = morph(rough, bit_morphology.erode, bit_morphology.dilate, morph_size, 1, uncovered) & inside
    pieces = components(rough)
    large = pieces.area >= min_size
    kept = painted(pieces, large.view(np.uint8), cut.shape) & rough
    of = np.zeros(pieces.area.size, np.int64)
    of[pieces.owner] = number.ravel().take(pieces.start)
    n, covered = (np.bincount(of[large], weights, least.size) for weights in (None, pieces.area[large]))
    apart = (n > 1) & (COVER * covered >= cut.objects.area)
    apart[0] = False
    clump[clump] = apart[1:]
    result = mask.copy()
    y, x = np.nonzero(apart.take(number) & (kept == 0))
    result[cut.rows.take(y), cut.columns.take(x)] = 0
    return result, clump
