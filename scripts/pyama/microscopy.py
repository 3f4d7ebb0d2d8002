"""Reading ND2 and CZI time-lapses: the one module that opens the user's image files.

`inspect_movie` learns everything planning needs without reading a pixel; `open_movie` reads planes. Both speak
of (fov, frame, channel, z), each counted from 0 in the order of the file, whatever loops, scenes or ids the file
itself uses. A plane that the file does not hold is reported and read as None; it never moves another plane.

ND2 goes through the package `nd2`. CZI pixels go through `aicspylibczi`, and through `pylibCZIrw` where that one
crashes (scenes of different size), does not stitch (mosaics), or is slow (73 ms per plane of a file with 60,000
subblocks, against 4 ms). The directory of a CZI (which planes exist, where, of what size) and its time stamps are read
here, because neither package gives the stamps, and both hide that a plane does not exist.
"""

from __future__ import annotations

import itertools
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from formats import pyama_folder
from pyama.errors import PyamaError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ReadPlanes = Callable[[int, int, Sequence[int], int | None], list[np.ndarray | None]]
"""read(fov, frame, channels, z): one (H, W) uint16 plane per channel, None where the file has no such plane."""

SUFFIXES = (".nd2", ".czi")
MANY_SUBBLOCKS = 5000
ND2_MAGIC = b"\xda\xce\xbe\x0a"
ND2_JPEG2000_MAGIC = b"\x00\x00\x00\x0c"
CZI_MAGIC = b"ZISRAWFILE"
OTHER_MAGICS = {
    b"II*\0": "a TIFF file",
    b"MM\0*": "a TIFF file",
    b"II+\0": "a BigTIFF file",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a ZIP archive",
}
MAKER = {"ND2": "NIS-Elements", "CZI": "ZEN", "PyAMA": "PyAMA"}


@dataclass(frozen=True)
class Movie:
    """What planning learns from one file; survives JSON as `Movie(**json.loads(json.dumps(asdict(movie))))`.

    `fovs` has one dict per FOV in file order: `name`; `height`, `width` in pixels; `times_min`, one time per frame
    in minutes since frame 0, or None; `missing`, the [frame, channel] pairs that lack at least one Z plane.
    ND2 gap images (a channel that NIS-Elements was told to skip at a time point is stored as zeros) are seen only
    when read: they are not in `missing`, but read as None (in files with one Z plane).
    """

    format: str
    dtype: str
    n_frames: int
    n_z: int
    channels: list[str]
    pixel_size_um: float | None
    period_min: float | None
    fovs: list[dict[str, Any]]


def inspect_movie(path: Path) -> Movie:
    """Describe the file without reading pixels.

    Frame times are the file's own time stamps. Frames that were announced but never taken in any FOV are not
    counted (an acquisition that was stopped early). Raises PyamaError for a file that cannot be used.
    """
    path = Path(path)
    if pyama_folder.is_one(path):
        return Movie(**pyama_folder.inspect(path))
    kind = _kind_of(path)
    with _reader_errors(path, kind):
        return _inspect_nd2(path) if kind == "ND2" else _inspect_czi(path)


@contextmanager
def open_movie(path: Path) -> Iterator[ReadPlanes]:
    """Open the file and yield `read(fov, frame, channels, z)`, see `ReadPlanes`.

    z is None for a file with one Z plane. Integer pixels whose values fit are widened to uint16. `read` raises
    PyamaError, naming FOV, frame and channel, for pixels that uint16 cannot hold (floats, colours, values
    outside 0..65535), for data that cannot be decoded, and for indices that the file does not have.
    """
    path = Path(path)
    kind = "PyAMA" if pyama_folder.is_one(path) else _kind_of(path)
    with _reader_errors(path, kind):
        opened = {"ND2": _open_nd2, "CZI": _open_czi, "PyAMA": pyama_folder.opened}[kind](path)
        read_raw, shape, close = opened
    n_fovs, n_frames, n_channels, n_z = shape

    def read(fov: int, frame: int, channels: Sequence[int], z: int | None) -> list[np.ndarray | None]:
        if z is None and n_z > 1:
            raise PyamaError(f"'{path}' has {n_z} Z planes; choose one of 0..{n_z - 1}, or their maximum")
        z = 0 if z is None else z
        wanted = [("FOV", fov, n_fovs), ("frame", frame, n_frames), ("Z plane", z, n_z)]
        for name, index, count in wanted + [("channel", channel, n_channels) for channel in channels]:
            if not 0 <= index < count:
                raise PyamaError(f"'{path}' has no {name} {index}; it has 0..{count - 1}")
        with _reader_errors(path, kind, f"FOV {fov}, frame {frame}: "):
            planes = read_raw(fov, frame, channels, z)
        return [
            None if plane is None else _as_uint16(plane, _where(path, fov, frame, channel))
            for plane, channel in zip(planes, channels, strict=True)
        ]

    try:
        yield read
    finally:
        close()


