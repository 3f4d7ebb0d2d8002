"""Hostile configs: whatever is written, `complete` gives a config or a UserError with one line per mistake."""

import copy
import json
from pathlib import PurePosixPath, PureWindowsPath

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from celltraces.config import read_config
from celltraces.config.schema import load_schema
from celltraces.config.stage_settings import stage_settings
from celltraces.errors import UserError

GOOD = {
    "datasets": {"a": "a.nd2", "b": "b.czi"},
    "output_dir": "results",
    "fovs": {"a": "0-3, 5", "b": [0, 1]},
    "z": "max",
    "channels": {"pc": {"channel": 0, "features": ["area"]}, "fl": [{"channel": "GFP", "features": []}]},
    "plugins": [],
    "samples": [{"name": "control", "fovs": "0-1"}],
    "params": {key: rule["default"] for key, rule in load_schema()["properties"]["params"]["properties"].items()}
    | {"time_mapping": {0: 0.0, 5: 50.0}},
}
assert read_config.complete(GOOD)

NAMES = [
    *(
        "../x",
        "a/../../b",
        "/etc",
        "C:\\x",
        "..",
        ".",
        "",
        " ",
        "a b",
        "a\n",
        "a\n\n",
        "a.",
        "a ",
        "con",
        "NUL",
        "aux.x",
    ),
    *("logs", "Benchmarks", "x" * 100, "x" * 101, "x" * 200, "x" * 5000, "'", '"', "{fov}", "{", "}", "$HOME", "`id`"),
    *("a;b", "-rf", "~", "µm", "数据", "\u202egnp.exe", "a\0b", "\ud800", "\x1b[31m", "null", "1e3", "a%s", "*", "a|b"),
]
VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 0.5, -0.0, 1e308, 5e-324, float("nan")),
    *(float("inf"), -float("inf"), "", "0", "7", "nan", "all", "0-", "9" * 5000, "0-999999999", "5-1", "١", "yes"),
    *("iou", "file.py:f", "nothing.py:f", "x" * 5000 + ".py:f", "\0.py:f", "a\nb", "/", "//", "\x1b]0;hacked\x07"),
    *([], {}, [[]], {"a": {}}, [None], {None: None}, {1: 2}, {(1, 2): 3}, {b"x": 1}, b"bytes", {1, 2}, 3 + 4j),
]
hostile = (
    st.sampled_from([*NAMES, *VALUES])
    | st.text(max_size=30)
    | st.integers()
    | st.floats()
    | st.recursive(
        st.none() | st.booleans() | st.sampled_from(NAMES),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        max_leaves=8,
    )
)


def places(tree, place=()):
    """Every place in a tree of dictionaries and lists, as the keys that lead to it."""
    yield place
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*place, key))


PLACES = sorted(filter(None, places(GOOD)), key=repr)


@st.composite
def damaged(draw):
    """The good config with a few places set to something hostile, renamed, doubled or left out."""
    raw = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(PLACES))
        parent = raw
        for key in way:
            try:
                parent = parent[key]
            except (KeyError, IndexError, TypeError):
                parent = None
                break
        action = draw(st.sampled_from(["set", "set", "set", "add", "rename", "leave out"]))
        if isinstance(parent, dict):
            if action == "set":
                parent[last] = draw(hostile)
            elif action == "add":
                key = draw(st.sampled_from(NAMES) | st.text(max_size=20) | st.integers() | st.none() | st.booleans())
                parent[key] = draw(hostile)
            elif action == "rename" and last in parent:
                parent[draw(st.sampled_from(NAMES) | st.text(max_size=20))] = parent.pop(last)
            else:
                parent.pop(last, None)
        elif isinstance(parent, list):
            parent.insert(0, draw(hostile))
    return raw


def check(raw):
    """Completed or refused; never anything else."""
    try:
        complete = read_config.complete(raw)
    except UserError as error:
        lines = str(error).split("\n")
        assert all(line.strip() and line.isprintable() for line in lines), lines
        assert len(set(lines)) == len(lines)
        for line in lines:
            assert ": " in line, line
            line.encode()  # a terminal can show it
        return None
    assert read_config.complete(complete) == complete
    json.dumps(complete, allow_nan=False)
    for stage in ("copy", "segment", "track", "background", "crop", "extract", "index"):
        stage_settings(complete, stage)
    for name in [*complete["datasets"], *(sample["name"] for sample in complete["samples"])]:
        for path in (PurePosixPath("r", name), PureWindowsPath("r", name)):
            assert path.parts == ("r", name)
            assert name not in (".", "..")
        assert name.isascii()
        assert name.isprintable()
        assert len(name) <= 100
        assert not set(name) & set("/\\:*?\"'<>|{}$` ;\n\0")
        assert not name.endswith(".")
    return complete


@pytest.mark.torture
@settings(max_examples=800, deadline=None, derandomize=True)
@given(damaged())
def test_a_damaged_config_is_completed_or_refused_in_lines(raw):
    check(raw)


