"""Collect what processing_config.yaml records of a dataset: parameters, channels, fits, and what the input is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celltraces.config.contradictions import ESTIMATE
from celltraces.config.stage_settings import digests
from celltraces.planning.channels import known_pixel_size_um
from celltraces.planning.dataset import Dataset
from celltraces.planning.fits import fits_of
from celltraces.planning.frame_times import frame_times
from celltraces.planning.identity import input_files, statuses
from celltraces.planning.workflow_version import workflow_version


def processing_record(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
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
        "params": {
            **config["params"],
            **{"z": config["z"], "plugins": config["plugins"], "chroma": config["chroma"]},
            **({key: config[key] for key in ("flat_field", "camera_offset")} if config["flat_field"] else {}),
        },
        "channels": channels,
        "fits": [
            {"column": column, **{key: settings[key] for key in ("model", "parameters")}}
            for (column, _), settings in fits_of(config, {dataset.name: dataset}).items()
        ],
        "provenance": {
            "workflow": workflow_version(),
            "input": {
                "file": Path(dataset.path).name,
                "format": movie.format,
                "bytes": sum(status[0] for status in statuses(input_files(dataset.path, movie)) if status),
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
            "pixel_size_um": known_pixel_size_um(config, dataset),
            "time": {"from": source, "unit": "min", "first_fov": times},
            **_of_stage(dataset, fovs),
            "missing_planes": {str(fov): movie.fovs[fov]["missing"] for fov in fovs if movie.fovs[fov]["missing"]},
        },
    }


def _of_stage(dataset: Dataset, fovs: Sequence[int]) -> dict[str, Any]:
    """Where the stage stood and how long channels were exposed, of those FOVs of which the file says it."""
    places = {str(fov): dataset.movie.fovs[fov] for fov in fovs}
    of_kind = {
        "positions_um": {fov: place["position_um"] for fov, place in places.items() if place["position_um"]},
        "exposures_ms": {fov: place["exposures_ms"] for fov, place in places.items() if any(place["exposures_ms"])},
    }
    return {kind: of_fovs for kind, of_fovs in of_kind.items() if of_fovs}


def named_files(config: Mapping[str, Any], dataset: Dataset) -> dict[str, str]:
    """Files that the record names, by path and, for the input, by name."""
    params = config["params"]
    methods = [params[key] for key in ("segmentation_method", "tracking_method")] + [
        fit["model"] for fit in config["fits"]
    ]
    paths = [method.rpartition(":")[0] for method in methods if ":" in method]
    paths += config["plugins"]  # not shift fields: they count by their numbers, however these are written
    paths += [params[key] for key in ("recipe", "psf") if params[key]]
    paths += [source for source in config["flat_field"].values() if source != ESTIMATE]
    return {**digests(paths), Path(dataset.path).name: dataset.identity}
