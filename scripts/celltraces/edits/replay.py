"""Replay edits on the base labels of a FOV: which cell each region is, what counts, and what became of each edit.

A region is a label in a frame of the base labels. Edits are taken in the order of their times; each finds its regions
by its anchors, which point into the base and so never depend on other edits. Edits of tracks and exclusions mean the
cell that holds a region when their turn comes; good, bad and seen mean the one that holds it in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from celltraces.edits.anchors import LabelAt, NotThere, find_region
from celltraces.edits.divisions import DivisionOfRegions, base_divisions, settle
from celltraces.edits.records import APPLIED, LOST, OVERRULED, REFUSED, RENUMBERED, Edit
from celltraces.edits.regions import Regions
from celltraces.edits.undo import in_force

Origins = Mapping[int, tuple[int, int]]
"""Parent and frame of division of each cell that has a parent."""


class Outcome(NamedTuple):
    """What became of an edit. cell: the present number of the cell that it means, None where there is none."""

    status: str
    reason: str
    cell: int | None


@dataclass(frozen=True, eq=False)
class Result:
    """What edits make of the R regions of a FOV."""

    cell: np.ndarray  # (R,) int64: the cell of each region, 0 for background
    good: Mapping[int, bool]  # verdict by cell; cells without one are left to the filters
    excluded: np.ndarray  # (R,) bool: regions of single cells that are left out of the tables
    excluded_frames: frozenset[int]  # frames that are left out of the tables for all cells
    origins: Origins
    seen: frozenset[int]  # cells that were reviewed
    outcomes: Mapping[str, Outcome]  # by id of the edit, in the order in which edits count

    @property
    def cells(self) -> list[int]:
        """The numbers of all cells."""
        return np.unique(self.cell[self.cell > 0]).tolist()

    def frames_of(self, regions: Regions, cell: int) -> tuple[int, int]:
        """First and last frame of a cell."""
        frames = regions.frame[self.cell == cell]
        return int(frames[0]), int(frames[-1])


class Refusal(Exception):
    """An edit that contradicts the cells as they are when its turn comes."""


class Anchored(NamedTuple):
    """The rows of the regions that an edit names."""

    cell: int | None
    other: int | None
    daughters: tuple[int, ...]


class State:
    """What edits change one after the other. `owner` (R,) int32 is the cell of each region, 0 for background.

    Cells that edits made have numbers above all labels here, which `numbers` puts in order in the end.
    """

    def __init__(self, regions: Regions) -> None:
        self.regions = regions
        self.owner = regions.label.astype(np.int32)
        self.highest = int(regions.label.max(initial=0))
        self.next = self.highest + 1
        self.excluded = np.zeros(len(self.owner), bool)
        self.excluded_frames: set[int] = set()
        self.divisions: list[DivisionOfRegions] = []
        self.swaps: dict[tuple[int, int, int], Edit] = {}

    def cell_of(self, row: int | None) -> int:
        """The cell of a region. Raises Refusal where it was deleted."""
        assert row is not None
        if not self.owner[row]:
            raise Refusal("an earlier edit deleted this region")
        return int(self.owner[row])

    def rows_of(self, cell: int) -> np.ndarray:
        """The rows of a cell's regions, by frame."""
        return np.flatnonzero(self.owner == cell)

    def frames_of(self, cell: int) -> np.ndarray:
        """The frames of a cell, sorted."""
        return self.regions.frame[self.rows_of(cell)]

    def new_cell(self, rows: np.ndarray) -> int:
        """Make a new cell of these regions."""
        self.owner[rows] = self.next
        self.next += 1
        return self.next - 1

    def numbers(self) -> np.ndarray:
        """(R,) int64: the final numbers; new cells are numbered by first frame, then y and x of their box's middle."""
        cell = self.owner.astype(np.int64)
        rows = np.flatnonzero(cell > self.highest)
        new, first = np.unique(cell[rows], return_index=True)  # rows are sorted by frame
        box = self.regions.box[rows[first]]
        order = np.lexsort((box[:, 1] + box[:, 3], box[:, 0] + box[:, 2], self.regions.frame[rows[first]]))
        number = np.zeros(self.next, np.int64)
        number[new[order]] = self.highest + 1 + np.arange(len(new))
        cell[rows] = number[cell[rows]]
        return cell


