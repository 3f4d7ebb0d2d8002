"""Reading ND2 and CZI time-lapses: the one module that opens the user's image files.

`inspect_movie` learns everything planning needs without reading a pixel; `open_movie` reads planes. Both speak
of (fov, frame, channel, z), each counted from 0 in the order of the file, whatever loops, scenes or ids the file
itself uses. A plane that the file does not hold is reported and read as None; it never moves another plane.

The metadata of an ND2 go through the package `nd2`. Its frames, and the uncompressed planes of a CZI, are read here;
compressed planes and mosaics of a CZI go through `pyama.libczi`. Before a plane is taken for one, what the file says of
it in one place (index, directory) is compared with what it says in another (the chunk's or subblock's own header,
lengths against size and pixel type), so that damage is noticed instead of planes shifted, and no length from a file is
believed before memory is asked for. The libraries' own checks do not suffice: of 15,000 damaged files 2 % gave other
pixels or times without a word, and 17 ended the process.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from formats import pyama_folder, pyme_spool
from pyama import damage, stamps
from pyama.coverage import Boxes, outside_tiles
from pyama.errors import PyamaError
from pyama.nd2_internals import chunk_map, load_chunk

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class ReadPlanes(Protocol):
    """read(fov, frame, channels, z): one (H, W) uint16 plane per channel, None where the file has no such plane.

    read.uncovered(fov, frame, channel, z): boxes of the pixels on which no tile of a mosaic lies (see pyama.coverage).
    """

    uncovered: Callable[[int, int, int, int | None], Boxes]

    def __call__(self, fov: int, frame: int, channels: Sequence[int], z: int | None) -> list[np.ndarray | None]: ...


KINDS = {".nd2": "ND2", ".czi": "CZI", ".h5": "PYME"}
ND2_MAGIC = b"\xda\xce\xbe\x0a"
ND2_JPEG2000_MAGIC = b"\x00\x00\x00\x0c"
CZI_MAGIC = b"ZISRAWFILE"
HDF5_MAGIC = b"\x89HDF"
OTHER_MAGICS = {
    b"II*\0": "a TIFF file",
    b"MM\0*": "a TIFF file",
    b"II+\0": "a BigTIFF file",
    HDF5_MAGIC: "an HDF5 file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}
MAKER = {"ND2": "NIS-Elements", "CZI": "ZEN", "PyAMA": "PyAMA", "PYME": "PYME"}


@dataclass(frozen=True)
class Movie:
    """What planning learns from one file; survives JSON as `Movie(**json.loads(json.dumps(asdict(movie))))`.

    `fovs` has one dict per FOV in file order: `name`; `height`, `width` in pixels; `times_min`, one time per frame
    in minutes since the first frame of the file, whatever FOV that is of, or None; `senseless_stamps`, the frames whose
    time stamps are missing or make no sense (then `times_min` is not from these); `missing`, the [frame, channel] pairs
    that lack at least one Z plane.
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


def inspect_movie(path: Path, pyme: Mapping[str, Any] = pyme_spool.DEFAULTS) -> Movie:
    """Describe the file without reading pixels.

    Frame times are the file's own time stamps. Frames that were announced but never taken in any FOV are not
    counted (an acquisition that was stopped early). `pyme`: how spools of PYME are read. Raises PyamaError for a file
    that cannot be used.
    """
    path = Path(path)
    if pyama_folder.is_one(path):
        return Movie(**pyama_folder.inspect(path))
    kind = _kind_of(path)
    with _reader_errors(path, kind):
        if kind == "PYME":
            return _inspect_spool(path, pyme)
        return _inspect_nd2(path) if kind == "ND2" else _inspect_czi(path)


@contextmanager
def open_movie(path: Path, pyme: Mapping[str, Any] = pyme_spool.DEFAULTS) -> Iterator[ReadPlanes]:
    """Open the file and yield `read(fov, frame, channels, z)`, see `ReadPlanes`.

    z is None for a file with one Z plane. Integer pixels whose values fit are widened to uint16. `read` raises
    PyamaError, naming FOV, frame and channel, for pixels that uint16 cannot hold (floats, colours, values
    outside 0..65535), for data that cannot be decoded, and for indices that the file does not have.
    """
    path = Path(path)
    kind = "PyAMA" if pyama_folder.is_one(path) else _kind_of(path)
    with _reader_errors(path, kind):
        if kind == "PYME":
            opened = _Opened(*pyme_spool.opened(path, pyme))
        else:
            opened = {"ND2": _open_nd2, "CZI": _open_czi, "PyAMA": pyama_folder.opened}[kind](path)
        read_raw, shape, close, uncovered = _Opened(*opened)
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

    read.uncovered = lambda fov, frame, channel, z: uncovered(fov, frame, channel, z or 0)
    try:
        yield read
    finally:
        close()


