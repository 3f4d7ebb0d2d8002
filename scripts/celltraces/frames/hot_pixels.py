"""Find single pixels of a camera that are bright in all frames: a cell that lies on one has light that it has not.

Optics spread light over several pixels, so that what is one pixel wide is none. They are looked for in the first frame
and followed through all others, so that a movie without any costs nothing more.
"""

from __future__ import annotations

import numpy as np

ATTRIBUTE = "hot_pixels"  # of the array of a fluorescence channel: [y, x, counts above the brightest neighbour]
CLEAR = 6.0  # standard deviations of the background
SHARPER = 5.0  # times as far above the darkest of its neighbours as the brightest of these is
STAYS = 0.5  # of what it is above its neighbours in the first frame
MOST = 1e-3  # of all pixels: with more the whole image is grainy
BELOW = 1.28  # standard deviations by which a tenth of the background lies below it


def look(image: np.ndarray, counts: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Hot pixels (n, 3) float64 of an image (H, W) uint16: y, x, and how far above its brightest neighbour at least.

    counts (n,): number of its pixels by value. known: those of earlier frames, of which the ones are returned that
    still are. Pixels at the edge of the image do not count.
    """
    if known is None:
        return _first(image, counts)
    if not len(known):
        return known
    y, x = known[:, :2].astype(int).T
    above = image[y, x] - _neighbours(image, y, x).max(axis=0)
    still = above >= STAYS * known[:, 2]
    return np.column_stack([known[still, :2], np.minimum(known[still, 2], np.maximum(above[still], 0))])


def _first(image: np.ndarray, counts: np.ndarray) -> np.ndarray:
    import cv2

    nothing = np.zeros((0, 3))
    if min(image.shape) < 3:
        return nothing
    cumulated = np.cumsum(counts)
    low, middle = (int(np.searchsorted(cumulated, share * cumulated[-1])) for share in (0.1, 0.5))
    noise = max((middle - low) / BELOW, 1.0)
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    around = cv2.dilate(image, ring)
    inner = (slice(1, -1), slice(1, -1))
    clear = image[inner] > around[inner] + np.minimum(CLEAR * noise, 65535 - around[inner].astype(np.float32))
    y, x = np.nonzero(clear)
    y, x = y + 1, x + 1
    beside = _neighbours(image, y, x)
    sharp = image[y, x] - beside.min(axis=0) > SHARPER * np.ptp(beside, axis=0)
    if np.count_nonzero(sharp) > MOST * image.size:
        return nothing
    return np.column_stack([y, x, image[y, x] - beside.max(axis=0)])[sharp]


def _neighbours(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The eight neighbours (8, n) float64 of pixels (n,) each, none of them at the edge."""
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    return np.array([image[y + dy, x + dx] for dy, dx in around], float)
