"""Look at how a channel's light lies on the cells of each frame: on those of which frame, and how far beside them.

Each cell's own pixels of a frame are laid over the light where the cell is, and where its box is in another frame. The
mean light tells which fits better, whatever the cell's shape, size and brightness. Cells that walk lose light when
their outline is laid where they were a frame ago; where they win, the light is that of another frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celltraces.frames import coverage
from celltraces.storage.frames import Frames

SIDE = 512  # rows or columns of which pixels are looked at
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
AWAY = 12  # px from all cells
FEWEST_PIXELS = 10  # of a ring
NEAR, WIDE = 2, 6  # px beyond the outlines: from and to there is the ring around each cell


@dataclass(frozen=True)
class Sight:
    """What a frame shows. fits: by lag, by how many standard errors the light fits better on the cells of that many
    frames later (negative: of earlier ones); lags that cannot be told are not in it. beside: the usual light in the
    ring around a cell, as a share of the light in it; None where too few cells shine. spread: its standard error.
    ground (h, w) float32: what lies between the cells, on at most GROUND rows and columns."""

    fits: dict[int, float]
    ground: np.ndarray
    beside: float | None = None
    spread: float = 0.0


@dataclass(frozen=True)
class Places:
    """Where cells are. ids (N,) int; row_of: the row of each number up to the highest; middles (N, T, 2) float64: y, x
    of each box, NaN where the cell is not."""

    ids: np.ndarray
    row_of: np.ndarray
    middles: np.ndarray


def places_of(ids: np.ndarray, bboxes: np.ndarray, present: np.ndarray) -> Places:
    """ids (N,), bboxes (N, T, 4), present (N, T) as cells.zarr has them."""
    boxes = np.where(present[..., None], bboxes, np.nan)
    row_of = np.zeros(int(ids.max(initial=0)) + 1, np.intp)
    row_of[ids] = np.arange(len(ids))
    return Places(ids, row_of, (boxes[..., :2] + boxes[..., 2:]) / 2)


@dataclass(frozen=True)
class Channel:
    """A channel of a FOV with its cells: (T, H, W) labels that stay with a cell, its light, and the background."""

    labels: Frames
    light: Frames
    background: Frames
    places: Places


class Scene:
    """One frame of a channel with the cells on it."""

    def __init__(self, channel: Channel, frame: int) -> None:
        labels, light, places = channel.labels, channel.light, channel.places
        self.frame, self.places = frame, places
        self.image = light.read(frame)
        step = max(1, -(-max(self.image.shape) // SIDE))
        sampled = labels.read(frame)[::step, ::step]
        boxes = coverage.of_frame(light.attributes, frame)
        if boxes:
            sampled = np.where(coverage.mask_of_boxes(boxes, self.image.shape)[::step, ::step], 0, sampled)
        self._sampled, self._step = sampled, step
        pixels = np.flatnonzero(sampled)
        self._rows = places.row_of[sampled.ravel()[pixels]]
        self._y, self._x = (at * step for at in np.divmod(pixels, sampled.shape[1]))
        self._area = np.bincount(self._rows, minlength=len(places.ids))
        under = channel.background.read(frame)[::step, ::step]
        self._under = under
        self._above = self.image[::step, ::step] - under
        around = self._above[::4][sampled[::4] == 0]
        noise = 1.4826 * float(np.median(np.abs(around - np.median(around)))) if len(around) else np.inf
        self._level = np.bincount(self._rows, under.ravel()[pixels], len(places.ids)) / np.maximum(self._area, 1)
        self.own = self._mean(np.zeros((len(places.ids), 2)))
        self.shining = self.own - self._level > CLEAR * max(noise, 0.5)

    def ground(self) -> np.ndarray:
        """What lies away from all cells, as means of parts of the image: (h, w) float32, at most GROUND each; NaN where
        cells hide a part."""
        import cv2

        reach = 2 * max(1, round(AWAY / self._step)) + 1
        cells = (self._sampled > 0).view(np.uint8)
        away = (cv2.dilate(cells, np.ones((reach, reach), np.uint8)) == 0).astype(np.float32)
        size = tuple(min(side, GROUND) for side in away.shape[::-1])
        above, share, under = (
            cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (self._above * away, away, self._under)
        )
        return np.where(share >= SEEN, under + above / np.maximum(share, SEEN), np.float32(np.nan))

    def _mean(self, steps: np.ndarray) -> np.ndarray:
        """Mean light (N,) of each cell's pixels moved by steps (N, 2) px; NaN where that lies outside of the image."""
        height, width = self.image.shape
        whole = np.rint(np.nan_to_num(steps)).astype(int)
        y, x = self._y + whole[self._rows, 0], self._x + whole[self._rows, 1]
        outside = (y < 0) | (x < 0) | (y >= height) | (x >= width)
        light = self.image.ravel()[np.where(outside, 0, y * width + x)]
        sums = np.bincount(self._rows, light, len(self.places.ids)).astype(np.float64)  # whole numbers without cells
        sums[self._rows[outside]] = np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(np.isfinite(steps[:, 0]), sums / self._area, np.nan)

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
        import cv2

        near, wide = (2 * max(1, round(reach / self._step)) + 1 for reach in (NEAR, WIDE))
        cells = np.where(self._sampled > 0, self.places.row_of[self._sampled] + 1, 0).astype(np.float32)
        grown = cv2.dilate(cells, np.ones((wide, wide), np.uint8))
        grown[cv2.dilate(cells, np.ones((near, near), np.uint8)) > 0] = 0
        ring = np.flatnonzero(grown)
        rows = grown.ravel()[ring].astype(int) - 1
        light = self._above.ravel()[ring]
        n = np.bincount(rows, minlength=len(self.places.ids))[: len(self.places.ids)]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(rows, light, len(self.places.ids))[: len(self.places.ids)] / n
            shares = mean / (self.own - self._level)
        shares = np.clip(shares[self.shining & (n >= FEWEST_PIXELS)], -0.5, 1.5)
        if len(shares) < FEWEST:
            return None, 0.0
        deviations = np.abs(shares - np.median(shares))
        return float(np.median(shares)), 1.25 * 1.4826 * float(np.median(deviations)) / len(shares) ** 0.5


def sights(channel: Channel) -> list[Sight | None]:
    """What each frame shows; None of frames that the channel does not have."""
    found: list[Sight | None] = []
    for frame in range(channel.light.shape[0]):
        if not channel.light.present(frame):
            found.append(None)
            continue
        scene = Scene(channel, frame)
        if np.count_nonzero(scene.shining) < FEWEST:
            found.append(Sight({}, scene.ground()))
            continue
        fits = {lag: scene.fit(lag) for lag in (1, -1)}
        if not max(fits.values()) < FITS_OWN:
            fits |= {lag: scene.fit(lag) for lag in LAGS}
        found.append(Sight({lag: z for lag, z in fits.items() if np.isfinite(z)}, scene.ground(), *scene.beside()))
    return found
