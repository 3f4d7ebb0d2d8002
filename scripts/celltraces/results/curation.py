"""Read a person's decisions about cells (curation.csv, inspected traces) and apply them to traces.

Two ways, both beside the results, both surviving every rerun: `{dataset}_fov_000_traces_inspected.csv` beside the
traces, as PyAMA's viewer writes it (the traces with other values in `good`), and `curation.csv` in the folder of all
results with the columns dataset, fov, cell, good and, if wanted, note and the place of the cell: frame, x, y. Where
both name a cell, curation.csv counts. apply_curation.py finds the cells of the present labels that are meant, by place,
and writes {dataset}_fov_000_decisions.csv.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from celltraces.errors import UserError
from celltraces.paths import DECISIONS, TAKEN_IN, TRACES

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("dataset", "fov", "cell", "good")
PLACE = ("frame", "x", "y")
WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
APPLIED = "applied"  # status of a decision that counts
EDITS = "edits"  # source of a decision that comes from the edits of a person
SEPARATORS = {";": "semicolons", "\t": "tabs"}


class Flag(NamedTuple):
    """A row of curation.csv. frame, x, y: the place of the cell, None where the row does not say it."""

    fov: int
    cell: int | None  # None: the place alone says which
    good: bool
    frame: int | None = None
    x: float | None = None
    y: float | None = None


# ------------------------------------------------------------------------------------------------------- curation.csv


def read_curation(path: Path, shapes: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, list[Flag]]:
    """The rows of curation.csv by dataset; empty where there is no such file.

    shapes: of each FOV of a dataset [T, H, W]. Raises UserError with a line for each mistake.
    """
    flags: dict[str, dict[int, Flag]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            while rows.fieldnames is not None and not any(rows.fieldnames):
                rows.fieldnames = None  # a blank line above the header: the next one may be it
            rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
            _refuse_header(path, rows.fieldnames)
            mistakes = []
            for row in rows:
                if not any(row.values()):
                    continue  # spreadsheets leave rows of commas
                try:
                    dataset, flag = _flag(row, shapes)
                    flags.setdefault(dataset, {})[rows.line_num] = flag
                except ValueError as error:
                    mistakes.append(f"{path}, line {rows.line_num}: {error}")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); write it as CSV in UTF-8") from None
    mistakes += [f"{path}, {line}" for of_dataset in flags.values() for line in _contradictions(of_dataset)]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return {dataset: list(dict.fromkeys(of_dataset.values())) for dataset, of_dataset in flags.items()}


def _refuse_header(path: Path, names: Sequence[str]) -> None:
    absent = [name for name in COLUMNS if name not in names]
    if absent:
        for separator, words in SEPARATORS.items():
            if any(separator in name for name in names):
                raise UserError(f"{path}: its columns are separated by {words}; save it with commas between columns")
        raise UserError(f"{path}: the column {absent[0]!r} is missing; needed are {', '.join(COLUMNS)}")
    for name in (*COLUMNS, *PLACE):
        if names.count(name) > 1:
            raise UserError(f"{path}: the column {name!r} is there {names.count(name)} times; keep one of them")
    given = [name for name in PLACE if name in names]
    if given and len(given) < len(PLACE):
        raise UserError(f"{path}: it has the column {given[0]!r}; a place needs all of {', '.join(PLACE)}")


def _flag(row: Mapping[str | None, str | None], shapes: Mapping[str, Sequence[Sequence[int]]]) -> tuple[str, Flag]:
    """Dataset and flag of a row. Raises ValueError that says what is wrong."""
    if None in row:
        raise ValueError("it has more cells than there are columns; is there a decimal comma? Write a decimal point")
    dataset, good = (row["dataset"] or "").strip(), (row["good"] or "").strip().lower()
    if dataset not in shapes:
        raise ValueError(f"there is no dataset {dataset!r}; there are {', '.join(shapes)}")
    if good not in WORDS:
        raise ValueError(f"good is {good!r}; allowed are true and false")
    place = {name: (row.get(name) or "").strip() for name in PLACE}
    placed = [name for name in PLACE if place[name]]
    if placed and len(placed) < len(PLACE):
        raise ValueError(f"{placed[0]} is given; a place needs all of {', '.join(PLACE)}")
    by_place_alone = bool(placed) and not (row["cell"] or "").strip()
    fov, cell = _whole(row, "fov"), None if by_place_alone else _whole(row, "cell")
    n_fovs = len(shapes[dataset])
    if not 0 <= fov < n_fovs:
        raise ValueError(f"dataset {dataset} has no FOV {fov}; it has FOVs 0 to {n_fovs - 1}")
    if cell is not None and cell < 1:
        raise ValueError(f"cell is {cell}; cells have numbers from 1")
    if not placed:
        return dataset, Flag(fov, cell, WORDS[good])
    n_frames, height, width = shapes[dataset][fov]
    frame, x, y = _whole(row, "frame"), _number(row, "x"), _number(row, "y")
    for name, value, end in (("frame", frame, n_frames), ("x", x, width), ("y", y, height)):
        if not 0 <= value < end:
            raise ValueError(f"{name} is {value:g}; FOV {fov} of {dataset} has {name} 0 to {end - 1}")
    return dataset, Flag(fov, cell, WORDS[good], frame, x, y)


def _number(row: Mapping[str, str | None], name: str) -> float:
    text = (row[name] or "").strip()
    if "," in text:
        raise ValueError(f"{name} is {text!r}, with a decimal comma; write a decimal point")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, which is to be a number") from None


def _whole(row: Mapping[str, str | None], name: str) -> int:
    """A whole number; 11.0, as programs for statistics write it, is one."""
    try:
        value = _number(row, name)
        if value != int(value):
            raise ValueError
        return int(value)
    except (ValueError, OverflowError) as error:
        if "decimal comma" in str(error):
            raise
        raise ValueError(f"{name} is {row[name]!r}; fov, cell and frame are to be whole numbers") from None


def _contradictions(flags: Mapping[int, Flag]) -> Iterator[str]:
    """Rows, by line, that say of the same cell that it is good and that it is not."""
    by_cell: dict[tuple[object, ...], list[tuple[int, bool]]] = {}
    for line, flag in flags.items():
        by_cell.setdefault(flag._replace(good=True), []).append((line, flag.good))
    for flag, rows in by_cell.items():
        for (line, good), (other, other_good) in combinations(rows, 2):
            if good != other_good:
                what = f"cell {flag.cell}" if flag.cell else "the cell"
                yield f"line {other}: {what} of FOV {flag.fov} is {other_good} here and {good} in line {line}; keep one"
                break


# -------------------------------------------------------------------------------------------------------- what counts


WHOLE = ("fov", "cell", "frame", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1")


def read_traces(path: Path) -> pd.DataFrame:
    """The traces of a FOV: whole numbers int64, good bool, all others float64, also where the table has no row."""
    import pandas as pd

    with open(path, encoding="utf-8") as file:
        names = file.readline().strip().split(",")
    types = {**dict.fromkeys(names, "float64"), **dict.fromkeys(WHOLE, "int64"), "good": "bool"}
    return pd.read_csv(path, dtype={name: types[name] for name in names})


def good_traces(
    traces: Sequence[str], times_min: Sequence[Sequence[float]], decisions: Iterable[str]
) -> Iterator[pd.DataFrame]:
    """The good rows of the traces of each FOV, with the column `time_min` added; one FOV in memory at a time."""
    yield from (table[table["good"]] for table in judged_traces(traces, times_min, decisions))


def judged_traces(
    traces: Sequence[str], times_min: Sequence[Sequence[float]], decisions: Iterable[str]
) -> Iterator[pd.DataFrame]:
    """The traces of each FOV with those of cells taken in by hand, whether a row is `good` as a person decided, bool,
    and `time_min`; one FOV in memory at a time.

    traces: paths. times_min: times of the frames of each. decisions: the tables of those FOVs that have some, and
    those of cells that were taken in by hand.
    """
    import pandas as pd

    paths = list(map(Path, decisions))
    decided_on, more = (
        {path.name.removesuffix(end): path for path in paths if path.name.endswith(end)}
        for end in (DECISIONS, TAKEN_IN)
    )
    for path, times in zip(map(Path, traces), times_min, strict=True):
        table = read_traces(path)
        fov = path.name.removesuffix(TRACES)
        by_hand = read_traces(more[fov]).assign(good=False) if fov in more else None
        if by_hand is not None and len(by_hand):
            table = pd.concat([table, by_hand]) if len(table) else by_hand
            table = table.sort_values(["cell", "frame"], kind="stable", ignore_index=True)
        keep = table["good"].astype(bool)
        if fov in decided_on:
            for cell, frames, good in read_decisions(decided_on[fov]):
                meant = (table["cell"] == cell) | (cell is None)
                keep[meant if frames is None else meant & table["frame"].isin(frames)] = good
        minutes = pd.Series(times, dtype=float)[table["frame"]].to_numpy()
        yield table.assign(good=keep, time_min=minutes)


def read_decisions(path: Path) -> Iterator[tuple[int | None, set[int] | None, bool]]:
    """What a table of decisions says, later rows over earlier ones: cell and frames (None: all), good."""
    for row in _applied_rows(path):
        cell = int(row["cell_now"]) if row["cell_now"] else None
        yield cell, frames_of_text(row["frames"]), row["good"] == "True"


def read_old_ways(path: Path) -> list[tuple[int, int, set[int] | None, bool]]:
    """What a table of decisions says that does not come from edits: cell, a frame of it, frames (None: all), good."""
    return [
        (int(row["cell_now"]), int(row["frame"]), frames_of_text(row["frames"]), row["good"] == "True")
        for row in _applied_rows(path)
        if row["source"] != EDITS
    ]


def _applied_rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["status"] == APPLIED)


def taken_in(decisions: Path, kept: Collection[int]) -> list[int]:
    """The cells that a table of decisions calls good and that are not among those that filters keep, sorted."""
    good = {cell: is_good for cell, frames, is_good in read_decisions(decisions) if frames is None}
    return sorted(cell for cell, is_good in good.items() if is_good and cell is not None and cell not in kept)


def frames_text(frames: Iterable[int]) -> str:
    """Frame numbers as text: "3-7 9"."""
    parts: list[list[int]] = []
    for frame in sorted(frames):
        if parts and frame == parts[-1][1] + 1:
            parts[-1][1] = frame
        else:
            parts.append([frame, frame])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def frames_of_text(text: str) -> set[int] | None:
    """The reverse of `frames_text`; None for no text, which is all frames."""
    ends = [[int(end) for end in part.split("-")] for part in text.split()]
    return {frame for first, *last in ends for frame in range(first, (last or [first])[0] + 1)} or None
