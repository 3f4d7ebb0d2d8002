"""Every key of the config, written wrongly in every way: one line that says where, what is allowed, and an example."""

import re

import pytest
from test_config import MINIMAL

from celltraces.config.messages import did_you_mean, example_of
from celltraces.config.read_config import complete
from celltraces.config.schema import load_schema, resolve_reference
from celltraces.errors import UserError

SCHEMA = load_schema()
# Words of jsonschema and of Python, none of which is for users.
FOREIGN = (
    "is not of type",
    "is not valid under any",
    "does not match",
    "Additional properties",
    "is too short",
    "is too long",
)
FOREIGN += ("is less than", "is greater than", "should be non-empty", "non-unique", "Traceback", "dict", "NoneType")
FOREIGN += ("is a required property", "None", "True", "False", "regular expression")
SAYS_WHAT_TO_DO = re.compile(
    "allowed|there (are|is)|does not exist|cannot be read|missing|not one of|is none of|twice|not set|unknown|write|use"
    "|give|set|choose|leave|needs|larger|reach"
)
WRONG = {
    "text": "wrong?",
    "number": 7.25,
    "whole": -3,
    "huge": 10**9,
    "decimal comma": "0,1",
    "quoted number": "0.1",
    "nothing": None,
    "list": ["wrong?", {"a": 1}],
    "empty list": [],
    "mapping": {"wrong": 1},
    "empty mapping": {},
    "yes": True,
    "path of Windows": "C:\\data\\new",
    "escaped path": "C:\new",
    "no text": "",
}


def rule_of(rule):
    return resolve_reference(rule, SCHEMA) if "$ref" in rule else rule


def places(rule, path=()):
    """Every place of the schema at which something can be written, with the rule that stands there."""
    rule = rule_of(rule)
    if path:
        yield path, rule
    for option in (rule, *map(rule_of, rule.get("anyOf", ()))):
        for name, inner in option.get("properties", {}).items():
            yield from places(inner, (*path, name))
        if isinstance(option.get("additionalProperties"), dict):
            yield from places(
                option["additionalProperties"],
                (*path, "1" if "propertyNames" in option and path[-1] == "time_mapping" else "a"),
            )
        if isinstance(option.get("items"), dict):
            yield from places(option["items"], (*path, 0))


PLACES = {".".join(map(str, path)): path for path, _ in places(SCHEMA)}


def written(path, value):
    """A config that is right but for a value at one place; what lies around it is the schema's example."""
    config = {key: dict(part) for key, part in MINIMAL.items()}

    def put(inside, parts, above):
        name, *below = parts
        if not below:
            new = value
        else:
            known = (
                inside[name] if isinstance(inside, dict) and name in inside else example_of([*above, str(name)], SCHEMA)
            )
            empty = [None] if below[0] == 0 else {}
            new = put(known if isinstance(known, type(empty)) and known else empty, below, [*above, str(name)])
        if isinstance(inside, list):
            return [new, *inside[1:]]
        return {**inside, name: new}

    return put(config, path, [])


def lines_of(config):
    """What is said of a config; nothing where it is accepted."""
    try:
        complete(config)
    except UserError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_value_is_answered_in_our_words(place):
    refused = 0
    for kind, value in WRONG.items():
        for line in lines_of(written(PLACES[place], value)):
            refused += 1
            assert re.match(r"[\w.]+: ", line), (kind, line)
            assert not [word for word in FOREIGN if word in line], (kind, line)
            assert len(line) < 700, (kind, line)
            assert SAYS_WHAT_TO_DO.search(line), (kind, line)
    assert refused >= 4  # no place takes text, a number, a list and a mapping


