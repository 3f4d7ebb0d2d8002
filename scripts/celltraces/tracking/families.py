"""Measure a mother and what may be her daughters, and say how unlike a division they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np

from celltraces.tracking.daughters import (
    AHEAD,
    APART,
    APART_SURE,
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
from celltraces.tracking.mitosis import Mitosis, rounded_up
from celltraces.tracking.sightings import Movie, first_of

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
LARGE_ROUNDED = 2.0  # the same of one who rounded up, and both of whose daughters are there in the next frame
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
AFTER_ONE = 0.9, 1.45  # the same of a mother who was so small in one frame alone
BALLS_OFF = 0.2  # as OFF_CENTRE
BALLS_APART = 0.6  # of her last diameter: from one daughter to the other, at least; halves of an oval have 0.5
# Of a mother who rounded up.
RETURN = 0.85, 1.5  # of her area when she was round, at least, and before, at most: daughters together when new
HALVED_BEFORE = 3  # sightings before her last one, in which a daughter may have gone to a neighbour's region
SPREAD = 1.3  # of her area when she was round: daughters together, if they have spread


class Limits(NamedTuple):
    """Parameters of the config: frames in which a cell may be missed, how round a mother is, frames spent apart."""

    max_gap: int
    roundness: float
    frames: int


class Family(NamedTuple):
    """A mother and two daughters, as positions in the sightings, and what is measured of them; lengths in pixels."""

    movie: Movie
    limits: Limits
    start: int  # the mother's first sighting, or the first since she came from a division herself
    mother: int  # her last
    one: int  # the first of each daughter
    two: int
    later: int  # frame from which on both daughters were seen
    recent: slice  # the mother's last RECENT sightings
    area: float  # of the mother before her end
    usual: float  # the median of her recent areas
    largest: float  # her second largest recent area, or `area`
    areas: tuple[float, float]  # of the daughters
    new_areas: tuple[float, float]  # of the daughters where both are seen first: they may spread from then on
    off: float  # from her centre to that of both daughters, by her diameter
    distance: float  # from one daughter to the other, by her diameter
    left: float  # from her centre to that of the larger daughter, by her diameter
    mitosis: Mitosis | None  # if she rounded up

    @property
    def both(self) -> float:
        """Area of the daughters together."""
        return sum(self.areas)

    @property
    def ratio(self) -> float:
        """Area of the smaller daughter by that of the larger one."""
        return min(self.areas) / max(self.areas)


def cost(movie: Movie, start: int, mother: int, one: int, two: int, limits: Limits) -> float:
    """How unlike a division this is: infinite where a condition of `find_divisions` is not met.

    start, mother: the first and last position of the mother. one, two: the first positions of the daughters.
    """
    frames = movie.seen.frame[[mother, one, two]]
    first, later = int(frames[0]) + 1, int(frames[1:].max())
    if later > first + limits.max_gap or movie.moved[first : later + 1].any():
        return math.inf
    family = _family(movie, start, mother, one, two, limits)
    white = _shrank_at_once(family)
    if white:
        family = _as_seen(family)
    if all(met(family) for met in (OF_WHITE if white else OF_OTHERS)):
        return _unlike(family)
    return _unlike(family) if family.mitosis and all(met(family) for met in OF_ROUNDED_UP) else math.inf


def _unlike(family: Family) -> float:
    return abs(math.log(family.both / family.area)) - math.log(family.ratio) + family.off


def _family(movie: Movie, start: int, mother: int, one: int, two: int, limits: Limits) -> Family:
    seen = movie.seen
    recent = slice(max(start, mother + 1 - RECENT), mother + 1)
    own = seen.area[recent].tolist()
    area = float(median(own[-TYPICAL:]))
    largest = max(area, float(sorted(own)[-2:][0]))
    areas, new_areas = first_areas(movie, one, two)
    off, distance, left = _distances(movie, mother, one, two, areas, largest)
    return Family(
        movie,
        limits,
        start,
        mother,
        one,
        two,
        later=int(seen.frame[[one, two]].max()),
        recent=recent,
        area=area,
        usual=float(median(own)),
        largest=largest,
        areas=areas,
        new_areas=new_areas,
        off=off,
        distance=distance,
        left=left,
        mitosis=rounded_up(movie, start, mother),
    )


def _as_seen(family: Family) -> Family:
    """The family with the area in the mother's last sighting, and in the first ones of her daughters: white ones soon
    become flat."""
    movie, mother, one, two = family.movie, family.mother, family.one, family.two
    area = movie.seen.area
    last, areas = float(area[mother]), (float(area[one]), float(area[two]))
    off, distance, left = _distances(movie, mother, one, two, areas, last)
    return family._replace(area=last, areas=areas, new_areas=areas, off=off, distance=distance, left=left)


def _distances(
    movie: Movie, mother: int, one: int, two: int, areas: tuple[float, float], area: float
) -> tuple[float, float, float]:
    """`off`, `distance`, `left` of a family whose daughters have these areas, by the diameter of a disk of `area`."""
    y, x = ([float(axis[at]) for at in (one, two, mother)] for axis in (movie.seen.y, movie.seen.x))
    diameter = 2 * math.sqrt(area / math.pi)
    (a, b), larger = areas, int(np.argmax(areas))
    centre = [(a * axis[0] + b * axis[1]) / (a + b) for axis in (y, x)]
    return (
        math.hypot(centre[0] - y[2], centre[1] - x[2]) / diameter,
        math.hypot(y[0] - y[1], x[0] - x[1]) / diameter,
        math.hypot(y[larger] - y[2], x[larger] - x[2]) / diameter,
    )


def _areas_add_up(family: Family) -> bool:
    """The daughters are of like size, and have the mother's area together."""
    smaller = (family.one, family.two)[int(np.argmin(family.areas))]
    cut = bool(family.movie.seen.edge[smaller])
    least, ratio = (CUT_SUM, CUT_EQUAL) if cut else (SUM[0], EQUAL)
    at_first = min(family.both, sum(family.new_areas))  # they may spread soon
    return least * family.area <= family.both and at_first <= SUM[1] * family.largest and family.ratio >= ratio


