"""Find cells that divide: two regions where one round cell was, with its area together, that stay apart.

This is done after linking, whatever the method: linking gives the mother's number to one of the daughters, or to none.
A wrong division cuts a trace in two, a missed one leaves it as it was. So all conditions of `find_divisions` have to be
met, and there are none in the last frames of a movie, which cannot tell whether daughters stay apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from celltraces.labels.lineage import Division
from celltraces.labels.regions import FrameTracks, find_sorted, tracks_of
from celltraces.tracking.shapes import Shapes, shapes_of_pixels

RECENT = 8  # sightings of the mother before she divides, in which her area and shape are looked at
AHEAD = 10  # frames after it in which the daughters are
TYPICAL = 3  # sightings of which the median counts as a cell's area
SUM = 0.55, 1.6  # of the mother's area: what both daughters together may have
EQUAL = 0.5  # the smaller daughter's area by the larger one's, at least
LARGEST = 0.85  # of the mother's area: a daughter, at most
SAME = 0.7  # of the mother's area: her last one, and that when she was round, at least
FILLED = 0.92  # of the ellipse with the same second moments: a single cell, at least
STEADY = 0.2  # median change of the logarithm of an area from one sighting to the next, at most: debris flickers more
OFF_CENTRE = 0.55  # of the mother's diameter: from her centre to that of both daughters, at most
NEAR = 1.9  # of the mother's diameter: from one daughter to the other in the beginning, at most
APART = 1.0  # of the sum of the daughters' radii: what their distance reaches
WHOLE = 0.75  # of both daughters' area: where one is missing, a region as large is both
MOMENT = 2  # frames, at most, in which daughters are one region again before they are apart for good
BEFORE = 1.3  # of a daughter's area: what it may have been before the other daughter was seen; more is still the mother
GROWN = 75  # percentile of the areas of all cells up to now: many are daughters, who are smaller
LARGE = 1.5  # of that area: a larger mother is two cells that touch
USUAL, LENIENCE = 1.1, 0.1  # of that area: a mother who is no larger, so no pair, may be less round by this much
FLICKER = 2  # sightings of what is no cell of its own
STAGE = 0.5  # of a frame's cells: where so many end, the stage has moved


class Sightings(NamedTuple):
    """Every cell in every frame, sorted by track and frame; (N,) each. Areas in pixels, centres in pixels.

    roundness: short axis by long axis of the ellipse with the same second moments; filling: area by that of this
    ellipse. part: the cell is one of several in a region.
    """

    track: np.ndarray
    frame: np.ndarray
    area: np.ndarray
    y: np.ndarray
    x: np.ndarray
    roundness: np.ndarray
    filling: np.ndarray
    part: np.ndarray


class Split(NamedTuple):
    """A division, as positions in the sightings: the mother's last, and the first of each daughter.

    cost: the lower, the more it is like a division.
    """

    cost: float
    mother: int
    daughters: tuple[int, int]


class _Movie(NamedTuple):
    """Sightings and what is looked up in them."""

    seen: Sightings
    ends: np.ndarray  # (N,) of each sighting: the position after the last one of its track
    by_frame: np.ndarray  # (N,) positions, sorted by frame
    frame_starts: np.ndarray  # (T + 1,) positions in by_frame
    moved: np.ndarray  # (T,) bool: the stage moved before this frame


def sightings_of(
    mappings: Sequence[FrameTracks], regions: Sequence[Shapes], width: int, displacement: np.ndarray | None = None
) -> Sightings:
    """The table of a movie. regions: the shapes in each frame, whose width is given in pixels.

    displacement: (T, 2) pixels, y and x, by which the frame's content lies off that of the first frame, if known.
    """
    rows = []
    for frame, (mapping, of_frame) in enumerate(zip(mappings, regions, strict=True)):
        at, known = find_sorted(
            of_frame.label, mapping.labels
        )  # a method of the user's may name labels that are not there
        columns = [column[at[known]] for column in of_frame[1:]]
        tracks, whole = mapping.ids[known], int(known.sum())
        if mapping.parts:
            of_parts = shapes_of_pixels([pixels for pixels, _ in mapping.parts], width)
            columns = [np.concatenate(pair) for pair in zip(columns, of_parts[1:], strict=True)]
            tracks = np.concatenate([tracks, [track for _, track in mapping.parts]])
        rows.append([tracks, np.full(tracks.size, frame), *columns, np.arange(tracks.size) >= whole])
    seen = Sightings(*(np.concatenate(column) for column in zip(*rows, strict=True)))
    if displacement is not None:
        y, x = displacement[seen.frame].T
        seen = seen._replace(y=seen.y - y, x=seen.x - x)
    order = np.lexsort((seen.frame, seen.track))
    return Sightings(*(column[order] for column in seen))


def find_divisions(
    seen: Sightings, max_gap: int, *, division_roundness: float, division_frames: int, division_min_age: int
) -> list[Split]:
    """The divisions of a movie, in the order in which their second daughters appear.

    A division is found where

    - a track begins (one daughter), another one begins or goes on with another area (the other daughter), and a cell
      was there until then (the mother), give or take `max_gap` frames in which one of them was missed;
    - the mother was seen in `division_min_age` frames since she began, and in one of the last RECENT of these was at
      least `division_roundness` round (LENIENCE less where she is no larger than cells are) and without a waist;
    - she is not two cells that touch: neither much larger than cells of this movie are, nor has swallowed another;
    - the daughters are of like size, make up her area together, and lie on both sides of where she was;
    - the areas of all three change little from frame to frame;
    - they are seen apart in `division_frames` frames, and move apart, before they are one region again, if ever;
    - most cells of the frame go on: it is not the stage that moved.
    """
    if not seen.track.size:
        return []
    movie = _look_up(seen)
    begins: dict[int, int] = {}  # track -> the position from which on it is another cell than before
    taken: set[int] = set()
    found: list[Split] = []
    newcomers = _newcomers(seen)
    for frame in sorted(newcomers)[1:]:
        candidates = []
        for daughter in newcomers[frame]:
            for mother, other in _families(movie, daughter, newcomers, max_gap):
                start = begins.get(int(seen.track[mother]), _first(movie, mother))
                if start <= mother + 1 - division_min_age:
                    cost = _cost(movie, start, mother, other, daughter, max_gap, division_roundness, division_frames)
                    candidates.append(Split(cost, mother, (other, daughter)))
        for split in sorted(candidates):
            mother_track, (other, daughter) = int(seen.track[split.mother]), split.daughters
            new = split.mother >= begins.get(mother_track, 0)
            if not math.isfinite(split.cost) or {other, daughter} & taken or not new:
                continue
            found.append(split)
            taken |= {other, daughter}
            begins[mother_track] = split.mother + 1
            begins |= {int(seen.track[at]): at for at in (other, daughter)}
    return found


def numbered(
    mappings: Sequence[FrameTracks], seen: Sightings, splits: Sequence[Split]
) -> tuple[list[FrameTracks], list[Division]]:
    """The mappings with a number of its own for each cell, and the divisions.

    A mother keeps her number, and so does a daughter whose track begins with her. Other daughters get numbers above the
    highest, in the order of `splits`. So no other cell's number changes, and without a division none does.
    """
    number = seen.track.astype(np.int64)
    highest = max((int(tracks_of(mapping).max(initial=0)) for mapping in mappings), default=0)
    for split in splits:
        for at in split.daughters:
            end = int(np.searchsorted(seen.track, seen.track[at], "right"))
            if at > 0 and seen.track[at - 1] == seen.track[at]:
                highest += 1
                number[at:end] = highest
    divisions = [
        Division(
            int(number[split.mother]),
            tuple(sorted(int(number[at]) for at in split.daughters)),
            int(seen.frame[list(split.daughters)].min()),
        )
        for split in splits
    ]
    changed: dict[int, dict[int, int]] = {}
    for at in np.flatnonzero(number != seen.track).tolist():
        changed.setdefault(int(seen.frame[at]), {})[int(seen.track[at])] = int(number[at])
    renamed = list(mappings)
    for frame, new in changed.items():
        ids = np.array([new.get(track, track) for track in mappings[frame].ids.tolist()], np.int64)
        parts = [(pixels, new.get(track, track)) for pixels, track in mappings[frame].parts]
        renamed[frame] = mappings[frame]._replace(ids=ids, parts=parts)
    return renamed, divisions


def _look_up(seen: Sightings) -> _Movie:
    n_frames = int(seen.frame.max(initial=-1)) + 1
    last = np.flatnonzero(np.diff(seen.track, append=-1))
    ends = np.repeat(last + 1, np.diff(last, prepend=-1))
    by_frame = np.argsort(seen.frame, kind="stable")
    count = np.bincount(seen.frame, minlength=n_frames)
    ended = np.bincount(seen.frame[last] + 1, minlength=n_frames + 1)[:n_frames]
    before = np.concatenate([[0], count[:-1]])
    moved = (ended >= 3) & (ended > STAGE * before)
    starts = np.concatenate([[0], np.cumsum(count)])
    return _Movie(seen, ends, by_frame, starts, moved)


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


def _first(movie: _Movie, position: int) -> int:
    """The first position of a sighting's track."""
    return int(np.searchsorted(movie.seen.track, movie.seen.track[position]))


