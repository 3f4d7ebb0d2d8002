"""What a camera sees of a map of phases: by the phase ring of a microscope, or by thickness drawn dark.

The optics are the simplest that give halos and shade-off: light that the cells did not turn aside passes through the
phase ring, which dims it and shifts it by a quarter of a wave, and so does light that they turned aside by little. What
passes through the ring is a blurred copy of the whole wave; how far it is blurred is how wide halos are (F. Zernike,
Physica 9, 686, 1942; the blurred copy instead of the ring's own diffraction: Z. Yin, T. Kanade and M. Chen, Medical
Image Analysis 16, 1047, 2012, who take it for weak phases only). evaluation.flat_cells computes the ring itself.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from scipy import fft, ndimage

Array = np.ndarray
LEVEL = 9000.0  # counts of the background
DARKER, FINEST, LEAST = 0.55, 0.7, 0.05  # of "thick is dark": per rad; px; brightness that stays, by the background's


@dataclass(frozen=True)
class Optics:
    """way: "ring" of which the edge is smooth, "sharp ring", or "thick is dark", which knows no waves: what delays
    light more than its neighbourhood is dark. halo: px, how far light through the ring is spread. dimmed: amplitude
    that the ring leaves. blur: px, standard deviation, of the camera's picture. noise: standard deviation, by the
    background. slope, vignette: unevenness of the illumination, share of the middle's from side to side, and of the
    corners."""

    way: Literal["ring", "sharp ring", "thick is dark"] = "ring"
    halo: float = 6.0
    dimmed: float = 0.55
    blur: float = 0.8
    noise: float = 0.015
    slope: float = 0.0
    vignette: float = 0.0


def photographed(phase: Array, optics: Optics, rng: np.random.Generator) -> Array:
    """The camera's picture of what delays light by `phase`, (H, W) rad: counts, (H, W) uint16."""
    height, width = phase.shape
    seen = ndimage.gaussian_filter(brightness(phase, optics), optics.blur)
    y, x = (np.linspace(-0.5, 0.5, side) for side in (height, width))
    seen *= 1 + optics.slope * (x[None] + 0.5 * y[:, None])
    seen *= 1 - 2 * optics.vignette * (x[None] ** 2 + y[:, None] ** 2)
    counts = LEVEL * (seen + optics.noise * rng.standard_normal(seen.shape))
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def brightness(phase: Array, optics: Optics) -> Array:
    """Brightness by that of the background, (H, W), of what delays light by `phase`, (H, W) rad, in focus.

    Beyond its edges the phase goes on as in a mirror.
    """
    if optics.way == "thick is dark":
        around = ndimage.gaussian_filter(phase, optics.halo)
        return np.maximum(1 - DARKER * (ndimage.gaussian_filter(phase, FINEST) - around), LEAST)
    margin = math.ceil(6 * optics.halo)
    wave = np.exp(1j * cv2.copyMakeBorder(phase, *[margin] * 4, cv2.BORDER_REFLECT)).astype(np.complex64)
    through = _through_the_ring(wave.shape, optics)
    wave = fft.ifft2(fft.fft2(wave) * (1 - through - 1j * optics.dimmed * through))
    return (np.abs(wave) ** 2)[margin:-margin, margin:-margin] / optics.dimmed**2


def _through_the_ring(shape: tuple[int, ...], optics: Optics) -> Array:
    """Share of each frequency that passes through the phase ring, (H, W) float32."""
    v, u = (fft.fftfreq(side).astype(np.float32) for side in shape)
    square = v[:, None] ** 2 + u[None] ** 2
    if optics.way == "sharp ring":
        return np.exp(-((4.5 * optics.halo) ** 4) * square**2)
    return np.exp(-2 * (math.pi * optics.halo) ** 2 * square)
