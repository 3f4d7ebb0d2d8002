"""Find the cell at a place (frame, y, x) of the labels, and the place of a cell.

A number names another cell after a new segmentation; a frame with x and y in it does not. A row of curation.csv
without a place is given one from the labels that it was written for, and the place is remembered in
{output_dir}/curation_places/, never in the user's own file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.files import remove, write_text
from celltraces.paths import tracked
from celltraces.storage.cells import Get, get_array, open_store

NEAR = 3.0  # px: a place this near to a cell is on it
COLUMNS = ("cell", "frame", "x", "y")


class Place(NamedTuple):
    """A pixel in a frame: column x and row y, both from 0; fractions of a pixel are allowed."""

    frame: int
    x: float
    y: float


def cells_in(get: Get) -> set[int]:
    """The numbers of all tracked cells of a FOV, also of those that a filter left out of the traces."""
    return set(get_array(get, "metadata/cell_ids")[0].tolist())


def cell_at(get: Get, pc: int, place: Place) -> int | None:
    """The cell at a place: the one on this pixel, else the nearest within NEAR px; None where there is none.

    get: reads cells.zarr. pc: the phase-contrast channel. Of two that are equally near the lower number is taken.
    """
    ids, valid, bboxes, origins = (
        get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "bboxes", "crop_origins")
    )
    if not 0 <= place.frame < valid.shape[1]:
        return None
    x, y = math.floor(place.x), math.floor(place.y)
    y0, x0, y1, x1 = bboxes[:, place.frame].T
    around = (y0 - NEAR <= y) & (y < y1 + NEAR) & (x0 - NEAR <= x) & (x < x1 + NEAR)
    nearest: tuple[float, int] | None = None
    for row in np.flatnonzero(valid[:, place.frame] & around).tolist():
        mask = _mask(get, pc, int(ids[row]), place.frame)
        rows, columns = np.nonzero(mask)
        top, left = origins[row, place.frame].tolist()
        distance = float(np.hypot(rows + top - y, columns + left - x).min(initial=math.inf))
        if distance <= NEAR and (nearest is None or (distance, int(ids[row])) < nearest):
            nearest = distance, int(ids[row])
    return nearest and nearest[1]


def place_of(get: Get, pc: int, cell: int) -> Place:
    """A place well inside a cell: in the middle one of its frames, the pixel farthest from the cell's edge."""
    from celltraces.labels.distances import squared_distances

    ids, valid, origins = (
        get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "crop_origins")
    )
    row = ids.tolist().index(cell)
    frames = np.flatnonzero(valid[row])
    frame = int(frames[len(frames) // 2])
    mask = np.pad(_mask(get, pc, cell, frame).astype(np.uint8), 1)
    depth = squared_distances(mask)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    top, left = origins[row, frame].tolist()
    return Place(frame, float(left + x), float(top + y))


def _mask(get: Get, pc: int, cell: int, frame: int) -> np.ndarray:
    """The mask of a cell in its crop of one frame, (h, w) bool."""
    return get_array(get, f"{tracked(pc)}/{cell}/0")[0][frame] > 0


# -------------------------------------------------------------------------------------------------------- what is kept


def read_places(path: Path) -> dict[int, Place]:
    """The remembered places by cell; empty where nothing is remembered. Raises UserError for a damaged file."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {int(row["cell"]): Place(int(row["frame"]), float(row["x"]), float(row["y"])) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: the remembered places of decisions cannot be read ({error}); restore this file, or delete it, "
            "after which rows of curation.csv without frame, x, y name the cells of the present results"
        ) from None


def write_places(path: Path, places: Mapping[int, Place]) -> None:
    """Remember places by cell."""
    lines = [",".join(COLUMNS)]
    lines += [f"{cell},{place.frame},{place.x:g},{place.y:g}" for cell, place in sorted(places.items())]
    write_text(path, "\n".join(lines) + "\n")


def remember_places(
    path: Path, cells: Iterable[int], stores: Iterable[Path], pc: int, *, write: bool
) -> tuple[list[int], range | None]:
    """Give places to cells that have none yet, from the results as they are before a run makes others.

    path: where the places of this FOV are remembered. cells: those that rows without a place name; what others left
    there is forgotten. stores: where cells.zarr may be. write: False changes nothing on disk.
    Returns the cells that are not in the results, and the range of numbers there (None: there are no results).
    """
    cells = sorted(set(cells))
    before = read_places(path)
    known = {cell: before[cell] for cell in cells if cell in before}
    new = [cell for cell in cells if cell not in known]
    absent: list[int] = []
    there = None
    found = next((candidate for candidate in stores if candidate.exists()), None) if new else None
    if found is not None:
        with open_store(found) as get:
            ids = cells_in(get)
            there = range(min(ids, default=0), max(ids, default=-1) + 1)
            absent = [cell for cell in new if cell not in ids]
            known |= {cell: place_of(get, pc, cell) for cell in new if cell in ids}
    if write and known != before:
        if known:
            write_places(path, known)
        else:
            remove(path)
    return absent, there
