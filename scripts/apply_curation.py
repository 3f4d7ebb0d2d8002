"""Find the cells that a person decided on, and write what became of each decision.

Numbers of cells change with every segmentation. A row of curation.csv is tied to a place (its own frame, x, y, or the
one remembered when it was first applied), a row of an inspected table to its box; what cannot be found again is
reported and not applied. The table has a row for each decision, those of the inspected table first, those of edits
last; of two about the same cell the later one counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from celltraces.edits import regions
from celltraces.edits.records import from_json
from celltraces.edits.replay import Result, replay
from celltraces.errors import UserError
from celltraces.files import csv_text, write_text
from celltraces.labels.regions import box_iou
from celltraces.paths import CURATION, PLACES
from celltraces.results import places
from celltraces.results.curation import APPLIED, EDITS, SEPARATORS, WORDS, Flag, frames_text
from celltraces.runs import job
from celltraces.storage import checksums
from celltraces.storage.cells import Get, open_store
from celltraces.storage.frames import open_frames

LOST, UNKNOWN, CONTRADICTED = "lost", "unknown", "contradicted"
SAME_BOX = 0.5  # intersection over union from which two boxes of a frame are those of the same cell
SHARE = 0.5  # of the frames of a cell in which its box is to be found again
LARGEST = 2**53  # a whole number beyond is not the same as a floating-point number
BOX = ["bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"]


class Decision(NamedTuple):
    """A row of the table. frames: those that are meant, as text; none for all of the cell's."""

    source: str  # file
    cell: int | None  # as it was written
    good: bool
    frame: int | None
    x: float | None
    y: float | None
    cell_now: int | None
    frames: str
    status: str
    reason: str


# ------------------------------------------------------------------------------------------------------- curation.csv


def of_curation(flags: Sequence[Flag], known: Mapping[int, places.Place], get: Get, pc: int) -> list[Decision]:
    """The decisions of curation.csv. known: remembered places by cell."""
    found = [_of_flag(flag, known, get, pc) for flag in flags]
    good = {decision.cell_now: set() for decision in found}
    for decision in found:
        good[decision.cell_now].add(decision.good)
    return [
        decision._replace(status=CONTRADICTED, reason="another row says the opposite of the same cell")
        if decision.cell_now is not None and len(good[decision.cell_now]) > 1
        else decision
        for decision in found
    ]


def _of_flag(flag: Flag, known: Mapping[int, places.Place], get: Get, pc: int) -> Decision:
    given = flag.frame is not None
    place = places.Place(flag.frame, flag.x, flag.y) if given else known.get(flag.cell)
    if place is None:
        return Decision(CURATION, flag.cell, flag.good, None, None, None, None, "", UNKNOWN, "there is no such cell")
    now = places.cell_at(get, pc, place)
    if now is None:
        status, reason = LOST, f"there is no cell within {places.NEAR:g} px of its place"
    else:
        status, reason = APPLIED, _renumbered(flag.cell, now)
    return Decision(CURATION, flag.cell, flag.good, *place, now, "", status, reason)


def _renumbered(cell: int | None, now: int) -> str:
    return "" if cell in (None, now) else f"its number is {now} now"


# --------------------------------------------------------------------------------------------------- inspected tables


def read_inspected(path: Path, fov: int) -> pd.DataFrame:
    """An inspected table: cell, frame, the box (int), and good (bool). Raises UserError for others."""
    needed = ["cell", "frame", "good", *BOX]
    try:
        table = pd.read_csv(path, dtype={"good": str})
        absent = [name for name in needed if name not in table]
        separated = [words for separator, words in SEPARATORS.items() if any(separator in name for name in table)]
        if absent and separated:
            raise ValueError(f"its columns are separated by {separated[0]}; save it with commas between columns")
        if absent:
            raise ValueError(f"the column {absent[0]!r} is missing")
        if not isinstance(table.index, pd.RangeIndex):  # so pandas takes rows that are longer than the header
            raise ValueError("rows have more cells than there are columns; is there a decimal comma?")
        table = table.dropna(how="all")  # spreadsheets leave rows of commas
        twice = next((name for name in needed if f"{name}.1" in table), None)  # so pandas names the second
        if twice:
            raise ValueError(f"the column {twice!r} is there twice; keep one of them")
        words = table["good"].str.strip().str.lower()
        unknown = table["good"][~words.isin(WORDS)]
        if len(unknown):
            raise ValueError(f"good is {unknown.iloc[0]!r}")
        numbers = table[["cell", "frame", *BOX]].astype(float)
        parts = numbers[(numbers.abs() >= LARGEST).any(axis=1) | (numbers % 1 != 0).any(axis=1)]
        if len(parts):
            raise ValueError("cell, frame and box are to be whole numbers")
        judged = numbers[["cell", "frame"]].assign(good=words.map(WORDS)).drop_duplicates()
        both = judged[judged.duplicated(["cell", "frame"])]
        if len(both):
            cell, frame = both.iloc[0, :2].astype(int)
            raise ValueError(f"cell {cell} is good and is not good in frame {frame}, in two rows; keep one of them")
        if "fov" in table and len(others := table["fov"][table["fov"] != fov]):
            raise ValueError(f"it is of FOV {others.iloc[0]}, and stands in the place of that of FOV {fov}")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a table of inspected traces ({reason}); mend it or delete it") from None
    return numbers.astype(int).assign(good=words.map(WORDS).astype(bool))


