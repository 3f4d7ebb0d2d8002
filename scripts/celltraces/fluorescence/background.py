"""Estimate the background of one fluorescence frame: a smooth surface through medians of tiles between the cells.

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

A median stands at the centroid of the background pixels of its tile. Medians of the *residual* are what makes this
accurate: the median of a tile in which the background is curved is not the background at any known point (tiles of
64 pixels: 4 counts off under a vignette of 1,000 counts in 512 pixels), while over a residual of a few counts that
error vanishes.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Float, Mask
from celltraces.fluorescence.surface import evaluate_surface, fit_surface
from celltraces.fluorescence.tiles import tile_quantiles
from celltraces.labels import bit_morphology

# Weights of the bending penalty, for sites of weight 1 at four per knot interval. The first fit has to stay stiff to
# tell light from background; the fine one lets waves longer than about two tiles pass.
_FIRST_STIFFNESS = 5e-3
_COARSE_STIFFNESS = 1e-3
_FINE_STIFFNESS = 1e-2
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


def estimate_background(
    image: NDArray[np.uint16], foreground: Mask | None, *, tile_size: int = 64, background_dilation: int = 10
) -> NDArray[np.float32] | None:
    """Background of one fluorescence frame.

    image: (H, W) uint16, raw counts. foreground: (H, W) bool, the cells, or None where nothing was segmented.
    tile_size: side of the tiles in pixels, from 32 to the nearest 8; background that varies within less is not
    followed. At most half the image's smaller side (or 64).
    background_dilation: pixels by which the cells are grown first (see `dilate_mask`; 0 if that was done already).

    Returns (H, W) float32 counts, or None where no tile has background enough: the caller then takes the
    estimate of a neighbouring frame.
    """
    covered = np.zeros(image.shape, bool) if foreground is None else dilate_mask(foreground, background_dilation)
    tile_size = min(tile_size, max(min(image.shape) // 2, 64))
    half = (tile_size + 1) // 2
    factor = _FACTOR if half >= 4 * _FACTOR and min(image.shape) >= tile_size else 1
    free = np.count_nonzero(~covered)
    while factor >= 1:
        means, hidden = means_of_squares(image, covered, factor)
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


def means_of_squares(image: NDArray[np.integer], covered: Mask, factor: int) -> tuple[NDArray[np.float32], Mask]:
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


def dilate_mask(mask: Mask, radius: int) -> Mask:
    """Grow a mask by a true disk: every pixel within `radius` pixels (centre to centre) of the mask.

    (H, W) bool -> (H, W) bool. Nothing comes in over the image's edge.
    """
    if radius <= 0 or not mask.any():
        return mask
    bands = bit_morphology.dilate(bit_morphology.pack(mask, radius, goes_on=False), bit_morphology.disk(radius))
    return bit_morphology.unpack(bands, radius, mask.shape).view(bool)


def _surface_through_means(
    means: NDArray[np.float32], hidden: Mask, half: int, factor: int, shape: tuple[int, int]
) -> NDArray[np.float32] | None:
    """The background of `shape` = (H, W) pixels from what `means_of_squares` gave.

    None if no tile has background enough.
    """
    half = round(half / factor)
    # An extent in means that matches the whole image: the surface must keep its place when it is evaluated in
    # pixels, also where the last few pixels do not fill a square.
    extent = (shape[0] / factor, shape[1] / factor)
    coarse = _coarse_surface(means, hidden, 2 * half, extent)
    if coarse is None:
        return None
    surface, residual, light = coarse
    # Counts are whole numbers, and so is the median of pixels, half a count off in a quiet image.
    bin_width = 0 if factor == _FACTOR else 1 / factor**2
    medians = tile_quantiles(residual, hidden | light, half, 0.5, overlap=True, bin_width=bin_width)
    sites = _usable(medians, 4 * half**2, means.size)
    if sites is None:
        return evaluate_surface([surface], shape)
    return evaluate_surface([surface, fit_surface(*sites, extent, 2 * half, _FINE_STIFFNESS)], shape)


def _coarse_surface(
    means: NDArray[np.float32], hidden: Mask, block: int, extent: tuple[float, float]
) -> tuple[Float, NDArray[np.float32], Mask] | None:
    """First surface (coefficients) through means (h, w) float32, what they are above it, and where in them is light.

    None if no tile of `block` means has background enough.
    """
    # Lower quartiles first: what lies under cells that no mask covers shows through them in any tile that is not
    # full of cells; the fit turns down the tiles that are. The offset they leave is the mode of the residual.
    area = block**2
    sites = _usable(tile_quantiles(means, hidden, block, 0.25), area, means.size)
    if sites is None:
        return None
    knot = 2 * block
    surface = fit_surface(*sites, extent, knot, _FIRST_STIFFNESS, reject_light=True)
    residual = means - evaluate_surface([surface], extent, means.shape)
    for _ in range(_ROUNDS):
        offset, spread = _mode_and_spread(residual[~hidden])
        # Covered light counts as well: where it is bright at the edge of what is covered, it reaches beyond.
        noise = max(spread, 0.5)
        light = residual > offset + 4 * noise
        light = cv2.dilate(light.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
        sites = _usable(tile_quantiles(residual, hidden | light, block, 0.5), area, means.size)
        if sites is None:
            return None
        step = fit_surface(*sites, extent, knot, _COARSE_STIFFNESS)
        moved = evaluate_surface([step], extent, means.shape)
        surface = surface + step
        residual = residual - moved
        little = np.count_nonzero(light & ~hidden) <= _LITTLE_LIGHT * np.count_nonzero(~hidden)
        if little and max(moved.max() - offset, offset - moved.min()) <= _STILL * noise:
            break
    return surface, residual, light


def _usable(
    sites: tuple[NDArray, NDArray, NDArray, NDArray], area: int, image_area: int
) -> tuple[NDArray, NDArray, NDArray, NDArray] | None:
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
