"""A person's edits: lines that survive a crash, and a replay that does what a plain dictionary would."""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import PYTHON, ROOT, Checkout, small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import expand_labels
from stages import CROP

import apply_edits
import list_edits
from celltraces.edits import anchors, records, regions
from celltraces.edits.records import Anchor, Edit
from celltraces.edits.replay import replay
from celltraces.edits.undo import in_force
from celltraces.errors import UserError
from celltraces.labels.lineage import write_lineage
from celltraces.paths import Layout
from celltraces.planning import edits as planned
from celltraces.runs import summary
from celltraces.storage.cells import open_store
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing

ANCHOR = Anchor(11, 40, 123, 442, 391, (112, 430, 135, 455), "9f3c")
LINE = {
    **{"v": 1, "id": "01KB0000000000000000000000", "by": "anna", "when": "2026-11-26T10:04:13.123Z"},
    **{"dataset": "demo_nd2", "fov": 1, "op": "split", "labels": "9f3c", "note": "jumps to its neighbour"},
    "cell": {"n": 11, "frame": 40, "y": 123, "x": 442, "area": 391, "box": [112, 430, 135, 455]},
}

# --------------------------------------------------------------------------------------------------------- one line


def test_the_line_of_the_reference_is_read():
    edit = records.parse(json.dumps(LINE))
    assert edit == Edit(
        *("01KB0000000000000000000000", "anna", "2026-11-26T10:04:13.123Z", "demo_nd2", 1, "split"),
        cell=ANCHOR,
        note="jumps to its neighbour",
    )
    assert records.to_json(edit) == LINE


def test_the_example_in_the_page_is_an_edit():
    page = (ROOT / "docs/curation.md").read_text(encoding="utf-8")
    line = page.split("```json\n")[1].split("\n```")[0]
    assert records.to_json(records.parse(line)) == json.loads(line)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "version v is 2; this release reads 1"),
        ({"v": True}, "version v is True"),
        ({"op": "merge"}, "op is 'merge'; allowed are good, bad"),
        ({"op": ["split"]}, "op is"),
        ({"cell": None}, "split needs 'cell'"),
        ({"op": "join"}, "join needs 'with'"),
        ({"op": "swap", "with": LINE["cell"]}, "swap needs 'frame'"),
        ({"op": "undo"}, "undo needs 'of'"),
        ({"op": "undo", "of": "../../etc"}, "of is '../../etc', which is to be like"),
        ({"when": "2026-02-30T10:04:13.123Z"}, "a day that there is not"),
        ({"when": "\u0662026-02-20T10:04:13.123Z"}, "which is to be like"),
        ({"note": "half a character \ud800"}, "note is to be a text"),
        ({"dataset": "\udfff"}, "dataset is to be a name"),
        ({"labels": "\ud800"}, "labels is to be a text"),
        ({"op": "divide", "daughters": [], "frame": 3}, "list of 1 to 16"),
        ({"op": "exclude", "frames": [5, 3]}, "first is not to be after the last"),
        ({"op": "exclude", "frames": [5]}, r"frames is to be \[first, last\]"),
        ({"id": "1"}, "id is '1'"),
        ({"by": "../anna"}, "by is '../anna'"),
        ({"when": "2026-11-26 10:04"}, "when is"),
        ({"when": "2026-13-26T10:04:13.123Z"}, "when is"),
        ({"fov": -1}, "fov is -1"),
        ({"fov": 1.0}, "fov is 1.0"),
        ({"fov": True}, "fov is True"),
        ({"dataset": ""}, "dataset is to be a name"),
        ({"note": 5}, "note is to be a text"),
        ({"labels": 5}, "labels is to be a text"),
        ({"cell": 11}, "cell is to be an object"),
        ({"cell": {**LINE["cell"], "n": 0}}, "n and area of cell"),
        ({"cell": {**LINE["cell"], "y": 2**40}}, "y of cell is"),
        ({"cell": {**LINE["cell"], "box": [5, 5, 5, 9]}}, "box of cell is empty"),
        ({"cell": {**LINE["cell"], "box": "1234"}}, "box of cell is to be"),
    ],
)
def test_mistakes_in_a_line(change, reason):
    with pytest.raises(ValueError, match=reason) as error:
        records.from_json({**LINE, **change})
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_line_of_json_is_a_traceback(data):
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    )
    written = dict(LINE)
    for name in data.draw(st.lists(st.sampled_from([*LINE, "with", "daughters", "frame", "frames", "of"]), max_size=3)):
        written[name] = data.draw(values)
    written["op"] = data.draw(st.sampled_from(records.OPS))
    try:
        edit = records.from_json(written)
    except ValueError:
        return
    assert records.parse(records.line_of(edit)) == edit


