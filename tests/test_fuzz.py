"""Damaged ND2 and CZI files: never a crash, a hang, or memory without bound, and never other planes without a word.

CELLTRACES_FUZZ is the number of damaged copies of each file (150 where it is not set); the same number means the same
copies.
To see one again: PYTHONPATH=scripts python tests/fuzz_worker.py FOLDER NAME SEED SEED+1
"""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import fuzz_worker
import mutants
import mutants_once
import numpy as np
import pytest
from conftest import REAL_FILES

from celltraces.errors import UserError
from celltraces.readers.movie_file import inspect_movie, open_movie
from demo.nd2_writer import Channel, write_nd2

N = int(os.environ.get("CELLTRACES_FUZZ", "150"))
WORKER = Path(fuzz_worker.__file__)
SCRIPTS = WORKER.parents[1] / "scripts"


def verdicts(folder: Path, name: str, n: int) -> tuple[Counter, list[str]]:
    """How many damaged copies had which verdict; a line for each that failed, a crash of the process among them."""
    counts: Counter = Counter()
    failed = []
    first = 0
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # each takes address space
    while first < n:
        command = [sys.executable, str(WORKER), str(folder), name, str(first), str(n)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"seed"')]
        for line in lines:
            if "verdict" in line:
                verdict = line["verdict"]
                counts[verdict.split(":")[0]] += 1
                if verdict.startswith(("silent", "raised")):
                    failed.append(f"{name}, seed {line['seed']}: {verdict}; {line['what']}")
        if done.returncode == 0:
            break
        assert lines, done.stderr
        counts["crash"] += 1
        failed.append(f"{name}, seed {lines[-1]['seed']}: exit code {done.returncode}: {done.stderr[-500:]}")
        first = lines[-1]["seed"] + 1
    return counts, failed


@pytest.mark.parametrize("name", mutants.FILES)
def test_damaged_files(tmp_path, name):
    n = N // 5 if name == "czi tiles" else N  # libCZI is a process of its own, and slow to start
    counts, failed = verdicts(tmp_path, name, n)
    print(f"{name}: {dict(counts)}")
    assert failed == []
    assert counts.total() == n
    # the damage is neither harmless nor fatal throughout
    assert counts["refused"] > n // 10
    assert counts["same"] > n // 10


@pytest.mark.parametrize("name", mutants_once.FILES)
def test_damaged_files_without_any_check_of_their_own(tmp_path, name):
    """TIFF and LIF say everything once: damage to a number may give other planes, and never a crash or a hang."""
    counts, failed = verdicts(tmp_path, name, N // 2)
    print(f"{name}: {dict(counts)}")
    assert failed == []
    assert counts.total() == N // 2
    assert counts["refused"] > N // 20


@pytest.mark.parametrize("name", mutants.REAL)
def test_damaged_real_files(tmp_path, name):
    if not (REAL_FILES / name).is_file():
        pytest.skip(f"the real file {name} is not in {REAL_FILES}")
    counts, failed = verdicts(tmp_path, str(REAL_FILES / name), N // 5)
    print(f"{name}: {dict(counts)}")
    assert failed == []


def test_files_that_are_something_else(tmp_path):
    nd2, czi = (mutants.FILES[name](tmp_path).content for name in ("nd2", "czi"))
    # what no index names belongs to nobody
    readable = {"two ND2s": nd2, "two CZIs": czi, "an ND2 in a CZI": czi}
    for number, (suffix, content, what) in enumerate(mutants.mislabelled(nd2, czi)):
        path = tmp_path / f"{number}{suffix}"
        if what in readable:
            path.write_bytes(readable[what])
            intact = fuzz_worker.read_everything(path)
            path.write_bytes(content)
            assert fuzz_worker.read_everything(path) == intact
            continue
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"^'[^\n]*{path.name}' is not a readable [^\n]*$"):
            inspect_movie(path)


def test_an_nd2_named_czi_and_the_reverse_are_read_as_what_they_are(tmp_path):
    for name, suffix in (("nd2", ".czi"), ("czi", ".nd2")):
        intact = mutants.FILES[name](tmp_path)
        for path in (tmp_path / f"right{intact.suffix}", tmp_path / f"wrong{suffix}"):
            path.write_bytes(intact.content)
        assert fuzz_worker.read_everything(tmp_path / f"right{intact.suffix}") == fuzz_worker.read_everything(
            tmp_path / f"wrong{suffix}"
        )


# ---------------------------------------------------------------------------------- sizes that are not to be believed


@pytest.mark.parametrize("pixels", [(40_000, 40_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (0, 0), (-5, -5)])
def test_czi_planes_of_absurd_size(tmp_path, pixels):
    """Directory and header agree, and the plane is compressed, so that only its content could tell."""
    intact = mutants.FILES["czi zstd"](tmp_path)
    content = bytearray(intact.content)
    for part in intact.parts:
        for letter, size in zip("YX", pixels, strict=True):
            if part.name.endswith((f" {letter}: size", f" {letter}: stored size")):
                struct.pack_into("<i", content, part.start, size)
    path = tmp_path / "large.czi"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a readable CZI file"):
        inspect_movie(path)


def test_nd2_frames_that_inflate_without_end(tmp_path, monkeypatch):
    """A bomb: 100 kB of zlib for 100 MB of zeros, in place of a frame."""
    import zlib

    compress = zlib.compress
    monkeypatch.setattr("demo.nd2_writer.zlib.compress", lambda data: compress(data + bytes(100_000_000)))
    path = tmp_path / "bomb.nd2"
    write_nd2(
        path,
        lambda *_: np.ones((300, 400), np.uint16),
        n_fovs=1,
        n_frames=1,
        height=300,
        width=400,
        channels=[Channel("a")],
        compress=True,
    )
    inspect_movie(path)
    with (
        open_movie(path) as read,
        pytest.raises(UserError, match="FOV 0, frame 0: its compressed pixels are damaged"),
    ):
        read(0, 0, [0], None)


# -------------------------------------------------------------------------------------------------- nothing is executed

BOMB = '<!DOCTYPE b [<!ENTITY a "x">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
DECLARATIONS = {
    "a bomb of entities": BOMB + "]><ImageDocument>&j;</ImageDocument>",
    "a file from outside": '<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/hostname">]><ImageDocument>&x;</ImageDocument>',
    "a parameter from outside": '<!DOCTYPE b [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]><ImageDocument/>',
    "a DTD from outside": '<!DOCTYPE b SYSTEM "http://127.0.0.1:9/x.dtd"><ImageDocument/>',
}


def czi_with_metadata(path: Path, xml: bytes) -> Path:
    from demo.czi_writer import Subblock, write_subblocks

    place = b"x" * len(xml)
    write_subblocks(path, [Subblock({"C": 0, "T": 0}, np.ones((4, 5), np.uint16))], xml=place)
    path.write_bytes(path.read_bytes().replace(place, xml))
    return path


def nd2_with_attributes(path: Path, xml: bytes, folder: Path) -> Path:
    """An ND2 whose attributes are XML, as in those of version 2."""
    intact = mutants.FILES["nd2"](folder)
    content = bytearray(intact.content)
    start = content.index(b"ImageAttributesLV!") - 16
    name_length, length = struct.unpack_from("<IQ", content, start + 4)
    assert len(xml) <= length
    data = start + 16 + name_length
    content[data : data + length] = xml.ljust(length)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("what", DECLARATIONS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_declarations_in_xml_are_refused(tmp_path, what, encoding, monkeypatch):
    def opened(*_, **__):
        raise AssertionError("something was looked up")

    monkeypatch.setattr("socket.socket.connect", opened)
    xml = DECLARATIONS[what]
    if encoding == "utf-8":
        path = czi_with_metadata(tmp_path / "a.czi", xml.encode())
        with pytest.raises(UserError, match="its metadata declare a document type"):
            inspect_movie(path)
    # the chunk of the small ND2 has 580 bytes
    short = xml if len(xml) < 280 else '<!DOCTYPE b [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><b>&b;</b>'
    path = nd2_with_attributes(tmp_path / "a.nd2", short.encode(encoding), tmp_path)
    with pytest.raises(UserError, match="its metadata declare a document type"):
        inspect_movie(path)
    with pytest.raises(UserError, match="its metadata declare a document type"), open_movie(path):
        pass


@pytest.mark.parametrize("encoding", ["utf-16", "cp037", "latin-1"])
def test_metadata_in_another_encoding_cannot_hide_a_declaration(tmp_path, encoding):
    xml = f'<?xml version="1.0" encoding="{encoding}"?>' + DECLARATIONS["a file from outside"]
    with pytest.raises(UserError, match="a.czi' is not a readable CZI file"):
        inspect_movie(czi_with_metadata(tmp_path / "a.czi", xml.encode(encoding)))


@pytest.mark.parametrize("name", ["nd2", "nd2 compressed", "czi", "czi zstd", "czi tiles"])
def test_reading_executes_and_unpickles_nothing(tmp_path, name):
    """Python tells of every eval, exec, unpickling, new process and connection (PEP 578) that reading would start."""
    intact = mutants.FILES[name](tmp_path)
    path = tmp_path / f"a{intact.suffix}"
    path.write_bytes(intact.content)
    program = (
        "import sys; from pathlib import Path; path = Path(sys.argv[1])\n"
        "from celltraces.readers.movie_file import inspect_movie, open_movie\n"
        "def read():\n"
        "    movie = inspect_movie(path)\n"
        "    with open_movie(path) as planes:\n"
        "        for fov in range(len(movie.fovs)):\n"
        "            planes(fov, 0, range(len(movie.channels)), 0)\n"
        "read()  # imports execute what they import\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event))\n"
        "read()\n"
        "kinds = ('exec', 'compile', 'pickle', 'subprocess', 'os.system', 'os.exec', 'os.fork', 'os.posix_spawn',\n"
        "         'socket', 'ctypes', 'marshal', 'import', 'os.remove', 'os.rename', 'shutil')\n"
        "print([event for event in seen if event.startswith(kinds)], 'open' in seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    # mosaics are read by a process of our own
    assert done.stdout == ("['subprocess.Popen'] True\n" if name in ("czi tiles", "czi zstd") else "[] True\n")


def test_an_archive_of_a_movie_is_named(tmp_path):
    intact = mutants.FILES["nd2"](tmp_path)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.nd2", intact.content)
    for content, name in ((archive.getvalue(), "a ZIP archive"), (gzip.compress(intact.content), "a gzip archive")):
        path = tmp_path / "a.nd2"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"it is {name}"):
            inspect_movie(path)
