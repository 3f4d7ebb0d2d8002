"""What each method of segmentation and tracking is worth, and what it costs.

Usage: python benchmarks/evaluate.py [FOLDER ...] [--ctc PATH] [--to FOLDER] [--method TEXT] [--set TEXT]
(make evaluate; make evaluate CTC=PATH; make evaluate ONLY="--method deepsea --set t98g")

Without --ctc: simulated sets of rising difficulty, and FOLDERs of pairs NN_phase.tif and NN_cells.png (labels), those
that are there. With it, only the sequences of a folder in the layout of the Cell Tracking Challenge. Writes
evaluation.csv, evaluation.png and evaluation.md into the folder --to; of a page evaluation.md that is there the part
between the two comments alone. With --method or --set only methods and sets are measured whose name holds TEXT; their
rows take the place of the old ones in evaluation.csv, and the others stay. No other sets are drawn.
Methods that are not installed are left out, and said to be.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in a job; idle threads would count

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from evaluation import challenge, chart, movies, trackers
from evaluation.movies import Movie
from evaluation.overlaps import light, score
from evaluation.segmenting import segmented, segmenters

from celltraces.errors import UserError
from celltraces.segmentation.methods import Segment

PEERS = Path(os.environ.get("CELLTRACES_PEERS", ROOT / ".venv/peers"))
BTRACK = PEERS / "btrack" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
Row = dict[str, object]
COLUMNS = (
    *("what", "set", "method", "frames", "cells", "SEG", "F1", "area", "intensity_mean", "intensity_total"),
    *("DET", "TRA", "LNK", "division recall", "division precision", "CPU s/frame"),
)
BEGIN, END = "<!-- made by make evaluate: begin -->", "<!-- made by make evaluate: end -->"


def linkers() -> dict[str, trackers.Tracker]:
    """The trackers that are here."""
    found = {"iou": trackers.by_overlap, "iou, labels alone": trackers.by_overlap_alone}
    if BTRACK.is_file():
        found["btrack"] = partial(trackers.by_btrack, BTRACK)
    else:
        print("btrack is left out: run `make .venv/peers/btrack/.done`", flush=True)
    for name, track in (("laptrack", trackers.by_laptrack), ("trackpy", trackers.by_trackpy)):
        if find_spec(name):
            found[name] = track
        else:
            print(f"{name} is left out: run `make .venv/peers/evaluate/.done`", flush=True)
    return found


def outlines_row(movie: Movie, labels: Sequence[np.ndarray]) -> Row:
    """F1, and the medians of area and light by what is true, of the frames whose true outlines are known."""
    truth = movie.outlines or ({} if movie.reference else dict(enumerate(movie.cells)))
    scores = {frame: score(labels[frame], true) for frame, true in truth.items()}
    if not scores:
        return {"cells": n_cells(movie)}
    right, found, cells = (
        sum(part) for part in zip(*((one.right, one.found, one.jaccard.size) for one in scores.values()), strict=True)
    )
    left = movie.light or dict.fromkeys(truth)
    lights = [light(labels[frame], true, scores[frame], left[frame]) for frame, true in truth.items()]
    means, totals = (np.concatenate(part) for part in zip(*lights, strict=True))
    areas = np.concatenate([one.area for one in scores.values()])
    row: Row = {"cells": cells}
    if movie.reference is None:  # else not all cells may be outlined
        row["F1"] = 2 * right / max(found + cells, 1)
    if areas.size:
        row |= {name: float(np.median(of)) for name, of in zip(COLUMNS[7:10], (areas, means, totals), strict=True)}
    return row


def segmentation_rows(name: str, movie: Movie, methods: Mapping[str, Callable[[], Segment]]) -> Iterator[Row]:
    """A row for each method: what it finds in the set `name`, numbered by `tracking_method: iou` if a movie."""
    for method, new in methods.items():
        assert movie.images is not None
        labels, seconds = segmented(movie.images, new())
        row = outlines_row(movie, labels)
        if movie.divisions is None:
            row |= challenge.of_pictures(movie, labels)
        else:
            tracked, divisions, _ = trackers.by_overlap(labels, movie.movement, False)
            row |= challenge.of_movie(movie, tracked, divisions)
        row["CPU s/frame"] = seconds
        yield {"what": "segmentation", "set": name, "method": method, "frames": len(labels), **row}


def tracking_rows(name: str, movie: Movie, methods: Mapping[str, trackers.Tracker]) -> Iterator[Row]:
    """A row for each method, given the true regions, or those in `movie.found`, under other numbers in each frame."""
    labels = [shuffled(image, frame) for frame, image in enumerate(movie.found or movie.cells)]
    movement = movie.movement
    for method, track in methods.items():
        tracked, divisions, seconds = track(labels, movement, bool(movie.divisions))
        row = challenge.of_movie(movie, tracked, divisions)
        row.pop("SEG", None)  # of true outlines
        row |= {"cells": n_cells(movie), "CPU s/frame": seconds / len(labels)}
        yield {"what": "tracking", "set": name, "method": method, "frames": len(labels), **row}


def n_cells(movie: Movie) -> int:
    """True cells of all frames."""
    return sum(np.unique(cells[cells > 0]).size for cells in movie.cells)


def shuffled(labels: np.ndarray, seed: int) -> np.ndarray:
    """The same regions under other numbers, so that these tell nothing. (H, W) uint16."""
    numbers = np.unique(labels)
    numbers = numbers[numbers > 0]
    new = np.zeros(int(labels.max()) + 1, np.uint16)
    new[numbers] = 1 + np.random.default_rng(seed).permutation(numbers.size)
    return new[labels]


def tables(rows: Iterable[Row]) -> str:
    """The rows as two tables in Markdown, without columns that are empty."""
    rows, text = list(rows), []
    for what in ("segmentation", "tracking"):
        mine = [row for row in rows if row["what"] == what]
        columns = [name for name in COLUMNS[1:] if any(name in row for row in mine)]
        if mine:
            text += [f"**{what.capitalize()}**", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            text += [f"| {' | '.join(map(shown, map(row.get, columns)))} |" for row in mine] + [""]
    return "\n".join(text)


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value < 10 else f"{value:.1f}"
    return "" if value is None else str(value)


def write(rows: Sequence[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "evaluation.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows({name: shown(value) for name, value in row.items()} for row in rows)
    page = folder / "evaluation.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{tables(rows)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    chart.draw(rows, folder / "evaluation.png")


def renewed(rows: Sequence[Row], path: Path) -> list[Row]:
    """The rows of the table at `path`, those that were measured again in the place of the old ones, new ones last."""
    with open(path, newline="", encoding="utf-8") as file:
        old = [{name: _value(name, text) for name, text in row.items() if text} for row in csv.DictReader(file)]
    by_name = {tuple(row[name] for name in COLUMNS[:3]): row for part in (old, rows) for row in part}
    return sorted(by_name.values(), key=lambda row: row["what"])  # type: ignore[arg-type,return-value]


def _value(name: str, text: str) -> str | int | float:
    if name in COLUMNS[:3]:
        return text
    return int(text) if name in COLUMNS[3:5] else float(text)


def sets(folders: Sequence[Path], ctc: Path | None) -> tuple[movies.Sets, movies.Sets]:
    """Those to segment and those to track, by name, none of which is drawn yet."""
    if ctc:
        sequences: movies.Sets = {name: lambda movie=movie: movie for name, movie in movies.of_challenge(ctc).items()}
        return sequences, sequences
    to_segment = movies.to_segment() | movies.by_optics()
    for folder in folders:
        if folder.is_dir():
            to_segment[folder.name] = partial(movies.annotated, folder)
        else:
            print(f"{folder} is not there, and left out", flush=True)
    return to_segment, movies.to_track()


def asked_for(of: movies.Sets, text: str) -> list[tuple[str, Callable[[], Movie]]]:
    """The sets that have this text in their names."""
    return [(name, draw) for name, draw in of.items() if text in name]


def main(folders: Sequence[Path], ctc: Path | None, to: Path, method: str = "", of_set: str = "") -> None:
    cv2.setNumThreads(1)
    table = to / "evaluation.csv"
    if (method or of_set) and not table.is_file():
        raise UserError(f"{str(table)!r} is not there: without --method and --set all is measured first")
    to_segment, to_track = sets(folders, ctc)
    rows: list[Row] = []

    def evaluate(of: Iterable[Row]) -> None:
        for row in of:
            rows.append(row)
            print(*(f"{name}: {shown(value)}" for name, value in row.items()), sep="  ", flush=True)

    all_segment = segmenters()
    segment, track = ({name: of[name] for name in of if method in name} for of in (all_segment, linkers()))
    for name, draw in asked_for(to_segment, of_set) if segment else ():
        movie = draw()
        evaluate(segmentation_rows(name, movie, segment))
        if name in {folder.name for folder in folders} and not ctc:
            to.mkdir(parents=True, exist_ok=True)
            chart.draw_outlines(movie, all_segment, to / "outlines.png")
    for name, draw in asked_for(to_track, of_set) if track else ():
        evaluate(tracking_rows(name, draw(), track))
    if not rows:
        raise UserError(f"no method has {method!r} in its name, or no set {of_set!r}: nothing was measured")
    write(renewed(rows, table) if method or of_set else rows, to)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--ctc", type=Path)
    parser.add_argument("--to", type=Path, default=Path("evaluation"))
    parser.add_argument("--method", default="", metavar="TEXT", help="measure only methods with TEXT in their name")
    parser.add_argument("--set", default="", metavar="TEXT", help="measure only sets with TEXT in their name")
    given = parser.parse_args()
    try:
        main(given.folders, given.ctc, given.to, given.method, given.set)
    except UserError as error:
        sys.exit(str(error))
