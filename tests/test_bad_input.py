"""Mistakes at the command line: one line that names key or file and the remedy, before any job, nothing touched."""

import pytest
from conftest import PYTHON, Checkout, small_config

PLUGIN = "def span(image, mask, context):\n    return float(image[mask].max() - image[mask].min()) + context.frame\n\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("bad"))


def lines_of(outcome):
    """What was said beyond Snakemake's own remarks on profile and config."""
    remarks = ("Using workflow specific profile", "Config file")
    return [line for line in outcome.text.splitlines() if line.strip() and not line.startswith(remarks)]


@pytest.mark.parametrize(
    ("changes", "starts"),
    [
        (
            {"params": {"min_frame": 3, "min_iou": 2, "morph_size": "7"}, "datasets": {"../a": "nothing.nd2"}},
            [
                "params.min_frame: unknown key; did you mean min_frames?",
                "params.min_iou: 2 is not allowed; allowed: at least 0, at most 1",
                "params.morph_size: '7' is text; allowed: a whole number, at least 1, at most 101, odd px",
                "datasets: the name '../a' is not allowed",
            ],
        ),
        ({"output_dir": "a\0b"}, ["output_dir: 'a\\x00b' is not allowed"]),
        (
            {"samples": [{"name": "a", "fovs": "0"}, {"name": "a", "fovs": "1"}]},
            ["samples: the name 'a' occurs twice"],
        ),
        ({"datasets": {"a": "nothing.nd2"}}, ["datasets.a: the file 'nothing.nd2' does not exist"]),
        ({"params": {"min_frames": 9}}, ["params.min_frames: 9 is more than the 8 frames of"]),
        ({"channels": {"pc": {"channel": 7}}}, ["channels.pc: channel 7 is not in"]),
        ({"fovs": "0-9"}, ["fovs: FOV 2 is not in the file, which has FOVs 0 to 1"]),
        ({"channels": {"pc": {"channel": "DIC"}}}, ["channels.pc: no channel of"]),
        ({"plugins": ["broken.py"]}, ["plugins: importing 'broken.py' failed: SyntaxError"]),
        ({"plugins": ["leaves.py"]}, ["plugins: importing 'leaves.py' failed: SystemExit: 0"]),
        (
            {"params": {"segmentation_method": "broken.py:f", "tracking_method": "leaves.py:f"}},
            [
                "params.segmentation_method: 'broken.py' is no Python: ",
                "params.tracking_method: there is no function 'f' in",
            ],
        ),
    ],
)
def test_one_line_for_each_mistake_and_nothing_touched(movies, checkout, changes, starts):
    (checkout.folder / "broken.py").write_text("def f(:\n")
    (checkout.folder / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    outcome = checkout.run(small_config(movies, **changes))
    assert outcome.code != 0
    lines = lines_of(outcome)
    assert len(lines) == len(starts)
    for start in starts:
        assert sum(line.startswith(start) for line in lines) == 1, start
    results = checkout.folder / "results"
    assert [path.name for path in results.rglob("*") if path.is_file() and not path.name.startswith(".")] == []


def test_a_line_for_each_mistake_and_nothing_outside(movies, tmp_path):
    """Whatever the names and values are: no file anywhere but what the run itself keeps."""
    checkout = Checkout(tmp_path / "workflow")
    config = small_config(movies, params={"min_iou": 7, "\u202eevil\x1b[31m": 1, "morph_size": 10**30})
    config["datasets"] = {"../../escaped": "x.nd2", "a" * 200: "x.nd2", "con": "x.nd2", "b\n": "x.nd2"}
    config["samples"] = [{"name": "../escaped", "fovs": "0"}, {"name": "{fov}", "fovs": "0"}]

    def files():
        own = {".snakemake", "__pycache__"}  # kept by Snakemake, and by Python unless it is told not to
        return {path for path in tmp_path.rglob("*") if not own & {*path.parts}}

    before = files()
    outcome = checkout.run(config)
    assert outcome.code != 0
    lines = lines_of(outcome)
    for start in (
        f"params.morph_size: {hex(10**30)} is too large a number; numbers are at most {2**53}; allowed: a "
        "whole number, at least 1, at most 101, odd px; for example morph_size: 7",
        *("datasets: the name '../../escaped'", "datasets: the name 'aaa", "datasets: the name 'b\\n'"),
        *("samples.0.name: '../escaped'", "samples.1.name: '{fov}'", "params.min_iou: 7"),
        *("params.\\u202eevil\\x1b[31m: unknown key", "datasets.con: Windows has a device of this name"),
    ):
        assert sum(line.startswith(start) for line in lines) == 1, start
    assert len(lines) == 9
    assert files() - before == {checkout.folder / "my.yaml"}


def test_a_key_that_stands_twice_and_a_bomb_of_aliases(movies, checkout):
    (checkout.folder / "twice.yaml").write_text("channels: {pc: {channel: 0}}\ndatasets: {a: x}\ndatasets: {b: y}\n")
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (checkout.folder / "bomb.yaml").write_text(bomb + "datasets: {a: x}\n")
    for name, start in (
        ("twice.yaml", f"{checkout.folder / 'twice.yaml'}: the key 'datasets' stands in line 2 and in line 3"),
        ("bomb.yaml", "a6: too many values, or too deeply nested"),
    ):
        outcome = checkout.run(None, name=name)
        assert outcome.code != 0
        (line,) = lines_of(outcome)
        assert line.startswith(start)


def test_names_of_folders_may_be_anything_else(movies, tmp_path):
    checkout = Checkout(tmp_path / "a workflow's (µ) [folder]")
    (checkout.folder / ".venv").symlink_to(PYTHON.parents[1])  # so that the interpreter's path is no plain one either
    config = small_config(movies, output_dir="résultats 1/数据 ; $ & co", fovs="0", params={"copy_only": True})
    outcome = checkout.run(config, python=checkout.folder / ".venv/bin/python")
    assert outcome.code == 0, outcome.text
    folder = checkout.folder / "résultats 1/数据 ; $ & co/small/fov_000/images.zarr"
    assert (folder / "pc_ch_0/0/zarr.json").exists()


def test_a_damaged_frame_costs_the_other_fovs_nothing(movies, tmp_path):
    """The header of a frame of FOV 1 is overwritten: noticed when it is copied, and named."""
    checkout = Checkout(tmp_path)
    content = bytearray((movies / "small.nd2").read_bytes())
    # loops are T, P: frame 7 of the file is frame 3 of FOV 1
    start = content.index(b"ImageDataSeq|7!") - 16
    content[start : start + 4] = b"\0\0\0\0"
    (tmp_path / "damaged.nd2").write_bytes(content)
    config = small_config(movies, params={"copy_only": True})
    outcome = checkout.run({**config, "datasets": {"a": "damaged.nd2"}})
    assert outcome.code != 0
    assert "Traceback" not in outcome.text
    (line,) = [line for line in outcome.text.splitlines() if line.strip().startswith("copy: dataset a, fov 001: ")]
    assert "'damaged.nd2' is not a readable ND2 file: FOV 1, frame 3: there is no chunk at byte" in line
    assert (tmp_path / "results/a/fov_000/images.zarr/zarr.json").exists()
    assert not (tmp_path / "results/a/fov_001/images.zarr/pc_ch_0/0").exists()


def test_a_line_for_each_damaged_file(movies, tmp_path):
    checkout = Checkout(tmp_path)
    datasets = {}
    for name in ("small.nd2", "small.czi"):
        content = (movies / name).read_bytes()
        for damage, left in (("empty", b""), ("cut_off", content[: len(content) // 3]), ("else", b"GIF89a" * 99)):
            datasets[f"{damage}_{name[-3:]}"] = f"{damage} {name}"
            (tmp_path / f"{damage} {name}").write_bytes(left)
        datasets[f"unreadable_{name[-3:]}"] = f"unreadable {name}"
        (tmp_path / f"unreadable {name}").symlink_to(tmp_path / "nowhere.nd2")
    outcome = checkout.run({**small_config(movies), "datasets": datasets})
    assert outcome.code != 0
    lines = lines_of(outcome)
    assert sorted(line.partition(": ")[0] for line in lines) == sorted(f"datasets.{name}" for name in datasets)
    for line in lines:
        assert datasets[line.partition(": ")[0].removeprefix("datasets.")] in line


@pytest.mark.parametrize(
    "text", ["datasets: [", "- 1\n", "datasets: !!python/object/apply:os.system ['touch hacked']\n"]
)
def test_a_config_that_is_no_config(checkout, text):
    outcome = checkout.run(text)
    assert outcome.code != 0
    assert not (checkout.folder / "hacked").exists()
    assert "Traceback" not in outcome.text


def test_a_plugin_and_what_it_gives(movies, finished_fov, tmp_path):
    import pandas as pd
    import zarr

    checkout = Checkout(tmp_path, finished_fov)
    (tmp_path / "mine.py").write_text(PLUGIN + "FLUORESCENCE_FEATURES = {'span': span}\n")
    config = small_config(movies, plugins=["mine.py"], fovs="0")
    config["channels"] = {"pc": {"channel": 0}, "fl": [{"channel": 1, "features": ["span"]}]}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    folder = tmp_path / "results/small/fov_000"
    images = zarr.open_group(folder / "images.zarr", mode="r")
    table = pd.read_csv(folder / "small_fov_000_traces.csv")
    assert len(table) > 5
    for row in table.itertuples():
        mask = images["seg_tracked_ch_0/0"][row.frame] == row.cell
        light = (images["fl_ch_1/0"][row.frame] - images["fl_background_ch_1/0"][row.frame].astype(float))[mask]
        assert row.span_ch_1 == pytest.approx(light.max() - light.min() + row.frame, abs=2e-3)


FAILS = "def fail(image, mask, context):\n    raise ValueError('no')\n\nPHASE_FEATURES = {'f': fail}\n"


def test_a_feature_that_is_never_called_fails_nothing(movies, finished_fov, tmp_path):
    """Where no cell is found: tables with a header."""
    checkout = Checkout(tmp_path, finished_fov)
    (tmp_path / "mine.py").write_text(FAILS)
    (tmp_path / "empty.py").write_text("def segment(image):\n    return image * 0\n")
    config = small_config(movies, fovs="0", plugins=["mine.py"], params={"segmentation_method": "empty.py:segment"})
    config["channels"]["pc"]["features"] = ["f"]
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    table = (tmp_path / "results/small/fov_000/small_fov_000_traces.csv").read_text()
    assert table.startswith("fov,cell,frame,good")
    assert table.count("\n") == 1


def test_a_feature_that_fails_is_named_for_each_fov(movies, finished_run, tmp_path):
    checkout = Checkout(tmp_path, finished_run)
    (tmp_path / "mine.py").write_text(FAILS)
    config = small_config(movies, plugins=["mine.py"])
    config["channels"]["pc"]["features"] = ["f"]
    outcome = checkout.run(config)
    assert outcome.code != 0
    named = [line for line in outcome.text.splitlines() if "plugins: the feature 'f' in 'mine.py', at cell" in line]
    last = [line.strip() for line in named if line.strip().startswith("extract: dataset small, fov ")]
    assert [line[: len("extract: dataset small, fov 000")] for line in last] == [
        "extract: dataset small, fov 000",
        "extract: dataset small, fov 001",
    ]
    assert "Traceback" not in outcome.text
