"""Small ND2 and CZI files for the tests of the readers, and what is read of files of any kind."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from celltraces.errors import UserError
from celltraces.readers.movie import Movie
from celltraces.readers.movie_file import inspect_movie, open_movie
from demo.czi_writer import write_czi
from demo.nd2_writer import Channel, write_nd2

PHASE, GFP = Channel("Phase"), Channel("GFP", (0, 255, 0), 488, 525)
HEIGHT, WIDTH = 13, 17


def pixels(n_fovs: int, n_frames: int, n_channels: int = 2, n_z: int = 1) -> np.ndarray:
    """(P, T, C, Z, H, W) uint16; no plane is like another, none is all zeros."""
    shape = (n_fovs, n_frames, n_channels, n_z, HEIGHT, WIDTH)
    return np.random.default_rng(7).integers(1, 65536, shape, dtype=np.uint16)


def nd2_file(path: Path, images: np.ndarray, **options) -> Path:
    n_fovs, n_frames, n_channels, n_z, height, width = images.shape
    options = {
        "plane": lambda *index: images[index],
        "channels": [PHASE, GFP, *[Channel(f"C{c}") for c in range(2, n_channels)]][:n_channels],
        "loops": "TPZ",
        "times_ms": lambda fov, frame: frame * 600_000.0 + fov * 1000.0,
        **options,
    }
    sizes = {"n_fovs": n_fovs, "n_frames": n_frames, "n_z": n_z, "height": height, "width": width}
    write_nd2(path, options.pop("plane"), **sizes, **options)
    return path


def czi_file(path: Path, images: np.ndarray, **options) -> Path:
    n_fovs, n_frames, n_channels, n_z, _, width = images.shape
    options = {
        "plane": lambda *index: images[index],
        "channels": ["Phase", "GFP", *[f"C{c}" for c in range(2, n_channels)]][:n_channels],
        "times_s": lambda fov, frame: frame * 600.0 + fov,
        **options,
    }
    write_czi(path, options.pop("plane"), n_fovs=n_fovs, n_frames=n_frames, n_z=n_z, width=width, **options)
    return path


WRITERS = pytest.mark.parametrize("write", [nd2_file, czi_file], ids=["nd2", "czi"])


def name_for(write) -> str:
    return "movie.nd2" if write is nd2_file else "movie.czi"


def read_all(path: Path) -> np.ndarray:
    """Every plane through open_movie as (P, T, C, Z) objects: (H, W) arrays or None."""
    movie = inspect_movie(path)
    planes = np.empty((len(movie.fovs), movie.n_frames, len(movie.channels), movie.n_z), dtype=object)
    with open_movie(path) as read:
        for fov, frame, z in np.ndindex(planes.shape[0], planes.shape[1], planes.shape[3]):
            images = read(fov, frame, range(planes.shape[2]), z)
            for channel, image in enumerate(images):
                planes[fov, frame, channel, z] = image
    return planes


def assert_planes(path: Path, images: np.ndarray, gone: set[tuple[int, ...]] = frozenset()) -> None:
    """The file reads as `images` (P, T, C, Z, H, W); the planes at `gone` read as None; `missing` says the same."""
    planes, movie = read_all(path), inspect_movie(path)
    assert planes.shape == images.shape[:4]
    for index in np.ndindex(planes.shape):
        if index in gone:
            assert planes[index] is None, index
        else:
            assert planes[index].dtype == np.uint16
            np.testing.assert_array_equal(planes[index], images[index], err_msg=str(index))
    for fov, place in enumerate(movie.fovs):
        assert place["missing"] == [list(pair) for pair in sorted({(t, c) for f, t, c, _ in gone if f == fov})]


def check(path: Path, expected: np.ndarray) -> Movie:
    """The file holds `expected` (P, T, C, Z, H, W), and says so before it is read; the movie survives JSON."""
    movie = inspect_movie(path)
    planes = read_all(path)
    assert planes.shape == expected.shape[:4]
    for at in np.ndindex(planes.shape):
        np.testing.assert_array_equal(planes[at], expected[at])
    assert all(fov["missing"] == [] for fov in movie.fovs)
    assert {(fov["height"], fov["width"]) for fov in movie.fovs} == {expected.shape[4:]}
    assert Movie(**json.loads(json.dumps(asdict(movie)))) == movie
    return movie


def refusal(path: Path) -> str:
    """The one line with which a file is refused when it is inspected."""
    with pytest.raises(UserError) as caught:
        inspect_movie(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    return line
