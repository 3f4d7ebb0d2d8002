"""Arrays and stores: what is written is what zarr-python and zarrs read, complete or absent, damage noticed."""

import json
import zipfile

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from celltraces.errors import UserError
from celltraces.files import whole, write_text
from celltraces.storage import cells
from celltraces.storage.codecs import DISPLAY, LABELS, PIXELS, SMOOTH
from celltraces.storage.frames import open_frames, writing
from celltraces.storage.groups import write_group

KINDS = (PIXELS, SMOOTH, LABELS, DISPLAY)
DTYPES = ("uint8", "uint16", "uint32", "float32")


def write(path, frames, kind=PIXELS, **options):
    with writing(path, frames.shape, frames.dtype, kind, **options) as append:
        for frame in frames:
            append(frame)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(KINDS),
    tile=st.sampled_from([None, 1, 7, 16]),
    seed=st.integers(0, 1000),
)
def test_frames_are_read_back_by_us_and_by_zarr(tmp_path_factory, shape, dtype, kind, tile, seed):
    frames = np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)
    path = tmp_path_factory.mktemp("array") / "pc_ch_0" / "0"
    write(path, frames, kind, tile=tile, attributes={"missing_frames": [1]})
    array = zarr.open_array(path, mode="r")
    assert (array.dtype, array.shape, array.attrs["missing_frames"]) == (frames.dtype, shape, [1])
    np.testing.assert_array_equal(array[:], frames)
    opened = open_frames(path)
    assert (opened.shape, opened.dtype) == (shape, frames.dtype)
    for frame in range(shape[0]):
        np.testing.assert_array_equal(opened.read(frame), frames[frame])
    assert not opened.present(1)
    assert opened.present(0)


def test_zarrs_reads_what_we_write(tmp_path):
    frames = np.random.default_rng(0).integers(0, 65536, (4, 33, 50), dtype=np.uint16)
    for kind in KINDS:
        write(tmp_path / kind, frames, kind, tile=16 if kind == DISPLAY else None)
        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            np.testing.assert_array_equal(zarr.open_array(tmp_path / kind, mode="r")[:], frames)


def test_one_array_is_two_files_whatever_the_number_of_frames(tmp_path):
    write(tmp_path / "a", np.zeros((50, 8, 8), np.uint16))
    assert sorted(path.name for path in (tmp_path / "a").rglob("*") if path.is_file()) == ["0", "zarr.json"]


def test_same_frames_are_same_bytes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 300, (3, 200, 300), dtype=np.uint16)
    for name in "ab":
        write(tmp_path / name, frames)
    assert (tmp_path / "a/c/0/0/0").read_bytes() == (tmp_path / "b/c/0/0/0").read_bytes()


def test_an_interrupted_write_leaves_nothing_behind_and_keeps_what_was_there(tmp_path):
    frames = np.ones((2, 4, 4), np.uint16)
    write(tmp_path / "0", frames)
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "0", (2, 4, 4), "uint16", PIXELS) as append:
        append(frames[0] * 7)
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    np.testing.assert_array_equal(open_frames(tmp_path / "0").read(0), frames[0])


def test_what_a_killed_job_left_is_replaced(tmp_path):
    left = tmp_path / ".0.partial" / "c"
    left.mkdir(parents=True)
    (left / "rubbish").write_text("x")
    write(tmp_path / "0", np.ones((1, 4, 4), np.uint16))
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert not list((tmp_path / "0").rglob("rubbish"))


def test_too_few_frames_or_a_wrong_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match="1 chunks written, 2 expected"):
        write_one = writing(tmp_path / "0", (2, 4, 4), "uint16", PIXELS)
        with write_one as append:
            append(np.ones((4, 4), np.uint16))
    with (
        pytest.raises(ValueError, match="frame 0"),
        writing(tmp_path / "0", (2, 4, 4), "uint16", PIXELS) as append,
    ):
        append(np.ones((4, 5), np.uint16))
    assert not (tmp_path / "0").exists()


