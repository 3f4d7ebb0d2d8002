"""OME-TIFF, Cell Tracking Challenge, GEFF, TrackMate and AnnData: written and read back, and what gets lost."""

import itertools
from xml.etree import ElementTree

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from formats_tools import (
    Stack,
    divisions_for,
    images_for,
    movies_of_cells,
    read_ctc,
    read_geff,
    read_trackmate,
    stack_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import export_fov
from celltraces.config.read_config import complete
from celltraces.config.schema import load_schema
from celltraces.errors import UserError
from celltraces.exports import anndata, ctc, fov, geff, ome, ome_tiff, registry, trackmate
from celltraces.labels.lineage import Division
from celltraces.pyme import tables
from celltraces.results import curation

TIMES = [0.0, 10.0, 20.5, 40.0]


def truth(masks):
    """(cell, frame) -> centroid and area, from the masks."""
    found = {}
    for cell, mask in masks.items():
        for frame in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
            y, x = np.nonzero(mask[frame])
            found[cell, frame] = (y.mean(), x.mean(), len(y))
    return found


def expected_links(masks, divisions):
    """Pairs of (cell, frame)."""
    frames = {cell: np.flatnonzero(mask.any(axis=(1, 2))).tolist() for cell, mask in masks.items()}
    pairs = {((c, a), (c, b)) for c, at in frames.items() for a, b in itertools.pairwise(at)}
    return pairs | {((d.parent, frames[d.parent][-1]), (c, frames[c][0])) for d in divisions for c in d.daughters}


def some_of(masks):
    """Cells and frames as tables may have them: every other cell, without the first frame of each."""
    return {
        (cell, frame)
        for cell, mask in masks.items()
        if cell % 2
        for frame in np.flatnonzero(mask.any(axis=(1, 2)))[1:].tolist()
    }


@st.composite
def lineages(draw, **options):
    shape, masks = draw(movies_of_cells(**options))
    return shape, masks, draw(divisions_for(masks)) if masks else []


def test_config_and_registry_name_the_same_formats():
    allowed = load_schema()["properties"]["exports"]["items"]["enum"]
    assert allowed == [*registry.FORMATS, *registry.GROUPS], "`exports` in config/schema.yaml, in the registry's order"


@pytest.mark.parametrize(
    ("channels", "params", "words"),
    [
        ({"fl": [{"channel": 1}]}, {}, "exports: ctc needs cells; give channels.pc"),
        (
            {"pc": {"channel": 0}},
            {"copy_only": True},
            "exports: ctc needs cells; give channels.pc, and copy_only: false",
        ),
        ({"pc": {"channel": 0}}, {}, None),
    ],
)
def test_exports_of_cells_need_cells(channels, params, words):
    config = {"datasets": {"a": "a.nd2"}, "channels": channels, "params": params, "exports": ["gif", "playnano", "ctc"]}
    if words is None:
        assert complete(config)["exports"] == ["gif", "playnano", "ctc"]
    else:
        with pytest.raises(UserError) as caught:
            complete(config)
        assert str(caught.value) == words


def test_an_export_asked_for_by_name_needs_cells_too():
    with pytest.raises(UserError, match="geff needs cells, and there are none without a phase-contrast channel"):
        export_fov.main("geff", fov.Fov("f"), ["f.geff"])


# ----------------------------------------------------------------------------------------------------------- OME-TIFF


@settings(max_examples=25, deadline=None)
@given(
    n_frames=st.integers(1, 4),
    n_channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pixel=st.sampled_from([None, 0.65]),
)
def test_ome_tiff_comes_back(tmp_path_factory, n_frames, n_channels, size, pixel):
    from ome_types import from_tiff

    images = images_for((n_frames, *size), [f"fl_ch_{c}" for c in range(n_channels)])
    path = tmp_path_factory.mktemp("ome") / "f.ome.tif"
    settings = {"channels": {str(c): f"Dye <{c}> µ" for c in range(n_channels)}, "pixel_size_um": pixel}
    ome_tiff.export(fov.Fov("f", images, settings=settings | {"times_min": TIMES[:n_frames]}), [path])
    described = from_tiff(path).images[0].pixels
    assert (described.size_t, described.size_c, described.size_y, described.size_x) == (n_frames, n_channels, *size)
    assert [c.name for c in described.channels] == [f"fl_ch_{c} (Dye <{c}> µ)" for c in range(n_channels)]
    assert described.physical_size_x == pixel
    assert {(p.the_t, p.the_c): p.delta_t for p in described.planes} == {
        (t, c): 60 * TIMES[t] for t in range(n_frames) for c in range(n_channels)
    }
    with ome.open_ome_tiff(path, "f", (n_frames, *size), "T") as stack:
        assert stack.names == [c.name for c in described.channels]
        for at, image in enumerate(images.values()):
            for frame in range(n_frames):
                np.testing.assert_array_equal(stack.read(at, frame), image.read(frame))


def test_ome_tiff_is_the_same_bytes_and_opens_with_axes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        settings = {"channels": {"0": "P", "1": "F"}, "pixel_size_um": 0.5, "times_min": TIMES}
        ome_tiff.export(fov.Fov("f", images_for((4, 6, 7)), settings=settings), [tmp_path / name / "f.ome.tif"])
    assert (tmp_path / "a/f.ome.tif").read_bytes() == (tmp_path / "b/f.ome.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a/f.ome.tif") as file:
        assert (file.series[0].axes, file.series[0].shape) == ("TCYX", (4, 2, 6, 7))
        assert "DateTime" not in file.pages[0].tags
        assert file.pages[0].resolution == (20000, 20000)


# ----------------------------------------------------------------------------------------------- cells as graphs


@given(lineages())
def test_spots_and_links_are_those_of_the_masks(movie):
    shape, masks, divisions = movie
    found = list(fov.spots(stack_of(shape, masks)))
    assert {(s.cell, s.frame): (s.y, s.x, s.area) for s in found} == {
        key: pytest.approx(value) for key, value in truth(masks).items()
    }
    places = [(s.cell, s.frame) for s in found]
    assert {(places[a], places[b]) for a, b in fov.links(found, divisions)} == expected_links(masks, divisions)


@settings(max_examples=25, deadline=None)
@given(lineages(), st.sampled_from([None, 0.65]))
def test_geff_comes_back_and_is_zarr(tmp_path_factory, movie, pixel):
    shape, masks, divisions = movie
    path = tmp_path_factory.mktemp("geff") / "f.geff"
    found = list(fov.spots(stack_of(shape, masks)))
    counted = some_of(masks)
    geff.write_graph(path, found, divisions, counted, pixel_size_um=pixel, times_min=TIMES[: shape[0]])
    properties, edges = read_geff(path)
    assert zarr.open_array(path / "nodes/ids", mode="r")[:].tolist() == list(range(len(found)))
    nodes = list(zip(properties["cell"].tolist(), properties["t"].tolist(), strict=True))
    values = zip(*(properties[name].tolist() for name in ("y", "x", "area")), strict=True)
    assert dict(zip(nodes, values, strict=True)) == {k: pytest.approx(v) for k, v in truth(masks).items()}
    assert {(nodes[a], nodes[b]) for a, b in edges.tolist()} == expected_links(masks, divisions)
    assert properties["in_tables"].dtype == bool
    assert {node for node, told in zip(nodes, properties["in_tables"], strict=True) if told} == counted


@settings(max_examples=25, deadline=None)
@given(lineages(), st.sampled_from([None, 0.65]))
def test_trackmate_comes_back_but_for_lonely_spots(tmp_path_factory, movie, pixel):
    """Lost: tracks of a single spot, which the program does not know; outlines; uneven times."""
    shape, masks, divisions = movie
    found = list(fov.spots(stack_of(shape, masks)))
    counted = some_of(masks)
    times = TIMES[: shape[0]]
    text = trackmate.document("f", found, divisions, shape, counted, pixel_size_um=pixel, times_min=times)
    path = tmp_path_factory.mktemp("trackmate") / "t.xml"
    path.write_text(text, encoding="utf-8")
    spots, edges = read_trackmate(path)
    size = pixel or 1
    assert {
        (s["CELL"], s["FRAME"]): (s["POSITION_Y"] / size, s["POSITION_X"] / size, s["AREA"] / size**2) for s in spots
    } == {k: pytest.approx(v) for k, v in truth(masks).items()}
    step = TIMES[shape[0] - 1] / (shape[0] - 1) if shape[0] > 1 else 0
    assert all(s["POSITION_T"] == pytest.approx(s["FRAME"] * step) for s in spots)
    nodes = [(int(s["CELL"]), int(s["FRAME"])) for s in spots]
    assert {(nodes[a], nodes[b]) for a, b in edges} == expected_links(masks, divisions)
    assert {node for node, spot in zip(nodes, spots, strict=True) if spot["IN_TABLES"] == 1} == counted
    root = ElementTree.fromstring(text)
    declared = {feature.get("feature") for feature in root.iterfind("Model/FeatureDeclarations/SpotFeatures/Feature")}
    assert all({*spot.attrib} - {"ID", "name"} <= declared for spot in root.iter("Spot"))
    kept = {track.get("TRACK_ID") for track in root.iter("TrackID")}
    assert kept == {track.get("TRACK_ID") for track in root.iter("Track")}


# ------------------------------------------------------------------------------------------- Cell Tracking Challenge


@settings(max_examples=25, deadline=None)
@given(lineages())
def test_ctc_comes_back_but_for_gaps_and_overlaps(tmp_path_factory, movie):
    """Lost: pixels under other cells; a cell that was missed in between is two tracks, linked."""
    shape, masks, divisions = movie
    labels = stack_of(shape, masks)
    path = tmp_path_factory.mktemp("ctc") / "ctc"
    images = images_for(shape)["pc_ch_0"]
    counted = some_of(masks)
    tracks = ctc.write_folder(path, images, labels, divisions, counted)
    table = pd.read_csv(path / "01_in_tables.csv", dtype={"in_tables": bool, "frames_in_tables": str})
    assert table["label"].tolist() == [track.label for track in tracks]
    told = {
        (row.cell, frame)
        for row in table.itertuples()
        for frame in (curation.frames_of_text(row.frames_in_tables) if row.in_tables else ())
    }
    assert told == counted
    found, lines = read_ctc(path)
    assert lines == [track[:4] for track in tracks]
    cell_of = np.zeros(max([track.label for track in tracks], default=0) + 1, np.uint16)
    cell_of[[track.label for track in tracks]] = [track.cell for track in tracks]
    np.testing.assert_array_equal(cell_of[found], labels.array)
    for label, first, last, parent in lines:
        assert np.flatnonzero((found == label).any(axis=(1, 2))).tolist() == list(range(first, last + 1))
        assert parent == 0 or next(line for line in lines if line[0] == parent)[2] < first
    for t in range(shape[0]):
        np.testing.assert_array_equal(tifffile.imread(path / f"01/t{t:03d}.tif"), images.array[t])


def test_ctc_tracks_of_a_division_and_a_gap(tmp_path):
    """Cell 1 is missed in frame 1 and divides; its daughters' parent is its second part."""
    stack = np.zeros((4, 2, 4), np.uint16)
    stack[0, 0, 0] = stack[2, 0, 0] = 1
    stack[3, 0, :2] = (5, 6)
    lines = ctc.write_folder(tmp_path / "ctc", Stack(stack), Stack(stack), [Division(1, (5, 6), 3)])
    assert not (tmp_path / "ctc/01_in_tables.csv").exists()
    assert [line[:4] for line in lines] == [(1, 0, 0, 0), (5, 3, 3, 7), (6, 3, 3, 7), (7, 2, 2, 1)]


def test_ctc_refuses_what_uint16_cannot_hold(tmp_path):
    labels = Stack(np.full((1, 2, 2), 70000, np.uint32))
    with pytest.raises(UserError, match="labels up to 70000"):
        ctc.write_folder(tmp_path / "ctc", labels, labels, [])


# ------------------------------------------------------------------------------------------------------------ AnnData


@pytest.mark.parametrize("rows", [0, 5])
def test_anndata_holds_the_traces(tmp_path, rows):
    frames = np.arange(rows) % 4
    table = pd.DataFrame(
        {"fov": 2, "cell": np.arange(rows) // 4 + 1, "frame": frames, "good": True, "position_x": frames * 1.5}
        | {"area_ch_0": frames * 2.0, "intensity_total_ch_1": np.where(frames == 1, np.nan, 7.5)}
        | {"parent": np.nan}
    )
    table["good"] = table["good"].astype(bool)
    for name in ("a", "b"):
        anndata.write_anndata(tmp_path / name, table, TIMES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with h5py.File(tmp_path / "a") as file:
        assert file.attrs["encoding-type"] == "anndata"
        assert file["var/_index"].asstr()[:].tolist() == ["area_ch_0", "intensity_total_ch_1"]
        np.testing.assert_array_equal(file["X"][:], table[["area_ch_0", "intensity_total_ch_1"]])
        assert file["obs"].attrs["column-order"].tolist() == [
            *("fov", "cell", "frame", "time_min", "good", "position_x", "parent")
        ]
        np.testing.assert_array_equal(file["obs/time_min"][:], np.array(TIMES)[frames])


def test_tables_of_other_programs_follow_the_decisions_of_a_person(tmp_path):
    """The rows of the tidy table, also without cells that were refused, and with those that were taken in."""
    columns = "fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1,area_ch_0"

    def rows(cell):
        return "".join(f"0,{cell},{frame},True,{cell},2,0,0,5,5,{10 * cell + frame}\n" for frame in range(3))

    traces, decisions, taken_in = (
        tmp_path / f"d_fov_000{end}.csv" for end in ("_traces", "_decisions", "_traces_taken_in")
    )
    traces.write_text(f"{columns}\n{rows(1)}{rows(2)}{rows(4)}")
    taken_in.write_text(f"{columns}\n{rows(3)}")
    head = "fov,source,cell,good,frame,x,y,cell_now,frames,status,reason\n"
    no, part = "0,curation.csv,1,False,,,,1,,applied,\n", "0,t_inspected.csv,2,False,,,,2,1,applied,\n"
    decisions.write_text(f"{head}{no}{part}0,curation.csv,3,True,,,,3,,applied,\n")
    expected = [20, 22, 30, 31, 32, 40, 41, 42]

    settings = {"times_min": TIMES, "pixel_size_um": 0.5, "channels": {}, "name": "d", "times_from": ""}
    given = export_fov.gather("d", settings, traces=str(traces), decisions=[str(decisions), str(taken_in)])
    anndata.export(given, [tmp_path / "a.h5ad"])
    tables.export(given, [tmp_path / "a.hdf"])
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert file["X"][:, 0].tolist() == expected
        assert file["obs/cell"][:].tolist() == [value // 10 for value in expected]
        assert file["obs/good"][:].all()
    with h5py.File(tmp_path / "a.hdf") as file:
        assert file["Traces"]["area_ch_0"].tolist() == expected
    assert fov.in_tables(given) == {(2, 0), (2, 2), *((cell, frame) for cell in (3, 4) for frame in range(3))}
    alone = export_fov.gather("d", settings, traces=str(traces))
    anndata.export(alone, [tmp_path / "b.h5ad"])
    with h5py.File(tmp_path / "b.h5ad") as file:
        assert len(file["X"]) == 9


@pytest.mark.parametrize("parent", ["NaN", "3"])
def test_columns_have_one_type_whatever_is_in_the_table(tmp_path, parent):
    """A FOV without cells has a header alone, of which nobody can guess the types; one whose cells all have parents has
    no NaN among these."""
    columns = (
        "fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1,area_ch_0,parent,division_frame"
    )
    row = f"0,1,0,True,2.5,2.5,0,0,5,5,25.0,{parent},{parent}\n"
    types = []
    for name, text in (("none", f"{columns}\n"), ("one", f"{columns}\n{row}")):
        (tmp_path / f"{name}_traces.csv").write_text(text)
        settings = {"times_min": TIMES, "pixel_size_um": 0.5, "channels": {}, "name": "d", "times_from": ""}
        given = export_fov.gather("d", settings, traces=str(tmp_path / f"{name}_traces.csv"))
        anndata.export(given, [tmp_path / "a.h5ad"])
        tables.export(given, [tmp_path / "a.hdf"])
        with h5py.File(tmp_path / "a.h5ad") as file, h5py.File(tmp_path / "a.hdf") as other:
            assert len(file["X"]) == len(other["Traces"]) == text.count("\n") - 1
            named = {column: file["obs"][column].dtype for column in file["obs"] if column != "_index"}
            types.append((named, other["Traces"].dtype))
    assert types[0] == types[1]
    assert named["cell"] == named["frame"] == np.int64
    assert named["parent"] == np.float64
