"""Define what every export is made of: the images, labels, lineage, traces and metadata of one FOV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celltraces.labels import shared_pixels
from celltraces.labels.lineage import Division, divisions_of
from celltraces.results import curation

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fov:
    """One FOV. Arrays are (T, H, W), by their names in images.zarr; what a format does not need is empty or None."""

    base: str  # {dataset}_fov_{fov}
    channels: Mapping[str, shared_pixels.FrameStack] = field(default_factory=dict)
    labels: shared_pixels.FrameStack | None = None  # the labels that cells are cropped by
    earlier: Mapping[str, shared_pixels.FrameStack] = field(default_factory=dict)
    """Labels of single frames, and backgrounds."""
    origins: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # cell -> parent and frame of the division
    cells: Path | None = None  # cells.zarr
    traces: Path | None = None
    decisions: Sequence[str] = ()  # tables of a person's decisions, and of cells that were taken in by hand
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def divisions(self) -> list[Division]:
        """The divisions in `origins`, sorted by parent."""
        return divisions_of(self.origins)


def traces_of_good_cells(fov: Fov) -> pd.DataFrame:
    """The traces of those cells and frames that the tidy table of the dataset has: a person's decisions are applied.

    The settings have `times_min`, a time for each frame.
    """
    assert fov.traces is not None
    (table,) = curation.good_traces([str(fov.traces)], [fov.settings["times_min"]], fov.decisions)
    return table.drop(columns="time_min").reset_index(drop=True)


def in_tables(fov: Fov) -> set[tuple[int, int]]:
    """Cells and frames, in pairs, that the tables of the dataset have; all others were tracked and are left out there,
    by a filter or a person. The settings have `times_min`."""
    good = traces_of_good_cells(fov)
    return set(zip(good["cell"].tolist(), good["frame"].tolist(), strict=True))


class Spot(NamedTuple):
    """A cell in a frame. Centroid in pixels (the middle of the first pixel is 0), area in pixels."""

    cell: int
    frame: int
    y: float
    x: float
    area: int


def spots(labels: shared_pixels.FrameStack) -> Iterator[Spot]:
    """Every cell in every frame, by frame and cell."""
    for frame in range(labels.shape[0]):
        image = labels.read(frame)
        y, x = np.nonzero(image)
        cells = image[y, x].astype(np.int64)
        for cell, pixels in shared_pixels.hidden(labels, frame).items():
            rows, columns = np.divmod(pixels, image.shape[1])
            y, x = np.concatenate([y, rows]), np.concatenate([x, columns])
            cells = np.concatenate([cells, np.full(len(pixels), cell)])
        numbers, where = np.unique(cells, return_inverse=True)
        area = np.bincount(where)
        centre = [np.bincount(where, weights=axis) / area for axis in (y, x)]
        for row in zip(numbers.tolist(), *(column.tolist() for column in (*centre, area)), strict=True):
            yield Spot(row[0], frame, *row[1:])


def mean_step_min(times_min: Sequence[float]) -> float | None:
    """Mean time from frame to frame in minutes; None for a single frame."""
    return (times_min[-1] - times_min[0]) / (len(times_min) - 1) if len(times_min) > 1 else None


def links(found: list[Spot], divisions: list[Division]) -> list[tuple[int, int]]:
    """Pairs of positions in `found`: a cell and itself in the next frame in which it is, a parent and its daughters."""
    places: dict[int, list[int]] = {}
    for at, spot in enumerate(found):
        places.setdefault(spot.cell, []).append(at)
    pairs = [pair for at in places.values() for pair in zip(at, at[1:], strict=False)]
    pairs += [
        (places[division.parent][-1], places[daughter][0]) for division in divisions for daughter in division.daughters
    ]
    return sorted(pairs)


def frames_by_cell(labels: Iterable[Iterable[int]]) -> dict[int, list[int]]:
    """The frames in which each cell is; labels: the cells of each frame."""
    found: dict[int, list[int]] = {}
    for frame, cells in enumerate(labels):
        for cell in cells:
            found.setdefault(cell, []).append(frame)
    return found


def families(divisions: list[Division]) -> dict[int, int]:
    """The first ancestor of every cell that has a parent."""
    parent_of = {daughter: division.parent for division in divisions for daughter in division.daughters}
    first = {}
    for cell in parent_of:
        ancestor = cell
        while ancestor in parent_of:
            ancestor = parent_of[ancestor]
        first[cell] = ancestor
    return first
