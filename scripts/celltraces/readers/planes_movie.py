"""Make a Movie of a map of planes, and open it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from celltraces.readers import time_stamps
from celltraces.readers.checks import another_height_um, believable_pixel_size_um
from celltraces.readers.movie import Movie, OpenedMovie
from celltraces.tiff.plane_map import PlaneMap


def movie_of(planes: PlaneMap) -> Movie:
    """What planning needs to know. All FOVs have as many frames, and a size each."""
    present = np.stack([fov.where[..., 0] >= 0 for fov in planes.fovs])  # (F, T, C, Z)
    taken = present.any(axis=(2, 3))
    starts_s, periods_s = (
        np.array([getattr(fov, key) for fov in planes.fovs], float) for key in ("start_s", "period_s")
    )
    stamps = time_stamps.on_one_clock(np.stack([fov.stamps_s for fov in planes.fovs]), starts_s, periods_s)
    times = time_stamps.minutes_since_first(stamps, time_stamps.trusted(stamps, taken), taken)
    senseless = time_stamps.senseless(stamps, taken)
    sizes = [fov.size for fov in planes.fovs if fov.size is not None]
    fovs = [
        {
            "name": fov.name or f"FOV {at}",
            "height": (fov.size or sizes[0])[0],
            "width": (fov.size or sizes[0])[1],
            "times_min": times[at],
            "senseless_stamps": senseless[at],
            "missing": np.argwhere(~present[at].all(axis=2)).tolist(),
            "position_um": fov.position_um,
            "exposures_ms": list(fov.exposures_ms) or [[] for _ in planes.channels],
        }
        for at, fov in enumerate(planes.fovs)
    ]
    widths = [believable_pixel_size_um(fov.pixel_size_um) for fov in planes.fovs]
    width = believable_pixel_size_um(planes.pixel_size_um)
    return Movie(
        format=planes.format,
        dtype=planes.dtype,
        n_frames=present.shape[1],
        n_z=present.shape[3],
        channels=planes.channels,
        pixel_size_um=width,
        period_min=None if planes.period_s is None else planes.period_s / 60.0,
        fovs=fovs,
        pixel_height_um=another_height_um(width, planes.pixel_height_um),
        pixel_sizes_um=widths if len(set(filter(None, widths))) > 1 else [],
        files=[str(file) for file in [*planes.files, *planes.read_with]],
    )


def opened_movie(
    planes: PlaneMap, read_plane: Callable[[int, int, int, int], np.ndarray | None], close: Callable[[], None]
) -> OpenedMovie:
    """A movie of which one plane is read at a time; read_plane(fov, frame, channel, z) is asked for those that there
    are."""

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        there = planes.fovs[fov].where[frame, :, z, 0] >= 0
        return [read_plane(fov, frame, channel, z) if there[channel] else None for channel in channels]

    n_frames, n_channels, n_z, _ = planes.fovs[0].where.shape
    return OpenedMovie(read, (len(planes.fovs), n_frames, n_channels, n_z), close)
