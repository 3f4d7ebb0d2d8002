"""Compare the cells that two sets of segmentation parameters find in the same frame."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from celltraces.files import csv_text
from celltraces.labels import left_out

# What became of a region, in comparison with the present parameters.
SAME, MERGED, PART, NEW = range(4)
SAME_IOU = 0.5


@dataclass(frozen=True)
class Comparison:
    """One frame with one set of parameters, beside the same frame with the present ones."""

    areas: np.ndarray  # (N,) pixels of the regions 1..N; 0 for a number that is not used
    fates: np.ndarray  # (N + 1,) fate of each label
    present: int  # cells at present
    same: int  # present cells of which a region covers the same pixels, by intersection over union >= SAME_IOU
    split: int  # present cells that fell into several parts
    lost: np.ndarray  # labels of the present cells of which no pixel is left
    left_out: Mapping[str, int | None]  # as left_out.count
    near_edge: np.ndarray  # labels of the cells that border_margin leaves out of the traces
    pixels: int  # of the frame


def compare_labels(
    reference: np.ndarray,
    labels: np.ndarray,
    rejected: np.ndarray | None = None,
    boxes: Sequence[Sequence[int]] = (),
    border_margin: int = 0,
) -> Comparison:
    """Compare two label images (H, W) of a frame; `reference` is that of the present parameters.

    rejected: (H, W) uint8, what was left out beside the labels, as in `left_out`; None where the method does not tell.
    boxes: half-open [y0, x0, y1, x1], parts of the frame without data.

    A region has merged cells when more than half of the pixels of each of two or more present cells lie in it. A
    present cell is split when more than half of each of two or more regions lie in it.
    """
    old, new, pixels = _overlaps(reference, labels)
    area_old, area_new = (np.bincount(side, weights=pixels).astype(np.int64)[1:] for side in (old, new))
    both = (old > 0) & (new > 0)
    old, new, pixels = old[both], new[both], pixels[both]
    inside_new, inside_old = 2 * pixels > area_old[old - 1], 2 * pixels > area_new[new - 1]
    swallowed = np.bincount(new[inside_new], minlength=len(area_new) + 1)
    parts = np.bincount(old[inside_old], minlength=len(area_old) + 1)
    fates = np.full(len(area_new) + 1, NEW)
    fates[new] = SAME
    fates[new[inside_old & (parts[old] > 1)]] = PART
    fates[swallowed > 1] = MERGED
    union = area_old[old - 1] + area_new[new - 1] - pixels
    lost = np.setdiff1d(np.flatnonzero(area_old) + 1, old)
    return Comparison(
        area_new,
        fates,
        int(np.count_nonzero(area_old)),
        len(np.unique(old[pixels >= SAME_IOU * union])),
        int((parts > 1).sum()),
        lost,
        left_out.count(labels, rejected),
        labels_near_edge(labels, boxes, border_margin),
        labels.size,
    )


def in_common(first: np.ndarray, second: np.ndarray) -> int:
    """Cells of two label images (H, W) that are the same: intersection over union of SAME_IOU or more.

    Neither image is taken for the truth. Where two halves of a cell are exactly alike, both count.
    """
    one, other, pixels = _overlaps(first, second)
    union = np.bincount(one, weights=pixels)[one] + np.bincount(other, weights=pixels)[other] - pixels
    same = (one > 0) & (other > 0) & (pixels >= SAME_IOU * union)
    return min(len(np.unique(one[same])), len(np.unique(other[same])))


def agreements(common: np.ndarray, cells: Sequence[int]) -> np.ndarray:
    """By how much each pair of sets agrees, in percent, (N, N): cells in common, of the mean of their numbers of cells.

    common: (N, N), as `in_common`, over all frames. NaN where both have no cells, and of a set with itself.
    """
    both = np.add.outer(np.asarray(cells, float), np.asarray(cells, float))
    percent = np.divide(200.0 * common, both, out=np.full(both.shape, np.nan), where=both > 0)
    np.fill_diagonal(percent, np.nan)
    return percent


def of_other_methods(shares: np.ndarray, methods: Sequence[str]) -> np.ndarray:
    """`agreements` (N, N) with NaN for pairs of one method, but in rows that have no other method to be compared with.

    Sets of parameters of one method are alike: where there are many, they would outvote another method.
    """
    apart = np.where(np.equal.outer(np.array(methods), np.array(methods)), np.nan, shares)
    return np.where(np.isfinite(apart).any(axis=1, keepdims=True), apart, shares)


def agreement(with_others: np.ndarray) -> dict[str, float]:
    """Of a row of `agreements`: the median, the least and the most; NaN where there are no others."""
    values = with_others[np.isfinite(with_others)]
    of = (np.median, np.min, np.max) if values.size else (lambda _: math.nan,) * 3
    names = ("agreement_percent", "agreement_least_percent", "agreement_most_percent")
    return {name: float(function(values)) for name, function in zip(names, of, strict=True)}


def labels_near_edge(labels: np.ndarray, boxes: Sequence[Sequence[int]], margin: int) -> np.ndarray:
    """Labels of the cells (H, W) that come within `margin` px of the edge of the image or of `boxes` without data.

    boxes: half-open [y0, x0, y1, x1].
    """
    height, width = labels.shape
    near = np.ones(labels.shape, bool)
    near[margin : max(height - margin, 0), margin : max(width - margin, 0)] = False
    for y0, x0, y1, x1 in boxes if margin else ():
        near[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin] = True
    found = np.unique(labels[near])
    return found[found > 0]


def _overlaps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of labels that lie on each other, and on how many pixels: by runs of equal pairs, not pixel by pixel."""
    width = int(second.max(initial=0)) + 1
    wide = np.int32 if (int(first.max(initial=0)) + 1) * width < 1 << 31 else np.int64
    pairs = (first.astype(wide) * wide(width) + second.astype(wide, copy=False)).ravel()
    start = np.concatenate([[0], np.flatnonzero(pairs[1:] != pairs[:-1]) + 1])
    found, index = np.unique(pairs[start], return_inverse=True)
    pixels = np.bincount(index, weights=np.diff(start, append=pairs.size)).astype(np.int64)
    return found // width, found % width, pixels


