"""Background fluorescence of a frame: tile medians, and a smooth surface through their centroids.

One frame of one channel at a time, on means of 4 x 4 pixels (of 2 x 2, or the pixels themselves, where cells leave
few such squares free):

1. A quick round finds where the background runs and where light shines that no mask covers (cells that were not
   segmented, debris, all cells when there is no phase contrast). Such light is hidden like a cell. A second round
   follows where there is more than a little light, which has pulled at the surface it was found with, and where the
   first round has moved the surface.
2. What is left over that first surface is measured by exact medians in tiles with 50 % overlap, and the surface
   through them is added.

Camera noise is skewed: the median of pixels lies below the level that the sum over a cell contains, by 0.13 counts on
simulated frames, the median of means does not (0.02), with the same scatter and a sixteenth of the values to sort.

A median stands at the centroid of the background pixels of its tile. Medians of the *remainder* are what makes this
accurate: the median of a tile in which the background is curved is not the background at any known point (tiles of
64 pixels: 4 counts off under a vignette of 1,000 counts in 512 pixels), while over a remainder of a few counts that
error vanishes.

The surface is a penalised tensor product of cubic B-splines (Eilers & Marx 1996, Statist. Sci. 11:89) with the
penalty of a thin-plate spline: smooth, and straight on where there are no data, like the thin-plate spline itself,
but with one unknown per tile in a banded system: milliseconds for the 4,000 tiles of a 2048 x 2048 frame, where
the dense system of a thin-plate spline takes seconds.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pyama import bits

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
_CUTS = (20, 6, 6)
_ROUNDS = 2
# One round is enough where it finds light on no more than this share of the uncovered area, and moves the surface
# nowhere by more than so many standard deviations of the noise.
_LITTLE_LIGHT = 0.01
_STILL = 1.5
# Side of the squares of pixels that are averaged, and the share of the free pixels that must lie in free squares.
_FACTOR = 4
_MIN_FREE = 0.85
# Share of a tile's area (or of a smaller image's) that must be background for its median to be used.
_MIN_SHARE = 1 / 64
_PAIRS = np.tril_indices(16)


def estimate_background(
    image: NDArray[np.uint16], foreground: Mask | None, *, tile_size: int = 64, background_dilation: int = 10
) -> NDArray[np.float32] | None:
    """Background of one fluorescence frame.

    image: (H, W) uint16, raw counts. foreground: (H, W) bool, the cells, or None where nothing was segmented.
    tile_size: side of the tiles in pixels, from 32 to the nearest 8; background that varies within less is not
    followed. At most half the image's smaller side (or 64).
    background_dilation: pixels by which the cells are grown first (see `dilate`; 0 if that was done already).

    Returns (H, W) float32 counts, or None where no tile has background enough: the caller then takes the
    estimate of a neighbouring frame.
    """
    covered = np.zeros(image.shape, bool) if foreground is None else dilate(foreground, background_dilation)
    tile_size = min(tile_size, max(min(image.shape) // 2, 64))
    half = (tile_size + 1) // 2
    factor = _FACTOR if half >= 4 * _FACTOR and min(image.shape) >= tile_size else 1
    free = np.count_nonzero(~covered)
    while factor >= 1:
        means, hidden = _means(image, covered, factor)
        if factor == 1 or np.count_nonzero(~hidden) * factor**2 >= _MIN_FREE * free:
            surface = _surface_through_means(means, hidden, half, factor, image.shape)
            if surface is not None:
                return surface
        factor //= 2
    return None


def dark_level(image: NDArray[np.uint16], hidden: Mask | None) -> NDArray[np.float32]:
    """The lower quartile of a frame (H, W) everywhere, less what is `hidden`: a guess where `estimate_background` sees
    nothing but light. 0 where all is hidden."""
    values = image if hidden is None else image[~hidden]
    return np.full(image.shape, np.quantile(values, 0.25) if values.size else 0, np.float32)


def _means(image, covered, factor):
    """Means of squares of factor x factor pixels, float32, and whether any pixel of a square is covered, bool; the
    last rows and columns are left out where they do not fill a square."""
    if factor == 1:
        return image.astype(np.float32), covered
    height, width = image.shape[0] // factor, image.shape[1] // factor
    inside = np.s_[: height * factor, : width * factor]
    means = cv2.resize(image[inside].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    # The pixels of a square that lie beside each other are looked at as one number.
    hidden = np.ascontiguousarray(covered[inside]).view(f"u{factor}").reshape(height, factor, width)
    return means, np.bitwise_or.reduce(hidden, axis=1) > 0


def dilate(mask: Mask, radius: int) -> Mask:
    """Grow a mask by a true disk: every pixel within `radius` pixels (centre to centre) of the mask.

    (H, W) bool -> (H, W) bool. Nothing comes in over the image's edge.
    """
    if radius <= 0 or not mask.any():
        return mask
    return bits.unpack(bits.dilate(bits.pack(mask), bits.disk(radius)), mask.shape[1]).view(bool)


def _surface_through_means(means, hidden, half, factor, shape):
    """The background of `shape` = (H, W) pixels from what `_means` gave, or None if no tile has background enough."""
    half = round(half / factor)
    # An extent in means that matches the whole image: the surface must keep its place when it is evaluated in
    # pixels, also where the last few pixels do not fill a square.
    extent = (shape[0] / factor, shape[1] / factor)
    coarse = _coarse_surface(means, hidden, 2 * half, extent)
    if coarse is None:
        return None
    surface, remainder, light = coarse
    # Counts are whole numbers, and so is the median of pixels, half a count off in a quiet image.
    bin_width = 0 if factor == _FACTOR else 1 / factor**2
    medians = tile_quantiles(remainder, hidden | light, half, 0.5, overlap=True, bin_width=bin_width)
    sites = _usable(medians, 4 * half**2, means.size)
    if sites is None:
        return _evaluate([surface], shape)
    return _evaluate([surface, _fit(*sites, extent, 2 * half, _FINE_STIFFNESS)], shape)


def _coarse_surface(means, hidden, block, extent):
    """First surface (coefficients) through means (h, w) float32, what they are above it, and where in them is light.

    None if no tile of `block` means has background enough.
    """
    # Lower quartiles first: what lies under cells that no mask covers shows through them in any tile that is not
    # full of cells; the fit turns down the tiles that are. The offset they leave is the mode of the remainder.
    area = block**2
    sites = _usable(tile_quantiles(means, hidden, block, 0.25), area, means.size)
    if sites is None:
        return None
    knot = 2 * block
    surface = _fit(*sites, extent, knot, _FIRST_STIFFNESS, reject_light=True)
    residual = means - _evaluate([surface], extent, means.shape)
    for _ in range(_ROUNDS):
        offset, spread = _mode_and_spread(residual[~hidden])
        # Covered light counts as well: where it is bright at the edge of what is covered, it reaches beyond.
        noise = max(spread, 0.5)
        light = residual > offset + 4 * noise
        light = cv2.dilate(light.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
        sites = _usable(tile_quantiles(residual, hidden | light, block, 0.5), area, means.size)
        if sites is None:
            return None
        step = _fit(*sites, extent, knot, _COARSE_STIFFNESS)
        moved = _evaluate([step], extent, means.shape)
        surface = surface + step
        residual = residual - moved
        little = np.count_nonzero(light & ~hidden) <= _LITTLE_LIGHT * np.count_nonzero(~hidden)
        if little and max(moved.max() - offset, offset - moved.min()) <= _STILL * noise:
            break
    return surface, residual, light


def _usable(sites, area, image_area):
    """The tiles with background enough, flat: quantile, y, x, weight (1 for a whole tile of background); or None.

    sites: what `tile_quantiles` gave. area: values of a tile, image_area: of the image.
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


