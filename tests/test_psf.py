"""Point spread functions: their width, against Gaussians of known width, and what is said of bad files."""

import base64
import json
import pickle
import types

import numpy as np
import pytest
import tifffile
from conftest import small_config
from formats_tools import Bomb

from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.planning.calibration import spot_size
from celltraces.planning.datasets import plan_datasets
from celltraces.pyme import metadata, psf


def spot(sigma, shape=(9, 31, 31), background=0.02, noise=0.0):
    """A spot that is sharpest in the middle plane, (Z, Y, X) float32."""
    z, y, x = (np.arange(side) - side // 2 for side in shape)
    wide = sigma * np.sqrt(1 + (z / 3.0) ** 2)[:, None, None]
    bell = np.exp(-(y[:, None] ** 2 + (x - 0.3) ** 2) / (2 * wide**2)) / (wide / sigma) ** 2
    return (bell + background + noise * np.random.default_rng(0).normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.2])
def test_the_width_of_a_gaussian(tmp_path, sigma):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, spot(sigma, noise=0.005), metadata={"axes": "ZYX"}, photometric="minisblack")
    (tmp_path / "a.json").write_text(metadata.to_json({"voxelsize.x": 0.11, "voxelsize.y": 0.11}))
    found = psf.read_spread(path)
    assert found.sigma_px == pytest.approx(sigma, rel=0.02)
    assert found.pixel_size_um == 0.11
    tifffile.imwrite(path, spot(sigma)[4], metadata={"axes": "YX"}, photometric="minisblack")
    assert psf.read_spread(path).sigma_px == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_pyme(tmp_path, protocol, order):
    voxel = types.SimpleNamespace(x=0.107, y=0.107, z=0.2)
    pixels = np.asarray(spot(1.5).T, dtype=float, order=order)
    (tmp_path / "a.psf").write_bytes(pickle.dumps((pixels, voxel), protocol))
    found = psf.read_spread(tmp_path / "a.psf")
    assert found.sigma_px == pytest.approx(1.5, rel=0.01)
    assert found.pixel_size_um == 0.107
    assert not np.allclose(spot(1.5)[0], spot(1.5)[4])  # so the sharp plane was found


def test_bad_files(tmp_path):
    good, voxel = spot(1.5).T.astype(float), types.SimpleNamespace(x=0.1)
    bomb = Bomb(tmp_path / "ran")
    huge = pickle.dumps((np.zeros((2, 2)), voxel), 2).replace(b"K\x02K\x02\x86", b"J\xff\xff\xff\x7fK\x02\x86")
    cases = {
        "call.psf": (pickle.dumps((bomb, voxel)), "names .*system, which is not run"),
        "voxel.psf": (pickle.dumps((good, bomb)), "names .*system, which is not run"),
        "getattr.psf": (pickle.dumps((good, getattr)), "names builtins.getattr|names __builtin__.getattr"),
        "integers.psf": (
            pickle.dumps((np.ones((3, 3), int), voxel)),
            "holds int64 .* a PSF is an image of floats",
        ),
        "flat.psf": (pickle.dumps((np.ones((9, 9)), voxel)), "shows no single spot"),
        "bare.psf": (pickle.dumps(good), "is no readable .psf"),
        "small.psf": (pickle.dumps((good, types.SimpleNamespace(y=1))), "has no size of its pixels"),
        "huge.psf": (huge, "is no readable .psf: not a readable pickle"),
        "text.psf": (b"hello", "is no readable .psf: not a readable pickle"),
        "empty.tif": (b"", "is no readable TIFF"),
    }
    assert huge != pickle.dumps((np.zeros((2, 2)), voxel), 2)
    tifffile.imwrite(tmp_path / "size.tif", spot(1.5), photometric="minisblack", metadata={"axes": "ZYX"})
    for name, (content, _) in cases.items():
        (tmp_path / name).write_bytes(content)
    packed = base64.b64encode(pickle.dumps(bomb)).decode()
    tifffile.imwrite(tmp_path / "beside.tif", spot(1.5), photometric="minisblack", metadata={"axes": "ZYX"})
    xml = f'<PYMEImageData><MetaData><a class="pickle" value="{packed}"/></MetaData></PYMEImageData>'
    (tmp_path / "beside.xml").write_text(xml)
    cases |= {
        "size.tif": (b"", "has no size of its pixels"),
        "beside.tif": (b"", r"beside\.xml' .*system, which is not"),
    }
    for name, (_, said) in cases.items():
        with pytest.raises(UserError, match=said) as raised:
            psf.read_spread(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_it_sets_the_size_of_the_spots(movies, tmp_path):
    path = tmp_path / "a.psf"
    for size, said in ((0.65, None), (0.66, "params.psf: .* has pixels of 0.66 um, .* of 0.65 um")):
        path.write_bytes(pickle.dumps((spot(1.7).T.astype(float), types.SimpleNamespace(x=size))))
        config = complete(small_config(movies, params={"psf": str(path)}, output_dir=str(tmp_path / "results")))
        datasets = plan_datasets(config)
        if said is None:
            assert spot_size(config, datasets) == {"particle_sigma": pytest.approx(1.7, rel=0.01)}
        else:
            with pytest.raises(UserError, match=said):
                spot_size(config, datasets)
    assert spot_size(complete(small_config(movies)), datasets) == {}
    with pytest.raises(UserError, match=r"params\.psf: the file 'no\.psf' does not exist"):
        complete(small_config(movies, params={"psf": "no.psf"}))
    assert json.dumps(config["params"]["particle_sigma"]) == "1.5"
