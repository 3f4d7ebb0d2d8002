"""A corrected file put beside the workflow, and taken away again: what runs, what comes out, what is left."""

import json
import os
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import Checkout, small_config
from curation_tools import check_tables, decide, open_results, shown
from formats_tools import Stack, masks_read, same_masks
from scipy import ndimage
from stages import CROP

from celltraces.curate import browse
from celltraces.exports import deepcell_label, deepcell_trk
from celltraces.labels import shared_pixels
from celltraces.labels.lineage import Division
from celltraces.storage.frames import open_frames

AFTER = dict.fromkeys(CROP, 1)
APPLIED = {"apply_corrections": 1, "cache_corrected": 1, "index_corrected": 1}
ZIP = "corrections/small_fov_000.zip"
TRK = "corrections/small_fov_000.trk"


@pytest.fixture(scope="module")
def done(movies, finished_run, tmp_path_factory):
    """A finished run of two FOVs."""
    checkout = Checkout(tmp_path_factory.mktemp("run"), finished_run)
    checkout.base = small_config(movies)
    del checkout.base["channels"]["fl"][1]
    outcome = checkout.run(checkout.base)
    assert outcome.code == 0, outcome.text
    checkout.results = checkout.folder / "results/small"
    (checkout.folder / "corrections").mkdir()
    return checkout


def snapshot(checkout):
    """Every file of the results but logs and what Snakemake itself puts there."""
    folder = checkout.folder / "results/small"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".snakemake_timestamp"
    }


def differences(before, after):
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def edited(done, target, change):
    """A project of FOV 0 with other labels: change(tracked (T, H, W)) -> (labels, attributes, divisions)."""
    images = done.results / "fov_000/images.zarr"
    tracked = open_frames(images / "seg_tracked_ch_0/0")
    channels = {name: open_frames(images / name / "0") for name in ("pc_ch_0", "fl_ch_1")}
    labels, attributes, divisions = change(np.stack([tracked.read(t) for t in range(8)]))
    path = done.folder / target
    if path.suffix == ".trk":
        deepcell_trk.write_trk(path, channels, Stack(labels, attributes), divisions, ())
    else:
        deepcell_label.write_project(path, channels, Stack(labels, attributes), divisions, pixel_size_um=None)


def unchanged(labels):
    return labels, {}, []


def divide(labels):
    """Cell 1 ends after frame 3 and becomes the cells 50 (upper half) and 51, which share a row of pixels."""
    labels, hidden = labels.copy(), {}
    for frame in range(4, 8):
        y, x = np.nonzero(labels[frame] == 1)
        middle = (y.min() + y.max()) // 2
        labels[frame, y, x] = np.where(y <= middle, 50, 51)
        hidden[str(frame)] = {"51": shared_pixels.to_runs(np.sort(x[y == middle]) + middle * labels.shape[2])}
    return labels, {"overlaps": hidden}, [Division(1, (50, 51), 4)]


def divide_apart(labels):
    """As `divide`, without the pixels that both cells have, which a .trk cannot hold."""
    labels, _, divisions = divide(labels)
    return labels, {}, divisions


def check_divided(done, tracked):
    """Traces and crops after `divide`, against masks that are made here from the tracked labels."""
    images = zarr.open_group(done.results / "fov_000/images.zarr", mode="r")
    assert images["seg_corrected_ch_0/1"].shape == (8, 80, 96)
    assert images["seg_corrected_ch_0"].attrs["ome"]["image-label"]
    traces = pd.read_csv(done.results / "fov_000/small_fov_000_traces.csv")
    assert traces.columns[-2:].tolist() == ["parent", "division_frame"]
    assert traces[traces.cell == 1].frame.max() == 3
    born = traces[traces.cell.isin([50, 51])]
    assert len(born) == 8
    assert (born.parent == 1).all()
    assert (born.division_frame == 4).all()
    assert traces[~traces.cell.isin([50, 51])].parent.isna().all()
    raw, background = images["fl_ch_1/0"][:].astype(float), images["fl_background_ch_1/0"][:].astype(float)
    cells = zarr.open_group(done.results / "fov_000/cells.zarr", mode="r")
    ids = cells["metadata/cell_ids"][:].tolist()
    rows = np.arange(160)[:, None]
    for row in born.itertuples():
        whole = tracked[row.frame] == 1
        y = np.nonzero(whole)[0]
        middle = (y.min() + y.max()) // 2
        mask = whole & (rows <= middle if row.cell == 50 else rows >= middle)  # both have the row that they share
        assert row.area_ch_0 == mask.sum()
        near = ndimage.distance_transform_edt(~mask) <= 2  # light_margin
        light = (raw - background)[row.frame][near].sum()
        assert row.intensity_total_ch_1 == pytest.approx(light, rel=1e-6, abs=1e-3)
        y0, x0 = cells["metadata/crop_origins"][ids.index(row.cell), row.frame]
        crop = cells[f"seg_tracked_ch_0/{row.cell}/0"][row.frame]
        np.testing.assert_array_equal(crop > 0, mask[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]])


