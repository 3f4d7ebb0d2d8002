"""The life of cells that delay light: they walk, push each other, round up, divide, spread again, meet, part and die.

Lengths are in px, areas in px, times in frames, phases in rad; shares are from 0 to 1; two numbers are the least and
the greatest. Places are (y, x) in the first picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from evaluation.label_movies import TrueDivision
from evaluation.phase_optics import Optics

NEVER = 10**9  # a frame that does not come
WORLD = 40  # px around all that the stage shows, in which cells lie too
TEXTURE = 96  # px, side of the texture that a cell carries along
WAVES = np.arange(2, 6)[:, None, None]  # of an outline, per turn
ROUNDED = 0.5  # area of a mother that rounded up, by hers before
DEAD, DYING = 0.35, 3  # the same of a dead cell, and the frames in which she shrinks
NEAR = 0.92  # distance to which cells come that meet, by the sum of their radii
PARTING = 8  # frames in which they leave each other


@dataclass(frozen=True)
class Course:
    """How cells divide. rounds_up: mothers become round and thick, and so are young daughters. rounding: frames
    until a mother begins to be two; lobed: frames in which she is two lobes; leaving: px in the daughters' first frame;
    spreading: frames; share: of the mother's area, of one of the daughters; rounded: area of a round mother by hers
    before."""

    rounds_up: bool = True
    rounding: tuple[int, int] = (2, 6)
    lobed: tuple[int, int] = (1, 4)
    leaving: float = 2.0
    spreading: tuple[int, int] = (3, 8)
    share: tuple[float, float] = (0.42, 0.5)
    rounded: float = ROUNDED


@dataclass(frozen=True)
class Settings:
    """What a movie is like."""

    n_cells: int = 25  # on as much as one picture shows
    n_frames: int = 24
    shape: tuple[int, int] = (420, 480)  # of a picture
    radius: float = 16.0  # median, of a disk as large as a cell
    radius_spread: float = 0.15  # of the logarithm
    length: float = 1.5  # long axis by short one, mean
    waviness: float = 0.08  # of outlines, by the radius
    apart: float = 1.0  # distance of cells in the first frame, at least, by the sum of their radii
    touching: float = 0.95  # nearer than this, by the same sum, cells push each other away
    step: float = 1.2
    phase: float = 0.7  # of a flat cell inside of its rim
    nucleus: float = 0.5  # rad more over the nucleus
    rim: float = 4.0  # px over which a cell's thickness rises
    granules: float = 0.18  # rad, standard deviation
    contrast: float = 1.0  # all phases by so much
    debris: int = 0  # pieces, on as much as the stage shows
    dividing: float = 0.0  # share of the cells in the first picture
    dying: float = 0.0  # the same
    meeting: int = 0  # pairs that come together and part
    course: Course = Course()
    stage: tuple[tuple[int, float, float], ...] = ()  # from a frame on, the picture shows what lies (y, x) sides away
    optics: Optics = field(default_factory=Optics)

    def stage_at(self, frame: int) -> np.ndarray:
        """Place of the picture's upper left corner, (y, x)."""
        passed = [(y, x) for since, y, x in self.stage if since <= frame]
        return np.array(passed[-1] if passed else (0.0, 0.0)) * self.shape


@dataclass(eq=False)
class Cell:
    number: int
    place: np.ndarray
    full: float  # area when it is spread
    least: float  # area when it is round, by that
    length: float  # when it is spread
    angle: float  # of the long axis
    waves: np.ndarray  # (4, 2) amplitude by the radius, and place; of WAVES
    thickness: float  # by that of the usual cell
    textures: np.ndarray  # (2, TEXTURE, TEXTURE) of standard deviation 1: it goes from one to the other and back
    light: float  # fluorescence, total
    rhythm: float  # rad, of what changes slowly
    axis: float  # along which it divides
    share: float  # of its area and light that the first daughter gets
    speed: np.ndarray  # (2,)
    born: int = -NEVER
    spreading: int = 1  # frames, after it was born
    push: np.ndarray = field(default_factory=lambda: np.zeros(2))  # away from the sister
    rounds: int = NEVER  # first frame
    lobes: int = NEVER
    divides: int = NEVER  # first frame of its daughters
    dies: int = NEVER
    meets: Cell | None = None
    together: tuple[int, int] = (NEVER, NEVER)  # comes near from one frame to another, then leaves


