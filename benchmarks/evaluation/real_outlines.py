"""Simulate movies of labels of cells with the outlines of real ones, with known truth: a second simulator.

It shares no shape, movement or course of a division with evaluation.label_movies, so that what was tuned with that can
be tested with this. Cells round up, divide by way of two lobes, spread again, die in pieces, meet and part, come in,
and are cut by the image's edge. An outline is a radial function: the distance of the edge from the centre in ANGLES
directions. Lengths are in pixels, times in frames, areas in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celltraces.errors import UserError
from evaluation.label_movies import Movie, TrueDivision, grouped, in_sight, renew_contacts, renumbered
from evaluation.pictures import of_folder

ANGLES = 72
NEVER = -1  # for a frame
LEAST_AREA = 400  # of a real cell whose outline is used
CHANGE = 0.12  # per frame: two cells in contact may be taken for one from now on, or no longer
PARTING = 7  # frames in which cells that met leave each other
TURN = 2 * np.pi


@dataclass(frozen=True)
class Settings:
    """What a movie is like. Shares are from 0 to 1."""

    n_cells: int = 30
    n_frames: int = 40
    size: int = 400  # of the square image
    area: float = 450  # median
    area_spread: float = 0.15  # of the logarithm of the area
    ellipses: bool = False  # in the place of real outlines
    rough: float = 0.6  # 1: real outlines, 0: disks
    wobble: float = 0.04  # of an outline from frame to frame, by the radius
    step: float = 1.2  # of the walk, per frame
    dividing: float = 0.5  # share of the cells
    rounding: int = 4  # frames in which a cell rounds up
    rounded: float = 0.75  # area of a rounded cell, by its area before
    lobes: int = 1  # frames before a division in which the mother has two lobes
    apart: float = 1.1  # distance of the daughters' centres in their first frame, by the sum of their radii
    leaving: float = 0.1  # of that sum per frame: how fast daughters move apart
    unequal: float = 0.08  # spread of the daughters' share of the area
    spreading: int = 8  # frames in which daughters spread, and move apart
    grown: float = 1.3  # area of a daughter that has spread, by her share of her mother's
    beside: int = 0  # cells whose neighbour divides when they do
    at_edge: int = 0  # dividing cells that the image's edge cuts
    early: int = 0  # divisions in the first frames
    late: int = 0  # divisions in the last frames
    dying: float = 0.0  # share of the cells
    in_two: bool = False  # the dead leave two pieces, not two to four
    remains: bool = False  # pieces stay, and do not vanish within eight frames
    meeting: int = 0  # pairs of cells that come to touch, are taken for one, and part
    entering: int = 0  # cells that come in over the edge
    joined: float = 0.0  # share of the pairs of cells in contact that segmentation takes for one
    missed: float = 0.0  # share of the cells that are not found
    missed_at_division: float = 0.0  # the same, of mothers and daughters in the two frames before and after
    jump: float = 0.0  # distance by which the stage moves once


@dataclass(eq=False)
class _Cell:
    number: int
    y: float
    x: float
    area: float
    outline: np.ndarray  # (ANGLES,) of a cell with the area 1
    angle: float
    full: float  # area when it is spread
    roundness: float = 0.0  # 1: a disk
    speed: tuple[float, float] = (0.0, 0.0)
    divides: int = NEVER  # first frame of the daughters
    dies: int = NEVER  # first frame of the pieces
    born: int = -99
    until: int = 10**6  # a piece vanishes
    push: tuple[float, float] = (0.0, 0.0)
    axis: float = 0.0  # along which it divides
    partner: int = 0  # that it meets
    meets: tuple[int, int] = (0, 0)  # from, until

    @property
    def radius(self) -> float:
        return float(np.sqrt(self.area / np.pi))


def real_outlines(folder: Path) -> np.ndarray:
    """Outlines of the cells in pictures NN_cells.png that the edge does not cut, (N, ANGLES), each with the area 1.

    Raises UserError where there are none.
    """
    found = []
    for _, labels in of_folder(folder):
        height, width = labels.shape
        for cell in np.unique(labels)[1:]:
            y, x = np.nonzero(labels == cell)
            if y.size < LEAST_AREA or y.min() == 0 or x.min() == 0 or y.max() == height - 1 or x.max() == width - 1:
                continue
            y, x = y - y.mean(), x - x.mean()
            farthest = np.zeros(ANGLES)
            np.maximum.at(farthest, ((np.arctan2(y, x) + np.pi) / TURN * ANGLES).astype(int) % ANGLES, np.hypot(y, x))
            if farthest.all():
                found.append(_of_area_1((farthest + np.roll(farthest, 1) + np.roll(farthest, -1)) / 3))
    if not found:
        raise UserError(f"{str(folder)!r} has no pictures NN_phase.tif with outlines NN_cells.png of whole cells")
    return np.array(found)


def simulate(settings: Settings, outlines: np.ndarray, seed: int) -> Movie:
    """The movie of these settings and this seed. outlines: (N, ANGLES), to choose from."""
    rng = np.random.default_rng(seed + 777)
    n_frames = settings.n_frames
    cells = _first_cells(settings, outlines, rng)
    number = len(cells)
    _plan(cells, settings, rng)
    enter_at = sorted(rng.integers(2, n_frames - 2, settings.entering).tolist())
    jump_at = int(rng.integers(6, n_frames - 6)) if settings.jump else NEVER
    stage = np.zeros(2)
    contacts: dict[tuple[int, int], bool] = {}
    labels, truth, divisions = [], [], []

    def new(y: float, x: float) -> _Cell:
        nonlocal number
        number += 1
        return _cell(number, y, x, settings, outlines, rng)

    for frame in range(n_frames):
        if frame == jump_at:
            direction = rng.uniform(0, 6.28)
            stage = settings.jump * np.array([np.sin(direction), np.cos(direction)])
        for cell in [cell for cell in cells if cell.divides == frame]:
            share = float(np.clip(rng.normal(0.5, 0.5 * settings.unequal), 0.25, 0.75))
            daughters = [new(cell.y, cell.x) for _ in range(2)]
            _divide(cell, daughters, share, frame, settings)
            cells = [other for other in cells if other is not cell] + daughters
            divisions.append(TrueDivision(cell.number, (daughters[0].number, daughters[1].number), frame))
        for cell in [cell for cell in cells if cell.dies == frame]:
            n_pieces = 2 if settings.in_two else int(rng.integers(2, 5))
            for share in rng.dirichlet([6] * n_pieces):
                direction, away = rng.uniform(0, 6.28), 0.9 * cell.radius
                piece = new(cell.y + away * np.sin(direction), cell.x + away * np.cos(direction))
                piece.area = piece.full = max(20, cell.area * share)
                piece.roundness = 1
                if not settings.remains:
                    piece.until = frame + int(rng.integers(1, 9))
                cells.append(piece)
            cells.remove(cell)
        cells = [cell for cell in cells if cell.until > frame]
        for _ in range(enter_at.count(frame)):
            side, along, outside = rng.integers(4), rng.uniform(0, settings.size), -1.1 * np.sqrt(settings.area / np.pi)
            far = settings.size - outside
            cell = new(*[(outside, along), (far, along), (along, outside), (along, far)][side])
            cell.speed = [(3, 0), (-3, 0), (0, 3), (0, -3)][side]
            cells.append(cell)
        _move(cells, frame, settings, rng)
        image = _draw(cells, frame, settings, stage, rng)
        truth.append(image)
        labels.append(_segment(image, cells, frame, settings, rng, contacts))
    return Movie(np.stack(labels), np.stack(truth), in_sight(divisions, truth))


def _of_area_1(outline: np.ndarray) -> np.ndarray:
    return outline / np.sqrt(np.pi * np.mean(outline**2))


def _cell(number: int, y: float, x: float, settings: Settings, outlines: np.ndarray, rng: np.random.Generator) -> _Cell:
    area = settings.area * np.exp(rng.normal(0, settings.area_spread))
    if settings.ellipses:
        length, theta = rng.uniform(1, 1.9), np.arange(ANGLES) * TURN / ANGLES
        outline = 1 / np.sqrt(np.cos(theta) ** 2 / length + np.sin(theta) ** 2 * length)
    else:
        outline = outlines[rng.integers(len(outlines))] * settings.rough + (1 - settings.rough) / np.sqrt(np.pi)
    return _Cell(number, y, x, area, _of_area_1(outline), rng.uniform(0, 6.28), full=area)


def _first_cells(settings: Settings, outlines: np.ndarray, rng: np.random.Generator) -> list[_Cell]:
    """Cells at random places, thinned out to where they hardly touch."""
    radius, cells, tries = np.sqrt(settings.area / np.pi), [], 0
    reach = 2.3 * radius
    while len(cells) < settings.n_cells:
        y, x = rng.uniform(1.6 * radius, settings.size - 1.6 * radius, 2)
        tries += 1
        if tries > 300:
            reach, tries = 0.95 * reach, 0
        if all(np.hypot(cell.y - y, cell.x - x) > reach for cell in cells):
            cells.append(_cell(len(cells) + 1, y, x, settings, outlines, rng))
            tries = 0
    return cells


def _plan(cells: list[_Cell], settings: Settings, rng: np.random.Generator) -> None:
    """When cells divide, die, meet and part."""
    n_frames = settings.n_frames
    for cell in cells:
        fate = rng.uniform()
        if fate < settings.dividing:
            cell.divides = int(rng.integers(4, n_frames))
        elif fate < settings.dividing + settings.dying:
            cell.dies = int(rng.integers(4, n_frames - 4))
    dividing = [cell for cell in cells if cell.divides > 0]
    for cell in dividing[: settings.early]:
        cell.divides = int(rng.integers(1, 5))
    for cell in dividing[settings.early : settings.early + settings.late]:
        cell.divides = int(rng.integers(n_frames - 4, n_frames))
    for cell in dividing[len(dividing) - settings.at_edge :]:
        cell.x = np.sqrt(settings.area / np.pi) * rng.uniform(0.2, 1.2)
    for _ in range(settings.beside):
        if len(dividing) < 2:
            break
        cell = dividing.pop()
        other = _nearest(cell, cells)
        other.dies = NEVER
        other.divides = min(n_frames - 3, max(4, cell.divides + int(rng.integers(-1, 2))))
    free = [cell for cell in cells if cell.divides < 0 and cell.dies < 0]
    for _ in range(min(settings.meeting, len(free) // 2)):
        cell = free.pop()
        other = _nearest(cell, free)
        free.remove(other)
        begin = int(rng.integers(0, n_frames // 2))
        cell.partner, other.partner = other.number, cell.number
        cell.meets = other.meets = begin, begin + int(rng.integers(5, 16))


def _nearest(cell: _Cell, cells: Sequence[_Cell]) -> _Cell:
    return min(
        (other for other in cells if other is not cell), key=lambda other: np.hypot(other.y - cell.y, other.x - cell.x)
    )


def _divide(mother: _Cell, daughters: Sequence[_Cell], share: float, frame: int, settings: Settings) -> None:
    """Place the daughters, which get `share` and the rest of the mother's area."""
    shares = share, 1 - share
    radii = sum(np.sqrt(mother.area * part / np.pi) for part in shares)
    across, along = np.sin(mother.axis), np.cos(mother.axis)
    for daughter, part, side in zip(daughters, shares, (1, -1), strict=True):
        away = side * (1 - part) * settings.apart * radii
        daughter.y, daughter.x = mother.y + away * across, mother.x + away * along
        daughter.area, daughter.full = mother.area * part, mother.full * part * settings.grown
        daughter.roundness = 1 if settings.rounding else 0.5
        daughter.born = frame
        speed = side * settings.leaving * radii
        daughter.push = speed * across, speed * along


