"""The checks of quality: each finds what was planted, where it was planted, and nothing in what is sound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import copy_frames
from celltraces.results import time_checks
from celltraces.results.light_by_cell import light_of_traces
from celltraces.results.quality import (
    Finding,
    as_csv,
    check_cells,
    check_fovs,
    check_frames,
    check_pixel_size,
    check_speed,
    check_times,
    check_traces,
    check_visits,
)
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

LIMITS = {"qc_saturation": 1e-4, "qc_brightness": 2.0, "qc_odd_part": 0.03, "qc_contrast": 2.0}
OF_CELLS = {"qc_count": 1.5, "qc_size": 5.0, "qc_vanish": 0.8}


def movie(n_frames=10, level=500, seed=0):
    """A movie with structure and noise, (T, 64, 80) uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :80]
    shape = 1 + 0.2 * np.sin(x) * np.cos(y / 2)
    return rng.poisson(level * np.broadcast_to(shape, (n_frames, 64, 80))).astype(np.uint16)


def written(tmp_path, frames, missing=(), name="pc_ch_0"):
    statistics = {key: [] for key in copy_frames.NO_STATISTICS}
    attributes = {"missing_frames": list(missing), "frame_statistics": statistics}
    path = tmp_path / name / "0"
    with writing(path, frames.shape, np.uint16, PIXELS, attributes=attributes) as append:
        for at, frame in enumerate(frames):
            append(frame)
            of_frame = copy_frames.NO_STATISTICS if at in missing else statistics_of(frame)
            for key, value in of_frame.items():
                statistics[key].append(value)
    return open_frames(path)


def statistics_of(frame):
    return copy_frames.frame_statistics(frame, np.bincount(frame.ravel()))


def found(rows):
    return {(row.frame, row.check) for row in rows}


def of_frames(tmp_path, frames, missing=(), name="pc_ch_0"):
    return found(check_frames(2, written(tmp_path, frames, missing, name), **LIMITS))


def test_sound_frames(tmp_path):
    assert of_frames(tmp_path, movie()) == set()
    assert of_frames(tmp_path, movie(level=3), name="fl_ch_1") == set()  # dim: few values, many pixels of each


def test_single_frames(tmp_path):
    assert of_frames(tmp_path, movie(n_frames=1)) == set()
    assert of_frames(tmp_path, np.zeros((1, 64, 80), np.uint16)) == {(0, "blank_pc_ch_0")}


def test_blank_frames(tmp_path):
    frames = movie()
    frames[3], frames[6] = 0, 400
    assert of_frames(tmp_path, frames) >= {(3, "blank_pc_ch_0"), (6, "blank_pc_ch_0")}
    assert {frame for frame, _ in of_frames(tmp_path, frames)} == {3, 6}


def test_frames_beside_blank_ones_are_compared_with_others(tmp_path):
    frames = movie(n_frames=6)
    frames[3], frames[4] = 0, 37
    assert of_frames(tmp_path, frames) == {(3, "blank_pc_ch_0"), (4, "blank_pc_ch_0")}


def test_the_same_frame_again(tmp_path):
    frames = movie()
    frames[7] = frames[2]
    rows = list(check_frames(2, written(tmp_path, frames), **LIMITS))
    assert [(row.frame, row.check, row.value) for row in rows] == [(7, "duplicate_pc_ch_0", 2)]
    frames[7, 5, 5] ^= 1
    assert of_frames(tmp_path, frames) == set()


