"""Estimate how evenly a field is lit from the background of many frames, and divide frames by it.

A frame is offset + gain * light: the offset is what the camera adds to every pixel, the gain (at most 1, one for the
whole dataset) what a pixel sees of the light, less at the rim where the optics vignette.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from celltraces.errors import UserError

ATTRIBUTE = "flat_field"  # of a corrected array
DARKEST = 0.05  # of the brightest place: a gain below would make noise of the frame
GRID = 64  # rows and columns of a background that are looked at, at most
FINE = 128  # rows and columns of a frame in which what the polynomial cannot follow is looked at, at most
_FEWEST_FOVS = 4  # of which so many tell what is the field's and what their cells'
_WIDTHS = (8.0, 4.0, 2.0, 1.0)  # squares of the fine grid: how far the fine pattern is smoothed, the coarsest first
_CELL = 0.1  # of the light: what differs by more is a cell, of whatever brightness
_BETTER = 0.97  # of the error in FOVs left out, that a finer pattern has to reach to be taken
_THING = 0.02  # of the light: what a picture shows beyond, on so many squares of the fine grid or more, is a thing
_THING_SQUARES = 4
_DEGREE = 6  # of the polynomial in y and x that the gain is
_FEWEST = 8  # frames from which the camera's offset is found
_SURE = 0.03  # relative standard error of the light, above which the offset is not known


class Field(NamedTuple):
    """A gain, (h, w) float32 with a maximum of about 1, and the camera's offset in counts; None: not known.

    unexplained: share by which places are darker, in most frames, than the gain says; None: nobody looked.
    foreign: see `not_in_frames`; None where the gain is not that of a picture.
    """

    gain: NDArray[np.float32]
    offset: float | None
    unexplained: float | None = None
    foreign: float | None = None


def on_grid(surface: NDArray[np.float32]) -> NDArray[np.float64]:
    """Means of a smooth surface (H, W) on a grid of at most 64 rows and columns."""
    height, width = (min(side, GRID) for side in surface.shape)
    return cv2.resize(surface, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)


def on_fine_grid(image: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Means of a frame (H, W) on a grid of at most 128 rows and columns."""
    height, width = (min(side, FINE) for side in image.shape)
    return cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


def add_rims_and_rings(field: Field, frames: Sequence[NDArray[np.float32]], fovs: Sequence[int]) -> Field:
    """A field with what its smooth gain (H, W) cannot follow, steep rims and rings, and how much is left.

    frames: (h, w) float32 counts, as on_fine_grid gives them; fovs: the FOV of each. Cells stand elsewhere in every
    FOV, the field does not: a pattern is taken where it predicts the frames of FOVs that it was not made from better
    than the smooth gain does, and as smooth as predicts them best. Of few FOVs nobody can tell: the gain stays.
    """
    by_fov = _corrected_by_fov(field, frames, fovs)
    patterns = np.array([np.median(of_fov, axis=0) for of_fov in by_fov.values()])
    if not len(patterns):
        return field
    if len(patterns) < _FEWEST_FOVS:
        return field._replace(unexplained=_darker(np.median(np.concatenate([*by_fov.values()]), axis=0)))
    common = _in_common(patterns)
    width = _best_width(patterns)
    if width is None:
        return field._replace(unexplained=_darker(common))
    pattern = _smoothed(common, width)
    pixels = cv2.resize(pattern, field.gain.shape[::-1], interpolation=cv2.INTER_LINEAR)
    gain = field.gain * pixels
    return Field(gain / gain.max(), field.offset, _darker(common / pattern))


def not_in_frames(field: Field, frames: Sequence[NDArray[np.float32]], fovs: Sequence[int]) -> float | None:
    """How bright or dark, as a share, narrow things are that a picture's gain (H, W) shows and frames do not: cells
    or dust on what was taken. 0: none; None: no frame shows light.

    frames, fovs: as for `add_rims_and_rings`. Where the picture is right, nothing of its pattern is left in frames
    divided by it; where a thing is on the picture alone, its negative is. At least half of a thing has to be left, and
    so clearly that noise does not explain it.
    """
    by_fov = _corrected_by_fov(field, frames, fovs)
    if not by_fov:
        return None
    left = _narrow(_in_common(np.array([np.median(of_fov, axis=0) for of_fov in by_fov.values()])))
    noise = float(np.diff(np.quantile(left, (0.05, 0.95)))[0]) / 3.3  # with what is left of cells
    shown = cv2.medianBlur(_narrow(cv2.resize(field.gain, left.shape[::-1], interpolation=cv2.INTER_AREA)), 3)
    least = max(_THING, 5 * 1.4826 * float(np.median(np.abs(shown))))
    most = 0.0
    for sign in (1, -1):
        count, things = cv2.connectedComponents((sign * shown > least).view(np.uint8), connectivity=4)
        for thing in range(1, count):
            inside = things == thing
            of_picture = shown[inside]
            weight = float((of_picture**2).sum())
            share = -float((left[inside] * of_picture).sum()) / weight
            if len(of_picture) >= _THING_SQUARES and share - 3 * noise * (2 / weight) ** 0.5 > 0.5:
                most = max(most, share * float(np.abs(of_picture).max()))
    return most


