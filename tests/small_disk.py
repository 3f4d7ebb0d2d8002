"""A small file system of its own for a test, by root on Linux: one that fills up, or that becomes read-only."""

import ctypes
import subprocess
import sys
from contextlib import contextmanager
from functools import cache

import pytest
import snakemake_server

CLONE_NEWNS = 0x20000  # of linux/sched.h: other mounts than those of the process that started this one


@contextmanager
def small_disk(folder, megabytes):
    """Mount a file system of some MB in a new folder, and take it away; the test skips where it may mount none."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    if not _own_mounts() or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root, and Linux")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@cache
def _own_mounts():
    """Give this process, and those that it starts from now on, mounts of their own; False where it may not.

    They go with the last of these processes, however it ends: tests that are killed leave nothing mounted.
    """
    if sys.platform != "linux" or ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        return False
    snakemake_server.end_servers()  # which see what is mounted outside
    return subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False).returncode == 0
