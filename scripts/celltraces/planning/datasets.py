"""Inspect every input file once and resolve its FOVs and channels against the configuration."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from celltraces.config.messages import did_you_mean
from celltraces.config.selection import expand_fovs, fovs_of, spell_fovs
from celltraces.errors import Mistakes, UserError
from celltraces.files import write_text
from celltraces.paths import Layout
from celltraces.planning import samples
from celltraces.planning.channels import channel_index
from celltraces.planning.code_digest import code_digest
from celltraces.planning.dataset import Dataset
from celltraces.planning.fits import fits_of
from celltraces.planning.identity import content_identity, statuses_of_input
from celltraces.preview import sets
from celltraces.readers.child_process import call
from celltraces.readers.input_files import is_input
from celltraces.readers.movie import Movie
from celltraces.tiff.plane_map import SAME_SIZE

DRIVE = re.compile(r"([A-Za-z]):[\\/]")  # how a path of Windows begins


def inspect_in_child_process(path: Path, pyme: Mapping[str, Any]) -> Movie:
    """`celltraces.readers.movie_file.inspect_movie` in a child process."""
    return Movie(**call("celltraces.readers.movie_file:inspect_movie", str(path), {"pyme": pyme}))


def plan_datasets(config: Mapping[str, Any], without: Mapping[str, Sequence[int]] | None = None) -> dict[str, Dataset]:
    """Look at every file of a completed config. Raises UserError with one line per mistake.

    `without`: FOVs by dataset that failed, and that this run does without.
    """
    mistakes = Mistakes()
    planned = {name: mistakes.attempt(_plan_dataset, config, name, path) for name, path in config["datasets"].items()}
    datasets = {name: dataset for name, dataset in planned.items() if dataset is not None}
    unknown = mistakes.attempt(_unknown_features, config)
    mistakes.lines += unknown or ()
    if len(datasets) == len(planned):
        of_samples = list(samples.sample_mistakes(config, datasets))
        mistakes.lines += [*_differences(datasets), *of_samples, *sets.preview_mistakes(config, datasets)]
        if unknown == [] and not of_samples:
            mistakes.attempt(fits_of, config, datasets)
    mistakes.refuse()
    return {name: _without(dataset, set((without or {}).get(name, ()))) for name, dataset in datasets.items()}


def _without(dataset: Dataset, failed: set[int]) -> Dataset:
    return replace(dataset, fovs=tuple(fov for fov in dataset.fovs if fov not in failed), failed=tuple(sorted(failed)))


def _plan_dataset(config: Mapping[str, Any], name: str, path: str) -> Dataset:
    key = f"datasets.{name}"
    if not is_input(Path(path)):
        raise UserError(f"{key}: the file '{path}' {_why_no_input(path)}")
    own = Path(config["output_dir"], name)
    if Path(path).is_dir() and own.exists() and own.samefile(path):
        raise UserError(f"{key}: {path!r} is where its results go; choose another name or output_dir")
    try:
        movie, identity, note = _look_at(name, path, Layout(config["output_dir"]), config["pyme"])
    except OSError as error:
        reason = f"({error.strerror}); check that you may read it"
        raise UserError(f"{key}: the file {path!r} cannot be read {reason}") from None
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    mistakes = Mistakes()
    fovs_key = f"fovs.{name}" if isinstance(config["fovs"], Mapping) else "fovs"
    fovs = mistakes.attempt(expand_fovs, fovs_of(config, name), len(movie.fovs), fovs_key)
    pc = config["channels"]["pc"]
    pc_index = None if pc is None else mistakes.attempt(channel_index, pc["channel"], movie, "channels.pc", path)
    fl_indices = [
        mistakes.attempt(channel_index, channel["channel"], movie, f"channels.fl.{at}", path)
        for at, channel in enumerate(config["channels"]["fl"])
    ]
    indices = [index for index in (pc_index, *fl_indices) if index is not None]
    mistakes.lines += [
        f"channels: channel {index} is named twice; name every channel once"
        for index in dict.fromkeys(indices)
        if indices.count(index) > 1
    ]
    mistakes.lines += _mistakes_of_z(config["z"], movie, key, path)
    width = mistakes.attempt(_common_pixel_size, movie, fovs or (), fovs_key, path)
    mistakes.refuse()
    movie = replace(movie, pixel_size_um=width)
    known = tuple(index for index in fl_indices if index is not None)  # all of them, without a mistake
    return Dataset(name, path, movie, identity, tuple(fovs or ()), pc_index, known, note=note)


def _common_pixel_size(movie: Movie, fovs: Sequence[int], key: str, path: str) -> float | None:
    """The width of a pixel, um, in the FOVs that are processed. Raises UserError where they differ: what was taken with
    several objectives has no areas in common."""
    known = {fov: size for fov in fovs if movie.pixel_sizes_um and (size := movie.pixel_sizes_um[fov])}
    if not known:
        return movie.pixel_size_um
    least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    if known[most] > (1 + SAME_SIZE) * known[least]:
        alike = [fov for fov, size in known.items() if size <= (1 + SAME_SIZE) * known[least]]
        raise UserError(
            f"{key}: pixels of {path!r} are {known[least]:.4g} um wide in FOV {least} and {known[most]:.4g} um in FOV "
            f"{most}, of two objectives or binnings; name FOVs of one size ({spell_fovs(alike)}), and the others under "
            "another dataset"
        )
    return known[min(known)]


def _mistakes_of_z(z: int | str | None, movie: Movie, key: str, path: str) -> Iterator[str]:
    """A line where a z plane has to be chosen, or is not there."""
    if movie.n_z > 1 and z is None:
        frames = "; if they are time points, set the axes right in Fiji and save anew" if movie.n_frames == 1 else ""
        yield f"{key}: {path!r} has {movie.n_z} z planes; choose one with `z: 0` ... or `z: max`{frames}"
    if isinstance(z, int) and z >= movie.n_z:
        planes = f"planes 0 to {movie.n_z - 1}" if movie.n_z > 1 else "no z planes; leave z out"
        yield f"z: plane {z} is not in {path!r}, which has {planes}"


def _why_no_input(path: str) -> str:
    """What is at a path that is no input, and what to do, as the end of a message."""
    if os.path.isdir(path):
        return "is a folder; name a file in it, or a folder of OME-Zarr, NDTiff, PyAMA or of results (docs/inputs.md)"
    if os.path.exists(path):
        return "is a pipe or device; name a file"
    if path.startswith("demo/"):
        return "does not exist; `make demo` writes it"
    if {"*", "?"} & {*path}:
        return "does not exist; * and ? stand for nothing here: name each file, or TIFFs by {files: img_{frame}.tif}"
    if (drive := DRIVE.match(path)) and os.name != "nt":
        below = path[drive.end() :].replace("\\", "/")
        return f"does not exist; Windows' drive {drive[1]}: is /mnt/{drive[1].lower()}/{below} below WSL"
    return "does not exist; check the path in the config"


def _look_at(name: str, path: str, layout: Layout, pyme: Mapping[str, Any]) -> tuple[Movie, str, str]:
    """What the file holds, its identity, and a note of both, which is empty where it is written down already.

    Taken from the note of an earlier run where file and reader are still the same. Writes nothing: see write_notes.
    """
    code = code_digest("celltraces/readers/movie_file.py")

    def seen_as(files: Sequence[str]) -> list[Any]:
        return [str(path), statuses_of_input(path, files), code, pyme]

    try:
        last = json.loads(Path(layout.movie.format(dataset=name)).read_text(encoding="utf-8"))
        if last["seen_as"] == seen_as(last["movie"]["files"]):
            return Movie(**last["movie"]), last["identity"], ""
    except (OSError, ValueError, KeyError, TypeError):
        pass
    movie = inspect_in_child_process(Path(path), pyme)
    note = {"seen_as": seen_as(movie.files), "identity": content_identity(path, movie), "movie": asdict(movie)}
    return movie, note["identity"], json.dumps(note, sort_keys=True)


def changed_since_planned(layout: Layout, dataset: Dataset) -> bool:
    """Whether files of an input are not as they were when it was looked at for this run."""
    try:
        note = json.loads(dataset.note or Path(layout.movie.format(dataset=dataset.name)).read_text(encoding="utf-8"))
        return note["seen_as"][1] != statuses_of_input(dataset.path, dataset.movie.files)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # nothing is known of it


def write_notes(layout: Layout, datasets: Iterable[Dataset]) -> None:
    """Write down what was learned from the files, so that cluster jobs and the next planning need not open them.

    Raises UserError where the results cannot be written.
    """
    for dataset in datasets:
        if dataset.note:
            file = Path(layout.movie.format(dataset=dataset.name))
            try:
                write_text(file, dataset.note)
            except OSError as error:
                raise UserError(
                    f"output_dir: cannot write to {str(file.parent)!r} ({error.strerror}); name a folder that you may "
                    "write to"
                ) from None


def _differences(datasets: Mapping[str, Dataset]) -> list[str]:
    """Rules name their outputs by channel, so all datasets of a run need the same channel numbers."""
    first = next(iter(datasets.values()))
    return [
        f"channels: they are {(first.pc, *first.fl)} in {first.path!r} but {(other.pc, *other.fl)} in {other.path!r}; "
        "datasets whose channels differ need a config each"
        for other in datasets.values()
        if (other.pc, other.fl) != (first.pc, first.fl)
    ]


def _unknown_features(config: Mapping[str, Any]) -> list[str]:
    """Features that neither the workflow nor a plugin has."""
    from celltraces.features import cell_features
    from celltraces.features.user_features import load_plugin

    for plugin in config["plugins"]:
        load_plugin(plugin)
    channels = config["channels"]
    of_pc, of_fl = cell_features.PHASE_FEATURES, cell_features.FLUORESCENCE_FEATURES
    asked = [("pc", channels["pc"]["features"], of_pc, of_fl, "fluorescence")] if channels["pc"] else []
    asked += [(f"fl.{at}", fl["features"], of_fl, of_pc, "phase contrast") for at, fl in enumerate(channels["fl"])]
    return [
        f"channels.{key}.features: {name!r} is "
        + (f"measured in {kind} alone" if name in others else f"unknown{did_you_mean(name, known)}")
        + f"; there are {', '.join(known)}"
        for key, names, known, others, kind in asked
        for name in names
        if name not in known
    ]


def filters_that_leave_nothing(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """A line for each filter of cells that leaves none of a file; a preview, which needs no tracks, does without."""
    params = config["params"]
    for dataset in datasets.values():
        movie = dataset.movie
        if dataset.pc is None or params["copy_only"]:
            continue
        if params["min_frames"] > movie.n_frames:
            yield (
                f"params.min_frames: {params['min_frames']} is more than the {movie.n_frames} frames of "
                f"{dataset.path!r}, so that no cell is left; allowed: 1 to {movie.n_frames}"
            )
        for fov in dataset.fovs:
            side = min(movie.fovs[fov]["height"], movie.fovs[fov]["width"])
            if 2 * params["border_margin"] >= side:
                yield (
                    f"params.border_margin: {params['border_margin']} px from every edge leave nothing of "
                    f"FOV {fov} of {dataset.path!r} ({side} px); allowed: 0 to {(side - 1) // 2}"
                )
                break
