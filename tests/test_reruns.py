"""The table: this change reruns exactly these rules."""

import os
import pickle
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from conftest import PYTHON, Checkout, small_config
from stages import (
    BACKGROUND,
    CROP,
    EVERY_METHOD,
    EVERYTHING,
    EXTRACT,
    JOINED,
    RECORD,
    REPORT,
    SEGMENT,
    TABLES,
    TRACK,
    changed_where_unused,
)
from test_psf import spot

from celltraces.config.read_config import complete


@pytest.fixture(scope="module")
def done(movies, finished_fov, tmp_path_factory):
    """A finished run of FOV 0, with its input beside it."""
    checkout = Checkout(tmp_path_factory.mktemp("run"), finished_fov)
    for name in ("small.nd2", "small.czi"):
        shutil.copy(movies / name, checkout.folder / name)
    checkout.base = small_config(movies, fovs="0")
    checkout.base["datasets"] = {"small": "small.nd2"}
    checkout.base["params"] |= {"time_mapping": None}
    (checkout.folder / "r.yaml").write_text("- filters.MedianFilter: {inputName: input, outputName: output}\n")
    (checkout.folder / "spot.psf").write_bytes(pickle.dumps((spot(2.0).T.astype(float), SimpleNamespace(x=0.65))))
    (checkout.folder / "p.py").write_text("def segment(image):\n    return (image > 9000).astype(int)\n")
    outcome = checkout.run(checkout.base)
    assert outcome.code == 0, outcome.text
    return checkout


def changed(done, **params):
    return {**done.base, "params": {**done.base["params"], **params}}


