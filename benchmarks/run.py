"""What the workflow costs: as a whole, by stage beside the plain way of each, and as FOVs, frames and cells get more.

Usage: python benchmarks/run.py [PART ...]     (workflow, large, plain, fovs, frames, cells: all without, 30 minutes;
                                                picture: only draws)

Writes benchmarks/results.csv, benchmarks/scaling.csv and benchmarks/results.png; a part that was not run keeps the rows
of its last run. CPU seconds are user + system of the whole process tree. Everything of a part is measured in one run on
one machine: compare ratios, not seconds with those of another machine, nor with a machine that others use meanwhile.
"""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in a job; idle threads would count

import cv2
import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
PYTHON = str(ROOT / ".venv/bin/python")  # what is measured runs as it does for a user
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import as_pyama
import oracles
import oracles_background
import plain
from evaluation.linking import defaults

import cache_levels
import crop_cells
from celltraces.features import trace_table
from celltraces.features.trace_table import Chosen
from celltraces.fluorescence import background
from celltraces.labels.regions import FrameTracks, relabel
from celltraces.runs import job
from celltraces.segmentation import logstd, pyama_original
from celltraces.storage import display_level
from celltraces.storage.cells import open_store
from celltraces.storage.codecs import LABELS, PIXELS, SMOOTH
from celltraces.storage.frames import Frames, open_frames, writing
from celltraces.tracking import overlap, shared_regions
from demo.nd2_writer import Channel, write_nd2
from demo.simulate import simulate

Row = dict[str, object]

# Each kind of job, and what it imports before it does anything.
JOBS = {
    "copy": "copy_frames, celltraces.readers.movie_file",
    "segment": "segment_cells, celltraces.segmentation.logstd",
    "track": "track_cells",
    "background": "estimate_background, scipy.linalg.lapack",
    "crop": "crop_cells",
    "extract": "extract_features",
    "cache": "cache_levels",
    "index": "index_images",
    "digest": "digest_fov, PIL.Image",
    "record": "record_config",
    "qc": "check_quality",
    "tidy": "tidy_traces",
    "merge_all": "merge_samples",
    "write_report": "write_report, celltraces.report.figures",
}
# The program itself, PyAMA 5a552bf with 2 workers: reading, segmentation, tracking, background and extraction of an ND2
# of 2 FOVs x 60 x 1024 x 1024 in three channels with 81 cells; and this workflow with everything that it does (crops,
# display levels, checks and report too) on the same file, side by side on one quiet machine. Not measured here.
REAL_PYAMA_S, BESIDE_IT_S, BESIDE_IT_FOVS = 115.1, (20.2, 23.7), 2  # CPU seconds
COST = re.compile(r"CPU ([\d.]+) s, memory (\d+) MB$")
FEATURES = ["intensity_total", "intensity_mean"]