# ---------------------------------------------------------------------------------------------------------------
# what both formats share


class _Contradiction(ValueError):
    """Two parts of a file do not say the same: what is not known to be wrong may be."""


class _Opened(NamedTuple):
    """A file open for reading: its planes as stored, the sizes (FOVs, frames, channels, z), how to close it, and which
    pixels of a plane (fov, frame, channel, z) have no tile."""

    read: Callable[[int, int, Sequence[int], int], list[np.ndarray | None]]
    shape: tuple[int, int, int, int]
    close: Callable[[], None]
    uncovered: Callable[[int, int, int, int], Boxes] = lambda *_: ()


def _kind_of(path: Path) -> str:
    """Return "ND2", "CZI" or "PYME" by the first bytes of the file; raise PyamaError for everything else."""
    expected = KINDS.get(path.suffix.lower())
    if expected is None:
        raise PyamaError(f"'{path}' has an unknown ending; microscopy files end in {' or '.join(KINDS)}")
    if path.is_dir():
        raise PyamaError(f"'{path}' is a folder; name the {expected} file itself")
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise PyamaError(f"'{path}' does not exist; correct the path") from None
    except OSError as error:
        raise PyamaError(f"'{path}' cannot be opened ({error.strerror}); check that you may read it") from error
    if head.startswith(ND2_MAGIC):
        return "ND2"
    if head.startswith(CZI_MAGIC):
        return "CZI"
    if head.startswith(HDF5_MAGIC) and expected == "PYME":
        return "PYME"
    remedy = f"name a file written by {MAKER[expected]}"
    if not head:
        reason, remedy = "it is empty", "copy it again from the microscope"
    elif head.startswith(ND2_JPEG2000_MAGIC):
        reason = "it is of the old JPEG 2000 kind"
        remedy = "open it in NIS-Elements and save it as a present-day ND2"
    else:
        names = (name for magic, name in OTHER_MAGICS.items() if head.startswith(magic))
        reason = f"it is {next(names, f'something else ({damage.begins_with(head)})')}"
        if pointer := damage.pointer(head):
            reason, remedy = f"it is {pointer[0]}", pointer[1]
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
            remedy = f"copy it again from the microscope, or open it in {MAKER[kind]} and save it anew"
            raise PyamaError(
                f"'{path}' is not a readable {kind} file: {place}{damage.reason(error)}; {remedy}"
            ) from error


def _left(file: IO[bytes]) -> int:
    """Return the number of bytes from here to the end of the file."""
    return os.fstat(file.fileno()).st_size - file.tell()


def _refuse_other_length(found: int, height: int, row_bytes: int) -> None:
    """Raise ValueError if `found` bytes are no image of this size; some writers pad, by less than a row."""
    if not 0 <= found - height * row_bytes < max(row_bytes, 1):
        raise ValueError(f"{found} bytes of pixels where {height} rows of {row_bytes} bytes are announced")


