"""Draw the pictures of the demo that README shows: docs/demo.png, docs/report.png, docs/pictures.png.

Usage, after `make demo`: .venv/dev/bin/python benchmarks/draw_readme.py

The demo is run once more, with two samples and a fit, in a folder that is removed afterwards. Needs Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
CONFIG = {
    "datasets": {"demo_nd2": str(ROOT / "demo/demo.nd2")},
    "channels": {
        "pc": {"channel": 0, "features": ["area", "aspect_ratio"]},
        "fl": [
            {"channel": 1, "features": ["intensity_total", "intensity_mean"]},
            {"channel": 2, "features": ["intensity_total"]},
        ],
    },
    "samples": [{"name": "control", "fovs": "0"}, {"name": "treated", "fovs": "1"}],
    "fits": [{"channel": 1, "feature": "intensity_total", "model": "maturation"}],
    "pictures": {"fl": 1},
    "output_dir": "results",
}
COLUMN = "intensity_total_ch_1"
WINDOW = {"width": 1366, "height": 1340}  # of the report
MOVIE_FRAME, SIDE = 18, 440  # of the movie: a frame, and how much of it is shown


def run(folder: Path) -> Path:
    """Run the workflow in `folder`; returns the folder of the dataset's results."""
    (folder / "readme.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    command = [ROOT / ".venv/bin/snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", "2"]
    subprocess.run([*command, "--configfile", folder / "readme.yaml", "--", "all", "pictures"], check=True)
    return folder / "results/demo_nd2"


def draw_report(page: Path, output: Path) -> None:
    """The upper part of the report, with a cell whose fit tells its parameters."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport=WINDOW)
        tab.goto(page.as_uri())
        tab.locator("body[data-ready]").wait_for()
        tab.select_option("#fov", "1")
        tab.evaluate("scrollTo(0, 0)")
        tab.screenshot(path=output)
        browser.close()


def draw_pictures(results: Path, output: Path) -> None:
    """A part of a frame of the movie, beside the plot of the traces."""
    movie = Image.open(results / "fov_000/demo_nd2_fov_000_overlay.gif")
    movie.seek(MOVIE_FRAME)
    frame = movie.convert("RGB").crop((0, movie.height - SIDE, SIDE, movie.height))
    plot = Image.open(results / f"pictures/traces_{COLUMN}.png").convert("RGB")
    plot = plot.resize((plot.width * SIDE // plot.height, SIDE), Image.Resampling.LANCZOS)
    both = Image.new("RGB", (SIDE + 20 + plot.width, SIDE), "white")
    both.paste(frame, (0, 0))
    both.paste(plot, (SIDE + 20, 0))
    both.save(output)


def main() -> None:
    demo = ROOT / "demo/traces.png"
    if not demo.exists():
        sys.exit("run `make demo` first")
    shutil.copy(demo, ROOT / "docs/demo.png")
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder))
        draw_report(results / "report.html", ROOT / "docs/report.png")
        draw_pictures(results, ROOT / "docs/pictures.png")


if __name__ == "__main__":
    main()
