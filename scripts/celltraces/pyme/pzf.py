"""Read and write PYME's compressed single frames (.pzf): a header of 64 bytes, then pixels, plain or Huffman coded.

Header, little-endian: b"BD", version, type of the pixels (uint8, uint16, float32), compression (none, Huffman, Huffman
in chunks), quantization (none, square root), order of the pixels (C or F), series, frame, width, height, depth, time,
offset and scale of the quantization, byte where the data begin. A Huffman stream is that of the Basic Compression
Library: the tree (1 and the eight bits of a byte: a leaf; 0: a node, then its left and its right branch), then the
codes, from the highest bit of each byte. Written here are lossless frames only; read are all, and those that lost
something say so.
"""

from __future__ import annotations

import heapq
import struct
from typing import NamedTuple

import numpy as np

HEADER = struct.Struct("<2sBBBBccqIIIIQffI12s")
SHORT_HEADER = 48  # bytes: versions 1 and 2 end before the byte where the data begin
DTYPES = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<f4"))
PLAIN, HUFFMAN, HUFFMAN_CHUNKS = range(3)
EXACT, SQUARE_ROOT = range(2)
WINDOW = 16  # bits that the table of codes looks at; longer codes are walked down the tree
LONGEST = 255  # bits of a code
JUMP = 16  # codes, a power of two
BLOCK = 1 << 20  # symbols or bytes that are coded at once, to bound memory


class PzfFrame(NamedTuple):
    """A decoded frame: pixels (width, height, depth), its number, and whether its values were rounded on writing."""

    pixels: np.ndarray
    number: int
    lossy: bool


class _Header(NamedTuple):
    dtype: np.dtype
    compression: int
    lossy: bool
    order: str
    number: int
    shape: tuple[int, int, int]
    offset: float
    scale: float
    begin: int


def encode(image: np.ndarray, number: int, *, compression: int = HUFFMAN) -> bytes:
    """A (H, W) image of uint8, uint16 or float32 as a .pzf file; nothing is lost."""
    dtype = image.dtype.newbyteorder("<")
    pixels = np.ascontiguousarray(image, dtype).reshape(-1).view(np.uint8)
    height, width = image.shape
    # Width is the first axis there, and what lies in memory is the image by rows: that is order F.
    header = HEADER.pack(
        *(b"BD", 3, DTYPES.index(dtype), compression, EXACT, b"F", b"\0", 0, number, width, height, 1, 0),
        *(0.0, 1.0, HEADER.size, b""),
    )
    return header + (pixels.tobytes() if compression == PLAIN else huffman(pixels))


def image_type(data: bytes) -> tuple[tuple[int, int], np.dtype, bool]:
    """(width, height), type of the pixels, and whether they were rounded, from the header of a frame of one plane."""
    header = _header(data)
    if header.shape[2] != 1 or 0 in header.shape:
        raise ValueError(f"a PZF frame has the shape {header.shape}")
    return header.shape[:2], header.dtype, header.lossy


def decode(data: bytes, expected: tuple[int, int] | None = None) -> PzfFrame:
    """Read a .pzf file. Raises ValueError for a damaged one, or one that is not `expected` (width, height) large."""
    header = _header(data)
    if expected is not None and header.shape != (*expected, 1):
        raise ValueError(f"a frame has {header.shape} pixels where {(*expected, 1)} are expected")
    stored = np.dtype("u1") if header.lossy else header.dtype
    n_bytes = stored.itemsize * int(np.prod(header.shape, dtype=object))
    body = data[header.begin :]
    if header.compression == PLAIN:
        if len(body) != n_bytes:
            raise ValueError(f"a frame has {len(body)} bytes of pixels where {n_bytes} are announced")
        plain = np.frombuffer(body, np.uint8)
    elif header.compression == HUFFMAN:
        plain = unhuffman(body, n_bytes)
    else:
        plain = _chunks(body, n_bytes)
    pixels = plain.view(stored)
    if header.lossy:
        values = (pixels.astype(np.float32) * np.float32(header.scale)) ** 2 + np.float32(header.offset)
        pixels = values.astype(header.dtype)
    return PzfFrame(pixels.reshape(header.shape, order=header.order), header.number, header.lossy)


