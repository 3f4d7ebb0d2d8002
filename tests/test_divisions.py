"""Cells that divide: found with the right mother and daughters, and nothing that merely looks like a division."""

import itertools
import re
from collections import Counter
from pathlib import Path

import cv2
import h5py
import networkx
import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import Checkout, small_config
from curation_tools import check_tables, decide, open_results, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

import track_cells
from celltraces.exports import deepcell_label, deepcell_trk
from celltraces.features.filters import too_short
from celltraces.labels import lineage
from celltraces.labels.lineage import Division
from celltraces.labels.regions import FrameTracks, relabel
from celltraces.labels.shapes import shapes, shapes_of_pixels
from celltraces.segmentation import logstd
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing
from celltraces.tracking import overlap
from celltraces.tracking.divisions import find_divisions, numbered
from celltraces.tracking.sightings import sightings_of
from demo.dividing import Settings, score, simulate

SETTINGS = {"division_roundness": 0.65, "division_frames": 3, "division_min_age": 4}
SHAPE = (120, 160)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def ellipse(y, x, radius, length=1.0, angle=0.0):
    """Mask of a cell with the area of a disk of this radius; its long axis, at `angle` to x, is `length` short ones."""
    along = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
    across = (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)
    return (along / length**0.5) ** 2 + (across * length**0.5) ** 2 < radius**2


def frame_of(masks):
    labels = np.zeros(SHAPE, np.uint16)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels


OTHERS = [ellipse(20, 140, 12), ellipse(100, 20, 13), ellipse(100, 140, 14)]


def movie(cells, n_frames=24):
    """Frames with three cells that never change, and cells(frame): a list of masks; they come first."""
    return [frame_of([*cells(frame), *OTHERS]) for frame in range(n_frames)]


def dividing(frame, at=10, radius=14.0, share=0.5, apart=1.1, leaving=1.5, length=1.0, angle=0.3):
    """A cell at (60, 80) that divides in frame `at` into two that move apart along `angle`."""
    if frame < at:
        return [ellipse(60, 80, radius, length, angle)]
    radii = radius * share**0.5, radius * (1 - share) ** 0.5
    distance = apart * sum(radii) + leaving * (frame - at)
    return [
        ellipse(60 + side * np.sin(angle) * distance, 80 + side * np.cos(angle) * distance, size)
        for size, side in zip(radii, (1 - share, -share), strict=True)
    ]


def found_in(frames, track=overlap.track, max_gap=3, displacement=None, **changes):
    """Tracked frames and divisions."""
    mappings = [FrameTracks(*entry) for entry in track(frames)]
    seen = sightings_of(mappings, list(map(shapes, frames)), frames[0].shape, displacement)
    mappings, divisions = numbered(mappings, seen, find_divisions(seen, max_gap, **{**SETTINGS, **changes}))
    return [relabel(frame, mapping, np.uint16) for frame, mapping in zip(frames, mappings, strict=True)], divisions


def touching(frames):
    return overlap.track(frames, split_touching=True)


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
        for one, other in zip(found[1:], shapes_of_pixels(pixels, labels.shape)[1:], strict=True):
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
    seen = lineage.seen_in(set(np.unique(cells).tolist()) - {0} for cells in tracked)
    assert lineage.checked_divisions(divisions, seen, "") == (sorted(divisions), [])
    assert seen[1] == (0, 7)
    assert seen[second.parent] == (8, 19)


def pair(frame, at, start=0):
    """Two cells that touch as one region from frame `start` to `at`, and are apart after, and before."""
    apart = 26 + max(0, 1.5 * (frame - at)) + max(0, 2 * (start - frame))
    return [ellipse(60, 80 - apart / 2, 13), ellipse(60, 80 + apart / 2, 13)]


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


def test_one_daughter_may_be_larger_and_more_so_where_the_edge_cuts_the_other():
    assert len(found_in(movie(lambda frame: dividing(frame, share=0.31)))[1]) == 1
    at_edge = [[mask[53:] for mask in dividing(frame, angle=np.pi / 2)] for frame in range(24)]
    share = min(mask.sum() for mask in at_edge[10]) / max(mask.sum() for mask in at_edge[10])
    assert 0.15 < share < 0.4  # less than whole daughters may have
    frames = [np.zeros(SHAPE, np.uint16) for _ in at_edge]
    for labels, masks in zip(frames, at_edge, strict=True):
        for number, mask in enumerate(masks, start=1):
            labels[: len(mask)][mask] = number
    assert len(found_in(frames)[1]) == 1


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


