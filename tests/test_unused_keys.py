"""Parameters that change nothing are told: what the table says of each method is tried with the method itself."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import small_config
from onnx_tools import settings_with
from stages import EVERY_METHOD, another, changed_where_unused

import segment_cells
import track_cells
from celltraces.config import unused_keys
from celltraces.config.read_config import complete
from celltraces.config.schema import load_schema
from celltraces.features.cell_features import FLUORESCENCE_FEATURES, fluorescence_features
from celltraces.planning.experiment import plan_experiment
from celltraces.planning.job_settings import settings_of
from celltraces.segmentation.methods import segmenter
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing

PARAMS = load_schema()["properties"]["params"]["properties"]
OTHER = {  # values that are not the default
    "logstd_window_size": 7,
    "morph_size": 3,
    "morph_iterations": 0,
    "min_object_size": 400,
    "max_object_size": 500,
    "logstd_outline": "halo",
    "segmentation_debris": 0.4,
}


def told(movies, channels=None, **params):
    changes = {"channels": channels} if channels else {}
    return list(unused_keys.lines_on_unused_keys(complete(small_config(movies, params=params, **changes))))


def granular(seed=0):
    """A frame (H, W) uint16 with granular cells of several sizes on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :260]
    frame = rng.normal(1000, 10, y.shape)
    for at_y, at_x, radius in (
        (50, 50, 18),
        (170, 60, 16),
        (60, 150, 20),
        (180, 180, 11),
        (110, 220, 12),
        (200, 120, 10),
    ):
        inside = np.hypot(y - at_y, x - at_x) < radius
        frame += inside * rng.normal(0, 200, frame.shape)
    return frame.clip(0, 65535).astype(np.uint16)


def labels_of(method, **changes):
    settings = {**{key: PARAMS[key]["default"] for key in settings_with()}, **changes}
    found = segmenter(method, settings)(granular())
    return np.asarray(found[0] if isinstance(found, tuple) else found)


@pytest.mark.parametrize("key", OTHER)
@pytest.mark.parametrize("method", ["logstd", "pyama"])
def test_a_method_uses_what_the_table_says(method, key):
    same = np.array_equal(labels_of(method), labels_of(method, **{key: OTHER[key]}))
    assert same == (key not in unused_keys.used_by(method))


def test_every_parameter_of_the_two_stages_is_in_a_table():
    """A new one has to be put there, or named here."""
    for_all = {"segmentation_method", "tracking_method", "recipe", "max_touching", "divisions"}
    stages = {key for key, of in PARAMS.items() if {"segment", "track"} & set(of["stages"])}
    known = {
        key for by in (unused_keys.BY_SEGMENTATION, unused_keys.BY_TRACKING) for keys in by.values() for key in keys
    }
    assert stages - for_all == known | set(unused_keys.OF_DIVISIONS)


@pytest.mark.parametrize("feature", FLUORESCENCE_FEATURES)
def test_a_feature_uses_what_the_table_says(feature):
    """Spots and a halo around a cell, so that every parameter has something to change."""
    rng = np.random.default_rng(2)
    image = rng.normal(100, 3, (1, 40, 40))
    image[0, 8:32, 8:32] += 50
    for y, x in ((14, 14), (20, 26), (27, 18)):
        image[0, y - 1 : y + 2, x - 1 : x + 2] += 60
    mask = np.zeros(image.shape, bool)
    mask[0, 10:30, 10:30] = True
    background = np.full(image.shape, 90.0)
    usual = {key: PARAMS[key]["default"] for key in ("particle_sigma", "particle_threshold", "light_margin")}
    for key, value in {"particle_sigma": 8.0, "particle_threshold": 400.0, "light_margin": 6}.items():
        before, after = (
            fluorescence_features([feature], image, background, mask, **settings)[feature]
            for settings in (usual, {**usual, key: value})
        )
        assert (before != after).any() == (key in unused_keys.OF_FEATURE.get(feature, ())), key


def jobs_of(experiment):
    """Rules of a run that the schema names as stages."""
    jobs = {"copy", "qc", "index"} | ({"background"} if experiment.fl else set())
    return jobs | (unused_keys.STAGES_OF_CELLS if experiment.pc is not None else {"digest_images"})


@pytest.mark.parametrize("variant", EVERY_METHOD)
def test_every_parameter_is_in_the_settings_of_a_job_or_said_to_change_nothing(movies, variant):
    """Of all parameters that a stage declares, with each method: one or the other, never both."""
    experiment = plan_experiment(EVERY_METHOD[variant](small_config(movies)))
    unused = unused_keys.reasons(experiment.config)
    place = {"dataset": "small", "fov": "000"}

    def settings(config):
        return {job: settings_of(replace(experiment, config=config), job, place) for job in jobs_of(experiment)}

    before = settings(experiment.config)
    declared = {key: of for key, of in PARAMS.items() if of["stages"] and "method" not in key and key != "recipe"}
    assert len(declared) > 50
    for key, of in declared.items():
        value = another(of, experiment.config["params"][key])
        changed = {**experiment.config, "params": {**experiment.config["params"], key: value}}
        assert (settings(changed) == before) == (key in unused), key
    all_unused = changed_where_unused(experiment.config)
    assert settings(all_unused) == before
    assert bool(list(unused_keys.lines_on_unused_keys(all_unused))) == (all_unused != experiment.config)


