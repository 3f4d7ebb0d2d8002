"""Close, open and fill a mask, and number its 4-connected objects."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

from celltraces.frames import coverage
from celltraces.labels import bit_morphology
from celltraces.labels.left_out import TOO_LARGE, TOO_NARROW, TOO_SMALL
from celltraces.labels.objects import Components, components, means, painted, pixels_of

DEBRIS_AT_MOST = 0.2  # of what counts of all objects; on T98G debris has up to 0.06


def morph(
    mask: np.ndarray,
    first: Callable,
    second: Callable,
    size: int,
    iterations: int,
    uncovered: np.ndarray | None = None,
) -> np.ndarray:
    """`iterations` times `first`, then as often `second` (dilate, erode), with a disk `size` pixels wide.

    Beyond the image, and where it is uncovered, everything goes on as it is at the edge, so that an object cut by the
    edge is treated as the whole object would be, and one beside the edge does not grow onto it.
    """
    if size == 1 or iterations == 0:
        return mask
    if uncovered is not None:
        mask = coverage.continued(mask, uncovered, mirrored=False)
    shape = bit_morphology.disk(size // 2, iterations)
    reach = 2 * (len(shape) - 1)
    bands = second(first(bit_morphology.pack(mask, reach, goes_on=True), shape), shape)
    mask = bit_morphology.unpack(bands, reach, mask.shape)
    if uncovered is not None:
        mask[uncovered] = 0
    return mask


def openings(
    mask: np.ndarray, size: int, times: Sequence[int], uncovered: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """What `morph` gives for so many openings, in rising order; each erosion goes on from the last one."""
    if size > 1 and uncovered is not None:
        mask = coverage.continued(mask, uncovered, mirrored=False)
    reach = 2 * (len(bit_morphology.disk(size // 2, times[-1])) - 1)
    eroded = bit_morphology.pack(mask, reach, goes_on=True)
    for before, number in pairwise((0, *times)):
        eroded = bit_morphology.erode(eroded, bit_morphology.disk(size // 2, number - before))
        opened = bit_morphology.dilate(eroded, bit_morphology.disk(size // 2, number))
        opened = bit_morphology.unpack(opened, reach, mask.shape)
        if uncovered is not None and size > 1:
            opened = np.where(uncovered, np.uint8(0), opened)
        yield opened


def fill_holes(mask: np.ndarray, uncovered: np.ndarray | None = None) -> np.ndarray:
    """Fill background that is not 4-connected to the image border. (H, W) uint8 0/1 -> the same.

    uncovered: (H, W) bool, pixels without data, 0 in the mask: outside, as is all beyond the border.
    """
    wider = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(wider, None, (0, 0), 2)
    filled = (wider[1:-1, 1:-1] != 2).view(np.uint8)
    if uncovered is None:
        return filled
    holes = filled - mask
    _, labels = cv2.connectedComponents(holes, connectivity=4, ltype=cv2.CV_32S)
    open_ones = np.unique(labels[uncovered])
    return mask | (holes & ~np.isin(labels, open_ones))


def fill_small_holes(mask: np.ndarray, most: int) -> np.ndarray:
    """Fill what is 4-connected background of `most` pixels or fewer, also at the image's border. (H, W) uint8 0/1."""
    holes = components(mask ^ 1)
    return mask | painted(holes, (holes.area <= most).view(np.uint8), mask.shape)


def between(numbers: np.ndarray) -> np.ndarray:
    """(H, W) uint8 0/1: pixels of which the next one, to the right or below, has another number; both are not 0."""
    line = np.zeros(numbers.shape, bool)
    there = numbers > 0
    line[:, :-1] |= (numbers[:, 1:] != numbers[:, :-1]) & there[:, 1:]
    line[:-1] |= (numbers[1:] != numbers[:-1]) & there[1:]
    line &= there
    return line.view(np.uint8)


def remove_small(mask: np.ndarray, objects: Components, min_size: int) -> np.ndarray:
    """Clear the objects of fewer than `min_size` pixels. (H, W) uint8 0/1 -> the same."""
    kept = mask.copy()
    kept.ravel()[pixels_of(objects, objects.area < min_size)[0]] = 0
    return kept


def mark_vanished(objects: Components, left: Components, rejected: np.ndarray, min_size: int, least: int) -> None:
    """Mark in `rejected` the objects that have no pixel in common with those that are `left`.

    TOO_SMALL: those below `min_size`, of at least `least` pixels; TOO_NARROW: the larger ones.
    """
    area = objects.area
    why = np.where(area >= min_size, TOO_NARROW, np.where(area >= least, TOO_SMALL, 0)).astype(np.uint8)
    why[~vanished(objects, left)] = 0
    pixels, owner = pixels_of(objects, why > 0)
    rejected.ravel()[pixels] = why.take(owner)


