"""Recipes: what they do to an image, against plain definitions, and what is said of those that cannot be run."""

import numpy as np
import pytest
import yaml
from conftest import small_config
from hypothesis import given
from hypothesis import strategies as st

from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.pyme.recipe import LABELS, MODULES, read_recipe
from celltraces.segmentation.methods import numbered_in_raster_order, segmenter

FULL = """
- processing.Label: {inputName: mask, outputName: out_cells, minRegionPixels: 4}
- filters.GaussianFilter: {inputName: input, outputName: smooth, sigmaX: 2, sigmaY: 1.0, dimensionality: XY}
- SimpleThreshold: {inputName: smooth, outputName: mask, threshold: 120}
"""


@pytest.fixture
def recipe(tmp_path):
    def read(content):
        path = tmp_path / "r.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return read_recipe(path)

    return read


def chain(*modules):
    """A recipe of these modules in a row."""
    names = ["input", *(f"m{at}" for at in range(len(modules) - 1)), "output"]
    return [
        {name: {"inputName": first, "outputName": second, **parameters}}
        for (name, parameters), first, second in zip(modules, names[:-1], names[1:], strict=True)
    ]


def scene(shape=(30, 50), seed=0):
    image = np.random.default_rng(seed).poisson(100, shape)
    image[4:12, 5:20] += 80
    image[7:9, 9:12] -= 80
    image[15:18, 40:44] += 90
    return image.astype(np.uint16)


def test_modules_in_any_order_by_their_names(recipe):
    found = recipe(FULL)
    assert [step.name for step in found.steps] == ["GaussianFilter", "SimpleThreshold", "Label"]
    assert (found.source, found.target, found.makes) == ("input", "out_cells", LABELS)
    labels = numbered_in_raster_order(found.run(scene()))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert labels[5, 6] == 1
    assert labels[16, 41] == 2


def kernel(sigma):
    """Gaussian to 4 sigma, of unit sum."""
    x = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    bell = np.exp(-(x**2) / (2 * sigma**2))
    return bell / bell.sum()


def test_x_is_along_the_rows(recipe):
    point = np.zeros((31, 31), np.uint16)
    point[15, 15] = 10_000
    found = recipe(chain(("filters.GaussianFilter", {"sigmaX": 3, "sigmaY": 1}))).run(point)
    expected = 10_000 * np.outer(np.pad(kernel(1), 11), np.pad(kernel(3), 3))
    np.testing.assert_allclose(found, expected, atol=0.01)


