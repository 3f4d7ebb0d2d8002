"""Make level 1 (8 bit, half resolution) of every array of images.zarr, for viewers.

Intensities: the 1st to 99th percentile of the whole stack become black to white. Labels: in proportion to the
highest label. Both stand in the array's attributes, so that one pass over the frames is enough.
A channel that fails gets an empty level that says so: pictures for viewing never cost the run its data.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from celltraces import paths
from celltraces.errors import raise_what_passes
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.codecs import DISPLAY
from celltraces.storage.frames import open_frames, writing

TILE = 256


def cache_level(source: Path, output: Path) -> None:
    """Write the display level of one (T, H, W) array: (T, H/2, W/2) uint8."""
    frames = open_frames(source)
    is_labels = paths.is_labels(source.parent.name)
    low, high = display_level.limits_of_movie(frames)
    n_frames, height, width = frames.shape
    shape = (n_frames, max(1, height // 2), max(1, width // 2))
    with writing(output, shape, np.uint8, DISPLAY, tile=TILE) as append:
        for frame in range(n_frames):
            image = frames.read(frame)
            if is_labels:
                append(display_level.labels_to_bytes(display_level.half_labels(image), high))
            else:
                append(display_level.half(display_level.to_bytes(image, low, high)))


def main(sources: Sequence[str], outputs: Sequence[str]) -> None:
    for source, output in zip(map(Path, sources), map(Path, outputs), strict=True):
        try:
            cache_level(source, output)
            job.log.info("%s: done", source.parent.name)
        except Exception as error:
            raise_what_passes(error)
            job.log.exception("%s: no display level", source.parent.name)
            with writing(output, (1, 1, 1), np.uint8, DISPLAY, attributes={"failed": str(error)}) as append:
                append(np.zeros((1, 1), np.uint8))


if __name__ == "__main__":
    with job.running(snakemake):
        main(snakemake.input.frames, snakemake.output.levels)
