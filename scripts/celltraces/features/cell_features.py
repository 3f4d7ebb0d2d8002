"""Measure the features of one cell in all its frames at once, from its crops.

Two registries name what a configuration may ask for: `PHASE_FEATURES` (shape, from the mask) and
`FLUORESCENCE_FEATURES` (light, from image, background and mask). Each maps a name to a function that takes a `Cell`
and returns (T,) numbers. Where the mask is empty the feature is NaN, whatever the function returned there.

Area, axes, eccentricity, perimeter and solidity are those of scikit-image's regionprops, a mask of several parts
being one region; here they come from sums over whole stacks of masks.

Features of a user's own come from a plugin file: see `celltraces.features.user_features`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from celltraces.array_types import Float, Mask
from celltraces.errors import UserError
from celltraces.features.particles import find_particles
from celltraces.labels.distances import squared_distances


@dataclass(frozen=True, eq=False)
class Cell:
    """The crops of one cell in one channel, and what several features need of them, computed once.

    mask: (T, h, w) bool. image: (T, h, w) float64 raw counts, or None. background: (T, h, w) counts, or None.
    origins: (T, 2) y and x of the crops' first pixel in the image, or None for (0, 0). label: for messages.
    light_margin: pixels around the mask over which optics spread the cell's light; for sums alone.
    """

    mask: Mask
    image: Float | None = None
    background: NDArray[np.floating] | None = None
    background_weight: float = 1.0
    origins: NDArray[np.integer] | None = None
    particle_sigma: float = 1.5
    particle_threshold: float = 4.5
    label: object = "?"
    frames: NDArray[np.integer] | None = None
    light_margin: int = 0

    @cached_property
    def area(self) -> Float:
        """(T,) number of pixels."""
        return np.count_nonzero(self.mask, axis=(1, 2)).astype(np.float64)

    @cached_property
    def corrected(self) -> Float:
        """(T, h, w) counts without the weighted background."""
        if self.background is None:
            return self.image
        return self.image - self.background_weight * self.background.astype(np.float64)

    @cached_property
    def pixels(self) -> Float:
        """Corrected counts of the mask's pixels, frame after frame."""
        inside = np.flatnonzero(self.mask)
        counts = self.image.reshape(-1)[inside]
        if self.background is None:
            return counts
        return counts - self.background_weight * self.background.reshape(-1)[inside].astype(np.float64)

    def over_mask(self, reduction: np.ufunc, pixels: Float) -> Float:
        """(T,) reduction of the mask's pixels in each frame; NaN where there are none."""
        result = np.full(len(self.area), np.nan)
        first = np.cumsum(self.area) - self.area
        present = self.area > 0
        if present.any():
            result[present] = reduction.reduceat(pixels, first[present].astype(np.intp))
        return result

    @cached_property
    def total(self) -> Float:
        """(T,) sum of the corrected counts over the mask."""
        return self.over_mask(np.add, self.pixels)

    @cached_property
    def total_light(self) -> Float:
        """(T,) the same over the mask and the margin around it."""
        if self.light_margin == 0:
            return self.total
        return replace(self, mask=grow_mask(self.mask, self.light_margin), light_margin=0).total

    @cached_property
    def moments(self) -> tuple[Float, Float, Float, Float]:
        """(T,) y and x of the centroid in the crop, greater and lesser eigenvalue of the pixels' covariance."""
        frames, height, width = self.mask.shape
        # Counted from the crop's middle the sums are small whole numbers, exact in any order.
        y, x = (a.ravel() for a in np.mgrid[:height, :width])
        y, x = y - height // 2, x - width // 2
        powers = np.stack([y, x, y * y, x * x, y * x], axis=1).astype(np.float64)
        sums = self.mask.reshape(frames, height * width).astype(np.float64) @ powers
        mean_y, mean_x, yy, xx, xy = sums.T / self.area
        yy, xx, xy = yy - mean_y**2, xx - mean_x**2, xy - mean_y * mean_x
        greater = (yy + xx) / 2 + np.hypot((yy - xx) / 2, xy)
        # The lesser one as a quotient: as a difference, rounding would be all there is of it in a thin mask.
        lesser = (yy * xx - xy**2) / np.where(greater > 0, greater, 1)
        return mean_y + height // 2, mean_x + width // 2, greater, np.where(lesser < 1e-12 * greater, 0, lesser)

    @cached_property
    def perimeter(self) -> Float:
        """(T,) length of the line through the centres of the border pixels, where a border pixel has one of its 4
        neighbours outside: the estimate of Benkrid & Crookes 2000, as in regionprops."""
        inside = np.pad(self.mask, ((0, 0), (1, 1), (1, 1)))
        border = inside.copy()
        border[:, 1:-1, 1:-1] &= ~_beside(inside, np.logical_and)
        straight, corners = border.view(np.uint8), np.zeros(self.mask.shape, np.uint8)
        for dy in (0, 2):
            for dx in (0, 2):
                corners += straight[:, dy : dy + corners.shape[1], dx : dx + corners.shape[2]]
        kind = _STEPS[_beside(straight, np.add), corners]
        kind[~border[:, 1:-1, 1:-1]] = 0
        even, diagonal, half = (np.count_nonzero(kind == step, axis=(1, 2)) for step in (1, 2, 3))
        return even + np.sqrt(2) * diagonal + (1 + np.sqrt(2)) / 2 * half


