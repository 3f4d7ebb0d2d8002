"""How many divisions are found, and how many wrong ones, on simulated movies: of labels, and after segmentation.

Usage: python benchmarks/divisions.py [SEEDS] [--first SEED] [--kind TEXT] [--outlines FOLDER] [--method NAME]

SEEDS movies of each kind (3 if not given), of kinds that have TEXT in their name, with the seeds from SEED on (1000).
The kinds of labels were not looked at when the constants of celltraces.tracking.division_rules were chosen, but
"segmented, plain" was, with the seeds 1000 to 1005, and so were movies like the "phase objects".

- Kinds of labels start from what a segmentation would have found.
- "real outlines" are those of a second simulator, with the outlines of cells in pictures NN_cells.png of FOLDER (with
  NN_phase.tif beside them, as make evaluate takes them); left out without FOLDER.
- "phase objects" are cells that delay light, seen by phase contrast (evaluation.phase_objects), segmented by NAME.
- "segmented": phase contrast is drawn, in several looks, and segmented by NAME (`logstd, cell` if not given; or
  `logstd, halo`, `pyama`, `deepsea`, which takes hours).

Prints a line for each kind: true divisions, those of them in the last two frames, the share found, wrong ones, and the
share of those found that is right; CPU seconds, all included. Divisions are looked for as the workflow does by default,
and one is right whenever it is found, as long as mother and daughters are right (evaluation.label_movies.score).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in a job

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from evaluation import phase_objects, real_outlines
from evaluation.dividing import KINDS, REAL_OUTLINES, TO_SEGMENT
from evaluation.label_movies import Movie, Score, Settings, score, simulate
from evaluation.linking import link, movement
from evaluation.phase_contrast import LOOKS, Look, draw
from evaluation.segmenting import segmented, segmenters

from celltraces.errors import UserError
from celltraces.segmentation.methods import Segment


def of_labels(new_movie: Callable[[int], Movie], seed: int) -> Score:
    movie = new_movie(seed)
    tracked, divisions = link(list(movie.labels))
    return score(movie, np.stack(tracked), divisions)


def of_images(settings: Settings, look: Look, new: Callable[[], Segment], seed: int) -> Score:
    """The cells drawn, segmented and linked, with the movement of the stage that the images show."""
    movie = simulate(settings, seed)
    return _of_segmented(movie, draw(movie.cells, movie.divisions, look, seed), new)


def of_phase_objects(settings: phase_objects.Settings, new: Callable[[], Segment], seed: int) -> Score:
    movie = phase_objects.simulate(settings, seed)
    cells = np.stack(movie.cells)
    return _of_segmented(Movie(cells, cells, movie.divisions), movie.images, new)


def _of_segmented(movie: Movie, images: Sequence[np.ndarray], new: Callable[[], Segment]) -> Score:
    tracked, divisions = link(segmented(images, new())[0], movement(images))
    return score(movie, np.stack(tracked), divisions)


def kinds(outlines: Path | None, new: Callable[[], Segment]) -> Iterator[tuple[str, str, Callable[[int], Score]]]:
    """Group, name, and what scores the movie of a seed. new: gives a method of segmentation."""
    for name, settings in KINDS.items():
        yield "labels", name, partial(of_labels, partial(simulate, settings))
    real = None if outlines is None else real_outlines.real_outlines(outlines)
    for name, settings in {} if real is None else REAL_OUTLINES.items():
        yield "real outlines", name, partial(of_labels, partial(real_outlines.simulate, settings, real))
    for name, settings in phase_objects.MOVIES.items():
        yield "phase objects", name, partial(of_phase_objects, settings, new)
    for look_name, look in LOOKS.items():
        for name, settings in TO_SEGMENT.items():
            yield "segmented", f"{look_name}: {name}", partial(of_images, settings, look, new)


def line(name: str, of: Score, seconds: float) -> str:
    recall = f"{of.found / of.true:.3f}" if of.true else ""
    precision = f"{of.found / (of.found + of.wrong):.3f}" if of.found + of.wrong else ""
    return f"{name:66} {of.true:5} {of.late:4} {recall:>6} {of.wrong:5} {precision:>6} {seconds:6.1f}"


def main(n_seeds: int, first: int, text: str, outlines: Path | None, method: str) -> None:
    cv2.setNumThreads(1)
    methods = segmenters()
    if method not in methods:
        raise UserError(f"there is no method {method!r} of segmentation: choose one of {', '.join(map(repr, methods))}")
    if outlines is None:
        print("real outlines are left out: no --outlines FOLDER was given")
    print(f"{'':66} {'true':>5} {'late':>4} {'found':>6} {'wrong':>5} {'right':>6} {'CPU s':>6}")
    totals: dict[str, tuple[Score, float]] = {}
    for group, kind, scored in kinds(outlines, methods[method]):
        name = f"{group}, {kind}"
        if text not in name:
            continue
        start = time.process_time()
        of_kind = Score(*map(sum, zip(*map(scored, range(first, first + n_seeds)), strict=True)))
        seconds = time.process_time() - start
        print(line(name, of_kind, seconds), flush=True)
        before, before_s = totals.get(group, (Score(0, 0, 0, 0), 0.0))
        totals[group] = Score(*map(sum, zip(before, of_kind, strict=True))), before_s + seconds
    for group, (of, seconds) in totals.items():
        print(line(f"all of {group}", of, seconds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seeds", nargs="?", type=int, default=3, help="movies of each kind")
    parser.add_argument("--first", type=int, default=1000, metavar="SEED", help="of the first movie")
    parser.add_argument("--kind", default="", metavar="TEXT", help="only kinds with TEXT in their name")
    parser.add_argument("--outlines", type=Path, metavar="FOLDER", help="of pictures with outlines of real cells")
    parser.add_argument("--method", default="logstd, cell", metavar="NAME", help="of segmentation")
    given = parser.parse_args()
    try:
        main(given.seeds, given.first, given.kind, given.outlines, given.method)
    except UserError as error:
        sys.exit(str(error))
