"""Segmentation and tracking from outside: a function in a user's file, or an optional package."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

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


def cellpose_segmenter(min_object_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Cellpose with its own default model, on a GPU where there is one. The package is not part of the environment."""
    try:
        from cellpose import models
    except ImportError:
        raise PyamaError(
            "params.segmentation_method: cellpose is not installed; run `.venv/bin/pip install cellpose` or choose logstd"
        ) from None
    model = models.CellposeModel(gpu=True)

    def segment(image: np.ndarray) -> np.ndarray:
        masks = model.eval(image, min_size=min_object_size)[0]
        return np.asarray(masks, np.int64)

    return segment
