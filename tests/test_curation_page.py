"""The curation page as a person uses it: in Chromium, with the server that the command starts."""

import json
import re
import shutil
import signal
import subprocess
from base64 import b64decode
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, new_page
from conftest import PYTHON, ROOT, Checkout, small_config
from made_results import label_movie, write_array, write_dataset
from playwright.sync_api import expect

from celltraces.curate.pixels import label_runs
from celltraces.edits.records import read_edits
from celltraces.storage import display_level
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

SIZE, FRAMES = 160, 12
HOSTILE = '<img src=x onerror="alert(1)">&amp;{{7*7}}'
# What the page shows, as data; asked of its own modules.
STATE = """
async () => {
  const { state } = await import("/page/page.js");
  const { cells } = state.fov;
  return {
    cell: state.cell, frame: state.frame, n: cells.n, seen: cells.n.filter((_, row) => cells.seen[row]),
    state: Object.fromEntries(cells.n.map((cell, row) => [cell, cells.state[row]])),
    first: Object.fromEntries(cells.n.map((cell, row) => [cell, cells.first[row]])),
    frames: Object.fromEntries(cells.n.map((cell, row) => [cell, cells.frames[row]])),
    moved: Object.fromEntries([...state.fov.moved].flatMap(
      ([frame, cells]) => [...cells].map(([label, cell]) => [`${frame} ${label}`, cell]))),
    edits: state.fov.edits.map(({ by, words, status }) => [by, words, status]), pending: state.fov.pending,
  };
}
"""

# The picture of the frame as it is drawn on the canvas, in red, green, blue, opacity.
PIXELS_ON_SCREEN = """
async () => {
  const { picture } = await import("/page/frames.js");
  const { wanted, state } = await import("/page/state.js");
  const { bitmap } = await picture(wanted({ level: 0, deep: false }), state.frame);
  const pen = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  return [...pen.getImageData(0, 0, bitmap.width, bitmap.height).data];
}
"""


class Server:
    """The command, as a person starts it, on one folder of results."""

    def __init__(self, folder, author="anna"):
        command = [PYTHON, ROOT / "scripts/curate.py", folder, "--no-browser", "--port", "0", "--author", author]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]

    def at(self, **place):
        """The address of a place in the results."""
        return self.address + "".join(f"&{name}={value}" for name, value in place.items())

    def memory_mb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def serving(folder, author="anna"):
    server = Server(folder, author)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """10 FOVs of 16 cells, one for each test: 1 is seen in two frames, 6 becomes 17 in frame 5. And a hostile name."""
    made = tmp_path_factory.mktemp("page") / "results"
    labels = label_movie(FRAMES, SIZE, 16, {1: {2: 0}, 6: {5: 17}})
    write_dataset(made, "one", labels, fovs=10, findings=["0,3,brightness_ch_1,2.5,2.0"])
    write_dataset(made, HOSTILE.replace("/", ""), label_movie(3, 64, 4), name=HOSTILE)
    return made


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as running:
        yield running


@pytest.fixture
def page():
    with new_page() as page:
        yield page
        # What the server refuses, or that it is gone, stands in a line of the page; the browser complains of it, too.
        expected = ("the server responded with a status of 4", "ERR_CONNECTION", "ERR_CONTENT_LENGTH_MISMATCH")
        assert [error for error in page.errors if not any(words in error for words in expected)] == []


def open_at(page, server, **place):
    """Open a FOV, and wait until its frame is drawn."""
    page.goto("about:blank")
    page.goto(server.at(**place))
    expect(page.locator("body")).to_have_attribute("data-fov", f"{place['dataset']} {place['fov']}")
    drawn(page, place.get("frame", 0))


def drawn(page, frame):
    expect(page.locator("#image")).to_have_attribute("data-frame", str(frame))


def saved(page, count):
    expect(page.locator("body")).to_have_attribute("data-saved", str(count))


def state_of(page):
    found = page.evaluate(STATE)
    return {
        key: {int(cell): value for cell, value in part.items()} if key in ("state", "first", "frames") else part
        for key, part in found.items()
    }


def click_cell(page, cell, **how):
    """A click on a cell in the image."""
    x, y = page.evaluate(f"import('/page/image.js').then(({{ placeOf }}) => placeOf({cell}))")
    page.mouse.click(x, y, **how)


def choose(page, cell):
    page.locator(f"#cell-{cell}").click()
    expect(page.locator(f"#cell-{cell}")).to_have_attribute("aria-selected", "true")


# -------------------------------------------------------------------------------------------------------- what is drawn


