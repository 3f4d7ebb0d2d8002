"""Make the digest of one FOV: a thumbnail with outlines, film strips of some cells, numbers of cells."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.features.cell_list import KINDS, LETTERS, find_cells
from celltraces.labels import left_out, lineage
from celltraces.pictures import draw
from celltraces.report.digest import DIGEST, THUMBNAIL, as_webp, evenly_spread, strip_file
from celltraces.results.curation import good_traces
from celltraces.storage import display_level
from celltraces.storage.cells import Get, open_store, read_crop
from celltraces.storage.frames import Frames, open_frames

KEPT = (255, 190, 0)  # outlines of cells that are in the traces; those of others are dark
ON_LIGHT = (127, 95, 0)  # the same on fluorescence: brighter ones take as many bytes as the picture itself
PC_LEVELS, FL_LEVEL = (0.5, 99.7), 99.8  # percentiles of the shown pixels; light is black at 0
BROAD = 12  # px: cells at least as wide get an outline of two pixels
NUMBER = 11  # px: height of numbers on a thumbnail
TILES_OF_BAR = 2  # the bar of a film strip is that of a picture as wide as so many tiles, or it would be too short
NOT_THERE = 96  # grey of a plane that the file does not hold


def draw_thumbnail(
    pc: Frames,
    tracked: Frames,
    kept: Sequence[int],
    width: int,
    shown: Mapping[str, Any] | None = None,
    *,
    letters: Mapping[int, str] | None = None,
    pixel_size_um: float | None = None,
) -> tuple[int, np.ndarray]:
    """The middle one of the frames that the file holds, and its picture (h, w, 3) uint8, with the cells' outlines.

    letters: of cells that are left out, which then have numbers, if cells are large enough. pixel_size_um: for a scale
    bar. shown: what segmentation left out of this frame, as `left_out.to_show` gives it, for outlines in other colours.
    """
    frame = left_out.middle_frame(pc)
    image, labels = pc.read(frame), tracked.read(frame)
    shape = draw.picture_shape(*image.shape, width)
    picture = draw.grey_picture(draw.resize(display_level.to_bytes(image, *draw.grey_levels([image])), shape))
    labels = draw.resize_labels(labels, shape)
    areas = np.bincount(labels.ravel())[1:]
    broad = bool((areas > 0).any()) and np.median(areas[areas > 0]) >= BROAD**2
    if shown and shown["frame"] == frame:
        gone = draw.resize_labels(left_out.drawable(shown, image.shape), shape)
        draw.draw_outlines(picture, gone, left_out.colours_of_reasons(), 2 if broad else 1)
    colours = draw.colour_table(len(areas), dict.fromkeys(kept, KEPT))
    draw.draw_outlines(picture, labels, colours, 2 if broad else 1)
    texts = draw.numbers(labels, {}, NUMBER, letters) if broad else []
    bar = draw.scale_bar(pixel_size_um and pixel_size_um * image.shape[1] / shape[1], shape[1])
    draw.draw_texts(picture, [*texts, *draw.stamps(picture, "", bar)])
    return frame, picture


def tile(image: np.ndarray, width: int) -> np.ndarray:
    """An image (h, w) as a square of `width` pixels, float32, NaN beyond the image's edges."""
    scale = width / max(image.shape)
    height, breadth = (max(1, round(side * scale)) for side in image.shape)
    square = np.full((width, width), np.nan, np.float32)
    y, x = (width - height) // 2, (width - breadth) // 2
    square[y : y + height, x : x + breadth] = draw.resize(image.astype(np.float32), (height, breadth))
    return square


