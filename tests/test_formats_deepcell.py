"""DeepCell Label projects and .trk files: what is written, and what comes back (refused: test_bad_corrections)."""

import hashlib
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import tifffile
from conftest import real_file
from deepcell_tools import DIVISIONS, MASKS, SHAPE, apply, client_export, read_back, rewrite, tiff, trk, write
from formats_tools import (
    Stack,
    divisions_for,
    images_for,
    labels_of,
    masks_of,
    masks_read,
    movies_of_cells,
    same_masks,
    stack_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import apply_corrections
from celltraces.errors import UserError
from celltraces.exports import deepcell_label, deepcell_trk
from celltraces.labels import lineage, shared_pixels
from celltraces.labels.lineage import Division

# -------------------------------------------------------------------------------------------------- overlaps, lineage


@given(st.sets(st.integers(0, 400)))
def test_runs_are_pixels(pixels):
    ordered = np.array(sorted(pixels), np.int64)
    runs = shared_pixels.to_runs(ordered)
    assert shared_pixels.to_pixels(runs).tolist() == ordered.tolist()
    starts, ends = runs[::2], [start + length for start, length in zip(runs[::2], runs[1::2], strict=True)]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))  # as few runs as there can be


@given(movies_of_cells())
def test_regions_are_those_of_the_masks(movie):
    shape, masks = movie
    labels = stack_of(shape, masks)
    for frame in range(shape[0]):
        cells, areas, boxes = shared_pixels.regions_with_hidden(labels, frame)
        present = [cell for cell in sorted(masks) if masks[cell][frame].any()]
        assert cells.tolist() == present
        for cell, area, box in zip(present, areas.tolist(), boxes.tolist(), strict=True):
            y, x = np.nonzero(masks[cell][frame])
            assert (area, box) == (len(y), [y.min(), x.min(), y.max() + 1, x.max() + 1])


@pytest.mark.parametrize(
    ("divisions", "words"),
    [
        ([Division(1, (2,), 5), Division(1, (3,), 5)], "cell 1 divides twice"),
        ([Division(1, (1,), 5)], "its own daughter"),
        ([Division(1, (3,), 5), Division(2, (3,), 5)], "cell 3 has two parents, 1 and 2"),
        ([Division(1, (3,), 5), Division(3, (1,), 0)], "round in a circle"),
        ([Division(4, (3,), 5)], "cell 4 is still there in frame 9"),
        ([Division(1, (3,), 5), Division(8, (4,), 0)], "cell 8 divides and is in no frame"),
    ],
)
def test_impossible_divisions_are_refused(divisions, words):
    seen = {1: (0, 4), 2: (0, 4), 3: (5, 9), 4: (0, 9)}
    with pytest.raises(UserError, match=words) as caught:
        lineage.checked_divisions(divisions, seen, "c.zip")
    assert str(caught.value).startswith("c.zip: ")
    assert "\n" not in str(caught.value)


def test_divisions_are_mended_where_that_is_safe():
    seen = {1: (0, 4), 3: (6, 9), 4: (7, 9)}
    kept, notes = lineage.checked_divisions([Division(1, (4, 3, 77), 5), Division(4, (99,), 9)], seen, "c.zip")
    assert kept == [Division(1, (3, 4), 6)]
    assert len(notes) == 4


@given(movies_of_cells(), st.data())
def test_lineage_table_comes_back(tmp_path_factory, movie, data):
    _, masks = movie
    divisions = data.draw(divisions_for(masks)) if masks else []
    seen = {c: tuple(np.flatnonzero(m.any(axis=(1, 2)))[[0, -1]].tolist()) for c, m in masks.items()}
    assert lineage.checked_divisions(divisions, seen, "") == (divisions, [])
    path = tmp_path_factory.mktemp("lineage") / "l.csv"
    lineage.write_lineage(path, 3, seen, divisions)
    assert lineage.divisions_of(lineage.read_table(path)) == divisions
    assert len(path.read_text().splitlines()) == 1 + len(masks)


# ------------------------------------------------------------------------------------------------------- round trips


@settings(max_examples=40, deadline=None)
@given(movies_of_cells(), st.data())
def test_a_project_comes_back_as_it_was(tmp_path_factory, movie, data):
    shape, masks = movie
    divisions = data.draw(divisions_for(masks)) if masks else []
    images, labels = images_for(shape), stack_of(shape, masks)
    path = tmp_path_factory.mktemp("project") / "p.zip"
    digest = deepcell_label.write_project(path, images, labels, divisions, pixel_size_um=None)
    assert digest == hashlib.sha256(b"".join(i.array.astype("<u2").tobytes() for i in images.values())).hexdigest()
    with deepcell_label.reading_project(path, shape, 2) as project:
        assert project.names == list(images)
        for at, image in enumerate(images.values()):
            for frame in range(shape[0]):
                np.testing.assert_array_equal(project.image(at, frame), image.read(frame))
        assert project.divisions == divisions
        assert not project.notes
        apply_corrections.check_images(project, images)
        same_masks(masks_read(project), masks)


