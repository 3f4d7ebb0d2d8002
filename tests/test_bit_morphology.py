"""Dilation and erosion with one bit per pixel, against scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.morphology import disk

from celltraces.labels import bit_morphology

MASKS = hnp.arrays(
    bool, st.tuples(st.integers(1, 40), st.integers(1, 200)), elements=st.booleans(), fill=st.just(False)
)


def as_shape(half_widths):
    """The shape as a picture: (2 n - 1, 2 w + 1) bool."""
    wide = max(half_widths)
    rows = [np.abs(np.arange(-wide, wide + 1)) <= reach for reach in half_widths]
    return np.array(rows[:0:-1] + rows)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(0, 20), st.booleans())
def test_bits_are_the_mask(mask, margin, goes_on):
    packed = bit_morphology.pack(mask, margin, goes_on=goes_on)
    np.testing.assert_array_equal(bit_morphology.unpack(packed, margin, mask.shape), mask)
    assert packed.shape == (-(-mask.shape[0] // 8) + 2 * margin, mask.shape[1] + 2 * margin)


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 7, 10, 33])
def test_a_disk_is_that_of_scikit_image(radius):
    np.testing.assert_array_equal(as_shape(bit_morphology.disk(radius)), disk(radius))


@pytest.mark.parametrize("times", [1, 2, 3, 5])
@pytest.mark.parametrize("radius", [0, 1, 3, 4])
def test_a_repeated_disk_is_that_of_repeated_dilations(radius, times):
    seed = np.zeros((61, 61), bool)
    seed[30, 30] = True
    for _ in range(times):
        seed = ndimage.binary_dilation(seed, disk(radius))
    shape = as_shape(bit_morphology.disk(radius, times))
    reach = len(shape) // 2
    np.testing.assert_array_equal(seed[30 - reach : 31 + reach, 30 - reach : 31 + reach], shape)
    assert seed.sum() == shape.sum()


HALF_WIDTHS = st.lists(st.integers(0, 150), min_size=1, max_size=12).map(lambda reaches: sorted(reaches, reverse=True))


def over(mask, swept, half_widths, *, goes_on):
    margin = max(len(half_widths) - 1, max(half_widths))
    bands = bit_morphology.pack(mask, margin, goes_on=goes_on)
    return bit_morphology.unpack(swept(bands, half_widths), margin, mask.shape)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(MASKS, HALF_WIDTHS)
def test_dilation(mask, half_widths):
    got = over(mask, bit_morphology.dilate, half_widths, goes_on=False)
    np.testing.assert_array_equal(got, ndimage.binary_dilation(mask, as_shape(half_widths)))


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(MASKS, HALF_WIDTHS)
def test_erosion(mask, half_widths):
    got = over(mask, bit_morphology.erode, half_widths, goes_on=False)
    np.testing.assert_array_equal(got, ndimage.binary_erosion(mask, as_shape(half_widths)))


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(MASKS, HALF_WIDTHS, st.sampled_from(["dilation", "erosion"]))
def test_everything_goes_on_beyond_the_image(mask, half_widths, name):
    down, across = len(half_widths) - 1, max(half_widths)
    wide = np.pad(mask, [(down, down), (across, across)], mode="edge")
    swept = {"dilation": bit_morphology.dilate, "erosion": bit_morphology.erode}[name]
    got = over(mask, swept, half_widths, goes_on=True)
    inside = np.s_[down : down + mask.shape[0], across : across + mask.shape[1]]
    expected = getattr(ndimage, f"binary_{name}")(wide, as_shape(half_widths))[inside]
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=40, deadline=None)
@given(MASKS, st.integers(1, 4))
def test_one_after_the_other_within_a_margin_for_both(mask, radius):
    bands = bit_morphology.pack(mask, 2 * radius, goes_on=True)
    shape = bit_morphology.disk(radius)
    closed = bit_morphology.erode(bit_morphology.dilate(bands, shape), shape)
    got = bit_morphology.unpack(closed, 2 * radius, mask.shape)
    wide = np.pad(mask, 2 * radius, mode="edge")
    expected = ndimage.binary_closing(wide, disk(radius))[2 * radius : -2 * radius, 2 * radius : -2 * radius]
    np.testing.assert_array_equal(got, expected)
