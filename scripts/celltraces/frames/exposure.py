"""Find frames from which on all pixels are brighter or darker by one factor (exposure, lamp).

What else changes brightness is not this: bleaching is gradual; cells that light up leave the background as it is; a
lamp that flickers is back in the next frame; a medium that shines adds the same to all pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LOW, FLOOR = 0.1, 0.001  # share of the pixels below: of the background, and hardly any
STANDS_OUT = 2.0  # times the change from frame to frame before and after it
AT_AN_END = 4.0  # the same in the first and the last frame, with both on one side: bleaching is fastest at first
LEAST, MOST = 0.45, 1.3  # of the background's own factor, in logarithms: light that is Poisson noise alone, and errors


def levels(counts: np.ndarray) -> tuple[float, float]:
    """Return the values below which LOW and FLOOR of the pixels lie; counts (n,): number of pixels by value from 0."""
    cumulated = np.cumsum(counts)
    found = []
    for share in (LOW, FLOOR):
        wanted = share * cumulated[-1]
        value = int(np.searchsorted(cumulated, wanted))
        # as if the pixels of one value were spread evenly over it
        found.append(value + 0.5 - float(cumulated[value] - wanted) / float(counts[value]))
    return found[0], found[1]


def steps(low: np.ndarray, floor: np.ndarray, mean: np.ndarray, factor: float) -> Iterator[tuple[int, float]]:
    """Return each frame that is brighter or darker than the one before by `factor` or more as a whole, and by how much.

    low, floor, mean (n,) float64: of the frames that show something; the first two see `levels`. What lies above the
    background (mean - low) gives the factor, since a camera adds an unknown offset to all pixels; the background must
    have changed by the same factor for some offset between 0 and the darkest pixels. Of a change
    in the first or last frame nobody knows whether it would have stayed, and it has to stand out more.
    """
    above = mean - low
    if len(low) < 4 or (above <= 0).any():
        return
    changes, moves = np.diff(np.log(above)), np.diff(low)  # [k]: from frame k to k + 1
    for at in range(len(changes)):
        at_an_end = at in (0, len(changes) - 1)
        beside = [at - 1, at + 1] if not at_an_end else [1, 2] if at == 0 else [at - 2, at - 1]
        stands_out = AT_AN_END if at_an_end else STANDS_OUT
        change = changes[at] - changes[beside].mean()
        move = moves[at] - moves[beside].mean()
        if (
            abs(change) < np.log(factor)
            or change * move <= 0
            or abs(changes[at]) < stands_out * np.abs(changes[beside]).max()
            or abs(moves[at]) < stands_out * np.abs(moves[beside]).max()
        ):
            continue
        dim, bright = sorted((float(np.median(low[max(at - 1, 0) : at + 1])), float(np.median(low[at + 1 : at + 3]))))
        darkest = min(float(floor[at : at + 2].min()), dim - 0.5)
        without_offset, at_most = np.log(bright / dim), np.log((bright - darkest) / (dim - darkest))
        if LEAST * without_offset <= abs(change) <= MOST * at_most:
            yield at + 1, float(np.exp(change))
