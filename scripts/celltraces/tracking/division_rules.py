"""Say whether a mother and what may be her daughters are a division, and how unlike one they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from celltraces.tracking.daughters import (
    AHEAD,
    APART,
    APART_SURE,
    FLICKERS,
    LESS_STEADY,
    STEADY,
    TYPICAL,
    change,
    has_third,
    spread,
    stay_apart,
    vanish,
)
from celltraces.tracking.families import Family, Limits, family_of
from celltraces.tracking.halves import FILLED, LARGEST, OFF_CENTRE, are_round_halves
from celltraces.tracking.mitosis import Mitosis, became_round, rounded_up
from celltraces.tracking.sightings import TrackedMovie

SUM = 0.55  # of the mother's area: what both daughters together have, at least
EQUAL = 0.4  # the smaller daughter's area by the larger one's, at least
SAME = 0.7  # of the mother's area: her last one, and that when she was round, at least
LEFT = 0.1  # of the mother's diameter: from her centre to that of the larger daughter, at least; a neighbour stays
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
HALVES = 0.95, 0.75  # of her area, together, and the smaller by the larger, at least
LONG, WAIST = 0.7, 0.97  # roundness and filling of her last sighting: one with less of both may be both daughters
ROUND_BEFORE = 0.85  # how round she was before that
# Of a mother who rounded up.
RETURN = 0.85, 1.5  # of her area when she was round, at least, and before, at most: daughters together when new
HALVED_BEFORE = 3  # sightings before her last one, in which a daughter may have gone to a neighbour's region
SPREAD = 1.3  # of her area when she was round: daughters together, if they have spread


def cost(movie: TrackedMovie, start: int, mother: int, one: int, two: int, limits: Limits) -> float:
    """How unlike a division this is: infinite where a condition of `find_divisions` is not met.

    start, mother: the first and last position of the mother. one, two: the first positions of the daughters.
    """
    frames = movie.seen.frame[[mother, one, two]]
    first, later = int(frames[0]) + 1, int(frames[1:].max())
    if later > first + limits.max_gap or movie.moved[first : later + 1].any():
        return math.inf
    family = family_of(movie, start, mother, one, two, limits)
    if not all(met(family) for met in OF_ALL):
        return math.inf
    mitosis = rounded_up(movie, start, mother)
    if all(met(family) for met in OF_OTHERS) and _spread_or_halves(family, mitosis):
        return _unlike(family)
    return _unlike(family) if mitosis and all(met(family, mitosis) for met in OF_ROUNDED_UP) else math.inf


def _unlike(family: Family) -> float:
    return abs(math.log(family.both / family.area)) - math.log(family.ratio) + family.off


def _are_alike(family: Family) -> bool:
    """The daughters are of like size."""
    return family.ratio >= EQUAL


def _new_at_once(family: Family) -> bool:
    """What is seen of one daughter before the other is no larger than she is: it is no longer the mother."""
    movie, seen = family.movie, family.movie.seen
    for at, size in zip((family.one, family.two), family.areas, strict=True):
        alone = slice(at, at + int(np.searchsorted(seen.frame[at : movie.ends[at]], family.later)))
        if (seen.area[alone] > BEFORE * size).any():
            return False
    return True


def _on_both_sides(family: Family) -> bool:
    """The daughters lie on both sides of where the mother was."""
    return family.off <= OFF_CENTRE and family.left >= LEFT


def _are_steady(family: Family) -> bool:
    """The areas of all three change little from frame to frame."""
    movie, seen = family.movie, family.movie.seen
    after = [slice(at, min(at + AHEAD, int(movie.ends[at]))) for at in (family.one, family.two)]
    of_mother, *of_daughters = (change(seen.area[part][~seen.edge[part]]) for part in (family.recent, *after))
    return max(of_daughters) <= (LESS_STEADY if of_mother <= STEADY else FLICKERS) and of_mother <= FLICKERS


def _go_on(family: Family) -> bool:
    """Neither daughter is gone soon."""
    return not vanish(family.movie, family.one, family.two, family.limits.max_gap)


def _are_all(family: Family) -> bool:
    """No third piece of the mother is there."""
    return not has_third(family.movie, family.mother, family.one, family.two, family.areas, family.area)


OF_ALL: tuple[Callable[[Family], bool], ...] = (
    _are_alike,
    _on_both_sides,
    _new_at_once,
    _are_steady,
    _go_on,
    _are_all,
)


def _areas_add_up(family: Family) -> bool:
    """The daughters have the mother's area together, or what is left of it when they are round."""
    return family.both >= SUM * family.area


