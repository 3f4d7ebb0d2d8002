"""Planes that are not in the file are recorded, never shifted, and give NaN; frames without background borrow it."""

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import Checkout, small_config

import copy_frames
import estimate_background
from celltraces.fluorescence import background
from celltraces.results.quality import check_frames
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing
from demo.czi_writer import write_czi
from demo.nd2_writer import Channel, write_nd2
from demo.simulate import CHANNELS

SKIPPED = {1, 3, 5, 7}  # frames in which channel 2 was not taken
STOPPED = 6  # frames that FOV 1 has


def plane_of(experiment):
    def plane(fov, frame, channel, z=0):
        if (channel == 2 and frame in SKIPPED) or (fov == 1 and frame >= STOPPED):
            return None
        return experiment.plane(fov, frame, channel)

    return plane


def write_movie(path, experiment):
    size = {"n_fovs": 2, "n_frames": 8, "width": experiment.width}
    if path.suffix == ".czi":
        write_czi(path, plane_of(experiment), **size, channels=CHANNELS)
    else:
        channels = [Channel(name) for name in CHANNELS]
        write_nd2(path, plane_of(experiment), **size, height=experiment.height, channels=channels)


@pytest.mark.workflow
@pytest.mark.parametrize("name", ["gaps.nd2", "gaps.czi"])
def test_an_acquisition_with_gaps(experiment, movies, tmp_path, name):
    checkout = Checkout(tmp_path)
    write_movie(tmp_path / name, experiment)
    outcome = checkout.run({**small_config(movies), "datasets": {"gaps": name}})
    assert outcome.code == 0, outcome.text
    for fov in range(2):
        folder = tmp_path / f"results/gaps/fov_{fov:03d}"
        images = zarr.open_group(folder / "images.zarr", mode="r")
        late = {6, 7} if fov else set()
        for channel, array, gone in ((0, "pc_ch_0", late), (1, "fl_ch_1", late), (2, "fl_ch_2", late | SKIPPED)):
            assert set(images[f"{array}/0"].attrs["missing_frames"]) == gone
            for frame in range(8):
                expected = 0 if frame in gone else experiment.plane(fov, frame, channel)
                np.testing.assert_array_equal(images[f"{array}/0"][frame], expected)
        table = pd.read_csv(folder / f"gaps_fov_{fov:03d}_traces.csv")
        assert set(table.frame) == set(range(8)) - late
        skipped = table.frame.isin(SKIPPED)
        assert table.area_ch_0.notna().all()
        assert table.intensity_total_ch_1.notna().all()
        assert table.intensity_total_ch_2.isna().eq(skipped).all()
        assert table.particle_num_ch_2.isna().eq(skipped).all()


def write(path, frames, kind=PIXELS, **attributes):
    with writing(path, frames.shape, frames.dtype, kind, attributes=attributes) as append:
        for frame in frames:
            append(frame)
    return path


def test_frames_without_background_take_a_neighbours(tmp_path):
    rng = np.random.default_rng(0)
    levels = np.array([500, 600, 700, 800, 900])
    frames = rng.poisson(np.broadcast_to(levels[:, None, None], (5, 128, 128))).astype(np.uint16)
    covered = np.zeros((5, 128, 128), np.uint16)
    covered[[0, 3]] = 1
    source = write(tmp_path / "fl_ch_1/0", frames, missing_frames=[4])
    whole = write(tmp_path / "fl_ch_2/0", frames)
    labels = write(tmp_path / "seg_labeled_ch_0/0", covered, LABELS)
    borrowed = estimate_background.estimate_movie(
        [source, whole], labels, [tmp_path / "bg/0", tmp_path / "other/0"], tile_size=64, background_dilation=3
    )
    assert borrowed == [[0, 3, 4], [0, 3]]
    estimate = open_frames(tmp_path / "bg/0")
    for frame, like in enumerate([1, 1, 2, 2, 2]):
        own = background.estimate_background(frames[like], covered[like] > 0, background_dilation=3)
        np.testing.assert_array_equal(estimate.read(frame), own)


def test_cells_everywhere_in_all_frames(tmp_path, caplog):
    frames = np.full((2, 64, 64), 300, np.uint16)
    source = write(tmp_path / "fl_ch_1/0", frames)
    labels = write(tmp_path / "seg_labeled_ch_0/0", np.ones_like(frames), LABELS)
    estimate_background.estimate_movie([source], labels, [tmp_path / "bg/0"], tile_size=64, background_dilation=3)
    assert "no frame shows background" in caplog.text
    np.testing.assert_allclose(open_frames(tmp_path / "bg/0").read(1), 300, atol=0.5)


def copied(tmp_path, frames):
    """An array copied from a CZI of one channel; frames (T, H, W)."""
    write_czi(
        tmp_path / "a.czi",
        lambda fov, frame, channel, z: frames[frame],
        n_fovs=1,
        n_frames=len(frames),
        width=frames.shape[2],
        channels=["A"],
    )
    output = tmp_path / "fl_ch_0/0"
    copy_frames.copy_frames(tmp_path / "a.czi", [output], fov=0, channels=[0], shape=frames.shape, planes=[None])
    return open_frames(output)


@pytest.mark.parametrize("value", [0, 37, 65535])
def test_a_frame_of_one_value_was_not_taken(tmp_path, value):
    """Its background is that value too: every cell would have no light at all."""
    frames = np.random.default_rng(3).normal(200, 3, (5, 40, 48)).round().astype(np.uint16)
    frames[1] = frames[4] = value
    array = copied(tmp_path, frames)
    assert [array.present(frame) for frame in range(5)] == [True, False, True, True, False]
    for frame in range(5):
        np.testing.assert_array_equal(array.read(frame), frames[frame])
    assert max(array.attributes["display_limits"]) < 230
    rows = list(check_frames(0, array, qc_saturation=0.1, qc_brightness=1e9, qc_odd_part=0.1, qc_contrast=None))
    assert [(row.frame, row.check, row.value) for row in rows if "blank" in row.check] == [
        (1, "blank_fl_ch_0", value),
        (4, "blank_fl_ch_0", value),
    ]


@pytest.mark.parametrize(
    "frames",
    [
        np.random.default_rng(3).poisson(0.2, (5, 40, 48)),  # single photons
        np.where(np.arange(48) < 20, 300, np.full((5, 40, 48), 200)),  # a simulation without noise
        np.full((5, 40, 48), 7) + np.arange(5)[:, None, None],  # nothing to compare with
        np.random.default_rng(3).normal(200, 3, (5, 1, 3)),  # the same by chance
    ],
)
def test_a_frame_of_one_value_may_be_real(tmp_path, frames):
    frames = frames.astype(np.uint16)
    frames[2] = frames.min() if frames[0].size > 64 else 7
    array = copied(tmp_path, frames)
    assert all(array.present(frame) for frame in range(5))
