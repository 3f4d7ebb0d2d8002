"""Fits in the workflow: the tables they leave, what reruns them, and mistakes in `fits` before any job."""

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Checkout, small_config
from stages import EXTRACT, RECORD

from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.kinetics import models
from celltraces.planning.datasets import plan_datasets

LINE = """
import numpy as np

def line(t, level, slope):
    return level + slope * t

line.parameters = {
    "level": {"initial": 0, "bounds": [-1e7, 1e7], "unit": "counts", "linear": True},
    "slope": {"initial": 0, "bounds": [-1e7, 1e7], "unit": "counts/h", "linear": True},
}
"""
FITS = [
    {"channel": 1, "feature": "intensity_total", "model": "maturation", "parameters": {"beta": {"fixed": "5e-3"}}},
    {"channel": "mCherry", "feature": "intensity_total", "model": "mine.py:line"},
]


@pytest.fixture(scope="module")
def finished(movies, finished_fov, tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("run"), finished_fov)
    (checkout.folder / "mine.py").write_text(LINE)
    checkout.base = small_config(movies, fovs="0", samples=[{"name": "one", "fovs": "0"}], fits=FITS)
    outcome = checkout.run(checkout.base)
    assert outcome.code == 0, outcome.text
    assert outcome.jobs["fit"] == 2
    return checkout


def tables(checkout, column, model):
    folder = checkout.folder / "results/small"
    return (pd.read_csv(folder / f"one_{column}{end}.csv", comment="#") for end in ("", f"_fitted_{model}"))


def test_there_is_a_row_for_each_cell_and_its_curve_explains_what_it_says(finished):
    for column, written in (("intensity_total_ch_1", "maturation"), ("intensity_total_ch_2", "mine.py:line")):
        model = models.find_model(written if ":" not in written else f"{finished.folder / written}")
        traces, fits = tables(finished, column, model.name)
        cells = traces[["fov", "cell"]].drop_duplicates().sort_values(["fov", "cell"])
        assert fits[["fov", "cell"]].to_numpy().tolist() == cells.to_numpy().tolist()
        assert (fits["model_type"] == model.name).all()
        assert fits["success"].any()
        for row in fits[fits["success"]].to_dict("records"):
            trace = traces[(traces["fov"] == row["fov"]) & (traces["cell"] == row["cell"])].dropna()
            parameters = {name: row.get(f"{name}_best", row.get(name)) for name in model.parameters}
            curve = model.curve(trace["time"].to_numpy() / 60, **parameters)
            rest = ((trace["value"] - curve) ** 2).sum() / ((trace["value"] - trace["value"].mean()) ** 2).sum()
            assert row["r_squared"] == pytest.approx(max(1 - rest, 0), abs=1e-3)
            assert row["maximum"] == pytest.approx(trace["value"].max(), rel=1e-5)
        if model.name == "maturation":
            assert (fits["beta"] == 5e-3).all()
    line = fits[fits["success"]]
    slope, _ = np.polyfit(trace["time"] / 60, trace["value"], 1)
    assert line["slope_best"].iloc[-1] == pytest.approx(slope, rel=1e-4)


def test_fits_are_recorded_as_they_were_run(finished):
    record = yaml.safe_load((finished.folder / "results/small/processing_config.yaml").read_text())
    maturation, line = record["fits"]
    assert {maturation["column"], maturation["model"]} == {"intensity_total_ch_1", "maturation"}
    assert maturation["parameters"]["beta"] == {"fixed": 5e-3}
    assert set(maturation["parameters"]) == set(models.MODELS["maturation"].parameters)
    assert line == {
        "column": "intensity_total_ch_2",
        "model": "mine.py:line",
        "parameters": {name: {"initial": 0.0, "bounds": [-1e7, 1e7]} for name in ("level", "slope")},
    }


def with_fit(finished, **changes):
    return {**finished.base, "fits": [{**FITS[0], **changes}, FITS[1]]}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"parameters": {"beta": {"fixed": 5e-3}, "delta": {"bounds": [1e-4, 5]}}}, {"fit": 1}),
        ({"model": "trivial", "parameters": {}}, {"fit": 1}),
        # The same in other words, with defaults written out.
        ({"channel": "GFP", "parameters": {"beta": {"fixed": 0.005}, "km": {"fixed": 1.28}, "t0": {"initial": 0}}}, {}),
    ],
    ids=["a parameter", "the model", "in other words"],
)
def test_a_change_of_a_fit_reruns_this_fit_only(finished, change, rules):
    shown = {"record": 1, "write_report": 1} if rules else {}
    assert finished.planned(with_fit(finished, **change)) == rules | shown


def test_what_is_fitted_reruns_the_fits(finished):
    config = {**finished.base, "params": {**finished.base["params"], "background_weight": 0.5}}
    assert set(finished.planned(config)) == EXTRACT | {"fit"} | RECORD


@pytest.mark.parametrize(
    ("source", "rules"),
    # The record of the run names files of the user's, which count by their content.
    [("scripts/celltraces/kinetics/models.py", {"fit": 2}), ("mine.py", {"fit": 1, "record": 1})],
)
def test_an_edit_of_a_model_reruns_its_fits_only(finished, source, rules):
    path = finished.folder / source
    before = path.read_text()
    try:
        path.write_text(before + "\n\ndef _added():\n    return 1\n")
        assert finished.planned(finished.base) == {**rules, "write_report": 1}
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"fits": [{**FITS[0], "model": "maturated"}]}, "fits.0.model: 'maturated' is none of maturation, trivial,"),
        ({"fits": [{**FITS[0], "channel": 7}]}, "fits.0.channel: channel 7 is not in"),
        (
            {"fits": [FITS[0], {**FITS[1], "feature": "intensity_mean"}]},
            "fits.1.feature: 'intensity_mean' is not extracted from channel 2; there: intensity_total, particle_num",
        ),
        ({"fits": [{**FITS[0], "parameters": {"km": {"bounds": [2, 1]}}}]}, "fits.0.parameters.km.bounds: the lower"),
        (
            {"fits": [{**FITS[0], "parameters": {"km": {"fixed": "fast"}}}]},
            "fits.0.parameters.km.fixed: 'fast' is text; allowed: a number",
        ),
        (
            {"fits": [{**FITS[0], "parameters": {"km": {"bounds": [1]}}}]},
            "fits.0.parameters.km.bounds: [1] is not allowed; allowed: [low, high]",
        ),
        (
            {"fits": [{**FITS[0], "parameters": {"km": {}}}]},
            "fits.0.parameters.km: {} is not allowed; allowed: {fixed: value} or {initial",
        ),
        ({"fits": [{"channel": 1, "model": "trivial"}]}, "fits.0: the key 'feature' is missing"),
        ({"fits": [FITS[0], FITS[0]]}, "fits.1: maturation is fitted to intensity_total_ch_1 twice; leave one out"),
        ({"samples": []}, "fits: there are no merged tables to fit; name samples"),
        (
            {"channels": {"fl": [{"channel": 1}]}, "samples": []},
            "fits: there are no traces to fit; name a phase-contrast",
        ),
    ],
)
def test_a_mistake_is_one_line(finished, monkeypatch, changes, line):
    monkeypatch.chdir(finished.folder)
    with pytest.raises(UserError) as caught:
        plan_datasets(complete({**finished.base, **changes}))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_it_is_shown_before_any_job(finished):
    outcome = finished.run(with_fit(finished, model="maturated"), "-n", name="mistake.yaml")
    assert outcome.code != 0
    assert "fits.0.model: 'maturated' is none of" in outcome.text
    assert "Traceback" not in outcome.text
