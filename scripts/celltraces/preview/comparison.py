"""Compare the cells that two sets of segmentation parameters find in the same frame."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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


def compare(reference: np.ndarray, labels: np.ndarray, rejected: np.ndarray | None = None) -> Comparison:
    """Compare two label images (H, W) of a frame; `reference` is that of the present parameters.

    rejected: (H, W) uint8, what was left out beside the labels, as in `left_out`; None where the method does not tell.

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
    )


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
        "cells_change_percent": _percent(cells - present, present),
        "same_percent": _percent(sum(found.same for found in comparisons), present),
        "merged_percent": _percent((fates == MERGED).sum(), cells),
        "split_percent": _percent(sum(found.split for found in comparisons), present),
        "new_percent": _percent((fates == NEW).sum(), cells),
        "lost_percent": _percent(sum(len(found.lost) for found in comparisons), present),
        "empty_frames_percent": _percent(sum(not found.areas.any() for found in comparisons), len(comparisons)),
        **_left_out([found.left_out for found in comparisons]),
    }


def _left_out(counted: Sequence[Mapping[str, int | None]]) -> dict[str, float]:
    """Regions that were left out, and their share of the foreground; NaN where the method does not tell."""
    sums = left_out.totals(left_out.by_frame(counted))
    if sums is None:
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

    lines = [",".join(rows[0]), *(",".join(map(cell, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"