def _change_here(family: Family) -> bool:
    """The area changes here, not a frame earlier or later: a mother also becomes smaller when she rounds up."""
    seen, last = family.movie.seen, family.movie.seen.area[family.mother]
    first = seen.area[[family.one, family.two]].max()
    if max(family.new_areas) > LARGEST * family.largest or first > LARGEST * last or not _new_at_once(family):
        return False
    return bool(last >= SAME * family.area) or _rounded_in_last(family)


def _new_at_once(family: Family) -> bool:
    """What is seen of one daughter before the other is no larger than she is: it is no longer the mother."""
    movie, seen = family.movie, family.movie.seen
    for at, size in zip((family.one, family.two), family.areas, strict=True):
        alone = slice(at, at + int(np.searchsorted(seen.frame[at : movie.ends[at]], family.later)))
        if (seen.area[alone] > BEFORE * size).any():
            return False
    return True


def _rounded_in_last(family: Family) -> bool:
    """The mother was small and round in her last sighting alone, and left two round daughters about that at once.

    Where frames are far apart, mitosis takes one of them. What dies leaves less, and not so round.
    """
    seen, mother, new = family.movie.seen, family.mother, [family.one, family.two]
    if (seen.frame[new] != seen.frame[mother] + 1).any() or seen.part[new].any() or seen.edge[[mother, *new]].any():
        return False
    white = _as_seen(family)
    return bool(
        seen.roundness[mother] >= ROUND
        and seen.roundness[new].min() >= BALL_DAUGHTER
        and seen.filling[[mother, *new]].min() >= FILLED
        and AFTER_ONE[0] <= white.both / white.area <= AFTER_ONE[1]
        and white.ratio >= BALLS_EQUAL
        and white.off <= BALLS_OFF
        and white.distance >= BALLS_APART
    )


def _mother_is_one_cell(family: Family) -> bool:
    """The mother was round without a waist, and no larger than one cell is."""
    seen, recent, area = family.movie.seen, family.recent, family.area
    until = int(seen.frame[family.mother]) + 1
    grown = float(np.percentile(seen.area[family.movie.in_frames(0, until)], GROWN))
    needed = family.limits.roundness - (LENIENCE if area <= USUAL * grown else 0)
    both = min(family.both, sum(family.new_areas))
    if both > MORE[0] * family.usual or both > MORE[1] * area:
        needed = max(needed, ROUNDED)
    if seen.roundness[family.mother] < LONG and seen.filling[family.mother] < WAIST:
        needed = max(needed, ROUND_BEFORE)
    one_round_cell = (seen.roundness[recent] >= needed) & (seen.filling[recent] >= FILLED)
    at_once = family.later == until  # both daughters
    large = LARGE_ROUNDED if at_once and _rounded_up(family) else LARGE
    small = area <= min(large * grown, BIGGER * family.usual)
    return bool(small and (one_round_cell & (seen.area[recent] >= SAME * area)).any())


