"""Flat fields: from a picture, from the movie, what they do to light, and the check for vignetting."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import tifffile
from conftest import Checkout, small_config
from stages import BACKGROUND, RECORD

import estimate_flat_field
import flatten_channels
import register_channels
from celltraces.errors import UserError
from celltraces.fluorescence import flat_field
from celltraces.fluorescence.background import estimate_background
from celltraces.frames import coverage
from celltraces.planning import channels
from celltraces.pyme import shift_field
from celltraces.readers.reference_image import inspect_reference, read_reference
from celltraces.results import quality
from celltraces.storage.codecs import PIXELS, SMOOTH
from celltraces.storage.frames import open_frames, writing

OFFSET = 100.0  # counts
LIGHT = 40_000.0  # counts, of the cell that crosses the field
SHAPE = (320, 384)


def vignette(share, center=(0.05, -0.1)):
    """A field that is darker at its darkest corner by `share`, (H, W) with a maximum of 1."""
    y, x = (np.linspace(-1, 1, side) - at for side, at in zip(SHAPE, center, strict=True))
    radius = y[:, None] ** 2 + x[None, :] ** 2
    return 1 - share * radius / radius.max()


def cell(at, radius=9.0):
    """Light of one cell, (H, W) that adds up to 1, and its mask."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(y - at[0], x - at[1])
    shape = np.clip(radius + 0.5 - distance, 0, 1)
    return shape / shape.sum(), distance < radius + 3


@dataclass
class Movie:
    images: list  # (H, W) uint16
    masks: list  # of the cell that crosses the field


def movie(gain, n_frames=20, seed=0, levels=(250, 450), offset=OFFSET):
    """A cell that crosses the field among others of uneven light, above a background that fades."""
    rng = np.random.default_rng(seed)
    others = [(rng.uniform(0, 1, 2) * SHAPE, rng.lognormal(9, 1)) for _ in range(12)]
    images, masks = [], []
    for level, at in zip(np.linspace(*levels, n_frames), np.linspace(0.07, 0.93, n_frames), strict=True):
        crossing, mask = cell(np.multiply(at, SHAPE))
        light = level + LIGHT * crossing
        for place, total in others:
            apart = cell(np.clip(place + rng.normal(0, 3, 2), 0, np.array(SHAPE) - 1))
            light = light + total * apart[0] * ~cv2.dilate(mask.view(np.uint8), np.ones((25, 25))).view(bool)
        electrons = rng.poisson(2 * gain * light) / 2
        images.append(np.rint(offset + electrons + rng.normal(0, 1.5, SHAPE)).clip(0, 65535).astype(np.uint16))
        masks.append(mask)
    return Movie(images, masks)


def estimated(images, offset=None):
    surfaces = [estimate_background(image, None, background_dilation=0) for image in images]
    return flat_field.estimate_gain([flat_field.on_grid(surface) for surface in surfaces], SHAPE, offset)


def lights(images, masks):
    """Light of the cell in each frame, above the background that the stage estimates."""
    return np.array(
        [(image - estimate_background(image, mask))[mask].sum() for image, mask in zip(images, masks, strict=True)]
    )


@pytest.mark.parametrize("offset", [None, OFFSET])
def test_a_cell_that_crosses_the_field_keeps_its_light_by_estimate(offset):
    gain = vignette(0.3)
    seen = movie(gain)
    assert np.ptp(lights(seen.images, seen.masks)) > 0.15 * LIGHT  # there is something to correct
    field = estimated(seen.images, offset)
    np.testing.assert_allclose(field.offset, OFFSET, atol=15)
    np.testing.assert_allclose(field.gain, gain, atol=0.02)
    images = [flat_field.divide_by_gain(image, field.gain, field.offset) for image in seen.images]
    np.testing.assert_allclose(lights(images, seen.masks), LIGHT, rtol=0.02)


@pytest.mark.parametrize("in_picture", [0, OFFSET])
def test_a_cell_that_crosses_the_field_keeps_its_light_by_a_picture(tmp_path, in_picture):
    gain = vignette(0.3)
    seen = movie(gain)
    noise = np.random.default_rng(1).normal(0, 10, SHAPE)
    tifffile.imwrite(tmp_path / "flat.tif", np.rint(in_picture + 20_000 * gain + noise).astype(np.uint16))
    np.save(tmp_path / "flat.npy", in_picture + 5.0 * gain)
    for name in ("flat.tif", "flat.npy"):
        found = read_reference(tmp_path / name, in_picture)
        np.testing.assert_allclose(found, gain, atol=0.006)
        images = [flat_field.divide_by_gain(image, found, OFFSET) for image in seen.images]
        np.testing.assert_allclose(lights(images, seen.masks), LIGHT, rtol=0.02)