def cpu_of(command: Sequence[str], **options: object) -> float:
    """CPU seconds of a command with all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_movie(path: Path, planes: np.ndarray, *, n_fovs: int, n_frames: int, tiled: int = 1) -> None:
    """An ND2 of any length from a few simulated frames.

    planes: (T, C, H, W). They are played to and fro; FOVs are shifted against each other, and `tiled` times as wide and
    high. What a stage costs depends on cells, noise and structure, not on whether they have been seen before.
    """
    order = np.abs((np.arange(n_frames) + len(planes) - 1) % max(2 * len(planes) - 2, 1) - (len(planes) - 1))
    height, width = (tiled * side for side in planes.shape[2:])
    write_nd2(
        path,
        lambda fov, frame, channel, z: np.tile(np.roll(planes[order[frame], channel], 101 * fov), (tiled, tiled)),
        **{"n_fovs": n_fovs, "n_frames": n_frames, "height": height, "width": width},
        channels=[Channel(name) for name in ("Phase", "GFP", "RFP")],
    )


def simulated(n_frames: int, side: int, n_cells: int) -> np.ndarray:
    experiment = simulate(n_fovs=1, n_frames=n_frames, height=side, width=side, n_cells=n_cells)
    return np.array([[experiment.plane(0, t, c) for c in range(3)] for t in range(n_frames)])


def run_workflow(folder: Path, planes: np.ndarray, **size: int) -> tuple[list[str], dict[str, float]]:
    """The command of a workflow on such a movie, and what its first run cost."""
    write_movie(folder / "bench.nd2", planes, **size)
    config = {
        "datasets": {"bench": str(folder / "bench.nd2")},
        "output_dir": str(folder / "results"),
        "channels": {
            "pc": {"channel": 0, "features": ["area", "aspect_ratio"]},
            "fl": [{"channel": 1, "features": FEATURES}, {"channel": 2, "features": FEATURES}],
        },
        "params": {"min_frames": min(30, size["n_frames"])},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [PYTHON, "-m", "snakemake", "--cores", "2", "--configfile", str(folder / "config.yaml")]
    started = time.perf_counter()
    cpu = cpu_of(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    return command, {
        "cpu_s": cpu,
        "cpu_s_per_fov": cpu / size["n_fovs"],
        "wall_s": time.perf_counter() - started,
        "peak_mb": max(peak for stage in JOBS for _, peak in jobs(folder, stage)),
    }


def jobs(folder: Path, stage: str) -> list[tuple[float, float]]:
    """CPU seconds and peak memory (MB) of the jobs of a stage, from the last lines of their logs."""
    logs = (folder / "results/logs").rglob(f"{stage}.log")
    found = (COST.search(log.read_text(encoding="utf-8").strip()) for log in logs)
    return [(float(cost[1]), float(cost[2])) for cost in found if cost]


def workflow(folder: Path) -> Iterator[Row]:
    """Four FOVs of 60 x 1024 x 1024 in three channels, some 70 cells: the whole, and what its jobs and starts cost."""
    size = {"n_fovs": 4, "n_frames": 60}
    planes = simulated(60, 1024, 75)
    command, cost = run_workflow(folder, planes, **size)
    yield {"what": "first run", **cost}
    for stage, cpu in described_s(planes).items():
        yield {"what": f"as_pyama.py: {stage}", "cpu_s_per_fov": cpu}
    in_jobs = sum(cpu for stage in JOBS for cpu, _ in jobs(folder, stage))
    snakemake = cost["cpu_s"] - in_jobs
    yield {"what": "Snakemake itself", "cpu_s": snakemake, "cpu_s_per_fov": snakemake / size["n_fovs"]}
    nothing = cpu_of(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    yield {"what": "run with nothing to do", "cpu_s": nothing}
    for stage, imports in JOBS.items():
        # What Snakemake puts above a script, and the script's imports.
        start = f"import snakemake.iocontainers, snakemake.logging, {imports}"
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        starts = [cpu_of([PYTHON, "-c", start], cwd=ROOT / "scripts", env=environment) for _ in range(3)]
        costs = jobs(folder, stage)
        yield {
            "what": f"job {stage.partition('_')[0]}",
            "n": len(costs),
            "cpu_s": sum(cpu for cpu, _ in costs) / len(costs),
            "of_it_start_s": min(starts),
            "peak_mb": max(peak for _, peak in costs),
        }
    results = [path for path in (folder / "results/bench/fov_000").rglob("*") if path.is_file()]
    yield {
        "what": "files and bytes of a FOV",
        "n": len(results),
        "bytes": sum(path.stat().st_size for path in results),
    }


def described_s(planes: np.ndarray) -> dict[str, float]:
    """CPU seconds of as_pyama.py, which is slower than PyAMA itself (REAL_PYAMA_S), for one FOV (T, C, H, W), by stage.

    Measured on the first sixth of the frames; of its viewer's cache, of pictures of all its seven stacks, on one stack.
    """
    some = planes[: len(planes) // 6]
    spent: dict[str, float] = {}

    def timed(stage: str, function: Callable[..., Any], *given: object) -> Any:
        started = time.process_time()
        result = function(*given)
        spent[stage] = spent.get(stage, 0) + (time.process_time() - started) * len(planes) / len(some)
        return result

    masks = [timed("segment", as_pyama.segment, frame[0]) for frame in some]
    tracked = timed("track", as_pyama.track, masks)
    for frame, mask, labels in zip(some, masks, tracked, strict=True):
        for image in frame[1:]:
            surface = timed("background", oracles_background.like_pyama, image, mask)
            timed("extract", as_pyama.extract, labels, image, surface)
    timed("cache", as_pyama.show, some[:, 1])
    return spent | {"cache": 7 * spent["cache"]}


def large(folder: Path) -> Iterator[Row]:
    """One FOV of 100 x 2048 x 2048 in three channels, 300 cells."""
    _, cost = run_workflow(folder, simulated(25, 1024, 75), n_fovs=1, n_frames=100, tiled=2)
    yield {"what": "100 x 2048 x 2048, first run", **cost}
    for stage in list(JOBS)[:7]:
        ((cpu, peak),) = jobs(folder, stage)
        yield {"what": f"100 x 2048 x 2048, job {stage}", "cpu_s": cpu, "peak_mb": peak}
    cells = folder / "results/bench/fov_000/cells.zarr"
    files = [path for path in cells.rglob("*") if path.is_file() and not path.name.startswith(".")]
    n_arrays = sum(b'"array"' in path.read_bytes() for path in cells.rglob("zarr.json"))
    n_groups = sum(path.name == "zarr.json" for path in files) - n_arrays
    n_cells = len([path for path in (cells / "pc_ch_0").iterdir() if path.is_dir()])
    yield {
        "what": f"cells.zarr of {n_cells} cells x 100 frames, files per array",
        "n": (len(files) - n_groups) / n_arrays,
    }


def cpu_ms(function: Callable[[], object], repeats: int) -> float:
    """CPU milliseconds of a call, the least of `repeats`."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return 1000 * min(times)


