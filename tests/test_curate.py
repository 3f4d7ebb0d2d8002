"""The server of the curation page: who is answered, what is sent, what is saved; without a browser."""

import asyncio
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PYTHON, ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_results import BORDER_MARGIN, MIN_FRAMES, label_movie, write_array, write_dataset
from starlette.testclient import TestClient

from celltraces.curate import app, browse, pixels, scan, security
from celltraces.curate import cells as cell_lists
from celltraces.curate.decide import Author, Refused
from celltraces.curate.memory import Budget
from celltraces.curate.pixels import Reader
from celltraces.curate.views import Results
from celltraces.edits import records
from celltraces.edits.records import read_edits
from celltraces.errors import UserError
from celltraces.runs import last_run
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames

TOKEN = "a-token-of-the-tests"
SIZE, FRAMES = 96, 8
HOSTILE = ("<img src=x onerror=alert(1)>", "..", "a b&c#d?e", "Zelle µ 細胞", "'\"{{7*7}}")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Two FOVs of 9 cells: 2 becomes 10 in frame 4, 3 is seen in two frames only."""
    folder = tmp_path_factory.mktemp("made")
    labels = label_movie(FRAMES, SIZE, 9, {2: {4: 10}, 3: {2: 0}})
    write_dataset(folder, "one", labels, fovs=2, findings=["0,3,brightness_ch_1,2.5,2.0", "0,,no_cells,0,1"])
    return folder, labels


@pytest.fixture
def results(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "results", ignore=shutil.ignore_patterns("edits"))
    return open_results(tmp_path / "results")


def open_results(folder, author="anna"):
    found = Results(folder, Author(folder / "edits", author), "snakemake --cores 2")
    found.look_again()
    return found


@pytest.fixture(scope="session")
def shared(made):
    """For tests that save nothing."""
    return client_of(open_results(made[0], "reader"))


@pytest.fixture
def client(results):
    return client_of(results)


def client_of(results):
    """Asks the app without a socket, as the page does."""
    headers = {"x-celltraces-token": TOKEN}
    return TestClient(app.make_app(results, TOKEN), base_url="http://127.0.0.1:8731", headers=headers)


def fov_of(client, **query):
    return client.get("/api/fov", params={"dataset": "one", "fov": 0, **query}).json()


def state_of(answer):
    return dict(zip(answer["cells"]["n"], answer["cells"]["state"], strict=True))


def save(client, op, status=200, **more):
    answer = client.post("/api/edit", json={"dataset": "one", "fov": 0, "op": op, **more})
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.text


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


# --------------------------------------------------------------------------------------------------------- what is sent


def test_the_list_of_fovs(shared):
    found = shared.get("/api/results").json()
    assert [(one["name"], [fov["fov"] for fov in one["fovs"]]) for one in found["datasets"]] == [("one", [0, 1])]
    assert [fov["findings"] for fov in found["datasets"][0]["fovs"]] == [2, 0]


def test_a_fov(shared):
    found = fov_of(shared)
    assert (found["frames"], found["height"], found["width"]) == (FRAMES, SIZE, SIZE)
    assert [(channel["name"], channel["title"]) for channel in found["channels"]] == [
        ("pc_ch_0", "Phase contrast"),
        ("fl_ch_1", "GFP"),
    ]
    assert [row["check"] for row in found["findings"]] == ["brightness_ch_1", "no_cells"]
    assert found["findings"][0]["meaning"]
    assert [column["name"] for column in found["columns"]] == ["area_ch_0", "intensity_total_ch_1"]


def test_all_cells_are_listed_and_why_the_filters_leave_some_out(shared, made):
    found = fov_of(shared)
    labels = made[1]
    assert found["cells"]["n"] == sorted({*np.unique(labels).tolist()} - {0})
    for at, cell in enumerate(found["cells"]["n"]):
        ys, xs = np.nonzero((labels == cell).any(axis=0))
        near = min(ys.min(), xs.min(), SIZE - 1 - ys.max(), SIZE - 1 - xs.max()) < BORDER_MARGIN
        frames = int((labels == cell).any(axis=(1, 2)).sum())
        reason = found["cells"]["reason"][at]
        assert ("border_margin" in reason) == near
        assert ("min_frames" in reason) == (frames < MIN_FRAMES)
        assert found["cells"]["frames"][at] == frames
        assert found["cells"]["state"][at] == ("left out" if reason else "kept")
    assert "left out" in found["cells"]["state"]
    assert "kept" in found["cells"]["state"]


def test_pixels_are_those_of_the_arrays(client, results):
    fov = results.fov("one", 1)
    for level, dtype in ((0, "<u2"), (1, "u1")):
        for channel in ("pc_ch_0", "fl_ch_1"):
            query = {"dataset": "one", "fov": 1, "frame": 3, "channel": channel, "level": level}
            answer = client.get("/api/frame", params=query)
            height, width, _ = map(int, answer.headers["x-shape"].split(","))
            got = np.frombuffer(answer.content, dtype).reshape(height, width)
            import zarr

            np.testing.assert_array_equal(got, zarr.open_array(fov.array(channel, level))[3])


def test_what_is_smaller_on_the_screen_is_sent_smaller(shared, made):
    """Levels that are not on the disk are means of pixels: of level 1, or with `deep` of all counts."""
    stored = {level: open_frames(made[0] / f"one/fov_000/images.zarr/fl_ch_1/{level}").read(3) for level in (0, 1)}
    query = {"dataset": "one", "fov": 0, "frame": 3, "channel": "fl_ch_1"}
    for level, begin, deep in ((2, 1, {}), (3, 1, {}), (1, 0, {"deep": 1}), (2, 0, {"deep": 1})):
        answer = shared.get("/api/frame", params={**query, **deep, "level": level})
        height, width, size = map(int, answer.headers["x-shape"].split(","))
        step = 2 ** (level - begin)
        assert (height, width, size) == (SIZE // 2**level, SIZE // 2**level, 2 if deep else 1)
        got = np.frombuffer(answer.content, f"<u{size}").reshape(height, width).astype(float)
        means = stored[begin].astype(float).reshape(height, step, width, step).mean(axis=(1, 3))
        np.testing.assert_allclose(got, means, atol=1)
        corners = {"y0": 16, "x0": 32, "y1": 48, "x1": 96}
        part = shared.get("/api/frame", params={**query, **deep, **corners, "level": level})
        there = slice(16 >> level, 48 >> level), slice(32 >> level, 96 >> level)
        assert part.content == got[there].astype(f"<u{size}").tobytes()


def test_channels_and_labels_of_frames_come_in_one_answer(shared, monkeypatch):
    query = {"dataset": "one", "fov": 0, "level": 1}
    expected, lengths = b"", []
    for frame in (3, 0):
        one = {**query, "frame": frame}
        alone = [shared.get("/api/frame", params={**one, "channel": name}) for name in ("fl_ch_1", "pc_ch_0")]
        runs = shared.get("/api/frame", params={**one, "labels": 1}).content
        expected += b"".join([*(answer.content for answer in alone), runs])
        lengths.append(str(len(runs)))
    asked = {**query, "frame": "3,0", "channel": "fl_ch_1,pc_ch_0", "labels": 1}
    answer = shared.get("/api/frame", params=asked)
    assert answer.content == expected
    assert answer.headers["x-shape"] == ";".join(one.headers["x-shape"] for one in alone)
    assert answer.headers["x-runs"] == ",".join(lengths)
    assert int(answer.headers["content-length"]) == len(answer.content)
    for wrong in ("fl_ch_1;pc_ch_0", "fl_ch_1,../pc_ch_0"):
        assert shared.get("/api/frame", params={**asked, "channel": wrong}).status_code == 404
    held = len(expected) - sum(map(int, lengths))
    monkeypatch.setattr(app, "MOST_BYTES", held)
    assert shared.get("/api/frame", params=asked).status_code == 200
    monkeypatch.setattr(app, "MOST_BYTES", held - 1)  # what one answer may hold is bounded
    assert shared.get("/api/frame", params=asked).status_code == 400
    assert shared.get("/api/frame", params={**asked, "frame": "3"}).status_code == 200
    monkeypatch.setattr(app, "MOST_BYTES", 1)  # also of several channels of one frame; one is always sent
    assert shared.get("/api/frame", params={**asked, "frame": "3"}).status_code == 400
    assert shared.get("/api/frame", params={**asked, "frame": "3", "channel": "pc_ch_0"}).status_code == 200


@pytest.mark.parametrize(
    "more",
    [
        {"channel": "pc_ch_0"},
        {"channel": "pc_ch_0,fl_ch_1", "level": 1},
        {"channel": "pc_ch_0", "level": 3, "deep": 1},
        {"channel": "pc_ch_0", "y0": 3, "x0": 5, "y1": 50, "x1": 10_000},
        {"channel": "pc_ch_0", "level": 1, "y0": 0, "x0": 0, "y1": 40, "x1": 60},
    ],
)
def test_what_an_answer_will_hold_is_known_before(shared, results, more):
    asked = {"dataset": "one", "fov": "0", "frame": "2", **{name: str(value) for name, value in more.items()}}
    question = app.Question(asked.items(), asked)
    assert app.pixel_bytes(results, question) == len(shared.get("/api/frame", params=asked).content)


def run_alone(function):
    """What the asynchronous function returns, run in a thread of its own: a browser in this process has a loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(function())).result()


