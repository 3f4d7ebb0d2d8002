"""Determine the times of the frames of a CZI from its subblocks, its attached list or its metadata."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from celltraces.metadata import posix_seconds
from celltraces.readers import time_stamps
from celltraces.readers.czi_layout import CziLayout
from celltraces.readers.czi_segments import Tiles, czi_positions, read_subblock, segment

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def czi_times(path: Path, layout: CziLayout, root: Element) -> tuple[list[list[float] | None], list[list[int]]]:
    """Return the times of the frames of each FOV in minutes, and the frames whose stamps make no sense: see `Movie`.

    A CZI has stamps in three places: in each subblock, in an attached list, in a list in the metadata. The lists have
    one per time point. They are enough for one FOV; of several, each was taken at a time of its own, which its
    subblocks say. Where some FOVs have stamps in their subblocks and others none that can be used, these take a list's.
    """
    n_fovs, n_frames = layout.row.shape[:2]
    order, bounds = _czi_tiles_by_frame(layout)
    taken = np.diff(bounds).reshape(n_fovs, n_frames) > 0
    anywhere = taken.any(axis=0)
    announced = root.findtext(".//Information/Image/SizeT") or ""
    own, readable = np.full(taken.shape, np.nan), taken
    with open(path, "rb") as file:
        attached = _czi_attached_stamps(file)
        listed = [_stamps_of_frames(each, layout, announced) for each in (attached, _czi_offsets(root))]
        if n_fovs > 1 or not time_stamps.usable(listed[0], anywhere):
            own, readable = _czi_subblock_stamps(file, layout.tiles, order, bounds, taken)
    shared, bad_in_list = next(((each, []) for each in listed if time_stamps.usable(each, anywhere)), (None, []))
    senseless = time_stamps.senseless(own, readable)
    readable = time_stamps.trusted(own, readable)
    if shared is None:
        shared, bad_in_list = next(filter(None, (_repaired(each, anywhere) for each in listed)), (None, []))
    good = [time_stamps.usable(own[fov], readable[fov]) for fov in range(n_fovs)]
    if shared is not None and not any(good):
        # what processing leaves in subblocks are stamps that are all the same, or none
        own, readable = np.tile(shared, (n_fovs, 1)), taken
        senseless = [[frame for frame in bad_in_list if row[frame]] for row in taken]
    elif shared is not None:
        first = min(float(np.nanmin(own[fov])) for fov in range(n_fovs) if good[fov])
        for fov in np.flatnonzero(~np.array(good)):
            own[fov], readable[fov] = first + shared - shared[anywhere][0], taken[fov]
    if len(attached) and not any(good) and not any(senseless):
        # the attached list was to be used, and may not have been
        bad = set(time_stamps.senseless(listed[0][None], anywhere[None])[0])
        bad = bad if np.isfinite(listed[0]).any() else set(range(n_frames))
        senseless = [[frame for frame in np.flatnonzero(row).tolist() if frame in bad] for row in taken]
    return time_stamps.minutes_since_first(own, readable, taken), senseless


def _repaired(listed: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, list[int]] | None:
    """Return the stamps (T,) s of a list of which a few are bad, with times between their neighbours' in their places,
    and the frames of these; None where there are more (see `time_stamps.trusted`). taken (T,) bool."""
    trusted = time_stamps.trusted(listed[None], taken[None])[0]
    if not time_stamps.usable(listed, trusted):
        return None
    bad = np.flatnonzero(taken & ~trusted)
    frames = np.flatnonzero(trusted)
    repaired = listed.copy()
    repaired[bad] = np.interp(bad, frames, listed[frames])
    return repaired, bad.tolist()


def _czi_tiles_by_frame(layout: CziLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the tiles by FOV, frame, channel and z, (n,) int64, and where each frame begins, (F T + 1,).

    All tiles, also those of planes that are not wholly in the file: when they were taken is known all the same.
    """
    n_fovs, n_frames = layout.row.shape[:2]
    columns = layout.tiles.columns
    place = np.searchsorted(layout.scenes, columns["S"]) * n_frames + columns["T"] - layout.first_frame
    order = np.lexsort((columns["Z"], columns["C"], place))
    return order, np.searchsorted(place[order], np.arange(n_fovs * n_frames + 1))


