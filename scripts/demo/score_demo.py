"""Compare the demo's results with its truth, and draw the README's picture from them.

Usage: python scripts/demo/score_demo.py DEMO_FOLDER RESULTS_FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from celltraces.storage.frames import open_frames
from demo.simulate import DEMO_VIGNETTING, Experiment, simulate


def score(experiment: Experiment, results: Path) -> dict[str, float]:
    """Figures of merit of one dataset's results (folder `results`/{dataset}) against the simulated truth.

    A tracked cell belongs, in each frame, to the true cell with which it shares most pixels. Eligible are true cells
    that the filters should keep: seen in min_frames frames or more and never within border_margin of the edge.
    """
    record = yaml.safe_load((results / "processing_config.yaml").read_text(encoding="utf-8"))
    pc = record["channels"]["pc"]["channel"]
    params = record["params"]
    rows = [_match_fov(experiment, results, fov, pc) for fov in record["provenance"]["fovs_processed"]]
    matched = pd.concat([traces for traces, _ in rows], ignore_index=True)
    truth = pd.concat([true for _, true in rows], ignore_index=True)
    margin, low = params["border_margin"], truth[["y0", "x0"]].min(axis=1)
    inside = (low >= margin) & (truth.y1 <= experiment.height - margin) & (truth.x1 <= experiment.width - margin)
    eligible = (
        truth.assign(inside=inside)
        .groupby(["fov", "cell"])
        .filter(lambda cell: cell.inside.all() and len(cell) >= params["min_frames"])
    )
    by_track = matched.groupby(["fov", "cell"]).true
    majority = by_track.transform(lambda true: true.mode().iloc[0])
    seen = eligible.merge(matched, left_on=["fov", "cell", "frame"], right_on=["fov", "true", "frame"], how="left")
    seen = seen.drop_duplicates(["fov", "cell_x", "frame"])
    ids = seen.dropna(subset="cell_y").groupby(["fov", "cell_x"]).cell_y.nunique()
    figures = {
        "true cells": truth.groupby(["fov", "cell"]).ngroups,
        "eligible cells": eligible.groupby(["fov", "cell"]).ngroups,
        "tracks": by_track.ngroups,
        "purity": float((matched.true == majority).mean()),
        "frame coverage": float(seen.cell_y.notna().mean()),
        "under one ID": float((ids == 1).sum() / max(eligible.groupby(["fov", "cell"]).ngroups, 1)),
    }
    for at, channel in enumerate(record["channels"]["fl"], start=1):
        column, true = f"intensity_total_ch_{channel['channel']}", f"intensity_{at}"
        if column in seen:
            bright = seen[true] > 0.1 * seen[true].max()
            figures[f"total/true, channel {channel['channel']}"] = float((seen[column] / seen[true])[bright].median())
        figures[f"background RMS, channel {channel['channel']}"] = _background_error(
            experiment, results, record, channel["channel"]
        )
    return figures


def _match_fov(experiment: Experiment, results: Path, fov: int, pc: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Traces of one FOV with the true cell of every row (0: none), and the truth."""
    from demo.simulate import truth_rows

    folder = results / f"fov_{fov:03d}"
    traces = pd.read_csv(folder / f"{results.name}_fov_{fov:03d}_traces.csv")
    tracked = open_frames(folder / f"images.zarr/seg_tracked_ch_{pc}/0")
    true: dict[tuple[int, int], int] = {}
    for frame in range(experiment.n_frames):
        labels, cells = tracked.read(frame), experiment.labels(fov, frame)
        for cell in np.unique(labels[labels > 0]).tolist():
            true[frame, cell] = int(np.bincount(cells[labels == cell]).argmax())
    traces["true"] = [true[key] for key in zip(traces.frame, traces.cell, strict=True)]
    return traces, pd.DataFrame(truth_rows(experiment, fov))


def _background_error(experiment: Experiment, results: Path, record: Mapping[str, Any], channel: int) -> float:
    squares = []
    for fov in record["provenance"]["fovs_processed"]:
        estimate = open_frames(results / f"fov_{fov:03d}/images.zarr/fl_background_ch_{channel}/0")
        for frame in range(experiment.n_frames):
            squares.append(np.mean((estimate.read(frame) - experiment.background(fov, frame, channel)) ** 2))
    return float(np.sqrt(np.mean(squares)))


def draw(results: Path, output: Path, fov: int = 0) -> None:
    """A frame with the outlines of the cells that gave traces, beside the traces."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    record = yaml.safe_load((results / "processing_config.yaml").read_text(encoding="utf-8"))
    pc, fl = record["channels"]["pc"]["channel"], [channel["channel"] for channel in record["channels"]["fl"]]
    folder = results / f"fov_{fov:03d}"
    traces = pd.read_csv(folder / f"{results.name}_fov_{fov:03d}_traces.csv")
    hours = np.array(record["provenance"]["time"]["first_fov"]) / 60
    frame = len(hours) // 2
    image = open_frames(folder / f"images.zarr/pc_ch_{pc}/0").read(frame)
    labels = open_frames(folder / f"images.zarr/seg_tracked_ch_{pc}/0").read(frame)
    kept = sorted(traces.cell.unique())
    colours = dict(zip(kept, plt.get_cmap("turbo")(np.linspace(0.05, 0.95, max(len(kept), 1))), strict=False))
    figure = plt.figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    left.imshow(image, cmap="gray", vmin=np.percentile(image, 0.5), vmax=np.percentile(image, 99.5))
    for cell in np.unique(labels[labels > 0]):
        left.contour(labels == cell, [0.5], colors=[colours.get(cell, (1, 1, 1, 0.5))], linewidths=1.2)
    left.set(title=f"phase contrast, {hours[frame]:.1f} h", xticks=[], yticks=[])
    column = f"intensity_total_ch_{fl[0]}"
    for cell, trace in traces.groupby("cell"):
        right.plot(hours[trace.frame], trace[column], color=colours[cell], lw=1)
    light = record["provenance"]["channel_names"][fl[0]]
    right.set(title=f"{light}: total intensity of each cell (counts)", xlabel="time (h)")
    right.yaxis.set_major_formatter("{x:,.0f}")
    right.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=100)
    plt.close(figure)


def main(demo: Path, results: Path) -> None:
    experiment = simulate(vignetting=DEMO_VIGNETTING)
    datasets = [path for path in (results / "demo_nd2", results / "demo_czi") if path.is_dir()]
    table = pd.DataFrame({path.name: score(experiment, path) for path in datasets})
    print("\nRecovered, against the truth of the simulation:\n")
    print(table.to_string(float_format=lambda value: f"{value:.3f}".rstrip("0").rstrip(".")))
    draw(datasets[0], demo / "traces.png")
    print(f"\nPicture: {demo}/traces.png    Traces: {results}/*/fov_*/*_traces.csv    Config: config/config.yaml")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