def _families(movie: _Movie, daughter: int, newcomers: dict[int, list[int]], max_gap: int) -> Iterator[tuple[int, int]]:
    """Pairs of positions: a possible mother of the track that begins at `daughter`, and the other daughter."""
    seen = movie.seen
    frame = int(seen.frame[daughter])
    earliest = max(0, frame - 1 - max_gap)

    def near(positions: np.ndarray, reach: np.ndarray | float) -> list[int]:
        distance = np.hypot(seen.y[positions] - seen.y[daughter], seen.x[positions] - seen.x[daughter])
        return positions[distance <= reach].tolist()

    before = movie.by_frame[movie.frame_starts[earliest] : movie.frame_starts[frame]]
    mothers = near(before, NEAR * 2 * np.sqrt(seen.area[before] / np.pi))
    if not mothers:
        return
    reach = NEAR * 2 * math.sqrt(seen.area[mothers].max() / math.pi)
    begun = [at for other in range(earliest + 1, frame + 1) for at in newcomers.get(other, ())]
    others = [at for at in near(np.array(begun, np.intp), reach) if seen.frame[at] < frame or at < daughter]
    for mother in mothers:
        if mother + 1 < movie.ends[mother]:  # the other daughter has her number
            yield mother, mother + 1
        else:
            yield from ((mother, other) for other in others if seen.frame[other] > seen.frame[mother])


