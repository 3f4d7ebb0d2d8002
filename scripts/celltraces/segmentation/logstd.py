"""Segment phase contrast by texture: a threshold on the logarithm of the local standard deviation.

The order of the steps is that of the PyAMA documentation (LOG-STD, closing, remove small, fill holes, opening).
Background is smooth up to camera noise, cells are granular and bounded by halos, so the standard deviation (STD)
in a small window tells them apart without a model and without training.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from celltraces.errors import UserError
from celltraces.frames import coverage
from celltraces.labels import bit_morphology
from celltraces.labels.left_out import TOO_LARGE, TOO_NARROW, TOO_SMALL

BINS = 200
# A STD below this (in counts) is what rounding to whole counts makes of a background without resolvable noise:
# at most 1/2 from flicker between two neighbouring counts, and 1/sqrt(12) from the rounding itself.
ROUNDING_STD = math.sqrt(1 / 4 + 1 / 12)
# Noise sigmas: where the background ends, and how far from its mode its valley can be. On simulated cells the valley
# is 4 to 7 sigma from the mode; minima further out belong to debris and hot pixels.
BACKGROUND_SIGMAS = 3
VALLEY_SIGMAS = 8
MAX_WINDOW = 101
# Objects of a mask: positions of their pixels in the flat image, the object of each of these, the area of each object.
Objects = tuple[np.ndarray, np.ndarray, np.ndarray]


def segment_frame(
    image: np.ndarray,
    uncovered: np.ndarray | None = None,
    *,
    logstd_window_size: int = 3,
    morph_size: int = 7,
    morph_iterations: int = 3,
    min_object_size: int = 50,
    max_object_size: int = 10000,
    rejected: np.ndarray | None = None,
) -> np.ndarray:
    """Label the cells of one phase-contrast frame.

    `image`: (H, W) of any integer dtype up to 16 bits. `uncovered`: (H, W) bool, pixels without data, where the image
    ends as at its own edge. Returns (H, W) labels, 0 = background, 1..N the 4-connected objects in raster order of
    their first pixel; uint16, or uint32 when there are more than 65,535 objects.

    Foreground is where the log-STD exceeds `threshold`. It is closed, freed of objects smaller than `min_object_size`
    pixels, filled, and opened; closing and opening use a disk `morph_size` pixels wide, `morph_iterations` times.
    Objects of `min_object_size` to `max_object_size` pixels (both inclusive) are kept. `rejected` (H, W) uint8, all 0,
    is marked where others are: TOO_LARGE, TOO_SMALL (unless the opening would remove it anyway), or TOO_NARROW for one
    of at least `min_object_size` pixels of which the opening leaves nothing.
    A window of 5 finds cells whose texture is hardly above the camera noise; in images of high contrast it takes in
    their halos. Cells that are nearer to each other than the closing reaches (18 pixels by default) run together.
    Raises UserError for a window or disk that has no centre pixel, or a window too wide for exact sums.
    """
    if morph_size < 1 or morph_size % 2 == 0:
        raise UserError(f"morph_size: {morph_size} has no centre pixel; use an odd number from 1")
    if uncovered is not None:
        image = coverage.continued(image, uncovered, mirrored=True)
    spread = n2_variance(image, logstd_window_size)
    if uncovered is not None:
        spread[uncovered] = 0
    limit = threshold(spread, logstd_window_size, min_object_size)
    mask = (spread > _greatest_up_to(limit, logstd_window_size, int(spread.max()))).view(np.uint8)
    mask = _morph(mask, bit_morphology.dilate, bit_morphology.erode, morph_size, morph_iterations, uncovered)
    objects = _components(mask)
    mask = remove_small(mask, objects, min_object_size)
    mask = fill_holes(mask) if uncovered is None else _fill_holes_of(mask, uncovered)
    mask = _morph(mask, bit_morphology.erode, bit_morphology.dilate, morph_size, morph_iterations, uncovered)
    labels = label_objects(mask, min_object_size, max_object_size, rejected)
    if rejected is not None:
        _mark_vanished(
            objects, mask, rejected, min_object_size, bit_morphology.disk_area(morph_size // 2, morph_iterations)
        )
    return labels


def n2_variance(image: np.ndarray, window: int) -> np.ndarray:
    """n**2 times the variance in a `window` x `window` square around each pixel, where n = window**2.

    (H, W) integers -> (H, W) int32, float64 or int64, whatever holds it. Borders are reflected (the edge pixel is
    repeated). With the sum S1 and the sum of squares S2 this is the whole number n*S2 - S1**2, and is computed without
    rounding, however bright the image is.
    """
    if window % 2 == 0 or not 3 <= window <= MAX_WINDOW:
        raise UserError(f"logstd_window_size: {window} is not an odd number from 3 to {MAX_WINDOW}")
    if image.dtype.kind not in "ui" or image.dtype.itemsize > 2:
        raise TypeError(f"an image of 8- or 16-bit integers is needed, not {image.dtype}")
    n, half = window * window, window // 2
    low, high = int(image.min()), int(image.max())
    middle = (low + high) // 2  # counted from here, numbers are smallest
    highest = (n * (high - middle)) ** 2
    dtype = np.int32 if highest < 2**31 else np.float64
    # int64 for windows from 55; the sums themselves are exact
    result = np.empty(image.shape, np.int64 if highest >= 2**53 else dtype)
    padded = cv2.copyMakeBorder(image, half, half, 0, 0, cv2.BORDER_REFLECT)
    for rows in _strips(image):
        counts = np.subtract(padded[rows.start : rows.stop + 2 * half], middle, dtype=dtype, casting="unsafe")
        s1 = _window_sums(counts, window).astype(result.dtype, copy=False)
        np.multiply(counts, counts, out=counts)
        spread = np.multiply(_window_sums(counts, window), n, dtype=result.dtype, casting="unsafe")
        np.subtract(spread, np.square(s1), out=result[rows])
    return result


def _window_sums(image: np.ndarray, window: int) -> np.ndarray:
    """Sums of the windows that lie in the image from top to bottom; at its sides it is reflected."""
    sums = cv2.boxFilter(image, -1, (window, window), normalize=False, borderType=cv2.BORDER_REFLECT)
    return sums[window // 2 : -(window // 2)]


def _strips(image: np.ndarray) -> Iterator[slice]:
    """Some rows after the other: what is worked out of them in several steps stays in the processor's cache."""
    return (slice(top, min(top + 64, len(image))) for top in range(0, len(image), 64))