def _header(data: bytes) -> _Header:
    if len(data) < SHORT_HEADER or data[:2] != b"BD" or not 1 <= data[2] <= 3:
        raise ValueError("a frame is no PZF frame")
    fields = HEADER.unpack(data[: HEADER.size].ljust(HEADER.size, b"\0"))
    version, kind, compression, quantization, order = fields[1:6]
    begin = fields[15] if version == 3 else SHORT_HEADER
    known = kind < len(DTYPES) and compression <= HUFFMAN_CHUNKS and quantization <= SQUARE_ROOT and order in b"CF"
    if not known or not SHORT_HEADER <= begin <= len(data):
        raise ValueError("the header of a PZF frame is damaged")
    return _Header(
        *(DTYPES[kind], compression, quantization == SQUARE_ROOT, order.decode(), fields[8], fields[9:12]),
        *(*fields[13:15], begin),
    )


def _chunks(body: bytes, n_bytes: int) -> np.ndarray:
    """Bytes of a frame in chunks: their number, then the lengths of each as stored and as it was, and its stream."""
    count = int.from_bytes(body[:2], "little")
    parts, at, total = [], 2, 0
    for _ in range(count):
        if at + 8 > len(body):
            raise ValueError("a PZF frame is cut off")
        stored, length = struct.unpack_from("<II", body, at)
        total += length
        if at + 8 + stored > len(body) or total > n_bytes:
            raise ValueError("a chunk of a PZF frame is longer than the frame")
        parts.append(unhuffman(body[at + 8 : at + 8 + stored], length))
        at += 8 + stored
    if total != n_bytes:
        raise ValueError(f"a frame has {total} bytes of pixels where {n_bytes} are announced")
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


# ------------------------------------------------------------------------------------------------------------ Huffman

Tree = int | tuple["Tree", "Tree"]


def huffman(symbols: np.ndarray) -> bytes:
    """Huffman stream of (n,) uint8."""
    if not len(symbols):
        return b""
    tree = _grow(np.bincount(symbols, minlength=256))
    codes = _codes(tree)
    value, length = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for symbol, code in codes.items():
        value[symbol], length[symbol] = int(code or "0", 2), len(code)
    # Bits that do not fill a byte go into the next block.
    stream, rest = [], np.array([int(bit) for bit in _described(tree)], np.uint8)
    for start in range(0, len(symbols), BLOCK):
        block = symbols[start : start + BLOCK]
        lengths = length[block]
        ends = len(rest) + np.cumsum(lengths)
        bits = np.zeros(int(ends[-1]), np.uint8)
        bits[: len(rest)] = rest
        for depth in range(int(lengths.max())):
            deep = np.flatnonzero(lengths > depth)
            bits[ends[deep] - 1 - depth] = value[block[deep]] >> depth & 1
        full = len(bits) // 8 * 8
        stream.append(np.packbits(bits[:full]).tobytes())
        rest = bits[full:]
    return b"".join(stream) + np.packbits(rest).tobytes()


