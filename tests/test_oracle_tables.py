"""All tables and graphs of a run, computed again from the raw images, the labels and the config alone.

Nothing of the product is imported: features are those of scikit-image and scipy, graphs are read as their formats say.
"""

import math
from itertools import pairwise
from xml.etree import ElementTree

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from conftest import Checkout, small_config
from curation_tools import decide, open_results
from scipy import ndimage
from skimage import measure

MARGIN, LIGHT_MARGIN, WEIGHT, FEWEST, EDGE = 1, 3, 0.9, 4, 9
MAPPING = {0: 0, 1: 7, 4: 31, 5: 32.5}  # minutes; others between, and the last step goes on
TIMES = [0.0, 7.0, 15.0, 23.0, 31.0, 32.5, 34.0, 35.5]
PIXEL = 0.65
SHAPES = ("area", "perimeter", "aspect_ratio", "eccentricity", "solidity", "circularity", "centroid_x", "centroid_y")
LIGHTS = ("total", "mean", "median", "std", "min", "max")
DIGITS = {"atol": 5.1e-4, "rtol": 1e-6}  # tables have three decimals


@pytest.fixture(scope="module")
def results(movies, finished_run, tmp_path_factory):
    """Folder of the dataset: every feature, uneven times, edits of FOV 0 and a refused cell in FOV 1."""
    checkout = Checkout(tmp_path_factory.mktemp("oracle"), finished_run)
    params = {"mask_margin": MARGIN, "light_margin": LIGHT_MARGIN, "background_weight": WEIGHT, "time_mapping": MAPPING}
    params |= {"min_frames": FEWEST, "border_margin": EDGE, "register_frames": True}
    channels = {
        "pc": {"channel": 0, "features": list(SHAPES)},
        "fl": [{"channel": 1, "features": [f"intensity_{name}" for name in LIGHTS]}],
    }
    exports = ["ctc", "geff", "trackmate", "anndata", "pyme_traces"]
    config = small_config(movies, params=params, channels=channels, samples=[{"name": "NA", "fovs": "0"}])
    folder = checkout.folder / "results"
    before = pd.read_csv(folder / "small/small_traces.csv")
    one, two, three, *_ = before[before.fov == 0].cell.unique().tolist()
    now = open_results(folder)
    decide(now, "small", 0, "split", cell=one, frame=4)
    decide(now, "small", 0, "divide", cell=two, daughters=[two], frame=3)
    decide(now, "small", 0, "exclude", cell=three, frame=1, frames=[1, 2])
    refused = int(before[before.fov == 1].cell.iloc[0])
    (folder / "curation.csv").write_text(f"dataset,fov,cell,good\nsmall,1,{refused},false\n")
    fits = [{"channel": 1, "feature": "intensity_total", "model": "exponential_decay"}]
    outcome = checkout.run({**config, "exports": exports, "fits": fits})
    assert outcome.code == 0, outcome.text
    return folder / "small", {(0, three): {1, 2}, (1, refused): set(range(8))}


def labels_of(folder, fov):
    images = zarr.open_group(folder / f"fov_{fov:03d}/images.zarr", mode="r")
    name = "seg_edited_ch_0" if "seg_edited_ch_0" in images else "seg_tracked_ch_0"
    return images, images[f"{name}/0"][:]


def sightings(labels):
    """Cell -> frames in which it has pixels."""
    return {
        int(cell): np.flatnonzero((labels == cell).any(axis=(1, 2))).tolist() for cell in np.unique(labels[labels > 0])
    }


def parents_of(folder, fov):
    of_fov = folder / f"fov_{fov:03d}"
    path = of_fov / f"small_fov_{fov:03d}_lineage_edited.csv"
    table = pd.read_csv(path if path.exists() else of_fov / f"small_fov_{fov:03d}_lineage.csv")
    born = table.dropna().astype(int)
    return {cell: (parent, frame) for _, cell, _, _, parent, frame in born.itertuples(index=False)}


def grown(mask, margin):
    return ndimage.distance_transform_edt(~mask) <= margin


def row_of(mask, light):
    """What the tables say of a cell in a frame; light: counts less the weighted background."""
    found = measure.regionprops(mask.astype(np.uint8))[0]
    y0, x0, y1, x1 = found.bbox
    counts, total = light[grown(mask, MARGIN)], light[grown(grown(mask, MARGIN), LIGHT_MARGIN)].sum()
    shapes = (
        *(found.area, found.perimeter, found.axis_major_length / found.axis_minor_length, found.eccentricity),
        *(found.solidity, min(1, 4 * math.pi * found.area / found.perimeter**2), found.centroid[1], found.centroid[0]),
    )
    lights = (total, counts.mean(), np.median(counts), counts.std(), counts.min(), counts.max())
    return {
        **{"position_x": (x0 + x1) / 2, "position_y": (y0 + y1) / 2},
        **{"bbox_x0": x0, "bbox_y0": y0, "bbox_x1": x1, "bbox_y1": y1},
        **{f"{name}_ch_0": value for name, value in zip(SHAPES, shapes, strict=True)},
        **{f"intensity_{name}_ch_1": value for name, value in zip(LIGHTS, lights, strict=True)},
    }


