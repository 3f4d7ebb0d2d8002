"""What the server of the curation page saves, and says of it; the command that starts it."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PYTHON, ROOT
from curate_tools import FRAMES, client_of, fov_of, save, state_of
from curation_tools import open_results
from made_results import label_movie, write_dataset

from celltraces.curate import browse
from celltraces.curate.decide import Author, RefusedDecision
from celltraces.curate.views import Results
from celltraces.edits import records
from celltraces.edits.records import read_edits
from celltraces.errors import UserError
from celltraces.runs import last_run

pytest_plugins = ("curate_fixtures",)

HOSTILE = ("<img src=x onerror=alert(1)>", "..", "a b&c#d?e", "Zelle µ 細胞", "'\"{{7*7}}")


# --------------------------------------------------------------------------------------------------------- decisions


def test_a_mark_is_on_the_disk_and_shown(client, results):
    kept = [cell for cell, state in state_of(fov_of(client)).items() if state == "kept"]
    answer = save(client, "bad", cell=kept[0], frame=2, note="a <b>note</b>")
    assert state_of(answer)[kept[0]] == "bad"
    edits, notes = read_edits(results.folder / "edits")
    assert notes == []
    assert [(edit.op, edit.by, edit.cell.n, edit.cell.frame, edit.note) for edit in edits] == [
        ("bad", "anna", kept[0], 2, "a <b>note</b>")
    ]
    assert state_of(fov_of(client)) == state_of(answer)
    assert state_of(save(client, "good", cell=kept[0], frame=2))[kept[0]] == "kept"


def test_a_cell_that_a_filter_left_out_is_taken_in(client):
    cell = next(cell for cell, state in state_of(fov_of(client)).items() if state == "left out")
    assert state_of(save(client, "good", cell=cell, frame=0))[cell] == "kept"
    assert state_of(save(client, "undo", of=fov_of(client)["edits"][-1]["id"]))[cell] == "left out"


def test_tracks_are_changed_and_changed_back(client, made):
    before = fov_of(client)
    joined = save(client, "join", cell=2, frame=1, other=10)
    assert 10 not in joined["cells"]["n"]
    row = joined["cells"]["n"].index(2)
    assert (joined["cells"]["first"][row], joined["cells"]["last"][row]) == (0, FRAMES - 1)
    assert joined["tracks"] != before["tracks"]
    split = save(client, "split", cell=5, frame=3)
    assert split["cells"]["frames"][split["cells"]["n"].index(5)] == 3
    swapped = save(client, "swap", cell=5, other=4, frame=1)
    moved = {(frame, label): cell for frame, label, cell in swapped["moved"]}
    assert moved[2, 4] == 5
    assert moved[2, 5] == 4
    save(client, "delete", cell=6, frame=0)
    gone = fov_of(client)
    assert 6 not in gone["cells"]["n"]
    assert "no cell 6" in save(client, "bad", 409, cell=6, frame=0)
    for edit in reversed(gone["edits"]):
        last = save(client, "undo", of=edit["id"])
    assert last["cells"] == before["cells"]
    assert (last["moved"], last["tracks"]) == ([], before["tracks"])


def test_a_division(client):
    answer = save(client, "divide", cell=2, frame=4, daughters=[10])
    assert [edit["status"] for edit in answer["edits"]] == ["applied"]
    assert answer["edits"][0]["words"] == "cell 2 divides in frame 4"


@pytest.mark.parametrize(
    ("op", "more", "words"),
    [
        ("join", {"cell": 4, "other": 5, "frame": 0}, "both cells are in frame 0"),
        ("join", {"cell": 4, "other": 4, "frame": 0}, "same cell"),
        ("split", {"cell": 4, "frame": 0}, "nothing before"),
        ("split", {"cell": 2, "frame": 6}, "no frame from frame 6 on"),
        ("swap", {"cell": 4, "frame": 0}, "'with'"),
        ("exclude", {"frames": [3, 1]}, "first is not to be after the last"),
        ("exclude", {"frames": [100, 100]}, "there is no frame 100"),
        ("bad", {"cell": 77, "frame": 0}, "there is no cell 77"),
        ("bad", {"cell": "4", "frame": 0}, "whole number"),
        ("bad", {"cell": True, "frame": 0}, "whole number"),
        ("bad", {"cell": 4, "frame": -1}, "whole number"),
        ("bad", {"cell": 4, "frame": 0, "note": 5}, "note"),
        ("undo", {"of": "01KB0000000000000000000000"}, "no such decision"),
        ("undo", {"of": 5}, "of is 5"),
        ("paint", {"cell": 4, "frame": 0}, "op is 'paint'"),
        ("divide", {"cell": 2, "frame": 4, "daughters": []}, "daughters"),
    ],
)
def test_a_decision_without_effect_is_refused_with_a_reason_and_not_saved(client, results, op, more, words):
    text = save(client, op, 409, **more)
    assert words in text
    assert "\n" not in text
    assert not results.author.file.exists()


@pytest.mark.parametrize(
    ("op", "more", "words"),
    [
        ("bad", {"cell": 5, "frame": 0}, "bad, cell 5"),
        ("good", {"cell": 5, "frame": 0}, "good, cell 5"),
        ("exclude", {"cell": 5, "frame": 2, "frames": [2, 2]}, "left out cell 5, frame 2"),
        ("exclude", {"frames": [2, 2]}, "left out all cells, frame 2"),
    ],
)
def test_what_the_same_person_decided_already_is_not_saved_again(client, results, op, more, words):
    """The line at the end of a run, and the page, say how many decisions are not in the tables yet."""
    pending = save(client, op, **more)["pending"]
    again = {**more, "frame": 3} if "cell" in more else more
    assert save(client, op, 409, **again) == f"you decided that already: {words}"
    assert fov_of(client)["pending"] == pending == 1
    save(client, op, note="another note", **more)  # is a decision of its own
    assert len(save(client_of(open_results(results.folder, "berta")), op, **more)["edits"]) == 3


def test_a_mark_that_was_overruled_or_taken_back_can_be_made_again(client):
    save(client, "bad", cell=5, frame=0)
    save(client, "good", cell=5, frame=0)
    assert state_of(save(client, "bad", cell=5, frame=0))[5] == "bad"
    save(client, "undo", of=fov_of(client)["edits"][-1]["id"])
    save(client, "undo", of=fov_of(client)["edits"][1]["id"])
    save(client, "undo", of=fov_of(client)["edits"][0]["id"])
    assert state_of(fov_of(client))[5] == "kept"
    assert state_of(save(client, "bad", cell=5, frame=0))[5] == "bad"


def test_undo_is_not_done_twice(client):
    save(client, "bad", cell=5, frame=0)
    first = fov_of(client)["edits"][0]["id"]
    undone = save(client, "undo", of=first)
    assert state_of(undone)[5] == "kept"
    assert "taken back already" in save(client, "undo", 409, of=first)
    assert state_of(save(client, "undo", of=undone["id"]))[5] == "bad"  # redo


def test_what_is_said_names_the_decision_that_is_taken_back_and_both_cells_that_are_swapped(client):
    swap = save(client, "swap", cell=5, other=4, frame=1)
    assert swap["said"] in ("swapped cells 4 and 5 from frame 1 on", "swapped cells 5 and 4 from frame 1 on")
    said = swap["said"]
    undo = save(client, "undo", of=swap["id"])
    assert undo["said"].startswith("taken back: swapped cells ")
    redo = save(client, "undo", of=undo["id"])
    assert redo["said"] == f"restored: {said}"
    assert save(client, "undo", of=redo["id"])["said"].startswith("taken back: swapped cells ")
    assert [edit["of"] for edit in fov_of(client)["edits"]][:2] == [None, swap["id"]]


def test_undos_in_a_circle_in_a_file_do_not_stop_the_server(client, results):
    first = save(client, "bad", cell=5, frame=0)["id"]
    lines = [json.loads(line) for line in results.author.file.read_text().splitlines()]
    ids = ["01KB5SGXKVC6ZV9A1J4QY0H3T1", "01KB5SGXKVC6ZV9A1J4QY0H3T2"]
    base = {key: lines[0][key] for key in ("v", "by", "when", "dataset", "fov")}
    circle = [{**base, "id": one, "op": "undo", "of": other} for one, other in (ids, ids[::-1])]
    with open(results.author.file, "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in circle)
    assert save(client, "undo", of=ids[0])["said"].startswith(("taken back: undo", "restored: undo"))
    assert state_of(save(client, "undo", of=first))[5] == "kept"


def test_frames_are_left_out(client):
    answer = save(client, "exclude", cell=5, frame=3, frames=[3, 3])
    assert answer["excluded"] == [[5, 3]]
    assert save(client, "exclude", frames=[6, 6])["excluded_frames"] == [6]


def test_a_line_that_a_crash_cut_off_is_told_of_and_does_no_harm(client, results):
    save(client, "bad", cell=5, frame=0)
    with open(results.author.file, "a", encoding="utf-8") as file:
        file.write('{"v":1,"id":"01KB')
    found = fov_of(client)
    assert ["line 2: not used" in problem for problem in found["problems"]] == [True]
    assert state_of(save(client, "bad", cell=4, frame=0))[4] == "bad"
    assert state_of(fov_of(client_of(open_results(results.folder, "berta"))))[4] == "bad"
    with open(results.author.file, "a", encoding="utf-8") as file:
        file.write("nonsense\n" * 4)
    assert fov_of(client)["problems"][-1] == "and 2 more lines of edits are not used"


def test_old_ways_count_and_edits_over_them(results):
    """As in merging, where later rows of the table of decisions count over earlier ones, and edits over all."""
    client = client_of(results)
    kept = [cell for cell, state in state_of(fov_of(client)).items() if state == "kept"][:4]
    head = "fov,source,cell,good,frame,x,y,cell_now,frames,status,reason"
    rows = [
        f"0,t_inspected.csv,{kept[0]},False,2,1,1,{kept[0]},1-2,applied,",
        f"0,t_inspected.csv,{kept[1]},False,2,1,1,{kept[1]},3,applied,",
        f"0,curation.csv,{kept[1]},True,2,1,1,{kept[1]},,applied,",
        f"0,curation.csv,{kept[2]},False,2,1,1,{kept[2]},,applied,",
        f"0,curation.csv,{kept[3]},False,2,1,1,,,lost,gone",
        f"0,edits,,False,,,,{kept[3]},,applied,",  # of the last run: edits are replayed as they are now
    ]
    table = results.folder / "one/fov_000/one_fov_000_decisions.csv"
    table.write_text("\n".join([head, *rows]) + "\n")
    found = fov_of(client)
    assert found["excluded"] == [[kept[0], 1], [kept[0], 2]]
    assert [state_of(found)[cell] for cell in kept] == ["kept", "kept", "bad", "kept"]
    save(client, "good", cell=kept[2], frame=0)
    answer = save(client, "good", cell=kept[0], frame=0)
    assert answer["excluded"] == []
    assert [state_of(answer)[cell] for cell in kept] == ["kept"] * 4


def test_what_the_tables_do_not_know_is_counted(client, results):
    assert fov_of(client)["pending"] == 0
    answer = save(client, "bad", cell=5, frame=0)
    assert answer["pending"] == 1
    assert save(client, "seen", cell=4, frame=0)["pending"] == 1  # it changes no table
    edit = answer["id"]
    table = results.folder / "one/edits.csv"
    table.write_text(f"id,op,by,when,fov,status,reason\n{edit},bad,anna,x,0,applied,\n")
    assert fov_of(client)["pending"] == 0
    assert save(client, "undo", of=edit)["pending"] == 1
    table.write_text(f"id,op,by,when,fov,status,reason\n{edit},bad,anna,x,0,undone,taken back by anna\n")
    assert fov_of(client)["pending"] == 0


def test_the_command_is_that_of_the_last_run(client, results, tmp_path):
    assert fov_of(client)["command"] == "snakemake --cores 2"
    here = tmp_path / "my experiment's"
    here.mkdir()
    config = here / "my config.yaml"
    config.write_text("")
    arguments = ["snakemake", "--cores", "8", "--configfile", "my config.yaml", "--config", "a={b: $HOME}"]
    last_run.write(results.folder, ["my config.yaml"], arguments, here)
    shown = fov_of(client)["command"]
    said = subprocess.run(  # what the shell makes of it, in place of running it
        ["sh", "-c", f"snakemake() {{ pwd; printf '%s\\n' \"$@\"; }}; {shown}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines() == [str(here), *arguments[1:]]
    copy = shutil.copytree(results.folder, tmp_path / "copy")  # that command would make the tables of the first folder
    assert browse.command_to_apply(Results(copy, results.author, "snakemake --cores 2")) == "snakemake --cores 2"
    (tmp_path / "link").symlink_to(results.folder)
    assert browse.command_to_apply(Results(tmp_path / "link", results.author, "")) == shown
    config.unlink()  # the results were brought here from another machine
    assert fov_of(client)["command"] == "snakemake --cores 2"
    (results.folder / ".last_run.json").write_text('{"config_files": 3}')
    assert fov_of(client)["command"] == "snakemake --cores 2"


def test_decisions_of_others_are_shown_at_once(client, results):
    berta = open_results(results.folder, "berta")
    before = client.get("/api/state", params={"dataset": "one", "fov": 0}).json()
    browse.save_decision(berta, {"dataset": "one", "fov": 0, "op": "bad", "cell": 5, "frame": 0})
    after = client.get("/api/state", params={"dataset": "one", "fov": 0}).json()
    assert (before["version"], before["decided"] == after["decided"]) == (after["version"], False)
    found = fov_of(client)
    assert state_of(found)[5] == "bad"
    assert [(edit["by"], edit["mine"]) for edit in found["edits"]] == [("berta", False)]
    assert state_of(save(client, "good", cell=5, frame=0))[5] == "kept"  # the last one counts


def test_what_another_person_saves_meanwhile_is_not_overlooked(results, monkeypatch):
    """While anna's decision is on its way to the disk, berta's gets there."""
    anna, berta = results, open_results(results.folder, "berta")
    append = records.append

    def both(path, edit):
        append(path, edit)
        if edit.by == "anna":
            browse.save_decision(berta, {"dataset": "one", "fov": 0, "op": "bad", "cell": 4, "frame": 0})

    monkeypatch.setattr(records, "append", both)
    browse.save_decision(anna, {"dataset": "one", "fov": 0, "op": "bad", "cell": 5, "frame": 0})
    now = state_of(browse.cells_now(anna, "one", 0))
    assert (now[4], now[5]) == ("bad", "bad")


def test_a_second_server_of_an_author_saves_nothing(client, results):
    second = open_results(results.folder)
    assert "--author" in second.author.why_not
    with pytest.raises(RefusedDecision, match="Another server of the author anna"):
        browse.save_decision(second, {"dataset": "one", "fov": 0, "op": "bad", "cell": 5, "frame": 0})
    save(client, "bad", cell=5, frame=0)
    assert state_of(browse.cells_now(second, "one", 0))[5] == "bad"


def test_a_folder_that_cannot_be_written_to_says_so(made, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(made[0], folder, ignore=shutil.ignore_patterns("edits"))
    (folder / "edits").write_text("in the way, as a folder without permission would be to others than root")
    found = open_results(folder)
    assert "Nothing can be saved" in found.author.why_not
    client = client_of(found)
    assert not fov_of(client)["writable"]
    assert "Nothing can be saved" in save(client, "bad", 409, cell=5, frame=0)


def test_a_decision_that_cannot_be_written_is_refused_and_not_shown(client, monkeypatch):
    save(client, "bad", cell=5, frame=0)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(records.os, "open", full)
        assert "not saved (No space left on device)" in save(client, "bad", 409, cell=4, frame=0)
    assert state_of(fov_of(client))[4] == "kept"
    assert state_of(save(client, "bad", cell=4, frame=0))[4] == "bad"


@pytest.mark.parametrize("name", ["../anna", "a/b", "", ".hidden", "a" * 65, "anna\n", "é"])
def test_unsafe_names_of_authors_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="author"):
        Author(tmp_path, name)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_sent_as_they_are(tmp_path, name):
    if name != "..":
        write_dataset(tmp_path, name.replace("/", ""), label_movie(3, 40, 1), name=name)
    else:
        write_dataset(tmp_path, "plain", label_movie(3, 40, 1), name=name)
    client = client_of(open_results(tmp_path))
    dataset = client.get("/api/results").json()["datasets"][0]
    answer = fov_of(client, dataset=dataset["name"])
    assert answer["name"] == dataset["fovs"][0]["name"] == name
    assert len(answer["cells"]["n"]) == 1


# ------------------------------------------------------------------------------------------------------ the command


def started(folder, *arguments, **environment):
    """The command, its lines until the address, and the process."""
    process = subprocess.Popen(
        [PYTHON, ROOT / "scripts/curate.py", folder, "--no-browser", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    lines = []
    while process.poll() is None and "Ctrl-C ends it." not in lines:
        lines.append(process.stdout.readline().strip())
    return process, lines


def test_the_command_prints_its_address_and_the_way_there_over_ssh(made):
    process, lines = started(made[0], "--author", "carla", "--port", "0", SSH_CONNECTION="10.0.0.1 5 10.0.0.2 22")
    try:
        port = lines[0].split("127.0.0.1:")[1].split("/")[0]
        assert "/#token=" in lines[0]
        assert f"ssh -L {port}:127.0.0.1:{port}" in lines[1]
        assert "10.0.0.2" in lines[1]
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        addresses = {address for _, address, _, state, *_ in sockets if state == "0A"}
        listening = [address.split(":")[0] for address in addresses if int(address.split(":")[-1], 16) == int(port)]
        assert listening == ["0100007F"]  # 127.0.0.1 and no other address
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    (end,) = process.stdout.read().strip().splitlines()
    assert end.startswith("Ended")


@pytest.mark.parametrize("argument", [["--port", "99999"], ["--author", "../x"], ["nowhere"], ["empty"]])
def test_mistakes_are_one_line(made, tmp_path, argument):
    (tmp_path / "empty").mkdir()
    folder = tmp_path / argument[0] if len(argument) == 1 else made[0]
    process, lines = started(folder, *argument[len(argument) == 1 :])
    text = "\n".join(lines) + process.stdout.read()
    assert process.wait() == 1
    assert text.strip().count("\n") == 0
    assert "Traceback" not in text


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sys.path.insert(0, str(ROOT / "scripts"))
        import curate

        with pytest.raises(UserError, match="--port"):
            curate.listen(taken.getsockname()[1])
        with curate.listen(None) as free:
            assert free.getsockname()[0] == "127.0.0.1"


def test_a_lock_ends_with_its_process(results):
    with open(results.folder / "edits/.anna.lock", "a+") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
