"""Python files of the user: functions for segmentation and tracking, and features."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pyama.errors import PyamaError


def load_file(file: str, key: str) -> ModuleType:
    """Import a Python file from its path. `key` names the setting it was given in."""
    specification = importlib.util.spec_from_file_location(f"pyama_user_{Path(file).stem}", file)
    if specification is None or specification.loader is None:
        raise PyamaError(f"{key}: {file!r} is not a Python file (.py)")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise PyamaError(f"{key}: importing {file!r} failed: {type(error).__name__}: {error}") from error
    return module


def load_function(method: str, key: str) -> Callable[..., Any]:
    """The function that "path/to/file.py:function" names."""
    file, _, name = method.rpartition(":")
    function = getattr(load_file(file, key), name, None)
    if not callable(function):
        raise PyamaError(f"{key}: there is no function {name!r} in {file!r}")
    return function