# What a border pixel adds to the perimeter, by its numbers of border pixels beside it and at its corners: 1 for a
# straight step, 2 for a diagonal one, 3 for a half of each.
_STEPS = np.zeros((5, 5), np.uint8)
_STEPS[2:4, 0:3] = 1
_STEPS[0, 2] = _STEPS[1, 3] = 2
_STEPS[1, 1:3] = 3


def _beside(padded: NDArray, combine: Callable[[NDArray, NDArray], NDArray]) -> NDArray:
    """Combine each pixel's 4 neighbours: (T, h + 2, w + 2) -> (T, h, w)."""
    vertical = combine(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
    return combine(vertical, combine(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]))


def _aspect_ratio(cell: Cell) -> Float:
    """Major by minor axis of the ellipse with the mask's second moments. A row of n pixels has no minor axis: there
    the pixels' own extent (1/12 each way) is added, which makes it n."""
    _, _, greater, lesser = cell.moments
    own = np.where(lesser > 0, 0, 1 / 12)
    return np.sqrt((greater + own) / (lesser + own))


def _eccentricity(cell: Cell) -> Float:
    """Eccentricity of that ellipse: 0 for a circle and a single pixel, 1 for a row of pixels."""
    _, _, greater, lesser = cell.moments
    return np.sqrt(np.where(greater > 0, 1 - lesser / np.where(greater > 0, greater, 1), 0))


def _circularity(cell: Cell) -> Float:
    """4 pi area / perimeter^2, at most 1 (small masks would exceed it; a single pixel has perimeter 0)."""
    return np.minimum(4 * np.pi * cell.area / cell.perimeter**2, 1)


def _solidity(cell: Cell) -> Float:
    return cell.area / [_convex_area(mask) for mask in cell.mask]


def _convex_area(mask: Mask) -> float:
    """Number of pixels whose centres lie in the convex hull of the middles of all pixels' edges. mask: (h, w)."""
    y = np.flatnonzero(mask.any(axis=1))
    if not len(y):
        return np.nan
    first, last = mask[y].argmax(axis=1), mask.shape[1] - 1 - mask[y, ::-1].argmax(axis=1)
    # Only the ends of the rows can be corners of the hull. In half pixels all coordinates are whole numbers.
    ends = 2 * np.stack([np.append(first, last), np.append(y, y)], axis=1)
    points = (ends[:, None] + [[-1, 0], [1, 0], [0, -1], [0, 1]]).reshape(-1, 1, 2)
    hull = cv2.convexHull(points.astype(np.int32))[:, 0].astype(np.float64)
    after = np.roll(hull, -1, axis=0)
    slanted = hull[:, 1] != after[:, 1]
    (x0, y0), (x1, y1) = hull[slanted].T[:, :, None], after[slanted].T[:, :, None]
    row = 2 * np.arange(y[0], y[-1] + 1)
    crossed = (np.minimum(y0, y1) <= row) & (row <= np.maximum(y0, y1))
    x = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    left, right = np.where(crossed, x, np.inf).min(axis=0), np.where(crossed, x, -np.inf).max(axis=0)
    return float((np.floor(right / 2 + 1e-9) - np.ceil(left / 2 - 1e-9) + 1).sum())


def _centroid(cell: Cell, axis: int) -> Float:
    return cell.moments[axis] + (0 if cell.origins is None else np.asarray(cell.origins)[:, axis])


def _intensity_median(cell: Cell) -> Float:
    frames = np.split(cell.pixels, np.cumsum(cell.area[:-1]).astype(np.intp))
    return np.array([np.median(pixels) if len(pixels) else np.nan for pixels in frames])


