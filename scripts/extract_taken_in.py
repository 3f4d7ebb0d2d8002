"""Measure the cells that a person took in although a filter leaves them out: rows as in the traces, in a table apart.

The traces themselves stay as the filters make them, so that such a decision measures these cells alone. The table
always exists for a FOV in which a cell is called good, with no row where the filters keep them all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from celltraces.features.trace_table import choose, header, lines_of_cells
from celltraces.files import write_text
from celltraces.labels import lineage
from celltraces.results.curation import taken_in
from celltraces.runs import job
from celltraces.storage.cells import open_store


def main(
    output: str,
    *,
    cells: str,
    traces: str,
    decisions: str,
    lineage_table: str,
    fov: int,
    pc: int,
    chosen: Sequence[tuple[int, Sequence[str]]],
    lineage_columns: bool,
    plugins: Sequence[str],
    min_frames: int,
    border_margin: int,
    **settings: Any,
) -> None:
    """min_frames and border_margin leave nothing out here; they say which cells are in the traces."""
    wanted = choose(pc, chosen, plugins)
    born = lineage.read_table(Path(lineage_table)) if lineage_columns else None
    numbers = taken_in(Path(decisions), set(pd.read_csv(traces, usecols=["cell"])["cell"].tolist()))
    with open_store(Path(cells)) as get:
        lines = [header(wanted, born), *lines_of_cells(get, fov, wanted, born, numbers, **settings)]
    write_text(Path(output), "\n".join(lines) + "\n")
    job.log.info("taken in by hand: %s; %d rows", ", ".join(map(str, numbers)) or "no cell", len(lines) - 1)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.output.taken_in,
            cells=snakemake.input.cells,
            traces=snakemake.input.traces,
            decisions=snakemake.input.decisions,
            lineage_table=snakemake.input.lineage,
            **settings,
        )