def _refuse_declarations(xml: str) -> None:
    """Raise ValueError for XML with declarations: entities may stand for gigabytes of text, or for other files."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("its metadata declare a document type, which no microscope writes")


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


def _inspect_spool(path: Path, settings: Mapping[str, Any]) -> Movie:
    spool = pyme_spool.inspect(path, settings)
    stamps_s, taken = spool.stamps_s[None], np.ones((1, spool.sizes["T"]), bool)
    place = {
        "name": "FOV 0",
        "height": spool.shape[0],
        "width": spool.shape[1],
        "times_min": stamps.minutes_since_first(stamps_s, taken)[0],
        "senseless_stamps": stamps.senseless(stamps_s, taken)[0],
        "missing": [],
    }
    return Movie(
        format="pyme",
        dtype=spool.dtype.name,
        n_frames=spool.sizes["T"],
        n_z=spool.sizes["Z"],
        channels=spool.channels,
        pixel_size_um=_pixel_size_um(spool.pixel_size_um),
        period_min=None if spool.period_s is None else spool.period_s / 60.0,
        fovs=[place],
    )


# ---------------------------------------------------------------------------------------------------------------
# ND2


class _Nd2Layout(NamedTuple):
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


# The chunks that are read, in files of version 3 and of version 2. Others may be damaged without harm.
ND2_TREES = {
    *(b"ImageAttributesLV!", b"ImageMetadataLV!", b"ImageMetadataSeqLV|0!"),
    *(b"ImageAttributes!", b"ImageMetadata!", b"ImageMetadataSeq|0!"),
}
ND2_READ = (b"ImageDataSeq|", b"CustomData|AcqTimesCache!", *ND2_TREES)
ND2_AXES = {"T": "time points", "P": "positions", "Z": "Z planes"}
ND2_MANY = 100  # chunks of one kind whose names are looked at; those of frames may be hundreds of thousands


class _PlainFile:
    """A file that nd2 reads from. What `open` returns it would map into memory instead: then an error of the disk kills
    the process. No more is read than there is: nd2 asks for what the file says, which may be more than any memory."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  (nd2 closes it)

    def read(self, size: int = -1) -> bytes:
        left = max(0, _left(self._file))
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
                    _refuse_declarations(data.decode(encoding, errors="ignore"))
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
        except _Contradiction:
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
        raise _Contradiction(f"its index is damaged: it says frame {number} where there is {name[:40]!r}")
    # the pixels begin on a page; a stamp of 8 bytes comes before them
    begin, length = data + 8, length - 8
    if begin != start + 4096:
        raise ValueError(f"the header of the chunk at byte {start} is damaged")
    if frames.compressed:
        if not 0 < length < 2 * frames.height * frames.row_bytes + 1000:
            raise ValueError(f"{length} bytes of compressed pixels")
    else:
        _refuse_other_length(length, frames.height, frames.row_bytes)
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
    _refuse_other_length(len(stored), frames.height, frames.row_bytes)
    size = frames.dtype.itemsize
    return np.ndarray(
        (frames.height, frames.width, frames.n_channels),
        frames.dtype,
        stored,
        strides=(frames.row_bytes, frames.n_channels * size, size),
    )


def _inspect_nd2(path: Path) -> Movie:
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
        times_min, senseless = stamps.minutes_since_first(stamps_s, taken), stamps.senseless(stamps_s, taken)
        points = [loop.parameters.points for loop in file.experiment if loop.type == "XYPosLoop"]
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
                }
            )
        return Movie(
            format="nd2",
            dtype=str(frames.dtype),
            n_frames=n_frames,
            n_z=n_z,
            channels=channels,
            # `voxel_size()` says 1.0 for a file that has none
            pixel_size_um=_pixel_size_um(picture.get("dCalibration")) if picture.get("bCalibrated") else None,
            period_min=_nd2_period_min(file.experiment),
            fovs=fovs,
        )


def _refuse_nd2_pixels(path: Path, attributes: Any, names: list[str]) -> None:
    """Raise PyamaError for pixels that no plane of the file could be used of (all planes share one type)."""
    which = f"'{path}', FOV 0, frame 0, channel 0 ({(names or [''])[0] or 'C0'!r})"
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

    return _Opened(read, (n_fovs, n_frames, frames.n_channels, n_z), file.close)


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


CZI_PLAIN = 0
CZI_LETTERS = "STCZBVHIR"
CZI_FIELDS = {
    **{"S": "scene", "T": "time point", "C": "channel", "Z": "Z plane", "pixel_type": "pixel type"},
    **{"Xstart": "x position", "Ystart": "y position", "Xsize": "width", "Ysize": "height"},
    **{"Xstored": "stored width", "Ystored": "stored height"},
}
CZI_MANY_PIXELS = 1 << 29  # of one tile; more is damage
CZI_MANY_SUBBLOCKS = 4000  # aicspylibczi takes 0.55 ms per thousand and plane to find one, pylibCZIrw 0.04


