"""Linking follows the stage: cells keep their numbers through jumps, and nothing changes where it stands."""

import csv
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from test_phantoms import swallowed
from test_stage_movement import measured, sea, seen
from test_tracking import blob_movie

import track_cells
from celltraces import plugins
from celltraces.frames import stage_movement
from celltraces.labels.regions import relabel, tracks_of
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing
from celltraces.tracking import overlap, stage_places, stage_table
from celltraces.tracking.methods import tracker
from demo.simulate import simulate

SIZE = 384


@cache
def sea_labels(n_cells, n_frames=8):
    """The true labels of `sea`."""
    experiment = simulate(n_fovs=1, n_frames=36, height=768, width=768, n_cells=n_cells, seed=4)
    return [experiment.labels(0, frame).astype(np.uint16) for frame in range(10, 10 + n_frames)]


def grid(spacing, side=640, n_frames=8):
    """Pictures and labels of cells, each with a texture of its own, that lie in rows and tremble. (side, side) each."""
    rng = np.random.default_rng(0)
    axis = np.arange(spacing / 2, side, spacing)
    home = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2) + rng.normal(
        0, 2, (axis.size**2, 2)
    )
    textures = rng.normal(-300, 800, (len(home), 41, 41))
    radii = rng.uniform(12, 14, len(home))
    y, x = np.mgrid[-20:21, -20:21]
    images, labels = [], []
    for _ in range(n_frames):
        image, of_frame = np.full((side, side), 6000.0), np.zeros((side, side), np.uint16)
        for cell, (place, texture, radius) in enumerate(zip(home, textures, radii, strict=True), start=1):
            at_y, at_x = np.rint(place + rng.normal(0, 0.7, 2)).astype(int)
            if min(at_y, at_x) >= 20 and max(at_y, at_x) < side - 20:
                window = np.s_[at_y - 20 : at_y + 21, at_x - 20 : at_x + 21]
                body = np.hypot(y, x) < radius
                image[window] += np.where(body, texture, 400 * np.exp(-(((np.hypot(y, x) - radius - 3) / 4) ** 2)))
                of_frame[window][body] = cell
        images.append(rng.poisson(image.clip(0)).astype(np.uint16))
        labels.append(of_frame)
    return images, labels


def windows(frames, steps, size=SIZE, start=(192, 192)):
    """What of larger frames is seen by a stage that moves by `steps`: as `seen`, of labels."""
    place, found = np.array(start), []
    for frame, image in enumerate(frames):
        place = place - steps.get(frame, (0, 0))
        assert (place >= 0).all()
        assert (place + size <= image.shape).all()
        found.append(image[place[0] : place[0] + size, place[1] : place[1] + size])
    return found


def numbered(labels, movement, **options):
    options = {"split_touching": True, **options}
    mappings = overlap.track(labels, movement=movement, **options)
    return mappings, [relabel(frame, mapping, np.uint16) for frame, mapping in zip(labels, mappings, strict=True)]


def numbers_of_cells(labels, tracked, least=200):
    """{cell: {number it had}} of the cells that are seen whole (`least` px or more)."""
    found = {}
    for truth, numbers in zip(labels, tracked, strict=True):
        area = np.bincount(truth.ravel())
        for cell in np.flatnonzero(area[1:] >= least) + 1:
            found.setdefault(int(cell), set()).add(int(np.bincount(numbers[truth == cell]).argmax()))
    return found


def kept(labels, tracked):
    """Number of cells that kept one number, of cells in all, and of numbers that several cells had."""
    numbers = numbers_of_cells(labels, tracked)
    owners = {}
    for cell, of_cell in numbers.items():
        for number in of_cell:
            owners.setdefault(number, set()).add(cell)
    return (
        sum(len(of_cell) == 1 for of_cell in numbers.values()),
        len(numbers),
        sum(len(o) > 1 for o in owners.values()),
    )


JUMPS = [{4: (30, 0)}, {4: (-21, 21)}, {4: (0, 192)}, {4: (190, -191)}, {3: (-60, 40), 5: (80, 0)}]


