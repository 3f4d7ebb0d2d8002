"""Find which boxes of two frames overlap, without a loop over pairs."""

import numpy as np


def shared_boxes(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of overlapping boxes of a (N, 4) and b (M, 4), half-open [y0, x0, y1, x1]: rows of both, shared pixels."""
    # Boxes that share rows are neighbours in the order of y0, up to the height of the tallest.
    order = np.argsort(a[:, 0], kind="stable")
    top = a[order, 0]
    tallest = (a[:, 2] - a[:, 0]).max(initial=0)
    i, j = expand(np.searchsorted(top, b[:, 0] - tallest, "right"), np.searchsorted(top, b[:, 2], "left"))
    i = order[i]
    side = np.minimum(a[i, 2:], b[j, 2:]).astype(np.int64) - np.maximum(a[i, :2], b[j, :2])
    keep = (side > 0).all(axis=1)
    return i[keep], j[keep], side[keep].prod(axis=1)


def box_sizes(bbox: np.ndarray) -> np.ndarray:
    """Pixels of each box (N, 4), (N,) int64."""
    return (bbox[:, 2].astype(np.int64) - bbox[:, 0]) * (bbox[:, 3] - bbox[:, 1])


def expand(lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (i, j) with lo[j] <= i < hi[j]."""
    count = np.maximum(hi - lo, 0)
    j = np.repeat(np.arange(count.size), count)
    return np.arange(j.size) - np.repeat(np.cumsum(count) - count - lo, count), j


def in_window(bbox: np.ndarray, step: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) moved by step (y, x) and cut to window [y0, x0, y1, x1]; (N, 4), empty where nothing is left."""
    return np.clip(bbox + np.tile(step, 2), np.tile(window[:2], 2), np.tile(window[2:], 2)).astype(bbox.dtype)


def shared_window(step: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What a frame (H, W) shares with one that is displaced against it by step (y, x), in the latter's pixels: (4,)."""
    return np.concatenate([np.maximum(step, 0), np.maximum(shape + np.minimum(step, 0), np.maximum(step, 0))])
