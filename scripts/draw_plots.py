"""Plot one dataset for a talk, as PNG and PDF: traces by sample, numbers of cells, distributions.

Cells that are not good are left out. The same tables give the same bytes: no dates, no random numbers.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from celltraces.pictures.legend import label_of, scale_of, time_unit
from celltraces.pictures.plots import STYLE, count_plot, distribution_plot, save_figure, trace_plot
from celltraces.results.curation import good_traces
from celltraces.runs import job
from celltraces.storage.cells import get_array, open_store


def typed(traces: pd.DataFrame, scales: Mapping[str, float], minutes: float) -> pd.DataFrame:
    """fov, cell, frame, `time` and the columns asked for, of a FOV's good traces, each as numbers.

    scales: by what each column is multiplied, see `legend.scale_of`. minutes: that the unit of `time` has. (A table
    without a row has no types of its own.)
    """
    types = {"fov": int, "cell": int, "frame": int, "time": float} | dict.fromkeys(scales, float)
    table = traces.assign(time=traces["time_min"] / minutes)[list(types)].astype(types)
    return table.assign(**{column: table[column] * scale for column, scale in scales.items()})


def count_cells(present: np.ndarray, fov: int, times: Sequence[float]) -> pd.DataFrame:
    """time, fov, cells: how many cells are in each frame; present: (N, T) bool."""
    return pd.DataFrame({"time": np.asarray(times, float), "fov": fov, "cells": present.sum(axis=0)})


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
    pixel_size_um: float | None,
    missing: Mapping[str, str],
) -> None:
    import matplotlib

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells what it leaves out of every PDF's fonts
    unit, minutes = time_unit(times_min[0])
    scales = {column: scale_of(column, pixel_size_um) for column in columns}
    good = good_traces(traces, times_min, decisions)
    tables = {fov: typed(table, scales, minutes) for fov, table in zip(fovs, good, strict=True)}
    tracked, kept, n_tracked = [], [], {}
    for fov, path, of_fov in zip(fovs, cells, times_min, strict=True):
        times = np.asarray(of_fov, float) / minutes
        with open_store(Path(path)) as get:
            present = get_array(get, "metadata/valid_frames")[0]
        n_tracked[fov] = len(present)
        tracked.append(count_cells(present, fov, times))
        counted = np.bincount(tables[fov]["frame"], minlength=len(times))
        kept.append(count_cells(counted[None], fov, times))
    by_sample = {name: pd.concat([tables[fov] for fov in chosen]) for name, chosen in samples.items()}
    of_sample = {name: sum(n_tracked[fov] for fov in chosen) for name, chosen in samples.items()}
    labels = {column: label_of(column, channels, pixel_size_um) for column in columns}
    stems = {Path(path).stem: Path(path).with_suffix("") for path in outputs}
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        counts = {"all tracked cells": pd.concat(tracked), "cells in the tables": pd.concat(kept)}
        save_figure(count_plot(counts, unit), stems["cells"])
        if columns:
            save_figure(distribution_plot(by_sample, labels, of_sample), stems["distributions"])
        for column in columns:
            save_figure(trace_plot(by_sample, column, labels[column], of_sample, unit), stems[f"traces_{column}"])
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
