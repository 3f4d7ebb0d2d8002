"""Check a configuration against config/schema.yaml and complete it with the defaults.

Everything a user may write is declared in the schema. `messages` words the violations, `contradictions` finds mistakes
between keys, `stage_settings` tells which keys a stage depends on.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from celltraces.config.contradictions import find_contradictions
from celltraces.config.messages import allowed_at, describe_violations, raise_mistakes, shortened
from celltraces.config.mistaken_keys import Place, independent, keys_of_lines, leave_out, without_violations
from celltraces.config.schema import load_schema, resolve_reference
from celltraces.config.user_paths import expand_all

SCIENTIFIC = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+")  # 1e-5, which YAML takes for text
NUMBERS = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
NO_TEXT = *NUMBERS, "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
ODD_NUMBER = re.compile(r"[+-]?0[0-9_]+$|.*:")  # 010, which is 8, and 1:30, which is 90
MANY_VALUES = 1_000_000  # in one config; aliases of aliases (YAML's & and *) make any number from a few lines
DEEP = 20  # levels; the deepest key of ours is on the sixth
LARGE = 2**53  # whole numbers beyond are not the same as floating-point numbers


class Misread(NamedTuple):
    """A line on something that YAML reads otherwise than a person does, and the key or number that it becomes."""

    line: str
    word: str


class Examined(NamedTuple):
    """A config as far as it is right: complete, with defaults for what is `wrong` in it (places), None where nothing
    remains that can be judged; a line for each of its mistakes."""

    config: dict[str, Any] | None
    mistakes: list[str]
    wrong: list[Place]


def complete(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration as Snakemake read it and fill in every default.

    Numbers are brought to the schema's type (30.0 frames are 30 frames), so that writing the same value in another
    way changes nothing; ~ and $HOME in paths are replaced, and {files: pattern} by the pattern. Raises UserError with
    one line per mistake, each naming the key and what is allowed.
    """
    examined = examine(raw)
    raise_mistakes(examined.mistakes)
    assert examined.config is not None
    return examined.config


def examine(raw: Mapping[str, Any], misread: Sequence[Misread] = ()) -> Examined:
    """As `complete`, without an error: what is right of a config with mistakes, and these.

    Mistakes between keys are told of those that are right. Raises UserError for what is no config at all.
    """
    schema = load_schema()
    mistakes: list[str] = []
    expanded = expand_all(_plain(raw, schema, mistakes), schema, schema, mistakes)
    wrong = keys_of_lines(mistakes) + [(each.word,) for each in misread]
    mistakes = [each.line for each in misread] + mistakes
    mistakes += independent(describe_violations(expanded, schema), wrong, mistakes)
    for place in wrong:
        leave_out(expanded, place)
    config, violating = without_violations(expanded, schema)
    wrong += violating
    if config is None:
        return Examined(None, mistakes, wrong)
    _fill(config, schema, schema)
    config["datasets"] = {
        name: path["files"] if isinstance(path, Mapping) else path for name, path in config["datasets"].items()
    }
    contradictions = independent(find_contradictions(config), wrong, mistakes)
    return Examined(config, mistakes + contradictions, wrong + keys_of_lines(contradictions))


def as_in_a_file(config: Mapping[str, Any], of_command: Mapping[str, Any]) -> dict[str, Any]:
    """The config in which what --config gave within braces or brackets means what it would mean in a file.

    Snakemake takes `--config 'params={border_margin: 20}'` for a mapping with the text "20". of_command: what --config
    gave, which Snakemake has put into the config.
    """
    typed = dict(config)
    for key, given in of_command.items():
        if key in typed and isinstance(given, (Mapping, list)):
            typed[key] = _with_types(typed[key], given)
    return typed


def _with_types(value: Any, given: Any) -> Any:
    """The value with the type that YAML gives to each text in `given`, which are parts of it or all."""
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        return {key: _with_types(item, given[key]) if key in given else item for key, item in value.items()}
    if isinstance(given, list) and isinstance(value, list):
        return [_with_types(item, part) for item, part in zip(value, given, strict=True)]
    if value != given or not isinstance(given, str):
        return value
    try:
        read = yaml.safe_load(given)
    except yaml.YAMLError:
        return value
    return value if isinstance(read, (Mapping, list)) else read