def test_a_person_looks_around(page, server, folder):
    """Frames, cells and FOVs by mouse and keys; channels, zoom, traces, film; nothing is asked of other machines."""
    open_at(page, server, dataset="one", fov=0)
    expect(page.locator("#fovs button")).to_have_count(11)
    expect(page.locator("#findings-box")).to_contain_text("brightness_ch_1")
    for key, frame in [("ArrowRight", 1), ("Shift+ArrowRight", 11), ("Home", 0), ("End", 11), ("ArrowLeft", 10)]:
        page.keyboard.press(key)
        drawn(page, frame)
    click_cell(page, 7)
    expect(page.locator("#cell-7")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#chosen")).to_contain_text("cell 7: kept")
    expect(page.locator("#film img")).to_be_visible()
    third = page.locator("#film [data-frame]").nth(3)
    third.click()
    drawn(page, third.get_attribute("data-frame"))
    page.select_option("#sort", "number")
    page.locator("#cells").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#cell-8")).to_have_attribute("aria-selected", "true")
    page.select_option("#sort", "suspicion")
    page.locator("#cells").focus()
    page.keyboard.press("/")
    page.keyboard.type("5")  # the cell of this number, before those of which words with a 5 are said
    expect(page.locator("#cells li").first).to_have_id("cell-5")
    expect(page.locator("#cell-17")).to_contain_text("begins late (5)")
    page.keyboard.press("Enter")
    expect(page.locator("#chosen")).to_contain_text("cell 5:")
    page.locator("#find").press("Escape")
    page.keyboard.press("2")
    expect(page.locator("[data-channel=fl_ch_1]")).to_be_checked()
    page.keyboard.press("PageDown")
    expect(page.locator("body")).to_have_attribute("data-fov", "one 1")
    page.keyboard.press("End")
    drawn(page, FRAMES - 1)
    page.keyboard.press("Space")  # and on from the beginning
    page.wait_for_function("() => [5, 6, 7].includes(Number(document.getElementById('image').dataset.frame))")
    page.keyboard.press("Space")
    for clicked in ("#follow", "#follow", "[data-channel=fl_ch_1]"):  # keys stay the page's after a click
        page.locator(clicked).click()
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Stop")
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    expect(page.locator("[data-channel=fl_ch_1]")).not_to_be_checked()
    box = page.locator("#fovs").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 1)  # beside all buttons: nothing happens
    expect(page.locator("#trouble")).to_be_hidden()
    hosts = {address.split("/")[2] for address in page.requests if address.startswith("http")}
    assert hosts == {server.address.split("/")[2]}
    assert not [address for address in page.requests if "token" in address.partition("#")[0]]


def test_the_picture_is_that_of_the_arrays(page, server, folder):
    open_at(page, server, dataset="one", fov=0, frame=2)
    got = page.evaluate(PIXELS_ON_SCREEN)
    frames = open_frames(folder / "one/fov_000/images.zarr/pc_ch_0/0")
    expected = display_level.to_bytes(frames.read(2), *frames.attributes["display_limits"])
    rgba = np.array(got, np.uint8).reshape(SIZE, SIZE, 4)
    assert (rgba[..., 3] == 255).all()
    for channel in range(3):
        np.testing.assert_allclose(rgba[..., channel].astype(int), expected.astype(int), atol=1)


# A frame as it is painted while it is looked at, and by the worker while frames are played: two pictures.
BOTH_WAYS = """
async ({ view, outlines, width, height, part, level, deep }) => {
  const frames = await import("/page/frames.js");
  const { paint, put } = await import("/page/paint.js");
  const { looksIn, state, wanted } = await import("/page/state.js");
  const what = wanted({ level, deep }, part);
  const looks = { ...looksIn(state.frame), outlines };
  const size = { height: what.height, width: what.width };
  const scene = { ...what, view, unit: 1, canvas: { width, height }, size, looks };
  const { bitmap } = await frames.picture(what, state.frame);
  const found = await frames.labels(what, state.frame);
  const [one, other] = [0, 1].map(() => new OffscreenCanvas(width, height).getContext("2d", { alpha: false }));
  paint(one, bitmap, found, scene);
  const staged = await frames.stage({ ...scene, labelled: true }, state.frame);
  put(other, staged.painted);
  const letters = (row) => String.fromCharCode(...row); // an array of numbers would take a minute on its way
  return [one, other].map((pen) => {
    const { data } = pen.getImageData(0, 0, width, height);
    const rows = Array.from({ length: height }, (_, y) => data.subarray(4 * width * y, 4 * width * (y + 1)));
    return btoa(rows.map(letters).join(""));
  });
}
"""


def test_frames_look_the_same_while_they_are_played(page, server):
    open_at(page, server, dataset="one", fov=0, frame=5)
    page.keyboard.press("2")  # two channels over each other
    choose(page, 7)
    for view, level, tolerance, share in (
        ({"scale": 3, "x": -40, "y": 10}, 0, 0, 0.001),  # pixels of the image as squares
        (
            {"scale": 2.371, "x": 3, "y": -200},
            0,
            0,
            0.01,
        ),  # all but its rim, which the browser mixes with what is beside
        ({"scale": 2, "x": 5000, "y": 0}, 0, 0, 0),  # out of sight
        ({"scale": 1.4, "x": 20, "y": 30}, 0, 10, 0.04),  # smoothed by the browser, and by the worker
        ({"scale": 0.8, "x": 50, "y": 41}, 0, 10, 0.04),
        ({"scale": 0.8, "x": 50, "y": 41}, 1, 10, 0.04),
        ({"scale": 0.6, "x": 0, "y": 90}, 2, 10, 0.04),
    ):
        for outlines in (True, False):
            scene = {"view": view, "outlines": outlines, "width": 300, "height": 200, "part": None}
            one, other = both_ways(page, {**scene, "level": level, "deep": outlines})
            assert (np.abs(one - other).max(axis=2) > tolerance).mean() <= share, (view, level)


# A dashed line around a cell at the rim of an image; gives up where a dash never ends.
DASHED = """
async ({ points, view, dash }) => {
  const { drawLine } = await import("/page/lines.js");
  let looks = 0;
  const words = new Uint32Array(800 * 100);
  const target = { words, height: 100, get width() { if (++looks > 10000) throw new Error("no end"); return 800; } };
  drawLine(target, Uint16Array.from(points), 0, points.length / 2, view, { word: 1, width: 1, dash });
  return words.reduce((sum, one) => sum + one, 0);
}
"""


