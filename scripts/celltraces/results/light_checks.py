"""Tell from the statistics of frames what a channel is not: fluorescence, light at all, or exposed as in other FOVs.

The brightness of the bright half of an image against its dark half tells kinds of images apart: how far the mean lies
above the background (the value that a tenth of the pixels do not exceed), by how far the darkest pixels lie below it.
It is 0.7 in noise alone, more where cells shine, and less where things are darker than what is around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

Statistics = Mapping[str, np.ndarray]
"""By name (T,) float64 each, NaN where there is no frame."""

DARK_STRUCTURE = 0.5  # of phase contrast 0.05 to 0.4, of noise 0.7, of fluorescence 0.75 and more
EVENLY_BRIGHT = 0.85  # of the mean, the background of phase contrast at least
FLUORESCENT = 0.7
BRIGHT_ON_DARK = 1.0  # of phase contrast only where dark cells fill it; of fluorescence with cells that stand out
FEW_BRIGHT = 1.0  # standard deviations from the background to the mean, at most; where dark cells fill it, 1.5
NOISE = (0.6, 0.9)
LIT = 8.0  # usual scatters from frame to frame, by which a frame with light stands out of noise
LIT_LIKE = 5.0  # the same of the likeness of two frames, and UNLIKE at least
UNLIKE = 0.05  # correlation of pictures of noise alone is lower
FEWEST_LIKE = 4  # pairs of frames
FEWEST_FOVS = 5
SPREADS = 6.0  # times the usual difference of FOVs
LEAST = 0.75  # of the factor, in logarithms: an offset hides the rest
AS_OTHER = 0.25  # of the distance of two channels' backgrounds, in logarithms: one is as the other
END_FRAMES = 3  # frames at the beginning and end of a movie, at least
CONFLUENT = 0.5  # share of the field that cells cover: with more the background is not seen by a tenth of the pixels


def balance(statistics: Statistics) -> np.ndarray:
    """How far the mean lies above the background, by how far the darkest pixels lie below it: (T,) float64."""
    below = statistics["low"] - statistics["floor"]
    return (statistics["mean"] - statistics["low"]) / np.where(below > 0, below, np.nan)


def not_fluorescence(fovs: Sequence[Statistics]) -> float | None:
    """The balance of a channel in all frames of all FOVs that is as of phase contrast or bright field; else None."""
    values = np.concatenate([balance(of) for of in fovs])
    shares = np.concatenate([of["low"] / np.where(of["mean"] > 0, of["mean"], np.nan) for of in fovs])
    known = np.isfinite(values) & np.isfinite(shares)
    if not known.any() or (values[known] >= DARK_STRUCTURE).any() or (shares[known] < EVENLY_BRIGHT).any():
        return None
    return float(np.median(values[known]))


def is_like_fluorescence(fovs: Sequence[Statistics]) -> bool:
    """Whether the frames of all FOVs are usually bright on dark."""
    return _usual_balance(fovs) > FLUORESCENT


def not_phase_contrast(fovs: Sequence[Statistics]) -> float | None:
    """The usual balance of a channel that is bright on dark as only fluorescence is; else None."""
    usual = _usual_balance(fovs)
    return usual if usual > BRIGHT_ON_DARK else None


def _usual_balance(fovs: Sequence[Statistics]) -> float:
    """The median over all frames of all FOVs; 0 where none is known."""
    values = np.concatenate([balance(of) for of in fovs])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else 0.0


def has_few_bright(pixels: np.ndarray) -> bool:
    """Whether a few of the pixels (any shape) are bright, and not all but a few dark, as cells with bright gaps are."""
    low = np.percentile(pixels, 10)
    return bool(pixels.mean(dtype=np.float64) - low <= FEW_BRIGHT * pixels.std(dtype=np.float64))


def noise_alone(fovs: Sequence[Statistics], likeness: Sequence[Sequence[float | None]]) -> float | None:
    """How like frames are to the ones before, if all FOVs show noise alone (median of pairs); else None.

    In all frames: cells that light up in the last ones, or that go out after the first ones, are light. likeness: by
    FOV and frame, see frames.likeness.
    """
    medians = []
    for of, like in zip(fovs, likeness, strict=True):
        known, values = [value for value in like if value is not None], balance(of)
        values = values[np.isfinite(values)]
        if len(known) < FEWEST_LIKE or not len(values) or not NOISE[0] <= np.median(values) <= NOISE[1]:
            return None
        if _stands_out(values, LIT) or _stands_out(np.log1p(of["highest"] - of["low"]), LIT):
            return None
        if _stands_out(np.array(known), LIT_LIKE, UNLIKE):
            return None
        medians.append(float(np.median(known)))
    return max(medians) if medians and max(map(abs, medians)) < UNLIKE else None


def _stands_out(values: np.ndarray, scatters: float, least: float = 0.0) -> bool:
    """Whether any frame's value, (T,), is above what most have by so many scatters, and by `least`; how much they
    scatter their differences tell, since a few frames with light change few of them."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return False
    scatter = 1.4826 / 2**0.5 * float(np.median(np.abs(np.diff(known))))
    return bool(known.max() > np.quantile(known, 0.25) + max(scatters * scatter, least))


