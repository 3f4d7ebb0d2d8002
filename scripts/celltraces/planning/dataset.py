"""Define Dataset: one input file and what is to be done with it."""

from __future__ import annotations

from dataclasses import dataclass

from celltraces.readers.movie import Movie


@dataclass(frozen=True)
class Dataset:
    """An input file: its channels by index, and its FOVs that this run processes."""

    name: str
    path: str
    movie: Movie
    identity: str  # changes when the file's content does
    fovs: tuple[int, ...]
    pc: int | None
    fl: tuple[int, ...]
    failed: tuple[int, ...] = ()  # asked for, but this run does without them
    note: str = ""  # what was learned from the file, as JSON, where no earlier run has written it down