def test_answers_hold_no_more_than_the_budget_together():
    async def ask():
        budget, held, most = Budget(100), 0, []

        async def answer(size, fails=False):
            nonlocal held
            async with budget.holding(size):
                held += min(size, 100)
                most.append(held)
                await asyncio.sleep(0)
                held -= min(size, 100)
                if fails:
                    raise ValueError

        sizes = [(60, False), (30, True), (500, False), (0, False), (40, False), (70, True)] * 3
        answers = [answer(*size) for size in sizes]
        await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 20)
        return most

    most = run_alone(ask)
    assert (len(most), max(most)) == (18, 100)


def test_what_is_not_sent_yet_counts_and_holds_up_no_small_question(results):
    """Six pages that take nothing of what they asked for: one answer is made, not six."""
    asked = []
    read = results.reader.read
    results.reader.read = lambda *what: asked.append(what) or read(*what)

    async def ask():
        application = app.make_app(results, TOKEN)
        taken, told = asyncio.Event(), []

        async def one(path, query, wait):
            headers = [(b"host", b"127.0.0.1"), (b"x-celltraces-token", TOKEN.encode())]
            scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": headers}

            async def receive():
                await asyncio.Event().wait()

            async def send(message):
                if wait and message["type"] == "http.response.body":
                    await taken.wait()
                told.append((path, message["type"], message.get("status")))

            await application({**scope, "raw_path": path.encode(), "root_path": ""}, receive, send)

        place = "dataset=one&fov=0"
        slow = [
            asyncio.create_task(one("/api/frame", f"{place}&frame={frame}&channel=pc_ch_0", True)) for frame in range(6)
        ]
        while not any(kind == "http.response.start" for _, kind, _ in told):
            await asyncio.sleep(0.01)
        await one("/api/state", place, False)
        assert len(asked) == 1
        taken.set()
        await asyncio.wait_for(asyncio.gather(*slow), 20)
        assert [status for path, kind, status in told if kind == "http.response.start"] == [200] * 7

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "BUDGET_BYTES", 2 * SIZE * SIZE)  # of one frame
        run_alone(ask)
    assert len(asked) == 6


