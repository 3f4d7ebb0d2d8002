"""Find cells that divide: two regions where one round cell was, with its area together, that stay apart.

This is done after linking, whatever the method: linking gives the mother's number to one of the daughters, or to none.
A wrong division cuts a trace in two, a missed one leaves it as it was. So all conditions of `find_divisions` have to be
met, and more of them in the last frames of a movie, which cannot tell whether daughters stay apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from celltraces.labels.lineage import Division
from celltraces.labels.regions import FrameTracks, tracks_of
from celltraces.tracking.daughters import (
    AHEAD,
    FLICKERS,
    LESS_STEADY,
    MOMENT,
    STEADY,
    TYPICAL,
    change,
    first_areas,
    has_third,
    spread,
    stay_apart,
    vanish,
)
from celltraces.tracking.sightings import Movie, Sightings, first_of, look_up

RECENT = 8  # sightings of the mother before she divides, in which her area and shape are looked at
SUM = 0.55, 1.6  # of the mother's area: what both daughters together may have
EQUAL = 0.4  # the smaller daughter's area by the larger one's, at least
CUT_SUM, CUT_EQUAL = 0.4, 0.15  # the same where the smaller daughter is cut by the picture's edge
LARGEST = 0.85  # of the mother's area: a daughter, at most
SAME = 0.7  # of the mother's area: her last one, and that when she was round, at least
FILLED = 0.92  # of the ellipse with the same second moments: a single cell, at least
OFF_CENTRE = 0.25  # of the mother's diameter: from her centre to that of both daughters, at most
MISSED = 0.1  # of her diameter: by how much more for each frame in which one of the three was missed
LEFT = 0.1  # of the mother's diameter: from her centre to that of the larger daughter, at least; a neighbour stays
NEAR = 1.9  # of the mother's diameter: from one daughter to the other in the beginning, at most
BEFORE = 1.3  # of a daughter's area: what it may have been before the other daughter was seen; more is still the mother
GROWN = 75  # percentile of the areas of all cells up to now: many are daughters, who are smaller
LARGE = 1.5  # of that area: a larger mother is two cells that touch
USUAL, LENIENCE = 1.1, 0.1  # of that area: a mother who is no larger, so no pair, may be less round by this much
BIGGER = 1.3  # of the mother's median area: if her last sightings are larger, she is two cells that touch
MORE = 1.3, 1.55  # of her median area and of her last sightings': daughters together, unless she was ROUNDED
ROUNDED = 0.91  # short axis by long axis
SHRINKING = 1.02  # of her area before her end: a mother whose median area is larger has rounded up, or dies
# Daughters that do not spread again after that are taken for what a dead cell leaves, unless they are like this.
HALVES = 0.95, 0.75, 0.1  # of her area, together, and the smaller by the larger, at least; off centre, at most
LONG, WAIST = 0.7, 0.97  # roundness and filling of her last sighting: one with less of both may be both daughters
ROUND_BEFORE = 0.85  # how round she was before that
# In the last frames, where too few are left to see whether daughters stay apart.
ROUND = 0.85  # short axis by long axis of the mother in her last TYPICAL sightings, at least
ROUNDER, SHRUNK = 0.1, 0.9  # by how much she became rounder, at least, or what was left of her area, at most
ROUND_DAUGHTER = 0.7  # short axis by long axis of a daughter, at least; half a disk has 0.5
LATE_SUM, LATE_EQUAL = (0.75, 1.25), 0.6  # as SUM and EQUAL
# Of a mother who shrank at once, and was so small and round when seen last: in phase contrast, a white cell.
AT_ONCE = 0.75  # of her area before: what is left, at most
STILL = 0.1  # by how much the logarithms of her last two areas differ, at most
BALL, BALL_DAUGHTER = 0.7, 0.65  # short axis by long axis, of her and of her daughters, at least
BALLS, BALLS_EQUAL = (1.0, 1.45), 0.55  # as SUM and EQUAL, of her last area; pieces of a dead cell have less together
BALLS_OFF = 0.2  # as OFF_CENTRE
BALLS_APART = 0.6  # of her last diameter: from one daughter to the other, at least; halves of an oval have 0.5


class Split(NamedTuple):
    """A division, as positions in the sightings: the mother's last, and the first of each daughter.

    cost: the lower, the more it is like a division.
    """

    cost: float
    mother: int
    daughters: tuple[int, int]


def find_divisions(
    seen: Sightings, max_gap: int, *, division_roundness: float, division_frames: int, division_min_age: int
) -> list[Split]:
    """The divisions of a movie, in the order in which their second daughters appear.

    A division is found where

    - a track begins (one daughter), another one begins or goes on with another area (the other daughter), and a cell
      was there until then (the mother), give or take `max_gap` frames in which one of them was missed;
    - the mother was seen in `division_min_age` frames since she began, and in one of the last RECENT of these was at
      least `division_roundness` round (LENIENCE less where she is no larger than cells are) and without a waist;
    - she is not two cells that touch: neither much larger than cells of this movie are, or than she was before, nor has
      swallowed another; and was clearly round if the daughters together have more area than she had, or if what is seen
      of her last is long and has a waist, as both daughters in one region have;
    - the daughters are of like size (less so where the picture's edge cuts the smaller one), make up her area together,
      and lie on both sides of where she was: a larger one that stays in her place is a neighbour of a new cell;
    - the areas of all three change little from frame to frame;
    - they are seen apart in `division_frames` frames, and move apart, before they are one region again, if ever; where
      fewer frames are left, she rounded up before, and they are round, of her area together and of like size;
    - neither is gone soon unless she grew before, no third piece of the mother is there, and where she became smaller
      before, the daughters spread again or are two halves of her: otherwise they are what is left of a dead cell;
    - most cells of the frame go on: it is not the stage that moved.

    A mother who shrank at once, stayed so small and round, and left two round daughters that together are no smaller
    (`_shrank_at_once`) needs no more of what is said of areas and roundness, and daughters seen apart in MOMENT frames.
    """
    if not seen.track.size:
        return []
    movie = look_up(seen)
    begins: dict[int, int] = {}  # track -> the position from which on it is another cell than before
    taken: set[int] = set()
    found: list[Split] = []
    for frame in sorted(movie.newcomers)[1:]:
        candidates = []
        for daughter in movie.newcomers[frame]:
            for mother, other in _families(movie, daughter, max_gap):
                start = begins.get(int(seen.track[mother]), first_of(movie, mother))
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


def _families(movie: Movie, daughter: int, max_gap: int) -> Iterator[tuple[int, int]]:
    """Pairs of positions: a possible mother of the track that begins at `daughter`, and the other daughter."""
    seen = movie.seen
    frame = int(seen.frame[daughter])
    earliest = max(0, frame - 1 - max_gap)

    def near(positions: np.ndarray, reach: np.ndarray | float) -> list[int]:
        distance = np.hypot(seen.y[positions] - seen.y[daughter], seen.x[positions] - seen.x[daughter])
        return positions[distance <= reach].tolist()

    before = movie.in_frames(earliest, frame)
    mothers = near(before, NEAR * 2 * np.sqrt(seen.area[before] / np.pi))
    if not mothers:
        return
    reach = NEAR * 2 * math.sqrt(seen.area[mothers].max() / math.pi)
    begun = [at for other in range(earliest + 1, frame + 1) for at in movie.newcomers.get(other, ())]
    others = [at for at in near(np.array(begun, np.intp), reach) if seen.frame[at] < frame or at < daughter]
    for mother in mothers:
        if mother + 1 < movie.ends[mother]:  # the other daughter has her number
            yield mother, mother + 1
        else:
            yield from ((mother, other) for other in others if seen.frame[other] > seen.frame[mother])


def _cost(
    movie: Movie,
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
    if _shrank_at_once(movie, start, mother, one, two, division_roundness):
        return _cost_of_balls(movie, start, mother, one, two, max_gap)
    later = int(frames[1:].max())
    recent = slice(max(start, mother + 1 - RECENT), mother + 1)
    area = float(np.median(seen.area[max(start, mother + 1 - TYPICAL) : mother + 1]))
    largest = max(area, float(np.sort(seen.area[recent])[-2:][0]))
    daughters = first_areas(movie, one, two)
    both, ratio = sum(daughters), min(daughters) / max(daughters)
    cut = bool(seen.edge[(one, two)[int(np.argmin(daughters))]])
    if not (CUT_SUM if cut else SUM[0]) * area <= both <= SUM[1] * largest or ratio < (CUT_EQUAL if cut else EQUAL):
        return math.inf
    # The area changes here, not a frame earlier or later: a mother also becomes smaller when she rounds up.
    smaller = max(daughters) <= LARGEST * largest and seen.area[[one, two]].max() <= LARGEST * seen.area[mother]
    for at, size in zip((one, two), daughters, strict=True):
        alone = slice(at, at + int(np.searchsorted(seen.frame[at : movie.ends[at]], later)))
        smaller &= bool((seen.area[alone] <= BEFORE * size).all())
    if not smaller or seen.area[mother] < SAME * area:
        return math.inf
    grown = float(np.percentile(seen.area[movie.in_frames(0, int(frames[0]) + 1)], GROWN))
    needed = division_roundness - (LENIENCE if area <= USUAL * grown else 0)
    usual = float(np.median(seen.area[recent]))
    if both > MORE[0] * usual or both > MORE[1] * area:
        needed = max(needed, ROUNDED)
    if seen.roundness[mother] < LONG and seen.filling[mother] < WAIST:
        needed = max(needed, ROUND_BEFORE)
    one_round_cell = (seen.roundness[recent] >= needed) & (seen.filling[recent] >= FILLED)
    if area > min(LARGE * grown, BIGGER * usual) or not (one_round_cell & (seen.area[recent] >= SAME * area)).any():
        return math.inf
    diameter = 2 * math.sqrt(largest / math.pi)
    centre = [sum(size * axis[at] for size, at in zip(daughters, (one, two), strict=True)) / both for axis in seen[3:5]]
    off = math.hypot(centre[0] - seen.y[mother], centre[1] - seen.x[mother]) / diameter
    distance = math.hypot(seen.y[one] - seen.y[two], seen.x[one] - seen.x[two])
    if off > OFF_CENTRE + MISSED * (int(frames[1:].max()) - int(frames[0]) - 1) or distance > NEAR * diameter:
        return math.inf
    larger = (one, two)[int(np.argmax(daughters))]
    if math.hypot(seen.y[larger] - seen.y[mother], seen.x[larger] - seen.x[mother]) < LEFT * diameter:
        return math.inf
    after = [slice(at, min(at + AHEAD, int(movie.ends[at]))) for at in (one, two)]
    of_mother, *of_daughters = (change(seen.area[part][~seen.edge[part]]) for part in (recent, *after))
    if max(of_daughters) > (LESS_STEADY if of_mother <= STEADY else FLICKERS) or of_mother > FLICKERS:
        return math.inf
    left = movie.n_frames - later
    if left < division_frames and not _rounded_up(movie, start, mother, one, two):
        return math.inf
    if not stay_apart(movie, one, two, daughters, min(division_frames, left)) or vanish(movie, one, two, max_gap):
        return math.inf
    halves = both >= HALVES[0] * area and ratio >= HALVES[1] and off <= HALVES[2]
    if usual > SHRINKING * area and not halves and not spread(movie, one, two):
        return math.inf
    if has_third(movie, mother, one, two, daughters, area) or _swallowed(movie, start, mother, area, max_gap):
        return math.inf
    return abs(math.log(both / area)) - math.log(ratio) + off


def _rounded_up(movie: Movie, start: int, mother: int, one: int, two: int) -> bool:
    """Whether a mother rounded up and became smaller, and left two round daughters of her area together.

    Halves of a cell that is cut in two for a moment are not round, and a cell that always was round does not round up.
    """
    seen = movie.seen
    last, before = (
        slice(max(start, mother + 1 - TYPICAL), mother + 1),
        slice(max(start, mother - RECENT), mother + 1 - TYPICAL),
    )
    if before.stop - before.start < TYPICAL:
        return False
    rounder = float(seen.roundness[last].max() - np.median(seen.roundness[before]))
    shrunk = float(seen.area[last].min() / np.median(seen.area[before]))
    new = [one, two]
    both = float(seen.area[new].sum() / seen.area[last].min())
    return bool(
        seen.roundness[last].max() >= ROUND
        and (rounder >= ROUNDER or shrunk <= SHRUNK)
        and (seen.roundness[new] >= ROUND_DAUGHTER).all()
        and (seen.filling[new] >= FILLED).all()
        and LATE_SUM[0] <= both <= LATE_SUM[1]
        and seen.area[new].min() >= LATE_EQUAL * seen.area[new].max()
    )


def _shrank_at_once(movie: Movie, start: int, mother: int, one: int, two: int, division_roundness: float) -> bool:
    """Whether a mother became small and round at once and so remained, and left two such daughters around her centre.

    A mitotic cell is thick, so white in phase contrast, and smaller than when it was flat. So are its daughters, and
    then they become flat, and often one region. What is cut in two for a moment leaves halves, which are neither round
    nor so far from each other, and what dies shrinks more slowly, or leaves less.
    """
    seen = movie.seen
    last, before = [mother - 1, mother], slice(max(start, mother - RECENT), mother - 1)
    new, frame = [one, two], int(seen.frame[mother]) + 1
    if before.stop - before.start < MOMENT or (seen.frame[[mother - 1, one, two]] != (frame - 2, frame, frame)).any():
        return False
    later = [at + MOMENT - 1 for at in new]
    if any(at >= movie.ends[first] for at, first in zip(later, new, strict=True)):
        return False
    if (seen.frame[later] != frame + MOMENT - 1).any() or seen.part[new + later].any() or seen.edge[last + new].any():
        return False
    area = float(np.median(seen.area[last]))
    diameter = 2 * math.sqrt(area / math.pi)
    both = float(seen.area[new].sum())
    centre = [float((seen.area[new] * axis[new]).sum()) / both for axis in (seen.y, seen.x)]
    distance = math.hypot(seen.y[one] - seen.y[two], seen.x[one] - seen.x[two])
    return bool(
        seen.area[last].max() <= AT_ONCE * np.percentile(seen.area[before], GROWN)
        and change(seen.area[last]) <= STILL
        and seen.roundness[last].min() >= max(BALL, division_roundness)
        and seen.roundness[new].min() >= BALL_DAUGHTER
        and seen.filling[last + new].min() >= FILLED
        and BALLS[0] <= both / area <= BALLS[1]
        and seen.area[new].min() >= BALLS_EQUAL * seen.area[new].max()
        and math.hypot(centre[0] - seen.y[mother], centre[1] - seen.x[mother]) <= BALLS_OFF * diameter
        and distance >= BALLS_APART * diameter
    )


def _cost_of_balls(movie: Movie, start: int, mother: int, one: int, two: int, max_gap: int) -> float:
    """As `_cost`, of a mother who shrank at once."""
    seen = movie.seen
    area = float(seen.area[mother])
    daughters = [float(seen.area[at]) for at in (one, two)]
    if vanish(movie, one, two, max_gap) or not spread(movie, one, two):
        return math.inf
    if has_third(movie, mother, one, two, daughters, area) or _swallowed(movie, start, mother, area, max_gap):
        return math.inf
    return abs(math.log(sum(daughters) / area)) - math.log(min(daughters) / max(daughters))


def _swallowed(movie: Movie, start: int, mother: int, area: float, max_gap: int) -> bool:
    """Whether a cell holds another one, which ended beside it when it grew by as much, since when it has been so large.

    A part of the cell itself that was apart for a moment is no other cell.
    """
    seen = movie.seen
    grown = start + np.flatnonzero(seen.area[start + 1 : mother + 1] > 1.3 * seen.area[start:mother])
    for before in grown.tolist():
        after = before + 1
        window = movie.in_frames(int(seen.frame[before]), int(seen.frame[after]))
        gone = window[(movie.ends[window] == window + 1) & (seen.track[window] != seen.track[mother])]
        reach = 1.5 * math.sqrt(seen.area[after] / math.pi)
        gone = gone[np.hypot(seen.y[gone] - seen.y[after], seen.x[gone] - seen.x[after]) < reach]
        for other in gone.tolist():
            whole = max(_area_before(movie, mother, other), _area_before(movie, other, mother))
            if whole < SAME * area and area > seen.area[before] + 0.4 * seen.area[other]:
                return True
    return False


def _area_before(movie: Movie, cell: int, other: int) -> float:
    """The area of a cell when it was seen last before the track of the other one began; 0 if it was not."""
    seen, first = movie.seen, first_of(movie, cell)
    begun = seen.frame[first_of(movie, other)]
    at = first + int(np.searchsorted(seen.frame[first : movie.ends[cell]], begun)) - 1
    return float(seen.area[at]) if at >= first else 0.0
