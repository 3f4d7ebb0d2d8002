"""Find bright spots in an image of beads and fit their positions."""

from __future__ import annotations

import numpy as np

STEPS = 10  # of a fit; from a pixel's middle it takes three or four
CLEAR = 10  # standard deviations of the noise by which a bead stands out


def fit_spot(image: np.ndarray, y: int, x: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """A round Gaussian of this `sigma` on a flat background at the spot whose brightest pixel is (y, x).

    image: (h, w). Returns amplitude, x, y, sigma, background and their standard errors, pixels and counts: least
    squares by Gauss and Newton on the pixels within 2.5 sigma, the centre no farther than a pixel off.
    """
    reach = int(np.ceil(2.5 * sigma))
    y0, x0 = max(y - reach, 0), max(x - reach, 0)
    part = image[y0 : y + reach + 1, x0 : x + reach + 1].astype(np.float64)
    rows, columns = (axis.ravel() for axis in np.mgrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]])
    light = part.ravel()
    centre = np.array([x, y], np.float64)
    for _ in range(STEPS):
        dx, dy = columns - centre[0], rows - centre[1]
        bell = np.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        # amplitude and background are linear; the centre follows from the slope at the present one
        (height, floor), *_ = np.linalg.lstsq(np.stack([bell, np.ones_like(bell)], axis=1), light, rcond=None)
        slopes = np.stack([bell, height * bell * dx / sigma**2, height * bell * dy / sigma**2, np.ones_like(bell)], 1)
        rest = light - height * bell - floor
        step = np.linalg.lstsq(slopes, rest, rcond=None)[0][1:3]
        centre = np.clip(centre + step, [x - 1, y - 1], [x + 1, y + 1])
    variance = (rest**2).sum() / max(len(light) - 4, 1)
    error = np.sqrt(np.maximum(np.diag(np.linalg.pinv(slopes.T @ slopes)) * variance, 0))
    values = np.array([height, *centre, sigma, floor])
    return values, np.array([error[0], error[1], error[2], 0.0, error[3]])


def find_beads(image: np.ndarray, sigma: float) -> np.ndarray:
    """Positions (n, 2) x, y in pixels of the beads that stand alone, brightest first.

    image: (H, W). A bead is a peak of the Laplacian of Gaussian that stands out of the noise (the median deviation of
    that filtered image), at least 3 sigma from the edge, with no other peak within 6 sigma.
    """
    from scipy.ndimage import gaussian_laplace, maximum_filter
    from scipy.spatial import cKDTree

    response = -gaussian_laplace(image.astype(np.float64), sigma)
    noise = 1.4826 * float(np.median(np.abs(response - np.median(response))))
    peak = (response == maximum_filter(response, size=3)) & (response > CLEAR * max(noise, 1e-9))
    places = np.argwhere(peak)
    edge = int(np.ceil(3 * sigma))
    inside = (places >= edge).all(axis=1) & (places < np.array(image.shape) - edge).all(axis=1)
    if not len(places):
        return np.zeros((0, 2))
    alone = np.array([len(near) == 1 for near in cKDTree(places).query_ball_point(places, 6 * sigma)])
    places = places[inside & alone]
    places = places[np.argsort(-response[tuple(places.T)], kind="stable")]
    fitted = [fit_spot(image, y, x, sigma)[0][1:3] for y, x in places.tolist()]
    return np.array(fitted).reshape(-1, 2)
