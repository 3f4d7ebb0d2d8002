"""Names and places of everything the workflow reads and writes, in one module.

Templates keep Snakemake's wildcards ({dataset}, {fov}); `fov` is the number with three digits or more, as text.
"""

from __future__ import annotations

from pathlib import Path


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


def cropped_as(name: str) -> str:
    """Name in cells.zarr of a channel of images.zarr: cells have one mask, corrected or not."""
    return name.replace("seg_corrected", "seg_tracked")


def background(channel: int) -> str:
    """Name of the background estimate of a fluorescence channel."""
    return f"fl_background_ch_{channel}"


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
        self.traces = f"{self.fov}/{self.base}_traces.csv"
        self.lineage = f"{self.fov}/{self.base}_lineage.csv"
        self.record = f"{self.dataset}/processing_config.yaml"
        self.merged = f"{self.dataset}/{{sample}}_{{column}}.csv"
        self.movie = f"{self.dataset}/.movie.json"

    def frames(self, name: str, level: int = 0) -> str:
        """An array of images.zarr; level 0 is full resolution, level 1 for display."""
        return f"{self.images}/{name}/{level}"

    def group(self, name: str = "") -> str:
        """Metadata file of images.zarr (no name) or of one of its channels."""
        return f"{self.images}/{name}/zarr.json" if name else f"{self.images}/zarr.json"

    def log(self, stage: str) -> str:
        return f"{self.results}/logs/{{dataset}}/fov_{{fov}}/{stage}.log"

    def benchmark(self, stage: str) -> str:
        return f"{self.results}/benchmarks/{{dataset}}/fov_{{fov}}/{stage}.tsv"
