"""Write OME-TIFF plane by plane, and read it without trusting its metadata.

Written with tifffile, compressed with zlib; the same images give the same bytes. Read plane by plane too, after a look
at every strip: neither a shape nor a compressed strip may claim more than the images that are expected.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from celltraces.errors import UserError
from celltraces.exports.fov import mean_step_min
from celltraces.metadata import refuse_declarations

if TYPE_CHECKING:
    import tifffile

CLASSIC_LIMIT = 2**32 - 2**25  # bytes; above that the file has to be a BigTIFF
DEFLATE = (8, 32946)


def write_ome_tiff(
    path: Path,
    planes: Iterable[np.ndarray],
    shape: Sequence[int],
    dtype: Any,
    axes: str,
    *,
    channels: Sequence[str],
    pixel_size_um: float | None = None,
    times_min: Sequence[float] | None = None,
    compression: str | None = "zlib",
    tags: Sequence[tuple[Any, ...]] = (),
) -> None:
    """Write an OME-TIFF of `shape`, whose last two axes are Y and X, from its planes in C order.

    `axes`: a letter per axis of TCZYX. Pixel size in um, where it is known. `times_min`: the time of each index of T,
    in minutes; the file has it in seconds, as OME takes for granted. `tags`: private tags of the first page, as
    tifffile wants them.
    """
    import tifffile

    dtype = np.dtype(dtype)
    metadata: dict[str, Any] = {"axes": axes, "Channel": {"Name": list(channels)}}
    # An identifier that says what is in the file, in the place of a random one.
    metadata["UUID"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{path.name.strip('.')} {axes} {list(shape)} {channels}"))
    resolution = {}
    if pixel_size_um:
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
        resolution = {"resolution": (1e4 / pixel_size_um, 1e4 / pixel_size_um), "resolutionunit": "CENTIMETER"}
    if times_min is not None:
        counts = {axis: count for axis, count in zip(axes, shape, strict=True) if axis in "TCZ"}
        order = [dict(zip(counts, index, strict=True)) for index in itertools.product(*map(range, counts.values()))]
        metadata["Plane"] = {
            "DeltaT": [60 * float(times_min[index["T"]]) for index in order],
            "DeltaTUnit": ["s"] * len(order),
        }
        if (step := mean_step_min(times_min)) is not None:
            metadata |= {"TimeIncrement": 60 * step, "TimeIncrementUnit": "s"}
    size = dtype.itemsize * int(np.prod(shape))
    with tifffile.TiffWriter(path, bigtiff=size > CLASSIC_LIMIT, ome=True) as file:
        file.write(
            iter(planes),
            shape=tuple(shape),
            dtype=dtype,
            photometric="minisblack",
            compression=compression,
            compressionargs={"level": 1}
            if compression
            else None,  # noise gets no smaller at 6, which takes 4 times as long
            software="celltraces",
            metadata=metadata,
            extratags=tags,
            **resolution,
        )


@dataclass(frozen=True)
class Stack:
    """An open OME-TIFF whose planes are found by channel and frame."""

    shape: tuple[int, int, int, int]  # channels, frames, height, width
    dtype: np.dtype
    names: list[str | None]
    _pages: Mapping[tuple[int, int], Any]

    def read(self, channel: int, frame: int) -> np.ndarray:
        """One plane, (H, W)."""
        return self._pages[channel, frame].asarray()


@contextmanager
def open_ome_tiff(path: Path, where: str, expected: tuple[int, int, int], time_axis: str) -> Iterator[Stack]:
    """Open an OME-TIFF of any number of channels whose frames lie along `time_axis` ("T" or "Z").

    `expected`: frames, height and width that it must have. Raises UserError, its line starting with `where`, for
    everything else.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            yield _stack(file, where, expected, time_axis)
    except UserError:
        raise
    except (tifffile.TiffFileError, zlib.error, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: not a readable OME-TIFF ({str(error)[:100]}); save it anew") from error


def _stack(file: tifffile.TiffFile, where: str, expected: tuple[int, int, int], time_axis: str) -> Stack:
    if not file.is_ome:
        raise UserError(f"{where}: it is a TIFF without OME metadata; keep the names and the axes of the export")
    refuse_declarations(file.ome_metadata or "")  # before anything parses it
    if len(file.series) != 1:
        raise UserError(f"{where}: it holds {len(file.series)} images; it must hold one")
    series = file.series[0]
    axes = series.axes
    if set(axes) - {time_axis, "C", "Y", "X"} or axes[-2:] != "YX" or len(set(axes)) != len(axes):
        raise UserError(
            f"{where}: its axes are {axes}; they must be C{time_axis}YX"
            + (", with time on the Z axis, as the program of this format has it" if time_axis == "Z" else "")
        )
    counts = dict(zip(axes, series.shape, strict=True))
    n_channels, n_frames = counts.get("C", 1), counts.get(time_axis, 1)
    shape = (n_frames, counts["Y"], counts["X"])
    if shape != tuple(expected):
        raise UserError(
            f"{where}: its frames, height and width are {_times(shape)}, those of this FOV {_times(expected)}; put the "
            "file under the name of the FOV that it was made from, and do not crop or scale"
        )
    pages = list(series.pages)
    if len(pages) != n_channels * n_frames:
        raise UserError(f"{where}: it holds {len(pages)} planes, {n_channels * n_frames} are announced; save it anew")
    for page in pages:
        _check_page(page, where, shape[1:])
    outer = [axis for axis in axes if axis in ("C", time_axis)]
    order = [dict(zip(outer, index, strict=True)) for index in itertools.product(*(range(counts[a]) for a in outer))]
    places = {(at.get("C", 0), at.get(time_axis, 0)): page for at, page in zip(order, pages, strict=True)}
    return Stack((n_channels, *shape), series.dtype, _names(file, n_channels), places)


def _check_page(page: Any, where: str, shape: tuple[int, int]) -> None:
    """Refuse a page whose strips unpack to more than a plane, before anything is unpacked into memory."""
    if page is None or page.shape != shape:
        raise UserError(f"{where}: a plane is missing or of another size; save it anew")
    page = page.aspage()
    if page.compression not in (1, *DEFLATE):
        raise UserError(f"{where}: its compression {page.compression!r} is not supported; save it with zlib or without")
    most = page.dtype.itemsize * int(np.prod(page.chunks))
    handle = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if page.compression == 1:
            fits = count <= most
        else:
            handle.seek(offset)
            unpacker = zlib.decompressobj()
            unpacker.decompress(handle.read(min(count, handle.size)), most)
            fits = not unpacker.unconsumed_tail or not unpacker.decompress(unpacker.unconsumed_tail, 1)
        if not fits:
            raise UserError(f"{where}: a plane unpacks to more than its size; do not use this file")


def _names(file: tifffile.TiffFile, n_channels: int) -> list[str | None]:
    found = ElementTree.fromstring(file.ome_metadata or "").iter()
    names = [entry.get("Name") for entry in found if entry.tag.endswith("}Channel")]
    return (names + [None] * n_channels)[:n_channels]


def _times(numbers: Iterable[int]) -> str:
    return " x ".join(map(str, numbers))


def digest_of_planes(planes: Iterable[np.ndarray]) -> str:
    """SHA-256 of planes in their order. Whole numbers from 0 to 65535 count as uint16, whatever type they stand in."""
    total = hashlib.sha256()
    for plane in planes:
        total.update(np.ascontiguousarray(without_loss(plane)).data)
    return total.hexdigest()


def without_loss(plane: np.ndarray) -> np.ndarray:
    """The plane as little-endian uint16 if that changes no value, else as it is."""
    with np.errstate(invalid="ignore"):
        counts = plane.astype("<u2")
    return counts if np.array_equal(counts, plane) else plane
