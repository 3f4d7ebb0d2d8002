"""Compute the data behind the report's figures: traces, means and spreads, distributions, fits.

Medians, spreads and distributions are those of all cells; single values only of the cells that the page shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.kinetics import model_free, models
from celltraces.pictures.summaries import box, means_over_time, spread_by_frame
from celltraces.report.page import Block

CURVE_POINTS = 64  # of a fit
CELL_BITS = 32  # of a number that holds FOV and cell, those of the cell


@dataclass(frozen=True)
class TidyTable:
    """The tidy table, of which one feature at a time is read. Cells are sorted by FOV and number."""

    path: Path
    fov: np.ndarray  # (cells,)
    cell: np.ndarray  # (cells,)
    row: np.ndarray  # (rows,) which of the cells
    frame: np.ndarray  # (rows,)
    minutes: np.ndarray  # (rows,)
    n_frames: int

    def values(self, column: str) -> np.ndarray:
        """One feature, (frames, cells) float32, NaN where there is none."""
        import pyarrow.parquet as pq

        values = np.full((self.n_frames, len(self.cell)), np.nan, np.float32)
        values[self.frame, self.row] = pq.read_table(self.path, columns=[column])[column].to_numpy()
        return values

    def times(self, cells: np.ndarray) -> np.ndarray:
        """The mean time of each frame over the rows of `cells`, (cells,) bool: (frames,) minutes, NaN without a row."""
        chosen = cells[self.row]
        counts = np.bincount(self.frame[chosen], minlength=self.n_frames)
        sums = np.bincount(self.frame[chosen], self.minutes[chosen], self.n_frames)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def ends(self) -> np.ndarray:
        """(cells, 2): the times of each cell's first and last row, in minutes."""
        found = np.tile([np.inf, -np.inf], (len(self.cell), 1))
        np.minimum.at(found[:, 0], self.row, self.minutes)
        np.maximum.at(found[:, 1], self.row, self.minutes)
        return found

    def index(self) -> dict[tuple[int, int], int]:
        """(fov, cell) -> which of the cells."""
        return {place: at for at, place in enumerate(zip(self.fov.tolist(), self.cell.tolist(), strict=True))}


def read_tidy_table(path: Path, n_frames: int) -> TidyTable:
    """All but the features of a tidy table of a movie of `n_frames`."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["fov", "cell", "frame", "time_min"])
    fov, cell, frame = (table[name].to_numpy() for name in ("fov", "cell", "frame"))
    places, row = np.unique(fov << CELL_BITS | cell, return_inverse=True)
    of_cells = places >> CELL_BITS, places & ((1 << CELL_BITS) - 1)
    minutes = table["time_min"].to_numpy().astype(np.float32)
    return TidyTable(path, *of_cells, row.astype(np.int32), frame.astype(np.int32), minutes, n_frames)


def no_traces() -> TidyTable:
    """Traces without a row."""
    nothing = np.zeros(0, np.int64)
    return TidyTable(Path(), *[nothing] * 5, 0)


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN: six digits, or None."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def quantity(block: Block, label: str, by_sample: Sequence[np.ndarray], of_shown: np.ndarray) -> dict[str, Any]:
    """Something that is one number for each cell: its distribution in each sample, and the values of shown cells."""
    boxes = [box(values) for values in by_sample]
    rounded = [[*map(number, percentiles), n] for percentiles, n in boxes]
    return {"label": label, "boxes": rounded, "points": block.add_rows(of_shown[None])}


def feature(
    block: Block,
    values: np.ndarray,
    label: str,
    members: Sequence[np.ndarray],
    shown: Sequence[int],
    frames: np.ndarray,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The traces and the distribution of one feature, `values` (frames, cells).

    members: of each sample, (cells,) bool. shown, frames: the cells and frames that are on the page.
    """
    of_cells = means_over_time(values)
    spreads = [spread_by_frame(values[frames][:, of_sample]) for of_sample in members]
    traced = {
        "label": label,
        "cells": block.add_rows(values[np.ix_(frames, shown)].T),
        "samples": block.add_rows(np.concatenate(spreads)),
    }
    by_sample = [of_cells[of_sample] for of_sample in members]
    return traced, quantity(block, f"{label}, mean over time", by_sample, of_cells[shown])


