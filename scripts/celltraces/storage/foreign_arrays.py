"""Read any valid Zarr 3 array that is not of our own layout, through zarr-python.

`frames` and `cells` read our own layout and hand everything else to this module: arrays without shards or
checksums, with other codecs, chunks of many frames, chunks that were left out because they hold the fill value.
zarr-python is imported here alone, and only when it is needed: no job on our own arrays pays for it. `verify` reads all
arrays here.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.errors import UserError

Read = Callable[[int], np.ndarray]


@contextmanager
def _zarr_errors(where: str) -> Iterator[None]:
    """Turn whatever zarr-python and its codecs raise into one UserError line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{where}: zarr-python cannot read this array ({reason}); write it again as a Zarr 3 array, or delete this "
            f"folder and run again"
        ) from error


def open_stack(path: Path) -> tuple[tuple[int, int, int], np.dtype, dict[str, Any], Read]:
    """Open a (T, H, W) array: its shape, the dtype of its frames, its attributes, and `read(t)`.

    Frames have the dtype that the workflow computes with: images uint16, backgrounds float32, labels unsigned
    integers (by the array's name, see `celltraces.paths`). Memory: one chunk and one frame. Raises UserError for an
    array that zarr-python cannot read, that is not (T, H, W), or that has values which the dtype cannot hold.
    """
    import zarr

    with _zarr_errors(str(path)):
        array = zarr.open_array(path, mode="r", zarr_format=3)
        attributes = array.attrs.asdict()
    if len(array.shape) != 3 or 0 in array.shape:
        raise UserError(f"{path}: an array of shape {array.shape}; it must be (T, H, W): frames, rows, columns")
    dtype = _dtype(path.parent.name, array.dtype)
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: values of type {array.dtype}; write numbers of type {dtype}")
    n_together = min(array.chunks[0], array.shape[0])
    block, first = np.empty(0), -1

    def read(frame: int) -> np.ndarray:
        nonlocal block, first
        begin = frame - frame % n_together
        if begin != first:
            with _zarr_errors(f"{path}, frame {frame}"):
                block, first = np.asarray(array[begin : begin + n_together]), begin
        return _as_dtype(block[frame - begin], dtype, f"{path}, frame {frame}")

    return array.shape, dtype, attributes, read


def fingerprint(image: np.ndarray) -> bytes:
    """A digest of a frame, the same for the same pixels."""
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()


def read_array(store: Path, key: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a whole array of a store, which is a folder or one zip file, and its attributes."""
    with _zarr_errors(f"{store}/{key}"), _opened(store) as open_array:
        array = open_array(key)
        return np.asarray(array[...]), array.attrs.asdict()


def unreadable(store: Path) -> Iterator[tuple[str, str]]:
    """Read every chunk of every array of a store, a folder or one zip file: name and reason of those that fail."""
    with _opened(store) as open_array:
        for key in _array_keys(store):
            try:
                array = open_array(key)
                step = array.chunks[0] if array.shape else 1
                for begin in range(0, array.shape[0] if array.shape else 1, step):
                    array[begin : begin + step] if array.shape else array[...]
            except Exception as error:
                yield key, " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _opened(store: Path) -> Iterator[Callable[[str], Any]]:
    """A function that opens an array of a store, a folder or one zip file, by its key."""
    import zarr

    place = zarr.storage.ZipStore(store, mode="r") if store.suffix == ".zip" else zarr.storage.LocalStore(store)
    try:
        yield lambda key: zarr.open_array(place, path=key, mode="r", zarr_format=3)
    finally:
        place.close()


def _array_keys(store: Path) -> list[str]:
    """The arrays of a store by the names of their folders, sorted; "" for a store that is one array."""
    if store.suffix == ".zip":
        with zipfile.ZipFile(store) as archive:
            texts = {name: archive.read(name) for name in archive.namelist() if name.rpartition("/")[2] == "zarr.json"}
    else:
        texts = {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("zarr.json")}
    return sorted(name.rpartition("/")[0] for name, text in texts.items() if _may_describe_array(text))


def _may_describe_array(text: bytes) -> bool:
    """Whether a zarr.json is not known to describe a group; a damaged one is left to zarr-python to refuse."""
    try:
        return json.loads(text)["node_type"] != "group"
    except (ValueError, LookupError, TypeError):
        return True


def _dtype(name: str, stored: np.dtype) -> np.dtype:
    """The dtype in which an array of this name is computed with."""
    if name.startswith("fl_background_"):
        return np.dtype(np.float32)
    if paths.is_phase_contrast(name) or name.startswith("fl_"):
        return np.dtype(np.uint16)
    if paths.is_labels(name) and not (stored.kind == "u" and stored.itemsize <= 4):
        return np.dtype(np.uint8 if stored.kind == "b" else np.uint32)
    return stored.newbyteorder("=")


def _as_dtype(image: np.ndarray, dtype: np.dtype, where: str) -> np.ndarray:
    """The frame as `dtype`; UserError where an integer type would change a value."""
    with np.errstate(invalid="ignore"):
        converted = np.ascontiguousarray(image, dtype=dtype)
    if dtype.kind == "u" and not np.array_equal(converted, image):
        raise UserError(
            f"{where}: values that {dtype} cannot hold (from {image.min():g} to {image.max():g}, {image.dtype}); "
            f"write whole numbers from 0 to {np.iinfo(dtype).max}"
        )
    return converted
