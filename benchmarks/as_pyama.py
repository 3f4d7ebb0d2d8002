"""The numerical work of PyAMA 5a552bf, written from a description of it, to compare costs with.

Only what costs: each stage's array operations on one frame or stack, as PyAMA orders them, without its reading and
writing of files and its starts. What is left out makes PyAMA look cheaper than it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import linear_sum_assignment
from skimage import measure

SQUARE, LARGE_SQUARE = np.ones((7, 7), bool), np.ones((21, 21), bool)


def segment(image: np.ndarray) -> np.ndarray:
    """Mask of the cells, (H, W) bool."""
    image = image.astype(np.float32)
    mean = ndimage.uniform_filter(image, size=3)
    variance = ndimage.uniform_filter(image * image, size=3) - mean * mean
    std = np.zeros_like(image)
    np.log(variance, out=std, where=variance > 0)
    std *= np.float32(0.5)
    counts, edges = np.histogram(std.ravel(), bins=200)
    mode = ((edges[:-1] + edges[1:]) / 2)[np.argmax(counts)]
    mask = ndimage.binary_fill_holes(std > mode + 3 * np.std(std[std <= mode]))
    mask = ndimage.binary_opening(mask, SQUARE, iterations=3)
    return ndimage.binary_closing(mask, SQUARE, iterations=3)


def background(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A spline through the medians of tiles of 256 pixels, (H, W) float32."""
    masked = image.astype(np.float32)
    masked[ndimage.binary_dilation(mask, LARGE_SQUARE)] = np.nan
    edges = [np.rint(np.linspace(0, size, 2 * (-(-size // 256) + 1) - 1)).astype(int) for size in image.shape]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        medians = np.array(
            [
                [
                    np.nanmedian(masked[top:bottom, left:right])
                    for left, right in zip(edges[1], edges[1][2:], strict=False)
                ]
                for top, bottom in zip(edges[0], edges[0][2:], strict=False)
            ]
        )
    medians[np.isnan(medians)] = np.nanmedian(masked)
    centres = [(edge[:-2] + edge[2:]) / 2 for edge in edges]
    return RectBivariateSpline(*centres, medians)(*map(np.arange, image.shape)).astype(np.float32)


def track(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Labels (H, W) uint16 of each frame, of the cells that are in the first."""
    tracked = []
    before: dict[int, tuple[int, ...]] = {}
    for frame, mask in enumerate(masks):
        regions = measure.regionprops(measure.label(mask, connectivity=1))
        cost = np.ones((len(before), len(regions)))
        for row, box in enumerate(before.values()):
            for column, region in enumerate(regions):
                overlap = _iou(box, region.bbox)
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


def _iou(a: Sequence[int], b: Sequence[int]) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


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