def misread_yaml(files: Iterable[str | Path]) -> list[Misread]:
    """A line for all that YAML reads otherwise than a person does, without a word: a key that
    stands twice, of which it takes the last one; whole numbers that begin with 0, which it takes for digits to the base
    of 8; numbers with colons, which it takes for digits to the base of 60; names of datasets and other keys that it
    takes for numbers or for yes and no, and that become other names: 0.10 would be 0.1."""
    return [each for file in files for each in _misread(Path(file))]


def _misread(file: Path) -> list[Misread]:
    mistakes: list[Misread] = []
    seen: set[int] = set()

    def look(node: yaml.Node | None) -> None:
        if node is None or id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if node.tag in NUMBERS and ODD_NUMBER.match(node.value):
                read = yaml.safe_load(node.value)
                line = (
                    f"{file}: {node.value} in line {node.start_mark.line + 1} is {read} as YAML reads it; write the "
                    "number without leading zeros and colons, or text in quotes"
                )
                mistakes.append(Misread(line, str(read)))
            return
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                look(item)
            return
        lines: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if (first := lines.setdefault(key.value, line)) != line:
                    told = f"{file}: the key {key.value!r} stands in line {first} and in line {line}"
                    mistakes.append(Misread(told, key.value))
                if key.tag in NO_TEXT and not ODD_NUMBER.match(key.value):
                    read = yaml.safe_load(key.value)
                    if str(read) != key.value:
                        told = (
                            f"{file}: the key {key.value} in line {line} is {read} as YAML reads it; put it in quotes"
                        )
                        mistakes.append(Misread(told, str(read)))
            look(key)
            look(value)

    try:
        look(yaml.compose(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []  # Snakemake could read it, so it is not our place to complain
    return mistakes


def _plain(raw: Any, schema: Mapping[str, Any], mistakes: list[str]) -> Any:
    """Plain dictionaries with text keys, lists and scalars (YAML reads the keys of time_mapping as numbers).

    Values that no key may have are added to the mistakes, and replaced by text.
    """
    count = itertools.count()

    def refuse(key: str, why: str) -> str:
        mistakes.append(f"{shortened(key)}: {why}{allowed_at(key.split('.'), schema)}")
        return "?"

    def plain(value: Any, key: str, depth: int) -> Any:
        if next(count) > MANY_VALUES or depth > DEEP:
            raise_mistakes([f"{shortened(key.split('.')[0])}: too many values, or too deeply nested"])
        if isinstance(value, Mapping):
            return {
                str(name): plain(item, f"{key}.{name}" if key else str(name), depth + 1) for name, item in value.items()
            }
        if isinstance(value, (list, tuple, set)):
            return [plain(item, f"{key}.{at}", depth + 1) for at, item in enumerate(value)]
        if isinstance(value, str) and key.startswith("fits.") and SCIENTIFIC.fullmatch(value):
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            return refuse(key, f"{value} is not allowed; give a finite number")
        if isinstance(value, (int, float)) and abs(value) > LARGE:
            shown = hex(value) if isinstance(value, int) else str(value)  # Python refuses to print large ones otherwise
            return refuse(key, f"{shortened(shown)} is too large a number; numbers are at most {LARGE}")
        if not isinstance(value, (str, int, float, type(None))):  # YAML knows dates, bytes and complex numbers
            return refuse(key, f"{shortened(str(value))} is a {type(value).__name__}; put text in quotes")
        return value

    return plain(raw, "", 0)


def _fill(value: Any, rule: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """The value with defaults where keys are absent and numbers brought to their declared type (in place)."""
    if "$ref" in rule:
        rule = resolve_reference(rule, schema)
    if isinstance(value, dict):
        if "anyOf" in rule:
            options = (resolve_reference(option, schema) if "$ref" in option else option for option in rule["anyOf"])
            rule = next(option for option in options if option.get("type") == "object")
        properties = rule.get("properties", {})
        for key, declared in properties.items():
            if key not in value and "default" in declared:
                value[key] = copy.deepcopy(declared["default"])
        others = rule.get("additionalProperties") or {}
        for key in value:
            value[key] = _fill(value[key], properties.get(key, others), schema)
    elif isinstance(value, list):
        return [_fill(item, rule.get("items", {}), schema) for item in value]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        types = rule.get("type", ())
        if types == "number":
            return float(value)
        if "integer" in types:
            return int(value)
    return value
