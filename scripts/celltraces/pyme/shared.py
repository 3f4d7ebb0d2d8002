"""Build the metadata and events that all files for PYME share: pixel size, period, times of the frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from celltraces.errors import UserError

if TYPE_CHECKING:
    import h5py

EVENT = np.dtype([("EventDescr", "S256"), ("EventName", "S32"), ("Time", "<f8")])
Event = tuple[str, str, float]  # name, description, s


def metadata_of(settings: Mapping[str, Any], frames_each: int) -> dict[str, Any]:
    """Entries for a series with `frames_each` frames per time point. Raises UserError without a pixel size."""
    size, times = settings["pixel_size_um"], settings["times_min"]
    if not size:
        raise UserError("PYME needs a pixel size, and the file has none; set params.pixel_size_um")
    step_s = 60 * (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
    return {
        "voxelsize.x": float(size),
        "voxelsize.y": float(size),
        "voxelsize.units": "um",
        "StartTime": 60 * float(times[0]),
        "Camera.CycleTime": step_s / frames_each,
    }


def events_of(settings: Mapping[str, Any], frames_each: int) -> list[Event]:
    """The time of every frame but the first, as if the camera had been started anew for it, after the frame before."""
    times = settings["times_min"]
    return [("StartAq", str(at * frames_each - 1), 60 * float(time)) for at, time in enumerate(times) if at]


def write_events(file: h5py.File, events: Sequence[Event]) -> None:
    """Write the table `Events`: text, name and time of each."""
    table = np.array([(text, name, time) for name, text, time in events], EVENT)
    file.create_dataset("Events", data=table, maxshape=(None,), chunks=(1024,), track_times=False)
