"""Tabulate where the cells of a movie were seen, and look up in it what divisions are told by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from celltraces.labels.regions import FrameTracks, find_sorted
from celltraces.labels.shapes import RegionShapes, Shapes, shapes_of_pixels

FLICKER = 2  # sightings of what is no cell of its own
STAGE = 0.5  # of a frame's cells: where so many end, the stage has moved


@dataclass(frozen=True)
class Sightings(Shapes):
    """Every cell in every frame, sorted by track and frame; (N,) each.

    part: bool, the cell is one of several in a region.
    """

    track: np.ndarray
    frame: np.ndarray
    part: np.ndarray


class TrackedMovie(NamedTuple):
    """Sightings and what is looked up in them."""

    seen: Sightings
    ends: np.ndarray  # (N,) of each sighting: the position after the last one of its track
    by_frame: np.ndarray  # (N,) positions, sorted by frame
    frame_starts: np.ndarray  # (T + 1,) positions in by_frame
    newcomers: dict[int, list[int]]  # by frame, the positions at which tracks begin
    moved: np.ndarray  # (T,) bool: the stage moved before this frame

    @property
    def n_frames(self) -> int:
        return len(self.moved)

    def in_frames(self, first: int, end: int) -> np.ndarray:
        """Positions of the sightings in the frames from `first` to before `end`."""
        first, end = (min(frame, self.n_frames) for frame in (first, end))
        return self.by_frame[self.frame_starts[first] : self.frame_starts[end]]


def sightings_of(
    mappings: Sequence[FrameTracks],
    regions: Sequence[RegionShapes],
    shape: Sequence[int],
    displacement: np.ndarray | None = None,
) -> Sightings:
    """The table of a movie. regions: the shapes in each frame (H, W).

    displacement: (T, 2) pixels, y and x, by which the frame's content lies off that of the first frame, if known.
    """
    rows = []
    for frame, (mapping, of_frame) in enumerate(zip(mappings, regions, strict=True)):
        # A method of the user's may name labels that are not there.
        at, known = find_sorted(of_frame.label, mapping.labels)
        columns = [column[at[known]] for column in of_frame.columns()]
        tracks, whole = mapping.ids[known], int(known.sum())
        if mapping.parts:
            of_parts = shapes_of_pixels([pixels for pixels, _ in mapping.parts], shape)
            columns = [np.concatenate(pair) for pair in zip(columns, of_parts.columns(), strict=True)]
            tracks = np.concatenate([tracks, [track for _, track in mapping.parts]])
        rows.append([*columns, tracks, np.full(tracks.size, frame), np.arange(tracks.size) >= whole])
    *measured, track, frames, part = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.lexsort((frames, track))
    seen = Sightings(*(column[order] for column in (*measured, track, frames, part)))
    if displacement is not None:
        y, x = displacement[seen.frame].T
        seen = replace(seen, y=seen.y - y, x=seen.x - x)
    return seen


def look_up(seen: Sightings) -> TrackedMovie:
    """The tables of a movie's sightings."""
    n_frames = int(seen.frame.max(initial=-1)) + 1
    last = np.flatnonzero(np.diff(seen.track, append=-1))
    ends = np.repeat(last + 1, np.diff(last, prepend=-1))
    by_frame = np.argsort(seen.frame, kind="stable")
    count = np.bincount(seen.frame, minlength=n_frames)
    ended = np.bincount(seen.frame[last] + 1, minlength=n_frames + 1)[:n_frames]
    before = np.concatenate([[0], count[:-1]])
    moved = (ended >= 3) & (ended > STAGE * before)
    starts = np.concatenate([[0], np.cumsum(count)])
    return TrackedMovie(seen, ends, by_frame, starts, _newcomers(seen), moved)


def _newcomers(seen: Sightings) -> dict[int, list[int]]:
    """By frame, the positions at which tracks begin, or go on after a gap before which they were seen FLICKER times or
    less: linking gives a daughter to what a part of the mother left that was apart for a moment."""
    begun = np.flatnonzero(np.diff(seen.track, prepend=-1))
    first = np.repeat(begun, np.diff(begun, append=seen.track.size))
    at = np.arange(seen.track.size)
    after_gap = (at > first) & (at - first <= FLICKER) & (np.diff(seen.frame, prepend=0) > 1)
    positions = np.flatnonzero((at == first) | after_gap)
    frames, groups = np.unique(seen.frame[positions], return_inverse=True)
    return {int(frame): positions[groups == at].tolist() for at, frame in enumerate(frames)}


def first_of(movie: TrackedMovie, position: int) -> int:
    """The first position of a sighting's track."""
    return int(np.searchsorted(movie.seen.track, movie.seen.track[position]))