class _Tiles(NamedTuple):
    """The full-resolution subblocks of a CZI, one row each.

    columns: by name, (n,) int64: `position`, the byte where the subblock's segment begins; `pixel_type`;
    `compression`; the index in each dimension by its letter, 0 where the dimension is absent; Xstart, Ystart, Xsize,
    Ysize: where the pixels belong on the canvas. sometimes: the dimensions that some subblocks name
    and others do not, those of pyramids included.
    """

    columns: dict[str, np.ndarray]
    has_scenes: bool
    sometimes: frozenset[str]

    def box(self, row: int) -> tuple[int, int, int, int]:
        """Return x, y, width and height of a tile."""
        x, y, width, height = (int(self.columns[name][row]) for name in ("Xstart", "Ystart", "Xsize", "Ysize"))
        return x, y, width, height


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
    """Go to the data of the segment at `position` and return its length in bytes; ValueError if it is not all there."""
    head = b""
    if 0 <= position <= os.fstat(file.fileno()).st_size:
        file.seek(position)
        head = file.read(32)
    if len(head) < 32 or head[:16].rstrip(b"\0") != name:
        raise ValueError(f"no {name.decode()} segment at byte {position}; the file is cut off or was never closed")
    allocated, used = struct.unpack_from("<qq", head, 16)
    # a length of 0 stands for all that was allocated
    length = used or allocated
    if not 0 <= length <= _left(file):
        raise ValueError(f"the file is cut off: the {name.decode()} segment at byte {position} does not end within it")
    return length


def _czi_positions(file: IO[bytes]) -> tuple[int, int, int]:
    """Return where the directory of subblocks, the metadata, and the directory of attachments begin (0: none)."""
    if _segment(file, 0, CZI_MAGIC) < 80:
        raise ValueError("the file is cut off in its header")
    header = file.read(80)
    return struct.unpack_from("<qq", header, 52) + struct.unpack_from("<q", header, 72)


def _entry_type(n_dims: int) -> np.dtype:
    dimension = np.dtype([("name", "S4"), ("start", "<i4"), ("size", "<i4"), ("_", "<f4"), ("stored", "<i4")])
    return np.dtype(
        [
            ("schema", "S2"),
            ("pixel_type", "<i4"),
            ("position", "<i8"),
            ("file_part", "<i4"),
            ("compression", "<i4"),
            ("pyramid", "u1"),
            ("_", "S5"),
            ("n_dims", "<i4"),
            ("dims", dimension, (n_dims,)),
        ]
    )


def _columns(entries: np.ndarray) -> tuple[dict[str, np.ndarray], bool]:
    """Return the columns of `_Tiles`, with Xstored and Ystored, of entries; and whether they have scenes."""
    names, values = entries["dims"]["name"], entries["dims"]
    if not np.isin(names, [letter.encode() for letter in CZI_LETTERS + "XYM"]).all():
        raise ValueError("its directory of subblocks is damaged")
    found = {name: entries[name].astype(np.int64) for name in ("pixel_type", "position", "compression", "pyramid")}
    for letter in CZI_LETTERS:
        found[letter] = np.where(names == letter.encode(), values["start"], 0).sum(axis=1, dtype=np.int64)
    for letter in "XY":
        for field in ("start", "size", "stored"):
            found[letter + field] = np.where(names == letter.encode(), values[field], 0).sum(axis=1, dtype=np.int64)
    return found, bool((names == b"S").any())


def _columns_of_one(head: bytes, n_dims: int) -> dict[str, int]:
    """Return what `_columns` does for the one entry in a subblock's header, in a tenth of the time."""
    _, pixel_type, position, _, compression, pyramid = struct.unpack_from("<2siqiiB", head, 16)
    found = {"pixel_type": pixel_type, "position": position, "compression": compression, "pyramid": pyramid}
    found |= dict.fromkeys(
        (*CZI_LETTERS, *(letter + field for letter in "XY" for field in ("start", "size", "stored"))), 0
    )
    for at in range(48, 48 + 20 * n_dims, 20):
        name, start, size, _, stored = struct.unpack_from("<4siifi", head, at)
        letter = name.rstrip(b"\0").decode("latin-1")
        if letter in ("X", "Y"):
            found[letter + "start"] += start
            found[letter + "size"] += size
            found[letter + "stored"] += stored
        elif letter in tuple(CZI_LETTERS):
            found[letter] += start
        elif letter != "M":
            raise ValueError("its directory of subblocks is damaged")
    return found


