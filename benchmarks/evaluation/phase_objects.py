"""Movies of cells that delay light, seen by phase contrast, with their truth.

What a cell is, and how it is seen, were laid down without looking at the methods that are measured or at the other
simulators. It shows what those do not: cells that round up, divide, meet, die and are left by the stage in pictures
that optics made of them, so that thick mothers and daughters are white or black, and the halos of neighbours add up.
(evaluation.label_movies has labels, around which evaluation.phase_contrast paints halos; evaluation.flat_cells, which
computes the optics more exactly, has single pictures of large cells.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from evaluation.label_movies import TrueDivision, in_sight
from evaluation.phase_cells import Course, Settings, divide, first_cells, move
from evaluation.phase_drawing import draw, scattered
from evaluation.phase_optics import Optics, photographed


class Movie(NamedTuple):
    """images: T (H, W) uint16. cells: T (H, W) uint16, true numbers. light: T (H, W) float64, fluorescence of the
    cells before optics spread it, counts."""

    images: list[np.ndarray]
    cells: list[np.ndarray]
    light: list[np.ndarray]
    divisions: list[TrueDivision]


def simulate(settings: Settings, seed: int) -> Movie:
    """The movie of these settings and this seed."""
    rng = np.random.default_rng([seed, 61])
    cells, debris = first_cells(settings, rng), scattered(settings, rng)
    movie = Movie([], [], [], [])
    number = len(cells)
    for frame in range(settings.n_frames):
        cells, divisions = divide(cells, number, frame, settings, rng)
        number += 2 * len(divisions)
        if frame:
            move(cells, frame, settings, rng)
        drawn = draw(cells, debris, frame, settings)
        movie.images.append(photographed(drawn.phase, settings.optics, rng))
        movie.cells.append(drawn.labels)
        movie.light.append(drawn.light)
        movie.divisions.extend(divisions)
    return movie._replace(divisions=in_sight(movie.divisions, movie.cells))


_PICTURE = Settings(n_frames=1)
PICTURES = {
    "round": replace(_PICTURE, radius=15, length=1.15, waviness=0.03, phase=0.8, optics=Optics(halo=5)),
    "long": replace(_PICTURE, n_cells=22, length=2.8, optics=Optics(halo=7)),
    "flat": replace(
        _PICTURE,
        shape=(520, 620),
        n_cells=12,
        radius=34,
        length=1.4,
        waviness=0.14,
        phase=0.35,
        rim=10,
        granules=0.15,
        optics=Optics(halo=9),
    ),
    "sheet": replace(
        _PICTURE,
        n_cells=80,
        radius=17,
        length=1.15,
        waviness=0.07,
        apart=0.9,
        touching=0.92,
        phase=0.6,
        optics=Optics(halo=5),
    ),
    "dense": replace(_PICTURE, shape=(512, 512), n_cells=120, length=1.3),
    "small": replace(_PICTURE, shape=(384, 384), n_cells=60, radius=8, length=1.3, rim=2.5, optics=Optics(halo=3)),
    "wide halos": replace(
        _PICTURE, n_cells=20, radius=18, phase=1.2, nucleus=0.6, granules=0.25, optics=Optics(halo=14, dimmed=0.45)
    ),
    "weak": replace(_PICTURE, contrast=0.35, optics=Optics(noise=0.02)),
    "uneven light, debris": replace(
        _PICTURE, n_cells=30, debris=40, optics=Optics("sharp ring", slope=0.3, vignette=0.3)
    ),
}

_MOVIE = Settings(n_frames=36, shape=(480, 540))
_MEDIUM = replace(_MOVIE, n_cells=45, dividing=0.5, touching=1.0)
MOVIES = {
    "dividing, sparse": replace(_MOVIE, shape=(420, 480), n_cells=20, dividing=0.6),
    "dividing, medium": _MEDIUM,
    "dividing, dense": replace(_MOVIE, shape=(512, 512), n_cells=80, dividing=0.35, touching=1.0),
    "dividing, mothers that do not round up": replace(
        _MOVIE, n_cells=30, dividing=0.5, course=Course(rounds_up=False, rounding=(1, 2), lobed=(1, 5), leaving=1.5)
    ),
    "dividing, unequal daughters": replace(_MOVIE, n_cells=30, dividing=0.5, course=Course(share=(0.33, 0.42))),
    "dividing, long intervals": replace(
        _MOVIE,
        n_frames=30,
        dividing=0.6,
        step=3,
        course=Course(rounding=(1, 2), lobed=(0, 1), leaving=8, spreading=(1, 3)),
    ),
    "dividing, short intervals": replace(
        _MOVIE,
        n_frames=60,
        shape=(420, 480),
        dividing=0.5,
        step=0.6,
        course=Course(rounding=(5, 9), lobed=(3, 6), leaving=1, spreading=(8, 14)),
    ),
    "dividing, flat cells": replace(
        PICTURES["flat"],
        n_frames=32,
        shape=(600, 640),
        n_cells=16,
        waviness=0.12,
        dividing=0.6,
        granules=0.18,
        course=Course(rounded=0.35),
    ),
    "dividing, thick is dark": replace(
        _MOVIE, n_cells=30, dividing=0.5, phase=1, optics=Optics("thick is dark", halo=4)
    ),
    "dividing, the stage jumps": replace(_MEDIUM, n_frames=24, n_cells=40, stage=((10, 0.3, 0.2),)),
    "some meet and part": replace(_MOVIE, shape=(420, 480), n_frames=32, n_cells=24, meeting=8),
    "half of them die": replace(_MOVIE, n_frames=30, n_cells=30, dying=0.5),
    "the stage jumps by half a picture": replace(
        _MOVIE, n_frames=20, shape=(480, 480), n_cells=30, stage=((10, 0, 0.5),)
    ),
    "the stage goes away and comes back": replace(
        _MOVIE,
        n_frames=22,
        shape=(480, 480),
        n_cells=30,
        stage=((8, 0.8, 0.9), (9, 0, 0), (14, 0.3, -0.3), (16, 0, 0)),
    ),
}

EVALUATED = (  # of these, by `make evaluate`; benchmarks/divisions.py does all
    *("dividing, medium", "dividing, dense", "dividing, mothers that do not round up", "dividing, long intervals"),
    *("half of them die", "the stage goes away and comes back"),
)
