"""Part cells that touch: watershed from the deepest places of what a network takes for cell.

Seeds are found in the network's picture, in which cells have the size that the network knows best: so what is a neck
or debris needs no parameter. Outlines are drawn in the frame's own pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from celltraces.labels import left_out

CORE = 0.3  # by how much cell must be more probable than edge in the core of a cell
# Shares of the diameter that cells have in the network's picture.
DEEPEST = 0.54  # depths beyond it count as equal: a long cell is not cut where it is a little narrower
NECK = 0.135  # by how much a neck between two cells must be narrower (on one side) than both
SMOOTHING = 0.027
SHALLOWEST = 0.04  # cores less deep are no cells


def part_cells(
    mask: np.ndarray,
    edges: np.ndarray | None,
    distance: np.ndarray | None,
    shape: tuple[int, int],
    *,
    threshold: float,
    diameter: float,
    min_area: float,
    debris: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1..N in raster order, `shape`, int32, of cells in a network's outputs, (h, w) float32 each, and what was
    left out, `shape`, uint8 as in `left_out`.

    `mask` and `edges` are probabilities of cells and of their edges, `distance` (px) says how deep in a cell a pixel
    lies. Pixels more probable than `threshold` are cells. `diameter`: of cells in the network's picture. Regions are
    4-connected; those smaller than `min_area` (px of the frame), or than a share `debris` of the area of a disk of the
    diameter, are left out.
    """
    seeds = find_seeds(mask, edges, distance, threshold, diameter)
    large = (shape[1], shape[0])
    seeds = cv2.resize(seeds, large, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    full = cv2.resize(mask, large, interpolation=cv2.INTER_LINEAR)
    inside = full > threshold
    height = -full if edges is None else cv2.resize(edges, large, interpolation=cv2.INTER_LINEAR) - full
    labels = watershed(height, np.where(inside, seeds, 0), mask=inside).astype(np.int32)
    unreached, _ = ndimage.label(inside & (labels == 0))
    labels = np.where(unreached > 0, unreached + labels.max(initial=0), labels)
    return numbered_cells(labels, smallest_area(mask, shape, diameter, min_area, debris))


def find_seeds(
    mask: np.ndarray, edges: np.ndarray | None, distance: np.ndarray | None, threshold: float, diameter: float
) -> np.ndarray:
    """One region for each cell, (h, w) float32 labels: where it is deepest, unless the neck to a deeper one is wide."""
    if distance is None:
        core = mask > threshold if edges is None else mask - edges > CORE
        distance = ndimage.distance_transform_edt(core)
    depth = np.minimum(distance, DEEPEST * diameter).astype(np.float32)
    depth = np.round(8 * cv2.GaussianBlur(depth, (0, 0), SMOOTHING * diameter))  # steps of 1/8 px
    tops = h_maxima(depth, round(8 * NECK * diameter)) if depth.any() else np.zeros(depth.shape)
    seeds, _ = ndimage.label((tops > 0) & (depth > 8 * SHALLOWEST * diameter), np.ones((3, 3)))
    return seeds.astype(np.float32)


def smallest_area(mask: np.ndarray, shape: tuple[int, int], diameter: float, min_area: float, debris: float) -> float:
    """Pixels of a frame of `shape` that an object has at least; min_area, debris, diameter: as for `part_cells`."""
    per_pixel = shape[0] * shape[1] / mask.size  # px of the frame in a pixel of the network's picture
    return max(min_area, debris * np.pi / 4 * diameter**2 * per_pixel)


def numbered_cells(labels: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """The regions of `smallest` pixels or more, (H, W) int32, numbered 1..N by their first pixel, and the others as
    left out, (H, W) uint8."""
    keep = np.bincount(labels.ravel()) >= smallest
    found, first = np.unique(labels, return_index=True)
    kept = [number for _, number in sorted(zip(first, found, strict=True)) if number and keep[number]]
    numbers = np.zeros(len(keep), np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    cells = numbers[labels]
    return cells, np.uint8(left_out.TOO_SMALL) * ((labels > 0) & (cells == 0))