@pytest.mark.torture
@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.binary(max_size=60), st.integers(0, 10**6))
def test_a_damaged_file_is_completed_or_refused_in_lines(junk, place):
    """Text put into the file, read as Snakemake reads it; where YAML itself refuses, Snakemake has the word."""
    text = yaml.safe_dump(GOOD).encode()
    place %= len(text)
    content = text[:place] + (junk if isinstance(junk, bytes) else junk.encode("utf-8", "replace")) + text[place:]
    try:
        raw = yaml.load(content.decode(), Loader=yaml.FullLoader)
    except (yaml.YAMLError, ValueError):
        return
    if isinstance(raw, dict):  # anything else Snakemake refuses
        check(raw)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["datasets", "samples"])
def test_names_that_lead_elsewhere_are_refused(name, key):
    raw = copy.deepcopy(GOOD)
    raw["fovs"] = "all"
    if key == "datasets":
        raw["datasets"] = {name: "a.nd2"}
    else:
        raw["samples"] = [{"name": name, "fovs": "0"}]
    plain = name in ("x" * 100, "null", "1e3") or (key == "samples" and name.lower() in ("logs", "benchmarks"))
    assert (check(raw) is not None) == plain


@pytest.mark.parametrize("value", [v for v in VALUES if not isinstance(v, (dict, list, set))], ids=repr)
@pytest.mark.parametrize("key", sorted(GOOD["params"]))
def test_every_value_at_every_parameter(key, value):
    check({**GOOD, "params": {key: value}})


def test_every_mistake_has_a_line():
    raw = {
        "datasets": {"../a": 3, "b": "b.nd2", "b c": "c.nd2"},
        "chanels": {},
        "fvos": "all",
        "params": {"min_frame": 3, "min_iou": 7, "morph_sizes": 2},
    }
    with pytest.raises(UserError) as caught:
        read_config.complete(raw)
    starts = [
        *("chanels: unknown key; did you mean channels?", "fvos: unknown key; did you mean fovs?"),
        *("datasets: the name '../a'", "datasets: the name 'b c'", "datasets.../a: 3 is a number"),
        *("params.min_frame: unknown key", "params.morph_sizes: unknown key", "params.min_iou: 7 is not allowed"),
    ]
    lines = str(caught.value).split("\n")
    assert len(lines) == len(starts)
    for start in starts:
        assert sum(line.startswith(start) for line in lines) == 1, start


@pytest.mark.torture
def test_a_bomb_of_aliases_is_refused():
    """Nine lists of nine times the one before: 400 million values in 500 bytes."""
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    with pytest.raises(UserError, match="^a[0-9]: too many values, or too deeply nested$"):
        read_config.complete(yaml.safe_load(text))


def test_a_config_within_itself_is_refused():
    raw = copy.deepcopy(GOOD)
    raw["params"]["time_mapping"] = raw
    with pytest.raises(UserError, match="^params: too many values, or too deeply nested$"):
        read_config.complete(raw)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb: {c: 1,\n  d: 2,\n  c: 3}\na: 2\n", ["the key 'c' stands in line 2 and in line 4", "'a'"]),
        ('{"a": 1,\n "a": 2}', ["the key 'a' stands in line 1 and in line 2"]),
        ("a:\n  n: 010\n", ["010 in line 2 is 8 as YAML reads it"]),
        ("frame_interval: 1:30", ["1:30 in line 1 is 90 as YAML reads it"]),
        ("a: [1:30.5]", ["1:30.5 in line 1 is 90.5 as YAML reads it"]),
        ("times: {007: 1.5}", ["007 in line 1 is 7 as YAML reads it"]),
        ("a: [&x 1:3, *x]", ["1:3 in line 1 is 63 as YAML reads it"]),
        ("a: {1.1: x, 1.10: y}", ["the key 1.10 in line 1 is 1.1 as YAML reads it; put it in quotes"]),
        ("a:\n  no: x\n  1_0: y\n  ~: z\n", ["no in line 2 is False", "1_0 in line 3 is 10", "~ in line 4 is None"]),
        ("a: {'0.10': 1, 'no': 2, 0: 3, 10: 4, 1e5: 5, 0.5: 6, 2026-11-21: 7, True: 8}", []),
        ("a: [0, -0, 0.5, 1e3, 10, 1_000, '010', \"1:30\", 08, c:/d, 12:30 h]", []),
        ("a: [{b: 1}, {b: 2}]\nc: &x {b: 1}\nd: *x\n", []),
        ("a: &x [*x]\n", []),
        ("a: [\n", []),
        ("", []),
    ],
)
def test_what_yaml_reads_otherwise_than_a_person_is_named(tmp_path, text, lines):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    found = [each.line for each in read_config.misread_yaml([tmp_path / "nothing.yaml", file])]
    for line, expected in zip(found, lines, strict=True):
        assert expected in line
        assert line.startswith(f"{file}: ")
