"""Read single pages of TIFF files by their number, and check each against its file before it is read.

The chain of pages is walked here, since a file that was cut off must not pass for one with fewer pages. What a page is
and how its pixels are stored, tifffile tells; it is imported only where a file is opened.
"""

from __future__ import annotations

import math
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celltraces.errors import UserError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGICS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
MANY_TAGS = 4096  # in one page; microscopes write 20
MANY_PAGES = 10_000_000
OPEN_FILES = 16
LARGEST_RATIO = 65_536  # bytes of pixels that one byte of a file may stand for
LARGEST_PLANE = 4_000_000_000  # bytes
LOSSY = ("JPEG", "OJPEG", "ALT_JPEG", "JPEG_LOSSY", "JPEG_2000_LOSSY", "APERIO_JP2000_YCBC", "APERIO_JP2000_RGB")
GREY = (0, 1)  # photometric interpretations: white is zero, black is zero


class Chain(NamedTuple):
    """Where the pages of a file begin, and whether the last says that it is the last."""

    offsets: list[int]
    ended: bool


def page_chain(file: IO[bytes]) -> Chain:
    """Walk the directories of a TIFF. Raises ValueError for what is no TIFF and for a chain that bites its tail."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(16)
    if head[:4] not in MAGICS:
        raise ValueError("it does not begin as a TIFF")
    order, big = MAGICS[head[:4]]
    number, pointer, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    (offset,) = struct.unpack_from(order + pointer, head, 8 if big else 4)
    offsets: list[int] = []
    seen: set[int] = set()
    while offset:
        if offset in seen or len(offsets) >= MANY_PAGES:
            raise ValueError("its pages follow each other in a circle")
        file.seek(offset)
        raw = file.read(struct.calcsize(number))
        if len(raw) < struct.calcsize(number):
            return Chain(offsets, False)
        (tags,) = struct.unpack(order + number, raw)
        end = offset + len(raw) + tags * entry
        if not 0 < tags <= MANY_TAGS or end + struct.calcsize(pointer) > size:
            return Chain(offsets, False)
        file.seek(end)
        seen.add(offset)
        offsets.append(offset)
        (offset,) = struct.unpack(order + pointer, file.read(struct.calcsize(pointer)))
    return Chain(offsets, True)


class Pages:
    """The pages of several TIFF files, a few of which are open at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self._open: OrderedDict[int, TiffFile] = OrderedDict()
        self._chains: dict[int, Chain] = {}

    def count(self, file: int) -> int:
        """How many pages a file has; 0 for one that is not there. Raises UserError for a file that was cut off."""
        if not self.files[file].is_file():
            return 0
        chain = self._chain(file)
        if not chain.ended:
            raise UserError(
                f"'{self.files[file]}' is cut off behind page {len(chain.offsets)}; copy it again from the microscope"
            )
        return len(chain.offsets)

    def page(self, file: int, number: int) -> TiffPage:
        """One page, with its tags. Raises IndexError where there is none."""
        from tifffile import TiffPage

        opened = self._tiff(file)
        opened.filehandle.seek(self._chain(file).offsets[number])
        return TiffPage(opened, (number,))

    def read(self, file: int, number: int, plane: int, shape: tuple[int, int] | None = None) -> np.ndarray:
        """Pixels (H, W) as stored; `plane`: which of those that lie one behind the other after a page that says so.

        Raises UserError for colours and for a compression that cannot be read, ValueError for a damaged page.
        """
        page = self.page(file, number)
        refuse_page(page, self.files[file], self._size(file))
        if shape is not None and (page.imagelength, page.imagewidth) != shape:
            raise ValueError(
                f"page {number} has {page.imagewidth} x {page.imagelength} pixels where {shape[1]} x {shape[0]} are "
                "announced"
            )
        if plane == 0:
            return np.asarray(page.asarray(maxworkers=1)).reshape(page.imagelength, page.imagewidth)
        n_bytes = page.imagelength * page.imagewidth * page.dtype.itemsize
        start = page.dataoffsets[0] + plane * n_bytes
        handle = self._tiff(file).filehandle
        if page.compression != 1 or start + n_bytes > self._size(file):
            raise ValueError(f"plane {plane} behind page {number} is not wholly in the file")
        handle.seek(start)
        stored = np.frombuffer(handle.read(n_bytes), page.dtype.newbyteorder(page.parent.byteorder))
        return stored.reshape(page.imagelength, page.imagewidth).astype(page.dtype)

    def planes_after(self, file: int, number: int) -> int:
        """How many uncompressed planes fit between the pixels of a page and the end of the file."""
        page = self.page(file, number)
        n_bytes = page.imagelength * page.imagewidth * page.dtype.itemsize
        if page.compression != 1 or not page.dataoffsets or not n_bytes:
            return 1
        return (self._size(file) - page.dataoffsets[0]) // n_bytes

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _size(self, file: int) -> int:
        return self.files[file].stat().st_size

    def _chain(self, file: int) -> Chain:
        if file not in self._chains:
            with open(self.files[file], "rb") as opened:
                self._chains[file] = page_chain(opened)
        return self._chains[file]

    def _tiff(self, file: int) -> TiffFile:
        from tifffile import TiffFile

        if file not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            self._open[file] = TiffFile(self.files[file])
        self._open.move_to_end(file)
        return self._open[file]