# ---------------------------------------------------------------------------------------------------------------
# what both formats share


class _Opened(NamedTuple):
    """A file open for reading: its planes as stored, the sizes (FOVs, frames, channels, z), and how to close it."""

    read: Callable[[int, int, Sequence[int], int], list[np.ndarray | None]]
    shape: tuple[int, int, int, int]
    close: Callable[[], None]


def _kind_of(path: Path) -> str:
    """Return "ND2" or "CZI" by the first bytes of the file; raise PyamaError for everything else."""
    if path.suffix.lower() not in SUFFIXES:
        raise PyamaError(f"'{path}' has an unknown ending; microscopy files end in {' or '.join(SUFFIXES)}")
    expected = path.suffix[1:].upper()
    if path.is_dir():
        raise PyamaError(f"'{path}' is a folder; name the {expected} file itself")
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise PyamaError(f"'{path}' does not exist; correct the path") from None
    except OSError as error:
        raise PyamaError(f"'{path}' cannot be opened ({error.strerror}); check that you may read it") from error
    if head.startswith(ND2_MAGIC):
        return "ND2"
    if head.startswith(CZI_MAGIC):
        return "CZI"
    remedy = f"name a file written by {MAKER[expected]}"
    if not head:
        reason, remedy = "it is empty", "copy it again from the microscope"
    elif head.startswith(ND2_JPEG2000_MAGIC):
        reason = "it is of the old JPEG 2000 kind"
        remedy = "open it in NIS-Elements and save it as a present-day ND2"
    else:
        names = (name for magic, name in OTHER_MAGICS.items() if head.startswith(magic))
        reason = f"it is {next(names, 'something else')}"
    raise PyamaError(f"'{path}' is not a readable {expected} file: {reason}; {remedy}")


@contextmanager
def _reader_errors(path: Path, kind: str, place: str = "") -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into one PyamaError line, and mute its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except PyamaError:
            raise
        except Exception as error:
            # damaged files make the readers raise every kind of exception, and ask for absurd amounts of memory
            # before any pixel is read; the cause stays attached for the log
            if place and isinstance(error, MemoryError):
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            reason = f"it lacks {reason}" if isinstance(error, KeyError) else reason
            remedy = f"copy it again from the microscope, or open it in {MAKER[kind]} and save it anew"
            raise PyamaError(f"'{path}' is not a readable {kind} file: {place}{reason}; {remedy}") from error


def _where(path: Path, fov: int, frame: int, channel: int) -> str:
    return f"'{path}', FOV {fov}, frame {frame}, channel {channel}"


def _as_uint16(plane: np.ndarray, where: str) -> np.ndarray:
    """Return the plane (H, W) as contiguous uint16; raise PyamaError where a value would be lost."""
    if plane.dtype == np.uint16:
        return np.ascontiguousarray(plane)
    if plane.dtype.kind not in "ui":
        raise PyamaError(f"{where}: {plane.dtype} pixels cannot be used; export the movie with 16-bit integers")
    low, high = int(plane.min(initial=0)), int(plane.max(initial=0))
    if low < 0 or high > 65535:
        raise PyamaError(
            f"{where}: values {low}..{high} do not fit into 16 bits; export the movie with values in 0..65535"
        )
    return np.ascontiguousarray(plane, dtype=np.uint16)


