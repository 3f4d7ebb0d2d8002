"""Merge the traces of all FOVs of a sample: one table per feature, in the form that PyAMA reads.

Rows whose `good` is False are left out. Times are minutes since the first frame of the file, whatever FOV that is of:
each row has its own, and FOVs seldom share one. FOVs of the sample that are not there are named in a comment above the
table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from celltraces.files import write_text
from celltraces.results.curation import good_traces
from celltraces.runs import job


def merge_traces(tables: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    """One row per time, FOV and cell, sorted by these: time (minutes), fov, cell, value.

    tables: good traces of each FOV, with `time_min`.
    """
    parts = [
        pd.DataFrame({"time": table["time_min"], "fov": table["fov"], "cell": table["cell"], "value": table[column]})
        for table in tables
    ]
    return pd.concat(parts, ignore_index=True).sort_values(["time", "fov", "cell"], kind="stable", ignore_index=True)


def as_csv(merged: pd.DataFrame) -> str:
    """The table's text: six decimals, as PyAMA writes them, and nine digits of a small value that they would round."""
    value = merged["value"]
    fits = (value.abs() >= 1) | (value.round(6) == value)
    if not (fits | value.isna()).all():
        texts = [f"{number:.6f}" if six else f"{number:.9g}" for number, six in zip(value, fits, strict=True)]
        merged = merged.assign(value=pd.Series(texts, value.index, dtype=object).where(value.notna()))
    return merged.to_csv(index=False, float_format="%.6f", na_rep="NaN", lineterminator="\n")


def header(missing: Mapping[str, str]) -> str:
    """The comment lines above a table: the unit, and the FOVs that are missing with the reason."""
    lines = ["# Time units: min\n"]
    if missing:
        lines.append(f"# Missing FOVs: {', '.join(f'{fov} ({reason})' for fov, reason in missing.items())}\n")
    return "".join(lines)


def main(
    traces: Sequence[str],
    outputs: Sequence[str],
    decisions: Sequence[str],
    *,
    columns: Sequence[str],
    times_min: Sequence[Sequence[float]],
    missing: Mapping[str, str],
) -> None:
    if missing:
        job.log.warning("missing FOVs of this sample: %s", missing)
    tables = list(good_traces(traces, times_min, decisions))
    for column, output in zip(columns, outputs, strict=True):
        merged = merge_traces(tables, column)
        text = as_csv(merged)
        write_text(Path(output), header(missing) + text)
    cells = sum(table["cell"].nunique() for table in tables)
    job.log.info("%d cells of %d FOVs; tables: %s", cells, len(tables), ", ".join(columns))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.traces, snakemake.output.tables, snakemake.input.decisions, **settings)
