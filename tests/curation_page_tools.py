"""The curation page in Chromium: what tests do on it, and read from it."""

import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from conftest import PYTHON, ROOT
from playwright.sync_api import expect

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
