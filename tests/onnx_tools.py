"""Models as a lab writes them, and pictures for them."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def settings_with(**changes):
    return {
        "segmentation_scale": None,
        "segmentation_debris": 0.12,
        "min_object_size": 50,
        "max_object_size": 10000,
        **changes,
    }


def model_bytes(nodes, outputs, shape=(1, 1, "h", "w"), metadata_props=None, initializers=(), opsets=()):
    """A model of these nodes; outputs: name -> number of channels."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(name, FLOAT, [1, n, *shape[2:]]) for name, n in outputs.items()],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", 17), *opsets]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, metadata_props or {})
    return model.SerializeToString()


def number(name, value):
    return onnx.numpy_helper.from_array(np.array(value, np.float32), name)


def disks(shape, *places):
    """Labels of disks (y, x, radius) in raster order of the places given."""
    y, x = np.indices(shape)
    labels = np.zeros(shape, int)
    for number, (cy, cx, radius) in enumerate(places, 1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return labels


def overlap(found, truth):
    """Of each region of the truth, intersection over union with the region that covers most of it."""
    values = []
    for number in range(1, truth.max() + 1):
        here = truth == number
        best = np.bincount(found[here]).argmax()
        values.append((here & (found == best)).sum() / (here | (found == best)).sum() if best else 0)
    return values
