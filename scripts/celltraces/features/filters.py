"""Decide which cells are left out of the traces: those seen in too few frames or too near to the edge."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from celltraces import paths
from celltraces.frames import coverage
from celltraces.labels.lineage import longest_lines
from celltraces.labels.regions import boxes_near_edge
from celltraces.storage import cells
from celltraces.storage.cells import read_crop


def too_short(
    ids: np.ndarray, valid: np.ndarray, min_frames: int, origins: Mapping[int, tuple[int, int]]
) -> np.ndarray:
    """Which cells, (N,) bool, are present in fewer than `min_frames` frames; ids (N,), valid (N, T) bool.

    A mother and her daughters count together, along the longest line of descent: a cell that divides is there before
    and after. origins: parent and frame of birth of the cells that have a parent.
    """
    n_frames = dict(zip(ids.tolist(), valid.sum(axis=1).tolist(), strict=True))
    lines = longest_lines(n_frames, origins)
    return np.array([lines[cell] < min_frames for cell in ids.tolist()], bool)


def why_left_out(
    short: np.ndarray, border: np.ndarray, counts: np.ndarray, min_frames: int, border_margin: int
) -> list[str]:
    """Why the filters leave a cell out, in words; "" where they do not. short, border (N,) bool: which filter strikes;
    counts (N,): frames in which the cell is."""
    words = []
    for few, near, count in zip(short.tolist(), border.tolist(), counts.tolist(), strict=True):
        reasons = []
        if few:
            reasons.append(f"in {count} frame{'s' * (count != 1)}, fewer than min_frames {min_frames}")
        if near:
            reasons.append(f"within border_margin {border_margin} px of the edge")
        words.append("; ".join(reasons))
    return words


def on_border(valid: np.ndarray, bboxes: np.ndarray, shape: Sequence[int], border_margin: int) -> np.ndarray:
    """Which cells, (N,) bool, have a pixel within `border_margin` of the edge of an image of `shape` in any frame.

    bboxes: (N, T, 4) half-open [y0, x0, y1, x1].
    """
    return (boxes_near_edge(bboxes, shape, border_margin) & valid).any(axis=1)


def near_edge(
    get: cells.Get, ids: np.ndarray, valid: np.ndarray, bboxes: np.ndarray, pc: int, border_margin: int
) -> np.ndarray:
    """Which cells, (N,) bool, have a pixel within `border_margin` of the edge of the image, or of pixels of the
    phase-contrast channel `pc` that hold no data, in any frame. ids (N,), valid (N, T), bboxes (N, T, 4)."""
    image = json.loads(get("metadata/zarr.json"))["attributes"]
    found = on_border(valid, bboxes, (image["height"], image["width"]), border_margin)
    uncovered = coverage.boxes_by_frame(image)
    if not uncovered or not border_margin:
        return found
    origins, _ = cells.get_array(get, "metadata/crop_origins")
    for frame, boxes in uncovered.items():
        low, high = boxes[:, :2] - border_margin, boxes[:, 2:] + border_margin
        for row in np.flatnonzero(valid[:, frame] & ~found).tolist():
            box = bboxes[row, frame]
            near = np.flatnonzero(((box[:2] < high) & (box[2:] > low)).all(axis=1))
            if len(near):
                mask, _ = read_crop(get, paths.tracked(pc), int(ids[row]))
                places = np.argwhere(mask[frame] > 0) + origins[row, frame]
                found[row] = any(((places >= low[at]) & (places < high[at])).all(axis=1).any() for at in near)
    return found
