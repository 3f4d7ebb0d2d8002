"""Divide fluorescence frames by their channel's flat field, between copying and registration or background.

Raw frames stay as they are. Pixels without data stay 0, and frames that the file did not hold stay blank.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.fluorescence import flat_field
from celltraces.frames import coverage
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing


def flatten_movie(source: Path, output: Path, gain: np.ndarray, details: Mapping[str, Any]) -> None:
    """Correct every frame of a channel, (T, H, W) uint16. details: see flat_field.describe."""
    frames = open_frames(source)
    if gain.shape != frames.shape[1:]:
        raise UserError(f"{source}: frames are {frames.shape[1:]} pixels, the flat field {gain.shape}; run again")
    counts = np.zeros(display_level.COUNTS, np.int64)
    attributes: dict[str, Any] = {
        "missing_frames": frames.attributes.get("missing_frames", []),
        flat_field.ATTRIBUTE: dict(details),
        **coverage.same(frames.attributes),
    }
    with writing(output, frames.shape, np.uint16, PIXELS, attributes=attributes) as append:
        for frame in range(frames.shape[0]):
            image = frames.read(frame)
            if frames.present(frame):
                boxes = coverage.of_frame(frames.attributes, frame)
                image = coverage.blanked(flat_field.divide_by_gain(image, gain, details["camera_offset"]), boxes)
                counts_of_frame = display_level.count_pixels(image, coverage.area_of(boxes))
                counts[: len(counts_of_frame)] += counts_of_frame
            append(image)
        attributes["display_limits"] = display_level.limits_of_counts(counts)


def main(sources: Sequence[str], outputs: Sequence[str], gains: Sequence[str], summary: str) -> None:
    described = json.loads(Path(summary).read_text("utf-8"))
    for source, output, gain in zip(map(Path, sources), map(Path, outputs), gains, strict=True):
        details = described[source.parent.name.rpartition("_")[2]]
        flatten_movie(source, output, np.load(gain, allow_pickle=False), details)
        job.log.info("%s: divided by the flat field, at least %g", source.parent.name, details["lowest_gain"])


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.fl, snakemake.output.flat, snakemake.input.gains, snakemake.input.summary, **settings)
