"""Find the planes of TIFFs whose first page describes their axes: ImageJ, tifffile, MetaMorph, Micro-Manager."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import length_um, positive_number, seconds_per, whole_number
from celltraces.tiff import plane_map, tags
from celltraces.tiff.pages import Pages, tag
from celltraces.tiff.plane_map import FovMap, PlaneMap

if TYPE_CHECKING:
    from tifffile import TiffPage

RESOLUTIONS = 282, 283  # pixels per unit along a row, and along a column


def stack_map(path: Path) -> PlaneMap:
    """The planes of one file. Raises UserError where it does not say which axes its pages are."""
    pages = Pages([path])
    try:
        count = pages.count(0)
        if not count:
            raise ValueError("it has no pages")
        first = pages.page(0, 0)
        if first.description.startswith("ImageJ="):
            return _imagej(path, pages, first, count)
        if isinstance(tag(first, tags.UIC2), Mapping):
            return _metamorph(path, first)
        if isinstance(tag(first, tags.MICRO_MANAGER), Mapping):
            return _micro_manager(path, pages, count)
        if first.description.startswith('{"'):
            return _shaped(path, pages, first, count)
        kept = [number for number in range(count) if not pages.page(0, number).subfiletype & 1]  # no small copies
    finally:
        pages.close()
    if len(kept) != 1:
        raise UserError(
            f"'{path}' has {len(kept)} pages and does not say which are frames, channels or z planes; save it from "
            "Fiji with its axes set (Image > Hyperstacks > Stack to Hyperstack), or as OME-TIFF"
        )
    where = plane_map.empty(1, 1, 1)
    where[0, 0, 0] = 0, kept[0], 0
    return PlaneMap("tiff", [path], [FovMap("", where, np.full(1, np.nan), None)], ["C0"])


def _placed(path: Path, pages: Pages, order: str, sizes: dict[str, int], count: int) -> np.ndarray:
    """The planes of a file whose axes are known: a page each, or all behind the first."""
    total = sizes["C"] * sizes["T"] * sizes["Z"]
    where = plane_map.empty(sizes["T"], sizes["C"], sizes["Z"])
    if count < total and (count > 1 or pages.planes_after(0, 0) < total):
        raise ValueError(f"it holds fewer planes than the {total} that it announces")
    for plane in range(total):
        at = plane_map.in_order(order, sizes, plane)
        where[at["T"], at["C"], at["Z"]] = (0, plane, 0) if count >= total else (0, 0, plane)
    return where


def _imagej(path: Path, pages: Pages, first: TiffPage, count: int) -> PlaneMap:
    """ImageJ's hyperstacks: channels vary fastest, then slices, then frames."""
    pairs = (line.split("=", 1) for line in first.description.splitlines() if "=" in line)
    known = {key.strip(): value.strip() for key, value in pairs}
    n_images = whole_number(known.get("images"), "images", 1)
    sizes = {
        axis: whole_number(known.get(key), key, 1)
        for axis, key in (("C", "channels"), ("Z", "slices"), ("T", "frames"))
    }
    if sizes["C"] * sizes["Z"] * sizes["T"] != n_images:
        if set(sizes.values()) == {1}:
            raise UserError(
                f"'{path}' has {n_images} images and does not say which are frames, channels or slices; set these in "
                "Fiji (Image > Hyperstacks > Stack to Hyperstack) and save it anew"
            )
        raise ValueError(f"its {n_images} images are not those of its channels, slices and frames")
    interval, per = positive_number(known.get("finterval")), seconds_per(known.get("tunit", "s"))
    width, height = (_pixel_um(tag(first, name), known.get("unit")) for name in RESOLUTIONS)
    labels = _labels(first, n_images)
    return PlaneMap(
        "imagej",
        [path],
        [FovMap("", _placed(path, pages, "CZT", sizes, count), np.full(sizes["T"], np.nan), None)],
        labels[: sizes["C"]] if _are_channels(labels, sizes["C"]) else [f"C{at}" for at in range(sizes["C"])],
        width,
        interval * per if interval and per else None,
        pixel_height_um=height,
    )


def _pixel_um(resolution: Any, unit: str | None) -> float | None:
    """The length of a pixel from how many of them there are in a unit, which a tag gives as a fraction."""
    per_unit = resolution[0] / resolution[1] if resolution and resolution[1] else 0.0
    return length_um(1.0 / per_unit, unit) if per_unit > 0 else None


def _labels(first: TiffPage, n_images: int) -> list[str]:
    metadata = tag(first, "IJMetadata")
    labels = metadata.get("Labels") if isinstance(metadata, Mapping) else None
    return [str(label) for label in labels] if isinstance(labels, list) and len(labels) == n_images else []


