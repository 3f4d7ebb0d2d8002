"""Parse the segments of a CZI file: the directory of subblocks, subblocks, metadata.

Layout of the file: Zeiss' "ZISRAW (CZI) File Format, Design Specification".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from celltraces.metadata import refuse_declarations
from celltraces.readers.checks import bytes_left, refuse_other_length
from celltraces.readers.movie import Contradiction

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

CZI_MAGIC = b"ZISRAWFILE"
CZI_PIXELS = {0: ("Gray8", "uint8"), 1: ("Gray16", "uint16")}  # pixel type -> its name, and the dtype
CZI_PLAIN = 0  # the compression of pixels that are not compressed
CZI_LETTERS = "STCZBVHIR"  # of the dimensions that tell planes apart
CZI_FIELDS = {  # what a field of the directory is, for messages
    **{"S": "scene", "T": "time point", "C": "channel", "Z": "Z plane", "pixel_type": "pixel type"},
    **{"Xstart": "x position", "Ystart": "y position", "Xsize": "width", "Ysize": "height"},
    **{"Xstored": "stored width", "Ystored": "stored height"},
}
CZI_MANY_PIXELS = 1 << 29  # of one tile; more is damage
CZI_MANY_SUBBLOCKS = 4000  # aicspylibczi takes 0.55 ms per thousand and plane to find one, pylibCZIrw 0.04


class Tiles(NamedTuple):
    """The full-resolution subblocks of a CZI, one row each.

    columns: by name, (n,) int64: `position`, the byte where the subblock's segment begins; `pixel_type`;
    `compression`; the index in each dimension by its letter, 0 where the dimension is absent; Xstart, Ystart, Xsize,
    Ysize: where the pixels belong on the canvas. sometimes: the dimensions that some subblocks name
    and others do not, those of pyramids included.
    """

    columns: dict[str, np.ndarray]
    has_scenes: bool
    sometimes: frozenset[str]

    def box(self, row: int) -> tuple[int, int, int, int]:
        """Return x, y, width and height of a tile."""
        x, y, width, height = (int(self.columns[name][row]) for name in ("Xstart", "Ystart", "Xsize", "Ysize"))
        return x, y, width, height


def segment(file: IO[bytes], position: int, name: bytes) -> int:
    """Go to the data of the segment at `position` and return its length in bytes; ValueError if it is not all there."""
    head = b""
    if 0 <= position <= os.fstat(file.fileno()).st_size:
        file.seek(position)
        head = file.read(32)
    if len(head) < 32 or head[:16].rstrip(b"\0") != name:
        raise ValueError(f"no {name.decode()} segment at byte {position}; the file is cut off or was never closed")
    allocated, used = struct.unpack_from("<qq", head, 16)
    # a length of 0 stands for all that was allocated
    length = used or allocated
    if not 0 <= length <= bytes_left(file):
        raise ValueError(f"the file is cut off: the {name.decode()} segment at byte {position} does not end within it")
    return length


def czi_positions(file: IO[bytes]) -> tuple[int, int, int]:
    """Return where the directory of subblocks, the metadata, and the directory of attachments begin (0: none)."""
    if segment(file, 0, CZI_MAGIC) < 80:
        raise ValueError("the file is cut off in its header")
    header = file.read(80)
    return struct.unpack_from("<qq", header, 52) + struct.unpack_from("<q", header, 72)


def _entry_type(n_dims: int) -> np.dtype:
    """The type of an entry of the directory that has so many dimensions."""
    dimension = np.dtype([("name", "S4"), ("start", "<i4"), ("size", "<i4"), ("_", "<f4"), ("stored", "<i4")])
    return np.dtype(
        [
            ("schema", "S2"),
            ("pixel_type", "<i4"),
            ("position", "<i8"),
            ("file_part", "<i4"),
            ("compression", "<i4"),
            ("pyramid", "u1"),
            ("_", "S5"),
            ("n_dims", "<i4"),
            ("dims", dimension, (n_dims,)),
        ]
    )


def _columns(entries: np.ndarray) -> tuple[dict[str, np.ndarray], bool]:
    """Return the columns of `Tiles`, with Xstored and Ystored, of entries; and whether they have scenes."""
    names, values = entries["dims"]["name"], entries["dims"]
    if not np.isin(names, [letter.encode() for letter in CZI_LETTERS + "XYM"]).all():
        raise ValueError("its directory of subblocks is damaged")
    found = {name: entries[name].astype(np.int64) for name in ("pixel_type", "position", "compression", "pyramid")}
    for letter in CZI_LETTERS:
        found[letter] = np.where(names == letter.encode(), values["start"], 0).sum(axis=1, dtype=np.int64)
    for letter in "XY":
        for field in ("start", "size", "stored"):
            found[letter + field] = np.where(names == letter.encode(), values[field], 0).sum(axis=1, dtype=np.int64)
    return found, bool((names == b"S").any())


def _columns_of_one(head: bytes, n_dims: int) -> dict[str, int]:
    """Return what `_columns` does for the one entry in a subblock's header, in a tenth of the time."""
    _, pixel_type, position, _, compression, pyramid = struct.unpack_from("<2siqiiB", head, 16)
    found = {"pixel_type": pixel_type, "position": position, "compression": compression, "pyramid": pyramid}
    found |= dict.fromkeys(
        (*CZI_LETTERS, *(letter + field for letter in "XY" for field in ("start", "size", "stored"))), 0
    )
    for at in range(48, 48 + 20 * n_dims, 20):
        name, start, size, _, stored = struct.unpack_from("<4siifi", head, at)
        letter = name.rstrip(b"\0").decode("latin-1")
        if letter in ("X", "Y"):
            found[letter + "start"] += start
            found[letter + "size"] += size
            found[letter + "stored"] += stored
        elif letter in tuple(CZI_LETTERS):
            found[letter] += start
        elif letter != "M":
            raise ValueError("its directory of subblocks is damaged")
    return found


