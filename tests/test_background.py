"""Background: its parts against plain loops and dense algebra, the whole against simulated frames."""

import numpy as np
import oracles_background as oracles
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from celltraces.fluorescence import background
from celltraces.fluorescence.background import dilate_mask, estimate_background
from celltraces.fluorescence.surface import _SLOPE_SHARE, evaluate_surface, fit_surface
from celltraces.fluorescence.tiles import tile_quantiles


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


# dilation


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30)), st.integers(0, 12))
@example(np.zeros((3, 3), bool), 10)
def test_dilation_is_that_of_a_disk(mask, radius):
    np.testing.assert_array_equal(dilate_mask(mask, radius), oracles.grown(mask, radius))


@pytest.mark.slow
@pytest.mark.parametrize("radius", [10, 32, 33, 50])
def test_dilation_by_large_disks(radius):
    mask = np.random.default_rng(radius).random((150, 130)) < 3e-4
    np.testing.assert_array_equal(dilate_mask(mask, radius), oracles.grown(mask, radius))
    np.testing.assert_array_equal(dilate_mask(np.zeros((9, 9), bool), radius), np.zeros((9, 9)))


# tiles


@st.composite
def covered_images(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))
    spread = draw(st.sampled_from([1, 3, 300, 65535]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = draw(st.sampled_from([1, 16]))  # whole counts, or sixteenths of them
    values = draw(st.integers(-65535, 65535 - spread)) + rng.integers(0, parts * spread + 1, shape) / parts
    covered = rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.6, 0.98, 1]))
    covered[: draw(st.integers(0, shape[0])), : draw(st.integers(0, shape[1]))] = True
    return values.astype(np.float32), covered


@settings(max_examples=80, deadline=None)
@given(covered_images(), st.integers(1, 9), st.sampled_from([0.5, 0.25, 0.1, 0.0, 1.0]), st.booleans())
def test_quantiles_and_centroids_of_tiles_are_exact(frame, block, q, overlap):
    got = tile_quantiles(*frame, block, q, overlap=overlap)
    for values, expected in zip(got, oracles.tile_statistics(*frame, block, q, overlap=overlap), strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(covered_images(), st.integers(1, 9), st.sampled_from([1, 1 / 4, 1 / 16]))
def test_medians_of_grouped_data(frame, block, bin_width):
    values, covered = frame
    got = tile_quantiles(values, covered, block, 0.5, overlap=True, bin_width=bin_width)[0]
    for i, j in np.ndindex(got.shape):
        tile = np.s_[max((i - 1) * block, 0) : (i + 1) * block, max((j - 1) * block, 0) : (j + 1) * block]
        known = values[tile][~covered[tile]].astype(float)
        expected = oracles.grouped_median(known, bin_width) if known.size else np.nan
        np.testing.assert_allclose(got[i, j], expected, rtol=0, atol=1e-9)


def test_quantiles_of_a_whole_frame_are_exact():
    rng = np.random.default_rng(0)
    image, mask = oracles.simulated_frame(rng, oracles.smooth_background((300, 421), "vignette", 350, 700), 20)
    image[:, 200:230] = 65535
    covered = oracles.grown(mask, 10)
    got = tile_quantiles(image.astype(np.float32), covered, 32, 0.5, overlap=True)
    for values, expected in zip(got, oracles.tile_statistics(image, covered, 32, 0.5, overlap=True), strict=True):
        np.testing.assert_array_equal(values, expected)
    assert got[0].shape == (11, 15)


# the surface


@pytest.mark.parametrize(
    ("shape", "knot", "sites"), [((200, 330), 64, 60), ((90, 41), 64, 3), ((64, 64), 128, 1), ((700, 300), 50, 200)]
)
def test_the_surface_is_that_of_dense_matrices(shape, knot, sites):
    rng = np.random.default_rng(sites)
    y, x = rng.uniform(0, shape[0] - 1, sites), rng.uniform(0, shape[1] - 1, sites)
    z, weight = 500 + rng.normal(0, 30, sites) + 0.2 * y, rng.uniform(0.02, 1, sites)
    coefficients = fit_surface(z, y, x, weight, shape, knot, 1e-2)
    got = evaluate_surface([coefficients], shape)
    intervals = [size - 3 for size in coefficients.shape]
    expected = oracles.penalised_spline(z - 500, y, x, weight, shape, intervals, 1e-2, _SLOPE_SHARE, knot)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, 500 + expected, atol=2e-3)


