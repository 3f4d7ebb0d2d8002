"""Fit a kinetic model to every trace of a merged table; one row per cell, beside numbers that need no model.

Times are hours here. What a fit cannot tell is NaN and flagged; the comments at the head of the table count it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from celltraces.errors import UserError
from celltraces.files import write_text
from celltraces.kinetics import fitting, model_free, models
from celltraces.runs import job

HEADER = "# Time units: h\n"
HOURS = {"s": 1 / 3600, "sec": 1 / 3600, "min": 1 / 60, "h": 1.0}


def read_merged(path: Path) -> pd.DataFrame:
    """A merged table (time, fov, cell, value), its times in hours."""
    with open(path, encoding="utf-8") as file:
        unit = file.readline().removeprefix("# Time units:").strip()
    if unit not in HOURS:
        raise UserError(f"{path}: the first line does not name the time units; expected `# Time units: min`")
    table = pd.read_csv(path, comment="#")
    return table.assign(time=table["time"] * HOURS[unit])


def traces_of(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The cells (fov, cell; sorted), and times and values of their traces, both (N, T) float64.

    All cells of a FOV have the times of that FOV; a value that is missing is NaN, and so are those that fill up the
    rows of a FOV with fewer times (these repeat its last time).
    """
    table = table.sort_values(["fov", "cell", "time"], kind="stable")
    cells = table[["fov", "cell"]].drop_duplicates(ignore_index=True)
    axes = {fov: np.unique(part) for fov, part in table.groupby("fov")["time"]}
    length = max(map(len, axes.values()), default=1)
    times, values = np.zeros((len(cells), length)), np.full((len(cells), length), np.nan)
    row = table.groupby(["fov", "cell"], sort=True).ngroup().to_numpy()
    for fov, part in table.groupby("fov"):
        axis, rows = axes[fov], row[table["fov"].to_numpy() == fov]
        times[np.unique(rows)] = np.pad(axis, (0, length - len(axis)), mode="edge")
        values[rows, np.searchsorted(axis, part["time"])] = part["value"]
    return cells, times, values


def fit_table(table: pd.DataFrame, model: models.KineticModel) -> pd.DataFrame:
    """One row for each cell of a merged table with times in hours; the columns are those of docs/fitting.md."""
    cells, times, values = traces_of(table)
    fits = fitting.fit(model, times, values)
    columns: dict[str, Any] = {
        "fov": cells["fov"],
        "cell": cells["cell"],
        "model_type": model.name,
        "success": fits.success,
        "r_squared": fits.r_squared,
    }
    columns |= {name: fits.value.get(name, parameter.fixed) for name, parameter in model.parameters.items()}
    columns |= {"identifiable": fits.flag == "ok", "flag": fits.flag}
    for name in model.fitted:
        columns |= {f"{name}_low": fits.low[name], f"{name}_high": fits.high[name]}
        columns |= {f"{name}_flag": fits.flags[name], f"{name}_best": fits.best[name]}
    columns["residual_autocorrelation"] = fits.autocorrelation
    numbers = [model_free.describe_trace(*trace) for trace in zip(times, values, strict=True)]
    columns |= {name: np.array([each[name] for each in numbers], float) for name in model_free.UNITS}
    return pd.DataFrame(columns)


def counts(result: pd.DataFrame, model: models.KineticModel) -> list[str]:
    """One line for the fits and one for each fitted parameter: how many are good, and what is wrong with the others."""

    def count(flags: pd.Series) -> str:
        of = flags.value_counts().sort_index()
        others = "".join(f", {number} {flag}" for flag, number in of.items() if flag != "ok")
        return f"{of.get('ok', 0)} of {len(flags)} ok{others}"

    return [f"fits: {count(result['flag'])}", *(f"{name}: {count(result[f'{name}_flag'])}" for name in model.fitted)]


def main(table: str, output: str, model: str, parameters: Mapping[str, Mapping[str, Any]]) -> None:
    chosen = models.with_settings(models.find_model(model), parameters)
    result = fit_table(read_merged(Path(table)), chosen)
    lines = counts(result, chosen)
    for line in lines:
        job.log.info("%s", line)
    text = result.to_csv(index=False, float_format="%.6g", na_rep="NaN", lineterminator="\n")
    write_text(Path(output), HEADER + "".join(f"# {line}\n" for line in lines) + text)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.table, snakemake.output.table, **settings)
