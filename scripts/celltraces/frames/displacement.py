"""Measure how far a frame is displaced against an earlier one: how far the stage moved between them.

Measured on binned pictures while frames are copied, by the cross-correlation of neighbouring frames (through FFTs). A
maximum of it is no more than a candidate: it counts when the pictures, laid over each other there, are alike on all
that they share. What lies still while several other things move together (dust on the camera) is left out. Pictures
that are noise alone, or have nothing in common, give no displacement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np

from celltraces.frames.stage_movement import NAMES, bin_width

LEAST_SIDE = 8
SMOOTH = 1 / 12  # of its longest side: what is smoother than this is light, not structure
BRIGHTEST = 8.0  # standard deviations: debris counts no more than this
CANDIDATES = 4
LEAST_SHARED = 0.15  # of the area: with less in common nothing is measured
LEAST_ALIKE = 8.0  # times what pictures without anything in common reach
LEAST_PHASE = 9.0  # standard deviations of a phase correlation: pictures without anything in common reach 6
LEAST_PHASE_ALIKE = 0.1  # correlation there, weighed with what is shared: the camera's fixed pattern reaches less
LEAST_SIGNIFICANT = 6.0  # standard errors of a correlation: with less it may be chance, as of a few noisy cells
CHANGED = 3.0  # standard deviations: pixels that change by less lie still
MOVING_ALIKE, MOVING_THINGS = 0.4, 2.0  # beside things that lie still: how alike, and more than so many
GATHER = 7  # binned px: structure that is nearer belongs to the same thing
PART = 0.4  # of how alike frames of the movie usually are: with less they are not the same place
AS_USUAL = 0.96  # of that: frames that are so much alike where they are expected are not looked at further


class Match(NamedTuple):
    """Displacement of a picture against an earlier one, in binned pixels; their correlation there, and unmoved."""

    y: float
    x: float
    alike: float
    unmoved: float


def structure_of(image: np.ndarray) -> np.ndarray | None:
    """(H, W) uint16 -> the structure of its binned picture, in standard deviations of its noise, (h, w) float32.

    None where there is no structure at all. Of wide bins some rows do.
    """
    step = bin_width(image.shape)
    height, width = (side // step for side in image.shape)
    if min(height, width) < LEAST_SIDE:
        return None
    rows = image[: height * step : max(1, step // 4), : width * step]
    small = cv2.resize(rows, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    reach = 2 * round(SMOOTH * max(height, width) / 2) + 1
    structure = small - cv2.blur(small, (reach, reach), borderType=cv2.BORDER_REFLECT)
    scale = 1.4826 * float(np.median(np.abs(structure[::4, ::4]))) or float(structure.std())
    if scale == 0:
        return None
    structure = np.clip(structure / np.float32(scale), -BRIGHTEST, BRIGHTEST)
    return structure - structure.mean()


def match(before: np.ndarray, after: np.ndarray) -> Match | None:
    """Where `after` fits best onto `before`; None where it does so nowhere."""
    found = _best(before, after)
    if found is not None and max(abs(found.y), abs(found.x)) > 1:
        return found
    changed = np.abs(after - before) > CHANGED
    moving = [np.where(changed, picture, np.float32(0)) for picture in (before, after)]
    beside = _best(*moving)
    if (
        beside is not None
        and max(abs(beside.y), abs(beside.x)) > 1
        and beside.alike > MOVING_ALIKE
        and _things(*moving, round(beside.y), round(beside.x)) > MOVING_THINGS
    ):
        return beside
    return found


def match_near(before: np.ndarray, after: np.ndarray, y: int, x: int, least: float) -> Match | None:
    """The same, if `after` fits best within half a pixel of (y, x), and is alike by `least` there; costs no FFT."""
    if _share(before.shape, y, x) < LEAST_SHARED:
        return None
    middle = _alike(before, after, y, x)
    if middle < least:
        return None
    rows = [_alike(before, after, y + step, x) for step in (-1, 1)]
    columns = [_alike(before, after, y, x + step) for step in (-1, 1)]
    if middle <= max(*rows, *columns):
        return None
    fine_y, fine_x = (_vertex(low, middle, high) for low, high in (rows, columns))
    return Match(y + fine_y, x + fine_x, middle, middle if y == x == 0 else _alike(before, after, 0, 0))


def _things(before: np.ndarray, after: np.ndarray, y: int, x: int) -> float:
    """How many separate things of like weight two pictures have in common at a displacement: the inverse of the sum of
    the squares of their shares."""
    first, second = _overlap(before, after, y, x)
    common = np.maximum(first * second, 0)
    mask = (common > common.max() / 20).view(np.uint8)
    _, things = cv2.connectedComponents(cv2.dilate(mask, np.ones((GATHER, GATHER), np.uint8)))
    weights = np.bincount(things.ravel(), common.ravel())[1:]
    return float(weights.sum() ** 2 / np.square(weights).sum()) if weights.any() else 0.0


def _best(before: np.ndarray, after: np.ndarray) -> Match | None:
    """The displacement at which the pictures are most alike, weighed with the area that they share."""
    shape = before.shape
    norm = np.sqrt(np.square(before).sum() * np.square(after).sum())
    if norm == 0:
        return None
    spectrum = np.fft.rfft2(after / norm) * np.fft.rfft2(before).conj()
    surface = np.fft.irfft2(spectrum, shape)
    noise = 1.4826 * float(np.median(np.abs(surface[::4, ::4])))
    best = _most_alike(before, after, _candidates(surface), LEAST_ALIKE * noise)
    if best is None:  # of cells on a grid the surface is full of peaks; what they do not repeat tells them apart
        phases = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), np.finfo(spectrum.dtype).tiny), shape)
        if phases.max() > LEAST_PHASE * phases.std():
            best = _most_alike(before, after, [_highest(phases)], LEAST_PHASE_ALIKE)
    if best is None or _significance(before, after, *best[:2]) < LEAST_SIGNIFICANT:
        return None
    y, x, alike = best
    around = (
        surface[np.arange(y - 1, y + 2) % shape[0], x % shape[1]],
        surface[y % shape[0], np.arange(x - 1, x + 2) % shape[1]],
    )
    fine_y, fine_x = (_vertex(*three.tolist()) for three in around)
    return Match(y + fine_y, x + fine_x, alike, _alike(before, after, 0, 0))


def _most_alike(
    before: np.ndarray, after: np.ndarray, candidates: Sequence[tuple[int, int]], least: float
) -> tuple[int, int, float] | None:
    """Of displacements on a periodic surface that at which the pictures are most alike, and how much.

    What they share weighs in; None where nothing weighs more than `least`.
    """
    shape = before.shape
    best, best_rank = None, least
    for y, x in candidates:
        for at_y in {y, y - shape[0] if y > 0 else y + shape[0]}:
            for at_x in {x, x - shape[1] if x > 0 else x + shape[1]}:
                share = _share(shape, at_y, at_x)
                if share < LEAST_SHARED:
                    continue
                alike = _alike(before, after, at_y, at_x)
                if alike * share**0.5 > best_rank:
                    best, best_rank = (at_y, at_x, alike), alike * share**0.5
    return best


def _share(shape: Sequence[int], y: int, x: int) -> float:
    """Share of its area that a picture shares with one displaced by (y, x)."""
    return max(1 - abs(y) / shape[0], 0) * max(1 - abs(x) / shape[1], 0)


def _candidates(surface: np.ndarray) -> list[tuple[int, int]]:
    """No displacement, and the highest points of a periodic surface, none in the neighbourhood of another."""
    left = surface.copy()
    found = [(0, 0)]
    height, width = surface.shape
    for _ in range(CANDIDATES):
        y, x = _highest(left)
        found.append((y, x))
        rows, columns = (np.arange(at - 3, at + 4) % side for at, side in ((y, height), (x, width)))
        left[np.ix_(rows, columns)] = -np.inf
    return list(dict.fromkeys(found))


def _highest(surface: np.ndarray) -> tuple[int, int]:
    """The highest point of a periodic surface, as a displacement."""
    height, width = surface.shape
    y, x = divmod(int(np.argmax(surface)), width)
    return y if 2 * y <= height else y - height, x if 2 * x <= width else x - width


def _alike(before: np.ndarray, after: np.ndarray, y: int, x: int) -> float:
    """Correlation of two pictures where they overlap, when `after` is displaced by (y, x) against `before`."""
    first, second = (part.ravel() for part in _overlap(before, after, y, x))
    norm = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / norm if norm > 0 else 0.0


def _significance(before: np.ndarray, after: np.ndarray, y: int, x: int) -> float:
    """The sum of products of two pictures displaced by (y, x), in standard errors of a sum of independent products."""
    first, second = _overlap(before, after, y, x)
    products = (first * second).ravel()
    error = float(np.sqrt(products @ products))
    return float(products.sum()) / error if error > 0 else 0.0


def _overlap(before: np.ndarray, after: np.ndarray, y: int, x: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of two pictures that show the same when `after` is displaced by (y, x) against `before`."""
    height, width = before.shape
    return (
        before[max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)],
        after[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)],
    )


