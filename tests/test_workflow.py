"""The whole workflow on ND2 and CZI: the tree it leaves, what agrees with what, what follows from which channels."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml
import zarr
from conftest import Checkout, real_file, small_config
from scipy import ndimage

from celltraces.storage.cells import get_array, open_store


@pytest.fixture(scope="module")
def finished(movies, tmp_path_factory):
    """Results of the small experiment, from ND2 and from CZI in one run."""
    checkout = Checkout(tmp_path_factory.mktemp("run"))
    config = small_config(movies)
    config["datasets"]["czi"] = str(movies / "small.czi")
    config["samples"] = [{"name": "first", "fovs": "0"}, {"name": "second", "fovs": [1]}]
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    checkout.outcome = outcome
    return checkout


def open_images(checkout, dataset="small", fov=0):
    return zarr.open_group(checkout.folder / f"results/{dataset}/fov_{fov:03d}/images.zarr", mode="r")


def traces(checkout, dataset="small", fov=0):
    return pd.read_csv(checkout.folder / f"results/{dataset}/fov_{fov:03d}/{dataset}_fov_{fov:03d}_traces.csv")


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_images_have_the_names_types_and_shapes_of_the_seed(finished):
    images = open_images(finished)
    expected = {"pc_ch_0": "uint16", "fl_ch_1": "uint16", "fl_ch_2": "uint16", "seg_labeled_ch_0": "uint16"}
    expected |= {"seg_tracked_ch_0": "uint16", "fl_background_ch_1": "float32", "fl_background_ch_2": "float32"}
    assert {name for name, _ in images.members()} == set(expected)
    for name, dtype in expected.items():
        full, shown = images[f"{name}/0"], images[f"{name}/1"]
        assert (full.shape, full.dtype, full.chunks) == ((8, 160, 192), np.dtype(dtype), (1, 160, 192))
        assert (shown.shape, shown.dtype, shown.chunks) == ((8, 80, 96), np.uint8, (1, 80, 96))
        (multiscale,) = images[name].attrs["ome"]["multiscales"]
        assert multiscale["datasets"][0]["path"] == "0"
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        assert scale == pytest.approx([10, 0.65, 0.65])


def test_black_and_white_of_the_display_levels_are_those_of_the_whole_stack(finished):
    for name, array in open_images(finished).members():
        values, limits = array["0"][:], array["0"].attrs["display_limits"]
        if name.startswith("seg_"):
            assert limits == [0, values.max()]
        else:
            np.testing.assert_allclose(limits, np.percentile(values, [1, 99]), atol=1)


def test_few_files_per_fov(finished):
    assert len(files_below(finished.folder / "results/small/fov_000/images.zarr")) <= 100


def test_copied_frames_are_the_simulated_ones(finished, experiment):
    for dataset in ("small", "czi"):
        for fov in range(2):
            images = open_images(finished, dataset, fov)
            for channel, name in enumerate(("pc_ch_0", "fl_ch_1", "fl_ch_2")):
                for frame in range(8):
                    expected = experiment.plane(fov, frame, channel)
                    np.testing.assert_array_equal(images[f"{name}/0"][frame], expected)


def test_nd2_and_czi_of_the_same_pixels_give_the_same_bytes(finished):
    results = finished.folder / "results"
    names = {name for name in files_below(results / "small/fov_001") if not name.endswith((".csv", ".zip"))}
    assert names == {name for name in files_below(results / "czi/fov_001") if not name.endswith((".csv", ".zip"))}
    for name in names:
        # Names of the FOV and its time stamps come from the file, and the two formats' stamps differ in digits.
        if not name.endswith("images.zarr/zarr.json") and "/zarr.json" not in name.replace("/0/", "").replace(
            "/1/", ""
        ):
            assert (results / "small/fov_001" / name).read_bytes() == (results / "czi/fov_001" / name).read_bytes(), (
                name
            )
    for fov in ("000", "001"):
        for end in ("traces.csv", "digest.zip"):
            nd2, czi = (results / f"{d}/fov_{fov}/{d}_fov_{fov}_{end}" for d in ("small", "czi"))
            assert nd2.read_bytes() == czi.read_bytes()


def test_tracked_labels_are_the_labeled_regions(finished):
    images = open_images(finished)
    labeled, tracked = images["seg_labeled_ch_0/0"][:], images["seg_tracked_ch_0/0"][:]
    np.testing.assert_array_equal(labeled > 0, tracked > 0)
    assert set(np.unique(tracked)) == set(range(tracked.max() + 1))


def test_rows_crops_masks_and_images_agree(finished):
    rows = 0
    for fov in range(2):
        images, table = open_images(finished, fov=fov), traces(finished, fov=fov)
        cells = zarr.open_group(finished.folder / f"results/small/fov_{fov:03d}/cells.zarr", mode="r")
        tracked = images["seg_tracked_ch_0/0"][:]
        raw = {c: images[f"fl_ch_{c}/0"][:].astype(float) for c in (1, 2)}
        background = {c: images[f"fl_background_ch_{c}/0"][:].astype(float) for c in (1, 2)}
        ids = cells["metadata/cell_ids"][:].tolist()
        assert table.fov.eq(fov).all()
        assert table.good.all()
        assert table.sort_values(["cell", "frame"]).index.tolist() == table.index.tolist()
        for row in table.itertuples():
            mask = tracked[row.frame] == row.cell
            y, x = np.nonzero(mask)
            box = [row.bbox_y0, row.bbox_x0, row.bbox_y1, row.bbox_x1]
            assert box == [y.min(), x.min(), y.max() + 1, x.max() + 1]
            assert cells["metadata/bboxes"][ids.index(row.cell), row.frame].tolist() == box
            assert (row.position_x, row.position_y) == ((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)
            assert row.area_ch_0 == mask.sum()
            for channel in (1, 2):
                near = ndimage.distance_transform_edt(~mask) <= 2  # light_margin
                light = (raw[channel] - background[channel])[row.frame][near].sum()
                assert getattr(row, f"intensity_total_ch_{channel}") == pytest.approx(light, rel=1e-6, abs=1e-3)
            rows += 1
    assert rows > 30


def test_columns_and_numbers_of_the_csv_are_the_seeds(finished):
    path = finished.folder / "results/small/fov_000/small_fov_000_traces.csv"
    header, first = path.read_text().splitlines()[:2]
    assert header == (
        "fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1,area_ch_0,aspect_ratio_ch_0,"
        "intensity_total_ch_1,intensity_mean_ch_1,intensity_total_ch_2,particle_num_ch_2"
    )
    values = first.split(",")
    assert values[3] == "True"
    assert all(len(value.partition(".")[2]) <= 3 for value in values[10:])
    assert all(value.isdigit() for value in [*values[:3], *values[6:10]])


def test_filters_leave_out_what_they_should(finished):
    for fov in range(2):
        cells = zarr.open_group(finished.folder / f"results/small/fov_{fov:03d}/cells.zarr", mode="r")
        kept = set(traces(finished, fov=fov).cell)
        for cell, valid, boxes in zip(
            *(cells[f"metadata/{name}"][:] for name in ("cell_ids", "valid_frames", "bboxes")), strict=True
        ):
            inside = all(min(y0, x0) >= 5 and y1 <= 155 and x1 <= 187 for y0, x0, y1, x1 in boxes[valid])
            assert (cell in kept) == (inside and valid.sum() >= 3)


def test_record_of_what_was_run(finished):
    record = yaml.safe_load((finished.folder / "results/czi/processing_config.yaml").read_text())
    assert list(record) == ["params", "channels", "fits", "provenance"]
    assert record["params"]["min_frames"] == 3
    assert record["params"]["tile_size"] == 64
    assert record["channels"]["pc"] == {"channel": 0, "features": ["area", "aspect_ratio"]}
    assert [channel["channel"] for channel in record["channels"]["fl"]] == [1, 2]
    provenance = record["provenance"]
    assert provenance["input"]["file"] == "small.czi"
    assert provenance["dims"] | {"fovs": 2, "frames": 8, "height": 160, "width": 192} == provenance["dims"]
    assert provenance["pixel_size_um"] == pytest.approx(0.65)
    assert provenance["time"]["first_fov"] == pytest.approx([10 * frame for frame in range(8)])
    assert provenance["software"]["numpy"] == np.__version__


def test_samples_are_merged_per_feature_with_times(finished):
    folder = finished.folder / "results/small"
    names = [column for column in traces(finished).columns if "_ch_" in column]
    assert sorted(path.name for path in folder.glob("*.csv")) == sorted(
        [
            "qc.csv",
            "small_traces.csv",
            "small_cells.csv",
            "small_stage_movement.csv",
            *(f"{sample}_{name}.csv" for sample in ("first", "second") for name in names),
        ]
    )
    for sample, fovs in (("first", [0]), ("second", [1])):
        for name in names:
            path = folder / f"{sample}_{name}.csv"
            assert path.read_text().splitlines()[:2] == ["# Time units: min", "time,fov,cell,value"]
            merged = pd.read_csv(path, comment="#")
            assert merged.sort_values(["time", "fov", "cell"]).index.tolist() == merged.index.tolist()
            expected = pd.concat([traces(finished, fov=fov) for fov in fovs])
            assert len(merged) == len(expected)
            both = merged.assign(frame=(merged.time / 10).round()).merge(expected, on=["fov", "cell", "frame"])
            np.testing.assert_allclose(both.value, both[name], atol=1e-6)
            assert len(both) == len(expected)


def test_terminal_and_logs_tell_what_happens(finished):
    text = finished.outcome.text
    jobs = finished.outcome.jobs
    assert {jobs[stage] for stage in ("copy", "segment", "track", "background", "crop", "extract")} == {4}
    assert re.search(r"^  not made yet: record \(2\), copy \(4\), segment", text, re.MULTILINE)
    assert f"Done: {sum(jobs.values())} jobs in " in text
    for dataset in ("small", "czi"):
        assert re.search(
            rf"^report: results/{dataset}/report.html \(2 FOVs, \d+ of \d+ cells kept\)$", text, re.MULTILINE
        )
    assert re.search(r"^next: .*snakemake pictures --cores 2 ", text, re.MULTILINE)
    assert "jobid" not in text
    (log,) = (finished.folder / ".snakemake/log").glob("*.log")
    lines = log.read_text()
    for stage in ("Copying", "Segmenting", "Tracking", "Estimating background of", "Extracting traces of"):
        assert f"{stage} small FOV 001" in lines
    assert re.search(r"(\d+) of \1 steps \(100%\) done", lines)
    log = (finished.folder / "results/logs/small/fov_000/extract.log").read_text()
    assert '"min_frames": 3' in log
    assert "in fewer than min_frames = 3 frames" in log
    assert re.match(r"done in [\d.]+ s; CPU [\d.]+ s", log.splitlines()[-1])
    assert "cells per frame: [" in (finished.folder / "results/logs/small/fov_000/segment.log").read_text()


def test_a_second_run_does_nothing(finished):
    outcome = finished.run(None)
    assert outcome.code == 0
    assert "Nothing to be done" in outcome.text


@pytest.mark.parametrize(
    ("changes", "arrays", "others"),
    [
        (
            {"channels": {"pc": {"channel": 0}}},
            {"pc_ch_0", "seg_labeled_ch_0", "seg_tracked_ch_0"},
            {"cells", "traces"},
        ),
        ({"channels": {"fl": [{"channel": 2}]}}, {"fl_ch_2", "fl_background_ch_2"}, set()),
        ({"params": {"copy_only": True}}, {"pc_ch_0", "fl_ch_1", "fl_ch_2"}, set()),
    ],
    ids=["phase contrast without features", "fluorescence only", "copy only"],
)
def test_results_follow_from_the_channels(movies, tmp_path, changes, arrays, others):
    checkout = Checkout(tmp_path)
    outcome = checkout.run(small_config(movies, fovs="1", **changes))
    assert outcome.code == 0, outcome.text
    folder = tmp_path / "results/small"
    assert [path.name for path in folder.glob("fov_*")] == ["fov_001"]
    images = open_images(checkout, fov=1)
    assert {name for name, _ in images.members()} == arrays
    copy_only = changes.get("params", {}).get("copy_only", False)
    assert all((f"{name}/1" in images) != copy_only for name in arrays)
    page = (folder / "report.html").read_text("utf-8")
    assert ('<section id="traces">' in page) == ("traces" in others)
    assert ('<section id="images">' in page) != ("traces" in others)
    assert "data:image/webp" in page
    assert 'id="problems"' not in page
    if "traces" not in others:
        rows = re.findall(r'<td class="number">1</td><td>[^<]+</td><td class="number">8 of 8</td>', page)
        assert len(rows) == sum(name.startswith(("pc_", "fl_ch")) for name in arrays)
        assert (" to " in page.partition('id="images"')[2].partition("</section>")[0]) != copy_only
    assert (folder / "fov_001/cells.zarr").exists() == ("cells" in others)
    table = folder / "fov_001/small_fov_001_traces.csv"
    assert table.exists() == ("traces" in others)
    if table.exists():
        assert len(pd.read_csv(table)) > 3
        assert pd.read_csv(table).columns[-1] == "bbox_y1"


def test_cells_in_a_zip(movies, finished_fov, tmp_path):
    checkout = Checkout(tmp_path, finished_fov)
    outcome = checkout.run(small_config(movies, fovs="0", params={"cells_store": "zip"}))
    assert outcome.code == 0, outcome.text
    path = tmp_path / "results/small/fov_000/cells.zarr.zip"
    with open_store(path) as get:
        assert len(get_array(get, "metadata/cell_ids")[0]) > 0
    assert len(traces(checkout)) > 3


REAL = {
    "yeast": (
        "nd2/example-cerevisiae.nd2",
        {
            "channels": {
                "pc": {"channel": "DIC", "features": ["area"]},
                "fl": [{"channel": "FITC BP", "features": ["intensity_total"]}],
            },
            "params": {"min_frames": 1, "border_margin": 5},
        },
        1,
    ),
    "cluster": ("nd2/cluster.nd2", {"channels": {"fl": [{"channel": 0}, {"channel": 1}]}, "z": "max"}, 1),
    "division": (
        "czi/CellDivision_T3_Z5_CH2_X240_Y170.czi",
        {"channels": {"fl": [{"channel": 0}, {"channel": 1}]}, "z": "max"},
        1,
    ),
    "wells": ("czi/WellD6-7_S2.czi", {"channels": {"fl": [{"channel": 0}]}}, 2),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path, name):
    file, config, n_fovs = REAL[name]
    checkout = Checkout(tmp_path)
    outcome = checkout.run({"datasets": {name: str(real_file(file))}, **config})
    assert outcome.code == 0, outcome.text
    assert len(list((tmp_path / f"results/{name}").glob("fov_*"))) == n_fovs
    for fov in range(n_fovs):
        for key, array in open_images(checkout, name, fov).members(max_depth=None):
            if isinstance(array, zarr.Array) and key.startswith(("pc", "fl_ch", "seg")):
                assert np.ptp(array[:]) > 0
    if name == "yeast":
        assert len(traces(checkout, name)) > 0
