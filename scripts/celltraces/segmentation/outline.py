"""Draw the outline of each region in, from its halo to the edge of the cell.

The threshold of logstd.py is low, so that no cell is missed; the bright halo around a cell exceeds it too, and
regions end outside the halos. A cell ends where its dark body meets the halo, and there the local standard deviation
(STD) is highest. So of the outermost pixels of a region those are kept that come near to the highest STD in it and
are not on the bright side of the edge. The core of a region is always kept, so that no cell is lost.

A cell that hardly stands out of the background has the opposite trouble: the opening leaves little more of it than a
disk. It gets back what lies beside that.

Regions of more than `max_object_size` pixels are cells that have run together, and would be dropped. Evenly granular
ones lose what is smooth between their cells (see even_clumps.py). In others, the halo of one or both, or a gap, lies
between cells that touch: halos are left out, and the threshold is raised until they come apart; then the parts grow
back towards each other.
"""

import math

import cv2
import numpy as np

from celltraces.labels import bit_morphology
from celltraces.labels.objects import (
    Components,
    components,
    cut_out,
    every_nth,
    in_raster_order,
    means,
    painted,
    pixels_of,
)
from celltraces.segmentation.edges import (
    AROUND,
    CORE,
    LAYERS,
    WIDE_LAYERS,
    Frame,
    Outer,
    Settings,
    box_sums,
    depths,
    find_edges,
    in_layers,
    outer_pixels,
)
from celltraces.segmentation.even_clumps import without_gaps
from celltraces.segmentation.halo_gaps import part_at_halos
from celltraces.segmentation.joined_cells import part_joined
from celltraces.segmentation.local_variance import greatest_up_to
from celltraces.segmentation.mask_objects import (
    at_edge,
    between,
    box_of,
    fill_holes,
    fill_small_holes,
    morph,
    usual_area,
)
from celltraces.segmentation.necks import part_at_necks

WIDE = 1.0  # STDs of the edge: a layer so much brighter than outside, and one within so much darker: the halo is wide
WEAK = 2.0  # STDs of the limit: a region with no higher STD hardly stands out, and what is no brighter may be of it
NARROW = 1.5  # times the area of the opening's disk: the opening may have taken much of a region that is no larger
CLOSE, OPEN = 2, 1  # times, where morph_iterations is not less
SMOOTH = 1.0  # log-STD below the edge's: what is smoother is no part of a cell where cells are told apart
PIECE = 4  # pieces of a region are kept that are at least the fourth part of the largest
STEP = 50  # one pixel in so many is looked at, in rows and columns, by the root of max_object_size. Of these pixels:
GLOW = 0.41  # of how much what is darker than its surroundings is usually (root mean square): so much brighter is halo
SURROUNDINGS = 31  # px: width of these
NO_GAPS = 0.97  # of a region that is above the limit: more than that has no gaps between cells
GAP = 3  # px: width of the disk of the closing, which heals what is left
HOLE = 100  # px: holes up to that are filled
GROWTH = 12  # px: by how much parts grow
RAISE, RAISES = 0.5, 6  # log-STD, number
ALIKE = 0.14  # of the usual part's pixels, that one has at least
COVER = 1 / 5  # all parts of a region cover at least so much of it


def on_cells(
    mask: np.ndarray,
    regions: Components,
    filled: np.ndarray,
    image: np.ndarray,
    spread: np.ndarray,
    settings: Settings,
    uncovered: np.ndarray | None = None,
) -> Components:
    """The regions of `mask` drawn in to the cells; those larger than `max_size` are divided if they come apart.

    mask: (H, W) uint8 0/1, with 4-connected `regions`. filled: the same before it was opened. image: (H, W) integers of
    up to 16 bits. spread: what `local_variance.n2_variance` gave for it. settings: those with which `mask` was found.
    Returns the objects, all within `filled`; those with area 0 are none.
    """
    if not regions.start.size:
        return regions
    opened = mask
    mask = regrown(mask, regions, filled, image, spread, settings)
    if mask is not opened:
        regions = components(mask)
    depth = depths(mask, uncovered)
    outer = outer_pixels(regions, depth, _ground(mask, uncovered), image)
    parted = part_at_halos(mask, regions, depth, outer, image, spread, settings)
    if parted is not None:
        mask = parted.mask
        regions = components(mask)
    before = mask
    if regions.area.max() > settings.max_size:
        sizes = (settings.morph_size, settings.min_size, settings.max_size)
        mask, even = without_gaps(mask, regions, spread, *sizes, uncovered)
        others = regions._replace(area=np.where(even, 0, regions.area))
        if others.area.max() > settings.max_size:
            mask = come_apart(mask, others, image, spread, settings)
    if mask is not before:
        regions = components(mask)
    if parted is not None or mask is not before:
        depth = depths(mask, uncovered)
        ground = _ground(mask, uncovered, None if parted is None else parted.lines)
        outer = outer_pixels(regions, depth, ground, image)
    return refine(mask, regions, depth.ravel(), outer, image, spread, settings, uncovered)


