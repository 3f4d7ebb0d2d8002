"""Find the ranges of the layers of DeepSea's network, as `segmentation/deepsea.py:RANGES` has them.

Usage: python benchmarks/deepsea_ranges.py [FOLDER ...]

Runs the network in floats, at the scale at which cells have the width that it knows and at those beside it, on a frame
of each of the sets of `make evaluate` and of FOLDERs of pictures NN_phase.tif with NN_cells.png (RANGES: T98G cells).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from evaluation.movies import annotated, to_segment

from celltraces.labels.regions import typical_diameter
from celltraces.segmentation import deepsea
from celltraces.segmentation.learned import STEP
from celltraces.segmentation.onnx_model import load_model, resized, stretched
from celltraces.storage.torch_file import read_weights

SIDE = 256  # px, of the corner of each picture that is looked at
SHARE = 0.6  # of the range: what lies beyond is so rare that finer steps are worth more
SURE = 8.0  # logits beyond it, of probabilities below 0.0003 and above 0.9997, count as equal


def main(folders: list[str]) -> None:
    import onnx

    model = deepsea.build_model(read_weights(deepsea.weights_file()))
    contract = load_model(model.SerializeToString(), "deepsea", 1).contract
    import onnxruntime  # after load_model, which forbids it to tell others what it runs

    layers = [name for node in model.graph.node if node.op_type in ("Conv", "Relu") for name in node.output]
    for name in layers:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict.fromkeys(layers, (0.0, 0.0))
    drawn = (draw() for draw in to_segment().values())
    for movie in (*drawn, *(annotated(Path(folder)) for folder in folders)):
        assert movie.images is not None
        picture = stretched(movie.images[0], contract)
        scale = (contract.diameter or 1) / typical_diameter(movie.cells[0])
        for factor in (1 / STEP, 1, STEP):
            small = resized(picture, factor * scale, contract)[:SIDE, :SIDE]
            small = small[: small.shape[0] // 4 * 4, : small.shape[1] // 4 * 4]
            for name, values in zip(layers, session.run(layers, {"image": small[None, None]}), strict=True):
                lowest, highest = found[name]
                found[name] = min(lowest, float(values.min())), max(highest, float(values.max()))
    ranges = {"image": (-1.0, 1.0)}
    for name, (lowest, highest) in found.items():
        if name.endswith("double_conv.4"):  # less than this, and the sum with conv1d is below 0 anyway
            lowest = -found[name.replace("double_conv.4", "conv1d")][1]
        if not name.endswith("double_conv.0"):  # of which only what is above 0 is kept, as `inner`
            ranges[name] = (-SURE, SURE) if name == "last" else (SHARE * lowest, SHARE * highest)
    for name, (lowest, highest) in ranges.items():
        print(f'    "{name}": ({lowest:.2g}, {highest:.2g}),')


if __name__ == "__main__":
    main(sys.argv[1:])
