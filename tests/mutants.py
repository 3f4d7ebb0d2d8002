"""Small ND2 and CZI files, where their parts lie, and damaged copies of them: the same for the same seed.

The parts are found here by a walk over the file that shares no code with the reader, so that a test can say which
planes a damaged byte belongs to, and which bytes hold nothing that a reader could check.
"""

from __future__ import annotations

import gzip
import itertools
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from demo.czi_writer import Subblock, movie_xml, write_czi, write_subblocks
from demo.nd2_writer import Channel, write_nd2

PAGE = 4096
Plane = tuple[int, int, int, int]  # FOV, frame, channel, z


class Part(NamedTuple):
    """Bytes start..end of a file. `planes`: whose pixels they are. `value`: text or a number that nothing repeats."""

    start: int
    end: int
    name: str
    planes: frozenset[Plane] = frozenset()
    value: bool = False


@dataclass
class Intact:
    """A file and its parts. `blocks` are the chunks or segments, `numbers` the lengths, counts, offsets and indices."""

    suffix: str
    content: bytes
    parts: list[Part] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[tuple[int, str]] = field(default_factory=list)
    once: bool = False  # whether nothing in the file stands twice: then only that it was cut off can be known

    def add(self, start: int, length: int, name: str, **kind) -> int:
        if length > 0:
            self.parts.append(Part(start, start + length, name, **kind))
        return start + length

    def number(self, start: int, form: str, name: str, **kind) -> int:
        self.numbers.append((start, form))
        return self.add(start, struct.calcsize(form), name, **kind)


class Mutant(NamedTuple):
    """A damaged copy; `what` says how. `planes` may differ unseen: their pixels were hit, and nothing else of them.

    `values`: whether bytes were hit whose damage only shows in names, times or the pixel size. `loops`: whether the
    length of a loop of an ND2 was hit, which stands in one place: a loop that is longer than the frames that are there
    looks like an acquisition that was stopped.
    """

    suffix: str
    content: bytes
    what: str
    planes: frozenset[Plane]
    values: bool
    loops: bool = False


# ------------------------------------------------------------------------------------------------------ the files


def _pixels(*shape: int) -> np.ndarray:
    images = np.random.default_rng(11).integers(1, 65536, (*shape, 9, 14), dtype=np.uint16)
    images >>= 6  # something to compress
    return images


def _nd2(folder: Path, loops: str, sizes: tuple[int, int, int, int], gone: int | None = None, **options) -> Intact:
    images = _pixels(*sizes)
    path = folder / "intact.nd2"
    n_fovs, n_frames, n_channels, n_z = sizes
    write_nd2(
        path,
        lambda *index: None if index[1] == gone and index[0] else images[index],
        n_fovs=n_fovs,
        n_frames=n_frames,
        n_z=n_z,
        height=9,
        width=14,
        channels=[Channel("Phase"), Channel("GFP", (0, 255, 0), 488, 525)][:n_channels],
        loops=loops,
        times_ms=lambda fov, frame: 600_000.0 * frame + 1000.0 * fov,
        **options,
    )
    return parts_of_nd2(path.read_bytes(), loops, sizes)


def _czi(folder: Path, sizes: tuple[int, int, int, int], gone: int | None = None, **options) -> Intact:
    images = _pixels(*sizes)
    path = folder / "intact.czi"
    n_fovs, n_frames, n_channels, n_z = sizes
    write_czi(
        path,
        lambda *index: None if index[1] == gone and index[2] else images[index],
        n_fovs=n_fovs,
        n_frames=n_frames,
        n_z=n_z,
        width=14,
        channels=["Phase", "GFP"][:n_channels],
        times_s=lambda fov, frame: 600.0 * frame + fov,
        **options,
    )
    return parts_of_czi(path.read_bytes())


def _czi_of_tiles(folder: Path) -> Intact:
    """Two scenes of different size; the second is a mosaic of two tiles with a pyramid."""
    images = _pixels(2, 2)
    tiles = []
    for frame, channel in np.ndindex(2, 2):
        image = images[frame, channel]
        dims = {"T": frame, "C": channel}
        tiles.append(Subblock({"S": 0, **dims}, image[:7, :11].copy(), x=-5, y=3, taken_s=60.0 * frame))
        for m, x in enumerate((0, 6)):
            tiles.append(
                Subblock({"S": 1, **dims, "M": m}, image[:, x : x + 8].copy(), x=900 + x, taken_s=60.0 * frame)
            )
        tiles.append(Subblock({"S": 1, **dims}, image[::2, ::2].copy(), x=900, shrink=2))
    path = folder / "intact.czi"
    write_subblocks(path, tiles, xml=movie_xml(["Phase", "GFP"], {0: "A", 1: "B"}, 0.65, 60.0))
    return parts_of_czi(path.read_bytes())


