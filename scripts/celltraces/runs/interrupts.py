"""Answer Ctrl-C in one line while no job runs yet, and not at all when everything is done.

Else Python prints a traceback: of whatever is being imported or read before the first job, or of threads that it waits
for when it ends.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

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


def _answer(handler: object) -> None:
    is_command = Path(sys.argv[0]).stem in ("snakemake", "__main__")  # and no program that goes on when the run is done
    # A run in the background of a shell, or below nohup, ignores Ctrl-C; and only the main thread may say.
    is_heard = signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    if is_command and is_heard and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
