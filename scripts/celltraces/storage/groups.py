"""Write the metadata of Zarr groups, which open a folder of arrays as one thing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celltraces.files import write_text


def group_metadata(attributes: Mapping[str, Any]) -> bytes:
    """Content of a group's zarr.json."""
    return as_bytes({"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)})


def as_bytes(metadata: Mapping[str, Any]) -> bytes:
    """Metadata in one canonical spelling."""
    return json.dumps(metadata, sort_keys=True).encode()


def write_group(path: Path, attributes: Mapping[str, Any]) -> None:
    """Write a group's zarr.json at `path`; the arrays beside it belong to others and stay as they are."""
    write_text(path, group_metadata(attributes).decode())
