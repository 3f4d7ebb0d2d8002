"""Parts of a frame that show something else are told, and cells that move, light up, divide and flicker are not."""

import numpy as np
import pytest
from scipy import ndimage

from celltraces.frames import likeness, odd_parts

T, SHAPE = 9, (256, 288)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]
REACH = 40  # px beside a cell, where nothing is left of its light: a count in 1e11


def movie(seed=0, n_cells=60, step=1.0, radius=7):
    """Cells on an even background, (T, H, W) float; they walk by `step` px in a frame."""
    rng = np.random.default_rng(seed)
    middles = rng.uniform(0, 1, (n_cells, 1, 2)) * SHAPE + np.cumsum(rng.normal(0, step, (n_cells, T, 2)), axis=1)
    brightness = rng.lognormal(6, 0.4, n_cells)
    frames = np.zeros((T, *SHAPE))
    for frame in range(T):
        for (y, x), bright in zip(middles[:, frame], brightness, strict=True):
            near = tuple(slice(max(int(at) - REACH, 0), max(int(at) + REACH, 0)) for at in (y, x))
            frames[frame][near] += bright / (1 + np.exp(np.hypot(ROWS[near] - y, COLUMNS[near] - x) - radius))
    return frames


def found(light, seed=0):
    """What is found in frames with this light."""
    look, rows = odd_parts.odd_parts_follower()
    for frame, image in enumerate(np.random.default_rng(seed).poisson(light + 300).astype(np.uint16)):
        look(frame, likeness.small_picture(image))
    return rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("box", [(40, 60, 110, 140), (120, 10, 250, 120)])
def test_a_part_of_another_image(seed, box):
    light, other = movie(seed), movie(seed + 10)
    y0, x0, y1, x1 = box
    light[5, y0:y1, x0:x1] = other[2, y0:y1, x0:x1]
    ((frame, share),) = found(light)
    area = (y1 - y0) * (x1 - x0) / light[0].size
    assert frame == 5
    assert 0.15 * area < share < 1.2 * area  # where cells lie: between them there is nothing odd


def test_a_bubble_that_floats_by():
    light = movie()
    distance = np.hypot(ROWS - 120, COLUMNS - 150)
    ring = 900 * np.exp(-(((distance - 40) / 5) ** 2))
    light[4] = np.where(distance < 40, 60, light[4]) + ring
    assert [frame for frame, share in found(light) if share > 0.015] == [4]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step", [0.0, 1.0, 4.0])
def test_cells_that_go_on(seed, step):
    """Still, slow and fast ones; few; some that light up; a lamp that flickers; a stage that jumps; noise alone."""
    light = movie(seed, step=step)
    onset = light.copy()
    onset[:4, :, :140] *= 0.1
    flicker = light * np.random.default_rng(seed).uniform(0.5, 1.5, T)[:, None, None]
    moved = np.stack([np.roll(image, 20 * (frame >= 4), axis=1) for frame, image in enumerate(light)])
    whole = light.copy()
    whole[4] = movie(seed + 20)[4]  # another place, which is no part
    for one in (light, movie(seed, 4, step), onset, flicker, moved, whole, np.zeros((T, *SHAPE))):
        assert [row for row in found(one) if row[1] > 0.015] == []


@pytest.mark.parametrize("by", [(2, -2), (3, 1), (0, 7)])
def test_a_stage_that_jitters_in_a_frame(by):
    """Of an image with fine structure, as real ones have; a part of another image in that frame is told anyway."""
    rng = np.random.default_rng(4)
    fine = np.stack([ndimage.gaussian_filter(rng.normal(0, 6000, SHAPE), 3.0)] * T).clip(0)
    fine[4] = np.roll(fine[4], by, axis=(0, 1))
    assert [row for row in found(fine) if row[1] > 0.015] == []
    fine[4, 60:160, 80:200] = ndimage.gaussian_filter(rng.normal(0, 6000, (100, 120)), 3.0).clip(0)
    assert [frame for frame, share in found(fine) if share > 0.015] == [4]


def test_pictures_without_anything_in_them():
    look, rows = odd_parts.odd_parts_follower()
    for frame in range(5):
        look(frame, likeness.small_picture(np.full((3, 4), 7, np.uint16)))
    assert rows == []
    assert odd_parts.larger_than({"odd_parts": [[3, 0.02], [5, 0.01]]}, 0.015) == [(3, 0.02)]
    assert odd_parts.larger_than({}, 0.015) == []
