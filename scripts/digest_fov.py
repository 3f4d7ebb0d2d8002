"""Make the digest of one FOV, from which the report is built.

One small zip file, so that the report of a thousand FOVs opens no image. `digest.json` in it says what there is (see
`make_digest`); beside it lie `thumbnail.webp` and `cell_{number}.webp`. A FOV of which this cannot be made gets a file
that says why: a report never costs the run its data.
"""

from pathlib import Path
from typing import Any

from celltraces.report.digest import write_digest
from celltraces.report.fov_digest import make_digest
from celltraces.runs import job


def main(output: str, **wanted: Any) -> None:
    write_digest(Path(output), lambda: make_digest(**wanted))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.output.digest,
            cells=Path(snakemake.input.cells),
            traces=Path(snakemake.input.traces),
            pc_frames=Path(snakemake.input.pc),
            tracked=Path(snakemake.input.tracked),
            labeled=Path(snakemake.input.labeled),
            lineage_table=Path(snakemake.input.lineage),
            decisions=snakemake.input.decisions,
            **settings,
        )
