"""Cells from the flows of a network: pixels that lead to one place are one cell."""

import numpy as np
import pytest
from evaluation.label_movies import Settings, simulate
from onnx_tools import disks, helper, model_bytes, number, overlap, settings_with
from scipy import ndimage

from celltraces.errors import UserError
from celltraces.labels import left_out
from celltraces.segmentation import flows, onnx_model
from celltraces.segmentation.methods import segmenter

SIZES = {"threshold": 0.5, "diameter": 30, "min_area": 0, "debris": 0}
Y, X = np.indices((90, 130))


def flow_to(labels, *centers, length=5.0):
    """(2, H, W) float32: in each region unit vectors to its center, times length; 0 elsewhere."""
    flow = np.zeros((2, *labels.shape))
    for label, center in enumerate(centers, 1):
        here = labels == label
        flow[:, here] = np.subtract(np.reshape(center, (2, 1)), np.nonzero(here))
    return (length * flow / np.maximum(1, np.hypot(*flow))).astype(np.float32)


def found_in(labels, flow, shape=None, following=None, **changes):
    mask = (labels > 0).astype(np.float32)
    return flows.cells_of_flows(
        mask, flow, shape or labels.shape, following or flows.Following(), **{**SIZES, **changes}
    )


CENTERS = (30, 30), (30, 66), (60, 100), (65, 40)
TOUCHING = disks((90, 130), *((y, x, 18) for y, x in CENTERS))


@pytest.mark.parametrize("length", [1.0, 5.0, 40.0])  # as long as they are told to be, or not
def test_what_leads_to_one_place_is_one_cell(length):
    cells, rejected = found_in(TOUCHING, flow_to(TOUCHING, *CENTERS, length=length))
    np.testing.assert_array_equal(cells > 0, TOUCHING > 0)
    assert cells.max() == 4
    assert min(overlap(cells, TOUCHING)) == 1
    assert not rejected.any()
    first = [np.flatnonzero(cells == label)[0] for label in range(1, 5)]
    assert first == sorted(first)


def test_pixels_go_where_the_flow_takes_them_in_steps_of_a_pixel_at_most():
    inside = np.ones((20, 50), bool)
    right = np.zeros((2, 20, 50), np.float32)
    for length, step in ((5.0, 1.0), (2.5, 0.5), (50.0, 1.0)):
        right[1] = length
        places = flows.follow(right, inside, flows.Following(steps=12)).reshape(2, 20, 50)
        np.testing.assert_allclose(places[0], np.indices((20, 50))[0])
        np.testing.assert_allclose(places[1], np.minimum(49, np.arange(50) + 12 * step) * np.ones((20, 1)))


@pytest.mark.parametrize("seed", [1, 2])
def test_flows_of_cells_of_any_shape_give_them_back_in_noise(seed):
    """Simulated cells, some of which touch, with the flow that each of them has by itself."""
    truth = simulate(Settings(n_cells=20, n_frames=8, size=200, radius=13, length=1.8, waviness=0.1), seed).cells[0]
    truth = truth.astype(np.int32)
    flow = np.zeros((2, *truth.shape))
    flow[:, truth > 0] = 5 * flows.unit_vectors(flows.own_flow(truth))
    flow += np.random.default_rng(seed).normal(0, 1.5, flow.shape)
    cells, _ = found_in(truth, flow.astype(np.float32))
    assert cells.max() == len(np.unique(truth)) - 1
    assert min(overlap(cells, truth)) > 0.97
    enlarged, _ = found_in(truth, flow.astype(np.float32), (400, 400))
    assert enlarged.max() == cells.max()
    assert np.mean(overlap(enlarged, np.kron(truth, np.ones((2, 2), int)))) > 0.93


def test_a_regions_own_flow_leads_to_its_middle_and_never_out_of_it():
    """Of a disk straight to its centre; of a bent cell along it."""
    labels = disks((90, 130), (40, 30, 25)).astype(np.int32)
    ring = np.hypot(Y - 60, X - 90)
    bent = (ring > 14) & (ring < 26) & (X > 88)
    labels[bent] = 2
    own = np.zeros((2, *labels.shape))
    own[:, labels > 0] = flows.unit_vectors(flows.own_flow(labels))
    straight = flow_to(labels, (40, 30), (0, 0), length=1)
    disk = (labels == 1) & (np.hypot(Y - 40, X - 30) > 3)
    assert (own * straight).sum(axis=0)[disk].min() > 0.95
    places = flows.follow(own, labels > 0, flows.Following(length=1.0))
    end = places[:, labels[labels > 0] == 2]
    assert np.ptp(end, axis=1).max() < 4
    assert bent[tuple(np.rint(end).astype(int))].all()