def of_inspected(source: str, table: pd.DataFrame, traces: pd.DataFrame) -> list[Decision]:
    """The decisions of an inspected table: cells of which it refuses some or all frames.

    What it calls good is in the traces already. traces: the present ones, with cell, frame and box.
    """
    by_frame = dict(iter(traces.groupby("frame")))
    refused = table[~table.groupby("cell")["good"].transform("all")]
    return [_of_cell(source, int(cell), rows, traces, by_frame) for cell, rows in refused.groupby("cell")]


def _of_cell(
    source: str, cell: int, rows: pd.DataFrame, traces: pd.DataFrame, by_frame: Mapping[int, pd.DataFrame]
) -> Decision:
    present = traces[traces["cell"] == cell].set_index("frame")
    bad = rows[~rows["good"]]
    middle = rows.iloc[len(rows) // 2]
    x, y = ((middle[f"bbox_{axis}0"] + middle[f"bbox_{axis}1"]) / 2 for axis in "xy")
    place = cell, False, int(middle["frame"]), float(x), float(y)
    if (
        rows["frame"].isin(present.index).all()
        and (present.loc[rows["frame"], BOX].to_numpy() == rows[BOX].to_numpy()).all()
    ):
        return Decision(source, *place, cell, frames_text(bad["frame"]), APPLIED, "")
    votes: dict[int, int] = {}
    for frame, box in zip(rows["frame"], rows[BOX].to_numpy(), strict=True):
        if frame in by_frame:
            candidates = by_frame[frame]
            overlap = box_iou(box, candidates[BOX].to_numpy())
            if overlap.max(initial=0) >= SAME_BOX:
                best = int(candidates["cell"].iloc[int(overlap.argmax())])
                votes[best] = votes.get(best, 0) + 1
    now = max(votes, key=lambda other: (votes[other], other == cell, -other), default=None)
    if now is None or votes[now] < SHARE * len(rows):
        found = votes.get(now, 0)
        reason = f"its box is found in {found} of {len(rows)} frames, in fewer than {SHARE:.0%}"
        return Decision(source, *place, None, "", LOST, reason)
    # A cell that was refused as a whole stays so, also in frames that it did not have.
    frames = "" if not rows["good"].any() else frames_text(bad["frame"])
    return Decision(source, *place, now, frames, APPLIED, _renumbered(cell, now))


# --------------------------------------------------------------------------------------------------------------- edits


def of_edits(found: regions.Regions, result: Result) -> list[Decision]:
    """The decisions of a person's edits: good and bad cells, then rows that are left out whatever the verdict."""

    def decision(cell: int | None, good: bool, frames: Iterable[int] = ()) -> Decision:
        return Decision(EDITS, cell, good, None, None, None, cell, frames_text(frames), APPLIED, "")

    decisions = [decision(cell, good) for cell, good in sorted(result.good.items())]
    for cell in np.unique(result.cell[result.excluded]).tolist():
        decisions.append(decision(cell, False, found.frame[result.excluded & (result.cell == cell)].tolist()))
    if result.excluded_frames:
        decisions.append(decision(None, False, result.excluded_frames))
    return decisions


# --------------------------------------------------------------------------------------------------------------- files


def as_csv(fov: int, decisions: Iterable[Decision]) -> str:
    """The table's text: fov, then what a decision holds."""
    return csv_text([("fov", *Decision._fields), *((fov, *decision) for decision in decisions)])


def main(
    cells: str,
    traces: str,
    output: str,
    remembered: Path,
    base: str | None = None,
    base_regions: str | None = None,
    *,
    fov: int,
    pc: int,
    flags: Sequence[Sequence[int | float | bool | None]],
    inspected: Iterable[str],
    edits: Sequence[Mapping[str, Any]] = (),
) -> None:
    """inspected: the FOV's table, if there is one. remembered: where the places of curation.csv's cells are.

    base: the labels that edits point into; base_regions: their regions, where edits changed tracks.
    """
    table = pd.read_csv(traces, usecols=["cell", "frame", *BOX])
    decisions = []
    for path in map(Path, inspected):
        decisions += of_inspected(path.name, read_inspected(path, fov), table)
    rows = [Flag(*flag) for flag in flags]
    places.remember_places(
        remembered, [flag.cell for flag in rows if flag.frame is None], [Path(cells)], pc, write=True
    )
    with open_store(Path(cells)) as get:
        decisions += of_curation(rows, places.read_places(remembered), get, pc)
    if base:
        found = regions.open_base(Path(cells), Path(base_regions) if base_regions else None)
        result = replay(found, map(from_json, edits), regions.label_reader(open_frames(Path(base))))
        decisions += of_edits(found, result)
    write_text(Path(output), as_csv(fov, decisions))
    for decision in decisions:
        if decision.status != APPLIED:
            job.log.warning("not applied: %s, cell %s: %s", decision.source, decision.cell, decision.reason)
    job.log.info("%d decisions", len(decisions))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        dataset, fov = snakemake.wildcards.dataset, snakemake.wildcards.fov
        main(
            snakemake.input.cells,
            snakemake.input.traces,
            snakemake.output.decisions,
            checksums.results_of(Path(snakemake.output.checksums)) / PLACES / f"{dataset}/fov_{fov}.csv",
            snakemake.input.get("base") or None,
            snakemake.input.get("base_regions") or None,
            fov=int(fov),
            **settings,
        )
