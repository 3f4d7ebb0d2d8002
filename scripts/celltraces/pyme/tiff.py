"""Read small TIFF files that are not movies: pictures of beads, point spread functions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import refuse_declarations
from celltraces.pyme import metadata

ENDINGS = (".tif", ".tiff")
LARGEST = 1 << 30  # bytes of pixels
OTHERS = "QIS"  # what tifffile calls an axis of which nothing is known


class TiffImage(NamedTuple):
    """Pixels, a letter for each axis (Y and X last), and the size of a voxel in um where the file says it."""

    pixels: np.ndarray
    axes: str
    voxel_um: dict[str, float]


def read_tiff(path: Path) -> TiffImage:
    """Read a TIFF; sizes are those of the metadata of PYME beside it, else of OME in it. Raises UserError."""
    import tifffile

    beside = metadata.read_beside(path)
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if series.nbytes > LARGEST or series.nbytes > 1100 * path.stat().st_size:
                raise ValueError("it announces more pixels than it can hold")
            if series.axes[-2:] != "YX":
                raise ValueError(f"its axes are {series.axes}; the last ones must be YX")
            pixels, axes = series.asarray(), series.axes
            sizes = _ome_sizes(file.ome_metadata or "") if file.is_ome else {}
    except OSError as error:
        raise UserError(f"'{path}' cannot be opened ({error.strerror}); check the path") from None
    except Exception as error:  # damaged files make the library raise every kind of exception
        raise UserError(f"'{path}' is no readable TIFF: {' '.join(str(error).split())[:150]}; save it anew") from error
    sizes |= {axis: beside[f"voxelsize.{axis}"] for axis in "xyz" if f"voxelsize.{axis}" in beside}
    return TiffImage(pixels, axes, {axis: float(size) for axis, size in sizes.items() if isinstance(size, int | float)})


def _ome_sizes(xml: str) -> dict[str, float]:
    refuse_declarations(xml)
    for entry in ElementTree.fromstring(xml).iter():
        if entry.tag.endswith("}Pixels"):
            found = {axis: entry.get(f"PhysicalSize{axis.upper()}") for axis in "xyz"}
            units = {entry.get(f"PhysicalSize{axis.upper()}Unit", "µm") for axis in "xyz"}
            if units <= {"µm", "um"}:
                return {axis: float(size) for axis, size in found.items() if size}
    return {}
