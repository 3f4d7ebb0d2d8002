"""Say what is in the input files: a few lines for each dataset, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from statistics import median
from typing import Any

from celltraces.config.selection import spell_fovs
from celltraces.planning.channels import pixel_size_um
from celltraces.planning.dataset import Dataset
from celltraces.planning.frame_times import frame_times
from celltraces.planning.identity import input_files
from celltraces.planning.samples import fovs_by_sample

FORMATS = {"nd2": "ND2", "czi": "CZI", "lif": "LIF", "pyme": "PYME .h5", "PyAMA": "folder of PyAMA"}
FORMATS |= {"tiff": "TIFF", "tiff files": "TIFF files", "ome-tiff": "OME-TIFF", "imagej": "TIFF of ImageJ"}
FORMATS |= {"metamorph": "TIFF of MetaMorph", "micro-manager": "TIFF of Micro-Manager", "ndtiff": "NDTiff"}
FORMATS |= {"ome-zarr": "OME-Zarr", "celltraces": "results of this workflow"}
MOST_TOLD = 5  # FOVs that lack frames
TIMES_FROM = {
    "time_mapping": "time_mapping of the config",
    "file time stamps": "the file's time stamps",
    "file period": "the file's metadata",
    "frame_interval": "frame_interval of the config, since the file does not say",
}


def input_lines(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """For each dataset: path, format, FOVs, frames, size, interval, pixel size and channels, and where they come from.

    config: complete.
    """
    for dataset in datasets.values():
        movie = dataset.movie
        size = sum(os.stat(file).st_size for file in input_files(dataset.path))
        yield f"{dataset.name}: {dataset.path} ({FORMATS.get(movie.format, movie.format)}, {_bytes(size)})"
        everything = sorted((*dataset.fovs, *dataset.failed))
        processed = "" if len(everything) == len(movie.fovs) else f" (processed: {spell_fovs(everything)})"
        planes = f", {movie.n_z} z planes" if movie.n_z > 1 else ""
        yield f"  {many(len(movie.fovs), 'FOV')}{processed} of {_sides(movie.fovs)} px, {movie.dtype}{planes}"
        yield f"  {_interval(*frame_times(dataset, (everything or [0])[0], config['params']))}"
        yield from _missing(dataset, everything)
        if movie.pixel_size_um:
            yield f"  pixel size: {movie.pixel_size_um:.4g} um, from the file"
        elif config["params"]["pixel_size_um"]:
            yield f"  pixel size: {pixel_size_um(config, dataset):.4g} um, pixel_size_um of the config"
        else:
            yield "  pixel size: the file does not say; give params.pixel_size_um to have scale bars and um"
        yield f"  channels: {', '.join(_channels(dataset))}"
        if len(config["samples"]) > 1 or any(sample["fovs"] != "all" for sample in config["samples"]):
            yield f"  samples: {', '.join(fovs_by_sample(config, dataset)) or 'no FOV of this file is in one'}"


def _missing(dataset: Dataset, fovs: list[int]) -> Iterator[str]:
    """Frames of processed FOVs that the file lacks in a channel that is used."""
    used = {dataset.pc, *dataset.fl}
    gone = {fov: {frame for frame, channel in dataset.movie.fovs[fov]["missing"] if channel in used} for fov in fovs}
    told = [
        f"{spell_fovs(sorted(frames))} of FOV {fov}" if len(frames) < dataset.movie.n_frames else f"all of FOV {fov}"
        for fov, frames in gone.items()
        if frames
    ]
    if told:
        more = f" and of {many(len(told) - MOST_TOLD, 'other FOV')}" if len(told) > MOST_TOLD else ""
        yield f"  frames not in the file, in a channel that is used: {', '.join(told[:MOST_TOLD])}{more}"


def _channels(dataset: Dataset) -> Iterator[str]:
    for number, name in enumerate(dataset.movie.channels):
        use = "pc" if number == dataset.pc else "fl" if number in dataset.fl else "not used"
        yield f"{number} {name} ({use})"


def _interval(times_min: list[float], source: str) -> str:
    if len(times_min) < 2:
        return many(len(times_min), "frame")
    steps = [later - earlier for earlier, later in pairwise(times_min)]
    usual, shortest, longest = median(steps), min(steps), max(steps)
    even = longest - shortest <= 0.1 * usual
    spread = "" if even else f" ({_minutes(shortest)} to {_minutes(longest)})"
    every = f"every {_minutes(usual)}{spread}"
    total = _minutes(times_min[-1] - times_min[0])
    return f"{many(len(times_min), 'frame')}, {every}, {total} in all; times from {TIMES_FROM[source]}"


def _minutes(time: float) -> str:
    """Minutes in the unit that a person would take."""
    if abs(time) < 1:
        return f"{time * 60:.3g} s"
    return f"{time:.3g} min" if abs(time) < 120 else f"{time / 60:.3g} h"


def _bytes(number: int) -> str:
    size, unit = float(number), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def _sides(fovs: list[dict[str, Any]]) -> str:
    """Width x height of the FOVs, or that of the smallest and of the largest."""
    sides = sorted({(fov["width"], fov["height"]) for fov in fovs}, key=lambda side: side[0] * side[1])
    return " to ".join(f"{width} x {height}" for width, height in dict.fromkeys((sides[0], sides[-1])))


def many(number: int, what: str) -> str:
    """A number of things: "1 frame", "1,440 frames"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
