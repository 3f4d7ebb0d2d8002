"""Define the kinetic models: the light of a cell over time, and its derivatives by each parameter.

Times are hours, rates are 1/h. A model is a plain function of the times and of its parameters by name, which broadcast:
times (N, T) and parameters (N, 1) give (N, T). Beside it stands a function that returns the curve together with its
derivative by each parameter. Both are finite for every time and for all rates, equal ones included.

The two expression models are PyAMA's (analysis models of 5a552bf, `trivial` of a8a56cc): mRNA that appears at t0 and
decays with rate delta is translated with rate ktl into a protein that decays with rate beta and, in `maturation`,
begins to shine with rate km. PyAMA writes them as sums of exponentials over differences of rates, which divide by 0
where two rates are equal; here they are built of one kernel that has no such place (see `two_steps`).

A model of the user's own comes from a Python file: see `find_model` and docs/plugins.md.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.array_types import Float
from celltraces.errors import UserError
from celltraces.plugins import load_function


@dataclass(frozen=True)
class Parameter:
    """What may be said about a parameter: `fixed` is its value where it is not fitted.

    Units "h" and "1/h" tell the fit in which range to look for the first values: that of the data's own times. The
    curve is a constant plus a linear function of all `linear` parameters together, the others being given.
    """

    unit: str
    initial: float
    bounds: tuple[float, float]
    fixed: float | None = None
    linear: bool = False


@dataclass(frozen=True)
class KineticModel:
    """A model: `curve(t, **parameters)` and `slopes(t, **parameters)`, the curve and its derivatives by name.

    interchangeable: two parameters that may change places with little or no change of the curve, so that data often
    cannot tell which is which. The first is then reported as the greater.
    """

    name: str
    parameters: Mapping[str, Parameter]
    curve: Callable[..., Float]
    slopes: Callable[..., tuple[Float, dict[str, Float]]]
    interchangeable: tuple[str, ...] = ()

    @property
    def fitted(self) -> tuple[str, ...]:
        """Names of the parameters that are fitted."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.fixed is None)


# ------------------------------------------------------------------------------------------------------ the kernel

NEAR = 0.05  # where series replace differences: the errors of both are below 1e-12 there


def two_steps(t: Float, a: Float, b: Float) -> Float:
    """What is left after two decays in a row, (exp(-a t) - exp(-b t)) / (b - a), which is t exp(-a t) for a == b; 0 for
    t <= 0.

    It is the amount of a product that decays with rate b and is made by a source that decays with rate a.
    """
    return two_steps_slopes(t, a, b)[0]


def two_steps_slopes(t: Float, a: Float, b: Float) -> tuple[Float, Float, Float, Float]:
    """`two_steps` and its derivatives by t, a and b (by t: 0 for t <= 0, where it has a kink)."""
    started = t > 0
    t = np.maximum(t, 0.0)
    gap = b - a
    divisor = np.where(gap == 0, 1.0, gap)
    left_a, left_b = np.exp(-a * t), np.exp(-b * t)
    amount = (left_a - left_b) / divisor
    by_a = (amount - t * left_a) / divisor
    by_b = (t * left_b - amount) / divisor
    near = started & (np.abs(gap) * t < NEAR)
    if near.any():
        gap, t_near, a_near, b_near = (np.broadcast_to(array, near.shape)[near] for array in (gap, t, a, b))
        z = np.abs(gap) * t_near
        slow = t_near * np.exp(-np.minimum(a_near, b_near) * t_near)
        amount[near] = slow * _series(z, _SHARE)
        by_faster = t_near * slow * _series(z, _SHARE_SLOPE)
        by_slower = -t_near * amount[near] - by_faster
        by_a[near] = np.where(gap < 0, by_faster, by_slower)
        by_b[near] = np.where(gap < 0, by_slower, by_faster)
    return amount, (left_b - a * amount) * started, by_a, by_b


