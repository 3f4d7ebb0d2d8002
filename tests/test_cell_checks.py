"""Exchanged frames and channels, light beside cells and cells that are cut off are told; what is like them is not."""

import numpy as np
import pytest
from scipy import ndimage

from celltraces.frames import cut_off, hot_pixels
from celltraces.frames.statistics import NAMES, frame_statistics
from celltraces.results import cell_checks, channel_shift, frame_order
from celltraces.results.light_by_cell import light_of_traces
from celltraces.results.quality import check_exchanged_fovs
from celltraces.storage.cells import new_store, open_store, put_array
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing

T = 24

# ------------------------------------------------------------------------------------------------------ order of frames


def walking(n_cells=40, step=2.5, noise=0.7, seed=0):
    """Boxes (N, T, 4) int of cells that walk, as a segmentation finds them, and presence (N, T)."""
    rng = np.random.default_rng(seed)
    middles = rng.uniform(30, 470, (n_cells, 1, 2)) + np.cumsum(rng.normal(0, step, (n_cells, T, 2)), axis=1)
    radius = rng.uniform(8, 15, (n_cells, 1, 1))
    edges = np.concatenate([middles - radius, middles + radius], axis=2)
    return np.rint(edges + rng.normal(0, noise, edges.shape)).astype(int), rng.uniform(size=(n_cells, T)) < 0.98


@pytest.mark.parametrize(
    ("n_cells", "step", "pair"),
    [*((80, step, pair) for step in (2.5, 5.0) for pair in ((5, 6), (5, 7), (3, 14))), (30, 2.5, (3, 14))],
)
def test_frames_in_each_others_place(n_cells, step, pair):
    boxes, present = walking(n_cells, step)
    order = np.arange(T)
    order[[*pair]] = order[[*pair]][::-1]
    rows = list(cell_checks.check_order(3, boxes[:, order], present[:, order]))
    assert [(row.fov, row.frame, row.check, row.value) for row in rows] == [(3, pair[0], "frame_order", pair[1])]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n_cells", "step"), [(15, 0.0), (40, 0.0), (15, 2.5), (40, 2.5), (5, 2.5)])
def test_frames_in_order(n_cells, step, seed):
    """Also of a stage that jitters, with a frame out of focus, with two planes that take turns, and a division."""
    boxes, present = walking(n_cells, step, seed=seed)
    rng = np.random.default_rng(seed)
    jitters = boxes + np.tile(rng.normal(0, 9, (1, T, 2)), 2)
    blurred, turns, divides = jitters.copy(), boxes.astype(float), present.copy()
    blurred[:, 11] += rng.normal(0, 4, blurred[:, 11].shape)
    turns[:, ::2] += rng.normal(0, 4, (n_cells, 1, 4))
    divides[: n_cells // 2, 12:] = False
    for of_boxes, of_present in ((boxes, present), (jitters, present), (blurred, present), (boxes, divides)):
        assert frame_order.exchanged_by_place(of_boxes, of_present) == []
    if step == 0:
        assert frame_order.exchanged_by_place(turns, present) == []


@pytest.mark.parametrize("n_frames", range(6))
def test_movies_too_short_for_an_order(n_frames):
    boxes, present = walking()
    assert frame_order.exchanged_by_place(boxes[:, :n_frames], present[:, :n_frames]) == []
    assert frame_order.exchanged_by_place(boxes[:0], present[:0]) == []


# ------------------------------------------------------------------------------------------------ light beside cells

SHAPE = (256, 288)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]


