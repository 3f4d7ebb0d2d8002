"""Where cells lie in a picture, by how much they delay light there, and how much they shine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from evaluation.phase_cells import TEXTURE, WAVES, Cell, Form, Settings, form

Window = tuple[slice, ...]
THICKER = 2.2  # a round cell is thicker than a flat one, by that one's thickness


class Piece(NamedTuple):
    """Of debris: a ball. place, drift: (y, x) px and px per frame. phase: rad in its middle."""

    place: np.ndarray
    drift: np.ndarray
    radius: float
    phase: float


class Drawn(NamedTuple):
    """(H, W) each. labels: uint16, numbers of the cells. phase: rad. light: fluorescence before optics spread it."""

    labels: np.ndarray
    phase: np.ndarray
    light: np.ndarray


def draw(cells: Sequence[Cell], debris: Sequence[Piece], frame: int, settings: Settings) -> Drawn:
    """What one frame shows.

    The phase is that of a cell's thickness, with a nucleus and granules, times `contrast`; debris comes on top. The
    light of a cell is spread as its thickness is.
    """
    corner = settings.stage_at(frame)
    forms = {cell.number: form(cell, frame, settings.course) for cell in cells}
    labels = _labels(cells, forms, corner, settings)
    phase, light = np.zeros(settings.shape), np.zeros(settings.shape)
    boxes = dict(enumerate(ndimage.find_objects(labels), start=1))
    for cell in cells:
        tight = boxes.get(cell.number)
        if tight is None:
            continue
        box = tuple(
            slice(max(0, side.start - 1), min(end, side.stop + 1))
            for side, end in zip(tight, settings.shape, strict=True)
        )
        inside = labels[box] == cell.number
        y, x = np.ogrid[box]
        at = y - (cell.place[0] - corner[0]), x - (cell.place[1] - corner[1])
        thick = _thickness(inside, forms[cell.number], settings)
        phase[box] += _phase(cell, forms[cell.number], thick, at, frame, settings)
        cut = any(side.start == 0 or side.stop == end for side, end in zip(tight, settings.shape, strict=True))
        shown = min(1, inside.sum() / forms[cell.number].area) if cut else 1
        light[box] += cell.light * shown * thick / thick.sum()
    for piece in debris:
        _add_ball(phase, piece, piece.place + frame * piece.drift - corner)
    return Drawn(labels, settings.contrast * phase, light)


def scattered(settings: Settings, rng: np.random.Generator) -> list[Piece]:
    """Debris on all that the stage will show; three in ten pieces drift."""
    stage = [settings.stage_at(frame) for frame in range(settings.n_frames)]
    least, size = np.min(stage, axis=0), np.ptp(stage, axis=0) + settings.shape
    return [
        Piece(
            least + rng.uniform(size=2) * size,
            rng.normal(0, 1.5, 2) * (rng.random() < 0.3),
            rng.uniform(1.5, 4),
            rng.uniform(0.6, 2),
        )
        for _ in range(settings.debris)
    ]


def _labels(cells: Sequence[Cell], forms: dict[int, Form], corner: np.ndarray, settings: Settings) -> np.ndarray:
    """(H, W) uint16: each pixel belongs to the cell in which it lies deepest."""
    labels, depth = np.zeros(settings.shape, np.uint16), np.ones(settings.shape)
    for cell in cells:
        now, middle = forms[cell.number], cell.place - corner
        window = _around(middle, 1.6 * now.radius * np.sqrt(now.length) + 6, settings.shape)
        y, x = np.ogrid[window]
        inside = _depth(cell, now, y - middle[0], x - middle[1], settings)
        mine = inside < depth[window]
        labels[window][mine], depth[window][mine] = cell.number, inside[mine]
    return labels


def _depth(cell: Cell, now: Form, y: np.ndarray, x: np.ndarray, settings: Settings) -> np.ndarray:
    """Of places y, x from a cell's middle: 0 there, 1 at its edge."""
    if not now.lobes:
        return _of_ellipse(y, x, now.radius, now.length, cell.angle, cell.waves * [1 - now.roundness, 1])
    axis = cell.axis if settings.course.rounds_up else cell.angle
    radii = now.radius * np.sqrt([cell.share, 1 - cell.share])
    depths = []
    for radius, side in zip(radii, (1, -1), strict=True):
        away = side * 0.5 * radii.sum() * now.lobes
        lobe = 1.02 * (now.radius + (radius - now.radius) * now.lobes**0.7)
        length = 1 + (now.length - 1) * (1 - now.lobes)
        depths.append(_of_ellipse(y - away * np.sin(axis), x - away * np.cos(axis), lobe, length, cell.angle, None))
    return np.minimum(*depths)


def _of_ellipse(
    y: np.ndarray, x: np.ndarray, radius: float, length: float, angle: float, waves: np.ndarray | None
) -> np.ndarray:
    along = (x * np.cos(angle) + y * np.sin(angle)) / (radius * np.sqrt(length))
    across = (y * np.cos(angle) - x * np.sin(angle)) / (radius / np.sqrt(length))
    depth = np.hypot(along, across)
    if waves is None:
        return depth
    amplitude, at = waves.T[:, :, None, None]
    return depth / (1 + (amplitude * np.cos(WAVES * np.arctan2(across, along) + at)).sum(axis=0))


def _thickness(inside: np.ndarray, now: Form, settings: Settings) -> np.ndarray:
    """Of a cell in its window, (h, w), 0 outside and 1 where it is thickest: a rim like a quarter of a circle, which
    reaches to the middle of round cells, by the distance to the nearest pixel outside. A cell that the edge of the
    picture cuts goes on there."""
    padded = np.pad(inside, 1, mode="edge").astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    rim = settings.rim * (1 - now.roundness) + now.radius * now.roundness
    return inside * np.sqrt(1 - (1 - np.clip(depth / rim, 0, 1)) ** 2)


def _phase(
    cell: Cell, now: Form, thick: np.ndarray, at: tuple[np.ndarray, np.ndarray], frame: int, settings: Settings
) -> np.ndarray:
    """rad, (h, w), of a cell whose thickness is `thick`. at: y and x of its window, from its middle."""
    y, x = at
    flat = 1 - now.roundness
    body = settings.phase * cell.thickness * (1 + THICKER * now.roundness)
    nucleus = settings.nucleus * flat * np.exp(-(y**2 + x**2) / (2 * (0.38 * now.radius) ** 2))
    sine, cosine = np.sin(cell.angle), np.cos(cell.angle)
    turned = np.stack([y * cosine - x * sine, y * sine + x * cosine]) + TEXTURE / 2
    one, other = (ndimage.map_coordinates(texture, turned, order=1, mode="grid-wrap") for texture in cell.textures)
    slowly = 0.1 * frame + cell.rhythm
    granules = settings.granules * (1 - 0.5 * now.roundness) * (np.cos(slowly) * one + np.sin(slowly) * other)
    return thick * (body + nucleus + granules)


def _add_ball(phase: np.ndarray, piece: Piece, middle: np.ndarray) -> None:
    window = _around(middle, piece.radius + 1, phase.shape)
    y, x = np.ogrid[window]
    away = np.hypot(y - middle[0], x - middle[1]) / piece.radius
    phase[window] += piece.phase * np.sqrt(np.maximum(1 - away**2, 0))


def _around(middle: np.ndarray, reach: float, shape: tuple[int, ...]) -> Window:
    """The part of a picture that is no farther than `reach` px up, down, left or right; empty outside of it."""
    return tuple(
        slice(max(0, int(at - reach)), max(0, min(side, int(at + reach) + 1)))
        for at, side in zip(middle, shape, strict=True)
    )