@pytest.mark.parametrize("top", [255, 4095, 65535, 700])
def test_values_cut_off(tmp_path, top):
    frames = movie()
    frames[4] = np.minimum(frames[4].astype(float) / np.quantile(frames[4], 0.99) * top, top).astype(np.uint16)
    assert (4, "saturated_pc_ch_0") in of_frames(tmp_path, frames)
    frames[4] = movie(seed=5)[4]
    assert of_frames(tmp_path, frames) == set()


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_contrast_enhanced_frame_by_frame(tmp_path, top):
    """By least and greatest value, or with a share cut off at both ends, as Fiji does; the light of all cells doubles
    from the first frame to the last, and no value tells of it any more."""

    def of_light(frames):
        of_fov = {"qc_saturation": 1.0, "qc_brightness": 1e9, "qc_odd_part": 1.0, "qc_contrast": None}
        rows = check_frames(2, written(tmp_path, frames.astype(np.uint16), [0], "fl_ch_1"), **of_fov)
        return [(row.check, row.value) for row in rows if row.check.startswith("stretched")]

    light = movie(n_frames=6) * np.linspace(1, 2, 6)[:, None, None]
    for share in (0, 0.004):
        low, high = (np.quantile(light, at, axis=(1, 2), keepdims=True) for at in (share, 1 - share))
        stretched = np.round(np.clip((light - low) / (high - low), 0, 1) * top)
        assert of_light(stretched) == [("stretched_fl_ch_1", top)]
        assert of_light(stretched[:3]) == []  # the first one is missing: two tell nothing
        assert of_frames(tmp_path, stretched.astype(np.uint16)) & {(None, "stretched_pc_ch_0")} == set()
    as_one = np.round((light - light.min()) / np.ptp(light) * top)
    assert of_light(as_one) == []
    assert of_light(np.minimum(light, 600)) == []  # cut off above: 0 is in no frame
    photons = np.random.default_rng(3).poisson(0.3, light.shape)
    photons[:, 0, 0] = 9
    assert of_light(photons) == []


def test_a_lamp_that_fails(tmp_path):
    frames = movie()
    frames[0] //= 3
    frames[8] *= 3
    assert of_frames(tmp_path, frames, name="fl_ch_1") >= {(0, "brightness_fl_ch_1"), (8, "brightness_fl_ch_1")}


def test_an_image_out_of_focus(tmp_path):
    from scipy.ndimage import gaussian_filter

    frames = movie(level=5000)
    frames[5] = gaussian_filter(frames[5].astype(float), 3)
    assert of_frames(tmp_path, frames) == {(5, "low_contrast_pc_ch_0")}


def test_missing_frames_are_one_row(tmp_path):
    frames = movie()
    frames[[1, 4]] = 0
    rows = list(check_frames(2, written(tmp_path, frames, missing=[1, 4]), **LIMITS))
    assert [(row.fov, row.frame, row.check, row.value) for row in rows] == [(2, None, "missing_pc_ch_0", 2)]
    assert of_frames(tmp_path, np.zeros_like(frames), missing=range(10)) == {(None, "missing_pc_ch_0")}


def test_a_fov_darker_than_the_others(tmp_path):
    arrays = {fov: written(tmp_path / str(fov), movie(level=200 if fov == 3 else 900, seed=fov)) for fov in range(5)}
    rows = list(check_fovs(arrays, qc_brightness=2.0))
    assert [(row.fov, row.frame, row.check) for row in rows] == [(3, None, "brightness_pc_ch_0")]


def test_times():
    def rows(times, senseless=()):
        return [(row.frame, row.check) for row in check_times(0, times, senseless, 3.0)]

    assert rows([0, 5, 10, 15.5, 20]) == rows([0.0]) == rows([]) == []
    assert rows([0, 5, 10, 15], senseless=[2]) == [(2, "time_order")]
    assert rows([0, 5, 10, 40, 45]) == [(3, "time_gap")]


def of_steps(*steps):
    """Frames after a gap, of a movie with these intervals."""
    return [frame for frame, _ in time_checks.gaps(np.cumsum([0.0, *steps]).tolist(), 3.0)]


@pytest.mark.parametrize(("minutes", "rows"), [(5e-6, 1), (0.001, 0), (10, 0), (24 * 60, 0), (10_000, 1)])
def test_an_interval_in_another_unit(minutes, rows):
    found = list(check_times(1, [at * minutes for at in range(9)], [], 3.0))
    assert [(row.frame, row.check, row.value) for row in found] == [
        (None, "time_interval", pytest.approx(minutes))
    ] * rows
    assert not list(check_times(1, [0.0], [], 3.0))


