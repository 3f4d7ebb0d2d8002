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
import time
from pathlib import Path
from typing import IO

from celltraces.errors import UserError

PATIENCE_S = 10.0  # how long a file system may take to say whether a file is locked
JOBS_H = 24.0  # how long a run waits for the last jobs of one that was killed
LOOK_S = 0.2  # between two looks whether they are done
SAY_S = 600.0  # between two lines that say so
_held: list[IO[str]] = []  # open files: closing one gives its lock back


def hold(folder: Path) -> float:
    """Lock `folder` for a run, until this process ends. Returns when, by the clock of its file system.

    Waits for jobs that an earlier run left behind, JOBS_H at most. Raises UserError when another run is at work there,
    or when these jobs do not end.
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
            _wait_for_jobs(jobs)
    return os.fstat(file.fileno()).st_mtime


def _wait_for_jobs(jobs: IO[str]) -> None:
    """Lock an open file as soon as the jobs that hold it are done, and say every SAY_S what is waited for.

    Raises UserError where they are not done after JOBS_H.
    """
    end, say = time.monotonic() + JOBS_H * 3600, time.monotonic()
    while True:
        with contextlib.suppress(BlockingIOError):
            _take(jobs)
            return
        if time.monotonic() >= end:
            raise UserError(
                f"output_dir: jobs of a run that was killed still work on {str(Path(jobs.name).parent)!r} after "
                f"{JOBS_H:g} h{_holders(jobs)}; end them, or remove the file {jobs.name!r} where there are none, and "
                "run the same command again"
            )
        if time.monotonic() >= say:
            say += SAY_S
            text = f"waiting for the last jobs of a run that was killed{_holders(jobs)}"
            print(f"{text}; on a cluster, `squeue --me` lists them", file=sys.stderr, flush=True)
        time.sleep(LOOK_S)


def _holders(file: IO[str]) -> str:
    """The processes of this machine that hold a lock on an open file, as the end of a phrase, where Linux tells."""
    status = os.fstat(file.fileno())
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):
        # "1: FLOCK  ADVISORY  READ  4711 fd:00:131 0 EOF"; those that wait have "->" behind the number
        fields = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        numbers = sorted({int(field[4]) for field in fields if field[1] == "FLOCK" and field[5] == place})
        if numbers and numbers[0] > 0:  # 0: of another container
            return f" (process {', '.join(map(str, numbers))})"
    return ""


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


def _take(file: IO[str], *, share: bool = False) -> None:
    try:
        import fcntl
    except ImportError:  # Windows, which has no shares: there only runs are kept apart
        import msvcrt

        if not share:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except PermissionError:
                raise BlockingIOError from None
    else:
        fcntl.flock(file, (fcntl.LOCK_SH if share else fcntl.LOCK_EX) | fcntl.LOCK_NB)
