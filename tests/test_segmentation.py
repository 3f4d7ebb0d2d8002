"""Segmentation: `logstd` against its plain way and against simulated truth, `pyama` against PyAMA's steps."""

import math
import subprocess
from fractions import Fraction

import cv2
import numpy as np
import oracles
import pytest
from conftest import PYTHON
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import measure

from celltraces.errors import UserError
from celltraces.segmentation import local_variance, logstd, mask_objects, pyama_original


def phase_contrast(
    seed=0, shape=(256, 256), cells=9, mean=8000.0, noise=0.01, contrast=0.1, radius=(11, 16), top=65535
):
    """Granular dark bodies with a bright halo on a shaded background; (H, W) counts and true labels.

    `noise` and `contrast` relative to the mean. Bodies stand in the fields of a square grid, away from the edge.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.ones(shape)
    labels = np.zeros(shape, np.int32)
    texture = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 1.2)
    texture /= texture.std()
    side = math.ceil(math.sqrt(cells))
    for cell in range(cells):
        cy = (cell // side + 0.5) * shape[0] / side + rng.uniform(-6, 6)
        cx = (cell % side + 0.5) * shape[1] / side + rng.uniform(-6, 6)
        beyond = np.hypot(y - cy, x - cx) - rng.uniform(*radius)
        image += contrast * (0.6 * texture - 1) / (1 + np.exp(np.clip(beyond / 0.7, -50, 50)))
        image += 0.5 * contrast * np.exp(-0.5 * ((beyond - 2) / 1.5) ** 2)
        labels[beyond < 0] = cell + 1
    image = cv2.GaussianBlur(image, (0, 0), 0.7) * (1 + 0.1 * (y / shape[0] - 0.5))
    image = mean * (image + noise * rng.standard_normal(shape))
    return np.clip(np.rint(image), 0, top).astype(np.uint16), labels


def textured(mask, noise=3, seed=0):
    """White noise of 1000 counts, 60 counts strong in the mask and `noise` counts elsewhere."""
    rng = np.random.default_rng(seed)
    image = 1000 + np.where(mask, 60, noise) * rng.standard_normal(mask.shape)
    return np.rint(image).astype(np.uint16)


def disk(shape, cy, cx, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - cy) ** 2 + (x - cx) ** 2 < radius**2


def overlap(labels, truth):
    """(true + 1, found + 1) pixels that a true cell and a found one share."""
    width = int(labels.max()) + 1
    pairs = np.bincount(truth.ravel() * width + labels.ravel(), minlength=(int(truth.max()) + 1) * width)
    return pairs.reshape(-1, width)


def assert_like_oracle(image, **parameters):
    window = parameters.get("logstd_window_size", 3)
    smallest = parameters.get("min_object_size", 50)
    spread = local_variance.n2_variance(image, window)
    std = oracles.log_std(image, window)
    np.testing.assert_array_equal(local_variance.log_std(spread, window), std)
    assert logstd.threshold(spread, window, smallest) == pytest.approx(
        oracles.threshold(std, window, smallest), rel=1e-12, abs=1e-12
    )
    found = logstd.segment_frame(image, **parameters)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, oracles.logstd_labels(image, **parameters))
    return found


FRAMES = {
    "cells": lambda: phase_contrast()[0],
    "cells, odd size": lambda: phase_contrast(1, (201, 333), cells=12)[0],
    "few counts": lambda: phase_contrast(2, mean=200, noise=0.02, top=4095)[0],
    "8 bit": lambda: phase_contrast(3, mean=120, noise=0.01, top=255)[0].astype(np.uint8),
    "bright": lambda: phase_contrast(4, mean=55000, noise=0.002, contrast=0.05)[0],
    "saturated": lambda: phase_contrast(5, mean=60000, noise=0.05, contrast=0.2)[0],
    "mostly saturated": lambda: phase_contrast(5, mean=70000, noise=0.01, contrast=0.2)[0],
    "strong contrast": lambda: phase_contrast(6, contrast=0.4, noise=0.003)[0],
    "cut cells": lambda: phase_contrast(7, (150, 150))[0][12:138, 20:125],
    "crowded": lambda: phase_contrast(8, (160, 160), cells=25)[0],
    "noise": lambda: phase_contrast(9, cells=0)[0],
    "flat": lambda: np.full((64, 80), 60000, np.uint16),
    "one hot pixel": lambda: np.pad(np.array([[65535]], np.uint16), 30),
    "two levels": lambda: (np.random.default_rng(0).random((97, 89)) < 0.5).astype(np.uint8),
    "disk on flat": lambda: textured(disk((120, 130), 100, 20, 30), noise=0),
    "ring": lambda: textured(disk((140, 150), 70, 75, 45) & ~disk((140, 150), 70, 75, 25)),
    "signed": lambda: (phase_contrast(10)[0].astype(np.int32) - 9000).astype(np.int16),
}


@pytest.mark.parametrize("name", FRAMES)
def test_logstd_gives_the_labels_of_the_plain_way(name):
    assert_like_oracle(FRAMES[name]())


@pytest.mark.parametrize(
    "parameters",
    [
        {"logstd_window_size": 5},
        {"logstd_window_size": 9, "morph_size": 5},
        {"logstd_window_size": 39},
        {"morph_size": 1},
        {"morph_iterations": 0, "min_object_size": 1},
        {"morph_size": 3, "morph_iterations": 1, "min_object_size": 5},
        {"morph_size": 11, "morph_iterations": 2, "max_object_size": 900},
        {"min_object_size": 700, "max_object_size": 800},
        {"logstd_outline": "halo"},
        {"logstd_outline": "halo", "logstd_window_size": 5, "morph_iterations": 1},
        {"max_object_size": 600, "min_object_size": 10},
        {"morph_size": 5, "morph_iterations": 5, "max_object_size": 700},
    ],
    ids=str,
)
def test_parameters_mean_what_they_mean_in_the_plain_way(parameters):
    image, _ = phase_contrast(11)
    found = assert_like_oracle(image, **parameters)
    if parameters.get("min_object_size") != 700:
        assert found.max() > 0


@st.composite
def small_frames(draw, largest=40):
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    top = np.iinfo(dtype).max
    low = draw(st.integers(0, top))
    high = min(top, low + draw(st.sampled_from([0, 1, 2, 7, 300, 65535])))
    shape = draw(st.tuples(st.integers(1, largest), st.integers(1, largest)))
    image = np.random.default_rng(draw(st.integers(0, 99))).integers(low, high, shape, dtype, endpoint=True)
    if draw(st.booleans()):
        # a constant part: pixels with zero variance beside others
        image[draw(st.integers(0, shape[0])) :] = low
    return image


@settings(max_examples=150, deadline=None)
@given(
    small_frames(),
    st.sampled_from([3, 5, 7, 41, 101]),
    st.sampled_from([1, 3, 5, 7]),
    st.integers(0, 3),
    st.integers(1, 30),
    st.sampled_from([30, 60, 200, 10000]),
    st.sampled_from(["cell", "halo"]),
)
def test_logstd_gives_the_labels_of_the_plain_way_on_any_image(
    image, window, size, iterations, smallest, largest, outline
):
    assert_like_oracle(
        image,
        logstd_window_size=window,
        morph_size=size,
        morph_iterations=iterations,
        min_object_size=smallest,
        max_object_size=largest,
        logstd_outline=outline,
    )


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=10)))
def test_logstd_gives_the_labels_of_the_plain_way_on_tiny_images(image):
    assert_like_oracle(image, morph_size=3, morph_iterations=1, min_object_size=2)


def test_joined_cells_at_the_edge_of_a_tiny_image_are_parted():
    """There a piece may be a part of a disk, so that the next opening may leave two pieces of a smaller region."""
    image = np.array([[0, 0, 0, 224, 88], [0, 0, 0, 0, 0], [240, 0, 72, 0, 0]], np.uint8)
    found = assert_like_oracle(image, morph_size=3, morph_iterations=1, min_object_size=2)
    assert found.max() == 2


@pytest.mark.parametrize("max_object_size", [10000, 100000])
def test_a_region_that_fills_the_frame_has_no_edge(max_object_size):
    rough, smooth = (np.random.default_rng(1).normal(30000, sd, (120, 120)) for sd in (3000, 30))
    background = (np.arange(120) - 4) % 20 < 12  # rows that the closing fills
    image = np.where(background[:, None], smooth, rough).astype(np.uint16)
    found = assert_like_oracle(image, max_object_size=max_object_size)
    assert (found > 0).all() == (max_object_size > image.size)


@pytest.mark.parametrize("window", [3, 37, 101])
def test_variance_is_exact_in_the_brightest_image(window):
    image = np.random.default_rng(0).integers(65533, 65535, (110, 110), np.uint16, endpoint=True)
    r = window // 2
    inside = [int(v) for v in image[55 - r : 56 + r, 55 - r : 56 + r].ravel()]
    mean = Fraction(sum(inside), len(inside))
    variance = sum((v - mean) ** 2 for v in inside) / len(inside)
    assert local_variance.n2_variance(image, window)[55, 55] == variance * window**4
    assert not local_variance.n2_variance(np.full((9, 9), 65535, np.uint16), window).any()


@pytest.mark.parametrize("window", [3, 5, 7])
@pytest.mark.parametrize("sd", [0.15, 0.3, 0.5, 0.6, 0.8, 1, 2, 30, 3000])
def test_an_image_of_noise_has_no_cells(sd, window):
    rng = np.random.default_rng(1)
    image = np.rint(20000.3 + sd * rng.standard_normal((300, 400))).astype(np.uint16)
    assert logstd.segment_frame(image, logstd_window_size=window).max() == 0


@pytest.mark.parametrize("value", [0, 77, 65535])
def test_a_flat_image_has_no_cells(value):
    assert logstd.segment_frame(np.full((70, 50), value, np.uint16)).max() == 0


@pytest.mark.parametrize(("mean", "noise"), [(200, 0.02), (1500, 0.01), (8000, 0.01), (20000, 0.006), (40000, 0.01)])
@pytest.mark.parametrize("cells", [1, 9])
def test_every_cell_is_found_alone_and_nothing_else(mean, noise, cells):
    for seed in range(2):
        image, truth = phase_contrast(seed, (300, 300), cells, mean, noise)
        found = logstd.segment_frame(image)
        assert found.max() == cells
        shared = overlap(found, truth)[1:, 1:]
        area, truth_area = np.bincount(found.ravel())[1:], np.bincount(truth.ravel())[1:]
        iou = shared / (area + truth_area[:, None] - shared)
        assert (iou.max(axis=1) > 0.5).all()


def spoilt(kind, image):
    rng = np.random.default_rng(3)
    image = image.copy()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    if kind == "hot pixels":
        image[rng.integers(0, image.shape[0], 20), rng.integers(0, image.shape[1], 20)] = 60000
    if kind == "bright debris":
        for cy, cx in [(5, 100), (98, 4), (200, 199), (295, 102)]:
            image[np.hypot(y - cy, x - cx) < 4] = 20000
    if kind == "scratch":
        image[np.abs(y - x // 60 - 98) < 2] = 15000
    return image


@pytest.mark.parametrize("kind", ["hot pixels", "bright debris", "scratch"])
def test_what_is_brighter_than_cells_does_not_hide_them(kind):
    image, truth = phase_contrast(0, (300, 300), contrast=0.05)
    found = logstd.segment_frame(spoilt(kind, image))
    covered = np.bincount(truth.ravel(), weights=found.ravel() > 0)[1:] / np.bincount(truth.ravel())[1:]
    assert (covered > 0.5).all()


def test_cells_on_a_background_without_noise_are_found():
    mask = disk((200, 200), 70, 80, 25)
    found = logstd.segment_frame(textured(mask, noise=0), logstd_outline="halo")
    assert found.max() == 1
    assert found[mask].all()
    drawn_in = logstd.segment_frame(textured(mask, noise=0))
    assert drawn_in.max() == 1
    assert drawn_in[mask].mean() > 0.99
    assert np.count_nonzero(mask) < np.count_nonzero(drawn_in) < np.count_nonzero(found)


@pytest.mark.parametrize("centre", [(0, 80), (199, 80), (80, 0), (80, 199), (0, 0), (199, 199), (10, 80), (5, 190)])
def test_an_object_at_the_edge_loses_nothing(centre):
    mask = disk((200, 200), *centre, 25)
    found = logstd.segment_frame(textured(mask), logstd_outline="halo")
    assert found.max() == 1
    assert found[mask].mean() > 0.99
    assert np.count_nonzero(found) < 1.4 * np.count_nonzero(mask)
    drawn_in = logstd.segment_frame(textured(mask))
    assert drawn_in.max() == 1
    assert 0.95 * np.count_nonzero(mask) < np.count_nonzero(drawn_in) < 1.1 * np.count_nonzero(mask)
    assert drawn_in[mask].mean() > 0.95


def test_an_object_cut_by_the_edge_is_treated_as_what_it_is_part_of():
    """A cap 8 rows high, less than the disk of the opening: part of a cell at the edge, no cell elsewhere."""
    cap = disk((200, 200), -17, 80, 25)
    found = logstd.segment_frame(textured(cap))
    assert found[cap].mean() > 0.95
    assert logstd.segment_frame(textured(np.roll(cap, 50, axis=0))).max() == 0


def test_an_object_near_the_edge_does_not_grow_onto_it():
    found = logstd.segment_frame(textured(disk((200, 200), 33, 80, 25)))
    assert found.max() == 1
    assert not found[:5].any()


def test_sizes_are_inclusive():
    image, _ = phase_contrast(12)
    area = np.sort(np.bincount(logstd.segment_frame(image).ravel())[1:])
    low, high = int(area[2]), int(area[-3])
    # the lower limit is used before holes are filled too, where it must not take more
    found = logstd.segment_frame(image, min_object_size=low, max_object_size=high)
    assert np.array_equal(np.sort(np.bincount(found.ravel())[1:]), area[2:-2])


def test_labels_count_in_raster_order_and_grow_to_32_bits():
    mask = np.zeros((600, 600), np.uint8)
    mask[::2, ::2] = 1
    mask[1, 0] = 1
    labels = mask_objects.label_objects(mask)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, measure.label(mask, connectivity=1))
    assert mask_objects.label_objects(mask, 2).dtype == np.uint16


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"logstd_window_size": 4}, "logstd_window_size"),
        ({"logstd_window_size": 1}, "logstd_window_size"),
        ({"logstd_window_size": 103}, "logstd_window_size"),
        ({"morph_size": 6}, "morph_size"),
        ({"morph_size": -1}, "morph_size"),
    ],
)
def test_impossible_parameters_are_named(parameters, key):
    with pytest.raises(UserError, match=f"^{key}: .*odd"):
        logstd.segment_frame(np.zeros((20, 20), np.uint16), **parameters)


def test_images_that_would_not_be_exact_are_refused():
    with pytest.raises(TypeError, match="float32"):
        logstd.segment_frame(np.zeros((20, 20), np.float32))


@pytest.mark.parametrize("name", [name for name in FRAMES if name != "signed"])
def test_pyama_gives_the_labels_of_its_plain_steps(name):
    image = FRAMES[name]()
    np.testing.assert_array_equal(pyama_original.segment_frame(image), oracles.pyama_labels(image))


@settings(max_examples=60, deadline=None)
@given(small_frames(70))
def test_pyama_gives_the_labels_of_its_plain_steps_on_any_image(image):
    try:
        expected = oracles.pyama_labels(image)
    except ValueError:
        return  # numpy cannot make 200 bins of so small a range in float32
    np.testing.assert_array_equal(pyama_original.segment_frame(image), expected)


def test_pyama_finds_cells_and_eats_the_frame_of_the_image():
    square = np.zeros((200, 200), bool)
    square[:60, 50:110] = True
    found = pyama_original.segment_frame(textured(square))
    assert found.max() == 1
    # its closing erodes with background beyond the border: 9 rows are lost
    assert not found[:9].any()
    assert found[9:59, 51:109].all()


def test_segmenting_needs_no_scipy():
    """Start-up of the job: `celltraces.segmentation.logstd` is to load neither scipy nor scikit-image."""

    code = (
        "import sys; from celltraces.segmentation import logstd, pyama_original\n"
        "print([m for m in sys.modules if m[:5] in ('scipy', 'skima')])"
    )
    path = str(logstd.__file__).rsplit("celltraces", 1)[0]
    ran = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, cwd=path, check=True)
    assert ran.stdout.strip() == "[]"
