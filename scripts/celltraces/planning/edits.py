"""Plan how a person's edits are applied: read them once, and tell which FOVs have edits of tracks and decisions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from celltraces.edits.records import TRACK_OPS, Edit, line_of, read_edits, read_file, to_json
from celltraces.edits.undo import in_force
from celltraces.files import remove, write_text
from celltraces.paths import DATASET, Layout, edited, fov_text
from celltraces.planning.dataset import Dataset

STAGES = ("apply_edits", "cache_edited", "index_edited")
OF_DATASET = "list_edits"
DECISIONS = ("good", "bad", "exclude")


class FovEdits(NamedTuple):
    """The edits of a FOV in the order in which they count. `counting`: those that are not taken back."""

    written: Sequence[Edit] = ()
    counting: Sequence[Edit] = ()

    @property
    def tracks(self) -> list[Edit]:
        """Those that change labels or lineage."""
        return [edit for edit in self.counting if edit.op in TRACK_OPS]

    @property
    def decisions(self) -> list[Edit]:
        """All that says which rows are in the tables, if anything does. Edits of tracks say which cell is meant."""
        decide = any(edit.op in DECISIONS for edit in self.counting)
        return [edit for edit in self.counting if edit.op != "seen"] if decide else []


Edits = Mapping[tuple[str, str], FovEdits]
"""(dataset, FOV as text) -> its edits; those without any are not in it."""

NONE = FovEdits()


def find_edits(
    config: Mapping[str, Any], layout: Layout, datasets: Mapping[str, Dataset], of_run: bool = False
) -> dict[tuple[str, str], FovEdits]:
    """The edits of all authors, by FOV. What is not used is named on the terminal.

    of_run: take those that the run at work was planned with, and none that was made meanwhile: for its jobs' own
    processes, as on a cluster, which plan once more.
    """
    if config["channels"]["pc"] is None or config["params"]["copy_only"]:
        return {}
    edits, notes = read_file(Path(layout.edits_of_run)) if of_run else read_edits(Path(layout.edits))
    elsewhere = sorted({edit.dataset for edit in edits} - datasets.keys())
    if elsewhere:
        notes.append(f"{layout.edits}: edits of {', '.join(elsewhere)} are not used; there is no such dataset")
    for note in notes:
        print(note, file=sys.stderr)
    by_fov: dict[tuple[str, str], list[Edit]] = {}
    for edit in edits:
        if edit.dataset in datasets:
            by_fov.setdefault((edit.dataset, fov_text(edit.fov)), []).append(edit)
    return {place: FovEdits(of_fov, in_force(of_fov)[0]) for place, of_fov in by_fov.items()}


def keep_for_jobs(layout: Layout, edits: Edits) -> None:
    """Keep the edits that a run is planned with, for its jobs' own processes."""
    path = Path(layout.edits_of_run)
    lines = [line_of(edit) for of_fov in edits.values() for edit in of_fov.written]
    if lines:
        write_text(path, "\n".join(lines) + "\n")
    else:
        remove(path)


def as_settings(edits: Iterable[Edit]) -> list[dict[str, Any]]:
    """Edits as a setting of a job: without notes, which change no result."""
    return [to_json(replace(edit, note="")) for edit in edits]


def with_edits(edits: Edits, dataset: str) -> list[str]:
    """The FOVs of a dataset that have edits, also those taken back and those that are not processed; as text."""
    return sorted(fov for name, fov in edits if name == dataset)


def list_settings(edits: Edits, dataset: Dataset) -> dict[str, Any]:
    """What the list of what became of a dataset's edits depends on besides the cells."""
    fovs = with_edits(edits, dataset.name)
    return {
        "edits": {fov: as_settings(edits[dataset.name, fov].written) for fov in fovs},
        "tracks_edited": [fov for fov in fovs if edits[dataset.name, fov].tracks],
        "fovs": [fov for fov in map(fov_text, dataset.fovs) if fov in fovs],
        "n_fovs": len(dataset.movie.fovs),
    }


def outcome_tables(layout: Layout, edits: Edits, datasets: Mapping[str, Dataset]) -> list[str]:
    """The tables of what became of edits, of those datasets that have some."""
    return [
        layout.edits_outcomes.format(dataset=name)
        for name, dataset in datasets.items()
        if dataset.fovs and with_edits(edits, name)
    ]


def forget(layout: Layout, datasets: Mapping[str, Dataset], edits: Edits) -> None:
    """Remove what came from edits that are no longer there; what was made of that, its rules make anew."""
    for dataset in datasets.values():
        for fov in map(fov_text, dataset.fovs):
            if dataset.pc is not None and not edits.get((dataset.name, fov), NONE).tracks:
                made = [f"{layout.images}/{edited(dataset.pc)}", layout.lineage_edited, layout.base_regions]
                for path in [*made, *(path for stage in STAGES for path in layout.of_job(stage))]:
                    remove(Path(path.format(dataset=dataset.name, fov=fov)))
        if not with_edits(edits, dataset.name):
            for path in (layout.edits_outcomes, *layout.of_job(OF_DATASET, DATASET)):
                remove(Path(path.format(dataset=dataset.name)))
