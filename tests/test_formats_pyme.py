"""PYME's spools as input, and the files for PYME; what the program itself makes of them is in tests/peers/."""

import base64
import json
import keyword
import pickle
import struct
import time
from collections import Counter
from contextlib import suppress

import h5py
import numpy as np
import pandas as pd
import pytest
from formats_tools import Bomb, images_for, read_groups
from hypothesis import given, settings
from hypothesis import strategies as st

import crop_cells
import extract_features
from celltraces.errors import UserError
from celltraces.exports import fov
from celltraces.frames import coverage
from celltraces.labels import lineage
from celltraces.planning import datasets
from celltraces.pyme import pzf, tables
from celltraces.pyme.images import export
from celltraces.pyme.metadata import (
    TAKEN,
    from_json,
    from_md,
    from_xml,
    read_beside,
    to_json,
    to_md,
    to_xml,
    write_attribute,
    write_groups,
)
from celltraces.readers.movie_file import inspect_movie, open_movie
from celltraces.storage.codecs import LABELS, PIXELS, SMOOTH
from celltraces.storage.frames import open_frames, writing
from celltraces.storage.hdf5 import new_file

SEEN = {"axes": None, "allow_lossy": False}
LOSSY = {"axes": None, "allow_lossy": True}
EVENT = [("EventDescr", "S256"), ("EventName", "S32"), ("Time", "<f8")]
ORDERS = ("XYZTC", "XYTZC", "XYZCT", "XYTCZ", "XYCZT", "XYCTZ")


def spool(path, frames, *, sizes=None, order="XYTZC", metadata=None, events=(), packed=None, index=None):
    """Write a spool as PYME does: frames (N, X, Y); `packed`: the .pzf file of each frame instead."""
    with new_file(path) as file:
        if packed is None:
            chunks = (1, *frames.shape[1:])
            data = file.create_dataset(
                "ImageData", data=frames, chunks=chunks, maxshape=(None, *chunks[1:]), compression="gzip", shuffle=True
            )
        else:
            data = file.create_dataset("PZFImageData", (len(packed),), h5py.vlen_dtype(np.uint8))
            for at, content in enumerate(packed):
                data[at] = np.frombuffer(content, np.uint8)
        if index is not None:
            file["PZFImageIndex"] = np.array(index, [("FrameNum", "<i4"), ("Position", "<i4")])
        if sizes is not None:
            write_attribute(data, "DimOrder", order)
            for name, size in sizes.items():
                write_attribute(data, name, size)
        if metadata is not None:
            write_groups(file, metadata)
        if len(events):
            file["Events"] = np.array([(text, name, time) for name, text, time in events], EVENT)
    return path


