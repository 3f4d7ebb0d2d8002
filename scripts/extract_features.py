"""Measure the features of every cell in every frame and write the traces.

Reads cells.zarr and the lineage table. Cells seen in too few frames or too near to the image's edge are left out first;
how many each filter removed stands in the log. The table always exists with its header, even without a cell in it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celltraces.features.trace_table import choose, trace_lines
from celltraces.files import write_text
from celltraces.labels import lineage
from celltraces.runs import job
from celltraces.storage.cells import open_store


def main(
    cells: str,
    output: str,
    fov: int,
    pc: int,
    chosen: Sequence[tuple[int, Sequence[str]]],
    lineage_table: str,
    *,
    lineage_columns: bool,
    plugins: Sequence[str],
    **settings: Any,
) -> None:
    wanted = choose(pc, chosen, plugins)
    origins = lineage.read_table(Path(lineage_table))
    born = origins if lineage_columns else None
    with open_store(Path(cells)) as get:
        lines = list(trace_lines(get, fov, wanted, born, origins, **settings))
    write_text(Path(output), "\n".join(lines) + "\n")
    job.log.info("%d rows", len(lines) - 1)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.input.cells,
            snakemake.output.traces,
            lineage_table=snakemake.input.lineage,
            **settings,
        )