def _read_tiles(file: IO[bytes]) -> _Tiles:
    """Read the directory of subblocks, and keep those of full resolution.

    Entries have a different length for a different number of dimensions; runs of equal length are read at once
    (a movie of 1,000 FOVs, 500 frames and 3 channels has 1.5 million entries).
    """
    start, _, _ = _czi_positions(file)
    raw = file.read(_segment(file, start, b"ZISRAWDIRECTORY"))
    if len(raw) < 128:
        raise ValueError("its directory of subblocks is cut off")
    left, offset = struct.unpack_from("<i", raw)[0], 128
    parts: list[dict[str, np.ndarray]] = []
    has_scenes = False
    ever: set[str] = set()
    always = {*CZI_LETTERS, *"XYM"}
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
        part, scenes = _columns(run)
        parts.append(part)
        has_scenes |= scenes
        names = run["dims"]["name"]
        alike = names[:1] if (names == names[0]).all() else names
        for letter in CZI_LETTERS + "XYM":
            there = (alike == letter.encode()).any(axis=1)
            if there.any():
                ever.add(letter)
            if not there.all():
                always.discard(letter)
    if not parts:
        raise ValueError("it holds no images")
    # what is left is padding: entries there would be planes lost
    if raw.find(b"DV", offset) >= 0:
        raise ValueError("its directory of subblocks holds more than it says")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # subblocks of a pyramid store fewer pixels than they cover
    full = (columns["Xstored"] == columns["Xsize"]) & (columns["Ystored"] == columns["Ysize"])
    sometimes = frozenset(ever - always)
    everything = _Tiles(columns, has_scenes, sometimes)
    tiles = _Tiles({name: column[full] for name, column in columns.items()}, has_scenes, sometimes)
    if not full.any() or (tiles.columns["Xsize"] < 1).any() or (tiles.columns["Ysize"] < 1).any():
        raise ValueError("it holds no images")
    if (tiles.columns["Xsize"] * tiles.columns["Ysize"] > CZI_MANY_PIXELS).any():
        raise ValueError("its directory of subblocks is damaged: planes of more pixels than any camera has")
    if len(np.unique(columns["position"])) < len(full):
        raise ValueError("its directory of subblocks is damaged: two of them at one place")
    # Each subblock's own header is looked at when it is read. Now: those of the pyramid that do not say that they are
    # of one, and those that decide how many frames, channels and FOVs there are, and whether the file is whole.
    # (A header that cannot be read at all is left for then, when it costs no other FOV anything.)
    _subblock(file, tiles, int(tiles.columns["position"].argmax()))
    doubtful = [(everything, int(row)) for row in np.flatnonzero(~full & (columns["pyramid"] == 0))[:1000]]
    for name in ("Xstart", "Ystart", *CZI_LETTERS):
        doubtful += [(tiles, row) for row in {int(tiles.columns[name].argmin()), int(tiles.columns[name].argmax())}]
    _refuse_contradictions(file, doubtful)
    return tiles


def _refuse_contradictions(file: IO[bytes], rows: Iterable[tuple[_Tiles, int]]) -> None:
    """Raise ValueError if the header of one of these subblocks can be read and says other than the directory."""
    for tiles, row in rows:
        try:
            _subblock(file, tiles, row)
        except _Contradiction:
            raise
        except ValueError:
            pass


def _subblock(file: IO[bytes], tiles: _Tiles, row: int) -> tuple[int, int, int, int]:
    """Return where a subblock's metadata begin, their length, where its pixels begin, and their length, in bytes.

    Raises ValueError where its own header does not say the same as the directory, or it is not all in the file.
    """
    position = int(tiles.columns["position"][row])
    length = _segment(file, position, b"ZISRAWSUBBLOCK")
    head = file.read(16 + 32 + 40 * 20)
    if len(head) < 256:
        raise ValueError(f"the header of the subblock at byte {position} is cut off")
    n_metadata, n_attached, n_pixels = struct.unpack_from("<iiq", head)
    n_dims = struct.unpack_from("<i", head, 16 + 28)[0]
    if not 2 <= n_dims <= 40 or head[16:18] != b"DV":
        raise ValueError(f"the header of the subblock at byte {position} is damaged")
    entry = _entry_type(n_dims)
    first = max(256, 16 + entry.itemsize)
    # the parts fill the segment; libraries that count its padding as used have less than 32 bytes more
    rest = length - first - n_metadata - n_attached - n_pixels
    if min(n_metadata, n_attached, n_pixels) < 0 or not (rest == 0 or (0 < rest < 32 and length % 32 == 0)):
        raise ValueError(f"the header of the subblock at byte {position} is damaged")
    try:
        own = _columns_of_one(head, n_dims)
    except ValueError:
        raise ValueError(f"the header of the subblock at byte {position} is damaged") from None
    different = [name for name in own if name not in ("position", "pyramid") and own[name] != tiles.columns[name][row]]
    if different:
        field = CZI_FIELDS.get(different[0], different[0])
        raise _Contradiction(f"the subblock at byte {position} and the directory give it another {field}")
    begin = position + 32 + first
    return begin, n_metadata, begin + n_metadata, n_pixels