def _positive(value: Any) -> float | None:
    """Return value as a float if it is a finite number above 0, else None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _pixel_size_um(value_um: Any) -> float | None:
    """Return a believable pixel size in um, else None."""
    size = _positive(value_um)
    return round(size, 9) if size is not None and 1e-3 <= size <= 1e3 else None


def _minutes_since_start(stamps_s: np.ndarray, taken: np.ndarray) -> list[float] | None:
    """Return the time of every frame in minutes since frame 0, or None if the stamps make no sense.

    stamps_s (T,) float64 seconds since any moment; taken (T,) bool, the frames that exist. The stamps of existing
    frames must be finite and rise; frames that do not exist get a time between, or beyond, their neighbours'.
    """
    frames = np.flatnonzero(taken)
    stamps = stamps_s[frames]
    if not len(frames) or not np.isfinite(stamps).all() or not (np.diff(stamps) > 0).all():
        return None
    if len(frames) < len(taken):
        if len(frames) < 2:
            return None
        step = float(np.median(np.diff(stamps) / np.diff(frames)))
        every = np.arange(len(taken))
        before, after = np.minimum(every - frames[0], 0), np.maximum(every - frames[-1], 0)
        stamps = np.interp(every, frames, stamps) + step * (before + after)
    # a microminute is finer than any stamp, and keeps the JSON of long movies short
    return np.round((stamps - stamps[0]) / 60.0, 6).tolist()


# ---------------------------------------------------------------------------------------------------------------
# ND2


class _Nd2Layout(NamedTuple):
    axes: str  # loops from the outermost to the innermost, letters of P, T, Z
    counts: tuple[int, ...]  # as many as the loops announce
    present: np.ndarray  # (P, T, Z) bool: the frames that are in the file

    def sequence(self, **position: Any) -> Any:
        """Return the number of the frame (or an array of numbers) at position P=, T=, Z=."""
        number = 0
        for axis, count in zip(self.axes, self.counts, strict=True):
            number = number * count + position[axis]
        return number


def _nd2_layout(file: Any, file_size: int) -> _Nd2Layout:
    """Find out which frames the open nd2.ND2File holds; raise ValueError where its parts contradict each other."""
    letters = {"TimeLoop": "T", "NETimeLoop": "T", "XYPosLoop": "P", "ZStackLoop": "Z"}
    loops = [loop for loop in file.experiment if loop.count > 1 or loop.type in letters]
    unknown = [loop.type for loop in loops if loop.type not in letters]
    axes = "".join(letters[loop.type] for loop in loops if loop.type in letters)
    if unknown or len(set(axes)) < len(axes):
        raise ValueError(f"its loops {[loop.type for loop in loops]} cannot be put in order")
    counts = tuple(loop.count for loop in loops)

    attributes = file.attributes
    if attributes.compressionType == "lossy":
        raise ValueError("its pixels are compressed with loss")
    frame_bytes = attributes.heightPx * attributes.widthBytes
    # 4096 bytes of header lie before the pixels; an entry that points beyond the end of the file is no frame
    last_start = math.inf if attributes.compressionType else file_size - frame_bytes - 4096
    numbers = np.array(
        [
            int(name[13:-1])
            for name, (start, _) in file._rdr.chunkmap.items()
            if name.startswith(b"ImageDataSeq|") and start <= last_start
        ],
        dtype=np.int64,
    )
    if not len(numbers):
        raise ValueError("it holds no images")
    promised = math.prod(counts)
    if numbers.max() >= promised:
        raise ValueError(f"it holds frame {numbers.max()} although its loops {axes or '(none)'} end at {promised - 1}")
    position = dict(zip(axes, np.unravel_index(numbers, counts), strict=True)) if counts else {}
    index = tuple(position.get(axis, np.zeros_like(numbers)) for axis in "PTZ")
    n_z = counts[axes.index("Z")] if "Z" in axes else 1
    present = np.zeros((int(index[0].max()) + 1, int(index[1].max()) + 1, n_z), dtype=bool)
    present[index] = True
    return _Nd2Layout(axes, counts, present)


class _PlainFile:
    """A file that nd2 reads from. What `open` returns it would map into memory instead: then the memory of a job grows
    with the length of the movie, and an array that still lies in the file when it is closed kills the process."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  (nd2 closes it)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _nd2_file(path: Path) -> Any:
    """Open the file with nd2; raise ValueError where the index at its end is missing."""
    import nd2

    file = _PlainFile(path)
    try:
        file.seek(-min(40, path.stat().st_size), 2)
        if not file.read(40).startswith(b"ND2 CHUNK MAP SIGNATURE 0000001!"):
            raise ValueError("the index at its end is missing: the file is cut off or was never closed")
        return nd2.ND2File(file)
    except BaseException:
        file.close()
        raise


