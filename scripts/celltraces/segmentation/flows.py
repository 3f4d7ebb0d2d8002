"""Find cells in flows, as Cellpose's networks give them: from each pixel of a cell they lead to one place in it.

Each pixel follows the flow; those that end in one place are one cell (Stringer et al., Nature Methods 18 (2021) 100).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage, sparse
from skimage.segmentation import watershed

from celltraces.segmentation.parting import numbered_cells, smallest_area

GATHERED = 10  # pixels that end about one place, from which it is a sink
APART = 1 / 6  # of the diameter of cells: a sink has more pixels than any other place as far away as half of this
AT_ONCE = 1 << 17  # pixels: all that is held for them is small beside the network's layers
OPPOSITE = (((1, 0), (-1, 0)), ((0, 1), (0, -1)))  # neighbours below and above, and to the right and left

log = logging.getLogger("celltraces")


class Following(NamedTuple):
    """How flows are followed; all but error are pixels of the network's picture."""

    length: float = 5.0  # of the flow's vectors: this much is a step of 1 px
    steps: int = 200  # of at most 1 px
    error: float = 0.4  # mean squared difference of directions (unit vectors) from a cell's own, above which it is none


def cells_of_flows(
    mask: np.ndarray,
    flow: np.ndarray,
    shape: tuple[int, int],
    following: Following,
    *,
    threshold: float,
    diameter: float,
    min_area: float,
    debris: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1..N in raster order, `shape`, int32, of the cells in a network's outputs, and what was left out as too
    small, `shape`, uint8 as in `left_out`.

    mask: (h, w) float32, probability of cells; flow: (2, h, w) float32, down and right. threshold, diameter, min_area,
    debris: as for `parting.part_cells`. Cells are 4-connected and have no holes.
    """
    inside = mask > threshold
    labels = one_piece(gathered(follow(flow, inside, following), inside, diameter))
    errors = flow_errors(labels, flow)
    wrong = errors > following.error
    if wrong.any():
        log.info("%d objects are left out, since their flows lead elsewhere than to one place", np.count_nonzero(wrong))
    labels = without_holes(np.where(wrong[labels], 0, labels))
    labels = _as_large_as(labels, mask, shape, threshold)
    return numbered_cells(labels, smallest_area(mask, shape, diameter, min_area, debris))


def follow(flow: np.ndarray, inside: np.ndarray, following: Following) -> np.ndarray:
    """Where the pixels of a mask (H, W) end that follow a flow (2, H, W) within it: (2, N) float64, y and x.

    Between pixels the flow is interpolated linearly. Steps are as long as the flow is, and 1 px at most.
    """
    steps = np.where(inside, flow, 0) / following.length
    steps /= np.maximum(1, np.hypot(*steps))
    moves = np.pad(steps[0] + 1j * steps[1], [(0, 1), (0, 1)], "edge").astype(np.complex64)  # both parts at once
    width, moves = moves.shape[1], moves.ravel()
    bottom, right = inside.shape[0] - 1, inside.shape[1] - 1
    start = np.stack(np.nonzero(inside)).astype(np.float64)
    for first in range(0, start.shape[1], AT_ONCE):
        y, x = start[:, first : first + AT_ONCE]
        for _ in range(following.steps):
            row, column = y.astype(np.intp), x.astype(np.intp)
            at = row * width + column
            above, below = (moves[i] + (moves[i + 1] - moves[i]) * (x - column) for i in (at, at + width))
            move = above + (below - above) * (y - row)
            y, x = np.clip(y + move.real, 0, bottom), np.clip(x + move.imag, 0, right)
        start[:, first : first + AT_ONCE] = y, x
    return start


def gathered(places: np.ndarray, inside: np.ndarray, diameter: float) -> np.ndarray:
    """Labels (H, W) int32 of a mask, by the places (2, N) where its pixels end.

    Sinks are where more pixels end than anywhere near, and GATHERED at least. What ends between them belongs to the
    one that it would come to uphill, where the height is how many pixels end; what ends far from all is no cell.
    """
    labels = np.zeros(inside.shape, np.int32)
    y, x = np.rint(places).astype(np.intp)
    ending = np.bincount(y * inside.shape[1] + x, minlength=inside.size).reshape(inside.shape)
    height = 2 * np.pi * ndimage.gaussian_filter(ending.astype(np.float64), 1, truncate=3)
    reach = 2 * max(1, round(APART * diameter / 2)) + 1
    tops = (height == ndimage.maximum_filter(height, reach)) & (height >= GATHERED)
    sinks, _ = ndimage.label(tops, np.ones((3, 3)))
    labels[inside] = watershed(-height, sinks, mask=height > 0, connectivity=2)[y, x]
    return labels


def one_piece(labels: np.ndarray) -> np.ndarray:
    """Labels (H, W) with the largest 4-connected piece of each region alone."""
    kept = np.zeros_like(labels)
    for label, part, mask in _regions(labels):
        pieces, n_pieces = ndimage.label(mask)
        largest = np.argmax(np.bincount(pieces.ravel())[1:]) + 1 if n_pieces > 1 else 1
        kept[part][pieces == largest] = label
    return kept


def without_holes(labels: np.ndarray) -> np.ndarray:
    """Labels (H, W) in which background that a region encloses belongs to it."""
    filled = labels.copy()
    for label, part, mask in _regions(labels):
        holes = ndimage.binary_fill_holes(mask) & (labels[part] == 0)
        filled[part][holes] = label
    return filled


def _regions(labels: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...], np.ndarray]]:
    """Label, box and mask within the box of each region."""
    for label, part in enumerate(ndimage.find_objects(labels), start=1):
        if part is not None:
            yield label, part, labels[part] == label


def flow_errors(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Of each label from 0 on, how the flow (2, H, W) in its region differs from that which the region itself has: the
    mean squared difference of their directions, as unit vectors; 0 of no region.

    The region's own flow goes up the density of something that spreads evenly from its middle and is lost at its edge.
    """
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    errors = np.zeros(areas.size)
    group = np.cumsum(areas) // AT_ONCE
    for one in np.unique(group[areas > 0]):
        some = np.where(group[labels] == one, labels, 0)
        y, x = np.nonzero(some)
        own = unit_vectors(own_flow(some))
        difference = np.square(own - unit_vectors(flow[:, y, x].astype(np.float64))).sum(axis=0)
        errors += np.bincount(some[y, x], difference, minlength=errors.size)
    return errors / np.maximum(1, areas)


def own_flow(labels: np.ndarray) -> np.ndarray:
    """(2, N) float64: at the pixels of regions (H, W), in raster order, the flow to the middle of their region.

    The middle is the pixel of the region that is nearest to the medians of its rows and columns.
    """
    y, x = np.nonzero(labels)
    label = labels[y, x]
    number = np.full(np.add(labels.shape, 2), -1)
    number[y + 1, x + 1] = np.arange(y.size)
    middles, widest = [], 0
    for _, part, mask in _regions(labels):
        rows, columns = np.nonzero(mask)
        nearest = np.argmin((rows - np.median(rows)) ** 2 + (columns - np.median(columns)) ** 2)
        middles.append(number[part[0].start + rows[nearest] + 1, part[1].start + columns[nearest] + 1])
        widest = max(widest, sum(mask.shape))

    def neighbours(dy: int, dx: int) -> sparse.csr_array:
        """(N, N): each pixel's neighbour in this direction, if it belongs to the same region."""
        other = number[y + 1 + dy, x + 1 + dx]
        one = np.flatnonzero(other >= 0)
        one = one[label[one] == label[other[one]]]
        return sparse.csr_array((np.ones(one.size), (one, other[one])), shape=(y.size, y.size))

    around = sum((neighbours(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)), start=sparse.csr_array((y.size,) * 2))
    source = np.zeros(y.size)
    source[middles] = 1
    density = source
    for _ in range(2 * widest):  # until it has come from end to end
        density = (around @ density) / 9 + source
    return np.stack([neighbours(*to) @ density - neighbours(*back) @ density for to, back in OPPOSITE])


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """(2, ...) vectors of length 1; those of length 0 stay."""
    length = np.hypot(*vectors)
    return vectors / np.where(length > 0, length, 1)


def _as_large_as(labels: np.ndarray, mask: np.ndarray, shape: tuple[int, int], threshold: float) -> np.ndarray:
    """Labels (h, w) in the frame's own pixels; outlines are where the probability, enlarged, is at the threshold."""
    if labels.shape == tuple(shape):
        return labels
    large = (shape[1], shape[0])
    grown = cv2.resize(labels.astype(np.float32), large, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    full = cv2.resize(mask, large, interpolation=cv2.INTER_LINEAR)
    step = int(np.ceil(shape[0] / labels.shape[0]))
    near = cv2.dilate((grown > 0).view(np.uint8), np.ones((2 * step + 1, 2 * step + 1), np.uint8)) > 0
    return one_piece(without_holes(watershed(-full, grown, mask=near & (full > threshold))))
