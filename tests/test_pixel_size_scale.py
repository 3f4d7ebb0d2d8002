"""Networks in runs of the workflow: the pixel size as a guess of the scale of `deepsea`, and models that cannot run."""

import json

import cv2
import pytest
import tifffile
from conftest import Checkout, real_file, small_config

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime has no wheel for Macs with Intel processors")

SCALES = {"told": 0.5, "untold": 0.7071, "nd2": 0.5}


def test_the_pixel_size_of_a_file_is_the_first_guess_of_the_scale(tmp_path):
    """T98G cells shrunk to 0.7 of their size: the scale by their width is 0.71, one step beside that by pixels.

    The cells of the ND2 file are wider than the network expects by its pixels of 0.32 um, two steps: they decide.
    """
    frame = tifffile.imread(real_file("t98g/01_phase.tif"))[250:850, 250:850]
    frame = cv2.resize(frame, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    checkout = Checkout(tmp_path)
    size = {"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tmp_path / "told.ome.tif", frame, metadata={"axes": "YX", **size})
    tifffile.imwrite(tmp_path / "untold.tif", frame)
    datasets = {"told": "told.ome.tif", "untold": "untold.tif", "nd2": str(real_file("nd2/example-multichannel.nd2"))}
    config = {
        "datasets": datasets,
        "output_dir": "results",
        "channels": {"pc": {"channel": 0, "features": ["area"]}},
        "params": {"segmentation_method": "deepsea", "min_frames": 1, "border_margin": 0},
    }
    outcome = checkout.run(config, "--until", "find_scale")
    assert outcome.code == 0, outcome.text
    scales, logs = {}, {}
    for name in datasets:
        scales[name] = json.loads((tmp_path / f"results/{name}/segmentation_scale.json").read_text())
        logs[name] = (tmp_path / f"results/logs/{name}/find_scale.log").read_text()
    assert scales == {name: {"segmentation_scale": scale} for name, scale in SCALES.items()}
    assert "scale 0.7071 by the size of the cells, 0.5 by that of pixels" in logs["told"]
    assert "by that of pixels" not in logs["untold"]
    assert "scale 0.5 by the size of the cells, 0.25 by that of pixels" in logs["nd2"]
    assert '"pixel_size_um": 0.32' in logs["nd2"]


def test_a_model_that_breaks_its_contract_is_refused_before_any_job(movies, tmp_path):
    """Also by `-n`, and not by what needs no cells to be found."""
    checkout = Checkout(tmp_path)
    (tmp_path / "mine.onnx").write_bytes(b"no model")
    config = small_config(movies, params={"segmentation_method": "mine.onnx"})
    for arguments in ((), ("-n",)):
        outcome = checkout.run(config, *arguments)
        assert outcome.code == 1
        assert outcome.text.rstrip().endswith(
            "params.segmentation_method: 'mine.onnx' is not an ONNX model (DecodeError)"
        )
        assert not (tmp_path / "results/small").exists()
    assert checkout.run(config, "set_aside", "-n").code == 0
