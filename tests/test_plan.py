"""Planning: times, channels, FOVs, what is impossible, and when a file is looked at again."""

import os
from dataclasses import replace

import pytest

from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.paths import Layout
from celltraces.planning import datasets, identity
from celltraces.planning.channels import planes
from celltraces.planning.corrections import find_corrections
from celltraces.planning.dataset import Dataset
from celltraces.planning.frame_times import frame_times
from celltraces.readers.movie import Movie

FOV = {"name": "A1", "height": 100, "width": 120, "times_min": None, "senseless_stamps": [], "missing": []}
FOV |= {"position_um": None, "exposures_ms": [[], [], [], []]}
MOVIE = Movie(
    format="nd2",
    dtype="uint16",
    n_frames=5,
    n_z=1,
    channels=["Phase", "GFP", "RFP", "GFP"],
    pixel_size_um=0.65,
    period_min=None,
    fovs=[FOV, {**FOV, "name": "A2", "times_min": [0.0, 5.0, 11.0, 15.0]}],
)
DATASET = Dataset("a", "a.nd2", MOVIE, "0", (0, 1), 0, (1,))
TIME = {"time_mapping": None, "frame_interval": 10.0}


def test_times_come_from_the_mapping_then_stamps_then_period_then_interval():
    assert frame_times(DATASET, 0, TIME) == ([0, 10, 20, 30, 40], "frame_interval")
    periodic = replace(DATASET, movie=replace(MOVIE, period_min=2.5))
    assert frame_times(periodic, 0, TIME) == ([0, 2.5, 5, 7.5, 10], "file period")
    # Five frames planned, four taken: the last step goes on.
    assert frame_times(DATASET, 1, TIME) == ([0, 5, 11, 15, 20], "file time stamps")
    still = replace(DATASET.movie, n_frames=1, fovs=[FOV, {**FOV, "times_min": [25.0]}])
    assert frame_times(replace(DATASET, movie=still), 1, TIME) == ([25.0], "file time stamps")
    mapped = {**TIME, "time_mapping": {"0": 3, "2": 7}}
    assert frame_times(DATASET, 1, mapped) == ([3, 5, 7, 9, 11], "time_mapping")
    assert frame_times(DATASET, 1, {**TIME, "time_mapping": {"1": 0}})[0] == [-10, 0, 10, 20, 30]


