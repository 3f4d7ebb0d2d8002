"""Segmentation by a network: DeepSea's from the weights of its package, and ONNX models of the user's own."""

import hashlib
import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
from conftest import real_file
from onnx_tools import disks, onnx, overlap, settings_with
from scipy import ndimage, special
from test_plan import MOVIE

import find_scale
import segment_cells
from celltraces.errors import UserError
from celltraces.labels import left_out, regions
from celltraces.planning import resources
from celltraces.preview import frames
from celltraces.runs import summary
from celltraces.segmentation import deepsea, floating, learned, onnx_model, parting
from celltraces.segmentation.methods import segmenter
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing
from celltraces.storage.torch_file import read_weights
from demo.simulate import simulate

pytest.importorskip("onnxruntime", reason="onnxruntime has no wheel for Macs with Intel processors")


# ------------------------------------------------------------------------------------------------------ the network


def convolved(x, weight, bias):
    """(c, h, w) -> (k, h, w), zeros beyond the edge."""
    rim = weight.shape[-1] // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, [(0, 0), (rim, rim), (rim, rim)]), weight.shape[-2:], (1, 2)
    )
    return np.einsum("chwij,kcij->khw", windows, weight, optimize=True) + bias[:, None, None]


def normalized(x, part, w):
    scale = w[f"{part}.weight"] / np.sqrt(w[f"{part}.running_var"] + 1e-5)
    shifted = x - w[f"{part}.running_mean"][:, None, None]
    return np.maximum(shifted * scale[:, None, None] + w[f"{part}.bias"][:, None, None], 0)


def block(x, part, w):
    def layer(x, name):
        return convolved(x, w[f"{part}.{name}.weight"], w[f"{part}.{name}.bias"])

    inner = layer(normalized(layer(x, "double_conv.0"), f"{part}.double_conv.1", w), "double_conv.4")
    return normalized(inner + layer(x, "conv1d"), f"{part}.bn", w)


def halved(x):
    return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4))


def doubled(x):
    return np.stack([ndimage.zoom(part, 2, order=1, grid_mode=True, mode="nearest") for part in x])


def network(x, w):
    """DeepSea's network as its authors wrote it (dropout does nothing when it is used), in NumPy and SciPy."""
    first = block(x, "res1", w)
    second = block(halved(first), "res2", w)
    third = block(halved(second), "res3", w)
    second = block(np.concatenate([second, doubled(third)]), "res4", w)
    first = block(np.concatenate([first, doubled(second)]), "res5", w)
    return {
        name: special.softmax(convolved(first, w[f"{part}.weight"], w[f"{part}.bias"]), 0)[1]
        for name, part in (("mask", "conv3"), ("edges", "conv4"))
    }


@pytest.fixture(scope="module")
def weights():
    return read_weights(deepsea.weights_file())


@pytest.fixture(scope="module")
def network_model():
    return onnx_model.load_model(deepsea.deepsea_model(), "deepsea", 1)


def textured(height, width, seed=0):
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(picture / picture.std() / 3, -1, 1)


def test_the_graph_computes_what_the_network_is(weights):
    picture = textured(36, 44)
    expected = network(picture[None].astype(np.float64), {name: w.astype(np.float64) for name, w in weights.items()})
    model = deepsea.build_model(weights)
    onnx.checker.check_model(model)
    found = onnx_model.load_model(model.SerializeToString(), "deepsea", 1).run(picture)
    assert set(found) == {"mask", "edges"}
    for name, values in expected.items():
        assert values.std() > 0.01  # it sees something
        np.testing.assert_allclose(found[name], values, atol=1e-4)


