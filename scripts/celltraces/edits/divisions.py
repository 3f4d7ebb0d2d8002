"""Carry divisions through edits: those of the base labels' lineage, and those that a person marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from celltraces.edits.records import Edit
from celltraces.edits.regions import Regions


class DivisionOfRegions(NamedTuple):
    """A division, by rows of regions: the parent's last one, and the first one of each daughter."""

    parent: int
    daughters: tuple[int, ...]
    edit: Edit | None = None  # None: it is in the lineage of the base labels


def base_divisions(regions: Regions, origins: Mapping[int, tuple[int, int]]) -> list[DivisionOfRegions]:
    """The divisions of a lineage of the base labels: parent and frame of division by cell."""
    by_parent: dict[int, list[int]] = {}
    for cell in sorted(origins):
        rows = np.flatnonzero(regions.label == cell)
        if len(rows):
            by_parent.setdefault(origins[cell][0], []).append(int(rows[0]))
    found = []
    for parent, daughters in sorted(by_parent.items()):
        rows = np.flatnonzero(regions.label == parent)
        if len(rows):
            found.append(DivisionOfRegions(int(rows[-1]), tuple(daughters)))
    return found


def settle(
    divisions: Iterable[DivisionOfRegions], cell: np.ndarray, regions: Regions
) -> tuple[dict[int, tuple[int, int]], dict[str, str]]:
    """The lineage after all edits, and why edits do not count in it any more, by their ids.

    cell: (R,) the final cell of each region. A cell divides once and has one parent: the last division that says so
    counts. A parent that is still there when a daughter appears, after a join for one, is not its parent. The frame of
    division is the first one in which any of the daughters is seen.
    """
    kept: dict[int, tuple[DivisionOfRegions, set[int]]] = {}  # by parent
    parent_of: dict[int, int] = {}
    reasons: dict[str, str] = {}
    ends: dict[int, tuple[int, int]] = {}  # first and last frame of cells

    def ends_of(number: int) -> tuple[int, int]:
        if number not in ends:
            frames = regions.frame[cell == number]
            ends[number] = int(frames[0]), int(frames[-1])
        return ends[number]

    for division in divisions:
        parent = int(cell[division.parent])
        daughters = {int(cell[row]) for row in division.daughters} - {0, parent}
        if parent:
            daughters = {number for number in daughters if ends_of(number)[0] > ends_of(parent)[1]}
        if not parent or not daughters:
            if division.edit is not None:
                reasons[division.edit.id] = "after other edits the parent or its daughters are not there as marked"
            continue
        if parent in kept:
            _drop(kept, parent, parent_of, reasons, division)
        for daughter in daughters & parent_of.keys():
            before = parent_of[daughter]
            kept[before][1].discard(daughter)
            if not kept[before][1]:
                _drop(kept, before, parent_of, reasons, division)
        kept[parent] = division, daughters
        parent_of |= dict.fromkeys(daughters, parent)
    origins = {}
    for parent, (_, daughters) in kept.items():
        frame = min(ends_of(daughter)[0] for daughter in daughters)
        origins |= dict.fromkeys(daughters, (parent, frame))
    return dict(sorted(origins.items())), reasons


def _drop(
    kept: dict[int, tuple[DivisionOfRegions, set[int]]],
    parent: int,
    parent_of: dict[int, int],
    reasons: dict[str, str],
    later: DivisionOfRegions,
) -> None:
    """Forget the division of a parent, since a later one says otherwise."""
    division, daughters = kept.pop(parent)
    for daughter in daughters:
        del parent_of[daughter]
    if division.edit is not None:
        assert later.edit is not None
        reasons[division.edit.id] = f"{later.edit.by} says otherwise later"