def _ground(mask: np.ndarray, *others: np.ndarray | None) -> np.ndarray:
    """What is background, (H, W) uint8 0/1: neither in the mask nor in others, (H, W) bool, where there are any."""
    ground = mask ^ 1
    for no_background in others:
        if no_background is not None:
            ground[no_background] = 0
    return ground


def regrown(
    mask: np.ndarray,
    regions: Components,
    filled: np.ndarray,
    image: np.ndarray,
    spread: np.ndarray,
    settings: Settings,
) -> np.ndarray:
    """`mask` with what the opening took from beside small regions that hardly stand out of the background.

    These are regions of `min_size` pixels or more, but of no more than 1.5 times the area of the opening's disk, whose
    STD (root mean square) is no more than twice that which `limit` stands for. They get the pixels of `filled` within
    half of `morph_size` px, in rows and columns, that are connected to them and touch no other region; none where two
    of them would run together, or where these pixels are brighter than the region, on average, by more than twice that
    STD: they lie beside a dark cell. Returns `mask` itself if there are no such regions.
    """
    window, limit, morph_size, morph_iterations, min_size, _ = settings
    area = regions.area
    narrow = (area >= min_size) & (area <= NARROW * bit_morphology.disk_area(morph_size // 2, morph_iterations))
    at, of = pixels_of(regions, narrow)
    std = np.sqrt(means(of, spread.ravel().take(at), area)) / window**2
    weak = narrow & (std <= WEAK * math.exp(limit))
    if not weak.any():
        return mask
    cut = cut_out(regions, weak, mask.shape, morph_size)
    small = painted(cut.objects, (cut.objects.area > 0).view(np.uint8), cut.shape)
    others = cv2.dilate(cut.of(mask) - small, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    near = cv2.dilate(small, np.ones((morph_size, morph_size), np.uint8))
    pieces = components(small | near & cut.of(filled) & ~others)
    piece_of = _holders(cut.objects, pieces)
    alone = np.bincount(piece_of[1:], minlength=pieces.area.size) == 1
    wider, piece = pixels_of(pieces, pieces.area > 0)
    counts, old = (of_all.ravel().take(wider) for of_all in (cut.of(image), small.view(bool)))
    before, after = (
        means(piece[chosen], counts[chosen], np.bincount(piece[chosen], minlength=pieces.area.size))
        for chosen in (old, ~old)
    )
    take = alone & (after - before <= WEAK * math.exp(limit))
    grown = mask.copy()
    grown.ravel()[cut.outside(wider[take.take(piece)])] = 1
    return grown


def refine(
    mask: np.ndarray,
    regions: Components,
    depth: np.ndarray,
    outer: Outer,
    image: np.ndarray,
    spread: np.ndarray,
    settings: Settings,
    uncovered: np.ndarray | None,
) -> Components:
    """The regions of `mask` without what lies outside their cells' edges; see `on_cells`. depth: (H * W,), `depths`.
    outer: their `outer_pixels`.

    1. Layers: those pixels of a region that are up to 2 px, 4 px, ... (city blocks) from its outside, up to six times.
       Its core are the layers (and what is within them) down from the innermost that still has a sixth of the region's
       pixels.
    2. Texture is log-STD less `limit`, at least 0. The edge is in the layer outside the core with the highest mean; its
       STD is that which this mean stands for.
    3. The level outside is the mean of the pixels of no region 2 px beside those of the outermost layer. The region
       has taken in a halo if a layer outside the core is on average brighter than that by a quarter of the edge's STD.
       Then pixels outside the core are kept if their texture is no more than 0.25 below the edge's, and they are dark:
       neither brighter than the mean of 7 x 7 pixels around them, nor above the level by more than the edge's STD less
       half of how much the darkest layer is below the level. (Between a dark body and a bright halo the cell's edge is
       a little darker than the level, and the more so, the darker the body and the weaker the halo.) Of those deeper
       than the edge's layer only what is above the level by that much goes: within a cell, texture tells nothing.
       Otherwise all are kept but those whose mean of 3 x 3 is above their mean of 7 x 7 pixels by a tenth of the STD
       that `limit` stands for.
    4. Where the sixth layer is brighter than the level by the edge's STD, the halo may be wider than all layers. Then
       twelve are looked at. If one of the further six is darker than the level by the (new) edge's STD, what they show
       decides, and all pixels deeper than the edge's layer are kept.
    5. What is kept is closed, filled and opened, within the region. Pieces of less than a quarter of the region's
       largest are dropped. A region of which no piece has a sixth stays as it is; and so does one that the edge of the
       image (or pixels without data) cuts, of `min_size` or more, if no piece has that: a whole cell would have had it.
    6. Where the pixels that are granular, dark and as textured as the edge lie in pieces that look like cells, it is
       parted between these (see joined_cells.py). An evenly granular one is parted at its necks (see necks.py).
    """
    frame = Frame(image, spread, box_sums(image, AROUND), settings.window, settings.limit)
    edges = find_edges(outer, regions.area, frame)
    cleared = ~edges.kept
    kept = mask.copy()
    wide = edges.excess[:, -1] > WIDE * edges.std
    if wide.any():
        at, of = pixels_of(regions, wide)
        near = np.flatnonzero(depth.take(at) < WIDE_LAYERS)
        at, of = at.take(near), of.take(near)
        deeper = find_edges(in_layers(at, of, depth.take(at), outer.level, WIDE_LAYERS, image), regions.area, frame)
        wide &= deeper.excess[:, LAYERS:].min(axis=1) < -WIDE * deeper.std
        cleared &= ~wide.take(edges.of)
        kept.ravel()[deeper.at[~deeper.kept & ~deeper.inside & wide.take(deeper.of)]] = 0
    kept.ravel()[edges.at] &= ~cleared
    refined = kept.copy()
    refined.ravel()[edges.at[cleared & edges.inside & edges.dim]] = 1

    _, _, morph_size, morph_iterations, *_ = settings
    close, open_ = min(CLOSE, morph_iterations), min(OPEN, morph_iterations)
    refined = morph(refined, bit_morphology.dilate, bit_morphology.erode, morph_size, close, uncovered) & mask
    refined = fill_holes(refined, uncovered)
    refined = morph(refined, bit_morphology.erode, bit_morphology.dilate, morph_size, open_, uncovered) & mask
    objects = _without_crumbs(refined, regions, settings.min_size, uncovered)
    granular = (edges.std * math.exp(-SMOOTH) * settings.window**2) ** 2  # n**2 times variance, in each region
    least = granular.take(_holders(objects, regions))
    sizes = settings.min_size, settings.max_size
    objects = part_joined(objects, kept, spread, least, morph_size, *sizes, uncovered)
    return part_at_necks(objects, spread, mask.shape, *sizes)


def _holders(objects: Components, regions: Components) -> np.ndarray:
    """The region in which each object lies, (n,) int64; 0 for number 0, and for those without pixels."""
    holders = np.zeros(objects.area.size, np.int64)
    holders[objects.owner] = regions.owner.take(np.searchsorted(regions.start, objects.start, "right") - 1)
    return holders


def _without_crumbs(
    refined: np.ndarray, regions: Components, min_size: int, uncovered: np.ndarray | None
) -> Components:
    """The pieces of `refined`, small ones with area 0; regions of which too little is left are whole again."""
    pieces = components(refined)
    largest = np.zeros(regions.area.size, np.int64)
    region_of = _holders(pieces, regions)
    np.maximum.at(largest, region_of, pieces.area)
    kept = PIECE * pieces.area >= largest.take(region_of)
    lost = CORE * largest < regions.area
    small, of_small = pixels_of(regions, (largest < min_size) & (regions.area >= min_size))
    lost[of_small[at_edge(small, refined.shape, uncovered)]] = True
    kept &= ~lost.take(region_of)
    pieces = pieces._replace(area=np.where(kept, pieces.area, 0))
    return in_raster_order(pieces, regions._replace(area=np.where(lost, regions.area, 0))) if lost.any() else pieces


def come_apart(
    mask: np.ndarray, regions: Components, image: np.ndarray, spread: np.ndarray, settings: Settings
) -> np.ndarray:
    """`mask` with parts in the place of regions of more than `max_size` pixels, where these come apart.

    regions: of the mask, before it was grown, if it was.
    Every second pixel of every second row is looked at, which is enough here; fewer where `max_size` is larger, so that
    it is about 2,500 of these pixels. A pixel is of a halo, and left out, if it is brighter than the mean of its
    surroundings, 31 x 31 of these pixels, by 0.41 times the root mean square of how much the darker ones in all these
    regions are below theirs (bright ones tell as well where debris, white cells or the end of the camera's range are);
    but not in a region of which less than 3 % is below `limit`: without gaps, what is bright is texture. In steps of
    0.5 the threshold on log-STD is raised from `limit`, in each step only within what is still larger than `max_size`,
    and what exceeds it is closed with a disk of 3 px, again without halos, freed of holes of up to 100 px, and opened.
    Parts are what then has `min_size` to `max_size` pixels, and in the last step what is still larger, unless it has
    less than 0.14 of the pixels of the usual part: half of the pixels of all are in parts of the usual size or smaller
    ones. They grow (see `_grown`), and lines of one of these pixels are left between them.
    A region comes apart if it gives two parts or more, which cover a fifth of it, and `max_size` pixels. One that does
    not is left as it is, and to the limit of sizes.
    """
    areas = regions.area
    window, limit, morph_size, morph_iterations, _, max_size = settings
    step = max(2, round(math.sqrt(max_size) / STEP))
    few = np.s_[::step, ::step]
    some, shape = every_nth(regions, step, mask.shape)
    numbers = painted(some, np.where(areas > max_size, np.arange(areas.size, dtype=np.int32), 0), shape)
    reach = morph_size // 2 * min(CLOSE, morph_iterations) // 3
    box = box_of(numbers > 0, 2 * reach + 1)
    region, within = (np.ascontiguousarray(of_all[box]) for of_all in (numbers, spread[few]))
    above = _above_surroundings(np.ascontiguousarray(image[few]))[box]
    pixels = np.flatnonzero(region)
    of, difference = region.ravel().take(pixels), above.ravel().take(pixels)
    rough = within.ravel().take(pixels) > greatest_up_to(limit, window, int(within.max(initial=0)))
    has_gaps = np.bincount(of[rough], minlength=areas.size) <= NO_GAPS * some.area
    darker = difference[difference < 0]
    dark = above <= GLOW * math.sqrt(np.dot(darker, darker) / max(darker.size, 1))
    if not has_gaps.all():
        dark |= ~has_gaps.take(region)
    sizes = settings._replace(min_size=settings.min_size / step**2, max_size=max_size / step**2)
    parts_of_box, n_parts = _parts(region, within, dark.view(np.uint8), areas.size, reach, sizes)
    covered = step**2 * np.bincount(region[parts_of_box.view(bool)], minlength=areas.size)
    parts = np.zeros(shape, np.uint8)
    parts[box] = parts_of_box
    parts = cv2.resize(parts, None, fx=step, fy=step, interpolation=cv2.INTER_NEAREST)
    parts = parts[: mask.shape[0], : mask.shape[1]]
    apart = (n_parts > 1) & (covered >= np.maximum(COVER * areas, max_size))
    return mask ^ (mask ^ parts) & painted(regions, apart.view(np.uint8), mask.shape)


def _above_surroundings(image: np.ndarray) -> np.ndarray:
    """By how much each pixel is brighter than the mean of 31 x 31 around it, (h, w) float32."""
    counts = image.astype(np.float32)
    mean = cv2.blur(counts, (SURROUNDINGS, SURROUNDINGS), borderType=cv2.BORDER_REFLECT)
    return np.subtract(counts, mean, out=mean)


def _parts(
    region: np.ndarray, spread: np.ndarray, dark: np.ndarray, n: int, reach: int, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """The parts of `come_apart`, grown, (h, w) uint8 0/1, and how many each of `n` regions has, (n,).

    region: (h, w) int32, numbers of the regions. spread: (h, w). dark: (h, w) uint8 0/1, no halo. reach: of the disk of
    the opening, px.
    """
    window, limit, _, _, min_size, max_size = settings
    highest = int(spread.max(initial=0))
    inside = rest = (region > 0).view(np.uint8)
    all_parts = part_of = np.zeros(region.shape, np.float32)
    areas, regions = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]  # of the parts; number 0 is none
    number = np.zeros(1, np.int64)
    for step in range(RAISES + 1):
        rough = (spread > greatest_up_to(limit + step * RAISE, window, highest)).view(np.uint8) & rest
        if step == 0:
            ground = _closed(rough) & inside
        strict = fill_small_holes(_closed(rough & dark) & rest & dark, HOLE) & rest
        strict = morph(strict, bit_morphology.erode, bit_morphology.dilate, 2 * reach + 1, 1) & rest
        objects = components(strict)
        area = objects.area
        large = area > max_size
        part = (area >= min_size) & (~large | (step == RAISES))
        number = np.cumsum(part) + number[-1]
        if part.any():
            part_of += painted(objects, np.where(part, number, 0).astype(np.float32), strict.shape)
        origin = np.zeros(area.size, np.int64)
        origin[objects.owner] = region.ravel().take(objects.start + objects.length - 1)  # that of the last pixel
        areas.append(area[part])
        regions.append(origin[part])
        if step == RAISES or not large.any():
            break
        rest = painted(objects, large.view(np.uint8), strict.shape)
        box = box_of(rest, 2 * reach + 1)
        rest, region, spread, dark, part_of = (of_all[box] for of_all in (rest, region, spread, dark, part_of))
    area_of, region_of = np.concatenate(areas), np.concatenate(regions)
    cell = area_of >= max(ALIKE * usual_area(area_of), 1)
    most = np.count_nonzero(cell)
    dtype = np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.float32  # small ones grow faster
    cells = np.where(cell, np.cumsum(cell), 0).astype(dtype).take(all_parts.astype(np.int32))
    return _grown(cells, ground, max_size), np.bincount(region_of[cell], minlength=n)


def _closed(mask: np.ndarray) -> np.ndarray:
    return morph(mask, bit_morphology.dilate, bit_morphology.erode, GAP, 1)


def _grown(part_of: np.ndarray, ground: np.ndarray, max_size: float) -> np.ndarray:
    """Grow parts over `ground` by 12 px, in turn by squares and crosses; what two reach is that of the higher number.

    part_of: (h, w), numbers; ground: (h, w) uint8 0/1. Parts that would exceed `max_size` do not grow. Holes of up to
    100 px are filled. Returns (h, w) uint8 0/1, without the pixels whose neighbour to the right or below is another
    part's.
    """
    seeds = part_of
    part_of = seeds.copy()
    for step in range(GROWTH):
        shape = cv2.MORPH_CROSS if step % 2 else cv2.MORPH_RECT
        wider = cv2.dilate(part_of, cv2.getStructuringElement(shape, (3, 3)))
        free = cv2.compare(part_of, 0, cv2.CMP_EQ)
        cv2.copyTo(wider, free & ground, part_of)
    most = int(seeds.max(initial=0))
    size = cv2.calcHist([part_of], [0], None, [most + 1], [0, most + 1]).ravel()
    too_large = size > max_size
    too_large[0] = False
    if too_large.any():
        part_of = np.where(too_large.take(part_of.astype(np.int64)), seeds, part_of)
    return fill_small_holes((part_of > 0).view(np.uint8), HOLE) & ~between(part_of)
