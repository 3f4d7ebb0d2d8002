"""Plot the traces, the numbers of cells and the distributions of one dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celltraces.files import whole
from celltraces.pictures.legend import colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {  # of matplotlib
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text in Illustrator and Inkscape
}
COLUMNS, PANEL = 4, (3.4, 2.7)  # panels side by side, and the width and height of one in inches
FEWEST = 3  # cells in a frame for a mean and a spread
MOST_NAMED = 10  # FOVs that a legend names


def trace_plot(tables: Mapping[str, pd.DataFrame], column: str, label: str) -> Figure:
    """A panel for each sample: thin lines of all cells, their mean and standard deviation over time.

    tables: sample -> rows with `fov`, `cell`, `frame`, `hours` and the feature's column.
    """
    figure, panels = _panels(len(tables), sharey=True)
    for panel, (sample, table), colour in zip(panels, tables.items(), colours(len(tables)), strict=True):
        cells = [trace for _, trace in table.groupby(["fov", "cell"], sort=True)]
        x, y = (_broken(trace[name] for trace in cells) for name in ("hours", column))
        width = float(np.clip(8 / max(len(cells), 1) ** 0.5, 0.15, 0.8))
        marker = "" if table["frame"].nunique() > 1 else "."
        panel.plot(x, y, marker=marker, color=colour, lw=width, alpha=0.35, rasterized=True)
        by_frame = table.groupby("frame").agg(
            hours=("hours", "mean"), mean=(column, "mean"), spread=(column, "std"), n=(column, "count")
        )
        by_frame = by_frame[by_frame["n"] >= FEWEST]
        low, high = by_frame["mean"] - by_frame["spread"], by_frame["mean"] + by_frame["spread"]
        panel.fill_between(by_frame["hours"], low, high, color="black", alpha=0.15, lw=0)
        panel.plot(by_frame["hours"], by_frame["mean"], color="black", lw=1.8)
        panel.set_title(f"{sample} (n = {len(cells)})")
    _label(figure, panels, "time (h)", label)
    return figure


def count_plot(counts: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for each way of counting, a line for each FOV. counts: title -> table (hours, fov, cells)."""
    figure, panels = _panels(len(counts), sharey=True)
    for panel, (title, table) in zip(panels, counts.items(), strict=True):
        lines = list(table.groupby("fov", sort=True))
        for (fov, line), colour in zip(lines, colours(len(lines)), strict=True):
            panel.plot(line["hours"], line["cells"], color=colour, lw=1.4, label=f"FOV {fov}")
        panel.set_title(title)
        panel.set_ylim(bottom=0)
        panel.yaxis.get_major_locator().set_params(integer=True)
    if 0 < len(lines) <= MOST_NAMED:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    _label(figure, panels, "time (h)", "cells")
    return figure


def distribution_plot(tables: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Figure:
    """A panel for each feature: the cells' means over time, as points, a violin, median and quartiles by sample."""
    figure, panels = _panels(len(labels))
    for panel, (column, label) in zip(panels, labels.items(), strict=True):
        names = []
        for at, ((sample, table), colour) in enumerate(zip(tables.items(), colours(len(tables)), strict=True)):
            values = table.groupby(["fov", "cell"])[column].mean().dropna().to_numpy()
            names.append(f"{sample}\nn = {len(values)}")
            if len(values) >= FEWEST and np.ptp(values) > 0:
                (body,) = panel.violinplot(values, [at], widths=0.8, showextrema=False)["bodies"]
                body.set(facecolor=colour, alpha=0.3, lw=0)
            if len(values):
                # Side by side in steps of the golden section: evenly strewn, and every time the same.
                aside = at + 0.5 * (np.arange(len(values)) * 0.618034 % 1 - 0.5)
                panel.plot(aside, values, ".", color=colour, ms=4, mew=0, alpha=0.7, rasterized=True)
                low, middle, high = np.percentile(values, [25, 50, 75])
                panel.vlines(at, low, high, color="black", lw=4)
                panel.plot(at, middle, "o", color="white", ms=4, zorder=3, markeredgecolor="black")
        panel.set_xticks(range(len(names)), names)
        panel.set_ylabel(label.replace(": ", "\n"))
    figure.suptitle("mean over time of each cell; median and quartiles")
    return figure


def _panels(n: int, **shared: bool) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    figure = Figure(figsize=(PANEL[0] * max(columns, 1.5), PANEL[1] * rows + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for panel in panels[n:]:
        panel.remove()
    return figure, panels[:n]


def _label(figure: Figure, panels: Sequence[Axes], x: str, y: str) -> None:
    figure.supxlabel(x, fontsize=11)
    figure.supylabel(y, fontsize=11)


def _broken(lines: Iterable[pd.Series]) -> np.ndarray:
    """Lines one after the other with a gap between: one object to draw instead of thousands."""
    parts = [part for line in lines for part in (line.to_numpy(float), [np.nan])]
    return np.concatenate(parts) if parts else np.zeros(0)


def save(figure: Figure, stem: Path) -> None:
    """Write stem.png and stem.pdf without dates, versions and anything else that differs from run to run."""
    nothing = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    for ending, metadata in nothing.items():
        with whole(stem.with_name(f"{stem.name}.{ending}")) as partial:
            figure.savefig(partial, format=ending, metadata=metadata)
