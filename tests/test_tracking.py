"""Tracking by overlap: against the seed's double loop, against simulated truth, and by what must always hold."""

import subprocess
import sys
import weakref
from itertools import permutations
from pathlib import Path

import numpy as np
import oracles
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment
from skimage import measure

from celltraces.errors import UserError
from celltraces.labels.regions import FrameTracks, regions, relabel, tracks_of
from celltraces.tracking import nearest, overlap


def frame_of(boxes, shape=(120, 160)):
    """Label image of boxes [y0, x0, y1, x1], numbered from 1; later ones are on top; None is no box."""
    labels = np.zeros(shape, np.uint16)
    for label, box in enumerate(boxes, 1):
        if box is not None:
            labels[box[0] : box[2], box[1] : box[3]] = label
    return labels


def ids_of(mappings):
    """[{label: ID}] of a movie."""
    return [dict(zip(m.labels.tolist(), m.ids.tolist(), strict=True)) for m in mappings]


def walk(seed, cells, frames, size, step=2.0, missed=0.0, spacing=44.0, radius=(11, 16)):
    """Label images of disks in random walk that never come near each other's, and which cell each label is.

    The labels are shuffled in each frame; a share of `missed` of the cells is left out.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(cells)))
    home = np.stack(np.divmod(np.arange(cells), side), axis=1) * spacing + spacing / 2
    place, radii = home.copy(), rng.uniform(*radius, cells)
    y, x = np.mgrid[:size, :size]
    for _ in range(frames):
        labels, truth = np.zeros((size, size), np.uint16), {}
        for label, cell in enumerate(rng.permutation(cells), 1):
            if rng.random() >= missed:
                cy, cx = place[cell].astype(int)
                near = np.s_[max(cy - 20, 0) : cy + 21, max(cx - 20, 0) : cx + 21]
                labels[near][(y[near] - cy) ** 2 + (x[near] - cx) ** 2 < radii[cell] ** 2] = label
                truth[label] = int(cell)
        yield labels, truth
        place = home + np.clip(place - home + rng.normal(0, step, place.shape), -5, 5)


def whole_movie(*args, **kwargs):
    frames, truth = zip(*walk(*args, **kwargs), strict=True)
    return list(frames), list(truth)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.uint32, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([0, 0, 1, 2, 3, 7, 120]),
    ),
    st.sampled_from([1, 500]),
)
def test_regions_are_those_of_scikit_image(labels, factor):
    labels = labels if labels.dtype == np.uint8 else labels * labels.dtype.type(factor)
    label, area, bbox = regions(labels)
    props = measure.regionprops(labels.astype(np.int64))
    assert label.tolist() == [p.label for p in props]
    assert area.tolist() == [p.area for p in props]
    assert bbox.tolist() == [list(p.bbox) for p in props]
    assert (label.dtype, bbox.dtype, bbox.shape) == (labels.dtype, np.int32, (len(props), 4))


def test_regions_of_labels_that_no_table_could_be_indexed_with():
    labels = np.array([[0, 4_000_000_000, 4_000_000_000], [7, 7, 0]], np.uint32)
    label, area, bbox = regions(labels)
    assert label.tolist() == [7, 4_000_000_000]
    assert area.tolist() == [2, 2]
    assert bbox.tolist() == [[1, 0, 2, 2], [0, 1, 1, 3]]


def blob_movie(seed, frames=12, shape=(90, 110), blobs=14, step=4.0):
    """Connected components of overlapping disks that walk: they merge, split, appear and vanish."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, shape, (blobs, 2))
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(frames):
        mask = np.zeros(shape, bool)
        for cy, cx in place[rng.random(blobs) < 0.85]:
            mask |= (y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(4, 9) ** 2
        yield measure.label(mask, connectivity=1).astype(np.uint16)
        place += rng.normal(0, step, place.shape)


@pytest.mark.parametrize("max_gap", [0, 1, 3])
@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("min_iou", [0.1, 0.3])
def test_tracks_are_those_of_the_double_loop(kind, max_gap, min_iou):
    for seed in range(4):
        frames = list(blob_movie(seed))
        found = ids_of(overlap.track(iter(frames), min_iou=min_iou, max_gap=max_gap, iou=kind))
        expected = oracles.track(frames, min_iou, max_gap, kind)
        # different assignments of exactly equal gain would be right too; in these movies there are none
        assert found == expected


@pytest.mark.parametrize(("max_gap", "kind"), [(0, "box"), (1, "box"), (3, "box"), (3, "mask")])
def test_each_cell_is_one_track_between_gaps_longer_than_allowed(max_gap, kind):
    """2 % (and 15 %) missed: a cell gets a new ID after more than `max_gap` missed frames in a row, and only then."""
    for missed in (0.02, 0.15):
        frames, truth = whole_movie(0, 64, 60, 360, missed=missed)
        found = ids_of(overlap.track(frames, max_gap=max_gap, iou=kind))
        tracks, last, expected = {}, {}, 0
        for t, (ids, cells) in enumerate(zip(found, truth, strict=True)):
            assert ids.keys() == cells.keys()
            for label, cell in cells.items():
                if cell not in last or t - last[cell] > max_gap + 1:
                    expected += 1
                    tracks[cell] = ids[label]
                assert ids[label] == tracks[cell]
                last[cell] = t
        assert len({track for ids in found for track in ids.values()}) == expected
        if missed == 0.02:
            assert (expected == 64) == (max_gap == 3)


def test_ids_count_from_one_by_first_appearance_and_label():
    box = [[0, 0, 10, 10], [0, 40, 10, 50], [0, 80, 10, 90], [50, 0, 60, 10], [50, 40, 60, 50]]
    frames = [frame_of([None, box[1], box[0]]), frame_of([box[2], box[1], box[0], box[4], box[3]])]
    assert ids_of(overlap.track(frames)) == [{2: 1, 3: 2}, {1: 3, 2: 1, 3: 2, 4: 4, 5: 5}]


@pytest.mark.parametrize("max_gap", [0, 1, 3])
def test_frames_without_cells_end_nothing_within_max_gap(max_gap):
    cells = frame_of([[10, 10, 30, 30], [60, 60, 80, 90]])
    blank = np.zeros_like(cells)
    for gap in range(6):
        first, *between, last = ids_of(overlap.track([cells, *[blank] * gap, cells], max_gap=max_gap))
        assert between == [{}] * gap
        assert last == (first if gap <= max_gap else {1: 3, 2: 4})
    assert ids_of(overlap.track([blank, blank, cells])) == [{}, {}, {1: 1, 2: 2}]
    assert overlap.track([]) == []


def test_a_cell_that_jumps_is_a_new_track():
    frames = [frame_of([[10, 10, 30, 30]]), frame_of([[10, 40, 30, 60]]), frame_of([[10, 44, 30, 64]])]
    assert ids_of(overlap.track(frames)) == [{1: 1}, {1: 2}, {1: 2}]


# ------------------------------------------------------------------------------------------------------- fast cells


def far_apart(at, size=12, others=()):
    """A movie of two frames: a cell that moves from x = 20 to `at`, and one that stays; others: boxes in frame 1."""
    stays = (90, 120, 104, 134)
    return [frame_of([(20, 20, 32, 32), stays]), frame_of([(20, at, 20 + size, at + size), *others, stays])]


@pytest.mark.parametrize("split_touching", [False, True])
@pytest.mark.parametrize(
    ("movie", "max_distance", "linked"),
    [
        (far_apart(33), 0, False),  # 13 px; the disk of its area is 13.5 px wide
        (far_apart(33), 1, True),
        (far_apart(36), 1, False),
        (far_apart(36), 1.2, True),
        (far_apart(33, size=9), 1.2, False),  # another area
        (far_apart(33, others=[(36, 24, 48, 36)]), 2, False),  # another one is nearly as near
        (far_apart(33, others=[(60, 26, 72, 38)]), 2, True),
    ],
)
def test_a_cell_that_overlap_leaves_goes_on_in_what_is_left_beside_it(movie, max_distance, linked, split_touching):
    mappings = overlap.track(movie, max_distance=max_distance, split_touching=split_touching)
    assert mappings[0].ids.tolist() == [1, 2]
    assert (mappings[1].ids[0] == 1) == linked
    assert mappings[1].ids[-1] == 2


def test_the_edge_may_cut_a_fast_cell():
    frames = [frame_of([(40, 12, 52, 24)]), frame_of([(40, 0, 52, 5)])]
    assert overlap.track(frames, max_distance=1.2)[1].ids.tolist() == [1]
    assert overlap.track([np.pad(frame, ((0, 0), (1, 0))) for frame in frames], max_distance=1.2)[1].ids.tolist() == [2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 3.0]))
