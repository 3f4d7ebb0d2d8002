"""How fast the curation page is, measured in the page itself, in Chromium, on made-up results.

Usage: .venv/dev/bin/python benchmarks/curation_page.py [FOLDER]
Writes benchmarks/curation_page.csv; the results that it makes are kept in FOLDER.

Times are by the clock, which others who use the machine lengthen: the last column is its load meanwhile. The column
`cpu` is what each step, or frame, took of all processors, browser and server together.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHON = str(ROOT / ".venv/bin/python")
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import numpy as np
from browser import new_page
from made_results import label_movie, write_dataset

N_CELLS = {512: 60, 1024: 200, 2048: 500, 4096: 1500}
N_FRAMES = 24
N_STEPS = 30
# JavaScript that gives milliseconds, a list, or a number.
HELP = """
  const { state } = await import("/page/state.js");
  const image = document.getElementById("image");
  const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const shows = (frame) => new Promise((resolve) => {
    const look = () => image.dataset.frame === String(frame) && (watch.disconnect(), resolve());
    const watch = new MutationObserver(look);
    watch.observe(image, { attributes: true });
    look();
  });
"""
STEP = """
  const times = [];
  for (let at = 0; at < 30; at++) {
    await pause(150);
    const back = Math.floor(at / (state.fov.frames - 1)) % 2 === 1;
    const wanted = state.frame + (back ? -1 : 1);
    const before = performance.now();
    press(back ? "ArrowLeft" : "ArrowRight");
    await shows(wanted);
    times.push(performance.now() - before);
  }
  return times;
"""
PLAY = """
  document.getElementById("speed").append(new Option("1000", "1000", true, true));
  let [count, last] = [0, image.dataset.frame];
  const { play } = await import("/page/timeline.js");
  play(true);
  const watch = new MutationObserver(() => {
    if (image.dataset.frame !== last) [last, count] = [image.dataset.frame, count + 1];
  });
  watch.observe(image, { attributes: true });
  const before = performance.now();
  await pause(4000);
  play(false);
  watch.disconnect();
  return (1000 * count) / (performance.now() - before);
"""
# A FOV that was not looked at before, and what is before it; then from its first frame to the last.
NEXT_FOV = """
  document.getElementById("speed").append(new Option("1000", "1000", true, true));
  const fov = state.fov.fov + 1;
  press("PageDown");
  while (!(image.dataset.drawn ?? "").endsWith(` ${fov} ${state.frame}`)) await pause(2);
"""
AT_ONCE = NEXT_FOV
AFTER_A_WHILE = NEXT_FOV + "await pause(3000);"
# As above, in 16 bits: darker than what was measured as black is told apart.
OUT_OF_RANGE = """
  const { changed } = await import("/page/state.js");
  state.channels[0].low = 0;
  changed("channels");
  await pause(3000);
"""
FIRST = """
  const { play } = await import("/page/timeline.js");
  const before = performance.now();
  play(true);
  await shows(state.fov.frames - 1);
  play(false);
  const rate = (1000 * (state.fov.frames - 1)) / (performance.now() - before);
  press("Home");
  await shows(0);
  return rate;
"""
DECIDE = """
  const { decide } = await import("/page/decisions.js");
  const times = [];
  for (let at = 0; at < 20; at++) {
    const before = performance.now();
    await decide(at % 2 ? "good" : "bad", { cell: state.fov.cells.n[at + 20], frame: 0 });
    times.push(performance.now() - before);
    await pause(100);
  }
  return times;
"""
OPEN = """
  const times = [];
  for (let at = 0; at < 6; at++) {
    const [key, fov] = at % 2 ? ["PageDown", 4] : ["PageUp", 3];
    const before = performance.now();
    press(key);
    while (!(image.dataset.drawn ?? "").endsWith(` ${fov} ${state.frame}`)) await pause(2);
    times.push(performance.now() - before);
    await pause(500);
  }
  return times;
"""
LIST = """
  const { askJson } = await import("/page/ask.js");
  const times = [];
  for (let at = 0; at < 5; at++) {
    const before = performance.now();
    await askJson("results");
    times.push(performance.now() - before);
  }
  return times;
"""
# How often the browser shows anything anew on this machine just now: nothing can be played faster.
EMPTY = """
  let count = 0;
  const before = performance.now();
  while (performance.now() - before < 2000) {
    await new Promise(requestAnimationFrame);
    count += 1;
  }
  return (1000 * count) / (performance.now() - before);
