"""Movement of the stage: jumps are found whatever their size and direction, drift is measured, the rest is neither."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import copy_frames
from celltraces.frames import displacement, stage_movement
from celltraces.paths import fl, pc
from celltraces.results.quality import check_stage
from celltraces.storage.frames import open_frames
from demo.simulate import simulate

SIZE, LIMIT = 384, 5.0


@cache
def sea(n_cells, n_frames=8):
    """Frames larger than what is seen of them, 768 x 768; about a quarter of the cells are seen at a time."""
    experiment = simulate(n_fovs=1, n_frames=36, height=768, width=768, n_cells=n_cells, seed=4)
    return [experiment.plane(0, frame, 0) for frame in range(10, 10 + n_frames)]


def seen(images, steps, dust=0):
    """What a stage shows that moves by `steps` {frame: (y, x)}: (T, SIZE, SIZE), with bright dust that stays fixed."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE]
    on_camera = np.zeros((SIZE, SIZE))
    for _ in range(dust):
        at_y, at_x, radius = rng.integers(20, SIZE - 20), rng.integers(20, SIZE - 20), rng.integers(3, 7)
        on_camera[(y - at_y) ** 2 + (x - at_x) ** 2 <= radius**2] = 20000
    place, frames = np.array([192, 192]), []
    for frame, image in enumerate(images):
        place = place - steps.get(frame, (0, 0))
        assert (place >= 0).all()
        assert (place <= 768 - SIZE).all()
        frames.append(np.maximum(image[place[0] : place[0] + SIZE, place[1] : place[1] + SIZE], on_camera))
    return np.array(frames, np.uint16)


def measured(frames):
    follow = displacement.follower()
    rows = [follow(at, frame) for at, frame in enumerate(frames)]
    return {name: [row[name] for row in rows] for name in stage_movement.NAMES}


JUMPS = [(-35, 0), (0, 7), (6, -6), (25, 31), (-120, 80), (0, 192), (-192, 0), (190, -185)]


@pytest.mark.parametrize("n_cells", [40, 120])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_is_found_whatever_its_size_and_direction(n_cells, jump):
    found = measured(seen(sea(n_cells), {4: jump}))
    np.testing.assert_allclose(stage_movement.displacements(found)[4], jump, atol=1.5)
    assert [frame for frame, _ in stage_movement.jumps(found, LIMIT)] == [4]
    others = np.delete(stage_movement.displacements(found), [0, 4], axis=0)
    assert np.abs(others).max() < 1.5


@pytest.mark.parametrize("steps", [{1: (20, 0)}, {7: (0, -40)}, {3: (30, 30), 4: (-30, -30)}, {2: (9, 0), 6: (0, 60)}])
def test_several_and_at_the_ends(steps):
    found = stage_movement.jumps(measured(seen(sea(60), steps)), LIMIT)
    assert {frame: round(size / np.hypot(*steps[frame]), 1) for frame, size in found} == dict.fromkeys(steps, 1.0)


@pytest.mark.parametrize("drift", [(0, 0), (3, -2), (0, 8), (-12, 5)])
def test_drift_is_measured_and_no_jump(drift):
    found = measured(seen(sea(60), dict.fromkeys(range(1, 8), drift)))
    np.testing.assert_allclose(stage_movement.displacements(found)[1:], [drift] * 7, atol=1.5)
    assert stage_movement.jumps(found, LIMIT) == []
    jumping = measured(seen(sea(60), dict.fromkeys(range(1, 8), drift) | {4: (drift[0], drift[1] + 40)}))
    assert [(frame, round(size / 40, 1)) for frame, size in stage_movement.jumps(jumping, LIMIT)] == [(4, 1.0)]


@pytest.mark.parametrize("n_cells", [4, 10])
def test_movies_with_few_cells(n_cells):
    assert stage_movement.jumps(measured(seen(sea(n_cells), {})), LIMIT) == []
    found = stage_movement.jumps(measured(seen(sea(n_cells), {4: (-35, 20)})), LIMIT)
    assert [frame for frame, _ in found] == [4]
    assert found[0][1] == pytest.approx(np.hypot(35, 20), abs=5)


@pytest.mark.parametrize("dust", [3, 10])
@pytest.mark.parametrize("jump", [(-35, 0), (20, 25), (60, -90)])
def test_dust_that_stays_hides_no_jump(dust, jump):
    assert stage_movement.jumps(measured(seen(sea(100), {}, dust)), LIMIT) == []
    found = measured(seen(sea(100), {4: jump}, dust))
    assert [frame for frame, _ in stage_movement.jumps(found, LIMIT)] == [4]
    np.testing.assert_allclose(stage_movement.displacements(found)[4], jump, atol=1.5)