# -------------------------------------------------------------------------------------------------- the operations


def _split(state: State, edit: Edit, at: Anchored) -> None:
    rows = state.rows_of(state.cell_of(at.cell))
    later = state.regions.frame[rows] >= state.regions.frame[at.cell]
    if later.all():
        raise Refusal(f"the cell begins in frame {state.regions.frame[at.cell]}; there is nothing before to split from")
    state.new_cell(rows[later])


def _join(state: State, edit: Edit, at: Anchored) -> None:
    one, other = _two_cells(state, at)
    frames, other_frames = state.frames_of(one), state.frames_of(other)
    both = np.intersect1d(frames, other_frames)
    if len(both):
        raise Refusal(f"both cells are in frame {both[0]}; split one of them first")
    kept, gone = (one, other) if frames[0] < other_frames[0] else (other, one)
    state.owner[state.owner == gone] = kept


def _swap(state: State, edit: Edit, at: Anchored) -> None:
    one, other = sorted(_two_cells(state, at))
    frame = _frame(state, edit)
    before = state.swaps.get((one, other, frame))
    if before is not None and before.by != edit.by:
        raise Refusal(f"{before.by} has exchanged these cells from frame {frame} on already; undo that to take it back")
    rows, other_rows = (rows[state.regions.frame[rows] >= frame] for rows in (state.rows_of(one), state.rows_of(other)))
    if not len(rows) and not len(other_rows):
        raise Refusal(f"neither cell is there from frame {frame} on")
    state.owner[rows], state.owner[other_rows] = other, one
    state.swaps[one, other, frame] = edit


def _two_cells(state: State, at: Anchored) -> tuple[int, int]:
    one, other = state.cell_of(at.cell), state.cell_of(at.other)
    if one == other:
        raise Refusal("both are the same cell")
    return one, other


def _delete(state: State, edit: Edit, at: Anchored) -> None:
    state.owner[_rows_in_frames(state, edit, at)] = 0


def _exclude(state: State, edit: Edit, at: Anchored) -> None:
    if at.cell is None:
        assert edit.frames is not None
        first, last = edit.frames
        _refuse_beyond(state, first)
        state.excluded_frames.update(range(first, min(last, state.regions.n_frames - 1) + 1))
    else:
        state.excluded[_rows_in_frames(state, edit, at)] = True


def _rows_in_frames(state: State, edit: Edit, at: Anchored) -> np.ndarray:
    """The rows of the edit's cell in the edit's frames."""
    rows = state.rows_of(state.cell_of(at.cell))
    if edit.frames is not None:
        first, last = edit.frames
        frames = state.regions.frame[rows]
        rows = rows[(frames >= first) & (frames <= last)]
        if not len(rows):
            raise Refusal(f"the cell is in none of the frames {first} to {last}")
    return rows


def _divide(state: State, edit: Edit, at: Anchored) -> None:
    """The parent ends before the frame. What follows of it is a new cell: a daughter, if it or only one is named."""
    frame = _frame(state, edit)
    parent = state.cell_of(at.cell)
    rows = state.rows_of(parent)
    before = state.regions.frame[rows] < frame
    if not before.any():
        raise Refusal(f"the parent is not there before frame {frame}")
    rest, last = rows[~before], int(rows[before][-1])
    firsts = {}
    for row in at.daughters:
        daughter = state.cell_of(row)
        if daughter == parent:
            if state.regions.frame[row] < frame:
                raise Refusal("the parent cannot be its own daughter")
            firsts[parent] = int(rest[0])
        else:
            first = int(state.rows_of(daughter)[0])
            if state.regions.frame[first] < frame:
                raise Refusal(
                    f"a daughter is there from frame {state.regions.frame[first]} on, before the division in frame "
                    f"{frame}; split it first"
                )
            firsts[daughter] = first
    if len(rest):
        state.new_cell(rest)
        if len(firsts) == 1:
            firsts[parent] = int(rest[0])
    state.divisions.append(DivisionOfRegions(last, tuple(sorted(firsts.values())), edit))


def _frame(state: State, edit: Edit) -> int:
    assert edit.frame is not None
    _refuse_beyond(state, edit.frame)
    return edit.frame


