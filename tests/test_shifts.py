"""Shift fields: read from every kind of file, applied, and estimated from beads, against displacements known before."""

import json
import pickle
import sys
import types

import numpy as np
import pytest
import tifffile
from conftest import small_config
from formats_tools import Bomb
from scipy.interpolate import SmoothBivariateSpline
from test_formats_pyme import spool

import estimate_shift_field
from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.planning.calibration import shifts_of
from celltraces.planning.datasets import plan_datasets
from celltraces.pyme import shift_field, spots
from celltraces.pyme.bead_shifts import estimate_shift
from celltraces.pyme.metadata import write_groups
from celltraces.pyme.spool import DEFAULTS
from celltraces.readers import child_process
from celltraces.storage.hdf5 import new_file

NM = 100.0  # size of a pixel
LIN3 = {"x0": 700.0, "mx": 40.0, "my": -90.0, "mx2": 15.0, "my2": -9.0, "mxy": 20.0}
LIN3 |= {"mxy2": 3.0, "mx2y": -4.0, "mx3": 2.0, "my3": 5.0}
OTHER = {name: -0.7 * value for name, value in LIN3.items()}
SHIFT = {"model": "lin3Model", "x": LIN3, "y": OTHER}
LIN2 = {"x0": -30.0, "mx": 0.003, "my": 0.001}
PLACES = np.random.default_rng(0).uniform(0, 60_000, (2, 50))  # nm


def lin3(x, y, c):
    """As its description has it."""
    x, y = x / 18000, y / 18000
    cubic = c["mxy2"] * x * y * y + c["mx2y"] * x * x * y + c["mx3"] * x**3 + c["my3"] * y**3
    return c["mx"] * x + c["my"] * y + c["mx2"] * x * x + c["my2"] * y * y + c["mxy"] * x * y + cubic + c["x0"]


