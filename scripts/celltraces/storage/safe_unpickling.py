"""Read numbers from pickles without running anything that they name.

A pickle is a program that calls what it likes. Here the few names that calibration files need stand for objects of our
own that only keep what they are given; every other name is refused, and arrays are built from bytes after a look at
shape and type. The unpickler is Python's own in Python: the one in C makes a table as long as a file says.
"""

from __future__ import annotations

import io
import itertools
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

MANY_VALUES = 100_000


class Refused(ValueError):
    """A pickle that names what it may not."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a pickle in it names {name[:80]}, which is not run")


class Thing:
    """An object whose class is known by its name alone; its attributes are what the file says."""

    def __new__(cls, *_: Any) -> Thing:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        self.__dict__.clear()


class _Type(Thing):
    """numpy.dtype: its text, and the byte order that its state brings."""

    def __init__(self, text: Any, *_: Any) -> None:
        self.text, self.order = text, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "<"

    def numbers(self) -> np.dtype:
        if not isinstance(self.text, str) or self.text not in _NUMBERS:
            raise Refused(f"an array of type {self.text!r}")
        return np.dtype(self.order + self.text)


_NUMBERS = {"f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}


class _Array(Thing):
    """numpy.ndarray; `value` once its state has come."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        self.value = _array(data, dtype, shape, "F" if by_columns else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    data = data.encode("latin1") if isinstance(data, str) else bytes(data)
    numbers = dtype.numbers()
    if math.prod(shape) * numbers.itemsize != len(data):
        raise ValueError(f"an array of {len(data)} bytes says that its shape is {shape}")
    return np.frombuffer(data, numbers).reshape(shape, order=order)


def _scalar(dtype: _Type, data: Any) -> Any:
    return _array(data, dtype, (), "C")[()].item()


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding in ("latin1", "latin-1", "iso-8859-1") else "utf-8")


_OF_NUMPY: Mapping[str, Any] = {
    "_reconstruct": lambda *_: _Array(),
    "scalar": _scalar,
    "_frombuffer": lambda data, dtype, shape, order="C": _array(data, dtype, shape, order),
}
NUMPY: Mapping[str, Any] = {
    **{f"numpy.{core}.multiarray.{name}": make for core in ("core", "_core") for name, make in _OF_NUMPY.items()},
    **{f"numpy.{core}.numeric.{name}": make for core in ("core", "_core") for name, make in _OF_NUMPY.items()},
    "numpy.ndarray": _Array,
    "numpy.dtype": _Type,
    "_codecs.encode": _encoded,
    "copy_reg._reconstructor": lambda kind, *_: kind(),
    "copyreg._reconstructor": lambda kind, *_: kind(),
    "__builtin__.object": Thing,
    "builtins.object": Thing,
}


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    def __init__(self, data: bytes, allowed: Mapping[str, Any], outside: Callable[[Any], Any] | None) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._allowed, self._outside = allowed, outside

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[f"{module}.{name}"]
        except KeyError:
            raise Refused(f"{module}.{name}") from None

    def persistent_load(self, entry: Any) -> Any:
        if self._outside is None:
            raise Refused("something outside of it")
        return self._outside(entry)


def load(data: bytes, allowed: Mapping[str, Any] | None = None, outside: Callable[[Any], Any] | None = None) -> Any:
    """What a pickle of plain values holds, or of these and the `allowed` names ("module.name" -> what stands for it).

    Arrays come as numpy arrays. `outside` looks up what the pickle refers to and does not hold itself (persistent
    ids). Raises Refused for any other name, ValueError for what is no pickle.
    """
    try:
        return _plain(_Unpickler(data, allowed or {}, outside).load(), itertools.count())
    except Refused:
        raise
    except Exception as error:  # a damaged pickle ends in errors of every kind
        raise ValueError(f"not a readable pickle ({type(error).__name__})") from error


def _plain(value: Any, count: Iterator[int]) -> Any:
    """The value with arrays in the place of what stood for them; no more parts than anybody would write.

    A pickle can name a part many times, and that part others: a few lines may stand for more than any memory holds.
    """
    if next(count) > MANY_VALUES:
        raise ValueError("it holds too many values")
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, tuple | list):
        return type(value)(_plain(item, count) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item, count) for key, item in value.items()}
    if isinstance(value, Thing):
        value.__dict__.update({key: _plain(item, count) for key, item in vars(value).items()})
    return value
