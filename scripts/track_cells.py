"""Give the same label to the same cell in all frames, and find cells that divide."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import plugins
from celltraces.errors import UserError
from celltraces.frames import stage_movement
from celltraces.labels import lineage
from celltraces.labels.regions import FrameTracks, relabel, tracks_of
from celltraces.labels.shapes import RegionShapes, shapes
from celltraces.runs import job
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import open_frames, writing
from celltraces.tracking import region_window, shared_regions, stage_places
from celltraces.tracking.divisions import find_divisions, numbered
from celltraces.tracking.methods import Track, checked_tracks, tracker
from celltraces.tracking.sightings import sightings_of


def track_movie(
    source: Path,
    output: Path,
    track: Track,
    movement: Mapping[str, Sequence[Any]] | None = None,
    dividing: Mapping[str, Any] | None = None,
    max_touching: int = 0,
) -> tuple[list[FrameTracks], list[lineage.Division]]:
    """Write the (T, H, W) array of tracked labels and return which label is which cell in each frame, and divisions.

    uint16, or uint32 when there are more than 65,535 cells. Frames are read twice and held one at a time. movement: of
    the stage, as measured; the attribute `stage_places` says what linking made of it, where there was any. dividing:
    the settings of `find_divisions`; None where divisions are not to be found. max_touching: see `part_regions`; with 0
    regions are taken as they are.
    """
    labeled = open_frames(source)
    n_frames = labeled.shape[0]
    found: list[RegionShapes] = []
    parted: list[region_window.Parts] = []

    def frames() -> Iterator[np.ndarray]:
        for labels, parts in shared_regions.part_regions(map(labeled.read, range(n_frames)), max_touching, movement):
            parted.append(parts)
            if dividing is not None:
                found.append(shapes(labels))
            yield labels

    images = frames()
    mappings = [checked_tracks(entry, frame) for frame, entry in enumerate(track(images))]
    for _ in images:  # a method of the user's may not ask for all of them
        pass
    if len(mappings) != n_frames:
        raise UserError(f"tracking_method: {n_frames} frames were given and {len(mappings)} came back")
    places = stage_places.places_attribute([mapping.place for mapping in mappings], movement, labeled.shape[1:])
    divisions: list[lineage.Division] = []
    if dividing is not None:
        moved = np.array([mapping.place or (0, 0) for mapping in mappings])
        seen = sightings_of(mappings, found, labeled.shape[1:], moved)
        mappings, divisions = numbered(
            mappings,
            seen,
            find_divisions(seen, **dividing),
            lambda frame: region_window.with_parts(labeled.read(frame), parted[frame]),
        )
    n_cells = max((int(tracks_of(mapping).max(initial=0)) for mapping in mappings), default=0)
    dtype = np.uint16 if n_cells <= np.iinfo(np.uint16).max else np.uint32
    attributes = {"display_limits": [0, n_cells], **places}
    with writing(output, labeled.shape, dtype, LABELS, attributes=attributes) as append:
        for frame, mapping in enumerate(mappings):
            append(relabel(region_window.with_parts(labeled.read(frame), parted[frame]), mapping, dtype))
    counts = {frame: len(parts) for frame, parts in enumerate(parted) if parts}
    if counts:
        job.log.info("cells that share a region with others for a while and were parted, by frame: %s", counts)
    return mappings, divisions


def main(
    source: str,
    output: str,
    table: str,
    tracking_method: str,
    *,
    fov: int,
    divisions: bool,
    max_touching: int,
    phase_contrast: str | None = None,
    **settings: Any,
) -> None:
    """settings: of the method and, where divisions are to be found, `max_gap` and those that begin with division_."""
    dividing = {key: settings.pop(key) for key in [*settings] if key.startswith("division_")}
    if divisions:
        dividing["max_gap"] = settings["max_gap"]
    images = open_frames(Path(phase_contrast)) if phase_contrast else None
    movement = images.attributes.get(stage_movement.ATTRIBUTE) if images else None
    with plugins.blamed(tracking_method, "tracking_method"):
        track = tracker(tracking_method, settings, movement)
        mappings, found = track_movie(
            Path(source), Path(output), track, movement, dividing if divisions else None, max_touching
        )
    lineage.write_lineage(Path(table), fov, lineage.first_and_last(map(tracks_of, mappings)), found)
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
    job.log.info("%d divisions", len(found))
    for parent, daughters, frame in found:
        job.log.info("cell %d divides into %s in frame %d", parent, " and ".join(map(str, daughters)), frame)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.input.labeled,
            snakemake.output.tracked,
            snakemake.output.lineage,
            phase_contrast=snakemake.input.pc,
            **settings,
        )