def _inspect_nd2(path: Path) -> Movie:
    with _nd2_file(path) as file:
        layout = _nd2_layout(file, path.stat().st_size)
        attributes = file.attributes
        names = [channel.channel.name for channel in file.metadata.channels or []]
        channels = [names[i] if i < len(names) and names[i] else f"C{i}" for i in range(attributes.channelCount or 1)]
        _refuse_nd2_pixels(path, attributes, channels)

        n_fovs, n_frames, n_z = layout.present.shape
        stamps = _nd2_stamps_s(file, layout)
        points = [loop.parameters.points for loop in file.experiment if loop.type == "XYPosLoop"]
        fovs = []
        for fov in range(n_fovs):
            gone = np.flatnonzero(~layout.present[fov].all(axis=1)).tolist()
            fovs.append(
                {
                    "name": (points[0][fov].name if points else None) or f"FOV {fov}",
                    "height": int(attributes.heightPx),
                    "width": int(attributes.widthPx),
                    "times_min": _minutes_since_start(stamps[fov], layout.present[fov].any(axis=1)),
                    "missing": [[frame, channel] for frame in gone for channel in range(len(channels))],
                }
            )
        return Movie(
            format="nd2",
            dtype=str(file.dtype),
            n_frames=n_frames,
            n_z=n_z,
            channels=channels,
            pixel_size_um=_nd2_pixel_size_um(file),
            period_min=_nd2_period_min(file.experiment),
            fovs=fovs,
        )


def _refuse_nd2_pixels(path: Path, attributes: Any, channels: list[str]) -> None:
    """Raise PyamaError for pixels that no plane of the file could be used of (all planes share one type)."""
    which = f"'{path}', FOV 0, frame 0, channel 0 ({channels[0]!r})"
    if attributes.componentCount != (attributes.channelCount or 1):
        raise PyamaError(f"{which}: colour (RGB) pixels cannot be used; export the movie in grey levels")
    if attributes.pixelDataType == "float":
        raise PyamaError(f"{which}: float pixels cannot be used; export the movie with 16-bit integers")