@pytest.mark.parametrize("track", [overlap.track, touching])
def test_a_mother_who_shrank_at_once_divides_though_her_daughters_are_one_region_again(track):
    assert [(parent, frame) for parent, _, frame in found_in(movie(white), track)[1]] == [(1, 10)]


def growing_smaller(frame):
    return [ellipse(60, 80, 14.5 - 1.5 * (frame - 7))] if 7 <= frame < 10 else white(frame, of_daughter=9.3)


def halves_of_an_oval(frame):
    (cell,) = oval(frame, 12) if frame < 12 else white(frame)
    return [cell & (X < 80), cell & (X >= 80)] if frame in (10, 11) else [cell]


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
def test_what_is_apart_for_two_frames_is_no_division_unless_a_mother_shrank_at_once(cells):
    assert found_in(movie(cells))[1] == []


def test_a_mother_who_shrank_at_once_has_to_be_as_round_as_the_parameter_says():
    assert len(found_in(movie(oval), division_roundness=0.7)[1]) == 1
    assert found_in(movie(oval), division_roundness=0.8)[1] == []


def test_empty_movies():
    for frames in ([np.zeros(SHAPE, np.uint16)] * 3, [frame_of(OTHERS)]):
        assert found_in(frames)[1] == []


# ------------------------------------------------------------------------------------------------------------ the stage


def run_stage(tmp_path, frames, method="iou", **changes):
    with writing(tmp_path / "labeled/0", (len(frames), *SHAPE), np.uint16, LABELS) as append:
        for frame in frames:
            append(frame)
    linking = {"min_iou": 0.1, "iou": "box", "max_gap": 3, "min_size": None, "max_size": None, "split_touching": True}
    outputs = str(tmp_path / "tracked/0"), str(tmp_path / "lineage.csv")
    told = {**linking, **SETTINGS, "divisions": True, "max_touching": 10, "fov": 7, **changes}
    track_cells.main(str(tmp_path / "labeled/0"), *outputs, method, **told)
    array = open_frames(tmp_path / "tracked/0")
    return np.stack([array.read(frame) for frame in range(len(frames))]), pd.read_csv(tmp_path / "lineage.csv")


def test_the_stage_writes_who_came_from_whom(tmp_path):
    tracked, table = run_stage(tmp_path, movie(dividing))
    assert table.columns.tolist() == list(lineage.COLUMNS)
    assert table.fov.unique().tolist() == [7]
    for row in table.itertuples():
        frames = np.flatnonzero((tracked == row.cell).any(axis=(1, 2)))
        assert [row.first_frame, row.last_frame] == [frames[0], frames[-1]]
    born = table[table.parent.notna()]
    assert born[["parent", "division_frame", "first_frame"]].to_numpy().tolist() == [[1, 10, 10]] * 2
    assert set(table.cell) == set(np.unique(tracked)) - {0}


def test_without_divisions_one_daughter_goes_on_as_the_mother(tmp_path):
    tracked, table = run_stage(tmp_path, movie(dividing), divisions=False)
    assert table.parent.isna().all()
    assert table[table.cell == 1].last_frame.item() == 23
    expected = overlap.track(movie(dividing), split_touching=True)
    for cells, labels, mapping in zip(tracked, movie(dividing), expected, strict=True):
        np.testing.assert_array_equal(cells, relabel(labels, mapping, np.uint16))


def test_divisions_are_found_after_a_method_of_the_users(tmp_path):
    """Its numbers are kept, and so is what it says of labels that are in no frame."""
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def track(frames):\n"
        "    n = [int(frame.max()) for frame in frames]\n"
        "    first = lambda n: [30, 20, 10, 40] if n == 4 else [30, 50, 20, 10, 40]\n"
        "    return [(np.append(np.arange(1, k + 1), 99), np.array([*first(k), 60])) for k in n]\n"
    )
    tracked, table = run_stage(tmp_path, movie(dividing), f"{tmp_path / 'mine.py'}:track")
    assert table[table.parent.notna()].cell.tolist() == [50, 61]
    assert table[table.parent.notna()].parent.tolist() == [30, 30]
    assert set(np.unique(tracked)) == {0, 10, 20, 30, 40, 50, 61}


# ------------------------------------------------------------------------------------------------------------- filters


