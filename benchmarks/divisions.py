"""How many divisions are found, and how many wrong ones, on simulated movies of labels.

Usage: python benchmarks/divisions.py [SEEDS]

SEEDS movies of each kind (3 if not given). Neither these seeds nor these kinds were looked at when the constants of
celltraces.tracking.divisions were chosen. Prints a line for each kind: true divisions, those of them in the last two
frames, the share found, wrong ones, and the share of those found that is right. Divisions are looked for as the
workflow does by default.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from evaluation.dividing import KINDS
from evaluation.linking import link

from demo.dividing import Movie, Score, score, simulate

FIRST_SEED = 1000


def scored(movie: Movie) -> Score:
    tracked, divisions = link(list(movie.labels))
    return score(movie, np.stack(tracked), divisions)


def line(name: str, of: Score) -> str:
    recall, precision = of.found / max(of.true, 1), of.found / max(of.found + of.wrong, 1)
    return f"{name:40} {of.true:5} {of.late:4} {recall:6.3f} {of.wrong:4} {precision:6.3f}"


def main(n_seeds: int = 3) -> None:
    print(f"{'':40} {'true':>5} {'late':>4} {'found':>6} {'wrong':>4} {'right':>6}")
    total = Score(0, 0, 0, 0)
    for name, settings in KINDS.items():
        of_kind = Score(0, 0, 0, 0)
        for seed in range(FIRST_SEED, FIRST_SEED + n_seeds):
            of_kind = Score(*map(sum, zip(of_kind, scored(simulate(settings, seed)), strict=True)))
        print(line(name, of_kind), flush=True)
        total = Score(*map(sum, zip(total, of_kind, strict=True)))
    print(line("all", total))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