def _vertex(low: float, middle: float, high: float) -> float:
    """Vertex of the parabola through three neighbouring points, relative to the middle one."""
    bend = low - 2 * middle + high
    return min(max((low - high) / (2 * bend), -0.5), 0.5) if bend < 0 else 0.0


def follower() -> Callable[[int, np.ndarray | None], dict[str, float | None]]:
    """A function that measures one frame after the other: follow(frame, image) -> NAMES.

    image: (H, W) uint16; None where the file does not hold it. y, x: displacement in pixels of the frame, down and
    right positive, against frame `since`, which is the one before unless that could not be compared; alike, unmoved:
    correlation of the two at that displacement and at none. All are None for the first frame, and where nothing can be
    measured; of a frame that is unlike the last that was measured `unmoved` alone is known. When the next is like such
    a frame, the chain starts anew there: `since` of that next frame is a frame without a displacement.
    """
    reference: tuple[int, np.ndarray] | None = None
    pending: tuple[int, np.ndarray] | None = None
    usual: list[float] = []
    expected = (0, 0)

    def follow(frame: int, image: np.ndarray | None) -> dict[str, float | None]:
        nonlocal reference, pending, expected
        nothing: dict[str, float | None] = dict.fromkeys(NAMES)
        picture = None if image is None else structure_of(image)
        if picture is None:
            return nothing
        if reference is None:
            reference = frame, picture
            return nothing
        for since, earlier in filter(None, (reference, pending)):
            found = match_near(earlier, picture, *expected, AS_USUAL * median(usual)) if usual else None
            found = found or match(earlier, picture)
            if found is not None and found.alike >= PART * median(usual or [0.0]):
                usual.append(found.alike)
                reference, pending = (frame, picture), None
                expected = round(found.y), round(found.x)
                step = bin_width(image.shape)
                values = (found.y * step, found.x * step, found.alike, found.unmoved)
                return dict(zip(NAMES, (*(round(value, 3) for value in values), since), strict=True))
        pending = frame, picture
        return nothing | {"unmoved": round(_alike(reference[1], picture, 0, 0), 3)}

    return follow