def test_a_mapping_that_runs_backwards_is_refused():
    with pytest.raises(UserError, match="time_mapping: times do not increase"):
        frame_times(DATASET, 0, {**TIME, "time_mapping": {"0": 3, "2": 2}})


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """plan_datasets on files whose content is MOVIE; counts how often a file is opened."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def inspect(path, _):
        opened.append(path.name)
        return MOVIE

    monkeypatch.setattr(datasets, "inspect_in_child_process", inspect)
    (tmp_path / "a.nd2").write_bytes(bytes(range(256)) * 8192)

    def run(channels=None, *, noting=False, **config):
        channels = channels or {"pc": {"channel": "Phase"}}
        config = {"params": {"min_frames": 1, "border_margin": 0}, **config}
        completed = complete({"datasets": {"a": "a.nd2"}, "channels": channels, **config})
        planned = datasets.plan_datasets(completed)
        if noting:
            datasets.write_notes(Layout(completed["output_dir"]), planned.values())
        return planned

    run.opened = opened
    return run


def test_channels_by_name_and_number(planned):
    dataset = planned({"pc": {"channel": "Phase"}, "fl": [{"channel": "RFP"}, {"channel": 1}]})["a"]
    assert (dataset.pc, dataset.fl, dataset.fovs) == (0, (2, 1), (0, 1))


def test_planning_writes_nothing(planned, tmp_path):
    assert planned() == planned()
    assert planned.opened == ["a.nd2"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.nd2"]


def test_a_file_that_a_run_has_noted_is_not_opened_until_it_changes(planned, tmp_path):
    first = replace(planned(noting=True)["a"], note="")
    assert planned()["a"] == first
    assert planned.opened == ["a.nd2"]
    os.utime(tmp_path / "a.nd2", (1, 1))
    assert planned()["a"].identity == first.identity
    assert planned.opened == ["a.nd2"] * 2
    (tmp_path / "a.nd2").write_bytes(bytes(range(255, -1, -1)) * 8192)
    assert planned()["a"].identity != first.identity


def test_another_file_of_the_same_name_size_and_date_is_noticed(planned, tmp_path):
    """As `cp -p` and `rsync -t` leave it: the date is that of the content, wherever it was written."""
    file = tmp_path / "a.nd2"
    os.utime(file, (1, 1))
    first = planned(noting=True)["a"]
    file.write_bytes(bytes(range(255, -1, -1)) * 8192)
    os.utime(file, (1, 1))
    assert planned()["a"].identity != first.identity


@pytest.mark.parametrize("at", [0, 70_000, 2_345_678, 5_999_999])
def test_a_single_other_byte_is_another_input(tmp_path, at):
    """A frame that was repaired, in a file of the same size."""
    file = tmp_path / "a.nd2"
    file.write_bytes(bytes(6_000_000))
    before = identity.content_identity(str(file))
    with open(file, "r+b") as opened:
        opened.seek(at)
        opened.write(b"x")
    assert identity.content_identity(str(file)) != before


@pytest.mark.parametrize("n_files", [1, 3, 50, 300])
def test_of_a_large_input_every_file_is_looked_at(tmp_path, monkeypatch, n_files):
    monkeypatch.setattr(identity, "WHOLE_BYTES", 1 << 20)
    files = [tmp_path / f"{at}.tif" for at in range(n_files)]
    monkeypatch.setattr(identity, "input_files", lambda path, movie: files)
    for file in files:
        file.write_bytes(bytes((2 << 20) // n_files))
    before = identity.content_identity("x")
    assert identity.content_identity("x") == before
    for file in (files[0], files[-1]):
        file.write_bytes(b"x" * file.stat().st_size)
        assert identity.content_identity("x") != before
        file.write_bytes(bytes(file.stat().st_size))


def test_a_damaged_note_of_the_last_look_is_no_harm(planned, tmp_path):
    first = planned(noting=True)
    (tmp_path / "results/a/.movie.json").write_text("{")
    assert planned() == first


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {"channels": {"pc": {"channel": 4}}},
            "channels.pc: channel 4 is not in 'a.nd2'; its channels are 0: Phase, 1:",
        ),
        (
            {"channels": {"pc": {"channel": "DIC"}}},
            "channels.pc: no channel of 'a.nd2' is named 'DIC'; its channels are",
        ),
        (
            {"channels": {"fl": [{"channel": "GFP"}]}},
            "channels.fl.0: 'a.nd2' has several channels named 'GFP'; give the",
        ),
        ({"channels": {"pc": {"channel": 0}, "fl": [{"channel": "Phase"}]}}, "channels: channel 0 is named twice"),
        ({"fovs": "2"}, "fovs: FOV 2 is not in the file, which has FOVs 0 to 1"),
        ({"fovs": {"a": [5]}}, "fovs.a: FOV 5 is not in the file"),
        ({"z": 1}, "z: plane 1 is not in 'a.nd2', which has no z planes; leave z out"),
        ({"samples": [{"name": "s", "fovs": "1-2"}]}, "samples.s.fovs: FOV 2 is not in the file"),
        ({"samples": [{"name": "s", "fovs": "1"}], "fovs": 0}, "samples.s.fovs: none of them is processed; add them"),
        ({"datasets": {"a": "b.nd2"}}, "datasets.a: the file 'b.nd2' does not exist; check the path in the config"),
        ({"datasets": {"a": "*.nd2"}}, "datasets.a: the file '*.nd2' does not exist; * and ? stand for nothing here"),
        (
            {"datasets": {"a": "C:\\Daten\\b.nd2"}},
            r"datasets.a: the file 'C:\Daten\b.nd2' does not exist; Windows' drive C: is /mnt/c/Daten/b.nd2 below WSL",
        ),
        ({"datasets": {"a": "."}}, "datasets.a: the file '.' is a folder"),
        ({"channels": {"pc": {"channel": 0, "features": ["size"]}}}, "channels.pc.features: 'size' is unknown"),
        (
            {"channels": {"fl": [{"channel": 1, "features": ["area"]}]}},
            "channels.fl.0.features: 'area' is measured in phase contrast alone; there are intensity_total",
        ),
    ],
)
def test_what_the_file_cannot_give_is_one_line(planned, config, line):
    with pytest.raises(UserError) as caught:
        planned(**config)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_z_planes_must_be_chosen(planned, monkeypatch):
    monkeypatch.setattr(datasets, "inspect_in_child_process", lambda *_: replace(MOVIE, n_z=3))
    with pytest.raises(UserError, match="datasets.a: 'a.nd2' has 3 z planes; choose one with `z: 0`"):
        planned()
    assert planes(planned(z="max")["a"], "max") == [0, 1, 2]
    assert planes(planned(z=2)["a"], 2) == [2]


def test_every_dataset_is_checked(planned):
    with pytest.raises(UserError) as caught:
        planned(datasets={"a": "x.nd2", "b": "y.nd2"})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["datasets.a", "datasets.b"]


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"min_frames": 6, "border_margin": 0}, "params.min_frames: 6 is more than the 5 frames"),
        ({"min_frames": 5, "border_margin": 50}, "params.border_margin: 50 px from every edge leave nothing"),
        ({"min_frames": 5, "border_margin": 0}, None),
        ({"min_frames": 6, "border_margin": 50, "copy_only": True}, None),
    ],
)
def test_filters_that_leave_nothing_are_a_line_where_cells_are_wanted(planned, params, line):
    channels = {"pc": {"channel": "Phase"}, "fl": [{"channel": 1}]}
    for wanted, expected in ((channels, line), ({"fl": channels["fl"]}, None)):
        config = {"datasets": {"a": "a.nd2"}, "channels": wanted, "params": params}
        found = list(datasets.filters_that_leave_nothing(complete(config), planned(wanted, params=params)))
        assert len(found) == (expected is not None)
        assert all(text.startswith(expected) and "\n" not in text for text in found)


def test_channels_without_phase_contrast_and_of_copies(planned):
    light = planned({"fl": [{"channel": 1}]})["a"]
    assert (light.pc, light.fl, light.fovs, light.movie.n_frames) == (None, (1,), (0, 1), 5)
    copied = planned(params={"copy_only": True})["a"]
    assert (copied.pc, copied.fl, copied.fovs, copied.movie.n_frames) == (0, (), (0, 1), 5)


def test_a_folder_of_corrections_that_the_config_names_has_to_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"channels": {"pc": 0}, "params": {"copy_only": False}}
    assert find_corrections({**config, "corrections": "corrections"}, {"a": DATASET}) == {}
    with pytest.raises(UserError, match="corrections: mended is no folder; make it, correct the path"):
        find_corrections({**config, "corrections": "mended"}, {"a": DATASET})
    (tmp_path / "mended").mkdir()
    (tmp_path / "mended/a_fov_001.zip").touch()
    assert find_corrections({**config, "corrections": "mended"}, {"a": DATASET}) == {
        ("a", "001"): "mended/a_fov_001.zip"
    }
    (tmp_path / "corrections").touch()
    with pytest.raises(UserError, match="corrections: corrections is no folder"):
        find_corrections({**config, "corrections": "corrections"}, {"a": DATASET})
