"""Features of one cell, from its crops: all its frames at once.

Two registries name what a configuration may ask for: `PHASE_FEATURES` (shape, from the mask) and
`FLUORESCENCE_FEATURES` (light, from image, background and mask). Each maps a name to a function that takes a `Cell`
and returns (T,) numbers. Where the mask is empty the feature is NaN, whatever the function returned there.

Area, axes, eccentricity, perimeter and solidity are those of scikit-image's regionprops, a mask of several parts
being one region; here they come from sums over whole stacks of masks.

Features of a user's own come from a plugin file: see `load_plugin`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyama.errors import PyamaError
from pyama.plugins import load_file

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Cell:
    """The crops of one cell in one channel, and what several features need of them, computed once.

    mask: (T, h, w) bool. image: (T, h, w) float64 raw counts, or None. background: (T, h, w) counts, or None.
    origins: (T, 2) y and x of the crops' first pixel in the image, or None for (0, 0). label: for messages.
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
        neighbours outside: the estimate of Benkrid & Crookes 2000, "Design and FPGA implementation of a perimeter
        estimator", as in regionprops."""
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


def _beside(padded, combine):
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
    "intensity_total": lambda cell: cell.total,
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
    origins: NDArray[np.integer] | None = None,
    label: object = "?",
    frames: NDArray[np.integer] | None = None,
) -> dict[str, Float]:
    """Light features of one cell in one channel: name -> (T,) float64, NaN where the mask is empty.

    image: (T, h, w) raw counts. background: (T, h, w) counts, or None. mask: (T, h, w) bool. All intensities are of
    image - background_weight * background. particle_sigma, particle_threshold: see `find_particles`.
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
    )
    return _compute(FLUORESCENCE_FEATURES, names, cell)


def _compute(registry, names, cell):
    empty = cell.area == 0
    result = {}
    for name in names:
        if name not in registry:
            raise PyamaError(f"there is no feature {name!r} for this channel; there are {', '.join(registry)}")
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
            # Distance of every pixel from the nearest pixel of the mask; infinite where there is none.
            away = cv2.distanceTransform((~shape).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            frame[:] = (away <= margin) & shape.any()
        else:
            padded = np.pad(shape, 1).view(np.uint8)
            depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            frame[:] = depth[1:-1, 1:-1] > -margin
    return result


# Spots


def find_particles(image: Float, mask: Mask, sigma: float, threshold: float) -> Mask:
    """Centres of the bright spots inside the mask: (T, h, w) bool.

    A spot is a local maximum of the (negative) Laplacian of Gaussian of scale `sigma`, in pixels, which suits Gaussian
    spots of about that standard deviation. It
    - stands out from its surroundings, the filtered image on a circle of 2.5 sigma about it: above their upper
      quartile by `threshold` standard deviations of the noise and half the distance of their quartiles; so neither
      the vault of a bright cell is a spot nor the ups and downs along its rim,
    - and is round, one principal curvature being at most three times the other, as in the test of Lowe 2004 (Int. J.
      Comput. Vis. 60:91); so an edge or a fold is no spot.

    The noise is that of the pixels in this cell and frame, measured robustly by their second differences (Immerkaer
    1996, Comput. Vis. Image Underst. 64:300), and no less than the rounding of camera counts. Light outside the mask
    is not looked at: the light inside is continued smoothly, so that the mask's edge is no edge in the image.

    image: (T, h, w) float64 counts. mask: (T, h, w) bool.
    """
    frames, height, width = mask.shape
    smooth, first, second = (_gaussian(sigma, order) for order in range(3))
    wide = _gaussian(2 * sigma, 0)
    difference = np.array([1, -2, 1], np.float32)
    gain = np.sqrt(((np.outer(second, smooth) + np.outer(smooth, second)) ** 2).sum())
    angle = np.arange(12) * (np.pi / 6)
    ring_y, ring_x = (np.rint(max(2.5 * sigma, 2) * part(angle)).astype(int) for part in (np.sin, np.cos))

    # Frames are filtered one below the other, farther apart than the filters reach; a few at once, to bound memory.
    margin = len(second) // 2 + len(wide) // 2
    tall, broad = height + 2 * margin, width + 2 * margin
    spots = np.zeros(mask.shape, bool)
    at_once = max(1, 120_000 // (tall * broad))
    for start in range(0, frames, at_once):
        inside, values = mask[start : start + at_once], image[start : start + at_once]
        number = np.maximum(np.count_nonzero(inside, axis=(1, 2)), 1)
        mean = np.where(inside, values, 0).sum(axis=(1, 2)) / number
        level = np.where(inside, values - mean[:, None, None], 0)
        weight, light = (
            np.pad(a, ((0, 0), (margin, margin), (margin, margin))).reshape(-1, broad).astype(np.float32)
            for a in (inside, level)
        )
        continued = _filter(light, wide, wide) / np.maximum(_filter(weight, wide, wide), 1e-6)
        light = np.where(weight > 0, light, continued)

        yy, xx, xy = _filter(light, second, smooth), _filter(light, smooth, second), _filter(light, first, first)
        response = -(yy + xx)
        peak = (response == cv2.dilate(response, np.ones((3, 3), np.uint8))) & (weight > 0) & (response > 0)
        peak &= 3 * response**2 < 16 * (yy * xx - xy**2)  # (r + 1)^2 / r for r = 3

        rough = np.abs(_filter(light, difference, difference)).reshape(-1, tall, broad)
        rough = np.where(inside, rough[:, margin:-margin, margin:-margin], np.inf).reshape(len(inside), -1)
        rough.sort(axis=1)
        noise = rough[np.arange(len(inside)), number // 2] * (1.4826 / 6)
        noise = np.maximum(noise, 1 / np.sqrt(12)) * gain

        y, x = np.nonzero(peak)
        ring = response[y[:, None] + ring_y, x[:, None] + ring_x]
        upper, lower = np.quantile(ring, [0.75, 0.25], axis=1)
        found = response[y, x] - upper > threshold * noise[y // tall] + (upper - lower) / 2
        frame, y = np.divmod(y[found], tall)
        spots[start + frame, y - margin, x[found] - margin] = True
    return spots


def _gaussian(sigma: float, order: int) -> NDArray[np.float32]:
    """Derivative of a Gaussian of unit sum, sampled at whole pixels up to 4 sigma."""
    reach = int(np.ceil(4 * sigma))
    x = np.arange(-reach, reach + 1) / sigma
    bell = np.exp(-(x**2) / 2)
    bell /= bell.sum()
    if order == 1:
        bell *= -x / sigma
    elif order == 2:
        bell *= (x**2 - 1) / sigma**2
        bell -= bell.mean()  # exactly nothing on a plane, whatever the sampling
    return bell.astype(np.float32)


def _filter(image, vertical, horizontal):
    return cv2.sepFilter2D(image, cv2.CV_32F, horizontal, vertical, borderType=cv2.BORDER_CONSTANT)


# Plugins


class Context(NamedTuple):
    """What a plugin's feature may want to know besides image and mask."""

    label: object  # the cell's ID
    frame: int  # number of the frame in the movie
    origin: tuple[int, int]  # y and x of the crop's first pixel in the image
    raw: Float | None  # (h, w) counts as the camera gave them
    background: Float | None  # (h, w) background that was estimated, in counts
    background_weight: float