@pytest.mark.parametrize(("dash", "corner"), [([2, 3], 2), ([7, 5], 2), ([10, 4, 3, 4], 5)])
def test_dashes_end_whatever_is_left_of_them_by_rounding(page, server, dash, corner):
    """Here 4e-15 px of a dash are left after 33 px, too little to get on by: the page stood still for ever."""
    open_at(page, server, dataset="one", fov=0)
    points = [234, 0, 235, 0, 235, 12, 234, 12, 234, corner]
    view = {"scale": 2.9583333333333335, "x": 0, "y": 14}
    drawn_pixels = page.evaluate(DASHED, {"points": points, "view": view, "dash": dash})
    share = (sum(dash[::2]) + len(dash) / 2) / sum(dash)  # a dash has the pixels at both its ends
    assert drawn_pixels == pytest.approx(share * view["scale"] * 2 * (1 + 12), rel=0.2)


def test_what_is_told_of_the_frame_is_that_of_the_last_one_that_was_played(page, server):
    open_at(page, server, dataset="one", fov=0, cell=7)
    page.select_option("#speed", "60")
    page.keyboard.press("Space")
    drawn(page, 5)
    page.keyboard.press("Space")
    frame = state_of(page)["frame"]
    expect(page.locator("#time")).to_contain_text(f"{frame} / {FRAMES - 1}")
    expect(page.locator("#frame")).to_have_value(str(frame))
    expect(page.locator("#frame")).to_have_attribute("aria-valuetext", re.compile(f"^frame {frame} of"))
    shift = page.locator("#cursor").evaluate("element => element.style.transform")
    page.keyboard.press("ArrowRight" if frame < FRAMES - 1 else "ArrowLeft")
    page.keyboard.press("ArrowLeft" if frame < FRAMES - 1 else "ArrowRight")
    expect(page.locator("#time")).to_contain_text(f"{frame} / {FRAMES - 1}")
    assert page.locator("#cursor").evaluate("element => element.style.transform") == shift


def test_what_playing_shows_is_there_before_it_begins(page, server):
    """While nobody does anything, what playing needs is fetched, several frames in an answer."""
    open_at(page, server, dataset="one", fov=2, frame=3)
    page.locator("body[data-prepared]").wait_for()
    asked = [parse_qs(urlsplit(address).query) for address in page.requests if "/api/frame?" in address]
    lists = [question["frame"][0].split(",") for question in asked]
    assert {int(frame) for frames in lists for frame in frames} == {*range(FRAMES)}
    assert max(map(len, lists)) > 1
    page.select_option("#speed", "60")
    before = len(page.requests)
    page.keyboard.press("Space")
    drawn(page, 2)  # after the last one comes the first one
    page.keyboard.press("Space")
    assert not [address for address in page.requests[before:] if "/api/frame?" in address]


def test_a_frame_that_is_played_is_on_the_screen_when_its_turn_comes(page, server):
    """Not when the screen is renewed the next time: that took one frame of each sixty, and more of a short movie."""
    open_at(page, server, dataset="one", fov=2, frame=3)
    page.locator("body[data-prepared]").wait_for()
    shown = page.evaluate(
        """async () => {
          const { goTo, play } = await import("/page/timeline.js");
          const image = document.getElementById("image");
          play(true);
          goTo(4);
          const at = image.dataset.frame;
          play(false);
          return at;
        }"""
    )
    assert shown == "4"


def both_ways(page, scene):
    found = [np.frombuffer(b64decode(text), np.uint8) for text in page.evaluate(BOTH_WAYS, scene)]
    return [pixels.reshape(200, 300, 4)[..., :3].astype(int) for pixels in found]


def test_a_part_of_a_large_frame_lies_where_it_does_in_the_whole(page, server):
    open_at(page, server, dataset="one", fov=0, frame=5)
    scene = {"view": {"scale": 3, "x": -90, "y": -120}, "outlines": True, "width": 300, "height": 200}
    part = {"y0": 32, "x0": 48, "y1": 96, "x1": 160}
    for size in ({"level": 0, "deep": False}, {"level": 1, "deep": False}, {"level": 2, "deep": True}):
        whole, played_whole = both_ways(page, {**scene, **size, "part": None})
        one, played = both_ways(page, {**scene, **size, "part": part})
        rows, columns = slice(0, 3 * 96 - 120), slice(3 * 48 - 90, 300)
        assert (one[rows, columns] == whole[rows, columns]).all()
        assert (played[rows, columns] == played_whole[rows, columns]).all()
        assert (one != whole).any()


def unit_edges(labels):
    """The edges between pixels of different labels, as (label, x0, y0, x1, y1) for the label on one side."""
    padded = np.pad(labels.astype(int), 1)
    found = set()
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = padded[y + 1, x + 1]
            if not label:
                continue
            for dy, dx, edge in (
                (0, -1, (x, y, x, y + 1)),
                (0, 1, (x + 1, y, x + 1, y + 1)),
                (-1, 0, (x, y, x + 1, y)),
                (1, 0, (x, y + 1, x + 1, y + 1)),
            ):
                if padded[y + 1 + dy, x + 1 + dx] != label:
                    found.add((label, *edge))
    return found


