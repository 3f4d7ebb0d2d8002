"""Parts of a frame that were taken from another image are found, and images that are alike by nature are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import copy_frames
from celltraces.frames import repeats
from celltraces.results.quality import check_duplicates
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

SHAPE = (70, 90)


def noise(level, n=8, seed=0):
    """(n, H, W) uint16 as a camera gives them."""
    return np.random.default_rng(seed).poisson(level, (n, *SHAPE)).astype(np.uint16)


def shares(*channels):
    """What is seen of channels (T, H, W) that are taken in turn: (T, number of channels, 2)."""
    look = repeats.watcher()
    return np.array(
        [
            [look(at, image, np.bincount(image.ravel())) for at, image in enumerate(images)]
            for images in zip(*channels, strict=True)
        ]
    )


@settings(max_examples=15)
@given(
    st.sampled_from([20, 200, 30000]), st.integers(0, 60), st.integers(1, 70), st.integers(0, 30), st.integers(40, 90)
)
def test_a_part_that_is_as_before(level, top, height, left, width):
    """The share is that of the part, but for two runs at either end of each row: one of two is looked at."""
    frames = noise(level)
    part = np.s_[top : top + height, left : left + width]
    frames[4][part] = frames[3][part]
    seen = shares(frames)
    size = frames[4][part].size
    n_rows = len(frames[4][part])
    assert (seen[[0, 1, 2, 3, 5, 6, 7]] == 0).all()
    assert abs(seen[4, 0, 0] * frames[4].size - size) <= n_rows * 4 * repeats.RUN
    if width >= 4 * repeats.RUN and left + width <= SHAPE[1]:
        assert seen[4, 0, 0] > 0


@pytest.mark.parametrize("level", [3, 200])
def test_a_channel_that_holds_another(level):
    first, second = noise(level), noise(level, seed=1)
    second[4, :35] = first[4, :35]  # what was exposed before it
    first[6, 35:] = second[5, 35:]
    seen = shares(first, second)
    for share in (seen[4, 1], seen[6, 0]):
        # of 3 counts most runs are so usual that they may be the same by chance
        assert share[0] == 0
        assert 0.48 * (1 if level > 3 else 0.1) < share[1] <= 0.52
    assert np.count_nonzero(seen) == 2


@pytest.mark.parametrize("zeros", [0.5, 0.9, 0.999])
def test_what_is_alike_by_nature(zeros):
    """Single photons, blank borders, pixels that are saturated: in the same places in all frames."""
    frames = noise(-np.log(zeros))
    frames[:, :, :30] = 0
    frames[:, 20:40, 40:75] = 4095
    assert not shares(frames).any()


@pytest.mark.parametrize("back", [2, 5, 7])
@pytest.mark.parametrize("level", [20, 200])
def test_a_part_of_a_frame_farther_back(level, back):
    """A ring of buffers gives an image of some frames ago; about the share of the part is told, in that frame alone."""
    frames = noise(level, n=10)
    frames[8, 20:] = frames[8 - back, 20:]
    seen = shares(frames)
    assert seen[8, 0, 0] == pytest.approx(50 / 70, abs=0.05)
    assert np.count_nonzero(seen) == 1


def texture():
    """(H, W) float with a standard deviation of 1, smooth over some pixels: a phase-contrast picture."""
    picture = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=SHAPE), 2)
    return picture / picture.std()


@pytest.mark.parametrize("spread", [0.2, 0.3, 0.4, 0.5, 0.7])
@pytest.mark.parametrize("averaged", [False, True])
def test_still_things_with_less_noise_than_a_count_are_alike_by_chance(spread, averaged):
    """8-bit pictures, and averages of many, each with noise of its own; also where few frames have such a run."""
    rng = np.random.default_rng(1)
    still = 120 + 25 * texture()
    noises = rng.normal(0, spread, (30, *SHAPE))
    if averaged:
        noises = ndimage.gaussian_filter(noises, (0, 4, 4)) * 14
    frames = np.rint(still + noises).clip(0, 255).astype(np.uint16)
    assert not shares(frames).any()
    frames[20, :35] = frames[19, :35]
    frames[25, :35] = frames[20, :35]
    seen = shares(frames)[:, 0, 0]
    assert seen[[20, 25]] == pytest.approx(0.5, abs=0.05)
    assert np.count_nonzero(seen) == 2


def written(tmp_path, frames, name="fl_ch_1"):
    seen = [(at, *both) for at, both in enumerate(shares(frames)[:, 0].tolist()) if any(both)]
    path = tmp_path / name / "0"
    with writing(path, frames.shape, np.uint16, PIXELS, attributes={repeats.ATTRIBUTE: seen}) as append:
        for frame in frames:
            append(frame)
    return open_frames(path)


def rows(fov, array, others=None):
    found = check_duplicates(fov, array, range(array.shape[0]), others)
    return [(row.frame, row.check, row.value) for row in found]


def test_the_check_has_a_row_for_each_frame(tmp_path):
    frames = noise(200)
    frames[4, 35:] = frames[3, 35:]
    frames[6] = frames[5]
    found = rows(0, written(tmp_path, frames))
    assert found == [(6, "duplicate_fl_ch_1", 5), (4, "repeated_fl_ch_1", pytest.approx(0.5, abs=0.02))]


def test_a_movie_without_noise_repeats_itself(tmp_path):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    still = 100 + x + y
    frames = np.array([still + 50 * ((x - 10 * at) ** 2 + (y - 30) ** 2 < 90) for at in range(8)]).astype(np.uint16)
    array = written(tmp_path, frames)
    assert len(array.attributes[repeats.ATTRIBUTE]) == 7
    assert rows(0, array) == []


def test_frames_of_another_fov(tmp_path):
    first, second = noise(200), noise(200, seed=1)
    second[3] = first[3]
    seen: dict[bytes, int] = {}
    assert rows(0, written(tmp_path / "0", first), seen) == []
    assert rows(1, written(tmp_path / "1", second), seen) == [(3, "duplicate_fov_fl_ch_1", 0)]
    assert rows(2, written(tmp_path / "2", first), seen) == [(None, "duplicate_fov_fl_ch_1", 0)]


def test_the_copy_stage_looks(tmp_path, monkeypatch):
    """At what was read, in the order of the channels; a channel that is another one throughout is one row."""
    from contextlib import contextmanager

    phase, light = noise(5000), noise(300, seed=1)
    light[5, :35] = light[4, :35]

    @contextmanager
    def open_movie(*_):
        def read(fov, frame, channels, plane):
            return [(phase, light, light)[channel][frame] for channel in channels]

        read.uncovered = lambda fov, frame, channel, plane: ()
        yield read

    monkeypatch.setattr(copy_frames, "open_movie", open_movie)
    outputs = [tmp_path / name / "0" for name in ("pc_ch_0", "fl_ch_1", "fl_ch_2")]
    copy_frames.copy_frames(tmp_path / "x.nd2", outputs, fov=0, channels=[0, 1, 2], shape=(8, *SHAPE), planes=[None])
    arrays = [open_frames(output) for output in outputs]
    assert repeats.ATTRIBUTE not in arrays[0].attributes
    half, whole = pytest.approx(0.5, abs=0.02), pytest.approx(1, abs=0.02)
    assert rows(0, arrays[1]) == [(5, "repeated_fl_ch_1", half)]
    assert rows(0, arrays[2]) == [(None, "repeated_fl_ch_2", whole), (5, "repeated_fl_ch_2", half)]