@pytest.mark.parametrize("compare", ["box", "mask"])
@pytest.mark.parametrize("steps", JUMPS)
def test_all_cells_keep_their_numbers_through_a_jump(steps, compare):
    labels = windows(sea_labels(60), steps)
    _, tracked = numbered(labels, measured(seen(sea(60), steps)), iou=compare)
    whole, cells, shared = kept(labels, tracked)
    assert (whole, shared) == (cells, 0)
    assert cells > 15


@pytest.mark.parametrize("steps", [{4: (0, 50)}, {4: (50, -50)}, {4: (150, 0)}, {4: (25, 0)}])
def test_no_cell_of_a_grid_goes_on_as_its_neighbour(steps):
    images, labels = grid(50)
    labels = windows(labels, steps, 320, (160, 160))
    movement = measured(windows(images, steps, 320, (160, 160)))
    _, tracked = numbered(labels, movement)
    whole, cells, shared = kept(labels, tracked)
    assert (whole, shared) == (cells, 0)
    blind = dict.fromkeys(stage_movement.NAMES, [None] * 8)  # what the pictures alone can tell
    assert kept(labels, numbered(labels, blind)[1])[2] > 10 or steps == {4: (25, 0)}


def test_the_displacement_of_a_grid_is_measured():
    """Its correlation has a peak wherever cells come to lie on others."""
    images, _ = grid(42)
    for steps in ({}, {3: (0, 42), 5: (-100, 21)}):
        found = stage_movement.displacements(measured(windows(images, steps, 320, (200, 160))))
        np.testing.assert_allclose(found[1:], [steps.get(frame, (0, 0)) for frame in range(1, 8)], atol=1)


@pytest.mark.parametrize("steps", [{4: (30, 0)}, {4: (0, 60)}, {3: (-60, 40), 5: (80, 0)}])
def test_without_a_measurement_the_regions_tell_where_they_went(steps):
    labels = windows(sea_labels(100), steps)
    mappings, tracked = numbered(labels, None)
    whole, cells, shared = kept(labels, tracked)
    assert (whole, shared) == (cells, 0)
    total = np.sum(list(steps.values()), axis=0)
    np.testing.assert_allclose(mappings[-1].place, total, atol=2)


def same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.ids, other.ids)
        assert one.place == other.place
        assert [track for _, track in one.parts] == [track for _, track in other.parts]
        for (pixels, _), (other_pixels, _) in zip(one.parts, other.parts, strict=True):
            np.testing.assert_array_equal(pixels, other_pixels)


def moved_by(steps):
    """A movement as it is measured, of displacements (T, 2) of frames against the ones before."""
    since = [None, *range(len(steps) - 1)]
    y, x = ([None, *(float(value) for value in axis[1:])] for axis in np.transpose(steps))
    return {
        "y": y,
        "x": x,
        "alike": [None, *[0.9] * (len(y) - 1)],
        "unmoved": [None, *[0.1] * (len(y) - 1)],
        "since": since,
    }


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_the_measurement_changes_nothing(seed):
    """Of movies whose cells run together, split, appear and vanish; against no measurement at all."""
    frames = list(blob_movie(seed, step=2.0))
    noise = np.random.default_rng(seed).uniform(-stage_places.LEAST_STEP, stage_places.LEAST_STEP, (len(frames), 2))
    for compare in ("box", "mask"):
        still, _ = numbered(frames, None, iou=compare)
        assert {mapping.place for mapping in still} == {(0, 0)}
        same(numbered(frames, moved_by(noise), iou=compare)[0], still)


def test_of_cells_that_have_nothing_in_common_no_displacement_is_found():
    rng = np.random.default_rng(0)
    for _ in range(20):
        frames = [sea_labels(60)[0][at : at + SIZE, at_x : at_x + SIZE] for at, at_x in rng.integers(0, 300, (2, 2))]
        frames[1] = frames[1][::-1, ::-1]
        assert overlap.track(frames)[1].place == (0, 0)


@pytest.mark.parametrize("step", [(12, 0), (-20, 9), (40, 40), (0, 180), (300, -300)])
def test_a_displacement_that_does_not_fit_the_cells_is_refused(step):
    labels = windows(sea_labels(100), {})
    wrong = np.zeros((8, 2))
    wrong[[3, 6]] = step
    same(numbered(labels, moved_by(wrong))[0], numbered(labels, None)[0])


