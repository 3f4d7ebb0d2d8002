"""Turn violations of the schema into one line each: the key, what was written, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celltraces.errors import UserError


def raise_mistakes(mistakes: Iterable[str]) -> None:
    """Raise UserError with a line for each mistake, if there is any."""
    lines = [_printable(line) for line in dict.fromkeys(mistakes)]
    if lines:
        raise UserError("\n".join(lines))


def _printable(text: str) -> str:
    """The text with line breaks, control characters and the like spelled out, so that it is one line anywhere."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )


def shortened(text: str) -> str:
    """The text, cut to 80 characters."""
    return text if len(text) <= 80 else text[:77] + "..."


def find_violations(config: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    """The errors of jsonschema, one for each place, sorted by place."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    by_place: dict[tuple[str, ...], Any] = {}
    for error in validator.iter_errors(config):
        place = tuple(str(part) for part in error.absolute_path)
        if error.validator in ("required", "additionalProperties") or "propertyNames" in error.absolute_schema_path:
            # Keys that are missing, unknown or misnamed are mistakes of their own.
            place += (error.validator, str(error.instance) if isinstance(error.instance, str) else "")
        # One mistake at one place: a value of the wrong type violates other rules as well.
        if place not in by_place or error.validator == "type":
            by_place[place] = error
    yield from (by_place[place] for place in sorted(by_place))


def describe_violation(error: Any, schema: dict[str, Any]) -> list[str]:
    """A line for each mistake in one violation: where, what was written, what is allowed."""
    key = ".".join(str(part) for part in error.absolute_path) or "config"
    value, rule = error.instance, error.schema
    shown = shortened(repr(value))
    match error.validator:
        case "additionalProperties" if isinstance(error.validator_value, bool):
            known = list(rule["properties"])
            prefix = f"{key}." if error.absolute_path else ""
            unknown = [name for name in value if name not in known]
            return [f"{prefix}{shortened(name)}: unknown key{_suggest(name, known, schema)}" for name in unknown]
        case "required":
            missing = [name for name in error.validator_value if name not in value]
            return [f"{key}: the key {name!r} is missing; see config/config.yaml" for name in missing]
        case "pattern" if error.absolute_schema_path and "propertyNames" in error.absolute_schema_path:
            allowed = rule.get("description", f"names of the form {error.validator_value}")
            return [f"{key}: the name {shown} is not allowed; use {allowed}"]
        case "type":
            wanted = error.validator_value
            wanted = wanted if isinstance(wanted, str) else " or ".join(wanted)
            return [f"{key}: {shown} is not of type {wanted}{_allowed(rule)}"]
        case "enum":
            return [f"{key}: {shown} is not one of {', '.join(map(str, error.validator_value))}"]
        case _:
            return [f"{key}: {shown} is not allowed{_allowed(rule)}"]


def _allowed(rule: Mapping[str, Any]) -> str:
    """What a rule allows, as the end of a message."""
    low = rule.get("minimum", rule.get("exclusiveMinimum"))
    parts = []
    if low is not None:
        parts.append(f"more than {low}" if "exclusiveMinimum" in rule else f"at least {low}")
    if "maximum" in rule:
        parts.append(f"at most {rule['maximum']}")
    if rule.get("not") == {"multipleOf": 2}:
        parts.append("odd")
    if "pattern" in rule and "description" not in rule:
        parts.append("of the form " + rule["pattern"])
    if parts:
        unit = f" {rule['unit']}" if "unit" in rule else ""
        return f"; allowed: {', '.join(parts)}{unit}"
    return f"; allowed: {rule['description']}" if "description" in rule else ""


def _suggest(unknown: str, known: list[str], schema: dict[str, Any]) -> str:
    """Where an unknown key may belong, or what it may be a slip of, as the end of a message."""
    for section, properties in (
        ("params", schema["properties"]["params"]["properties"]),
        ("", schema["properties"]),
    ):
        if unknown in properties:
            return f" here; it belongs {f'under {section}:' if section else 'at the top level'}"
    close = difflib.get_close_matches(unknown, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known keys: {', '.join(known)}"
