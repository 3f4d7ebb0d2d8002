"""Kinds of simulated movies in which cells divide, or do what may pass for a division."""

from dataclasses import replace

from demo.dividing import Settings

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
