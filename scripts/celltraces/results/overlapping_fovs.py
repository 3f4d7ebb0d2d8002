"""Find FOVs that show a part of the same place, so that cells there are counted in both, from where the stage stood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Overlap(NamedTuple):
    """Two FOVs of a file; `share` of the smaller one's counted area in which cells are counted in both; `margin_px`:
    the `border_margin` with which none would be."""

    fov: int
    other: int
    share: float
    margin_px: int


def overlaps(places: Mapping[int, Mapping[str, Any]], pixel_size_um: float | None, border_margin: int) -> list[Overlap]:
    """Pairs of FOVs of which both count cells of the same place.

    places: by FOV as `readers.movie.Movie.fovs` has them. Cells count that stay `border_margin` px away from the edge,
    so that FOVs whose counted parts only touch share none. Nobody knows which way the stage's axes point in the image;
    sizes and distances along each axis do not depend on that. Positions that are unknown, or the same for all FOVs, as
    where a program writes zeros, tell nothing.
    """
    known = {fov: place for fov, place in places.items() if place["position_um"]}
    if not pixel_size_um or len({tuple(place["position_um"]) for place in known.values()}) < 2:
        return []
    unset = [fov for fov, place in known.items() if not any(place["position_um"])]
    fovs = [fov for fov in known if len(unset) < 2 or fov not in unset]
    middles = np.array([known[fov]["position_um"] for fov in fovs]) / pixel_size_um
    sides = np.array([[known[fov]["width"], known[fov]["height"]] for fov in fovs], float)
    found = []
    for at, fov in enumerate(fovs):
        apart = np.abs(middles[at + 1 :] - middles[at])
        smaller = np.minimum(sides[at + 1 :], sides[at]) - 2 * border_margin
        # no more of a small one than all of it lies in a large one
        common = np.minimum((sides[at + 1 :] + sides[at]) / 2 - 2 * border_margin - apart, smaller)
        for later in np.flatnonzero((common > 0).all(axis=1)).tolist():
            share = float(np.prod(common[later]) / np.prod(smaller[later]))
            margin = border_margin + math.ceil(float(common[later].min()) / 2)
            found.append(Overlap(fov, fovs[at + 1 + later], share, margin))
    return found


def most_overlapping(found: Sequence[Sequence[float]], least: float) -> dict[int, int]:
    """For each FOV that shares more than the share `least` with others, that with which it shares most."""
    best: dict[int, tuple[float, int]] = {}
    for fov, other, share, _ in found:
        if share > least:
            for one, its in ((fov, other), (other, fov)):
                best[one] = max(best.get(one, (0.0, -1)), (share, its))
    return {fov: other for fov, (_, other) in sorted(best.items())}
