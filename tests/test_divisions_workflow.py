"""Divisions in the stage, in filters, in a whole run, and after segmentation."""

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
from division_tools import SETTINGS, SHAPE, dividing, found_in, movie, pair, touching
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import track_cells
from celltraces.exports import deepcell_label, deepcell_trk
from celltraces.features.filters import too_short
from celltraces.labels import lineage
from celltraces.labels.lineage import Division
from celltraces.labels.regions import relabel
from celltraces.segmentation import logstd
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing
from celltraces.tracking import overlap

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


@pytest.mark.parametrize(("outline", "regions"), [("cell", {5}), ("halo", {4, 5})])
def test_neighbours_that_meet_and_part_are_no_division_after_segmentation(outline, regions):
    """Beside three others, they are always two regions, parted at their neck, or one while they touch."""
    frames = movie(lambda frame: pair(frame, 14, start=6), 24)
    labels = [logstd.segment_frame(image, logstd_outline=outline) for image in phase_contrast(frames)]
    assert {int(image.max()) for image in labels} == regions
    assert found_in(labels, touching)[1] == []
