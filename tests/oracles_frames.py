"""The plain ways of continuing a saturated frame, and of telling whether noise hides cells."""

import math

import cv2
import numpy as np
from scipy import ndimage


def continued_above(image):
    """(H, W) integers -> the same with slopes in saturated places; see `segmentation.saturation`."""
    squares = ndimage.binary_erosion(image == image.max(), np.ones((3, 3)), border_value=1)
    full = ndimage.binary_dilation(squares, np.ones((3, 3)))
    if not image.size <= 2000 * full.sum() or full.sum() > image.size / 5:
        return image
    counts = image.astype(np.int64)
    if image.dtype.kind == "i":
        counts = counts - counts.min()
    missing = []
    for y, x in zip(*np.nonzero(full), strict=True):
        for beside in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
            if 0 <= beside[0] < full.shape[0] and 0 <= beside[1] < full.shape[1] and not full[beside]:
                missing.append(counts.max() - counts[beside])
    away = cv2.distanceTransform(full.astype(np.uint8), cv2.DIST_L2, 3)
    counts = np.where(full, counts.max() + np.rint(2 * np.mean(missing) * away).astype(np.int64), counts)
    while counts.max() >= 2**16:
        counts = counts // 2
    return counts


def smoothed(image, sigma):
    """(H, W) integers -> the same, less the lowest, in quarters or halves of a count where they fit into 16 bits."""
    counts = image.astype(np.float32) - image.min()
    finer = next(by for by in (4, 2, 1) if by * int(counts.max()) < 2**16 or by == 1)
    return np.rint(cv2.GaussianBlur(finer * counts, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)).astype(np.int64)


def in_less_noise(image, std, limit, log_std, threshold):
    """The frame, its log-STD and threshold, smoothed if noise hides cells; see `segmentation.noise` and `logstd`.

    log_std, threshold: how these follow from a frame, and from a log-STD.
    """
    sample = np.exp(2 * std[::4, ::4])
    rough, background = sample[std[::4, ::4] > limit], sample[(std[::4, ::4] <= limit) & (sample > 0)]
    if not rough.size or not background.size:
        return image, std, limit
    sigma = min(0.3 * (8 - math.sqrt(rough.mean() / background.mean())), 1)
    if sigma < 0.2:
        return image, std, limit
    tops = range(0, max(len(image) - 16, 0) + 1, 128)
    before = sum((std[top : top + 16] > limit).sum() for top in tops)
    after = np.concatenate([log_std(smoothed(image[top : top + 16], 0.6)) for top in tops])
    if (after > threshold(after)).sum() < max(1.7 * before, 0.02 * after.size):
        return image, std, limit
    image = smoothed(image, sigma)
    std = log_std(image)
    return image, std, threshold(std)