def _move(cells: list[_Cell], frame: int, settings: Settings, rng: np.random.Generator) -> None:
    """A persistent walk, slower while cells round up; cells push each other away, daughters part, partners meet."""
    place = np.array([(cell.y, cell.x) for cell in cells])
    radius = np.array([cell.radius for cell in cells])
    between = place[:, None] - place[None]
    distance = np.hypot(*np.moveaxis(between, -1, 0)) + np.eye(len(cells)) * 1e9 + 1e-6
    overlap = np.clip(1.02 * (radius[:, None] + radius[None]) - distance, 0, None)
    pushed = (between / distance[..., None] * (0.3 * overlap)[..., None]).sum(axis=1)
    by_number = {cell.number: cell for cell in cells}
    for cell, push in zip(cells, pushed, strict=True):
        calm = 0.3 if cell.divides - settings.rounding <= frame < cell.divides else 1
        cell.speed = tuple(0.6 * speed + rng.normal(0, 0.6 * settings.step) * calm for speed in cell.speed)
        move = np.array(cell.speed) + push
        age = frame - cell.born
        if 0 < age <= settings.spreading:
            move += cell.push
        partner = by_number.get(cell.partner)
        if partner and partner.divides < 0:
            way = np.array([partner.y - cell.y, partner.x - cell.x])
            far = np.hypot(*way) + 1e-6
            begin, end = cell.meets
            if begin <= frame < end:
                move = way / far * np.clip(0.5 * (far - 0.98 * (cell.radius + partner.radius)), -2, 4)
            elif end <= frame < end + PARTING:
                move -= 1.5 * way / far
        if frame:
            cell.y, cell.x = cell.y + move[0], cell.x + move[1]
        cell.angle += rng.normal(0, 0.06)
        _shape(cell, frame, settings, rng)


