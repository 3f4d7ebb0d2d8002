"""Pair cells and regions that overlap left over, because cells moved by more than their width, by distance."""

import numpy as np

from celltraces.labels.regions import boxes_near_edge
from celltraces.tracking.box_pairs import shared_boxes

LIKE = 0.7  # the smaller area by the larger one, at least, unless the picture's edge cuts a region
CLEAR = 1.5  # times the distance: nothing else that is left lies nearer, to either of the two


def nearest_pairs(
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    step: np.ndarray,
    max_distance: float,
    shape: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a cell and a region of like area that are by far the nearest to each other: rows of both.

    before, after: half-open boxes [y0, x0, y1, x1] (N, 4) and areas (N,), in pixels, of the cells as they were last and
    of the regions of this frame (H, W), which is displaced by step (y, x). max_distance: from centre to centre, in
    widths of the larger one (the diameter of the disk of its area).
    """
    widths = [2 * np.sqrt(area / np.pi) for _, area in (before, after)]
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes, _ in (before, after)]
    centres[0] = centres[0] + step
    reach = CLEAR * max_distance * max(width.max(initial=0) for width in widths)
    low, high = np.floor(centres[0] - reach).astype(np.int64), np.ceil(centres[0] + reach).astype(np.int64) + 1
    place = np.floor(centres[1]).astype(np.int64)
    i, j, _ = shared_boxes(np.hstack([low, high]), np.hstack([place, place + 1]))
    distance = np.hypot(*(centres[0][i] - centres[1][j]).T)
    near = distance <= max_distance * np.maximum(widths[0][i], widths[1][j])
    areas = before[1][i], after[1][j]
    like = np.minimum(*areas) >= LIKE * np.maximum(*areas)
    like |= boxes_near_edge(before[0], shape, 1)[i] | boxes_near_edge(after[0], shape, 1)[j]
    chosen = near & like & _by_far_nearest(i, distance) & _by_far_nearest(j, distance)
    return i[chosen], j[chosen]


def _by_far_nearest(group: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Of each pair, whether it is the nearest one of its group and the next one CLEAR times as far."""
    order = np.lexsort((distance, group))
    group, sorted_distance = group[order], distance[order]
    first = np.diff(group, prepend=-1) != 0
    following = np.append(np.where(first[1:], np.inf, sorted_distance[1:]), np.inf)[: order.size]
    found = np.zeros(order.size, bool)
    found[order] = first & (following >= CLEAR * sorted_distance)
    return found
