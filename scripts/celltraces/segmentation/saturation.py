"""Continue a frame where its camera was saturated.

In a saturated place all pixels have the highest value: it has no texture, as background has none, and is no brighter
inside than at its rim, so that halos and white cells look dimmer than they are. How steeply the brightness rises to its
rim is known, and so about how it would go on.
"""

import cv2
import numpy as np

FEWEST, MOST = 2000, 5  # one in so many pixels of the frame is saturated, at least; at most
CUT = 2  # the last step up to a saturated place is cut off anywhere: on average, half of it is left
BITS = 16


def continued_above(image: np.ndarray) -> np.ndarray:
    """`image` (H, W), integers of up to 16 bits, with a slope in each saturated place; itself where none is saturated.

    Saturated are pixels of the highest value in squares of 3 x 3 of them (hot pixels lie alone), if they are at least
    one in 2,000 and at most one in 5 of all. They become brighter by their distance (px) from the rim times twice the
    mean by which neighbours across the rim, in rows and columns, differ. Returns uint16: the frame (less its lowest
    value, if values have signs), halved as often as it takes to fit.
    """
    full = (image == image.max()).view(np.uint8)
    if FEWEST * cv2.countNonZero(full) < image.size:
        return image
    full = cv2.morphologyEx(full, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    inside = np.flatnonzero(full.view(bool))
    if FEWEST * inside.size < image.size or MOST * inside.size > image.size:
        return image
    if image.dtype.kind == "i":
        image = np.subtract(image, image.min(), dtype=np.int32)
    highest, width = int(image.max()), image.shape[1]
    row, column = np.divmod(inside, width)
    beside = [
        inside[column > 0] - 1,
        inside[column < width - 1] + 1,
        inside[row > 0] - width,
        inside[row < len(image) - 1] + width,
    ]
    rim = np.concatenate([at[full.ravel().take(at) == 0] for at in beside])
    slope = CUT * (highest - float(image.ravel().take(rim).mean()))
    away = cv2.distanceTransform(full, cv2.DIST_L2, cv2.DIST_MASK_3).ravel().take(inside)
    raised = highest + np.rint(slope * away).astype(np.int64)
    halved = max(int(raised.max()).bit_length() - BITS, 0)
    counts = (image >> halved).astype(np.uint16)
    counts.ravel()[inside] = raised >> halved
    return counts
