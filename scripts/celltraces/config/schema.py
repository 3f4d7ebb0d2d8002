"""Load config/schema.yaml and resolve references in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA_FILE = Path(__file__).parents[3] / "config" / "schema.yaml"


@cache
def load_schema() -> dict[str, Any]:
    """The schema as a dictionary."""
    import yaml  # jobs that ask about a method's name alone do not pay for it

    # In C where PyYAML was built with it: a tenth of the time.
    return yaml.load(SCHEMA_FILE.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def resolve_reference(rule: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that "$ref": "#/a/b" stands for."""
    for key in rule["$ref"].removeprefix("#/").split("/"):
        schema = schema[key]
    return schema
