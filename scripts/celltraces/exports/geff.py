"""Write tracks as GEFF, the graph exchange format: a node is a cell in a frame, an edge leads to the next frame.

A Zarr group, written with our own store: `nodes/ids`, `nodes/props/{name}/values`, `edges/ids`, and the attribute
`geff`. Axes are t, y, x in frames and pixels, with scales to minutes and micrometers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.exports.fov import Fov, Spot, families, in_tables, links, mean_step_min, spots
from celltraces.files import whole
from celltraces.labels.lineage import Division
from celltraces.storage.cells import new_store, put_array, put_group
from celltraces.storage.codecs import LABELS

VERSION = "1.3"


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write cells and divisions as one graph, into the folder `outputs[0]`."""
    assert fov.labels is not None
    with whole(outputs[0]) as partial:
        found = list(spots(fov.labels))
        write_graph(partial / f"{fov.base}.geff", found, fov.divisions, in_tables(fov), **fov.settings)


def write_graph(
    path: Path,
    found: list[Spot],
    divisions: list[Division],
    counted: Collection[tuple[int, int]],
    *,
    pixel_size_um: float | None,
    times_min: Sequence[float],
) -> None:
    """Write the graph of cells and divisions; nodes are numbered in the order of `found`.

    counted: the cells and frames that tables have, which the property `in_tables` tells of each node.
    """
    edges = links(found, divisions)
    family = families(divisions)
    single = {division.daughters[0]: division.parent for division in divisions if len(division.daughters) == 1}
    cells = [spot.cell for spot in found]
    numbers: dict[str, tuple[Sequence[Any], Any]] = {
        "t": ([spot.frame for spot in found], np.int64),
        "y": ([spot.y for spot in found], np.float64),
        "x": ([spot.x for spot in found], np.float64),
        "cell": (cells, np.int64),
        "area": ([spot.area for spot in found], np.int64),
        "time_min": ([times_min[spot.frame] for spot in found], np.float64),
        "tracklet": ([_tracklet(cell, single) for cell in cells], np.int64),
        "in_tables": ([(spot.cell, spot.frame) in counted for spot in found], np.bool_),
        "lineage": ([family.get(cell, cell) for cell in cells], np.int64),
    }
    step = mean_step_min(times_min)
    space = {"type": "space", "unit": "pixel"}
    if pixel_size_um:
        space |= {"scale": pixel_size_um, "scaled_unit": "micrometer"}
    time = {"type": "time", "unit": "frame"} | ({"scale": step, "scaled_unit": "minute"} if step else {})
    geff = {
        "geff_version": VERSION,
        "directed": True,
        "axes": [{"name": "t", **time}, {"name": "y", **space}, {"name": "x", **space}],
        "node_props_metadata": {
            name: {"identifier": name, "dtype": np.dtype(dtype).name} for name, (_, dtype) in numbers.items()
        },
        "edge_props_metadata": {},
        "track_node_props": {"tracklet": "tracklet", "lineage": "lineage"},
        "display_hints": {"display_horizontal": "x", "display_vertical": "y", "display_time": "t"},
    }
    with new_store(path) as put:
        put_group(put, "", {"geff": geff})
        for group in ("nodes", "nodes/props", "edges", "edges/props", *(f"nodes/props/{name}" for name in numbers)):
            put_group(put, group)
        put_array(put, "nodes/ids", np.arange(len(found), dtype=np.uint64), LABELS)
        put_array(put, "edges/ids", np.array(edges, np.uint64).reshape(-1, 2), LABELS)
        for name, (values, dtype) in numbers.items():
            put_array(put, f"nodes/props/{name}/values", np.array(values, dtype), LABELS)


def _tracklet(cell: int, single: dict[int, int]) -> int:
    """A cell whose parent has no other daughter goes on its parent's way."""
    while cell in single:
        cell = single[cell]
    return cell
