"""Segmentation and tracking written plainly, with scipy and scikit-image, to compare the product with.

No thought is given to speed here. Nothing is imported from the product. White cells: oracles_white_cells.py.
"""

import math
from functools import partial

import cv2
import numpy as np
from oracles_frames import continued_above, in_less_noise
from oracles_regions import before_another, continued, counts_beside, filling, layers_of, nearly_far
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage import measure, morphology

ELLIPSE = 0.95  # of its ellipse, that a part fills which is one cell


def log_std(image, window):
    """Log of the local standard deviation, -inf where it is 0; the sums are rounded to the integers that they are."""
    image = image.astype(np.float64)
    n = window * window
    s1 = np.rint(ndimage.uniform_filter(image, window, mode="reflect") * n).astype(np.int64)
    s2 = np.rint(ndimage.uniform_filter(image**2, window, mode="reflect") * n).astype(np.int64)
    spread = n * s2 - s1**2
    out = np.full(image.shape, -np.inf)
    out[spread > 0] = 0.5 * np.log(spread[spread > 0] / n**2)
    return out


def threshold(std, window, min_pixels):
    """The rule in the docstring of `celltraces.segmentation.logstd.threshold`, bin by bin."""

    def away(mode, distance):
        # mode in log-STD; a variance whose cube root is (1 + distance) times that of the mode
        return 0.5 * math.log(math.exp(2 * mode) * (1 + distance) ** 3)

    n = window**2
    least_sigma = math.sqrt(2 / 9 / (n - 1))
    least_mode = math.log(math.sqrt(1 / 4 + 1 / 12))
    values = std[np.isfinite(std)]
    if 2 * values.size < std.size:
        return away(least_mode, 3 * least_sigma)
    if values.min() == values.max():
        return values.max()
    counts, _ = np.histogram(values, 200)
    bin_width = (values.max() - values.min()) / 200
    centre = [values.min() + (k + 0.5) * bin_width for k in range(200)]

    half = min(max(round(0.7 / math.sqrt(2 * (n - 1)) / bin_width), 1), 50)
    triangle = 2 * half + 1 - np.abs(np.arange(-2 * half, 2 * half + 1))
    smooth = ndimage.convolve1d(counts.astype(np.int64), triangle, mode="constant")
    peak = highest = int(np.argmax(smooth))
    for k in range(highest):
        around = smooth[max(k - 2 * half, 0) : k + 2 * half + 1]
        high_enough = smooth[k] >= smooth[highest] / 4 and smooth[k] == around.max()
        if high_enough and 5 * smooth[k:highest].min() <= 4 * smooth[k]:
            peak = k
            break

    total = squares = 0.0
    for k in range(peak, -1, -1):
        if smooth[k] < smooth[peak] / 100:
            break
        total += counts[k]
        squares += counts[k] * ((math.exp(2 * centre[k]) / math.exp(2 * centre[peak])) ** (1 / 3) - 1) ** 2
    sigma = max(math.sqrt(squares / total) if total else 0, least_sigma)
    mode = max(centre[peak], least_mode)
    limit = away(mode, 3 * sigma)

    weight = [(math.exp(2 * centre[k]) / math.exp(2 * mode)) ** (2 / 3) for k in range(200)]
    valley = None
    for k in range(200):
        if centre[k] <= limit:
            continue
        if valley is None or weight[k] * smooth[k] < weight[valley] * smooth[valley]:
            valley = k
            continue
        low, high = weight[valley] * smooth[valley], weight[k] * smooth[k]
        noise = math.sqrt((2 * half + 1) * (weight[k] * high + weight[valley] * low))
        if high - low >= low / 20 and high - low > math.sqrt(9.5) * noise:
            if counts[valley:].sum() >= min_pixels and centre[valley] <= away(mode, 8 * sigma):
                return centre[valley]
            break
    return limit


