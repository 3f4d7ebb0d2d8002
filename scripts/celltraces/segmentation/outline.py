"""Draw the outline of each region in, from its halo to the edge of the cell.

The threshold of logstd.py is low, so that no cell is missed; the bright halo around a cell exceeds it too, and
regions end outside the halos. A cell ends where its dark body meets the halo, and there the local standard deviation
(STD) is highest. So of the outermost pixels of a region those are kept that come near to the highest STD in it and
are not on the bright side of the edge. The core of a region is always kept, so that no cell is lost.

Regions of more than 1.5 times `max_object_size` pixels are cells that have run together, and would be dropped: in them
the threshold is raised until they come apart.
"""

import cv2
import numpy as np

from celltraces.labels import bit_morphology
from celltraces.segmentation.local_variance import greatest_up_to
from celltraces.segmentation.mask_objects import Components, components, fill_holes, morph

LAYER, LAYERS = 2, 6  # px, number: a region's edge is sought as deep as all layers together
CORE = 6  # one in so many pixels of a region, at least, is in its core
BELOW_EDGE = 0.35  # log-STD, below the mean of the layer with the highest
AROUND = 7  # px: width of a pixel's surroundings
BRIGHTER = 0.15  # local STDs: the mean of 3 x 3 pixels so much above that is halo, where nothing else tells of one
HALO = 0.25  # STDs of the edge: a layer so much above what is outside the region is halo
HALO_PIXEL = 0.8  # the same for one pixel
CLOSE, OPEN = 2, 1  # times, where morph_iterations is not less
PIECE = 4  # pieces of a region are kept that are at least the fourth part of the largest
RAISE, RAISES = 0.5, 6  # log-STD, number
PART = 20  # what comes apart is a cell if it has at least this part of max_object_size
HUGE = 1.5  # times max_object_size: cells that have run together, if they come apart


def on_cells(
    mask: np.ndarray,
    image: np.ndarray,
    spread: np.ndarray,
    window: int,
    limit: float,
    *,
    morph_size: int,
    morph_iterations: int,
    min_size: int,
    max_size: int,
) -> Components:
    """The regions of `mask` drawn in to the cells; those far larger than `max_size` are divided if they come apart.

    mask: (H, W) uint8 0/1, 4-connected regions. image: (H, W) integers of up to 16 bits. spread: what
    `local_variance.n2_variance` gave for it with `window`. limit: log-STD above which a pixel was foreground.
    Returns the objects, all within `mask`; those with area 0 are none.
    """
    settings = (window, limit, morph_size, morph_iterations)
    regions = components(mask)
    if regions.area.max() > HUGE * max_size:
        mask = come_apart(mask, regions, spread, *settings, min_size, max_size)
        regions = components(mask)
    return refine(mask, regions, image, spread, *settings)


