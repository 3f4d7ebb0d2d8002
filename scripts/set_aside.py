"""Moves results that do not belong to the configuration to {output_dir}/set_aside-DATE/."""

import time
from collections.abc import Sequence
from pathlib import Path

from pyama import job, leftovers
from pyama.errors import PyamaError


def main(results: str, found: Sequence[str]) -> None:
    if not found:
        print("All results belong to the configuration.", flush=True)
        return
    try:
        aside = leftovers.move(map(Path, found), Path(results), time.strftime("%Y-%m-%d"))
    except OSError as error:
        raise PyamaError(
            f"{error.filename}: cannot be moved ({error.strerror}); mend that and run this again"
        ) from None
    for path in found:
        job.log.info("moved %s", path)
    print(f"{len(found)} files and folders were moved to {aside}", flush=True)


if __name__ == "__main__":
    with job.running(snakemake):
        main(snakemake.params.results, snakemake.params.found)
