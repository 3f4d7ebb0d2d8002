"""Encode movies frame by frame, as GIF or MP4.

GIF plays in every browser, mail program and presentation, and Pillow writes it everywhere, always the same way. It is
written here frame by frame, because Pillow on its own collects all frames in memory first. MP4 is MPEG-4 part 2, by the
encoder in OpenCV's own build of FFmpeg (LGPL): less than half the size, and played by VLC, QuickTime and Windows, but
by no browser. The encoders of H.264 that Python packages carry (x264) are under the GPL; VP9 is a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from celltraces.errors import UserError
from celltraces.files import whole

Append = Callable[[np.ndarray], None]  # (H, W, 3) uint8, red, green, blue


@contextmanager
def writing_movie(path: Path, shape: tuple[int, int], speed: float, colours: np.ndarray) -> Iterator[Append]:
    """Write a movie, whole or not at all: `with writing_movie(...) as append: append(picture)`.

    The ending of `path` (.gif or .mp4) is the format; shape: H, W, both even for MP4; speed: frames per second;
    colours: (N, 3) uint8, at most 256, the nearest of which a GIF shows for every pixel. Memory: one frame.
    """
    with whole(path) as partial, (_gif if path.suffix == ".gif" else _mp4)(partial, shape, speed, colours) as append:
        yield append


@contextmanager
def _gif(path: Path, shape: tuple[int, int], speed: float, colours: np.ndarray) -> Iterator[Append]:
    from PIL import GifImagePlugin, Image

    table = _nearest(colours)
    palette = np.resize(colours, (256, 3)).tobytes()

    def indexed(indices: np.ndarray) -> Image.Image:
        image = Image.frombytes("P", shape[::-1], np.ascontiguousarray(indices))
        image.putpalette(palette)
        return image

    with open(path, "wb") as file:
        blank = indexed(np.zeros(shape, np.uint8))
        file.writelines(GifImagePlugin.getheader(blank, info={"loop": 0, "optimize": False})[0])

        def append(picture: np.ndarray) -> None:
            r, g, b = np.moveaxis(picture >> 2, -1, 0)
            # In hundredths of a second, which is all that a GIF knows.
            file.writelines(GifImagePlugin.getdata(indexed(table[r, g, b]), duration=round(100 / speed) * 10))

        yield append
        file.write(b";")


def _nearest(colours: np.ndarray) -> np.ndarray:
    """The index of the nearest colour for each r, g, b of six bits: (64, 64, 64) uint8.

    (The choice of Pillow's `quantize` is up to nine levels off.)
    """
    middle = np.arange(64) * 4 + 2
    off = (middle[:, None] - colours.T.astype(np.int32)[:, None]) ** 2  # (channel, level, colour)
    return np.stack([(red + off[1][:, None] + off[2]).argmin(axis=-1) for red in off[0]]).astype(np.uint8)


@contextmanager
def _mp4(path: Path, shape: tuple[int, int], speed: float, colours: np.ndarray) -> Iterator[Append]:
    named = path.with_name(path.name + ".mp4")  # the container is chosen by the name's ending
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(named), cv2.CAP_FFMPEG, code, float(speed), shape[::-1])
    if not writer.isOpened():
        raise UserError(f"{path}: this build of OpenCV writes no MP4; set pictures.movie_format to gif")
    try:
        yield lambda picture: writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
        if named.exists():
            named.replace(path)