def tile_quantiles(
    values: NDArray[np.float32], covered: Mask, block: int, q: float, *, overlap: bool = False, bin_width: float = 0
) -> tuple[Float, Float, Float, NDArray[np.int64]]:
    """Exact quantile, centroid and number of the uncovered values of every tile.

    values: (H, W) float32, finite. covered: (H, W) bool, what to leave out. Tiles are blocks of block x block values
    from the top left corner. With `overlap` a tile is 2 x 2 blocks and starts at every block, the first ones a block
    outside the image, so that the outer tiles reach the rim: tile (i, j) then spans rows (i - 1) block to (i + 1)
    block, columns likewise, as far as the image goes.

    Returns quantile, y, x, count, all (ceil(H / block), ceil(W / block)), with `overlap` one more each. The quantile
    is that of numpy's method "midpoint", so that q = 0.5 is the median; y and x are indices; where count is 0 all
    three are NaN. With a `bin_width` a median is interpolated within the bin of that width around it, as for grouped
    data.
    """
    count, sum_y, sum_x = _block_sums(covered, block)
    kept = _whole_blocks(np.where(covered, np.float32(np.inf), values), block, np.inf)
    side = block
    if overlap:
        count, sum_y, sum_x = map(_sum_2x2, (count, sum_y, sum_x))
        kept = cv2.copyMakeBorder(kept, block, block, block, block, cv2.BORDER_CONSTANT, value=np.inf)
        side = 2 * block
    windows = np.lib.stride_tricks.sliding_window_view(kept, (side, side))[::block, ::block]
    tiles = np.sort(windows.reshape(count.size, side * side), axis=1)
    every = np.arange(count.size)
    rank = q * np.maximum(count.ravel() - 1, 0)
    low, high = (tiles[every, end(rank).astype(np.intp)] for end in (np.floor, np.ceil))
    quantile = (low.astype(np.float64) + high) / 2
    if bin_width:
        below, up_to = (
            np.count_nonzero(tiles < (quantile + half).astype(np.float32)[:, None], axis=1)
            for half in (-bin_width / 2, bin_width / 2)
        )
        inside = up_to - below
        share = np.where(inside > 0, (count.ravel() / 2 - below) / np.maximum(inside, 1), 0.5)
        quantile += bin_width * (share - 0.5)
    with np.errstate(invalid="ignore"):
        known = np.where(count > 0, quantile.reshape(count.shape), np.nan)
        return known, sum_y / count, sum_x / count, count