def test_all_weights_are_used(weights):
    asked = set()

    class Asked(dict):
        def __getitem__(self, name):
            asked.add(name)
            return super().__getitem__(name)

    deepsea.build_model(Asked(weights))
    assert asked == {name for name in weights if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("of", ["simulated", "real"])
def test_the_network_in_bytes_sees_what_it_sees_in_floats(weights, network_model, request, of):
    if of == "real":
        (frame, _), scale = request.getfixturevalue("t98g")(1), 0.5
    else:
        # Cells that touch, since else the network sees no edges between cells, which are one of the two answers.
        frame, scale = simulate(n_fovs=1, n_frames=8, height=288, width=288, n_cells=40).plane(0, 0, 0), 1.0
    contract = network_model.contract
    picture = onnx_model.resized(onnx_model.stretched(frame, contract), scale, contract)[96:288, 96:288]
    floats = onnx_model.load_model(deepsea.build_model(weights).SerializeToString(), "deepsea", 1).run(picture)
    found = network_model.run(picture)
    for name, values in floats.items():
        assert np.ptp(values) > 0.2
        difference = np.abs(found[name] - values)
        assert 0 < difference.mean() < 0.005
        assert np.mean((found[name] > 0.35) != (values > 0.35)) < 0.005


@pytest.mark.parametrize("shape", [(201, 149), (96, 300)])
def test_tiles_give_what_the_whole_picture_gives(network_model, monkeypatch, shape):
    picture = textured(*shape)
    monkeypatch.setattr(onnx_model, "TILE", 1024)
    whole = onnx_model.run_tiled(network_model, picture)
    monkeypatch.setattr(onnx_model, "TILE", 96)
    tiled = onnx_model.run_tiled(network_model, picture)
    for name in ("mask", "edges"):
        assert whole[name].shape == shape
        np.testing.assert_allclose(tiled[name], whole[name], atol=1e-5)


@pytest.mark.parametrize("multiple", [1, 4, 32])
def test_tiles_cover_a_side_overlap_and_keep_to_the_grid(multiple):
    for margin in (0, 7, 32, 64, 128):
        contract = onnx_model.Contract(multiple=multiple, margin=margin)
        for side in range(multiple, 4000, multiple * 13):
            tile = onnx_model._tile(side, contract)
            strips = onnx_model._strips(side, tile, contract)
            assert tile % multiple == 0
            assert tile <= max(onnx_model.TILE, side if side <= onnx_model.TILE else 0) + multiple
            _, begins, ends = zip(*strips, strict=True)
            assert begins[0] == 0
            assert ends[-1] == side
            assert begins[1:] == ends[:-1]
            for start, begin, end in strips:
                assert start % multiple == 0
                assert 0 <= start <= start + tile <= side
                assert begin < end
                assert begin - start >= margin or start == 0
                assert start + tile - end >= margin or start + tile == side


def test_threads_change_no_byte():
    data, picture = deepsea.deepsea_model(), textured(200, 240)
    one, several = (onnx_model.run_tiled(onnx_model.load_model(data, "", n), picture) for n in (1, 3))
    assert {name: values.tobytes() for name, values in one.items()} == {
        name: values.tobytes() for name, values in several.items()
    }


@pytest.mark.parametrize(
    ("side", "scale", "used_mb", "s_per_megapixel"),
    [(512, 0.5, 376, 3.4), (2048, 0.35, 655, 2.4), (4096, 0.25, 1112, 1.1), (1024, 2, 778, 29)],
)
def test_a_job_asks_for_the_memory_and_time_that_the_network_was_seen_to_take(side, scale, used_mb, s_per_megapixel):
    """As measured on one thread; without a scale, one up to 1 is assumed.

    Slow machines take three times as long, those whose processors have no instructions for bytes thrice that.
    """
    fov = {"height": side, "width": side}
    movie = replace(MOVIE, channels=["Phase"], fovs=[fov], n_frames=100)
    for given in (scale, None) if scale <= 1 else (scale,):
        stage = resources.segmenting({"segmentation_method": "deepsea", "segmentation_scale": given})
        assert used_mb < resources.memory_mb(stage, movie, 0) < 4 * used_mb + 800
        needed = 100 * side**2 / 1e6 * s_per_megapixel / 60
        assert resources.runtime_min(stage, movie, 0) > 3 * 3 * needed
    assert resources.segmenting({"segmentation_method": "logstd"}) == "segment"


# ----------------------------------------------------------------------------------------------------- its weights


class Package:
    def __init__(self, folder):
        self.folder = folder

    def locate_file(self, path):
        return self.folder / path


def test_the_weights_are_those_that_were_tried():
    assert hashlib.sha256(deepsea.weights_file().read_bytes()).hexdigest() == (
        "cba54334577562e013edc15ec8c46ed5cabf5e2fee49477a433127d2e655b8c8"
    )


def test_weights_that_are_not_there_or_are_others_are_one_line(tmp_path, monkeypatch):
    file = tmp_path / deepsea.WEIGHTS
    data = bytearray(deepsea.weights_file().read_bytes())

    def refused(match):
        with pytest.raises(UserError, match=match) as caught:
            segmenter("deepsea", settings_with())
        line = str(caught.value)
        assert "\n" not in line
        assert line.startswith("params.segmentation_method: ")
        assert "`.venv/bin/pip install" in line
        assert "deepsea==0.0.3`" in line

    monkeypatch.setattr(metadata, "distribution", lambda name: Package(tmp_path))
    refused("cannot be read")
    file.parent.mkdir(parents=True)
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    refused("other weights")

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    refused("is not installed; run `make setup`")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_package_that_is_not_installed_is_one_line(monkeypatch, package):
    data = deepsea.deepsea_model()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"the package {package} is not installed; run `make setup`") as caught:
        onnx_model.load_model(data, "deepsea", 1)
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------------------- parting


