"""Inspect and open CZI files: scenes become FOVs, the directory tells which planes exist."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celltraces.errors import UserError
from celltraces.frames.coverage import Boxes, outside_tiles
from celltraces.metadata import exposure_changes, position_um, positive_number
from celltraces.readers.checks import another_height_um, believable_pixel_size_um, place_of_plane
from celltraces.readers.czi_layout import CziLayout, czi_layout
from celltraces.readers.czi_segments import CZI_MANY_SUBBLOCKS, CZI_PIXELS, czi_metadata, read_czi_plane, read_subblock
from celltraces.readers.czi_times import czi_times
from celltraces.readers.movie import Movie, OpenedMovie

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

CHANNELS = "Information/Image/Dimensions/Channels/Channel"
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
    pixel_um, height_um = (
        None if metres is None else believable_pixel_size_um(metres * 1e6)
        for metres in (
            positive_number(root.findtext(f".//Scaling/Items/Distance[@Id='{axis}']/Value")) for axis in "XY"
        )
    )
    exposures = _czi_exposures_ms(root, layout.channels)
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
                "position_um": _middle_um(layout, fov, pixel_um),
                "exposures_ms": exposures,
            }
        )
    seconds = positive_number(root.findtext(".//Dimensions/T/Positions/Interval/Increment"))
    return Movie(
        format="czi",
        dtype=max(dtypes, key=lambda name: np.dtype(name).itemsize),
        n_frames=n_frames,
        n_z=n_z,
        channels=channels,
        pixel_size_um=pixel_um,
        period_min=None if seconds is None else seconds / 60.0,
        fovs=fovs,
        pixel_height_um=another_height_um(pixel_um, height_um),
    )


def _czi_channel_names(root: Element, ids: list[int]) -> list[str]:
    """Return one name per channel id; unnamed channels are C0, C1, ... by their place."""
    lists = (
        [channel.get("Name") or "" for channel in root.iterfind(f".//{where}")]
        for where in (CHANNELS, "DisplaySetting/Channels/Channel")
    )
    by_place = [first or second for first, second in itertools.zip_longest(*lists, fillvalue="")]
    return [name or f"C{i}" for i, name in enumerate(_of_channels(by_place, ids, ""))]


def _of_channels(by_place: Sequence[Any], ids: list[int], absent: Any) -> list[Any]:
    """What the metadata list of their channels, for those of the file, which may hold a part of them."""
    places = range(len(ids)) if len(by_place) == len(ids) else ids
    return [by_place[place] if place < len(by_place) else absent for place in places]


def _czi_exposures_ms(root: Element, ids: list[int]) -> list[list[list[float]]]:
    """How long each channel was exposed, the same in all frames; the metadata give nanoseconds."""
    ns = [positive_number(each.findtext("ExposureTime")) for each in root.iterfind(f".//{CHANNELS}")]
    return [exposure_changes([None if one is None else one / 1e6]) for one in _of_channels(ns, ids, None)]


def _middle_um(layout: CziLayout, fov: int, pixel_um: float | None) -> list[float] | None:
    """The middle of a FOV on the canvas, where ZEN puts each scene at its place on the stage."""
    planes = layout.row[fov]
    box = layout.boxes[fov] or layout.tiles.box(int(planes[planes >= 0][0]))
    return None if pixel_um is None else position_um(box[0] + box[2] / 2, box[1] + box[3] / 2, pixel_um)


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


class _OpenCzi:
    """A CZI that is open: uncompressed single tiles are read directly, all else by a library in a child process."""

    def __init__(self, path: Path) -> None:
        from celltraces.readers.libczi import LibCzi

        self.path = path
        self.layout = czi_layout(path)
        self.columns = self.layout.tiles.columns
        self.file = open(path, "rb")  # noqa: SIM115
        self.libczi = LibCzi(path, czi_library(self.layout))
        # To both libraries a subblock that does not name a dimension is one of every index in it.
        sometimes = self.layout.tiles.sometimes
        self.vague = [letter for letter in "STCZ" if letter in sometimes and len(np.unique(self.columns[letter])) > 1]

    def close(self) -> None:
        self.libczi.close()
        self.file.close()

    def read(self, fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        """The planes (H, W) of some channels, None where the file does not hold one."""
        return [self._read_plane(fov, frame, channel, z) for channel in channels]

    def uncovered(self, fov: int, frame: int, channel: int, z: int) -> Boxes:
        """Where no tile lies in a plane that is put together from tiles."""
        row = int(self.layout.row[fov, frame, channel, z])
        box = self.layout.boxes[fov]
        if box is None or row < 0:
            return ()
        left, top, width, height = box
        boxes = (self.layout.tiles.box(int(tile)) for tile in self._tiles_of(row))
        tiles = tuple((y - top, x - left, y - top + h, x - left + w) for x, y, w, h in boxes)
        return outside_tiles(tiles, (height, width))

    def _tiles_of(self, row: int) -> np.ndarray:
        """The rows of all tiles of the plane that this one belongs to."""
        dims = [self.columns[letter] for letter in "STCZ"]
        return np.flatnonzero(np.logical_and.reduce([column == column[row] for column in dims]))

    def _read_plane(self, fov: int, frame: int, channel: int, z: int) -> np.ndarray | None:
        tiles, row = self.layout.tiles, int(self.layout.row[fov, frame, channel, z])
        if row < 0:
            return None
        kind = int(self.columns["pixel_type"][row])
        if kind not in CZI_PIXELS:
            place, pixels = place_of_plane(self.path, fov, frame, channel), CZI_UNUSABLE_PIXELS.get(kind, "unknown")
            raise UserError(
                f"{place}: {pixels} pixels cannot be used; export the movie in grey levels with 16-bit integers"
            )
        box = self.layout.boxes[fov]
        if box is None:
            plane = read_czi_plane(self.file, tiles, row)
            if plane is not None:
                return plane
        else:
            for tile in self._tiles_of(row):  # refuses one that is damaged
                read_subblock(self.file, tiles, int(tile))
        return self._read_by_library(row, box or tiles.box(row), *CZI_PIXELS[kind])

    def _read_by_library(self, row: int, box: tuple[int, int, int, int], pixel_type: str, dtype: str) -> np.ndarray:
        """The plane of a subblock, as a library reads it; box: x, y, width and height."""
        if self.vague:
            raise ValueError(
                f"some of its compressed planes do not name dimension {self.vague[0]}: no library tells them apart"
            )
        return self.libczi.read(
            box,
            np.dtype(dtype),
            plane={letter: int(self.columns[letter][row]) for letter in "TCZ"},
            scene=int(self.columns["S"][row]) if self.layout.tiles.has_scenes else None,
            pixel_type=pixel_type,
        )


def open_czi(path: Path) -> OpenedMovie:
    """Open a CZI."""
    opened = _OpenCzi(path)
    n_fovs, n_frames, n_channels, n_z = opened.layout.row.shape
    return OpenedMovie(opened.read, (n_fovs, n_frames, n_channels, n_z), opened.close, opened.uncovered)