def _change_here(family: Family) -> bool:
    """The area changes here, not a frame earlier or later: a mother also becomes smaller when she rounds up."""
    seen, last = family.movie.seen, family.movie.seen.area[family.mother]
    first = seen.area[[family.one, family.two]].max()
    if max(family.new_areas) > LARGEST * family.largest or first > LARGEST * last:
        return False
    return bool(last >= SAME * family.area) or _rounded_in_last(family)


def _rounded_in_last(family: Family) -> bool:
    """The mother was small and round in her last sighting alone, and left two round daughters about that at once.

    Where frames are far apart, mitosis takes one of them. What dies leaves less, and not so round.
    """
    seen, mother, new = family.movie.seen, family.mother, [family.one, family.two]
    if (seen.frame[new] != seen.frame[mother] + 1).any() or seen.part[new].any() or seen.edge[[mother, *new]].any():
        return False
    round_cell = seen.roundness[mother] >= ROUND_BEFORE and seen.filling[mother] >= FILLED
    return bool(round_cell and _are_round_halves(family, float(seen.area[mother])))


def _mother_is_one_cell(family: Family) -> bool:
    """The mother was round without a waist, and no larger than one cell is."""
    seen, recent, area = family.movie.seen, family.recent, family.area
    grown = _grown(family)
    needed = family.limits.roundness - (LENIENCE if area <= USUAL * grown else 0)
    both = min(family.both, sum(family.new_areas))
    if both > MORE[0] * family.usual or both > MORE[1] * area:
        needed = max(needed, ROUNDED)
    if seen.roundness[family.mother] < LONG and seen.filling[family.mother] < WAIST:
        needed = max(needed, ROUND_BEFORE)
    one_round_cell = (seen.roundness[recent] >= needed) & (seen.filling[recent] >= FILLED)
    at_once = family.later == seen.frame[family.mother] + 1  # both daughters
    large = LARGE_ROUNDED if at_once and _became_round(family) else LARGE
    small = area <= min(large * grown, BIGGER * family.usual)
    return bool(small and (one_round_cell & (seen.area[recent] >= SAME * area)).any())


def _grown(family: Family) -> float:
    """The area of a cell that has grown, by all cells up to the mother's end."""
    movie = family.movie
    return float(np.percentile(movie.seen.area[movie.in_frames(0, int(movie.seen.frame[family.mother]) + 1)], GROWN))


def _stay_apart(family: Family) -> bool:
    """The daughters stay apart; where too few frames are left to see this, the mother rounded up."""
    left = family.movie.n_frames - family.later
    sure = _became_round(family) and _are_round_halves(family)
    if left < family.limits.frames and not sure:
        return False
    least, far = min(family.limits.frames, left), APART_SURE if sure else APART
    return stay_apart(family.movie, family.one, family.two, family.areas, least, far)


def _became_round(family: Family) -> bool:
    """Whether the mother became round before her end."""
    seen, own = family.movie.seen, slice(family.start, family.mother + 1)
    return became_round(seen.area[own], seen.roundness[own])


