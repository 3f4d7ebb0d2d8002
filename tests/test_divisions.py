"""Cells that divide: found with the right mother and daughters, and nothing that merely looks like a division."""

import itertools

import numpy as np
import pytest
from division_tools import OTHERS, SHAPE, X, dividing, ellipse, found_in, frame_of, movie, pair, touching
from evaluation.label_movies import Settings, score, simulate
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import measure

from celltraces.labels import lineage
from celltraces.labels.regions import FrameTracks, relabel
from celltraces.labels.shapes import shapes, shapes_of_pixels
from celltraces.tracking import overlap
from celltraces.tracking.shared_regions import part_regions

# ----------------------------------------------------------------------------------------------------------- the table


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint16, np.int32]))
def test_shapes_are_those_of_scikit_image(seed, dtype):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 5, (5, 6)) * (rng.random((5, 6)) < 0.7), np.ones((3, 4), int)).astype(dtype)
    labels[rng.random(labels.shape) < 0.2] = 0
    found = shapes(labels)
    expected = measure.regionprops(labels.astype(np.int64))
    assert found.label.tolist() == [region.label for region in expected]
    assert found.area.tolist() == [region.area for region in expected]
    np.testing.assert_allclose(
        np.stack([found.y, found.x], axis=1).reshape(-1, 2), [r.centroid for r in expected] or np.zeros((0, 2))
    )
    # A pixel is a square here, there a point.
    axes = 2 * np.sqrt(np.array([region.inertia_tensor_eigvals for region in expected]).reshape(-1, 2) + 1 / 12)
    np.testing.assert_allclose(found.roundness, axes[:, 1] / axes[:, 0], atol=1e-7)
    np.testing.assert_allclose(found.filling, found.area / (np.pi * axes.prod(axis=1)), atol=1e-7)
    pixels = [np.flatnonzero(labels.ravel() == label) for label in found.label]
    if pixels:
        for one, other in zip(found.columns(), shapes_of_pixels(pixels, labels.shape).columns(), strict=True):
            np.testing.assert_allclose(one, other)


# ---------------------------------------------------------------------------------------------------------- divisions


@pytest.mark.parametrize("track", [overlap.track, touching])
@pytest.mark.parametrize("apart", [1.05, 1.6], ids=["near", "far"])  # far: linking gives neither the mother's number
@pytest.mark.parametrize("share", [0.5, 0.4])
def test_a_mother_ends_and_has_two_daughters(track, apart, share):
    frames = movie(lambda frame: dividing(frame, apart=apart, share=share))
    tracked, divisions = found_in(frames, track)
    ((parent, daughters, frame),) = divisions
    assert (parent, frame) == (1, 10)
    assert min(daughters) == 5
    for at, (cells, labels) in enumerate(zip(tracked, frames, strict=True)):
        masks = dividing(at, apart=apart, share=share)
        numbers = [set(np.unique(cells[mask & (labels > 0)]).tolist()) for mask in masks]
        assert numbers in ([[{1}]] if at < 10 else [[{a}, {b}] for a, b in itertools.permutations(daughters)])
        for number, other in zip((2, 3, 4), OTHERS, strict=True):
            assert set(np.unique(cells[other]).tolist()) == {number}


@pytest.mark.parametrize("missing", [{9}, {10}, {11}, {9, 10}], ids=str)
@pytest.mark.parametrize("which", [0, 1])
def test_a_mother_or_a_daughter_may_be_missed_for_a_moment(missing, which):
    def cells(frame):
        masks = dividing(frame)
        return masks if frame not in missing else [mask for at, mask in enumerate(masks) if at != which % len(masks)]

    tracked, divisions = found_in(movie(cells))
    ((parent, daughters, frame),) = divisions
    assert parent == 1
    assert frame - 10 in (0, 1)
    assert {*daughters} <= {*np.unique(tracked[20]).tolist()}


@pytest.mark.parametrize("track", [overlap.track, touching])
@pytest.mark.parametrize("together", [{11}, {12}, {11, 12}], ids=str)
def test_daughters_may_be_one_region_again_for_a_moment(track, together):
    """The mother, an ellipse, becomes round, and so smaller, three frames before: that is no division yet."""

    def cells(frame):
        if frame < 7:
            return [ellipse(60, 80, 15.5, 1.3)]
        return as_one(dividing(frame, apart=1.05, leaving=2.0), frame in together)

    _, divisions = found_in(movie(cells), track)
    ((parent, daughters, frame),) = divisions
    assert (parent, frame) == (1, 10)
    assert min(daughters) == 5


