"""Level 1 of images and crops: 8 bit, half resolution, for looking at. Nothing is measured on it."""

from __future__ import annotations

import cv2
import numpy as np

LOW, HIGH = 1.0, 99.0  # percentiles that become black and white


def limits_of_counts(counts: np.ndarray) -> tuple[int, int]:
    """Values at the two percentiles, from a histogram with one bin per value."""
    cumulated = np.cumsum(counts)
    low, high = np.searchsorted(cumulated, np.array([LOW, HIGH]) / 100 * cumulated[-1])
    return int(low), int(high)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Values at the two percentiles."""
    at = [int(share / 100 * (values.size - 1)) for share in (LOW, HIGH)]
    low, high = np.partition(values, at, axis=None)[at]
    return float(low), float(high)


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
    return table.astype(np.uint8)[labels]


def half(images: np.ndarray) -> np.ndarray:
    """(..., H, W) uint8 at half resolution by area mean; an odd last row or column is left out, a single one stays."""
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