def test_a_part_of_a_frame(shared):
    query = {"dataset": "one", "fov": 0, "frame": 3, "channel": "fl_ch_1"}
    whole = np.frombuffer(shared.get("/api/frame", params=query).content, "<u2").reshape(SIZE, SIZE)
    for y0, x0, y1, x1 in ((0, 0, SIZE, SIZE), (3, 5, 60, 6), (90, 90, 2000, 3000)):
        answer = shared.get("/api/frame", params={**query, "y0": y0, "x0": x0, "y1": y1, "x1": x1})
        shape = [int(length) for length in answer.headers["x-shape"].split(",")[:2]]
        np.testing.assert_array_equal(np.frombuffer(answer.content, "<u2").reshape(shape), whole[y0:y1, x0:x1])
    empty = {"y0": 5, "x0": 5, "y1": 5, "x1": 9}
    assert shared.get("/api/frame", params={**query, **empty}).status_code == 404


def test_of_large_frames_one_is_read_at_a_time(made, monkeypatch):
    monkeypatch.setattr(pixels, "LARGE", SIZE * SIZE * 2)
    path = scan.scan(made[0])["one"][0].array("pc_ch_0")
    reader = Reader()
    at_once, most = 0, []

    def look(frame):
        nonlocal at_once
        with reader.reading(path, frame) as image:
            at_once += 1
            most.append(at_once)
            assert image.shape == (SIZE, SIZE)
            at_once -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, [*range(FRAMES)] * 4))
    assert max(most) == 1
    assert reader.kept_bytes <= SIZE * SIZE * 2