@settings(deadline=None)
@given(st.data())
def test_mothers_and_daughters_count_together(data):
    n = data.draw(st.integers(1, 12))
    origins = {cell: (data.draw(st.integers(1, cell - 1)), 0) for cell in range(2, n + 1) if data.draw(st.booleans())}
    n_frames = {cell: data.draw(st.integers(0, 5)) for cell in range(1, n + 1)}
    graph = networkx.DiGraph((parent, cell) for cell, (parent, _) in origins.items())
    graph.add_nodes_from(n_frames)
    ends = [[node for node in graph if not degree(node)] for degree in (graph.in_degree, graph.out_degree)]
    paths = [
        path
        for first, last in itertools.product(*ends)
        for path in ([[first]] if first == last else networkx.all_simple_paths(graph, first, last))
    ]
    expected = {cell: max(sum(n_frames[one] for one in path) for path in paths if cell in path) for cell in n_frames}
    assert lineage.longest_lines(n_frames, origins) == expected
    valid = np.array([np.arange(5) < n_frames[cell] for cell in n_frames])
    short = too_short(np.arange(1, n + 1), valid, 4, origins)
    assert short.tolist() == [expected[cell] < 4 for cell in n_frames]


# ------------------------------------------------------------------------------------------------- the whole workflow


@pytest.fixture(scope="module")
def divided(experiment, tmp_path_factory):
    """A finished run on a movie with a cell that divides, with exports."""
    from demo.make_demo import write_experiment

    rng = np.random.default_rng(4)
    frames = movie(lambda frame: dividing(frame, radius=16, apart=1.6, leaving=1.0), 20)

    def plane(fov, frame, channel, z=0):
        inside = frames[frame] > 0
        if channel:
            return np.where(inside, 900, 300).astype(np.uint16)
        return (6000 + rng.normal(0, 20, SHAPE) + inside * rng.normal(0, 1500, SHAPE)).astype(np.uint16)

    planes = {(frame, channel): plane(0, frame, channel) for frame in range(20) for channel in range(3)}
    size = {"n_fovs": 1, "n_frames": 20, "height": SHAPE[0], "width": SHAPE[1]}
    folder = tmp_path_factory.mktemp("dividing")
    write_experiment(folder, experiment._replace(plane=lambda _, t, c, z=0: planes[t, c], **size), "small")
    checkout = Checkout(tmp_path_factory.mktemp("run"))
    config = small_config(folder, exports=["ctc", "geff", "trackmate", "deepcell_label", "deepcell_trk", "anndata"])
    config["params"] |= {"min_frames": 15, "border_margin": 0}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    checkout.results = checkout.folder / "results/small"
    return checkout


@pytest.mark.workflow
def test_a_division_reaches_tables_exports_and_report(divided):
    results = divided.results
    table = pd.read_csv(results / "fov_000/small_fov_000_lineage.csv")
    born = table[table.parent.notna()]
    (parent,), (frame,) = set(born.parent.astype(int)), set(born.division_frame.astype(int))
    daughters = born.cell.tolist()
    assert len(daughters) == 2
    assert frame in (10, 11)
    labels = zarr.open_array(results / "fov_000/images.zarr/seg_tracked_ch_0/0", mode="r")[:]
    assert not (labels[frame:] == parent).any()

    # The mother and her daughters are there in fewer than min_frames each.
    traces = pd.read_csv(results / "fov_000/small_fov_000_traces.csv")
    assert {parent, *daughters} <= set(traces.cell)
    assert "parent" not in traces.columns
    assert traces.groupby("cell").size()[[parent, *daughters]].max() < 15
    for tidy in (pd.read_csv(results / "small_traces.csv"), pd.read_parquet(results / "small_traces.parquet")):
        assert list(tidy.columns[-2:]) == ["parent", "division_frame"]
        rows = tidy[tidy.parent.notna()]
        assert set(rows.cell) == {*daughters}
        assert set(zip(rows.parent, rows.division_frame, strict=True)) == {(parent, frame)}
        assert len(rows) == traces.cell.isin(daughters).sum()

    exports = results / "fov_000/exports"
    (tracks,) = exports.rglob("res_track.txt")
    assert {int(line.split()[0]) for line in tracks.read_text().splitlines() if int(line.split()[3]) == parent} == {
        *daughters
    }
    expected = [Division(parent, tuple(daughters), frame)]
    with deepcell_label.reading_project(exports / "small_fov_000.zip", labels.shape, 3) as project:
        assert list(project.divisions) == expected
    with deepcell_trk.reading_trk(exports / "small_fov_000.trk", labels.shape, 3) as project:
        assert list(project.divisions) == expected
    graph = zarr.open_group(next(exports.rglob("*.geff")), mode="r")
    number = dict(zip(graph["nodes/ids"][:], graph["nodes/props/tracklet/values"][:], strict=True))
    edges = [(number[a], number[b]) for a, b in graph["edges/ids"][:]]
    assert {(a, b) for a, b in edges if a != b} == {(parent, daughter) for daughter in daughters}
    sources = re.findall(r'SPOT_SOURCE_ID="(\d+)"', (exports / "small_fov_000_trackmate.xml").read_text())
    assert sorted(Counter(sources).values())[-2:] == [1, 2]
    with h5py.File(exports / "small_fov_000.h5ad") as file:
        assert set(file["obs/cell"][:][file["obs/parent"][:] == parent]) == {*daughters}
    assert "<b>1</b> division<" in (results / "report.html").read_text()
    assert Path(results / "qc.csv").read_text().count("cells_vanish") == 0


