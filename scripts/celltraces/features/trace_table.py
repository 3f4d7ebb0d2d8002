"""Make the table of traces of one FOV: a row per kept cell and frame, a column per feature."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.features import cell_features
from celltraces.features.filters import near_edge, too_short
from celltraces.features.user_features import load_plugin, plugin_of
from celltraces.frames import coverage
from celltraces.labels import lineage
from celltraces.runs import job
from celltraces.storage import cells
from celltraces.storage.cells import read_crop

BASE_COLUMNS = (
    *("fov", "cell", "frame", "good", "position_x", "position_y"),
    *("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"),
)
POSITION_DECIMALS, FEATURE_DECIMALS = 6, 3
SIGNIFICANT = 9  # digits of a user's own feature, whose unit and size nobody knows


@dataclass(frozen=True)
class Chosen:
    """The features asked for, by channel; `pc` is the phase-contrast channel."""

    pc: int
    by_channel: tuple[tuple[int, tuple[str, ...]], ...]
    plugins: bool = False  # whether features of the user are among them, which may want the phase-contrast image

    @property
    def columns(self) -> list[str]:
        """The names of the columns of features: {feature}_ch_{channel}."""
        return [f"{name}_ch_{channel}" for channel, names in self.by_channel for name in names]


def choose(pc: int, chosen: Sequence[tuple[int, Sequence[str]]], plugins: Sequence[str]) -> Chosen:
    """The features by channel as settings name them, with those of the user's files `plugins`, which are loaded."""
    for plugin in plugins:
        load_plugin(plugin)
    return Chosen(pc, tuple((channel, tuple(names)) for channel, names in chosen), bool(plugins))


def without_data(attributes: Mapping[str, Any], mask: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """In which of the `frames` (n,) of a crop the file holds nothing of a pixel in the mask (n, h, w): (n,) bool."""
    found = np.isin(frames, attributes.get("missing_frames", []))
    for frame, y0, x0, y1, x1 in attributes.get(coverage.ATTRIBUTE, ()):
        found |= (frames == frame) & mask[:, y0:y1, x0:x1].any(axis=(1, 2))
    return found


def extract_cell(
    get: cells.Get,
    cell: int,
    frames: np.ndarray,
    origins: np.ndarray,
    chosen: Chosen,
    *,
    mask_margin: int = 0,
    **settings: float,
) -> list[np.ndarray]:
    """Feature columns of one cell, (n,) float64 each, over the n `frames` in which it is present.

    origins: (n, 2) upper left corners of its crops.
    mask_margin, settings: of the light, as far as it is measured. Features of a fluorescence channel are NaN in frames
    that the file did not hold, and where a pixel of the cell holds no data there, for intensity_total also one of its
    `light_margin`: no total is right without it.
    """
    mask = read_crop(get, paths.tracked(chosen.pc), cell)[0][frames] > 0
    grown = cell_features.grow_mask(mask, mask_margin)
    columns = []
    for channel, names in chosen.by_channel:
        if not names:
            continue
        if channel == chosen.pc:
            image, attributes = read_crop(get, paths.pc(channel), cell) if chosen.plugins else (None, {})
            values = cell_features.phase_features(
                names, mask, origins, image=None if image is None else np.rint(image[frames]), label=cell, frames=frames
            )
        else:
            image, attributes = read_crop(get, paths.fl(channel), cell)
            background, _ = read_crop(get, paths.background(channel), cell)
            values = cell_features.fluorescence_features(
                names,
                np.rint(image[frames]),
                background[frames],
                grown,
                origins=origins,
                label=cell,
                frames=frames,
                **settings,
            )
        for name in names:
            measured = mask if channel == chosen.pc else grown
            if name == "intensity_total" and coverage.ATTRIBUTE in attributes:
                measured = cell_features.grow_mask(measured, settings["light_margin"])
            columns.append(np.where(without_data(attributes, measured, frames), np.nan, values[name]))
    return columns


def trace_lines(
    get: cells.Get,
    fov: int,
    chosen: Chosen,
    origins_of: Mapping[int, tuple[int, int]] | None = None,
    descent: Mapping[int, tuple[int, int]] | None = None,
    *,
    min_frames: int,
    border_margin: int,
    **settings: Any,
) -> Iterator[str]:
    """The lines of the traces: the header, then one row for each kept cell and frame, by cell and frame.

    `origins_of`: parent and frame of birth of the cells that have a parent, where these are to be columns; `descent`:
    the same, for `min_frames`, for which mothers and daughters count together.
    """
    ids, valid, bboxes = (
        cells.get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "bboxes")
    )
    short = too_short(ids, valid, min_frames, descent or {})
    border = near_edge(get, ids, valid, bboxes, chosen.pc, border_margin)
    kept = ~short & ~border
    job.log.info(
        "%d cells; left out: %d in fewer than min_frames = %d frames, %d within border_margin = %d px of the edge "
        "(%d of them both); kept: %d",
        *(len(ids), short.sum(), min_frames, border.sum(), border_margin, (short & border).sum(), kept.sum()),
    )
    if len(ids) and not kept.any():
        job.log.warning("no cell is left; lower min_frames or border_margin")
    yield header(chosen, origins_of)
    yield from lines_of_cells(get, fov, chosen, origins_of, ids[kept].tolist(), **settings)


def header(chosen: Chosen, origins_of: Mapping[int, tuple[int, int]] | None) -> str:
    """The names of the columns of the traces."""
    return ",".join((*BASE_COLUMNS, *chosen.columns, *(lineage.TRACE_COLUMNS if origins_of is not None else ())))


def lines_of_cells(
    get: cells.Get,
    fov: int,
    chosen: Chosen,
    origins_of: Mapping[int, tuple[int, int]] | None,
    numbers: Sequence[int],
    **settings: Any,
) -> Iterator[str]:
    """The rows of some cells, in the order given. Everything else as for `trace_lines`."""
    ids, valid, bboxes, origins = (
        cells.get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "bboxes", "crop_origins")
    )
    traced = origins_of is not None
    texts = [_writer(name, channel == chosen.pc) for channel, names in chosen.by_channel for name in names]
    for row in np.searchsorted(ids, numbers).tolist():
        frames = np.flatnonzero(valid[row])
        born = origins_of.get(int(ids[row]), (lineage.NONE,) * 2) if traced else ()
        columns = extract_cell(get, int(ids[row]), frames, origins[row, frames], chosen, **settings)
        for at, frame in enumerate(frames.tolist()):
            y0, x0, y1, x1 = bboxes[row, frame].tolist()
            position = (_number((x0 + x1) / 2, POSITION_DECIMALS), _number((y0 + y1) / 2, POSITION_DECIMALS))
            values = (text(column[at]) for text, column in zip(texts, columns, strict=True))
            yield ",".join(map(str, (fov, ids[row], frame, True, *position, x0, y0, x1, y1, *values, *born)))


def _writer(name: str, of_phase: bool) -> Callable[[float], str]:
    """How the values of a feature are written: a user's may be far smaller than a thousandth."""
    if ("PHASE_FEATURES" if of_phase else "FLUORESCENCE_FEATURES", name) in plugin_of:
        return lambda value: repr(float(f"{value:.{SIGNIFICANT}g}")) if math.isfinite(value) else "NaN"
    decimals = POSITION_DECIMALS if name.startswith("centroid_") else FEATURE_DECIMALS
    return lambda value: _number(value, decimals)


def _number(value: float, decimals: int) -> str:
    """Shortest text of a rounded number, NaN where there is none."""
    return repr(round(float(value), decimals)) if math.isfinite(value) else "NaN"
