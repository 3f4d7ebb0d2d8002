"""Apply a person's corrections: their labels take the place of the tracked ones before cropping.

The correction is a DeepCell Label project (or a .trk of deepcell-tracking) that was made from this very FOV, which is
proved by its pixels. Where its cells lie over each other the label image shows the lowest number, and the pixels that
the others lose are kept beside it (celltraces.labels.shared_pixels). Divisions become the lineage table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from celltraces.errors import UserError
from celltraces.exports import ome
from celltraces.exports.deepcell_label import Project, reading_project
from celltraces.exports.deepcell_trk import reading_trk
from celltraces.labels import lineage, shared_pixels
from celltraces.labels.regions import FrameTracks, regions, relabel
from celltraces.runs import job
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import Frames, open_frames, writing


def check_images(project: Project, channels: Mapping[str, Frames]) -> None:
    """Refuse a project whose images are not those of this FOV, pixel by pixel.

    Channels are found by the names in the project, or by their order where it has lost the names.
    """
    names = project.names if {*project.names} <= {*channels} else list(channels)[: len(project.names)]
    if len(names) < len(project.names):
        raise UserError(f"{project.where}: it has {len(project.names)} channels, this FOV has {len(channels)}")
    n_frames = project.shape[0]
    theirs = ome.digest_of_planes(project.image(at, frame) for at in range(len(names)) for frame in range(n_frames))
    ours = ome.digest_of_planes(channels[name].read(frame) for name in names for frame in range(n_frames))
    if theirs != ours:
        raise UserError(
            f"{project.where}: its images are not those of this FOV (SHA-256 of the pixels {theirs[:16]}..., here "
            f"{ours[:16]}...); put the file under the name of the FOV it was made from, and leave its images alone"
        )


def labels_of_frame(
    values: np.ndarray, meaning: Mapping[int, Sequence[int]]
) -> tuple[np.ndarray, dict[int, np.ndarray], list[int]]:
    """Labels of one frame from its values (H, W) and what they stand for.

    Returns the label image (H, W) uint32 with the lowest cell where several share a pixel, the pixels that the other
    cells lose (positions in the flat frame), and the values that stand for nothing, which become 0.
    """
    present = regions(values)[0].tolist()
    known = [value for value in present if value in meaning]
    lowest = np.array([meaning[value][0] for value in known], np.int64)
    labels = relabel(values, FrameTracks(np.array(known, values.dtype), lowest), np.uint32)
    hidden: dict[int, list[np.ndarray]] = {}
    for value in known:
        if len(meaning[value]) > 1:
            pixels = np.flatnonzero(values.ravel() == value)
            for cell in meaning[value][1:]:
                hidden.setdefault(cell, []).append(pixels)
    lost = {cell: np.sort(np.concatenate(parts)) for cell, parts in hidden.items()}
    return labels, lost, [value for value in present if value not in meaning]


def apply_project(project: Project, tracked: Frames, output: Path) -> dict[int, tuple[int, int]]:
    """Write the corrected labels (T, H, W) of `tracked`'s dtype; returns the first and last frame of each cell.

    Raises UserError for cells whose number does not fit.
    """
    highest = np.iinfo(tracked.dtype).max
    seen: dict[int, tuple[int, int]] = {}
    kept: dict[str, dict[str, list[int]]] = {}
    dropped = shared = absent = 0
    attributes: dict[str, object] = {"overlaps": kept}
    with writing(output, tracked.shape, tracked.dtype, LABELS, attributes=attributes) as append:
        for frame, meaning in enumerate(project.cells):
            values = project.values(frame)
            if values.min() < 0:
                raise UserError(f"{project.where}: frame {frame} holds the value {values.min()}; labels are 0 or more")
            labels, hidden, unknown = labels_of_frame(values, meaning)
            cells = {*regions(labels)[0].tolist(), *hidden}
            if cells and max(cells) > highest:
                raise UserError(
                    f"{project.where}: frame {frame} has cell {max(cells)}; the highest number is {highest}"
                )
            for cell in cells:
                seen[cell] = (seen.get(cell, (frame,))[0], frame)
            if hidden:
                kept[str(frame)] = {str(cell): shared_pixels.to_runs(hidden[cell]) for cell in sorted(hidden)}
            dropped += len(unknown)
            shared += sum(map(len, hidden.values()))
            absent += len({cell for named in meaning.values() for cell in named} - cells)
            append(labels.astype(tracked.dtype))
        attributes["display_limits"] = [0, max(seen, default=0)]
    for count, what in (
        (dropped, "values that stand for no cell, left out"),
        (absent, "cells of a frame that have no pixels in it, left out"),
        (shared, "pixels of several cells; the label image shows the lowest, crops have all"),
    ):
        if count:
            job.log.warning("%d %s", count, what)
    return seen


def main(correction: str, channels: Sequence[str], tracked: str, corrected: str, table: str, fov: int) -> None:
    images = {Path(channel).parent.name: open_frames(Path(channel)) for channel in channels}
    automatic = open_frames(Path(tracked))
    path = Path(correction)
    reading = reading_trk if path.suffix == ".trk" else reading_project
    with reading(path, automatic.shape, len(images)) as project:
        for note in project.notes:
            job.log.warning("%s", note)
        check_images(project, images)
        seen = apply_project(project, automatic, Path(corrected))
        divisions, notes = lineage.checked_divisions(project.divisions, seen, project.where)
    for note in notes:
        job.log.warning("%s", note)
    lineage.write_lineage(Path(table), fov, seen, divisions)
    job.log.info("%d cells, %d divisions from %s", len(seen), len(divisions), path.name)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            channels=snakemake.input.channels,
            tracked=snakemake.input.tracked,
            corrected=snakemake.output.corrected,
            table=snakemake.output.lineage,
            **settings,
        )