@pytest.fixture(scope="module")
def oracle(results, experiment):
    """The rows that the tidy table is to have, and of each FOV cell -> whether it is left out."""
    folder, not_good = results
    rows, left_out = [], {}
    moved = pd.read_csv(folder / "small_stage_movement.csv").set_index(["fov", "frame"])
    for fov in range(2):
        images, labels = labels_of(folder, fov)
        seen, parents = sightings(labels), parents_of(folder, fov)
        raw = np.array([experiment.plane(fov, frame, 1) for frame in range(8)], float)
        light = raw - WEIGHT * images["fl_background_ch_1/0"][:].astype(float)

        def before(cell, seen=seen, parents=parents):
            return len(seen[cell]) + (before(parents[cell][0]) if cell in parents else 0)

        def after(cell, seen=seen, parents=parents):
            return max((len(seen[c]) + after(c) for c, (parent, _) in parents.items() if parent == cell), default=0)

        inside = np.zeros(labels.shape[1:], bool)
        inside[EDGE:-EDGE, EDGE:-EDGE] = True
        for cell, frames in seen.items():
            left_out[fov, cell] = before(cell) + after(cell) < FEWEST or ((labels == cell) & ~inside).any()
            for frame in () if left_out[fov, cell] else sorted({*frames} - not_good.get((fov, cell), set())):
                row = row_of(labels[frame] == cell, light[frame])
                place = moved.loc[(fov, frame)]
                parent, born = parents.get(cell, (math.nan, math.nan))
                rows.append(
                    {"sample": "NA" if fov == 0 else "", "fov": fov, "cell": cell, "frame": frame}
                    | {"time_min": TIMES[frame], **row, "parent": parent, "division_frame": born}
                    | {f"registered_{axis}": row[f"position_{axis}"] - place[f"place_{axis}"] for axis in "xy"}
                )
    return pd.DataFrame(rows), left_out


def read_as_text(path):
    """A table in which nothing is guessed of names."""
    return pd.read_csv(path, keep_default_na=False, na_values=["NaN"], dtype={"dataset": str, "sample": str})


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_column_of_the_tidy_table(results, oracle, ending):
    folder, expected = results[0], oracle[0]
    path = folder / f"small_traces.{ending}"
    table = read_as_text(path) if ending == "csv" else pd.read_parquet(path)
    assert {*table.columns} == {"dataset", *expected.columns}
    assert table["sample"].tolist() == expected["sample"].tolist()
    for name in expected.columns.drop("sample"):
        np.testing.assert_allclose(table[name].astype(float), expected[name].astype(float), err_msg=name, **DIGITS)


def test_every_column_of_the_list_of_cells(results, oracle):
    (folder, not_good), (expected, left_out) = results, oracle
    table = read_as_text(folder / "small_cells.csv")
    assert [*zip(table.fov, table.cell, strict=True)] == [*left_out]
    groups = dict(iter(expected.groupby(["fov", "cell"])))
    for row in table.itertuples():
        key = row.fov, row.cell
        frames = sightings(labels_of(folder, row.fov)[1])[row.cell]
        assert (row.first_frame, row.last_frame, row.frames) == (frames[0], frames[-1], len(frames))
        assert row.in_tables == (key in groups)
        if key in groups:
            of_cell = groups[key]
            for name in of_cell.columns[of_cell.columns.str.contains("_ch_")]:
                assert getattr(row, f"median_{name}") == pytest.approx(of_cell[name].median(), abs=6e-4, rel=1e-5)
            slope = np.polyfit(of_cell.time_min / 60, np.log(of_cell.area_ch_0), 1)[0] if len(of_cell) > 2 else math.nan
            assert row.area_growth_per_h == pytest.approx(slope, rel=1e-4, abs=1e-6, nan_ok=True)
        elif not left_out[key]:
            assert key in not_good
            assert row.left_out == "refused by a person"
        else:
            assert row.left_out


