"""Tell from the areas and shapes of a cell that she rounded up, and since when her region holds both daughters.

A cell that divides becomes small and round, remains so for a while, becomes long and parts; daughters that touch are
one region with a waist for some frames more, and spread meanwhile. Two neighbours in one region do not become small and
round together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celltraces.tracking.daughters import TYPICAL
from celltraces.tracking.families import RECENT
from celltraces.tracking.sightings import TrackedMovie

LOOK = 30  # sightings before the daughters are apart, in which she was flat and rounded up
FLAT = 8, 3  # sightings before she rounded up: how many are looked at, and how many there are at least
USUALLY = 75  # percentile of her areas in LOOK sightings: what she has when she is flat
SHRUNK = 0.9  # of her flat area: what is left when she is round, at most
ROUND = 0.8  # short axis by long axis when she is roundest, at least
ROUNDER = 0.1  # by how much more than before
TOGETHER = 6  # sightings in which a region holds both daughters, at most
LONG, WAIST = 0.65, 0.96  # roundness and filling of such a region, at most
SWELLS = 1.3  # of her area when she was round: what the first such region has, at most; else a neighbour is in it


class Mitosis(NamedTuple):
    """A mother who rounded up. Areas in pixels."""

    flat: float  # her area before
    small: float  # her area when she was round
    last: int  # position of her last sighting as one cell: in those after it, her region holds both daughters


def became_round(area: np.ndarray, roundness: np.ndarray) -> bool:
    """Whether a cell is round in one of her last TYPICAL sightings, and was larger or longer before.

    (N,) each, in the order of time; RECENT sightings before the last are looked at. What always was round did not.
    """
    area, roundness = area[-RECENT - 1 :], roundness[-RECENT - 1 :]
    if area.size < 2 * TYPICAL or roundness[-TYPICAL:].max() < ROUND:
        return False
    rounder = roundness[-TYPICAL:].max() - np.median(roundness[:-TYPICAL])
    return bool(rounder >= ROUNDER or area[-TYPICAL:].min() <= SHRUNK * np.median(area[:-TYPICAL]))


def rounded_up(movie: TrackedMovie, start: int, mother: int) -> Mitosis | None:
    """What is told of a cell that rounded up before her region parted; None of one that did not.

    start, mother: her first position and that of her region's last sighting.
    """
    area, roundness, filling = movie.seen.area, movie.seen.roundness, movie.seen.filling
    last = mother
    while last > start and mother - last < TOGETHER and roundness[last] <= LONG:
        last -= 1
    usual = np.percentile(area[max(start, last + 1 - LOOK) : last + 1], USUALLY)
    first = last + 1
    while first > start and area[first - 1] <= SHRUNK * usual:
        first -= 1
    before, small = slice(max(start, first - FLAT[0]), first), slice(first, last + 1)
    if small.start == small.stop or before.stop - before.start < FLAT[1]:
        return None
    flat, least = float(np.median(area[before])), float(np.median(area[small]))
    roundest = first + int(np.argmax(roundness[small]))
    rounder = roundness[roundest] - float(np.median(roundness[before]))
    if least > SHRUNK * flat or roundness[roundest] < ROUND or rounder < ROUNDER:
        return None
    while last < mother and (roundness[last + 1] > LONG or filling[last + 1] > WAIST):
        last += 1
    if last < mother and area[last + 1] > SWELLS * area[last]:
        return None
    return Mitosis(flat, least, last)
