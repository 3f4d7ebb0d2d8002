"""Outlines on the cells: against simulated halos, T98G cells outlined by hand, and clumps that would vanish whole."""

import math

import cv2
import numpy as np
import oracles
import pytest
import tifffile
from conftest import REAL_FILES
from oracles_regions import continued
from scipy import ndimage
from skimage import measure, morphology
from test_segmentation import assert_like_oracle, disk, overlap, textured

from celltraces.errors import UserError
from celltraces.features import cell_features
from celltraces.labels.objects import components, painted
from celltraces.segmentation import joined_cells, logstd, outline
from celltraces.segmentation.edges import Settings
from celltraces.segmentation.local_variance import n2_variance
from demo.simulate import COUNTS_PER_ELECTRON, simulate

T98G = REAL_FILES / "t98g"


def haloed(seed, strength, away, width, cells=9, radius=(11, 16), texture=0.6, noise=0.005):
    """As above, with a halo of `strength` times the body's contrast that is brightest `away` px outside the edge."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:300, :300]
    image, labels = np.ones((300, 300)), np.zeros((300, 300), np.int32)
    grain = cv2.GaussianBlur(rng.standard_normal((300, 300)), (0, 0), 1.2)
    side = math.isqrt(cells)
    for cell in range(cells):
        cy, cx = ((part + 0.5) * 300 / side + rng.uniform(-6, 6) for part in divmod(cell, side))
        beyond = np.hypot(y - cy, x - cx) - rng.uniform(*radius)
        image += 0.1 * (texture * grain / grain.std() - 1) / (1 + np.exp(np.clip(beyond / 0.7, -50, 50)))
        image += 0.1 * strength * np.exp(-0.5 * ((beyond - away) / width) ** 2)
        labels[beyond < 0] = cell + 1
    image = 8000 * (cv2.GaussianBlur(image, (0, 0), 0.7) + noise * rng.standard_normal((300, 300)))
    return np.rint(image).astype(np.uint16), labels


@pytest.mark.parametrize(
    "halo",
    [
        {"strength": 0.5, "away": 2, "width": 1.5, "noise": 0.01},
        {"strength": 1, "away": 2.5, "width": 1.5},
        {"strength": 1, "away": 3.5, "width": 2.5},
        {"strength": 2, "away": 3.5, "width": 2.5},
        {"strength": 1, "away": 4, "width": 3, "cells": 4, "radius": (35, 42)},
        {"strength": 1, "away": 3, "width": 2, "texture": 0.2},
        {"strength": 1, "away": 6, "width": 4, "cells": 4, "radius": (22, 28)},
        {"strength": 2, "away": 6, "width": 4, "cells": 4, "radius": (22, 28), "noise": 0.01},
    ],
    ids=str,
)
def test_outlines_lie_on_the_cells_and_not_outside_their_halos(halo):
    for seed in range(2):
        image, truth = haloed(seed, **halo)
        ratio = {}
        for name in ("cell", "halo"):
            found = logstd.segment_frame(image, logstd_outline=name)
            shared = overlap(found, truth)[1:, 1:]
            assert shared.shape[0] == shared.shape[1] == np.count_nonzero(shared.max(axis=1))
            area, true_area = np.bincount(found.ravel())[1:], np.bincount(truth.ravel())[1:]
            best = shared.argmax(axis=1)
            ratio[name] = np.median(area[best] / true_area)
            iou = shared.max(axis=1) / (area[best] + true_area - shared.max(axis=1))
            if name == "cell":
                assert (iou > 0.75).all()
                assert np.median(iou) > 0.85
        assert 0.95 <= ratio["cell"] <= 1.1 < ratio["halo"]


def test_the_edge_in_a_wide_halo_is_found_as_the_plain_way_finds_it():
    """Twelve layers decide in each of the four cells."""
    image, _ = haloed(0, strength=2, away=6, width=4, cells=4, radius=(22, 28))
    assert assert_like_oracle(image).max() == 4


@pytest.mark.parametrize("sigma", [0, 1])
@pytest.mark.parametrize("radius", [(11, 16), (19, 20.5)], ids=str)
@pytest.mark.parametrize(("strength", "away"), [(0.5, 2), (1, 3.5), (2, 3.5)])
def test_light_of_a_cell_is_whole_with_the_margin_and_its_mean_is_that_of_the_cell(sigma, radius, strength, away):
    """Of cells with thin halos, which hardly stand out of granular bodies, some single ones lose 3 % of their light."""
    image, truth = haloed(3, strength, away, width=1.5 if strength < 1 else 2.5, radius=radius)
    found = logstd.segment_frame(image, logstd_outline="cell")
    mean, total = [], []
    for cell in range(1, truth.max() + 1):
        body = truth == cell
        light = 500.0 * body
        light = cv2.GaussianBlur(light, (0, 0), sigma) if sigma else light
        mask = found == np.bincount(found[body]).argmax()
        got = cell_features.fluorescence_features(
            ["intensity_total", "intensity_mean"], light[None], None, mask[None], light_margin=2
        )
        total.append(got["intensity_total"][0] / light.sum())
        mean.append(got["intensity_mean"][0] / light[body].mean())
    assert np.median(mean) == pytest.approx(1, abs=0.05)
    assert np.median(total) == pytest.approx(1, abs=0.02)
    if strength >= 1:
        assert total == pytest.approx(np.ones(len(total)), abs=0.02)


def ramp_of_clumps(contrast):
    """Textured disks in a field of weak texture; the field exceeds the threshold and makes them one object."""
    field = disk((400, 400), 200, 200, 180)
    cells = np.zeros((400, 400), np.int32)
    for number, (y, x) in enumerate([(120, 120), (120, 280), (280, 120), (280, 280), (200, 200)], start=1):
        cells[disk((400, 400), y, x, 40)] = number
    rng = np.random.default_rng(0)
    image = 3000 + np.where(cells > 0, 12 * contrast, np.where(field, 12, 3)) * rng.standard_normal((400, 400))
    return np.rint(image).astype(np.uint16), cells


def test_cells_that_have_run_together_come_apart_instead_of_vanishing():
    image, truth = ramp_of_clumps(contrast=8)
    assert logstd.segment_frame(image, logstd_outline="halo").max() == 0
    found = assert_like_oracle(image, logstd_outline="cell")
    assert found.max() == 5
    shared = overlap(found, truth)[1:, 1:]
    assert (np.sort(shared.argmax(axis=1)) == np.arange(5)).all()
    assert (shared.max(axis=1) > 0.8 * np.bincount(truth.ravel())[1:]).all()


def test_parts_of_a_clump_grow_back_to_the_whole_cell():
    """Four cells whose thin rims touch come apart at their middles only; those are a third of the cells."""
    centres = [(100, 100), (100, 180), (180, 100), (180, 180)]
    y, x = np.mgrid[:280, :280]
    away = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])
    truth = np.where(away.min(axis=0) < 45, away.argmin(axis=0) + 1, 0)
    rng = np.random.default_rng(0)
    std = np.where(away.min(axis=0) < 25, 100, np.where(truth > 0, 20, 3))
    image = np.rint(3000 + std * rng.standard_normal(truth.shape)).astype(np.uint16)
    found = assert_like_oracle(image)
    assert found.max() == 4
    shared = overlap(found, truth)[1:, 1:]
    assert (np.sort(shared.argmax(axis=1)) == np.arange(4)).all()
    assert (shared.max(axis=1) > 0.8 * np.bincount(truth.ravel())[1:]).all()
    assert (shared.max(axis=0) > 0.9 * np.bincount(found.ravel())[1:]).all()


def flat_clump(seed, times):
    """Seven flat cells, dark and hardly rougher than the background, in one clump, with bright halos between them; all
    `times` as large."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: 360 * times, : 360 * times] / times
    around = np.arange(6) * np.pi / 3 + 0.2
    centres = [(180, 180), *zip(180 + 92 * np.sin(around), 180 + 92 * np.cos(around), strict=True)]
    beyond = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres]) - 42
    away = beyond.min(axis=0)
    truth = np.where(away < 0, beyond.argmin(axis=0) + 1, 0)
    image = 3000 - 60 / (1 + np.exp(np.clip(away, -50, 50))) + 250 * np.exp(-0.5 * ((away - 4) / 2) ** 2)
    image += np.where(away < 0, 20, 6) * ndimage.gaussian_filter(rng.standard_normal(y.shape), 0.8)
    return np.rint(image + 2 * rng.standard_normal(y.shape)).astype(np.uint16), truth


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("seed", range(2))
def test_flat_cells_in_a_clump_come_apart_at_their_halos(seed, times):
    """Texture alone loses them: the halos, which have most of it, stay in one piece. Of larger cells `max_object_size`
    tells."""
    image, truth = flat_clump(seed, times)
    found = assert_like_oracle(image, max_object_size=10000 * times**2)
    shared = overlap(found, truth)[1:, 1:]
    assert shared.shape == (7, 7)
    best = shared.argmax(axis=1)
    assert (np.sort(best) == np.arange(7)).all()
    union = np.bincount(found.ravel())[1:][best] + np.bincount(truth.ravel())[1:] - shared.max(axis=1)
    assert (shared.max(axis=1) > 0.7 * union).all()


