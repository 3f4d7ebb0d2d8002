"""Find the planes of many TIFFs that belong together by their names: a pattern, or MetaMorph's .nd file."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import whole_number
from celltraces.tiff import name_pattern, plane_map
from celltraces.tiff.pages import Pages
from celltraces.tiff.plane_map import FovMap, PlaneMap
from celltraces.tiff.sets import description, is_tiff, ome_map, with_name
from celltraces.tiff.stacks import metamorph_planes, stack_map

LARGER = 1.2  # times the size of the first file, which has one plane: a file that may have several
ND_BEGINS = '"NDInfoFile"'


def tiff_map(path: Path) -> PlaneMap:
    """The planes of a TIFF, or of the set that it belongs to."""
    if path.suffix.lower() == ".nd":
        return nd_map(path)
    if not is_tiff(path) or "<OME" in description(path)[:4000]:
        return ome_map(path)
    return stack_map(path)


def pattern_map(path: Path) -> PlaneMap:
    """The planes of the files that a pattern names; what is not a place of the pattern, the files themselves tell.

    Raises UserError for files of different kinds, and where pattern and files tell the same axis.
    """
    found = name_pattern.find_files(path)
    first = _own_map(path, found, next(iter(sorted(found.files))))
    # files of one plane each are looked at when they are inspected, and when they are read
    of_one_plane = first.fovs[0].where.shape[:3] == (1, 1, 1)
    usual = LARGER * first.files[0].stat().st_size
    own = {
        place: first if of_one_plane and file.stat().st_size <= usual else _own_map(path, found, place)
        for place, file in found.files.items()
    }
    for part in own.values():
        for name, length in zip(("frame", "channel", "z"), part.fovs[0].where.shape, strict=False):
            if name in found.places and length > 1:
                raise UserError(
                    f"'{path}': {{{name}}} is in the pattern, and '{part.files[0]}' has {length} of them; take it out "
                    "of the pattern, or save the planes to a file each"
                )
    channels = found.channels
    columns = {place: [0] for place in found.files}  # which of the channels a file's are
    if "channel" not in found.places:
        channels, listed = plane_map.common_channels(path, [part.channels for part in own.values()])
        columns = dict(zip(own, listed, strict=True))
    lengths = [max(part.fovs[0].where.shape[axis] for part in own.values()) for axis in range(3)]
    shape = (max(found.n_frames, lengths[0]), len(channels), max(found.n_z, lengths[2]))
    fovs, files = [], []
    for fov, name in enumerate(found.fovs):
        where = plane_map.empty(*shape)
        stamps, start_s, period_s, position = np.full(shape[0], np.nan), np.nan, None, None
        ranges = (range(len(found.channels)), range(found.n_frames), range(found.n_z))
        for channel, frame, z in itertools.product(*ranges):
            place = (fov, channel, frame, z)
            if place in found.files:
                part = own[place].fovs[0]
                n_frames, _, n_z, _ = part.where.shape
                for at, column in enumerate(columns[place]):
                    box = where[frame : frame + n_frames, channel + column, z : z + n_z]
                    box[...] = part.where[:, at]
                    box[..., 0][box[..., 0] >= 0] = len(files)
                if n_frames > 1:
                    stamps[:n_frames] = np.fmin(stamps[:n_frames], part.stamps_s)
                    start_s = float(np.fmin(start_s, part.start_s))
                    period_s = period_s or own[place].period_s
                position = position or part.position_um
            files.append(found.files.get(place, _nominal(path, found, place)))
        fovs.append(FovMap(name, where, stamps, None, start_s, period_s, position))
    of_fovs = {min(places) for places in _by_fov(found)}  # a file of each FOV, also where others are not looked at
    parts = [_own_map(path, found, place) if own[place] is first else own[place] for place in sorted(of_fovs)]
    size = plane_map.common_pixel_size(path, {part.files[0].name: part.pixel_size_um for part in (first, *parts)})
    return PlaneMap("tiff files", files, fovs, channels, size, first.period_s)


def _by_fov(found: name_pattern.FoundFiles) -> list[list[tuple[int, int, int, int]]]:
    """The places of the files of each FOV."""
    return [[place for place in found.files if place[0] == fov] for fov in sorted({place[0] for place in found.files})]


def _own_map(path: Path, found: name_pattern.FoundFiles, place: tuple[int, int, int, int]) -> PlaneMap:
    file = found.files[place]
    part = with_name(file, tiff_map)
    if len(part.fovs) > 1 or len(part.files) > 1:
        raise UserError(
            f"'{path}': '{file}' is one of a set of files that name each other; give that one file as the dataset, and "
            "all are found"
        )
    return part


def _nominal(path: Path, found: name_pattern.FoundFiles, place: tuple[int, int, int, int]) -> Path:
    """A name for a file that is not there: so it counts, and is noticed when it comes."""
    fov, channel, frame, z = place
    values = {"fov": found.fovs[fov], "channel": found.channels[channel], "frame": f"+{frame}", "z": f"+{z}"}
    return Path(name_pattern.PLACE.sub(lambda match: values[match[1]], str(path)))


# ------------------------------------------------------------------------------------------------- MetaMorph's .nd


def nd_map(path: Path) -> PlaneMap:
    """The planes of the files that MetaMorph wrote beside a .nd file."""
    known = _nd_values(path)
    waves = _listed(known, "DoWave", "NWavelengths", "WaveName")
    stages = _listed(known, "DoStage", "NStagePositions", "Stage")
    timelapse = _true(known, "DoTimelapse")
    n_frames = whole_number(known.get("NTimePoints"), "NTimePoints", 1) if timelapse else 1
    stacked = _true(known, "DoZSeries")
    n_z = whole_number(known.get("NZSteps"), "NZSteps", 1) if stacked else 1
    beside = {_comparable(file.name): file for file in sorted(path.parent.iterdir()) if file != path}
    in_z = [stacked and known.get(f"WaveDoZ{at + 1}", "TRUE").upper() == "TRUE" for at in range(len(waves) or 1)]
    named = _true(known, "WaveInFileName")
    files: list[Path] = []
    fovs = []
    for fov, stage in enumerate(stages or [""]):
        where = plane_map.empty(n_frames, len(waves) or 1, n_z)
        for frame, channel in itertools.product(range(n_frames), range(len(waves) or 1)):
            stem = path.stem + (f"_w{channel + 1}{waves[channel] if named else ''}" if waves else "")
            stem += (f"_s{fov + 1}" if stages else "") + (f"_t{frame + 1}" if timelapse else "")
            names = [_comparable(stem + ending) for ending in (".stk", ".tif", ".tiff")]
            file = next((beside[name] for name in names if name in beside), path.with_name(f"{_comparable(stem)}.tif"))
            if file.is_file():
                where[frame, channel, : n_z if in_z[channel] else 1, 0] = len(files)
            files.append(file)
        fovs.append(FovMap(stage, where, np.full(n_frames, np.nan), None))
    _place_planes(path, files, fovs)
    return PlaneMap(
        "metamorph",
        files,
        plane_map.without_frames_never_taken(fovs),
        [name or f"C{at}" for at, name in enumerate(waves)] or ["C0"],
        read_with=[path],
    )


def _place_planes(path: Path, files: list[Path], fovs: list[FovMap]) -> None:
    """Which page, or which plane behind the first, each z plane of a file is; a file may have fewer than announced."""
    pages = Pages(files)
    try:
        for fov in fovs:
            for frame, channel in np.ndindex(fov.where.shape[:2]):
                own = fov.where[frame, channel]
                if own[0, 0] < 0:
                    continue
                if len(own) == 1 or own[1, 0] < 0:
                    own[0, 1:] = 0
                    continue
                found = metamorph_planes(pages, int(own[0, 0]))
                if found.n_planes > len(own):
                    raise ValueError(
                        f"'{files[own[0, 0]].name}' has {found.n_planes} planes where {len(own)} are announced"
                    )
                numbers = np.arange(found.n_planes)
                own[: found.n_planes, 1:] = np.stack(
                    [numbers * (not found.behind_first), numbers * found.behind_first], axis=1
                )
                own[found.n_planes :] = -1
    finally:
        pages.close()


def _nd_values(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="cp1252", errors="replace")
    if not text.lstrip().startswith(ND_BEGINS):
        raise ValueError("it does not begin as a .nd file of MetaMorph")
    pairs = re.findall(r'^\s*"(\w+)"\s*,\s*(.*?)\s*$', text, re.MULTILINE)
    return {key: value.strip('"') for key, value in pairs}


def _true(known: dict[str, str], key: str) -> bool:
    return known.get(key, "").upper() == "TRUE"


def _listed(known: dict[str, str], key: str, number: str, name: str) -> list[str]:
    """The names of waves or positions; none where there is one that the files do not name."""
    if not _true(known, key):
        return []
    count = whole_number(known.get(number), number, 0)
    if not 0 < count <= 100_000:
        raise ValueError(f"{number} is {count}")
    return [known.get(f"{name}{at + 1}", "") for at in range(count)]


def _comparable(name: str) -> str:
    """A file's name as it can be compared: MetaMorph replaces what Windows does not allow in names."""
    return re.sub(r"[^\w.]", "-", name.lower())
