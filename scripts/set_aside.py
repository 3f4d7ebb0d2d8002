"""Move results that no longer belong to the configuration into a folder of their own."""

import time
from collections.abc import Sequence
from pathlib import Path

from celltraces.errors import UserError
from celltraces.results import set_aside
from celltraces.runs import job


def main(results: str, found: Sequence[str]) -> None:
    if not found:
        print("All results belong to the configuration.", flush=True)
        return
    try:
        aside = set_aside.move(map(Path, found), Path(results), time.strftime("%Y-%m-%d"))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be moved ({error.strerror}); mend that and run this again") from None
    for path in found:
        job.log.info("moved %s", path)
    print(f"{len(found)} files and folders were moved to {aside}", flush=True)


if __name__ == "__main__":
    with job.running(snakemake):
        main(snakemake.params.results, snakemake.params.found)
