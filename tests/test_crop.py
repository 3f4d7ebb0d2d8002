"""Crops: windows follow the cells, raw counts come back exactly, batches and stores make no difference."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

import crop_cells
from celltraces.labels import cell_batches
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing


def write(path, frames, kind, **attributes):
    with writing(path, frames.shape, frames.dtype, kind, attributes=attributes) as append:
        for frame in frames:
            append(frame)
    return open_frames(path)


def movie(seed=0, shape=(6, 60, 80), n_cells=5):
    """Tracked labels of moving boxes, some absent in some frames, some at the edge; and an image of every kind."""
    rng = np.random.default_rng(seed)
    n_frames, height, width = shape
    tracked = np.zeros(shape, np.uint16)
    cells = rng.choice(np.arange(1, 50), n_cells, replace=False)
    for cell in cells:
        y, x = rng.integers(0, height), rng.integers(0, width)
        for frame in range(n_frames):
            if rng.random() < 0.8:
                h, w = rng.integers(1, 15, 2)
                tracked[frame, y : y + h, x : x + w] = cell
            y, x = np.clip([y, x] + rng.integers(-4, 5, 2), 0, [height - 1, width - 1])
    raw = rng.integers(0, 65536, shape, dtype=np.uint16)
    background = (rng.random(shape) * 1000).astype(np.float32)
    return tracked, raw, background


def crop(folder: Path, tracked, raw, background, padding=5, name="cells.zarr"):
    opened = write(folder / "seg_tracked_ch_0/0", tracked, LABELS)
    channels = [
        write(folder / "pc_ch_0/0", raw, PIXELS, missing_frames=[]),
        write(folder / "fl_ch_1/0", raw[::-1].copy(), PIXELS, missing_frames=[2]),
        write(folder / "fl_background_ch_1/0", background, PIXELS),
    ]
    crop_cells.write_cells(opened, channels, folder / name, crop_padding=padding)
    path = folder / name
    return zarr.open_group(zarr.storage.ZipStore(path) if name.endswith(".zip") else path, mode="r")


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), padding=st.integers(0, 30), n_cells=st.integers(0, 6))
def test_crops_are_the_raw_pixels_around_each_cell(tmp_path_factory, seed, padding, n_cells):
    tracked, raw, background = movie(seed, n_cells=n_cells)
    cells = crop(tmp_path_factory.mktemp("crop"), tracked, raw, background, padding)
    ids = cells["metadata/cell_ids"][:]
    np.testing.assert_array_equal(ids, np.unique(tracked[tracked > 0]))
    boxes, valid, origins = (cells[f"metadata/{name}"][:] for name in ("bboxes", "valid_frames", "crop_origins"))
    assert boxes.shape == (len(ids), 6, 4)
    for row, cell in enumerate(ids):
        mask = cells[f"seg_tracked_ch_0/{cell}/0"][:]
        pc, fl, bg = (cells[f"{name}/{cell}/0"][:] for name in ("pc_ch_0", "fl_ch_1", "fl_background_ch_1"))
        assert {array.dtype.name for array in (pc, fl, bg)} == {"float32"}
        assert mask.dtype == np.uint8
        h, w = mask.shape[1:]
        tallest = [0, 0]
        for frame in range(6):
            here = tracked[frame] == cell
            assert valid[row, frame] == here.any()
            if not here.any():
                assert not boxes[row, frame].any()
                assert not mask[frame].any()
                assert not pc[frame].any()
                continue
            box = regionprops(here.astype(int))[0].bbox
            np.testing.assert_array_equal(boxes[row, frame], box)
            y, x = origins[row, frame]
            low = [max(box[0] - padding, 0), max(box[1] - padding, 0)]
            high = [min(box[2] + padding, 60), min(box[3] + padding, 80)]
            tallest = [max(t, b - a) for t, a, b in zip(tallest, low, high, strict=True)]
            assert (y <= low[0], x <= low[1], y + h >= high[0], x + w >= high[1]) == (True,) * 4
            assert min(y, x) >= 0
            window = np.s_[frame, y : y + h, x : x + w]
            np.testing.assert_array_equal(mask[frame], tracked[window] == cell)
            np.testing.assert_array_equal(np.rint(pc[frame].astype(float) * 65535), raw[window])
            np.testing.assert_array_equal(np.rint(fl[frame].astype(float) * 65535), raw[::-1][window])
            np.testing.assert_allclose(bg[frame] * 65535, background[window], rtol=1e-6)
        assert [h, w] == tallest


def test_attributes_name_scale_and_missing_frames(tmp_path):
    tracked, raw, background = movie()
    cells = crop(tmp_path, tracked, raw, background)
    cell = cells["metadata/cell_ids"][0]
    assert dict(cells[f"pc_ch_0/{cell}/0"].attrs) == {"scale": 65535, "offset": 0}
    assert dict(cells[f"fl_ch_1/{cell}/0"].attrs) == {"scale": 65535, "offset": 0, "missing_frames": [2]}
    assert dict(cells["metadata"].attrs) == {"frames": 6, "height": 60, "width": 80}


def test_every_sixteen_bit_count_survives_the_scale():
    counts = np.arange(65536, dtype=np.uint16)
    stored = counts.astype(np.float32) / np.float32(crop_cells.SCALE)
    np.testing.assert_array_equal(np.rint(stored.astype(np.float64) * 65535), counts)
    assert stored.min() == 0
    assert stored.max() == 1


def test_tree_is_complete_and_two_files_per_array(tmp_path):
    tracked, raw, background = movie()
    cells = crop(tmp_path, tracked, raw, background)
    names = {name for name, _ in cells.members(max_depth=None)}
    for cell in cells["metadata/cell_ids"][:]:
        for channel in ("pc_ch_0", "fl_ch_1", "fl_background_ch_1", "seg_tracked_ch_0"):
            assert {f"{channel}/{cell}", f"{channel}/{cell}/0", f"{channel}/{cell}/1"} <= names
            for level in "01":
                assert len(list((tmp_path / f"cells.zarr/{channel}/{cell}/{level}").iterdir())) == 2
            full, shown = cells[f"{channel}/{cell}/0"], cells[f"{channel}/{cell}/1"]
            assert shown.dtype == np.uint8
            assert shown.shape == (6, max(1, full.shape[1] // 2), max(1, full.shape[2] // 2))


def test_zip_holds_the_same_tree(tmp_path):
    tracked, raw, background = movie()
    folder = crop(tmp_path / "a", tracked, raw, background)
    zipped = crop(tmp_path / "b", tracked, raw, background, name="cells.zarr.zip")
    members = dict(folder.members(max_depth=None))
    assert set(members) == {name for name, _ in zipped.members(max_depth=None)}
    for name, array in members.items():
        if isinstance(array, zarr.Array):
            np.testing.assert_array_equal(array[:], zipped[name][:])


def test_batches_make_no_difference(tmp_path, monkeypatch):
    tracked, raw, background = movie(n_cells=8)
    crop(tmp_path / "a", tracked, raw, background)
    monkeypatch.setattr(cell_batches, "BATCH_BYTES", 3000)
    crop(tmp_path / "b", tracked, raw, background)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 50
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 200)])
def test_tiny_images(tmp_path, shape):
    tracked = np.ones(shape, np.uint16)
    raw = np.full(shape, 7, np.uint16)
    cells = crop(tmp_path, tracked, raw, raw.astype(np.float32))
    assert cells["pc_ch_0/1/0"].shape == shape
