"""Read movies that PYME spooled: HDF5 files (.h5) with a stack of frames, one FOV per file.

/ImageData (N, X, Y) or /PZFImageData (N compressed frames, see celltraces.pyme.pzf) with /PZFImageIndex; its attributes
DimOrder, SizeC, SizeZ and SizeT say what the N frames are, the letter after XY varying fastest; /MetaData has what the
microscope knew, /Events when what happened. A spool without sizes is taken for a movie of one channel.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.pyme import pzf
from celltraces.pyme.metadata import hard, read_attribute

if TYPE_CHECKING:
    import h5py

# What a config may say about a spool (its key `pyme`).
DEFAULTS: Mapping[str, Any] = {"axes": None, "allow_lossy": False}
ORDERS = ("XYZTC", "XYTZC", "XYZCT", "XYTCZ", "XYCZT", "XYCTZ")
SIZES = ("SizeZ", "SizeT", "SizeC")
SMALLEST_SHARE = 1 / 1100  # of a plane's bytes: zlib packs no tighter than 1 to 1032
MANY_EVENTS = 1_000_000


class Spool(NamedTuple):
    """What a spool holds. `sizes`: number of Z planes, frames and channels; `order`: the letters after XY."""

    order: str
    sizes: dict[str, int]
    shape: tuple[int, int]  # height and width
    by_rows: bool  # whether the first axis of a stored frame is Y
    dtype: np.dtype
    channels: list[str]
    pixel_size_um: Any
    period_s: float | None
    stamps_s: np.ndarray  # (T,) s, NaN where unknown

    def number(self, **place: int) -> int:
        """Which of the N frames is at Z=, T=, C=."""
        number = 0
        for letter in reversed(self.order):
            number = number * self.sizes[letter] + place[letter]
        return number


def inspect(path: Path, settings: Mapping[str, Any]) -> Spool:
    """What planning needs. `settings`: see DEFAULTS. Raises UserError, or ValueError for a damaged file."""
    with _open(path) as file:
        return _look(path, file, settings)


def _open(path: Path) -> h5py.File:
    import h5py

    return h5py.File(path, "r", locking=False)  # a microscope's disk may be read-only


def opened(
    path: Path, settings: Mapping[str, Any]
) -> tuple[Callable[..., list[np.ndarray | None]], tuple[int, int, int, int], Callable[[], None]]:
    """As readers.movie.OpenedMovie: planes as stored, the sizes (FOVs, frames, channels, z), and how to close it."""
    file = _open(path)
    try:
        spool = _look(path, file, settings)
        read_frame = _reader(path, file, spool, settings)
    except BaseException:
        file.close()
        raise

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        return [read_frame(spool.number(Z=z, T=frame, C=channel)) for channel in channels]

    return read, (1, *(spool.sizes[letter] for letter in "TCZ")), file.close


def _look(path: Path, file: h5py.File, settings: Mapping[str, Any]) -> Spool:
    data, packed = _data(path, file)
    metadata = hard(file, "MetaData", _kinds()[0])
    known = _Known(file, metadata)
    count = data.shape[0]
    order, sizes = _sizes(path, data, known, count)
    if packed:
        first = _frame_bytes(data, _positions(file, count)[0])
        axes, dtype, lossy = pzf.image_type(first)
        _refuse_lossy(path, lossy, settings)
    else:
        axes, dtype = data.shape[1:], data.dtype
    if dtype.kind not in "ui":
        raise UserError(f"'{path}': {dtype} pixels cannot be used; save the movie with 16-bit integers")
    if math.prod(axes) * dtype.itemsize * SMALLEST_SHARE > path.stat().st_size:
        raise ValueError(f"its planes of {axes[0]} x {axes[1]} pixels are larger than the file can hold")
    by_rows = _by_rows(settings["axes"], axes, known)
    names = known("ChannelNames")
    named = isinstance(names, list) and len(names) == sizes["C"] and all(isinstance(name, str) for name in names)
    cycle_s = known.number("Camera.CycleTime")
    spool = Spool(
        order,
        sizes,
        axes if by_rows else axes[::-1],
        by_rows,
        dtype,
        names if named else [f"C{channel}" for channel in range(sizes["C"])],
        known("voxelsize.x"),  # always um, whatever voxelsize.units says
        None,
        np.full(sizes["T"], np.nan),
    )
    if cycle_s is None or cycle_s <= 0:
        return spool
    frames = np.array([spool.number(Z=0, T=t, C=0) for t in range(sizes["T"])])
    period_s = cycle_s * int(frames[1] - frames[0]) if len(frames) > 1 else None
    return spool._replace(period_s=period_s, stamps_s=_stamps_s(file, known.number("StartTime"), cycle_s, frames))


class _Known:
    """Entries of /MetaData by dotted name, None where there is no such entry; only what is asked for is looked at."""

    def __init__(self, file: h5py.File, top: h5py.Group | None) -> None:
        self._file, self._top = file, top

    def __call__(self, name: str) -> Any:
        node = self._top
        *groups, last = name.split(".")
        for group in groups:
            node = None if node is None else hard(node, group, _kinds()[0])
        try:
            return None if node is None else read_attribute(node, last)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def number(self, name: str) -> float | None:
        value = self(name)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if usable else None


def _kinds() -> tuple[type, type]:
    import h5py

    return h5py.Group, h5py.Dataset


def _data(path: Path, file: h5py.File) -> tuple[h5py.Dataset, bool]:
    """The frames, and whether they are compressed one by one."""
    import h5py

    frames, packed = (hard(file, name, h5py.Dataset) for name in ("ImageData", "PZFImageData"))
    data = packed if frames is None else frames
    if data is None:
        raise UserError(
            f"'{path}' is an HDF5 file without ImageData, which every PYME spool has; name a file written by PYME"
        )
    if data.external or data.is_virtual:
        raise ValueError("its frames lie in other files")
    fits = data.ndim == 1 and h5py.check_vlen_dtype(data.dtype) == np.uint8 if frames is None else data.ndim == 3
    if not fits or 0 in data.shape:
        raise ValueError(f"its frames are {data.dtype} of shape {data.shape}")
    return data, frames is None


def _sizes(path: Path, data: h5py.Dataset, known: _Known, count: int) -> tuple[str, dict[str, int]]:
    """Letters after XY, and the size of each, from the attributes of the frames, else from the metadata."""
    for look in (lambda name: read_attribute(data, name), known):
        order, sizes = look("DimOrder"), [look(name) for name in SIZES]
        if order is not None and None not in sizes:
            break
    else:
        return "TZC", {"Z": 1, "T": count, "C": 1}
    if order not in ORDERS:
        raise UserError(f"'{path}': its DimOrder {str(order)[:20]!r} is none of {', '.join(ORDERS)}; save it anew")
    if not all(isinstance(size, int) and size > 0 for size in sizes) or math.prod(sizes) != count:
        listed = ", ".join(f"{name} {str(size)[:20]}" for name, size in zip(SIZES, sizes, strict=True))
        raise UserError(
            f"'{path}' holds {count} frames, which {listed} do not make; it was cut off, or save it anew in PYME"
        )
    return order[2:], dict(zip("ZTC", sizes, strict=True))


def _by_rows(axes: str | None, shape: Sequence[int], known: _Known) -> bool:
    """Whether a stored frame is (Y, X): cameras spool (X, Y), but what PYME converts from TIFF it keeps as it was."""
    if axes is not None:
        return axes == "yx"
    roi = [known.number(f"Camera.ROI{side}") for side in ("Width", "Height")]
    return list(shape) == roi[::-1] and list(shape) != roi


def _stamps_s(file: h5py.File, start_s: float | None, cycle_s: float, frames: np.ndarray) -> np.ndarray:
    """When frames were taken, (n,) s, NaN where it is unknown.

    An event StartAq says, in its description, after which frame the camera was started anew, and when; from there
    frames follow each other every `cycle_s`. Without such events nothing is known but the period.
    """
    table = hard(file, "Events", _kinds()[1])
    last, times = [-1], [start_s]
    for name, text, time in [] if start_s is None or table is None else _events(table):
        if name == b"StartAq" and text.isdigit():
            last.append(int(text[:18]))
            times.append(time)
    if len(last) == 1:
        return np.full(len(frames), np.nan)
    order = np.argsort(last, kind="stable")
    after, starts = np.array(last)[order], np.array(times)[order]
    at = np.searchsorted(after, frames, side="left") - 1
    return starts[at] + (frames - after[at] - 1) * cycle_s


def _events(table: h5py.Dataset) -> Iterator[tuple[bytes, bytes, float]]:
    """Name, description and time (s) of each event.

    PyTables stores times as a type that h5py has no numpy type for: microseconds and seconds, 32 bits each. So rows are
    taken as the bytes that they are, and their fields by the offsets of the table's type.
    """
    import h5py

    kind = table.id.get_type()
    if table.ndim != 1 or len(table) > MANY_EVENTS or kind.get_class() != h5py.h5t.COMPOUND:
        raise ValueError("its Events are damaged")
    if table.external or table.is_virtual:
        raise ValueError("its Events lie in other files")
    fields = {}
    for at in range(kind.get_nmembers()):
        member = kind.get_member_type(at)
        fields[kind.get_member_name(at)] = (kind.get_member_offset(at), member.get_size(), member.get_class())
    classes = [fields.get(name, (0, 0, None))[1:] for name in (b"EventName", b"EventDescr", b"Time")]
    plain = all(of_text == h5py.h5t.STRING and size < 1024 for size, of_text in classes[:2])
    if not plain or classes[2] not in ((8, h5py.h5t.TIME), (8, h5py.h5t.FLOAT)) or kind.get_size() > 4096:
        raise ValueError("its Events are damaged")
    rows = np.empty(table.shape, f"V{kind.get_size()}")
    table.id.read(h5py.h5s.ALL, h5py.h5s.ALL, rows, mtype=kind)
    for row in map(bytes, rows):
        name, text, time = (
            row[fields[key][0] : fields[key][0] + fields[key][1]] for key in (b"EventName", b"EventDescr", b"Time")
        )
        if classes[2][1] == h5py.h5t.TIME:
            microseconds, seconds = struct.unpack("<ii", time)
            moment = seconds + microseconds / 1e6
        else:
            moment = struct.unpack("<d", time)[0]
        yield name.rstrip(b"\0 "), text.rstrip(b"\0 "), moment


# -------------------------------------------------------------------------------------------------------------- pixels


def _reader(
    path: Path, file: h5py.File, spool: Spool, settings: Mapping[str, Any]
) -> Callable[[int], np.ndarray | None]:
    """read(number): one of the N frames, (H, W); None for one that was never written."""
    data, packed = _data(path, file)
    shape = spool.shape if spool.by_rows else spool.shape[::-1]
    positions = _positions(file, data.shape[0]) if packed else None

    def read(number: int) -> np.ndarray | None:
        if positions is not None:
            frame = pzf.decode(_frame_bytes(data, positions[number]), shape)
            _refuse_lossy(path, frame.lossy, settings)
            plane = frame.pixels[:, :, 0]
        else:
            if data.chunks is not None and data.chunks[0] == 1:
                chunk = data.id.get_chunk_info_by_coord((number, 0, 0))
                if chunk.byte_offset is None:
                    return None
            plane = data[number]
        return plane if spool.by_rows else plane.T

    return read


def _frame_bytes(data: h5py.Dataset, position: int) -> bytes:
    return data[position].tobytes()


def _positions(file: h5py.File, count: int) -> np.ndarray:
    """Where each of the N compressed frames stands: they may have been written in another order."""
    index = hard(file, "PZFImageIndex", _kinds()[1])
    if index is None:
        return np.arange(count)
    if index.shape != (count,) or not {"FrameNum", "Position"} <= set(index.dtype.names or ()):
        raise ValueError("its PZFImageIndex does not fit its frames")
    table = index[:]
    positions = np.empty(count, np.int64)
    every = np.arange(count)
    if not all(np.array_equal(np.sort(table[name]), every) for name in ("FrameNum", "Position")):
        raise ValueError("its PZFImageIndex does not name every frame once")
    positions[table["FrameNum"]] = table["Position"]
    return positions


def _refuse_lossy(path: Path, lossy: bool, settings: Mapping[str, Any]) -> None:
    if lossy and not settings["allow_lossy"]:
        raise UserError(
            f"'{path}': its frames were rounded when they were compressed (PZF, square root), which changes "
            "intensities; to use them all the same, set pyme.allow_lossy: true"
        )
