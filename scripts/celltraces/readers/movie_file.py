"""Inspect and open input files of any kind: the one entrance to the user's images.

`inspect_movie` learns everything planning needs without reading a pixel; `open_movie` reads planes. Both speak
of (fov, frame, channel, z), each counted from 0 in the order of the file, whatever loops, scenes or ids the file
itself uses. A plane that the file does not hold is reported and read as None; it never moves another plane.

Each kind of file has a module here, but for spools (`celltraces.pyme.spool`). Before a plane of an ND2 or CZI
is read, what the file says of it in one place (index, directory) is compared with what it says in another (the chunk's
or subblock's own header, lengths against size and pixel type), so that damage is noticed instead of planes shifted, and
no length from a file is believed before memory is asked for. The libraries' own checks do not suffice: of 15,000
damaged files 2 % gave other pixels or times without an error, and 17 ended the process.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.pyme import spool
from celltraces.readers import damage, pyama_folder, time_stamps
from celltraces.readers.checks import as_uint16, believable_pixel_size_um, place_of_plane
from celltraces.readers.czi_file import inspect_czi, open_czi
from celltraces.readers.input_files import kind_of_folder
from celltraces.readers.lif_file import inspect_lif, open_lif
from celltraces.readers.magic import MAKER, kind_of
from celltraces.readers.movie import Movie, OpenedMovie, ReadPlanes
from celltraces.readers.nd2_file import inspect_nd2, open_nd2
from celltraces.readers.ndtiff_folder import inspect_ndtiff, open_ndtiff
from celltraces.readers.ome_zarr import inspect_ome_zarr, open_ome_zarr
from celltraces.readers.own_results import inspect_results, open_results
from celltraces.readers.tiff_file import inspect_pattern, inspect_tiff, open_pattern, open_tiff
from celltraces.tiff import name_pattern

INSPECT: Mapping[str, Callable[[Path], Movie]] = {
    "ND2": inspect_nd2,
    "CZI": inspect_czi,
    "TIFF": inspect_tiff,
    "LIF": inspect_lif,
    "pattern": inspect_pattern,
    "PyAMA": pyama_folder.inspect_stacks,
    "NDTiff": inspect_ndtiff,
    "OME-Zarr": inspect_ome_zarr,
    "results": inspect_results,
}
OPEN: Mapping[str, Callable[[Path], OpenedMovie]] = {
    "ND2": open_nd2,
    "CZI": open_czi,
    "TIFF": open_tiff,
    "LIF": open_lif,
    "pattern": open_pattern,
    "PyAMA": pyama_folder.open_stacks,
    "NDTiff": open_ndtiff,
    "OME-Zarr": open_ome_zarr,
    "results": open_results,
}

# What messages call an input that is no file.
FOLDERS_CALLED = {"pattern": "set of TIFF files", "PyAMA": "folder of PyAMA", "results": "folder of results"}
FOLDERS_CALLED |= {"OME-Zarr": "OME-Zarr", "NDTiff": "NDTiff"}


def _kind_of(path: Path) -> str:
    """The kind of a file by its content, or what else the path names."""
    if name_pattern.is_pattern(path):
        return "pattern"
    return kind_of_folder(path) or kind_of(path)


def inspect_movie(path: Path, pyme: Mapping[str, Any] = spool.DEFAULTS) -> Movie:
    """Describe the file without reading pixels.

    Frame times are the file's own time stamps. Frames that were announced but never taken in any FOV are not
    counted (an acquisition that was stopped early). `pyme`: how spools of PYME are read. Raises UserError for a file
    that cannot be used.
    """
    path = Path(path)
    kind = _kind_of(path)
    with _reader_errors(path, kind):
        if kind == "PYME":
            return _inspect_spool(path, pyme)
        return INSPECT[kind](path)


@contextmanager
def open_movie(path: Path, pyme: Mapping[str, Any] = spool.DEFAULTS) -> Iterator[ReadPlanes]:
    """Open the file and yield `read(fov, frame, channels, z)`, see `ReadPlanes`.

    z is None for a file with one Z plane. Integer pixels whose values fit are widened to uint16. `read` raises
    UserError, naming FOV, frame and channel, for pixels that uint16 cannot hold (floats, colours, values
    outside 0..65535), for data that cannot be decoded, and for indices that the file does not have.
    """
    path = Path(path)
    kind = _kind_of(path)
    with _reader_errors(path, kind):
        if kind == "PYME":
            opened = OpenedMovie(*spool.opened(path, pyme))
        else:
            opened = OPEN[kind](path)
        read_raw, shape, close, uncovered = opened
    n_fovs, n_frames, n_channels, n_z = shape

    def read(fov: int, frame: int, channels: Sequence[int], z: int | None) -> list[np.ndarray | None]:
        if z is None and n_z > 1:
            raise UserError(f"'{path}' has {n_z} Z planes; choose one of 0..{n_z - 1}, or their maximum")
        z = 0 if z is None else z
        wanted = [("FOV", fov, n_fovs), ("frame", frame, n_frames), ("Z plane", z, n_z)]
        for name, index, count in wanted + [("channel", channel, n_channels) for channel in channels]:
            if not 0 <= index < count:
                raise UserError(f"'{path}' has no {name} {index}; it has 0..{count - 1}")
        with _reader_errors(path, kind, f"FOV {fov}, frame {frame}: "):
            planes = read_raw(fov, frame, channels, z)
        return [
            None if plane is None else as_uint16(plane, place_of_plane(path, fov, frame, channel))
            for plane, channel in zip(planes, channels, strict=True)
        ]

    read.uncovered = lambda fov, frame, channel, z: uncovered(fov, frame, channel, z or 0)
    try:
        yield read
    finally:
        close()


@contextmanager
def _reader_errors(path: Path, kind: str, place: str = "") -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into one UserError line, and mute its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            # damaged files make the readers raise every kind of exception, and ask for absurd amounts of memory
            # before any pixel is read; the cause stays attached for the log
            if place and isinstance(error, MemoryError):
                raise
            remedy = f"copy it again from the microscope, or open it in {MAKER[kind]} and save it anew"
            what = FOLDERS_CALLED.get(kind, f"{kind} file")
            raise UserError(f"'{path}' is not a readable {what}: {place}{damage.reason(error)}; {remedy}") from error


def _inspect_spool(path: Path, settings: Mapping[str, Any]) -> Movie:
    """A spool of PYME as a movie of one FOV."""
    found = spool.inspect(path, settings)
    stamps_s, taken = found.stamps_s[None], np.ones((1, found.sizes["T"]), bool)
    place = {
        "name": "FOV 0",
        "height": found.shape[0],
        "width": found.shape[1],
        "times_min": time_stamps.minutes_since_first(stamps_s, time_stamps.trusted(stamps_s, taken), taken)[0],
        "senseless_stamps": time_stamps.senseless(stamps_s, taken)[0],
        "missing": [],
        "position_um": None,
        "exposures_ms": [[] for _ in found.channels],
    }
    return Movie(
        format="pyme",
        dtype=found.dtype.name,
        n_frames=found.sizes["T"],
        n_z=found.sizes["Z"],
        channels=found.channels,
        pixel_size_um=believable_pixel_size_um(found.pixel_size_um),
        period_min=None if found.period_s is None else found.period_s / 60.0,
        fovs=[place],
    )


def read_frame(
    read: Callable[..., list[np.ndarray | None]], fov: int, frame: int, channel: int, planes: Sequence[int | None]
) -> np.ndarray | None:
    """One frame, (H, W) uint16, as the copy stage would write it; None where the file does not hold it.

    `read` is what `open_movie` yields. Of several z `planes` the highest value of each pixel is taken.
    """
    present = [image for plane in planes for image in read(fov, frame, [channel], plane) if image is not None]
    return reduce(np.maximum, present) if present else None
