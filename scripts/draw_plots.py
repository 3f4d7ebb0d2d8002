"""Plot one dataset for a talk, as PNG and PDF: traces by sample, numbers of cells, distributions.

Cells that are not good are left out. The same tables give the same bytes: no dates, no random numbers.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from celltraces.pictures.legend import label_of
from celltraces.pictures.plots import STYLE, count_plot, distribution_plot, save, trace_plot
from celltraces.results.curation import good_traces
from celltraces.runs import job
from celltraces.storage.cells import get_array, open_store


def typed(traces: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """fov, cell, frame, `hours` and the columns asked for, of a FOV's good traces, each as numbers.

    (A table without a row has no types of its own.)
    """
    types = {"fov": int, "cell": int, "frame": int, "hours": float} | dict.fromkeys(columns, float)
    return traces.assign(hours=traces["time_min"] / 60)[list(types)].astype(types)


def count_cells(present: np.ndarray, fov: int, times_min: Sequence[float]) -> pd.DataFrame:
    """hours, fov, cells: how many cells are in each frame; present: (N, T) bool."""
    return pd.DataFrame({"hours": np.asarray(times_min, float) / 60, "fov": fov, "cells": present.sum(axis=0)})


def main(
    traces: Sequence[str],
    cells: Sequence[str],
    outputs: Sequence[str],
    decisions: Sequence[str],
    *,
    columns: Sequence[str],
    channels: Mapping[str, str],
    samples: Mapping[str, Sequence[int]],
    fovs: Sequence[int],
    times_min: Sequence[Sequence[float]],
    missing: Mapping[str, str],
) -> None:
    import matplotlib

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells what it leaves out of every PDF's fonts
    good = good_traces(traces, times_min, decisions)
    tables = {fov: typed(table, columns) for fov, table in zip(fovs, good, strict=True)}
    tracked, kept = [], []
    for fov, path, times in zip(fovs, cells, times_min, strict=True):
        with open_store(Path(path)) as get:
            tracked.append(count_cells(get_array(get, "metadata/valid_frames")[0], fov, times))
        counted = np.bincount(tables[fov]["frame"], minlength=len(times))
        kept.append(count_cells(counted[None], fov, times))
    by_sample = {name: pd.concat([tables[fov] for fov in chosen]) for name, chosen in samples.items()}
    labels = {column: label_of(column, channels) for column in columns}
    stems = {Path(path).stem: Path(path).with_suffix("") for path in outputs}
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        save(
            count_plot({"all tracked cells": pd.concat(tracked), "cells in the traces": pd.concat(kept)}),
            stems["cells"],
        )
        if columns:
            save(distribution_plot(by_sample, labels), stems["distributions"])
        for column in columns:
            save(trace_plot(by_sample, column, labels[column]), stems[f"traces_{column}"])
    job.log.info("%d samples, %d features", len(samples), len(columns))
    if missing:
        job.log.warning("missing FOVs: %s", missing)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.input.traces,
            snakemake.input.cells,
            snakemake.output.plots,
            snakemake.input.decisions,
            **settings,
        )
