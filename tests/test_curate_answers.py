"""What the server of the curation page sends: lists, pixels, labels, traces, doubts; and how much it holds."""

import asyncio
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from curate_tools import FRAMES, SIZE, TOKEN, client_of, fov_of, save, state_of
from curation_tools import open_results
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_results import BORDER_MARGIN, MIN_FRAMES

from celltraces.curate import app, pixels, scan
from celltraces.curate import cells as cell_lists
from celltraces.curate.memory import Budget
from celltraces.curate.pixels import Reader
from celltraces.storage.frames import open_frames

pytest_plugins = ("curate_fixtures",)

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


class Line:
    """The application, asked over a line that takes no data of frames until it is told to."""

    def __init__(self, results):
        self.application = app.make_app(results, TOKEN)
        self.taken, self.told = asyncio.Event(), []

    async def ask(self, path, query, wait):
        """Ask, and note the messages that were taken: path, kind, status."""
        headers = [(b"host", b"127.0.0.1"), (b"x-celltraces-token", TOKEN.encode())]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": headers}

        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            if wait and message["type"] == "http.response.body":
                await self.taken.wait()
            self.told.append((path, message["type"], message.get("status")))

        await self.application({**scope, "raw_path": path.encode(), "root_path": ""}, receive, send)

    def six_frames(self):
        """Tasks that each ask for a frame."""
        query = "dataset=one&fov=0&channel=pc_ch_0&frame="
        return [asyncio.create_task(self.ask("/api/frame", f"{query}{frame}", True)) for frame in range(6)]


@pytest.fixture
def asked(results, monkeypatch):
    """What is read for the answers, where all of them may hold the pixels of one frame together."""
    asked = []
    read = results.reader.read
    results.reader.read = lambda *what: asked.append(what) or read(*what)
    monkeypatch.setattr(app, "BUDGET_BYTES", 2 * SIZE * SIZE)
    return asked


def test_what_is_not_sent_yet_counts_and_holds_up_no_small_question(results, asked):
    """Six pages that take nothing of what they asked for: one answer is made, not six."""

    async def ask():
        line = Line(results)
        slow = line.six_frames()
        while not any(kind == "http.response.start" for _, kind, _ in line.told):
            await asyncio.sleep(0.01)
        await line.ask("/api/state", "dataset=one&fov=0", False)
        assert len(asked) == 1
        line.taken.set()
        await asyncio.wait_for(asyncio.gather(*slow), 20)
        assert [status for path, kind, status in line.told if kind == "http.response.start"] == [200] * 7

    run_alone(ask)
    assert len(asked) == 6


def test_who_takes_nothing_does_not_keep_others_waiting_for_ever(results, asked, monkeypatch):
    monkeypatch.setattr(app, "SENDING_S", 0.2)

    async def ask():
        line = Line(results)
        await asyncio.wait_for(asyncio.gather(*line.six_frames()), 60)
        assert not any(kind == "http.response.body" for _, kind, _ in line.told)

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
