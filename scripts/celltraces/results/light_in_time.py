"""Find frames of fluorescence whose light is that of other frames' cells, out of focus, or that of something else.

A frame that one channel lost, without a word in the file, makes all later ones too early or too late; two frames may be
exchanged. What each frame shows is told by light_on_cells; here the frames of a FOV are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from celltraces.results.cell_pixels import WIDE
from celltraces.results.light_on_cells import FEWEST, Channel, Scene, Sight

LATE = (-2, -1, 0, 1, 2)  # frames by which light and cells may differ from one frame on
PRICE = 12.0  # of a change of that, in logarithms of the odds
LIKELY, MOST = 1.5, 4.0  # standard errors that a frame of another time is expected to have, and that count at most
FEWEST_FRAMES = 4  # that tell so
ELSEWHERE = 3.0  # standard errors by which a frame fits other cells more than is usual: it is compared with all others
CLEARLY = 6.0  # the same with the frame that it is exchanged with
CANDIDATES = 6  # such frames that are compared, those that stand out most
NEIGHBOURS = 3  # frames before and after, with which one is compared
UNUSUAL = 5.0  # times the usual change from frame to frame
SURELY = 4.0  # standard errors
NEAR = 3  # frames: exchanged ones that are no farther apart are told by how the light of cells goes on
SMOOTHER = 6.0  # standard errors by which light goes on more smoothly if two frames are put back
STEADY = 0.05  # by which cells differ in that, at least
OUT_OF_PLACE = 2.0  # standard errors by which each of the two fits its own cells less than is usual
NOT_ITS_OWN = -1.5  # and by which it may still fit them better than the other one's
DRIFT = 3.0  # times the limit: a rise in the course of the movie
RIM = 0.6  # of the light in a cell, that of its outermost pixels: outlines that become narrower put it into the ring
BRIGHTER = 1.2  # factor by which a part of the background changes from one frame to the next


def lags_of(seen: Sequence[Sight | None]) -> list[int]:
    """How many frames later than its own the cells are that the light of each frame is on; 0 unless that is clear.

    The most likely course of lags (Viterbi): one holds until it changes, and every change has its price.
    """
    lags = np.array(LATE)
    score, back = np.where(lags == 0, 0.0, -PRICE), []
    for one in seen:
        change = score.max() - PRICE
        back.append(np.where(score >= change, np.arange(len(lags)), int(score.argmax())))
        score = np.maximum(score, change) + [_evidence(one, lag) for lag in LATE]
    course, at = [], int(score.argmax())
    for before in reversed(back):
        course.append(LATE[at])
        at = int(before[at])
    return course[::-1]


def late(seen: Sequence[Sight | None], lags: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Frames from which on the light is that of other frames' cells: the first, and how many frames later these are.

    lags: see lags_of.
    """
    begin = 0
    for frame in range(1, len(lags) + 1):
        if frame == len(lags) or lags[frame] != lags[begin]:
            telling = sum(_evidence(seen[at], lags[begin]) > 0 for at in range(begin, frame))
            if lags[begin] and telling >= FEWEST_FRAMES:
                yield begin, lags[begin]
            begin = frame


def _evidence(one: Sight | None, lag: int) -> float:
    """Logarithm of the odds that a frame's light is that of `lag` frames later, not of its own."""
    z = None if one is None or lag == 0 else one.fits.get(lag, one.fits.get(int(np.sign(lag))))
    return 0.0 if z is None else LIKELY * float(np.clip(z, -MOST, MOST)) - LIKELY**2 / 2


def exchanged_by_light(
    channel: Channel, seen: Sequence[Sight | None], lags: Sequence[int] | None = None
) -> Iterator[tuple[int, int]]:
    """Frames whose light is on the cells of another frame, and which; of two that are exchanged the first alone.

    Those that do not fit their own cells as well as is usual are laid over the cells of all frames. The other one must
    be one of them, or dark. lags: see lags_of; frames that are late are passed over.
    """
    best = {frame: max(one.fits.values()) for frame, one in enumerate(seen) if one is not None and one.fits}
    usual = min(float(np.median([*best.values()])), 0.0) if best else 0.0
    odd = [frame for frame, z in best.items() if z > usual + ELSEWHERE and not (lags and lags[frame])]
    found: dict[int, int] = {}
    for frame in sorted(sorted(odd, key=lambda frame: -best[frame])[:CANDIDATES]):
        scene = Scene(channel, frame)
        fits = {lag: scene.fit(lag) for lag in range(-frame, len(seen) - frame) if lag}
        lag = max(fits, key=lambda lag: np.nan_to_num(fits[lag], nan=-np.inf))
        if fits[lag] > CLEARLY and scene.mostly_better(lag):
            found[frame] = frame + lag
    for frame, other in found.items():
        if (other in odd or other not in best) and not (other < frame and found.get(other) == frame):
            yield frame, other


