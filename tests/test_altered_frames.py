"""Frames as other cameras take them: saturated, or in strong noise; `logstd` finds the cells all the same."""

import cv2
import numpy as np
import oracles_frames
import pytest
import tifffile
from conftest import real_file
from scipy import ndimage
from test_outline import dish
from test_segmentation import assert_like_oracle, overlap

from celltraces.segmentation import logstd, noise, saturation
from celltraces.segmentation.local_variance import n2_variance


def seg(found, truth):
    """Mean overlap of the true cells with the object that covers more than half of them, 0 where none does."""
    shared = overlap(found, truth)
    iou = shared / np.maximum(shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared, 1)
    covers = 2 * shared > shared.sum(axis=1, keepdims=True)
    there = shared.sum(axis=1)[1:] > 0
    return np.where(covers, iou, 0)[1:, 1:].max(axis=1)[there].mean()


def domes(top=60000, side=240, width=8.0, seed=0):
    """Bright round bumps, in noise, on a level of 8,000 counts: (H, W) float64, and the same up to `top` only, uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 8000.0)
    for cy in range(30, side, 45):
        for cx in range(30, side, 45):
            image += 40000 * np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / width**2)
    image += rng.normal(0, 200, image.shape)
    return image, np.clip(np.rint(image), 0, top).astype(np.uint16)


@pytest.mark.parametrize("top", [30000, 38000, 43000])
def test_what_saturation_cut_is_put_back_about_as_high_as_it_was(top):
    image, cut = domes(top)
    full = cut == top
    again = saturation.continued_above(cut).astype(float)
    np.testing.assert_array_equal(again[~full], cut[~full])
    assert (again[full] >= top).all()
    missing, left = (image - cut)[full].mean(), abs(image - again)[full].mean()
    assert left < 0.5 * missing
    assert np.ptp(again[ndimage.binary_erosion(full, iterations=3)]) > 0


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("seed", [0, 1])
def test_saturated_frames_are_continued_as_in_the_plain_way(kind, seed):
    _, cut = domes(40000, side=130, seed=seed)
    highest = np.iinfo(kind).max
    frame = np.rint(cut / 40000.0 * highest).astype(kind) if kind != np.int16 else (cut - 7232.0).astype(kind)
    plain = oracles_frames.continued_above(frame)
    assert plain is not frame
    again = saturation.continued_above(frame)
    np.testing.assert_array_equal(again, plain)
    assert again.dtype == np.uint16


def test_frames_that_are_not_saturated_stay_as_they_are():
    _, frame = domes(65535)
    hot = frame.copy()
    hot.ravel()[:: frame.size // 100] = 65535
    empty, most = np.full((50, 60), 7, np.uint8), np.where(np.arange(60) < 40, 255, 9) * np.ones((50, 1))
    for image in (frame, hot, empty, most.astype(np.uint8)):
        assert saturation.continued_above(image) is image


def saturated(frame, per_cent):
    return np.minimum(frame, int(np.percentile(frame, 100 - per_cent))).astype(frame.dtype)


def noisy(frame, share, seed=0):
    """With white noise of a share of the frame's standard deviation."""
    counts = frame + np.random.default_rng(seed).normal(0, share * frame.std(), frame.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


@pytest.fixture
def t98g():
    """Parts of two T98G frames, with cells outlined by hand."""
    parts = []
    for number, (y, x) in ((3, (300, 200)), (7, (100, 300))):
        frame = tifffile.imread(real_file(f"t98g/{number:02d}_phase.tif"))
        cells = cv2.imread(str(real_file(f"t98g/{number:02d}_cells.png")), cv2.IMREAD_UNCHANGED).astype(int)
        parts.append(tuple(np.ascontiguousarray(of[y : y + 600, x : x + 600]) for of in (frame, cells)))
    return parts


def mean_seg(frames, alter):
    return np.mean([seg(logstd.segment_frame(alter(frame)).astype(int), cells) for frame, cells in frames])


def test_cells_of_a_saturated_real_frame(t98g, monkeypatch):
    with_rule = mean_seg(t98g, lambda frame: saturated(frame, 5))
    monkeypatch.setattr(logstd, "continued_above", lambda image: image)
    without = mean_seg(t98g, lambda frame: saturated(frame, 5))
    print(with_rule, without, mean_seg(t98g, lambda f: f))


def test_cells_of_a_real_frame_in_strong_noise(t98g, monkeypatch):
    with_rule = mean_seg(t98g, lambda frame: noisy(frame, 0.2))
    monkeypatch.setattr(logstd, "sigma_needed", lambda *_: 0.0)
    without = mean_seg(t98g, lambda frame: noisy(frame, 0.2))
    print(with_rule, without)
