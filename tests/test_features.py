"""Features against scikit-image's regionprops and plain numpy, frame by frame; spots against simulated ones."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import measure, morphology

from celltraces.errors import UserError
from celltraces.features import cell_features, trace_table
from celltraces.features.cell_features import FLUORESCENCE_FEATURES, PHASE_FEATURES
from celltraces.features.particles import find_particles
from celltraces.features.user_features import load_plugin, plugin_of

STACKS = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12))


def region(mask):
    """regionprops of a whole mask as one region."""
    return measure.regionprops(mask.astype(np.uint8))[0]


def blobs(rng, frames, size, density=0.5):
    """Ragged masks of several parts with holes, (frames, size, size) bool."""
    noise = ndimage.gaussian_filter(rng.normal(size=(frames, size, size)), (0, 2, 2))
    return noise > np.quantile(noise, density)


def one_frame(*rows):
    return np.array([[[c == "#" for c in row] for row in rows]])


# shape


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(STACKS)
@example(one_frame("#"))
@example(one_frame("##"))
@example(one_frame("#..", ".#.", "..#"))
@example(one_frame("#.#", "...", "#.#"))
@example(one_frame("...", "..."))
def test_shape_features_are_those_of_regionprops(mask):
    got = cell_features.phase_features(PHASE_FEATURES, mask)
    assert all(values.shape == (len(mask),) and values.dtype == np.float64 for values in got.values())
    for frame, shape in enumerate(mask):
        here = {name: values[frame] for name, values in got.items()}
        if not shape.any():
            assert np.isnan(list(here.values())).all()
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Qhull warns of flat hulls, which it then gets right
            expected = region(shape)
            assert here["area"] == expected.area
            assert here["perimeter"] == pytest.approx(expected.perimeter, rel=1e-9)
            assert here["eccentricity"] == pytest.approx(expected.eccentricity, rel=1e-9, abs=1e-7)
            assert here["solidity"] == pytest.approx(expected.solidity, rel=1e-9)
        assert here["centroid_y"] == pytest.approx(expected.centroid[0], rel=1e-9, abs=1e-12)
        assert here["centroid_x"] == pytest.approx(expected.centroid[1], rel=1e-9, abs=1e-12)
        if expected.axis_minor_length > 1e-6:
            ratio = expected.axis_major_length / expected.axis_minor_length
            assert here["aspect_ratio"] == pytest.approx(ratio, rel=1e-9)
        if expected.perimeter:
            circularity = min(4 * np.pi * expected.area / expected.perimeter**2, 1)
            assert here["circularity"] == pytest.approx(circularity, rel=1e-9)


def test_shape_features_of_large_ragged_masks():
    mask = blobs(np.random.default_rng(0), 6, 90)
    got = cell_features.phase_features(PHASE_FEATURES, mask)
    for frame, shape in enumerate(mask):
        expected = region(shape)
        axes = expected.axis_major_length / expected.axis_minor_length
        values = [expected.area, expected.perimeter, axes, expected.eccentricity, expected.solidity]
        names = ["area", "perimeter", "aspect_ratio", "eccentricity", "solidity"]
        assert [got[name][frame] for name in names] == pytest.approx(values, rel=1e-9)


@pytest.mark.parametrize(
    ("mask", "aspect_ratio", "eccentricity"),
    [
        (one_frame("#"), 1, 0),
        (one_frame("#######"), 7, 1),
        (one_frame("#", "#", "#"), 3, 1),
        (one_frame("##", "##"), 1, 0),
        (one_frame("#..", ".#.", "..#"), 17**0.5, 1),  # covariance (8/12) (1, 1; 1, 1), and 1/12 each way
    ],
)
def test_masks_without_a_minor_axis_have_finite_features(mask, aspect_ratio, eccentricity):
    got = cell_features.phase_features(PHASE_FEATURES, mask)
    assert got["aspect_ratio"][0] == pytest.approx(aspect_ratio)
    assert got["eccentricity"][0] == pytest.approx(eccentricity)
    assert np.isfinite([values[0] for values in got.values()]).all()


def test_centroids_follow_the_crops():
    mask = blobs(np.random.default_rng(1), 3, 20)
    origins = np.array([[100, 7], [101, 9], [0, 0]])
    names = ["centroid_y", "centroid_x"]
    got = np.stack(list(cell_features.phase_features(names, mask, origins).values()), axis=1)
    np.testing.assert_allclose(got, origins + [region(shape).centroid for shape in mask], rtol=1e-12)


# light

INTENSITIES = {
    "intensity_total": np.sum,
    "intensity_mean": np.mean,
    "intensity_median": np.median,
    "intensity_std": np.std,
    "intensity_min": np.min,
    "intensity_max": np.max,
}


@settings(max_examples=100, deadline=None)
@given(STACKS, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0]), st.booleans())
def test_intensities_are_those_of_the_masked_pixels(mask, seed, weight, with_background):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 65536, mask.shape).astype(np.float64)
    background = rng.uniform(300, 1400, mask.shape).astype(np.float32) if with_background else None
    got = cell_features.fluorescence_features(INTENSITIES, image, background, mask, background_weight=weight)
    corrected = image - weight * background.astype(np.float64) if with_background else image
    for name, function in INTENSITIES.items():
        expected = [
            function(pixels[inside]) if inside.any() else np.nan for pixels, inside in zip(corrected, mask, strict=True)
        ]
        np.testing.assert_allclose(got[name], expected, rtol=1e-12, atol=1e-7)


def test_light_outside_the_mask_does_not_count():
    mask = np.zeros((1, 5, 5), bool)
    mask[0, 1:3, 1:4] = True
    image = np.where(mask, 10.0, np.nan)
    got = cell_features.fluorescence_features(INTENSITIES, image, None, mask)
    assert [values[0] for values in got.values()] == [60, 10, 10, 0, 10, 10]


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 1, 1)])
def test_no_frames_and_no_cell(shape):
    got = cell_features.phase_features(PHASE_FEATURES, np.zeros(shape, bool))
    got |= cell_features.fluorescence_features(FLUORESCENCE_FEATURES, np.ones(shape), None, np.zeros(shape, bool))
    assert len(got) == len(PHASE_FEATURES) + len(FLUORESCENCE_FEATURES)
    assert all(values.shape == shape[:1] and np.isnan(values).all() for values in got.values())


def test_unknown_feature():
    with pytest.raises(UserError, match="no feature 'intensity' for this channel; there are intensity_total, "):
        cell_features.fluorescence_features(["intensity"], np.ones((1, 2, 2)), None, np.ones((1, 2, 2), bool))


# margins of the mask


@settings(max_examples=60, deadline=None)
@given(STACKS, st.integers(-4, 4))
@example(np.zeros((1, 4, 4), bool), 3)
@example(np.ones((1, 9, 9), bool), -2)
def test_grow_mask_is_morphology_with_a_disk(mask, margin):
    disk = morphology.disk(abs(margin))
    morph = ndimage.binary_dilation if margin >= 0 else ndimage.binary_erosion
    expected = [morph(shape, disk) for shape in mask]  # border_value 0: nothing outside the crop
    np.testing.assert_array_equal(cell_features.grow_mask(mask, margin), expected)


def test_shrinking_a_mask_to_nothing_gives_nan():
    mask = np.ones((2, 5, 5), bool)
    mask[1, 1:] = False
    shrunk = cell_features.grow_mask(mask, -1)
    got = cell_features.fluorescence_features(FLUORESCENCE_FEATURES, np.ones((2, 5, 5)), None, shrunk)
    assert [list(np.isnan(values)) for values in got.values()] == [[False, True]] * len(got)


# spots


def cell_with_spots(rng, frames, spots, *, height, size=40, body=500.0, background=500.0, sigma=1.3):
    """Frames of a dome-shaped cell on a background, with `spots` Gaussian spots of the given height in standard
    deviations of the photon noise: image, mask and the spots' positions."""
    y, x = np.mgrid[:size, :size]
    images, masks, positions = [], [], []
    for _ in range(frames):
        radius, squeeze = rng.uniform(12, 15), rng.uniform(0.9, 1.1)
        inside = ((y - size / 2) * squeeze) ** 2 + ((x - size / 2) / squeeze) ** 2
        mask = inside <= radius**2
        light = ndimage.gaussian_filter(body * np.sqrt(np.clip(1 - inside / radius**2, 0, None)), 1.2)
        placed = []
        while len(placed) < spots:
            at = rng.uniform(size / 2 - 10, size / 2 + 10, 2)
            if np.hypot(*(at - size / 2)) < 10 and all(np.hypot(*(at - other)) > 5 for other in placed):
                placed.append(at)
        for at in placed:
            bump = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * sigma**2))
            light = light + height * np.sqrt(background + body) * bump
        images.append(rng.poisson(background + light).astype(float))
        masks.append(mask)
        positions.append(np.array(placed).reshape(-1, 2))
    return np.array(images), np.array(masks), positions


