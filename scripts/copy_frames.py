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

import numpy as np

from formats import pyme_spool
from pyama import display, job, store
from pyama.frame_statistics import NO_STATISTICS, frame_statistics
from pyama.microscopy import open_movie


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


def main(raw: str, outputs: Sequence[str], **plan: Any) -> None:
    missing = copy_frames(Path(raw), [Path(output) for output in outputs], **plan)
    job.log.info("copied %d frames of %d channels", plan["shape"][0], len(missing))
    for channel, frames in missing.items():
        if frames:
            job.log.warning("channel %d: %d frames are not in the file: %s", channel, len(frames), frames)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.params.raw,
            snakemake.output.frames,
            fov=snakemake.params.fov,
            channels=snakemake.params.channels,
            shape=snakemake.params.shape,
            planes=snakemake.params.planes,
            **settings,
        )
