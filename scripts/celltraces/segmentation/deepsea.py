"""Build the network of DeepSea as an ONNX graph from the weights that the package deepsea ships.

The package's own code needs PyTorch and PyQt and is not run: its weights are read as numbers and put into an ONNX
graph. Reference: Zargari et al. 2023; code and weights: MIT licence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

from celltraces.errors import UserError
from celltraces.storage.torch_file import read_weights

VERSION = "0.0.3"
WEIGHTS = "deepsea/trained_models/segmentation.pth"
SHA256 = "cba54334577562e013edc15ec8c46ed5cabf5e2fee49477a433127d2e655b8c8"

# How `onnx_model` is to use the graph. The network looks no further than 32 px. Smoothing, threshold and diameter are
# those at which its outlines of T98G cells are best: noise makes it miss parts of cells, and at a threshold of 0.5
# outlines lie inside of those drawn by hand. At scales beside the best one it errs elsewhere: in their mean fewer
# cells are missed, merged and torn, of T98G and of simulated large flat cells. Of T98G frames the 99.9 percentile lies
# 2 to 4 times as far from the median as the 98 percentile; where a few saturated specks put it 100 times as far, the
# network sees no cell any more.
CONTRACT = {
    "input_range": "-1 1",
    "percentiles": "0.1 99.9",
    "furthest": "6",
    "multiple": "4",
    "margin": "32",
    "smoothing": "0.5",
    "threshold": "0.35",
    "diameter": "37",
    "scales": "3",
}


def weights_file() -> Path:
    """Where the package's weights lie. Raises UserError where they are absent or others than those known here."""
    remedy = f"run `.venv/bin/pip install --force-reinstall deepsea=={VERSION}`"
    try:
        path = Path(str(metadata.distribution("deepsea").locate_file(WEIGHTS)))
    except metadata.PackageNotFoundError:
        raise UserError(
            "params.segmentation_method: the package deepsea, which holds the weights, is not installed; "
            f"run `make setup`, or `.venv/bin/pip install deepsea=={VERSION}`"
        ) from None
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"params.segmentation_method: deepsea's weights {str(path)!r} cannot be read ({error.strerror}); {remedy}"
        ) from None
    if found != SHA256:
        raise UserError(
            f"params.segmentation_method: {str(path)!r} holds other weights than those of deepsea {VERSION}; {remedy}"
        )
    return path


def deepsea_model() -> bytes:
    """The network as an ONNX model with its contract. Raises UserError."""
    return build_model(read_weights(weights_file()))


def build_model(weights: Mapping[str, np.ndarray]) -> bytes:
    """An ONNX model of DeepSea's U-Net (two levels, residual blocks) with these weights.

    Input `image`, (1, 1, h, w), h and w multiples of 4; outputs `mask` and `edges`, (1, 2, h, w), the probabilities
    of no and yes. Upsampling places pixels by their centres. The original places them by the corners of the whole
    picture, so that what it finds would depend on where in a tile a cell lies.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers = [], [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")]

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constants(part: str, *names: str) -> list[str]:
        for name in names:
            array = np.ascontiguousarray(weights[f"{part}.{name}"], np.float32)
            initializers.append(numpy_helper.from_array(array, f"{part}.{name}"))
        return [f"{part}.{name}" for name in names]

    def convolve(x: str, part: str) -> str:
        pad = weights[f"{part}.weight"].shape[-1] // 2
        return node("Conv", [x, *constants(part, "weight", "bias")], f"{part}/conv", pads=[pad] * 4)

    def normalize(x: str, part: str) -> str:
        arrays = constants(part, "weight", "bias", "running_mean", "running_var")
        return node("Relu", [node("BatchNormalization", [x, *arrays], f"{part}/norm", epsilon=1e-5)], f"{part}/relu")

    def block(x: str, part: str) -> str:
        inner = normalize(convolve(x, f"{part}.double_conv.0"), f"{part}.double_conv.1")
        both = [convolve(inner, f"{part}.double_conv.4"), convolve(x, f"{part}.conv1d")]
        return normalize(node("Add", both, f"{part}/sum"), f"{part}.bn")

    def halve(x: str) -> str:
        return node("MaxPool", [x], f"{x}/half", kernel_shape=[2, 2], strides=[2, 2])

    def double_beside(x: str, finer: str) -> str:
        by_centers = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        doubled = node("Resize", [x, "", "twice"], f"{x}/twice", **by_centers)
        return node("Concat", [finer, doubled], f"{x}/both", axis=1)

    fine = block("image", "res1")
    middle = block(halve(fine), "res2")
    coarse = block(halve(middle), "res3")
    middle = block(double_beside(coarse, middle), "res4")
    fine = block(double_beside(middle, fine), "res5")
    for part, output in (("conv3", "mask"), ("conv4", "edges")):
        node("Softmax", [convolve(fine, part)], output, axis=1)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "h", "w"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, "h", "w"]) for name in ("mask", "edges")]
    graph = helper.make_graph(nodes, "deepsea", [image], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, CONTRACT)
    return model.SerializeToString()