def json_sf(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def shift_in(path, channel=1, **options):
    fields = shift_field.Fields(**child_process.call("celltraces.pyme.shift_field:read_fields", str(path), options))
    return shift_field.of_channel(fields, channel, str(path))


def test_the_json_kind(tmp_path):
    names = {"shiftModel": "PYME.Analysis.points.twoColour.lin3Model", "Chan01.X": LIN3, "Chan01.Y": OTHER}
    found = shift_in(json_sf(tmp_path / "a.sf", names))
    dx, dy = shift_field.shift_at(found, *PLACES)
    np.testing.assert_allclose(dx, lin3(*PLACES, LIN3))
    np.testing.assert_allclose(dy, lin3(*PLACES, OTHER))
    del names["Chan01.X"]["my3"]  # which the fit of PYME has not
    np.testing.assert_allclose(
        shift_field.shift_at(shift_in(json_sf(tmp_path / "a.sf", names)), *PLACES)[0],
        lin3(*PLACES, {**LIN3, "my3": 0.0}),
    )
    LIN3["my3"] = 5.0
    two = {"shiftModel": "a.lin2Model"} | {f"Chan{n:02d}.{axis}": LIN2 for n in (1, 2) for axis in "XY"}
    path = json_sf(tmp_path / "b.sf", two)
    np.testing.assert_allclose(
        shift_field.shift_at(shift_in(path, 2), *PLACES)[1], -30 + 0.003 * PLACES[0] + 0.001 * PLACES[1]
    )
    with pytest.raises(UserError, match=r"it has no Chan03; there are Chan01, Chan02"):
        shift_in(path, 3)
    assert shift_field.read_fields(json_sf(tmp_path / "c.sf", shift_field.to_json({4: SHIFT}))).shifts == {"4": SHIFT}


def test_the_hdf5_kind(tmp_path):
    columns = [(name, "<f4") for name in LIN3]
    with new_file(tmp_path / "a.sf") as file:
        file["shift_map"] = np.array([tuple(LIN3.values()), tuple(OTHER.values())], columns)
        write_groups(file, {"Multiview.shift_map.model": "PYME.Analysis.points.twoColour.lin3Model"})
        legend = pickle.dumps({"Chan01.X": 0, "Chan01.Y": 1}, 0)
        file["MetaData/Multiview/shift_map"].attrs["legend"] = np.bytes_(legend)
    dx, dy = shift_field.shift_at(shift_in(tmp_path / "a.sf"), *PLACES)
    np.testing.assert_allclose(dx, lin3(*PLACES, LIN3), rtol=1e-6)
    np.testing.assert_allclose(dy, lin3(*PLACES, OTHER), rtol=1e-6)


@pytest.fixture
def pyme_models(monkeypatch):
    """Classes of the names that PYME's pickles have."""
    module = types.ModuleType("PYME.Analysis.points.twoColour")
    for name in ("PYME", "PYME.Analysis", "PYME.Analysis.points"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("lin3Model", "lin2Model"):
        setattr(module, name, type(name, (), {"__module__": module.__name__}))

    def make(kind, coefficients):
        model = getattr(module, kind)()
        model.__dict__.update({key: np.float64(value) for key, value in coefficients.items()})
        return model

    return make


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_only_on_request(tmp_path, pyme_models, protocol):
    pair = (pyme_models("lin3Model", LIN3), pyme_models("lin3Model", OTHER))
    (tmp_path / "a.sf").write_bytes(pickle.dumps(pair, protocol))
    with pytest.raises(UserError, match="set allow_pickle_sf: true"):
        shift_in(tmp_path / "a.sf")
    found = shift_in(tmp_path / "a.sf", allow_pickle=True)
    np.testing.assert_allclose(shift_field.shift_at(found, *PLACES)[1], lin3(*PLACES, OTHER))


def test_pickled_splines(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 50_000, (2, 200))
    models = [SmoothBivariateSpline(x, y, np.sin(x / 20_000 + n) * 300, s=len(x)) for n in range(2)]
    (tmp_path / "a.sf").write_bytes(pickle.dumps(tuple(models)))
    found = shift_in(tmp_path / "a.sf", allow_pickle=True)
    for model, d in zip(models, shift_field.shift_at(found, *PLACES), strict=True):  # PLACES go beyond the knots
        np.testing.assert_allclose(d, model.ev(*PLACES), rtol=1e-9, atol=1e-6)


@pytest.mark.torture
def test_hostile_fields(tmp_path):
    """A call in a pickle, wherever it stands; numbers and sizes that make no sense: one line, and nothing done."""
    bomb = Bomb(tmp_path / "ran")
    cases = {
        "call.sf": (pickle.dumps(bomb), "names .*system, which is not run"),
        "pair.sf": (pickle.dumps((bomb, bomb)), "names .*system, which is not run"),
        "eval.sf": (b"c__builtin__\neval\n(S'1'\ntR.", "names __builtin__.eval, which is not run"),
        "memo.sf": (b"I1\np99999999999999\n.", "its pickle is no pair of models"),
        "long.sf": (b"\x8b\xff\xff\xff\x7f1.", "not a readable pickle"),
        "array.sf": (pickle.dumps((np.zeros(3, object), 1)), "names|array of type"),
        "text.sf": (b"hello", "not a readable pickle"),
        "model.sf": (b'{"shiftModel": "os.system", "Chan01.X": {}}', "its model 'os.system' is none of"),
        "empty.sf": (json.dumps({"shiftModel": "a.lin2Model"}).encode(), "no channel with both X and Y"),
        "half.sf": (json.dumps({"shiftModel": "a.lin2Model", "Chan01.X": LIN2}).encode(), "both X and Y"),
        "lacks.sf": (json.dumps({"shiftModel": "a.lin2Model", "Chan01.X": {"x0": 1}}).encode(), "Chan01.X has no mx"),
        "nan.sf": (
            json.dumps({"shiftModel": "a.lin2Model", "Chan01.X": {**LIN2, "mx": float("nan")}}).encode(),
            "Chan01.X, mx is no usable number",
        ),
        "deep.sf": (b'{"a":' * 100_000, "no readable shift field"),
        "hdf.sf": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "cannot be read|no readable shift field"),
    }
    many = [1.0] * 10
    for _ in range(30):
        many = [many] * 10  # 10 ** 31 values, and 31 lists
    cases["many.sf"] = (pickle.dumps((many, many)), "not a readable pickle")
    for name, (content, said) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=said) as raised:
            shift_in(tmp_path / name, allow_pickle=True)
        assert str(tmp_path / name) in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------------------------------------------------ applying


def seen(y, x):
    """What there is to see, at places in pixels of the reference."""
    return 3000 + 900 * np.sin(x / 9) * np.cos(y / 7) + 5 * x - 3 * y


