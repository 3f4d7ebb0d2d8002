"""Display levels and the metadata that makes images.zarr one thing for viewers."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cache_levels
import copy_frames
import index_images
from celltraces.storage import display_level
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import writing

SCALES = {
    "name": "A1",
    "channels": {"0": "Phase", "1": "5-FAM/pH 9.0"},
    "pixel_size_um": 0.65,
    "times_min": [0.0, 10.0, 20.5],
    "times_from": "file time stamps",
    "position_um": [1200.5, -3.0],
}


def write(path, frames, kind=PIXELS, **attributes):
    with writing(path, frames.shape, frames.dtype, kind, attributes=attributes) as append:
        for frame in frames:
            append(frame)


def area_mean(image):
    height, width = (max(n // 2 * 2, 1) for n in image.shape)
    image = image[:height, :width].astype(float)
    blocks = image.reshape(max(height // 2, 1), min(height, 2), max(width // 2, 1), min(width, 2))
    return np.floor(blocks.mean(axis=(1, 3)) + 0.5)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_half_is_the_area_mean(image):
    np.testing.assert_array_equal(display_level.half(image), area_mean(image))
    assert display_level.half_labels(image).shape == display_level.half(image).shape


@given(hnp.arrays(np.uint16, st.integers(1, 300), elements=st.integers(0, 65535)))
def test_limits_are_values_at_the_percentiles(values):
    ordered = np.sort(values)
    limits = display_level.limits(values), display_level.limits(values.astype(np.float32))
    for low, high in (*limits, display_level.limits_of_counts(np.bincount(values, minlength=65536))):
        # Between the neighbouring values of the exact percentile, however it is interpolated.
        for got, share in ((low, 0.01), (high, 0.99)):
            at = share * (len(values) - 1)
            assert ordered[max(int(at) - 1, 0)] <= got <= ordered[min(int(at) + 2, len(values) - 1)]


@given(st.integers(1, 70000))
def test_no_label_becomes_background(highest):
    shown = display_level.labels_to_bytes(np.array([0, 1, highest // 2 + 1, highest]), highest)
    assert shown[0] == 0
    assert (shown[1:] > 0).all()
    assert shown[-1] == 255


def test_level_of_counts_is_scaled_over_the_whole_stack(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frames = rng.integers(1000, 3000, (3, 41, 60), dtype=np.uint16)
    frames[1] += 2000
    frames[2] = 0
    planes = [frames[0], frames[1], None]

    def read(fov, at, channels, z):
        return [planes[at]]

    read.uncovered = lambda fov, at, channel, z: ()
    monkeypatch.setattr(copy_frames, "open_movie", lambda raw, pyme: nullcontext(read))
    copy_frames.copy_frames(
        tmp_path / "raw", [tmp_path / "pc_ch_0/0"], fov=0, channels=[0], shape=frames.shape, planes=[None]
    )
    cache_levels.cache_level(tmp_path / "pc_ch_0/0", tmp_path / "pc_ch_0/1")
    level = zarr.open_array(tmp_path / "pc_ch_0/1", mode="r")
    assert (level.shape, level.dtype) == ((3, 20, 30), np.uint8)
    low, high = np.percentile(frames[:2], [1, 99])
    for frame in range(2):
        shown = np.clip((frames[frame] - low) / (high - low), 0, 1) * 255
        assert np.abs(area_mean(shown) - level[frame]).max() <= 2


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_level_of_labels_keeps_every_label(tmp_path, dtype):
    frames = np.zeros((2, 20, 20), dtype)
    frames[0, 4:10, 4:10], frames[1, 4:10, 4:10] = 1, 60000
    write(tmp_path / "seg_tracked_ch_0/0", frames, LABELS, display_limits=[0, 60000])
    cache_levels.cache_level(tmp_path / "seg_tracked_ch_0/0", tmp_path / "seg_tracked_ch_0/1")
    level = zarr.open_array(tmp_path / "seg_tracked_ch_0/1", mode="r")[:]
    assert [sorted(np.unique(frame)) for frame in level] == [[0, 1], [0, 255]]
    np.testing.assert_array_equal(level > 0, frames[:, ::2, ::2] > 0)


def test_level_of_backgrounds(tmp_path):
    ramp = np.linspace(300, 1400, 40, dtype=np.float32)
    frames = np.broadcast_to(ramp, (2, 30, 40)).copy()
    limits = display_level.limits_of_smooth(np.bincount(display_level.sample_smooth(frames[0])))
    write(tmp_path / "fl_background_ch_1/0", frames, display_limits=limits)
    cache_levels.cache_level(tmp_path / "fl_background_ch_1/0", tmp_path / "fl_background_ch_1/1")
    level = zarr.open_array(tmp_path / "fl_background_ch_1/1", mode="r")[:]
    expected = np.clip((ramp - np.percentile(frames, 1)) / np.ptp(np.percentile(frames, [1, 99])), 0, 1) * 255
    assert np.abs(level[1, 3].astype(float) - area_mean(np.tile(expected, (2, 1)))[0]).max() <= 4


def test_chunks_are_tiles_of_one_frame(tmp_path):
    write(tmp_path / "pc_ch_0/0", np.zeros((2, 700, 620), np.uint16), display_limits=[0, 0])
    cache_levels.cache_level(tmp_path / "pc_ch_0/0", tmp_path / "pc_ch_0/1")
    array = zarr.open_array(tmp_path / "pc_ch_0/1", mode="r")
    assert array.chunks == (1, 256, 256)
    assert array.shape == (2, 350, 310)
    compressor = json.loads((tmp_path / "pc_ch_0/1/zarr.json").read_text())["codecs"][0]["configuration"]["codecs"][1]
    assert compressor["configuration"]["cname"] == "lz4"


def test_a_channel_that_fails_costs_only_its_display_level(tmp_path, caplog):
    write(tmp_path / "pc_ch_0/0", np.ones((2, 8, 8), np.uint16), display_limits=[1, 1])
    names = ("fl_ch_1", "pc_ch_0")
    cache_levels.main([str(tmp_path / f"{n}/0") for n in names], [str(tmp_path / f"{n}/1") for n in names])
    assert "missing" in zarr.open_array(tmp_path / "fl_ch_1/1", mode="r").attrs["failed"]
    assert zarr.open_array(tmp_path / "pc_ch_0/1", mode="r").shape == (2, 4, 4)
    assert "fl_ch_1: no display level" in caplog.text


@settings(max_examples=10, deadline=None)
@given(
    pixel=st.sampled_from([None, 0.65]),
    times=st.sampled_from([[0.0], [25.0], [0.0, 10.0], [0.0, 1.0, 9.0], [25.0, 26.0, 34.0]]),
    name=st.sampled_from(["pc_ch_0", "fl_ch_1", "seg_labeled_ch_0", "fl_background_ch_1"]),
)
def test_metadata_is_valid_ome_ngff(tmp_path_factory, pixel, times, name):
    from ome_zarr_models.v05.image import Image
    from ome_zarr_models.v05.image_label import ImageLabel

    folder = tmp_path_factory.mktemp("images")
    is_labels = name.startswith("seg_")
    frames = np.zeros((len(times), 8, 9), np.float32 if "background" in name else np.uint16)
    write(folder / f"images.zarr/{name}/0", frames)
    scales = {**SCALES, "pixel_size_um": pixel, "times_min": times}
    index_images.main(str(folder / "images.zarr/zarr.json"), [str(folder / f"images.zarr/{name}/zarr.json")], scales)
    root = zarr.open_group(folder / "images.zarr", mode="r")
    group = root[name]
    image = (ImageLabel if is_labels else Image).from_zarr(group)
    (multiscale,) = image.attributes.ome.multiscales
    assert [axis.name for axis in multiscale.axes] == ["t", "y", "x"]
    scale, *further = multiscale.datasets[0].coordinateTransformations
    scale = scale.scale
    assert [list(each.translation) for each in further] == ([[times[0], 0, 0]] if times[0] else [])
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1
    assert list(scale) == [step, pixel or 1, pixel or 1]
    assert root.attrs["times_min"] == times
    np.testing.assert_array_equal(root[f"{name}/0"][:], frames)
    if is_labels:
        assert group.attrs["ome"]["image-label"] == {"source": {"image": "../pc_ch_0"}}
