"""Kinetic models: against arithmetic with 80 digits and the differential equations they solve; what a user may say."""

import re
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from celltraces.errors import UserError
from celltraces.kinetics import models

getcontext().prec = 80
TINY = Decimal("1e-22")


def decimal_two_steps(t, a, b):
    """(exp(-a t) - exp(-b t)) / (b - a) with so many digits that equal rates may be made to differ a little."""
    b = b + TINY if a == b else b
    return ((-a * t).exp() - (-b * t).exp()) / (b - a)


def decimal_maturation(t, t0, ktl, km, delta, beta, offset, scale):
    """PyAMA's formula, term by term."""
    dt = t - t0
    if dt <= 0:
        return scale * offset
    gap = beta - (delta + TINY if delta in (beta, beta + km) else delta)
    delta = beta - gap
    sum_of_three = (
        (-(beta + km) * dt).exp() / (gap + km)
        - (-beta * dt).exp() / gap
        + km / (gap * (gap + km)) * (-delta * dt).exp()
    )
    return scale * (ktl * sum_of_three + offset)


def decimal_trivial(t, t0, ktl, delta, beta, offset):
    dt = t - t0
    if dt <= 0:
        return offset
    gap = delta - beta or TINY
    return offset + ktl / gap * (1 - (-gap * dt).exp()) * (-beta * dt).exp()


def decimal_exponential_decay(t, t0, amplitude, decay_rate, offset):
    return offset + amplitude * (-decay_rate * max(t - t0, Decimal(0))).exp()


ORACLES = {
    "maturation": decimal_maturation,
    "trivial": decimal_trivial,
    "exponential_decay": decimal_exponential_decay,
}


def decimal_slopes(oracle, t, parameters):
    """Derivatives by central differences, exact to some 1e-30."""
    step = Decimal("1e-30")
    for name in parameters:
        above, below = ({**parameters, name: parameters[name] + sign * step} for sign in (1, -1))
        yield name, (oracle(t, **above) - oracle(t, **below)) / (2 * step)


rates = st.floats(1e-5, 30)
# Rates that are equal, nearly equal, or equal but for the maturation rate.
distances = st.sampled_from([0.0, 1e-15, 1e-12, 1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]) | st.floats(0, 5)


@settings(max_examples=300, deadline=None)
@given(t=st.floats(1e-3, 100), a=rates, distance=distances, sign=st.sampled_from([-1, 1]))
def test_the_kernel_keeps_ten_digits_whatever_the_rates(t, a, distance, sign):
    b = max(a + sign * distance, 1e-5)
    amount, by_t, by_a, by_b = (x[0] for x in models.two_steps_slopes(np.array([t]), a, b))
    exact = [Decimal(x) for x in (t, a, b)]
    assert float(decimal_two_steps(*exact)) == pytest.approx(amount, rel=1e-10, abs=1e-300)
    if a != b:
        slopes = decimal_slopes(decimal_two_steps, exact[0], {"a": exact[1], "b": exact[2]})
        for (_, slope), ours in zip(slopes, (by_a, by_b), strict=True):
            assert float(slope) == pytest.approx(ours, rel=1e-10, abs=1e-300)
    # By time it passes through 0 at the maximum.
    by_t_exact = (-exact[2] * exact[0]).exp() - exact[1] * decimal_two_steps(*exact)
    assert float(by_t_exact) == pytest.approx(by_t, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("near", ["delta = beta", "delta = beta + km", "km = delta - beta, all slow"])
@pytest.mark.parametrize("distance", [0.0, 1e-14, 1e-11, 1e-8, 1e-6, 1e-4, 1e-2])
def test_maturation_has_ten_digits_where_the_formula_divides_by_zero(near, distance):
    km, beta = (1.28, 5.22e-3) if "slow" not in near else (0.02, 0.01)
    delta = (beta if near == "delta = beta" else beta + km) + distance
    check_model(
        "maturation", {"t0": 0.25, "ktl": 1e3, "km": km, "delta": delta, "beta": beta, "offset": 3.0, "scale": 2.0}
    )


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(sorted(ORACLES)),
    slow=st.floats(1e-5, 10),
    fast=st.floats(1e-5, 10),
    km=st.floats(0.05, 30),
    t0=st.floats(-1, 3),
)
def test_models_and_their_slopes_are_the_formulas(model, slow, fast, km, t0):
    rates = {"delta": fast, "beta": slow, "km": km, "decay_rate": fast, "t0": t0, "ktl": 500.0, "offset": -20.0}
    names = models.MODELS[model].parameters
    check_model(model, {name: rates.get(name, 2.0) for name in names})