def tiles_of(
    get: Get, cell: int, frames: np.ndarray, pc: int, fl: Sequence[int], width: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """The tiles of a cell, (1 + channels, frames, width, width) float32, its masks in them, bool, and how many pixels
    of the image a pixel of a tile is wide.

    Phase contrast in counts, then each fluorescence channel less its background; NaN where there is nothing.
    """
    rows = []
    for name, below in [(paths.pc(pc), None), *((paths.fl(channel), paths.background(channel)) for channel in fl)]:
        images, attributes = read_crop(get, name, cell)
        images = images[frames]
        if below:
            images = images - read_crop(get, below, cell)[0][frames]
        images[np.isin(frames, attributes.get("missing_frames", []))] = np.nan
        rows.append([tile(image, width) for image in images])
    masks = read_crop(get, paths.tracked(pc), cell)[0][frames]
    return np.array(rows), np.array([tile(mask, width) for mask in masks]) > 0.5, max(masks.shape[1:]) / width


def tile_levels(tiles: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """Black and white of each channel, the same for all cells and frames of the FOV."""
    found = []
    for channel, of_channel in enumerate(zip(*tiles, strict=True)):
        values = np.concatenate([images[np.isfinite(images)] for images in of_channel])
        if not values.size:
            found.append((0.0, 1.0))
        elif channel == 0:
            found.append(tuple(np.percentile(values, PC_LEVELS).tolist()))
        else:
            found.append((0.0, max(1.0, float(np.percentile(values, FL_LEVEL)))))
    return found


def strip(
    tiles: np.ndarray, masks: np.ndarray, greys: Sequence[tuple[float, float]], bar: tuple[int, str] | None = None
) -> np.ndarray:
    """The film strip of one cell: a row for each channel, a column for each frame; (h, w, 3) uint8.

    bar: a scale bar, as `draw.scale_bar` gives it, for the first tile.
    """
    rows = []
    for at, (images, (black, white)) in enumerate(zip(tiles, greys, strict=True)):
        shown = display_level.to_bytes(np.nan_to_num(images, nan=black), black, white)
        absent = np.isnan(images).all(axis=(1, 2))
        shown[absent] = NOT_THERE
        pictures = [draw.grey_picture(image) for image in shown]
        for picture, mask in zip(pictures, masks & ~absent[:, None, None], strict=True):
            picture[draw.borders(mask.astype(np.uint8))] = KEPT if at == 0 else ON_LIGHT
        if at == 0 and bar:
            draw.stamps(pictures[0], "", bar)
        rows.append(np.concatenate(pictures, axis=1))
    return np.concatenate(rows)


def good_rows(traces: Path, decisions: Sequence[str], n_frames: int) -> Iterator[Mapping[str, Any]]:
    """The good rows of the traces of a FOV; decisions: the tables of what a person decided on its cells.

    Without decisions all rows are good. pandas, whose import takes half a second, is only for FOVs that have some.
    """
    if decisions:
        (table,) = good_traces([str(traces)], [range(n_frames)], decisions)
        yield from table.to_dict("records")
        return
    with open(traces, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def means_and_counts(
    rows: Iterable[Mapping[str, Any]], column: str | None, n_frames: int
) -> tuple[dict[int, float], list[int]]:
    """From rows of traces: the mean of `column` (0 without one) by cell, and how many cells there are in each frame."""
    sums: dict[int, list[float]] = {}
    by_frame = [0] * n_frames
    for row in rows:
        value = float(row[column]) if column else 0.0
        total = sums.setdefault(int(row["cell"]), [0.0, 0])
        if np.isfinite(value):
            total[0] += value
            total[1] += 1
        by_frame[int(row["frame"])] += 1
    return {cell: total / count if count else 0.0 for cell, (total, count) in sums.items()}, by_frame


def by_preference(means: Mapping[int, float]) -> list[int]:
    """The cells in the order in which to show them: however many are taken, dim and bright ones are among them."""
    ranked = sorted(means, key=lambda cell: (means[cell], cell))
    return [ranked[rank] for rank in evenly_spread(len(ranked))]


def evenly_spaced(frames: np.ndarray, n: int) -> np.ndarray:
    """`n` of the frames, evenly from the first to the last."""
    return frames[np.unique(np.linspace(0, len(frames) - 1, n).round().astype(int))]


def family(cell: int, origins: Mapping[int, tuple[int, int]], divisions: Sequence[lineage.Division]) -> dict[str, Any]:
    """The parent of a cell and the frame in which it was born, its daughters and the frame in which it divided."""
    known: dict[str, Any] = dict(zip(lineage.TRACE_COLUMNS, origins.get(cell, ()), strict=False))
    for division in divisions:
        if division.parent == cell:
            known |= {"daughters": division.daughters, "divides": division.frame}
    return known


def make_digest(
    cells: Path,
    traces: Path,
    pc_frames: Path,
    tracked: Path,
    labeled: Path,
    lineage_table: Path,
    decisions: Sequence[str],
    *,
    pc: int,
    fl: Sequence[int],
    column: str | None,
    pixel_size_um: float | None,
    min_frames: int,
    border_margin: int,
    thumbnail_width: int,
    cells_per_fov: int,
    crop_frames: int,
    crop_width: int,
) -> dict[str, bytes]:
    """The files of the digest of one FOV, by name. `column` ranks the cells. In digest.json:

    tracked, kept: numbers of cells, and of those that are in the tables, by filters and by what a person decided;
    short, border, both, refused: numbers of those that are not: by one filter, the other, both, or a person alone;
    taken_in: number of those that are, although filters leave them out;
    tracked_by_frame, kept_by_frame: numbers of cells, one for each frame;
    divisions: number of cells that divide;
    left_out: what segmentation left out because of its size, in all frames, as `left_out.counts_in_all`;
    frame, bytes: the one on the thumbnail, and the size of its file;
    levels: of each channel, phase contrast first, the counts that are black and white in the film strips;
    cells: for each film strip `cell`, `frames`, `bytes` and `bar` (how long the scale bar is), in the order in which
    they are to be shown; `parent`, `daughters` and frames of divisions of cells that have them.

    Where this failed `problem`, the kind of error, stands there alone.
    """
    origins = lineage.read_table(lineage_table)
    divisions = lineage.divisions_of(origins)
    with open_store(cells) as get:
        found = find_cells(get, pc, min_frames, border_margin, origins)
        n_frames = found.valid.shape[1]
        means, kept_by_frame = means_and_counts(good_rows(traces, decisions, n_frames), column, n_frames)
        kinds = found.kinds(means)
        by_size = open_frames(labeled).attributes
        frame, picture = draw_thumbnail(
            open_frames(pc_frames),
            open_frames(tracked),
            list(means),
            thumbnail_width,
            by_size.get(left_out.SHOWN),
            letters={cell: LETTERS[kind] for cell, kind in kinds.items()},
            pixel_size_um=pixel_size_um,
        )
        seen = dict(zip(found.ids.tolist(), found.valid, strict=True))
        frames_of = {
            cell: evenly_spaced(np.flatnonzero(seen[cell]), crop_frames)
            for cell in by_preference(means)[:cells_per_fov]
        }
        tiles = [tiles_of(get, cell, frames, pc, fl, crop_width) for cell, frames in frames_of.items()]
    levels = tile_levels([images for images, _, _ in tiles])
    bars = [draw.scale_bar(pixel_size_um and pixel_size_um * scale, TILES_OF_BAR * crop_width) for _, _, scale in tiles]
    strips = [as_webp(strip(*of_cell[:2], levels, bar)) for of_cell, bar in zip(tiles, bars, strict=True)]
    pictures = {THUMBNAIL: as_webp(picture), **dict(zip(map(strip_file, frames_of), strips, strict=True))}
    known = {
        "tracked": len(found.ids),
        "kept": len(means),
        **{kind: list(kinds.values()).count(kind) for kind in KINDS},
        "taken_in": sum(bool(words) and cell in means for cell, words in zip(found.ids, found.words, strict=True)),
        "divisions": len(divisions),
        "left_out": left_out.counts_in_all(by_size[left_out.ATTRIBUTE]),
        "tracked_by_frame": found.valid.sum(axis=0).tolist(),
        "kept_by_frame": kept_by_frame,
        "frame": frame,
        "bytes": len(pictures[THUMBNAIL]),
        "levels": levels,
        "cells": [
            {
                "cell": cell,
                "frames": frames.tolist(),
                "bytes": len(pictures[strip_file(cell)]),
                "bar": bar and bar[1],
                **family(cell, origins, divisions),
            }
            for (cell, frames), bar in zip(frames_of.items(), bars, strict=True)
        ],
    }
    return {DIGEST: json.dumps(known, sort_keys=True).encode(), **pictures}
