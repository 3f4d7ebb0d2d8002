"""Find the planes of an OME-TIFF, alone or one of a set of files that name each other."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

from celltraces.errors import UserError
from celltraces.tiff import ome_xml, plane_map
from celltraces.tiff.pages import MAGICS, Pages
from celltraces.tiff.plane_map import FovMap, PlaneMap
from celltraces.tiff.scenes import SCENE, scenes_beside

MANY_SIBLINGS = 1000  # files that are looked at for a name that is not there


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF; raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return file.read(4) in MAGICS


def description(path: Path) -> str:
    """The text of the first page, or a text file's own."""
    if not is_tiff(path):
        return path.read_text(encoding="utf-8")
    pages = Pages([path])
    try:
        return pages.page(0, 0).description if pages.count(0) else ""
    finally:
        pages.close()


def with_name(file: Path, find: Callable[[Path], PlaneMap]) -> PlaneMap:
    """What `find_files` finds in one of several files; errors name the file."""
    try:
        return find(file)
    except (ValueError, SyntaxError, struct.error) as error:
        raise ValueError(f"{file.name}: {error}") from error


def ome_map(path: Path) -> PlaneMap:
    """The planes of an OME-TIFF, of all files of its set, or of all scenes of it."""
    scenes = scenes_beside(path)
    if len(scenes) < 2:
        return _of_set(path)
    parts = {}
    first, last = min(scenes), max(scenes)
    if last - first > MANY_SIBLINGS + len(scenes):
        raise UserError(
            f"'{path}' is one of {len(scenes)} scenes from {first} to {last}; rename those that do not belong"
        )
    for number, file in scenes.items():
        parts[number] = with_name(file, _of_set)
        if len(parts[number].files) > 1 or len(parts[number].fovs) > 1:
            return _of_set(path)  # files that name each other: the name says nothing
    return _joined(path, parts)


def _joined(path: Path, parts: dict[int, PlaneMap]) -> PlaneMap:
    """One FOV per scene; FOV numbers are those of the scenes from the first, and what is not there is missing."""
    channels, places = plane_map.common_channels(path, [parts[number].channels for number in sorted(parts)])
    n_z = max(part.n_z for part in parts.values())
    first = min(parts) if min(parts) > 1 else min(1, min(parts))
    fovs = []
    files = []
    at = dict(zip(sorted(parts), range(len(parts)), strict=True))
    for number in range(first, max(parts) + 1):
        if number not in parts:
            files.append(path.with_name(SCENE.sub(rf"\g<1>_scene{number}\g<3>", path.name)))
            empty = plane_map.empty(1, len(channels), n_z)
            fovs.append(FovMap(f"scene {number}", empty, empty[:, 0, 0, 0] * float("nan"), None))
            continue
        (fov,) = parts[number].fovs
        where = plane_map.empty(fov.where.shape[0], len(channels), n_z)
        where[:, places[at[number]], : fov.where.shape[2]] = fov.where
        where[..., 0][where[..., 0] == 0] = len(files)
        files += parts[number].files
        exposures = plane_map.on_channels(fov.exposures_ms, places[at[number]], len(channels))
        fovs.append(fov._replace(where=where, name=fov.name or f"scene {number}", exposures_ms=exposures))
    known = [part for _, part in sorted(parts.items())]
    fovs = plane_map.without_frames_never_taken(plane_map.same_sizes(fovs))
    return PlaneMap(
        known[0].format,
        files,
        fovs,
        channels,
        plane_map.common_pixel_size(path, {part.files[0].name: part.pixel_size_um for part in known}),
        next((part.period_s for part in known if part.period_s), None),
    )


