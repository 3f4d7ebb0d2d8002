"""Compute the exact local variance of an image in square windows, and its logarithmic standard deviation."""

import math
from bisect import bisect_right
from collections.abc import Iterator

import cv2
import numpy as np

from celltraces.errors import UserError

MAX_WINDOW = 101


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
    for rows in strips(image):
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


def strips(image: np.ndarray) -> Iterator[slice]:
    """Some rows after the other: what is worked out of them in several steps stays in the processor's cache."""
    return (slice(top, min(top + 64, len(image))) for top in range(0, len(image), 64))


def log_std(spread: np.ndarray, window: int) -> np.ndarray:
    """Natural logarithm of the STD, float64, from what `n2_variance` gave; -inf where the variance is 0."""
    with np.errstate(divide="ignore"):
        return 0.5 * np.log(spread / window**4)


def greatest_up_to(limit: float, window: int, highest: int) -> int:
    """The greatest n**2 times variance, at most `highest`, whose log-STD is no more than `limit`."""
    near = math.exp(2 * limit) * window**4  # what rounding leaves open is tried
    low, high = (min(int(near * factor), highest) for factor in (1 - 1e-9, 1 + 1e-9))
    within = range(low, min(high + 1, highest) + 1)
    return low + bisect_right(within, limit, key=lambda spread: log_std(np.float64(spread), window)) - 1
