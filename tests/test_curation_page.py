"""The curation page as a person uses it: in Chromium, with the server that the command starts."""

import re
import shutil
from base64 import b64decode
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, new_page
from curation_page_tools import (
    FRAMES,
    PIXELS_ON_SCREEN,
    SIZE,
    choose,
    click_cell,
    drawn,
    open_at,
    saved,
    serving,
    state_of,
)
from made_results import label_movie, write_dataset
from playwright.sync_api import expect

from celltraces.curate.pixels import label_runs
from celltraces.storage import display_level
from celltraces.storage.frames import open_frames

pytest_plugins = ("curation_page_fixtures",)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]


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