def pixels(count, x=6, y=4, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(0, 250, (count, x, y)).astype(dtype)


def quantized(image, number, scale=1.0):
    """A frame as PYME rounds it: the square root, in steps of `scale`."""
    steps = np.rint(np.sqrt(image.T) / scale).astype(np.uint8)
    fields = (b"BD", 3, 1, 0, 1, b"C", b"\0", 0, number, *steps.shape, 1, 0, 0.0, scale, 64, b"")
    return struct.pack("<2sBBBBccqIIIIQffI12s", *fields) + steps.tobytes()


# -------------------------------------------------------------------------------------------------------------- spools


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_axes(tmp_path, order):
    """By the rule of the format: the letter after XY varies fastest."""
    sizes = {"Z": 2, "T": 3, "C": 2}
    frames = pixels(12)
    path = spool(tmp_path / "a.h5", frames, sizes={f"Size{a}": n for a, n in sizes.items()}, order=order)
    movie = inspect_movie(path)
    assert (movie.n_z, movie.n_frames, movie.channels) == (2, 3, ["C0", "C1"])
    assert [movie.fovs[0]["height"], movie.fovs[0]["width"]] == [4, 6]
    stack = frames.reshape(*(sizes[letter] for letter in reversed(order[2:])), 6, 4)
    with open_movie(path) as read:
        for t in range(3):
            for z in range(2):
                for c, plane in enumerate(read(0, t, [0, 1], z)):
                    place = {"Z": z, "T": t, "C": c}
                    np.testing.assert_array_equal(plane, stack[tuple(place[a] for a in reversed(order[2:]))].T)


def test_without_sizes_it_is_a_movie_of_one_channel(tmp_path):
    movie = inspect_movie(spool(tmp_path / "a.h5", pixels(5)))
    assert (movie.n_frames, movie.n_z, movie.channels, movie.pixel_size_um) == (5, 1, ["C0"], None)
    metadata = {"DimOrder": "XYCZT", "SizeC": 5, "SizeZ": 1, "SizeT": 1, "ChannelNames": list("abcde")}
    assert inspect_movie(spool(tmp_path / "b.h5", pixels(5), metadata=metadata)).channels == list("abcde")


@pytest.mark.parametrize(
    ("roi", "axes", "transposed"),
    [((6, 4), None, True), ((4, 6), None, False), ((9, 9), None, True), ((6, 4), "yx", False), ((4, 6), "xy", True)],
)
def test_orientation(tmp_path, roi, axes, transposed):
    frames = pixels(1)
    metadata = {"Camera.ROIWidth": roi[0], "Camera.ROIHeight": roi[1]}
    path = spool(tmp_path / "a.h5", frames, metadata=metadata)
    pyme = {**SEEN, "axes": axes}
    expected = frames[0].T if transposed else frames[0]
    place = inspect_movie(path, pyme).fovs[0]
    with open_movie(path, pyme) as read:
        np.testing.assert_array_equal(read(0, 0, [0], None)[0], expected)
    assert (place["height"], place["width"]) == expected.shape


def test_times_from_events(tmp_path):
    """The camera starts after frame 3 anew, 100 s after the beginning; frames of 2 s, two for each time point."""
    metadata = {"StartTime": 1e9, "Camera.CycleTime": 2.0, "voxelsize.x": 0.11, "voxelsize.units": "nm"}
    events = [("StartAq", "-1", 0.0), ("Focus", "3", 1e9 + 5), ("StartAq", "3", 1e9 + 100)]
    sizes = {"SizeC": 2, "SizeZ": 1, "SizeT": 4}
    movie = inspect_movie(
        spool(tmp_path / "a.h5", pixels(8), sizes=sizes, order="XYCZT", metadata=metadata, events=events)
    )
    assert movie.fovs[0]["times_min"] == pytest.approx(np.array([0, 4, 100, 104]) / 60, abs=1e-6)
    assert movie.fovs[0]["senseless_stamps"] == []
    assert movie.period_min == pytest.approx(4 / 60)
    assert movie.pixel_size_um == 0.11  # always um
    backwards = [("StartAq", "3", 1e9 - 100)]
    movie = inspect_movie(spool(tmp_path / "b.h5", pixels(8), metadata=metadata, events=backwards))
    assert movie.fovs[0]["times_min"] is None
    assert movie.fovs[0]["senseless_stamps"] == [4, 5, 6, 7]
    movie = inspect_movie(spool(tmp_path / "c.h5", pixels(8), metadata={"Camera.CycleTime": 2.0}, events=events))
    assert (movie.fovs[0]["times_min"], movie.period_min) == (None, pytest.approx(2 / 60))


@pytest.mark.parametrize("kind", ["plain", "huffman", "chunks"])
def test_compressed_frames_out_of_order(tmp_path, kind):
    frames = pixels(4)
    packed = [pzf.encode(image.T, n, compression=int(kind != "plain")) for n, image in enumerate(frames)]
    if kind == "chunks":
        packed = [in_chunks(content) for content in packed]
    written = [2, 0, 3, 1]
    path = spool(
        tmp_path / "a.h5", frames, packed=[packed[n] for n in written], index=[(n, at) for at, n in enumerate(written)]
    )
    assert inspect_movie(path).n_frames == 4
    with open_movie(path) as read:
        for t in range(4):
            np.testing.assert_array_equal(read(0, t, [0], None)[0], frames[t].T)


def in_chunks(content, parts=3):
    """The same frame with compression 2: each part of its bytes has a Huffman stream of its own."""
    plain = pzf.decode(content).pixels[:, :, 0].T.copy().view(np.uint8).ravel()
    body = struct.pack("<H", parts)
    for part in np.array_split(plain, parts):
        stream = pzf.huffman(part)
        body += struct.pack("<II", len(stream), len(part)) + stream
    return content[:4] + b"\2" + content[5:64] + body


def test_rounded_frames_only_on_request(tmp_path):
    frames = pixels(2)
    path = spool(tmp_path / "a.h5", frames, packed=[quantized(image.T, n) for n, image in enumerate(frames)])
    with pytest.raises(UserError, match="set pyme.allow_lossy: true"):
        inspect_movie(path)
    assert inspect_movie(path, LOSSY).dtype == "uint16"
    with open_movie(path, LOSSY) as read:
        expected = np.rint(np.sqrt(frames[1])).astype(int) ** 2
        np.testing.assert_array_equal(read(0, 1, [0], None)[0], expected.T)
    mixed = [pzf.encode(frames[0].T, 0), quantized(frames[1].T, 1)]
    with (
        open_movie(spool(tmp_path / "b.h5", frames, packed=mixed)) as read,
        pytest.raises(UserError, match=r"set pyme\.allow_lossy: true"),
    ):
        read(0, 1, [0], None)


def test_a_frame_that_was_never_written_is_missing(tmp_path):
    path = spool(tmp_path / "a.h5", pixels(2))
    with h5py.File(path, "a") as file:
        file["ImageData"].resize(3, axis=0)
    with open_movie(path) as read:
        assert read(0, 2, [0], None) == [None]
        assert read(0, 1, [0], None)[0] is not None


SIZES = {"SizeC": 1, "SizeZ": 1, "SizeT": 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sizes": {**SIZES, "SizeT": 4}}, "holds 3 frames, which SizeZ 1, SizeT 4, SizeC 1 do not make"),
        ({"sizes": {**SIZES, "SizeZ": -1}}, "SizeZ -1, SizeT 3, SizeC 1 do not make"),
        ({"sizes": SIZES, "order": "XYTZQ"}, "its DimOrder 'XYTZQ' is none of XYZTC"),
        ({"frames": pixels(3, dtype=np.float32)}, "float32 pixels cannot be used"),
        ({"frames": pixels(3)[0]}, "its frames are uint16 of shape \\(6, 4\\)"),
        ({"packed": [b"nothing"] * 3}, "a frame is no PZF frame"),
        ({"packed": [pzf.encode(pixels(1)[0], 0)] * 2, "index": [(0, 0), (0, 1)]}, "does not name every frame once"),
        ({"packed": [pzf.encode(pixels(1)[0], 0)] * 2, "index": [(0, 0)]}, "PZFImageIndex does not fit its frames"),
    ],
)
def test_bad_spools_end_in_one_line(tmp_path, options, said):
    frames = options.pop("frames", pixels(3))
    if frames.ndim == 2:
        with new_file(tmp_path / "a.h5") as file:
            file["ImageData"] = frames
        path = tmp_path / "a.h5"
    else:
        path = spool(tmp_path / "a.h5", frames, **options)
    with pytest.raises(UserError, match=said) as raised:
        datasets.inspect_in_child_process(path, SEEN)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_files_of_this_ending(tmp_path):
    for name, content in (("a.h5", b"II*\0" + b"x" * 60), ("b.h5", b""), ("c.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 9)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}' is not a readable PYME file"):
            datasets.inspect_in_child_process(tmp_path / name, SEEN)
    with new_file(tmp_path / "d.h5") as file:
        file["exported_data"] = pixels(3)
    with pytest.raises(UserError, match="an HDF5 file without ImageData"):
        inspect_movie(tmp_path / "d.h5")


@pytest.mark.torture
def test_hostile_spools(tmp_path):
    """Sizes that no memory holds, links to other files, a pickle that would run a command: one line, nothing done."""
    cases = {}
    with new_file(tmp_path / "large.h5") as file:
        file.create_dataset("ImageData", (3, 10**6, 10**6), np.uint16, chunks=(1, 10**4, 10**4))
    cases["large.h5"] = "larger than the file can hold"
    spool(tmp_path / "other.h5", pixels(3))
    with new_file(tmp_path / "link.h5") as file:
        file["ImageData"] = h5py.ExternalLink("other.h5", "ImageData")
    cases["link.h5"] = "its ImageData is no dataset of its own"
    with new_file(tmp_path / "outside.h5") as file:
        file.create_dataset("ImageData", (1, 2, 2), np.uint8, external=[(str(tmp_path / "other.h5"), 0, 4)])
    cases["outside.h5"] = "its frames lie in other files"
    with new_file(tmp_path / "virtual.h5") as file:
        layout = h5py.VirtualLayout((3, 6, 4), np.uint16)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "ImageData", (3, 6, 4))
        file.create_virtual_dataset("ImageData", layout)
    cases["virtual.h5"] = "its frames lie in other files"
    spool(tmp_path / "pickle.h5", pixels(3), metadata={"voxelsize.x": 0.1})
    with h5py.File(tmp_path / "pickle.h5", "a") as file:
        file["MetaData"].attrs["ChannelNames"] = np.bytes_(pickle.dumps(Bomb(tmp_path / "ran"), 0))
    cases["pickle.h5"] = "a pickle in it names .*system, which is not run"
    frame = bytearray(pzf.encode(pixels(1)[0], 0))
    frame[20:28] = struct.pack("<II", 2**31, 2**31)  # width and height
    spool(tmp_path / "frame.h5", pixels(1), packed=[bytes(frame)])
    cases["frame.h5"] = "larger than the file can hold"
    for name, said in cases.items():
        with pytest.raises(UserError, match=said) as raised:
            datasets.inspect_in_child_process(tmp_path / name, SEEN)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_damaged_frames_are_noticed(tmp_path):
    """A flipped byte in a compressed frame: read as it was, or refused; never other pixels without a word."""
    frames = pixels(6, 40, 30)
    path = spool(tmp_path / "a.h5", frames)
    content = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file["ImageData"].id.get_chunk_info(3)
    for step in range(0, chunk.size, 37):
        damaged = bytearray(content)
        damaged[chunk.byte_offset + step] ^= 0x5A
        (tmp_path / "b.h5").write_bytes(damaged)
        with open_movie(tmp_path / "b.h5") as read:
            try:
                np.testing.assert_array_equal(read(0, 3, [0], None)[0], frames[3].T)
            except UserError as error:
                assert "FOV 0, frame 3" in str(error)


