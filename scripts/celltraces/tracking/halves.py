"""Tell the daughters of a cell that rounded up from halves of a cell that segmentation cuts, and from other pieces.

When they are new they are round, of like size and have about her area; they lie evenly about her centre, and clear of
each other. The halves of a cell that is cut are neither so round nor so far apart; pieces of a dead one have less.
"""

from __future__ import annotations

import math

import numpy as np

SUM = 0.75, 1.45  # of the mother's area: both daughters; they may spread at once
EQUAL = 0.55  # area of the smaller daughter by that of the larger one, at least
LARGEST = 0.85  # of the mother's area: a daughter, at most
OFF_CENTRE = 0.25  # of the mother's diameter: from her centre to that of both daughters, at most
APART = 0.55  # of her diameter: from one daughter to the other, at least; halves of a disk are 0.42 apart, of ovals 0.5
ROUND = 0.65  # short axis by long axis of a daughter, at least; half a disk has 0.5
FILLED = 0.9  # of the ellipse with the same second moments: a single cell, at least


def are_round_halves(
    area: np.ndarray, y: np.ndarray, x: np.ndarray, roundness: np.ndarray, filling: np.ndarray
) -> bool:
    """Whether two cells are round halves of a mother. Of her and of both, (3,) each, as in `Shapes`."""
    diameter, both, new = 2 * math.sqrt(area[0] / math.pi), area[1:].sum(), slice(1, 3)
    off = [float((area[new] * axis[new]).sum() / both - axis[0]) for axis in (y, x)]
    return bool(
        SUM[0] * area[0] <= both <= SUM[1] * area[0]
        and area[new].min() >= EQUAL * area[new].max()
        and math.hypot(*off) <= OFF_CENTRE * diameter
        and math.hypot(y[1] - y[2], x[1] - x[2]) >= APART * diameter
        and roundness[new].min() >= ROUND
        and filling[new].min() >= FILLED
    )