@pytest.mark.workflow
def test_what_the_page_shows_of_descent_is_what_the_tables_say(divided):
    """Daughters exchanged, one divides again by hand; then all taken back, and the mother joined with one of them."""
    results = open_results(divided.folder / "results")
    before = shown(results, "small", 0)
    ((one, (mother, frame)), (other, _)) = sorted(before[1].items())

    swap = decide(results, "small", 0, "swap", cell=one, other=other, frame=frame + 2)
    again = decide(results, "small", 0, "divide", cell=one, daughters=[one], frame=frame + 4)
    _, descent = shown(results, "small", 0)
    (new,) = descent.keys() - {one, other}
    assert descent == {one: (mother, frame), other: (mother, frame), new: (one, frame + 4)}
    outcome = divided.run(None)
    assert outcome.code == 0, outcome.text
    check_tables(results, "small", 0)

    for edit in (again, swap):
        decide(results, "small", 0, "undo", of=edit)
    assert shown(results, "small", 0) == before
    decide(results, "small", 0, "join", cell=mother, other=one, frame=frame)
    rows, descent = shown(results, "small", 0)
    assert one not in {cell for cell, _ in rows}
    assert descent == {}


# -------------------------------------------------------------------------------------------------- after segmentation


def phase_contrast(frames):
    """Images of granular cells, dark on average, with a bright halo around each, and noise."""
    rng = np.random.default_rng(5)
    grain = cv2.GaussianBlur(rng.standard_normal(SHAPE), (0, 0), 0.8)
    for labels in frames:
        beyond = ndimage.distance_transform_edt(labels == 0)
        inside = 0.12 * grain / grain.std() - 0.03
        image = 1 + np.where(labels > 0, inside, 0.05 * np.exp(-0.5 * ((beyond - 3.5) / 3) ** 2))
        yield np.rint(6000 * (image + 0.009 * rng.standard_normal(SHAPE))).astype(np.uint16)


def near_daughters(frame):
    """They touch at first, and are nearer to each other than the closing reaches for all of the movie."""
    return dividing(frame, at=8, radius=16, apart=1.05, leaving=0.6)


def test_divisions_are_found_after_segmentation():
    """The closing bridges 18 px, and the daughters are never that far from each other."""
    frames = movie(near_daughters, 20)
    labels = [logstd.segment_frame(image) for image in phase_contrast(frames)]
    tracked, divisions = found_in(labels, touching)
    ((parent, daughters, frame),) = divisions
    assert 8 <= frame <= 11
    assert set(tracked[7][near_daughters(7)[0]].tolist()) <= {0, parent}
    numbers = [np.bincount(tracked[19][mask]) for mask in near_daughters(19)]
    assert {int(number.argmax()) for number in numbers} == {*daughters}
    assert all(number.max() > 0.8 * number.sum() for number in numbers)


def test_neighbours_that_meet_and_part_are_no_division_after_segmentation():
    frames = movie(lambda frame: pair(frame, 14, start=6), 24)
    labels = [logstd.segment_frame(image) for image in phase_contrast(frames)]
    assert {int(image.max()) for image in labels} == {4, 5}  # three others, and both as one region or as two
    assert found_in(labels, touching)[1] == []
