"""Networks of the user's own: what is read, what is refused, what becomes of their outputs."""

import os
import subprocess

import numpy as np
import pytest
from conftest import PYTHON, ROOT, small_config
from onnx_tools import FLOAT, disks, helper, model_bytes, number, onnx, overlap, settings_with

from celltraces.errors import UserError
from celltraces.planning import usable_methods
from celltraces.planning.experiment import plan_experiment
from celltraces.segmentation import learned, onnx_model
from celltraces.segmentation.methods import attributes_of, segmenter

# ------------------------------------------------------------------------------------------- models of the user's own


BRIGHT = [helper.make_node("Sub", ["x", "half"], ["d"]), helper.make_node("Mul", ["d", "steep"], ["e"])]
NUMBERS = [number("half", 0.5), number("steep", 40)]
ONE = [*BRIGHT, helper.make_node("Sigmoid", ["e"], ["out"])]
TWO = [*BRIGHT, helper.make_node("Neg", ["e"], ["n"]), helper.make_node("Concat", ["n", "e"], ["c"], axis=1)]
MODELS = {
    "one channel": model_bytes(ONE, {"out": 1}, initializers=NUMBERS),
    "no and yes": model_bytes(
        [*TWO, helper.make_node("Softmax", ["c"], ["out"], axis=1)], {"out": 2}, initializers=NUMBERS
    ),
    "background, cell, border": model_bytes(
        [
            *TWO[:-1],
            helper.make_node("Sub", ["e", "e"], ["zero"]),
            helper.make_node("Concat", ["n", "e", "zero"], ["f"], axis=1),
            helper.make_node("Softmax", ["f"], ["out"], axis=1),
        ],
        {"out": 3},
        initializers=NUMBERS,
    ),
    "of three channels": model_bytes(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[1]),
            helper.make_node("Sub", ["m", "half"], ["d"]),
            *ONE[1:],
        ],
        {"out": 1},
        shape=(1, 3, "h", "w"),
        initializers=NUMBERS,
    ),
    "of one size": model_bytes(ONE, {"out": 1}, shape=(1, 1, 64, 64), initializers=NUMBERS),
    "from -1 to 1": model_bytes(
        [helper.make_node("Mul", ["x", "steep"], ["e"]), ONE[-1]],
        {"out": 1},
        metadata_props={"input_range": "-1 1", "margin": "8", "multiple": "16"},
        initializers=NUMBERS,
    ),
    "dark cells": model_bytes(ONE, {"out": 1}, metadata_props={"input_range": "1 0"}, initializers=NUMBERS),
    "mask and distance": model_bytes(
        [*BRIGHT, helper.make_node("Sigmoid", ["e"], ["mask"]), helper.make_node("Mul", ["x", "steep"], ["distance"])],
        {"mask": 1, "distance": 1},
        initializers=NUMBERS,
    ),
}
MODELS["mask and edges"] = model_bytes(
    [
        *BRIGHT,
        helper.make_node("Neg", ["e"], ["n"]),
        helper.make_node("Sigmoid", ["e"], ["mask"]),
        helper.make_node("Sigmoid", ["n"], ["edges"]),
    ],
    {"mask": 1, "edges": 1},
    initializers=NUMBERS,
)


@pytest.mark.parametrize("shape", [(150, 130), (50, 45)])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_users_own_labels_the_cells(tmp_path, monkeypatch, name, shape):
    monkeypatch.setattr(onnx_model, "TILE", 96)  # some frames need several tiles
    truth = disks(shape, (20, 22, 12)) if shape[0] == 50 else disks(shape, (30, 40, 18), (75, 100, 15), (120, 30, 20))
    frame = np.where((truth > 0) ^ (name == "dark cells"), 9000, 2000).astype(np.uint16)
    (tmp_path / "mine.onnx").write_bytes(MODELS[name])
    segment = segmenter(str(tmp_path / "mine.onnx"), settings_with())
    np.testing.assert_array_equal(segment(frame)[0], truth)
    assert attributes_of(segment) == {"segmentation_scale": 1.0}
    assert not segment(np.full(shape, 700, np.uint16))[0].any()
    half, _ = segmenter(str(tmp_path / "mine.onnx"), settings_with(segmentation_scale=0.5))(frame)
    assert half.max() == truth.max()
    assert ((half > 0) != (truth > 0)).mean() < 0.03


