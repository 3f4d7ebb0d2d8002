"""Reading NDTiff: folders as Micro-Manager's index describes them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from movie_tools import check, read_all, refusal
from tiff_tools import HEIGHT, WIDTH, pixels

from celltraces.readers.movie_file import inspect_movie


def write_ndtiff(folder: Path, planes: list[tuple[dict, np.ndarray]], **options) -> Path:
    """Planes by their axes, the first half in one file; metadata of each behind its pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    index = b""
    contents = {
        "NDTiffStack.tif": bytearray(b"II*\0" + bytes(60)),
        "NDTiffStack_1.tif": bytearray(b"II*\0" + bytes(60)),
    }
    for number, (axes, plane) in enumerate(planes):
        name = list(contents)[2 * number // len(planes)]
        at = len(contents[name])
        contents[name] += plane.tobytes()
        known = {"PixelSizeUm": 0.65, "ElapsedTime-ms": 60_000 * axes.get("time", 0) + 5000, "PositionName": "spot"}
        metadata = json.dumps(known).encode()
        place = (len(contents[name]), len(metadata))
        contents[name] += metadata
        for text in (json.dumps(axes).encode(), name.encode()):
            index += struct.pack("<I", len(text)) + text
        kind = options.get("kind", 0 if plane.dtype == np.uint8 else 1)
        index += struct.pack("<8I", at, plane.shape[1], plane.shape[0], kind, options.get("compression", 0), *place, 0)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "NDTiff.index").write_bytes(index)
    return folder


def planes_of(images: np.ndarray, **names) -> list[tuple[dict, np.ndarray]]:
    """In an order in which no axis is the outermost throughout."""
    axes = ("position", "time", "channel", "z")
    found = []
    for at in np.ndindex(images.shape[:4]):
        values = {axis: names.get(axis, range(99))[index] for axis, index in zip(axes, at, strict=True)}
        found.append((values, images[at]))
    return [found[at] for at in np.random.default_rng(3).permutation(len(found))]


def test_axes_are_those_of_the_index(tmp_path):
    images = pixels(2, 3, 2, 4)
    planes = planes_of(images, z=(-2, -1, 0, 1))
    planes.sort(key=lambda plane: plane[0]["channel"])
    for path in (tmp_path / "a", tmp_path / "b"):
        write_ndtiff(path / "Full resolution" if path.name == "b" else path, planes)
        movie = check(path, images)
        assert (movie.format, movie.channels, movie.pixel_size_um) == ("ndtiff", ["C0", "C1"], 0.65)
        assert [fov["times_min"] for fov in movie.fovs] == [[0.0, 1.0, 2.0]] * 2
        assert [fov["name"] for fov in movie.fovs] == ["spot", "spot"]


def test_names_of_channels_and_positions(tmp_path):
    images = pixels(3, 1, 2, 1)
    names = {"position": ("A2", "A10", "B1"), "channel": ("Phase", "GFP")}
    planes = sorted(planes_of(images, **names), key=lambda plane: plane[0]["channel"], reverse=True)
    movie = check(write_ndtiff(tmp_path / "a", planes), images)
    assert movie.channels == ["Phase", "GFP"]
    assert [fov["name"] for fov in movie.fovs] == ["A2", "A10", "B1"]


def test_an_acquisition_that_was_stopped(tmp_path):
    images = pixels(1, 3, 2, 1)
    path = write_ndtiff(
        tmp_path / "a", [({"time": t, "channel": c}, images[0, t, c, 0]) for t in range(3) for c in range(2)][:5]
    )
    index = path / "NDTiff.index"
    index.write_bytes(index.read_bytes() + bytes(50))  # space that was never written
    movie = inspect_movie(path)
    assert movie.fovs[0]["missing"] == [[2, 1]]
    assert read_all(path)[0, 2, 1, 0] is None
    (path / "NDTiffStack_1.tif").unlink()
    assert inspect_movie(path).n_frames == 2


def test_what_is_refused(tmp_path):
    plane = np.ones((HEIGHT, WIDTH), np.uint16)
    path = write_ndtiff(tmp_path / "a", [({"time": 0}, plane), ({"time": 1}, plane)])
    index = (path / "NDTiff.index").read_bytes()
    for length in (len(index) - 1, len(index) // 2 + 3, 2):
        (path / "NDTiff.index").write_bytes(index[:length])
        assert "its index is cut off or damaged" in refusal(path)
    (path / "NDTiff.index").write_bytes(index)
    stack = path / "NDTiffStack_1.tif"
    stack.write_bytes(stack.read_bytes()[:100])
    assert "not wholly in NDTiffStack_1.tif" in refusal(path)
    assert "colours cannot be used" in refusal(write_ndtiff(path, [({"time": 0}, plane)], kind=2))
    assert "compressed pixels" in refusal(write_ndtiff(path, [({"time": 0}, plane)], compression=1))
    assert "has the axis 'row'" in refusal(write_ndtiff(path, [({"row": 0}, plane), ({"row": 1}, plane)]))
