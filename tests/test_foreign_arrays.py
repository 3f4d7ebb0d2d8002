"""Arrays that zarr-python wrote in the place of ours, in whatever layout, are read, and never called damaged."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

import cache_levels
import verify_results
from celltraces.errors import UserError
from celltraces.results.quality import check_frames
from celltraces.storage import cells, checksums
from celltraces.storage.codecs import DISPLAY, LABELS, PIXELS, SMOOTH
from celltraces.storage.frames import open_frames, writing

SHAPE = (7, 20, 30)
LITTLE = BytesCodec(endian="little")
LAYOUTS = {
    "as zarr-python does it": {},
    "one chunk": {"chunks": SHAPE},
    "chunks of several frames and parts of frames": {"chunks": (3, 8, 30)},
    "no compression": {"chunks": (1, 20, 30), "compressors": None},
    "gzip": {"chunks": (1, 20, 30), "compressors": GzipCodec()},
    "high bytes first": {"chunks": (2, 20, 30), "serializer": BytesCodec(endian="big")},
    "transposed": {"chunks": (2, 20, 30), "filters": TransposeCodec(order=(2, 0, 1))},
    "sharded without checksums": {"chunks": (1, 20, 30), "shards": SHAPE},
    "two shards": {"chunks": (1, 10, 10), "shards": (4, 20, 30)},
    "index at the start": {
        "chunks": SHAPE,
        "compressors": None,
        "serializer": ShardingCodec(chunk_shape=(1, 20, 30), codecs=[LITTLE, ZstdCodec()], index_location="start"),
    },
    "index without checksum": {
        "chunks": SHAPE,
        "compressors": None,
        "serializer": ShardingCodec(chunk_shape=(1, 20, 30), codecs=[LITTLE], index_codecs=[LITTLE]),
    },
    "dots in names": {"chunks": (1, 20, 30), "chunk_key_encoding": {"name": "default", "separator": "."}},
    "names as in Zarr 2": {"chunks": (1, 20, 30), "chunk_key_encoding": {"name": "v2", "separator": "."}},
}


def write(path, data, **layout):
    array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, overwrite=True, **layout)
    array[...] = data
    return array


def numbers(dtype, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("blank", [False, True])
def test_any_layout_is_read(tmp_path, name, blank):
    data = numbers(np.uint16)
    if blank:  # zarr-python writes no chunk for these
        data[2:] = 0
    path = tmp_path / "fl_ch_1/0"
    write(path, data, **LAYOUTS[name])
    frames = open_frames(path)
    assert (frames.shape, frames.dtype) == (SHAPE, np.uint16)
    for frame in (3, 0, 1, 6, 5, 2, 4):
        np.testing.assert_array_equal(frames.read(frame), data[frame])
        assert frames.present(frame)
    same = {frames.fingerprint(frame) for frame in range(2, 7)}
    assert len(same) == (1 if blank else 5)


def test_our_codecs_in_another_order_of_chunks_or_without_empty_ones(tmp_path):
    """The metadata are ours then; where the chunks lie is not."""
    data = numbers(np.uint16, (5, 32, 48))
    data[1] = 0
    ours = tmp_path / "ours"
    with writing(ours, data.shape, data.dtype, PIXELS, tile=16) as append:
        for image in data:
            append(image)
    theirs = tmp_path / "theirs"
    codec = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=2, blocksize=0)
    sharding = ShardingCodec(chunk_shape=(1, 16, 16), codecs=[LITTLE, codec, Crc32cCodec()])
    names = ["t", "y", "x"]
    write(theirs, data, chunks=data.shape, compressors=None, serializer=sharding, dimension_names=names)
    # with our own spelling of the metadata: only the shard is of zarr-python
    shutil.copy(ours / "zarr.json", theirs / "zarr.json")
    assert (ours / "c/0/0/0").read_bytes() != (theirs / "c/0/0/0").read_bytes()
    frames = open_frames(theirs)
    for frame in range(5):
        np.testing.assert_array_equal(frames.read(frame), data[frame])


def test_our_array_with_attributes_that_zarr_python_changed(tmp_path):
    data = numbers(np.uint16)
    path = tmp_path / "pc_ch_0/0"
    with writing(path, data.shape, data.dtype, PIXELS) as append:
        for image in data:
            append(image)
    zarr.open_array(path, mode="r+").attrs["missing_frames"] = [4]
    frames = open_frames(path)
    np.testing.assert_array_equal([frames.read(frame) for frame in range(7)], data)
    assert not frames.present(4)


def test_our_own_arrays_do_not_need_zarr_python(tmp_path, monkeypatch):
    data = numbers(np.uint16)
    with writing(tmp_path / "0", data.shape, data.dtype, PIXELS) as append:
        for image in data:
            append(image)
    with cells.new_store(tmp_path / "cells.zarr") as put:
        for kind in (PIXELS, SMOOTH, LABELS, DISPLAY):
            cells.put_array(put, kind, data, kind, {"scale": 3})
            cells.put_array(put, f"{kind}-none", data[:0], kind)
    monkeypatch.setattr("celltraces.storage.foreign_arrays.open_stack", None)
    monkeypatch.setattr("celltraces.storage.foreign_arrays.read_array", None)
    np.testing.assert_array_equal(open_frames(tmp_path / "0").read(1), data[1])
    with cells.open_store(tmp_path / "cells.zarr") as get:
        for kind in (PIXELS, SMOOTH, LABELS, DISPLAY):
            np.testing.assert_array_equal(cells.get_array(get, kind)[0], data)
            assert cells.get_array(get, f"{kind}-none")[0].shape == (0, 20, 30)


@pytest.mark.parametrize(
    ("name", "stored", "used"),
    [
        *(("seg_labeled_ch_0", dtype, dtype) for dtype in ("uint8", "uint16", "uint32")),
        *(("seg_labeled_ch_0", dtype, "uint32") for dtype in ("int16", "int32", "int64", "uint64", "float64")),
        ("seg_tracked_ch_0", "bool", "uint8"),
        *(("fl_ch_1", dtype, "uint16") for dtype in ("uint8", "int16", "int32", "uint32", "float32", "float64")),
        *(("fl_background_ch_1", dtype, "float32") for dtype in ("uint16", "float16", "float64")),
    ],
)
def test_any_dtype_that_holds_the_values_is_used(tmp_path, name, stored, used):
    data = numbers(stored)
    write(tmp_path / name / "0", data, chunks=(2, 20, 30))
    frames = open_frames(tmp_path / name / "0")
    assert frames.dtype == used
    for frame in range(7):
        image = frames.read(frame)
        assert image.dtype == used
        np.testing.assert_array_equal(image, data[frame])


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("fl_ch_1", 0.5, "float32"),
        ("fl_ch_1", -1, "int32"),
        ("fl_ch_1", 65536, "int32"),
        ("fl_ch_1", np.nan, "float64"),
        ("seg_labeled_ch_0", -1, "int64"),
        ("seg_labeled_ch_0", 2**32, "int64"),
        ("seg_labeled_ch_0", 1.5, "float64"),
    ],
)
def test_values_that_would_change_are_refused_in_one_line(tmp_path, name, value, dtype):
    data = numbers(dtype)
    data[3, 4, 5] = value
    write(tmp_path / name / "0", data)
    frames = open_frames(tmp_path / name / "0")
    frames.read(2)
    with pytest.raises(UserError, match=rf"{name}/0, frame 3: values that uint\d+ cannot hold .*; write whole") as line:
        frames.read(3)
    assert "\n" not in str(line.value)
    assert "damaged" not in str(line.value)


@pytest.mark.parametrize("shape", [(20, 30), (2, 3, 20, 30), (0, 20, 30)])
def test_other_shapes_are_refused_in_one_line(tmp_path, shape):
    write(tmp_path / "fl_ch_1/0", numbers(np.uint16, shape))
    with pytest.raises(UserError, match=r"it must be \(T, H, W\)"):
        open_frames(tmp_path / "fl_ch_1/0")


def test_a_foreign_array_that_is_damaged_is_one_line(tmp_path):
    path = tmp_path / "fl_ch_1/0"
    write(path, numbers(np.uint16), chunks=(1, 20, 30))
    chunk = path / "c/3/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    frames = open_frames(path)
    frames.read(2)
    with pytest.raises(UserError, match="frame 3: zarr-python cannot read this array"):
        frames.read(3)
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    with pytest.raises(UserError, match="zarr-python cannot read this array"):
        open_frames(path)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    dtype=st.sampled_from(["bool", "uint8", "int32", "int64", "float32", "float64"]),
    layout=st.sampled_from(["plain", "gzip", "sharded"]),
    zipped=st.booleans(),
)
def test_arrays_of_cells_zarr_in_any_layout(tmp_path_factory, shape, dtype, layout, zipped):
    data = numbers(dtype, shape)
    path = tmp_path_factory.mktemp("store") / ("cells.zarr.zip" if zipped else "cells.zarr")
    place = zarr.storage.ZipStore(path, mode="w") if zipped else zarr.storage.LocalStore(path)
    chunks = tuple(max(1, n // 2) for n in shape)
    options = {"attributes": {"scale": 2}, **({"compressors": GzipCodec()} if layout == "gzip" else {})}
    if layout == "sharded":
        options["shards"] = tuple(2 * n for n in chunks)
    array = zarr.create_array(place, name="fl_ch_1/7/0", shape=data.shape, dtype=dtype, chunks=chunks, **options)
    array[...] = data
    place.close()
    with cells.open_store(path) as get:
        found, attributes = cells.get_array(get, "fl_ch_1/7/0")
    np.testing.assert_array_equal(found, data)
    assert (found.dtype, attributes) == (data.dtype, {"scale": 2})


def test_the_display_level_of_an_array_without_our_attributes(tmp_path):
    rng = np.random.default_rng(0)
    light, labels = rng.integers(100, 900, (5, 40, 60), dtype=np.uint16), numbers(np.int32, (5, 40, 60))
    for name, data in (("fl_ch_1", light), ("fl_background_ch_1", light / 3), ("seg_tracked_ch_0", labels)):
        write(tmp_path / name / "0", data)
        cache_levels.cache_level(tmp_path / name / "0", tmp_path / name / "1")
        shown = zarr.open_array(tmp_path / name / "1", mode="r")[...]
        if name.startswith("seg"):
            np.testing.assert_array_equal(shown > 0, labels[:, ::2, ::2] > 0)
            assert shown.max() == 255
        else:
            low, high = np.percentile(data, [1, 99])
            halved = data.reshape(5, 20, 2, 30, 2).mean(axis=(2, 4))
            expected = np.clip((halved - low) / (high - low), 0, 1) * 255
            assert np.abs(shown - expected).max() < 12  # clipped before or after the mean
            assert np.abs(shown - expected).mean() < 3


def test_the_checks_of_an_array_without_our_attributes(tmp_path):
    """A blank and a repeated frame are found, as in an array that was copied."""
    data = np.random.default_rng(0).integers(100, 900, (6, 40, 60), dtype=np.uint16)
    data[2], data[4] = 100, data[3]
    write(tmp_path / "fl_ch_1/0", data)
    settings = {"qc_saturation": 0.5, "qc_brightness": 1.5, "qc_odd_part": 0.1, "qc_contrast": None}
    found = check_frames(0, open_frames(tmp_path / "fl_ch_1/0"), **settings)
    assert {(row.frame, row.check, row.value) for row in found if "brightness" not in row.check} == {
        (2, "blank_fl_ch_1", 100),
        (4, "duplicate_fl_ch_1", 3),
    }


def _with_another_byte(content):
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


@pytest.mark.parametrize("name", ["cells.zarr", "cells.zarr.zip", "fl_ch_1"])
def test_verify_reads_what_we_wrote_through_zarr_python(tmp_path, name):
    """An array that our own writer put there wrong, with the checksums of what it wrote."""
    data = numbers(np.uint16)
    path = tmp_path / "results" / name
    if name == "fl_ch_1":
        path = path / "0"
        with writing(path, data.shape, data.dtype, PIXELS) as append:
            for image in data:
                append(image)
    else:
        with cells.new_store(path) as put:
            cells.put_group(put, "")
            cells.put_array(put, "a/0", data, PIXELS)
            cells.put_array(put, "a/1", np.array(3), LABELS)
            cells.put_array(put, "b/0", data[:0], PIXELS)
    listing = tmp_path / "results/checksums/a/job.txt"
    checksums.write(listing, checksums.lines_of(listing, [path]), "{}")
    assert verify_results.verify(tmp_path / "results", [path]) == ([], [])
    key = "" if name == "fl_ch_1" else "a/0"
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            files = {file: archive.read(file) for file in archive.namelist()}
        with cells.new_store(path) as put:
            for file, content in files.items():
                put(file, _with_another_byte(content) if file == "a/0/c.0.0.0" else content)
    else:
        chunk = path / ("c/0/0/0" if name == "fl_ch_1" else "a/0/c.0.0.0")
        chunk.write_bytes(_with_another_byte(chunk.read_bytes()))
    (line,), (_,) = verify_results.verify(tmp_path / "results", [path])
    assert line.endswith(": changed since it was written")
    checksums.write(listing, checksums.lines_of(listing, [path]), "{}")
    (line,), (_,) = verify_results.verify(tmp_path / "results", [path])
    assert line.startswith(f"{path / key}: zarr-python cannot read it: ")
