"""Each stage ends where the data end: segmentation, background, registration, light of cells."""

import numpy as np
import pytest
from coverage_tools import PLACES, RADIUS, SIDE, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import crop_cells
import estimate_background
import register_channels
from celltraces.features.filters import near_edge
from celltraces.features.trace_table import Chosen, extract_cell, without_data
from celltraces.frames import blank_areas, coverage
from celltraces.labels import left_out
from celltraces.segmentation import logstd
from celltraces.segmentation.methods import label_frame, segmenter, without_uncovered
from celltraces.storage.cells import get_array, open_store, read_crop
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing

# --------------------------------------------------------------------------------------------------------- segmentation


def user_method(image):
    """A frame of labels that knows nothing of coverage: bright things, and one more about everything else."""
    return ndimage.label(image > 8300)[0]


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


@pytest.mark.parametrize("method", ["logstd", "pyama", "user"])
def test_every_method_finds_in_a_border_what_it_finds_without(tmp_path, method):
    file = tmp_path / "mine.py"
    file.write_text("from scipy import ndimage\ndef segment(image):\n    return ndimage.label(image > 8300)[0]\n")
    segment = segmenter(f"{file}:segment" if method == "user" else method, {})
    image = phase_contrast()
    part = np.s_[20:-11, 33:]
    framed = np.zeros_like(image)
    framed[part] = image[part]
    boxes = blank_areas.find_blank_areas(framed, np.count_nonzero(framed == 0))
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
    found, _ = label_frame(segment, image, blank_areas.find_blank_areas(image, SIDE * SIDE), 0)
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
