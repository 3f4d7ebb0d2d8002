"""Segment phase contrast by texture: a threshold on the logarithm of the local standard deviation.

The order of the steps is that of the PyAMA documentation (LOG-STD, closing, remove small, fill holes, opening).
Background is smooth up to camera noise, cells are granular and bounded by halos, so the standard deviation (STD)
in a small window tells them apart without a model and without training.
"""

import math

import cv2
import numpy as np

from celltraces.errors import UserError
from celltraces.frames import coverage
from celltraces.labels import bit_morphology
from celltraces.labels.objects import Components, components
from celltraces.segmentation import outline
from celltraces.segmentation.edges import Settings
from celltraces.segmentation.local_variance import greatest_up_to, log_std, n2_variance, strips
from celltraces.segmentation.mask_objects import (
    fill_holes,
    mark_vanished,
    morph,
    number_objects,
    openings,
    remove_small,
    without_debris,
)
from celltraces.segmentation.narrow_cells import with_narrow_cells
from celltraces.segmentation.noise import bands, sigma_needed, smoothed
from celltraces.segmentation.saturation import continued_above
from celltraces.segmentation.white_cells import with_white_cells

BINS = 200
# A STD below this (in counts) is what rounding to whole counts makes of a background without resolvable noise:
# at most 1/2 from flicker between two neighbouring counts, and 1/sqrt(12) from the rounding itself.
ROUNDING_STD = math.sqrt(1 / 4 + 1 / 12)
# Noise sigmas: where the background ends, and how far from its mode its valley can be. On simulated cells the valley
# is 4 to 7 sigma from the mode; minima further out belong to debris and hot pixels.
BACKGROUND_SIGMAS = 3
VALLEY_SIGMAS = 8
TRIAL = 0.6  # px: STD of the Gaussian with which it is tried whether smoothing finds more
HIDDEN = 1.7  # times the foreground: what noise hid, at least, where a frame is smoothed
PRESENT = 0.02  # of the pixels tried: less foreground may be that of noise alone
DIGITS = 13  # binary ones of a float32 that are left out of a coarse logarithm
ONE = int(np.float32(1).view(np.uint32)) >> DIGITS


