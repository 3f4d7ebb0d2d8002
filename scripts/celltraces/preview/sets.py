"""Choose the sets of segmentation parameters that a preview tries, around the configured one.

One parameter, or the method, is changed at a time, so that each column of the picture answers one question.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from celltraces.config.schema import load_schema
from celltraces.config.unused_keys import used_by
from celltraces.errors import UserError
from celltraces.preview.frame_choice import frames_to_try
from celltraces.pyme.recipe import labels_cells

METHOD = "segmentation_method"
COMPARED = ("logstd", "deepsea")  # the methods that are tried where the config names none
PARAMETERS = ("logstd_window_size", "morph_size", "morph_iterations", "min_object_size", "max_object_size")
KEYS = (METHOD, *PARAMETERS)
STEP = {"logstd_window_size": 2, "morph_size": 2, "morph_iterations": 2}
MOST_FRAMES, MOST_SETS = 24, 16  # more do not fit on a picture
LONGEST_NAME = 20  # characters of a method in the name of a file

Set = Mapping[str, Any]  # a value for each of KEYS


def parameter_sets(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The methods and parameters to try, the present ones first; each other set differs from them in one value.

    A recipe that labels the cells itself uses none of them, so that nothing is tried beside it.
    """
    present = {key: config["params"][key] for key in KEYS}
    vary = config["preview"]["vary"]
    if labels_cells(config["params"]["recipe"]):
        return [present]
    if vary is None:
        used = used_by(present[METHOD])
        vary = {METHOD: COMPARED} | {key: _around(key, present) for key in PARAMETERS if key in used}
    sets = [present]
    for key in KEYS:
        values = vary.get(key, ())
        for value in dict.fromkeys(values) if key == METHOD else sorted(set(values)):
            if value != present[key]:
                sets.append({**present, key: value})
    return sets


def file_stem(tried: Set) -> str:
    """A set of parameters as it stands in the name of a file."""
    return ",".join(f"{key}~{_in_file_name(tried[key])}" for key in KEYS)


def _in_file_name(value: Any) -> str:
    """A value as it is, or, of a method that is a path, the end of it and what tells it from others."""
    text = str(value)
    if re.fullmatch(r"\w+", text, re.ASCII):
        return text
    stem = re.sub(r"\W+", "_", Path(text).name, flags=re.ASCII)[:LONGEST_NAME]
    return f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def set_named(config: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The set of parameters that `file_stem` made a text of."""
    return next(tried for tried in parameter_sets(config) if file_stem(tried) == text)


def changed(tried: Set, present: Set) -> dict[str, Any]:
    """What a set has other than the present one."""
    return {key: tried[key] for key in KEYS if tried[key] != present[key]}


def _around(key: str, present: Set) -> list[int]:
    """Two values of a parameter near its present one, one on each side where the range allows it."""
    value = present[key]
    if key == "max_object_size":
        return []
    if key == "min_object_size":
        near = (value // 2, 2 * value) if value else (50, 100)
        return [min(size, present["max_object_size"]) for size in near]
    rule = load_schema()["properties"]["params"]["properties"][key]
    low, high, step = rule["minimum"], rule["maximum"], STEP[key]
    below, above = max(value - step, low), min(value + step, high)
    if below == value:
        return [above, above + step]
    if above == value:
        return [below - step, below]
    return [below, above]


def preview_mistakes(config: Mapping[str, Any], datasets: Mapping[str, Any]) -> Iterator[str]:
    """What `preview:` asks for and cannot have, a line each."""
    params = config["params"]
    method = params[METHOD]
    for key, values in (config["preview"]["vary"] or {}).items():
        if values and key not in (METHOD, *used_by(method)):
            yield f"preview.vary.{key}: segmentation_method {method} does not use it; leave it out"
    sets = parameter_sets(config)
    for tried in sets:
        if tried["min_object_size"] > tried["max_object_size"]:
            key = "min_object_size" if tried["min_object_size"] != params["min_object_size"] else "max_object_size"
            yield f"preview.vary.{key}: {tried[key]} makes min_object_size larger than max_object_size: no cell is left"
    if len(sets) > MOST_SETS:
        yield f"preview.vary: {len(sets) - 1} values are too many for a picture; allowed: at most {MOST_SETS - 1}"
    for dataset in datasets.values():
        if dataset.pc is None:
            continue
        try:
            n_frames = len(frames_to_try(config, dataset))
        except UserError as error:
            yield f"{error} ({dataset.path!r})"
            continue
        if n_frames > MOST_FRAMES:
            yield (
                f"preview: {n_frames} frames are too many for a picture; allowed: at most {MOST_FRAMES}; "
                "lower n_fovs or n_frames, or name fewer in fovs or frames"
            )
