"""Write playNano bundles of one channel (NPZ, HDF5 and OME-TIFF) with layers, masks and provenance.

`data` is the raw channel as float32, in which counts and labels are exact; the layers are the steps of this workflow:
the mask `step_1_segmentation`, the cells `step_2_tracking` (or `step_2_corrections`, `step_2_edits`), the background
estimate `step_3_background`. Text is stored as text, where the program itself pickles: it reads both. Times are in
seconds.
"""

from __future__ import annotations

import json
import platform
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.exports import ome
from celltraces.exports.fov import Fov
from celltraces.files import whole
from celltraces.labels import shared_pixels
from celltraces.storage.hdf5 import new_file, new_group

DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the same images are the same bytes
EXACT = 1 << 24  # the first whole number after which float32 skips some
# Step and script that make the labels whose names begin so.
MADE_BY = {
    "seg_tracked": ("tracking", "track_cells"),
    "seg_corrected": ("corrections", "apply_corrections"),
    "seg_edited": ("edits", "apply_edits"),
}
PACKAGES = ("numpy", "scipy", "scikit-image", "opencv-python-headless", "snakemake")


class Layer(NamedTuple):
    """A (T, H, W) array under its key: float32, or a mask."""

    key: str
    is_mask: bool
    read: Callable[[int], np.ndarray]


