"""Find the label corrections that a person put into the folder `corrections`, and the FOV of each."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celltraces.config.schema import load_schema
from celltraces.errors import UserError
from celltraces.files import remove
from celltraces.paths import Layout, corrected, fov_text
from celltraces.planning.dataset import Dataset

SUFFIXES = (".zip", ".trk")
STAGES = ("apply_corrections", "cache_corrected", "index_corrected")

Corrections = Mapping[tuple[str, str], str]
"""(dataset, FOV as text) -> file."""


def find_corrections(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[tuple[str, str], str]:
    """The files in the folder `corrections` that belong to a FOV that is processed.

    A file that belongs to none (a download named "... (1).zip") is named on the terminal, since its work would be lost.
    For the same reason a folder that the config names has to be there: raises UserError.
    """
    folder = Path(config["corrections"])
    if config["channels"]["pc"] is None or config["params"]["copy_only"]:
        return {}
    if not folder.is_dir():
        usual = load_schema()["properties"]["corrections"]["default"]  # it need not be there
        if folder.exists() or config["corrections"] != usual:
            raise UserError(
                f"corrections: {folder} is no folder; make it, correct the path, or take the key out of the config: "
                f"then the folder {usual} is used if there is one"
            )
        return {}
    files = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}
    found: dict[tuple[str, str], str] = {}
    for dataset in datasets.values():
        for fov in range(len(dataset.movie.fovs)):
            base = f"{dataset.name}_fov_{fov_text(fov)}"
            named = [files.pop(base + suffix) for suffix in SUFFIXES if base + suffix in files]
            if len(named) > 1:
                raise UserError(f"corrections: {named[0]} and {named[1].name} are for the same FOV; keep one of them")
            if named and fov in dataset.fovs:
                found[dataset.name, fov_text(fov)] = named[0].as_posix()
    for path in files.values():
        print(f"corrections: {path} is not used; files are named like {base}.zip", file=sys.stderr)
    return found


def forget(layout: Layout, datasets: Mapping[str, Dataset], found: Corrections) -> None:
    """Remove what came from corrections that are no longer there; what was made of that, its rules make anew."""
    for dataset in datasets.values():
        for fov in map(fov_text, dataset.fovs):
            if dataset.pc is not None and (dataset.name, fov) not in found:
                made = [f"{layout.images}/{corrected(dataset.pc)}", layout.lineage_corrected]
                for path in [*made, *(path for stage in STAGES for path in layout.of_job(stage))]:
                    remove(Path(path.format(dataset=dataset.name, fov=fov)))