def _levels(fovs: Mapping[int, Statistics], offset: float) -> dict[int, float]:
    """The usual background of each FOV above the camera's offset, in counts; only FOVs where it is above 0."""
    levels = {fov: _usual(of["low"]) - offset for fov, of in fovs.items()}
    return {fov: level for fov, level in levels.items() if level > 0}


def exposed_otherwise(
    fovs: Mapping[int, Statistics], covered: Mapping[int, float], factor: float, offset: float = 0.0
) -> Iterator[tuple[int, float]]:
    """FOVs whose background is brighter or darker than that of the others, which are alike: by how much.

    covered: share of the field that cells cover, where it is known; FOVs with many are passed over. offset: the
    camera's, in counts; where it is more than that the value is too near to 1.
    """
    levels = {fov: level for fov, level in _levels(fovs, offset).items() if covered.get(fov, 0.0) < CONFLUENT}
    if len(levels) < FEWEST_FOVS:
        return
    logs = np.log(list(levels.values()))
    away = logs - np.median(logs)
    usual = 1.4826 * float(np.median(np.abs(away)))
    least = max(LEAST * np.log(factor), SPREADS * usual)
    struck = np.abs(away) >= least
    if 4 * np.count_nonzero(struck) > len(away):  # several groups of FOVs, as in several media
        return
    noise = {fov: float(np.nanmedian(fovs[fov]["low"] - fovs[fov]["floor"])) for fov in levels}
    usual_noise = float(np.median(list(noise.values())))
    for fov, is_struck, change in zip(levels, struck, away, strict=True):
        # where cells cover what seems to be the background, the darkest pixels lie far below it
        if is_struck and noise[fov] <= 1.5 * usual_noise * max(float(np.exp(change)), 1.0):
            yield fov, float(np.exp(change))


