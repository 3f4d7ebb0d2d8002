"""Measure label images against true ones: overlap, area, and the light that would be measured within the outlines."""

from typing import NamedTuple

import cv2
import numpy as np

from celltraces.features.cell_features import grow_mask
from celltraces.labels.regions import regions

BLUR = 1.0  # px, standard deviation: how optics in focus spread light
LIGHT_MARGIN = 2  # px, the default of `light_margin`


class Score(NamedTuple):
    """Of one frame. jaccard: (N,) of the true cells. area: found / true, of the cells that have an object of their own;
    true, own: their numbers and those of their objects. The rest are numbers of cells or objects."""

    jaccard: np.ndarray
    area: np.ndarray
    true: np.ndarray
    own: np.ndarray
    right: int
    found: int
    together: int
    missed: int


def score(labels: np.ndarray, truth: np.ndarray) -> Score:
    """labels, truth: (H, W) whole numbers, 0 is background.

    An object belongs to a true cell if it covers more than half of it, as in the Cell Tracking Challenge: the mean of
    `jaccard` over all cells is SEG. right: objects and cells with more than half in common, by intersection over union.
    together: cells that share an object.
    """
    width = int(labels.max()) + 1
    pairs = np.bincount(
        truth.ravel().astype(np.int64) * width + labels.ravel(), minlength=(int(truth.max()) + 1) * width
    )
    shared = pairs.reshape(-1, width)
    true_area, area = shared.sum(axis=1), shared.sum(axis=0)
    cells = np.flatnonzero(true_area[1:]) + 1
    shared, true_area = shared[cells], true_area[cells]
    shared[:, 0] = 0
    best = shared.argmax(axis=1)
    most = shared[np.arange(cells.size), best]
    union = true_area + area[best] - most
    matched = 2 * most > true_area
    cells_of = np.bincount(best[matched], minlength=width)
    alone = matched & (cells_of[best] == 1)
    return Score(
        jaccard=np.where(matched, most / union, 0),
        area=area[best][alone] / true_area[alone],
        true=cells[alone],
        own=best[alone],
        right=int((shared > (true_area[:, None] + area - shared) / 2).any(axis=1).sum()),
        found=int((area[1:] > 0).sum()),
        together=int(cells_of[cells_of > 1].sum()),
        missed=int((~matched).sum()),
    )


def light(
    labels: np.ndarray, truth: np.ndarray, of: Score, left: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What `intensity_mean` and `intensity_total` of the cells in `of.true` would be, by what is true. (N,) each.

    left: (H, W) the light that leaves the true cells; if it is not given, all shine evenly. Optics spread it by BLUR.
    The true mean is that within the true outline, the true total all the light of the cell; the total is summed over
    LIGHT_MARGIN around the outline too.
    """
    left = (truth > 0 if left is None else left).astype(np.float32)
    shining = cv2.GaussianBlur(left, (0, 0), BLUR)
    found, _, box = regions(labels)
    boxes = dict(zip(found.tolist(), box.tolist(), strict=True))
    mean, total = np.empty(of.true.size), np.empty(of.true.size)
    true_area = np.bincount(truth.ravel())
    true_light, all_light = (np.bincount(truth.ravel(), of_cells.ravel()) for of_cells in (shining, left))
    for at, (cell, own) in enumerate(zip(of.true.tolist(), of.own.tolist(), strict=True)):
        y0, x0, y1, x1 = boxes[own]
        window = np.s_[
            max(y0 - LIGHT_MARGIN, 0) : y1 + LIGHT_MARGIN,
            max(x0 - LIGHT_MARGIN, 0) : x1 + LIGHT_MARGIN,
        ]
        mask = labels[window] == own
        mean[at] = shining[window][mask].mean() / (true_light[cell] / true_area[cell])
        total[at] = shining[window][grow_mask(mask[None], LIGHT_MARGIN)[0]].sum() / all_light[cell]
    return mean, total