def test_onnxruntime_tells_nobody_of_the_model(tmp_path):
    """What it sends it keeps in the user's cache first, beside a number for the machine."""
    code = "import sys; from celltraces.segmentation import onnx_model as m; m._session(sys.stdin.buffer.read(), 1, '')"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "scripts")}
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        environment[name] = str(tmp_path / name)
    done = subprocess.run(
        [PYTHON, "-c", code], env=environment, input=MODELS["one channel"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def external(tmp_path):
    model = onnx.load_model_from_string(MODELS["one channel"])
    file = tmp_path / "apart.onnx"
    onnx.save_model(model, file, save_as_external_data=True, location="numbers.bin", size_threshold=0)
    return file.read_bytes()


def hidden_operator():
    """In a branch of an If, where the graph itself does not show it."""
    branch = helper.make_graph(
        [helper.make_node("Run", ["x"], ["b"], domain="evil")],
        "b",
        [],
        [helper.make_tensor_value_info("b", FLOAT, None)],
    )
    yes = onnx.numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)
    return model_bytes([node], {"out": 1}, initializers=[yes], opsets=[helper.make_opsetid("evil", 1)])


def stated(**written):
    return model_bytes(ONE, {"out": 1}, metadata_props=written, initializers=NUMBERS)


def ir_version(version):
    model = onnx.load_model_from_string(model_bytes([helper.make_node("Sigmoid", ["x"], ["out"])], {"out": 1}))
    model.ir_version = version
    return model.SerializeToString()


WRONG = {
    "nothing": (lambda _: b"", "cannot be run|allowed: one picture"),
    "no model": (lambda _: b"\x89PNG not a model" * 50, "is not an ONNX model"),
    "a pickle": (lambda _: b"\x80\x02cos\nsystem\n", "is not an ONNX model"),
    "an operator of another maker": (
        lambda _: model_bytes(
            [helper.make_node("Run", ["x"], ["out"], domain="evil")],
            {"out": 1},
            opsets=[helper.make_opsetid("evil", 1)],
        ),
        r"uses the operator evil\.Run",
    ),
    "one hidden in a branch": (lambda _: hidden_operator(), r"uses the operator evil\.Run"),
    "numbers in another file": (external, "keeps numbers in a second file"),
    "logits": (lambda _: model_bytes(BRIGHT, {"e": 1}, initializers=NUMBERS), "must be probabilities.*sigmoid"),
    "not a number": (
        lambda _: model_bytes(
            [helper.make_node("Log", ["d"], ["out"]), BRIGHT[0]][::-1], {"out": 1}, initializers=NUMBERS
        ),
        "is not a number everywhere",
    ),
    "unknown outputs": (
        lambda _: model_bytes(
            [helper.make_node("Sigmoid", ["x"], ["mask"]), helper.make_node("Neg", ["x"], ["heat"])],
            {"mask": 1, "heat": 1},
        ),
        r"has the output\(s\) mask, heat; allowed: mask, alone or with edges, distance or flow; or flow alone",
    ),
    "four channels": (
        lambda _: model_bytes([helper.make_node("Concat", ["x"] * 4, ["out"], axis=1)], {"out": 4}),
        "has 4 channels",
    ),
    "takes four channels": (
        lambda _: model_bytes([helper.make_node("Sigmoid", ["x"], ["out"])], {"out": 4}, shape=(1, 4, "h", "w")),
        "takes 4 channels; allowed: 1; 2, .* or 3",
    ),
    "channels last": (
        lambda _: model_bytes([helper.make_node("Sigmoid", ["x"], ["out"])], {"out": 1}, shape=(1, "h", "w", 1)),
        r"takes pictures of shape \(1, h, w, 1\), channels last; allowed: channels first",
    ),
    "four pictures at once": (
        lambda _: model_bytes([helper.make_node("Sigmoid", ["x"], ["out"])], {"out": 1}, shape=(4, 1, "h", "w")),
        "takes 4 pictures at once; allowed: 1",
    ),
    "a picture larger than memory": (
        lambda _: model_bytes([helper.make_node("Sigmoid", ["x"], ["out"])], {"out": 1}, shape=(1, 1, 100000, 100000)),
        "takes pictures of 100000 x 100000 px; allowed: sides of 16 to 2048 px",
    ),
    "edges without cells": (
        lambda _: model_bytes([helper.make_node("Sigmoid", ["x"], ["edges"])], {"edges": 1}),
        r"has the output\(s\) edges; allowed: mask, alone",
    ),
    "distance without cells": (
        lambda _: model_bytes([helper.make_node("Relu", ["x"], ["distance"])], {"distance": 1}),
        r"has the output\(s\) distance; allowed: mask, alone",
    ),
    "an opset of the future": (
        lambda _: model_bytes(
            [helper.make_node("Sigmoid", ["x"], ["out"])], {"out": 1}, opsets=[helper.make_opsetid("", 999)]
        ),
        "is written in opset 999; allowed: up to .* export it anew with opset_version=17",
    ),
    "a key misspelt": (
        lambda _: stated(treshold="0.3"),
        "metadata say 'treshold'; meant is perhaps 'threshold': rename or remove it",
    ),
    "another size": (
        lambda _: model_bytes(
            [helper.make_node("MaxPool", ["x"], ["out"], kernel_shape=[2, 2], strides=[2, 2])],
            {"out": 1},
        ),
        r"expected an output|failed on a picture|cannot be run",
    ),
    "a vector": (
        lambda _: model_bytes([helper.make_node("Sigmoid", ["x"], ["out"])], {"out": 1}, shape=(1, 100)),
        "allowed: one picture|cannot be run",
    ),
    "a range that is none": (lambda _: stated(input_range="1 1"), "allowed: input_range two different numbers"),
    "an IR of the future": (
        lambda _: ir_version(999),
        r"cannot be run: \[ONNXRuntimeError\] : 1 : FAIL : Unsupported model IR version: 999, max supported",
    ),
    "three probabilities that are no alternatives": (
        lambda _: model_bytes(
            [
                helper.make_node("Sigmoid", ["x"], ["p"]),
                helper.make_node("Concat", ["p"] * 3, ["out"], axis=1),
            ],
            {"out": 3},
        ),
        "must be probabilities of background, cell and border, which add up to 1, and add up to 1",
    ),
    "a range of one number": (
        lambda _: stated(input_range="1"),
        "its metadata say input_range: '1'; allowed: 2 number",
    ),
    "a word": (lambda _: stated(multiple="many"), "its metadata say multiple: 'many'; allowed: 1 number"),
    "no number": (lambda _: stated(diameter="nan"), "its metadata say diameter: 'nan'"),
    "no size": (lambda _: stated(diameter="0"), "metadata are out of range; allowed: .*diameter more than 0"),
    "a threshold that all pixels pass": (
        lambda _: stated(threshold="0"),
        "metadata are out of range; .*threshold betw",
    ),
    "bright ends below the median": (lambda _: stated(furthest="-1"), "allowed: .*furthest 0 or more"),
    "an even number of scales": (lambda _: stated(scales="2"), "metadata are out of range; allowed: scales 1, 3 or 5"),
    "percentiles the wrong way": (lambda _: stated(percentiles="99 1"), "metadata are out of range"),
    "a margin as wide as a tile": (lambda _: stated(margin="129"), "metadata are out of range"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_model_that_breaks_the_contract_is_one_line(tmp_path, case):
    make, reason = WRONG[case]
    file = tmp_path / "mine.onnx"
    file.write_bytes(make(tmp_path))
    frame = disks((64, 64), (30, 30, 12)).astype(np.uint16)
    with pytest.raises(UserError, match=reason) as caught:
        segmenter(str(file), settings_with())(frame)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"params.segmentation_method: {str(file)!r}")


@pytest.mark.parametrize("case", WRONG)
def test_it_is_refused_before_the_run(tmp_path, case):
    make, reason = WRONG[case]
    (tmp_path / "mine.onnx").write_bytes(make(tmp_path))
    with pytest.raises(UserError, match=reason):
        learned.try_method(tmp_path / "mine.onnx")


@pytest.mark.parametrize("case", MODELS)
def test_one_that_keeps_it_is_not(tmp_path, case):
    (tmp_path / "mine.onnx").write_bytes(MODELS[case])
    learned.try_method(tmp_path / "mine.onnx")


def test_what_cannot_run_is_refused_while_cells_are_to_be_found(movies, tmp_path, monkeypatch):
    """In a process of its own; not where all labels are there, where a recipe labels, or images are copied alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.onnx").write_bytes(WRONG["logits"][0](tmp_path))

    def refuse(method="mine.onnx", **params):
        config = small_config(movies, params={"segmentation_method": method, **params})
        usable_methods.refuse_unusable(plan_experiment(config))

    with pytest.raises(UserError, match=r"mine\.onnx.* must be probabilities"):
        refuse()
    with pytest.raises(UserError, match=r"cellpose is not installed; run"):
        refuse("cellpose")
    refuse("logstd")
    refuse(copy_only=True)
    for fov in (0, 1):
        (tmp_path / f"results/small/fov_{fov:03}/images.zarr/seg_labeled_ch_0/0").mkdir(parents=True)
    refuse()


def test_a_model_of_one_size_that_is_no_multiple_finds_what_one_of_any_size_finds(tmp_path):
    frame = np.random.default_rng(0).integers(0, 5000, (75, 101)).astype(np.uint16)
    found = []
    for name, shape in (("any", (1, 1, "h", "w")), ("own", (1, 1, 30, 44))):
        node = helper.make_node("Sigmoid", ["x"], ["out"])
        (tmp_path / f"{name}.onnx").write_bytes(
            model_bytes([node], {"out": 1}, shape=shape, metadata_props={"input_range": "-4 4"})
        )
        found.append(segmenter(str(tmp_path / f"{name}.onnx"), settings_with())(frame)[0])
    assert found[0].max() > 5
    np.testing.assert_array_equal(*found)


def test_a_few_bright_specks_do_not_take_the_range_of_the_cells():
    """Where they lie the picture is as bright as allowed; elsewhere it is as without them, up to its contrast."""
    rng = np.random.default_rng(0)
    frame = rng.normal(2000, 100, (200, 300)).astype(np.uint16)
    specked = frame.copy()
    specked[::20, ::20] = 65535  # 1 pixel in 400
    plain, limited = onnx_model.Contract(), onnx_model.Contract(furthest=6.0)
    clean = specked < 65535
    assert onnx_model.stretched(specked, plain)[clean].std() < 0.01
    assert onnx_model.stretched(specked, limited)[clean].std() > 0.05
    assert (onnx_model.stretched(specked, limited)[~clean] == 1).all()
    # Without specks nothing lies so far from the median: both are the same.
    np.testing.assert_array_equal(onnx_model.stretched(frame, limited), onnx_model.stretched(frame, plain))


@pytest.mark.parametrize(
    ("scale", "widths"), [(0.5, [71, 100, 141]), (0.7071, [100, 141, 200]), (1.0, [200]), (1.4142, [200, 283])]
)
def test_outputs_of_several_scales_are_averaged_in_pixels_of_the_scale_asked_for(scale, widths):
    """None is larger than the frame, but for the one asked for; of edges the largest probability counts."""
    seen = []

    def run(picture):
        """Something else at each scale; a distance that is the same share of the picture at all of them."""
        seen.append(picture.shape[1])
        return {
            "mask": np.full(picture.shape, picture.shape[1] / 1000, np.float32),
            "edges": np.full(picture.shape, abs(picture.shape[1] - 120) / 1000, np.float32),
            "distance": np.full(picture.shape, picture.shape[1] / 10, np.float32),
        }

    contract = onnx_model.Contract(multiple=1, margin=8, scales=3)
    maps = learned.maps_of_scales(
        onnx_model.Model(contract, (None, None), run), np.zeros((100, 200), np.float32), scale
    )
    assert sorted(set(seen)) == widths
    assert {values.shape for values in maps.values()} == {(round(100 * scale), round(200 * scale))}
    np.testing.assert_allclose(maps["mask"], np.mean(widths) / 1000, rtol=1e-5)
    np.testing.assert_allclose(maps["edges"], max(abs(width - 120) for width in widths) / 1000, rtol=1e-5)
    np.testing.assert_allclose(maps["distance"], 20 * scale, rtol=0.01)


def test_cells_are_found_at_several_scales_whose_tiles_differ(tmp_path, monkeypatch):
    truth = disks((150, 130), (30, 40, 18), (75, 100, 15), (120, 30, 20))
    data = model_bytes(ONE, {"out": 1}, metadata_props={"scales": "3", "margin": "8"}, initializers=NUMBERS)
    (tmp_path / "mine.onnx").write_bytes(data)
    segment = segmenter(str(tmp_path / "mine.onnx"), settings_with(segmentation_scale=0.7071))
    whole, _ = segment(np.where(truth > 0, 9000, 2000).astype(np.uint16))
    assert whole.max() == 3
    assert min(overlap(whole, truth)) > 0.95
    monkeypatch.setattr(onnx_model, "TILE", 64)
    np.testing.assert_array_equal(segment(np.where(truth > 0, 9000, 2000).astype(np.uint16))[0], whole)
