"""Copies of a process that has imported what many have to: how one becomes what was asked for, and how it ends."""

import atexit
import os
import sys
from pathlib import Path

_status = []  # of the copy that this process is


@atexit.register  # before others, and so after them
def _leave():
    """End a copy without taking apart what it has in memory, for which Python needs a tenth of a second."""
    if _status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status[0])


def check_threads():
    """Raise AssertionError where this process has threads that a copy of it would lack."""
    threads = [Path(f"/proc/self/task/{thread}/comm").read_text() for thread in os.listdir("/proc/self/task")]
    assert {*threads} <= {"python\n", "jemalloc_bg_thd\n"}, threads  # of pyarrow's memory, which minds copies itself
    assert len(threads) <= 2


def run_and_end(function, folder, umask, environment, files):
    """End this process, a copy, with what a function does in a folder and an environment.

    files: numbers of open files, which become standard input, output and error.
    """
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    _status.append(1)  # of an exception, which Python shows
    try:
        function()
    except SystemExit as end:
        _status[0] = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    _status[0] = 0
    sys.exit()
