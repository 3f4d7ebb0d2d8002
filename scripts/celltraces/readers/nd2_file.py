"""Inspect and open ND2 files: metadata through the package nd2, frames directly."""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import exposure_changes, position_um, positive_number, refuse_declarations
from celltraces.readers import time_stamps
from celltraces.readers.checks import believable_pixel_size_um, bytes_left, refuse_other_length
from celltraces.readers.movie import Contradiction, Movie, OpenedMovie
from celltraces.readers.nd2_internals import chunk_map, load_chunk

ND2_MAGIC = b"\xda\xce\xbe\x0a"
# The chunks that are read, in files of version 3 and of version 2. Others may be damaged without harm.
ND2_TREES = {
    *(b"ImageAttributesLV!", b"ImageMetadataLV!", b"ImageMetadataSeqLV|0!"),
    *(b"ImageAttributes!", b"ImageMetadata!", b"ImageMetadataSeq|0!"),
}
ND2_READ = (b"ImageDataSeq|", b"CustomData|AcqTimesCache!", *ND2_TREES)
ND2_AXES = {"T": "time points", "P": "positions", "Z": "Z planes"}
ND2_MANY = 100  # chunks of one kind whose names are looked at; those of frames may be hundreds of thousands


class _Nd2Layout(NamedTuple):
    """Which frame of the sequence is which position, time and z, and where it lies in the file."""

    axes: str  # loops from the outermost to the innermost, letters of P, T, Z
    counts: tuple[int, ...]  # as many as the loops announce
    starts: np.ndarray  # (P, T, Z) int64: byte where the chunk of the frame begins, -1 for frames that are not there

    @property
    def present(self) -> np.ndarray:
        """(P, T, Z) bool: the frames that are in the file."""
        return self.starts >= 0

    def sequence(self, **position: Any) -> Any:
        """Return the number of the frame (or an array of numbers) at position P=, T=, Z=."""
        number = 0
        for axis, count in zip(self.axes, self.counts, strict=True):
            number = number * count + position[axis]
        return number


class _Nd2Frames(NamedTuple):
    """How the pixels of a frame are stored: rows of `row_bytes`, in them columns, in them channels."""

    height: int
    width: int
    n_channels: int
    dtype: np.dtype
    row_bytes: int
    compressed: bool


