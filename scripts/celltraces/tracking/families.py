"""Measure a mother and what may be her daughters."""

from __future__ import annotations

import math
from statistics import median
from typing import NamedTuple

import numpy as np

from celltraces.tracking.daughters import TYPICAL, first_areas
from celltraces.tracking.sightings import TrackedMovie

RECENT = 8  # sightings of the mother before she divides, in which her area and shape are looked at


class Limits(NamedTuple):
    """Parameters of the config: frames in which a cell may be missed, how round a mother is, frames spent apart."""

    max_gap: int
    roundness: float
    frames: int


class Family(NamedTuple):
    """A mother and two daughters, as positions in the sightings, and what is measured of them; lengths in pixels."""

    movie: TrackedMovie
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
    left: float  # from her centre to that of the larger daughter, by her diameter

    @property
    def both(self) -> float:
        """Area of the daughters together."""
        return sum(self.areas)

    @property
    def ratio(self) -> float:
        """Area of the smaller daughter by that of the larger one."""
        return min(self.areas) / max(self.areas)


def family_of(movie: TrackedMovie, start: int, mother: int, one: int, two: int, limits: Limits) -> Family:
    """What is measured, of positions: the first and last of the mother, and the first of each daughter."""
    seen = movie.seen
    recent = slice(max(start, mother + 1 - RECENT), mother + 1)
    own = seen.area[recent].tolist()
    area = float(median(own[-TYPICAL:]))
    largest = max(area, float(sorted(own)[-2:][0]))
    areas, new_areas = first_areas(movie, one, two)
    off, left = _distances(movie, mother, one, two, areas, largest)
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
        left=left,
    )


def _distances(
    movie: TrackedMovie, mother: int, one: int, two: int, areas: tuple[float, float], area: float
) -> tuple[float, float]:
    """`off` and `left` of a family whose daughters have these areas, by the diameter of a disk of `area`."""
    y, x = ([float(axis[at]) for at in (one, two, mother)] for axis in (movie.seen.y, movie.seen.x))
    diameter = 2 * math.sqrt(area / math.pi)
    (a, b), larger = areas, int(np.argmax(areas))
    centre = [(a * axis[0] + b * axis[1]) / (a + b) for axis in (y, x)]
    return (
        math.hypot(centre[0] - y[2], centre[1] - x[2]) / diameter,
        math.hypot(y[larger] - y[2], x[larger] - x[2]) / diameter,
    )
