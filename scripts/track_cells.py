"""Stage 3, tracking: give the same label to the same cell in all frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import plugins
from celltraces.errors import UserError
from celltraces.frames import stage_movement
from celltraces.labels.regions import FrameTracks, relabel, tracks_of
from celltraces.runs import job
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing
from celltraces.tracking import stage_places
from celltraces.tracking.methods import Track, checked_tracks, tracker


def track_movie(
    source: Path, output: Path, track: Track, movement: Mapping[str, Sequence[Any]] | None = None
) -> list[FrameTracks]:
    """Write the (T, H, W) array of tracked labels and return which label is which cell in each frame.

    uint16, or uint32 when there are more than 65,535 cells. Frames are read twice and held one at a time. movement: of
    the stage, as measured; the attribute `stage_places` says what linking made of it, where there was any.
    """
    labeled = open_frames(source)
    n_frames = labeled.shape[0]
    mappings = [checked_tracks(entry, frame) for frame, entry in enumerate(track(map(labeled.read, range(n_frames))))]
    if len(mappings) != n_frames:
        raise UserError(f"tracking_method: {n_frames} frames were given and {len(mappings)} came back")
    places = stage_places.as_attribute([mapping.place for mapping in mappings], movement, labeled.shape[1:])
    n_cells = max((int(tracks_of(mapping).max(initial=0)) for mapping in mappings), default=0)
    dtype = np.uint16 if n_cells <= np.iinfo(np.uint16).max else np.uint32
    attributes = {"display_limits": [0, n_cells], **places}
    with writing(output, labeled.shape, dtype, LABELS, attributes=attributes) as append:
        for frame, mapping in enumerate(mappings):
            append(relabel(labeled.read(frame), mapping, dtype))
    return mappings


def main(source: str, output: str, tracking_method: str, *, phase_contrast: str | None = None, **settings: Any) -> None:
    images = open_frames(Path(phase_contrast)) if phase_contrast else None
    movement = images.attributes.get(stage_movement.ATTRIBUTE) if images else None
    with plugins.blamed(tracking_method, "tracking_method"):
        mappings = track_movie(Path(source), Path(output), tracker(tracking_method, settings, movement), movement)
    lengths = np.bincount(np.concatenate([tracks_of(mapping) for mapping in mappings]))[1:]
    job.log.info("%d cells; frames per cell: %s", len(lengths), np.sort(lengths)[::-1].tolist())
    job.log.info("cells per frame: %s", [len(tracks_of(mapping)) for mapping in mappings])
    places = [mapping.place for mapping in mappings]
    moved = {frame: places[frame] for frame in range(1, len(places)) if places[frame] != places[frame - 1]}
    if moved:
        job.log.info("linked at the places (y, x) to which the stage moved, from frame: %s", moved)
    shared = {frame: len(mapping.parts) for frame, mapping in enumerate(mappings) if mapping.parts}
    if shared:
        job.log.info("cells that touch others and were kept apart, by frame: %s", shared)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.labeled, snakemake.output.tracked, phase_contrast=snakemake.input.pc, **settings)
