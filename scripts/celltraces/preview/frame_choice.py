"""Choose the few frames of a dataset that are looked at to compare parameters, to find a scale or a flat field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celltraces.config.selection import expand_fovs

SCALE_FRAMES = 4  # a network looks at each at several scales, some 6 s
FLAT_FIELD_FRAMES = 96  # that a flat field is estimated from, so that memory and time are bounded


def frames_to_try(config: Mapping[str, Any], dataset: Any) -> list[tuple[int, int]]:
    """(FOV, frame) of a planned dataset, in order; frames whose phase contrast is known to be missing are left out."""
    wanted, movie = config["preview"], dataset.movie
    if wanted["fovs"] is None:
        fovs = _evenly_spaced(dataset.fovs, wanted["n_fovs"])
    else:
        fovs = expand_fovs(wanted["fovs"], len(movie.fovs), "preview.fovs")
    chosen = []
    for fov in fovs:
        if wanted["frames"] is None:
            gone = {frame for frame, channel in movie.fovs[fov]["missing"] if channel == dataset.pc}
            frames = _evenly_spaced([frame for frame in range(movie.n_frames) if frame not in gone], wanted["n_frames"])
        else:
            frames = expand_fovs(wanted["frames"], movie.n_frames, "preview.frames", "frame")
        chosen += [(fov, frame) for frame in frames]
    return chosen


def frames_for_scale(dataset: Any) -> list[tuple[int, int]]:
    """(FOV, frame) on which the scale of a planned dataset is found: spread over the FOVs of its file and over time.

    They do not depend on which FOVs are processed, so that a run with further ones makes the others not anew.
    """
    movie = dataset.movie
    fovs = _evenly_spaced(range(len(movie.fovs)), SCALE_FRAMES)
    chosen = []
    for at in range(SCALE_FRAMES):
        fov = fovs[at % len(fovs)]
        gone = {frame for frame, channel in movie.fovs[fov]["missing"] if channel == dataset.pc}
        present = [frame for frame in range(movie.n_frames) if frame not in gone]
        chosen += [(fov, frame) for frame in _evenly_spaced(present, SCALE_FRAMES)[at : at + 1]]
    return chosen


def frames_for_flat_field(dataset: Any, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """(FOV, frame) from which a flat field is estimated: spread over all FOVs of the file of this size, and over time.

    They do not depend on which FOVs are processed, so that a run with further ones makes the others not anew.
    """
    movie = dataset.movie
    alike = [at for at, fov in enumerate(movie.fovs) if (fov["height"], fov["width"]) == shape]
    return _evenly_spaced([(fov, frame) for fov in alike for frame in range(movie.n_frames)], FLAT_FIELD_FRAMES)


def _evenly_spaced(items: Sequence[Any], n: int) -> list[Any]:
    """`n` of the items, evenly spread from the first to the last; the middle one for n = 1."""
    if n == 1 or len(items) <= 1:
        return [items[len(items) // 2]] if items else []
    n = min(n, len(items))
    return [items[at * (len(items) - 1) // (n - 1)] for at in range(n)]