def _are_channels(labels: list[str], n_channels: int) -> bool:
    """Whether the labels of the slices are names of channels: they come again with every slice and frame."""
    names = labels[:n_channels]
    return (
        bool(labels)
        and all(names)
        and len(set(names)) == n_channels
        and all(label == names[at % n_channels] for at, label in enumerate(labels))
        and len(labels) > n_channels
    )


def _shaped(path: Path, pages: Pages, first: TiffPage, count: int) -> PlaneMap:
    """What tifffile writes: the shape, and which axes it is of where the user told these."""
    known: dict[str, Any] = json.loads(first.description)
    shape, axes = known.get("shape", ()), str(known.get("axes", ""))
    lengths = dict(zip(axes, map(int, shape), strict=True)) if len(axes) == len(shape) else {}
    others = {axis: length for axis, length in lengths.items() if axis not in "CTZYX" and length > 1}
    if not axes.endswith("YX") or others or len(set(axes)) < len(axes):
        if int(np.prod([float(length) for length in shape[:-2]])) == 1 and count == 1:
            axes, lengths = "", {}
        else:
            raise UserError(
                f"'{path}' has the shape {'x'.join(map(str, shape))} and does not say which axes these are; write it "
                "with axes of T, C, Z, Y and X (metadata={'axes': 'TCYX'}), or as OME-TIFF"
            )
    order = "".join(axis for axis in reversed(axes) if axis in "CTZ")
    order += "".join(axis for axis in "CZT" if axis not in order)
    sizes = {axis: lengths.get(axis, 1) for axis in "CTZ"}
    where = _placed(path, pages, order, sizes, count)
    return PlaneMap(
        "tiff",
        [path],
        [FovMap("", where, np.full(sizes["T"], np.nan), None)],
        [f"C{at}" for at in range(sizes["C"])],
    )


def _metamorph(path: Path, first: TiffPage) -> PlaneMap:
    """A stack of MetaMorph alone."""
    n_planes, in_z = tags.stack_planes(first)
    if in_z is None:
        raise UserError(
            f"'{path}' has {n_planes} planes and does not say whether they are frames or z planes; name the .nd file "
            "of the acquisition, or set the axes in Fiji and save it anew"
        )
    n_frames = 1 if in_z else n_planes
    where = plane_map.empty(n_frames, 1, n_planes // n_frames)
    where[..., 0], where[..., 1] = 0, 0
    where[..., 2] = np.arange(n_planes).reshape(where.shape[:3])
    found = [tags.stack_facts(first, plane) for plane in range(n_frames)]
    stamps = np.array([np.nan if facts.stamp_s is None else facts.stamp_s for facts in found])
    return PlaneMap("metamorph", [path], [FovMap("", where, stamps, None)], ["C0"], found[0].pixel_size_um)


class MetaMorphStack(NamedTuple):
    """How many planes a file has, and whether they lie behind the first page instead of in pages of their own."""

    n_planes: int
    behind_first: bool


def metamorph_planes(pages: Pages, file: int) -> MetaMorphStack:
    """The planes of a file that a .nd file names: a stack of MetaMorph, or a TIFF with a page each."""
    first = pages.page(file, 0)
    if isinstance(tag(first, tags.UIC2), Mapping):
        return MetaMorphStack(tags.stack_planes(first)[0], True)
    return MetaMorphStack(pages.count(file), False)


def _micro_manager(path: Path, pages: Pages, count: int) -> PlaneMap:
    """A file of Micro-Manager without OME-XML, as an acquisition that crashed leaves it: each page says what it is."""
    places: dict[tuple[int, int, int, int], int] = {}
    names: dict[int, str] = {}
    positions: dict[int, str] = {}
    for number in range(count):
        written = tag(pages.page(0, number), tags.MICRO_MANAGER)
        if not isinstance(written, Mapping):
            raise ValueError(f"page {number} does not say which plane it is")
        place = tuple(int(written.get(key, 0)) for key in ("PositionIndex", "FrameIndex", "ChannelIndex", "SliceIndex"))
        if place in places or min(place) < 0:
            raise ValueError(f"pages {places.get(place, number)} and {number} say that they are the same plane")
        places[place] = number
        names.setdefault(place[2], str(written.get("Channel") or ""))
        positions.setdefault(place[0], str(written.get("PositionName") or ""))
    sizes = [1 + max(place[axis] for place in places) for axis in range(1, 4)]
    fovs = []
    for position, name in sorted(positions.items()):
        where = plane_map.empty(*sizes)
        for (own, frame, channel, z), number in places.items():
            if own == position:
                where[frame, channel, z] = 0, number, 0
        fovs.append(FovMap(name, where, np.full(sizes[0], np.nan), None))
    return PlaneMap("micro-manager", [path], fovs, [names.get(at) or f"C{at}" for at in range(sizes[1])])
