"""What oracles of regions share: layers, what lies beside, steps of morphology that go on beyond the edge."""

import math

import cv2
import numpy as np
from scipy import ndimage
from skimage import morphology


def layers_of(mask, number):
    layers = [mask]
    for _ in range(number):
        layers.append(continued(layers[-1], [ndimage.binary_erosion], morphology.disk(2)))
    return layers


def counts_beside(shell, not_beside, image):
    """Counts of the pixels that are 2 px beside those of a shell."""
    found = []
    for y, x in np.argwhere(shell):
        for there in ((y - 2, x), (y + 2, x), (y, x - 2), (y, x + 2)):
            if min(there) >= 0 and there[0] < image.shape[0] and there[1] < image.shape[1] and not not_beside[there]:
                found.append(image[there])
    return found


def before_another(owner):
    """Pixels of which the next one, to the right or below, has another owner; neither has none (0)."""
    found = np.zeros(owner.shape, bool)
    for step in ((0, 1), (1, 0)):
        after = np.zeros_like(owner)
        after[: owner.shape[0] - step[0], : owner.shape[1] - step[1]] = owner[step[0] :, step[1] :]
        found |= (owner > 0) & (after > 0) & (after != owner)
    return found


def filling(region):
    """Area by that of the ellipse with the same second moments."""
    axes = region.inertia_tensor_eigvals
    return region.area / (4 * math.pi * math.sqrt((axes[0] + 1 / 12) * (axes[1] + 1 / 12)))


def continued(mask, steps, disk):
    """The steps on a mask that goes on beyond the image as it is at the edge, further than any step reaches."""
    reach = (len(disk) // 2) * len(steps) + 1
    mask = np.pad(mask, reach, mode="edge")
    for step in steps:
        mask = step(mask, disk)
    return mask[reach:-reach, reach:-reach]


def nearly_far(outside):
    """Distances as the sums of steps to neighbours and by a knight's move, of which OpenCV says that they are 1, 1.4
    and 2.1969 long: within 2 %."""
    return cv2.distanceTransform(outside.astype(np.uint8), cv2.DIST_L2, 5)
