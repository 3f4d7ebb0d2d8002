"""How like fluorescence frames are to the ones before, and frames from which on they show another place.

Cells move, light up and fade little from frame to frame, so that a picture is like the one before, or, where there is
more noise than light or cells move fast, never is. A channel that is alike before and after a frame, and not at it, was
taken elsewhere, or without its light: a FOV exchanged in this channel alone, a mirrored picture, another filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

ATTRIBUTE = "likeness"  # of the array of a channel
SIDE = 96  # rows and columns of the pictures that are compared, at most
SMOOTH = 6.0  # of these: what is smoother is light, vignetting and medium, the same in all places
BRIGHT = 1.0  # usual differences, beyond which brightness counts less: a few bright things are not the picture
ALIKE = 0.4  # correlation of the pictures of one place, at least
UNLIKE = 0.3  # of the least of these: of different places
AROUND = 2  # frames before and after that have to be alike


def likeness_follower() -> Callable[[np.ndarray | None], float | None]:
    """A function that tells how like a picture is to the one that it was given before: their correlation.

    None where there is none to compare with, or where one shows nothing. Pictures that are not there (None) are passed
    over.
    """
    before: np.ndarray | None = None

    def follow(picture: np.ndarray | None) -> float | None:
        nonlocal before
        if picture is None:
            return None
        earlier, before = before, picture
        if earlier is None:
            return None
        product = float(np.sqrt((picture**2).sum() * (earlier**2).sum()))
        return round(float((picture * earlier).sum()) / product, 4) if product > 0 else None

    return follow


def small_picture(image: np.ndarray) -> np.ndarray:
    """An image (H, W) uint16 on at most SIDE rows and columns, (h, w) float32, without what is smooth and of mean 0."""
    height, width = (min(side, SIDE) for side in image.shape)
    step = max(min(image.shape) // (4 * SIDE), 1)  # enough pixels for means
    small = cv2.resize(image[::step, ::step].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    if small.min() == small.max():
        return np.zeros_like(small)
    above = small - np.median(small)
    usual = float(np.median(np.abs(above))) or 1.0
    even = np.arcsinh(above / (BRIGHT * usual))
    rest = even - cv2.GaussianBlur(even, (0, 0), SMOOTH, borderType=cv2.BORDER_REFLECT)
    return rest - rest.mean()


def where_place_changes(likeness: Sequence[float | None]) -> Iterator[tuple[int, float]]:
    """Return each frame from which on another place is shown, and how like the one before it is; likeness: by frame.

    Of one frame of another place that one is returned, although the next is unlike it, too.
    """
    known = [(frame, value) for frame, value in enumerate(likeness) if value is not None]
    for at in range(AROUND, len(known)):
        for length in (1, 2):
            beside = known[at - AROUND : at], known[at + length : at + length + AROUND]
            if min(map(len, beside)) < AROUND:
                continue
            usual = min(value for side in beside for _, value in side)
            if usual >= ALIKE and max(value for _, value in known[at : at + length]) < UNLIKE * usual:
                yield known[at]
                break
