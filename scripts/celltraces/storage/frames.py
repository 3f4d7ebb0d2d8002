"""Write and read images.zarr arrays (T, H, W) frame by frame: one frame per chunk, one shard per array.

The layout is ordinary Zarr format 3 that zarr-python and every other reader opens: one chunk per frame (and tile), all
chunks of an array in one shard, its index at the end. It is written here rather than through zarr-python for three
reasons, each measured (docs/libraries.md): a shard is streamed (zarr-python holds a whole shard in memory, so that a
movie of any length in one file per array would not fit), an array appears under its name only when it is complete, and
a frame costs a third to a half. Arrays of any other layout are read through zarr-python (foreign_arrays.py).
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from celltraces.errors import UserError
from celltraces.files import whole
from celltraces.storage.codecs import ARRAY_FILE, KINDS, array_metadata, decode_chunk, encode_chunk

SHARD_FILE = "c/0/0/0"  # the only shard of an image array


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
                        packed, checksum = encode_chunk(part, kind)
                        index.append((file.tell(), len(packed) + len(checksum)))
                        file.write(packed)
                        file.write(checksum)

            yield append
            if len(index) != n_frames * rows * columns:
                raise ValueError(f"{path}: {len(index)} chunks written, {n_frames * rows * columns} expected")
            table = np.array(index, "<u8").tobytes()
            file.write(table + struct.pack("<I", google_crc32c.value(table)))
        grid = (n_frames, rows * chunk[0], columns * chunk[1])
        metadata = array_metadata(shape, dtype, (1, *chunk), kind, grid, attributes or {})
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
        """Whether the microscope's file had this frame."""
        return frame not in self.attributes.get("missing_frames", ())


def open_frames(path: Path) -> Frames:
    """Open an image array, of whatever layout. Raises UserError when it is absent or damaged."""
    path = Path(path)
    try:
        metadata = json.loads((path / ARRAY_FILE).read_bytes())
        index = _read_index(path, metadata) if _is_own_stack(metadata) else None
    except FileNotFoundError:
        if (path / ARRAY_FILE).exists():
            raise UserError(
                f"{path}: its pixels ({SHARD_FILE}) are missing; delete this folder and run again"
            ) from None
        raise UserError(f"{path}: this array is missing; run the workflow again") from None
    except (OSError, ValueError):
        raise UserError(f"{path}: damaged on disk; delete this folder and run again") from None
    return _open_foreign(path) if index is None else _open_own(path, metadata, index)


def _is_own_stack(metadata: Any) -> bool:
    """Whether the metadata are those that `writing` writes, whatever the attributes."""
    try:
        shape, dtype = metadata["shape"], np.dtype(metadata["data_type"])
        chunk = metadata["codecs"][0]["configuration"]["chunk_shape"]
        shard = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        if shard != [shape[0], *(-(-n // c) * c for n, c in zip(shape[1:], chunk[1:], strict=True))] or chunk[0] != 1:
            return False
        own = [json.loads(array_metadata(shape, dtype, chunk, kind, shard, {})) for kind in KINDS]
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
        raise UserError(f"{path}: damaged on disk (checksum differs); delete this folder and run again")
    index = np.frombuffer(table, "<u8").reshape(count, 2)
    ends = np.cumsum(index[:, 1])
    return index if np.array_equal(index[:, 0], ends - index[:, 1]) else None


def _open_own(path: Path, metadata: Mapping[str, Any], index: np.ndarray) -> Frames:
    """An array that `writing` wrote; index: where its chunks begin and their lengths, (n, 2)."""
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
                [decode_chunk(file.read(n - 4), file.read(4), codec, dtype, chunk, where) for _, n in row.tolist()]
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
    from celltraces.storage import foreign_arrays

    shape, dtype, attributes, read = foreign_arrays.open_stack(path)
    return Frames(path, shape, dtype, attributes, read, lambda frame: foreign_arrays.fingerprint(read(frame)))
