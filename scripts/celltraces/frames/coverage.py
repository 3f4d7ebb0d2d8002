"""Keep which pixels of a frame were never imaged: as boxes, as masks, and as the attribute of an array.

Such pixels are 0, and the array's attribute `uncovered` says which they are: [{"first": frame, "last": frame, "boxes":
[[y0, x0, y1, x1], ...]}, ...], half-open boxes that do not overlap, the same in all frames from first to last. Frames
that it does not name are covered everywhere; an array that is covered in all frames has no such attribute.

Where tiles lie is known from the file; blank areas are seen in the pixels (see blank_areas).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]
"""Half-open [y0, x0, y1, x1] in pixels."""
Boxes = Sequence[Box]

ATTRIBUTE = "uncovered"


# ---------------------------------------------------------------------------------------------------- boxes and masks


def boxes_of(mask: np.ndarray) -> list[Box]:
    """Boxes that together are exactly the mask (H, W) bool, from top to bottom; rows that are alike share theirs."""
    if not mask.any():
        return []
    tops = np.flatnonzero(np.r_[True, (mask[1:] != mask[:-1]).any(axis=1)]).tolist()
    boxes: list[Box] = []
    for top, bottom in zip(tops, [*tops[1:], len(mask)], strict=True):
        steps = np.flatnonzero(np.diff(mask[top], prepend=False, append=False)).tolist()
        boxes += [(top, left, bottom, right) for left, right in zip(steps[::2], steps[1::2], strict=True)]
    return boxes


def mask_of_boxes(boxes: Boxes, shape: Sequence[int]) -> np.ndarray:
    """The pixels in the boxes, (H, W) bool."""
    mask = np.zeros(shape, bool)
    for y0, x0, y1, x1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def area_of(boxes: Boxes) -> int:
    """Number of pixels in the boxes, which do not overlap."""
    return sum((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in boxes)


@lru_cache(maxsize=16)
def outside_tiles(tiles: tuple[Box, ...], shape: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes of the pixels of an image of `shape` (H, W) on which no tile lies. (Planes mostly share their tiles.)"""
    return tuple(boxes_of(~mask_of_boxes(tiles, shape)))


def of_any(several: Sequence[Boxes], shape: Sequence[int]) -> Boxes:
    """Boxes of the pixels that are uncovered in any of several planes: the highest of fewer planes is lower."""
    first = several[0] if several else ()
    if all(boxes == first for boxes in several):
        return first
    return boxes_of(np.logical_or.reduce([mask_of_boxes(boxes, shape) for boxes in several]))


def blanked(image: np.ndarray, boxes: Boxes) -> np.ndarray:
    """The image (H, W) with 0 in the boxes; a copy where there are any."""
    if boxes:
        image = image.copy()
        for y0, x0, y1, x1 in boxes:
            image[y0:y1, x0:x1] = 0
    return image


# ----------------------------------------------------------------------------------------------- the array's attribute


def as_attribute(boxes_by_frame: Sequence[Boxes]) -> list[dict[str, Any]]:
    """The attribute of an array, from the boxes of each of its frames; [] where all are covered everywhere."""
    spans: list[dict[str, Any]] = []
    for frame, boxes in enumerate(boxes_by_frame):
        content = [list(box) for box in boxes]
        if spans and spans[-1]["last"] == frame - 1 and spans[-1]["boxes"] == content:
            spans[-1]["last"] = frame
        elif content:
            spans.append({"first": frame, "last": frame, "boxes": content})
    return spans


def of_frame(attributes: Mapping[str, Any], frame: int) -> list[Box]:
    """Boxes of the pixels of a frame that hold no data, from the attributes of its array."""
    for span in attributes.get(ATTRIBUTE, ()):
        if span["first"] <= frame <= span["last"]:
            return [tuple(box) for box in span["boxes"]]
    return []


def boxes_by_frame(attributes: Mapping[str, Any]) -> dict[int, np.ndarray]:
    """The boxes of each frame that is not covered everywhere, (n, 4) int64, from the attributes of its array."""
    return {
        frame: boxes
        for span in attributes.get(ATTRIBUTE, ())
        for boxes in [np.array(span["boxes"], np.int64)]
        for frame in range(span["first"], span["last"] + 1)
    }


def same(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What an array takes over from the attributes of the one that it was made of."""
    return {ATTRIBUTE: attributes[ATTRIBUTE]} if ATTRIBUTE in attributes else {}


# ---------------------------------------------------------------------------------------------- beyond the covered area


def continued(image: np.ndarray, uncovered: np.ndarray, *, mirrored: bool) -> np.ndarray:
    """The image (H, W) going on where it is uncovered (H, W) bool: with the nearest covered pixel, or `mirrored` at it.

    As images are continued beyond their edges for filters. Some pixel is covered.
    """
    nearest, mirror = _neighbours(np.packbits(uncovered).tobytes(), uncovered.shape)
    result = image.copy()
    result[uncovered] = image.ravel()[mirror if mirrored else nearest]
    return result


@lru_cache(maxsize=2)
def _neighbours(packed: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For each uncovered pixel, in raster order, the nearest covered pixel and the one that lies as far behind that
    one's edge (the nearest one, where there is no such), as positions in the flat image. (Frames mostly share it.)"""
    from scipy.ndimage import distance_transform_edt

    height, width = shape
    uncovered = np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width).view(bool).reshape(shape)
    y, x = np.nonzero(uncovered)
    near = distance_transform_edt(uncovered, return_distances=False, return_indices=True)
    near_y, near_x = near[0][y, x].astype(np.int64), near[1][y, x].astype(np.int64)
    behind_y = 2 * near_y - y + np.sign(y - near_y)
    behind_x = 2 * near_x - x + np.sign(x - near_x)
    usable = (behind_y >= 0) & (behind_y < height) & (behind_x >= 0) & (behind_x < width)
    usable[usable] = ~uncovered[behind_y[usable], behind_x[usable]]
    nearest = near_y * width + near_x
    return nearest, np.where(usable, behind_y * width + behind_x, nearest)
