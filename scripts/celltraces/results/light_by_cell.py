"""Read the light of each cell from the traces of a FOV, once for all checks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

ByFrame = Mapping[int, Mapping[str, float]]
"""Intensities above the background: frame -> cell -> counts."""
KINDS = ("intensity_total", "intensity_mean")


@dataclass
class LightByCell:
    """The cells in a table of traces, by their number as written, and their light by column, NaN left out."""

    cells: set[str] = field(default_factory=set)
    light: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)

    def of_channel(self, channel: str) -> ByFrame:
        """The light of a channel ("1"), as the last of its columns has it."""
        return self.light[next(name for name in reversed(self.light) if name.endswith(f"_ch_{channel}"))]

    def channels(self) -> list[str]:
        """The channels of which the table has light."""
        return list(dict.fromkeys(name.rsplit("_", 1)[1] for name in self.light))


def light_of_traces(text: str) -> LightByCell:
    """text: traces as CSV."""
    rows = csv.DictReader(io.StringIO(text))
    traces = LightByCell(light={name: {} for name in rows.fieldnames or () if name.startswith(KINDS)})
    for row in rows:
        traces.cells.add(row["cell"])
        for name, by_frame in traces.light.items():
            if row[name] != "NaN":
                by_frame.setdefault(int(row["frame"]), {})[row["cell"]] = float(row[name])
    return traces
