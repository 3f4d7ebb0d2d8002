"""Compute quantiles of the background pixels of overlapping tiles."""

import cv2
import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Float, Mask


def tile_quantiles(
    values: NDArray[np.float32], covered: Mask, block: int, q: float, *, overlap: bool = False, bin_width: float = 0
) -> tuple[Float, Float, Float, NDArray[np.int64]]:
    """Exact quantile, centroid and number of the uncovered values of every tile.

    values: (H, W) float32, finite. covered: (H, W) bool, what to leave out. Tiles are blocks of block x block values
    from the top left corner. With `overlap` a tile is 2 x 2 blocks and starts at every block, the first ones a block
    outside the image, so that the outer tiles reach the rim: tile (i, j) then spans rows (i - 1) block to (i + 1)
    block, columns likewise, as far as the image goes.

    Returns quantile, y, x, count, all (ceil(H / block), ceil(W / block)), with `overlap` one more each. The quantile
    is that of numpy's method "midpoint", so that q = 0.5 is the median; y and x are indices; where count is 0 all
    three are NaN. With a `bin_width` a median is interpolated within the bin of that width around it, as for grouped
    data.
    """
    count, sum_y, sum_x = _block_sums(covered, block)
    kept = _whole_blocks(np.where(covered, np.float32(np.inf), values), block, np.inf)
    side = block
    if overlap:
        count, sum_y, sum_x = map(_sum_2x2, (count, sum_y, sum_x))
        kept = cv2.copyMakeBorder(kept, block, block, block, block, cv2.BORDER_CONSTANT, value=np.inf)
        side = 2 * block
    windows = np.lib.stride_tricks.sliding_window_view(kept, (side, side))[::block, ::block]
    tiles = np.sort(windows.reshape(count.size, side * side), axis=1)
    every = np.arange(count.size)
    rank = q * np.maximum(count.ravel() - 1, 0)
    low, high = (tiles[every, end(rank).astype(np.intp)] for end in (np.floor, np.ceil))
    quantile = (low.astype(np.float64) + high) / 2
    if bin_width:
        below, up_to = (
            np.count_nonzero(tiles < (quantile + half).astype(np.float32)[:, None], axis=1)
            for half in (-bin_width / 2, bin_width / 2)
        )
        inside = up_to - below
        share = np.where(inside > 0, (count.ravel() / 2 - below) / np.maximum(inside, 1), 0.5)
        quantile += bin_width * (share - 0.5)
    with np.errstate(invalid="ignore"):
        known = np.where(count > 0, quantile.reshape(count.shape), np.nan)
        return known, sum_y / count, sum_x / count, count


def _sum_2x2(values: NDArray) -> NDArray:
    """Sums of every 2 x 2 entries, nothing lying outside."""
    padded = np.zeros([n + 2 for n in values.shape], values.dtype)
    padded[1:-1, 1:-1] = values
    pairs = padded[:-1] + padded[1:]
    return pairs[:, :-1] + pairs[:, 1:]


def _whole_blocks(image: NDArray, block: int, value: float) -> NDArray:
    """The image, filled up to whole blocks."""
    bottom, right = (-size % block for size in image.shape)
    if bottom or right:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=value)
    return image


def _block_sums(covered: Mask, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number of uncovered pixels of every block and the sums of their y and x."""
    free = _whole_blocks((~covered).view(np.uint8), block, 0)
    rows, columns = (size // block for size in free.shape)
    # uint8 holds the sum of up to 255 pixels, and is summed fastest.
    dtype = np.uint8 if block < 256 else np.uint32
    in_columns = np.add.reduce(free.reshape(rows, block, -1), axis=1, dtype=dtype).reshape(rows, columns, block)
    in_rows = np.add.reduce(cv2.transpose(free).reshape(columns, block, -1), axis=1, dtype=dtype)
    in_rows = in_rows.reshape(columns, rows, block).swapaxes(0, 1)
    position = np.arange(block)
    count = in_columns.sum(2, dtype=np.int64)
    sum_y = in_rows @ position + count * (block * np.arange(rows))[:, None]
    sum_x = in_columns @ position + count * (block * np.arange(columns))
    return count, sum_y, sum_x