def test_times_and_ids_only_grow_also_where_the_clock_goes_back():
    clock = iter([1000.0, 1000.0, 900.0, 1000.0005, 2000.0])
    last = None
    orders = []
    for _ in range(5):
        edit_id, when = records.stamp(last, lambda: next(clock))
        assert records.ID.fullmatch(edit_id)
        assert records.WHEN.fullmatch(when)
        last = replace(records.from_json(LINE), id=edit_id, when=when)
        orders.append(last.order)
        assert [edit.order for edit in sorted([last], key=lambda edit: edit.order)] == [last.order]
    assert orders == sorted(set(orders))
    assert [edit_id for _, edit_id in orders] == sorted(edit_id for _, edit_id in orders)
    assert orders[0][0] == "1970-01-01T00:16:40.000Z"
    assert orders[-1][0] == "1970-01-01T00:33:20.000Z"


# ------------------------------------------------------------------------------------------------------------- files


def make(by="anna", after=None, **fields):
    """A new edit of dataset d, FOV 0."""
    edit_id, when = records.stamp(after)
    return Edit(edit_id, by, when, "d", 0, **fields)


def test_what_is_appended_is_read(tmp_path):
    folder = tmp_path / "results" / "edits"
    assert records.read_edits(folder) == ([], [])
    first = make(op="bad", cell=ANCHOR, note="größer\nzweite Zeile")
    second = make("bea", first, op="exclude", frames=(3, 5))
    third = make(after=second, op="undo", of=first.id)
    for edit in (third, first):
        records.append(records.author_file(folder, "anna"), edit)
    records.append(records.author_file(folder, "bea"), second)
    assert records.read_edits(folder) == ([first, second, third], [])
    assert (folder / "anna.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("name", ["", "..", ".anna", "a/b", "a b", "anna\n", "ä", "x" * 65, "-rf"])
def test_names_that_are_no_file_names_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="no name for a file of edits"):
        records.author_file(tmp_path, name)


