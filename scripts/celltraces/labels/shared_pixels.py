"""Handle cells that overlap: pixels that belong to a cell although the label image gives them to another.

A label image has one number per pixel. Where several cells share a pixel it shows the lowest number, and the array's
attribute `overlaps` keeps the pixels that the others lose: {"<frame>": {"<cell>": [start, length, start, length,
...]}}, runs in the flat (H * W) frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from celltraces.labels.regions import regions


class FrameStack(Protocol):
    """A (T, H, W) array of labels, as celltraces.storage.frames.Frames."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    attributes: dict[str, Any]

    def read(self, frame: int) -> np.ndarray: ...


def to_runs(pixels: np.ndarray) -> list[int]:
    """Sorted positions in the flat frame as [start, length, start, length, ...]."""
    if not len(pixels):
        return []
    starts = np.flatnonzero(np.diff(pixels, prepend=pixels[0] - 2) != 1)
    lengths = np.diff(starts, append=len(pixels))
    return np.stack([pixels[starts], lengths], axis=1).ravel().tolist()


def to_pixels(runs: Sequence[int]) -> np.ndarray:
    """The inverse of `to_runs`: (n,) int64."""
    pairs = np.array(runs, np.int64).reshape(-1, 2)
    ends = np.cumsum(pairs[:, 1])
    return np.repeat(pairs[:, 0] - ends + pairs[:, 1], pairs[:, 1]) + np.arange(ends[-1] if len(ends) else 0)


def hidden(labels: FrameStack, frame: int) -> dict[int, np.ndarray]:
    """Pixels that the label image does not show, as positions in the flat frame, by cell."""
    runs = labels.attributes.get("overlaps", {}).get(str(frame), {})
    return {int(cell): to_pixels(entry) for cell, entry in runs.items()}


def mask_of(labels: FrameStack, image: np.ndarray, frame: int, cell: int) -> np.ndarray:
    """All pixels of a cell, (H, W) bool; `image` is the label image of this frame."""
    mask = image == cell
    extra = hidden(labels, frame).get(cell)
    if extra is not None:
        mask.ravel()[extra] = True
    return mask


def regions_with_hidden(labels: FrameStack, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Table of the cells of one frame, as `regions` gives it, with the pixels that the label image does not show."""
    image = labels.read(frame)
    found, areas, boxes = regions(image)
    extra = hidden(labels, frame)
    if not extra:
        return found, areas, boxes
    table = {int(cell): (int(area), box) for cell, area, box in zip(found, areas, boxes, strict=True)}
    for cell, pixels in extra.items():
        y, x = np.divmod(pixels, image.shape[1])
        box = np.array([y.min(), x.min(), y.max() + 1, x.max() + 1], np.int32)
        area = len(pixels)
        if cell in table:
            area += table[cell][0]
            box[:2] = np.minimum(box[:2], table[cell][1][:2])
            box[2:] = np.maximum(box[2:], table[cell][1][2:])
        table[cell] = (area, box)
    cells = sorted(table)
    return (
        np.array(cells, image.dtype),
        np.array([table[cell][0] for cell in cells], np.int64),
        np.stack([table[cell][1] for cell in cells]),
    )


def show_in_crops(crops: np.ndarray, labels: FrameStack, cell: int, frames: Sequence[int], origins: np.ndarray) -> None:
    """Add a cell's hidden pixels to its masks (n, h, w), in place.

    `frames`: the frame of each mask; `origins`: (n, 2) its upper left corner [y0, x0].
    """
    for mask, frame, (y0, x0) in zip(crops, frames, origins.tolist(), strict=True):
        pixels = hidden(labels, int(frame)).get(cell)
        if pixels is not None:
            y, x = np.divmod(pixels, labels.shape[2])
            mask[y - y0, x - x0] = 1