def plain_median(image, width, height):
    padded = np.pad(image, ((height // 2,) * 2, (width // 2,) * 2), mode="symmetric")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, (height, width)), axis=(2, 3))


def test_median(recipe):
    found = recipe(chain(("MedianFilter", {"sizeX": 5, "sizeY": 3.0, "sizeZ": 9}))).run(scene())
    np.testing.assert_array_equal(found, plain_median(scene(), 5, 3))


def grown(mask, radius, times):
    """Pixels within reach of the mask, step by step."""
    for _ in range(times):
        places, result = np.argwhere(mask), np.zeros_like(mask)
        for y, x in np.ndindex(mask.shape):
            result[y, x] = len(places) and ((places - [y, x]) ** 2).sum(axis=1).min() <= radius**2
        mask = result
    return mask


@given(st.integers(0, 3), st.integers(1, 2), st.integers(0, 99))
def test_binary_modules(radius, times, seed):
    mask = np.random.default_rng(seed).random((9, 11)) < 0.2
    settings = {"radius": radius, "iterations": times}
    work = {name: MODULES[name].work for name in ("BinaryDilation", "BinaryErosion", "BinaryFillHoles")}
    np.testing.assert_array_equal(work["BinaryDilation"](mask.astype("f4"), **settings), grown(mask, radius, times))
    framed = np.pad(~mask, radius * times, constant_values=True)  # what lies beyond the edge is no mask
    inner = np.s_[radius * times : framed.shape[0] - radius * times, radius * times : framed.shape[1] - radius * times]
    np.testing.assert_array_equal(
        work["BinaryErosion"](mask.astype("f4"), **settings), ~grown(framed, radius, times)[inner]
    )
    ring = np.zeros((9, 9), np.float32)
    ring[2:7, 2:7] = 1
    ring[3:6, 3:6] = 0
    filled = work["BinaryFillHoles"](ring, radius=1)
    assert filled[2:7, 2:7].all()
    assert filled.sum() == 25


@given(st.floats(0.05, 0.95), st.integers(0, 99))
def test_a_fraction_of_the_light(fraction, seed):
    """The mask holds this share of all light, to the light of the bins on both sides of its threshold (and 1/5000)."""
    image = np.random.default_rng(seed).uniform(0, 1000, (40, 50))
    mask = MODULES["FractionalThreshold"].work(image.astype(np.float32), fractionThreshold=fraction)
    of_bins = np.histogram(image, bins=5000, weights=image)[0]
    assert image[mask].sum() / image.sum() == pytest.approx(fraction, abs=2 * of_bins.max() / image.sum() + 2e-4)
    assert image[mask].min() > image[~mask].max()


def test_small_regions_are_no_cells():
    mask = np.zeros((6, 9), np.float32)
    mask[1, 1:4], mask[3:5, 5:7] = 1, 1
    assert MODULES["Label"].work(mask, minRegionPixels=3).max() == 1  # more than three
    assert MODULES["Label"].work(mask, minRegionPixels=1).max() == 2


def test_it_prepares_what_is_segmented(recipe, tmp_path):
    recipe(chain(("MedianFilter", {}), ("Projection", {"kind": "Max"})))
    plain = segmenter("logstd", {"min_object_size": 5})
    prepared = segmenter("logstd", {"min_object_size": 5}, str(tmp_path / "r.yaml"))
    expected = plain(plain_median(scene(), 3, 3).astype(np.uint16))
    for found, wanted in zip(prepared(scene()), expected, strict=True):  # labels, and what was left out
        np.testing.assert_array_equal(found, wanted)
    assert prepared(scene())[0].dtype == np.uint16


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=5).map(np.array))
def test_numbers_follow_the_first_pixels(labels):
    found = numbered_in_raster_order(labels)
    seen = list(dict.fromkeys(labels[labels > 0].tolist()))
    np.testing.assert_array_equal(found, np.vectorize(lambda value: seen.index(value) + 1 if value else 0)(labels))


LABEL = {"inputName": "input", "outputName": "output"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            [{"processing.Deconvolve": LABEL}],
            "the module 'processing.Deconvolve' is not supported; there are filters.G",
        ),
        ([{"os.system": LABEL}], "the module 'os.system' is not supported"),
        ([{"filters.Label": LABEL}], "the module 'filters.Label' is not supported"),
        ([{"Label": {**LABEL, "size": 3}}], "Label: the parameter 'size' is unknown; there are minRegionPixels, dimen"),
        (
            [{"Label": {**LABEL, "minRegionPixels": -1}}],
            "Label: minRegionPixels is '-1'; allowed: whole numbers from 0",
        ),
        ([{"GaussianFilter": {**LABEL, "sigmaX": True}}], "GaussianFilter: sigmaX is 'True'; allowed: numbers from 0"),
        ([{"GaussianFilter": {**LABEL, "sigmaX": float("nan")}}], "sigmaX is 'nan'; allowed: numbers from 0 to 200"),
        ([{"Projection": {**LABEL, "axis": 0}}], "Projection: axis is '0'; allowed: whole numbers from 2 to 2"),
        ([{"Projection": {**LABEL, "kind": "Std"}}], "Projection: kind is 'Std'; allowed: Mean, Sum, Max, Median, Min"),
        ([{"Label": {**LABEL, "inputName": "x"}}], "no module makes 'x'"),
        (
            [
                {"MedianFilter": {"inputName": a, "outputName": b}}
                for a, b in (("a", "b"), ("b", "a"), ("input", "out"))
            ],
            r"the modules that make a, b wait for each other \\(a cycle\\)",
        ),
        ([{"Label": {**LABEL, "outputName": "labels"}}], "0 images have a name that begins with 'out'"),
        ([{"Label": LABEL}, {"Label": LABEL}], "two modules make 'output'"),
        ([{"SimpleThreshold": LABEL}], "its result is a mask; end with processing.Label"),
        ({"a": 1}, "a recipe is a list of modules"),
        ([{"Label": None}], "Label: its parameters are no mapping"),
        ([3], "module 0 is not of the form"),
        ("a: [", "is no YAML"),
        ("- !!python/object/apply:os.system ['touch ran']\n", "is no YAML: could not determine a constructor"),
    ],
)
def test_what_cannot_be_run_is_one_line(recipe, tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said.replace("\\\\", "\\")) as raised:
        recipe(content)
    assert "r.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_a_config_names_it(movies, tmp_path):
    with pytest.raises(UserError, match=r"params\.recipe: the file 'no\.yaml' cannot be read"):
        complete(small_config(movies, params={"recipe": "no.yaml"}))
