"""Samples over several datasets: which FOVs they are, joined tables, intervals that cover what is true, the page."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, new_page
from report_tools import HOSTILE, carried
from scipy import stats
from test_config import MINIMAL

import compare_samples
import join_tables
import join_traces
from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.kinetics.model_free import UNITS
from celltraces.planning import samples
from celltraces.report.comparison import mean_of_fovs
from celltraces.report.effects import effect_of_sample

# ------------------------------------------------------------------------------------------- which FOVs a sample is


def planned(name, n_fovs, fovs=None):
    movie = SimpleNamespace(fovs=[None] * n_fovs)
    return SimpleNamespace(
        name=name, path=f"{name}.nd2", movie=movie, fovs=tuple(range(n_fovs) if fovs is None else fovs)
    )


DATASETS = {"monday": planned("monday", 4, [0, 1, 3]), "tuesday": planned("tuesday", 2)}


def of_samples(**fovs):
    return {"samples": [{"name": name, "fovs": of_sample} for name, of_sample in fovs.items()]}


@pytest.mark.parametrize(
    ("written", "monday", "tuesday"),
    [
        ("all", ([0, 1, 3], [2]), ([0, 1], [])),
        ("1-3", ([1, 3], [2]), ([1], [])),
        (3, ([3], []), ([], [])),
        ([0, 2], ([0], [2]), ([0], [])),
        ({"monday": "0-1", "tuesday": [1]}, ([0, 1], []), ([1], [])),
        ({"tuesday": "all"}, ([], []), ([0, 1], [])),
    ],
)
def test_fovs_of_a_sample_in_each_dataset(written, monday, tuesday):
    config = of_samples(a=written)
    assert [*samples.sample_mistakes(config, DATASETS)] == []
    assert samples.sample_fovs(config, DATASETS["monday"], "a") == monday
    assert samples.sample_fovs(config, DATASETS["tuesday"], "a") == tuesday
    assert samples.samples_by_fov(config, DATASETS["monday"]) == {str(fov): "a" for fov in monday[0]}


@pytest.mark.parametrize(
    ("fovs", "line"),
    [
        (
            {"a": "0-4"},
            "samples.a.fovs: FOV 4 is not in the file, which has FOVs 0 to 3 ('monday.nd2'; the other files",
        ),
        ({"a": {"tuesday": "0-2"}}, "samples.a.fovs.tuesday: FOV 2 is not in the file, which has FOVs 0 to 1 ('tuesd"),
        ({"a": "2"}, "samples.a.fovs: none of them is processed; add them to `fovs`"),
        ({"a": {"tuesday": 0, "monday": 2}}, "samples.a.fovs.monday: none of them is processed; add them to `fovs` ('"),
        ({"a": "all", "b": "3"}, "samples: FOV 3 of monday is in a and in b; a FOV belongs to one sample"),
        ({"a": "0", "b": {"tuesday": "0-1"}}, "samples: FOV 0 of tuesday is in a and in b;"),
        ({"a": "0", "b": {"monday": "1-2"}, "c": {"monday": "1-3"}}, "samples: FOVs 1-2 of monday are in b and in c;"),
    ],
)
def test_a_wrong_sample_is_one_line(fovs, line):
    lines = [*samples.sample_mistakes(of_samples(**fovs), DATASETS)]
    assert len(lines) == 1
    assert lines[0].startswith(line)


@pytest.mark.parametrize("key", ["fovs", "samples.a.fovs"])
@pytest.mark.parametrize(
    ("name", "end"),
    [("mondy", "mondy: there is no dataset of this name; did you mean monday?"), ("x", "; datasets: monday")],
)
def test_a_dataset_that_is_not_there_is_one_line(key, name, end):
    fovs = {name: "all"}
    written = {"fovs": fovs} if key == "fovs" else of_samples(a=fovs)
    with pytest.raises(UserError) as error:
        complete({**MINIMAL, "datasets": {"monday": "a.nd2"}, **written})
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{key}.{name}: there is no dataset of this name")
    assert str(error.value).endswith(end)


@pytest.mark.parametrize("fovs", [{}, {"a": {}}, {"a": "1-"}, {"a": None}, {"a": {"b": 1}}])
def test_a_mapping_of_another_kind_is_one_line(fovs):
    with pytest.raises(UserError, match=r"^samples\.0\.fovs[^\n]*$"):
        complete({**MINIMAL, **of_samples(s=fovs)})


@pytest.mark.parametrize("name", ["traces.csv", "report.html", "Traces.parquet", "a_area_ch_0.csv"])
def test_a_dataset_has_no_name_of_a_file_that_lies_beside_it(name):
    with pytest.raises(UserError, match="this name is taken by the workflow"):
        complete({**MINIMAL, "datasets": {name: "a.nd2"}})


def test_what_is_in_the_samples_is_said():
    config = of_samples(a="0-2", b={"monday": "3"})
    assert [*samples.fovs_by_sample(config, DATASETS["monday"])] == ["a (FOV 0-2)", "b (FOV 3)"]
    assert [*samples.fovs_by_sample(config, DATASETS["tuesday"])] == ["a (FOV 0-1; others are not in this file)"]


# ---------------------------------------------------------------------------------------------------- joined tables


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


def test_tables_are_joined_line_by_line(tmp_path):
    head = "# Time units: min\n"
    parts = [
        write(tmp_path, "m.csv", head + "# Missing FOVs: 4 (failed)\ntime,fov,cell,value\n0.000000,1,7,1.500000\n"),
        write(tmp_path, "t.csv", head + "time,fov,cell,value\n"),
        write(tmp_path, "w.csv", head + "time,fov,cell,value\n0.1,0,1,NaN\n3,0,1,2\n"),
    ]
    names = ["monday", "tuesday", "wednesday"]
    join_tables.main([parts], [str(tmp_path / "all.csv")], datasets=names)
    assert (tmp_path / "all.csv").read_text() == (
        "# Time units: min\n# monday: Missing FOVs: 4 (failed)\ndataset,time,fov,cell,value\n"
        "monday,0.000000,1,7,1.500000\nwednesday,0.1,0,1,NaN\nwednesday,3,0,1,2\n"
    )
    for wrong in ("# Time units: h\ntime,fov,cell,value\n", head + "time,fov,value\n", ""):
        other = write(tmp_path, "x.csv", wrong)
        with pytest.raises(UserError, match=r"x\.csv: its unit or columns are not those"):
            join_tables.main([[parts[0], other]], [str(tmp_path / "none.csv")], datasets=names[:2])
    assert not (tmp_path / "none.csv").exists()


def test_traces_are_joined_as_csv_and_parquet(tmp_path):
    tables = {}
    for name, n in (("monday", 3), ("tuesday", 2)):
        table = pd.DataFrame(
            {"dataset": name, "fov": range(n), "x": np.arange(n) / 3, "parent": [pd.NA, *range(n - 1)]}
        )
        table = table.astype({"parent": "Int64"})
        table.to_csv(tmp_path / f"{name}.csv", index=False, na_rep="NaN")
        schema = pa.Schema.from_pandas(table, preserve_index=False).with_metadata({"missing_fovs": f"{n} (failed)"})
        pq.write_table(pa.Table.from_pandas(table, schema, preserve_index=False), tmp_path / f"{name}.parquet")
        tables[name] = table
    paths = [[str(tmp_path / f"{name}.{ending}") for name in tables] for ending in ("csv", "parquet")]
    join_traces.main(*paths, str(tmp_path / "all.csv"), str(tmp_path / "all.parquet"), datasets=[*tables])
    joined = pq.read_table(tmp_path / "all.parquet")
    expected = pd.concat(tables.values(), ignore_index=True)
    pd.testing.assert_frame_equal(joined.to_pandas(), expected, check_dtype=False)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "all.csv"), expected.astype({"parent": float}), check_dtype=False
    )
    assert joined.schema.metadata[b"missing_fovs"] == b"monday: 3 (failed); tuesday: 2 (failed)"


# ----------------------------------------------------------------------------------------------------------- effects


def one(values, dataset="monday"):
    return {dataset: np.array(values, float)}


A, B = [10.0, 12.5, 9.0, 11.0], [15.0, 13.0, 18.5]


def test_in_one_dataset_the_interval_is_that_of_welch():
    effect = effect_of_sample(one(A), one(B))
    expected = stats.ttest_ind(B, A, equal_var=False)
    assert effect.difference.value == pytest.approx(np.mean(B) - np.mean(A))
    assert effect.difference[1:] == pytest.approx([*expected.confidence_interval()])
    assert effect.degrees == pytest.approx(expected.df)
    assert (effect.method, effect.n_fovs, effect.notes) == ("Welch", (4, 3), ())
    assert np.isnan(effect.by_datasets.low)


def test_the_ratio_is_the_same_on_logarithms():
    expected = stats.ttest_ind(np.log(B), np.log(A), equal_var=False).confidence_interval()
    ratio = effect_of_sample(one(A), one(B)).ratio
    assert ratio.value == pytest.approx(stats.gmean(B) / stats.gmean(A))
    assert ratio[1:] == pytest.approx(np.exp([*expected]))
    assert np.isnan(effect_of_sample(one(A), one([0.0, 3, 4])).ratio.value)


def test_one_fov_of_each_in_every_dataset_are_pairs():
    before, after = [10.0, 14.0, 9.0], [13.0, 15.0, 14.0]
    sides = [{f"day {at}": np.array([value]) for at, value in enumerate(values)} for values in (before, after)]
    effect = effect_of_sample(*sides)
    expected = stats.ttest_rel(after, before).confidence_interval()
    assert effect.difference[1:] == pytest.approx([*expected])
    assert effect.by_datasets == pytest.approx(effect.difference)
    assert effect.method == "paired by dataset"


def test_datasets_as_the_unit():
    """Pairs of days where these hold both samples, else days against days."""
    rng = np.random.default_rng(5)
    days = [{f"day {at}": rng.normal(10 * at + shift, 1, 3) for at in range(4)} for shift in (0, 2)]
    before, after = ([fovs.mean() for fovs in side.values()] for side in days)
    expected = stats.ttest_rel(after, before).confidence_interval()
    assert effect_of_sample(*days).by_datasets[1:] == pytest.approx([*expected])
    elsewhere = {f"other {name}": fovs for name, fovs in days[1].items()}
    expected = stats.ttest_ind(after, before, equal_var=False).confidence_interval()
    effect = effect_of_sample(days[0], elsewhere)
    assert effect.by_datasets[1:] == pytest.approx([*expected])
    assert any("no dataset holds both" in note for note in effect.notes)


def test_hedges_g_and_its_interval():
    """g by its definition; at the ends of its interval Student's t has the observed value as its quantiles."""
    effect = effect_of_sample(one(A), one(B))
    degrees, error = 5, np.sqrt(1 / 4 + 1 / 3)
    spread = np.sqrt((np.var(A, ddof=1) * 3 + np.var(B, ddof=1) * 2) / degrees)
    d = (np.mean(B) - np.mean(A)) / spread
    assert effect.standardised.value == pytest.approx(
        d * (1 - 3 / (4 * degrees - 1)), rel=0.01
    )  # Hedges' approximation
    ends = np.array(effect.standardised[1:]) / effect.standardised.value * d / error
    np.testing.assert_allclose(stats.nct.cdf(d / error, degrees, ends), [0.975, 0.025], atol=1e-6)


