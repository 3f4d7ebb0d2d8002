"""Track with btrack, an optional package."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.labels.regions import FrameTracks, regions
from celltraces.tracking.stage_places import place_finder


def btrack_track(
    frames: Iterable[np.ndarray], max_gap: int, movement: Mapping[str, Sequence[Any]] | None = None
) -> list[FrameTracks]:
    """Number the cells of a movie with btrack (Bayesian tracking of centroids at nearly constant velocity).

    frames: label images. movement: of the stage, as measured; centroids are told at their places in the first frame.
    Returns for each frame which label is which cell. The package is not part of the environment.
    """
    try:
        import btrack
        from btrack.btypes import PyTrackObject
        from btrack.models import MotionModel
    except ImportError:
        raise UserError(
            "params.tracking_method: btrack is not installed; run `.venv/bin/pip install btrack==0.6.5`"
        ) from None
    objects, members_at, labels_of, places = [], [], [], []
    shape = (1, 1)
    place_of = place_finder(movement)
    for frame, labels in enumerate(frames):
        shape = labels.shape
        label, _, boxes = regions(labels)
        labels_of.append(label)
        places.append(place_of(boxes, shape)[0])
        for row, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
            found = PyTrackObject()
            found.ID, found.t = len(objects), frame
            found.x = float(x0 + x1) / 2 - float(places[-1][1])
            found.y = float(y0 + y1) / 2 - float(places[-1][0])
            found.z = 0.0
            objects.append(found)
            members_at.append((frame, row))
    if not objects:
        return [FrameTracks(label, label, place=(0, 0)) for label in labels_of]
    position, everything = np.eye(3), np.eye(6)
    motion = MotionModel(
        name="constant velocity",
        measurements=3,
        states=6,
        A=everything + np.eye(6, k=3),
        H=np.eye(3, 6),
        P=np.diag([15.0, 15, 15, 150, 150, 150]),
        G=np.array([[7.5, 7.5, 7.5, 15, 15, 15]]),
        R=5.0 * position,
        accuracy=7.5,
        max_lost=max_gap,
        prob_not_assign=0.001,
    )
    with btrack.BayesianTracker(verbose=False) as tracker:
        tracker.configure(btrack.config.TrackerConfig(name="cells", motion_model=motion))
        tracker.append(objects)
        low, high = np.min(places, axis=0).tolist(), np.max(places, axis=0).tolist()
        tracker.volume = ((-high[1], shape[1] - low[1]), (-high[0], shape[0] - low[0]), (-1e5, 1e5))
        tracker.track(step_size=100)
        tracks = tracker.tracks
    # Their numbers follow from the first region of each; negative references are frames in which it was missed.
    members = sorted(sorted(reference for reference in found.refs if reference >= 0) for found in tracks)
    cells = [np.zeros(len(label), np.int64) for label in labels_of]
    for cell, references in enumerate(members, start=1):
        for reference in references:
            frame, row = members_at[reference]
            cells[frame][row] = cell
    return [
        FrameTracks(label[cell > 0], cell[cell > 0], place=tuple(place.tolist()))
        for label, cell, place in zip(labels_of, cells, places, strict=True)
    ]
