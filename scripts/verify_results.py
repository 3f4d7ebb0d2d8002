"""Reads every result and says what is missing, truncated or changed since the workflow wrote it."""

from collections.abc import Iterable
from pathlib import Path

from pyama import checksums, job
from pyama.errors import PyamaError


def verify(listings: Iterable[Path]) -> tuple[list[str], int]:
    """What is not as the lists of checksums say, a line each, and the number of jobs whose results were read."""
    wrong, n_jobs = [], 0
    for listing in listings:
        n_jobs += 1
        if listing.is_file():
            wrong += [f"{file}: {what}" for file, what in checksums.differences(listing)]
        else:
            wrong.append(f"{listing}: missing; the results that it lists were not made, or were lost")
    return wrong, n_jobs


def main(listings: Iterable[str]) -> None:
    wrong, n_jobs = verify(map(Path, listings))
    for line in wrong:
        job.log.error("%s", line)
        print(line, flush=True)
    if wrong:
        raise PyamaError(
            f"{len(wrong)} files are not as they were written; delete what is named above and run snakemake again"
        )
    print(f"The results of all {n_jobs} jobs are as they were written.", flush=True)


if __name__ == "__main__":
    with job.running(snakemake):
        main(snakemake.params.listings)