# (image (h, w) float64 or None, mask (h, w) bool, context) -> one number
PluginFeature = Callable[[Float | None, Mask, Context], float]

_REGISTRIES = {"PHASE_FEATURES": PHASE_FEATURES, "FLUORESCENCE_FEATURES": FLUORESCENCE_FEATURES}
_plugin_of: dict[tuple[str, str], str] = {}


def load_plugin(path: str) -> list[str]:
    """Add the features that a Python file defines to the registries; returns their names.

    The file lists its functions by name in a dict `PHASE_FEATURES`, `FLUORESCENCE_FEATURES` or both:

        def texture(image, mask, context):
            return image[mask].std() / image[mask].mean()

        FLUORESCENCE_FEATURES = {"texture": texture}

    A function gets one frame of one cell, and returns one number: image (h, w) float64, counts without background (of
    phase contrast: as they are), mask (h, w) bool, and a `Context`. It is not called where the mask is empty.

    Raises PyamaError, and adds nothing, if the file cannot be imported, lists no features, or uses a name that is
    taken. Loading a file again replaces what it had added.
    """
    module = load_file(path, "plugins")
    found: dict[tuple[str, str], Feature] = {}
    for kind, registry in _REGISTRIES.items():
        listed = getattr(module, kind, {})
        if not isinstance(listed, dict):
            raise PyamaError(f"plugins: {kind} in {path!r} is no dict of names and functions")
        if listed is registry:
            raise PyamaError(f"plugins: {path!r} imports {kind}; it has to define a dict of that name of its own")
        for name, function in listed.items():
            if not (isinstance(name, str) and name.isidentifier() and len(name) <= 60 and callable(function)):
                raise PyamaError(f"plugins: {kind} in {path!r}: {name!r} is no plain name, or its value no function")
            owner = _plugin_of.get((kind, name))
            if name in registry and owner != path:
                by = "built in" if owner is None else f"defined by {owner!r}"
                raise PyamaError(f"plugins: the feature {name!r} in {path!r} is {by} already; give it another name")
            found[kind, name] = _of_plugin(path, name, function)
    if not found:
        raise PyamaError(
            f"plugins: {path!r} lists no features; it needs a dict PHASE_FEATURES or FLUORESCENCE_FEATURES of functions"
        )
    for (kind, name), feature in found.items():
        _REGISTRIES[kind][name] = feature
        _plugin_of[kind, name] = path
    return [name for _, name in found]


def _of_plugin(path: str, name: str, function: PluginFeature) -> Feature:
    """Make a feature of all frames from a plugin's function for one frame."""

    def feature(cell: Cell) -> Float:
        result = np.full(len(cell.mask), np.nan)
        for frame in np.flatnonzero(cell.area):
            origin = (0, 0) if cell.origins is None else tuple(map(int, cell.origins[frame]))
            raw, background = (None if a is None else a[frame].copy() for a in (cell.image, cell.background))
            image = None if cell.image is None else cell.corrected[frame].copy()
            number = int(frame if cell.frames is None else cell.frames[frame])
            context = Context(cell.label, number, origin, raw, background, cell.background_weight)
            where = f"plugins: the feature {name!r} in {path!r}, at cell {cell.label}, frame {context.frame}:"
            try:
                value = function(image, cell.mask[frame].copy(), context)
            except (Exception, SystemExit) as error:
                raise PyamaError(f"{where} {type(error).__name__}: {' '.join(str(error).split())}") from error
            if isinstance(value, np.ndarray | np.generic) and not value.ndim:
                value = value.item()
            if not isinstance(value, Real):
                raise PyamaError(f"{where} returned {type(value).__name__}, not one number")
            result[frame] = value
        return result

    return feature
