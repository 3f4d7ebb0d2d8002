"""Open archives that come from outside without trusting the paths and sizes that they name."""

from __future__ import annotations

import gzip
import json
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from celltraces.errors import UserError

BLOCK = 1 << 20
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
JSON_LIMIT = 128 << 20  # bytes; one entry of cells.json has about 50

Limit = Callable[[str], int | None]
"""The most bytes that a member of this name may hold; None: it is not needed and not read."""


def unpack_zip(path: Path, folder: Path, limit: Limit) -> dict[str, Path]:
    """Unpack the members that have a limit into `folder` under names of our own; returns them by member name.

    Raises UserError for an archive that is damaged, that names paths outside itself, or that holds more than it may.
    """
    found: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                kind = member.external_attr >> 16
                if _leaves(member.filename) or stat.S_ISLNK(kind):
                    raise UserError(f"{path}: the member {member.filename!r} points outside of the zip; do not use it")
                most = limit(member.filename)
                if most is None:
                    continue
                if member.filename in found:
                    raise UserError(f"{path}: {member.filename} is in it twice; save it anew")
                if member.flag_bits & 1:
                    raise UserError(f"{path}: {member.filename} is encrypted; save it without a password")
                with archive.open(member) as source:
                    found[member.filename] = _copy(source, folder / str(len(found)), most, f"{path}: {member.filename}")
    except DAMAGED as error:
        raise UserError(f"{path}: not a readable zip ({_reason(error)}); save it anew") from error
    return found


def unpack_tar(path: Path, folder: Path, limit: Limit) -> dict[str, Path]:
    """The same for a gzipped tar; a member without a limit is refused, since skipping it means to decompress it."""
    found: dict[str, Path] = {}
    try:
        with _SmallReads(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                most = limit(member.name)
                if _leaves(member.name) or not member.isfile() or most is None or member.name in found:
                    raise UserError(f"{path}: the member {member.name!r} does not belong into it; do not use it")
                if member.size > most:
                    raise UserError(_too_much(f"{path}: {member.name}", most))
                source = archive.extractfile(member)
                assert source is not None
                found[member.name] = _copy(source, folder / str(len(found)), most, f"{path}: {member.name}")
    except DAMAGED as error:
        raise UserError(f"{path}: not a readable gzipped tar ({_reason(error)}); save it anew") from error
    return found


class _SmallReads(gzip.GzipFile):
    """tarfile takes headers of any declared size into memory; here it gets no more than a block at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= BLOCK:
            raise tarfile.ReadError("a header is too large")
        return super().read(size)


def read_json(files: Mapping[str, Path], name: str, where: str) -> Any:
    """Content of a JSON member."""
    try:
        return json.loads(files[name].read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {name} is not JSON ({str(error)[:100]}); save it anew") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _leaves(name: str) -> bool:
    """Whether a member's path is absolute, on a drive, or climbs out of the archive."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name


def _copy(source: IO[bytes], target: Path, most: int, where: str) -> Path:
    written = 0
    with open(target, "wb") as file:
        while block := source.read(BLOCK):
            written += len(block)
            if written > most:  # counted, since the size that the archive declares may be a lie
                raise UserError(_too_much(where, most))
            file.write(block)
    return target


def _too_much(where: str, most: int) -> str:
    return f"{where} unpacks to more than {most / 1e6:.0f} MB, which no file of this FOV does; do not use it"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
