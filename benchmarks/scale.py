"""What planning costs by the number of FOVs, with jobs that do nothing.

Usage: python benchmarks/scale.py [FOVS ...]     (100 300 1000 without; about 5 minutes; 10000: 10 minutes)

Writes benchmarks/scale.csv and docs/scale.png. The dataset is a name and a plan: 100 frames of 2048 x 2048 pixels in
three channels, and no pixel. Measured are `snakemake -n` with nothing done, the real thing with everything done, and
`-n` for one FOV, which is what each cluster job does before it begins.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
PYTHON = str(ROOT / ".venv/bin/python")  # what is measured runs as it does for a user
sys.path.insert(0, str(ROOT / "scripts"))

from celltraces.config.read_config import complete
from celltraces.paths import Layout
from celltraces.planning import datasets
from demo.nd2_writer import Channel, write_nd2

N_FRAMES, SIDE = 100, 2048
MOST_DONE = 3000  # FOVs: with more, pretending that everything is done takes too long
PLAN, ONE, DONE = "nothing done, -n", "one FOV of them, -n", "everything done"

# A run that only notes down that everything is there: Snakemake's --touch, which here makes what it should touch.
PRETEND = """
import sys
from pathlib import Path
from snakemake.cli import main
from snakemake.executors.touch import Executor
from snakemake.io import is_flagged

def run_job(self, job, touch=Executor.run_job):
    for file in map(Path, job.output):
        file.parent.mkdir(parents=True, exist_ok=True)
    for file in job.output:
        Path(file).mkdir(exist_ok=True) if is_flagged(file, "directory") else Path(file).touch()
    touch(self, job)

Executor.SLEEPING_TIME = 0
Executor.run_job = run_job
main(sys.argv[1:])
"""


def prepare(folder: Path, n_fovs: int) -> Path:
    """A config for a dataset of `n_fovs`, of which only what planning learns from the file exists."""
    data = folder / "big.nd2"
    write_nd2(
        data,
        lambda fov, frame, channel, z: np.zeros((16, 16), np.uint16),
        **{"n_fovs": 1, "n_frames": N_FRAMES, "height": 16, "width": 16},
        channels=[Channel(name) for name in ("Phase", "GFP", "RFP")],
    )
    inspect_movie = datasets.inspect_in_child_process
    movie = inspect_movie(data, {"axes": None, "allow_lossy": False})
    fovs = [
        {
            **movie.fovs[0],
            "name": f"Pos{fov:05d}",
            "height": SIDE,
            "width": SIDE,
            "times_min": [round(5 * frame + fov / 1000, 6) for frame in range(N_FRAMES)],
        }
        for fov in range(n_fovs)
    ]
    data.write_bytes(bytes(1000))  # nothing can be learned from it any more
    features = ["intensity_total"]
    config = {
        "datasets": {"big": str(data)},
        "output_dir": str(folder / "results"),
        "channels": {
            "pc": {"channel": 0, "features": ["area", "aspect_ratio"]},
            "fl": [{"channel": 1, "features": features}, {"channel": 2, "features": features}],
        },
        "samples": [{"name": "control", "fovs": f"0-{n_fovs // 2 - 1}"}],
    }
    datasets.inspect_in_child_process = lambda path, pyme: replace(movie, fovs=fovs)
    completed = complete(config)
    datasets.write_notes(Layout(config["output_dir"]), datasets.plan_datasets(completed).values())
    datasets.inspect_in_child_process = inspect_movie
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def measure(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(errors.decode())
    wall = time.perf_counter() - started
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def rows(n_fovs: int, folder: Path) -> list[dict[str, object]]:
    config = prepare(folder, n_fovs)
    options = ["--cores", "1", "--directory", str(folder), "--configfile", str(config)]
    run = [PYTHON, "-m", "snakemake", *options]
    one = f"{folder}/results/big/fov_000/big_fov_000_traces.csv"
    measured = {PLAN: measure([*run, "-n"]), ONE: measure([*run, "-n", one])}
    if n_fovs <= MOST_DONE:
        measure([PYTHON, "-c", PRETEND, *options, "--touch", "--cores", "10000"])  # few rounds of scheduling
        measured[DONE] = measure(run)
    return [{"fovs": n_fovs, "what": what, **figures} for what, figures in measured.items()]


def draw() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with open(ROOT / "benchmarks/scale.csv", newline="") as file:
        table = list(csv.DictReader(file))
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for what, style in ((PLAN, "o-"), (DONE, "s-"), (ONE, "^-")):
        rows = [row for row in table if row["what"] == what]
        for axis, column in zip(axes, ("cpu_s", "peak_mb"), strict=True):
            axis.plot([int(row["fovs"]) for row in rows], [float(row[column]) for row in rows], style, label=what)
    for axis, name in zip(axes, ("CPU seconds", "peak memory (MB)"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="FOVs", ylabel=name)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(ROOT / "docs/scale.png", dpi=100)


def main(sizes: list[int]) -> None:
    with open(ROOT / "benchmarks/scale.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        for n_fovs in sizes:
            with tempfile.TemporaryDirectory() as folder:
                for row in rows(n_fovs, Path(folder)):
                    if file.tell() == 0:
                        table.writerow(row)
                    table.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in row.values()])
                    print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()), flush=True)
    draw()


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [100, 300, 1000])
