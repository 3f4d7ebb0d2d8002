"""One run at a time on one folder of results.

Snakemake's own lock is a file that outlives a killed run and has to be removed by hand; this one is held by the
process and ends with it, however it ends.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

from pyama.errors import PyamaError

_held: list[IO[str]] = []  # open files: closing one gives its lock back


def hold(folder: Path) -> None:
    """Lock `folder` until this process ends. Raises PyamaError when another process holds it.

    Where the file system has no locks (some network mounts) nothing is held: results are written whole or not at
    all, so that two runs at once waste time but damage nothing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise PyamaError(f"output_dir: cannot write to {str(folder)!r} ({error.strerror})") from None
    try:
        _lock(file)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "?"
        file.close()
        raise PyamaError(
            f"output_dir: another run (process {holder}) works on {str(folder)!r}; wait or stop it"
        ) from None
    except OSError:
        file.close()
        return
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    _held.append(file)


def _lock(file: IO[str]) -> None:
    """Lock an open file or raise BlockingIOError."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
