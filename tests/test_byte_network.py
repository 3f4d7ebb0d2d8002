"""Layers of a network in 8-bit numbers, against the same sums in NumPy's integers."""

import numpy as np
import pytest
from scipy import signal

from celltraces.segmentation.byte_network import MOST, in_bytes, steps_of

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime has no wheel for Macs with Intel processors")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
RANGES = {"x": (-1.0, 0.9), "b": (0.0, 1.0)}


def model_of(kernel, bias):
    """b = relu(conv(x)), and beside it the largest of its 2 x 2 px, enlarged again."""
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["half", "", "twice"], ["whole"], mode="nearest"),
        helper.make_node("Concat", ["b", "whole"], ["both"], axis=1),
    ]
    arrays = {"kernel": kernel, "bias": bias, "twice": np.array([1, 1, 2, 2], np.float32)}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", FLOAT, [1, 2, 8, 10])],
        [helper.make_tensor_value_info("both", FLOAT, [1, 6, 8, 10])],
        [onnx.numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"margin": "8"})
    return model


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["both"], {"x": x})[0]


@pytest.fixture
def layers():
    rng = np.random.default_rng(4)
    kernel = rng.normal(0, [[[[0.3]]], [[[0.02]]], [[[0.1]]]], (3, 2, 3, 3)).astype(np.float32)
    return kernel, rng.normal(0, 0.2, 3).astype(np.float32), rng.uniform(-1.2, 1.2, (1, 2, 8, 10)).astype(np.float32)


def rounded(values, name):
    """To the nearest of the 256 numbers of a layer."""
    lowest, highest = RANGES[name]
    step = (highest - lowest) / 255
    zero = round(-lowest / step)
    return (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step


def test_layers_are_rounded_to_256_numbers_and_weights_to_127(layers):
    kernel, bias, x = layers
    assert (x > 0.9).any()  # beyond the range: taken as its end
    made = in_bytes(model_of(kernel, bias), RANGES)
    onnx.checker.check_model(made)
    step = np.abs(kernel).max((1, 2, 3), keepdims=True) / MOST
    whole = np.rint(kernel / step) * step
    seen = rounded(x[0], "x")
    sums = [
        sum(signal.correlate2d(part, one, "same") for part, one in zip(seen, of, strict=True)) + offset
        for of, offset in zip(whole, bias, strict=True)
    ]
    expected = rounded(np.maximum(sums, 0), "b")
    assert (expected == expected.max()).sum() > 1  # cut off at the highest
    found = run(made, x)[0]
    quarter = expected.reshape(3, 4, 2, 5, 2).max((2, 4))
    for part, of in ((found[:3], expected), (found[3:], quarter.repeat(2, 1).repeat(2, 2))):
        wrong = np.abs(part - of)
        assert wrong.max() < 1.001 / 255  # where a sum lies half between two numbers, by one of them
        assert np.mean(wrong > 1e-5) < 0.02


def test_weights_leave_room_for_sums_of_16_bits(layers):
    kernel, bias, _ = layers
    made = in_bytes(model_of(kernel, bias), RANGES)
    integers = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    weights = integers["kernel/integers"]
    assert weights.dtype == np.int8
    assert np.abs(weights).max((1, 2, 3)).tolist() == [MOST] * 3  # each channel by its own largest
    assert np.iinfo(np.int16).max >= 2 * 255 * MOST
    assert {entry.key: entry.value for entry in made.metadata_props} == {"margin": "8"}


@pytest.mark.parametrize("lowest", [-5.0, -0.3, 0.0])
def test_0_is_one_of_the_numbers(lowest):
    step, zero = steps_of(lowest, 2.0)
    assert step == np.float32((2.0 - lowest) / 255)
    assert abs(float(step) * int(zero) + lowest) <= step / 2
