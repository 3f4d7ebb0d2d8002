"""Reading ND2: loops in any order, gaps, phases, and metadata that lack a part."""

from __future__ import annotations

import re

import numpy as np
import pytest
from movie_tools import assert_planes, nd2_file, pixels, read_all

from celltraces.errors import UserError
from celltraces.readers.movie_file import inspect_movie
from demo import nd2_writer
from demo.nd2_writer import Position


@pytest.mark.parametrize("loops", ["TP", "PT", "TPZ", "PTZ", "ZTP", "TZP", "ZPT", "PZT"])
def test_nd2_loops_in_any_order(tmp_path, loops):
    import nd2

    images = pixels(3, 4, 2, 2 if "Z" in loops else 1)
    path = nd2_file(tmp_path / "a.nd2", images, loops=loops)
    assert_planes(path, images)
    assert inspect_movie(path).fovs[2]["times_min"] == pytest.approx(10 * np.arange(4) + 2 / 60, abs=1e-6)
    with nd2.ND2File(path) as file:
        axes = list(file.sizes)
        theirs = file.asarray()
    ours = images[:, :, :, 0] if "Z" not in loops else images
    np.testing.assert_array_equal(theirs.transpose([axes.index(a) for a in "PTCZYX" if a in axes]), ours)


@pytest.mark.parametrize("loops", ["", "T", "P", "Z", "TP", "PT", "TPZ"])
def test_nd2_axes_of_length_one(tmp_path, loops):
    """An axis of length 1 is left out of the loops or is one of them; nd2 drops it either way."""
    sizes = [4 if loops == axis else 1 for axis in "PT"]
    images = pixels(*sizes, 1, 3 if loops == "Z" else 1)
    assert_planes(nd2_file(tmp_path / "a.nd2", images, loops=loops), images)


def test_nd2_stopped_with_positions_outermost(tmp_path):
    """FOV after FOV: the second was cut short, the third was never begun and is not there."""
    images = pixels(3, 4)
    path = nd2_file(tmp_path / "a.nd2", images, loops="PT", plane=lambda *i: images[i] if i[0] * 4 + i[1] < 6 else None)
    assert_planes(path, images[:2], {(1, t, c, 0) for t in (2, 3) for c in range(2)})


def test_nd2_gap_images_read_as_none(tmp_path):
    """NIS-Elements stores zeros for a channel that skips time points."""
    images = pixels(1, 4)
    path = nd2_file(tmp_path / "a.nd2", images, plane=lambda *i: None if i[2] == 1 and i[1] % 2 else images[i])
    planes = read_all(path)
    for frame in range(4):
        np.testing.assert_array_equal(planes[0, frame, 0, 0], images[0, frame, 0, 0])
        assert (planes[0, frame, 1, 0] is None) == bool(frame % 2)
    assert inspect_movie(path).fovs[0]["missing"] == []


def test_nd2_black_planes_of_a_stack_are_planes(tmp_path):
    images = pixels(1, 1, 2, 3)
    images[0, 0, 1, 0] = 0
    assert_planes(nd2_file(tmp_path / "a.nd2", images), images)


def test_nd2_positions_that_were_switched_off(tmp_path):
    """pItemValid: four points in the list, two were visited."""
    images = pixels(2, 3)
    points = [Position("A", valid=False), Position("B"), Position("", valid=True), Position("D", valid=False)]
    path = nd2_file(tmp_path / "a.nd2", images, positions=points)
    assert [fov["name"] for fov in inspect_movie(path).fovs] == ["B", "FOV 1"]
    assert_planes(path, images)