@settings(max_examples=40, deadline=None)
@given(movies_of_cells(overlapping=False), st.data())
def test_a_trk_comes_back_as_it_was(tmp_path_factory, movie, data):
    shape, masks = movie
    divisions = data.draw(divisions_for(masks)) if masks else []
    images, labels = images_for(shape), stack_of(shape, masks)
    path = tmp_path_factory.mktemp("trk") / "p.trk"
    deepcell_trk.write_trk(path, images, labels, divisions, ())
    with deepcell_trk.reading_trk(path, shape, 2) as project:
        apply_corrections.check_images(project, images)
        assert project.divisions == divisions
        same_masks(masks_read(project), masks)


def test_a_project_is_what_the_program_expects(tmp_path):
    """Members, axes and entries as its loader wants them, read without our own reader."""
    path = write(tmp_path / "p.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            *("X.ome.tiff", "y.ome.tiff", "divisions.json", "cellTypes.json", "cells.json", "embeddings.json")
        ]
        content = {name: archive.read(name) for name in archive.namelist()}
    for name, dtype, n in (("X.ome.tiff", np.uint16, 2), ("y.ome.tiff", np.int32, 1)):
        with tifffile.TiffFile(io.BytesIO(content[name])) as file:
            series = file.series[0]
            full = series.get_shape(squeeze=False), series.get_axes(squeeze=False)
            sizes = dict(zip(full[1], full[0], strict=True))
            assert (sizes["C"], sizes["Z"], sizes["Y"], sizes["X"], sizes["T"]) == (n, *SHAPE, 1)
            assert series.dtype == dtype
            assert 'Name="pc_ch_0"' in file.ome_metadata or n == 1
    y = tifffile.imread(io.BytesIO(content["y.ome.tiff"]))
    cells = json.loads(content["cells.json"])
    assert cells == sorted(cells, key=lambda entry: [entry[key] for key in ("c", "t", "value", "cell")])
    for frame in range(3):
        here = [entry for entry in cells if entry["t"] == frame]
        assert {entry["c"] for entry in here} == {0}
        assert {entry["value"] for entry in here} == set(np.unique(y[frame])) - {0}
        for cell, mask in MASKS.items():
            values = [entry["value"] for entry in here if entry["cell"] == cell]
            np.testing.assert_array_equal(np.isin(y[frame], values), mask[frame])
        shared = {entry["value"] for entry in here if entry["value"] != entry["cell"]}
        assert all(value > max(entry["cell"] for entry in here) for value in shared)
        assert len(shared) == (1 if frame < 2 else 0)
    assert json.loads(content["divisions.json"]) == [{"parent": 7, "daughters": [9], "t": 2}]
    assert json.loads(content["embeddings.json"]) is None


def test_the_same_cells_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}/p.zip")
        deepcell_trk.write_trk(tmp_path / f"{name}/p.trk", images_for(SHAPE), labels_of(MASKS), DIVISIONS, {(7, 1)})
        assert {path.name for path in (tmp_path / name).iterdir()} == {"p.zip", "p.trk"}
    for name in ("p.zip", "p.trk"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_trk_is_what_the_program_expects(tmp_path):
    deepcell_trk.write_trk(tmp_path / "p.trk", images_for(SHAPE), labels_of(MASKS), DIVISIONS, {(7, 1)})
    with tarfile.open(tmp_path / "p.trk", "r:gz") as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}
    tracked = np.load(io.BytesIO(content["tracked.npy"]))
    assert tracked.shape == (*SHAPE, 1)
    assert np.load(io.BytesIO(content["raw.npy"])).shape == (*SHAPE, 2)
    entries = json.loads(content["lineage.json"])
    assert set(entries) == {str(label) for label in np.unique(tracked) if label}
    for key, entry in entries.items():
        assert entry["frames"] == np.flatnonzero((tracked == int(key)).any(axis=(1, 2, 3))).tolist()
    assert entries["7"] == {
        **{"label": 7, "frames": [0, 1], "daughters": [9], "capped": True, "frame_div": 2, "parent": None},
        **{"in_tables": True, "frames_in_tables": [1]},
    }
    assert not any(entry["in_tables"] or entry["frames_in_tables"] for key, entry in entries.items() if key != "7")
    assert entries["9"]["parent"] == 7


