"""Write a FOV as a Cell Tracking Challenge folder: images `01/t000.tif`, labels `01_RES/mask000.tif` and tracks.

`01_RES/res_track.txt` has a line "label first_frame last_frame parent" per track. A track has no gaps there: a cell
that was missed in between becomes two tracks, the second with the first as its parent. `01_in_tables.csv` says which of
them the tables have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.exports.fov import Fov, frames_by_cell, in_tables
from celltraces.files import whole
from celltraces.labels import shared_pixels
from celltraces.labels.lineage import Division
from celltraces.labels.regions import FrameTracks, regions, relabel
from celltraces.results.curation import frames_text

IN_TABLES = "01_in_tables.csv"  # beside the folders, which have files of the challenge alone


class Track(NamedTuple):
    """One line of res_track.txt, and the cell that it is a part of."""

    label: int
    first: int
    last: int
    parent: int
    cell: int


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write the folders of one sequence, `01` and `01_RES`, into the folder `outputs[0]`."""
    assert fov.labels is not None
    images = next(iter(fov.channels.values()))  # phase contrast, in which the cells were found
    write_folder(outputs[0], images, fov.labels, fov.divisions, in_tables(fov))


def write_folder(
    path: Path,
    images: shared_pixels.FrameStack,
    labels: shared_pixels.FrameStack,
    divisions: Iterable[Division],
    counted: Collection[tuple[int, int]] | None = None,
) -> list[Track]:
    """Write images and labels, (T, H, W) both. Where cells lie over each other one of them is kept.

    counted: the cells and frames that tables have, which `01_in_tables.csv` tells of each track; None: there are none.
    """
    import tifffile

    n_frames = labels.shape[0]
    digits = 3 if n_frames <= 1000 else 4
    tracks = tracks_in(labels, divisions)
    if tracks and tracks[-1].label > 65535:
        raise UserError(
            f"ctc: {len(tracks)} tracks need labels up to {tracks[-1].label}; the format ends at 65535: write geff "
            "or trackmate instead"
        )
    with whole(path) as partial:
        for folder in ("01", "01_RES"):
            (partial / folder).mkdir(parents=True)
        for frame in range(n_frames):
            here = sorted(
                (track for track in tracks if track.first <= frame <= track.last), key=lambda track: track.cell
            )
            mapping = FrameTracks(
                np.array([track.cell for track in here], np.int64), np.array([track.label for track in here], np.int64)
            )
            options = {
                "compression": "zlib",
                "compressionargs": {"level": 1},
                "photometric": "minisblack",
                "metadata": None,
                "software": False,
            }
            mask = relabel(labels.read(frame), mapping, np.uint16)
            tifffile.imwrite(partial / "01" / f"t{frame:0{digits}d}.tif", images.read(frame), **options)
            tifffile.imwrite(partial / "01_RES" / f"mask{frame:0{digits}d}.tif", mask, **options)
        lines = [f"{track.label} {track.first} {track.last} {track.parent}\n" for track in tracks]
        (partial / "01_RES" / "res_track.txt").write_bytes("".join(lines).encode())
        if counted is not None:
            (partial / IN_TABLES).write_bytes("".join(_in_tables(tracks, counted)).encode())
    return tracks


def _in_tables(tracks: Iterable[Track], counted: Collection[tuple[int, int]]) -> Iterator[str]:
    """Lines of a table: which tracks tables have, and in which frames ("0-3 7"; empty where in none)."""
    yield "label,cell,in_tables,frames_in_tables\n"
    for track in tracks:
        frames = [frame for frame in range(track.first, track.last + 1) if (track.cell, frame) in counted]
        yield f"{track.label},{track.cell},{bool(frames)},{frames_text(frames)}\n"


def tracks_in(labels: shared_pixels.FrameStack, divisions: Iterable[Division]) -> list[Track]:
    """Tracks without gaps, sorted by label. The first part of a cell keeps its number, further ones get new ones."""
    frames_of = frames_by_cell(regions(labels.read(frame))[0].tolist() for frame in range(labels.shape[0]))
    parent_of = {daughter: division.parent for division in divisions for daughter in division.daughters}
    last_part = dict.fromkeys(frames_of, 0)
    unused = max(frames_of, default=0)
    tracks = []
    for cell, frames in sorted(frames_of.items()):
        breaks = [0, *(at for at in range(1, len(frames)) if frames[at] != frames[at - 1] + 1), len(frames)]
        for first, end in zip(breaks, breaks[1:], strict=False):
            label = cell
            if first:
                unused += 1
                label = unused
            tracks.append(Track(label, frames[first], frames[end - 1], last_part[cell], cell))
            last_part[cell] = label
    return sorted(
        track._replace(parent=last_part.get(parent_of.get(track.cell, 0), 0)) if track.label == track.cell else track
        for track in tracks
    )
