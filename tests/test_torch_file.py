"""PyTorch's weights files, read without PyTorch: the arrays, and nothing that is run. The files are written here."""

import contextlib
import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from celltraces.storage import torch_file
from celltraces.storage.torch_file import read_weights


class Storage:
    """Stands for torch.FloatStorage and its like in a pickle that is written here."""

    def __init__(self, kind, name, size):
        self.kind, self.name, self.size = kind, name, size


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        return ("storage", getattr(sys.modules["torch"], value.kind), value.name, "cpu", value.size)


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    """Just enough of torch to write its names into a pickle."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "HalfStorage", "DoubleStorage", "LongStorage", "ByteStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise AssertionError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, torch._utils = _rebuild_tensor_v2, utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def write(path, content, storages=None, **files):
    text = io.BytesIO()
    Pickler(text, 2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("name/data.pkl", text.getvalue())
        for name, data in (storages or {}).items():
            archive.writestr(f"name/data/{name}", data)
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("FloatStorage", "f4"), ("HalfStorage", "f2"), ("DoubleStorage", "f8"), ("LongStorage", "i8")],
)
def test_arrays_come_with_name_type_shape_and_values(tmp_path, kind, dtype):
    values = np.arange(24).astype(dtype)
    storage = Storage(kind, "0", 24)
    content = OrderedDict(
        {
            "conv.weight": Tensor(storage, 0, (2, 3, 4), (12, 4, 1)),
            "of a part": Tensor(storage, 5, (3,), (1,)),
            "one number": Tensor(storage, 7, (), ()),
            "of ones": Tensor(storage, 2, (1, 1), (9, 9)),
        }
    )
    found = read_weights(write(tmp_path / "a.pth", content, {"0": values.tobytes()}))
    assert list(found) == list(content)
    assert found["conv.weight"].dtype == dtype
    np.testing.assert_array_equal(found["conv.weight"], values.reshape(2, 3, 4))
    np.testing.assert_array_equal(found["of a part"], values[5:8])
    assert found["one number"] == values[7]
    np.testing.assert_array_equal(found["of ones"], [[2]])


class Hostile:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


FOUR = Storage("FloatStorage", "0", 4)
REFUSED = {
    "a command": (Hostile(os.system, "touch ran"), "names .*system, which is not run"),
    "eval": ({"a": Hostile(eval, "open('ran', 'w')")}, "names .*eval"),
    "getattr": ({"a": Hostile(getattr, FOUR, "kind")}, "names .*getattr"),
    "another kind of numbers": ({"a": Tensor(Storage("ByteStorage", "0", 4), 0, (4,), (1,))}, "names torch.ByteSt"),
    "columns": ({"a": Tensor(FOUR, 0, (2, 2), (1, 2))}, "ValueError"),
    "one value repeated": ({"a": Tensor(FOUR, 0, (1000, 1000), (0, 0))}, "ValueError"),
    "beyond the end": ({"a": Tensor(FOUR, 2, (3,), (1,))}, "ValueError"),
    "before the beginning": ({"a": Tensor(FOUR, -1, (1,), (1,))}, "ValueError"),
    "negative sizes": ({"a": Tensor(FOUR, 0, (-2, -2), (-2, 1))}, "ValueError"),
    "a storage that is not there": ({"a": Tensor(Storage("FloatStorage", "1", 4), 0, (4,), (1,))}, "KeyError"),
    "a storage elsewhere": ({"a": Tensor(Storage("FloatStorage", "../../etc/passwd", 4), 0, (4,), (1,))}, "KeyError"),
    "a storage by itself": ({"a": FOUR}, "not a readable pickle"),
    "a list": ([1, 2], "other than names and arrays"),
    "numbers": ({"a": 1}, "other than names and arrays"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_weights_file_is_refused_and_nothing_runs(tmp_path, monkeypatch, case):
    content, reason = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.pth", content, {"0": np.ones(4, "f4").tobytes()})
    with pytest.raises(ValueError, match=reason):
        read_weights(path)
    assert not (tmp_path / "ran").exists()


def test_arrays_that_name_the_same_numbers_again_and_again_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_file, "MANY_BYTES", 100_000)
    storage = Storage("FloatStorage", "0", 5000)
    path = write(tmp_path / "a.pth", {str(n): Tensor(storage, 0, (1,), (1,)) for n in range(9)}, {"0": bytes(20_000)})
    with pytest.raises(ValueError, match="not a readable pickle"):
        read_weights(path)
    monkeypatch.setattr(torch_file, "MANY_BYTES", 10_000)
    with pytest.raises(ValueError, match="more than 1 GiB"):
        read_weights(path)


def test_damaged_files_are_a_value_error(tmp_path):
    good = write(tmp_path / "a.pth", {"a": Tensor(FOUR, 0, (4,), (1,))}, {"0": np.ones(4, "f4").tobytes()}).read_bytes()
    bad = tmp_path / "bad.pth"
    for data in (b"", b"x" * 1000, good[:50], good[: len(good) // 2]):
        bad.write_bytes(data)
        with pytest.raises(ValueError, match="not a readable"):
            read_weights(bad)
    for at in range(0, len(good), 3):
        bad.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        with contextlib.suppress(ValueError):
            read_weights(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("b/data.pkl", b"")
    with pytest.raises(ValueError, match="2 files data.pkl"):
        read_weights(bad)