def test_merged_tables_and_fits(results, oracle):
    folder, expected = results[0], oracle[0]
    expected = expected[expected["sample"] == "NA"]
    in_order = expected.sort_values(["time_min", "fov", "cell"])
    for name in ("area_ch_0", "intensity_total_ch_1", "intensity_std_ch_1"):
        table = pd.read_csv(folder / f"NA_{name}.csv", comment="#")
        found = table[["time", "fov", "cell", "value"]].to_numpy()
        np.testing.assert_allclose(found, in_order[["time_min", "fov", "cell", name]].to_numpy(), **DIGITS)
    fits = pd.read_csv(folder / "NA_intensity_total_ch_1_fitted_exponential_decay.csv", comment="#")
    groups = dict(iter(expected.groupby(["fov", "cell"])))
    assert [*zip(fits.fov, fits.cell, strict=True)] == sorted(groups)
    for row in fits.itertuples():
        of_cell = groups[row.fov, row.cell]
        hours, light = of_cell.time_min.to_numpy() / 60, of_cell.intensity_total_ch_1.to_numpy()
        assert row.auc == pytest.approx(np.trapezoid(light, hours), rel=1e-5, abs=1e-3)
        assert (row.maximum, row.time_of_maximum) == pytest.approx((light.max(), hours[light.argmax()]), rel=1e-5)
        if row.success:
            curve = row.offset_best + row.amplitude_best * np.exp(-row.decay_rate_best * (hours - row.t0).clip(min=0))
            share = 1 - ((light - curve) ** 2).sum() / ((light - light.mean()) ** 2).sum()
            assert row.r_squared == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("fov", [0, 1])
def test_graphs_of_all_formats_are_those_of_the_labels(results, oracle, fov):
    folder, expected = results[0], oracle[0]
    base, exports = f"small_fov_{fov:03d}", folder / f"fov_{fov:03d}/exports"
    labels = labels_of(folder, fov)[1]
    seen, parents = sightings(labels), parents_of(folder, fov)
    assert bool(parents) == (fov == 0)
    nodes = {(cell, frame): np.argwhere(labels[frame] == cell) for cell, frames in seen.items() for frame in frames}
    edges = {((cell, a), (cell, b)) for cell, frames in seen.items() for a, b in pairwise(frames)}
    edges |= {((parent, seen[parent][-1]), (cell, seen[cell][0])) for cell, (parent, _) in parents.items()}

    geff = zarr.open_group(exports / f"geff/{base}.geff", mode="r")
    of_node = {name: geff[f"nodes/props/{name}/values"][:] for name in ("cell", "t", "y", "x", "area", "time_min")}
    places = [*zip(of_node["cell"].tolist(), of_node["t"].tolist(), strict=True)]
    assert {*places} == {*nodes}
    middles = np.array([nodes[place].mean(axis=0) for place in places])
    np.testing.assert_allclose(np.transpose([of_node["y"], of_node["x"]]), middles, atol=1e-9)
    assert of_node["area"].tolist() == [len(nodes[place]) for place in places]
    assert of_node["time_min"].tolist() == [TIMES[frame] for _, frame in places]
    assert {(places[a], places[b]) for a, b in geff["edges/ids"][:].tolist()} == edges

    tree = ElementTree.parse(exports / f"{base}_trackmate.xml").getroot()
    spots = {spot.get("ID"): spot for spot in tree.iter("Spot")}
    place_of = {n: (int(spot.get("CELL")), int(spot.get("FRAME"))) for n, spot in spots.items()}
    assert {*place_of.values()} == {*nodes}
    for n, spot in spots.items():
        found = [float(spot.get(f"POSITION_{axis}")) for axis in "YX"]
        assert found == pytest.approx(PIXEL * nodes[place_of[n]].mean(axis=0), abs=1e-4)
    ends = [[place_of[edge.get(f"SPOT_{end}_ID")] for end in ("SOURCE", "TARGET")] for edge in tree.iter("Edge")]
    assert {*map(tuple, ends)} == edges

    lines = [[*map(int, line.split())] for line in (exports / "ctc/01_RES/res_track.txt").read_text().splitlines()]
    masks = [tifffile.imread(path) for path in sorted((exports / "ctc/01_RES").glob("mask*.tif"))]
    there = {}
    for label, first, last, _ in lines:
        for frame in range(first, last + 1):
            (cell,) = np.unique(labels[frame][masks[frame] == label]).tolist()
            np.testing.assert_array_equal(masks[frame] == label, labels[frame] == cell)
            there[label, frame] = (cell, frame)
    assert {*there.values()} == {*nodes}
    of_tracks = {(there[n, frame], there[n, frame + 1]) for n, a, b, _ in lines for frame in range(a, b)}
    last_of = {label: there[label, last] for label, _, last, _ in lines}
    assert of_tracks | {(last_of[parent], there[n, first]) for n, first, _, parent in lines if parent} == edges

    good = expected[expected.fov == fov]
    with h5py.File(exports / f"{base}.h5ad") as file, h5py.File(exports / f"{base}_traces.hdf") as other:
        for name in ("cell", "frame", "time_min", "parent", "division_frame"):
            np.testing.assert_allclose(file[f"obs/{name}"][:], good[name].astype(float))
        np.testing.assert_allclose(file["X"][:], good[file["var/_index"].asstr()[:]], **DIGITS)
        table = other["Traces"][:]
    assert [*zip(table["cell"], table["frame"], strict=True)] == [*zip(good.cell, good.frame, strict=True)]
    np.testing.assert_allclose(table["x"], 1000 * PIXEL * (good.bbox_x0 + good.bbox_x1 - 1) / 2)
    np.testing.assert_allclose(table["time_s"], 60 * good.time_min)
