"""Compute statistics and 95 % confidence intervals (profile likelihood) of fitted parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Bool, Float
from celltraces.kinetics.least_squares import ROUGHLY, Batch, Optimum, diagonal_roots, minimise

CONFIDENCE = 0.95
PROFILE_STEPS, PROFILE_ITERATIONS = 20, 50
DEEPER = 1e-4  # of the sum of squares: a profile that goes further down has found a better optimum
PROFILE_CLOSE = 0.1  # of the threshold
FEWEST = 2.0  # degrees of freedom that a variance is taken to be known from


@dataclass(frozen=True)
class Statistics:
    """What the residuals at the optimum tell, per trace: (N,), (N, k) or (N, k, k) where parameters come in.

    covariance: of u, for even independent noise of `variance`, which is known from `freedom` degrees of freedom.
    widening: by how much the variance of each parameter is greater with the noise as it is, uneven and correlated in
    time; `known`: from how many degrees of freedom.
    """

    freedom: Float
    known: Float
    variance: Float
    covariance: Float
    widening: Float
    autocorrelation: Float


def statistics(batch: Batch, u: Float) -> Statistics:
    """The statistics of the residuals at the optimum u (N, k)."""
    rows = np.arange(len(u))
    residuals, by_u = batch.residuals(u, rows)
    freedom = np.maximum(batch.valid.sum(1) - u.shape[1], 1).astype(float)
    variance = np.einsum("nt,nt->n", residuals, residuals) / freedom
    inverse = _inverse(by_u @ by_u.transpose(0, 2, 1))
    leverage = np.clip(np.einsum("nit,nij,njt->nt", by_u, inverse, by_u, optimize=True), 0.0, 0.9)
    # HC2: each residual stands for its own variance, enlarged for what the fit took away of it.
    weights = inverse @ by_u
    squared = weights**2 / (1 - leverage)[:, None, :]
    robust = np.einsum("nit,nt->ni", squared, residuals**2)
    even = np.einsum("nii->ni", inverse) * variance[:, None]
    # From how many degrees of freedom this variance is known (Bell & McCaffrey 2002).
    inner = np.einsum("nat,nit,nbt->niab", by_u, squared, by_u, optimize=True)
    inner = inverse[:, None] @ inner
    spread = np.einsum("nit,nt->ni", squared**2, 1 - 2 * leverage) + np.einsum("niab,niba->ni", inner, inner)
    known = np.divide(np.einsum("nii->ni", inverse) ** 2, spread, out=np.zeros_like(spread), where=spread > 0)
    known = np.clip(known, FEWEST, np.maximum(freedom, FEWEST)[:, None])
    autocorrelation = _autocorrelation(residuals, batch.valid, u.shape[1])
    # A parameter that no residual speaks of keeps the variance of a direction that the data do not see.
    widening = np.divide(robust, even, out=np.ones_like(even), where=(even > 0) & (robust > 0))
    # Neighbours that go together count as fewer: as `freedom` less what the parameters take, of which each takes more.
    count = batch.valid.sum(1)
    rho = np.where(autocorrelation**2 * count > 1, autocorrelation, 0.0)  # beyond its standard error
    fewer = np.minimum((1 + rho) / (1 - rho), count / (2 * u.shape[1]))
    fewer = np.maximum(fewer, 1.0)
    widening *= (fewer * freedom / np.maximum(count - u.shape[1] * fewer, 1))[:, None]
    known = np.maximum(known / fewer[:, None], FEWEST)
    return Statistics(freedom, known, variance, inverse * variance[:, None, None], widening, autocorrelation)


def _inverse(curvature: Float) -> Float:
    """Inverse (N, k, k) of J J^T; a direction that the data do not see gets a large but finite variance."""
    size = diagonal_roots(curvature)
    values, vectors = np.linalg.eigh(curvature / (size[:, :, None] * size[:, None, :]))
    inverse = (vectors / np.maximum(values, 1e-12)[:, None, :]) @ vectors.transpose(0, 2, 1)
    return inverse / (size[:, :, None] * size[:, None, :])


def _autocorrelation(residuals: Float, valid: Bool, k: int) -> Float:
    """(N,) correlation of neighbouring residuals (0 to 0.9), corrected for what a fit of k parameters takes of it."""
    both, count = valid[:, 1:] & valid[:, :-1], valid.sum(1)
    pairs = np.einsum("nt,nt->n", residuals[:, 1:] * both, residuals[:, :-1])
    squares = np.einsum("nt,nt->n", residuals, residuals) * both.sum(1) / np.maximum(count, 1)
    seen = np.divide(pairs, squares, out=np.zeros_like(pairs), where=squares > 0)
    # After Kendall 1954, with k parameters in the place of the mean.
    return np.clip((seen + k / np.maximum(count, 1)) / np.maximum(1 - (k + 2) / np.maximum(count, 1), 0.5), 0.0, 0.9)


def _compressed(change: Float) -> Float:
    """A change of a logarithm that comes from a slope: large ones are as those of the parameter itself would be."""
    size = np.abs(change)
    return np.where(size < 1, change, np.sign(change) * (1 + np.log(np.maximum(size, 1))))


def _next_places(
    near: tuple[Float, Float],
    far: tuple[Float, Float],
    bracketed: Bool,
    target: Float,
    side: Float,
    walked: Float,
) -> tuple[Float, Float]:
    """Where profiles meet their targets by the line through two points, and where to try them next; (n,) each, as u.

    near, far: u and the root of the rise of the sum of squares, at the two ends of a bracket, or at the last two points
    on the way outwards. side: 1 outwards is up, -1 it is down. walked: from the optimum to the last point.
    """
    (x0, y0), (x1, y1) = near, far
    # A flat profile says nothing of how far it is; then as far as `reach` allows.
    flat = y1 - y0 <= 1e-6 * target
    step = np.where(flat, np.inf, (target - y0) / np.where(flat, 1.0, y1 - y0) * np.abs(x1 - x0))
    reach = np.where(bracketed, np.abs(x1 - x0), np.abs(x1 - x0) + 4 * walked)
    crossing = x0 + side * np.minimum(step, reach)
    # Within a bracket not too near to its ends, where a bent profile would make it creep.
    step = np.where(bracketed, np.clip(step, 0.1 * reach, 0.9 * reach), np.minimum(step, reach))
    return crossing, x0 + side * step


class Ends(NamedTuple):
    """The P ends of intervals that are looked for: one for each trace, parameter and side; (P,), or (P, k) as told."""

    trace: NDArray[np.intp]
    parameter: NDArray[np.intp]
    side: Float  # 1 for the upper end, -1 for the lower one
    centre: Float  # of the parameter at the optimum, as u
    floor: Float  # the sum of squares there
    bound: Float  # of the parameter, as u
    target: Float  # the root of the rise of the sum of squares at the end
    width: Float  # from the optimum to the end, for a sum of squares that is a parabola
    scale: Float  # (P, k): by how much the other parameters go along with this one
    held: Bool  # (P, k): this parameter, which is held while the others are fitted


def _ends(batch: Batch, best: Optimum, of: Statistics) -> Ends:
    from scipy.special import stdtrit

    n_traces, k = best.u.shape
    low, high = batch.bounds
    trace, parameter, side = (
        index.ravel() for index in np.meshgrid(np.arange(n_traces), np.arange(k), [-1, 1], indexing="ij")
    )
    quantile = stdtrit(of.known, (1 + CONFIDENCE) / 2)[trace, parameter]
    widening = of.widening[trace, parameter]
    spread = of.covariance[trace, :, parameter]
    width = quantile * np.sqrt(widening * of.covariance[trace, parameter, parameter])
    return Ends(
        trace,
        parameter,
        side,
        centre=best.u[trace, parameter],
        floor=best.squares[trace],
        bound=np.where(side > 0, high[parameter], low[parameter]),
        target=quantile * np.sqrt(widening * of.variance[trace]),
        width=np.where(batch.logarithmic[parameter], _compressed(width), width),
        scale=spread / np.maximum(spread[np.arange(len(trace)), parameter], 1e-300)[:, None],
        held=np.arange(k) == parameter[:, None],
    )


def intervals(batch: Batch, best: Optimum, of: Statistics) -> tuple[Float, Float, dict[int, Float]]:
    """Lower and upper ends (N, k) of the intervals as u, -inf and inf where there is none within the bounds.

    And, for traces of which a profile went below the optimum, the place (k,) where it did.
    """
    wanted = _ends(batch, best, of)
    found, lowest, lowest_u = _walk_outwards(batch, best, wanted)
    by_parameter = found.reshape(*best.u.shape, 2)
    passed = np.flatnonzero(lowest < wanted.floor * (1 - DEEPER))
    # Ascending depth, so that the deepest place of a trace is the one that stays.
    deepest_last = passed[np.argsort(-lowest[passed], kind="stable")]
    deeper = {int(wanted.trace[one]): lowest_u[one] for one in deepest_last}
    return by_parameter[..., 0], by_parameter[..., 1], deeper


def _walk_outwards(batch: Batch, best: Optimum, wanted: Ends) -> tuple[Float, Float, Float]:
    """The ends (P,) as u, and of each profile the lowest sum of squares (P,) and where it was (P, k).

    Each profile is followed until its root of the rise meets the target, first outwards, then within a bracket.
    """
    trace, parameter, side, centre, floor, bound, target, width, scale, held = wanted
    inner, inner_root, known = centre.copy(), np.zeros(len(trace)), best.u[trace]
    outer, outer_root = np.full(len(trace), np.nan), np.full(len(trace), np.inf)
    place = centre + side * np.minimum(width, np.abs(bound - centre))
    ends = np.where(side > 0, np.inf, -np.inf)
    lowest, lowest_u = floor.copy(), best.u[trace]
    at = np.flatnonzero(bound != centre)
    for _ in range(PROFILE_STEPS):
        if not len(at):
            break
        shift = scale[at] * (place[at] - known[at, parameter[at]])[:, None]
        shift = np.where(batch.logarithmic & ~held[at], _compressed(shift), shift)
        tried = minimise(batch, trace[at], known[at] + shift, held[at], iterations=PROFILE_ITERATIONS, close=ROUGHLY)
        deeper = tried.squares < lowest[at]
        lowest[at[deeper]], lowest_u[at[deeper]] = tried.squares[deeper], tried.u[deeper]
        root = np.sqrt(np.maximum(tried.squares - floor[at], 0.0))
        inside = root < target[at]
        near = np.abs(root - target[at]) <= PROFILE_CLOSE * target[at]
        previous, previous_root = inner[at].copy(), inner_root[at].copy()
        new_in, new_out = at[inside], at[~inside]
        inner[new_in], inner_root[new_in] = place[new_in], root[inside]
        outer[new_out], outer_root[new_out] = place[new_out], root[~inside]
        known[at] = tried.u
        bracketed = np.isfinite(outer_root[at])
        crossing, following = _next_places(
            (np.where(bracketed, inner[at], previous), np.where(bracketed, inner_root[at], previous_root)),
            (np.where(bracketed, outer[at], inner[at]), np.where(bracketed, outer_root[at], inner_root[at])),
            bracketed,
            target[at],
            side[at],
            np.abs(inner[at] - centre[at]),
        )
        found = near | (bracketed & (np.abs(outer[at] - inner[at]) <= 1e-9 + 1e-3 * np.abs(outer[at] - centre[at])))
        ends[at[found]] = crossing[found]
        limit = bound[at]
        following = np.where(side[at] > 0, np.minimum(following, limit), np.maximum(following, limit))
        open_ended = inside & (place[at] == limit)
        ends[at[open_ended]] = np.inf * side[at[open_ended]]
        place[at] = following
        at = at[~(found | open_ended)]
    if len(at):
        ends[at] = np.where(np.isfinite(outer[at]), outer[at], np.inf * side[at])
    return ends, lowest, lowest_u
