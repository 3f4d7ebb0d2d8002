"""Fluorescence frames of another place are found, and what happens to the light of one place is none."""

import numpy as np
import pytest
from scipy import ndimage

from celltraces.frames import likeness
from celltraces.results.quality import check_place
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

SHAPE = (150, 170)
T = 16


def light(seed, light_of=lambda frame, cell: 1.0, speed=1.0, n_cells=14):
    """Light of cells (T, H, W) float that walk at random by `speed` px per frame; light_of: of each, about 1."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (n_cells, 2)) * SHAPE + np.cumsum(rng.normal(0, speed, (T, n_cells, 2)), axis=0)
    brightness, radius = rng.lognormal(4.5, 0.7, n_cells), rng.uniform(6, 12, n_cells)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frames = np.zeros((T, *SHAPE))
    for frame in range(T):
        for cell, (at_y, at_x) in enumerate(places[frame]):
            inside = (y - at_y) ** 2 + (x - at_x) ** 2 < radius[cell] ** 2
            frames[frame] += brightness[cell] * light_of(frame, cell) * inside
    return frames


def taken(frames, level=200, seed=0):
    """As a camera takes it, with an unevenly lit background and some hot pixels."""
    rng = np.random.default_rng(seed)
    y, x = (np.linspace(-1, 1, side) for side in SHAPE)
    lit = 1 - 0.15 * (y[:, None] ** 2 + x**2)
    pixels = rng.poisson((frames + level) * lit) + 100
    pixels[:, 20::40, 30::50] = 4000
    return pixels.clip(0, 65535).astype(np.uint16)


def found(tmp_path, frames, jumps=(), missing=()):
    """Frames that check_place reports."""
    like = likeness.likeness_follower()
    attributes = {
        likeness.ATTRIBUTE: [
            like(None if at in missing else likeness.small_picture(frame)) for at, frame in enumerate(frames)
        ]
    }
    path = tmp_path / "fl_ch_1" / "0"
    with writing(path, frames.shape, np.uint16, PIXELS, attributes=attributes) as append:
        for frame in frames:
            append(frame)
    return [row.frame for row in check_place(0, open_frames(path), jumps)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("frame", [3, 8, 13])
def test_fovs_that_are_exchanged_from_a_frame_on_or_in_one(tmp_path, frame, seed):
    here, there = taken(light(seed)), taken(light(seed + 50), seed=1)
    assert found(tmp_path / "a", np.concatenate([here[:frame], there[frame:]])) == [frame]
    one = here.copy()
    one[frame] = there[frame]
    assert found(tmp_path / "b", one) == ([frame] if frame < 13 else [])  # after it there have to be two alike


@pytest.mark.parametrize("change", [lambda image: image[:, ::-1], lambda image: np.roll(image, (25, 30), (0, 1))])
def test_pictures_that_are_mirrored_or_shifted_from_a_frame_on(tmp_path, change):
    frames = taken(light(0))
    frames[8:] = [change(image) for image in frames[8:]]
    assert found(tmp_path / "a", frames) == [8]
    assert found(tmp_path / "b", frames, jumps={8}) == []  # as the stage did


def test_a_frame_without_light(tmp_path):
    dark = light(0)
    dark[7] = 0
    assert found(tmp_path, taken(dark)) == [7]


def test_a_frame_without_data_is_passed_over(tmp_path):
    here, there = taken(light(0)), taken(light(50), seed=1)
    frames = np.concatenate([here[:8], there[8:]])
    frames[8] = 0
    assert found(tmp_path / "a", frames, missing={8}) == [9]
    here[8] = 0
    assert found(tmp_path / "b", here, missing={8}) == []


@pytest.mark.parametrize("seed", range(2))
def test_what_happens_in_one_place(tmp_path, seed):
    """Nothing; noise alone; dim, fast, still cells; light that comes, fades, flickers; debris; blur; no noise."""
    rng = np.random.default_rng(seed)
    onset = rng.uniform(0, T, 14)
    flicker = rng.uniform(0.6, 1.6, T)
    steady = light(seed)
    debris, blurred = steady.copy(), steady.copy()
    debris[6:9, 40:70, 60:100] += 3000
    blurred[9] = ndimage.gaussian_filter(blurred[9], 4)
    movies = {
        "steady": steady,
        "nothing": np.zeros_like(steady),
        "dim": 0.05 * steady,
        "fast": light(seed, speed=12),
        "still": light(seed, speed=0),
        "lighting up": light(seed, lambda frame, cell: float(frame > onset[cell])),
        "lit at once": light(seed, lambda frame, cell: float(frame > 7)),
        "fading": light(seed, lambda frame, cell: 0.8**frame),
        "flickering": light(seed, lambda frame, cell: flicker[frame]),
        "flashing": light(seed, lambda frame, cell: 1 + 8 * ((frame + cell) % 5 == 0)),
        "debris": debris,
        "blurred": blurred,
    }
    for name, frames in movies.items():
        assert found(tmp_path / name, taken(frames, seed=seed)) == [], name
    assert found(tmp_path / "8 bit", taken(steady, seed=seed) // 8) == []
    assert found(tmp_path / "without noise", (100 + steady).astype(np.uint16)) == []


def test_pictures_are_alike_as_far_as_they_are_the_same():
    """Of two noises mixed, the share that both have is the correlation."""
    rng = np.random.default_rng(0)
    first, other = rng.normal(0, 20, (2, 90, 90))
    compare = likeness.likeness_follower()

    def follow(image):
        return compare(None if image is None else likeness.small_picture(image))

    assert follow((1000 + first).astype(np.uint16)) is None
    mixed = 0.6 * first + 0.8 * other
    assert follow((1000 + mixed).astype(np.uint16)) == pytest.approx(0.6, abs=0.05)
    assert follow((3000 + 4 * mixed).astype(np.uint16)) == pytest.approx(1, abs=0.02)
    assert follow(None) is None
    assert follow((1000 + rng.normal(0, 20, (90, 90))).astype(np.uint16)) == pytest.approx(0, abs=0.05)
    assert follow(np.full((90, 90), 7, np.uint16)) is None