def _cost(
    movie: _Movie,
    start: int,
    mother: int,
    one: int,
    two: int,
    max_gap: int,
    division_roundness: float,
    division_frames: int,
) -> float:
    """How unlike a division this is: infinite where a condition of `find_divisions` is not met.

    start, mother: the first and last position of the mother. one, two: the first positions of the daughters.
    """
    seen = movie.seen
    frames = seen.frame[[mother, one, two]]
    if frames[1:].max() - frames[0] > max_gap + 1 or movie.moved[frames[0] + 1 : frames[1:].max() + 1].any():
        return math.inf
    recent = slice(max(start, mother + 1 - RECENT), mother + 1)
    area = float(np.median(seen.area[max(start, mother + 1 - TYPICAL) : mother + 1]))
    largest = max(area, float(np.sort(seen.area[recent])[-2:][0]))
    daughters = _areas(movie, one, two)
    both, ratio = sum(daughters), min(daughters) / max(daughters)
    if not SUM[0] * area <= both <= SUM[1] * largest or ratio < EQUAL:
        return math.inf
    # The area changes here, not a frame earlier or later: a mother also becomes smaller when she rounds up.
    smaller = max(daughters) <= LARGEST * largest and seen.area[[one, two]].max() <= LARGEST * seen.area[mother]
    later = int(frames[1:].max())
    for at, size in zip((one, two), daughters, strict=True):
        alone = slice(at, at + int(np.searchsorted(seen.frame[at : movie.ends[at]], later)))
        smaller &= bool((seen.area[alone] <= BEFORE * size).all())
    if not smaller or seen.area[mother] < SAME * area:
        return math.inf
    until_now = movie.by_frame[: movie.frame_starts[frames[0] + 1]]
    grown = float(np.percentile(seen.area[until_now], GROWN))
    needed = division_roundness - (LENIENCE if area <= USUAL * grown else 0)
    one_round_cell = (seen.roundness[recent] >= needed) & (seen.filling[recent] >= FILLED)
    if area > LARGE * grown or not (one_round_cell & (seen.area[recent] >= SAME * area)).any():
        return math.inf
    diameter = 2 * math.sqrt(largest / math.pi)
    centre = [sum(size * axis[at] for size, at in zip(daughters, (one, two), strict=True)) / both for axis in seen[3:5]]
    off = math.hypot(centre[0] - seen.y[mother], centre[1] - seen.x[mother]) / diameter
    distance = math.hypot(seen.y[one] - seen.y[two], seen.x[one] - seen.x[two])
    if off > OFF_CENTRE or distance > NEAR * diameter:
        return math.inf
    after = [slice(at, min(at + AHEAD, int(movie.ends[at]))) for at in (one, two)]
    if any(_flickers(seen.area[part]) for part in (recent, *after)):
        return math.inf
    if not _stay_apart(movie, one, two, daughters, division_frames) or _swallowed(movie, start, mother, area, max_gap):
        return math.inf
    return abs(math.log(both / area)) - math.log(ratio) + off


