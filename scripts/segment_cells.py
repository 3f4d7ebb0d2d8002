"""Stage 2, segmentation: labels 1..N of the cells in each phase-contrast frame."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyama import job, plugins, store
from pyama.errors import PyamaError
from pyama.recipe import LABELS, read_recipe

Segment = Callable[[np.ndarray], np.ndarray]  # (H, W) uint16 -> (H, W) labels


def segmenter(method: str, settings: Mapping[str, Any], recipe: str | None = None) -> Segment:
    """The function that labels one frame by `method` with the stage's settings.

    A recipe makes an image of the frame before, or the labels themselves.
    """
    if recipe:
        prepare = read_recipe(recipe)
        if prepare.makes == LABELS:
            return lambda image: in_raster_order(prepare.run(image))
        segment = segmenter(method, settings)
        return lambda image: segment(np.rint(np.clip(prepare.run(image), 0, 65535)).astype(np.uint16))
    if method == "logstd":
        from pyama import logstd

        return partial(logstd.segment_frame, **settings)
    if method == "pyama":
        from pyama import legacy

        return legacy.segment_frame
    if method == "cellpose":
        from pyama.cellpose_method import cellpose_segmenter

        return cellpose_segmenter(settings["min_object_size"])
    return plugins.load_function(method, "segmentation_method")


def in_raster_order(labels: np.ndarray) -> np.ndarray:
    """The same regions, numbered 1..N by their first pixel."""
    found, first, where = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.where(found == 0, -1, first))
    numbers = np.empty(len(found), np.int64)
    numbers[order] = np.arange(len(found)) + (0 not in found)
    return numbers[where].reshape(labels.shape)


def segment_movie(source: Path, output: Path, segment: Segment) -> list[int]:
    """Label every frame of a (T, H, W) array; frames that the file did not hold get no cells.

    Labels are uint16, or uint32 when a frame has more than 65,535. Returns the number of cells per frame.
    """
    frames = store.open_frames(source)
    try:
        return _write_labels(frames, output, segment, np.uint16)
    except OverflowError:
        return _write_labels(frames, output, segment, np.uint32)


def _write_labels(frames: store.Frames, output: Path, segment: Segment, dtype: type[np.integer]) -> list[int]:
    n_frames, height, width = frames.shape
    counts = []
    attributes: dict[str, Any] = {}
    with store.writing(output, frames.shape, dtype, store.LABELS, attributes=attributes) as append:
        for frame in range(n_frames):
            if frames.present(frame):
                labels = checked(segment(frames.read(frame)), (height, width), frame)
            else:
                labels = np.zeros((height, width), dtype)
            highest = int(labels.max(initial=0))
            if highest > np.iinfo(dtype).max:
                raise OverflowError
            counts.append(highest)
            append(labels.astype(dtype))
        attributes["display_limits"] = [0, max(counts)]
    return counts


def checked(labels: Any, shape: tuple[int, int], frame: int) -> np.ndarray:
    """What a method returned, if it is a label image."""
    labels = np.asarray(labels)
    if labels.shape != shape or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise PyamaError(
            f"segmentation_method: frame {frame}: expected labels of shape {shape} (integers from 0), "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    return labels


def main(source: str, output: str, segmentation_method: str, recipe: str | None = None, **settings: Any) -> None:
    with plugins.blamed(segmentation_method, "segmentation_method"):
        counts = segment_movie(Path(source), Path(output), segmenter(segmentation_method, settings, recipe))
    job.log.info("cells per frame: %s", counts)
    empty = [frame for frame, count in enumerate(counts) if not count]
    if empty:
        job.log.warning("no cells in frames %s", empty)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.pc, snakemake.output.labeled, **settings)