def _can_decode(decoders: Mapping[int, Callable[[bytes], Any]], compression: int) -> bool:
    """Whether there is a decoder; one whose package is missing says so when it is called."""
    try:
        decoders[compression](b"")
    except (KeyError, ImportError):
        return False
    except Exception:
        return True  # nothing is no compressed data, and the decoder says so
    return True


def refuse_page(page: TiffPage, path: Path, size: int) -> None:
    """Raise UserError for pixels that are no grey levels or cannot be decoded, ValueError for what contradicts.

    size: of the file, bytes.
    """
    from tifffile import TIFF

    if page.samplesperpixel != 1 or page.photometric not in GREY:
        raise UserError(f"'{path}': colours cannot be used; export the movie in grey levels with 16-bit integers")
    if page.dtype is None or page.dtype.kind not in "ui":
        raise UserError(f"'{path}': {page.dtype} pixels cannot be used; export the movie with 16-bit integers")
    name = getattr(page.compression, "name", str(page.compression))
    if name in LOSSY:
        raise UserError(f"'{path}': its pixels are compressed with loss ({name}); export the movie without compression")
    if not _can_decode(TIFF.DECOMPRESSORS, page.compression):
        raise UserError(
            f"'{path}' is compressed as {name}, which needs the package imagecodecs: install it beside the workflow "
            "(`pip install imagecodecs`), or save the file without compression or with ZIP (deflate)"
        )
    if page.imagedepth != 1 or page.imagelength < 1 or page.imagewidth < 1:
        raise ValueError(f"page {page.index} has no pixels, or several planes in one")
    n_bytes = page.imagelength * page.imagewidth * page.dtype.itemsize
    counts, offsets = page.databytecounts, page.dataoffsets
    if not offsets or len(counts) != len(offsets) or len(offsets) != math.prod(page.chunked):
        raise ValueError(f"page {page.index} does not say where its pixels are")
    if any(offset + count > size for offset, count in zip(offsets, counts, strict=True)):
        raise ValueError(f"the pixels of page {page.index} are not wholly in the file")
    stored = sum(counts)
    if n_bytes > LARGEST_PLANE or n_bytes > LARGEST_RATIO * stored:
        raise ValueError(f"page {page.index} asks for {n_bytes} bytes, and {stored} are stored")
    if page.compression == 1 and stored < n_bytes * page.bitspersample // (8 * page.dtype.itemsize):
        raise ValueError(f"page {page.index} has {stored} bytes of pixels where {n_bytes} are announced")


def tag(page: TiffPage, code: int | str) -> Any:
    """The value of a tag, None where there is none."""
    found = page.tags.get(code)
    return None if found is None else found.value
