"""What there is to do: every dataset's file looked at once, its FOVs and channels resolved against the config."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from formats import pyama_folder
from pyama import preview, shifts
from pyama.apart import call, inspect_movie
from pyama.config import digests, expand_fovs, fovs_of
from pyama.errors import PyamaError
from pyama.files import is_file, write_text
from pyama.microscopy import Movie
from pyama.paths import Layout
from pyama.rerun import code_digest

SAMPLE_BYTES = 1 << 16
PIXEL_TOLERANCE = 0.01  # by which the pixels of a PSF may differ from the movie's


@dataclass(frozen=True)
class Dataset:
    """One file and what is to be done with it."""

    name: str
    path: str
    movie: Movie
    identity: str  # changes when the file's content does
    fovs: tuple[int, ...]
    pc: int | None
    fl: tuple[int, ...]
    failed: tuple[int, ...] = ()  # asked for, but this run does without them


def plan_datasets(config: Mapping[str, Any], without: Mapping[str, Sequence[int]] | None = None) -> dict[str, Dataset]:
    """Look at every file of a completed config. Raises PyamaError with one line per mistake.

    `without`: FOVs by dataset that failed, and that this run does without.
    """
    datasets: dict[str, Dataset] = {}
    mistakes: list[str] = []
    for name, path in config["datasets"].items():
        try:
            datasets[name] = _plan_dataset(config, name, path)
        except PyamaError as error:
            mistakes.append(str(error))
    if not mistakes:
        mistakes = [*_differences(datasets), *_impossible(config, datasets), *_unknown_features(config)]
    if not mistakes:
        try:
            fits_of(config, datasets)
        except PyamaError as error:
            mistakes.append(str(error))
    if not mistakes:
        mistakes = [*preview.mistakes(config, datasets)]
    if mistakes:
        raise PyamaError("\n".join(dict.fromkeys(mistakes)))
    return {name: _without(dataset, set((without or {}).get(name, ()))) for name, dataset in datasets.items()}


def _without(dataset: Dataset, failed: set[int]) -> Dataset:
    return replace(dataset, fovs=tuple(fov for fov in dataset.fovs if fov not in failed), failed=tuple(sorted(failed)))


def frame_times(dataset: Dataset, fov: int, settings: Mapping[str, Any]) -> tuple[list[float], str]:
    """Minutes since the FOV's first frame, one per frame, and where they come from.

    In this order: `time_mapping`, the file's time stamps, the file's period, `frame_interval`. Frames between two
    named in `time_mapping` are interpolated; beyond the last one its last step goes on.
    """
    n_frames = dataset.movie.n_frames
    mapping = settings["time_mapping"]
    if mapping:
        return _mapped_times(
            {int(frame): float(time) for frame, time in mapping.items()}, n_frames, settings
        ), "time_mapping"
    stamps = dataset.movie.fovs[fov]["times_min"]
    period = dataset.movie.period_min
    if stamps is not None and len(stamps) > 1:
        step = period or (stamps[-1] - stamps[0]) / (len(stamps) - 1)
        return stamps + [stamps[-1] + step * k for k in range(1, n_frames - len(stamps) + 1)], "file time stamps"
    if period:
        return [period * frame for frame in range(n_frames)], "file period"
    return [settings["frame_interval"] * frame for frame in range(n_frames)], "frame_interval"


def _mapped_times(mapping: dict[int, float], n_frames: int, settings: Mapping[str, Any]) -> list[float]:
    known = sorted(mapping.items())
    if any(later[1] <= earlier[1] for earlier, later in zip(known, known[1:], strict=False)):
        raise PyamaError("params.time_mapping: times do not increase from frame to frame")
    times = []
    for frame in range(n_frames):
        before = [pair for pair in known if pair[0] <= frame]
        after = [pair for pair in known if pair[0] > frame]
        if before and after:
            (f0, t0), (f1, t1) = before[-1], after[0]
        elif len(known) > 1:
            (f0, t0), (f1, t1) = known[-2:] if before else known[:2]
        else:
            (f0, t0), (f1, t1) = known[0], (known[0][0] + 1, known[0][1] + settings["frame_interval"])
        times.append(t0 + (t1 - t0) * (frame - f0) / (f1 - f0))
    return times


def _plan_dataset(config: Mapping[str, Any], name: str, path: str) -> Dataset:
    key = f"datasets.{name}"
    if not is_file(path) and not pyama_folder.is_one(Path(path)):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        hint = "; `make demo` writes it" if path.startswith("demo/") else "; check the path in the config"
        raise PyamaError(f"{key}: the file {path!r} {what}{hint}")
    own = Path(config["output_dir"], name)
    if Path(path).is_dir() and own.exists() and own.samefile(path):
        raise PyamaError(f"{key}: {path!r} is where its results go; choose another name or output_dir")
    try:
        movie, identity = _look_at(name, path, Layout(config["output_dir"]), config["pyme"])
    except OSError as error:
        raise PyamaError(f"{key}: the file {path!r} cannot be read ({error.strerror})") from None
    except PyamaError as error:
        raise PyamaError(f"{key}: {error}") from None
    fovs_key = f"fovs.{name}" if isinstance(config["fovs"], Mapping) else "fovs"
    fovs = tuple(expand_fovs(fovs_of(config, name), len(movie.fovs), fovs_key))
    pc = config["channels"]["pc"]
    pc_index = None if pc is None else _channel(pc["channel"], movie, "channels.pc", path)
    fl_indices = tuple(
        _channel(channel["channel"], movie, f"channels.fl.{at}", path)
        for at, channel in enumerate(config["channels"]["fl"])
    )
    indices = [index for index in (pc_index, *fl_indices) if index is not None]
    for index in indices:
        if indices.count(index) > 1:
            raise PyamaError(f"channels: channel {index} is named twice; name every channel once")
    if movie.n_z > 1 and config["z"] is None:
        raise PyamaError(f"{key}: {path!r} has {movie.n_z} z planes; choose one with `z: 0` ... or `z: max`")
    if isinstance(config["z"], int) and config["z"] >= movie.n_z:
        raise PyamaError(f"z: plane {config['z']} is not in {path!r}, which has planes 0 to {movie.n_z - 1}")
    return Dataset(name, path, movie, identity, fovs, pc_index, fl_indices)


def _look_at(name: str, path: str, layout: Layout, pyme: Mapping[str, Any]) -> tuple[Movie, str]:
    """What the file holds, from the last look where file and reader are still the same."""
    status = [[stat.st_size, stat.st_mtime_ns] for stat in map(os.stat, _files(path))]
    seen_as = [str(path), status, code_digest("pyama/microscopy.py"), pyme]
    cached = Path(layout.movie.format(dataset=name))
    try:
        last = json.loads(cached.read_text(encoding="utf-8"))
        if last["seen_as"] == seen_as:
            return Movie(**last["movie"]), last["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    movie, identity = inspect_movie(Path(path), pyme), content_identity(path)
    try:
        write_text(
            cached,
            json.dumps({"seen_as": seen_as, "identity": identity, "movie": asdict(movie)}, sort_keys=True),
        )
    except OSError as error:
        raise PyamaError(f"output_dir: cannot write to {cached.parent} ({error.strerror})") from None
    return movie, identity


def content_identity(path: str) -> str:
    """Digest of the size and of samples spread over the file.

    Snakemake notices a file that is newer than its results; this notices an older file put in its place.
    """
    digest = hashlib.sha256()
    for name in _files(path):
        with open(name, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for at in range(33):
                file.seek(max(0, (size - SAMPLE_BYTES)) * at // 32)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _files(path: str) -> list[Path]:
    """The files that an input consists of: itself, or what is read in a folder."""
    return pyama_folder.contents(Path(path)) if Path(path).is_dir() else [Path(path)]


def _channel(wanted: int | str, movie: Movie, key: str, path: str) -> int:
    names = movie.channels
    listed = ", ".join(f"{index}: {name}" for index, name in enumerate(names))
    if isinstance(wanted, int):
        if wanted >= len(names):
            raise PyamaError(f"{key}: channel {wanted} is not in {path!r}; its channels are {listed}")
        return wanted
    if names.count(wanted) > 1:
        raise PyamaError(f"{key}: {path!r} has several channels named {wanted!r}; give the index; channels: {listed}")
    if wanted not in names:
        raise PyamaError(f"{key}: no channel of {path!r} is named {wanted!r}; its channels are {listed}")
    return names.index(wanted)


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
    from pyama import features

    for plugin in config["plugins"]:
        features.load_plugin(plugin)
    channels = config["channels"]
    asked = [("pc", channels["pc"]["features"], features.PHASE_FEATURES)] if channels["pc"] else []
    asked += [(f"fl.{at}", fl["features"], features.FLUORESCENCE_FEATURES) for at, fl in enumerate(channels["fl"])]
    return [
        f"channels.{key}.features: {name!r} is unknown; there are {', '.join(known)}"
        for key, names, known in asked
        for name in names
        if name not in known
    ]


def _impossible(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> list[str]:
    """Filters that leave nothing, and samples of FOVs that are not there."""
    mistakes = []
    params = config["params"]
    for dataset in datasets.values():
        movie = dataset.movie
        if dataset.pc is not None and not params["copy_only"]:
            if params["min_frames"] > movie.n_frames:
                mistakes.append(
                    f"params.min_frames: {params['min_frames']} is more than the {movie.n_frames} frames of "
                    f"{dataset.path!r}, so that no cell is left; allowed: 1 to {movie.n_frames}"
                )
            for fov in dataset.fovs:
                side = min(movie.fovs[fov]["height"], movie.fovs[fov]["width"])
                if 2 * params["border_margin"] >= side:
                    mistakes.append(
                        f"params.border_margin: {params['border_margin']} px from every edge leave nothing of "
                        f"FOV {fov} of {dataset.path!r} ({side} px); allowed: 0 to {(side - 1) // 2}"
                    )
                    break
        for sample in config["samples"]:
            try:
                if not sample_fovs(config, dataset, sample["name"])[0]:
                    mistakes.append(
                        f"samples.{sample['name']}.fovs: none of them is processed; add them to `fovs` "
                        f"({dataset.path!r})"
                    )
            except PyamaError as error:
                mistakes.append(f"{error} ({dataset.path!r})")
    return mistakes


# ------------------------------------------------------------------------------------------- what the rules look up


def channels_of(datasets: Mapping[str, Dataset]) -> tuple[int | None, tuple[int, ...]]:
    """Phase-contrast channel and fluorescence channels, the same for all datasets of a run."""
    first = next(iter(datasets.values()))
    return first.pc, first.fl


def shape(dataset: Dataset, fov: int) -> list[int]:
    """[T, H, W] of one FOV."""
    return [dataset.movie.n_frames, dataset.movie.fovs[fov]["height"], dataset.movie.fovs[fov]["width"]]


def shapes(datasets: Mapping[str, Dataset]) -> dict[str, list[list[int]]]:
    """[T, H, W] of every FOV of each dataset, processed or not."""
    return {name: [shape(dataset, fov) for fov in range(len(dataset.movie.fovs))] for name, dataset in datasets.items()}


def traced(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> bool:
    """Whether the run makes traces of cells."""
    return channels_of(datasets)[0] is not None and not config["params"]["copy_only"]


def planes(dataset: Dataset, z: int | str | None) -> list[int | None]:
    """The z planes to take the maximum of; [None] for a file without z."""
    if dataset.movie.n_z == 1:
        return [None]
    return list(range(dataset.movie.n_z)) if z == "max" else [z]


def features_of(config: Mapping[str, Any], pc: int | None, fl: tuple[int, ...]) -> list[tuple[int, list[str]]]:
    """The features asked for, by channel: phase contrast first."""
    channels = config["channels"]
    chosen = [(index, channel["features"]) for index, channel in zip(fl, channels["fl"], strict=True)]
    return chosen if pc is None else [(pc, channels["pc"]["features"]), *chosen]


def sample_fovs(config: Mapping[str, Any], dataset: Dataset, sample: str) -> tuple[list[int], list[int]]:
    """FOVs of a sample that are processed, and those that are not."""
    written = next(entry["fovs"] for entry in config["samples"] if entry["name"] == sample)
    fovs = expand_fovs(written, len(dataset.movie.fovs), f"samples.{sample}.fovs")
    processed = set(dataset.fovs)
    return [fov for fov in fovs if fov in processed], [fov for fov in fovs if fov not in processed]


def merge_settings(
    config: Mapping[str, Any], dataset: Dataset, fovs: Sequence[int], missing: Sequence[int]
) -> dict[str, Any]:
    """What tables merged from the traces of `fovs` depend on besides: times, missing FOVs."""
    return {
        "times_min": [frame_times(dataset, fov, config["params"])[0] for fov in fovs],
        "missing": {str(fov): "failed" if fov in dataset.failed else "not among fovs" for fov in missing},
    }


def samples_by_fov(config: Mapping[str, Any], dataset: Dataset) -> dict[str, str]:
    """Names of the samples that each FOV belongs to, with ";" between."""
    names: dict[str, list[str]] = {}
    for sample in config["samples"]:
        for fov in sample_fovs(config, dataset, sample["name"])[0]:
            names.setdefault(str(fov), []).append(sample["name"])
    return {fov: ";".join(of_fov) for fov, of_fov in names.items()}


def quality_settings(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What the checks of quality look at besides the results."""
    return {
        "times_min": {str(fov): frame_times(dataset, fov, config["params"])[0] for fov in dataset.fovs},
        "senseless_stamps": {str(fov): dataset.movie.fovs[fov]["senseless_stamps"] for fov in dataset.fovs},
        "failed": dataset.failed,
    }