@pytest.mark.parametrize(("period_s", "told"), [(600, False), (400, False), (1300, True), (0.6, True), (10, True)])
def test_stamps_that_the_declared_period_contradicts(period_s, told):
    """Frames every 10 min. A camera may be slower than planned, never faster; a file may say 1 ms for `no delay`."""

    def rows(times, period_min):
        place = {"times_min": times, "senseless_stamps": []}
        return [row[0] for row in time_checks.assumed(times, "file time stamps", place, False, period_min)]

    times = [10.0 * at for at in range(6)]
    assert rows(times, period_s / 60) == ["time_units"] * told
    assert rows([at / 60 for at in range(6)], 1e-3 / 60) == rows(times, None) == rows(times, 0.0) == []
    paused = [time + 300.0 * (time > 20) for time in times]
    assert rows(paused, period_s / 60) == ["time_units"] * told
    # Every 10 min, then every 100: planned, and the period says one of the two, or their mean.
    changed = [*times[:5], *(40.0 + 100 * at for at in range(1, 4))]
    assert rows(changed, 10.0) == rows(changed, 50.0) == rows(changed, 100.0) == []


@pytest.mark.parametrize(("factor", "told"), [(60, True), (1 / 60, True), (1000, True), (1, False), (2, False)])
def test_a_time_mapping_in_another_unit_than_the_stamps(factor, told):
    stamps = [10.0 * at for at in range(6)]
    place = {"times_min": stamps, "senseless_stamps": []}
    mapped = [factor * time for time in stamps]
    found = list(time_checks.assumed(mapped, "time_mapping", place, False, 10.0))
    assert [row for row in found if row[0] == "time_units"] == [("time_units", pytest.approx(10 * factor), 10.0)] * told


@pytest.mark.parametrize("n_fovs", [4, 5, 40])
@pytest.mark.parametrize(("interval_min", "told"), [(10, False), (10e-3, True), (10e-3 / 60, True)])
def test_fovs_that_are_visited_faster_than_a_stage_moves(n_fovs, interval_min, told):
    def rows(starts):
        times = {fov: (start + interval_min * np.arange(6)).tolist() for fov, start in enumerate(starts)}
        return [(row.fov, row.frame, row.check) for row in check_visits(times)]

    in_turn = interval_min * 0.9 * np.arange(n_fovs) / n_fovs
    found = [(0, None, "time_interval")] if told and 0.1 * n_fovs > 60 * interval_min and n_fovs >= 5 else []
    assert rows(in_turn) == found
    assert rows(np.zeros(n_fovs)) == rows(in_turn[::-1]) == rows(10 * interval_min * np.arange(n_fovs)) == []


@pytest.mark.parametrize(("um", "limit"), [(0.65e-6, 0.01), (0.65e-3, 0.01), (650.0, 50.0), (1e9, 50.0)])
def test_a_pixel_size_in_another_unit(um, limit):
    assert [(row.check, row.value, row.limit) for row in check_pixel_size(0, um)] == [("pixel_size", um, limit)]


@pytest.mark.parametrize("um", [None, 0.0325, 0.0906, 0.65, 13.0])
def test_pixel_sizes_of_microscopes(um):
    assert not list(check_pixel_size(0, um))


def test_a_planned_change_of_the_interval_is_no_gap():
    assert of_steps(*[1] * 9, *[10] * 8) == []
    assert of_steps(*[10] * 8, *[1] * 9, *[60] * 3) == []
    assert of_steps(*[1] * 30, *[10] * 4) == []
    rng = np.random.default_rng(0)
    assert of_steps(*rng.uniform(0.9, 1.1, 20), *rng.uniform(9, 11, 12)) == []


@pytest.mark.parametrize("n", [3, 5])
def test_frames_taken_in_bursts_have_no_gaps(n):
    burst = [1] * (n - 1) + [20]
    assert of_steps(*burst * 4) == []
    assert of_steps(*burst * 4, 1, 1) == []
    assert of_steps(*burst * 2, 1, *burst * 2) == [n, 2 * n, 3 * n + 1, 4 * n + 1]  # not at like distances
    assert of_steps(*burst * 2, 1, 1) == [n, 2 * n]  # two pauses are no plan
    assert 3 * n in of_steps(*burst * 2, *burst[:-1], 60, *burst)  # not of like length


