"""Stage 3, tracking: the same label for the same cell in all frames."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyama import iou, job, plugins, store
from pyama.errors import PyamaError

# Label images -> for each frame its labels and the cell of each: `iou.Mapping`, or just two arrays of equal length.
Track = Callable[[Iterable[np.ndarray]], Sequence[Sequence[np.ndarray]]]


def tracker(method: str, settings: Mapping[str, Any]) -> Track:
    """The function that numbers the cells of a movie by `method` with the stage's settings."""
    if method == "iou":
        return partial(iou.track, **settings)
    if method == "btrack":
        from pyama.btrack_method import btrack_track

        return partial(btrack_track, max_gap=settings["max_gap"])
    return plugins.load_function(method, "tracking_method")


def track_movie(source: Path, output: Path, track: Track) -> list[iou.Mapping]:
    """Write the (T, H, W) array of tracked labels and return which label is which cell in each frame.

    uint16, or uint32 when there are more than 65,535 cells. Frames are read twice and held one at a time.
    """
    labeled = store.open_frames(source)
    n_frames = labeled.shape[0]
    mappings = [_checked(entry, frame) for frame, entry in enumerate(track(map(labeled.read, range(n_frames))))]
    if len(mappings) != n_frames:
        raise PyamaError(f"tracking_method: {n_frames} frames were given and {len(mappings)} came back")
    n_cells = max((int(iou.tracks_of(mapping).max(initial=0)) for mapping in mappings), default=0)
    dtype = np.uint16 if n_cells <= np.iinfo(np.uint16).max else np.uint32
    attributes = {"display_limits": [0, n_cells]}
    with store.writing(output, labeled.shape, dtype, store.LABELS, attributes=attributes) as append:
        for frame, mapping in enumerate(mappings):
            append(iou.relabel(labeled.read(frame), mapping, dtype))
    return mappings


def _checked(entry: Sequence[Any], frame: int) -> iou.Mapping:
    """What a method returned for one frame, if it numbers labels and no two alike."""
    try:
        labels, cells = (np.asarray(column) for column in entry[:2])
    except (TypeError, ValueError):
        raise PyamaError(f"tracking_method: frame {frame}: expected labels and cells, got {entry!r:.60}") from None
    if labels.shape != cells.shape or labels.ndim != 1 or {labels.dtype.kind, cells.dtype.kind} - set("iu"):
        raise PyamaError(f"tracking_method: frame {frame}: labels and cells must be whole numbers, one cell per label")
    mapping = iou.Mapping(labels, cells.astype(np.int64), *entry[2:])
    numbers = iou.tracks_of(mapping)
    if (numbers < 1).any() or len(np.unique(numbers)) != len(numbers) or (np.diff(labels) <= 0).any():
        raise PyamaError(f"tracking_method: frame {frame}: labels must ascend; cells count from 1, none twice")
    return mapping


def main(source: str, output: str, tracking_method: str, **settings: Any) -> None:
    with plugins.blamed(tracking_method, "tracking_method"):
        mappings = track_movie(Path(source), Path(output), tracker(tracking_method, settings))
    lengths = np.bincount(np.concatenate([iou.tracks_of(mapping) for mapping in mappings]))[1:]
    job.log.info("%d cells; frames per cell: %s", len(lengths), np.sort(lengths)[::-1].tolist())
    job.log.info("cells per frame: %s", [len(iou.tracks_of(mapping)) for mapping in mappings])
    shared = {frame: len(mapping.parts) for frame, mapping in enumerate(mappings) if mapping.parts}
    if shared:
        job.log.info("cells that touch others and were kept apart, by frame: %s", shared)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.labeled, snakemake.output.tracked, **settings)
