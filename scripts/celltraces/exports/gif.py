"""Write animated GIFs of a FOV for talks, with times, a scale bar and, if wanted, the outlines of the cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.exports.fov import Fov
from celltraces.labels import shared_pixels
from celltraces.pictures import draw, movie
from celltraces.runs import job
from celltraces.storage import display_level

HEIGHTS = (512, 1024)  # px: smaller frames are enlarged, larger ones reduced
SHADES = 250  # of 256 colours; the others are those of what is drawn on the pictures
WHITE, CYAN = (255, 255, 255), (0, 255, 255)


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write one GIF for each raw channel."""
    for path, (name, image) in zip(outputs, fov.channels.items(), strict=True):
        write_gif(path, image, fov.labels if fov.settings["gif_outlines"] else None, name, **fov.settings)


def write_gif(
    path: Path,
    frames: shared_pixels.FrameStack,
    labels: shared_pixels.FrameStack | None,
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
    size = (round(width * scale), round(height * scale))
    bar = draw.scale_bar(pixel_size_um and pixel_size_um / scale, size[0], gif_scale_bar_um)
    if bar is None and gif_scale_bar_um != 0:
        job.log.warning("%s: no scale bar: the pixel size is not known, or it is wider than the frame", name)
    low, high = draw.grey_levels(map(frames.read, range(frames.shape[0])), display_level.LOW, display_level.HIGH)
    table = display_level.to_bytes(np.arange(1 << 16), low, high)
    shades = colour_map(name, 256)
    palette = np.concatenate([colour_map(name, SHADES), np.array([WHITE, CYAN], np.uint8)])
    with movie.writing_movie(path, size[::-1], gif_fps, palette) as append:
        for picture in _pictures(frames, labels, table, shades, times_min, bar, size):
            append(picture)


def _pictures(
    frames: shared_pixels.FrameStack,
    labels: shared_pixels.FrameStack | None,
    table: np.ndarray,
    shades: np.ndarray,
    times_min: Sequence[float],
    bar: tuple[int, str] | None,
    size: tuple[int, int],
) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 pictures of `size` (W, H); table: counts -> bytes, shades: bytes -> colours."""
    from PIL import Image, ImageDraw

    scale = size[1] / frames.shape[1]
    unit = size[1] / HEIGHTS[0]
    font, small = (draw.font(points * unit) for points in (22, 14))
    in_minutes = times_min[-1] >= 10
    for frame, time in enumerate(times_min):
        grey = Image.fromarray(table[frames.read(frame)]).resize(size, Image.Resampling.BICUBIC)
        picture = Image.fromarray(shades[np.asarray(grey)])
        pen = ImageDraw.Draw(picture)
        if labels is not None:
            _outline(pen, labels, frame, scale, small)
        elapsed = f"{time:.1f} min" if in_minutes else f"{60 * time:.2f} s"
        pen.text((10 * unit, 8 * unit), elapsed, WHITE, font)
        if bar is not None:
            left, top = 10 * unit, size[1] - 22 * unit
            pen.rectangle([left, top, left + bar[0], top + 5 * unit], WHITE)
            pen.text((left, top - 30 * unit), bar[1], WHITE, font)
        yield np.asarray(picture)


def colour_map(name: str, n: int) -> np.ndarray:
    """(n, 3) uint8, dark to bright: grey for phase contrast, black over red and yellow to white for light."""
    import matplotlib

    colours = matplotlib.colormaps["gray" if name.startswith("pc_") else "afmhot"](np.linspace(0, 1, n), bytes=True)
    return np.ascontiguousarray(colours[:, :3])


def _outline(pen: Any, labels: shared_pixels.FrameStack, frame: int, scale: float, font: Any) -> None:
    """Outline and number of every cell of a frame."""
    import cv2

    image = labels.read(frame)
    cells, _, boxes = shared_pixels.regions_with_hidden(labels, frame)
    for cell, (y0, x0, y1, x1) in zip(cells.tolist(), boxes.tolist(), strict=True):
        mask = shared_pixels.mask_of(labels, image, frame, cell)[y0:y1, x0:x1]
        for outline in cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            points = [((x + x0 + 0.5) * scale, (y + y0 + 0.5) * scale) for x, y in outline[:, 0].tolist()]
            pen.line([*points, points[0]], CYAN, width=max(1, round(scale / 2)))
        pen.text((x1 * scale, y0 * scale), str(cell), CYAN, font)