# ------------------------------------------------------------------------------------------- frames one by one (.pzf)


def bits_of(tree, code=""):
    """Leaves and codes of a Huffman tree, from the description of the format."""
    return {tree: code} if isinstance(tree, int) else {**bits_of(tree[0], code + "0"), **bits_of(tree[1], code + "1")}


def slow_huffman(data, n_bytes):
    """A Huffman stream read bit by bit."""
    bits = iter("".join(f"{byte:08b}" for byte in data))

    def tree():
        if next(bits) == "1":
            return int("".join(next(bits) for _ in range(8)), 2)
        return tree(), tree()

    root, found = tree(), bytearray()
    while len(found) < n_bytes:
        node = root
        while not isinstance(node, int):
            node = node[int(next(bits))]
        found.append(node)
    return bytes(found)


@given(st.binary(min_size=1, max_size=400) | st.lists(st.sampled_from([0, 1, 255]), min_size=1).map(bytes))
def test_huffman_against_one_bit_after_the_other(content):
    stream = pzf.huffman(np.frombuffer(content, np.uint8))
    assert slow_huffman(stream, len(content)) == content
    assert pzf.unhuffman(stream, len(content)).tobytes() == content


def test_huffman_with_codes_longer_than_the_table():
    """Counts as in Fibonacci's sequence make the longest codes: 22 bits here, where the table has 16."""
    counts = [1, 1]
    while len(counts) < 23:
        counts.append(counts[-1] + counts[-2])
    symbols = np.repeat(np.arange(23), counts).astype(np.uint8)
    np.random.default_rng(0).shuffle(symbols)
    stream = pzf.huffman(symbols)
    np.testing.assert_array_equal(pzf.unhuffman(stream, len(symbols)), symbols)
    assert slow_huffman(stream, 2000) == symbols[:2000].tobytes()


