"""Fit a smooth surface (a penalised B-spline) to values at scattered positions, and evaluate it at every pixel.

The surface is a penalised tensor product of cubic B-splines (Eilers & Marx 1996) with the
penalty of a thin-plate spline: smooth, and straight on where there are no data, like the thin-plate spline itself,
but with one unknown per tile in a banded system: milliseconds for the 4,000 tiles of a 2048 x 2048 frame, where
the dense system of a thin-plate spline takes seconds.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Float

# Share of a slope penalty in the bending penalty: too little for data to feel, enough to make one lone tile a constant
# and to let a slope run out far from all data.
_SLOPE_SHARE = 1e-2
# Where the first fit turns sites down, in robust standard deviations above it. The first cuts are wide: they are made
# on fits that the light still pulls up.
_CUTS = (20, 6, 6)
_PAIRS = np.tril_indices(16)  # of the 16 splines that are not 0 at a site


def fit_surface(
    z: Float,
    y: Float,
    x: Float,
    weight: Float,
    extent: Sequence[float],
    knot: float,
    stiffness: float,
    *,
    reject_light: bool = False,
) -> Float:
    """Coefficients (my, mx) of the smooth surface through the sites.

    z, y, x, weight: (n,) float64, y and x in pixels from the centre of the first. extent: height and width of the
    area that the surface covers, in the same pixels. knot: the wanted distance of knots. reject_light: turn down
    sites that lie above their surroundings (Tukey's biweight, on that side only).
    """
    from scipy.linalg.lapack import dpbsv

    intervals = [max(1, round(size / knot)) for size in extent]
    spacing = [size / number for size, number in zip(extent, intervals, strict=True)]
    ky, wy = _weights((y + 0.5) / spacing[0], intervals[0])
    kx, wx = _weights((x + 0.5) / spacing[1], intervals[1])
    my, mx = intervals[0] + 3, intervals[1] + 3
    size = my * mx

    # A site touches 4 x 4 coefficients, and couples them in 136 pairs: `offset` below the matrix' diagonal, the
    # same for all sites.
    around = (np.arange(4)[:, None] * mx + np.arange(4)).ravel()
    first = ky * mx + kx
    cells = first + around[:, None]
    design = (wy[:, None] * wx).reshape(16, len(z))
    left, right = _PAIRS
    offset = around[left] - around[right]
    place = (first + (around[right] + offset * size)[:, None]).ravel()
    product = np.concatenate([design[: last + 1] * design[last] for last in range(16)])  # as `_PAIRS` are ordered
    penalty = stiffness * _bending(*intervals, knot / spacing[0], knot / spacing[1])

    centre = float(z[0])  # numbers are then small
    level = z - centre

    def solve(weight: Float) -> Float:
        """Coefficients (my * mx,) of the least squares with these weights (n,)."""
        matrix = np.bincount(place, (weight * product).ravel(), penalty.size).reshape(penalty.shape)
        matrix += penalty
        vector = np.bincount(cells.ravel(), (weight * level * design).ravel(), size)
        _, solution, failed = dpbsv(matrix, vector, lower=1, overwrite_ab=1, overwrite_b=1)
        if failed:
            raise np.linalg.LinAlgError(f"the background's matrix is not positive definite ({failed})")
        return solution

    trusted = weight
    for cut in _CUTS if reject_light else ():
        residual = level - (solve(trusted)[cells] * design).sum(axis=0)
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1.0)
        trusted = weight * (1 - np.clip(residual / (cut * scale), 0, 1) ** 2) ** 2
    return solve(trusted).reshape(my, mx) + centre


def evaluate_surface(
    surfaces: Sequence[Float], extent: Sequence[float], shape: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """The sum of surfaces at the centres of shape = (H, W) pixels (default: extent) -> (H, W) float32."""
    pixels_y, pixels_x = shape or extent
    # Around one value of each: flat surfaces then come out without any rounding.
    level = sum(surface[0, 0] for surface in surfaces)
    along_y = [np.ones((pixels_y, 1), np.float32)]
    along_x = [np.full((1, pixels_x), level, np.float32)]
    for surface in surfaces:
        along_y.append(_pixel_basis(pixels_y, extent[0], surface.shape[0] - 3))
        basis_x = _pixel_basis(pixels_x, extent[1], surface.shape[1] - 3)
        along_x.append((surface - surface[0, 0]).astype(np.float32) @ basis_x.T)
    with np.errstate(invalid="ignore"):  # BLAS was seen to set this flag for finite numbers, with a right result
        return np.concatenate(along_y, axis=1) @ np.concatenate(along_x)


@lru_cache(maxsize=16)
def _pixel_basis(pixels: int, extent: float, intervals: int) -> NDArray[np.float32]:
    """B-splines at the centres of the pixels: (pixels, intervals + 3)."""
    return _basis((np.arange(pixels) + 0.5) * (intervals / extent), intervals).astype(np.float32)


def _weights(u: Float, intervals: int, derivative: int = 0) -> tuple[NDArray[np.intp], Float]:
    """Index (n,) of the first, and values (4, n) of the four uniform cubic B-splines that are not 0 at u (n,),
    measured in knot intervals."""
    index = np.clip(u.astype(np.intp), 0, intervals - 1)
    t = u - index
    if derivative == 0:
        weights = [(1 - t) ** 3, (3 * t - 6) * t * t + 4, ((3 - 3 * t) * t + 3) * t + 1, t * t * t]
        return index, np.array(weights) / 6
    if derivative == 1:
        weights = [-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2]
        return index, np.array(weights) / 2
    return index, np.array([1 - t, 3 * t - 2, -3 * t + 1, t])


def _basis(u: Float, intervals: int, derivative: int = 0) -> Float:
    """All B-splines (or their derivatives) at u (n,), measured in knot intervals: (n, intervals + 3)."""
    index, weights = _weights(u, intervals, derivative)
    basis = np.zeros((len(u), intervals + 3))
    np.put_along_axis(basis, index[:, None] + np.arange(4), weights.T, axis=1)
    return basis


@lru_cache(maxsize=16)
def _bending(intervals_y: int, intervals_x: int, ratio_y: float, ratio_x: float) -> Float:
    """Matrix of the thin-plate penalty (with its share of slope penalty), lower diagonals as LAPACK wants them."""
    gram_y, gram_x = ([_gram(n, derivative) for derivative in range(3)] for n in (intervals_y, intervals_x))
    my, mx = intervals_y + 3, intervals_x + 3
    terms = [
        (2, 0, ratio_y**4),
        (1, 1, 2 * ratio_y**2 * ratio_x**2),
        (0, 2, ratio_x**4),
        (1, 0, _SLOPE_SHARE * ratio_y**2),
        (0, 1, _SLOPE_SHARE * ratio_x**2),
    ]
    bands = np.zeros((3 * mx + 4, my, mx))
    for down in range(4):
        for right in range(-3 if down else 0, 4):
            columns = slice(max(-right, 0), mx - max(right, 0))
            bands[down * mx + right, : my - down, columns] += sum(
                factor * np.outer(np.diagonal(gram_y[dy], down), np.diagonal(gram_x[dx], right))
                for dy, dx, factor in terms
            )
    return bands.reshape(len(bands), my * mx)


def _gram(intervals: int, derivative: int) -> Float:
    """Integrals of the products of every two B-splines' derivatives. Four Gauss points are exact for them."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    u = (np.arange(intervals)[:, None] + (nodes + 1) / 2).ravel()
    basis = _basis(u, intervals, derivative)
    return basis.T @ (np.tile(weights / 2, intervals)[:, None] * basis)
