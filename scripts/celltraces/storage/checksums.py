"""List sizes and checksums of the files that each job wrote, so that later damage is noticed.

A list has a line for each file: checksum, bytes, path below the folder of all results; and a first line that says what
they were made from (see celltraces.storage.provenance). The checksum is a CRC-32C (see `_checksum`), because it costs a
twentieth of SHA-256 on a machine without instructions for that; it is to notice accidents, not forgers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import google_crc32c

from celltraces.files import write_text
from celltraces.paths import CHECKSUMS

BLOCK = 1 << 20
RECORD = "# "  # what the first line begins with
NOT_OURS = ".snakemake_timestamp"  # Snakemake puts it into folders


def lines_of(listing: Path, outputs: Iterable[Path]) -> dict[str, list[str]]:
    """A line for every file of each of `outputs`, which may be folders; by the outputs' names below all results."""
    root = results_of(listing)
    found = {}
    for output in outputs:
        name = output.relative_to(root).as_posix()
        # Names, not paths: there may be thousands.
        names = sorted(_files(name, root), key=lambda file: file.split("/"))
        found[name] = ["{:08x} {} {}\n".format(*_checksum(f"{root}/{file}"), file) for file in names]
    return found


def write(listing: Path, lines: Mapping[str, Iterable[str]], record: str) -> None:
    """Write a list: `record`, which is one line, then the lines of all outputs, sorted by the names of the files."""
    of_all = [line for of_output in lines.values() for line in of_output]
    of_all.sort(key=lambda line: line.split(" ", 2)[2].split("/"))
    write_text(listing, f"{RECORD}{record}\n" + "".join(of_all))


def read(listing: Path) -> dict[Path, tuple[str, int]]:
    """The files of a list, each with its checksum and its size in bytes."""
    root = results_of(listing)
    files = {}
    for line in listing.read_text(encoding="utf-8").splitlines():
        if not line.startswith(RECORD):
            checksum, size, name = line.split(" ", 2)
            files[root / name] = checksum, int(size)
    return files


def differences(files: Mapping[Path, tuple[str, int]]) -> Iterator[tuple[Path, str]]:
    """Those of these files that are not as their list says, each with what is wrong: missing, truncated or changed."""
    for file, (checksum, size) in files.items():
        try:
            now = file.stat().st_size
            if now < size:
                yield file, f"truncated to {now} of {size} bytes"
            elif now > size or f"{_checksum(file)[0]:08x}" != checksum:
                yield file, "changed since it was written"
        except FileNotFoundError:
            yield file, "missing"
        except OSError as error:
            yield file, f"cannot be read ({error.strerror})"


def results_of(listing: Path) -> Path:
    """The folder of all results that a list belongs to."""
    return next(folder for folder in listing.parents if folder.name == CHECKSUMS).parent


def _files(name: str, root: Path) -> Iterator[str]:
    """A file, or all files in a folder, by their names below `root`."""
    if not os.path.isdir(root / name):
        yield name
        return
    with os.scandir(root / name) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(f"{name}/{entry.name}", root)
            elif entry.name != NOT_OURS:
                yield f"{name}/{entry.name}"


def _checksum(file: Path | str) -> tuple[int, int]:
    """CRC-32C of the content with its last four bytes once more, and number of bytes of the content.

    Every chunk of Zarr that ends with a CRC-32C of its own has the same CRC-32C as a whole; the repeated bytes,
    which are that sum, tell such chunks apart.
    """
    value, size, last = 0, 0, b""
    with open(file, "rb", buffering=0) as content:
        while block := content.read(BLOCK):
            value, size = google_crc32c.extend(value, block), size + len(block)
            last = block[-4:] if len(block) >= 4 else (last + block)[-4:]
    return google_crc32c.extend(value, last), size