def _stamps_of_frames(listed: np.ndarray, layout: CziLayout, announced: str) -> np.ndarray:
    """Return the stamp of each frame (T,) s of a list with one stamp per time point; NaN where it has none.

    It may have one for each frame of the file, or for each time point `announced`. Of one that is longer we cannot
    tell what its entries stand for.
    """
    n_frames = layout.row.shape[1]
    if announced == str(len(listed)) and len(listed) >= layout.first_frame + n_frames:
        listed = listed[layout.first_frame :][:n_frames]
    if len(listed) > n_frames:
        listed = listed[:0]
    return np.pad(listed.astype(float), (0, n_frames - len(listed)), constant_values=np.nan)


def _czi_offsets(root: Element) -> np.ndarray:
    """Return the seconds of the time points that the metadata list, float64; empty where they list none."""
    text = root.findtext(".//Dimensions/T/Positions/List/Offsets") or ""
    try:
        return np.array([float(number) for number in text.replace(",", " ").replace(";", " ").split()])
    except ValueError:
        return np.zeros(0)


def _czi_subblock_stamps(
    file: IO[bytes], tiles: Tiles, order: np.ndarray, bounds: np.ndarray, taken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (F, T) float64 seconds: when each frame was taken, NaN where unknown; (F, T) bool: frames that are there.

    order, bounds: see `_czi_tiles_by_frame`; taken (F, T) bool: frames that have tiles. This needs a read per FOV and
    frame, so the first and last frame of each FOV are looked at before all. A frame of which all subblocks are damaged
    counts as not there.
    """
    there = taken.copy()
    found = np.full(there.shape, np.nan)

    def look(places: np.ndarray) -> None:
        for fov, frame in places:
            there[fov, frame] = False
            at = fov * there.shape[1] + frame
            for row in order[bounds[at] : bounds[at + 1]].tolist():
                try:
                    stamp = _czi_subblock_stamp(file, tiles, row)
                except ValueError:
                    continue
                found[fov, frame] = np.nan if stamp is None else stamp
                there[fov, frame] = True
                break

    ends = np.zeros_like(there)
    every = np.arange(there.shape[1])
    for fov, row in enumerate(there):
        ends[fov, every[row][:1]] = ends[fov, every[row][-1:]] = True
    rest = np.argwhere(there & ~ends)
    look(np.argwhere(ends))
    if np.isfinite(found).any():
        look(rest)
    return found, there


def _czi_attached_stamps(file: IO[bytes]) -> np.ndarray:
    """Return the attachment "TimeStamps", float64 seconds; empty where the file has none."""
    nothing = np.zeros(0)
    _, _, start = czi_positions(file)
    if not start:
        return nothing
    length = segment(file, start, b"ZISRAWATTDIR")
    count = struct.unpack("<i", file.read(256)[:4])[0]
    if not 0 <= count <= (length - 256) // 128:
        raise ValueError("its directory of attachments is damaged")
    for _ in range(count):
        entry = file.read(128)
        if entry[48:128].split(b"\0")[0] == b"TimeStamps":
            length = segment(file, struct.unpack_from("<q", entry, 12)[0], b"ZISRAWATTACH")
            file.seek(256, 1)
            # ZEN writes a wrong length before the number of stamps
            n = struct.unpack("<ii", file.read(8))[1]
            if not 0 <= 8 * n <= length - 264:
                raise ValueError("its list of time stamps is damaged")
            return np.frombuffer(file.read(8 * n), "<f8")
    return nothing


def _czi_subblock_stamp(file: IO[bytes], tiles: Tiles, row: int) -> float | None:
    """Return the acquisition time in a subblock's metadata as POSIX seconds, None where it has none."""
    begin, length, _, _ = read_subblock(file, tiles, row)
    file.seek(begin)
    text = file.read(min(length, 1 << 16))
    return posix_seconds(text.partition(b"<AcquisitionTime>")[2].split(b"<", 1)[0].decode("ascii", "replace"))
