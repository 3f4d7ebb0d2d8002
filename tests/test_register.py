"""The workflow with a shift field: what is moved, and what runs again."""

import json

import numpy as np
from conftest import Checkout, small_config
from stages import BACKGROUND, RECORD

from celltraces.pyme import shift_field
from celltraces.storage.frames import open_frames


def test_shift_fields_rerun_from_the_background_on(movies, finished_fov, tmp_path):
    checkout = Checkout(tmp_path, finished_fov)
    config = small_config(movies, fovs="0")
    numbers = dict.fromkeys(shift_field.POWERS["lin3Model"], 0.0)
    field = {"model": "lin3Model", "x": {**numbers, "x0": 1300.0}, "y": {**numbers, "x0": -650.0}}
    (tmp_path / "a.sf").write_text(shift_field.to_json({2: field}))
    folder = tmp_path / "results/small/fov_000"
    images, traces = folder / "images.zarr", folder / "small_fov_000_traces.csv"
    before = traces.read_bytes()

    aligned = {**config, "chroma": {"2": "a.sf"}}
    later = {"register"} | BACKGROUND
    outcome = checkout.run(aligned)
    assert outcome.code == 0, outcome.text
    assert set(outcome.jobs) == later | RECORD
    raw, moved = (open_frames(images / name / "0").read(3) for name in ("fl_ch_2", "fl_registered_ch_2"))
    np.testing.assert_array_equal(moved[:-1, 2:], raw[1:, :-2])  # 2 px to the right, 1 px up
    level = open_frames(images / "fl_registered_ch_2/1")
    assert level.shape == open_frames(images / "fl_ch_2/1").shape
    assert np.ptp(level.read(3)) > 200
    assert traces.read_bytes() != before
    content = json.loads((tmp_path / "a.sf").read_text())
    (tmp_path / "a.sf").write_text(json.dumps(content))
    assert checkout.planned(aligned) == {}  # the same numbers, written in another way
    content["Chan02.X"]["x0"] += 1
    (tmp_path / "a.sf").write_text(json.dumps(content))
    assert set(checkout.planned(aligned)) == later
    assert set(checkout.planned(config)) == BACKGROUND | RECORD
