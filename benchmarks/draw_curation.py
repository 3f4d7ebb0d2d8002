"""Draw the pictures of the curation page that docs/curation.md shows: docs/curation.png, docs/curation_join.png.

Usage, after `make demo` and a run of it: .venv/dev/bin/python benchmarks/draw_curation.py [RESULTS]

RESULTS: results of the demo, `results` unless told otherwise; they are copied, and not changed. Needs Chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from browser import new_page

from celltraces.runs.last_run import LAST_RUN

PLACE = "dataset=demo_nd2&fov=1&frame=18"
CHOSEN, BAD = 17, 13  # cells of this FOV


def keep(tab: Any, output: Path) -> None:
    """Save what the page shows, when it shows it at rest."""
    tab.wait_for_timeout(1500)
    tab.screenshot(path=output)
    picture = Image.open(output).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(output, optimize=True)


def press(tab: Any, key: str) -> None:
    """Press a key that decides something, and wait until that is saved."""
    before = int(tab.locator("body").get_attribute("data-saved") or 0)
    tab.keyboard.press(key)
    tab.locator(f'body[data-saved="{before + 1}"]').wait_for()


def draw(address: str) -> None:
    with new_page(width=1280, height=760) as tab:
        tab.goto(f"{address}&{PLACE}&cell={BAD}")
        tab.locator("body[data-ready=yes]").wait_for()
        press(tab, "b")
        tab.evaluate(f'location.hash = "{PLACE}&cell={CHOSEN}"')
        tab.locator("#chosen", has_text=f"cell {CHOSEN}:").wait_for()
        press(tab, "x")
        tab.keyboard.press("2")
        keep(tab, ROOT / "docs/curation.png")
        press(tab, "s")
        tab.keyboard.press("f")
        for _ in range(3):
            tab.keyboard.press("+")
        tab.keyboard.press("j")
        keep(tab, ROOT / "docs/curation_join.png")


def main() -> None:
    results = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "results")
    if not (results / "demo_nd2/qc.csv").exists():
        sys.exit(f"{results}: no results of the demo; run `make demo` and the workflow first")
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "results"
        shutil.copytree(results, copy, ignore=shutil.ignore_patterns("edits", LAST_RUN, ".lock"))
        command = [ROOT / ".venv/bin/python", ROOT / "scripts/curate.py", copy, "--no-browser", "--port", "0"]
        server = subprocess.Popen([*command, "--author", "anna"], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline())
            assert address
            draw(address[0])
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
