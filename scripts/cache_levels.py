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
COUNTS = 1 << 16
STEPS = 16  # per count, in which backgrounds are binned
SAMPLES = 256  # about as many rows and columns of a background, which is smooth, are looked at for the percentiles


def cache_level(source: Path, output: Path) -> None:
    """Write the display level of one (T, H, W) array: (T, H/2, W/2) uint8."""
    frames = store.open_frames(source)
    is_labels = paths.is_labels(source.parent.name)
    present = [frame for frame in range(frames.shape[0]) if frames.present(frame)]
    low, high = (0, _highest(frames, present)) if is_labels else _limits(frames, present)
    n_frames, height, width = frames.shape
    shape = (n_frames, max(1, height // 2), max(1, width // 2))
    with store.writing(output, shape, np.uint8, store.DISPLAY, tile=TILE) as append:
        for frame in range(n_frames):
            image = frames.read(frame)
            if is_labels:
                append(display.labels_to_bytes(display.half_labels(image), high))
            else:
                append(display.half(display.to_bytes(image, low, high)))


def _highest(frames: store.Frames, present: Sequence[int]) -> int:
    return max((int(frames.read(frame).max()) for frame in present), default=0)


def _limits(frames: store.Frames, present: Sequence[int]) -> tuple[float, float]:
    """Values of the stack that become black and white."""
    if not present:
        return 0, 0
    if frames.dtype == np.uint16:
        return display.limits_of_counts(sum(_histogram(frames.read(frame)) for frame in present))
    apart = max(1, min(frames.shape[1:]) // SAMPLES)
    counts = np.zeros(STEPS * COUNTS, np.int64)
    for frame in present:
        steps = frames.read(frame)[::apart, ::apart] * np.float32(STEPS)
        np.add.at(counts, np.clip(steps, 0, counts.size - 1).astype(np.intp), 1)
    low, high = display.limits_of_counts(counts)
    return low / STEPS, (high + 1) / STEPS


def _histogram(image: np.ndarray) -> np.ndarray:
    """Number of pixels of each 16-bit value; whole numbers, exact up to 16 million pixels of one value."""
    return cv2.calcHist([image], [0], None, [COUNTS], [0, COUNTS]).ravel().astype(np.int64)


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
