"""Find bright spots in the crops of one cell, for the feature particle_num."""

import cv2
import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Float, Mask


def find_particles(image: Float, mask: Mask, sigma: float, threshold: float) -> Mask:
    """Centres of the bright spots inside the mask: (T, h, w) bool.

    A spot is a local maximum of the (negative) Laplacian of Gaussian of scale `sigma`, in pixels, which suits Gaussian
    spots of about that standard deviation. It
    - stands out from its surroundings, the filtered image on a circle of 2.5 sigma about it: above their upper
      quartile by `threshold` standard deviations of the noise and half the distance of their quartiles; so neither
      the vault of a bright cell is a spot nor the ups and downs along its rim,
    - and is round, one principal curvature being at most three times the other, as in the test of Lowe 2004; so an edge
      or a fold is no spot.

    The noise is that of the pixels in this cell and frame, measured robustly by their second differences (Immerkær
    1996, with a median), and no less than the rounding of camera counts. Light outside the mask
    is not looked at: the light inside is continued smoothly, so that the mask's edge is no edge in the image.

    image: (T, h, w) float64 counts. mask: (T, h, w) bool.
    """
    frames, height, width = mask.shape
    smooth, first, second = (_gaussian(sigma, order) for order in range(3))
    wide = _gaussian(2 * sigma, 0)
    gain = np.sqrt(((np.outer(second, smooth) + np.outer(smooth, second)) ** 2).sum())
    angle = np.arange(12) * (np.pi / 6)
    ring_y, ring_x = (np.rint(max(2.5 * sigma, 2) * part(angle)).astype(int) for part in (np.sin, np.cos))

    # Frames are filtered one below the other, farther apart than the filters reach; a few at once, to bound memory.
    margin = len(second) // 2 + len(wide) // 2
    tall, broad = height + 2 * margin, width + 2 * margin
    spots = np.zeros(mask.shape, bool)
    at_once = max(1, 120_000 // (tall * broad))
    for start in range(0, frames, at_once):
        inside = mask[start : start + at_once]
        light, weight = _continued(image[start : start + at_once], inside, margin, wide)

        yy, xx, xy = _filter(light, second, smooth), _filter(light, smooth, second), _filter(light, first, first)
        response = -(yy + xx)
        peak = (response == cv2.dilate(response, np.ones((3, 3), np.uint8))) & (weight > 0) & (response > 0)
        peak &= 3 * response**2 < 16 * (yy * xx - xy**2)  # (r + 1)^2 / r for r = 3

        noise = _noise(light, inside, margin) * gain
        y, x = np.nonzero(peak)
        ring = response[y[:, None] + ring_y, x[:, None] + ring_x]
        upper, lower = np.quantile(ring, [0.75, 0.25], axis=1)
        found = response[y, x] - upper > threshold * noise[y // tall] + (upper - lower) / 2
        frame, y = np.divmod(y[found], tall)
        spots[start + frame, y - margin, x[found] - margin] = True
    return spots


def _continued(
    image: Float, inside: Mask, margin: int, wide: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The light of frames (T, h, w) less each one's mean, one frame below the other with `margin` pixels around each,
    continued smoothly beyond the mask by the filter `wide`; and 1 inside the mask, else 0."""
    mean = np.where(inside, image, 0).sum(axis=(1, 2)) / _pixels(inside)
    level = np.where(inside, image - mean[:, None, None], 0)
    weight, light = (
        np.pad(a, ((0, 0), (margin, margin), (margin, margin)))
        .reshape(-1, inside.shape[2] + 2 * margin)
        .astype(np.float32)
        for a in (inside, level)
    )
    continued = _filter(light, wide, wide) / np.maximum(_filter(weight, wide, wide), 1e-6)
    return np.where(weight > 0, light, continued), weight


def _noise(light: NDArray[np.float32], inside: Mask, margin: int) -> Float:
    """The standard deviation of the noise of each frame, (T,), from the second differences of its light in the mask."""
    difference = np.array([1, -2, 1], np.float32)
    rough = np.abs(_filter(light, difference, difference)).reshape(len(inside), -1, light.shape[1])
    rough = np.where(inside, rough[:, margin:-margin, margin:-margin], np.inf).reshape(len(inside), -1)
    rough.sort(axis=1)
    noise = rough[np.arange(len(inside)), _pixels(inside) // 2] * (1.4826 / 6)
    return np.maximum(noise, 1 / np.sqrt(12))


def _pixels(inside: Mask) -> NDArray[np.int64]:
    """Number of pixels in the mask of each frame, (T,), 1 where there is none."""
    return np.maximum(np.count_nonzero(inside, axis=(1, 2)), 1)


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


def _filter(image: NDArray, vertical: NDArray[np.float32], horizontal: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image (h, w) filtered with one kernel along y and one along x; beyond its edge it is 0."""
    return cv2.sepFilter2D(image, cv2.CV_32F, horizontal, vertical, borderType=cv2.BORDER_CONSTANT)
