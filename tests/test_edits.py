"""A person's edits as lines of files: read strictly, and never lost by a crash."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from conftest import PYTHON, ROOT
from edits_tools import ANCHOR, make
from hypothesis import given, settings
from hypothesis import strategies as st

from celltraces.edits import records
from celltraces.edits.records import Edit
from celltraces.errors import UserError

LINE = {
    **{"v": 1, "id": "01KB0000000000000000000000", "by": "anna", "when": "2026-11-26T10:04:13.123Z"},
    **{"dataset": "demo_nd2", "fov": 1, "op": "split", "labels": "9f3c", "note": "jumps to its neighbour"},
    "cell": {"n": 11, "frame": 40, "y": 123, "x": 442, "area": 391, "box": [112, 430, 135, 455]},
}


# --------------------------------------------------------------------------------------------------------- one line


def test_the_line_of_the_reference_is_read():
    edit = records.parse_line(json.dumps(LINE))
    assert edit == Edit(
        *("01KB0000000000000000000000", "anna", "2026-11-26T10:04:13.123Z", "demo_nd2", 1, "split"),
        cell=ANCHOR,
        note="jumps to its neighbour",
    )
    assert records.to_json(edit) == LINE


def test_the_example_in_the_page_is_an_edit():
    page = (ROOT / "docs/curation.md").read_text(encoding="utf-8")
    line = page.split("```json\n")[1].split("\n```")[0]
    assert records.to_json(records.parse_line(line)) == json.loads(line)


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
    assert records.parse_line(records.line_of(edit)) == edit


def test_times_and_ids_only_grow_also_where_the_clock_goes_back():
    clock = iter([1000.0, 1000.0, 900.0, 1000.0005, 2000.0])
    last = None
    orders = []
    for _ in range(5):
        edit_id, when = records.id_and_date(last, lambda: next(clock))
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
    edit_id, when = records.id_and_date(edit)
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
