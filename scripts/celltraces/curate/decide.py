"""Keep the decisions of a person: read those of all authors, check a new one by a replay, save it.

Records and their replay are those of celltraces.edits, which the workflow uses too: what the page shows is what the
tables will say.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from celltraces.curate.scan import file_stamp
from celltraces.edits import records
from celltraces.edits.anchors import LabelAt, make_anchor
from celltraces.edits.records import APPLIED, DOUBTFUL, LOST, REFUSED, RENUMBERED, Anchor, Edit
from celltraces.edits.regions import Regions
from celltraces.edits.replay import Origins, Result, replay
from celltraces.errors import UserError

STANDING = (APPLIED, RENUMBERED)
PROBLEMS = (LOST, DOUBTFUL, REFUSED)  # statuses of edits that a person should look at again
Image = Callable[[int], np.ndarray]
"""frame -> the base labels of it, (H, W)."""


class RefusedDecision(UserError):
    """A decision that is not saved, because it contradicts the cells as they are, or nothing can be saved."""


class Author:
    """One person's file of edits, and a view of everybody's. May be used by several threads."""

    def __init__(self, folder: Path, name: str) -> None:
        """folder: `edits` in the folder of results. Raises UserError for a name that is no safe name of a file."""
        self.folder, self.name = folder, name
        self.file = records.author_file(folder, name)
        self.saving = threading.Lock()
        self._known: tuple[dict[str, str], list[Edit], list[str]] | None = None
        self._lock: IO[str] | None = None
        self.why_not = self._claim()

    def _claim(self) -> str:
        """Hold this author's file until this process ends. Returns why nothing can be saved; "" where it can."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / f".{self.name}.lock", "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            return f"Nothing can be saved: {self.folder} cannot be written to ({error.strerror}); make it writable."
        if not os.access(self.folder, os.W_OK) or (self.file.exists() and not os.access(self.file, os.W_OK)):
            return f"Nothing can be saved: {self.file} cannot be written to; make it writable."
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return (
                f"Another server of the author {self.name} is at work on these results, so nothing is saved from this "
                "one: use its page, stop it, or start this one with --author NAME."
            )
        except (ImportError, OSError):
            pass  # no locks here: lines are appended whole all the same
        return ""

    def edits(self) -> tuple[list[Edit], list[str]]:
        """The edits of all authors, in the order in which they count, and a line for each that is not used."""
        now = self._stamps()
        if self._known is None or self._known[0] != now:
            self._known = now, *records.read_edits(self.folder)
        return self._known[1:]

    def _stamps(self) -> dict[str, str]:
        try:
            files = sorted(self.folder.glob(f"*{records.SUFFIX}"))
        except OSError:
            files = []
        return {file.name: file_stamp(file) for file in files}

    def of_fov(self, dataset: str, fov: int) -> list[Edit]:
        """The edits of a FOV by all authors."""
        return [edit for edit in self.edits()[0] if (edit.dataset, edit.fov) == (dataset, fov)]

    def next_stamp(self) -> tuple[str, str]:
        """Id and time of the next edit: after all that this author has seen, so that it counts over them."""
        edits = self.edits()[0]
        return records.id_and_date(max(edits, key=lambda edit: edit.order, default=None))

    def save(self, edit: Edit) -> None:
        """Append an edit to the author's file; it is on the disk when this returns."""
        self.edits()
        assert self._known is not None
        stamps, edits, notes = self._known
        records.append(self.file, edit)
        # Of the own file alone: what others appended meanwhile is still to be read.
        stamps = {**stamps, self.file.name: file_stamp(self.file)}
        self._known = stamps, sorted([*edits, edit], key=lambda other: other.order), notes


def labels_at(image: Image) -> LabelAt:
    """The base label on a pixel, as replay asks for it."""

    def label_at(frame: int, y: int, x: int) -> int:
        labels = image(frame)
        inside = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
        return int(labels[y, x]) if inside else 0

    return label_at


def edit_of(request: Mapping[str, Any], author: Author, regions: Regions, now: Result, image: Image) -> Edit:
    """The edit that the page asks for, anchored in the base labels.

    request: op; cell, other and daughters by the numbers that the page shows; frame; frames, both ends included; of;
    note. Raises Refused for what makes no sense.
    """
    frame = _whole(request.get("frame", 0), "frame")

    def anchor(cell: Any, wanted: int, first: int = 0, last: int = regions.n_frames) -> Anchor:
        return _anchor(regions, now, image, _whole(cell, "cell"), wanted, first, last)

    fields: dict[str, Any] = {}
    op = request.get("op")
    frames = request.get("frames")
    if frames is not None:
        if not isinstance(frames, list) or len(frames) != 2:
            raise RefusedDecision("frames is to be [first, last]")
        fields["frames"] = tuple(_whole(end, "frames") for end in frames)
    if request.get("cell") is not None:
        if op == "split":
            fields["cell"] = anchor(request["cell"], frame, first=frame)
        elif op == "divide":
            fields["cell"] = anchor(request["cell"], frame - 1, last=frame)
        else:
            fields["cell"] = anchor(request["cell"], frame)
    if request.get("other") is not None:
        fields["other"] = anchor(request["other"], frame)
    if op == "divide":
        daughters = request.get("daughters")
        if not isinstance(daughters, list) or len(daughters) > records.MOST_DAUGHTERS:
            raise RefusedDecision("daughters is to be a list of cells")
        fields["daughters"] = tuple(anchor(daughter, frame, first=frame) for daughter in daughters)
    if op in ("swap", "divide"):
        fields["frame"] = frame
    if request.get("of") is not None:
        fields["of"] = request["of"]
    note = request.get("note", "")
    edit_id, when = author.next_stamp()
    place = str(request.get("dataset")), _whole(request.get("fov"), "fov")
    try:
        edit = Edit(edit_id, author.name, when, *place, op, note=note, **fields)  # type: ignore[arg-type]
        return records.from_json(records.to_json(edit))
    except (ValueError, TypeError, AttributeError) as error:
        raise RefusedDecision(f"this is no decision: {error}") from None


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise RefusedDecision(f"{name} is to be a whole number")
    return value


