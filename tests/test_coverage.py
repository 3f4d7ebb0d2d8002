"""Pixels without data: mosaics that are no rectangle, blank borders, in one frame or all, moving or not."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import REAL_FILES, Checkout
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import copy_frames
import crop_cells
import estimate_background
import register_channels
from celltraces.features.filters import near_edge
from celltraces.features.trace_table import Chosen, extract_cell, without_data
from celltraces.frames import blank_areas, coverage
from celltraces.labels import left_out
from celltraces.readers.movie_file import inspect_movie, open_movie
from celltraces.results.quality import check_coverage
from celltraces.segmentation import logstd
from celltraces.segmentation.methods import label_frame, segmenter, without_uncovered
from celltraces.storage.cells import Path, get_array, open_store, read_crop
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing
from demo.czi_writer import Subblock, movie_xml, write_subblocks
from demo.nd2_writer import Channel, write_nd2

SIDE = 256
L_TILES = [(0, 0), (0, SIDE), (SIDE, 0)]
PARAMS = {"min_frames": 1, "border_margin": 5, "tile_size": 64}
TOTAL, RADIUS, LIGHT = 184_725, 14, 300


def config_of(path, **params):
    return {
        "datasets": {"a": str(path)},
        "channels": {
            "pc": {"channel": 0, "features": ["area"]},
            "fl": [{"channel": 1, "features": ["intensity_total", "intensity_mean", "particle_num"]}],
        },
        "params": PARAMS | params,
    }


def scene(places, shape, n_frames=1, seed=0, offset=200):
    """Phase contrast (textured disks) and light (disks of 300 counts on 200), (2, T, H, W) uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disks = np.any([(y - cy) ** 2 + (x - cx) ** 2 <= RADIUS**2 for cy, cx in places], axis=0)
    noise = rng.standard_normal((2, n_frames, *shape))
    phase = 8000 + np.where(disks, 900, 40) * noise[0]
    light = offset + LIGHT * disks + 3 * noise[1]
    return np.clip(np.rint([phase, light]), 0, 65535).astype(np.uint16)


# twelve, four of them in each tile, all with room around them
PLACES = [(y0 + y, x0 + x) for y0, x0 in L_TILES for y, x in ((60, 70), (75, 190), (180, 60), (170, 175))]


def write_mosaic(path, images, tiles, side=SIDE):
    """images (C, T, H, W) as tiles of side x side at `tiles` (y, x), or at tiles(c, t)."""
    subblocks = (
        Subblock({"C": c, "T": t, "M": m}, images[c, t, y : y + side, x : x + side].copy(), x=x, y=y)
        for t in range(images.shape[1])
        for c in range(images.shape[0])
        for m, (y, x) in enumerate(tiles(c, t) if callable(tiles) else tiles)
    )
    write_subblocks(path, subblocks, xml=movie_xml(["Phase", "GFP"], {}, 0.65, 600.0))
    return path