def test_objects_whose_flows_do_not_fit_their_shape_are_left_out_and_holes_are_filled(caplog):
    flow = flow_to(TOUCHING, *CENTERS[:2], (60, 116), CENTERS[3])  # of the third to its rim
    wrong = TOUCHING == 3
    labels = TOUCHING.astype(np.int32)
    labels[62:67, 30:35] = 0  # a hole, which the flow of this cell goes around
    flow[:, labels == 4] = flows.own_flow(labels)[:, labels[labels > 0] == 4]
    with caplog.at_level("INFO", "celltraces"):
        cells, rejected = found_in(labels, flow)
        assert "objects are left out, since their flows lead elsewhere" in caplog.text
    np.testing.assert_array_equal(cells > 0, (TOUCHING > 0) & ~wrong)
    assert not rejected.any()
    lenient, _ = found_in(labels, flow, following=flows.Following(error=4))
    assert lenient[wrong].any()


def test_small_objects_are_told_and_strays_of_a_cell_are_not_part_of_it():
    labels = disks((90, 130), (40, 40, 18), (40, 90, 6)).astype(np.int32)
    labels[70:72, 100:102] = 3  # less than a sink needs
    cells, rejected = found_in(labels, flow_to(labels, (40, 40), (40, 90), (71, 101)), min_area=200)
    np.testing.assert_array_equal(cells > 0, labels == 1)
    np.testing.assert_array_equal(rejected == left_out.TOO_SMALL, labels == 2)
    assert all(ndimage.label(cells == label)[1] == 1 for label in range(1, cells.max() + 1))


@pytest.mark.parametrize("shape", [(90, 130), (180, 260), (45, 65)])
def test_nothing_in_nothing_out(shape):
    nothing = np.zeros((90, 130), int)
    cells, rejected = found_in(nothing, flow_to(nothing), shape)
    assert cells.shape == rejected.shape == shape
    assert not cells.any()
    assert not rejected.any()


# --------------------------------------------------------------------------------------------------------- .onnx files

SOBEL = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32)
NUMBERS = [
    number("down", SOBEL[None, None]),
    number("right", SOBEL.T[None, None]),
    number("half", 0.3),
    number("steep", 40),
]


def uphill(*more, from_="x"):
    """Nodes of a network whose flow goes to where it is brighter, and that takes what is brighter than 0.3 for cell."""
    return [
        helper.make_node("Conv", [from_, "down"], ["dy"], pads=[1] * 4),
        helper.make_node("Conv", [from_, "right"], ["dx"], pads=[1] * 4),
        helper.make_node("Sub", [from_, "half"], ["d"]),
        helper.make_node("Mul", ["d", "steep"], ["logit"]),
        *more,
    ]


THREE = helper.make_node("Concat", ["dy", "dx", "logit"], ["flow"], axis=1)
LENGTH = {"flow_length": "0.2", "margin": "8"}
MODELS = {
    "down, right, cell": model_bytes(uphill(THREE), {"flow": 3}, metadata_props=LENGTH, initializers=NUMBERS),
    "beside a mask": model_bytes(
        uphill(
            helper.make_node("Concat", ["dy", "dx"], ["flow"], axis=1), helper.make_node("Sigmoid", ["logit"], ["mask"])
        ),
        {"mask": 1, "flow": 2},
        metadata_props=LENGTH,
        initializers=NUMBERS,
    ),
    "with a style": model_bytes(
        uphill(THREE, helper.make_node("Neg", ["dy"], ["style"])),
        {"flow": 3, "style": 1},
        metadata_props=LENGTH,
        initializers=NUMBERS,
    ),
    "of two channels": model_bytes(
        [
            helper.make_node("Split", ["x"], ["first", "second"], axis=1),
            helper.make_node("Sub", ["first", "second"], ["f"]),
            *uphill(THREE, from_="f"),
        ],
        {"flow": 3},
        shape=(1, 2, "h", "w"),
        metadata_props=LENGTH,
        initializers=NUMBERS,
    ),
    "of one size": model_bytes(
        uphill(THREE), {"flow": 3}, shape=(1, 1, 64, 64), metadata_props=LENGTH, initializers=NUMBERS
    ),
}


