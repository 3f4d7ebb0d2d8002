"""Write files and folders so that they are complete or absent, never half there."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file or folder at; it gets the name `path` only when the block ends without an error.

    The name in between is always the same, so that what a killed job left is replaced by its next run.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    try:
        yield partial
        remove(path)
        os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise


def is_file(path: str) -> bool:
    """Whether there is a file at `path`, which may be any text."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long for the system, for one
        return False


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A folder for parts of `path` while it is made; its name is fixed: the next run replaces a killed job's."""
    folder = Path(path).with_name(f".{Path(path).name}.scratch")
    remove(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def remove(path: Path) -> None:
    """Remove a file or folder that may not be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all, with "\\n" line ends on every system."""
    with whole(path) as partial:
        partial.write_bytes(text.encode())


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows, the header first, as the text of a CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
