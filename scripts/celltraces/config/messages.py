"""Turn violations of the schema into one line each: the key, what was written, what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from celltraces.config.schema import resolve_reference
from celltraces.errors import UserError

FEW = 15  # names, of which a message holds all
DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]+,[0-9]+\s*")
CONTROL = re.compile(r"[\x01-\x1f\x7f]")
PLAIN = re.compile(r"[\w./ ]+")  # text that needs no quotes in YAML
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
DIGITS = 15  # before or after the point, up to which a number is written out

KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


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


def shortened(text: str, most: int = 80) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def find_violations(config: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    """The errors of jsonschema, one for each place, sorted by place."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    by_place: dict[tuple[str, ...], Any] = {}
    for error in (inner for outer in validator.iter_errors(config) for inner in _innermost(outer, schema)):
        place = tuple(str(part) for part in error.absolute_path)
        if error.validator in ("required", "additionalProperties") or "propertyNames" in error.absolute_schema_path:
            # Keys that are missing, unknown or misnamed are mistakes of their own.
            place += (error.validator, str(error.instance) if isinstance(error.instance, str) else "")
        # One mistake at one place: a value of the wrong type violates other rules as well.
        if place not in by_place or error.validator == "type":
            by_place[place] = error
    yield from (by_place[place] for place in sorted(by_place))


