"""Look at how a channel's light lies on the cells of each frame: on those of which frame, and how far beside them.

Each cell's own pixels of a frame are laid over the light where the cell is, and where its box is in another frame. The
mean light tells which fits better, whatever the cell's shape, size and brightness. Cells that walk lose light when
their outline is laid where they were a frame ago; where they win, the light is that of another frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from celltraces.frames import coverage
from celltraces.results.cell_pixels import CellPixels, Places, small
from celltraces.storage.frames import Frames

LAGS = (2, -2, 4, -4, 8, -8, 16, -16)  # frames later that are looked at where a frame does not clearly fit its own
FITS_OWN = -1.0  # standard errors by which the light fits the frames before and after worse than its own
FEWEST = 5  # cells
MANY, NEARLY_ALL = 8, 0.8  # cells, and of these
CLEAR = 4.0  # standard deviations of what lies around the cells, by which a cell shines
FAST = 5.0  # px: cells that go farther count no more than these
FAR = 40.0  # px: what goes farther between two frames is perhaps not the same cell
BACK = 0.13  # of what is lost by going the other way has to be won: tails that a segmentation leaves out win less
STEADY = 0.01  # of its light: differences of cells are at least so large
GROUND, SEEN = 16, 0.3  # rows and columns of what lies between cells; share of a part that has to be seen
FEWEST_PIXELS = 10  # of a ring
NOISE_OF = 16  # one in so many pixels beside the cells tells the noise
PICTURES = 4  # frames of a movie of which a picture is kept


@dataclass(frozen=True)
class Sight:
    """What a frame shows of N cells. fits: by lag, by how many standard errors the light fits better on the cells of
    that many frames later (negative: of earlier ones); lags that cannot be told are not in it. ground (h, w) float32:
    what lies between the cells, on at most GROUND rows and columns. light, areas (N,): of each cell that shines, above
    the background, counts, and its pixels; NaN of others. beside: the usual light in the ring around a cell, as a share
    of the light in it; None where too few cells shine. spread: its standard error. uneven: standard deviation of the
    light in a cell by its mean, the usual one. pictures: cells and light of the whole frame, of a few frames."""

    fits: dict[int, float]
    ground: np.ndarray
    light: np.ndarray
    areas: np.ndarray
    beside: float | None = None
    spread: float = 0.0
    uneven: float | None = None
    pictures: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Channel:
    """A channel of a FOV with its cells: (T, H, W) labels that stay with a cell, its light, and the background."""

    labels: Frames
    light: Frames
    background: Frames
    places: Places


class Scene:
    """One frame of a channel with the cells on it."""

    def __init__(self, channel: Channel, frame: int, cells: CellPixels | None = None) -> None:
        """cells: those of this frame, where they are known."""
        self.frame, self.places = frame, channel.places
        self.image = channel.light.read(frame)
        if cells is None:
            cells = CellPixels(
                channel.labels.read(frame), channel.places, coverage.of_frame(channel.light.attributes, frame)
            )
        self.cells = cells
        step = cells.step
        self._under = channel.background.read(frame)[::step, ::step]
        self._above = self.image[::step, ::step] - self._under
        around = self._above[~cells.mask][::NOISE_OF]
        self.noise = 1.4826 * float(np.median(np.abs(around - np.median(around)))) if len(around) else np.inf
        self._level = cells.sums(self._under.ravel()[cells.at]) / np.maximum(cells.area, 1)
        self.own = self._mean(np.zeros((len(self.places.ids), 2)))
        self.shining = self.own - self._level > CLEAR * max(self.noise, 0.5)

    def light(self) -> np.ndarray:
        """Mean light (N,) float32 of each cell that shines, above the background; NaN of others."""
        return np.where(self.shining, self.own - self._level, np.nan).astype(np.float32)

    def areas(self) -> np.ndarray:
        """Pixels (N,) float32 of each cell that shines; NaN of others."""
        return np.where(self.shining, self.cells.area * np.float32(self.cells.step**2), np.float32(np.nan))

    def ground(self) -> np.ndarray:
        """What lies away from all cells, as means of parts of the image: (h, w) float32, at most GROUND each; NaN where
        cells hide a part."""
        import cv2

        away = self.cells.away
        size = tuple(min(side, GROUND) for side in away.shape[::-1])
        above, share, under = (
            cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (self._above * away, away, self._under)
        )
        return np.where(share >= SEEN, under + above / np.maximum(share, SEEN), np.float32(np.nan))

    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """The share of each part of the frame that cells cover, and how much of it shines: (h, w) uint8 each."""
        shines = np.clip(self._above / np.float32(2 * CLEAR * max(self.noise, 0.5)) - np.float32(0.5), 0, 1)
        return self.cells.picture, small(shines)

    def _mean(self, steps: np.ndarray) -> np.ndarray:
        """Mean light (N,) of each cell's pixels moved by steps (N, 2) px; NaN where that lies outside of the image."""
        height, width = self.image.shape
        whole = np.rint(np.nan_to_num(steps)).astype(int)
        cells = self.cells
        y, x = cells.y + whole[cells.rows, 0], cells.x + whole[cells.rows, 1]
        outside = (y < 0) | (x < 0) | (y >= height) | (x >= width)
        light = self.image.ravel()[np.where(outside, 0, y * width + x)]
        sums = cells.sums(light)
        sums[cells.rows[outside]] = np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(np.isfinite(steps[:, 0]), sums / cells.area, np.nan)

    def _gains(self, steps: np.ndarray) -> np.ndarray:
        """By which share of its light each cell gains (N,) where its pixels are moved by steps (N, 2)."""
        moved = self._mean(steps)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = (moved - self.own) / (np.maximum(moved, self.own) - self._level)
        return np.clip(shares, -1, 1)

    def _wins(self, lag: int) -> tuple[np.ndarray, np.ndarray]:
        """What cells that shine and move (n,) win where they are `lag` frames later, and what each counts.

        A part of what they lose on the other side of where they are is taken off.
        """
        other = self.frame + lag
        if not 0 <= other < self.places.middles.shape[1]:
            return np.zeros(0), np.zeros(0)
        steps = self.places.middles[:, other] - self.places.middles[:, self.frame]
        steps[np.hypot(*np.nan_to_num(steps).T) > FAR] = np.nan
        wins = self._gains(steps) + BACK * self._gains(-steps)
        weights = np.minimum(np.hypot(*steps.T), FAST)
        count = self.shining & np.isfinite(wins) & (weights > 0)
        return wins[count], weights[count]

    def mostly_better(self, lag: int) -> bool:
        """Whether nearly all of many cells that shine fit better `lag` frames later."""
        wins, _ = self._wins(lag)
        return len(wins) >= MANY and np.count_nonzero(wins > 0) >= NEARLY_ALL * len(wins)

    def fit(self, lag: int) -> float:
        """By how many standard errors light fits better on cells where they are `lag` frames later; NaN: unknown."""
        wins, weights = self._wins(lag)
        if len(wins) < FEWEST:
            return float("nan")
        mean = float(np.average(wins, weights=weights))
        apart = np.maximum(np.abs(wins - mean), STEADY)
        return mean * float(weights.sum()) / float(np.sqrt((weights**2 * apart**2).sum()))

    def beside(self) -> tuple[float | None, float]:
        """The usual light in the ring around a cell, as a share of its own, and the standard error; None: unknown."""
        at, rows, n = self.cells.ring
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(rows, self._above.ravel()[at], len(self.places.ids)) / n
            shares = mean / (self.own - self._level)
        shares = np.clip(shares[self.shining & (n >= FEWEST_PIXELS)], -0.5, 1.5)
        if len(shares) < FEWEST:
            return None, 0.0
        deviations = np.abs(shares - np.median(shares))
        return float(np.median(shares)), 1.25 * 1.4826 * float(np.median(deviations)) / len(shares) ** 0.5

    def uneven(self) -> float:
        """Standard deviation of the light in a cell by its mean, the usual one.

        Of means of 3 x 3 of the pixels that are looked at, so that noise hardly counts.
        """
        import cv2

        light = cv2.blur(self._above, (3, 3)).ravel()[self.cells.at]
        area = np.maximum(self.cells.area, 1)
        mean = self.cells.sums(light) / area
        variance = np.maximum(self.cells.sums(light**2) / area - mean**2, 0)
        return float(np.median(np.sqrt(variance[self.shining]) / np.maximum(mean[self.shining], 1e-9)))