def _czi_of_zeiss(folder: Path) -> Intact:
    """As Zeiss' own library writes it, compressed without the split of high and low bytes."""
    from pylibCZIrw import czi

    images = _pixels(2, 2)
    path = folder / "intact.czi"
    path.unlink(missing_ok=True)
    with czi.create_czi(str(path), compression_options="zstd0:ExplicitLevel=2") as document:
        for frame, channel in np.ndindex(2, 2):
            document.write(images[frame, channel][..., None], plane={"T": frame, "C": channel, "Z": 0}, scene=0)
        document.write_metadata(channel_names={0: "Phase", 1: "GFP"}, scale_x=0.65e-6, scale_y=0.65e-6)
    return parts_of_czi(path.read_bytes())


# Small real files, where they are (see conftest): their loops and sizes, to say which frame is which plane.
REAL = {
    "nd2/cluster.nd2": ("TZ", (1, 3, 2, 10)),
    "nd2/example-cerevisiae.nd2": ("", (1, 1, 2, 1)),
    "czi/LLS7_small.czi": None,
    "czi/WellD6-7_S2.czi": None,
    "czi/s_1_t_1_c_1_z_1.czi": None,
}


def real_file(path: Path) -> Intact:
    """A real file."""
    content, name = path.read_bytes(), f"{path.parent.name}/{path.name}"
    return parts_of_czi(content) if path.suffix == ".czi" else parts_of_nd2(content, *REAL[name])


# The files that are damaged: each function writes one into a folder.
FILES: dict[str, Callable[[Path], Intact]] = {
    "nd2": lambda folder: _nd2(folder, "TP", (2, 3, 2, 1)),
    "nd2 positions outermost": lambda folder: _nd2(folder, "PTZ", (2, 2, 1, 2)),
    "nd2 compressed": lambda folder: _nd2(folder, "TP", (2, 2, 2, 1), compress=True),
    "nd2 stopped": lambda folder: _nd2(folder, "TP", (2, 3, 2, 1), gone=2),
    "czi": lambda folder: _czi(folder, (2, 3, 2, 1)),
    "czi zstd": lambda folder: _czi(folder, (2, 2, 2, 1), compress=True),
    "czi one scene": lambda folder: _czi(folder, (1, 3, 1, 2), axes="TCZ", attach_times=False),
    "czi gaps": lambda folder: _czi(folder, (2, 3, 2, 1), gone=1),
    "czi tiles": _czi_of_tiles,
    "czi of zeiss": _czi_of_zeiss,
}


# ------------------------------------------------------------------------------------------------- their parts: ND2


def parts_of_nd2(content: bytes, loops: str, sizes: tuple[int, int, int, int]) -> Intact:
    """The chunks of an ND2 with the loops nested as in `loops`; sizes: (P, T, C, Z)."""
    intact = Intact(".nd2", content)
    lengths = dict(zip("PTCZ", sizes, strict=True))
    order = [dict(zip(loops, at, strict=True)) for at in itertools.product(*(range(lengths[axis]) for axis in loops))]
    position = 0
    while position + 16 <= len(content):
        magic, name_length, length = struct.unpack_from("<IIQ", content, position)
        assert magic == 0x0ABECEDA, position
        name = content[position + 16 : position + 16 + name_length].split(b"\0")[0]
        data = position + 16 + name_length
        intact.blocks.append((position, data + length))
        intact.add(position, 4, "chunk magic")
        intact.number(position + 4, "<I", "chunk name length")
        intact.number(position + 8, "<Q", "chunk length")
        intact.add(position + 16, len(name), "chunk name")
        if name.startswith(b"ImageDataSeq|"):
            at = {"P": 0, "T": 0, "Z": 0} | order[int(name[13:-1])]
            planes = frozenset((at["P"], at["T"], channel, at["Z"]) for channel in range(lengths["C"]))
            intact.add(data, 8, "frame stamp", value=True)
            intact.add(data + 8, length - 8, "pixels", planes=planes)
        elif name.startswith(b"ND2 FILEMAP"):
            _parts_of_chunk_map(intact, data, data + length)
        elif name.startswith(b"ND2 FILE SIGNATURE"):
            intact.add(data, length, "version")
        elif content[data + 1 : data + 2] != b"\0" and content[data] in range(1, 12):
            _parts_of_tree(intact, data, data + length, name.decode())
        else:
            intact.add(data, length, name.decode(), value=True)
        position = (data + length + PAGE - 1) // PAGE * PAGE
    return intact