def _intensity_std(cell: Cell) -> Float:
    """Standard deviation over the mask's pixels, as numpy's: divided by their number."""
    mean = np.repeat(cell.total / cell.area, cell.area.astype(np.intp))
    return np.sqrt(cell.over_mask(np.add, (cell.pixels - mean) ** 2) / cell.area)


def _particle_num(cell: Cell) -> Float:
    spots = find_particles(cell.corrected, cell.mask, cell.particle_sigma, cell.particle_threshold)
    return np.count_nonzero(spots, axis=(1, 2)).astype(np.float64)


Feature = Callable[[Cell], Float]

PHASE_FEATURES: dict[str, Feature] = {
    "area": lambda cell: cell.area,
    "perimeter": lambda cell: cell.perimeter,
    "aspect_ratio": _aspect_ratio,
    "eccentricity": _eccentricity,
    "solidity": _solidity,
    "circularity": _circularity,
    "centroid_x": lambda cell: _centroid(cell, 1),
    "centroid_y": lambda cell: _centroid(cell, 0),
}

FLUORESCENCE_FEATURES: dict[str, Feature] = {
    "intensity_total": lambda cell: cell.total_light,
    "intensity_mean": lambda cell: cell.total / cell.area,
    "intensity_median": _intensity_median,
    "intensity_std": _intensity_std,
    "intensity_min": lambda cell: cell.over_mask(np.minimum, cell.pixels),
    "intensity_max": lambda cell: cell.over_mask(np.maximum, cell.pixels),
    "particle_num": _particle_num,
}


def phase_features(
    names: Iterable[str],
    mask: Mask,
    origins: NDArray[np.integer] | None = None,
    *,
    image: ArrayLike | None = None,
    label: object = "?",
    frames: NDArray[np.integer] | None = None,
) -> dict[str, Float]:
    """Shape features of one cell: name -> (T,) float64, NaN where the mask is empty.

    mask: (T, h, w) bool. origins: (T, 2) y and x of the crops' first pixel in the image, for centroids in the
    coordinates of the image. image: (T, h, w) phase-contrast counts, for plugins. label, frames: the cell's ID and
    the (T,) numbers of the frames, for plugins.
    """
    image = None if image is None else np.asarray(image, np.float64)
    return _compute(PHASE_FEATURES, names, Cell(mask, image, origins=origins, label=label, frames=frames))


def fluorescence_features(
    names: Iterable[str],
    image: ArrayLike,
    background: NDArray[np.floating] | None,
    mask: Mask,
    *,
    background_weight: float = 1.0,
    particle_sigma: float = 1.5,
    particle_threshold: float = 4.5,
    light_margin: int = 0,
    origins: NDArray[np.integer] | None = None,
    label: object = "?",
    frames: NDArray[np.integer] | None = None,
) -> dict[str, Float]:
    """Light features of one cell in one channel: name -> (T,) float64, NaN where the mask is empty.

    image: (T, h, w) raw counts. background: (T, h, w) counts, or None. mask: (T, h, w) bool. All intensities are of
    image - background_weight * background. particle_sigma, particle_threshold: see `find_particles`.
    light_margin: intensity_total is summed up to so many pixels around the mask too, as far as the crop reaches.
    """
    cell = Cell(
        mask,
        np.asarray(image, np.float64),
        background,
        background_weight,
        origins,
        particle_sigma,
        particle_threshold,
        label,
        frames,
        light_margin,
    )
    return _compute(FLUORESCENCE_FEATURES, names, cell)


def _compute(
    registry: Mapping[str, Callable[[Cell], ArrayLike]], names: Iterable[str], cell: Cell
) -> dict[str, NDArray]:
    """Each of these features in all frames, (T,), NaN where the mask is empty. Raises UserError for unknown names."""
    empty = cell.area == 0
    result = {}
    for name in names:
        if name not in registry:
            raise UserError(f"there is no feature {name!r} for this channel; there are {', '.join(registry)}")
        # Frames without the cell divide by its area, 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            result[name] = np.where(empty, np.nan, registry[name](cell))
    return result


def grow_mask(mask: Mask, margin: int) -> Mask:
    """Grow (+) or shrink (-) each frame's mask by `margin` pixels of Euclidean distance, within the crop.

    (T, h, w) bool -> (T, h, w) bool. What lies outside the crop is not part of the cell.
    """
    if margin == 0:
        return mask
    result = np.empty_like(mask)
    for frame, shape in zip(result, mask, strict=True):
        if margin > 0:
            frame[:] = (squared_distances(~shape) <= margin**2) & shape.any()
        else:
            frame[:] = squared_distances(np.pad(shape, 1))[1:-1, 1:-1] > margin**2
    return result
