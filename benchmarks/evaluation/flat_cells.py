"""Draw large, spread cells as the optics of phase contrast show them: 20 to 50 times as wide as they are thick.

A cell is a map of its thickness: a dome over the nucleus, and around it a lamella whose rim is steep on some sides and
runs out over several um on others. Nucleus, organelles and fibres are denser or thinner than the rest. Light that went
through it is late by a phase that is proportional to the thickness. An objective with a phase ring (Zernike) turns this
into brightness: light of a ring-shaped source that went straight on is dimmed and shifted by a quarter of a wave, the
rest is not. Halos, shade-off and the fading of smooth places follow from that; none of them is drawn.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft, ndimage

SHAPE = 520, 696  # px
PIXEL = 0.65  # um
FINER = 2  # the optics are computed on pixels so many times smaller
MARGIN = 96  # fine px around the picture, in which cells lie too
WAVELENGTH, DENSER = 0.55, 0.03  # um; index of refraction of a cell above that of the medium
APERTURE, RING = 0.5, (0.192, 0.258)  # numerical apertures of the objective, and of its phase ring
SOURCES, DIMMED = 12, 0.5  # points of the ring-shaped source; amplitude that the phase ring leaves
LEVEL = 110.0  # grey level of the background, of 255


@dataclass(frozen=True)
class Look:
    """Lengths in um. width: least and greatest, of a disk as large as a cell. taper: over which the rim rises where it
    is least steep. granules: of organelles and fibres, by those of usual cells. apart: least distance of two cells; 0:
    they may touch. noise: grey levels. floor: unevenness of what they lie on, rad."""

    width: tuple[float, float] = (36.0, 74.0)
    cells: int = 8
    lamella: float = 0.5
    dome: float = 4.0
    ruffle: float = 0.15
    taper: float = 3.0
    granules: float = 1.0
    long: float = 1.5
    lobed: float = 0.25
    apart: float = 6.0
    debris: int = 10
    noise: float = 1.2
    floor: float = 0.004


LOOKS = {
    "usual": Look(),
    "faint edges": Look(lamella=0.35, dome=2.2, ruffle=0.08, taper=6.0, granules=0.5),
    "smooth": Look(lamella=0.9, dome=3.0, ruffle=0.3, taper=5.0, granules=0.08),
    "long": Look(width=(30.0, 58.0), ruffle=0.15, granules=0.7, long=3.0, lobed=0.5, debris=20),
    "touching": Look(width=(36.0, 64.0), cells=11, granules=0.8, apart=0.0),
    "debris": Look(lamella=0.45, dome=3.5, taper=4.0, granules=0.6, debris=45, noise=1.6, floor=0.01),
}


def picture(look: Look, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W) uint16 of grey levels up to 255, and the labels of its cells, (H, W) uint16."""
    rng = np.random.default_rng([seed, 41])
    shape = tuple(FINER * side + 2 * MARGIN for side in SHAPE)
    phase, cells = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    number = 0
    for _ in range(50 * look.cells):
        mask = _outline(look, shape, rng)
        reach = round(look.apart / PIXEL * FINER)
        near = cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        others = near.astype(bool) & (cells > 0)
        if (others.any() and look.apart) or others.sum() > 0.12 * mask.sum():
            continue
        mask[others] = 0
        y, x, height, width = _box(mask)
        part = np.s_[max(y - 8, 0) : y + height + 8, max(x - 8, 0) : x + width + 8]
        phase[part] += _phase(mask[part], look, rng)
        number += 1
        cells[mask > 0] = number
        if number == look.cells:
            break
    for _ in range(look.debris):
        _add_debris(phase, rng)
    for width in (0.5, 2.0):  # um
        phase += look.floor * _noise(shape, width, rng)
    light = _light(phase, rng.uniform(-1, 1))[MARGIN:-MARGIN, MARGIN:-MARGIN]
    light = light.reshape(SHAPE[0], FINER, SHAPE[1], FINER).mean(axis=(1, 3))
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    image = LEVEL * (1 - 0.04 * (x**2 + y**2)) * light / np.median(light)
    image += look.noise * rng.standard_normal(SHAPE) * np.sqrt(np.maximum(image, 1) / LEVEL)
    inner = slice(MARGIN + FINER // 2, -MARGIN, FINER)
    return np.clip(np.rint(image), 0, 255).astype(np.uint16), _pieces(cells[inner, inner])


def _outline(look: Look, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A cell of a random form at a random place, (H, W) uint8 0/1."""
    angle = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    radius = np.ones(360)
    for k in range(2, 9):
        radius += look.lobed * rng.normal() / k**1.1 * np.cos(k * angle + rng.uniform(0, 2 * math.pi))
    stretch = math.sqrt(math.exp(rng.normal(math.log(look.long), 0.2)))
    points = np.maximum(radius, 0.35) * (np.cos(angle) * stretch + 1j * np.sin(angle) / stretch)
    area = abs((points.conj() * np.roll(points, -1)).imag.sum()) / 2
    points *= np.exp(1j * rng.uniform(0, math.pi)) * math.sqrt(math.pi / 4 / area)
    points *= rng.uniform(*look.width) / PIXEL * FINER
    middle = rng.uniform((0, 0), shape)
    at = np.stack([points.real + middle[1], points.imag + middle[0]], axis=1)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(16 * at).astype(np.int32)], 1, shift=4)
    return mask


def _phase(mask: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """By how much the cell in a mask (h, w) uint8 0/1 delays light, (h, w) float32 rad."""
    fine = PIXEL / FINER  # um
    depth = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)
    depth = depth[1:-1, 1:-1] * fine
    deepest = float(depth.max())
    side = _noise(mask.shape, 10.0, rng)  # where the rim is flat
    taper = 0.5 + (look.taper - 0.5) / (1 + np.exp(-2.5 * side))
    rise = 1 - np.exp(-((depth / taper) ** 1.5))
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] * fine
    inner = np.flatnonzero(depth > 0.6 * deepest)
    cy, cx = (axis.ravel()[rng.choice(inner)] for axis in (y, x))
    away = np.hypot(y - cy, x - cx)
    wide = 0.55 * deepest
    thick = look.lamella * rise * (1 + 0.25 * _noise(mask.shape, 3.0, rng))
    thick += look.dome * np.exp(-((away / wide) ** 2) / 1.2) * np.minimum(depth / (0.35 * deepest), 1)
    ruffled = np.maximum(1 + 1.2 * _noise(mask.shape, 6.0, rng), 0) * (1 - 0.95 / (1 + np.exp(-3 * side)))
    thick += look.ruffle * ruffled * np.exp(-(((depth - 1.2) / 0.8) ** 2))
    phase = 2 * math.pi / WAVELENGTH * DENSER * np.maximum(thick, 0)

    radius = rng.uniform(6.0, 8.5)
    nucleus = 1 / (1 + np.exp((away - radius) / 0.3))
    of_dome = min(look.dome / 4, 1)
    phase -= 0.12 * of_dome * nucleus
    for _ in range(rng.integers(1, 4)):
        ny, nx = rng.normal(0, 0.35 * radius, 2)
        phase += 0.22 * of_dome * np.exp(-((np.hypot(y - cy - ny, x - cx - nx) / 0.9) ** 2))
    inside = np.flatnonzero(mask)
    near = np.exp(-((np.maximum(away - radius, 0) / (0.9 * wide)) ** 2)) * np.minimum(depth / 2, 1)
    chance = (near * (1 - 0.8 * nucleus) + 0.06).ravel()[inside]
    n = int(0.35 * inside.size * fine**2)
    places = rng.choice(inside, n, p=chance / chance.sum())
    strength = rng.gamma(2, 0.5, n) * rng.choice([1, 1, 1, -0.6], n)
    grains = np.bincount(places, strength, mask.size).reshape(mask.shape)
    sigma = 0.35 / fine
    phase += 0.09 * look.granules * 2 * math.pi * sigma**2 * ndimage.gaussian_filter(grains, sigma)
    fibres = ndimage.gaussian_filter(rng.standard_normal(mask.shape), (0.25 / fine, 5 / fine))
    turn = cv2.getRotationMatrix2D((mask.shape[1] / 2, mask.shape[0] / 2), rng.uniform(0, 180), 1)
    fibres = cv2.warpAffine(fibres / fibres.std(), turn, mask.shape[::-1], borderMode=cv2.BORDER_REFLECT)
    return (mask * (phase + 0.03 * look.granules * rise * fibres)).astype(np.float32)


def _add_debris(phase: np.ndarray, rng: np.random.Generator) -> None:
    """A ball of 1 to 9 um somewhere in the picture."""
    reach = 40
    y, x = (rng.integers(reach, side - reach) for side in phase.shape)
    radius = rng.choice([0.8, 1.2, 2.0, 3.5], p=[0.4, 0.3, 0.2, 0.1]) * rng.uniform(0.7, 1.3)
    away = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) * PIXEL / FINER / radius
    ball = np.sqrt(np.maximum(1 - away**2, 0)) * rng.uniform(0.4, 1.6) * min(radius, 2)
    phase[y - reach : y + reach + 1, x - reach : x + reach + 1] += ball.astype(np.float32)


def _light(phase: np.ndarray, out_of_focus: float) -> np.ndarray:
    """Brightness (H, W) of what delays light by `phase` rad, out of focus by so many um."""
    object_ = fft.fft2(np.exp(1j * phase).astype(np.complex64))
    v, u = (fft.fftfreq(side, PIXEL / FINER) for side in phase.shape)
    light = np.zeros(phase.shape, np.float32)
    straight = sum(RING) / 2 / WAVELENGTH
    for angle in np.arange(SOURCES) * (2 * math.pi / SOURCES):
        from_v, from_u = straight * math.sin(angle), straight * math.cos(angle)
        sine = WAVELENGTH * np.hypot(v[:, None] + from_v, u[None] + from_u)
        lens = (sine <= APERTURE).astype(np.complex64)
        lens[(sine >= RING[0]) & (sine <= RING[1])] *= -1j * DIMMED
        cosine = np.sqrt(np.maximum(1 - sine**2, 0))
        lens *= np.exp(2j * math.pi / WAVELENGTH * out_of_focus * cosine).astype(np.complex64)
        light += np.abs(fft.ifft2(object_ * lens)) ** 2
    return light


def _noise(shape: tuple[int, ...], width: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1, by a Gaussian of so many um."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), width / PIXEL * FINER)
    return (smooth - smooth.mean()) / smooth.std()


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask)
    return y, x, height, width


def _pieces(cells: np.ndarray) -> np.ndarray:
    """The 4-connected pieces of cells, of 100 px or more, each with a number of its own, (H, W) uint16."""
    labels = np.zeros(cells.shape, np.uint16)
    number = 0
    for cell in range(1, int(cells.max()) + 1):
        n, pieces, figures, _ = cv2.connectedComponentsWithStats((cells == cell).view(np.uint8), connectivity=4)
        for piece in range(1, n):
            if figures[piece, cv2.CC_STAT_AREA] >= 100:
                number += 1
                labels[pieces == piece] = number
    return labels
