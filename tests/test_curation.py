"""A person's decisions: read strictly, tied to places, found again after a new segmentation or reported."""

import os
import re
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import Checkout, small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import expand_labels

import apply_curation
import crop_cells
from celltraces.edits import records
from celltraces.edits.anchors import make_anchor
from celltraces.edits.records import to_json
from celltraces.edits.regions import of_labels
from celltraces.errors import UserError
from celltraces.labels.regions import box_iou
from celltraces.results import places
from celltraces.results.curation import Flag, frames_of_text, frames_text, good_traces, read_curation, taken_in
from celltraces.runs import summary
from celltraces.storage.cells import open_store
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing

BOX = ["bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"]
SHAPES = {"d": [[10, 80, 100], [10, 80, 100]]}

# ------------------------------------------------------------------------------------------------ reading curation.csv


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("dataset,fov,cell\nd,0,1\n", "column 'good' is missing"),
        ("dataset,fov,cell,good\ne,0,1,true\n", "line 2: there is no dataset 'e'"),
        ("dataset,fov,cell,good\nd,0,1,true\nd,5,1,true\n", "line 3: dataset d has no FOV 5; it has FOVs 0 to 1"),
        ("dataset,fov,cell,good\nd,0,1,maybe\n", "line 2: good is 'maybe'"),
        ("dataset,fov,cell,good\nd,zero,1,true\n", "whole numbers"),
        ("dataset,fov,cell,good\nd,0,,true\n", "whole numbers"),
        ("dataset,fov,cell,good\nd,0,1.5,true\n", "whole numbers"),
        ("dataset,fov,cell,good\nd,0,0,true\n", "cells have numbers from 1"),
        ("dataset,fov,cell,good\nd,0,-3,true\n", "cells have numbers from 1"),
        ("dataset,fov,cell,good\nd,0\n", "line 2"),
        ("dataset,fov,cell,good\nd,0,1\n", "line 2: good is ''; allowed are true and false"),
        ("dataset,fov,cell,good,good\nd,0,1,false,true\n", "column 'good' is there 2 times"),
        ("dataset,fov,cell,Good,good\nd,0,1,false,true\n", "column 'good' is there 2 times"),
        ("dataset,fov,cell,good,x,y,frame,x\nd,0,1,true,1,1,1,9\n", "column 'x' is there 2 times"),
        ("\n\n", "column 'dataset' is missing"),
        ("\ndataset,fov,cell,good\nd,0,1,maybe\n", "line 3: good is 'maybe'"),
        ("\x00\x01", "column 'dataset' is missing"),
        ("dataset;fov;cell;good\nd;0;1;true\n", "separated by semicolons; save it with commas"),
        ("dataset\tfov\tcell\tgood\nd\t0\t1\ttrue\n", "separated by tabs; save it with commas"),
        ("sep=;\ndataset;fov;cell;good\n", "separated by semicolons"),
        ('dataset,fov,cell,good\nd,0,"1,0",true\n', "line 2: cell is '1,0', with a decimal comma"),
        ("dataset,fov,cell,good,frame,x,y\nd,0,1,true,3,44,5,12\n", "line 2: .*decimal comma"),
        ('dataset,fov,cell,good,frame,x,y\nd,0,1,true,3,"44,5",12\n', "line 2: x is '44,5', with a decimal comma"),
        ("dataset,fov,cell,good,frame,x\nd,0,1,true,3,44\n", "a place needs all of frame, x, y"),
        ("dataset,fov,cell,good,frame,x,y\nd,0,1,true,3,44,\n", "line 2: frame is given; a place needs all"),
        ("dataset,fov,cell,good,frame,x,y\nd,0,1,true,10,44,1\n", "frame is 10; FOV 0 of d has frame 0 to 9"),
        ("dataset,fov,cell,good,frame,x,y\nd,0,1,true,1,100,1\n", "x is 100; FOV 0 of d has x 0 to 99"),
        ("dataset,fov,cell,good,frame,x,y\nd,0,1,true,1,1,-1\n", "y is -1; FOV 0 of d has y 0 to 79"),
        ("dataset,fov,cell,good,frame,x,y\nd,0,1,true,1,nan,1\n", "x is nan"),
        ("dataset,fov,cell,good,frame,x,y\nd,0,1,true,1,left,1\n", "x is 'left', which is to be a number"),
        (
            "dataset,fov,cell,good\nd,0,1,true\nd,0,1,false\n",
            "line 3: cell 1 of FOV 0 is False here and True in line 2",
        ),
    ],
)
def test_mistakes_in_curation(tmp_path, rows, reason):
    path = tmp_path / "curation.csv"
    path.write_text(rows)
    with pytest.raises(UserError, match=reason) as error:
        read_curation(path, SHAPES)
    assert "\n" not in str(error.value)