def test_daughters_divide_again():
    def cells(frame):
        if frame < 20:
            return dividing(frame, at=8, radius=16, angle=0.0)
        one, other = dividing(20, at=8, radius=16, angle=0.0)
        y, x = (axis.mean() for axis in np.nonzero(one))
        distance = 1.1 * 16 + 1.2 * (frame - 20)
        return [ellipse(y - distance / 2, x, 8), ellipse(y + distance / 2, x, 8), other]

    tracked, divisions = found_in(movie(cells, 32))
    (first, second) = sorted(divisions, key=lambda division: division.frame)
    assert (first.parent, first.frame, second.frame) == (1, 8, 20)
    assert second.parent in first.daughters
    assert len({*first.daughters, *second.daughters, 1, 2, 3, 4}) == 8
    seen = lineage.first_and_last(set(np.unique(cells).tolist()) - {0} for cells in tracked)
    assert lineage.checked_divisions(divisions, seen, "") == (sorted(divisions), [])
    assert seen[1] == (0, 7)
    assert seen[second.parent] == (8, 19)


def as_one(masks, together):
    return [masks[0] | masks[1]] if together else masks


LOOK_ALIKE = {
    "a part comes apart for two frames": lambda f: dividing(10, apart=1.05) if f in (10, 11) else [ellipse(60, 80, 14)],
    "that again and again": lambda f: dividing(10, apart=1.05) if f % 5 in (0, 1) and f > 5 else [ellipse(60, 80, 14)],
    "a round cell, in two parts for one frame in four": lambda f: (
        [ellipse(60, 80, 15.5, 1.3)] if f < 7 else dividing(10, apart=1.05) if f % 4 == 2 else [ellipse(60, 80, 14)]
    ),
    "halves that never move apart": lambda f: (
        [ellipse(60, 80, 14)] if f < 10 else [ellipse(60, 80, 14) & (X < 80), ellipse(60, 80, 14) & (X > 80)]
    ),
    "two that touched from the start": lambda f: as_one(pair(f, 12), f < 12),
    "two that met": lambda f: as_one(pair(f, 14, start=6), 6 <= f < 14),
    "two that met at once": lambda f: as_one(pair(f, 14, start=2), 2 <= f < 14),
    "a cell comes beside another": lambda f: [ellipse(60, 80, 14), *([ellipse(60, 104, 10)] if f > 9 else [])],
    "a small piece comes off": lambda f: dividing(f, share=0.2),
    "a long cell breaks": lambda f: dividing(f, length=3.0),
    "a mother of three frames": lambda f: dividing(f, at=3),
    "a cell goes and two others come": lambda f: (
        [ellipse(60, 80, 14)] if f < 10 else [ellipse(60, 50, 10), ellipse(60, 110, 10)]
    ),
    "a cell becomes smaller beside a new one": lambda f: (
        [ellipse(60, 80, 14)] if f < 10 else [ellipse(60, 80, 14), ellipse(60, 104, 14)]
    ),
    "a cell becomes smaller in its place beside a new one": lambda f: (
        [ellipse(60, 80, 14)] if f < 10 else [ellipse(60, 80, 11.5), ellipse(60, 103, 9.5)]
    ),
    "a cell rounds up and leaves two unlike pieces that stay": lambda f: rounding_up(f, 10, share=0.36, leaving=0.3),
    "a cell rounds up and leaves two pieces of less area that stay": lambda f: (
        rounding_up(f, 10, leaving=0.3) if f < 10 else dividing(f, 10, radius=12.5, leaving=0.3)
    ),
    "the end of the movie": lambda f: dividing(f, at=22),
}


@pytest.mark.parametrize("track", [overlap.track, touching])
@pytest.mark.parametrize("what", LOOK_ALIKE)
def test_what_is_no_division(track, what):
    frames = movie(LOOK_ALIKE[what])
    mappings = [FrameTracks(*entry) for entry in track(frames)]
    tracked, divisions = found_in(frames, track)
    assert divisions == []
    for cells, labels, mapping in zip(tracked, frames, mappings, strict=True):
        np.testing.assert_array_equal(cells, relabel(labels, mapping, np.uint16))


def test_a_jump_of_the_stage_is_no_division():
    """Cells land on the places of others; a round one of the right size between two smaller ones."""

    def cells(frame):
        masks = [ellipse(60, 80, 14)] if frame < 10 else [ellipse(61, 69, 10), ellipse(59, 91, 10)]
        return [*masks, *(ellipse(20 + (40 if frame < 10 else 0), x, 12) for x in (20, 50))]

    frames = [frame_of(cells(frame)) for frame in range(20)]
    at_rest = np.zeros((20, 2))
    assert len(found_in(frames, displacement=at_rest)[1]) == 1
    moved = at_rest.copy()
    moved[10:] = (-40, 30)
    assert found_in(frames, displacement=moved)[1] == []


