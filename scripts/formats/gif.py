"""Animated GIFs for talks: each frame with its time and a scale bar, and the outlines of the cells if wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from formats.fov import Fov
from pyama import display, film, job, overlaps
from pyama.files import whole

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHTS = (512, 1024)  # px: smaller frames are enlarged, larger ones reduced
BARS_UM = tuple(factor * 10.0**power for power in range(-3, 4) for factor in (1, 2, 5))


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    for path, (name, image) in zip(outputs, fov.channels.items(), strict=True):
        write_gif(path, image, fov.labels if fov.settings["gif_outlines"] else None, name, **fov.settings)


def write_gif(
    path: Path,
    frames: overlaps.Labels,
    labels: overlaps.Labels | None,
    name: str,
    *,
    pixel_size_um: float | None,
    times_min: Sequence[float],
    gif_fps: float,
    gif_scale_bar_um: float | None,
    **_: Any,
) -> None:
    """Write the movie of one channel; the 1st to 99th percentile of the whole stack is dark to bright."""
    _, height, width = frames.shape
    scale = min(max(height, HEIGHTS[0]), HEIGHTS[1]) / height
    bar = scale_bar(gif_scale_bar_um, pixel_size_um, width)
    if bar is None and gif_scale_bar_um != 0:
        job.log.warning("%s: no scale bar: the pixel size is not known, or it is wider than the frame", name)
    # Each value is counted, as for the display levels, so that no stack has to be in memory.
    counts = sum(np.bincount(frames.read(t).ravel(), minlength=1 << 16) for t in range(frames.shape[0]))
    low, high = display.limits_of_counts(counts)
    table = display.to_bytes(np.arange(1 << 16), low, high)
    pictures = _pictures(frames, labels, table, times_min, bar, scale, name)
    with whole(path) as partial, film.gif(partial, int(1000 / gif_fps)) as append:
        for picture in pictures:
            append(picture)


def scale_bar(wanted_um: float | None, pixel_size_um: float | None, width: int) -> tuple[float, str] | None:
    """Length in pixels and text of the bar; None where there is none. By itself it is the longest within a quarter."""
    if not pixel_size_um or wanted_um == 0:
        return None
    field = width * pixel_size_um
    length = wanted_um or max((bar for bar in BARS_UM if bar <= field / 4), default=field)
    if length >= field:
        return None
    text = f"{length:g} µm" if length >= 1 else f"{1000 * length:g} nm"
    return length / pixel_size_um, text


def _pictures(
    frames: overlaps.Labels,
    labels: overlaps.Labels | None,
    table: np.ndarray,
    times_min: Sequence[float],
    bar: tuple[float, str] | None,
    scale: float,
    name: str,
) -> Iterator[Image]:
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    _, height, width = frames.shape
    size = (round(width * scale), round(height * scale))
    unit = size[1] / HEIGHTS[0]
    face = Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf")  # the same letters on every system
    font, small = (ImageFont.truetype(face, points * unit) for points in (22, 14))
    in_minutes = times_min[-1] >= 10
    colours = colour_table(name)
    for frame, time in enumerate(times_min):
        grey = Image.fromarray(table[frames.read(frame)]).resize(size, Image.Resampling.BICUBIC)
        picture = Image.fromarray(colours[np.asarray(grey)])
        draw = ImageDraw.Draw(picture)
        if labels is not None:
            _outline(draw, labels, frame, scale, small)
        clock = f"{time:.1f} min" if in_minutes else f"{60 * time:.2f} s"
        draw.text((10 * unit, 8 * unit), clock, "white", font)
        if bar is not None:
            left, top = 10 * unit, size[1] - 22 * unit
            draw.rectangle([left, top, left + bar[0] * scale, top + 5 * unit], "white")
            draw.text((left, top - 30 * unit), bar[1], "white", font)
        yield picture.convert("P", palette=Image.Palette.ADAPTIVE)  # the colours that suit this frame best


def colour_table(name: str) -> np.ndarray:
    """(256, 3) uint8: grey for phase contrast, black over red and yellow to white for light."""
    import matplotlib

    colours = matplotlib.colormaps["gray" if name.startswith("pc_") else "afmhot"](np.arange(256), bytes=True)
    return np.ascontiguousarray(colours[:, :3])


def _outline(draw: Any, labels: overlaps.Labels, frame: int, scale: float, font: Any) -> None:
    """Outline and number of every cell of a frame."""
    import cv2

    image = labels.read(frame)
    cells, _, boxes = overlaps.regions(labels, frame)
    for cell, (y0, x0, y1, x1) in zip(cells.tolist(), boxes.tolist(), strict=True):
        mask = overlaps.mask_of(labels, image, frame, cell)[y0:y1, x0:x1]
        for outline in cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            points = [((x + x0 + 0.5) * scale, (y + y0 + 0.5) * scale) for x, y in outline[:, 0].tolist()]
            draw.line([*points, points[0]], "cyan", width=max(1, round(scale / 2)))
        draw.text((x1 * scale, y0 * scale), str(cell), "cyan", font)