# whole frames


@pytest.mark.parametrize(("low", "high"), [(350, 700), (800, 1400)])
@pytest.mark.parametrize("kind", ["flat", "ramp", "vignette", "lamp", "cos4"])
def test_backgrounds_are_found_to_a_count_over_the_whole_frame(kind, low, high):
    rng = np.random.default_rng([low, len(kind)])
    true = oracles.smooth_background((512, 512), kind, low, high)
    image, mask = oracles.simulated_frame(rng, true)
    error = estimate_background(image, mask) - true
    assert rms(error) < 1.3
    assert np.abs(error).max() < 20
    rim = np.ones(true.shape, bool)
    rim[32:-32, 32:-32] = False
    assert rms(error[rim]) < 2


@pytest.mark.slow
def test_better_than_pyama_where_pyama_can():
    true = oracles.smooth_background((1024, 1024), "vignette", 836, 1406)
    image, mask = oracles.simulated_frame(np.random.default_rng(2), true, 75)
    ours, theirs = rms(estimate_background(image, mask) - true), rms(oracles.like_pyama(image, mask) - true)
    assert ours < 1 < 20 < theirs


def test_cells_get_no_light_from_the_skew_of_the_noise():
    # The median of Poisson counts is a sixth of a count below their mean, which a sum over a cell has many times.
    rng = np.random.default_rng(0)
    true = oracles.smooth_background((512, 512), "ramp", 100, 140)
    errors = [estimate_background(*oracles.simulated_frame(rng, true, read=1.0)) - true for _ in range(4)]
    assert abs(np.mean(errors)) < 0.06


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "factor"), [(30, 4), (250, 2), (900, 1)])
def test_squares_of_pixels_as_large_as_cells_leave_free(monkeypatch, cells, factor):
    true = oracles.smooth_background((512, 512), "lamp", 350, 700)
    image, mask = oracles.simulated_frame(np.random.default_rng(3), true, cells)
    covered = dilate_mask(mask, 10)
    means, seen = background.means_of_squares, []
    monkeypatch.setattr(background, "means_of_squares", lambda *given: seen.append(given[2]) or means(*given))
    estimate_background(image, covered, background_dilation=0)
    assert seen[-1] == factor


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_means_of_squares(factor):
    rng = np.random.default_rng(factor)
    image = rng.integers(0, 65536, (43, 58), dtype=np.uint16)
    covered = rng.random(image.shape) < 0.05
    means, hidden = background.means_of_squares(image, covered, factor)
    height, width = 43 // factor, 58 // factor
    for y, x in np.ndindex(height, width):
        square = np.s_[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        assert means[y, x] == image[square].mean()
        assert hidden[y, x] == covered[square].any()
    assert means.shape == hidden.shape == (height, width)


@pytest.mark.parametrize("smaller", [0, 3, 5])
def test_intensities_of_cells_whose_masks_are_too_small(smaller):
    true = oracles.smooth_background((512, 512), "vignette", 350, 1400)
    image, mask = oracles.simulated_frame(np.random.default_rng(3), true, smaller=smaller, blur=2)
    estimate = estimate_background(image, mask)
    assert rms(estimate - true) < 2
    ratio = (image[mask] - estimate[mask]).sum(dtype=float) / (image[mask] - true[mask]).sum()
    assert ratio == pytest.approx(1, abs=2e-3)


def test_light_that_no_mask_covers():
    rng = np.random.default_rng(4)
    true = oracles.smooth_background((512, 512), "cos4", 350, 700)
    image, mask = oracles.simulated_frame(rng, true)
    y, x = np.mgrid[:512, :512]
    other = image.copy()
    other[np.hypot(y - 200, x - 300) < 60] += 2000  # covers whole tiles
    other[:, 100:112] = 65535  # a saturated stripe
    other[rng.random(other.shape) < 1e-3] = 60000  # hot pixels
    assert rms(estimate_background(other, mask) - true) < 2
    missed, _ = oracles.simulated_frame(rng, 0 * true, 10, read=0)  # cells that were not segmented
    assert rms(estimate_background(image + missed, mask) - true) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "limit"), [(30, 1.2), (120, 1.6), (250, 4)])
def test_without_any_mask(cells, limit):
    """Cells on 5 to 40 % of the frame."""
    true = oracles.smooth_background((512, 512), "vignette", 350, 700)
    image, _ = oracles.simulated_frame(np.random.default_rng(5), true, cells)
    assert rms(estimate_background(image, None) - true) < limit


