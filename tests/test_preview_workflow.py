"""Previews as a whole: rules, pictures, tables, the end of the run, real files."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Checkout, real_file, small_config
from preview_tools import config, plain_comparison

import preview_compare
import preview_segment
from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.planning import tried_segmentation
from celltraces.planning.datasets import plan_datasets
from celltraces.preview.picture import BOTTOM, FATES, GAP, LEFT, TILE, TOP
from celltraces.preview.sets import PARAMETERS, parameter_sets
from celltraces.segmentation import logstd
from celltraces.storage import cells


@pytest.fixture(scope="module")
def previewed(movies, tmp_path_factory):
    """A preview of both files, and nothing else done; no cell of theirs would be in enough frames for a run."""
    checkout = Checkout(tmp_path_factory.mktemp("run"))
    vary = {"segmentation_method": ["cellpose"], "morph_iterations": [1], "morph_size": [5]}
    checkout.config = small_config(movies, preview={"n_frames": 2, "vary": vary})
    checkout.config["params"] |= {"min_object_size": 30, "min_frames": 99}
    checkout.config["datasets"]["czi"] = str(movies / "small.czi")
    checkout.outcome = checkout.run(checkout.config, "preview")
    assert checkout.outcome.code == 0, checkout.outcome.text
    return checkout


@pytest.mark.workflow
def test_nothing_but_the_preview_is_written(previewed):
    results = previewed.folder / "results"
    assert previewed.outcome.jobs == {"preview_segment": 8, "preview_compare": 2}
    for name in ("small", "czi"):
        assert {path.name for path in (results / name).iterdir()} == {"preview", ".movie.json"}
        assert {path.name for path in (results / name / "preview").iterdir()} == {
            "preview.png",
            "preview.csv",
            "preview_frames.csv",
            "preview_pairs.csv",
            "segmentations",
        }


@pytest.mark.workflow
@pytest.mark.parametrize("name", ["small", "czi"])
def test_numbers_are_those_of_plain_segmentation(previewed, experiment, name):
    with open(previewed.folder / f"results/{name}/preview/preview_frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fov"], row["frame"], row["present"]) for row in rows] == [
        (str(fov), str(frame), str(at == 0)) for fov in (0, 1) for frame in (0, 7) for at in range(3)
    ]
    for at, row in enumerate(rows):
        image = experiment.plane(int(row["fov"]), int(row["frame"]), 0)
        tried, present = ({key: int(rows[k][key]) for key in PARAMETERS} for k in (at, at - at % 3))
        assert row["segmentation_method"] == "logstd"
        labels, reference = (logstd.segment_frame(image, **values) for values in (tried, present))
        areas = np.bincount(labels.ravel())[1:]
        expected = plain_comparison(reference, labels)
        n_old, n_new = int(reference.max()), len(areas)
        numbers = {
            "cells": n_new,
            "median_area": np.median(areas),
            "largest_area": areas.max(),
            "cells_change_percent": 100 * (n_new - n_old) / n_old,
            "same_percent": 100 * len(expected["same"]) / n_old,
            "merged_percent": 100 * len(expected["merged"]) / n_new,
            "split_percent": 100 * len(expected["split"]) / n_old,
            "new_percent": 100 * len(expected["new"]) / n_new,
            "lost_percent": 100 * len(expected["lost"]) / n_old,
            "empty_frames_percent": 0,
        }
        assert {key: float(row[key]) for key in numbers} == pytest.approx(numbers, abs=0.005)


@pytest.mark.workflow
def test_totals_are_those_of_the_frames(previewed):
    def read(name):
        with open(previewed.folder / "results/small/preview" / name, newline="") as file:
            return list(csv.DictReader(file))

    frames = read("preview_frames.csv")
    rows = read("preview.csv")
    assert [row["tried"] for row in rows] == ["True", "False", "True", "True"]
    for at, row in enumerate(row for row in rows if row["tried"] == "True"):
        mine = frames[at::3]
        assert int(row["frames"]) == len(mine) == 4
        assert int(row["cells"]) == sum(int(one["cells"]) for one in mine)
        assert float(row["largest_area"]) == max(float(one["largest_area"]) for one in mine)
        assert [row[key] for key in PARAMETERS] == [mine[0][key] for key in PARAMETERS]


@pytest.mark.workflow
def test_the_picture_has_a_row_for_each_frame_and_a_column_for_each_set(previewed):
    picture = cv2.imread(str(previewed.folder / "results/small/preview/preview.png"))
    tile, step = TILE, TILE + GAP
    tiles = picture[TOP:, LEFT:]
    for row in range(5):
        for column in range(6):
            inside = tiles[row * step : row * step + 200, column * step : column * step + tile]
            white = (inside == 255).all(axis=-1).mean()
            assert (white < 0.1) == (row < 4 and column < 5), (row, column)
    for colour, _ in FATES.values():  # the legend shows them all
        assert (picture[-BOTTOM:] == colour[::-1]).all(axis=-1).sum() > 100


@pytest.mark.workflow
def test_the_end_of_the_run_says_what_methods_cost_and_which_cannot_be_had(previewed):
    lines = previewed.outcome.text.splitlines()
    command = "cellpose is not installed; run `.venv/bin/pip install cellpose`"
    for name in ("small", "czi"):
        assert lines.count(f"{name}: preview without cellpose: params.segmentation_method: {command}") == 1
        (cost,) = [line for line in lines if line.startswith(f"{name}: logstd: ")]
        found = re.fullmatch(
            r".*: [\d.]+ s of CPU time per megapixel; the dataset, ([\d.,]+) megapixels: [\d.]+ min .*", cost
        )
        assert float(found[1]) == pytest.approx(2 * 8 * 160 * 192 / 1e6, rel=0.05)


@pytest.mark.workflow
def test_pairs_have_cells_in_common(previewed):
    folder = previewed.folder / "results/small/preview"
    with open(folder / "preview_pairs.csv", newline="") as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 3
    for pair in pairs:
        common, cells = (int(pair["common_cells"]), int(pair["first_cells"]) + int(pair["second_cells"]))
        assert 0 < common <= cells / 2
        assert float(pair["agreement_percent"]) == pytest.approx(200 * common / cells, abs=0.005)


@pytest.mark.workflow
def test_the_same_preview_is_the_same_bytes(previewed):
    folder = previewed.folder / "results/small/preview"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in before:
        path.unlink()
    assert previewed.run(previewed.config, "preview", cores=1).code == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.workflow
def test_another_value_tries_only_itself(previewed):
    wanted = previewed.config["preview"]
    more = {**wanted, "vary": {**wanted["vary"], "morph_size": [5, 9]}}
    params = {**previewed.config["params"], "max_gap": 1, "tile_size": 50}  # which segmentation does not use
    outcome = previewed.run({**previewed.config, "preview": more, "params": params}, "-n", "preview")
    assert outcome.jobs == {"preview_segment": 2, "preview_compare": 2}


@pytest.mark.workflow
def test_a_run_knows_nothing_of_the_preview(previewed):
    outcome = previewed.run(previewed.config, "-n")
    assert "params.min_frames: 99 is more than the 8 frames" in outcome.text
    outcome = previewed.run({**previewed.config, "params": {**previewed.config["params"], "min_frames": 3}}, "-n")
    assert outcome.jobs["segment"] == 4
    assert not any("preview" in rule for rule in outcome.jobs)


def test_a_frame_that_turns_out_to_be_missing_is_left_out(tmp_path, monkeypatch, experiment, caplog):
    """NIS-Elements stores planes that it skipped as zeros, which is seen only when they are read."""
    from contextlib import contextmanager

    @contextmanager
    def opened(path, _):
        def read(fov, frame, channels, z):
            return [None if frame == 3 else experiment.plane(fov, frame, 0)]

        read.uncovered = lambda fov, frame, channel, z: ()
        yield read

    for module in (preview_segment, preview_compare):
        monkeypatch.setattr(module, "open_movie", opened)
    common = {"frames": [(0, 3), (0, 5)], "channel": 0, "planes": [None]}
    sets = parameter_sets(config(vary={}))
    preview_segment.main("x.nd2", str(tmp_path / "0.zip"), **common, **sets[0])
    outputs = [str(tmp_path / name) for name in ("p.png", "s.csv", "f.csv", "c.csv")]
    arguments = {"name": "a", "sets": sets, "times_min": [30.0, 50.0], "border_margin": 0}
    preview_compare.main("x.nd2", [str(tmp_path / "0.zip")], *outputs, **common, **arguments)
    assert "not in the file: FOV 0 frame 3" in caplog.text
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 2
    with cells.open_store(tmp_path / "0.zip") as get, pytest.raises(UserError):
        cells.get_array(get, "0/3")
    common["frames"] = [(0, 3)]
    preview_segment.main("x.nd2", str(tmp_path / "0.zip"), **common, **sets[0])
    with pytest.raises(UserError, match="none of the frames is in the file; name others with preview.fovs"):
        preview_compare.main("x.nd2", [str(tmp_path / "0.zip")], *outputs, **common, **{**arguments, "times_min": [1]})


def test_a_method_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, experiment, caplog):
    """Also where it is the one that the config names: the first that works is then the one compared with."""
    from contextlib import contextmanager

    @contextmanager
    def opened(path, _):
        def read(fov, frame, channels, z):
            return [experiment.plane(fov, frame, 0)]

        read.uncovered = lambda fov, frame, channel, z: ()
        yield read

    for module in (preview_segment, preview_compare):
        monkeypatch.setattr(module, "open_movie", opened)
    methods = [f"{tmp_path}/mine.py:fails", f"{tmp_path}/none.onnx", f"{tmp_path}/none.py:find", "logstd", "pyama"]
    (tmp_path / "mine.py").write_text("def fails(image):\n    return image[:3]\n")
    common = {"frames": [(0, 3)], "channel": 0, "planes": [None]}
    of_networks = {"segmentation_scale": None, "segmentation_debris": 0.12}
    written = config(params={"min_object_size": 30}, vary={"segmentation_method": methods})
    sets = [{**parameter_sets(written)[0], "segmentation_method": method} for method in methods]
    stores = [str(tmp_path / f"{at}.zip") for at in range(len(sets))]
    for store, tried in zip(stores, sets, strict=True):
        preview_segment.main("x.nd2", store, **common, **tried, **of_networks)
    outputs = [str(tmp_path / name) for name in ("p.png", "s.csv", "f.csv", "c.csv")]
    arguments = {"name": "a", "sets": sets, "times_min": [30.0], "border_margin": 0}
    preview_compare.main("x.nd2", stores, *outputs, **common, **arguments)
    said = caplog.text.splitlines()
    for method in methods[:3]:
        lines = [line for line in said if f"{method} is left out: " in line]
        assert len(lines) == 1, caplog.text
    with open(outputs[1], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["tried"] for row in rows] == ["False"] * 3 + ["True"] * 2
    assert rows[3]["same_percent"] == "100"
    with pytest.raises(UserError, match=r"none of the methods could be tried: segmentation_method: .*mine\.py:fails"):
        preview_compare.main("x.nd2", stores[:3], *outputs, **common, **{**arguments, "sets": sets[:3]})


def test_a_method_is_tried_again_when_its_package_or_file_has_come(tmp_path, monkeypatch):
    model = tmp_path / "mine.onnx"
    before = tried_segmentation.needs_of_method(str(model))
    model.write_bytes(b"1")
    first = tried_segmentation.needs_of_method(str(model))
    model.write_bytes(b"2")
    assert len({str(before), str(first), str(tried_segmentation.needs_of_method(str(model)))}) == 3
    absent = tried_segmentation.needs_of_method("cellpose")
    monkeypatch.setattr(tried_segmentation.metadata, "version", lambda name: "3.1")
    assert absent != tried_segmentation.needs_of_method("cellpose")
    assert tried_segmentation.needs_of_method("logstd") == {}


@pytest.mark.parametrize(
    ("name", "z"), [("czi/CellDivision_T3_Z5_CH2_X240_Y170.czi", "max"), ("nd2/example-cerevisiae.nd2", None)]
)
def test_real_files(tmp_path, monkeypatch, name, z):
    path = real_file(name)
    monkeypatch.chdir(tmp_path)
    params = {"min_frames": 1, "border_margin": 0}
    wanted = {"vary": {"morph_iterations": [1]}}
    written = {"datasets": {"a": str(path)}, "channels": {"pc": {"channel": 0}}, "z": z, "params": params}
    completed = complete({**written, "preview": wanted})
    (dataset,) = plan_datasets(completed).values()
    chosen = tried_segmentation.preview_frames(completed, dataset)
    comparison = tried_segmentation.preview_comparison(completed, dataset)
    stores = []
    for at, tried in enumerate(comparison["sets"]):
        stores.append(f"{at}.zip")
        preview_segment.main(str(path), stores[-1], **chosen, **tried)
    preview_compare.main(str(path), stores, "p.png", "s.csv", "f.csv", "c.csv", **comparison)
    assert cv2.imread("p.png") is not None
    assert len(Path("f.csv").read_text().splitlines()) == 1 + 2 * len(chosen["frames"])
