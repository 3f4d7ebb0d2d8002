"""Distances to a mask: against scipy's, and the same wherever the mask lies in memory."""

import numpy as np
import pytest
from scipy import ndimage

from celltraces.labels.distances import squared_distances


def mask_of(shape: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    outside = np.ones(shape, np.uint8)
    outside[rng.integers(0, shape[0], 3), rng.integers(0, shape[1], 3)] = 0
    return outside


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (31, 57), (120, 90), (700, 800), (3, 2500), (2500, 3)])
def test_squares_of_distances_are_those_of_scipy(shape):
    for seed in range(3):
        outside = mask_of(shape, seed)
        expected = np.rint(ndimage.distance_transform_edt(outside) ** 2)
        np.testing.assert_array_equal(squared_distances(outside), expected)
        np.testing.assert_array_equal(squared_distances(outside.view(bool)), expected)


def test_they_do_not_depend_on_where_the_mask_lies_in_memory():
    outside = mask_of((90, 110), 0)
    memory = np.empty(outside.size + 64, np.uint8)
    for place in range(64):
        mask = memory[place : place + outside.size].reshape(outside.shape)
        mask[:] = outside
        np.testing.assert_array_equal(squared_distances(mask), squared_distances(outside))
