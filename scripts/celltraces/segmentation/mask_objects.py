"""Close, open, fill and number the 4-connected objects of a mask."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from celltraces.frames import coverage
from celltraces.labels import bit_morphology
from celltraces.labels.left_out import TOO_LARGE, TOO_NARROW, TOO_SMALL
from celltraces.labels.regions import positions_in_runs


class Components(NamedTuple):
    """The 4-connected objects of a mask, numbered from 1 in raster order."""

    pixels: np.ndarray  # positions of all their pixels in the flat image
    owner: np.ndarray  # the object of each of these
    area: np.ndarray  # of each object; 0 for number 0
    ends: np.ndarray  # where in these runs end: pixels of one object that follow each other in it


def morph(
    mask: np.ndarray,
    first: Callable,
    second: Callable,
    size: int,
    iterations: int,
    uncovered: np.ndarray | None = None,
) -> np.ndarray:
    """`iterations` times `first`, then as often `second` (dilate, erode), with a disk `size` pixels wide.

    Beyond the image, and where it is uncovered, everything goes on as it is at the edge, so that an object cut by the
    edge is treated as the whole object would be, and one beside the edge does not grow onto it.
    """
    if size == 1 or iterations == 0:
        return mask
    if uncovered is not None:
        mask = coverage.continued(mask, uncovered, mirrored=False)
    shape = bit_morphology.disk(size // 2, iterations)
    reach = 2 * (len(shape) - 1)
    padded = bit_morphology.pack(cv2.copyMakeBorder(mask, reach, reach, reach, reach, cv2.BORDER_REPLICATE))
    width = mask.shape[1]
    mask = np.ascontiguousarray(
        bit_morphology.unpack(second(first(padded, shape), shape), reach + width)[reach:-reach, reach:]
    )
    if uncovered is not None:
        mask[uncovered] = 0
    return mask


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill background that is not 4-connected to the image border. (H, W) uint8 0/1 -> the same."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mask.copy(), outlines, -1, 1, cv2.FILLED)


def fill_holes_of(mask: np.ndarray, uncovered: np.ndarray) -> np.ndarray:
    """As `fill_holes`, where uncovered pixels (0 in the mask) are outside, as is all beyond the image's border."""
    holes = fill_holes(mask) - mask
    _, labels = cv2.connectedComponents(holes, connectivity=4, ltype=cv2.CV_32S)
    open_ones = np.unique(labels[uncovered])
    return mask | (holes & ~np.isin(labels, open_ones))


def remove_small(mask: np.ndarray, objects: Components, min_size: int) -> np.ndarray:
    """Clear the objects of fewer than `min_size` pixels. (H, W) uint8 0/1 -> the same."""
    kept = mask.copy()
    kept.ravel()[objects.pixels[members(objects, objects.area < min_size)]] = 0
    return kept


def mark_vanished(objects: Components, opened: np.ndarray, rejected: np.ndarray, min_size: int, least: int) -> None:
    """Mark in `rejected` the objects of which the opened mask has no pixel.

    TOO_SMALL: those below `min_size`, of at least `least` pixels; TOO_NARROW: the larger ones.
    """
    pixels, owner, area, _ = objects
    found = np.zeros(len(area), bool)
    found[owner[opened.ravel().take(pixels).view(bool)]] = True
    why = np.where(area >= min_size, TOO_NARROW, np.where(area >= least, TOO_SMALL, 0)).astype(np.uint8)
    why[found] = 0
    if why[1:].any():
        code = why.take(owner)
        rejected.ravel()[pixels[code > 0]] = code[code > 0]


def label_objects(
    mask: np.ndarray, min_size: int = 1, max_size: int | None = None, rejected: np.ndarray | None = None
) -> np.ndarray:
    """Label the 4-connected objects of `min_size` to `max_size` pixels (inclusive) 1..N in raster order.

    (H, W) uint8 0/1 -> (H, W) uint16, or uint32 when more than 65,535 objects are kept. The others are marked in
    `rejected`.
    """
    return number_objects(components(mask), mask.shape, min_size, max_size, rejected)


def number_objects(
    objects: Components,
    shape: tuple[int, ...],
    min_size: int = 1,
    max_size: int | None = None,
    rejected: np.ndarray | None = None,
) -> np.ndarray:
    """The same for objects that are known already; those with area 0 are none. Returns (H, W)."""
    pixels, owner, area, _ = objects
    keep = area >= max(min_size, 1)
    if max_size is not None:
        keep &= area <= max_size
    dtype = np.uint16 if np.count_nonzero(keep) <= 65535 else np.uint32
    labels = np.zeros(shape, dtype)
    labels.ravel()[pixels] = np.where(keep, np.cumsum(keep), 0).astype(dtype).take(owner)
    if rejected is not None and not keep[1:].all():
        why = np.where(keep | (area == 0), 0, np.where(area < min_size, TOO_SMALL, TOO_LARGE)).astype(np.uint8)
        rejected.ravel()[pixels] = why.take(owner)
    return labels


def components(mask: np.ndarray) -> Components:
    """The 4-connected objects of (H, W) uint8 0/1."""
    return listed(mask, *label_mask(mask))


def label_mask(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """The number of 4-connected objects of (H, W) uint8 0/1, and one; their numbers in raster order, (H, W) int32."""
    return cv2.connectedComponentsWithAlgorithm(mask, 4, cv2.CV_32S, cv2.CCL_SAUF)


def listed(mask: np.ndarray, n: int, labels: np.ndarray) -> Components:
    """The objects of a mask for which `label_mask` gave `n` and `labels`."""
    pixels = np.flatnonzero(mask.view(bool))
    owner = labels.ravel().take(pixels)
    # Pixels that follow each other are counted at once: one by one they would take most of the time.
    ends = np.flatnonzero(np.append(owner[1:] != owner[:-1], [True] * (owner.size > 0)))
    area = np.bincount(owner.take(ends), np.diff(ends, prepend=-1), n).astype(np.int64)
    return Components(pixels, owner, area, ends)


def members(objects: Components, chosen: np.ndarray) -> np.ndarray:
    """Where in `pixels` those of the chosen objects are, in their order. chosen: (n,) bool, of each object."""
    runs = np.flatnonzero(chosen.take(objects.owner.take(objects.ends)))
    length = np.diff(objects.ends, prepend=-1).take(runs)
    return positions_in_runs(objects.ends.take(runs) + 1 - length, length)
