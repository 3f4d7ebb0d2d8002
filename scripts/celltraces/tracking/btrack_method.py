"""Track with btrack, an optional package."""

from collections.abc import Iterable

import numpy as np

from celltraces.errors import UserError
from celltraces.labels.regions import FrameTracks, regions


def btrack_track(frames: Iterable[np.ndarray], max_gap: int) -> list[FrameTracks]:
    """Number the cells of a movie with btrack (Bayesian tracking of centroids at nearly constant velocity).

    frames: label images. Returns for each frame which label is which cell. The package is not part of the
    environment.
    """
    try:
        import btrack
        from btrack.btypes import PyTrackObject
        from btrack.models import MotionModel
    except ImportError:
        raise UserError(
            "params.tracking_method: btrack is not installed; run `.venv/bin/pip install btrack==0.6.5`"
        ) from None
    objects, places, labels_of = [], [], []
    shape = (1, 1)
    for frame, labels in enumerate(frames):
        shape = labels.shape
        label, _, boxes = regions(labels)
        labels_of.append(label)
        for row, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
            found = PyTrackObject()
            found.ID, found.t = len(objects), frame
            found.x, found.y, found.z = float(x0 + x1) / 2, float(y0 + y1) / 2, 0.0
            objects.append(found)
            places.append((frame, row))
    if not objects:
        return [FrameTracks(label, label) for label in labels_of]
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
        tracker.volume = ((0, shape[1]), (0, shape[0]), (-1e5, 1e5))
        tracker.track(step_size=100)
        tracks = tracker.tracks
    # Their numbers follow from the first region of each; negative references are frames in which it was missed.
    members = sorted(sorted(reference for reference in found.refs if reference >= 0) for found in tracks)
    cells = [np.zeros(len(label), np.int64) for label in labels_of]
    for cell, references in enumerate(members, start=1):
        for reference in references:
            frame, row = places[reference]
            cells[frame][row] = cell
    return [FrameTracks(label[cell > 0], cell[cell > 0]) for label, cell in zip(labels_of, cells, strict=True)]