def _runs_of_entries(raw: bytes) -> Iterator[np.ndarray]:
    """Yield the entries of a directory of subblocks, those that follow each other with as many dimensions at once.

    (A movie of 1,000 FOVs, 500 frames and 3 channels has 1.5 million entries.) Raises ValueError where it is damaged.
    """
    if len(raw) < 128:
        raise ValueError("its directory of subblocks is cut off")
    left, offset = struct.unpack_from("<i", raw)[0], 128
    while left > 0:
        if offset + 32 > len(raw):
            raise ValueError("its directory of subblocks is cut off")
        n_dims = struct.unpack_from("<i", raw, offset + 28)[0]
        if not 2 <= n_dims <= 40:
            raise ValueError("its directory of subblocks is damaged")
        entry = _entry_type(n_dims)
        run = np.frombuffer(raw, entry, min(left, 4096, (len(raw) - offset) // entry.itemsize), offset)
        others = np.flatnonzero((run["n_dims"] != n_dims) | (run["schema"] != b"DV"))
        run = run[: others[0]] if len(others) else run
        if not len(run):
            raise ValueError("its directory of subblocks is damaged")
        left, offset = left - len(run), offset + len(run) * entry.itemsize
        yield run
    # what is left is padding: entries there would be planes lost
    if offset > 128 and raw.find(b"DV", offset) >= 0:
        raise ValueError("its directory of subblocks holds more than it says")


def _all_subblocks(raw: bytes) -> Tiles:
    """All subblocks of a directory, also those of pyramids. Raises ValueError where it is damaged, or has none."""
    parts: list[dict[str, np.ndarray]] = []
    has_scenes = False
    ever: set[str] = set()
    always = {*CZI_LETTERS, *"XYM"}
    for run in _runs_of_entries(raw):
        part, scenes = _columns(run)
        parts.append(part)
        has_scenes |= scenes
        names = run["dims"]["name"]
        alike = names[:1] if (names == names[0]).all() else names
        for letter in CZI_LETTERS + "XYM":
            there = (alike == letter.encode()).any(axis=1)
            if there.any():
                ever.add(letter)
            if not there.all():
                always.discard(letter)
    if not parts:
        raise ValueError("it holds no images")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Tiles(columns, has_scenes, frozenset(ever - always))


def read_tiles(file: IO[bytes]) -> Tiles:
    """Read the directory of subblocks, and keep those of full resolution.

    Raises ValueError where the directory is damaged or cut off, or a subblock that decides of what the file holds says
    other than it.
    """
    start, _, _ = czi_positions(file)
    everything = _all_subblocks(file.read(segment(file, start, b"ZISRAWDIRECTORY")))
    columns = everything.columns
    # subblocks of a pyramid store fewer pixels than they cover
    full = (columns["Xstored"] == columns["Xsize"]) & (columns["Ystored"] == columns["Ysize"])
    tiles = everything._replace(columns={name: column[full] for name, column in columns.items()})
    if not full.any() or (tiles.columns["Xsize"] < 1).any() or (tiles.columns["Ysize"] < 1).any():
        raise ValueError("it holds no images")
    if (tiles.columns["Xsize"] * tiles.columns["Ysize"] > CZI_MANY_PIXELS).any():
        raise ValueError("its directory of subblocks is damaged: planes of more pixels than any camera has")
    if len(np.unique(columns["position"])) < len(full):
        raise ValueError("its directory of subblocks is damaged: two of them at one place")
    # Each subblock's own header is looked at when it is read. Now: those of the pyramid that do not say that they are
    # of one, and those that decide how many frames, channels and FOVs there are, and whether the file is whole.
    # (A header that cannot be read at all is left for then, when it costs no other FOV anything.)
    read_subblock(file, tiles, int(tiles.columns["position"].argmax()))
    doubtful = [(everything, int(row)) for row in np.flatnonzero(~full & (columns["pyramid"] == 0))[:1000]]
    for name in ("Xstart", "Ystart", *CZI_LETTERS):
        doubtful += [(tiles, row) for row in {int(tiles.columns[name].argmin()), int(tiles.columns[name].argmax())}]
    refuse_contradictions(file, doubtful)
    return tiles


def refuse_contradictions(file: IO[bytes], rows: Iterable[tuple[Tiles, int]]) -> None:
    """Raise ValueError if the header of one of these subblocks can be read and says other than the directory."""
    for tiles, row in rows:
        try:
            read_subblock(file, tiles, row)
        except Contradiction:
            raise
        except ValueError:
            pass


def read_subblock(file: IO[bytes], tiles: Tiles, row: int) -> tuple[int, int, int, int]:
    """Return where a subblock's metadata begin, their length, where its pixels begin, and their length, in bytes.

    Raises ValueError where its own header does not say the same as the directory, or it is not all in the file.
    """
    position = int(tiles.columns["position"][row])
    length = segment(file, position, b"ZISRAWSUBBLOCK")
    head = file.read(16 + 32 + 40 * 20)
    if len(head) < 256:
        raise ValueError(f"the header of the subblock at byte {position} is cut off")
    n_metadata, n_attached, n_pixels = struct.unpack_from("<iiq", head)
    n_dims = struct.unpack_from("<i", head, 16 + 28)[0]
    if not 2 <= n_dims <= 40 or head[16:18] != b"DV":
        raise ValueError(f"the header of the subblock at byte {position} is damaged")
    entry = _entry_type(n_dims)
    first = max(256, 16 + entry.itemsize)
    # the parts fill the segment; libraries that count its padding as used have less than 32 bytes more
    rest = length - first - n_metadata - n_attached - n_pixels
    if min(n_metadata, n_attached, n_pixels) < 0 or not (rest == 0 or (0 < rest < 32 and length % 32 == 0)):
        raise ValueError(f"the header of the subblock at byte {position} is damaged")
    try:
        own = _columns_of_one(head, n_dims)
    except ValueError:
        raise ValueError(f"the header of the subblock at byte {position} is damaged") from None
    different = [name for name in own if name not in ("position", "pyramid") and own[name] != tiles.columns[name][row]]
    if different:
        field = CZI_FIELDS.get(different[0], different[0])
        raise Contradiction(f"the subblock at byte {position} and the directory give it another {field}")
    begin = position + 32 + first
    return begin, n_metadata, begin + n_metadata, n_pixels


def czi_metadata(file: IO[bytes]) -> Element:
    """Return the metadata of the movie."""
    import xml.etree.ElementTree as ElementTree

    _, start, _ = czi_positions(file)
    length = segment(file, start, b"ZISRAWMETADATA")
    n_text = struct.unpack("<i", file.read(256)[:4])[0]
    if not 0 < n_text <= length - 256:
        raise ValueError("its metadata are cut off")
    text = file.read(n_text).decode("utf-8-sig")
    refuse_declarations(text)
    return ElementTree.fromstring(text)


def read_czi_plane(file: IO[bytes], tiles: Tiles, row: int) -> np.ndarray | None:
    """Return the pixels (height, width) of a subblock; None if they are compressed, which a library has to undo."""
    _, _, begin, length = read_subblock(file, tiles, row)
    compression = int(tiles.columns["compression"][row])
    _, _, width, height = tiles.box(row)
    dtype = np.dtype(CZI_PIXELS[int(tiles.columns["pixel_type"][row])][1]).newbyteorder("<")
    if compression != CZI_PLAIN:
        return None
    refuse_other_length(length, height, width * dtype.itemsize)
    file.seek(begin)
    return np.fromfile(file, dtype, height * width).reshape(height, width)
