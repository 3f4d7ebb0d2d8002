"""Kinetic models fitted to many traces at once: optimum, 95 % intervals, and what the data cannot tell.

All traces of a batch go through the same steps side by side, as arrays (N, T) of traces by time points:

1. first values: some hundred shapes of the curve on the data's own times, the linear parameters (amplitude, offset)
   solved for each (variable projection); the best that differ enough are the starts;
2. least squares by Levenberg-Marquardt (damping of Nielsen 1999, report IMM-REP-1999-05) with bounds by projection,
   positive parameters on a logarithmic scale;
3. intervals from the profile of the likelihood (Venzon & Moolgavkar 1988, Appl. Stat. 37:87): where the best fit with
   this parameter held is worse than the optimum by what chance explains in 95 % of cases. How much that is follows
   from the residuals themselves, also where noise is uneven (MacKinnon & White 1985, J. Econometrics 29:305; degrees
   of freedom of Bell & McCaffrey 2002, Survey Methodology 28:169) or correlated in time;
4. a parameter is identifiable where its interval ends on both sides within its bounds (Raue et al. 2009,
   Bioinformatics 25:1923).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pyama.kinetics import Model

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

CONFIDENCE = 0.95
SHAPES = 128  # curves tried for first values
STARTS = 3
APART = 0.2  # distance between starts, as a share of each parameter's range
SCOUTING = 8  # iterations of all starts; the best goes on
ITERATIONS = 200
CLOSE = 1e-5  # standard errors: a fit ends before a step smaller than this ...
ROUGHLY = 0.1  # ... and one that only serves to find a start or the end of an interval
CLEAR_ORDER = 10.8  # variances of a residual: what swapping two parameters may cost (1 of 1,000 by chance)
ROUNDING = 1e-22  # of the sum of squares of the data: no residual is smaller
BATCH = 256  # traces side by side
CACHED = 12_000  # numbers in an array that stays in the processor's cache
PROFILE_STEPS, PROFILE_ITERATIONS = 20, 50
REFITS = 3
DEEPER = 1e-4  # of the sum of squares: a profile that goes further down has found a better optimum
PROFILE_CLOSE = 0.1  # of the threshold
FEWEST = 2.0  # degrees of freedom that a variance is taken to be known from
SIGNAL = 1e-3  # probability with which noise alone passes for a curve
ONSET = "t0"


@dataclass(frozen=True)
class Batch:
    """Traces and the model to fit: times and values (N, T), and which of the values are there (N, T).

    Parameters are vectors u (P, k) of the fitted ones, positive ones as logarithms; low and high (k,) bound them.
    """

    model: Model
    times: Float
    values: Float
    valid: Bool

    @property
    def logarithmic(self) -> Bool:
        return np.array([self.model.parameters[name].bounds[0] > 0 for name in self.model.fitted])

    @property
    def bounds(self) -> tuple[Float, Float]:
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
        size, moving = _size(bend), ~stopped
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


def _size(squared: Float) -> Float:
    """Roots (..., k) of the diagonals of matrices (..., k, k), 1 where they are nothing."""
    diagonal = np.einsum("...ii->...i", squared)
    return np.sqrt(np.where(diagonal > 1e-200, diagonal, 1.0))


# -------------------------------------------------------------------------------------------------------- starts


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
        apart = np.sqrt(np.mean((place[:, None] - place[None]) ** 2, axis=2)) if place.shape[1] else 0.0
        each = np.arange(len(rows))
        for start in range(STARTS):
            best = np.argmin(squares, axis=1)
            chosen[start, rows] = candidates[each, best]
            near = np.atleast_2d(apart)[best] < APART
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
        u[1:, free] = low[free] + _spread(SHAPES - 1, len(free)) * (high - low)[free]
    return u, ((u - low) / (high - low))[:, free]


@lru_cache
def _spread(number: int, dimensions: int) -> Float:
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
    size = _size(across)
    scaled = across / (size[..., :, None] * size[..., None, :]) + 1e-10 * np.eye(len(linear))
    best = np.linalg.solve(scaled, (along / size)[..., None])[..., 0] / size
    low, high = np.array([parameters[fitted[at]].bounds for at in linear]).T
    best = np.clip(best, low, high)
    squares = squares - 2 * (best * along).sum(-1) + np.einsum("ngi,ngij,ngj->ng", best, across, best)
    logarithmic = batch.logarithmic[linear]
    u[..., linear] = np.where(logarithmic, np.log(np.where(logarithmic, best, 1.0)), best)
    return np.where(possible, squares, np.inf), u


# -------------------------------------------------------------------------------------------------- fit of a batch


def optimum(batch: Batch) -> Optimum:
    """The best fit of every trace, from several starts."""
    n_traces = len(batch.values)
    start = starts(batch)
    everyone = np.arange(n_traces)
    scouted = minimise(
        batch, np.tile(everyone, STARTS), start.reshape(-1, start.shape[2]), iterations=SCOUTING, close=ROUGHLY
    )
    best = np.argmin(scouted.squares.reshape(STARTS, n_traces), axis=0)
    return _in_order(batch, minimise(batch, everyone, scouted.u.reshape(start.shape)[best, everyone]))


def _in_order(batch: Batch, best: Optimum) -> Optimum:
    """Of two parameters that may change places, the first is the greater, unless the data are clear that it is not."""
    if not _pair(batch.model):
        return best
    first, second = _pair(batch.model)
    swapped = best.u.copy()
    swapped[:, [first, second]] = swapped[:, [second, first]]
    other = minimise(batch, np.arange(len(swapped)), swapped)
    ordered, other_ordered = (each.u[:, first] >= each.u[:, second] for each in (best, other))
    clear = 1 + CLEAR_ORDER / np.maximum(batch.valid.sum(1) - swapped.shape[1], 1)
    taken = np.where(
        ordered,
        ~other_ordered & (other.squares * clear < best.squares),
        other_ordered & (other.squares <= best.squares * clear),
    )
    return Optimum(
        np.where(taken[:, None], other.u, best.u),
        np.where(taken, other.squares, best.squares),
        np.where(taken, other.converged, best.converged),
    )


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
    # From how many degrees of freedom this variance is known (Bell & McCaffrey 2002, Survey Methodology 28:169).
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
    size = _size(curvature)
    values, vectors = np.linalg.eigh(curvature / (size[:, :, None] * size[:, None, :]))
    inverse = (vectors / np.maximum(values, 1e-12)[:, None, :]) @ vectors.transpose(0, 2, 1)
    return inverse / (size[:, :, None] * size[:, None, :])


def _autocorrelation(residuals: Float, valid: Bool, k: int) -> Float:
    """(N,) correlation of neighbouring residuals (0 to 0.9), corrected for what a fit of k parameters takes of it."""
    both, count = valid[:, 1:] & valid[:, :-1], valid.sum(1)
    pairs = np.einsum("nt,nt->n", residuals[:, 1:] * both, residuals[:, :-1])
    squares = np.einsum("nt,nt->n", residuals, residuals) * both.sum(1) / np.maximum(count, 1)
    seen = np.divide(pairs, squares, out=np.zeros_like(pairs), where=squares > 0)
    # After Kendall 1954, Biometrika 41:403, with k parameters in the place of the mean.
    return np.clip((seen + k / np.maximum(count, 1)) / np.maximum(1 - (k + 2) / np.maximum(count, 1), 0.5), 0.0, 0.9)


# ----------------------------------------------------------------------------------------------------- intervals


def _compressed(change: Float) -> Float:
    """A change of a logarithm that comes from a slope: large ones are as those of the parameter itself would be."""
    size = np.abs(change)
    return np.where(size < 1, change, np.sign(change) * (1 + np.log(np.maximum(size, 1))))


def intervals(batch: Batch, best: Optimum, of: Statistics) -> tuple[Float, Float, dict[int, Float]]:
    """Lower and upper ends (N, k) of the intervals as u, -inf and inf where there is none within the bounds.

    And, for traces of which a profile went below the optimum, the place (k,) where it did.
    """
    from scipy.special import stdtrit

    n_traces, k = best.u.shape
    low, high = batch.bounds
    quantile = stdtrit(of.known, (1 + CONFIDENCE) / 2)
    # One problem for each trace, parameter and side.
    trace, parameter, side = (
        index.ravel() for index in np.meshgrid(np.arange(n_traces), np.arange(k), [-1, 1], indexing="ij")
    )
    target = quantile[trace, parameter] * np.sqrt(of.widening[trace, parameter] * of.variance[trace])
    spread = of.covariance[trace, :, parameter]
    scale = spread / np.maximum(spread[np.arange(len(trace)), parameter], 1e-300)[:, None]
    width = quantile[trace, parameter] * np.sqrt(
        of.widening[trace, parameter] * of.covariance[trace, parameter, parameter]
    )
    bound = np.where(side > 0, high[parameter], low[parameter])
    centre, floor = best.u[trace, parameter], best.squares[trace]
    held = np.arange(k) == parameter[:, None]

    inner, inner_root, known = centre.copy(), np.zeros(len(trace)), best.u[trace]
    outer, outer_root = np.full(len(trace), np.nan), np.full(len(trace), np.inf)
    logarithmic = batch.logarithmic
    width = np.where(logarithmic[parameter], _compressed(width), width)
    place = centre + side * np.minimum(width, np.abs(bound - centre))
    ends = np.where(side > 0, np.inf, -np.inf)
    lowest, lowest_u = floor.copy(), best.u[trace]
    at = np.flatnonzero(bound != centre)
    for _ in range(PROFILE_STEPS):
        if not len(at):
            break
        shift = scale[at] * (place[at] - known[at, parameter[at]])[:, None]
        shift = np.where(logarithmic & ~held[at], _compressed(shift), shift)
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
        # The next place: on the line through the two ends of the bracket, or through the last two points.
        bracketed = np.isfinite(outer_root[at])
        x0 = np.where(bracketed, inner[at], previous)
        y0 = np.where(bracketed, inner_root[at], previous_root)
        x1, y1 = np.where(bracketed, outer[at], inner[at]), np.where(bracketed, outer_root[at], inner_root[at])
        # A flat profile says nothing of how far it is; then as far as `reach` allows.
        flat = y1 - y0 <= 1e-6 * target[at]
        step = np.where(flat, np.inf, (target[at] - y0) / np.where(flat, 1.0, y1 - y0) * np.abs(x1 - x0))
        reach = np.where(bracketed, np.abs(x1 - x0), np.abs(x1 - x0) + 4 * np.abs(inner[at] - centre[at]))
        crossing = x0 + side[at] * np.minimum(step, reach)
        # Within a bracket not too near to its ends, where a bent profile would make it creep.
        step = np.where(bracketed, np.clip(step, 0.1 * reach, 0.9 * reach), np.minimum(step, reach))
        following = x0 + side[at] * step
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
    by_parameter = ends.reshape(n_traces, k, 2)
    passed = np.flatnonzero(lowest < floor * (1 - DEEPER))
    # Ascending depth, so that the deepest place of a trace is the one that stays.
    deeper = {int(trace[one]): lowest_u[one] for one in passed[np.argsort(-lowest[passed], kind="stable")]}
    return by_parameter[..., 0], by_parameter[..., 1], deeper


# --------------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Fits:
    """Results of N traces. `best` is the optimum as it is; `value` is NaN where it is not identifiable, like `low` and
    `high` where the interval has no end. Names of parameters -> (N,).

    flag (N,): ok, unidentifiable (of some parameter), or why there is no fit: too_few_points, constant, no_signal,
    not_converged. flags: by parameter, ok or why it is not identifiable.
    """

    flag: NDArray[np.str_]
    r_squared: Float
    autocorrelation: Float
    best: dict[str, Float]
    value: dict[str, Float]
    low: dict[str, Float]
    high: dict[str, Float]
    flags: dict[str, NDArray[np.str_]]

    @property
    def success(self) -> Bool:
        return np.isin(self.flag, ["ok", "unidentifiable"])


def fit(model: Model, times: Float, values: Float) -> Fits:
    """Fit a model to traces: times (h) and values (N, T), NaN where there is none."""
    batches = [slice(first, first + BATCH) for first in range(0, len(values), BATCH)] or [slice(0, 0)]
    parts = [_fit_batch(model, times[rows], values[rows]) for rows in batches]

    def joined(field: str):
        columns = [getattr(part, field) for part in parts]
        if isinstance(columns[0], dict):
            return {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
        return np.concatenate(columns)

    return Fits(**{field.name: joined(field.name) for field in fields(Fits)})


def _fit_batch(model: Model, times: Float, values: Float) -> Fits:
    valid = np.isfinite(values)
    batch = Batch(model, times, np.where(valid, values, 0.0), valid)
    n_traces, k = len(values), len(model.fitted)
    count = valid.sum(1)
    centred = np.where(valid, batch.values - (batch.values.sum(1) / np.maximum(count, 1))[:, None], 0.0)
    total = np.einsum("nt,nt->n", centred, centred)
    constant = total <= ROUNDING * np.einsum("nt,nt->n", batch.values, batch.values)
    flag = np.select([count <= k, constant], ["too_few_points", "constant"], "ok").astype("<U14")

    u, low, high = (np.full((n_traces, k), np.nan) for _ in range(3))
    squares, autocorrelation = np.full((2, n_traces), np.nan)
    rows = np.flatnonzero(flag == "ok")
    found = optimum(_part(batch, rows))
    for _ in range(REFITS):
        u[rows], squares[rows] = found.u, found.squares
        flag[rows] = np.where(found.converged, "ok", "not_converged")
        flag[rows[~_better_than_constant(total, squares, count, k)[rows]]] = "no_signal"
        fitted = flag[rows] == "ok"
        rows, found = rows[fitted], Optimum(*(column[fitted] for column in (found.u, found.squares, found.converged)))
        part = _part(batch, rows)
        of = statistics(part, found.u)
        autocorrelation[rows] = of.autocorrelation
        low[rows], high[rows], deeper = intervals(part, found, of)
        # Where a profile went below the optimum, once more from there.
        if not deeper:
            break
        rows = rows[list(deeper)]
        part = _part(batch, rows)
        found = _in_order(part, minimise(part, np.arange(len(rows)), np.array(list(deeper.values()))))

    r_squared = np.clip(1 - np.divide(squares, total, out=np.ones(n_traces), where=total > 0), 0.0, 1.0)
    r_squared = np.where((flag == "too_few_points") | constant, 0.0, r_squared)
    mixed = _mixed(model, u, low, high)
    for at in np.flatnonzero(mixed):
        # Either may be what the other is.
        low[at, _pair(model)], high[at, _pair(model)] = low[at, _pair(model)].min(), high[at, _pair(model)].max()
    flags = _parameter_flags(batch, u, low, high, mixed)
    fitted = np.isin(flag, ["ok"])
    names = model.fitted
    flags = {name: np.where(fitted, flags[name], "no_fit") for name in names}
    flag[fitted & np.any([flags[name] != "ok" for name in names], axis=0)] = "unidentifiable"

    def by_name(ends: Float) -> dict[str, Float]:
        ends = np.where(fitted[:, None] & np.isfinite(ends), ends, np.nan)
        return dict(zip(names, batch.outer(ends).T, strict=True))

    best = by_name(u)
    value = {name: np.where(flags[name] == "ok", best[name], np.nan) for name in names}
    return Fits(flag, r_squared, autocorrelation, best, value, by_name(low), by_name(high), flags)


def _part(batch: Batch, rows: NDArray[np.intp]) -> Batch:
    return Batch(batch.model, batch.times[rows], batch.values[rows], batch.valid[rows])


def _better_than_constant(total: Float, squares: Float, count: NDArray[np.intp], k: int) -> Bool:
    """Whether the curve explains more than chance would let it (F test against the mean)."""
    from scipy.special import fdtri

    freedom = np.maximum(count - k, 1)
    ratio = (total - squares) / max(k - 1, 1) / (squares / freedom)
    return (squares <= 0) | (ratio > fdtri(max(k - 1, 1), freedom, 1 - SIGNAL))


def _pair(model: Model) -> list[int]:
    """Where the two parameters are that may change places, if both are fitted."""
    fitted = model.fitted
    both = len(model.interchangeable) == 2 and set(model.interchangeable) <= set(fitted)
    return [fitted.index(name) for name in model.interchangeable] if both else []


def _mixed(model: Model, u: Float, low: Float, high: Float) -> Bool:
    """Of which traces the two cannot be told apart: the interval of one holds the value of the other (N,)."""
    if not _pair(model):
        return np.zeros(len(u), bool)
    a, b = _pair(model)
    within = [(low[:, one] <= u[:, other]) & (u[:, other] <= high[:, one]) for one, other in ((a, b), (b, a))]
    return within[0] | within[1]


def _parameter_flags(batch: Batch, u: Float, low: Float, high: Float, mixed: Bool) -> dict[str, NDArray[np.str_]]:
    """Per parameter (N,): ok, or why it is not identifiable."""
    names, pair = batch.model.fitted, _pair(batch.model)
    first = np.where(batch.valid, batch.times, np.inf).min(axis=1, initial=np.inf)
    outer = batch.outer(u)
    flags = {}
    for at, name in enumerate(names):
        least, most = (ends[at] for ends in batch.bounds)
        no_low, no_high = ~np.isfinite(low[:, at]), ~np.isfinite(high[:, at])
        cases = {}
        if name == ONSET:
            cases["before_first_frame"] = outer[:, at] < first
        if at in pair:
            cases[f"same_as_{names[pair[1 - pair.index(at)]]}"] = mixed
        edge = 1e-9 * (most - least)
        cases["at_bound"] = (u[:, at] <= least + edge) | (u[:, at] >= most - edge)
        cases |= {"open": no_low & no_high, "open_below": no_low, "open_above": no_high}
        flags[name] = np.select(list(cases.values()), list(cases), "ok")
    return flags
