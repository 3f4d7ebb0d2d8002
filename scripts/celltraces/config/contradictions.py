"""Find mistakes between keys of the configuration that a JSON schema cannot state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celltraces.config.messages import did_you_mean
from celltraces.config.stage_settings import is_model
from celltraces.config.unused_keys import used_by
from celltraces.errors import UserError
from celltraces.exports.registry import FORMATS, LABELS, TRACES, formats_of
from celltraces.files import is_file
from celltraces.paths import BENCHMARKS, CHECKSUMS, LOGS, PLACES, SHIFT_FIELD
from celltraces.plugins import mistake_in
from celltraces.pyme.recipe import read_recipe

RESERVED_NAMES = (LOGS, BENCHMARKS, CHECKSUMS, PLACES, SHIFT_FIELD)  # our own beside the datasets' folders
RESERVED_ENDINGS = (".csv", ".parquet", ".html")  # of our files beside them
METHODS = {
    "segmentation_method": ("logstd", "pyama", "deepsea", "cellpose"),
    "tracking_method": ("iou", "btrack"),
}  # built in
ESTIMATE = "estimate"  # in the place of a picture: a flat field is found in the movie
DEVICES = ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)))


def find_contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes between keys that a schema cannot state: a line each, in the order of the subjects here."""
    if not config["channels"]["pc"] and not config["channels"]["fl"]:
        yield "channels: neither pc nor fl is given; name at least one channel"
    for of_subject in (_names, _fovs, _exports, _sizes, _methods, _files, _pictures, _samples):
        yield from of_subject(config)


def _names(config: Mapping[str, Any]) -> Iterator[str]:
    """Names of datasets and samples that files cannot have."""
    for dataset in config["datasets"]:
        if dataset.lower() in RESERVED_NAMES or dataset.lower().endswith(RESERVED_ENDINGS):
            yield f"datasets.{dataset}: this name is taken by the workflow; choose another"
    for key, names in (("datasets", list(config["datasets"])), ("samples", [s["name"] for s in config["samples"]])):
        lowered: dict[str, str] = {}
        for name in names:
            # Windows and macOS do not tell results/A from results/a, and Windows keeps the names of devices to itself.
            if (other := lowered.setdefault(name.lower(), name)) != name:
                yield f"{key}.{name}: differs from {key}.{other} only in upper and lower case; choose another"
            if name.lower().split(".")[0] in DEVICES:
                yield f"{key}.{name}: Windows has a device of this name; choose another"


def _fovs(config: Mapping[str, Any]) -> Iterator[str]:
    """FOVs of datasets that there are not."""
    for key, fovs in (("fovs", config["fovs"]), *((f"samples.{s['name']}.fovs", s["fovs"]) for s in config["samples"])):
        for dataset in fovs if isinstance(fovs, Mapping) else ():
            if dataset not in config["datasets"]:
                known = did_you_mean(dataset, config["datasets"]) or f"; datasets: {', '.join(config['datasets'])}"
                yield f"{key}.{dataset}: there is no dataset of this name{known}"


def _exports(config: Mapping[str, Any]) -> Iterator[str]:
    """Formats that need what is not made."""
    params, channels = config["params"], config["channels"]
    for name in config["exports"]:
        needs = {need for entry in formats_of(name) for need in FORMATS[entry].needs}
        if needs & {LABELS, TRACES} and (not channels["pc"] or params["copy_only"]):
            yield f"exports: {name} needs cells; give channels.pc" + (
                ", and copy_only: false" if channels["pc"] else ""
            )
        if (
            any("{light}" in path for entry in formats_of(name) for path in FORMATS[entry].outputs)
            and not channels["fl"]
        ):
            yield f"exports: {name} needs fluorescence; give channels.fl"