@pytest.mark.parametrize(
    ("params", "rules"),
    [
        ({"min_frames": 4}, EXTRACT),
        ({"border_margin": 6}, EXTRACT),
        ({"min_frames": 5, "border_margin": 3}, EXTRACT),  # the two values swapped
        ({"background_weight": 0.5}, EXTRACT),
        ({"mask_margin": 1}, EXTRACT),
        ({"light_margin": 1}, EXTRACT),
        ({"particle_threshold": 9}, EXTRACT),
        ({"crop_padding": 6}, CROP),
        ({"tile_size": 50}, BACKGROUND),
        ({"background_dilation": 5}, BACKGROUND),
        ({"min_iou": 0.2}, TRACK),
        ({"max_gap": 0}, TRACK),
        ({"register_frames": True}, {"tidy"} | REPORT),
        ({"morph_size": 5}, SEGMENT),
        ({"logstd_window_size": 5}, SEGMENT),
        ({"max_object_size": 9000}, SEGMENT),
        ({"logstd_outline": "halo"}, SEGMENT),
        ({"segmentation_method": "p.py:segment"}, SEGMENT),
        ({"segmentation_method": "deepsea"}, SEGMENT | {"find_scale"}),
        ({"segmentation_method": "deepsea", "segmentation_scale": 0.5}, SEGMENT),
        ({"recipe": "r.yaml"}, SEGMENT),
        ({"psf": "spot.psf"}, EXTRACT),
        ({"frame_interval": 3}, set()),  # the file has time stamps
        ({"time_mapping": {0: 0, 1: 3}}, {"index"} | TABLES),
        ({"qc_size": 3}, {"qc"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_parameter_reruns_its_stage_and_those_after_it(done, params, rules):
    assert set(done.planned(changed(done, **params))) == rules | RECORD


# What may be changed by itself in each of EVERY_METHOD and is used there, though not with the other methods.
USED = {
    "as it is": ({"division_frames": 4, "particle_sigma": 2.0, "min_iou": 0.2}, TRACK),
    "halo": ({"max_object_size": 9000}, SEGMENT),
    "deepsea": ({"segmentation_scale": 0.6}, SEGMENT),
    "pyama": ({"segmentation_method": "logstd"}, SEGMENT),
    "btrack": ({"max_gap": 4}, TRACK),
    "no divisions": ({"divisions": True}, TRACK),
    "no spots, no totals": ({"mask_margin": 1}, EXTRACT),
    "no light": ({"border_margin": 6}, EXTRACT),
    "no cells": ({"tile_size": 50}, {"background", "cache", "index", "digest_images", "qc"}),
}


@pytest.mark.parametrize("variant", USED)
def test_a_parameter_that_the_method_does_not_use_reruns_nothing(done, tmp_path, variant):
    """All of them at once; `--touch` makes results of each method of those that are there."""
    checkout = Checkout(tmp_path, done.folder / "results")
    config = EVERY_METHOD[variant]({**done.base, "datasets": {"small": str(done.folder / "small.nd2")}})
    params, rules = USED[variant]
    if variant == "no cells":
        assert checkout.run(config).code == 0  # other results than those that are there
    touched = checkout.run(config, "--touch")
    assert touched.code == 0, touched.text
    assert checkout.planned(config) == {}
    full = complete(config)
    unused = {key: value for key, value in changed_where_unused(full)["params"].items() if value != full["params"][key]}
    assert set(checkout.planned({**config, "params": {**config["params"], **unused}})) == (RECORD if unused else set())
    assert set(checkout.planned({**config, "params": {**config["params"], **params}})) == rules | RECORD


def test_how_another_format_is_read_reruns_nothing(done):
    """Not even copying: the input is no .h5 file of PYME."""
    assert done.planned({**done.base, "pyme": {"axes": "yx", "allow_lossy": True}}) == {}


def test_a_feature_reruns_extraction(done):
    config = {
        **done.base,
        "channels": {**done.base["channels"], "pc": {"channel": 0, "features": ["area", "solidity"]}},
    }
    assert set(done.planned(config)) == EXTRACT | RECORD


def test_a_sample_is_merged_from_what_is_there(done):
    assert done.planned({**done.base, "samples": [{"name": "a", "fovs": "0"}]}) == {
        "merge": 1,
        "tidy": 1,
        "write_report": 1,
    }


def test_a_fit_is_made_from_what_is_there(done):
    fits = [{"channel": 1, "feature": "intensity_total", "model": "maturation"}]
    config = {**done.base, "samples": [{"name": "a", "fovs": "0"}], "fits": fits}
    assert done.planned(config) == {"merge": 1, "fit": 1, "tidy": 1, "record": 1, "write_report": 1}


def test_another_fov_runs_its_own_jobs_only(done):
    jobs = done.planned({**done.base, "fovs": "0-1"})
    assert jobs == dict.fromkeys(EVERYTHING | RECORD, 1)


def test_another_dataset_runs_its_own_jobs_only(done):
    """And the tables over all datasets, where there are two now."""
    config = {**done.base, "datasets": {"small": "small.nd2", "more": "small.czi"}}
    assert done.planned(config) == dict.fromkeys(EVERYTHING | RECORD | JOINED, 1)


def test_spelling_comments_and_order_rerun_nothing(done):
    swapped = {key: done.base[key] for key in reversed(done.base)}
    swapped["params"] = {key: float(v) if v == 5 else v for key, v in reversed(done.base["params"].items())}
    assert done.planned(swapped) == {}
    text = (done.folder / done.configure(done.base)).read_text()
    assert done.planned("# a comment\n" + text) == {}
    assert done.planned(changed(done, tile_size=64)) == {}  # a default, written out


def test_touched_or_fresh_sources_rerun_nothing(done):
    for path in [
        done.folder / "Snakefile",
        *(done.folder / "scripts").rglob("*.py"),
        *(done.folder / "rules").iterdir(),
    ]:
        os.utime(path)
    assert done.planned(done.base) == {}


@contextmanager
def edited(path, text="\n\ndef _added():\n    return 1\n"):
    """Context in which a source has some more code."""
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


SOURCES = {
    "extract_features.py": EXTRACT,
    "celltraces/features/cell_features.py": EXTRACT,
    "celltraces/fluorescence/background.py": BACKGROUND,
    "celltraces/segmentation/logstd.py": SEGMENT,
    "celltraces/segmentation/outline.py": SEGMENT,
    # What becomes black and white is found while arrays are made.
    "celltraces/storage/display_level.py": EVERYTHING,
    "celltraces/storage/codecs.py": EVERYTHING,
    "record_config.py": RECORD,
    "index_images.py": {"index"},
    "check_quality.py": {"qc"} | REPORT,
    "tidy_traces.py": {"tidy"} | REPORT,
    "celltraces/results/curation.py": {"digest", "merge", "tidy"} | REPORT,
    "digest_fov.py": {"digest"} | REPORT,
    "celltraces/report/figures.py": REPORT,
    "demo/simulate.py": set(),
}


@pytest.mark.parametrize("source", SOURCES)
def test_an_edit_reruns_the_stages_that_import_it(done, source):
    with edited(done.folder / "scripts" / source):
        assert set(done.planned(done.base)) == SOURCES[source]


def test_comments_rerun_nothing(done):
    with ExitStack() as edits:
        for source in SOURCES:
            edits.enter_context(edited(done.folder / "scripts" / source, "\n# a comment\n"))
        assert done.planned(done.base) == {}


def test_an_edit_of_the_page_reruns_the_report(done):
    with edited(done.folder / "scripts/celltraces/report/page.css", "\n"):
        assert set(done.planned(done.base)) == REPORT


@pytest.mark.parametrize(
    ("report", "rules"),
    [({"size_mb": 5}, REPORT), ({"cells_per_fov": 3}, {"digest"} | REPORT)],
    ids=["size_mb", "cells_per_fov"],  # never a set's text: its order differs between the test processes
)
def test_a_change_of_the_report_reruns_no_stage(done, report, rules):
    assert set(done.planned({**done.base, "report": report})) == rules


@pytest.mark.parametrize(
    ("lost", "rules"),
    [
        ("small_fov_000_traces.csv", EXTRACT),
        ("cells.zarr", CROP),
        ("small_fov_000_digest.zip", {"digest"} | REPORT),
        ("images.zarr/pc_ch_0/1", {"cache"}),
        ("images.zarr/zarr.json", {"index"}),
        ("images.zarr/seg_tracked_ch_0/0", TRACK),
    ],
)
def test_a_lost_result_is_made_again(done, lost, rules):
    path, aside = done.folder / "results/small/fov_000" / lost, done.folder / "aside"
    path.rename(aside)
    try:
        assert set(done.planned(done.base)) == rules
    finally:
        aside.rename(path)


def test_another_file_in_the_place_of_the_input_reruns_everything(done, experiment):
    path, aside = done.folder / "small.nd2", done.folder / "aside.nd2"
    path.rename(aside)
    data = bytearray(aside.read_bytes())
    data[len(data) // 2] ^= 1
    try:
        path.write_bytes(data)
        assert set(done.planned(done.base)) == EVERYTHING | RECORD
        # An older one, which Snakemake's look at times would miss.
        long_ago = time.time() - 10_000_000
        os.utime(path, (long_ago, long_ago))
        assert set(done.planned(done.base)) == EVERYTHING | RECORD
    finally:
        aside.replace(path)
    assert done.planned(done.base) == {}


def test_a_change_and_its_run_agree_with_the_plan(done):
    """Not only planned: after the run with the change nothing is left to do, and back again the same."""
    results = done.folder / "results/small/fov_000"
    before = (results / "small_fov_000_traces.csv").read_bytes()
    images = (results / "images.zarr/seg_labeled_ch_0/0/zarr.json").stat().st_mtime_ns
    outcome = done.run(changed(done, min_frames=8, background_weight=0.5))
    assert outcome.code == 0, outcome.text
    assert set(outcome.jobs) == EXTRACT | RECORD
    assert (results / "small_fov_000_traces.csv").read_bytes() != before
    assert done.planned(changed(done, min_frames=8, background_weight=0.5)) == {}
    assert done.run(done.base).code == 0
    assert (results / "small_fov_000_traces.csv").read_bytes() == before
    assert (results / "images.zarr/seg_labeled_ch_0/0/zarr.json").stat().st_mtime_ns == images


def test_lint_finds_nothing(done):
    command = ["snakemake", "--lint", "--configfile", done.configure(done.base)]

    lint = subprocess.run([PYTHON, "-m", *command], cwd=done.folder, capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout + lint.stderr


# ------------------------------------------------------------------------------------------ samples of several datasets


SAMPLES = [{"name": "a", "fovs": {"small": "0", "more": 0}}, {"name": "b", "fovs": {"small": 1}}]


@pytest.fixture(scope="module")
def two(movies, tmp_path_factory):
    """A finished run of two datasets with two samples, of which one is in both."""
    checkout = Checkout(tmp_path_factory.mktemp("two"))
    checkout.base = small_config(movies, samples=SAMPLES, fovs={"small": "0-1", "more": "0"})
    checkout.base["datasets"]["more"] = str(movies / "small.czi")
    checkout.base["channels"] = {
        "pc": {"channel": 0, "features": ["area"]},
        "fl": [{"channel": 1, "features": ["intensity_total"]}],
    }
    checkout.base["fits"] = [{"channel": 1, "feature": "intensity_total", "model": "trivial"}]
    outcome = checkout.run(checkout.base)
    assert outcome.code == 0, outcome.text
    checkout.text = outcome.text
    assert checkout.planned(checkout.base) == {}
    return checkout


def test_tables_over_all_datasets_hold_what_those_of_the_datasets_hold(two):
    results = two.folder / "results"
    assert "comparison of samples: results/report.html" in two.text
    assert "tables over all datasets: results/traces.csv" in two.text
    for name, of_dataset in (
        ("traces.csv", "{dataset}_traces.csv"),
        ("a_area_ch_0.csv", "a_area_ch_0.csv"),
        ("b_intensity_total_ch_1.csv", "b_intensity_total_ch_1.csv"),
        ("a_intensity_total_ch_1_fitted_trivial.csv", "a_intensity_total_ch_1_fitted_trivial.csv"),
    ):
        joined = pd.read_csv(results / name, comment="#")
        datasets = ["small"] if name.startswith("b") else ["more", "small"]
        assert list(dict.fromkeys(joined["dataset"])) == datasets
        for dataset in datasets:
            alone = pd.read_csv(results / dataset / of_dataset.format(dataset=dataset), comment="#")
            of_joined = joined[joined["dataset"] == dataset].reset_index(drop=True)
            assert set(of_joined.columns) == {*alone.columns, "dataset"}
            pd.testing.assert_frame_equal(of_joined[alone.columns], alone, check_dtype=False)
    pd.testing.assert_frame_equal(
        pd.read_parquet(results / "traces.parquet"), pd.read_csv(results / "traces.csv"), check_dtype=False, rtol=1e-15
    )
    effects = pd.read_csv(results / "comparison_effects.csv")
    assert {"area_ch_0_mean", "intensity_total_ch_1_trivial_ktl", "intensity_total_ch_1_auc"} <= set(effects.quantity)
    assert (results / "report.html").read_text().count("<option") > 0


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"samples": [SAMPLES[0], {"name": "c", "fovs": {"small": 1}}]}, {"merge", "fit", "tidy"} | REPORT | JOINED),
        ({"samples": SAMPLES[:1]}, {"tidy"} | REPORT | {"join_traces", "compare_samples"}),
        ({"fits": []}, {"join_tables", "compare_samples"} | RECORD),
        ({"datasets": ...}, set()),
        (
            {"fovs": {"small": 0, "more": 0}, "samples": SAMPLES[:1]},
            {"qc", "tidy"} | RECORD | {"join_traces", "compare_samples"},
        ),
    ],
    ids=["another name", "one sample less", "no fits", "another order", "a FOV less"],
)
def test_a_change_of_samples_reruns_tables_alone(two, changes, rules):
    if changes.get("datasets") is ...:
        changes = {"datasets": dict(sorted(two.base["datasets"].items(), reverse=True))}
    assert set(two.planned(yaml.safe_dump({**two.base, **changes}, sort_keys=False))) == rules


def test_a_dataset_less_leaves_what_was_over_all(two):
    """The tables over all datasets are no longer explained, the comparison of the two samples is."""
    config = {**two.base, "datasets": {"small": two.base["datasets"]["small"]}, "fovs": "0-1"}
    config["samples"] = [{"name": "a", "fovs": "0"}, SAMPLES[1]]
    (two.folder / "results/mine_area_ch_0.csv").write_text("mine\n")
    outcome = two.run(config)
    assert outcome.code == 0, outcome.text
    assert set(outcome.jobs) == {"compare_samples"}
    outcome = two.run(None, "set_aside")
    assert outcome.code == 0, outcome.text
    (aside,) = (two.folder / "results").glob("set_aside-*")
    fitted = {f"{name}_intensity_total_ch_1_fitted_trivial.csv" for name in "ab"}
    merged = {f"{name}_{column}.csv" for name in "ab" for column in ("area_ch_0", "intensity_total_ch_1")}
    assert {path.name for path in aside.iterdir()} == {"more", "traces.csv", "traces.parquet"} | fitted | merged
    assert (two.folder / "results/mine_area_ch_0.csv").exists()
