"""Answer Ctrl-C and SIGTERM: in one line while no job runs yet, in the log of a job, and not at all at the end.

Else Python prints a traceback: of whatever is being imported or read before the first job, or of threads that it waits
for when it ends. SIGTERM is how a cluster's time limit, `scancel`, `kill`, `timeout` and a shutdown end a process.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

STOPPING = (signal.SIGINT, signal.SIGTERM)
STOPPED = "Stopped before any job began. To go on, run the same command again."


def end_in_one_line() -> None:
    """Let Ctrl-C end this process with one line, until `allow` or `ignore`."""
    _answer(lambda *_: sys.exit(STOPPED))


def allow() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, as Python does."""
    _answer(signal.default_int_handler)


def ignore() -> None:
    """Let Ctrl-C do nothing from now on."""
    _answer(signal.SIG_IGN)


def hear(heard: list[int]) -> None:
    """Let Ctrl-C and SIGTERM, and one that was held, raise KeyboardInterrupt in a job; `heard` gets their numbers.

    An error that a library makes of it, or of a child process that ended by the same signal, is known by that list.
    """

    def answer(number: int, _: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as in the background of a shell, or below nohup
            signal.signal(number, answer)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def hear_no_more() -> None:
    """Let Ctrl-C and SIGTERM do nothing in a job that is done, in none of its threads, also while Python ends."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def hold() -> None:
    """Let Ctrl-C and SIGTERM wait: in this thread, and in the processes that it starts, until these `hear`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def _answer(handler: object) -> None:
    is_command = Path(sys.argv[0]).stem in ("snakemake", "__main__")  # and no program that goes on when the run is done
    # A run in the background of a shell, or below nohup, ignores Ctrl-C; and only the main thread may say.
    is_heard = signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    if is_command and is_heard and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
