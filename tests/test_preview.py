"""The preview: which parameters and frames it looks at, its numbers, its picture."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from preview_tools import config, plain_comparison
from scipy import ndimage
from skimage.segmentation import find_boundaries
from test_plan import DATASET, MOVIE

from celltraces.errors import UserError
from celltraces.pictures import draw
from celltraces.preview.comparison import (
    MERGED,
    NEW,
    agreement,
    agreements,
    compare_labels,
    in_common,
    labels_near_edge,
    of_other_methods,
    rows_as_csv,
    summarise,
)
from celltraces.preview.frame_choice import frames_to_try
from celltraces.preview.picture import FATES, LOST_COLOUR, TILE, detail, draw_detail
from celltraces.preview.sets import PARAMETERS, file_stem, parameter_sets, preview_mistakes, set_named
from celltraces.readers.movie_file import read_frame

# --------------------------------------------------------------------------------------------- parameters and frames


@settings(max_examples=30, deadline=None)
@given(
    window=st.integers(1, 50).map(lambda k: 2 * k + 1),
    size=st.integers(0, 50).map(lambda k: 2 * k + 1),
    iterations=st.integers(0, 50),
    smallest=st.integers(0, 10**6),
    largest=st.integers(1, 10**6),
)
def test_each_set_is_allowed_and_changes_one_value(window, size, iterations, smallest, largest):
    assume(smallest <= largest)
    params = dict(zip(PARAMETERS, (window, size, iterations, smallest, largest), strict=True))
    present = config(params=params)
    first, of_method, *others = parameter_sets(present)
    assert first == {"segmentation_method": "logstd", **params}
    assert of_method == {**first, "segmentation_method": "deepsea"}
    changed = [next(key for key in PARAMETERS if tried[key] != first[key]) for tried in others]
    for key, tried in zip(changed, others, strict=True):
        assert tried == {**first, key: tried[key]}
    assert max(map(changed.count, changed)) <= 2
    assert set(PARAMETERS[:3]) <= set(changed)
    # The same values, written out, are accepted and come back.
    values = {key: [tried[key] for tried in others if tried[key] != first[key]] for key in changed}
    written = config(params=params, vary={**values, "segmentation_method": ["deepsea"]})
    assert parameter_sets(written) == [first, of_method, *others]
    assert list(preview_mistakes(written, {})) == []


def test_values_of_ones_own():
    sets = parameter_sets(config(vary={"morph_size": [9, 3, 7, 3], "min_object_size": [10]}))
    assert [(tried["morph_size"], tried["min_object_size"]) for tried in sets] == [(7, 50), (3, 50), (9, 50), (7, 10)]


@pytest.mark.parametrize(("method", "count"), [("pyama", 0), ("cellpose", 2), ("deepsea", 2), ("logstd", 8)])
def test_only_parameters_that_the_method_uses_are_varied_beside_the_two_methods(method, count):
    tried = parameter_sets(config(method))
    methods = [method, *(name for name in ("logstd", "deepsea") if name != method)]
    assert [one["segmentation_method"] for one in tried] == methods + [method] * count


def test_methods_are_tried_in_the_order_written_beside_other_parameters():
    methods = ["cellpose", "logstd", "a/mine.onnx", "b/mine.onnx", "cellpose", "my_own.py:find"]
    written = config(vary={"segmentation_method": methods, "morph_size": [5]})
    tried = parameter_sets(written)
    assert [one["segmentation_method"] for one in tried] == [
        *("logstd", "cellpose", "a/mine.onnx", "b/mine.onnx", "my_own.py:find", "logstd")
    ]
    assert [one["morph_size"] for one in tried] == [7] * 5 + [5]
    names = [file_stem(one) for one in tried]
    assert len({name.lower() for name in names}) == len(names)
    for name, one in zip(names, tried, strict=True):
        assert re.fullmatch(r"[\w~,]{1,200}", name, re.ASCII)
        assert set_named(written, name) == one
    assert list(preview_mistakes(written, {})) == []


def test_nothing_is_tried_beside_a_recipe_that_labels_the_cells(tmp_path):
    file = tmp_path / "r.yaml"
    threshold = "- SimpleThreshold: {inputName: input, outputName: mask, threshold: 120}\n"
    for content, count in (
        ("- MedianFilter: {inputName: input, outputName: output}\n", 10),
        (threshold + "- processing.Label: {inputName: mask, outputName: output}\n", 1),
    ):
        file.write_text(content)
        assert len(parameter_sets(config(params={"recipe": str(file)}))) == count


def test_parameters_of_a_method_that_only_the_preview_tries_may_be_set():
    params = {"cellpose_diameter": 60, "segmentation_scale": 0.5}
    assert config(params=params, vary={"segmentation_method": ["cellpose", "deepsea"]})
    with pytest.raises(UserError, match="params.cellpose_diameter: segmentation_method logstd does not use it"):
        config(params=params, vary={"segmentation_method": ["deepsea"]})


@given(n=st.integers(1, 24), length=st.integers(1, 300))
def test_frames_are_spread_evenly(n, length):
    dataset = replace(DATASET, movie=replace(MOVIE, n_frames=length), fovs=(1,))
    frames = [frame for _, frame in frames_to_try(config(n_frames=n), dataset)]
    assert len(frames) == min(n, length)
    steps = np.diff(frames)
    assert (steps > 0).all()
    assert not len(steps) or np.ptp(steps) <= 1
    if n > 1 and length > 1:
        assert (frames[0], frames[-1]) == (0, length - 1)


def test_frames_known_to_be_missing_are_not_taken():
    fovs = [{**MOVIE.fovs[0], "missing": [[0, 0], [4, 0], [2, 1]]}]
    dataset = replace(DATASET, movie=replace(MOVIE, fovs=fovs), fovs=(0,))
    assert frames_to_try(config(), dataset) == [(0, 1), (0, 2), (0, 3)]
    assert frames_to_try(config(frames="0, 3-4", fovs="0"), dataset) == [(0, 0), (0, 3), (0, 4)]


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (
            {"vary": {"morph_size": [4]}},
            "preview.vary.morph_size.0: 4 is not allowed; allowed: at least 1, at most",
        ),
        ({"vary": {"morph_sise": [4]}}, "preview.vary.morph_sise: unknown key; did you mean morph_size?"),
        (
            {"vary": {"segmentation_method": ["logstd", "deapsea"]}},
            "preview.vary.segmentation_method.1: 'deapsea' is none of logstd, pyama, deepsea, cellpose, path/to/",
        ),
        ({"vary": {"morph_size": 5}}, "preview.vary.morph_size: 5 is a number; allowed: a list"),
        ({"vary": "all"}, "preview.vary: 'all' is text; allowed: a mapping or null, values tried"),
        (
            {"vary": {"morph_size": list(range(1, 19, 2))}},
            "preview.vary.morph_size: [1, 3, 5, 7, 9, 11, 13, 15, 17]",
        ),
        ({"n_frames": 0}, "preview.n_frames: 0 is not allowed; allowed: at least 1, at most 24"),
        ({"fovs": "x"}, "preview.fovs: 'x' is not allowed"),
    ],
)
def test_a_mistake_in_the_config_is_one_line(wanted, line):
    with pytest.raises(UserError) as caught:
        config(**wanted)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"vary": {"min_object_size": [9, 20000]}}, "preview.vary.min_object_size: 20000 makes min_object_size larger"),
        ({"vary": {"max_object_size": [9]}}, "preview.vary.max_object_size: 9 makes min_object_size larger than"),
        (
            {"vary": {key: [1, 3, 5, 7, 9, 11, 13] for key in ("morph_size", "morph_iterations", "min_object_size")}},
            "preview.vary: 19 values are too many for a picture; allowed: at most 15",
        ),
        ({"fovs": [2]}, "preview.fovs: FOV 2 is not in the file, which has FOVs 0 to 1 ('a.nd2')"),
        ({"frames": "0-5"}, "preview.frames: frame 5 is not in the file, which has frames 0 to 4 ('a.nd2')"),
    ],
)
def test_what_cannot_be_previewed_is_one_line(wanted, line):
    (found,) = dict.fromkeys(preview_mistakes(config(**wanted), {"a": DATASET}))
    assert found.startswith(line)


def test_a_method_without_parameters_is_not_varied():
    (line,) = preview_mistakes(config("pyama", vary={"morph_size": [5]}), {"a": DATASET})
    assert line == "preview.vary.morph_size: segmentation_method pyama does not use it; leave it out"


def test_more_frames_than_fit_on_a_picture():
    long = replace(DATASET, movie=replace(MOVIE, n_frames=100))
    (line,) = preview_mistakes(config(n_frames=13), {"a": long})
    assert line.startswith("preview: 26 frames are too many for a picture; allowed: at most 24")


@pytest.mark.workflow
def test_frames_are_read_as_the_copy_stage_would():
    stack = {0: np.uint16([[1, 9]]), 1: None, 2: np.uint16([[4, 2]])}
    read = lambda fov, frame, channels, z: [stack[z]]  # noqa: E731
    np.testing.assert_array_equal(read_frame(read, 0, 0, 0, [0, 1, 2]), [[4, 9]])
    assert read_frame(read, 0, 0, 0, [1]) is None


# ------------------------------------------------------------------------------------------------------------ numbers


label_images = hnp.arrays(np.uint16, (6, 7), elements=st.integers(0, 4))


@settings(max_examples=200)
@given(label_images, label_images)
def test_comparison_agrees_with_the_definitions(reference, labels):
    found, expected = compare_labels(reference, labels), plain_comparison(reference, labels)
    assert np.count_nonzero(found.areas) == expected["cells"]
    np.testing.assert_array_equal(found.areas, [(labels == k).sum() for k in range(1, int(labels.max()) + 1)])
    used = np.unique(labels[labels > 0])
    of_fate = {fate: {k for k in used.tolist() if found.fates[k] == fate} for fate in FATES}
    assert of_fate[MERGED] == expected["merged"]
    assert of_fate[NEW] == expected["new"]
    assert set(found.lost.tolist()) == expected["lost"]
    assert (found.same, found.split) == (len(expected["same"]), len(expected["split"]))
    assert found.present == len(np.unique(reference[reference > 0]))


def test_numbers_of_nothing_are_not_numbers():
    nothing = compare_labels(np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.uint16))
    numbers = summarise([nothing])
    assert (numbers["cells"], numbers["empty_frames_percent"]) == (0, 100)
    assert np.isnan([numbers["median_area"], numbers["merged_percent"], numbers["same_percent"]]).all()
    assert {key: value for key, value in numbers.items() if np.isfinite(value)} == {
        **{"frames": 1, "cells": 0, "covered_percent": 0, "empty_frames_percent": 100}
    }
    assert set(rows_as_csv([numbers]).splitlines()[1].split(",")) == {"0", "1", "100", "NaN"}


@settings(max_examples=200)
@given(label_images, label_images)
def test_cells_in_common_do_not_depend_on_which_is_compared_with_which(first, second):
    one, other = (
        [set(zip(*np.nonzero(labels == k), strict=True)) for k in np.unique(labels[labels > 0])]
        for labels in (first, second)
    )
    alike = [[2 * len(a & b) >= len(a | b) for b in other] for a in one]
    expected = min(sum(map(any, alike)), sum(map(any, zip(*alike, strict=True)))) if one and other else 0
    assert in_common(first, second) == in_common(second, first) == expected


def test_agreement_of_pairs():
    common = np.array([[0, 4, 0], [4, 0, 1], [0, 1, 0]])
    shares = agreements(common, [6, 4, 0])
    np.testing.assert_allclose(shares, [[np.nan, 80, 0], [80, np.nan, 50], [0, 50, np.nan]])
    assert agreement(shares[1]) == {
        **{"agreement_percent": 65, "agreement_least_percent": 50, "agreement_most_percent": 80}
    }
    assert np.isnan(list(agreement(agreements(np.zeros((1, 1), int), [3])[0]).values())).all()


def test_many_sets_of_one_method_do_not_outvote_another():
    alike, other, nothing = 90.0, 40.0, np.nan
    shares = np.full((5, 5), alike)  # three sets of logstd, deepsea, and a method that was not done
    shares[3, :3] = shares[:3, 3] = [other, other + 1, other + 2]
    shares[4] = shares[:, 4] = nothing
    np.fill_diagonal(shares, nothing)
    got = of_other_methods(shares, [*["logstd"] * 3, "deepsea", "cellpose"])
    assert np.argwhere(np.isfinite(got)).tolist() == [[0, 3], [1, 3], [2, 3], [3, 0], [3, 1], [3, 2]]
    assert [agreement(row)["agreement_percent"] for row in got[:4]] == [40, 41, 42, 41]
    np.testing.assert_array_equal(of_other_methods(shares[:3, :3], ["logstd"] * 3), shares[:3, :3])


@settings(max_examples=100)
@given(label_images, st.integers(0, 4), st.lists(st.tuples(*[st.integers(0, 5)] * 4), max_size=2))
def test_cells_near_the_edge(labels, margin, corners):
    boxes = [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in corners]
    outside = np.pad(np.zeros(labels.shape, bool), margin, constant_values=True)
    for y0, x0, y1, x1 in boxes:
        outside[margin + y0 : margin + y1, margin + x0 : margin + x1] = True
    near = ndimage.maximum_filter(outside, 2 * margin + 1)[margin:, margin:][: labels.shape[0], : labels.shape[1]]
    expected = np.setdiff1d(labels[near], [0]) if margin else []
    np.testing.assert_array_equal(labels_near_edge(labels, boxes, margin), expected)


# ------------------------------------------------------------------------------------------------------------ picture


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(20, 260), st.integers(20, 260)),
    size=st.integers(2, 30),
)
@settings(max_examples=25, deadline=None)
def test_the_detail_is_a_square_inside_the_image(seed, shape, size):
    rng = np.random.default_rng(seed)
    labels = np.zeros((3, *shape), np.uint16)
    for image in labels:
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        image[y : y + size, x : x + size] = 1
    y, x, side = detail([labels])
    assert 0 <= y <= y + side <= shape[0]
    assert 0 <= x <= x + side <= shape[1]
    assert side == min(max(96, round(12 * np.median((labels[0] == 1).sum() ** 0.5))), *shape)


def test_the_detail_shows_where_the_sets_differ():
    present, other = np.zeros((2, 400, 600), np.uint16)
    present[20:40, 20:40] = 1
    present[300:320, 500:520] = 2
    other[20:40, 20:40] = 1
    y, x, side = detail([[present, other]])
    assert y <= 300 < 320 <= y + side
    assert x <= 500 < 520 <= x + side


def test_outlines_in_the_picture_lie_on_the_borders_of_the_labels():
    reference, labels = np.zeros((2, 100, 100), np.uint16)
    reference[10:20, 10:20], reference[10:20, 24:34], reference[60:70, 60:70] = 1, 2, 3
    labels[10:20, 10:34], labels[80:90, 10:20] = 1, 2
    grey = np.full((100, 100), 128, np.uint8)
    found = compare_labels(reference, labels)
    picture = draw_detail(grey, reference, labels, found, (0, 0, 100))
    tile = TILE
    assert picture.shape == (tile, tile, 3)
    shown = draw.resize_labels(labels, (tile, tile))
    inner = find_boundaries(shown, connectivity=1, mode="inner")
    for label, fate in ((1, MERGED), (2, NEW)):
        coloured = (picture == FATES[fate][0]).all(axis=-1)
        assert (shown[coloured] == label).all()
        assert coloured[inner & (shown == label)].all()
        within = ndimage.binary_erosion(shown == label, iterations=3)
        assert (coloured & within).any()  # a sign: not by colour alone
    lost = (picture == LOST_COLOUR).all(axis=-1)
    assert lost.any()
    assert (draw.resize_labels(reference, (tile, tile))[lost] == 3).all()
    untouched = (shown == 0) & (draw.resize_labels(reference, (tile, tile)) != 3)
    assert (picture[untouched] == 128).all()