class _PlainFile:
    """A file for nd2 to read from.

    nd2 would map what `open` returns into memory, where an error of the disk kills the process. No more is read than
    there is: nd2 asks for what the file says, which may be more than any memory.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  (nd2 closes it)

    def read(self, size: int = -1) -> bytes:
        left = max(0, bytes_left(self._file))
        return self._file.read(left if size < 0 else min(size, left))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _nd2_chunk(file: IO[bytes], start: int) -> tuple[bytes, int, int]:
    """Return the chunk at `start`: its name, the byte where its data begin, their length; ValueError if there is none.

    chunk: magic (4 bytes), length of the name's field (u32), length of the data (u64), name padded with NUL, data.
    """
    size = os.fstat(file.fileno()).st_size
    head = b""
    if start <= size:
        file.seek(start)
        head = file.read(16 + 256)
    if len(head) < 16 or not head.startswith(ND2_MAGIC):
        raise ValueError(f"there is no chunk at byte {start}, where its index says one begins")
    name_length, length = struct.unpack_from("<IQ", head, 4)
    data = start + 16 + name_length
    if data + length > size:
        raise ValueError(f"the chunk at byte {start} does not end within the file")
    return head[16 : 16 + name_length].partition(b"!")[0] + b"!", data, length


def _nd2_file(path: Path) -> Any:
    """Open the file with nd2; raise ValueError where the index at its end is missing."""
    import nd2

    file = _PlainFile(path)
    try:
        file.seek(-min(40, path.stat().st_size), 2)
        tail = file.read(40)
        if not tail.startswith(b"ND2 CHUNK MAP SIGNATURE 0000001!") or len(tail) < 40:
            raise ValueError("the index at its end is missing: the file is cut off or was never closed")
        _, begin, length = _nd2_chunk(file, struct.unpack_from("<Q", tail, 32)[0])
        file.seek(begin)
        n_frames = file.read(length).count(b"ImageDataSeq|")
        opened = nd2.ND2File(file)
        if n_frames != sum(name.startswith(b"ImageDataSeq|") for name in chunk_map(opened)):
            raise ValueError("its index is damaged: it names a frame twice")
        for name in chunk_map(opened).keys() & ND2_TREES:
            data = load_chunk(opened, name)
            if data.startswith(b"<"):
                # nd2 tries one encoding after the other, and an XML library that may be any of two
                for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                    refuse_declarations(data.decode(encoding, errors="ignore"))
        return opened
    except BaseException:
        file.close()
        raise


def _nd2_layout(opened: Any, file: IO[bytes]) -> tuple[_Nd2Layout, _Nd2Frames]:
    """Find out which frames the ND2File `opened`, a file also open as `file`, holds, and how they are stored.

    Raises ValueError where its parts contradict each other.
    """
    letters = {"TimeLoop": "T", "NETimeLoop": "T", "XYPosLoop": "P", "ZStackLoop": "Z"}
    loops = [loop for loop in opened.experiment if loop.count > 1 or loop.type in letters]
    unknown = [loop.type for loop in loops if loop.type not in letters]
    axes = "".join(letters[loop.type] for loop in loops if loop.type in letters)
    if unknown or len(set(axes)) < len(axes):
        raise ValueError(f"its loops {[loop.type for loop in loops]} cannot be put in order")
    counts = tuple(loop.count for loop in loops)

    frames = _nd2_frames(opened.attributes)
    # an entry that points beyond the end of the file is a frame that is not there
    size = os.fstat(file.fileno()).st_size
    listed = {
        int(name[13:-1]): start if start < size else -1
        for name, (start, _) in chunk_map(opened).items()
        if name.startswith(b"ImageDataSeq|")
    }
    if not listed or max(listed.values()) < 0:
        raise ValueError("it holds no images")
    _refuse_damaged_index(chunk_map(opened), listed, frames, file)

    announced = " x ".join(f"{count} {ND2_AXES[axis]}" for axis, count in zip(axes, counts, strict=True))
    numbers = np.array(list(listed), dtype=np.int64)
    promised = math.prod(counts)
    if numbers.max() >= promised:
        loops = (
            f"its loops announce {announced}" if counts else "it has no loops, which say what is a time or a position"
        )
        raise ValueError(f"it holds {numbers.max() + 1} images, and {loops}")
    position = dict(zip(axes, np.unravel_index(numbers, counts), strict=True)) if counts else {}
    index = tuple(position.get(axis, np.zeros_like(numbers)) for axis in "PTZ")
    n_z = counts[axes.index("Z")] if "Z" in axes else 1
    shape = (int(index[0].max()) + 1, int(index[1].max()) + 1, n_z)
    if math.prod(shape) > 1000 * len(numbers) + 100_000:
        raise ValueError(f"it holds {len(numbers)} images, and its loops announce {announced}")
    starts = np.full(shape, -1, dtype=np.int64)
    starts[index] = list(listed.values())
    return _Nd2Layout(axes, counts, starts), frames


def _nd2_frames(attributes: Any) -> _Nd2Frames:
    """How the frames are stored; raise ValueError where the attributes contradict each other."""
    if attributes.compressionType == "lossy":
        raise ValueError("its pixels are compressed with loss")
    bits, row_bytes = attributes.bitsPerComponentInMemory, attributes.widthBytes or 0
    if bits not in (8, 16, 32):
        raise ValueError(f"its pixels have {bits} bits")
    used = attributes.widthPx * attributes.componentCount * bits // 8
    # rows are padded to a multiple of 4 bytes, or not at all; nd2 keeps the size of tiles only if it is another
    fits = row_bytes == used or (row_bytes == used + -used % 4 and not attributes.tileWidthPx)
    if not used or not fits or attributes.heightPx < 1:
        raise ValueError(
            f"its rows of {row_bytes} bytes do not fit {attributes.widthPx} pixels of {attributes.componentCount} "
            f"components of {bits} bits"
        )
    return _Nd2Frames(
        attributes.heightPx,
        attributes.widthPx,
        attributes.componentCount,
        np.dtype(f"<u{bits // 8}"),
        row_bytes,
        attributes.compressionType == "lossless",
    )


def _refuse_damaged_index(
    chunks: dict[bytes, tuple[int, int]], listed: dict[int, int], frames: _Nd2Frames, file: IO[bytes]
) -> None:
    """Raise ValueError where the index names chunks otherwise than they name themselves.

    The first and the last frame are looked at, since they decide how long the movie is; each of the others when it is
    read, where a damaged frame costs no other FOV anything. Of the other chunks those that are read, or that lie at
    the place of one which is.
    """
    damaged = []
    there = [number for number, start in listed.items() if start >= 0]
    for number in (min(there), max(there)):
        try:
            _nd2_frame_data(file, number, listed[number], frames)
        except Contradiction:
            raise
        except ValueError as error:
            damaged.append(error)
    if len(damaged) == 2:
        raise damaged[0]
    kinds: dict[bytes, int] = {}
    on_page: dict[bytes, bool] = {}
    for name, (start, _) in chunks.items():
        kind = name.rpartition(b"|")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
        if name.startswith(b"ImageDataSeq|") or kinds[kind] > ND2_MANY:
            continue
        own_name = b""
        with suppress(ValueError):
            own_name, data, length = _nd2_chunk(file, start)
            on_page[name] = (data + length) % 4096 == 0
        if own_name != name and (own_name.startswith(ND2_READ) or name.startswith(ND2_READ)):
            raise ValueError(f"its index is damaged: it says {name[:40]!r} where there is {own_name[:40]!r}")
    # NIS-Elements makes the fields of names so long that data end on a page: one that alone does not has shifted data
    odd = [name for name, ends in on_page.items() if not ends and name.startswith(ND2_READ)]
    if odd and 5 * len(odd) < len(on_page):
        raise ValueError(f"the header of the chunk {odd[0][:40]!r} is damaged")


def _nd2_frame_data(file: IO[bytes], number: int, start: int, frames: _Nd2Frames) -> tuple[int, int]:
    """Return where the pixels of a frame begin and how many bytes they take; ValueError if they are not there."""
    name, data, length = _nd2_chunk(file, start)
    if name != b"ImageDataSeq|%d!" % number:
        raise Contradiction(f"its index is damaged: it says frame {number} where there is {name[:40]!r}")
    # the pixels begin on a page; a stamp of 8 bytes comes before them
    begin, length = data + 8, length - 8
    if begin != start + 4096:
        raise ValueError(f"the header of the chunk at byte {start} is damaged")
    if frames.compressed:
        if not 0 < length < 2 * frames.height * frames.row_bytes + 1000:
            raise ValueError(f"{length} bytes of compressed pixels")
    else:
        refuse_other_length(length, frames.height, frames.row_bytes)
    return begin, length


def _read_nd2_frame(file: IO[bytes], number: int, start: int, frames: _Nd2Frames) -> np.ndarray:
    """Return the frame as (H, W, C); raise ValueError where it is damaged."""
    begin, length = _nd2_frame_data(file, number, start, frames)
    file.seek(begin)
    stored = file.read(length)
    if frames.compressed:
        inflater = zlib.decompressobj()
        stored = inflater.decompress(stored, (frames.height + 1) * frames.row_bytes)
        if not inflater.eof:
            raise ValueError("its compressed pixels are damaged")
    refuse_other_length(len(stored), frames.height, frames.row_bytes)
    size = frames.dtype.itemsize
    return np.ndarray(
        (frames.height, frames.width, frames.n_channels),
        frames.dtype,
        stored,
        strides=(frames.row_bytes, frames.n_channels * size, size),
    )


def inspect_nd2(path: Path) -> Movie:
    """Describe an ND2 without reading pixels; see `movie_file.inspect_movie`."""
    with open(path, "rb") as raw, _nd2_file(path) as file:
        layout, frames = _nd2_layout(file, raw)
        picture = _nd2_picture(file)
        planes = picture.get("sPicturePlanes", {})
        names = [
            plane.get("sDescription") for plane in (planes.get("sPlaneNew") or planes.get("sPlane") or {}).values()
        ]
        _refuse_nd2_pixels(path, file.attributes, names)
        if len(names) not in (0, frames.n_channels):
            raise ValueError(f"it names {len(names)} channels and holds {frames.n_channels}")
        channels = [name or f"C{i}" for i, name in enumerate(names or [None] * frames.n_channels)]

        n_fovs, n_frames, n_z = layout.present.shape
        stamps_s, taken = _nd2_stamps_s(file, layout), layout.present.any(axis=2)
        trusted = time_stamps.trusted(stamps_s, taken)
        times_min = time_stamps.minutes_since_first(stamps_s, trusted, taken)
        senseless = time_stamps.senseless(stamps_s, taken)
        points = [loop.parameters.points for loop in file.experiment if loop.type == "XYPosLoop"]
        positions = _nd2_positions_um(points[0], picture) if points else [None] * n_fovs
        exposures = _nd2_exposures_ms(planes, len(channels))
        fovs = []
        for fov in range(n_fovs):
            gone = np.flatnonzero(~layout.present[fov].all(axis=1)).tolist()
            fovs.append(
                {
                    "name": (points[0][fov].name if points else None) or f"FOV {fov}",
                    "height": frames.height,
                    "width": frames.width,
                    "times_min": times_min[fov],
                    "senseless_stamps": senseless[fov],
                    "missing": [[frame, channel] for frame in gone for channel in range(len(channels))],
                    "position_um": positions[fov],
                    "exposures_ms": exposures,
                }
            )
        return Movie(
            format="nd2",
            dtype=str(frames.dtype),
            n_frames=n_frames,
            n_z=n_z,
            channels=channels,
            # `voxel_size()` says 1.0 for a file that has none
            pixel_size_um=believable_pixel_size_um(picture.get("dCalibration")) if picture.get("bCalibrated") else None,
            period_min=_nd2_period_min(file.experiment),
            fovs=fovs,
        )


def _refuse_nd2_pixels(path: Path, attributes: Any, names: list[str]) -> None:
    """Raise UserError for pixels that no plane of the file could be used of (all planes share one type)."""
    which = f"'{path}', FOV 0, frame 0, channel 0 ({(names or [''])[0] or 'C0'!r})"
    if attributes.componentCount != (attributes.channelCount or 1):
        raise UserError(f"{which}: colour (RGB) pixels cannot be used; export the movie in grey levels")
    if attributes.pixelDataType == "float":
        raise UserError(f"{which}: float pixels cannot be used; export the movie with 16-bit integers")


def _nd2_stamps_s(file: Any, layout: _Nd2Layout) -> np.ndarray:
    """Return (P, T) float64 seconds: when each frame (its first Z plane) was taken, NaN where unknown.

    One read of the acquisition times, which has one entry per frame of the sequence: `frame_metadata` gives the
    same numbers, one by one, and `events()` mixes user events in between.
    """
    chunk = b"CustomData|AcqTimesCache!"
    n_fovs, n_frames, _ = layout.present.shape
    stamps = np.full((n_fovs, n_frames), np.nan)
    if chunk not in chunk_map(file):
        return stamps
    raw = load_chunk(file, chunk)
    times_ms = np.frombuffer(raw, dtype="<f8", count=len(raw) // 8)
    numbers = np.broadcast_to(
        layout.sequence(P=np.arange(n_fovs)[:, None], T=np.arange(n_frames)[None, :], Z=0), stamps.shape
    )
    known = numbers < len(times_ms)
    stamps[known] = times_ms[numbers[known]] / 1000.0
    return stamps


def _nd2_picture(file: Any) -> dict[str, Any]:
    """Return the metadata of the first frame as stored: channels and calibration."""
    key = "ImageMetadataSeqLV|0" if file.version >= (3, 0) else "ImageMetadataSeq|0"
    raw = file.unstructured_metadata(strip_prefix=False, include={key})[key]
    return raw.get("SLxPictureMetadata", raw)


def _nd2_positions_um(points: Sequence[Any], picture: Mapping[str, Any]) -> list[list[float] | None]:
    """Where the stage stood in each of the points of a loop, along the columns and rows of the camera.

    The first row of the matrix that turns the stage's axes into the camera's says which of them the columns lie along.
    """
    along_x, along_y = (abs(picture.get(key) or 0.0) for key in ("dStgLgCT11", "dStgLgCT12"))
    stays = (point.stagePositionUm for point in points)
    return [position_um(stay.y, stay.x) if along_y > along_x else position_um(stay.x, stay.y) for stay in stays]


def _nd2_exposures_ms(planes: Mapping[str, Any], n_channels: int) -> list[list[list[float]]]:
    """How long each channel was exposed: the same in all frames, as the metadata of the first one tell."""
    samples = planes.get("sSampleSetting") or {}
    described = list((planes.get("sPlaneNew") or planes.get("sPlane") or {}).values()) or [{}] * n_channels
    settings = [samples.get(f"a{plane.get('uiSampleIndex', 0)}") or {} for plane in described]
    return [exposure_changes([setting.get("dExposureTime")]) for setting in settings]


def _nd2_period_min(experiment: Sequence[Any]) -> float | None:
    """Return the declared period in minutes; the mean that NIS-Elements measured where none was declared."""
    for loop in experiment:
        if loop.type == "TimeLoop":
            phases = [loop.parameters]
        elif loop.type == "NETimeLoop":
            phases = loop.parameters.periods
        else:
            continue
        periods = {positive_number(phase.periodMs) or positive_number(phase.periodDiff.avg) for phase in phases}
        # phases of different pace have no common period
        period = periods.pop() if len(periods) == 1 else None
        return None if period is None else period / 60_000.0
    return None


def open_nd2(path: Path) -> OpenedMovie:
    """Open an ND2; its frames are read directly, since nd2 gives zeros for frames that the index has lost."""
    file = open(path, "rb")  # noqa: SIM115
    try:
        with _nd2_file(path) as opened:
            layout, frames = _nd2_layout(opened, file)
            _refuse_nd2_pixels(path, opened.attributes, [])
    except BaseException:
        file.close()
        raise
    n_fovs, n_frames, n_z = layout.starts.shape

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        start = int(layout.starts[fov, frame, z])
        if start < 0:
            return [None] * len(channels)
        pixels = _read_nd2_frame(file, int(layout.sequence(P=fov, T=frame, Z=z)), start, frames)
        planes = [np.array(pixels[:, :, channel], order="C") for channel in channels]
        # NIS-Elements stores zeros for a channel that it was told to skip at this time point. Cameras do not, but the
        # outer planes of confocal stacks may well be 0 (cluster.nd2)
        return [plane if n_z > 1 or plane.max() > 0 else None for plane in planes]

    return OpenedMovie(read, (n_fovs, n_frames, frames.n_channels, n_z), file.close)
