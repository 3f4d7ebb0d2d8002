"""Tell which parameters of a config change nothing: those of another method, or of what is not measured.

Only parameters that are not at their defaults are told, since a person has written these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celltraces.config.schema import load_schema
from celltraces.config.stage_settings import is_network
from celltraces.pyme.recipe import labels_cells

BY_SEGMENTATION: Mapping[str, tuple[str, ...]] = {
    "logstd": (
        "logstd_window_size",
        "morph_size",
        "morph_iterations",
        "min_object_size",
        "max_object_size",
        "logstd_outline",
        "segmentation_debris",
    ),
    "deepsea": ("segmentation_scale", "min_object_size", "segmentation_debris"),
    "cellpose": ("cellpose_model", "cellpose_diameter", "min_object_size"),
}
BY_TRACKING: Mapping[str, tuple[str, ...]] = {
    "iou": ("min_iou", "iou", "max_distance", "max_gap", "split_touching", "min_size", "max_size"),
    "btrack": ("max_gap",),
}
OF_DIVISIONS = ("division_roundness", "division_frames", "division_min_age")
OF_FEATURE = {
    "particle_num": ("particle_sigma", "particle_threshold", "psf"),
    "intensity_total": ("light_margin",),
}
OF_LIGHT = ("tile_size", "background_dilation", "background_weight", "mask_margin")


def used_by(method: str) -> tuple[str, ...]:
    """The parameters that a segmentation_method uses; a function of the user and `pyama` use none."""
    return BY_SEGMENTATION["deepsea"] if is_network(method) else BY_SEGMENTATION.get(method, ())


def lines(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for each reason why parameters of a completed config have no effect on results."""
    params, channels = config["params"], config["channels"]
    declared = load_schema()["properties"]["params"]["properties"]

    def told(keys: Iterable[str], why: str) -> Iterator[str]:
        written = [key for key in keys if params[key] != declared[key]["default"]]
        if written:
            they_change = "they change" if len(written) > 1 else "it changes"
            yield f"params.{', '.join(written)}: {why}, so that {they_change} nothing"

    if params["copy_only"]:
        return
    if channels["pc"]:
        method, tracking = params["segmentation_method"], params["tracking_method"]
        used = used_by(method)
        if labels_cells(params["recipe"]):
            yield from told(_all(BY_SEGMENTATION), "the cells are the labels of `recipe`")
        else:
            yield from told(_without(_all(BY_SEGMENTATION), used), f"not used by segmentation_method {method}")
            if method == "logstd" and params["logstd_outline"] == "halo":
                yield from told(("segmentation_debris",), "logstd_outline halo leaves no debris out")
        linked = BY_TRACKING.get(tracking, ()) + (("max_gap",) if params["divisions"] else ())
        yield from told(_without(_all(BY_TRACKING), linked), f"not used by tracking_method {tracking}")
        if not params["divisions"]:
            yield from told(OF_DIVISIONS, "no divisions are looked for (divisions: false)")
    else:
        of_cells = (*_all(BY_SEGMENTATION), *_all(BY_TRACKING), *OF_DIVISIONS, "min_frames", "border_margin")
        yield from told(of_cells, "no cells are looked for without channels.pc")
    if not channels["fl"]:
        keys = (*OF_LIGHT, *_all(OF_FEATURE))
        yield from told(keys, "no light is measured without channels.fl")
    elif channels["pc"] and not config["plugins"]:
        measured = {feature for channel in channels["fl"] for feature in channel["features"]}
        for feature, keys in OF_FEATURE.items():
            if feature not in measured:
                yield from told(keys, f"no channel has the feature {feature}")


def _all(by_method: Mapping[str, tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(key for keys in by_method.values() for key in keys))


def _without(keys: Iterable[str], used: Iterable[str]) -> list[str]:
    return [key for key in keys if key not in {*used}]
