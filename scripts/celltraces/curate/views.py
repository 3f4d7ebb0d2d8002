"""Keep what the server knows of a FOV that is looked at: cells, traces, decisions; read again where they change."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.curate import cells as cell_lists
from celltraces.curate import decide, scan
from celltraces.curate.cells import Base, Cells, FovTraces
from celltraces.curate.decide import Author
from celltraces.curate.pixels import Reader
from celltraces.curate.scan import FovFiles
from celltraces.edits.records import Edit
from celltraces.edits.replay import Origins, Result
from celltraces.errors import UserError
from celltraces.labels import lineage
from celltraces.results.curation import read_old_ways

KEPT_VIEWS = 3  # FOVs whose cells and traces are kept in memory


@dataclass(frozen=True)
class View:
    """What is kept of a FOV while the page shows it; `version` changes when a run makes something of it anew.

    no_cells: why there are none to show and to decide on; "" where there are. problems: lines about what is damaged, or
    is not there at present.
    """

    fov: FovFiles
    version: str
    pc: int | None
    base: Base
    origins: Origins | None
    traces: FovTraces
    old_ways: list[tuple[int, int, set[int] | None, bool]]  # curation.csv and inspected tables, as `read_old_ways`
    limits: tuple[int, int]  # min_frames, border_margin
    too_large: list[int]  # frames in which the checks found a cell far above the usual size
    fits: dict[int, str]  # by cell in the tables: what is wrong with a fit
    no_cells: str = ""
    problems: tuple[str, ...] = ()
    arranged: dict[str, Arranged] = field(default_factory=dict)  # the last one, by the digest of who owns what
    replayed: dict[tuple[str, ...], Result] = field(default_factory=dict)  # the last one, by the ids of the edits


@dataclass(frozen=True)
class Arranged:
    """The cells of a FOV for one state of the edits of tracks, and what is said of them."""

    tracks: str
    cells: Cells
    left_out: list[str]
    scores: list[float]
    why: list[list[dict[str, Any]]]
    light: list[float | None]


@dataclass
class Results:
    """A folder of results, and what is kept of it in memory. command: what takes the decisions into the tables, where
    the results do not say how they were made."""

    folder: Path
    author: Author
    command: str
    reader: Reader = field(default_factory=Reader)
    datasets: dict[str, dict[int, FovFiles]] = field(default_factory=dict)
    views: OrderedDict[tuple[str, int], View] = field(default_factory=OrderedDict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def look_again(self) -> None:
        """List datasets and FOVs as they are now."""
        self.datasets = scan.scan(self.folder)

    def fov(self, dataset: str, number: int) -> FovFiles:
        """A FOV by name. Raises UserError where the results have none of that name."""
        for last_try in (False, True):
            found = self.datasets.get(dataset, {}).get(number)
            if found is not None:
                return found
            if not last_try:
                self.look_again()
        raise UserError(f"there is no FOV {number} of dataset {dataset!r} in these results")


def view(results: Results, dataset: str, number: int) -> View:
    """Cells and traces of a FOV, read again where a run replaced them."""
    fov = results.fov(dataset, number)
    now = scan.version(fov)
    key = dataset, number
    with results.lock:
        known = results.views.get(key)
        if known and known.version == now:
            results.views.move_to_end(key)
            return known
        made = _view(results, fov, now)
        results.views[key] = made
        while len(results.views) > KEPT_VIEWS:
            results.views.popitem(last=False)
    return made


def _view(results: Results, fov: FovFiles, version: str) -> View:
    pc = scan.phase_contrast(fov)
    params = scan.record(results.folder, fov.dataset).get("params", {})
    limits = int(params.get("min_frames") or 0), int(params.get("border_margin") or 0)
    problems: tuple[str, ...] = ()
    try:
        traces = cell_lists.read_traces_of_fov([fov.traces, fov.file(paths.TAKEN_IN)])
    except UserError as error:
        traces, problems = cell_lists.read_traces_of_fov([]), (str(error),)
    no_cells, base = _why_no_cells(fov, pc, copy_only=bool(params.get("copy_only"))), None
    try:
        if not no_cells:
            base = cell_lists.read_base(fov.cells, fov.file("base_regions.zarr.zip"))
        elif pc is not None and not params.get("copy_only"):
            problems += (no_cells,)
    except UserError as error:
        no_cells, problems = str(error), (*problems, str(error))
    if base is None:
        nothing = cell_lists.nothing(0)
        return View(fov, version, pc, nothing, None, traces, [], limits, [], {}, no_cells, problems)
    of_correction, decisions = fov.file(paths.LINEAGE_CORRECTED), fov.file(paths.DECISIONS)
    table = of_correction if of_correction.is_file() else fov.file(paths.LINEAGE)
    origins = lineage.read_table(table) if table.is_file() else None
    old_ways = read_old_ways(decisions) if decisions.is_file() else []
    rows = scan.findings_by_fov(results.folder, fov.dataset).get(fov.number, [])
    too_large = [int(row["frame"]) for row in rows if row["check"] == "cell_size" and row["frame"]]
    fits = scan.doubtful_fits(results.folder, fov.dataset).get(fov.number, {})
    return View(fov, version, pc, base, origins, traces, old_ways, limits, too_large, fits, "", problems)


def _why_no_cells(fov: FovFiles, pc: int | None, *, copy_only: bool) -> str:
    """Why a FOV has no cells, in a line; "" where it has some. pc: phase-contrast channel."""
    if pc is None or copy_only:
        why = "the frames were only copied (copy_only)" if copy_only else "it has no phase contrast"
        return f"FOV {fov.number} of {fov.dataset} has no cells: {why}."
    if not fov.has_cells:
        return f"The cells of FOV {fov.number} are not there at present: a run makes them, or is to be started again."
    return ""


def outcome_of_edits(results: Results, shown: View, new: Edit | None = None) -> Result:
    """What all edits of a FOV make of its cells; see `decide.outcome_of_all`."""
    edits = results.author.of_fov(shown.fov.dataset, shown.fov.number)
    ids = tuple(edit.id for edit in (*edits, *((new,) if new else ())))
    known = shown.replayed.get(ids)
    if known is None:
        known = decide.outcome_of_all(shown.base.regions, edits, stored_image(results, shown), shown.origins, new)
        shown.replayed.clear()
        shown.replayed[ids] = known
    return known


def stored_image(results: Results, shown: View) -> decide.Image:
    """Base labels by frame."""
    path = functools.cache(label_array)
    return lambda frame: results.reader.read(path(shown.fov), frame)


def arranged(shown: View, result: Result) -> Arranged:
    """The cells for this state of the edits, with what is said of them; made once for each state of the tracks."""
    origins = repr(sorted(result.origins.items())).encode()
    tracks = hashlib.sha256(result.cell.tobytes() + origins).hexdigest()[:16]
    known = shown.arranged.get(tracks)
    if known is None:
        cells = cell_lists.arrange(shown.base, result.cell)
        left_out = []
        if shown.pc is not None and not shown.no_cells:
            left_out = cell_lists.why_not_in_traces(cells, result.origins, shown.fov.cells, shown.pc, *shown.limits)
        n_frames = shown.base.regions.n_frames
        scores, why = cell_lists.suspicion(cells, n_frames, shown.too_large, shown.fits, result.origins)
        known = Arranged(tracks, cells, left_out, scores, why, brightness(shown, cells))
        shown.arranged.clear()
        shown.arranged[tracks] = known
    return known


def old_verdicts(shown: View, result: Result) -> tuple[dict[int, bool], list[list[int]]]:
    """What curation.csv and inspected tables say: verdict by cell, and [cell, frame] that are left out.

    They name cells by their places in the last run; edits since then may have given these places to others. A later
    verdict on all of a cell, also one of the edits, counts over frames that were refused before.
    """
    base, verdicts = shown.base, {}
    refused: dict[int, set[int]] = {}
    for stored, frame, of_frames, good in shown.old_ways:
        for row in np.flatnonzero((base.stored == stored) & (base.regions.frame == frame)).tolist():
            cell = int(result.cell[row])
            if of_frames is None:
                verdicts[cell] = good
                refused.pop(cell, None)
            elif not good:
                refused.setdefault(cell, set()).update(of_frames)
    frames = [[cell, frame] for cell, of in refused.items() if cell not in result.good for frame in sorted(of)]
    return verdicts, frames


def brightness(shown: View, cells: Cells) -> list[float | None]:
    """The mean of the first intensity of each cell over its frames, by which the list can be sorted."""
    column = next((name for name in shown.traces.features if name.startswith("intensity")), None)
    if column is None:
        return [None] * len(cells.ids)
    values = shown.traces.by_region(column, cells.stored)
    there = np.isfinite(values)
    sums, counts = np.where(there, values, 0).sum(axis=1), there.sum(axis=1)
    return [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]


def label_array(fov: FovFiles) -> Path:
    """The base labels: tracked, or as a person corrected them in a file."""
    pc = scan.phase_contrast(fov)
    if pc is None:
        raise UserError(f"FOV {fov.number} of {fov.dataset} has no cells: it has no phase contrast")
    corrected = fov.array(paths.corrected(pc))
    return corrected if corrected.is_dir() else fov.array(paths.tracked(pc))
