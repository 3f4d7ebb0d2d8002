"""Reading in a process of its own: what damaged files do to it comes back as one line."""

import time
from dataclasses import asdict

import pytest

from pyama import apart
from pyama.errors import PyamaError
from pyama.microscopy import inspect_movie

READERS = """
import ctypes, os, sys, time
from dataclasses import dataclass
from pyama.errors import PyamaError

@dataclass
class Found:
    name: str

def well(path):
    print("a library that talks")
    return Found(f"{path.name} \\u00b5")

def one_line(path):
    raise PyamaError(f"'{path}' is bad; mend it")

def segfault(path):
    ctypes.string_at(0)

def abort(path):
    os.abort()

def hang(path):
    time.sleep(60)

def greedy(path):
    bytearray(3_000_000_000)

def greedy_inside(path):
    try:
        bytearray(3_000_000_000)
    except MemoryError as error:
        raise PyamaError("it is bad") from error

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
    assert apart.call("readers:well", "x.nd2") == {"name": "x.nd2 \u00b5"}
    for name in ("small.nd2", "small.czi"):
        found = apart.call("pyama.microscopy:inspect_movie", str(movies / name))
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
    with pytest.raises(PyamaError) as caught:
        apart.call(f"readers:{function}", "x.nd2", megabytes=1000)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_a_hang_ends(readers):
    started = time.monotonic()
    with pytest.raises(PyamaError, match=r"'x.nd2' cannot be read: it took more than 1 s; copy it again"):
        apart.call("readers:hang", "x.nd2", seconds=1)
    assert time.monotonic() - started < 50  # it would take 60