class Bundle(NamedTuple):
    """Everything about one channel that the formats hold."""

    channel: str
    shape: tuple[int, int, int]
    data: Callable[[int], np.ndarray]
    layers: list[Layer]
    pixel_size_nm: float
    times_s: list[float]
    provenance: dict[str, Any]

    @property
    def frame_metadata(self) -> list[dict[str, Any]]:
        """What playNano keeps of each frame; None for what a microscope of light does not have."""
        unknown = dict.fromkeys(("frame_duration_s", "start_epoch_ms", "scan_direction", "line_rate"))
        return [{"timestamp": time, "frame_pixel_size_nm": self.pixel_size_nm, **unknown} for time in self.times_s]


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write one file for each raw channel, in the format that its ending names."""
    for path, (name, image) in zip(outputs, fov.channels.items(), strict=True):
        content = bundle(fov, name, image)
        write = {".npz": write_npz, ".h5": write_h5, ".tif": write_raw_channel}[path.suffix]
        with whole(path) as partial:
            write(partial, content)


def bundle(fov: Fov, name: str, image: shared_pixels.FrameStack) -> Bundle:
    """What there is of one channel. Raises UserError where the pixel size is not known."""
    known = fov.settings
    if not known["pixel_size_um"]:
        raise UserError("playnano needs a pixel size, and the file has none; set params.pixel_size_um")
    layers = [Layer("raw", False, _floats(image))]
    steps: list[dict[str, Any]] = []
    size = list(image.shape)

    def add(stage: str, step: str, kind: str, module: str, array: shared_pixels.FrameStack, is_mask: bool) -> None:
        key = f"step_{len(steps) + 1}_{step}"
        read = (lambda frame: array.read(frame) > 0) if is_mask else _floats(array)
        layers.append(Layer(key, is_mask, read))
        what = "mask" if is_mask else "output"
        summary = {"shape": size, "dtype": "bool" if is_mask else "float32"}
        steps.append(
            {
                "index": len(steps) + 1,
                "name": step,
                "params": known["steps"][stage],
                "timestamp": None,
                "step_type": kind,
            }
            | {"version": None, "function_module": module, f"{what}_summary": summary}
            | {"mask_key" if is_mask else "processed_key": key}
        )

    for other, array in fov.earlier.items():
        if other.startswith("seg_labeled"):
            add("segment", "segmentation", "mask", "segment_cells", array, True)
    if fov.labels is not None:
        step, module = next(made for begins, made in MADE_BY.items() if fov.labels.path.parent.name.startswith(begins))
        add("track", step, "video_filter", module, fov.labels, False)
    for other, array in fov.earlier.items():
        if other == name.replace("fl_", "fl_background_"):
            add("background", "background", "filter", "estimate_background", array, False)
    provenance = {
        "acquisition": {"file": known["source"], "channel": known["channels"][name.rpartition("_")[2]]},
        "environment": {"timestamp": None, "python_version": platform.python_version(), "platform": None}
        | {"playnano_version": None}
        | {f"{package}_version": version(package) for package in PACKAGES},
        "processing": {
            "steps": steps,
            "keys_by_name": {step["name"]: [step.get("mask_key", step.get("processed_key"))] for step in steps},
        },
        "analysis": {"frame_times": [60 * time for time in known["times_min"]], "steps": [], "results_by_name": {}},
    }
    times = [60 * float(time) for time in known["times_min"]]
    return Bundle(name, image.shape, _floats(image), layers, 1000 * known["pixel_size_um"], times, provenance)


def _floats(array: shared_pixels.FrameStack) -> Callable[[int], np.ndarray]:
    """Frames as float32. Raises UserError where that would change a number."""

    def read(frame: int) -> np.ndarray:
        image = array.read(frame)
        if image.dtype.kind in "iu" and image.max(initial=0) > EXACT:
            raise UserError(
                f"playnano: frame {frame} holds {image.max()}; float32 is exact up to {EXACT}: write ome_tiff instead"
            )
        return image.astype(np.float32)

    return read


def write_npz(path: Path, content: Bundle) -> None:
    """Write a compressed .npz, array by array and frame by frame."""
    n_frames = content.shape[0]
    with zipfile.ZipFile(path, "w") as archive:
        _add_stack(archive, "data", np.float32, content.shape, map(content.data, range(n_frames)))
        for layer in content.layers:
            dtype = np.bool_ if layer.is_mask else np.float32
            group = "masks" if layer.is_mask else "processed"
            _add_stack(archive, f"{group}__{layer.key}", dtype, content.shape, map(layer.read, range(n_frames)))
        for name, value in (
            ("timestamps", np.array(content.times_s, np.float64)),
            ("pixel_size_nm", np.array(content.pixel_size_nm, np.float32)),
            ("channel", np.array(content.channel)),
            ("frame_metadata_json", np.array(json.dumps(content.frame_metadata))),
            ("provenance_json", np.array(json.dumps(content.provenance))),
        ):
            _add_stack(archive, name, value.dtype, value.shape, [value])


def _add_stack(archive: zipfile.ZipFile, name: str, dtype: Any, shape: Sequence[int], frames: Any) -> None:
    dtype = np.dtype(dtype)
    member = zipfile.ZipInfo(f"{name}.npy", DATE)
    member.create_system, member.external_attr = 3, 0o644 << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    member.file_size = 1024 + dtype.itemsize * int(np.prod(shape))  # whether it needs the 64-bit form
    with archive.open(member, "w") as file:
        header = {"descr": dtype.newbyteorder("<").str, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for frame in frames:
            file.write(frame.astype(dtype.newbyteorder("<")).tobytes())


def write_h5(path: Path, content: Bundle) -> None:
    """Write an HDF5 bundle."""
    n_frames, height, width = content.shape
    with new_file(path) as file:

        def add(parent: Any, name: str, dtype: Any, read: Callable[[int], np.ndarray]) -> None:
            options = {"chunks": (1, height, width), "compression": "gzip", "track_times": False}
            target = parent.create_dataset(name, content.shape, dtype, **options)
            for frame in range(n_frames):
                target[frame] = read(frame)

        add(file, "data", np.float32, content.data)
        groups = {False: new_group(file, "processed"), True: new_group(file, "masks")}
        for layer in content.layers:
            add(groups[layer.is_mask], layer.key, np.bool_ if layer.is_mask else np.float32, layer.read)
        for name, value in (
            ("timestamps", np.array(content.times_s, np.float64)),
            ("frame_metadata_json", np.bytes_(json.dumps(content.frame_metadata).encode())),
            ("provenance_json", np.bytes_(json.dumps(content.provenance).encode())),
        ):
            file.create_dataset(name, data=value, track_times=False)
        file.attrs["pixel_size_nm"], file.attrs["channel"] = content.pixel_size_nm, content.channel


def write_raw_channel(path: Path, content: Bundle) -> None:
    """Write an OME-TIFF of the raw channel; the program reads no such file of one frame."""
    n_frames, height, width = content.shape
    if n_frames == 1:
        raise UserError("playnano_tif: the movie has one frame, which playNano does not read; use playnano_npz")
    provenance = json.dumps(content.provenance).encode()
    layers = json.dumps([layer.key for layer in content.layers if not layer.is_mask]).encode()
    ome.write_ome_tiff(
        path,
        map(content.data, range(n_frames)),
        (n_frames, 1, 1, height, width),
        np.float32,
        "TCZYX",
        channels=[content.channel],
        pixel_size_um=content.pixel_size_nm / 1000,
        times_min=[time / 60 for time in content.times_s],
        compression=None,
        tags=[(65000, 7, len(provenance), provenance, True), (65001, 7, len(layers), layers, True)],
    )
