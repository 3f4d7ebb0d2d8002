"""Write CZI files plane by plane: scenes, time, Z and channels, with time stamps and scene names.

Written from Zeiss' published "ZISRAW (CZI) File Format, Design Specification"; the files are read by Zeiss' own libCZI
(pylibCZIrw) and by aicspylibczi. pylibCZIrw can write CZI too, but gives every subblock a random id, so that the same
movie would never give the same bytes, and it can write neither time stamps nor a file without some dimension.

    segment := 16 bytes name, i64 allocated length, i64 used length, data; a multiple of 32 bytes
    1. the file header, which says where 3 to 5 begin
    2. subblocks: 48 bytes + 20 per dimension of header (at least 256), metadata (XML), pixels
    3. the directory of subblocks: the same headers once more
    4. the metadata of the movie (XML)
    5. attachments ("TimeStamps": one f64 of seconds per frame) and their directory
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, NamedTuple
from xml.etree import ElementTree

import numpy as np

START = datetime(2025, 1, 1, tzinfo=UTC)  # a constant, so that the same movie gives the same bytes
PIXEL_TYPES = {"uint8": 0, "uint16": 1, "float32": 2, "uint8 x 3": 3, "int32": 12}
UNCOMPRESSED, ZSTD1 = 0, 6

Plane = Callable[[int, int, int, int], np.ndarray | None]
"""plane(fov, frame, channel, z): (height, width) pixels, or None for a plane that was not taken."""


class Subblock(NamedTuple):
    """One tile of pixels (height, width) or (height, width, 3), and where it belongs.

    dims: letter -> index, of those dimensions that the file has. x, y: where it lies on the canvas of the movie.
    shrink: how many times larger than its pixels the covered area is (tiles of a pyramid).
    """

    dims: dict[str, int]
    pixels: np.ndarray
    x: int = 0
    y: int = 0
    taken_s: float | None = None
    shrink: int = 1


def write_czi(
    path: Path,
    plane: Plane,
    *,
    n_fovs: int,
    n_frames: int,
    width: int,
    channels: Sequence[str | None],
    n_z: int = 1,
    axes: str = "STCZ",
    scene_ids: Sequence[int] | None = None,
    scene_names: Sequence[str] | None = None,
    first: dict[str, int] | None = None,
    pixel_um: float | None = 0.65,
    interval_s: float | None = 600.0,
    times_s: Callable[[int, int], float] | None = None,
    attach_times: bool = True,
    compress: bool = False,
) -> None:
    """Write one CZI file, asking for each plane once and keeping one plane in memory.

    The FOVs are scenes side by side, `width` + 500 pixels apart. axes: the dimensions that the file has; the others
    must have length 1. Where `plane` gives None there is no subblock. scene_ids: 0, 1, ... by default. first: the
    index at which T, C or Z begins, and further dimensions (B, V, H, I, R) of length 1 with their index.
    times_s(fov, frame): time stamps, stored with every subblock and, for FOV 0 and unless `attach_times` is False, as
    the list "TimeStamps". compress: zstd with separate low and high bytes ("zstd1"), as ZEN does.
    """
    sizes = {"S": n_fovs, "T": n_frames, "C": len(channels), "Z": n_z}
    if any(size > 1 and axis not in axes for axis, size in sizes.items()):
        raise ValueError(f"axes {axes!r} leave out a dimension that is longer than 1")
    scene_ids = list(scene_ids or range(n_fovs))
    begin = {"T": 0, "C": 0, "Z": 0, **(first or {})}
    further = {letter: index for letter, index in begin.items() if letter not in "TCZ"}

    def subblocks() -> Iterable[Subblock]:
        for frame in range(n_frames):
            for fov in range(n_fovs):
                for z in range(n_z):
                    for channel in range(len(channels)):
                        pixels = plane(fov, frame, channel, z)
                        if pixels is None:
                            continue
                        index = {
                            "S": scene_ids[fov],
                            "T": frame + begin["T"],
                            "C": channel + begin["C"],
                            "Z": z + begin["Z"],
                        }
                        yield Subblock(
                            {letter: index[letter] for letter in axes} | further,
                            pixels,
                            x=fov * (width + 500),
                            taken_s=times_s(fov, frame) if times_s else None,
                        )

    names = list(scene_names or [f"P{fov + 1}" for fov in range(n_fovs)]) if "S" in axes else []
    write_subblocks(
        path,
        subblocks(),
        xml=movie_xml(channels, dict(zip(scene_ids, names, strict=False)), pixel_um, interval_s),
        times_s=[times_s(0, frame) for frame in range(n_frames)] if times_s and attach_times else None,
        compress=compress,
    )


def write_subblocks(
    path: Path,
    subblocks: Iterable[Subblock],
    *,
    xml: bytes,
    times_s: Sequence[float] | None = None,
    compress: bool = False,
) -> None:
    """Write a CZI file of these subblocks, with this metadata and this list of time stamps."""
    with open(path, "wb") as file:
        file.write(bytes(32 + 512))
        entries = [_write_subblock(file, subblock, compress) for subblock in subblocks]
        directory = _write_segment(file, b"ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries))
        metadata = _write_segment(file, b"ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
        attachments = 0 if times_s is None else _write_time_stamps(file, times_s)
        guid = uuid.uuid5(uuid.NAMESPACE_OID, xml.decode()).bytes_le
        header = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, guid, guid, 0, directory, metadata, 0, attachments)
        file.seek(0)
        _write_segment(file, b"ZISRAWFILE", header.ljust(512, b"\0"))


def movie_xml(
    channels: Sequence[str | None],
    scenes: dict[int, str],
    pixel_um: float | None,
    interval_s: float | None,
) -> bytes:
    """Return the metadata of a movie: channel names, scene names by scene id, pixel size, time between frames."""
    root = ElementTree.Element("ImageDocument")
    metadata = ElementTree.SubElement(root, "Metadata")
    image = _child(metadata, "Information/Image")
    _child(image, "AcquisitionDateAndTime").text = START.isoformat().replace("+00:00", "Z")
    for number, name in enumerate(channels):
        channel = ElementTree.SubElement(_child(image, "Dimensions/Channels"), "Channel", Id=f"Channel:{number}")
        if name is not None:
            channel.set("Name", name)
    if interval_s is not None:
        interval = _child(image, "Dimensions/T/Positions/Interval")
        _child(interval, "Start").text = "0"
        _child(interval, "Increment").text = repr(float(interval_s))
    for index, name in scenes.items():
        ElementTree.SubElement(_child(image, "Dimensions/S/Scenes"), "Scene", Index=str(index), Name=name)
    if pixel_um is not None:
        for axis in "XY":
            distance = ElementTree.SubElement(_child(metadata, "Scaling/Items"), "Distance", Id=axis)
            # metres
            _child(distance, "Value").text = repr(pixel_um * 1e-6)
    _child(metadata, "Information/Application/Name").text = "synthetic (not written by ZEN)"
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _child(parent: ElementTree.Element, path: str) -> ElementTree.Element:
    """Return the element at this path below the parent, made where it does not exist."""
    for tag in path.split("/"):
        found = parent.find(tag)
        parent = ElementTree.SubElement(parent, tag) if found is None else found
    return parent


def _write_segment(file: IO[bytes], name: bytes, data: bytes) -> int:
    """Write a segment here and return where it begins."""
    start = file.tell()
    padding = -len(data) % 32
    file.write(struct.pack("<16sqq", name, len(data) + padding, len(data)) + data + bytes(padding))
    return start


def _write_subblock(file: IO[bytes], subblock: Subblock, compress: bool) -> bytes:
    """Write the subblock here and return its entry for the directory."""
    height, width = subblock.pixels.shape[:2]
    kind = str(subblock.pixels.dtype) + (" x 3" if subblock.pixels.ndim == 3 else "")
    shrink = subblock.shrink
    dims = [("X", subblock.x, width * shrink, width), ("Y", subblock.y, height * shrink, height)]
    dims += [(letter, index, 1, 1) for letter, index in subblock.dims.items()]
    entry = struct.pack(
        "<2siqiiB5xi",
        b"DV",
        PIXEL_TYPES[kind],
        file.tell(),
        0,
        ZSTD1 if compress else UNCOMPRESSED,
        2 if shrink > 1 else 0,
        len(dims),
    )
    for letter, start, size, stored in dims:
        entry += struct.pack("<4siifi", letter.encode(), start, size, 0.0, stored)

    xml = b"<METADATA />"
    if subblock.taken_s is not None:
        stamp = (START + timedelta(seconds=subblock.taken_s)).strftime("%Y-%m-%dT%H:%M:%S.%f")
        # ZEN writes one digit more than Python
        xml = f"<METADATA><Tags><AcquisitionTime>{stamp}0Z</AcquisitionTime></Tags></METADATA>".encode()
    data = _zstd1(subblock.pixels) if compress else subblock.pixels.tobytes()
    head = (struct.pack("<iiq", len(xml), 0, len(data)) + entry).ljust(256, b"\0")
    _write_segment(file, b"ZISRAWSUBBLOCK", head + xml + data)
    return entry


def _zstd1(pixels: np.ndarray) -> bytes:
    """Return uint8 or uint16 pixels as "zstd1": a header, then zstd.

    For uint16 the header says that the low bytes of all pixels come before their high bytes.
    """
    from numcodecs.zstd import Zstd

    if pixels.dtype == np.uint8:
        return b"\x01" + bytes(Zstd(level=1).encode(np.ascontiguousarray(pixels)))
    split = np.ascontiguousarray(pixels, "<u2").view(np.uint8).reshape(-1, 2).T
    return b"\x03\x01\x01" + bytes(Zstd(level=1).encode(np.ascontiguousarray(split)))


def _write_time_stamps(file: IO[bytes], times_s: Sequence[float]) -> int:
    """Write the attachment "TimeStamps" and the directory of attachments, and return where the directory begins."""
    stamps = np.array(times_s, "<f8").tobytes()
    data = struct.pack("<ii", 8 + len(stamps), len(times_s)) + stamps
    guid = uuid.uuid5(uuid.NAMESPACE_OID, "TimeStamps").bytes_le
    entry = struct.pack("<2s10xqi16s8s80s", b"A1", file.tell(), 0, guid, b"CZTIMS", b"TimeStamps")
    _write_segment(file, b"ZISRAWATTACH", struct.pack("<i12x", len(data)) + entry.ljust(240, b"\0") + data)
    return _write_segment(file, b"ZISRAWATTDIR", struct.pack("<i252x", 1) + entry)
