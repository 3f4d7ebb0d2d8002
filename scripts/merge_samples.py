"""Merged tables: the traces of all FOVs of a sample, one table per feature, in the form that PyAMA reads.

Rows whose `good` is False are left out. Times are minutes since the first frame of each FOV.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pyama import job
from pyama.files import write_text

HEADER = "# Time units: min\n"


def merge_traces(tables: Sequence[pd.DataFrame], times_min: Sequence[Sequence[float]], column: str) -> pd.DataFrame:
    """One row per time, FOV and cell, sorted by these: time (minutes), fov, cell, value.

    tables: the traces of each FOV. times_min: the times of its frames.
    """
    parts = []
    for table, times in zip(tables, times_min, strict=True):
        good = table[table["good"].astype(bool)]
        time = pd.Series(times, dtype=float)[good["frame"]].to_numpy()
        parts.append(pd.DataFrame({"time": time, "fov": good["fov"], "cell": good["cell"], "value": good[column]}))
    return pd.concat(parts, ignore_index=True).sort_values(["time", "fov", "cell"], kind="stable", ignore_index=True)


def main(
    traces: Sequence[str],
    outputs: Sequence[str],
    columns: Sequence[str],
    times_min: Sequence[Sequence[float]],
    not_processed: Sequence[int],
) -> None:
    if not_processed:
        job.log.warning("FOVs of this sample that are not among `fovs`: %s", not_processed)
    tables = [pd.read_csv(path) for path in traces]
    for column, output in zip(columns, outputs, strict=True):
        merged = merge_traces(tables, times_min, column)
        text = merged.to_csv(index=False, float_format="%.6f", na_rep="NaN", lineterminator="\n")
        write_text(Path(output), HEADER + text)
    cells = sum(table["cell"].nunique() for table in tables)
    job.log.info("%d cells of %d FOVs; tables: %s", cells, len(tables), ", ".join(columns))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.traces, snakemake.output.tables, **settings)