@pytest.mark.parametrize(
    ("reference", "sample", "why"),
    [
        (one([1]), one([2, 3]), "at least two FOVs of each"),
        (one([1]), one([2]), "at least two FOVs of each"),
        (one([0, 0, 0]), one([0, 0]), "the same value"),
        (one([0.1] * 3), one([0.3] * 3), "the same value"),
        ({}, one([2, 3]), "has no FOV with a value"),
        (one([]), one([2, 3]), "has no FOV with a value"),
    ],
)
def test_where_there_is_no_interval_it_is_said_why(reference, sample, why):
    effect = effect_of_sample(reference, sample)
    assert np.isnan([*effect.difference[1:], *effect.standardised[1:]]).all()
    assert why in "; ".join(effect.notes)


def test_datasets_that_hold_one_sample_alone_do_not_count_where_others_hold_both():
    effect = effect_of_sample(one(A) | one([99.0, 98], "tuesday"), one(B))
    assert effect.difference == effect_of_sample(one(A), one(B)).difference
    assert effect.notes == ("2 FOVs in datasets that hold only one of the two are left out",)


def simulated(rng, *, n_days=3, n_fovs=3, n_cells=40, effect=1.0):
    """Cells of two samples as (day, fov, cell): they scatter less between cells of a FOV than FOVs and days do."""
    days = rng.normal(0, 3, n_days)[:, None, None]
    fovs = [rng.normal(0, 1, (n_days, n_fovs, 1)) for _ in range(2)]
    cells = [rng.normal(0, 2, (n_days, n_fovs, n_cells)) for _ in range(2)]
    return [10 + days + fovs[side] + cells[side] + effect * side for side in range(2)]


