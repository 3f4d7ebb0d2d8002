"""Reads every result and says what is missing, truncated or changed since the workflow wrote it.

Arrays are read once more through zarr-python: what we wrote must be Zarr to others, too.
"""

from collections.abc import Sequence
from pathlib import Path

from pyama import checksums, foreign_arrays, job
from pyama.errors import PyamaError
from pyama.paths import CHECKSUMS


def verify(results: Path, targets: Sequence[Path]) -> list[str]:
    """What the jobs that made `targets` (files and folders below `results`) wrote and is not so any more, a line each.

    Results that nothing asks for any longer are not looked at.
    """
    wrong = []
    unlisted = dict.fromkeys(targets)
    for listing in sorted((results / CHECKSUMS).rglob("*.txt")):
        try:
            files = checksums.read(listing)
        except ValueError:
            wrong.append(f"{listing}: damaged")
            continue
        made = {place for file in files for place in (file, *file.parents) if place in unlisted}
        if made:
            differences = dict(checksums.differences(files))
            wrong += [f"{file}: {what}" for file, what in differences.items()]
            if not differences:
                wrong += [line for target in sorted(made) for line in _unreadable(target)]
        for target in made:
            del unlisted[target]
    wrong += [f"{target}: not made yet, or its checksums were lost" for target in unlisted]
    return wrong


def _unreadable(target: Path) -> list[str]:
    """The arrays of a store that zarr-python cannot read, a line each; none where `target` is no store."""
    if not ((target / "zarr.json").is_file() or target.name.endswith(".zarr.zip")):
        return []
    return [f"{target / key}: zarr-python cannot read it: {why}" for key, why in foreign_arrays.unreadable(target)]


def main(results: str, targets: Sequence[str]) -> None:
    wrong = verify(Path(results), [Path(target) for target in targets])
    for line in wrong:
        job.log.error("%s", line)
        print(line, flush=True)
    if wrong:
        raise PyamaError(
            f"{len(wrong)} results are not as they were written; delete what is named above and run snakemake again"
        )
    print(f"All {len(targets)} results are as they were written.", flush=True)


if __name__ == "__main__":
    with job.running(snakemake):
        main(snakemake.params.results, snakemake.params.targets)
