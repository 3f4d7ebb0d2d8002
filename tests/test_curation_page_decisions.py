"""Decisions on the curation page in Chromium: what is saved, told and kept, and that tables say what it shows."""

import json
import signal

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, new_page
from conftest import Checkout, small_config
from curation_page_tools import (
    FRAMES,
    HOSTILE,
    PIXELS_ON_SCREEN,
    SIZE,
    STATE,
    Server,
    choose,
    click_cell,
    drawn,
    open_at,
    saved,
    serving,
    state_of,
)
from made_results import label_movie, write_array, write_dataset
from playwright.sync_api import expect

from celltraces.edits.records import read_edits
from celltraces.storage.codecs import PIXELS

pytest_plugins = ("curation_page_fixtures",)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

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
              (async () => {
                for (let n = 0; await decide(["bad", "good"][n % 2], { cell: 7, frame: 0 }); n++);
              })();
            }"""
        )
        page.wait_for_function("() => Number(document.body.dataset.saved) >= 5")
    finally:
        server.end(signal.SIGKILL)
    expect(page.locator("#trouble")).to_contain_text("does not answer")
    acknowledged = int(page.locator("body").get_attribute("data-saved"))
    lines = (folder / "edits/carla.jsonl").read_text().splitlines()
    assert acknowledged <= len(lines) <= acknowledged + 1
    ops = [json.loads(line)["op"] for line in lines]
    assert ops == (["bad", "good"] * len(lines))[: len(lines)]
    with serving(folder, "carla") as again:
        open_at(page, again, dataset="one", fov=4)
        assert state_of(page)["state"][7] == {"bad": "bad", "good": "kept"}[ops[-1]]


def test_a_mark_that_was_made_already_says_so(page, folder):
    with serving(folder, "emil") as server:
        open_at(page, server, dataset="one", fov=4)
        choose(page, 7)
        page.keyboard.press("b")
        saved(page, 1)
        pending = page.locator("#pending-count").inner_text()
        page.keyboard.press("b")
        expect(page.locator("#trouble")).to_contain_text("Not saved: you decided that already: bad, cell 7")
        expect(page.locator("#pending-count")).to_have_text(pending)


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