def test_what_is_inside_of_the_edge_and_no_halo_belongs_to_the_cell():
    """Without this, bites are taken out of cells where their texture is weaker by chance: overlaps go down to 0.89."""
    for seed in range(3):
        image, truth = haloed(seed, strength=1, away=3.5, width=2.5)
        found = logstd.segment_frame(image)
        shared = overlap(found, truth)[1:, 1:]
        union = np.bincount(found.ravel())[1:][shared.argmax(axis=1)] + np.bincount(truth.ravel())[1:]
        assert (shared.max(axis=1) > 0.9 * (union - shared.max(axis=1))).all()


def test_one_thing_that_is_too_large_is_not_divided():
    image = textured(disk((400, 400), 200, 200, 180))
    assert logstd.segment_frame(image, logstd_outline="cell").max() == 0
    assert logstd.segment_frame(image, logstd_outline="cell", max_object_size=200000).max() == 1


def seg(found, truth):
    """SEG of the Cell Tracking Challenge: mean overlap (intersection over union) of the true cells with the object that
    covers more than half of each."""
    shared = overlap(found, truth)
    area, true_area = shared.sum(axis=0), shared.sum(axis=1)
    overlaps = []
    for cell in np.flatnonzero(true_area[1:]) + 1:
        best = shared[cell, 1:].argmax() + 1
        most = shared[cell, best]
        overlaps.append(most / (true_area[cell] + area[best] - most) if 2 * most > true_area[cell] else 0)
    return float(np.mean(overlaps))