def hills(centers, radius, shape):
    """A frame (H, W) uint16 in which each cell is brightest in its middle and has 0.3 of that at its rim."""
    y, x = np.indices(shape)
    height = np.max([1 - 0.7 * np.hypot(y - cy, x - cx) / radius for cy, cx in centers], axis=0)
    return np.rint(1000 + 8000 * np.clip(height, 0, None)).astype(np.uint16)


def segment_with(tmp_path, data, **changes):
    (tmp_path / "mine.onnx").write_bytes(data)
    return segmenter(str(tmp_path / "mine.onnx"), settings_with(**changes))


@pytest.mark.parametrize(
    ("name", "scale"), [*((name, None) for name in MODELS), ("down, right, cell", 0.5), ("of one size", 2.0)]
)
def test_a_model_that_gives_flows_labels_the_cells_whatever_its_tiles(tmp_path, monkeypatch, name, scale):
    frame = hills(CENTERS, 18, TOUCHING.shape)
    segment = segment_with(tmp_path, MODELS[name], segmentation_scale=scale)
    whole, _ = segment(frame)
    assert whole.max() == 4
    assert min(overlap(whole, TOUCHING)) > 0.85
    monkeypatch.setattr(onnx_model, "TILE", 64)
    np.testing.assert_array_equal(segment(frame)[0], whole)


def test_the_metadata_say_how_the_flow_is_followed(tmp_path):
    frame = hills(CENTERS, 18, TOUCHING.shape)
    slow = {"flow_length": "2"}
    for stated, n_cells in ((slow, 4), (slow | {"flow_steps": "1"}, 0), ({"flow_error": "0.00001"}, 0)):
        data = model_bytes(uphill(THREE), {"flow": 3}, metadata_props=LENGTH | stated, initializers=NUMBERS)
        assert segment_with(tmp_path, data)(frame)[0].max() == n_cells


def concat(*parts):
    return helper.make_node("Concat", list(parts), ["flow"], axis=1)


WRONG = {
    "two channels alone": (uphill(concat("dy", "dx")), {"flow": 2}, {}, "has 2 channels; allowed: 3 .flow down"),
    "three beside a mask": (
        uphill(THREE, helper.make_node("Sigmoid", ["logit"], ["mask"])),
        {"flow": 3, "mask": 1},
        {},
        "has 3 channels beside mask; allowed: .* 2 beside an output mask",
    ),
    "flow and edges": (
        uphill(THREE, helper.make_node("Sigmoid", ["logit"], ["edges"])),
        {"flow": 3, "edges": 1},
        {},
        r"has the output\(s\) flow, edges; allowed: mask, alone or with edges, distance or flow; or flow alone",
    ),
    "a probability for the cell": (
        uphill(helper.make_node("Sigmoid", ["logit"], ["p"]), concat("dy", "dx", "p")),
        {"flow": 3},
        {},
        "third channel of flow must be what a sigmoid makes a probability of.*output of its own, mask",
    ),
    "flows under another name": (
        [
            *uphill(),
            helper.make_node("Concat", ["dy", "dx", "logit"], ["out"], axis=1),
        ],
        {"out": 3},
        {},
        "must be probabilities.*or name the output flow if its channels are flow down, flow right and cell",
    ),
    "no number": (
        uphill(helper.make_node("Log", ["d"], ["ln"]), concat("dy", "ln", "logit")),
        {"flow": 3},
        {},
        "flow is not a number everywhere",
    ),
    "no length": (uphill(THREE), {"flow": 3}, {"flow_length": "0"}, "allowed: flow_length and flow_error more than 0"),
    "no steps": (uphill(THREE), {"flow": 3}, {"flow_steps": "0"}, "flow_steps 1 to 2000"),
    "steps in words": (uphill(THREE), {"flow": 3}, {"flow_steps": "many"}, "its metadata say flow_steps: 'many'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_flows_that_break_the_contract_are_one_line(tmp_path, case):
    nodes, outputs, stated, reason = WRONG[case]
    data = model_bytes(nodes, outputs, metadata_props=stated, initializers=NUMBERS)
    with pytest.raises(UserError, match=reason) as caught:
        segment_with(tmp_path, data)(hills(CENTERS, 18, TOUCHING.shape))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("params.segmentation_method: ")
