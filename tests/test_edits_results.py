"""Edits in the results: edited labels, which jobs they rerun, and what reaches the tables."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import Checkout, small_config
from edits_tools import ANCHOR, as_dict, make, no_pixels, of_images
from hypothesis import given, settings
from hypothesis import strategies as st
from stages import CROP

import apply_edits
import list_edits
from celltraces.edits import anchors, records, regions
from celltraces.edits.replay import replay
from celltraces.edits.undo import in_force
from celltraces.labels.lineage import write_lineage
from celltraces.paths import Layout
from celltraces.planning import edits as planned
from celltraces.runs import summary
from celltraces.storage.cells import open_store
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing

# ----------------------------------------------------------------------------------------------------- edited labels


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_an_edited_frame_has_all_pixels_of_its_cells_and_shows_the_lowest_number(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    masks = {label: rng.random((6, 7)) < 0.4 for label in (1, 2, 3, 4)}  # they lie over each other
    image = np.zeros((6, 7), np.uint16)
    for label in sorted(masks, reverse=True):
        image[masks[label]] = label
    hidden = {label: np.flatnonzero(mask & (image != label)) for label, mask in masks.items()}
    hidden = {label: pixels for label, pixels in hidden.items() if len(pixels)}
    numbers = data.draw(st.permutations(range(1, 9)))
    cells = {label: numbers[label] for label in masks if data.draw(st.booleans())}  # the others are deleted
    labels, lost = apply_edits.edit_frame(image, hidden, cells, np.dtype(np.uint16))
    expected = np.zeros((6, 7), np.uint16)
    for label, cell in sorted(cells.items(), key=lambda pair: -pair[1]):
        expected[masks[label]] = cell
    assert (labels == expected).all()
    for label, cell in cells.items():
        pixels = {*np.flatnonzero(labels == cell)} | {*lost.get(cell, np.zeros(0, int)).tolist()}
        assert pixels == {*np.flatnonzero(masks[label])}
    assert {*lost} <= {*cells.values()}


def write_labels(path, movie, attributes=None):
    with writing(path, movie.shape, movie.dtype, LABELS, attributes=attributes) as append:
        for image in movie:
            append(image)
    return path


def test_numbers_that_no_longer_fit_make_wider_labels(tmp_path):
    movie = np.zeros((2, 8, 8), np.uint16)
    movie[:, 1:4, 1:4] = 65535
    base = write_labels(tmp_path / "base/0", movie)
    split = make(op="split", cell=anchors.make_anchor(of_images(movie), 1, movie[1]))
    write_lineage(tmp_path / "base.csv", 3, {65535: (0, 1)}, [])
    paths = [base, *(tmp_path / name for name in ("base.csv", "edited/0", "l.csv", "r.zarr.zip"))]
    apply_edits.main(
        *map(str, paths),
        fov=3,
        edits=[records.to_json(split)],
    )
    edited = open_frames(tmp_path / "edited/0")
    assert edited.dtype == np.uint32
    assert [sorted({*edited.read(frame).ravel().tolist()}) for frame in (0, 1)] == [[0, 65535], [0, 65536]]
    assert (tmp_path / "l.csv").read_text().splitlines()[1:] == ["3,65535,0,0,NaN,NaN", "3,65536,1,1,NaN,NaN"]
    read, cell = regions.read_regions(tmp_path / "r.zarr.zip")
    assert (read.label.tolist(), cell.tolist()) == ([65535, 65535], [65535, 65536])


# ---------------------------------------------------------------------------------------------------------- planning


def plan(tmp_path, of_run=False):
    config = {"channels": {"pc": {"channel": 0}}, "params": {"copy_only": False}}
    return planned.find_edits(config, Layout(str(tmp_path)), {"d": None}, of_run)


def test_jobs_go_by_the_edits_that_their_run_was_planned_with(tmp_path, capsys):
    layout = Layout(str(tmp_path))
    assert plan(tmp_path) == plan(tmp_path, of_run=True) == {}
    bad = make(op="bad", cell=ANCHOR, note="why")
    records.append(tmp_path / "edits/anna.jsonl", bad)
    before = plan(tmp_path)
    planned.keep_for_jobs(layout, before)
    records.append(tmp_path / "edits/anna.jsonl", make(after=bad, op="undo", of=bad.id))
    records.append(tmp_path / "edits/anna.jsonl", replace(make(op="bad", cell=ANCHOR), dataset="elsewhere"))
    assert plan(tmp_path, of_run=True) == before == {("d", "000"): planned.FovEdits([bad], [bad])}
    assert plan(tmp_path)["d", "000"].counting == []
    assert "edits of elsewhere are not used" in capsys.readouterr().err
    planned.keep_for_jobs(layout, {})
    assert plan(tmp_path, of_run=True) == {}


def test_what_is_taken_back_and_what_was_only_looked_at_is_no_setting():
    bad, split = make(op="bad", cell=ANCHOR, note="why"), make(op="split", cell=ANCHOR)
    seen, undo = make(op="seen", cell=ANCHOR), make(op="undo", of=bad.id)

    def of(*written):
        return planned.FovEdits(written, in_force(written)[0])

    assert of(bad, seen).decisions == [bad]
    assert of(bad, seen, undo).decisions == of(seen).decisions == of(split).decisions == []
    assert of(bad, split).tracks == of(split, seen).tracks == [split]
    assert planned.as_settings([bad]) == [records.to_json(replace(bad, note=""))]


def test_the_line_at_the_end_names_what_is_not_applied(tmp_path):
    table = tmp_path / "edits.csv"
    rows = [
        "1,bad,anna,,0,applied,",
        "2,good,anna,,0,overruled,anna says bad later",
        "3,bad,anna,,0,undone,taken back by anna",
    ]
    head = "id,op,by,when,fov,status,reason\n"
    table.write_text(head + "\n".join(rows) + "\n")
    assert list(summary.edits([str(table), str(tmp_path / "none.csv")])) == []
    rows += ["4,good,bea,,2,overruled,anna says bad later", '5,split,bea,,1,lost,"no cell is at x 1, y 2"']
    rows += ['6,split,bea,,1,"applied, renumbered",cell 1']
    table.write_text(head + "\n".join(rows) + "\n")
    assert list(summary.edits([str(table)])) == [
        "edits: 6 in all, 2 not applied (good by bea in FOV 2: anna says bad later, split by bea in FOV 1: no cell is "
        f"at x 1, y 2), 1 applied to cells with other numbers; see {table}"
    ]


def test_edits_of_fovs_that_are_not_processed_are_listed(tmp_path):
    early = replace(make(op="bad", cell=ANCHOR), fov=7, when="2026-01-01T00:00:00.000Z")
    late = replace(make(op="bad", cell=ANCHOR), fov=3, when="2026-01-05T00:00:00.000Z")
    written = {"007": [records.to_json(early)], "003": [records.to_json(late)]}
    list_edits.main([], [], [], str(tmp_path / "edits.csv"), edits=written, tracks_edited=[], fovs=[], n_fovs=5)
    assert (tmp_path / "edits.csv").read_text().splitlines() == [
        "id,op,by,when,fov,status,reason",
        f"{early.id},bad,anna,{early.when},7,lost,there is no such FOV",
        f"{late.id},bad,anna,{late.when},3,unused,this FOV is not processed",
    ]


# ------------------------------------------------------------------------------------------------------- the workflow


def content(results):
    """The bytes of all results but logs and measurements."""
    return {
        path.relative_to(results): path.read_bytes()
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and not {"logs", "benchmarks", "edits"} & {*path.relative_to(results).parts}
        and path.name not in (".lock", ".jobs", ".last_run.json", ".snakemake_timestamp")
    }


DESCENT = ["parent", "division_frame"]
MARKS = {"apply_curation", "extract_taken_in", "list_edits", "digest", "merge", "tidy", "write_report"}
TRACKS = {"apply_edits", "cache_edited", "index_edited", "crop", "extract", "digest", "qc"}


@pytest.mark.workflow
def test_edits_reach_the_tables_and_taking_them_away_restores_the_results(movies, finished_run, tmp_path):
    checkout = Checkout(tmp_path, finished_run)
    config = small_config(movies, samples=[{"name": "a", "fovs": "0-1"}])
    assert checkout.run(config).code == 0
    results = tmp_path / "results"
    before = content(results)
    labels = open_frames(results / "small/fov_000/images.zarr/seg_tracked_ch_0/0")
    base = regions.of_labels(labels)
    with open_store(results / "small/fov_000/cells.zarr") as get:
        of_cells = regions.of_cells(get)
    assert all((getattr(base, name) == getattr(of_cells, name)).all() for name in ("frame", "label", "area", "box"))

    def read_tidy():  # without descent, which the traces of a FOV with edits have
        return pd.read_csv(results / "small/small_traces.csv").drop(columns=DESCENT, errors="ignore")

    whole = read_tidy()
    tidy = whole[whole.fov == 0]
    kept = sorted({*tidy.cell})
    (left_out, *_) = sorted({*base.label.tolist()} - {*kept})
    last = None

    def edit(by, op, *cell, other=None, **fields):
        nonlocal last

        def anchor(n, frame):
            return anchors.make_anchor(base, base.row(frame, n), labels.read(frame))

        fields |= {"cell": anchor(*cell)} if cell else {}
        fields |= {"other": anchor(*other)} if other else {}
        last = replace(make(by, last, op=op, **fields), dataset="small")
        records.append(records.author_file(results / "edits", by), last)
        return last

    # Marks: nothing is cropped or measured anew but the cell that is taken in. A dry run writes nothing.
    one, two, three, four, *_ = kept
    edit("anna", "bad", one, 3)
    edit("bea", "exclude", two, 3, frames=(2, 4))
    edit("bea", "exclude", frames=(7, 7))
    edit("anna", "good", left_out, 3)
    edit("anna", "seen", two, 3)
    assert checkout.planned(config) == dict.fromkeys(MARKS, 1)
    assert content(results) == before

    # Tracks: the second half of `four` goes, that of `three` goes on as `four`, and another author disagrees on `one`.
    edit("anna", "split", three, 4)
    gone = edit("anna", "delete", four, 3, frames=(4, 7))
    edit("anna", "join", four, 0, other=(three, 5))
    refused = edit("bea", "join", one, 0, other=(two, 0))
    edit("bea", "undo", of=edit("bea", "good", one, 0).id)
    outcome = checkout.run(None)
    assert outcome.jobs == dict.fromkeys(MARKS | TRACKS, 1)
    assert outcome.code == 0
    now = content(results)
    assert all(now[path] == before[path] for path in before if "fov_001" in path.parts)
    assert "edits: 11 in all, 1 not applied (join by bea in FOV 0: both cells are in frame 0" in outcome.text

    expected = pd.concat([tidy, measured_apart(results, left_out, tidy)])
    expected = expected[~((expected.cell == four) & (expected.frame >= 4)) & (expected.cell != one)]
    expected.loc[(expected.cell == three) & (expected.frame >= 4), "cell"] = four
    expected = expected[~((expected.cell == two) & expected.frame.between(2, 4)) & (expected.frame != 7)]
    expected = pd.concat([expected.sort_values(["cell", "frame"]), whole[whole.fov == 1]])
    pd.testing.assert_frame_equal(read_tidy(), expected.reset_index(drop=True))
    merged = pd.read_csv(results / "small/a_area_ch_0.csv", comment="#")
    assert sorted(zip(merged.fov, merged.cell, merged.value, strict=True)) == sorted(
        zip(expected.fov, expected.cell, expected.area_ch_0, strict=True)
    )
    outcomes = pd.read_csv(results / "small/edits.csv", index_col="id")
    assert outcomes.status[gone.id] == "applied"
    assert outcomes.status[refused.id] == "refused"
    assert list(outcomes.status).count("undone") == 1
    # What the page shows by the same replay, before the run and after it, is what the labels say.
    written, _ = records.read_edits(results / "edits")
    result = replay(base, written, no_pixels)
    kept_base, cell = regions.read_regions(results / "small/fov_000/small_fov_000_base_regions.zarr.zip")
    assert (cell == result.cell).all()
    assert (kept_base.label == base.label).all()
    edited = regions.of_labels(open_frames(results / "small/fov_000/images.zarr/seg_edited_ch_0/0"))
    assert as_dict(edited, edited.area) == {
        (int(base.frame[row]), int(result.cell[row])): int(base.area[row]) for row in np.flatnonzero(result.cell)
    }
    assert checkout.run(None, "verify").code == 0

    # Without the files all is as before, byte for byte.
    shutil.rmtree(results / "edits")
    outcome = checkout.run(None)
    assert outcome.jobs == dict.fromkeys(CROP, 1)
    assert content(results) == before


def measured_apart(results, cell, tidy):
    """The rows of a cell that a filter left out, as the tidy table would have them."""
    rows = pd.read_csv(results / "small/fov_000/small_fov_000_traces_taken_in.csv")
    assert {*rows.cell} == {cell}
    assert rows.good.all()
    times = tidy.drop_duplicates("frame").set_index("frame")
    return rows.assign(dataset="small", sample="a", time_min=rows.frame.map(times.time_min))[list(tidy.columns)]