def test_intervals_by_fovs_cover_what_is_true_and_those_by_cells_do_not():
    """Of 500 simulated experiments 95 % (standard error 1 %), whatever differs from day to day."""
    rng = np.random.default_rng(11)
    covered = {"fovs": 0, "datasets": 0, "g": 0, "cells": 0}
    n = 500
    for _ in range(n):
        sides = simulated(rng)
        effect = effect_of_sample(*({f"day {day}": side[day].mean(axis=1) for day in range(3)} for side in sides))
        covered["fovs"] += effect.difference.low <= 1 <= effect.difference.high
        covered["datasets"] += effect.by_datasets.low <= 1 <= effect.by_datasets.high
        true_g = 1 / np.sqrt(1 + 4 / 40)
        covered["g"] += effect.standardised.low <= true_g <= effect.standardised.high
        # Cells as the unit, with what differs between days taken away: still far too narrow.
        within = [(side - side.mean(axis=(1, 2), keepdims=True) + side.mean()).ravel() for side in sides]
        low, high = stats.ttest_ind(within[1], within[0], equal_var=False).confidence_interval()
        covered["cells"] += low <= 1 <= high
    shares = {name: count / n for name, count in covered.items()}
    assert 0.93 < shares["fovs"] < 0.97, shares
    assert 0.93 < shares["datasets"] < 0.97, shares
    assert 0.92 < shares["g"] < 0.985, shares  # the unbiased g moves the interval of d a little
    assert shares["cells"] < 0.75, shares