def _czi_layout(path: Path) -> _CziLayout:
    """Put the tiles in order; raise PyamaError for arrangements that have no one plane per FOV, frame and channel."""
    with open(path, "rb") as file:
        return _in_order(path, file, _read_tiles(file))


def _in_order(path: Path, file: IO[bytes], tiles: _Tiles) -> _CziLayout:
    dims = tiles.columns
    x, y, tile_width, tile_height = (dims[name] for name in ("Xstart", "Ystart", "Xsize", "Ysize"))
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
            size = np.unique(np.column_stack([tile_height[mine], tile_width[mine]]), axis=0)
            if len(size) > 1:
                raise PyamaError(
                    f"'{path}', FOV {i}: planes of different size ({size[0][1]} x {size[0][0]} and {size[1][1]} x "
                    f"{size[1][0]} pixels); use the same binning for all channels"
                )
            boxes.append(None)
            sizes.append((int(size[0][0]), int(size[0][1])))
            continue
        # the outermost tiles decide how large all planes are
        right, bottom = x[mine] + tile_width[mine], y[mine] + tile_height[mine]
        outermost = {int(mine[at]) for at in (x[mine].argmin(), y[mine].argmin(), right.argmax(), bottom.argmax())}
        _refuse_contradictions(file, [(tiles, row) for row in outermost])
        left, top = int(x[mine].min()), int(y[mine].min())
        width, height = int(right.max()) - left, int(bottom.max()) - top
        covered = int((tile_width[mine] * tile_height[mine]).sum()) / int((count[i] > 0).sum())
        if width * height > 4 * covered:
            raise PyamaError(
                f"'{path}', FOV {i}: its {n_tiles} tiles lie far apart on {width} x {height} pixels; split the scenes "
                f"in ZEN so that each position is one"
            )
        boxes.append((left, top, width, height))
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
    layout = _czi_layout(path)
    with open(path, "rb") as file:
        root = _czi_metadata(file)
    channels = _czi_channel_names(root, layout.channels)
    dtypes = {
        CZI_PIXELS[kind][1] for kind in np.unique(layout.tiles.columns["pixel_type"]).tolist() if kind in CZI_PIXELS
    }
    if not dtypes:
        kind = CZI_UNUSABLE_PIXELS.get(int(layout.tiles.columns["pixel_type"][0]), "unknown")
        raise PyamaError(
            f"'{path}', FOV 0, frame 0, channel 0 ({channels[0]!r}): {kind} pixels cannot be used; export the movie "
            f"in grey levels with 16-bit integers"
        )
    n_fovs, n_frames, _, n_z = layout.row.shape
    names = {scene.get("Index"): scene.get("Name") for scene in root.iterfind(".//Dimensions/S/Scenes/Scene")}
    times_min, senseless = _czi_times(path, layout, root)
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


def _czi_metadata(file: IO[bytes]) -> Element:
    """Return the metadata of the movie."""
    import xml.etree.ElementTree as ElementTree

    _, start, _ = _czi_positions(file)
    length = _segment(file, start, b"ZISRAWMETADATA")
    n_text = struct.unpack("<i", file.read(256)[:4])[0]
    if not 0 < n_text <= length - 256:
        raise ValueError("its metadata are cut off")
    text = file.read(n_text).decode("utf-8-sig")
    _refuse_declarations(text)
    return ElementTree.fromstring(text)


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