def describe_violations(config: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """A line for each mistake. A key that is missing since it is misspelled is one."""
    lines = [line for error in find_violations(config, schema) for line in describe_violation(error, schema)]
    meant = {line.rpartition("did you mean ")[2].rstrip("?") for line in lines if "did you mean " in line}
    return [line for line in lines if not any(f"the key {name!r} is missing" in line for name in meant)]


def _innermost(error: Any, schema: Mapping[str, Any]) -> list[Any]:
    """The mistakes in a list or mapping that is one of several kinds of values that a key may have."""
    if error.validator != "anyOf" or not isinstance(error.instance, (dict, list)):
        return [error]
    kind = "object" if isinstance(error.instance, dict) else "array"
    options = [resolve_reference(option, schema) if "$ref" in option else option for option in error.validator_value]
    fitting = [at for at, option in enumerate(options) if option.get("type") == kind]
    return [inner for inner in error.context if fitting and inner.schema_path[0] == fitting[0]] or [error]


def describe_violation(error: Any, schema: dict[str, Any]) -> list[str]:
    """A line for each mistake in one violation: where, what was written, what is allowed, and an example."""
    path = [str(part) for part in error.absolute_path]
    key = ".".join(path) or "config"
    value, rule = error.instance, error.schema
    shown = as_yaml(value)
    example = _example(path, schema)
    match error.validator:
        case "additionalProperties" if isinstance(error.validator_value, bool):
            known = list(rule["properties"])
            prefix = f"{key}." if path else ""
            unknown = [name for name in value if name not in known]
            return [
                f"{prefix}{shortened(name)}: unknown key{_suggest(name, value[name], known, schema)}"
                for name in unknown
            ]
        case "required":
            missing = [name for name in error.validator_value if name not in value]
            return [
                f"{key}: the key {name!r} is missing{_example([*path, name], schema)}; see config/config.yaml"
                for name in missing
            ]
        case "pattern" if error.absolute_schema_path and "propertyNames" in error.absolute_schema_path:
            allowed = rule.get("description", f"names of the form {error.validator_value}")
            return [f"{key}: the name {shown} is not allowed; use {allowed}"]
        case "type":
            wanted = error.validator_value
            kinds = [wanted] if isinstance(wanted, str) else wanted
            what = " or ".join(KINDS[kind] for kind in kinds) + _limits(rule, ", ")
            return [f"{key}: {shown} is {_kind_of(value)}; allowed: {what}{_hint(value, kinds)}{example}"]
        case "anyOf" if "description" in rule and {inner.validator for inner in error.context} == {"type"}:
            return [f"{key}: {shown} is {_kind_of(value)}{_limits(rule, '; allowed: ')}{_hint(value, ())}{example}"]
        case "enum":
            names = [as_yaml(name) if name is None else str(name) for name in error.validator_value]
            return [f"{key}: {shown} is not one of {', '.join(names)}{did_you_mean(value, names)}"]
        case "uniqueItems":
            twice = next(item for at, item in enumerate(value) if item in value[:at])
            return [f"{key}: {as_yaml(twice)} is named twice; name it once"]
        case _:
            return [f"{key}: {shown} is not allowed{_limits(rule, '; allowed: ')}{_hint(value, ())}{example}"]


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "a yes or no"
    if value is None:
        return "nothing (so YAML takes ~, and a colon that nothing follows)"
    kinds = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds[type(value)]


def as_yaml(value: Any, most: int = 80) -> str:
    """A value as YAML spells it, cut to so many characters."""
    import yaml

    if isinstance(value, str):
        return shortened(repr(value), most)
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return shortened(text.removesuffix("\n...\n").strip(), most)


def _limits(rule: Mapping[str, Any], begin: str) -> str:
    """What a rule allows, after `begin`; empty where it says nothing."""
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
        return f"{begin}{', '.join(parts)}{unit}"
    return f"{begin}{rule['description']}" if "description" in rule else ""


def _hint(value: Any, kinds: Sequence[str]) -> str:
    """What the mistake may have been, as a part of a message."""
    numeric = bool({"integer", "number"} & {*kinds})
    if isinstance(value, str) and DECIMAL_COMMA.fullmatch(value):
        return f"; a decimal comma? write {value.strip().replace(',', '.')}"
    if isinstance(value, str) and numeric and NUMBER.fullmatch(value):
        if "e" not in value.lower():
            return "; write it without quotes"
        number = Decimal(value.strip())  # 1e3 is text to YAML, also without quotes
        return f"; YAML takes it for text: write {number:f}" if abs(number.adjusted()) <= DIGITS else ""
    if isinstance(value, str) and "boolean" in kinds:
        return "; write it without quotes, true or false"
    if isinstance(value, str) and CONTROL.search(value):
        return "; in double quotes \\n and \\t stand for a line break and a tab: write paths with /"
    if isinstance(value, str) and "\\" in value:
        return "; write / in the place of \\"
    if "array" in kinds and isinstance(value, (str, int, float, dict)):
        return "; put it in brackets, [ ]"
    return ""


def _example(path: Sequence[str], schema: Mapping[str, Any]) -> str:
    """How a key may be written, as the end of a message; empty where the schema has no example of it."""
    value = example_of(path, schema)
    if value is None:
        return ""
    name = f"{path[-1]}: " if path and not path[-1].isdigit() else ""
    shown = value if isinstance(value, str) and PLAIN.fullmatch(value) else as_yaml(value, most=200)
    return f"; for example {name}{shown}"


def example_of(path: Sequence[str], schema: Mapping[str, Any]) -> Any:
    """A value that may stand at a place of the configuration: an example of the schema, or the default; else None."""
    rule = _rule_at(path, schema)
    if rule is None:
        return None
    found = [
        example
        for option in _options(rule, schema)
        for example in (*option.get("examples", ()), option.get("default"), *option.get("enum", ()))
    ]
    return next((example for example in found if example not in (None, [], {})), None)


def allowed_at(path: Sequence[str], schema: Mapping[str, Any]) -> str:
    """What may stand at a place of the configuration, as the end of a message; empty where the schema knows no such."""
    rule = _rule_at(path, schema)
    kinds = (rule or {}).get("type", ())
    what = " or ".join(KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    limits = _limits(rule or {}, ", " if what else "")
    return (f"; allowed: {what}{limits}" if what or limits else "") + _example(path, schema)


def _rule_at(path: Sequence[str], schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The rule for a place of the configuration, None where there is none."""
    rule: Mapping[str, Any] = schema
    for part in path:
        inner = next(filter(None, (_below(option, part) for option in _options(rule, schema))), None)
        if inner is None:
            return None
        rule = inner
    return rule


def _options(rule: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A rule, what it refers to, and its alternatives."""
    yield rule
    for option in [rule] if "$ref" in rule else [*rule.get("anyOf", ())]:
        yield from _options(resolve_reference(option, schema) if "$ref" in option else option, schema)


def _below(rule: Mapping[str, Any], part: str) -> Mapping[str, Any] | None:
    """The rule of a key of a mapping, or of an item of a list."""
    if part in rule.get("properties", {}):
        return rule["properties"][part]
    if isinstance(others := rule.get("additionalProperties"), dict):
        return others
    return rule.get("items") if part.isdigit() else None


def _suggest(unknown: str, value: Any, known: list[str], schema: dict[str, Any]) -> str:
    """Where an unknown key may belong, or what it may be a slip of, as the end of a message."""
    if unknown.isdigit() and value is None:
        return "; a decimal comma? write 0.1, not 0,1"
    for section, properties in (
        ("params", schema["properties"]["params"]["properties"]),
        ("", schema["properties"]),
    ):
        if unknown in properties:
            return f" here; it belongs {f'under {section}:' if section else 'at the top level'}"
    few = f"; known keys: {', '.join(known)}" if len(known) <= FEW else "; config/config.yaml has all keys"
    return did_you_mean(unknown, known) or few


def did_you_mean(written: Any, known: Iterable[str]) -> str:
    """The known name that is like what was written, as the end of a message; empty where none is."""
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(written).lower(), lowered, n=1)
    return f"; did you mean {lowered[close[0]]}?" if close else ""
