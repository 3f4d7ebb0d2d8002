"""Resolve channels, z planes and pixel sizes of the configuration against the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celltraces import paths
from celltraces.errors import UserError
from celltraces.planning.dataset import Dataset
from celltraces.readers.movie import Movie


def channels_of(datasets: Mapping[str, Dataset]) -> tuple[int | None, tuple[int, ...]]:
    """Phase-contrast channel and fluorescence channels, the same for all datasets of a run."""
    first = next(iter(datasets.values()))
    return first.pc, first.fl


def channel_index(wanted: int | str, movie: Movie, key: str, path: str) -> int:
    """The index of a channel that the config names by index or name. `key` names the setting in errors."""
    names = movie.channels
    listed = ", ".join(f"{index}: {name}" for index, name in enumerate(names))
    if isinstance(wanted, int):
        if wanted >= len(names):
            raise UserError(f"{key}: channel {wanted} is not in {path!r}; its channels are {listed}")
        return wanted
    if names.count(wanted) > 1:
        raise UserError(f"{key}: {path!r} has several channels named {wanted!r}; give the index; channels: {listed}")
    if wanted not in names:
        raise UserError(f"{key}: no channel of {path!r} is named {wanted!r}; its channels are {listed}")
    return names.index(wanted)


def features_of(config: Mapping[str, Any], pc: int | None, fl: tuple[int, ...]) -> list[tuple[int, list[str]]]:
    """The features asked for, by channel: phase contrast first."""
    channels = config["channels"]
    chosen = [(index, channel["features"]) for index, channel in zip(fl, channels["fl"], strict=True)]
    return chosen if pc is None else [(pc, channels["pc"]["features"]), *chosen]


def known_pixel_size_um(config: Mapping[str, Any], dataset: Dataset) -> float | None:
    """Width of a pixel in micrometres as the file says, else as the config does; None where neither does."""
    return dataset.movie.pixel_size_um or config["params"]["pixel_size_um"]


def pixel_size_um(config: Mapping[str, Any], dataset: Dataset) -> float:
    """The pixel size that the file tells, else that of the config. Raises UserError where neither does."""
    size = known_pixel_size_um(config, dataset)
    if not size:
        raise UserError(f"{dataset.path!r} does not say how large a pixel is; set params.pixel_size_um")
    return size


def shape(dataset: Dataset, fov: int) -> list[int]:
    """[T, H, W] of one FOV."""
    return [dataset.movie.n_frames, dataset.movie.fovs[fov]["height"], dataset.movie.fovs[fov]["width"]]


def dataset_shapes(datasets: Mapping[str, Dataset]) -> dict[str, list[list[int]]]:
    """[T, H, W] of every FOV of each dataset, processed or not."""
    return {name: [shape(dataset, fov) for fov in range(len(dataset.movie.fovs))] for name, dataset in datasets.items()}


def planes(dataset: Dataset, z: int | str | None) -> list[int | None]:
    """The z planes to take the maximum of; [None] for a file without z."""
    if dataset.movie.n_z == 1:
        return [None]
    return list(range(dataset.movie.n_z)) if z == "max" else [z]


@dataclass(frozen=True)
class Arrays:
    """Names of the arrays in a FOV's images.zarr, in the order of the stages that make them."""

    raw: tuple[str, ...]  # as copied: phase contrast first
    aligned: tuple[str, ...]  # fluorescence that later stages use: flat and registered, where this is asked for
    flat: tuple[str, ...]  # divided by a flat field
    to_register: tuple[str, ...]  # what registration moves: flat where there is a flat field
    registered: tuple[str, ...]
    labeled: tuple[str, ...]  # none without phase contrast
    tracked: tuple[str, ...]
    backgrounds: tuple[str, ...]
    images: tuple[str, ...]  # all that a run makes
    laid_over: tuple[str, ...]  # fluorescence that movies show, and its background


def reader_settings(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What a job that reads a dataset's file has to be told: how spools of PYME are read, nothing of other formats."""
    return {"pyme": config["pyme"]} if dataset.movie.format == "pyme" else {}


def arrays_of(
    config: Mapping[str, Any], pc: int | None, fl: Sequence[int], shifted: Collection[int], flat: Collection[int]
) -> Arrays:
    """The arrays of every FOV of a run. shifted: the channels with a shift field; flat: with a flat one."""
    raw = (() if pc is None else (paths.pc(pc),)) + tuple(map(paths.fl, fl))
    evened = {channel: paths.flattened(channel) if channel in flat else paths.fl(channel) for channel in fl}
    aligned = tuple(paths.registered(channel) if channel in shifted else evened[channel] for channel in fl)
    registered = tuple(map(paths.registered, shifted))
    labeled = () if pc is None else (paths.labeled(pc),)
    tracked = () if pc is None else (paths.tracked(pc),)
    backgrounds = tuple(map(paths.background, fl))
    shown = _shown_in_movies(config, fl)
    made = tuple(map(paths.flattened, flat)) + registered
    return Arrays(
        raw,
        aligned,
        tuple(map(paths.flattened, flat)),
        tuple(evened[channel] for channel in shifted),
        registered,
        labeled,
        tracked,
        backgrounds,
        images=raw if config["params"]["copy_only"] else raw + made + labeled + tracked + backgrounds,
        laid_over=() if shown is None else (aligned[fl.index(shown)], paths.background(shown)),
    )


def _shown_in_movies(config: Mapping[str, Any], fl: Sequence[int]) -> int | None:
    """The fluorescence channel that movies show over the phase contrast, if any."""
    wanted = config["pictures"]["fl"]
    return None if wanted is None else fl[[channel["channel"] for channel in config["channels"]["fl"]].index(wanted)]
