"""Stage 1, copying: copy the frames of one FOV from the input file into images.zarr, one array per channel.

Planes that are not in the file are written as zeros and listed in the array's attribute `missing_frames`; nothing
is shifted into their place. So are frames of one value throughout that were not taken, with the pixels that they have
(see celltraces.frames.blank). Pixels on which a mosaic has no tile, and blank borders, are zeros that the attribute
`uncovered` names (see celltraces.frames.coverage). The attribute `frame_statistics` holds what the quality checks need,
`stage_movement` how far each frame is displaced, `repeated` which frames repeat parts of another image and how much,
`display_limits` what the display level needs, `z_planes` the planes of which the highest value was taken.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.frames import blank, coverage, repeats, stage_movement, z_stacks
from celltraces.frames.coverage import Boxes
from celltraces.frames.statistics import NO_STATISTICS, frame_statistics
from celltraces.pyme import spool
from celltraces.readers.movie_file import open_movie
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import writing


def copy_frames(
    raw: Path,
    outputs: Sequence[Path],
    *,
    fov: int,
    channels: Sequence[int],
    shape: Sequence[int],
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = spool.DEFAULTS,
) -> dict[int, list[int]]:
    """Copy `channels` of one FOV, each (T, H, W) uint16, to `outputs`, one frame in memory at a time.

    Of several z `planes` the highest value of each pixel is taken; [None] stands for a file without z. Returns the
    frames that the file does not hold, by channel; one that lacks some of the planes that its channel is taken in is
    one of them, and where that is seen only in later frames, the copy is made a second time.
    """
    sizes = {"fov": fov, "channels": channels, "shape": shape, "planes": planes, "pyme": pyme}
    states = {channel: np.full((shape[0], len(planes)), z_stacks.ABSENT, np.int8) for channel in channels}
    try:
        return _copy_once(raw, outputs, states, known=0, **sizes)
    except _SeenTooLate:
        job.log.info("planes that the first frames lack were found in later ones: the copy is made a second time")
        return _copy_once(raw, outputs, states, known=shape[0], **sizes)


class _SeenTooLate(Exception):
    """A frame was copied that lacks a plane, as later frames show."""


def _copy_once(
    raw: Path,
    outputs: Sequence[Path],
    states: Mapping[int, np.ndarray],
    *,
    known: int,
    fov: int,
    channels: Sequence[int],
    shape: Sequence[int],
    planes: Sequence[int | None],
    pyme: Mapping[str, Any],
) -> dict[int, list[int]]:
    """As `copy_frames`, or raise _SeenTooLate and leave no outputs.

    states: by channel (T, Z), see zstacks; of these the first `known` frames are filled in, the others here.
    """
    n_frames, height, width = shape
    missing: dict[int, list[int]] = {channel: [] for channel in channels}
    statistics: dict[int, dict[str, list[Any]]] = {
        channel: {name: [] for name in NO_STATISTICS} for channel in channels
    }
    names = [output.parent.name for output in outputs]
    looked_at = [name for name in names if paths.is_phase_contrast(name)] or names
    followers = {
        channel: stage_movement.follower() for channel, name in zip(channels, names, strict=True) if name in looked_at
    }
    movement: dict[int, dict[str, list[Any]]] = {
        channel: {name: [] for name in stage_movement.NAMES} for channel in followers
    }
    counts = {channel: np.zeros(display_level.COUNTS, np.int64) for channel in channels}
    of_one_value: dict[int, dict[int, tuple[int, int]]] = {channel: {} for channel in channels}
    limits: dict[int, list[int]] = {channel: [] for channel in channels}
    nothing = np.zeros((height, width), np.uint16)
    stacked = len(planes) > 1
    taken: dict[int, list[int]] = {channel: [] for channel in channels}
    uncovered: dict[int, list[Boxes]] = {channel: [] for channel in channels}
    repeated: dict[int, list[tuple[int, float, float]]] = {channel: [] for channel in channels}
    look_for_repeats = repeats.watcher()
    attributes: dict[int, dict[str, Any]] = {
        channel: {
            "missing_frames": missing[channel],
            "frame_statistics": statistics[channel],
            "display_limits": limits[channel],
        }
        | ({"z_planes": taken[channel]} if stacked else {})
        | ({stage_movement.ATTRIBUTE: movement[channel]} if channel in movement else {})
        for channel in channels
    }
    with ExitStack() as stack:
        read = stack.enter_context(open_movie(raw, pyme))
        appends = [
            stack.enter_context(
                writing(
                    output,
                    (n_frames, height, width),
                    np.uint16,
                    PIXELS,
                    attributes=attributes[channel],
                )
            )
            for output, channel in zip(outputs, channels, strict=True)
        ]
        for frame in range(n_frames):
            stacks = zip(*(read(fov, frame, channels, plane) for plane in planes), strict=True)
            for append, channel, images in zip(appends, channels, stacks, strict=True):
                present = [plane for plane, image in zip(planes, images, strict=True) if image is not None]
                if stacked:
                    states[channel][frame] = [z_stacks.state_of(image) for image in images]
                    if z_stacks.incomplete(states[channel][: max(known, frame + 1)])[frame]:
                        present = []
                image, without_data = nothing, ()
                of_frame = NO_STATISTICS
                if present:
                    without_tile = [read.uncovered(fov, frame, channel, plane) for plane in present]
                    image = reduce(np.maximum, (image for image in images if image is not None))
                    of_tiles = coverage.of_any(without_tile, image.shape)
                    image = coverage.blanked(image, of_tiles)
                    counts_of_frame = display_level.count_pixels(image)
                    without_data = coverage.find(image, int(counts_of_frame[0]), of_tiles)
                    if without_data is not of_tiles:
                        image = coverage.blanked(image, without_data)
                        counts_of_frame = display_level.count_pixels(image)
                    counts_of_frame[0] -= coverage.area_of(without_data)
                    if blank.is_blank(counts_of_frame):
                        of_one_value[channel][frame] = len(counts_of_frame) - 1, int(counts_of_frame[-1])
                    else:
                        counts[channel][: len(counts_of_frame)] += counts_of_frame
                    of_frame = frame_statistics(image, counts_of_frame, without_data)
                    shares = look_for_repeats(channel, image, counts_of_frame)
                    if any(shares):
                        repeated[channel].append((frame, *(round(share, 6) for share in shares)))
                append(image)
                uncovered[channel].append(without_data)
                if not present:
                    missing[channel].append(frame)
                for name, value in of_frame.items():
                    statistics[channel][name].append(value)
                if channel in followers:
                    moved = followers[channel](frame, covered_picture(image, without_data) if present else None)
                    for name, value in moved.items():
                        movement[channel][name].append(value)
        for channel in channels:
            untaken = blank.not_taken(of_one_value[channel], counts[channel])
            missing[channel][:] = sorted({*missing[channel], *untaken})
            for frame, (value, n_pixels) in of_one_value[channel].items():
                counts[channel][value] += 0 if frame in untaken else n_pixels
            limits[channel] += display_level.limits_of_counts(counts[channel])
            if stacked:
                if set(missing[channel]) - untaken != set(
                    np.flatnonzero(z_stacks.incomplete(states[channel])).tolist()
                ):
                    raise _SeenTooLate
                taken[channel] += [planes[at] for at in z_stacks.planes_taken(states[channel])]
            spans = coverage.as_attribute(uncovered[channel])
            if spans:
                attributes[channel][coverage.ATTRIBUTE] = spans
            if repeated[channel]:
                attributes[channel][repeats.ATTRIBUTE] = repeated[channel]
    return missing


def covered_picture(image: np.ndarray, uncovered: Boxes) -> np.ndarray:
    """The frame (H, W) mirrored where it is uncovered, so that the edge of what was imaged is no structure in it."""
    if not uncovered:
        return image
    return coverage.continued(image, coverage.mask_of_boxes(uncovered, image.shape), mirrored=True)


def main(raw: str, outputs: Sequence[str], **plan: Any) -> None:
    missing = copy_frames(Path(raw), [Path(output) for output in outputs], **plan)
    job.log.info("copied %d frames of %d channels", plan["shape"][0], len(missing))
    for channel, frames in missing.items():
        if frames:
            job.log.warning(
                "channel %d: %d frames are not, or not wholly, in the file, or hold one value throughout: %s",
                channel,
                len(frames),
                frames,
            )


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(outputs=snakemake.output.frames, **settings)