def sights(channels: Mapping[str, Channel]) -> dict[str, list[Sight | None]]:
    """What each frame of the channels of a FOV shows, by channel; None of frames that a channel does not have."""
    found: dict[str, list[Sight | None]] = {name: [] for name in channels}
    n_frames = max((channel.light.shape[0] for channel in channels.values()), default=0)
    pictured = {round((n_frames - 1) * at / PICTURES) for at in range(1, PICTURES + 1)}
    for frame in range(n_frames):
        cells: dict[tuple, CellPixels] = {}  # usually of all channels
        for name, channel in channels.items():
            if not channel.light.present(frame):
                found[name].append(None)
                continue
            uncovered = tuple(coverage.of_frame(channel.light.attributes, frame))
            if uncovered not in cells:
                cells[uncovered] = CellPixels(channel.labels.read(frame), channel.places, uncovered)
            found[name].append(_sight(Scene(channel, frame, cells[uncovered]), frame in pictured))
    return found


def _sight(scene: Scene, pictured: bool) -> Sight:
    pictures = scene.pictures() if pictured else None
    shown = scene.ground(), scene.light(), scene.areas()
    if np.count_nonzero(scene.shining) < FEWEST:
        return Sight({}, *shown, pictures=pictures)
    fits = {lag: scene.fit(lag) for lag in (1, -1)}
    if not max(fits.values()) < FITS_OWN:
        fits |= {lag: scene.fit(lag) for lag in LAGS}
    known = {lag: z for lag, z in fits.items() if np.isfinite(z)}
    return Sight(known, *shown, *scene.beside(), scene.uneven(), pictures)