def _parts_of_chunk_map(intact: Intact, position: int, end: int) -> None:
    while position < end - 40:
        name_end = intact.content.index(b"!", position) + 1
        intact.add(position, name_end - position, "map name")
        intact.number(name_end, "<Q", "map offset")
        position = intact.number(name_end + 8, "<Q", "map length")
    intact.add(position, 32, "map signature")
    intact.number(position + 32, "<Q", "map place")


def _parts_of_tree(intact: Intact, position: int, end: int, path: str) -> None:
    """The values of a "CLX Lite variant" tree."""
    content = intact.content
    forms = {1: "<B", 2: "<i", 3: "<I", 4: "<q", 5: "<Q", 6: "<d"}
    while position + 2 <= end:
        start = position
        kind, letters = content[position], content[position + 1]
        name = content[position + 2 : position + 2 * letters].decode("utf-16-le")
        position = intact.add(position, 2 + 2 * letters, f"{path}/{name}: type and name", value=True)
        where = f"{path}/{name}"
        if kind == 11:
            count, length = struct.unpack_from("<IQ", content, position)
            position = intact.number(position, "<I", f"{where}: items", value=True)
            position = intact.number(position, "<Q", f"{where}: length", value=True)
            _parts_of_tree(intact, position, start + length, where)
            position = intact.add(start + length, 8 * count, f"{where}: index", value=True)
        elif kind == 8:
            text_end = position
            while content[text_end : text_end + 2] != b"\0\0":
                text_end += 2
            position = intact.add(position, text_end + 2 - position, where, value=True)
        elif kind == 9:
            (length,) = struct.unpack_from("<Q", content, position)
            position = intact.number(position, "<Q", f"{where}: length", value=True)
            position = intact.add(position, length, where, value=True)
        else:
            position = intact.number(position, forms[kind], where, value=True)


# ------------------------------------------------------------------------------------------------- their parts: CZI


def parts_of_czi(content: bytes) -> Intact:
    """The segments of a CZI."""
    intact = Intact(".czi", content)
    directory = struct.unpack_from("<q", content, 32 + 52)[0]
    entries = list(_entries(content, directory))
    scenes, channels, frames, stacks = (sorted({dims.get(axis, 0) for _, _, dims in entries}) for axis in "SCTZ")

    def plane(dims: dict[str, int]) -> Plane:
        return (
            scenes.index(dims.get("S", 0)),
            dims.get("T", 0) - frames[0],
            channels.index(dims.get("C", 0)),
            dims.get("Z", 0) - stacks[0],
        )

    position = 0
    while position + 32 <= len(content):
        name, allocated, used = struct.unpack_from("<16sqq", content, position)
        name = name.rstrip(b"\0").decode()
        data = position + 32
        intact.blocks.append((position, data + used))
        intact.add(position, 16, "segment name")
        intact.number(position + 16, "<q", "segment allocated")
        intact.number(position + 24, "<q", "segment used")
        if name == "ZISRAWFILE":
            for offset, form in ((0, "<i"), (48, "<i"), (52, "<q"), (60, "<q"), (68, "<i"), (72, "<q")):
                intact.number(data + offset, form, f"header {offset}")
        elif name == "ZISRAWSUBBLOCK":
            intact.number(data, "<i", "subblock metadata length")
            intact.number(data + 4, "<i", "subblock attachment length")
            intact.number(data + 8, "<q", "subblock data length")
            end, _, dims = _parts_of_entry(intact, data + 16, "subblock")
            xml, _, length = struct.unpack_from("<iiq", content, data)
            pixels = intact.add(max(data + 256, end), xml, "subblock metadata", value=True)
            intact.add(pixels, length, "pixels", planes=frozenset([plane(dims)]))
        elif name == "ZISRAWDIRECTORY":
            intact.number(data, "<i", "directory count")
            at = data + 128
            for _ in range(struct.unpack_from("<i", content, data)[0]):
                at, _, _ = _parts_of_entry(intact, at, "directory")
        elif name == "ZISRAWMETADATA":
            intact.number(data, "<i", "xml length")
            intact.number(data + 4, "<i", "xml attachment length")
            intact.add(data + 256, struct.unpack_from("<i", content, data)[0], "xml", value=True)
        else:
            intact.add(data, used, name, value=True)
        position = data + allocated
    return intact


