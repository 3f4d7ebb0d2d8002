"""Pixels without data: mosaics that are no rectangle, blank borders, in one frame or all, moving or not."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import REAL_FILES, Checkout
from coverage_tools import L_TILES, PLACES, SIDE, TOTAL, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import copy_frames
from celltraces.frames import blank_areas, coverage
from celltraces.readers.movie_file import inspect_movie, open_movie
from celltraces.results.quality import check_coverage
from celltraces.storage.cells import Path
from celltraces.storage.frames import open_frames
from demo.czi_writer import Subblock, movie_xml, write_subblocks
from demo.nd2_writer import Channel, write_nd2

PARAMS = {"min_frames": 1, "border_margin": 5, "tile_size": 64}


def config_of(path, **params):
    return {
        "datasets": {"a": str(path)},
        "channels": {
            "pc": {"channel": 0, "features": ["area"]},
            "fl": [{"channel": 1, "features": ["intensity_total", "intensity_mean", "particle_num"]}],
        },
        "params": PARAMS | params,
    }


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
    held = coverage.boxes_by_frame({"uncovered": attribute})
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


# ---------------------------------------------------------------------------------------------------------- the check


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
                found = blank_areas.find_blank_areas(image, np.count_nonzero(image == 0), known)
                assert not (image[coverage.mask_of_boxes(found, image.shape)]).any()
                assert coverage.area_of(found) < image.size
