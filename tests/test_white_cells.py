"""White cells: disks, sisters, halos and dust that are drawn, and T98G cells outlined by hand."""

import cv2
import numpy as np
import pytest
import tifffile
from conftest import REAL_FILES
from evaluation.overlaps import score
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles_white_cells import with_white_cells as oracle
from test_segmentation import disk, textured

from celltraces.labels.objects import components, painted
from celltraces.segmentation import logstd
from celltraces.segmentation.percentiles import percentile
from celltraces.segmentation.uneven_light import unevenness
from celltraces.segmentation.white_cells import with_white_cells

T98G = REAL_FILES / "t98g"
SHAPE = (240, 240)
LEVEL, STD = 5000.0, 20.0
FLAT = [(40, 40), (40, 120), (40, 200)]  # y, x of dark cells with a radius of 15 px


def drawn(white, *, bridge=None, brightness=3000.0):
    """Dark cells, 1000 counts below the level, and `white` ones, a mask.

    bridge: a mask between two white cells, half as bright.
    """
    image = np.full(SHAPE, LEVEL)
    rng = np.random.default_rng(3)
    for y, x in FLAT:
        body = disk(SHAPE, y, x, 15)
        image[body] += -1000 + 150 * rng.standard_normal(np.count_nonzero(body))
    if bridge is not None:
        image[bridge] += brightness / 2
    image[white] += brightness
    image = cv2.GaussianBlur(image, (0, 0), 1) + STD * rng.standard_normal(SHAPE)
    return np.rint(image).astype(np.uint16)


def objects_at(labels, mask):
    """Each object that has pixels in the mask, and its intersection over union with it."""
    found = np.unique(labels[mask & (labels > 0)])
    return {int(k): np.count_nonzero((labels == k) & mask) / np.count_nonzero((labels == k) | mask) for k in found}


@pytest.mark.parametrize("radius", [9, 16, 25])
def test_a_white_disk_is_one_object_with_its_own_edge(radius):
    white = disk(SHAPE, 150, 120, radius)
    labels = logstd.segment_frame(drawn(white))
    assert labels.max() == len(FLAT) + 1
    (share,) = objects_at(labels, white).values()
    assert share > 0.8


@pytest.mark.parametrize("apart", [24, 28])
def test_two_white_sisters_joined_by_a_dimmer_and_narrower_bridge_are_two_objects(apart):
    one, other = disk(SHAPE, 150, 100, 11), disk(SHAPE, 150, 100 + apart, 11)
    bridge = np.zeros(SHAPE, bool)
    bridge[145:156, 100 : 100 + apart] = True
    labels = logstd.segment_frame(drawn(one | other, bridge=bridge & ~one & ~other))
    best = [max(objects_at(labels, cell).items(), key=lambda item: item[1]) for cell in (one, other)]
    assert best[0][0] != best[1][0]
    assert min(share for _, share in best) > 0.7


def white_in(image, white_regions):
    """The mask of white cells that are found where `white_regions` and the dark cells are regions, and the objects."""
    regions = white_regions.astype(np.uint8)
    for y, x in FLAT:
        regions |= disk(SHAPE, y, x, 15).view(np.uint8)
    objects = components(regions)
    found, white = with_white_cells(objects, regions, image, 2 * STD, 7, 50, 10000)
    return objects, found, white


@pytest.mark.parametrize("what", ["ring around a dark cell", "crescent", "dust", "no brighter than halos", "large"])
def test_what_is_bright_and_no_cell_changes_nothing(what):
    outer = disk(SHAPE, 150, 120, 21)
    bright = {
        "ring around a dark cell": outer & ~disk(SHAPE, 150, 120, 15),
        "crescent": outer & ~disk(SHAPE, 150, 132, 22),
        "dust": disk(SHAPE, 150, 120, 4),
        "no brighter than halos": outer,
        "large": disk(SHAPE, 150, 120, 70),
    }[what]
    image = drawn(bright, brightness=1900.0 if what == "no brighter than halos" else 3000.0)
    objects, found, white = white_in(image, outer)
    assert found is objects
    assert not white.any()


