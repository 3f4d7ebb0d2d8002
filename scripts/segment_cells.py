"""Label the cells 1..N in each phase-contrast frame."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import plugins
from celltraces.config.stage_settings import is_network
from celltraces.frames import coverage
from celltraces.labels import left_out
from celltraces.runs import job
from celltraces.segmentation.floating import without_floating
from celltraces.segmentation.methods import Segment, attributes_of, label_frame, segmenter
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import Frames, open_frames, writing


def segment_movie(source: Path, output: Path, segment: Segment, *, floating: bool = True) -> list[int]:
    """Label every frame of a (T, H, W) array; frames that the file did not hold get no cells.

    Labels are uint16, or uint32 when a frame has more than 65,535. Returns the number of cells per frame. Where the
    method tells which regions it left out, the array's attributes tell it (`left_out`). floating: whether small objects
    that are in one frame only stay.
    """
    frames = open_frames(source)
    try:
        return _write_labels(frames, output, segment, np.uint16, floating)
    except OverflowError:
        return _write_labels(frames, output, segment, np.uint32, floating)


def _label_frames(frames: Frames, segment: Segment) -> Iterator[tuple[np.ndarray, np.ndarray | None] | None]:
    """What `label_frame` gives for each frame; None for one that the file did not hold."""
    for frame in range(frames.shape[0]):
        if frames.present(frame):
            boxes = coverage.of_frame(frames.attributes, frame)
            yield label_frame(segment, frames.read(frame), boxes, frame)
        else:
            yield None


def _write_labels(frames: Frames, output: Path, segment: Segment, dtype: type[np.integer], floating: bool) -> list[int]:
    _, height, width = frames.shape
    counts = []
    attributes: dict[str, Any] = {}
    counted: list[dict[str, int | None]] = []
    shown = left_out.middle_frame(frames)
    with writing(output, frames.shape, dtype, LABELS, attributes=attributes) as append:
        found = _label_frames(frames, segment)
        for frame, labelled in enumerate(found if floating else without_floating(found)):
            if labelled is None:
                labels, rejected = np.zeros((height, width), dtype), np.zeros((height, width), np.uint8)
            else:
                labels, rejected = labelled
            highest = int(labels.max(initial=0))
            if highest > np.iinfo(dtype).max:
                raise OverflowError
            counts.append(highest)
            append(labels.astype(dtype))
            counted.append(left_out.count(labels, rejected))
            if frame == shown and rejected is not None:
                attributes[left_out.SHOWN] = left_out.to_show(frame, rejected)
        attributes["display_limits"] = [0, max(counts)]
        attributes[left_out.ATTRIBUTE] = left_out.counts_by_frame(counted)
        attributes |= attributes_of(segment)
    return counts


def main(
    source: str,
    output: str,
    segmentation_method: str,
    recipe: str | None = None,
    *,
    scale: str | None = None,
    **settings: Any,
) -> None:
    """scale: the file with the scale that was found for the dataset, where a network needs one."""
    if scale:
        settings |= json.loads(Path(scale).read_text(encoding="utf-8"))
    with plugins.blamed(segmentation_method, "segmentation_method"):
        segment = segmenter(segmentation_method, settings, recipe)
        # Labels of a recipe are the cells as they are: then there is no such setting.
        floating = not (is_network(segmentation_method) and settings.get("segmentation_debris"))
        counts = segment_movie(Path(source), Path(output), segment, floating=floating)
    job.log.info("cells per frame: %s", counts)
    empty = [frame for frame, count in enumerate(counts) if not count]
    if empty:
        job.log.warning("no cells in frames %s", empty)
    by_frame = open_frames(Path(output)).attributes[left_out.ATTRIBUTE]
    job.log.info("left out by size: %s", left_out.in_words(by_frame))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.pc, snakemake.output.labeled, scale=snakemake.input.get("scale"), **settings)
