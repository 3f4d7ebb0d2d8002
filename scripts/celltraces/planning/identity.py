"""Compute the identity of an input from the size and samples of the content of its files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from celltraces.readers.input_files import listed
from celltraces.readers.movie import Movie

SAMPLE_BYTES = 1 << 16
SAMPLES = 33  # of a file
MANY_SAMPLES = 4096  # in all: 250 MB


def content_identity(path: str, movie: Movie | None = None) -> str:
    """A digest of the size and of samples spread over the file, or over all files of the input.

    The same content has the same identity under any name and date. A file that is not there counts as that.
    """
    digest = hashlib.sha256()
    files = input_files(path, movie)
    for number, name in enumerate(files):
        try:
            file = open(name, "rb")  # noqa: SIM115
        except FileNotFoundError:
            if len(files) == 1:
                raise
            digest.update(b"missing")
            continue
        with file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for start in _samples(size, number, len(files)):
                file.seek(start)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _samples(size: int, number: int, n_files: int) -> list[int]:
    """Where the samples of file `number` of `n_files` begin: over the whole of it or, of very many files, in the middle
    of every second, third, ... one."""
    last = max(0, size - SAMPLE_BYTES)
    if n_files * SAMPLES <= MANY_SAMPLES:
        return [last * at // (SAMPLES - 1) for at in range(SAMPLES)]
    every = -(-n_files // MANY_SAMPLES)
    return [last // 2] if number % every == 0 else []


def input_files(path: str, movie: Movie | None = None) -> list[Path]:
    """The files that an input consists of, in the order in which they count."""
    return [Path(file) for file in movie.files] if movie and movie.files else listed(Path(path))


def statuses(files: Sequence[Path]) -> list[list[int] | None]:
    """Size and date of each file, None for one that is not there: what changes when a file is written anew."""
    found: list[list[int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
        except FileNotFoundError:
            found.append(None)
        else:
            found.append([status.st_size, status.st_mtime_ns])
    return found
