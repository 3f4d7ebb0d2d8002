"""Which rules run again after a change of what one of them does, by the drawing in the Snakefile; configs with each
method, and other values of parameters."""

import copy

from celltraces.config import unused_keys
from celltraces.config.schema import load_schema

REPORT = {"write_report"}
TABLES = {"merge", "tidy", "qc"} | REPORT
EXTRACT = {"extract", "digest"} | TABLES
CROP = {"crop"} | EXTRACT
TRACK = {"track", "cache", "index"} | CROP
SEGMENT = {"segment", "background"} | TRACK
BACKGROUND = {"background", "cache", "index"} | CROP
EVERYTHING = {"copy"} | SEGMENT
JOINED = {"join_traces", "join_tables", "compare_samples"}
RECORD = {"record"} | REPORT  # both say what was run, so that they follow every change of the config


def _with(**params):
    return lambda config: {**config, "params": {**config["params"], **params}}


def _without(*features):
    """No channel has these features; with none named, no fluorescence channel has any."""

    def without(config):
        changed = copy.deepcopy(config)
        for channel in changed["channels"]["fl"]:
            channel["features"] = [f for f in channel["features"] if features and f not in features]
        return changed

    return without


def _with_channels(*kept):
    return lambda config: {**config, "channels": {kind: config["channels"][kind] for kind in kept}}


# What each leaves unused differs: name -> a config made of another one.
EVERY_METHOD = {
    "as it is": _with(),
    "halo": _with(logstd_outline="halo"),
    "deepsea": _with(segmentation_method="deepsea", segmentation_scale=0.5),
    "pyama": _with(segmentation_method="pyama"),
    "btrack": _with(tracking_method="btrack"),
    "no divisions": _with(divisions=False),
    "btrack, no divisions": _with(tracking_method="btrack", divisions=False),
    "no spots, no totals": _without("particle_num", "intensity_total"),
    "no features of light": _without(),
    "no light": _with_channels("pc"),
    "no cells": _with_channels("fl"),
}


def another(declared, value):
    """A value that a parameter may have besides this one. declared: its entry in the schema."""
    if "enum" in declared:
        return next(other for other in declared["enum"] if other != value)
    if declared["type"] == "boolean":
        return not value
    if "string" in declared["type"]:
        return "another"
    step = 2 if "not" in declared else 1 if "integer" in declared["type"] else 0.01
    low = declared.get("minimum", declared.get("exclusiveMinimum", 0) + step)
    other = low if value is None else value + step
    return value - step if value is not None and other > declared.get("maximum", other) else other


def changed_where_unused(config):
    """A completed config in which every parameter has another value that is said to change nothing."""
    declared = load_schema()["properties"]["params"]["properties"]
    refused = ("segmentation_scale", "cellpose_model", "cellpose_diameter")  # where the method does not use them
    named = ("segmentation_method", "tracking_method", "recipe", "psf")  # a method or file that there has to be
    unused = [key for key in unused_keys.reasons(config) if key not in refused + named]
    params = {**config["params"], **{key: another(declared[key], config["params"][key]) for key in unused}}
    return {**config, "params": params}
