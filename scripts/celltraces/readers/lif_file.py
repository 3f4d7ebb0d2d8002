"""Read LIF files of Leica's LAS X through liffile: images, and the tiles or positions of one image, become FOVs."""

from __future__ import annotations

import itertools
import os
import re
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import length_um, position_um, positive_number, refuse_declarations, seconds_per
from celltraces.readers.checks import bytes_left
from celltraces.readers.movie import Movie, OpenedMovie
from celltraces.readers.planes_movie import movie_of, opened_movie
from celltraces.tiff import plane_map
from celltraces.tiff.plane_map import FovMap, PlaneMap

if TYPE_CHECKING:
    from liffile import LifFile, LifImage

LIF_MAGIC = b"\x70\x00\x00\x00"
TIME = "4"  # the id of the axis of frames
TILES = "M"  # the axis of tiles, or of positions, of one image
LONGEST_NAME = 1000  # letters, of a block of pixels
AXES = ("T", "C", "Z", TILES, "Y", "X")
LEFT_OUT = re.compile(r"(_merged?|_merging|thumbnail|overview)\d*$", re.IGNORECASE)
"""Names of images that are no FOVs: tiles that LAS X has put together, and small pictures."""


class ImagePlace(NamedTuple):
    """One FOV: which image of the file, and which tile of it, None where it has none."""

    image: int
    tile: int | None


def inspect_lif(path: Path) -> Movie:
    """Describe a LIF without reading pixels; see `movie_file.inspect_movie`."""
    with _lif(path) as file:
        return movie_of(_plane_map(path, file)[0])


def open_lif(path: Path) -> OpenedMovie:
    """Open a LIF; one plane is read at a time."""
    file = _lif(path)
    try:
        planes, places, channels = _plane_map(path, file)
    except BaseException:
        file.close()
        raise
    images = list(file.images)

    def read_plane(fov: int, frame: int, channel: int, z: int) -> np.ndarray:
        place = places[fov]
        image = images[place.image]
        at = {"T": frame, "C": channels[place.image].index(channel), "Z": z, TILES: place.tile or 0}
        plane = image.frame(**{axis: index for axis, index in at.items() if axis in image.sizes})
        return np.asarray(plane if image.dims[-1] == "X" else plane.T)

    return opened_movie(planes, read_plane, file.close)


def _lif(path: Path) -> LifFile:
    from liffile import LifFile

    with open(path, "rb") as file:
        _, _, _, length = struct.unpack("<IIBI", file.read(13))
        if 2 * length > bytes_left(file):
            raise ValueError("it is cut off in its description")
        description = file.read(2 * length).decode("utf-16-le")
        refuse_declarations(description)
        _refuse_blocks(file, "<IIBIBI" if re.search(r'^<\w+ Version="1"', description) else "<IIBQBI")
    opened = LifFile(path, squeeze=False)
    # liffile knows images by their names, and of those that repeat the last alone
    for folder in opened.xml_element.iter("Children"):
        taken: set[str] = set()
        for element in folder.iterfind("Element"):
            name = element.get("Name", "")
            number = itertools.count(2)
            while element.get("Name") in taken:
                element.set("Name", f"{name} ({next(number)})")
            taken.add(element.get("Name", ""))
    return opened


def _refuse_blocks(file: IO[bytes], form: str) -> None:
    """Raise ValueError where the blocks of pixels do not follow each other to the end of the file."""
    while bytes_left(file) > 0:
        head = file.read(struct.calcsize(form))
        if len(head) < struct.calcsize(form):
            raise ValueError("it is cut off between two blocks of pixels")
        begin, _, *marks, letters = struct.unpack(form, head)
        if (begin, marks[0], marks[2]) != (0x70, 0x2A, 0x2A) or not 0 < letters <= LONGEST_NAME:
            raise ValueError("a block of pixels does not begin as one")
        if 2 * letters + marks[1] > bytes_left(file):
            raise ValueError("it is cut off in a block of pixels")
        file.seek(2 * letters + marks[1], os.SEEK_CUR)


def _plane_map(path: Path, file: LifFile) -> tuple[PlaneMap, list[ImagePlace], dict[int, list[int]]]:
    """The planes, where each FOV is, and which channels of the file those of each image are."""
    every = dict(enumerate(file.images))
    kept = {at: image for at, image in every.items() if not LEFT_OUT.search(image.name)} or every
    grey = {at: image for at, image in kept.items() if "S" not in image.sizes and not image.is_flim}
    if not grey:
        raise UserError(
            f"'{path}' has no image in grey levels ({len(every)} in all); export the movie in grey levels with 16-bit "
            "integers"
        )
    size = path.stat().st_size
    for image in grey.values():
        _refuse(path, image, size)
    names = [_channel_names(image) for image in grey.values()]
    channels, own = plane_map.common_channels(path, names)
    channels_of = dict(zip(grey, own, strict=True))
    fovs, places = [], []
    for at, image in grey.items():
        sizes = {**dict.fromkeys(AXES, 1), **image.sizes}
        where = plane_map.empty(sizes["T"], len(channels), sizes["Z"])
        where[:, channels_of[at]] = at, 0, 0
        stamps, positions = _stamps_s(image), _positions_um(image)
        for tile in range(sizes[TILES]):
            name = image.path + (f" {tile + 1}" if sizes[TILES] > 1 else "")
            size = sizes["Y"], sizes["X"]
            position = positions[tile] if len(positions) == sizes[TILES] else None
            told = {"period_s": _period_s(image), "position_um": position, "pixel_size_um": _pixel_size_um(image)}
            fovs.append(FovMap(name, where, stamps[tile], size, **told))
            places.append(ImagePlace(at, tile if TILES in image.sizes else None))
    dtypes = {image.dtype for image in grey.values()}
    widths = (_pixel_size_um(image) for image in grey.values())
    planes = PlaneMap(
        "lif",
        [],
        plane_map.same_sizes(fovs),
        channels,
        next((width for width in widths if width), None),
        next((period for period in map(_period_s, grey.values()) if period), None),
        max(dtypes, key=lambda dtype: dtype.itemsize).name,
        pixel_height_um=_pixel_size_um(next(iter(grey.values())), "Y"),
    )
    return planes, places, channels_of


