"""Find parts of a frame that repeat the frame before, or another channel: a camera or a program gave an earlier image.

The noise of a camera is never the same twice. Short runs of pixels are compared, of all rows, every second one to save
time; a run counts where its values are so many and so rare that two frames with noise would not share it by chance. Of
an earlier image a digest of each run is kept, an eighth of the image's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

ATTRIBUTE = "repeated"  # of the array of a channel
RUN = 16  # px, one after the other in raster order
INFORMATION = 40.0  # bits: of 10,000 movies of 300 frames of 4 megapixels one would have such a run by chance
# Of the four words of 64 bits that a run is: odd, with bits as if by chance.
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


def watcher() -> Callable[[int, np.ndarray, np.ndarray], tuple[float, float]]:
    """A function that compares an image with those that it was given before: look(channel, image, counts) -> shares.

    image: (H, W) uint16; counts: (n,) number of its pixels by value. The shares of its pixels that are as in the image
    before of the same channel, and as in the last image of any other channel.
    """
    latest: dict[int, np.ndarray] = {}

    def look(channel: int, image: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
        digests = run_digests(image)
        same = [latest[channel]] if channel in latest else []
        others = [kept for of, kept in latest.items() if of != channel]
        shares = [repeated_share(image, counts, digests, earlier) for earlier in (same, others)]
        latest[channel] = digests
        return shares[0], shares[1]

    return look


def run_digests(image: np.ndarray) -> np.ndarray:
    """(H, W) uint16 -> a digest of every second run of pixels, (n,) uint64."""
    return _runs(image).view(np.uint64)[:, : len(FACTORS)] @ FACTORS


def _runs(image: np.ndarray) -> np.ndarray:
    """(n, 2 RUN) uint16: the pixels of an image (H, W) in raster order, but for less than that at the end."""
    n = image.size // (2 * RUN)
    return np.ascontiguousarray(image).reshape(-1)[: n * 2 * RUN].reshape(n, 2 * RUN)


def repeated_share(image: np.ndarray, counts: np.ndarray, digests: np.ndarray, earlier: Sequence[np.ndarray]) -> float:
    """Share of the pixels of an image (H, W) uint16 that are in runs which an earlier image has in the same place.

    digests: of the image, `earlier` those of images of the same shape, (n,) uint64 each. counts: (n,) number of pixels
    by value. A pixel with the value of the one before it tells nothing: what is blank or saturated is alike by nature.
    """
    alike = np.zeros(len(digests), bool)
    for others in earlier:
        alike |= digests == others
    runs = _runs(image)[alike, :RUN]
    if not len(runs):
        return 0.0
    # zeros where nothing was imaged are not counted
    of_value = np.where(counts > 0, np.log2(max(int(counts.sum()), 1) / np.maximum(counts, 1)), 0.0)
    information = np.where(runs[:, 1:] != runs[:, :-1], of_value[runs[:, 1:]], 0.0).sum(axis=1)
    return float(np.count_nonzero(information > INFORMATION) * 2 * RUN / image.size)


def frames_of(
    attributes: Mapping[str, Any], n_frames: int, duplicates: Sequence[int]
) -> list[tuple[int | None, float]]:
    """Frames that repeat a part of another image, from the attributes of their array: frame, share of its pixels.

    Frame None: most frames repeat another channel. Where most frames repeat the one before, these are images without
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
