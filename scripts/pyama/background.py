"""Background fluorescence of a frame: tile medians, and a smooth surface through their centroids.

One frame of one channel at a time, in two scales:

1. On means of 4 x 4 pixels, a few quick rounds find where the background runs and where light shines that no mask
   covers (cells that were not segmented, debris, all cells when there is no phase contrast). Such light is hidden
   like a cell.
2. On the pixels, what is left over that first surface is measured by exact medians of the background pixels in
   tiles with 50 % overlap, and the surface through them is added.

A median stands at the centroid of the background pixels of its tile. Medians of the *remainder* are what makes this
accurate: the median of a tile in which the background is curved is not the background at any known point (tiles of
64 pixels: 4 counts off under a vignette of 1,000 counts in 512 pixels), while over a remainder of a few counts that
error vanishes.

The surface is a penalised tensor product of cubic B-splines (Eilers & Marx 1996, Statist. Sci. 11:89) with the
penalty of a thin-plate spline: smooth, and straight on where there are no data, like the thin-plate spline itself,
but with one unknown per tile in a banded system: milliseconds for the 4,000 tiles of a 2048 x 2048 frame, where
the dense system of a thin-plate spline takes seconds.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Weights of the bending penalty, for sites of weight 1 at four per knot interval. The first fit has to stay stiff to
# tell light from background; the fine one lets waves longer than about two tiles pass.
_FIRST_STIFFNESS = 5e-3
_COARSE_STIFFNESS = 1e-3
_FINE_STIFFNESS = 1e-2
# Share of a slope penalty in it: too little for data to feel, enough to make one lone tile a constant and to let a
# slope run out far from all data.
_SLOPE_SHARE = 1e-2
# Where the first fit turns sites down, in robust standard deviations above it. The first cuts are wide: they are made
# on fits that the light still pulls up.
_CUTS = (20, 10, 6, 6, 6)
_ROUNDS = 2
# Share of a tile's area (or of a smaller image's) that must be background for its median to be used.
_MIN_SHARE = 1 / 64
# Steps per count in the remainders that are measured by medians; they may span +- 4,096 counts.
_STEPS = 8
_ZERO = 32768


def estimate_background(
    image: NDArray[np.uint16], foreground: Mask | None, *, tile_size: int = 64, background_dilation: int = 10
) -> NDArray[np.float32] | None:
    """Background of one fluorescence frame.

    image: (H, W) uint16, raw counts. foreground: (H, W) bool, the cells, or None where nothing was segmented.
    tile_size: side of the tiles in pixels; background that varies within less is not followed. At most half the
    image's smaller side (or 64).
    background_dilation: pixels by which the cells are grown first (see `dilate`; 0 if that was done already).

    Returns (H, W) float32 counts, or None where no tile has background enough: the caller then takes the
    estimate of a neighbouring frame.
    """
    shape = image.shape
    covered = np.zeros(shape, bool) if foreground is None else dilate(foreground, background_dilation)
    tile_size = min(tile_size, max(min(shape) // 2, 64))
    half = (tile_size + 1) // 2

    # Means of 4 x 4 pixels, unless the image or its tiles are small, or hardly a block is free of cells.
    factor = 4 if half >= 16 and min(shape) >= tile_size else 1
    coarse = _coarse_surface(image, covered, half, factor) or _coarse_surface(image, covered, half, 1)
    if coarse is None:
        return None
    surface, light = coarse
    first = _evaluate(surface, shape)

    remainder = cv2.addWeighted(image, _STEPS, first, -_STEPS, _ZERO, dtype=cv2.CV_16U)
    medians = tile_medians(remainder, covered | light, half, around=_ZERO, bin_width=_STEPS)
    sites = _usable(medians, 4 * half**2, image.size)
    if sites is None:
        return first
    z, y, x, weight = sites
    z = (z - _ZERO) / _STEPS
    first += _evaluate(_fit(z, y, x, weight, shape, 2 * half, _FINE_STIFFNESS), shape)
    return first


def dilate(mask: Mask, radius: int) -> Mask:
    """Grow a mask by a true disk: every pixel within `radius` pixels (centre to centre) of the mask.

    (H, W) bool -> (H, W) bool. Nothing comes in over the image's edge.
    """
    if radius <= 0 or not mask.any():
        return mask
    if radius > 32:  # the time of a dilation grows with the disk, that of distances does not
        away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return away <= radius
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(mask.view(np.uint8), disk).view(bool)


def _coarse_surface(image, covered, half, factor):
    """First surface (coefficients) and (H, W) bool unsegmented light, from means of factor x factor pixels.

    None if no tile has background enough at this scale.
    """
    height, width = image.shape[0] // factor, image.shape[1] // factor
    inside = np.s_[: height * factor, : width * factor]
    means = cv2.resize(image[inside].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    # The pixels of a block that lie beside each other are looked at as one number.
    hidden = np.ascontiguousarray(covered[inside]).view(f"u{factor}").reshape(height, factor, width)
    hidden = np.bitwise_or.reduce(hidden, axis=1) > 0
    block = 2 * half // factor

    # Lower quartiles first: what lies under cells that no mask covers shows through them in any tile that is not
    # full of cells; the fit turns down the tiles that are. The offset they leave is the mode of the remainder.
    area = block**2
    quartiles = block_quantiles(np.rint(means).astype(np.uint16), hidden, block, 0.25)
    sites = _usable(quartiles, area, means.size)
    if sites is None:
        return None
    knot = 2 * block
    # An extent in blocks that matches the whole image: the surface must keep its place when it is evaluated in
    # pixels, also where the last few pixels do not fill a block.
    extent = (image.shape[0] / factor, image.shape[1] / factor)
    surface = _fit(*sites, extent, knot, _FIRST_STIFFNESS, reject_light=True)
    for _ in range(_ROUNDS):
        residual = means - _evaluate(surface, extent, (height, width))
        offset, spread = _mode_and_spread(residual[~hidden])
        # Covered light counts as well: where it is bright at the edge of what is covered, it reaches beyond.
        light = residual > offset + 4 * max(spread, 0.5)
        light = cv2.dilate(light.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
        steps = cv2.addWeighted(residual, _STEPS, residual, 0, _ZERO - offset * _STEPS, dtype=cv2.CV_16U)
        sites = _usable(block_quantiles(steps, hidden | light, block, 0.5), area, means.size)
        if sites is None:
            return None
        z, y, x, weight = sites
        surface = surface + offset + _fit((z - _ZERO) / _STEPS, y, x, weight, extent, knot, _COARSE_STIFFNESS)
    full = np.zeros(image.shape, bool)
    full[inside] = light.repeat(factor, axis=1).repeat(factor, axis=0)
    return surface, full


def _usable(sites, area, image_area):
    """The tiles with background enough, flat: quantile, y, x, weight (1 for a whole tile of background); or None.

    sites: what `block_quantiles` or `tile_medians` gave. area: pixels of a tile.
    """
    quantile, y, x, count = sites
    usable = count >= max(min(area, image_area) * _MIN_SHARE, 1)
    if not usable.any():
        return None
    return quantile[usable], y[usable], x[usable], count[usable] / area


def _mode_and_spread(values: NDArray[np.float32]) -> tuple[float, float]:
    """Half-sample mode (Robertson & Cryer 1974), where the values lie closest together, and the standard deviation
    that the values below it suggest."""
    values = np.sort(values)
    core = values
    while len(core) > 3:
        half = (len(core) + 1) // 2
        start = int(np.argmin(core[half - 1 :] - core[: len(core) - half + 1]))
        core = core[start : start + half]
    mode = float(core.mean())
    below = np.searchsorted(values, mode, side="right")
    return mode, 1.4826 * (mode - float(values[below // 2]))


# Quantiles of tiles


def block_quantiles(
    values: NDArray[np.uint16], covered: Mask, block: int, q: float
) -> tuple[Float, Float, Float, NDArray[np.int64]]:
    """Exact quantile, centroid and number of the uncovered pixels of every block.

    values: (H, W) uint16. covered: (H, W) bool, pixels to leave out. The image is cut into blocks of block x block
    pixels from its top left corner.

    Returns quantile, y, x, count, all (ceil(H / block), ceil(W / block)). The quantile is that of numpy's method
    "midpoint", so that q = 0.5 is the median; y and x are pixel indices; where count is 0 all three are NaN.
    """
    count, sum_y, sum_x = _block_sums(covered, block)
    rows, columns = count.shape
    masked = values | np.multiply(covered.view(np.uint8), np.uint16(65535), dtype=np.uint16)
    masked = _whole_blocks(masked, block, 65535)
    blocks = masked.reshape(rows, block, columns, block).swapaxes(1, 2).reshape(rows * columns, -1)
    # A stable sort of 16-bit integers is a radix sort in numpy, fast on every processor.
    blocks.sort(axis=1, kind="stable")
    every = np.arange(count.size)
    rank = q * np.maximum(count.ravel() - 1, 0)
    low, high = (blocks[every, end(rank).astype(np.intp)] for end in (np.floor, np.ceil))
    quantile = ((low.astype(np.float64) + high) / 2).reshape(count.shape)
    return _known(quantile, sum_y, sum_x, count)


def tile_medians(
    values: NDArray[np.uint16], covered: Mask, block: int, *, around: int, bin_width: int = 0
) -> tuple[Float, Float, Float, NDArray[np.int64]]:
    """Exact median, centroid and number of the uncovered pixels of every tile; tiles overlap by half.

    values, covered, block: as for `block_quantiles`. A tile is 2 x 2 blocks. Tiles start at every block, the first
    ones a block outside the image, so that the outer tiles reach the rim: tile (i, j) spans rows (i - 1) block to
    (i + 1) block, columns likewise, as far as the image goes. Returns median, y, x, count as `block_quantiles` does,
    (ceil(H / block) + 1, ceil(W / block) + 1).

    around: medians are expected within 127 of this value. They come from histograms of the blocks, each of which is
    in four tiles; what lies farther away is sorted tile by tile, which is as exact and takes longer.
    bin_width: the median is then interpolated within the bin of that width around it, as for grouped data. Camera
    counts are whole numbers, and so is their median, half a count off in a quiet image; with the width of a count
    this is mended.
    """
    count, sum_y, sum_x = map(_sum_2x2, _block_sums(covered, block))
    # The highest value stands for itself, for what is higher, and for what is covered.
    near = cv2.add(values, float(128 - around), dtype=cv2.CV_8U) | covered.view(np.uint8) * np.uint8(255)
    up_to = _sum_2x2(_histograms(near, block).cumsum(axis=2, dtype=np.int32))  # pixels of a tile up to each value
    rank = (np.maximum(count - 1, 0) // 2)[..., None], (count // 2)[..., None]
    low, high = (np.count_nonzero(up_to <= place, axis=2) for place in rank)
    median = (low + high) / 2
    if bin_width:
        below, within = (
            np.take_along_axis(up_to, np.clip(np.ceil(edge).astype(np.intp) - 1, 0, 255)[..., None], 2)[..., 0]
            for edge in (median - bin_width / 2, median + bin_width / 2)
        )
        median += _within_bin(count, below, within - below, bin_width)
    median += around - 128
    margin = 1 + bin_width
    for i, j in np.argwhere((count > 0) & ((low <= margin) | (high >= 255 - margin))).tolist():
        tile = np.s_[max(i - 1, 0) * block : (i + 1) * block, max(j - 1, 0) * block : (j + 1) * block]
        median[i, j] = _grouped_median(np.sort(values[tile][~covered[tile]], kind="stable"), bin_width)
    return _known(median, sum_y, sum_x, count)


def _histograms(image: NDArray[np.uint8], block: int) -> NDArray[np.int32]:
    """Number of pixels of each value in every block: (rows, columns, 256)."""
    rows, columns = (-(-size // block) for size in image.shape)
    counts = np.empty((rows, columns * 256), np.int32)
    first = (np.arange(image.shape[1]) // block * 256).astype(np.int32)
    for row in range(rows):  # the counts of a row of blocks stay in the processor's cache
        counts[row] = np.bincount((first + image[row * block : (row + 1) * block]).ravel(), minlength=columns * 256)
    return counts.reshape(rows, columns, 256)


def _grouped_median(ordered: NDArray[np.uint16], bin_width: int) -> float:
    """Median of sorted values, interpolated within the bin around it if that has a width."""
    n = len(ordered)
    median = (float(ordered[(n - 1) // 2]) + float(ordered[n // 2])) / 2
    if not bin_width:
        return median
    below, up_to = np.searchsorted(ordered, [median - bin_width / 2, median + bin_width / 2])
    return median + float(_within_bin(n, below, up_to - below, bin_width))


def _within_bin(count, below, inside, bin_width):
    """How far from the bin's middle the median of grouped data lies."""
    share = np.where(inside > 0, (count / 2 - below) / np.maximum(inside, 1), 0.5)
    return bin_width * (share - 0.5)


