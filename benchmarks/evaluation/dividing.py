"""Kinds of simulated movies in which cells divide, or do what may pass for a division."""

from dataclasses import replace

from evaluation import real_outlines
from evaluation.label_movies import Settings

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

# To be drawn and segmented: cells as large as the closing and opening of the defaults are made for.
_LARGE = replace(PLAIN, n_frames=40, size=640, radius=22)
TO_SEGMENT = {
    "sparse": replace(_LARGE, n_cells=16),
    "medium": replace(_LARGE, n_cells=36),
    "dense": replace(_LARGE, n_cells=70),
    "none divides, pairs that come apart": replace(_LARGE, n_cells=16, pairs=8, dividing=0),
    "none divides, medium": replace(_LARGE, n_cells=45, dividing=0, step=4),
    "none divides, dense": replace(_LARGE, n_cells=80, dividing=0, step=3),
}
# The first three as densely in a smaller and shorter movie, in which nearly all cells divide.
TO_SEGMENT_SMALL = {
    name: replace(TO_SEGMENT[name], n_frames=18, size=384, n_cells=n_cells, dividing=0.9)
    for name, n_cells in {"sparse": 6, "medium": 13, "dense": 25}.items()
}

_REAL = real_outlines.Settings()
_NONE = replace(_REAL, n_cells=40, dividing=0)
REAL_OUTLINES = {
    "plain": _REAL,
    "dense": replace(_REAL, n_cells=100, area=300),
    "dense, touching cells run together": replace(_REAL, n_cells=85, area=300, joined=0.3),
    "denser, half of them run together": replace(_REAL, n_cells=110, area=280, joined=0.5),
    "mothers that do not round up": replace(_REAL, rounding=0, rounded=1.0, rough=0.4),
    "ellipses that do not round up": replace(_REAL, rounding=0, rounded=1.0, ellipses=True),
    "rough outlines": replace(_REAL, rough=1.0, rounding=3),
    "round for one frame": replace(_REAL, rounding=1, lobes=0),
    "round for eight frames, three of them with lobes": replace(_REAL, rounding=8, lobes=3, leaving=0.04),
    "long intervals": replace(_REAL, step=4, rounding=1, lobes=0, apart=1.6, leaving=0.2),
    "unequal daughters": replace(_REAL, unequal=0.3),
    "some die": replace(_REAL, dying=0.4, dividing=0.3),
    "some meet and part": replace(_REAL, n_cells=36, meeting=12, dividing=0.3),
    "divisions beside each other": replace(_REAL, n_cells=60, beside=12),
    "at the edge, in the first and last frames": replace(_REAL, at_edge=5, early=5, late=5, entering=5),
    "missed when they divide": replace(_REAL, missed_at_division=0.3, missed=0.03),
    "the stage jumps": replace(_REAL, jump=60),
    "all of it": replace(
        _REAL,
        n_cells=60,
        meeting=8,
        dying=0.15,
        dividing=0.4,
        entering=6,
        joined=0.25,
        missed=0.02,
        missed_at_division=0.1,
        beside=4,
    ),
    "none divides, some meet and part": replace(_NONE, meeting=18, joined=0.3),
    "none divides, dense": replace(_NONE, n_cells=100, area=300, joined=0.4),
    "none divides, all die": replace(_NONE, dying=0.9),
    "none divides, all die in two": replace(_NONE, dying=0.9, in_two=True),
    "none divides, all die, pieces stay": replace(_NONE, dying=0.9, remains=True),
    "none divides, several sizes meet and part": replace(_NONE, meeting=18, joined=0.3, area_spread=0.4),
    "none divides, many come in": replace(_NONE, n_cells=50, entering=25, joined=0.3, missed=0.08, step=3),
}