def unhuffman(data: bytes, n_symbols: int) -> np.ndarray:
    """(n_symbols,) uint8 from a Huffman stream. Raises ValueError if it is damaged or holds fewer."""
    if not n_symbols:
        return np.zeros(0, np.uint8)
    n_bits = 8 * len(data)
    tree, at = _read_tree(data)
    if isinstance(tree, int):
        return np.full(n_symbols, tree, np.uint8)
    if n_symbols > n_bits:
        raise ValueError("a compressed frame is cut off")
    length, symbol = _table(tree)
    padded = np.frombuffer(data + b"\0\0\0\0", np.uint8).astype(np.uint32)
    found: list[np.ndarray] = []
    n_found = 0
    while n_found < n_symbols:
        # What begins at every bit of a block is looked up at once.
        first = at // 8
        last = min(first + BLOCK // 8, len(data))
        three = padded[first:last] << 16 | padded[first + 1 : last + 1] << 8 | padded[first + 2 : last + 2]
        windows = (three[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF).reshape(-1)
        steps, leaves = length[windows].astype(np.int32), symbol[windows]
        for here in np.flatnonzero(steps == 0).tolist():
            leaves[here], steps[here] = _walk(tree, data, 8 * first + here)
        places = _places(steps, at - 8 * first)
        whole = places[places + steps[places] <= n_bits - 8 * first]
        if not len(whole):
            raise ValueError("a compressed frame is cut off")
        at = 8 * first + int(whole[-1] + steps[whole[-1]])
        found.append(leaves[whole])
        n_found += len(whole)
    return np.concatenate(found)[:n_symbols]


def _places(steps: np.ndarray, here: int) -> np.ndarray:
    """Where codes begin, from bit `here` on, in a block in which the code at bit p is `steps[p]` bits long.

    One leaps from code to code, JUMP at a time; those between follow for all leaps together.
    """
    n_bits = len(steps)
    after = np.arange(n_bits + LONGEST + 1, dtype=np.int32)
    after[:n_bits] += steps  # beyond the block one stays
    leap = after
    for _ in range(JUMP.bit_length() - 1):
        leap = leap[leap]
    landed = []
    while here < n_bits:
        landed.append(here)
        here = leap.item(here)
    rows = [np.array(landed, np.int32)]
    for _ in range(JUMP - 1):
        rows.append(after[rows[-1]])
    places = np.stack(rows, axis=1).reshape(-1)
    return places[places < n_bits]


def _grow(counts: np.ndarray) -> Tree:
    """The tree of the bytes that occur, rare ones deep."""
    heap: list[tuple[int, int, Tree]] = [
        (int(count), symbol, symbol) for symbol, count in enumerate(counts.tolist()) if count
    ]
    heapq.heapify(heap)
    number = 256  # of nodes, so that equal counts are always put together in the same order
    while len(heap) > 1:
        left, right = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (left[0] + right[0], number, (left[2], right[2])))
        number += 1
    return heap[0][2]


def _codes(tree: Tree, code: str = "") -> dict[int, str]:
    """Bits of each leaf."""
    if isinstance(tree, int):
        return {tree: code}
    return {**_codes(tree[0], code + "0"), **_codes(tree[1], code + "1")}


def _described(tree: Tree) -> str:
    """The tree as bits."""
    return f"1{tree:08b}" if isinstance(tree, int) else "0" + _described(tree[0]) + _described(tree[1])


def _read_tree(data: bytes) -> tuple[Tree, int]:
    """The tree at the beginning of a stream, and the number of its bits."""
    bits = "".join(f"{byte:08b}" for byte in data[:400])  # 256 leaves have 255 * 1 + 256 * 9 bits
    at = 0

    def read(depth: int) -> Tree:
        nonlocal at
        if depth > 255 or at >= len(bits) or (bits[at] == "1" and at + 9 > len(bits)):
            raise ValueError("the tree of a compressed frame is damaged")
        at += 1
        if bits[at - 1] == "1":
            at += 8
            return int(bits[at - 8 : at], 2)
        return read(depth + 1), read(depth + 1)

    return read(0), at


def _table(tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """For each value of WINDOW bits, the length of the code that it begins with and its byte; 0 for longer codes."""
    length, symbol = np.zeros(1 << WINDOW, np.uint8), np.zeros(1 << WINDOW, np.uint8)
    for leaf, code in _codes(tree).items():
        if len(code) <= WINDOW:
            first = int(code, 2) << (WINDOW - len(code))
            after = first + (1 << (WINDOW - len(code)))
            length[first:after], symbol[first:after] = len(code), leaf
    return length, symbol


def _walk(tree: Tree, data: bytes, at: int) -> tuple[int, int]:
    """The byte of the code that begins at bit `at`, and its length."""
    step = 0
    while not isinstance(tree, int):
        if at + step >= 8 * len(data):
            return 0, LONGEST  # beyond the end, which the caller notices
        tree = tree[data[(at + step) // 8] >> (7 - (at + step) % 8) & 1]
        step += 1
    return tree, step