def edges_of(outlines):
    """The edges that closed lines run along, each of length 1; a list, so that one that is drawn twice is seen."""
    points = np.array(outlines["points"], int).reshape(-1, 2)
    found = []
    for at, label in enumerate(outlines["labels"]):
        line = points[outlines["starts"][at] : outlines["starts"][at + 1]]
        for (x0, y0), (x1, y1) in zip(line, np.roll(line, -1, axis=0), strict=True):
            assert (x0 == x1) != (y0 == y1)
            steps = max(abs(x1 - x0), abs(y1 - y0))
            for step in range(steps):
                ends = sorted(
                    (x0 + (x1 - x0) * part // steps, y0 + (y1 - y0) * part // steps) for part in (step, step + 1)
                )
                found.append((label, *ends[0], *ends[1]))
    return found


def test_outlines_run_along_every_edge_of_a_cell_once(page, server):
    """Random labels, with holes, touching cells, single pixels and cells in several parts."""
    open_at(page, server, dataset="one", fov=0)
    rng = np.random.default_rng(1)
    images = [rng.choice([0, 0, 1, 1, 1, 2, 700], (rng.integers(1, 14), rng.integers(1, 14))) for _ in range(40)]
    runs = [label_runs(image.astype(np.uint16)).ravel().tolist() for image in images]
    sizes = [list(image.shape) for image in images]
    got = page.evaluate(
        """async ([runs, sizes]) => {
          const { outlines, labelOn, labelNear } = await import("/page/outline.js");
          return runs.map((run, at) => {
            const [height, width] = sizes[at];
            const typed = Uint32Array.from(run);
            const { points, starts, labels } = outlines(typed, height, width);
            const on = [];
            for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) on.push(labelOn(typed, width, x, y));
            const near = labelNear(typed, height, width, width / 2, height / 2, 3);
            return { points: [...points], starts: [...starts], labels: [...labels], on, near };
          });
        }""",
        [runs, sizes],
    )
    for image, found in zip(images, got, strict=True):
        edges = edges_of(found)
        assert len(edges) == len(set(edges))
        assert set(edges) == unit_edges(image)
        assert found["on"] == image.ravel().tolist()
        height, width = image.shape
        ys, xs = np.nonzero(image)
        distances = (ys - height // 2) ** 2 + (xs - width // 2) ** 2
        within = distances <= 9
        near = {*image[ys, xs][within & (distances == distances[within].min())].tolist()} if within.any() else {0}
        assert found["near"] in near


# ------------------------------------------------------------------------------------------------------------ decisions


def test_marks_stay_after_reload_and_restart(page, folder):
    with serving(folder, "dora") as server:
        open_at(page, server, dataset="one", fov=1)
        choose(page, 7)
        page.keyboard.press("b")
        saved(page, 1)
        click_cell(page, 10, button="right")
        saved(page, 2)
        click_cell(page, 11, button="right")
        saved(page, 3)
        click_cell(page, 11, button="right")
        saved(page, 4)
        choose(page, 1)
        assert state_of(page)["state"][1] == "left out"
        page.keyboard.press("g")
        saved(page, 5)
        expect(page.locator("#chosen")).to_contain_text("cell 1: kept (although in 2 frames, fewer than min_frames")
        page.keyboard.press("n")
        page.locator("#note-text").fill("dust, not a <b>cell</b>")
        page.get_by_role("button", name="Save").click()
        saved(page, 6)
        expect(page.locator("#cell-1")).to_contain_text("dust, not a <b>cell</b>")
        page.keyboard.press("x")
        saved(page, 7)
        shown = state_of(page)
        assert [shown["state"][cell] for cell in (7, 10, 11, 1)] == ["bad", "bad", "kept", "kept"]
        assert shown["pending"] == 6  # what was seen is in no table, and the one good is overruled by nobody
        expect(page.locator("#pending")).to_contain_text("6 decisions are not in the tables yet")
        page.reload()
        expect(page.locator("body")).to_have_attribute("data-fov", "one 1")
        assert state_of(page)["state"] == shown["state"]
    with serving(folder, "dora") as server:
        open_at(page, server, dataset="one", fov=1)
        again = state_of(page)
        assert (again["state"], again["seen"], again["edits"]) == (shown["state"], [1], shown["edits"])
        page.keyboard.press("z")
        saved(page, 1)
        page.locator("#decisions li", has_text="bad, cell 7").get_by_role("button").click()
        saved(page, 2)
        assert state_of(page)["state"][7] == "kept"
        page.keyboard.press("Shift+Z")
        saved(page, 3)
        assert state_of(page)["state"][7] == "bad"
        expect(page.locator("#live")).to_have_text("Saved: restored: bad, cell 7")
        page.keyboard.press("Shift+Z")  # and what was taken back before
        saved(page, 4)
        assert state_of(page)["edits"][-1][1:] == ["undo", "applied"]
        assert state_of(page)["edits"][: len(shown["edits"])] == shown["edits"]
        page.keyboard.press("Shift+Z")
        expect(page.locator("#live")).to_have_text("There is nothing to redo.")
        page.keyboard.press("z")  # a new decision ends what can be redone, also where it is taken back itself
        saved(page, 5)
        choose(page, 10)
        page.keyboard.press("g")
        saved(page, 6)
        page.keyboard.press("Shift+Z")
        words = "There is nothing to redo: a decision was made since the last undo."
        expect(page.locator("#live")).to_have_text(words)
        page.keyboard.press("z")
        saved(page, 7)
        page.keyboard.press("Shift+Z")
        saved(page, 8)
        page.keyboard.press("Shift+Z")
        expect(page.locator("#live")).to_have_text(words)


def test_tracks_are_split_joined_swapped_divided_deleted_and_all_taken_back(page, server):
    open_at(page, server, dataset="one", fov=2)
    before = state_of(page)
    choose(page, 6)
    page.keyboard.press("j")
    expect(page.locator("#asking")).to_contain_text("Join cell 6")
    page.keyboard.press("End")
    drawn(page, FRAMES - 1)
    click_cell(page, 17)
    saved(page, 1)
    joined = state_of(page)
    assert 17 not in joined["n"]
    assert joined["frames"][6] == FRAMES
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    drawn(page, 4)
    choose(page, 7)
    page.keyboard.press("s")
    saved(page, 2)
    split = state_of(page)
    new = max(split["n"])
    assert (split["frames"][7], split["first"][new]) == (4, 4)
    # What is in sight stays chosen: the new part, and without the split the old cell.
    chosen = page.locator("#cells [aria-selected=true] b")
    expect(chosen).to_have_text(str(new))
    for count, (key, cell) in enumerate((("z", 7), ("Shift+Z", new)), 3):
        page.keyboard.press(key)
        saved(page, count)
        expect(chosen).to_have_text(str(cell))
    choose(page, 10)
    page.keyboard.press("w")
    click_cell(page, 11)
    saved(page, 5)
    swapped = state_of(page)["moved"]
    assert {swapped[f"{frame} 10"] for frame in range(4, FRAMES)} == {11}
    assert {swapped[f"{frame} 11"] for frame in range(4, FRAMES)} == {10}
    assert "3 10" not in swapped
    choose(page, new)
    page.keyboard.press("d")
    expect(page.locator("#trouble")).to_contain_text(f"Cell {new} is not there before frame 4. Go to the first frame")
    expect(page.locator("#asking")).to_be_hidden()
    choose(page, 7)
    drawn(page, 3)  # the last frame of it
    page.keyboard.press("ArrowRight")
    drawn(page, 4)
    page.keyboard.press("d")
    click_cell(page, new)
    expect(page.locator("#asking")).to_contain_text(f"First daughter: {new}")
    page.keyboard.press("Enter")
    saved(page, 6)
    assert state_of(page)["edits"][-1] == ["anna", "cell 7 divides in frame 4", "applied"]
    choose(page, 12)
    page.keyboard.press("Delete")
    saved(page, 7)
    assert 12 not in state_of(page)["n"]
    # A refusal says why and changes nothing.
    choose(page, 10)
    page.keyboard.press("j")
    click_cell(page, 11)
    expect(page.locator("#trouble")).to_contain_text("both cells are in frame")
    page.keyboard.press("Escape")
    for count in range(8, 13):
        page.keyboard.press("z")
        saved(page, count)
    after = state_of(page)
    assert {key: after[key] for key in ("n", "state", "first", "frames", "moved")} == {
        key: before[key] for key in ("n", "state", "first", "frames", "moved")
    }


def test_two_people_see_each_other(page, server, folder):
    open_at(page, server, dataset="one", fov=3)
    with serving(folder, "berta") as other, new_page() as second:
        open_at(second, other, dataset="one", fov=3)
        choose(page, 7)
        page.keyboard.press("b")
        saved(page, 1)
        expect(second.locator("#cell-7")).to_have_attribute("data-state", "bad")
        choose(second, 7)
        second.keyboard.press("g")
        saved(second, 1)
        expect(page.locator("#cell-7")).to_have_attribute("data-state", "kept")
        expect(page.locator("#decisions")).to_contain_text("overruled: berta says good later")
    by = {edit.by for edit in read_edits(folder / "edits")[0] if edit.fov == 3}
    assert by == {"anna", "berta"}


def test_a_second_server_of_one_author_is_read_only(page, server, folder):
    with serving(folder) as second:
        open_at(page, second, dataset="one", fov=3)
        expect(page.locator("#saved")).to_have_text("read-only")
        expect(page.locator("#why-not")).to_contain_text("Another server of the author anna")
        choose(page, 10)
        page.keyboard.press("b")
        expect(page.locator("#trouble")).to_contain_text("Another server of the author anna")
        assert state_of(page)["state"][10] == "kept"


def test_results_that_cannot_be_written_to_are_browsed(page, tmp_path):
    """A file lies where the folder of edits would be: to root, as whom tests may run, no permission is denied."""
    write_dataset(tmp_path / "results", "one", label_movie(3, 64, 4), fovs=2)
    (tmp_path / "results/edits").touch()
    with serving(tmp_path / "results") as server:
        open_at(page, server, dataset="one", fov=0)
        expect(page.locator("#saved")).to_have_text("read-only")
        expect(page.locator("#why-not")).to_contain_text("Nothing can be saved")
        expect(page.locator("#why-not")).to_contain_text("make it writable")
        choose(page, 2)
        page.keyboard.press("ArrowRight")
        drawn(page, 1)
        for button in page.locator("[data-action]").all():
            expect(button).to_be_disabled()
        for key in ("b", "j", "n", "Shift+x", "z"):
            page.evaluate("import('/page/state.js').then(({ trouble }) => trouble())")
            page.keyboard.press(key)
            if key != "z":
                expect(page.locator("#trouble")).to_contain_text("Nothing can be saved")
        expect(page.locator("#asking")).to_be_hidden()
        expect(page.locator("#note")).to_be_hidden()
        page.keyboard.press("PageDown")
        expect(page.locator("body")).to_have_attribute("data-fov", "one 1")
    assert (tmp_path / "results/edits").read_bytes() == b""


def test_nothing_that_was_acknowledged_is_lost_by_kill_9(page, folder):
    server = Server(folder, "carla")
    try:
        open_at(page, server, dataset="one", fov=4)
        choose(page, 7)
        page.evaluate(
            """async () => {
              const { decide } = await import("/page/decisions.js");
              (async () => { while (await decide("bad", { cell: 7, frame: 0 })); })();
            }"""
        )
        page.wait_for_function("() => Number(document.body.dataset.saved) >= 5")
    finally:
        server.end(signal.SIGKILL)
    expect(page.locator("#trouble")).to_contain_text("does not answer")
    acknowledged = int(page.locator("body").get_attribute("data-saved"))
    lines = (folder / "edits/carla.jsonl").read_text().splitlines()
    assert acknowledged <= len(lines) <= acknowledged + 1
    assert all(json.loads(line)["op"] == "bad" for line in lines)
    with serving(folder, "carla") as again:
        open_at(page, again, dataset="one", fov=4)
        assert state_of(page)["state"][7] == "bad"


def test_a_server_that_ends_within_an_answer_is_said_to_be_gone(page, server):
    open_at(page, server, dataset="one", fov=4)
    choose(page, 7)
    page.evaluate(
        """() => {
          const half = () => new ReadableStream({ start: (to) => to.error(new TypeError("network error")) });
          window.fetch = async () => new Response(half());
        }"""
    )
    page.keyboard.press("g")
    expect(page.locator("#trouble")).to_contain_text("does not answer")


def test_a_rerun_is_noticed_with_the_page_open(page, server, folder):
    open_at(page, server, dataset="one", fov=5)
    choose(page, 7)
    page.keyboard.press("+")
    at = "import('/page/image.js').then(({ placeOf }) => placeOf(7))"
    zoomed = page.evaluate(at)
    place = folder / "one/fov_005/images.zarr/pc_ch_0"
    new = np.full((FRAMES, SIZE, SIZE), 9, np.uint16)
    new[:, : SIZE // 2] = 5
    write_array(place, new, PIXELS, (5, 9))
    expect(page.locator("#live")).to_contain_text("made anew by a run")
    assert page.evaluate(at) == zoomed
    page.keyboard.press("ArrowRight")
    drawn(page, 1)
    grey = page.evaluate(PIXELS_ON_SCREEN)[::4]
    top, bottom = grey[0], grey[-1]
    assert (top, bottom) == (0, 255)


def test_a_damaged_chunk_is_one_line_and_the_other_frames_are_shown(page, server, folder):
    shard = folder / "one/fov_006/images.zarr/pc_ch_0/0/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[30] ^= 255
    shard.write_bytes(content)
    page.goto(server.at(dataset="one", fov=6, frame=0))
    expect(page.locator("#trouble")).to_contain_text("frame 0: damaged on disk")
    page.keyboard.press("ArrowRight")
    drawn(page, 1)
    page.keyboard.press("End")
    drawn(page, FRAMES - 1)
    page.keyboard.press("Space")  # played frames go on beyond the damaged one
    page.wait_for_function("() => [1, 2, 3].includes(Number(document.getElementById('image').dataset.frame))")


def test_names_are_text(page, server):
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(server.address)
    group = page.locator("#fovs section").first
    expect(group).to_contain_text(HOSTILE.replace("/", ""))
    group.get_by_role("button").click()
    expect(page.locator("body")).to_have_attribute("data-fov", f"{HOSTILE.replace('/', '')} 0")
    assert page.locator("img[src='x']").count() == 0


def test_a_link_of_the_report_leads_to_its_cell(page, server):
    open_at(page, server, dataset="one", fov=0)
    # The link has no token: the page knows it from before.
    page.goto("about:blank")
    page.goto(server.address.partition("#")[0] + "#dataset=one&fov=7&cell=11&frame=9")
    drawn(page, 9)
    expect(page.locator("#cell-11")).to_have_attribute("aria-selected", "true")
    assert "token" not in page.url
    page.goto(server.address.partition("#")[0] + "#dataset=one&fov=7&cell=999")
    expect(page.locator("#trouble")).to_contain_text("There is no cell 999")
    for wrong, shown, words in (
        ("dataset=one&fov=-1&frame=x", "one 0", "a whole number as fov, frame"),
        ("dataset=nope", f"{HOSTILE.replace('/', '')} 0", "There is no dataset nope"),
        ("dataset=one&fov=77", f"{HOSTILE.replace('/', '')} 0", "there is no FOV 77 of dataset 'one'"),
    ):
        page.evaluate("words => { location.hash = words; }", wrong)
        expect(page.locator("#trouble")).to_contain_text(words)
        expect(page.locator("body")).to_have_attribute("data-fov", shown)


def test_without_the_token_the_page_says_what_to_do(server):
    with new_page() as stranger:
        stranger.goto(server.address.partition("#")[0])
        expect(stranger.locator("#trouble")).to_contain_text("open the address that the terminal shows")
        stranger.goto(server.at(dataset="one", fov=0))  # typed over the one without it
        expect(stranger.locator("body")).to_have_attribute("data-fov", "one 0")
        expect(stranger.locator("#trouble")).to_be_hidden()


# ------------------------------------------------------------------------------------------------------- and the tables

TABLE = """
async () => {
  const { state, boxOf } = await import("/page/state.js");
  const { askBytes } = await import("/page/ask.js");
  const { fov } = state;
  const query = { dataset: fov.dataset, fov: fov.fov, column: "area_ch_0" };
  const values = new Float32Array(await askBytes("traces", query));
  const rows = [];
  fov.cells.n.forEach((cell, row) => {
    for (let frame = 0; frame < fov.frames; frame++) {
      if (fov.cells.state[row] !== "kept" || !boxOf(cell, frame) || fov.excludedIn(cell, frame)) continue;
      const value = values[row * fov.frames + frame];
      rows.push([cell, frame, Number.isNaN(value) ? null : value]);
    }
  });
  return rows;
}
"""


def shown_table(page):
    """The rows that the page says the tables will have: (cell, frame) -> area, None where it is not known before."""
    return {(cell, frame): area for cell, frame, area in page.evaluate(TABLE)}


def rows_of(checkout):
    table = pd.read_csv(checkout.folder / "results/small/small_traces.csv")
    return {(cell, frame): area for cell, frame, area in table[["cell", "frame", "area_ch_0"]].itertuples(index=False)}


def test_what_the_page_shows_is_what_the_tables_say(page, movies, finished_fov, tmp_path):
    """Marks, frames and edits of tracks, the workflow run with the page open, and once more when all is taken back."""
    checkout = Checkout(tmp_path / "checkout", finished_fov)
    config = small_config(movies, fovs={"small": "0"}, params={"min_frames": 5, "border_margin": 12})
    first = checkout.run(config)
    assert first.code == 0, first.text
    before = rows_of(checkout)
    with serving(checkout.folder / "results") as server:
        open_at(page, server, dataset="small", fov=0)
        assert shown_table(page) == before
        state = state_of(page)
        kept = [cell for cell in state["n"] if state["state"][cell] == "kept"]
        out = [cell for cell in state["n"] if state["state"][cell] == "left out"]
        assert len(kept) >= 4
        assert out
        actions = [(kept[0], "b"), (out[0], "g"), (kept[1], "x"), (kept[2], "s")]
        page.select_option("#sort", "number")
        page.locator("#cells").focus()
        page.keyboard.press("End")
        for count, (cell, key) in enumerate(actions, 1):
            choose(page, cell)
            if key == "s":
                page.keyboard.press("Home")
                for _ in range(6):
                    page.keyboard.press("ArrowRight")
                drawn(page, 6)
            page.keyboard.press(key)
            saved(page, count)
        page.keyboard.press("w")  # the new part of the split cell, with another
        page.locator(f"#cell-{kept[3]}").click()
        saved(page, 5)
        promised = shown_table(page)
        assert promised.keys() != before.keys()
        assert page.evaluate(STATE)["pending"] == 5
        second = checkout.run(None)
        assert second.code == 0, second.text
        told = rows_of(checkout)
        assert told.keys() == promised.keys()
        known = {row for row, area in promised.items() if area is not None}
        assert len(known) > len(promised) / 2
        assert {row: told[row] for row in known} == {row: pytest.approx(promised[row], abs=1e-3) for row in known}
        expect(page.locator("#pending")).to_be_hidden(timeout=15_000)
        page.reload()
        drawn(page, 6)
        again = shown_table(page)
        assert again.keys() == told.keys()
        assert None not in again.values()
        for count in range(1, 6):
            page.keyboard.press("z")
            saved(page, count)
        assert shown_table(page).keys() == before.keys()


# --------------------------------------------------------------------------------------------------------- for everyone


def test_nothing_lies_over_the_list_and_a_fov_without_cells_says_so(folder, page, tmp_path):
    """Also with the film strip of a cell that is seen in two frames only, in a low window."""
    write_dataset(tmp_path / "results", "one", label_movie(3, 64, 4, {1: {2: 0}}), fovs=2)
    for array in (tmp_path / "results/one/fov_001/images.zarr").glob("*_ch_*"):
        shutil.rmtree(array)
    write_dataset(tmp_path / "results", "two", np.zeros((3, 64, 64), np.uint16))
    with serving(tmp_path / "results") as server:
        open_at(page, server, dataset="one", fov=0, cell=1)
        expect(page.locator("#film img")).to_be_visible()
        page.evaluate("import('/page/state.js').then(({ trouble }) => trouble('a line'))")
        for height in (900, 500):
            page.set_viewport_size({"width": 1366, "height": height})
            boxes = [part.bounding_box() for part in page.locator("#right > *").all()]
            ends = [(box["y"], box["y"] + box["height"]) for box in boxes if box]
            assert all(end <= begin + 0.5 for (_, end), (begin, _) in zip(ends, ends[1:], strict=False)), ends
            film, picture = (page.locator(which).bounding_box() for which in ("#film", "#film img"))
            assert picture["height"] <= film["height"]
        page.fill("#find", "nothing of this kind")
        expect(page.locator("#no-cells")).to_have_text("No cell is as wanted above.")
        page.fill("#find", "")
        expect(page.locator("#no-cells")).to_be_hidden()
        choose(page, 3)
        expect(page.locator("#value")).to_contain_text("cell 3: ")
        page.locator("#fovs button").last.click()
        expect(page.locator("body")).to_have_attribute("data-fov", "two 0")
        expect(page.locator("#no-traces")).to_be_visible()
        expect(page.locator("#no-cells")).to_have_text("There are no cells to show here.")
        expect(page.locator("#value")).to_be_empty()
        expect(page.locator("#fovs [aria-current] .seen")).to_have_text("no cells")
        page.keyboard.press("PageUp")
        expect(page.locator("body")).to_have_attribute("data-fov", "one 1")
        expect(page.locator("#trouble")).to_contain_text("images of FOV 1 are not there at present")
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#time")).to_have_text("no frames")


def test_on_a_narrow_screen_the_image_comes_first_and_the_list_of_fovs_is_unfolded(server):
    with new_page(width=400, height=800) as page:
        open_at(page, server, dataset="one", fov=7)
        names = page.locator("#fovs")
        expect(names).to_be_hidden()
        image = page.locator("#image").bounding_box()
        assert image["y"] + image["height"] < 800
        fold = page.locator("#places")
        expect(fold).to_have_text("one, FOV 7")
        fold.focus()
        page.keyboard.press("Enter")
        expect(names).to_be_visible()
        expect(names.locator("[aria-current]")).to_be_in_viewport()
        assert Axe().run(page).violations_count == 0
        names.locator("[data-fov='8'][data-dataset=one]").click()
        expect(fold).to_have_text("one, FOV 8")
        expect(names).to_be_hidden()
        page.set_viewport_size({"width": 1366, "height": 800})
        expect(fold).to_be_hidden()
        expect(names).to_be_visible()


def test_the_plot_stays_in_its_place_whatever_is_said_of_a_cell(page, server):
    page.set_viewport_size({"width": 1100, "height": 760})
    open_at(page, server, dataset="one", fov=8)
    places = []
    for key in ("Escape", "ArrowDown", "ArrowDown"):  # none, one that is not in the tables, one that is
        page.keyboard.press(key)
        places.append(page.locator("#plot").bounding_box()["y"])
    assert places == [places[0]] * 3


def test_undo_takes_back_what_was_only_begun(page, server):
    open_at(page, server, dataset="one", fov=8, cell=3)
    before = state_of(page)["edits"]
    for key in ("j", "d", "w"):
        page.keyboard.press("ArrowRight")
        page.keyboard.press(key)
        expect(page.locator("#asking")).to_be_visible()
        page.keyboard.press("z")
        expect(page.locator("#asking")).to_be_hidden()
        expect(page.locator("#live")).to_have_text("Nothing was decided.")
    page.keyboard.press("j")
    page.keyboard.press("a")  # another decision: no second cell is asked for any more
    saved(page, 1)
    expect(page.locator("#asking")).to_be_hidden()
    page.keyboard.press("z")
    saved(page, 2)
    assert [status for *_, status in state_of(page)["edits"][len(before) :]] == ["undone", "applied"]


@pytest.mark.parametrize(("width", "dark"), [(1366, False), (1366, True), (400, False)])
def test_axe_finds_nothing(server, width, dark):
    with new_page(width=width, dark=dark) as page:
        open_at(page, server, dataset="one", fov=8)
        page.keyboard.press("ArrowDown")
        expect(page.locator("#film img")).to_be_visible()
        for with_help in (False, True):
            if with_help:
                page.keyboard.press("?")
                expect(page.locator("#help")).to_be_visible()
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("scrollY") == 0  # to choose a cell does not take the image out of sight


def test_everything_is_done_and_told_by_keyboard(page, server):
    open_at(page, server, dataset="one", fov=9)
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.action || ''"))
    assert {"frame", "play", "feature", "cells", "find", "sort", "outlines", "help-button", "b", "s", "fovs"} <= reached
    live = page.locator("#live")
    page.locator("#cells").focus()
    page.keyboard.press("ArrowDown")
    expect(live).to_have_text(re.compile(r"cell \d+, "))
    page.keyboard.press("b")
    saved(page, 1)
    expect(live).to_contain_text("Saved: bad, cell")
    page.keyboard.press("a")
    saved(page, 2)
    assert len(state_of(page)["seen"]) == 1
    # The second cell of a join is offered, and taken by Enter.
    page.select_option("#sort", "number")
    page.locator("#cells").focus()
    page.keyboard.press("/")
    page.keyboard.type("6")
    page.keyboard.press("Enter")
    expect(page.locator("#cells")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    expect(live).to_have_text("cell 17: Enter takes it")
    page.keyboard.press("Enter")
    saved(page, 3)
    expect(page.locator("#cell-17")).to_have_count(0)
    # Esc leaves what lies over the image, and what is asked, one after the other.
    page.keyboard.press("ArrowUp")
    contrast = page.locator("details.contrast").first
    contrast.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(contrast).not_to_have_attribute("open", "")
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(live).to_have_text("Nothing was decided.")
    expect(page.locator("#chosen")).to_contain_text(re.compile(r"cell \d+"))
    # Keys are text where a person types.
    page.locator("#find").focus()
    page.keyboard.type("bgx")
    expect(page.locator("#find")).to_have_value("bgx")
    assert len(state_of(page)["edits"]) == 3
    page.keyboard.press("Escape")
    page.keyboard.press("o")
    expect(page.locator("#outlines")).to_have_attribute("aria-pressed", "false")


def test_the_server_stays_small(server):
    """Comes last: all the others have asked the server for what they show."""
    assert server.memory_mb() < 300
