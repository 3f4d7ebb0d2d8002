"""Build the page that compares samples over all datasets: mean traces, numbers of cells and FOVs, effects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from celltraces.pictures import legend
from celltraces.report import page
from celltraces.report.cell_numbers import OF_TRACE, Numbers, Quantity
from celltraces.report.figures import number

HTML, SCRIPTS = "comparison.html", ("data.js", "charts.js", "comparison.js")
GRID = 200  # most points of a sample's mean trace
ENOUGH = 0.9  # share of the FOVs of a sample that a mean is made of
FOR_TRACES = 1 / 2  # share of the room: traces of FOVs, which are thinned out where they are long; cells get the rest

Effects = Mapping[str, Mapping[tuple[str, str], Mapping[str, Any]]]
Place = tuple[Numbers, int, str]
"""A FOV: the numbers of its dataset, which of that dataset's FOVs it is, and its sample."""


def mean_of_fovs(times: np.ndarray, traces: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The mean over FOVs at each time of a grid, each FOV interpolated between its own times; (grid,).

    times, traces: (fovs, frames), NaN where there is none. A FOV counts from half an interval before its first
    value to half an interval after its last one: FOVs are seldom taken in the same second. Nothing where some FOVs have
    ended, or have not begun: the mean would jump.
    """
    at_grid = np.full((len(traces), len(grid)), np.nan)
    for at, (time, trace) in enumerate(zip(times, traces, strict=True)):
        there = np.isfinite(time) & np.isfinite(trace)
        if there.any():
            known = time[there]
            reach = np.median(np.diff(known)) / 2 if len(known) > 1 else np.inf
            within = (grid >= known[0] - reach) & (grid <= known[-1] + reach)
            at_grid[at, within] = np.interp(grid[within], known, trace[there])
    counts = np.isfinite(at_grid).sum(axis=0)
    enough = counts >= max(1, ENOUGH * counts.max(initial=0))
    return np.nansum(at_grid, axis=0) / np.where(enough, counts, np.nan)


def _padded(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Rows of different lengths as one array, NaN at the end of the shorter ones."""
    found = np.full((len(rows), length), np.nan)
    for at, row in enumerate(rows):
        found[at, : len(row)] = row
    return found


def _coloured(names: Sequence[str]) -> list[dict[str, str]]:
    """Names, each with its colour."""
    return [{"name": name, "colour": colour} for name, colour in zip(names, legend.colours(len(names)), strict=True)]


def comparison_data(
    datasets: Sequence[Numbers],
    samples: Sequence[str],
    labels: Mapping[str, str],
    quantities: Mapping[str, Quantity],
    effects: Effects,
    room: float,
) -> tuple[dict[str, Any], page.Block]:
    """The data that the page's script draws, in about `room` bytes of the page.

    labels: of the columns of traces.
    """
    block = page.Block()
    which = {numbers.dataset: at for at, numbers in enumerate(datasets)}
    places = _places(datasets, samples)
    longest = max((numbers.times_min.shape[1] for numbers in datasets), default=0)
    times = _padded([numbers.times_min[at] for numbers, at, _ in places], longest)
    end = float(np.nanmax(times, initial=0.0))
    unit, minutes = legend.time_unit([end])
    begin = float(np.nanmin(times, initial=end))
    grid = np.linspace(begin, end, max(1, min(GRID, longest)))

    effects_text = {
        name: [[samples.index(a), samples.index(b), _of_effect(effect)] for (a, b), effect in effects[name].items()]
        for name in quantities
    }
    room -= len(page.packed(page.page_data(effects_text)))
    of_frame = 2 * page.BASE64 * len(places) * (len(labels) + 1)
    every = max(1, math.ceil(of_frame * longest / max(room * FOR_TRACES, 1)))
    frames = np.arange(0, longest, every)
    room -= of_frame * len(frames)
    chosen = _shown_cells(datasets, samples, int(max(room, 0) / (2 * page.BASE64 * (len(quantities) + 1))))

    features = _features(places, samples, labels, times, grid, frames, block)
    listed = []
    for name, quantity in quantities.items():
        points = [numbers.of_cells[name][rows] for numbers, rows in zip(datasets, chosen, strict=True)]
        at = block.add_rows(np.concatenate([*points, np.zeros(0)])[None])
        listed.append(_quantity(name, quantity, places, at, effects_text[name]))
    of_place = {(numbers.dataset, int(numbers.fovs[at])): row for row, (numbers, at, _) in enumerate(places)}
    return {
        "unit": unit,
        "samples": _coloured(samples),
        "datasets": _coloured([numbers.dataset for numbers in datasets]),
        "fovs": [
            [which[numbers.dataset], int(numbers.fovs[at]), samples.index(sample)] for numbers, at, sample in places
        ],
        "times": block.add_rows(times[:, frames] / minutes),
        "grid": block.add_rows(grid[None] / minutes),
        "features": features,
        "quantities": listed,
        "cells": [
            [of_place[numbers.dataset, int(numbers.fov[row])], int(numbers.cell[row])]
            for numbers, rows in zip(datasets, chosen, strict=True)
            for row in rows.tolist()
        ],
    }, block


def _places(datasets: Sequence[Numbers], samples: Sequence[str]) -> list[Place]:
    """The FOVs of all datasets that are in one of these samples."""
    return [
        (numbers, at, numbers.sample_of(fov))
        for numbers in datasets
        for at, fov in enumerate(numbers.fovs.tolist())
        if numbers.sample_of(fov) in samples
    ]


def _features(
    places: Sequence[Place],
    samples: Sequence[str],
    labels: Mapping[str, str],
    times: np.ndarray,
    grid: np.ndarray,
    frames: np.ndarray,
    block: page.Block,
) -> list[dict[str, Any]]:
    """For each column of traces those of the FOVs in some frames, and the mean of each sample on a grid of times.

    times: (places, frames), NaN at the end of shorter movies.
    """
    found = []
    for column, label in labels.items():
        traces = _padded([numbers.traces[column][at] for numbers, at, _ in places], times.shape[1])
        of_samples = []
        for sample in samples:
            members = [at for at, (_, _, of) in enumerate(places) if of == sample]
            of_samples.append(mean_of_fovs(times[members], traces[members], grid))
        found.append(
            {
                "label": label,
                "column": column,
                "fovs": block.add_rows(traces[:, frames]),
                "samples": block.add_rows(np.array(of_samples).reshape(len(samples), len(grid))),
            }
        )
    return found


def _quantity(
    name: str, quantity: Quantity, places: Sequence[Place], points: list[int], effects: Sequence[Any]
) -> dict[str, Any]:
    """A number of each cell: its mean in each FOV, of how many cells, where those of single cells lie, the effects."""
    label, unit = quantity
    means = np.full(len(places), np.nan)
    cells = [0] * len(places)
    for row, (numbers, at, _) in enumerate(places):
        values = numbers.of_fov(name, numbers.fovs[at])
        if len(values):
            means[row], cells[row] = values.mean(), len(values)
    return {
        "label": label,
        "name": name,
        "unit": unit,
        "fovs": [number(mean) for mean in means],
        "cells": cells,
        "points": points,
        "effects": effects,
    }


def _shown_cells(datasets: Sequence[Numbers], samples: Sequence[str], most: int) -> list[np.ndarray]:
    """Rows of cells of each dataset that are drawn as points: all, or as many as there is room for, evenly spread."""
    members = [np.flatnonzero(np.isin(numbers.sample, samples)) for numbers in datasets]
    total = sum(map(len, members))
    if total <= most:
        return members
    kept = np.unique(np.linspace(0, total - 1, max(most, 0)).astype(int)) if total else np.zeros(0, int)
    ends = np.cumsum([0, *map(len, members)])
    return [rows[kept[(kept >= a) & (kept < b)] - a] for rows, a, b in zip(members, ends[:-1], ends[1:], strict=True)]


def _of_effect(effect: Mapping[str, Any]) -> dict[str, Any]:
    """An effect for JSON, which has no NaN."""
    return {key: number(value) if isinstance(value, float) else value for key, value in effect.items()}


def summary_rows(datasets: Sequence[Numbers], samples: Sequence[str]) -> list[dict[str, Any]]:
    """For each sample its FOVs and cells in each dataset, and in all."""
    rows = []
    for sample in samples:
        each = [
            {
                "dataset": numbers.dataset,
                "fovs": sum(numbers.sample_of(fov) == sample for fov in numbers.fovs.tolist()),
                "cells": int((numbers.sample == sample).sum()),
            }
            for numbers in datasets
        ]
        there = [part for part in each if part["fovs"]]
        rows.append(
            {
                "name": sample,
                "datasets": each,
                "n_datasets": len(there),
                "fovs": sum(part["fovs"] for part in there),
                "cells": sum(part["cells"] for part in there),
            }
        )
    return rows


def build_comparison(
    datasets: Sequence[Numbers],
    samples: Sequence[str],
    labels: Mapping[str, str],
    quantities: Mapping[str, Quantity],
    effects: Effects,
    *,
    missing: Mapping[str, Mapping[str, str]],
    size_mb: float,
) -> str:
    """The page. missing: by dataset, FOVs of samples that are not in the results, and why."""
    render = page.renderer(HTML, SCRIPTS)
    text = {
        "samples": summary_rows(datasets, samples),
        "datasets": [numbers.dataset for numbers in datasets],
        "in_none": sum(int((numbers.sample == "").sum()) for numbers in datasets),
        "missing": missing,
        "words": OF_TRACE,
        "library": page.library(),
    }
    room = size_mb * 1e6 - len(render(**text, data="", arrays="", shown=0, cells=0))
    data, block = comparison_data(datasets, samples, labels, quantities, effects, room)
    n_cells = sum(row["cells"] for row in text["samples"])
    content = {"data": page.packed(page.page_data(data)), "arrays": page.packed(block.content())}
    return render(**text, **content, shown=len(data["cells"]), cells=n_cells)
