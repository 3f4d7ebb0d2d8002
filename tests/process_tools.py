"""Starting processes as a person does, from a shell that listens to Ctrl-C."""

import signal
from contextlib import contextmanager


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
