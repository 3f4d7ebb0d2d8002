"""Cells that run together keep their numbers and their pixels; what was never apart stays one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import track_cells
from celltraces.errors import UserError
from celltraces.labels.regions import relabel, tracks_of
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing
from celltraces.tracking import overlap

SHAPE = (60, 120)


def disk(y, x, radius):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def walking(n_cells, n_frames, seed):
    """Label images of disks that walk at random, run together and part, each of them missed in some frames."""
    rng = np.random.default_rng(seed)
    position = rng.uniform(0, SHAPE, (n_cells, 2))
    frames = []
    for _ in range(n_frames):
        position += rng.normal(0, 3, position.shape)
        frames.append(labels_of([np.zeros(SHAPE, bool), *(disk(y, x, 7) for y, x in position if rng.random() < 0.95)]))
    return frames


def labels_of(masks):
    return ndimage.label(np.any(masks, axis=0))[0].astype(np.uint16)


def tracked(frames, **options):
    return [
        relabel(frame, mapping, np.uint16)
        for frame, mapping in zip(frames, overlap.track(frames, **options), strict=True)
    ]


def meeting(n_frames=24, drift=2):
    """Two cells of different size that meet, move on together, and part. (T, 2, H, W) bool."""
    frames = []
    for frame in range(n_frames):
        gap = 1 + abs(frame - n_frames // 2) * 1.5 - 7
        middle = 35 + drift * frame
        frames.append([disk(30, middle - 10 - gap / 2, 10), disk(28, middle + 8 + gap / 2, 8)])
    return np.array(frames)


@pytest.mark.parametrize("compare", ["box", "mask"])
def test_two_cells_that_meet_and_part_stay_two(compare):
    masks = meeting()
    frames = [labels_of(pair) for pair in masks]
    merged = [frame for frame in range(24) if frames[frame].max() == 1]
    assert len(merged) > 6
    apart = tracked(frames, split_touching=True, iou=compare)
    together = tracked(frames, split_touching=False, iou=compare)
    assert max(frame.max() for frame in apart) == 2
    assert any(set(np.unique(frame)) != {0, 1, 2} for frame in together)
    for frame in range(24):
        np.testing.assert_array_equal(apart[frame] > 0, frames[frame] > 0)
        for cell, mask in enumerate(masks[frame], start=1):
            own = (apart[frame] == cell)[mask].sum() / mask.sum()
            other = (apart[frame] == 3 - cell)[mask].sum() / mask.sum()
            assert own > 0.8 > 0.2 > other


def test_three_cells_in_one_region():
    frames = []
    for frame in range(12):
        step = max(0, 6 - frame) * 2
        frames.append(labels_of([disk(30, 40 - step, 9), disk(30, 56, 9), disk(30, 72 + step, 9)]))
    assert frames[-1].max() == 1
    assert set(np.unique(tracked(frames, split_touching=True)[-1])) == {0, 1, 2, 3}


def test_a_cell_that_falls_to_pieces_for_a_moment_grows_together():
    whole = labels_of([disk(30, 50, 12)])
    broken = whole.copy()
    broken[:, 50:53] = 0
    broken = ndimage.label(broken)[0].astype(np.uint16)
    frames = [whole] * 5 + [broken] * (overlap.SETTLED - 1) + [whole] * 3
    assert [set(np.unique(frame)) for frame in tracked(frames, split_touching=True)[-3:]] == [{0, 1}] * 3


def test_a_cell_beside_which_another_vanishes_is_not_divided():
    frames = [labels_of([disk(30, 40, 10), disk(30, 70, 8)])] * 5 + [labels_of([disk(30, 40, 10)])] * 3
    for frame in tracked(frames, split_touching=True)[-3:]:
        assert set(np.unique(frame)) == {0, 1}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_cells=st.integers(0, 8), compare=st.sampled_from(["box", "mask"]))
def test_every_pixel_keeps_a_cell_and_no_cell_is_in_two_regions(seed, n_cells, compare):
    frames = walking(n_cells, 10, seed)
    before = overlap.track(frames, split_touching=True, iou=compare)
    assert [len(np.unique(tracks_of(mapping))) for mapping in before] == [len(tracks_of(m)) for m in before]
    for labels, mapping in zip(frames, before, strict=True):
        cells = relabel(labels, mapping, np.uint16)
        np.testing.assert_array_equal(cells > 0, labels > 0)
        assert set(np.unique(cells[cells > 0])) == set(tracks_of(mapping).tolist())
        for cell in tracks_of(mapping):
            assert len(np.unique(labels[cells == cell])) == 1


def write_labels(folder, frames):
    with writing(folder / "labeled/0", (len(frames), *SHAPE), np.uint16, LABELS) as append:
        for frame in frames:
            append(frame)
    return folder / "labeled/0"


def test_stage_writes_the_divided_regions(tmp_path):
    frames = [labels_of(pair) for pair in meeting()]
    source = write_labels(tmp_path, frames)
    track_cells.track_movie(source, tmp_path / "tracked/0", lambda images: overlap.track(images, split_touching=True))
    written = open_frames(tmp_path / "tracked/0")
    for frame, expected in enumerate(tracked(frames, split_touching=True)):
        np.testing.assert_array_equal(written.read(frame), expected)


def test_more_cells_than_sixteen_bit_have_room_for(tmp_path):
    frames = [labels_of([disk(30, 40, 5)])] * 2
    source = write_labels(tmp_path, frames)
    track_cells.track_movie(source, tmp_path / "tracked/0", lambda images: [([1], [70_000]) for _ in images])
    written = open_frames(tmp_path / "tracked/0")
    assert written.dtype == np.uint32
    assert written.read(1).max() == 70_000


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ([], "2 frames were given and 0 came back"),
        ([([1], [1])], "2 frames were given and 1 came back"),
        ([([1], [1, 2])] * 2, "frame 0: labels and cells must be whole numbers, one cell per label"),
        ([([1], [0.5])] * 2, "frame 0: labels and cells must be whole numbers"),
        ([([1, 2], [1, 1])] * 2, "frame 0: labels must ascend; cells count from 1, none twice"),
        ([([1], [0])] * 2, "cells count from 1"),
        ([None] * 2, "frame 0: expected labels and cells, got None"),
    ],
)
def test_what_a_method_of_the_user_returns_is_checked(tmp_path, result, line):
    source = write_labels(tmp_path, [labels_of([disk(30, 40, 5)])] * 2)
    with pytest.raises(UserError, match=f"tracking_method: .*{line}"):
        track_cells.track_movie(source, tmp_path / "tracked/0", lambda images: result)
    assert not (tmp_path / "tracked/0").exists()
