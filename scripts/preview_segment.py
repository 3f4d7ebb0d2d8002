"""Preview: segment a few frames of the input file with one set of parameters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.frames import coverage
from celltraces.labels import left_out
from celltraces.pyme import spool
from celltraces.readers.movie_file import open_movie, read_frame
from celltraces.runs import job
from celltraces.segmentation.methods import Segment, label_frame, segmenter
from celltraces.storage import cells
from celltraces.storage.codecs import LABELS


def segment_frames(
    raw: Path,
    output: Path,
    segment: Segment,
    *,
    frames: Sequence[tuple[int, int]],
    channel: int,
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = spool.DEFAULTS,
) -> list[int]:
    """Label `frames` (FOV, frame) of a channel; arrays "{fov}/{frame}", (H, W), in a store at `output`.

    A frame that the file does not hold is left out; the store's attribute `frames` lists the others. Where the method
    tells what it left out, that is beside the labels, and listed in `left_out`. Returns the numbers of cells.
    """
    counts, labeled, told = [], [], []
    with cells.new_store(output) as put, open_movie(raw, pyme) as read:
        for fov, frame in frames:
            image = read_frame(read, fov, frame, channel, planes)
            if image is None:
                continue
            tiles = [read.uncovered(fov, frame, channel, plane) for plane in planes]
            of_tiles = coverage.of_any(tiles, image.shape)
            image = coverage.blanked(image, of_tiles)
            uncovered = coverage.find(image, np.count_nonzero(image == 0), of_tiles)
            image = coverage.blanked(image, uncovered)
            labels, rejected = label_frame(segment, image, uncovered, frame)
            counts.append(int(labels.max(initial=0)))
            dtype = np.uint16 if counts[-1] <= np.iinfo(np.uint16).max else np.uint32
            cells.put_array(put, f"{fov}/{frame}", labels.astype(dtype), LABELS)
            if rejected is not None:
                cells.put_array(put, f"{fov}/{frame}_{left_out.ATTRIBUTE}", rejected, LABELS)
                told.append((fov, frame))
            labeled.append((fov, frame))
        cells.put_group(put, "", {"frames": labeled, left_out.ATTRIBUTE: told})
    return counts


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
    **settings: Any,
) -> None:
    segment = segmenter(segmentation_method, settings, recipe)
    reading = {"frames": frames, "channel": channel, "planes": planes, "pyme": pyme}
    counts = segment_frames(Path(raw), Path(output), segment, **reading)
    job.log.info("cells per frame: %s", counts)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(output=snakemake.output.labels, **settings)
