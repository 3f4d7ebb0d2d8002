"""Measure how strong the noise of a frame is beside its cells, and smooth it.

The threshold on texture lies above the noise, and what is fainter is lost. A Gaussian takes more of the noise, which is
white, than of cells, which are wider than a pixel; but it also blurs their edges.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np

from celltraces.segmentation.local_variance import greatest_up_to

EVERY = 4  # of rows and columns: in these pixels the noise is measured
CLEAR = 8.0  # STD of the foreground by that of the background: where it is as high, noise does no harm
WIDTH, WIDEST = 0.3, 1.0  # px: STD of the Gaussian for each 1 that this is less, at most
NARROWEST = 0.2  # px: what is less changes nothing
BAND, APART = 16, 128  # rows: of a band in which smoothing is tried, and from one band to the next
BITS = 16  # of a frame
FINER = 2  # more bits, where they fit: smoothed values are stored in quarters of a count


def sigma_needed(spread: np.ndarray, limit: float, window: int) -> float:
    """STD (px) of the Gaussian that the noise of a frame calls for; 0 where it needs none.

    spread: (H, W), what `local_variance.n2_variance` gave; limit: the log-STD above which its pixels are foreground. It
    is 0.3 px for each 1 by which the ratio of the root mean squares of STD in the foreground and the background (pixels
    without any variance do not count) is below 8; 1 px at most.
    """
    sample = spread[::EVERY, ::EVERY]
    rough = sample > greatest_up_to(limit, window, int(sample.max()))
    background = sample[~rough & (sample > 0)]
    if not rough.any() or not background.size:
        return 0.0
    ratio = math.sqrt(sample[rough].mean() / background.mean())
    sigma = min(WIDTH * (CLEAR - ratio), WIDEST)
    return sigma if sigma >= NARROWEST else 0.0


def smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    """`image` (H, W), integers of up to 16 bits, convolved with a Gaussian (STD in px), uint16, in quarters of a count
    if that fits; less its lowest value."""
    lowest = int(image.min())
    finer = min(max(BITS - (int(image.max()) - lowest).bit_length(), 0), FINER)
    counts = image.astype(np.float32) - np.float32(lowest)
    counts *= 1 << finer
    counts = cv2.GaussianBlur(counts, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.rint(counts, out=counts).astype(np.uint16)


def bands(height: int) -> Iterator[slice]:
    """Some of the rows of a frame, which stand for all."""
    return (slice(top, top + BAND) for top in range(0, max(height - BAND, 0) + 1, APART))