def probabilities(labels, blur=1.0):
    return cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), blur)


def parted(*maps, debris=0.1, **settings):
    """The labels alone."""
    return parting.part_cells(*maps, debris=debris, **settings)[0]


@pytest.mark.parametrize("scale", [1, 2, 0.5])  # of the network's picture
def test_cells_that_touch_are_parted_at_the_neck(scale):
    shape = (160, 200)
    truth = disks(shape, (50, 50, 20), (50, 88, 20), (115, 60, 22), (120, 150, 18))
    mask = cv2.resize(probabilities(truth), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = parted(mask, None, None, shape, threshold=0.5, diameter=40 * scale, min_area=0)
    assert found.max() == 4
    assert min(overlap(found, truth)) > 0.85
    first = [np.flatnonzero(found == number)[0] for number in range(1, 5)]
    assert first == sorted(first)
    assert all(ndimage.label(found == number)[1] == 1 for number in range(1, 5))


def test_edges_part_cells_whose_outline_has_no_neck():
    truth = np.zeros((60, 90), int)
    truth[15:45, 10:45], truth[15:45, 45:80] = 1, 2
    edges = np.zeros(truth.shape, np.float32)
    edges[15:45, 42:48] = 0.9
    mask = probabilities(truth, 0.8)
    assert parted(mask, None, None, truth.shape, threshold=0.5, diameter=35, min_area=0).max() == 1
    found = parted(mask, edges, None, truth.shape, threshold=0.5, diameter=35, min_area=0)
    assert found.max() == 2
    assert min(overlap(found, truth)) > 0.9


def test_a_long_cell_is_not_cut():
    y, x = np.indices((80, 200))
    mask = probabilities(((y - 40) / 15) ** 2 + ((x - 100) / 80) ** 2 <= 1)
    assert parted(mask, None, None, mask.shape, threshold=0.5, diameter=37, min_area=0).max() == 1


@pytest.mark.parametrize("min_area", [0, 400])
@pytest.mark.parametrize("debris", [0, 0.12, 0.3])
def test_debris_and_what_is_smaller_than_asked_for_is_left_out_and_told(debris, min_area):
    truth = disks((100, 160), (40, 40, 18), (40, 90, 5), (40, 130, 9))
    mask = probabilities(truth, 0.5)
    settings = {"threshold": 0.5, "diameter": 37, "min_area": min_area, "debris": debris}
    found, rejected = parting.part_cells(mask, None, None, truth.shape, **settings)
    large = [np.pi * radius**2 > max(min_area, debris * np.pi * 18.5**2) for radius in (18, 5, 9)]
    assert [bool(found[40, x]) for x in (40, 90, 130)] == large
    assert [rejected[40, x] == left_out.TOO_SMALL for x in (40, 90, 130)] == [not kept for kept in large]
    np.testing.assert_array_equal((rejected > 0) | (found > 0), mask > 0.5)
    assert found.max() == sum(large)


def test_no_cells():
    nothing = np.zeros((20, 30), np.float32)
    found = parted(nothing, nothing, None, (40, 60), threshold=0.5, diameter=37, min_area=50)
    assert found.shape == (40, 60)
    assert not found.any()
    assert regions.typical_diameter(found) == 0


def test_the_typical_diameter_is_that_of_the_cells_and_not_of_many_small_parts():
    large = [(40, 40 + 90 * at, 30) for at in range(4)]
    small = [(100, 20 + 25 * at, 4) for at in range(12)]
    assert regions.typical_diameter(disks((120, 400), *large, *small)) == pytest.approx(60, abs=0.5)


# ------------------------------------------------------------------------------------------------ debris that floats


def movie_with_debris(seed, step=3, n_frames=8):
    """(labels, what of them is debris) of frames with 12 disks that move by up to `step` px, and specks, each in one
    frame only, in places where no cell is; one small cell stays from the first frame to the last."""
    rng = np.random.default_rng(seed)
    cells = [(50 + 80 * (at // 4), 40 + 70 * (at % 4), 6 if at == 5 else int(rng.integers(14, 20))) for at in range(12)]
    for frame in range(n_frames):
        cells = [(y + rng.integers(-step, step + 1), x + rng.integers(-step, step + 1), r) for y, x, r in cells]
        specks = [(10, 10 + 35 * frame, 4), (248, 290 - 35 * frame, 5)]
        labels = disks((260, 300), *cells, *specks)
        order = np.r_[0, rng.permutation(14) + 1]
        yield order[labels].astype(np.uint16), labels > 12


def few_cells_in_debris(n_frames=5):
    """(labels, what of them is debris) of frames with 3 cells that stay, and 8 specks that do not."""
    rng = np.random.default_rng(4)
    for frame in range(n_frames):
        cells = [(60 + frame, 50, 18), (60, 150 - frame, 14), (60, 250, 16)]
        specks = [(120 + 40 * (frame % 3), 15 + 20 * frame % 13 + 33 * at, int(rng.integers(4, 7))) for at in range(8)]
        labels = disks((260, 300), *cells, *specks)
        yield labels.astype(np.uint16), labels > 3


def with_rejected(frames):
    return [(labels, np.zeros(labels.shape, np.uint8)) for labels, _ in frames]


@pytest.mark.parametrize("seed", range(3))
def test_specks_of_one_frame_are_left_out_and_told(seed):
    movie = list(movie_with_debris(seed))
    missing = with_rejected(movie)
    missing[3] = None
    for given in (with_rejected(movie), missing):
        settled = list(floating.without_floating(given))
        assert len(settled) == len(movie)
        for found, (labels, debris) in zip(settled, movie, strict=True):
            if found is None:
                continue
            np.testing.assert_array_equal(found[0] > 0, (labels > 0) & ~debris)
            np.testing.assert_array_equal(found[1] == left_out.TOO_SMALL, debris)
            assert set(np.unique(found[0])) == set(range(13))
    assert [at for at, found in enumerate(settled) if found is None] == [3]


def test_specks_are_left_out_where_they_are_more_than_the_cells():
    movie = list(few_cells_in_debris())
    for found, (labels, debris) in zip(floating.without_floating(with_rejected(movie)), movie, strict=True):
        np.testing.assert_array_equal(found[0], np.where(debris, 0, labels))


def test_nothing_floats_where_cells_move_too_far_or_no_neighbour_is_there():
    far = with_rejected(movie_with_debris(0, step=60))
    lone = [None, with_rejected(movie_with_debris(1))[0], None]
    empty = [(np.zeros((9, 9), np.uint16), np.zeros((9, 9), np.uint8))] * 2
    for given in (far, lone, empty, [], [None]):
        for before, after in zip(given, floating.without_floating(given), strict=True):
            assert before is after


def test_nothing_floats_where_all_of_a_frame_is_small():
    """Beside frames with a large cell, so that no object of it tells whether cells stay where they are."""
    small, large = np.zeros((60, 60), np.uint16), np.zeros((60, 60), np.uint16)
    small[2:5, 2:5], large[20:50, 20:50] = 1, 1
    assert not len(floating.find_floating(small, [large]))


def test_frames_of_unrelated_places_lose_no_cell(t98g):
    """T98G frames, in which a network sees most cells: as if they were a movie, which they are not."""
    truth = [t98g(number)[1] for number in (1, 4, 7, 10)]
    given = [
        (np.unique(one, return_inverse=True)[1].reshape(one.shape), np.zeros(one.shape, np.uint8)) for one in truth
    ]
    for before, after in zip(given, floating.without_floating(given), strict=True):
        assert before is after


# ------------------------------------------------------------------------------------------------------ real cells


def seg_measure(found, truth):
    """SEG of the Cell Tracking Challenge: of each cell the Jaccard index with the region that covers most of it."""
    table = np.zeros((truth.max() + 1, found.max() + 1), np.int64)
    np.add.at(table, (truth.ravel(), found.ravel()), 1)
    scores = []
    for cell in range(1, len(table)):
        area = table[cell].sum()
        best = int(table[cell, 1:].argmax()) + 1 if table.shape[1] > 1 else 0
        covers = best and 2 * table[cell, best] > area
        if area:
            scores.append(table[cell, best] / (area + table[:, best].sum() - table[cell, best]) if covers else 0.0)
    return scores


@pytest.fixture(scope="module")
def t98g():
    def read(number):
        return (
            tifffile.imread(real_file(f"t98g/{number:02d}_phase.tif")),
            cv2.imread(str(real_file(f"t98g/{number:02d}_cells.png")), cv2.IMREAD_UNCHANGED).astype(int),
        )

    return read


def test_t98g_cells(t98g):
    """SEG of 2 of 12 frames (`make evaluate`: of all); DeepSea's own program has 0.63, on others."""
    segment = segmenter("deepsea", settings_with(segmentation_scale=0.5))
    scores, n_found = [], 0
    for number in (4, 10):
        frame, truth = t98g(number)
        found, _ = segment(frame)
        n_found += found.max()
        scores += seg_measure(found, truth)
    assert np.mean(scores) > 0.73
    assert n_found == pytest.approx(len(scores), rel=0.1)


@pytest.mark.parametrize(("resized", "scale"), [(0.5, 1.0), (1.0, 0.5), (2.0, 0.25)])
def test_the_scale_is_found_by_the_size_of_the_cells(t98g, network_model, resized, scale):
    frame = t98g(1)[0][300:700, 300:700]
    frame = cv2.resize(frame, None, fx=resized, fy=resized, interpolation=cv2.INTER_AREA)
    search = learned.ScaleSearch(network_model)
    assert not search(frame).any()
    found = search.scale()
    assert scale / 1.42 < found < scale * 1.42


@pytest.mark.parametrize(("finer", "told"), [(2.0, True), (1.0, False)])
def test_scales_that_contradict_each_other_are_told_at_the_end_of_the_run(caplog, tmp_path, finer, told):
    """Disks that are 40 px wide in the frame as seen at scale 0.5, and 10 or 20 px as seen at a finer one."""
    search = learned.ScaleSearch(SimpleNamespace(contract=onnx_model.Contract(diameter=40.0)))
    y, x = np.mgrid[:100, :400]
    for scale, width in ((0.5, 20), (finer, 20 if told else 30)):
        labels = sum((n + 1) * (np.hypot(y - 49.5, x - 29.5 - 60 * n) < width / 2) for n in range(6))
        search.found[scale].append((labels, 0.06))
    with caplog.at_level("WARNING", logger="celltraces"):
        assert search.scale() == 1
    log = tmp_path / "movie" / "find_scale.log"
    log.parent.mkdir()
    log.write_text("\n".join(record.getMessage() for record in caplog.records))
    expected = (
        "movie: segmentation_scale: cells may be 40 px wide, as it is taken, or 10 px; look at the preview, and set "
        "params.segmentation_scale to 1 or 2"
    )
    assert summary.said([str(log)], 0) == [expected] * told


@pytest.mark.parametrize(
    ("pixel_size", "width", "scale", "told"),
    [
        (None, 40, 0.5, False),
        (None, 56, 0.5, False),  # 0.3536 is nearer, but sees fewer
        (None, 64, 0.3536, False),
        (0.65, 40, 0.5, False),
        (0.65, 64, 0.5, False),  # 0.3536 by the cells, a step beside
        (0.65, 29, 0.5, False),
        (0.325, 40, 0.5, False),  # 0.25 by pixels: cells decide
        (0.1, 40, 0.5, True),
        (6.5, 40, 0.5, True),
        (0.65, 160, 0.125, False),
        (0.65, 5, 2.0, False),
        (2.6, 160, 0.125, True),
        (0.65, None, 0.5, False),  # no cells
        (None, None, None, False),
    ],
)
def test_the_pixel_size_is_a_first_guess_that_the_size_of_cells_corrects(caplog, pixel_size, width, scale, told):
    """Cells so wide in a frame, px, by a network that knows those of 20 px, and best sees pixels of 1.3 um."""
    model = SimpleNamespace(contract=onnx_model.Contract(diameter=20.0, pixel_size=1.3))
    search = learned.ScaleSearch(model, pixel_size)
    if width:
        y, x = np.mgrid[: width + 20, : 6 * (width + 20)]
        middle = width / 2 + 10
        labels = sum((n + 1) * (np.hypot(y - middle, x - middle - n * (width + 20)) < width / 2) for n in range(6))
        search.found[1.0].append((labels, 0.06))
    with caplog.at_level("WARNING", logger="celltraces"):
        assert search.scale() == scale
    assert ("by pixels of" in caplog.text) == told


def test_a_network_that_knows_pixels_alone_is_scaled_by_them():
    model = SimpleNamespace(contract=onnx_model.Contract(pixel_size=0.5))
    assert learned.ScaleSearch(model, 0.25).scale() == 0.5
    assert learned.ScaleSearch(model).scale() == 1


def test_all_frames_together_decide_on_the_scale(t98g, network_model):
    """Also where some of them are blank, or hold no cells."""
    frame = t98g(1)[0][300:700, 300:700]
    noise = np.random.default_rng(0).normal(8000, 100, frame.shape).astype(np.uint16)
    search = learned.ScaleSearch(network_model)
    search(np.full_like(frame, 5))
    assert search.scale() is None
    search(noise)
    search(frame)
    assert search.scale() == 0.5


def test_fovs_are_segmented_at_the_scale_of_the_dataset(tmp_path, monkeypatch, t98g):
    """The scale is found on frames spread over FOVs and time, one of which cannot be read, and used by each FOV."""
    frame = t98g(1)[0][300:700, 300:700]
    asked = []

    @contextmanager
    def opened(path, _):
        def read(fov, at, channels, z):
            asked.append((fov, at))
            if fov == 1:
                raise UserError("damaged")
            return [frame if fov == 0 else np.full_like(frame, 9)]

        read.uncovered = lambda fov, at, channel, z: ()
        yield read

    monkeypatch.setattr(frames, "open_movie", opened)
    output, looked_at = tmp_path / "scale.json", [[0, 0], [1, 3], [2, 6]]
    reading = {"channel": 0, "planes": [None], "pyme": {}}
    find_scale.main("x.nd2", str(output), "deepsea", frames=looked_at, **reading)
    assert asked == [(0, 0), (1, 3), (2, 6)]
    assert json.loads(output.read_text()) == {"segmentation_scale": 0.5}
    for fov, image in enumerate((frame, cv2.resize(frame, None, fx=2, fy=2))):
        with writing(tmp_path / f"in/{fov}", (1, *image.shape), np.uint16, PIXELS) as append:
            append(image)
        places = (str(tmp_path / f"in/{fov}"), str(tmp_path / f"out/{fov}"))
        segment_cells.main(*places, segmentation_method="deepsea", scale=str(output), **settings_with())
        assert open_frames(tmp_path / f"out/{fov}").attributes["segmentation_scale"] == 0.5


def test_a_movie_is_labelled_at_one_scale_which_is_recorded(tmp_path, t98g):
    """The stage on a movie of which one frame is missing and one empty."""
    frame, truth = (part[300:700, 300:700] for part in t98g(1))
    source = tmp_path / "in/0"
    with writing(source, (3, *frame.shape), np.uint16, PIXELS, attributes={"missing_frames": [1]}) as append:
        append(np.full_like(frame, 5000))
        append(np.zeros_like(frame))
        append(frame)
    segment_cells.main(str(source), str(tmp_path / "out/0"), segmentation_method="deepsea", **settings_with())
    labels = open_frames(tmp_path / "out/0")
    assert not labels.read(0).any()
    assert not labels.read(1).any()
    found = labels.read(2).astype(int)
    assert np.mean(seg_measure(found, np.unique(truth, return_inverse=True)[1].reshape(truth.shape))) > 0.55
    assert labels.attributes["segmentation_scale"] in (0.3536, 0.5, 0.7071)


def test_a_recipe_may_prepare_the_frames(tmp_path, t98g):
    (tmp_path / "r.yaml").write_text("- filters.MedianFilter:\n    inputName: input\n    outputName: output\n")
    frame = t98g(1)[0][:300, :300]
    settings = settings_with(segmentation_scale=0.5)
    try:
        segment = segmenter("deepsea", settings, str(tmp_path / "r.yaml"))
    except UserError as error:
        pytest.fail(str(error))
    assert segment(frame)[0].max() > 2
