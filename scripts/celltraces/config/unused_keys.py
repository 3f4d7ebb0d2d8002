"""Know which parameters of a config change nothing: those of another method, or of what is not measured.

A person is told of those that are not at their defaults, which somebody has written. Jobs get none of them (`in_use`),
so that a change of one runs nothing again, and a method that uses one all the same fails instead of taking a default.
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
OF_BACKGROUND = ("tile_size", "background_dilation")
OF_LIGHT = ("background_weight", "mask_margin")  # of cells, whatever is measured of it
STAGES_OF_CELLS = {"segment", "track", "crop", "extract", "tidy", "digest", "draw_overlay"}
WITHOUT_CELLS = ("background_dilation", "psf")  # of no use without cells though no stage of theirs uses them


def used_by(method: str) -> tuple[str, ...]:
    """The parameters that a segmentation_method uses; a function of the user and `pyama` use none."""
    return BY_SEGMENTATION["deepsea"] if is_network(method) else BY_SEGMENTATION.get(method, ())


def in_use(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a stage without the parameters that change nothing in a completed config."""
    unused = reasons(config)
    return {key: value for key, value in settings.items() if key not in unused}


def lines_on_unused_keys(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for each reason why parameters of a completed config that are not at their defaults change nothing."""
    declared = _declared()
    written: dict[str, list[str]] = {}
    for key, why in reasons(config).items():
        if config["params"][key] != declared[key]["default"]:
            written.setdefault(why, []).append(key)
    for why, keys in written.items():
        they_change = "they change" if len(keys) > 1 else "it changes"
        yield f"params.{', '.join(keys)}: {why}, so that {they_change} nothing"


def reasons(config: Mapping[str, Any]) -> dict[str, str]:
    """Why parameters of a completed config change no result, by parameter, at its default or not."""
    params, channels = config["params"], config["channels"]
    if params["copy_only"]:
        return {}
    return {key: why for keys, why in (*_of_cells(params, bool(channels["pc"])), *_of_light(config)) for key in keys}


def _of_cells(params: Mapping[str, Any], looked_for: bool) -> Iterator[tuple[Iterable[str], str]]:
    """(parameters, why they change nothing) of finding and following cells."""
    if not looked_for:
        stages = {key: set(declared["stages"]) for key, declared in _declared().items()}
        of_cells = [key for key, of in stages.items() if (of and of <= STAGES_OF_CELLS) or key in WITHOUT_CELLS]
        yield of_cells, "no cells are looked for without channels.pc"
        return
    method, tracking = params["segmentation_method"], params["tracking_method"]
    if labels_cells(params["recipe"]):
        yield _all(BY_SEGMENTATION), "the cells are the labels of `recipe`"
    else:
        yield _without(_all(BY_SEGMENTATION), used_by(method)), f"not used by segmentation_method {method}"
        if method == "logstd" and params["logstd_outline"] == "halo":
            yield ("segmentation_debris",), "logstd_outline halo leaves no debris out"
    linked = BY_TRACKING.get(tracking, ()) + (("max_gap",) if params["divisions"] else ())
    yield _without(_all(BY_TRACKING), linked), f"not used by tracking_method {tracking}"
    if not params["divisions"]:
        yield OF_DIVISIONS, "no divisions are looked for (divisions: false)"


def _of_light(config: Mapping[str, Any]) -> Iterator[tuple[Iterable[str], str]]:
    """(parameters, why they change nothing) of measuring the light of cells. A feature of a plugin may use any."""
    channels = config["channels"]
    if not channels["fl"]:
        yield (*OF_BACKGROUND, *OF_LIGHT, *_all(OF_FEATURE)), "no light is measured without channels.fl"
    elif channels["pc"]:
        measured = {feature for channel in channels["fl"] for feature in channel["features"]}
        if not measured:
            yield (*OF_LIGHT, *_all(OF_FEATURE)), "no channel of channels.fl has features"
        elif not config["plugins"]:
            for feature, keys in OF_FEATURE.items():
                if feature not in measured:
                    yield keys, f"no channel has the feature {feature}"


def _declared() -> Mapping[str, Any]:
    return load_schema()["properties"]["params"]["properties"]


def _all(by_method: Mapping[str, tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(key for keys in by_method.values() for key in keys))


def _without(keys: Iterable[str], used: Iterable[str]) -> list[str]:
    return [key for key in keys if key not in {*used}]