# Powers of z in (1 - exp(-z)) / z, and in its derivative.
_SHARE = [(-1.0) ** k / math.factorial(k + 1) for k in range(9)]
_SHARE_SLOPE = [(k + 1) * coefficient for k, coefficient in enumerate(_SHARE[1:])]


def _series(z: Float, coefficients: list[float]) -> Float:
    return np.polynomial.polynomial.polyval(z, coefficients)


# ------------------------------------------------------------------------------------------------------ the models


def maturation(
    t: Float, t0: Float, ktl: Float, km: Float, delta: Float, beta: Float, offset: Float, scale: Float
) -> Float:
    """Matured protein: all protein less the part that has not matured yet, which goes with rate beta + km.

    y = scale (ktl (F(delta, beta) - F(delta, beta + km)) + offset), F = two_steps at t - t0. Solves m' = -delta m,
    u' = ktl m - (beta + km) u, g' = km u - beta g with m = 1 and u = g = 0 at t0.
    """
    after = t - t0
    return scale * (ktl * (two_steps(after, delta, beta) - two_steps(after, delta, beta + km)) + offset)


def _maturation_slopes(
    t: Float, t0: Float, ktl: Float, km: Float, delta: Float, beta: Float, offset: Float, scale: Float
) -> tuple[Float, dict[str, Float]]:
    """The curve, and its derivative by each parameter."""
    after = t - t0
    whole, whole_t, whole_delta, whole_beta = two_steps_slopes(after, delta, beta)
    young, young_t, young_delta, young_gone = two_steps_slopes(after, delta, beta + km)
    shape, light = whole - young, scale * ktl
    unscaled = ktl * shape + offset
    return scale * unscaled, {
        "t0": light * (young_t - whole_t),
        "ktl": scale * shape,
        "km": -light * young_gone,
        "delta": light * (whole_delta - young_delta),
        "beta": light * (whole_beta - young_gone),
        "offset": np.broadcast_to(scale, shape.shape),
        "scale": unscaled,
    }


def trivial(t: Float, t0: Float, ktl: Float, delta: Float, beta: Float, offset: Float) -> Float:
    """Protein that shines at once: y = offset + ktl F(delta, beta), F = two_steps at t - t0."""
    return offset + ktl * two_steps(t - t0, delta, beta)


def _trivial_slopes(
    t: Float, t0: Float, ktl: Float, delta: Float, beta: Float, offset: Float
) -> tuple[Float, dict[str, Float]]:
    """The curve, and its derivative by each parameter."""
    amount, by_t, by_delta, by_beta = two_steps_slopes(t - t0, delta, beta)
    return offset + ktl * amount, {
        "t0": -ktl * by_t,
        "ktl": amount,
        "delta": ktl * by_delta,
        "beta": ktl * by_beta,
        "offset": np.ones_like(amount),
    }


def exponential_decay(t: Float, t0: Float, amplitude: Float, decay_rate: Float, offset: Float) -> Float:
    """Light that is constant until t0 and decays from there: y = offset + amplitude exp(-decay_rate (t - t0))."""
    return offset + amplitude * np.exp(-decay_rate * np.maximum(t - t0, 0.0))


def _exponential_decay_slopes(
    t: Float, t0: Float, amplitude: Float, decay_rate: Float, offset: Float
) -> tuple[Float, dict[str, Float]]:
    """The curve, and its derivative by each parameter."""
    after = np.maximum(t - t0, 0.0)
    left = np.exp(-decay_rate * after)
    return offset + amplitude * left, {
        "t0": np.where(after > 0, amplitude * decay_rate * left, 0.0),
        "amplitude": left,
        "decay_rate": -amplitude * after * left,
        "offset": np.ones_like(left),
    }


_ONSET = Parameter("h", 0.0, (-1.0, 30.0))
_OFFSET = Parameter("counts", 0.0, (-1e6, 1e6), linear=True)

