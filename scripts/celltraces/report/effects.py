"""Estimate by how much two samples differ, with fields of view as the independent unit.

Cells of a FOV share its focus, light, density and history, so that they are no independent repetitions: intervals that
count cells are far too narrow. Here each FOV is one number, the mean of its cells. Where datasets hold FOVs of both
samples, the samples are compared within each dataset, so that what differs between datasets (days) cancels out; each
dataset counts once. docs/comparison.md has the formulas and references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
ROUNDING = 1e-12  # of the largest mean: a scatter between FOVs that is none

Means = Mapping[str, np.ndarray]
"""The means of a sample's FOVs, (fovs,) float64, by dataset."""


class Estimate(NamedTuple):
    """A value with its interval; NaN where there is none."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan


NONE = Estimate()


@dataclass(frozen=True)
class Effect:
    """By how much a sample differs from a reference."""

    difference: Estimate = NONE  # FOVs are the unit
    degrees: float = np.nan  # of freedom
    method: str = ""  # of the interval; "" where there is none
    by_datasets: Estimate = NONE  # datasets are the unit
    ratio: Estimate = NONE  # of geometric means over FOVs
    standardised: Estimate = NONE  # Hedges' g: the difference in standard deviations between FOVs
    n_fovs: tuple[int, int] = (0, 0)  # that are compared: of the reference, of the sample
    datasets: tuple[Sequence[str], Sequence[str]] = ((), ())  # that are compared
    notes: Sequence[str] = field(default_factory=tuple)  # why there is no interval, and what to mind


class _Scatter(NamedTuple):
    """Strata of FOV means: their difference, and how means of one side scatter within strata."""

    difference: float
    squares: tuple[float, float]  # sums of squares of each side
    degrees: tuple[int, int]
    weights: tuple[float, float]  # variance of the mean of strata, per variance of a FOV


def effect_of_sample(reference: Means, sample: Means) -> Effect:
    """The effect of `sample` against `reference`; FOVs without a number are to be left out before."""
    reference, sample = ({name: means for name, means in side.items() if len(means)} for side in (reference, sample))
    if not reference or not sample:
        return Effect(notes=("one of the two has no FOV with a value",))
    shared = [name for name in reference if name in sample]
    notes = _notes(reference, sample, shared)
    if shared:
        reference, sample = ({name: side[name] for name in shared} for side in (reference, sample))
    difference, degrees, method, missing = _by_fovs(reference, sample)
    return Effect(
        difference=difference,
        degrees=degrees,
        method=method,
        by_datasets=_by_datasets(reference, sample),
        ratio=_ratio(reference, sample),
        standardised=_standardised(reference, sample) if method else NONE,
        n_fovs=(_count(reference), _count(sample)),
        datasets=(tuple(reference), tuple(sample)),
        notes=(*missing, *notes),
    )


def t_quantile(degrees: float) -> float:
    """By how many standard errors an interval of CONFIDENCE reaches to either side."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def _count(side: Means) -> int:
    return sum(map(len, side.values()))


def _notes(reference: Means, sample: Means, shared: Sequence[str]) -> list[str]:
    """What to mind about which datasets hold which sample."""
    if not shared:
        return ["no dataset holds both: what differs between datasets (day, staining, focus) is in the difference"]
    left = sum(len(side[name]) for side in (reference, sample) for name in side if name not in shared)
    return [f"{left} FOVs in datasets that hold only one of the two are left out"] if left else []


def _strata(reference: Means, sample: Means) -> list[tuple[np.ndarray, np.ndarray]]:
    """FOV means that are compared with each other: within each shared dataset, or all with all where none is shared."""
    if reference.keys() == sample.keys():
        return [(reference[name], sample[name]) for name in reference]
    return [(np.concatenate([*reference.values()]), np.concatenate([*sample.values()]))]


def _scatter(strata: Sequence[tuple[np.ndarray, np.ndarray]]) -> _Scatter:
    n = len(strata)
    sides = list(zip(*strata, strict=True))
    return _Scatter(
        float(np.mean([after.mean() - before.mean() for before, after in strata])),
        tuple(float(sum(np.sum((fovs - fovs.mean()) ** 2) for fovs in side)) for side in sides),
        tuple(sum(len(fovs) - 1 for fovs in side) for side in sides),
        tuple(float(sum(1 / len(fovs) for fovs in side)) / n**2 for side in sides),
    )


