"""Move fluorescence frames onto the phase contrast by their channel's shift field, between copying and background.

What moved in from beyond the edge holds no data: it is 0, and the attribute `uncovered` says so. Frames that the file
did not hold stay blank, and are listed in `missing_frames`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.fluorescence import flat_field
from celltraces.frames import coverage
from celltraces.pyme import shift_field
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing


def register_movie(source: Path, output: Path, shift: shift_field.Shift, pixel_nm: float) -> float:
    """Shift every frame of a channel, (T, H, W) uint16. Returns the farthest that a pixel was moved, in pixels."""
    frames = open_frames(source)
    shape = frames.shape[1:]
    places = shift_field.sources(shift, shape, pixel_nm, source.parent.name)
    attributes: dict[str, Any] = {"missing_frames": frames.attributes.get("missing_frames", [])}
    attributes |= {key: frames.attributes[key] for key in (flat_field.ATTRIBUTE,) if key in frames.attributes}
    counts = np.zeros(display_level.COUNTS, np.int64)
    # a pixel reaches half a pixel beyond its middle
    beyond = np.logical_or.reduce(
        [(place < -0.5) | (place > side - 0.5) for place, side in zip(places, shape, strict=True)]
    )
    uncovered: list[coverage.Boxes] = []
    latest: tuple[coverage.Boxes, coverage.Boxes] = ((), coverage.boxes_of(beyond))  # boxes before and after the shift
    with writing(output, frames.shape, np.uint16, PIXELS, attributes=attributes) as append:
        for frame in range(frames.shape[0]):
            image = frames.read(frame)
            if frames.present(frame):
                boxes = tuple(coverage.of_frame(frames.attributes, frame))
                if boxes != latest[0]:
                    # without data is also what lies between a pixel with and one without
                    mask = coverage.mask_of_boxes(boxes, shape).astype(np.uint16) * 65535
                    latest = boxes, coverage.boxes_of((shift_field.shifted(mask, places) > 0) | beyond)
                image = coverage.blanked(shift_field.shifted(image, places), latest[1])
                counts_of_frame = display_level.count_pixels(image, coverage.area_of(latest[1]))
                counts[: len(counts_of_frame)] += counts_of_frame
            append(image)
            uncovered.append(latest[1] if frames.present(frame) else ())
        attributes["display_limits"] = display_level.limits_of_counts(counts)
        spans = coverage.as_attribute(uncovered)
        if spans:
            attributes[coverage.ATTRIBUTE] = spans
    moved = np.hypot(*(place - here for place, here in zip(places, np.mgrid[: shape[0], : shape[1]], strict=True)))
    return float(moved.max())


def main(sources: Sequence[str], outputs: Sequence[str], fields: Mapping[str, Any], pixel_size_um: float) -> None:
    for source, output in zip(map(Path, sources), map(Path, outputs), strict=True):
        channel = source.parent.name.rpartition("_")[2]
        farthest = register_movie(source, output, fields[channel], 1000 * pixel_size_um)
        job.log.info("%s: moved by up to %.2f px", source.parent.name, farthest)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.fl, snakemake.output.registered, **settings)
