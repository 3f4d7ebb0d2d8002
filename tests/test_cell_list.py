"""The list of all cells of a FOV: where each is, what was measured, why it is left out; against pandas and numpy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celltraces.features.cell_list import (
    FEWEST_ROWS,
    KINDS,
    LETTERS,
    REFUSED,
    FoundCells,
    cell_list,
    growth_rates,
    legend_of,
)
from celltraces.features.filters import why_left_out


def found_of(valid, short, border, min_frames=3, border_margin=5):
    """Cells 2, 4, 6 ... that are in the frames `valid` (N, T)."""
    valid, short, border = (np.array(values, bool) for values in (valid, short, border))
    words = why_left_out(short, border, valid.sum(axis=1), min_frames, border_margin)
    return FoundCells(2 * np.arange(1, len(valid) + 1), valid, short, border, words)


@pytest.fixture
def found():
    """Cell 2 is kept, 4 too short, 6 near the edge, 8 both, 10 kept by the filters."""
    frames = [[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 1]]
    return found_of(frames, [0, 1, 0, 1, 0], [0, 0, 1, 1, 0])


def traces_of(found, cells, good, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (cell, frame, 7.0 * frame, rng.uniform(50, 90), rng.normal())
        for cell, of_cell in zip(found.ids.tolist(), found.valid, strict=True)
        for frame in np.flatnonzero(of_cell).tolist()
        if cell in cells
    ]
    table = pd.DataFrame(rows, columns=["cell", "frame", "time_min", "area_ch_0", "light_ch_1"])
    return table.assign(good=[good(cell, frame) for cell, frame in zip(table.cell, table.frame, strict=True)])


def test_each_cell_has_a_row_with_its_frames_and_reason(found):
    """10 was refused by a person, 6 taken in by hand although it is near the edge, 2 left out in frame 1."""
    traces = traces_of(found, (2, 6, 10), lambda cell, frame: cell != 10 and (cell, frame) != (2, 1))
    table = cell_list(found, traces, ["area_ch_0", "light_ch_1"], {4: (2, 1)}, "area_ch_0").set_index("cell")
    assert table.index.tolist() == [2, 4, 6, 8, 10]
    for cell, of_cell in zip(found.ids.tolist(), found.valid, strict=True):
        there = [frame for frame, is_in in enumerate(of_cell) if is_in]
        assert table.loc[cell, ["first_frame", "last_frame", "frames"]].tolist() == [there[0], there[-1], len(there)]
    assert table["in_tables"].tolist() == [True, False, True, False, False]
    assert table["left_out"].tolist() == [
        "",
        "in 2 frames, fewer than min_frames 3",
        "taken in by hand: within border_margin 5 px of the edge",
        "in 1 frame, fewer than min_frames 3; within border_margin 5 px of the edge",
        REFUSED,
    ]
    for column in ("area_ch_0", "light_ch_1"):
        expected = {
            2: np.median(traces[(traces.cell == 2) & (traces.frame != 1)][column]),
            6: np.median(traces[traces.cell == 6][column]),
            10: np.median(traces[traces.cell == 10][column]),
        }
        got = table["median_" + column]
        np.testing.assert_allclose(got[[2, 6, 10]], list(expected.values()), rtol=1e-12)
        assert got[[4, 8]].isna().all()
    assert table.loc[4, ["parent", "division_frame"]].tolist() == [2, 1]
    assert table["parent"].isna().sum() == 4


def test_a_fov_without_cells_changes_no_type_of_the_others(found):
    """Lists of FOVs stand below each other: True is to stay True, which the report and the page read."""
    traces = traces_of(found, (2,), lambda *_: True)
    nothing = FoundCells(found.ids[:0], found.valid[:0], found.short[:0], found.border[:0], [])
    lists = [cell_list(of_fov, traces, ["area_ch_0"], {}, "area_ch_0") for of_fov in (found, nothing)]
    assert lists[1].dtypes.to_dict() == lists[0].dtypes.to_dict()
    text = pd.concat(lists).to_csv(index=False, float_format="%.6g")
    assert [line.split(",")[4] for line in text.splitlines()[1:]] == ["True", "False", "False", "False", "False"]


def test_kinds_are_those_of_filters_or_a_person(found):
    assert found.kinds([2]) == {4: "short", 6: "border", 8: "both", 10: "refused"}
    assert found.kinds([2, 4, 6, 8, 10]) == {}
    assert set(LETTERS) == set(KINDS)
    assert legend_of(["both"], 3, 5) == ["f: in fewer than 3 frames", "e: within 5 px of the edge"]
    assert legend_of(["refused"], 3, 5) == [f"r: {REFUSED}"]
    assert legend_of([], 3, 5) == []


def test_a_fov_without_traces_or_cells(found):
    nothing = traces_of(found, (), lambda *_: True)
    table = cell_list(found, nothing, ["area_ch_0"], {}, "area_ch_0")
    assert not table["in_tables"].any()
    assert table["median_area_ch_0"].isna().all()
    none = found_of(np.zeros((0, 5)), [], [])
    assert len(cell_list(none, nothing, ["area_ch_0"], {}, None)) == 0


@given(st.floats(-0.5, 0.5), st.integers(0, 12), st.integers(0, 3))
def test_growth_is_the_slope_of_the_logarithm(rate, n_frames, n_absent):
    hours = np.arange(n_frames) / 6
    rng = np.random.default_rng(n_frames)
    areas = 300 * np.exp(rate * hours) * rng.uniform(0.9, 1.1, n_frames)
    areas[:n_absent] = np.nan
    traces = pd.DataFrame({"cell": 3, "time_min": 60 * hours, "area": areas})
    there = np.isfinite(areas)
    rates = growth_rates(traces, "area")
    if there.sum() < FEWEST_ROWS:
        assert rates == {}
    else:
        assert rates[3] == pytest.approx(np.polyfit(hours[there], np.log(areas[there]), 1)[0], abs=1e-9)
