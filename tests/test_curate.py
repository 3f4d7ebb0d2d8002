"""The server of the curation page: who is answered, what is sent, what is saved; without a browser."""

import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import PYTHON, ROOT
from curate_tools import FRAMES, SIZE, TOKEN, fov_of, save
from made_results import write_array

from celltraces.curate import app, scan, security
from celltraces.curate import cells as cell_lists
from celltraces.curate.pixels import Reader
from celltraces.errors import UserError
from celltraces.storage.codecs import PIXELS

pytest_plugins = ("curate_fixtures",)

# ------------------------------------------------------------------------------------------------------ who is answered


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9999", "localhost:1", "LOCALHOST", "[::1]:80"])
def test_this_machine_is_answered_at_any_port(shared, host):
    assert shared.get("/api/results", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8731",
            "",
            "127.0.0.1@evil.example",
            "[::1",
            "0.0.0.0",
        ),
        *(
            "127.0.0.1/evil.example",
            "localhost#",
            "127.0.0.1:port",
            "127.0.0.1:123456",
            "localhost evil.example",
            "127.1",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/", "/page/page.js", "/api/results"])
def test_another_host_is_refused(shared, host, path):
    assert shared.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1.evil.example:8731", "file://", ""),
        *(
            "http://[::1",
            "http://127.0.0.1@evil.example",
            "http://127.0.0.1/evil.example",
            "//127.0.0.1",
            "http:127.0.0.1",
        ),
    ],
)
def test_another_origin_is_refused(shared, origin):
    assert shared.get("/api/results", headers={"origin": origin}).status_code == 403
    body = {"dataset": "one", "fov": 0, "op": "bad", "cell": 1, "frame": 0}
    assert shared.post("/api/edit", json=body, headers={"origin": origin}).status_code == 403


