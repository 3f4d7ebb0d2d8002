"""Reading in a process of its own: what damaged files do to it comes back as one line."""

import sys
import time
from dataclasses import asdict

import numpy as np
import pytest

from celltraces.errors import UserError
from celltraces.readers import child_process, libczi
from celltraces.readers.movie_file import inspect_movie

READERS = """
import ctypes, os, sys, time
from dataclasses import dataclass
from celltraces.errors import UserError

@dataclass
class Found:
    name: str

def well(path):
    print("a library that talks")
    return Found(f"{path.name} \\u00b5")

def one_line(path):
    raise UserError(f"'{path}' is bad; mend it")

def segfault(path):
    ctypes.string_at(0)

def abort(path):
    os.abort()

def hang(path):
    time.sleep(600)

def greedy(path):
    bytearray(3_000_000_000)

def greedy_inside(path):
    try:
        bytearray(3_000_000_000)
    except MemoryError as error:
        raise UserError("it is bad") from error

def defect(path):
    raise ValueError("nobody thought of this")

def leaves(path):
    sys.exit(3)
"""


@pytest.fixture
def readers(tmp_path, monkeypatch):
    (tmp_path / "readers.py").write_text(READERS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_the_answer_is_that_of_the_function(readers, movies):
    assert child_process.call("readers:well", "x.nd2") == {"name": "x.nd2 \u00b5"}
    for name in ("small.nd2", "small.czi"):
        found = child_process.call("celltraces.readers.movie_file:inspect_movie", str(movies / name))
        assert found == asdict(inspect_movie(movies / name))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("one_line", "'x.nd2' is bad; mend it"),
        ("segfault", "'x.nd2' cannot be read: the reader crashed (segmentation fault); copy it again"),
        ("abort", "'x.nd2' cannot be read: the reader crashed (aborted); copy it again"),
        ("greedy", "'x.nd2' cannot be read: it needed more than 1000 MB; copy it again"),
        ("greedy_inside", "'x.nd2' cannot be read: it needed more than 1000 MB; copy it again"),
        ("defect", "'x.nd2' cannot be read: the reader failed (ValueError: nobody thought of this); copy it again"),
        ("leaves", "'x.nd2' cannot be read: the reader failed (exit code 3); copy it again"),
    ],
)
def test_what_became_of_the_child_is_one_line(readers, function, reason):
    if sys.platform != "linux" and function in ("segfault", "abort", "greedy", "greedy_inside"):
        pytest.skip("other systems name signals otherwise, and have no bound on memory")
    with pytest.raises(UserError) as caught:
        child_process.call(f"readers:{function}", "x.nd2", megabytes=1000)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_a_hang_ends(readers):
    started = time.monotonic()
    with pytest.raises(UserError, match=r"'x.nd2' cannot be read: it took more than 1 s; copy it again"):
        child_process.call("readers:hang", "x.nd2", seconds=1)
    assert time.monotonic() - started < 500  # it would take 600


# --------------------------------------------------------------------------------------------------- planes of libCZI

LIBRARY = """
import contextlib, ctypes, os, sys, time
import numpy as np

class Document:
    def read(self, roi, plane, **_):
        print("a library that talks")
        frame = plane["T"]
        if frame == 1:
            ctypes.string_at(0)
        if frame == 2:
            time.sleep(60)
        if frame == 3:
            raise RuntimeError("no such\\nplane")
        if frame == 4:
            sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'")
            sys.stderr.flush()
            os.abort()
        if frame == 5:
            return np.zeros((1, 1, 1), np.uint16)
        return np.full((roi[3], roi[2], 1), 7 + frame, np.uint16)

@contextlib.contextmanager
def open_czi(path):
    yield Document()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_what_becomes_of_a_plane_in_libczi(tmp_path, monkeypatch):
    """A stand-in for the library that does what damaged files make of it; the child is started anew where it ended."""
    (tmp_path / "pylibCZIrw").mkdir()
    (tmp_path / "pylibCZIrw/__init__.py").touch()
    (tmp_path / "pylibCZIrw/czi.py").write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(libczi, "SECONDS", 200)
    library = libczi.LibCzi(tmp_path / "a.czi", "pylibCZIrw")

    def read(frame):
        pixels = library.read((0, 0, 3, 2), np.dtype(np.uint16), plane={"T": frame})
        assert pixels.shape == (2, 3)
        return set(pixels.ravel().tolist())

    assert read(0) == {7}
    for frame, reason in (
        (1, r"the reader crashed \(segmentation fault\)"),
        (3, "no such plane"),
        (4, "it needed more than 8000 MB"),
        (5, "pixels came back"),
    ):
        with pytest.raises(ValueError, match=reason):
            read(frame)
        assert read(9) == {16}
    monkeypatch.setattr(libczi, "SECONDS", 1)
    with pytest.raises(ValueError, match="it took more than 1 s"):
        read(2)
    library.close()
