"""DeepCell Label projects and .trk files: what is written, what comes back, what is refused."""

import gzip
import hashlib
import io
import json
import pickle
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from conftest import real_file
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
from celltraces.storage import codecs
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

SHAPE = (3, 12, 16)
MASKS = {}
for cell, (y0, y1, x0, x1) in {2: (1, 6, 1, 7), 7: (3, 9, 4, 11)}.items():
    MASKS[cell] = np.zeros(SHAPE, bool)
    MASKS[cell][:, y0:y1, x0:x1] = True
MASKS[9] = np.zeros(SHAPE, bool)
MASKS[9][2, 10:, 12:] = True
MASKS[7][2] = False
DIVISIONS = [Division(7, (9,), 2)]


def write(path, masks=None, divisions=DIVISIONS, images=None):
    deepcell_label.write_project(
        path, images or images_for(SHAPE), labels_of(MASKS if masks is None else masks), divisions, pixel_size_um=0.65
    )
    return path


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
    deepcell_trk.write_trk(path, images, labels, divisions)
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
        deepcell_trk.write_trk(tmp_path / f"{name}/p.trk", images_for(SHAPE), labels_of(MASKS), DIVISIONS)
        assert {path.name for path in (tmp_path / name).iterdir()} == {"p.zip", "p.trk"}
    for name in ("p.zip", "p.trk"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_trk_is_what_the_program_expects(tmp_path):
    deepcell_trk.write_trk(tmp_path / "p.trk", images_for(SHAPE), labels_of(MASKS), DIVISIONS)
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
        **{"label": 7, "frames": [0, 1], "daughters": [9], "capped": True, "frame_div": 2, "parent": None}
    }
    assert entries["9"]["parent"] == 7


# ------------------------------------------------------------------------------------------ what other programs write