def test_one_cell_that_moves_while_others_stay_is_no_jump():
    frames = seen(sea(60), {})
    base = frames[0].astype(float)
    rng = np.random.default_rng(0)
    moving = []
    for at in range(8):
        image = base + rng.normal(0, 50, base.shape)
        image[180:200, 20 + 40 * at : 40 + 40 * at] += 1500 * rng.standard_normal((20, 20))
        moving.append(image.clip(0).astype(np.uint16))
    assert stage_movement.jumps(measured(moving), LIMIT) == []


@pytest.mark.parametrize("kind", ["noise", "flat", "shaded"])
def test_where_there_is_no_structure_nothing_is_measured(kind):
    rng = np.random.default_rng(0)
    frames = np.full((6, 300, 400), 700, np.uint16)
    if kind == "shaded":
        y, x = np.mgrid[:300, :400]
        frames = (3000 - 0.01 * ((y - 150) ** 2 + (x - 200) ** 2)).astype(np.uint16)[None].repeat(6, axis=0)
    if kind != "flat":
        frames = rng.poisson(frames).astype(np.uint16)
    found = measured(frames)
    assert stage_movement.jumps(found, LIMIT) == []
    moved = stage_movement.displacements(found)
    assert np.nan_to_num(moved).max() < 1


def test_frames_that_are_missing_or_blank_or_out_of_focus_are_passed_over():
    from scipy.ndimage import gaussian_filter

    frames = list(seen(sea(60), {5: (30, -20)}))
    frames[2], frames[3] = None, np.zeros_like(frames[0])
    found = measured(frames)
    assert (found["y"][2], found["y"][3], found["since"][4]) == (None, None, 1)
    assert [frame for frame, _ in stage_movement.jumps(found, LIMIT)] == [5]
    frames[5] = gaussian_filter(frames[5].astype(float), 9).astype(np.uint16)
    found = measured(frames)  # the jump is seen there, or one frame later
    assert [frame in (5, 6) for frame, _ in stage_movement.jumps(found, LIMIT)] == [True]
    np.testing.assert_allclose(np.nansum(stage_movement.displacements(found), axis=0), (30, -20), atol=3)


def test_another_place_is_a_jump_without_a_size():
    frames = [*seen(sea(60)[:4], {}), *seen(sea(61)[4:], {})]
    assert stage_movement.jumps(measured(frames), LIMIT) == [(4, None)]


def test_another_place_after_the_first_frame():
    """In phase contrast; in fluorescence the first frame may show nothing that the others do."""
    found = measured([*seen(sea(60)[:1], {}), *seen(sea(63)[1:], {})])
    assert stage_movement.jumps(found, LIMIT, phase_contrast=True) == [(1, None)]
    assert stage_movement.jumps(found, LIMIT) == []
    missing = measured([None, *seen(sea(63)[1:], {})])
    assert stage_movement.jumps(missing, LIMIT, phase_contrast=True) == []


@pytest.mark.parametrize(
    ("moved", "found"),
    [
        ({2: 40}, [2]),
        ({3: 30, 4: 30}, [3, 4]),  # the frames at the start lie still
        ({1: 40}, [1]),
        ({7: 40}, [7]),
        ({1: 40, 2: -40}, [1, 2]),
    ],
)
def test_each_jump_is_told_from_frames_that_lie_still(moved, found):
    movement = {name: [None, *([0.0] * 7)] for name in stage_movement.NAMES} | {"since": [None, *range(7)]}
    for frame, size in moved.items():
        movement["x"][frame] = float(size)
    assert [frame for frame, _ in stage_movement.jumps(movement, LIMIT)] == found


def test_of_two_displacements_that_differ_the_large_one_is_the_jump():
    movement = {"y": [None, 35.0, 0.0], "x": [None, 0.0, 0.0], "alike": [None, 1, 1], "unmoved": [None, 0, 1]}
    assert stage_movement.jumps(movement | {"since": [None, 0, 1]}, LIMIT) == [(1, 35.0)]
    steady = movement | {"y": [None, 20.0, 20.0], "since": [None, 0, 1]}
    assert stage_movement.jumps(steady, LIMIT) == []


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_light_that_changes_is_no_jump(factor):
    frames = seen(sea(60), {})
    frames[4] = frames[4] * factor
    assert stage_movement.jumps(measured(frames), LIMIT) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 4))
