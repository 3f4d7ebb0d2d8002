"""Inspect and open TIFF files of any kind: what is where in them, the room `tiff` says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from celltraces.errors import UserError
from celltraces.readers import damage
from celltraces.readers.movie import Movie, OpenedMovie
from celltraces.readers.planes_movie import movie_of, opened_movie
from celltraces.tiff import tags
from celltraces.tiff.folders import pattern_map, tiff_map
from celltraces.tiff.pages import Pages, refuse_page
from celltraces.tiff.plane_map import FovMap, PlaneMap


def inspect_tiff(path: Path) -> Movie:
    """Describe a TIFF without reading pixels; see `movie_file.inspect_movie`."""
    return inspect_planes(tiff_map(path))


def open_tiff(path: Path) -> OpenedMovie:
    """Open a TIFF; one page is read at a time."""
    return open_planes(tiff_map(path))


def inspect_pattern(path: Path) -> Movie:
    """Describe the files that a pattern names, each of which is looked at."""
    return inspect_planes(pattern_map(path))


def open_pattern(path: Path) -> OpenedMovie:
    """Open the files that a pattern names, as planes of them are asked for."""
    return open_planes(pattern_map(path))


def inspect_planes(planes: PlaneMap) -> Movie:
    """Look at the first and last page of each file, and of each FOV, and at every frame's where only these tell the
    time."""
    pages = Pages(planes.files)
    try:
        used = np.concatenate([fov.where[fov.where[..., 0] >= 0] for fov in planes.fovs])
        dtypes: dict[int, set[str]] = {}
        for file in np.unique(used[:, 0]).tolist():
            own = used[used[:, 0] == file, 1]
            try:
                damage.refuse_pointer(planes.files[file])
                pages.count(file)
                for number in {int(own.min()), int(own.max())}:
                    page = pages.page(file, number)
                    refuse_page(page, planes.files[file], planes.files[file].stat().st_size)
                    dtypes.setdefault(file, set()).add(page.dtype.name)
            except UserError:
                raise
            except Exception as error:
                raise ValueError(f"{planes.files[file].name}: {damage.reason(error)}") from error
        _refuse_several_depths(planes, dtypes)
        planes.dtype = max(set().union(*dtypes.values()), key=lambda name: np.dtype(name).itemsize)
        known = any(np.isfinite(fov.stamps_s).any() for fov in planes.fovs)
        planes.fovs = [_looked_at(fov, planes, pages, known) for fov in planes.fovs]
        if all(fov.size is None for fov in planes.fovs):
            raise ValueError("it holds no pixels")
    finally:
        pages.close()
    return movie_of(planes)


def _refuse_several_depths(planes: PlaneMap, dtypes: Mapping[int, set[str]]) -> None:
    """Raise UserError for a channel of which some files have 8-bit pixels and others 16-bit ones; dtypes: by file."""
    of_one = {file: next(iter(names)) for file, names in dtypes.items() if len(names) == 1}
    for channel, name in enumerate(planes.channels):
        used = np.concatenate([fov.where[:, channel, ..., 0].ravel() for fov in planes.fovs])
        first: dict[str, int] = {}
        for file in np.unique(used[used >= 0]).tolist():
            if file in of_one:
                first.setdefault(of_one[file], file)
        if len(first) > 1:
            (one, file), (other, its) = list(first.items())[:2]
            raise UserError(
                f"'{planes.files[file]}' has {one} pixels and '{planes.files[its]}' {other}, both of channel {name!r}: "
                "their intensities cannot be compared; export all files of a channel with the same depth"
            )


def _looked_at(fov: FovMap, planes: PlaneMap, pages: Pages, known: bool) -> FovMap:
    """The FOV with its size as its first page has it and, unless times are known, those that its pages tell."""
    stamps, size, name, place = fov.stamps_s.copy(), None, fov.name, fov.position_um
    for frame in range(len(stamps)):
        there = fov.where[frame][fov.where[frame, ..., 0] >= 0]
        if not len(there):
            continue
        page = pages.page(*there[0, :2].tolist())
        if size is None:
            size = (page.imagelength, page.imagewidth)
            if fov.size not in (None, size):
                raise ValueError(
                    f"its planes have {size[1]} x {size[0]} pixels where {fov.size[1]} x {fov.size[0]} are announced"
                )
        if known:
            break
        facts = tags.facts_of(page)
        name, place = name or facts.position or "", place or facts.position_um
        planes.pixel_size_um = planes.pixel_size_um or facts.pixel_size_um
        if facts.stamp_s is None:
            break  # a program that tells no time of one frame tells none at all
        stamps[frame] = facts.stamp_s
    return fov._replace(size=size or fov.size, stamps_s=stamps, name=name, position_um=place)


def open_planes(planes: PlaneMap) -> OpenedMovie:
    """Read planes page by page."""
    pages = Pages(planes.files)
    sizes = {fov: place.size for fov, place in enumerate(planes.fovs)}

    def read_plane(fov: int, frame: int, channel: int, z: int) -> np.ndarray:
        where = planes.fovs[fov].where
        if sizes[fov] is None:
            first = pages.page(*where[where[..., 0] >= 0][0, :2].tolist())
            sizes[fov] = (first.imagelength, first.imagewidth)
        return pages.read(*where[frame, channel, z].tolist(), sizes[fov])

    return opened_movie(planes, read_plane, pages.close)
