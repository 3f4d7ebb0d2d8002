"""Use the private parts of package nd2 that reading needs, in one place.

Its public functions give zeros for frames that the index of a damaged file has lost, and read the acquisition times one
by one. All use of its private reader stands here: a version in which it differs breaks one module and one test.
"""

from __future__ import annotations

from typing import Any

TRIED = ("0.12.0",)  # versions of nd2 that the tests have run with


def chunk_map(file: Any) -> dict[bytes, tuple[int, int]]:
    """The index of an open ND2File: for each chunk's name the byte where it begins, and the length that it states."""
    return file._rdr.chunkmap


def load_chunk(file: Any, name: bytes) -> bytes:
    """The data of one chunk."""
    return file._rdr._load_chunk(name)
