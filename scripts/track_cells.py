"""Stage 3, tracking: the same label for the same cell in all frames."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyama import job, methods, store
from pyama.errors import PyamaError

Track = Callable[[Iterable[np.ndarray]], list[np.ndarray]]  # label images -> for each frame the cell of each label


def tracker(method: str, settings: Mapping[str, Any]) -> Track:
    """The function that numbers the cells of a movie by `method` with the stage's settings."""
    if method == "iou":
        from pyama import iou

        return partial(iou.track, **settings)
    if method == "btrack":
        return partial(methods.btrack_track, max_gap=settings["max_gap"])
    return methods.load_function(method, "tracking_method")


def track_movie(source: Path, output: Path, track: Track) -> list[np.ndarray]:
    """Write the (T, H, W) array of tracked labels and return, for each frame, the cell of each label.

    uint16, or uint32 when there are more than 65,535 cells. Frames are read twice and held one at a time.
    """
    labeled = store.open_frames(source)
    n_frames = labeled.shape[0]
    highest = [0] * n_frames

    def frames() -> Iterator[np.ndarray]:
        for frame in range(n_frames):
            labels = labeled.read(frame)
            highest[frame] = int(labels.max(initial=0))
            yield labels

    tables = [np.asarray(table) for table in track(frames())]
    _check(tables, highest)
    n_cells = max((int(table.max(initial=0)) for table in tables), default=0)
    dtype = np.uint16 if n_cells <= np.iinfo(np.uint16).max else np.uint32
    with store.writing(output, labeled.shape, dtype, store.LABELS) as append:
        for frame, table in enumerate(tables):
            append(table.astype(dtype)[labeled.read(frame)])
    return tables


def _check(tables: list[np.ndarray], highest: list[int]) -> None:
    """That what a method returned numbers every label of every frame, and no two alike."""
    if len(tables) != len(highest):
        raise PyamaError(f"tracking_method: {len(highest)} frames were given and {len(tables)} tables came back")
    for frame, (table, labels) in enumerate(zip(tables, highest, strict=True)):
        cells = table[table != 0]
        if table.shape != (labels + 1,) or table[0] != 0 or (cells < 0).any() or len(np.unique(cells)) != len(cells):
            raise PyamaError(
                f"tracking_method: frame {frame}: expected an array of {labels + 1} cells, one per label, 0 first, "
                "none twice"
            )


def main(source: str, output: str, tracking_method: str, **settings: Any) -> None:
    settings.pop("files", None)
    tables = track_movie(Path(source), Path(output), tracker(tracking_method, settings))
    lengths = np.bincount(np.concatenate([table[table != 0] for table in tables]).astype(np.int64))[1:]
    job.log.info("%d cells; frames per cell: %s", len(lengths), np.sort(lengths)[::-1].tolist())
    job.log.info("cells per frame: %s", [np.count_nonzero(table) for table in tables])


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.labeled, snakemake.output.tracked, **settings)