def test_what_has_no_edge_nearby_is_no_white_cell():
    """A bright disk in a field that is lit by more than a third of its brightness, as in one corner of a vignette."""
    white = disk(SHAPE, 150, 120, 20)
    image = drawn(white, brightness=1600.0)
    image[90:210, 60:180] += 1000
    objects, found, cells = white_in(image, disk(SHAPE, 150, 120, 25))
    assert found is objects
    assert not cells.any()


@pytest.mark.parametrize("n_white", [0, 1])
def test_light_from_one_side_makes_no_white_cells_and_hides_none(n_white):
    """The background rises by 3 darknesses; a textured region lies where it is bright."""
    white = disk(SHAPE, 150, 60, 14) & bool(n_white)
    image = drawn(white) + np.linspace(0, 3000, SHAPE[1])[None].astype(np.uint16)
    region = disk(SHAPE, 120, 200, 20)
    objects, found, cells = white_in(image, region | disk(SHAPE, 150, 60, 18))
    assert not cells[region].any()
    if n_white:
        assert np.count_nonzero(cells.view(bool) & white) / np.count_nonzero(cells.view(bool) | white) > 0.8
    else:
        assert found is objects
    assert_as_plain(objects, painted(objects, (np.arange(objects.area.size) > 0).view(np.uint8), SHAPE), image, 2 * STD)


@pytest.mark.parametrize(("of_y", "of_x"), [(0, 0), (400, 0), (-900, 300)])
def test_the_unevenness_of_a_background_is_that_which_was_added(of_y, of_x):
    """Rounded to counts; a fourth of the frame is no background, and no surface is known beyond."""
    y, x = np.mgrid[-1:1:60j, -1:1:80j]
    added = of_y * y**2 + of_x * x
    background = np.ones((60, 80), bool)
    background[20:50, 20:60] = False
    values = np.where(background, 5000 + added, 60000)
    found = unevenness(np.rint(values).astype(np.uint16), background, -1)
    inside = background[:-4, :-4]  # of the last rows and columns not all are looked at
    assert np.abs(np.diff((found - added)[:-4, :-4][inside])).max() <= 1.01
    assert abs(int(np.median(found[background]))) <= 40  # a median of some of the pixels


def test_the_surface_of_a_background_does_not_run_away_where_none_is_seen():
    x = np.broadcast_to(np.linspace(-1, 1, 80), (60, 80))
    background = x < -0.5
    values = np.rint(5000 + 4000 * (x + 1) ** 2).astype(np.uint16)
    found = unevenness(values, background, -1)
    assert np.ptp(found) <= 1001
    assert unevenness(values, background, 1001) is None
    assert unevenness(values, x < -0.9, -1) is None


@pytest.mark.skipif(not T98G.exists(), reason="needs the T98G images")
@pytest.mark.parametrize("kind", ["vignette", "side"])
def test_unevenly_lit_real_cells_are_found_as_evenly_lit_ones(kind):
    """Frame 7: a vignette of 60 % used to end in a traceback, and light from one side to lose 6 of 52 cells."""
    image = tifffile.imread(T98G / "07_phase.tif")
    truth = cv2.imread(str(T98G / "07_cells.png"), cv2.IMREAD_UNCHANGED)
    y, x = (np.linspace(-1, 1, side) for side in image.shape)
    light = 1 - 0.3 * (x**2 + y[:, None] ** 2) if kind == "vignette" else np.broadcast_to(1 + 0.25 * x, image.shape)
    labels = [logstd.segment_frame(np.clip(image * of, 0, 65535).astype(np.uint16)) for of in (1.0, light)]
    even, uneven = (score(found, truth).right for found in labels)
    assert uneven >= 0.9 * even


def test_objects_that_a_white_cell_touches_lose_it_and_keep_what_is_a_cell():
    """A region holds a white cell, a dark one beside it, and the light between them."""
    white, dark = disk(SHAPE, 150, 100, 14), disk(SHAPE, 150, 136, 15)
    image = drawn(white)
    image[dark] -= 1000
    one = cv2.morphologyEx((white | dark).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8)).view(bool)
    _, found, cells = white_in(image, one)
    labels = painted(found, np.arange(found.area.size), SHAPE)
    assert found.area.size - 1 == len(FLAT) + 2
    assert max(objects_at(labels, white).values()) > 0.8
    assert max(objects_at(labels, dark).values()) > 0.8
    assert np.count_nonzero(cells.view(bool) & white) / np.count_nonzero(cells.view(bool) | white) > 0.8


