"""Look at what becomes of two daughters: whether they stay apart, and whether they alone are left of the mother."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from celltraces.tracking.sightings import FLICKER, TrackedMovie

AHEAD = 10  # frames after a division in which daughters are looked at, at least
TYPICAL = 3  # sightings of which the median counts as a cell's area
FLICKERS = 0.2  # change of an area (`change`), at most: debris flickers more
STEADY, LESS_STEADY = 0.1, 0.3  # the same, of a mother who is no debris, and of her daughters, at most
APART = 1.0  # of the sum of the daughters' radii: what their distance reaches
APART_SURE = 0.8  # the same of round halves of a mother who rounded up; halves of a disk are 0.6 apart
WHOLE = 0.75  # of both daughters' area: where one is missing, a region as large is both
MOMENT = 2  # frames, at most, in which daughters are one region again before they are apart for good
GREW = 0.5  # of a daughter's area: by how much a neighbour grows, at least, that she runs together with
GROWTH = 1.1  # of a daughter's first areas: what her last ones have, at least, if she spreads
PIECES = 1.3  # of the mother's area: three pieces that are no larger are what is left of a dead cell


def first_areas(movie: TrackedMovie, one: int, two: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Areas of two daughters when they are new: medians of a few frames, and those of the first of these.

    Of frames in which both are seen, if there are any.
    """
    seen = movie.seen
    first = [range(at, min(at + AHEAD, int(movie.ends[at]))) for at in (one, two)]
    frames = [seen.frame[positions.start : positions.stop].tolist() for positions in first]
    both = {*frames[0]} & {*frames[1]}
    found = []
    for positions, own in zip(first, frames, strict=True):
        new = [at for at, frame in zip(positions, own, strict=True) if not both or frame in both]
        found.append(seen.area[new[:TYPICAL]].tolist())
    of_one, of_two = found
    return (float(median(of_one)), float(median(of_two))), (float(of_one[0]), float(of_two[0]))


def change(areas: np.ndarray) -> float:
    """Median change of the logarithm of a cell's area from one sighting to the next; 0 of a single sighting."""
    return float(np.median(np.abs(np.diff(np.log(areas))))) if areas.size > 1 else 0.0


def stay_apart(movie: TrackedMovie, one: int, two: int, areas: Sequence[float], least: int, far: float = APART) -> bool:
    """Whether two daughters are seen apart in `least` frames, and by `far`, before they are one region again.

    They may be one region again for a MOMENT in between: they touch at first. A daughter that has left the picture, or
    runs together with a neighbour, is apart from her sister.
    """
    seen = movie.seen
    begin = int(min(seen.frame[one], seen.frame[two]))
    ahead = max(AHEAD, least + MOMENT)
    there = [
        {int(seen.frame[at]): at for at in range(first, min(first + 2 * ahead, int(movie.ends[first])))}
        for first in (one, two)
    ]
    gone = [_gone_elsewhere(movie, first, other) for first, other in ((one, two), (two, one))]
    radii = sum(math.sqrt(area / math.pi) for area in areas)
    together, apart = 0, 0  # frames in which they are one region, and in which they are apart since the last of these
    stayed, farthest = False, 0.0
    for frame in range(begin, begin + ahead):
        at = [positions[frame] for positions in there if frame in positions]
        if (len(at) == 1 and seen.area[at[0]] > WHOLE * sum(areas)) or (len(at) == 2 and seen.part[at].all()):
            together, apart = together + 1, 0
            if stayed or together > MOMENT:
                break
        elif len(at) == 2:
            apart += 1
            farthest = max(farthest, math.hypot(*(seen.y[at[0]] - seen.y[at[1]], seen.x[at[0]] - seen.x[at[1]])))
        elif len(at) == 1 and apart and any(frame > last for last in gone):
            apart += 1
        stayed |= apart >= least
    return stayed and farthest >= far * radii


def vanish(movie: TrackedMovie, one: int, two: int, max_gap: int) -> bool:
    """Whether one of two daughters is nowhere soon: pieces of a dead cell dissolve, cells do not.

    One that grew until then is no piece: segmentation missed her from then on.
    """
    seen = movie.seen
    for first, sister in ((one, two), (two, one)):
        last = int(movie.ends[first]) - 1
        frame = int(seen.frame[last])
        if frame - seen.frame[first] >= AHEAD or frame + 1 + max_gap >= movie.n_frames:
            continue
        if growth(seen.area[first : last + 1]) >= GROWTH:
            continue
        after = movie.in_frames(frame + 1, frame + 2 + max_gap)
        near = np.hypot(seen.y[after] - seen.y[last], seen.x[after] - seen.x[last])
        covered = (near <= np.sqrt(seen.area[after] / math.pi)).any()
        if not covered and math.isinf(_gone_elsewhere(movie, first, sister)):
            return True
    return False


def growth(areas: np.ndarray) -> float:
    """Areas of a cell (N,) in the end by those in the beginning, NaN of a single one."""
    few = min(TYPICAL, areas.size // 2)
    return float(np.median(areas[-few:]) / np.median(areas[:few])) if few else math.nan


def spread(movie: TrackedMovie, one: int, two: int) -> bool:
    """Whether one of two daughters spreads, so grows, after a mother who rounded up; pieces of a dead cell do not.

    One is enough: the other may run together with a neighbour, or leave the picture. True where neither is seen for
    long enough to tell.
    """
    parts = [movie.seen.area[first : min(first + AHEAD, int(movie.ends[first]))] for first in (one, two)]
    grown = [growth(areas) for areas in parts if areas.size >= 2 * TYPICAL]
    return not grown or max(grown) >= GROWTH


def has_third(movie: TrackedMovie, mother: int, one: int, two: int, areas: Sequence[float], area: float) -> bool:
    """Whether another piece as well appears where a mother of this area was, when her daughters do: she died."""
    seen = movie.seen
    later = int(seen.frame[[one, two]].max())
    frames = range(int(seen.frame[mother]) + 1, later + 2)
    new = np.array([at for frame in frames for at in movie.newcomers.get(frame, ())], np.intp)
    new = new[~np.isin(seen.track[new], seen.track[[one, two]]) & (movie.ends[new] - new > FLICKER)]
    near = np.hypot(seen.y[new] - seen.y[mother], seen.x[new] - seen.x[mother]) <= 2 * math.sqrt(area / math.pi)
    return bool((near & (seen.area[new] + sum(areas) <= PIECES * area)).any())


def _gone_elsewhere(movie: TrackedMovie, first: int, sister: int) -> float:
    """The last frame of a daughter who then leaves the picture, or by whom a neighbour then grows; inf of others."""
    seen = movie.seen
    last = int(movie.ends[first]) - 1
    frame = int(seen.frame[last])
    if seen.edge[last]:
        return frame
    after = movie.in_frames(frame + 1, frame + 2)
    before = after - 1
    grew = (before >= 0) & (seen.track[before] == seen.track[after]) & (seen.track[after] != seen.track[sister])
    grew &= seen.area[after] - seen.area[before] >= GREW * seen.area[last]
    distance = np.hypot(seen.y[after] - seen.y[last], seen.x[after] - seen.x[last])
    return frame if (grew & (distance <= 1.5 * np.sqrt(seen.area[after] / math.pi))).any() else math.inf
