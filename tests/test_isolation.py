"""One FOV's failure costs the others nothing, and what is broken, empty or black is named."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import Checkout, small_config
from test_crash import results_of

from demo.nd2_writer import Channel, write_nd2
from demo.simulate import CHANNELS

BROKEN = """
import numpy as np

def segment(image):
    if image[0, 0] % 2 == {parity}:
        raise RuntimeError("the lamp went out")
    return (image > 9000).astype(int)
"""


def write_movie(path, experiment, plane):
    channels = [Channel(name) for name in CHANNELS]
    size = {"n_fovs": 2, "n_frames": 8, "width": experiment.width, "height": experiment.height}
    write_nd2(path, plane, **size, channels=channels)


def quality(checkout, dataset="small"):
    with open(checkout.folder / f"results/{dataset}/qc.csv", newline="") as file:
        return [(int(row["fov"]), row["frame"], row["check"]) for row in csv.DictReader(file)]


@pytest.fixture
def marked(experiment, tmp_path):
    """A movie whose FOV 1 a method can tell by its first pixel, and the method that fails there."""

    def plane(fov, frame, channel, z=0):
        image = experiment.plane(fov, frame, channel).copy()
        image[0, 0] = image[0, 0] // 2 * 2 + fov
        return image

    write_movie(tmp_path / "marked.nd2", experiment, plane)
    (tmp_path / "method.py").write_text(BROKEN.format(parity=1))
    return tmp_path / "marked.nd2"


def test_the_rest_is_merged_and_the_failure_named(marked, movies, tmp_path):
    checkout = Checkout(tmp_path)
    config = small_config(movies, params={"segmentation_method": "method.py:segment"})
    config["datasets"] = {"small": str(marked)}
    outcome = checkout.run(config)
    assert outcome.code != 0
    last = outcome.text.strip().splitlines()
    at = next(i for i, line in enumerate(last) if line.startswith("Not everything is done"))
    assert last[at + 1].startswith("  segment: dataset small, fov 001: ")
    assert "the lamp went out" in last[at + 1]
    assert last[at + 1].endswith("log: results/logs/small/fov_001/segment.log")
    assert len([line for line in last if line.startswith("  segment: ")]) == 1

    folder = tmp_path / "results/small"
    for name in ("all_area_ch_0.csv", "all_intensity_total_ch_1.csv"):
        assert (folder / name).read_text().splitlines()[1] == "# Missing FOVs: 1 (failed)"
        assert set(pd.read_csv(folder / name, comment="#").fov) <= {0}
    assert (1, "", "failed") in quality(checkout)
    assert (folder / "fov_000/small_fov_000_traces.csv").is_file()
    assert not (folder / "fov_001/small_fov_001_traces.csv").exists()

    # Once the cause is mended the same command makes complete tables, and only what was missing.
    (tmp_path / "method.py").write_text(BROKEN.format(parity=2))
    outcome = checkout.run(None)
    assert outcome.code == 0, outcome.text
    assert "Missing FOVs" not in (folder / "all_area_ch_0.csv").read_text()
    assert (1, "", "failed") not in quality(checkout)
    again = Checkout(tmp_path / "again")
    shutil.copy(tmp_path / "method.py", again.folder)
    assert again.run(config).code == 0
    expected = results_of(again.folder / "results")
    results = results_of(checkout.folder / "results")
    assert {name for name in expected if results[name] != expected[name]} == set()
    assert checkout.run(None, "-n").jobs == {}


def test_stopping_is_no_failure_to_work_around(marked, movies, tmp_path):
    """What FOVs a run may do without: those in which a job failed, where no other FOV waits."""
    from pyama.remainder import to_leave_out

    fov = [{"dataset": "a", "fov": "000"}, {"dataset": "a", "fov": "011"}, {"dataset": "b", "fov": "002"}]
    merge = {"dataset": "a", "sample": "all"}
    assert to_leave_out([*fov, merge, {}], fov) == {"a": [0, 11], "b": [2]}
    assert to_leave_out([*fov, merge, {}], fov[:2]) == {}
    assert to_leave_out([merge, {}], [merge]) == {}


@pytest.mark.parametrize("what", ["black", "saturated", "empty"])
def test_an_unusual_fov_is_no_failure_and_is_named(experiment, movies, tmp_path, what):
    rng = np.random.default_rng(0)

    def plane(fov, frame, channel, z=0):
        image = experiment.plane(fov, frame, channel)
        if fov == 0:
            return image
        if what == "black":
            return np.zeros_like(image)
        if what == "saturated":
            return np.full_like(image, 65535)
        return rng.poisson(image.mean(), image.shape).astype(np.uint16)  # nothing but noise

    write_movie(tmp_path / "odd.nd2", experiment, plane)
    checkout = Checkout(tmp_path)
    config = small_config(movies)
    config["datasets"] = {"small": str(tmp_path / "odd.nd2")}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    table = pd.read_csv(tmp_path / "results/small/fov_001/small_fov_001_traces.csv")
    found = quality(checkout)
    assert len(table) == 0
    assert (1, "", "no_cells") in found
    names = ("pc_ch_0", "fl_ch_1", "fl_ch_2")
    if what == "black":  # in an ND2, planes of zeros are planes that were not taken
        assert {(1, "", f"missing_{name}") for name in names} <= {*found}
    if what == "saturated":
        assert {(1, str(frame), f"blank_{name}") for frame in range(8) for name in names} <= {*found}
    assert {fov for fov, _, _ in found} == {1}
    line = next(line for line in outcome.text.splitlines() if line.startswith("results/small/qc.csv: "))
    assert "no_cells 1 x (FOV 1)" in line
