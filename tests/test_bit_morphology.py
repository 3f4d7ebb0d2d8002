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
@given(MASKS)
def test_bits_are_the_mask(mask):
    packed = bit_morphology.pack(mask)
    np.testing.assert_array_equal(bit_morphology.unpack(packed, mask.shape[1]), mask)
    assert packed.shape == (len(mask), -(-mask.shape[1] // 64))
    assert sum(int(word).bit_count() for word in packed.ravel()) == mask.sum()  # nothing beyond the width


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


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(MASKS, HALF_WIDTHS)
def test_dilation(mask, half_widths):
    got = bit_morphology.unpack(bit_morphology.dilate(bit_morphology.pack(mask), half_widths), mask.shape[1])
    np.testing.assert_array_equal(got, ndimage.binary_dilation(mask, as_shape(half_widths)))


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(MASKS, HALF_WIDTHS)
def test_erosion_within_a_margin(mask, half_widths):
    down, across = len(half_widths) - 1, max(half_widths)
    padded = np.pad(mask, [(down, down), (across, across)])
    eroded = bit_morphology.unpack(bit_morphology.erode(bit_morphology.pack(padded), half_widths), padded.shape[1])
    inside = np.s_[down : down + mask.shape[0], across : across + mask.shape[1]]
    np.testing.assert_array_equal(eroded[inside], ndimage.binary_erosion(padded, as_shape(half_widths))[inside])
