"""Where the cells of a frame are, pixel by pixel: found once, for all channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from celltraces.frames import coverage

SIDE = 512  # rows or columns of which pixels are looked at
AWAY = 12  # px from all cells
WIDE = 4  # px beyond the outlines: so far the ring around each cell reaches
PICTURE = 64  # rows and columns of a picture of the whole frame, at most


@dataclass(frozen=True)
class Places:
    """Where cells are. ids (N,) int; row_of: the row of each number up to the highest; middles (N, T, 2) float64: y, x
    of each box, NaN where the cell is not."""

    ids: np.ndarray
    row_of: np.ndarray
    middles: np.ndarray


def places_of(ids: np.ndarray, bboxes: np.ndarray, present: np.ndarray) -> Places:
    """ids (N,), bboxes (N, T, 4), present (N, T) as cells.zarr has them."""
    boxes = np.where(present[..., None], bboxes, np.nan)
    row_of = np.zeros(int(ids.max(initial=0)) + 1, np.intp)
    row_of[ids] = np.arange(len(ids))
    return Places(ids, row_of, (boxes[..., :2] + boxes[..., 2:]) / 2)


class CellPixels:
    """The cells of a frame at every `step`-th pixel: (h, w) `labels`, and of the n pixels of all cells where they are
    in it (`at`), in the frame (`y`, `x`, px), and the `rows` of their cells in `places`; `area` (N,) counts them."""

    def __init__(self, labels: np.ndarray, places: Places, uncovered: Sequence[Sequence[int]] = ()) -> None:
        """labels: (H, W), those that stay with a cell. uncovered: boxes of the frame that hold no data."""
        self.step = max(1, -(-max(labels.shape) // SIDE))
        sampled = labels[:: self.step, :: self.step]
        if len(uncovered):
            hidden = coverage.mask_of_boxes(uncovered, labels.shape)[:: self.step, :: self.step]
            sampled = np.where(hidden, 0, sampled)
        self.labels, self.places = np.ascontiguousarray(sampled), places
        self.mask = self.labels > 0
        self.at = np.flatnonzero(self.mask)
        self.rows = places.row_of[self.labels.ravel()[self.at]]
        self.y, self.x = (at * self.step for at in np.divmod(self.at, sampled.shape[1]))
        self.area = np.bincount(self.rows, minlength=len(places.ids))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum (N,) float64 over the pixels of each cell; values (n,)."""
        return np.bincount(self.rows, values, len(self.places.ids)).astype(np.float64)  # whole numbers without cells

    @cached_property
    def away(self) -> np.ndarray:
        """1 where all cells are AWAY px from, else 0: (h, w) float32."""
        import cv2

        reach = 2 * max(1, round(AWAY / self.step)) + 1
        return (cv2.dilate(self.mask.view(np.uint8), np.ones((reach, reach), np.uint8)) == 0).astype(np.float32)

    @cached_property
    def ring(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels within WIDE px of a cell and in none: where in `labels` they are, their cells' rows, and how many
        (N,) each cell has."""
        import cv2

        wide = 2 * max(1, round(WIDE / self.step)) + 1
        numbers = np.zeros(self.labels.shape, np.float32)
        numbers.ravel()[self.at] = self.rows + 1
        grown = cv2.dilate(numbers, np.ones((wide, wide), np.uint8))
        grown[self.mask] = 0
        at = np.flatnonzero(grown > 0)
        rows = grown.ravel()[at].astype(np.intp) - 1
        return at, rows, np.bincount(rows, minlength=len(self.places.ids))

    @cached_property
    def picture(self) -> np.ndarray:
        """The share of each part of the frame that cells cover, on at most PICTURE rows and columns: uint8."""
        return small(self.mask.astype(np.float32))


def small(values: np.ndarray) -> np.ndarray:
    """Values (h, w) float32 from 0 to 1 as means of parts, on at most PICTURE rows and columns, in 255ths: uint8."""
    import cv2

    size = tuple(min(side, PICTURE) for side in values.shape[::-1])
    return np.rint(255 * cv2.resize(values, size, interpolation=cv2.INTER_AREA)).astype(np.uint8)