def test_the_nearest_are_those_of_the_double_loop(seed, max_distance):
    rng = np.random.default_rng(seed)
    tables = []
    for n in rng.integers(0, 9, 2):
        corner = rng.integers(0, 100, (n, 2))
        boxes = np.hstack([corner, corner + rng.integers(4, 14, (n, 2))])
        tables.append((boxes, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))
    step = rng.integers(-20, 20, 2)
    (before, old), (after, new) = tables
    centres = (before[:, :2] + before[:, 2:]) / 2 + step, (after[:, :2] + after[:, 2:]) / 2
    distance = np.array([[np.hypot(*(a - b)) for b in centres[1]] for a in centres[0]]).reshape(len(old), len(new))
    expected = []
    for i, j in np.ndindex(distance.shape):
        others = np.concatenate([np.delete(distance[i], j), np.delete(distance[:, j], i)])
        cut = any((box[:2] <= 0).any() or (box[2:] >= 110).any() for box in (before[i], after[j]))
        reach = max_distance * 2 * np.sqrt(max(old[i], new[j]) / np.pi)
        alike = cut or min(old[i], new[j]) >= nearest.LIKE * max(old[i], new[j])
        if distance[i, j] <= reach and alike and (others >= nearest.CLEAR * distance[i, j]).all():
            expected.append((i, j))
    found = nearest.nearest_pairs(*tables, step, max_distance, (110, 110))
    assert sorted(zip(*(part.tolist() for part in found), strict=True)) == expected


