"""Find frames of phase contrast that stand in each other's place: cells go back and forth with them.

Cells walk, so that those of two frames are the less alike the more time lies between. Where two frames are exchanged
nearly all cells would go a shorter way if they were put back. What all cells do together (the stage) does not count,
nor what a single frame does: one out of focus does not fit better in another place.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

FEWEST = 15  # cells in all frames concerned
STANDS_OUT = 3.0  # standard errors by which the cells' ways become shorter
EITHER = 1.5  # the same, before and after the frames on their own
UNUSUAL = 6.0  # standard errors more than usual: of cells that never go far, ways are as short either way
NEAR = 3  # frames: all pairs within that are looked at, farther ones if both seem to belong elsewhere
MISPLACED = 1.6  # times the usual way to a frame and on, by that past it: it may belong elsewhere
MOST = 16  # such frames that are compared with each other


def exchanged_by_place(bboxes: np.ndarray, present: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of frames that are exchanged, and by how many standard errors their exchange shortens the cells' ways.

    bboxes: (N, T, 4) of each cell; present: (N, T) bool. Nothing is known of the first and the last frame.
    """
    places = np.where(present[..., None], bboxes, np.nan).astype(float)
    n_frames = places.shape[1]
    neighbours = {(k, k + 1): _gain(places, k, k + 1) for k in range(1, n_frames - 2)}
    usual = [z for z, _ in neighbours.values() if np.isfinite(z)]
    if len(usual) < 3 or np.median(usual) > 0:  # every second frame is alike, as where two planes take turns
        return []
    enough = max(STANDS_OUT, float(np.median(usual)) + UNUSUAL)
    near = ((k, k + apart) for apart in range(2, NEAR + 1) for k in range(1, n_frames - 1 - apart))
    gains = neighbours | {pair: _gain(places, *pair) for pair in {*near, *_candidates(places)}}
    found = [(z, pair) for pair, (z, least) in gains.items() if z >= enough and least >= EITHER]
    taken: set[int] = set()
    pairs = []
    for z, pair in sorted(found, reverse=True):
        if not taken & {*pair}:
            pairs.append((*pair, z))
            taken |= {*range(pair[0] - 1, pair[0] + 2), *range(pair[1] - 1, pair[1] + 2)}
    return sorted(pairs)


def _candidates(places: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of frames, not beside each other, to which and from which cells go a longer way than past them."""
    n_frames = places.shape[1]
    detours = np.full(n_frames, np.nan)
    for k in range(1, n_frames - 1):
        past = _ways(places, k - 1, k + 1)
        known = np.isfinite(past)
        if np.count_nonzero(known) >= FEWEST:
            to_and_on = _ways(places, k - 1, k) + _ways(places, k, k + 1)
            detours[k] = np.nanmedian(to_and_on[known]) / max(float(np.median(past[known])), 1.0)
    if not np.isfinite(detours).any():
        return
    far = np.flatnonzero(detours > MISPLACED * np.nanmedian(detours))
    far = np.sort(far[np.argsort(-detours[far], kind="stable")][:MOST])
    yield from ((i, j) for i, j in combinations(far.tolist(), 2) if j > i + 1)


def _gain(places: np.ndarray, i: int, j: int) -> tuple[float, float]:
    """By how many standard errors the cells' ways are shorter with frames i < j exchanged; the lesser of those of the
    ways to and from i, and to and from j. NaN where too few cells are in all of these frames."""
    if j == i + 1:
        parts = [(_ways(places, i - 1, i), _ways(places, i - 1, j)), (_ways(places, j, j + 1), _ways(places, i, j + 1))]
    else:
        parts = [
            (
                _ways(places, at - 1, at) + _ways(places, at, at + 1),
                _ways(places, at - 1, other) + _ways(places, other, at + 1),
            )
            for at, other in ((i, j), (j, i))
        ]
    shares = [(now - then) / np.maximum(now + then, 1e-9) for now, then in parts]
    known = np.isfinite(shares[0]) & np.isfinite(shares[1])
    if np.count_nonzero(known) < FEWEST:
        return float("nan"), float("nan")
    z, first, second = (_z(values[known]) for values in ((shares[0] + shares[1]) / 2, *shares))
    return z, min(first, second)


def _ways(places: np.ndarray, a: int, b: int) -> np.ndarray:
    """How far the edges of each cell's box go from frame a to frame b, besides what all do: (N,) squared px, or NaN."""
    steps = places[:, b] - places[:, a]
    known = np.isfinite(steps[:, 0])
    if not known.any():
        return np.full(len(steps), np.nan)
    return ((steps - np.median(steps[known], axis=0)) ** 2).sum(axis=1)


def _z(values: np.ndarray) -> float:
    """A mean in its standard errors; values: (n,) from -1 to 1."""
    error = max(float(values.std(ddof=1)), 0.05) / len(values) ** 0.5
    return float(values.mean() / error)