def drawn(runs, shape):
    image = np.zeros(shape, np.uint32).ravel()
    for start, end, label in runs.T:
        image[start:end] = label
    return image.reshape(shape)


def test_labels_are_those_of_level_0(shared, made):
    for frame in (0, 5):
        answer = shared.get("/api/frame", params={"dataset": "one", "fov": 0, "frame": frame, "labels": 1})
        runs = np.frombuffer(answer.content, "<u4").reshape(3, -1)
        np.testing.assert_array_equal(drawn(runs, (SIZE, SIZE)), made[1][frame])


@given(
    hnp.arrays(
        st.sampled_from([np.uint16, np.uint32]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.integers(0, 3) | st.just(65535),
    )
)
def test_runs_hold_every_label_and_end_with_their_row(labels):
    runs = pixels.label_runs(labels)
    np.testing.assert_array_equal(drawn(runs, labels.shape), labels)
    start, end, label = runs.astype(int)
    assert (label > 0).all()
    assert (end > start).all()
    assert (start // labels.shape[1] == (end - 1) // labels.shape[1]).all()
    assert (np.diff(start) > 0).all()


def test_boxes_and_traces_are_by_cell_and_frame(shared, made):
    found = fov_of(shared)
    shape = len(found["cells"]["n"]), FRAMES
    boxes = np.frombuffer(shared.get("/api/boxes", params={"dataset": "one", "fov": 0}).content, "<i4")
    boxes = boxes.reshape(*shape, 4)
    query = {"dataset": "one", "fov": 0, "column": "area_ch_0"}
    areas = np.frombuffer(shared.get("/api/traces", params=query).content, "<f4").reshape(shape)
    for at, cell in enumerate(found["cells"]["n"]):
        for frame in range(FRAMES):
            ys, xs = np.nonzero(made[1][frame] == cell)
            if not ys.size:
                assert boxes[at, frame].tolist() == [0, 0, 0, 0]
                assert np.isnan(areas[at, frame])
                continue
            assert boxes[at, frame].tolist() == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
            if found["cells"]["state"][at] == "kept":
                assert areas[at, frame] == ys.size
            else:
                assert np.isnan(areas[at, frame])


def test_a_film_strip(shared):
    cell = next(cell for cell, state in state_of(fov_of(shared)).items() if state == "kept")
    answer = shared.get("/api/film", params={"dataset": "one", "fov": 0, "cell": cell})
    told = json.loads(answer.headers["x-film"])
    assert told == {"frames": list(range(FRAMES)), "channels": ["pc_ch_0", "fl_ch_1"]}
    assert answer.content[:4] == b"RIFF"
    assert shared.get("/api/film", params={"dataset": "one", "fov": 0, "cell": 999}).status_code == 404


def test_suspicious_cells_come_with_reasons(shared, made):
    found = fov_of(shared)
    why = dict(zip(found["cells"]["n"], found["cells"]["why"], strict=True))
    assert [reason["what"] for reason in why[2]] == ["ends early"]
    assert [reason["what"] for reason in why[10]] == ["begins late"]
    score = dict(zip(found["cells"]["n"], found["cells"]["score"], strict=True))
    assert score[2] > score[5] == 0


def test_mothers_and_daughters_end_and_begin_for_a_reason():
    """Cell 1 divides into 2 and 3 in frame 4 of 8, cell 4 merely ends; all stand still in the middle."""
    frames = {1: range(4), 2: range(4, 8), 3: range(4, 8), 4: range(5)}
    stored, boxes = np.zeros((4, 8), np.int64), np.zeros((4, 8, 4), np.int32)
    for row, (cell, there) in enumerate(frames.items()):
        stored[row, list(there)] = cell
        boxes[row, list(there)] = 40 + 10 * row, 40, 48 + 10 * row, 48
    found = cell_lists.Cells(np.arange(1, 5), stored, boxes, 64 * (stored > 0), (100, 100))
    origins = {2: (1, 4), 3: (1, 4)}
    told = [[reason["what"] for reason in reasons] for reasons in cell_lists.suspicion(found, 8, origins=origins)[1]]
    assert told == [[], [], [], ["ends early"]]
    alone = [[reason["what"] for reason in reasons] for reasons in cell_lists.suspicion(found, 8)[1]]
    assert alone == [["ends early"], ["begins late"], ["begins late"], ["ends early"]]


def test_findings_and_fits_make_cells_suspicious(results):
    folder = results.folder / "one"
    (folder / "qc.csv").write_text("fov,frame,check,value,limit\n0,2,cell_size,9,5\n1,3,cell_size,9,5\n")
    (folder / "all_x_ch_1_fitted_maturation.csv").write_text(
        "# a comment\nfov,cell,flag\n0,5,no_signal\n0,4,ok\n1,4,constant\n"
    )
    found = fov_of(client_of(results))
    why = {
        cell: [(reason["what"], reason["frame"]) for reason in reasons]
        for cell, reasons in zip(found["cells"]["n"], found["cells"]["why"], strict=True)
    }
    assert ("maturation fit: no_signal", 0) in why[5]
    assert why[4] == [] or why[4][0][0] == "cell_size"
    assert [cell for cell, reasons in why.items() if ("cell_size", 2) in reasons] != []
    assert not [reasons for reasons in why.values() if ("cell_size", 3) in reasons]


def test_a_zipped_store_of_crops_is_read_as_well(results):
    folder = results.fov("one", 0).folder
    before = client_of(results).get("/api/film", params={"dataset": "one", "fov": 0, "cell": 5}).content
    cells = fov_of(client_of(results))["cells"]
    shutil.make_archive(str(folder / "cells.zarr"), "zip", folder / "cells.zarr")
    shutil.rmtree(folder / "cells.zarr")
    client = client_of(open_results(results.folder, "berta"))
    assert fov_of(client)["cells"] == cells
    assert client.get("/api/film", params={"dataset": "one", "fov": 0, "cell": 5}).content == before


def test_a_fov_without_phase_contrast_has_images_only(results):
    folder = results.fov("one", 0).folder
    for name in ("images.zarr/pc_ch_0", "images.zarr/seg_tracked_ch_0", "cells.zarr"):
        shutil.rmtree(folder / name)
    (folder / "one_fov_000_traces.csv").unlink()
    client = client_of(results)
    found = fov_of(client)
    assert [channel["name"] for channel in found["channels"]] == ["fl_ch_1"]
    assert (found["labels"], found["cells"]["n"], found["columns"]) == (False, [], [])
    assert client.get("/api/boxes", params={"dataset": "one", "fov": 0}).content == b""
    assert found["problems"] == []
    assert "it has no phase contrast" in save(client, "bad", 409, cell=1, frame=0)


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
found = cells.read_traces([Path({str(path)!r})])
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
        cell_lists.read_traces([path])


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
    assert browse.command(Results(copy, results.author, "snakemake --cores 2")) == "snakemake --cores 2"
    (tmp_path / "link").symlink_to(results.folder)
    assert browse.command(Results(tmp_path / "link", results.author, "")) == shown
    config.unlink()  # the results were brought here from another machine
    assert fov_of(client)["command"] == "snakemake --cores 2"
    (results.folder / ".last_run.json").write_text('{"config_files": 3}')
    assert fov_of(client)["command"] == "snakemake --cores 2"


def test_decisions_of_others_are_shown_at_once(client, results):
    berta = open_results(results.folder, "berta")
    before = client.get("/api/state", params={"dataset": "one", "fov": 0}).json()
    browse.save(berta, {"dataset": "one", "fov": 0, "op": "bad", "cell": 5, "frame": 0})
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
            browse.save(berta, {"dataset": "one", "fov": 0, "op": "bad", "cell": 4, "frame": 0})

    monkeypatch.setattr(records, "append", both)
    browse.save(anna, {"dataset": "one", "fov": 0, "op": "bad", "cell": 5, "frame": 0})
    now = state_of(browse.cells_now(anna, "one", 0))
    assert (now[4], now[5]) == ("bad", "bad")


def test_a_second_server_of_an_author_saves_nothing(client, results):
    second = open_results(results.folder)
    assert "--author" in second.author.why_not
    with pytest.raises(Refused, match="Another server of the author anna"):
        browse.save(second, {"dataset": "one", "fov": 0, "op": "bad", "cell": 5, "frame": 0})
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