# --------------------------------------------------------------------------------------------------------------- fits


@dataclass(frozen=True)
class Fit:
    """A model fitted to one feature; tables: of each sample, column -> (cells,)."""

    column: str
    model: models.KineticModel
    tables: Sequence[Mapping[str, np.ndarray]]

    def counts(self) -> tuple[int, int]:
        """How many fits tell all their parameters, and how many there are."""
        flags = [flag for table in self.tables for flag in table["flag"]]
        return flags.count("ok"), len(flags)


def read_fit(column: str, model: str, parameters: Mapping[str, Any], tables: Sequence[Path]) -> Fit:
    """The tables of a fit, which stands in the config as `model` with `parameters`."""
    import pandas as pd

    read = [pd.read_csv(path, comment="#") for path in tables]
    fitted = models.with_settings(models.find_model(model), parameters)
    return Fit(column, fitted, [{name: table[name].to_numpy() for name in table} for table in read])


def fitted(
    block: Block, fit: Fit, label: str, places: Sequence[tuple[int, int]], ends: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a fit says of the shown cells, and the distributions of its numbers.

    places: (fov, cell) of the shown cells. ends: (cells, 2) their first and last time in hours.
    """
    wanted = set(places)
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for table in fit.tables:
        for at, place in enumerate(zip(table["fov"].tolist(), table["cell"].tolist(), strict=True)):
            if place in wanted:
                found[place] = {name: values[at] for name, values in table.items()}
    rows = [found.get(place) for place in places]
    curves = [_curve(fit.model, row, *end) for row, end in zip(rows, ends, strict=True)]
    words = f"{fit.model.name} of {label}"
    curve = {
        "label": words,
        "cells": [row and _told(fit.model, row) for row in rows],
        "curves": block.add_rows(np.array(curves).reshape(len(rows), CURVE_POINTS)),
    }
    units = {name: fit.model.parameters[name].unit for name in fit.model.fitted} | {"r_squared": ""} | model_free.UNITS
    quantities = []
    for name, unit in units.items():
        of_shown = np.array([np.nan if row is None else row[name] for row in rows], float)
        by_sample = [table[name].astype(float) for table in fit.tables]
        quantities.append(quantity(block, f"{words}: {name}" + (f" ({unit})" if unit else ""), by_sample, of_shown))
    return curve, quantities


def _curve(model: models.KineticModel, row: Mapping[str, Any] | None, start: float, end: float) -> np.ndarray:
    """A fitted curve at CURVE_POINTS times from `start` to `end` (hours); NaN where there is no fit."""
    if row is None or not row["success"]:
        return np.full(CURVE_POINTS, np.nan)
    values = {
        name: np.array([[row[f"{name}_best"] if parameter.fixed is None else parameter.fixed]], float)
        for name, parameter in model.parameters.items()
    }
    return np.broadcast_to(model.curve(np.linspace(start, end, CURVE_POINTS)[None], **values), (1, CURVE_POINTS))[0]


def _told(model: models.KineticModel, row: Mapping[str, Any]) -> dict[str, Any]:
    """What a fit says of a cell: flag, R squared; of each fitted parameter name, unit, value, interval and flag."""
    return {
        "flag": row["flag"],
        "r_squared": number(row["r_squared"]),
        "parameters": [
            [
                name,
                model.parameters[name].unit,
                *(number(row[f"{name}{end}"]) for end in ("", "_low", "_high")),
                row[f"{name}_flag"],
            ]
            for name in model.fitted
        ],
    }
