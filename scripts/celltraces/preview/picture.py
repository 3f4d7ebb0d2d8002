"""Draw the comparison of several sets of segmentation parameters as one picture."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from celltraces.files import whole
from celltraces.labels import left_out
from celltraces.pictures import draw
from celltraces.preview.comparison import MERGED, NEW, PART, SAME, Comparison

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
TILE, GAP = 256, 8  # px: side of one small picture, and the space between two
LEFT, TOP, BOTTOM, LEGEND = 170, 315, 110, 2000  # px: margins with text, and the width of the legend
CELLS_ACROSS = 12  # widths of a typical cell in a detail
LEAST_DETAIL = 96  # px
COARSE = 4  # px between the pixels that say where to look

Show = Callable[
    [Mapping[str, float], bool], str
]  # what `summarise` gave for a set, whether it is the present one -> text


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
    for at, (name, _) in enumerate(STATISTICS):
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
        for at, (_, show) in enumerate(STATISTICS):
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


STATISTICS: Sequence[tuple[str, Show]] = (  # what stands above each column
    ("cells", _cells),
    ("median area", _number("median_area", "px")),
    ("largest area", _number("largest_area", "px")),
    ("empty frames", _number("empty_frames_percent", "%")),
    ("left out", _left_out_regions),
    ("same cells", _shares("same_percent")),
    ("merged / split", _shares("merged_percent", "split_percent")),
    ("new / lost", _shares("new_percent", "lost_percent")),
)
