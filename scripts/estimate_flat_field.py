"""Find how evenly the field of each channel is lit, from a reference image or from the movie itself."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.files import whole, write_text
from celltraces.fluorescence import flat_field
from celltraces.fluorescence.background import estimate_background
from celltraces.frames import coverage
from celltraces.preview.frames import readable_frames
from celltraces.pyme import spool
from celltraces.readers.reference_image import read_reference
from celltraces.runs import job

LOOKED_AT = 24  # frames, of those from which a flat field may be estimated, that a picture is compared with


def backgrounds_of(
    raw: Path, channel: int, frames: Sequence[tuple[int, int]], planes: Sequence[int | None], pyme: Mapping[str, Any]
) -> tuple[list[np.ndarray], list[np.ndarray], list[int]]:
    """Of some frames (FOV, frame) of a channel the background and the frame itself, each on a grid, and the FOV.

    The frame itself is left out where a part of it holds no data.
    """
    found, whole_frames, fovs = [], [], []
    for fov, _, image, boxes in readable_frames(raw, frames, channel, planes, pyme):
        hidden = coverage.mask_of_boxes(boxes, image.shape) if boxes else None
        surface = estimate_background(image, hidden, background_dilation=0)
        if surface is not None:
            found.append(flat_field.on_grid(surface))
            if hidden is None:
                whole_frames.append(flat_field.on_fine_grid(image))
                fovs.append(fov)
    return found, whole_frames, fovs


def main(
    outputs: Sequence[str],
    summary: str,
    sources: Mapping[str, str | None],
    *,
    raw: str,
    frames: Sequence[tuple[int, int]],
    shape: Sequence[int],
    planes: Sequence[int | None],
    camera_offset: float | None,
    pyme: Mapping[str, Any] = spool.DEFAULTS,
) -> None:
    """Write a gain (H, W) float32 for each channel of `sources` (a file; None: from the movie), and its origin."""
    described = {}
    for (channel, source), output in zip(sorted(sources.items(), key=lambda of: int(of[0])), outputs, strict=True):
        if source is None:
            found, whole_frames, fovs = backgrounds_of(Path(raw), int(channel), frames, planes, pyme)
            field = flat_field.estimate_gain(found, (shape[0], shape[1]), camera_offset) if found else None
            if field is not None and whole_frames and field.gain.min() >= flat_field.DARKEST:
                field = flat_field.add_rims_and_rings(field, whole_frames, fovs)
            if field is None or field.gain.min() < flat_field.DARKEST:
                raise UserError(
                    f"flat_field.{channel}: the {len(found)} frames of {raw!r} that show background do not tell how "
                    "the field is lit; correct camera_offset, or give a reference image"
                )
            if field.offset is None:
                job.log.warning(
                    "channel %s: the frames are too much alike in brightness to tell the camera's offset from light; "
                    "it is taken as 0, so that too little may be corrected: set camera_offset",
                    channel,
                )
            details = flat_field.gain_attributes("estimate", field, len(found))
        else:
            field = flat_field.Field(read_reference(Path(source), camera_offset or 0.0), camera_offset)
            some = frames[:: -(-len(frames) // LOOKED_AT) or 1]
            whole_ones = [
                (flat_field.on_fine_grid(image), fov)
                for fov, _, image, boxes in readable_frames(Path(raw), some, int(channel), planes, pyme)
                if not boxes
            ]
            field = field._replace(
                foreign=flat_field.not_in_frames(field, [one for one, _ in whole_ones], [fov for _, fov in whole_ones])
            )
            details = flat_field.gain_attributes(Path(source).name, field, None)
        described[channel] = details
        with whole(Path(output)) as partial, open(partial, "wb") as file:
            np.save(file, field.gain)
        job.log.info("channel %s: %s", channel, json.dumps(details))
    write_text(Path(summary), json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.output.gains, snakemake.output.summary, **settings)
