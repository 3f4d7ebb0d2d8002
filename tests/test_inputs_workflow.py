"""The workflow on other formats than ND2: the traces are the same, and nothing is made anew for another name."""

import re
import shutil

import cv2
import numpy as np
import pandas as pd
import tifffile
import yaml
import zarr
from conftest import ROOT, Checkout, real_file, small_config


def write_ome_tiff(path, experiment):
    """The experiment as OME-TIFF, with its times and names."""
    frames, channels = experiment.n_frames, 3
    with tifffile.TiffWriter(path, ome=True) as writer:
        for fov in range(experiment.n_fovs):
            planes = [[experiment.plane(fov, t, c) for c in range(channels)] for t in range(frames)]
            times = [experiment.time_s(fov, t) for t in range(frames) for _ in range(channels)]
            size = {"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}
            metadata = {"axes": "TCYX", "Channel": {"Name": ["Phase", "A", "B"]}, "Plane": {"DeltaT": times}, **size}
            writer.write(np.array(planes), photometric="minisblack", metadata=metadata)


def test_other_formats_give_the_same_traces(experiment, movies, finished_fov, tmp_path):
    checkout = Checkout(tmp_path, finished_fov)
    write_ome_tiff(tmp_path / "a.ome.tif", experiment)
    (tmp_path / "Pos1").mkdir()
    for frame, channel in np.ndindex(experiment.n_frames, 3):
        tifffile.imwrite(tmp_path / f"Pos1/{channel}_{frame:03d}.tif", experiment.plane(0, frame, channel))
    files = {"files": str(tmp_path / "Pos{fov}/{channel}_{frame}.tif")}
    config = small_config(
        movies, fovs="0", datasets={"small": str(movies / "small.nd2"), "ome": "a.ome.tif", "files": files}
    )
    config["params"] |= {"pixel_size_um": 0.65}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    tables = {name: tmp_path / f"results/{name}/fov_000/{name}_fov_000_traces.csv" for name in config["datasets"]}
    texts = {name: table.read_text() for name, table in tables.items()}
    assert len(texts["small"].splitlines()) > 8
    assert texts["ome"] == texts["small"]
    without_times = [[line.split(",") for line in texts[name].splitlines()] for name in ("files", "small")]
    column = without_times[0][0].index("time_min") if "time_min" in without_times[0][0] else None
    for ours, theirs in zip(*without_times, strict=True):
        assert [v for at, v in enumerate(ours) if at != column] == [v for at, v in enumerate(theirs) if at != column]

    # the same files under another name and in another folder
    shutil.move(tmp_path / "a.ome.tif", tmp_path / "renamed.ome.tif")
    shutil.move(tmp_path / "Pos1", tmp_path / "Position7")
    files = {"files": "Position{fov}/{channel}_{frame}.tif"}
    moved = {**config, "datasets": {**config["datasets"], "ome": "renamed.ome.tif", "files": files}}
    assert set(checkout.planned(moved)) <= {"record", "index", "write_report"}  # names of file and FOV are in these
    tifffile.imwrite(tmp_path / "Position7/1_003.tif", experiment.plane(0, 3, 1) + 1)
    assert checkout.planned(moved)["copy"] == 1

    # the raw channels of the results, when the microscope's file is gone
    again = {**config, "datasets": {"small": "results/ome"}, "output_dir": "again"}
    again["params"] = {**config["params"], "copy_only": True}
    outcome = checkout.run(again)
    assert outcome.code == 0, outcome.text
    for name in ("pc_ch_0", "fl_ch_1", "fl_ch_2"):
        old, new = (
            zarr.open_array(tmp_path / f"{place}/fov_000/images.zarr/{name}/0", mode="r")
            for place in ("results/ome", "again/small")
        )
        np.testing.assert_array_equal(new[...], old[...])
        assert new.attrs["frame_statistics"] == old.attrs["frame_statistics"]


def test_the_example_of_a_single_frame_in_the_readme(tmp_path):
    """README's config for one frame of T98G cells, and the numbers that it tells of the result."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(datasets: \{t98g: .*?)```", readme, re.DOTALL)
    said = re.search(r"(\d+) objects are found where a person\s+outlined (\d+) cells, and (\d+) of them", readme)
    config = yaml.safe_load(block)
    config["datasets"] = {"t98g": str(real_file("t98g/01_phase.tif"))}
    outcome = Checkout(tmp_path).run(config)
    assert outcome.code == 0, outcome.text
    cells = pd.read_csv(tmp_path / "results/t98g/t98g_cells.csv")
    outlined = cv2.imread(str(real_file("t98g/01_cells.png")), cv2.IMREAD_UNCHANGED)
    numbers = len(cells), len(np.unique(outlined)) - 1, int(cells.in_tables.sum())
    assert numbers == tuple(map(int, said.groups()))
