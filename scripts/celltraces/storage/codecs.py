"""Encode and decode the chunks of our Zarr arrays, and write their metadata.

Every chunk carries a CRC-32C, so that damage is noticed when it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc, zstd

from celltraces.errors import UserError
from celltraces.storage.groups import as_bytes, group_metadata

blosc.use_threads = False  # with them blosc puts blocks down in the order in which they happen to finish

ARRAY_FILE = "zarr.json"
NO_ATTRIBUTES = group_metadata({})
AXES = ("t", "y", "x")

# Kinds of arrays, by what they hold, each with a codec of its own. Noisy pixels need their bits shuffled to shrink at
# all, smooth surfaces only their bytes; LZ4 then leaves 3 to 12 % more than zstd and takes a third to a half of its
# time, at writing and at every reading. Labels shrink 300-fold with zstd.
KINDS = PIXELS, SMOOTH, LABELS, DISPLAY = "pixels", "smooth", "labels", "display"
_LZ4 = {PIXELS: ("bitshuffle", 1), SMOOTH: ("shuffle", 5), DISPLAY: ("noshuffle", 1)}  # shuffle, level
_SHUFFLES = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}


def codec_of_kind(kind: str, itemsize: int) -> dict[str, Any]:
    """The codec of a kind of array as Zarr metadata name it; itemsize: bytes of a pixel."""
    if kind == LABELS:
        return {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
    shuffle, level = _LZ4[kind]
    settings = {"typesize": itemsize, "cname": "lz4", "clevel": level, "shuffle": shuffle, "blocksize": 0}
    return {"name": "blosc", "configuration": settings}


def encode_chunk(chunk: np.ndarray, kind: str) -> tuple[bytes, bytes]:
    """Compressed bytes of a chunk, and their CRC-32C that follows them."""
    chunk = np.ascontiguousarray(chunk, dtype=chunk.dtype.newbyteorder("<"))
    if kind == LABELS:
        packed = bytes(zstd.compress(chunk, 1))
    else:
        shuffle, level = _LZ4[kind]
        packed = blosc.compress(chunk, b"lz4", level, _SHUFFLES[shuffle], 0, chunk.itemsize)
    return packed, struct.pack("<I", google_crc32c.value(packed))


def decode_chunk(
    packed: bytes, checksum: bytes, codec: str, dtype: np.dtype, shape: tuple[int, ...], where: str
) -> np.ndarray:
    """The pixels of a chunk. codec: its name in the metadata. Raises UserError, naming `where`, if it is damaged."""
    if struct.pack("<I", google_crc32c.value(packed)) != checksum:
        raise UserError(f"{where}: damaged on disk (checksum differs); delete this folder and run again")
    plain = zstd.decompress(packed) if codec == "zstd" else blosc.decompress(packed)
    return np.frombuffer(plain, dtype.newbyteorder("<")).reshape(shape)


def array_metadata(
    shape: Sequence[int],
    dtype: np.dtype,
    chunk: Sequence[int],
    kind: str,
    shard: Sequence[int] | None,
    attributes: Mapping[str, Any],
) -> bytes:
    """Content of an array's zarr.json. shard: the shape of its shards, None for chunks that are files of their own."""
    codecs: list[dict[str, Any]] = []
    if dtype.itemsize > 1:
        codecs.append({"name": "bytes", "configuration": {"endian": "little"}})
    else:
        codecs.append({"name": "bytes"})
    codecs += [codec_of_kind(kind, dtype.itemsize), {"name": "crc32c"}]
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
