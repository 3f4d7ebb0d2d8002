"""One FOV's failure costs the others nothing, and what is broken, empty or black is named."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import Checkout, small_config
from results_tools import results_of

from celltraces.runs.partial_run import to_leave_out
from demo.nd2_writer import Channel, write_nd2
from demo.simulate import CHANNELS

METHOD = """
import ctypes, os, signal
import numpy as np

def segment(image):
    fault = {faults}[image[0, 0]]
    if fault == "raises":
        raise RuntimeError("the lamp went out")
    if fault == "crashes":
        ctypes.string_at(0)
    if fault == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "wants too much":
        np.ones((1 << 22, 1 << 22))
    return (image > 9000).astype(int)
"""
FAULTS = {
    "sound": None,
    "raises": "the lamp went out",
    "crashes": "crashed (Segmentation fault)",
    "is killed": "ended without a word (killed or out of memory)",
    "wants too much": "Unable to allocate",
}


def write_movie(path, experiment, plane, n_fovs=2):
    channels = [Channel(name) for name in CHANNELS]
    size = {"n_fovs": n_fovs, "n_frames": 8, "width": experiment.width, "height": experiment.height}
    write_nd2(path, plane, **size, channels=channels)


def quality(checkout, dataset="small"):
    with open(checkout.folder / f"results/{dataset}/qc.csv", newline="") as file:
        return [(int(row["fov"]), row["frame"], row["check"]) for row in csv.DictReader(file)]


@pytest.fixture
def marked(experiment, tmp_path):
    """A movie whose FOVs a method can tell by their first pixel."""

    def plane(fov, frame, channel, z=0):
        image = experiment.plane(fov % 2, frame, channel).copy()
        image[0, 0] = fov
        return image

    write_movie(tmp_path / "marked.nd2", experiment, plane, n_fovs=len(FAULTS))
    return tmp_path / "marked.nd2"


def test_the_rest_is_merged_and_each_failure_named(marked, movies, tmp_path):
    checkout = Checkout(tmp_path)
    (tmp_path / "method.py").write_text(METHOD.format(faults=list(FAULTS)))
    config = small_config(movies, params={"segmentation_method": "method.py:segment"})
    config["datasets"] = {"small": str(marked)}
    outcome = checkout.run(config)
    assert outcome.code != 0
    assert "All results" not in outcome.text
    assert "(100%) done" not in outcome.text
    lines = outcome.text.strip().splitlines()
    assert sum(line.startswith("results/small/qc.csv: ") for line in lines) == 1
    at = next(i for i, line in enumerate(lines) if line.startswith("Not everything is done"))
    failed = sorted(line for line in lines[at:] if line.startswith("  segment: "))
    assert len(failed) == len(FAULTS) - 1
    for fov, reason in enumerate(FAULTS.values()):
        if reason:
            line = failed[fov - 1]
            assert line.startswith(f"  segment: dataset small, fov {fov:03d}: ")
            assert reason in line
            assert line.endswith(f"log: results/logs/small/fov_{fov:03d}/segment.log")

    folder = tmp_path / "results/small"
    for name in ("all_area_ch_0.csv", "all_intensity_total_ch_1.csv"):
        missing = ", ".join(f"{fov} (failed)" for fov in range(1, len(FAULTS)))
        assert (folder / name).read_text().splitlines()[1] == f"# Missing FOVs: {missing}"
        assert set(pd.read_csv(folder / name, comment="#").fov) <= {0}
    assert {(fov, "", "failed") for fov in range(1, len(FAULTS))} <= {*quality(checkout)}
    page = (folder / "report.html").read_text("utf-8")
    assert page.count('<span class="badge bad">failed</span>') == len(FAULTS) - 1
    for fov in range(len(FAULTS)):
        assert (folder / f"fov_{fov:03d}/small_fov_{fov:03d}_traces.csv").is_file() == (fov == 0)

    # Once the cause is mended the same command makes complete tables, and only what was missing.
    (tmp_path / "method.py").write_text(METHOD.format(faults=["sound"] * len(FAULTS)))
    outcome = checkout.run(None)
    assert outcome.code == 0, outcome.text
    assert "Missing FOVs" not in (folder / "all_area_ch_0.csv").read_text()
    assert "failed" not in {check for _, _, check in quality(checkout)}
    again = Checkout(tmp_path / "again")
    shutil.copy(tmp_path / "method.py", again.folder)
    assert again.run(config).code == 0
    expected = results_of(again.folder / "results")
    results = results_of(checkout.folder / "results")
    assert {name for name in expected if results[name] != expected[name]} == set()
    assert checkout.run(None, "-n").jobs == {}


@pytest.mark.unit
def test_stopping_is_no_failure_to_work_around():
    """What FOVs a run may do without: those in which a job failed, where no other FOV waits."""
    fov = [{"dataset": "a", "fov": "000"}, {"dataset": "a", "fov": "011"}, {"dataset": "b", "fov": "002"}]
    merge = {"dataset": "a", "sample": "all"}
    assert to_leave_out([*fov, merge, {}], fov) == {"a": [0, 11], "b": [2]}
    assert to_leave_out([*fov, merge, {}], fov[:2]) == {}
    assert to_leave_out([merge, {}], [merge]) == {}


def test_unusual_fovs_are_no_failures_and_are_named(experiment, movies, tmp_path):
    """FOV 0 is sound, 1 black, 2 saturated, 3 empty: nothing but noise."""
    rng = np.random.default_rng(0)

    def plane(fov, frame, channel, z=0):
        image = experiment.plane(0, frame, channel)
        odd = {1: np.zeros_like(image), 2: np.full_like(image, 65535)}
        if fov == 3:
            return rng.poisson(image.mean(), image.shape).astype(np.uint16)
        return odd.get(fov, image)

    write_movie(tmp_path / "odd.nd2", experiment, plane, n_fovs=4)
    checkout = Checkout(tmp_path)
    config = small_config(movies)
    config["datasets"] = {"small": str(tmp_path / "odd.nd2")}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    found = quality(checkout)
    for fov in range(4):
        table = pd.read_csv(tmp_path / f"results/small/fov_{fov:03d}/small_fov_{fov:03d}_traces.csv")
        assert (len(table) == 0) == (fov > 0)
        assert ((fov, "", "no_cells") in found) == (fov > 0)
    names = ("pc_ch_0", "fl_ch_1", "fl_ch_2")
    # In an ND2, planes of zeros are planes that were not taken.
    assert {check for fov, _, check in found if fov == 1 and check.startswith("missing")} == {
        f"missing_{name}" for name in names
    }
    assert {(2, str(frame), f"blank_{name}") for frame in range(8) for name in names} <= {*found}
    # The background of the simulated experiment is vignetted, which is said once for the dataset.
    assert {fov for fov, _, check in found if not check.startswith("vignetting")} == {1, 2, 3}
    line = next(line for line in outcome.text.splitlines() if line.startswith("results/small/qc.csv: "))
    assert "no_cells 3 x (FOV 1, 2, 3)" in line
