"""Build the report of one dataset from its tables and digests."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from celltraces.errors import raise_what_passes
from celltraces.features.cell_list import KINDS
from celltraces.pictures import legend
from celltraces.pictures.summaries import SPREAD
from celltraces.report import digest, figures, page, texts
from celltraces.runs import job
from celltraces.storage import cells

OTHERS = "no sample"  # FOVs that belong to none
MOST_FINDINGS = 300  # rows of qc.csv on the page
# Shares of the room: thumbnails; the list of cells, for which many cells are thinned out; medians and spreads, for
# which long movies of many samples are.
FOR_THUMBNAILS, FOR_CELL_LIST, FOR_SPREADS = 1 / 3, 1 / 5, 1 / 4
TAG_BYTES = 150  # of a thumbnail, besides the picture
CELL_BYTES = 300  # of a shown cell, besides its numbers and its pictures


@dataclass
class StageResults:
    """What the other stages left, as far as it could be read; `problems` says what could not."""

    digest_files: Mapping[int, Path]  # by FOV
    digests: dict[int, dict[str, Any]] = field(default_factory=dict)
    traces: figures.TidyTable = field(default_factory=figures.no_traces)
    cell_list: list[str] = field(default_factory=list)  # the lines of the table, header first
    fits: list[figures.Fit] = field(default_factory=list)
    findings: list[dict[str, str]] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@contextmanager
def tolerant(problems: list[str], what: str) -> Iterator[None]:
    """A part whose failure is named on the page and in the log, and is no more than that."""
    try:
        yield
    except Exception as error:
        raise_what_passes(error)
        job.log.exception("not in the report: %s", what)
        problems.append(f"{what} ({type(error).__name__})")


def gather(
    digest_files: Mapping[int, Path],
    *,
    tidy: Path | None,
    cell_list: Path | None,
    quality: Path,
    record: Path,
    fit_tables: Sequence[Path],
    fits: Sequence[Mapping[str, Any]],
    n_frames: int,
) -> StageResults:
    """Read the results. tidy, cell_list: None without cells. fit_tables: for each of the fits, of each sample."""
    found = StageResults(digest_files)
    with tolerant(found.problems, "parameters and versions"):
        found.record = yaml.safe_load(record.read_text(encoding="utf-8"))
    with tolerant(found.problems, "findings of the checks"):
        found.findings = texts.read_findings(quality)
    if tidy:
        with tolerant(found.problems, "traces"):
            found.traces = figures.read_tidy_table(tidy, n_frames)
    if cell_list:
        with tolerant(found.problems, "list of cells"):
            found.cell_list = cell_list.read_text(encoding="utf-8").splitlines()
    for fov, path in digest_files.items():
        found.digests[fov] = {"problem": "not readable"}
        with tolerant(found.problems, f"pictures of FOV {fov}"):
            found.digests[fov] = digest.read_digest(path)
    of_fit = len(fit_tables) // max(len(fits), 1)
    for at, fit in enumerate(fits):
        with tolerant(found.problems, f"fits of {fit['model']} to {fit['column']}"):
            found.fits.append(figures.read_fit(**fit, tables=fit_tables[at * of_fit : (at + 1) * of_fit]))
    return found


def within(sizes: Iterable[tuple[Any, float]], room: float) -> tuple[list[Any], float]:
    """The first of some things, given with their sizes, that have room together, and the room that is left."""
    chosen = []
    for thing, size in sizes:
        if size > room:
            break
        room -= size
        chosen.append(thing)
    return chosen, room


def fovs_to_picture(cards: Sequence[Mapping[str, Any]], digests: Mapping[int, Mapping[str, Any]]) -> Iterator[Any]:
    """FOVs that have a thumbnail, with the size it takes: first those with findings, then evenly spread ones."""
    pictured = [card for card in cards if digests.get(card["fov"], {}).get("bytes")]
    for at in sorted(digest.evenly_spread(len(pictured)), key=lambda at: not pictured[at]["checks"]):
        fov = pictured[at]["fov"]
        yield fov, page.BASE64 * digests[fov]["bytes"]


def cells_to_show(
    digests: Mapping[int, Mapping[str, Any]], in_traces: Mapping[tuple[int, int], int], each: float
) -> Iterator[tuple[tuple[int, dict[str, Any]], float]]:
    """(FOV, what its digest says of a cell) and the size it takes: one of each FOV, then another of each.

    Lists start at different cells, since all begin with a dim one. each: size of a cell without its film strip.
    """
    by_fov = {
        fov: [of_cell for of_cell in known.get("cells", ()) if (fov, of_cell["cell"]) in in_traces]
        for fov, known in digests.items()
    }
    fovs = [sorted(by_fov)[at] for at in digest.evenly_spread(len(by_fov))]
    for turn in range(max(map(len, by_fov.values()), default=0)):
        for at, fov in enumerate(fovs):
            if turn < len(by_fov[fov]):
                of_cell = by_fov[fov][(turn + at) % len(by_fov[fov])]
                yield (fov, of_cell), each + page.BASE64 * (of_cell["bytes"] + page.ALIGNED)


def lines_with_room(lines: Sequence[str], room: float) -> tuple[str, int]:
    """The header of a table and as many of its rows as have room, evenly spread, as the page carries them, and how many
    these are."""
    rows = lines[1:]
    n = len(rows)
    while True:
        chosen = sorted(digest.evenly_spread(len(rows))[:n])
        text = page.packed("\n".join([*lines[:1], *(rows[at] for at in chosen), ""]).encode())
        if len(text) <= room or not n:
            return text, n
        n = min(n - 1, int(n * room / len(text)))


def _samples(
    groups: Mapping[str, Sequence[int]], members: Sequence[np.ndarray], digests: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Of each sample: its name, FOVs, cells in the tables, tracked cells, colour.

    members: for each sample (N,) bool, which of the traces are of it.
    """
    return [
        {
            "name": name,
            "fovs": list(fovs),
            "cells": int(of_sample.sum()),
            "tracked": sum(digests.get(fov, {}).get("tracked", 0) for fov in fovs),
            "colour": colour,
        }
        for (name, fovs), of_sample, colour in zip(groups.items(), members, legend.colours(len(groups)), strict=True)
    ]


