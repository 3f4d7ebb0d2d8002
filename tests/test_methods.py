"""Methods from outside: a function in a user's file, and the optional packages."""

import sys
import types

import cv2
import numpy as np
import pytest

import segment_cells
import track_cells
from celltraces import plugins
from celltraces.errors import UserError
from celltraces.segmentation import cellpose_method
from celltraces.segmentation.methods import segmenter
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing
from celltraces.tracking.methods import tracker

DIVISIONS = {
    "divisions": True,
    "max_touching": 10,
    "division_roundness": 0.65,
    "division_frames": 3,
    "division_min_age": 4,
}
TRACKING = {"min_iou": 0.1, "iou": "box", "max_gap": 3, "min_size": None, "max_size": None, "split_touching": True}


def test_a_function_of_the_user(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def segment(image):\n    return (image > 5).astype(int)\n\nnumber = 3\n")
    segment = segmenter(f"{file}:segment", {})
    assert segment(np.array([[1, 9]])).tolist() == [[0, 1]]
    for name in ("nothing", "number"):
        with pytest.raises(UserError, match=f"segmentation_method: there is no function '{name}'"):
            plugins.load_function(f"{file}:{name}", "segmentation_method")
    file.write_text("raise ValueError('no')\n")
    with pytest.raises(UserError, match=r"tracking_method: importing .* failed: ValueError: no"):
        plugins.load_function(f"{file}:track", "tracking_method")


BROKEN = {
    "raise ValueError('no')\n": "importing .*mine.py' failed: ValueError: no$",
    "import sys\nsys.exit()\n": "importing .*mine.py' failed: SystemExit$",
    "import sys\nsys.exit('bye\\nbye')\n": "importing .*mine.py' failed: SystemExit: bye bye$",
    "import nowhere\n": "importing .*mine.py' failed: ModuleNotFoundError: No module named 'nowhere'$",
    "while True:\n    pass\n": r"importing .*mine.py' took more than 0.2 s; let it define functions",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, text):
    monkeypatch.setattr(plugins, "SECONDS", 0.2 if "while" in text else 60)
    if "while" in text:  # an end to it after all, for the sake of the other tests
        text = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end:\n    time.sleep(0.01)\n"
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=BROKEN.get(text, "took more than")) as caught:
        plugins.load_file(str(tmp_path / "mine.py"), "plugins")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("def segment(image):\n    pass\n", None),
        ("from there import segment\n", None),
        ("from there import anything as segment\n", None),
        ("from there import *\n", None),
        ("segment = lambda image: image\n", None),
        ("def other(image):\n    pass\n", "there is no function 'segment' in"),
        ("def segment(image:\n", "is no Python: SyntaxError: "),
        ("x = '\0'\n", "is no Python: "),
        ("(" * 5000, "is no Python: "),
        ("x = " + "-" * 100_000 + "1\n", "is no Python: "),
        ("\ufeffdef segment(image):\n    pass\n", None),
    ],
)
def test_what_is_wrong_with_a_method_without_running_it(tmp_path, text, mistake):
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    found = plugins.mistake_in(f"{tmp_path / 'mine.py'}:segment", "params.segmentation_method")
    if mistake is None:
        assert found is None
    else:
        assert found.startswith("params.segmentation_method: ")
        assert mistake in found
        assert "\n" not in found


