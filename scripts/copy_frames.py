"""Copy the frames of one FOV from the input file into images.zarr, one array per channel.

Planes that are not in the file are written as zeros and listed in the array's attribute `missing_frames`; nothing
is shifted into their place. So are frames of one value throughout that were not taken, with the pixels that they have
(see celltraces.frames.blank). Pixels on which a mosaic has no tile, and blank areas, are zeros that the attribute
`uncovered` names (see celltraces.frames.coverage). The attribute `frame_statistics` holds what the quality checks need,
`stage_movement` how far each frame is displaced, `likeness` how like a frame of fluorescence is to the one before,
`odd_parts` which frames show something else in a part, `repeated` which repeat parts of another image and how much,
`display_limits` what the display level needs, `dead_lines` the columns and rows without an image of their own,
`cut_off` where fluorescence has its highest value, `hot_pixels` its pixels that are bright in all frames,
`z_planes` the planes of which the highest value was taken.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.frames import (
    blank,
    blank_areas,
    camera_faults,
    coverage,
    cut_off,
    displacement,
    hot_pixels,
    likeness,
    odd_parts,
    repeats,
    stage_movement,
    z_stacks,
)
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


@dataclass
class _Channel:
    """What is learned of a channel while its frames are copied, one after the other."""

    number: int
    states: np.ndarray  # (T, Z) int8, see z_stacks
    follow: Callable[[int, np.ndarray | None], dict[str, float | None]] | None  # None: its movement is not measured
    liken: Callable[[np.ndarray | None], float | None] | None  # None: how like its frames are is not measured
    missing: list[int] = field(default_factory=list)
    statistics: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in NO_STATISTICS})
    movement: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in stage_movement.NAMES})
    counts: np.ndarray = field(default_factory=lambda: np.zeros(display_level.COUNTS, np.int64))
    """Number of pixels by value, of all frames but those of one value."""
    of_one_value: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Value and number of pixels of each frame of one value."""
    uncovered: list[Boxes] = field(default_factory=list)
    repeated: list[tuple[int, float, float]] = field(default_factory=list)
    likeness: list[float | None] = field(default_factory=list)
    parts: tuple[odd_parts.Look, list[tuple[int, float]]] = field(default_factory=odd_parts.odd_parts_follower)
    dead_lines: camera_faults.Lines | None = None
    cut_off: list[tuple[int, int, int, int]] = field(default_factory=list)
    hot_pixels: np.ndarray | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    """Of the array; empty until all frames are copied."""


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

    states: by channel (T, Z), see z_stacks; of these the first `known` frames are filled in, the others here.
    """
    names = [output.parent.name for output in outputs]
    looked_at = [name for name in names if paths.is_phase_contrast(name)] or names
    copied = [
        _Channel(
            number,
            states[number],
            displacement.follower() if name in looked_at else None,
            None if paths.is_phase_contrast(name) else likeness.likeness_follower(),
        )
        for number, name in zip(channels, names, strict=True)
    ]
    repeated_shares = repeats.watcher()
    nothing = np.zeros(shape[1:], np.uint16)
    with ExitStack() as stack:
        read = stack.enter_context(open_movie(raw, pyme))
        appends = [
            stack.enter_context(writing(output, tuple(shape), np.uint16, PIXELS, attributes=channel.attributes))
            for output, channel in zip(outputs, copied, strict=True)
        ]
        for frame in range(shape[0]):
            stacks = zip(*(read(fov, frame, channels, plane) for plane in planes), strict=True)
            for append, channel, images in zip(appends, copied, stacks, strict=True):
                if _is_whole(channel, frame, images, known):
                    present = [plane for plane, image in zip(planes, images, strict=True) if image is not None]
                    without_tile = [read.uncovered(fov, frame, channel.number, plane) for plane in present]
                    image, without_data, counts = _highest(images, without_tile)
                    append(image)
                    _note(channel, frame, image, without_data, counts)
                    shares = repeated_shares(channel.number, image, counts)
                    if any(shares):
                        channel.repeated.append((frame, *(round(share, 6) for share in shares)))
                else:
                    append(nothing)
                    _note_missing(channel, frame)
        for channel in copied:
            channel.attributes.update(_attributes(channel, planes))
    return {channel.number: channel.attributes["missing_frames"] for channel in copied}


def _is_whole(channel: _Channel, frame: int, images: Sequence[np.ndarray | None], known: int) -> bool:
    """Whether the file holds all planes of a frame that the channel is taken in; images: (H, W) each, None: not there.

    Notes which planes there are. Of a stack the frames up to this one tell what is taken, or the first `known` ones.
    """
    if len(images) == 1:
        return images[0] is not None
    channel.states[frame] = [z_stacks.state_of(image) for image in images]
    whole = not z_stacks.incomplete(channel.states[: max(known, frame + 1)])[frame]
    return whole and any(image is not None for image in images)


def _highest(
    images: Sequence[np.ndarray | None], without_tile: Sequence[Boxes]
) -> tuple[np.ndarray, Boxes, np.ndarray]:
    """The highest value of each pixel (H, W) uint16, which pixels hold no data, number of the others by value (n,).

    without_tile: where no tile lies, for each of the images that is there.
    """
    image = reduce(np.maximum, (image for image in images if image is not None))
    of_tiles = coverage.of_any(without_tile, image.shape)
    image = coverage.blanked(image, of_tiles)
    counts = display_level.count_pixels(image)
    without_data = blank_areas.find_blank_areas(image, int(counts[0]), of_tiles)
    if without_data is not of_tiles:
        image = coverage.blanked(image, without_data)
        counts = display_level.count_pixels(image)
    counts[0] -= coverage.area_of(without_data)
    return image, without_data, counts


def _note(channel: _Channel, frame: int, image: np.ndarray, without_data: Boxes, counts: np.ndarray) -> None:
    """Note what a frame (H, W) tells, of itself and beside the frames before. counts: of its pixels by value, (n,)."""
    is_blank = blank.is_blank(counts)
    if is_blank:
        channel.of_one_value[frame] = len(counts) - 1, int(counts[-1])
    else:
        channel.counts[: len(counts)] += counts
        channel.dead_lines = camera_faults.dead_lines(image, without_data, channel.dead_lines)
        if channel.liken is not None:
            channel.hot_pixels = hot_pixels.look(image, counts, channel.hot_pixels)
            channel.cut_off += ((frame, *piece) for piece in cut_off.pieces(image, counts))
    for name, value in frame_statistics(image, counts, without_data).items():
        channel.statistics[name].append(value)
    channel.uncovered.append(without_data)
    picture = covered_picture(image, without_data)
    small = likeness.small_picture(picture)
    if not is_blank:
        channel.parts[0](frame, small)
    _compare(channel, frame, picture, small)


def _note_missing(channel: _Channel, frame: int) -> None:
    channel.missing.append(frame)
    for name, value in NO_STATISTICS.items():
        channel.statistics[name].append(value)
    channel.uncovered.append(())
    _compare(channel, frame, None, None)


def _compare(channel: _Channel, frame: int, picture: np.ndarray | None, small: np.ndarray | None) -> None:
    """Note how like a frame is to the one before, and how the stage moved; None: the file does not hold the frame."""
    if channel.liken is not None:
        channel.likeness.append(channel.liken(small))
    if channel.follow is not None:
        for name, value in channel.follow(frame, picture).items():
            channel.movement[name].append(value)


def _attributes(channel: _Channel, planes: Sequence[int | None]) -> dict[str, Any]:
    """The attributes of the channel's array when all frames are copied; raises _SeenTooLate."""
    untaken = blank.not_taken(channel.of_one_value, channel.counts)
    counts = channel.counts.copy()
    for frame, (value, n_pixels) in channel.of_one_value.items():
        counts[value] += 0 if frame in untaken else n_pixels
    attributes: dict[str, Any] = {
        "missing_frames": sorted({*channel.missing, *untaken}),
        "frame_statistics": channel.statistics,
        "display_limits": [*display_level.limits_of_counts(counts)],
    }
    if len(planes) > 1:
        lacking = set(np.flatnonzero(z_stacks.incomplete(channel.states)).tolist())
        if set(attributes["missing_frames"]) - untaken != lacking:
            raise _SeenTooLate
        attributes["z_planes"] = [planes[at] for at in z_stacks.planes_taken(channel.states)]
    if channel.follow is not None:
        attributes[stage_movement.ATTRIBUTE] = channel.movement
    if channel.liken is not None:
        attributes[likeness.ATTRIBUTE] = channel.likeness
    spans = coverage.as_attribute(channel.uncovered)
    if spans:
        attributes[coverage.ATTRIBUTE] = spans
    if channel.dead_lines is not None and any(map(len, channel.dead_lines)):
        attributes[camera_faults.ATTRIBUTE] = {
            name: lines.tolist() for name, lines in channel.dead_lines._asdict().items()
        }
    if channel.hot_pixels is not None and len(channel.hot_pixels):
        attributes[hot_pixels.ATTRIBUTE] = channel.hot_pixels.astype(int).tolist()
    if channel.cut_off:
        attributes[cut_off.ATTRIBUTE] = channel.cut_off
    if channel.parts[1]:
        attributes[odd_parts.ATTRIBUTE] = channel.parts[1]
    if channel.repeated:
        attributes[repeats.ATTRIBUTE] = channel.repeated
    return attributes


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
