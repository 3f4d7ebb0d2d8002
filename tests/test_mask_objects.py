"""Objects of a mask as runs of pixels, and holes, against scipy's labels; which variance a limit stands for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from celltraces.labels.left_out import TOO_SMALL
from celltraces.labels.objects import (
    components,
    cut_out,
    every_nth,
    in_raster_order,
    painted,
    pixels_of,
    replaced,
    some_pixels_of,
)
from celltraces.segmentation.local_variance import greatest_up_to, log_std
from celltraces.segmentation.mask_objects import fill_holes, openings, vanished, without_debris

MASKS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 25), st.integers(1, 25)), elements=st.integers(0, 1))


def spiral(size):
    """A line 1 px wide that turns inward; between its turns is a line of background."""
    mask = np.zeros((size, size), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    mask[y, x] = 1
    for length in [size - 1, *(length for step in range(size - 1, 0, -2) for length in (step, step))][: size - 1]:
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = 1
        dy, dx = dx, -dy
    return mask


def comb(size):
    """Teeth that a row at the bottom joins: each begins as an object of its own."""
    mask = np.zeros((size, size), np.uint8)
    mask[:, ::2] = 1
    mask[-1] = 1
    return mask


PICTURES = {
    "spiral": spiral(41),
    "comb": comb(40),
    "comb upside down": comb(40)[::-1].copy(),
    "comb on its side": comb(40).T.copy(),
    "nothing": np.zeros((7, 9), np.uint8),
    "everything": np.ones((7, 9), np.uint8),
    "chessboard": (np.indices((20, 21)).sum(axis=0) % 2).astype(np.uint8),
    "noise": (np.random.default_rng(1).random((200, 301)) < 0.6).astype(np.uint8),
    "blobs": (ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((200, 301)), 3) > 0).astype(np.uint8),
}


def assert_as_scipy_labels(mask):
    labels, n = ndimage.label(mask)
    objects = components(mask)
    assert objects.area.tolist() == [0, *np.bincount(labels.ravel(), minlength=n + 1)[1:].tolist()]
    np.testing.assert_array_equal(painted(objects, np.arange(n + 1), mask.shape), labels)
    chosen = np.arange(n + 1) % 2 == 1
    pixels, owner = pixels_of(objects, chosen)
    np.testing.assert_array_equal(pixels, np.flatnonzero(chosen[labels]))
    np.testing.assert_array_equal(owner, labels.ravel()[pixels])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(MASKS)
def test_objects_are_those_of_scipy_in_its_order(mask):
    assert_as_scipy_labels(mask)


@pytest.mark.parametrize("picture", PICTURES)
def test_objects_of_shapes_that_wind_and_branch(picture):
    assert_as_scipy_labels(PICTURES[picture])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(MASKS)
def test_holes_are_those_of_scipy(mask):
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("picture", PICTURES)
def test_holes_in_shapes_that_wind_and_branch(picture):
    mask = PICTURES[picture]
    filled = fill_holes(mask)
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(mask))
    assert filled.dtype == np.uint8


@settings(max_examples=40, deadline=None, derandomize=True)
@given(MASKS, st.sampled_from([1, 3, 7]))
def test_openings_one_after_the_other_are_those_of_scipy(mask, size):
    """Where the image ends, everything goes on as it is at the edge."""
    y, x = np.ogrid[-(size // 2) : size // 2 + 1, -(size // 2) : size // 2 + 1]
    disk = y**2 + x**2 <= (size // 2) ** 2
    wide = np.pad(mask, 40, mode="edge")
    for times, got in enumerate(openings(mask, size, range(1, 5)), 1):
        expected = ndimage.binary_opening(wide, disk, times)[40:-40, 40:-40]
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASKS, st.integers(0, 25), st.integers(0, 25))
def test_a_hole_with_pixels_without_data_is_open(mask, y, x):
    uncovered = np.zeros(mask.shape, bool)
    uncovered[y : y + 3, x : x + 3] = True
    mask[uncovered] = 0
    ground, n = ndimage.label(mask == 0)
    edges = [ground[0], ground[-1], ground[:, 0], ground[:, -1], ground[uncovered]]
    closed = np.setdiff1d(np.arange(1, n + 1), np.concatenate(edges))
    np.testing.assert_array_equal(fill_holes(mask, uncovered), mask.astype(bool) | np.isin(ground, closed))


def test_objects_of_two_masks_are_numbered_as_those_of_both_together():
    """The two share no object; some are struck out, by area 0."""
    labels, n = ndimage.label(PICTURES["blobs"])
    group = np.random.default_rng(3).integers(0, 3, n + 1)  # 0: struck out
    group[0] = 0
    parts = []
    for number in (1, 2):
        objects = components(PICTURES["blobs"])
        parts.append(objects._replace(area=np.where(group == number, objects.area, 0)))
    both = in_raster_order(*parts)
    expected, n = ndimage.label((group > 0)[labels])
    np.testing.assert_array_equal(painted(both, np.arange(n + 1), labels.shape), expected)
    np.testing.assert_array_equal(both.area[1:], np.bincount(expected.ravel())[1:])
    assert both.area[0] == 0


@pytest.mark.parametrize("window", [3, 5, 101])
def test_the_greatest_variance_up_to_a_limit_is_that_of_all_tried(window):
    highest = 3000
    log = log_std(np.arange(highest + 1), window)
    for limit in [
        *log[1:50],
        *log[-3:],
        *(log[1:50] + 1e-16),
        log[1] - 5,
        log[-1] + 5,
        *np.linspace(log[1], log[-1], 40),
    ]:
        assert greatest_up_to(float(limit), window, highest) == np.flatnonzero(log <= limit).max()


def test_the_greatest_variance_up_to_a_limit_is_exact_for_large_numbers():
    for spread in np.random.default_rng(4).integers(1, 2**52, 200).tolist():
        limit = float(log_std(np.float64(spread), 3))
        found = greatest_up_to(limit, 3, 2**52)
        assert log_std(np.float64(found), 3) <= limit < log_std(np.float64(found + 1), 3)
        assert found >= spread


@pytest.mark.parametrize(("share", "kept"), [(0, {900, 100, 81, 60}), (0.1, {900, 100, 60}), (0.12, {900, 60})])
def test_debris_is_left_out_by_the_usual_area_but_for_what_the_edge_cuts(share, kept):
    """Cells of 30 x 30 px, specks of 10 x 10 and 9 x 9, and 60 px of something at the edge."""
    mask = np.zeros((120, 160), np.uint8)
    for y, x in ((10, 10), (10, 60), (10, 110), (80, 10), (80, 60), (80, 110)):
        mask[y : y + 30, x : x + 30] = 1
    mask[60:70, 20:30] = mask[60:69, 50:59] = mask[60:70, 154:160] = 1
    rejected = np.zeros_like(mask)
    objects = without_debris(components(mask), np.ones(mask.shape), share, 50, 10000, rejected)
    assert set(objects.area[objects.area > 0].tolist()) == kept
    gone = {100, 81} - kept
    assert np.count_nonzero(rejected == TOO_SMALL) == np.count_nonzero(rejected) == sum(gone)


def cells_and(*others):
    """Five cells of 30 x 30 px and others: (y, x, height, width, texture by theirs). (120, 160) mask and spread."""
    mask, spread = np.zeros((120, 160), np.uint8), np.ones((120, 160))
    for y, x in ((10, 10), (10, 60), (10, 110), (80, 10), (80, 60)):
        mask[y : y + 30, x : x + 30] = 1
    for y, x, height, width, texture in others:
        place = np.s_[y : y + height, x : x + width]
        mask[place] = 1
        spread[place] = texture**2
    return components(mask), spread


@pytest.mark.parametrize(("texture", "kept"), [(0.62, 5), (0.64, 6), (5, 6)])
def test_what_has_a_weaker_texture_counts_less_by_its_square(texture, kept):
    """18 x 15 px are 0.3 of a cell: debris below sqrt(0.12 / 0.3) = 0.632 of their texture."""
    found = without_debris(*cells_and((85, 115, 18, 15, texture)), 0.12, 50, 10000).area
    assert np.count_nonzero(found) == kept


@pytest.mark.parametrize(("texture", "kept"), [(0.34, 5), (0.352, 6)])
@pytest.mark.parametrize("place", [(50, 0), (50, 145), (0, 145), (105, 120)])
def test_what_the_edge_cuts_is_debris_by_its_texture_alone(place, texture, kept):
    """15 x 15 px, debris below sqrt(0.12) = 0.346 of the cells' texture, at each side of the image."""
    y, x = place
    found = without_debris(*cells_and((y, x, 15, 15, texture)), 0.12, 50, 10000).area
    assert np.count_nonzero(found) == kept


