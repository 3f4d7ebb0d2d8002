"""Name every file and folder that the workflow reads or writes, in one place.

Templates keep Snakemake's wildcards ({dataset}, {fov}); `fov` is the number with three digits or more, as text.
"""

from __future__ import annotations

import re
from pathlib import Path

LAST_RUN = ".last_run.json"  # in the folder of all results
# Folders beside those of the datasets, for what goes with the results.
LOGS, BENCHMARKS, CHECKSUMS = "logs", "benchmarks", "checksums"
PLACES = "curation_places"  # where the cells of curation.csv lay when a row was first applied
# What a job can be for, as the part of these folders in which it leaves its file.
FOV, DATASET, ALL = "{dataset}/fov_{fov}/", "{dataset}/", ""
SHIFT_FIELD = "shift_field.sf"

# The user's, where there are any: which cells are good.
CURATION, INSPECTED = "curation.csv", "_inspected.csv"
# Ends of the names of a FOV's tables.
TRACES, DECISIONS, TAKEN_IN = "_traces.csv", "_decisions.csv", "_traces_taken_in.csv"
LINEAGE, LINEAGE_CORRECTED, LINEAGE_EDITED = "_lineage.csv", "_lineage_corrected.csv", "_lineage_edited.csv"


def pc(channel: int) -> str:
    """Name of the phase-contrast channel."""
    return f"pc_ch_{channel}"


def fl(channel: int) -> str:
    """Name of a fluorescence channel."""
    return f"fl_ch_{channel}"


def labeled(channel: int) -> str:
    """Name of the labels found in one frame of the phase-contrast channel."""
    return f"seg_labeled_ch_{channel}"


def tracked(channel: int) -> str:
    """Name of the labels that stay with a cell over time."""
    return f"seg_tracked_ch_{channel}"


def corrected(channel: int) -> str:
    """Name of the tracked labels as a person corrected them."""
    return f"seg_corrected_ch_{channel}"


def edited(channel: int) -> str:
    """Name of the tracked or corrected labels after a person's edits of tracks."""
    return f"seg_edited_ch_{channel}"


def flattened(channel: int) -> str:
    """Name of a fluorescence channel divided by its flat field."""
    return f"fl_flat_ch_{channel}"


def registered(channel: int) -> str:
    """Name of a fluorescence channel laid over the phase contrast by its shift field."""
    return f"fl_registered_ch_{channel}"


def cropped_as(name: str) -> str:
    """Name in cells.zarr of a channel of images.zarr: one mask, whoever corrected it, and light, corrected or not."""
    return re.sub("^fl_(flat|registered)", "fl", re.sub("^seg_(corrected|edited)", "seg_tracked", name))


def background(channel: int) -> str:
    """Name of the background estimate of a fluorescence channel."""
    return f"fl_background_ch_{channel}"


def is_phase_contrast(name: str) -> bool:
    """Whether a channel is the phase-contrast one."""
    return name.startswith("pc_")


def is_labels(name: str) -> bool:
    """Whether a channel of images.zarr or cells.zarr holds labels."""
    return name.startswith("seg_")


def fov_text(fov: int) -> str:
    """FOV number as it stands in folder and file names."""
    return f"{fov:03d}"