def refine(
    mask: np.ndarray,
    regions: Components,
    image: np.ndarray,
    spread: np.ndarray,
    window: int,
    limit: float,
    morph_size: int,
    morph_iterations: int,
) -> Components:
    """The regions of `mask` without what lies outside their cells' edges; see `on_cells`.

    1. Depth: erosions with a disk of radius 2 take six layers off a region, one by one. Its core are the layers (and
       what is within them) down from the innermost that still has a sixth of the region's pixels.
    2. Texture is log-STD less `limit`, at least 0. The edge is in the layer outside the core with the highest mean; its
       STD is that which this mean stands for.
    3. The level outside is that of the pixels of no region around those of the outermost layer (on every second pixel
       of every second row: the mean of 3 x 3, averaged over the layer). The region has taken in a halo if a layer
       outside the core is on average brighter than that by a quarter of the edge's STD.
       Then pixels outside the core are kept if their texture is no more than 0.35 below the edge's, and they are not
       bright: neither brighter than the mean of 7 x 7 pixels around them, nor 0.8 of the edge's STD above the level.
       Otherwise all are kept but those whose mean of 3 x 3 is 0.15 local STDs above their mean of 7 x 7 pixels.
    4. What is kept is closed, filled and opened, within the region. Pieces of less than a quarter of the region's
       largest are dropped. A region of which no piece has a sixth stays as it is.
    """
    pixels, owner, area = regions
    depth = _depth(mask).ravel()[pixels]
    layer = owner * (LAYERS + 1) + depth
    count = np.bincount(layer, minlength=area.size * (LAYERS + 1)).reshape(area.size, -1)
    deeper = np.cumsum(count[:, ::-1], axis=1)[:, ::-1]
    core = (CORE * deeper >= area[:, None]).sum(axis=1) - 1

    outside = np.flatnonzero(depth < core[owner])
    of, at = owner[outside], pixels[outside]
    std = np.sqrt(spread.ravel()[at]) / window**2
    with np.errstate(divide="ignore"):
        texture = np.maximum(np.log(std) - limit, 0)
    mean = np.bincount(layer[outside], texture, count.size).reshape(count.shape) / np.maximum(count, 1)
    edge = mean.max(axis=1)
    counts = image.ravel()[at].astype(np.float64)
    # Every second pixel of every second row is enough to tell the level.
    beside = (mask ^ 1)[::2, ::2]
    y, x = np.divmod(at[depth[outside] == 0], mask.shape[1])
    at_half = y // 2, x // 2
    room = _box_sums(beside, 3)[at_half]
    beyond = _box_sums(image[::2, ::2] * beside, 3)[at_half]
    rim = of[depth[outside] == 0][room > 0]
    n_known = np.bincount(rim, minlength=area.size)
    level = np.bincount(rim, beyond[room > 0] / room[room > 0], area.size) / np.maximum(n_known, 1)
    excess = np.where((n_known > 0)[of], counts - level[of], 0)
    brightest = (np.bincount(layer[outside], excess, count.size).reshape(count.shape) / np.maximum(count, 1)).max(
        axis=1
    )
    edge_std = np.exp(limit + edge)
    halo = (brightest > HALO * edge_std)[of]

    around = _box_sums(image, AROUND).ravel()[at] / AROUND**2
    dark = (counts <= around) & (excess <= HALO_PIXEL * edge_std[of])
    at_edge = texture >= edge[of] - BELOW_EDGE
    unclear = _box_sums(image, 3).ravel()[at] / 9 - around <= BRIGHTER * std
    kept = np.ones(pixels.size, bool)
    kept[outside] = np.where(halo, at_edge & dark, unclear)

    refined = np.zeros_like(mask)
    refined.ravel()[pixels[kept]] = 1
    refined = (
        morph(refined, bit_morphology.dilate, bit_morphology.erode, morph_size, min(CLOSE, morph_iterations)) & mask
    )
    refined = fill_holes(refined)
    refined = (
        morph(refined, bit_morphology.erode, bit_morphology.dilate, morph_size, min(OPEN, morph_iterations)) & mask
    )
    return _without_crumbs(refined, regions)


def _box_sums(image: np.ndarray, width: int) -> np.ndarray:
    """(H, W) float32 sums over `width` x `width` pixels: whole numbers below 2**24, and so exact."""
    if image.dtype not in (np.uint8, np.uint16):
        image = image.astype(np.float32)
    return cv2.boxFilter(image, cv2.CV_32F, (width, width), normalize=False, borderType=cv2.BORDER_REFLECT)


def _depth(mask: np.ndarray) -> np.ndarray:
    """How many layers lie outside of a pixel's, up to LAYERS; 0 outside the mask. The image goes on beyond its edge."""
    reach = LAYER * LAYERS
    rows = bit_morphology.pack(cv2.copyMakeBorder(mask, reach, reach, reach, reach, cv2.BORDER_REPLICATE))
    depth = np.zeros(mask.shape, np.uint8)
    for _ in range(LAYERS):
        rows = bit_morphology.erode(rows, bit_morphology.disk(LAYER))
        depth += bit_morphology.unpack(rows, reach + mask.shape[1])[reach:-reach, reach:]
    return depth


