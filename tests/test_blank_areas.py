"""Areas without data that are seen in the pixels alone: borders, tiles, zeros that are data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from celltraces.frames import blank_areas, coverage

# --------------------------------------------------------------------------------------------- what is seen in pixels


NOISE = np.random.default_rng(1)


def rotated(degrees, shape=(300, 320)):
    """A frame rotated about its middle, and where that has brought nothing, by scipy."""
    frame = NOISE.normal(500, 5, shape)
    turned = ndimage.rotate(frame, degrees, reshape=False, order=1)
    return np.rint(turned).astype(np.uint16), np.rint(turned) == 0


@st.composite
def unions_of_tiles(draw):
    """Which pixels lie in the tiles of a mosaic that lacks some, but not all."""
    rows, columns, step = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(40, 60))
    tiles = draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns).filter(any))
    return np.kron(np.reshape(tiles, (rows, columns)), np.ones((step, step), bool))


@settings(max_examples=60, deadline=None)
@given(covered=unions_of_tiles(), zeros=st.sampled_from([0, 0.05, 0.3]), seed=st.integers(0, 99))
def test_tiles_are_seen_by_their_edges(covered, zeros, seed):
    """What is seen is what remains of the zeros when only squares of 15 px may hold them, which may reach over the
    edge: scipy's opening; zeros that are data inside the tiles are not it."""
    rng = np.random.default_rng(seed)
    image = np.where(covered & (rng.random(covered.shape) >= zeros), 300, 0).astype(np.uint16)
    found = blank_areas.blank_pixels(image)
    if covered.all():
        assert found is None
        return
    padded = np.pad(image == 0, 20, constant_values=True)
    opened = ndimage.binary_opening(padded, np.ones((15, 15)), border_value=1)[20:-20, 20:-20]
    assert not (found & ~opened).any()
    assert found[~covered].all()
    # A zero of the data that touches the edge cannot be told from it: some of those along the edge are taken in.
    along = covered & ndimage.binary_dilation(~covered, np.ones((3, 3)))
    assert np.count_nonzero(found & covered) <= 0.001 * covered.size + zeros * np.count_nonzero(along) / 2


@pytest.mark.parametrize("degrees", [0.2, -0.7, 3, 17, -41, 45])
def test_frames_that_were_rotated(degrees):
    image, gone = rotated(degrees)
    np.testing.assert_array_equal(blank_areas.blank_pixels(image), gone)


@pytest.mark.parametrize("width", [1, 2, 5, 40])
@pytest.mark.parametrize("zeros", [0, 0.1, 0.6, 0.8])
def test_borders_of_any_width_also_beside_zeros_that_are_data(width, zeros):
    rng = np.random.default_rng(width)
    shape = (200, 260)
    image = np.where(rng.random(shape) < zeros, 0, 7).astype(np.uint16)
    image[:width] = image[:, -width:] = 0
    gone = np.zeros(shape, bool)
    gone[:width] = gone[:, -width:] = True
    found = coverage.mask_of_boxes(blank_areas.find_blank_areas(image, np.count_nonzero(image == 0)), shape)
    assert (found & gone).sum() == gone.sum()
    assert (found & ~gone).sum() <= (0.004 if zeros > 0.7 else 0.001) * gone.size


