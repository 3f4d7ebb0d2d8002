"""nd2's private reader, which `celltraces.readers.nd2_internals` uses: against what the file itself says."""

import struct
from importlib.metadata import version
from pathlib import Path

import nd2
import numpy as np

from celltraces.readers import nd2_internals
from demo.nd2_writer import Channel, write_nd2

SCRIPTS = Path(nd2_internals.__file__).parents[2]


def test_the_installed_version_was_tried():
    """Where this fails: run all tests of microscopy, and add the version to TRIED if they pass."""
    assert version("nd2") in nd2_internals.TRIED


def test_chunks_are_where_the_file_has_them(tmp_path):
    path = tmp_path / "a.nd2"
    images = np.random.default_rng(0).integers(0, 60000, (3, 8, 12), dtype=np.uint16)
    write_nd2(
        path,
        lambda fov, frame, channel, z: images[frame],
        **{"n_fovs": 1, "n_frames": 3, "height": 8, "width": 12},
        channels=[Channel("a")],
        times_ms=lambda fov, frame: 1000.0 * frame,
    )
    content = path.read_bytes()
    with nd2.ND2File(path) as file:
        chunks = nd2_internals.chunk_map(file)
        for frame, image in enumerate(images):
            begin, _ = chunks[b"ImageDataSeq|%d!" % frame]
            assert content[begin : begin + 4] == b"\xda\xce\xbe\x0a"
            name_length, length = struct.unpack_from("<IQ", content, begin + 4)
            data = content[begin + 16 + name_length :][:length]
            assert nd2_internals.load_chunk(file, b"ImageDataSeq|%d!" % frame) == data
            np.testing.assert_array_equal(np.frombuffer(data[8:], "<u2").reshape(8, 12), image)


def test_no_other_module_uses_what_is_private():
    users = [source.name for source in SCRIPTS.rglob("*.py") if "_rdr" in source.read_text(encoding="utf-8")]
    assert users == ["nd2_internals.py"]
