"""Part cells between which a bright halo lies.

Halos of cells that come near to each other add up to a bright gap, also where the cells, such as the daughters of one
that has just divided, are smooth inside. The closing that heals outlines bridges it. What is as bright as the halo
around a region has no place in its cells, unless these are granular: so only what falls into several compact pieces
without it is parted.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from celltraces.labels.objects import Components, bounds_of, cut_out, painted
from celltraces.labels.shapes import shapes, shapes_of_runs
from celltraces.segmentation.edges import LAYER, Outer, Settings, box_sums
from celltraces.segmentation.local_variance import greatest_up_to
from celltraces.segmentation.mask_objects import between, fill_holes, usual_area

WHOLE = 0.97  # of the ellipse with the same second moments: a region that fills more of it is one cell
ROUND = 0.75  # short by long axis of that: a region that is less round may be two cells, a halo around both
BRIGHT = 0.3  # of the halo's height: what is brighter is of a halo
DARKER, BRIGHTER = 0.5, 0.25  # of the halo's height: from so much below the level to so much above is background
SOLID = 0.88  # of its ellipse, that a piece fills which looks like a cell
MOST = 0.75  # of what is not bright, that lies in such pieces, in a region that may be one cell
ALIKE = 0.12  # of the usual piece of its region, that a piece has at least
FAINT = 4.0  # STDs of the limit: the height of a halo, at least


class Parted(NamedTuple):
    """mask: (H, W) uint8 0/1, the parts. lines: (H, W) bool, what lies between these and is no background either."""

    mask: np.ndarray
    lines: np.ndarray


def part_at_halos(
    mask: np.ndarray,
    regions: Components,
    depth: np.ndarray,
    outer: Outer,
    image: np.ndarray,
    spread: np.ndarray,
    settings: Settings,
) -> Parted | None:
    """The regions of `mask` (H, W) uint8 0/1 parted where bright halos lie between their cells; None where none do.

    depth: (H, W), its `edges.depths`. outer: the `edges.outer_pixels` of the regions.

    1. Only regions are looked at that are no round ellipse, or too large. The level is the mean of the background 2 px
       beside a region; the height of its halo is how much its brightest layer of 2 px is above that. It has to be 4
       STDs of the limit.
    2. Pixels inside of that layer that are above the level by no more than 0.3 of the height (means of 3 x 3 px) are no
       halo. Those from 0.5 of it below to 0.25 above the level that are not above the limit of the log-STD are
       background, which the closing took in between cells. What is neither is closed with 3 x 3 px; its holes are
       filled, but not with background (opened with the disk); and it is opened with a disk of `morph_size` px. Pieces
       are what then has `min_size` pixels, and 0.12 of the usual piece's. They look like cells if they fill 0.88 of the
       ellipse with the same second moments.
    3. A region is parted if two pieces or more look like cells, which have 0.75 of what is no halo; one of more than
       `max_size` pixels, which is no cell, if one does. Each pixel goes to the nearest piece, or is taken out if it is
       further from all than a halo is wide.
    """
    found = shapes_of_runs(*regions[:3], mask.shape)
    candidate = np.zeros(regions.area.size, bool)
    other = (found.filling < WHOLE) | (found.roundness < ROUND) | (found.area > settings.max_size)
    candidate[found.label] = other & (found.area >= 2 * settings.min_size)
    if not candidate.any():
        return None
    level, height, layer = outer.level, outer.excess.max(axis=1), outer.excess.argmax(axis=1)
    candidate &= height > FAINT * math.exp(settings.limit)
    if not candidate.any():
        return None
    cut = cut_out(regions, candidate, mask.shape, 1)
    number = painted(cut.objects, np.arange(cut.objects.area.size, dtype=np.int32), cut.shape)
    nine, deep = box_sums(cut.of(image), 3), cut.of(depth)
    variance = cut.of(spread)
    rough = variance > greatest_up_to(settings.limit, settings.window, int(variance.max()))
    lines, gone = np.zeros(cut.shape, bool), np.zeros(cut.shape, bool)
    numbers, bbox = bounds_of(cut.objects, cut.objects.area > 0, cut.shape[1])
    for one, of_whole, (y0, x0, y1, x1) in zip(
        numbers.tolist(), np.flatnonzero(candidate).tolist(), bbox.tolist(), strict=True
    ):
        box = np.s_[y0:y1, x0:x1]
        inside = number[box] == one
        above = nine[box] / 9 - level[of_whole]
        dark = inside & (above <= BRIGHT * height[of_whole]) & (deep[box] >= layer[of_whole])
        empty = (above >= -DARKER * height[of_whole]) & (above <= BRIGHTER * height[of_whole])
        empty &= inside & ~rough[box]
        cell = _cells(dark & ~empty, empty, settings, one_cell=regions.area[of_whole] <= settings.max_size)
        if cell is not None:
            away, nearest = _nearest(cell)
            near = inside & (away <= LAYER * (layer[of_whole] + 1) + 1)
            lines[box] |= between(np.where(near, nearest, 0)).view(bool)
            gone[box] |= inside & ~near
    if not lines.any() and not gone.any():
        return None
    parts, all_lines = mask.copy(), np.zeros(mask.shape, bool)
    all_lines.ravel()[cut.outside(np.flatnonzero(lines))] = True
    parts.ravel()[cut.outside(np.flatnonzero(lines | gone))] = 0
    return Parted(parts, all_lines)


def _cells(dark: np.ndarray, empty: np.ndarray, settings: Settings, one_cell: bool) -> np.ndarray | None:
    """Numbers of the pieces of `dark` (h, w) bool that may be cells, int32; None if the region is not parted.

    empty: bool, pixels of background. one_cell: whether the region may be a single cell.
    """
    margin = settings.morph_size
    own = np.s_[margin:-margin, margin:-margin]
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (margin, margin))
    wide, holes = (cv2.copyMakeBorder(of.view(np.uint8), *4 * (margin,), cv2.BORDER_REPLICATE) for of in (dark, empty))
    wide = fill_holes(cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)))
    wide &= ~cv2.morphologyEx(holes, cv2.MORPH_OPEN, disk)
    _, piece, figures, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(wide, cv2.MORPH_OPEN, disk)[own], connectivity=4
    )
    area = figures[:, cv2.CC_STAT_AREA]
    counted = area >= settings.min_size
    counted[0] = False
    counted &= area >= ALIKE * usual_area(area[counted])
    shape = shapes(piece)
    solid = np.zeros(area.size, bool)
    solid[shape.label] = shape.filling >= SOLID
    solid &= counted
    if one_cell and (np.count_nonzero(solid) < 2 or area[solid].sum() < MOST * np.count_nonzero(wide[own])):
        return None
    return np.where(counted, np.arange(area.size), 0).astype(np.int32).take(piece) if solid.any() else None


def _nearest(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel is from the nearest one that has a number, and which number that is. (h, w) int32."""
    away, pixel = cv2.distanceTransformWithLabels(
        (cell == 0).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = cell != 0
    number = np.zeros(int(pixel.max()) + 1, np.int32)
    number[pixel[inside]] = cell[inside]
    return away, number.take(pixel)