def test_gaps_in_a_movie_with_two_intervals():
    assert of_steps(*[1] * 9, *[10] * 4, 45, *[10] * 4) == [14]
    assert of_steps(*[1] * 4, 8, *[1] * 4, *[10] * 9) == [5]  # shorter than the later interval
    assert of_steps(*[1] * 9, 45, *[10] * 8) == [10]  # where the interval changes
    assert of_steps(*[1] * 9, 25, *[10] * 8) == []
    assert of_steps(*[5] * 9, 30, 30, *[5] * 9) == [10, 11]  # two pauses are no plan
    assert of_steps(*[1] * 9, 10, 10) == [10, 11]


@given(st.lists(st.floats(1.0, 1.4), min_size=1, max_size=30), st.integers(0, 40), st.floats(5, 100))
def test_a_pause_anywhere(steps, at, pause):
    at = min(at, len(steps))
    found = of_steps(*steps[:at], pause, *steps[at:])
    assert found == ([at + 1] if len(steps) > 1 else [])
    assert of_steps(*steps) == []


def assumed(source, place, others=False, times=(0.0, 10.0, 20.0)):
    place = {"times_min": None, "senseless_stamps": [], **place}
    return [row[0] for row in time_checks.assumed(times, source, place, others)]


def test_times_that_are_guesses():
    """An interval that the file does not say, or says while its stamps, or other FOVs', say something else."""
    known = {"times_min": [25.0, 35.0, 45.0]}
    assert assumed("file time stamps", known, others=True) == []
    assert assumed("frame_interval", {}) == ["time_assumed"]
    assert assumed("file period", {}) == []
    assert assumed("file period", {"senseless_stamps": [2]}) == ["time_assumed"]
    assert assumed("file period", {}, others=True) == ["time_assumed"]
    assert assumed("frame_interval", {}, times=[0.0]) == []


def test_time_mapping_of_fovs_that_began_at_different_times():
    assert assumed("time_mapping", {"times_min": [0.5, 10.5, 20.5]}) == []
    assert assumed("time_mapping", {"times_min": [25.0, 35.0, 45.0]}) == ["time_mapping"]
    assert assumed("time_mapping", {}) == []


def test_a_fov_without_stamps_is_one_row():
    rows = list(check_times(4, [0, 5, 10], [0, 1, 2], 3.0, [("time_assumed", 5.0, None)]))
    assert [(row.fov, row.frame, row.check, row.value) for row in rows] == [
        (4, None, "time_order", 3),
        (4, None, "time_assumed", 5.0),
    ]


def cells(n_cells=12, n_frames=20, area=300):
    rng = np.random.default_rng(1)
    return rng.integers(int(area * 0.7), int(area * 1.3), (n_cells, n_frames)).astype(np.int32)


def of_cells(areas, dividing=()):
    return found(check_cells(0, areas, np.isin(np.arange(len(areas)), dividing), **OF_CELLS))