def test_a_torn_last_line_is_reported_and_the_next_edit_is_not_lost(tmp_path):
    path = tmp_path / "anna.jsonl"
    first, second = make(op="bad", cell=ANCHOR), make(op="good", cell=ANCHOR)
    records.append(path, first)
    whole = (records.line_of(second) + "\n").encode()
    for cut in (1, len(whole) // 2, len(whole) - 2):
        path.write_bytes((records.line_of(first) + "\n").encode() + whole[:cut])
        edits, notes = records.read_edits(tmp_path)
        assert edits == [first]
        assert len(notes) == 1
        assert "line 2: not used" in notes[0]
        assert "not written to its end" in notes[0]
        third = make(op="seen", cell=ANCHOR)
        records.append(path, third)
        edits, notes = records.read_edits(tmp_path)
        assert edits == [first, third]
        assert len(notes) == 1


def test_lines_of_other_versions_and_damaged_ones_are_reported_and_stop_nothing(tmp_path):
    path = tmp_path / "anna.jsonl"
    lines = [json.dumps(LINE | {"v": 9}), json.dumps(LINE | {"op": "paint"}), "{", json.dumps(LINE), ""]
    path.write_bytes("\n".join(lines).encode() + b"\xff\xfe\n")
    edits, notes = records.read_edits(tmp_path)
    assert edits == [records.from_json(LINE)]
    assert [note.split(":")[1].strip() for note in notes] == ["not used, its version v is 9; this release reads 1"] + [
        "not used, op is 'paint'; allowed are good, bad, exclude, split, join, swap, delete, divide, seen, undo",
        "not used, this is not JSON",
        "not used, it is not UTF-8",
    ]


def test_a_copy_of_a_file_counts_once(tmp_path):
    first = make(op="bad", cell=ANCHOR)
    records.append(tmp_path / "anna.jsonl", first)
    (tmp_path / "anna-copy.jsonl").write_bytes((tmp_path / "anna.jsonl").read_bytes())
    assert records.read_edits(tmp_path) == ([first], [])
    (tmp_path / "anna-copy.jsonl").write_text(records.line_of(replace(first, op="good")) + "\n")
    edits, notes = records.read_edits(tmp_path)
    assert len(edits) == 1
    assert "twice" in notes[0]


def test_an_edit_that_cannot_be_saved_is_no_success(tmp_path):
    (tmp_path / "edits").write_text("a file where the folder is to be")
    with pytest.raises(UserError, match="the edit is not saved"):
        records.append(tmp_path / "edits" / "anna.jsonl", make(op="bad", cell=ANCHOR))
    with pytest.raises(UserError, match="shorten its note"):
        records.append(tmp_path / "anna.jsonl", make(op="bad", cell=ANCHOR, note="x" * 70_000))
    assert not (tmp_path / "anna.jsonl").exists()


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from celltraces.edits import records
edit = None
while True:
    edit_id, when = records.stamp(edit)
    edit = records.Edit(edit_id, "anna", when, "d", 0, "exclude", frames=(1, 2))
    records.append(Path(sys.argv[2]), edit)
    print(edit_id, flush=True)
"""


def test_no_acknowledged_edit_is_lost_by_kill_9(tmp_path):
    path = tmp_path / "anna.jsonl"
    acknowledged = []
    for wait in (0.02, 0.05, 0.0):
        writer = subprocess.Popen(
            [PYTHON, "-c", WRITER, str(ROOT / "scripts"), str(path)], stdout=subprocess.PIPE, text=True
        )
        acknowledged.append(writer.stdout.readline().strip())
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [line for line in writer.communicate()[0].split("\n") if len(line) == 26]
    edits, _ = records.read_edits(tmp_path)
    assert len(acknowledged) >= 3
    assert {*acknowledged} <= {edit.id for edit in edits}


# -------------------------------------------------------------------------------------- replay against a dictionary


def regions_of(present):
    """Regions of a movie from present[frame] = labels there; each label has a place of its own that moves right."""
    return regions.from_tables(
        [
            (
                np.array(sorted(labels), np.int64),
                np.full(len(labels), 16),
                np.array([[5 * n, frame, 5 * n + 4, frame + 4] for n in sorted(labels)], np.int32).reshape(-1, 4),
            )
            for frame, labels in enumerate(present)
        ]
    )


def oracle(present, edits):
    """What edits should make of a movie, by a plain dictionary region -> name of a cell; the same rules, no arrays."""
    undone = {}
    for edit in reversed(edits):  # an undo comes after what it takes back here
        if edit.op == "undo" and not undone.get(edit.id):
            undone[edit.of] = True
    owner = {(frame, n): n for frame, labels in enumerate(present) for n in labels}
    excluded, whole, swaps, applied, children = set(), set(), {}, {}, []

    def of(cell):
        return sorted(region for region, name in owner.items() if name == cell)

    for edit in edits:
        if undone.get(edit.id) or edit.op == "undo":
            continue
        at = edit.cell and (edit.cell.frame, edit.cell.n)
        cell = owner.get(at)
        other = owner.get((edit.other.frame, edit.other.n)) if edit.other else None
        first, last = edit.frames or (0, len(present))
        applied[edit.id] = False
        if (edit.cell and cell is None) or (edit.other and other is None):
            continue
        new = ("new", edit.id)
        mine = of(cell)
        if edit.op == "split":
            if mine[0][0] >= at[0]:
                continue
            owner |= {region: new for region in mine if region[0] >= at[0]}
        elif edit.op == "join":
            theirs = of(other)
            if cell == other or {frame for frame, _ in mine} & {frame for frame, _ in theirs}:
                continue
            owner |= dict.fromkeys(mine + theirs, cell if mine[0] < theirs[0] else other)
        elif edit.op == "swap":
            theirs = of(other)
            moved = [region for region in mine + theirs if region[0] >= edit.frame]
            key = frozenset([cell, other]), edit.frame
            if cell == other or not moved or swaps.get(key, edit.by) != edit.by:
                continue
            swaps[key] = edit.by
            owner |= {region: other if region in mine else cell for region in moved}
        elif edit.op in ("delete", "exclude"):
            chosen = [region for region in mine if first <= region[0] <= last]
            if edit.cell and not chosen:
                continue
            if edit.op == "delete":
                for region in chosen:
                    del owner[region]
            elif edit.cell:
                excluded |= {*chosen}
            else:
                whole |= {*range(first, min(last, len(present) - 1) + 1)}
        elif edit.op == "divide":
            daughters = [(owner.get((d.frame, d.n)), d) for d in edit.daughters]
            before, after = ([r for r in mine if (r[0] < edit.frame) == early] for early in (True, False))
            wrong = any(
                name is None or (d.frame < edit.frame if name == cell else of(name)[0][0] < edit.frame)
                for name, d in daughters
            )
            if not before or wrong:
                continue
            firsts = {of(name)[0] if name != cell else after[0] for name, _ in daughters}
            if len({name for name, _ in daughters}) == 1 and after:
                firsts.add(after[0])
            owner |= dict.fromkeys(after, new)
            children.append((before[-1], firsts))
        applied[edit.id] = True
    new = sorted(
        {name for name in owner.values() if not isinstance(name, int)},
        key=lambda name: (of(name)[0][0], of(name)[0][1]),
    )
    top = max((n for labels in present for n in labels), default=0)
    number = {name: top + 1 + at for at, name in enumerate(new)}
    cells = {region: number.get(name, name) for region, name in owner.items()}
    good, seen = {}, set()
    for edit in edits:
        if edit.id in applied and edit.op in ("good", "bad", "seen"):
            cell = cells.get((edit.cell.frame, edit.cell.n))
            applied[edit.id] = cell is not None
            if cell and edit.op == "seen":
                seen.add(cell)
            elif cell:
                good[cell] = edit.op == "good"
    return cells, good, {*cells} & excluded, whole, seen, applied, children


@st.composite
def edited_movies(draw):
    """present[frame] = labels, and edits by two authors with undos among them."""
    present = draw(st.lists(st.sets(st.integers(1, 4), min_size=1), min_size=2, max_size=5))
    base = regions_of(present)
    edits = []

    def region():
        row = draw(st.integers(0, len(base.frame) - 1))
        y0, x0, *_ = base.box[row].tolist()
        return anchors.anchor_at(base, row, y0 + 1, x0 + 1)

    def frame():
        return draw(st.integers(0, len(present) - 1))

    for _ in range(draw(st.integers(1, 9))):
        op = draw(st.sampled_from(records.OPS if edits else records.OPS[:-1]))
        fields = {}
        if op == "undo":
            fields["of"] = draw(st.sampled_from(edits)).id
        elif op != "exclude" or draw(st.booleans()):
            fields["cell"] = region()
        if op in ("join", "swap"):
            fields["other"] = region()
        if op in ("swap", "divide"):
            fields["frame"] = frame()
        if op == "divide":
            fields["daughters"] = tuple(region() for _ in range(draw(st.integers(1, 2))))
        if op == "exclude" or (op == "delete" and draw(st.booleans())):
            fields["frames"] = tuple(sorted([frame(), frame()]))
        edits.append(make(draw(st.sampled_from(["anna", "bea"])), edits[-1] if edits else None, op=op, **fields))
    return present, base, edits


def no_pixels(*_):
    raise AssertionError("the labels are as they were: no pixel is to be looked up")


def as_dict(base, values):
    return {
        (int(frame), int(n)): int(value)
        for frame, n, value in zip(base.frame, base.label, values, strict=True)
        if value
    }


@settings(deadline=None, max_examples=300)
@given(movie=edited_movies())
def test_replay_does_what_a_dictionary_does(movie):
    present, base, edits = movie
    result = replay(base, edits, no_pixels)
    cells, good, excluded, whole, seen, applied, children = oracle(present, edits)
    assert as_dict(base, result.cell) == cells
    assert result.good == good
    assert {*as_dict(base, result.excluded)} == excluded
    assert result.excluded_frames == whole
    assert result.seen == seen
    for edit in edits:
        status = result.outcomes[edit.id].status
        if edit.id in applied:
            assert (status in ("applied", "overruled")) == applied[edit.id], (edit.op, status)
        else:
            assert (status == "undone") or (edit.op == "undo" and status == "applied")
        assert result.outcomes[edit.id].reason or status == "applied"
    # No cell is twice in a frame.
    assert len({(frame, cell) for (frame, _), cell in cells.items()}) == len(cells)
    # Every parent ends before its daughters begin, and each pair was marked by somebody.
    marked = {(cells.get(parent), cells.get(first)) for parent, firsts in children for first in firsts}
    frames = {cell: [frame for (frame, _), c in cells.items() if c == cell] for cell in cells.values()}
    for daughter, (parent, frame) in result.origins.items():
        assert (parent, daughter) in marked
        assert max(frames[parent]) < frame <= min(frames[daughter])


@settings(deadline=None, max_examples=100)
@given(movie=edited_movies(), data=st.data())
def test_the_order_of_the_lines_does_not_matter_and_undo_gives_the_state_before(movie, data):
    _, base, edits = movie
    before = replay(base, edits, no_pixels)
    shuffled = replay(base, data.draw(st.permutations(edits)), no_pixels)
    assert as_dict(base, before.cell) == as_dict(base, shuffled.cell)
    assert (before.good, before.outcomes, before.origins) == (shuffled.good, shuffled.outcomes, shuffled.origins)
    chosen = data.draw(st.sampled_from([edit for edit in edits if edit.op != "undo"] or [None]))
    if chosen is None:
        return
    # Taking all of the edits back, the last first, gives the base.
    undone = list(edits)
    for edit in reversed(edits):
        if before.outcomes[edit.id].status != "undone" and edit.op != "undo":
            undone.append(make(after=undone[-1], op="undo", of=edit.id))
    empty = replay(base, undone, no_pixels)
    assert as_dict(base, empty.cell) == as_dict(base, base.label)
    assert (empty.good, empty.origins, empty.seen, empty.excluded.any()) == ({}, {}, frozenset(), False)
    # An edit taken back is as one never made; taken back again, as before.
    undo = make(after=undone[-1], op="undo", of=chosen.id)
    without = replay(base, [*edits, undo], no_pixels)
    if not any(edit.of == chosen.id for edit in edits):
        never = replay(base, [edit for edit in edits if chosen.id != edit.id], no_pixels)
        assert (as_dict(base, without.cell), without.good) == (as_dict(base, never.cell), never.good)
        again = replay(base, [*edits, undo, make(after=undo, op="undo", of=undo.id)], no_pixels)
        assert (as_dict(base, again.cell), again.good) == (as_dict(base, before.cell), before.good)
        assert again.outcomes[chosen.id] == before.outcomes[chosen.id]


def test_undo_from_a_clock_that_is_behind_and_undos_in_a_circle():
    mark = replace(make(op="bad", cell=ANCHOR), when="2026-01-01T10:00:00.000Z")
    early = replace(make("bea", op="undo", of=mark.id), when="2026-01-01T09:00:00.000Z")
    assert in_force([early, mark]) == ([], {mark.id: ("undone", "taken back by bea")})
    elsewhere = replace(early, fov=1)
    assert in_force([elsewhere, mark]) == (
        [mark],
        {elsewhere.id: ("lost", f"there is no edit {mark.id} of this FOV")},
    )
    one, two = make(op="undo", of=mark.id), make(op="undo", of=mark.id)
    one = replace(one, of=two.id)
    two = replace(two, of=one.id)
    counting, others = in_force([one, two, mark])
    assert counting == [mark]
    assert {*others} == {one.id, two.id}


def test_two_authors_who_disagree_and_two_who_do_the_same():
    base = regions_of([{1, 2}, {1, 2}, {1, 2}])

    def at(row):
        return anchors.anchor_at(base, row, 0, 0)

    bad = make(op="bad", cell=at(0))
    good = make("bea", bad, op="good", cell=at(4))
    result = replay(base, [good, bad], no_pixels)
    assert result.good == {1: True}
    assert result.outcomes[bad.id] == ("overruled", "bea says good later", 1)
    assert result.outcomes[good.id] == ("applied", "", 1)
    swap = make(op="swap", cell=at(0), other=at(1), frame=1)
    same = make("bea", swap, op="swap", cell=at(3), other=at(2), frame=1)
    result = replay(base, [swap, same], no_pixels)
    assert as_dict(base, result.cell) == {(0, 1): 1, (0, 2): 2, (1, 1): 2, (1, 2): 1, (2, 1): 2, (2, 2): 1}
    assert result.outcomes[same.id].status == "refused"
    assert "anna has exchanged these cells" in result.outcomes[same.id].reason


def test_divisions_of_the_base_follow_the_edits():
    base = regions_of([{1}, {1}, {2, 3}, {2, 3}])
    rows = {(int(f), int(n)): row for row, (f, n) in enumerate(zip(base.frame, base.label, strict=True))}

    def at(frame, n):
        return anchors.anchor_at(base, rows[frame, n], 0, 0)

    lineage = {2: (1, 2), 3: (1, 2)}
    assert replay(base, [], no_pixels, lineage).origins == lineage
    assert replay(base, [make(op="split", cell=at(1, 1))], no_pixels, lineage).origins == {2: (4, 2), 3: (4, 2)}
    assert replay(base, [make(op="join", cell=at(0, 1), other=at(2, 2))], no_pixels, lineage).origins == {}
    assert replay(base, [make(op="delete", cell=at(3, 3))], no_pixels, lineage).origins == {2: (1, 2)}
    # 1 is said to be the mother of 2 alone: what of 3? A cell divides once, the last word counts.
    marked = make(op="divide", cell=at(0, 1), daughters=(at(3, 2),), frame=2)
    assert replay(base, [marked], no_pixels, lineage).origins == {2: (1, 2)}
    # The parent goes on as one of the daughters.
    goes_on = regions_of([{1}, {1}, {1, 2}, {1, 2}])
    two = goes_on.row(2, 2)
    divide = make(
        op="divide",
        cell=anchors.anchor_at(goes_on, goes_on.row(2, 1), 0, 0),
        daughters=(anchors.anchor_at(goes_on, two, 0, 0),),
        frame=2,
    )
    result = replay(goes_on, [divide], no_pixels)
    assert result.origins == {2: (1, 2), 3: (1, 2)}
    assert as_dict(goes_on, result.cell)[3, 1] == 3


# ------------------------------------------------------------------------------------------- after a new segmentation


@st.composite
def label_movies(draw):
    """(T, H, W) labels grown from seeds, as they may be before and after other parameters."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seeds = np.zeros((40, 50), np.uint16)
    # So far apart that none of them can grow over all of another.
    places = rng.choice([50 * y + x for y in (8, 20, 32) for x in (8, 24, 40)], 6, replace=False)
    movies = []
    for grow in (5, int(rng.integers(2, 9))):
        movie = np.zeros((3, 40, 50), np.uint16)
        numbers = rng.permutation(12)[:6] + 1
        for frame in movie:
            seeds[:] = 0
            kept = rng.random(6) < 0.8
            seeds.flat[places[kept]] = numbers[kept]
            frame[:] = expand_labels(seeds, grow)
        movies.append((movie, numbers))
    return movies


def of_images(movie):
    tables = []
    for image in movie:
        labels = np.unique(image[image > 0]).astype(np.int64)
        boxes = [[*(np.argwhere(image == n).min(0)), *(np.argwhere(image == n).max(0) + 1)] for n in labels]
        areas = [np.count_nonzero(image == n) for n in labels]
        tables.append((labels, np.array(areas), np.array(boxes).reshape(-1, 4)))
    return regions.from_tables(tables)


@settings(deadline=None, max_examples=60)
@given(movies=label_movies())
def test_after_a_new_segmentation_nothing_is_wrongly_applied_and_all_that_is_lost_is_reported(movies):
    (before, numbers), (after, new_numbers) = movies
    old, new = of_images(before), of_images(after)
    same_cell = dict(zip(numbers.tolist(), new_numbers.tolist(), strict=True))  # both grew from the same seed
    edits = []
    for row in range(len(old.frame)):
        mark = anchors.make_anchor(old, row, before[old.frame[row]])
        assert before[mark.frame, mark.y, mark.x] == mark.n
        edits.append(make(after=edits[-1] if edits else None, op="bad", cell=mark))
    result = replay(new, edits, lambda frame, y, x: int(after[frame, y, x]))
    for edit in edits:
        status, reason, cell = result.outcomes[edit.id]
        ours, frame = edit.cell, edit.cell.frame
        there = after[frame, ours.y, ours.x]
        region = after[frame] == there
        if status in ("applied", "applied, renumbered"):
            if old.fingerprint(frame) == new.fingerprint(frame):
                assert cell == ours.n
                continue
            assert cell == there == same_cell[ours.n]
            assert (status == "applied") == (cell == ours.n)
            assert 0.5 <= region.sum() / ours.area <= 2
            common = np.zeros_like(region)
            y0, x0, y1, x1 = ours.box
            common[y0:y1, x0:x1] = True
            box = np.zeros_like(region)
            box[np.ix_(region.any(1), region.any(0))] = True
            rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
            assert (box & common).sum() >= 0.5 * (box | common).sum()
        else:
            assert reason
            assert status == ("doubtful" if there else "lost")
    assert {*result.good} == {
        result.outcomes[edit.id].cell for edit in edits if result.outcomes[edit.id].status.startswith("applied")
    }


def test_regions_are_kept_beside_edited_labels(tmp_path):
    base = regions_of([{1, 2}, set(), {2}])
    regions.write_regions(tmp_path / "r.zarr.zip", base, np.array([1, 0, 7]))
    read, cell = regions.read_regions(tmp_path / "r.zarr.zip")
    assert (read.n_frames, cell.tolist()) == (3, [1, 0, 7])
    assert all((getattr(read, name) == getattr(base, name)).all() for name in ("frame", "label", "area", "box"))
    assert [read.fingerprint(frame) for frame in range(3)] == [base.fingerprint(frame) for frame in range(3)]


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
