"""Give each test an end: one that waits for what never comes fails where it waits, and the others go on.

A signal reaches whoever waits in Python, for a process, a pipe, a lock or a page; not who waits within compiled code.
"""

import contextlib
import signal
import threading

import psutil
import pytest
import snakemake_server

LIMIT_S = 480  # for a test, and for what it is the first to ask of a fixture; some take a minute where all is busy
TORTURE_S = 6 * 3600  # for what kills 200 runs, or damages 5,000 files
AGAIN_S = 60  # until what cleans up behind such a test is ended as well
BROWSER = "node"  # runs the browser of all tests


@contextlib.contextmanager
def limited(seconds):
    """Fail the test, and kill what it started, where the body takes longer, s. Windows has no such signals."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def fail(*_):
        kill_children()
        pytest.fail(f"it took more than {seconds:g} s; the last lines of the traceback say what it waited for")

    handler = signal.signal(signal.SIGALRM, fail)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def kill_children():
    """Kill the processes that this one started, with all that they started, but not the browser."""
    snakemake_server._server.cache_clear()  # its next answer would be that of a run which nobody waits for
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [] if child.name() == BROWSER else [*child.children(recursive=True), child]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.hookimpl(wrapper=True)
def _with_limit(item):
    with limited(TORTURE_S if item.get_closest_marker("torture") else LIMIT_S):
        return (yield)


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _with_limit