images = st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from(["u1", "u2", "f4"]), st.binary(min_size=200))


@given(images, st.booleans(), st.integers(0, 2**32 - 1))
def test_frames_come_back(content, compressed, number):
    height, width, kind, data = content
    image = np.frombuffer(data, f"<{kind}", height * width).reshape(height, width)
    frame = pzf.decode(pzf.encode(image, number, compression=int(compressed)), (width, height))
    assert frame.pixels.dtype == image.dtype
    assert frame.pixels[:, :, 0].T.tobytes() == image.tobytes()
    assert (frame.number, frame.lossy) == (number, False)


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 255), st.sampled_from([0, 1, 2]))
def test_damaged_frames_end_in_value_errors(at, value, compression):
    content = pzf.encode(pixels(1)[0], 0, compression=int(compression > 0))
    damaged = bytearray(in_chunks(content) if compression == 2 else content)
    damaged[at % len(damaged)] = value
    for data in (bytes(damaged), bytes(damaged[:at])):
        with suppress(ValueError):
            assert pzf.decode(data, (4, 6)).pixels.shape == (4, 6, 1)


# ---------------------------------------------------------------------------------------------------------- metadata

words = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda word: not keyword.iskeyword(word) and word not in TAKEN
)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=20)
scalars = st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = scalars | texts | st.lists(scalars | texts, max_size=3)
entries = st.dictionaries(st.lists(words, min_size=1, max_size=3).map(".".join), values, max_size=6).filter(
    lambda found: not any(name.startswith(f"{other}.") for name in found for other in found)
)


