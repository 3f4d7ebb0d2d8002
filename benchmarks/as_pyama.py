"""The array operations of PyAMA 5a552bf, written from a description of it: not PyAMA, and slower than PyAMA.

Each stage's operations on one frame or stack in the order of that description, with scipy and scikit-image as they are
called there, without reading, writing and starts. The program itself calls less: for reading, segmentation, tracking,
background and extraction of a like movie it took 57.6 CPU seconds per FOV (run.py, REAL_PYAMA_S), this takes some 105.
So these numbers say what the plain way of each stage costs, and nothing of PyAMA. The background is `like_pyama` of
tests/oracles_background.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import oracles
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage import measure

SQUARE = np.ones((7, 7), bool)


def segment(image: np.ndarray) -> np.ndarray:
    """Mask of the cells, (H, W) bool."""
    mask = oracles.pyama_filled_mask(image)
    mask = ndimage.binary_opening(mask, SQUARE, iterations=3)
    return ndimage.binary_closing(mask, SQUARE, iterations=3)


def track(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Labels (H, W) uint16 of each frame, of the cells that are in the first."""
    tracked = []
    before: dict[int, tuple[int, ...]] = {}
    for frame, mask in enumerate(masks):
        regions = measure.regionprops(measure.label(mask, connectivity=1))
        cost = np.ones((len(before), len(regions)))
        for row, box in enumerate(before.values()):
            for column, region in enumerate(regions):
                overlap = oracles.box_iou(box, region.bbox)
                if overlap >= 0.1:
                    cost[row, column] = 1 - overlap
        if frame == 0:
            pairs = {column: column + 1 for column in range(len(regions))}
        else:
            ids = list(before)
            found = zip(*linear_sum_assignment(cost), strict=True)
            pairs = {int(column): ids[row] for row, column in found if cost[row, column] < 1}
        labels = np.zeros(mask.shape, np.uint16)
        before = {}
        for column, cell in pairs.items():
            labels[tuple(regions[column].coords.T)] = cell
            before[cell] = regions[column].bbox
        tracked.append(labels)
    return tracked


def extract(labels: np.ndarray, image: np.ndarray, surface: np.ndarray) -> list[tuple[float, ...]]:
    """Cell, box and total intensity of the cells of a frame in one channel."""
    image = image.astype(np.float32)
    rows = []
    for cell in np.unique(labels)[1:]:
        mask = labels == cell
        y, x = np.nonzero(mask)
        total = (image - np.float32(1.0) * surface)[mask].sum()
        rows.append((int(cell), x.min(), y.min(), x.max(), y.max(), float(total)))
    return rows


def show(stack: np.ndarray) -> np.ndarray:
    """A stack (T, H, W) in 8 bits, between its 1st and its 99th percentile."""
    stack = stack.astype(np.float32)
    low, high = np.percentile(stack, 1), np.percentile(stack, 99)
    return (np.clip((stack - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