def write_array(path: Path, frames: np.ndarray, kind: str, **attributes: object) -> Frames:
    with writing(path, frames.shape, frames.dtype, kind, attributes=attributes) as append:
        for frame in frames:
            append(frame)
    return open_frames(path)


def parted_and_linked(labels: np.ndarray) -> list[FrameTracks]:
    """What the tracking stage computes for (T, H, W) labels: shared regions are parted, then all are linked."""
    parted = (frame for frame, _ in shared_regions.part_regions(labels, defaults()["max_touching"]))
    return list(overlap.track(parted, split_touching=True))


def extracted(cells: Path) -> list[str]:
    """Traces of a cells.zarr with one fluorescence channel."""
    settings = {"min_frames": 1, "border_margin": 0, "mask_margin": 0, "light_margin": 0, "background_weight": 1.0}
    settings |= {"particle_sigma": 1.5, "particle_threshold": 4.5}
    chosen = Chosen(0, ((0, ("area", "aspect_ratio")), (1, tuple(FEATURES))))
    with open_store(cells) as get:
        return list(trace_table.trace_lines(get, 0, chosen, None, **settings))


def plain_ways(folder: Path) -> Iterator[Row]:
    """Our way and the plain way of each stage on the same 10 frames of 1024 x 1024, in turn."""
    planes = simulated(10, 1024, 75)
    phase, light = np.ascontiguousarray(planes[:, 0]), np.ascontiguousarray(planes[:, 1])
    labels = np.array([logstd.segment_frame(frame) for frame in phase])
    tracked = np.array(
        [relabel(frame, found, np.uint16) for frame, found in zip(labels, overlap.track(labels), strict=True)]
    )
    surface = np.array([background.estimate_background(*frame) for frame in zip(light, labels > 0, strict=True)])
    limits = display_level.limits_of_counts(display_level.count_pixels(light.reshape(-1, light.shape[-1])))
    arrays = [
        write_array(folder / "seg_tracked_ch_0/0", tracked, LABELS),
        write_array(folder / "fl_ch_1/0", light, PIXELS, display_limits=limits),
        write_array(folder / "fl_background_ch_1/0", surface, SMOOTH),
    ]

    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "copy: writing": (
            lambda: write_array(folder / "copied/0", light, PIXELS),
            lambda: plain.copy(light, folder / "copied_plainly"),
        ),
        "segment": (
            lambda: [logstd.segment_frame(frame) for frame in phase],
            lambda: [oracles.logstd_labels(frame) for frame in phase],
        ),
        "segment as PyAMA": (
            lambda: [pyama_original.segment_frame(frame) for frame in phase],
            lambda: [oracles.pyama_labels(frame) for frame in phase],
        ),
        "track": (lambda: parted_and_linked(labels), lambda: oracles.track(labels)),
        "background": (
            lambda: [background.estimate_background(*frame) for frame in zip(light, labels > 0, strict=True)],
            lambda: [oracles_background.like_pyama(*frame) for frame in zip(light, labels > 0, strict=True)],
        ),
        "crop": (
            lambda: crop_cells.write_cells(arrays[0], arrays[1:], folder / "cells.zarr", crop_padding=5),
            lambda: plain.crop(tracked, [light, surface, tracked], folder / "cropped_plainly"),
        ),
        "extract": (lambda: extracted(folder / "cells.zarr"), lambda: plain.extract(tracked, light, surface)),
        "cache": (
            lambda: cache_levels.cache_level(folder / "fl_ch_1/0", folder / "fl_ch_1/1"),
            lambda: plain.display_level(light, folder / "shown_plainly"),
        ),
    }
    for what, (ours, others) in pairs.items():
        fast, slow = cpu_ms(ours, 3) / len(phase), cpu_ms(others, 1) / len(phase)
        yield {"what": what, "ours_ms": fast, "plain_ms": slow, "ratio": slow / fast}
        if what == "crop":  # what the extraction reads
            write_array(folder / "pc_ch_0/0", phase, PIXELS)


