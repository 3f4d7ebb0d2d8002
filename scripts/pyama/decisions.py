"""What planning does about a person's decisions: which FOVs have some, where the cells of rows without a place lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyama.curation import Flag, versions
from pyama.errors import PyamaError
from pyama.files import remove
from pyama.paths import CURATION, PLACES, Layout, fov_text
from pyama.plan import Dataset

Flags = Mapping[str, Sequence[Flag]]
"""Rows of curation.csv by dataset."""


def decided(layout: Layout, dataset: Dataset, fov: int, flags: Flags) -> dict[str, Any]:
    """What a person decided on the cells of a FOV: rows of curation.csv, version of the inspected table."""
    rows = [flag for flag in flags.get(dataset.name, ()) if flag.fov == fov]
    found = versions([layout.inspected.format(dataset=dataset.name, fov=fov_text(fov))])
    inspected = {Path(table).name: version for table, version in found.items()}
    return {"flags": rows, "inspected": inspected} if rows or inspected else {}


def remember(layout: Layout, datasets: Iterable[Dataset], flags: Flags, *, write: bool) -> None:
    """Tie rows without a place to the cells that they name in the present results, before a run makes others.

    write: False (a dry run) changes nothing on disk. Raises PyamaError with a line for each cell that is not there.
    """
    mistakes = []
    for dataset in datasets:
        cells: dict[int, list[int]] = {}
        for flag in flags.get(dataset.name, ()):
            if flag.frame is None:
                cells.setdefault(flag.fov, []).append(flag.cell)
        remembered = (Path(layout.results) / PLACES / dataset.name).glob("fov_*.csv") if write else ()
        for path in remembered:
            if int(path.stem.removeprefix("fov_")) not in cells:
                remove(path)
        for fov, named in cells.items():
            mistakes += _remember_fov(layout, dataset, fov, named, write)
    if mistakes:
        raise PyamaError("\n".join(mistakes))


def _remember_fov(layout: Layout, dataset: Dataset, fov: int, cells: Sequence[int], write: bool) -> list[str]:
    from pyama import places

    names = {"dataset": dataset.name, "fov": fov_text(fov)}
    store = layout.cells.format(**names).removesuffix(".zip")
    absent, there = places.remember(
        Path(layout.places.format(**names)), cells, [Path(store), Path(store + ".zip")], dataset.pc, write=write
    )
    if fov not in dataset.fovs:
        return []
    known = f"its cells have numbers from {there[0]} to {there[-1]}" if there else "there is none at all"
    return [
        f"{layout.curation}: FOV {fov} of {dataset.name} has no cell {cell}; {known}; correct this row of {CURATION}, "
        "delete it, or give frame, x, y"
        for cell in absent
    ]


def forget(layout: Layout, datasets: Iterable[Dataset], flags: Flags) -> None:
    """Remove the tables of decisions that are no longer there; what was made of them, its rules make anew."""
    for dataset in datasets:
        for fov in dataset.fovs:
            if not decided(layout, dataset, fov, flags):
                names = {"dataset": dataset.name, "fov": fov_text(fov)}
                table = Path(layout.decisions.format(**names))
                if table.exists():
                    for path in (layout.log, layout.benchmark, layout.checksums):
                        remove(Path(path("curation").format(**names)))
                    remove(table)
