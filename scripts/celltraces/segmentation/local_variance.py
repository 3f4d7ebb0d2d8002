"""Compute the exact local variance of an image in square windows, and its logarithmic standard deviation."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from celltraces.errors import UserError

MAX_WINDOW = 101
ROWS = 128  # in a strip


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
    result = np.empty(image.shape, np.int32 if highest < 2**31 else np.float64 if highest < 2**53 else np.int64)
    # Counted from 0, both sums are exact, and n*S2 and S1**2 are in float64 while they are below 2**53.
    exact = np.float64 if (n * max(high, -low)) ** 2 < 2**53 else np.int64
    if image.dtype == np.int8:
        image = image.astype(np.int16)  # OpenCV has no filters of int8
    padded = cv2.copyMakeBorder(image, half, half, 0, 0, cv2.BORDER_REFLECT)
    for rows in strips(image):
        counts = padded[rows.start : rows.stop + 2 * half]
        if result.dtype == np.int32:  # the fastest, where numbers are so small
            counts = np.subtract(counts, middle, dtype=np.int32, casting="unsafe")
            s1 = _window_sums(cv2.boxFilter, counts, cv2.CV_32S, window)
            s2 = _window_sums(cv2.boxFilter, np.square(counts, out=counts), cv2.CV_32S, window)
        else:
            s1 = _window_sums(cv2.boxFilter, counts, cv2.CV_32S, window).astype(exact)
            s2 = _window_sums(cv2.sqrBoxFilter, counts, cv2.CV_64F, window).astype(exact, copy=False)
        np.multiply(s2, n, out=s2)
        np.subtract(s2, np.square(s1, out=s1), out=result[rows], casting="unsafe")
    return result


def _window_sums(sums: Callable, image: np.ndarray, depth: int, window: int) -> np.ndarray:
    """Sums of the windows that lie in the image from top to bottom; at its sides it is reflected."""
    result = sums(image, depth, (window, window), normalize=False, borderType=cv2.BORDER_REFLECT)
    return result[window // 2 : -(window // 2)]


def strips(image: np.ndarray) -> Iterator[slice]:
    """Some rows after the other: what is worked out of them in several steps stays in the processor's cache."""
    return (slice(top, min(top + ROWS, len(image))) for top in range(0, len(image), ROWS))


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
