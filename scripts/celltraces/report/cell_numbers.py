"""Turn traces and fits of a dataset into numbers of cells and of FOVs, which samples are compared by.

Of each feature: a cell's mean over time, its last value, and its largest; of each fit the parameters, and the numbers
that need no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celltraces.kinetics import model_free, models
from celltraces.report import figures

OF_TRACE = {"mean": "mean over time", "last": "last value", "max": "largest value"}


@dataclass(frozen=True)
class Numbers:
    """Of one dataset. Cells are sorted by FOV and number."""

    dataset: str
    fov: np.ndarray  # (cells,)
    cell: np.ndarray  # (cells,)
    sample: np.ndarray  # (cells,) names; "" for none
    ends_min: np.ndarray  # (cells, 2) times of the first and the last row
    n_rows: np.ndarray  # (cells,) frames with a row
    of_cells: Mapping[str, np.ndarray]  # quantity -> (cells,) float64, NaN where there is none
    fovs: np.ndarray  # (fovs,) those with cells
    times_min: np.ndarray  # (fovs, frames) mean time of the rows of each frame
    traces: Mapping[str, np.ndarray]  # column -> (fovs, frames) mean of the cells

    def sample_of(self, fov: int) -> str:
        """The sample of a FOV that has cells; "" for none."""
        return str(self.sample[np.searchsorted(self.fov, fov)])

    def of_fov(self, quantity: str, fov: int) -> np.ndarray:
        """The values of the cells of a FOV that have one."""
        values = self.of_cells[quantity][self.fov == fov]
        return values[np.isfinite(values)]

    def means(self, quantity: str, sample: str) -> tuple[np.ndarray, np.ndarray, int]:
        """FOVs of a sample with a value, their means, and how many cells these are of."""
        values = self.of_cells[quantity]
        chosen = np.isfinite(values) & (self.sample == sample)
        fovs, of_cell = np.unique(self.fov[chosen], return_inverse=True)
        return fovs, np.bincount(of_cell, values[chosen]) / np.maximum(np.bincount(of_cell), 1), int(chosen.sum())


class Quantity(NamedTuple):
    """Something that is one number for each cell."""

    label: str
    unit: str


def quantities(
    labels: Mapping[str, str], units: Mapping[str, str], fits: Sequence[Mapping[str, Any]]
) -> dict[str, Quantity]:
    """By name everything that samples are compared by. labels, units: of the columns of features."""
    found = {
        f"{column}_{what}": Quantity(f"{label}, {words}", units[column])
        for column, label in labels.items()
        for what, words in OF_TRACE.items()
    }
    for name, (_, column, unit, words) in _of_fits(fits).items():
        found.setdefault(name, Quantity(f"{words} {labels[column]}{f' ({unit})' if unit else ''}", unit))
    return found


def _of_fits(fits: Sequence[Mapping[str, Any]]) -> dict[str, tuple[tuple[int, str], str, str, str]]:
    """Name -> (which fit, the column of its tables), column of the traces, unit, words.

    Numbers without a model are the same for all models of a column. They are in the units of the tables.
    """
    found: dict[str, tuple[tuple[int, str], str, str, str]] = {}
    for at, fit in enumerate(fits):
        model = models.with_settings(models.find_model(fit["model"]), fit["parameters"])
        column = fit["column"]
        for name in model.fitted:
            unit = model.parameters[name].unit
            found[f"{column}_{model.name}_{name}"] = (at, name), column, unit, f"{name} of {model.name} of"
        for name, unit in model_free.UNITS.items():
            found.setdefault(f"{column}_{name}", ((at, name), column, unit, f"{name.replace('_', ' ')} of"))
    return found


def read_numbers(
    dataset: str,
    tidy: Path,
    samples: Mapping[str, str],
    n_frames: int,
    scales: Mapping[str, float],
    fits: Sequence[Mapping[str, Any]],
    fit_tables: Sequence[Sequence[Path]],
) -> Numbers:
    """The numbers of one dataset; one feature is in memory at a time.

    samples: names by FOV. scales: columns of features, and by what their values in the table are multiplied.
    fit_tables: for each of the fits the tables of the dataset's samples.
    """
    table = figures.read_tidy_table(tidy, n_frames)
    fovs, which = np.unique(table.fov, return_inverse=True)
    of_cells: dict[str, np.ndarray] = {}
    traces: dict[str, np.ndarray] = {}
    for column, scale in scales.items():
        values = table.values(column) * np.float32(scale)
        for what, numbers in _of_traces(values):
            of_cells[f"{column}_{what}"] = numbers
        traces[column] = _mean_by_group(values, which, len(fovs))
    index = table.index()
    read = [_read(paths) if paths else {} for paths in fit_tables]
    for name, ((at, column), *_) in _of_fits(fits).items():
        if name not in of_cells:
            of_cells[name] = np.full(len(table.cell), np.nan)
            if read[at]:
                of_cells[name][[index[place] for place in read[at]["place"]]] = read[at][column]
    places = which[table.row] * n_frames + table.frame
    counts = np.bincount(places, minlength=len(fovs) * n_frames)
    times = np.bincount(places, table.minutes, len(fovs) * n_frames) / np.where(counts, counts, np.nan)
    return Numbers(
        dataset=dataset,
        fov=table.fov,
        cell=table.cell,
        sample=np.array([samples.get(str(fov), "") for fov in table.fov.tolist()], dtype=str),
        ends_min=table.ends(),
        n_rows=np.bincount(table.row, minlength=len(table.cell)),
        of_cells=of_cells,
        fovs=fovs,
        times_min=times.reshape(len(fovs), n_frames),
        traces=traces,
    )


def _of_traces(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each of OF_TRACE for values (frames, cells): (cells,) float64."""
    there = np.isfinite(values)
    counts = there.sum(axis=0)
    sums = np.where(there, values, 0).sum(axis=0, dtype=np.float64)
    yield "mean", sums / np.where(counts, counts, np.nan)
    last = len(values) - 1 - there[::-1].argmax(axis=0)
    yield "last", values[last, np.arange(values.shape[1])].astype(np.float64)
    largest = np.where(there, values, -np.inf).max(axis=0, initial=-np.inf)
    yield "max", np.where(counts > 0, largest, np.nan).astype(np.float64)


def _mean_by_group(values: np.ndarray, which: np.ndarray, n_groups: int) -> np.ndarray:
    """Mean over the cells of each group, (frames, cells) -> (groups, frames); NaN where none has a value."""
    found = np.full((n_groups, len(values)), np.nan)
    for group in range(n_groups):
        of_group = values[:, which == group]
        there = np.isfinite(of_group)
        counts = there.sum(axis=1)
        found[group] = np.where(there, of_group, 0).sum(axis=1, dtype=np.float64) / np.where(counts, counts, np.nan)
    return found


def _read(tables: Sequence[Path]) -> dict[str, Any]:
    """Columns of tables of fits, one below the other, and `place`, (fov, cell) of each row."""
    import pandas as pd

    table = pd.concat([pd.read_csv(path, comment="#") for path in tables], ignore_index=True)
    places = list(zip(table["fov"].tolist(), table["cell"].tolist(), strict=True))
    return {"place": places, **{name: table[name].to_numpy() for name in table}}
