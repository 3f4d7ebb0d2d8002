"""Write all channels of a FOV as one OME-TIFF (TCYX, uint16) with names, pixel size and the time of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from celltraces.exports import ome
from celltraces.exports.fov import Fov
from celltraces.files import whole


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write all raw channels, in the order of their numbers, as one OME-TIFF."""
    frames = list(fov.channels.values())
    n_frames, height, width = frames[0].shape
    named = fov.settings["channels"]
    with whole(outputs[0]) as partial:
        ome.write_ome_tiff(
            partial,
            (channel.read(frame) for frame in range(n_frames) for channel in frames),
            (n_frames, len(frames), height, width),
            np.uint16,
            "TCYX",
            channels=[f"{name} ({named[name.rsplit('_', 1)[1]]})" for name in fov.channels],
            pixel_size_um=fov.settings["pixel_size_um"],
            times_min=fov.settings["times_min"],
        )
