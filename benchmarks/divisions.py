"""How many divisions are found, and how many wrong ones, on simulated movies of labels.

Usage: python benchmarks/divisions.py [SEEDS]

SEEDS movies of each kind (3 if not given). Neither these seeds nor these kinds were looked at when the constants of
celltraces.tracking.divisions were chosen. Prints a line for each kind: true divisions, those in the last two frames
(which nobody can confirm), the share found, of all and without these, wrong ones, and the share of those found that is
right. Divisions are looked for as the workflow does by default.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from celltraces.config.schema import load_schema
from celltraces.labels.regions import relabel
from celltraces.tracking import overlap
from celltraces.tracking.divisions import find_divisions, numbered, sightings_of
from celltraces.tracking.shapes import shapes
from demo.dividing import Movie, Score, Settings, score, simulate

FIRST_SEED = 1000
PLAIN = Settings(n_cells=22, n_frames=45, size=420, radius=11, radius_spread=0.12, length=1.5, dividing=0.6)
KINDS = {
    "plain": PLAIN,
    "dense": replace(PLAIN, n_cells=90, radius=9),
    "dense, touching cells run together": replace(PLAIN, n_cells=75, radius=9, joined=0.3),
    "pairs that come apart": replace(PLAIN, pairs=10, dividing=0.4),
    "pairs of cells of several sizes": replace(PLAIN, pairs=8, radius_spread=0.3, length=1.7),
    "cells in two parts for a moment": replace(PLAIN, splits=0.015),
    "missed cells": replace(PLAIN, missed=0.05),
    "cells of several sizes": replace(PLAIN, radius_spread=0.3),
    "large, irregular cells": replace(PLAIN, n_cells=16, radius=20, size=520, waviness=0.1, length=1.8),
    "small cells": replace(PLAIN, radius=5.5, n_cells=50, size=320),
    "fast cells": replace(PLAIN, step=2.5, leaving=0.2),
    "daughters that hardly leave each other": replace(PLAIN, leaving=0.02, spreading=0.03, apart=1.0),
    "mothers that do not round up": replace(PLAIN, rounding=0, rounded=1.0, length=1.3),
    "unequal daughters": replace(PLAIN, unequal=0.25),
    "all of it": replace(PLAIN, n_cells=45, pairs=5, joined=0.25, splits=0.01, missed=0.02, late=5, radius_spread=0.2),
}


def scored(movie: Movie) -> Score:
    params = {key: known["default"] for key, known in load_schema()["properties"]["params"]["properties"].items()}
    linking = ("min_iou", "min_size", "max_size", "max_gap", "iou", "split_touching")
    mappings = overlap.track(movie.labels, **{key: params[key] for key in linking})
    seen = sightings_of(mappings, list(map(shapes, movie.labels)), movie.labels.shape[2])
    dividing = ("max_gap", "division_roundness", "division_frames", "division_min_age")
    mappings, divisions = numbered(mappings, seen, find_divisions(seen, **{key: params[key] for key in dividing}))
    tracked = [relabel(image, mapping, np.uint16) for image, mapping in zip(movie.labels, mappings, strict=True)]
    return score(movie, np.stack(tracked), divisions)


def line(name: str, of: Score) -> str:
    recall, precision = of.found / max(of.true, 1), of.found / max(of.found + of.wrong, 1)
    in_time = of.found / max(of.true - of.late, 1)
    return f"{name:40} {of.true:5} {of.late:4} {recall:6.3f} {in_time:6.3f} {of.wrong:4} {precision:6.3f}"


def main(n_seeds: int = 3) -> None:
    print(f"{'':40} {'true':>5} {'late':>4} {'found':>6} {'':6} {'wrong':>4} {'right':>6}")
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