def test_where_all_cells_are_new_the_stage_has_moved():
    def cells(frame):
        if frame < 10:
            return [ellipse(60, 80, 14), *OTHERS]
        return [*dividing(frame, apart=1.6), ellipse(20, 20, 12), ellipse(20, 60, 13)]

    assert found_in([frame_of(cells(frame)) for frame in range(20)])[1] == []


@pytest.mark.parametrize(
    ("changes", "at", "n_divisions"),
    [
        ({"division_min_age": 11}, 10, 0),
        ({"division_min_age": 10}, 10, 1),
        ({"division_frames": 15}, 10, 0),
        ({"division_frames": 10}, 10, 1),
        ({"division_frames": 2}, 22, 1),
        ({"max_gap": 0}, 10, 1),
    ],
)
def test_thresholds(changes, at, n_divisions):
    assert len(found_in(movie(lambda frame: dividing(frame, at=at)), **changes)[1]) == n_divisions


def test_how_round_a_mother_has_to_be_is_a_parameter():
    frames = movie(lambda frame: dividing(frame, length=2.5, angle=0.0))
    assert found_in(frames)[1] == []
    assert len(found_in(frames, division_roundness=0.4)[1]) == 1


@pytest.mark.parametrize("seed", [501, 502])
def test_simulated_movies(seed):
    """Not those that the constants were chosen on; benchmarks/divisions.py has many more."""
    kind = Settings(n_cells=30, n_frames=30, size=300, radius=10, pairs=4, splits=0.005, missed=0.02, late=2)
    simulated = simulate(kind, seed)
    tracked, divisions = found_in(list(simulated.labels), touching)
    known = score(simulated, np.stack(tracked), divisions)
    assert known.true - known.late >= 8
    assert known.found >= 0.9 * (known.true - known.late)
    assert known.wrong <= 0.05 * known.found


def rounding_up(frame, at, **changes):
    """A cell that becomes round, and smaller, in the three frames before it divides in frame `at`."""
    return [ellipse(60, 80, 15.5, 1.3)] if frame < at - 3 else dividing(frame, at, **changes)


@pytest.mark.parametrize("track", [overlap.track, touching])
@pytest.mark.parametrize("at", [22, 23])
def test_in_the_last_frames_a_mother_has_to_round_up(track, at):
    def halves(frame):
        half = ellipse(60, 80, 14) & (X < 80)
        return rounding_up(frame, at) if frame < at else [np.roll(half, -5, axis=1), np.roll(half[:, ::-1], 5, axis=1)]

    _, divisions = found_in(movie(lambda frame: rounding_up(frame, at)), track)
    assert [(parent, frame) for parent, _, frame in divisions] == [(1, at)]
    assert found_in(movie(lambda frame: dividing(frame, at)), track)[1] == []
    assert found_in(movie(halves), track)[1] == []
    assert found_in(movie(lambda frame: rounding_up(frame, at, share=0.34)), track)[1] == []


@pytest.mark.parametrize(("apart", "n_divisions"), [(0.9, 1), (0.7, 0)])
def test_round_halves_of_a_mother_who_rounded_up_may_touch(apart, n_divisions):
    """They are as far apart from the first to the last frame."""
    frames = movie(lambda frame: rounding_up(frame, 10, apart=apart, leaving=0))
    assert len(found_in(frames)[1]) == n_divisions


def test_daughters_may_spread_at_once():
    """They are 1.15 times as large as she was when they are new, and 1.37 times in the next frame."""

    def cells(frame):
        return (
            dividing(frame, radius=15 * (1 + 0.09 * min(frame - 10, 5))) if frame >= 10 else [ellipse(60, 80, 14, 1.12)]
        )

    assert [(parent, frame) for parent, _, frame in found_in(movie(cells))[1]] == [(1, 10)]


def test_a_large_mother_is_one_cell_if_she_rounds_up():
    """She has 1.6 times the area of three quarters of the cells, as two that touch may have."""
    assert found_in(movie(lambda frame: dividing(frame, radius=20)))[1] == []
    large = movie(lambda frame: [ellipse(60, 80, 22, 1.3)] if frame < 7 else dividing(frame, radius=20))
    assert [(parent, frame) for parent, _, frame in found_in(large)[1]] == [(1, 10)]


