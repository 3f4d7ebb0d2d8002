"""Dilate and erode masks that are stored with one bit per pixel, eight pixels at once.

A mask is cut into eight bands, one below the other, and each band has one bit of every byte. So a pixel's neighbours,
to the side as well as above and below, have the same bit of other bytes, and a mask is moved by beginning to read it
somewhere else.

Shapes are given by `half_widths`: how far they reach to both sides, in columns, in their middle row and in those 1, 2,
... rows above and below. They are symmetric, and outer rows reach no further than inner ones, as those of a disk.
"""

import math
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Bands = NDArray[np.uint8]
"""(ceil(H / 8) + 2 margin, W + 2 margin); bit b of the byte (y, x) is the pixel (b ceil(H / 8) + y - margin,
x - margin): of each band a byte holds one bit. What is in the margin is undefined as soon as anything was dilated or
eroded."""
BANDS = 8


@cache
def disk(radius: int, times: int = 1) -> tuple[int, ...]:
    """All pixels within `radius` (centre to centre), or what `times` dilations with that shape reach."""
    once = tuple(math.isqrt(radius**2 - row**2) for row in range(radius + 1))
    shape = once
    for _ in range(times - 1):
        shape = tuple(
            max(
                shape[abs(row - other)] + once[abs(other)]
                for other in range(-radius, radius + 1)
                if abs(row - other) < len(shape)
            )
            for row in range(len(shape) + radius)
        )
    return shape


def disk_area(radius: int, times: int) -> int:
    """Pixels of the smallest object that an opening leaves, `times` times with that disk; 1 if it leaves all."""
    if times == 0:
        return 1
    widths = [2 * half + 1 for half in disk(radius, times)]
    return 2 * sum(widths) - widths[0]


def pack(mask: NDArray[np.bool_ | np.uint8], margin: int, *, goes_on: bool) -> Bands:
    """(H, W) bool, or uint8 that is 0 or 1. The margin has to be as wide as all shapes together that will be used.

    goes_on: beyond the image everything goes on as it is at the edge; otherwise there is nothing.
    """
    mask = mask.view(np.uint8)
    below = margin + -mask.shape[0] % BANDS
    border = cv2.BORDER_REPLICATE if goes_on else cv2.BORDER_CONSTANT
    wider = cv2.copyMakeBorder(mask, margin, below, margin, margin, border, value=0)
    step = -(-mask.shape[0] // BANDS)
    rows = step + 2 * margin
    bands = wider[(BANDS - 1) * step :].copy()
    for top in range((BANDS - 2) * step, -1, -step):
        bands += bands
        bands |= wider[top : top + rows]
    return bands


def unpack(bands: Bands, margin: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1; shape: (H, W)."""
    height, width = shape
    step = -(-height // BANDS)
    bits = np.uint8(1) << np.arange(BANDS, dtype=np.uint8)[:, None, None]
    mask = bands[margin : margin + step, margin : margin + width] & bits
    np.not_equal(mask, 0, out=mask.view(bool))
    return mask.reshape(-1, width)[:height]


def dilate(bands: Bands, half_widths: Sequence[int]) -> Bands:
    """Every pixel that the shape reaches from a pixel that is set."""
    return _over_shape(bands, half_widths, np.bitwise_or, 0)


def erode(bands: Bands, half_widths: Sequence[int]) -> Bands:
    """Every pixel whose surroundings in that shape are all set."""
    return _over_shape(bands, half_widths, np.bitwise_and, 255)


def _over_shape(bands: Bands, half_widths: Sequence[int], both: np.ufunc, neutral: int) -> Bands:
    """`both` of all pixels that the shape holds around each pixel, row by row of the shape, from its outermost on.

    Everything is one line of bytes: what is moved over the end of a row comes into the margin of the next.
    """
    line = bands.ravel()
    result = np.full(line.shape, neutral, np.uint8)
    run, length = line, 1  # run[i]: both of so many bytes from byte i on
    for away in range(len(half_widths) - 1, -1, -1):
        half = half_widths[away]
        while length < 2 * half + 1:
            longer = min(length, 2 * half + 1 - length)
            run, length = both(run[:-longer], run[longer:]), length + longer
        for move in {away * bands.shape[1], -away * bands.shape[1]}:
            first, end = max(half - move, 0), min(run.size + half - move, result.size)
            part = result[first:end]
            both(part, run[first - half + move : end - half + move], out=part)
    return result.reshape(bands.shape)