def _sum_2x2(values):
    """Sums of every 2 x 2 entries of the first two axes, nothing lying outside."""
    padded = np.pad(values, [(1, 1), (1, 1)] + [(0, 0)] * (values.ndim - 2))
    pairs = padded[:-1] + padded[1:]
    return pairs[:, :-1] + pairs[:, 1:]


def _whole_blocks(image, block, value):
    """The image, filled up to whole blocks."""
    bottom, right = (-size % block for size in image.shape)
    if bottom or right:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=value)
    return image


def _block_sums(covered: Mask, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number of uncovered pixels of every block and the sums of their y and x."""
    free = _whole_blocks((~covered).view(np.uint8), block, 0)
    rows, columns = (size // block for size in free.shape)
    # uint8 holds the sum of up to 255 pixels, and is summed fastest.
    dtype = np.uint8 if block < 256 else np.uint32
    in_columns = np.add.reduce(free.reshape(rows, block, -1), axis=1, dtype=dtype).reshape(rows, columns, block)
    in_rows = np.add.reduce(cv2.transpose(free).reshape(columns, block, -1), axis=1, dtype=dtype)
    in_rows = in_rows.reshape(columns, rows, block).swapaxes(0, 1)
    position = np.arange(block)
    count = in_columns.sum(2, dtype=np.int64)
    sum_y = in_rows @ position + count * (block * np.arange(rows))[:, None]
    sum_x = in_columns @ position + count * (block * np.arange(columns))
    return count, sum_y, sum_x


def _known(quantile, sum_y, sum_x, count):
    """Quantile, y, x and count; NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, quantile, np.nan), sum_y / count, sum_x / count, count