def test_cells_that_drift_together_over_dust_that_stays():
    steps = dict.fromkeys(range(1, 8), (0, 22))
    labels = windows(sea_labels(100), steps)
    dust = seen([np.zeros((768, 768))] * 8, {}, dust=10) > 0
    spots = ndimage.label(dust[0])[0]
    marked = [np.where(dust[0], 1000 + spots, frame).astype(np.uint16) for frame in labels]
    movement = measured(seen(sea(100), steps, dust=10))
    mappings, tracked = numbered(marked, movement, split_touching=False)
    cells = [np.where(dust[0], 0, frame) for frame in labels]
    whole, n_cells, shared = kept(cells, tracked)
    assert shared == 0
    assert whole >= 0.95 * n_cells  # dust cuts cells that pass it
    np.testing.assert_allclose([mapping.place for mapping in mappings], [(0, 22 * frame) for frame in range(8)], atol=7)


def test_a_cell_that_a_jump_takes_out_of_the_picture_ends_and_one_that_comes_back_goes_on():
    def frame_of(*boxes):
        labels = np.zeros((100, 200), np.uint16)
        for label, (y, x) in enumerate(boxes, start=1):
            labels[max(y, 0) : y + 16, x : x + 16] = label
        return labels

    here, there = [(10, 20), (50, 40), (60, 120), (30, 150)], [(60, 20), (80, 150), (40, 100)]
    steps = np.zeros((7, 2))
    steps[2], steps[4] = (50, 0), (-50, 0)
    frames = [frame_of(*here), frame_of(*here), frame_of(*there), frame_of(*there), *[frame_of(*here)] * 3]
    found = [
        dict(zip(m.labels.tolist(), m.ids.tolist(), strict=True))
        for m in overlap.track(frames, movement=moved_by(steps))
    ]
    assert found[1] == {1: 1, 2: 2, 3: 3, 4: 4}
    assert found[2] == found[3] == {1: 1, 2: 4, 3: 5}
    assert found[4] == found[6] == {1: 1, 2: 2, 3: 3, 4: 4}
    short = overlap.track(frames, movement=moved_by(steps), max_gap=1)
    assert short[4].ids.tolist() == [1, 6, 7, 4]


def unlike(movement, *frames, since=()):
    """The movement with frames of which nothing was measured but that they are unlike the one before; since: others."""
    for frame in frames:
        for name in ("y", "x", "alike", "since"):
            movement[name][frame] = None
    for frame, of in since:
        movement["since"][frame] = of
    assert stage_movement.other_places(movement) == list(frames)
    return movement


AWAY = {
    "for a frame": (range(4, 5), ((4,), ((5, 3),))),
    "for two frames": (range(4, 6), ((4, 6), ((5, 4), (7, 6)))),
    "for good": (range(4, 8), ((4,), ())),
}


@pytest.mark.parametrize("compare", ["box", "mask"])
@pytest.mark.parametrize("away", AWAY)
def test_no_cell_of_another_place_gets_a_number_of_those_before(away, compare):
    """And those before keep theirs when the stage comes back."""
    frames, (lost, since) = AWAY[away]
    labels = windows(sea_labels(110), {4: (400, 450), frames.stop: (-400, -450)}, 250, (500, 500))
    assert not {*np.unique([labels[frame] for frame in frames])} & {*np.unique(labels[3])} - {0}
    _, tracked = numbered(labels, unlike(moved_by(np.zeros((8, 2))), *lost, since=since), iou=compare)
    whole, cells, shared = kept(labels, tracked)
    assert (whole, shared) == (cells, 0)
    assert kept(labels, numbered(labels, None, iou=compare)[1])[2] > 2  # without what the pictures tell


def test_a_frame_that_is_unlike_the_others_but_shows_cells_where_they_were_is_linked():
    """As one that is out of focus."""
    labels = windows(sea_labels(60), {})
    movement = unlike(moved_by(np.zeros((8, 2))), 4, since=((5, 3),))
    same(numbered(labels, movement)[0], numbered(labels, None)[0])