FAILING = {
    "segment": {
        "def segment(image):\n    raise MemoryError\n": "failed in line 2: MemoryError",
        "def segment(image):\n    raise ValueError('no\\nno')\n": "failed in line 2: ValueError: no no",
        "import sys\n\ndef segment(image):\n    sys.exit()\n": "failed in line 4: SystemExit",
        "def segment(image):\n    return helper(image)\n\ndef helper(image):\n    return image.nothing\n": "in line 5",
        "def segment():\n    pass\n": "takes 0 positional arguments",
        "def segment(image):\n    return None\n": "got object of shape ()",
        "def segment(image):\n    return image[1:]\n": "expected labels of shape (4, 5)",
        "def segment(image):\n    return [[1], [2, 3]]\n": "failed: ValueError: setting an array",
    },
    "track": {
        "def track(frames):\n    for frame in frames:\n        yield 1 / 0\n": "failed in line 3: ZeroDivisionError",
        "def track(frames):\n    return []\n": "1 frames were given and 0 came back",
        "def track(frames):\n    return [None]\n": "frame 0: expected labels and cells, got None",
        "def track(frames):\n    return [([1], [0.5])]\n": "must be whole numbers",
        "def track(frames):\n    return 7\n": "failed: TypeError: 'int' object is not iterable",
    },
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FAILING.items() for text in texts])
def test_what_goes_wrong_in_a_method_names_file_and_function(tmp_path, name, text):
    (tmp_path / "mine.py").write_text(text)
    with writing(tmp_path / "in/0", (1, 4, 5), np.uint16, PIXELS) as append:
        append(np.ones((4, 5), np.uint16))
    if name == "segment":
        main, outputs, settings = segment_cells.main, ["out/0"], {}
    else:
        main, outputs, settings = track_cells.main, ["out/0", "lineage.csv"], {**TRACKING, **DIVISIONS, "fov": 0}
    method = f"{tmp_path / 'mine.py'}:{name}"
    key = "segmentation_method" if name == "segment" else "tracking_method"
    with pytest.raises(UserError) as caught:
        main(*(str(tmp_path / name) for name in ("in/0", *outputs)), **{key: method}, **settings)
    line = str(caught.value)
    assert line.startswith(f"{key}: ")
    assert method in line
    assert FAILING[name][text] in line
    assert "\n" not in line
    assert not (tmp_path / "out/0").exists()


def test_an_error_of_our_own_is_not_put_on_the_users_method(tmp_path):
    (tmp_path / "mine.py").write_text("def segment(image):\n    return image\n")
    with pytest.raises(OSError, match="disk"), plugins.blamed(f"{tmp_path / 'mine.py'}:segment", "segmentation_method"):
        raise OSError("disk full")


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (np.zeros((3, 4), int), r"frame 0: expected labels of shape \(4, 5\)"),
        (np.zeros((4, 5)), "got float64 of shape"),
        (np.full((4, 5), -1), "integers from 0"),
        (None, "got object"),
    ],
)
def test_what_a_segmentation_of_the_user_returns_is_checked(tmp_path, labels, line):
    with writing(tmp_path / "pc/0", (1, 4, 5), np.uint16, PIXELS) as append:
        append(np.zeros((4, 5), np.uint16))
    with pytest.raises(UserError, match=line):
        segment_cells.segment_movie(tmp_path / "pc/0", tmp_path / "labeled/0", lambda image: labels)
    assert not (tmp_path / "labeled/0").exists()


def test_more_labels_than_sixteen_bit_and_frames_that_are_missing(tmp_path):
    with writing(tmp_path / "pc/0", (2, 4, 5), np.uint16, PIXELS, attributes={"missing_frames": [1]}) as append:
        for _ in range(2):
            append(np.zeros((4, 5), np.uint16))
    counts = segment_cells.segment_movie(tmp_path / "pc/0", tmp_path / "l/0", lambda image: np.full((4, 5), 70_000))
    assert counts == [70_000, 0]
    written = open_frames(tmp_path / "l/0")
    assert written.dtype == np.uint32
    assert (written.read(0).max(), written.read(1).max()) == (70_000, 0)