def _refuse(path: Path, image: LifImage, size: int) -> None:
    """Raise UserError for an image that cannot be used, ValueError for one that is not wholly in the file."""
    others = [axis for axis, length in image.sizes.items() if axis not in AXES and length > 1]
    if others or not {"Y", "X"} <= set(image.sizes):
        raise UserError(
            f"'{path}': image '{image.path}' has the axes {', '.join(image.sizes)}; a movie has frames, channels, z "
            "planes and positions; export those images that are one into a file of their own"
        )
    if set(image.dims[-2:]) != {"Y", "X"}:
        raise ValueError(f"the pixels of image '{image.path}' do not lie row by row")
    if image.dtype.kind not in "ui":
        raise UserError(
            f"'{path}': image '{image.path}' has {image.dtype} pixels, which cannot be used; export the movie with "
            "16-bit integers"
        )
    if min(image.shape) < 1:
        raise ValueError(f"image '{image.path}' has the shape {image.shape}")
    block = image.memory_block
    if block.frames or block.offset < 0 or block.size < image.nbytes or block.offset + block.size > size:
        raise ValueError(f"the pixels of image '{image.path}' are not wholly in the file")


def _channel_names(image: LifImage) -> list[str]:
    """One name per channel: that of the dye, else of the colour it is shown in."""
    names = []
    for channel in image.xml_element.iterfind("./Data/Image/ImageDescription/Channels/ChannelDescription"):
        properties = {entry.findtext("Key"): entry.findtext("Value") for entry in channel.iterfind("ChannelProperty")}
        names.append(properties.get("DyeName") or channel.get("LUTName") or "")
    n_channels = image.sizes.get("C", 1)
    names = names if len(names) == n_channels else [""] * n_channels
    return [name or f"C{at}" for at, name in enumerate(names)]


def _stamps_s(image: LifImage) -> np.ndarray:
    """The time of the earliest plane of each frame, (tiles, T) float64 s.

    NaN where it has none. Of a list that is shorter or longer than there are planes, as after an acquisition that was
    stopped, the first stamp alone is used: that the others are unknown becomes a finding then.
    """
    axes = [axis for axis in image.dims if axis not in ("Y", "X")]
    lengths = [image.sizes[axis] for axis in axes]
    shape = (image.sizes.get(TILES, 1), image.sizes.get("T", 1))
    stamps = image.timestamps
    if stamps is None or not len(stamps):
        return np.full(shape, np.nan)
    listed = stamps.astype("datetime64[ms]").astype(np.int64) / 1000.0
    if len(listed) != np.prod(lengths, dtype=int):
        unknown = np.full(shape, np.nan)
        unknown[0, 0] = listed[0]
        return unknown
    seconds = listed.reshape(lengths)
    earliest = seconds.min(axis=tuple(at for at, axis in enumerate(axes) if axis not in ("T", TILES)))
    if axes.index("T") > axes.index(TILES) if {"T", TILES} <= set(axes) else True:
        return earliest.reshape(shape)
    return earliest.T.reshape(shape)


def _positions_um(image: LifImage) -> list[list[float] | None]:
    """Where the stage stood for each tile, else for the image; empty where neither is told. Leica gives metres."""
    for scan in image.xml_element.iterfind("./Data/Image/Attachment[@Name='TileScanInfo']"):
        stays = [(tile.get("PosX"), tile.get("PosY")) for tile in scan.iterfind("Tile")]
        turned = scan.get("SwapXY") == "1"
        return [position_um(*(stay[::-1] if turned else stay), 1e6) for stay in stays]
    for setting in image.xml_element.iterfind("./Data/Image/Attachment//*[@StagePosX]"):
        return [position_um(setting.get("StagePosX"), setting.get("StagePosY"), 1e6)]
    return []


def _pixel_size_um(image: LifImage, axis: str = "X") -> float | None:
    """Distance of the first and last column (row, of Y), over what lies between; Leica gives metres."""
    columns = image.coords.get(axis)
    if columns is None or len(columns) < 2:
        return None
    return length_um(abs(float(columns[-1] - columns[0])) / (len(columns) - 1), "m")


def _period_s(image: LifImage) -> float | None:
    """The time from frame to frame as it was planned; Leica gives seconds."""
    for dimension in image.xml_element.iterfind(".//Dimensions/DimensionDescription"):
        frames = int(dimension.get("NumberOfElements", "0"))
        if dimension.get("DimID") == TIME and frames > 1:
            per, length = seconds_per(dimension.get("Unit")), positive_number(dimension.get("Length"))
            return length * per / (frames - 1) if length and per else None
    return None
