"""Read and write edits: one line of JSON for each decision of a person, in {output_dir}/edits/{author}.jsonl.

Lines are only ever appended. A line that was not written to its end, or that this version does not understand, is left
where it is, not used, and reported.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from celltraces.errors import UserError

VERSION = 1
SUFFIX = ".jsonl"
OPS = ("good", "bad", "exclude", "split", "join", "swap", "delete", "divide", "seen", "undo")
TRACK_OPS = ("split", "join", "swap", "delete", "divide")  # they change labels or lineage; the others only tables
# What became of an edit. Of the first two it has its effect.
APPLIED, RENUMBERED = "applied", "applied, renumbered"
LOST, DOUBTFUL, UNDONE, OVERRULED, REFUSED = "lost", "doubtful", "undone", "overruled", "refused"
UNUSED = "unused"  # its FOV is not processed
AUTHOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
WHEN = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII)
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # of an id, in the order of their values
LONGEST_LINE = 64_000  # bytes
MOST_DAUGHTERS = 16


class Anchor(NamedTuple):
    """A region of the base labels (tracked, or corrected by a file): its number and where it is.

    n: its number when the edit was made. y, x: a pixel in it. area: its pixels. box: half-open (y0, x0, y1, x1).
    labels: fingerprint of all regions of that frame (celltraces.edits.regions.fingerprint); "" where it is unknown.
    """

    n: int
    frame: int
    y: int
    x: int
    area: int
    box: tuple[int, int, int, int]
    labels: str = ""


@dataclass(frozen=True)
class Edit:
    """A decision. The fields that an operation needs are in NEEDED; the others are None or empty."""

    id: str
    by: str
    when: str  # UTC, as 2026-11-26T10:04:13.123Z
    dataset: str
    fov: int
    op: str
    cell: Anchor | None = None
    other: Anchor | None = None  # "with" in the file
    daughters: tuple[Anchor, ...] = ()
    frame: int | None = None  # of swap and divide; a split is at the frame of its cell
    frames: tuple[int, int] | None = None  # first and last, both included
    of: str | None = None  # the edit that an undo takes back
    note: str = ""

    @property
    def order(self) -> tuple[str, str]:
        """Edits count in this order, whatever file they are in."""
        return self.when, self.id


NEEDED: Mapping[str, tuple[str, ...]] = {
    "good": ("cell",),
    "bad": ("cell",),
    "exclude": ("frames",),  # cell: None for all cells
    "split": ("cell",),
    "join": ("cell", "with"),
    "swap": ("cell", "with", "frame"),
    "delete": ("cell",),  # frames: None for all
    "divide": ("cell", "daughters", "frame"),
    "seen": ("cell",),
    "undo": ("of",),
}
MAY_HAVE: Mapping[str, tuple[str, ...]] = {"exclude": ("cell",), "delete": ("frames",)}


# ------------------------------------------------------------------------------------------------------ one line


def parse_line(line: str) -> Edit:
    """The edit of a line. Raises ValueError that says in a few words what is wrong."""
    try:
        written = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("this is not JSON") from None
    return from_json(written)


def from_json(written: Any) -> Edit:
    """The edit that a decoded line says. Raises ValueError that says in a few words what is wrong."""
    if not isinstance(written, dict):
        raise ValueError("this is no JSON object")
    if written.get("v") != VERSION or isinstance(written.get("v"), bool):
        raise ValueError(f"its version v is {_shown(written.get('v'))}; this release reads {VERSION}")
    op = written.get("op")
    if op not in OPS:
        raise ValueError(f"op is {_shown(op)}; allowed are {', '.join(OPS)}")
    fields: dict[str, Any] = {}
    for name in (*NEEDED[op], *MAY_HAVE.get(op, ())):
        value = written.get(name)
        if value is None:
            if name in NEEDED[op]:
                raise ValueError(f"{op} needs {name!r}")
        elif name in ("cell", "with"):
            fields["other" if name == "with" else name] = _anchor(value, name, written)
        elif name == "daughters":
            if not isinstance(value, list) or not 1 <= len(value) <= MOST_DAUGHTERS:
                raise ValueError(f"daughters is to be a list of 1 to {MOST_DAUGHTERS} cells")
            fields[name] = tuple(_anchor(daughter, "a daughter", written) for daughter in value)
        elif name == "frames":
            if not isinstance(value, list) or len(value) != 2:
                raise ValueError("frames is to be [first, last]")
            first, last = (_whole(number, "frames") for number in value)
            if last < first:
                raise ValueError(f"frames is [{first}, {last}]; the first is not to be after the last")
            fields[name] = first, last
        elif name == "frame":
            fields[name] = _whole(value, name)
        else:
            fields[name] = _text(written, name, ID)
    note = written.get("note", "")
    if not _is_text(note):
        raise ValueError("note is to be a text")
    dataset = written.get("dataset")
    if not _is_text(dataset) or not dataset:
        raise ValueError("dataset is to be a name")
    edit = Edit(
        id=_text(written, "id", ID),
        by=_text(written, "by", AUTHOR),
        when=_text(written, "when", WHEN),
        dataset=dataset,
        fov=_whole(written.get("fov"), "fov"),
        op=op,
        note=note,
        **fields,
    )
    try:
        _milliseconds_of(edit.when)
    except ValueError:
        raise ValueError(f"when is {_shown(edit.when)}, a day that there is not") from None
    return edit


def _is_text(value: Any) -> bool:
    """Whether a value is a text that can be written in UTF-8: JSON may name halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _anchor(value: Any, name: str, written: Mapping[str, Any]) -> Anchor:
    """An anchor of a line. `labels` of the line is about the frame of its cell, and of others in the same frame."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is to be an object with n, frame, y, x, area, box")
    box = value.get("box")
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"box of {name} is to be [y0, x0, y1, x1]")
    y0, x0, y1, x1 = (_whole(number, f"box of {name}") for number in box)
    if y0 >= y1 or x0 >= x1:
        raise ValueError(f"box of {name} is empty")
    numbers = {key: _whole(value.get(key), f"{key} of {name}") for key in ("n", "frame", "y", "x", "area")}
    if numbers["n"] < 1 or numbers["area"] < 1:
        raise ValueError(f"n and area of {name} are to be 1 or more")
    cell = written.get("cell")
    same_frame = isinstance(cell, dict) and cell.get("frame") == numbers["frame"]
    own = value.get("labels", written.get("labels", "") if same_frame else "")
    if not _is_text(own):
        raise ValueError("labels is to be a text")
    return Anchor(**numbers, box=(y0, x0, y1, x1), labels=own)


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ValueError(f"{name} is {_shown(value)}, which is to be a whole number from 0")
    return value


def _text(written: Mapping[str, Any], name: str, allowed: re.Pattern[str]) -> str:
    value = written.get(name)
    if not isinstance(value, str) or not allowed.fullmatch(value):
        raise ValueError(f"{name} is {_shown(value)}, which is to be like {_EXAMPLES[name]}")
    return value


_EXAMPLES = {
    "id": "01KB0000000000000000000000",
    "of": "01KB0000000000000000000000",
    "by": "anna (letters, digits, . _ -)",
    "when": "2026-11-26T10:04:13.123Z",
}


def _shown(value: Any) -> str:
    return repr(value)[:60]


def to_json(edit: Edit) -> dict[str, Any]:
    """An edit as the object of its line; `from_json` reverses it."""
    written: dict[str, Any] = {"v": VERSION}
    written |= {name: getattr(edit, name) for name in ("id", "by", "when", "dataset", "fov", "op")}
    if edit.cell is not None:
        written["cell"] = _anchor_json(edit.cell)
        written["labels"] = written["cell"].pop("labels")
    if edit.other is not None:
        written["with"] = _anchor_json(edit.other)
    if edit.daughters:
        written["daughters"] = list(map(_anchor_json, edit.daughters))
    written |= {name: value for name in ("frame", "of", "note") if (value := getattr(edit, name)) not in (None, "")}
    if edit.frames is not None:
        written["frames"] = list(edit.frames)
    return written


def _anchor_json(anchor: Anchor) -> dict[str, Any]:
    return {**anchor._asdict(), "box": list(anchor.box)}


def line_of(edit: Edit) -> str:
    """An edit as a line, without its end."""
    return json.dumps(to_json(edit), ensure_ascii=False, separators=(",", ":"))


# --------------------------------------------------------------------------------------------------- names and ids


def author_file(folder: Path, author: str) -> Path:
    """The file of an author. Raises UserError for a name that is no safe name of a file."""
    if not AUTHOR.fullmatch(author):
        raise UserError(
            f"author: {author!r} is no name for a file of edits; use letters, digits and . _ - (at most 64, the first "
            "a letter or digit)"
        )
    return Path(folder) / f"{author}{SUFFIX}"


def id_and_date(after: Edit | None = None, now: Callable[[], float] = time.time) -> tuple[str, str]:
    """A new id and `when`, both later than those of `after`, the author's last edit, also if the clock went back."""
    milliseconds = int(now() * 1000)
    number = (milliseconds << 80) | secrets.randbits(80)
    if after is not None:
        before = _number_of(after.id)
        milliseconds = max(milliseconds, _milliseconds_of(after.when), before >> 80)
        number = max((milliseconds << 80) | (number & ((1 << 80) - 1)), before + 1)
        milliseconds = number >> 80
    seconds, rest = divmod(milliseconds, 1000)
    when = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"
    return "".join(DIGITS[(number >> shift) & 31] for shift in range(125, -1, -5)), when


