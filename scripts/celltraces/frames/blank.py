"""Tell which frames that hold one value throughout were never taken: blanks that a program or a full disk left.

Nothing was measured in such a frame, and it counts as missing; a difference to its own background would be 0 for every
cell. A simulated movie without noise, or a detector that counts single photons in the dark, may have real frames of one
value: then that value occurs in the other frames as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SMALLEST = 64  # pixels: of fewer a few may be the same by chance


def is_blank(counts: np.ndarray) -> bool:
    """Whether a frame holds one value throughout; counts (n,): number of its pixels by value, up to the highest."""
    n_pixels = int(counts.sum())
    return n_pixels >= SMALLEST and int(counts[-1]) == n_pixels


def not_taken(found: Mapping[int, tuple[int, int]], others: np.ndarray) -> set[int]:
    """The blank frames of a channel that were not taken: no pixel of its other frames has their value.

    found: value and number of pixels of each blank frame; others (n,): number of pixels by value in all other frames. A
    channel without other frames tells nothing: none of its frames counts as missing.
    """
    if not others.any():
        return set()
    return {frame for frame, (value, _) in found.items() if not others[value]}
