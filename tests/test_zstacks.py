"""The highest value over z planes: a frame that lacks one of them is missing, and a home plane is all there is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import copy_frames
from celltraces.frames import z_stacks
from celltraces.results.quality import check_stacks
from celltraces.storage.frames import open_frames
from demo.czi_writer import write_czi
from demo.nd2_writer import Channel, write_nd2

HEIGHT, WIDTH = 24, 32
N_FRAMES, N_Z, FOCUS = 5, 5, 2


def images(n_fovs=1, n_channels=2, n_frames=N_FRAMES, lowest=100, seed=0) -> np.ndarray:
    """(P, T, C, Z, H, W) uint16; the light is in plane FOCUS."""
    shape = (n_fovs, n_frames, n_channels, N_Z, HEIGHT, WIDTH)
    noise = np.random.default_rng(seed).integers(lowest, lowest + 50, shape)
    noise[:, :, :, FOCUS] += 1000
    return noise.astype(np.uint16)


def copied(folder, suffix, stacks, gone=(), planes=range(N_Z)):
    """Arrays of each FOV and channel, of a file without the planes for which gone(fov, frame, channel, z)."""
    n_fovs, n_frames, n_channels = stacks.shape[:3]
    path = folder / f"movie{suffix}"

    def plane(*index):
        return None if gone and gone(*index) else stacks[index]

    sizes = {"n_fovs": n_fovs, "n_frames": n_frames, "n_z": N_Z, "width": WIDTH}
    names = [f"c{channel}" for channel in range(n_channels)]
    if suffix == ".czi":
        write_czi(path, plane, **sizes, channels=names)
    else:
        write_nd2(path, plane, **sizes, height=HEIGHT, channels=[Channel(name) for name in names], loops="TPZ")
    shape = (n_frames, HEIGHT, WIDTH)
    found = {}
    for fov in range(n_fovs):
        outputs = [folder / f"fov_{fov}/fl_ch_{channel}/0" for channel in range(n_channels)]
        copy_frames.copy_frames(path, outputs, fov=fov, channels=range(n_channels), shape=shape, planes=list(planes))
        found |= {(fov, channel): open_frames(output) for channel, output in enumerate(outputs)}
    return found


def assert_copied(array, expected, missing):
    """`array` is the highest value of `expected` (T, Z, H, W), and zero in the `missing` frames."""
    assert array.attributes["missing_frames"] == sorted(missing)
    for frame, planes in enumerate(expected):
        wanted = np.zeros_like(planes[0]) if frame in missing else planes.max(axis=0)
        np.testing.assert_array_equal(array.read(frame), wanted)


BOTH = pytest.mark.parametrize("suffix", [".czi", ".nd2"])


@BOTH
def test_whole_stacks(tmp_path, suffix):
    stacks = images()
    for (fov, channel), array in copied(tmp_path, suffix, stacks).items():
        assert_copied(array, stacks[fov, :, channel], set())
        assert array.attributes["z_planes"] == [0, 1, 2, 3, 4]


@BOTH
@pytest.mark.parametrize("z", [0, FOCUS, N_Z - 1])
@pytest.mark.parametrize("frames", [{3}, {0}, {0, 1}, {N_FRAMES - 1}, {1, 2, 3, 4}])
def test_a_plane_that_is_missing(tmp_path, suffix, z, frames):
    """In one channel of the CZI; the ND2 stores zeros for it, which no camera gives."""
    stacks = images()
    arrays = copied(tmp_path, suffix, stacks, lambda f, t, c, plane: c == 1 and t in frames and plane == z)
    assert_copied(arrays[0, 0], stacks[0, :, 0], set())
    assert_copied(arrays[0, 1], stacks[0, :, 1], frames)


@BOTH
def test_a_frame_that_lacks_a_plane_in_all_channels(tmp_path, suffix):
    stacks = images()
    arrays = copied(tmp_path, suffix, stacks, lambda f, t, c, z: t == 1 and z == FOCUS)
    for channel in range(2):
        assert_copied(arrays[0, channel], stacks[0, :, channel], {1})


@BOTH
def test_a_plane_that_one_frame_alone_lacks_in_the_middle_of_its_stack(tmp_path, suffix):
    """Movies of a single frame: no other frame says that the plane belongs there."""
    stacks = images(n_frames=1)
    arrays = copied(tmp_path, suffix, stacks, lambda f, t, c, z: c == 1 and z == FOCUS)
    assert_copied(arrays[0, 0], stacks[0, :, 0], set())
    assert_copied(arrays[0, 1], stacks[0, :, 1], {0})


@BOTH
def test_home_planes_that_differ_by_channel_and_scene(tmp_path, suffix):
    stacks = images(n_fovs=2, n_channels=3)

    def gone(fov, frame, channel, z):
        home = FOCUS + fov - (channel == 2)
        return channel > 0 and z != home

    arrays = copied(tmp_path, suffix, stacks, gone)
    for (fov, channel), array in arrays.items():
        there = [z for z in range(N_Z) if not gone(fov, 0, channel, z)]
        assert_copied(array, stacks[fov, :, channel][:, there], set())
        assert array.attributes["z_planes"] == there
    by_channel = [{fov: arrays[fov, channel] for fov in range(2)} for channel in range(3)]
    assert [list(check_stacks(of_channel)) for of_channel in by_channel] == [[], [], []]


@BOTH
def test_a_home_plane_that_is_missing_in_some_frames(tmp_path, suffix):
    stacks = images()
    arrays = copied(tmp_path, suffix, stacks, lambda f, t, c, z: c == 1 and (z != FOCUS or t in (0, 3)))
    assert_copied(arrays[0, 1], stacks[0, :, 1, [FOCUS]].swapaxes(0, 1), {0, 3})


@BOTH
def test_every_second_plane(tmp_path, suffix):
    stacks = images()
    arrays = copied(tmp_path, suffix, stacks, lambda f, t, c, z: c == 1 and (z % 2 or (t, z) == (4, 4)))
    assert_copied(arrays[0, 1], stacks[0, :, 1, ::2], {4})


def test_a_scene_with_fewer_planes_is_a_finding(tmp_path):
    stacks = images(n_fovs=3)
    arrays = copied(tmp_path, ".czi", stacks, lambda f, t, c, z: f == 1 and z > 2)
    assert_copied(arrays[1, 1], stacks[1, :, 1, :3], set())
    rows = list(check_stacks({fov: arrays[fov, 1] for fov in range(3)}))
    assert [(row.fov, row.frame, row.check, row.value, row.limit) for row in rows] == [
        (1, None, "z_planes_fl_ch_1", 3, 5)
    ]


def test_dark_planes_of_detectors_that_count_photons(tmp_path):
    """The outer planes may be 0 in some frames."""
    stacks = np.where(images(lowest=0) > 30, images(lowest=0), 0).astype(np.uint16)
    stacks[:, ::2, :, 0] = 0
    stacks[:, 1:, :, -1] = 0
    for (fov, channel), array in copied(tmp_path, ".nd2", stacks).items():
        assert_copied(array, stacks[fov, :, channel], set())


def test_one_plane_alone_is_copied_as_it_is(tmp_path):
    stacks = images()
    arrays = copied(tmp_path, ".czi", stacks, lambda f, t, c, z: (t, z) == (2, 4), planes=[FOCUS])
    assert_copied(arrays[0, 1], stacks[0, :, 1, [FOCUS]].swapaxes(0, 1), set())
    assert "z_planes" not in arrays[0, 1].attributes


@given(st.data(), st.integers(1, 8), st.integers(2, 7))
def test_frames_with_any_planes_missing(data, n_frames, n_z):
    """One frame has all planes: complete are those that have all, whichever the others lack."""
    there = np.array([[data.draw(st.booleans()) for _ in range(n_z)] for _ in range(n_frames)])
    there[data.draw(st.integers(0, n_frames - 1))] = True
    states = np.where(there, z_stacks.LIT, z_stacks.ABSENT)
    np.testing.assert_array_equal(z_stacks.incomplete(states), ~there.all(axis=1))
    zeros = np.where(there, z_stacks.LIT, z_stacks.BLACK)
    np.testing.assert_array_equal(z_stacks.incomplete(zeros), ~there.all(axis=1))


def test_states_of_planes():
    planes = [None, np.zeros((2, 2), np.uint16), np.array([[0, 3]], np.uint16), np.array([[1, 3]], np.uint16)]
    assert [z_stacks.state_of(plane) for plane in planes] == [-1, 0, 1, 2]
