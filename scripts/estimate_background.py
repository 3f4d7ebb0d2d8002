"""Estimate the background of every fluorescence frame."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.fluorescence import background
from celltraces.frames import coverage
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.codecs import SMOOTH
from celltraces.storage.frames import Frames, open_frames, writing


def estimate_movie(
    sources: Sequence[Path],
    labeled: Path | None,
    outputs: Sequence[Path],
    *,
    tile_size: int,
    background_dilation: int,
) -> list[list[int]]:
    """Estimate the background of every frame of the channels, (T, H, W) float32 each, one frame in memory at a time.

    `labeled` holds the cells to leave out, None where there is no phase-contrast channel. A frame without any
    background to see (or that the file did not hold) takes the estimate of the frame before, or of the first one
    after it that has any; returns these frames of each channel. Where a frame is uncovered its background is 0.
    """
    channels = [open_frames(source) for source in sources]
    labels = open_frames(labeled) if labeled else None
    shape = channels[0].shape
    borrowed: list[list[int]] = [[] for _ in channels]
    latest: list[np.ndarray | None] = [None for _ in channels]
    waiting = [0 for _ in channels]  # frames at the start that have no estimate yet
    attributes: list[dict[str, Any]] = [coverage.same(channel.attributes) for channel in channels]
    written = [0 for _ in channels]
    counts = [np.zeros(display_level.STEPS * display_level.COUNTS, np.int64) for _ in channels]
    with ExitStack() as stack:
        appends = [
            stack.enter_context(writing(output, shape, np.float32, SMOOTH, attributes=attributes[at]))
            for at, output in enumerate(outputs)
        ]

        def put(at: int, estimate: np.ndarray) -> None:
            np.add.at(counts[at], display_level.sample_smooth(estimate), 1)
            appends[at](coverage.blanked(estimate, coverage.of_frame(attributes[at], written[at])))
            written[at] += 1

        for frame in range(shape[0]):
            covered = background.dilate_mask(labels.read(frame) > 0, background_dilation) if labels else None
            for at, channel in enumerate(channels):
                estimate = None
                if channel.present(frame):
                    image = channel.read(frame)
                    hidden = _with_uncovered(covered, channel, frame)
                    estimate = background.estimate_background(image, hidden, tile_size=tile_size, background_dilation=0)
                if estimate is None:
                    borrowed[at].append(frame)
                    if latest[at] is None:
                        waiting[at] += 1
                        continue
                else:
                    for _ in range(waiting[at]):
                        put(at, estimate)
                    waiting[at], latest[at] = 0, estimate
                put(at, latest[at])
        for at, channel in enumerate(channels):
            if waiting[at]:
                # Cells everywhere in all frames: the darkest parts are the best guess, and the log says so.
                name = channel.path.parent.name
                job.log.warning("%s: no frame shows background; taken from the darkest parts", name)
            for frame in range(waiting[at]):
                image, hidden = channel.read(frame), _with_uncovered(None, channel, frame)
                estimate = background.estimate_background(image, hidden, tile_size=tile_size, background_dilation=0)
                put(at, background.dark_level(image, hidden) if estimate is None else estimate)
            attributes[at]["display_limits"] = display_level.limits_of_smooth(counts[at])
    return borrowed


def _with_uncovered(mask: np.ndarray | None, frames: Frames, frame: int) -> np.ndarray | None:
    """A mask (H, W) bool, or None for an empty one, with the pixels of a frame that hold no data."""
    boxes = coverage.of_frame(frames.attributes, frame)
    if not boxes:
        return mask
    uncovered = coverage.mask_of_boxes(boxes, frames.shape[1:])
    return uncovered if mask is None else mask | uncovered


def main(
    sources: Sequence[str], labeled: Sequence[str], outputs: Sequence[str], tile_size: int, background_dilation: int
) -> None:
    borrowed = estimate_movie(
        [Path(source) for source in sources],
        Path(labeled[0]) if labeled else None,
        [Path(output) for output in outputs],
        tile_size=tile_size,
        background_dilation=background_dilation,
    )
    for source, frames in zip(map(Path, sources), borrowed, strict=True):
        job.log.info("%s: done", source.parent.name)
        if frames:
            job.log.warning("%s: frames %s took a neighbouring frame's estimate", source.parent.name, frames)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.fl, snakemake.input.labeled, snakemake.output.background, **settings)
