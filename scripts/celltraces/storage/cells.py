"""Write and read cells.zarr: one small Zarr array per cell and channel, in a folder or a zip.

The layout is ordinary Zarr format 3, one chunk per array, that zarr-python and every other reader opens. Why it is not
written through zarr-python: see `frames`, which writes the same codecs.
Arrays of any other layout that stand in the place of ours are read through zarr-python (foreign_arrays.py).
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.files import whole
from celltraces.storage.codecs import ARRAY_FILE, KINDS, NO_ATTRIBUTES, array_metadata, decode_chunk, encode_chunk
from celltraces.storage.groups import group_metadata

CHUNK_FILE = "c.0"  # first part of the only chunk of a crop array; one ".0" more per further axis

Put = Callable[[str, bytes], None]  # (key, content): writes one file of a store


@dataclass(frozen=True)
class Get:
    """A store of many small files, open for reading: `get(key)` gives the content of one."""

    path: Path
    read: Callable[[str], bytes]

    def __call__(self, key: str) -> bytes:
        try:
            return self.read(key)
        except (OSError, KeyError, zipfile.BadZipFile):
            raise UserError(f"{self.path}/{key}: missing or damaged; delete {self.path} and run again") from None


@contextmanager
def new_store(path: Path) -> Iterator[Put]:
    """A new store of many small files: a folder, or one zip file where `path` ends in .zip. Whole or absent."""
    with whole(path) as partial:
        if path.suffix == ".zip":
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                # A fixed date: the same results are the same bytes.
                yield lambda key, content: archive.writestr(zipfile.ZipInfo(key, (1980, 1, 1, 0, 0, 0)), content)
        else:
            partial.mkdir()
            root = str(partial)
            folders = {""}

            def put(key: str, content: bytes) -> None:
                folder, _, name = key.rpartition("/")
                if folder not in folders:
                    os.makedirs(f"{root}/{folder}", exist_ok=True)
                    folders.add(folder)
                with open(f"{root}/{folder}/{name}", "wb", buffering=0) as file:
                    file.write(content)

            yield put


@contextmanager
def open_store(path: Path) -> Iterator[Get]:
    """Open a store for reading, a folder or one zip file."""
    with ExitStack() as stack:
        try:
            if path.suffix == ".zip":
                read = stack.enter_context(zipfile.ZipFile(path)).read
            else:
                read = _folder_reader(path)
        except (OSError, zipfile.BadZipFile):
            raise UserError(f"{path}: missing or damaged; delete it and run again") from None
        yield Get(path, read)


def _folder_reader(path: Path) -> Callable[[str], bytes]:
    def read(key: str) -> bytes:
        with open(f"{path}/{key}", "rb") as file:
            return file.read()

    return read


def put_group(put: Put, key: str, attributes: Mapping[str, Any] | None = None) -> None:
    """Write a group's metadata; `key` "" is the root."""
    put(f"{key}/{ARRAY_FILE}".lstrip("/"), group_metadata(attributes) if attributes else NO_ATTRIBUTES)


def put_array(put: Put, key: str, data: np.ndarray, kind: str, attributes: Mapping[str, Any] | None = None) -> None:
    """Write an array of any shape as one chunk: two files. Attributes are numbers, texts, or tuples of them."""
    put(f"{key}/{ARRAY_FILE}", _metadata_of_one_chunk(data.shape, data.dtype, kind, tuple((attributes or {}).items())))
    if data.size:
        put(f"{key}/{_chunk_name(data.ndim)}", b"".join(encode_chunk(data, kind)))


@lru_cache(maxsize=32)
def _metadata_of_one_chunk(shape: tuple[int, ...], dtype: np.dtype, kind: str, attributes: tuple) -> bytes:
    """Metadata of an array that is one chunk; kept, since the crops of a cell in several channels have the same."""
    return array_metadata(shape, dtype, [max(1, n) for n in shape], kind, None, dict(attributes))


def get_array(get: Get, key: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Read an array, of whatever layout, and its attributes."""
    try:
        metadata = json.loads(get(f"{key}/{ARRAY_FILE}"))
    except ValueError:
        raise UserError(f"{get.path}/{key}: damaged on disk; delete {get.path} and run again") from None
    if not _is_own_array(metadata):
        from celltraces.storage import foreign_arrays

        return foreign_arrays.read_array(get.path, key)
    shape, dtype = tuple(metadata["shape"]), np.dtype(metadata["data_type"])
    if 0 in shape:
        return np.zeros(shape, dtype), metadata["attributes"]
    data = get(f"{key}/{_chunk_name(len(shape))}")
    where = f"{get.path}/{key}"
    return decode_chunk(data[:-4], data[-4:], metadata["codecs"][1]["name"], dtype, shape, where), metadata[
        "attributes"
    ]


def read_crop(get: Get, name: str, cell: int) -> tuple[np.ndarray, dict[str, Any]]:
    """A cell's crop (T, h, w) in counts, float64 (the mask: as it is), and its attributes."""
    crop, attributes = get_array(get, f"{name}/{cell}/0")
    if "scale" in attributes:
        crop = crop * float(attributes["scale"]) + float(attributes.get("offset", 0))
    return crop, attributes


def _is_own_array(metadata: Any) -> bool:
    """Whether the metadata are those that `put_array` writes, whatever shape and attributes."""
    try:
        shape = metadata["shape"]
        if metadata["chunk_grid"]["configuration"]["chunk_shape"] != [max(1, n) for n in shape]:
            return False
        own = _own_metadata(len(shape), metadata["data_type"])
    except (LookupError, TypeError, ValueError):
        return False
    grid = {**metadata["chunk_grid"], "configuration": {"chunk_shape": [1] * len(shape)}}
    return {**metadata, "shape": [1] * len(shape), "chunk_grid": grid, "attributes": {}} in own


@lru_cache(maxsize=32)
def _own_metadata(n_axes: int, dtype: str) -> list[dict[str, Any]]:
    """The metadata of arrays of one number, of every kind. (A cell's shape is its own: theirs would be made anew.)"""
    return [json.loads(_metadata_of_one_chunk((1,) * n_axes, np.dtype(dtype), kind, ())) for kind in KINDS]


def _chunk_name(n_axes: int) -> str:
    return CHUNK_FILE + ".0" * (n_axes - 1)