class Layout:
    """Where things lie below `output_dir`, with Snakemake's wildcards in the place of dataset and FOV."""

    def __init__(self, output_dir: str, cells_store: str = "dir") -> None:
        self.results = Path(output_dir).as_posix()
        self.dataset = f"{self.results}/{{dataset}}"
        self.fov = f"{self.dataset}/fov_{{fov}}"
        self.images = f"{self.fov}/images.zarr"
        self.cells = f"{self.fov}/cells.zarr" + (".zip" if cells_store == "zip" else "")
        self.base = "{dataset}_fov_{fov}"  # what the names of a FOV's files begin with
        self.traces = f"{self.fov}/{self.base}{TRACES}"
        self.inspected = self.traces.removesuffix(".csv") + INSPECTED
        self.lineage = f"{self.fov}/{self.base}{LINEAGE}"
        self.lineage_corrected = f"{self.fov}/{self.base}{LINEAGE_CORRECTED}"
        self.record = f"{self.dataset}/processing_config.yaml"
        self.quality = f"{self.dataset}/qc.csv"
        self.merged = f"{self.dataset}/{{sample}}_{{column}}.csv"
        self.tidy = f"{self.dataset}/{{dataset}}_traces"  # .csv and .parquet
        self.cell_list = f"{self.dataset}/{{dataset}}_cells.csv"
        self.stage_movement = f"{self.dataset}/{{dataset}}_stage_movement.csv"
        self.curation = f"{self.results}/{CURATION}"
        self.decisions = f"{self.fov}/{self.base}{DECISIONS}"
        self.taken_in = f"{self.fov}/{self.base}{TAKEN_IN}"
        self.edits = f"{self.results}/edits"  # a file for each author
        self.edits_of_run = f"{self.results}/.edits_of_this_run.jsonl"
        self.base_regions = f"{self.fov}/{self.base}_base_regions.zarr.zip"  # what edits of tracks were applied to
        self.lineage_edited = f"{self.fov}/{self.base}{LINEAGE_EDITED}"
        self.edits_outcomes = f"{self.dataset}/edits.csv"
        self.places = f"{self.results}/{PLACES}/{{dataset}}/fov_{{fov}}.csv"
        self.fitted = f"{self.dataset}/{{sample}}_{{column}}_fitted_{{model}}.csv"
        self.joined_traces = f"{self.results}/traces"  # .csv and .parquet: of all datasets, as are these
        self.joined = f"{self.results}/{{sample}}_{{column}}.csv"
        self.joined_fit = f"{self.results}/{{sample}}_{{column}}_fitted_{{model}}.csv"
        self.compared = f"{self.results}/comparison_{{table}}.csv"
        self.comparison = f"{self.results}/report.html"
        self.shift_field = f"{self.results}/{SHIFT_FIELD}"
        self.movie = f"{self.dataset}/.movie.json"
        self.scale = f"{self.dataset}/segmentation_scale.json"
        self.flat_fields = f"{self.dataset}/flat_field.json"
        self.overlay = f"{self.fov}/{self.base}_overlay"  # and the ending of the movie's format
        self.digest = f"{self.fov}/{self.base}_digest.zip"
        self.report = f"{self.dataset}/report.html"
        self.pictures = f"{self.dataset}/pictures"
        self.preview = f"{self.dataset}/preview"
        self.preview_labels = f"{self.preview}/segmentations/{{parameters}}.zip"

    def frames(self, name: str, level: int = 0) -> str:
        """An array of images.zarr; level 0 is full resolution, level 1 for display."""
        return f"{self.images}/{name}/{level}"

    def flat_field(self, channel: int) -> str:
        """The gain of a channel of a dataset, by which its frames are divided."""
        return f"{self.dataset}/flat_field_ch_{channel}.npy"

    def group(self, name: str = "") -> str:
        """Metadata file of images.zarr (no name) or of one of its channels."""
        return f"{self.images}/{name}/zarr.json" if name else f"{self.images}/zarr.json"

    def log(self, stage: str, of: str = FOV) -> str:
        """What a job says; `of` is the part of the results that the job is for: FOV, DATASET or ALL."""
        return f"{self.results}/{LOGS}/{of}{stage}.log"

    def benchmark(self, stage: str, of: str = FOV) -> str:
        """What a job cost."""
        return f"{self.results}/{BENCHMARKS}/{of}{stage}.tsv"

    def checksums(self, stage: str, of: str = FOV) -> str:
        """Sizes and checksums of what a job wrote."""
        return f"{self.results}/{CHECKSUMS}/{of}{stage}.txt"

    def of_job(self, stage: str, of: str = FOV) -> list[str]:
        """All that a job leaves besides its results."""
        return [self.log(stage, of), self.benchmark(stage, of), self.checksums(stage, of)]
