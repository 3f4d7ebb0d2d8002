"""Fit a kinetic model to many traces at once: optimum, 95 % intervals, and which parameters the data cannot determine.

All traces of a batch go through the same steps side by side, as arrays (N, T) of traces by time points:

1. first values: some hundred shapes of the curve on the data's own times, the linear parameters (amplitude, offset)
   solved for each (variable projection); the best that differ enough are the starts;
2. least squares by Levenberg-Marquardt (damping of Nielsen 1999) with bounds by projection,
   positive parameters on a logarithmic scale;
3. intervals from the profile of the likelihood (Venzon & Moolgavkar 1988): where the best fit with
   this parameter held is worse than the optimum by what chance explains in 95 % of cases. How much that is follows
   from the residuals themselves, also where noise is uneven (MacKinnon & White 1985; degrees of
   freedom of Bell & McCaffrey 2002) or correlated in time;
4. a parameter is identifiable where its interval ends on both sides within its bounds (Raue et al. 2009).

The references are in docs/references.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celltraces.array_types import Bool, Float
from celltraces.kinetics.first_values import STARTS, starts
from celltraces.kinetics.intervals import intervals, statistics
from celltraces.kinetics.least_squares import ROUGHLY, ROUNDING, Batch, Optimum, minimise
from celltraces.kinetics.models import KineticModel

SCOUTING = 8  # iterations of all starts; the best goes on
CLEAR_ORDER = 10.8  # variances of a residual: what swapping two parameters may cost (1 of 1,000 by chance)
BATCH = 256  # traces side by side
REFITS = 3
SIGNAL = 1e-3  # probability with which noise alone passes for a curve
ONSET = "t0"


def optimum(batch: Batch) -> Optimum:
    """The best fit of every trace, from several starts."""
    n_traces = len(batch.values)
    start = starts(batch)
    everyone = np.arange(n_traces)
    scouted = minimise(
        batch, np.tile(everyone, STARTS), start.reshape(-1, start.shape[2]), iterations=SCOUTING, close=ROUGHLY
    )
    best = np.argmin(scouted.squares.reshape(STARTS, n_traces), axis=0)
    return _with_ordered_rates(batch, minimise(batch, everyone, scouted.u.reshape(start.shape)[best, everyone]))


def _with_ordered_rates(batch: Batch, best: Optimum) -> Optimum:
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
        """(N,): whether there is a fit."""
        return np.isin(self.flag, ["ok", "unidentifiable"])


def fit(model: KineticModel, times: Float, values: Float) -> Fits:
    """Fit a model to traces: times (h) and values, (N, T) float64 each; values are NaN where there is none."""
    batches = [slice(first, first + BATCH) for first in range(0, len(values), BATCH)] or [slice(0, 0)]
    parts = [_fit_batch(model, times[rows], values[rows]) for rows in batches]

    def joined(field: str) -> Any:
        columns = [getattr(part, field) for part in parts]
        if isinstance(columns[0], dict):
            return {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
        return np.concatenate(columns)

    return Fits(**{field.name: joined(field.name) for field in fields(Fits)})


def _fit_batch(model: KineticModel, times: Float, values: Float) -> Fits:
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
        found = _with_ordered_rates(part, minimise(part, np.arange(len(rows)), np.array(list(deeper.values()))))

    r_squared = np.clip(1 - np.divide(squares, total, out=np.ones(n_traces), where=total > 0), 0.0, 1.0)
    r_squared = np.where((flag == "too_few_points") | constant, 0.0, r_squared)
    mixed = _mixed(model, u, low, high)
    for at in np.flatnonzero(mixed):
        # The two are indistinguishable: both get the union of the intervals.
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


def _pair(model: KineticModel) -> list[int]:
    """Where the two parameters are that may change places, if both are fitted."""
    fitted = model.fitted
    both = len(model.interchangeable) == 2 and set(model.interchangeable) <= set(fitted)
    return [fitted.index(name) for name in model.interchangeable] if both else []


def _mixed(model: KineticModel, u: Float, low: Float, high: Float) -> Bool:
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
