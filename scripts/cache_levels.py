"""Stage 7, caching: level 1 of every array of images.zarr, for viewers.

Intensities: the 1st to 99th percentile of the whole stack become black to white. Labels: in proportion to the
highest label. Two passes over the frames, one in memory at a time. A channel that fails gets an empty level that
says so: pictures for viewing never cost the run its data.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pyama import display, job, paths, store

TILE = 256
BINS = 1 << 16  # one per value of uint16; floating-point values are binned between their extremes


def cache_level(source: Path, output: Path) -> None:
    """Write the display level of one (T, H, W) array: (T, H/2, W/2) uint8."""
    frames = store.open_frames(source)
    is_labels = paths.is_labels(source.parent.name)
    present = [frame for frame in range(frames.shape[0]) if frames.present(frame)]
    low, high = (0, _highest(frames, present)) if is_labels else _limits(frames, present)
    n_frames, height, width = frames.shape
    shape = (n_frames, max(1, height // 2), max(1, width // 2))
    table = display.to_bytes(np.arange(BINS), low, high)  # of each 16-bit count
    with store.writing(output, shape, np.uint8, store.DISPLAY, tile=TILE) as append:
        for frame in range(n_frames):
            image = frames.read(frame)
            if is_labels:
                append(display.labels_to_bytes(display.half_labels(image), high))
            elif frames.dtype == np.uint16:
                append(display.half(table[image]))
            else:
                append(display.half(display.to_bytes(image, low, high)))


def _highest(frames: store.Frames, present: Sequence[int]) -> int:
    return max((int(frames.read(frame).max()) for frame in present), default=0)


def _limits(frames: store.Frames, present: Sequence[int]) -> tuple[float, float]:
    """Values of the stack that become black and white."""
    if not present:
        return 0, 0
    if frames.dtype == np.uint16:
        return display.limits_of_counts(sum(_counts(frames.read(frame)) for frame in present))
    extremes = [(image.min(), image.max()) for image in map(frames.read, present)]
    low, high = float(min(lows for lows, _ in extremes)), float(max(highs for _, highs in extremes))
    step = max(high - low, 1) / (BINS - 1)
    first, last = display.limits_of_counts(
        sum(_counts(((frames.read(frame) - np.float32(low)) / np.float32(step)).astype(np.uint16)) for frame in present)
    )
    return low + first * step, low + (last + 1) * step


def _counts(image: np.ndarray) -> np.ndarray:
    """Number of pixels of each 16-bit value; whole numbers, exact up to 16 million pixels of one value."""
    return cv2.calcHist([image], [0], None, [BINS], [0, BINS]).ravel().astype(np.int64)


def main(sources: Sequence[str], outputs: Sequence[str]) -> None:
    for source, output in zip(map(Path, sources), map(Path, outputs), strict=True):
        try:
            cache_level(source, output)
            job.log.info("%s: done", source.parent.name)
        except Exception as error:
            job.log.exception("%s: no display level", source.parent.name)
            with store.writing(output, (1, 1, 1), np.uint8, store.DISPLAY, attributes={"failed": str(error)}) as append:
                append(np.zeros((1, 1), np.uint8))


if __name__ == "__main__":
    with job.running(snakemake):
        main(snakemake.input.frames, snakemake.output.levels)
