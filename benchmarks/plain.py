"""The stages without an oracle in tests/, written plainly with zarr-python and scikit-image, to compare costs with.

Arrays have our codecs: LZ4 against zarr-python's own choice, zstd, would compare codecs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from skimage import measure, transform
from zarr.codecs import BloscCodec, Crc32cCodec


def as_ours(dtype: np.dtype, shuffle: str = "bitshuffle") -> list[BloscCodec | Crc32cCodec]:
    """The codecs of our arrays (celltraces.storage.cells), so that the two ways do the same work."""
    codec = BloscCodec(cname="lz4", clevel=1, shuffle=shuffle, typesize=dtype.itemsize, blocksize=0)
    return [codec, Crc32cCodec()]


def copy(frames: np.ndarray, path: Path, shuffle: str = "bitshuffle") -> None:
    """(T, H, W) into an array of zarr-python, one frame per chunk, each a file, with our codecs."""
    codecs = as_ours(frames.dtype, shuffle)
    chunks = (1, *frames.shape[1:])
    array = zarr.create_array(
        path, shape=frames.shape, dtype=frames.dtype, chunks=chunks, compressors=codecs, overwrite=True
    )
    for frame, image in enumerate(frames):
        array[frame] = image


def display_level(frames: np.ndarray, path: Path) -> None:
    """8 bit at half resolution between the 1st and the 99th percentile."""
    low, high = np.percentile(frames, [1, 99])
    shown = transform.downscale_local_mean(np.clip((frames - low) / (high - low), 0, 1) * 255, (1, 2, 2))
    copy(shown.round().astype(np.uint8), path, "noshuffle")


def crop(labels: np.ndarray, channels: Sequence[np.ndarray], path: Path, padding: int = 5) -> None:
    """A group for each channel and cell, with one array of one chunk: float32 pixels in the cell's largest box."""
    root = zarr.open_group(path, mode="w")
    boxes: dict[int, dict[int, tuple[int, ...]]] = {}
    for frame, image in enumerate(labels):
        for region in measure.regionprops(image):
            boxes.setdefault(region.label, {})[frame] = region.bbox
    shape = labels.shape[1:]
    for cell, by_frame in boxes.items():
        height = min(max(box[2] - box[0] for box in by_frame.values()) + 2 * padding, shape[0])
        width = min(max(box[3] - box[1] for box in by_frame.values()) + 2 * padding, shape[1])
        crops = np.zeros((len(channels), len(labels), height, width), np.float32)
        for frame, box in by_frame.items():
            y = int(np.clip(box[0] - padding, 0, shape[0] - height))
            x = int(np.clip(box[1] - padding, 0, shape[1] - width))
            crops[:, frame] = [channel[frame, y : y + height, x : x + width] for channel in channels]
        for at, pixels in enumerate(crops / 65535):
            codecs = as_ours(pixels.dtype)
            root.create_array(f"{at}/{cell}/0", data=pixels, chunks=pixels.shape, compressors=codecs)


def extract(labels: np.ndarray, light: np.ndarray, background: np.ndarray) -> list[tuple[float, ...]]:
    """Frame, label, area, aspect ratio, total and mean intensity of every cell in every frame."""
    rows = []
    for frame, image in enumerate(labels):
        corrected = light[frame] - background[frame].astype(np.float64)
        for region in measure.regionprops(image, corrected):
            inside = region.image_intensity[region.image]
            aspect = region.axis_major_length / max(region.axis_minor_length, 1)
            rows.append((frame, region.label, region.area, aspect, inside.sum(), inside.mean()))
    return rows