def _sizes(config: Mapping[str, Any]) -> Iterator[str]:
    """Limits that leave nothing, and a margin beyond the crops."""
    params = config["params"]
    if params["min_object_size"] > params["max_object_size"]:
        yield "params.min_object_size: larger than max_object_size, so that no cell is left"
    if params["mask_margin"] > params["crop_padding"]:
        yield (
            f"params.mask_margin: {params['mask_margin']} px reach beyond the crops; "
            f"allowed: at most crop_padding, {params['crop_padding']} px"
        )
    if None not in (params["min_size"], params["max_size"]) and params["min_size"] > params["max_size"]:
        yield "params.min_size: larger than max_size, so that no cell is left"


def _methods(config: Mapping[str, Any]) -> Iterator[str]:
    """Methods that there are not, and parameters of methods that are not used."""
    params = config["params"]
    for key in METHODS:
        value = params[key]
        file = value if key == "segmentation_method" and is_model(value) else value.rpartition(":")[0]
        if mistake := _unknown_method(key, value, f"params.{key}"):
            yield mistake
        elif file and not is_file(file):
            yield f"params.{key}: the file {file!r} does not exist"
        elif file and file != value and (mistake := mistake_in(value, f"params.{key}")):
            yield mistake
    method = params["segmentation_method"]
    tried = (config["preview"]["vary"] or {}).get("segmentation_method", [])
    for at, value in enumerate(tried):  # a file that is absent is said in the picture, beside what the others find
        if mistake := _unknown_method("segmentation_method", value, f"preview.vary.segmentation_method.{at}"):
            yield mistake
    for key in ("segmentation_scale", "cellpose_model", "cellpose_diameter"):
        if params[key] is not None and not any(key in used_by(one) for one in (method, *tried)):
            yield f"params.{key}: segmentation_method {method} does not use it; leave it out"


def _files(config: Mapping[str, Any]) -> Iterator[str]:
    """Files that are not there, and a recipe that cannot be read."""
    params = config["params"]
    if params["recipe"] is not None:
        try:
            read_recipe(params["recipe"])
        except UserError as error:
            yield f"params.recipe: {error}"
    if params["psf"] is not None and not is_file(params["psf"]):
        yield f"params.psf: the file {params['psf']!r} does not exist"
    beads = config["shift_field"]["beads"]
    if beads is not None and not is_file(beads):
        yield f"shift_field.beads: the file {beads!r} does not exist"
    for channel, path in config["chroma"].items():
        if not is_file(path):
            yield (
                f"chroma.{channel}: the file {path!r} does not exist; `snakemake --cores 1 shift_field` makes one from "
                "beads"
            )
    for channel, path in config["flat_field"].items():
        if path != ESTIMATE and not is_file(path):
            yield f"flat_field.{channel}: the file {path!r} does not exist; name a TIFF or .npy, or write {ESTIMATE}"
    for plugin in config["plugins"]:
        if not is_file(plugin):
            yield f"plugins: the file {plugin!r} does not exist"


def _pictures(config: Mapping[str, Any]) -> Iterator[str]:
    """A channel for the pictures that is not processed."""
    channels = config["channels"]
    laid_over, named = config["pictures"]["fl"], [channel["channel"] for channel in channels["fl"]]
    if laid_over is not None and laid_over not in named:
        known = f"there are {', '.join(map(str, named))}" if named else "there are none"
        yield f"pictures.fl: channel {laid_over!r} is not among channels.fl; {known}"


def _samples(config: Mapping[str, Any]) -> Iterator[str]:
    """Samples that have the same name."""
    names: set[str] = set()
    for sample in config["samples"]:
        if sample["name"] in names:
            yield f"samples: the name {sample['name']!r} occurs twice; every sample needs a name of its own"
        names.add(sample["name"])


def _unknown_method(key: str, value: str, place: str) -> str | None:
    """What is wrong with the name of a method that is neither built in nor a file of the right kind; None: nothing."""
    file, _, function = value.rpartition(":")
    model = key == "segmentation_method" and is_model(value)
    if value in METHODS[key] or model or (file.endswith(".py") and function.isidentifier()):
        return None
    models = ", path/to/model.onnx" if key == "segmentation_method" else ""
    return f"{place}: {value!r} is none of {', '.join(METHODS[key])}{models}, path/to/file.py:function"