class Form(NamedTuple):
    """area, length: of now. roundness: 0 flat, 1 a ball. lobes: 0 one body, up to 1, two that hardly hold together."""

    area: float
    length: float
    roundness: float
    lobes: float

    @property
    def radius(self) -> float:
        return float(np.sqrt(self.area / np.pi))


def form(cell: Cell, frame: int, course: Course) -> Form:
    """What a cell looks like in a frame in which it is there."""
    young = max(0.0, 1 - (frame - cell.born) / cell.spreading)
    roundness = young if course.rounds_up else 0.0
    if frame >= cell.dies:
        roundness = min(1, (frame - cell.dies + 1) / DYING)
    elif frame >= cell.rounds and course.rounds_up:
        roundness = min(1, (frame - cell.rounds + 1) / min(2, cell.lobes - cell.rounds))
    breath = 1 + 0.05 * (1 - roundness) * np.sin(0.4 * frame + cell.rhythm)
    long = 1 - roundness if course.rounds_up else 1 - 0.4 * young
    return Form(
        area=cell.full * (1 - (1 - cell.least) * roundness) * breath,
        length=1 + (cell.length - 1) * long,
        roundness=roundness,
        lobes=max(0, (frame - cell.lobes + 1) / (cell.divides - cell.lobes + 1)),
    )


def first_cells(settings: Settings, rng: np.random.Generator) -> list[Cell]:
    """Cells at random places on all that the stage will show and around it, which hardly touch, and their plans."""
    stage = [settings.stage_at(frame) for frame in range(settings.n_frames)]
    least = np.min(stage, axis=0) - WORLD
    size = np.max(stage, axis=0) + settings.shape + WORLD - least
    n_cells = round(settings.n_cells * np.prod(size) / np.prod(settings.shape))
    near = settings.apart * max(1, settings.length) ** 0.35
    cells: list[Cell] = []
    tries = 0
    while len(cells) < n_cells:
        tries += 1
        if tries > 300:
            near, tries = 0.95 * near, 0
        place = least + rng.uniform(size=2) * size
        radius = settings.radius * np.exp(rng.normal(0, settings.radius_spread))
        if all(np.hypot(*(place - cell.place)) > near * (radius + np.sqrt(cell.full / np.pi)) for cell in cells):
            cells.append(_cell(len(cells) + 1, place, np.pi * radius**2, settings, rng))
            tries = 0
    for _ in range(10):
        _push_apart(cells, 0, settings)
    _plan(cells, settings, rng)
    return cells


def _cell(number: int, place: np.ndarray, full: float, settings: Settings, rng: np.random.Generator) -> Cell:
    length = max(1, rng.normal(settings.length, 0.15 * (settings.length - 1) + 0.05))
    amplitude = rng.normal(0, settings.waviness, 4) / np.sqrt(WAVES.ravel())
    textures = [ndimage.gaussian_filter(rng.standard_normal((TEXTURE, TEXTURE)), 1.3, mode="wrap") for _ in range(2)]
    return Cell(
        number=number,
        place=place,
        full=full,
        least=settings.course.rounded,
        length=length,
        angle=rng.uniform(0, np.pi),
        waves=np.stack([amplitude, rng.uniform(0, 2 * np.pi, 4)], axis=1),
        thickness=rng.uniform(0.85, 1.15),
        textures=np.stack(textures) / np.std(textures),
        light=6e4 * np.exp(rng.normal(0, 0.4)),
        rhythm=rng.uniform(0, 2 * np.pi),
        axis=rng.uniform(0, 2 * np.pi),
        share=rng.uniform(*settings.course.share),
        speed=rng.normal(0, 0.6 * settings.step, 2),
    )