# ------------------------------------------------------------------------------------------ what other programs write


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("axes", ["CZYX", "ZCYX"])
def test_both_orders_and_all_types_of_images_are_read(tmp_path, axes, dtype):
    images = images_for(SHAPE)
    stack = np.stack([image.array for image in images.values()]).astype(dtype)
    stack = stack if axes == "CZYX" else stack.swapaxes(0, 1)
    labels = labels_of({2: MASKS[2]}).array.astype(np.int32)[:, None]
    path = rewrite(
        write(tmp_path / "p.zip", {2: MASKS[2]}, []),
        tmp_path / "q.zip",
        **{"X.ome.tiff": tiff(np.ascontiguousarray(stack), axes), "y.ome.tiff": tiff(labels, "ZCYX")},
    )
    with deepcell_label.reading_project(path, SHAPE, 2) as project:
        apply_corrections.check_images(project, images)  # by order: this file has lost the names
        same_masks(masks_read(project), {2: MASKS[2]})


def test_entries_in_any_order_and_values_that_stand_for_nothing(tmp_path):
    path = write(tmp_path / "p.zip", divisions=[])
    with zipfile.ZipFile(path) as archive:
        cells = json.loads(archive.read("cells.json"))
    kept = [{k: v for k, v in entry.items() if k != "c"} for entry in cells[::-1] if entry["cell"] != 9]
    masks, _, notes = read_back(rewrite(path, tmp_path / "q.zip", **{"cells.json": json.dumps(kept + kept)}))
    same_masks(masks, {cell: MASKS[cell] for cell in (2, 7)})
    assert notes == []


def test_without_cells_json_every_value_is_a_cell(tmp_path):
    masks, _, notes = read_back(
        rewrite(write(tmp_path / "p.zip", {2: MASKS[2]}, []), tmp_path / "q.zip", **{"cells.json": None})
    )
    same_masks(masks, {2: MASKS[2]})
    assert len(notes) == 1


@pytest.mark.parametrize("dtype", ["Uint16Array", None])  # without it the number of bytes says it
def test_exports_of_the_client_are_read(tmp_path, dtype):
    with deepcell_label.reading_project(client_export(tmp_path / "c.zip", dtype), SHAPE, 2) as project:
        apply_corrections.check_images(project, images_for(SHAPE))
        same_masks(masks_read(project), {2: MASKS[2]})


def test_a_real_project_of_the_program(tmp_path):
    """Two features and no c: refused as it is; with c the first feature is read."""
    path = real_file("deepcell/spots.zip")
    with pytest.raises(UserError, match="lacks c, and y.ome.tiff has 2 features"):
        read_back(path, 3, (1, 100, 100))
    with zipfile.ZipFile(path) as archive:
        cells = [{**entry, "c": 0} for entry in json.loads(archive.read("cells.json"))]
        truth = tifffile.imread(io.BytesIO(archive.read("y.ome.tiff")))[0]
    masks, _, notes = read_back(
        rewrite(path, tmp_path / "q.zip", **{"cells.json": json.dumps(cells)}), 3, (1, 100, 100)
    )
    same_masks(masks, {v: truth[None] == v for v in (6, 12, 13) if (truth == v).any()})
    assert "2 features" in notes[0]


# ----------------------------------------------------------------------------------------------------------- .trk files


def test_the_frame_of_a_division_is_worked_out_anew(tmp_path, caplog):
    """Programs differ in what frame_div is: here it is the parent's last frame."""
    links = {"7": {"daughters": [9], "frame_div": 1, "capped": True}, "9": {"parent": 7}}
    _, table = apply(trk(tmp_path / "c.trk", links), tmp_path)
    assert "4,9,2,2,7,2" in table.splitlines()
    assert "frame 1 was written, its daughters appear in 2" in caplog.text


# ------------------------------------------------------------------------------------------------------------ the stage


def test_the_stage_writes_labels_overlaps_and_lineage(tmp_path, caplog):
    labels, table = apply(write(tmp_path / "p.zip"), tmp_path)
    assert labels.dtype == np.uint16
    same_masks(masks_of(Stack(np.stack([labels.read(t) for t in range(3)]), labels.attributes)), MASKS)
    assert labels.read(0)[4, 5] == 2  # the lowest of the two
    assert table.splitlines() == [
        "fov,cell,first_frame,last_frame,parent,division_frame",
        "4,2,0,2,NaN,NaN",
        "4,7,0,1,NaN,NaN",
        "4,9,2,2,7,2",
    ]
    shared = int((MASKS[2] & MASKS[7]).sum())
    assert f"{shared} pixels of several cells" in caplog.text