@pytest.mark.parametrize(("height", "least"), [(8, 0.95), (5, 0.9)])
def test_spots_are_found_where_they_are(height, least):
    image, mask, positions = cell_with_spots(np.random.default_rng(2), 40, 4, height=height)
    found = find_particles(image, mask, 1.5, 4.5)
    hits = sum(
        np.hypot(*(np.argwhere(frame) - at).T).min(initial=np.inf) <= 1.5
        for frame, placed in zip(found, positions, strict=True)
        for at in placed
    )
    assert hits / 160 >= least  # recall
    assert hits / found.sum() >= 0.97  # precision
    counts = cell_features.fluorescence_features(["particle_num"], image, None, mask)["particle_num"]
    assert list(counts) == list(found.sum(axis=(1, 2)))


@pytest.mark.parametrize("body", [0, 500, 5000, 20000])
def test_a_cell_without_spots_has_none(body):
    image, mask, _ = cell_with_spots(np.random.default_rng(3), 60, 0, height=0, body=body)
    for margin in (-2, 0, 2):
        found = find_particles(image, cell_features.grow_mask(mask, margin), 1.5, 4.5)
        assert found.sum() <= 3  # 1 in 20 cells at most


def test_spots_and_light_outside_the_mask_do_not_count():
    rng = np.random.default_rng(4)
    image, mask, _ = cell_with_spots(rng, 12, 3, height=8)
    found = find_particles(image, mask, 1.5, 4.5)
    assert 30 <= found.sum() <= 36
    assert not found[~mask].any()
    changed = np.where(mask, image, rng.uniform(0, 65535, image.shape))
    np.testing.assert_array_equal(find_particles(changed, mask, 1.5, 4.5), found)