@pytest.mark.parametrize("package", ["cellpose", "btrack"])
def test_a_package_that_is_not_installed_is_one_line(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{package} is not installed; run") as caught:
        if package == "cellpose":
            segmenter("cellpose", {"min_object_size": 15})
        else:
            tracker("btrack", TRACKING)([np.ones((3, 3), np.uint16)])
    assert "\n" not in str(caught.value)


class StandInForCellpose:
    """Of the package and of torch, what our code uses; neither, nor a model's weights, is part of the environment."""

    def __init__(self, monkeypatch, version, layers=("diam_mean", "a", "b")):
        self.asked, self.threads, full = {}, [], type("OutOfMemoryError", (RuntimeError,), {})
        stand_in = self

        class CellposeModel:
            pretrained_model, device = "models/it", types.SimpleNamespace(type="cpu")
            net = types.SimpleNamespace(state_dict=lambda: dict.fromkeys(("diam_mean", "diam_labels", "a", "b")))

            def __init__(self, **how):
                stand_in.asked.update(how)

            def eval(self, image, **how):
                if image.max() == 99:
                    raise full("CUDA out of memory")
                stand_in.asked.update(how)
                return (image > 3).astype(np.uint16) * 2, None, None

        cellpose, torch = types.ModuleType("cellpose"), types.ModuleType("torch")
        cellpose.models = types.SimpleNamespace(
            CellposeModel=CellposeModel, MODEL_NAMES=["cyto3", "nuclei"], get_user_models=lambda: ["of_the_lab"]
        )
        torch.set_num_threads, torch.__version__ = self.threads.append, "2.0"
        torch.cuda = types.SimpleNamespace(OutOfMemoryError=full)
        torch.load = lambda *_, **__: dict.fromkeys(layers)
        monkeypatch.setitem(sys.modules, "cellpose", cellpose)
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setattr(cellpose_method.metadata, "version", lambda name: version)


@pytest.mark.parametrize(("version", "default"), [("3.1.1.2", {"pretrained_model": "cyto3"}), ("4.2.1", {})])
def test_cellpose_is_given_the_frame_the_smallest_size_and_the_threads(monkeypatch, version, default):
    """Version 3 would run a network without weights where no model is named."""
    cellpose = StandInForCellpose(monkeypatch, version)
    segment = segmenter("cellpose", {"min_object_size": 15})
    assert segment(np.array([[1, 9]], np.uint16)).tolist() == [[0, 2]]
    assert cellpose.asked == {"gpu": True, "min_size": 15, **default}
    assert cellpose.threads == [cv2.getNumThreads()]
    assert segment(np.full((2, 2), 9, np.uint16)).tolist() == [[0, 0], [0, 0]]
    settings = {"min_object_size": 15, "cellpose_model": "of_the_lab", "cellpose_diameter": 70.0}
    segmenter("cellpose", settings)(np.array([[1, 9]], np.uint16))
    assert cellpose.asked == {"gpu": True, "min_size": 15, "pretrained_model": "of_the_lab", "diameter": 70.0}


@pytest.mark.parametrize(
    ("version", "layers", "model", "line"),
    [
        (
            "2.3",
            ("a", "b"),
            None,
            "cellpose 2.3 is installed; allowed: versions 3 and 4; run `.venv/bin/pip install",
        ),
        (
            "4.2",
            ("a", "b"),
            "cyto33",
            "'cyto33' is neither a file nor a model of cellpose 4.2; allowed: .*of_the_lab, cyto3",
        ),
        ("3.1", ("a", "b"), "cyto33", "'cyto33' is neither a file nor a model of cellpose 3.1"),
        ("3.1", ("a",), "cyto3", "'models/it' lacks 1 of the 2 layers of cellpose 3.1, the first b"),
    ],
)
def test_a_model_that_cellpose_would_silently_replace_is_refused(monkeypatch, version, layers, model, line):
    StandInForCellpose(monkeypatch, version, layers)
    with pytest.raises(UserError, match=line):
        segmenter("cellpose", {"min_object_size": 15, "cellpose_model": model})


def test_a_gpu_without_memory_is_one_line(monkeypatch):
    StandInForCellpose(monkeypatch, "4.2")
    with pytest.raises(UserError, match="cellpose needs more memory than is free on the GPU; let fewer jobs use it"):
        segmenter("cellpose", {"min_object_size": 15})(np.array([[1, 99]], np.uint16))


def test_btrack_numbers_cells_that_move(tmp_path):
    pytest.importorskip("btrack", reason="btrack is an optional package")
    frames = []
    for frame in range(8):
        labels = np.zeros((100, 100), np.uint16)
        labels[10 + frame : 30 + frame, 10:30] = 1
        labels[60:80, 60 - frame : 80 - frame] = 2
        frames.append(labels)
    mappings = tracker("btrack", TRACKING)(frames)
    assert [mapping.ids.tolist() for mapping in mappings] == [[1, 2]] * 8
