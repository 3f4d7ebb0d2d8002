"""Times through the whole workflow: one clock for all FOVs, and findings where times are guesses or have changed."""

import csv

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import Checkout, small_config

from demo.czi_writer import Subblock, movie_xml, write_czi, write_subblocks
from demo.nd2_writer import Channel, write_nd2
from demo.simulate import CHANNELS

N_FRAMES = 8
LATER_MIN = 25.0  # FOV 1 after FOV 0


def seconds(fov, frame):
    return 60 * (10.0 * frame + LATER_MIN * fov)


def write_movie(path, experiment, time_s, plane=None):
    size = {"n_fovs": 2, "n_frames": N_FRAMES, "width": experiment.width}
    plane = plane or (lambda fov, frame, channel, z=0: experiment.plane(fov, frame, channel))
    if path.suffix == ".czi":
        write_czi(path, plane, **size, channels=CHANNELS, times_s=time_s)
    else:
        channels = [Channel(name) for name in CHANNELS]
        write_nd2(
            path, plane, **size, height=experiment.height, channels=channels, times_ms=lambda *at: 1000 * time_s(*at)
        )


def findings(checkout, name):
    with open(checkout.folder / f"results/{name}/qc.csv", newline="", encoding="utf-8") as file:
        return [(int(row["fov"]), row["frame"], row["check"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["later.nd2", "later.czi"])
def test_fovs_that_begin_at_different_times(experiment, movies, tmp_path, name):
    checkout = Checkout(tmp_path)
    write_movie(tmp_path / name, experiment, seconds)
    outcome = checkout.run({**small_config(movies), "datasets": {"later": name}})
    assert outcome.code == 0, outcome.text
    folder = tmp_path / "results/later"
    for fov in range(2):
        times = zarr.open_group(folder / f"fov_{fov:03d}/images.zarr", mode="r").attrs["times_min"]
        np.testing.assert_allclose(times, 10 * np.arange(N_FRAMES) + LATER_MIN * fov, atol=1e-5)
    tidy = pd.read_csv(folder / "later_traces.csv")
    np.testing.assert_allclose(tidy.time_min, 10 * tidy.frame + LATER_MIN * tidy.fov, atol=1e-5)
    merged = pd.read_csv(folder / "all_area_ch_0.csv", comment="#")
    of_fov = {fov: sorted(times.unique()) for fov, times in merged.groupby("fov")["time"]}
    assert min(of_fov[0]) == 0
    assert min(of_fov[1]) == pytest.approx(LATER_MIN, abs=1e-5)
    assert [check for _, _, check in findings(checkout, "later") if check.startswith("time")] == []


def test_stamps_that_cannot_be_used_are_findings(experiment, movies, tmp_path):
    """The list of a CZI; nothing else in the file says when frames were taken."""
    checkout = Checkout(tmp_path)
    tiles = [
        Subblock({"S": f, "T": t, "C": c}, experiment.plane(f, t, c), x=f * 5000)
        for t in range(N_FRAMES)
        for f in range(2)
        for c in range(3)
    ]
    listed = [1951.3, 1951.3, 2005.3, 1951.3, 2100.0, 2200.0, 2300.0, 2400.0]
    write_subblocks(tmp_path / "a.czi", tiles, xml=movie_xml(CHANNELS, {}, 0.65, None), times_s=listed)
    config = {**small_config(movies), "datasets": {"a": "a.czi"}}
    config["params"] = {**config["params"], "copy_only": True}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    of_times = [row for row in findings(checkout, "a") if row[2].startswith("time")]
    of_fov = [("", "time_assumed"), ("1", "time_order"), ("3", "time_order")]
    assert of_times == [(fov, *row) for fov in range(2) for row in of_fov]


def test_changed_interval_and_exposure(experiment, movies, tmp_path):
    """The interval was to change; the exposure of channel 2 was not."""
    checkout = Checkout(tmp_path)

    def time_s(fov, frame):
        return 60.0 * (frame if frame < 5 else 10 * (frame - 4) + 4)

    def plane(fov, frame, channel, z=0):
        image = experiment.plane(fov, frame, channel)
        return 2 * image if channel == 2 and frame >= 4 else image

    write_movie(tmp_path / "a.nd2", experiment, time_s, plane)
    config = {**small_config(movies), "datasets": {"a": "a.nd2"}}
    config["params"] = {**config["params"], "copy_only": True}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    assert findings(checkout, "a") == [(fov, "4", "exposure_step_fl_ch_2") for fov in range(2)]
