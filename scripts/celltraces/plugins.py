"""Load Python files of the user: functions for segmentation and tracking, and features.

Whatever goes wrong in one of them is one line that names the file; where it went wrong stands in the job's log.
"""

import ast
import importlib.util
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from celltraces.errors import UserError

SECONDS = 300  # an import that takes longer does not end, or computes what it should not
ERRORS = (Exception, SystemExit)  # a file that calls sys.exit() must not end a job as if it were done


def load_file(file: str, key: str) -> ModuleType:
    """Import a Python file from its path. `key` names the setting it was given in."""
    specification = importlib.util.spec_from_file_location(f"celltraces_user_{Path(file).stem}", file)
    if specification is None or specification.loader is None:
        raise UserError(f"{key}: {file!r} is not a Python file (.py)")
    module = importlib.util.module_from_spec(specification)
    errors: list[BaseException] = []

    def execute() -> None:
        try:
            specification.loader.exec_module(module)
        except ERRORS as error:
            errors.append(error)

    # in a thread that does not keep the process from ending: an import that hangs must not hang the run
    thread = threading.Thread(target=execute, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        raise UserError(f"{key}: importing {file!r} took more than {SECONDS:g} s; let it define functions and no more")
    if errors:
        raise UserError(f"{key}: importing {file!r} failed: {_described(errors[0])}") from errors[0]
    return module


def load_function(method: str, key: str) -> Callable[..., Any]:
    """The function that "path/to/file.py:function" names."""
    file, _, name = method.rpartition(":")
    function = getattr(load_file(file, key), name, None)
    if not callable(function):
        raise UserError(f"{key}: there is no function {name!r} in {file!r}")
    return function


def mistake_in(method: str, key: str) -> str | None:
    """What is wrong with "path/to/file.py:function" as far as can be said without running the file; None: nothing."""
    file, _, name = method.rpartition(":")
    try:
        tree = ast.parse(Path(file).read_bytes(), file)
    except OSError as error:
        return f"{key}: {file!r} cannot be read ({error.strerror})"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{key}: {file!r} is no Python: {_described(error)}"
    words = {getattr(node, "name", None) or getattr(node, "id", None) for node in ast.walk(tree)}
    words |= {node.asname for node in ast.walk(tree) if isinstance(node, ast.alias)}
    return None if {name, "*"} & words else f"{key}: there is no function {name!r} in {file!r}"


@contextmanager
def blamed(method: str, key: str) -> Iterator[None]:
    """Make what goes wrong in a user's function, or with what it takes or returns, one UserError that names it.

    Errors of built-in methods pass, and those of disk and memory outside of the user's file.
    """
    file = os.path.abspath(method.rpartition(":")[0]) if ":" in method else None
    try:
        yield
    except UserError as error:
        if file is None or method in str(error) or repr(method.rpartition(":")[0]) in str(error):
            raise
        raise UserError(f"{error} (from {method})") from error
    except ERRORS as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        if file is None or (not lines and isinstance(error, (OSError, MemoryError))):
            raise
        logging.getLogger("celltraces").info("%s", traceback.format_exc())
        where = f" in line {lines[-1]}" if lines else ""
        raise UserError(f"{key}: {method} failed{where}: {_described(error)}") from error


def _described(error: BaseException) -> str:
    """Type and message of an error, on one line."""
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
