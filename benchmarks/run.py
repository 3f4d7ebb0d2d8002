"""What each stage costs: the workflow as a whole, each kind of job, and the plain way of each computation beside ours.

Usage: python benchmarks/run.py [FOVS FRAMES SIDE]     (4 60 1024 without; about 10 minutes)

Writes benchmarks/results.csv and benchmarks/results.png. Everything is measured in one run on one machine: compare
ratios, not seconds with those of another machine. Whole-process CPU seconds are user + system of the children.
"""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
sys.path.insert(0, str(ROOT / "tests"))

import oracles
import oracles_background

from demo.make_demo import write_experiment
from demo.simulate import Experiment, simulate
from pyama import background, iou, legacy, logstd

STAGES = ("copy", "segment", "track", "background", "crop", "extract", "cache", "index", "record")


def children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def workflow_rows(experiment: Experiment, folder: Path) -> list[dict[str, object]]:
    """CPU of a whole first run and of a run with nothing to do; CPU and memory of the jobs of each stage."""
    write_experiment(folder, experiment, "bench")
    features = ["intensity_total", "intensity_mean"]
    config = {
        "datasets": {"bench": str(folder / "bench.nd2")},
        "output_dir": str(folder / "results"),
        "channels": {
            "pc": {"channel": 0, "features": ["area", "aspect_ratio"]},
            "fl": [{"channel": 1, "features": features}, {"channel": 2, "features": features}],
        },
        "params": {"min_frames": min(30, experiment.n_frames)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(folder / "config.yaml")]
    rows: list[dict[str, object]] = []
    for what in ("workflow, first run", "workflow, nothing to do"):
        before, started = children_seconds(), time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        rows.append(
            {
                "what": what,
                "cpu_s": children_seconds() - before,
                "cpu_s_per_fov": (children_seconds() - before) / experiment.n_fovs,
                "wall_s": time.perf_counter() - started,
            }
        )
    for stage in STAGES:
        jobs = []
        for file in (folder / "results/benchmarks").rglob(f"{stage}.tsv"):
            with open(file, newline="") as table:
                jobs += list(csv.DictReader(table, delimiter="\t"))
        number = lambda column, jobs=jobs: [float(job[column]) for job in jobs if job[column] not in ("-", "NA")]  # noqa: E731
        rows.append(
            {
                "what": f"job {stage}",
                "cpu_s_per_fov": float(np.mean(number("cpu_time") or [np.nan])),
                "wall_s": float(np.mean(number("s"))),
                "peak_mb": max(number("max_rss"), default=np.nan),
            }
        )
    results = [path for path in (folder / "results/bench/fov_000").rglob("*") if path.is_file()]
    rows.append(
        {
            "what": "files and bytes of a FOV",
            "files": len(results),
            "bytes": sum(path.stat().st_size for path in results),
        }
    )
    empty = [sys.executable, "-c", "import numpy, cv2, numcodecs, snakemake.script"]
    before = children_seconds()
    subprocess.run(empty, check=True)
    rows.append({"what": "start of a job (interpreter, imports)", "cpu_s": children_seconds() - before})
    return rows


def cpu_ms(function: Callable[[], object], repeats: int) -> float:
    """CPU milliseconds of a call, the least of `repeats`."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return 1000 * min(times)


def computation_rows(experiment: Experiment) -> list[dict[str, object]]:
    """Our way and the plain way of the same computation on the same frames, in turn."""
    phase, light = experiment.plane(0, 0, 0), experiment.plane(0, 0, 1)
    labels = [logstd.segment_frame(experiment.plane(0, frame, 0)) for frame in range(min(10, experiment.n_frames))]
    foreground = labels[0] > 0
    pairs = {
        "segmentation of a frame": (lambda: logstd.segment_frame(phase), lambda: oracles.logstd_labels(phase)),
        "segmentation of a frame as in PyAMA": (
            lambda: legacy.segment_frame(phase),
            lambda: oracles.pyama_labels(phase),
        ),
        "tracking of 10 frames": (lambda: iou.track(labels, split_touching=True), lambda: oracles.track(labels)),
        "background of a frame": (
            lambda: background.estimate_background(light, foreground),
            lambda: oracles_background.like_pyama(light, foreground),
        ),
    }
    rows = []
    for what, (ours, plain) in pairs.items():
        fast, slow = cpu_ms(ours, 5), cpu_ms(plain, 2)
        rows.append({"what": what, "ours_ms": fast, "plain_ms": slow, "ratio": slow / fast})
    return rows


def write(rows: list[dict[str, object]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(ROOT / "benchmarks/results.csv", "w", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row.items()})
    for row in rows:
        print("  ".join(f"{v:.4g}" if isinstance(v, float) else f"{v}" for v in row.values()))


def draw(rows: list[dict[str, object]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    jobs = [row for row in rows if str(row["what"]).startswith("job ")]
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.barh([str(row["what"])[4:] for row in jobs][::-1], [row["cpu_s_per_fov"] for row in jobs][::-1], color="0.4")
    axes.set(xlabel="CPU seconds of a job")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "benchmarks/results.png", dpi=100)


def main(n_fovs: int = 4, n_frames: int = 60, side: int = 1024) -> None:
    cv2.setNumThreads(1)
    experiment = simulate(
        n_fovs=n_fovs, n_frames=n_frames, height=side, width=side, n_cells=70 * side * side // 1024**2
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = workflow_rows(experiment, Path(folder))
    rows += computation_rows(experiment)
    print(f"\n{n_fovs} FOVs x {n_frames} frames x {side} x {side}, PC + 2 FL\n")
    write(rows)
    draw(rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
