"""Collect what jobs depend on that segment a few frames only: to compare parameters, or to find a network's scale."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from celltraces.config.stage_settings import digests, is_model, is_network, stage_settings
from celltraces.config.unused_keys import in_use
from celltraces.errors import UserError
from celltraces.planning import resources
from celltraces.planning.channels import known_pixel_size_um, planes, reader_settings
from celltraces.planning.dataset import Dataset
from celltraces.planning.frame_times import frame_times
from celltraces.preview import frame_choice, sets
from celltraces.pyme.recipe import labels_cells

# What segmentation methods need that may not be installed.
PACKAGES = {"deepsea": ("deepsea", "onnx", "onnxruntime"), "cellpose": ("cellpose",)}
ABSENT = "absent"


def preview_frames(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What a preview reads of one dataset."""
    return {
        "frames": frame_choice.frames_to_try(config, dataset),
        "channel": dataset.pc,
        "planes": planes(dataset, config["z"]),
        **reader_settings(config, dataset),
    }


def preview_segmentation(config: Mapping[str, Any], dataset: Dataset, parameters: str) -> dict[str, Any]:
    """What segmenting a preview's frames by one set of parameters, by its name, depends on."""
    segment = stage_settings(config, "segment")
    tried = sets.set_named(config, parameters)
    trying = {**config, "params": {**config["params"], **tried}}
    needs = needs_of_method(tried[sets.METHOD])
    searching = finds_scale(trying)
    return {
        **in_use({**segment, **tried}, trying),
        **preview_frames(config, dataset),
        "raw": dataset.path,
        "scale_frames": frame_choice.frames_for_scale(dataset) if searching else [],
        "pixel_size_um": known_pixel_size_um(config, dataset) if searching else None,
        "megapixels": sum(resources.megapixels(dataset.movie, fov) for fov in dataset.fovs) * dataset.movie.n_frames,
        "files": {**segment.get("files", {}), **needs, dataset.path: dataset.identity},
    }


def preview_comparison(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What the picture and the tables of a preview depend on besides the labels."""
    chosen = preview_frames(config, dataset)
    times = {fov: frame_times(dataset, fov, config["params"])[0] for fov, _ in chosen["frames"]}
    return {
        **chosen,
        "name": dataset.name,
        "sets": sets.parameter_sets(config),
        "border_margin": config["params"]["border_margin"],
        "times_min": [times[fov][frame] for fov, frame in chosen["frames"]],
    }


def finds_scale(config: Mapping[str, Any]) -> bool:
    """Whether the scale at which a network sees frames is found by the size of the cells."""
    params = config["params"]
    network = is_network(params["segmentation_method"]) and not labels_cells(params["recipe"])
    return network and params["segmentation_scale"] is None


def scale_search(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What finding the scale of a dataset depends on."""
    segment = stage_settings(config, "segment")
    return {
        "segmentation_method": segment["segmentation_method"],
        "recipe": segment["recipe"],
        **preview_frames(config, dataset),
        "frames": frame_choice.frames_for_scale(dataset),
        "pixel_size_um": known_pixel_size_um(config, dataset),
        "raw": dataset.path,
        "files": {**segment.get("files", {}), dataset.path: dataset.identity},
    }


def needs_of_method(method: str) -> dict[str, str]:
    """Digest of the file that a segmentation method is, or versions of the packages that it needs.

    ABSENT for what is not there, so that a preview tries the method again when it has come.
    """
    file = method if is_model(method) else method.rpartition(":")[0]
    if file:
        try:
            return digests([file])
        except UserError:
            return {file: ABSENT}
    return {f"package {name}": _version(name) for name in PACKAGES.get(method, ())}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ABSENT
