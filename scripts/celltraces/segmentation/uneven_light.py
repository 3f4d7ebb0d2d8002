"""Take from a frame what the brightness of its background varies by, as with a vignette or light from one side."""

import cv2
import numpy as np

FEWEST = 50  # pixels of background: through fewer no surface is laid
EVERY = 4  # of the given pixels, in each direction


def unevenness(values: np.ndarray, background: np.ndarray, even: float) -> np.ndarray | None:
    """By how much the background is brighter than its median in each of the pixels (h, w), int32 counts.

    values: (h, w) counts; background: (h, w) bool, which pixels show it. That is a surface of second order through
    these, by least squares, nowhere higher or lower than where there is background. None where that is too little, or
    where the light differs by `even` counts or less.
    """
    row, column = np.nonzero(background[::EVERY, ::EVERY])
    if row.size < FEWEST:
        return None
    y, x = (np.linspace(-1, 1, side) for side in values.shape)
    at_y, at_x = y[EVERY * row], x[EVERY * column]
    terms = np.stack([np.ones(row.size), at_y, at_y * at_y, at_x, at_x * at_x, at_y * at_x])
    counts = values[EVERY * row, EVERY * column]
    of = np.linalg.lstsq(terms @ terms.T, terms @ counts, rcond=None)[0]
    there = of @ terms
    if np.ptp(there) + 1 <= even:  # rounded to whole counts it differs by no more than this
        return None
    surface = (of[0] + of[1] * y + of[2] * y * y)[:, None] + (of[3] * x + of[4] * x * x) + np.outer(y, of[5] * x)
    surface = np.clip(surface, there.min(), there.max())
    uneven = np.rint(surface - np.partition(there, there.size // 2)[there.size // 2]).astype(np.int32)
    return uneven if np.ptp(uneven) > even else None


def evened(image: np.ndarray, uneven: np.ndarray) -> np.ndarray:
    """`image` (H, W) less what `unevenness` gave of every so many of its pixels, interpolated: (H, W) int32."""
    surface = cv2.resize(uneven.astype(np.float32), image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return image - np.rint(surface).astype(np.int32)
