"""The configuration: defaults, one line per mistake, the manual in step with the schema."""

import datetime
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from celltraces.config import read_config
from celltraces.config.schema import load_schema
from celltraces.config.selection import expand_fovs
from celltraces.config.stage_settings import canonical_json, stage_settings
from celltraces.errors import UserError

ROOT = Path(__file__).parents[1]
SHIPPED = yaml.safe_load((ROOT / "config/config.yaml").read_text())
MINIMAL = {"datasets": {"a": "a.nd2"}, "channels": {"pc": {"channel": 0}}}


def leaves(tree, prefix=()):
    for key, value in tree.items():
        yield (*prefix, key), value


def test_shipped_config_shows_every_key_with_its_default():
    schema = load_schema()
    assert set(SHIPPED) == set(schema["properties"])
    declared = schema["properties"]["params"]["properties"]
    assert set(SHIPPED["params"]) == set(declared), "config/config.yaml and config/schema.yaml have to name the same"
    for key, rule in declared.items():
        assert SHIPPED["params"][key] == rule["default"], key
    completed = read_config.complete(MINIMAL)
    for key in schema["properties"]:
        if key not in ("datasets", "channels"):
            assert SHIPPED[key] == completed[key], key


def test_shipped_config_comments_every_parameter():
    lines = (ROOT / "config/config.yaml").read_text().splitlines()
    for key in SHIPPED["params"]:
        line = next(line for line in lines if line.strip().startswith(f"{key}:"))
        assert re.search(r"# \w", line), key


def test_every_parameter_has_a_stage_a_default_and_a_description():
    for key, declared in load_schema()["properties"]["params"]["properties"].items():
        assert {"default", "stages", "description"} <= set(declared), key


def test_minimal_config_is_completed_with_the_defaults():
    complete = read_config.complete(MINIMAL)
    assert complete["params"] == SHIPPED["params"]
    assert complete["channels"] == {"pc": {"channel": 0, "features": []}, "fl": []}


def with_param(key, value):
    return {**MINIMAL, "params": {key: value}}


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"channels": {"pc": {"channel": 0}}}, "config: the key 'datasets' is missing"),
        ({"datasets": {}, "channels": {"pc": {"channel": 0}}}, "datasets: {} is not allowed"),
        ({"datasets": {"../a": "x"}, "channels": {}}, "datasets: the name '../a' is not allowed"),
        ({"datasets": {"a b": "x"}, "channels": {}}, "datasets: the name 'a b' is not allowed"),
        ({"datasets": {"logs": "x.nd2"}, "channels": {"pc": {"channel": 0}}}, "datasets.logs: this name is taken"),
        ({"datasets": {"a": "x", "A": "y"}, "channels": {"pc": {"channel": 0}}}, "datasets.A: differs from datasets.a"),
        (
            {"datasets": {"a": 3}, "channels": {}},
            "datasets.a: 3 is a number; allowed: the path of a movie, or {files: pattern}",
        ),
        ({**MINIMAL, "channels": {}}, "channels: neither pc nor fl"),
        ({**MINIMAL, "channels": {"pc": {"channel": -1}}}, "channels.pc"),
        ({**MINIMAL, "channels": {"pc": {"chanel": 0}}}, "channels.pc"),
        ({**MINIMAL, "parms": {}}, "parms: unknown key; did you mean params?"),
        ({**MINIMAL, "min_frames": 3}, "min_frames: unknown key here; it belongs under params:"),
        (with_param("z", 0), "params.z: unknown key here; it belongs at the top level"),
        (with_param("min_frame", 3), "params.min_frame: unknown key; did you mean min_frames?"),
        (with_param("min_frames", 0), "params.min_frames: 0 is not allowed; allowed: at least 1 frames"),
        (
            with_param("min_frames", "ten"),
            "params.min_frames: 'ten' is text; allowed: a whole number, at least 1 frames; for example min_frames: 30",
        ),
        (
            with_param("min_frames", 2.5),
            "params.min_frames: 2.5 is a number; allowed: a whole number, at least 1 frames",
        ),
        (with_param("min_iou", 1.5), "params.min_iou: 1.5 is not allowed; allowed: at least 0, at most 1"),
        (with_param("morph_size", 6), "params.morph_size: 6 is not allowed; allowed: at least 1, at most 101, odd px"),
        (
            with_param("min_iou", float("nan")),
            "params.min_iou: nan is not allowed; give a finite number; allowed: a number, at least 0, at most 1",
        ),
        (
            with_param("morph_size", 2**60),
            "params.morph_size: 0x1000000000000000 is too large a number; numbers are at",
        ),
        (with_param("morph_size", 16**5000), "params.morph_size: 0x1000"),
        (with_param("min_frames", 1e300), "params.min_frames: 1e+300 is too large a number; numbers are at most"),
        (
            with_param("max_gap", datetime.date(2024, 1, 2)),
            "params.max_gap: 2024-01-02 is a date; put text in quotes; allowed: a whole number, at least 0",
        ),
        (with_param("iou", "pixels"), "params.iou: 'pixels' is not one of box, mask"),
        (with_param("copy_only", "yes"), "params.copy_only: 'yes' is text; allowed: true or false"),
        (with_param("segmentation_method", "otsu"), "params.segmentation_method: 'otsu' is none of logstd, pyama,"),
        (with_param("segmentation_method", "no.py:f"), "params.segmentation_method: the file 'no.py' does not exist"),
        (with_param("segmentation_method", "no.onnx"), "params.segmentation_method: the file 'no.onnx' does not exist"),
        (
            with_param("segmentation_method", "a.pth"),
            "params.segmentation_method: 'a.pth' is none of logstd, pyama, deepsea,",
        ),
        (
            with_param("segmentation_scale", 0.5),
            "params.segmentation_scale: segmentation_method logstd does not use it; leave it out",
        ),
        (
            with_param("segmentation_scale", 3),
            "params.segmentation_scale: 3 is not allowed; allowed: at least 0.1, at most 2",
        ),
        (with_param("cellpose_model", "cyto3"), "params.cellpose_model: segmentation_method logstd does not use it;"),
        (with_param("cellpose_diameter", 0), "params.cellpose_diameter: 0 is not allowed"),
        (with_param("tracking_method", "lap"), "params.tracking_method: 'lap' is none of iou, btrack,"),
        (with_param("time_mapping", {"a": 1}), "params.time_mapping"),
        (with_param("min_object_size", 20000), "params.min_object_size: larger than max_object_size"),
        (
            with_param("mask_margin", 6),
            "params.mask_margin: 6 px reach beyond the crops; allowed: at most crop_padding, 5",
        ),
        ({**MINIMAL, "params": {"min_size": 5, "max_size": 4}}, "params.min_size: larger than max_size"),
        ({**MINIMAL, "fovs": "0-"}, "fovs: '0-' is not allowed; allowed: fields of view"),
        ({**MINIMAL, "fovs": {"b": "all"}}, "fovs.b: there is no dataset of this name; datasets: a"),
        ({**MINIMAL, "z": "mean"}, "z: 'mean' is not allowed; allowed: plane to take"),
        ({**MINIMAL, "plugins": ["no.py"]}, "plugins: the file 'no.py' does not exist"),
        ({**MINIMAL, "samples": [{"name": "a", "fovs": "0"}] * 2}, "samples: the name 'a' occurs twice"),
        ({**MINIMAL, "output_dir": "a{b}"}, "output_dir: 'a{b}' is not allowed"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(raw, line):
    with pytest.raises(UserError) as caught:
        read_config.complete(raw)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_a_line_each():
    with pytest.raises(UserError) as caught:
        read_config.complete({**MINIMAL, "params": {"min_frames": 0, "min_iou": 7}})
    assert len(str(caught.value).splitlines()) == 2


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.torture
@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from([*load_schema()["properties"], "other"]), value=trees)
def test_any_value_anywhere_is_accepted_or_one_line_each(key, value):
    try:
        read_config.complete({**MINIMAL, key: value})
    except UserError as error:
        assert all(str(error).splitlines())


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from([*load_schema()["properties"]["params"]["properties"]]), value=trees)
def test_any_parameter_value_is_accepted_or_one_line_each(key, value):
    try:
        complete = read_config.complete(with_param(key, value))
    except UserError as error:
        assert key in str(error)
    else:
        assert read_config.complete(complete) == complete