def test_a_shifted_channel_lies_on_the_reference():
    """A channel shows at p what the reference shows at p + d(p); registered it shows what the reference shows."""
    y, x = np.mgrid[:160, :200].astype(float)
    dx, dy = (lin3(x * NM, y * NM, c) / NM for c in (LIN3, OTHER))
    assert 4 < np.abs(dx).max() < 20
    channel = np.rint(seen(y + dy, x + dx)).astype(np.uint16)
    found = shift_field.shifted(channel, shift_field.sources(SHIFT, y.shape, NM, "here"))
    inside = np.s_[20:-20, 20:-20]
    error = np.abs(found[inside] - seen(y, x)[inside])
    assert error.max() < 900 / 8 * (1 / 81 + 1 / 49) + 1  # how much linear interpolation and rounding may be off
    unregistered = np.abs(channel[inside] - seen(y, x)[inside])
    assert unregistered.max() > 300


def test_beyond_the_edge_is_as_on_it():
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    move = {"model": "lin2Model", "x": {**LIN2, "x0": 2 * NM, "mx": 0, "my": 0}, "y": dict.fromkeys(LIN2, 0)}
    found = shift_field.shifted(image, shift_field.sources(move, image.shape, NM, "here"))
    np.testing.assert_array_equal(found, image[:, [0, 0, 0, 1]])
    whole = {"model": "lin2Model", "x": dict.fromkeys(LIN2, 0), "y": dict.fromkeys(LIN2, 0)}
    np.testing.assert_array_equal(
        shift_field.shifted(image, shift_field.sources(whole, image.shape, NM, "here")), image
    )


def test_fields_that_make_no_sense():
    far = {"model": "lin2Model", "x": {**LIN2, "x0": 201 * NM}, "y": LIN2}
    with pytest.raises(UserError, match="here: it moves things by 202 px in images of 200 x 160 px"):
        shift_field.refuse_far(far, (160, 200), NM, "here")
    folding = {"model": "lin2Model", "x": {"x0": 0, "mx": -1.5, "my": 0}, "y": LIN2}
    with pytest.raises(UserError, match="here: the field folds the image"):
        shift_field.sources(folding, (160, 200), NM, "here")


@pytest.mark.parametrize(
    ("chroma", "content", "said"),
    [
        (
            {"2": "a.sf"},
            {"x0": 1e6, "mx": 0, "my": 0},
            "chroma.2: 'a.sf': it moves things by 1538 px in ",
        ),
        (
            {"1": "b.sf"},
            LIN2,
            "chroma.1: the file 'b.sf' does not exist; `snakemake --cores 1 shift_field` makes one from beads",
        ),
        ({"0": "a.sf"}, LIN2, "chroma.0: channel 0 is not among channels.fl"),
        ({"GFP": "a.sf", "1": "a.sf"}, LIN2, "chroma.GFP: channel 1 is named twice"),
        ({"X": "a.sf"}, LIN2, "chroma.X: no channel of"),
        *(
            ({"2": "a.sf"}, pickle.dumps((1, "a")[::step], protocol), "chroma.2: 'a.sf' is a pickle, which can run")
            for step, protocol in ((1, 0), (-1, 2), (1, 5))
        ),
        ({"2": "a.sf"}, b"# From microscopy to traces\n", "chroma.2: 'a.sf' is no shift field: it is neither JSON"),
        ({"2": "a.sf"}, b"", "chroma.2: 'a.sf' is no shift field: it is neither JSON"),
    ],
)
def test_what_a_config_may_say_wrong(movies, tmp_path, monkeypatch, chroma, content, said):
    monkeypatch.chdir(tmp_path)
    both = {"shiftModel": "a.lin2Model", "Chan02.X": content, "Chan02.Y": content}
    (tmp_path / "a.sf").write_bytes(content if isinstance(content, bytes) else json.dumps(both).encode())
    with pytest.raises(UserError) as raised:
        config = complete(small_config(movies, chroma=chroma))
        shifts_of(config, plan_datasets(config))
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


# ---------------------------------------------------------------------------------------------------------- estimating


