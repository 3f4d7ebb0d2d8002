"""Simulate movies of labels in which cells divide, touch, come apart, flicker and are missed, with known truth.

There are no images here: what a segmentation would have found is drawn at once, so that many movies cost little. A
movie is given by its settings and a seed. Lengths are in pixels, times in frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

WAVES = 4  # of a cell's outline


@dataclass(frozen=True)
class Settings:
    """What a movie is like. Shares are from 0 to 1; `per frame` ones are probabilities of a cell in a frame."""

    n_cells: int = 20
    n_frames: int = 40
    size: int = 400  # of the square image
    radius: float = 12.0  # median of the cells as if they were disks
    radius_spread: float = 0.1  # of the logarithm of the radius
    length: float = 1.4  # long axis of a cell by its short one
    waviness: float = 0.05  # of the outline, by the radius
    step: float = 1.0  # per frame, standard deviation along each axis
    dividing: float = 0.5  # share of the cells that divide
    rounding: int = 3  # frames in which a cell is round before it divides
    rounded: float = 0.8  # area of a rounded cell, by its area before
    unequal: float = 0.1  # standard deviation of the daughters' share of the area
    apart: float = 1.1  # distance of the daughters' centres in their first frame, by the sum of their radii
    leaving: float = 0.12  # of that sum per frame: how fast daughters move apart, for eight frames
    spreading: float = 0.05  # growth of the daughters' radius per frame, for eight frames
    joined: float = 0.0  # share of the pairs of cells in contact that segmentation takes for one
    pairs: int = 0  # that are in contact from the first frame on, taken for one cell, and come apart once
    late: int = 0  # cells that appear beside others
    splits: float = 0.0  # per frame: a cell is found in two parts, for one frame or two
    missed: float = 0.0  # per frame: a cell is not found
    jump: float = 0.0  # distance by which the stage moves once


class TrueDivision(NamedTuple):
    """`frame` is the first one of the daughters; numbers are those in `Movie.cells`."""

    mother: int
    daughters: tuple[int, int]
    frame: int


class Movie(NamedTuple):
    """labels, cells: (T, H, W) uint16, as segmentation found the regions of each frame, and which cell is where."""

    labels: np.ndarray
    cells: np.ndarray
    divisions: list[TrueDivision]


@dataclass
class _Cell:
    number: int
    y: float
    x: float
    radius: float
    length: float
    angle: float
    wave: np.ndarray  # (2, WAVES)
    divides: int | None = None  # frame in which its daughters are there
    born: int = 0
    push: tuple[float, float] = (0.0, 0.0)
    partner: int | None = None  # the cell that it stays with until `released`
    released: int = 0


def simulate(settings: Settings, seed: int) -> Movie:
    """The movie of these settings and this seed."""
    rng = np.random.default_rng(seed)
    cells = _first_cells(settings, rng)
    number = len(cells)
    late = sorted(rng.integers(3, settings.n_frames - 3, settings.late).tolist())
    jump_at = int(rng.integers(5, settings.n_frames - 5)) if settings.jump else -1
    direction = rng.uniform(0, 2 * np.pi)
    shift = np.zeros(2)
    contacts: dict[tuple[int, int], bool] = {}
    halves: dict[int, tuple[int, float]] = {}
    labels, truth, divisions = [], [], []
    for frame in range(settings.n_frames):
        if frame == jump_at:
            shift = settings.jump * np.array([np.sin(direction), np.cos(direction)])
        for cell in [cell for cell in cells if cell.divides == frame]:
            daughters = _divide(cell, number, frame, settings, rng)
            number += 2
            cells = [other for other in cells if other is not cell] + daughters
            divisions.append(TrueDivision(cell.number, (daughters[0].number, daughters[1].number), frame))
        for _ in range(late.count(frame)):
            number += 1
            beside, angle = cells[rng.integers(len(cells))], rng.uniform(0, 2 * np.pi)
            away = beside.radius * 2.1
            cells.append(
                _cell(number, beside.y + away * np.sin(angle), beside.x + away * np.cos(angle), settings, rng, frame)
            )
        if frame:
            _move(cells, frame, settings, rng)
        image = _draw(cells, frame, settings, shift)
        truth.append(image)
        labels.append(_segment(image, cells, frame, settings, rng, contacts, halves))
    return Movie(np.stack(labels), np.stack(truth), in_sight(divisions, truth))


def in_sight(divisions: Sequence[TrueDivision], truth: Sequence[np.ndarray]) -> list[TrueDivision]:
    """The divisions of which the mother is seen in the frame before, and both daughters in theirs.

    truth: the true cells of each frame, (H, W).
    """
    seen = [set(np.unique(image).tolist()) for image in truth]
    return [
        division
        for division in divisions
        if division.mother in seen[division.frame - 1] and {*division.daughters} <= seen[division.frame]
    ]


def _cell(number: int, y: float, x: float, settings: Settings, rng: np.random.Generator, frame: int = 0) -> _Cell:
    return _Cell(
        number,
        float(y),
        float(x),
        settings.radius * float(np.exp(rng.normal(0, settings.radius_spread))),
        1 + (settings.length - 1) * float(rng.uniform(0.3, 1.7)),
        float(rng.uniform(0, np.pi)),
        rng.normal(0, settings.waviness / WAVES**0.5, (2, WAVES)),
        born=frame,
    )


def _first_cells(settings: Settings, rng: np.random.Generator) -> list[_Cell]:
    """Cells at random places, thinned out to where they hardly touch; the last `pairs` have a partner beside them."""
    margin, cells = 1.5 * settings.radius, []
    reach = 2.1 * settings.radius
    tries = 0
    while len(cells) < settings.n_cells:
        y, x = rng.uniform(margin, settings.size - margin, 2)
        tries += 1
        if tries > 200:
            reach, tries = 0.95 * reach, 0
        if all(np.hypot(cell.y - y, cell.x - x) > reach for cell in cells):
            cells.append(_cell(len(cells) + 1, y, x, settings, rng))
            tries = 0
    for cell in cells:
        if rng.uniform() < settings.dividing:
            cell.divides = int(rng.integers(4, settings.n_frames))
    for cell in cells[len(cells) - settings.pairs :]:
        angle = rng.uniform(0, 2 * np.pi)
        partner = _cell(len(cells) + 1, cell.y, cell.x, settings, rng)
        away = 0.95 * (cell.radius + partner.radius)
        partner.y, partner.x = cell.y + away * np.sin(angle), cell.x + away * np.cos(angle)
        partner.angle = cell.angle
        cell.divides = None
        cell.partner, partner.partner = partner.number, cell.number
        cell.released = partner.released = int(rng.integers(6, settings.n_frames - 5))
        cells.append(partner)
    return cells


def _divide(cell: _Cell, number: int, frame: int, settings: Settings, rng: np.random.Generator) -> list[_Cell]:
    share = float(np.clip(rng.normal(0.5, 0.5 * settings.unequal), 0.3, 0.7))
    area = cell.radius**2 * settings.rounded
    radii = [(area * share) ** 0.5, (area * (1 - share)) ** 0.5]
    angle = float(rng.uniform(0, np.pi))
    distance = settings.apart * sum(radii)
    daughters = []
    for at, (radius, side) in enumerate(zip(radii, (1 - share, share - 1 if share != 0.5 else -0.5), strict=True)):
        sign = 1 if at == 0 else -1
        offset = sign * abs(side) * distance
        daughter = _cell(
            number + 1 + at, cell.y + offset * np.sin(angle), cell.x + offset * np.cos(angle), settings, rng
        )
        daughter.radius, daughter.born, daughter.angle = radius, frame, angle + np.pi / 2
        speed = sign * settings.leaving * sum(radii) / 2
        daughter.push = (speed * float(np.sin(angle)), speed * float(np.cos(angle)))
        daughters.append(daughter)
    return daughters


def _move(cells: list[_Cell], frame: int, settings: Settings, rng: np.random.Generator) -> None:
    """A random walk; cells push each other away, daughters leave each other and spread, partners stay together."""
    by_number = {cell.number: cell for cell in cells}
    place = np.array([(cell.y, cell.x) for cell in cells])
    radius = np.array([cell.radius for cell in cells])
    between = place[:, None] - place[None]
    distance = np.hypot(*np.moveaxis(between, -1, 0)) + np.eye(len(cells)) * 1e9 + 1e-6
    overlap = np.clip(1.0 * (radius[:, None] + radius[None]) - distance, 0, None)
    for a, cell in enumerate(cells):  # partners overlap a little
        if cell.partner in by_number and frame <= cell.released:
            b = cells.index(by_number[cell.partner])
            overlap[a, b] = overlap[b, a] = 0
    pushed = (between / distance[..., None] * (0.35 * overlap)[..., None]).sum(axis=1)
    for cell, away in zip(cells, pushed, strict=True):
        step = rng.normal(0, settings.step, 2)
        young = 0 < frame - cell.born <= 8
        if cell.partner is not None and cell.partner in by_number:
            partner = by_number[cell.partner]
            axis = np.array([cell.y - partner.y, cell.x - partner.x])
            far = float(np.hypot(*axis)) + 1e-6
            if frame <= cell.released:
                step = np.zeros(2)
                wanted = 0.95 * (cell.radius + partner.radius)
                away = away + axis / far * (wanted - far) * 0.3
            elif frame - cell.released <= 8:
                away = away + axis / far * max(1.5, 0.1 * (cell.radius + partner.radius))
        elif young and cell.push != (0.0, 0.0):
            away = away + cell.push
            cell.radius *= 1 + settings.spreading
        cell.y += float(step[0] + away[0])
        cell.x += float(step[1] + away[1])
        cell.angle += float(rng.normal(0, 0.1))


def _shape(cell: _Cell, frame: int, settings: Settings) -> tuple[float, float]:
    """Radius and length of a cell, which shrinks and rounds up before it divides."""
    radius, length = cell.radius, cell.length
    if cell.divides is not None and frame >= cell.divides - settings.rounding:
        return radius * settings.rounded**0.5, 1.05
    if cell.push != (0.0, 0.0) and frame - cell.born < 3:
        length = min(length, 1.15)
    return radius, length


def _draw(cells: list[_Cell], frame: int, settings: Settings, shift: np.ndarray) -> np.ndarray:
    """(H, W) uint16: each pixel belongs to the cell in which it lies deepest."""
    size = settings.size
    image, depth = np.zeros((size, size), np.uint16), np.ones((size, size), np.float32)
    for cell in cells:
        radius, length = _shape(cell, frame, settings)
        reach = int(radius * length**0.5 * 1.4) + 2
        cy, cx = cell.y + shift[0], cell.x + shift[1]
        y0, x0 = max(0, int(cy) - reach), max(0, int(cx) - reach)
        y1, x1 = min(size, int(cy) + reach + 1), min(size, int(cx) + reach + 1)
        if y1 <= y0 or x1 <= x0:
            continue
        y, x = np.mgrid[y0:y1, x0:x1]
        y, x = y - cy, x - cx
        along = (y * np.sin(cell.angle) + x * np.cos(cell.angle)) / length**0.5
        across = (x * np.sin(cell.angle) - y * np.cos(cell.angle)) * length**0.5
        theta = np.arctan2(across, along)
        edge = np.ones_like(theta)
        for wave in range(WAVES):
            edge += cell.wave[0, wave] * np.cos((wave + 2) * theta) + cell.wave[1, wave] * np.sin((wave + 2) * theta)
        inside = np.hypot(along, across) / (radius * edge)
        window = (slice(y0, y1), slice(x0, x1))
        mine = inside < depth[window]
        image[window][mine], depth[window][mine] = cell.number, inside[mine]
    return image


def _segment(
    image: np.ndarray,
    cells: list[_Cell],
    frame: int,
    settings: Settings,
    rng: np.random.Generator,
    contacts: dict[tuple[int, int], bool],
    halves: dict[int, tuple[int, float]],
) -> np.ndarray:
    """What a segmentation makes of the cells: (H, W) uint16, numbered anew in each frame."""
    found = image.copy()
    touching = renew_contacts(contacts, image, settings.joined, 0.15, rng)
    together = [pair for pair in touching if contacts[pair]]
    numbers = {cell.number for cell in cells}
    together += [(cell.number, cell.partner) for cell in cells if cell.partner in numbers and frame <= cell.released]
    found = grouped(max(numbers), together)[found]
    highest = int(found.max())
    for number in np.unique(found[found > 0]).tolist():
        if number not in halves and rng.uniform() < settings.splits:
            halves[number] = (frame + int(rng.integers(1, 3)), float(rng.uniform(0, np.pi)))
        if number in halves:
            until, angle = halves[number]
            if frame >= until:
                del halves[number]
            else:
                y, x = np.nonzero(found == number)
                side = (y - y.mean()) * np.cos(angle) - (x - x.mean()) * np.sin(angle)
                highest += 1
                found[y[side > 0.7], x[side > 0.7]] = highest
                cut = np.abs(side) <= 0.7
                found[y[cut], x[cut]] = 0
    return renumbered(found, lambda number: settings.missed, rng)


def renew_contacts(
    contacts: dict[tuple[int, int], bool], image: np.ndarray, joined: float, change: float, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """The pairs of cells in contact; `contacts` then says of each of them whether segmentation takes it for one.

    joined: the share of the pairs for which it does. change: the probability that this is decided anew.
    """
    touching = sorted(_in_contact(image))
    for pair in touching:
        if pair not in contacts or rng.uniform() < change:
            contacts[pair] = bool(rng.uniform() < joined)
    for pair in contacts.keys() - set(touching):
        del contacts[pair]
    return touching


def grouped(highest: int, together: Iterable[tuple[int, int]]) -> np.ndarray:
    """The number, for each from 0 to `highest`, of the region that cells `together` make, (highest + 1,) uint16."""
    of = list(range(highest + 1))

    def first(number: int) -> int:
        while of[number] != number:
            number = of[number]
        return number

    for one, other in together:
        of[first(one)] = first(other)
    return np.array([first(number) for number in of], np.uint16)


def renumbered(found: np.ndarray, missed: Callable[[int], float], rng: np.random.Generator) -> np.ndarray:
    """The regions under numbers at random, without those that are missed, with that probability; (H, W) uint16."""
    order = np.zeros(int(found.max()) + 1, np.uint16)
    n_found = 0
    for number in rng.permutation(np.unique(found[found > 0])).tolist():
        if rng.uniform() >= missed(number):
            n_found += 1
            order[number] = n_found
    return order[found]


def _in_contact(image: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of cells with neighbouring pixels, the lower number first."""
    pairs: set[tuple[int, int]] = set()
    for a, b in ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1])):
        edge = (a != b) & (a > 0) & (b > 0)
        both = np.stack([np.minimum(a[edge], b[edge]), np.maximum(a[edge], b[edge])], axis=1)
        pairs |= set(map(tuple, np.unique(both, axis=0).tolist()))
    return pairs