def _anchor(regions: Regions, now: Result, image: Image, cell: int, wanted: int, first: int, last: int) -> Anchor:
    """An anchor of a cell as it is after all edits, in the frame next to `wanted` of those from `first` to before
    `last` that show the cell."""
    rows = np.flatnonzero(now.cell == cell) if cell else np.zeros(0, np.intp)
    if not rows.size:
        raise RefusedDecision(f"there is no cell {cell}")
    frames = regions.frame[rows]
    inside = rows[(frames >= first) & (frames < last)]
    for row in inside[np.argsort(np.abs(regions.frame[inside] - wanted), kind="stable")].tolist():
        try:
            return make_anchor(regions, row, image(int(regions.frame[row])))
        except ValueError:
            continue  # it lies under another cell there
    where = f" from frame {first} on" if first else f" before frame {last}" if last < regions.n_frames else ""
    raise RefusedDecision(f"cell {cell} is in no frame{where}")


def outcome_of_all(
    regions: Regions, edits: Sequence[Edit], image: Image, origins: Origins | None, new: Edit | None = None
) -> Result:
    """What the edits make of the cells. new: one that is to be saved; raises Refused where it would have no effect."""
    result = replay(regions, [*edits, new] if new else edits, labels_at(image), origins)
    if new and new.op == "undo":
        target = next((edit for edit in edits if edit.id == new.of), None)
        if target is None:
            raise RefusedDecision("there is no such decision on this FOV to take back")
        if any(edit.of == new.of and result.outcomes[edit.id].status == APPLIED for edit in edits if edit.op == "undo"):
            raise RefusedDecision("it is taken back already")
    elif new and result.outcomes[new.id].status not in STANDING:
        raise RefusedDecision(result.outcomes[new.id].reason)
    elif new and (same := [edit for edit in edits if _says_the_same(edit, new, result)]):
        before = replay(regions, edits, labels_at(image), origins)
        if any(before.outcomes[edit.id].status in STANDING for edit in same):
            raise RefusedDecision(f"you decided that already: {words(new, result, regions)}")
    return result


def _says_the_same(edit: Edit, new: Edit, result: Result) -> bool:
    """Whether the new mark is one that its author made before; one with another note is not."""
    same = (edit.by, edit.op, edit.note, edit.frames) == (new.by, new.op, new.note, new.frames)
    cells = result.outcomes[edit.id].cell, result.outcomes[new.id].cell
    return new.op in ("good", "bad", "exclude") and same and cells[0] == cells[1]


# ------------------------------------------------------------------------------------------------------ in words

_WORDS = {
    "good": "good, cell {cell}",
    "bad": "bad, cell {cell}",
    "seen": "seen, cell {cell}",
    "split": "split off cell {cell} from frame {frame} on",
    "join": "joined into cell {cell}",
    "swap": "swapped cells {cell} and {other} from frame {frame} on",
    "delete": "deleted cell {cell}{frames}",
    "exclude": "left out{cells}{frames}",
    "divide": "cell {cell} divides in frame {frame}",
    "undo": "undo",
}


def words(edit: Edit, result: Result, regions: Regions) -> str:
    """An edit in a few words, with the present numbers of its cells; those that it had where they are gone."""
    number = result.outcomes[edit.id].cell or (edit.cell.n if edit.cell else None)
    other = number_now(edit.other, result, regions) if edit.other else None
    if edit.op == "swap" and number and other:
        number, other = sorted((number, other))  # after it, each is where the other one was chosen
    frames = ""
    if edit.frames:
        first, last = edit.frames
        frames = f", frame {first}" if first == last else f", frames {first} to {last}"
    frame = edit.frame if edit.frame is not None else edit.cell.frame if edit.cell else None
    cells = f" cell {number}" if edit.cell else " all cells"
    return _WORDS[edit.op].format(cell=number, other=other, frame=frame, frames=frames, cells=cells)


def number_now(anchor: Anchor, result: Result, regions: Regions) -> int:
    """The cell that holds a region now; the number that it had where the labels of its frame are others by now."""
    same = anchor.frame < regions.n_frames and anchor.labels == regions.fingerprint(anchor.frame)
    row = regions.row(anchor.frame, anchor.n) if same else None
    return anchor.n if row is None else int(result.cell[row]) or anchor.n


def subject(edit: Edit, edits: Sequence[Edit]) -> tuple[Edit, int]:
    """The decision that an edit is about, and how many undos lie between: 0 for itself, 1 for an undo, 2 for a redo."""
    by_id, times = {other.id: other for other in edits}, 0
    while edit.op == "undo" and edit.of in by_id:
        edit, times = by_id.pop(edit.of), times + 1  # each once: lines written by hand may go round in a circle
    return edit, times


def marked_frames(edit: Edit) -> list[int]:
    """Frames at which the time slider marks an edit."""
    if edit.op in ("good", "bad", "seen", "undo"):
        return []
    if edit.frames:
        return [edit.frames[0]]
    return [edit.frame if edit.frame is not None else edit.cell.frame] if edit.cell else []


def user_name(name: str) -> str:
    """An author's name made of that of an account."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "me"
