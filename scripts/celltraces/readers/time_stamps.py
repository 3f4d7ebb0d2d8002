"""Turn the time stamps of all FOVs of a file into minutes since the file's first frame."""

from __future__ import annotations

import numpy as np

FEW_BAD = 0.05  # share of the frames of a FOV whose stamps may be bad, one of them in any case
LEAST_STAMPS = 5  # of fewer frames nobody knows which stamp is bad


def on_one_clock(stamps_s: np.ndarray, starts_s: np.ndarray, periods_s: np.ndarray) -> np.ndarray:
    """Return the stamps (F, T) s of FOVs as seconds since a moment that all share.

    stamps_s (F, T) float64 s; starts_s, periods_s (F,) s: when the acquisition of each FOV began, and its time from
    frame to frame, NaN where that is not told. By OME's rules stamps count from the start of the experiment, but those
    of positions that were recorded one after the other mostly count from the start of each. The stamps tell: the first
    ones are either as far apart as the starts, or alike. Without any stamps the frames of a FOV follow its start at its
    period; FOVs that all have the same need none.
    """
    later = starts_s - starts_s[0] if np.isfinite(starts_s).all() else np.zeros(len(starts_s))
    if not np.isfinite(stamps_s).any():
        alike = not later.any() and len(np.unique(periods_s)) == 1
        return stamps_s if alike else later[:, None] + periods_s[:, None] * np.arange(stamps_s.shape[1])
    known = np.isfinite(stamps_s).any(axis=1)
    first = np.array([stamps[np.isfinite(stamps)][0] for stamps in stamps_s[known]])
    return stamps_s + later[:, None] if np.ptp(first) < np.ptp(first - later[known]) else stamps_s


def usable(stamps_s: np.ndarray, taken: np.ndarray) -> bool:
    """Whether every frame that was taken has a stamp, after the one before; stamps_s (T,) seconds, taken (T,) bool."""
    stamps = stamps_s[taken]
    return bool(len(stamps) and np.isfinite(stamps).all() and (np.diff(stamps) > 0).all())


def trusted(stamps_s: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return the frames of each FOV whose stamp can be used; stamps_s (F, T) float64 seconds, taken (F, T) bool.

    All that were taken, less a few whose stamp is missing, or not after the one before, with good ones beside them: a
    single glitch of the clock shall not cost a FOV all its times. Of two stamps in the wrong order that one is left out
    without which the pace is more even. Where more are bad, which of them are right nobody knows: then the FOV is as it
    was, and not usable.
    """
    result = taken.copy()
    for fov, stamps in enumerate(stamps_s):
        every = np.flatnonzero(taken[fov])
        if len(every) < LEAST_STAMPS or usable(stamps, taken[fov]):
            continue
        few = max(1, int(len(every) * FEW_BAD))
        kept = every[np.isfinite(stamps[every])]
        while len(every) - len(kept) <= few and (wrong := np.flatnonzero(np.diff(stamps[kept]) <= 0)).size:
            without = [np.delete(kept, at) for at in (wrong[0], wrong[0] + 1)]
            paces = [np.diff(stamps[rest]) / np.diff(rest) for rest in without]
            kept = without[int(np.argmin([np.abs(pace - np.median(pace)).sum() for pace in paces]))]
        bad = np.flatnonzero(~np.isin(every, kept))
        if len(bad) <= few and (np.diff(bad) > 2).all():
            result[fov, every[bad]] = False
    return result


def minutes_since_first(
    stamps_s: np.ndarray, taken: np.ndarray, there: np.ndarray | None = None
) -> list[list[float] | None]:
    """Return the times of the frames of each FOV in minutes since the first frame of the file, None where unknown.

    stamps_s (F, T) float64 seconds since any one moment; taken (F, T) bool, the frames that exist or, where `there`
    tells of these, those whose stamp can be read. A FOV has times if its stamps are usable (see above). Other frames
    get a time between, or beyond, their neighbours': at the pace of the FOV with most frames, since a pause of the
    microscope is a pause of all FOVs.
    """
    good = [fov for fov in range(len(stamps_s)) if usable(stamps_s[fov], taken[fov])]
    if not good:
        return [None] * len(stamps_s)
    most = max(good, key=lambda fov: int(taken[fov].sum()))
    pace = _at_own_pace(stamps_s[most], taken[most])
    seconds = {}
    for fov in good:
        own = _at_own_pace(stamps_s[fov], taken[fov])
        if pace is not None and not taken[fov].all():
            like_others = _at_pace_of(stamps_s[fov], taken[fov], pace)
            own = like_others if (np.diff(like_others) > 0).all() else own
        if own is not None:
            seconds[fov] = own
    if not seconds:
        return [None] * len(stamps_s)
    there = taken if there is None else there
    begun = [own[there[fov]][0] for fov, own in seconds.items()]
    # frame 0 may have been taken in no FOV
    start = min(begun) if any(there[fov][0] for fov in seconds) else min(own[0] for own in seconds.values())
    return [
        # a microminute is finer than any stamp, and keeps the JSON of long movies short
        np.round((seconds[fov] - start) / 60.0, 6).tolist() if fov in seconds else None
        for fov in range(len(stamps_s))
    ]


def _at_own_pace(stamps_s: np.ndarray, taken: np.ndarray) -> np.ndarray | None:
    """Return the time of every frame of one FOV (T,) s; None where a single stamp stands for several frames."""
    frames, stamps = np.flatnonzero(taken), stamps_s[taken]
    if len(frames) == len(taken):
        return stamps
    if len(frames) < 2:
        return None
    step = float(np.median(np.diff(stamps) / np.diff(frames)))
    every = np.arange(len(taken))
    before, after = np.minimum(every - frames[0], 0), np.maximum(every - frames[-1], 0)
    return np.interp(every, frames, stamps) + step * (before + after)


def _at_pace_of(stamps_s: np.ndarray, taken: np.ndarray, pace: np.ndarray) -> np.ndarray:
    """Return the time of every frame (T,) s; those not taken are as far from `pace` (T,) s as those around."""
    frames = np.flatnonzero(taken)
    filled = pace + np.interp(np.arange(len(taken)), frames, stamps_s[frames] - pace[frames])
    filled[frames] = stamps_s[frames]
    return filled


def senseless(stamps_s: np.ndarray, taken: np.ndarray) -> list[list[int]]:
    """Return, for each FOV, the frames whose stamp is missing or not after all before it; arguments as above.

    A FOV without any stamp has none of them, unless another FOV of the file has stamps: then all its frames lack one.
    These frames get a time between their neighbours' where they are few (see `trusted`). With more of them the stamps
    of the FOV are not used at all: we cannot tell which are right.
    """
    good = trusted(stamps_s, taken)
    known = taken & np.isfinite(stamps_s)
    if not known.any():
        return [[] for _ in stamps_s]
    stamps = np.where(known, stamps_s, -np.inf)
    before = np.maximum.accumulate(np.column_stack([np.full(len(stamps), -np.inf), stamps]), axis=1)[:, :-1]
    after_all = known & (stamps_s > before)
    repaired = (good != taken).any(axis=1)
    return [np.flatnonzero(row).tolist() for row in taken & ~np.where(repaired[:, None], good, after_all)]
