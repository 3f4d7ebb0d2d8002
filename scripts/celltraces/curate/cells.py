"""List all cells of a FOV, also those that a filter leaves out, and say which ones to look at first."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celltraces import paths
from celltraces.edits import regions as edit_regions
from celltraces.edits.regions import Regions
from celltraces.errors import UserError
from celltraces.features.filters import near_edge, on_border, too_short, why_left_out
from celltraces.frames import coverage
from celltraces.storage.cells import Get, get_array, open_store

if TYPE_CHECKING:
    import pyarrow

BASE = {"fov", "cell", "frame", "good", "position_x", "position_y", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"}
AREA_JUMP = 1.6  # factor between the areas of a cell in two frames above which it is named
FAR = 0.8  # displacement between two frames, in widths of the cell, from which it is named
FIT = 0.4  # how much a fit that is not ok counts
MARGIN = 2  # px: cells as near to the edge as this may end there


@dataclass(frozen=True)
class Base:
    """The regions of a FOV before any edit. stored (R,) int64: the cell as which crops and traces hold each of them
    now, 0 for none; shape: height and width of a frame."""

    regions: Regions
    stored: np.ndarray
    shape: tuple[int, int]


@dataclass(frozen=True)
class Cells:
    """The cells of a FOV after the edits. ids (N,) int64. By cell and frame (N, T): stored, the number as which crops
    and traces hold the region now, 0 for none; boxes (N, T, 4) int32, half-open y0, x0, y1, x1; areas, px, 0 where
    the cell is absent."""

    ids: np.ndarray
    stored: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    shape: tuple[int, int]

    @property
    def valid(self) -> np.ndarray:
        return self.areas > 0


def read_base(store: Path, kept: Path) -> Base:
    """The base regions of a FOV. store: cells.zarr; kept: what the last run's edits of tracks left, if it is there.

    Raises UserError for a damaged store.
    """
    with open_store(store) as get:
        try:
            image = json.loads(get("metadata/zarr.json"))["attributes"]
            shape = int(image["height"]), int(image["width"])
            if kept.exists():
                regions, stored = edit_regions.read_regions(kept)
            else:
                regions = edit_regions.of_cells(get)
                stored = regions.label
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{store}: damaged on disk; delete it and run again") from None
    return Base(regions, stored.astype(np.int64), shape)


def nothing(n_frames: int) -> Base:
    """The base of a FOV without cells."""
    empty = np.zeros(0, np.int64)
    regions = Regions(n_frames, empty.astype(np.int32), empty, empty, np.zeros((0, 4), np.int32))
    return Base(regions, empty, (0, 0))


def arrange(base: Base, owner: np.ndarray) -> Cells:
    """The cells when each region belongs to `owner` (R,), 0 for background."""
    regions = base.regions
    there = np.flatnonzero(owner > 0)
    ids, rows = np.unique(owner[there], return_inverse=True)
    frames = regions.frame[there]
    stored, areas = (np.zeros((len(ids), regions.n_frames), np.int64) for _ in range(2))
    boxes = np.zeros((len(ids), regions.n_frames, 4), np.int32)
    stored[rows, frames], areas[rows, frames] = base.stored[there], regions.area[there]
    boxes[rows, frames] = regions.box[there]
    return Cells(ids.astype(np.int64), stored, boxes, areas, base.shape)


def why_not_in_traces(
    cells: Cells, origins: Mapping[int, tuple[int, int]], path: Path, pc: int, min_frames: int, border_margin: int
) -> list[str]:
    """Why the filters leave a cell out of the traces, in words; "" where they do not.

    origins: parent and frame of birth of the cells that have a parent. pc: phase-contrast channel.
    """
    short = too_short(cells.ids, cells.valid, min_frames, origins)
    border = _near_edge(cells, path, pc, border_margin)
    return why_left_out(short, border, cells.valid.sum(axis=1), min_frames, border_margin)


def _near_edge(cells: Cells, path: Path, pc: int, border_margin: int) -> np.ndarray:
    """Which cells, (N,) bool, come too near to the edge. Where parts of frames hold no data, the mask of a region
    counts, which lies in the store below the number that the region had when it was cropped."""
    found = on_border(cells.valid, cells.boxes, cells.shape, border_margin)
    with open_store(path) as get:
        if not border_margin or not coverage.boxes_by_frame(json.loads(get("metadata/zarr.json"))["attributes"]):
            return found
        for row in np.flatnonzero(~found).tolist():
            for label in np.unique(cells.stored[row][cells.stored[row] > 0]).tolist():
                there = cells.stored[row] == label
                region = (np.array([label]), there[None], cells.boxes[row][None])
                found[row] |= bool(near_edge(get, *region, pc, border_margin)[0])
    return found


def suspicion(
    cells: Cells,
    n_frames: int,
    too_large: Sequence[int] = (),
    fits: Mapping[int, str] | None = None,
    origins: Mapping[int, tuple[int, int]] | None = None,
) -> tuple[list[float], list[list[dict[str, Any]]]]:
    """How much each cell wants to be looked at, 0 for not at all, and why: what, and in which frame.

    too_large: frames in which the checks found a cell far above the usual size. fits: by number in the tables, what is
    wrong with a fit. origins: parent and frame of birth of the cells that have a parent; a mother ends where she does
    and her daughters begin there for that reason.
    """
    daughters = origins or {}
    mothers = {parent for parent, _ in daughters.values()}
    scores, reasons = [], []
    largest = {frame: int(cells.areas[:, frame].argmax()) for frame in too_large if cells.ids.size and frame < n_frames}
    for row, valid in enumerate(cells.valid):
        frames = np.flatnonzero(valid)
        found: list[tuple[float, int, str]] = []
        if len(frames):
            boxes, areas = cells.boxes[row, frames].astype(float), cells.areas[row, frames].astype(float)
            found += _jumps(frames, areas, boxes)
            cell = int(cells.ids[row])
            found += _ends(frames, boxes, cells.shape, n_frames, born=cell in daughters, divides=cell in mothers)
            found += [(1.0, frame, "cell_size") for frame, at in largest.items() if at == row]
            in_tables = {*cells.stored[row, frames].tolist()}
            if len(in_tables) == 1 and (words := (fits or {}).get(*in_tables)):
                found.append((FIT, int(frames[0]), words))
        found.sort(key=lambda reason: (-reason[0], reason[1]))
        scores.append(round(sum(score for score, _, _ in found), 3))
        reasons.append([{"frame": frame, "what": what} for _, frame, what in found[:4]])
    return scores, reasons


def _jumps(frames: np.ndarray, areas: np.ndarray, boxes: np.ndarray) -> list[tuple[float, int, str]]:
    """Jumps of area and place, and gaps: how bad, the frame in which it shows, words."""
    found = []
    factor = areas[1:] / np.maximum(areas[:-1], 1)
    change = np.maximum(factor, 1 / np.maximum(factor, 1e-9))
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    moved = np.hypot(*(middles[1:] - middles[:-1]).T)
    widths = moved / np.sqrt(np.maximum(areas[:-1], 1))
    gaps = np.diff(frames) - 1
    for at in np.flatnonzero(change >= AREA_JUMP).tolist():
        found.append((float(np.log2(change[at])), int(frames[at + 1]), f"area × {factor[at]:.2g}"))
    for at in np.flatnonzero(widths >= FAR).tolist():
        found.append((float(widths[at]), int(frames[at + 1]), f"moves {moved[at]:.0f} px"))
    for at in np.flatnonzero(gaps).tolist():
        count = int(gaps[at])
        found.append((0.4 + 0.1 * count, int(frames[at]) + 1, f"gap of {count} frame{'s' * (count != 1)}"))
    return found


def _ends(
    frames: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], n_frames: int, *, born: bool, divides: bool
) -> list[tuple[float, int, str]]:
    """A track that begins late or ends early although the cell does not come from, or leave through, the edge.

    born, divides: the cell begins as a daughter, ends as a mother.
    """
    found = []
    for at, edge, words, explained in ((0, 0, "begins late", born), (-1, n_frames - 1, "ends early", divides)):
        away = boxes[at].min() > MARGIN and boxes[at][2] < shape[0] - MARGIN and boxes[at][3] < shape[1] - MARGIN
        if frames[at] != edge and away and not explained:
            found.append((0.5, int(frames[at]), words))
    return found


@dataclass(frozen=True)
class FovTraces:
    """The traces of a FOV. cell, frame: (R,) int64; features: (R,) float32 by name."""

    cell: np.ndarray
    frame: np.ndarray
    features: dict[str, np.ndarray]

    def by_region(self, column: str, stored: np.ndarray) -> np.ndarray:
        """(N, T) float32: a feature of the cells that `stored` (N, T) names, NaN where the table has none."""
        values = np.full(stored.shape, np.nan, np.float32)
        if not self.cell.size or not stored.size:
            return values
        n_frames = stored.shape[1]
        inside = (self.frame >= 0) & (self.frame < n_frames)
        keys = self.cell[inside] * n_frames + self.frame[inside]
        order = np.argsort(keys, kind="stable")
        wanted = np.where(stored > 0, stored * n_frames + np.arange(n_frames), -1)
        places = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
        hit = keys[order][places] == wanted
        values[hit] = self.features[column][inside][order][places[hit]]
        return values


def read_traces_of_fov(paths: Sequence[Path]) -> FovTraces:
    """The traces of a FOV, from the tables that are there; empty where there is none yet. Raises UserError for one
    that is damaged."""
    tables = [_read_table(path) for path in paths if path.exists()]
    names = [name for name, values in tables[0].items() if _is_feature(name, values)] if tables else []

    def joined(name: str, dtype: type) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(table[name].astype(dtype) for table in tables)])

    return FovTraces(
        joined("cell", np.int64), joined("frame", np.int64), {name: joined(name, np.float32) for name in names}
    )


def _read_table(path: Path) -> dict[str, np.ndarray]:
    from pyarrow import ArrowException, csv

    try:
        table = csv.read_csv(path, csv.ReadOptions(use_threads=False))
        columns = {name: _numbers(table[name]) for name in table.column_names}
        if not {"cell", "frame"} <= columns.keys():
            raise ValueError("it has no columns cell and frame")
        for name in ("cell", "frame"):
            if columns[name].dtype.kind != "f" or np.isnan(columns[name]).any():
                raise ValueError(f"column {name} is to hold whole numbers")
        return columns
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a table ({reason}); delete it and run again") from None


def _numbers(column: pyarrow.ChunkedArray) -> np.ndarray:
    """A column as float64, NaN where it is empty; of text or True and False an array of strings.

    Not by pyarrow's own conversions, which import pandas: 50 MB and half a second.
    """
    import pyarrow

    kinds = pyarrow.types
    if kinds.is_null(column.type):
        return np.full(len(column), np.nan)
    if not (kinds.is_integer(column.type) or kinds.is_floating(column.type)):
        return np.array([str(value) for value in column.to_pylist()])
    parts = [np.zeros(0)]
    for chunk in column.chunks:
        there, data = chunk.buffers()
        every = slice(chunk.offset, chunk.offset + len(chunk))
        values = np.frombuffer(data, column.type.to_pandas_dtype())[every].astype(np.float64)
        if there is not None:
            values[np.unpackbits(np.frombuffer(there, np.uint8), bitorder="little")[every] == 0] = np.nan
        parts.append(values)
    return np.concatenate(parts)


def _is_feature(name: str, values: np.ndarray) -> bool:
    return name not in BASE and "_ch_" in name and (values.dtype.kind in "iuf" or not values.size)


def film_of_cell(
    path: Path, stored: Sequence[int], frames: Sequence[int], names: Sequence[str], masks: str
) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """The crops of a cell in some frames, by channel, each (h, w) float; and its masks, (h, w) uint8.

    stored: as which cell the store holds it in each of these frames. Raises UserError where a crop is not there.
    """
    with open_store(path) as get:
        crops = {label: [_crop(get, name, label) for name in (*names, masks)] for label in dict.fromkeys(stored)}
    at = list(zip(stored, frames, strict=True))
    images = [[crops[label][row][frame] for label, frame in at] for row in range(len(names))]
    return images, [crops[label][-1][frame] for label, frame in at]


def _crop(get: Get, name: str, label: int) -> np.ndarray:
    """A cell's crop in counts (T, h, w), NaN in frames that the file does not hold; a mask as it is."""
    crop, attributes = get_array(get, f"{name}/{label}/0")
    if "scale" in attributes:
        crop = crop * np.float32(attributes["scale"]) + np.float32(attributes.get("offset", 0))
        crop[list(attributes.get("missing_frames", ()))] = np.nan
    return crop


def crops_in(path: Path) -> list[str]:
    """Names of the channels of which a store has crops."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = {name.split("/")[0] for name in archive.namelist()}
    else:
        names = {entry.name for entry in path.iterdir() if entry.is_dir()}
    return sorted(name for name in names if paths.is_phase_contrast(name) or name.startswith("fl_ch_"))
