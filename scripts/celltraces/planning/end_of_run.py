"""Say at the end of a run what there is to look at: reports, tables, cells, fits, and what to do next."""

from __future__ import annotations

import csv
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from celltraces.errors import UserError
from celltraces.paths import fov_text
from celltraces.planning import joined
from celltraces.planning.command_line import with_target
from celltraces.planning.dataset import Dataset
from celltraces.planning.experiment import Experiment
from celltraces.planning.workflow_version import ROOT
from celltraces.report.digest import read_digest

NEXT = "next: "  # before a command
MANY = 5  # datasets, beyond which there is one line for all; also kinds of files of a target


def result_lines(experiment: Experiment, command: Sequence[str]) -> Iterator[str]:
    """What all results are and where they lie, after a run that asked for all.

    command: the command line of this run, argument by argument.
    """
    layout = experiment.layout
    datasets = [dataset for dataset in experiment.datasets.values() if dataset.fovs]
    if joined.is_compared(experiment):
        yield f"comparison of samples: {layout.comparison}"
    if len(datasets) > MANY:
        yield f"report: {layout.report.format(dataset='*')}{_cells(experiment, datasets)}"
    else:
        for dataset in datasets:
            yield f"report: {layout.report.format(dataset=dataset.name)}{_cells(experiment, [dataset])}"
    if experiment.tracing:
        name = datasets[0].name if len(datasets) == 1 else "*"
        more = f"; by sample and feature: {layout.merged.format(dataset=name, sample='SAMPLE', column='FEATURE')}"
        yield f"tables: {layout.tidy.format(dataset=name)}.csv{more if experiment.merging else ''}"
        if joined.is_joined(experiment):
            sample = f"; by sample and feature: {layout.joined.format(sample='SAMPLE', column='FEATURE')}"
            yield f"tables over all datasets: {layout.joined_traces}.csv{sample if experiment.merging else ''}"
    yield from _fits(experiment, datasets)
    if experiment.tracing and not any(Path(layout.pictures.format(dataset=each.name)).exists() for each in datasets):
        yield f"{NEXT}{with_target(command, 'pictures')}"
    if experiment.tracing:
        yield f"{NEXT}{curate_command(Path(layout.results), ROOT)}"


def curate_command(results: Path, workflow: Path) -> str:
    """The command that opens the results for browsing and correcting, as typed in the working folder of the run.

    workflow: the clone. `make` of another folder, or a Python without make's environment, is called by its path.
    """
    if not (workflow / "Makefile").is_file() or not (workflow / ".venv/.done").is_file():
        return shlex.join([str(Path(sys.prefix, "bin/python")), str(workflow / "scripts/curate.py"), str(results)])
    if Path.cwd() == workflow:
        return shlex.join(["make", "curate", f"RESULTS={results}"])
    return shlex.join(["make", "-C", str(workflow), "curate", f"RESULTS={results.absolute()}"])


def target_lines(targets: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Where the files of each target that was asked for lie, those of all FOVs as one."""
    for name, files in targets.items():
        kinds: dict[str, list[str]] = {}
        for file in files:
            kinds.setdefault(_kind(file), []).append(file)
        listed = [
            alike[0] if len(alike) == 1 else f"{kind} ({len(alike)})" for kind, alike in list(kinds.items())[:MANY]
        ]
        more = f" and {len(kinds) - MANY} more kind(s)" if len(kinds) > MANY else ""
        yield f"{name}: {', '.join(listed)}{more}"


def _kind(file: str) -> str:
    """A path with a star for the number of the FOV, and for the name of a file that has an ending."""
    folder, name = str(Path(file).parent), Path(file).name
    ending = "".join(Path(name).suffixes)
    return f"{re.sub(r'/fov_[0-9]+', '/fov_*', folder)}/{'*' + ending if ending else name}"


def _cells(experiment: Experiment, datasets: Sequence[Dataset]) -> str:
    """How many of the cells that were found are in the tables, in brackets."""
    if not experiment.tracing:
        return ""
    found, kept, n_fovs, n_known = 0, 0, sum(len(dataset.fovs) for dataset in datasets), 0
    for dataset in datasets:
        failed = _failed(Path(experiment.layout.quality.format(dataset=dataset.name)))
        for fov in (fov_text(fov) for fov in dataset.fovs if fov not in failed):
            with suppress(UserError, OSError, ValueError, KeyError):  # there is none of a FOV that has always failed
                known = read_digest(Path(experiment.layout.digest.format(dataset=dataset.name, fov=fov)))
                n_known, found, kept = n_known + 1, found + known.get("tracked", 0), kept + known.get("kept", 0)
    fovs = f"{n_fovs} FOV{'s' * (n_fovs != 1)}" if n_known == n_fovs else f"{n_known} of {n_fovs} FOVs"
    return f" ({fovs}, {kept:,} of {found:,} cells kept)"


def _failed(quality: Path) -> set[int]:
    """The FOVs that the table of checks names as failed; what lies there of one is from an earlier run."""
    try:
        with open(quality, encoding="utf-8", newline="") as file:
            return {int(row["fov"]) for row in csv.DictReader(file) if row["check"] == "failed"}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _fits(experiment: Experiment, datasets: Sequence[Dataset]) -> Iterator[str]:
    """For each fit in how many cells all parameters could be determined."""
    for column, model in experiment.fits:
        tables = [table for dataset in datasets for table in joined.tables_of_fit(experiment, dataset, column, model)]
        flags: list[str] = []
        for table in tables:
            try:
                with open(table, encoding="utf-8", newline="") as file:
                    flags += [row["flag"] for row in csv.DictReader(line for line in file if line[0] != "#")]
            except (OSError, KeyError):
                continue
        ok = flags.count("ok")
        where = f"; {tables[0]}{f' and {len(tables) - 1} more' if len(tables) > 1 else ''}" if tables else ""
        yield f"fits of {model} to {column}: all parameters determined in {ok:,} of {len(flags):,} cells{where}"