# ------------------------------------------------------------------------------------------------- numbers and page


def test_the_mean_of_fovs_goes_by_their_own_times_and_does_not_jump_where_one_ends():
    times = np.array([[0.0, 10, 20, 30], [2, 12, 22, np.nan]])
    traces = np.array([[0.0, 10, 20, 30], [100, np.nan, 120, np.nan]])
    got = mean_of_fovs(times, traces, np.array([0.0, 7, 17, 22, 30]))
    np.testing.assert_allclose(got, [50, (7 + 105) / 2, (17 + 115) / 2, (22 + 120) / 2, (30 + 120) / 2])
    got = mean_of_fovs(times, traces, np.array([0.0, 33, 40, 60]))
    np.testing.assert_allclose(got, [50, np.nan, np.nan, np.nan])  # only one FOV is there, then none


FIT = {"column": "light_ch_1", "model": "exponential_decay", "parameters": {}}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Tidy tables of two days with movies of different length, and what the comparison is told of them."""
    folder = tmp_path_factory.mktemp("comparison")
    rng = np.random.default_rng(2)
    tables, datasets = [], []
    for name, n_fovs, n_frames in (("monday", 5, 6), ("tuesday", 4, 9)):
        place = [
            (fov, cell, frame) for fov in range(n_fovs) for cell in range(2, 9) for frame in range(cell % 3, n_frames)
        ]
        table = pd.DataFrame(place, columns=["fov", "cell", "frame"])
        table["time_min"] = table.frame * 10.0 + table.fov * 0.05
        table["light_ch_1"] = rng.normal(1000 + 200 * (table.fov % 2), 150)
        table["area_ch_0"] = rng.normal(500, 20, len(table))
        table.loc[rng.random(len(table)) < 0.1, "light_ch_1"] = np.nan
        table.loc[(table.fov == 3) & (table.cell == 4), "light_ch_1"] = np.nan
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), folder / f"{name}.parquet", row_group_size=50)
        of_fov = {str(fov): ("control", "drug")[fov % 2] for fov in range(4)}  # the fifth of monday is in none
        told = {
            "name": name,
            "n_frames": n_frames,
            "pixel_size_um": 0.5,
            "samples": of_fov,
            "missing": {},
            "n_tables": 1,
        }
        datasets.append(told)
        tables.append(table.assign(dataset=name, sample=table.fov.astype(str).map(of_fov)))
        fitted = table[["fov", "cell"]].drop_duplicates()
        # One table for both samples is as good as one for each.
        numbers = dict.fromkeys(["decay_rate", "offset", *UNITS], np.nan)
        numbers |= {"amplitude": 1.5 * fitted.cell, "auc": 2.0 * fitted.cell}
        fitted.assign(**numbers).to_csv(folder / f"{name}_fit.csv", index=False)
    return SimpleNamespace(folder=folder, datasets=datasets, table=pd.concat(tables, ignore_index=True))


def compared(experiment, folder, channels=("Phase", "GFP"), **changes):
    """The page and the tables of a comparison."""
    names = ("cells", "fovs", "effects")
    tidy, fits = (
        [str(experiment.folder / f"{each['name']}{end}") for each in experiment.datasets]
        for end in (".parquet", "_fit.csv")
    )
    settings = {
        "datasets": experiment.datasets,
        "samples": ["control", "drug"],
        "channels": {str(at): name for at, name in enumerate(channels)},
        "columns": ["light_ch_1", "area_ch_0"],
        "fits": [FIT],
        "size_mb": 8,
    }
    paths = [str(folder / f"{name}.csv") for name in names]
    compare_samples.main(tidy, fits, str(folder / "report.html"), paths, **settings | changes)
    return (folder / "report.html").read_text(), *(pd.read_csv(path) for path in paths)


def test_tables_and_page_say_what_the_traces_say(experiment, tmp_path):
    text, cells, fovs, effects = compared(experiment, tmp_path)
    table = experiment.table
    grouped = table.groupby(["dataset", "fov", "cell"])
    oracle = {
        "light_ch_1_mean": grouped.light_ch_1.mean(),
        "light_ch_1_max": grouped.light_ch_1.max(),
        "light_ch_1_last": table.dropna(subset="light_ch_1").groupby(["dataset", "fov", "cell"]).light_ch_1.last(),
        "area_ch_0_mean": grouped.area_ch_0.mean() * 0.25,  # um^2
        "first_min": grouped.time_min.min(),
        "frames": grouped.size(),
        "light_ch_1_exponential_decay_amplitude": grouped.cell.first() * 1.5,
        "light_ch_1_auc": grouped.cell.first() * 2.0,
    }
    indexed = cells.set_index(["dataset", "fov", "cell"])
    assert len(indexed) == len(grouped)
    for name, expected in oracle.items():
        np.testing.assert_allclose(indexed[name], expected.reindex(indexed.index), rtol=2e-5, err_msg=name)
    assert set(cells[cells["sample"].isna()].fov) == {4}

    of_light = fovs[fovs.quantity == "light_ch_1_mean"].set_index(["dataset", "fov"])
    expected = oracle["light_ch_1_mean"].groupby(["dataset", "fov"]).agg(["count", "mean", "std", "median"])
    for ours, theirs in zip(("cells", "mean", "sd", "median"), ("count", "mean", "std", "median"), strict=True):
        np.testing.assert_allclose(of_light[ours], expected[theirs].reindex(of_light.index), rtol=2e-5)
    assert of_light.loc[("monday", 3), "cells"] == 6  # one has no light at all
    assert set(of_light.index.get_level_values("fov")) == {0, 1, 2, 3}
    assert set(fovs[fovs.quantity == "area_ch_0_mean"].unit) == {"µm²"}

    row = effects[effects.quantity == "light_ch_1_mean"].iloc[0]
    means = [
        {day: of_day[of_day["sample"] == name]["mean"].to_numpy() for day, of_day in of_light.groupby("dataset")}
        for name in ("control", "drug")
    ]
    effect = effect_of_sample(*means)
    assert (row["sample"], row["reference"]) == ("drug", "control")
    np.testing.assert_allclose(
        row[["difference", "difference_low", "difference_high"]].astype(float), effect.difference, rtol=1e-4
    )
    assert row[["fovs", "fovs_reference", "datasets", "cells", "cells_reference"]].tolist() == [4, 4, 2, 26, 28]

    data, rows, _ = carried(text)
    assert data["unit"] == "min"
    assert len(data["cells"]) == 56
    light = data["features"][0]
    expected = table[table["sample"].notna()].groupby(["dataset", "fov", "frame"]).light_ch_1.mean()
    for got, (dataset, fov, sample) in zip(rows(light["fovs"]), data["fovs"], strict=True):
        of_fov = expected[data["datasets"][dataset]["name"], fov]
        np.testing.assert_allclose(got[of_fov.index], of_fov, atol=0.05)
        assert np.isnan(got[len(of_fov) :]).all()
        assert data["samples"][sample]["name"] == ("control", "drug")[fov % 2]
    backwards = {(a, b): effect for a, b, effect in data["quantities"][0]["effects"]}
    assert backwards[1, 0]["difference"] == pytest.approx(-backwards[0, 1]["difference"])
    assert backwards[1, 0]["difference_low"] == pytest.approx(-backwards[0, 1]["difference_high"])


def test_pixels_stay_where_a_dataset_does_not_tell_their_size(experiment, tmp_path):
    unknown = [{**experiment.datasets[0], "pixel_size_um": None}, experiment.datasets[1]]
    _, cells, fovs, _ = compared(experiment, tmp_path, datasets=unknown)
    assert set(fovs[fovs.quantity == "area_ch_0_mean"].unit) == {"px"}
    assert cells.area_ch_0_mean.min() > 400


def test_a_page_with_more_than_has_room_shows_a_part_of_it(experiment, tmp_path, monkeypatch):
    full, *_ = compared(experiment, tmp_path)
    size = len(full.encode()) / 1e6
    small, *_ = compared(experiment, tmp_path, size_mb=size - 0.001)
    assert len(small.encode()) / 1e6 < size
    assert 0 <= len(carried(small)[0]["cells"]) < 56


def test_one_sample_and_no_cell_at_all(experiment, tmp_path):
    text, *_, effects = compared(experiment, tmp_path, samples=["control"])
    assert len(effects) == 0
    assert "There is one sample" in text
    empty = experiment.table.head(0).drop(columns=["dataset", "sample"]).astype({"fov": int, "cell": int, "frame": int})
    folder = tmp_path / "empty"
    folder.mkdir()
    for each in experiment.datasets:
        pq.write_table(pa.Table.from_pandas(empty, preserve_index=False), folder / f"{each['name']}.parquet")
        (folder / f"{each['name']}_fit.csv").write_text(
            ",".join(["fov", "cell", "amplitude", "decay_rate", "offset", *UNITS]) + "\n"
        )
    text, cells, fovs, effects = compared(SimpleNamespace(folder=folder, datasets=experiment.datasets), tmp_path)
    assert (len(cells), len(fovs)) == (0, 0)
    assert set(effects.notes) == {"one of the two has no FOV with a value"}
    assert carried(text)[0]["fovs"] == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [1366, 400])
def test_what_is_chosen_is_drawn(experiment, tmp_path, width):
    compared(experiment, tmp_path, channels=(HOSTILE[0], HOSTILE[1]))
    with new_page(width) as page:
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector("body[data-ready=yes]")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator(".js-plotly-plot").count() == 3
        rows = page.locator("#table-effects tr").all_inner_texts()
        assert rows[1].startswith("drug")
        page.locator("#reference").select_option(label="drug")
        assert page.locator("#table-effects tr").nth(1).inner_text().startswith("control")
        labels = page.locator("#quantity option").all_inner_texts()
        fitted = next(at for at, label in enumerate(labels) if label.startswith("amplitude of"))
        page.locator("#quantity").select_option(str(fitted))
        # Of a number that is the same in all FOVs there is no interval, and it is said why.
        assert "same value" in page.locator("#table-effects .why").inner_text()
        page.locator("#colours").select_option("datasets")
        page.locator("#log").check()
        with page.expect_download() as download:
            page.locator("#data-numbers").click()
        saved = pd.read_csv(download.value.path())
        assert set(saved.columns) == {"sample", "dataset", "fov", "cell", "light_ch_1_exponential_decay_amplitude"}
        assert (page.errors, [address for address in page.requests if address.startswith("http")]) == ([], [])
