"""Inspect and open CZI files: scenes become FOVs, the directory tells which planes exist."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from celltraces.errors import UserError
from celltraces.frames.coverage import Boxes, outside_tiles
from celltraces.metadata import positive_number
from celltraces.readers.checks import believable_pixel_size_um, place_of_plane
from celltraces.readers.czi_layout import CziLayout, czi_layout
from celltraces.readers.czi_segments import CZI_MANY_SUBBLOCKS, CZI_PIXELS, czi_metadata, read_czi_plane, read_subblock
from celltraces.readers.czi_times import czi_times
from celltraces.readers.movie import Movie, OpenedMovie

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

CZI_UNUSABLE_PIXELS = {  # pixel type -> its name
    2: "float32",
    3: "colour (BGR)",
    4: "colour (BGR)",
    8: "colour (BGR float)",
    9: "colour (BGRA)",
    10: "complex",
    11: "complex colour",
    12: "int32",
    13: "float64",
}


def inspect_czi(path: Path) -> Movie:
    """Describe a CZI without reading pixels; see `movie_file.inspect_movie`."""
    layout = czi_layout(path)
    with open(path, "rb") as file:
        root = czi_metadata(file)
    channels = _czi_channel_names(root, layout.channels)
    dtypes = {
        CZI_PIXELS[kind][1] for kind in np.unique(layout.tiles.columns["pixel_type"]).tolist() if kind in CZI_PIXELS
    }
    if not dtypes:
        kind = CZI_UNUSABLE_PIXELS.get(int(layout.tiles.columns["pixel_type"][0]), "unknown")
        raise UserError(
            f"'{path}', FOV 0, frame 0, channel 0 ({channels[0]!r}): {kind} pixels cannot be used; export the movie "
            f"in grey levels with 16-bit integers"
        )
    n_fovs, n_frames, _, n_z = layout.row.shape
    names = {scene.get("Index"): scene.get("Name") for scene in root.iterfind(".//Dimensions/S/Scenes/Scene")}
    times_min, senseless = czi_times(path, layout, root)
    fovs = []
    for fov in range(n_fovs):
        gone = (layout.row[fov] < 0).any(axis=2)
        fovs.append(
            {
                "name": names.get(str(layout.scenes[fov])) or f"FOV {fov}",
                "height": layout.sizes[fov][0],
                "width": layout.sizes[fov][1],
                "times_min": times_min[fov],
                "senseless_stamps": senseless[fov],
                "missing": np.argwhere(gone).tolist(),
            }
        )
    metres = positive_number(root.findtext(".//Scaling/Items/Distance[@Id='X']/Value"))
    seconds = positive_number(root.findtext(".//Dimensions/T/Positions/Interval/Increment"))
    return Movie(
        format="czi",
        dtype=max(dtypes, key=lambda name: np.dtype(name).itemsize),
        n_frames=n_frames,
        n_z=n_z,
        channels=channels,
        pixel_size_um=None if metres is None else believable_pixel_size_um(metres * 1e6),
        period_min=None if seconds is None else seconds / 60.0,
        fovs=fovs,
    )


def _czi_channel_names(root: Element, ids: list[int]) -> list[str]:
    """Return one name per channel id; unnamed channels are C0, C1, ... by their place."""
    lists = (
        [channel.get("Name") or "" for channel in root.iterfind(f".//{where}/Channels/Channel")]
        for where in ("Information/Image/Dimensions", "DisplaySetting")
    )
    by_place = [first or second for first, second in itertools.zip_longest(*lists, fillvalue="")]
    # a file may hold a part of the channels that its metadata lists
    places = range(len(ids)) if len(by_place) == len(ids) else ids
    return [by_place[place] if place < len(by_place) and by_place[place] else f"C{i}" for i, place in enumerate(places)]


def czi_library(layout: CziLayout) -> str:
    """Return which library reads the pixels of this file: aicspylibczi, or pylibCZIrw for what it cannot.

    It is killed by scenes of different size, puts no tiles together, and searches all subblocks for every plane.
    """
    columns = layout.tiles.columns
    ordinary = (
        len(set(layout.sizes)) == 1
        and layout.boxes.count(None) == len(layout.boxes)
        and not layout.tiles.sometimes
        and len(np.unique(columns["pixel_type"])) == 1
        and len(columns["position"]) <= CZI_MANY_SUBBLOCKS
    )
    return "aicspylibczi" if ordinary else "pylibCZIrw"


def open_czi(path: Path) -> OpenedMovie:
    """Open a CZI. Uncompressed single tiles are read directly, all else by a library in a child process (libczi)."""
    from celltraces.readers.libczi import LibCzi

    layout = czi_layout(path)
    columns = layout.tiles.columns
    file = open(path, "rb")  # noqa: SIM115
    libczi = LibCzi(path, czi_library(layout))
    dims = [columns[letter] for letter in "STCZ"]
    # To both libraries a subblock that does not name a dimension is one of every index in it.
    vague = [letter for letter in "STCZ" if letter in layout.tiles.sometimes and len(np.unique(columns[letter])) > 1]

    def tiles_of(row: int) -> np.ndarray:
        """The rows of all tiles of the plane that this one belongs to."""
        return np.flatnonzero(np.logical_and.reduce([column == column[row] for column in dims]))

    def uncovered(fov: int, frame: int, channel: int, z: int) -> Boxes:
        row = int(layout.row[fov, frame, channel, z])
        if layout.boxes[fov] is None or row < 0:
            return ()
        left, top, width, height = layout.boxes[fov]
        boxes = (layout.tiles.box(int(tile)) for tile in tiles_of(row))
        tiles = tuple((y - top, x - left, y - top + h, x - left + w) for x, y, w, h in boxes)
        return outside_tiles(tiles, (height, width))

    def read_plane(fov: int, frame: int, channel: int, z: int) -> np.ndarray | None:
        row = int(layout.row[fov, frame, channel, z])
        if row < 0:
            return None
        kind = int(columns["pixel_type"][row])
        if kind not in CZI_PIXELS:
            place, pixels = place_of_plane(path, fov, frame, channel), CZI_UNUSABLE_PIXELS.get(kind, "unknown")
            raise UserError(
                f"{place}: {pixels} pixels cannot be used; export the movie in grey levels with 16-bit integers"
            )
        box = layout.boxes[fov]
        if box is None:
            plane = read_czi_plane(file, layout.tiles, row)
            if plane is not None:
                return plane
        else:
            for tile in tiles_of(row):
                read_subblock(file, layout.tiles, int(tile))
        if vague:
            raise ValueError(
                f"some of its compressed planes do not name dimension {vague[0]}: no library tells them apart"
            )
        name, dtype = CZI_PIXELS[kind]
        return libczi.read(
            box or layout.tiles.box(row),
            np.dtype(dtype),
            plane={letter: int(columns[letter][row]) for letter in "TCZ"},
            scene=int(columns["S"][row]) if layout.tiles.has_scenes else None,
            pixel_type=name,
        )

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        return [read_plane(fov, frame, channel, z) for channel in channels]

    def close() -> None:
        libczi.close()
        file.close()

    n_fovs, n_frames, n_channels, n_z = layout.row.shape
    return OpenedMovie(read, (n_fovs, n_frames, n_channels, n_z), close, uncovered)
