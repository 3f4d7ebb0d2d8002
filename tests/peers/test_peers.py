"""What other programs read in our files. `make test-peers` builds their environments; without them this skips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))
from formats_tools import Stack, images_for, read_groups, stack_of
from test_formats_pyme import fov_of, spotted
from test_recipe import chain, scene

from celltraces.exports import anndata, ctc, fov, geff, playnano, trackmate
from celltraces.labels.lineage import Division
from celltraces.pyme import images, metadata, psf, pzf, shift_field, tables
from celltraces.pyme.recipe import read_recipe
from celltraces.readers.movie_file import inspect_movie, open_movie
from celltraces.storage.hdf5 import new_file

PEERS = Path(os.environ.get("CELLTRACES_PEERS", Path(__file__).parents[2] / ".venv" / "peers"))
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
    geff.write_graph(tmp_path / "f.geff", found, DIVISIONS, {(1, 0), (4, 3)}, pixel_size_um=0.65, times_min=TIMES)
    seen = peer("tracks", "geff", tmp_path / "f.geff")
    assert {tuple(node) for node in seen["in_tables"]} == {(1, 0), (4, 3)}
    assert {tuple(node) for node in seen["nodes"]} == {(s.cell, s.frame, s.y, s.x, s.area) for s in found}
    assert edges(seen["edges"]) == LINKS
    assert seen["axes"] == [["t", "frame", 10.0, "minute"], *([axis, "pixel", 0.65, "micrometer"] for axis in "yx")]


def test_trackmate(movie, tmp_path):
    found = list(fov.spots(movie))
    text = trackmate.document("f", found, DIVISIONS, SHAPE, {(1, 0), (4, 3)}, pixel_size_um=0.65, times_min=TIMES)
    (tmp_path / "f.xml").write_text(text, encoding="utf-8")
    seen = peer("tracks", "trackmate", tmp_path / "f.xml")
    assert {tuple(node) for node in seen["in_tables"]} == {(1, 0), (4, 3)}
    assert {tuple(node) for node in seen["nodes"]} == {(s.cell, s.frame) for s in found}
    assert edges(seen["edges"]) == LINKS


def test_ctc(movie, tmp_path):
    ctc.write_folder(tmp_path / "ctc", images_for(SHAPE)["pc_ch_0"], movie, DIVISIONS, {(1, 0)})
    seen = peer("tracks", "ctc", tmp_path / "ctc")
    assert seen["valid"] == 1
    assert seen["lineages"] == [[4, 3], [7, 6]]


@pytest.fixture
def late():
    """Daughters who come at different times: 1 is missed before she divides into 4 and, later, 5; 7 is seen in the last
    frame alone; 9, missed in frame 2, goes on as 10, her only daughter."""
    masks = {}
    for cell, (y, x, frames) in {
        **{1: (2, 2, [0, 1, 2]), 4: (3, 5, [4, 5]), 5: (20, 8, [5, 6, 7]), 6: (2, 20, [6, 7]), 7: (12, 30, [7])},
        **{9: (30, 30, [0, 1, 3, 4, 5]), 10: (30, 31, [6, 7])},
    }.items():
        masks[cell] = np.zeros((8, 40, 50), bool)
        masks[cell][frames, y : y + 8, x : x + 9] = True
    return stack_of((8, 40, 50), masks)


LATE_DIVISIONS = [Division(1, (4, 5), 4), Division(4, (6, 7), 6), Division(9, (10,), 6)]
LATE_LINKS = {((1, 0), (1, 1)), ((1, 1), (1, 2)), ((1, 2), (4, 4)), ((1, 2), (5, 5)), ((4, 4), (4, 5))}
LATE_LINKS |= {((5, 5), (5, 6)), ((5, 6), (5, 7)), ((4, 5), (6, 6)), ((4, 5), (7, 7)), ((6, 6), (6, 7))}
LATE_LINKS |= {((9, 0), (9, 1)), ((9, 1), (9, 3)), ((9, 3), (9, 4)), ((9, 4), (9, 5)), ((9, 5), (10, 6))}
LATE_LINKS |= {((10, 6), (10, 7))}


def test_daughters_who_come_late(late, tmp_path):
    found, times = list(fov.spots(late)), [10.0 * frame for frame in range(8)]
    geff.write_graph(tmp_path / "f.geff", found, LATE_DIVISIONS, (), pixel_size_um=0.65, times_min=times)
    text = trackmate.document("f", found, LATE_DIVISIONS, late.shape, (), pixel_size_um=0.65, times_min=times)
    (tmp_path / "f.xml").write_text(text, encoding="utf-8")
    ctc.write_folder(tmp_path / "ctc", images_for(late.shape)["pc_ch_0"], late, LATE_DIVISIONS)
    assert edges(peer("tracks", "geff", tmp_path / "f.geff")["edges"]) == LATE_LINKS
    assert edges(peer("tracks", "trackmate", tmp_path / "f.xml")["edges"]) == LATE_LINKS
    # Families of 1 and of 9, a link for every cell in a frame but the first.
    assert peer("tracks", "ctc", tmp_path / "ctc") == {"valid": 1, "lineages": [[7, 6], [11, 10]]}


def test_anndata(tmp_path):
    table = pd.DataFrame({"fov": 0, "cell": [1, 1, 2], "frame": [0, 1, 1], "good": True, "position_x": 1.5})
    table["area_ch_0"], table["intensity_total_ch_1"] = [1.0, 2.5, 3.0], [np.nan, 7.0, 8.0]
    anndata.write_anndata(tmp_path / "f.h5ad", table, TIMES)
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


# PYME: all that is written for it, and what it writes itself.


@pytest.mark.parametrize("suffix", ["h5", "tif"])
def test_pyme_images(tmp_path, suffix):
    content = fov_of((3, 8, 11))
    others = [] if suffix == "h5" else [tmp_path / f"f.{ending}" for ending in ("json", "md", "xml")]
    images.export(content, [tmp_path / f"f.{suffix}", *others])
    seen = peer("pyme", "pyme_images", tmp_path / f"f.{suffix}")
    assert seen["names"] == ["pc_ch_0 (Phase)", "fl_ch_1 (GFP?)"]
    assert seen["voxelsize_nm"] == [pytest.approx(650)] * 2
    stacks = [channel.array for channel in content.channels.values()]
    expected = np.stack(stacks, axis=1)
    # PYME has X first in spools; in a TIFF it takes the rows for X.
    np.testing.assert_array_equal(seen["pixels"], expected.transpose(0, 1, 3, 2) if suffix == "h5" else expected)
    if suffix == "h5":
        assert seen["dtype"] == "uint16"
        assert seen["times"][::2] == pytest.approx([60 * time for time in content.settings["times_min"]])


METADATA = {
    **{"voxelsize.x": 0.65, "voxelsize.y": 1.0, "Camera.ROIWidth": 5, "Camera.On": True, "Camera.Off": False},
    **{"ChannelNames": ["a b", "µm<&\"'"], "Empty": "", "Word": "grün", "N": -3, "Small": 1e-300},
}


@pytest.mark.parametrize("suffix", ["json", "md", "xml", "h5"])
def test_pyme_metadata(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    if suffix == "h5":
        with new_file(path) as file:
            metadata.write_groups(file, METADATA)
    else:
        path.write_text(getattr(metadata, f"to_{suffix}")(METADATA), encoding="utf-8")
    seen = peer("pyme", "pyme_metadata", path)
    assert seen == {name: [type(value).__name__, value] for name, value in METADATA.items()}


def test_pyme_traces_and_spots(tmp_path):
    content, truth = spotted(tmp_path)
    tables.export(content, [tmp_path / "f.hdf"])
    seen = peer("pyme", "pyme_traces", tmp_path / "f.hdf")
    traces = pd.read_csv(content.traces)
    for name in traces.columns:
        assert seen[name] == traces[name].astype(float).tolist()
    assert seen["x"] == pytest.approx((200 * (traces["position_x"] - 0.5)).tolist())
    tables.export(content, [tmp_path / "f.h5r"])
    seen = peer("pyme", "pyme_spots", tmp_path / "f.h5r")
    places = sorted(zip(seen["t"], seen["x"], seen["y"], strict=True))
    for found, (frame, _, y, x, _) in zip(places, sorted(truth, key=lambda spot: (spot[0], spot[3])), strict=True):
        assert found == (frame, pytest.approx(200 * x, abs=20), pytest.approx(200 * y, abs=20))
    assert seen["sig"] == pytest.approx([280] * len(truth))


def test_pyme_pzf(tmp_path):
    content = fov_of((2, 8, 11))
    images.export(content, [tmp_path / "pzf"])
    seen = peer("pyme", "pyme_pzf", tmp_path / "pzf/f")
    stacks = [channel.array for channel in content.channels.values()]
    expected = [stack[t].T.tolist() for t in range(2) for stack in stacks]
    assert seen == [["uint16", pixels, number] for number, pixels in enumerate(expected)]


@pytest.mark.parametrize("name", ["spool.h5", "old.h5"])
def test_files_of_pyme_itself(tmp_path, name):
    told = peer("pyme", "pyme_write", tmp_path)
    frames = np.array(told["frames"])
    movie = inspect_movie(tmp_path / name)
    assert (movie.n_frames, movie.channels, movie.pixel_size_um) == (3, ["a", "b"], 0.107)
    assert (movie.fovs[0]["height"], movie.fovs[0]["width"]) == (9, 12)
    assert movie.fovs[0]["times_min"] == pytest.approx([0, 1 / 60, 1], abs=1e-6)
    with open_movie(tmp_path / name) as read:
        for t in range(3):
            np.testing.assert_array_equal(read(0, t, [0, 1], None), frames[2 * t : 2 * t + 2].transpose(0, 2, 1))
    with h5py.File(tmp_path / name) as file:
        known = read_groups(file)
    assert (known["Empty"], known["On"], known["Word"]) == ("", True, "grün")
    for name, expected in (("raw", frames[0]), ("huffman", frames[0]), ("rounded", told["rounded"])):
        frame = pzf.decode((tmp_path / f"{name}.pzf").read_bytes())
        np.testing.assert_array_equal(frame.pixels[:, :, 0], expected)
        assert (frame.number, frame.lossy) == (5, name == "rounded")


def test_pyme_shift_fields(tmp_path):
    numbers = [dict(zip(shift_field.POWERS["lin3Model"], np.arange(10) * n + 1.0, strict=True)) for n in (3, -7)]
    shift = {"model": "lin3Model", "x": numbers[0], "y": numbers[1]}
    (tmp_path / "a.sf").write_text(shift_field.to_json({1: shift}))
    seen = peer("pyme", "pyme_shifts", tmp_path / "a.sf")
    places = np.array(seen["places"])
    np.testing.assert_allclose(shift_field.shift_at(shift, *places), seen["seen"])
    pickled = shift_field.of_channel(shift_field.read_fields(tmp_path / "a.sf.pickled", allow_pickle=True), 1, "")
    np.testing.assert_allclose(shift_field.shift_at(pickled, *places), seen["own"])


RECIPES = {
    "smooth": [("filters.GaussianFilter", {"sigmaX": 2.5, "sigmaY": 0.7}), ("filters.MedianFilter", {"sizeX": 5})],
    "cells": [
        ("filters.GaussianFilter", {"sigmaX": 1.0}),
        ("processing.FractionalThreshold", {"fractionThreshold": 0.35}),
        ("processing.BinaryDilation", {"radius": 2, "iterations": 2}),
        ("processing.BinaryFillHoles", {"radius": 1}),
        ("processing.BinaryErosion", {"radius": 3}),
        ("processing.Label", {"minRegionPixels": 12}),
    ],
    "threshold": [("SimpleThreshold", {"threshold": 130.5}), ("Label", {"minRegionPixels": 1})],
}


@pytest.mark.parametrize("name", RECIPES)
def test_pyme_recipes(tmp_path, name):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(chain(*RECIPES[name])))
    image = scene()
    np.save(tmp_path / "input.npy", image)
    expected = np.array(peer("pyme", "pyme_recipe", tmp_path))
    found = read_recipe(tmp_path / "recipe.yaml").run(image)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(found, expected)
    spread = psf.read_spread(tmp_path / "own.psf")
    assert (spread.sigma_px, spread.pixel_size_um) == (pytest.approx(2.0, abs=0.001), 0.07)


def test_cellpose_itself_finds_cells_with_weights_from_a_file(tmp_path):
    """Nine textured cells with halos, two of which touch; what is no model is one line that says what to do."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:200, :200]
    image, truth = np.ones((200, 200)), np.zeros((200, 200), int)
    grain = ndimage.gaussian_filter(rng.standard_normal((200, 200)), 1.2)
    for number in range(9):
        cy, cx = 35 + 65 * (number // 3), 35 + 65 * (number % 3) + (36 if number == 3 else 0)
        beyond = np.hypot(y - cy, x - cx) - 14
        image += 0.2 * (0.5 * grain / grain.std() - 1) / (1 + np.exp(np.clip(beyond / 0.7, -50, 50)))
        image += 0.1 * np.exp(-0.5 * ((beyond - 2) / 1.5) ** 2)
        truth[beyond < 0] = number + 1
    np.save(tmp_path / "image.npy", np.rint(8000 * image).astype(np.uint16))
    seen = peer("cellpose", "cellpose", tmp_path)
    labels = np.load(tmp_path / "labels.npy")
    assert (labels.shape, seen["dtype"], labels.max()) == (truth.shape, "int64", 9)
    for number in range(1, 10):
        here = truth == number
        found = labels == np.bincount(labels[here]).argmax()
        assert (here & found).sum() > 0.7 * (here | found).sum()
    assert (seen["threads"], seen["again"], seen["even"]) == (1, True, [[40, 50], 0])
    assert len(seen["refused"]) == 4
    assert {kind for kind, _ in seen["refused"].values()} == {"UserError"}
    for given, (_, line) in seen["refused"].items():
        assert line.startswith(f"params.cellpose_model: {given!r}")
        assert "\n" not in line


def test_btrack_itself_tracks_cells_that_wander_are_missed_and_come_late(tmp_path):
    """Three cells in straight lines, one missed in frames 4 and 5, one from frame 3 on; labels change every frame."""
    rng = np.random.default_rng(0)
    labels = np.zeros((12, 150, 150), np.uint16)
    truth = []
    for frame, image in enumerate(labels):
        places = {"a": (20 + 3 * frame, 20), "b": (80, 120 - 4 * frame), "late": (120, 30 + 2 * frame)}
        if frame in (4, 5):
            del places["a"]
        if frame < 3:
            del places["late"]
        numbers = rng.permutation(np.arange(1, 9))[: len(places)].tolist()
        for number, (y, x) in zip(numbers, places.values(), strict=True):
            image[y - 8 : y + 8, x - 8 : x + 8] = number
        truth.append(dict(zip(numbers, places, strict=True)))
    np.save(tmp_path / "labels.npy", labels)
    found = peer("btrack", "btrack", tmp_path)
    assert [{int(label) for label in frame} for frame in found] == [set(frame) for frame in truth]
    pairs = {(cell, truth[at][int(label)]) for at, frame in enumerate(found) for label, cell in frame.items()}
    assert len(pairs) == len({cell for cell, _ in pairs}) == len({name for _, name in pairs}) == 3
    assert {name: cell for cell, name in pairs}["late"] == 3
