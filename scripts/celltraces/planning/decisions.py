"""Plan how a person's decisions on cells are applied: which FOVs have some, and where each decision lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from celltraces.config.selection import spell_fovs
from celltraces.config.stage_settings import digests
from celltraces.errors import UserError
from celltraces.files import remove
from celltraces.paths import CURATION, PLACES, fov_text
from celltraces.planning.dataset import Dataset
from celltraces.planning.edits import NONE, FovEdits, as_settings
from celltraces.planning.experiment import Experiment
from celltraces.planning.samples import fovs_for
from celltraces.results.curation import Flag

STAGE, TAKING_IN = "apply_curation", "extract_taken_in"


# ----------------------------------------------------------------------------------------------- which FOVs have some


def decisions_on(experiment: Experiment, dataset: Dataset, fov: int) -> dict[str, Any]:
    """What a person decided on the cells of a FOV: rows of curation.csv, and the inspected table that there is.

    The table counts by its content. As an input of the rule, one that was saved by a computer whose clock is ahead
    would stop Snakemake.
    """
    tables = _inspected(experiment, dataset.name, fov)
    files = {table: f"FOV {fov}: {digest}" for table, digest in digests(tables).items()}
    settings = {"flags": _flags(experiment, dataset.name).get(fov, []), "inspected": tables, "files": files}
    edits = _edits(experiment, dataset, fov).decisions
    return {**settings, "edits": as_settings(edits)} if edits else settings


def is_decided_on(experiment: Experiment, dataset: Dataset, fov: int) -> bool:
    """Whether a person decided something on the cells of a FOV."""
    return (
        fov in _flags(experiment, dataset.name)
        or bool(_inspected(experiment, dataset.name, fov))
        or bool(_edits(experiment, dataset, fov).decisions)
    )


def takes_in(experiment: Experiment, dataset: Dataset, fov: int) -> bool:
    """Whether a person calls a cell of a FOV good, which may be one that a filter leaves out."""
    flags = _flags(experiment, dataset.name).get(fov, ())
    edits = _edits(experiment, dataset, fov).counting
    return any(flag.good for flag in flags) or any(edit.op == "good" for edit in edits)


def _edits(experiment: Experiment, dataset: Dataset, fov: int) -> FovEdits:
    return experiment.edits.get((dataset.name, fov_text(fov)), NONE)


@cache
def _flags(experiment: Experiment, dataset: str) -> dict[int, list[Flag]]:
    """The rows of curation.csv on a dataset, by FOV."""
    by_fov: dict[int, list[Flag]] = {}
    for flag in experiment.flags.get(dataset, ()):
        by_fov.setdefault(flag.fov, []).append(flag)
    return by_fov


@cache
def _inspected(experiment: Experiment, dataset: str, fov: int) -> list[str]:
    """The inspected table of a FOV, if there is one; asked once, so that all parts of a run's planning see the same."""
    table = experiment.layout.inspected.format(dataset=dataset, fov=fov_text(fov))
    return [table] if os.path.exists(table) else []


def decision_tables(experiment: Experiment, dataset: Dataset, fovs: Iterable[int]) -> list[str]:
    """The tables of decisions of those of these FOVs on which a person decided something."""
    return [
        experiment.layout.decisions.format(dataset=dataset.name, fov=fov_text(fov))
        for fov in fovs
        if experiment.tracing and is_decided_on(experiment, dataset, fov)
    ]


def tables_taken_in(experiment: Experiment, dataset: Dataset, fovs: Iterable[int]) -> list[str]:
    """The tables of cells that were taken in by hand, of those of these FOVs where there may be some."""
    return [
        experiment.layout.taken_in.format(dataset=dataset.name, fov=fov_text(fov))
        for fov in fovs
        if experiment.tracing and takes_in(experiment, dataset, fov)
    ]


def tables_for(experiment: Experiment, wildcards: Mapping[str, str]) -> list[str]:
    """The tables of decisions, and of cells taken in by hand, of a job's FOV, of its sample, or of its dataset."""
    dataset = experiment.datasets[wildcards["dataset"]]
    fovs = fovs_for(experiment.config, dataset, wildcards)
    return [*decision_tables(experiment, dataset, fovs), *tables_taken_in(experiment, dataset, fovs)]