def _czi_times(path: Path, layout: _CziLayout, root: Element) -> tuple[list[list[float] | None], list[list[int]]]:
    """Return the times of the frames of each FOV in minutes, and the frames whose stamps make no sense: see `Movie`.

    A CZI has stamps in three places: in each subblock, in an attached list, in a list in the metadata. The lists have
    one per time point. They are enough for one FOV; of several, each was taken at a time of its own, which its
    subblocks say. Where some FOVs have stamps in their subblocks and others none that can be used, these take a list's.
    """
    n_fovs, n_frames = layout.row.shape[:2]
    order, bounds = _czi_tiles_by_frame(layout)
    taken = np.diff(bounds).reshape(n_fovs, n_frames) > 0
    anywhere = taken.any(axis=0)
    announced = root.findtext(".//Information/Image/SizeT") or ""
    own, readable = np.full(taken.shape, np.nan), taken
    with open(path, "rb") as file:
        attached = _czi_attached_stamps(file)
        listed = [_of_frames(each, layout, announced) for each in (attached, _czi_offsets(root))]
        if n_fovs > 1 or not stamps.usable(listed[0], anywhere):
            own, readable = _czi_subblock_stamps(file, layout.tiles, order, bounds, taken)
    shared = next((each for each in listed if stamps.usable(each, anywhere)), None)
    good = [stamps.usable(own[fov], readable[fov]) for fov in range(n_fovs)]
    senseless = stamps.senseless(own, readable)
    if shared is not None and not any(good):
        # what processing leaves in subblocks are stamps that are all the same, or none
        own, readable = np.tile(shared, (n_fovs, 1)), taken
        senseless = [[] for _ in senseless]
    elif shared is not None:
        first = min(float(np.nanmin(own[fov])) for fov in range(n_fovs) if good[fov])
        for fov in np.flatnonzero(~np.array(good)):
            own[fov], readable[fov] = first + shared - shared[anywhere][0], taken[fov]
    if len(attached) and not any(good) and not any(senseless):
        # the attached list was to be used, and may not have been
        bad = set(stamps.senseless(listed[0][None], anywhere[None])[0])
        bad = bad if np.isfinite(listed[0]).any() else set(range(n_frames))
        senseless = [[frame for frame in np.flatnonzero(row).tolist() if frame in bad] for row in taken]
    return stamps.minutes_since_first(own, readable, taken), senseless


