"""Simulate a transfection experiment with known truth: phase contrast and two fluorescence channels.

Cells are granular bodies with a bright halo on a near-flat background. They walk, turn and grow; some come late, some
die early, a few touch for a while, some cross the border. Their fluorescence follows the maturation model of PyAMA
(mRNA translated into a protein that has to mature) above an uneven background that drifts.

Everything follows from the seed, plane by plane: planes may be asked for in any order.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

CHANNELS = ("Phase contrast", "GFP", "mCherry")
CAMERA_OFFSET = 100.0  # counts
COUNTS_PER_ELECTRON = 0.5
READ_NOISE = 2.5  # counts
PHASE_LEVEL = 6000.0  # counts above the offset
GRANULES = 1200.0  # counts, standard deviation inside a cell
DARKER = 300.0  # counts, by which a cell's body is darker than the background
HALO = 500.0  # counts, where it is brightest
FLUORESCENCE_LEVELS = (590.0, 1350.0)  # counts, camera offset included, middle of the image at the start
MATURATION_PER_H, DECAY_PER_H = 1.28, 5.22e-3  # km and beta of the model, the same for every cell
DEMO_VIGNETTING = 0.02  # of the demo, whose cells are not vignetted
TILE = 80  # pixels; holds a cell of any size and its halo
TRUTH_COLUMNS = (
    "fov",
    "cell",
    "frame",
    "centroid_y",
    "centroid_x",
    "y0",
    "x0",
    "y1",
    "x1",
    "area",
    "intensity_1",
    "intensity_2",
)


class Experiment(NamedTuple):
    """A simulated experiment; fov, frame and channel count from 0, channel 0 is phase contrast.

    plane(fov, frame, channel, z=0): (H, W) uint16, as a camera would give it.
    noiseless(fov, frame, channel): (H, W) float32, the same before noise and rounding.
    background(fov, frame, channel): (H, W) float32, the same without the cells.
    labels(fov, frame): (H, W) int32, the number of the cell in each pixel, 0 outside; numbers last for the whole movie.
    kinetics(fov): per cell (row: number - 1) and fluorescence channel `onset_h`, `ktl` (counts per hour) and
    `delta_per_h`, each (N, 2) float64.
    time_s(fov, frame): when the frame was taken, seconds since the start.
    """

    n_fovs: int
    n_frames: int
    height: int
    width: int
    period_min: float
    plane: Callable[..., np.ndarray]
    noiseless: Callable[[int, int, int], np.ndarray]
    background: Callable[[int, int, int], np.ndarray]
    labels: Callable[[int, int], np.ndarray]
    kinetics: Callable[[int], dict[str, np.ndarray]]
    time_s: Callable[[int, int], float]


def simulate(
    n_fovs: int = 2,
    n_frames: int = 36,
    height: int = 512,
    width: int = 512,
    n_cells: int = 30,
    seed: int = 0,
    period_min: float = 10.0,
    vignetting: float = 0.2,
) -> Experiment:
    """Return an experiment with n_cells cells per FOV. Nothing is drawn before it is asked for.

    vignetting: share by which the fluorescence's background, not the cells, is darker in the middle of an edge.
    """
    scene = lru_cache(maxsize=4)(
        lambda fov: _scene(n_frames, height, width, n_cells, np.random.default_rng([seed, fov]))
    )
    drawing = lru_cache(maxsize=2)(lambda fov, frame: _draw(scene(fov), frame, height, width))
    shades = lru_cache(maxsize=1)(lambda: _shades(height, width, vignetting))

    def time_s(fov: int, frame: int) -> float:
        # the stage needs two seconds from one position to the next
        return frame * period_min * 60.0 + fov * 2.0

    def background(fov: int, frame: int, channel: int) -> np.ndarray:
        flat, vignette, slope = shades()
        if channel == 0:
            return (CAMERA_OFFSET + PHASE_LEVEL * flat).astype(np.float32)
        # the lamp fades and flickers, and the light wanders over the field
        progress = frame / max(n_frames - 1, 1)
        fade = 1.0 - 0.08 * progress + 0.03 * np.sin(9.0 * progress + fov + channel)
        tilt = 0.12 * np.cos(2.0 * progress + fov)
        light = fade * vignette * (1.0 + tilt * slope)
        return (CAMERA_OFFSET + (FLUORESCENCE_LEVELS[channel - 1] - CAMERA_OFFSET) * light).astype(np.float32)

    def noiseless(fov: int, frame: int, channel: int) -> np.ndarray:
        drawn = drawing(fov, frame)
        image = background(fov, frame, channel)
        if channel == 0:
            return image + drawn.phase
        hours = frame * period_min / 60.0
        cells = scene(fov)
        totals = maturation(hours - cells.onset_h, cells.ktl, cells.delta_per_h)[:, channel - 1]
        per_weight = np.zeros(len(totals) + 1, np.float32)
        np.divide(totals, drawn.weights, out=per_weight[1:], where=drawn.weights > 0, casting="unsafe")
        return image + per_weight[drawn.labels] * drawn.weight

    def plane(fov: int, frame: int, channel: int, z: int = 0) -> np.ndarray:
        return photographed(noiseless(fov, frame, channel), np.random.default_rng([seed, fov, frame, channel]))

    def kinetics(fov: int) -> dict[str, np.ndarray]:
        cells = scene(fov)
        return {"onset_h": cells.onset_h, "ktl": cells.ktl, "delta_per_h": cells.delta_per_h}

    def labels(fov: int, frame: int) -> np.ndarray:
        return drawing(fov, frame).labels.copy()

    return Experiment(
        n_fovs, n_frames, height, width, period_min, plane, noiseless, background, labels, kinetics, time_s
    )


def photographed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W) float32, counts, as a camera gives it: with noise, rounded, (H, W) uint16."""
    # at hundreds of electrons and more, Poisson noise is normal noise
    variance = COUNTS_PER_ELECTRON * (image - CAMERA_OFFSET) + READ_NOISE**2
    noise = rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image + noise * np.sqrt(np.maximum(variance, 0))), 0, 65535).astype(np.uint16)