def test_what_is_as_large_as_the_usual_object_is_no_debris():
    found = without_debris(*cells_and((80, 110, 30, 30, 0.1)), 0.12, 50, 10000).area
    assert np.count_nonzero(found) == 6


def test_a_frame_of_specks_alone_keeps_them():
    mask = np.zeros((50, 90), np.uint8)
    mask[10:20, 10:20] = mask[10:20, 40:50] = mask[30:38, 60:70] = 1
    assert (without_debris(components(mask), np.ones(mask.shape), 0.12, 50, 10000).area > 0).sum() == 3


@pytest.mark.parametrize(("n_small", "kept"), [(4, 1), (5, 6)])
def test_small_cells_beside_a_large_one_are_no_debris(n_small, kept):
    """Four of 48 px beside 900 px are less than a fifth of all pixels, five are more."""
    mask = np.zeros((60, 200), np.uint8)
    mask[10:40, 10:40] = 1
    for x in range(60, 60 + 20 * n_small, 20):
        mask[10:18, x : x + 6] = 1
    found = without_debris(components(mask), np.ones(mask.shape), 0.12, 40, 10000).area
    assert np.count_nonzero(found) == kept


def test_what_borders_pixels_without_data_may_be_a_part_of_a_cell():
    mask, uncovered = np.zeros((60, 90), np.uint8), np.zeros((60, 90), bool)
    mask[10:50, 10:40] = mask[10:18, 60:66] = 1
    assert (without_debris(components(mask), np.ones(mask.shape), 0.12, 40, 10000, None, uncovered).area > 0).sum() == 1
    uncovered[:, 66:] = True
    assert (without_debris(components(mask), np.ones(mask.shape), 0.12, 40, 10000, None, uncovered).area > 0).sum() == 2


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(1, 4))
def test_every_nth_pixel_of_objects_and_of_rows_has_their_numbers(mask, n):
    labels, highest = ndimage.label(mask)
    some, shape = every_nth(components(mask), n, mask.shape)
    np.testing.assert_array_equal(painted(some, np.arange(highest + 1), shape), labels[::n, ::n])
    np.testing.assert_array_equal(some.area[1:], np.bincount(labels[::n, ::n].ravel(), minlength=highest + 1)[1:])
    chosen = np.arange(highest + 1) % 2 == 1
    pixels = np.flatnonzero(chosen[labels])[::n]
    at, of = some_pixels_of(components(mask), chosen, n)
    np.testing.assert_array_equal(at, pixels)
    np.testing.assert_array_equal(of, labels.ravel()[pixels])


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_a_cut_out_holds_the_chosen_objects_as_they_are_and_no_more_than_a_margin_around(mask, margin, seed):
    labels, n = ndimage.label(mask)
    chosen = np.append(False, np.random.default_rng(seed).random(n) < 0.5)
    cut = cut_out(components(mask), chosen, mask.shape, margin)
    inside = chosen[labels]
    for kept, axis in ((cut.rows, 1), (cut.columns, 0)):
        near = ndimage.binary_dilation(inside.any(axis=axis), np.ones(2 * margin + 1)) if n else inside.any(axis=axis)
        np.testing.assert_array_equal(kept, np.flatnonzero(near))
    np.testing.assert_array_equal(cut.of(labels), labels[np.ix_(cut.rows, cut.columns)])
    numbers = np.append(0, np.flatnonzero(chosen))  # those in the whole image, in the order of those in the cut-out
    np.testing.assert_array_equal(
        painted(cut.objects, numbers, cut.shape), np.where(inside, labels, 0)[np.ix_(cut.rows, cut.columns)]
    )
    np.testing.assert_array_equal(cut.objects.area, np.bincount(labels[inside], minlength=n + 1)[numbers])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASKS, st.integers(1, 3), st.integers(0, 3))