def segment_frame(
    image: np.ndarray,
    uncovered: np.ndarray | None = None,
    *,
    logstd_window_size: int = 3,
    morph_size: int = 7,
    morph_iterations: int = 3,
    min_object_size: int = 50,
    max_object_size: int = 10000,
    logstd_outline: str = "cell",
    segmentation_debris: float = 0.12,
    rejected: np.ndarray | None = None,
) -> np.ndarray:
    """Label the cells of one phase-contrast frame.

    `image`: (H, W) of any integer dtype up to 16 bits. `uncovered`: (H, W) bool, pixels without data, where the image
    ends as at its own edge. Returns (H, W) labels, 0 = background, 1..N the 4-connected objects in raster order of
    their first pixel; uint16, or uint32 when there are more than 65,535 objects.

    Foreground is where the log-STD exceeds `threshold`. It is closed, freed of objects smaller than `min_object_size`
    pixels, filled, and opened; closing and opening use a disk `morph_size` pixels wide, `morph_iterations` times.
    Cells that are narrower than that disk come back (see narrow_cells.py). Then outlines lie outside the halos around
    the cells: they are drawn in to the cells, and objects that are too large are divided if they come apart (see
    outline.py). Rounded cells, which are white, become objects of their own (see white_cells.py). What has less than a
    share `segmentation_debris` of the usual object's pixels, which count less where texture is weak, is debris; of what
    the edge of the image cuts, texture alone tells. With `logstd_outline` "halo" all this is left out.
    Objects of `min_object_size` to `max_object_size` pixels (both inclusive) are kept. `rejected` (H, W) uint8, all 0,
    is marked where others are: TOO_LARGE, TOO_SMALL (unless the opening would remove it anyway), or TOO_NARROW for one
    of at least `min_object_size` pixels of which the opening leaves nothing.
    A window of 5 finds cells whose texture is hardly above the camera noise; in images of high contrast it takes in
    their halos. Cells that are nearer to each other than the closing reaches (18 pixels by default) run together.
    Raises UserError for a window or disk that has no centre pixel, a window too wide for exact sums, or an outline of
    another name.
    """
    if logstd_outline not in ("cell", "halo"):
        raise UserError(f"logstd_outline: {logstd_outline!r} is not one of 'cell', 'halo'")
    if morph_size < 1 or morph_size % 2 == 0:
        raise UserError(f"morph_size: {morph_size} has no centre pixel; use an odd number from 1")
    if uncovered is not None:
        image = coverage.continued(image, uncovered, mirrored=True)
    if logstd_outline == "cell":
        image = continued_above(image)
    spread = _spread(image, logstd_window_size, uncovered)
    limit = threshold(spread, logstd_window_size, min_object_size)
    if logstd_outline == "cell":
        image, spread, limit = _in_less_noise(image, spread, limit, logstd_window_size, min_object_size, uncovered)
    disks = (morph_size, morph_iterations)
    sizes = (min_object_size, max_object_size)
    mask = (spread > greatest_up_to(limit, logstd_window_size, int(spread.max()))).view(np.uint8)
    mask = morph(mask, bit_morphology.dilate, bit_morphology.erode, *disks, uncovered)
    found = components(mask)
    mask = remove_small(mask, found, min_object_size)
    filled = fill_holes(mask, uncovered)
    if logstd_outline == "cell":
        settings = Settings(logstd_window_size, limit, *disks, *sizes)
        objects, left = _cells(filled, image, spread, settings, uncovered)
        objects = without_debris(objects, spread, segmentation_debris, *sizes, rejected, uncovered)
    else:
        objects = left = components(morph(filled, bit_morphology.erode, bit_morphology.dilate, *disks, uncovered))
    if rejected is not None:
        least = bit_morphology.disk_area(morph_size // 2, morph_iterations)
        mark_vanished(found, left, rejected, min_object_size, least)
    return number_objects(objects, image.shape, *sizes, rejected)


def _spread(image: np.ndarray, window: int, uncovered: np.ndarray | None) -> np.ndarray:
    """`n2_variance` of a frame (H, W), 0 in pixels without data."""
    spread = n2_variance(image, window)
    if uncovered is not None:
        spread[uncovered] = 0
    return spread


def _in_less_noise(
    image: np.ndarray, spread: np.ndarray, limit: float, window: int, min_pixels: int, uncovered: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """The frame, its `n2_variance` and its threshold: as they are, or smoothed where noise hides cells.

    Smoothing blurs edges. So a frame whose noise is strong (see noise.py) is smoothed only if some of its rows,
    smoothed by 0.6 px, have 1.7 times as much foreground as before, and 2 % of their pixels: of mere noise less is.
    """
    sigma = sigma_needed(spread, limit, window)
    if not sigma:
        return image, spread, limit
    tried = [*bands(len(image))]
    before = np.concatenate([spread[rows] for rows in tried])
    after = np.concatenate(
        [
            _spread(smoothed(image[rows], TRIAL), window, None if uncovered is None else uncovered[rows])
            for rows in tried
        ]
    )
    found_before, found = (
        np.count_nonzero(of > greatest_up_to(above, window, int(of.max())))
        for of, above in ((before, limit), (after, threshold(after, window, min_pixels)))
    )
    if found < max(HIDDEN * found_before, PRESENT * after.size):
        return image, spread, limit
    image = smoothed(image, sigma)
    spread = _spread(image, window, uncovered)
    return image, spread, threshold(spread, window, min_pixels)


def _cells(
    filled: np.ndarray, image: np.ndarray, spread: np.ndarray, settings: Settings, uncovered: np.ndarray | None
) -> tuple[Components, Components]:
    """The cells in a mask, `filled` (H, W) uint8 0/1, each without its halo, and the regions in which they were found.

    The other arguments are those of `outline.on_cells`.
    """
    mask, regions = _opened(filled, spread, settings, uncovered)
    objects = outline.on_cells(mask, regions, filled, image, spread, settings, uncovered)
    sizes = (settings.morph_size, settings.min_size, settings.max_size)
    objects, white = with_white_cells(objects, filled, image, math.exp(settings.limit), *sizes, uncovered)
    return objects, components(mask | white) if white.any() else regions


def _opened(
    filled: np.ndarray, spread: np.ndarray, settings: Settings, uncovered: np.ndarray | None
) -> tuple[np.ndarray, Components]:
    """What the opening leaves of a mask, and narrow cells, (H, W) uint8 0/1, and its objects."""
    times = settings.morph_iterations
    if times < 2:
        mask = morph(filled, bit_morphology.erode, bit_morphology.dilate, settings.morph_size, times, uncovered)
        return mask, components(mask)
    # Narrow cells are in what one opening less leaves: the last erosion goes on from there.
    less, opened = openings(filled, settings.morph_size, (times - 1, times), uncovered)
    return with_narrow_cells(opened, components(opened), less, spread, settings.max_size, uncovered)


def threshold(spread: np.ndarray, window: int, min_pixels: int) -> float:
    """Log-STD above which a pixel is foreground: the valley right of the background mode, or mode + 3 sigma.

    `spread` is the result of `n2_variance` with that `window`. Pixels with zero variance are background and stay out of
    the histogram of the log-STD, which has 200 bins from the smallest to the largest finite value.

    1. The histogram is smoothed by two running means, each 1.4 times as wide as the sigma of log-STD of white
       noise: n*S2 - S1**2 is a whole number, so images of few counts have a comb for a histogram.
    2. The background mode is the leftmost peak that is at least a quarter as high as the highest and is followed
       by a fall of at least a fifth: where cells fill most of the frame, theirs is the highest peak.
    3. Distances from the mode are measured on the cube root of the variance, where noise is nearly symmetric for
       every window (Wilson and Hilferty 1931). Sigma is the spread of the values left of the mode, down to where
       the peak has fallen to a hundredth. Mode and sigma are not less than rounding to whole counts and white noise
       would make them.
    4. A second mode is sought beyond mode + 3 sigma in the histogram weighted with the square of that cube root.
       Cells are few and their contrast is spread out, so in plain counts most of them are a shoulder of the
       background's peak. The mode has to rise above the lowest point before it by a twentieth and by three
       Poisson sigmas, with at least `min_pixels` pixels right of that point. Then that point, the valley, is the
       threshold if it is within 8 sigma of the mode: further out, what it sets apart are debris or hot pixels.
    5. With no second mode the threshold is mode + 3 sigma. About 0.1 % of the pixels of pure noise exceed it, and
       the opening removes those.

    When most pixels have zero variance (a saturated, clipped or noise-free background), these are the background.
    """
    n = window * window
    noise = math.sqrt(2 / (9 * (n - 1)))
    key = _coarse_logarithms(spread)
    most = spread.max(keepdims=True)
    n_keys = int(_coarse_logarithms(most)[0, 0]) + 1
    pixels = cv2.calcHist([key], [0], None, [n_keys], [0, n_keys]).ravel().astype(np.int64)
    pixels[0] = 0  # variance 0; the least other one is 1
    if 2 * pixels.sum() < spread.size:
        return math.log(ROUNDING_STD) + _log_distance(BACKGROUND_SIGMAS * noise)
    least = spread.min() or spread[key == (pixels > 0).argmax()].min()
    lowest, highest = log_std(np.array([least, most.item()]), window).tolist()
    if lowest == highest:
        return highest
    counts = _histogram(spread, window, np.linspace(lowest, highest, BINS + 1), key, pixels)
    width = (highest - lowest) / BINS
    centres = lowest + (np.arange(BINS) + 0.5) * width

    half = min(max(int(0.7 / math.sqrt(2 * (n - 1)) / width + 0.5), 1), BINS // 4)
    box = np.ones(2 * half + 1, np.int64)
    smooth = np.convolve(np.convolve(counts, box), box)[2 * half : -2 * half]

    mode, sigma = _background(counts, smooth, centres, 2 * half, noise)
    valley = _valley(counts, smooth, centres, 2 * half + 1, mode, sigma, min_pixels)
    return mode + _log_distance(BACKGROUND_SIGMAS * sigma) if valley is None else valley


def _background(
    counts: np.ndarray, smooth: np.ndarray, centres: np.ndarray, reach: int, noise: float
) -> tuple[float, float]:
    """Steps 2 and 3 of `threshold`: mode, a log-STD, and sigma, of the cube root of the variance by that of the mode.

    counts, smooth: of each bin, before and after step 1, in which a pixel reaches over `reach` bins; centres: log-STD
    of each. noise: sigma of white noise.
    """
    heights = smooth.tolist()
    first = peak = _background_peak(heights, reach)
    while first > 0 and 100 * heights[first - 1] >= heights[peak]:
        first -= 1
    left = counts[first : peak + 1]
    root = np.exp((centres[first : peak + 1] - centres[peak]) * (2 / 3))
    sigma = max(math.sqrt((left * (root - 1) ** 2).sum() / max(left.sum(), 1)), noise)
    return max(float(centres[peak]), math.log(ROUNDING_STD)), sigma


def _valley(
    counts: np.ndarray,
    smooth: np.ndarray,
    centres: np.ndarray,
    box: int,
    mode: float,
    sigma: float,
    min_pixels: int,
) -> float | None:
    """Step 4 of `threshold`: the log-STD of the valley; None if there is no second mode, or the valley is too far out.

    box: bins, width of each running mean.
    """
    weight = np.exp((centres - mode) * (4 / 3))
    weighted = weight * smooth
    # At most, of a weighted sum of Poisson counts. (9.5, not 9 below: no number of pixels is just at the limit.)
    variance = box * weight * weighted
    beyond = np.flatnonzero(centres > mode + _log_distance(BACKGROUND_SIGMAS * sigma))
    valley = beyond[0] if beyond.size else 0
    for i in beyond:
        rise = weighted[i] - weighted[valley]
        if rise < 0:
            valley = i
        elif 20 * rise >= weighted[valley] and rise**2 > 9.5 * (variance[i] + variance[valley]):
            near = centres[valley] <= mode + _log_distance(VALLEY_SIGMAS * sigma)
            return float(centres[valley]) if near and counts[valley:].sum() >= min_pixels else None
    return None


def _coarse_logarithms(spread: np.ndarray) -> np.ndarray:
    """(H, W) uint16 that rise with `spread`, 0 where that is 0: a float's sign, exponent and first ten digits as one
    number are a logarithm, a coarse one."""
    key = np.empty(spread.shape, np.uint16)
    for rows in strips(spread):
        digits = (spread[rows].astype(np.float32) + np.float32(1)).view(np.uint32)
        digits >>= DIGITS
        np.subtract(digits, ONE, out=key[rows], casting="unsafe")
    return key


def _histogram(spread: np.ndarray, window: int, edges: np.ndarray, key: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """How many pixels' log-STD lies in each bin, (len(edges) - 1,) int64; none is outside, or its variance is 0.

    key: the `_coarse_logarithms`; pixels: how many pixels have each of these, none for 0. Logarithms of all pixels
    would cost more than everything else here: only those in the few steps of `key` that hold an edge are looked at one
    by one.
    """
    # With a margin for the rounding of logarithms.
    before, after = _coarse_logarithms(np.exp(2 * edges) * window**4 * [[1 - 1e-6], [1 + 1e-6]]).astype(np.int64)
    unclear = np.zeros(1 << 16, np.uint8)
    unclear[before] = unclear[after] = 1
    up_to = np.cumsum(np.where(unclear[: pixels.size], 0, pixels))
    found = np.flatnonzero(cv2.LUT(key, unclear).view(bool))
    counts = np.histogram(log_std(spread.ravel().take(found), window), edges)[0]
    return counts + up_to.take(before[1:], mode="clip") - up_to.take(after[:-1], mode="clip")


def _log_distance(distance: float) -> float:
    """Difference in log-STD of two variances whose cube roots are as 1 to 1 + `distance`."""
    return 1.5 * math.log1p(distance)


def _background_peak(smooth: list[int], reach: int) -> int:
    highest = max(range(len(smooth)), key=smooth.__getitem__)
    for i in range(highest):
        if (
            4 * smooth[i] >= smooth[highest]
            and smooth[i] == max(smooth[max(i - reach, 0) : i + reach + 1])
            and 5 * min(smooth[i:highest]) <= 4 * smooth[i]
        ):
            return i
    return highest