def test_spots_do_not_depend_on_neighbouring_frames_level_or_constant_light():
    image, mask, _ = cell_with_spots(np.random.default_rng(5), 12, 3, height=8)
    mask[4] = False
    together = find_particles(image, mask, 1.5, 4.5)
    apart = [find_particles(image[[t]], mask[[t]], 1.5, 4.5)[0] for t in range(12)]
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(find_particles(image - 450.0, mask, 1.5, 4.5), together)
    assert find_particles(np.full((3, 20, 20), 700.0), np.ones((3, 20, 20), bool), 1.5, 4.5).sum() == 0


# plugins


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Writes a plugin, and forgets what was loaded afterwards."""
    for registry in (PHASE_FEATURES, FLUORESCENCE_FEATURES, plugin_of):
        for name in registry:
            monkeypatch.setitem(registry, name, registry[name])

    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    before = [dict(registry) for registry in (PHASE_FEATURES, FLUORESCENCE_FEATURES, plugin_of)]
    yield write
    for registry, content in zip((PHASE_FEATURES, FLUORESCENCE_FEATURES, plugin_of), before, strict=True):
        registry.clear()
        registry.update(content)


GOOD = """
import numpy as np
def width(image, mask, context):
    return np.ptp(np.nonzero(mask.any(axis=0))[0]) + 1
def peak_x(image, mask, context):
    y, x = np.unravel_index(np.where(mask, image, -np.inf).argmax(), mask.shape)
    return x + context.origin[1] + 1000 * context.frame
def lost(image, mask, context):
    return (context.raw - image)[mask].mean() / context.background[mask].mean() - context.background_weight