@pytest.mark.parametrize("zeros", [0.01, 0.3, 0.6, 0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("shape", [(64, 64), (300, 257)])
def test_zeros_of_a_camera_without_an_offset_are_data(zeros, shape):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        image = rng.poisson(-np.log(zeros), shape).astype(np.uint16)
        assert not blank_areas.find_blank_areas(image, np.count_nonzero(image == 0))


def blobs(shape=(300, 320), n=12, sigma=14, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = rng.uniform(0, 1, (n, 2)) * shape
    return sum(300 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2)) for cy, cx in centres)


@pytest.mark.parametrize("n", [1, 3, 12, 40])
@pytest.mark.parametrize("look", ["smooth", "flat", "noisy"])
def test_zeros_between_cells_are_data(look, n):
    """Light less its background, clipped at 0: large areas of nothing, but with round outlines."""
    for seed in range(5):
        light = blobs(n=n, seed=seed) - 3
        if look == "flat":
            light = 300.0 * (light > 100)
        if look == "noisy":
            light += np.random.default_rng(seed).normal(0, 1, light.shape) - 3
        image = np.clip(np.rint(light), 0, 65535).astype(np.uint16)
        assert not blank_areas.find_blank_areas(image, np.count_nonzero(image == 0))


@pytest.mark.parametrize("fill", [1, 100, 480, 1000, 65535])
@pytest.mark.parametrize("look", ["left", "corner", "rotated"])
def test_borders_filled_with_another_value_than_0(fill, look):
    """Darker than all that was imaged, the same, brighter; the corners of a rotated frame."""
    rng = np.random.default_rng(fill)
    shape = (300, 320)
    image = np.clip(np.rint(rng.normal(500, 5, shape)), 0, 65535).astype(np.uint16)
    gone = np.zeros(shape, bool)
    gone[:, :30] = look != "rotated"
    gone[:21] = look == "corner"
    if look == "rotated":
        gone = ndimage.rotate(np.ones(shape), 17, reshape=False, order=0) == 0
    image[gone] = fill
    found = coverage.mask_of_boxes(blank_areas.find_blank_areas(image, 0), shape)
    assert (gone & ~found).sum() <= 0.01 * gone.sum() * (look == "rotated")  # a corner is narrower than a square
    assert (found & ~gone).sum() <= 0.002 * gone.sum()


@pytest.mark.parametrize("n", [1, 3, 12, 40])
def test_areas_of_one_value_that_are_data(n):
    """Saturated cells at the edge; a background without noise, whole or in steps; a rectangle on it."""
    light = blobs(n=n)
    steps = 100 + np.arange(320)[None] // 40 + 0 * light
    rectangle = np.full((300, 320), 100)
    rectangle[50:120, :90] = 500
    noisy = np.random.default_rng(n).normal(300, 5, light.shape)
    for image in (np.minimum(noisy + 20 * light, 4095), 100 + np.rint(light), steps + light, rectangle):
        assert not blank_areas.find_blank_areas(np.rint(image).astype(np.uint16), 0)


def test_a_frame_of_zeros_and_one_without_any_are_covered():
    assert not blank_areas.find_blank_areas(np.zeros((90, 90), np.uint16), 8100)
    assert not blank_areas.find_blank_areas(np.full((90, 90), 7, np.uint16), 0)
    for shape in [(1, 1), (3, 200), (24, 24)]:
        assert not blank_areas.find_blank_areas(np.zeros(shape, np.uint16), shape[0] * shape[1])


@pytest.mark.parametrize("value", [0, 1, 200, 4095, 65535])
@pytest.mark.parametrize("place", [np.s_[40:58, 70:91], np.s_[100:166, 30:75], np.s_[:, 90:107], np.s_[61:80, :]])
def test_a_tile_that_was_lost_in_the_middle(value, place):
    """Filled with any value, also one that the noise around has, and also where it is smaller than a straight edge."""
    image = np.random.default_rng(2).poisson(200, (180, 210)).clip(2).astype(np.uint16)
    image[20:34, 150:170] += 400
    image[place] = value
    gone = np.zeros(image.shape, bool)
    gone[place] = True
    found = coverage.mask_of_boxes(blank_areas.find_blank_areas(image, np.count_nonzero(image == 0)), image.shape)
    assert found[gone].all()
    assert np.count_nonzero(found & ~gone) <= (10 if value == 200 else 0)  # noise beside it may be the same


@pytest.mark.parametrize("side", [16, 32, 63])
def test_tiles_that_were_lost_each_with_a_value_of_its_own(side):
    image = np.random.default_rng(side).normal(900, 30, (260, 300)).astype(np.uint16)
    gone = np.zeros(image.shape, bool)
    for at, value in enumerate([100, 871, 900, 65535]):
        tile = np.s_[10 + 50 * (at % 2) : 10 + 50 * (at % 2) + side, 5 + 70 * at : 5 + 70 * at + side]
        image[tile], gone[tile] = value, True
    found = coverage.mask_of_boxes(blank_areas.find_blank_areas(image, 0), image.shape)
    np.testing.assert_array_equal(found, gone)


@pytest.mark.parametrize("value", [0, 100, 4095])
@pytest.mark.parametrize("written", [np.s_[:40], np.s_[:, :70], np.s_[60:]])
def test_a_frame_of_which_a_part_was_written(value, written):
    image = np.full((120, 160), value, np.uint16)
    noise = np.random.default_rng(value).normal(900, 30, image.shape).astype(np.uint16)
    image[written] = noise[written]
    found = coverage.mask_of_boxes(blank_areas.find_blank_areas(image, np.count_nonzero(image == 0)), image.shape)
    np.testing.assert_array_equal(found, image == value)


def test_narrow_ends_of_a_border_of_a_turned_image():
    y, x = np.mgrid[:200, :300]
    gone = y < 20 - x / 8
    image = np.where(gone, 0, np.random.default_rng(2).poisson(200, gone.shape)).astype(np.uint16)
    found = coverage.mask_of_boxes(blank_areas.find_blank_areas(image, np.count_nonzero(gone)), image.shape)
    np.testing.assert_array_equal(found, gone)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_round_was_imaged(data):
    """Dark debris, and light that is cut off at the camera's highest value; at the edge of the image too."""
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    light = data.draw(st.sampled_from([3, 20, 200, 2000]))
    value = data.draw(st.sampled_from([0, light, 255, 4095, 65535]))
    y, x = np.mgrid[:120, :150]
    image = rng.poisson(light, y.shape).clip(0 if light == 3 else 1).astype(np.uint16)
    for _ in range(data.draw(st.integers(1, 4))):
        (cy, cx), (long, short), turn = rng.uniform(-5, (125, 155)), rng.uniform(6, 30, 2), rng.uniform(0, np.pi)
        along = (y - cy) * np.cos(turn) + (x - cx) * np.sin(turn)
        across = (x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)
        image[(along / long) ** 2 + (across / short) ** 2 < 1] = value
    assert not blank_areas.find_blank_areas(image, np.count_nonzero(image == 0))


def test_an_image_of_squares_of_many_values_is_not_looked_at_for_each(monkeypatch):
    """An image that was enlarged has no noise: to look for each of its values would take minutes."""
    looked, look = [], blank_areas.blank_pixels
    monkeypatch.setattr(blank_areas, "blank_pixels", lambda *of, **how: looked.append(1) or look(*of, **how))
    coarse = np.random.default_rng(3).permutation(np.arange(100, 100 + 32 * 32)).reshape(32, 32)
    for width in (8, 16):
        image = np.kron(coarse, np.ones((width, width), int)).astype(np.uint16)
        assert not blank_areas.find_blank_areas(image, 0)
    assert len(looked) <= 2
