"""Check divisions against where cells are, and write and read the lineage table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from celltraces.errors import UserError
from celltraces.files import write_text

COLUMNS = ("fov", "cell", "first_frame", "last_frame", "parent", "division_frame")
TRACE_COLUMNS = ("parent", "division_frame")
NONE = "NaN"


class Division(NamedTuple):
    """A cell divides: `frame` is the first one in which any of its daughters is seen."""

    parent: int
    daughters: tuple[int, ...]
    frame: int


Seen = Mapping[int, tuple[int, int]]
"""First and last frame of each cell."""


def checked_divisions(divisions: Iterable[Division], seen: Seen, where: str) -> tuple[list[Division], list[str]]:
    """Divisions that agree with where the cells are, sorted by parent, and a line for everything that was mended.

    Daughters that are nowhere are left out, and a wrong frame is replaced by the daughters' first. Raises UserError
    (its line starts with `where`) for divisions that contradict themselves or the cells.
    """
    kept, notes = [], []
    parent_of: dict[int, int] = {}
    for parent, daughters, frame in sorted(divisions):
        if any(division.parent == parent for division in kept):
            raise UserError(f"{where}: cell {parent} divides twice; keep one of the divisions")
        for daughter in daughters:
            if daughter == parent:
                raise UserError(f"{where}: cell {parent} is its own daughter; correct the division")
            if parent_of.setdefault(daughter, parent) != parent:
                raise UserError(
                    f"{where}: cell {daughter} has two parents, {parent_of[daughter]} and {parent}; keep one of them"
                )
        present = tuple(sorted({daughter for daughter in daughters if daughter in seen}))
        notes += [
            f"daughter {daughter} of cell {parent} is in no frame: left out" for daughter in {*daughters} - {*present}
        ]
        if not present:
            notes.append(f"division of cell {parent}: it has no daughters: left out")
            continue
        if parent not in seen:
            raise UserError(f"{where}: cell {parent} divides and is in no frame; remove the division")
        first = min(seen[daughter][0] for daughter in present)
        if first != frame:
            notes.append(f"division of cell {parent}: frame {frame} was written, its daughters appear in {first}")
        kept.append(Division(parent, present, first))
    for daughter in parent_of:
        line = [daughter]
        while (above := parent_of.get(line[-1])) is not None:
            if above in line:
                cycle = " > ".join(map(str, reversed(line[line.index(above) :])))
                raise UserError(f"{where}: the divisions go round in a circle ({cycle}); correct them")
            line.append(above)
    for parent, daughters, frame in kept:
        if seen[parent][1] >= frame:
            raise UserError(
                f"{where}: cell {parent} is still there in frame {seen[parent][1]}, and its daughters "
                f"{', '.join(map(str, daughters))} appear in frame {frame}; end the parent before, or drop the division"
            )
    return kept, notes


def first_and_last(frames: Iterable[Iterable[int]]) -> dict[int, tuple[int, int]]:
    """First and last frame of each cell, from the cells of each frame."""
    seen: dict[int, tuple[int, int]] = {}
    for frame, cells in enumerate(frames):
        seen |= {int(cell): (seen.get(int(cell), (frame,))[0], frame) for cell in cells}
    return seen


def write_lineage(path: Path, fov: int, seen: Seen, divisions: Iterable[Division]) -> None:
    """One row per cell: where it is, and which cell and division it came from (NaN: from none)."""
    origin = {daughter: (division.parent, division.frame) for division in divisions for daughter in division.daughters}
    rows = [(fov, cell, *seen[cell], *origin.get(cell, (NONE, NONE))) for cell in sorted(seen)]
    write_text(path, "\n".join(",".join(map(str, row)) for row in [COLUMNS, *rows]) + "\n")


def read_table(path: Path) -> dict[int, tuple[int, int]]:
    """(parent, division_frame) of each cell that has a parent."""
    with open(path, encoding="utf-8", newline="") as file:
        return {
            int(row["cell"]): (int(row["parent"]), int(row["division_frame"]))
            for row in csv.DictReader(file)
            if row["parent"] != NONE
        }


def longest_lines(n_frames: Mapping[int, int], origins: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """For each cell the frames of the longest line of descent that it is part of: mothers and daughters count together.

    n_frames: the frames in which each cell is seen. origins: parent and frame of birth, of cells that have a parent.
    """
    daughters: dict[int, list[int]] = {}
    for cell, (parent, _) in origins.items():
        daughters.setdefault(parent, []).append(cell)
    before: dict[int, int] = {}  # frames of a cell and all before her
    waiting = [(cell, 0) for cell in {*n_frames, *daughters} - {*origins}]
    order = []
    while waiting:
        cell, above = waiting.pop()
        order.append(cell)
        before[cell] = above + n_frames.get(cell, 0)
        waiting += [(daughter, before[cell]) for daughter in daughters.get(cell, ())]
    after: dict[int, int] = {}  # frames of all after a cell, along the longest way
    for cell in reversed(order):
        after[cell] = max((n_frames.get(one, 0) + after[one] for one in daughters.get(cell, ())), default=0)
    return {cell: before[cell] + after[cell] for cell in order if cell in n_frames}


def divisions_of(origins: Mapping[int, tuple[int, int]]) -> list[Division]:
    """The divisions in what `read_table` gave, sorted by parent."""
    by_parent: dict[int, list[int]] = {}
    for cell in sorted(origins):
        by_parent.setdefault(origins[cell][0], []).append(cell)
    return [
        Division(parent, tuple(daughters), origins[daughters[0]][1]) for parent, daughters in sorted(by_parent.items())
    ]
