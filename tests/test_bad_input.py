"""Mistakes at the command line: one line that names key or file and the remedy, before any job, nothing touched."""

import pytest
from conftest import Checkout, small_config

PLUGIN = "def span(image, mask, context):\n    return float(image[mask].max() - image[mask].min()) + context.frame\n\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("bad"))


def lines_of(outcome):
    """What was said beyond Snakemake's own remarks on profile and config."""
    remarks = ("Using workflow specific profile", "Config file")
    return [line for line in outcome.text.splitlines() if line.strip() and not line.startswith(remarks)]


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"params": {"min_frame": 3}}, "params.min_frame: unknown key; did you mean min_frames?"),
        ({"params": {"min_frames": 9}}, "params.min_frames: 9 is more than the 8 frames of"),
        ({"params": {"min_iou": 2}}, "params.min_iou: 2 is not allowed; allowed: at least 0, at most 1"),
        ({"params": {"morph_size": "7"}}, "params.morph_size: '7' is not of type integer"),
        ({"channels": {"pc": {"channel": 7}}}, "channels.pc: channel 7 is not in"),
        ({"channels": {"pc": {"channel": "DIC"}}}, "channels.pc: no channel of"),
        ({"fovs": "0-9"}, "fovs: FOV 2 is not in the file, which has FOVs 0 to 1"),
        ({"samples": [{"name": "a", "fovs": "0"}, {"name": "a", "fovs": "1"}]}, "samples: the name 'a' occurs twice"),
        ({"datasets": {"a": "nothing.nd2"}}, "datasets.a: the file 'nothing.nd2' does not exist"),
        ({"datasets": {"../a": "nothing.nd2"}}, "datasets: the name '../a' is not allowed"),
        ({"plugins": ["broken.py"]}, "plugins: importing 'broken.py' failed: SyntaxError"),
    ],
)
def test_one_line_and_nothing_touched(movies, checkout, changes, start):
    (checkout.folder / "broken.py").write_text("def f(:\n")
    outcome = checkout.run(small_config(movies, **changes))
    assert outcome.code != 0
    (line,) = lines_of(outcome)
    assert line.startswith(start)
    results = checkout.folder / "results"
    assert [path.name for path in results.rglob("*") if path.is_file() and not path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["small.nd2", "small.czi"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "something else", "unreadable"])
def test_damaged_files(movies, checkout, name, damage):
    content = (movies / name).read_bytes()
    content = {"empty": b"", "cut off": content[: len(content) // 3], "something else": b"GIF89a" * 99}.get(
        damage, content
    )
    path = checkout.folder / f"damaged {name}"
    path.unlink(missing_ok=True)
    if damage == "unreadable":
        path.symlink_to(checkout.folder / "nowhere.nd2")
    else:
        path.write_bytes(content)
    outcome = checkout.run({**small_config(movies), "datasets": {"a": path.name}})
    assert outcome.code != 0
    (line,) = lines_of(outcome)
    assert line.startswith("datasets.a: ")
    assert path.name in line


@pytest.mark.parametrize(
    "text", ["datasets: [", "- 1\n", "datasets: !!python/object/apply:os.system ['touch hacked']\n"]
)
def test_a_config_that_is_no_config(checkout, text):
    outcome = checkout.run(text)
    assert outcome.code != 0
    assert not (checkout.folder / "hacked").exists()
    assert "Traceback" not in outcome.text


def test_a_plugin_and_what_it_gives(movies, tmp_path):
    import pandas as pd
    import zarr

    checkout = Checkout(tmp_path)
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


def test_one_fov_that_fails_costs_the_others_nothing(movies, tmp_path):
    checkout = Checkout(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def fail(image, mask, context):\n    raise ValueError('no')\n\nPHASE_FEATURES = {'f': fail}\n"
    )
    (tmp_path / "empty.py").write_text("def segment(image):\n    return image * 0\n")
    config = small_config(movies, plugins=["mine.py"], params={"segmentation_method": "empty.py:segment"})
    config["channels"]["pc"]["features"] = ["f"]
    # Nothing is found, so that the feature is never called: tables with a header, and no failure.
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    for fov in ("000", "001"):
        table = (tmp_path / f"results/small/fov_{fov}/small_fov_{fov}_traces.csv").read_text()
        assert table.startswith("fov,cell,frame,good")
        assert table.count("\n") == 1
    config["params"]["segmentation_method"] = "logstd"
    outcome = checkout.run(config)
    assert outcome.code != 0
    named = [line for line in outcome.text.splitlines() if "plugins: the feature 'f' in 'mine.py', at cell" in line]
    last = [line.strip() for line in named if line.strip().startswith("extract: dataset small, fov ")]
    assert [line[: len("extract: dataset small, fov 000")] for line in last] == [
        "extract: dataset small, fov 000",
        "extract: dataset small, fov 001",
    ]
    assert "Traceback" not in outcome.text
    assert (tmp_path / "results/small/fov_001/images.zarr/zarr.json").exists()