def log_std(spread: np.ndarray, window: int) -> np.ndarray:
    """Natural logarithm of the STD, float64, from what `n2_variance` gave; -inf where the variance is 0."""
    with np.errstate(divide="ignore"):
        return 0.5 * np.log(spread / window**4)


def _greatest_up_to(limit: float, window: int, highest: int) -> int:
    """The greatest n**2 times variance, at most `highest`, whose log-STD is no more than `limit`."""
    return bisect_right(range(highest + 1), limit, key=lambda spread: log_std(np.float64(spread), window)) - 1


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
    least = spread.min()
    if least == 0:
        finite = spread[spread > 0]
        if 2 * finite.size < spread.size:
            return math.log(ROUNDING_STD) + _log_distance(BACKGROUND_SIGMAS * noise)
        least = finite.min()
    lowest, highest = log_std(np.array([least, spread.max()]), window).tolist()
    if lowest == highest:
        return highest
    counts = _histogram(spread, window, np.linspace(lowest, highest, BINS + 1))
    width = (highest - lowest) / BINS
    centres = lowest + (np.arange(BINS) + 0.5) * width

    half = min(max(int(0.7 / math.sqrt(2 * (n - 1)) / width + 0.5), 1), BINS // 4)
    box = np.ones(2 * half + 1, np.int64)
    smooth = np.convolve(np.convolve(counts, box), box)[2 * half : -2 * half]

    peak = _background_peak(smooth.tolist(), 2 * half)
    first = peak
    while first > 0 and 100 * smooth[first - 1] >= smooth[peak]:
        first -= 1
    left = counts[first : peak + 1]
    root = np.exp((centres[first : peak + 1] - centres[peak]) * (2 / 3))
    sigma = max(math.sqrt((left * (root - 1) ** 2).sum() / max(left.sum(), 1)), noise)
    mode = max(float(centres[peak]), math.log(ROUNDING_STD))
    limit = mode + _log_distance(BACKGROUND_SIGMAS * sigma)

    weight = np.exp((centres - mode) * (4 / 3))
    weighted = weight * smooth
    # At most, of a weighted sum of Poisson counts. (9.5, not 9 below: no number of pixels is just at the limit.)
    variance = (2 * half + 1) * weight * weighted
    beyond = np.flatnonzero(centres > limit)
    valley = beyond[0] if beyond.size else 0
    for i in beyond:
        rise = weighted[i] - weighted[valley]
        if rise < 0:
            valley = i
        elif 20 * rise >= weighted[valley] and rise**2 > 9.5 * (variance[i] + variance[valley]):
            if counts[valley:].sum() >= min_pixels and centres[valley] <= mode + _log_distance(VALLEY_SIGMAS * sigma):
                return float(centres[valley])
            break
    return limit


def _histogram(spread: np.ndarray, window: int, edges: np.ndarray) -> np.ndarray:
    """How many pixels' log-STD lies in each bin, (len(edges) - 1,) int64; none is outside, or its variance is 0.

    Logarithms of all pixels would cost more than everything else here. A float's sign, exponent and first ten digits
    as one number are a logarithm too, a coarse one: pixels are counted by that, and only in the few of its steps that
    hold an edge they are looked at one by one.
    """
    one = int(np.float32(1).view(np.uint32)) >> 13
    key = np.empty(spread.shape, np.uint16)
    for rows in _strips(spread):
        digits = (spread[rows].astype(np.float32) + np.float32(1)).view(np.uint32)
        digits >>= 13
        np.subtract(digits, one, out=key[rows], casting="unsafe")
    pixels = cv2.calcHist([key], [0], None, [1 << 16], [0, 1 << 16]).ravel().astype(np.int64)
    pixels[0] = 0  # variance 0; the least other one is 1
    keys = np.flatnonzero(pixels)
    steps = (np.stack([keys, keys + 1]).astype(np.uint32) + np.uint32(one) << 13).view(np.float32).astype(np.float64)
    # Of what a step holds, with a margin for rounding to float32.
    bounds = log_std(np.maximum(steps * [[1 - 1e-6], [1 + 1e-6]] - 1, 0.5), window)
    first, last = np.clip(np.searchsorted(edges, bounds, "right") - 1, 0, len(edges) - 2)
    clear = first == last
    unclear = np.zeros(1 << 16, np.uint8)
    unclear[keys[~clear]] = 1
    counts = np.bincount(first[clear], pixels[keys[clear]], len(edges) - 1).astype(np.int64)
    return counts + np.histogram(log_std(spread[cv2.LUT(key, unclear).view(bool)], window), edges)[0]


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


def _morph(
    mask: np.ndarray,
    first: Callable,
    second: Callable,
    size: int,
    iterations: int,
    uncovered: np.ndarray | None,
) -> np.ndarray:
    """`iterations` times `first`, then as often `second` (dilate, erode), with a disk `size` pixels wide.

    Beyond the image, and where it is uncovered, everything goes on as it is at the edge, so that an object cut by the
    edge is treated as the whole object would be, and one beside the edge does not grow onto it.
    """
    if size == 1 or iterations == 0:
        return mask
    if uncovered is not None:
        mask = coverage.continued(mask, uncovered, mirrored=False)
    shape = bit_morphology.disk(size // 2, iterations)
    reach = 2 * (len(shape) - 1)
    padded = bit_morphology.pack(cv2.copyMakeBorder(mask, reach, reach, reach, reach, cv2.BORDER_REPLICATE))
    width = mask.shape[1]
    mask = np.ascontiguousarray(
        bit_morphology.unpack(second(first(padded, shape), shape), reach + width)[reach:-reach, reach:]
    )
    if uncovered is not None:
        mask[uncovered] = 0
    return mask


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill background that is not 4-connected to the image border. (H, W) uint8 0/1 -> the same."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mask.copy(), outlines, -1, 1, cv2.FILLED)


def _fill_holes_of(mask: np.ndarray, uncovered: np.ndarray) -> np.ndarray:
    """As `fill_holes`, where uncovered pixels (0 in the mask) are outside, as is all beyond the image's border."""
    holes = fill_holes(mask) - mask
    _, labels = cv2.connectedComponents(holes, connectivity=4, ltype=cv2.CV_32S)
    open_ones = np.unique(labels[uncovered])
    return mask | (holes & ~np.isin(labels, open_ones))


def remove_small(mask: np.ndarray, objects: Objects, min_size: int) -> np.ndarray:
    """Clear the objects of fewer than `min_size` pixels. (H, W) uint8 0/1 -> the same."""
    pixels, owner, area = objects
    kept = mask.copy()
    kept.ravel()[pixels[area[owner] < min_size]] = 0
    return kept


def _mark_vanished(objects: Objects, opened: np.ndarray, rejected: np.ndarray, min_size: int, least: int) -> None:
    """Mark in `rejected` the objects of which the opened mask has no pixel.

    TOO_SMALL: those below `min_size`, of at least `least` pixels; TOO_NARROW: the larger ones.
    """
    pixels, owner, area = objects
    found = np.zeros(len(area), bool)
    found[owner[opened.ravel()[pixels].view(bool)]] = True
    why = np.where(area >= min_size, TOO_NARROW, np.where(area >= least, TOO_SMALL, 0)).astype(np.uint8)
    why[found] = 0
    if why[1:].any():
        code = why[owner]
        rejected.ravel()[pixels[code > 0]] = code[code > 0]


def label_objects(
    mask: np.ndarray, min_size: int = 1, max_size: int | None = None, rejected: np.ndarray | None = None
) -> np.ndarray:
    """Label the 4-connected objects of `min_size` to `max_size` pixels (inclusive) 1..N in raster order.

    (H, W) uint8 0/1 -> (H, W) uint16, or uint32 when more than 65,535 objects are kept. The others are marked in
    `rejected`.
    """
    pixels, owner, area = _components(mask)
    keep = area >= max(min_size, 1)
    if max_size is not None:
        keep &= area <= max_size
    dtype = np.uint16 if np.count_nonzero(keep) <= 65535 else np.uint32
    labels = np.zeros(mask.shape, dtype)
    labels.ravel()[pixels] = np.where(keep, np.cumsum(keep), 0).astype(dtype)[owner]
    if rejected is not None and not keep[1:].all():
        why = np.where(area < min_size, TOO_SMALL, TOO_LARGE)
        rejected.ravel()[pixels] = np.where(keep, 0, why).astype(np.uint8)[owner]
    return labels


def _components(mask: np.ndarray) -> Objects:
    """The 4-connected objects of (H, W) uint8 0/1, numbered from 1 in raster order: positions of all their pixels in
    the flat image, the object of each of these, and the area of each object (0 for number 0)."""
    n, labels = cv2.connectedComponentsWithAlgorithm(mask, 4, cv2.CV_32S, cv2.CCL_SAUF)
    pixels = np.flatnonzero(mask.view(bool))
    owner = labels.ravel()[pixels]
    return pixels, owner, np.bincount(owner, minlength=n)
