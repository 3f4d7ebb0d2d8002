"""Tracking by overlap: the same number for the same cell in all frames.

Each frame's regions are assigned to the tracks of earlier frames so that the sum of their overlaps (intersection
over union, IoU, of bounding boxes or of pixels) is the largest possible, among pairs whose IoU is at least `min_iou`.
Tracks seen in the previous frame choose first; regions they leave are offered to tracks that were missed for up to
`max_gap` frames; what is left begins new tracks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def regions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label (n,), area in pixels (n,) and half-open box [y0, x0, y1, x1] (n, 4) int32 of the regions of one frame.

    labels: (H, W) integers, 0 is background. Sorted by label; labels need not be consecutive or connected.
    """
    from scipy import ndimage

    boxes = ndimage.find_objects(labels)
    label = np.array([at for at, box in enumerate(boxes, start=1) if box], np.int64)
    area = np.bincount(labels.ravel(), minlength=1)[label]
    box = np.array([(y.start, x.start, y.stop, x.stop) for y, x in filter(None, boxes)], np.int32)
    return label, area, box.reshape(-1, 4)


def box_overlaps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of boxes that overlap: index into `first` (n, 4), index into `second` (m, 4), IoU; three (k,) arrays.

    Only boxes whose rows overlap are compared, so that the cost grows with what lies side by side, not with n * m.
    """
    order = np.argsort(second[:, 0], kind="stable")
    tallest = int((second[:, 2] - second[:, 0]).max(initial=0))
    begin = np.searchsorted(second[order, 0], first[:, 0] - tallest, side="right")
    end = np.searchsorted(second[order, 0], first[:, 2], side="left")
    count = np.maximum(end - begin, 0)
    a = np.repeat(np.arange(len(first)), count)
    b = order[np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)]
    low = np.maximum(first[a, :2], second[b, :2]).astype(np.int64)
    high = np.minimum(first[a, 2:], second[b, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = [np.prod((box[:, 2:] - box[:, :2]).astype(np.int64), axis=1) for box in (first, second)]
    iou = shared / (areas[0][a] + areas[1][b] - shared)
    return a, b, iou


def assign(a: np.ndarray, b: np.ndarray, iou: np.ndarray, min_iou: float) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one pairs with the largest possible sum of IoU, among the pairs (a, b) with IoU >= min_iou and > 0."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    allowed = (iou >= min_iou) & (iou > 0)
    a, b, iou = a[allowed], b[allowed], iou[allowed]
    alone = (np.bincount(a)[a] == 1) & (np.bincount(b)[b] == 1)
    chosen = [(a[alone], b[alone])]
    a, b, iou = a[~alone], b[~alone], iou[~alone]
    if len(a):
        n = int(a.max()) + 1
        graph = coo_array((np.ones(len(a)), (a, n + b)), shape=(n + int(b.max()) + 1,) * 2)
        group = connected_components(graph, directed=False)[1][a]
        order = np.argsort(group, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            rows, row = np.unique(a[members], return_inverse=True)
            columns, column = np.unique(b[members], return_inverse=True)
            gain = np.zeros((len(rows), len(columns)))
            gain[row, column] = iou[members]
            r, c = linear_sum_assignment(gain, maximize=True)
            real = gain[r, c] > 0  # the others are no pairs: they only fill up the matrix
            chosen.append((rows[r[real]], columns[c[real]]))
    return np.concatenate([pair[0] for pair in chosen]), np.concatenate([pair[1] for pair in chosen])


def mask_overlaps(pixels: list[np.ndarray], labels: np.ndarray, label: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, ...]:
    """Like `box_overlaps`, of pixels: earlier regions are given as flat indices of their pixels."""
    sizes = np.array([len(flat) for flat in pixels], np.int64)
    row = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    row[label] = np.arange(len(label)) + 1
    hit = row[labels.ravel()[np.concatenate(pixels)]] if pixels else np.zeros(0, np.int64)
    width = len(label) + 1
    pair, shared = np.unique(np.repeat(np.arange(len(pixels)), sizes) * width + hit, return_counts=True)
    shared, pair = shared[pair % width > 0], pair[pair % width > 0]
    a, b = pair // width, pair % width - 1
    return a, b, shared / (sizes[a] + area[b] - shared)


def track(
    frames: Iterable[np.ndarray],
    *,
    min_iou: float = 0.1,
    iou: str = "box",
    max_gap: int = 3,
    min_size: int | None = None,
    max_size: int | None = None,
) -> list[np.ndarray]:
    """Number the cells of a movie.

    frames: label images (H, W), taken one by one. min_size, max_size: regions whose area in pixels is outside
    (both inclusive) are not tracked. iou: "box" or "mask". max_gap: frames for which a cell may be missed; a region is
    then compared with where the cell was last seen.

    Returns for each frame the cell of each label, (highest label + 1,) int64, 0 for background and for regions that
    are not tracked. Cells are numbered from 1 by their first frame, and by label within a frame.
    """
    cells = np.zeros(0, np.int64)  # of the tracks that may still go on
    last = np.zeros(0, np.int64)  # frame in which each was last seen
    boxes = np.zeros((0, 4), np.int32)
    pixels: list[np.ndarray] = []  # for masks only
    highest = 0
    numbered = []
    for frame, labels in enumerate(frames):
        label, area, box = regions(labels)
        wanted = (area >= (min_size or 0)) & (area <= (max_size if max_size is not None else labels.size))
        label, area, box = label[wanted], area[wanted], box[wanted]
        mine = _pixels(labels, label) if iou == "mask" else []
        going_on = frame - last <= max_gap + 1
        cells, last, boxes = cells[going_on], last[going_on], boxes[going_on]
        pixels = [flat for flat, on in zip(pixels, going_on, strict=False) if on]

        found = np.zeros(len(label), np.int64)
        for candidates in (last == frame - 1, last < frame - 1):
            rows, free = np.flatnonzero(candidates), np.flatnonzero(found == 0)
            if iou == "mask":
                a, b, overlap = mask_overlaps([pixels[row] for row in rows], labels, label[free], area[free])
            else:
                a, b, overlap = box_overlaps(boxes[rows], box[free])
            a, b = assign(a, b, overlap, min_iou)
            found[free[b]] = cells[rows[a]]
        new = found == 0
        found[new] = highest + 1 + np.arange(new.sum())
        highest += int(new.sum())

        lost = ~np.isin(cells, found)
        cells, last = np.concatenate([cells[lost], found]), np.concatenate([last[lost], np.full(len(found), frame)])
        boxes = np.concatenate([boxes[lost], box])
        pixels = [flat for flat, keep in zip(pixels, lost, strict=False) if keep] + mine
        table = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
        table[label] = found
        numbered.append(table)
    return numbered


def _pixels(labels: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
    """Flat indices of the pixels of each region."""
    flat = np.flatnonzero(labels)
    value = labels.ravel()[flat]
    order = np.argsort(value, kind="stable")
    begin = np.searchsorted(value[order], label, side="left")
    end = np.searchsorted(value[order], label, side="right")
    return [flat[order[b:e]] for b, e in zip(begin, end, strict=True)]