def drift(fovs: Mapping[int, Statistics], covered: Mapping[int, float], offset: float = 0.0) -> float | None:
    """By what factor the background of a channel changes gradually from the first tenth of the frames to the last, in
    nearly all FOVs alike; None where it does not, or nobody can tell.

    covered, offset: see exposed_otherwise. A step, as of another exposure, is not gradual.
    """
    changes = []
    for fov, of in fovs.items():
        low = of["low"][np.isfinite(of["low"])] - offset
        n = max(len(low) // 10, END_FRAMES)
        if len(low) < 4 * n or covered.get(fov, 0.0) >= CONFLUENT or (low <= 0).any():
            continue
        logs = np.log(low)
        first, middle, last = (float(np.median(part)) for part in (logs[:n], logs[n:-n], logs[-n:]))
        sudden = float(np.abs(np.diff(logs)).max()) > abs(last - first) / 2
        changes.append(last - first if min(first, last) < middle < max(first, last) and not sudden else 0.0)
    if not changes:
        return None
    usual = float(np.median(changes))
    alike = sum(change * usual > 0 and abs(change) > abs(usual) / 2 for change in changes)
    return float(np.exp(usual)) if usual and 4 * alike >= 3 * len(changes) else None


def backgrounds(channels: Mapping[str, Mapping[int, Statistics]], offset: float = 0.0) -> dict[str, dict[int, float]]:
    """The usual background of each FOV above the camera's offset, by channel and FOV; only where it is above 0."""
    return {name: _levels(fovs, offset) for name, fovs in channels.items()}


def noises(channels: Mapping[str, Mapping[int, Statistics]]) -> dict[str, dict[int, float]]:
    """The usual noise of each FOV, by channel and FOV; only where it is above 0."""
    usual = {name: {fov: _usual(of["noise"]) for fov, of in fovs.items()} for name, fovs in channels.items()}
    return {name: {fov: noise for fov, noise in fovs.items() if noise > 0} for name, fovs in usual.items()}


def _usual(values: np.ndarray) -> float:
    """The median of those that are known, (T,); 0 where none is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def exchanged_between(levels: Mapping[str, Mapping[int, float]], factor: float) -> Iterator[tuple[int, str, float]]:
    """FOVs of which two channels are exchanged: each has what the other one has in all other FOVs.

    levels: of fluorescence, by name and FOV, above 0: the background, the noise, or how unevenly light fills cells.
    Yields FOV, channel and by what factor it differs from its own level in the others, for both channels. The two have
    to differ by `factor`, and far more than FOVs differ from each other.
    """
    for one, other in combinations(levels, 2):
        both = [fov for fov in levels[one] if fov in levels[other]]
        if len(both) < FEWEST_FOVS:
            continue
        logs = np.log([[levels[name][fov] for fov in both] for name in (one, other)])
        usual = np.median(logs, axis=1)
        spread = 1.4826 * float(np.median(np.abs(logs - usual[:, None]), axis=1).sum())
        apart = abs(float(usual[0] - usual[1]))
        struck = (np.abs(logs - usual[::-1, None]) < AS_OTHER * apart).all(axis=0)
        if apart < max(np.log(factor), SPREADS * spread) or 4 * np.count_nonzero(struck) > len(both):
            continue
        for at in np.flatnonzero(struck).tolist():
            for row, name in enumerate((one, other)):
                yield both[at], name, float(np.exp(logs[row, at] - usual[row]))


def noisy(fovs: Mapping[int, Statistics], covered: Mapping[int, float], factor: float) -> Iterator[tuple[int, float]]:
    """FOVs with more or less noise than the others, which are alike: by which factor, at equal brightness.

    Light that is brighter has more noise, by the square root of what it is brighter (of what the darkest pixels have, a
    camera's offset counts as light, so that the factor may be too small). covered: see exposed_otherwise.
    """
    levels = {}
    for fov, of in fovs.items():
        noise, low = _usual(of["noise"]), _usual(of["low"])  # 0 where all frames are missing
        if noise > 0 and low > 0 and covered.get(fov, 0.0) <= CONFLUENT:
            levels[fov] = noise, low
    if len(levels) < FEWEST_FOVS:
        return
    noise, low = np.log(np.array([*levels.values()])).T
    away = noise - np.median(noise)
    usual = 1.4826 * float(np.median(np.abs(away)))
    brighter = np.abs(low - np.median(low)) / 2
    struck = np.abs(away) - brighter >= max(np.log(factor), SPREADS * usual)
    if 4 * np.count_nonzero(struck) <= len(levels):
        for fov, is_struck, change in zip(levels, struck, away, strict=True):
            if is_struck:
                yield fov, float(np.exp(change))