def test_two_cells_that_pass_each_other_keep_their_ids():
    frames = [frame_of([[10, 10 + 4 * t, 30, 30 + 4 * t], [32, 90 - 4 * t, 52, 110 - 4 * t]]) for t in range(20)]
    assert ids_of(overlap.track(frames)) == [{1: 1, 2: 2}] * 20


def test_the_smallest_iou_is_permitted():
    # two boxes of 10 x 11 that share 10 x 2: IoU exactly 0.1, which 1 - (1 - 0.1) is not
    frames = [frame_of([[0, 0, 10, 11]]), frame_of([[0, 9, 10, 20]])]
    assert ids_of(overlap.track(frames, min_iou=0.1)) == [{1: 1}, {1: 1}]
    assert ids_of(overlap.track(frames, min_iou=0.1001)) == [{1: 1}, {1: 2}]
    # touching is no overlap
    frames = [frame_of([[0, 0, 10, 10]]), frame_of([[0, 10, 10, 20]])]
    assert ids_of(overlap.track(frames, min_iou=0.0)) == [{1: 1}, {1: 2}]


def test_forbidden_pairs_cost_no_permitted_match():
    """The Hungarian algorithm on the plain IoU takes the two pairs below `min_iou` and loses the one above it."""
    first, second = [[0, 20, 9, 40], [0, 41, 9, 61]], [[0, 30, 9, 50], [0, 9, 9, 29]]
    gain = np.array([[oracles.box_iou(a, b) for b in second] for a in first])
    assert linear_sum_assignment(gain, maximize=True)[1].tolist() == [1, 0]
    assert (gain >= 0.3).tolist() == [[True, False], [False, False]]
    assert ids_of(overlap.track([frame_of(first), frame_of(second)], min_iou=0.3)) == [{1: 1, 2: 2}, {1: 1, 2: 3}]


@given(st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.integers(1, 1000), min_size=1, max_size=25))
def test_the_assignment_gains_as_much_as_the_best_of_all_choices(pairs):
    i, j = np.array(list(pairs)).T
    gain = np.array(list(pairs.values())) / 1000
    chosen_i, chosen_j = overlap.assign(i, j, gain)
    assert len({*chosen_i}) == len({*chosen_j}) == len(chosen_i)
    found = sum(pairs[pair] for pair in zip(chosen_i.tolist(), chosen_j.tolist(), strict=True))
    choices = (sum(pairs.get(pair, 0) for pair in enumerate(choice)) for choice in permutations(range(5)))
    assert found == max(choices)


