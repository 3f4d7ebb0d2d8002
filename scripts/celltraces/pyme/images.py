"""Write the frames of a FOV for PYME: a spool (.h5), a TIFF with metadata beside it, or a folder of compressed frames.

All raw channels as uint16, nothing lost. In spools and folders the channel varies fastest (XYCZT), and a frame lies
there as (X, Y); frames that the microscope's file did not hold are left out of the spool, and zeros elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.exports import ome
from celltraces.exports.fov import Fov
from celltraces.files import whole, write_text
from celltraces.pyme import pzf
from celltraces.pyme.metadata import to_json, to_md, to_xml, write_attribute, write_groups
from celltraces.pyme.shared import events_of, metadata_of, write_events
from celltraces.storage.hdf5 import new_file

ORDER = "XYCZT"
AS_TEXT = {".json": to_json, ".md": to_md, ".xml": to_xml}


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write raw channels and metadata, each file in the form that its ending names."""
    for path in outputs:
        if path.suffix in AS_TEXT:
            write_text(path, AS_TEXT[path.suffix](frames_metadata(fov)))
        else:
            write = {".h5": write_spool, ".tif": write_tif}.get(path.suffix, write_series)
            with whole(path) as partial:
                write(partial, fov)


def frames_metadata(fov: Fov) -> dict[str, Any]:
    """The metadata of the frames."""
    n_frames, height, width = next(iter(fov.channels.values())).shape
    named = fov.settings["channels"]
    return {
        **metadata_of(fov.settings, len(fov.channels)),
        "ChannelNames": [_printable(f"{name} ({named[name.rpartition('_')[2]]})") for name in fov.channels],
        "Camera.ROIWidth": width,
        "Camera.ROIHeight": height,
        "DimOrder": ORDER,
        **{"SizeC": len(fov.channels), "SizeZ": 1, "SizeT": n_frames},
    }


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def planes_of(fov: Fov) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Number, pixels (H, W), and whether the microscope's file held it, of every frame in the order of a spool."""
    channels = list(fov.channels.values())
    for frame in range(channels[0].shape[0]):
        for at, channel in enumerate(channels):
            held = frame not in channel.attributes.get("missing_frames", ())
            yield frame * len(channels) + at, channel.read(frame), held


def write_spool(path: Path, fov: Fov) -> None:
    """Write all raw frames that the file held as one HDF5 spool."""
    metadata = frames_metadata(fov)
    width, height = (metadata[f"Camera.ROI{side}"] for side in ("Width", "Height"))
    count = metadata["SizeT"] * metadata["SizeC"]
    with new_file(path) as file:
        packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "track_times": False}
        shape, chunks, growing = (count, width, height), (1, width, height), (None, width, height)
        data = file.create_dataset("ImageData", shape, np.uint16, chunks=chunks, maxshape=growing, **packing)
        for name in ("DimOrder", "SizeC", "SizeZ", "SizeT"):
            write_attribute(data, name, metadata[name])
        for number, image, held in planes_of(fov):
            if held:
                data[number] = image.T
        write_groups(file, metadata)
        write_events(file, events_of(fov.settings, len(fov.channels)))


def write_tif(path: Path, fov: Fov) -> None:
    """Write all raw frames as one TIFF, (T, C, Y, X) uint16."""
    metadata = frames_metadata(fov)
    sizes = (metadata["SizeT"], metadata["SizeC"], metadata["Camera.ROIHeight"], metadata["Camera.ROIWidth"])
    ome.write_ome_tiff(
        path,
        (image for _, image, _ in planes_of(fov)),
        sizes,
        np.uint16,
        "TCYX",
        channels=metadata["ChannelNames"],
        pixel_size_um=fov.settings["pixel_size_um"],
        times_min=fov.settings["times_min"],
    )


def write_series(folder: Path, fov: Fov) -> None:
    """frame00000.pzf ..., metadata.json and events.json, as a camera's series lies on PYME's cluster."""
    series = folder / fov.base
    series.mkdir(parents=True)
    for number, image, _ in planes_of(fov):
        (series / f"frame{number:05d}.pzf").write_bytes(pzf.encode(image, number))
    text = to_json(frames_metadata(fov))
    for name in ("metadata.json", "final_metadata.json"):
        (series / name).write_bytes(text.encode())
    (series / "events.json").write_bytes(json.dumps(events_of(fov.settings, len(fov.channels))).encode())
