"""Preview: what each set of segmentation parameters makes of the same frames, as a picture and as tables.

The first set is the present one, which the others are compared with. Nothing is judged: the user looks.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from formats import pyme_spool
from pyama import display, draw, job, left_out, preview, store
from pyama.errors import PyamaError
from pyama.files import whole, write_text
from pyama.microscopy import open_movie

# What became of a region, in comparison with the present parameters.
SAME, MERGED, PART, NEW = range(4)
FATES = {  # in the colours of Okabe and Ito (2008), which colour-blind readers can tell apart
    SAME: ((240, 228, 66), "as with the present parameters"),
    MERGED: ((213, 94, 0), "several present cells in one"),
    PART: ((86, 180, 233), "part of one present cell"),
    NEW: ((0, 200, 130), "no cell at present"),
}
LOST_COLOUR = (255, 60, 200)
LEFT_OUT = {  # in `left_out.COLOURS`
    left_out.TOO_LARGE: "left out: larger than max_object_size",
    left_out.TOO_SMALL: "left out: smaller than min_object_size",
    left_out.TOO_NARROW: "left out: too narrow for morph_size, morph_iterations",
}
SAME_IOU = 0.5
TILE, GAP = 256, 8  # px: side of one small picture, and the space between two
LEFT, TOP, BOTTOM, LEGEND = 170, 315, 110, 2000  # px: margins with text, and the width of the legend
CELLS_ACROSS = 12  # widths of a typical cell in a detail
LEAST_DETAIL = 96  # px
COARSE = 4  # px between the pixels that say where to look

Show = Callable[[Mapping[str, float], bool], str]  # numbers of a set, whether it is the present one -> text


@dataclass(frozen=True)
class Comparison:
    """One frame with one set of parameters, beside the same frame with the present ones."""

    areas: np.ndarray  # (N,) pixels of the regions 1..N; 0 for a number that is not used
    fates: np.ndarray  # (N + 1,) fate of each label
    present: int  # cells at present
    same: int  # present cells of which a region covers the same pixels, by intersection over union >= SAME_IOU
    split: int  # present cells that fell into several parts
    lost: np.ndarray  # labels of the present cells of which no pixel is left
    left_out: Mapping[str, int | None]  # as left_out.count


def compare(reference: np.ndarray, labels: np.ndarray, rejected: np.ndarray | None = None) -> Comparison:
    """Compare two label images (H, W) of a frame; `reference` is that of the present parameters.

    rejected: (H, W) uint8, what was left out beside the labels, as in `left_out`; None where the method does not tell.

    A region has merged cells when more than half of the pixels of each of two or more present cells lie in it. A
    present cell is split when more than half of each of two or more regions lie in it.
    """
    old, new, pixels = _overlaps(reference, labels)
    area_old, area_new = (np.bincount(side, weights=pixels).astype(np.int64)[1:] for side in (old, new))
    both = (old > 0) & (new > 0)
    old, new, pixels = old[both], new[both], pixels[both]
    inside_new, inside_old = 2 * pixels > area_old[old - 1], 2 * pixels > area_new[new - 1]
    swallowed = np.bincount(new[inside_new], minlength=len(area_new) + 1)
    parts = np.bincount(old[inside_old], minlength=len(area_old) + 1)
    fates = np.full(len(area_new) + 1, NEW)
    fates[new] = SAME
    fates[new[inside_old & (parts[old] > 1)]] = PART
    fates[swallowed > 1] = MERGED
    union = area_old[old - 1] + area_new[new - 1] - pixels
    lost = np.setdiff1d(np.flatnonzero(area_old) + 1, old)
    return Comparison(
        area_new,
        fates,
        int(np.count_nonzero(area_old)),
        len(np.unique(old[pixels >= SAME_IOU * union])),
        int((parts > 1).sum()),
        lost,
        left_out.count(labels, rejected),
    )


def _overlaps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of labels that lie on each other, and on how many pixels: by runs of equal pairs, not pixel by pixel."""
    width = int(second.max(initial=0)) + 1
    wide = np.int32 if (int(first.max(initial=0)) + 1) * width < 1 << 31 else np.int64
    pairs = (first.astype(wide) * wide(width) + second.astype(wide, copy=False)).ravel()
    start = np.concatenate([[0], np.flatnonzero(pairs[1:] != pairs[:-1]) + 1])
    found, index = np.unique(pairs[start], return_inverse=True)
    pixels = np.bincount(index, weights=np.diff(start, append=pairs.size)).astype(np.int64)
    return found // width, found % width, pixels


# ------------------------------------------------------------------------------------------------------------- numbers


