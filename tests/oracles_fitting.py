"""The plain way of fitting, one trace after the other, and cohorts of traces whose truth is known."""

import numpy as np
from scipy.optimize import least_squares

from celltraces.kinetics import models

# Published for HuH7 cells transfected with eGFP mRNA: mRNA half-life 0.86 h, eGFP half-life 22.8 h, onset 0.87 h.
MRNA, EGFP, ONSET = np.log(2) / 0.86, np.log(2) / 22.8, 0.87


def cohort(n, times, model="maturation", *, seed=0, noise=(300.0, 1.0, 0.005), correlated=0.0, **medians):
    """n traces of cells that differ, with noise: values (n, T) and the true parameters, (n, 1) each.

    noise: counts of the background; counts of variance per count of signal (camera); share of the signal (focus, mask).
    """
    rng = np.random.default_rng(seed)
    spread = {"t0": 0.25, "ktl": 0.7, "delta": 0.2}
    medians = {"t0": ONSET, "ktl": 3e4, "delta": MRNA, "beta": EGFP} | medians
    truth = {name: np.full((n, 1), parameter.initial) for name, parameter in models.MODELS[model].parameters.items()}
    for name in truth:
        if name in medians:
            truth[name] = medians[name] * rng.lognormal(0, spread.get(name, 0.0), (n, 1))
    truth["offset"] = rng.normal(0, 200, (n, 1))
    curve = models.MODELS[model].curve(times, **truth)
    light = np.abs(curve - truth["offset"])
    normal = rng.standard_normal(curve.shape)
    for at in range(1, len(times)):
        normal[:, at] = correlated * normal[:, at - 1] + np.sqrt(1 - correlated**2) * normal[:, at]
    return curve + normal * np.sqrt(noise[0] ** 2 + noise[1] * light + (noise[2] * light) ** 2), truth


def residuals(model, times, values):
    """The function of the fitted parameters that least_squares minimises."""
    fixed = {name: parameter.fixed for name, parameter in model.parameters.items()}
    return lambda p: model.curve(times, **{**fixed, **dict(zip(model.fitted, p, strict=True))}) - values


def plain_fit(model, times, values, start=None):
    """One trace as PyAMA fits it: scipy's least_squares from the initial values, without derivatives."""
    parameters = [model.parameters[name] for name in model.fitted]
    start = [parameter.initial for parameter in parameters] if start is None else start
    bounds = np.array([parameter.bounds for parameter in parameters]).T
    return least_squares(residuals(model, times, values), start, bounds=bounds)


def careful_fit(model, times, values, starts=30, seed=0):
    """The best of many starts, scaled by parameter: (parameters, sum of squares)."""
    rng = np.random.default_rng(seed)
    parameters = [model.parameters[name] for name in model.fitted]
    bounds = np.array([parameter.bounds for parameter in parameters]).T
    high, span = values.max() - values.min(), times[-1] - times[0]
    typical = {"h": span, "1/h": 3 / span, "counts/h": 3 * high / span, "counts": high, "": 1.0}
    best = None
    for _ in range(starts):
        start = [
            rng.uniform(times[0], times[0] + 0.6 * span)
            if parameter.unit == "h"
            else typical[parameter.unit] * rng.lognormal(0, 1.5)
            for parameter in parameters
        ]
        scale = [typical[parameter.unit] for parameter in parameters]
        found = least_squares(
            residuals(model, times, values),
            np.clip(start, bounds[0] * (1 + 1e-9), bounds[1] * (1 - 1e-9)),
            bounds=bounds,
            x_scale=scale,
            ftol=1e-12,
            xtol=1e-12,
            gtol=1e-12,
            max_nfev=400,
        )
        if best is None or found.cost < best.cost:
            best = found
    return best.x, 2 * best.cost
