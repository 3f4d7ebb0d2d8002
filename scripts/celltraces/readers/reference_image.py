"""Read and check the picture of an evenly bright field that a flat field is taken from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celltraces.errors import UserError
from celltraces.fluorescence import flat_field
from celltraces.pyme.tiff import ENDINGS, read_tiff


@dataclass(frozen=True)
class Size:
    """Of a picture, in pixels."""

    height: int
    width: int


def read_reference(path: Path, offset: float = 0.0) -> np.ndarray:
    """The gain (H, W) float32 that a picture shows, a TIFF or a .npy of two dimensions. Raises UserError."""
    if path.suffix.lower() == ".npy":
        try:
            pixels = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"'{path}' is no readable .npy ({' '.join(str(error).split())[:150]}); save it anew"
            ) from None
    elif path.suffix.lower() in ENDINGS:
        pixels = read_tiff(path).pixels
    else:
        raise UserError(f"'{path}' ends neither with .npy nor with {' or '.join(ENDINGS)}; save the picture as one")
    if pixels.ndim != 2 or not pixels.size:
        size = " x ".join(map(str, pixels.shape))
        raise UserError(f"'{path}' is of {size} values; a reference image has two axes, Y and X: save one picture")
    if pixels.dtype.kind not in "uif":
        raise UserError(f"'{path}' holds {pixels.dtype}; a reference image holds numbers")
    if not np.isfinite(pixels).all():
        raise UserError(f"'{path}' has values that are no numbers (NaN, infinite); a reference image holds numbers")
    if pixels.min() <= 0:
        raise UserError(f"'{path}' has values that are not above 0; a reference image is bright everywhere")
    try:
        return flat_field.from_reference(pixels.astype(np.float32), offset)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None


def inspect_reference(path: Path, offset: float) -> Size:
    """The size of a picture that can be used."""
    return Size(*read_reference(path, offset).shape)
