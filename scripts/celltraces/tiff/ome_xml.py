"""Understand OME-XML: the images of a TIFF or of a set of TIFFs, and which page is which plane of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celltraces.metadata import (
    UM_PER,
    exposure_changes,
    length_um,
    plain_length,
    position_um,
    positive_number,
    posix_seconds,
    refuse_declarations,
    seconds_per,
    whole_number,
)
from celltraces.tiff.plane_map import MANY_PLANES, in_order

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

AXES = "CTZ"
LEFT_OUT = re.compile(
    r"(^|.*[\[( #_/-])(label image|macro image|thumbnail( image)?|overview( image)?)[\])]?|label|macro", re.IGNORECASE
)
"""Names of images that are no FOVs: what scanners of slides add to the one that was asked for."""


class OmeImage(NamedTuple):
    """One image: what planning needs to know of it, and its element, for the pages."""

    name: str
    sizes: dict[str, int]  # of C, T and Z
    order: str  # of these, the fastest first
    shape: tuple[int, int]
    dtype: str
    channels: list[str]
    pixel_size_um: float | None
    pixel_height_um: float | None
    period_s: float | None
    stamps_s: np.ndarray  # (T,) s
    start_s: float  # when it was acquired, NaN where that is not said
    position_um: list[float] | None
    exposures_ms: list[list[list[float]]]  # by channel; see readers.movie.Movie
    pixels: Element


def parse_ome_xml(xml: str) -> Element:
    """The root of an OME-XML. Raises ValueError or SyntaxError for what is none."""
    from xml.etree.ElementTree import fromstring

    refuse_declarations(xml)
    root = fromstring(xml.strip().strip("\0").encode())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    if root.tag != "OME":
        raise ValueError("its metadata are no OME-XML")
    if further := [element.tag for element in root.iter() if element.tag.startswith("ModuloAlong")]:
        raise ValueError(
            f"its planes have a further axis ({further[0]}), as lifetimes or wavelengths; a movie has none"
        )
    return root


def images(root: Element) -> list[OmeImage]:
    """All images that may be FOVs: not those of colours, nor those whose name says that they are something else, unless
    there are no others."""
    found = every_image(root)
    for left_out in (lambda image: bool(LEFT_OUT.fullmatch(image.name)), _is_coloured):
        others = [image for image in found if not left_out(image)]
        found = others or found
    return found


def every_image(root: Element) -> list[OmeImage]:
    """All images, in order."""
    return [_image(element) for element in root.iterfind("Image") if element.find("Pixels") is not None]


def _is_coloured(image: OmeImage) -> bool:
    return any(
        whole_number(channel.get("SamplesPerPixel"), "SamplesPerPixel", 1) > 1
        for channel in image.pixels.iterfind("Channel")
    )


def _image(element: Element) -> OmeImage:
    pixels = element.find("Pixels")
    sizes = {axis: whole_number(pixels.get(f"Size{axis}"), f"Size{axis}") for axis in AXES}
    order = pixels.get("DimensionOrder", "")
    if sorted(order) != sorted("XY" + AXES) or not order.startswith("XY"):
        raise ValueError(f"DimensionOrder {order!r} is none of those of OME")
    if min(sizes.values()) < 1 or np.prod([float(size) for size in sizes.values()]) > MANY_PLANES:
        raise ValueError(f"it announces {sizes['T']} frames, {sizes['C']} channels and {sizes['Z']} z planes")
    samples = [
        whole_number(channel.get("SamplesPerPixel"), "SamplesPerPixel", 1) for channel in pixels.iterfind("Channel")
    ]
    if any(count > 1 for count in samples):
        # SizeC counts samples; a page holds all of a channel
        sizes["C"] = max(1, sizes["C"] - sum(count - 1 for count in samples))
    names = [channel.get("Name") or "" for channel in pixels.iterfind("Channel")]
    names += [""] * (sizes["C"] - len(names))
    label = element.find("StageLabel")
    period = positive_number(pixels.get("TimeIncrement"))
    start = posix_seconds(element.findtext("AcquisitionDate"))
    per = seconds_per(pixels.get("TimeIncrementUnit", "s"))
    return OmeImage(
        name=element.get("Name") or (label.get("Name") if label is not None else None) or "",
        sizes=sizes,
        order=order[2:],
        shape=(whole_number(pixels.get("SizeY"), "SizeY"), whole_number(pixels.get("SizeX"), "SizeX")),
        dtype=pixels.get("Type", ""),
        channels=[name or f"C{at}" for at, name in enumerate(names[: sizes["C"]])],
        pixel_size_um=length_um(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "um")),
        pixel_height_um=length_um(pixels.get("PhysicalSizeY"), pixels.get("PhysicalSizeYUnit", "um")),
        period_s=None if period is None or per is None else period * per,
        stamps_s=_stamps_s(pixels, sizes["T"]),
        start_s=math.nan if start is None else start,
        position_um=_position_um(pixels),
        exposures_ms=_exposures_ms(pixels, sizes),
        pixels=pixels,
    )


def _stamps_s(pixels: Element, n_frames: int) -> np.ndarray:
    """The time of the earliest plane of each frame (T,) s, NaN where no plane has one."""
    stamps = np.full(n_frames, np.nan)
    for plane in pixels.iterfind("Plane"):
        per = seconds_per(plane.get("DeltaTUnit", "s"))
        try:
            frame, seconds = int(plane.get("TheT", "")), float(plane.get("DeltaT", "")) * (per or np.nan)
        except ValueError:
            continue
        if 0 <= frame < n_frames and np.isfinite(seconds):
            stamps[frame] = np.fmin(stamps[frame], seconds)
    return stamps


def _position_um(pixels: Element) -> list[float] | None:
    """Where the stage stood for the first plane that says it in a unit of length; OME's own unit has none."""
    for plane in pixels.iterfind("Plane"):
        per = [UM_PER.get(plain_length(plane.get(f"Position{axis}Unit", ""))) for axis in "XY"]
        if None not in per and per[0] == per[1]:
            return position_um(plane.get("PositionX"), plane.get("PositionY"), per[0])
    return None