# -------------------------------------------------------------------------------- where the cells of a row's number lie


def remember(experiment: Experiment, *, write: bool) -> None:
    """Tie rows without a place to the cells that they name in the present results, before a run makes others.

    Raises UserError with a line for each row of curation.csv whose cell is not in them. A row that has a place is not
    asked for, nor one whose place is remembered. write: False changes nothing, and only says what is wrong.
    """
    mistakes = []
    for dataset in experiment.datasets.values() if experiment.tracing else ():
        too_early = []
        cells = {}
        for fov, flags in _flags(experiment, dataset.name).items():
            named = [flag.cell for flag in flags if flag.frame is None and flag.cell is not None]
            if named:
                cells[fov] = named
        folder = Path(experiment.layout.results) / PLACES / dataset.name
        for path in folder.glob("fov_*.csv") if write else ():
            if int(path.stem.removeprefix("fov_")) not in cells:
                remove(path)
        for fov, named in cells.items():
            mistakes += _remember_fov(experiment, dataset, fov, named, write)
            if _is_too_early(experiment, dataset, fov, named):
                too_early.append(fov)
        if too_early:
            print(_of_other_results(experiment, dataset, too_early), file=sys.stderr)
    if mistakes:
        raise UserError("\n".join(mistakes))


def _is_too_early(experiment: Experiment, dataset: Dataset, fov: int, cells: Sequence[int]) -> bool:
    """Whether rows name cells by number before there are any: of these nobody can have decided on them."""
    from celltraces.results import places

    layout, names = experiment.layout, {"dataset": dataset.name, "fov": fov_text(fov)}
    store = layout.cells.format(**names).removesuffix(".zip")
    if fov not in dataset.fovs or os.path.exists(store) or os.path.exists(store + ".zip"):
        return False
    return bool({*cells} - places.read_places(Path(layout.places.format(**names))).keys())


def _of_other_results(experiment: Experiment, dataset: Dataset, fovs: Sequence[int]) -> str:
    which = f"FOV{'s' if len(fovs) > 1 else ''} {spell_fovs(fovs)}"
    return (
        f"{experiment.layout.curation}: rows name cells of {which} of {dataset.name} by number, and there are no "
        "results of them yet, so that the numbers are those of other results; the cells that get these numbers now are "
        "meant, unless the rows are given frame, x, y, or taken out"
    )


def _remember_fov(experiment: Experiment, dataset: Dataset, fov: int, cells: Sequence[int], write: bool) -> list[str]:
    from celltraces.results import places

    layout, names = experiment.layout, {"dataset": dataset.name, "fov": fov_text(fov)}
    store = layout.cells.format(**names).removesuffix(".zip")
    assert dataset.pc is not None
    absent, there = places.remember_places(
        Path(layout.places.format(**names)), cells, [Path(store), Path(store + ".zip")], dataset.pc, write=write
    )
    if fov not in dataset.fovs:
        return []
    known = f"its cells have numbers from {there[0]} to {there[-1]}" if there else "there is none at all"
    return [
        f"{layout.curation}: FOV {fov} of {dataset.name} has no cell {cell}; {known}; correct this row of {CURATION}, "
        "delete it, or give frame, x, y"
        for cell in absent
    ]


# ---------------------------------------------------------------------------------------------- what is there no longer


def forget(experiment: Experiment) -> None:
    """Remove the tables of decisions that were taken back; what was made of them, its rules make anew."""
    layout = experiment.layout
    for dataset in experiment.datasets.values():
        for fov in dataset.fovs:
            names = {"dataset": dataset.name, "fov": fov_text(fov)}
            for template, stage, wanted in (
                (layout.decisions, STAGE, is_decided_on(experiment, dataset, fov)),
                (layout.taken_in, TAKING_IN, takes_in(experiment, dataset, fov)),
            ):
                table = Path(template.format(**names))
                if not wanted and table.exists():
                    for path in layout.of_job(stage):
                        remove(Path(path.format(**names)))
                    remove(table)
