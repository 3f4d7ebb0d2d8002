"""PyAMA's files: written as its documentation says, read by its own examples, and taken as input."""

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Checkout, small_config
from formats_tools import Stack, images_for, movies_of_cells, stack_of
from hypothesis import given, settings
from hypothesis import strategies as st

from celltraces.errors import UserError
from celltraces.exports import pyama_files
from celltraces.readers import pyama_folder
from celltraces.readers.movie_file import inspect_movie, open_movie


@pytest.fixture(scope="module")
def exported(movies, finished_run, tmp_path_factory):
    """A run with `pyama_files`: results/small is then a folder as PyAMA leaves it."""
    checkout = Checkout(tmp_path_factory.mktemp("run"), finished_run)
    checkout.base = small_config(movies)
    outcome = checkout.run(checkout.base, "all", "pyama_files")
    assert outcome.code == 0, outcome.text
    return checkout


@pytest.mark.workflow
def test_the_tree_of_the_documentation(exported):
    folder = exported.folder / "results/small"
    for fov in ("000", "001"):
        names = {path.name for path in (folder / f"fov_{fov}").iterdir() if path.is_file()}
        kinds = ("pc_ch_0", "fl_ch_1", "fl_ch_2", "fl_background_ch_1", "fl_background_ch_2")
        kinds += ("seg_labeled_ch_0", "seg_tracked_ch_0")
        assert names == {
            *(f"small_fov_{fov}_{kind}.npy" for kind in kinds),
            *(f"small_fov_{fov}_crops.h5", f"small_fov_{fov}_traces.csv"),
            *(f"small_fov_{fov}_digest.zip", f"small_fov_{fov}_lineage.csv"),  # of the report; who came from whom
        }
    assert {"params", "channels"} <= set(yaml.safe_load((folder / "processing_config.yaml").read_text()))


@pytest.mark.workflow
def test_the_access_examples_of_the_documentation(exported, experiment):
    """The examples as they stand there, with the name of the movie in the place of `sample`."""
    folder = exported.folder / "results/small/fov_000"
    pc_data = np.load(folder / "small_fov_000_pc_ch_0.npy", mmap_mode="r")
    seg_data = np.load(folder / "small_fov_000_seg_tracked_ch_0.npy", mmap_mode="r")
    frame_5, cells_frame_5 = pc_data[5], seg_data[5]
    assert (frame_5.dtype, frame_5.shape, cells_frame_5.dtype) == (np.uint16, (160, 192), np.uint16)
    np.testing.assert_array_equal(frame_5, experiment.plane(0, 5, 0))
    background = np.load(folder / "small_fov_000_fl_background_ch_1.npy", mmap_mode="r")
    assert (background.dtype, background.shape) == (np.float32, (8, 160, 192))

    df = pd.read_csv(folder / "small_fov_000_traces.csv")
    cell_1_trajectory = df[df["cell"] == df["cell"].min()]
    velocity = np.sqrt(np.diff(cell_1_trajectory["position_x"]) ** 2 + np.diff(cell_1_trajectory["position_y"]) ** 2)
    assert len(velocity) == len(cell_1_trajectory) - 1

    seen = 0
    with h5py.File(folder / "small_fov_000_crops.h5", "r") as f:
        for cell_name in f.keys():  # noqa: SIM118
            cell_data = f[cell_name]
            n_frames = len(cell_data["frames"])
            channels = list(cell_data["channels"].keys())
            assert channels == ["fl_ch_1", "fl_ch_2", "pc_ch_0"]
            bboxes, frames = cell_data["bboxes"][:], cell_data["frames"][:]
            assert (bboxes.shape, bboxes.dtype, frames.dtype) == ((n_frames, 5), np.int32, np.int32)
            np.testing.assert_array_equal(bboxes[:, 0], frames)
            pc_crops = cell_data["channels/pc_ch_0"]
            for i, frame_idx in enumerate(frames):
                pc_img = pc_crops[f"frame_{frame_idx:04d}"][:]
                mask = cell_data["masks"][f"frame_{frame_idx:04d}"][:]
                light = cell_data["backgrounds/fl_ch_1"][f"frame_{frame_idx:03d}"][:]  # the names of the tree
                y0, x0, y1, x1 = bboxes[i, 1:]
                assert (pc_img.dtype, mask.dtype, light.dtype) == (np.uint16, bool, np.float32)
                np.testing.assert_array_equal(pc_img, pc_data[frame_idx, y0:y1, x0:x1])
                np.testing.assert_array_equal(light, background[frame_idx, y0:y1, x0:x1])
                np.testing.assert_array_equal(mask, seg_data[frame_idx, y0:y1, x0:x1] == int(cell_name[5:]))
                seen += 1
    assert seen == sum(len(np.unique(frame)) - 1 for frame in seg_data)


