"""Show how far a run is: one line that is updated on a terminal, a line every half minute in a log."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TextIO

TERMINAL_S, LOG_S = 1.0, 30.0  # between two lines
FEW = 3  # jobs, before which nothing is said of the time left


class Job(NamedTuple):
    """A job of the run: its stage, and its dataset and FOV where it is for one."""

    stage: str
    place: tuple[str, str] | None


def seconds_left(
    jobs: Mapping[int, Job], began: Mapping[int, float], took: Mapping[int, float], elapsed: float, now: float
) -> float | None:
    """How long the rest of a run may take; None where too few jobs are done to tell, or all.

    jobs: by number, without those that cannot run any more. began: when each of those started last, s. took: s, of
    those that are done. elapsed: s, of the run. A job is taken to need what those of its stage needed on average, or
    those of all stages where none of its own is done, and as many to run at once as up to now.
    """
    if len(took) < FEW or elapsed <= 0:
        return None
    of_stage: dict[str, list[float]] = {}
    for number, seconds in took.items():
        of_stage.setdefault(jobs[number].stage, []).append(seconds)
    mean = {stage: sum(times) / len(times) for stage, times in of_stage.items()}
    overall = sum(took.values()) / len(took)
    running = {number: now - start for number, start in began.items() if number not in took and number in jobs}
    waiting = [job for number, job in jobs.items() if number not in took and number not in running]
    if not waiting and not running:
        return None
    rest = sum(mean.get(job.stage, overall) for job in waiting)
    rest += sum(max(mean.get(jobs[number].stage, overall) - ran, 0.0) for number, ran in running.items())
    at_once = (sum(took.values()) + sum(running.values())) / elapsed
    return rest / max(at_once, 0.01)


def time_to_come(seconds: float) -> str:
    """A time to come in the units that a person would say: "about 45 s", "about 1 h 20 min", "about 2 days 4 h"."""
    if seconds < 58:
        return f"about {max(5 * round(seconds / 5), 5)} s" if seconds > 2 else "a few s"
    minutes = max(round(seconds / 60), 1)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"about {hours} h" + (f" {minutes} min" if minutes else "")
    hours = round(seconds / 3600)
    return f"about {hours // 24} days" + (f" {hours % 24} h" if hours % 24 else "")


def took(seconds: float) -> str:
    """A time that has passed: "45 s", "1 min 12 s", "3 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def status(
    jobs: Mapping[int, Job], done: set[int], n_failed: int, left: float | None, width: int | None, dot: str = "."
) -> str:
    """How far a run is, in one line: "372/906 41 % . FOVs 23/100 . 0 failed . about 45 s left".

    width: most characters, beyond which what matters least is left out; None: any number.
    """
    n_done, share = f"{len(done)}/{len(jobs)}", f"{100 * len(done) // max(len(jobs), 1)} %"
    places = {job.place for job in jobs.values() if job.place}
    undone = {job.place for number, job in jobs.items() if job.place and number not in done}
    fovs = [f"FOVs {len(places - undone)}/{len(places)}"] if places else []
    failed = f"{n_failed} failed"
    rest = [] if left is None else [f"{time_to_come(left)} left"]
    for parts in (
        [f"{n_done} {share}", *fovs, failed, *rest],
        [f"{n_done} {share}", failed, *rest],
        [f"{n_done} {share}", *([failed] if n_failed else rest)],
    ):
        line = f" {dot} ".join(parts)
        if width is None or len(line) <= width:
            return line
    return share[:width]


class Progress:
    """What a run shows of its progress on one stream, from its first job to its last.

    On a terminal the last line is updated, and `say` puts lines above it. Elsewhere, and on a terminal that calls
    itself dumb, a line comes every half minute.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.jobs: dict[int, Job] = {}
        self.began: dict[int, float] = {}
        self.took: dict[int, float] = {}
        self.failed: set[int] = set()
        self.start = 0.0
        self._shown = 0  # characters of the line that is updated
        self._lock = threading.RLock()
        self._ended = threading.Event()
        try:
            "·".encode(stream.encoding or "ascii")
            self._dot = "·" if self.is_terminal else "."
        except (UnicodeError, LookupError):
            self._dot = "."

    def begin(self, jobs: Mapping[int, Job]) -> None:
        """Count these jobs from now on, and show how many are done until `end`."""
        self.jobs, self.start = dict(jobs), self.clock()
        if len(jobs) < FEW:  # one line, of a job that says itself what it found, would be in its way
            self._ended.set()
        threading.Thread(target=self._repeat, daemon=True).start()

    def job_started(self, number: int) -> None:
        """A job began, perhaps again after it failed."""
        with self._lock:
            self.began[number] = self.clock()
            self.failed.discard(number)

    def job_finished(self, number: int) -> None:
        """A job is done."""
        with self._lock:
            if number in self.jobs:
                now = self.clock()
                self.took[number] = now - self.began.get(number, now)
            self._refresh()

    def job_failed(self, number: int) -> None:
        """A job failed."""
        with self._lock:
            self.failed.add(number)
            self.began.pop(number, None)
            self._refresh()

    def line(self, width: int | None = None) -> str:
        """How far the run is."""
        with self._lock:
            now = self.clock()
            able = {number: job for number, job in self.jobs.items() if number not in self.failed}
            left = seconds_left(able, self.began, self.took, now - self.start, now)
            return status(self.jobs, {*self.took}, len(self.failed), left, width, self._dot)

    def spent(self) -> float:
        """Seconds since the first job began."""
        return self.clock() - self.start

    def say(self, text: str) -> None:
        """Print a text, above the line that is updated."""
        with self._lock:
            self._clear()
            print(text, file=self.stream, flush=True)
            self._refresh()

    def end(self) -> None:
        """Take the line away and show nothing any more."""
        with self._lock:
            self._ended.set()
            self._clear()

    def _repeat(self) -> None:
        while not self._ended.wait(TERMINAL_S if self.is_terminal else LOG_S):
            with self._lock:
                if self.is_terminal:
                    self._refresh()
                elif not self._ended.is_set():
                    print(self.line(), file=self.stream, flush=True)

    def _clear(self) -> None:
        if self._shown:
            print("\r" + " " * self._shown, end="\r", file=self.stream, flush=True)
            self._shown = 0

    def _refresh(self) -> None:
        if not self.is_terminal or self._ended.is_set() or not self.jobs:
            return
        # The last column stays free: a character in it would begin a new line.
        line = self.line(columns(self.stream) - 1)
        print("\r" + line + " " * (self._shown - len(line)), end="", file=self.stream, flush=True)
        self._shown = len(line)


def columns(stream: TextIO) -> int:
    """Columns of the terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns
