"""Regions that cells share for some frames are parted where these lie apart before and after; others are left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_touching import disk, labels_of, walking, write_labels

import track_cells
from celltraces.labels.regions import FrameTracks, relabel
from celltraces.storage.frames import open_frames
from celltraces.tracking import overlap
from celltraces.tracking.region_window import with_parts
from celltraces.tracking.shared_regions import part_regions


def movie(gaps, radii=(10, 9), drift=0):
    """Two disks with a gap between them in each frame: the cells (T, 2, H, W), and the labels that are found."""
    cells = [
        [
            disk(30, 40 + drift * at - radii[0] - gap / 2, radii[0]),
            disk(30, 41 + drift * at + radii[1] + gap / 2, radii[1]),
        ]
        for at, gap in enumerate(gaps)
    ]
    return cells, [labels_of(pair) for pair in cells]


def parted(frames, max_touching=10, movement=None):
    return [labels for labels, _ in part_regions(frames, max_touching, movement)]


def assert_parted(cells, frames, found):
    """Each true cell is one region that holds 9 in 10 of its pixels, and nothing else changed."""
    for masks, labels, result in zip(cells, frames, found, strict=True):
        np.testing.assert_array_equal(result > 0, labels > 0)
        numbers = [int(np.bincount(result[mask]).argmax()) for mask in masks]
        assert len(set(numbers)) == len(masks)
        for mask, number in zip(masks, numbers, strict=True):
            assert (result[mask] == number).mean() > 0.9


APART, TOGETHER = 6, -1


@pytest.mark.parametrize("drift", [0, 2])
@pytest.mark.parametrize(("before", "after"), [(2, 3), (4, 1), (5, 5)])
@pytest.mark.parametrize("n_together", [1, 3, 10])
def test_two_cells_that_meet_and_part_are_two(before, after, n_together, drift):
    cells, frames = movie([APART] * before + [TOGETHER] * n_together + [APART] * after, drift=drift)
    assert frames[before].max() == 1
    assert_parted(cells, frames, parted(frames))


@pytest.mark.parametrize(
    "gaps",
    [
        [APART] * 5 + [TOGETHER] * 8,  # they do not part again
        [TOGETHER] * 6 + [APART] * 6,  # one from the beginning on: it may be a cell that divides
        [TOGETHER] * 12,
        [APART] * 5 + [TOGETHER] * 11 + [APART] * 5,  # for longer than max_touching
        [APART] * 12,
        [TOGETHER] * 4 + [APART] + [TOGETHER] * 3 + [APART] * 5,  # cut in two for one frame; later it may divide
        [TOGETHER] * 5 + [APART] * 2 + [TOGETHER] * 4 + [APART] * 2 + [TOGETHER] * 5,  # a cell that falls to pieces
    ],
)
def test_what_has_no_sign_on_both_sides_is_left(gaps):
    _, frames = movie(gaps)
    for labels, (result, parts) in zip(frames, part_regions(frames, 10), strict=True):
        assert not parts
        assert result.dtype == labels.dtype
        np.testing.assert_array_equal(result, labels)


def test_nothing_is_done_where_it_is_off():
    _, frames = movie([APART] * 4 + [TOGETHER] * 2 + [APART] * 4)
    assert all(result is labels for result, labels in zip(parted(frames, 0), frames, strict=True))


def test_three_cells_in_one_region():
    cells = [[disk(30, 40 - gap, 9), disk(30, 57, 9), disk(30, 74 + gap, 9)] for gap in [4] * 4 + [0] * 3 + [4] * 4]
    frames = [labels_of(masks) for masks in cells]
    assert frames[4].max() == 1
    assert_parted(cells, frames, parted(frames))


def test_a_cell_that_divides_stays_one_until_then():
    frames = [labels_of([disk(30, 50, 14)])] * 6
    frames += [labels_of([disk(30, 50 - apart, 9), disk(30, 50 + apart, 9)]) for apart in (11, 13, 15, 17)]
    for labels, result in zip(frames, parted(frames), strict=True):
        np.testing.assert_array_equal(result, labels)


def test_a_daughter_that_begins_in_the_region_of_a_neighbour_is_parted_from_her_birth_on():
    neighbour, mother = disk(30, 30, 10), disk(30, 56, 13)
    beside, other = disk(30, 49, 9), disk(30, 70, 9)
    cells = [[neighbour, mother]] * 5 + [[neighbour, beside, other]] * 4
    cells += [[neighbour, disk(30, 54, 9), disk(30, 76, 9)]] * 4
    frames = [labels_of(masks) for masks in cells]
    assert [int(labels.max()) for labels in frames] == [2] * 5 + [2] * 4 + [3] * 4
    assert_parted(cells, frames, parted(frames))


def meeting_a_neighbour(*, divides, n_together=4, n_apart=1):
    """A neighbour, and a cell in its region for a while, apart for a moment, and in it again; in front of the rest.

    If the other cell divides, the cell is one daughter; if not, it comes from nowhere.
    """
    neighbour, beside = disk(30, 30, 10), disk(30, 49, 9)
    mother = disk(30, 58 if divides else 90, 13)
    sister = disk(30, 69, 9) if divides else mother
    apart = [neighbour, disk(30, 53, 9), disk(30, 74, 9) if divides else mother]
    together = [neighbour, beside, sister]
    return [[neighbour, mother]] * 5 + [together] * n_together + [apart] * n_apart + [together] * 5


def test_a_daughter_who_is_apart_from_a_neighbour_for_one_frame_is_parted_since_her_birth():
    cells = meeting_a_neighbour(divides=True)
    frames = [labels_of(masks) for masks in cells]
    assert [int(labels.max()) for labels in frames] == [2] * 9 + [3] + [2] * 5
    found = parted(frames)
    assert_parted(cells[:10], frames[:10], found[:10])
    for labels, result in zip(frames[10:], found[10:], strict=True):  # they do not come apart any more
        np.testing.assert_array_equal(result, labels)


@pytest.mark.parametrize(("n_apart", "is_parted"), [(1, False), (3, True)])
def test_a_cell_that_is_no_daughter_is_apart_for_longer(n_apart, is_parted):
    cells = meeting_a_neighbour(divides=False, n_apart=n_apart)
    frames = [labels_of(masks) for masks in cells]
    numbers = [int(labels.max()) for labels in parted(frames)]
    assert numbers[:5] == [2] * 5
    assert numbers[5:9] == [3 if is_parted else 2] * 4


def test_three_cells_that_come_apart_in_two_steps():
    """A neighbour and two sisters: one region, then the neighbour with one of them beside the other, then three."""
    neighbour, mother = disk(30, 30, 10), disk(30, 58, 13)
    near, far = disk(30, 49, 9), disk(30, 67, 9)
    cells = [[neighbour, mother]] * 5 + [[neighbour, near | far]]
    cells += [[neighbour, near, disk(30, 71, 9)]] * 4 + [[neighbour, disk(30, 53, 9), disk(30, 75, 9)]] * 4
    frames = [labels_of(masks) for masks in cells]
    assert [int(labels.max()) for labels in frames] == [2] * 5 + [1] + [2] * 4 + [3] * 4
    assert_parted(cells, frames, parted(frames))


@pytest.mark.parametrize("missed", [5, 6, 7])
def test_cells_keep_their_numbers_where_their_region_is_missed_while_they_share_it(missed):
    cells, frames = movie([APART] * 5 + [TOGETHER] * 3 + [APART] * 5)
    frames[missed] = np.zeros_like(frames[missed])
    found = parted(frames)
    tracked = [
        relabel(labels, FrameTracks(*entry), np.uint16)
        for labels, entry in zip(found, overlap.track(found, split_touching=True), strict=True)
    ]
    for before, after in zip(cells[4], cells[8], strict=True):
        assert np.bincount(tracked[4][before]).argmax() == np.bincount(tracked[8][after]).argmax() > 0


def test_the_stage_may_jump_in_between():
    cells, frames = movie([APART] * 4 + [TOGETHER] * 4 + [APART] * 4)
    at, jump = 6, 40
    others = [disk(52, x, 5) for x in (10, 24, 38, 52, 66)]
    cells = [[*masks, *others] for masks in cells]
    cells = [[np.roll(mask, jump if frame >= at else 0, axis=1) for mask in masks] for frame, masks in enumerate(cells)]
    frames = [labels_of(masks) for masks in cells]
    steps = [0.0] * at + [float(jump)] + [0.0] * (len(frames) - at - 1)
    since = [max(0, frame - 1) for frame in range(len(frames))]
    movement = {
        "y": [0.0] * len(frames),
        "x": steps,
        "alike": [1.0] * len(frames),
        "unmoved": [0.0] * len(frames),
        "since": since,
    }
    assert_parted(cells, frames, parted(frames, movement=movement))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n_cells=st.integers(0, 8))
def test_a_part_is_part_of_one_region_and_all_else_stays(seed, n_cells):
    frames = walking(n_cells, 14, seed)
    for labels, (result, parts) in zip(frames, part_regions(frames, 5), strict=True):
        np.testing.assert_array_equal(result, with_parts(labels, parts))
        np.testing.assert_array_equal(result > 0, labels > 0)
        changed = {int(labels.ravel()[pixels[0]]) for pixels, _ in parts}
        stays = ~np.isin(labels, list(changed))
        np.testing.assert_array_equal(result[stays], labels[stays])
        for label in np.unique(result[result > 0]):
            assert len(np.unique(labels[result == label])) == 1


def test_labels_that_have_no_room_become_uint32():
    labels = np.zeros((2, 4), np.uint16)
    labels[0] = 65_535
    found = with_parts(labels, [(np.array([2, 3]), 65_536)])
    assert found.dtype == np.uint32
    assert found.tolist() == [[65_535, 65_535, 65_536, 65_536], [0, 0, 0, 0]]


def test_the_stage_writes_the_parts_and_leaves_the_labels(tmp_path):
    cells, frames = movie([APART] * 2 + [TOGETHER] * 3 + [APART] * 4)
    source = write_labels(tmp_path, frames)
    track_cells.track_movie(source, tmp_path / "tracked/0", overlap.track, max_touching=5)
    written = open_frames(tmp_path / "tracked/0")
    assert_parted(cells, frames, [written.read(frame) for frame in range(len(frames))])
    assert {int(written.read(frame)[30, 30]) for frame in range(len(frames))} == {1}
    assert open_frames(source).read(3).max() == 1