def test_what_is_changed_in_a_part_of_an_image_is_changed_in_the_image(mask, every, margin):
    """Every n-th object loses a row in an image of its own rows and columns; scipy labels what the image is then."""
    objects = components(mask)
    chosen = np.arange(objects.area.size) % every == every - 1
    chosen[0] = False
    cut = cut_out(objects, chosen, mask.shape, max(margin, 1))
    alone = painted(cut.inside(objects, chosen), np.ones(chosen.size, np.uint8), cut.shape)
    alone[cut.rows == mask.shape[0] // 2] = 0
    parts = components(alone)
    result = replaced(objects, chosen, parts._replace(start=cut.outside(parts.start)))
    labels, _ = ndimage.label(mask)
    changed = mask.copy()
    changed[mask.shape[0] // 2] &= ~chosen[labels[mask.shape[0] // 2]]
    expected, n = ndimage.label(changed)
    ordered = in_raster_order(result, components(np.zeros_like(mask)))
    assert (np.diff(result.start) > 0).all()
    assert ordered.area[1:].tolist() == np.bincount(expected.ravel(), minlength=n + 1)[1:].tolist()
    np.testing.assert_array_equal(painted(ordered, np.arange(ordered.area.size), mask.shape), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASKS, st.integers(0, 2**32 - 1))
def test_objects_without_a_common_pixel_have_vanished(mask, seed):
    left = (np.random.default_rng(seed).random(mask.shape) < 0.1).astype(np.uint8)
    labels, n = ndimage.label(mask)
    expected = np.bincount(labels.ravel(), left.ravel(), n + 1) == 0
    expected[0] = False
    np.testing.assert_array_equal(vanished(components(mask), components(left)), expected)