def test_the_spelling_of_a_config_does_not_matter():
    one = {**MINIMAL, "params": {"min_frames": 30, "background_weight": 1, "time_mapping": {0: 1, 5: 2}}}
    other = {**MINIMAL, "params": {"time_mapping": {"5": 2.0, "0": 1.0}, "background_weight": 1.0, "min_frames": 30.0}}
    for stage in ("copy", "segment", "track", "background", "crop", "extract", "cache", "index"):
        settings_of = [canonical_json(stage_settings(read_config.complete(raw), stage)) for raw in (one, other)]
        assert settings_of[0] == settings_of[1]


def test_a_plugin_counts_with_its_content(tmp_path):
    plugin = tmp_path / "p.py"
    plugin.write_text("a = 1\n")
    complete = read_config.complete({**MINIMAL, "plugins": [str(plugin)]})
    before = stage_settings(complete, "extract")
    plugin.write_text("a = 2\n")
    assert stage_settings(complete, "extract") != before


def test_a_network_counts_with_its_content(tmp_path):
    file = tmp_path / "unet.onnx"
    digests = []
    for content in (b"one", b"two"):
        file.write_bytes(content)
        settings = {"segmentation_method": str(file), "segmentation_scale": 0.7}
        complete = read_config.complete({**MINIMAL, "params": settings})
        stage = stage_settings(complete, "segment")
        assert settings.items() <= stage.items()
        digests.append(stage["files"][str(file)])
        assert "files" not in stage_settings(complete, "track")
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("fovs", "expected"),
    [("all", [0, 1, 2, 3, 4]), ("0-2, 4", [0, 1, 2, 4]), ("3", [3]), (2, [2]), ([4, 1, 1], [1, 4]), ("0-0,0", [0])],
)
def test_fovs_are_expanded(fovs, expected):
    assert expand_fovs(fovs, 5, "fovs") == expected


@pytest.mark.parametrize(
    ("fovs", "line"),
    [
        ("5", "fovs: FOV 5 is not in the file, which has FOVs 0 to 4"),
        ("9", "fovs: FOV 9 is not in the file"),
        ("0, 77", "fovs: FOV 77 is not in the file"),
        ("8-9", "fovs: FOV 8 is not in the file"),
        ("0-999999999", "fovs: FOV 5 is not in the file"),
        ([7], "fovs: FOV 7"),
        ("3-1", "fovs: '3-1' runs backwards"),
    ],
)
def test_fovs_that_are_not_there_are_one_line(fovs, line):
    with pytest.raises(UserError, match=re.escape(line)):
        expand_fovs(fovs, 5, "fovs")
