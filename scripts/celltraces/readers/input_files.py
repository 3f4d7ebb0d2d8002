"""Tell by names alone whether there is an input, and which files it consists of.

Planning asks this each time it looks; so nothing is opened here, and no library imported. What only a file's content
tells, as which files an OME-XML names, `celltraces.readers.movie.Movie.files` says.
"""

from __future__ import annotations

from pathlib import Path

from celltraces.files import is_file
from celltraces.readers import name_pattern, pyama_folder
from celltraces.readers.scenes import scenes_beside


def is_input(path: Path) -> bool:
    """Whether there is a file, or a folder of a kind that is read."""
    return is_file(str(path)) or name_pattern.is_pattern(path) or pyama_folder.is_pyama_folder(path)


def listed(path: Path) -> list[Path]:
    """The files of an input that there is, as far as names tell them, in a fixed order."""
    if path.is_dir():
        return pyama_folder.contents(path)
    if name_pattern.is_pattern(path):
        return [file for file, _ in name_pattern.matches(path)]
    scenes = scenes_beside(path)
    return [scenes[number] for number in sorted(scenes)] if len(scenes) > 1 else [path]
