"""Find parts of a frame that repeat an earlier one, or another channel: a camera or a program gave an earlier image.

The noise of a camera is never the same twice. Short runs of pixels are compared, of all rows, every second one to save
time; a run counts where its values are so many and so rare that two frames with noise would not share it by chance. Of
an earlier image a digest of each run is kept, an eighth of the image's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

ATTRIBUTE = "repeated"  # of the array of a channel
RUN = 16  # px, one after the other in raster order
INFORMATION = 40.0  # bits: of 10,000 movies of 300 frames of 4 megapixels one would have such a run by chance
FARTHEST = 256  # images of a channel with which one is compared, besides the one before
FEW = 1024  # runs of each of them that are kept
LEAST = 3  # of these have to be alike
# Of the four words of 64 bits that a run is: odd, with bits as if by chance.
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


class Digests(NamedTuple):
    """Of runs of pixels of an image: a digest of each, (n,) uint64, and its first four pixels, (n,) uint64."""

    runs: np.ndarray
    beginnings: np.ndarray


def watcher() -> Callable[[int, np.ndarray, np.ndarray], tuple[float, float]]:
    """A function that compares an image with those that it was given before: look(channel, image, counts) -> shares.

    image: (H, W) uint16; counts: (n,) number of its pixels by value. The shares of its pixels that are as in an image
    before of the same channel, and as in the last image of any other channel. With images before the last of a channel
    fewer runs are compared.
    """
    latest: dict[int, Digests] = {}
    farther: dict[int, deque[Digests]] = {}

    def look(channel: int, image: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
        digests = digests_of_runs(image)
        others = [kept for of, kept in latest.items() if of != channel]
        same = repeated_share(image, counts, digests, [latest[channel]]) if channel in latest else 0.0
        before = farther.setdefault(channel, deque(maxlen=FARTHEST))
        same = same or _share_farther_back(image, counts, digests, before)
        if channel in latest:
            before.append(_few(latest[channel]))
        latest[channel] = digests
        return same, repeated_share(image, counts, digests, others)

    return look


def digests_of_runs(image: np.ndarray) -> Digests:
    """(H, W) uint16 -> of every second run of pixels."""
    words = _runs(image).view(np.uint64)[:, : len(FACTORS)]
    return Digests(words @ FACTORS, words[:, 0].copy())


def _runs(image: np.ndarray) -> np.ndarray:
    """(n, 2 RUN) uint16: the pixels of an image (H, W) in raster order, but for less than that at the end."""
    n = image.size // (2 * RUN)
    return np.ascontiguousarray(image).reshape(-1)[: n * 2 * RUN].reshape(n, 2 * RUN)


def _few(digests: Digests) -> Digests:
    """About FEW of the runs, evenly spread."""
    every = slice(None, None, -(-len(digests.runs) // FEW) or 1)
    return Digests(digests.runs[every].copy(), digests.beginnings[every].copy())


def repeated_share(image: np.ndarray, counts: np.ndarray, digests: Digests, earlier: Sequence[Digests]) -> float:
    """Share of the pixels of an image (H, W) uint16 that are in runs which an earlier image has in the same place.

    digests: of the image, `earlier` those of images of the same shape. counts: (n,) number of pixels by value. A pixel
    with the value of the one before it tells nothing: what is blank or saturated is alike by nature. Nor does a run
    where far more runs begin alike than are alike: of still things with less noise than a count, some are by chance.
    """
    repeated = np.zeros(len(digests.runs), bool)
    for others in earlier:
        begin = np.flatnonzero(digests.beginnings == others.beginnings)
        begin = begin[_informative(_runs(image)[begin, :RUN], counts)]
        alike = begin[digests.runs[begin] == others.runs[begin]]
        if 2 * len(alike) >= len(begin):
            repeated[alike] = True
    return float(np.count_nonzero(repeated) * 2 * RUN / image.size)


def _share_farther_back(image: np.ndarray, counts: np.ndarray, digests: Digests, earlier: Sequence[Digests]) -> float:
    """As repeated_share, the largest with one of many earlier images, of which a few runs are kept; see `_few`."""
    if not earlier:
        return 0.0
    few = _few(digests)
    every = -(-len(digests.runs) // FEW) or 1
    informative = _informative(_runs(image)[::every, :RUN], counts)
    most = 0
    for others in earlier:
        alike = np.count_nonzero(informative & (few.runs == others.runs))
        if alike >= LEAST and 2 * alike >= np.count_nonzero(informative & (few.beginnings == others.beginnings)):
            most = max(most, alike)
    return most / max(len(few.runs), 1)


def _informative(runs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Which runs (n, RUN) of an image hardly any other image would have; counts: its number of pixels by value."""
    if not len(runs):
        return np.zeros(0, bool)
    # zeros where nothing was imaged are not counted
    of_value = np.where(counts > 0, np.log2(max(int(counts.sum()), 1) / np.maximum(counts, 1)), 0.0)
    return np.where(runs[:, 1:] != runs[:, :-1], of_value[runs[:, 1:]], 0.0).sum(axis=1) > INFORMATION


def repeated_frames(
    attributes: Mapping[str, Any], n_frames: int, duplicates: Sequence[int]
) -> list[tuple[int | None, float]]:
    """Frames that repeat a part of another image, from the attributes of their array: frame, share of its pixels.

    Frame None: most frames repeat another channel. Where most frames repeat an earlier one, these are images without
    noise, in which what stands still is the same. duplicates: frames that are wholly as another one of the channel,
    which a check of its own reports.
    """
    rows = [row for row in attributes.get(ATTRIBUTE, ()) if row[0] not in duplicates]
    same, others = ({frame: share for frame, *both in rows for share in both[k : k + 1] if share} for k in (0, 1))
    found: list[tuple[int | None, float]] = []
    if 2 * len(same) >= n_frames:
        same = {}
    if others and 2 * len(others) >= n_frames:
        found.append((None, max(others.values())))
        others = {}
    return found + [(frame, max(same.get(frame, 0), others.get(frame, 0))) for frame in sorted({*same, *others})]