def test_own_origin_is_answered_at_any_port_and_no_other_page_may_read(shared):
    answer = shared.get("/api/results", headers={"origin": "http://localhost:1234"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    headers = {"origin": "http://localhost:1", "access-control-request-method": "POST"}
    ask_first = shared.options("/api/edit", headers=headers)
    assert ask_first.status_code in (401, 405)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_without_the_token_nothing_is_told_or_saved(client, results, token):
    client.headers.pop("x-celltraces-token")
    headers = {} if token is None else {"x-celltraces-token": token}
    for path in ("results", "fov?dataset=one&fov=0", "frame?dataset=one&fov=0&frame=0&channel=pc_ch_0", "nothing"):
        answer = client.get(f"/api/{path}", headers=headers)
        assert (answer.status_code, "one" in answer.text.split()) == (401, False)
    body = {"dataset": "one", "fov": 0, "op": "bad", "cell": 1, "frame": 0}
    assert client.post("/api/edit", json=body, headers=headers).status_code == 401
    assert not results.author.file.exists()
    assert TOKEN not in client.get("/").text


def test_a_token_in_a_cookie_or_address_is_none(client):
    client.headers.pop("x-celltraces-token")
    client.cookies.set("x-celltraces-token", TOKEN)
    assert client.get(f"/api/results?token={TOKEN}&x-celltraces-token={TOKEN}").status_code == 401


def test_tokens_differ():
    assert len({security.new_token() for _ in range(50)}) == 50
    assert min(len(security.new_token()) for _ in range(50)) >= 32


def test_every_answer_has_the_headers(shared):
    for path in ("/", "/page/page.js", "/page/none", "/api/results", "/api/none", "/api/fov?dataset=x&fov=0"):
        answer = shared.get(path)
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers


def test_the_page_holds_no_script_or_style_within_and_asks_for_nothing_elsewhere():
    for name, (content, _) in app.page_files().items():
        text = content.decode()
        assert not [
            word
            for word in ("https://", "http://", "eval(", "innerHTML", "insertAdjacent", "document.write")
            if word in text.replace("http://www.w3.org/2000/svg", "")
        ], name
        if name.endswith(".html"):
            assert "<style" not in text
            assert " style=" not in text
            assert " on" not in text.replace(" on ", " ").replace(" one", " ")
            assert text.count("<script") == text.count('<script type="module" src="/page/page.js"></script>') == 1


@pytest.mark.parametrize("size", [security.MOST_BYTES + 1, 10_000_000])
def test_large_bodies_are_refused(client, results, size):
    headers = {"content-type": "application/json"}
    assert client.post("/api/edit", content=b" " * size, headers=headers).status_code == 413
    # One that does not say how long it is.
    answer = client.post("/api/edit", content=iter([b" " * size]), headers=headers)
    assert answer.status_code == 411
    assert not results.author.file.exists()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_foreign_form_could_send_is_refused(shared, kind):
    body = json.dumps({"dataset": "one", "fov": 0, "op": "bad", "cell": 1, "frame": 0})
    assert shared.post("/api/edit", content=body, headers={"content-type": kind}).status_code == 415


HALF_A_CHARACTER = r'{"dataset": "one", "fov": 0, "op": "bad", "cell": 5, "frame": 0, "note": "\ud800"}'


@pytest.mark.parametrize(
    "body", ["", "[", "null", "[]", "3", '"text"', "[" * 30_000, "NaN", '{"op": 1}', "{}", HALF_A_CHARACTER]
)
def test_what_is_no_decision_is_refused(client, results, body):
    answer = client.post("/api/edit", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 409)
    assert "\n" not in answer.text
    assert not results.author.file.exists()


# ------------------------------------------------------------------------------------ names come from a table, no paths


TRAVERSALS = ("..", "../one", "/etc", "one/", "./one", "one/fov_000", "\0", "%2e%2e", "edits", ".", "", "ONE", "~")
PARAMETERS = {  # of each question, but for dataset and fov: such as are answered
    **{name: {} for name in ("results", "fov", "state", "boxes", "cells", "thumbnail")},
    "frame": {"frame": "0,3", "channel": "pc_ch_0,fl_ch_1", "level": "1", "deep": "1", "labels": "1"}
    | {"y0": "0", "x0": "0", "y1": "40", "x1": "40"},
    "traces": {"column": "area_ch_0"},
    "film": {"cell": "1"},
}


@pytest.mark.parametrize("name", TRAVERSALS)
def test_datasets_are_named_as_in_the_table(shared, name):
    for path, more in PARAMETERS.items():
        if path != "results":
            answer = shared.get(f"/api/{path}", params={"dataset": name, "fov": 0, **more})
            assert (answer.status_code, answer.text.count("\n")) == (404, 0)
    assert "dataset" in save(shared, "bad", 409, dataset=name, cell=1, frame=0)


@pytest.mark.parametrize(
    "name", ["..", "../pc_ch_0", "pc_ch_0/0", "seg_tracked_ch_0", "pc_ch_00", "zarr.json", "", "fl_ch_9", "labels"]
)
def test_channels_are_named_as_in_the_table(shared, name):
    query = {"dataset": "one", "fov": 0, "frame": 0, "channel": name}
    assert shared.get("/api/frame", params=query).status_code == 404


@pytest.mark.parametrize("path", PARAMETERS)
def test_what_no_question_may_say_is_refused_in_one_line(shared, path):
    """Each parameter: twice, in forms that are no number, unknown ones, lists with repeats or without end."""
    place = {} if path == "results" else {"dataset": "one", "fov": "0"}
    good = {**place, **PARAMETERS[path]}
    assert shared.get(f"/api/{path}", params=good).status_code == (404 if path == "thumbnail" else 200)
    bad = [[*good.items(), ("chanel", "pc_ch_0")], [*good.items(), ("y" * 9000, "1")]]
    bad += [[*good.items(), (name, good[name])] for name in good]
    numbers = {"fov", "frame", "level", "deep", "labels", "cell", "y0", "x0", "y1", "x1"} & good.keys()
    for name in numbers:
        wrong = (
            "-1",
            "1e3",
            "00x",
            "",
            "٣",
            "²",
            "nan",
            "inf",
            "9" * 5000,
            "0.5",
            "../0",
            " 1",
            "+1",
            "1_0",
            "true",
            "0x1",
        )
        bad += [[*{**good, name: value}.items()] for value in wrong]
    if path == "frame":
        lists = {
            "frame": ("0,0", ",".join(map(str, range(1000))), "0,", "0;1"),
            "channel": ("pc_ch_0,pc_ch_0", "a," * 5000),
        }
        bad += [[*{**good, name: value}.items()] for name, values in lists.items() for value in values]
        bad += [[*{**good, "level": "17"}.items()], [*{**good, "labels": "0"}.items()]]
        bad += [
            [(name, value) for name, value in good.items() if name not in lacking]
            for lacking in ({"x1"}, {"channel", "labels"})
        ]
    for question in bad:
        answer = shared.get(f"/api/{path}", params=question)
        assert (answer.status_code, answer.text.count("\n")) == (400, 0), question
        assert 0 < len(answer.text) < 300


def test_a_frame_beyond_the_last_is_not_there(shared):
    for frame in ("8", "0,8", "999999999"):
        answer = shared.get("/api/frame", params={"dataset": "one", "fov": 0, "frame": frame, "channel": "pc_ch_0"})
        assert answer.status_code == 404
        assert "frames 0 to 7" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/app.py",
        "/page/app.py",
        "/page//etc/passwd",
        "/../scan.py",
        "/page/",
    ],
)
def test_files_of_the_page_are_named_as_in_the_table(shared, path):
    assert shared.get(path).status_code == 404


# ------------------------------------------------------------------------------------------- while a run is at work


def test_a_replaced_array_is_noticed_and_read_anew(results):
    fov = results.fov("one", 0)
    before, image = scan.version(fov), results.reader.read(fov.array("pc_ch_0"), 0)
    write_array(fov.images / "pc_ch_0", np.full((FRAMES, SIZE, SIZE), 7, np.uint16), PIXELS, (0, 9))
    assert scan.version(fov) != before
    assert (results.reader.read(fov.array("pc_ch_0"), 0) == 7).all()
    assert (image != 7).any()


