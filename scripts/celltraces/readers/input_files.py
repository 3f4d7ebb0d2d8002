"""Tell by names alone whether there is an input, and which files it consists of.

Planning asks this each time it looks; so no image is opened here, and no library imported. What only a file's content
tells, as which files an OME-XML names, `celltraces.readers.movie.Movie.files` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from celltraces.files import is_file
from celltraces.readers import ndtiff_folder, ome_zarr, own_results, pyama_folder
from celltraces.tiff import name_pattern
from celltraces.tiff.scenes import scenes_beside

FOLDERS: Mapping[str, tuple[Callable[[Path], bool], Callable[[Path], list[Path]]]] = {
    "PyAMA": (pyama_folder.is_pyama_folder, pyama_folder.contents),
    "results": (own_results.is_results, own_results.contents),
    "NDTiff": (ndtiff_folder.is_ndtiff, ndtiff_folder.contents),
    "OME-Zarr": (ome_zarr.is_ome_zarr, ome_zarr.contents),
}
"""Kinds of folders that are read: whether a folder is of this kind, and the files in it that count."""


def kind_of_folder(path: Path) -> str | None:
    """Of which of FOLDERS a folder is; None for a file and for a folder of no known kind."""
    return next((kind for kind, (is_kind, _) in FOLDERS.items() if path.is_dir() and is_kind(path)), None)


def is_input(path: Path) -> bool:
    """Whether there is a file, or a folder of a kind that is read; `path` may be made of any text."""
    try:
        return is_file(str(path)) or name_pattern.is_pattern(path) or kind_of_folder(path) is not None
    except (OSError, ValueError):  # too long for the system, or not to be looked into
        return False


def listed(path: Path) -> list[Path]:
    """The files of an input that there is, as far as names tell them, in a fixed order."""
    if (kind := kind_of_folder(path)) is not None:
        return FOLDERS[kind][1](path)
    if name_pattern.is_pattern(path):
        return [file for file, _ in name_pattern.matches(path)]
    scenes = scenes_beside(path)
    return [scenes[number] for number in sorted(scenes)] if len(scenes) > 1 else [path]