def test_what_spreadsheets_leave_behind_is_read(tmp_path):
    path = tmp_path / "curation.csv"
    path.write_text(
        "\ufeffdataset, fov, cell, good, frame, x, y, note\r\nd,1.0, 7.0,NO,,,,\r\nd,0,,yes,3,44.5,12,a\r\n,,,,,,,\r\n"
    )
    assert read_curation(path, SHAPES) == {"d": [Flag(1, 7, False), Flag(0, None, True, 3, 44.5, 12.0)]}
    path.write_text("dataset,fov,cell,good\nd,0,1,true\nd,0,1,yes\n")
    assert read_curation(path, SHAPES) == {"d": [Flag(0, 1, True)]}
    path.write_text("\n,,,,\n Dataset ,FOV,Cell,GOOD,Who\n\nd,0,1,TRUE,me\n")
    assert read_curation(path, SHAPES) == {"d": [Flag(0, 1, True)]}
    assert read_curation(tmp_path / "none.csv", SHAPES) == {}


@given(st.sets(st.integers(0, 300)))
def test_frames_as_text_and_back(frames):
    assert (frames_of_text(frames_text(frames)) or set()) == frames


# ---------------------------------------------------------------------------------------------------------- by place


def write_cells(folder, labels):
    """cells.zarr of labels (T, H, W)."""
    path = folder / "seg_tracked_ch_0/0"
    with writing(path, labels.shape, labels.dtype, LABELS) as append:
        for frame in labels:
            append(frame)
    crop_cells.write_cells(open_frames(path), [], folder / "cells.zarr", crop_padding=2)
    return folder / "cells.zarr"