def outcome_of(checkout, config):
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    folder = checkout.folder / "results/a"
    with open(folder / "qc.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = zarr.open_group(folder / "fov_000/images.zarr", mode="r")
    return pd.read_csv(folder / "fov_000/a_fov_000_traces.csv"), rows, images


# ------------------------------------------------------------------------------------------------------------ mosaics


@pytest.mark.workflow
def test_a_mosaic_with_the_shape_of_an_l(tmp_path):
    images = scene(PLACES, (2 * SIDE, 2 * SIDE))
    write_mosaic(tmp_path / "l.czi", images, L_TILES)
    traces, rows, arrays = outcome_of(Checkout(tmp_path), config_of("l.czi"))
    gone = np.zeros((2 * SIDE, 2 * SIDE), bool)
    gone[SIDE:, SIDE:] = True
    assert len(traces) == len(PLACES)
    np.testing.assert_allclose(traces.intensity_total_ch_1, TOTAL, rtol=0.01)
    background = arrays["fl_background_ch_1/0"]
    np.testing.assert_allclose(background[0][~gone], 200, atol=1)
    assert (background[0][gone] == 0).all()
    assert not arrays["seg_labeled_ch_0/0"][0][gone].any()
    said = [{"first": 0, "last": 0, "boxes": [[SIDE, SIDE, 2 * SIDE, 2 * SIDE]]}]
    for name in ("pc_ch_0/0", "fl_ch_1/0", "fl_background_ch_1/0"):
        assert arrays[name].attrs["uncovered"] == said
    statistics = arrays["fl_ch_1/0"].attrs["frame_statistics"]
    assert statistics["lowest"][0] == images[1, 0][~gone].min()
    assert statistics["mean"][0] == pytest.approx(images[1, 0, ::8][~gone[::8]].mean(), rel=1e-4)
    assert arrays["fl_ch_1/0"].attrs["display_limits"][0] > 180
    assert [(row["frame"], row["check"], float(row["value"])) for row in rows] == [
        ("", "uncovered_fl_ch_1", 0.25),
        ("", "uncovered_pc_ch_0", 0.25),
    ]


@pytest.mark.workflow
def test_tiles_that_are_missing_in_a_channel_or_in_a_frame(tmp_path):
    """Light has three tiles of four, and two in frame 1; phase contrast lacks one in frame 2. What is there counts."""
    every = [*L_TILES, (SIDE, SIDE)]
    places = [*PLACES, *((SIDE + y, SIDE + x) for y, x in ((60, 70), (170, 175)))]
    images = scene(places, (2 * SIDE, 2 * SIDE), n_frames=3)

    def tiles(channel, frame):
        gone = {(0, 2): every[:1], (1, 1): every[2:]}.get((channel, frame), every[3:] if channel else [])
        return [tile for tile in every if tile not in gone]

    write_mosaic(tmp_path / "a.czi", images, tiles)
    traces, rows, arrays = outcome_of(Checkout(tmp_path), config_of("a.czi"))
    totals = traces.pivot(index="cell", columns="frame", values="intensity_total_ch_1").to_numpy()
    first = traces.groupby("cell").first()
    tile_of = np.stack([first.position_y > SIDE, first.position_x > SIDE], axis=1).astype(int)
    assert traces.groupby("frame").size().tolist() == [14, 14, 10]
    for tile, there in (((0, 0), (1, 1, 0)), ((0, 1), (1, 1, 1)), ((1, 0), (1, 0, 1)), ((1, 1), (0, 0, 0))):
        of_tile = totals[(tile_of == tile).all(axis=1)]
        assert len(of_tile) == (2 if tile == (1, 1) else 4)
        np.testing.assert_array_equal(np.isfinite(of_tile), np.tile(np.array(there, bool), (len(of_tile), 1)))
        np.testing.assert_allclose(of_tile[np.isfinite(of_tile)], TOTAL, rtol=0.01)
    for frame in range(3):
        boxes = coverage.of_frame(dict(arrays["fl_ch_1/0"].attrs), frame)
        background = arrays["fl_background_ch_1/0"][frame]
        np.testing.assert_allclose(background[~coverage.mask_of_boxes(boxes, background.shape)], 200, atol=1)
    shares = [(row["frame"], row["check"], float(row["value"])) for row in rows if "uncovered" in row["check"]]
    assert shares == [("", "uncovered_fl_ch_1", 0.5), ("2", "uncovered_pc_ch_0", 0.25)]
    assert not [row for row in rows if row["check"].startswith("missing")]


def test_a_tile_that_one_z_plane_lacks_is_missing_in_the_highest_value(tmp_path):
    """As a frame that lacks a plane would be: elsewhere the light is whole."""
    tiles = [(0, 0), (0, 40)]
    planes = np.random.default_rng(0).integers(100, 200, (3, 30, 80)).astype(np.uint16)
    write_subblocks(
        tmp_path / "z.czi",
        (
            Subblock({"C": 0, "T": t, "Z": z, "M": m}, planes[z][:, x : x + 40].copy(), x=x, y=y)
            for t in range(3)
            for z in range(3)
            for m, (y, x) in enumerate(tiles)
            if (t, z, m) != (1, 1, 1)
        ),
        xml=movie_xml(["GFP"], {}, 0.65, 600.0),
    )
    output = tmp_path / "fl_ch_0/0"
    copy_frames.copy_frames(tmp_path / "z.czi", [output], fov=0, channels=[0], shape=(3, 30, 80), planes=[0, 1, 2])
    array = open_frames(output)
    assert array.attributes["missing_frames"] == []
    assert coverage.of_frame(array.attributes, 1) == [(0, 40, 30, 80)]
    for frame in range(3):
        expected = planes.max(axis=0)
        expected[:, 40:] *= frame != 1
        np.testing.assert_array_equal(array.read(frame), expected)


@pytest.mark.workflow
def test_border_margin_counts_from_the_covered_area(tmp_path):
    """Cells 30 px from the inner corner and edges of the L are left out with a margin of 40 and kept with one of 20."""
    near = [(SIDE - 45, 380), (380, SIDE - 45), (SIDE - 32, SIDE - 32)]
    write_mosaic(tmp_path / "l.czi", scene([(70, 70), *near], (2 * SIDE, 2 * SIDE)), L_TILES)
    checkout = Checkout(tmp_path)
    assert len(outcome_of(checkout, config_of("l.czi", border_margin=20))[0]) == 4
    assert len(outcome_of(checkout, config_of("l.czi", border_margin=40))[0]) == 1


@pytest.mark.workflow
def test_light_that_was_not_imaged_everywhere_gives_nan(tmp_path):
    """Phase contrast covers all, light lacks a tile: whatever a cell in part lies there has no total."""
    places = [(100, 100), (400, 400), (SIDE + 5, 380), (SIDE - 40, 380)]
    images = scene(places, (2 * SIDE, 2 * SIDE), n_frames=2)
    images[1, 1, SIDE:, SIDE:] = 0  # in the second frame alone, and in the pixels
    every = [*L_TILES, (SIDE, SIDE)]
    write_mosaic(tmp_path / "l.czi", images, every)
    traces, rows, _ = outcome_of(Checkout(tmp_path), config_of("l.czi"))
    assert len(traces) == 8
    assert traces.area_ch_0.notna().all()
    lost = (traces.frame == 1) & (traces.position_x > 300) & (traces.position_y > SIDE - 10)
    assert lost.sum() == 2
    for column in ("intensity_total_ch_1", "intensity_mean_ch_1", "particle_num_ch_1"):
        assert traces[column].isna().eq(lost).all()
    np.testing.assert_allclose(traces.intensity_total_ch_1[~lost], TOTAL, rtol=0.01)
    assert [(row["frame"], row["check"], float(row["value"])) for row in rows] == [("1", "uncovered_fl_ch_1", 0.25)]


def test_gaps_between_tiles_are_known_however_narrow(tmp_path):
    """Too narrow to be seen in the pixels; and true zeros beside them are data."""
    images = scene([(60, 60)], (203, 203))
    images[1, 0, 10:13, 10:13] = 0
    tiles = [(0, 0), (0, 103), (103, 0), (103, 103)]
    path = write_mosaic(tmp_path / "a.czi", images, tiles, side=100)
    gone = np.zeros((203, 203), bool)
    gone[100:103] = gone[:, 100:103] = True
    with open_movie(path) as read:
        for channel in (0, 1):
            boxes = read.uncovered(0, 0, channel, None)
            np.testing.assert_array_equal(coverage.mask_of_boxes(boxes, gone.shape), gone)
    outputs = [tmp_path / "images.zarr" / name / "0" for name in ("pc_ch_0", "fl_ch_1")]
    copy_frames.copy_frames(path, outputs, fov=0, channels=[0, 1], shape=(1, 203, 203), planes=[None])
    for output in outputs:
        found = coverage.of_frame(open_frames(output).attributes, 0)
        np.testing.assert_array_equal(coverage.mask_of_boxes(found, gone.shape), gone)


def test_the_maximum_over_z_lacks_what_any_plane_lacks(tmp_path):
    """Each plane of z has other tiles: where one has none the highest value may be too low."""
    rng = np.random.default_rng(0)
    full = rng.integers(1, 1000, (2, 100, 100), dtype=np.uint16)
    tiles = {0: [(0, 0), (0, 50)], 1: [(0, 0), (50, 0)]}
    path = tmp_path / "z.czi"
    subblocks = (
        Subblock({"C": 0, "Z": z, "M": m}, full[z, y : y + 50, x : x + 50].copy(), x=x, y=y)
        for z in tiles
        for m, (y, x) in enumerate(tiles[z])
    )
    write_subblocks(path, subblocks, xml=movie_xml(["Phase"], {}, 0.65, 600.0))
    output = tmp_path / "images.zarr/pc_ch_0/0"
    copy_frames.copy_frames(path, [output], fov=0, channels=[0], shape=(1, 100, 100), planes=[0, 1])
    frames = open_frames(output)
    assert frames.attributes["uncovered"] == [{"first": 0, "last": 0, "boxes": [[0, 50, 50, 100], [50, 0, 100, 100]]}]
    expected = np.zeros((100, 100), np.uint16)
    expected[:50, :50] = full[:, :50, :50].max(axis=0)
    np.testing.assert_array_equal(frames.read(0), expected)


def test_a_mosaic_that_fills_its_rectangle_says_nothing(tmp_path):
    path = write_mosaic(
        tmp_path / "a.czi", scene([(60, 60)], (200, 200)), [(0, 0), (0, 100), (100, 0), (100, 100)], 100
    )
    with open_movie(path) as read:
        assert not read.uncovered(0, 0, 0, None)


# ------------------------------------------------------------------------------------------------------- blank borders


@pytest.mark.workflow
def test_borders_that_move_in_an_nd2(tmp_path):
    """Frames aligned elsewhere: each is shifted, and 0 where it was not imaged."""
    shape, n_frames = (300, 340), 5
    places = [(90, 90), (90, 220), (200, 110), (210, 240)]
    images = scene(places, shape, n_frames, seed=3)
    shifts = [(0, 0), (7, -3), (-12, 20), (25, 1), (0, -18)]
    blank = np.zeros((n_frames, *shape), bool)
    for frame, (dy, dx) in enumerate(shifts):
        blank[frame] = ~ndimage.shift(np.ones(shape), (dy, dx), order=0).astype(bool)
    aligned = np.where(blank, 0, images)
    write_nd2(
        tmp_path / "a.nd2",
        lambda fov, frame, channel, z=0: aligned[channel, frame],
        n_fovs=1,
        n_frames=n_frames,
        width=shape[1],
        height=shape[0],
        channels=[Channel("Phase"), Channel("GFP")],
    )
    traces, rows, arrays = outcome_of(Checkout(tmp_path), config_of("a.nd2"))
    assert len(traces) == len(places) * n_frames
    np.testing.assert_allclose(traces.intensity_total_ch_1, TOTAL, rtol=0.01)
    for name in ("pc_ch_0/0", "fl_ch_1/0"):
        for frame in range(n_frames):
            boxes = coverage.of_frame(dict(arrays[name].attrs), frame)
            np.testing.assert_array_equal(coverage.mask_of_boxes(boxes, shape), blank[frame])
    for frame in range(n_frames):
        background = arrays["fl_background_ch_1/0"][frame]
        np.testing.assert_allclose(background[~blank[frame]], 200, atol=1.5)
    assert [(row["frame"], row["check"]) for row in rows] == [
        (str(frame), f"uncovered_{name}") for frame in range(1, 5) for name in ("fl_ch_1", "pc_ch_0")
    ]
    for row in rows:
        assert float(row["value"]) == pytest.approx(blank[int(row["frame"])].mean(), rel=1e-5)


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
    found = blank_areas.seen_in(image)
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
    np.testing.assert_array_equal(blank_areas.seen_in(image), gone)


@pytest.mark.parametrize("width", [1, 2, 5, 40])
@pytest.mark.parametrize("zeros", [0, 0.1, 0.6, 0.8])
def test_borders_of_any_width_also_beside_zeros_that_are_data(width, zeros):
    rng = np.random.default_rng(width)
    shape = (200, 260)
    image = np.where(rng.random(shape) < zeros, 0, 7).astype(np.uint16)
    image[:width] = image[:, -width:] = 0
    gone = np.zeros(shape, bool)
    gone[:width] = gone[:, -width:] = True
    found = coverage.mask_of_boxes(blank_areas.find(image, np.count_nonzero(image == 0)), shape)
    assert (found & gone).sum() == gone.sum()
    assert (found & ~gone).sum() <= (0.004 if zeros > 0.7 else 0.001) * gone.size


@pytest.mark.parametrize("zeros", [0.01, 0.3, 0.6, 0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("shape", [(64, 64), (300, 257)])
def test_zeros_of_a_camera_without_an_offset_are_data(zeros, shape):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        image = rng.poisson(-np.log(zeros), shape).astype(np.uint16)
        assert not blank_areas.find(image, np.count_nonzero(image == 0))


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
        assert not blank_areas.find(image, np.count_nonzero(image == 0))


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
    found = coverage.mask_of_boxes(blank_areas.find(image, 0), shape)
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
        assert not blank_areas.find(np.rint(image).astype(np.uint16), 0)


def test_a_frame_of_zeros_and_one_without_any_are_covered():
    assert not blank_areas.find(np.zeros((90, 90), np.uint16), 8100)
    assert not blank_areas.find(np.full((90, 90), 7, np.uint16), 0)
    for shape in [(1, 1), (3, 200), (24, 24)]:
        assert not blank_areas.find(np.zeros(shape, np.uint16), shape[0] * shape[1])


# ---------------------------------------------------------------------------------------------------- boxes and masks


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_boxes_are_the_mask(seed, height, width):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    boxes = coverage.boxes_of(mask)
    hits = np.zeros(mask.shape, int)
    for y0, x0, y1, x1 in boxes:
        hits[y0:y1, x0:x1] += 1
    np.testing.assert_array_equal(hits, mask)  # each pixel in one box
    np.testing.assert_array_equal(coverage.mask_of_boxes(boxes, mask.shape), mask)
    assert coverage.area_of(boxes) == mask.sum()


def test_the_attribute_names_frames_and_boxes():
    a, b = [(0, 0, 2, 9)], [(0, 0, 2, 9), (2, 5, 7, 9)]
    by_frame = [[], a, a, b, [], a]
    attribute = json.loads(json.dumps(coverage.as_attribute(by_frame)))
    assert [(span["first"], span["last"]) for span in attribute] == [(1, 2), (3, 3), (5, 5)]
    for frame, boxes in enumerate(by_frame):
        assert coverage.of_frame({"uncovered": attribute}, frame) == boxes
    held = coverage.by_frame({"uncovered": attribute})
    assert {frame: boxes.tolist() for frame, boxes in held.items()} == {
        frame: [list(box) for box in boxes] for frame, boxes in enumerate(by_frame) if boxes
    }
    assert coverage.as_attribute([[], []]) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_images_go_on_with_the_nearest_covered_pixel(seed):
    rng = np.random.default_rng(seed)
    uncovered = rng.random((9, 11)) < 0.6
    uncovered[rng.integers(9), rng.integers(11)] = False
    image = rng.integers(0, 1000, uncovered.shape, dtype=np.uint16)
    found = coverage.continued(image, uncovered, mirrored=False)
    places = np.argwhere(~uncovered)
    for y, x in np.ndindex(image.shape):
        far = ((places - (y, x)) ** 2).sum(axis=1)
        assert found[y, x] in {image[tuple(place)] for place in places[far == far.min()]}


# --------------------------------------------------------------------------------------------------------- segmentation


def phase_contrast(shape=(190, 220), seed=5):
    places = np.random.default_rng(seed).uniform(0, 1, (14, 2)) * shape
    return scene([tuple(place) for place in places], shape, seed=seed)[0, 0]


@pytest.mark.parametrize("window", [3, 5, 9])
@pytest.mark.parametrize("part", [np.s_[:, 40:], np.s_[31:-50], np.s_[30:, :-61], np.s_[25:-20, 35:-30]])
def test_logstd_ends_where_data_end_as_at_the_edge_of_the_image(part, window):
    image = phase_contrast()
    alone = logstd.segment_frame(np.ascontiguousarray(image[part]), logstd_window_size=window)
    assert alone.max() >= 3
    uncovered = np.ones(image.shape, bool)
    uncovered[part] = False
    found = logstd.segment_frame(np.where(uncovered, 0, image), uncovered, logstd_window_size=window)
    np.testing.assert_array_equal(found[part], alone)
    assert not found[uncovered].any()


def user_method(image):
    """A frame of labels that knows nothing of coverage: bright things, and one more about everything else."""
    return ndimage.label(image > 8300)[0]


@pytest.mark.parametrize("method", ["logstd", "pyama", "user"])
def test_every_method_finds_in_a_border_what_it_finds_without(tmp_path, method):
    file = tmp_path / "mine.py"
    file.write_text("from scipy import ndimage\ndef segment(image):\n    return ndimage.label(image > 8300)[0]\n")
    segment = segmenter(f"{file}:segment" if method == "user" else method, {})
    image = phase_contrast()
    part = np.s_[20:-11, 33:]
    framed = np.zeros_like(image)
    framed[part] = image[part]
    boxes = blank_areas.find(framed, np.count_nonzero(framed == 0))
    found, _ = label_frame(segment, framed, boxes, 0)
    alone = np.asarray(left_out.parts(segment(np.ascontiguousarray(image[part])))[0])
    assert alone.max() > 3
    np.testing.assert_array_equal(found[part], alone)
    found[part] = 0
    assert not found.any()


@pytest.mark.parametrize("method", ["logstd", "pyama", "user"])
def test_no_method_takes_the_inner_edge_of_an_l_for_cells(tmp_path, method):
    file = tmp_path / "mine.py"
    file.write_text("from scipy import ndimage\ndef segment(image):\n    return ndimage.label(image > 12000)[0]\n")
    segment = segmenter(f"{file}:segment" if method == "user" else method, {})
    image = scene(PLACES, (2 * SIDE, 2 * SIDE))[0, 0]
    if method == "user":
        image = np.where(ndimage.gaussian_filter(np.abs(image - 8000.0), 4) > 200, 20000, image).astype(np.uint16)
    image[SIDE:, SIDE:] = 0
    found, _ = label_frame(segment, image, blank_areas.find(image, SIDE * SIDE), 0)
    assert found.max() == len(PLACES)
    assert len({int(found[y, x]) for y, x in PLACES} - {0}) == len(PLACES)
    assert max(np.bincount(found.ravel())[1:]) < 4 * np.pi * RADIUS**2


def test_pieces_of_a_region_that_was_cut_are_regions_of_their_own():
    labels = np.zeros((10, 10), int)
    labels[2, 2:9] = 5
    labels[7:9, 1:3] = 9
    uncovered = np.zeros((10, 10), bool)
    uncovered[:, 4:6] = True
    expected = np.zeros((10, 10), int)
    expected[2, 2:4], expected[2, 6:9], expected[7:9, 1:3] = 1, 2, 3
    np.testing.assert_array_equal(without_uncovered(labels, uncovered), expected)


def test_holes_that_open_on_pixels_without_data_are_no_holes():
    """A ring about a missing tile, and one about nothing: only the second is filled."""
    mask = np.zeros((120, 240), bool)
    y, x = np.mgrid[:120, :240]
    for cx in (60, 180):
        far = np.hypot(y - 60, x - cx)
        mask |= (far < 45) & (far > 25)
    rng = np.random.default_rng(0)
    image = np.rint(1000 + np.where(mask, 60, 3) * rng.standard_normal(mask.shape)).astype(np.uint16)
    uncovered = np.hypot(y - 60, x - 60) < 12
    image[uncovered] = 0
    found = logstd.segment_frame(image, uncovered, max_object_size=20000)
    assert found[60, 180] > 0
    assert found[60, 60 + 16] == 0
    assert found[60, 60 - 35] > 0


# ------------------------------------------------------------------------------------- background, crops, registration


def write(path, frames, kind=PIXELS, **attributes):
    with writing(path, frames.shape, frames.dtype, kind, attributes=attributes) as append:
        for frame in frames:
            append(frame)
    return path


@pytest.mark.parametrize("with_cells", [True, False])
def test_background_of_what_is_covered(tmp_path, with_cells):
    """A slope, on a third of the frame no data; in the second frame elsewhere; the last one all cells."""
    y, x = np.mgrid[:256, :300]
    slope = 300 + 0.5 * y + 0.2 * x
    frames = np.random.default_rng(0).poisson(slope, (3, *slope.shape)).astype(np.uint16)
    gone = np.zeros(frames.shape, bool)
    gone[0, :, 200:] = gone[1, 170:] = gone[2, :90] = True
    frames[gone] = 0
    uncovered = coverage.as_attribute([coverage.boxes_of(mask) for mask in gone])
    source = write(tmp_path / "fl_ch_1/0", frames, uncovered=uncovered)
    cells = np.zeros(frames.shape, np.uint16)
    cells[2] = 1
    labels = write(tmp_path / "seg_labeled_ch_0/0", cells, LABELS) if with_cells else None
    borrowed = estimate_background.estimate_movie(
        [source], labels, [tmp_path / "bg/0"], tile_size=64, background_dilation=3
    )
    assert borrowed == [[2] if with_cells else []]
    estimate = open_frames(tmp_path / "bg/0")
    assert estimate.attributes["uncovered"] == uncovered
    for frame in range(3):
        found = estimate.read(frame)
        assert (found[gone[frame]] == 0).all()
        seen = ~gone[frame] & (~gone[1] if with_cells and frame == 2 else True)
        np.testing.assert_allclose(found[seen], slope[seen], atol=4)


def test_structure_in_small_frames_without_phase_contrast(tmp_path):
    for at, shape in enumerate([(24, 24), (1, 1), (2, 60), (64, 64), (40, 63)]):
        y, x = np.mgrid[: shape[0], : shape[1]]
        image = (100 + shape[1] * y + x).astype(np.uint16)
        gone = np.zeros(shape, bool)
        gone[: shape[0] // 4] = True
        for kind, attributes in (
            ("whole", {}),
            ("cut", {"uncovered": coverage.as_attribute([coverage.boxes_of(gone)] * 2)}),
        ):
            source = write(tmp_path / f"{at}{kind}/0", np.array([image, image]), **attributes)
            output = tmp_path / f"{at}{kind}_bg/0"
            estimate_background.estimate_movie([source], None, [output], tile_size=64, background_dilation=10)
            values = image if kind == "whole" else image[~gone]
            found = open_frames(output).read(1)
            found = found if kind == "whole" else found[~gone]
            assert found.shape == values.shape
            assert found.min() >= values.min() - 1
            assert found.max() <= values.max() + 1


def test_a_frame_without_any_data_has_no_background(tmp_path):
    frames = np.zeros((1, 64, 64), np.uint16)
    source = write(tmp_path / "fl/0", frames, uncovered=coverage.as_attribute([[(0, 0, 64, 64)]]))
    estimate_background.estimate_movie([source], None, [tmp_path / "bg/0"], tile_size=64, background_dilation=10)
    assert (open_frames(tmp_path / "bg/0").read(0) == 0).all()


@pytest.mark.parametrize("value", [0, 1, 200, 4095, 65535])
@pytest.mark.parametrize("place", [np.s_[40:58, 70:91], np.s_[100:166, 30:75], np.s_[:, 90:107], np.s_[61:80, :]])
def test_a_tile_that_was_lost_in_the_middle(value, place):
    """Filled with any value, also one that the noise around has, and also where it is smaller than a straight edge."""
    image = np.random.default_rng(2).poisson(200, (180, 210)).clip(2).astype(np.uint16)
    image[20:34, 150:170] += 400
    image[place] = value
    gone = np.zeros(image.shape, bool)
    gone[place] = True
    found = coverage.mask_of_boxes(blank_areas.find(image, np.count_nonzero(image == 0)), image.shape)
    assert found[gone].all()
    assert np.count_nonzero(found & ~gone) <= (10 if value == 200 else 0)  # noise beside it may be the same


@pytest.mark.parametrize("side", [16, 32, 63])
def test_tiles_that_were_lost_each_with_a_value_of_its_own(side):
    image = np.random.default_rng(side).normal(900, 30, (260, 300)).astype(np.uint16)
    gone = np.zeros(image.shape, bool)
    for at, value in enumerate([100, 871, 900, 65535]):
        tile = np.s_[10 + 50 * (at % 2) : 10 + 50 * (at % 2) + side, 5 + 70 * at : 5 + 70 * at + side]
        image[tile], gone[tile] = value, True
    found = coverage.mask_of_boxes(blank_areas.find(image, 0), image.shape)
    np.testing.assert_array_equal(found, gone)


@pytest.mark.parametrize("value", [0, 100, 4095])
@pytest.mark.parametrize("written", [np.s_[:40], np.s_[:, :70], np.s_[60:]])
def test_a_frame_of_which_a_part_was_written(value, written):
    image = np.full((120, 160), value, np.uint16)
    noise = np.random.default_rng(value).normal(900, 30, image.shape).astype(np.uint16)
    image[written] = noise[written]
    found = coverage.mask_of_boxes(blank_areas.find(image, np.count_nonzero(image == 0)), image.shape)
    np.testing.assert_array_equal(found, image == value)


def test_narrow_ends_of_a_border_of_a_turned_image():
    y, x = np.mgrid[:200, :300]
    gone = y < 20 - x / 8
    image = np.where(gone, 0, np.random.default_rng(2).poisson(200, gone.shape)).astype(np.uint16)
    found = coverage.mask_of_boxes(blank_areas.find(image, np.count_nonzero(gone)), image.shape)
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
    assert not blank_areas.find(image, np.count_nonzero(image == 0))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), margin=st.integers(0, 8))
def test_which_cells_lack_light_and_which_are_near_the_edge(tmp_path_factory, seed, margin):
    """Against the masks of whole frames: what touches pixels without light, and distances to those without phase."""
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("crops")
    shape = (3, 40, 50)
    tracked = np.zeros(shape, np.uint16)
    for cell in range(1, 7):
        for frame in range(3):
            y, x = rng.integers(0, 36), rng.integers(0, 44)
            tracked[frame, y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = cell
    gone = {}
    for name in ("pc_ch_0", "fl_ch_1"):
        gone[name] = np.zeros(shape, bool)
        for frame in range(3):
            y, x = rng.integers(0, 40), rng.integers(0, 50)
            gone[name][frame, y:, x:] = rng.random() < 0.7
            gone[name][frame, : rng.integers(0, 6)] = True
    tracked[gone["pc_ch_0"]] = 0
    if not tracked.any():
        return
    raw = rng.integers(1, 60000, shape, dtype=np.uint16)
    attributes = {name: {"uncovered": coverage.as_attribute(list(map(coverage.boxes_of, gone[name])))} for name in gone}
    channels = [write(folder / name / "0", np.where(gone[name], 0, raw), **attributes[name]) for name in gone]
    write(folder / "seg_tracked_ch_0/0", tracked, LABELS)
    crop_cells.write_cells(
        open_frames(folder / "seg_tracked_ch_0/0"),
        [open_frames(channel) for channel in channels],
        folder / "cells.zarr",
        crop_padding=3,
    )
    with open_store(folder / "cells.zarr") as get:
        ids, valid, bboxes = (get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "valid_frames", "bboxes"))
        near = near_edge(get, ids, valid, bboxes, 0, margin)
        for row, cell in enumerate(ids.tolist()):
            frames = np.flatnonzero(valid[row])
            _, attributes = read_crop(get, "fl_ch_1", cell)
            mask, _ = read_crop(get, "seg_tracked_ch_0", cell)
            lost = without_data(attributes, mask[frames] > 0, frames)
            np.testing.assert_array_equal(lost, [(gone["fl_ch_1"][t] & (tracked[t] == cell)).any() for t in frames])
            close = False
            for t in frames:
                outside = np.pad(gone["pc_ch_0"][t], 1, constant_values=True)
                far = ndimage.distance_transform_cdt(~outside, "chessboard")[1:-1, 1:-1]
                close |= margin > 0 and far[tracked[t] == cell].min() <= margin
            assert near[row] == close


def test_light_around_a_cell_that_was_not_imaged(tmp_path):
    """The total is summed 2 px around a cell: it is NaN where one of these holds no data; the mean is of the cell."""
    tracked = np.zeros((5, 40, 50), np.uint16)
    tracked[:, 10:22, 15:27] = 1
    light = np.full(tracked.shape, 300, np.uint16)
    boxes = [[(0, 27 + frame, 40, 50)] for frame in range(4)] + [[]]  # so many px from the cell
    for frame in range(4):
        light[frame, :, 27 + frame :] = 0
    channels = [
        write(tmp_path / "pc_ch_0/0", light),
        write(tmp_path / "fl_ch_1/0", light, uncovered=coverage.as_attribute(boxes)),
        write(tmp_path / "fl_background_ch_1/0", np.full(tracked.shape, 200, np.float32), PIXELS),
    ]
    write(tmp_path / "seg_tracked_ch_0/0", tracked, LABELS)
    arrays = [open_frames(channel) for channel in channels]
    crop_cells.write_cells(
        open_frames(tmp_path / "seg_tracked_ch_0/0"), arrays, tmp_path / "cells.zarr", crop_padding=5
    )
    with open_store(tmp_path / "cells.zarr") as get:
        origins, _ = get_array(get, "metadata/crop_origins")
        total, mean = extract_cell(
            get,
            1,
            np.arange(5),
            origins[0],
            Chosen(0, ((1, ("intensity_total", "intensity_mean")),)),
            **{"mask_margin": 0, "light_margin": 2, "background_weight": 1.0},
            **{"particle_sigma": 1.5, "particle_threshold": 4.5},
        )
    within = 100.0 * (16**2 - 4 * 3)  # the square of the cell and its margin, with round corners
    np.testing.assert_allclose(total, [np.nan, np.nan, within, within, within], atol=1)
    np.testing.assert_allclose(mean, 100, atol=0.01)


def test_registered_channels_lack_what_came_from_beyond_the_edge(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(100, 1000, (2, 60, 80), dtype=np.uint16)
    gone = np.zeros((60, 80), bool)
    gone[:, 70:] = True
    frames[1, gone] = 0
    source = write(tmp_path / "fl_ch_1/0", frames, uncovered=coverage.as_attribute([[], coverage.boxes_of(gone)]))
    numbers = dict.fromkeys(["x0", "mx", "my"], 0.0)
    shift = {"model": "lin2Model", "x": {**numbers, "x0": 300.0}, "y": {**numbers, "x0": -220.0}}
    output = tmp_path / "fl_registered_ch_1/0"
    register_channels.register_movie(source, output, shift, 100.0)  # 3 px to the right, 2.2 px up
    found = open_frames(output)
    for frame in range(2):
        lost = coverage.mask_of_boxes(coverage.of_frame(found.attributes, frame), (60, 80))
        expected = np.zeros((60, 80), bool)
        expected[:, :3] = expected[58:] = True
        if frame:
            expected[:, 73:] = True
        np.testing.assert_array_equal(lost, expected)
        assert (found.read(frame)[lost] == 0).all()
        assert (found.read(frame)[~lost] >= 100).all()


def test_the_check_has_a_row_for_the_fov_or_for_each_frame():
    boxes = [(0, 0, 5, 10)]
    for by_frame, rows in (
        ([boxes, boxes, [(0, 0, 10, 10)]], [(None, 1.0)]),
        ([boxes, [], boxes], [(0, 0.5), (2, 0.5)]),
        ([[], [], []], []),
    ):
        frames = SimpleNamespace(
            attributes={"uncovered": coverage.as_attribute(by_frame)}, shape=(3, 10, 10), path=Path("fl_ch_1/0")
        )
        found = list(check_coverage(4, frames, np.ones(3, bool)))
        assert [(row.frame, row.value) for row in found] == rows
        assert all((row.fov, row.check) == (4, "uncovered_fl_ch_1") for row in found)


# ---------------------------------------------------------------------------------------------------------- real files


@pytest.mark.parametrize("path", sorted(REAL_FILES.glob("*/*.[nc][dz][2i]")), ids=lambda path: path.name)
def test_real_files_are_covered_everywhere_or_by_their_tiles(path):
    movie = inspect_movie(path)
    with open_movie(path) as read:
        for fov in range(len(movie.fovs)):
            for channel in range(len(movie.channels)):
                z = movie.n_z // 2 if movie.n_z > 1 else None
                (image,) = read(fov, 0, [channel], z)
                if image is None:
                    continue
                known = read.uncovered(fov, 0, channel, z)
                found = blank_areas.find(image, np.count_nonzero(image == 0), known)
                assert not (image[coverage.mask_of_boxes(found, image.shape)]).any()
                assert coverage.area_of(found) < image.size


def test_an_image_of_squares_of_many_values_is_not_looked_at_for_each(monkeypatch):
    """An image that was enlarged has no noise: to look for each of its values would take minutes."""
    looked, look = [], blank_areas.seen_in
    monkeypatch.setattr(blank_areas, "seen_in", lambda *of, **how: looked.append(1) or look(*of, **how))
    coarse = np.random.default_rng(3).permutation(np.arange(100, 100 + 32 * 32)).reshape(32, 32)
    for width in (8, 16):
        image = np.kron(coarse, np.ones((width, width), int)).astype(np.uint16)
        assert not blank_areas.find(image, 0)
    assert len(looked) <= 2