def _entries(content: bytes, directory: int) -> Iterator[tuple[int, int, dict[str, int]]]:
    at = directory + 32 + 128
    for _ in range(struct.unpack_from("<i", content, directory + 32)[0]):
        at, place, dims = _parts_of_entry(Intact(".czi", content), at, "")
        yield at, place, dims


def _parts_of_entry(intact: Intact, start: int, name: str) -> tuple[int, int, dict[str, int]]:
    """One entry of the directory: where it ends, where its subblock lies, and its dimensions."""
    content = intact.content
    intact.add(start, 2, f"{name} schema")
    intact.number(start + 2, "<i", f"{name} pixel type")
    intact.number(start + 6, "<q", f"{name} place")
    intact.number(start + 14, "<i", f"{name} file part")
    intact.number(start + 18, "<i", f"{name} compression")
    intact.number(start + 22, "<B", f"{name} pyramid")
    intact.number(start + 28, "<i", f"{name} dimensions")
    dims = {}
    for at in range(start + 32, start + 32 + 20 * struct.unpack_from("<i", content, start + 28)[0], 20):
        letter = content[at : at + 4].rstrip(b"\0").decode()
        dims[letter] = struct.unpack_from("<i", content, at + 4)[0]
        intact.add(at, 4, f"{name} {letter}: name")
        intact.number(at + 4, "<i", f"{name} {letter}: start")
        intact.number(at + 8, "<i", f"{name} {letter}: size")
        intact.number(at + 12, "<f", f"{name} {letter}: coordinate")
        intact.number(at + 16, "<i", f"{name} {letter}: stored size")
    return start + 32 + 20 * len(dims), struct.unpack_from("<q", content, start + 6)[0], dims


# ---------------------------------------------------------------------------------------------------------- damage


def mutant(intact: Intact, seed: int) -> Mutant:
    """The damaged copy number `seed`."""
    rng = random.Random(seed)
    damage = rng.choice(
        [_cut, _flip, _flip, _flip, _overwrite, _extreme, _extreme, _extreme, _swap, _shift, _copy_part]
    )
    content = bytearray(intact.content)
    what = damage(rng, intact, content)
    content = bytes(content)
    if damage in (_cut, _swap, _shift):
        # whole structures are moved or gone: everything about it can be known
        return Mutant(intact.suffix, content, what, frozenset(), False)
    hit = np.flatnonzero(np.frombuffer(content, np.uint8) != np.frombuffer(intact.content, np.uint8))
    parts = [part for part in intact.parts if np.searchsorted(hit, part.start) < np.searchsorted(hit, part.end)]
    names = ", ".join(dict.fromkeys(part.name for part in parts))
    planes = frozenset().union(*(part.planes for part in parts))
    return Mutant(
        intact.suffix,
        content,
        f"{what} ({names})",
        planes,
        any(part.value for part in parts),
        "uLoopPars/uiCount" in names,
    )


def _cut(rng: random.Random, intact: Intact, content: bytearray) -> str:
    """Cut off at, or next to, a boundary, or anywhere."""
    edges = [edge for block in intact.blocks for edge in block] + [part.start for part in intact.parts]
    place = rng.choice([rng.choice(edges) + rng.choice([-1, 0, 1]), rng.randrange(len(content))])
    place = min(max(place, 0), len(content) - 1)
    del content[place:]
    return f"cut off at {place} of {len(intact.content)}"


def _place(rng: random.Random, intact: Intact) -> int:
    """A byte of some part, parts of every kind being as likely as others."""
    name = rng.choice(sorted({part.name for part in intact.parts}))
    part = rng.choice([part for part in intact.parts if part.name == name])
    return rng.randrange(part.start, part.end)


