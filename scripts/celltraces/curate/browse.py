"""Put together what the page shows of results: the list of FOVs, one FOV with its cells, film strips."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.curate import cells as cell_lists
from celltraces.curate import decide, scan
from celltraces.curate.views import (
    Arranged,
    Results,
    View,
    arranged,
    label_array,
    old_verdicts,
    outcome_of_edits,
    stored_image,
    view,
)
from celltraces.edits.records import UNDONE, Edit
from celltraces.edits.replay import Result
from celltraces.edits.undo import in_force
from celltraces.errors import UserError
from celltraces.pictures import legend
from celltraces.report import digest, fov_digest
from celltraces.runs import last_run
from celltraces.storage.cells import open_store

FILM_FRAMES, FILM_WIDTH = 10, 56  # frames of a film strip; px: width of a picture in it
# How outlines are drawn; those of cells in the tables as in the report. All are told apart by their dashes, too.
COLOURS = {
    "kept": "#{:02x}{:02x}{:02x}".format(*fov_digest.KEPT),
    "bad": "#ff5a1f",
    "left out": "#56c8ff",
    "excluded": "#ff7ae0",
    "chosen": "#ffffff",
}


def listing(results: Results) -> dict[str, Any]:
    """All datasets with their FOVs."""
    results.look_again()
    seen: dict[tuple[str, int], set[int]] = {}
    for edit in in_force(results.author.edits()[0])[0]:
        if edit.op == "seen" and edit.cell:
            seen.setdefault((edit.dataset, edit.fov), set()).add(edit.cell.n)
    datasets = []
    for name, fovs in results.datasets.items():
        found = scan.findings_by_fov(results.folder, name)
        problems = not_applied(results.folder, name)
        datasets.append(
            {
                "name": name,
                "fovs": [
                    {
                        **scan.summary(fov),
                        "findings": len(found.get(number, ())),
                        "problems": problems.get(number, 0),
                        "seen": len(seen.get((name, number), ())),
                    }
                    for number, fov in fovs.items()
                ],
            }
        )
    return {"folder": results.folder.name, "datasets": datasets, "colours": COLOURS}


def state(results: Results, dataset: str, number: int) -> dict[str, Any]:
    """What the page asks for again and again: whether what it shows is still what is there."""
    fov = results.fov(dataset, number)
    edits = results.author.of_fov(dataset, number)
    return {"version": scan.version(fov), "decided": _digest_of(results, dataset, edits)}


def _digest_of(results: Results, dataset: str, edits: list[Edit]) -> str:
    """What changes with the edits of a FOV, and with what the last run says of them."""
    return f"{len(edits)}-{edits[-1].id if edits else ''}-{scan.file_stamp(_outcomes_file(results.folder, dataset))}"


def fov_details(results: Results, dataset: str, number: int) -> dict[str, Any]:
    """One FOV: channels, times, findings, and its cells by columns."""
    shown = view(results, dataset, number)
    fov = shown.fov
    attributes = scan.attributes(fov)
    titles = {str(key): str(value) for key, value in attributes.get("channels", {}).items()}
    channels: list[dict[str, Any]] = []
    unused = results.author.edits()[1]  # lines, as one that a crash cut off
    more = [f"and {len(unused) - 3} more lines of edits are not used"] * (len(unused) > 3)
    problems = [*shown.problems, *unused[:3], *more]
    for name in scan.channels(fov):
        try:
            channels.append(scan.channel_details(fov, name, titles))
        except UserError as error:
            problems.append(str(error))
    if not channels:
        problems.append(f"The images of FOV {number} are not there at present; does a run make them anew?")
    n_frames, height, width = channels[0]["shape"] if channels else (0, 0, 0)
    times = [float(minute) for minute in attributes.get("times_min", ())]
    columns = list(shown.traces.features)
    named = {name.rpartition("_ch_")[2]: name.rpartition("_ch_")[2] for name in columns} | titles
    return {
        "name": str(attributes.get("name", "")),
        "version": shown.version,
        "frames": n_frames,
        "height": height,
        "width": width,
        "times": times if len(times) == n_frames and np.isfinite(times).all() else [],
        "pixel_size_um": attributes.get("pixel_size_um"),
        "channels": channels,
        "labels": shown.pc is not None and label_array(fov).is_dir(),
        "columns": [{"name": name, "label": legend.label_of(name, named)} for name in columns],
        "findings": scan.findings_by_fov(results.folder, dataset).get(number, []),
        "problems": problems,
        **cells_now(results, dataset, number),
    }


def cells_now(results: Results, dataset: str, number: int) -> dict[str, Any]:
    """The cells of a FOV after all decisions, and the decisions."""
    shown = view(results, dataset, number)
    edits = results.author.of_fov(dataset, number)
    result = outcome_of_edits(results, shown)
    now = arranged(shown, result)
    regions = shown.base.regions
    moved = np.flatnonzero(result.cell != regions.label)
    left_out = np.flatnonzero(result.excluded)
    verdicts, refused_frames = old_verdicts(shown, result)
    return {
        "dataset": dataset,
        "fov": number,
        "cells": cell_columns(shown, now, result, verdicts, edits),
        "tracks": now.tracks,
        "moved": np.stack([regions.frame[moved], regions.label[moved], result.cell[moved]], axis=1).tolist(),
        "excluded": np.stack([result.cell[left_out], regions.frame[left_out]], axis=1).tolist() + refused_frames,
        "excluded_frames": sorted(result.excluded_frames),
        "edits": [_told(edit, result, shown, results.author.name) for edit in edits],
        "decided": _digest_of(results, dataset, edits),
        "pending": pending(results, dataset),
        "author": results.author.name,
        "writable": not results.author.why_not,
        "why_not": results.author.why_not,
        "command": command_to_apply(results),
    }


def _told(edit: Edit, result: Result, shown: View, author: str) -> dict[str, Any]:
    """An edit for the list of decisions. Where there are no cells at present, nobody knows what becomes of it."""
    status, reason, _ = result.outcomes[edit.id]
    if shown.no_cells and status != UNDONE:
        status, reason = "", ""
    return {
        "id": edit.id,
        "by": edit.by,
        "mine": edit.by == author,
        "when": edit.when,
        "op": edit.op,
        "of": edit.of,
        "words": decide.words(edit, result, shown.base.regions),
        "note": edit.note,
        "frames": decide.marked_frames(edit),
        "status": status,
        "reason": reason,
        "undone": status == UNDONE,
    }


def cell_columns(
    shown: View, now: Arranged, result: Result, old: Mapping[int, bool], edits: list[Edit]
) -> dict[str, list[Any]]:
    """The list of cells, a column for each property. old: verdicts that edits may overrule."""
    cells, n_frames = now.cells, shown.base.regions.n_frames
    ids = cells.ids.tolist()
    counts = cells.valid.sum(axis=1)
    first = cells.valid.argmax(axis=1) if len(ids) else counts
    last = n_frames - 1 - cells.valid[:, ::-1].argmax(axis=1) if len(ids) else counts
    states = []
    for cell, reason in zip(ids, now.left_out, strict=True):
        verdict = result.good.get(cell, old.get(cell))
        states.append("bad" if verdict is False else "left out" if reason and not verdict else "kept")
    notes: dict[int, str] = {}
    for edit in in_force(edits)[0]:
        cell_now = result.outcomes[edit.id].cell
        if edit.note and cell_now:
            notes[cell_now] = edit.note
    return {
        "n": ids,
        "first": first.tolist(),
        "last": last.tolist(),
        "frames": counts.tolist(),
        "state": states,
        "reason": now.left_out,
        "score": now.scores,
        "why": now.why,
        "light": now.light,
        "parent": [result.origins.get(cell, (None, None))[0] for cell in ids],
        "division_frame": [result.origins.get(cell, (None, None))[1] for cell in ids],
        "seen": [cell in result.seen for cell in ids],
        "notes": [notes.get(cell, "") for cell in ids],
    }


# ------------------------------------------------------------------------------------------------ what the tables say


def _outcomes_file(folder: Path, dataset: str) -> Path:
    return folder / dataset / Path(paths.Layout("").edits_outcomes).name


def _outcomes(folder: Path, dataset: str) -> list[dict[str, str]]:
    """The rows of edits.csv, which the last run wrote; empty where there is none."""
    try:
        with open(_outcomes_file(folder, dataset), encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return []


def not_applied(folder: Path, dataset: str) -> dict[int, int]:
    """By FOV: how many edits the last run could not apply."""
    counts: dict[int, int] = {}
    for row in _outcomes(folder, dataset):
        if row.get("status") in decide.PROBLEMS and (row.get("fov") or "").isdigit():
            counts[int(row["fov"])] = counts.get(int(row["fov"]), 0) + 1
    return counts


def command_to_apply(results: Results) -> str:
    """What a person types to take the decisions into the tables: that of the last run, if its files are there, and the
    results still where it made them."""
    known = last_run.read(results.folder)
    if known is None or Path(known.results) != results.folder.resolve():
        return results.command
    there = Path(known.folder).is_dir() and all(Path(file).is_file() for file in known.config_files)
    return known.line() if there else results.command


def pending(results: Results, dataset: str) -> int:
    """How many decisions on a dataset the tables do not know: made, or taken back, since the last run."""
    edits = [edit for edit in results.author.edits()[0] if edit.dataset == dataset]
    now = {edit.id for edit in in_force(edits)[0] if edit.op != "seen"}
    rows = _outcomes(results.folder, dataset)
    known = {row["id"] for row in rows if row.get("status") != UNDONE and row.get("op") not in ("undo", "seen")}
    return len(now ^ known)


# ---------------------------------------------------------------------------------------------------- what is saved


def save_decision(
    results: Results, request: Mapping[str, Any], make: Callable[..., Edit] = decide.edit_of
) -> dict[str, Any]:
    """Save the decision that the page asks for. Returns the cells as they are then, the decision's id and words
    (`said`), the cell that it, or what it takes back, is about; `split_off`: it is a new one, made by
    a split."""
    dataset, number = request.get("dataset"), request.get("fov")
    if not isinstance(dataset, str) or not isinstance(number, int) or isinstance(number, bool):
        raise decide.RefusedDecision("dataset and fov are to be named")
    author = results.author
    if author.why_not:
        raise decide.RefusedDecision(author.why_not)
    shown = view(results, dataset, number)
    if shown.no_cells:
        raise decide.RefusedDecision(shown.no_cells)
    with author.saving:
        before = outcome_of_edits(results, shown)
        edit = make(request, author, shown.base.regions, before, stored_image(results, shown))
        result = outcome_of_edits(results, shown, edit)
        author.save(edit)
    about, times = decide.subject(edit, author.of_fov(dataset, number))
    done = "" if not times else "taken back: " if times % 2 else "restored: "
    said = done + decide.words(about, result, shown.base.regions)
    cell = result.outcomes[about.id].cell
    if cell is None and about.cell:  # as one that is taken back
        cell = decide.number_now(about.cell, result, shown.base.regions)
    split_off = about.op == "split" and times % 2 == 0
    return {**cells_now(results, dataset, number), "said": said, "id": edit.id, "cell": cell, "split_off": split_off}


# ---------------------------------------------------------------------------------------------------------- pictures


def boxes(results: Results, dataset: str, number: int) -> np.ndarray:
    """(N, T, 4) int32: y0, x0, y1, x1 of each cell in each frame; zeros where it is absent."""
    shown = view(results, dataset, number)
    return arranged(shown, outcome_of_edits(results, shown)).cells.boxes


def trace_values(results: Results, dataset: str, number: int, column: str) -> np.ndarray:
    """(N, T) float32 of a feature; NaN where the tables have none yet."""
    shown = view(results, dataset, number)
    if column not in shown.traces.features:
        raise UserError(f"there is no feature {column!r} in the traces of FOV {number}")
    return shown.traces.by_region(column, arranged(shown, outcome_of_edits(results, shown)).cells.stored)


def thumbnail(results: Results, dataset: str, number: int) -> bytes:
    """The picture of a FOV that the report has, WebP."""
    with open_store(results.fov(dataset, number).digest) as get:
        return get(digest.THUMBNAIL)


def film_strip(results: Results, dataset: str, number: int, cell: int) -> tuple[bytes, dict[str, Any]]:
    """The film strip of a cell as WebP, with the frames and channels on it."""
    shown = view(results, dataset, number)
    cells = arranged(shown, outcome_of_edits(results, shown)).cells
    row = np.flatnonzero(cells.ids == cell)
    stored = cells.stored[row[0]] if row.size else np.zeros(0, np.int64)
    if shown.pc is None or not (stored > 0).any():
        raise UserError(f"there is no film of cell {cell} in FOV {number} of {dataset} before the next run")
    frames = fov_digest.evenly_spaced(np.flatnonzero(stored), FILM_FRAMES)
    names = [name for name in scan.channels(shown.fov) if name in cell_lists.crops_in(shown.fov.cells)]
    images, masks = cell_lists.film_of_cell(
        shown.fov.cells, stored[frames].tolist(), frames.tolist(), names, paths.tracked(shown.pc)
    )
    tiles = np.array([[fov_digest.tile(image, FILM_WIDTH) for image in of_channel] for of_channel in images])
    outlines = np.array([fov_digest.tile(mask, FILM_WIDTH) for mask in masks]) > 0.5
    picture = fov_digest.strip(tiles, outlines, fov_digest.tile_levels([tiles]))
    return digest.as_webp(picture), {"frames": frames.tolist(), "channels": names}
