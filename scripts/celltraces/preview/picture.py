"""Draw the comparison of several sets of segmentation parameters as one picture."""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from celltraces.files import whole
from celltraces.labels import left_out
from celltraces.pictures import draw
from celltraces.preview.comparison import MERGED, NEW, PART, SAME, Comparison
from celltraces.preview.sets import METHOD, Set, changed

# Nothing is told by colour alone: cells that differ have a sign as well, what was left out is hatched.
FATES = {  # in the colours of Okabe and Ito (2008), which colour-blind readers can tell apart
    SAME: ((240, 228, 66), "as in the framed column"),
    MERGED: ((213, 94, 0), "several of its cells in one"),
    PART: ((86, 180, 233), "part of one of its cells"),
    NEW: ((0, 200, 130), "where it has none"),
}
SIGNS = {MERGED: cv2.MARKER_CROSS, PART: cv2.MARKER_DIAMOND, NEW: cv2.MARKER_TRIANGLE_UP}
SIGN = 9  # px
LOST_COLOUR = (255, 60, 200)
LEFT_OUT = {  # in `left_out.COLOURS`
    left_out.TOO_LARGE: "too large (max_object_size)",
    left_out.TOO_SMALL: "too small (min_object_size), or debris",
    left_out.TOO_NARROW: "too narrow (morph_size, morph_iterations)",
}
NEAR_EDGE = 4  # beside the reasons of `left_out`: a cell, but left out of the traces
NEAR_EDGE_COLOUR = (190, 250, 255)
HATCHES = {  # where to draw: from y and x, px
    left_out.TOO_LARGE: lambda y, x: (y + x) % 6 == 0,
    left_out.TOO_SMALL: lambda y, x: (y % 2 == 0) & (x % 2 == 0),
    left_out.TOO_NARROW: lambda y, x: (y % 5 == 0) & (x >= 0),
    NEAR_EDGE: lambda y, x: (x % 8 == 0) & (y >= 0),
}
TILE, GAP = 256, 8  # px: side of one small picture, and the space between two
LEFT, TOP, BOTTOM, LEGEND = 205, 345, 110, 2180  # px: margins with text, and the width of the legend
CELLS_ACROSS = 12  # widths of a typical cell in a detail
LEAST_DETAIL = 96  # px
COARSE = 4  # px between the pixels that say where to look

SAMPLE, GREY = 26, 110  # px, counts: a picture of the legend
LONGEST = 26  # characters of a name above a column

Show = Callable[[Mapping[str, float]], str]  # what `summarise` gave for a set -> text


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
    """Draw the outlines of what was left out, and hatch it; (H, W) of any size."""
    if rejected is not None and rejected.any():
        shown = draw.resize_labels(rejected, picture.shape[:2])
        for code in HATCHES.keys() & set(np.unique(shown).tolist()):
            _hatch(picture, shown == code, code)
        draw.draw_outlines(picture, shown, left_out.colours_of_reasons(), width)


def _hatch(picture: np.ndarray, mask: np.ndarray, reason: int) -> None:
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    picture[mask & HATCHES[reason](y, x)] = {**left_out.COLOURS, NEAR_EDGE: NEAR_EDGE_COLOUR}[reason]


def _draw_lost(picture: np.ndarray, lost: np.ndarray) -> None:
    dots = np.add.outer(np.arange(lost.shape[0]), np.arange(lost.shape[1])) % 6 < 3
    picture[draw.borders(lost, 2) & dots] = LOST_COLOUR


def _draw_signs(picture: np.ndarray, labels: np.ndarray, fates: np.ndarray) -> None:
    """Put a sign into each cell (labels as large as the picture) that is not as in the framed column."""
    for label in np.unique(labels).tolist():
        if label and (fate := int(fates[label])) in SIGNS:
            y, x = np.nonzero(labels == label)
            middle = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)
            place = (int(x[middle]), int(y[middle]))
            cv2.drawMarker(picture, place, draw.BLACK, SIGNS[fate], SIGN + 2, 4)
            cv2.drawMarker(picture, place, FATES[fate][0], SIGNS[fate], SIGN, 2)


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
    _draw_left_out(picture, None if rejected is None else rejected[square], 2)
    _draw_lost(picture, lost)
    colours = np.uint8([FATES[fate][0] for fate in found.fates.tolist()])
    shown = draw.resize_labels(labels[square], (TILE, TILE))
    _hatch(picture, np.isin(shown, found.near_edge), NEAR_EDGE)
    draw.draw_outlines(picture, shown, colours, 2)
    _draw_signs(picture, shown, found.fates)
    return picture


def draw_reason(reason: str) -> np.ndarray:
    """In the place of a detail: why there is none, (TILE, TILE, 3) uint8."""
    picture = np.full((TILE, TILE, 3), 60, np.uint8)
    lines = textwrap.wrap(f"Left out: {reason}", 30)
    draw.draw_texts(picture, [draw.Text(line, 8, 8 + 18 * at, 13, anchor="la") for at, line in enumerate(lines)])
    return picture


