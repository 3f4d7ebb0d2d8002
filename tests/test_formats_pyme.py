"""PYME's spools as input, and the files for PYME; what the program itself makes of them is in tests/peers/."""

import os
import pickle
import struct

import h5py
import numpy as np
import pytest

from formats import pyme_metadata, pzf
from formats.hdf5 import new_file
from pyama import apart
from pyama.errors import PyamaError
from pyama.microscopy import inspect_movie, open_movie

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
            pyme_metadata.write_attribute(data, "DimOrder", order)
            for name, size in sizes.items():
                pyme_metadata.write_attribute(data, name, size)
        if metadata is not None:
            pyme_metadata.write_groups(file, metadata)
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
    with pytest.raises(PyamaError, match="set pyme.allow_lossy: true"):
        inspect_movie(path)
    assert inspect_movie(path, LOSSY).dtype == "uint16"
    with open_movie(path, LOSSY) as read:
        expected = np.rint(np.sqrt(frames[1])).astype(int) ** 2
        np.testing.assert_array_equal(read(0, 1, [0], None)[0], expected.T)
    mixed = [pzf.encode(frames[0].T, 0), quantized(frames[1].T, 1)]
    with (
        open_movie(spool(tmp_path / "b.h5", frames, packed=mixed)) as read,
        pytest.raises(PyamaError, match=r"set pyme\.allow_lossy: true"),
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
    with pytest.raises(PyamaError, match=said) as raised:
        apart.inspect_movie(path, SEEN)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_files_of_this_ending(tmp_path):
    for name, content in (("a.h5", b"II*\0" + b"x" * 60), ("b.h5", b""), ("c.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 9)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PyamaError, match=f"{name}' is not a readable PYME file"):
            apart.inspect_movie(tmp_path / name, SEEN)
    with new_file(tmp_path / "d.h5") as file:
        file["exported_data"] = pixels(3)
    with pytest.raises(PyamaError, match="an HDF5 file without ImageData"):
        inspect_movie(tmp_path / "d.h5")


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
        with pytest.raises(PyamaError, match=said) as raised:
            apart.inspect_movie(tmp_path / name, SEEN)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Pickled: a call of os.system."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


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
            except PyamaError as error:
                assert "FOV 0, frame 3" in str(error)
