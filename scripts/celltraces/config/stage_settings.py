"""Select the parameters that each stage uses, so that a change reruns only the stages that use the changed key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from celltraces.config.schema import load_schema
from celltraces.errors import UserError
from celltraces.files import is_file


def stage_settings(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The settings that `stage` uses, by name. A plugin or method from a file counts with the file's content."""
    schema = load_schema()
    settings: dict[str, Any] = {}
    for section in ("", "params", "pictures", "report"):
        values = config[section] if section else config
        properties = schema["properties"][section]["properties"] if section else schema["properties"]
        for key, declared in properties.items():
            if stage in declared.get("stages", ()):
                settings[key] = values[key]
    files = settings.get("plugins", []) + [
        value.rpartition(":")[0] for key, value in settings.items() if key.endswith("_method") and ":" in value
    ]
    files += [value for key, value in settings.items() if key == "segmentation_method" and is_model(value)]
    files += [value for key, value in settings.items() if key == "cellpose_model" and value and is_file(value)]
    if settings.get("recipe"):
        files.append(settings["recipe"])
    if files:
        settings["files"] = digests(files)
    return settings


def is_model(method: str) -> bool:
    """Whether a segmentation_method is the file of a network."""
    return method.endswith(".onnx")


def is_network(method: str) -> bool:
    """Whether a segmentation_method is a network that the workflow runs itself."""
    return method == "deepsea" or is_model(method)


def digests(files: Iterable[str]) -> dict[str, str]:
    """The user's files with digests of their content."""
    return {file: _digest(file) for file in files}


def canonical_json(settings: Mapping[str, Any]) -> str:
    """Settings in one canonical spelling: the order of keys in the config changes nothing."""
    return json.dumps(settings, sort_keys=True)


def _digest(file: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check plugins and methods in the config") from None
