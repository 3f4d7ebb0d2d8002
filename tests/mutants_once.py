"""Small TIFF and LIF files and where their parts lie, for `mutants`: formats that say everything once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import tifffile
from mutants import Intact
from test_lif import element, write_lif
from tiff_tools import image, ome, pixels, tiff_data, write_pages

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8}  # bytes of a value by its type


def _ome_tiff(folder: Path, **options) -> Intact:
    images = pixels(2, 3, 2) >> 6
    places = [(t, c, 0, 2 * t + c) for t in range(3) for c in range(2)]
    parts = [
        image({"T": 3, "C": 2}, tiff_data([(*place, page + 6 * fov) for *place, page in places]), channels=["a", "b"])
        for fov in range(2)
    ]
    path = write_pages(
        folder / "intact.ome.tif", [plane for fov in images for frame in fov for plane in frame], ome(*parts), **options
    )
    return parts_of_tiff(path)


def _hyperstack(folder: Path) -> Intact:
    path = folder / "intact.tif"
    metadata = {"axes": "TCYX", "finterval": 60.0, "unit": "um"}
    tifffile.imwrite(path, pixels(3, 2), imagej=True, metadata=metadata, resolution=(2.0, 2.0))
    return parts_of_tiff(path)


def _lif(folder: Path) -> Intact:
    images = pixels(2, 3, 2, 1)
    path = write_lif(
        folder / "intact.lif", *(element(f"P{fov}", fov, images[fov : fov + 1], "TCYX") for fov in range(2))
    )
    return parts_of_lif(path)


FILES: dict[str, Callable[[Path], Intact]] = {
    "ome-tiff": _ome_tiff,
    "ome-tiff compressed": lambda folder: _ome_tiff(folder, compression="zlib"),
    "imagej": _hyperstack,
    "lif": _lif,
}


def parts_of_tiff(path: Path) -> Intact:
    """The directories of a TIFF that is no BigTIFF, and what they point to."""
    content = path.read_bytes()
    intact = Intact("".join(path.suffixes), content, once=True)
    order = "<" if content[:2] == b"II" else ">"
    intact.add(0, 4, "header")
    intact.number(4, f"{order}I", "first directory")
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    while at:
        (count,) = struct.unpack_from(f"{order}H", content, at)
        intact.number(at, f"{order}H", "number of tags")
        known = {}
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            code, kind, length = struct.unpack_from(f"{order}HHI", content, entry)
            intact.number(entry, f"{order}H", "code of a tag")
            intact.number(entry + 2, f"{order}H", "type of a tag")
            intact.number(entry + 4, f"{order}I", "length of a tag")
            intact.number(entry + 8, f"{order}I", f"value of tag {code}")
            size = SIZES.get(kind, 1) * length
            if size > 4:
                (place,) = struct.unpack_from(f"{order}I", content, entry + 8)
                intact.add(place, size, f"text of tag {code}", value=True)
            (known[code],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", content, entry + 8)
        intact.add(known[273], known[279], "pixels")
        end = at + 2 + 12 * count
        intact.number(end, f"{order}I", "next directory")
        intact.blocks += [(at, end + 4), (known[273], known[273] + known[279])]
        (at,) = struct.unpack_from(f"{order}I", content, end)
    return intact


def parts_of_lif(path: Path) -> Intact:
    """The description and the memory blocks of a LIF of version 2."""
    content = path.read_bytes()
    intact = Intact(".lif", content, once=True)
    (length,) = struct.unpack_from("<I", content, 9)
    for at, form in ((0, "<I"), (4, "<I"), (8, "<B"), (9, "<I")):
        intact.number(at, form, f"header {at}")
    at = intact.add(13, 2 * length, "xml", value=True)
    intact.blocks.append((0, at))
    while at < len(content):
        begin = at
        size, letters = struct.unpack_from("<Q", content, at + 9)[0], struct.unpack_from("<I", content, at + 18)[0]
        for offset, form in ((0, "<I"), (4, "<I"), (8, "<B"), (9, "<Q"), (17, "<B"), (18, "<I")):
            intact.number(at + offset, form, f"block {offset}")
        at = intact.add(at + 22, 2 * letters, "name of a block")
        at = intact.add(at, size, "pixels")
        intact.blocks.append((begin, at))
    return intact
