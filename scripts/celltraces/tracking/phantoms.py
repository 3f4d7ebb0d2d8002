"""Take back divisions of touching cells that never prove themselves.

`overlap.track` divides a region that covers several tracks among them (`split_touching`). Where a track has ended
and the cell beside it grows over its place, that cuts one cell in two until the movie ends. Only later frames tell
which of the two happened. So this is done at the end of tracking, backwards in time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

TINY = 0.2  # areas of the largest part of the same region; touching cells of one kind are seldom so unlike
log = logging.getLogger("celltraces")


class SplitRegion(NamedTuple):
    """A region of `frame` that was divided: its label, and of each of its parts the track and the area in pixels."""

    frame: int
    label: int
    tracks: Sequence[int]
    areas: Sequence[int]


def find_phantoms(divisions: Sequence[SplitRegion], last_whole: Mapping[int, int]) -> dict[int, int]:
    """Track -> the frame from which on it is no cell.

    divisions: those of the whole movie, in the order of time. last_whole: the last frame in which each of their tracks
    had a region of its own. A track is a phantom after that frame when it never comes apart again, not even for one
    frame, and its part is tiny: in most of these frames less than `TINY` times the largest part of the same region.
    Frames in which it still is the largest part stay its own. Where parts are of like size until the end, nothing
    tells whether one of the cells is gone: they stay divided.
    """
    shares: dict[int, list[tuple[int, float]]] = {}
    for division in reversed(divisions):
        for track, area in zip(division.tracks, division.areas, strict=True):
            if division.frame > last_whole[track]:
                shares.setdefault(track, []).append((division.frame, area / max(division.areas)))
    gone = {}
    for track, backwards in shares.items():
        smaller = next((at for at, (_, share) in enumerate(backwards) if share == 1), len(backwards))
        if smaller and np.median([share for _, share in backwards]) < TINY:
            gone[track] = backwards[smaller - 1][0]
    if gone:
        log.info("touching cells that never came apart again and left a tiny part, by cell, end in frame: %s", gone)
    return gone


def give_back(
    division: SplitRegion, parts: Sequence[np.ndarray], gone: Mapping[int, int], width: int
) -> list[tuple[np.ndarray, int]]:
    """The parts of a divided region without its phantoms, each with its track.

    parts: pixels of each track of the division, as ascending positions in the flat frame of that width. A phantom's
    pixels go to the part that is nearest to their centre.
    """
    stays = [division.frame < gone.get(track, division.frame + 1) for track in division.tracks]
    kept = [[part] for part, stay in zip(parts, stays, strict=True) if stay]
    tracks = [track for track, stay in zip(division.tracks, stays, strict=True) if stay]
    for phantom in (part for part, stay in zip(parts, stays, strict=True) if not stay):
        middle = np.stack(np.divmod(phantom, width)).mean(axis=1)
        distances = [np.square(np.stack(np.divmod(own[0], width)) - middle[:, None]).sum(axis=0).min() for own in kept]
        kept[int(np.argmin(distances))].append(phantom)
    return [(np.sort(np.concatenate(own)), track) for own, track in zip(kept, tracks, strict=True)]
