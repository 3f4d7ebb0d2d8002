"""Read a few frames of the input file, and find the scale at which a network is to see a dataset's frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.frames import blank_areas, coverage
from celltraces.pyme import spool
from celltraces.readers.movie_file import open_movie, read_frame
from celltraces.segmentation.methods import label_frame, scale_searcher

log = logging.getLogger("celltraces")


def read_covered(
    read: Callable[..., list[np.ndarray | None]], fov: int, frame: int, channel: int, planes: Sequence[int | None]
) -> tuple[np.ndarray, coverage.Boxes] | None:
    """One frame, (H, W) uint16, as the copy stage would write it, and its parts without data; None: not in the file.

    `read` is what `open_movie` yields.
    """
    image = read_frame(read, fov, frame, channel, planes)
    if image is None:
        return None
    tiles = [read.uncovered(fov, frame, channel, plane) for plane in planes]
    of_tiles = coverage.of_any(tiles, image.shape)
    image = coverage.blanked(image, of_tiles)
    uncovered = blank_areas.find_blank_areas(image, np.count_nonzero(image == 0), of_tiles)
    return coverage.blanked(image, uncovered), uncovered


def readable_frames(
    raw: Path, frames: Sequence[tuple[int, int]], channel: int, planes: Sequence[int | None], pyme: Mapping[str, Any]
) -> Iterator[tuple[int, int, np.ndarray, coverage.Boxes]]:
    """Of some frames (FOV, frame) of a channel FOV, frame, image and its parts without data; those that the file does
    not hold, or that cannot be read, are passed over."""
    with open_movie(raw, pyme) as read:
        for fov, frame in frames:
            try:
                found = read_covered(read, fov, frame, channel, planes)
            except UserError as error:
                log.warning("channel %d: FOV %d frame %d is passed over: %s", channel, fov, frame, error)
                continue
            if found is not None:
                yield fov, frame, *found


def find_scale(
    raw: Path,
    method: str,
    recipe: str | None,
    *,
    frames: Sequence[tuple[int, int]],
    channel: int,
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = spool.DEFAULTS,
    pixel_size_um: float | None = None,
) -> float | None:
    """The scale for all frames of a file, by the size of the cells on some of them (FOV, frame) and by that of pixels.

    None: none has cells, and how large pixels are is not known to the file or to the network. Frames that cannot be
    read are passed over. Raises UserError where the network cannot be had.
    """
    look, scale = scale_searcher(method, recipe, pixel_size_um)
    for _, frame, *found in readable_frames(raw, frames, channel, planes, pyme):
        label_frame(look, *found, frame)
    return scale()