def _counts(digests: Mapping[int, Mapping[str, Any]], times: Sequence[float]) -> dict[str, list[float]]:
    """By frame: its time, and the cells of all FOVs, tracked and in the tables; [] where no digest tells."""
    counted = [known for known in digests.values() if "tracked_by_frame" in known]
    return {
        "times": [figures.number(time) for time in times],
        "tracked": np.sum([known["tracked_by_frame"] for known in counted], axis=0).tolist() if counted else [],
        "kept": np.sum([known["kept_by_frame"] for known in counted], axis=0).tolist() if counted else [],
    }


def _features(
    found: StageResults,
    block: page.Block,
    labels: Mapping[str, str],
    members: Sequence[np.ndarray],
    shown: np.ndarray,
    frames: np.ndarray,
    pixel_size_um: float | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of each column its traces, in these frames, and its distribution over cells, as the page draws them.

    members: for each sample (N,) bool, which of the traces are of it. shown: (n,) rows of the traces of shown cells.
    """
    traced, distributions = [], []
    for column, label in labels.items():
        with tolerant(found.problems, label):
            of_column = found.traces.values(column)
            traces, distribution = figures.feature(block, of_column, label, members, shown, frames)
            shown_as = {"column": column, "scale": legend.scale_of(column, pixel_size_um)}
            traced.append(traces | shown_as)
            distributions.append(distribution | shown_as)
    return traced, distributions


def _fits(
    found: StageResults,
    block: page.Block,
    labels: Mapping[str, str],
    places: Sequence[tuple[int, int]],
    ends_min: np.ndarray,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of each fit the curves of shown cells, and the distributions of its parameters, as the page draws them.

    places: (FOV, cell) of the shown cells. ends_min: (n, 2) minutes, when their traces begin and end.
    """
    fits, distributions = [], []
    for fit in found.fits:
        with tolerant(found.problems, f"fits of {fit.model.name} to {fit.column}"):
            curves, of_parameters = figures.fitted(block, fit, labels[fit.column], places, ends_min / 60)
            fits.append(curves | {"column": fit.column})
            distributions += of_parameters
    return fits, distributions


def report_data(
    found: StageResults,
    chosen: Sequence[tuple[int, Mapping[str, Any]]],
    frames: np.ndarray,
    *,
    groups: Mapping[str, Sequence[int]],
    labels: Mapping[str, str],
    channels: Sequence[str],
    times_min: Sequence[float],
    pixel_size_um: float | None,
) -> tuple[dict[str, Any], page.Block]:
    """The data that the page's script draws.

    chosen: the shown cells, sorted. groups: FOVs by sample. labels: of the columns. Numbers are in the units of the
    tables; `scale` of a feature or quantity is what they are multiplied by to be shown.
    """
    block = page.Block()
    traces, index = found.traces, found.traces.index()
    places = [(fov, of_cell["cell"]) for fov, of_cell in chosen]
    shown = np.array([index[place] for place in places], int)
    members = [np.isin(traces.fov, fovs) for fovs in groups.values()]
    fovs = sorted({fov for fov, _ in places})
    of_fovs = np.array([traces.times(traces.fov == fov) for fov in fovs]).reshape(len(fovs), traces.n_frames)
    of_samples = np.array([traces.times(of_sample) for of_sample in members]).reshape(len(members), traces.n_frames)
    unit, minutes = legend.time_unit(times_min)

    traced, quantities = _features(found, block, labels, members, shown, frames, pixel_size_um)
    ends = traces.ends()[shown]
    fits, of_fits = _fits(found, block, labels, places, ends)
    strips = []
    for fov, of_cell in chosen:
        with cells.open_store(found.digest_files[fov]) as get:
            strips.append(block.add(get(digest.strip_file(of_cell["cell"]))))
    return {
        "unit": unit,
        "samples": _samples(groups, members, found.digests),
        "frames": frames.tolist(),
        "sample_times": block.add_rows(of_samples[:, frames] / minutes),
        "fovs": fovs,
        "fov_times": block.add_rows(of_fovs / minutes),
        "features": traced,
        "unit_of": {column: legend.unit_of(column, pixel_size_um) for column in labels},
        "quantities": quantities + of_fits,
        "fits": fits,
        "ends": block.add_rows(ends / minutes),
        "channels": channels,
        "levels": {str(fov): found.digests[fov]["levels"] for fov in fovs},
        "cells": [
            {"fov": fov, "strip": strip, **{key: value for key, value in of_cell.items() if key != "bytes"}}
            for (fov, of_cell), strip in zip(chosen, strips, strict=True)
        ],
        "counts": _counts(found.digests, [time / minutes for time in times_min]),
    }, block


def text_of(
    found: StageResults,
    labels: Mapping[str, str],
    *,
    fovs: Sequence[int],
    failed: Sequence[int],
    fov_names: Mapping[str, str],
    samples: Mapping[str, Sequence[int]],
    times_min: Sequence[float],
) -> dict[str, Any]:
    """The texts and tables of the page."""
    good = dict(zip(*(part.tolist() for part in np.unique(found.traces.fov, return_counts=True)), strict=True))
    cards = texts.cards(sorted({*fovs, *failed}), fov_names, samples, found.digests, good, found.findings)
    params = found.record.get("params", {})
    return {
        "cards": cards,
        "totals": texts.numbers_of_cells(cards),
        "left_out": texts.left_out_by_size(cards),
        "checks": texts.checks(found.findings),
        "findings": found.findings[:MOST_FINDINGS],
        "n_findings": len(found.findings),
        "n_listed": max(len(found.cell_list) - 1, 0),
        "params": params,
        "parameters": texts.parameters(params),
        "details": texts.rest_of_record(found.record),
        "provenance": found.record.get("provenance", {}),
        "fit_counts": [(fit.model.name, labels[fit.column], *fit.counts()) for fit in found.fits],
        "duration": texts.length_of_movie(times_min),
        "n_frames": len(times_min),
        "problems": found.problems,
    }


def _add_thumbnails(cards: Sequence[dict[str, Any]], found: StageResults, room: float) -> tuple[int, float]:
    """Put as many thumbnails into the cards of FOVs as have room; how many, and the room that is left."""
    pictured, left = within(fovs_to_picture(cards, found.digests), room)
    for card in cards:
        if card["fov"] in pictured:
            with cells.open_store(found.digest_files[card["fov"]]) as get:
                card["thumbnail"] = page.as_source(get(digest.THUMBNAIL))
    return len(pictured), left


def build_report(
    *,
    digest_files: Mapping[int, Path],
    tidy: Path | None,
    cell_list: Path | None,
    quality: Path,
    record: Path,
    fit_tables: Sequence[Path],
    name: str,
    fovs: Sequence[int],
    samples: Mapping[str, Sequence[int]],
    channels: Mapping[str, str],
    used: Sequence[int],
    columns: Sequence[str],
    fits: Sequence[Mapping[str, Any]],
    times_min: Sequence[float],
    pixel_size_um: float | None,
    size_mb: float,
    **of_fovs: Any,
) -> str:
    """The page. used: channels that are processed, phase contrast first. times_min: of the frames of the first FOV.

    tidy, cell_list: the tables of all traces and of all cells; None without cells (no phase contrast, or copied only):
    images, background, checks. pixel_size_um: None where it is not known.
    """
    tables = {"tidy": tidy, "cell_list": cell_list, "quality": quality, "record": record, "fit_tables": fit_tables}
    found = gather(digest_files, **tables, fits=fits, n_frames=len(times_min))
    in_none = sorted({*fovs}.difference(*samples.values()))
    groups = {**samples, **({OTHERS: in_none} if in_none else {})}
    labels = {column: legend.label_of(column, channels, pixel_size_um) for column in columns}
    text = text_of(found, labels, fovs=fovs, samples=samples, times_min=times_min, **of_fovs)
    text |= {"name": name, "channels": [channels[str(channel)] for channel in used], "cells": tidy is not None}
    text |= {"library": page.library() if tidy else "", "images": texts.image_levels(found.digests, channels)}
    render = page.renderer()
    nothing_shown = {"shown": 0, "pictured": 0, "every": 1, "listed": 0}
    room = size_mb * 1e6 - len(render(**text, data="", arrays="", cell_list="", **nothing_shown).encode())

    for_thumbnails = room * FOR_THUMBNAILS if tidy else room - TAG_BYTES * len(text["cards"])
    pictured, left = _add_thumbnails(text["cards"], found, for_thumbnails)
    if not tidy:
        job.log.info("no cells; %d of %d thumbnails", pictured, len(text["cards"]))
        return render(**text, **nothing_shown | {"pictured": pictured})
    room -= for_thumbnails - left
    table, listed = lines_with_room(found.cell_list, room * FOR_CELL_LIST)
    room -= len(table)

    of_frame = 2 * page.BASE64 * len(columns)  # bytes: two for a number
    of_spreads = of_frame * SPREAD * len(groups)
    every = max(1, math.ceil(of_spreads * found.traces.n_frames / max(room * FOR_SPREADS, 1)))
    frames = np.arange(0, found.traces.n_frames, every)
    room -= of_spreads * len(frames)

    of_cell = of_frame * len(frames) + page.BASE64 * (CELL_BYTES + 2 * figures.CURVE_POINTS * len(found.fits))
    chosen, _ = within(cells_to_show(found.digests, found.traces.index(), of_cell), room)
    chosen.sort(key=lambda place: (place[0], place[1]["cell"]))
    data, block = report_data(
        found,
        chosen,
        frames,
        groups=groups,
        labels=labels,
        channels=text["channels"],
        times_min=times_min,
        pixel_size_um=pixel_size_um,
    )
    data["cards"] = [{key: card[key] for key in ("fov", "good", *KINDS)} for card in text["cards"]]
    data["cell_list"] = f"{name}_cells.csv"
    numbers = len(chosen), len(found.traces.cell), pictured, len(text["cards"])
    job.log.info("%d of %d cells, %d of %d thumbnails", *numbers)
    shown = {"shown": len(chosen), "pictured": pictured, "every": every, "listed": listed, "cell_list": table}
    return render(**text, **shown, data=page.packed(page.page_data(data)), arrays=page.packed(block.content()))
