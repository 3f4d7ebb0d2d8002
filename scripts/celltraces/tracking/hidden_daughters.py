"""Part regions in which a daughter lies with a neighbour from her first frame on.

Later frames tell this where the two come apart soon (`shared_regions`). Where they do not, earlier ones may: the mother
loses half of her area at once, and the neighbour's region grows by the other half. So it does where segmentation moves
a border, or one cell slides over another. So the mother has to have rounded up, and what is left of her and what the
region holds beyond the neighbour's shape have to be round halves of her, evenly about her centre and clear of each
other. Whether she divided is decided later, as of any other cell (`divisions`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from celltraces.labels.shapes import shapes_of_pixels
from celltraces.tracking.overlap import SETTLED
from celltraces.tracking.region_pixels import divide, moved_pixels, pixels_of
from celltraces.tracking.region_window import Frame, Links, go_on, links_between, shares, take_apart

SMALL = 3  # frames, before her last one, in which she may have been small and round already
RECENT = 8  # frames before her last one in which she is looked at, at most
FLAT = 3  # frames before these in which her area and roundness are known, at least
SHRUNK = 0.9  # of her area then: what is left when she is round, at most
ROUNDER = 0.1  # by how much she became rounder, at least, where she did not shrink
ROUND = 0.75  # short axis by long axis in her last frame, at least
FILLED = 0.95  # of the ellipse with the same second moments, in her last frame, at least
HALF = 0.3, 0.7  # of her area: the daughter in a region of her own
SOON = 0.8  # of her area: what that daughter has in her second frame, at most; what lost a part for a moment has more
HELD = 0.1  # of her pixels, at least: what either region holds of them
BOTH = 0.8, 1.3  # of her area: both daughters
EQUAL = 0.5  # area of the smaller daughter by that of the larger one, at least
OFF_CENTRE = 0.2  # of her diameter: from her centre to that of both daughters, at most
FAR = 0.45  # of her diameter: from one daughter to the other, at least; halves of a disk are 0.42 apart
ROUND_DAUGHTER = 0.55  # short axis by long axis, at least; half a disk has 0.5
FILLED_DAUGHTER = 0.9  # as FILLED
SAME = 1.2  # times as large: what the neighbour's own part is against his region before, at most
COVERED = 0.75  # of the neighbour's region before, moved along: what his own part covers, at least


def became_round(areas: np.ndarray, roundness: np.ndarray, filling: np.ndarray) -> bool:
    """Whether a cell is round in the last of these frames, (N,) in the order of time, and was larger or longer."""
    before = slice(0, max(0, areas.size - 1 - SMALL))
    if before.stop < FLAT or roundness[-1] < ROUND or filling[-1] < FILLED:
        return False
    shrank = areas[-1] <= SHRUNK * np.median(areas[before])
    return bool(shrank or roundness[-1] >= np.median(roundness[before]) + ROUNDER)


def part_of_neighbour(
    mother: np.ndarray, neighbour: np.ndarray, daughter: np.ndarray, region: np.ndarray, shape: tuple[int, ...]
) -> list[np.ndarray] | None:
    """The neighbour's own part of a region, and that of a daughter in it; None where nothing tells that she is there.

    All are pixels, as ascending positions in the flat frame (H, W): of the mother and of the neighbour when they were
    seen last, moved along with the stage, of the other daughter, and of the region.
    """
    if not neighbour.size or not HALF[0] * mother.size <= daughter.size <= HALF[1] * mother.size:
        return None
    if not BOTH[0] * mother.size <= daughter.size + region.size - neighbour.size <= BOTH[1] * mother.size:
        return None
    own, piece = divide(region, [neighbour, np.setdiff1d(mother, daughter)], shape)
    of = shapes_of_pixels([mother, daughter, piece, neighbour, own], shape)
    diameter = 2 * math.sqrt(of.area[0] / math.pi)
    both = int(of.area[1:3].sum())
    off = [(of.area[1:3] * axis[1:3]).sum() / both - axis[0] for axis in (of.y, of.x)]
    apart = math.hypot(of.y[1] - of.y[2], of.x[1] - of.x[2])
    halves = (
        BOTH[0] * mother.size <= both <= BOTH[1] * mother.size
        and of.area[1:3].min() >= EQUAL * of.area[1:3].max()
        and math.hypot(*off) <= OFF_CENTRE * diameter
        and apart >= FAR * diameter
        and of.roundness[1:3].min() >= ROUND_DAUGHTER
        and of.filling[1:3].min() >= FILLED_DAUGHTER
    )
    step = np.rint([of.y[4] - of.y[3], of.x[4] - of.x[3]]).astype(np.int64)
    covered = np.intersect1d(moved_pixels(neighbour, step, shape), own, assume_unique=True).size
    remains = 1 / SAME <= own.size / neighbour.size <= SAME and covered >= COVERED * neighbour.size
    return [own, piece] if halves and remains else None


def part_hidden(window: list[Frame], links: list[Links], step: int, shape: tuple[int, ...]) -> None:
    """Part regions of the frame after `step` in which a daughter lies with a neighbour; in place.

    Her mother, in frame `step`, is half as large at once, and what she has lost is in the neighbour's region.
    """
    if step < 0 or window[step].scene != window[step + 1].scene:
        return
    here, areas, before = links[step], window[step + 1].area, window[step]
    goes_on = here.after >= 0
    half = ~goes_on
    half[goes_on] = areas[here.after[goes_on]] <= HALF[1] * before.area[goes_on]
    for mother in np.flatnonzero(half).tolist():
        count = shares(window[step + 1], pixels_of(before.runs, mother), before.place, shape)
        after = np.argsort(-count, kind="stable")[:2]
        if after.size < 2 or count[after].min() <= HELD * before.area[mother]:
            continue
        for daughter, region in (after.tolist(), after[::-1].tolist()):
            neighbour = int(here.before[region])
            elsewhere = neighbour in (-1, mother) or here.after[neighbour] != region
            if not elsewhere and here.before[daughter] in (-1, mother):
                part_if_hidden(window, links, step + 1, step, [mother, neighbour], [daughter, region], shape)


def part_if_hidden(
    window: list[Frame],
    links: list[Links],
    at: int,
    step: int,
    sources: Sequence[int],
    after: Sequence[int],
    shape: tuple[int, ...],
) -> bool:
    """Part a region in which a daughter lies with a neighbour since frame step + 1, there and later; in place.

    after: two entries of frame step + 1; sources: those of frame at - 1 in which they lie, -1: in none. In the frames
    between, if there are any, they are one region. Returns whether one of them was parted.
    """
    if len({*sources} - {-1}) != 2 or not len(sources) == len(after) == 2 or step + SETTLED >= len(window):
        return False
    earlier, now = window[at - 1], window[step + 1]
    for (mother, neighbour), (daughter, region) in zip((sources, sources[::-1]), (after, after[::-1]), strict=True):
        if now.area[daughter] > HALF[1] * earlier.area[mother] or not _was_round(window, links, at - 1, mother, shape):
            continue
        if not go_on(links, range(step + 1, step + 2), [daughter], True):
            continue
        if window[step + 2].area[links[step + 1].after[daughter]] > SOON * earlier.area[mother]:
            continue
        before = [
            moved_pixels(pixels_of(earlier.runs, entry), now.place - earlier.place, shape)
            for entry in (mother, neighbour)
        ]
        parts = part_of_neighbour(*before, *(pixels_of(now.runs, entry) for entry in (daughter, region)), shape)
        if parts is not None:
            _part_ahead(window, links, step + 1, region, parts, shape)
            return True
    return False


def _was_round(window: list[Frame], links: list[Links], last: int, entry: int, shape: tuple[int, ...]) -> bool:
    """Whether a cell rounded up until frame `last`."""
    pixels = [pixels_of(window[last].runs, entry)]
    for at in range(last - 1, max(-1, last - 1 - RECENT), -1):
        before = int(links[at].before[entry])
        if before < 0 or links[at].after[before] != entry:
            break
        entry = before
        pixels.insert(0, pixels_of(window[at].runs, entry))
    of = shapes_of_pixels(pixels, shape)
    return became_round(of.area, of.roundness, of.filling)


def _part_ahead(
    window: list[Frame], links: list[Links], at: int, region: int, parts: list[np.ndarray], shape: tuple[int, ...]
) -> None:
    """Part a region of frame `at`, and what it becomes while its two parts are one region; in place.

    In SETTLED frames: cells that were apart for so long are kept apart by linking.
    """
    entry, members, pair = region, [0, 1], [0, 1]
    for frame in range(at, at + SETTLED):
        if frame > at:
            after = links[frame - 1].after
            entry = int(after[pair[0]])
            if entry < 0 or after[pair[1]] != entry:
                break
            members = np.flatnonzero(after == entry).tolist()
            before = [pixels_of(window[frame - 1].runs, member) for member in members]
            parts = divide(pixels_of(window[frame].runs, entry), before, shape)
        entries = [entry, *range(window[frame].area.size, window[frame].area.size + len(parts) - 1)]
        take_apart(window[frame], entry, parts, shape[1])
        pair = [entries[members.index(one)] for one in pair]
        for changed in (frame - 1, frame):
            if 0 <= changed < len(links):
                links[changed] = links_between(window[changed], window[changed + 1], shape)
