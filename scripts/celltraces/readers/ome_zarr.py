"""Read OME-Zarr 0.4 and 0.5 as input: an image, a series of images, or a plate; wells' fields become FOVs.

What is there is found from small JSON files, without zarr-python, which is imported where pixels are read. A plane none
of whose chunks was written is missing: so an acquisition that was stopped leaves it.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import UM_PER, length_um, plain_length, position_um, positive_number, seconds_per
from celltraces.readers.movie import Movie, OpenedMovie
from celltraces.readers.planes_movie import movie_of, opened_movie
from celltraces.tiff import ome_xml, plane_map
from celltraces.tiff.plane_map import FovMap, PlaneMap

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
AXES = "tczyx"
KINDS = {"time": "t", "channel": "c"}  # types of axes that are known whatever their name
LARGEST_BLOCK = 256_000_000  # bytes of a chunk of several planes that is kept for the next of them


class Array(NamedTuple):
    """One array: its axes in order, shape and chunks; what of it is there, planes along the axes before y and x."""

    path: Path
    axes: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]  # of a file: with shards, these
    dtype: np.dtype
    v3: bool
    separator: str
    prefix: str  # "c" + separator for format 3

    def sizes(self) -> dict[str, int]:
        """Length of every axis; those that are not there have 1."""
        return {**dict.fromkeys(AXES, 1), **dict(zip(self.axes, self.shape, strict=True))}


class ZarrImage(NamedTuple):
    """One image of several resolutions, of which the first is read."""

    name: str
    array: Array
    channels: list[str]
    pixel_size_um: float | None
    pixel_height_um: float | None
    period_s: float | None
    corner_um: list[float] | None  # where its first pixel lies


def is_ome_zarr(path: Path) -> bool:
    """Whether a folder is a group of Zarr."""
    return any((path / name).is_file() for name in (".zgroup", ".zattrs", "zarr.json"))


def contents(path: Path) -> list[Path]:
    """The files that count: descriptions, and the chunks of full resolution; sorted by their names in the folder.

    Of a folder that cannot be read the descriptions alone: what is wrong with it, inspecting it says.
    """
    try:
        folders = [image.array.path for image in _images(path)]
    except (UserError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        folders = []
    described = [path, *(parent for folder in folders for parent in _between(path, folder)), path / "OME"]
    files = {folder / name for folder in described for name in (*METADATA, "METADATA.ome.xml")}
    found = {file for file in files if file.is_file()}
    for folder in folders:
        found.update(Path(top, name) for top, _, names in os.walk(folder) for name in names)
    return sorted(found)


def _between(root: Path, folder: Path) -> list[Path]:
    """The folders above `folder`, to below `root`."""
    return [parent for parent in folder.parents if root in parent.parents]


def inspect_ome_zarr(path: Path) -> Movie:
    """Describe an OME-Zarr without reading pixels; see `movie_file.inspect_movie`."""
    return movie_of(_plane_map(path, _images(path)))


def open_ome_zarr(path: Path) -> OpenedMovie:
    """Open an OME-Zarr; a plane is read at a time, and chunks of several planes are kept for the next."""
    images = _images(path)
    planes = _plane_map(path, images)
    _, places = plane_map.common_channels(path, [image.channels for image in images])
    blocks: OrderedDict[tuple[int, tuple[int, ...]], np.ndarray] = OrderedDict()
    arrays: dict[int, Any] = {}

    def read_plane(fov: int, frame: int, channel: int, z: int) -> np.ndarray | None:
        own = images[fov].array
        if fov not in arrays:
            import zarr

            arrays[fov] = zarr.open_array(own.path, mode="r", zarr_format=3 if own.v3 else 2)
        at = {"t": frame, "c": places[fov].index(channel), "z": z}
        together = _block_shape(arrays[fov], own)
        first = {axis: at[axis] - at[axis] % together[axis] for axis in "tcz"}
        key = (fov, tuple(first.values()))
        if key not in blocks:
            while len(blocks) >= len(planes.channels):
                blocks.popitem(last=False)
            chosen = tuple(
                slice(first[axis], first[axis] + together[axis]) if axis in "tcz" else slice(None) for axis in own.axes
            )
            blocks[key] = np.asarray(arrays[fov][chosen])
        blocks.move_to_end(key)
        plane = blocks[key][tuple(at[axis] - first[axis] if axis in "tcz" else slice(None) for axis in own.axes)]
        if own.axes.index("x") < own.axes.index("y"):
            plane = plane.T
        # what was never written inside a shard is read as the fill value; cameras do not give zeros throughout
        return plane if planes.n_z > 1 or plane.any() else None

    return opened_movie(planes, read_plane, blocks.clear)


def _block_shape(array: Any, own: Array) -> dict[str, int]:
    """How many frames, channels and z planes are read together: those of a chunk, unless it is very large."""
    inner = dict(zip(own.axes, array.chunks, strict=True))
    together = {axis: min(inner.get(axis, 1), own.sizes()[axis]) for axis in "tcz"}
    plane = own.sizes()["y"] * own.sizes()["x"] * own.dtype.itemsize
    return together if math.prod(together.values()) * plane <= LARGEST_BLOCK else dict.fromkeys("tcz", 1)


def _plane_map(path: Path, images: list[ZarrImage]) -> PlaneMap:
    channels, places = plane_map.common_channels(path, [image.channels for image in images])
    described = _ome_xml(path, len(images))
    fovs = []
    for at, (image, own) in enumerate(zip(images, places, strict=True)):
        sizes = image.array.sizes()
        where = plane_map.empty(sizes["t"], len(channels), sizes["z"])
        where[..., 0][:, own] = np.where(_written(image.array), at, -1)
        stamps = described[at].stamps_s if described else np.full(sizes["t"], np.nan)
        stamps = stamps if len(stamps) == sizes["t"] else np.full(sizes["t"], np.nan)
        name = (described[at].name if described else "") or image.name
        start_s = described[at].start_s if described else np.nan
        middle = _middle_um(image)
        exposures: list[list[list[float]]] = []
        if described:
            middle = described[at].position_um or middle
            exposures = plane_map.on_channels(described[at].exposures_ms, own, len(channels))
        size = sizes["y"], sizes["x"]
        of_image = image.period_s, middle, exposures, image.pixel_size_um
        fovs.append(FovMap(name, where, stamps, size, start_s, *of_image))
    dtypes = {image.array.dtype for image in images}
    return PlaneMap(
        "ome-zarr",
        [],
        plane_map.without_frames_never_taken(plane_map.same_sizes(fovs)),
        channels,
        images[0].pixel_size_um,
        images[0].period_s,
        max(dtypes, key=lambda dtype: dtype.itemsize).name,
        pixel_height_um=images[0].pixel_height_um,
    )


def _middle_um(image: ZarrImage) -> list[float] | None:
    """Where the middle of an image lies; None where transformations do not say where its corner does."""
    if image.corner_um is None or image.pixel_size_um is None:
        return None
    sizes = image.array.sizes()
    return [at + sizes[axis] * image.pixel_size_um / 2 for at, axis in zip(image.corner_um, "xy", strict=True)]


def _written(array: Array) -> np.ndarray:
    """Which planes have a chunk in the folder, (T, C, Z) bool."""
    sizes = array.sizes()
    chunks = {**dict.fromkeys(AXES, 1), **dict(zip(array.axes, array.chunks, strict=True))}
    counts = {axis: -(-sizes[axis] // chunks[axis]) for axis in AXES}
    there = np.zeros([counts[axis] for axis in "tcz"], bool)
    for place in itertools.product(*(range(counts[axis]) for axis in "tcz")):
        fixed = dict(zip("tcz", place, strict=True))
        for y, x in itertools.product(range(counts["y"]), range(counts["x"])):
            index = {**fixed, "y": y, "x": x}
            name = array.prefix + array.separator.join(str(index[axis]) for axis in array.axes)
            if (array.path / name).is_file():
                there[place] = True
                break
    for at, axis in enumerate("tcz"):
        there = np.repeat(there, chunks[axis], axis=at)
    return there[: sizes["t"], : sizes["c"], : sizes["z"]]


# ------------------------------------------------------------------------------------------------------- what is there


def _images(path: Path) -> list[ZarrImage]:
    """The images of a group, in order. Raises UserError for groups of another kind."""
    attributes = _attributes(path)
    if isinstance(plate := attributes.get("plate"), Mapping):
        found = []
        for well in plate["wells"]:
            folder = _below(path, well["path"])
            for field in _attributes(folder)["well"]["images"]:
                found.append(_image(_below(folder, field["path"]), f"{well['path']}/{field['path']}"))
        if not found:
            raise ValueError("its plate has no wells with images")
        return found
    if "bioformats2raw.layout" in attributes:
        series = _attributes(path / "OME").get("series") if (path / "OME").is_dir() else None
        if series is None:
            series = itertools.takewhile(lambda name: is_ome_zarr(path / name), map(str, itertools.count()))
        found = [_image(_below(path, name), "") for name in series]
        if not found:
            raise ValueError("it has no series")
        return found
    return [_image(path, "")]


def _image(folder: Path, name: str) -> ZarrImage:
    attributes = _attributes(folder)
    multiscales = attributes.get("multiscales")
    if not multiscales:
        raise UserError(
            f"'{folder}' is a Zarr group without `multiscales`: no image of OME-Zarr 0.4 or 0.5; name the folder of an "
            "image, of a series of bioformats2raw, or of a plate"
        )
    image = multiscales[0]
    axes = image.get("axes")
    if not axes or not all(isinstance(axis, Mapping) for axis in axes):
        version = image.get("version", "unknown")
        raise UserError(f"'{folder}' is of OME-Zarr {version}, whose axes have no types; write it anew as 0.4 or 0.5")
    letters = "".join(KINDS.get(axis.get("type", ""), str(axis["name"]).lower()) for axis in axes)
    first = image["datasets"][0]
    array = _array(_below(folder, first["path"]), letters)
    steps = [*first.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())]
    scales = [step["scale"] for step in steps if step.get("type") == "scale"]
    scale = {
        axis: math.prod(float(scale[at]) for scale in scales) if scales else None for at, axis in enumerate(letters)
    }
    units = {axis: entry.get("unit") for axis, entry in zip(letters, axes, strict=True)}
    per = seconds_per(units.get("t"))
    step = positive_number(scale.get("t"))
    n_channels = array.sizes()["c"]
    labels = [str(entry.get("label") or "") for entry in attributes.get("omero", {}).get("channels", ())]
    labels = labels if len(labels) == n_channels else [""] * n_channels
    return ZarrImage(
        name or str(image.get("name") or ""),
        array,
        [label or f"C{at}" for at, label in enumerate(labels)],
        length_um(scale.get("x"), units.get("x")),
        length_um(scale.get("y"), units.get("y")),
        step * per if step and per else None,
        _corner_um(steps, letters, units),
    )


def _corner_um(steps: Sequence[Mapping[str, Any]], axes: str, units: Mapping[str, str | None]) -> list[float] | None:
    """Where transformations put the corner of an image; None where none moves it, or in a unit that is no length."""
    per = [UM_PER.get(plain_length(units.get(axis) or "")) for axis in "xy"]
    if None in per or not any(step.get("type") == "translation" for step in steps):
        return None
    place = dict.fromkeys("xy", 0.0)
    for step in steps:
        for axis in "xy":
            if step.get("type") == "translation":
                place[axis] += float(step["translation"][axes.index(axis)])
            elif step.get("type") == "scale" and any(place.values()):
                place[axis] *= float(step["scale"][axes.index(axis)])
    return position_um(place["x"] * per[0], place["y"] * per[1])


def _array(folder: Path, axes: str) -> Array:
    v3 = (folder / "zarr.json").is_file()
    known = _json(folder / ("zarr.json" if v3 else ".zarray"))
    shape = tuple(int(length) for length in known["shape"])
    if len(shape) != len(axes) or len(set(axes)) < len(axes) or not {"y", "x"} <= set(axes):
        raise ValueError(f"its axes {axes!r} are not those of an array of shape {shape}")
    others = [axis for axis, length in zip(axes, shape, strict=True) if axis not in AXES]
    if others:
        raise UserError(f"'{folder}' has the axis {others[0]!r}; there may be t, c, z, y and x: write it anew without")
    if min(shape) < 1:
        raise ValueError(f"it has the shape {shape}")
    if v3:
        chunks, dtype = known["chunk_grid"]["configuration"]["chunk_shape"], np.dtype(known["data_type"])
        keys = known.get("chunk_key_encoding", {"name": "default"})
        default = keys["name"] == "default"
        separator = keys.get("configuration", {}).get("separator", "/" if default else ".")
        prefix = f"c{separator}" if default else ""
    else:
        chunks, dtype = known["chunks"], np.dtype(known["dtype"])
        separator, prefix = known.get("dimension_separator", "."), ""
    if dtype.kind not in "ui":
        raise UserError(f"'{folder}': {dtype} pixels cannot be used; export the movie with 16-bit integers")
    if len(chunks) != len(shape) or min(chunks) < 1:
        raise ValueError(f"its chunks {chunks} are not those of an array of shape {shape}")
    return Array(folder, axes, shape, tuple(map(int, chunks)), dtype, v3, separator, prefix)


def _attributes(group: Path) -> dict[str, Any]:
    """The attributes of a group, those of version 0.5 out of their own place."""
    if (group / "zarr.json").is_file():
        attributes = _json(group / "zarr.json").get("attributes", {})
        return {**attributes, **attributes.get("ome", {})}
    return _json(group / ".zattrs")


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{file}' is missing; copy the whole folder again") from None
    except ValueError as error:
        raise ValueError(f"{file.name} in {file.parent.name} is damaged") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} in {file.parent.name} is damaged")
    return found


def _below(folder: Path, name: str) -> Path:
    """A folder that metadata name, which is below this one."""
    parts = Path(str(name)).parts
    if not parts or ".." in parts or Path(str(name)).is_absolute():
        raise ValueError(f"it names the folder {str(name)!r}, which is not in it")
    return folder.joinpath(*parts)


def _ome_xml(path: Path, n_images: int) -> list[ome_xml.OmeImage]:
    """The images as the OME-XML of a bioformats2raw layout describes them; none where it is not there or of others."""
    file = path / "OME" / "METADATA.ome.xml"
    if not file.is_file():
        return []
    root = ome_xml.parse_ome_xml(file.read_text(encoding="utf-8"))
    images = ome_xml.every_image(root)
    return images if len(images) == n_images else []
