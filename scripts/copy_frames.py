"""Stage 1, copying: the frames of one FOV from a microscopy file into images.zarr, one array per channel.

Planes that are not in the file are written as zeros and listed in the array's attribute `missing_frames`; nothing
is shifted into their place. The attribute `frame_statistics` holds what the checks of quality need to know,
`display_limits` what the display level needs.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from formats import pyme_spool
from pyama import display, job, store
from pyama.microscopy import open_movie

FEW = 10  # pixels that may have the highest value of a frame by chance
NO_STATISTICS = {"mean": None, "lowest": None, "highest": None, "at_highest": None, "contrast": None}


def copy_frames(
    raw: Path,
    outputs: Sequence[Path],
    *,
    fov: int,
    channels: Sequence[int],
    shape: Sequence[int],
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = pyme_spool.DEFAULTS,
) -> dict[int, list[int]]:
    """Copy `channels` of one FOV, each (T, H, W) uint16, to `outputs`, one frame in memory at a time.

    Of several z `planes` the highest value of each pixel is taken; [None] stands for a file without z. Returns the
    frames that the file does not hold, by channel.
    """
    n_frames, height, width = shape
    missing: dict[int, list[int]] = {channel: [] for channel in channels}
    statistics: dict[int, dict[str, list[Any]]] = {
        channel: {name: [] for name in NO_STATISTICS} for channel in channels
    }
    counts = {channel: np.zeros(display.COUNTS, np.int64) for channel in channels}
    limits: dict[int, list[int]] = {channel: [] for channel in channels}
    blank = np.zeros((height, width), np.uint16)
    with ExitStack() as stack:
        read = stack.enter_context(open_movie(raw, pyme))
        appends = [
            stack.enter_context(
                store.writing(
                    output,
                    (n_frames, height, width),
                    np.uint16,
                    store.PIXELS,
                    attributes={
                        "missing_frames": missing[channel],
                        "frame_statistics": statistics[channel],
                        "display_limits": limits[channel],
                    },
                )
            )
            for output, channel in zip(outputs, channels, strict=True)
        ]
        for frame in range(n_frames):
            stacks = zip(*(read(fov, frame, channels, plane) for plane in planes), strict=True)
            for append, channel, images in zip(appends, channels, stacks, strict=True):
                present = [image for image in images if image is not None]
                image = reduce(np.maximum, present) if present else blank
                append(image)
                of_frame = NO_STATISTICS
                if present:
                    counts_of_frame = display.count_pixels(image)
                    counts[channel][: len(counts_of_frame)] += counts_of_frame
                    of_frame = frame_statistics(image, counts_of_frame)
                else:
                    missing[channel].append(frame)
                for name, value in of_frame.items():
                    statistics[channel][name].append(value)
        for channel in channels:
            limits[channel] += display.limits_of_counts(counts[channel])
    return missing


def frame_statistics(image: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """What the checks of quality need to know of a (H, W) frame; `counts` is the number of its pixels by value, up to
    the highest.

    lowest, highest, mean: counts. at_highest: share of the pixels that have the highest value, less those one count
    below, which is above 0 only where a camera or a file format cut values off. contrast: standard deviation of the
    difference of pixels two columns apart, by the mean, which falls to a half and less when a phase-contrast image is
    out of focus. Mean and contrast are of every eighth row: they are compared, not measured with.
    """
    rows = image[::8].astype(np.float32)
    mean = cv2.mean(rows)[0]
    spread = float(cv2.meanStdDev(rows[:, 2:] - rows[:, :-2])[1][0, 0]) if image.shape[1] > 2 else 0.0
    lowest, highest = int(np.argmax(counts > 0)), len(counts) - 1
    piled = int(counts[highest])
    piled = piled - int(counts[highest - 1] if highest else 0) if piled >= FEW else 0
    return {
        "mean": round(mean, 3),
        "lowest": lowest,
        "highest": highest,
        "at_highest": round(max(piled, 0) / image.size, 9),
        "contrast": round(spread / mean, 6) if mean else 0.0,
    }


def main(raw: str, outputs: Sequence[str], **plan: Any) -> None:
    missing = copy_frames(Path(raw), [Path(output) for output in outputs], **plan)
    job.log.info("copied %d frames of %d channels", plan["shape"][0], len(missing))
    for channel, frames in missing.items():
        if frames:
            job.log.warning("channel %d: %d frames are not in the file: %s", channel, len(frames), frames)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(outputs=snakemake.output.frames, **settings)