def bead_pictures(shift, n_beads, shape=(300, 360), sigma=1.4, seed=0):
    """Two channels (2, H, W): beads in the reference, and the same where the channel shows them; some in one alone."""
    rng = np.random.default_rng(seed)
    places = rng.uniform([8, 8], [shape[1] - 8, shape[0] - 8], (n_beads, 2))  # in the channel
    dx, dy = (lin3(*(places.T * NM), shift[axis]) / NM for axis in "xy")
    moved = places + np.stack([dx, dy], axis=1)
    y, x = np.mgrid[: shape[0], : shape[1]]
    images = []
    for own in (moved, places):
        own = np.concatenate([own[: int(0.95 * n_beads)], rng.uniform(0, min(shape), (n_beads // 20, 2))])
        image = np.full(shape, 100.0)
        for bead_x, bead_y in own:
            rows, columns = (slice(max(int(at) - 8, 0), int(at) + 9) for at in (bead_y, bead_x))
            square = (x[rows, columns] - bead_x) ** 2 + (y[rows, columns] - bead_y) ** 2
            image[rows, columns] += 400 * np.exp(-square / (2 * sigma**2))
        images.append(rng.poisson(image))
    return np.stack(images).astype(np.uint16)


def estimated(images, n_fovs=1):
    found = [[spots.find_beads(image, 1.5) for image in pictures] for pictures in images]
    return estimate_shift([tuple(beads) for beads in found], images[0].shape[1:], NM)


@pytest.mark.parametrize("seed", range(3))
def test_a_field_is_recovered_from_beads(seed):
    shift, used, distance = estimated([bead_pictures(SHIFT, 150, seed=2 * seed + n) for n in range(2)])
    assert used > 150
    assert distance < 0.1
    y, x = np.mgrid[10:290:15, 10:350:15] * NM
    for d, c in zip(shift_field.shift_at(shift, x, y), (LIN3, OTHER), strict=True):
        assert np.abs(d - lin3(x, y, c)).max() / NM < 0.1


def test_with_few_beads_the_field_is_linear():
    few = {name: value if name in ("x0", "mx", "my") else 0.0 for name, value in LIN3.items()}
    linear = {"model": "lin3Model", "x": few, "y": {name: -value for name, value in few.items()}}
    shift, used, _ = estimated([bead_pictures(linear, 25, seed=4)])
    assert used < 40
    assert shift["x"]["mx3"] == 0
    y, x = np.mgrid[40:260:20, 40:320:20] * NM
    assert np.abs(shift_field.shift_at(shift, x, y)[0] - lin3(x, y, few)).max() / NM < 0.1
    assert estimated([np.random.default_rng(0).poisson(100, (2, 300, 360))]) is None


def test_a_file_without_a_pixel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", bead_pictures(SHIFT, 9), photometric="minisblack", metadata={"axes": "CYX"})
    known = {"reference": 0, "channels": None, "bead_sigma": 1.5, "pyme": DEFAULTS}
    with pytest.raises(UserError, match=r"does not say how large a pixel is; set params\.pixel_size_um"):
        estimate_shift_field.main(str(tmp_path / "a.sf"), str(tmp_path / "a.tif"), **known, pixel_size_um=None)
    with pytest.raises(UserError, match=r"in channel 1, of which fewer than 8 match"):
        estimate_shift_field.main(
            str(tmp_path / "a.sf"), str(tmp_path / "a.tif"), **{**known, "bead_sigma": 9}, pixel_size_um=0.1
        )
    with pytest.raises(UserError, match="channel 'GFP' is not in .*; its channels are 0: C0, 1: C1"):
        estimate_shift_field.main(
            str(tmp_path / "a.sf"), str(tmp_path / "a.tif"), **{**known, "channels": ["GFP"]}, pixel_size_um=0.1
        )


def test_beads_in_a_movie_of_the_microscope(tmp_path):
    """A spool with two channels and three z planes, of which one shows the beads."""
    pictures = bead_pictures(SHIFT, 150)
    frames = np.stack([np.full_like(pictures, 100), pictures, np.full_like(pictures, 90)], axis=1)  # C, Z
    sizes = {"SizeC": 2, "SizeZ": 3, "SizeT": 1}
    metadata = {"voxelsize.x": NM / 1000}
    frames = frames.transpose(0, 1, 3, 2).reshape(6, *pictures.shape[:0:-1])
    spool(tmp_path / "a.h5", frames, sizes=sizes, order="XYZTC", metadata=metadata)
    known = {"reference": "C0", "channels": [1], "bead_sigma": 1.5, "pyme": DEFAULTS}
    estimate_shift_field.main(str(tmp_path / "a.sf"), str(tmp_path / "a.h5"), **known, pixel_size_um=None)
    found = shift_field.of_channel(shift_field.read_fields(tmp_path / "a.sf"), 1, "")
    y, x = np.mgrid[20:280:20, 20:340:20] * NM
    assert np.abs(shift_field.shift_at(found, x, y)[0] - lin3(x, y, LIN3)).max() / NM < 0.1
