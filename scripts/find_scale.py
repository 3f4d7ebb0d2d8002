"""Find the scale at which a network is to see all frames of a dataset, before it segments them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celltraces.files import write_text
from celltraces.preview.frames import find_scale
from celltraces.pyme import spool
from celltraces.runs import job


def main(
    raw: str,
    output: str,
    segmentation_method: str,
    recipe: str | None = None,
    *,
    frames: Sequence[tuple[int, int]],
    channel: int,
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = spool.DEFAULTS,
    pixel_size_um: float | None = None,
) -> None:
    """Write {"segmentation_scale": number}, or null where the frames that were looked at hold no cells."""
    reading = {"channel": channel, "planes": planes, "pyme": pyme}
    scale = find_scale(Path(raw), segmentation_method, recipe, frames=frames, pixel_size_um=pixel_size_um, **reading)
    write_text(Path(output), json.dumps({"segmentation_scale": scale}) + "\n")
    if scale is None:
        job.log.warning("no cells in FOV, frame %s: each FOV finds a scale of its own", frames)
    else:
        job.log.info("segmentation_scale: %g", scale)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(output=snakemake.output.scale, **settings)
