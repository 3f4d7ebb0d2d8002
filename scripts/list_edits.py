"""List what became of a person's edits on a dataset: a row for each, in the order in which they count."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from celltraces.edits import regions
from celltraces.edits.records import LOST, UNUSED, Edit, from_json
from celltraces.edits.replay import replay
from celltraces.files import csv_text, write_text
from celltraces.runs import job
from celltraces.storage.frames import open_frames

COLUMNS = ("id", "op", "by", "when", "fov", "status", "reason")


def outcomes(edits: Sequence[Edit], cells: Path, base: Path, base_regions: Path | None) -> Iterator[tuple[str, str]]:
    """Status and reason of each edit of a FOV, in the order given."""
    labels = open_frames(base)
    result = replay(regions.open_base(cells, base_regions), edits, regions.label_reader(labels))
    for edit in edits:
        yield result.outcomes[edit.id][:2]


def main(
    cells: Sequence[str],
    base: Sequence[str],
    base_regions: Sequence[str],
    output: str,
    *,
    edits: Mapping[str, Sequence[Mapping[str, Any]]],
    tracks_edited: Sequence[str],
    fovs: Sequence[str],
    n_fovs: int,
) -> None:
    """cells, base: of each of `fovs`, those that are processed. base_regions: of those in `tracks_edited`. edits: by
    FOV, as text. n_fovs: how many the file has."""
    kept = dict(zip([fov for fov in fovs if fov in tracks_edited], map(Path, base_regions), strict=True))
    rows: list[tuple[Any, ...]] = []
    of_fov = {fov: [from_json(edit) for edit in written] for fov, written in edits.items()}
    found = {
        fov: outcomes(of_fov[fov], Path(store), Path(labels), kept.get(fov))
        for fov, store, labels in zip(fovs, cells, base, strict=True)
    }
    for fov, written in of_fov.items():
        if fov not in found:
            without = (UNUSED, "this FOV is not processed") if int(fov) < n_fovs else (LOST, "there is no such FOV")
            found[fov] = iter([without] * len(written))
        for edit, what in zip(written, found[fov], strict=True):
            rows.append((edit.id, edit.op, edit.by, edit.when, edit.fov, *what))
    write_text(Path(output), csv_text([COLUMNS, *sorted(rows, key=lambda row: (row[3], row[0]))]))
    job.log.info("%d edits", len(rows))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.input.cells,
            snakemake.input.base,
            snakemake.input.base_regions,
            snakemake.output.edits,
            **settings,
        )
