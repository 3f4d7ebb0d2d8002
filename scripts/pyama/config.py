"""The configuration: read against config/schema.yaml, completed with its defaults, and cut into stages.

Everything a user may write is declared in the schema; this module turns violations into one line each and answers
which settings a stage depends on (the schema's `stages`).
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from formats.registry import FORMATS, LABELS, TRACES, formats_of
from pyama.errors import PyamaError
from pyama.files import is_file
from pyama.paths import BENCHMARKS, CHECKSUMS, LOGS, PLACES, SHIFT_FIELD
from pyama.plugins import mistake_in
from pyama.recipe import read_recipe
from pyama.userpaths import expand_all

SCHEMA_FILE = Path(__file__).parents[2] / "config" / "schema.yaml"
RESERVED_NAMES = (LOGS, BENCHMARKS, CHECKSUMS, PLACES, SHIFT_FIELD)  # our own beside the datasets' folders
SCIENTIFIC = re.compile(r"[+-]?[0-9.]+[eE][+-]?[0-9]+")  # 1e-5, which YAML takes for text
DEVICES = ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)))
MANY_VALUES = 1_000_000  # in one config; aliases of aliases (YAML's & and *) make any number from a few lines
DEEP = 20  # levels; the deepest key of ours is on the sixth
LARGE = 2**53  # whole numbers beyond are not the same as floating-point numbers


@cache
def load_schema() -> dict[str, Any]:
    """The schema as a dictionary."""
    # In C where PyYAML was built with it: a tenth of the time.
    return yaml.load(SCHEMA_FILE.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def complete(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration as Snakemake read it and fill in every default.

    Numbers are brought to the schema's type (30.0 frames are 30 frames), so that writing the same value in another
    way changes nothing; ~ and $HOME in paths are replaced. Raises PyamaError with one line per mistake, each naming
    the key and what is allowed.
    """
    schema = load_schema()
    mistakes: list[str] = []
    config = expand_all(_plain(raw), schema, schema, mistakes)
    _raise(mistakes)
    _raise([line for error in _violations(config, schema) for line in _describe(error, schema)])
    _fill(config, schema, schema)
    _raise(_contradictions(config))
    return config


def refuse_repeated_keys(files: Iterable[str | Path]) -> None:
    """Raise PyamaError with a line for each key that a file has twice: YAML takes the last one without a word."""
    _raise(line for file in files for line in _repeated_keys(Path(file)))