def _shape(cell: _Cell, frame: int, settings: Settings, rng: np.random.Generator) -> None:
    """How round and how large a cell is: daughters spread, and cells round up before they divide or die."""
    age = frame - cell.born
    if cell.born >= 0 and 0 < age <= settings.spreading:
        cell.roundness = max(0, (1 if settings.rounding else 0.5) * (1 - age / settings.spreading))
        cell.area += (cell.full - cell.area) / max(1, settings.spreading - age + 1)
    end = cell.divides if cell.divides > frame else cell.dies
    if end <= frame:
        return
    if settings.rounding and frame >= end - settings.rounding:
        progress = (frame - (end - settings.rounding) + 1) / settings.rounding
        cell.roundness = max(cell.roundness, progress)
        cell.area = cell.full * (1 - (1 - settings.rounded) * progress)
    if frame in (end - 1 - settings.lobes, 0):
        longest = cell.angle + np.argmax(cell.outline) * TURN / ANGLES
        cell.axis = rng.uniform(0, 6.28) if settings.rounding else longest


def _draw(
    cells: list[_Cell], frame: int, settings: Settings, stage: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(H, W) uint16: each pixel belongs to the cell in which it lies deepest."""
    size = settings.size
    image, depth = np.zeros((size, size), np.uint16), np.ones((size, size))
    for cell in cells:
        outline = cell.outline * (1 - cell.roundness) + cell.roundness / np.sqrt(np.pi)
        larger = 0.5 * rng.normal(0, settings.wobble)
        waves = settings.wobble * np.convolve(rng.normal(0, 1, ANGLES), np.ones(9) / 9, "same")
        outline = _of_area_1(outline * (1 + larger + waves)) * np.sqrt(cell.area)
        cy, cx = cell.y + stage[0], cell.x + stage[1]
        reach = int(1.5 * outline.max()) + 3
        y0, x0 = max(0, int(cy) - reach), max(0, int(cx) - reach)
        y1, x1 = min(size, int(cy) + reach + 1), min(size, int(cx) + reach + 1)
        if y1 <= y0 or x1 <= x0:
            continue
        y, x = np.mgrid[y0:y1, x0:x1]
        inside = _inside(cell, outline, y - cy, x - cx, frame, settings.lobes)
        window = np.s_[y0:y1, x0:x1]
        mine = inside < depth[window]
        image[window][mine], depth[window][mine] = cell.number, inside[mine]
    return image


def _inside(cell: _Cell, outline: np.ndarray, y: np.ndarray, x: np.ndarray, frame: int, lobes: int) -> np.ndarray:
    """Of places y, x from the centre: 0 there, 1 at the edge of the cell."""
    since = frame - (cell.divides - lobes)
    if lobes and 0 <= since < lobes:
        radius = np.sqrt(cell.area / 2 / np.pi)
        away = 0.62 * radius * (0.6 + 0.9 * (since + 1) / (lobes + 1))
        dy, dx = away * np.sin(cell.axis), away * np.cos(cell.axis)
        return np.minimum(np.hypot(y - dy, x - dx), np.hypot(y + dy, x + dx)) / (1.05 * radius)
    direction = (np.arctan2(y, x) - cell.angle) / TURN * ANGLES
    below = np.floor(direction).astype(int)
    part = direction - below
    edge = outline[below % ANGLES] * (1 - part) + outline[(below + 1) % ANGLES] * part
    return np.hypot(y, x) / edge


def _segment(
    image: np.ndarray,
    cells: list[_Cell],
    frame: int,
    settings: Settings,
    rng: np.random.Generator,
    contacts: dict[tuple[int, int], bool],
) -> np.ndarray:
    """What a segmentation makes of the cells: (H, W) uint16, numbered anew in each frame."""
    partner = {cell.number: cell.partner for cell in cells}
    touching = renew_contacts(contacts, image, settings.joined, CHANGE, rng)
    together = [pair for pair in touching if contacts[pair] or partner.get(pair[0]) == pair[1]]
    in_division = {
        cell.number
        for cell in cells
        if (cell.born >= 0 and frame - cell.born < 2) or cell.divides - 2 < frame < cell.divides
    }

    def missed(number: int) -> float:
        return max(settings.missed, settings.missed_at_division if number in in_division else 0)

    return renumbered(grouped(int(image.max()), together)[image], missed, rng)
