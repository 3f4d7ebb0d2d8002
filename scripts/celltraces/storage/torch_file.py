"""Read the arrays of a PyTorch weights file (.pth) without PyTorch and without running anything that the file names.

A .pth file is a zip: `data.pkl`, a pickle of names and array descriptions, and one raw file per array. The pickle goes
through `safe_unpickling.load`, which is given the few names that such a file needs and refuses all others.
"""

from __future__ import annotations

import math
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celltraces.storage import safe_unpickling

_STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.DoubleStorage": "<f8",
    "torch.LongStorage": "<i8",
}
MANY_BYTES = 1 << 30  # all arrays together


class _Storage(NamedTuple):
    dtype: str
    name: str


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Names and arrays of a state dict, in the file's order.

    Raises ValueError for what is no such file, OSError for what cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MANY_BYTES:
                    raise ValueError("it holds more than 1 GiB")
                return _state_dict(archive)
        except ValueError:
            raise
        except Exception as error:  # a damaged zip ends in errors of every kind
            raise ValueError(f"not a readable .pth file ({type(error).__name__})") from error


def _state_dict(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it holds {len(pickles)} files data.pkl, not one")
    folder = pickles[0].removesuffix("data.pkl")
    left = MANY_BYTES  # one raw file may be named any number of times

    def tensor(storage: Any, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any) -> np.ndarray:
        nonlocal left
        count = math.prod(shape)
        if count > 1 and list(strides) != [math.prod(shape[at + 1 :]) for at in range(len(shape))]:
            raise ValueError("an array in it is not stored row by row")
        data = archive.read(f"{folder}data/{storage.name}")
        left -= len(data)
        if left < 0 or offset < 0:
            raise ValueError("its arrays are larger than the file")
        dtype = np.dtype(storage.dtype)
        return np.frombuffer(data, dtype, count, offset * dtype.itemsize).reshape(tuple(shape))

    names = {"torch._utils._rebuild_tensor_v2": tensor, "collections.OrderedDict": OrderedDict, **_STORAGES}
    found = safe_unpickling.load(archive.read(pickles[0]), names, lambda entry: _Storage(entry[1], str(entry[2])))
    if not isinstance(found, dict) or not all(isinstance(value, np.ndarray) for value in found.values()):
        raise ValueError("it holds something other than names and arrays")
    return {str(name): value for name, value in found.items()}