def _number_of(edit_id: str) -> int:
    number = 0
    for digit in edit_id:
        number = number << 5 | DIGITS.index(digit)
    return number & ((1 << 128) - 1)


def _milliseconds_of(when: str) -> int:
    import calendar

    return calendar.timegm(time.strptime(when[:19], "%Y-%m-%dT%H:%M:%S")) * 1000 + int(when[20:23])


# ------------------------------------------------------------------------------------------------------------- files


def append(path: Path, edit: Edit) -> None:
    """Add an edit to its author's file; it is on the disk when this returns.

    A last line that was not written to its end stays, and the new one begins on a line of its own. Raises UserError
    where the file cannot be written; then the edit is not saved.
    """
    text = line_of(edit)
    assert from_json(json.loads(text)) == edit, "an edit that could not be read again"
    data = text.encode() + b"\n"
    if len(data) > LONGEST_LINE:
        raise UserError(f"{path}: an edit of {len(data)} bytes; at most {LONGEST_LINE} are allowed; shorten its note")
    try:
        new_folder = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                data = b"\n" + data
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        finally:
            os.close(file)
        for folder in (path.parent,) * new + (path.parent.parent,) * new_folder:
            _sync_folder(folder)
    except OSError as error:
        raise UserError(f"{path}: the edit is not saved ({error.strerror}); make this file writable") from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_edits(folder: Path) -> tuple[list[Edit], list[str]]:
    """The edits of all authors in the order in which they count, and a line for each that is not used.

    folder: `edits` in the folder of results; it need not exist. Raises UserError for a file that cannot be read.
    """
    by_id: dict[str, Edit] = {}
    notes: list[str] = []
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        edits, of_file = read_file(path)
        notes += of_file
        for edit in edits:
            same = by_id.setdefault(edit.id, edit)
            if same != edit:
                notes.append(f"{path}: the id {edit.id} is there twice with different content; the earlier one is used")
                by_id[edit.id] = min(same, edit, key=lambda either: (either.order, line_of(either)))
    return sorted(by_id.values(), key=lambda edit: edit.order), notes


def read_file(path: Path) -> tuple[list[Edit], list[str]]:
    """The edits of one file in the order of its lines, and a line for each that is not used."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable, or move it away") from None
    edits, notes = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            edits.append(parse_line(line.decode("utf-8-sig" if number == 1 else "utf-8")))
        except ValueError as error:
            why = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
            torn = " (this last line was not written to its end)" if number == len(lines) else ""
            notes.append(f"{path}, line {number}: not used, {why}{torn}")
    return edits, notes
