"""Draw the movie of one FOV: phase contrast with each cell's outline and number.

Cells that are in the traces have a colour of their own, the same in all frames, and the number that they have in the
table; the others, which a filter left out, are grey. Two passes: a few frames for the grey levels, then one at a time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celltraces.pictures.overlay import write_cell_movie
from celltraces.results.curation import good_traces
from celltraces.runs import job
from celltraces.storage.frames import open_frames


def main(
    pc: str,
    tracked: str,
    fl: Sequence[str],
    traces: str,
    output: str,
    decisions: Sequence[str],
    scales: Mapping[str, Any],
    **settings: int,
) -> None:
    (table,) = good_traces([traces], [scales["times_min"]], decisions)
    kept = sorted(set(table["cell"].tolist()))
    write_cell_movie(
        open_frames(Path(pc)),
        open_frames(Path(tracked)),
        [open_frames(Path(path)) for path in fl],
        kept,
        Path(output),
        times_min=scales["times_min"],
        pixel_size_um=scales["pixel_size_um"],
        **settings,
    )
    job.log.info("%d frames, %d cells with traces", len(scales["times_min"]), len(kept))
    if not scales["pixel_size_um"]:
        job.log.warning("the file does not say how large a pixel is: no scale bar")


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.input.pc,
            snakemake.input.tracked,
            snakemake.input.fl,
            snakemake.input.traces,
            snakemake.output.movie,
            snakemake.input.decisions,
            **settings,
        )
