"""The simulator's truth against its images and against independent calculations; the writers against other readers."""

from __future__ import annotations

import csv
import os
import struct
import subprocess
from collections import defaultdict

import numpy as np
import pytest
from conftest import PYTHON, ROOT
from scipy.integrate import solve_ivp
from skimage.measure import regionprops

from celltraces.readers.movie_file import inspect_movie, open_movie
from demo import simulate
from demo.czi_writer import write_czi
from demo.nd2_writer import Channel, encode_item, write_nd2
from demo.simulate import CHANNELS, TRUTH_COLUMNS, maturation, truth_rows, write_truth


@pytest.fixture(scope="module")
def experiment() -> simulate.Experiment:
    return simulate.simulate(n_fovs=1, n_frames=24, height=320, width=360, n_cells=24, seed=5)


@pytest.fixture(scope="module")
def rows(experiment) -> list[dict]:
    return list(truth_rows(experiment, 0))


def test_planes_follow_from_the_seed_in_any_order():
    sizes = {"n_fovs": 2, "n_frames": 3, "height": 90, "width": 120, "n_cells": 5}
    wanted = list(np.ndindex(2, 3, 3))
    first, again, other = (
        simulate.simulate(seed=1, **sizes),
        simulate.simulate(seed=1, **sizes),
        simulate.simulate(seed=2, **sizes),
    )
    planes = {index: first.plane(*index) for index in wanted}
    labels = {index[:2]: first.labels(*index[:2]) for index in wanted}
    for index in reversed(wanted):
        np.testing.assert_array_equal(again.plane(*index), planes[index])
        np.testing.assert_array_equal(again.labels(*index[:2]), labels[index[:2]])
        assert not np.array_equal(other.plane(*index), planes[index])
    assert len({plane.tobytes() for plane in planes.values()}) == len(wanted)


def test_truth_is_what_the_images_hold(experiment, rows):
    """Boxes, areas and centres by scikit-image; intensities by summing the noiseless image above the background."""
    by_frame = defaultdict(dict)
    for row in rows:
        by_frame[row["frame"]][row["cell"]] = row
    for frame in range(experiment.n_frames):
        labels = experiment.labels(0, frame)
        regions = {region.label: region for region in regionprops(labels)}
        assert regions.keys() == by_frame[frame].keys()
        above = [experiment.noiseless(0, frame, c) - experiment.background(0, frame, c) for c in (1, 2)]
        for cell, row in by_frame[frame].items():
            assert [row[key] for key in ("y0", "x0", "y1", "x1")] == list(regions[cell].bbox)
            assert row["area"] == regions[cell].area
            assert (row["centroid_y"], row["centroid_x"]) == pytest.approx(regions[cell].centroid)
            sums = [float(image[labels == cell].sum(dtype=np.float64)) for image in above]
            assert [row["intensity_1"], row["intensity_2"]] == pytest.approx(sums, rel=1e-9, abs=1e-6)
        for image in above:
            assert (image[labels == 0] == 0).all()


def test_intensities_follow_the_kinetics(experiment, rows):
    """Cells that are never cut by the border or another cell hold exactly what the model says."""
    kinetics = experiment.kinetics(0)
    whole = 0
    last = experiment.n_frames - 1
    labels = experiment.labels(0, last)
    touching = {int(cell) for pair in neighbours(labels) for cell in pair}
    for row in rows:
        cut = row["y0"] == 0 or row["x0"] == 0 or row["y1"] == experiment.height or row["x1"] == experiment.width
        if row["frame"] != last or cut or row["cell"] in touching:
            continue
        whole += 1
        i = row["cell"] - 1
        hours = last * experiment.period_min / 60 - kinetics["onset_h"][i]
        expected = maturation(hours, kinetics["ktl"][i], kinetics["delta_per_h"][i])
        # the images are float32 on a background of some 1,000 counts
        assert [row["intensity_1"], row["intensity_2"]] == pytest.approx(expected, rel=1e-3)
        assert expected.min() > 0
    assert whole > 10