def _repeated_keys(file: Path) -> list[str]:
    mistakes = []
    seen: set[int] = set()

    def look(node: yaml.Node | None) -> None:
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                look(item)
            return
        lines: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if (first := lines.setdefault(key.value, line)) != line:
                    mistakes.append(f"{file}: the key {key.value!r} stands in line {first} and in line {line}")
            look(value)

    try:
        look(yaml.compose(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []  # Snakemake could read it, so it is not our place to complain
    return mistakes


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
    if settings.get("recipe"):
        files.append(settings["recipe"])
    if files:
        settings["files"] = digests(files)
    return settings


def digests(files: Iterable[str]) -> dict[str, str]:
    """The user's files with digests of their content."""
    return {file: _digest(file) for file in files}


def as_json(settings: Mapping[str, Any]) -> str:
    """Settings in one canonical spelling: the order of keys in the config changes nothing."""
    return json.dumps(settings, sort_keys=True)


def expand_fovs(fovs: Any, n_fovs: int, key: str, what: str = "FOV") -> list[int]:
    """FOV (or frame) numbers, sorted, from "all", "0-9, 12", a number or a list. `key` names the setting in errors."""
    if fovs == "all":
        return list(range(n_fovs))
    if isinstance(fovs, int):
        chosen = {fovs}
    elif isinstance(fovs, str):
        chosen = set()
        for part in fovs.split(","):
            first, _, last = part.partition("-")
            if last and int(last) < int(first):
                raise PyamaError(f"{key}: {part.strip()!r} runs backwards; write {last.strip()}-{first.strip()}")
            chosen.update(range(int(first), min(int(last or first), n_fovs) + 1))
    else:
        chosen = set(fovs)
    absent = sorted(fov for fov in chosen if fov >= n_fovs)
    if absent:
        raise PyamaError(f"{key}: {what} {absent[0]} is not in the file, which has {what}s 0 to {n_fovs - 1}")
    return sorted(chosen)


def fovs_of(config: Mapping[str, Any], dataset: str) -> Any:
    """The `fovs` setting of one dataset."""
    fovs = config["fovs"]
    return fovs.get(dataset, "all") if isinstance(fovs, Mapping) else fovs


def _digest(file: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise PyamaError(
            f"{file}: cannot be read ({error.strerror}); check plugins and methods in the config"
        ) from None


def _raise(mistakes: Iterable[str]) -> None:
    """Raise PyamaError with a line for each mistake, if there is any."""
    lines = [_printable(line) for line in dict.fromkeys(mistakes)]
    if lines:
        raise PyamaError("\n".join(lines))


def _printable(text: str) -> str:
    """The text with line breaks, control characters and the like spelled out, so that it is one line anywhere."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )


def _plain(raw: Any) -> Any:
    """Plain dictionaries with text keys, lists and scalars (YAML reads the keys of time_mapping as numbers)."""
    count = itertools.count()

    def plain(value: Any, key: str, depth: int) -> Any:
        if next(count) > MANY_VALUES or depth > DEEP:
            _raise([f"{_shown(key.split('.')[0])}: too many values, or too deeply nested"])
        if isinstance(value, Mapping):
            return {
                str(name): plain(item, f"{key}.{name}" if key else str(name), depth + 1) for name, item in value.items()
            }
        if isinstance(value, (list, tuple, set)):
            return [plain(item, f"{key}.{at}", depth + 1) for at, item in enumerate(value)]
        if isinstance(value, str) and key.startswith("fits.") and SCIENTIFIC.fullmatch(value):
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            _raise([f"{_shown(key)}: {value} is not allowed; give a finite number"])
        if isinstance(value, (int, float)) and abs(value) > LARGE:
            _raise([f"{_shown(key)}: a number as large as this is not allowed; allowed: at most {LARGE}"])
        if not isinstance(value, (str, int, float, type(None))):  # YAML knows dates, bytes and complex numbers
            _raise([f"{_shown(key)}: {_shown(str(value))} is a {type(value).__name__}; put text in quotes"])
        return value

    return plain(raw, "", 0)


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _violations(config: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
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


def _describe(error: Any, schema: dict[str, Any]) -> list[str]:
    """A line for each mistake in one violation: where, what was written, what is allowed."""
    key = ".".join(str(part) for part in error.absolute_path) or "config"
    value, rule = error.instance, error.schema
    shown = _shown(repr(value))
    match error.validator:
        case "additionalProperties" if isinstance(error.validator_value, bool):
            known = list(rule["properties"])
            prefix = f"{key}." if error.absolute_path else ""
            unknown = [name for name in value if name not in known]
            return [f"{prefix}{_shown(name)}: unknown key{_suggest(name, known, schema)}" for name in unknown]
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
    for section, properties in (
        ("params", schema["properties"]["params"]["properties"]),
        ("", schema["properties"]),
    ):
        if unknown in properties:
            return f" here; it belongs {f'under {section}:' if section else 'at the top level'}"
    close = difflib.get_close_matches(unknown, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known keys: {', '.join(known)}"


def _fill(value: Any, rule: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """The value with defaults where keys are absent and numbers brought to their declared type (in place)."""
    if "$ref" in rule:
        rule = _referred(rule, schema)
    if isinstance(value, dict):
        if "anyOf" in rule:
            options = (_referred(option, schema) if "$ref" in option else option for option in rule["anyOf"])
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


def _referred(rule: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that "$ref": "#/a/b" stands for."""
    for key in rule["$ref"].removeprefix("#/").split("/"):
        schema = schema[key]
    return schema


def _contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes between keys that a schema cannot state."""
    params, channels = config["params"], config["channels"]
    if not channels["pc"] and not channels["fl"]:
        yield "channels: neither pc nor fl is given; name at least one channel"
    for dataset in config["datasets"]:
        if dataset.lower() in RESERVED_NAMES:
            yield f"datasets.{dataset}: this name is taken by the workflow; choose another"
    for key, names in (("datasets", list(config["datasets"])), ("samples", [s["name"] for s in config["samples"]])):
        lowered: dict[str, str] = {}
        for name in names:
            # Windows and macOS do not tell results/A from results/a, and Windows keeps the names of devices to itself.
            if (other := lowered.setdefault(name.lower(), name)) != name:
                yield f"{key}.{name}: differs from {key}.{other} only in upper and lower case; choose another"
            if name.lower().split(".")[0] in DEVICES:
                yield f"{key}.{name}: Windows has a device of this name; choose another"
    if isinstance(config["fovs"], Mapping):
        for dataset in config["fovs"]:
            if dataset not in config["datasets"]:
                yield f"fovs.{dataset}: there is no dataset of this name; datasets: {', '.join(config['datasets'])}"
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
    if params["min_object_size"] > params["max_object_size"]:
        yield "params.min_object_size: larger than max_object_size, so that no cell is left"
    if params["mask_margin"] > params["crop_padding"]:
        yield (
            f"params.mask_margin: {params['mask_margin']} px reach beyond the crops; "
            f"allowed: at most crop_padding, {params['crop_padding']} px"
        )
    if None not in (params["min_size"], params["max_size"]) and params["min_size"] > params["max_size"]:
        yield "params.min_size: larger than max_size, so that no cell is left"
    for key, built_in in (
        ("segmentation_method", ("logstd", "pyama", "cellpose")),
        ("tracking_method", ("iou", "btrack")),
    ):
        value = params[key]
        file, _, function = value.rpartition(":")
        if value not in built_in and not (file.endswith(".py") and function.isidentifier()):
            yield f"params.{key}: {value!r} is none of {', '.join(built_in)}, path/to/file.py:function"
        elif file and not is_file(file):
            yield f"params.{key}: the file {file!r} does not exist"
        elif file and (mistake := mistake_in(value, f"params.{key}")):
            yield mistake
    if params["recipe"] is not None:
        try:
            read_recipe(params["recipe"])
        except PyamaError as error:
            yield f"params.recipe: {error}"
    if params["psf"] is not None and not is_file(params["psf"]):
        yield f"params.psf: the file {params['psf']!r} does not exist"
    beads = config["shift_field"]["beads"]
    if beads is not None and not is_file(beads):
        yield f"shift_field.beads: the file {beads!r} does not exist"
    for plugin in config["plugins"]:
        if not is_file(plugin):
            yield f"plugins: the file {plugin!r} does not exist"
    laid_over, named = config["pictures"]["fl"], [channel["channel"] for channel in channels["fl"]]
    if laid_over is not None and laid_over not in named:
        known = f"there are {', '.join(map(str, named))}" if named else "there are none"
        yield f"pictures.fl: channel {laid_over!r} is not among channels.fl; {known}"
    names: set[str] = set()
    for sample in config["samples"]:
        if sample["name"] in names:
            yield f"samples: the name {sample['name']!r} occurs twice; every sample needs a name of its own"
        names.add(sample["name"])