def rewrite(source, target, change=None, **members):
    """A copy of a zip with members replaced, added (bytes) or left out (None)."""
    members = {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in members:
                new.writestr(name, old.read(name))
        for name, data in members.items():
            if data is not None:
                new.writestr(name, data)
        if change:
            change(new)
    return target


def tiff(array, axes, **options):
    file = io.BytesIO()
    tifffile.imwrite(
        file, array, ome=True, photometric="minisblack", metadata={"axes": axes}, compression="zlib", **options
    )
    return file.getvalue()


def read_back(path, channels=2, shape=SHAPE):
    with deepcell_label.reading_project(path, shape, channels) as project:
        return masks_read(project), project.divisions, project.notes


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


def client_export(path, dtype="Uint16Array", **changes):
    """The zip of raw buffers that the program's client makes."""
    images, labels = images_for(SHAPE), labels_of({2: MASKS[2]})
    cells = [{"value": 2, "cell": 2, "t": t, "c": 0} for t in range(3)]
    dimensions = {"width": 16, "height": 12, "duration": 3, "numChannels": 2, "numFeatures": 1, "dtype": dtype}
    members = {
        "dimensions.json": json.dumps(
            {key: value for key, value in (dimensions | changes).items() if value is not None}
        ),
        "labeled.dat": labels.array.astype("<i4").tobytes(),
        "raw.dat": np.stack([image.array for image in images.values()]).astype("<u2").tobytes(),
        "channels.json": json.dumps(list(images)),
        "cells.json": json.dumps(cells),
        "divisions.json": "[]",
        "cellTypes.json": "[]",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


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


# --------------------------------------------------------------------------------------------------- what is refused


def json_member(name, content):
    return lambda path, target: rewrite(
        path, target, **{name: content if isinstance(content, str) else json.dumps(content)}
    )


def y_member(array, axes="ZYX", **options):
    return lambda path, target: rewrite(path, target, **{"y.ome.tiff": tiff(array, axes, **options)})


def x_member(change, axes="CZYX"):
    def make(path, target):
        stack = np.stack([image.array for image in images_for(SHAPE).values()])
        return rewrite(path, target, **{"X.ome.tiff": tiff(np.ascontiguousarray(change(stack)), axes)})

    return make


def added(*members):
    def make(path, target):
        def change(archive):
            for name, data in members:
                archive.writestr(name, data)

        return rewrite(path, target, change)

    return make


def truncated(path, target):
    target.write_bytes(path.read_bytes()[:-300])
    return target


def flipped(path, target):
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    target.write_bytes(data)
    return target


def symlink(path, target):
    member = zipfile.ZipInfo("X.link")
    member.create_system, member.external_attr = 3, 0o120777 << 16
    return rewrite(path, target, lambda archive: archive.writestr(member, "/etc/passwd"))


ENTRY = {"value": 2, "cell": 2, "t": 0, "c": 0}
LABELS = labels_of({2: MASKS[2]}).array.astype(np.int32)
BAD = {
    "another FOV": (x_member(lambda x: x[:, :, ::-1]), r"not those of this FOV \(SHA-256 of the pixels .*, here"),
    "rescaled": (x_member(lambda x: x // 2), "SHA-256"),
    "cropped": (x_member(lambda x: x[:, :, 2:]), "X.ome.tiff: its frames, height and width are 3 x 10 x 16"),
    "a frame less": (x_member(lambda x: x[:, 1:]), "2 x 12 x 16, those of this FOV 3 x 12 x 16"),
    "time on T": (x_member(lambda x: x.swapaxes(0, 1), "TCYX"), "its axes are TCYX; they must be CZYX"),
    "labels cropped": (y_member(LABELS[:, 1:]), "y.ome.tiff: its frames, height and width are"),
    "labels on T": (y_member(LABELS, "TYX"), "time on the Z axis"),
    "float labels": (y_member(LABELS.astype(np.float32)), "float32 pixels; labels are whole numbers"),
    "negative labels": (y_member(-LABELS), "frame 0 holds the value -2"),
    "no images": (lambda p, t: rewrite(p, t, **{"X.ome.tiff": None}), "X.ome.tiff is missing"),
    "no labels": (lambda p, t: rewrite(p, t, **{"y.ome.tiff": None}), "y.ome.tiff is missing"),
    "plain TIFF": (lambda p, t: rewrite(p, t, **{"y.ome.tiff": b"II*\0\x08\0\0\0\0\0"}), "y.ome.tiff: "),
    "no TIFF": (lambda p, t: rewrite(p, t, **{"y.ome.tiff": b"what?"}), "y.ome.tiff: not a readable OME-TIFF"),
    "no JSON": (json_member("cells.json", "hi"), "cells.json is not JSON"),
    "NaN": (json_member("cells.json", "[NaN]"), "cells.json is not JSON"),
    "deep JSON": (json_member("cells.json", "[" * 100000), "cells.json is not JSON"),
    "not a list": (json_member("cells.json", {"a": 1}), "cells.json is not a list"),
    "text": (json_member("cells.json", ["hi"]), "cells.json, entry 0: hi lacks"),
    "no t": (json_member("cells.json", [{"value": 2, "cell": 2}]), "entry 0: .* lacks a whole number value, cell or t"),
    "float cell": (json_member("cells.json", [ENTRY | {"cell": 2.5}]), "entry 0"),
    "true": (json_member("cells.json", [ENTRY | {"cell": True}]), "entry 0"),
    "t too large": (json_member("cells.json", [ENTRY, ENTRY | {"t": 3}]), "entry 1: t is 3, and the frames are 0 to 2"),
    "t below 0": (json_member("cells.json", [ENTRY | {"t": -1}]), "t is -1"),
    "cell 0": (json_member("cells.json", [ENTRY | {"cell": 0}]), "count from 1"),
    "c": (json_member("cells.json", [ENTRY | {"c": 1}]), "c is 1, and the features are 0 to 0"),
    "id too large": (json_member("cells.json", [ENTRY | {"cell": 65536}]), "cell 65536; the highest number is 65535"),
    "divisions": (json_member("divisions.json", {"a": 1}), "divisions.json is not a list"),
    "division": (json_member("divisions.json", [{"parent": 2}]), "divisions.json, entry 0"),
    "division t": (json_member("divisions.json", [{"parent": 2, "daughters": [9], "t": 3}]), "t is 3"),
    "parent alive": (json_member("divisions.json", [{"parent": 2, "daughters": [9], "t": 2}]), "cell 2 is still there"),
    "circle": (
        json_member(
            "divisions.json", [{"parent": 2, "daughters": [7], "t": 1}, {"parent": 7, "daughters": [2], "t": 1}]
        ),
        "round in a circle",
    ),
    "two parents": (
        json_member(
            "divisions.json", [{"parent": 2, "daughters": [9], "t": 2}, {"parent": 7, "daughters": [9], "t": 2}]
        ),
        "cell 9 has two parents, 2 and 7",
    ),
    "edit request": (json_member("edit.json", {"action": "draw"}), "an edit request, not a project"),
    "absolute": (added(("/etc/evil", b"x")), "points outside"),
    "climbing": (added(("../../evil.txt", b"x")), "points outside"),
    "climbing on Windows": (added(("..\\evil.txt", b"x")), "points outside"),
    "drive": (added(("C:evil.txt", b"x")), "points outside"),
    "link": (symlink, "points outside"),
    "twice": (added(("cells.json", b"[]")), "cells.json is in it twice"),
    "bomb": (added(("labeled.dat", bytes(1 << 20))), "labeled.dat unpacks to more than 0 MB"),
    "truncated": (truncated, "not a readable zip"),
    "damaged": (flipped, "p.zip|bad.zip"),
    "no zip": (lambda p, t: t.write_bytes(b"PK\x03\x04 no") and t, "not a readable zip"),
    "empty": (lambda p, t: t.write_bytes(b"") or t, "not a readable zip"),
}


def apply(path, folder, masks=MASKS):
    """The stage as the rule runs it; returns what it wrote."""
    channels = []
    for name, image in images_for(SHAPE).items():
        with writing(folder / f"images.zarr/{name}/0", SHAPE, np.uint16, PIXELS) as append:
            [append(frame) for frame in image.array]
        channels.append(str(folder / f"images.zarr/{name}/0"))
    tracked, corrected = (folder / f"images.zarr/seg_{kind}_ch_0/0" for kind in ("tracked", "corrected"))
    with writing(tracked, SHAPE, np.uint16, codecs.LABELS) as append:
        [append(frame) for frame in np.zeros(SHAPE, np.uint16)]
    apply_corrections.main(str(path), channels, str(tracked), str(corrected), str(folder / "lineage.csv"), 4)
    return open_frames(corrected), (folder / "lineage.csv").read_text()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", BAD)
def test_bad_zips_end_in_one_line(tmp_path, name):
    make, words = BAD[name]
    path = make(write(tmp_path / "p.zip", divisions=[]), tmp_path / "bad.zip")
    with pytest.raises(UserError, match=words) as caught:
        apply(path, tmp_path)
    assert "bad.zip" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lineage.csv").exists()
    assert not list(tmp_path.parent.glob("evil*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "Uint8Array"}, "raw.dat has 2304 bytes"),
        ({"dtype": "Evil"}, "raw.dat has 2304 bytes"),
        ({"numChannels": 10**9}, "raw.dat has"),
        ({"numFeatures": 0}, "labeled.dat does not have the size"),
        ({"duration": "3"}, "dimensions.json needs the whole numbers"),
        ({"height": 16, "width": 12}, "its frames, height and width are"),
        ({"numChannels": 1, "dtype": None}, "^((?!several).)*$"),  # 4 bytes a pixel: uint32, int32 or float32
    ],
)
def test_bad_exports_of_the_client_end_in_one_line(tmp_path, changes, words):
    with pytest.raises(UserError, match=words if "several" not in words else "several fit raw.dat"):
        apply(client_export(tmp_path / "c.zip", **changes), tmp_path)


def test_a_member_that_lies_about_its_size_is_stopped(tmp_path):
    """The directory of the zip says 10 bytes; what unpacks are 64 MB."""
    path = tmp_path / "lie.zip"
    limit = deepcell_label.SLACK + 8 * 3 * 12 * 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.ome.tiff", bytes(4 * limit))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UserError, match="lie.zip"):
        read_back(path)


def test_a_plane_that_unpacks_to_more_than_a_plane_is_stopped(tmp_path):
    """A strip of 64 MB of zeros in a TIFF that is small enough itself."""
    data = tiff(np.zeros(SHAPE, np.int32), "ZYX")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        entries = {tag: file.pages[0].tags[tag].valueoffset for tag in ("StripOffsets", "StripByteCounts")}
        assert len(page.dataoffsets) == 1
    bomb = zlib.compress(bytes(64 << 20), 9)
    changed = bytearray(data + bomb)
    for tag, value in (("StripOffsets", len(data)), ("StripByteCounts", len(bomb))):
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            size = {3: 2, 4: 4, 16: 8}[file.pages[0].tags[tag].dtype]
        changed[entries[tag] : entries[tag] + size] = value.to_bytes(size, "little")
    path = rewrite(write(tmp_path / "p.zip"), tmp_path / "bad.zip", **{"y.ome.tiff": bytes(changed)})
    with pytest.raises(UserError, match="a plane unpacks to more than its size"):
        read_back(path)


def test_entities_in_the_xml_are_refused(tmp_path):
    """The document type declaration comes before any entity is expanded."""
    entities = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    data = tiff(LABELS, "ZYX")
    xml = data[data.index(b"<?xml") : data.index(b"</OME>") + 6].decode()
    declared = xml.replace("<OME", entities + "<OME", 1)
    file = io.BytesIO()
    tifffile.imwrite(file, LABELS, description=declared, metadata=None, photometric="minisblack")
    path = rewrite(write(tmp_path / "p.zip"), tmp_path / "bad.zip", **{"y.ome.tiff": file.getvalue()})
    with pytest.raises(UserError, match="bad.zip"):
        read_back(path)


# ----------------------------------------------------------------------------------------------------------- .trk files


def trk(path, lineage_content=None, raw=None, tracked=None, extra=()):
    labels = labels_of(MASKS).array
    images = np.stack([image.array for image in images_for(SHAPE).values()], axis=-1)
    members = {}
    for name, array in (
        ("raw.npy", images if raw is None else raw),
        ("tracked.npy", labels[..., None] if tracked is None else tracked),
    ):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        members[name] = file.getvalue()
    entries = {}
    for cell in (2, 7, 9):
        frames = np.flatnonzero((labels == cell).any(axis=(1, 2))).tolist()
        entries[str(cell)] = {
            "label": cell,
            "frames": frames,
            "daughters": [],
            "capped": False,
            "frame_div": None,
            "parent": None,
        }
    for key, change in (lineage_content or {}).items():
        entries[key] = None if change is None else entries.get(key, {}) | change
    members["lineage.json"] = json.dumps({key: entry for key, entry in entries.items() if entry}).encode()
    members |= dict(extra)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch evil-was-here",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lineage_content": {"7": {"frames": [0]}}}, "the frames of cell 7 are not those of its label"),
        ({"lineage_content": {"9": None}}, "lacks cell 9"),
        ({"lineage_content": {"7": {"label": 8}}}, "cell '7': label, frames, daughters or parent"),
        ({"lineage_content": {"9": {"parent": 7}}}, "cell 9 has the parent 7, which does not list it"),
        ({"lineage_content": {"7": {"daughters": [9]}}}, "cell 7 lists 9, whose parent is another"),
        ({"lineage_content": {"7": {"frames": []}}}, "cell '7'"),
        ({"raw": np.zeros((*SHAPE, 2), np.uint16)}, "SHA-256"),
        ({"raw": np.zeros(SHAPE, np.uint16)}, "raw.npy: an array"),
        ({"tracked": np.zeros((3, 12, 17, 1), np.uint16)}, "tracked.npy: an array"),
        ({"tracked": np.array([Evil()], object)}, "tracked.npy: not a readable array"),
        ({"extra": [("../evil", b"x")]}, "does not belong into it"),
        ({"extra": [("big.bin", bytes(100))]}, "does not belong into it"),
        ({"extra": [("lineage.json", b"[{}]")]}, "of several movies"),
    ],
)
def test_bad_trks_end_in_one_line(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    path = trk(tmp_path / "bad.trk", **options)
    with pytest.raises(UserError, match=words) as caught:
        apply(path, tmp_path)
    assert "bad.trk" in str(caught.value)
    assert not (tmp_path / "evil-was-here").exists()


def test_the_frame_of_a_division_is_worked_out_anew(tmp_path, caplog):
    """Programs differ in what frame_div is: here it is the parent's last frame."""
    links = {"7": {"daughters": [9], "frame_div": 1, "capped": True}, "9": {"parent": 7}}
    _, table = apply(trk(tmp_path / "c.trk", links), tmp_path)
    assert "4,9,2,2,7,2" in table.splitlines()
    assert "frame 1 was written, its daughters appear in 2" in caplog.text


def test_a_tar_header_of_any_size_is_not_taken_into_memory(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    path = tmp_path / "bad.trk"
    path.write_bytes(gzip.compress(header.tobuf() + bytes(4096)))
    with pytest.raises(UserError, match=r"bad\.trk: not a readable gzipped tar"):
        apply(path, tmp_path)


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


def test_pickles_are_not_read():
    """Nothing here unpickles freely: numpy is told so, and the only unpickler is the one that knows a few names."""
    from pathlib import Path

    for source in (Path(__file__).parents[1] / "scripts").rglob("*.py"):
        text = source.read_text()
        assert "pickle.load" not in text
        assert "Unpickler" not in text or source.name == "safe_unpickling.py"
        assert "allow_pickle=True" not in text
        assert " eval(" not in text
        assert " exec(" not in text
    assert pickle.dumps(Evil())  # the bait above is a real one
