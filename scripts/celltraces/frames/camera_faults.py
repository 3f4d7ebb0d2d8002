"""Find what a camera or a file format did to pixels: lines without an image of their own, values that wrapped around.

Lines are looked for in the first frame that shows something. Later frames look at those lines alone, so that a movie
without any costs nothing more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celltraces.frames.coverage import Boxes

ATTRIBUTE = "dead_lines"  # of the array of a channel: {"columns": [...], "rows": [...]}
EVERY = 8  # of the pixels of a line one in so many is looked at before the others are
NOISY = 0.5  # share of equal neighbours, at most, in images with noise: of others lines are alike by nature
MOST = 0.05  # of all lines: of enlarged images half of the lines repeat their neighbours
LEAST_SIDE = 32  # px: shorter lines are alike by chance
FULL, HIGH, BEYOND, LOW, NEAR_LOW = 15 / 16, 3 / 4, 7 / 8, 1 / 8, 1 / 4  # of the values that so many bits hold
FEWEST_BITS = 8
EDGES, DARKER_EDGES = 10, 2  # places where values wrap around, and of these those darker than any background


class Lines(NamedTuple):
    """Columns and rows without an image of their own, (n,) intp each, sorted."""

    columns: np.ndarray
    rows: np.ndarray


def dead_lines(image: np.ndarray, uncovered: Boxes = (), known: Lines | None = None) -> Lines:
    """Columns and rows of an image (H, W) uint16 whose pixels are of one value, or repeat the line before them.

    known: those of earlier frames, of which the ones are returned that still are. Lines on which nothing was imaged
    (`uncovered`) do not count.
    """
    height, width = image.shape
    across = [x for y0, x0, y1, x1 in uncovered if y1 - y0 == height for x in range(x0, x1)]
    along = [y for y0, x0, y1, x1 in uncovered if x1 - x0 == width for y in range(y0, y1)]
    kept = (None, None) if known is None else known
    columns = _dead_rows(image.T, kept[0])
    rows = _dead_rows(image, kept[1])
    return Lines(np.setdiff1d(columns, across).astype(np.intp), np.setdiff1d(rows, along).astype(np.intp))


def _dead_rows(image: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Rows of an image (n, m) of one value or as the row before; known: the only ones to look at."""
    n, m = image.shape
    if min(n, m) < LEAST_SIDE:
        return np.zeros(0, np.intp)
    if known is None:
        some = np.ascontiguousarray(image[:, ::EVERY])
        same = some[1:] == some[:-1]
        if np.median(same.mean(axis=1)) > NOISY:
            return np.zeros(0, np.intp)
        one_value = (some == some[:, :1]).all(axis=1)
        known = np.flatnonzero(one_value | np.r_[False, same.all(axis=1)])
    found = [at for at in known.tolist() if _is_dead(image, at)]
    return np.array(found if len(found) <= MOST * n else [], np.intp)


def _is_dead(image: np.ndarray, at: int) -> bool:
    line = image[at]
    return bool((line == line[0]).all() or (at and (line == image[at - 1]).all()))


def wrapped_edges(image: np.ndarray, counts: np.ndarray) -> int:
    """Places of an image (H, W) uint16 where values go beyond the highest of 8 to 16 bits and begin anew from 0.

    counts: (n,) number of pixels by value. Along rows, from one pixel to the next, values fall from nearly the highest
    to nearly the lowest, while optics spread the light of real edges over several pixels; and some are far darker than
    the background. 0 where there are so few that hot pixels could be it, and where the background itself is at 0.
    """
    highest = len(counts) - 1
    full = 1 << highest.bit_length()
    if full < 1 << FEWEST_BITS or highest < FULL * full:
        return 0
    beyond, low = int(BEYOND * full), int(LOW * full)
    if counts[beyond:].sum() < EDGES or counts[:low].sum() < EDGES:
        return 0
    cumulated = np.cumsum(counts)
    tenth, half = np.searchsorted(cumulated, (0.1 * cumulated[-1], 0.5 * cumulated[-1]))
    darker = tenth - 3 * max(int(half - tenth), 1)
    edges = n_darker = 0
    y, x = np.divmod(np.flatnonzero(image >= beyond), image.shape[1])
    inside = (x >= 2) & (x < image.shape[1] - 2)
    y, x = y[inside], x[inside]
    for step in (-1, 1):
        before, first, after = image[y, x - step], image[y, x + step], image[y, x + 2 * step]
        falls = (first <= low) & (before >= HIGH * full) & (after <= NEAR_LOW * full)
        edges += int(np.count_nonzero(falls))
        n_darker += int(np.count_nonzero(first[falls] < darker))
    return edges if edges >= EDGES and n_darker >= DARKER_EDGES else 0
