"""Draw on microscopy frames: grey levels, outlines and numbers of cells, the time, a scale bar.

Pictures are (H, W, 3) uint8, red, green, blue. Nothing is measured on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from celltraces.storage import display_level

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Twenty hues of like brightness. Consecutive numbers, which are often neighbours, are far apart on the wheel.
N_HUES, HUE_STEP = 20, 7
OTHER = (60, 60, 60)  # cells without a trace: dark, since phase contrast has bright halos
PALE = (235, 235, 235)  # their numbers
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
GREEN = (0, 255, 0)


def picture_shape(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width of a picture whose longest side is `longest` pixels; both even, as video encoders need them."""
    scale = longest / max(height, width)
    return tuple(max(2, round(side * scale / 2) * 2) for side in (height, width))


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) counts or bytes at another size: area means where it shrinks, interpolated where it grows."""
    shrinks = shape[0] < image.shape[0]
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def resize_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) labels of any dtype at another size: those of the nearest pixels."""
    rows, columns = ((np.arange(new) * old + old // 2) // new for new, old in zip(shape, labels.shape, strict=True))
    return labels[rows[:, None], columns]


def grey_levels(images: Iterable[np.ndarray], low: float = 0.5, high: float = 99.7) -> tuple[int, int]:
    """Counts at two percentiles of all pixels of some frames, each (H, W) uint16; (0, 0) without a frame."""
    counts = sum((np.bincount(image.ravel(), minlength=1 << 16) for image in images), np.zeros(1 << 16, np.int64))
    return display_level.limits_of_counts(counts, low, high)


def borders(labels: np.ndarray, width: int = 1) -> np.ndarray:
    """Pixels of a cell that touch another cell or background on one of their four sides; (H, W) -> bool.

    With a `width` of more than 1 also those that touch these, inwards. The edge of the image is no border: a cell
    that it cuts stays open there.
    """
    if width > 1:
        outer = borders(labels, width - 1)
        return outer | borders(np.where(outer, 0, labels))
    found = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        first, second = (np.swapaxes(labels, 0, axis)[part] for part in (np.s_[:-1], np.s_[1:]))
        differ = first != second
        marks = np.swapaxes(found, 0, axis)
        marks[:-1] |= differ
        marks[1:] |= differ
    return found & (labels > 0)


def cell_colours(cells: np.ndarray) -> np.ndarray:
    """The colour of each cell, by its number alone: the same in every frame, movie and plot. (N,) -> (N, 3) uint8."""
    return _hues()[np.asarray(cells, np.int64) * HUE_STEP % N_HUES]


@cache
def _hues() -> np.ndarray:
    """(N_HUES, 3) uint8; blue and violet are paler, since they are dark on grey."""
    hue = np.arange(N_HUES) * (180 / N_HUES)
    blueness = np.clip(1 - np.abs(hue - 125) / 35, 0, 1)
    hsv = np.stack([hue, 255 * (0.85 - 0.4 * blueness), np.full(N_HUES, 255.0)], axis=-1).round().astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def grey_picture(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (H, W, 3)."""
    return np.repeat(image[..., None], 3, axis=2)


def lay_over(picture: np.ndarray, light: np.ndarray, colour: Sequence[int] = GREEN) -> None:
    """Add light, (H, W) uint8, in a colour: as if projected onto the picture, so that nothing gets darker."""
    for channel, share in enumerate(colour):
        if share:
            dark = 255 - picture[..., channel].astype(np.uint16)
            picture[..., channel] = 255 - dark * (255 - light.astype(np.uint16) * share // 255) // 255


def draw_outlines(picture: np.ndarray, labels: np.ndarray, colours: np.ndarray, width: int = 1) -> None:
    """Draw the cells' borders; `labels` (H, W) as large as the picture, `colours` (highest label + 1, 3)."""
    marks = borders(labels, width)
    picture[marks] = colours[labels[marks]]


def tops(labels: np.ndarray) -> dict[int, tuple[float, float]]:
    """Label -> x of the centre of its pixels, y of its uppermost pixel."""
    y, x = np.nonzero(labels)
    values, first, index, counts = np.unique(labels[y, x], return_index=True, return_inverse=True, return_counts=True)
    middle = np.bincount(index, weights=x, minlength=len(values)) / counts
    return dict(zip(values.tolist(), zip(middle.tolist(), y[first].tolist(), strict=True), strict=True))


def numbers(
    labels: np.ndarray, hues: Mapping[int, Sequence[int]], size: int, letters: Mapping[int, str] | None = None
) -> list[Text]:
    """The number of each cell in `labels`, above the cell: in its colour; of a cell that has letters, which say why it
    is left out, these too, in grey."""
    letters = letters or {}
    return [
        Text(f"{cell} {letters[cell]}" if cell in letters else str(cell), x, max(y - 1, size + 1), size, colour, "mb")
        for cell, (x, y) in tops(labels).items()
        if (colour := hues.get(cell, PALE if cell in letters else None)) is not None
    ]


@cache
def font(size: float) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the same on every system. (Importing matplotlib takes 0.16 CPU-s.)"""
    from PIL import ImageFont

    (matplotlib,) = find_spec("matplotlib").submodule_search_locations
    return ImageFont.truetype(f"{matplotlib}/mpl-data/fonts/ttf/DejaVuSans.ttf", size)


class Text(NamedTuple):
    """Something to write; `anchor` says which point of it is at x, y, as Pillow names them ("mm": its middle)."""

    text: str
    x: float
    y: float
    size: int
    colour: Sequence[int] = WHITE
    anchor: str = "mm"


def draw_texts(picture: np.ndarray, texts: Iterable[Text]) -> None:
    """Write on a picture, with a black rim around the letters."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for text, x, y, size, colour, anchor in texts:
        pen.text((x, y), text, tuple(colour), font(size), anchor, stroke_width=1, stroke_fill=BLACK)
    picture[...] = np.asarray(image)


def stamps(picture: np.ndarray, time: str, bar: tuple[int, str] | None) -> list[Text]:
    """The time, to be written at the upper left, and a scale bar (`scale_bar`), drawn at the lower right."""
    height, width = picture.shape[:2]
    size = max(width // 45, 11)
    margin = size // 2
    texts = [Text(time, margin, margin, size, anchor="la")]
    if bar:
        length, label = bar
        top, right = height - margin - max(size // 4, 3), width - margin
        picture[top - 1 : height - margin + 1, right - length - 1 : right + 1] = BLACK
        picture[top : height - margin, right - length : right] = WHITE
        texts.append(Text(label, right - length / 2, top - 3, size, anchor="mb"))
    return texts


def notes(picture: np.ndarray, lines: Sequence[str]) -> list[Text]:
    """Lines of text to be written at the lower left of a picture."""
    height, width = picture.shape[:2]
    size = max(width // 60, 10)
    step = size * 13 // 10
    return [
        Text(line, size // 2, height - size // 2 - step * (len(lines) - 1 - at), size, PALE, "ld")
        for at, line in enumerate(lines)
    ]


def hours_and_minutes(minutes: float) -> str:
    """Minutes as hours and minutes: 750 -> "12:30 h"."""
    whole = math.floor(abs(minutes) + 0.5)
    return f"{'-' if minutes < 0 and whole else ''}{whole // 60}:{whole % 60:02d} h"


def scale_bar(um_per_pixel: float | None, width: int, wanted_um: float | None = None) -> tuple[int, str] | None:
    """Length in pixels and label of the bar in a picture of this width: 1, 2 or 5 times a power of ten, near a sixth.

    wanted_um: the length instead of that, 0 for no bar. None where the pixel size is not known, or no bar is wanted or
    fits into the picture.
    """
    if not um_per_pixel or wanted_um == 0:
        return None
    longest = um_per_pixel * width / 5
    power = 10.0 ** math.floor(math.log10(longest))
    length = wanted_um or max((step * power for step in (2, 5) if step * power <= longest), default=power)
    if length >= um_per_pixel * width:
        return None
    label = f"{length:g} µm" if length >= 1 else f"{length * 1000:g} nm"
    return round(length / um_per_pixel), label


def colour_table(highest: int, colour_of: Mapping[int, Sequence[int]], other: Sequence[int] = OTHER) -> np.ndarray:
    """(highest + 1, 3) uint8: the colour of every label; `other` for those that are not in `colour_of`."""
    table = np.full((highest + 1, 3), other, np.uint8)
    for label, colour in colour_of.items():
        if label <= highest:
            table[label] = colour
    return table
