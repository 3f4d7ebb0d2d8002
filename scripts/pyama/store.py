"""Zarr 3 arrays and groups, written and read frame by frame.

The layout is ordinary Zarr format 3 that zarr-python and every other reader opens. It is written here rather than
through zarr-python for three reasons, each measured (docs/libraries.md): a shard is streamed (zarr-python holds a whole
shard in memory, so that a movie of any length in one file per array would not fit), an array appears under its name
only when it is complete, and a frame costs a third to a half.

Images: one chunk per frame (and tile), all chunks of an array in one shard, its index at the end.
Crops: one chunk per array. Every chunk carries a CRC-32C, so that damage is noticed when it is read.
Arrays of any other layout that stand in the place of ours are read through zarr-python (pyama.foreign_arrays).
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc, zstd

from pyama.errors import PyamaError
from pyama.files import whole
from pyama.groups import as_bytes, group_metadata

blosc.use_threads = False  # with them blosc puts blocks down in the order in which they happen to finish

ARRAY_FILE = "zarr.json"
NO_ATTRIBUTES = group_metadata({})
SHARD_FILE = "c/0/0/0"  # the only shard of an image array
CHUNK_FILE = "c.0"  # first part of the only chunk of a crop array; one ".0" more per further axis
AXES = ("t", "y", "x")

# By what an array holds. Noisy pixels need their bits shuffled to shrink at all, smooth surfaces only their bytes; LZ4
# then leaves 3 to 12 % more than zstd and takes a third to a half of its time, at writing and at every reading. Labels
# shrink 300-fold with zstd.
_KINDS = PIXELS, SMOOTH, LABELS, DISPLAY = "pixels", "smooth", "labels", "display"
_LZ4 = {PIXELS: ("bitshuffle", 1), SMOOTH: ("shuffle", 5), DISPLAY: ("noshuffle", 1)}  # shuffle, level
_SHUFFLES = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}


def _codec(kind: str, itemsize: int) -> dict[str, Any]:
    if kind == LABELS:
        return {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
    shuffle, level = _LZ4[kind]
    settings = {"typesize": itemsize, "cname": "lz4", "clevel": level, "shuffle": shuffle, "blocksize": 0}
    return {"name": "blosc", "configuration": settings}


def _encode(chunk: np.ndarray, kind: str) -> tuple[bytes, bytes]:
    """Compressed bytes of a chunk, and their CRC-32C that follows them."""
    chunk = np.ascontiguousarray(chunk, dtype=chunk.dtype.newbyteorder("<"))
    if kind == LABELS:
        packed = bytes(zstd.compress(chunk, 1))
    else:
        shuffle, level = _LZ4[kind]
        packed = blosc.compress(chunk, b"lz4", level, _SHUFFLES[shuffle], 0, chunk.itemsize)
    return packed, struct.pack("<I", google_crc32c.value(packed))


def _decode(
    packed: bytes, checksum: bytes, codec: str, dtype: np.dtype, shape: tuple[int, ...], where: str
) -> np.ndarray:
    if struct.pack("<I", google_crc32c.value(packed)) != checksum:
        raise PyamaError(f"{where}: damaged on disk (checksum differs); delete this folder and run again")
    plain = zstd.decompress(packed) if codec == "zstd" else blosc.decompress(packed)
    return np.frombuffer(plain, dtype.newbyteorder("<")).reshape(shape)


def _array_metadata(
    shape: Sequence[int],
    dtype: np.dtype,
    chunk: Sequence[int],
    kind: str,
    shard: Sequence[int] | None,
    attributes: Mapping[str, Any],
) -> bytes:
    codecs: list[dict[str, Any]] = []
    if dtype.itemsize > 1:
        codecs.append({"name": "bytes", "configuration": {"endian": "little"}})
    else:
        codecs.append({"name": "bytes"})
    codecs += [_codec(kind, dtype.itemsize), {"name": "crc32c"}]
    if shard is not None:
        index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        sharding = {
            "chunk_shape": list(chunk),
            "codecs": codecs,
            "index_codecs": index_codecs,
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    metadata: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard or chunk)}},
        "chunk_key_encoding": {
            "name": "default",
            "configuration": {"separator": "/" if shard is not None else "."},
        },
        "fill_value": False if dtype.kind == "b" else 0,
        "codecs": codecs,
        "attributes": dict(attributes),
    }
    if len(shape) == len(AXES):
        metadata["dimension_names"] = list(AXES)
    return as_bytes(metadata)


# ------------------------------------------------------------------------------------------------------------- images


@contextmanager
def writing(
    path: Path,
    shape: tuple[int, int, int],
    dtype: Any,
    kind: str,
    *,
    tile: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a (T, H, W) array frame by frame: `with writing(...) as append: append(frame)`, T times.

    A chunk is one frame, or with `tile` a tile of one frame of at most that width. Memory: one frame. The attributes
    are read at the end, so the caller may still fill them in while it writes.
    """
    dtype = np.dtype(dtype)
    n_frames, height, width = shape
    chunk = (min(tile or height, height), min(tile or width, width))
    rows, columns = math.ceil(height / chunk[0]), math.ceil(width / chunk[1])
    index: list[tuple[int, int]] = []
    with whole(path) as partial:
        shard = partial / SHARD_FILE
        shard.parent.mkdir(parents=True)
        with open(shard, "wb") as file:

            def append(frame: np.ndarray) -> None:
                if frame.shape != (height, width):
                    raise ValueError(f"{path}: frame {len(index)} is {frame.shape}, not {(height, width)}")
                frame = frame.astype(dtype, casting="safe", copy=False)
                for row in range(rows):
                    for column in range(columns):
                        y, x = row * chunk[0], column * chunk[1]
                        part = frame[y : y + chunk[0], x : x + chunk[1]]
                        if part.shape != chunk:  # chunks at the far edges are stored in full, padded
                            part = np.pad(part, [(0, c - s) for c, s in zip(chunk, part.shape, strict=True)])
                        packed, checksum = _encode(part, kind)
                        index.append((file.tell(), len(packed) + len(checksum)))
                        file.write(packed)
                        file.write(checksum)

            yield append
            if len(index) != n_frames * rows * columns:
                raise ValueError(f"{path}: {len(index)} chunks written, {n_frames * rows * columns} expected")
            table = np.array(index, "<u8").tobytes()
            file.write(table + struct.pack("<I", google_crc32c.value(table)))
        grid = (n_frames, rows * chunk[0], columns * chunk[1])
        metadata = _array_metadata(shape, dtype, (1, *chunk), kind, grid, attributes or {})
        (partial / ARRAY_FILE).write_bytes(metadata)