def near_exchanged(channel: Channel, seen: Sequence[Sight | None]) -> Iterator[tuple[int, int]]:
    """Frames at most NEAR apart whose light stands in each other's place.

    The light of nearly all cells goes on more smoothly with the two put back, and neither fits its own cells as frames
    usually do. (A lamp that flickers leaves the light on its cells; cells that only flash stay where they are.)
    """
    best = [max(one.fits.values()) for one in seen if one is not None and one.fits]
    usual = float(np.median(best)) if best else 0.0
    smoother = {pair: z for pair in _near_pairs(len(seen)) if (z := _smoother(seen, *pair)) is not None}
    if not smoother or usual > NOT_ITS_OWN - OUT_OF_PLACE / 2 or np.median([*smoother.values()]) > 0:
        return
    taken: set[int] = set()
    for (first, second), _ in sorted(smoother.items(), key=lambda item: -item[1]):
        if smoother[first, second] < SMOOTHER or {first, second} & taken:
            continue
        fits = [Scene(channel, at).fit(other - at) for at, other in ((first, second), (second, first))]
        if min(fits) > max(NOT_ITS_OWN, usual + OUT_OF_PLACE):
            taken |= {*range(first - 1, second + 2)}
            yield first, second


def _near_pairs(n_frames: int) -> Iterator[tuple[int, int]]:
    for first in range(1, n_frames - 2):
        yield from ((first, second) for second in range(first + 1, min(first + NEAR, n_frames - 2) + 1))


def _smoother(seen: Sequence[Sight | None], first: int, second: int) -> float | None:
    """By how many standard errors the light of cells goes on more smoothly with two frames put back; None: unknown."""
    order = [*range(first - 1, second + 2)]
    put_back = [{first: second, second: first}.get(at, at) for at in order]
    shown = [seen[at] for at in order]
    if any(one is None for one in shown):
        return None
    logs = {at: np.log(one.light) for at, one in zip(order, shown, strict=True) if one is not None}
    now, then = (
        sum((logs[later] - logs[earlier]) ** 2 for earlier, later in pairwise(frames)) for frames in (order, put_back)
    )
    known = np.isfinite(now + then)
    if np.count_nonzero(known) < FEWEST:
        return None
    gains = (now[known] - then[known]) / np.maximum(now[known] + then[known], 1e-9)
    return float(gains.mean()) * len(gains) ** 0.5 / max(float(gains.std()), STEADY)


def _narrower(before: Sight, now: Sight) -> float:
    """By how many px the outlines of cells that shine in both have become narrower, usually; 0 if they have not."""
    both = np.isfinite(before.areas) & np.isfinite(now.areas)
    radii = (np.sqrt(one.areas[both] / np.pi) for one in (before, now))
    return max(float(np.median(np.subtract(*radii))), 0.0) if both.any() else 0.0


def blurred_frames(seen: Sequence[Sight | None], limit: float) -> Iterator[tuple[int, float]]:
    """Frames in which, or from which on, more light lies beside the cells than before, and how much more.

    The share of the light in the ring around a cell has to rise by `limit` from one frame to the next, besides what
    narrower outlines explain, or by DRIFT times that in the course of the movie.
    """
    known = [(frame, one) for frame, one in enumerate(seen) if one and one.beside is not None]
    if len(known) < 2 * NEIGHBOURS:
        return
    values = np.array([one.beside for _, one in known])
    usual = UNUSUAL * float(np.median(np.abs(np.diff(values))))
    lowest, since = np.inf, 0
    for at in range(NEIGHBOURS, len(known)):
        if at - since < NEIGHBOURS:
            continue
        before, now = (float(np.median(values[end - NEIGHBOURS : end])) for end in (at, at + 1))
        lowest = min(lowest, before)
        following = values[at + 1 : at + 1 + NEIGHBOURS]
        if not len(following):
            return
        surely = max(limit, SURELY * known[at][1].spread)
        enough = max(surely, usual)
        narrower = max(_narrower(known[earlier][1], known[at][1]) for earlier in range(at - NEIGHBOURS, at))
        rise = float(values[at]) - before - RIM / WIDE * narrower
        back = float(values[at]) - float(np.median(following))
        if rise > enough and (back > enough or back < enough / 2):  # in it alone, or from it on
            yield known[at][0], rise
        elif now - lowest > DRIFT * surely:
            yield known[at][0], now - lowest
        else:
            continue
        if back <= enough:
            lowest, since = np.inf, at


def odd_backgrounds(seen: Sequence[Sight | None], limit: float) -> Iterator[tuple[int, float]]:
    """Frames from which on, or in which, a part of what lies between the cells is brighter or darker: debris, bubbles.

    And the share of the picture that it is, if that is more than `limit`, and less than a half.
    """
    grounds = [(frame, np.log(np.maximum(one.ground, 1))) for frame, one in enumerate(seen) if one is not None]
    steps = [(frame, now - before) for (_, before), (frame, now) in pairwise(grounds)]
    known = [(frame, step, np.isfinite(step)) for frame, step in steps if np.isfinite(step).any()]
    changes = [np.abs(step[is_seen] - np.median(step[is_seen])) for _, step, is_seen in known]
    if not changes:
        return
    enough = max(np.log(BRIGHTER), UNUSUAL * float(np.median([np.quantile(change, 0.98) for change in changes])))
    for (frame, step, _), change in zip(known, changes, strict=True):
        share = np.count_nonzero(change > enough) / step.size
        if limit < share < 0.5:
            yield frame, share
