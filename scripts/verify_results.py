"""Read every result and report what is missing, truncated or changed since the workflow wrote it.

Arrays are read once more through zarr-python: what we wrote must be Zarr to others, too.
"""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from celltraces.errors import UserError
from celltraces.paths import CHECKSUMS
from celltraces.runs import job
from celltraces.storage import checksums, foreign_arrays


def verify(results: Path, targets: Sequence[Path]) -> tuple[list[str], list[Path]]:
    """What the jobs that made `targets` (files and folders below `results`) wrote and is not so any more, a line each.

    Besides, one target of each such job that is there, so that Snakemake makes it anew only when told to. Results that
    nothing asks for any longer are not looked at.
    """
    wrong, to_force = [], []
    unlisted = dict.fromkeys(targets)
    for listing in sorted((results / CHECKSUMS).rglob("*.txt")):
        try:
            files = checksums.read(listing)
        except ValueError:
            wrong.append(f"{listing}: damaged")
            continue
        made = {place: None for file in files for place in (file, *file.parents) if place in unlisted}
        if made:
            differences = dict(checksums.differences(files))
            replaced = _replaced(differences)
            lines = [f"{array}: another array than was written; it can be read, and is used" for array in replaced]
            lines += [f"{file}: {what}" for file, what in differences.items() if not {*file.parents} & {*replaced}]
            if not differences:
                lines = [line for target in sorted(made) for line in _unreadable(target)]
            wrong += lines
            to_force += [target for target in made if target.exists()][:1] if lines else []
        for target in made:
            del unlisted[target]
    wrong += [f"{target}: not made yet, or its checksums were lost" for target in unlisted]
    return wrong, [*to_force, *(target for target in unlisted if target.exists())]


def _replaced(differences: Iterable[Path]) -> list[Path]:
    """The arrays put in the place of ours: description and chunks are others, and zarr-python reads them."""
    files = list(differences)
    described = [file.parent for file in files if file.name == "zarr.json" and file.is_file()]
    return [
        array
        for array in described
        if any(array in file.parents and file.name != "zarr.json" for file in files)
        and not list(foreign_arrays.unreadable(array))
    ]


def _unreadable(target: Path) -> list[str]:
    """The arrays of a store that zarr-python cannot read, a line each; none where `target` is no store."""
    if not ((target / "zarr.json").is_file() or target.name.endswith(".zarr.zip")):
        return []
    return [f"{target / key}: zarr-python cannot read it: {why}" for key, why in foreign_arrays.unreadable(target)]


def remedy(command: Sequence[str], to_force: Sequence[Path]) -> str:
    """The command that makes results new: as it was given, without the word verify."""
    words = [word for word in command if word != "verify"]
    return shlex.join([*words, *(["--forcerun", *map(str, to_force)] if to_force else [])])


def main(results: str, targets: Sequence[str], command: Sequence[str]) -> None:
    wrong, to_force = verify(Path(results), [Path(target) for target in targets])
    for line in wrong:
        job.log.error("%s", line)
        print(line, flush=True)
    if wrong:
        print(f"This command makes new what is named above:\n  {remedy(command, to_force)}", flush=True)
        files = "1 file or result is" if len(wrong) == 1 else f"{len(wrong)} files or results are"
        raise UserError(f"{files} not as written; run the command above")
    print(f"All {len(targets)} results are as they were written.", flush=True)


if __name__ == "__main__":
    with job.running(snakemake):
        main(snakemake.params.results, snakemake.params.targets, snakemake.params.command)