def _flip(rng: random.Random, intact: Intact, content: bytearray) -> str:
    places = [(_place(rng, intact), rng.randrange(8)) for _ in range(rng.choice([1, 1, 1, 2, 4]))]
    for place, bit in places:
        content[place] ^= 1 << bit
    return f"bits flipped at {places}"


def _overwrite(rng: random.Random, intact: Intact, content: bytearray) -> str:
    place, length = _place(rng, intact), rng.choice([1, 2, 4, 8, 20, 64, 512, 4096])
    end = min(place + length, len(content))
    fill = rng.choice(["zeros", "ones", "noise", "letters"])
    content[place:end] = {
        "zeros": bytes(end - place),
        "ones": b"\xff" * (end - place),
        "noise": rng.randbytes(end - place),
        "letters": b"A" * (end - place),
    }[fill]
    return f"{end - place} bytes at {place} overwritten with {fill}"


def _extreme(rng: random.Random, intact: Intact, content: bytearray) -> str:
    place, form = rng.choice(intact.numbers)
    (value,) = struct.unpack_from(form, content, place)
    if form in ("<d", "<f"):
        new = rng.choice([0.0, -1.0, 1e300 if form == "<d" else 1e30, float("nan"), float("inf"), value * 2])
    else:
        size = 8 * struct.calcsize(form)
        low, high = (0, 2**size - 1) if form[1].isupper() else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)
        news = [0, 1, 2, -1, low, high, high // 2, value + 1, value - 1, 2 * value, value // 2, len(content), 10**6]
        news += [65536, 2**31 - 1, 2**31, 2**32 - 1, 2**40, value + 4096, rng.randrange(low, high + 1)]
        new = rng.choice([new for new in news if low <= new <= high and new != value])
    struct.pack_into(form, content, place, new)
    return f"{value} at {place} set to {new}"


def _swap(rng: random.Random, intact: Intact, content: bytearray) -> str:
    """Two chunks or segments, header and all, change places; those in between move if the two differ in length."""
    (a, a_end), (b, b_end) = sorted(rng.sample(intact.blocks, 2))
    content[a:b_end] = content[b:b_end] + content[a_end:b] + content[a:a_end]
    return f"blocks at {a} and {b} swapped"


def _shift(rng: random.Random, intact: Intact, content: bytearray) -> str:
    """Bytes are put in or taken out, so that everything behind them moves."""
    place = rng.choice([rng.choice(intact.blocks)[0], _place(rng, intact)])
    length = rng.choice([1, 2, 8, 32, 4096])
    if rng.random() < 0.5:
        content[place:place] = bytes(length)
        return f"{length} bytes put in at {place}"
    del content[place : place + length]
    return f"{length} bytes taken out at {place}"


def _copy_part(rng: random.Random, intact: Intact, content: bytearray) -> str:
    """A part takes the content of another of its kind: an offset, index or name that occurs elsewhere."""
    kinds: dict[tuple[str, int], list[Part]] = {}
    for part in intact.parts:
        kinds.setdefault((part.name, part.end - part.start), []).append(part)
    name = rng.choice(sorted(kind for kind, parts in kinds.items() if len(parts) > 1))
    source, target = rng.sample(kinds[name], 2)
    content[target.start : target.end] = intact.content[source.start : source.end]
    return f"{name[0]} at {target.start} overwritten with that at {source.start}"


def mislabelled(nd2: bytes, czi: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Files that are something else than their ending says: suffix, content, what they are."""
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    others = {
        "nothing": b"",
        "one byte": b"\xda",
        "text": b"fov,cell,frame\n" * 50,
        "a web page": page,
        "a PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200),
        "gzip": gzip.compress(czi, mtime=0),
        "zlib": zlib.compress(nd2),
        "a ZIP": b"PK\x03\x04" + bytes(300),
        "zeros": bytes(5000),
        "noise": random.Random(5).randbytes(5000),
        "an ND2's first bytes": b"\xda\xce\xbe\x0a" + bytes(5000),
        "a CZI's first bytes": b"ZISRAWFILE".ljust(16, b"\0") + bytes(5000),
        "two ND2s": nd2 * 2,
        "two CZIs": czi * 2,
        "an ND2 in a CZI": czi + nd2,
        "an ND2 with noise behind": nd2 + random.Random(5).randbytes(100),
    }
    for suffix in (".nd2", ".czi"):
        for what, content in others.items():
            yield suffix, content, what