# The surface


def _fit(z, y, x, weight, extent, knot, stiffness, *, reject_light=False) -> Float:
    """Coefficients (my, mx) of the smooth surface through the sites.

    z, y, x, weight: (n,) float64, y and x in pixels from the centre of the first. extent: height and width of the
    area that the surface covers, in the same pixels. knot: the wanted distance of knots. reject_light: turn down
    sites that lie above their surroundings (Tukey's biweight, on that side only).
    """
    from scipy.linalg.lapack import dpbsv

    intervals = [max(1, round(size / knot)) for size in extent]
    spacing = [size / number for size, number in zip(extent, intervals, strict=True)]
    ky, wy = _weights((y + 0.5) / spacing[0], intervals[0])
    kx, wx = _weights((x + 0.5) / spacing[1], intervals[1])
    my, mx = intervals[0] + 3, intervals[1] + 3
    size = my * mx

    # A site touches 4 x 4 coefficients, and couples them in 136 pairs: `offset` below the matrix' diagonal, the
    # same for all sites.
    around = (np.arange(4)[:, None] * mx + np.arange(4)).ravel()
    first = (ky * mx + kx)[:, None]
    cells = (first + around).ravel()
    design = (wy[:, :, None] * wx[:, None, :]).reshape(len(z), 16)
    left, right = np.tril_indices(16)
    offset = around[left] - around[right]
    place = (first + (around[right] + offset * size)).ravel()
    product = np.take(design, left, axis=1) * np.take(design, right, axis=1)
    penalty = stiffness * _bending(*intervals, knot / spacing[0], knot / spacing[1])

    centre = float(np.median(z))
    level = z - centre

    def solve(weight):
        matrix = np.bincount(place, (weight[:, None] * product).ravel(), penalty.size).reshape(penalty.shape)
        matrix += penalty
        vector = np.bincount(cells, ((weight * level)[:, None] * design).ravel(), size)
        _, solution, failed = dpbsv(matrix, vector, lower=1, overwrite_ab=1, overwrite_b=1)
        if failed:
            raise np.linalg.LinAlgError(f"the background's matrix is not positive definite ({failed})")
        return solution

    trusted = weight
    for cut in _CUTS if reject_light else ():
        residual = level - (solve(trusted)[cells].reshape(design.shape) * design).sum(axis=1)
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1.0)
        trusted = weight * (1 - np.clip(residual / (cut * scale), 0, 1) ** 2) ** 2
    return solve(trusted).reshape(my, mx) + centre


