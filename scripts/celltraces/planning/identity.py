"""Compute the identity of an input from the sizes and the content of its files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from celltraces.readers.input_files import listed
from celltraces.readers.movie import Movie

WHOLE_BYTES = 1 << 28  # an input up to this size is read from end to end: a second or so
SAMPLE_BYTES = 1 << 16
LEAST_SAMPLE_BYTES = 1 << 12
SAMPLES = 33  # of a file of a larger input


def content_identity(path: str, movie: Movie | None = None) -> str:
    """A digest of the sizes and the content of all files of the input, or of samples of it where it is large.

    The same content has the same identity under any name and date. A file that is not there counts as that. Of a large
    input every file is sampled; a change of a few pixels may then go unnoticed, another movie does not.
    """
    files = input_files(path, movie)
    if len(files) == 1:  # that it is not there is an error, then
        os.stat(files[0])
    sizes = [os.stat(file).st_size if file.is_file() else None for file in files]
    whole = sum(filter(None, sizes)) <= WHOLE_BYTES
    digest = hashlib.sha256()
    for name, size in zip(files, sizes, strict=True):
        if size is None:
            digest.update(b"missing")
            continue
        digest.update(str(size).encode())
        with open(name, "rb") as file:
            if whole:
                while block := file.read(1 << 20):
                    digest.update(block)
                continue
            starts, length = _samples(size, len(files))
            for start in starts:
                file.seek(start)
                digest.update(file.read(length))
    return digest.hexdigest()[:16]


def _samples(size: int, n_files: int) -> tuple[list[int], int]:
    """Where the samples of a file begin, evenly over the whole of it, and their length in bytes."""
    count = min(SAMPLES, max(1, WHOLE_BYTES // SAMPLE_BYTES // n_files))
    length = min(SAMPLE_BYTES, max(LEAST_SAMPLE_BYTES, WHOLE_BYTES // n_files))
    last = max(0, size - length)
    return [last // 2] if count == 1 else [last * at // (count - 1) for at in range(count)], length


def input_files(path: str, movie: Movie | None = None) -> list[Path]:
    """The files that an input consists of, in the order in which they count."""
    return [Path(file) for file in movie.files] if movie and movie.files else listed(Path(path))


def statuses_of_input(path: str, files: Sequence[str]) -> list[list[int] | None]:
    """The statuses of all files that an input consists of by their names, and of those that it names (Movie.files)."""
    return statuses([Path(file) for file in dict.fromkeys([*map(str, input_files(path)), *files])])


def statuses(files: Sequence[Path]) -> list[list[int] | None]:
    """Size and dates of each file, None for one that is not there: what changes when a file is written anew.

    A program that copies the date of content (cp -p, rsync -t) cannot copy that of the last change.
    """
    found: list[list[int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
        except FileNotFoundError:
            found.append(None)
        else:
            found.append([status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return found