def test_sound_cells():
    assert of_cells(cells()) == set()
    coming = cells()
    for row in range(12):
        coming[row, : row // 2] = 0
    assert {check for _, check in of_cells(coming)} <= {"cell_count"}
    assert of_cells(cells(n_cells=2)) == set()


def test_no_cells():
    assert of_cells(np.zeros((0, 20), np.int32)) == {(None, "no_cells")}


def test_a_frame_in_which_cells_are_missing():
    areas = cells()
    areas[:8, 7] = 0
    assert of_cells(areas) == {(7, "cell_count")}


def test_merged_cells():
    areas = cells()
    areas[3, 11] = 300 * 7
    assert of_cells(areas) == {(11, "cell_size")}


def test_all_traces_end():
    areas = cells()
    areas[:11, 15:] = 0
    assert (15, "cells_vanish") in of_cells(areas)
    assert {frame for frame, check in of_cells(areas) if check == "cells_vanish"} == {15}


def test_mothers_that_divide_do_not_vanish():
    areas = np.concatenate([cells(), cells(24)])
    areas[:12, 15:], areas[12:, :15] = 0, 0
    assert (15, "cells_vanish") in of_cells(areas, range(1))
    assert "cells_vanish" not in {check for _, check in of_cells(areas, range(12))}


def traces(values):
    """Traces whose intensity_mean_ch_1 is values (N, T)."""
    lines = ["fov,cell,frame,good,intensity_mean_ch_1,area_ch_0"]
    lines += [f"0,{cell},{frame},True,{v},9" for cell, row in enumerate(values.tolist()) for frame, v in enumerate(row)]
    return "\n".join(lines).replace("nan", "NaN") + "\n"


def of_traces(values, n_cells=None):
    n_cells = len(values) if n_cells is None else n_cells
    return found(check_traces(0, n_cells, light_of_traces(traces(values)), qc_negative=5.0, qc_exposure=1.25))


def test_cells_without_fluorescence_are_not_below_the_background():
    rng = np.random.default_rng(0)
    assert of_traces(rng.normal(0, 3, (15, 60))) == set()


def test_a_background_above_the_signal():
    values = np.random.default_rng(0).normal(4, 3, (15, 10))
    values[:, 6] -= 12
    values[3, :] = np.nan
    assert of_traces(values) == {(6, "below_background_ch_1")}


def shining(n_cells=20, n_frames=24, seed=0):
    """Intensities (N, T) of cells that begin to shine at different times, with noise."""
    rng = np.random.default_rng(seed)
    since = np.maximum(np.arange(n_frames) - rng.uniform(0, 12, (n_cells, 1)), 0)
    return rng.lognormal(5, 0.8, (n_cells, 1)) * since / (3 + since) + rng.normal(0, 3, (n_cells, n_frames))


@pytest.mark.parametrize("n_cells", [10, 60])
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5, 3.0])
def test_a_frame_in_which_all_cells_flicker(n_cells, factor):
    values = shining(n_cells)
    assert of_traces(values) == set()
    values[:, 15] *= factor
    assert of_traces(values) == {(15, "flicker_ch_1")}


@pytest.mark.parametrize("n_dark", [1, 2, 5])
def test_frames_in_which_a_lamp_failed(n_dark):
    """Each of them; where it stays off, the first. Also a channel so dim that its background tells nothing."""
    values = shining(40)
    values[:, 12 : 12 + n_dark] = np.random.default_rng(n_dark).normal(0, 3, (40, n_dark))
    assert of_traces(values) == {(frame, "flicker_ch_1") for frame in range(12, 12 + n_dark)}
    values[:, 12:] = np.random.default_rng(n_dark).normal(0, 3, (40, 12))
    assert of_traces(values) == {(12, "flicker_ch_1")}


@pytest.mark.parametrize("without_data", [range(20, 24), range(16, 17), range(11, 12), range(1, 24, 2), ()])
def test_a_lamp_that_failed_beside_frames_without_data(without_data):
    """A frame that the file lacks, or a channel that is taken in every other frame: cells that stay out are one row."""
    values = shining(40)
    values[:, 12:] = np.random.default_rng(1).normal(0, 3, (40, 12))
    values[:, without_data] = np.nan
    assert of_traces(values) == {(12, "flicker_ch_1")}
    values[:, 18:] = shining(40)[:, 18:]
    values[:, without_data] = np.nan
    dark = set(range(12, 18)) - set(without_data)
    assert of_traces(values) == {(frame, "flicker_ch_1") for frame in dark}


def test_cells_that_end_while_a_lamp_is_off():
    values = shining(40)
    values[:, 12:] = np.random.default_rng(1).normal(0, 3, (40, 12))
    values[3:, 16:] = np.nan
    assert of_traces(values) == {(12, "flicker_ch_1")}