@pytest.mark.parametrize("compare", ["box", "mask"])
@pytest.mark.parametrize("apart", [False, True])
def test_cells_that_touch_stay_two_when_the_stage_jumps_at_that_moment(compare, apart):
    """Without a jump the same division is made, shifted."""
    y, x = np.ogrid[:160, :260]

    def frame_of(gap, shift):
        disks = [(60, 70 - gap, 15), (60, 96 + gap, 12), *[(30 + 50 * n, 180, 10 + n) for n in range(2)]]
        labels = np.zeros((160, 260), bool)
        for cy, cx, radius in disks:
            labels |= (y - cy - shift[0]) ** 2 + (x - cx - shift[1]) ** 2 <= radius**2
        return ndimage.label(labels)[0].astype(np.uint16)

    gaps = [6, 5, 4, 3, 0, 0, 0, 5 if apart else 0]
    steps = np.zeros((8, 2))
    steps[4] = (35, 40)
    standing = [frame_of(gap, (0, 0)) for gap in gaps]
    jumping = [frame_of(gap, (35, 40) if frame >= 4 else (0, 0)) for frame, gap in enumerate(gaps)]
    _, expected = numbered(standing, None, iou=compare)
    mappings, found = numbered(jumping, moved_by(steps), iou=compare)
    assert len(mappings[4].parts) == 2
    for frame, (one, other) in enumerate(zip(expected, found, strict=True)):
        np.testing.assert_array_equal(other, np.roll(one, (35, 40), (0, 1)) if frame >= 4 else one)


def test_a_phantom_is_taken_back_across_a_jump():
    frames, _ = swallowed()
    frames = [np.pad(frame, ((0, 40), (0, 60))) for frame in frames]
    steps = np.zeros((len(frames), 2))
    steps[12] = (30, 50)
    jumping = [np.roll(frame, (30, 50), (0, 1)) if at >= 12 else frame for at, frame in enumerate(frames)]
    expected = numbered(frames, None)[1]
    for at, (one, other) in enumerate(zip(expected, numbered(jumping, moved_by(steps))[1], strict=True)):
        np.testing.assert_array_equal(other, np.roll(one, (30, 50), (0, 1)) if at >= 12 else one)


@pytest.mark.parametrize("since", [2, 3])
def test_the_frame_after_one_that_could_not_be_measured(since):
    """It is compared with the last that could, or, where it is like that frame, with it."""
    steps = {4: (30, 0)}
    labels = windows(sea_labels(60), steps)
    movement = moved_by(np.zeros((8, 2)))
    for name in ("y", "x", "alike", "since"):
        movement[name][3] = None
    movement["y"][4], movement["x"][4], movement["since"][4] = 30.0, 0.0, since
    whole, cells, shared = kept(labels, numbered(labels, movement)[1])
    assert (whole, shared) == (cells, 0)


# ------------------------------------------------------------------------------------------------ the stage, the tables


def written(folder, labels, movement):
    """Labels and phase contrast as arrays on disk, tracked by the stage: the array of tracked labels."""
    shape = (len(labels), *labels[0].shape)
    with writing(folder / "labeled/0", shape, np.uint16, LABELS) as append:
        for frame in labels:
            append(frame)
    attributes = {} if movement is None else {stage_movement.ATTRIBUTE: movement}
    with writing(folder / "pc_ch_0/0", shape, np.uint16, LABELS, attributes=attributes) as append:
        for frame in labels:
            append(frame)
    settings = {"min_iou": 0.1, "iou": "box", "max_gap": 3, "split_touching": True, "min_size": None, "max_size": None}
    settings |= {
        "divisions": True,
        "max_touching": 10,
        "division_roundness": 0.65,
        "division_frames": 3,
        "division_min_age": 4,
    }
    track_cells.main(
        *(folder / name for name in ("labeled/0", "tracked/0", "lineage.csv")),
        "iou",
        fov=0,
        phase_contrast=folder / "pc_ch_0/0",
        **settings,
    )
    return open_frames(folder / "tracked/0")


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_tracked_labels_of_a_stage_that_stands_are_the_same_bytes(tmp_path):
    labels = windows(sea_labels(60), {})
    noise = moved_by(np.random.default_rng(0).uniform(-1.9, 1.9, (8, 2)))
    for name, movement in (("none", None), ("noise", noise), ("pictures", measured(seen(sea(60), {})))):
        written(tmp_path / name, labels, movement)
    expected = files_of(tmp_path / "none/tracked")
    assert files_of(tmp_path / "noise/tracked") == expected
    assert files_of(tmp_path / "pictures/tracked") == expected