@pytest.mark.skipif(not T98G.is_dir(), reason="the real files are not here")
@pytest.mark.parametrize("number", [1, 5, 9])
def test_crowded_cells_outlined_by_hand_are_found(number):
    image = tifffile.imread(T98G / f"{number:02d}_phase.tif")
    truth = cv2.imread(str(T98G / f"{number:02d}_cells.png"), cv2.IMREAD_UNCHANGED).astype(np.int64)
    halo, cell = (seg(logstd.segment_frame(image, logstd_outline=name), truth) for name in ("halo", "cell"))
    assert cell > max(0.5, 5 * halo)


def covered(found, truth):
    """The true cells of which one object covers more than half."""
    shared = overlap(found, truth)
    cells = np.flatnonzero(shared.sum(axis=1)[1:]) + 1
    return set(cells[2 * shared[cells, 1:].max(axis=1, initial=0) > shared[cells].sum(axis=1)])


@pytest.mark.parametrize(("seed", "contrast"), [(22, 0.25), (22, 0.15), (31, 0.1), (32, 0.1), (33, 0.1)])
def test_cells_that_hardly_stand_out_are_not_lost_by_drawing_in_their_outlines(seed, contrast):
    """The opening leaves little more than its disk of some of them, which is about half of the cell."""
    cells = simulate(n_fovs=1, n_frames=36, height=384, width=384, n_cells=25, seed=seed)
    rng = np.random.default_rng(23)
    number = {"halo": 0, "cell": 0}
    for frame in (0, 3, 6):
        level = cells.background(0, frame, 0)
        image = level + contrast * (cells.noiseless(0, frame, 0) - level)
        image = np.rint(image + rng.standard_normal(image.shape) * np.sqrt(COUNTS_PER_ELECTRON * image))
        for name in number:
            found = logstd.segment_frame(image.astype(np.uint16), logstd_outline=name)
            number[name] += len(covered(found, cells.labels(0, frame)))
    assert number["cell"] >= number["halo"] > 0


@pytest.mark.parametrize("seed", [51, 61])
def test_cells_that_the_edge_cuts_are_not_lost_by_drawing_in_their_outlines(seed):
    """What the edge leaves of some of them is hardly more than `min_object_size`, and less without the halo."""
    cells = simulate(n_fovs=1, n_frames=36, height=384, width=384, n_cells=70, seed=seed)
    for frame in (0, 2):
        image, truth = cells.plane(0, frame, 0), cells.labels(0, frame)
        halo, cell = (covered(logstd.segment_frame(image, logstd_outline=name), truth) for name in ("halo", "cell"))
        assert halo <= cell


def regrown(mask, filled, image, limit):
    """With a window of 3, an opening by a disk 5 px wide, 3 times, and regions of 10 pixels at least."""
    opened, filled, spread = mask.view(np.uint8), filled.view(np.uint8), n2_variance(image, 3)
    settings = Settings(3, limit, 5, 3, min_size=10, max_size=1600)
    return outline.regrown(opened, components(opened), filled, image, spread, settings)