@pytest.mark.slow
@settings(deadline=None)
@given(entries)
def test_metadata_come_back(metadata):
    same = [(type(value), value) for _, value in sorted(metadata.items())]
    for write, read in (
        (to_json, from_json),
        (to_md, from_md),
        (to_xml, from_xml),
    ):
        found = read(write(metadata))
        assert sorted(found) == sorted(metadata)
        assert [(type(value), value) for _, value in sorted(found.items())] == same
    with h5py.File.in_memory() as file:
        write_groups(file, metadata)
        found = read_groups(file)
        assert [(type(value), value) for _, value in sorted(found.items())] == same


BAD_NAMES = [
    "__import__('os').system('touch ran')",
    "a b",
    "class",
    "x.None",
    "getEntry",
    "a..b",
    "",
    "a.",
    "_v_x",
    "ä",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_a_program_would_run_are_refused(name):
    for write in (to_json, to_md, to_xml):
        with pytest.raises(ValueError, match="is not allowed"):
            write({name: 1})
    with pytest.raises(ValueError, match="is not allowed"):
        from_json(json.dumps({name: 1}))
    with pytest.raises(ValueError, match="begins with another name"):
        to_json({"a.b": 1, "a": 2})


def hostile(folder):
    """Files beside an image, and what is said of them."""
    call = f"__import__('os').system('touch {folder / 'ran'}')"
    packed = base64.b64encode(pickle.dumps(Bomb(folder / "ran"))).decode()
    lol = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 9}">' for n in range(1, 12))
    return {
        "call.md": (f"#PYME Simple Metadata v1\nmd['a'] = {call}\n", "malformed node or string"),
        "line.md": (f"import os\nmd['a'] = 1\n{call}\n", r"line 1 is no md\['name'\] = value"),
        "key.json": (json.dumps({call: 1}), "the name .* is not allowed"),
        "deep.json": ("[" * 100_000, "maximum recursion|it is no object|JSON"),
        "pickle.xml": (
            f'<PYMEImageData><MetaData><a class="pickle" value="{packed}"/></MetaData></PYMEImageData>',
            "a pickle in it names .*system, which is not run",
        ),
        "bomb.xml": (
            f'<!DOCTYPE a [<!ENTITY a0 "lol">{lol}]><PYMEImageData><MetaData><a class="unicode" value="&a11;"/>'
            "</MetaData></PYMEImageData>",
            "declare a document type",
        ),
    }


def test_hostile_metadata(tmp_path):
    for name, (content, said) in hostile(tmp_path).items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(UserError, match=said) as raised:
            read_beside(path.with_suffix(".tif"))
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
        path.unlink()
    assert not (tmp_path / "ran").exists()


# ----------------------------------------------------------------------------------------------------------- exports


def fov_of(shape, seed=0, **known):
    """A FOV of two channels of random counts."""
    scales = {"pixel_size_um": 0.65, "times_min": [10.0 * t + t % 2 for t in range(shape[0])]}
    return fov.Fov(
        "f", images_for(shape, seed=seed), settings={**scales, "channels": {"0": "Phase", "1": "GFP\x07"}, **known}
    )