def _refuse_beyond(state: State, frame: int) -> None:
    if frame >= state.regions.n_frames:
        raise NotThere(LOST, f"there is no frame {frame}; the movie has {state.regions.n_frames}")


def _verdict(state: State, edit: Edit, at: Anchored) -> None:
    """good, bad and seen are looked up in the end, in `_verdicts`."""


_APPLY: Mapping[str, Callable[[State, Edit, Anchored], None]] = {
    "good": _verdict,
    "bad": _verdict,
    "seen": _verdict,
    "exclude": _exclude,
    "split": _split,
    "join": _join,
    "swap": _swap,
    "delete": _delete,
    "divide": _divide,
}


# ------------------------------------------------------------------------------------------------------------ replay


def replay(regions: Regions, edits: Iterable[Edit], label_at: LabelAt, origins: Origins | None = None) -> Result:
    """Apply the edits of one FOV, in the order of their times, whatever the order given.

    label_at: asked only where a frame's labels are others than when an edit was made. origins: the lineage of the base
    labels. Raises nothing for an edit: what cannot be applied is in the outcomes.
    """
    edits = sorted(edits, key=lambda edit: edit.order)
    counting, others = in_force(edits)
    state = State(regions)
    state.divisions += base_divisions(regions, origins or {})
    status = dict(others)
    anchored: dict[str, Anchored] = {}
    for edit in counting:
        try:
            at, moved = _find_all(regions, edit, label_at)
            anchored[edit.id] = at
            _APPLY[edit.op](state, edit, at)
            status[edit.id] = (RENUMBERED, moved) if moved else (APPLIED, "")
        except NotThere as problem:
            status[edit.id] = problem.status, str(problem)
        except Refusal as problem:
            status[edit.id] = REFUSED, str(problem)
    cell = state.numbers()
    lineage, superseded = settle(state.divisions, cell, regions)
    for edit_id, reason in superseded.items():
        status[edit_id] = OVERRULED, reason
    good, seen = _verdicts(counting, anchored, cell, status)

    def cell_now(edit: Edit) -> int | None:
        row = anchored[edit.id].cell if edit.id in anchored else None
        return None if row is None else int(cell[row]) or None

    return Result(
        cell=cell,
        good=good,
        excluded=state.excluded & (cell > 0),
        excluded_frames=frozenset(state.excluded_frames),
        origins=lineage,
        seen=seen,
        outcomes={edit.id: Outcome(*status.get(edit.id, (APPLIED, "")), cell_now(edit)) for edit in edits},
    )


def _find_all(regions: Regions, edit: Edit, label_at: LabelAt) -> tuple[Anchored, str]:
    """The regions that an edit names, and what to say where their numbers are others now."""
    moved = []

    def find(anchor: object) -> int | None:
        if anchor is None:
            return None
        row = find_region(regions, anchor, label_at)
        if regions.label[row] != anchor.n:
            moved.append(f"cell {anchor.n} of the edit has the number {regions.label[row]} now")
        return row

    at = Anchored(find(edit.cell), find(edit.other), tuple(map(find, edit.daughters)))
    return at, "; ".join(moved)


def _verdicts(
    edits: Iterable[Edit], anchored: Mapping[str, Anchored], cell: np.ndarray, status: dict[str, tuple[str, str]]
) -> tuple[dict[int, bool], frozenset[int]]:
    """What good, bad and seen say in the end, by cell; writes into `status` what does not count."""
    last: dict[int, Edit] = {}
    earlier: dict[int, list[Edit]] = {}
    seen = set()
    for edit in edits:
        if edit.op not in ("good", "bad", "seen") or edit.id not in anchored:
            continue
        number = int(cell[anchored[edit.id].cell])
        if not number:
            status[edit.id] = REFUSED, "another edit deletes this region"
        elif edit.op == "seen":
            seen.add(number)
        else:
            last[number] = edit
            earlier.setdefault(number, []).append(edit)
    for number, of_cell in earlier.items():
        for edit in of_cell:
            if edit.op != last[number].op:
                status[edit.id] = OVERRULED, f"{last[number].by} says {last[number].op} later"
    return {number: edit.op == "good" for number, edit in last.items()}, frozenset(seen)