@pytest.mark.parametrize(("kind", "low", "high"), [("vignette", 800, 1400), ("cos4", 350, 1400)])
def test_dim_cells_without_any_mask(kind, low, high):
    """Cells of 20 to 100 counts, where the noise of a pixel is 20 to 40: they pull at the first surface."""
    true = oracles.smooth_background((512, 512), kind, low, high)
    image, _ = oracles.simulated_frame(np.random.default_rng(8), true, 60, light=(20, 100))
    assert rms(estimate_background(image, None) - true) < 1.5


@pytest.mark.slow
def test_cells_on_most_of_the_frame():
    true = oracles.smooth_background((512, 512), "vignette", 350, 700)
    image, mask = oracles.simulated_frame(np.random.default_rng(6), true, 400)
    assert mask.mean() > 0.5
    assert rms(estimate_background(image, mask) - true) < 5


@pytest.mark.parametrize("shape", [(300, 1000), (100, 100), (63, 200), (40, 40), (65, 129)])
def test_few_tiles(shape):
    true = oracles.smooth_background(shape, "ramp", 350, 450)
    image, mask = oracles.simulated_frame(np.random.default_rng(7), true, 3, diameter=(6, 9))
    error = estimate_background(image, mask, background_dilation=3) - true
    assert rms(error) < 2.5
    assert np.abs(error).max() < 10


@pytest.mark.parametrize("tile_size", [16, 50, 63, 100, 512])
def test_tile_sizes(tile_size):
    true = oracles.smooth_background((256, 300), "ramp", 350, 700)
    image, mask = oracles.simulated_frame(np.random.default_rng(8), true, 8)
    assert rms(estimate_background(image, mask, tile_size=tile_size) - true) < 5


@settings(max_examples=40, deadline=None)
@given(hnp.array_shapes(min_dims=2, max_dims=2, max_side=150), st.integers(0, 65535), st.sampled_from([None, 0, 0.01]))
def test_a_constant_image_is_its_own_background(shape, level, cells):
    mask = None if cells is None else np.random.default_rng(level).random(shape) < cells
    estimate = estimate_background(np.full(shape, level, np.uint16), mask, background_dilation=2)
    if estimate is None:
        assert dilate_mask(mask, 2).mean() > 0.9
    else:
        assert estimate.dtype == np.float32
        assert (estimate == level).all()


def test_a_steep_ramp_goes_on_straight_to_the_rim():
    y, x = np.mgrid[:200, :260]
    image = (1000 + 20 * y + 30 * x).astype(np.uint16)
    np.testing.assert_allclose(estimate_background(image, None), image, atol=1)
    corner = np.zeros(image.shape, bool)
    corner[:60, :60] = True
    np.testing.assert_allclose(estimate_background(image, corner), image, atol=5)


def test_quiet_images_to_a_fraction_of_a_count():
    image = np.rint(100.35 + np.random.default_rng(9).normal(0, 1.5, (256, 256))).astype(np.uint16)
    assert estimate_background(image, None).mean() == pytest.approx(100.35, abs=0.1)


def test_no_background_at_all():
    image = np.full((128, 128), 500, np.uint16)
    covered = np.ones(image.shape, bool)
    assert estimate_background(image, covered) is None
    covered[:5, :5] = False  # a few pixels are not enough
    assert estimate_background(image, covered, background_dilation=0) is None
    covered[:40, :40] = False
    assert (estimate_background(image, covered, background_dilation=0) == 500).all()


def test_covered_pixels_do_not_count_and_inputs_stay_as_they_are():
    rng = np.random.default_rng(10)
    image, mask = oracles.simulated_frame(rng, oracles.smooth_background((256, 256), "lamp", 350, 700), 12)
    image.flags.writeable = mask.flags.writeable = False
    estimate = estimate_background(image, mask)
    other = np.where(mask, rng.integers(0, 65536, image.shape), image).astype(np.uint16)
    assert estimate.tobytes() == estimate_background(other, mask).tobytes()
    padded = np.zeros((512, 300), np.uint16)
    padded[::2, 20:276] = image
    assert estimate.tobytes() == estimate_background(padded[::2, 20:276], mask).tobytes()
    assert estimate.tobytes() == estimate_background(image, dilate_mask(mask, 10), background_dilation=0).tobytes()
