"""Make the digest of one FOV, from which the report is built.

One small zip file, so that the report of a thousand FOVs opens no image. `digest.json` in it says what there is (see
`make_digest`); beside it lie `thumbnail.webp` and `cell_{number}.webp`. A FOV of which this cannot be made gets a file
that says why: a report never costs the run its data.
"""

import json
from pathlib import Path
from typing import Any

from celltraces.report.digest import DIGEST
from celltraces.report.fov_digest import make_digest
from celltraces.runs import job
from celltraces.storage import cells


def main(output: str, **wanted: Any) -> None:
    try:
        files = make_digest(**wanted)
    except Exception as error:
        job.log.exception("the report will not show this FOV")
        files = {DIGEST: json.dumps({"problem": type(error).__name__}).encode()}
    with cells.new_store(Path(output)) as put:
        for name, content in files.items():
            put(name, content)
    job.log.info("%d files, %d bytes", len(files), sum(map(len, files.values())))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.output.digest,
            cells=Path(snakemake.input.cells),
            traces=Path(snakemake.input.traces),
            pc_frames=Path(snakemake.input.pc),
            tracked=Path(snakemake.input.tracked),
            labeled=Path(snakemake.input.labeled),
            **settings,
        )