def _czi_tiles_by_frame(layout: _CziLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the tiles by FOV, frame, channel and z, (n,) int64, and where each frame begins, (F T + 1,).

    All tiles, also those of planes that are not wholly in the file: when they were taken is known all the same.
    """
    n_fovs, n_frames = layout.row.shape[:2]
    columns = layout.tiles.columns
    place = np.searchsorted(layout.scenes, columns["S"]) * n_frames + columns["T"] - layout.first_frame
    order = np.lexsort((columns["Z"], columns["C"], place))
    return order, np.searchsorted(place[order], np.arange(n_fovs * n_frames + 1))


def _of_frames(listed: np.ndarray, layout: _CziLayout, announced: str) -> np.ndarray:
    """Return the stamp of each frame (T,) s of a list with one stamp per time point; NaN where it has none.

    It may have one for each frame of the file, or for each time point `announced`. Of one that is longer nobody knows
    what its entries stand for.
    """
    n_frames = layout.row.shape[1]
    if announced == str(len(listed)) and len(listed) >= layout.first_frame + n_frames:
        listed = listed[layout.first_frame :][:n_frames]
    if len(listed) > n_frames:
        listed = listed[:0]
    return np.pad(listed.astype(float), (0, n_frames - len(listed)), constant_values=np.nan)


def _czi_offsets(root: Element) -> np.ndarray:
    """Return the seconds of the time points that the metadata list, float64; empty where they list none."""
    text = root.findtext(".//Dimensions/T/Positions/List/Offsets") or ""
    try:
        return np.array([float(number) for number in text.replace(",", " ").replace(";", " ").split()])
    except ValueError:
        return np.zeros(0)


def _czi_subblock_stamps(
    file: IO[bytes], tiles: _Tiles, order: np.ndarray, bounds: np.ndarray, taken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (F, T) float64 seconds: when each frame was taken, NaN where unknown; (F, T) bool: frames that are there.

    order, bounds: see `_czi_tiles_by_frame`; taken (F, T) bool: frames that have tiles. This needs a read per FOV and
    frame, so the first and last frame of each FOV are looked at before all. A frame of which all subblocks are damaged
    counts as not there.
    """
    there = taken.copy()
    found = np.full(there.shape, np.nan)

    def look(places: np.ndarray) -> None:
        for fov, frame in places:
            there[fov, frame] = False
            at = fov * there.shape[1] + frame
            for row in order[bounds[at] : bounds[at + 1]].tolist():
                try:
                    stamp = _czi_subblock_stamp(file, tiles, row)
                except ValueError:
                    continue
                found[fov, frame] = np.nan if stamp is None else stamp
                there[fov, frame] = True
                break

    ends = np.zeros_like(there)
    every = np.arange(there.shape[1])
    for fov, row in enumerate(there):
        ends[fov, every[row][:1]] = ends[fov, every[row][-1:]] = True
    rest = np.argwhere(there & ~ends)
    look(np.argwhere(ends))
    if np.isfinite(found).any():
        look(rest)
    return found, there


def _czi_attached_stamps(file: IO[bytes]) -> np.ndarray:
    """Return the attachment "TimeStamps", float64 seconds; empty where the file has none."""
    nothing = np.zeros(0)
    _, _, start = _czi_positions(file)
    if not start:
        return nothing
    length = _segment(file, start, b"ZISRAWATTDIR")
    count = struct.unpack("<i", file.read(256)[:4])[0]
    if not 0 <= count <= (length - 256) // 128:
        raise ValueError("its directory of attachments is damaged")
    for _ in range(count):
        entry = file.read(128)
        if entry[48:128].split(b"\0")[0] == b"TimeStamps":
            length = _segment(file, struct.unpack_from("<q", entry, 12)[0], b"ZISRAWATTACH")
            file.seek(256, 1)
            # ZEN writes a wrong length before the number of stamps
            n = struct.unpack("<ii", file.read(8))[1]
            if not 0 <= 8 * n <= length - 264:
                raise ValueError("its list of time stamps is damaged")
            return np.frombuffer(file.read(8 * n), "<f8")
    return nothing


def _czi_subblock_stamp(file: IO[bytes], tiles: _Tiles, row: int) -> float | None:
    """Return the acquisition time in a subblock's metadata as POSIX seconds, None where it has none."""
    begin, length, _, _ = _subblock(file, tiles, row)
    file.seek(begin)
    text = file.read(min(length, 1 << 16))
    _, found, rest = text.partition(b"<AcquisitionTime>")
    try:
        # datetime knows microseconds, ZEN writes one digit more
        stamp = rest.split(b"<", 1)[0].decode("ascii").strip().rstrip("Z")
        whole, _, fraction = stamp.partition(".")
        seconds = datetime.fromisoformat(whole + "+00:00").timestamp()
        return seconds + float(f"0.{fraction or 0}") if found else None
    except ValueError:
        return None


def _czi_library(layout: _CziLayout) -> str:
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


def _open_czi(path: Path) -> _Opened:
    from pyama.libczi import LibCzi

    layout = _czi_layout(path)
    columns = layout.tiles.columns
    file = open(path, "rb")  # noqa: SIM115
    libczi = LibCzi(path, _czi_library(layout))
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
            raise PyamaError(
                f"{_where(path, fov, frame, channel)}: {CZI_UNUSABLE_PIXELS.get(kind, 'unknown')} pixels cannot be "
                f"used; export the movie in grey levels with 16-bit integers"
            )
        box = layout.boxes[fov]
        if box is None:
            plane = _read_czi_plane(file, layout.tiles, row)
            if plane is not None:
                return plane
        else:
            for tile in tiles_of(row):
                _subblock(file, layout.tiles, int(tile))
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
    return _Opened(read, (n_fovs, n_frames, n_channels, n_z), close, uncovered)


def _read_czi_plane(file: IO[bytes], tiles: _Tiles, row: int) -> np.ndarray | None:
    """Return the pixels (height, width) of a subblock; None if they are compressed, which a library has to undo."""
    _, _, begin, length = _subblock(file, tiles, row)
    compression = int(tiles.columns["compression"][row])
    _, _, width, height = tiles.box(row)
    dtype = np.dtype(CZI_PIXELS[int(tiles.columns["pixel_type"][row])][1]).newbyteorder("<")
    if compression != CZI_PLAIN:
        return None
    _refuse_other_length(length, height, width * dtype.itemsize)
    file.seek(begin)
    return np.fromfile(file, dtype, height * width).reshape(height, width)