def _exposures_ms(pixels: Element, sizes: dict[str, int]) -> list[list[list[float]]]:
    """How long each channel was exposed, by frame; the longest of the z planes."""
    found = np.full((sizes["C"], sizes["T"]), np.nan)
    for plane in pixels.iterfind("Plane"):
        per, exposure = seconds_per(plane.get("ExposureTimeUnit", "s")), positive_number(plane.get("ExposureTime"))
        try:
            at = int(plane.get("TheC", "")), int(plane.get("TheT", ""))
        except ValueError:
            continue
        if per and exposure and 0 <= at[0] < sizes["C"] and 0 <= at[1] < sizes["T"]:
            found[at] = np.fmax(found[at], 1000 * exposure * per)
    return [exposure_changes(of_channel) for of_channel in found.tolist()]


def pages(image: OmeImage, n_pages: Any) -> Iterator[tuple[int, int, int, str | None, str | None, int]]:
    """(frame, channel, z, name of the file, UUID, page) of each plane; no name for the file that has the XML.

    n_pages(name, UUID): how many pages a file has, for elements that do not say how many are meant.
    """
    sizes = image.sizes
    total = sizes["C"] * sizes["T"] * sizes["Z"]
    elements = list(image.pixels.iterfind("TiffData"))
    if not elements and image.pixels.find("MetadataOnly") is None and image.pixels.find("BinData") is None:
        elements = [image.pixels.makeelement("TiffData", {})]  # some writers leave out what would say "all in order"
    for element in elements:
        uuid = element.find("UUID")
        name = None if uuid is None else uuid.get("FileName")
        text = None if uuid is None else (uuid.text or "").strip() or None
        first = {axis: whole_number(element.get(f"First{axis}"), f"First{axis}", 0) for axis in AXES}
        if any(not 0 <= first[axis] < sizes[axis] for axis in AXES):
            continue  # beyond what is announced: some writers correct the sizes and leave these
        page = whole_number(element.get("IFD"), "IFD", 0)
        count = element.get("PlaneCount")
        plane = _number(image.order, sizes, first)
        if count is not None:
            n = whole_number(count, "PlaneCount")
        else:
            n = 1 if element.get("IFD") is not None else min(n_pages(name, text), total)
        for further in range(max(0, min(n, total - plane))):
            at = in_order(image.order, sizes, plane + further)
            yield at["T"], at["C"], at["Z"], name, text, page + further


def _number(order: str, sizes: dict[str, int], at: dict[str, int]) -> int:
    number = 0
    for axis in reversed(order):
        number = number * sizes[axis] + at[axis]
    return number