def fits_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[tuple[str, str], dict[str, Any]]:
    """What is fitted: (column of the traces, name of the model) -> settings, all parameters of the model among them.

    Raises PyamaError with one line for the first mistake.
    """
    if not config["fits"]:
        return {}
    from pyama import kinetics

    pc, fl = channels_of(datasets)
    if pc is None or config["params"]["copy_only"]:
        raise PyamaError("fits: there are no traces to fit; name a phase-contrast channel and leave out copy_only")
    if not config["samples"]:
        raise PyamaError(
            "fits: there are no merged tables to fit; name samples, for example samples: [{name: all, fovs: all}]"
        )
    dataset = next(iter(datasets.values()))
    features = dict(features_of(config, pc, fl))
    fits: dict[tuple[str, str], dict[str, Any]] = {}
    for at, fit in enumerate(config["fits"]):
        key = f"fits.{at}"
        channel = _channel(fit["channel"], dataset.movie, f"{key}.channel", dataset.path)
        if channel not in features:
            known = ", ".join(map(str, features))
            raise PyamaError(f"{key}.channel: channel {channel} is not processed; the config's channels are {known}")
        if fit["feature"] not in features[channel]:
            known = ", ".join(features[channel]) or "none"
            raise PyamaError(
                f"{key}.feature: {fit['feature']!r} is not extracted from channel {channel}; there: {known}; "
                "add it to the channel's features"
            )
        model = kinetics.find_model(fit["model"], f"{key}.model")
        fitted = kinetics.with_settings(model, fit["parameters"], f"{key}.parameters")
        settings: dict[str, Any] = {"model": fit["model"], "parameters": kinetics.settings_of(fitted)}
        if fit["model"] not in kinetics.MODELS:
            settings["files"] = digests([fit["model"].rpartition(":")[0]])
        what = f"{fit['feature']}_ch_{channel}", model.name
        if what in fits:
            raise PyamaError(f"{key}: {model.name} is fitted to {what[0]} twice; leave one out")
        fits[what] = settings
    return fits