def test_an_array_that_is_gone_is_one_line_until_it_is_back(client, results):
    fov = results.fov("one", 0)
    query = {"dataset": "one", "fov": 0, "frame": 0, "channel": "pc_ch_0"}
    place = fov.images / "pc_ch_0/0"
    assert client.get("/api/frame", params=query).status_code == 200
    place.rename(place.with_name("away"))
    answer = client.get("/api/frame", params=query)
    assert (answer.status_code, "\n" in answer.text) == (404, False)
    assert [channel["name"] for channel in fov_of(client)["channels"]] == ["fl_ch_1"]
    place.with_name("away").rename(place)
    assert client.get("/api/frame", params=query).status_code == 200


def test_a_damaged_chunk_is_one_line_that_names_the_frame(client, results):
    shard = results.fov("one", 0).array("pc_ch_0") / "c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[20] ^= 255
    shard.write_bytes(content)
    answers = [
        client.get("/api/frame", params={"dataset": "one", "fov": 0, "frame": frame, "channel": "pc_ch_0"})
        for frame in (0, 1)
    ]
    assert [answer.status_code for answer in answers] == [404, 200]
    assert "pc_ch_0/0, frame 0: damaged on disk" in answers[0].text
    assert "\n" not in answers[0].text


@pytest.mark.parametrize(
    "name", ["cells.zarr/metadata/zarr.json", "cells.zarr/metadata/areas/c.0.0", "one_fov_000_traces.csv"]
)
def test_damaged_tables_are_one_line_and_the_rest_is_shown(client, results, name):
    (results.fov("one", 0).folder / name).write_bytes(b"\xff\x00 no such thing")
    found = fov_of(client)
    (problem,) = found["problems"]
    assert "\n" not in problem
    assert "run again" in problem
    assert len(found["channels"]) == 2
    assert (found["cells"]["n"] == []) == name.startswith("cells")
    assert client.get("/api/frame", params={"dataset": "one", "fov": 0, "frame": 0, "channel": "pc_ch_0"}).is_success
    if name.startswith("cells"):
        assert "run again" in save(client, "bad", 409, cell=5, frame=0)


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "copied only"])
def test_while_there_are_no_cells_images_are_shown_and_nobody_says_that_edits_are_lost(client, results, left):
    """As a run leaves it before it crops anew; and results that never had cells."""
    save(client, "bad", cell=5, frame=0)
    taken_back = save(client, "undo", of=save(client, "bad", cell=4, frame=0)["id"])["edits"]
    store, away = results.fov("one", 0).cells, results.folder / "away"
    store.rename(away)
    if left == "an empty folder":
        store.mkdir()
    if left == "copied only":
        (results.folder / "one/processing_config.yaml").write_text("params: {copy_only: true}\n")
    found = fov_of(client)
    assert (len(found["channels"]), found["cells"]["n"]) == (2, [])
    assert [edit["status"] for edit in found["edits"]] == ["", "undone", ""]
    words = "copy_only" if left == "copied only" else "The cells of FOV 0 are not there at present"
    assert words in save(client, "exclude", 409, frames=[0, 0])
    assert [words in problem for problem in found["problems"]] == [True] * (left != "copied only")
    if left == "an empty folder":
        store.rmdir()
        away.rename(store)
        assert fov_of(client)["edits"] == taken_back


TRACES = """\
fov,cell,frame,good,area_ch_0,light_ch_1,empty_ch_1,words_ch_1
0,7,0,True,12,,,a
0,7,1,False,3,2.5,,b
"""


def test_traces_are_read_as_pandas_reads_them_without_it(tmp_path):
    path = tmp_path / "traces.csv"
    path.write_text(TRACES)
    script = f"""
import sys
from pathlib import Path
from celltraces.curate import cells
found = cells.read_traces_of_fov([Path({str(path)!r})])
assert "pandas" not in sys.modules
print(found.cell.tolist(), found.frame.tolist(), {{name: values.tolist() for name, values in found.features.items()}})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    said = subprocess.run([PYTHON, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    table = pd.read_csv(path)[["area_ch_0", "light_ch_1", "empty_ch_1"]]
    columns = {name: [float(value) for value in table[name]] for name in table}
    assert said.strip() == f"[7, 7] [0, 1] {columns}"


@pytest.mark.parametrize("cell", ["", "x", "True"])
def test_a_table_without_numbers_of_cells_is_one_line(tmp_path, cell):
    path = tmp_path / "traces.csv"
    path.write_text(TRACES.replace("0,7,1", f"0,{cell},1"))
    with pytest.raises(UserError, match="column cell is to hold whole numbers"):
        cell_lists.read_traces_of_fov([path])


def test_frames_are_kept_within_a_number_of_bytes(made):
    fov = scan.scan(made[0])["one"][0]
    frame_bytes = SIZE * SIZE * 2
    reader = Reader(most_bytes=3 * frame_bytes)
    for _ in range(2):
        for frame in range(FRAMES):
            reader.read(fov.array("pc_ch_0"), frame)
            assert reader.kept_bytes <= 3 * frame_bytes
    assert reader.kept_bytes == 3 * frame_bytes
    assert Reader(most_bytes=10).read(fov.array("pc_ch_0"), 0).nbytes == frame_bytes
