"""Stage 6, extraction: features of every cell in every frame, as a table of traces.

Reads cells.zarr alone. Cells seen in too few frames or too near to the image's edge are left out first; how many
each filter removed stands in the log. The table always exists with its header, even without a cell in it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyama import coverage, features, job, lineage, paths, store
from pyama.files import write_text

BASE_COLUMNS = (
    *("fov", "cell", "frame", "good", "position_x", "position_y"),
    *("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"),
)
POSITION_DECIMALS, FEATURE_DECIMALS = 6, 3


@dataclass(frozen=True)
class Chosen:
    """The features asked for, by channel; `pc` is the phase-contrast channel."""

    pc: int
    by_channel: tuple[tuple[int, tuple[str, ...]], ...]
    plugins: bool = False  # whether features of the user are among them, which may want the phase-contrast image

    @property
    def columns(self) -> list[str]:
        return [f"{name}_ch_{channel}" for channel, names in self.by_channel for name in names]


def too_short(valid: np.ndarray, min_frames: int) -> np.ndarray:
    """Which cells, (N,) bool, are present in fewer than `min_frames` frames; valid is (N, T) bool."""
    return valid.sum(axis=1) < min_frames


def on_border(valid: np.ndarray, bboxes: np.ndarray, shape: Sequence[int], border_margin: int) -> np.ndarray:
    """Which cells, (N,) bool, have a pixel within `border_margin` of the edge of an image of `shape` in any frame.

    bboxes: (N, T, 4) half-open [y0, x0, y1, x1].
    """
    outside = (bboxes[..., :2] < border_margin) | (bboxes[..., 2:] > np.array(shape) - border_margin)
    return (outside.any(axis=-1) & valid).any(axis=1)


def near_edge(
    get: store.Get, ids: np.ndarray, valid: np.ndarray, bboxes: np.ndarray, pc: int, border_margin: int
) -> np.ndarray:
    """Which cells, (N,) bool, have a pixel within `border_margin` of the edge of the image, or of pixels of the
    phase-contrast channel `pc` that hold no data, in any frame. ids (N,), valid (N, T), bboxes (N, T, 4)."""
    image = json.loads(get("metadata/zarr.json"))["attributes"]
    found = on_border(valid, bboxes, (image["height"], image["width"]), border_margin)
    uncovered = coverage.by_frame(image)
    if not uncovered or not border_margin:
        return found
    origins, _ = store.get_array(get, "metadata/crop_origins")
    for frame, boxes in uncovered.items():
        low, high = boxes[:, :2] - border_margin, boxes[:, 2:] + border_margin
        for row in np.flatnonzero(valid[:, frame] & ~found).tolist():
            box = bboxes[row, frame]
            near = np.flatnonzero(((box[:2] < high) & (box[2:] > low)).all(axis=1))
            if len(near):
                mask, _ = read_crop(get, paths.tracked(pc), int(ids[row]))
                places = np.argwhere(mask[frame] > 0) + origins[row, frame]
                found[row] = any(((places >= low[at]) & (places < high[at])).all(axis=1).any() for at in near)
    return found


def without_data(attributes: Mapping[str, Any], mask: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """In which of the `frames` (n,) of a crop the file holds nothing of a pixel in the mask (n, h, w): (n,) bool."""
    found = np.isin(frames, attributes.get("missing_frames", []))
    for frame, y0, x0, y1, x1 in attributes.get(coverage.ATTRIBUTE, ()):
        found |= (frames == frame) & mask[:, y0:y1, x0:x1].any(axis=(1, 2))
    return found


def extract_cell(
    get: store.Get,
    cell: int,
    frames: np.ndarray,
    origins: np.ndarray,
    chosen: Chosen,
    *,
    mask_margin: int,
    **settings: float,
) -> list[np.ndarray]:
    """Feature columns of one cell, (n,) float64 each, over the n `frames` in which it is present.

    origins: (n, 2) upper left corners of its crops. Features of a fluorescence channel are NaN in frames that the
    file did not hold, and where a pixel of the cell holds no data there: no total is right without it.
    """
    mask = read_crop(get, paths.tracked(chosen.pc), cell)[0][frames] > 0
    grown = features.grow_mask(mask, mask_margin)
    columns = []
    for channel, names in chosen.by_channel:
        if not names:
            continue
        if channel == chosen.pc:
            image, attributes = read_crop(get, paths.pc(channel), cell) if chosen.plugins else (None, {})
            values = features.phase_features(
                names, mask, origins, image=None if image is None else np.rint(image[frames]), label=cell, frames=frames
            )
        else:
            image, attributes = read_crop(get, paths.fl(channel), cell)
            background, _ = read_crop(get, paths.background(channel), cell)
            values = features.fluorescence_features(
                names,
                np.rint(image[frames]),
                background[frames],
                grown,
                origins=origins,
                label=cell,
                frames=frames,
                **settings,
            )
        absent = without_data(attributes, mask if channel == chosen.pc else grown, frames)
        columns += [np.where(absent, np.nan, values[name]) for name in names]
    return columns


def read_crop(get: store.Get, name: str, cell: int) -> tuple[np.ndarray, dict[str, Any]]:
    """A cell's crop (T, h, w) in counts, float64 (the mask: as it is), and its attributes."""
    crop, attributes = store.get_array(get, f"{name}/{cell}/0")
    if "scale" in attributes:
        crop = crop * float(attributes["scale"]) + float(attributes.get("offset", 0))
    return crop, attributes