def test_a_frame_that_shows_another_place():
    """What lies under the outlines of cells there: nothing, or parts of other cells."""
    values, other = shining(), shining(seed=5)
    values[:, 15] = np.where(np.arange(20) < 15, 0, other[:, 15] / 3)
    assert of_traces(values) == {(15, "flicker_ch_1")}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_cells", [4, 6, 20, 60])
def test_cells_that_do_not_flicker(n_cells, seed):
    """Noise alone; light that all cells get at once, keep, or lose for longer; one that flashes; small flickers."""
    rng = np.random.default_rng(seed)
    values = shining(n_cells, seed=seed)
    lit, lost, flash, small = (values.copy() for _ in range(4))
    lit[:, :15] = rng.normal(0, 3, (n_cells, 15))
    lost[:, 15:] *= 0.3
    flash[0, 15] *= 9
    small *= rng.uniform(0.95, 1.05, values.shape[1])
    for of_cells in (rng.normal(0, 3, values.shape), lit, lost, flash, small):
        assert "flicker_ch_1" not in {check for _, check in of_traces(of_cells)}


def test_everything_filtered():
    assert of_traces(np.zeros((0, 5)), n_cells=7) == {(None, "all_filtered")}
    assert of_traces(np.zeros((0, 5)), n_cells=0) == set()


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 9), st.sampled_from(["a", "b"]))))
def test_the_table_is_sorted_and_whole(places):
    import csv
    import io

    text = as_csv([Finding(*place, 0.5, None) for place in places])
    rows = list(csv.DictReader(io.StringIO(text)))
    read = [(int(row["fov"]), int(row["frame"]) if row["frame"] else None, row["check"]) for row in rows]
    assert sorted(read, key=str) == sorted(places, key=str)
    assert [(fov, -1 if frame is None else frame) for fov, frame, _ in read] == sorted(
        (fov, -1 if frame is None else frame) for fov, frame, _ in places
    )


@given(st.integers(0, 65535), st.integers(1, 40), st.integers(1, 40))
def test_statistics_of_a_constant_frame(value, height, width):
    of_frame = statistics_of(np.full((height, width), value, np.uint16))
    assert (of_frame["lowest"], of_frame["highest"], of_frame["mean"]) == (value, value, value)
    assert of_frame["contrast"] == 0


@pytest.mark.parametrize(("interval", "told"), [(10, []), (60, []), (1, []), (10_000, [0.0005]), (0.01, [30.0])])
@pytest.mark.parametrize("n_frames", [12, 300])
def test_cells_as_slow_or_fast_as_no_cell(interval, told, n_frames):
    """Cells that walk by 1.3 um in a frame of 10 min, with outlines that jitter; times a thousand times off.

    In long movies the net way of a random walk is short, and nothing is said.
    """
    told = told if n_frames == 12 or interval > 1 else []
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 1.4, (20, n_frames, 2)), axis=1) + rng.uniform(0, 500, (20, 1, 2))
    middles = np.where(rng.uniform(size=(20, n_frames, 1)) < 0.9, walk + rng.normal(0, 0.2, walk.shape), np.nan)
    times = (np.arange(n_frames) * float(interval)).tolist()

    def rows(of, times=times, pixel_size_um=0.65):
        return list(check_speed({3: of}, {3: times}, pixel_size_um, qc_slowest=0.0005, qc_fastest=30.0))

    assert [(row.fov, row.frame, row.check, row.limit) for row in rows(middles)] == [
        (3, None, "cell_speed", limit) for limit in told
    ]
    assert rows(middles, pixel_size_um=None) == rows(middles[:3]) == rows(middles[:, :1], times[:1]) == []


def test_still_cells_and_quick_movies_have_a_speed_too():
    """Fixed cells every 10 min, and cells filmed ten times a second: their outlines jitter."""
    rng = np.random.default_rng(0)
    still = rng.uniform(0, 500, (20, 1, 2)) + rng.normal(0, 0.3, (20, 200, 2))
    for interval in (10, 0.1 / 60):
        times = (np.arange(200) * interval).tolist()
        assert list(check_speed({0: still}, {0: times}, 0.65, qc_slowest=0.0005, qc_fastest=30.0)) == []
