"""Find parts of a frame that show something else than the frames before and after, which are like each other there.

A bubble or debris that floats by, a part of another frame or FOV, a tile that was put in the wrong place. Cells move,
divide and light up one by one, and do not take it back in the next frame.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

ATTRIBUTE = "odd_parts"  # of the array of a channel: [frame, share of the picture]
WINDOW = 9  # of a picture (celltraces.frames.likeness): rows and columns over which two are compared
ALIKE = 0.5  # correlation of the frames before and after there, at least
UNLIKE = 0.3  # of that
NOTED = 0.005  # of the picture: smaller parts are not noted
JITTER = 4  # rows and columns of a picture: a frame that is displaced so far as a whole is not odd
ALL_OF_IT = 0.5  # of all that is alike otherwise: then it is no part

Look = Callable[[int, np.ndarray], None]


def odd_parts_follower() -> tuple[Look, list[tuple[int, float]]]:
    """A function that is given the pictures (h, w) float32 of all frames that there are, in turn: look(frame, picture).

    Also the list to which it adds what it finds: the frame, and the share of the picture that is odd, in one piece.
    Nothing is known of the first and the last frame.
    """
    found: list[tuple[int, float]] = []
    pictures: deque[tuple[int, np.ndarray]] = deque(maxlen=3)
    steps: deque[np.ndarray] = deque(maxlen=2)  # how alike each is to the one before

    def look(frame: int, picture: np.ndarray) -> None:
        if pictures:
            steps.append(_alike(pictures[-1][1], picture))
        pictures.append((frame, picture))
        if len(steps) == 2:
            over = _alike(pictures[0][1], picture)
            known = over >= ALIKE
            odd = known & (np.maximum(*steps) < UNLIKE * over)
            if _largest(odd) >= NOTED:  # a stage that jitters in one frame makes all that is fine unlike
                here = pictures[1][1]
                laid = np.maximum(*(_alike(_laid_over(pictures[at][1], here), here) for at in (0, 2)))
                odd &= (laid < UNLIKE * over) & (np.median(laid[known]) >= ALIKE)  # else it is another place
            share = _largest(odd)
            if share >= NOTED and np.count_nonzero(odd) < ALL_OF_IT * np.count_nonzero(known):
                found.append((pictures[1][0], round(share, 4)))

    return look, found


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of two pictures (h, w) around each pixel, (h, w) float32."""
    product, first, second = (
        cv2.blur(values, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT) for values in (one * other, one**2, other**2)
    )
    return product / np.sqrt(np.maximum(first * second, 1e-12))


def _laid_over(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A picture (h, w) displaced as a whole by up to JITTER so that it is most like the other one."""

    def moved(y: float, x: float) -> np.ndarray:
        by = np.array([[1, 0, x], [0, 1, y]], np.float32)
        return cv2.warpAffine(picture, by, picture.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    def likeness(place: tuple[float, float]) -> float:
        laid = moved(*place)
        return float((laid * other).sum()) / max(float(np.sqrt((laid**2).sum())), 1e-6)

    whole = range(-JITTER, JITTER + 1)
    y, x = max(itertools.product(whole, whole), key=likeness)
    halves = (-0.5, 0.0, 0.5)
    return moved(*max(((y + dy, x + dx) for dy in halves for dx in halves), key=likeness))


def _largest(part: np.ndarray) -> float:
    """The share of a picture (h, w) bool that the largest piece of a part has, with what lies between its pixels."""
    if not part.any():
        return 0.0
    joined = cv2.morphologyEx(part.view(np.uint8), cv2.MORPH_CLOSE, np.ones((WINDOW, WINDOW), np.uint8))
    _, _, sizes, _ = cv2.connectedComponentsWithStats(joined)
    return float(sizes[1:, cv2.CC_STAT_AREA].max(initial=0)) / part.size


def larger_than(attributes: Mapping[str, Any], limit: float) -> list[tuple[int, float]]:
    """Frames of which a part of more than `limit` of the picture is odd, and its share; attributes: of the array."""
    return [(frame, share) for frame, share in attributes.get(ATTRIBUTE, ()) if share > limit]
