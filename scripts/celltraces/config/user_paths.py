"""Expand ~ and environment variables in every path of the configuration, or refuse them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from celltraces.config.schema import resolve_reference
from celltraces.errors import UserError

CONTROL = re.compile(r"[\x01-\x1f\x7f]")
VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")
# The schema's `path`: what a text names.
INPUT, OUTPUT, METHOD = "input", "output", "method"


def expand_path(written: str, key: str, kind: str = INPUT) -> str:
    """The path with a leading ~ or ~user and all $NAME and ${NAME} replaced.

    kind: INPUT, OUTPUT, or METHOD ("path/to/file.py:function"). An input that exists under the very name as it is
    written is meant itself. `key` names the setting in errors. Raises UserError for what stands for nothing.
    """
    if CONTROL.search(written) and kind != OUTPUT:  # for an output the schema says what is allowed
        raise UserError(
            f"{key}: there is a line break, a tab or the like in {written!r}; in double quotes \\n and \\t are these: "
            "write the path with /, or in single quotes"
        )
    if not written.startswith("~") and "$" not in written:
        return written
    file = written.rpartition(":")[0] if kind == METHOD else written
    if kind != OUTPUT and os.path.exists(file):
        return written
    names = [name.strip("{}") for name in VARIABLE.findall(written)]
    unset = [name for name in names if not os.environ.get(name)]
    if unset:
        raise UserError(f"{key}: the variable ${unset[0]} in {written!r} is not set; set it, or write the path in full")
    path = VARIABLE.sub(lambda match: os.environ[match[1].strip("{}")], written)
    home = os.path.expanduser(path)
    if home.startswith("~"):
        raise UserError(
            f"{key}: {written!r} begins with {path.split('/')[0]!r}, which is the folder of no user; "
            f"write ./{path} for one of this name, or the path in full"
        )
    return home


def expand_all(
    value: Any, rule: Mapping[str, Any], schema: Mapping[str, Any], mistakes: list[str], key: str = ""
) -> Any:
    """A config, which may have mistakes of other kinds, with every path in it expanded; mistakes are added to the list.

    rule: the part of the schema that the value belongs to; texts whose rule has a `path` are paths.
    """
    for option in _options(rule, schema):
        if isinstance(value, str) and "path" in option:
            try:
                return expand_path(value, key, option["path"])
            except UserError as error:
                mistakes.append(str(error))
                return value
        if isinstance(value, dict) and {"properties", "additionalProperties"} & option.keys():
            others = option.get("additionalProperties") or {}
            known = option.get("properties", {})
            return {
                name: expand_all(item, known.get(name, others), schema, mistakes, f"{key}.{name}" if key else name)
                for name, item in value.items()
            }
        if isinstance(value, list) and "items" in option:
            return [expand_all(item, option["items"], schema, mistakes, f"{key}.{at}") for at, item in enumerate(value)]
    return value


def _options(rule: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a rule allows: itself, what it refers to, and its alternatives."""
    if "$ref" in rule:
        yield from _options(resolve_reference(rule, schema), schema)
    else:
        yield rule
        for option in rule.get("anyOf", ()):
            yield from _options(option, schema)
