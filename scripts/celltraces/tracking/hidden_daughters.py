"""Part regions in which a daughter lies with a neighbour from her first frame on.

Later frames tell this where the two come apart soon (`shared_regions`). Where they do not, earlier ones may: the mother
loses half of her area at once, and the neighbour's region grows by the other half. So it does where segmentation moves
a border, or one cell slides over another. So the mother has to have rounded up, and what is left of her and what the
region holds beyond the neighbour's shape have to be round halves of her, evenly about her centre and clear of each
other. Whether she divided is decided later, as of any other cell (`divisions`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celltraces.labels.shapes import shapes_of_pixels
from celltraces.tracking.families import RECENT
from celltraces.tracking.halves import LARGEST, SUM, are_round_halves
from celltraces.tracking.mitosis import became_round
from celltraces.tracking.overlap import SETTLED
from celltraces.tracking.region_pixels import divide, moved_pixels, pixels_of_entry
from celltraces.tracking.region_window import Links, WindowFrame, go_on, links_between, shares, take_apart

HELD = 0.1  # of her pixels, at least: what either region holds of them
COVERED = 0.75  # of the neighbour's region before, moved along: what his own part covers, at least


def part_of_neighbour(
    mother: np.ndarray, neighbour: np.ndarray, daughter: np.ndarray, region: np.ndarray, shape: tuple[int, ...]
) -> list[np.ndarray] | None:
    """The neighbour's own part of a region, and that of a daughter in it; None where nothing tells that she is there.

    All are pixels, as ascending positions in the flat frame (H, W): of the mother and of the neighbour when they were
    seen last, moved along with the stage, of the other daughter, and of the region.
    """
    if not neighbour.size or not SUM[0] <= (daughter.size + region.size - neighbour.size) / mother.size <= SUM[1]:
        return None
    own, piece = divide(region, [neighbour, np.setdiff1d(mother, daughter)], shape)
    of = shapes_of_pixels([mother, daughter, piece, neighbour, own], shape)
    step = np.rint([of.y[4] - of.y[3], of.x[4] - of.x[3]]).astype(np.int64)
    covered = np.intersect1d(moved_pixels(neighbour, step, shape), own, assume_unique=True).size
    family = (column[:3] for column in (of.area, of.y, of.x, of.roundness, of.filling))
    return [own, piece] if covered >= COVERED * neighbour.size and are_round_halves(*family) else None


def part_hidden(window: list[WindowFrame], links: list[Links], step: int, shape: tuple[int, ...]) -> None:
    """Part regions of the frame after `step` in which a daughter lies with a neighbour; in place.

    Her mother, in frame `step`, is half as large at once, and what she has lost is in the neighbour's region.
    """
    if step < 0 or window[step].scene != window[step + 1].scene:
        return
    here, areas, before = links[step], window[step + 1].area, window[step]
    goes_on = here.after >= 0
    half = ~goes_on
    half[goes_on] = areas[here.after[goes_on]] <= LARGEST * before.area[goes_on]
    for mother in np.flatnonzero(half).tolist():
        count = shares(window[step + 1], pixels_of_entry(before.runs, mother), before.place, shape)
        after = np.argsort(-count, kind="stable")[:2]
        if after.size < 2 or count[after].min() <= HELD * before.area[mother]:
            continue
        for daughter, region in (after.tolist(), after[::-1].tolist()):
            neighbour = int(here.before[region])
            elsewhere = neighbour in (-1, mother) or here.after[neighbour] != region
            if not elsewhere and here.before[daughter] in (-1, mother):
                part_if_hidden(window, links, step + 1, step, [mother, neighbour], [daughter, region], shape)


def part_if_hidden(
    window: list[WindowFrame],
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
        if now.area[daughter] > LARGEST * earlier.area[mother] or not _was_round(window, links, at - 1, mother, shape):
            continue
        if not go_on(links, range(step + 1, step + 2), [daughter], True):
            continue
        if window[step + 2].area[links[step + 1].after[daughter]] > LARGEST * earlier.area[mother]:
            continue  # she lost a part for a moment
        before = [
            moved_pixels(pixels_of_entry(earlier.runs, entry), now.place - earlier.place, shape)
            for entry in (mother, neighbour)
        ]
        parts = part_of_neighbour(*before, *(pixels_of_entry(now.runs, entry) for entry in (daughter, region)), shape)
        if parts is not None:
            _part_ahead(window, links, step + 1, region, parts, shape)
            return True
    return False


def _was_round(window: list[WindowFrame], links: list[Links], last: int, entry: int, shape: tuple[int, ...]) -> bool:
    """Whether a cell rounded up until frame `last`."""
    pixels = [pixels_of_entry(window[last].runs, entry)]
    for at in range(last - 1, max(-1, last - 1 - RECENT), -1):
        before = int(links[at].before[entry])
        if before < 0 or links[at].after[before] != entry:
            break
        entry = before
        pixels.insert(0, pixels_of_entry(window[at].runs, entry))
    of = shapes_of_pixels(pixels, shape)
    return became_round(of.area, of.roundness)


def _part_ahead(
    window: list[WindowFrame], links: list[Links], at: int, region: int, parts: list[np.ndarray], shape: tuple[int, ...]
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
            before = [pixels_of_entry(window[frame - 1].runs, member) for member in members]
            parts = divide(pixels_of_entry(window[frame].runs, entry), before, shape)
        entries = [entry, *range(window[frame].area.size, window[frame].area.size + len(parts) - 1)]
        take_apart(window[frame], entry, parts, shape[1])
        pair = [entries[members.index(one)] for one in pair]
        for changed in (frame - 1, frame):
            if 0 <= changed < len(links):
                links[changed] = links_between(window[changed], window[changed + 1], shape)