def test_the_table_tells_what_was_measured_and_where_linking_took_each_frame_to_be(tmp_path):
    steps = {4: (30, -20)}
    labels = windows(sea_labels(60), steps)
    movement = measured(seen(sea(60), steps))
    movement["y"][6], movement["x"][6] = 55.0, 5.0  # which nothing moved by
    tracked = written(tmp_path, labels, movement)
    table = stage_table.stage_table([(7, tmp_path / "pc_ch_0/0", tmp_path / "tracked/0")])
    stage_table.write(table, tmp_path / "m.csv")
    with open(tmp_path / "m.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == stage_table.COLUMNS
    assert [(row["fov"], row["frame"]) for row in rows] == [("7", str(frame)) for frame in range(8)]
    assert (rows[0]["moved_y"], rows[0]["since"], rows[4]["since"]) == ("NaN", "NaN", "3")
    assert float(rows[6]["moved_y"]) == 55
    places = table[["place_y", "place_x"]].to_numpy()
    np.testing.assert_allclose(places[:4], 0, atol=3)
    np.testing.assert_allclose(places[4:], [(30, -20)] * 4, atol=4)
    assert tracked.attributes[stage_places.ATTRIBUTE][7] == [30, -20]
    # positions in the first frame: those of a cell go on where it was, but for its own walk
    traces = pd.DataFrame(
        {"fov": 7, "frame": [3, 4, 7], "position_x": [100.0, 80.5, 81.0], "position_y": [50.0, 79.5, 80.0]}
    )
    found = stage_table.with_registered_positions(traces, table)
    np.testing.assert_allclose(found[["registered_x", "registered_y"]], [(100, 50), (100.5, 49.5), (101, 50)], atol=4)
    assert list(found)[:4] == list(traces)


def test_a_fov_without_a_measurement_has_no_rows_and_its_positions_are_as_they_are(tmp_path):
    written(tmp_path, windows(sea_labels(60), {}), None)
    table = stage_table.stage_table([(0, tmp_path / "pc_ch_0/0", tmp_path / "tracked/0")])
    stage_table.write(table, tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text() == ",".join(stage_table.COLUMNS) + "\n"
    traces = pd.DataFrame({"fov": [0], "frame": [3], "position_x": [100.0], "position_y": [50.0]})
    assert stage_table.with_registered_positions(traces, table).iloc[0][["registered_x", "registered_y"]].tolist() == [
        100,
        50,
    ]


def test_a_function_of_the_users_is_told_where_the_frames_lie_if_it_asks(tmp_path, monkeypatch):
    def asks(frames, stage_places):
        return stage_places

    def asks_not(frames):
        return "nothing"

    movement = moved_by([(0, 0), (5, 1), (7.5, -3)])
    monkeypatch.setattr(plugins, "load_function", lambda method, key: {"a": asks, "n": asks_not, "b": max}[method])
    np.testing.assert_allclose(tracker("a", {}, movement)([]), [(0, 0), (5, 1), (12.5, -2)])
    assert tracker("a", {})([]) is None
    assert tracker("n", {}, movement)([]) == "nothing"
    assert tracker("b", {}, movement)([3, 4]) == 4
    assert tracks_of(overlap.track(windows(sea_labels(60), {})[:1])[0]).size


@pytest.mark.parametrize("jump", [(30, 0), (0, 192)])
def test_btrack_follows_a_jump(jump):
    pytest.importorskip("btrack", reason="btrack is an optional package")
    steps = {4: jump}
    labels = windows(sea_labels(60), steps)
    track = tracker("btrack", {"max_gap": 3}, measured(seen(sea(60), steps)))
    tracked = [relabel(frame, mapping, np.uint16) for frame, mapping in zip(labels, track(labels), strict=True)]
    whole, cells, shared = kept(labels, tracked)
    assert shared == 0
    assert whole >= 0.9 * cells