@pytest.mark.parametrize("delta", [0.05, simulate.DECAY_PER_H, simulate.DECAY_PER_H * (1 + 1e-9), 1e-4, 0.9])
def test_maturation_solves_its_equations(delta):
    km, beta, ktl = simulate.MATURATION_PER_H, simulate.DECAY_PER_H, 300.0

    def change(_, state):
        mrna, young, mature = state
        return [-delta * mrna, ktl * mrna - (beta + km) * young, km * young - beta * mature]

    hours = np.linspace(0, 30, 40)
    solution = solve_ivp(change, (0, 30), [1.0, 0.0, 0.0], t_eval=hours, method="LSODA", rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(maturation(hours, ktl, delta), solution.y[2], rtol=1e-6, atol=1e-6)
    assert maturation(np.array([-1.0, 0.0]), ktl, delta).tolist() == [0.0, 0.0]


def test_noise_is_the_cameras(experiment):
    """Mean 0; variance grows with the light as Poisson noise does, plus the read noise."""
    for channel in range(3):
        clean = experiment.noiseless(0, 20, channel).astype(float)
        noise = experiment.plane(0, 20, channel) - clean
        variance = simulate.COUNTS_PER_ELECTRON * (clean - simulate.CAMERA_OFFSET) + simulate.READ_NOISE**2 + 1 / 12
        score = noise / np.sqrt(variance)
        assert abs(score.mean()) < 5 / np.sqrt(score.size)
        assert score.var() == pytest.approx(1.0, abs=5 * np.sqrt(2 / score.size))


def neighbours(labels: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of cells that share an edge of a pixel."""
    found = set()
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        found |= {tuple(sorted(pair)) for pair in zip(a[meet].tolist(), b[meet].tolist(), strict=True)}
    return found


def test_the_movie_has_what_makes_movies_hard(experiment, rows):
    frames = defaultdict(list)
    for row in rows:
        frames[row["cell"]].append(row["frame"])
    last = experiment.n_frames - 1
    assert sum(seen[0] > 0 for seen in frames.values()) >= 2
    assert sum(seen[-1] < last for seen in frames.values()) >= 2
    assert all(seen == list(range(seen[0], seen[-1] + 1)) for seen in frames.values())
    assert any(row["y0"] == 0 or row["x0"] == 0 or row["x1"] == experiment.width for row in rows)
    meetings = [len(neighbours(experiment.labels(0, frame))) for frame in range(experiment.n_frames)]
    assert max(meetings) >= 1
    assert meetings[0] == 0
    first, final = experiment.labels(0, 0), experiment.labels(0, last)
    assert not np.array_equal(first, final)


def test_sizes_and_light_are_realistic():
    experiment = simulate.simulate(n_fovs=1, n_frames=3, n_cells=30)
    labels = experiment.labels(0, 0)
    inner = [r for r in regionprops(labels) if r.bbox[0] > 0 and r.bbox[1] > 0 and max(r.bbox[2:]) < 512]
    diameters = [region.equivalent_diameter_area for region in inner]
    assert 16 < min(diameters) < max(diameters) < 32
    lights = np.stack([experiment.background(0, frame, c) for frame in range(3) for c in (1, 2)])
    assert 330 < lights.min() < 370
    assert 1350 < lights.max() < 1450
    assert not np.array_equal(experiment.background(0, 0, 1), experiment.background(0, 2, 1))
    phase = experiment.plane(0, 0, 0).astype(float)
    assert phase[labels > 0].std() > 10 * np.sqrt(simulate.COUNTS_PER_ELECTRON * simulate.PHASE_LEVEL)


@pytest.mark.parametrize("sizes", [{"n_cells": 0}, {"n_cells": 1, "n_frames": 1}, {"height": 33, "width": 70}])
def test_odd_sizes(sizes):
    experiment = simulate.simulate(**{"n_fovs": 1, "n_frames": 2, "height": 64, "width": 64, "n_cells": 3, **sizes})
    for channel in range(3):
        assert experiment.plane(0, 0, channel).shape == (experiment.height, experiment.width)
    assert len(list(truth_rows(experiment, 0))) <= sizes.get("n_cells", 3) * experiment.n_frames


def test_truth_as_csv(tmp_path):
    experiment = simulate.simulate(n_fovs=2, n_frames=2, height=128, width=128, n_cells=3)
    write_truth(tmp_path / "truth.csv", experiment)
    with open(tmp_path / "truth.csv", newline="") as file:
        table = list(csv.DictReader(file))
    expected = [row for fov in range(2) for row in truth_rows(experiment, fov)]
    assert len(table) == len(expected) > 6
    for written, row in zip(table, expected, strict=True):
        assert tuple(written) == TRUTH_COLUMNS
        assert {key: float(value) for key, value in written.items()} == pytest.approx(row, rel=1e-5)


def test_both_files_hold_the_simulated_pixels(tmp_path):
    """The demo's way: ND2 and zstd-compressed CZI of one experiment, twice, read by our readers."""
    experiment = simulate.simulate(n_fovs=2, n_frames=3, height=61, width=83, n_cells=3)
    sizes = {"n_fovs": 2, "n_frames": 3, "width": 83}
    contents = []
    for attempt in range(2):
        nd2, czi = tmp_path / f"{attempt}.nd2", tmp_path / f"{attempt}.czi"
        write_nd2(
            nd2,
            experiment.plane,
            **sizes,
            height=61,
            channels=[Channel(name) for name in CHANNELS],
            period_ms=experiment.period_min * 60_000,
            times_ms=lambda fov, frame: experiment.time_s(fov, frame) * 1000,
        )
        write_czi(czi, experiment.plane, **sizes, channels=CHANNELS, times_s=experiment.time_s, compress=True)
        contents.append((nd2.read_bytes(), czi.read_bytes()))
    assert contents[0] == contents[1]
    for path in (nd2, czi):
        movie = inspect_movie(path)
        assert movie.channels == list(CHANNELS)
        for fov in range(2):  # one after the other
            assert movie.fovs[fov]["times_min"] == pytest.approx([2 * fov / 60 + 10 * t for t in range(3)], abs=1e-6)
        with open_movie(path) as read:
            for fov, frame in np.ndindex(2, 3):
                for channel, plane in enumerate(read(fov, frame, [0, 1, 2], None)):
                    np.testing.assert_array_equal(plane, experiment.plane(fov, frame, channel))


def test_nd2_trees_are_indexed_by_sorted_name():
    """Nikon's SDK looks names up by this index: unsorted, it sees no positions and no calibration."""
    level = encode_item("x", {"b": 1, "a": 2, "B": 3})
    n_items, length = struct.unpack_from("<IQ", level, 2 + 4)
    offsets = struct.unpack_from("<3Q", level, length)
    names = [level[offset + 2 : offset + 4].decode("utf-16-le") for offset in offsets]
    assert (n_items, names) == (3, ["B", "a", "b"])


def test_writers_refuse_to_drop_an_axis(tmp_path):
    sizes = {"n_fovs": 1, "n_frames": 2, "width": 4}
    with pytest.raises(ValueError, match="leave out an axis"):
        write_nd2(tmp_path / "a.nd2", None, **sizes, height=4, channels=[Channel("a")], loops="P")
    with pytest.raises(ValueError, match="leave out a dimension"):
        write_czi(tmp_path / "a.czi", None, **sizes, channels=["a"], axes="SC")


@pytest.mark.parametrize("script", ["make_demo.py", "score_demo.py"])
def test_the_demo_scripts_find_our_modules_when_started_by_their_path(script):
    """As the Makefile starts them: Python then looks in the script's own folder, which has none of ours."""
    alone = f"import runpy, sys; sys.path[0] = {str(ROOT / 'scripts/demo')!r}; runpy.run_path(sys.argv[1])"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([PYTHON, "-c", alone, ROOT / "scripts/demo" / script], env=environment, check=True)