@settings(max_examples=20, deadline=None)
@given(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)), st.sets(st.integers(0, 3)))
def test_spools_come_back(tmp_path_factory, shape, missing):
    """Written as an export, read as input: pixels, missing frames, times, names and pixel size."""
    folder = tmp_path_factory.mktemp("spool")
    content = fov_of(shape)
    content.channels["fl_ch_1"].attributes["missing_frames"] = sorted(missing)
    export(content, [folder / "a.h5"])
    movie = inspect_movie(folder / "a.h5")
    assert (movie.n_frames, movie.n_z, movie.pixel_size_um, movie.dtype) == (shape[0], 1, 0.65, "uint16")
    assert movie.channels == ["pc_ch_0 (Phase)", "fl_ch_1 (GFP?)"]
    assert (movie.fovs[0]["height"], movie.fovs[0]["width"]) == shape[1:]
    if shape[0] > 1:
        assert movie.fovs[0]["times_min"] == pytest.approx(content.settings["times_min"], abs=1e-6)
    with open_movie(folder / "a.h5") as read:
        for t in range(shape[0]):
            pc, light = read(0, t, [0, 1], None)
            np.testing.assert_array_equal(pc, content.channels["pc_ch_0"].array[t])
            if t in missing:
                assert light is None
            else:
                np.testing.assert_array_equal(light, content.channels["fl_ch_1"].array[t])


@pytest.mark.slow
def test_the_same_images_are_the_same_bytes(tmp_path):
    names = [f"f.{ending}" for ending in ("h5", "tif", "json", "md", "xml")]
    for folder in ("a", "b"):
        content = fov_of((2, 5, 7))
        export(content, [tmp_path / folder / name for name in names])
        export(content, [tmp_path / folder / "pzf"])
        time.sleep(1.1)  # time stamps have seconds
    for path in (path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path
    series = sorted(path.name for path in (tmp_path / "a/pzf/f").iterdir())
    assert series == ["events.json", "final_metadata.json", *(f"frame{n:05d}.pzf" for n in range(4)), "metadata.json"]
    frame = pzf.decode((tmp_path / "a/pzf/f/frame00003.pzf").read_bytes())
    np.testing.assert_array_equal(frame.pixels[:, :, 0].T, fov_of((2, 5, 7)).channels["fl_ch_1"].array[1])


def test_without_a_pixel_size_it_says_so(tmp_path):
    with pytest.raises(UserError, match=r"set params\.pixel_size_um"):
        export(fov_of((2, 5, 7), pixel_size_um=None), [tmp_path / "a.h5"])
    assert not list(tmp_path.iterdir())


numbers = st.just(float("nan")) | st.floats(-1e9, 1e9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), numbers, numbers), max_size=5))
def test_traces_come_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("traces")
    table = pd.DataFrame(rows, columns=["cell", "frame", "position_x", "area_ch_0"])
    table.insert(2, "good", True)
    table["position_y"], table["fov"] = 1.5, 0
    table.to_csv(folder / "t.csv", index=False)
    tables.export(fov.Fov("f", traces=folder / "t.csv", settings=fov_of((4, 2, 2)).settings), [folder / "t.hdf"])
    with h5py.File(folder / "t.hdf") as file:
        found = file["Traces"][:]
    for name in table.columns:
        np.testing.assert_array_equal(found[name].astype(float), table[name].to_numpy(float))
    np.testing.assert_allclose(found["x"], 650 * (table["position_x"].to_numpy(float) - 0.5))
    assert found["time_s"].tolist() == [60 * (10 * t + t % 2) for t in table["frame"]]
    assert found["t"].tolist() == table["frame"].tolist()


