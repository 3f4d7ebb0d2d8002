"""Stage 2, segmentation: label the cells 1..N in each phase-contrast frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import plugins
from celltraces.frames import coverage
from celltraces.labels import left_out
from celltraces.runs import job
from celltraces.segmentation.methods import Segment, attributes_of, label_frame, segmenter
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import Frames, open_frames, writing


def segment_movie(source: Path, output: Path, segment: Segment) -> list[int]:
    """Label every frame of a (T, H, W) array; frames that the file did not hold get no cells.

    Labels are uint16, or uint32 when a frame has more than 65,535. Returns the number of cells per frame. Where the
    method tells which regions it left out, the array's attributes tell it (`left_out`).
    """
    frames = open_frames(source)
    try:
        return _write_labels(frames, output, segment, np.uint16)
    except OverflowError:
        return _write_labels(frames, output, segment, np.uint32)


def _write_labels(frames: Frames, output: Path, segment: Segment, dtype: type[np.integer]) -> list[int]:
    n_frames, height, width = frames.shape
    counts = []
    attributes: dict[str, Any] = {}
    counted: list[dict[str, int | None]] = []
    shown = left_out.middle_frame(frames)
    with writing(output, frames.shape, dtype, LABELS, attributes=attributes) as append:
        for frame in range(n_frames):
            if frames.present(frame):
                boxes = coverage.of_frame(frames.attributes, frame)
                labels, rejected = label_frame(segment, frames.read(frame), boxes, frame)
            else:
                labels, rejected = np.zeros((height, width), dtype), np.zeros((height, width), np.uint8)
            highest = int(labels.max(initial=0))
            if highest > np.iinfo(dtype).max:
                raise OverflowError
            counts.append(highest)
            append(labels.astype(dtype))
            counted.append(left_out.count(labels, rejected))
            if frame == shown and rejected is not None:
                attributes[left_out.SHOWN] = left_out.to_show(frame, rejected)
        attributes["display_limits"] = [0, max(counts)]
        attributes[left_out.ATTRIBUTE] = left_out.by_frame(counted)
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
        counts = segment_movie(Path(source), Path(output), segmenter(segmentation_method, settings, recipe))
    job.log.info("cells per frame: %s", counts)
    empty = [frame for frame, count in enumerate(counts) if not count]
    if empty:
        job.log.warning("no cells in frames %s", empty)
    by_frame = open_frames(Path(output)).attributes[left_out.ATTRIBUTE]
    job.log.info("left out by size: %s", left_out.described(by_frame))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.pc, snakemake.output.labeled, scale=snakemake.input.get("scale"), **settings)
