"""Segment a few frames of the input file with one set of parameters, for a preview.

A method that cannot be had, or that fails, does not stop the other sets: its store says why, in one line.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import plugins
from celltraces.errors import UserError
from celltraces.labels import left_out
from celltraces.preview.frames import find_scale, read_covered
from celltraces.pyme import spool
from celltraces.readers.movie_file import open_movie
from celltraces.runs import job
from celltraces.segmentation.methods import Segment, label_frame, segmenter
from celltraces.storage import cells
from celltraces.storage.codecs import LABELS

FRAMES, UNCOVERED, FAILED = "frames", "uncovered", "failed"  # attributes of the store


def segment_frames(
    raw: Path,
    output: Path,
    method: str,
    load: Callable[[], Segment],
    *,
    frames: Sequence[tuple[int, int]],
    channel: int,
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = spool.DEFAULTS,
) -> tuple[list[int], list[float], str | None]:
    """Label `frames` (FOV, frame) of a channel; arrays "{fov}/{frame}", (H, W), in a store at `output`.

    load: makes the function that labels a frame by `method`.

    A frame that the file does not hold is left out; the store's attribute `frames` lists the others, `uncovered` the
    boxes without data of each. Where the method tells what it left out, that is beside the labels, and listed in
    `left_out`. Returns the numbers of cells and the CPU seconds per megapixel, by frame, and why the method failed,
    which is also the attribute `failed`; None where it did not.
    """
    counts, seconds, labeled, told, boxes_of = [], [], [], [], []
    failed = None
    with cells.new_store(output) as put, open_movie(raw, pyme) as read:
        try:
            with plugins.blamed(method, "segmentation_method"):
                segment = load()
        except UserError as error:
            failed, frames = str(error), ()
        for fov, frame in frames:
            found = read_covered(read, fov, frame, channel, planes)
            if found is None:
                continue
            image, uncovered = found
            began = time.process_time()
            try:
                with plugins.blamed(method, "segmentation_method"):
                    labels, rejected = label_frame(segment, image, uncovered, frame)
            except UserError as error:
                failed = str(error)
                break
            seconds.append((time.process_time() - began) / (image.size / 1e6))
            counts.append(int(labels.max(initial=0)))
            dtype = np.uint16 if counts[-1] <= np.iinfo(np.uint16).max else np.uint32
            cells.put_array(put, f"{fov}/{frame}", labels.astype(dtype), LABELS)
            if rejected is not None:
                cells.put_array(put, f"{fov}/{frame}_{left_out.ATTRIBUTE}", rejected, LABELS)
                told.append((fov, frame))
            labeled.append((fov, frame))
            boxes_of.append(list(uncovered))
        cells.put_group(put, "", {FRAMES: labeled, UNCOVERED: boxes_of, left_out.ATTRIBUTE: told, FAILED: failed})
    return counts, seconds, failed


def cost(seconds: Sequence[float], megapixels: float) -> str:
    """What a method costs, from the CPU seconds per megapixel of each frame tried, for a dataset of so many megapixels.

    What is done once, as finding a scale, is in the first frame's, so that the median is that of the others.
    """
    usual = statistics.median(seconds[1:] or seconds)
    hours = usual * megapixels / 3600
    total = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
    size = f"{megapixels:,.0f}" if megapixels >= 10 else f"{megapixels:.2g}"
    return f"{usual:.2f} s of CPU time per megapixel; the dataset, {size} megapixels: {total} on one core"


def main(
    raw: str,
    output: str,
    segmentation_method: str,
    recipe: str | None = None,
    *,
    frames: Sequence[tuple[int, int]],
    channel: int,
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = spool.DEFAULTS,
    scale_frames: Sequence[tuple[int, int]] = (),
    megapixels: float = 0,
    pixel_size_um: float | None = None,
    **settings: Any,
) -> None:
    reading = {"channel": channel, "planes": planes, "pyme": pyme}

    def load() -> Segment:
        if scale_frames:
            settings["segmentation_scale"] = find_scale(
                Path(raw), segmentation_method, recipe, frames=scale_frames, pixel_size_um=pixel_size_um, **reading
            )
        return segmenter(segmentation_method, settings, recipe)

    counts, seconds, failed = segment_frames(
        Path(raw), Path(output), segmentation_method, load, frames=frames, **reading
    )
    job.log.info("cells per frame: %s", counts)
    if failed:
        job.log.warning("%spreview without %s: %s", job.SAID, segmentation_method, failed)
    elif seconds:
        job.log.info("%s%s: %s", job.SAID, segmentation_method, cost(seconds, megapixels))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(output=snakemake.output.labels, **settings)
