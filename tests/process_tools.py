"""Starting processes as a person does, from a shell that listens to Ctrl-C."""

import os
import signal
import subprocess
from contextlib import contextmanager

import pytest
from conftest import PYTHON


@contextmanager
def hearing_ctrl_c():
    """Let processes that are started in the body hear Ctrl-C.

    A shell that runs the tests in the background makes them, and what they start, deaf to it. Said here and not in the
    child (`preexec_fn`), since a copy of a process that has threads may wait for ever for a lock that one of them held.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def apart(folder):
    """An environment in which a folder holds what a run that is killed leaves among temporary files and in caches."""
    kept = folder / "temporary"
    kept.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(kept), "XDG_CACHE_HOME": str(kept)}


def start(checkout, config, *arguments):
    """Begin a run; with --verbose it prints a line for each job, for `wait_for`."""
    command = [PYTHON, "-m", "snakemake", "--cores", "2", *arguments, "--configfile", checkout.configure(config)]
    with hearing_ctrl_c():
        return subprocess.Popen(
            command,
            cwd=checkout.folder,
            env=apart(checkout.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def wait_for(process, text):
    """Read what a run says until it says `text`, and return that."""
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    pytest.fail(f"the run ended without saying {text!r}")
