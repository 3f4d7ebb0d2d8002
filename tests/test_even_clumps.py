"""Evenly granular cells that touch, or have run together into clumps, are taken apart; other things are not."""

import cv2
import numpy as np
import oracles
import pytest
import tifffile
from conftest import REAL_FILES
from evaluation import label_movies
from evaluation.phase_contrast import LOOKS, draw
from scipy import ndimage
from skimage import measure
from test_segmentation import assert_like_oracle, overlap

from celltraces.labels.objects import components, painted
from celltraces.segmentation import even_clumps, logstd, necks, outline
from celltraces.segmentation.local_variance import n2_variance

T98G = REAL_FILES / "t98g"


def ellipses(shape, cells):
    """(H, W) numbers of cells (y, x, half axis along y, along x, degrees); of two that meet, the later one is whole."""
    labels = np.zeros(shape, np.int32)
    for number, (y, x, high, wide, turned) in enumerate(cells, start=1):
        cv2.ellipse(labels, (x, y), (wide, high), turned, 0, 360, number, -1)
    return labels


def granular(labels, strength=60, seed=0):
    """White noise of 1000 counts, as strong in cells as `strength` (one number, or (H, W)) says, and 3 elsewhere."""
    noise = np.random.default_rng(seed).standard_normal(labels.shape)
    return np.rint(1000 + np.where(labels > 0, strength, 3) * noise).astype(np.uint16)


def alone(found, truth):
    """The true cells that have an object of their own: it covers more than half of them, and of no other cell."""
    shared = overlap(found, truth)
    covers = 2 * shared > shared.sum(axis=1, keepdims=True)
    covers[0] = covers[:, 0] = False
    return {cell for cell in range(1, len(shared)) if (covers[cell] & (covers.sum(axis=0) == 1)).any()}


def dense_movie(seed):
    """Cells of a simulated movie in which they lie close, and the picture of its last frame."""
    settings = label_movies.Settings(n_cells=30, n_frames=12, size=420, radius=22, dividing=0.6)
    movie = label_movies.simulate(settings, seed)
    return movie.cells[-1], draw(movie.cells, movie.divisions, LOOKS["plain"], seed)[-1]


@pytest.mark.parametrize("seed", [0, 1])
def test_cells_of_a_clump_do_not_vanish_with_it(seed, monkeypatch):
    """Cells and the halos between them are one region of many times `max_object_size`."""
    truth, image = dense_movie(seed)
    cells = np.unique(truth[truth > 0]).size
    found = logstd.segment_frame(image)
    assert len(alone(found, truth)) >= 0.85 * cells
    best = overlap(found, truth)[1:, 1:].max(axis=1)
    assert np.median(best / np.bincount(truth.ravel())[1:][: best.size].clip(1)) > 0.9
    monkeypatch.setattr(even_clumps, "EVEN", -9)
    assert len(alone(logstd.segment_frame(image), truth)) < 0.8 * cells


def test_a_dense_picture_is_parted_as_the_plain_way_parts_it():
    truth, image = dense_movie(2)
    assert len(alone(assert_like_oracle(image[:260, :300]), truth[:260, :300])) > 10


PAIRS = {
    "two": ([(50, 50, 20, 24, 0), (50, 96, 20, 24, 0)], 2),
    "unlike": ([(50, 50, 22, 28, 0), (50, 96, 16, 20, 0)], 2),
    "three in a row": ([(50, 40, 20, 20, 0), (50, 79, 20, 20, 0), (50, 118, 20, 20, 0)], 3),
    "corner": ([(40, 40, 20, 20, 0), (40, 79, 20, 20, 0), (79, 40, 20, 20, 0)], 3),
    "one long": ([(50, 70, 16, 48, 0)], 1),
    "hardly a neck": ([(50, 50, 20, 30, 0), (50, 72, 20, 30, 0)], 1),
    "small bump": ([(60, 50, 24, 30, 0), (60, 86, 8, 8, 0)], 1),
}


@pytest.mark.parametrize("name", PAIRS)
def test_cells_that_touch_are_parted_at_their_necks_if_that_makes_them_ellipses(name):
    """Another cell lies apart, so that there is a usual one."""
    cells, number = PAIRS[name]
    truth = ellipses((160, 200), [*cells, (125, 60, 20, 24, 0), (125, 150, 20, 24, 0)])
    regions = components((truth > 0).astype(np.uint8))
    spread = n2_variance(granular(truth), 3)
    found = necks.part_at_necks(regions, spread, truth.shape, 50, 10000)
    labels = painted(found, np.arange(found.area.size), truth.shape)
    assert found.area.size - 1 == number + 2
    assert (labels > 0).sum() >= 0.98 * (truth > 0).sum()
    if number > 1:
        assert alone(labels, truth) == set(range(1, truth.max() + 1))