def _on_both_sides(family: Family) -> bool:
    """The daughters lie on both sides of where the mother was."""
    missed = family.later - int(family.movie.seen.frame[family.mother]) - 1
    return family.off <= OFF_CENTRE + MISSED * missed and family.distance <= NEAR and family.left >= LEFT


def _are_steady(family: Family) -> bool:
    """The areas of all three change little from frame to frame."""
    movie, seen = family.movie, family.movie.seen
    after = [slice(at, min(at + AHEAD, int(movie.ends[at]))) for at in (family.one, family.two)]
    of_mother, *of_daughters = (change(seen.area[part][~seen.edge[part]]) for part in (family.recent, *after))
    return max(of_daughters) <= (LESS_STEADY if of_mother <= STEADY else FLICKERS) and of_mother <= FLICKERS


def _stay_apart(family: Family) -> bool:
    """The daughters stay apart; where too few frames are left to see this, the mother rounded up."""
    left = family.movie.n_frames - family.later
    sure = _rounded_up(family) and _are_round_halves(family)
    if left < family.limits.frames and not sure:
        return False
    least, far = min(family.limits.frames, left), APART_SURE if sure else APART
    return stay_apart(family.movie, family.one, family.two, family.areas, least, far)


def _go_on(family: Family) -> bool:
    """Neither daughter is gone soon."""
    return not vanish(family.movie, family.one, family.two, family.limits.max_gap)


def _spread(family: Family) -> bool:
    """The daughters spread, or are too short to tell."""
    return spread(family.movie, family.one, family.two)


def _spread_or_halves(family: Family) -> bool:
    """Where the mother became smaller before, the daughters spread again, or are two halves of her."""
    halves = family.both >= HALVES[0] * family.area and family.ratio >= HALVES[1] and family.off <= HALVES[2]
    steady = family.usual <= SHRINKING * family.area and family.mitosis is None
    return steady or halves or _spread(family)


def _are_all(family: Family) -> bool:
    """No third piece of the mother is there."""
    return not has_third(family.movie, family.mother, family.one, family.two, family.areas, family.area)


def _holds_no_other(family: Family) -> bool:
    """The mother has not swallowed another cell."""
    movie, start, mother, area = family.movie, family.start, family.mother, family.area
    return not _swallowed(movie, start, mother, area, family.limits.max_gap)


def _areas_return(family: Family) -> bool:
    """The daughters have together what a mother who rounded up had then, or more, as they spread until they are as
    large as she was; each is clearly smaller."""
    flat, small = family.mitosis.flat, family.mitosis.small
    at_first = sum(family.new_areas)
    return bool(
        RETURN[0] * small <= at_first
        and min(family.both, at_first) <= RETURN[1] * flat
        and max(family.new_areas) <= LARGEST * flat
        and family.ratio >= EQUAL
    )


def _parts_here(family: Family) -> bool:
    """The mother became no smaller just before: else one daughter is in a neighbour's region since then."""
    seen, mother = family.movie.seen, family.mother
    last = seen.area[mother]
    halved = last < LARGEST * seen.area[max(family.start, mother - HALVED_BEFORE) : mother + 1].max()
    at_once = family.later <= seen.frame[mother] + 2  # but for one frame
    return bool(at_once and (not halved or seen.area[[family.one, family.two]].max() <= LARGEST * last))


def _was_one_cell(family: Family) -> bool:
    """The mother was no larger than cells are before she rounded up."""
    movie, until = family.movie, int(family.movie.seen.frame[family.mother]) + 1
    return bool(family.mitosis.flat <= LARGE * np.percentile(movie.seen.area[movie.in_frames(0, until)], GROWN))


