"""Check the times of frames: gaps, planned changes of the interval, times that are only assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

PLANNED = 3  # as many intervals of the same length, one after the other, were planned
ALIKE = 1.5  # factor within which intervals are of the same length
STEADY = 0.8  # of the intervals of a movie without planned changes are alike, at least; others may be pauses
FASTER = 0.5  # of the period that a file declares: stamps that follow each other faster than that contradict it
UNITS, SAME_FACTOR = (60.0, 1000.0, 60_000.0), 0.02  # factors between units of time, and how exactly they are met
NO_DELAY_MIN = 1e-2 / 60  # a shorter period says: as fast as it goes
VISIT_MIN = 0.1 / 60  # minutes that a stage and a camera need for a FOV at least
FEWEST_VISITS = 5  # FOVs
FEWEST_CELLS = 5  # of which the usual speed is taken


def gaps(times_min: Sequence[float], factor: float) -> Iterator[tuple[int, float]]:
    """Return each frame after a pause, and how many times longer than usual the interval before it is.

    times_min (T,): the time of each frame. An interval is a pause if it is more than `factor` times the interval that
    is usual there: that of the run of like intervals that it belongs to, else the longer of those of the runs before
    and after. A movie may have several runs (an interval of 1 min, later of 10 min); without any the median counts.
    Like pauses at like distances were planned, too: frames taken in bursts.
    """
    steps = np.diff(np.array(times_min, float))
    runs = list(_runs(steps))
    usual = np.full(len(steps), np.median(steps) if len(steps) else np.nan)
    for at in range(len(steps)):
        before = [run for run in runs if run[0] <= at][-1:]
        after = [run for run in runs if run[1] > at][:1]
        around = before if before == after else before + after
        if around:
            usual[at] = max(float(np.median(steps[begin:end])) for begin, end in around)
    found = np.flatnonzero(steps > factor * usual)
    evenly_spaced = len(found) >= PLANNED and len(set(np.diff(found).tolist())) == 1
    if evenly_spaced and steps[found].max() <= ALIKE * steps[found].min():
        return
    for at in found.tolist():
        yield at + 1, float(steps[at] / usual[at])


def _runs(steps: np.ndarray) -> Iterator[tuple[int, int]]:
    """Return begin and end (half-open) of the runs of at least PLANNED like intervals; steps (n,)."""
    begin = 0
    for at in range(1, len(steps) + 1):
        if at < len(steps):
            low, high = min(steps[begin:at].min(), steps[at]), max(steps[begin:at].max(), steps[at])
            if high <= ALIKE * low:
                continue
        if at - begin >= PLANNED:
            yield begin, at
        begin = at


def assumed(
    times_min: Sequence[float],
    source: str,
    place: Mapping[str, Any],
    others_have_stamps: bool,
    period_min: float | None = None,
) -> Iterator[tuple[str, float, float | None]]:
    """Return what is guessed about the times of a FOV: name of the check, value, limit; both in minutes.

    times_min (T,) and source: as planning.frame_times gives them. place: the FOV as the file describes it (Movie.fovs).
    `time_assumed`: frames are taken to follow each other at one interval (value), which the file does not say, or says
    although it has stamps that cannot be used; then the FOV is taken to begin with the first frame of the file as well.
    `time_mapping`: it gives all FOVs the same times, although this one began later (value) than the file's first frame,
    by more than an interval (limit). `time_units`: stamps follow each other at an interval (value) that the period of
    the file (limit, `period_min`) contradicts, or `time_mapping` at one of which the stamps' (limit) is a unit of time
    away: one of them is in another unit.
    """
    if len(times_min) < 2:
        return
    steps = np.diff(times_min)
    interval = float(np.median(steps))
    stamps_unused = bool(place["senseless_stamps"]) or others_have_stamps
    if source == "frame_interval" or (source == "file period" and stamps_unused):
        yield "time_assumed", interval, None
    if source == "file time stamps" and period_min and _steady(steps) and _contradict(interval, period_min):
        yield "time_units", interval, period_min
    stamps = place["times_min"] or ()
    if source == "time_mapping" and len(stamps) > 1:
        by_stamps = float(np.median(np.diff(stamps)))
        if in_other_unit(interval, by_stamps) or in_other_unit(by_stamps, interval):
            yield "time_units", interval, by_stamps
    later = place["times_min"][0] if place["times_min"] else 0.0
    if source == "time_mapping" and later > interval:
        yield "time_mapping", later, interval


def _steady(steps: np.ndarray) -> bool:
    """Whether frames follow each other at one interval. Where it was to change, a declared period is that of a part."""
    usual = np.median(steps)
    return bool(np.mean((steps <= ALIKE * usual) & (usual <= ALIKE * steps)) >= STEADY)


def _contradict(interval: float, period: float) -> bool:
    """Whether frames follow each other faster than planned, or slower by the factor between two units."""
    return interval < FASTER * period or (period > NO_DELAY_MIN and in_other_unit(interval, period))


def in_other_unit(long: float, short: float, units: Sequence[float] = UNITS) -> bool:
    """Whether one interval is so many times the other as one unit of time is of another (`units`)."""
    return any(abs(long - unit * short) < SAME_FACTOR * unit * short for unit in units)


def too_fast(times_min: Mapping[int, Sequence[float]]) -> tuple[float, float] | None:
    """The interval of a file, and the least that a microscope needs to visit so many FOVs, if that is longer.

    times_min: by FOV. Both in minutes. Only where all FOVs were visited one after the other in each frame.
    """
    starts = np.array([times[0] for times in times_min.values() if len(times) > 1])
    if len(starts) < FEWEST_VISITS or (np.diff(starts) <= 0).any():
        return None
    interval = float(np.median(np.concatenate([np.diff(times) for times in times_min.values()])))
    least = VISIT_MIN * len(starts)
    return (interval, least) if starts[-1] - starts[0] < interval < least else None


def speeds(middles: np.ndarray, times_min: Sequence[float], pixel_size_um: float) -> tuple[float, float] | None:
    """How fast cells go from frame to frame, and over a quarter of the movie: um per minute, each on average.

    middles (N, T, 2): where cells are, px, NaN where they are not. What all do together (the stage) is taken away. The
    first is more than the truth, since outlines jitter; over many frames that counts little. None: too few cells.
    """
    n_frames = middles.shape[1]
    found = []
    for lag in (1, max(n_frames // 4, 1)):
        if lag >= n_frames:
            return None
        steps = middles[:, lag:] - middles[:, :-lag]
        minutes = np.array(times_min[lag:]) - np.array(times_min[:-lag])
        known = np.isfinite(steps[..., 0])
        steps = steps[:, (known.sum(axis=0) >= FEWEST_CELLS) & (minutes > 0)]
        minutes = minutes[(known.sum(axis=0) >= FEWEST_CELLS) & (minutes > 0)]
        if not steps.size:
            return None
        ways = np.hypot(*np.moveaxis(steps - np.nanmedian(steps, axis=0), -1, 0)) / minutes
        found.append(float(np.nanmedian(np.nanmean(ways, axis=0))) * pixel_size_um)
    return found[0], found[1]
