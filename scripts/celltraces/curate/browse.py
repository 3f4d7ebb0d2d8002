"""Put together what the page shows of results: the list of FOVs, one FOV with its cells, film strips."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.curate import cells as cell_lists
from celltraces.curate import scan
from celltraces.curate.cells import Cells, Traces
from celltraces.curate.pixels import Reader
from celltraces.curate.scan import Fov
from celltraces.errors import UserError
from celltraces.pictures import legend
from celltraces.report import digest, fov_digest
from celltraces.storage.cells import open_store

KEPT_VIEWS = 3  # FOVs whose cells and traces are kept in memory
FILM_FRAMES, FILM_WIDTH = 10, 56  # frames of a film strip; px: width of a picture in it


@dataclass(frozen=True)
class View:
    """What is kept of a FOV while the page shows it; `version` changes when a run makes something of it anew."""

    version: str
    pc: int | None
    cells: Cells
    traces: Traces
    left_out: list[str]


@dataclass
class Results:
    """A folder of results, and what is kept of it in memory."""

    folder: Path
    reader: Reader = field(default_factory=Reader)
    datasets: dict[str, dict[int, Fov]] = field(default_factory=dict)
    views: OrderedDict[tuple[str, int], View] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def look_again(self) -> None:
        """List datasets and FOVs as they are now."""
        self.datasets = scan.scan(self.folder)

    def fov(self, dataset: str, number: int) -> Fov:
        """A FOV by name. Raises UserError where the results have none of that name."""
        for last_try in (False, True):
            found = self.datasets.get(dataset, {}).get(number)
            if found is not None:
                return found
            if not last_try:
                self.look_again()
        raise UserError(f"there is no FOV {number} of dataset {dataset!r} in these results")


def listing(results: Results) -> dict[str, Any]:
    """All datasets with their FOVs."""
    results.look_again()
    datasets = []
    for name, fovs in results.datasets.items():
        found = scan.findings(results.folder, name)
        datasets.append(
            {
                "name": name,
                "fovs": [
                    {**scan.summary(fov), "findings": len(found.get(number, ()))} for number, fov in fovs.items()
                ],
            }
        )
    return {"folder": results.folder.name, "datasets": datasets}


def state(results: Results, dataset: str, number: int) -> dict[str, Any]:
    """What the page asks for again and again: whether what it shows is still what is there."""
    return {"version": scan.version(results.fov(dataset, number))}


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
    with results.lock:
        results.views[key] = made
        while len(results.views) > KEPT_VIEWS:
            results.views.popitem(last=False)
    return made


def _view(results: Results, fov: Fov, version: str) -> View:
    pc = scan.phase_contrast(fov)
    traces = cell_lists.read_traces(fov.traces)
    if pc is None or not fov.cells.exists():
        nothing = np.zeros((0, 0), np.int64)
        cells = Cells(nothing[:, 0], nothing, np.zeros((0, 0, 4), np.int32), nothing, (0, 0))
        return View(version, pc, cells, traces, [])
    cells = cell_lists.read_cells(fov.cells)
    params = scan.record(results.folder, fov.dataset).get("params", {})
    limits = int(params.get("min_frames", 0)), int(params.get("border_margin", 0))
    return View(version, pc, cells, traces, cell_lists.left_out(cells, fov.cells, pc, *limits))


def details(results: Results, dataset: str, number: int) -> dict[str, Any]:
    """One FOV: channels, times, findings, and its cells by columns."""
    fov = results.fov(dataset, number)
    shown = view(results, dataset, number)
    attributes = scan.attributes(fov)
    titles = {str(key): str(value) for key, value in attributes.get("channels", {}).items()}
    channels, problems = [], []
    for name in scan.channels(fov):
        try:
            channels.append(scan.channel_details(fov, name, titles))
        except UserError as error:
            problems.append(str(error))
    n_frames, height, width = channels[0]["shape"] if channels else (0, 0, 0)
    times = [float(minute) for minute in attributes.get("times_min", ())]
    columns = list(shown.traces.features)
    named = {name.rpartition("_ch_")[2]: name.rpartition("_ch_")[2] for name in columns} | titles
    return {
        "dataset": dataset,
        "fov": number,
        "name": str(attributes.get("name", "")),
        "version": shown.version,
        "frames": n_frames,
        "height": height,
        "width": width,
        "times": times if len(times) == n_frames else [],
        "pixel_size_um": attributes.get("pixel_size_um"),
        "channels": channels,
        "labels": shown.pc is not None and label_array(fov).is_dir(),
        "columns": [{"name": name, "label": legend.label_of(name, named)} for name in columns],
        "findings": scan.findings(results.folder, dataset).get(number, []),
        "problems": problems,
        "cells": cell_columns(shown, n_frames),
    }


def cell_columns(shown: View, n_frames: int) -> dict[str, list[Any]]:
    """The list of cells, a column for each property."""
    cells, traces = shown.cells, shown.traces
    counts = cells.valid.sum(axis=1)
    first = np.where(counts > 0, cells.valid.argmax(axis=1) if counts.size else 0, 0)
    last = np.where(counts > 0, n_frames - 1 - cells.valid[:, ::-1].argmax(axis=1) if counts.size else 0, 0)
    in_table = {*np.unique(traces.cell).tolist()}
    refused = {*np.unique(traces.cell[~traces.good]).tolist()}
    scores, why = cell_lists.suspicion(cells, n_frames)
    state = []
    for cell, reason in zip(cells.ids.tolist(), shown.left_out, strict=True):
        state.append("bad" if cell in refused else "kept" if cell in in_table or not reason else "left out")
    return {
        "n": cells.ids.tolist(),
        "first": first.tolist(),
        "last": last.tolist(),
        "frames": counts.tolist(),
        "state": state,
        "reason": shown.left_out,
        "score": scores,
        "why": why,
        "light": brightness(shown),
    }


def brightness(shown: View) -> list[float | None]:
    """The mean of the first intensity of each cell over its frames, by which the list can be sorted."""
    column = next((name for name in shown.traces.features if name.startswith("intensity")), None)
    if column is None:
        return [None] * len(shown.cells.ids)
    values = shown.traces.by_region(column, shown.cells.source)
    there = np.isfinite(values)
    sums, counts = np.where(there, values, 0).sum(axis=1), there.sum(axis=1)
    return [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]


def trace_values(results: Results, dataset: str, number: int, column: str) -> np.ndarray:
    """(N, T) float32 of a feature."""
    shown = view(results, dataset, number)
    if column not in shown.traces.features:
        raise UserError(f"there is no feature {column!r} in the traces of FOV {number}")
    return shown.traces.by_region(column, shown.cells.source)


def pixel_array(fov: Fov, channel: str, level: int) -> Path:
    """The array of a channel that the page names."""
    if channel not in scan.channels(fov):
        raise UserError(f"there is no channel {channel!r} in FOV {fov.number} of {fov.dataset}")
    return fov.array(channel, level)


def label_array(fov: Fov) -> Path:
    """The labels that cells are made of: tracked, or as a person corrected them."""
    pc = scan.phase_contrast(fov)
    if pc is None:
        raise UserError(f"FOV {fov.number} of {fov.dataset} has no cells: it has no phase contrast")
    corrected = fov.array(paths.corrected(pc))
    return corrected if corrected.is_dir() else fov.array(paths.tracked(pc))


def thumbnail(results: Results, dataset: str, number: int) -> bytes:
    """The picture of a FOV that the report has, WebP."""
    fov = results.fov(dataset, number)
    with open_store(fov.digest) as get:
        return get(digest.THUMBNAIL)


def film_strip(results: Results, dataset: str, number: int, cell: int) -> tuple[bytes, dict[str, Any]]:
    """The film strip of a cell as WebP, with the frames and channels on it."""
    fov = results.fov(dataset, number)
    shown = view(results, dataset, number)
    row = np.flatnonzero(shown.cells.ids == cell)
    if not row.size or shown.pc is None:
        raise UserError(f"there is no cell {cell} in FOV {number} of {dataset}")
    source = shown.cells.source[int(row[0])]
    frames = fov_digest.evenly_spaced(np.flatnonzero(source), FILM_FRAMES)
    names = [name for name in scan.channels(fov) if name in cell_lists.crops_in(fov.cells)]
    images, masks = cell_lists.film(
        fov.cells, source[frames].tolist(), frames.tolist(), names, paths.tracked(shown.pc)
    )
    tiles = np.array([[fov_digest.tile(image, FILM_WIDTH) for image in of_channel] for of_channel in images])
    outlines = np.array([fov_digest.tile(mask, FILM_WIDTH) for mask in masks]) > 0.5
    picture = fov_digest.strip(tiles, outlines, fov_digest.tile_levels([tiles]))
    return digest.as_webp(picture), {"frames": frames.tolist(), "channels": names}
