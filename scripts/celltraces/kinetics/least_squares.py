"""Minimise squared residuals of many small problems at once (Levenberg-Marquardt in a batch)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Bool, Float
from celltraces.kinetics.models import KineticModel

ITERATIONS = 200
CLOSE = 1e-5  # standard errors: a fit ends before a step smaller than this ...
ROUGHLY = 0.1  # ... and one that only serves to find a start or the end of an interval
ROUNDING = 1e-22  # of the sum of squares of the data: no residual is smaller
CACHED = 12_000  # numbers in an array that stays in the processor's cache


@dataclass(frozen=True)
class Batch:
    """Traces and the model to fit: times and values (N, T), and which of the values are there (N, T).

    Parameters are vectors u (P, k) of the fitted ones, positive ones as logarithms; low and high (k,) bound them.
    """

    model: KineticModel
    times: Float
    values: Float
    valid: Bool

    @property
    def logarithmic(self) -> Bool:
        """(k,): which of the fitted parameters are positive, and taken as logarithms."""
        return np.array([self.model.parameters[name].bounds[0] > 0 for name in self.model.fitted])

    @property
    def bounds(self) -> tuple[Float, Float]:
        """(k,) each: the lowest and highest u."""
        low, high = np.array([self.model.parameters[name].bounds for name in self.model.fitted]).T
        return self.inner(low), self.inner(high)

    def inner(self, parameters: Float) -> Float:
        """(..., k) parameters as the fit sees them."""
        logarithmic = self.logarithmic
        return np.where(logarithmic, np.log(np.where(logarithmic, parameters, 1.0)), parameters)

    def outer(self, u: Float) -> Float:
        """(..., k) the parameters themselves."""
        logarithmic = self.logarithmic
        return np.where(logarithmic, np.exp(np.where(logarithmic, u, 0.0)), u)

    def named(self, u: Float) -> dict[str, Float]:
        """All parameters by name, (P, 1) the fitted ones."""
        by_name = {name: parameter.fixed for name, parameter in self.model.parameters.items()}
        outer = self.outer(u)
        return by_name | {name: outer[:, at, None] for at, name in enumerate(self.model.fitted)}

    def residuals(self, u: Float, rows: NDArray[np.intp]) -> tuple[Float, Float]:
        """Data less curve (P, T) and the curve's derivatives by u (P, k, T), 0 where there is no value."""
        named = self.named(u)
        curve, slopes = self.model.slopes(self.times[rows], **named)
        valid = self.valid[rows]
        by_u = np.empty((len(u), u.shape[1], valid.shape[1]))
        for at, (name, logarithmic) in enumerate(zip(self.model.fitted, self.logarithmic, strict=True)):
            np.multiply(slopes[name], named[name] * valid if logarithmic else valid, out=by_u[:, at])
        return np.where(valid, self.values[rows] - curve, 0.0), by_u

    def normal(self, u: Float, rows: NDArray[np.intp]) -> tuple[Float, Float, Float]:
        """Sum of squares (P,), slopes times residuals (P, k) and slopes times slopes (P, k, k)."""
        n, k = u.shape
        squares, gradient, curvature = np.empty(n), np.empty((n, k)), np.empty((n, k, k))
        # A few rows at a time, whose arrays stay in the processor's cache.
        for block in np.array_split(np.arange(n), max(1, n * self.times.shape[1] // CACHED)):
            residuals, by_u = self.residuals(u[block], rows[block])
            squares[block] = np.einsum("pt,pt->p", residuals, residuals)
            gradient[block] = (by_u @ residuals[:, :, None])[:, :, 0]
            curvature[block] = by_u @ by_u.transpose(0, 2, 1)
        bad = ~(np.isfinite(squares) & np.isfinite(gradient).all(1) & np.isfinite(curvature).all((1, 2)))
        if bad.any():
            squares[bad], gradient[bad], curvature[bad] = np.inf, 0.0, np.eye(k)
        return squares, gradient, curvature


@dataclass(frozen=True)
class Optimum:
    """Where a minimisation ended: u (P, k), sum of squares (P,), whether it converged (P,)."""

    u: Float
    squares: Float
    converged: Bool


def minimise(
    batch: Batch,
    rows: NDArray[np.intp],
    start: Float,
    held: Bool | None = None,
    *,
    iterations: int = ITERATIONS,
    close: float = CLOSE,
) -> Optimum:
    """Least squares from `start` (P, k) for the traces `rows` (P,); parameters that are `held` (P, k) stay."""
    low, high = batch.bounds
    u = np.clip(start, low, high)
    held = np.zeros(u.shape, bool) if held is None else held
    count = batch.valid[rows].sum(1)
    floor = ROUNDING * np.einsum("pt,pt->p", *[np.where(batch.valid[rows], batch.values[rows], 0.0)] * 2)
    freedom = np.maximum(count - u.shape[1], 1)
    squares, gradient, curvature = batch.normal(u, rows)
    damping, growth = np.full(len(u), 1e-3), np.full(len(u), 2.0)
    converged = ~np.isfinite(squares) | (squares <= floor)
    at = np.flatnonzero(~converged)
    identity = np.eye(u.shape[1])
    for _ in range(iterations):
        if not len(at):
            break
        slope, bend, here = gradient[at], curvature[at], u[at]
        stopped = held[at] | ((here <= low) & (slope < 0)) | ((here >= high) & (slope > 0))
        size, moving = diagonal_roots(bend), ~stopped
        scaled = bend / (size[:, :, None] * size[:, None, :]) + damping[at, None, None] * identity
        scaled = np.where(moving[:, :, None] & moving[:, None, :], scaled, identity)
        step = np.linalg.solve(scaled, np.where(stopped, 0.0, slope / size)[:, :, None])[:, :, 0] / size
        # Small against the standard errors, and not because it is damped.
        moved = np.einsum("pk,pkl,pl->p", step, bend, step)
        still = (moved <= close**2 * squares[at] / freedom[at]) & (damping[at] <= 1)
        converged[at[still]] = True
        at, here, step, slope, bend = (each[~still] for each in (at, here, step, slope, bend))
        trial = np.clip(here + step, low, high)
        step = trial - here
        expected = 2 * np.einsum("pk,pk->p", step, slope) - np.einsum("pk,pkl,pl->p", step, bend, step)
        new_squares, new_gradient, new_curvature = batch.normal(trial, rows[at])
        better = new_squares <= squares[at]
        gain = np.where(better, (squares[at] - new_squares) / np.where(expected > 0, expected, np.inf), 0.0)
        # No further down: as far as rounding lets it be known, or at a kink.
        ended = (np.abs(expected) <= 1e-14 * squares[at]) | (damping[at] > 1e12)
        taken = at[better]
        u[taken], squares[taken] = trial[better], new_squares[better]
        gradient[taken], curvature[taken] = new_gradient[better], new_curvature[better]
        damping[taken] *= np.maximum(1 / 3, 1 - (2 * np.clip(gain[better], 0, 1) - 1) ** 3)
        growth[taken] = 2.0
        refused = at[~better]
        damping[refused] *= growth[refused]
        growth[refused] *= 2.0
        ended |= squares[at] <= floor[at]
        converged[at[ended]] = True
        at = at[~ended]
    return Optimum(u, squares, converged & np.isfinite(squares))


def diagonal_roots(squared: Float) -> Float:
    """Roots (..., k) of the diagonals of matrices (..., k, k), 1 where they are nothing."""
    diagonal = np.einsum("...ii->...i", squared)
    return np.sqrt(np.where(diagonal > 1e-200, diagonal, 1.0))
