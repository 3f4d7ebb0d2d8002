"""Write what samples are compared by: a row for each cell, for each FOV and quantity, and for each effect."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.files import whole
from celltraces.report import effects
from celltraces.report.cell_numbers import Numbers, Quantity

FOV_COLUMNS = ("dataset", "sample", "fov", "quantity", "unit", "cells", "mean", "sd", "median")


def write_cells(path: Path, datasets: Sequence[Numbers], quantities: Sequence[str]) -> None:
    """A row for each cell: dataset, sample (empty for none), fov, cell, its times and frames, then the quantities."""
    with whole(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "sample", "fov", "cell", "first_min", "last_min", "frames", *quantities])
        for numbers in datasets:
            values = [numbers.of_cells[name] for name in quantities]
            for at, (first, last) in enumerate(numbers.ends_min):
                place = [numbers.dataset, numbers.sample[at], numbers.fov[at], numbers.cell[at]]
                measured = [_spelled(of_cell[at]) for of_cell in values]
                writer.writerow([*place, _spelled(first), _spelled(last), numbers.n_rows[at], *measured])


def write_fovs(path: Path, datasets: Sequence[Numbers], quantities: Mapping[str, Quantity]) -> None:
    """A row for each FOV of a sample and each quantity: number of cells with a value, mean, SD, median."""
    with whole(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FOV_COLUMNS)
        for numbers in datasets:
            for fov in numbers.fovs.tolist():
                sample = numbers.sample_of(fov)
                for name, (_, unit) in quantities.items() if sample else ():
                    values = numbers.of_fov(name, fov)
                    mean, median = (values.mean(), np.median(values)) if len(values) else (np.nan, np.nan)
                    spread = values.std(ddof=1) if len(values) > 1 else np.nan
                    spelled = map(_spelled, (mean, spread, median))
                    writer.writerow([numbers.dataset, sample, fov, name, unit, len(values), *spelled])


def write_effects(
    path: Path,
    found: Mapping[str, Mapping[tuple[str, str], dict[str, Any]]],
    quantities: Mapping[str, Quantity],
    samples: Sequence[str],
) -> None:
    """A row for each quantity and pair of samples, the later against the earlier one of the configuration."""
    rows = [
        {"quantity": name, "unit": quantities[name].unit, "sample": sample, "reference": reference}
        | of_quantity[reference, sample]
        for name, of_quantity in found.items()
        for reference, sample in combinations(samples, 2)
    ]
    columns = ["quantity", "unit", "sample", "reference", *effect_columns(effects.Effect(), 0, 0)]
    with whole(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _spelled(value) if isinstance(value, float) else value for key, value in row.items()})


def all_effects(
    datasets: Sequence[Numbers], quantities: Iterable[str], samples: Sequence[str]
) -> Iterator[tuple[str, dict[tuple[str, str], dict[str, Any]]]]:
    """Each quantity, and (reference, sample) -> what `effect_columns` says, for each sample against each other one."""
    for quantity in quantities:
        means: dict[str, dict[str, np.ndarray]] = {sample: {} for sample in samples}
        counts: dict[str, dict[str, int]] = {sample: {} for sample in samples}
        for numbers in datasets:
            for sample in samples:
                _, means[sample][numbers.dataset], counts[sample][numbers.dataset] = numbers.means(quantity, sample)
        of_quantity = {}
        for reference, sample in permutations(samples, 2):
            effect = effects.effect_of_sample(means[reference], means[sample])
            cells = [
                sum(counts[side][name] for name in names)
                for side, names in zip((reference, sample), effect.datasets, strict=True)
            ]
            of_quantity[reference, sample] = effect_columns(effect, *cells)
        yield quantity, of_quantity


def effect_columns(effect: effects.Effect, cells_reference: int, cells: int) -> dict[str, Any]:
    """An effect as columns of a table."""
    found: dict[str, Any] = {}
    for name, estimate in (
        ("difference", effect.difference),
        ("by_datasets", effect.by_datasets),
        ("ratio", effect.ratio),
        ("hedges_g", effect.standardised),
    ):
        found |= {name: float(estimate.value)}
        found |= {f"{name}_low": float(estimate.low), f"{name}_high": float(estimate.high)}
    found |= {"degrees_of_freedom": float(effect.degrees), "method": effect.method}
    found |= {"fovs": effect.n_fovs[1], "fovs_reference": effect.n_fovs[0]}
    found |= {"datasets": len(effect.datasets[1]), "datasets_reference": len(effect.datasets[0])}
    return found | {"cells": cells, "cells_reference": cells_reference, "notes": "; ".join(effect.notes)}


def _spelled(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else "NaN"