def leaving_a_neighbour(frame):
    """A mother who is in one region with a neighbour from frame 6 on, and leaves it as two daughters in frame 10."""
    neighbour = ellipse(60, 106 if 6 <= frame < 10 else 112, 13)
    mothers = dividing(frame, angle=np.pi / 2)
    return [mothers[0] | neighbour] if 6 <= frame < 10 else [*mothers, neighbour]


@pytest.mark.parametrize("track", [overlap.track, touching])
def test_a_mother_may_divide_as_she_leaves_a_neighbour(track):
    frames = [labels for labels, _ in part_regions(movie(leaving_a_neighbour), 10)]
    tracked, ((parent, daughters, frame),) = found_in(frames, track)
    assert (parent, frame) == (tracked[0][60, 80], 10)
    assert {*daughters} == {tracked[-1][mask].min() for mask in dividing(23, angle=np.pi / 2)}
    assert tracked[-1][60, 112] == tracked[0][60, 112]


@pytest.mark.parametrize("track", [overlap.track, touching])
def test_nothing_wrong_is_found_where_the_region_of_a_mother_and_a_neighbour_is_missed(track):
    """What is seen of her last is both: she may be missed, but the neighbour is no daughter, and keeps its number."""
    frames = movie(lambda frame: [] if frame == 8 else leaving_a_neighbour(frame))
    frames = [labels for labels, _ in part_regions(frames, 10)]
    tracked, divisions = found_in(frames, track)
    numbers = {tracked[-1][mask].min() for mask in dividing(23, angle=np.pi / 2)}
    assert all({*daughters} == numbers for _, daughters, _ in divisions)


def test_one_daughter_may_be_larger():
    assert len(found_in(movie(lambda frame: dividing(frame, share=0.31)))[1]) == 1


@pytest.mark.parametrize("track", [overlap.track, touching])
def test_a_daughter_may_run_together_with_a_neighbour(track):
    """Two frames after the division, for the rest of the movie; so the sisters are seen apart in two frames."""

    def cells(frame):
        masks = dividing(frame, apart=1.1, leaving=3.0, angle=0.0)
        neighbour = ellipse(60, 80 + 39, 13)
        if frame < 12:
            return [*masks, neighbour]
        right = int(np.argmax([np.nonzero(mask)[1].mean() for mask in masks]))
        return [masks[1 - right] & (X < 90), ellipse(60, 80 + 17, 10) | neighbour]

    (division,) = found_in(movie(cells), track)[1]
    assert (division.parent, division.frame) == (1, 10)
    # Where there is no neighbour that grows, she is gone, and that is none.
    assert found_in(movie(lambda frame: cells(frame)[: 1 if frame >= 12 else None]), track)[1] == []


def dying(frame, pieces, until=99):
    """A cell that comes into pieces in frame 10, which are gone from frame `until` on."""
    if frame < 10:
        return [ellipse(60, 80, 14)]
    places = [(55, 66), (55, 94), (76, 80)][:pieces] if pieces > 2 else [(60, 68), (60, 92)]
    return [ellipse(y, x, 9.5 if pieces == 2 else 7.5) for y, x in places] if frame < until else []


@pytest.mark.parametrize("track", [overlap.track, touching])
def test_a_dead_cell_does_not_divide(track):
    assert len(found_in(movie(lambda frame: dying(frame, 2)), track)[1]) == 1  # which nothing tells from a division
    assert found_in(movie(lambda frame: dying(frame, 2, until=17)), track)[1] == []
    assert found_in(movie(lambda frame: dying(frame, 3)), track)[1] == []
    assert len(found_in(movie(lambda frame: dying(frame, 3)[:2]), track)[1]) == 1


def spreading(frame, at=10, share=0.36, until=99):
    """A cell that rounds up and divides; its daughters grow from then on, and one is missed from frame `until` on."""
    if frame < at:
        return rounding_up(frame, at)
    since = frame - at
    daughters = dividing(frame, at, radius=14 * (1 + 0.025 * min(since, 8)), share=share)
    return daughters if frame < until else daughters[:1]


@pytest.mark.parametrize("track", [overlap.track, touching])
def test_daughters_that_spread_may_be_unlike(track):
    """Pieces of a dead cell may be so as well, but stay as they are: LOOK_ALIKE has them."""
    _, divisions = found_in(movie(spreading), track)
    assert [(parent, frame) for parent, _, frame in divisions] == [(1, 10)]