def _canvas(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], width: int, height: int
) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """The tiles and the legend's samples on white, (height, width, 3) uint8; x, y and text of the legend's names."""
    canvas = np.full((height, width, 3), 255, np.uint8)
    for row, (_, tiles) in enumerate(rows):
        for column, tile in enumerate(tiles):
            y, x = TOP + row * (TILE + GAP), LEFT + column * (TILE + GAP)
            canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    names = []
    for line, entries in enumerate(legend_entries()):
        y, x = height - BOTTOM + 20 + 40 * line, LEFT
        for sample, name in entries:
            canvas[y : y + sample.shape[0], x : x + sample.shape[1]] = sample
            names.append((x + sample.shape[1] + 10, y + sample.shape[0] / 2, name))
            x += 62 + round(10.4 * len(name))
    return canvas, names


def assemble(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]],
    sets: Sequence[Set],
    totals: Sequence[Mapping[str, float] | None],
    framed: int,
    title: str,
    output: Path,
) -> None:
    """Write the picture: a row for each frame (label, tiles), the whole frame first, then a column for each set.

    totals: what `summarise` gave for each set; None for one that failed. framed: the set that others are compared with.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    dpi, step = 100, TILE + GAP
    width, height = max(LEFT + step * (len(sets) + 1) + GAP, LEGEND), TOP + step * len(rows) + BOTTOM
    canvas, legend = _canvas(rows, width, height)
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
        heading, note = _above(values, sets[0])
        write(x + TILE / 2, 50, heading, ha="center", weight="bold")
        write(x + TILE / 2, 75, note, 12, ha="center", color="0.3")
        for at, (_, show) in enumerate(STATISTICS if total else ()):
            write(x + TILE / 2, 106 + 25 * at, show(total), ha="center")
    box(
        LEFT + step * (framed + 1) - GAP / 2, 44, step, TOP - 44 + step * len(rows), fill=False, lw=3, edgecolor="black"
    )
    for row, (label, _) in enumerate(rows):
        write(LEFT - 10, TOP + row * step + TILE / 2, label, ha="right", va="center")
    for x, y, name in legend:
        write(x, y, name, va="center")
    with whole(output) as partial:
        figure.savefig(partial, format="png", dpi=dpi, metadata={"Software": None})


def _above(values: Set, present: Set) -> tuple[str, str]:
    """What stands above the column of a set: what it changes, and what that is at present."""
    different = changed(values, present)
    if not different:
        return f"config: {_short(present[METHOD])}", "as it is now"
    key, value = next(iter(different.items()))
    heading = _short(value) if key == METHOD else f"{key} {value}"
    return heading, ", ".join(f"now {_short(present[key])}" for key in different)


def _short(value: Any) -> str:
    """A value as it stands above a column: of a path, its end."""
    text = Path(value).name if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST else f"...{text[3 - LONGEST :]}"


def legend_entries() -> list[list[tuple[np.ndarray, str]]]:
    """Samples, each a small picture, and what they mean: a line of what becomes of cells, one of what is left out."""
    square = np.zeros((SAMPLE, SAMPLE), np.uint8)
    square[4:-4, 4:-4] = 1
    cells, others = [], []
    for fate, (colour, name) in FATES.items():
        picture = draw.grey_picture(np.full(square.shape, GREY, np.uint8))
        draw.draw_outlines(picture, square, np.uint8([draw.BLACK, colour]), 2)
        _draw_signs(picture, square, np.array([SAME, fate]))
        cells.append((picture, name))
    picture = draw.grey_picture(np.full(square.shape, GREY, np.uint8))
    _draw_lost(picture, square)
    cells.append((picture, "dotted: one of its cells that is lost"))
    for code, name in LEFT_OUT.items():
        picture = draw.grey_picture(np.full(square.shape, GREY, np.uint8))
        _draw_left_out(picture, np.uint8(square * code), 2)
        others.append((picture, f"left out: {name}"))
    picture = draw.grey_picture(np.full(square.shape, GREY, np.uint8))
    _hatch(picture, square > 0, NEAR_EDGE)
    draw.draw_outlines(picture, square, np.uint8([draw.BLACK, FATES[SAME][0]]), 2)
    others.append((picture, "near the edge (border_margin)"))
    return [cells, others]


def _number(key: str, unit: str) -> Show:
    return lambda total: f"{total[key]:.0f} {unit}" if math.isfinite(total[key]) else "–"


def _left_out_regions(total: Mapping[str, float]) -> str:
    return " / ".join(_number(key, "")(total).strip() for key in left_out.LIMITS)


def _agreement(total: Mapping[str, float]) -> str:
    values = [total[f"agreement{part}_percent"] for part in ("", "_least", "_most")]
    if not all(map(math.isfinite, values)):
        return "–"
    return ("{:.0f} %" if values[1] == values[2] else "{:.0f} %  ({:.0f} to {:.0f})").format(*values)


STATISTICS: Sequence[tuple[str, Show]] = (  # what stands above each column; no column is the truth of another
    ("cells", lambda total: f"{total['cells']}"),
    ("median area", _number("median_area", "px")),
    ("largest area", _number("largest_area", "px")),
    ("cells cover", _number("covered_percent", "% of the image")),
    ("empty frames", _number("empty_frames_percent", "%")),
    ("large/small/narrow", _left_out_regions),
    ("left out", _number("left_out_percent", "% of what was found")),
    ("near the edge", _number("near_edge_percent", "%")),
    ("agreement", _agreement),
)
