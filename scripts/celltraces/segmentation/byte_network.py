"""Let a network keep its layers in 8-bit numbers: processors multiply these several times as fast as floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

# Weights are -63 to 63, not -127 to 127: older processors add two products of a layer's number (up to 255) and a weight
# in 16 bits, which hold up to 32,767. So all processors get the same sums.
MOST = 63
KEEP_RANGE = ("MaxPool", "Resize", "Concat")  # what they give lies in the range of what they are given


def in_bytes(model: ModelProto, ranges: Mapping[str, tuple[float, float]]) -> ModelProto:
    """The model with layers in 8-bit numbers, evenly spread over their `ranges` (lowest, highest value; 0 between).

    ranges: of the input of each Conv, of what it gives or the Relu after it, by the names of the graph; those of
    KEEP_RANGE follow from their inputs. Values beyond become the nearest in the range. Weights, which have to be
    initializers, get a step of their own for each channel that a Conv gives.
    """
    import onnx
    from onnx import helper, numpy_helper

    known = dict(ranges)
    numbers = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    kept: dict[str, np.ndarray] = {}

    def add(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def rounded(name: str) -> str:
        """The name under which a layer is there after rounding."""
        if name not in known:
            return name
        kept[f"{name}/step"], kept[f"{name}/zero"] = steps_of(*known[name])
        about = [f"{name}/step", f"{name}/zero"]
        return add("DequantizeLinear", [add("QuantizeLinear", [name, *about], f"{name}/bytes"), *about], f"{name}/kept")

    def integers(name: str, step: np.ndarray, dtype: type[np.integer]) -> str:
        """The name of weights (out, ...) that are kept as whole numbers of steps, (out,) float32."""
        values = numbers[name].astype(np.float64)
        kept[f"{name}/integers"] = np.rint(values / step.reshape(-1, *[1] * (values.ndim - 1))).astype(dtype)
        kept[f"{name}/step"] = step
        return add("DequantizeLinear", [f"{name}/integers", f"{name}/step"], name, axis=0)

    names = {model.graph.input[0].name: rounded(model.graph.input[0].name)}
    for node in model.graph.node:
        inputs = [names.get(name, name) for name in node.input]
        if node.op_type == "Conv":
            source, kernel, bias = node.input
            step = (np.abs(numbers[kernel]).max(axis=(1, 2, 3)) / MOST).astype(np.float32)
            integers(kernel, step, np.int8)
            integers(bias, step * steps_of(*known[source])[0], np.int32)
        else:
            kept |= {name: numbers[name] for name in node.input if name in numbers}
        if node.op_type in KEEP_RANGE:
            lowest, highest = zip(*(known[name] for name in node.input if name in known), strict=True)
            known[node.output[0]] = min(lowest), max(highest)
        new = onnx.NodeProto()
        new.CopyFrom(node)
        new.input[:] = inputs
        nodes.append(new)
        for name in node.output:
            names[name] = rounded(name)
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        list(model.graph.input),
        list(model.graph.output),
        [numpy_helper.from_array(value, name) for name, value in kept.items()],
    )
    made = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    helper.set_model_props(made, {entry.key: entry.value for entry in model.metadata_props})
    return made


def steps_of(lowest: float, highest: float) -> tuple[np.float32, np.uint8]:
    """How far neighbours of the 256 numbers lie apart, and which of them is 0."""
    step = np.float32((highest - lowest) / 255)
    return step, np.uint8(np.rint(-lowest / step))
