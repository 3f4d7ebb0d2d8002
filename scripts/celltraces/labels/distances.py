"""Measure exactly how far pixels are from the nearest pixel of a mask."""

import cv2
import numpy as np

EXACT = 1000.0  # px, up to which OpenCV's distances are near enough to tell whole squares apart; it is so up to 1280


def squared_distances(outside: np.ndarray) -> np.ndarray:
    """Squared distance of each pixel to the nearest one that is 0, from centre to centre.

    outside: (H, W) uint8 0/1 or bool, with at least one 0. Returns (H, W) float32, or float64 where it needs that,
    whole numbers of square pixels.

    OpenCV's own distances differ in their last digits with the place in memory where the array happens to lie, so that
    of two distances that are equal either can come out as the smaller one. Their squares are whole numbers: rounded to
    these, they are the same in each run.
    """
    away = cv2.distanceTransform(outside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if away.max(initial=0) > EXACT:
        from scipy import ndimage  # takes half a second to import, and such distances are rare

        away = ndimage.distance_transform_edt(outside)
    return np.rint(np.square(away, out=away), out=away)