def fovs(folder: Path) -> Iterator[Row]:
    """The whole workflow on FOVs of 6 frames of 128 x 128, where a job is little more than its start."""
    planes = simulated(6, 128, 3)
    for n in (4, 40, 400):
        (folder / str(n)).mkdir()
        _, cost = run_workflow(folder / str(n), planes, n_fovs=n, n_frames=6)
        yield {"n": n, **cost, "per_one_ms": 1000 * cost["cpu_s"] / n}


def frames(folder: Path) -> Iterator[Row]:
    """The jobs of a FOV of 512 x 512 without their starts."""
    planes = simulated(50, 512, 20)
    for n in (50, 150, 500):
        (folder / str(n)).mkdir()
        run_workflow(folder / str(n), planes, n_fovs=1, n_frames=n)
        costs = [jobs(folder / str(n), stage)[0] for stage in list(JOBS)[:7]]
        start = f"import snakemake.iocontainers, snakemake.logging, {JOBS['crop']}"
        started = min(cpu_of([PYTHON, "-c", start], cwd=ROOT / "scripts") for _ in range(3))
        work = sum(cpu for cpu, _ in costs) - len(costs) * started
        yield {"n": n, "cpu_s": work, "per_one_ms": 1000 * work / n, "peak_mb": max(peak for _, peak in costs)}


def cells(folder: Path) -> Iterator[Row]:
    """Tracking, and cropping with extraction, of 10 frames of 2048 x 2048 in which round cells wander."""
    rng = np.random.default_rng(0)
    side = 2048
    light = rng.integers(500, 600, (10, side, side), dtype=np.uint16)
    flat = np.full(light.shape, 500, np.float32)
    for n in (125, 500, 2000):
        rows = int(np.ceil(n**0.5))
        places = (np.stack(np.divmod(np.arange(n), rows), axis=1) + 0.5) * (side / rows)
        labels = np.zeros(light.shape, np.uint16)
        for image in labels:
            for cell, (y, x) in enumerate(places + rng.uniform(-4, 4, places.shape), 1):
                cv2.circle(image, (int(x), int(y)), 12, cell, cv2.FILLED)
        tracking = cpu_ms(lambda labels=labels: parted_and_linked(labels), 2)
        there = folder / str(n)
        arrays = [
            write_array(there / "seg_tracked_ch_0/0", labels, LABELS),
            write_array(there / "fl_ch_1/0", light, PIXELS),
            write_array(there / "fl_background_ch_1/0", flat, SMOOTH),
        ]
        cropping = cpu_ms(
            lambda arrays=arrays, there=there: crop_cells.write_cells(
                arrays[0], arrays[1:], there / "cells.zarr", crop_padding=5
            ),
            2,
        )
        extraction = cpu_ms(lambda there=there: extracted(there / "cells.zarr"), 2)
        yield {"n": n, "track_ms": tracking / 10, "crop_ms": cropping / 10, "extract_ms": extraction / 10}


PARTS = {
    "workflow": workflow,
    "large": large,
    "plain": plain_ways,
    "fovs": fovs,
    "frames": frames,
    "cells": cells,
}
TABLES = {"results": ("workflow", "large", "plain"), "scaling": ("fovs", "frames", "cells")}


def read(table: str) -> list[Row]:
    path = ROOT / f"benchmarks/{table}.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def write(table: str, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(ROOT / f"benchmarks/{table}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)