def numbers(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """The numbers of some frames together; a share of nothing is NaN."""
    areas = np.concatenate([found.areas[found.areas > 0] for found in comparisons] or [np.zeros(0)])
    fates = np.concatenate([found.fates[1:][found.areas > 0] for found in comparisons] or [np.zeros(0)])
    present = sum(found.present for found in comparisons)
    cells = len(areas)
    return {
        "frames": len(comparisons),
        "cells": cells,
        "median_area": float(np.median(areas)) if cells else math.nan,
        "largest_area": int(areas.max()) if cells else math.nan,
        "cells_change_percent": _percent(cells - present, present),
        "same_percent": _percent(sum(found.same for found in comparisons), present),
        "merged_percent": _percent((fates == MERGED).sum(), cells),
        "split_percent": _percent(sum(found.split for found in comparisons), present),
        "new_percent": _percent((fates == NEW).sum(), cells),
        "lost_percent": _percent(sum(len(found.lost) for found in comparisons), present),
        "empty_frames_percent": _percent(sum(not found.areas.any() for found in comparisons), len(comparisons)),
        **_left_out([found.left_out for found in comparisons]),
    }


def _left_out(counted: Sequence[Mapping[str, int | None]]) -> dict[str, float]:
    """Regions that were left out, and their share of the foreground; NaN where the method does not tell."""
    sums = left_out.totals(left_out.by_frame(counted))
    if sums is None:
        return dict.fromkeys((*left_out.LIMITS, "left_out_percent"), math.nan)
    regions = {reason: sums[f"{reason}_regions"] for reason in left_out.LIMITS}
    return {**regions, "left_out_percent": _percent(sums["left_out"], sums["foreground"])}


def _percent(part: float, of: float) -> float:
    return 100 * float(part) / of if of else math.nan


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; numbers with at most two decimals, NaN where there is none."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "NaN"
        return str(value)

    lines = [",".join(rows[0]), *(",".join(map(cell, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


# -------------------------------------------------------------------------------------------------------------- detail


def detail(frames: Iterable[Sequence[np.ndarray]]) -> tuple[int, int, int]:
    """Where to look in one FOV: y, x and side of the square in which the sets differ most, and in which cells are.

    frames: for each frame the labels (H, W) of all sets, the present one first. Every fourth row and column will do.
    """
    interest: Any = 0
    areas = []
    for first, *others in frames:
        shape = first.shape
        cells = first[::COARSE, ::COARSE] > 0
        interest = interest + np.float32(0.1) * cells
        for labels in others:
            interest += (labels[::COARSE, ::COARSE] > 0) != cells
        areas.append(np.bincount(first.ravel())[1:])
    found = np.concatenate(areas)
    found = found[found > 0]
    side = round(CELLS_ACROSS * math.sqrt(np.median(found))) if found.size else max(shape)
    side = min(max(side, LEAST_DETAIL), *shape)
    across = min(-(-side // COARSE), *interest.shape)
    total = cv2.boxFilter(interest, cv2.CV_64F, (across, across), anchor=(0, 0), normalize=False)
    total = total[: interest.shape[0] - across + 1, : interest.shape[1] - across + 1]
    y, x = np.unravel_index(np.argmax(total), total.shape)
    return min(int(y) * COARSE, shape[0] - side), min(int(x) * COARSE, shape[1] - side), side


# ------------------------------------------------------------------------------------------------------------- picture


def _draw_left_out(picture: np.ndarray, rejected: np.ndarray | None, width: int = 1) -> None:
    """Draw the outlines of what was left out; (H, W) of any size."""
    if rejected is not None and rejected.any():
        draw.draw_outlines(picture, draw.resize_labels(rejected, picture.shape[:2]), left_out.colours(), width)


def draw_whole(
    grey: np.ndarray, labels: np.ndarray, place: tuple[int, int, int], rejected: np.ndarray | None = None
) -> np.ndarray:
    """The whole frame (H, W) uint8 with the present outlines, those of what was left out, and the square of the detail:
    (TILE or less, ., 3)."""
    shape = draw.picture_shape(*grey.shape, TILE)
    picture = draw.grey_picture(draw.resize(grey, shape))
    small = draw.resize_labels(labels, shape)
    draw.draw_outlines(picture, small, np.tile(np.uint8(FATES[SAME][0]), (int(small.max(initial=0)) + 1, 1)))
    _draw_left_out(picture, rejected)
    scale = shape[1] / grey.shape[1]
    y0, x0, y1, x1 = (round(at * scale) for at in (place[0], place[1], place[0] + place[2], place[1] + place[2]))
    cv2.rectangle(picture, (x0, y0), (min(x1, shape[1]) - 1, min(y1, shape[0]) - 1), draw.WHITE, 2)
    return picture


def draw_detail(
    grey: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    found: Comparison,
    place: tuple[int, int, int],
    rejected: np.ndarray | None = None,
) -> np.ndarray:
    """A square of a frame with the outlines of one set, in the colours of their fates, and of what it left out:
    (TILE, TILE, 3) uint8."""
    y, x, side = place
    square = np.s_[y : y + side, x : x + side]
    picture = draw.grey_picture(draw.resize(grey[square], (TILE, TILE)))
    lost = draw.resize_labels(np.where(np.isin(reference[square], found.lost), reference[square], 0), (TILE, TILE))
    dots = np.add.outer(np.arange(TILE), np.arange(TILE)) % 6 < 3
    _draw_left_out(picture, None if rejected is None else rejected[square], 2)
    picture[draw.borders(lost, 2) & dots] = LOST_COLOUR
    colours = np.uint8([FATES[fate][0] for fate in found.fates.tolist()])
    draw.draw_outlines(picture, draw.resize_labels(labels[square], (TILE, TILE)), colours, 2)
    return picture


def assemble(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]],
    sets: Sequence[Mapping[str, int]],
    totals: Sequence[Mapping[str, float]],
    title: str,
    output: Path,
) -> None:
    """Write the picture: a row for each frame (label, tiles), the whole frame first, then a column for each set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    dpi, step = 100, TILE + GAP
    width, height = max(LEFT + step * (len(sets) + 1) + GAP, LEGEND), TOP + step * len(rows) + BOTTOM
    canvas = np.full((height, width, 3), 255, np.uint8)
    for row, (_, tiles) in enumerate(rows):
        for column, tile in enumerate(tiles):
            y, x = TOP + row * step, LEFT + column * step
            canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    FigureCanvasAgg(figure)
    figure.figimage(canvas)

    def write(x: float, y: float, text: str, size: float = 14, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, text, **{"size": size, "va": "top", **style})

    def box(x: float, y: float, w: float, h: float, **style: Any) -> None:
        figure.add_artist(Rectangle((x / width, 1 - (y + h) / height), w / width, h / height, **style))

    write(GAP, 8, title, 18, weight="bold")
    for at, (name, _) in enumerate(NUMBERS):
        write(LEFT - 10, 106 + 25 * at, name, ha="right", color="0.3")
    write(LEFT + TILE / 2, 50, "whole frame", ha="center")
    write(LEFT + TILE / 2, 75, "square: what is shown beside it", 11, ha="center", color="0.3")
    for column, (values, total) in enumerate(zip(sets, totals, strict=True)):
        x = LEFT + step * (column + 1)
        changed = {key: value for key, value in values.items() if value != sets[0][key]}
        heading = [f"{key} {value}" for key, value in changed.items()] or ["present parameters"]
        note = ", ".join(f"now {sets[0][key]}" for key in changed)
        write(x + TILE / 2, 50, heading[0], ha="center", weight="bold")
        write(x + TILE / 2, 75, note or " ", 12, ha="center", color="0.3")
        for at, (_, show) in enumerate(NUMBERS):
            if text := show(total, column == 0):
                write(x + TILE / 2, 106 + 25 * at, text, ha="center")
    box(LEFT + step - GAP / 2, 44, step, TOP - 44 + step * len(rows), fill=False, lw=3, edgecolor="black")
    for row, (label, _) in enumerate(rows):
        write(LEFT - 10, TOP + row * step + TILE / 2, label, ha="right", va="center")
    of_cells = [*FATES.values(), (LOST_COLOUR, "dotted: a present cell that is lost")]
    of_others = [(left_out.COLOURS[code], name) for code, name in LEFT_OUT.items()]
    for line, entries in enumerate((of_cells, of_others)):
        x, y = LEFT, height - BOTTOM + 20 + 40 * line
        for colour, name in entries:
            box(x, y, 26, 26, facecolor=np.array(colour) / 255, edgecolor="black", lw=1)
            write(x + 36, y + 13, name, va="center")
            x += 70 + 11 * len(name)
    with whole(output) as partial:
        figure.savefig(partial, format="png", dpi=dpi, metadata={"Software": None})


def _number(key: str, unit: str) -> Show:
    return lambda total, _: f"{total[key]:.0f} {unit}" if math.isfinite(total[key]) else "–"


def _shares(*keys: str) -> Show:
    return lambda total, present: "" if present else " / ".join(_number(key, "%")(total, present) for key in keys)


def _left_out_regions(total: Mapping[str, float], _: bool) -> str:
    return " / ".join(_number(key, "")(total, False).strip() for key in left_out.LIMITS)


def _cells(total: Mapping[str, float], present: bool) -> str:
    change = total["cells_change_percent"]
    return f"{total['cells']}" + ("" if present or not math.isfinite(change) else f"  ({change:+.0f} %)")


NUMBERS: Sequence[tuple[str, Show]] = (  # what stands above each column
    ("cells", _cells),
    ("median area", _number("median_area", "px")),
    ("largest area", _number("largest_area", "px")),
    ("empty frames", _number("empty_frames_percent", "%")),
    ("left out", _left_out_regions),
    ("same cells", _shares("same_percent")),
    ("merged / split", _shares("merged_percent", "split_percent")),
    ("new / lost", _shares("new_percent", "lost_percent")),
)


# ----------------------------------------------------------------------------------------------------------------- job


def main(
    raw: str,
    stores: Sequence[str],
    picture: str,
    table_of_sets: str,
    table_of_frames: str,
    *,
    name: str,
    sets: Sequence[Mapping[str, int]],
    frames: Sequence[tuple[int, int]],
    times_min: Sequence[float],
    channel: int,
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = pyme_spool.DEFAULTS,
) -> None:
    """Write the picture, a table with a row for each set, and one with a row for each set and frame."""
    sets = [{key: tried[key] for key in preview.PARAMETERS} for tried in sets]
    rows: list[tuple[str, list[np.ndarray]]] = []
    comparisons: list[list[Comparison]] = [[] for _ in sets]
    by_frame: list[dict[str, Any]] = []
    with ExitStack() as stack:
        read = stack.enter_context(open_movie(Path(raw), pyme))
        gets = [stack.enter_context(store.open_store(Path(path))) for path in stores]
        held = [tuple(at) for at in json.loads(gets[0]("zarr.json"))["attributes"]["frames"]]
        missing = [f"FOV {fov} frame {frame}" for fov, frame in frames if (fov, frame) not in held]
        if missing:
            job.log.warning("not in the file: %s", ", ".join(missing))
        if not held:
            raise PyamaError("none of the frames is in the file; name others with preview.fovs and preview.frames")

        def labels(fov: int, frame: int) -> list[np.ndarray]:
            return [store.get_array(get, f"{fov}/{frame}")[0] for get in gets]

        told = [set(map(tuple, json.loads(get("zarr.json"))["attributes"][left_out.ATTRIBUTE])) for get in gets]

        def rejected(fov: int, frame: int) -> list[np.ndarray | None]:
            name = f"{fov}/{frame}_{left_out.ATTRIBUTE}"
            return [
                store.get_array(get, name)[0] if (fov, frame) in told_by_set else None
                for get, told_by_set in zip(gets, told, strict=True)
            ]

        places = {fov: detail(labels(*at) for at in held if at[0] == fov) for fov, _ in held}
        for (fov, frame), time in zip(frames, times_min, strict=True):
            if (fov, frame) not in held:
                continue
            image = preview.read_frame(read, fov, frame, channel, planes)
            grey = display.to_bytes(image, *draw.levels([image]))
            first, *others = labels(fov, frame)
            gone = rejected(fov, frame)
            tiles = [draw_whole(grey, first, places[fov], gone[0])]
            for at, found_by_set in enumerate((first, *others)):
                found = compare(first, found_by_set, gone[at])
                comparisons[at].append(found)
                tiles.append(draw_detail(grey, first, found_by_set, found, places[fov], gone[at]))
                by_frame.append({**sets[at], "present": not at, "fov": fov, "frame": frame, **numbers([found])})
            rows.append((f"FOV {fov}\nframe {frame}\n{draw.clock(time)}", tiles))
    totals = [numbers(found) for found in comparisons]
    by_set = [{**tried, "present": tried == sets[0], **total} for tried, total in zip(sets, totals, strict=True)]
    write_text(Path(table_of_sets), table(by_set))
    write_text(Path(table_of_frames), table(by_frame))
    title = f"{name}: the same {'frames' if len(rows) > 1 else 'frame'}, segmented with one parameter changed at a time"
    assemble(rows, sets, totals, title, Path(picture))
    for tried, total in zip(sets, totals, strict=True):
        job.log.info("%s: %s", tried, total)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            stores=snakemake.input.labels,
            picture=snakemake.output.picture,
            table_of_sets=snakemake.output.sets,
            table_of_frames=snakemake.output.frames,
            **settings,
        )
