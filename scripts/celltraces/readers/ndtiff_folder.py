"""Read NDTiff, in which Micro-Manager 2 and pycro-manager save: a folder with `NDTiff.index` and its TIFF files.

The index has an entry per plane: its axes, its file, where in it the pixels and the plane's metadata lie.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.readers.movie import Movie, OpenedMovie
from celltraces.readers.planes_movie import movie_of, opened_movie
from celltraces.tiff import plane_map
from celltraces.tiff.name_pattern import natural
from celltraces.tiff.plane_map import FovMap, PlaneMap
from celltraces.tiff.tags import micro_manager_facts

INDEX = "NDTiff.index"
FULL = "Full resolution"  # the folder in which a movie of several resolutions keeps the first
DTYPES = {0: "uint8", 1: "<u2", 3: "<u2", 4: "<u2", 5: "<u2", 6: "<u2"}  # 8, 16, 10, 12, 14 and 11 bits
AXES = ("position", "time", "channel", "z")
LONGEST = 1 << 20  # bytes of a text in the index


class Entry(NamedTuple):
    """One plane: its file, where its pixels begin, its size and type, and where its metadata are."""

    file: str
    at: int
    width: int
    height: int
    pixel_type: int
    compression: int
    metadata_at: int
    metadata_length: int
    metadata_compression: int


def is_ndtiff(path: Path) -> bool:
    """Whether a folder holds an index of NDTiff."""
    return (_folder(path) / INDEX).is_file()


def contents(path: Path) -> list[Path]:
    """The files that count, in a fixed order."""
    folder = _folder(path)
    return [folder / INDEX, *sorted(file for file in folder.glob("*.tif") if file.is_file())]


def _folder(path: Path) -> Path:
    return path / FULL if (path / FULL).is_dir() else path


def inspect_ndtiff(path: Path) -> Movie:
    """Describe an NDTiff without reading pixels; see `movie_file.inspect_movie`."""
    planes, entries = _plane_map(path)
    sizes = [file.stat().st_size if file.is_file() else 0 for file in planes.files]
    fovs = []
    for fov in planes.fovs:
        stamps, name, place = fov.stamps_s.copy(), fov.name, None
        for frame in range(len(stamps)):
            there = fov.where[frame][fov.where[frame, ..., 0] >= 0]
            for file, number, _ in there.tolist():
                _refuse(path, entries[number], sizes[file])
            if len(there):
                file, number, _ = there[0].tolist()
                facts = micro_manager_facts(_metadata(planes.files[file], entries[number]))
                stamps[frame] = np.nan if facts.stamp_s is None else facts.stamp_s
                planes.pixel_size_um = planes.pixel_size_um or facts.pixel_size_um
                name, place = name or facts.position or "", place or facts.position_um
        fovs.append(fov._replace(stamps_s=stamps, name=name, position_um=place))
    planes.fovs = fovs
    planes.files = []  # found by their names
    return movie_of(planes)


def open_ndtiff(path: Path) -> OpenedMovie:
    """Open an NDTiff; one plane is read at a time."""
    planes, entries = _plane_map(path)
    opened: dict[int, IO[bytes]] = {}

    def read_plane(fov: int, frame: int, channel: int, z: int) -> np.ndarray:
        number, at, _ = planes.fovs[fov].where[frame, channel, z].tolist()
        entry = entries[at]
        _refuse(path, entry, planes.files[number].stat().st_size)
        if (entry.height, entry.width) != planes.fovs[fov].size:
            raise ValueError(f"a plane has {entry.width} x {entry.height} pixels, and others of its FOV not")
        if number not in opened:
            opened[number] = open(planes.files[number], "rb")  # noqa: SIM115
        opened[number].seek(entry.at)
        dtype = np.dtype(DTYPES[entry.pixel_type])
        stored = opened[number].read(entry.width * entry.height * dtype.itemsize)
        return np.frombuffer(stored, dtype).reshape(entry.height, entry.width)

    def close() -> None:
        while opened:
            opened.popitem()[1].close()

    return opened_movie(planes, read_plane, close)


def _plane_map(path: Path) -> tuple[PlaneMap, list[Entry]]:
    folder = _folder(path)
    found = _index((folder / INDEX).read_bytes())
    if not found:
        raise ValueError("its index is empty")
    values = {axis: list(dict.fromkeys(axes.get(axis, 0) for axes, _ in found)) for axis in AXES}
    for axis in {axis for axes, _ in found for axis in axes} - set(AXES):
        if len({axes.get(axis) for axes, _ in found}) > 1:
            raise UserError(
                f"'{path}' has the axis {axis!r}; a movie has positions, times, channels and z planes: save the planes "
                "of one value of it as a data set of their own"
            )
    numbers = [value for axis in ("time", "z") for value in values[axis]]
    if not all(isinstance(value, int) for value in numbers) or min(values["time"]) < 0:
        raise ValueError("its index has times or z planes that are no numbers")
    first_z = min(values["z"])
    shape = (max(values["time"]) + 1, len(values["channel"]), max(values["z"]) - first_z + 1)
    if shape[0] * shape[1] * shape[2] > 1000 * len(found):
        raise ValueError("its index is damaged")
    positions = sorted(values["position"], key=lambda value: natural(str(value)))
    where = {position: plane_map.empty(*shape) for position in positions}
    sizes: dict[Any, tuple[int, int]] = {}
    names = list(dict.fromkeys(entry.file for _, entry in found))
    if any(Path(name).name != name for name in names):
        raise ValueError("its index names files of other folders")
    for number, (axes, entry) in enumerate(found):
        position = axes.get("position", 0)
        at = (axes.get("time", 0), values["channel"].index(axes.get("channel", 0)), axes.get("z", 0) - first_z)
        file = names.index(entry.file)
        where[position][at] = (file, number, 0) if (folder / entry.file).is_file() else plane_map.NOWHERE
        sizes.setdefault(position, (entry.height, entry.width))
    unknown = np.full(shape[0], np.nan)
    texts = [position if isinstance(position, str) else "" for position in positions]
    fovs = [FovMap(name, where[at], unknown, sizes[at]) for name, at in zip(texts, positions, strict=True)]
    channels = [value if isinstance(value, str) else f"C{value}" for value in values["channel"]]
    dtypes = {np.dtype(DTYPES.get(entry.pixel_type, "<u2")) for _, entry in found}
    dtype = max(dtypes, key=lambda dtype: dtype.itemsize).name
    files = [folder / name for name in names]
    fovs = plane_map.without_frames_never_taken(fovs)
    return PlaneMap("ndtiff", files, fovs, channels, dtype=dtype), [entry for _, entry in found]


def _index(data: bytes) -> list[tuple[dict[str, Any], Entry]]:
    """The entries of an index; of two for the same plane the later. Raises ValueError where it is cut off."""
    found: dict[str, tuple[dict[str, Any], Entry]] = {}
    at = 0
    try:
        while at < len(data):
            text, at = _text(data, at)
            if not text:
                break  # an acquisition that was stopped: the rest was never written
            axes = json.loads(text)
            file, at = _text(data, at)
            found[json.dumps(axes, sort_keys=True)] = (axes, Entry(file, *struct.unpack_from("<8I", data, at)))
            at += 32
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError("its index is cut off or damaged") from error
    return list(found.values())


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, at)
    if length > min(LONGEST, len(data) - at - 4):
        raise ValueError("its index is cut off or damaged")
    return data[at + 4 : at + 4 + length].decode(), at + 4 + length


def _refuse(path: Path, entry: Entry, size: int) -> None:
    """Raise UserError for pixels that cannot be used, ValueError for those that are not wholly in the file."""
    if entry.pixel_type not in DTYPES:
        raise UserError(f"'{path}': colours cannot be used; save the movie in grey levels with 16-bit integers")
    if entry.compression:
        raise UserError(f"'{path}': compressed pixels of NDTiff cannot be read; save the movie without compression")
    n_bytes = entry.width * entry.height * np.dtype(DTYPES[entry.pixel_type]).itemsize
    if not n_bytes or entry.at + n_bytes > size:
        raise ValueError(f"the pixels of a plane are not wholly in {entry.file}")


def _metadata(file: Path, entry: Entry) -> dict[str, Any]:
    """What Micro-Manager says of a plane; empty where it cannot be read."""
    if entry.metadata_compression or entry.metadata_length > LONGEST:
        return {}
    with open(file, "rb") as opened:
        opened.seek(entry.metadata_at)
        try:
            found = json.loads(opened.read(entry.metadata_length))
        except ValueError:
            return {}
    return found if isinstance(found, dict) else {}
