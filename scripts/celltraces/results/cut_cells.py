"""Find the cells whose light is cut off at the highest value of the camera."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from celltraces import paths
from celltraces.storage.cells import Get, get_array


def cut_shares(
    get: Get, pc: int, pieces: Iterable[tuple[int, int, int, int]], wanted: Collection[int]
) -> dict[int, float]:
    """By frame the largest share of a cell's pixels that are cut off, in frames where a cell has such pixels.

    get: reads cells.zarr. pc: the phase-contrast channel. pieces: see frames.cut_off. wanted: numbers of the cells that
    count.
    """
    ids, valid, bboxes, origins, areas = (
        get_array(get, f"metadata/{name}")[0]
        for name in ("cell_ids", "valid_frames", "bboxes", "crop_origins", "areas")
    )
    counts = np.isin(ids, list(wanted))
    masks: dict[int, np.ndarray] = {}
    of_cells: dict[tuple[int, int], int] = {}
    for frame, y, x, n_pixels in pieces:
        y0, x0, y1, x1 = bboxes[:, frame].T
        around = counts & valid[:, frame] & (y0 <= y) & (y < y1) & (x0 <= x) & (x < x1)
        for row in np.flatnonzero(around).tolist():
            if row not in masks:
                masks[row] = get_array(get, f"{paths.tracked(pc)}/{ids[row]}/0")[0]
            top, left = origins[row, frame].tolist()
            if masks[row][frame, y - top, x - left]:
                of_cells[row, frame] = of_cells.get((row, frame), 0) + n_pixels
    found: dict[int, float] = {}
    for (row, frame), n_pixels in of_cells.items():
        found[frame] = max(found.get(frame, 0.0), min(n_pixels / int(areas[row, frame]), 1.0))
    return found
