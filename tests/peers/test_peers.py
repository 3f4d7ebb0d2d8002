"""What other programs read in our files. `make test-peers` builds their environments; without them this skips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from formats_tools import Stack, images_for, stack_of

from formats import anndata, ctc, fov, geff, playnano, trackmate
from pyama.lineage import Division

PEERS = Path(os.environ.get("PYAMA_PEERS", Path(__file__).parents[2] / ".venv" / "peers"))
SHAPE, TIMES = (5, 40, 50), [0.0, 10.0, 20.0, 30.5, 40.0]
DIVISIONS = [Division(1, (4, 5), 3)]


def peer(environment, program, path):
    """What the program reads; its environment is `make test-peers`' work."""
    python = PEERS / environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        pytest.skip(f"no environment of the peer in {PEERS}; run make test-peers")
    command = [python, Path(__file__).with_name("load.py"), program, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def movie():
    """Cell 1 divides into 4 and 5; cell 9 is missed in frame 2."""
    masks = {}
    for cell, (y, x, first, end) in {1: (2, 2, 0, 3), 4: (3, 5, 3, 5), 5: (20, 8, 3, 5), 9: (30, 30, 0, 5)}.items():
        masks[cell] = np.zeros(SHAPE, bool)
        masks[cell][first:end, y : y + 8, x : x + 9] = True
    masks[9][2] = False
    return stack_of(SHAPE, masks)


def edges(links):
    return {tuple(map(tuple, link)) for link in links}


LINKS = {((1, 0), (1, 1)), ((1, 1), (1, 2)), ((1, 2), (4, 3)), ((1, 2), (5, 3)), ((4, 3), (4, 4)), ((5, 3), (5, 4))}
LINKS |= {((9, 0), (9, 1)), ((9, 1), (9, 3)), ((9, 3), (9, 4))}


def test_geff(movie, tmp_path):
    found = list(fov.spots(movie))
    geff.write_graph(tmp_path / "f.geff", found, DIVISIONS, pixel_size_um=0.65, times_min=TIMES)
    seen = peer("tracks", "geff", tmp_path / "f.geff")
    assert {tuple(node) for node in seen["nodes"]} == {(s.cell, s.frame, s.y, s.x, s.area) for s in found}
    assert edges(seen["edges"]) == LINKS
    assert seen["axes"] == [["t", "frame", 10.0, "minute"], *([axis, "pixel", 0.65, "micrometer"] for axis in "yx")]


def test_trackmate(movie, tmp_path):
    found = list(fov.spots(movie))
    text = trackmate.document("f", found, DIVISIONS, SHAPE, pixel_size_um=0.65, times_min=TIMES)
    (tmp_path / "f.xml").write_text(text, encoding="utf-8")
    seen = peer("tracks", "trackmate", tmp_path / "f.xml")
    assert {tuple(node) for node in seen["nodes"]} == {(s.cell, s.frame) for s in found}
    assert edges(seen["edges"]) == LINKS


def test_ctc(movie, tmp_path):
    ctc.write_folder(tmp_path / "ctc", images_for(SHAPE)["pc_ch_0"], movie, DIVISIONS)
    seen = peer("tracks", "ctc", tmp_path / "ctc")
    assert seen["valid"] == 1
    assert seen["lineages"] == [[4, 3], [7, 6]]


def test_anndata(tmp_path):
    table = pd.DataFrame({"fov": 0, "cell": [1, 1, 2], "frame": [0, 1, 1], "good": True, "position_x": 1.5})
    table["area_ch_0"], table["intensity_total_ch_1"] = [1.0, 2.5, 3.0], [np.nan, 7.0, 8.0]
    anndata.write_table(tmp_path / "f.h5ad", table, TIMES)
    seen = peer("tracks", "anndata", tmp_path / "f.h5ad")
    assert seen["var"] == ["area_ch_0", "intensity_total_ch_1"]
    np.testing.assert_array_equal(np.array(seen["X"], float), table[seen["var"]])
    assert seen["obs"] == {**table.drop(columns=seen["var"]).to_dict("list"), "time_min": [0.0, 10.0, 10.0]}


@pytest.mark.parametrize("suffix", ["npz", "h5", "ome.tif"])
def test_playnano(movie, tmp_path, suffix):
    movie.path = tmp_path / "seg_tracked_ch_0/0"
    earlier = {"seg_labeled_ch_0": movie, "fl_background_ch_1": Stack(np.full(SHAPE, 1.5, np.float32))}
    settings = {"channels": {"0": "Phase", "1": "GFP"}, "pixel_size_um": 0.65, "times_min": TIMES, "source": "abc"}
    settings["steps"] = {stage: {"a": 1} for stage in ("segment", "track", "background")}
    content = fov.Fov("f", images_for(SHAPE), movie, earlier, settings=settings)
    playnano.export(content, [tmp_path / f"{name}.{suffix}" for name in content.channels])
    seen = peer("playnano", "playnano", tmp_path / f"fl_ch_1.{suffix}")
    np.testing.assert_array_equal(seen["data"], content.channels["fl_ch_1"].array)
    assert (seen["pixel_size_nm"], seen["channel"]) == (pytest.approx(650), "fl_ch_1")
    assert seen["times"] == [60 * time for time in TIMES]
    assert seen["steps"] == ["segmentation", "tracking", "background"]
    if suffix != "ome.tif":  # which has no layers
        expected = {"raw": content.channels["fl_ch_1"].array, "step_1_segmentation": movie.array > 0}
        expected |= {"step_2_tracking": movie.array, "step_3_background": earlier["fl_background_ch_1"].array}
        assert seen["layers"].keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_array_equal(seen["layers"][key][1], array)
