"""Choose the parameter values from which fits start."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Float
from celltraces.kinetics.least_squares import Batch, diagonal_roots

SHAPES = 128  # curves tried for first values
STARTS = 3
LEAST_DISTANCE = 0.2  # distance between starts, as a share of each parameter's range


def starts(batch: Batch) -> Float:
    """(STARTS, N, k) first values: the best of some hundred shapes that differ, and the initial values among them."""
    n_traces, fitted = len(batch.values), batch.model.fitted
    chosen = np.empty((STARTS, n_traces, len(fitted)))
    groups: dict[bytes, list[int]] = {}
    for row, times in enumerate(batch.times):
        groups.setdefault(times.tobytes(), []).append(row)
    for rows in map(np.array, groups.values()):
        times = batch.times[rows[0]]
        shapes, place = _shapes(batch, times)
        squares, candidates = _projected(batch, rows, times, shapes)
        distance = np.sqrt(np.mean((place[:, None] - place[None]) ** 2, axis=2)) if place.shape[1] else 0.0
        each = np.arange(len(rows))
        for start in range(STARTS):
            best = np.argmin(squares, axis=1)
            chosen[start, rows] = candidates[each, best]
            near = np.atleast_2d(distance)[best] < LEAST_DISTANCE
            # Where no shape is left that differs, the last one again: it costs little.
            left = np.where(near, np.inf, squares)
            squares = np.where(np.isfinite(left).any(axis=1, keepdims=True), left, squares)
    return chosen


def _shapes(batch: Batch, times: Float) -> tuple[Float, Float]:
    """(G, k) parameters of the curves tried (linear ones: initial), and their places (G, j) in the unit cube.

    The first are the initial values. The others fill the range of the nonlinear parameters evenly: for times and rates
    (units h and 1/h) what these times can show, else the bounds.
    """
    parameters = [batch.model.parameters[name] for name in batch.model.fitted]
    free = [at for at, parameter in enumerate(parameters) if not parameter.linear]
    first, last = times[0], times[-1]
    span = max(last - first, 1e-6)
    step = span / max(len(np.unique(times)) - 1, 1)
    ranges = []
    for at in free:
        low, high = parameters[at].bounds
        if parameters[at].unit == "h":
            inside = max(low, first - 0.1 * span), min(high, last)
        elif parameters[at].unit == "1/h" and low > 0:
            inside = max(low, 0.03 / span), min(high, 2 / step)
        else:
            inside = low, high
        ranges.append(inside if inside[0] < inside[1] else (low, high))
    u = np.tile(batch.inner(np.array([parameter.initial for parameter in parameters])), (SHAPES if free else 1, 1))
    low, high = (
        batch.inner(
            np.array(
                [
                    ranges[free.index(at)][end] if at in free else parameter.bounds[end]
                    for at, parameter in enumerate(parameters)
                ]
            )
        )
        for end in (0, 1)
    )
    if free:
        u[1:, free] = low[free] + _spread_points(SHAPES - 1, len(free)) * (high - low)[free]
    return u, ((u - low) / (high - low))[:, free]


@lru_cache
def _spread_points(number: int, dimensions: int) -> Float:
    """(number, dimensions) points that fill the unit cube evenly: multiples, modulo 1, of the powers of the root of
    x**(d + 1) = x + 1 (the R sequence of M. Roberts 2018)."""
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dimensions + 1))
    return (0.5 + np.outer(np.arange(1, number + 1), root ** -np.arange(1.0, dimensions + 1))) % 1.0


def _projected(batch: Batch, rows: NDArray[np.intp], times: Float, shapes: Float) -> tuple[Float, Float]:
    """Sums of squares (n, G) of the shapes with the best linear parameters, and all parameters u (n, G, k)."""
    fitted, parameters = batch.model.fitted, batch.model.parameters
    linear = [at for at, name in enumerate(fitted) if parameters[name].linear]
    named = batch.named(shapes)
    named |= {fitted[at]: np.ones((len(shapes), 1)) for at in linear}
    with np.errstate(all="ignore"):
        rest, slopes = batch.model.slopes(times[None], **named)
        columns = [np.broadcast_to(slopes[fitted[at]], rest.shape) for at in linear]
        rest = rest - sum(columns)
    possible = np.isfinite([rest, *columns]).all((0, 2))
    rest, *columns = (np.where(possible[:, None], column, 0.0) for column in (rest, *columns))
    weights = batch.valid[rows].astype(float)
    values = np.where(batch.valid[rows], batch.values[rows], 0.0)
    # Sums over the times of every trace for every shape, as matrix products.
    squares = (values**2).sum(1)[:, None] - 2 * values @ rest.T + weights @ (rest**2).T
    u = np.broadcast_to(shapes, (len(rows), *shapes.shape)).copy()
    if not linear:
        return np.where(possible, squares, np.inf), u
    along = np.stack([values @ column.T - weights @ (column * rest).T for column in columns], axis=-1)
    across = np.stack([np.stack([weights @ (a * b).T for b in columns], axis=-1) for a in columns], axis=-2)
    size = diagonal_roots(across)
    scaled = across / (size[..., :, None] * size[..., None, :]) + 1e-10 * np.eye(len(linear))
    best = np.linalg.solve(scaled, (along / size)[..., None])[..., 0] / size
    low, high = np.array([parameters[fitted[at]].bounds for at in linear]).T
    best = np.clip(best, low, high)
    squares = squares - 2 * (best * along).sum(-1) + np.einsum("ngi,ngij,ngj->ng", best, across, best)
    logarithmic = batch.logarithmic[linear]
    u[..., linear] = np.where(logarithmic, np.log(np.where(logarithmic, best, 1.0)), best)
    return np.where(possible, squares, np.inf), u
