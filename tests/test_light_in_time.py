"""Light of other frames' cells, out of focus, or of debris is told; what is like it is not."""

import numpy as np
import pytest
from scipy import ndimage

from celltraces.results import cell_checks, light_on_cells
from celltraces.results.cell_pixels import places_of
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing

T, SHAPE = 14, (220, 240)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]


def walking(n_cells=14, step=2.0, seed=0):
    """Middles (N, T, 2) float of cells that walk, and their radii (N,), px; they do not touch."""
    rng = np.random.default_rng(seed)
    middles = np.zeros((0, 2))
    while len(middles) < n_cells:
        one = rng.uniform(18, np.array(SHAPE) - 18)
        if not len(middles) or np.hypot(*(middles - one).T).min() > 34:
            middles = np.vstack([middles, one])
    walk = np.cumsum(rng.normal(0, step, (n_cells, T, 2)), axis=1)
    return middles[:, None] + np.clip(walk, -9, 9), rng.uniform(7, 9, n_cells)


def drawn(middles, radii, shape):
    """What each frame has, (T, H, W) int: number of the cell in a pixel; shape: how its outline differs (px)."""
    frames = np.zeros((middles.shape[1], *SHAPE), int)
    for frame in range(middles.shape[1]):
        for cell, ((y, x), radius) in enumerate(zip(middles[:, frame], radii, strict=True), 1):
            box = tuple(slice(max(int(at) - 12, 0), int(at) + 13) for at in (y, x))
            frames[frame][box][(ROWS[box] - y) ** 2 + (COLUMNS[box] - x) ** 2 < (radius + shape) ** 2] = cell
    return frames


def light_of(labels, kind="full", seed=0):
    """Light (T, H, W) float of the cells: all over, or in one spot beside the middle; it rises over time."""
    rng = np.random.default_rng(seed)
    bright = np.r_[0, rng.lognormal(6, 0.5, labels.max())]
    frames = bright[labels] * np.linspace(0.6, 1.4, len(labels))[:, None, None]
    if kind == "spots":
        for frame, image in enumerate(labels):
            numbers = np.unique(image)[1:]
            frames[frame] = 0
            for number, (y, x) in zip(numbers, ndimage.center_of_mass(image > 0, image, numbers), strict=True):
                spot = np.exp(-((ROWS - y - 2) ** 2 + (COLUMNS - x + 1) ** 2) / 12)
                frames[frame] += 2 * bright[number] * spot
    return ndimage.gaussian_filter(frames, (0, 1.2, 1.2))


def rows_of(tmp_path, fovs, background=200.0, ground=None):
    """(fov, frame, check, value) of checks of light on cells; fovs: labels and light above the background of each."""
    channels = {}
    for fov, (labels, light) in enumerate(fovs):
        rng = np.random.default_rng(fov)
        under = np.full(light.shape, background, np.float32) if ground is None else ground.astype(np.float32)

        def stored(name, frames, kind, fov=fov):
            with writing(tmp_path / f"{fov}/{name}/0", frames.shape, frames.dtype, kind) as append:
                for image in frames:
                    append(np.ascontiguousarray(image))
            return open_frames(tmp_path / f"{fov}/{name}/0")

        ids = np.arange(1, labels.max() + 1)
        boxes = np.zeros((len(ids), len(labels), 4), int)
        for frame, image in enumerate(labels):
            for at, found in enumerate(ndimage.find_objects(image, len(ids))):
                if found:
                    boxes[at, frame] = [found[0].start, found[1].start, found[0].stop, found[1].stop]
        channels[fov] = {}
        channels[fov]["fl_ch_1"] = light_on_cells.Channel(
            stored("seg", labels.astype(np.uint16), LABELS),
            stored("fl_ch_1", rng.poisson(light + under).astype(np.uint16), PIXELS),
            stored("under", under, LABELS),
            places_of(ids, boxes, boxes.any(axis=2)),
        )
    found, whole = [], {}
    for fov, of_fov in channels.items():
        rows, of_light = cell_checks.look_at_light(fov, of_fov, qc_blur=0.05, qc_odd_part=0.015)
        found += rows
        whole[fov] = of_light["fl_ch_1"]
    found += cell_checks.check_light_of_fovs("fl_ch_1", whole, qc_blur=0.05)
    return [(row.fov, row.frame, row.check, row.value) for row in found]


def movie(seed=0, kind="full", step=2.0, n_cells=14):
    """Labels as phase contrast gives them, a pixel wider than the light, and the light of one FOV."""
    middles, radii = walking(n_cells, step, seed)
    return drawn(middles, radii, 1.0), light_of(drawn(middles, radii, 0.0), kind, seed)


