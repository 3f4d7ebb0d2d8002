"""Draw the phase contrast of a movie of labels: granular cells with halos and camera noise, as the demo's cells are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from demo.simulate import CAMERA_OFFSET, DARKER, PHASE_LEVEL, granules, halo, photographed
from evaluation.label_movies import TrueDivision

HALO_REACH = 12  # px, beyond which a halo is not seen
ROUND_BEFORE, ROUND_AFTER = 3, 2  # frames before and after a division in which cells are round
TEXTURE = 192  # px, side of the texture that a cell carries along; repeated for larger cells


@dataclass(frozen=True)
class Look:
    """contrast: of what cells add to the background, by that of the demo. round_halo: brightness of the halos of cells
    that are round since they are about to divide or have just come from a division, by that of other cells."""

    contrast: float = 1.0
    round_halo: float = 1.0


LOOKS = {"plain": Look(), "bright round cells": Look(round_halo=4.0), "weak contrast": Look(contrast=0.3)}


def draw(cells: Iterable[np.ndarray], divisions: Sequence[TrueDivision], look: Look, seed: int) -> list[np.ndarray]:
    """Images (H, W) uint16 of `cells`, T images (H, W) of the cells' numbers, 0 is background.

    Each cell's texture moves along with its centre. Where halos of several cells meet, the brightest is seen; none is
    seen on a cell.
    """
    rng = np.random.default_rng([seed, 7])
    round_from = {division.mother: division.frame - ROUND_BEFORE for division in divisions}
    round_until = {cell: division.frame + ROUND_AFTER for division in divisions for cell in division.daughters}
    textures: dict[int, np.ndarray] = {}
    images = []
    for frame, labels in enumerate(cells):
        added, around = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)
        for cell, window in _windows(labels).items():
            if cell not in textures:
                textures[cell] = granules(TEXTURE, rng)
            inside = labels[window] == cell
            added[window][inside] = _texture(textures[cell], inside)[inside] - DARKER
            is_round = frame >= round_from.get(cell, frame + 1) or frame < round_until.get(cell, 0)
            beyond = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5) - 0.5
            ring = (look.round_halo if is_round else 1.0) * halo(beyond)
            around[window] = np.maximum(around[window], ring)
        image = CAMERA_OFFSET + PHASE_LEVEL + look.contrast * np.where(labels > 0, added, around)
        images.append(photographed(image.astype(np.float32), np.random.default_rng([seed, frame])))
    return images


def _windows(labels: np.ndarray) -> dict[int, tuple[slice, ...]]:
    """Of each cell, the part of the image in which it and its halo lie."""
    return {
        cell: tuple(slice(max(side.start - HALO_REACH, 0), side.stop + HALO_REACH) for side in box)
        for cell, box in enumerate(ndimage.find_objects(labels), start=1)
        if box is not None
    }


def _texture(texture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The part of a cell's texture over the window of its mask `inside`, (H, W): its middle lies on the centre."""
    y, x = (np.arange(side) for side in inside.shape)
    centre = [round(axis.mean()) for axis in np.nonzero(inside)]
    middle = TEXTURE // 2
    return texture[np.ix_((y - centre[0] + middle) % TEXTURE, (x - centre[1] + middle) % TEXTURE)]