def spot_size(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[str, float]:
    """params.particle_sigma as the point spread function says it, if there is one. Raises PyamaError."""
    path = config["params"]["psf"]
    if path is None:
        return {}
    try:
        spread = call("pyama.psf:read_spread", path)
        for dataset in datasets.values():
            size = _pixel_size_um(config, dataset)
            if abs(spread["pixel_size_um"] / size - 1) > PIXEL_TOLERANCE:
                raise PyamaError(
                    f"{path!r} has pixels of {spread['pixel_size_um']:g} um, {dataset.path!r} of {size:g} um; a PSF is "
                    "used at its own magnification"
                )
    except PyamaError as error:
        raise PyamaError(f"params.psf: {error}") from None
    return {"particle_sigma": spread["sigma_px"]}


def shifts_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[int, shifts.Shift]:
    """The shift field of each fluorescence channel that has one. Raises PyamaError for the first mistake."""
    found: dict[int, shifts.Shift] = {}
    _, fl = channels_of(datasets)
    for written, path in sorted(config["chroma"].items()):
        key = f"chroma.{written}"
        dataset = next(iter(datasets.values()))
        channel = _channel(int(written) if written.isdigit() else written, dataset.movie, key, dataset.path)
        if channel not in fl:
            raise PyamaError(
                f"{key}: channel {channel} is not among channels.fl, which are moved onto the phase contrast"
            )
        if not is_file(path):
            raise PyamaError(f"{key}: the file {path!r} does not exist; `snakemake shift_field` makes one from beads")
        if channel in found:
            raise PyamaError(f"{key}: channel {channel} is named twice; name every channel once")
        try:
            found[channel] = shifts.of_channel(_fields(path, config["allow_pickle_sf"]), channel, repr(path))
            for dataset in datasets.values():
                pixel_nm = 1000 * _pixel_size_um(config, dataset)
                for height, width in sorted({tuple(shape(dataset, fov)[1:]) for fov in dataset.fovs}):
                    shifts.refuse_far(found[channel], (height, width), pixel_nm, repr(path))
        except PyamaError as error:
            raise PyamaError(f"{key}: {error}") from None
    return found


def _fields(path: str, allow_pickle: bool) -> shifts.Fields:
    """JSON is read here; another kind in a child, since the library for HDF5 may crash on a damaged file."""
    if shifts.is_json(path):
        return shifts.read_fields(Path(path))
    return shifts.Fields(**call("pyama.shifts:read_fields", path, {"allow_pickle": allow_pickle}))


def _pixel_size_um(config: Mapping[str, Any], dataset: Dataset) -> float:
    size = dataset.movie.pixel_size_um or config["params"]["pixel_size_um"]
    if not size:
        raise PyamaError(f"{dataset.path!r} does not say how large a pixel is; set params.pixel_size_um")
    return size


def register_settings(
    config: Mapping[str, Any], dataset: Dataset, fields: Mapping[int, shifts.Shift]
) -> dict[str, Any]:
    """What registration depends on besides the frames."""
    return {"fields": dict(fields), "pixel_size_um": _pixel_size_um(config, dataset)}


def scales(dataset: Dataset, fov: int, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a viewer needs to place the frames of one FOV: names, pixel size and times."""
    times, source = frame_times(dataset, fov, params)
    channels = [index for index in (dataset.pc, *dataset.fl) if index is not None]
    return {
        "name": dataset.movie.fovs[fov]["name"],
        "channels": {str(index): dataset.movie.channels[index] for index in channels},
        "pixel_size_um": dataset.movie.pixel_size_um or params["pixel_size_um"],
        "times_min": times,
        "times_from": source,
    }


def laid_over(config: Mapping[str, Any], fl: tuple[int, ...]) -> list[int]:
    """The fluorescence channel that movies show over the phase contrast, if any."""
    wanted = config["pictures"]["fl"]
    named = [channel["channel"] for channel in config["channels"]["fl"]]
    return [] if wanted is None else [fl[named.index(wanted)]]


def plot_settings(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What the plots of a dataset depend on besides the traces; without samples all FOVs are one."""
    samples = {sample["name"]: sample_fovs(config, dataset, sample["name"])[0] for sample in config["samples"]}
    return {
        "channels": dict(enumerate(dataset.movie.channels)),
        "samples": {name: fovs for name, fovs in samples.items() if fovs} or {dataset.name: dataset.fovs},
        "fovs": dataset.fovs,
    }


def report_settings(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What the report of a dataset depends on besides the results."""
    everything = sorted((*dataset.fovs, *dataset.failed))
    return {
        **plot_settings(config, dataset),
        "name": dataset.name,
        "failed": dataset.failed,
        "fov_names": {str(fov): dataset.movie.fovs[fov]["name"] for fov in everything},
        "used": [index for index in (dataset.pc, *dataset.fl) if index is not None],
        "times_min": frame_times(dataset, everything[0], config["params"])[0],
    }


def preview_frames(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What a preview reads of one dataset, and from which file."""
    return {
        "frames": preview.frames_to_try(config, dataset),
        "channel": dataset.pc,
        "planes": planes(dataset, config["z"]),
        "pyme": config["pyme"],
    }


def preview_comparison(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What the picture and the tables of a preview depend on besides the labels."""
    chosen = preview_frames(config, dataset)
    times = {fov: frame_times(dataset, fov, config["params"])[0] for fov, _ in chosen["frames"]}
    return {
        **chosen,
        "name": dataset.name,
        "sets": preview.parameter_sets(config),
        "times_min": [times[fov][frame] for fov, frame in chosen["frames"]],
    }


def record_of(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """The content of processing_config.yaml but for the versions of software."""
    movie = dataset.movie

    def channel(index: int, written: Mapping[str, Any]) -> dict[str, Any]:
        return {"channel": index, "features": written["features"]}

    channels: dict[str, Any] = {}
    if dataset.pc is not None:
        channels["pc"] = channel(dataset.pc, config["channels"]["pc"])
    channels["fl"] = [channel(i, written) for i, written in zip(dataset.fl, config["channels"]["fl"], strict=True)]
    fovs = sorted((*dataset.fovs, *dataset.failed))
    times, source = frame_times(dataset, fovs[0], config["params"])
    return {
        "params": {**config["params"], "z": config["z"], "plugins": config["plugins"], "chroma": config["chroma"]},
        "channels": channels,
        "fits": [
            {"column": column, **{key: settings[key] for key in ("model", "parameters")}}
            for (column, _), settings in fits_of(config, {dataset.name: dataset}).items()
        ],
        "provenance": {
            "input": {
                "file": Path(dataset.path).name,
                "format": movie.format,
                "bytes": sum(os.stat(file).st_size for file in _files(dataset.path)),
                "identity": dataset.identity,
            },
            "dims": {
                "fovs": len(movie.fovs),
                "frames": movie.n_frames,
                "channels": len(movie.channels),
                "z": movie.n_z,
            }
            | {"height": movie.fovs[0]["height"], "width": movie.fovs[0]["width"], "dtype": movie.dtype},
            "channel_names": movie.channels,
            "fov_names": [fov["name"] for fov in movie.fovs],
            "fovs_processed": fovs,
            "pixel_size_um": movie.pixel_size_um or config["params"]["pixel_size_um"],
            "time": {"from": source, "unit": "min", "first_fov": times},
            "missing_planes": {str(fov): movie.fovs[fov]["missing"] for fov in fovs if movie.fovs[fov]["missing"]},
        },
    }
