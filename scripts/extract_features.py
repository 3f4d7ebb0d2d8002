"""Stage 6, extraction: features of every cell in every frame, as a table of traces.

Reads cells.zarr alone. Cells seen in too few frames or too near to the image's edge are left out first; how many
each filter removed stands in the log. The table always exists with its header, even without a cell in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyama import store

BASE_COLUMNS = (
    *("fov", "cell", "frame", "good", "position_x", "position_y"),
    *("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"),
)
POSITION_DECIMALS, FEATURE_DECIMALS = 6, 3


def too_short(valid: np.ndarray, min_frames: int) -> np.ndarray:
    """Which cells, (N,) bool, are present in fewer than `min_frames` frames; valid is (N, T) bool."""
    return valid.sum(axis=1) < min_frames


def on_border(valid: np.ndarray, bboxes: np.ndarray, shape: Sequence[int], border_margin: int) -> np.ndarray:
    """Which cells, (N,) bool, have a pixel within `border_margin` of the edge of an image of `shape` in any frame."""
    low, high = border_margin, np.array(shape) - border_margin
    outside = (bboxes[..., :2] < low).any(axis=-1) | (bboxes[..., 2:] > high).any(axis=-1)
    return (outside & valid).any(axis=1)


def extract_cell(
    get: store.Get, cell: int, cells: Mapping[str, Any], plan: Plan, settings: Mapping[str, Any]
) -> Columns:
    """Feature columns of one cell over its present frames.

    Features of a fluorescence channel are NaN in frames that the file did not hold.
    """