@pytest.mark.parametrize(("second", "period"), [(60_000.0, None), (600_000.0, 10.0)])
@pytest.mark.parametrize("stamps", [True, False])
def test_nd2_acquisitions_in_phases(tmp_path, second, period, stamps):
    images = pixels(2, 5)
    starts = np.concatenate([[0.0, 600_000.0, 1_200_000.0], 1_200_000.0 + second * np.arange(1, 3)])
    options = {"times_ms": (lambda fov, frame: starts[frame]) if stamps else None}
    path = nd2_file(tmp_path / "a.nd2", images, phases=[(3, 600_000.0), (2, second)], **options)
    movie = inspect_movie(path)
    assert movie.period_min == period
    assert movie.fovs[1]["times_min"] == ((starts / 60_000).tolist() if stamps else None)
    assert_planes(path, images)


@pytest.mark.parametrize(
    ("declared", "measured", "minutes"), [(60_000.0, 90_000.0, 1.0), (0.0, 90_000.0, 1.5), (0.0, 0.0, None)]
)
def test_nd2_period_is_the_declared_one_or_the_measured_one(tmp_path, monkeypatch, declared, measured, minutes):
    period = nd2_writer._period
    monkeypatch.setattr(nd2_writer, "_period", lambda *args: {**period(*args), "dAvgPeriodDiff": measured})
    path = nd2_file(tmp_path / "a.nd2", pixels(1, 3), period_ms=declared)
    assert inspect_movie(path).period_min == minutes


def test_nd2_with_more_frames_than_its_loops_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(nd2_writer, "_experiment", lambda *_: None)
    path = nd2_file(tmp_path / "a.nd2", pixels(1, 3))
    with pytest.raises(UserError, match="holds 3 images, and it has no loops, which say"):
        inspect_movie(path)


def test_nd2_with_more_frames_than_its_loops_say(tmp_path, monkeypatch):
    experiment = nd2_writer._experiment
    fewer = {"P": 2, "T": 2, "Z": 1}
    monkeypatch.setattr(nd2_writer, "_experiment", lambda loops, sizes, *rest: experiment(loops, fewer, *rest))
    with pytest.raises(UserError, match="holds 6 images, and its loops announce 2 time points x 2 positions x 1 Z pl"):
        inspect_movie(nd2_file(tmp_path / "a.nd2", pixels(2, 3)))


@pytest.mark.parametrize("name", ["SLxImageAttributes", "uiWidth", "uiComp", "Points", "SLxExperiment"])
def test_nd2_that_lacks_a_part_of_its_metadata(tmp_path, name):
    """What Python says of it is for programmers."""
    path = nd2_file(tmp_path / "a.nd2", pixels(2, 3))
    name = name.encode("utf-16-le")
    path.write_bytes(path.read_bytes().replace(name, b"Q\0" + name[2:]))
    with pytest.raises(UserError, match="not a readable ND2 file") as caught:
        inspect_movie(path)
    assert not re.search("NoneType|object|attribute|chunkmap|codec|buffer", str(caught.value))


def test_nd2_frames_beyond_the_end_of_the_file_are_missing(tmp_path):
    """The map at the end names a frame that was lost; nd2 gives zeros for it."""
    images = pixels(1, 3, 1)
    path = nd2_file(tmp_path / "a.nd2", images)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"ImageDataSeq|1!") + len(b"ImageDataSeq|1!")
    content[entry : entry + 8] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(content)
    assert_planes(path, images, {(0, 1, 0, 0)})


def test_nd2_compressed_with_loss_is_refused(tmp_path, monkeypatch):
    attributes = nd2_writer._attributes

    def lossy(*args):
        tree = attributes(*args)
        tree["SLxImageAttributes"]["eCompression"] = 1
        return tree

    monkeypatch.setattr(nd2_writer, "_attributes", lossy)
    with pytest.raises(UserError, match="compressed with loss"):
        inspect_movie(nd2_file(tmp_path / "a.nd2", pixels(1, 3)))


def test_nd2_without_any_frame_is_refused(tmp_path):
    path = nd2_file(tmp_path / "a.nd2", pixels(1, 3), plane=lambda *_: None)
    with pytest.raises(UserError, match="it holds no images"):
        inspect_movie(path)