PHASE_FEATURES = {"width": width}
FLUORESCENCE_FEATURES = {"peak_x": peak_x, "lost": lost}
"""


def test_a_plugin_adds_features(plugin):
    path = plugin(GOOD)
    assert load_plugin(path) == ["width", "peak_x", "lost"]
    assert load_plugin(path) == ["width", "peak_x", "lost"]  # again, as in the next job of a process
    mask = np.zeros((3, 4, 6), bool)
    mask[0, 1:3, 1:5] = mask[2, 1, 2:4] = True
    image = np.random.default_rng(6).uniform(100, 200, mask.shape)
    np.testing.assert_equal(cell_features.phase_features(["width"], mask)["width"], [4, np.nan, 2])
    got = cell_features.fluorescence_features(
        ["peak_x", "lost"],
        image,
        np.full(mask.shape, 50, np.float32),
        mask,
        background_weight=0.5,
        origins=np.array([[0, 10], [0, 20], [0, 30]]),
    )
    inside = np.where(mask, image, 0)
    expected = [10 + inside[0].max(axis=0).argmax(), np.nan, 2030 + inside[2].max(axis=0).argmax()]
    np.testing.assert_equal(got["peak_x"], expected)
    np.testing.assert_allclose(got["lost"], [0, np.nan, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:", "importing .* failed: SyntaxError"),
        ("import no_such_module", "importing .* failed: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(image, mask, context):\n    return 1", "lists no features; it needs a dict PHASE_FEATURES or"),
        ("PHASE_FEATURES = ['f']", "PHASE_FEATURES in .* is no dict"),
        ("PHASE_FEATURES = {'f': 3}", "'f' is no plain name, or its value no function"),
        ("PHASE_FEATURES = {'a,b': print}", "'a,b' is no plain name"),
        ("PHASE_FEATURES = {'new': print, 'area': print}", "the feature 'area' in .* is built in already"),
        (
            "from celltraces.features.cell_features import PHASE_FEATURES",
            "imports PHASE_FEATURES; it has to define a dict",
        ),
    ],
)
def test_bad_plugins_say_so_in_one_line_and_add_nothing(plugin, text, message):
    before = dict(PHASE_FEATURES)
    with pytest.raises(UserError, match=message) as error:
        load_plugin(plugin(text))
    assert "\n" not in str(error.value)
    assert "mine.py" in str(error.value)
    assert before == PHASE_FEATURES


def test_two_plugins_with_one_name(plugin):
    load_plugin(plugin(GOOD))
    with pytest.raises(UserError, match=r"the feature 'width' in .*other\.py' is defined by .*mine\.py' already"):
        load_plugin(plugin(GOOD, "other.py"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('a\\nb')", "ValueError: a b"),
        ("return image.nothing", "AttributeError: "),
        ("return [1, 2]", "returned list, not one number"),
        ("return mask.sum(axis=0)", "returned ndarray, not one number"),
        ("return None", "returned NoneType, not one number"),
        ("return 'a'", "returned str, not one number"),
    ],
)
def test_plugin_features_that_fail_name_plugin_feature_and_cell(plugin, body, message):
    path = plugin(f"def mine(image, mask, context):\n    {body}\nFLUORESCENCE_FEATURES = {{'mine': mine}}\n")
    load_plugin(path)
    mask = np.ones((2, 3, 3), bool)
    mask[0] = False
    with pytest.raises(UserError) as error:
        cell_features.fluorescence_features(["mine"], np.ones((2, 3, 3)), None, mask, label=17)
    assert str(error.value).startswith(f"plugins: the feature 'mine' in {path!r}, at cell 17, frame 1: {message}")
    assert "\n" not in str(error.value)


def test_plugin_features_cannot_change_the_crops(plugin):
    load_plugin(
        plugin(
            "def bad(image, mask, context):\n    image[:] = mask[:] = context.raw[:] = 0\n    return 1\n"
            "FLUORESCENCE_FEATURES = {'bad': bad}\n"
        )
    )
    got = cell_features.fluorescence_features(
        ["bad", "intensity_total"], np.ones((1, 3, 3)), None, np.ones((1, 3, 3), bool)
    )
    assert got["intensity_total"] == 9


def test_light_margin_is_for_the_total_alone():
    mask = np.zeros((2, 20, 20), bool)
    mask[0, 8:12, 8:12] = True
    image = np.random.default_rng(0).uniform(0, 100, (2, 20, 20))
    names = list(cell_features.FLUORESCENCE_FEATURES)
    without = cell_features.fluorescence_features(names, image, None, mask)
    within = cell_features.fluorescence_features(names, image, None, mask, light_margin=3)
    y, x = np.mgrid[:20, :20]
    near = np.hypot(np.maximum(np.abs(y - 9.5) - 1.5, 0), np.maximum(np.abs(x - 9.5) - 1.5, 0)) <= 3
    assert within["intensity_total"][0] == pytest.approx(image[0][near].sum())
    assert without["intensity_total"][0] == pytest.approx(image[0][mask[0]].sum())
    assert np.isnan(within["intensity_total"][1])
    for name in set(names) - {"intensity_total"}:
        np.testing.assert_array_equal(within[name], without[name])


def test_a_feature_of_the_user_keeps_its_digits(plugin):
    """It may be a concentration of 1e-7; built-in ones have three decimals."""
    load_plugin(plugin(GOOD))
    own, built_in = trace_table._writer("lost", False), trace_table._writer("intensity_mean", False)
    assert [own(1.23456789123e-7), own(-2.5), own(np.nan), own(np.inf)] == ["1.23456789e-07", "-2.5", "NaN", "NaN"]
    assert [built_in(1.2345678), built_in(np.nan)] == ["1.235", "NaN"]
    assert trace_table._writer("lost", True)(0.12345) == "0.123"  # of phase contrast there is no such feature
