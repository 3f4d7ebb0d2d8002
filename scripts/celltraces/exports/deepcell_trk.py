"""Write and read the .trk files of deepcell-tracking: a gzipped tar of images, tracked labels and lineage.

`raw.npy` and `tracked.npy` are (T, H, W, C); `lineage.json` has an entry per cell: {"<label>": {label, frames,
daughters, capped, frame_div, parent}}. `frame_div` is written as the first frame of the daughters; programs differ
there, so that it is worked out anew from the daughters when read.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.exports.deepcell_label import SLACK, Project
from celltraces.exports.fov import Fov, frames_by_cell, in_tables
from celltraces.files import scratch, whole
from celltraces.labels import shared_pixels
from celltraces.labels.lineage import Division
from celltraces.labels.regions import regions
from celltraces.storage import archives


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write raw channels, labels and divisions as one .trk."""
    assert fov.labels is not None
    write_trk(outputs[0], fov.channels, fov.labels, fov.divisions, in_tables(fov))


def write_trk(
    path: Path,
    channels: Mapping[str, shared_pixels.FrameStack],
    labels: shared_pixels.FrameStack,
    divisions: Iterable[Division],
    counted: Collection[tuple[int, int]],
) -> None:
    """Write images (T, H, W) by name and labels of one FOV. Where cells lie over each other one of them is kept.

    counted: the cells and frames that tables have, which `in_tables` (in any frame) and `frames_in_tables` of each cell
    tell; programs read over both.
    """
    present: list[list[int]] = []
    with whole(path) as partial, scratch(path) as folder:
        raw, tracked = folder / "raw.npy", folder / "tracked.npy"
        n_frames = labels.shape[0]
        images = np.lib.format.open_memmap(raw, "w+", np.uint16, (*labels.shape, len(channels)))
        values = np.lib.format.open_memmap(tracked, "w+", labels.read(0).dtype, (*labels.shape, 1))
        for frame in range(n_frames):
            for at, channel in enumerate(channels.values()):
                images[frame, ..., at] = channel.read(frame)
            values[frame, ..., 0] = labels.read(frame)
            present.append(regions(values[frame, ..., 0])[0].tolist())
        del images, values
        lineage = json.dumps(_lineage(frames_by_cell(present), divisions, counted)).encode()
        # No name and no time in the header of gzip, fixed times in the tar: the same cells are the same bytes.
        with (
            open(partial, "wb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            _add(archive, "lineage.json", io.BytesIO(lineage), len(lineage))
            for member in (raw, tracked):
                with open(member, "rb") as source:
                    _add(archive, member.name, source, member.stat().st_size)


def _add(archive: tarfile.TarFile, name: str, source: Any, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, source)


def _lineage(
    frames_of: Mapping[int, Sequence[int]], divisions: Iterable[Division], counted: Collection[tuple[int, int]]
) -> dict[str, dict[str, Any]]:
    # A cell that others hide in all its frames has no label, and so no part in the lineage.
    shown = [
        division._replace(daughters=tuple(daughter for daughter in division.daughters if daughter in frames_of))
        for division in divisions
        if division.parent in frames_of
    ]
    by_parent = {division.parent: division for division in shown if division.daughters}
    parent_of = {daughter: parent for parent, division in by_parent.items() for daughter in division.daughters}
    in_frames = {cell: [frame for frame in frames if (cell, frame) in counted] for cell, frames in frames_of.items()}
    return {
        str(cell): {
            "label": cell,
            "frames": frames_of[cell],
            "daughters": list(by_parent[cell].daughters) if cell in by_parent else [],
            "capped": cell in by_parent,
            "frame_div": by_parent[cell].frame if cell in by_parent else None,
            "parent": parent_of.get(cell),
            "in_tables": bool(in_frames[cell]),
            "frames_in_tables": in_frames[cell],
        }
        for cell in sorted(frames_of)
    }


@contextmanager
def reading_trk(path: Path, shape: Sequence[int], n_channels: int) -> Iterator[Project]:
    """Open a .trk as a corrected project of a FOV whose labels are `shape` (T, H, W), with `n_channels` images."""
    n_frames, height, width = shape
    pixels = n_frames * height * width
    limits = {
        "lineage.json": archives.JSON_LIMIT,
        "raw.npy": 8 * pixels * n_channels + SLACK,
        "tracked.npy": 8 * pixels + SLACK,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = archives.unpack_tar(path, Path(folder), limits.get)
        for name in limits:
            if name not in files:
                raise UserError(f"{path}: {name} is missing; export the .trk again")
        raw, tracked = (_array(files[name], f"{path}: {name}", tuple(shape)) for name in ("raw.npy", "tracked.npy"))
        if raw.shape[3] > n_channels:
            raise UserError(f"{path}: raw.npy has {raw.shape[3]} channels, this FOV has {n_channels}")
        if tracked.shape[3] != 1 or tracked.dtype.kind not in "iu":
            raise UserError(f"{path}: tracked.npy must hold whole numbers in one channel, not {tracked.dtype}")
        try:
            lineage = _checked_lineage(archives.read_json(files, "lineage.json", str(path)), str(path))
            present = [regions(np.ascontiguousarray(tracked[t, ..., 0]))[0].tolist() for t in range(n_frames)]
            _compare(lineage, present, str(path))
            yield Project(
                str(path),
                [None] * raw.shape[3],
                (n_frames, height, width),
                lambda channel, frame: np.ascontiguousarray(raw[frame, ..., channel]),
                lambda frame: np.ascontiguousarray(tracked[frame, ..., 0]),
                [{cell: [cell] for cell in cells} for cells in present],
                _divisions(lineage, str(path)),
                [],
            )
        finally:
            del raw, tracked  # an open map cannot be removed on Windows


def _array(path: Path, where: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise UserError(f"{where}: not a readable array ({str(error)[:100]}); export it again") from error
    if array.ndim != 4 or array.shape[:3] != shape or array.dtype.kind not in "iuf":
        raise UserError(
            f"{where}: an array {array.shape} of {array.dtype}; for this FOV it must be {(*shape, 'channels')} of "
            "numbers; put the file under the name of the FOV that it was made from"
        )
    return array


def _checked_lineage(content: Any, where: str) -> dict[int, dict[str, Any]]:
    """Entries by label, if all have what is needed."""
    if not isinstance(content, dict):
        raise UserError(f"{where}: lineage.json has no entry for each cell; files of several movies are not read")
    for key, entry in content.items():
        if not isinstance(entry, dict) or str(entry.get("label")) != key or not _is_lineage(entry):
            raise UserError(
                f"{where}: lineage.json, cell {key!r}: label, frames, daughters or parent is missing or not whole; "
                "correct it"
            )
    return {int(key): entry for key, entry in content.items()}


def _is_lineage(entry: Mapping[str, Any]) -> bool:
    frames, daughters, parent = entry.get("frames"), entry.get("daughters"), entry.get("parent")
    if not isinstance(frames, list) or not frames or not isinstance(daughters, list):
        return False
    numbers = [entry.get("label"), *frames, *daughters, *(() if parent is None else (parent,))]
    return all(isinstance(number, int) for number in numbers)


def _compare(lineage: Mapping[int, Mapping[str, Any]], present: Sequence[Sequence[int]], where: str) -> None:
    """The frames of every cell are those in which its label occurs."""
    frames_of = frames_by_cell(present)
    for cell in sorted({*frames_of, *lineage}):
        if cell not in lineage:
            raise UserError(f"{where}: lineage.json lacks cell {cell}, which is in tracked.npy; add it")
        if sorted(lineage[cell]["frames"]) != frames_of.get(cell, []):
            raise UserError(
                f"{where}: lineage.json: the frames of cell {cell} are not those of its label; correct them"
            )


def _divisions(lineage: Mapping[int, Mapping[str, Any]], where: str) -> list[Division]:
    for cell, entry in lineage.items():
        parent = entry.get("parent")
        if parent is not None and cell not in lineage.get(parent, {"daughters": []})["daughters"]:
            raise UserError(f"{where}: lineage.json: cell {cell} has the parent {parent}, which does not list it")
        for daughter in entry["daughters"]:
            if daughter in lineage and lineage[daughter].get("parent") != cell:
                raise UserError(f"{where}: lineage.json: cell {cell} lists {daughter}, whose parent is another")
    firsts = {cell: min(entry["frames"]) for cell, entry in lineage.items()}
    return [
        Division(
            cell,
            tuple(entry["daughters"]),
            entry["frame_div"]
            if isinstance(entry.get("frame_div"), int)
            else min((firsts[daughter] for daughter in entry["daughters"] if daughter in firsts), default=0),
        )
        for cell, entry in sorted(lineage.items())
        if entry["daughters"]
    ]