@pytest.mark.parametrize("place", PLACES)
def test_every_key_has_an_example_that_is_allowed(place):
    *_, name = path = PLACES[place]
    example = example_of([str(part) for part in path], SCHEMA)
    inner = [key for key in PLACES if key.startswith(f"{place}.")]
    assert example is not None or inner, "give it `examples` in config/schema.yaml"
    if example is not None:
        of_kind = [
            line for line in lines_of(written(path, example)) if re.search(r" is (text|a |nothing|not allowed)", line)
        ]
        assert of_kind == [], name


@pytest.mark.parametrize(
    "place", [place for place, path in PLACES.items() if isinstance(path[-1], str) and path[-1] not in ("1", "a")]
)
def test_a_misspelled_key_is_recognised(place):
    *above, name = PLACES[place]
    slip = name[:-1] + name[-1] * 2 if len(name) > 2 else name.upper()
    (line,) = [line for line in lines_of(written((*above, slip), 1)) if f"{slip}: unknown key" in line]
    if name in SCHEMA["properties"] and above:
        return  # the same name at the top level and below
    assert f"did you mean {name}?" in line


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {"channels": {"pc": {"channel": 0, "features": "area"}}},
            "channels.pc.features: 'area' is text; allowed: a list, names of features; put it in brackets, [ ]; "
            "for example features: [area, aspect_ratio]",
        ),
        (
            {"channels": {"pc": {"channel": 0, "feature": ["area"]}}},
            "channels.pc.feature: unknown key; did you mean features?",
        ),
        ({"channels": {"fl": {"channel": 1}}}, "channels.fl: {channel: 1} is a mapping; allowed: a list, the fluo"),
        (
            {"channels": {"fl": None}},
            "channels.fl: null is nothing (so YAML takes ~, and a colon that nothing follows)",
        ),
        ({"datasets": "x.nd2"}, "datasets: 'x.nd2' is text; allowed: a mapping, name -> path of a movie"),
        ({"datasets": {"a": None}}, "datasets.a: null is nothing (so YAML takes ~"),
        (
            {"datasets": {"a": ["x.nd2"]}},
            "datasets.a: [x.nd2] is a list; allowed: the path of a movie, or {files: pattern}",
        ),
        ({"datasets": {"a": "C:\new.nd2"}}, "datasets.a: there is a line break, a tab or the like in 'C:\\new.nd2'"),
        (
            {"params": {"min_iou": "0,1"}},
            "params.min_iou: '0,1' is text; allowed: a number, at least 0, at most 1; a decimal comma? write 0.1; "
            "for example min_iou: 0.1",
        ),
        ({"params": {"min_iou": 0, "1": None}}, "params.1: unknown key; a decimal comma? write 0.1, not 0,1"),
        ({"params": {"min_iou": "0.1"}}, "at least 0, at most 1; write it without quotes; for example min_iou: 0.1"),
        ({"params": {"min_iou": "1e-1"}}, "at most 1; YAML takes it for text: write 0.1; for example min_iou: 0.1"),
        ({"params": {"max_object_size": "2.5e3"}}, "at least 1 px; YAML takes it for text: write 2500; for example"),
        ({"params": {"max_object_size": "1e999999999"}}, "at least 1 px; for example max_object_size: 10000"),
        ({"params": {"max_object_size": "1..e3"}}, "at least 1 px; for example max_object_size: 10000"),
        ({"exports": ["ome_tif"]}, "ome_tif' is not one of pyama_files, deepcell_label"),
        ({"Exports": []}, "Exports: unknown key; did you mean exports?"),
        ({"samples": [{"name": "a", "fovs": "0", "fov": 1}]}, "samples.0.fov: unknown key; did you mean fovs?"),
    ],
)
def test_what_people_write(config, line):
    (said,) = lines_of({**MINIMAL, **config})
    assert line in said


def test_names_alike():
    assert did_you_mean("ome_tif", ["gif", "ome_tiff"]) == "; did you mean ome_tiff?"
    assert did_you_mean("Mask", ["box", "mask"]) == "; did you mean mask?"
    assert did_you_mean("nothing like it", ["box", "mask"]) == ""
