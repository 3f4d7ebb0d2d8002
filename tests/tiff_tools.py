"""Write TIFFs as microscopes and programs leave them, page by page and with metadata as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

HEIGHT, WIDTH = 9, 14


def pixels(*shape: int, seed: int = 5) -> np.ndarray:
    """(..., H, W) uint16; no plane is like another."""
    return np.random.default_rng(seed).integers(1, 65536, (*shape, HEIGHT, WIDTH), dtype=np.uint16)


def write_pages(path: Path, planes: Sequence[np.ndarray], description: str = "", **options) -> Path:
    """A TIFF with a page for each plane (H, W); the first has the description."""
    tags = options.pop("tags", [()] * len(planes))
    with tifffile.TiffWriter(
        path, **{key: options.pop(key) for key in ("bigtiff", "byteorder") if key in options}
    ) as w:
        for number, (plane, extra) in enumerate(zip(planes, tags, strict=True)):
            text = description.encode() if number == 0 and description else None
            w.write(
                plane,
                description=text,
                metadata=None,
                contiguous=False,
                extratags=extra,
                software=False,
                **{"photometric": "minisblack", **options},
            )
    return path


def micro_manager_tag(**values) -> tuple:
    """The tag in which Micro-Manager writes what it knows of a page."""
    text = json.dumps(values).encode() + b"\0"
    return (51123, 2, len(text), text, False)


def ome(*images: str, uuid: str = "") -> str:
    own = f' UUID="{uuid}"' if uuid else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{own}>{"".join(images)}</OME>'
    )


def image(
    sizes: dict[str, int],
    tiff_data: str = "<TiffData/>",
    *,
    name: str = "",
    order: str = "XYCZT",
    number: int = 0,
    shape: tuple[int, int] = (HEIGHT, WIDTH),
    channels: Sequence[str] = (),
    pixel: str = "",
    planes: str = "",
    kind: str = "uint16",
    samples: int = 1,
) -> str:
    """The Image element of an OME-XML; `pixel`: further attributes of Pixels, `planes`: its Plane elements."""
    sizes = {"C": 1, "Z": 1, "T": 1, **sizes}
    written = "".join(f' Size{axis}="{size}"' for axis, size in sizes.items())
    named = "".join(
        f'<Channel ID="Channel:{number}:{at}" Name="{channel}" SamplesPerPixel="{samples}"/>'
        for at, channel in enumerate(channels)
    )
    return (
        f'<Image ID="Image:{number}" Name="{name}"><Pixels ID="Pixels:{number}" DimensionOrder="{order}" Type="{kind}" '
        f'SizeX="{shape[1]}" SizeY="{shape[0]}"{written} {pixel}>{named}{tiff_data}{planes}</Pixels></Image>'
    )


def tiff_data(planes: Sequence[tuple[int, int, int, int]], file: str = "", uuid: str = "") -> str:
    """TiffData elements for (T, C, Z, page); with the file's name and UUID where it is one of a set."""
    inner = f'<UUID FileName="{file}">{uuid}</UUID>' if file else ""
    return "".join(
        f'<TiffData FirstT="{t}" FirstC="{c}" FirstZ="{z}" IFD="{page}" PlaneCount="1">{inner}</TiffData>'
        for t, c, z, page in planes
    )