MODELS: dict[str, KineticModel] = {
    "maturation": KineticModel(
        "maturation",
        {
            "t0": _ONSET,
            "ktl": Parameter("counts/h", 1e3, (1.0, 5e8), linear=True),
            "km": Parameter("1/h", 1.28, (1e-5, 30.0), fixed=1.28),
            "delta": Parameter("1/h", 1e-2, (1e-5, 11.0)),
            "beta": Parameter("1/h", 5.22e-3, (1e-5, 10.0), fixed=5.22e-3),
            "offset": _OFFSET,
            "scale": Parameter("", 1.0, (1e-6, 1e6), fixed=1.0),
        },
        maturation,
        _maturation_slopes,
        interchangeable=("delta", "beta"),
    ),
    "trivial": KineticModel(
        "trivial",
        {
            "t0": _ONSET,
            "ktl": Parameter("counts/h", 20.0, (1.0, 5e8), linear=True),
            "delta": Parameter("1/h", 0.07, (1e-5, 11.0)),
            "beta": Parameter("1/h", 0.0436275356035, (1e-5, 10.0)),
            "offset": _OFFSET,
        },
        trivial,
        _trivial_slopes,
        interchangeable=("delta", "beta"),
    ),
    "exponential_decay": KineticModel(
        "exponential_decay",
        {
            "t0": Parameter("h", 0.0, (-1.0, 30.0), fixed=0.0),
            "amplitude": Parameter("counts", 1e3, (1.0, 5e8), linear=True),
            "decay_rate": Parameter("1/h", 0.1, (1e-5, 30.0)),
            "offset": _OFFSET,
        },
        exponential_decay,
        _exponential_decay_slopes,
    ),
}


# ---------------------------------------------------------------------------------------------- choosing a model


def model_name(written: str) -> str:
    """The model's name in tables and file names: for "path/to/file.py:function" the function's."""
    return written.rpartition(":")[2]


def find_model(written: str, key: str = "model") -> KineticModel:
    """A built-in model, or the user's: "path/to/file.py:function". `key` names the setting in errors.

    The user's function is called with the times and its parameters by name. Its attribute `parameters` declares them:
    name -> dict with `initial` and `bounds`, or `fixed`, and optionally `unit` and `linear`. An attribute `jacobian`,
    a function of the same arguments that returns the derivatives by name, is used if it is there.
    """
    if written in MODELS:
        return MODELS[written]
    if not written.rpartition(":")[0].endswith(".py"):
        raise UserError(f"{key}: {written!r} is none of {', '.join(MODELS)}, path/to/file.py:function")
    if not Path(written.rpartition(":")[0]).is_file():
        raise UserError(f"{key}: the file {written.rpartition(':')[0]!r} does not exist")
    function = load_function(written, key)
    declared = getattr(function, "parameters", None)
    if not isinstance(declared, Mapping) or not declared:
        raise UserError(f"{key}: {written!r} has no parameters; set {model_name(written)}.parameters, a dict")
    arguments = list(inspect.signature(function).parameters)[1:]
    if sorted(arguments) != sorted(declared):
        raise UserError(f"{key}: {written!r} takes {', '.join(arguments)} but declares {', '.join(declared)}")
    parameters = {name: _declared(f"{key}: {name} of {written!r}", declared[name]) for name in arguments}
    jacobian = getattr(function, "jacobian", None)

    def slopes(t: Float, **values: Float) -> tuple[Float, dict[str, Float]]:
        if jacobian is None:
            return function(t, **values), _numeric_slopes(function, t, values, parameters)
        return function(t, **values), jacobian(t, **values)

    return KineticModel(model_name(written), parameters, function, slopes)