def _areas(movie: _Movie, one: int, two: int) -> list[float]:
    """Areas of two daughters when they are new, of frames in which both are seen, if there are any."""
    seen = movie.seen
    first = [np.arange(at, min(at + AHEAD, int(movie.ends[at]))) for at in (one, two)]
    both = np.intersect1d(seen.frame[first[0]], seen.frame[first[1]])
    if both.size:
        first = [positions[np.isin(seen.frame[positions], both)] for positions in first]
    return [float(np.median(seen.area[positions[:TYPICAL]])) for positions in first]


def _flickers(areas: np.ndarray) -> bool:
    """Whether a cell's area changes much from most sightings to the next."""
    steps = np.abs(np.diff(np.log(areas)))
    return bool(steps.size and np.median(steps) > STEADY)


def _stay_apart(movie: _Movie, one: int, two: int, areas: Sequence[float], division_frames: int) -> bool:
    """Whether two daughters are seen apart often enough, and move apart, before they are one region again.

    They may be one region again for a MOMENT in between: they touch at first.
    """
    seen = movie.seen
    begin = int(min(seen.frame[one], seen.frame[two]))
    there = [
        {int(seen.frame[at]): at for at in range(first, min(first + 2 * AHEAD, int(movie.ends[first])))}
        for first in (one, two)
    ]
    radii = sum(math.sqrt(area / math.pi) for area in areas)
    together, apart = 0, 0  # frames in which they are one region, and in which they are apart since the last of these
    stayed, farthest = False, 0.0
    for frame in range(begin, begin + AHEAD):
        at = [positions[frame] for positions in there if frame in positions]
        if (len(at) == 1 and seen.area[at[0]] > WHOLE * sum(areas)) or (len(at) == 2 and seen.part[at].all()):
            together, apart = together + 1, 0
            if stayed or together > MOMENT:
                break
        elif len(at) == 2:
            apart += 1
            stayed |= apart >= division_frames
            farthest = max(farthest, math.hypot(*(seen.y[at[0]] - seen.y[at[1]], seen.x[at[0]] - seen.x[at[1]])))
    return stayed and farthest >= APART * radii


def _swallowed(movie: _Movie, start: int, mother: int, area: float, max_gap: int) -> bool:
    """Whether a cell holds another one, which ended beside it when it grew by as much, since when it has been so large.

    A part of the cell itself that was apart for a moment is no other cell.
    """
    seen = movie.seen
    grown = start + np.flatnonzero(seen.area[start + 1 : mother + 1] > 1.3 * seen.area[start:mother])
    for before in grown.tolist():
        after = before + 1
        window = movie.by_frame[movie.frame_starts[seen.frame[before]] : movie.frame_starts[seen.frame[after]]]
        gone = window[(movie.ends[window] == window + 1) & (seen.track[window] != seen.track[mother])]
        reach = 1.5 * math.sqrt(seen.area[after] / math.pi)
        gone = gone[np.hypot(seen.y[gone] - seen.y[after], seen.x[gone] - seen.x[after]) < reach]
        for other in gone.tolist():
            whole = max(_area_before(movie, mother, other), _area_before(movie, other, mother))
            if whole < SAME * area and area > seen.area[before] + 0.4 * seen.area[other]:
                return True
    return False


def _area_before(movie: _Movie, cell: int, other: int) -> float:
    """The area of a cell when it was seen last before the track of the other one began; 0 if it was not."""
    seen, first = movie.seen, _first(movie, cell)
    begun = seen.frame[_first(movie, other)]
    at = first + int(np.searchsorted(seen.frame[first : movie.ends[cell]], begun)) - 1
    return float(seen.area[at]) if at >= first else 0.0