@pytest.mark.parametrize("lag", [1, 2, -1])
@pytest.mark.parametrize("since", [0, 6])
def test_frames_that_one_channel_lacks(tmp_path, lag, since):
    """From there on the light is that of later (or, where phase contrast lost frames, of earlier) frames."""
    labels, light = movie()
    shown = np.arange(T)
    shown[since:] = np.clip(shown[since:] + lag, 0, T - 1)
    rows = rows_of(tmp_path, [(labels, light[shown]), movie(1)])
    assert [(fov, check, value) for fov, _, check, value in rows] == [(0, "light_late_fl_ch_1", lag)]
    assert abs(rows[0][1] - since) <= 2


def test_frames_of_light_that_are_exchanged(tmp_path):
    labels, light = movie(step=3.0)
    shown = np.arange(T)
    shown[[4, 11]] = [11, 4]
    ((fov, frame, check, other),) = rows_of(tmp_path, [(labels, light[shown])])
    assert (fov, {frame, other}, check) == (0, {4, 11}, "light_order_fl_ch_1")


@pytest.mark.parametrize("pair", [(5, 6), (8, 9), (5, 7), (4, 7)])
def test_frames_of_light_near_each_other_that_are_exchanged(tmp_path, pair):
    labels, light = movie()
    shown = np.arange(T)
    shown[[*pair]] = pair[::-1]
    rows = rows_of(tmp_path, [(labels, light[shown])])
    assert rows == [(0, pair[0], "light_order_fl_ch_1", pair[1])]


@pytest.mark.parametrize("step", [0.0, 2.0, 5.0])
def test_a_lamp_that_flickers_exchanges_no_frames(tmp_path, step):
    """Also where it does so in two frames, up and down, as two frames of a rising light do that are exchanged."""
    labels, light = movie(step=step)
    lamp = np.random.default_rng(3).normal(1, 0.06, T)
    assert rows_of(tmp_path / "a", [(labels, light * lamp[:, None, None])]) == []
    lamp = np.ones(T)
    lamp[[6, 7]] = 1.12, 0.9
    assert rows_of(tmp_path / "b", [(labels, light * lamp[:, None, None])]) == []


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("step", [0.0, 2.0, 5.0])
@pytest.mark.parametrize("kind", ["full", "spots"])
def test_light_on_its_own_cells(tmp_path, kind, step, seed):
    """Of still, slow and fast cells, filled or with a spot of light on one side; also where outlines miss a tail."""
    labels, light = movie(seed, kind, step)
    assert rows_of(tmp_path / "a", [(labels, light)]) == []
    tails = light + 0.3 * np.roll(light, 5, axis=2)  # behind all cells, in the same direction
    assert rows_of(tmp_path / "b", [(labels, tails)]) == []


@pytest.mark.parametrize(("sigma", "told"), [(0.5, False), (2.5, True), (4.0, True)])
def test_fluorescence_out_of_focus(tmp_path, sigma, told):
    labels, light = movie()
    once, since = light.copy(), light.copy()
    once[7] = ndimage.gaussian_filter(light[7], sigma)
    since[9:] = ndimage.gaussian_filter(light[9:], (0, sigma, sigma))
    for name, blurred, frame in (("once", once, 7), ("since", since, 9)):
        rows = rows_of(tmp_path / name, [(labels, blurred)])
        assert [row[:3] for row in rows] == [(0, frame, "blurred_fl_ch_1")] * told
        assert all(0.05 < row[3] < 1 for row in rows)


def test_a_focus_that_drifts_away(tmp_path):
    labels, light = movie()
    drifting = np.stack([ndimage.gaussian_filter(image, 0.4 * frame) for frame, image in enumerate(light)])
    rows = rows_of(tmp_path, [(labels, drifting)])
    assert {check for _, _, check, _ in rows} == {"blurred_fl_ch_1"}


def test_a_fov_out_of_focus(tmp_path):
    fovs = [movie(seed) for seed in range(5)]
    assert rows_of(tmp_path / "a", fovs) == []
    labels, light = fovs[2]
    fovs[2] = labels, ndimage.gaussian_filter(light, (0, 4, 4))
    rows = rows_of(tmp_path / "b", fovs)
    assert [row[:3] for row in rows] == [(2, None, "blurred_fl_ch_1")]