def _evaluate(surface: Float, extent, shape=None) -> NDArray[np.float32]:
    """The surface at the centres of shape = (H, W) pixels (default: extent) -> (H, W) float32."""
    pixels_y, pixels_x = shape or extent
    basis_y = _pixel_basis(pixels_y, extent[0], surface.shape[0] - 3)
    basis_x = _pixel_basis(pixels_x, extent[1], surface.shape[1] - 3)
    # Around one of its values: a flat surface then comes out without any rounding.
    level = surface[0, 0]
    result = basis_y @ ((surface - level).astype(np.float32) @ basis_x.T)
    result += np.float32(level)
    return result


@lru_cache(maxsize=16)
def _pixel_basis(pixels: int, extent: float, intervals: int) -> NDArray[np.float32]:
    """B-splines at the centres of the pixels: (pixels, intervals + 3)."""
    return _basis((np.arange(pixels) + 0.5) * (intervals / extent), intervals).astype(np.float32)


def _weights(u, intervals, derivative=0):
    """Index (n,) of the first, and values (n, 4) of the four uniform cubic B-splines that are not 0 at u (n,),
    measured in knot intervals."""
    index = np.clip(np.floor(u).astype(np.intp), 0, intervals - 1)
    t = u - index
    if derivative == 0:
        weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        return index, np.stack(weights, axis=1) / 6
    if derivative == 1:
        weights = [-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2]
        return index, np.stack(weights, axis=1) / 2
    return index, np.stack([1 - t, 3 * t - 2, -3 * t + 1, t], axis=1)