def _are_round_halves(family: Family, area: float | None = None) -> bool:
    """Whether the daughters, when they are seen first, are round halves of the mother.

    area: hers; the least of her last TYPICAL ones if not given.
    """
    seen, mother = family.movie.seen, family.mother
    of = [column[[mother, family.one, family.two]] for column in seen.columns()[:5]]
    of[0][0] = seen.area[max(family.start, mother + 1 - TYPICAL) : mother + 1].min() if area is None else area
    return are_round_halves(*of)


OF_OTHERS: tuple[Callable[[Family], bool], ...] = (
    _areas_add_up,
    _change_here,
    _mother_is_one_cell,
    _stay_apart,
)


def _spread_or_halves(family: Family, mitosis: Mitosis | None) -> bool:
    """Where the mother became smaller before, the daughters spread again, or are two halves of her."""
    halves = family.both >= HALVES[0] * family.area and family.ratio >= HALVES[1]
    steady = family.usual <= SHRINKING * family.area and mitosis is None
    return steady or halves or spread(family.movie, family.one, family.two)


def _areas_return(family: Family, mitosis: Mitosis) -> bool:
    """The daughters have together what a mother who rounded up had then, or more, as they spread until they are as
    large as she was; each is clearly smaller."""
    flat, small = mitosis.flat, mitosis.small
    at_first = sum(family.new_areas)
    return bool(
        RETURN[0] * small <= at_first
        and min(family.both, at_first) <= RETURN[1] * flat
        and max(family.new_areas) <= LARGEST * flat
    )


def _parts_here(family: Family, mitosis: Mitosis) -> bool:
    """The mother became no smaller just before: else one daughter is in a neighbour's region since then."""
    seen, mother = family.movie.seen, family.mother
    last = seen.area[mother]
    halved = last < LARGEST * seen.area[max(family.start, mother - HALVED_BEFORE) : mother + 1].max()
    at_once = family.later <= seen.frame[mother] + 2  # but for one frame
    return bool(at_once and (not halved or seen.area[[family.one, family.two]].max() <= LARGEST * last))


def _was_one_cell(family: Family, mitosis: Mitosis) -> bool:
    """The mother was no larger than cells are before she rounded up."""
    return bool(mitosis.flat <= LARGE * _grown(family))


def _around_her(family: Family, mitosis: Mitosis) -> bool:
    """The daughters lie on both sides of where the mother was, who was small."""
    size = max(mitosis.small, float(family.movie.seen.area[family.mother]))
    return family.off * math.sqrt(family.largest / size) <= OFF_CENTRE


def _stay_apart_after_mitosis(family: Family, mitosis: Mitosis) -> bool:
    """The daughters stay apart; in the last frames, they were seen in one region with a waist, or are round halves.

    Round halves of a ball, which was much smaller than she was for some frames, are apart in one frame less.
    """
    left, halves = family.movie.n_frames - family.later, _are_round_halves(family)
    if left < family.limits.frames and mitosis.last == family.mother and not halves:
        return False
    ball = family.movie.seen.area[max(family.start, mitosis.last + 1 - TYPICAL) : mitosis.last + 1]
    sure = halves and mitosis.small < SAME * mitosis.flat and change(ball) <= STEADY
    least = min(family.limits.frames - sure, left)
    return stay_apart(family.movie, family.one, family.two, family.areas, least, APART_SURE)


def _spread_since(family: Family, mitosis: Mitosis) -> bool:
    """The daughters have spread already and remain so, or do, or are too short to tell."""
    movie, area = family.movie, family.movie.seen.area
    typical = [np.median(area[at : min(at + AHEAD, int(movie.ends[at]))]) for at in (family.one, family.two)]
    return bool(sum(typical) >= SPREAD * mitosis.small) or spread(movie, family.one, family.two)


OF_ROUNDED_UP: tuple[Callable[[Family, Mitosis], bool], ...] = (
    _areas_return,
    _parts_here,
    _was_one_cell,
    _around_her,
    _stay_apart_after_mitosis,
    _spread_since,
)
