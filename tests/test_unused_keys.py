"""Parameters that change nothing are told: what the table says of each method is tried with the method itself."""

import numpy as np
import pytest
from conftest import small_config
from onnx_tools import settings_with

from celltraces.config import unused_keys
from celltraces.config.read_config import complete
from celltraces.config.schema import load_schema
from celltraces.segmentation.methods import segmenter

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
    return list(unused_keys.lines(complete(small_config(movies, params=params, **changes))))


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
