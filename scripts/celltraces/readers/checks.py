"""Check what a reader found before it is believed: lengths, XML, pixel types, pixel sizes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import positive_number
from celltraces.tiff.plane_map import SAME_SIZE


def bytes_left(file: IO[bytes]) -> int:
    """Return the number of bytes from here to the end of the file."""
    return os.fstat(file.fileno()).st_size - file.tell()


def refuse_other_length(found: int, height: int, row_bytes: int) -> None:
    """Raise ValueError if `found` bytes are no image of this size; some writers pad, by less than a row."""
    if not 0 <= found - height * row_bytes < max(row_bytes, 1):
        raise ValueError(f"{found} bytes of pixels where {height} rows of {row_bytes} bytes are announced")


def place_of_plane(path: Path, fov: int, frame: int, channel: int) -> str:
    """Name a plane, for messages."""
    return f"'{path}', FOV {fov}, frame {frame}, channel {channel}"


def as_uint16(plane: np.ndarray, where: str) -> np.ndarray:
    """Return the plane (H, W) as contiguous uint16; raise UserError where a value would be lost."""
    if plane.dtype == np.uint16:
        return np.ascontiguousarray(plane)
    if plane.dtype.kind not in "ui":
        raise UserError(f"{where}: {plane.dtype} pixels cannot be used; export the movie with 16-bit integers")
    low, high = int(plane.min(initial=0)), int(plane.max(initial=0))
    if low < 0 or high > 65535:
        raise UserError(
            f"{where}: values {low}..{high} do not fit into 16 bits; export the movie with values in 0..65535"
        )
    return np.ascontiguousarray(plane, dtype=np.uint16)


def believable_pixel_size_um(value_um: Any) -> float | None:
    """Return a believable pixel size in um, else None."""
    size = positive_number(value_um)
    return round(size, 9) if size is not None and 1e-3 <= size <= 1e3 else None


def another_height_um(width_um: float | None, height_um: Any) -> float | None:
    """Return the height of pixels in um where it is another than their width, beyond what metadata round; else None."""
    height = believable_pixel_size_um(height_um)
    if width_um is None or height is None or max(width_um, height) <= (1 + SAME_SIZE) * min(width_um, height):
        return None
    return height