def _plan(cells: Sequence[Cell], settings: Settings, rng: np.random.Generator) -> None:
    """Which cells of the first picture meet others, divide and die, and when."""
    course, last = settings.course, settings.n_frames
    free = [cell for cell in cells if ((cell.place > 10) & (cell.place < settings.shape)).all()]
    rng.shuffle(free)  # type: ignore[arg-type]
    n_dividing, n_dying = (round(share * len(free)) for share in (settings.dividing, settings.dying))
    for _ in range(min(settings.meeting, len(free) // 2)):
        one, other = min(combinations(free, 2), key=lambda pair: np.hypot(*(pair[0].place - pair[1].place)))
        free = [cell for cell in free if cell not in (one, other)]
        one.meets, other.meets = other, one
        one.together = other.together = int(rng.integers(4, 7)), int(rng.integers(12, max(13, last - 6)))
    for cell in free[:n_dividing]:
        cell.rounds = int(rng.integers(4, max(6, last - 8)))
        cell.lobes = cell.rounds + int(rng.integers(course.rounding[0], course.rounding[1] + 1))
        cell.divides = cell.lobes + int(rng.integers(course.lobed[0], course.lobed[1] + 1))
    for cell in free[n_dividing : n_dividing + n_dying]:
        cell.dies, cell.least = int(rng.integers(4, max(5, last - 6))), DEAD


def divide(
    cells: Sequence[Cell], number: int, frame: int, settings: Settings, rng: np.random.Generator
) -> tuple[list[Cell], list[TrueDivision]]:
    """The cells with daughters in the place of mothers that divide now, and the divisions. number: the highest yet."""
    after, divisions = [], []
    for mother in cells:
        if mother.divides != frame:
            after.append(mother)
            continue
        area = form(mother, frame - 1, settings.course).area
        axis = mother.axis if settings.course.rounds_up else mother.angle
        along = np.array([np.sin(axis), np.cos(axis)])
        shares = mother.share, 1 - mother.share
        away = 0.56 * sum(np.sqrt(area * share / np.pi) for share in shares)
        for share, side in zip(shares, (1, -1), strict=True):
            number += 1
            full = mother.full * share * rng.uniform(0.95, 1.1)
            cell = _cell(number, mother.place + side * away * along, full, settings, rng)
            cell.least, cell.light, cell.angle = area * share / full, mother.light * share, mother.angle
            cell.thickness, cell.rhythm, cell.born = mother.thickness, mother.rhythm, frame
            cell.spreading = int(rng.integers(settings.course.spreading[0], settings.course.spreading[1] + 1))
            cell.push = side * settings.course.leaving * along
            after.append(cell)
        divisions.append(TrueDivision(mother.number, (number - 1, number), frame))
    return after, divisions


def move(cells: Sequence[Cell], frame: int, settings: Settings, rng: np.random.Generator) -> None:
    """A walk that keeps its direction for some frames, slower in a division; daughters part; outlines change."""
    for cell in cells:
        cell.speed = 0.7 * cell.speed + rng.normal(0, 0.5 * settings.step, 2)
        begin, end = cell.together
        if cell.meets is not None and begin <= frame < end + PARTING:
            _meet(cell, cell.meets, frame, settings)
        calm = 0.3 if frame >= min(cell.rounds, cell.dies) else 1
        cell.place = cell.place + calm * cell.speed + cell.push * 0.6 ** max(0, frame - cell.born)
        cell.angle += rng.normal(0, 0.06)
        cell.waves[:, 1] += rng.normal(0, 0.12, 4)
    for _ in range(3):
        _push_apart(cells, frame, settings)


def _meet(cell: Cell, other: Cell, frame: int, settings: Settings) -> None:
    """Go towards the other cell until both touch, or away from it."""
    way = other.place - cell.place
    distance = np.hypot(*way) + 1e-6
    near = NEAR * sum(form(one, frame, settings.course).radius for one in (cell, other))
    step = np.clip((distance - near) / 2, -3, 3) if frame < cell.together[1] else -2.0
    cell.place = cell.place + step * way / distance
    cell.speed = 0.3 * cell.speed


def _push_apart(cells: Sequence[Cell], frame: int, settings: Settings) -> None:
    """Cells that are nearer than `touching` push each other away, by 0.3 of what is missing."""
    place = np.array([cell.place for cell in cells])
    radius = np.array([form(cell, frame, settings.course).radius for cell in cells])
    between = place[:, None] - place[None]
    distance = np.hypot(between[..., 0], between[..., 1]) + 1e-6
    wanted = settings.touching * np.sqrt(1 + 0.3 * (settings.length - 1)) * (radius[:, None] + radius[None])
    missing = np.maximum(wanted - distance, 0)
    np.fill_diagonal(missing, 0)
    place += 0.3 * (between / distance[..., None] * missing[..., None]).sum(axis=1)
    for cell, at in zip(cells, place, strict=True):
        cell.place = at
