"""playNano's bundles and GIFs: what is in them, without the program (tests/peers asks the program itself)."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tifffile
from formats_tools import Stack, images_for, movies_of_cells, read_playnano, stack_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from celltraces.errors import UserError
from celltraces.exports import fov, gif, playnano
from celltraces.pictures import draw

SETTINGS = {
    "channels": {"0": "Phase", "1": "GFP"},
    "pixel_size_um": 0.65,
    "times_min": [0.0, 10.0, 20.5, 40.0],
    "steps": {name: {"setting_of": name} for name in ("segment", "track", "background")},
    "source": "abc",
}


class Named(Stack):
    """A stack that knows where it would lie."""

    def at(self, path):
        self.path = path
        return self


def fov_of(shape, masks, tmp_path, **changes):
    labels = stack_of(shape, masks)
    rng = np.random.default_rng(1)
    earlier = {
        "seg_labeled_ch_0": Stack((labels.array > 0).astype(np.uint16)),
        "fl_background_ch_1": Stack(rng.normal(size=shape).astype(np.float32)),
    }
    final = Named(labels.array, labels.attributes).at(tmp_path / "seg_tracked_ch_0/0")
    times = SETTINGS["times_min"][: shape[0]]
    return fov.Fov("f", images_for(shape), final, earlier, settings={**SETTINGS, "times_min": times, **changes})


@settings(max_examples=20, deadline=None)
@given(movies_of_cells(), st.sampled_from(["npz", "h5"]))
def test_bundles_come_back(tmp_path_factory, movie, kind):
    shape, masks = movie
    folder = tmp_path_factory.mktemp("playnano")
    content = fov_of(shape, masks, folder)
    paths = [folder / f"{name}.{kind}" for name in content.channels]
    playnano.export(content, paths)
    for path, (name, image) in zip(paths, content.channels.items(), strict=True):
        if kind == "npz":
            arrays, provenance, metadata, layers = read_playnano(path)
            data = arrays["data"]
            assert float(arrays["pixel_size_nm"]) == 650
            assert str(arrays["channel"]) == name
        else:
            with h5py.File(path) as file:
                data = file["data"][:]
                layers = {key: file[group][key][:] for group in ("processed", "masks") for key in file[group]}
                provenance, metadata = (json.loads(file[key][()]) for key in ("provenance_json", "frame_metadata_json"))
                assert file.attrs["pixel_size_nm"] == 650
        expected = {"raw": image.array, "step_2_tracking": content.labels.array}
        expected["step_1_segmentation"] = content.labels.array > 0
        if name == "fl_ch_1":
            expected["step_3_background"] = content.earlier["fl_background_ch_1"].array
        assert layers.keys() == expected.keys()
        assert data.dtype == np.float32
        np.testing.assert_array_equal(data, image.array)
        for key, array in expected.items():
            assert layers[key].dtype == (bool if key == "step_1_segmentation" else np.float32)
            np.testing.assert_array_equal(layers[key], array)
        assert [entry["timestamp"] for entry in metadata] == [60 * t for t in content.settings["times_min"]]
        steps = provenance["processing"]["steps"]
        assert [step["index"] for step in steps] == list(range(1, len(steps) + 1))
        assert {step.get("mask_key", step.get("processed_key")) for step in steps} == layers.keys() - {"raw"}
        assert steps[0]["params"] == {"setting_of": "segment"}


def test_nothing_in_a_bundle_is_pickled_and_bytes_repeat(tmp_path):
    for name in ("a", "b"):
        content = fov_of((3, 6, 7), {4: np.ones((3, 6, 7), bool)}, tmp_path)
        (tmp_path / name).mkdir()
        playnano.export(content, [tmp_path / name / f"{c}.{s}" for c, s in (("pc_ch_0", "npz"), ("fl_ch_1", "h5"))])
    for name in ("pc_ch_0.npz", "fl_ch_1.h5"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with np.load(tmp_path / "a/pc_ch_0.npz", allow_pickle=False) as content:
        assert all(content[name].dtype != object for name in content.files)


def test_the_tiff_has_provenance_and_seconds(tmp_path):
    playnano.export(fov_of((3, 6, 7), {}, tmp_path), [tmp_path / f"{name}.ome.tif" for name in ("pc_ch_0", "fl_ch_1")])
    with tifffile.TiffFile(tmp_path / "fl_ch_1.ome.tif") as file:
        assert (file.asarray().dtype, file.asarray().shape) == (np.float32, (3, 6, 7))
        assert json.loads(file.pages[0].tags[65000].value)["processing"]["keys_by_name"]["background"]
        assert json.loads(file.pages[0].tags[65001].value) == ["raw", "step_2_tracking", "step_3_background"]
        assert 'DeltaT="600.0"' in file.ome_metadata
        assert 'TimeIncrement="615.0"' in file.ome_metadata


@pytest.mark.parametrize(
    ("shape", "changes", "labels", "suffix", "words"),
    [
        ((3, 4, 5), {"pixel_size_um": None}, 1, "npz", "set params.pixel_size_um"),
        ((1, 4, 5), {}, 1, "ome.tif", "one frame, which playNano does not read"),
        ((3, 4, 5), {}, 1 << 25, "h5", "float32 is exact up to 16777216"),
    ],
)
def test_what_the_program_would_get_wrong_is_refused(tmp_path, shape, changes, labels, suffix, words):
    content = fov_of(shape, {}, tmp_path, **changes)
    content.labels.array = np.full(shape, labels, np.uint32)
    with pytest.raises(UserError, match=words):
        playnano.export(content, [tmp_path / f"{name}.{suffix}" for name in content.channels])
    assert not list(tmp_path.glob(f"*.{suffix}"))


# ---------------------------------------------------------------------------------------------------------------- GIF

LOOK = {"pixel_size_um": 0.65, "gif_fps": 5, "gif_scale_bar_um": None}


def frames_of(path):
    with Image.open(path) as movie:
        return [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(movie)], movie.info


@pytest.mark.parametrize("value", [0, 700])
def test_a_constant_movie_is_black_with_its_times(tmp_path, value):
    stack = Stack(np.full((3, 40, 60), value, np.uint16))
    gif.write_gif(tmp_path / "m.gif", stack, None, "pc_ch_0", times_min=[0, 5, 10], **LOOK)
    pictures, info = frames_of(tmp_path / "m.gif")
    assert len(pictures) == 3
    assert info["duration"] == 200
    for picture in pictures:
        assert picture.shape == (512, 768, 3)
        assert picture[100:400].max() <= 8
        assert picture[:40].max() > 200  # the time
    assert np.abs(pictures[0][:40] - pictures[1][:40]).max() > 200


def test_memory_does_not_grow_with_the_movie(tmp_path):
    """A frame more is a frame in memory no longer: 60 against 12, of 300 kB each when they are encoded."""
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from celltraces.exports import gif
from formats_tools import Stack
class Noise(Stack):
    def read(self, t):
        return np.random.default_rng(t).integers(0, 60000, self.shape[1:], dtype=np.uint16)
n = int(sys.argv[1])
look = {"pixel_size_um": 0.65, "gif_fps": 5, "gif_scale_bar_um": None}
stack = Noise(np.broadcast_to(np.uint16(0), (n, 512, 512)))
gif.write_gif(Path(sys.argv[2]), stack, None, "fl_ch_1", times_min=list(range(n)), **look)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    used = {}
    for n in (12, 60):
        command = [sys.executable, "-c", program, str(n), str(tmp_path / "m.gif")]
        done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, check=True)
        used[n] = int(done.stdout) / 1024
    size = (tmp_path / "m.gif").stat().st_size / 2**20
    assert size > 15  # MB, all frames together
    assert used[60] - used[12] < size / 4


def test_dark_to_bright_and_the_bar(tmp_path):
    """A step from 100 to 900: left dark, right bright; the bar of 100 px is 100 px long."""
    image = np.full((2, 600, 800), 100, np.uint16)
    image[:, :, 400:] = 900
    gif.write_gif(
        tmp_path / "m.gif", Stack(image), None, "pc_ch_0", times_min=[0, 5], **LOOK | {"gif_scale_bar_um": 65}
    )
    first = frames_of(tmp_path / "m.gif")[0][0]
    assert first.shape == (600, 800, 3)
    assert first[200:400, :390].max() < 20
    assert first[200:400, 410:].min() > 235
    row = first[int(600 - 22 * 600 / 512) + 2, :390]
    assert np.flatnonzero(row.min(axis=1) > 200).size == pytest.approx(101, abs=2)


@pytest.mark.parametrize(
    ("wanted", "pixel", "width", "bar"),
    [
        (None, 0.65, 800, (round(100 / 0.65), "100 µm")),
        (None, 0.001, 100, (20, "20 nm")),
        (20, 0.5, 100, (40, "20 µm")),
        (50, 0.5, 100, None),  # as wide as the frame
        (0, 0.5, 100, None),
        (None, None, 100, None),
    ],
)
def test_scale_bar(wanted, pixel, width, bar):
    assert draw.scale_bar(pixel, width, wanted) == bar


def test_outlines_stand_around_the_cells(tmp_path):
    masks = {7: np.zeros((1, 512, 512), bool)}
    masks[7][0, 100:200, 150:300] = True
    stack = Stack(np.zeros((1, 512, 512), np.uint16))
    gif.write_gif(tmp_path / "m.gif", stack, stack_of((1, 512, 512), masks), "pc_ch_0", times_min=[0], **LOOK)
    first = frames_of(tmp_path / "m.gif")[0][0]
    cyan = (first[..., 0] < 80) & (first[..., 1] > 180) & (first[..., 2] > 180)
    y, x = np.nonzero(cyan[:, :302])
    assert (y.min(), y.max() + 1, x.min(), x.max() + 1) == pytest.approx((100, 200, 150, 300), abs=2)
    assert not cyan[110:190, 160:290].any()