def _corrected_by_fov(
    field: Field, frames: Sequence[NDArray[np.float32]], fovs: Sequence[int]
) -> dict[int, list[NDArray[np.float32]]]:
    """Frames (h, w) by the field's gain and their level, by FOV; those without light are left out."""
    coarse = cv2.resize(field.gain, frames[0].shape[::-1], interpolation=cv2.INTER_AREA) if frames else field.gain
    by_fov: dict[int, list[NDArray[np.float32]]] = {}
    for frame, fov in zip(frames, fovs, strict=True):
        light = (frame - np.float32(field.offset or 0.0)) / coarse
        level = float(np.median(light))
        if level > 0:
            by_fov.setdefault(fov, []).append(light / np.float32(level))
    return by_fov


def _narrow(pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """By how much a pattern (h, w) is brighter than its surroundings, as a logarithm."""
    return np.log(np.maximum(pattern, np.float32(DARKEST)) / _smoothed(pattern, _WIDTHS[0]))


def _best_width(patterns: NDArray[np.float32]) -> float | None:
    """How far the common pattern of FOVs (N, h, w) is smoothed to predict best a FOV left out; None: 1 predicts it."""
    errors = np.zeros(1 + len(_WIDTHS))
    for at, left_out in enumerate(patterns):
        common = _in_common(np.delete(patterns, at, axis=0))
        for k, width in enumerate((None, *_WIDTHS)):
            ratio = left_out if width is None else left_out / _smoothed(common, width)
            errors[k] += np.minimum(np.abs(ratio / np.median(ratio) - 1), _CELL).mean()
    best: float | None = None
    least = errors[0]
    for width, error in zip(_WIDTHS, errors[1:], strict=True):
        if error < _BETTER * least:
            best, least = width, error
    return best


def _in_common(patterns: NDArray[np.float32]) -> NDArray[np.float32]:
    """What FOVs (N, h, w) have in common, (h, w): their median where they are without light that stands out."""
    common = np.sort(patterns, axis=0)[len(patterns) // 4]
    kernel = np.ones((5, 5), np.uint8)
    for _ in range(2):
        rest = patterns - common
        noise = 1.4826 * np.median(np.abs(rest - np.median(rest, axis=(1, 2), keepdims=True)))
        hidden = np.array([cv2.dilate(light.view(np.uint8), kernel).view(bool) for light in rest > 4 * noise])
        free = np.where(hidden, np.nan, patterns)
        free[:, hidden.all(axis=0)] = common[hidden.all(axis=0)]
        common = np.nanmedian(free, axis=0).astype(np.float32)
    return common


def _smoothed(pattern: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(pattern, (0, 0), width, borderType=cv2.BORDER_REFLECT)
    return np.maximum(smooth, np.float32(DARKEST))


def _darker(ratio: NDArray[np.float32]) -> float:
    """How much darker than the usual a hundredth of the places are, beyond noise; ratio (h, w): frames by their gain.

    Of places only the dark ones tell: cells that never move are bright ones.
    """
    level = np.median(ratio)
    noise = 1.4826 / 2**0.5 * np.median(np.abs(np.diff(ratio, axis=1)))
    darker = level - np.quantile(ratio, 0.01)
    return float(max(darker**2 - (3 * noise) ** 2, 0.0) ** 0.5 / level)


def estimate_gain(
    backgrounds: Sequence[NDArray[np.float64]], shape: tuple[int, int], offset: float | None = None
) -> Field | None:
    """The gain of a dataset, of `shape` (H, W), from backgrounds of frames on a grid, (h, w) counts each.

    offset: the camera's, in counts. None finds it where the frames differ in brightness: what they have in common,
    however bright they are, is the camera's. Where they do not, it is taken as 0, and the gain is nearer to 1 than it
    should be. Returns None where a background is nowhere above the offset.
    """
    stack = np.array(backgrounds)
    found = offset if offset is not None else find_offset(stack)
    light = stack - (found or 0.0)
    level = light.mean(axis=(1, 2))
    if not len(stack) or (level <= 0).any():
        return None
    # what moves between frames and FOVs (light of the medium, of cells) is not in the median of all
    pattern = np.median(light / level[:, None, None], axis=0)
    gain = _polynomial(pattern, shape)
    if gain.max() <= 0:
        return None
    return Field((gain / gain.max()).astype(np.float32), found)


def find_offset(backgrounds: NDArray[np.float64]) -> float | None:
    """The camera's offset in counts from (N, h, w) backgrounds of different brightness; None: they do not tell it.

    A frame's contrast between bright and dark places is proportional to its light: the mean level at which the
    contrast would vanish is the offset.
    """
    if len(backgrounds) < _FEWEST:
        return None
    level = backgrounds.mean(axis=(1, 2))
    rest = backgrounds - level[:, None, None]
    pattern = np.median(rest / level[:, None, None], axis=0)
    pattern -= pattern.mean()
    contrast = np.einsum("nyx,yx->n", rest, pattern)
    spread = np.sum((level - level.mean()) ** 2)
    if spread <= 0 or not pattern.any():
        return None
    slope = np.sum((level - level.mean()) * contrast) / spread
    if slope <= 0:
        return None
    scatter = contrast - contrast.mean() - slope * (level - level.mean())
    error = np.sqrt(np.sum(scatter**2) / (len(level) - 2) / spread)
    if error > _SURE * slope:
        return None
    offset = level.mean() - contrast.mean() / slope
    return float(np.clip(offset, 0.0, 0.9 * backgrounds.min()))


def from_reference(image: NDArray[np.float32], offset: float = 0.0) -> NDArray[np.float32]:
    """The gain that a picture (H, W) of something evenly bright shows; offset: the camera's, which is in it.

    1 is the brightest place, of a size of a fiftieth of the picture, so that noise is not taken for it. Raises
    UserError where the picture is dark.
    """
    light = image.astype(np.float32) - np.float32(offset)
    smooth = cv2.GaussianBlur(light, (0, 0), max(min(light.shape) / 50, 0.5), borderType=cv2.BORDER_REPLICATE)
    gain = light / smooth.max()
    if not (np.isfinite(gain).all() and light.min() > 0):
        raise UserError(
            f"its lowest value is {image.min():g}, with a camera_offset of {offset:g}; all pixels must be above it"
        )
    if gain.min() < DARKEST:
        raise UserError(
            f"its darkest pixel has {gain.min():.1%} of the brightest place; allowed: at least {DARKEST:.0%}"
        )
    return gain


def divide_by_gain(image: NDArray[np.uint16], gain: NDArray[np.float32], offset: float) -> NDArray[np.uint16]:
    """A frame (H, W) as if the field were lit everywhere as at its brightest place; the offset stays in it."""
    light = (image.astype(np.float32) - np.float32(offset)) / gain + np.float32(offset)
    return np.clip(np.rint(light), 0, 65535).astype(np.uint16)


def gain_attributes(source: str, field: Field, n_frames: int | None) -> dict[str, Any]:
    """What the attributes of a corrected array say: where the gain is from, and how far it goes down."""
    return {
        "from": source,
        "camera_offset": round(float(field.offset or 0.0), 4),
        "lowest_gain": round(float(field.gain.min()), 4),
        "frames": n_frames,
        "unexplained": None if field.unexplained is None else round(field.unexplained, 4),
        "foreign": None if field.foreign is None else round(field.foreign, 4),
    }


def _polynomial(pattern: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """The polynomial in y and x nearest to a pattern on a grid (h, w), on (H, W) pixels of the same field."""
    degrees = np.add.outer(np.arange(_DEGREE + 1), np.arange(_DEGREE + 1)) <= _DEGREE
    y, x = (np.polynomial.legendre.legvander(_middles(side), _DEGREE) for side in pattern.shape)
    terms = np.einsum("yi,xj->yxij", y, x)[:, :, degrees].reshape(pattern.size, -1)
    coefficients = np.zeros(degrees.shape)
    coefficients[degrees] = np.linalg.lstsq(terms, pattern.ravel(), rcond=None)[0]
    return np.polynomial.legendre.leggrid2d(*map(_middles, shape), coefficients)


def _middles(n: int) -> NDArray[np.float64]:
    """Where the middles of `n` pixels in a row lie, from -1 to 1 over the row."""
    return (2 * np.arange(n) + 1) / n - 1
