"""Draw the movie of one FOV: phase contrast with each cell's outline and number.

Cells that are in the tables have a colour of their own, the same in all frames, and the number that they have there;
the others are grey, with letters behind the number that say why they are left out, which a legend explains. Two
passes: a few frames for the grey levels, then one at a time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celltraces.features.cell_list import LETTERS, find_cells, legend_of
from celltraces.labels.lineage import read_table
from celltraces.pictures.overlay import write_cell_movie
from celltraces.results.curation import good_traces
from celltraces.runs import job
from celltraces.storage.cells import open_store
from celltraces.storage.frames import open_frames

GIVEN = ("pc", "tracked", "fl", "traces", "decisions", "cells", "lineage")


def main(
    output: str,
    *,
    pc: str,
    tracked: str,
    fl: Sequence[str],
    traces: str,
    decisions: Sequence[str],
    cells: str,
    lineage: str,
    scales: Mapping[str, Any],
    channel: int,
    min_frames: int,
    border_margin: int,
    **settings: int,
) -> None:
    """channel: of the phase contrast. min_frames, border_margin: of the filters that left cells out."""
    (table,) = good_traces([traces], [scales["times_min"]], decisions)
    kept = sorted(set(table["cell"].tolist()))
    with open_store(Path(cells)) as get:
        found = find_cells(get, channel, min_frames, border_margin, read_table(Path(lineage)))
    kinds = found.kinds(kept)
    write_cell_movie(
        open_frames(Path(pc)),
        open_frames(Path(tracked)),
        [open_frames(Path(path)) for path in fl],
        kept,
        {cell: LETTERS[kind] for cell, kind in kinds.items()},
        legend_of(set(kinds.values()), min_frames, border_margin),
        Path(output),
        times_min=scales["times_min"],
        pixel_size_um=scales["pixel_size_um"],
        **settings,
    )
    job.log.info("%d frames, %d of %d cells in the tables", len(scales["times_min"]), len(kept), len(found.ids))
    if not scales["pixel_size_um"]:
        job.log.warning("the file does not say how large a pixel is: no scale bar")


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        given = {name: snakemake.input.get(name) for name in GIVEN}
        main(snakemake.output.movie, **given, **settings)