def disks(n_cells, seed=0):
    """Labels (H, W) of cells that do not touch."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint16)
    while labels.max() < n_cells:
        (y, x), radius = rng.uniform(20, np.array(SHAPE) - 20), rng.uniform(7, 12)
        disk = (ROWS - y) ** 2 + (COLUMNS - x) ** 2 < radius**2
        if not labels[ndimage.binary_dilation(disk, iterations=3)].any():
            labels[disk] = labels.max() + 1
    return labels


def light_of(labels, kind="full", seed=0):
    """Light (H, W) of cells of very different brightness: all over, in a spot beside the middle, or debris alone."""
    rng = np.random.default_rng(seed)
    brightness = np.r_[0, rng.lognormal(5, 0.8, labels.max())]
    light = brightness[labels] if kind == "full" else np.zeros(SHAPE)
    if kind == "spots":
        for (y, x), bright in zip(
            ndimage.center_of_mass(labels, labels, range(1, labels.max() + 1)), brightness[1:], strict=True
        ):
            off = rng.normal(0, 4, 2)
            light += bright * np.exp(-((ROWS - y - off[0]) ** 2 + (COLUMNS - x - off[1]) ** 2) / 32)
    for y, x in rng.uniform(0, 1, (3, 2)) * SHAPE if kind != "full" else ():
        light += 3000.0 * ((ROWS - y) ** 2 + (COLUMNS - x) ** 2 < 60)
    return ndimage.gaussian_filter(light, 1.2)


def found_in(tmp_path, light_of_frames, labels):
    """Rows of check_channel_shift; light_of_frames: (T, H, W) float above a background of 300."""

    def stored(name, frames, dtype):
        with writing(tmp_path / f"{name}/0", frames.shape, dtype, LABELS) as append:
            for image in frames:
                append(np.ascontiguousarray(image, dtype))
        return open_frames(tmp_path / f"{name}/0")

    rng = np.random.default_rng(7)
    taken = stored("fl_ch_1", rng.poisson(light_of_frames + 300.0), np.uint16)
    background = stored("fl_background_ch_1", np.full_like(light_of_frames, 300.0), np.float32)
    cells = stored("seg_labeled_ch_0", np.stack([labels] * len(light_of_frames)), np.uint16)
    arrays = ({0: array} for array in (cells, taken, background))
    return list(cell_checks.check_channel_shift("fl_ch_1", *arrays, qc_channel_shift=2.0))


@pytest.mark.parametrize("by", [(2, 1), (3, -2), (-9, 5), (0, 30)])
def test_a_channel_beside_the_cells(tmp_path, by):
    labels = disks(30)
    (row,) = found_in(tmp_path, np.stack([np.roll(light_of(labels), by, (0, 1))] * 5), labels)
    assert (row.fov, row.frame, row.check) == (0, None, "channel_shift_fl_ch_1")
    assert row.value == pytest.approx(np.hypot(*by), abs=0.3)


def test_a_channel_that_drifts_off_the_cells(tmp_path):
    labels = disks(30)
    moving = np.stack([np.roll(light_of(labels), max(t - 4, 0) * 3 // 2, axis=1) for t in range(10)])  # 0 ... 1 3 4 6 7
    (row,) = found_in(tmp_path / "a", moving[:8], labels)
    assert (row.frame, row.check) == (6, "channel_shift_fl_ch_1")
    jumps = np.stack([np.roll(light_of(labels), 6 * (t >= 5), axis=0) for t in range(10)])
    (row,) = found_in(tmp_path / "b", jumps, labels)
    assert (row.frame, row.value) == (5, pytest.approx(6, abs=0.3))


@pytest.mark.parametrize("n_cells", [3, 30])
@pytest.mark.parametrize("kind", ["full", "spots", "debris"])
def test_channels_on_the_cells(tmp_path, n_cells, kind):
    labels = disks(n_cells)
    assert found_in(tmp_path, np.stack([light_of(labels, kind)] * 3), labels) == []


def test_channels_in_which_nothing_can_be_told(tmp_path):
    labels = disks(30)
    nothing = np.zeros((3, *SHAPE))
    assert found_in(tmp_path / "a", nothing, labels) == []
    assert found_in(tmp_path / "b", nothing, np.zeros_like(labels)) == []
    assert found_in(tmp_path / "c", nothing, np.ones_like(labels)) == []
    few = np.stack([np.roll(light_of(disks(14)), 6, axis=0)] * 3)
    assert found_in(tmp_path / "d", few, disks(14)) == []
    assert channel_shift.beside([], 2.0) is None


# -------------------------------------------------------------------------------------------------------- cut-off cells


@pytest.mark.parametrize("top", [255, 4095, 60_000])
def test_pieces_that_are_cut_off(top):
    image = np.random.default_rng(0).poisson(60, (200, 220)).astype(np.uint16)
    assert cut_off.pieces(image, np.bincount(image.ravel())) == []
    image[ROWS[:200, :220] % 37 == 0] = 80
    image[20:24, 30:35] = image[100:102, 40:48] = image[150, 160] = top  # the last is a hot pixel
    labels, _ = ndimage.label(image == top, np.ones((3, 3)))
    found = cut_off.pieces(image, np.bincount(image.ravel()))
    sizes = np.bincount(labels.ravel())
    assert [(sizes[labels[y, x]], n) for y, x, n in found] == [(20, 20), (16, 16)]


def test_cells_that_are_cut_off(tmp_path):
    """Of two cells one is in the tables; of its 100 pixels 30 are cut off in frame 1, far less than a share of 1e-4."""
    frames = np.full((3, 800, 800), 50, np.uint16) + np.random.default_rng(0).poisson(20, (3, 800, 800)).astype(
        np.uint16
    )
    frames[1, 42:45, 40:50] = frames[1, 303:306, 300:310] = 4095
    pieces = [(1, *piece) for piece in cut_off.pieces(frames[1], np.bincount(frames[1].ravel()))]
    statistics = [frame_statistics(frame, np.bincount(frame.ravel())) for frame in frames]
    attributes = {"frame_statistics": {name: [of[name] for of in statistics] for name in NAMES}, "cut_off": pieces}
    with writing(tmp_path / "fl_ch_1/0", frames.shape, np.uint16, PIXELS, attributes=attributes) as append:
        for frame in frames:
            append(frame)
    with new_store(tmp_path / "cells.zarr") as put:
        boxes = np.array([[[40, 40, 50, 50]] * 3, [[300, 300, 310, 310]] * 3], np.int32)
        for name, values in (
            ("cell_ids", np.array([7, 9], np.int32)),
            ("valid_frames", np.ones((2, 3), bool)),
            ("bboxes", boxes),
            ("crop_origins", boxes[:, :, :2] - 5),
            ("areas", np.full((2, 3), 100, np.int32)),
        ):
            put_array(put, f"metadata/{name}", values, LABELS)
        for cell in (7, 9):
            put_array(
                put,
                f"seg_tracked_ch_0/{cell}/0",
                np.pad(np.ones((3, 10, 10), np.uint8), ((0, 0), (5, 5), (5, 5))),
                LABELS,
            )

    def rows(wanted, saturation=1e-4, limit=0.02):
        with open_store(tmp_path / "cells.zarr") as get:
            limits = {"qc_saturation": saturation, "qc_cell_saturation": limit}
            array = open_frames(tmp_path / "fl_ch_1/0")
            return [
                tuple(vars(row).values()) for row in cell_checks.check_cut_cells(0, array, get, 0, wanted, **limits)
            ]

    assert rows({7}) == [(0, 1, "saturated_cell_fl_ch_1", 0.3, 0.02)]
    assert rows({7}, limit=0.3) == rows({8}) == rows({7}, saturation=1e-5) == []  # the last: the frame itself is told


# ------------------------------------------------------------------------------------------ channels exchanged in a FOV


@pytest.mark.parametrize("ratio", [1.4, 3.0])
def test_channels_that_are_exchanged_in_a_fov(tmp_path, ratio):
    def channels(folder, exchanged=(), ratio=ratio):
        arrays = {"fl_ch_1": {}, "fl_ch_2": {}}
        for fov in range(8):
            for at, name in enumerate(arrays):
                rng = np.random.default_rng([fov, at])
                level = 300 * ratio ** ((at == 1) != (fov in exchanged)) * rng.normal(1, 0.01)
                frames = rng.poisson(level, (4, 64, 64)).astype(np.uint16)
                statistics = [frame_statistics(frame, np.bincount(frame.ravel())) for frame in frames]
                attributes = {"frame_statistics": {key: [of[key] for of in statistics] for key in NAMES}}
                path = tmp_path / folder / str(fov) / name / "0"
                with writing(path, frames.shape, np.uint16, PIXELS, attributes=attributes) as append:
                    for frame in frames:
                        append(frame)
                arrays[name][fov] = open_frames(path)
        return arrays

    def rows(arrays):
        return {(row.fov, row.check) for row in check_exchanged_fovs(arrays, {}, qc_exposure=1.25)}

    assert rows(channels("sound")) == set()
    struck = channels("struck", exchanged=[5])
    assert rows(struck) == {(5, "exchanged_fov_fl_ch_1"), (5, "exchanged_fov_fl_ch_2")}
    assert rows(channels("many", exchanged=[1, 3, 5])) == set()  # nobody knows which FOVs are right
    assert rows(channels("alike", exchanged=[5], ratio=1.1)) == set()
    assert rows({"fl_ch_1": struck["fl_ch_1"]}) == set()


def test_channels_with_like_backgrounds_that_are_exchanged_in_a_fov(tmp_path):
    """Nuclei in one and whole cells in the other: light fills cells otherwise."""
    rng = np.random.default_rng(0)
    uneven = {
        "fl_ch_1": dict(enumerate(rng.normal(0.4, 0.01, 8))),
        "fl_ch_2": dict(enumerate(rng.normal(1.1, 0.03, 8))),
    }

    def rows(uneven):
        return {(row.fov, row.check) for row in check_exchanged_fovs({}, uneven, qc_exposure=1.25)}

    assert rows(uneven) == set()
    uneven["fl_ch_1"][6], uneven["fl_ch_2"][6] = uneven["fl_ch_2"][6], uneven["fl_ch_1"][6]
    assert rows(uneven) == {(6, "exchanged_fov_fl_ch_1"), (6, "exchanged_fov_fl_ch_2")}
    assert rows({name: {fov: of[fov] for fov in range(3, 7)} for name, of in uneven.items()}) == set()


# ----------------------------------------------------------------------------------------------------------- hot pixels


def followed(frames):
    known = None
    for image in frames:
        known = hot_pixels.look(image, np.bincount(image.ravel()), known)
    return known


@pytest.mark.parametrize("counts", [400, 3000, 60_000])
def test_hot_pixels_of_the_camera(counts):
    frames = np.random.default_rng(0).poisson(np.stack([light_of(disks(12))] * 4) + 300.0).astype(np.uint16)
    assert len(followed(frames)) == 0
    places = [(20, 30), (133, 77), (250, 285)]
    for y, x in places:
        frames[:, y, x] = counts + 300
    frames[0, 60, 60] = frames[:3, 100, 200] = counts + 300  # in some frames alone
    frames[:, 0, 9] = counts + 300  # at the edge
    found = followed(frames)
    assert [(y, x) for y, x, _ in found.astype(int).tolist()] == places
    np.testing.assert_allclose(found[:, 2], counts, atol=110)


def test_what_is_no_hot_pixel():
    """Beads as sharp as optics show them, grainy images, images of one value, small ones."""
    rng = np.random.default_rng(0)
    beads = 200.0 + sum(
        5000 * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / (2 * 0.7**2)) for y, x in rng.uniform(5, 250, (30, 2))
    )
    assert len(followed(rng.poisson(np.stack([beads] * 3)).astype(np.uint16))) == 0
    grainy = (rng.uniform(size=SHAPE) < 0.02) * 500 + rng.poisson(100, SHAPE)
    assert len(followed([grainy.astype(np.uint16)])) == 0
    for image in (np.full(SHAPE, 7, np.uint16), np.full((2, 2), 7, np.uint16), np.full(SHAPE, 65535, np.uint16)):
        assert len(followed([image, image])) == 0


def test_hot_pixels_in_cells(tmp_path):
    boxes = np.array([[[40, 40, 50, 50], [0, 0, 0, 0]], [[42, 44, 52, 54]] * 2])
    table = "fov,cell,frame,intensity_total_ch_1\n0,1,0,9000.0\n0,2,0,10000.0\n0,2,1,NaN\n0,2,1,11000.0\n"

    def rows(hot, limit=0.05, table=table):
        with writing(tmp_path / "fl_ch_1/0", (1, 8, 8), np.uint16, PIXELS, attributes={"hot_pixels": hot}) as append:
            append(np.zeros((8, 8), np.uint16))
        array = open_frames(tmp_path / "fl_ch_1/0")
        found = cell_checks.check_hot_pixels(4, array, boxes, light_of_traces(table), qc_hot_pixel=limit)
        return [(row.fov, row.frame, row.check, row.value) for row in found]

    inside, outside = [51, 53, 2000], [52, 53, 9000]
    assert rows([inside, outside]) == [(4, None, "hot_pixels_fl_ch_1", 0.2)]
    assert rows([outside]) == rows([inside], limit=0.2) == rows([]) == rows([inside], table="fov,cell,frame\n") == []
