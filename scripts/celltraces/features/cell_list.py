"""List the cells of a FOV, a row for each: where it is, what was measured, and why it is not in the tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celltraces.features.filters import near_edge, too_short, why_left_out
from celltraces.labels import lineage
from celltraces.storage.cells import Get, get_array

if TYPE_CHECKING:
    import pandas as pd

REFUSED = "refused by a person"
KINDS = ("short", "border", "both", "refused")  # why a cell is left out, in a word
LETTERS = {"short": "f", "border": "e", "both": "fe", "refused": "r"}  # on pictures, behind a cell's number
MEDIAN = "median_"  # before the name of a feature
GROWTH = "area_growth_per_h"
FEWEST_ROWS = 3  # for a rate of growth


@dataclass(frozen=True)
class FoundCells:
    """The cells that were tracked in a FOV, and which of them the filters leave out.

    ids (N,); valid (N, T) bool: the frames in which each is; short, border (N,) bool: seen in too few frames, too near
    to the edge; words: the same with the limits, "" for cells that are kept.
    """

    ids: np.ndarray
    valid: np.ndarray
    short: np.ndarray
    border: np.ndarray
    words: Sequence[str]

    def kinds(self, good: Collection[int]) -> dict[int, str]:
        """Why, one of KINDS, of each cell that is not among the `good` ones, which are in the tables."""
        by_filters = {(True, True): "both", (True, False): "short", (False, True): "border"}
        return {
            cell: by_filters.get((few, near), "refused")
            for cell, few, near in zip(self.ids.tolist(), self.short.tolist(), self.border.tolist(), strict=True)
            if cell not in good
        }

    def reasons(self, good: Collection[int]) -> dict[int, str]:
        """Why, in words, of each cell that is not among the `good` ones."""
        of_filters = zip(self.ids.tolist(), self.words, strict=True)
        return {cell: words or REFUSED for cell, words in of_filters if cell not in good}


def legend_of(kinds: Collection[str], min_frames: int, border_margin: int) -> list[str]:
    """What the letters behind the numbers of cells of these `kinds` mean, a line for each letter that occurs."""
    words = {
        "short": f"in fewer than {min_frames} frames",
        "border": f"within {border_margin} px of the edge",
        "refused": REFUSED,
    }
    letters = {letter for kind in kinds for letter in LETTERS[kind]}
    return [f"{LETTERS[kind]}: {meaning}" for kind, meaning in words.items() if LETTERS[kind] in letters]


def find_cells(
    get: Get, pc: int, min_frames: int, border_margin: int, origins: Mapping[int, tuple[int, int]]
) -> FoundCells:
    """The cells of a store, whose phase-contrast channel is `pc`; origins: of cells that have a parent."""
    ids, valid, bboxes = (get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "bboxes"))
    valid = valid.astype(bool)
    short = too_short(ids, valid, min_frames, origins)
    border = near_edge(get, ids, valid, bboxes, pc, border_margin)
    return FoundCells(
        ids, valid, short, border, why_left_out(short, border, valid.sum(axis=1), min_frames, border_margin)
    )


def cell_list(
    found: FoundCells,
    traces: pd.DataFrame,
    columns: Sequence[str],
    origins: Mapping[int, tuple[int, int]],
    area: str | None,
) -> pd.DataFrame:
    """A row for each tracked cell, sorted by number: cell, first_frame, last_frame, frames (how many), in_tables
    (bool), left_out (why not, in words; "taken in by hand" has its words too), the median of each of `columns`,
    area_growth_per_h, parent, division_frame.

    traces: of the FOV as `curation.judged_traces` gives them. Medians and growth are those of the rows that are in the
    tables; of a refused cell, of all its rows; NaN for what was not measured. area: the column of the growth.
    """
    import pandas as pd

    good = set(traces.loc[traces["good"], "cell"].tolist())
    counted = traces[traces["good"] | ~traces["cell"].isin(good)]
    medians = counted.groupby("cell")[list(columns)].median()
    reasons, filtered = found.reasons(good), dict(zip(found.ids.tolist(), found.words, strict=True))
    growth = growth_rates(counted, area) if area else {}
    frames = [np.flatnonzero(of_cell) for of_cell in found.valid]
    table = pd.DataFrame(
        {
            "cell": found.ids.astype(np.int64),
            "first_frame": [int(there[0]) for there in frames],
            "last_frame": [int(there[-1]) for there in frames],
            "frames": [len(there) for there in frames],
            "in_tables": [cell in good for cell in found.ids.tolist()],
            "left_out": [
                reasons.get(cell) or (f"taken in by hand: {filtered[cell]}" if filtered[cell] else "")
                for cell in found.ids.tolist()
            ],
        }
    ).astype(
        {**dict.fromkeys(("first_frame", "last_frame", "frames"), "int64"), "in_tables": "bool", "left_out": "str"}
    )
    for column in columns:
        table[MEDIAN + column] = table["cell"].map(medians[column]).astype(float)
    table[GROWTH] = table["cell"].map(growth).astype(float)
    for at, name in enumerate(lineage.TRACE_COLUMNS):
        table[name] = table["cell"].map({cell: origin[at] for cell, origin in origins.items()}).astype("Int64")
    return table.sort_values("cell", ignore_index=True)


def growth_rates(traces: pd.DataFrame, area: str) -> dict[int, float]:
    """The relative rate at which the area of each cell grows, per hour: the slope of a straight line through the
    logarithms of the areas over time. Cells with fewer than FEWEST_ROWS areas have none."""
    rates = {}
    for cell, of_cell in traces.groupby("cell"):
        hours, areas = of_cell["time_min"].to_numpy(float) / 60, of_cell[area].to_numpy(float)
        there = areas > 0
        off = hours[there] - hours[there].mean() if there.any() else hours[there]
        if len(off) >= FEWEST_ROWS and off.any():
            rates[int(cell)] = float(off @ np.log(areas[there]) / (off @ off))
    return rates