def table(
    get: store.Get,
    fov: int,
    chosen: Chosen,
    origins_of: Mapping[int, tuple[int, int]] | None = None,
    *,
    min_frames: int,
    border_margin: int,
    **settings: Any,
) -> Iterator[str]:
    """The lines of the traces: the header, then one row for each kept cell and frame, by cell and frame.

    `origins_of`: parent and frame of birth of the cells that have a parent, where a person corrected the labels.
    """
    ids, valid, bboxes, origins = (
        store.get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "bboxes", "crop_origins")
    )
    short = too_short(valid, min_frames)
    border = near_edge(get, ids, valid, bboxes, chosen.pc, border_margin)
    kept = ~short & ~border
    job.log.info(
        "%d cells; left out: %d in fewer than min_frames = %d frames, %d within border_margin = %d px of the edge "
        "(%d of them both); kept: %d",
        *(len(ids), short.sum(), min_frames, border.sum(), border_margin, (short & border).sum(), kept.sum()),
    )
    if len(ids) and not kept.any():
        job.log.warning("no cell is left; lower min_frames or border_margin")
    traced = origins_of is not None
    yield ",".join((*BASE_COLUMNS, *chosen.columns, *(lineage.TRACE_COLUMNS if traced else ())))
    for row in np.flatnonzero(kept):
        frames = np.flatnonzero(valid[row])
        born = origins_of.get(int(ids[row]), (lineage.NONE,) * 2) if traced else ()
        columns = extract_cell(get, int(ids[row]), frames, origins[row, frames], chosen, **settings)
        for at, frame in enumerate(frames.tolist()):
            y0, x0, y1, x1 = bboxes[row, frame].tolist()
            position = (_number((x0 + x1) / 2, POSITION_DECIMALS), _number((y0 + y1) / 2, POSITION_DECIMALS))
            values = (
                _number(column[at], POSITION_DECIMALS if name.startswith("centroid_") else FEATURE_DECIMALS)
                for name, column in zip(chosen.columns, columns, strict=True)
            )
            yield ",".join(map(str, (fov, ids[row], frame, True, *position, x0, y0, x1, y1, *values, *born)))


def _number(value: float, decimals: int) -> str:
    """Shortest text of a rounded number, NaN where there is none."""
    return repr(round(float(value), decimals)) if math.isfinite(value) else "NaN"


def main(
    cells: str,
    output: str,
    fov: int,
    pc: int,
    chosen: Sequence[tuple[int, Sequence[str]]],
    lineage_table: str | None = None,
    *,
    plugins: Sequence[str],
    **settings: Any,
) -> None:
    for plugin in plugins:
        features.load_plugin(plugin)
    by_channel = tuple((channel, tuple(names)) for channel, names in chosen)
    born = lineage.read_table(Path(lineage_table)) if lineage_table else None
    with store.open_store(Path(cells)) as get:
        lines = list(table(get, fov, Chosen(pc, by_channel, bool(plugins)), born, **settings))
    write_text(Path(output), "\n".join(lines) + "\n")
    job.log.info("%d rows", len(lines) - 1)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.input.cells,
            snakemake.output.traces,
            lineage_table=snakemake.input.get("lineage") or None,
            **settings,
        )