def _stay_apart_after_mitosis(family: Family) -> bool:
    """The daughters stay apart; in the last frames, they were seen in one region with a waist, or are round halves."""
    left = family.movie.n_frames - family.later
    if left < family.limits.frames and family.mitosis.last == family.mother and not _are_round_halves(family):
        return False
    least = min(family.limits.frames, left)
    return stay_apart(family.movie, family.one, family.two, family.areas, least, APART_SURE)


def _spread_since(family: Family) -> bool:
    """The daughters have spread already and remain so, or do, or are too short to tell."""
    movie, area = family.movie, family.movie.seen.area
    typical = [np.median(area[at : min(at + AHEAD, int(movie.ends[at]))]) for at in (family.one, family.two)]
    return bool(sum(typical) >= SPREAD * family.mitosis.small) or _spread(family)


OF_WHITE: tuple[Callable[[Family], bool], ...] = _go_on, _spread, _are_all, _holds_no_other
OF_OTHERS: tuple[Callable[[Family], bool], ...] = (
    _areas_add_up,
    _change_here,
    _mother_is_one_cell,
    _on_both_sides,
    _are_steady,
    _stay_apart,
    _go_on,
    _spread_or_halves,
    _are_all,
    _holds_no_other,
)


def _around_her(family: Family) -> bool:
    """The daughters lie on both sides of where the mother was, who was small."""
    size = max(family.mitosis.small, float(family.movie.seen.area[family.mother]))
    return _on_both_sides(family) and family.off * math.sqrt(family.largest / size) <= OFF_CENTRE


OF_ROUNDED_UP: tuple[Callable[[Family], bool], ...] = (
    _areas_return,
    _parts_here,
    _new_at_once,
    _was_one_cell,
    _around_her,
    _are_steady,
    _stay_apart_after_mitosis,
    _go_on,
    _spread_since,
    _are_all,
    _holds_no_other,
)


def _rounded_up(family: Family) -> bool:
    """Whether the mother became round before her end: rounder or smaller than before. What always was round did not."""
    seen, (before, last) = family.movie.seen, _before_and_last(family)
    if before.stop - before.start < TYPICAL:
        return False
    rounder = float(seen.roundness[last].max() - np.median(seen.roundness[before]))
    shrunk = float(seen.area[last].min() / np.median(seen.area[before]))
    return bool(seen.roundness[last].max() >= ROUND and (rounder >= ROUNDER or shrunk <= SHRUNK))


def _are_round_halves(family: Family) -> bool:
    """Whether the daughters are round, of the mother's area together; halves of a cell that is cut are not round."""
    seen, new = family.movie.seen, [family.one, family.two]
    both = float(seen.area[new].sum() / seen.area[_before_and_last(family)[1]].min())
    return bool(
        (seen.roundness[new] >= ROUND_DAUGHTER).all()
        and (seen.filling[new] >= FILLED).all()
        and LATE_SUM[0] <= both <= LATE_SUM[1]
        and seen.area[new].min() >= LATE_EQUAL * seen.area[new].max()
    )


def _before_and_last(family: Family) -> tuple[slice, slice]:
    """The mother's last TYPICAL sightings, and RECENT ones before them."""
    start, mother = family.start, family.mother
    end = mother + 1 - TYPICAL
    return slice(max(start, mother - RECENT), end), slice(max(start, end), mother + 1)


def _shrank_at_once(family: Family) -> bool:
    """Whether a mother became small and round at once and so remained, and left two such daughters around her centre.

    A mitotic cell is thick, so white in phase contrast, and smaller than when it was flat. So are its daughters, and
    then they become flat, and often one region. What is cut in two for a moment leaves halves, which are neither round
    nor so far from each other, and what dies shrinks more slowly, or leaves less.
    """
    movie, seen, mother, one, two = family.movie, family.movie.seen, family.mother, family.one, family.two
    last, before = [mother - 1, mother], slice(max(family.start, mother - RECENT), mother - 1)
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
        and seen.roundness[last].min() >= max(BALL, family.limits.roundness)
        and seen.roundness[new].min() >= BALL_DAUGHTER
        and seen.filling[last + new].min() >= FILLED
        and BALLS[0] <= both / area <= BALLS[1]
        and seen.area[new].min() >= BALLS_EQUAL * seen.area[new].max()
        and math.hypot(centre[0] - seen.y[mother], centre[1] - seen.x[mother]) <= BALLS_OFF * diameter
        and distance >= BALLS_APART * diameter
    )


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
