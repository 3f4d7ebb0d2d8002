"""Estimate the background of every fluorescence frame."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.fluorescence import background
from celltraces.frames import coverage
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.codecs import SMOOTH
from celltraces.storage.frames import Frames, open_frames, writing


@dataclass
class Channel:
    """One fluorescence channel and its backgrounds, which are written as frames come.

    A frame without any background to see (or that the file did not hold) takes the estimate of the frame before, or of
    the first one after it that has any.
    """

    frames: Frames
    append: Callable[[np.ndarray], None]  # writes the next background, (H, W) float32
    attributes: dict[str, Any]  # of the array that is written
    tile_size: int  # px
    borrowed: list[int] = field(default_factory=list)  # frames that took another one's estimate
    latest: np.ndarray | None = None
    waiting: int = 0  # frames at the start that have no estimate yet
    written: int = 0
    counts: np.ndarray = field(  # of values, in steps of `display_level`
        default_factory=lambda: np.zeros(display_level.STEPS * display_level.COUNTS, np.int64)
    )

    def estimate(self, frame: int, covered: np.ndarray | None) -> np.ndarray | None:
        """The background (H, W) float32 of a frame, None where nothing shows it. covered: (H, W) bool, the cells."""
        image, hidden = self.frames.read(frame), _with_uncovered(covered, self.frames, frame)
        return background.estimate_background(image, hidden, tile_size=self.tile_size, background_dilation=0)

    def write(self, estimate: np.ndarray) -> None:
        """Write the background of the next frame: 0 where the frame is uncovered."""
        np.add.at(self.counts, display_level.sample_smooth(estimate), 1)
        self.append(coverage.blanked(estimate, coverage.of_frame(self.attributes, self.written)))
        self.written += 1

    def add(self, frame: int, covered: np.ndarray | None) -> None:
        """Estimate the background of the next frame, and write it and those that waited for one."""
        estimate = self.estimate(frame, covered) if self.frames.present(frame) else None
        if estimate is None:
            self.borrowed.append(frame)
        else:
            self.latest = estimate
        if self.latest is None:
            self.waiting += 1
            return
        for _ in range(self.waiting + 1):
            self.write(self.latest)
        self.waiting = 0

    def finish(self) -> None:
        """Write the frames of a movie in which none shows background, and the limits of display."""
        if self.waiting:
            # Cells everywhere in all frames: the darkest parts are the best guess, and the log says so.
            name = self.frames.path.parent.name
            job.log.warning("%s: no frame shows background; taken from the darkest parts", name)
        for frame in range(self.waiting):
            estimate = self.estimate(frame, None)
            if estimate is None:
                hidden = _with_uncovered(None, self.frames, frame)
                estimate = background.dark_level(self.frames.read(frame), hidden)
            self.write(estimate)
        self.attributes["display_limits"] = display_level.limits_of_smooth(self.counts)


def estimate_movie(
    sources: Sequence[Path],
    labeled: Path | None,
    outputs: Sequence[Path],
    *,
    tile_size: int,
    background_dilation: int,
) -> list[list[int]]:
    """Estimate the background of every frame of the channels, (T, H, W) float32 each, one frame in memory at a time.

    `labeled` holds the cells to leave out, None where there is no phase-contrast channel. Returns for each channel the
    frames that took another one's estimate.
    """
    labels = open_frames(labeled) if labeled else None
    with ExitStack() as stack:
        channels = []
        for source, output in zip(sources, outputs, strict=True):
            frames = open_frames(source)
            attributes = coverage.same(frames.attributes)
            append = stack.enter_context(writing(output, frames.shape, np.float32, SMOOTH, attributes=attributes))
            channels.append(Channel(frames, append, attributes, tile_size))
        for frame in range(channels[0].frames.shape[0]):
            covered = background.dilate_mask(labels.read(frame) > 0, background_dilation) if labels else None
            for channel in channels:
                channel.add(frame, covered)
        for channel in channels:
            channel.finish()
    return [channel.borrowed for channel in channels]


def _with_uncovered(mask: np.ndarray | None, frames: Frames, frame: int) -> np.ndarray | None:
    """A mask (H, W) bool, or None for an empty one, with the pixels of a frame that hold no data."""
    boxes = coverage.of_frame(frames.attributes, frame)
    if not boxes:
        return mask
    uncovered = coverage.mask_of_boxes(boxes, frames.shape[1:])
    return uncovered if mask is None else mask | uncovered


def main(
    sources: Sequence[str], labeled: Sequence[str], outputs: Sequence[str], tile_size: int, background_dilation: int = 0
) -> None:
    """background_dilation: of the cells that are left out; without `labeled` there are none."""
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