def test_pictures_of_any_shape_give_the_displacement_they_have(y, x, factor):
    """White noise that is displaced by whole pixels, of frames up to several bins wide."""
    rng = np.random.default_rng(abs(y) * 100 + abs(x))
    scene = np.kron(rng.integers(0, 4000, (90, 110)), np.ones((6 * factor, 6 * factor))).astype(np.uint16)
    height, width = 300 * factor, 400 * factor
    at_y, at_x = 100 * factor, 100 * factor
    before = scene[at_y : at_y + height, at_x : at_x + width]
    after = scene[at_y - y : at_y - y + height, at_x - x : at_x - x + width]
    found = measured([before, after])
    np.testing.assert_allclose(
        stage_movement.displacements(found)[1], (y, x), atol=stage_movement.bin_width((height, width))
    )


def copied(tmp_path, monkeypatch, names, planes):
    """Arrays that the copy stage makes of planes {channel: frames}; None: not in the file."""
    from contextlib import contextmanager

    @contextmanager
    def open_movie(*_):
        def read(fov, frame, channels, plane):
            return [planes[channel][frame] for channel in channels]

        read.uncovered = lambda fov, frame, channel, plane: ()
        yield read

    monkeypatch.setattr(copy_frames, "open_movie", open_movie)
    channels = list(planes)
    outputs = [tmp_path / name / "0" for name in names]
    shape = (len(planes[channels[0]]), SIZE, SIZE)
    copy_frames.copy_frames(tmp_path / "x.nd2", outputs, fov=0, channels=channels, shape=shape, planes=[None])
    return [open_frames(output) for output in outputs]


def test_the_copy_stage_measures_the_phase_contrast_and_the_check_reports_it(tmp_path, monkeypatch):
    frames = seen(sea(60), {5: (-35, 0)})
    arrays = copied(tmp_path, monkeypatch, [pc(0), fl(1)], {0: list(frames), 1: [None] * 8})
    assert stage_movement.ATTRIBUTE not in arrays[1].attributes
    rows = list(check_stage(3, arrays, qc_stage_shift=LIMIT))
    assert [(row.fov, row.frame, row.check, row.limit) for row in rows] == [(3, 5, "stage_shift", LIMIT)]
    assert rows[0].value == pytest.approx(35, abs=1.5)


@pytest.mark.parametrize("at", [4, 7])
@pytest.mark.parametrize("kind", ["elsewhere", "blurred", "dark"])
def test_a_single_frame_of_another_place(tmp_path, monkeypatch, at, kind):
    """One that is taken back in the next frame, or in the last; one that is out of focus or dark is no other place."""
    from scipy.ndimage import gaussian_filter

    frames = list(seen(sea(60), {}))
    frames[at] = {
        "elsewhere": seen(sea(63), {})[at],
        "blurred": gaussian_filter(frames[at].astype(float), 12).astype(np.uint16),
        "dark": np.random.default_rng(0).poisson(100, (SIZE, SIZE)).astype(np.uint16),
    }[kind]
    arrays = copied(tmp_path, monkeypatch, [pc(0), fl(1)], {0: frames, 1: [None] * 8})
    rows = [(row.frame, row.value) for row in check_stage(0, arrays, qc_stage_shift=LIMIT)]
    assert rows == ([(at, None)] if kind == "elsewhere" else [])


def test_without_phase_contrast_what_there_is_is_measured(tmp_path, monkeypatch):
    frames = list(seen(sea(60), {5: (0, 50)}))
    frames[2] = None
    dark = list(np.random.default_rng(0).poisson(100, (8, SIZE, SIZE)).astype(np.uint16))
    arrays = copied(tmp_path, monkeypatch, [fl(1), fl(2)], {1: dark, 2: frames})
    rows = list(check_stage(0, arrays, qc_stage_shift=LIMIT))
    assert [(row.frame, row.check) for row in rows] == [(5, "stage_shift")]


@pytest.mark.parametrize("jump", [(0, 60), (-60, 60)])
def test_a_jump_by_the_distance_of_the_cells_is_found(jump):
    """Cells on a grid, each then in the place of its neighbour; they are told apart by 2 px of disorder."""
    rng = np.random.default_rng(0)
    scene = np.full((768, 768), 3000.0)
    y, x = np.mgrid[:768, :768]
    for at_y in range(30, 768, 60):
        for at_x in range(30, 768, 60):
            off_y, off_x = rng.normal(0, 2, 2)
            scene[(y - at_y - off_y) ** 2 + (x - at_x - off_x) ** 2 <= 14**2] -= 800
    images = [(scene + rng.normal(0, 55, scene.shape)).astype(np.uint16) for _ in range(8)]
    found = stage_movement.jumps(measured(seen(images, {4: jump})), LIMIT)
    assert [(frame, round(size / np.hypot(*jump), 1)) for frame, size in found] == [(4, 1.0)]
