"""Lock a folder of results so that one run at a time works on it.

Snakemake's own lock is a file that outlives a killed run and has to be removed by hand; these locks are held by
processes and end with them, however they end. The run holds one, and each of its jobs a share of another: where a run
was killed and its jobs were not, the next run waits for them, since what they would still write may be outdated.

Where the file system has no locks, or does not answer (some network mounts), nothing is held: results are written
whole or not at all.
"""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import IO

from celltraces.errors import UserError

PATIENCE_S = 10.0  # how long a file system may take to say whether a file is locked
_held: list[IO[str]] = []  # open files: closing one gives its lock back


def hold(folder: Path) -> float:
    """Lock `folder` for a run, until this process ends. Returns when, by the clock of its file system.

    Waits for jobs that an earlier run left behind. Raises UserError when another run is at work there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115
        jobs = open(folder / ".jobs", "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"output_dir: cannot write to {str(folder)!r} ({error.strerror})") from None
    try:
        _lock(file)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "?"
        raise UserError(
            f"output_dir: another run (process {holder}) works on {str(folder)!r}; wait for it or stop it"
        ) from None
    except OSError:
        pass  # no locks here
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    _held.append(file)
    with jobs, contextlib.suppress(OSError):
        try:
            _lock(jobs)
        except BlockingIOError:
            print(
                "waiting for the last jobs of a run that was killed (on a cluster, `squeue --me` lists them)",
                file=sys.stderr,
                flush=True,
            )
            _take(jobs, wait=True)
    return os.fstat(file.fileno()).st_mtime


def join(folder: Path) -> None:
    """Hold a job's share of the lock on `folder` until this process ends."""
    with contextlib.suppress(OSError):
        file = open(folder / ".jobs", "a+", encoding="utf-8")  # noqa: SIM115
        _held.append(file)
        _lock(file, share=True)


def _lock(file: IO[str], *, share: bool = False) -> None:
    """Lock an open file; raise BlockingIOError when it is locked, TimeoutError when the file system does not answer."""
    outcome: list[OSError | None] = []

    def attempt() -> None:
        try:
            _take(file, share=share)
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt, daemon=True)  # a call that hangs ends with the process
    thread.start()
    thread.join(PATIENCE_S)
    if not outcome:
        raise TimeoutError
    if outcome[0] is not None:
        raise outcome[0]


def _take(file: IO[str], *, share: bool = False, wait: bool = False) -> None:
    try:
        import fcntl
    except ImportError:  # Windows, which has no shares: there only runs are kept apart
        import msvcrt

        if not share:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except PermissionError:
                raise BlockingIOError from None
    else:
        fcntl.flock(file, (fcntl.LOCK_SH if share else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
