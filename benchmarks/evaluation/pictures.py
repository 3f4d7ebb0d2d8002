"""Pictures with true outlines: folders of annotated ones, and disks with halos."""

from pathlib import Path

import cv2
import numpy as np

from celltraces.errors import UserError

Pair = tuple[np.ndarray, np.ndarray]  # (H, W) image and true labels


def of_folder(folder: Path) -> list[Pair]:
    """The pairs NN_phase.tif and NN_cells.png of a folder. Raises UserError."""
    pairs = []
    for path in sorted(folder.glob("*_phase.tif")):
        image, outlines = read_plane(path), path.with_name(path.name[:-9] + "cells.png")
        labels = cv2.imread(str(outlines), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.shape != image.shape:
            raise UserError(f"{str(outlines)!r}: wanted is a label image of {image.shape} px, as {path.name} is")
        pairs.append((image.astype(np.uint16), labels))
    return pairs


def read_plane(file: Path) -> np.ndarray:
    """The image of a TIFF file, (H, W) uint8 or uint16. Raises UserError."""
    import tifffile

    try:
        image = tifffile.imread(file)
    except Exception as error:  # of every kind, where a file is damaged
        raise UserError(f"{str(file)!r} cannot be read: {' '.join(str(error).split())}") from error
    if image.ndim != 2 or image.dtype.kind != "u" or image.dtype.itemsize > 2:
        raise UserError(f"{str(file)!r}: {image.dtype} of shape {image.shape}; wanted is one plane of 8 or 16 bit")
    return image


def disks(seed: int, strength: float, away: float, width: float, noise: float) -> Pair:
    """Nine dark, granular disks with a halo that is brightest `away` px outside the edge, 300 x 300."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:300, :300]
    image, labels = np.ones((300, 300)), np.zeros((300, 300), np.int32)
    grain = cv2.GaussianBlur(rng.standard_normal((300, 300)), (0, 0), 1.2)
    for cell in range(9):
        cy, cx = (100 * part + 50 + rng.uniform(-6, 6) for part in divmod(cell, 3))
        beyond = np.hypot(y - cy, x - cx) - rng.uniform(11, 16)
        image += 0.1 * (0.6 * grain / grain.std() - 1) / (1 + np.exp(np.clip(beyond / 0.7, -50, 50)))
        image += 0.1 * strength * np.exp(-0.5 * ((beyond - away) / width) ** 2)
        labels[beyond < 0] = cell + 1
    image = 8000 * (cv2.GaussianBlur(image, (0, 0), 0.7) + noise * rng.standard_normal((300, 300)))
    return np.rint(image).astype(np.uint16), labels


HALOS = {
    "thin halos": {"strength": 0.5, "away": 2, "width": 1.5, "noise": 0.01},
    "halos": {"strength": 1, "away": 3.5, "width": 2.5, "noise": 0.005},
    "strong halos": {"strength": 2, "away": 3.5, "width": 2.5, "noise": 0.005},
    "halos in noise": {"strength": 1, "away": 3, "width": 2.5, "noise": 0.03},
}