def test_frames_of_one_brightness_do_not_tell_the_offset():
    seen = movie(vignette(0.3), levels=(300, 300))
    assert estimated(seen.images).offset is None
    flat = movie(np.ones(SHAPE))
    field = estimated(flat.images)
    assert field.offset is None
    np.testing.assert_allclose(field.gain, 1, atol=0.02)


def test_without_an_offset_the_estimate_needs_no_changing_background():
    gain = vignette(0.3)
    seen = movie(gain, levels=(300, 300), offset=0)
    np.testing.assert_allclose(estimated(seen.images).gain, gain, atol=0.02)


def test_light_that_moves_is_not_the_field():
    """Each FOV has a bright side of its own; what all have in common is the gain."""
    gain, x = vignette(0.3), np.linspace(-1, 1, SHAPE[1])
    surfaces = [
        flat_field.on_grid(np.float32(gain * (1 + tilt * x) * 500)) for tilt in (0.2, -0.2, 0.1, -0.1, 0.05, -0.05, 0)
    ]
    np.testing.assert_allclose(flat_field.estimate_gain(surfaces, SHAPE, 0.0).gain, gain, atol=0.005)


def steep_rim():
    """A vignette that falls by 40 % more within a few pixels, in two corners."""
    y, x = (np.linspace(-1, 1, side) for side in SHAPE)
    radius = np.hypot(y[:, None] - 0.1, x + 0.1)
    return vignette(0.3) * (1 - 0.4 / (1 + np.exp((1.1 - radius) / 0.04)))


def ring():
    y, x = (np.linspace(-1, 1, side) for side in SHAPE)
    gain = 1 + 0.05 * np.cos(np.hypot(y[:, None], x) * 2 * np.pi / 0.3)
    return gain / gain.max()


def refined(gain, n_fovs, n_frames):
    """The smooth field and the refined one, from FOVs whose cells stand elsewhere, and hardly move."""
    images = [image for seed in range(n_fovs) for image in movie(gain, n_frames, seed).images]
    field = estimated(images, OFFSET)
    fovs = np.repeat(np.arange(n_fovs), n_frames).tolist()
    return field, flat_field.add_rims_and_rings(field, [flat_field.on_fine_grid(image) for image in images], fovs)


def errors(field, gain):
    ratio = field.gain / gain
    return np.abs(ratio / np.median(ratio) - 1)


@pytest.mark.parametrize("make", [steep_rim, ring])
def test_steep_rims_and_rings_are_found_where_fovs_agree(make):
    smooth, fine = refined(make(), 5, 3)
    assert np.quantile(errors(smooth, make()), 0.95) > 0.04
    assert np.quantile(errors(fine, make()), 0.97) < 0.02
    assert fine.unexplained < 0.01


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("n_fovs", [1, 5])
def test_nothing_is_added_to_a_smooth_field(share, n_fovs):
    smooth, fine = refined(vignette(share), n_fovs, 3)
    assert fine.gain is smooth.gain
    assert fine.unexplained < 0.005


@pytest.mark.parametrize("make", [steep_rim, ring])
def test_of_one_fov_what_the_smooth_field_leaves_is_told(make):
    smooth, fine = refined(make(), 1, 6)
    assert fine.gain is smooth.gain
    (row,) = quality.check_flat_field(2, "fl_ch_1", fine.unexplained, qc_flat_field=0.02, qc_vignetting=0.1)
    assert (row.fov, row.frame, row.check) == (2, None, "flat_field_fl_ch_1")
    # independently: how much darker the field is than the gain says, at a hundredth of the places
    ratio = make() / smooth.gain
    assert row.value == pytest.approx(1 - np.quantile(ratio / np.median(ratio), 0.01), abs=0.02)


def test_a_flat_field_that_leaves_nothing_is_no_finding():
    for unexplained in (None, 0.0, 0.02):
        assert not list(quality.check_flat_field(0, "fl_ch_1", unexplained, qc_flat_field=0.02, qc_vignetting=0.1))


