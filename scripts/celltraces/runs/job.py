"""Run a script as a job: its log, its errors, its threads."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from celltraces.errors import UserError
from celltraces.paths import LOGS
from celltraces.runs import interrupts, lock
from celltraces.storage import checksums, provenance

log = logging.getLogger("celltraces")

# How the last line of a log says how the job ended.
DONE, FAILED = "done in", "failed: "
STOPPED = "stopped by Ctrl-C (SIGINT)"
ENDED = "ended from outside (SIGTERM: a time limit, scancel, kill or a shutdown)"
SAID = "for the end of the run: "  # begins a line that a run repeats when it ends

SAID_BY_RUN = "CELLTRACES_SAID_BY_RUN"  # set where the run says on the terminal which jobs failed, and how

LISTED = 12  # items of a list that a log holds

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
KEPT_BYTES = 1 << 28  # more than any array of a frame


@contextmanager
def running(snakemake: Any) -> Iterator[dict[str, Any]]:
    """Run the body of a script: `with job.running(snakemake) as settings: main(..., **settings)`.

    Yields the stage's settings. Everything logged goes to the rule's log file, which starts with the settings and
    ends with the time taken or the reason of the failure. A failure is one line on the terminal, of the run or, where
    that says nothing, of the job; the traceback of a defect, or of a crash in a library, stands in the log. What was
    written, and what from, is listed in the output `checksums`. Ctrl-C and SIGTERM end the body, and nothing else: the
    log always says how the job ended, and a job that is done ends as such.
    """
    log_file = Path(snakemake.log[0])
    log_file.parent.mkdir(parents=True, exist_ok=True)
    lock.join(next(folder for folder in log_file.parents if folder.name == LOGS).parent)
    logging.basicConfig(filename=log_file, filemode="w", format="%(message)s", level=logging.INFO, encoding="utf-8")
    faulthandler.enable(logging.root.handlers[0].stream)
    place = ", ".join(f"{name} {value}" for name, value in snakemake.wildcards.items())
    settings = json.loads(snakemake.params.settings)
    what = ", ".join(filter(None, (snakemake.rule, place)))
    log.info("%s", ": ".join(filter(None, (snakemake.rule, place))))
    log.info("settings: %s", json.dumps(abridged(settings), sort_keys=True))
    settings.pop("files", None)  # digests of the user's files: a reason to run again, not a parameter
    started = time.perf_counter()
    limit_threads(snakemake.threads)
    keep_memory()
    heard: list[int] = []
    try:
        try:
            interrupts.hear(heard)
            yield settings
            if listing := snakemake.output.get("checksums"):
                root = checksums.results_of(Path(listing))
                inputs = provenance.digests_of(root, snakemake.input)
                record = provenance.record_of(dict(snakemake.params.items()), inputs)
                provenance.write(Path(listing), record, (Path(out) for out in snakemake.output if out != listing))
        finally:
            interrupts.hear_no_more()
    except (Exception, KeyboardInterrupt) as error:
        if heard or isinstance(error, KeyboardInterrupt):
            number = heard[0] if heard else signal.SIGINT
            log.error("%s%s", FAILED, ENDED if number == signal.SIGTERM else STOPPED)
            sys.exit(128 + number)
        if isinstance(error, UserError):
            log.error("%s%s", FAILED, error)
            _give_up(f"{what}: {error}")
        reason = f"{type(error).__name__}: {error}"
        log.exception("%s%s", FAILED, reason)
        _give_up(f"{what}: {reason} (details in {log_file})")
    log.info("%s %.1f s; %s", DONE, time.perf_counter() - started, _cost())


def limit_threads(threads: int) -> None:
    """Keep OpenCV to the rule's threads (BLAS is told by Snakemake through the environment)."""
    os.environ["OPENCV_FOR_THREADS_NUM"] = str(threads)  # where it is imported later; its idle threads count too
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)


def abridged(settings: Any) -> Any:
    """Settings for the log: of long lists, as the times of all frames, the first items and the last."""
    if isinstance(settings, dict):
        return {key: abridged(value) for key, value in settings.items()}
    if not isinstance(settings, list):
        return settings
    if len(settings) <= LISTED:
        return [abridged(item) for item in settings]
    shown = [*settings[:3], settings[-1]]
    first, last = [abridged(item) for item in shown[:-1]], abridged(shown[-1])
    return [*first, f"... {len(settings) - len(shown)} more ...", last]


def keep_memory(n_bytes: int = KEPT_BYTES, *, shared: bool = False) -> None:
    """Keep the memory of one frame for the next, where the C library is glibc and arrays are used at all.

    `n_bytes`: larger arrays are given back at once. `shared`: threads use the same memory, so that what one kept serves
    the others; to be said before they begin.

    It would give every large array back to the system, which has to clear the pages again for the next one: a sixth
    of the time of a stage.
    """
    if "numpy" in sys.modules:
        with suppress(OSError, AttributeError):
            for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
                ctypes.CDLL("libc.so.6").mallopt(option, n_bytes)
            if shared:
                ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 1)


def _cost() -> str:
    """What the whole process has cost, its start and its children included; memory where Linux tells."""
    cost = f"CPU {sum(os.times()[:4]):.2f} s"
    with suppress(OSError, IndexError):
        status = Path("/proc/self/status").read_text()
        cost += f", memory {int(status.partition('VmHWM:')[2].split()[0]) // 1024} MB"
    return cost


def _give_up(line: str) -> None:
    if not os.environ.get(SAID_BY_RUN):
        print(line.replace("\n", " "), file=sys.stderr, flush=True)
    sys.exit(1)