def _by_fovs(reference: Means, sample: Means) -> tuple[Estimate, float, str, list[str]]:
    """The difference of FOV means, degrees of freedom, the method, and why there is no interval.

    Each sample has a variance of its own, pooled over datasets (Welch; Satterthwaite's degrees of freedom). With one
    FOV of each in every dataset these are pairs.
    """
    strata = _strata(reference, sample)
    found = _scatter(strata)
    none = Estimate(found.difference)
    if min(found.degrees) < 1:
        pairs = _by_datasets(reference, sample) if len(strata) > 1 else NONE
        if np.isfinite(pairs.low):
            return pairs, len(strata) - 1, "paired by dataset", []
        return none, np.nan, "", ["no interval: it needs at least two FOVs of each of the two"]
    variances = [
        squares / degrees * weight
        for squares, degrees, weight in zip(found.squares, found.degrees, found.weights, strict=True)
    ]
    largest = max(np.abs(fovs).max() for stratum in strata for fovs in stratum)
    if sum(variances) <= (ROUNDING * largest) ** 2:
        return none, np.nan, "", ["no interval: all FOVs of a sample have the same value"]
    degrees = sum(variances) ** 2 / sum(v**2 / d for v, d in zip(variances, found.degrees, strict=True))
    method = "Welch" if len(strata) == 1 else "Welch within datasets"
    return _interval(found.difference, sum(variances), degrees), degrees, method, []


def _interval(value: float, variance: float, degrees: float) -> Estimate:
    half = t_quantile(degrees) * np.sqrt(variance)
    return Estimate(value, value - half, value + half)


def _by_datasets(reference: Means, sample: Means) -> Estimate:
    """The difference with datasets as the unit: pairs where they hold both samples, else the datasets' means."""
    before, after = (np.array([fovs.mean() for fovs in side.values()]) for side in (reference, sample))
    if reference.keys() == sample.keys():
        pairs = after - before
        value, n = float(pairs.mean()), len(pairs)
        variances, counts = ([pairs.var(ddof=1) / n] if n > 1 else []), [n]
    else:
        value, counts = float(after.mean() - before.mean()), [len(before), len(after)]
        variances = [side.var(ddof=1) / len(side) for side in (before, after)] if min(counts) > 1 else []
    largest = max(np.abs(before).max(), np.abs(after).max())
    if not variances or sum(variances) <= (ROUNDING * largest) ** 2:
        return Estimate(value)
    degrees = sum(variances) ** 2 / sum(v**2 / (n - 1) for v, n in zip(variances, counts, strict=True))
    return _interval(value, sum(variances), degrees)


def _ratio(reference: Means, sample: Means) -> Estimate:
    """The same on logarithms; nothing where a FOV's mean is not above 0."""
    if any((fovs <= 0).any() for side in (reference, sample) for fovs in side.values()):
        return NONE
    logs = [{name: np.log(fovs) for name, fovs in side.items()} for side in (reference, sample)]
    return Estimate(*(float(np.exp(value)) for value in _by_fovs(*logs)[0]))


def _standardised(reference: Means, sample: Means) -> Estimate:
    """Hedges' g with the pooled standard deviation of FOV means within datasets, and its exact interval.

    The interval is that of the non-centrality of Student's t, for one variance of both samples.
    """
    from scipy.special import gammaln, nctdtrinc

    found = _scatter(_strata(reference, sample))
    degrees = sum(found.degrees)
    if min(found.degrees) < 1 or sum(found.squares) <= 0:
        return NONE
    spread = np.sqrt(sum(found.squares) / degrees)
    error = np.sqrt(sum(found.weights))  # of the difference, in standard deviations
    unbiased = np.exp(gammaln(degrees / 2) - gammaln((degrees - 1) / 2)) / np.sqrt(degrees / 2)
    t = found.difference / (spread * error)
    tails = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2
    low, high = (float(nctdtrinc(degrees, tail, t)) for tail in tails)
    return Estimate(*(float(unbiased * error * value) for value in (t, low, high)))