def test_a_daughter_that_grew_may_be_missed_later():
    """A piece that dissolves does not grow before: `test_a_dead_cell_does_not_divide`."""
    _, divisions = found_in(movie(lambda frame: spreading(frame, share=0.45, until=18)))
    assert [(parent, frame) for parent, _, frame in divisions] == [(1, 10)]
    not_grown = movie(lambda frame: rounding_up(frame, 10)[: 1 if frame >= 18 else 2])
    assert found_in(not_grown)[1] == []


def white(frame, radius=11.5, of_daughter=8.5, length=1.0, distance=19.0, off=0.0, apart=(10, 11)):
    """A flat cell that becomes a small ball in frame 7, two balls in frames `apart`, and is one flat region later."""
    if frame < 7:
        return [ellipse(60, 80, 16, 1.7, 0.3)]
    if frame < 10:
        return [ellipse(60, 80, radius)]
    if frame not in apart:
        return [ellipse(60, 80, 17, 1.6)]
    return [ellipse(60, 80 + off + at, of_daughter, length, np.pi / 2) for at in (-distance / 2, distance / 2)]


def oval(frame, until=10):
    return [ellipse(60, 80, 11.5, 1.38)] if 7 <= frame < until else white(frame)


def growing_smaller(frame):
    return [ellipse(60, 80, 14.5 - 1.5 * (frame - 7))] if 7 <= frame < 10 else white(frame, of_daughter=9.3)


def halves_of_an_oval(frame):
    (cell,) = oval(frame, 12) if frame < 12 else white(frame)
    return [cell & (X < 80), cell & (X >= 80)] if frame in (10, 11) else [cell]


def test_round_halves_of_a_ball_are_apart_for_two_frames_at_least():
    """Then segmentation takes them for one cell again: they spread and touch."""
    assert [(parent, frame) for parent, _, frame in found_in(movie(white))[1]] == [(1, 10)]


@pytest.mark.parametrize(
    "cells",
    [
        lambda frame: white(frame, radius=15, of_daughter=11, distance=24),  # she did not shrink
        growing_smaller,
        lambda frame: white(frame, of_daughter=7.5),  # pieces that are less than she was
        lambda frame: white(frame, of_daughter=11, distance=24),  # more than she was
        lambda frame: white(frame, length=1.9),  # long pieces
        lambda frame: white(frame, apart=(10,)),
        lambda frame: white(frame, apart=(10, 12)),
        lambda frame: white(frame, off=6),  # not where she was
        halves_of_an_oval,
    ],
)
def test_what_is_apart_for_two_frames_is_no_division(cells):
    assert found_in(movie(cells))[1] == []


def test_daughters_who_spread_to_twice_her_area_soon_are_compared_as_they_were_at_first():
    """A mother who was round in all of her last frames, half as large as she was flat."""

    def cells(frame):
        if frame < 10:
            return [ellipse(60, 80, 10)]
        radius, away = (7.1, 9.3, 10.3)[min(frame - 10, 2)], 10.5 + 1.5 * min(frame - 10, 6)
        return [ellipse(60, 80 - away, radius), ellipse(60, 80 + away, radius)]

    assert [(parent, frame) for parent, _, frame in found_in(movie(cells))[1]] == [(1, 10)]


def in_one_frame(frame, at=10, ball=10.0, length=1.0, of_daughter=7.2, share=1.0, distance=20.0, off=0.0):
    """A flat cell that is a small ball in the frame before `at`, alone, and then two that spread."""
    if frame < at - 1:
        return [ellipse(60, 80, 14.5, 1.3)]
    if frame == at - 1:
        return [ellipse(60, 80, ball, length)]
    radius = min(of_daughter + 0.7 * (frame - at), 10)
    away = distance / 2 + 1.2 * (frame - at)
    return [ellipse(60, 80 + off - away, radius), ellipse(60, 80 + off + away, radius * share)]


def test_a_mother_who_was_small_in_one_frame_alone_divides():
    """As where frames are 20 min apart."""
    assert [(parent, frame) for parent, _, frame in found_in(movie(in_one_frame))[1]] == [(1, 10)]


@pytest.mark.parametrize(
    "changed",
    [
        {"of_daughter": 6.0},  # pieces that are less than she was
        {"length": 1.5},  # she was not round
        {"share": 0.7},  # pieces of unlike size
        {"off": 6.0},  # not where she was
    ],
)
def test_what_is_small_in_one_frame_alone_and_no_ball_that_parts_is_no_mother(changed):
    assert not found_in(movie(lambda frame: in_one_frame(frame, **changed)))[1]


def test_empty_movies():
    for frames in ([np.zeros(SHAPE, np.uint16)] * 3, [frame_of(OTHERS)]):
        assert found_in(frames)[1] == []
