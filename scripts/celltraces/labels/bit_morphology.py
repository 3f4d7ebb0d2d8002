"""Dilate and erode masks that are stored with one bit per pixel, 64 pixels at once.

Shapes are given by `half_widths`: how far they reach to both sides, in columns, in their middle row and in those 1, 2,
... rows above and below. They are symmetric, and outer rows reach no further than inner ones, as those of a disk.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint64]
"""(H, ceil(W / 64)); column 0 is the lowest bit of the first word, padding bits beyond W are 0."""
WORD = 64


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


def pack(mask: NDArray[np.bool_ | np.uint8]) -> Rows:
    """(H, W) bool, or uint8 that is 0 or 1."""
    packed = np.packbits(mask, axis=1, bitorder="little")
    rows = np.zeros((len(mask), -(-mask.shape[1] // WORD) * 8), np.uint8)
    rows[:, : packed.shape[1]] = packed
    return np.asfortranarray(rows.view("<u8"))  # words above each other lie beside each other in memory: long loops


def unpack(rows: Rows, width: int) -> NDArray[np.uint8]:
    """(H, width) uint8, 0 or 1."""
    return np.unpackbits(np.ascontiguousarray(rows).view(np.uint8), axis=1, bitorder="little", count=width)


def dilate(rows: Rows, half_widths: Sequence[int]) -> Rows:
    """Every pixel that the shape reaches from a pixel that is set. Padding bits are undefined after this."""
    result = np.zeros_like(rows)
    wide, reach = rows, 0  # dilated to both sides by `reach`
    for away in range(len(half_widths) - 1, -1, -1):
        while reach < half_widths[away]:
            # No further, or gaps would stay beside the edges, beyond which nothing is known.
            step = min(half_widths[away] - reach, reach + 1, WORD - 1)
            wide, reach = wide | _shifted_both_ways(wide, step), reach + step
        inside = max(len(wide) - away, 0)
        result[away:] |= wide[:inside]
        result[:inside] |= wide[away:]
    return result


def erode(rows: Rows, half_widths: Sequence[int]) -> Rows:
    """Every pixel whose surroundings in that shape are all set.

    The image needs a margin as wide as the shape; the result is undefined there.
    """
    return ~dilate(~rows, half_widths)


def _shifted_both_ways(rows: Rows, step: int) -> Rows:
    right = rows << step
    right[:, 1:] |= rows[:, :-1] >> (WORD - step)
    left = rows >> step
    left[:, :-1] |= rows[:, 1:] << (WORD - step)
    right |= left
    return right