def spotted(folder, sigma=1.4, uncovered=()):
    """cells.zarr and traces of two cells with spots at known places: [(frame, cell, y, x, amplitude)].

    uncovered: boxes of the light that hold no data, by frame.
    """
    shape, rng = (3, 60, 90), np.random.default_rng(5)
    labels = np.zeros(shape, np.uint16)
    labels[:, 8:40, 5:40], labels[1:, 12:50, 48:84] = 3, 7
    light, truth = rng.normal(100, 3, shape), []
    for frame, cell, y, x, height in (
        *((0, 3, 20.3, 14.6, 200.0), (0, 3, 30.0, 30.5, 90.0)),
        *((1, 7, 40.25, 60.2, 150.0), (2, 3, 12.6, 33.1, 300.0), (2, 7, 30.45, 70.5, 120.0)),
    ):
        rows, columns = np.mgrid[:60, :90]
        light[frame] += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        truth.append((frame, cell, y, x, height))
    arrays = {
        "pc_ch_0": (rng.integers(0, 9, shape).astype(np.uint16), PIXELS),
        "fl_ch_1": (np.rint(light).astype(np.uint16), PIXELS),
        "fl_background_ch_1": (np.full(shape, 90, np.float32), SMOOTH),
        "seg_tracked_ch_0": (labels, LABELS),
    }
    frames = {}
    for name, (array, kind) in arrays.items():
        attributes = {"uncovered": coverage.as_attribute(uncovered)} if uncovered and name == "fl_ch_1" else {}
        with writing(folder / name / "0", shape, array.dtype, kind, attributes=attributes) as append:
            for image in array:
                append(image)
        frames[name] = open_frames(folder / name / "0")
    tracked = frames.pop("seg_tracked_ch_0")
    crop_cells.write_cells(tracked, list(frames.values()), folder / "cells.zarr", crop_padding=4)
    chosen = [(0, ["area"]), (1, ["particle_num"])]
    numbers = {"background_weight": 1.0, "mask_margin": 0, "particle_sigma": sigma, "particle_threshold": 4.5}
    lineage.write_lineage(folder / "lineage.csv", 0, {}, [])
    extract_features.main(
        *(str(folder / "cells.zarr"), str(folder / "traces.csv"), 0, 0, chosen, str(folder / "lineage.csv")),
        lineage_columns=False,
        plugins=[],
        min_frames=1,
        border_margin=0,
        **numbers,
    )
    known = {**numbers, "pixel_size_um": 0.2, "times_min": [0.0, 1.0, 2.0]}
    channels = {name: frames[name] for name in ("pc_ch_0", "fl_ch_1")}
    return fov.Fov("f", channels, cells=folder / "cells.zarr", traces=folder / "traces.csv", settings=known), truth


def test_no_spots_where_pixels_of_a_cell_hold_no_data(tmp_path):
    """As in the traces, where the number of its spots is not known."""
    content, _ = spotted(tmp_path, uncovered=[[(0, 0, 60, 6)], [], []])  # cell 3 begins at column 5
    tables.export(content, [tmp_path / "f.h5r"])
    with h5py.File(tmp_path / "f.h5r") as file:
        found = file["FitResults"][:]
    traces = pd.read_csv(tmp_path / "traces.csv").set_index(["frame", "cell"]).particle_num_ch_1
    assert np.isnan(traces[0, 3])
    counted = {place: number for place, number in traces.items() if number > 0}
    assert counted == Counter(zip(found["tIndex"].tolist(), found["cell"].tolist(), strict=True))
    assert len(counted) == 3


def test_spots_are_those_that_are_counted_where_they_are(tmp_path):
    content, truth = spotted(tmp_path)
    tables.export(content, [tmp_path / "f.h5r"])
    with h5py.File(tmp_path / "f.h5r") as file:
        found = file["FitResults"][:]
    traces = pd.read_csv(tmp_path / "traces.csv")
    counted = {(row.frame, row.cell): row.particle_num_ch_1 for row in traces.itertuples() if row.particle_num_ch_1}
    assert Counter(zip(found["tIndex"].tolist(), found["cell"].tolist(), strict=True)) == counted
    assert len(found) == len(truth)
    for (frame, cell, y, x, height), row in zip(truth, found, strict=True):
        assert (row["tIndex"], row["cell"]) == (frame, cell)
        fitted, error = row["fitResults"], row["fitError"]
        for value, name in ((200 * x, "x0"), (200 * y, "y0"), (height, "A"), (10, "background")):
            assert fitted[name] == pytest.approx(value, abs=4 * float(error[name]) + 1e-6)
        assert error["x0"] < 20  # nm: a tenth of a pixel
        assert fitted["sigma"] == pytest.approx(280)