"""
BYTES = 'return (await import("/page/frames.js")).keptBytes() / 2 ** 20;'


def make(folder: Path) -> None:
    """Six FOVs of each size, and a hundred of 180 small frames."""
    for size, n_cells in N_CELLS.items():
        if not (folder / f"s{size}/d/qc.csv").exists():
            write_dataset(folder / f"s{size}", "d", label_movie(N_FRAMES, size, n_cells), fovs=6, linked=True)
    if not (folder / "many/d/qc.csv").exists():
        write_dataset(folder / "many", "d", label_movie(180, 96, 9), fovs=100, linked=True)


def row(what: str, size: str, times: Any, limit: str, cpu_ms: float | None = None) -> dict[str, Any]:
    values = np.atleast_1d(times)
    middle, high = np.percentile(values, [50, 95])
    unit = {"what": what, "of": size, "median": f"{middle:.1f}", "p95": f"{high:.1f}" if len(values) > 1 else ""}
    cpu = "" if cpu_ms is None else f"{cpu_ms:.1f}"
    return {**unit, "wanted": limit, "cpu": cpu, "load": f"{os.getloadavg()[0]:.1f}"}


def disk_ms(folder: Path) -> list[float]:
    """How long the disk takes to keep a line, which is a part of each decision."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(20):
            before = time.perf_counter()
            file.write(b"x" * 300)
            file.flush()
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - before))
    return times


def cpu_ms() -> float:
    """User and system time of all processes below this one, so far."""
    parents, times = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)], times[int(folder.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    below, waiting = 0.0, [os.getpid()]
    while waiting:
        one = waiting.pop()
        children = [child for child, parent in parents.items() if parent == one]
        below += sum(times[child] for child in children)
        waiting += children
    return 1000 * below / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, size: str) -> list[dict[str, Any]]:
    command = [PYTHON, ROOT / "scripts/curate.py", folder, "--no-browser", "--port", "0", "--author", "bench"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = re.search(r"http://\S+", server.stdout.readline())
    assert address
    rows = []
    try:
        with new_page(width=1920, height=1080) as page:
            page.set_default_timeout(120_000)

            def run(script: str) -> Any:
                return page.evaluate(f"async () => {{ {HELP} {script} }}")

            if size != "many":
                page.goto("about:blank")
                rows.append(row("an empty page, frames/s", size, page.evaluate(f"async () => {{ {EMPTY} }}"), ""))
            page.goto(f"{address[0]}&dataset=d&fov=0")
            page.locator("#image[data-drawn]").wait_for()

            if size == "many":
                return [row("list of 100 FOVs x 180 frames, ms", "96", run(LIST), "1000")]
            rounds = [("at once", AT_ONCE), ("3 s after the FOV was opened", AFTER_A_WHILE)]
            rounds += [("contrast beyond what was measured", OUT_OF_RANGE)]
            for name, prepare in rounds:
                rates, spent = [], 0.0
                for _ in range(1 if prepare == OUT_OF_RANGE else 2):
                    run(prepare)
                    before = cpu_ms()
                    rates.append(run(FIRST))
                    spent += cpu_ms() - before
                what = f"playback of frames not seen before, {name}, frames/s"
                rows.append(row(what, size, rates, "30 at 2048, 60 at 1024", spent / len(rates) / N_FRAMES))
                print(*rows[-1].values(), sep="\t", flush=True)
            run('document.querySelector(".contrast button").click(); await pause(500);')
            for name, script, limit in (
                ("step of a frame with outlines, ms", STEP, "30, 60 at 2048"),
                ("playback with outlines, frames/s", PLAY, "30 at 2048, 60 at 1024"),
                ("a FOV opened, ms", OPEN, "500"),
                ("decision acknowledged, ms", DECIDE, "50"),
                ("pictures kept by the page, MiB", BYTES, "192"),
            ):
                before = cpu_ms()
                found = run(script)
                steps = {
                    STEP: N_STEPS,
                    PLAY: 4 * float(np.max(found)) + 1e-9,
                    DECIDE: 20,
                    OPEN: 6,
                }.get(script)
                rows.append(row(name, size, found, limit, steps and (cpu_ms() - before) / steps))
                print(*rows[-1].values(), sep="\t", flush=True)
                if script == DECIDE:
                    rows.append(row("a line written and kept by the disk, ms", size, disk_ms(folder), ""))
            status = Path(f"/proc/{server.pid}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
            rows.append(row("memory of the server, MiB", size, peak, "300"))
    finally:
        server.terminate()
        server.wait()
    return rows


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        make(folder)
        rows = []
        for size in (*map(str, N_CELLS), "many"):
            rows += measure(folder / ("many" if size == "many" else f"s{size}"), size)
    with open(ROOT / "benchmarks/curation_page.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