def granules(side: int, rng: np.random.Generator) -> np.ndarray:
    """What makes a cell look granular in phase contrast: (side, side) float32, counts, 0 on average."""
    grain = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), 0.8)
    return (grain * (GRANULES / grain.std())).astype(np.float32)


def halo(beyond: np.ndarray) -> np.ndarray:
    """The halo of a cell in phase contrast, counts: brightest just outside its edge. beyond: px from the edge."""
    return HALO * np.exp(-0.5 * ((beyond - 3.0) / 3.0) ** 2)


def truth_rows(experiment: Experiment, fov: int) -> Iterator[dict[str, float]]:
    """Yield one row per frame and visible cell of a FOV, with the columns TRUTH_COLUMNS.

    `cell` is the number in the label image; the box is half-open; `intensity_1` and `_2` are the sums over the cell's
    pixels of what lies above the true background, without noise. Lengths in pixels, a cut cell counts as far as it
    is seen.
    """
    for frame in range(experiment.n_frames):
        labels = experiment.labels(fov, frame)
        y, x = np.nonzero(labels)
        cell = labels[y, x]
        area = np.bincount(cell)
        centre = [np.bincount(cell, weights=axis) for axis in (y, x)]
        light = [
            np.bincount(
                cell, weights=(experiment.noiseless(fov, frame, c) - experiment.background(fov, frame, c))[y, x]
            )
            for c in (1, 2)
        ]
        order = np.argsort(cell, kind="stable")
        starts = np.searchsorted(cell[order], np.flatnonzero(area))
        lows = [np.minimum.reduceat(axis[order], starts) if len(starts) else [] for axis in (y, x)]
        highs = [np.maximum.reduceat(axis[order], starts) + 1 if len(starts) else [] for axis in (y, x)]
        for i, number in enumerate(np.flatnonzero(area)):
            yield {
                "fov": fov,
                "cell": int(number),
                "frame": frame,
                "centroid_y": float(centre[0][number] / area[number]),
                "centroid_x": float(centre[1][number] / area[number]),
                "y0": int(lows[0][i]),
                "x0": int(lows[1][i]),
                "y1": int(highs[0][i]),
                "x1": int(highs[1][i]),
                "area": int(area[number]),
                "intensity_1": float(light[0][number]),
                "intensity_2": float(light[1][number]),
            }


def write_truth(path: Path, experiment: Experiment) -> None:
    """Write the truth of all FOVs as CSV (columns TRUTH_COLUMNS)."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, TRUTH_COLUMNS, lineterminator="\n")
        table.writeheader()
        for fov in range(experiment.n_fovs):
            for row in truth_rows(experiment, fov):
                table.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def maturation(dt_h: np.ndarray, ktl: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Return the amount of mature protein dt_h hours after the onset, 0 before it.

    The solution of m' = -delta m, u' = ktl m - (beta + km) u, g' = km u - beta g with m = 1, u = g = 0 at the onset,
    written so that delta == beta is no special case.
    """
    km, beta = MATURATION_PER_H, DECAY_PER_H
    dt = np.maximum(dt_h, 0.0)
    gap = beta - delta
    # (1 - exp(-gap dt)) / gap, and its limit dt
    close = np.abs(gap) < 1e-12
    integral = np.where(close, dt, -np.expm1(-gap * dt) / np.where(close, 1.0, gap))
    amount = km * np.exp(-delta * dt) * integral + np.exp(-beta * dt) * np.expm1(-km * dt)
    return ktl * amount / (gap + km)


