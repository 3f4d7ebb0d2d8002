"""How fast fits are beside scipy's on the same traces, and how often their intervals hold the truth.

Usage: python benchmarks/fit.py [TRACES]     (2048 without; about 2 minutes on one core)

Writes benchmarks/fit.csv: a row for each simulated cohort and fitted parameter.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
sys.path.insert(0, str(ROOT / "tests"))

from oracles_fitting import EGFP, cohort, plain_fit

from celltraces.kinetics import fitting, models

KNOWN_BETA = models.with_settings(models.MODELS["maturation"], {"beta": {"fixed": EGFP}})
FREE_BETA = models.with_settings(models.MODELS["maturation"], {"beta": {"initial": 0.01}})
TRIVIAL = models.MODELS["trivial"]
EVEN, CELLS, FOCUS = (500.0, 0.0, 0.0), (300.0, 1.0, 0.005), (300.0, 1.0, 0.02)
COHORTS = [
    ("beta known", KNOWN_BETA, 10, EVEN, 0.0),
    ("beta known", KNOWN_BETA, 30, EVEN, 0.0),
    ("beta known", KNOWN_BETA, 10, EVEN, 0.5),
    ("beta known", KNOWN_BETA, 30, EVEN, 0.5),
    ("beta known", KNOWN_BETA, 10, CELLS, 0.0),
    ("beta known", KNOWN_BETA, 30, CELLS, 0.0),
    ("beta known", KNOWN_BETA, 30, FOCUS, 0.0),
    ("beta fitted", FREE_BETA, 12, CELLS, 0.0),
    ("beta fitted", FREE_BETA, 30, CELLS, 0.0),
    ("beta fitted", FREE_BETA, 6, FOCUS, 0.0),
    ("beta fitted", FREE_BETA, 12, FOCUS, 0.0),
    ("beta fitted", FREE_BETA, 30, FOCUS, 0.0),
    ("trivial", TRIVIAL, 12, CELLS, 0.0),
    ("trivial", TRIVIAL, 30, CELLS, 0.0),
]


def fit(model: models.KineticModel, times: np.ndarray, values: np.ndarray) -> tuple[fitting.Fits, float]:
    """Fits, and traces per CPU second."""
    started = time.process_time()
    fits = fitting.fit(model, np.broadcast_to(times, values.shape), values)
    return fits, len(values) / (time.process_time() - started)


def main(number: int) -> None:
    print("traces per CPU second on one core: ours with intervals, scipy's least_squares without")
    for points in (60, 180):
        times = np.arange(points) / 6
        values, _ = cohort(number, times)
        fits, ours = fit(KNOWN_BETA, times, values)
        some, started = values[:100], time.process_time()
        for trace in some:
            plain_fit(KNOWN_BETA, times, trace)
        plain = len(some) / (time.process_time() - started)
        print(
            f"{points} points: {ours:.0f} against {plain:.0f}, {ours / plain:.0f} times; failed {(~fits.success).sum()}"
        )

    rows = []
    for name, model, hours, noise, correlated in COHORTS:
        times = np.arange(hours * 6) / 6
        values, truth = cohort(number, times, model.name, noise=noise, correlated=correlated)
        fits, rate = fit(model, times, values)
        for parameter in model.fitted:
            ok, true = fits.flags[parameter] == "ok", truth[parameter][:, 0]
            held = (fits.low[parameter] <= true)[ok] & (true <= fits.high[parameter])[ok]
            row = {
                "cohort": name,
                "hours": hours,
                "noise": "+".join(f"{part:g}" for part in noise),
                "correlated": correlated,
                "parameter": parameter,
                "identifiable": np.mean(ok),
                "coverage": np.mean(held) if ok.any() else np.nan,
                "median_over_true": np.median(fits.value[parameter][ok]) / np.median(true) if ok.any() else np.nan,
                "traces_per_s": rate,
            }
            rows.append({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()})
            print(*rows[-1].values(), sep="  ")
    with open(ROOT / "benchmarks/fit.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or [2048]))