def _of_set(path: Path) -> PlaneMap:
    holder, root = path, ome_xml.parse_ome_xml(description(path))
    elsewhere = root.find("BinaryOnly")
    if elsewhere is not None:
        holder = path.with_name(_own_name(elsewhere.get("MetadataFile") or ""))
        if not holder.is_file():
            raise UserError(
                f"'{path}' is one of a set of files, and says that '{holder.name}' describes the set: put that file "
                "beside it"
            )
        root = ome_xml.parse_ome_xml(description(holder))
    images = ome_xml.images(root)
    if not images:
        raise ValueError("its OME-XML has no images")
    named = {element.get("FileName") for element in root.iter("UUID") if element.get("FileName")}
    names = _Names(holder, root.get("UUID"), alone=len(named) == 1 and is_tiff(holder))
    channels, places = plane_map.common_channels(path, [image.channels for image in images])
    fovs = []
    for image, own in zip(images, places, strict=True):
        where = plane_map.empty(image.sizes["T"], len(channels), image.sizes["Z"])
        for frame, channel, z, name, uuid, page in ome_xml.pages(image, lambda *file: names.count(names.number(*file))):
            file = names.number(name, uuid)
            if not 0 <= page < names.count(file):
                continue  # announced, and never written
            if where[frame, own[channel], z, 0] >= 0 and tuple(where[frame, own[channel], z]) != (file, page, 0):
                raise ValueError("its OME-XML gives two pages to the same plane")
            where[frame, own[channel], z] = file, page, 0
        fov = FovMap(image.name, where, image.stamps_s, image.shape, image.start_s, image.period_s)
        exposures = plane_map.on_channels(image.exposures_ms, own, len(channels))
        told = {"position_um": image.position_um, "exposures_ms": exposures, "pixel_size_um": image.pixel_size_um}
        fovs.append(fov._replace(**told))
    plane_map.refuse_shared_planes(fovs)
    return PlaneMap(
        "ome-tiff",
        names.files,
        plane_map.without_frames_never_taken(plane_map.same_sizes(fovs)),
        channels,
        images[0].pixel_size_um,
        images[0].period_s,
        read_with=[] if holder in names.files else [holder],
        pixel_height_um=images[0].pixel_height_um,
    )


class _Names:
    """The files that an OME-XML names, beside the file that has it."""

    def __init__(self, holder: Path, uuid: str | None, *, alone: bool) -> None:
        """alone: whether the XML names a single file, which then is its own, whatever it is called now."""
        self.files: list[Path] = []
        self._holder, self._uuid, self._alone = holder, uuid, alone
        self._numbers: dict[tuple[str | None, str | None], int] = {}
        self._counts: dict[int, int] = {}
        self._siblings: dict[str, Path] | None = None

    def number(self, name: str | None, uuid: str | None) -> int:
        """The number of a file; where there is none of this name, the one with the UUID: files get renamed."""
        if (name, uuid) not in self._numbers:
            file = self._holder if name is None else self._holder.with_name(_own_name(name))
            if not file.is_file() and (self._alone or (uuid is not None and uuid == self._uuid)):
                file = self._holder
            elif not file.is_file() and uuid is not None:
                file = self._by_uuid().get(uuid, file)
            if file not in self.files:
                self.files.append(file)
            self._numbers[name, uuid] = self.files.index(file)
        return self._numbers[name, uuid]

    def count(self, file: int) -> int:
        """How many pages a file has."""
        if file not in self._counts:
            there = self.files[file].is_file()
            if there and not is_tiff(self.files[file]):
                raise UserError(f"'{self.files[file]}' is no TIFF file; copy it again from the microscope")
            pages = Pages([self.files[file]])
            self._counts[file] = pages.count(0)
        return self._counts[file]

    def _by_uuid(self) -> dict[str, Path]:
        if self._siblings is None:
            self._siblings = {}
            beside = sorted(self._holder.parent.glob("*.tif*"))[:MANY_SIBLINGS]
            for file in beside:
                found = re.search(r'<OME\b[^>]*\bUUID="([^"]+)"', description(file)[:4000]) if is_tiff(file) else None
                if found:
                    self._siblings.setdefault(found[1], file)
        return self._siblings


def _own_name(name: str) -> str:
    """The last part of a path as any system writes it. Raises ValueError for none."""
    last = re.split(r"[/\\]", name)[-1]
    if last in ("", ".", ".."):
        raise ValueError("its OME-XML names a file without a name")
    return last
