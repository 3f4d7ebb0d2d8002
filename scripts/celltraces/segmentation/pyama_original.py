"""Segment exactly as PyAMA did (commit 5a552bf), for labs that must reproduce earlier results.

It has known faults, which is why `logstd` is the default: float32 variances cancel in bright images, the threshold
ignores the histogram's valley, and objects at the image edge lose up to 9 pixels.
"""

import cv2
import numpy as np

from celltraces.segmentation.mask_objects import fill_holes, label_objects


def segment_frame(image: np.ndarray) -> np.ndarray:
    """Label the cells of one phase-contrast frame by PyAMA's rule.

    `image`: (H, W) numbers, taken as float32. Returns (H, W) labels, 0 = background, 1..N 4-connected objects in raster
    order (PyAMA labels its mask the same way when it tracks); uint16, or uint32 when there are more than 65,535.

    Log-STD of a 3 x 3 window, all in float32, 0 where rounding leaves no positive variance; foreground is above the
    centre of the highest of 200 bins + 3 standard deviations of the values up to it; holes are filled, then the
    mask is opened and closed three times with a 7 x 7 square, with background beyond the border.
    """
    from scipy.ndimage import uniform_filter

    image = image.astype(np.float32)
    mean = uniform_filter(image, 3)
    variance = uniform_filter(image * image, 3) - mean * mean
    std = np.zeros_like(variance)
    positive = variance > 0
    std[positive] = np.log(variance[positive]) * np.float32(0.5)

    counts, edges = np.histogram(std, 200)
    highest = np.argmax(counts)
    mode = (edges[highest] + edges[highest + 1]) * edges.dtype.type(0.5)
    threshold = mode + 3 * std[std <= mode].std()

    mask = fill_holes((std > threshold).view(np.uint8))
    # Three times a 7 x 7 square is once a 19 x 19 square.
    square = np.ones((19, 19), np.uint8)
    for step in (cv2.erode, cv2.dilate, cv2.dilate, cv2.erode):
        mask = step(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return label_objects(mask)