def assert_as_plain(objects, regions, image, std, morph_size=7, min_size=50, max_size=10000):
    """The objects after the step are those of the plain rule, pixel by pixel; how many changed by it."""
    found, _ = with_white_cells(objects, regions, image, std, morph_size, min_size, max_size)
    number = painted(objects, np.where(objects.area > 0, np.arange(objects.area.size), 0), image.shape)
    expected = oracle(number > 0, regions > 0, image, std, morph_size, min_size, max_size)
    after = painted(found, np.where(found.area > 0, np.arange(found.area.size), 0), image.shape)
    np.testing.assert_array_equal(after > 0, expected)
    return int(((number > 0) != expected).sum())


@pytest.mark.parametrize("seed", range(8))
def test_cells_are_those_of_the_plain_rule(seed):
    """Round and oval ones, in twos with a bridge, cut by the edge, in regions of any shape around them."""
    rng = np.random.default_rng(seed)
    white, bridge, around = np.zeros((3, *SHAPE), bool)
    for _ in range(3):
        y, x = rng.integers([95, 0], [240, 240])
        radius, apart = rng.integers(7, 22), int(rng.integers(0, 30))
        white |= disk(SHAPE, y, x, radius) | disk(SHAPE, y, x + apart, radius)
        bridge[max(y - 5, 0) : y + 6, x : x + apart] = True
        around |= disk(SHAPE, y + int(rng.integers(-6, 7)), x + apart // 2, 1.6 * radius + apart / 2)
    image = drawn(white, bridge=bridge & ~white)
    regions = around.astype(np.uint8)
    for y, x in FLAT:
        regions |= disk(SHAPE, y, x, 15).view(np.uint8)
    assert assert_as_plain(components(regions), regions, image, 2 * STD) > 100


@pytest.mark.skipif(not T98G.exists(), reason="needs the T98G images")
def test_white_cells_of_real_frames_are_those_of_the_plain_rule(monkeypatch):
    given = []
    monkeypatch.setattr(
        logstd, "with_white_cells", lambda *of_frame: given.append(of_frame) or with_white_cells(*of_frame)
    )
    for frame in (1, 9, 11):
        logstd.segment_frame(tifffile.imread(T98G / f"{frame:02}_phase.tif"))
    assert min(assert_as_plain(*of_frame[:-1]) for of_frame in given) > 100


def test_a_white_cell_has_no_pixels_without_data():
    white = disk(SHAPE, 150, 120, 16)
    uncovered = np.zeros(SHAPE, bool)
    uncovered[:, 128:] = True
    labels = logstd.segment_frame(drawn(white), uncovered)
    assert not labels[uncovered].any()
    (share,) = objects_at(labels, white & ~uncovered).values()
    assert share > 0.7


def test_texture_alone_has_no_white_cells():
    image = textured(disk(SHAPE, 120, 120, 40))
    regions = disk(SHAPE, 120, 120, 40).view(np.uint8)
    objects = components(regions)
    assert with_white_cells(objects, regions, image, 9.0, 7, 50, 10000)[0] is objects


@pytest.mark.skipif(not T98G.exists(), reason="needs the T98G images")
def test_white_cells_outlined_by_hand_are_objects_of_their_own():
    """Bright round cells, chosen by eye: frame, and a pixel in them."""
    chosen = {1: [(366, 461)], 9: [(267, 707)], 11: [(526, 523)]}
    for frame, pixels in chosen.items():
        image = tifffile.imread(T98G / f"{frame:02}_phase.tif")
        cells = cv2.imread(str(T98G / f"{frame:02}_cells.png"), cv2.IMREAD_UNCHANGED)
        labels = logstd.segment_frame(image)
        for y, x in pixels:
            assert max(objects_at(labels, cells == cells[y, x]).values()) > 0.75


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    arrays(np.float32, st.integers(1, 60), elements=st.floats(-1000, 60000, width=32))
    | arrays(np.float64, st.integers(1, 60), elements=st.integers(0, 10**12))
    | arrays(np.uint16, st.integers(1, 60)),
    st.integers(0, 100),
)
def test_percentiles_are_those_of_numpy_to_the_last_digit(values, percent):
    assert percentile(values, percent) == float(np.percentile(values, percent))