@pytest.mark.workflow
def test_such_a_folder_is_input(exported):
    """The traces are those of the ND2 that the folder was made from."""
    config = {**exported.base, "datasets": {"moved": "results/small"}, "output_dir": "again"}
    outcome = exported.run(config)
    assert outcome.code == 0, outcome.text
    for fov in ("000", "001"):
        moved = exported.folder / f"again/moved/fov_{fov}/moved_fov_{fov}_traces.csv"
        assert (
            moved.read_bytes() == (exported.folder / f"results/small/fov_{fov}/small_fov_{fov}_traces.csv").read_bytes()
        )
    record = yaml.safe_load((exported.folder / "again/moved/processing_config.yaml").read_text())
    assert record["provenance"]["pixel_size_um"] == pytest.approx(0.65)
    assert exported.planned(config) == {}
    stack = exported.folder / "results/small/fov_001/small_fov_001_fl_ch_1.npy"
    data = bytearray(stack.read_bytes())
    data[len(data) // 2] ^= 1
    stack.write_bytes(data)
    assert exported.planned(config)["copy"] == 2
    outcome = exported.run({**config, "datasets": {"small": "results/small"}, "output_dir": "results"}, "-n")
    assert "datasets.small: 'results/small' is where its results go" in outcome.text


@settings(max_examples=25, deadline=None)
@given(movies_of_cells(), st.integers(0, 3))
def test_crops_are_the_images_in_their_boxes(tmp_path_factory, movie, padding):
    shape, masks = movie
    images = images_for(shape)
    backgrounds = {"fl_ch_1": Stack(np.random.default_rng(1).normal(size=shape).astype(np.float32))}
    path = tmp_path_factory.mktemp("crops") / "c.h5"
    pyama_files.write_crops(path, images, backgrounds, stack_of(shape, masks), padding)
    with h5py.File(path) as file:
        assert list(file) == [f"cell_{cell:04d}" for cell in sorted(masks)]
        for cell, mask in masks.items():
            group = file[f"cell_{cell:04d}"]
            assert group["frames"][:].tolist() == np.flatnonzero(mask.any(axis=(1, 2))).tolist()
            for frame, y0, x0, y1, x1 in group["bboxes"][:].tolist():
                y, x = np.nonzero(mask[frame])
                assert (y0, x0) == (max(y.min() - padding, 0), max(x.min() - padding, 0))
                assert (y1, x1) == (min(y.max() + 1 + padding, shape[1]), min(x.max() + 1 + padding, shape[2]))
                name = f"frame_{frame:04d}"
                np.testing.assert_array_equal(group[f"masks/{name}"][:], mask[frame, y0:y1, x0:x1])
                for channel, image in images.items():
                    part = group[f"channels/{channel}/{name}"]
                    np.testing.assert_array_equal(part[:], image.array[frame, y0:y1, x0:x1])
                    assert part.compression == "gzip"
                part = group[f"backgrounds/fl_ch_1/{name}"][:]
                np.testing.assert_array_equal(part, backgrounds["fl_ch_1"].array[frame, y0:y1, x0:x1])


@pytest.mark.slow
def test_the_same_cells_are_the_same_bytes(tmp_path):
    import time

    masks = {3: np.ones((2, 4, 5), bool)}
    for name in ("a", "b"):
        pyama_files.write_crops(tmp_path / name, images_for((2, 4, 5)), {}, stack_of((2, 4, 5), masks), 1)
        time.sleep(1.1)  # HDF5 counts time in seconds
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_backgrounds_the_group_is_not_there(tmp_path):
    pyama_files.write_crops(
        tmp_path / "c.h5", images_for((1, 4, 5)), {}, stack_of((1, 4, 5), {3: np.ones((1, 4, 5), bool)}), 0
    )
    with h5py.File(tmp_path / "c.h5") as file:
        assert set(file["cell_0003"]) == {"bboxes", "frames", "masks", "channels"}


def test_a_label_that_uint16_cannot_hold_is_refused(tmp_path):
    labels = Stack(np.full((1, 2, 2), 70000, np.uint32))
    with pytest.raises(UserError, match="frame 0 has label 70000"):
        pyama_files.write_stack(tmp_path / "s.npy", labels)
    assert list(tmp_path.iterdir()) == []


def folder_of(path, stacks):
    for (fov, name), stack in stacks.items():
        (path / f"fov_{fov:03d}").mkdir(parents=True, exist_ok=True)
        np.save(path / f"fov_{fov:03d}/mine_fov_{fov:03d}_{name}.npy", stack)
    return path


def test_what_is_not_in_the_folder_is_missing(tmp_path):
    """FOV 1 is not there, channel 1 neither, and FOV 2 ended early in one channel."""
    rng = np.random.default_rng(0)
    full, short = rng.integers(0, 999, (4, 6, 7), np.uint16), rng.integers(0, 200, (2, 6, 7)).astype(np.uint8)
    stacks = {(0, "pc_ch_0"): full, (0, "fl_ch_2"): full, (2, "pc_ch_0"): full, (2, "fl_ch_2"): short}
    folder = folder_of(tmp_path / "old", {**stacks, (2, "fl_background_ch_2"): full.astype(np.float32)})
    movie = inspect_movie(folder)
    assert (movie.format, movie.n_frames, len(movie.fovs)) == ("PyAMA", 4, 3)
    assert movie.channels == ["pc_ch_0", "C1", "fl_ch_2"]
    assert [0, 1] in movie.fovs[0]["missing"]
    assert len(movie.fovs[1]["missing"]) == 12
    assert [entry for entry in movie.fovs[2]["missing"] if entry[1] == 2] == [[2, 2], [3, 2]]
    with open_movie(folder) as read:
        pc, nothing, fl = read(2, 1, [0, 1, 2], None)
        np.testing.assert_array_equal(pc, full[1])
        assert nothing is None
        assert fl.dtype == np.uint16
        np.testing.assert_array_equal(fl, short[1])
        assert read(2, 2, [2], None) == [None]
        with pytest.raises(UserError, match="has no FOV 3"):
            read(3, 0, [0], None)


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (np.zeros((2, 3), np.uint16), r"holds uint16 of shape \(2, 3\)"),
        (np.zeros((2, 3, 4), np.float32), "holds float32"),
        (np.array([[[print]]], object), "not a readable .npy"),
    ],
)
def test_stacks_that_are_none_are_refused(tmp_path, stack, words):
    folder = folder_of(tmp_path / "old", {(0, "pc_ch_0"): stack})
    with pytest.raises(UserError, match=words):
        inspect_movie(folder)


def test_two_movies_in_one_folder_are_refused(tmp_path):
    folder = folder_of(tmp_path / "old", {(0, "pc_ch_0"): np.zeros((1, 2, 2), np.uint16)})
    np.save(folder / "fov_000/other_fov_000_pc_ch_0.npy", np.zeros((1, 2, 2), np.uint16))
    with pytest.raises(UserError, match="are the same FOV and channel"):
        pyama_folder.inspect_stacks(folder)