def draw(results: list[Row], scaling: list[Row]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams |= {"font.size": 9, "axes.titlesize": 9}
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
    work, ratio, memory, first, second, third = axes.ravel()

    bars = [row for row in results if str(row["what"]).startswith("job ")][:7][::-1]
    names = [str(row["what"])[4:] for row in bars]
    start, whole = (np.array([float(row[key]) for row in bars]) for key in ("of_it_start_s", "cpu_s"))
    work.barh(names, whole, color="0.35", label="work")
    work.barh(names, start, color="0.75", label="start of the job")
    work.set(xlabel="CPU s per FOV", title="jobs of a FOV of 60 x 1024 x 1024, 3 channels", xlim=(0, 1.7 * whole.max()))
    work.legend(frameon=False, loc="lower right")

    bars = [row for row in results if row["part"] == "plain"][::-1]
    ratio.barh([str(row["what"]) for row in bars], [float(row["ratio"]) for row in bars], color="0.35")
    ratio.axvline(1, color="0.75")
    ratio.set(xlabel="times faster", title="against the plain way of each")

    by_name = {str(row["what"]): row for row in results}
    for prefix, colour, offset in (("100 x 2048 x 2048, ", "0.75", 0.2), ("", "0.35", -0.2)):
        peaks = [float(by_name[f"{prefix}job {name}"]["peak_mb"]) for name in names]
        memory.barh(np.arange(len(names)) + offset, peaks, 0.4, color=colour, label="2048" if prefix else "1024")
    memory.set_yticks(range(len(names)), names)
    memory.set(xlabel="MB", title="peak memory of the jobs")
    memory.legend(frameon=False, title="side of a frame")

    of = lambda part: [row for row in scaling if row["part"] == part]  # noqa: E731
    for axis, part, key, label in (
        (first, "fovs", "per_one_ms", "CPU s per FOV of 6 x 128 x 128"),
        (second, "frames", "per_one_ms", "CPU ms per frame of 3 x 512 x 512"),
    ):
        rows = of(part)
        scale = 1000 if part == "fovs" else 1
        values = [float(row[key]) / scale for row in rows]
        axis.plot([int(row["n"]) for row in rows], values, "o-", color="0.35")
        axis.set(xscale="log", xlabel=part.replace("fovs", "FOVs"), title=label, ylim=(0, 1.2 * max(values)))
        axis.set_xticks([int(row["n"]) for row in rows], [str(row["n"]) for row in rows], minor=False)
        axis.minorticks_off()
    for stage, style in (("track", "o-"), ("crop", "s-"), ("extract", "^-")):
        rows = of("cells")
        third.plot([int(row["n"]) for row in rows], [float(row[f"{stage}_ms"]) for row in rows], style, label=stage)
    third.set(
        xscale="log", yscale="log", ylim=(1, None), xlabel="cells per frame", title="CPU ms per frame of 2048 x 2048"
    )
    third.set_xticks([int(row["n"]) for row in of("cells")], [str(row["n"]) for row in of("cells")])
    third.minorticks_off()
    third.legend(frameon=False, ncols=3, loc="lower center", columnspacing=1, handlelength=1.5)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    if total := by_name.get("first run"):
        least, most = (seconds / BESIDE_IT_FOVS for seconds in BESIDE_IT_S)
        theirs = REAL_PYAMA_S / BESIDE_IT_FOVS
        figure.suptitle(
            f"{float(total['cpu_s_per_fov']):.1f} CPU s per FOV of 60 x 1024 x 1024 in 3 channels, all included.\n"
            f"Side by side on another machine, per FOV: PyAMA itself {theirs:.1f} CPU s, this workflow {least:.1f} to "
            f"{most:.1f} ({theirs / most:.1f} to {theirs / least:.1f} times less)",
            fontsize=10,
        )
    figure.savefig(ROOT / "benchmarks/results.png", dpi=90)


def main(chosen: Sequence[str]) -> None:
    cv2.setNumThreads(1)
    job.keep_memory()
    tables = {table: read(table) for table in TABLES}
    for table, parts in TABLES.items():
        for part in parts:
            if part in chosen:
                with tempfile.TemporaryDirectory() as folder:
                    rows = []
                    for row in PARTS[part](Path(folder)):
                        rows.append({"part": part, **row})
                        print(json.dumps(row, default=float), flush=True)
                tables[table] = sorted(
                    [row for row in tables[table] if row["part"] != part] + rows,
                    key=lambda row: parts.index(row["part"]),
                )
                write(table, tables[table])
    draw(*tables.values())


if __name__ == "__main__":
    if unknown := {*sys.argv[1:]} - {*PARTS, "picture"}:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}, picture")
    main(sys.argv[1:] or list(PARTS))