# ---------------------------------------------------------------------------------------------------------------
# the cells of one FOV


class _Scene(NamedTuple):
    radius: np.ndarray  # (N,) pixels, at the start
    growth: np.ndarray  # (N,) relative growth of the radius over the movie
    centre: np.ndarray  # (N, T, 2) pixels, y and x
    angle: np.ndarray  # (N, T) radians
    born: np.ndarray  # (N,) first frame
    dead: np.ndarray  # (N,) frame after the last
    inside: list[np.ndarray]  # per cell (TILE, TILE) float32: pixels to the nearest edge, negative outside
    granules: list[np.ndarray]  # per cell (TILE, TILE) float32, counts
    onset_h: np.ndarray  # (N, 2) per fluorescence channel
    ktl: np.ndarray
    delta_per_h: np.ndarray


class _Drawing(NamedTuple):
    labels: np.ndarray  # (H, W) int32
    phase: np.ndarray  # (H, W) float32, counts that the cells add in phase contrast
    weight: np.ndarray  # (H, W) float32, how the fluorescence spreads over the pixels of a cell
    weights: np.ndarray  # (N,) sum of `weight` over the whole cell, 0 for cells that are not there


def _scene(n_frames: int, height: int, width: int, n_cells: int, rng: np.random.Generator) -> _Scene:
    radius = rng.uniform(10.5, 14.5, n_cells)
    growth = rng.uniform(0.0, 0.1, n_cells)

    # the first cells of the list pair up, the last live at the border, and in between some come late or die early
    n_pairs = n_cells // 12
    n_border = n_cells // 10
    born, dead = np.zeros(n_cells, int), np.full(n_cells, n_frames)
    plain = np.arange(2 * n_pairs, n_cells - n_border)
    late, early = np.split(rng.permutation(plain)[: 2 * (n_cells // 10)], [n_cells // 10])
    born[late] = rng.integers(n_frames // 4, max(n_frames // 2, n_frames // 4 + 1), len(late))
    dead[early] = rng.integers(n_frames // 2 + 1, max(3 * n_frames // 4, n_frames // 2 + 1) + 1, len(early))

    centre = _walk(n_frames, height, width, radius, n_pairs, n_border, rng)
    angle = rng.uniform(0, 2 * np.pi, n_cells)[:, None] + np.cumsum(rng.normal(0, 0.06, (n_cells, n_frames)), axis=1)
    tiles = [_cell_tiles(r, rng) for r in radius]
    return _Scene(
        radius=radius,
        growth=growth,
        centre=centre,
        angle=angle,
        born=born,
        dead=dead,
        inside=[inside for inside, _ in tiles],
        granules=[granules for _, granules in tiles],
        onset_h=rng.uniform(0.2, 1.5, n_cells)[:, None] + rng.uniform(0.0, 0.3, (n_cells, 2)),
        ktl=rng.lognormal(np.log([3e4, 6e4]), 0.5, (n_cells, 2)),
        delta_per_h=rng.lognormal(np.log(0.05), 0.4, (n_cells, 2)),
    )


def _walk(
    n_frames: int,
    height: int,
    width: int,
    radius: np.ndarray,
    n_pairs: int,
    n_border: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the centres (N, T, 2) of persistent random walks that keep their distance.

    The pairs (0, 1), (2, 3), ... are drawn together in the middle third of the movie until they touch.
    """
    n_cells = len(radius)
    size = np.array([height, width], float)
    position = rng.uniform(0.08, 0.92, (n_cells, 2)) * size
    low, high = np.full((n_cells, 2), 20.0), np.tile(size - 20.0, (n_cells, 1))
    for i in range(n_cells - n_border, n_cells):
        axis, far = rng.integers(2), rng.integers(2)
        edge = size[axis] * far
        low[i, axis], high[i, axis] = edge - 8.0, edge + 8.0
        position[i, axis] = edge
    first, second = 2 * np.arange(n_pairs), 2 * np.arange(n_pairs) + 1
    position[second] = position[first] + (radius[first] + radius[second] + 16.0)[:, None] * [0.6, 0.8]

    apart = radius[:, None] + radius[None, :] + 26.0
    apart[first, second] = apart[second, first] = radius[first] + radius[second] + 16.0
    together = apart.copy()
    together[first, second] = together[second, first] = 0.9 * (radius[first] + radius[second])

    position = _keep_apart(position, apart, low, high, 150)
    speed = rng.normal(0, 0.8, (n_cells, 2))
    path = np.empty((n_cells, n_frames, 2))
    for frame in range(n_frames):
        path[:, frame] = position
        meeting = n_frames // 3 <= frame + 1 < 2 * n_frames // 3
        speed = 0.8 * speed + rng.normal(0, 0.5, (n_cells, 2))
        position = np.clip(position + speed, low, high)
        if meeting:
            way = position[second] - position[first]
            length = np.sqrt((way**2).sum(axis=1, keepdims=True)) + 1e-9
            pull = 0.5 * np.clip(length - together[first, second][:, None], 0.0, 8.0) * way / length
            position[first] += pull
            position[second] -= pull
        position = _keep_apart(position, together if meeting else apart, low, high, 4)
    return path


def _keep_apart(
    position: np.ndarray, distance: np.ndarray, low: np.ndarray, high: np.ndarray, rounds: int
) -> np.ndarray:
    """Return the positions (N, 2), pushed towards the distances (N, N) at least, and kept between low and high."""
    for _ in range(rounds):
        way = position[:, None] - position[None, :]
        length = np.sqrt((way**2).sum(axis=2)) + 1e-9
        push = np.maximum(distance - length, 0.0)
        np.fill_diagonal(push, 0.0)
        position = np.clip(position + 0.4 * ((push / length)[..., None] * way).sum(axis=1), low, high)
    return position


def _cell_tiles(radius: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the shape of one cell (pixels to its edge, positive inside) and its granules (counts), as tiles."""
    y, x = np.mgrid[:TILE, :TILE] - (TILE - 1) / 2
    theta, distance = np.arctan2(y, x), np.hypot(y, x)
    edge = np.full(theta.shape, radius)
    for waves, strength in ((2, 0.12), (3, 0.05), (4, 0.03)):
        edge += radius * rng.normal(0, strength) * np.cos(waves * theta + rng.uniform(0, 2 * np.pi))
    inside = np.clip(edge, 0.75 * radius, 1.3 * radius) - distance
    return inside.astype(np.float32), granules(TILE, rng)


def _draw(scene: _Scene, frame: int, height: int, width: int) -> _Drawing:
    """Draw the cells of one frame; a pixel that two cells claim goes to the one it lies deeper in."""
    margin = TILE
    shape = (height + 2 * margin, width + 2 * margin)
    labels = np.zeros(shape, np.int32)
    depth = np.full(shape, -np.inf, np.float32)
    phase = np.zeros(shape, np.float32)
    around = np.zeros(shape, np.float32)
    weight = np.zeros(shape, np.float32)
    weights = np.zeros(len(scene.radius))
    n_frames = scene.centre.shape[1]
    middle = (TILE - 1) / 2
    for i in np.flatnonzero((scene.born <= frame) & (frame < scene.dead)):
        centre = scene.centre[i, frame]
        # cells may wander out of the image, their tile stays within the margin
        corner = np.clip(np.floor(centre - middle).astype(int), -margin, [height, width])
        at_y, at_x = centre - corner
        scale = 1.0 + scene.growth[i] * frame / n_frames
        cos, sin = np.cos(scene.angle[i, frame]) / scale, np.sin(scene.angle[i, frame]) / scale
        # from pixels of the image to those of the tile
        turn = np.array([[cos, sin, middle - cos * at_x - sin * at_y], [-sin, cos, middle + sin * at_x - cos * at_y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        inside = scale * cv2.warpAffine(scene.inside[i], turn, (TILE, TILE), flags=flags, borderValue=-99.0)
        grain = cv2.warpAffine(scene.granules[i], turn, (TILE, TILE), flags=flags)

        body = inside > 0
        dome = np.sqrt(np.maximum(inside, 0) + 1.0)
        weights[i] = dome[body].sum()
        window = tuple(slice(start + margin, start + margin + TILE) for start in corner)
        mine = body & (inside > depth[window])
        labels[window][mine] = i + 1
        phase[window][mine] = grain[mine] - DARKER
        weight[window][mine] = dome[mine]
        depth[window] = np.maximum(depth[window], inside)
        around[window] = np.maximum(around[window], halo(-inside))
    seen = (slice(margin, margin + height), slice(margin, margin + width))
    labels = labels[seen]
    phase = np.where(labels > 0, phase[seen], around[seen])
    return _Drawing(labels, phase, weight[seen], weights)


def _shades(height: int, width: int, vignetting: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three (H, W) float64 patterns: nearly 1 everywhere; a vignette; a slope from -1 to 1 along x and y."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    flat = 1.0 + 0.01 * x - 0.01 * y
    return flat, 1.0 - vignetting * (x**2 + y**2), 0.7 * x + 0.3 * y