@st.composite
def movies_of_labels(draw):
    """(T, H, W) labels grown from seeds: touching, at the edges, away in some frames."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.zeros((3, 40, 50), np.uint16)
    for frame in labels:
        seeds = rng.choice(40 * 50, 8, replace=False)
        frame.flat[seeds] = rng.permutation(8) + 1
        frame[:] = expand_labels(frame, int(rng.integers(0, 8)))
        frame[np.isin(frame, rng.choice(8, 2) + 1)] = 0
    return labels


@settings(max_examples=40, deadline=None)
@given(labels=movies_of_labels(), data=st.data())
def test_the_cell_at_a_place_is_the_nearest_within_three_pixels(tmp_path_factory, labels, data):
    path = write_cells(tmp_path_factory.mktemp("cells"), labels)
    with open_store(path) as get:
        for _ in range(15):
            frame, y, x = (data.draw(st.integers(0, end - 1)) for end in labels.shape)
            distances = {
                int(cell): ndimage.distance_transform_edt(labels[frame] != cell)[y, x]
                for cell in np.unique(labels[frame])[1:]
            }
            expected = min((d, cell) for cell, d in distances.items()) if distances else (9, None)
            found = places.cell_at(get, 0, places.Place(frame, x + 0.4, y + 0.9))
            assert found == (expected[1] if expected[0] <= 3 else None)
        for cell in np.unique(labels)[1:].tolist():
            place = places.place_of(get, 0, cell)
            assert labels[place.frame, int(place.y), int(place.x)] == cell
            inside = np.pad(labels[place.frame] == cell, 1)
            # The crop ends at most at the image's edge: depth is counted from there too.
            depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
            assert depth[int(place.y), int(place.x)] == pytest.approx(depth.max(), abs=0.01)
        assert places.cell_at(get, 0, places.Place(99, 1, 1)) is None


def traces_of(labels):
    """cell, frame and box of every region."""
    rows = []
    for frame, image in enumerate(labels):
        for cell, box in enumerate(ndimage.find_objects(image.astype(int)), 1):
            if box:
                rows.append((cell, frame, box[1].start, box[0].start, box[1].stop, box[0].stop))
    return pd.DataFrame(rows, columns=["cell", "frame", *BOX]).sort_values(["cell", "frame"], ignore_index=True)


def movie(cells):
    """(6, 60, 80) labels; cells: number -> (x, y), 8 px wide, moving right by 1 px each frame."""
    labels = np.zeros((6, 60, 80), np.uint16)
    for number, (x, y) in cells.items():
        for frame in range(6):
            labels[frame, y : y + 8, x + frame : x + frame + 8] = number
    return labels


BEFORE = movie({1: (5, 5), 2: (30, 5), 3: (5, 40), 4: (50, 40)})
AFTER = movie({1: (30, 5), 2: (50, 40), 3: (5, 5)})  # 1, 2 and 4 have other numbers, 3 is gone


def decided(folder, labels, *, flags=(), inspected=None, kept=None, edits=()):
    """The rows of the table of decisions, and the cells in the traces that are then good."""
    folder.mkdir(exist_ok=True)
    table = traces_of(labels)
    table = table[table.cell.isin(kept)] if kept else table
    table.assign(fov=0, good=True).to_csv(folder / "d_fov_000_traces.csv", index=False)
    names = []
    if inspected is not None:
        inspected.to_csv(folder / "d_fov_000_traces_inspected.csv", index=False)
        names = [str(folder / "d_fov_000_traces_inspected.csv")]
    out = folder / "d_fov_000_decisions.csv"
    cells = folder / "cells.zarr"
    if not cells.exists():
        write_cells(folder, labels)
    arguments = {"fov": 0, "pc": 0, "flags": flags, "inspected": names}
    if edits:
        arguments |= {"edits": list(map(to_json, edits)), "base": str(folder / "seg_tracked_ch_0/0")}
    apply_curation.main(cells, folder / "d_fov_000_traces.csv", out, folder.parent / "places.csv", **arguments)
    (good,) = good_traces([str(folder / "d_fov_000_traces.csv")], [range(6)], [str(out)])
    rows = pd.read_csv(out, dtype=object, keep_default_na=False).to_dict("records")
    return rows, {(cell, frame) for cell, frame in zip(good.cell, good.frame, strict=True)}


def whole(*cells):
    return {(cell, frame) for cell in cells for frame in range(6)}


def edit(op, cell=None, frame=2, **fields):
    """An edit of a cell of BEFORE."""
    edit_id, when = records.id_and_date()
    if cell:
        base = of_labels(SimpleNamespace(shape=BEFORE.shape, read=lambda at: BEFORE[at], attributes={}))
        fields["cell"] = make_anchor(base, base.row(frame, cell), BEFORE[frame])
    return records.Edit(edit_id, "anna", when, "d", 0, op, **fields)


def test_edits_count_over_curation_csv_and_this_over_inspected_tables(tmp_path):
    inspected = traces_of(BEFORE).assign(good=True)
    inspected.loc[inspected.cell.isin([1, 2, 3]), "good"] = False
    flags = [Flag(0, 2, True), Flag(0, 3, True), Flag(0, 4, False)]
    edits = [edit("bad", 3), edit("good", 4), edit("exclude", 2, frames=(0, 1)), edit("exclude", frames=(5, 9))]
    assert decided(tmp_path / "a", BEFORE, inspected=inspected)[1] == whole(4)
    assert decided(tmp_path / "a", BEFORE, inspected=inspected, flags=flags)[1] == whole(2, 3)
    rows, good = decided(tmp_path / "a", BEFORE, inspected=inspected, flags=flags, edits=edits)
    assert good == {(cell, frame) for cell, frame in whole(2, 4) if frame != 5} - {(2, 0), (2, 1)}
    assert [row["source"] for row in rows[-4:]] == ["edits"] * 4
    # What is excluded stays so in a good cell, whatever was said last.
    again = [*edits, edit("good", 2)]
    assert decided(tmp_path / "a", BEFORE, inspected=inspected, flags=flags, edits=again)[1] == good


def test_edits_stay_with_their_cells_after_another_segmentation(tmp_path):
    edits = [edit("bad", 1), edit("bad", 3), edit("exclude", 4, frames=(1, 3))]
    assert decided(tmp_path / "b", BEFORE, edits=edits)[1] == whole(2, 4) - {(4, 1), (4, 2), (4, 3)}
    assert decided(tmp_path / "a", AFTER, edits=edits)[1] == whole(1, 2) - {(2, 1), (2, 2), (2, 3)}  # 1 is 3, 4 is 2


def test_cells_taken_in_by_hand_are_among_the_good_ones_in_their_order(tmp_path):
    _, good = decided(tmp_path, BEFORE, kept=[1, 4], edits=[edit("good", 2), edit("exclude", 2, frames=(3, 3))])
    assert good == whole(1, 4)
    traces_of(BEFORE).query("cell == 2").assign(fov=0, good=True).to_csv(tmp_path / "d_fov_000_traces_taken_in.csv")
    tables = [str(tmp_path / f"d_fov_000_{name}.csv") for name in ("decisions", "traces_taken_in")]
    (table,) = good_traces([str(tmp_path / "d_fov_000_traces.csv")], [range(6)], tables)
    assert list(zip(table.cell, table.frame, strict=True)) == sorted(whole(1, 2, 4) - {(2, 3)})
    assert (table.time_min == table.frame).all()
    # Also where the filters leave no cell.
    (tmp_path / "d_fov_000_traces.csv").write_text(",".join(["cell", "frame", *BOX, "fov", "good"]) + "\n")
    (table,) = good_traces([str(tmp_path / "d_fov_000_traces.csv")], [range(6)], tables)
    assert list(zip(table.cell, table.frame, strict=True)) == sorted(whole(2) - {(2, 3)})


def test_rows_without_a_place_are_tied_to_the_one_where_they_were_first_applied(tmp_path):
    flags = [Flag(0, 1, False), Flag(0, 3, False), Flag(0, 4, False)]
    rows, good = decided(tmp_path / "a", BEFORE, flags=flags)
    assert good == whole(2)
    assert [row["status"] for row in rows] == ["applied"] * 3
    remembered = (tmp_path / "places.csv").read_bytes()
    rows, good = decided(tmp_path / "b", AFTER, flags=flags)
    assert good == whole(1)  # which was 2
    assert [(row["cell"], row["cell_now"], row["status"]) for row in rows] == [
        ("1", "3", "applied"),
        ("3", "", "lost"),
        ("4", "2", "applied"),
    ]
    assert (tmp_path / "places.csv").read_bytes() == remembered
    # And back again, as if nothing had been.
    assert decided(tmp_path / "a", BEFORE, flags=flags)[1] == whole(2)
    # A row that is taken away is forgotten: written anew, it means the present cell.
    assert decided(tmp_path / "b", AFTER, flags=[])[1] == whole(1, 2, 3)
    assert not (tmp_path / "places.csv").exists()
    assert decided(tmp_path / "b", AFTER, flags=flags[:1])[1] == whole(2, 3)


def test_a_place_that_is_given_decides(tmp_path):
    flags = [Flag(0, 1, False, 2, 34.0, 8.0), Flag(0, None, False, 0, 47.5, 44.0), Flag(0, 2, False, 0, 20.0, 20.0)]
    rows, good = decided(tmp_path / "a", AFTER, flags=flags)
    assert good == whole(3)
    assert [(row["cell_now"], row["status"]) for row in rows] == [("1", "applied"), ("2", "applied"), ("", "lost")]
    assert "within 3 px" in rows[2]["reason"]
    assert not (tmp_path / "places.csv").exists()


def test_cells_that_do_not_exist_or_have_no_traces_and_rows_that_meet_in_one_cell(tmp_path):
    flags = [Flag(0, 9, False), Flag(0, 2, True), Flag(0, 3, False)]
    rows, good = decided(tmp_path / "a", BEFORE, flags=flags, kept=[1, 4])
    assert good == whole(1, 4)
    assert [row["status"] for row in rows] == ["unknown", "applied", "applied"]
    # A cell that a filter left out is good, and its rows are measured apart.
    decisions = tmp_path / "a/d_fov_000_decisions.csv"
    assert (taken_in(decisions, {1, 4}), taken_in(decisions, {1, 2, 4})) == ([2], [])
    together = movie({1: (5, 5)})
    together[together == 0] = np.where(movie({1: (13, 5)}), 1, 0)[together == 0]
    (tmp_path / "places.csv").unlink()
    apart = movie({1: (5, 5), 2: (13, 5)})
    flags = [Flag(0, 1, False), Flag(0, 2, True)]
    assert decided(tmp_path / "b", apart, flags=flags)[1] == whole(2)
    rows, good = decided(tmp_path / "c", together, flags=flags)
    assert [row["status"] for row in rows] == ["contradicted"] * 2
    assert good == whole(1)


def test_inspected_tables_are_checked_by_their_boxes(tmp_path):
    inspected = traces_of(BEFORE).assign(good=True)
    inspected.loc[inspected.cell.isin([1, 3]), "good"] = False
    inspected.loc[(inspected.cell == 4) & inspected.frame.isin([2, 3, 5]), "good"] = False
    some = whole(4) - {(4, 2), (4, 3), (4, 5)}
    rows, good = decided(tmp_path / "a", BEFORE, inspected=inspected)
    assert good == whole(2) | some
    assert [(row["cell"], row["frames"]) for row in rows] == [("1", "0-5"), ("3", "0-5"), ("4", "2-3 5")]
    rows, good = decided(tmp_path / "b", AFTER, inspected=inspected)
    assert good == whole(1) | {(2, frame) for _, frame in some}
    assert [(row["cell_now"], row["status"]) for row in rows] == [("3", "applied"), ("", "lost"), ("2", "applied")]
    assert rows[1]["source"] == "d_fov_000_traces_inspected.csv"
    assert "0 of 6 frames" in rows[1]["reason"]
    # A box that has grown by a pixel is the same cell, and one that was refused as a whole stays out as a whole.
    grown = np.array([ndimage.grey_dilation(frame, (3, 3)) for frame in AFTER])
    grown[0, 2:16, 2:16] = 0
    assert decided(tmp_path / "c", grown, inspected=inspected[inspected.frame > 0])[1] == whole(1) | {
        (2, frame) for _, frame in some
    }


def test_curation_counts_over_inspected(tmp_path):
    inspected = traces_of(BEFORE).assign(good=lambda table: table.cell != 1)
    assert decided(tmp_path / "a", BEFORE, inspected=inspected)[1] == whole(2, 3, 4)
    flags = [Flag(0, 1, True), Flag(0, 4, False)]
    assert decided(tmp_path / "a", BEFORE, inspected=inspected, flags=flags)[1] == whole(1, 2, 3)


BOXES = "cell,frame,good,bbox_x0,bbox_y0,bbox_x1,bbox_y1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("cell,frame,bbox_x0,bbox_y0,bbox_x1,bbox_y1\n7,0,1,1,2,2\n", "good"),
        ("cell,frame,good\n7,0,False\n", "bbox"),
        ("cell,frame,good,bbox_x0,bbox_y0,bbox_x1,bbox_y1\n7,0,perhaps,1,1,2,2\n", "good is 'perhaps'"),
        ("cell,frame,good,bbox_x0,bbox_y0,bbox_x1,bbox_y1\nx,0,True,1,1,2,2\n", "table of inspected traces"),
        ("", "table of inspected traces"),
        ("cell;frame;good;bbox_x0;bbox_y0;bbox_x1;bbox_y1\n7;0;True;1;1;2;2\n", "columns are separated by semicolons"),
        ("cell\tframe\tgood\tbbox_x0\tbbox_y0\tbbox_x1\tbbox_y1\n7\t0\tTrue\t1\t1\t2\t2\n", "separated by tabs"),
        ("cell,frame,good,bbox_x0,bbox_y0,bbox_x1,bbox_y1\n7,0.5,True,1,1,2,2\n", "are to be whole numbers"),
        ("cell,frame,good,bbox_x0,bbox_y0,bbox_x1,bbox_y1\n1e30,0,True,1,1,2,2\n", "are to be whole numbers"),
        ("cell,frame,good,bbox_x0,bbox_y0,bbox_x1,bbox_y1\n,0,True,1,1,2,2\n", "are to be whole numbers"),
        ("fov,cell,frame,good,bbox_x0,bbox_y0,bbox_x1,bbox_y1\n2,7,0,True,1,1,2,2\n", "it is of FOV 2, and stands in"),
        (f"{BOXES},area\n7,0,True,1,1,2,2,1,5\n", "more cells than there are columns; is there a decimal comma"),
        (f"{BOXES},good\n7,0,True,1,1,2,2,False\n", "the column 'good' is there twice"),
        (f"{BOXES}\n7,0,True,1,1,2,2\n7,0,False,1,1,2,2\n", "cell 7 is good and is not good in frame 0, in two rows"),
    ],
)
def test_an_inspected_table_that_is_none(tmp_path, content, reason):
    path = tmp_path / "d_fov_003_traces_inspected.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=reason) as error:
        apply_curation.read_inspected(path, 3)
    assert "d_fov_003_traces_inspected.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_inspected_table_that_a_spreadsheet_saved(tmp_path, encoding, end):
    """Numbers in quotes, words in capitals, empty columns and rows, the same row twice."""
    path = tmp_path / "d_fov_003_traces_inspected.csv"
    rows = [f"{BOXES},,", '"7","0",TRUE,1,1,2,2,,', '"7","0",TRUE,1,1,2,2,,', "8.0,0,FALSE,1,1,2,2,,", ",,,,,,,,"]
    path.write_bytes((end.join(rows) + end).encode(encoding))
    read = apply_curation.read_inspected(path, 3)
    assert read[["cell", "good"]].drop_duplicates().to_numpy().tolist() == [[7, True], [8, False]]


@given(st.lists(st.integers(0, 30), min_size=8, max_size=8))
def test_overlap_of_boxes_is_that_of_their_pixels(ends):
    images = []
    for x0, y0, x1, y1 in (ends[:4], ends[4:]):
        image = np.zeros((40, 40), bool)
        image[min(y0, y1) : max(y0, y1) + 1, min(x0, x1) : max(x0, x1) + 1] = True
        images.append(image)
    boxes = [[min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1] for x0, y0, x1, y1 in (ends[:4], ends[4:])]
    expected = (images[0] & images[1]).sum() / (images[0] | images[1]).sum()
    assert box_iou(np.array(boxes[0]), np.array(boxes[1:]))[0] == pytest.approx(expected)


def test_the_line_at_the_end_names_what_is_not_as_it_was_written(tmp_path):
    flags = [Flag(0, 1, False), Flag(0, 2, False), Flag(0, 3, False)]
    decided(tmp_path / "a", BEFORE, flags=flags)
    assert list(summary.decisions({"d": [str(tmp_path / "a/d_fov_000_decisions.csv")]})) == []
    decided(tmp_path / "b", AFTER, flags=flags)
    (line,) = summary.decisions({"d": [str(tmp_path / "b/d_fov_000_decisions.csv")], "e": []})
    assert "3 in all, 1 not applied (curation.csv: FOV 0, cell 3: there is no cell within 3 px" in line
    assert "2 applied (curation.csv: FOV 0, cell 1: its number is 3 now" in line


# ------------------------------------------------------------------------------------------------------- the workflow


def labels_at(checkout, row):
    frames = open_frames(checkout.folder / "results/small/fov_000/images.zarr/seg_tracked_ch_0/0")
    return int(frames.read(int(row.frame))[int(float(row.y)), int(float(row.x))])


@pytest.mark.workflow
def test_decisions_survive_another_segmentation(movies, finished_fov, tmp_path):
    checkout = Checkout(tmp_path, finished_fov)
    config = small_config(movies, fovs="0")
    checkout.configure(config)
    folder = tmp_path / "results/small"
    tidy = folder / "small_traces.csv"
    cells = sorted(set(pd.read_csv(tidy).cell))
    curation = tmp_path / "results/curation.csv"

    # A cell that is not there stops the run before any job, also a dry one, and nothing is written.
    curation.write_text("dataset,fov,cell,good\nsmall,0,999,false\n")
    for arguments in ((), ("-n",)):
        outcome = checkout.run(None, *arguments)
        assert outcome.code != 0
        assert re.search(
            r"curation.csv: FOV 0 of small has no cell 999; its cells have numbers from 1 to \d+", outcome.text
        )
        assert "Traceback" not in outcome.text
    assert not (tmp_path / "results/curation_places").exists()

    # Written for the present results, with the next run a new segmentation: some numbers then name other cells.
    curation.write_text("dataset,fov,cell,good\n" + "".join(f"small,0,{cell},no\n" for cell in cells[:-1]))
    user = curation.read_bytes()
    planned = checkout.run(None, "-n")
    assert set(planned.jobs) == {"apply_curation", "digest", "merge", "tidy", "write_report"}
    for arguments in (["--summary"], ["--list-changes", "params"], ["--lint"]):
        assert checkout.run(None, *arguments).code == 0
    assert not (tmp_path / "results/curation_places").exists()
    size = int(pd.read_csv(tidy).groupby("cell").area_ch_0.median().median())
    smaller = {**config, "params": {**config["params"], "min_object_size": size}}
    outcome = checkout.run(smaller)
    assert outcome.code == 0, outcome.text
    assert curation.read_bytes() == user
    decisions = pd.read_csv(folder / "fov_000/small_fov_000_decisions.csv")
    assert set(decisions.cell) == set(cells[:-1])
    lost = decisions[decisions.status == "lost"]
    assert len(lost) > 0
    assert "not applied" in outcome.text
    for row in decisions[decisions.status == "applied"].itertuples():
        assert labels_at(checkout, row) == row.cell_now
    for row in lost.itertuples():
        assert labels_at(checkout, row) == 0
    assert set(decisions[decisions.status == "applied"].cell_now).isdisjoint(pd.read_csv(tidy).cell)
    assert checkout.run(None).jobs == {}

    # Back to the first segmentation: the same cells as were meant.
    assert checkout.run(config).code == 0
    assert set(pd.read_csv(tidy).cell) == {cells[-1]}
    assert checkout.run(None, "verify").code == 0
    curation.unlink()
    outcome = checkout.run(None)
    assert set(outcome.jobs) == {"digest", "merge", "tidy", "write_report"}
    assert not (folder / "fov_000/small_fov_000_decisions.csv").exists()
    assert not list((tmp_path / "results/curation_places").rglob("*.csv"))
    assert checkout.run(None, "verify").code == 0

    # An inspected table counts by its content: of another date, even of a clock that is ahead, it is the same table.
    inspected = folder / "fov_000/small_fov_000_traces_inspected.csv"
    table = pd.read_csv(folder / "fov_000/small_fov_000_traces.csv")
    table.assign(good=table.good & (table.cell != cells[0])).to_csv(inspected, index=False)
    outcome = checkout.run(None)
    assert set(outcome.jobs) == {"apply_curation", "digest", "merge", "tidy", "write_report"}
    assert set(pd.read_csv(tidy).cell) == set(cells[1:])
    ahead = time.time() + 1e6
    os.utime(inspected, (ahead, ahead))
    assert checkout.run(None).jobs == {}
