"""White cells found plainly, pixel by pixel over whole boxes, to compare the product with.

No thought is given to speed here, and nothing is imported from the product. Distances are OpenCV's with a mask of
5 x 5 px, which the rule is defined with; all else is numpy, scipy and scikit-image.
"""

import math

import cv2
import numpy as np
from scipy import ndimage
from skimage import measure, morphology


def with_white_cells(mask, regions, image, std, morph_size, min_size, max_size):
    """The rule in the docstring of `celltraces.segmentation.white_cells.with_white_cells`; (H, W) bool -> (H, W) bool.

    mask: the objects; regions: all that is no background; std: counts, that of the limit.
    """
    some = regions[::4, ::4]
    if not some.any():
        return mask
    values = image[::4, ::4].astype(float)
    level, dark = _level_and_darkness(values, some, std)
    uneven = _unevenness(values, ~some)
    if np.ptp(uneven) > 0.3 * dark:
        whole = cv2.resize(uneven.astype(np.float32), image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        image = image - np.rint(whole)
        level, dark = _level_and_darkness(values - uneven, some, std)
    labels = measure.label(mask, connectivity=1)
    areas = sorted(area for area in np.bincount(labels.ravel())[1:].tolist() if min_size <= area <= max_size)
    usual = next((area for area in areas if 2 * sum(other for other in areas if other <= area) >= sum(areas)), 0)
    white = _white_cells(image, level, dark, max(min_size, 50, usual / 8), max_size)
    return _beside(labels, white, usual, morph_size, min_size) if white else mask


def _level_and_darkness(values, some, std):
    level = np.median(values if some.all() else values[~some])
    return level, max(level - np.percentile(values[some], 3), 4 * std)


def _unevenness(values, background):
    """Of a surface of second order through every fourth pixel of background in y and x, less its median there."""
    y, x = np.indices(values.shape)
    terms = np.stack([y**a * x**b for a in range(3) for b in range(3 - a)], axis=-1).astype(float)
    chosen = np.zeros(values.shape, bool)
    chosen[::4, ::4] = background[::4, ::4]
    if chosen.sum() < 50:
        return np.zeros(values.shape)
    surface = terms @ np.linalg.lstsq(terms[chosen], values[chosen], rcond=None)[0]
    there = np.sort(surface[chosen])
    return np.rint(np.clip(surface, there[0], there[-1]) - there[there.size // 2])


def _white_cells(image, level, dark, least, most):
    """Steps 2 to 4: each cell as a box of the image and a mask in it."""
    bright = measure.label(image >= level + 1.2 * dark, connectivity=1)
    taken = np.zeros(image.shape, bool)
    found = []
    for region in measure.regionprops(bright):
        y0, x0, y1, x1 = region.bbox
        if not (least <= 2 * region.area and region.area <= most and least <= 2.2 * min(y1 - y0, x1 - x0) ** 2):
            continue
        box = np.s_[max(y0 - 12, 0) : y1 + 12, max(x0 - 12, 0) : x1 + 12]
        own = bright[box] == region.label
        counts = _mean_of_nine(image[box]) - np.float32(level)
        brightness = np.percentile(counts[own].astype(float), 75)
        if brightness < 1.8 * dark:
            continue
        for part in _parts(counts, own, brightness, least):
            if part.any() and not (part & taken[box]).any():
                taken[box] |= part
                found.append((box, part))
    return found


def _mean_of_nine(image):
    return ndimage.uniform_filter(image.astype(np.float64), 3, mode="mirror").astype(np.float32)


def _distance(mask):
    """To the nearest pixel that is 0."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)


def _depth(mask):
    return _distance(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]


def _parts(counts, own, brightness, least):
    bright = measure.label(counts > 0.35 * brightness, connectivity=1)
    bright = np.isin(bright, np.setdiff1d(bright[own], 0))
    whole = ndimage.binary_fill_holes(bright)
    if _is_thin(_depth(whole), least):
        return []
    return _parted(_depth(whole), whole, bright, least)


def _is_thin(depth, least):
    return math.pi * 2.2 * float(depth.max()) ** 2 < 0.5 * least


def _parted(depth, whole, bright, least):
    seeds = measure.label(depth > 0.65 * float(depth.max()), connectivity=2)
    seeds = [seeds == number for number in range(1, seeds.max() + 1)]
    away = np.array([_distance(~seed) for seed in seeds])
    parts = []
    for number, seed in enumerate(seeds):
        deepest = float(depth[seed].max())
        part = whole & (away.argmin(axis=0) == number) & (away[number] <= deepest)
        part = _opened(part, max(deepest / 3, 1))
        if _looks_white(part, bright, least):
            parts.append(part)
    return parts


def _opened(mask, radius):
    disk = _disk(radius)
    return ndimage.binary_dilation(ndimage.binary_erosion(mask, disk, border_value=1), disk)


def _disk(radius):
    size = 2 * int(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)).astype(bool)


def _looks_white(part, bright, least):
    area = part.sum()
    if area < least or (part & bright).sum() < 0.7 * area:
        return False
    if area < 0.85 * morphology.convex_hull_image(part, offset_coordinates=False).sum():
        return False
    short, long = np.linalg.eigvalsh(np.cov(np.argwhere(part).T, bias=True) + np.eye(2) / 12)
    return long <= 2.2**2 * short


def _beside(labels, cells, usual, morph_size, min_size):
    """Step 5: the objects less the white cells, and these."""
    white = np.zeros(labels.shape, bool)
    least = {}
    for box, cell in cells:
        wider = ndimage.binary_dilation(cell)
        white[box] = (white[box] & ~wider) | cell
        for touched in np.setdiff1d(labels[box][wider], 0).tolist():
            least[touched] = min(0.4 * cell.sum(), 0.4 * usual, least.get(touched, math.inf))
    beside = ndimage.binary_dilation(white)
    result = (labels > 0) & ~beside
    for touched, area in least.items():
        box = ndimage.find_objects(labels)[touched - 1]
        inside = labels[box] == touched
        pieces = measure.label(_opened(inside & ~beside[box], morph_size / 2), connectivity=1)
        sizes = np.bincount(pieces.ravel())
        kept = np.flatnonzero(sizes >= max(min_size, area))
        result[box][inside] = (np.isin(pieces, kept[kept > 0]))[inside]
    return result | white
