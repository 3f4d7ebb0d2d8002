"""Find cells that divide: two regions where one round cell was, with its area together, that stay apart.

This is done after linking, whatever the method: linking gives the mother's number to one of the daughters, or to none.
A wrong division cuts a trace in two, a missed one leaves it as it was. So all conditions of `find_divisions` have to be
met, and more of them in the last frames of a movie, which cannot tell whether daughters stay apart. What is measured of
a mother and two daughters is in `families`, each condition in `division_rules`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from celltraces.labels.lineage import Division
from celltraces.labels.regions import FrameTracks, tracks_of
from celltraces.tracking import sisters
from celltraces.tracking.division_rules import cost
from celltraces.tracking.families import Limits
from celltraces.tracking.mitosis import rounded_up
from celltraces.tracking.sightings import Sightings, TrackedMovie, first_of, look_up

NEAR = 1.9  # of the mother's diameter: from a daughter to her, and to the other one, at most


class Split(NamedTuple):
    """A division, as positions in the sightings: the mother's last, and the first of each daughter.

    cost: the lower, the more it is like a division. one_cell: the mother's last sighting as one cell; if it is an
    earlier one, her region holds both daughters since.
    """

    cost: float
    mother: int
    daughters: tuple[int, int]
    one_cell: int


def find_divisions(
    seen: Sightings, max_gap: int, *, division_roundness: float, division_frames: int, division_min_age: int
) -> list[Split]:
    """The divisions of a movie, in the order in which their second daughters appear.

    A division is found where

    - a track begins (one daughter), another one begins or goes on with another area (the other daughter), and a cell
      was there until then (the mother), give or take `max_gap` frames in which one of them was missed;
    - the mother was seen in `division_min_age` frames since she began, and in one of the last RECENT of these was at
      least `division_roundness` round (LENIENCE less where she is no larger than cells are) and without a waist;
    - she is not two cells that touch: neither much larger than cells of this movie are, or than she was before; and
      was clearly round if the daughters together have more area than she had, or if what is seen of her last is long
      and has a waist, as both daughters in one region have;
    - the daughters are of like size, make up her area together, and lie on both sides of where she was: a larger one
      that stays in her place is a neighbour of a new cell;
    - the areas of all three change little from frame to frame;
    - they are seen apart in `division_frames` frames, and move apart, before they are one region again, if ever; where
      fewer frames are left, she rounded up before, and they are round, of her area together and of like size;
    - neither is gone soon unless she grew before, no third piece of the mother is there, and where she became smaller
      before, the daughters spread again or are two halves of her: otherwise they are what is left of a dead cell;
    - most cells of the frame go on: it is not the stage that moved.

    A mother who rounded up (`mitosis`) may be long and hold both daughters in her last sightings, and they may have
    spread.
    """
    if not seen.track.size:
        return []
    movie = look_up(seen)
    limits = Limits(max_gap, division_roundness, division_frames)
    begins: dict[int, int] = {}  # track -> the position from which on it is another cell than before
    taken: set[int] = set()
    found: list[Split] = []
    for frame in sorted(movie.newcomers)[1:]:
        candidates = []
        for daughter in movie.newcomers[frame]:
            for mother, other in _families(movie, daughter, max_gap):
                start = begins.get(int(seen.track[mother]), first_of(movie, mother))
                if start <= mother + 1 - division_min_age:
                    unlike = cost(movie, start, mother, other, daughter, limits)
                    candidates.append(Split(unlike, mother, (other, daughter), mother))
        for split in sorted(candidates):
            mother_track, (other, daughter) = int(seen.track[split.mother]), split.daughters
            new = split.mother >= begins.get(mother_track, 0)
            if not math.isfinite(split.cost) or {other, daughter} & taken or not new:
                continue
            mitosis = rounded_up(movie, begins.get(mother_track, first_of(movie, split.mother)), split.mother)
            found.append(split._replace(one_cell=mitosis.last) if mitosis else split)
            taken |= {other, daughter}
            begins[mother_track] = split.mother + 1
            begins |= {int(seen.track[at]): at for at in (other, daughter)}
    return found


def numbered(
    mappings: Sequence[FrameTracks], seen: Sightings, splits: Sequence[Split], read: Callable[[int], np.ndarray]
) -> tuple[list[FrameTracks], list[Division]]:
    """The mappings with a number of its own for each cell, and the divisions. read: gives a frame's labels (H, W).

    A region that holds both daughters is cut in two, so that the mother ends before it.

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
        number[split.one_cell + 1 : split.mother + 1] = number[_keeper(seen, split)]
    divisions = [
        Division(
            int(number[split.one_cell]),
            tuple(sorted(int(number[at]) for at in split.daughters)),
            int(seen.frame[[*split.daughters, *_together(split)]].min()),
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
    for split in splits:
        if _together(split):
            keeper = _keeper(seen, split)
            sister = next(at for at in split.daughters if at != keeper)
            apart = _both_seen(seen, keeper, sister)
            pair = int(number[keeper]), int(number[sister])
            for frame, mapping in sisters.cut(
                renamed, seen.frame[_together(split)].tolist(), apart, pair, read
            ).items():
                renamed[frame] = mapping
    return renamed, divisions


def _together(split: Split) -> list[int]:
    """The positions of sightings of a mother in which her region holds both daughters."""
    return list(range(split.one_cell + 1, split.mother + 1))


def _keeper(seen: Sightings, split: Split) -> int:
    """The daughter that has the mother's track, or else the first: the region that holds both is hers."""
    tracks = seen.track[list(split.daughters)].tolist()
    return split.daughters[tracks.index(seen.track[split.mother]) if seen.track[split.mother] in tracks else 0]


def _both_seen(seen: Sightings, one: int, two: int) -> int:
    """The first frame in which both of two cells, from these positions on, are seen; those of a division are."""
    frames = [seen.frame[at : np.searchsorted(seen.track, seen.track[at], "right")] for at in (one, two)]
    return int(np.intersect1d(*frames)[0])


def _families(movie: TrackedMovie, daughter: int, max_gap: int) -> Iterator[tuple[int, int]]:
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
