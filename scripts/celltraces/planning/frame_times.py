"""Determine the time of each frame in minutes, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from celltraces.errors import UserError
from celltraces.planning.dataset import Dataset


def frame_times(dataset: Dataset, fov: int, settings: Mapping[str, Any]) -> tuple[list[float], str]:
    """Minutes since the file's first frame, of whatever FOV, one per frame, and where they come from.

    In this order: `time_mapping`, the file's time stamps, the file's period, `frame_interval`. Without stamps the FOV
    is taken to begin with the file. Frames between two named in `time_mapping` are interpolated; beyond the last one
    its last step goes on.
    """
    n_frames = dataset.movie.n_frames
    mapping = settings["time_mapping"]
    if mapping:
        return _mapped_times(
            {int(frame): float(time) for frame, time in mapping.items()}, n_frames, settings
        ), "time_mapping"
    stamps = dataset.movie.fovs[fov]["times_min"]
    period = dataset.movie.period_min
    if stamps is not None and len(stamps) >= min(n_frames, 2):
        step = period or (stamps[-1] - stamps[0]) / max(len(stamps) - 1, 1)
        return stamps + [stamps[-1] + step * k for k in range(1, n_frames - len(stamps) + 1)], "file time stamps"
    if period:
        return [period * frame for frame in range(n_frames)], "file period"
    return [settings["frame_interval"] * frame for frame in range(n_frames)], "frame_interval"


def _mapped_times(mapping: dict[int, float], n_frames: int, settings: Mapping[str, Any]) -> list[float]:
    known = sorted(mapping.items())
    for earlier, later in pairwise(known):
        if later[1] <= earlier[1]:
            raise UserError(
                f"params.time_mapping: times do not increase: frame {later[0]} ({later[1]:g} min) is not after "
                f"frame {earlier[0]} ({earlier[1]:g} min)"
            )
    times = []
    for frame in range(n_frames):
        before = [pair for pair in known if pair[0] <= frame]
        after = [pair for pair in known if pair[0] > frame]
        if before and after:
            (f0, t0), (f1, t1) = before[-1], after[0]
        elif len(known) > 1:
            (f0, t0), (f1, t1) = known[-2:] if before else known[:2]
        else:
            (f0, t0), (f1, t1) = known[0], (known[0][0] + 1, known[0][1] + settings["frame_interval"])
        times.append(t0 + (t1 - t0) * (frame - f0) / (f1 - f0))
    return times
