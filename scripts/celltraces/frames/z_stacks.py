"""Tell which frames of a channel lack a z plane that the channel is taken in.

Such a frame would show less light than its neighbours, and nothing would say so; it counts as missing. A channel may be
taken in fewer planes than others, or in a single one (its home plane), if it is so in all frames.
"""

from __future__ import annotations

import math

import numpy as np

ABSENT, BLACK, DIM, LIT = -1, 0, 1, 2


def state_of(image: np.ndarray | None) -> int:
    """Say of a plane (H, W) uint16 whether it is ABSENT, BLACK (all 0), DIM (some 0) or LIT (none 0: a camera's)."""
    if image is None:
        return ABSENT
    if image.min() > 0:
        return LIT
    return DIM if image.any() else BLACK


def planes_taken(states: np.ndarray) -> list[int]:
    """Return the planes that a channel is taken in, as indices of the second axis; states (T, Z), see `state_of`.

    Those that show something in any frame, and those between them at their distance: stacks are evenly spaced.
    """
    shown = np.flatnonzero((states > BLACK).any(axis=0)).tolist()
    step = math.gcd(*np.diff(shown).tolist())
    return list(range(shown[0], shown[-1] + 1, step)) if step else shown


def incomplete(states: np.ndarray) -> np.ndarray:
    """Return which frames of a channel lack a plane, (T,) bool; states (T, Z), see `state_of`.

    A black plane lacks where the camera's are never black, or between planes that show something: NIS-Elements stores
    zeros for what it did not take. Elsewhere it may be dark (confocal stacks count photons). A frame that is black in
    all planes was not taken, if others were. Where no frame has more than one plane there are no stacks to compare.
    """
    shown = states > BLACK
    if not shown.any():
        return (states == ABSENT).all(axis=1)
    if shown.sum(axis=1).max() == 1:
        return ~shown.any(axis=1)
    below = np.logical_or.accumulate(shown, axis=1)
    above = np.logical_or.accumulate(shown[:, ::-1], axis=1)[:, ::-1]
    cameras = (states == LIT).any(axis=0)
    never_taken = (states == BLACK) & (cameras | (below & above))
    lacks = (states == ABSENT) | never_taken
    return lacks[:, planes_taken(states)].any(axis=1) | ~shown.any(axis=1)
