"""Find fluorescence channels that lie beside the cells: the light of nearly all cells is displaced the same way.

A filter cube, another camera or a channel that drifts moves a whole channel. Light that fills cells unevenly lies to
all sides of their middles, one to the left, another to the right; debris lies beside one cell or another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from celltraces.frames import coverage
from celltraces.storage.frames import Frames

LEVEL_OF = 8  # one in so many pixels tells the level and noise of what lies beside the cells
FRAMES = 16  # of a channel, over all FOVs, that are looked at
REACH = 40  # px: displacements that are looked for
SIDE = 1024  # rows or columns of the pictures that are compared, at most
CLEAR = 3.0  # standard deviations of the background, at least, to which light counts
ALIKE = 0.15  # correlation of light and cells, at least
FILLED = 0.25  # of a cell or of its displaced outline: it shines
FEWEST, NEARLY_ALL = 15, 0.9  # cells that shine, and of these those with more light in the displaced outline
SAME = 0.8  # of the places looked at: they tell the same displacement
APART = 1.0, 0.25  # px, and of the displacement: within that two are the same


class Shift(NamedTuple):
    """How far the light of a frame lies down (y) and to the right (x) of the cells, px; how many of its cells shine,
    and how many of these have more light where their outlines are displaced so."""

    fov: int
    frame: int
    y: float
    x: float
    shining: int
    agreeing: int

    @property
    def size(self) -> float:
        """The distance, px."""
        return float(np.hypot(self.y, self.x))


def shifts(
    labeled: Mapping[int, Frames], light: Mapping[int, Frames], backgrounds: Mapping[int, Frames]
) -> list[Shift]:
    """Displacements of a channel in up to FRAMES frames of its FOVs, in which they can be told.

    By FOV: labels of cells, light as it is measured in cells, its background, (T, H, W) each.
    """
    places = [(fov, frame) for fov in light for frame in range(light[fov].shape[0]) if light[fov].present(frame)]
    found = []
    for fov, frame in places[:: -(-len(places) // FRAMES) or 1]:
        above = light[fov].read(frame).astype(np.float32) - backgrounds[fov].read(frame)
        uncovered = coverage.of_frame(light[fov].attributes, frame)
        if uncovered:
            above[coverage.mask_of_boxes(uncovered, above.shape)] = 0
        moved = shift_of_light(labeled[fov].read(frame), above)
        if moved is not None:
            found.append(Shift(fov, frame, *moved))
    return found


def shift_of_light(labels: np.ndarray, light: np.ndarray) -> tuple[float, float, int, int] | None:
    """How far light (H, W) float32, less its background, lies from the cells (H, W): the last four of Shift, or None.

    Where the correlation of the two is highest. Each pixel counts by whether it shines rather than by how much, so that
    bright cells are not all.
    """
    step = max(1, -(-max(labels.shape) // SIDE))
    height, width = (side // step for side in labels.shape)
    cells = labels[: height * step : step, : width * step : step]
    if step > 1:
        import cv2

        light = cv2.resize(light[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA)
    mask = cells > 0
    if not mask.any() or mask.all():
        return None
    outside = light[~mask][::LEVEL_OF]
    level = float(np.median(outside))
    noise = 1.4826 * float(np.median(np.abs(outside - level)))
    full = max(float(np.median(light[mask])) - level, CLEAR * noise)
    if full <= 0:
        return None
    shines = np.clip((light - level) / np.float32(full), 0, 1)
    peak = _peak(mask.astype(np.float32), shines, max(REACH // step, 2))
    if peak is None:
        return None
    y, x = peak
    # In hundredths of a pixel, since transforms may differ in the last digit
    return round(y * step, 2), round(x * step, 2), *_agreeing(cells, shines, round(y), round(x))


def _peak(mask: np.ndarray, shines: np.ndarray, reach: int) -> tuple[float, float] | None:
    """The displacement of `shines` against the mask, (H, W) float32 each, where they are most alike; None: nowhere."""
    first, second = mask - mask.mean(), shines - shines.mean()
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if norm == 0:
        return None
    near = _correlation(first, second, reach) / norm
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    if near[y, x] < ALIKE or not (0 < y < 2 * reach and 0 < x < 2 * reach):
        return None
    return y - reach + _vertex(*near[y - 1 : y + 2, x]), x - reach + _vertex(*near[y, x - 1 : x + 2])


def _correlation(first: np.ndarray, second: np.ndarray, reach: int) -> np.ndarray:
    """Sums of the products of two images (H, W) float32 of which the second is displaced by up to `reach` px along
    each axis: (2 * reach + 1,) * 2 float32, nothing displaced in the middle. By Fourier transforms."""
    import cv2

    height, width = first.shape
    tall, broad = (cv2.getOptimalDFTSize(side + reach) for side in (height, width))
    one, other = (
        cv2.dft(cv2.copyMakeBorder(image, 0, tall - height, 0, broad - width, cv2.BORDER_CONSTANT, value=0))
        for image in (first, second)
    )
    sums = cv2.idft(cv2.mulSpectrums(other, one, 0, conjB=True), flags=cv2.DFT_SCALE)
    return np.roll(sums, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]


def _vertex(low: float, middle: float, high: float) -> float:
    """Vertex of the parabola through three neighbouring points, relative to the middle one."""
    bend = low - 2 * middle + high
    return float((low - high) / (2 * bend)) if bend < 0 else 0.0


def _agreeing(cells: np.ndarray, shines: np.ndarray, y: int, x: int) -> tuple[int, int]:
    """How many cells shine, and how many of these have more light in their outlines displaced by (y, x)."""
    height, width = cells.shape
    there = np.zeros_like(cells)
    there[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = cells[
        max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
    ]
    n = int(cells.max()) + 1
    area = np.bincount(cells.ravel(), minlength=n)
    here, moved = (np.bincount(labels.ravel(), shines.ravel(), n) for labels in (cells, there))
    shining = (np.maximum(here, moved) > FILLED * area) & (area > 0)
    shining[0] = False
    return int(np.count_nonzero(shining)), int(np.count_nonzero(moved[shining] > here[shining]))


def _nearly_all_cells(far: Sequence[Shift]) -> bool:
    """Whether nearly all cells agree, of the frame of each FOV with most cells that shine: there have to be enough."""
    most: dict[int, Shift] = {}
    for one in far:
        if one.fov not in most or one.shining > most[one.fov].shining:
            most[one.fov] = one
    shining, agreeing = (sum(getattr(one, name) for one in most.values()) for name in ("shining", "agreeing"))
    return shining >= FEWEST and agreeing >= NEARLY_ALL * shining


def beside(found: Sequence[Shift], limit: float) -> Shift | None:
    """The displacement of a channel, if nearly all places tell one of more than `limit` px; its FOV and frame are the
    first with it, and frame -1 where all frames have it. None: it lies on the cells, or nobody can tell.

    From a frame on it may be displaced as well: then nearly all from that frame on tell so, and none before.
    """
    ordered = sorted(found, key=lambda one: (one.frame, one.fov))
    far = [one for one in ordered if one.size > limit]
    if not far:
        return None
    since = [one for one in ordered if one.frame >= far[0].frame]
    y, x = (float(np.median([getattr(one, axis) for one in far])) for axis in "yx")
    size = float(np.hypot(y, x))
    same = [one for one in ordered if np.hypot(one.y - y, one.x - x) <= max(APART[0], APART[1] * size)]
    if size <= limit or len(since) < min(2, len(ordered)) or len({*same} & {*since}) < SAME * len(since):
        return None
    if not _nearly_all_cells(far):
        return None
    if {*same, *since} == {*ordered}:
        return far[0]._replace(fov=min(one.fov for one in ordered), frame=-1, y=y, x=x)
    return far[0]._replace(y=y, x=x)