def vanished(objects: Components, left: Components) -> np.ndarray:
    """Whether an object has no pixel in common with those that are `left`, (n,) bool; False for number 0, which is
    none."""
    gone = np.ones(objects.area.size, bool)
    # The first run that ends after a run begins: it has pixels of it if it begins before that ends.
    following = np.searchsorted(left.start + left.length, objects.start, "right")
    begins = np.append(left.start, np.iinfo(np.int64).max).take(following)
    gone[objects.owner[begins < objects.start + objects.length]] = gone[0] = False
    return gone


def at_edge(pixels: np.ndarray, shape: tuple[int, ...], uncovered: np.ndarray | None) -> np.ndarray:
    """Which of these positions lie at the edge of the image, or beside pixels without data; bool."""
    height, width = shape
    row, column = np.divmod(pixels, width)
    ends = (row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)
    if uncovered is not None:
        beside = cv2.dilate(uncovered.view(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
        ends |= beside.ravel().take(pixels).view(bool)
    return ends


def label_objects(
    mask: np.ndarray, min_size: int = 1, max_size: int | None = None, rejected: np.ndarray | None = None
) -> np.ndarray:
    """Label the 4-connected objects of `min_size` to `max_size` pixels (inclusive) 1..N in raster order.

    (H, W) uint8 0/1 -> (H, W) uint16, or uint32 when more than 65,535 objects are kept. The others are marked in
    `rejected`.
    """
    return number_objects(components(mask), mask.shape, min_size, max_size, rejected)


def number_objects(
    objects: Components,
    shape: tuple[int, ...],
    min_size: int = 1,
    max_size: int | None = None,
    rejected: np.ndarray | None = None,
) -> np.ndarray:
    """The same for objects that are known already; those with area 0 are none. Returns (H, W)."""
    area = objects.area
    keep = area >= max(min_size, 1)
    if max_size is not None:
        keep &= area <= max_size
    dtype = np.uint16 if np.count_nonzero(keep) <= 65535 else np.uint32
    labels = painted(objects, np.where(keep, np.cumsum(keep), 0).astype(dtype), shape)
    if rejected is not None:
        why = np.where(keep | (area == 0), 0, np.where(area < min_size, TOO_SMALL, TOO_LARGE)).astype(np.uint8)
        pixels, owner = pixels_of(objects, why > 0)
        rejected.ravel()[pixels] = why.take(owner)
    return labels


def without_debris(
    objects: Components,
    spread: np.ndarray,
    share: float,
    min_size: int,
    max_size: int,
    rejected: np.ndarray | None = None,
    uncovered: np.ndarray | None = None,
) -> Components:
    """The objects, with area 0 for those that are smaller than the usual one and have less than a share of its pixels.

    spread: (H, W), what `local_variance.n2_variance` gave. Where the mean of it in an object is below the usual one,
    its pixels count as many times less: dust that the closing joined is smooth in between. Usual are the area and the
    mean up to which objects of `min_size` to `max_size` pixels have half of all their pixels. What the edge of the
    image, or pixels without data, `uncovered` (H, W) bool, cut may be a part of a usual object, and counts as one. If
    all that would go has more than DEBRIS_AT_MOST of what counts, it is cells beside something large, and stays. What
    goes is marked in `rejected` as TOO_SMALL.
    """
    area = objects.area
    counted = (area >= max(min_size, 1)) & (area <= max_size)
    pixels, owner = pixels_of(objects, counted)
    variance = means(owner, spread.ravel().take(pixels), area)
    usual_variance = usual(variance[counted], area[counted])
    weight = np.minimum(1, variance / usual_variance) if usual_variance else np.ones(area.size)
    size = usual_area(area[counted])
    debris = counted & (area < size) & (area * weight < share * size)
    pixels, owner = pixels_of(objects, debris)
    cut = owner[at_edge(pixels, spread.shape, uncovered)]
    debris[cut] = weight[cut] < share
    if (area * weight)[debris].sum() > DEBRIS_AT_MOST * (area * weight)[counted].sum():
        return objects
    if rejected is not None:
        rejected.ravel()[pixels[debris.take(owner)]] = TOO_SMALL
    return objects._replace(area=np.where(debris, 0, area))


def usual_area(areas: np.ndarray) -> int:
    """The area (n,) up to which objects have half of all pixels; 0 where there are none."""
    return int(usual(areas, areas))


def usual(values: np.ndarray, areas: np.ndarray) -> float:
    """Of values (n,) of objects that have these areas (n,), that up to which they have half of all pixels; 0 where
    there are none."""
    if not areas.size:
        return 0.0
    order = np.argsort(values, kind="stable")
    total = np.cumsum(areas[order])
    return float(values[order[np.searchsorted(2 * total, total[-1])]])


def box_of(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask, and a margin where the image has one; none for an empty mask."""
    held = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    return tuple(slice(max(at[0] - margin, 0), at[-1] + margin + 1) if at.size else slice(0) for at in held)