def test_a_movie_without_contested_regions_does_not_import_the_optimiser():
    boxes = [[[0, 20 * n + t, 10, 20 * n + t + 12] for n in range(4)] for t in range(3)]
    code = (
        "import sys, numpy as np; from celltraces.tracking import overlap\n"
        "frames = np.zeros((3, 20, 100), np.uint8)\n"
        f"for t, of_frame in enumerate({boxes}):\n"
        "    for n, (y0, x0, y1, x1) in enumerate(of_frame, 1): frames[t, y0:y1, x0:x1] = n\n"
        "assert [m.ids.tolist() for m in overlap.track(frames)] == [[1, 2, 3, 4]] * 3\n"
        "assert 'scipy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(overlap.__file__).parents[2], check=True)


boxes = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(3, 25), st.integers(3, 25)), min_size=1, max_size=6
)


# No box of the first frame is of like size with one of the second.
UNLIKE = (
    [(0, 0, 3, 5), (0, 0, 3, 3), (0, 5, 3, 3), (1, 0, 3, 8), (1, 0, 3, 3), (2, 0, 3, 5)],
    [(0, 0, 3, 6), (0, 0, 4, 3), (0, 1, 5, 3), (0, 0, 3, 5), (0, 0, 3, 3), (0, 1, 3, 3)],
)


@settings(max_examples=100, deadline=None)
@example(*UNLIKE, 0.05)
@given(boxes, boxes, st.sampled_from([0.05, 0.1, 0.3]))
def test_the_total_iou_is_the_largest_possible(first, second, min_iou):
    frames = [frame_of([[y, x, y + h, x + w] for y, x, h, w in part], (60, 60)) for part in (first, second)]
    props = [measure.regionprops(frame) for frame in frames]
    gain = np.array([[oracles.box_iou(a.bbox, b.bbox) for b in props[1]] for a in props[0]])
    gain[gain < min_iou] = 0

    def best(row, free):
        if row == len(gain):
            return 0.0
        options = [best(row + 1, free)]
        options += [gain[row, j] + best(row + 1, free - {j}) for j in free if gain[row, j] > 0]
        return max(options)

    before, after = ids_of(overlap.track(frames, min_iou=min_iou))
    place = {track: i for i, track in enumerate(before.values())}
    pairs = [(place[track], j) for j, track in enumerate(after.values()) if track in place]
    assert all(gain[pair] > 0 for pair in pairs)
    assert sum(gain[pair] for pair in pairs) == pytest.approx(best(0, frozenset(range(gain.shape[1]))))


def test_of_equal_claims_that_of_the_track_seen_later_wins():
    seen_first, seen_later, now = [10, 5, 30, 25], [10, 15, 30, 35], [10, 10, 30, 30]
    assert oracles.box_iou(seen_first, now) == oracles.box_iou(seen_later, now)
    frames = [frame_of([box]) for box in (seen_first, seen_later, now)]
    assert ids_of(overlap.track(frames, min_iou=0.5)) == [{1: 1}, {1: 2}, {1: 2}]


def test_a_cell_that_is_there_does_not_take_the_place_of_a_neighbour_that_comes_back():
    """Neighbours whose boxes overlap; the first is missed once."""
    left, right = [10, 10, 30, 34], [20, 24, 50, 50]
    frames = [frame_of([left, right]), frame_of([None, right]), frame_of([left, [21, 25, 51, 51]])]
    assert ids_of(overlap.track(frames)) == [{1: 1, 2: 2}, {2: 2}, {1: 1, 2: 2}]
    # without memory, too: its own region overlaps more
    assert ids_of(overlap.track(frames, max_gap=0))[2] == {1: 3, 2: 2}


def test_sizes_are_inclusive_and_what_is_left_out_is_nobody():
    frames = [frame_of([[0, 0, 3, 3], [0, 20, 3, 24], [0, 40, 4, 44], [0, 60, 4, 65]])] * 2
    mappings = overlap.track(frames, min_size=12, max_size=16)
    assert ids_of(mappings) == [{2: 1, 3: 2}] * 2
    tracked = relabel(frames[1], mappings[1], np.uint16)
    np.testing.assert_array_equal(tracked, frame_of([[0, 20, 3, 24], [0, 40, 4, 44]]))