def logstd_labels(
    image,
    logstd_window_size=3,
    morph_size=7,
    morph_iterations=3,
    min_object_size=50,
    max_object_size=10000,
    logstd_outline="cell",
    segmentation_debris=0.12,
):
    """Segmentation `logstd`. (H, W) integers -> (H, W) labels."""
    if logstd_outline == "cell":
        image = continued_above(image)
    std_of = partial(log_std, window=logstd_window_size)
    limit_of = partial(threshold, window=logstd_window_size, min_pixels=min_object_size)
    std = std_of(image)
    limit = limit_of(std)
    if logstd_outline == "cell":
        image, std, limit = in_less_noise(image, std, limit, std_of, limit_of)
    mask = std > limit
    disk = morphology.disk(morph_size // 2)
    dilate = [ndimage.binary_dilation] * morph_iterations
    erode = [ndimage.binary_erosion] * morph_iterations
    mask = continued(mask, dilate + erode, disk)
    mask = morphology.remove_small_objects(mask, max_size=min_object_size - 1, connectivity=1)
    filled = ndimage.binary_fill_holes(mask)
    mask = continued(filled, erode + dilate, disk)
    if logstd_outline == "cell":
        mask = _with_narrow_cells(
            mask, continued(filled, erode[1:] + dilate[1:], disk), std, morph_iterations, max_object_size
        )
        sizes = (morph_size // 2, morph_iterations, min_object_size)
        mask = _regrown(mask, filled, image.astype(np.float64), std, limit, *sizes)
        mask = _on_cells(mask, image.astype(np.float64), std, limit, *sizes, max_object_size)
    labels = measure.label(mask, connectivity=1)
    area = np.bincount(labels.ravel())
    kept = (area >= min_object_size) & (area <= max_object_size)
    kept[0] = False
    if logstd_outline == "cell" and kept.any():
        variance = np.array([0.0, *(np.exp(2 * std[labels == label]).mean() for label in range(1, area.size))])
        usual, usual_variance = (
            next(one for one in np.sort(of[kept]) if 2 * area[kept & (of <= one)].sum() >= area[kept].sum())
            for of in (area, variance)
        )
        weight = np.minimum(1, variance / usual_variance)
        cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        full_area = np.where(np.isin(np.arange(area.size), cut), usual, area)
        debris = kept & (area < usual) & (full_area * weight < segmentation_debris * usual)
        if (area * weight)[debris].sum() <= 0.2 * (area * weight)[kept].sum():
            kept &= ~debris
    return measure.label(kept[labels] & mask, connectivity=1)


def _with_narrow_cells(mask, less_opened, std, iterations, max_size):
    """The rule in the docstring of `celltraces.segmentation.narrow_cells.with_narrow_cells`."""
    result = mask.copy()
    if iterations < 2 or not mask.any():
        return result
    areas = sorted(region.area for region in measure.regionprops(measure.label(mask, connectivity=1)))
    areas = [area for area in areas if area <= max_size] or areas
    usual = next(area for area in areas if 2 * sum(other for other in areas if other <= area) >= sum(areas))
    labels = measure.label(less_opened, connectivity=1)
    for label in range(1, labels.max() + 1):
        region = labels == label
        cut = np.pad(region[1:-1, 1:-1], 1).sum() < region.sum()
        as_granular = np.mean(np.exp(std[region]) ** 2) >= 0.5625 * np.mean(np.exp(std[mask]) ** 2)
        if not mask[region].any() and as_granular and (cut or 4 * region.sum() >= usual):
            result |= region
    return result


def _on_cells(mask, image, std, limit, radius, iterations, min_size, max_size):
    """The rules in the docstrings of `celltraces.segmentation.outline`, region by region."""
    mask, lines = part_at_halos(mask, image, std, limit, radius, min_size, max_size)
    mask, clumps = without_gaps(mask, std, radius, min_size, max_size)
    mask = mask & clumps | _come_apart(mask & ~clumps, image, std, limit, radius, iterations, min_size, max_size)
    mask = _refine(mask, lines, image, std, limit, radius, iterations, min_size, max_size)
    return part_at_necks(mask, std, min_size, max_size)


def part_at_halos(mask, image, std, limit, radius, min_size, max_size):
    """The rules in the docstring of `celltraces.segmentation.halo_gaps.part_at_halos`.

    Returns the parts, and the lines between them.
    """
    layers = layers_of(mask, 6)
    smooth = np.rint(ndimage.uniform_filter(image, 3, mode="reflect") * 9) / 9
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    parts, lines = mask.copy(), np.zeros(mask.shape, bool)
    labels = measure.label(mask, connectivity=1)
    for found in measure.regionprops(labels):
        short, long = np.sqrt(np.linalg.eigvalsh(found.inertia_tensor))
        round_ = filling(found) >= 0.97 and short / long >= 0.75
        if (round_ and found.area <= max_size) or found.area < 2 * min_size:
            continue
        region = labels == found.label
        shells = [layers[k] & ~layers[k + 1] & region for k in range(6)]
        beside = counts_beside(shells[0], mask, image)
        if not beside:
            continue
        level = np.mean(beside)
        above = [image[shell].mean() - level if shell.any() else 0 for shell in shells]
        height, brightest = max(above), int(np.argmax(above))
        if height <= 4 * math.exp(limit):
            continue
        box, pad = found.slice, 2 * radius + 1
        inside, excess = region[box], (smooth - level)[box]
        empty = inside & (excess >= -0.5 * height) & (excess <= 0.25 * height) & (std[box] <= limit)
        dark = inside & ~empty & (excess <= 0.3 * height) & layers[brightest][box]
        wide, background = (np.pad(one, pad, mode="edge") for one in (dark, empty))
        wide = cv2.morphologyEx(wide.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        wide = ndimage.binary_fill_holes(wide)
        wide &= cv2.morphologyEx(background.astype(np.uint8), cv2.MORPH_OPEN, disk) == 0
        opened = cv2.morphologyEx(wide.astype(np.uint8), cv2.MORPH_OPEN, disk)[pad:-pad, pad:-pad]
        pieces = measure.label(opened, connectivity=1)
        those = [piece for piece in measure.regionprops(pieces) if piece.area >= min_size]
        if not those:
            continue
        sizes = np.sort([piece.area for piece in those])
        usual = sizes[np.searchsorted(2 * np.cumsum(sizes), sizes.sum())]
        those = [piece for piece in those if piece.area >= 0.12 * usual]
        cells = [piece.area for piece in those if filling(piece) >= 0.88]
        if found.area <= max_size:
            if len(cells) < 2 or sum(cells) < 0.75 * wide[pad:-pad, pad:-pad].sum():
                continue
        elif not cells:
            continue
        kept = np.where(np.isin(pieces, [piece.label for piece in those]), pieces, 0)
        away, pixel = cv2.distanceTransformWithLabels(
            (kept == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        of_pixel = dict(zip(pixel[kept > 0].tolist(), kept[kept > 0].tolist(), strict=True))
        near = inside & (away <= 2 * (brightest + 1) + 1)
        owner = np.where(near, np.vectorize(of_pixel.get)(pixel), 0)
        between = before_another(owner)
        lines[box] |= between
        parts[box] &= ~inside | near & ~between
    return parts, lines


def _some_variances(labels, chosen, std, every):
    """{label: variance around one in `every` of the pixels of all that are chosen, in raster order}."""
    pixels = np.flatnonzero(np.isin(labels, chosen))[::every]
    return {label: np.exp(2 * std.ravel()[pixels[labels.ravel()[pixels] == label]]) for label in chosen}


def _even(labels, chosen, std, every):
    """Labels that are evenly granular (`celltraces.segmentation.even_clumps.evenly_granular`)."""
    even = []
    for label, variance in _some_variances(labels, chosen, std, every).items():
        if variance.size and variance.mean() > 0:
            as_rough = variance >= variance.mean() * math.exp(-0.5)
            if 2 * as_rough.sum() >= variance.size:
                even.append(label)
    return even


def without_gaps(mask, std, radius, min_size, max_size):
    """The rules in the docstring of `celltraces.segmentation.even_clumps.without_gaps`; and the pixels of clumps."""
    labels = measure.label(mask, connectivity=1)
    size = np.bincount(labels.ravel())
    large = [label for label in range(1, size.size) if size[label] > max_size]
    even = _even(labels, large, std, 16)
    inside, rough = np.isin(labels, even), np.zeros(mask.shape, bool)
    for label, variance in _some_variances(labels, large, std, 16).items():
        if label in even:
            rough |= (labels == label) & (np.exp(2 * std) >= np.median(variance) * math.exp(-2))
    dilate, erode = [ndimage.binary_dilation], [ndimage.binary_erosion]
    rough = continued(rough, dilate + erode, morphology.disk(1)) & inside
    pieces = measure.label(continued(rough, erode + dilate, morphology.disk(radius)) & inside, connectivity=1)
    large = (pieces > 0) & (np.bincount(pieces.ravel())[pieces] >= min_size)
    result, clumps = mask.copy(), np.zeros(mask.shape, bool)
    for label in even:
        region = labels == label
        if np.unique(pieces[region & large]).size > 1 and 2 * (region & large).sum() >= region.sum():
            result &= ~region | large
            clumps |= region
    return result, clumps


def part_at_necks(mask, std, min_size, max_size):
    """The rules in the docstring of `celltraces.segmentation.necks.part_at_necks`."""
    labels = measure.label(mask, connectivity=1)
    areas = np.bincount(labels.ravel())[1:]
    counted = areas[(areas >= min_size) & (areas <= max_size)]
    least = max(min_size, 0.4 * (np.median(counted) if counted.size else min_size))
    regions = {region.label: region for region in measure.regionprops(labels)}
    candidates = [one for one, region in regions.items() if filling(region) < 0.97 and region.area >= 2 * least]
    result = mask.copy()
    for label in _even(labels, candidates, std, 4):
        box = regions[label].slice
        parts = _at_necks(labels[box] == label, least)
        fillings = [filling(measure.regionprops(part.astype(int))[0]) for part in parts]
        like_cells = sum(part.sum() for part, filling in zip(parts, fillings, strict=True) if filling >= ELLIPSE)
        if len(parts) > 1 and like_cells >= 0.75 * regions[label].area:
            result[box] &= ~before_another(sum(n * part for n, part in enumerate(parts, start=1)))
    return result


def _at_necks(inside, least):
    """The parts of a region."""
    depth = cv2.GaussianBlur(nearly_far(np.pad(inside, 1)), (0, 0), 1.0)[1:-1, 1:-1] * inside
    highest = ndimage.maximum_filter(depth, 11, mode="constant")
    middles = []
    for middle in sorted(map(tuple, np.argwhere((depth == highest) & inside)), key=lambda at: -depth[at]):
        places = measure.label(depth > np.float32(0.9 * float(depth[middle])), connectivity=1)
        if all(places[middle] != places[other] for other in middles):
            middles.append(middle)
    return _cut(inside, depth, middles, least)


def _cut(part, depth, middles, least):
    while len(middles) > 1:
        highest = 0.9 * min(float(depth[middle]) for middle in middles)
        for step in range(1, 65):
            places = measure.label(part & (depth > np.float32(step / 64 * highest)), connectivity=1)
            numbers = sorted({places[middle] for middle in middles})
            if len(numbers) > 1:
                break
        nearest = np.argmin([nearly_far(places != number) for number in numbers], axis=0)
        pieces = [part & (nearest == k) for k in range(len(numbers))]
        smallest = np.argmin([piece.sum() for piece in pieces])
        if pieces[smallest].sum() >= least:
            of = [[middle for middle in middles if places[middle] == number] for number in numbers]
            return [one for piece, own in zip(pieces, of, strict=True) for one in _cut(piece, depth, own, least)]
        middles = [middle for middle in middles if places[middle] != numbers[smallest]]
    return [part]


def _regrown(mask, filled, image, std, limit, radius, iterations, min_size):
    labels = measure.label(mask, connectivity=1)
    side = 2 * radius * iterations + 1
    disk = np.zeros((side, side), bool)
    disk[side // 2, side // 2] = True
    for _ in range(iterations):
        disk = ndimage.binary_dilation(disk, morphology.disk(radius))
    weak = np.zeros(mask.shape, bool)
    for label in range(1, labels.max() + 1):
        region = labels == label
        rms = math.sqrt(np.mean(np.exp(std[region]) ** 2))
        if min_size <= region.sum() <= 1.5 * disk.sum() and rms <= 2 * math.exp(limit):
            weak |= region
    free = filled & ~ndimage.binary_dilation(mask & ~weak)
    pieces = measure.label(weak | free & ndimage.maximum_filter(weak, 2 * radius + 1), connectivity=1)
    result = mask.copy()
    for number in range(1, pieces.max() + 1):
        piece = pieces == number
        new = image[piece & ~weak]
        alone = np.unique(labels[weak & piece]).size == 1
        if alone and new.size and new.mean() - image[piece & weak].mean() <= 2 * math.exp(limit):
            result |= piece
    return result


def _refine(mask, lines, image, std, limit, radius, iterations, min_size, max_size):
    layers = layers_of(mask, 12)
    labels = measure.label(mask, connectivity=1)
    kept, granular, inside = np.zeros((3, *mask.shape), bool)
    for label in range(1, labels.max() + 1):
        region = labels == label
        found, above, edge_std, shell, dim = _edge(region, mask | lines, layers[:7], image, std, limit)
        within = layers[shell + 1] & region & dim
        granular |= region & (std >= (math.log(edge_std) if above or edge_std < math.inf else limit) - 1)
        if len(above) == 6 and above[5] > edge_std:
            deeper, above, edge_std, shell, _ = _edge(region, mask | lines, layers, image, std, limit)
            if min(above[6:], default=0) < -edge_std:
                found = within = deeper | layers[shell + 1] & region
        kept |= found
        inside |= within
    disk = morphology.disk(radius)
    close, open_ = min(2, iterations), min(1, iterations)
    dilate, erode = [ndimage.binary_dilation], [ndimage.binary_erosion]
    refined = continued(kept | inside, dilate * close + erode * close, disk) & mask
    refined = ndimage.binary_fill_holes(refined)
    refined = continued(refined, erode * open_ + dilate * open_, disk) & mask
    pieces = measure.label(refined, connectivity=1)
    result = np.zeros(mask.shape, bool)
    for label in range(1, labels.max() + 1):
        region = labels == label
        numbers, sizes = np.unique(pieces[region & refined], return_counts=True)
        cut = np.pad(region[1:-1, 1:-1], 1).sum() < region.sum()
        if 6 * sizes.max(initial=0) < region.sum() or (cut and sizes.max(initial=0) < min_size <= region.sum()):
            result |= region
        else:
            result |= region & np.isin(pieces, numbers[4 * sizes >= sizes.max(initial=0)]) & refined
    return part_joined(result, kept & granular, radius, min_size, max_size)


def part_joined(mask, rough, radius, min_size, max_size):
    """The rules in the docstring of `celltraces.segmentation.joined_cells.part_joined`."""
    dilate, erode = [ndimage.binary_dilation], [ndimage.binary_erosion]
    looked_at = [region.label for region in _may_be_joined(mask, min_size, max_size)]
    inside = np.isin(measure.label(mask, connectivity=1), looked_at)
    rough = ndimage.binary_fill_holes(continued(rough & inside, dilate + erode, morphology.disk(1)) & inside)
    for times in range(1, 5):
        pieces = continued(rough, erode * times + dilate * times, morphology.disk(radius)) & mask & inside
        pieces, regions = (measure.label(part, connectivity=1) for part in (pieces, mask))
        candidates = list(_may_be_joined(mask, min_size, max_size))
        labels = [region.label for region in candidates]
        others = np.bincount(regions[(regions > 0) & ~np.isin(regions, labels)])
        areas = np.concatenate([np.bincount(pieces[np.isin(regions, labels)])[1:], others // 2])
        usual = np.median(areas[areas >= min_size]) if (areas >= min_size).any() else math.inf
        for region in candidates:
            inside_it = regions == region.label
            numbers, sizes = np.unique(pieces[inside_it & (pieces > 0)], return_counts=True)
            alike = (sizes >= min_size) & (sizes >= 0.4 * min(sizes.max(initial=0), usual))
            if alike.sum() < 2 or sizes[alike].sum() < 0.5 * (rough & inside_it).sum():
                continue
            away = [nearly_far(pieces != number) for number in numbers[alike]]
            mask = mask & ~before_another(np.where(inside_it, 1 + np.argmin(away, axis=0), 0))
    return mask


def _may_be_joined(mask, min_size, max_size):
    """Regions that are no ellipse, or larger than `max_size`."""
    for region in measure.regionprops(measure.label(mask, connectivity=1)):
        if region.area > max_size or (filling(region) < 0.95 and region.area >= 2 * min_size):
            yield region


def _edge(region, no_background, layers, image, std, limit):
    """What is kept, by how much each shell outside of the core is above the level, the STD of the edge, its shell, and
    what is not as bright as the halo that the region has."""
    around, nine = (np.rint(ndimage.uniform_filter(image, n, mode="reflect") * n**2) / n**2 for n in (7, 3))
    texture = np.maximum(std - limit, 0)
    core = max(k for k in range(len(layers)) if 6 * (layers[k] & region).sum() >= region.sum())
    if core == 0:
        return region, [], math.inf, 0, region & False
    shells = [layers[k] & ~layers[k + 1] & region for k in range(core)]
    edges = [texture[shell].mean() if shell.any() else 0 for shell in shells]
    edge = max(edges)
    edge_std = math.exp(limit + edge)
    beside = counts_beside(shells[0], no_background, image)
    level = np.mean(beside) if beside else math.nan
    known = not math.isnan(level)
    above = [image[shell].mean() - level if shell.any() else 0 for shell in shells] if known else []
    dim = region & False
    if max(above, default=0) > 0.25 * edge_std:
        dim = image - level <= edge_std - 0.5 * max(-min(above), 0)
        kept = (texture >= edge - 0.25) & (image <= around) & dim
    else:
        kept = nine - around <= 0.1 * math.exp(limit)
    return layers[core] & region | kept & region, above, edge_std, int(np.argmax(edges)), dim


def _come_apart(mask, image, std, limit, radius, iterations, min_size, max_size):
    labels = measure.label(mask, connectivity=1)
    size = np.bincount(labels.ravel())
    too_large = [label for label in range(1, size.size) if size[label] > max_size]
    n = max(2, round(math.sqrt(max_size) / 50))
    half, image, std = labels[::n, ::n], image[::n, ::n], std[::n, ::n]
    inside = np.isin(half, too_large)
    if not inside.any():
        return mask
    above = image - np.rint(ndimage.uniform_filter(image, 31, mode="reflect") * 961) / 961
    dark = above <= 0.41 * math.sqrt(np.mean(above[inside & (above < 0)] ** 2))
    for label in too_large:
        if (std[half == label] > limit).sum() > 0.97 * (half == label).sum():
            dark |= half == label
    dilate, erode = [ndimage.binary_dilation], [ndimage.binary_erosion]
    small, disk = morphology.disk(1), morphology.disk(radius * min(2, iterations) // 3)
    ground = continued((std > limit) & inside, dilate + erode, small) & inside
    parts, rest = [], inside
    for step in range(7):
        strict = continued(rest & dark & (std > limit + 0.5 * step), dilate + erode, small) & rest & dark
        strict = continued(_without_small_holes(strict) & rest, erode + dilate, disk) & rest
        rest = np.zeros(half.shape, bool)
        for part in measure.regionprops(measure.label(strict, connectivity=1)):
            at = tuple(part.coords.T)
            if n * n * part.num_pixels > max_size and step < 6:
                rest[at] = True
            elif n * n * part.num_pixels >= min_size:
                parts.append(at)
    part_of = np.zeros(half.shape, int)
    count = dict.fromkeys(too_large, 0)
    pixels = sorted(at[0].size for at in parts for _ in at[0])  # of each pixel, how many its part has
    for at in parts:
        if at[0].size >= 0.14 * pixels[(len(pixels) - 1) // 2]:
            # a part may reach into two regions that touch at every second pixel only: it counts for its last one
            count[half[at][-1]] += 1
            part_of[at] = part_of.max() + 1
    seeds = part_of
    for step in range(12):
        shape = ndimage.generate_binary_structure(2, 2 if step % 2 == 0 else 1)
        wider = ndimage.grey_dilation(part_of, footprint=shape, mode="constant")
        part_of = np.where((part_of == 0) & ground, wider, part_of)
    too_wide = n * n * np.bincount(part_of.ravel()) > max_size
    part_of = np.where(too_wide[part_of], seeds, part_of)
    found = _without_small_holes(part_of > 0)
    for axis in (0, 1):
        after = np.moveaxis(
            np.append(np.moveaxis(part_of, axis, 0)[1:], [np.zeros(part_of.shape[1 - axis], int)], 0), 0, axis
        )
        found &= (part_of == 0) | (after == 0) | (after == part_of)
    parts = found.repeat(n, axis=0).repeat(n, axis=1)[: mask.shape[0], : mask.shape[1]]
    apart = np.zeros(mask.shape, bool)
    for label in too_large:
        least = max(size[label] / 5, max_size)
        if count[label] > 1 and n * n * found[half == label].sum() >= least:
            apart |= labels == label
    return mask & ~apart | parts & apart


def _without_small_holes(mask):
    """Filled where up to 100 pixels are connected that are not of the mask, also at the edge."""
    holes = measure.label(~mask, connectivity=1)
    return mask | (np.bincount(holes.ravel()) <= 100)[holes]


def pyama_labels(image):
    """Segmentation `pyama`: what PyAMA 5a552bf does to a frame, and the labels that it gives when it tracks.

    Its three iterations are done one by one: scipy 1.17 with `iterations=3` writes outside its memory where the image
    is smaller than the structuring element.
    """
    mask = pyama_filled_mask(image)
    square = np.ones((7, 7))
    for step in [ndimage.binary_erosion] * 3 + [ndimage.binary_dilation] * 6 + [ndimage.binary_erosion] * 3:
        mask = step(mask, square)
    return measure.label(mask, connectivity=1)


def pyama_filled_mask(image):
    """What PyAMA 5a552bf takes for foreground, filled; it is opened and closed next."""
    image = image.astype(np.float32)
    mean = ndimage.uniform_filter(image, size=3)
    variance = ndimage.uniform_filter(image * image, size=3) - mean * mean
    std = np.zeros_like(image)
    np.log(variance, out=std, where=variance > 0)
    std *= np.float32(0.5)
    counts, edges = np.histogram(std.ravel(), bins=200)
    mode = ((edges[:-1] + edges[1:]) * 0.5)[np.argmax(counts)]
    return ndimage.binary_fill_holes(std > mode + 3 * np.std(std.ravel()[std.ravel() <= mode]))


def box_iou(a, b):
    """IoU of two half-open boxes [y0, x0, y1, x1]."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = height * width
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def mask_iou(a, b):
    """IoU of two sets of pixels."""
    return len(a & b) / len(a | b)


def track(frames, min_iou=0.1, max_gap=0, iou="box"):
    """IDs of the regions of each frame, {label: id}: the seed's double loop, with new IDs for unmatched regions.

    With max_gap, tracks that were missed take part too, with 0.8 times their IoU for each frame missed.
    """
    alive = []  # [id, region when last seen, frame when last seen], in the order of the last sighting
    n_tracks = 0
    result = []
    for t, frame in enumerate(frames):
        props = measure.regionprops(frame)
        if iou == "box":
            now, measured = [p.bbox for p in props], box_iou
        else:
            now, measured = [set(map(tuple, p.coords)) for p in props], mask_iou
        alive = [entry for entry in alive if t - entry[2] <= max_gap + 1]
        cost = np.ones((len(now), len(alive)))
        for i, current in enumerate(now):
            for j, (_, previous, seen) in enumerate(alive):
                overlap = measured(current, previous)
                if overlap >= min_iou and overlap > 0:
                    cost[i, j] = 1.0 - overlap * 0.8 ** (t - seen - 1)
        ids = {}
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if cost[i, j] < 1:
                ids[i] = alive[j][0]
        for i in range(len(now)):
            if i not in ids:
                n_tracks += 1
                ids[i] = n_tracks
        alive = [entry for entry in alive if entry[0] not in ids.values()]
        alive += [[ids[i], region, t] for i, region in enumerate(now)]
        result.append({p.label: ids[i] for i, p in enumerate(props)})
    return result