def summarise(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Counts, areas and shares of some frames together; a share of nothing is NaN."""
    areas = np.concatenate([found.areas[found.areas > 0] for found in comparisons] or [np.zeros(0)])
    fates = np.concatenate([found.fates[1:][found.areas > 0] for found in comparisons] or [np.zeros(0)])
    present = sum(found.present for found in comparisons)
    cells = len(areas)
    return {
        "frames": len(comparisons),
        "cells": cells,
        "median_area": float(np.median(areas)) if cells else math.nan,
        "largest_area": int(areas.max()) if cells else math.nan,
        "covered_percent": _percent(areas.sum(), sum(found.pixels for found in comparisons)),
        "cells_change_percent": _percent(cells - present, present),
        "same_percent": _percent(sum(found.same for found in comparisons), present),
        "merged_percent": _percent((fates == MERGED).sum(), cells),
        "split_percent": _percent(sum(found.split for found in comparisons), present),
        "new_percent": _percent((fates == NEW).sum(), cells),
        "lost_percent": _percent(sum(len(found.lost) for found in comparisons), present),
        "empty_frames_percent": _percent(sum(not found.areas.any() for found in comparisons), len(comparisons)),
        **_left_out([found.left_out for found in comparisons]),
        "near_edge_percent": _percent(sum(len(found.near_edge) for found in comparisons), cells),
    }


def _left_out(counted: Sequence[Mapping[str, int | None]]) -> dict[str, float]:
    """Regions that were left out, and their share of the foreground; NaN where the method does not tell."""
    sums = left_out.counts_in_all(left_out.counts_by_frame(counted))
    if sums is None or not counted:
        return dict.fromkeys((*left_out.LIMITS, "left_out_percent"), math.nan)
    regions = {reason: sums[f"{reason}_regions"] for reason in left_out.LIMITS}
    return {**regions, "left_out_percent": _percent(sums["left_out"], sums["foreground"])}


def _percent(part: float, of: float) -> float:
    return 100 * float(part) / of if of else math.nan


def rows_as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; numbers with at most two decimals, NaN where there is none."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "NaN"
        return str(value)

    return csv_text([rows[0], *(map(cell, row.values()) for row in rows)] if rows else ())
