"""Draw what was measured, and outlines of several methods on one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.segmentation.methods import Segment, label_frame
from evaluation.movies import Movie

PANELS = (
    ("segmentation", "SEG", "segmentation: SEG (overlap with true outlines)"),
    ("tracking", "LNK", "tracking true outlines: LNK (links right)"),
    ("segmentation", "CPU s/frame", "segmentation: CPU seconds per frame"),
    ("tracking", "CPU s/frame", "tracking: CPU seconds per frame"),
)
PART = 420  # px of a picture's side that is shown with outlines


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw(rows: Sequence[Mapping[str, object]], output: Path) -> None:
    """A line for each set, a point for each method."""
    pyplot = _pyplot()
    sets = {what: list(dict.fromkeys(row["set"] for row in rows if row["what"] == what)) for what, *_ in PANELS[:2]}
    heights = [max(len(sets[what]), 1) for what in ("segmentation", "tracking")]
    figure, axes = pyplot.subplots(
        2, 2, figsize=(11, 2.4 + 0.3 * sum(heights)), height_ratios=heights, layout="constrained", sharey="row"
    )
    for axis, (what, measure, title) in zip(axes.T.ravel(), PANELS, strict=True):
        methods = dict.fromkeys(row["method"] for row in rows if row["what"] == what)
        for number, method in enumerate(methods):
            mine = [row for row in rows if row["what"] == what and row["method"] == method and measure in row]
            axis.plot(
                [row[measure] for row in mine],
                [sets[what].index(row["set"]) + 0.12 * (number - (len(methods) - 1) / 2) for row in mine],
                "osD^v"[number % 5],
                label=method,
                ms=5,
            )
        axis.set_yticks(range(len(sets[what])), sets[what])
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
        if measure.startswith("CPU"):
            axis.set_xscale("log")
        elif methods:
            axis.legend(fontsize=7, framealpha=0.8)
    for axis in axes[:, 0]:
        axis.invert_yaxis()
    figure.savefig(output, dpi=90)
    pyplot.close(figure)


def draw_outlines(movie: Movie, methods: Mapping[str, Callable[[], Segment]], output: Path) -> None:
    """True outlines (yellow) and those of each method (red) on a part of the first picture."""
    assert movie.images is not None
    pyplot = _pyplot()
    window = np.s_[:PART, :PART]
    image = movie.images[0]
    found = {"by hand": movie.cells[0]}
    found |= {name: label_frame(new(), image, (), 0)[0] for name, new in methods.items()}
    figure, axes = pyplot.subplots(1, len(found), figsize=(2.5 * len(found), 2.75), layout="constrained", squeeze=False)
    for axis, (name, labels) in zip(axes[0], found.items(), strict=True):
        axis.imshow(image[window], cmap="gray", vmin=np.percentile(image, 0.5), vmax=np.percentile(image, 99.5))
        for cell in np.unique(labels[window])[1:].tolist():
            inside = labels[window] == cell
            axis.contour(inside, [0.5], colors=["#ffd000" if name == "by hand" else "#ff3020"], linewidths=0.8)
        axis.set_title(name, fontsize=10)
        axis.set(xticks=[], yticks=[])
    figure.savefig(output, dpi=80)
    pyplot.close(figure)
