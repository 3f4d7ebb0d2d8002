"""Choose the tracking function that the configuration names, and check what it returns."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from celltraces import plugins
from celltraces.errors import UserError
from celltraces.labels.regions import FrameTracks, tracks_of
from celltraces.tracking import overlap, stage_places

# Label images -> for each frame its labels and the cell of each: `FrameTracks`, or just two arrays of equal length.
Track = Callable[[Iterable[np.ndarray]], Sequence[Sequence[np.ndarray]]]


def tracker(method: str, settings: Mapping[str, Any], movement: Mapping[str, Sequence[Any]] | None = None) -> Track:
    """The function that numbers the cells of a movie by `method` with the stage's settings.

    movement: of the stage, as measured in the pictures. A function of the user's is told of it if it has an argument
    `stage_places`: (T, 2) float64, where the first frame's contents lie in each frame, (y, x) in pixels; or None.
    """
    if method == "iou":
        return partial(overlap.track, movement=movement, **settings)
    if method == "btrack":
        from celltraces.tracking.btrack_method import btrack_track

        return partial(btrack_track, max_gap=settings["max_gap"], movement=movement)
    function = plugins.load_function(method, "tracking_method")
    if _takes(function, "stage_places"):
        return partial(function, stage_places=stage_places.followed(movement) if movement else None)
    return function


def _takes(function: Callable[..., Any], argument: str) -> bool:
    """Whether a function has an argument of this name; one of a compiled module may not say so."""
    try:
        return argument in inspect.signature(function).parameters
    except ValueError:
        return False


def checked_tracks(entry: Sequence[Any], frame: int) -> FrameTracks:
    """What a method returned for one frame, if it numbers labels and no two alike."""
    try:
        labels, cells = (np.asarray(column) for column in entry[:2])
    except (TypeError, ValueError):
        raise UserError(f"tracking_method: frame {frame}: expected labels and cells, got {entry!r:.60}") from None
    if labels.shape != cells.shape or labels.ndim != 1 or {labels.dtype.kind, cells.dtype.kind} - set("iu"):
        raise UserError(f"tracking_method: frame {frame}: labels and cells must be whole numbers, one cell per label")
    mapping = FrameTracks(labels, cells.astype(np.int64), *entry[2:])
    numbers = tracks_of(mapping)
    if (numbers < 1).any() or len(np.unique(numbers)) != len(numbers) or (np.diff(labels) <= 0).any():
        raise UserError(f"tracking_method: frame {frame}: labels must ascend; cells count from 1, none twice")
    return mapping
