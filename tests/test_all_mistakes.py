"""Mistakes of different kinds are told at once, as far as each can be judged without the others."""

from __future__ import annotations

import pytest
from conftest import small_config

from celltraces.config.read_config import Misread, misread_yaml
from celltraces.errors import UserError
from celltraces.planning.experiment import plan_experiment


@pytest.fixture
def told(movies, tmp_path, monkeypatch):
    """The lines on a config: the small one with `changes`, which may remove or replace any key."""
    monkeypatch.chdir(tmp_path)

    def lines(misread=(), params=None, **changes):
        config = small_config(movies, params=params or {}, **changes)
        try:
            plan_experiment(config, misread=misread)
        except UserError as error:
            return str(error).split("\n")
        return []

    lines.movie = str(movies / "small.nd2")
    return lines


ONE_EACH = {  # a mistake of each kind by its key, with how its line begins
    "type": ({"params": {"min_iou": "half"}}, "params.min_iou: 'half' is text"),
    "range": ({"params": {"morph_size": 6}}, "params.morph_size: 6 is not allowed"),
    "unknown key": ({"params": {"max_gapp": 1}}, "params.max_gapp: unknown key; did you mean max_gap?"),
    "no number": ({"params": {"crop_padding": float("nan")}}, "params.crop_padding: nan is not allowed"),
    "variable": ({"params": {"recipe": "$NOT_SET/a.yaml"}}, "params.recipe: the variable $NOT_SET"),
    "missing file": ({"params": {"psf": "no.tif"}}, "params.psf: the file 'no.tif' does not exist"),
    "picture": ({"flat_field": {1: "no.tif"}}, "flat_field.1: the file 'no.tif' does not exist"),
    "combination": (
        {"params": {"min_object_size": 900, "max_object_size": 400}},
        "params.min_object_size: larger than max_object_size",
    ),
    "method": ({"params": {"tracking_method": "lap"}}, "params.tracking_method: 'lap' is none of"),
    "name": ({"datasets": {"a b": "x.nd2"}}, "datasets: the name 'a b' is not allowed"),
    "dataset": ({"datasets": {"gone": "gone.nd2"}}, "datasets.gone: the file 'gone.nd2' does not exist"),
    "fovs": ({"fovs": {"small": "9"}}, "fovs.small: FOV 9 is not in the file"),
    "z": ({"z": 3}, "z: plane 3 is not in"),
    "sample": ({"samples": [{"name": "s", "fovs": "7"}]}, "samples.s.fovs: FOV 7 is not in the file"),
}


def merged(changes):
    """Changes of a config put together, those of one section too."""
    found = {}
    for change in changes:
        for key, value in change.items():
            found[key] = {**found[key], **value} if isinstance(found.get(key), dict) else value
    return found


@pytest.mark.parametrize("kind", ONE_EACH)
def test_each_is_told_alone(told, kind):
    changes, begin = ONE_EACH[kind]
    (line,) = told(**changes)
    assert line.startswith(begin)


def test_nothing_is_told_of_a_good_config(told):
    assert told() == []


@pytest.mark.parametrize("left_out", [{"name", "dataset", "fovs", "z"}, {"sample"}], ids=["samples", "files"])
def test_all_are_told_at_once(told, left_out):
    """Samples cannot be judged where a dataset is not there, or its FOVs are not known."""
    kinds = [kind for kind in ONE_EACH if kind not in left_out]
    changes = merged([{"datasets": {"small": told.movie}}, *(ONE_EACH[kind][0] for kind in kinds)])
    lines = told(**changes)
    for kind in kinds:
        assert sum(line.startswith(ONE_EACH[kind][1]) for line in lines) == 1, (kind, lines)
    assert len(lines) == len(kinds)


def test_channels_and_features_are_told_beside_others(told):
    channels = {"pc": {"channel": 7, "features": ["area", "size"]}, "fl": [{"channel": "GPF", "features": ["area"]}]}
    lines = told(channels=channels, params={"min_iou": 7})
    begins = (
        "params.min_iou: 7",
        "channels.pc: channel 7",
        "channels.fl.0: no channel",
        "channels.pc.features: 'size'",
    )
    for begin in (*begins, "channels.fl.0.features: 'area' is measured in phase contrast alone"):
        assert sum(line.startswith(begin) for line in lines) == 1, lines
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        # the limit that the other is compared with is not known: nothing is said of the two
        (
            {"params": {"min_object_size": 90_000, "max_object_size": "huge"}},
            ["params.max_object_size: 'huge' is text"],
        ),
        ({"params": {"min_object_size": 90_000, "max_objekt_size": 10**6}}, ["params.max_objekt_size: unknown key"]),
        ({"params": {"mask_margin": 9, "crop_padding": 0.5}}, ["params.crop_padding: 0.5 is a number"]),
        # channels of a config whose channels are wrong
        (
            {"channels": {"pc": {"channel": 0, "features": "area"}}, "exports": ["ctc"], "pictures": {"fl": 1}},
            ["channels.pc.features: 'area' is text"],
        ),
        # a list with a mistake in it
        ({"samples": [{"name": "a"}, {"name": "b", "fovs": "7"}]}, ["samples.0: the key 'fovs' is missing"]),
        (
            {"samples": [{"name": "a", "fovs": "77-"}], "fits": [{"channel": 1, "feature": "x", "model": "trivial"}]},
            ["samples.0.fovs: '77-' is not allowed"],
        ),
        # FOVs that are processed are not known
        ({"fovs": "0-", "samples": [{"name": "a", "fovs": "1"}]}, ["fovs: '0-' is not allowed"]),
        # features of a plugin that is not there
        (
            {"plugins": ["no.py"], "channels": {"pc": {"channel": 0, "features": ["granularity"]}}},
            ["plugins: the file 'no.py' does not exist"],
        ),
        ({"params": 5}, ["params: 5 is a number"]),
        ({"datasets": 5, "params": {"min_iou": 7}}, ["datasets: 5 is a number", "params.min_iou: 7 is not allowed"]),
        ({"output_dir": "a{b}", "datasets": {"x": "gone.nd2"}}, ["output_dir: 'a{b}'", "datasets.x: the file 'gone"]),
    ],
)
def test_what_cannot_be_judged_is_not(told, changes, begins):
    params = changes.pop("params", {})
    lines = told(params=params, **changes) if isinstance(params, dict) else told_of_params(told, params)
    assert [line[: len(begin)] for line, begin in zip(lines, begins, strict=True)] == begins


def told_of_params(told, params):
    """As `told`, with something else in the place of the parameters."""
    with pytest.raises(UserError) as caught:
        plan_experiment({"datasets": {"small": told.movie}, "channels": {"pc": {"channel": 0}}, "params": params})
    return str(caught.value).split("\n")


def test_what_yaml_misreads_is_told_beside_others(told, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("params:\n  min_frames: 3\n  border_margin: 010\n  min_frames: 999\n  min_iou: 7\n")
    misread = misread_yaml([file])
    assert [each.word for each in misread] == ["8", "min_frames"]
    lines = told(misread, params={"border_margin": 8, "min_frames": "999", "min_iou": 7})
    assert [line.split(":")[0] for line in lines] == [str(file), str(file), "params.min_iou"]
    assert told([Misread("a line", "b")]) == ["a line"]