def _basis(u, intervals, derivative=0) -> Float:
    index, weights = _weights(u, intervals, derivative)
    basis = np.zeros((len(u), intervals + 3))
    np.put_along_axis(basis, index[:, None] + np.arange(4), weights, axis=1)
    return basis


@lru_cache(maxsize=16)
def _bending(intervals_y: int, intervals_x: int, ratio_y: float, ratio_x: float) -> Float:
    """Matrix of the thin-plate penalty (with its share of slope penalty), lower diagonals as LAPACK wants them."""
    gram_y, gram_x = ([_gram(n, derivative) for derivative in range(3)] for n in (intervals_y, intervals_x))
    my, mx = intervals_y + 3, intervals_x + 3
    terms = [
        (2, 0, ratio_y**4),
        (1, 1, 2 * ratio_y**2 * ratio_x**2),
        (0, 2, ratio_x**4),
        (1, 0, _SLOPE_SHARE * ratio_y**2),
        (0, 1, _SLOPE_SHARE * ratio_x**2),
    ]
    bands = np.zeros((3 * mx + 4, my, mx))
    for down in range(4):
        for right in range(-3 if down else 0, 4):
            columns = slice(max(-right, 0), mx - max(right, 0))
            bands[down * mx + right, : my - down, columns] += sum(
                factor * np.outer(np.diagonal(gram_y[dy], down), np.diagonal(gram_x[dx], right))
                for dy, dx, factor in terms
            )
    return bands.reshape(len(bands), my * mx)


def _gram(intervals: int, derivative: int) -> Float:
    """Integrals of the products of every two B-splines' derivatives. Four Gauss points are exact for them."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    u = (np.arange(intervals)[:, None] + (nodes + 1) / 2).ravel()
    basis = _basis(u, intervals, derivative)
    return basis.T @ (np.tile(weights / 2, intervals)[:, None] * basis)