def check_edits_on_top(done):
    """Decisions on the corrected labels: the tables of the next run say what the page shows. Takes them away again."""
    results = open_results(done.folder / "results")
    assert shown(results, "small", 0)[1] == {50: (1, 4), 51: (1, 4)}
    now = browse.cells_now(results, "small", 0)["cells"]
    kept = [
        cell
        for cell, state, frames in zip(now["n"], now["state"], now["frames"], strict=True)
        if state == "kept" and frames == 8
    ]
    left_out = [cell for cell, state in zip(now["n"], now["state"], strict=True) if state == "left out"]
    two, three, four, five, *_ = kept
    decide(results, "small", 0, "swap", cell=50, other=51, frame=6)
    decide(results, "small", 0, "join", cell=1, other=50, frame=4)  # the mother goes on as one of her daughters
    decide(results, "small", 0, "divide", cell=two, daughters=[two], frame=3)
    decide(results, "small", 0, "split", cell=three, frame=5)
    decide(results, "small", 0, "delete", cell=four, frame=2, frames=[2, 3])
    decide(results, "small", 0, "exclude", cell=five, frame=1, frames=[1, 6])
    decide(results, "small", 0, "bad", cell=51, frame=5)
    for cell in left_out:
        decide(results, "small", 0, "good", cell=cell, frame=now["first"][now["n"].index(cell)])
    rows, descent = shown(results, "small", 0)
    assert {frame for cell, frame in rows if cell == 1} == {*range(8)}
    assert {frame for cell, frame in rows if cell == five} == {0, 7}
    assert (two, 3) in descent.values()
    outcome = done.run(done.base)
    assert outcome.code == 0, outcome.text
    check_tables(results, "small", 0)
    before = pd.read_csv(done.results / "fov_000/small_fov_000_traces.csv")

    # The same labels in a .trk: all decisions count again.
    (done.folder / ZIP).unlink()
    edited(done, TRK, divide_apart)
    outcome = done.run(done.base)
    assert outcome.code == 0, outcome.text
    assert outcome.jobs.items() >= {**AFTER, **APPLIED}.items()
    check_tables(results, "small", 0)
    assert pd.read_csv(done.results / "edits.csv").status.tolist() == ["applied"] * (7 + len(left_out))
    after = pd.read_csv(done.results / "fov_000/small_fov_000_traces.csv")
    unlike = after[after.area_ch_0 != before.area_ch_0]
    assert unlike.frame.min() >= 4  # where the two daughters had a row of pixels in common
    assert set(unlike.cell) <= {1, 51}
    assert len(unlike) > 0
    (done.folder / TRK).unlink()
    shutil.rmtree(done.folder / "results/edits")