def _nd2_stamps_s(file: Any, layout: _Nd2Layout) -> np.ndarray:
    """Return (P, T) float64 seconds: when each frame (its first Z plane) was taken, NaN where unknown.

    One read of the acquisition times, which has one entry per frame of the sequence: `frame_metadata` gives the
    same numbers, one by one, and `events()` mixes user events in between.
    """
    chunk = b"CustomData|AcqTimesCache!"
    n_fovs, n_frames, _ = layout.present.shape
    stamps = np.full((n_fovs, n_frames), np.nan)
    if chunk not in file._rdr.chunkmap:
        return stamps
    raw = file._rdr._load_chunk(chunk)
    times_ms = np.frombuffer(raw, dtype="<f8", count=len(raw) // 8)
    numbers = np.broadcast_to(
        layout.sequence(P=np.arange(n_fovs)[:, None], T=np.arange(n_frames)[None, :], Z=0), stamps.shape
    )
    known = numbers < len(times_ms)
    stamps[known] = times_ms[numbers[known]] / 1000.0
    return stamps


def _nd2_pixel_size_um(file: Any) -> float | None:
    """Return the calibration as stored: `voxel_size()` says 1.0 for a file that has none."""
    key = "ImageMetadataSeqLV|0" if file.version >= (3, 0) else "ImageMetadataSeq|0"
    raw = file.unstructured_metadata(strip_prefix=False, include={key})[key]
    raw = raw.get("SLxPictureMetadata", raw)
    return _pixel_size_um(raw.get("dCalibration")) if raw.get("bCalibrated") else None


def _nd2_period_min(experiment: Sequence[Any]) -> float | None:
    """Return the declared period in minutes; the mean that NIS-Elements measured where none was declared."""
    for loop in experiment:
        if loop.type == "TimeLoop":
            phases = [loop.parameters]
        elif loop.type == "NETimeLoop":
            phases = loop.parameters.periods
        else:
            continue
        periods = {_positive(phase.periodMs) or _positive(phase.periodDiff.avg) for phase in phases}
        # phases of different pace have no common period
        period = periods.pop() if len(periods) == 1 else None
        return None if period is None else period / 60_000.0
    return None


def _open_nd2(path: Path) -> _Opened:
    file = _nd2_file(path)
    try:
        layout = _nd2_layout(file, path.stat().st_size)
        attributes = file.attributes
        n_channels = attributes.channelCount or 1
        _refuse_nd2_pixels(path, attributes, [f"C{i}" for i in range(n_channels)])
    except BaseException:
        file.close()
        raise
    shape = (n_channels, attributes.heightPx, attributes.widthPx)
    n_fovs, n_frames, n_z = layout.present.shape

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        if not layout.present[fov, frame, z]:
            return [None] * len(channels)
        # nd2 drops axes of length 1
        pixels = file.read_frame(layout.sequence(P=fov, T=frame, Z=z)).reshape(shape)
        planes = [np.array(pixels[channel], order="C") for channel in channels]
        # NIS-Elements stores zeros for a channel that it was told to skip at this time point. Cameras do not, but the
        # outer planes of confocal stacks may well be 0 (cluster.nd2)
        return [plane if n_z > 1 or plane.any() else None for plane in planes]

    return _Opened(read, (n_fovs, n_frames, n_channels, n_z), file.close)


# ---------------------------------------------------------------------------------------------------------------
# CZI. Layout of the file: Zeiss' "ZISRAW (CZI) File Format, Design Specification".

CZI_PIXELS = {0: ("Gray8", "uint8"), 1: ("Gray16", "uint16")}
CZI_UNUSABLE_PIXELS = {
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


class _Tiles(NamedTuple):
    """The full-resolution subblocks of a CZI: one row each; `dims` by letter, absent dimensions are 0."""

    dims: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    width: np.ndarray
    height: np.ndarray
    pixel_type: np.ndarray
    position: np.ndarray  # byte where the subblock's segment begins
    has_scenes: bool


class _CziLayout(NamedTuple):
    tiles: _Tiles
    scenes: list[int]  # ids as stored, one per FOV
    channels: list[int]  # ids as stored
    first_frame: int
    first_z: int
    row: np.ndarray  # (F, T, C, Z) int64: a row of `tiles`, -1 where the plane is not (wholly) in the file
    boxes: list[tuple[int, int, int, int] | None]  # per FOV (x, y, w, h) of a mosaic, None for single tiles
    sizes: list[tuple[int, int]]  # per FOV (height, width)


def _segment(file: IO[bytes], position: int, name: bytes) -> int:
    """Go to the data of the segment at `position` and return its length in bytes; ValueError if there is none."""
    file.seek(position)
    head = file.read(32)
    if len(head) < 32 or head[:16].rstrip(b"\0") != name:
        raise ValueError(f"no {name.decode()} segment at byte {position}; the file is cut off or was never closed")
    return struct.unpack_from("<q", head, 24)[0]


def _czi_positions(file: IO[bytes]) -> tuple[int, int]:
    """Return where the directory of subblocks and the directory of attachments begin (0: none)."""
    _segment(file, 0, CZI_MAGIC)
    header = file.read(80)
    if len(header) < 80:
        raise ValueError("the file is cut off in its header")
    return struct.unpack_from("<q", header, 52)[0], struct.unpack_from("<q", header, 72)[0]


def _entry_type(n_dims: int) -> np.dtype:
    dimension = np.dtype([("name", "S4"), ("start", "<i4"), ("size", "<i4"), ("_", "<f4"), ("stored", "<i4")])
    return np.dtype(
        [
            ("schema", "S2"),
            ("pixel_type", "<i4"),
            ("position", "<i8"),
            ("_", "S14"),
            ("n_dims", "<i4"),
            ("dims", dimension, (n_dims,)),
        ]
    )


def _read_tiles(file: IO[bytes], file_size: int) -> _Tiles:
    """Read the directory of subblocks, and keep those of full resolution.

    Entries have a different length for a different number of dimensions; runs of equal length are read at once
    (a movie of 1,000 FOVs, 500 frames and 3 channels has 1.5 million entries).
    """
    start, _ = _czi_positions(file)
    length = _segment(file, start, b"ZISRAWDIRECTORY")
    raw = file.read(min(max(length, 128), file_size))
    left, offset = struct.unpack_from("<i", raw)[0], 128
    letters = "STCZMBVHIR"
    columns: dict[str, list[np.ndarray]] = {}
    has_scenes = False
    while left > 0:
        if offset + 32 > len(raw):
            raise ValueError("its directory of subblocks is cut off")
        n_dims = struct.unpack_from("<i", raw, offset + 28)[0]
        if not 2 <= n_dims <= 40:
            raise ValueError("its directory of subblocks is damaged")
        entry = _entry_type(n_dims)
        run = np.frombuffer(raw, entry, min(left, 4096, (len(raw) - offset) // entry.itemsize), offset)
        others = np.flatnonzero((run["n_dims"] != n_dims) | (run["schema"] != b"DV"))
        run = run[: others[0]] if len(others) else run
        if not len(run):
            raise ValueError("its directory of subblocks is damaged")
        left, offset = left - len(run), offset + len(run) * entry.itemsize

        names, values = run["dims"]["name"], run["dims"]
        found: dict[str, np.ndarray] = {name: run[name] for name in ("pixel_type", "position")}
        for letter in letters:
            found[letter] = np.where(names == letter.encode(), values["start"], 0).sum(axis=1)
        for letter in "XY":
            for field in ("start", "size", "stored"):
                found[letter + field] = np.where(names == letter.encode(), values[field], 0).sum(axis=1)
        has_scenes |= bool((names == b"S").any())
        for name, column in found.items():
            columns.setdefault(name, []).append(column)

    table = {name: np.concatenate(parts).astype(np.int64) for name, parts in columns.items()}
    if not table:
        raise ValueError("it holds no images")
    # subblocks of a pyramid store fewer pixels than they cover
    full = (table["Xstored"] == table["Xsize"]) & (table["Ystored"] == table["Ysize"])
    table = {name: column[full] for name, column in table.items()}
    if not full.any() or (table["Xsize"] < 1).any() or (table["Ysize"] < 1).any():
        raise ValueError("it holds no images")
    last = int(table["position"].max())
    if table["position"].min() < 0 or last + 32 + _segment(file, last, b"ZISRAWSUBBLOCK") > file_size:
        raise ValueError("the file is cut off: subblocks are missing")
    return _Tiles(
        dims={letter: table[letter] for letter in letters},
        x=table["Xstart"],
        y=table["Ystart"],
        width=table["Xsize"],
        height=table["Ysize"],
        pixel_type=table["pixel_type"],
        position=table["position"],
        has_scenes=has_scenes,
    )


def _czi_layout(path: Path) -> _CziLayout:
    """Put the tiles in order; raise PyamaError for arrangements that have no one plane per FOV, frame and channel."""
    with open(path, "rb") as file:
        tiles = _read_tiles(file, path.stat().st_size)
    dims = tiles.dims
    for letter, name in zip("BVHIR", ("blocks", "views", "phases", "illuminations", "rotations"), strict=True):
        if len(np.unique(dims[letter])) > 1:
            raise PyamaError(
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
        n_tiles = int(count[i].max())
        # a mosaic that lacks some of its tiles counts as missing
        row[i][count[i] < n_tiles] = -1
        if n_tiles == 1:
            size = np.unique(np.column_stack([tiles.height[mine], tiles.width[mine]]), axis=0)
            if len(size) > 1:
                raise PyamaError(
                    f"'{path}', FOV {i}: planes of different size ({size[0][1]} x {size[0][0]} and {size[1][1]} x "
                    f"{size[1][0]} pixels); use the same binning for all channels"
                )
            boxes.append(None)
            sizes.append((int(size[0][0]), int(size[0][1])))
            continue
        x, y = int(tiles.x[mine].min()), int(tiles.y[mine].min())
        width = int((tiles.x[mine] + tiles.width[mine]).max()) - x
        height = int((tiles.y[mine] + tiles.height[mine]).max()) - y
        covered = int((tiles.width[mine] * tiles.height[mine]).sum()) / int((count[i] > 0).sum())
        if width * height > 4 * covered:
            raise PyamaError(
                f"'{path}', FOV {i}: its {n_tiles} tiles lie far apart on {width} x {height} pixels; split the scenes "
                f"in ZEN so that each position is one"
            )
        boxes.append((x, y, width, height))
        sizes.append((height, width))
    return _CziLayout(
        tiles=tiles,
        scenes=scenes.tolist(),
        channels=channels.tolist(),
        first_frame=int(dims["T"].min()),
        first_z=int(dims["Z"].min()),
        row=row,
        boxes=boxes,
        sizes=sizes,
    )


def _inspect_czi(path: Path) -> Movie:
    import xml.etree.ElementTree as ElementTree

    from pylibCZIrw import czi

    layout = _czi_layout(path)
    with czi.open_czi(str(path)) as document:
        root = ElementTree.fromstring(document.raw_metadata)

    channels = _czi_channel_names(root, layout.channels)
    dtypes = {CZI_PIXELS[kind][1] for kind in np.unique(layout.tiles.pixel_type).tolist() if kind in CZI_PIXELS}
    if not dtypes:
        kind = CZI_UNUSABLE_PIXELS.get(int(layout.tiles.pixel_type[0]), "unknown")
        raise PyamaError(
            f"'{path}', FOV 0, frame 0, channel 0 ({channels[0]!r}): {kind} pixels cannot be used; export the movie "
            f"in grey levels with 16-bit integers"
        )
    n_fovs, n_frames, _, n_z = layout.row.shape
    names = {scene.get("Index"): scene.get("Name") for scene in root.iterfind(".//Dimensions/S/Scenes/Scene")}
    stamps = _czi_stamps_s(path, layout)
    fovs = []
    for fov in range(n_fovs):
        gone = (layout.row[fov] < 0).any(axis=2)
        fovs.append(
            {
                "name": names.get(str(layout.scenes[fov])) or f"FOV {fov}",
                "height": layout.sizes[fov][0],
                "width": layout.sizes[fov][1],
                "times_min": _minutes_since_start(stamps[fov], (layout.row[fov] >= 0).any(axis=(1, 2))),
                "missing": np.argwhere(gone).tolist(),
            }
        )
    metres = _positive(root.findtext(".//Scaling/Items/Distance[@Id='X']/Value"))
    seconds = _positive(root.findtext(".//Dimensions/T/Positions/Interval/Increment"))
    return Movie(
        format="czi",
        dtype=max(dtypes, key=lambda name: np.dtype(name).itemsize),
        n_frames=n_frames,
        n_z=n_z,
        channels=channels,
        pixel_size_um=None if metres is None else _pixel_size_um(metres * 1e6),
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


def _czi_stamps_s(path: Path, layout: _CziLayout) -> np.ndarray:
    """Return (F, T) float64 seconds: when each frame was taken, NaN where unknown.

    The attached list of time stamps has one per time point and is one read. A subblock's own stamp needs a read per
    FOV and frame, so these are looked up only where there is no such list.
    """
    n_fovs, n_frames = layout.row.shape[:2]
    stamps = np.full((n_fovs, n_frames), np.nan)
    with open(path, "rb") as file:
        attached = _czi_attached_stamps(file)
        if len(attached) == n_frames and (np.diff(attached) > 0).all():
            stamps[:] = attached
            return stamps
        planes = layout.row.reshape(n_fovs, n_frames, -1)
        first = np.take_along_axis(planes, (planes >= 0).argmax(axis=2)[..., None], axis=2)[..., 0]
        for fov, frame in np.argwhere(first >= 0):
            stamp = _czi_subblock_stamp(file, int(layout.tiles.position[first[fov, frame]]))
            if stamp is None:
                break
            stamps[fov, frame] = stamp
    return stamps


def _czi_attached_stamps(file: IO[bytes]) -> np.ndarray:
    """Return the attachment "TimeStamps", float64 seconds; empty where the file has none."""
    nothing = np.zeros(0)
    _, start = _czi_positions(file)
    if not start:
        return nothing
    _segment(file, start, b"ZISRAWATTDIR")
    directory = file.read(256)
    count = min(struct.unpack_from("<i", directory)[0], 10_000)
    for _ in range(count):
        entry = file.read(128)
        if len(entry) < 128:
            break
        if entry[48:128].split(b"\0")[0] == b"TimeStamps":
            _segment(file, struct.unpack_from("<q", entry, 12)[0], b"ZISRAWATTACH")
            file.seek(256, 1)
            size, n = struct.unpack("<ii", file.read(8))
            raw = file.read(max(0, min(8 * n, size - 8)))
            return np.frombuffer(raw, "<f8", len(raw) // 8)
    return nothing


def _czi_subblock_stamp(file: IO[bytes], position: int) -> float | None:
    """Return the acquisition time in a subblock's metadata as POSIX seconds, None where it has none."""
    _segment(file, position, b"ZISRAWSUBBLOCK")
    head = file.read(48)
    metadata_bytes, n_dims = struct.unpack_from("<i", head)[0], struct.unpack_from("<i", head, 44)[0]
    file.seek(position + 32 + max(256, 48 + 20 * n_dims))
    text = file.read(min(metadata_bytes, 1 << 16))
    _, found, rest = text.partition(b"<AcquisitionTime>")
    try:
        # datetime knows microseconds, ZEN writes one digit more
        stamp = rest.split(b"<", 1)[0].decode("ascii").strip().rstrip("Z")
        whole, _, fraction = stamp.partition(".")
        seconds = datetime.fromisoformat(whole + "+00:00").timestamp()
        return seconds + float(f"0.{fraction or 0}") if found else None
    except ValueError:
        return None


def _open_czi(path: Path) -> _Opened:
    layout = _czi_layout(path)
    simple = not any(layout.boxes) and len(set(layout.sizes)) == 1 and len(layout.tiles.position) <= MANY_SUBBLOCKS
    pixels, close = (_aicspylibczi_pixels if simple else _pylibczirw_pixels)(path, layout)

    def read_plane(fov: int, frame: int, channel: int, z: int) -> np.ndarray | None:
        row = int(layout.row[fov, frame, channel, z])
        if row < 0:
            return None
        kind = int(layout.tiles.pixel_type[row])
        if kind not in CZI_PIXELS:
            raise PyamaError(
                f"{_where(path, fov, frame, channel)}: {CZI_UNUSABLE_PIXELS.get(kind, 'unknown')} pixels cannot be "
                f"used; export the movie in grey levels with 16-bit integers"
            )
        return pixels(row, fov)

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        return [read_plane(fov, frame, channel, z) for channel in channels]

    n_fovs, n_frames, n_channels, n_z = layout.row.shape
    return _Opened(read, (n_fovs, n_frames, n_channels, n_z), close)


CziPixels = Callable[[int, int], np.ndarray]  # (row of `tiles`, fov) -> (H, W)


def _aicspylibczi_pixels(path: Path, layout: _CziLayout) -> tuple[CziPixels, Callable[[], None]]:
    from aicspylibczi import CziFile

    file = open(path, "rb")  # noqa: SIM115
    documents = [CziFile(file)]  # it holds a file handle of its own until it is forgotten
    dims = layout.tiles.dims
    letters = [letter for letter in documents[0].dims if letter in dims]

    def pixels(row: int, fov: int) -> np.ndarray:
        # Every dimension is named: left out, a missing plane would be filled with the next one.
        image, _ = documents[0].read_image(**{letter: int(dims[letter][row]) for letter in letters})
        return image.reshape(layout.sizes[fov])

    def close() -> None:
        documents.clear()
        file.close()

    return pixels, close


def _pylibczirw_pixels(path: Path, layout: _CziLayout) -> tuple[CziPixels, Callable[[], None]]:
    from pylibCZIrw import czi

    opened = czi.open_czi(str(path))
    document = opened.__enter__()
    tiles = layout.tiles

    def pixels(row: int, fov: int) -> np.ndarray:
        tile = tuple(int(column[row]) for column in (tiles.x, tiles.y, tiles.width, tiles.height))
        return document.read(
            roi=layout.boxes[fov] or tile,
            plane={letter: int(tiles.dims[letter][row]) for letter in "TCZ"},
            scene=int(tiles.dims["S"][row]) if tiles.has_scenes else None,
            pixel_type=CZI_PIXELS[int(tiles.pixel_type[row])][0],
        )[..., 0]

    return pixels, lambda: opened.__exit__(None, None, None)
