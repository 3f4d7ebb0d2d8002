"""Find the edge of the cell in each region, between its dark body and the bright halo around it."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from celltraces.labels.objects import Components, means

LAYER, LAYERS = 2, 6  # px, number: a region's edge is sought as deep as all layers together
WIDE_LAYERS = 12  # number, of a region in a wide halo
DEEPEST = 255 // LAYER  # layers that are told apart
CORE = 6  # one in so many pixels of a region, at least, is in its core
BELOW_EDGE = 0.25  # log-STD, below the mean of the layer with the highest
AROUND = 7  # px: width of a pixel's surroundings
BESIDE = 2  # px: how far outside of a region the level is measured
BRIGHTER = 0.1  # STDs of the limit: a mean of 3 x 3 pixels so much above that is halo, where nothing else tells of one
HALO = 0.25  # STDs of the edge: a layer so much above what is outside the region is halo
NONE = -(1 << 20)  # counts: below those of all images
HALO_PIXEL, BODY = 1.0, 0.5  # STDs of the edge, darkness of the body: one pixel is halo that is above their difference


class Settings(NamedTuple):
    """With which regions were found, and how large an object is."""

    window: int  # px
    limit: float  # log-STD above which a pixel was foreground
    morph_size: int  # px, odd
    morph_iterations: int
    min_size: float  # px, both inclusive
    max_size: float


class Frame(NamedTuple):
    """What is known of each pixel, (H, W) each, and with what the regions were found."""

    image: np.ndarray
    spread: np.ndarray
    around: np.ndarray  # sums of AROUND x AROUND pixels
    window: int  # px
    limit: float  # log-STD above which a pixel was foreground


class Outer(NamedTuple):
    """The pixels in the outer layers of n regions."""

    at: np.ndarray  # positions, in raster order
    of: np.ndarray  # the region of each
    counts: np.ndarray  # of the image
    layer: np.ndarray  # position of its layer in the flat `number`
    number: np.ndarray  # (n, layers): pixels in each layer
    level: np.ndarray  # (n,): what `levels_beside` gave
    excess: np.ndarray  # (n, layers): how much brighter each layer is than the level; 0 where there is none


class Edges(NamedTuple):
    """What `find_edges` found in n regions of which `layers` layers were looked at."""

    at: np.ndarray  # positions of the pixels in these layers, in raster order
    of: np.ndarray  # the region of each of these
    kept: np.ndarray  # whether it stays
    excess: np.ndarray  # (n, layers): how much brighter each layer is than what is outside; 0 for those in the core
    std: np.ndarray  # (n,): of the edge
    inside: np.ndarray  # bool, of each of the pixels: it lies deeper than the edge's layer
    dim: np.ndarray  # bool, of each of the pixels: it is not as bright as the halo that its region has


def outer_pixels(regions: Components, depth: np.ndarray, ground: np.ndarray, image: np.ndarray) -> Outer:
    """Those of all regions in LAYERS layers. depth: (H, W), `depths`; ground: (H, W) uint8 0/1, what is background."""
    depth = depth.ravel()
    at = (depth < LAYERS).nonzero()[0]
    of = regions.owner.repeat(np.diff(at.searchsorted(regions.start), append=at.size))
    depth = depth.take(at)
    rim = (depth == 0).nonzero()[0]
    level = levels_beside(at.take(rim), of.take(rim), regions.area.size, ground, image)
    return in_layers(at, of, depth, level, LAYERS, image)


def in_layers(
    at: np.ndarray, of: np.ndarray, depth: np.ndarray, level: np.ndarray, layers: int, image: np.ndarray
) -> Outer:
    """These pixels `at` of regions `of`, with the figures of their layers. depth: of each, less than `layers`."""
    counts = image.ravel().take(at)
    layer = of * layers + depth
    number = np.bincount(layer, minlength=level.size * layers).reshape(-1, layers)
    excess = means(layer, counts, number) - level[:, None]
    excess[(number == 0) | np.isnan(excess)] = 0
    return Outer(at, of, counts, layer, number, level, excess)


def find_edges(outer: Outer, area: np.ndarray, frame: Frame) -> Edges:
    """Steps 1 to 3 of `outline.refine`.

    outer: the pixels in the outer layers of some regions; those of which it has none have no edge. area: of each
    region.
    """
    at, of, counts, layer, number, level, excess = outer
    window, limit = frame.window, frame.limit
    within = area[:, None] - number.cumsum(axis=1)  # pixels within each layer
    core = (CORE * within >= area[:, None]).sum(axis=1)
    outside = np.arange(number.shape[1]) < core[:, None]  # of the core

    values = frame.spread.ravel().take(at)
    offset = 2 * math.log(window) + limit  # of a log-STD above the limit, from half the logarithm of `spread`
    # To a millionth, in a tenth of numpy.log's time; of no values OpenCV gives None (a region that fills the frame)
    texture = cv2.log(values.astype(np.float32)).ravel() if at.size else np.zeros(0, np.float32)
    texture *= 0.5
    texture -= offset
    texture = np.where(outside, means(layer, np.maximum(texture, 0, out=texture), number), 0)
    edge = texture.max(axis=1)
    edge_std = np.exp(limit + edge)
    excess = np.where(outside, excess, 0)
    halo = excess.max(axis=1) > HALO * edge_std

    least = np.where(edge > BELOW_EDGE, np.exp(2 * (edge - BELOW_EDGE + offset)), 0)
    most = level + HALO_PIXEL * edge_std - BODY * np.maximum(-excess.min(axis=1), 0)
    around = frame.around.ravel().take(at)
    dim = counts <= np.floor(np.where(halo, most, NONE)).astype(np.int32).take(of)
    kept = (values >= np.ceil(least).astype(values.dtype).take(of)) & dim
    kept &= np.multiply(counts, AROUND**2, dtype=np.float32) <= around
    unclear = (~halo).take(of).nonzero()[0]
    if unclear.size:
        smooth = box_sums(frame.image, 3).ravel().take(at.take(unclear)) / 9
        kept[unclear] = smooth - around.take(unclear) / AROUND**2 <= BRIGHTER * math.exp(limit)
    kept |= ~outside.take(layer)
    inside = np.arange(number.shape[1]) > texture.argmax(axis=1)[:, None]
    return Edges(at, of, kept, excess, edge_std, inside.take(layer), dim)


def levels_beside(at: np.ndarray, of: np.ndarray, n: int, ground: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Mean counts beside `n` regions: of the pixels of `ground`, (H, W) uint8 0/1, that are 2 px left, right, above or
    below one of the pixels `at` of region `of`, as often as they are; NaN where there are none. (n,) float64."""
    width = ground.shape[1]
    free = cv2.copyMakeBorder(ground, BESIDE, BESIDE, BESIDE, BESIDE, cv2.BORDER_CONSTANT, value=0).view(bool).ravel()
    wide = width + 2 * BESIDE
    place = at + at // width * (2 * BESIDE) + BESIDE * wide + BESIDE
    around = np.concatenate([place + BESIDE * step for step in (wide, -wide, 1, -1)])
    beside = free.take(around).nonzero()[0]
    pixels = np.concatenate([at + BESIDE * step for step in (width, -width, 1, -1)]).take(beside)
    whose = np.concatenate([of] * 4).take(beside)
    number, total = np.bincount(whose, minlength=n), np.bincount(whose, image.ravel().take(pixels), n)
    with np.errstate(invalid="ignore"):
        return total / number


def box_sums(image: np.ndarray, width: int) -> np.ndarray:
    """(H, W) float32 sums over `width` x `width` pixels: whole numbers below 2**24, and so exact."""
    if image.dtype not in (np.uint8, np.uint16):
        image = image.astype(np.float32)
    return cv2.boxFilter(image, cv2.CV_32F, (width, width), normalize=False, borderType=cv2.BORDER_REFLECT)


def depths(mask: np.ndarray, uncovered: np.ndarray | None) -> np.ndarray:
    """How many layers lie outside of a pixel's, (H, W) uint8; DEEPEST, which is the most, where no object is.

    Objects go on where the image ends, or has no data.
    """
    with_more = mask if uncovered is None else mask | uncovered.view(np.uint8)
    depth = cv2.distanceTransform(with_more, cv2.DIST_L1, 3, dstType=cv2.CV_8U)
    depth -= 1  # where no object is, that gives 255
    depth //= LAYER
    if uncovered is not None:
        depth[uncovered] = DEEPEST
    return depth