def _without_crumbs(refined: np.ndarray, regions: Components) -> Components:
    """The pieces of `refined`, small ones with area 0; regions of which too little is left are whole again."""
    region = np.zeros(refined.size, np.int32)
    region[regions.pixels] = regions.owner
    at, piece, size = components(refined)
    of = np.zeros(size.size, np.int32)
    of[piece] = region[at]
    largest = np.zeros(regions.area.size, np.int64)
    np.maximum.at(largest, of, size)
    lost = CORE * largest < regions.area
    if lost.any():
        kept = (PIECE * size >= largest[of])[piece]
        result = np.zeros_like(refined)
        result.ravel()[at[kept]] = 1
        result.ravel()[regions.pixels[lost[regions.owner]]] = 1
        return components(result)
    return Components(at, piece, np.where(PIECE * size >= largest[of], size, 0))


def come_apart(
    mask: np.ndarray,
    regions: Components,
    spread: np.ndarray,
    window: int,
    limit: float,
    morph_size: int,
    morph_iterations: int,
    min_size: int,
    max_size: int,
) -> np.ndarray:
    """`mask` with parts in the place of regions of more than 1.5 times `max_size` pixels, where these come apart.

    Every second pixel of every second row is looked at, which is enough here. In steps of 0.5 the threshold on log-STD
    is raised above `limit`, in each step only within what is still larger than `max_size`, and what exceeds it is
    closed, filled and opened. A region comes apart if it gives two parts or more, of a twentieth of `max_size` to
    `max_size` pixels. One that does not is one thing, and is left to the limit of sizes.
    """
    region = np.zeros(mask.shape, np.int32)
    region.ravel()[regions.pixels] = np.where(regions.area > HUGE * max_size, np.arange(regions.area.size), 0)[
        regions.owner
    ]
    half = region[::2, ::2]
    parts_of_all = np.zeros(half.shape, np.uint8)
    reach = morph_size // 2 * min(CLOSE, morph_iterations) // 2  # half of that of the disks, here
    box = _box(half > 0, 2 * reach + 1)
    half, spread = np.ascontiguousarray(half[box]), np.ascontiguousarray(spread[::2, ::2][box])
    highest = int(spread.max(initial=0))
    n_parts = np.zeros(regions.area.size, np.int64)
    parts = parts_of_all[box]
    rest = (half > 0).view(np.uint8)
    for step in range(1, RAISES + 1):
        if not rest.any():
            break
        strict = (spread > greatest_up_to(limit + step * RAISE, window, highest)).view(np.uint8) & rest
        strict = fill_holes(morph(strict, bit_morphology.dilate, bit_morphology.erode, 2 * reach + 1, 1) & rest)
        strict = morph(strict, bit_morphology.erode, bit_morphology.dilate, 2 * reach + 1, 1) & rest
        pixels, owner, area = components(strict)
        cell = (4 * area >= min_size) & (4 * PART * area >= max_size) & (4 * area <= max_size)
        parts[np.unravel_index(pixels[cell[owner]], parts.shape)] = 1
        origin = np.zeros(area.size, np.int32)
        origin[owner] = half.ravel()[pixels]
        np.add.at(n_parts, origin[cell], 1)
        rest = np.zeros(half.shape, np.uint8)
        rest.ravel()[pixels[(4 * area > max_size)[owner]]] = 1
    apart = (n_parts > 1)[region].view(np.uint8)
    height, width = mask.shape
    parts = np.repeat(np.repeat(parts_of_all, 2, axis=0), 2, axis=1)[:height, :width]
    return mask & ~apart | parts & apart


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask, and a margin where the image has one; none for an empty mask."""
    held = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    return tuple(slice(max(at[0] - margin, 0), at[-1] + margin + 1) if at.size else slice(0) for at in held)
