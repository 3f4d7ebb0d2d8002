"""Find where a frame is cut off at its highest value in one piece: a cell, or a part of it, that is too bright.

Of a large frame that may be a share of the pixels so small that it is not worth a word, and all of a cell.
"""

from __future__ import annotations

import numpy as np

ATTRIBUTE = "cut_off"  # of the array of a fluorescence channel: [frame, y, x, pixels] of each piece
LEAST = 10  # px, of a piece; hot pixels are single
MOST = 50  # pieces of a frame that are kept, the largest


def pieces(image: np.ndarray, counts: np.ndarray) -> list[tuple[int, int, int]]:
    """A pixel (y, x) of each piece of an image (H, W) uint16 that has its highest value, and its size in pixels.

    counts (n,): number of its pixels by value, up to the highest. Nothing is cut off where no more pixels have the
    highest value than the one below.
    """
    highest = len(counts) - 1
    if counts[highest] < LEAST or (highest and counts[highest] <= counts[highest - 1]):
        return []
    import cv2  # of frames that are cut off alone

    _, labels, table, _ = cv2.connectedComponentsWithStats((image == highest).view(np.uint8), connectivity=8)
    sizes = table[:, cv2.CC_STAT_AREA]
    large = [label for label in np.argsort(-sizes, kind="stable").tolist() if label and sizes[label] >= LEAST][:MOST]
    found = []
    for label in sorted(large):
        y, x = table[label, cv2.CC_STAT_TOP], table[label, cv2.CC_STAT_LEFT]
        along = np.flatnonzero(labels[y, x : x + table[label, cv2.CC_STAT_WIDTH]] == label)
        found.append((int(y), int(x + along[len(along) // 2]), int(sizes[label])))
    return found