def test_a_bent_cell_is_not_cut_where_it_is_narrow():
    """Two legs of a boomerang, with a narrow knee: neither is an ellipse."""
    mask = np.zeros((140, 140), np.uint8)
    cv2.fillPoly(mask, [np.array([[10, 20], [70, 90], [130, 20], [130, 60], [70, 104], [10, 60]], np.int32)], 1)
    spread = n2_variance(granular(mask), 3)
    assert necks.part_at_necks(components(mask), spread, mask.shape, 50, 10000).area.size == 2


@pytest.mark.parametrize(("rim", "parts"), [(60, 2), (15, 1)])
def test_necks_count_only_where_cells_are_granular_all_over(rim, parts):
    """Where the middle of a cell is rougher than its rim, its outline may be one of many that could be drawn."""
    truth = ellipses((100, 150), [(50, 50, 20, 24, 0), (50, 96, 20, 24, 0)])
    middle = ellipses((100, 150), [(50, 50, 10, 12, 0), (50, 96, 10, 12, 0)])
    spread = n2_variance(granular(truth, np.where(middle > 0, 60, rim)), 3)
    regions = components((truth > 0).astype(np.uint8))
    assert necks.part_at_necks(regions, spread, truth.shape, 50, 10000).area.size - 1 == parts


def blobs(seed):
    """(H, W) bool, blobs that hang together by necks, and an image in which most are evenly granular, or smooth."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.standard_normal((190, 220)), (0, 0), 7)
    mask = smooth > np.percentile(smooth, 45)
    strength = np.where(smooth > np.percentile(smooth, 55), 40, 4) * (1 + 3 * (np.arange(220) > 180))
    return mask, np.rint(1000 + strength * rng.standard_normal(mask.shape)).astype(np.uint16)


@pytest.mark.parametrize("seed", range(6))
def test_necks_part_regions_as_the_plain_way_parts_them(seed, monkeypatch):
    """Also pieces that are no ellipses, so that blobs come apart."""
    monkeypatch.setattr(necks, "ELLIPSE", 0.8)
    monkeypatch.setattr(oracles, "ELLIPSE", 0.8)
    mask, image = blobs(seed)
    image = granular(mask)
    regions = components(mask.view(np.uint8))
    found = necks.part_at_necks(regions, n2_variance(image, 3), mask.shape, 60, 2000)
    wanted = oracles.part_at_necks(mask, oracles.log_std(image, 3), 60, 2000)
    np.testing.assert_array_equal(painted(found, found.area > 0, mask.shape), wanted)
    assert measure.label(wanted, connectivity=1).max() > regions.area.size - 1


def test_gaps_are_taken_out_of_clumps_as_the_plain_way_does_it():
    changed = 0
    for seed in range(8):
        mask, image = blobs(seed)
        regions = components(mask.view(np.uint8))
        found, clumps = even_clumps.without_gaps(mask.view(np.uint8), regions, n2_variance(image, 3), 5, 60, 2000, None)
        wanted, _ = oracles.without_gaps(mask, oracles.log_std(image, 3), 2, 60, 2000)
        np.testing.assert_array_equal(found, wanted)
        assert clumps.any() == (wanted != mask).any()
        changed += clumps.sum()
    assert changed >= 2


def test_pixels_without_data_are_no_gap_of_a_clump():
    """A clump that they cut is parted as the same clump cut by the edge of the image."""
    truth, image = dense_movie(0)
    mask = ndimage.binary_closing(truth > 0, iterations=9)
    uncovered = np.zeros(mask.shape, bool)
    uncovered[:, 300:] = True
    sizes = (7, 50, 5000)
    results = []
    for width, without in ((420, uncovered), (300, None)):
        part, spread = (np.ascontiguousarray(of[:, :width]) for of in (mask & ~uncovered, n2_variance(image, 3)))
        part = part.view(np.uint8)
        results.append(even_clumps.without_gaps(part, components(part), spread, *sizes, without)[0][:, :300])
    np.testing.assert_array_equal(*results)
    assert results[0].sum() < mask[:, :300].sum()


@pytest.mark.skipif(not T98G.is_dir(), reason="the real files are not here")
def test_flat_real_cells_are_left_alone(monkeypatch):
    """Their middles are rougher than their rims, and none is an ellipse: outlines do not tell them apart."""
    image = tifffile.imread(T98G / "01_phase.tif")
    found = logstd.segment_frame(image)
    monkeypatch.setattr(outline, "part_at_necks", lambda regions, *rest: regions)
    monkeypatch.setattr(outline, "without_gaps", lambda mask, regions, *rest: (mask, np.zeros(regions.area.size, bool)))
    np.testing.assert_array_equal(found, logstd.segment_frame(image))