def test_outlines_that_become_narrower_blur_nothing(tmp_path):
    """As where phase contrast is out of focus: by a pixel, in a frame or from one on."""
    middles, radii = walking()
    light = light_of(drawn(middles, radii, 0.0))
    labels = drawn(middles, radii, 1.0)
    narrow = drawn(middles, radii, 0.0)
    once = np.where(np.arange(T)[:, None, None] == 7, narrow, labels)
    since = np.where(np.arange(T)[:, None, None] >= 7, narrow, labels)
    assert rows_of(tmp_path / "a", [(once, light)]) == []
    assert rows_of(tmp_path / "b", [(since, light)]) == []


def test_light_of_another_fov(tmp_path):
    """From the first frame on: two exchanged, or three in a ring; in a FOV without light or of debris none."""
    fovs = [movie(seed) for seed in range(5)]
    assert rows_of(tmp_path / "a", fovs) == []

    def told(name, order):
        shown = [(labels, fovs[at][1]) for (labels, _), at in zip(fovs, order, strict=True)]
        return rows_of(tmp_path / name, shown)

    check = "light_of_fov_fl_ch_1"
    assert told("b", [0, 3, 2, 1, 4]) == [(1, None, check, 3), (3, None, check, 1)]
    assert told("c", [2, 1, 4, 3, 0]) == [(0, None, check, 2), (2, None, check, 4), (4, None, check, 0)]
    dark, debris = np.zeros_like(fovs[0][1]), np.zeros_like(fovs[0][1])
    debris[:, 100:130, 40:60] = 900.0
    assert rows_of(tmp_path / "d", [*fovs[:3], (fovs[3][0], dark), (fovs[4][0], debris)]) == []


@pytest.mark.parametrize(
    ("turn", "check", "degrees"),
    [
        (lambda light: light[:, :, ::-1], "mirrored", 0),
        (lambda light: light[:, ::-1], "mirrored", 180),
        (lambda light: light[:, ::-1, ::-1], "turned", 180),
    ],
)
def test_a_channel_that_is_mirrored_or_turned(tmp_path, turn, check, degrees):
    """In all FOVs (one row), or in one of them."""
    fovs = [movie(seed) for seed in range(3)]
    all_of_them = [(labels, turn(light)) for labels, light in fovs]
    (row,) = rows_of(tmp_path / "a", all_of_them)
    assert row[1:] == (None, f"{check}_fl_ch_1", degrees)
    assert rows_of(tmp_path / "b", [*fovs[:2], all_of_them[2]]) == [(2, None, f"{check}_fl_ch_1", degrees)]


@pytest.mark.parametrize("quarters", [1, 3])
def test_a_channel_of_square_frames_that_is_turned(tmp_path, quarters):
    labels, light = (frames[:, :220, :220] for frames in movie())
    turned = np.rot90(light, quarters, (1, 2))
    assert rows_of(tmp_path, [(labels, turned)]) == [(0, None, "turned_fl_ch_1", 90 * quarters)]


def test_glow_on_a_part_of_the_picture(tmp_path):
    """Debris out of focus that comes in a frame, in the background or not; the lamp may flicker."""
    labels, light = movie()
    glow = 300 * np.exp(-((ROWS - 60) ** 2 + (COLUMNS - 80) ** 2) / (2 * 30.0**2))
    lamp = (200 * (1 + 0.3 * np.sin(np.arange(T))))[:, None, None] * (1 + ROWS / 400)
    assert rows_of(tmp_path / "a", [(labels, light)], ground=lamp) == []
    stays = np.where(np.arange(T)[:, None, None] >= 8, lamp + glow, lamp)
    (row,) = rows_of(tmp_path / "b", [(labels, light)], ground=stays)
    assert row[:3] == (0, 8, "odd_part_fl_ch_1")
    assert 0.02 < row[3] < 0.5
    added = np.where(np.arange(T)[:, None, None] >= 8, light + glow, light)
    rows = rows_of(tmp_path / "c", [(labels, added)])
    assert [row[:3] for row in rows] == [(0, 8, "odd_part_fl_ch_1")]


def test_few_cells_and_dark_ones_say_nothing(tmp_path):
    labels, light = movie(n_cells=4)
    assert rows_of(tmp_path / "a", [(labels, light[::-1])]) == []
    labels, light = movie()
    assert rows_of(tmp_path / "b", [(labels, 0.002 * light[::-1])]) == []


@pytest.mark.parametrize("empty", [slice(0, 1), slice(3, 7), slice(0, T)])
def test_frames_without_cells_tell_nothing(tmp_path, empty):
    labels, light = movie()
    labels[empty] = light[empty] = 0
    assert rows_of(tmp_path, [(labels, light)]) == []
