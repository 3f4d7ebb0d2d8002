"""Write and read DeepCell Label projects, in which people correct labels and tracks.

A project is a zip: `X.ome.tiff` the images and `y.ome.tiff` the labels (int32), both with time on the Z axis, and JSON
beside them. `cells.json` says which value of y stands for which cell in which frame: [{value, cell, t, c}], t and c
from 0; a value with several entries marks pixels where cells lie over each other. `divisions.json`: [{parent,
daughters, t}], t the first frame of the daughters. The client of the program exports the same as raw buffers
(`dimensions.json`, `raw.dat`, `labeled.dat`), which is read as well.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.exports import ome
from celltraces.exports.fov import Fov
from celltraces.files import scratch, whole, write_text
from celltraces.labels import shared_pixels
from celltraces.labels.lineage import Division
from celltraces.labels.regions import regions
from celltraces.storage import archives

DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the same project is the same bytes
SLACK = 16 << 20  # bytes of a TIFF that are not pixels
IMAGE_DTYPES = {
    name: np.dtype(name).newbyteorder("<") for name in ("uint8", "uint16", "uint32", "int32", "float32", "float64")
}


@dataclass(frozen=True)
class Project:
    """A corrected project: T frames of labels and what their values mean. Only one feature (c = 0) is ever read."""

    where: str  # the file, for messages
    names: list[str | None]  # of the channels of the images
    shape: tuple[int, int, int]
    image: Callable[[int, int], np.ndarray]  # (channel, frame) -> (H, W)
    values: Callable[[int], np.ndarray]  # frame -> (H, W) integers
    cells: list[dict[int, list[int]]]  # per frame: value -> cells, ascending
    divisions: list[Division]
    notes: list[str]  # what was mended or left out while reading


# -------------------------------------------------------------------------------------------------------------- writing


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """The project, and beside it what its images are: the digest that a correction of it is checked by."""
    assert fov.labels is not None
    project, note = outputs
    digest = write_project(
        project, fov.channels, fov.labels, fov.divisions, pixel_size_um=fov.settings["pixel_size_um"]
    )
    content = {"X": digest, "channels": list(fov.channels), "shape": fov.labels.shape, "source": fov.settings["source"]}
    write_text(note, json.dumps(content, indent=1) + "\n")


def write_project(
    path: Path,
    channels: Mapping[str, shared_pixels.FrameStack],
    labels: shared_pixels.FrameStack,
    divisions: Iterable[Division],
    *,
    pixel_size_um: float | None,
) -> str:
    """Write a project of one FOV: images (T, H, W) uint16 by name, and the labels of its cells.

    Returns the digest of the images' pixels, channel by channel.
    """
    n_frames, height, width = labels.shape
    cells: list[dict[str, int]] = []
    with whole(path) as partial, scratch(path) as folder:
        images, values = folder / "X", folder / "y"
        ome.write_ome_tiff(
            images,
            (channel.read(frame) for channel in channels.values() for frame in range(n_frames)),
            (len(channels), n_frames, height, width),
            np.uint16,
            "CZYX",
            channels=list(channels),
            pixel_size_um=pixel_size_um,
        )
        ome.write_ome_tiff(values, _values(labels, cells), (1, *labels.shape), np.int32, "CZYX", channels=["cells"])
        with zipfile.ZipFile(partial, "w") as archive:
            _add_file(archive, "X.ome.tiff", images)
            _add_file(archive, "y.ome.tiff", values)
            _add_json(archive, "divisions.json", [_division(division) for division in divisions])
            _add_json(archive, "cellTypes.json", [])
            _add_json(archive, "cells.json", cells)
            _add_json(archive, "embeddings.json", None)
    return ome.digest_of_planes(channel.read(frame) for channel in channels.values() for frame in range(n_frames))


def _values(labels: shared_pixels.FrameStack, cells: list[dict[str, int]]) -> Iterator[np.ndarray]:
    """The frames of y, (H, W) int32; fills `cells` with their entries, sorted by frame, value and cell.

    Pixels of several cells get values above the highest cell of their frame, one for each set of cells.
    """
    for frame in range(labels.shape[0]):
        image = labels.read(frame)
        present = shared_pixels.regions_with_hidden(labels, frame)[0].astype(np.int64)
        if present.max(initial=0) + len(present) ** 2 > np.iinfo(np.int32).max:
            raise UserError(
                f"deepcell_label: frame {frame}: cell {present.max()} exceeds the numbers of DeepCell Label (int32)"
            )
        y = image.astype(np.int32)
        sharing: dict[int, set[int]] = {}
        for cell, pixels in shared_pixels.hidden(labels, frame).items():
            for pixel in pixels.tolist():
                sharing.setdefault(pixel, {int(image.flat[pixel])}).add(cell)
        sets: dict[tuple[int, ...], int] = {}
        for pixel in sorted(sharing):
            y.flat[pixel] = sets.setdefault(tuple(sorted(sharing[pixel])), int(present.max()) + 1 + len(sets))
        entries = [(value, cell) for together, value in sets.items() for cell in together]
        entries += [(value, value) for value in regions(y)[0].tolist() if value not in sets.values()]
        cells += [{"value": value, "cell": cell, "t": frame, "c": 0} for value, cell in sorted(entries)]
        yield y


def _division(division: Division) -> dict[str, Any]:
    return {"parent": division.parent, "daughters": list(division.daughters), "t": division.frame}


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, DATE)
    member.create_system, member.external_attr = 3, 0o644 << 16  # the same on every system
    return member


def _add_file(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Add a file as it is: its planes are compressed already."""
    member = _member(name)
    member.file_size = path.stat().st_size
    with open(path, "rb") as source, archive.open(member, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _add_json(archive: zipfile.ZipFile, name: str, content: Any) -> None:
    archive.writestr(_member(name), json.dumps(content), zipfile.ZIP_DEFLATED)


# -------------------------------------------------------------------------------------------------------------- reading


@contextmanager
def reading_project(path: Path, shape: Sequence[int], n_channels: int) -> Iterator[Project]:
    """Open a corrected project of a FOV whose labels are `shape` (T, H, W) and that has `n_channels` images.

    Raises UserError naming the file and what is wrong with it.
    """
    n_frames, height, width = shape
    pixels = n_frames * height * width
    limits = {
        "X.ome.tiff": 8 * pixels * n_channels + SLACK,
        "y.ome.tiff": 8 * pixels + SLACK,
        "raw.dat": 8 * pixels * n_channels,
        "labeled.dat": 8 * pixels,
    }

    def limit(name: str) -> int | None:
        return limits.get(name, archives.JSON_LIMIT if name.endswith(".json") and "/" not in name else None)

    with tempfile.TemporaryDirectory() as folder:
        files = archives.unpack_zip(path, Path(folder), limit)
        if "edit.json" in files:
            raise UserError(f"{path}: this is an edit request, not a project; download the project itself")
        if "dimensions.json" in files and "X.ome.tiff" not in files:
            opened = _reading_buffers(path, files, (n_frames, height, width), n_channels)
        else:
            opened = _reading_tiffs(path, files, (n_frames, height, width))
        with opened as (names, image, values, n_features):
            notes: list[str] = []
            cells = _cells(path, files, n_frames, n_features, values, notes)
            divisions = _divisions(path, files, n_frames)
            yield Project(
                str(path), names, (n_frames, height, width), image, lambda t: values(0, t), cells, divisions, notes
            )


Opened = tuple[list[str | None], Callable[[int, int], np.ndarray], Callable[[int, int], np.ndarray], int]
"""Names of the channels, image(channel, frame), values(feature, frame), number of features."""


@contextmanager
def _reading_tiffs(path: Path, files: Mapping[str, Path], shape: tuple[int, int, int]) -> Iterator[Opened]:
    for name in ("X.ome.tiff", "y.ome.tiff"):
        if name not in files:
            raise UserError(f"{path}: {name} is missing; export the whole project from DeepCell Label")
    with (
        ome.open_ome_tiff(files["X.ome.tiff"], f"{path}: X.ome.tiff", shape, "Z") as images,
        ome.open_ome_tiff(files["y.ome.tiff"], f"{path}: y.ome.tiff", shape, "Z") as labels,
    ):
        if labels.dtype.kind not in "iu":
            raise UserError(f"{path}: y.ome.tiff holds {labels.dtype} pixels; labels are whole numbers")
        yield images.names, images.read, labels.read, labels.shape[0]


@contextmanager
def _reading_buffers(
    path: Path, files: Mapping[str, Path], shape: tuple[int, int, int], n_channels: int
) -> Iterator[Opened]:
    """An export of the client: little-endian buffers without headers, labels (F, T, H, W), images (C, T, H, W)."""
    for name in ("raw.dat", "labeled.dat"):
        if name not in files:
            raise UserError(f"{path}: {name} is missing; export the project again")
    sizes = archives.read_json(files, "dimensions.json", str(path))
    wanted = ("duration", "height", "width", "numChannels", "numFeatures")
    if not isinstance(sizes, dict) or not all(_is_whole(sizes.get(name)) for name in wanted):
        raise UserError(
            f"{path}: dimensions.json needs the whole numbers {', '.join(wanted)}; export the project again"
        )
    if (given := tuple(sizes[name] for name in wanted[:3])) != shape:
        raise UserError(
            f"{path}: its frames, height and width are {given}, those of this FOV {shape}; put the file under the name "
            "of the FOV that it was made from"
        )
    channels, features = sizes["numChannels"], sizes["numFeatures"]
    pixels = int(np.prod(shape))
    stored = files["raw.dat"].stat().st_size
    fitting = [dtype for dtype in IMAGE_DTYPES.values() if stored == dtype.itemsize * pixels * channels]
    if "dtype" in sizes:
        name = str(sizes["dtype"]).lower().removesuffix("array")
        fitting = [dtype for dtype in fitting if dtype == IMAGE_DTYPES.get(name)]
    if not 1 <= channels <= n_channels or not fitting:
        raise UserError(
            f"{path}: raw.dat has {stored} bytes, which do not fit dimensions.json; export the project again"
        )
    if len(fitting) > 1:
        raise UserError(f"{path}: dimensions.json lacks dtype, and several fit raw.dat; add it, such as Uint16Array")
    if features < 1 or files["labeled.dat"].stat().st_size != 4 * pixels * features:
        raise UserError(
            f"{path}: labeled.dat does not have the size that dimensions.json says; export the project again"
        )
    raw = np.memmap(files["raw.dat"], fitting[0], "r", shape=(channels, *shape))
    labeled = np.memmap(files["labeled.dat"], "<i4", "r", shape=(features, *shape))
    names = archives.read_json(files, "channels.json", str(path)) if "channels.json" in files else []
    named = [str(name) for name in names] if isinstance(names, list) and len(names) == channels else [None] * channels
    try:
        yield named, lambda c, t: np.array(raw[c, t]), lambda f, t: np.array(labeled[f, t]), features
    finally:
        del raw, labeled  # an open map cannot be removed on Windows


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cells(
    path: Path,
    files: Mapping[str, Path],
    n_frames: int,
    n_features: int,
    values: Callable[[int, int], np.ndarray],
    notes: list[str],
) -> list[dict[int, list[int]]]:
    """For each frame, which cells a value stands for (feature 0)."""
    meaning: list[dict[int, list[int]]] = [{} for _ in range(n_frames)]
    if "cells.json" not in files:
        notes.append("cells.json is missing: every value is taken for a cell of its own")
        return [{value: [value] for value in regions(values(0, t))[0].tolist()} for t in range(n_frames)]
    entries = archives.read_json(files, "cells.json", str(path))
    if not isinstance(entries, list):
        raise UserError(f"{path}: cells.json is not a list of cells; export the project again")
    others = 0
    for at, entry in enumerate(entries):
        where = f"{path}: cells.json, entry {at}"
        if not isinstance(entry, dict) or not all(_is_whole(entry.get(key)) for key in ("value", "cell", "t")):
            raise UserError(f"{where}: {str(entry)[:60]} lacks a whole number value, cell or t; correct it")
        value, cell, frame, feature = entry["value"], entry["cell"], entry["t"], entry.get("c")
        if feature is None and n_features > 1:
            raise UserError(f"{where}: it lacks c, and y.ome.tiff has {n_features} features; add c to every entry")
        if feature is not None and (not _is_whole(feature) or not 0 <= feature < n_features):
            raise UserError(f"{where}: c is {feature}, and the features are 0 to {n_features - 1}; correct it")
        if value < 1 or cell < 1:
            raise UserError(f"{where}: values and cells count from 1, not {value} and {cell}; correct it")
        if not 0 <= frame < n_frames:
            raise UserError(f"{where}: t is {frame}, and the frames are 0 to {n_frames - 1}; correct it")
        if feature:
            others += 1
        elif cell not in (known := meaning[frame].setdefault(value, [])):
            known.append(cell)
            known.sort()
    if n_features > 1:
        notes.append(f"of {n_features} features the first is used; {others} entries of others are left out")
    return meaning


def _divisions(path: Path, files: Mapping[str, Path], n_frames: int) -> list[Division]:
    if "divisions.json" not in files:
        return []
    entries = archives.read_json(files, "divisions.json", str(path))
    if not isinstance(entries, list):
        raise UserError(f"{path}: divisions.json is not a list of divisions; export the project again")
    divisions = []
    for at, entry in enumerate(entries):
        where = f"{path}: divisions.json, entry {at}"
        daughters = entry.get("daughters") if isinstance(entry, dict) else None
        if not isinstance(daughters, list) or not all(
            _is_whole(number) for number in (entry.get("parent"), entry.get("t"), *daughters)
        ):
            raise UserError(f"{where}: {str(entry)[:60]} lacks parent, daughters or t in whole numbers; correct it")
        if not 0 <= entry["t"] < n_frames:
            raise UserError(f"{where}: t is {entry['t']}, and the frames are 0 to {n_frames - 1}; correct it")
        divisions.append(Division(entry["parent"], tuple(daughters), entry["t"]))
    return divisions