@pytest.mark.parametrize(("brighter", "grows"), [(-50, True), (0, True), (19, True), (21, False), (50, False)])
def test_what_is_much_brighter_than_a_dim_region_is_not_given_back_to_it(brighter, grows):
    """The limit stands for an STD of 10 counts, twice which decides."""
    mask, filled = np.zeros((2, 40, 40), bool)
    mask[15:25, 15:25] = True
    filled[15:25, 5:35] = True
    image = np.where(filled & ~mask, 1000 + brighter, 1000).astype(np.uint16)
    wanted = filled.copy()
    wanted[:, :13] = wanted[:, 27:] = False
    np.testing.assert_array_equal(regrown(mask, filled, image, math.log(10)), wanted if grows else mask)


def test_dim_regions_get_nothing_back_where_they_would_run_together():
    for gap, grows in ((1, False), (4, False), (5, True)):
        mask, filled = np.zeros((2, 40, 60), bool)
        mask[15:25, 10:20] = mask[15:25, 20 + gap : 30 + gap] = True
        filled[15:25, 10 : 30 + gap] = True
        grown = regrown(mask, filled, np.full(mask.shape, 1000, np.uint16), 0.0)
        assert (grown.sum() > mask.sum()) == grows
        assert (measure.label(grown, connectivity=1).max()) == 2


@pytest.mark.parametrize("seed", range(6))
def test_small_dim_regions_get_back_what_the_opening_took_but_do_not_run_together(seed):
    """Against the oracle, on blobs of all sizes in an image with brighter and darker, dim and strong places."""
    rng = np.random.default_rng(seed)
    blobs = cv2.GaussianBlur(rng.standard_normal((200, 220)), (0, 0), 4)
    filled = ndimage.binary_fill_holes(blobs > 0.2 * blobs.std())
    steps = [ndimage.binary_erosion] * 3 + [ndimage.binary_dilation] * 3
    mask = continued(filled, steps, morphology.disk(2))
    uneven = [cv2.GaussianBlur(rng.standard_normal(mask.shape), (0, 0), sigma) * sigma for sigma in (2, 6)]
    image = np.rint(1000 + 25 * uneven[0] + 10 * np.exp(uneven[1]) * rng.standard_normal(mask.shape)).astype(np.uint16)
    std = oracles.log_std(image, 3)
    limit = float(np.median(std[mask])) - 0.6
    grown = regrown(mask, filled, image, limit)
    wanted = oracles._regrown(mask, filled, image.astype(np.float64), std, limit, 2, 3, 10)
    np.testing.assert_array_equal(grown, wanted)
    assert (grown[mask] == 1).all()
    assert not grown[~filled].any()
    assert measure.label(grown, connectivity=1).max() == measure.label(mask, connectivity=1).max()
    assert grown.sum() > mask.sum()


@pytest.mark.parametrize("seed", range(6))
def test_joined_cells_are_parted_as_the_plain_way_parts_them(seed):
    """Blobs that hang together by necks, some cut by the edge of the frame; granular pixels have gaps."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.standard_normal((150, 180)), (0, 0), 7)
    mask = smooth > np.percentile(smooth, 40)
    gaps = cv2.GaussianBlur(rng.standard_normal(mask.shape), (0, 0), 1.5)
    rough = mask & (smooth > np.percentile(smooth, 52)) & (gaps < np.percentile(gaps, 92))
    wanted = oracles.part_joined(mask, rough, 2, 60, 2000)
    regions = components(mask.view(np.uint8))
    found = joined_cells.part_joined(
        regions, rough.view(np.uint8), np.zeros(mask.shape), np.zeros(regions.area.size), 5, 60, 2000, None
    )
    np.testing.assert_array_equal(painted(found, found.area > 0, mask.shape), wanted)
    assert measure.label(wanted, connectivity=1).max() > regions.area.size  # some were parted


def test_an_outline_of_another_name_is_refused():
    with pytest.raises(UserError, match="^logstd_outline: 'edge' is not one of 'cell', 'halo'$"):
        logstd.segment_frame(np.zeros((20, 20), np.uint16), logstd_outline="edge")


@pytest.mark.parametrize(
    ("texture", "large_radius", "found"),
    [(1.0, 15, True), (0.3, 15, False), (1.0, 30, False)],
    ids=["as the others", "fainter", "far smaller"],
)
def test_a_cell_narrower_than_the_opening_is_kept_where_it_looks_like_the_others(texture, large_radius, found):
    shape = (220, 220)
    large, narrow = disk(shape, 70, 70, large_radius), disk(shape, 170, 170, 7.5)
    noise = np.random.default_rng(0).standard_normal(shape)
    image = np.rint(1000 + np.select([large, narrow], [60, 60 * texture], 3) * noise).astype(np.uint16)
    labels = assert_like_oracle(image)
    assert len(np.unique(labels[large & (labels > 0)])) == 1
    assert (np.count_nonzero(labels[narrow]) > 0.8 * np.count_nonzero(narrow)) == found
    assert not assert_like_oracle(image, logstd_outline="halo")[narrow].any()