def test_relabel_writes_the_numbers_it_is_given():
    labels = np.array([[0, 9, 9, 4], [4, 0, 2, 2]], np.uint16)
    mapping = FrameTracks(np.array([2, 9], np.uint16), np.array([70000, 3]))
    tracked = relabel(labels, mapping, np.uint32)
    assert tracked.dtype == np.uint32
    assert tracked.tolist() == [[0, 3, 3, 0], [0, 0, 70000, 70000]]
    with pytest.raises(ValueError, match="70000"):
        relabel(labels, mapping, np.uint16)


def test_an_unknown_measure_is_named():
    with pytest.raises(UserError, match="^iou: 'pixel'"):
        overlap.track([], iou="pixel")


def test_frames_are_read_once_and_not_kept():
    alive = []

    def frames():
        for image, _ in walk(0, 9, 20, 140, missed=0.1):
            alive.append(weakref.ref(image))
            yield image
            del image
            assert sum(ref() is not None for ref in alive) <= 3

    for kind in ("box", "mask"):
        alive.clear()
        assert len(overlap.track(frames(), iou=kind, split_touching=True)) == 20


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(0, 4),
    st.sampled_from(["box", "mask"]),
    st.booleans(),
    st.sampled_from([None, 30]),
)
def test_what_always_holds(seed, max_gap, kind, split_touching, min_size):
    frames = list(blob_movie(seed, 10, (60, 70), 8))
    mappings = overlap.track(frames, max_gap=max_gap, iou=kind, split_touching=split_touching, min_size=min_size)
    assert len(mappings) == len(frames)
    last, highest = {}, 0
    for t, (labels, mapping) in enumerate(zip(frames, mappings, strict=True)):
        tracked = relabel(labels, mapping, np.uint16)
        ids = tracks_of(mapping)
        assert len(np.unique(ids)) == len(ids)
        assert np.array_equal(np.unique(tracked[tracked > 0]), np.sort(ids))
        label, area, _ = regions(labels)
        kept = np.isin(labels, label[area >= (min_size or 0)]) & (labels > 0)
        np.testing.assert_array_equal(tracked > 0, kept)
        # one region's pixels have one ID, unless the region was taken apart
        for region in mapping.labels:
            assert len(np.unique(tracked[labels == region])) == 1
        new = np.sort(ids[ids > highest])
        assert np.array_equal(new, np.arange(highest + 1, highest + 1 + len(new)))
        highest += len(new)
        for track in ids.tolist():
            assert t - last.get(track, t) <= max_gap + 1
            last[track] = t


def meeting(apart=20, frames=24):
    """Two disks that come together until they touch, stay so for some frames, and part again."""
    y, x = np.mgrid[:80, :140]
    for t in range(frames):
        distance = max(0, abs(t - frames // 2) - 4) * 3 + apart
        left = (y - 40) ** 2 + (x - 70 + distance / 2) ** 2 < 11**2
        right = (y - 40) ** 2 + (x - 70 - distance / 2) ** 2 < 11**2
        yield left, right, measure.label(left | right, connectivity=1).astype(np.uint16)


def test_cells_that_touch_keep_their_ids_and_their_pixels():
    left, right, frames = zip(*meeting(), strict=True)
    assert min(frame.max() for frame in frames) == 1
    tracked = [
        relabel(frame, mapping, np.uint16)
        for frame, mapping in zip(frames, overlap.track(frames, split_touching=True), strict=True)
    ]
    for image, a, b in zip(tracked, left, right, strict=True):
        assert (image[a & ~b] == 1).mean() > 0.9
        assert (image[b & ~a] == 2).mean() > 0.9
        assert set(np.unique(image)) == {0, 1, 2}


def test_without_split_touching_one_of_them_takes_both():
    _, _, frames = zip(*meeting(), strict=True)
    mappings = overlap.track(frames, split_touching=False)
    assert not any(mapping.parts for mapping in mappings)
    together = [len(mapping.ids) for mapping, frame in zip(mappings, frames, strict=True) if frame.max() == 1]
    assert set(together) == {1}
