"""Tell which edits are in force: those that no undo takes back."""

from __future__ import annotations

from collections.abc import Iterable

from celltraces.edits.records import LOST, REFUSED, UNDONE, Edit


def in_force(edits: Iterable[Edit]) -> tuple[list[Edit], dict[str, tuple[str, str]]]:
    """The edits of any FOVs that count, undos left out, in the order given; and status and reason of the others, by id.

    An undo can itself be taken back, which is a redo. One that names no edit of its FOV takes nothing back. Undos that
    are in force are in neither.
    """
    edits = list(edits)
    by_id = {edit.id: edit for edit in edits}
    undos: dict[str, list[Edit]] = {edit.id: [] for edit in edits}
    others: dict[str, tuple[str, str]] = {}
    for edit in edits:
        if edit.op == "undo":
            target = by_id.get(edit.of or "")
            if target is None or (target.dataset, target.fov) != (edit.dataset, edit.fov):
                others[edit.id] = LOST, f"there is no edit {edit.of} of this FOV"
            else:
                undos[target.id].append(edit)
    counts: dict[str, bool] = {}
    waiting = {edit.id: len(undos[edit.id]) for edit in edits}
    ready = [edit.id for edit in edits if not waiting[edit.id]]
    while ready:
        edit = by_id[ready.pop()]
        counts[edit.id] = not any(counts[undo.id] for undo in undos[edit.id])
        if edit.op == "undo" and edit.id not in others:
            assert edit.of is not None
            waiting[edit.of] -= 1
            if not waiting[edit.of]:
                ready.append(edit.of)
    for edit in edits:
        if edit.id not in counts:
            counts[edit.id] = False
            others[edit.id] = REFUSED, "undos take each other back in a circle"
        elif not counts[edit.id]:
            last = max((undo for undo in undos[edit.id] if counts[undo.id]), key=lambda undo: undo.order)
            others[edit.id] = UNDONE, f"taken back by {last.by}"
    return [edit for edit in edits if counts[edit.id] and edit.op != "undo"], others
