"""Describe the base labels of a FOV by their regions: one row for each label in each frame.

Base labels are the tracked ones, or those that a person corrected in a file. Edits say which cell a region belongs to;
they never change the base.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from celltraces.labels.shared_pixels import FrameStack, regions_with_hidden
from celltraces.storage.cells import Get, get_array, new_store, open_store, put_array, put_group
from celltraces.storage.codecs import LABELS


@dataclass(frozen=True, eq=False)
class Regions:
    """The R regions of a movie, sorted by frame and label; boxes are half-open [y0, x0, y1, x1]."""

    n_frames: int
    frame: np.ndarray  # (R,) int32
    label: np.ndarray  # (R,) int64
    area: np.ndarray  # (R,) int64: pixels, also those that are hidden under another cell
    box: np.ndarray  # (R, 4) int32

    @cached_property
    def begins(self) -> np.ndarray:
        """(T + 1,) where the rows of each frame begin."""
        return np.searchsorted(self.frame, np.arange(self.n_frames + 1))

    @cached_property
    def _fingerprints(self) -> dict[int, str]:
        return {}

    def fingerprint(self, frame: int) -> str:
        """Digest of the regions of a frame: the same as long as its labels, areas and boxes are."""
        if frame not in self._fingerprints:
            rows = slice(*self.begins[frame : frame + 2])
            table = np.column_stack([self.label[rows], self.area[rows], self.box[rows]]).astype("<i8")
            self._fingerprints[frame] = hashlib.sha256(table.tobytes()).hexdigest()[:16]
        return self._fingerprints[frame]

    def row(self, frame: int, label: int) -> int | None:
        """The row of a label in a frame; None where there is none."""
        if not 0 <= frame < self.n_frames:
            return None
        first, last = self.begins[frame : frame + 2]
        row = int(first + np.searchsorted(self.label[first:last], label))
        return row if row < last and self.label[row] == label else None


def from_tables(tables: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Regions:
    """Regions from the table of each frame: labels (n,), areas (n,), boxes (n, 4), sorted by label."""
    counts = [len(labels) for labels, _, _ in tables]

    def joined(column: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.concatenate([np.zeros((0, *shape), dtype), *(table[column].astype(dtype) for table in tables)])

    frame = np.repeat(np.arange(len(tables), dtype=np.int32), counts)
    return Regions(len(tables), frame, joined(0, (), np.int64), joined(1, (), np.int64), joined(2, (4,), np.int32))


def of_labels(labels: FrameStack) -> Regions:
    """The regions of base labels (T, H, W); reads every frame."""
    return from_tables([regions_with_hidden(labels, frame) for frame in range(labels.shape[0])])


def of_cells(get: Get) -> Regions:
    """The regions of the labels that cells.zarr was cropped along, from its metadata; fast."""
    ids, valid, areas, boxes = (
        get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "areas", "bboxes")
    )
    order = np.argsort(ids)
    frames, rows = np.nonzero(valid[order].T)
    rows = order[rows]
    return Regions(
        valid.shape[1],
        frames.astype(np.int32),
        ids[rows].astype(np.int64),
        areas[rows, frames].astype(np.int64),
        boxes[rows, frames].astype(np.int32),
    )


def label_reader(labels: FrameStack) -> Callable[[int, int, int], int]:
    """A function (frame, y, x) -> base label on a pixel, 0 for background and beyond the image."""
    read = lru_cache(maxsize=4)(labels.read)

    def label_at(frame: int, y: int, x: int) -> int:
        n_frames, height, width = labels.shape
        return int(read(frame)[y, x]) if frame < n_frames and y < height and x < width else 0

    return label_at


def open_base(cells: Path, base_regions: Path | None) -> Regions:
    """The base regions of a FOV: those that edits of tracks kept, or without such edits those of cells.zarr."""
    if base_regions is not None:
        return read_regions(base_regions)[0]
    with open_store(cells) as get:
        return of_cells(get)


# ------------------------------------------------------------------------------------------ kept beside edited labels


def write_regions(path: Path, regions: Regions, cell: np.ndarray) -> None:
    """Keep base regions and the cell (R,) of each, 0 for background, as a zipped store."""
    with new_store(path) as put:
        put_group(put, "", {"frames": regions.n_frames})
        for name, data in _columns(regions, cell).items():
            put_array(put, name, data, LABELS)


def read_regions(path: Path) -> tuple[Regions, np.ndarray]:
    """What `write_regions` kept."""
    with open_store(path) as get:
        n_frames = json.loads(get("zarr.json"))["attributes"]["frames"]
        columns = {name: get_array(get, name)[0] for name in ("frame", "label", "area", "box", "cell")}
    cell = columns.pop("cell")
    return Regions(n_frames, **columns), cell


def _columns(regions: Regions, cell: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"frame": regions.frame, "label": regions.label, "area": regions.area, "box": regions.box, "cell": cell}
