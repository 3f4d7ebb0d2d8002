"""Plot the traces, the numbers of cells and the distributions of one dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celltraces.files import whole
from celltraces.pictures.legend import colours
from celltraces.pictures.summaries import FEWEST, box, means_over_time, spread_by_frame

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
MOST_NAMED = 10  # FOVs that a legend names


def trace_plot(
    tables: Mapping[str, pd.DataFrame], column: str, label: str, tracked: Mapping[str, int], unit: str
) -> Figure:
    """A panel for each sample: thin lines of all cells, their mean, their median, and where 10 to 90 % of them are.

    tables: sample -> rows with `fov`, `cell`, `frame`, `time` and the feature's column. tracked: sample -> number of
    cells, also those that are not in the tables. unit: of the times.
    """
    figure, panels = _panels(len(tables), sharey=True)
    for panel, (sample, table), colour in zip(panels, tables.items(), colours(len(tables)), strict=True):
        cells = [trace for _, trace in table.groupby(["fov", "cell"], sort=True)]
        x, y = (_broken(trace[name] for trace in cells) for name in ("time", column))
        width = float(np.clip(8 / max(len(cells), 1) ** 0.5, 0.15, 0.8))
        marker = "" if table["frame"].nunique() > 1 else "."
        panel.plot(x, y, marker=marker, color=colour, lw=width, alpha=0.35, rasterized=True)
        times, (low, median, high, mean) = _spread(table, column)
        panel.fill_between(times, low, high, color="black", alpha=0.15, lw=0, label="10 to 90 % of the cells")
        panel.plot(times, median, color="black", lw=1.2, ls="--", label="median")
        panel.plot(times, mean, color="black", lw=1.8, label="mean")
        panel.set_title(f"{sample}: {len(cells):,} of {tracked[sample]:,} cells")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    _label(figure, panels, f"time ({unit})", label)
    return figure


def _by_cell(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The values of a column: a row for each frame, a column for each FOV and cell."""
    return table.set_index(["frame", "fov", "cell"])[column].unstack(["fov", "cell"])


def _spread(table: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean time of each frame with enough cells, and what `spread_by_frame` gives for it: (n,), (4, n)."""
    by_cell = _by_cell(table, column)
    spread = spread_by_frame(by_cell.to_numpy(float))
    enough = np.isfinite(spread[-1])
    times = table.groupby("frame")["time"].mean().reindex(by_cell.index).to_numpy(float)
    return times[enough], spread[:, enough]


def count_plot(counts: Mapping[str, pd.DataFrame], unit: str) -> Figure:
    """A panel for each way of counting, a line for each FOV. counts: title -> table (time, fov, cells)."""
    figure, panels = _panels(len(counts), sharey=True)
    for panel, (title, table) in zip(panels, counts.items(), strict=True):
        lines = list(table.groupby("fov", sort=True))
        for (fov, line), colour in zip(lines, colours(len(lines)), strict=True):
            panel.plot(line["time"], line["cells"], color=colour, lw=1.4, label=f"FOV {fov}")
        panel.set_title(title)
        panel.set_ylim(bottom=0)
        panel.yaxis.get_major_locator().set_params(integer=True)
    if 0 < len(lines) <= MOST_NAMED:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    _label(figure, panels, f"time ({unit})", "cells")
    return figure


def distribution_plot(
    tables: Mapping[str, pd.DataFrame], labels: Mapping[str, str], tracked: Mapping[str, int]
) -> Figure:
    """A panel for each feature: the cells' means over time, as points, and a box by sample: median and quartiles,
    whiskers from 10 to 90 %. tracked: sample -> number of cells, also those that are not in the tables."""
    figure, panels = _panels(len(labels))
    for panel, (column, label) in zip(panels, labels.items(), strict=True):
        names = []
        for at, ((sample, table), colour) in enumerate(zip(tables.items(), colours(len(tables)), strict=True)):
            values = means_over_time(_by_cell(table, column).to_numpy(float))
            values = values[np.isfinite(values)]
            (low, first, middle, third, high), n = box(values)
            names.append(f"{sample}\n{n:,} of\n{tracked[sample]:,} cells")
            if n >= FEWEST and np.ptp(values) > 0:
                (body,) = panel.violinplot(values, [at], widths=0.8, showextrema=False)["bodies"]
                body.set(facecolor=colour, alpha=0.3, lw=0)
            if n:
                # Side by side in steps of the golden section: evenly strewn, and every time the same.
                aside = at + 0.5 * (np.arange(n) * 0.618034 % 1 - 0.5)
                panel.plot(aside, values, ".", color=colour, ms=4, mew=0, alpha=0.7, rasterized=True)
                panel.vlines(at, low, high, color="black", lw=1)
                panel.vlines(at, first, third, color="black", lw=4)
                panel.plot(at, middle, "o", color="white", ms=4, zorder=3, markeredgecolor="black")
        panel.set_xticks(range(len(names)), names)
        panel.set_ylabel(label.replace(": ", "\n"))
    figure.suptitle("mean over time of each cell; median, quartiles, whiskers from 10 to 90 %")
    return figure


def _panels(n: int, **shared: bool) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    figure = Figure(figsize=(PANEL[0] * max(columns, 1.5), PANEL[1] * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for panel in panels[n:]:
        panel.remove()
    for panel in panels[:n]:
        panel.yaxis.set_major_formatter("{x:,.10g}")
    return figure, panels[:n]


def _label(figure: Figure, panels: Sequence[Axes], x: str, y: str) -> None:
    figure.supxlabel(x, fontsize=11)
    figure.supylabel(y, fontsize=11)


def _broken(lines: Iterable[pd.Series]) -> np.ndarray:
    """Lines one after the other with a gap between: one object to draw instead of thousands."""
    parts = [part for line in lines for part in (line.to_numpy(float), [np.nan])]
    return np.concatenate(parts) if parts else np.zeros(0)


def save_figure(figure: Figure, stem: Path) -> None:
    """Write stem.png and stem.pdf without dates, versions and anything else that differs from run to run."""
    figure.draw_without_rendering()  # sets the layout, which each format would compute anew
    figure.set_layout_engine("none")
    nothing = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    for ending, metadata in nothing.items():
        with whole(stem.with_name(f"{stem.name}.{ending}")) as partial:
            figure.savefig(partial, format=ending, metadata=metadata)
