"""Build the network of DeepSea as an ONNX graph from the weights that the package deepsea ships.

The package's own code needs PyTorch and PyQt and is not run: its weights are read as numbers and put into an ONNX
graph. Reference: Zargari et al. 2023; code and weights: MIT licence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from celltraces.errors import UserError
from celltraces.segmentation.byte_network import in_bytes
from celltraces.storage.torch_file import read_weights

if TYPE_CHECKING:
    from onnx import ModelProto

VERSION = "0.0.3"
WEIGHTS = "deepsea/trained_models/segmentation.pth"
SHA256 = "cba54334577562e013edc15ec8c46ed5cabf5e2fee49477a433127d2e655b8c8"

# How `onnx_model` is to use the graph. The network looks no further than 32 px. Smoothing, threshold and diameter are
# those at which its outlines of T98G cells are best: noise makes it miss parts of cells, and at a threshold of 0.5
# outlines lie inside of those drawn by hand. At scales beside the best one it errs elsewhere: in their mean fewer
# cells are missed, merged and torn, of T98G and of simulated large flat cells. It was trained on frames stretched from
# the lowest to the highest value: where less of the range is used, it takes the background of sparse cells for cells.
# Of T98G frames the highest value lies 3 times as far from the median as the 98 percentile, of simulated sparse cells 4
# to 15 times; where a few saturated specks put it 100 times as far, the network sees no cell any more. Large flat cells
# (U373, 0.65 um per pixel) it sees best at scale 0.5.
CONTRACT = {
    "input_range": "-1 1",
    "percentiles": "0.002 99.998",
    "furthest": "9",
    "multiple": "4",
    "margin": "32",
    "smoothing": "0.5",
    "threshold": "0.35",
    "diameter": "37",
    "pixel_size": "1.3",
    "scales": "3",
}

# Lowest and highest value of each layer that its 8-bit numbers reach (benchmarks/deepsea_ranges.py finds them).
RANGES = {
    "image": (-1.0, 1.0),
    "res1.inner": (0.0, 19.0),
    "res1.double_conv.4": (-0.17, 14.0),
    "res1.conv1d": (-0.16, 0.17),
    "res1": (0.0, 14.0),
    "res2.inner": (0.0, 18.0),
    "res2.double_conv.4": (-4.5, 15.0),
    "res2.conv1d": (-4.2, 4.5),
    "res2": (0.0, 16.0),
    "res3.inner": (0.0, 8.0),
    "res3.double_conv.4": (-4.5, 8.6),
    "res3.conv1d": (-4.1, 4.5),
    "res3": (0.0, 8.4),
    "res4.inner": (0.0, 5.8),
    "res4.double_conv.4": (-4.1, 10.0),
    "res4.conv1d": (-6.9, 4.1),
    "res4": (0.0, 11.0),
    "res5.inner": (0.0, 6.0),
    "res5.double_conv.4": (-2.6, 7.8),
    "res5.conv1d": (-6.8, 2.6),
    "res5": (0.0, 9.1),
    "last": (-8.0, 8.0),
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
    """The network as an ONNX model with its contract, its layers in 8-bit numbers. Raises UserError."""
    return in_bytes(build_model(read_weights(weights_file())), RANGES).SerializeToString()


def build_model(weights: Mapping[str, np.ndarray]) -> ModelProto:
    """An ONNX model of DeepSea's U-Net (two levels, residual blocks) with these weights.

    Input `image`, (1, 1, h, w), h and w multiples of 4; outputs `mask` and `edges`, (1, 1, h, w), probabilities.
    Normalisations are part of the convolutions before them. Upsampling places pixels by their centres. The original
    places them by the corners of the whole picture, so that what it finds would depend on where in a tile a cell lies.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers = [], [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")]

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolve(x: str, name: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        for what, values in (("weight", kernel), ("bias", bias)):
            initializers.append(numpy_helper.from_array(values.astype(np.float32), f"{name}.{what}"))
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        return node("Conv", inputs, name, pads=[kernel.shape[-1] // 2] * 4)

    def normalized(x: str, layer: str, norm: str, share: float = 1) -> str:
        """share: of what the normalisation adds."""
        kernel, bias = (weights[f"{layer}.{what}"].astype(np.float64) for what in ("weight", "bias"))
        scale, shift, mean, variance = (
            weights[f"{norm}.{what}"].astype(np.float64) for what in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + 1e-5)
        return convolve(x, layer, kernel * factor[:, None, None, None], bias * factor + share * (shift - mean * factor))

    def block(x: str, part: str) -> str:
        first = normalized(x, f"{part}.double_conv.0", f"{part}.double_conv.1")
        inner = node("Relu", [first], f"{part}.inner")
        both = [
            normalized(inner, f"{part}.double_conv.4", f"{part}.bn"),
            normalized(x, f"{part}.conv1d", f"{part}.bn", share=0),
        ]
        return node("Relu", [node("Add", both, f"{part}.sum")], part)

    def halve(x: str) -> str:
        return node("MaxPool", [x], f"{x}.half", kernel_shape=[2, 2], strides=[2, 2])

    def double_beside(x: str, finer: str) -> str:
        by_centers = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        doubled = node("Resize", [x, "", "twice"], f"{x}.twice", **by_centers)
        return node("Concat", [finer, doubled], f"{x}.both", axis=1)

    fine = block("image", "res1")
    middle = block(halve(fine), "res2")
    coarse = block(halve(middle), "res3")
    middle = block(double_beside(coarse, middle), "res4")
    fine = block(double_beside(middle, fine), "res5")
    # Of two probabilities that add up to 1, yes is what a sigmoid makes of the difference.
    differences = [
        np.concatenate([np.diff(weights[f"{part}.{what}"].astype(np.float64), axis=0) for part in ("conv3", "conv4")])
        for what in ("weight", "bias")
    ]
    sure = node("Sigmoid", [convolve(fine, "last", *differences)], "sure")
    nodes.append(helper.make_node("Split", [sure], ["mask", "edges"], axis=1, num_outputs=2))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "h", "w"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "h", "w"]) for name in ("mask", "edges")]
    graph = helper.make_graph(nodes, "deepsea", [image], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, CONTRACT)
    return model