@dataclass(frozen=True)
class Frames:
    """An image array on disk.

    `read(t)` gives frame t as (H, W). `fingerprint(t)` is the same for the same pixels, and cheaper than to read them.
    `present(t)` says whether the file had the frame.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    attributes: dict[str, Any]
    read: Callable[[int], np.ndarray]
    fingerprint: Callable[[int], bytes]

    def present(self, frame: int) -> bool:
        return frame not in self.attributes.get("missing_frames", ())


def open_frames(path: Path) -> Frames:
    """Open an image array, of whatever layout. Raises PyamaError when it is absent or damaged."""
    path = Path(path)
    try:
        metadata = json.loads((path / ARRAY_FILE).read_bytes())
        index = _read_index(path, metadata) if _is_own_stack(metadata) else None
    except FileNotFoundError:
        raise PyamaError(f"{path}: this array is missing; run the workflow again") from None
    except (OSError, ValueError):
        raise PyamaError(f"{path}: damaged on disk; delete this folder and run again") from None
    return _open_foreign(path) if index is None else _open_own(path, metadata, index)


def _is_own_stack(metadata: Any) -> bool:
    """Whether the metadata are those that `writing` writes, whatever the attributes."""
    try:
        shape, dtype = metadata["shape"], np.dtype(metadata["data_type"])
        chunk = metadata["codecs"][0]["configuration"]["chunk_shape"]
        shard = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        if shard != [shape[0], *(-(-n // c) * c for n, c in zip(shape[1:], chunk[1:], strict=True))] or chunk[0] != 1:
            return False
        own = [json.loads(_array_metadata(shape, dtype, chunk, kind, shard, {})) for kind in _KINDS]
    except (LookupError, TypeError, ValueError, ZeroDivisionError):
        return False
    return {**metadata, "attributes": {}} in own


def _read_index(path: Path, metadata: Mapping[str, Any]) -> np.ndarray | None:
    """Where the chunks begin and their lengths, (n, 2) uint64; None where they do not follow each other as ours do.

    (Other writers put them in another order, and leave out chunks that hold 0 only.)
    """
    grid = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    chunk = metadata["codecs"][0]["configuration"]["chunk_shape"]
    count = math.prod(n // c for n, c in zip(grid, chunk, strict=True))
    with open(path / SHARD_FILE, "rb") as file:
        file.seek(-16 * count - 4, os.SEEK_END)
        table, checksum = file.read(16 * count), file.read(4)
    if struct.pack("<I", google_crc32c.value(table)) != checksum:
        raise PyamaError(f"{path}: damaged on disk (checksum differs); delete this folder and run again")
    index = np.frombuffer(table, "<u8").reshape(count, 2)
    ends = np.cumsum(index[:, 1])
    return index if np.array_equal(index[:, 0], ends - index[:, 1]) else None


def _open_own(path: Path, metadata: Mapping[str, Any], index: np.ndarray) -> Frames:
    n_frames, height, width = metadata["shape"]
    sharding = metadata["codecs"][0]["configuration"]
    chunk, codec = tuple(sharding["chunk_shape"][1:]), sharding["codecs"][1]["name"]
    dtype = np.dtype(metadata["data_type"])
    rows, columns = math.ceil(height / chunk[0]), math.ceil(width / chunk[1])
    tiles = index.reshape(n_frames, rows, columns, 2)

    def read(frame: int) -> np.ndarray:
        where = f"{path}, frame {frame}"
        with open(path / SHARD_FILE, "rb") as file:
            file.seek(int(tiles[frame, 0, 0, 0]))
            parts = [
                [_decode(file.read(n - 4), file.read(4), codec, dtype, chunk, where) for _, n in row.tolist()]
                for row in tiles[frame]
            ]
        return parts[0][0] if rows == columns == 1 else np.block(parts)[:height, :width]

    def fingerprint(frame: int) -> bytes:
        """Lengths and checksums of the chunks; nothing is decoded."""
        with open(path / SHARD_FILE, "rb") as file:
            parts = []
            for at, size in tiles[frame].reshape(-1, 2).tolist():
                file.seek(at + size - 4)
                parts.append(struct.pack("<Q", size) + file.read(4))
        return b"".join(parts)

    return Frames(path, (n_frames, height, width), dtype, metadata["attributes"], read, fingerprint)


def _open_foreign(path: Path) -> Frames:
    from pyama import foreign_arrays

    shape, dtype, attributes, read = foreign_arrays.open_stack(path)
    return Frames(path, shape, dtype, attributes, read, lambda frame: foreign_arrays.fingerprint(read(frame)))


# -------------------------------------------------------------------------------------------------------------- crops

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
            raise PyamaError(f"{self.path}/{key}: missing or damaged; delete {self.path} and run again") from None


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
            raise PyamaError(f"{path}: missing or damaged; delete it and run again") from None
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
        put(f"{key}/{_chunk_name(data.ndim)}", b"".join(_encode(data, kind)))


@lru_cache(maxsize=32)
def _metadata_of_one_chunk(shape: tuple[int, ...], dtype: np.dtype, kind: str, attributes: tuple) -> bytes:
    """The same for the crops of a cell in several channels."""
    return _array_metadata(shape, dtype, [max(1, n) for n in shape], kind, None, dict(attributes))


def get_array(get: Get, key: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Read an array, of whatever layout, and its attributes."""
    try:
        metadata = json.loads(get(f"{key}/{ARRAY_FILE}"))
    except ValueError:
        raise PyamaError(f"{get.path}/{key}: damaged on disk; delete {get.path} and run again") from None
    if not _is_own_array(metadata):
        from pyama import foreign_arrays

        return foreign_arrays.read_array(get.path, key)
    shape, dtype = tuple(metadata["shape"]), np.dtype(metadata["data_type"])
    if 0 in shape:
        return np.zeros(shape, dtype), metadata["attributes"]
    data = get(f"{key}/{_chunk_name(len(shape))}")
    where = f"{get.path}/{key}"
    return _decode(data[:-4], data[-4:], metadata["codecs"][1]["name"], dtype, shape, where), metadata["attributes"]


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
    return [json.loads(_metadata_of_one_chunk((1,) * n_axes, np.dtype(dtype), kind, ())) for kind in _KINDS]


def _chunk_name(n_axes: int) -> str:
    return CHUNK_FILE + ".0" * (n_axes - 1)
