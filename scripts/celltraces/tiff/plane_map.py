"""Say where each plane of a movie lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celltraces.errors import UserError

NOWHERE = (-1, -1, -1)
MANY_PLANES = 100_000_000
SAME_SIZE = 0.02  # share by which the pixels of parts of an input may differ


class FovMap(NamedTuple):
    """One FOV. `where` (T, C, Z, 3) int32: file, page in it, plane behind the page; -1 where there is no such plane.
    `stamps_s` (T,) float64: seconds since any moment that all FOVs share, NaN where unknown. `start_s`: POSIX
    seconds of the start of its acquisition, where that is told; its stamps may count from there. `period_s`: from
    frame to frame, if it is told of each FOV. `position_um`, `exposures_ms`: see `readers.movie.Movie`; of the latter
    as many as the FOV has channels, or none."""

    name: str
    where: np.ndarray
    stamps_s: np.ndarray
    size: tuple[int, int] | None  # height and width, None where only the pixels tell
    start_s: float = np.nan
    period_s: float | None = None
    position_um: list[float] | None = None
    exposures_ms: Sequence[list[list[float]]] = ()
    pixel_size_um: float | None = None  # where it is told of each FOV


@dataclass
class PlaneMap:
    """An input of any number of files. `files` may be absent: then their planes are missing."""

    format: str
    files: list[Path]
    fovs: list[FovMap]
    channels: list[str]
    pixel_size_um: float | None = None
    period_s: float | None = None
    dtype: str = ""
    read_with: list[Path] = field(default_factory=list)  # further files, without planes
    pixel_height_um: float | None = None  # where it is told

    @property
    def n_z(self) -> int:
        """Number of Z planes."""
        return self.fovs[0].where.shape[2]


def empty(n_frames: int, n_channels: int, n_z: int) -> np.ndarray:
    """A map (T, C, Z, 3) without planes. Raises ValueError for sizes beyond reason."""
    if min(n_frames, n_channels, n_z) < 1 or n_frames * n_channels * n_z > MANY_PLANES:
        raise ValueError(f"it announces {n_frames} frames, {n_channels} channels and {n_z} z planes")
    return np.full((n_frames, n_channels, n_z, 3), -1, np.int32)


def in_order(order: str, sizes: dict[str, int], plane: int) -> dict[str, int]:
    """The indices of plane number `plane` where the axes in `order` vary, the first fastest."""
    at = {}
    for axis in order:
        plane, at[axis] = divmod(plane, sizes[axis])
    if plane:
        raise ValueError("it has more planes than its axes")
    return at


def same_sizes(fovs: Sequence[FovMap]) -> list[FovMap]:
    """The FOVs with as many frames, channels and z planes as the largest has; what is added is missing."""
    largest = tuple(max(fov.where.shape[axis] for fov in fovs) for axis in range(3))
    result = []
    for fov in fovs:
        where = empty(*largest)
        n_frames, n_channels, n_z, _ = fov.where.shape
        where[:n_frames, :n_channels, :n_z] = fov.where
        stamps = np.full(largest[0], np.nan)
        stamps[:n_frames] = fov.stamps_s
        result.append(fov._replace(where=where, stamps_s=stamps))
    return result


def without_frames_never_taken(fovs: Sequence[FovMap]) -> list[FovMap]:
    """The FOVs without the last frames that were announced, and taken in none of them."""
    taken = np.flatnonzero(np.any([(fov.where[..., 0] >= 0).any(axis=(1, 2)) for fov in fovs], axis=0))
    if not len(taken):
        raise ValueError("it holds no pixels")
    n_frames = int(taken[-1]) + 1
    return [fov._replace(where=fov.where[:n_frames], stamps_s=fov.stamps_s[:n_frames]) for fov in fovs]


def refuse_shared_planes(fovs: Sequence[FovMap]) -> None:
    """Raise ValueError where one page is said to be two planes."""
    used = np.concatenate([fov.where[fov.where[..., 0] >= 0] for fov in fovs])
    if len(np.unique(used, axis=0)) < len(used):
        raise ValueError("its metadata give the same page to two planes")


def common_channels(path: Path, names: Sequence[Sequence[str]]) -> tuple[list[str], list[list[int]]]:
    """The channels of a file whose FOVs name theirs, and which of these each FOV's are.

    A FOV with fewer channels lacks those that it does not name. Raises UserError where names do not tell which these
    are.
    """
    longest = list(max(names, key=len))
    places = []
    for own in names:
        if list(own) in (longest[: len(own)], [f"C{at}" for at in range(len(own))]):
            places.append(list(range(len(own))))
        elif len(set(longest)) == len(longest) and len(set(own)) == len(own) and set(own) <= set(longest):
            places.append([longest.index(name) for name in own])
        else:
            raise UserError(
                f"'{path}': its FOVs have different channels, {', '.join(longest)} and {', '.join(own)}; export those "
                "that belong together into a file of their own"
            )
    return longest, places


def on_channels(
    exposures_ms: Sequence[list[list[float]]], places: Sequence[int], n_channels: int
) -> list[list[list[float]]]:
    """The exposures of a FOV's own channels, whose `places` are those among all channels of the file."""
    found: list[list[list[float]]] = [[] for _ in range(n_channels)]
    for place, of_channel in zip(places, exposures_ms, strict=False):
        found[place] = of_channel
    return found


def common_pixel_size(path: Path, sizes: Mapping[str, float | None]) -> float | None:
    """The width of a pixel, um, of the parts of an input that say it, by the name of the part.

    Raises UserError where two of them differ: what was taken with several objectives has no areas in common.
    """
    known = {name: size for name, size in sizes.items() if size}
    if not known:
        return None
    first, least, most = next(iter(known)), min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    if known[most] > (1 + SAME_SIZE) * known[least]:
        raise UserError(
            f"'{path}': pixels are {known[least]:.4g} um wide in '{least}' and {known[most]:.4g} um in '{most}', of "
            "two objectives or binnings; make a dataset of each"
        )
    return known[first]