def test_labels_of_a_recipe_are_the_cells_whatever_the_method(tmp_path):
    """A network's rule for what is in one frame only, and small, is none for these."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "- SimpleThreshold: {inputName: input, outputName: mask, threshold: 500}\n"
        "- processing.Label: {inputName: mask, outputName: out_cells, minRegionPixels: 1}\n"
    )
    frames = np.zeros((3, 60, 80), np.uint16)
    for at, (y, x) in enumerate([(10, 10), (10, 40), (40, 10), (40, 50)]):
        frames[:, y : y + 12, x + at : x + at + 12] = 1000
    frames[1, 30:33, 70:73] = 1000  # in one frame only
    with writing(tmp_path / "pc/0", frames.shape, np.uint16, PIXELS) as append:
        for frame in frames:
            append(frame)
    for method in ("logstd", "deepsea"):
        config = complete(
            {
                "datasets": {"a": "a.nd2"},
                "channels": {"pc": {"channel": 0}},
                "params": {"recipe": str(recipe), "segmentation_method": method},
            }
        )
        keys = [key for key, of in PARAMS.items() if "segment" in of["stages"]]
        told = unused_keys.in_use({key: config["params"][key] for key in keys}, config)
        segment_cells.main(str(tmp_path / "pc/0"), str(tmp_path / method / "0"), **told)
        labels = open_frames(tmp_path / method / "0")
        assert [int(labels.read(frame).max()) for frame in range(3)] == [4, 5, 4]


@pytest.mark.parametrize("variant", ["as it is", "no divisions"])
def test_tracking_needs_no_more_than_what_is_in_use(movies, tmp_path, variant):
    config = complete(EVERY_METHOD[variant](small_config(movies)))
    keys = [key for key, of in PARAMS.items() if "track" in of["stages"]]
    told = unused_keys.in_use({key: config["params"][key] for key in keys}, config)
    with writing(tmp_path / "labeled/0", (3, 30, 30), np.uint16, LABELS) as append:
        for frame in range(3):
            image = np.zeros((30, 30), np.uint16)
            image[8:20, 5 + frame : 17 + frame] = 1
            append(image)
    track_cells.main(str(tmp_path / "labeled/0"), str(tmp_path / "0"), str(tmp_path / "lineage.csv"), fov=0, **told)
    assert [int(open_frames(tmp_path / "0").read(frame).max()) for frame in range(3)] == [1, 1, 1]


def test_parameters_of_another_method(movies):
    assert told(movies) == told(movies, min_object_size=60, segmentation_method="deepsea", segmentation_scale=0.5) == []
    (line,) = told(movies, segmentation_method="deepsea", logstd_window_size=5, max_object_size=20000)
    assert line.startswith("params.logstd_window_size, max_object_size: not used by segmentation_method deepsea,")
    (line,) = told(movies, segmentation_method="pyama", min_object_size=60)
    assert "params.min_object_size: not used by segmentation_method pyama" in line
    assert told(movies, tracking_method="btrack", max_gap=5) == []
    (line,) = told(movies, tracking_method="btrack", min_iou=0.2)
    assert "params.min_iou: not used by tracking_method btrack" in line
    (line,) = told(movies, logstd_outline="halo", segmentation_debris=0.2)
    assert "params.segmentation_debris" in line


def test_parameters_of_what_is_not_looked_for(movies):
    (line,) = told(movies, divisions=False, division_frames=5)
    assert "params.division_frames: no divisions" in line
    light = [{"channel": 1, "features": ["intensity_mean"]}]
    cells = {"channel": 0, "features": ["area"]}
    spots, total = told(movies, {"pc": cells, "fl": light}, particle_sigma=2.0, light_margin=4, tile_size=80)
    assert spots.startswith("params.particle_sigma: no channel has the feature particle_num")
    assert total.startswith("params.light_margin: no channel has the feature intensity_total")
    (line,) = told(movies, {"pc": cells}, tile_size=80, mask_margin=1)
    assert line.startswith("params.tile_size, mask_margin: no light")
    (line,) = told(movies, {"fl": light}, morph_size=5, tile_size=80, min_frames=1, border_margin=50)
    assert line.startswith("params.morph_size, min_frames: no cells")
    assert told(movies, {"fl": light}, copy_only=True, morph_size=5) == []