def _sum_2x2(values):
    """Sums of every 2 x 2 entries, nothing lying outside."""
    padded = np.zeros([n + 2 for n in values.shape], values.dtype)
    padded[1:-1, 1:-1] = values
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
    first = ky * mx + kx
    cells = first + around[:, None]
    design = (wy[:, None] * wx).reshape(16, len(z))
    left, right = _PAIRS
    offset = around[left] - around[right]
    place = (first + (around[right] + offset * size)[:, None]).ravel()
    product = np.concatenate([design[: last + 1] * design[last] for last in range(16)])  # as `_PAIRS` are ordered
    penalty = stiffness * _bending(*intervals, knot / spacing[0], knot / spacing[1])

    centre = float(z[0])  # numbers are then small
    level = z - centre

    def solve(weight):
        matrix = np.bincount(place, (weight * product).ravel(), penalty.size).reshape(penalty.shape)
        matrix += penalty
        vector = np.bincount(cells.ravel(), (weight * level * design).ravel(), size)
        _, solution, failed = dpbsv(matrix, vector, lower=1, overwrite_ab=1, overwrite_b=1)
        if failed:
            raise np.linalg.LinAlgError(f"the background's matrix is not positive definite ({failed})")
        return solution

    trusted = weight
    for cut in _CUTS if reject_light else ():
        residual = level - (solve(trusted)[cells] * design).sum(axis=0)
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1.0)
        trusted = weight * (1 - np.clip(residual / (cut * scale), 0, 1) ** 2) ** 2
    return solve(trusted).reshape(my, mx) + centre


def _evaluate(surfaces: Sequence[Float], extent, shape=None) -> NDArray[np.float32]:
    """The sum of surfaces at the centres of shape = (H, W) pixels (default: extent) -> (H, W) float32."""
    pixels_y, pixels_x = shape or extent
    # Around one value of each: flat surfaces then come out without any rounding.
    level = sum(surface[0, 0] for surface in surfaces)
    along_y = [np.ones((pixels_y, 1), np.float32)]
    along_x = [np.full((1, pixels_x), level, np.float32)]
    for surface in surfaces:
        along_y.append(_pixel_basis(pixels_y, extent[0], surface.shape[0] - 3))
        basis_x = _pixel_basis(pixels_x, extent[1], surface.shape[1] - 3)
        along_x.append((surface - surface[0, 0]).astype(np.float32) @ basis_x.T)
    with np.errstate(invalid="ignore"):  # BLAS was seen to set this flag for finite numbers, with a right result
        return np.concatenate(along_y, axis=1) @ np.concatenate(along_x)


@lru_cache(maxsize=16)
def _pixel_basis(pixels: int, extent: float, intervals: int) -> NDArray[np.float32]:
    """B-splines at the centres of the pixels: (pixels, intervals + 3)."""
    return _basis((np.arange(pixels) + 0.5) * (intervals / extent), intervals).astype(np.float32)


def _weights(u, intervals, derivative=0):
    """Index (n,) of the first, and values (4, n) of the four uniform cubic B-splines that are not 0 at u (n,),
    measured in knot intervals."""
    index = np.clip(u.astype(np.intp), 0, intervals - 1)
    t = u - index
    if derivative == 0:
        weights = [(1 - t) ** 3, (3 * t - 6) * t * t + 4, ((3 - 3 * t) * t + 3) * t + 1, t * t * t]
        return index, np.array(weights) / 6
    if derivative == 1:
        weights = [-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2]
        return index, np.array(weights) / 2
    return index, np.array([1 - t, 3 * t - 2, -3 * t + 1, t])


def _basis(u, intervals, derivative=0) -> Float:
    index, weights = _weights(u, intervals, derivative)
    basis = np.zeros((len(u), intervals + 3))
    np.put_along_axis(basis, index[:, None] + np.arange(4), weights.T, axis=1)
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
