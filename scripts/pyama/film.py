"""Movies for talks, frame by frame: GIF, or MP4.

GIF plays in every browser, mail program and presentation, and Pillow writes it everywhere, always the same way. It is
written here frame by frame, because Pillow on its own collects all frames in memory first. MP4 is MPEG-4 part 2, by the
encoder in OpenCV's own build of FFmpeg (LGPL): a third of the size, and played by VLC, QuickTime and Windows, but by no
browser. The encoders of H.264 that Python packages carry (x264) are under the GPL; VP9 takes a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from pyama.errors import PyamaError
from pyama.files import whole

Append = Callable[[np.ndarray], None]  # (H, W, 3) uint8, red, green, blue


@contextmanager
def filming(path: Path, shape: tuple[int, int], speed: int, colours: np.ndarray) -> Iterator[Append]:
    """Write a movie, whole or not at all: `with filming(...) as append: append(picture)`.

    The ending of `path` (.gif or .mp4) is the format; shape: H, W, both even; speed: frames per second; colours:
    (N, 3) uint8, at most 256, the nearest of which a GIF shows for every pixel. Memory: one frame.
    """
    with whole(path) as partial, (_gif if path.suffix == ".gif" else _mp4)(partial, shape, speed, colours) as append:
        yield append


@contextmanager
def _gif(path: Path, shape: tuple[int, int], speed: int, colours: np.ndarray) -> Iterator[Append]:
    from PIL import GifImagePlugin, Image

    palette = Image.new("P", shape[::-1])
    palette.putpalette(np.resize(colours, (256, 3)).tobytes())
    with open(path, "wb") as file:
        header, _ = GifImagePlugin.getheader(palette.copy(), info={"loop": 0, "optimize": False})
        file.writelines(header)

        def append(picture: np.ndarray) -> None:
            indexed = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
            file.writelines(GifImagePlugin.getdata(indexed, duration=round(100 / speed) * 10))

        yield append
        file.write(b";")


@contextmanager
def _mp4(path: Path, shape: tuple[int, int], speed: int, colours: np.ndarray) -> Iterator[Append]:
    named = path.with_name(path.name + ".mp4")  # the container is chosen by the name's ending
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(named), cv2.CAP_FFMPEG, code, float(speed), shape[::-1])
    if not writer.isOpened():
        raise PyamaError(f"{path}: this build of OpenCV writes no MP4; set pictures.movie_format to gif")
    try:
        yield lambda picture: writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
        if named.exists():
            named.replace(path)
