"""Make level 1 of images and crops: 8 bit, half resolution, for looking at only.

What becomes black and white is found while an array is made, when its frames are at hand, and kept as the array's
attribute `display_limits`: so the level itself is made in one reading.
"""

from __future__ import annotations

import cv2
import numpy as np

from celltraces import paths
from celltraces.storage.frames import Frames

LOW, HIGH = 1.0, 99.0  # percentiles that become black and white
COUNTS = 1 << 16
STEPS = 16  # per count, in which backgrounds are binned
SAMPLES = 256  # about as many rows and columns of a background, which is smooth, are looked at for the percentiles


def count_pixels(image: np.ndarray, n_uncovered: int = 0) -> np.ndarray:
    """Number of pixels of each value of a (H, W) uint16 image, from 0 to the highest there is: (n,) int64, exact up to
    16 million of one value. n_uncovered: pixels that hold no data, which are 0 in the image, and are not counted."""
    n = int(image.max()) + 1
    counts = cv2.calcHist([image], [0], None, [n], [0, n]).ravel().astype(np.int64)
    counts[0] -= n_uncovered
    return counts


def limits_of_counts(counts: np.ndarray, low: float = LOW, high: float = HIGH) -> tuple[int, int]:
    """Values at two percentiles, from a histogram with one bin per value: the lowest that so many do not exceed."""
    cumulated = np.cumsum(counts)
    black, white = np.searchsorted(cumulated, np.array([low, high]) / 100 * cumulated[-1])
    return int(black), int(white)


def sample_smooth(image: np.ndarray) -> np.ndarray:
    """Pixels of a smooth (H, W) image of counts, in steps: (n,) intp, to be counted."""
    step = max(1, min(image.shape) // SAMPLES)
    return np.clip(image[::step, ::step] * np.float32(STEPS), 0, STEPS * COUNTS - 1).astype(np.intp).ravel()


def limits_of_smooth(counts: np.ndarray) -> tuple[float, float]:
    """Values at the two percentiles, from a histogram of what `sample_smooth` gave."""
    low, high = limits_of_counts(counts)
    return low / STEPS, (high + 1) / STEPS


def limits(values: np.ndarray) -> tuple[float, float]:
    """Values at the two percentiles, of (..., H, W) uint16 or float32."""
    if values.dtype == np.uint16:
        low, high = limits_of_counts(count_pixels(values.reshape(-1, values.shape[-1])))
    else:  # numpy sorts numbers of 32 bits in less time than it takes to find single ranks of them
        ranks = np.ceil(np.array([LOW, HIGH]) / 100 * values.size).astype(np.intp) - 1
        low, high = np.sort(values, axis=None)[ranks]
    return float(low), float(high)


def limits_of_movie(frames: Frames) -> tuple[float, float]:
    """What becomes black and white of an array of images.zarr: 0 and the highest label, or the two percentiles.

    They are an attribute of arrays that the workflow made. For an array that somebody else put there all frames that
    the file had are read.
    """
    if "display_limits" in frames.attributes:
        low, high = frames.attributes["display_limits"]
        return low, high
    images = (frames.read(frame) for frame in range(frames.shape[0]) if frames.present(frame))
    if paths.is_labels(frames.path.parent.name):
        return 0, max((int(image.max()) for image in images), default=0)
    smooth = frames.dtype.kind == "f"
    counts = np.zeros(STEPS * COUNTS if smooth else COUNTS, np.int64)
    for image in images:
        values = sample_smooth(image) if smooth else image.ravel()
        counts += np.bincount(values, minlength=len(counts))
    return limits_of_smooth(counts) if smooth else limits_of_counts(counts)


def to_bytes(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values (..., H, W) from `low` to `high` as 0 to 255 (uint8), clipped; black throughout when there is no range."""
    if high <= low:
        return np.zeros(images.shape, np.uint8)
    scale = 255 / (high - low)
    rows = cv2.max(images.reshape(-1, images.shape[-1]), low)
    return cv2.convertScaleAbs(rows, alpha=scale, beta=-low * scale).reshape(images.shape)


def labels_to_bytes(labels: np.ndarray, highest: int) -> np.ndarray:
    """Labels 1 to `highest` as 1 to 255 (uint8), so that no label becomes background; 0 stays 0."""
    table = -(-np.arange(highest + 1) * 255 // max(highest, 1))  # rounded up
    return np.take(table.astype(np.uint8), labels)


def half(images: np.ndarray) -> np.ndarray:
    """(..., H, W) uint8 or uint16 at half size by area mean; an odd last row or column is left out, one alone stays."""
    for axis in (-2, -1):
        if images.shape[axis] == 1:
            images = np.repeat(images, 2, axis=axis)
    height, width = (n // 2 * 2 for n in images.shape[-2:])
    # One below the other: no 2 x 2 pixels are then of two images.
    rows = images[..., :height, :width].reshape(-1, width)
    halved = cv2.resize(rows, (width // 2, len(rows) // 2), interpolation=cv2.INTER_AREA)
    return halved.reshape(*images.shape[:-2], height // 2, width // 2)


def half_labels(labels: np.ndarray) -> np.ndarray:
    """(..., H, W) labels at half resolution by nearest neighbour, of the same shape as `half` gives."""
    height, width = labels.shape[-2:]
    return labels[..., : max(1, height // 2 * 2) : 2, : max(1, width // 2 * 2) : 2]
