"""Frames as other cameras take them: saturated, or in strong noise; `logstd` finds the cells all the same."""

import cv2
import numpy as np
import oracles_frames
import pytest
import tifffile
from conftest import real_file
from scipy import ndimage
from test_outline import seg
from test_segmentation import assert_like_oracle, disk

from celltraces.segmentation import logstd, noise, saturation
from celltraces.segmentation.local_variance import n2_variance


def domes(top=60000, side=240, width=8.0, seed=0):
    """Bright round bumps, in noise, on a level of 8,000 counts: (H, W) float64, and up to `top` only, uint16."""
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
    frame = np.rint(cut / 40000.0 * highest).astype(kind) if kind != np.int16 else (cut - 7300.0).astype(kind)
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
    """Four T98G frames, with cells outlined by hand; parts of frames differ by chance by as much as a rule is worth."""
    names = [f"t98g/{number:02d}" for number in (1, 3, 5, 7)]
    return [
        (
            tifffile.imread(real_file(f"{name}_phase.tif")),
            cv2.imread(str(real_file(f"{name}_cells.png")), cv2.IMREAD_UNCHANGED).astype(int),
        )
        for name in names
    ]


def mean_seg(frames, alter):
    return np.mean([seg(logstd.segment_frame(alter(frame)).astype(int), cells) for frame, cells in frames])


def test_cells_of_a_saturated_real_frame(t98g, monkeypatch):
    with_rule = mean_seg(t98g, lambda frame: saturated(frame, 5))
    monkeypatch.setattr(logstd, "continued_above", lambda image: image)
    assert with_rule > mean_seg(t98g, lambda frame: saturated(frame, 5)) + 0.02


def test_cells_of_a_real_frame_in_strong_noise(t98g, monkeypatch):
    with_rule = mean_seg(t98g, lambda frame: noisy(frame, 0.2))
    monkeypatch.setattr(logstd, "sigma_needed", lambda *_: 0.0)
    assert with_rule > mean_seg(t98g, lambda frame: noisy(frame, 0.2)) + 0.05


def dim_disks(seed, noise_of=225.0):
    """Nine disks, darker than 8,000 counts and in noise that is nearly as strong as their edges, and their labels."""
    rng = np.random.default_rng(seed)
    truth = sum((k + 1) * disk((300, 300), 50 + 100 * (k // 3), 50 + 100 * (k % 3), 20) for k in range(9))
    image = 8000.0 - 1400 * cv2.GaussianBlur((truth > 0).astype(np.float64), (0, 0), 1.5)
    image += 300 * (truth > 0) * cv2.GaussianBlur(rng.standard_normal(truth.shape), (0, 0), 1.5) * 5
    return np.rint(image + rng.normal(0, noise_of, image.shape)).astype(np.uint16), truth


@pytest.mark.parametrize("seed", [0, 1])
def test_cells_in_strong_noise_are_found_as_in_the_plain_way(seed, monkeypatch):
    image, truth = dim_disks(seed)
    spread = n2_variance(image, 3)
    limit = logstd.threshold(spread, 3, 50)
    assert noise.sigma_needed(spread, limit, 3) > 0.5
    found = assert_like_oracle(image)
    with_rule = seg(found, truth)
    monkeypatch.setattr(logstd, "sigma_needed", lambda *_: 0.0)
    assert with_rule > 0.9 > 0.5 > seg(logstd.segment_frame(image), truth)


def test_smoothing_is_a_gaussian_in_quarters_of_a_count():
    _, frame = domes(65535)
    of_few = (frame >> 4).astype(np.uint8)
    for image, finer in ((frame, 1), (of_few, 4)):
        plain = ndimage.gaussian_filter(image.astype(float) - image.min(), 0.7, mode="reflect", truncate=4)
        assert abs(noise.smoothed(image, 0.7) / finer - plain).max() <= 0.51 / finer + 1e-4 * plain.max()


def test_frames_with_little_noise_are_not_smoothed():
    frame, _ = dim_disks(0, noise_of=20)
    spread = n2_variance(frame, 3)
    assert noise.sigma_needed(spread, logstd.threshold(spread, 3, 50), 3) == 0
    flat = np.zeros((20, 20), np.int32)
    assert noise.sigma_needed(flat, 0.0, 3) == 0
