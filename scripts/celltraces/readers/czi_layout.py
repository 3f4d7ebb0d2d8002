"""Map each plane (scene, frame, channel, z) of a CZI file to the subblocks that hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.readers.czi_segments import Tiles, read_tiles, refuse_contradictions


class CziLayout(NamedTuple):
    """Which subblock is which plane, and how large the planes of each FOV are."""

    tiles: Tiles
    scenes: list[int]  # ids as stored, one per FOV
    channels: list[int]  # ids as stored
    first_frame: int
    first_z: int
    row: np.ndarray  # (F, T, C, Z) int64: a row of `tiles`, -1 where the plane is not in the file
    boxes: list[tuple[int, int, int, int] | None]  # per FOV (x, y, w, h) of a mosaic, None for single tiles
    sizes: list[tuple[int, int]]  # per FOV (height, width)


def czi_layout(path: Path) -> CziLayout:
    """Put the tiles in order; raise UserError for arrangements that have no one plane per FOV, frame and channel."""
    with open(path, "rb") as file:
        return _sorted_layout(path, file, read_tiles(file))


def _size_of_planes(place: str, dims: Mapping[str, np.ndarray], rows: np.ndarray) -> tuple[int, int]:
    """Height and width of the planes of a FOV, which are single tiles. Raises UserError where they differ in size."""
    size = np.unique(np.column_stack([dims["Ysize"][rows], dims["Xsize"][rows]]), axis=0)
    if len(size) > 1:
        raise UserError(
            f"{place}: planes of different size ({size[0][1]} x {size[0][0]} and {size[1][1]} x {size[1][0]} pixels); "
            f"use the same binning for all channels"
        )
    return int(size[0][0]), int(size[0][1])


def _box_of_mosaic(file: IO[bytes], tiles: Tiles, rows: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of what the tiles of a FOV span, px. Raises ValueError where a header contradicts it."""
    x, y, width, height = (tiles.columns[name][rows] for name in ("Xstart", "Ystart", "Xsize", "Ysize"))
    right, bottom = x + width, y + height
    # the outermost tiles decide how large all planes are
    outermost = {int(rows[at]) for at in (x.argmin(), y.argmin(), right.argmax(), bottom.argmax())}
    refuse_contradictions(file, [(tiles, row) for row in outermost])
    left, top = int(x.min()), int(y.min())
    return left, top, int(right.max()) - left, int(bottom.max()) - top


def _sorted_layout(path: Path, file: IO[bytes], tiles: Tiles) -> CziLayout:
    """What lies where in a CZI: rows of its tiles by FOV, frame, channel and z.

    Raises UserError where planes have more dimensions than that, or no common size; ValueError where it is damaged.
    """
    dims = tiles.columns
    for letter, name in zip("BVHIR", ("blocks", "views", "phases", "illuminations", "rotations"), strict=True):
        if len(np.unique(dims[letter])) > 1:
            raise UserError(
                f"'{path}' holds several {name} (dimension {letter}) per plane; process or split them in ZEN and save "
                f"a CZI that has only one"
            )
    scenes, fov = np.unique(dims["S"], return_inverse=True)
    channels, channel = np.unique(dims["C"], return_inverse=True)
    frame, z = dims["T"] - dims["T"].min(), dims["Z"] - dims["Z"].min()
    shape = (len(scenes), int(frame.max()) + 1, len(channels), int(z.max()) + 1)
    if math.prod(shape) > 1000 * len(fov):
        raise ValueError("its directory of subblocks is damaged")
    row = np.full(shape, -1, dtype=np.int64)
    count = np.zeros(shape, dtype=np.int64)
    row[fov, frame, channel, z] = np.arange(len(fov))
    np.add.at(count, (fov, frame, channel, z), 1)

    boxes: list[tuple[int, int, int, int] | None] = []
    sizes: list[tuple[int, int]] = []
    order = np.argsort(fov, kind="stable")
    for i, mine in enumerate(np.split(order, np.searchsorted(fov[order], np.arange(1, len(scenes))))):
        place, n_tiles = f"'{path}', FOV {i}", int(count[i].max())
        if n_tiles == 1:
            boxes.append(None)
            sizes.append(_size_of_planes(place, dims, mine))
            continue
        left, top, width, height = _box_of_mosaic(file, tiles, mine)
        covered = np.zeros(shape[1:], dtype=np.int64)
        np.add.at(covered, (frame[mine], channel[mine], z[mine]), dims["Xsize"][mine] * dims["Ysize"][mine])
        if width * height > 4 * int(covered.max()):
            raise UserError(
                f"{place}: its {n_tiles} tiles lie far apart on {width} x {height} pixels; split the scenes in ZEN so "
                f"that each position is one"
            )
        boxes.append((left, top, width, height))
        sizes.append((height, width))
    return CziLayout(
        tiles=tiles,
        scenes=scenes.tolist(),
        channels=channels.tolist(),
        first_frame=int(dims["T"].min()),
        first_z=int(dims["Z"].min()),
        row=row,
        boxes=boxes,
        sizes=sizes,
    )
