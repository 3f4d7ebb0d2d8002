"""Whatever a test waits for, it ends, and what it started ends with it."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from time_limit import limited

ASLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def asleep():
    """A process that says nothing and does not end."""
    with subprocess.Popen(ASLEEP, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def for_a_lock(_):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def for_a_thread(process):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(process.wait)


WAITS = {
    "an end": lambda process: process.wait(),
    "a line": lambda process: process.stdout.readline(),
    "all that is said": lambda process: process.communicate(),
    "another process": lambda _: subprocess.run(ASLEEP, check=False),
    "a lock": for_a_lock,
    "a thread": for_a_thread,
    "time": lambda _: time.sleep(600),
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_wait_ends_and_so_does_what_it_waits_for(asleep, wait):
    with pytest.raises(pytest.fail.Exception, match=r"^it took more than 0.1 s"), limited(0.1):
        wait(asleep)
    assert asleep.wait() != 0


def test_a_limit_within_a_limit_leaves_the_outer_one():
    with pytest.raises(pytest.fail.Exception, match=r"^it took more than 0.2 s"), limited(0.2):
        with limited(600):
            pass
        time.sleep(600)