def test_the_life_of_a_correction(done):
    automatic = snapshot(done)
    tracked = zarr.open_array(done.results / "fov_000/images.zarr/seg_tracked_ch_0/0", mode="r")[:]

    # A corrected file: what comes after tracking runs again, for its FOV alone.
    edited(done, ZIP, divide)
    exporting = {**done.base, "exports": ["deepcell_label"]}
    assert done.planned(done.base) == {**AFTER, **APPLIED}
    outcome = done.run(exporting)
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == {**AFTER, **APPLIED, "export_deepcell_label": 2}
    changed = {name for name in differences(automatic, snapshot(done)) if name.startswith("fov_")}
    changed = {name for name in changed if "/exports/" not in name}
    assert {name.split("/")[1] for name in changed} == {
        *("images.zarr", "cells.zarr", "small_fov_000_traces.csv", "small_fov_000_lineage_corrected.csv"),
        "small_fov_000_digest.zip",
    }
    assert all("/seg_corrected_ch_0/" in name for name in changed if "images.zarr" in name)
    check_divided(done, tracked)

    # The project exported now is the corrected one; as a correction it changes no pixel and no division.
    exported = []
    for path in (done.folder / ZIP, done.results / "fov_000/exports/small_fov_000.zip"):
        with deepcell_label.reading_project(path, (8, 160, 192), 2) as project:
            exported.append((masks_read(project), project.divisions))
    same_masks(exported[0][0], exported[1][0])
    assert exported[0][1] == exported[1][1] == [Division(1, (50, 51), 4)]

    check_edits_on_top(done)

    # Another file in its place is seen, whatever its date. These labels are the tracked ones: the same traces again.
    edited(done, ZIP, unchanged)
    os.utime(done.folder / ZIP, (1e9, 1e9))
    outcome = done.run(done.base)
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == {**AFTER, **APPLIED}
    before = automatic["fov_000/small_fov_000_traces.csv"].decode().splitlines()
    after = (done.results / "fov_000/small_fov_000_traces.csv").read_text().splitlines()
    assert after == [before[0] + ",parent,division_frame", *(line + ",NaN,NaN" for line in before[1:])]

    # A bad one costs its own FOV alone, and takes nothing away.
    previous = snapshot(done)
    with zipfile.ZipFile(done.folder / ZIP) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    cells = json.loads(members["cells.json"])
    cells[3]["t"] = 8
    with zipfile.ZipFile(done.folder / ZIP, "w") as archive:
        for name, data in {**members, "cells.json": json.dumps(cells)}.items():
            archive.writestr(name, data)
    config = {**done.base, "params": {**done.base["params"], "background_weight": 0.5}}
    outcome = done.run(config)
    assert outcome.code != 0
    lines = {line.strip() for line in outcome.text.splitlines()}
    (line,) = {line for line in lines if line.startswith("apply_corrections: ")}
    assert "corrections/small_fov_000.zip: cells.json, entry 3: t is 8, and the frames are 0 to 7; correct it" in line
    assert "Traceback" not in outcome.text
    assert "small/report.html (1 of 2 FOVs, " in outcome.text  # what is there of FOV 0 is from before
    gone = {name for name in differences(previous, snapshot(done)) if "seg_corrected" not in name}
    tables = {name for name in gone if "/" not in name} - {"processing_config.yaml"}
    assert "# Missing FOVs: 0 (failed)" in (done.folder / "results/small/all_area_ch_0.csv").read_text()
    of_fovs = {f"fov_001/small_fov_001_{end}" for end in ("traces.csv", "digest.zip")}
    of_fovs |= {"fov_000/small_fov_000_lineage_corrected.csv"}
    assert gone - tables == {"processing_config.yaml", *of_fovs}

    # Taken away, everything is as before the first one.
    (done.folder / ZIP).unlink()
    assert done.planned(config) == AFTER
    outcome = done.run(done.base)
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == {**AFTER, "extract": 2, "digest": 2, "record": 1}
    assert {name for name in differences(automatic, snapshot(done)) if "/exports/" not in name} == set()
    assert done.planned(done.base) == {}


def test_names_that_fit_no_fov_are_said_and_two_for_one_refused(done):
    folder = done.folder / "corrections"
    edited(done, ZIP, unchanged)
    shutil.copy(done.folder / ZIP, folder / "small_fov_000 (1).zip")
    edited(done, TRK, unchanged)
    outcome = done.run(done.base, "-n")
    assert outcome.code != 0
    assert "small_fov_000.zip and small_fov_000.trk are for the same FOV; keep one of them" in outcome.text
    assert "Traceback" not in outcome.text
    (done.folder / ZIP).unlink()
    outcome = done.run(done.base, "-n")
    assert "corrections/small_fov_000 (1).zip is not used; files are named like small_fov_" in outcome.text
    assert outcome.jobs == {**AFTER, **APPLIED}
    for path in folder.iterdir():
        path.unlink()
