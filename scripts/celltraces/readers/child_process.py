"""Inspect a file in a child process, so that a reader that crashes cannot take Snakemake down.

A crash of compiled code, a hang or a demand for all memory would end Snakemake's main process without a word. Here it
ends a child, and comes back as one line. The libraries are imported by the child alone.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celltraces.errors import UserError

SECONDS = 600  # the directory of a movie of 500,000 frames, over a slow network, takes a minute or two
MEGABYTES = 4000  # the same directory takes about 1,000
REMEDY = "copy it again from the microscope, or open it there and save it anew"


def call(
    function: str,
    path: str,
    options: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
    megabytes: int = MEGABYTES,
) -> dict[str, Any]:
    """Call a function in a child process and return the fields of the dataclass that it returns.

    function: "package.module:name", which takes a path and named options. Raises UserError, with the function's
    own line or with what became of the child. Where the system knows no bound on the memory of a process (Windows,
    macOS) there is none.
    """
    command = [
        sys.executable,
        "-m",
        "celltraces.readers.child_process",
        function,
        path,
        str(megabytes),
        json.dumps(options or {}),
    ]
    try:
        done = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"'{path}' cannot be read: it took more than {seconds:g} s; {REMEDY}") from None
    if done.returncode == 0:
        answer = json.loads(done.stdout.splitlines()[-1])
        if "line" in answer:
            raise UserError(answer["line"])
        if "fields" in answer:
            return answer["fields"]
        reason = f"it needed more than {megabytes} MB"
    else:
        reason = ended(done.returncode, done.stderr, megabytes)
    raise UserError(f"'{path}' cannot be read: {reason}; {REMEDY}")


def environment() -> dict[str, str]:
    """The environment of a child that imports our modules."""
    scripts = str(Path(__file__).parents[2])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [scripts, os.environ.get("PYTHONPATH")])),
        "PYTHONIOENCODING": "utf-8",
        # every thread of a pool takes address space
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }


def bound_memory(megabytes: int) -> None:
    """Give this process no more address space, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 1_000_000, resource.getrlimit(resource.RLIMIT_AS)[1]))


def ended(code: int, errors: str, megabytes: int) -> str:
    """How a child ended that gave no answer, from its exit code and what it wrote to stderr."""
    if "bad_alloc" in errors or "MemoryError" in errors:
        return f"it needed more than {megabytes} MB"
    if code < 0:
        name = signal.strsignal(-code) or f"signal {-code}"
        return f"the reader crashed ({name.split(':')[0].lower()})"
    if code >= 1 << 31:  # how Windows says that a process was ended by an exception
        return f"the reader crashed (0x{code:08x})"
    last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), f"exit code {code}")
    return f"the reader failed ({last[:200]})"


def _answer(function: str, path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    module, _, name = function.partition(":")
    try:
        return {"fields": asdict(getattr(importlib.import_module(module), name)(Path(path), **options))}
    except MemoryError:
        return {"memory": True}
    except UserError as error:
        return {"memory": True} if isinstance(error.__cause__, MemoryError) else {"line": str(error)}


def main(function: str, path: str, megabytes: int, options: Mapping[str, Any]) -> None:
    """What the child runs: print the answer as JSON, in at most so many MB of memory."""
    bound_memory(megabytes)
    print("\n" + json.dumps(_answer(function, path, options)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
