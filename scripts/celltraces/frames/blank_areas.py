"""Find areas of a frame that hold no data: borders and tiles of one value.

They are told by their straight edges from zeros that a camera without an offset measured, which are scattered or lie
between things with round outlines. Programs that align images or leave out tiles fill in other values as well: such an
area is one value, and the rest of the frame has noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from celltraces.frames import coverage
from celltraces.frames.coverage import Boxes

# A blank area is made of squares of zeros this wide, which may reach beyond the image: dim images hold single zeros.
SOLID = 15
# Its edges are straight, to a pixel, over this length, but for a fifth: outlines of cells are not.
STRAIGHT = 32
STRAIGHT_SHARE = 0.8
ROUGHNESS = 1.0
# A rectangle, as a tile that was lost, needs no long edges, only to be one: around it hardly a pixel is 0.
AROUND_RECTANGLE = 0.1
# Of another value than 0 an area that neither reaches the edge of the image nor is a rectangle is this long, or it is a
# simulated cell.
TILE = 64
# Where hardly any other pixel is 0, zeros beside a blank area are of it, also where it is too narrow for a square.
HARDLY_ANY = 1e-4
# It holds more pixels than would be 0 together by chance, with this probability in a frame, given the share of zeros
# elsewhere in it.
CHANCE = 1e-6
# Of another value than 0 it is a border, a tile or the end of a frame, not most of it as is a background without noise.
LARGEST_FILLED = 0.5
# Images with squares of more values than this have no noise. (Looking for each value takes the time of a whole frame.)
MOST_VALUES = 64


def find_blank_areas(image: np.ndarray, n_zeros: int, known: Boxes = ()) -> Boxes:
    """Boxes of the pixels of an image (H, W) uint16 that hold no data: those `known` to, which are 0, and those seen.

    n_zeros: how many pixels of the image are 0. An image without many, without a long run of one value along its edge,
    and without places where pixels far apart are the same, pays nothing for being looked at.
    """
    found: list[np.ndarray] = []
    if n_zeros - coverage.area_of(known) >= min(STRAIGHT, *image.shape):
        found += [seen for seen in [blank_pixels(image)] if seen is not None]
    filled = _filled(image, sorted({*_along_the_edges(image), *_of_squares(image)}))
    found += [] if filled is None else [filled]
    if not found:
        return known
    return coverage.boxes_of(np.logical_or.reduce([*found, coverage.mask_of_boxes(known, image.shape)]))


def _along_the_edges(image: np.ndarray) -> list[int]:
    """Values other than 0 of which an edge of the image (H, W) has so many pixels in a row as count as straight."""
    long = min(STRAIGHT, min(image.shape) // 2)
    values: set[int] = set()
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        ends = np.r_[np.flatnonzero(edge[1:] != edge[:-1]), len(edge) - 1]
        values.update(edge[ends[np.diff(ends, prepend=-1) >= max(long, 2)]].tolist())
    return sorted(values - {0})


def _of_squares(image: np.ndarray) -> list[int]:
    """Values other than 0 of which the image (H, W) may have a square as wide as blank areas are made of."""
    solid = _solid(image.shape)
    if solid < SOLID:
        return []
    # any such square holds a smaller one between four points of a grid
    step = (solid - 1) // 2
    grid = image[::step, ::step]
    first = grid[:-1, :-1]
    same = (first == grid[1:, :-1]) & (first == grid[:-1, 1:]) & (first == grid[1:, 1:]) & (first > 0)
    y, x = (at[:, None, None] * step for at in np.nonzero(same))
    inside = np.arange(step + 1)
    squares = image[y + inside[:, None], x + inside].reshape(len(y), (step + 1) ** 2)
    return np.unique(squares[(squares == squares[:, :1]).all(axis=1), 0]).tolist()


def _flat(image: np.ndarray) -> np.ndarray:
    """The middles of squares of one value in an image (H, W), as (H, W) bool."""
    square = np.ones((_solid(image.shape),) * 2, np.uint8)
    return cv2.dilate(image, square) == cv2.erode(image, square)


def _filled(image: np.ndarray, values: Sequence[int]) -> np.ndarray | None:
    """Areas of an image (H, W) that were filled with one of `values`, none of them 0, as (H, W) bool; None: no such.

    Tiles that were lost may each have a value of their own. Images without noise have areas of one value by nature: in
    other places as well, or most of the image.
    """
    if not values or len(values) > MOST_VALUES:
        return None
    flat = _flat(image) & (image > 0)
    of_squares = set(np.unique(image[flat]).tolist())
    seen: dict[int, np.ndarray | None] = {}
    for value in sorted(values, key=lambda value: value not in of_squares):
        seen[value] = blank_pixels((image != value).view(np.uint8), inner=TILE)
        if seen[value] is None and value in of_squares:
            return None  # squares of this value lie elsewhere
    areas = [area for area in seen.values() if area is not None]
    if not areas:
        return None
    filled = np.logical_or.reduce(areas)
    if np.count_nonzero(filled) > LARGEST_FILLED * image.size and not _is_end(filled):
        return None
    elsewhere = flat & ~filled
    known = [value for value, area in seen.items() if area is not None]
    return None if elsewhere.any() and np.setdiff1d(image[elsewhere], known).size else filled


def _is_end(area: np.ndarray) -> bool:
    """Whether the rest of an area (H, W) bool are whole rows, or whole columns, side by side: what a camera, or a
    program that was stopped, wrote of a frame."""
    rest = coverage.boxes_of(~area)
    return len(rest) == 1 and any(rest[0][axis + 2] - rest[0][axis] == side for axis, side in enumerate(area.shape))


def _solid(shape: Sequence[int]) -> int:
    """Width of the squares that a blank area is made of, odd, in an image of this shape."""
    return min(SOLID, min(shape) // 8 * 2 + 1)


def blank_pixels(image: np.ndarray, inner: int = SOLID) -> np.ndarray | None:
    """Blank areas of an image (H, W) of integers, as (H, W) bool; None where there are none or all is blank.

    inner: least length in pixels, along an axis, of those that neither reach the edge of the image nor are rectangles.
    """
    solid = _solid(image.shape)
    long = min(STRAIGHT, min(image.shape) // 2)
    if solid < 3 or not _may_be_seen(image, solid, long):
        return None
    inside = np.s_[solid:-solid, solid:-solid]
    zeros = np.ones([side + 2 * solid for side in image.shape], np.uint8)
    np.equal(image, 0, out=zeros[inside].view(bool))
    square = np.ones((solid, solid), np.uint8)
    areas = np.ascontiguousarray(cv2.morphologyEx(zeros, cv2.MORPH_OPEN, square, borderValue=1)[inside])
    n, labels, table, _ = cv2.connectedComponentsWithStats(areas, connectivity=8, ltype=cv2.CV_32S)
    n_zeros, n_in_areas = (np.count_nonzero(mask) for mask in (zeros[inside], areas))
    if n_in_areas == image.size:
        return None
    scattered = (n_zeros - n_in_areas) / (image.size - n_in_areas)
    smallest = max(long, math.log(CHANCE / image.size) / math.log(scattered) if scattered else 0)
    blank = np.zeros(n, bool)
    for label in range(1, n):
        x, y, width, height, area = table[label].tolist()
        reaches_edge = min(x, y) == 0 or x + width == image.shape[1] or y + height == image.shape[0]
        if area >= smallest and (reaches_edge or max(width, height) >= inner):
            rows = slice(max(y - 2, 0), y + height + 2)
            columns = slice(max(x - 2, 0), x + width + 2)
            blank[label] = _straight_edged(labels[rows, columns] != label, long)
        if not blank[label] and area == width * height and min(width, height) >= SOLID:
            around = image[max(y - 1, 0) : y + height + 1, max(x - 1, 0) : x + width + 1]
            n_around = around.size - area
            blank[label] = np.count_nonzero(around == 0) - area <= AROUND_RECTANGLE * n_around
    return _with_narrow_ends(blank[labels], zeros[inside]) if blank.any() else None


def _with_narrow_ends(found: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """The blank areas (H, W) bool with the zeros (H, W) uint8 that they are joined to, if there are hardly any others:
    areas that were turned end in corners that no square fits in."""
    n, parts = cv2.connectedComponents(zeros, connectivity=4, ltype=cv2.CV_32S)
    joined = np.zeros(n, bool)
    joined[parts[found]] = True
    joined[0] = False
    whole = joined[parts]
    others = np.count_nonzero(zeros) - np.count_nonzero(whole)
    return whole if others <= HARDLY_ANY * zeros.size else found


def _may_be_seen(image: np.ndarray, solid: int, long: int) -> bool:
    """Whether there can be a blank area, at little cost: a square of zeros holds a smaller one of a grid, and an area
    that is too narrow for a square lies along the edge of the image."""
    block = (solid + 1) // 2
    highest = image
    for _ in range(2):  # of rows, then of columns, which are rows of the transposed image: numpy is fastest along them
        n = len(highest) // block
        highest = np.ascontiguousarray(highest[: n * block].reshape(n, block, -1).max(axis=1).T)
    if not highest.all():
        return True
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    runs = (np.diff(np.flatnonzero(edge), prepend=-1, append=len(edge)).max() - 1 for edge in edges)
    return any(run >= long - 2 * ROUGHNESS for run in runs)


def _straight_edged(covered: np.ndarray, long: int) -> bool:
    """Whether an area is bounded as blank ones are. `covered`: (h, w) bool, the area's surroundings, two pixels
    farther than it on every side where the image goes on; `long`: length in pixels of what counts as straight."""
    height, width = covered.shape
    outlines, _ = cv2.findContours(covered.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    total = straight = 0.0
    for outline in outlines:
        corners = cv2.approxPolyDP(outline, ROUGHNESS, True)[:, 0]
        after = np.roll(corners, -1, axis=0)
        # what runs along the edge of the image is no edge of the area
        along = np.zeros(len(corners), bool)
        for axis, last in enumerate((width - 1, height - 1)):
            for side in (0, last):
                along |= (corners[:, axis] == side) & (after[:, axis] == side)
        lengths = np.hypot(*(after - corners)[~along].T)
        if len(lengths) and not (lengths >= long).any():
            return False  # a speck or a cell in the area: zeros were measured there
        total += float(lengths.sum())
        straight += float(lengths[lengths >= long].sum())
    return total > 0 and straight >= STRAIGHT_SHARE * total