def check_model(name, parameters):
    """Curve and slopes to 1e-10 of the largest at any of the times (curves start at 0, where no digit is relative)."""
    model, oracle = models.MODELS[name], ORACLES[name]
    times = parameters["t0"] + np.array([-0.5, 0.02, 0.3, 1.0, 2.5, 7.0, 29.0])
    curve, slopes = model.slopes(times, **parameters)
    np.testing.assert_array_equal(curve, model.curve(times, **parameters))
    exact = {key: Decimal(float(value)) for key, value in parameters.items()}
    instants = [Decimal(float(t)) for t in times]
    assert_close(curve, [oracle(t, **exact) for t in instants])
    by_time = [dict(decimal_slopes(oracle, t, exact)) for t in instants]
    # Where the oracle itself moves the rates apart, its derivatives by them hold but for the distance.
    for key in parameters:
        assert_close(np.broadcast_to(slopes[key], times.shape), [each[key] for each in by_time])


def assert_close(ours, exact):
    exact = np.array([float(value) for value in exact])
    np.testing.assert_allclose(ours, exact, rtol=1e-10, atol=1e-11 * np.abs(exact).max())


def test_maturation_solves_its_differential_equations():
    ktl, km, delta, beta = 120.0, 1.28, 0.8, 0.03
    times = np.linspace(0.0, 30.0, 61)

    def change(_, state):
        mrna, young, mature = state
        return [-delta * mrna, ktl * mrna - (beta + km) * young, km * young - beta * mature]

    solved = solve_ivp(change, (0, 30), [1, 0, 0], t_eval=times, rtol=1e-10, atol=1e-10)
    curve = models.maturation(times + 0.7, 0.7, ktl, km, delta, beta, 5.0, 1.0)
    np.testing.assert_allclose(curve, solved.y[2] + 5.0, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_everything_is_finite_everywhere(name):
    model = models.MODELS[name]
    times = np.array([-1e3, -1.0, 0.0, 1e-300, 1e-9, 1.0, 1e3, 1e9])
    ends = {key: [*parameter.bounds, parameter.initial] for key, parameter in model.parameters.items()}
    for pick in np.ndindex(*[3] * len(ends)):
        values = {key: ends[key][which] for key, which in zip(ends, pick, strict=True)}
        curve, slopes = model.slopes(times, **values)
        assert np.isfinite(curve).all(), values
        assert all(np.isfinite(slope).all() for slope in slopes.values()), values


def test_before_the_onset_there_is_only_the_offset():
    times = np.array([-2.0, 0.0, 0.5])
    curve, slopes = models.MODELS["maturation"].slopes(
        times, t0=0.5, ktl=1e3, km=1.28, delta=0.1, beta=0.01, offset=7.0, scale=1.0
    )
    np.testing.assert_array_equal(curve, 7.0)
    for name in ("t0", "ktl", "km", "delta", "beta"):
        np.testing.assert_array_equal(slopes[name], 0.0)


# ---------------------------------------------------------------------------------------- what a user may say

USERS = """
import numpy as np

def pulse(t, height, centre, width):
    return height * np.exp(-(((t - centre) / width) ** 2))

pulse.parameters = {
    "height": {"initial": 100, "bounds": [0, 1e6], "unit": "counts", "linear": True},
    "centre": {"initial": 0, "bounds": [-10, 10], "unit": "h"},
    "width": {"fixed": 2},
}

def bare(t, a):
    return a * t

def other(t, a):
    return a * t

other.parameters = {"b": {"fixed": 1}}
"""


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(USERS)
    return path


def test_a_model_of_the_users_own(users):
    model = models.find_model(f"{users}:pulse")
    assert (model.name, model.fitted) == ("pulse", ("height", "centre"))
    values = {"height": np.array([[50.0], [8.0]]), "centre": np.array([[0.0], [3.0]]), "width": 2.0}
    times = np.linspace(-5, 5, 11)
    curve, slopes = model.slopes(times, **values)
    np.testing.assert_allclose(slopes["height"] * values["height"], curve, rtol=1e-6)
    expected = curve * 2 * (times - values["centre"]) / values["width"] ** 2
    np.testing.assert_allclose(slopes["centre"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("maturated", "fits.0.model: 'maturated' is none of maturation, trivial, exponential_decay, path/to/file.py:"),
        ("no.py:pulse", "fits.0.model: the file 'no.py' does not exist"),
        ("FILE:nothing", "fits.0.model: there is no function 'nothing' in"),
        ("FILE:bare", "has no parameters; set bare.parameters, a dict"),
        ("FILE:other", "takes a but declares b"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_line(users, model, line):
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        models.find_model(model.replace("FILE", str(users)), "fits.0.model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            {"kd": {"fixed": 1}},
            "p.kd: maturation has no such parameter; it has t0, ktl, km, delta, beta, offset, scale",
        ),
        ({"km": {"fixed": 1, "initial": 2}}, "p.km: `fixed` stands alone"),
        ({"km": {"fixed": -1}}, "p.km.fixed: -1 is not allowed; allowed: 0 and above"),
        ({"delta": {"bounds": [2, 1]}}, "p.delta.bounds: the lower bound 2 is not below the upper 1"),
        ({"delta": {"bounds": [-2, 1]}}, "p.delta.bounds: -2 is not allowed"),
        ({"delta": {"initial": 20}}, "p.delta.initial: 20 is outside the bounds; allowed: 1e-05 to 11"),
        ({"t0": {"initial": 3, "bounds": [0, 2]}}, "p.t0.initial: 3 is outside the bounds; allowed: 0 to 2"),
        (
            {name: {"fixed": 1} for name in ("t0", "ktl", "delta", "offset")},
            "p: all parameters of maturation are fixed",
        ),
    ],
)
def test_a_mistake_in_the_parameters_is_one_line(said, line):
    with pytest.raises(UserError, match=re.escape(line)):
        models.with_settings(models.MODELS["maturation"], said, "p")


def test_the_example_of_the_documents_is_a_model(tmp_path):
    text = (Path(__file__).parents[1] / "docs/plugins.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "blocked.parameters" in block)
    (tmp_path / "my_models.py").write_text(code, encoding="utf-8")
    model = models.find_model(f"{tmp_path / 'my_models.py'}:blocked")
    assert model.fitted == ("mature", "young", "beta")
    values = {"t0": 1.0, "mature": 10.0, "young": 5.0, "km": 1e3, "beta": 0.0, "offset": 2.0}
    np.testing.assert_allclose(model.curve(np.array([0.0, 2.0]), **values), [12.0, 17.0])


def test_settings_fix_free_and_narrow():
    said = {"km": {"bounds": [1, 2]}, "beta": {"fixed": 0}, "t0": {"bounds": [0.5, 3]}}
    model = models.with_settings(models.MODELS["maturation"], said)
    assert model.fitted == ("t0", "ktl", "km", "delta", "offset")
    assert model.parameters["km"].initial == 1.28
    assert model.parameters["t0"].initial == 0.5  # the default, 0, lies outside
    assert model.parameters["beta"].fixed == 0
    again = models.with_settings(models.MODELS["maturation"], models.parameter_settings(model))
    assert again.parameters == model.parameters


def test_the_documents_show_every_parameter_with_its_defaults():
    text = (Path(__file__).parents[1] / "docs/fitting.md").read_text(encoding="utf-8")
    for model in models.MODELS.values():
        section = text.split(f"\n### {model.name}\n")[1].split("\n#")[0]
        rows = re.findall(r"^\| `(\w+)` \| (\S*) \| (\S+) \| (\S+) to (\S+) \|", section, re.MULTILINE)
        shown = {name: (unit, value, (float(low), float(high))) for name, unit, value, low, high in rows}
        assert set(shown) == set(model.parameters)
        for name, parameter in model.parameters.items():
            unit, value, bounds = shown[name]
            assert (unit, bounds) == (parameter.unit, parameter.bounds), name
            assert value.startswith("**") == (parameter.fixed is not None), name
            assert float(value.strip("*")) == parameter.initial, name
