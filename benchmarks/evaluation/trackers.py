"""Trackers side by side: ours, and btrack, laptrack and trackpy where they are installed, on the same label images.

Usage: python trackers.py FOLDER     (runs btrack, in an environment of its own, on labels.npy and movement.json there)

laptrack and trackpy get centroids. Both look as far as the median cell is wide (as a disk of its area), and bridge 3
frames in which a cell was missed, as ours does. laptrack looks for divisions where it is told that there are some.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2] / "scripts"), str(Path(__file__).parents[1])]

from celltraces.errors import UserError
from celltraces.labels.lineage import Division
from celltraces.labels.regions import FrameTracks, regions, relabel

MAX_GAP = 3  # frames
Movement = Mapping[str, Sequence[Any]] | None
Linked = tuple[list[np.ndarray], list[Division], float]
"""T images (H, W) of the cells' numbers, the divisions, and CPU seconds."""
Tracker = Callable[[Sequence[np.ndarray], Movement, bool], Linked]


def by_overlap(labels: Sequence[np.ndarray], movement: Movement, dividing: bool) -> Linked:
    from evaluation.linking import link

    start = time.process_time()
    tracked, divisions = link(labels, movement)
    return tracked, divisions, time.process_time() - start


def by_overlap_alone(labels: Sequence[np.ndarray], movement: Movement, dividing: bool) -> Linked:
    """Ours, without what the pictures tell of the stage."""
    return by_overlap(labels, None, dividing)


def by_laptrack(labels: Sequence[np.ndarray], movement: Movement, dividing: bool) -> Linked:
    from laptrack import LapTrack

    start = time.process_time()
    table, reach = _centroids(labels)
    tracker = LapTrack(
        cutoff=reach**2,
        gap_closing_cutoff=reach**2,
        gap_closing_max_frame_count=MAX_GAP,
        splitting_cutoff=reach**2 if dividing else False,
    )
    found, splits, _ = tracker.predict_dataframe(table, ["y", "x"], "frame", only_coordinate_cols=False)
    found = found.reset_index()
    frames = found["frame"] if "frame" in found else found["frame_y"]
    numbers = found["track_id"].to_numpy() + 1
    tracked = _numbered(labels, frames.to_numpy(), found["label"].to_numpy(), numbers)
    daughters: dict[int, list[int]] = {}
    if len(splits):
        for parent, child in splits[["parent_track_id", "child_track_id"]].to_numpy().tolist():
            daughters.setdefault(parent + 1, []).append(child + 1)
    first = dict(zip(numbers[::-1].tolist(), frames.to_numpy()[::-1].tolist(), strict=True))
    divisions = [Division(cell, tuple(of), min(first[one] for one in of)) for cell, of in daughters.items()]
    return tracked, divisions, time.process_time() - start


def by_trackpy(labels: Sequence[np.ndarray], movement: Movement, dividing: bool) -> Linked:
    import trackpy

    trackpy.quiet()
    start = time.process_time()
    table, reach = _centroids(labels)
    found = trackpy.link(table, search_range=reach, memory=MAX_GAP, adaptive_stop=1.0, pos_columns=["y", "x"])
    columns = (found[name].to_numpy() for name in ("frame", "label", "particle"))
    frames, label, particle = columns
    return _numbered(labels, frames, label, particle + 1), [], time.process_time() - start


def by_btrack(python: Path, labels: Sequence[np.ndarray], movement: Movement, dividing: bool) -> Linked:
    """As `tracking_method: btrack` does it, with what the pictures tell of the stage."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/labels.npy", np.stack(labels))
        Path(folder, "movement.json").write_text(json.dumps(movement))
        done = subprocess.run([python, __file__, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{python} failed: {(done.stderr.splitlines() or ['no message'])[-1]}")
        with np.load(f"{folder}/tracked.npz") as done:
            return list(done["tracked"]), [], float(done["seconds"])


def _centroids(labels: Sequence[np.ndarray]) -> tuple[Any, float]:
    """A table with a row for each region, frame, label, y, x; and the width of the median cell, px."""
    import pandas as pd
    from scipy import ndimage

    rows, areas = [], []
    for frame, image in enumerate(labels):
        found, area, _ = regions(image)
        areas.append(area)
        places = ndimage.center_of_mass(image > 0, image, found) if found.size else []
        rows += [(frame, int(label), *place) for label, place in zip(found, places, strict=True)]
    width = 2 * float(np.sqrt(np.median(np.concatenate(areas)) / np.pi))
    return pd.DataFrame(rows, columns=["frame", "label", "y", "x"]), width


def _numbered(
    labels: Sequence[np.ndarray], frames: np.ndarray, label: np.ndarray, numbers: np.ndarray
) -> list[np.ndarray]:
    tracked = []
    for frame, image in enumerate(labels):
        here = np.flatnonzero(frames == frame)
        here = here[np.argsort(label[here])]
        mapping = FrameTracks(label[here].astype(np.int64), numbers[here].astype(np.int64))
        tracked.append(relabel(image, mapping, np.uint16))
    return tracked


def _run_btrack(folder: Path) -> None:
    from celltraces.tracking.btrack_method import btrack_track

    labels = np.load(folder / "labels.npy")
    movement = json.loads((folder / "movement.json").read_text())
    btrack_track(labels[:2], MAX_GAP)  # what it loads does not count
    start = time.process_time()
    mappings = btrack_track(labels, MAX_GAP, movement)
    tracked = [relabel(image, mapping, np.uint16) for image, mapping in zip(labels, mappings, strict=True)]
    np.savez(folder / "tracked.npz", tracked=np.stack(tracked), seconds=time.process_time() - start)


if __name__ == "__main__":
    _run_btrack(Path(sys.argv[1]))