def test_values_that_would_be_lost_are_refused(tmp_path):
    with (
        pytest.raises(TypeError),
        writing(tmp_path / "0", (1, 2, 2), "uint16", PIXELS) as append,
    ):
        append(np.full((2, 2), 70000, np.uint32))


@pytest.mark.parametrize("offset", [0, 20, -30, -1])
def test_a_flipped_byte_is_noticed(tmp_path, offset):
    frames = np.random.default_rng(0).integers(0, 300, (2, 20, 30), dtype=np.uint16)
    write(tmp_path / "0", frames)
    shard = tmp_path / "0/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[offset] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match="damaged on disk"):
        [open_frames(tmp_path / "0").read(frame) for frame in range(2)]


@pytest.mark.parametrize("size", [0, 10, 100])
def test_a_truncated_or_absent_array_is_one_line(tmp_path, size):
    write(tmp_path / "0", np.random.default_rng(0).integers(0, 300, (2, 20, 30), dtype=np.uint16))
    shard = tmp_path / "0/c/0/0/0"
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(UserError, match="damaged"):
        [open_frames(tmp_path / "0").read(frame) for frame in range(2)]
    with pytest.raises(UserError, match="missing"):
        open_frames(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["cells.zarr", "cells.zarr.zip"])
def test_stores_of_small_arrays(tmp_path, name):
    rng = np.random.default_rng(0)
    arrays = {
        "metadata/boxes": rng.integers(0, 9, (3, 4, 4)).astype(np.int32),
        "metadata/valid": rng.integers(0, 2, (3, 4)).astype(bool),
        "pc/1/0": rng.random((4, 5, 6)).astype(np.float32),
        "metadata/none": np.zeros((0, 4, 2), np.int32),
    }
    path = tmp_path / name
    with cells.new_store(path) as put:
        for group in ("", "metadata", "pc", "pc/1"):
            cells.put_group(put, group, {"group": group})
        for key, data in arrays.items():
            cells.put_array(put, key, data, PIXELS, {"scale": 65535})
    with cells.open_store(path) as get:
        for key, data in arrays.items():
            read, attributes = cells.get_array(get, key)
            np.testing.assert_array_equal(read, data)
            assert (read.dtype, attributes) == (data.dtype, {"scale": 65535})
    root = zarr.open_group(zarr.storage.ZipStore(path) if path.suffix == ".zip" else path, mode="r")
    assert {key for key, _ in root.members(max_depth=None)} == {*arrays, "metadata", "pc", "pc/1"}
    assert root["pc"].attrs["group"] == "pc"
    for key, data in arrays.items():
        np.testing.assert_array_equal(root[key][:], data)


def test_zip_stores_are_the_same_bytes_again(tmp_path):
    for name in ("a.zip", "b.zip"):
        with cells.new_store(tmp_path / name) as put:
            cells.put_array(put, "x", np.arange(9), LABELS)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "a.zip").testzip() is None


@pytest.mark.parametrize("name", ["cells.zarr", "cells.zarr.zip"])
def test_a_damaged_or_absent_store_is_one_line(tmp_path, name):
    path = tmp_path / name
    with cells.new_store(path) as put:
        cells.put_array(put, "x", np.arange(9), LABELS)
    with cells.open_store(path) as get, pytest.raises(UserError, match="missing or damaged"):
        get("y")
    with pytest.raises(UserError, match="missing or damaged"), cells.open_store(tmp_path / f"no_{name}") as get:
        get("x")


def test_group_metadata_is_what_zarr_reads(tmp_path):
    write_group(tmp_path / "images.zarr/zarr.json", {"a": [1]})
    assert zarr.open_group(tmp_path / "images.zarr", mode="r").attrs.asdict() == {"a": [1]}
    assert json.loads((tmp_path / "images.zarr/zarr.json").read_text())["zarr_format"] == 3


def test_a_file_is_whole_or_absent(tmp_path):
    with pytest.raises(RuntimeError), whole(tmp_path / "a.csv") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    write_text(tmp_path / "a.csv", "x\n")
    assert (tmp_path / "a.csv").read_bytes() == b"x\n"