def spots(n, depth, seed):
    """Factor (H, W) of things 12 px in radius, brighter or darker than what is around them by `depth`."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = np.random.default_rng(seed).uniform(20, np.array(SHAPE) - 20, (n, 2))
    return 1 + depth * np.any([np.hypot(y - at_y, x - at_x) < 12 for at_y, at_x in places], axis=0)


@pytest.mark.parametrize("n_fovs", [1, 3])
@pytest.mark.parametrize(
    ("on_picture", "told"),
    [(1.0, False), (spots(5, 0.3, 1), True), (spots(1, 0.5, 2), True), (spots(4, -0.2, 3), True)],
    ids=["nothing", "cells", "cell", "dust"],
)
def test_a_picture_with_cells_in_it_is_told(on_picture, told, n_fovs):
    """Dust in the light path is on both, and right; cells of the movie are in other places."""
    gain = vignette(0.3) * spots(3, -0.15, 9)
    images = [image for seed in range(n_fovs) for image in movie(gain, 6, seed).images]
    picture = np.random.default_rng(4).poisson(20_000 * gain * on_picture).astype(np.float32) + OFFSET
    field = flat_field.Field(flat_field.from_reference(picture, OFFSET), OFFSET)
    fovs = np.repeat(np.arange(n_fovs), 6).tolist()
    foreign = flat_field.not_in_frames(field, [flat_field.on_fine_grid(image) for image in images], fovs)
    rows = [*quality.check_flat_field(0, "fl_ch_1", None, foreign, qc_flat_field=0.02, qc_vignetting=0.1)]
    assert [row.check for row in rows] == ["flat_field_fl_ch_1"] * told
    if told:
        assert foreign == pytest.approx(abs(np.ptp(on_picture)), abs=0.25)


@pytest.mark.parametrize(
    ("pictured", "told"),
    [
        (lambda field: field, False),
        (lambda field: field[::-1, ::-1], True),  # turned
        (lambda field: np.ones_like(field), True),  # even, as of another objective
        (lambda field: field**2, True),  # too strong: the middle is too dark
    ],
)
def test_a_picture_that_leaves_the_background_uneven_is_told(tmp_path, pictured, told):
    field = vignette(0.4, center=(0.4, 0.3))
    rng = np.random.default_rng(0)
    left = [
        rng.uniform(250, 350) * field / pictured(field) * (1 + 0.05 * np.linspace(0, 1, SHAPE[1])) for _ in range(4)
    ]
    array = open_frames(write(tmp_path / "fl_background_ch_1/0", [np.float32(one) for one in left], SMOOTH))
    limits = {"qc_flat_field": 0.02, "qc_vignetting": 0.1}
    rows = [*quality.check_flat_field(3, "fl_ch_1", None, 0.0, [array], **limits)]
    assert [(row.fov, row.frame, row.check) for row in rows] == [(3, None, "flat_field_fl_ch_1")] * told
    assert not list(
        quality.check_flat_field(3, "fl_ch_1", 0.01, None, [array], **limits)
    )  # an estimate tells by itself


def test_no_background_above_the_offset_tells_nothing():
    assert flat_field.estimate_gain([np.full((8, 8), 90.0)], SHAPE, OFFSET) is None


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.ones((2, 4, 5), np.float32), "2 x 4 x 5"),
        (np.zeros((4, 5)), "not above 0"),
        (np.r_[np.ones((4, 5)), -np.ones((1, 5))], "not above 0"),
        (np.full((4, 5), np.nan), "no numbers"),
        (np.ones((4, 5), complex), "complex"),
        (np.full((4, 5), 50.0), "lowest value is 50"),
        (np.repeat([[101.0], [10_000.0]], 20, axis=0) * np.ones(5), "darkest pixel"),
    ],
)
def test_pictures_that_are_no_reference(tmp_path, pixels, says):
    np.save(tmp_path / "flat.npy", pixels)
    with pytest.raises(UserError, match=says) as raised:
        inspect_reference(tmp_path / "flat.npy", OFFSET)
    assert "flat.npy" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["flat.npy", "flat.tif", "flat.txt"])
def test_files_that_are_no_picture(tmp_path, name):
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match=name):
        inspect_reference(tmp_path / name, 0)


def write(path, images, kind=PIXELS, **attributes):
    with writing(path, (len(images), *images[0].shape), images[0].dtype, kind, attributes=attributes) as append:
        for image in images:
            append(image)
    return path


def test_flat_arrays_keep_what_is_known_of_the_raw_ones_and_registration_too(tmp_path):
    gain = vignette(0.3).astype(np.float32)
    images = [np.full(SHAPE, 1000, np.uint16), np.zeros(SHAPE, np.uint16), np.full(SHAPE, 1000, np.uint16)]
    images[0][:40] = 0
    boxes = ((0, 0, 40, SHAPE[1]),)
    spans = coverage.as_attribute([boxes, (), ()])
    raw = write(tmp_path / "fl_ch_1/0", images, missing_frames=[1], **{coverage.ATTRIBUTE: spans})
    details = {"from": "flat.tif", "camera_offset": OFFSET, "lowest_gain": 0.7, "frames": None}
    flatten_channels.flatten_movie(raw, tmp_path / "fl_flat_ch_1/0", gain, details)
    flat = open_frames(tmp_path / "fl_flat_ch_1/0")
    assert flat.attributes["missing_frames"] == [1]
    assert flat.attributes["flat_field"] == details
    assert not flat.read(1).any()
    assert coverage.of_frame(flat.attributes, 0) == [*boxes]
    assert not flat.read(0)[:40].any()
    np.testing.assert_array_equal(flat.read(0)[40:], flat.read(2)[40:])
    np.testing.assert_array_equal(flat.read(2), np.rint(900 / gain + 100))
    low, high = flat.attributes["display_limits"]
    assert 1000 <= low < high
    assert high <= 1386
    numbers = dict.fromkeys(shift_field.POWERS["lin3Model"], 0.0)
    field = {"model": "lin3Model", "x": {**numbers, "x0": 1300.0}, "y": numbers}
    register_channels.main(
        [str(tmp_path / "fl_flat_ch_1/0")], [str(tmp_path / "fl_registered_ch_1/0")], {"1": field}, 0.65
    )
    moved = open_frames(tmp_path / "fl_registered_ch_1/0")
    assert moved.attributes["flat_field"] == details
    np.testing.assert_array_equal(moved.read(2)[:, 2:], flat.read(2)[:, :-2])


def test_registration_takes_the_flat_frames():
    config = {"params": {"copy_only": False}, "pictures": {"fl": None}}
    arrays = channels.arrays_of(config, 0, (1, 2, 3), {2: None, 3: None}, {1: "", 2: ""})
    assert arrays.flat == ("fl_flat_ch_1", "fl_flat_ch_2")
    assert arrays.to_register == ("fl_flat_ch_2", "fl_ch_3")
    assert arrays.aligned == ("fl_flat_ch_1", "fl_registered_ch_2", "fl_registered_ch_3")
    assert [name for name in arrays.images if "flat" in name] == list(arrays.flat)


# ------------------------------------------------------------------------------------------------------- the check


def found(tmp_path, surfaces, limit=0.1, **options):
    images = [np.float32(surface) for surface in surfaces]
    array = open_frames(write(tmp_path / "fl_background_ch_1/0", images, SMOOTH))
    return [*quality.check_vignetting(4, "fl_ch_1", [array], qc_vignetting=limit, **options)]


@pytest.mark.parametrize(("share", "rows"), [(0.0, 0), (0.08, 0), (0.15, 1), (0.3, 1)])
def test_vignetting_is_a_finding_above_a_tenth(tmp_path, share, rows):
    seen = movie(vignette(share, center=(0, 0)), n_frames=6, offset=0)
    backgrounds = [estimate_background(image, mask) for image, mask in zip(seen.images, seen.masks, strict=True)]
    [*named] = found(tmp_path, backgrounds)
    assert [(row.fov, row.frame, row.check) for row in named] == [(4, None, "vignetting_fl_ch_1")] * rows
    assert all(abs(row.value - share) < 0.03 for row in named)


def test_light_on_one_side_is_no_vignetting_and_the_offset_counts(tmp_path):
    x = np.linspace(-1, 1, SHAPE[1])
    assert found(tmp_path, [np.ones(SHAPE) * 300 * (1 + 0.3 * x)]) == []
    assert found(tmp_path, [300 / vignette(0.3, center=(0, 0))]) == []  # brighter at the rim
    dim = [OFFSET + 40 * vignette(0.3, center=(0, 0))]
    assert found(tmp_path, dim) == []
    assert len(found(tmp_path, dim, offset=OFFSET)) == 1


@pytest.mark.parametrize("side", [64, 170, 255])
def test_frames_too_small_to_tell_vignetting_from_cells(tmp_path, side):
    """Of three tiles or fewer along an axis; a real movie of one cell, 240 x 170 px, gave 2.17."""
    bright = 1 - np.hypot(*np.mgrid[-1 : 1 : side * 1j, -1:1:300j])
    assert found(tmp_path, [200 + 400 * bright]) == []


# ---------------------------------------------------------------------------------------------------- the workflow


@pytest.mark.workflow
def test_a_flat_field_reruns_from_the_background_on_and_mistakes_are_a_line(movies, experiment, finished_fov, tmp_path):
    checkout = Checkout(tmp_path, finished_fov)
    shape = (experiment.height, experiment.width)
    y, x = (np.linspace(-1, 1, side) for side in shape)
    gain = 1 - 0.15 * (y[:, None] ** 2 + x**2)
    np.save(tmp_path / "flat.npy", 100 + 900 * gain)
    np.save(tmp_path / "small.npy", np.ones((5, 6)))
    config = small_config(movies, fovs="0")
    later = BACKGROUND | RECORD
    flat = {**config, "flat_field": {"1": "estimate", "2": "flat.npy"}, "camera_offset": 100}
    for source, says in (("absent.tif", "does not exist"), ("small.npy", "is of 5 x 6 px")):
        outcome = checkout.run({**config, "flat_field": {"1": source}}, "-n")
        assert outcome.code != 0
        assert "Traceback" not in outcome.text
        line = next(line for line in outcome.text.splitlines() if line.startswith("flat_field.1: "))
        assert says in line
    outcome = checkout.run(flat)
    assert outcome.code == 0, outcome.text
    assert set(outcome.jobs) == later | {"flat_field", "flatten"}
    results = tmp_path / "results/small"
    raw, even = (open_frames(results / f"fov_000/images.zarr/{name}/0") for name in ("fl_ch_2", "fl_flat_ch_2"))
    expected = (raw.read(3) - 100.0) / (gain / gain.max()) + 100
    np.testing.assert_allclose(even.read(3), expected, rtol=0.005)
    assert even.attributes["flat_field"]["from"] == "flat.npy"
    # frames so small that their corners lie beyond the middles of all tiles: 2.6 % are left there, by the truth
    (row,) = [line for line in (results / "qc.csv").read_text().splitlines() if "flat_field" in line]
    assert row.startswith("0,,flat_field_fl_ch_1,0.02")
    record = (results / "processing_config.yaml").read_text()
    assert "flat.npy" in record
    assert "camera_offset: 100" in record
    assert checkout.planned(flat) == {}
    assert set(checkout.planned(config)) == later
    np.save(tmp_path / "flat.npy", 100 + 800 * gain**2)
    assert {"flat_field", "flatten", "background"} <= set(checkout.planned(flat))


def test_frames_that_cannot_be_had_are_passed_over(movies, experiment):
    frames = [(fov, frame) for fov in range(2) for frame in range(3)]
    pyme = {"axes": None, "allow_lossy": False}
    found, whole_frames, fovs = estimate_flat_field.backgrounds_of(movies / "small.nd2", 1, frames, [None], pyme)
    assert len(found) == len(whole_frames) == len(frames)
    assert fovs == [fov for fov, _ in frames]
    for (fov, frame), grid in zip(frames, found, strict=True):
        true = flat_field.on_grid(experiment.background(fov, frame, 1))
        error = np.abs(grid / true - 1)
        assert np.quantile(error, 0.98) < 0.02
        assert error.max() < 0.04  # in the corners, beyond the middles of the last tiles, where light falls most


def test_the_field_is_replaced_by_its_offset_only_where_known():
    field = flat_field.Field(np.ones((2, 2), np.float32), None)
    assert flat_field.gain_attributes("estimate", field, 3)["camera_offset"] == 0
    assert flat_field.gain_attributes("estimate", field._replace(offset=7.0), 3)["camera_offset"] == 7
