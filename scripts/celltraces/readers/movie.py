"""Define Movie, what is known of an input file before a pixel is read, and the types that readers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from celltraces.frames.coverage import Boxes


class ReadPlanes(Protocol):
    """read(fov, frame, channels, z): one (H, W) uint16 plane per channel, None where the file has no such plane.

    read.uncovered(fov, frame, channel, z): boxes of the pixels on which no tile of a mosaic lies
    (celltraces.frames.coverage).
    """

    uncovered: Callable[[int, int, int, int | None], Boxes]

    def __call__(self, fov: int, frame: int, channels: Sequence[int], z: int | None) -> list[np.ndarray | None]: ...


@dataclass(frozen=True)
class Movie:
    """What planning learns from one file; survives JSON as `Movie(**json.loads(json.dumps(asdict(movie))))`.

    `fovs` has one dict per FOV in file order: `name`; `height`, `width` in pixels; `times_min`, one time per frame
    in minutes since the first frame of the file, whatever FOV that is of, or None; `senseless_stamps`, the frames whose
    time stamps are missing or make no sense (then `times_min` is not from these); `missing`, the [frame, channel] pairs
    that lack at least one Z plane; `position_um`, where the stage stood (its first stay), the middle of the FOV along
    its columns and rows, with any origin and signs, or None; `exposures_ms`, for each channel the frames from which on
    it is exposed so long, as [frame, ms], none where that is unknown.
    ND2 gap images (a channel that NIS-Elements was told to skip at a time point is stored as zeros) are seen only
    when read: they are not in `missing`, but read as None (in files with one Z plane).
    `pixel_size_um`: their width; `pixel_height_um`: their height where that is another. `pixel_sizes_um`: the width in
    each FOV, where FOVs differ, as those of several objectives.
    `files`: all that the input consists of, in a fixed order, those that should be there and are not among them; empty
    where planning finds these by their names (celltraces.readers.input_files).
    """

    format: str
    dtype: str
    n_frames: int
    n_z: int
    channels: list[str]
    pixel_size_um: float | None
    period_min: float | None
    fovs: list[dict[str, Any]]
    files: list[str] = field(default_factory=list)
    pixel_height_um: float | None = None
    pixel_sizes_um: list[float | None] = field(default_factory=list)


class Contradiction(ValueError):
    """Two parts of a file do not say the same: what is not known to be wrong may be."""


class OpenedMovie(NamedTuple):
    """A file open for reading: its planes as stored, the sizes (FOVs, frames, channels, z), how to close it, and which
    pixels of a plane (fov, frame, channel, z) have no tile."""

    read: Callable[[int, int, Sequence[int], int], list[np.ndarray | None]]
    shape: tuple[int, int, int, int]
    close: Callable[[], None]
    uncovered: Callable[[int, int, int, int], Boxes] = lambda *_: ()