class Score(NamedTuple):
    """Numbers of true divisions, of those that were found, of wrong ones, and of true ones in the last two frames."""

    true: int
    found: int
    wrong: int
    late: int


def score(movie: Movie, tracked: np.ndarray, divisions: Iterable[tuple[int, Sequence[int], int]]) -> Score:
    """How many divisions were found. tracked: (T, H, W) numbers of cells; divisions: (parent, daughters, frame).

    One is right when the parent's last region holds the mother, or both daughters where segmentation took them for one
    still, and of the regions of the two found daughters, in their first three frames, each holds another true one.
    """
    n_frames = len(tracked)
    truth = {division.mother: division for division in movie.divisions}
    found: set[int] = set()
    wrong = 0
    for parent, daughters, _ in divisions:
        frames = np.flatnonzero((tracked == parent).any(axis=(1, 2)))
        mothers = _held(movie.cells[frames[-1]], tracked[frames[-1]] == parent)
        held = []
        for daughter in daughters:
            frames = np.flatnonzero((tracked == daughter).any(axis=(1, 2)))[:3]
            held.append(set().union(*(_held(movie.cells[at], tracked[at] == daughter) for at in frames)))
        right = [
            division.mother
            for division in truth.values()
            if len(held) == 2
            and (division.mother in mothers or {*division.daughters} <= mothers)
            and any(a in held[0] and b in held[1] for a, b in (division.daughters, division.daughters[::-1]))
        ]
        found |= {*right}
        wrong += not right
    late = sum(division.frame >= n_frames - 2 for division in movie.divisions)
    return Score(len(truth), len(found), wrong, late)


def _held(cells: np.ndarray, region: np.ndarray) -> set[int]:
    """The cells of which more than a quarter lies in a region."""
    inside = np.bincount(cells[region], minlength=int(cells.max()) + 1)
    return set(np.flatnonzero(4 * inside > np.bincount(cells.ravel())).tolist()) - {0}