def _declared(place: str, entry: Any) -> Parameter:
    """A parameter from its declaration in the user's file."""
    known = {"unit", "initial", "bounds", "fixed", "linear"}
    if not isinstance(entry, Mapping) or not set(entry) <= known:
        raise UserError(f"{place} must be a dict with some of the keys {', '.join(sorted(known))}")
    fixed = entry.get("fixed")
    initial = entry.get("initial", fixed)
    bounds = entry.get("bounds", (-math.inf, math.inf) if fixed is not None else None)
    if bounds is None or initial is None:
        raise UserError(f"{place} needs `initial` and `bounds`, or `fixed`")
    numbers = [initial, *bounds, *([] if fixed is None else [fixed])]
    if len(numbers) < 3 or not all(isinstance(number, Real) for number in numbers):
        raise UserError(f"{place}: initial, fixed and the two bounds must be numbers")
    return Parameter(
        str(entry.get("unit", "")),
        float(initial),
        (float(bounds[0]), float(bounds[1])),
        None if fixed is None else float(fixed),
        bool(entry.get("linear", False)),
    )


def with_settings(
    model: KineticModel, settings: Mapping[str, Mapping[str, Any]], key: str = "parameters"
) -> KineticModel:
    """The model with what the config says of its parameters: `fixed`, or `initial` and `bounds`.

    Naming `initial` or `bounds` fits a parameter that is fixed by default. `key` names the setting in errors.
    """
    parameters = dict(model.parameters)
    for name, said in settings.items():
        if name not in parameters:
            raise UserError(f"{key}.{name}: {model.name} has no such parameter; it has {', '.join(parameters)}")
        parameter = parameters[name]
        if "fixed" in said:
            if len(said) > 1:
                raise UserError(f"{key}.{name}: `fixed` stands alone; leave out `initial` and `bounds`, or `fixed`")
            if said["fixed"] < 0 < parameter.bounds[0]:
                raise UserError(f"{key}.{name}.fixed: {said['fixed']:g} is not allowed; allowed: 0 and above")
            parameters[name] = replace(parameter, fixed=float(said["fixed"]))
            continue
        bounds = tuple(map(float, said.get("bounds", parameter.bounds)))
        if not bounds[0] < bounds[1]:
            raise UserError(f"{key}.{name}.bounds: the lower bound {bounds[0]:g} is not below the upper {bounds[1]:g}")
        if not all(map(math.isfinite, bounds)):
            raise UserError(f"{key}.{name}: fitting it needs bounds; give `bounds: [low, high]`")
        if bounds[0] < 0 < parameter.bounds[0]:
            raise UserError(f"{key}.{name}.bounds: {bounds[0]:g} is not allowed; allowed: 0 and above")
        # If only bounds are given, clip the initial value into them.
        initial = float(said.get("initial", np.clip(parameter.initial, *bounds)))
        if not bounds[0] <= initial <= bounds[1]:
            raise UserError(
                f"{key}.{name}.initial: {initial:g} is outside the bounds; allowed: {bounds[0]:g} to {bounds[1]:g}"
            )
        parameters[name] = replace(parameter, initial=initial, bounds=bounds, fixed=None)
    fitted = replace(model, parameters=parameters)
    if not fitted.fitted:
        raise UserError(f"{key}: all parameters of {model.name} are fixed; leave one to fit")
    return fitted


def parameter_settings(model: KineticModel) -> dict[str, dict[str, Any]]:
    """What `with_settings` takes to give this model: every parameter with its value or initial value and bounds."""
    return {
        name: {"fixed": parameter.fixed}
        if parameter.fixed is not None
        else {"initial": parameter.initial, "bounds": list(parameter.bounds)}
        for name, parameter in model.parameters.items()
    }


def _numeric_slopes(
    function: Callable[..., Float], t: Float, values: Mapping[str, Float], parameters: Mapping[str, Parameter]
) -> dict[str, Float]:
    """Derivatives by central differences, for a user's model without a jacobian."""
    slopes = {}
    for name, parameter in parameters.items():
        low, high = parameter.bounds
        size = np.abs(values[name])
        if low <= 0:  # may pass through 0, where its own size says nothing
            size = np.maximum(size, 1e-3 * (high - low) if math.isfinite(high - low) else 1.0)
        above, below = values[name] + 6e-6 * size, values[name] - 6e-6 * size
        difference = function(t, **{**values, name: above}) - function(t, **{**values, name: below})
        slopes[name] = difference / (above - below)
    return slopes
