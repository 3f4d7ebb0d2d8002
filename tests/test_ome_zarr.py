"""Reading OME-Zarr of both versions, plates, series, and this workflow's own images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from movie_tools import check, read_all, refusal
from tiff_tools import HEIGHT, WIDTH, image, ome, pixels

from celltraces.planning.identity import content_identity
from celltraces.readers.input_files import kind_of_folder, listed
from celltraces.readers.movie_file import inspect_movie
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import writing
from celltraces.storage.groups import write_group

TYPES = {"t": ("time", "minute"), "c": ("channel", None), "z": ("space", "micrometer")}
TYPES |= {"y": ("space", "micrometer"), "x": ("space", "micrometer")}


def write_image(folder: Path, planes: np.ndarray, version: str, axes: str = "tczyx", **options) -> Path:
    """An image of two resolutions: planes (T, C, Z, H, W), stored in the order of `axes`."""
    chunks = options.pop("chunks", {})
    entries = []
    for axis in axes:
        kind, unit = TYPES[axis]
        entries.append(
            {"name": options.get("names", {}).get(axis, axis), "type": kind} | ({"unit": unit} if unit else {})
        )
    scale = [{"t": 10.0, "y": 0.65, "x": 0.65}.get(axis, 1.0) for axis in axes]
    transformation = [{"type": "scale", "scale": scale}]
    multiscale = {
        "version": version,
        "name": "cells",
        "axes": entries,
        "datasets": [{"path": str(level), "coordinateTransformations": transformation} for level in range(2)],
    }
    omero = {"channels": [{"label": name, "color": "FFFFFF"} for name in ("Phase", "GFP")]}
    attributes = {"multiscales": [multiscale], "omero": omero}
    v2 = version == "0.4"
    zarr.open_group(
        folder,
        mode="w",
        zarr_format=2 if v2 else 3,
        attributes=attributes if v2 else {"ome": {"version": version, **attributes}},
    )
    order = ["tczyx".index(axis) for axis in axes]
    kept = tuple(slice(None) if axis in axes else 0 for axis in "tczyx")
    stored = planes[kept].transpose(order) if len(axes) == 5 else planes[kept]
    for level in range(2):
        data = stored if level == 0 else stored[..., ::2, ::2]
        own = tuple(chunks.get(axis, 1 if axis in "tcz" else size) for axis, size in zip(axes, data.shape, strict=True))
        shards = None
        if options.get("shards"):
            shards = tuple(
                size if axis == "t" else chunk for axis, size, chunk in zip(axes, data.shape, own, strict=True)
            )
        array = zarr.create_array(
            folder / str(level),
            shape=data.shape,
            chunks=own,
            shards=shards,
            dtype=data.dtype,
            fill_value=0,
            zarr_format=2 if v2 else 3,
            overwrite=True,
            dimension_names=None if v2 else list(axes),
            **({"chunk_key_encoding": {"name": "v2", "separator": options.get("separator", "/")}} if v2 else {}),
        )
        if data.size:
            array[: options.get("written", data.shape[0])] = data[: options.get("written", data.shape[0])]
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": {"t": 2, "c": 2, "z": 3, "y": 4, "x": 5}},
        {"axes": "tzcyx"},
        {"axes": "ctzyx", "names": {"t": "Time", "c": "Channel"}},
        {"separator": "."},
        {"shards": True},
    ],
    ids=str,
)
def test_images(tmp_path, version, options):
    if options.get("shards") and version == "0.4":
        pytest.skip("shards came with Zarr 3")
    images = pixels(1, 3, 2, 4)
    path = write_image(tmp_path / "a.zarr", images[0], version, **options)
    movie = check(path, images)
    assert (movie.channels, movie.pixel_size_um, movie.period_min) == (["Phase", "GFP"], 0.65, 10.0)
    assert (movie.format, movie.fovs[0]["name"]) == ("ome-zarr", "cells")


def test_the_independent_library_reads_the_same(tmp_path):
    """ome-zarr-models finds axes and arrays where we find them."""
    from ome_zarr_models.v05.image import Image

    images = pixels(1, 3, 2, 4)
    path = write_image(tmp_path / "a.zarr", images[0], "0.5")
    found = Image.from_zarr(zarr.open_group(path, mode="r"))
    scales = found.attributes.ome.multiscales[0]
    names = "".join(axis.name for axis in scales.axes)
    array = zarr.open_array(path / scales.datasets[0].path, mode="r")[...]
    expected = array.transpose([names.index(axis) for axis in "tczyx"])
    movie = inspect_movie(path)
    assert movie.pixel_size_um == scales.datasets[0].coordinateTransformations[0].scale[-1]
    for at, plane in np.ndenumerate(read_all(path)):
        np.testing.assert_array_equal(plane, expected[at[1:]])


def test_fewer_axes(tmp_path):
    images = pixels(1, 3, 2, 4)
    path = write_image(tmp_path / "a.zarr", images[0, :, :1, :1], "0.5", axes="tyx")
    check(path, images[:, :, :1, :1])
    path = write_image(tmp_path / "b.zarr", images[0, :1, :1, :1], "0.4", axes="yx")
    check(path, images[:, :1, :1, :1])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plates(tmp_path, version):
    """Fields of wells are FOVs in the order of the plate; labels and small copies are no images."""
    images = pixels(3, 2, 2, 1)
    path = tmp_path / "plate.zarr"
    v2 = version == "0.4"

    def group(folder: Path, **attributes) -> None:
        given = attributes if v2 else {"ome": {"version": "0.5", **attributes}}
        zarr.open_group(folder, mode="a", zarr_format=2 if v2 else 3, attributes=given)

    wells = {"B/10": ["0"], "A/2": ["0", "1"]}
    group(path, plate={"wells": [{"path": well} for well in wells], "rows": [], "columns": []})
    fov = 0
    for well, fields in wells.items():
        group(path / well, well={"images": [{"path": field} for field in fields]})
        for field in fields:
            write_image(path / well / field, images[fov], version)
            fov += 1
    write_image(path / "A/2/0/labels/cells", images[0], version)
    movie = check(path, images)
    assert [place["name"] for place in movie.fovs] == ["B/10/0", "A/2/0", "A/2/1"]
    before = content_identity(str(path), movie)
    shutil.rmtree(path / "A/2/0/labels")
    assert content_identity(str(path), movie) == before
    shutil.rmtree(path / "A/2/1")
    assert "missing; copy the whole folder again" in refusal(path)


def test_series_with_their_ome_xml(tmp_path):
    images = pixels(2, 3, 2, 1)
    path = tmp_path / "a.zarr"
    zarr.open_group(path, mode="w", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    for fov in range(2):
        write_image(path / str(fov), images[fov], "0.4")
    (path / "OME").mkdir()
    planes = "".join(f'<Plane TheT="{t}" TheC="0" TheZ="0" DeltaT="{90 * t + 30}"/>' for t in range(3))
    parts = [image({"T": 3, "C": 2}, "<MetadataOnly/>", name=f"P{fov}", planes=planes) for fov in range(2)]
    (path / "OME/.zattrs").write_text(json.dumps({"series": ["1", "0"]}))
    (path / "OME/METADATA.ome.xml").write_text(ome(*parts))
    movie = check(path, images[::-1])
    assert [(fov["name"], fov["times_min"]) for fov in movie.fovs] == [(f"P{fov}", [0.0, 1.5, 3.0]) for fov in range(2)]
    shutil.rmtree(path / "OME")
    assert [fov["name"] for fov in check(path, images).fovs] == ["cells", "cells"]


def test_planes_that_were_never_written(tmp_path):
    """An acquisition that was stopped leaves chunks that are not there; inside a shard this is seen when it is read."""
    images = pixels(1, 4, 2, 1)
    path = write_image(tmp_path / "a.zarr", images[0], "0.5", written=3)
    assert inspect_movie(path).n_frames == 3
    shutil.rmtree(path / "0/c/1/1")
    movie = inspect_movie(path)
    assert movie.fovs[0]["missing"] == [[1, 1]]
    found = read_all(path)
    assert found[0, 1, 1, 0] is None
    np.testing.assert_array_equal(found[0, 2, 1, 0], images[0, 2, 1, 0])
    path = write_image(tmp_path / "b.zarr", images[0], "0.5", written=3, shards=True)
    assert read_all(path)[0, 3, 1, 0] is None


def edit(path: Path, **changes) -> None:
    found = json.loads(path.read_text())
    for key, value in changes.items():
        *above, last = key.split("__")
        place = found
        for name in above:
            place = place[int(name) if name.isdecimal() else name]
        place[last] = value
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("file", "changes", "line"),
    [
        ("zarr.json", {"attributes__ome": {}}, "without `multiscales`: no image of OME-Zarr"),
        ("zarr.json", {"attributes__ome__multiscales__0__axes": ["t", "c", "z", "y", "x"]}, "whose axes have no types"),
        ("zarr.json", {"attributes__ome__multiscales__0__datasets": [{"path": "../b"}]}, "names the folder '../b'"),
        ("zarr.json", {"attributes__ome__multiscales__0__datasets": [{"path": "/etc"}]}, "names the folder '/etc'"),
        ("0/zarr.json", {"shape": [3, 2]}, "are not those of an array of shape (3, 2)"),
        ("0/zarr.json", {"shape": [10**9, 2, 10**9, 9, 14]}, "it announces 1000000000 frames"),
        ("0/zarr.json", {"data_type": "float32"}, "float32 pixels cannot be used"),
        ("0/zarr.json", {"codecs": [{"name": "secret"}]}, "secret"),
    ],
)
def test_what_is_refused(tmp_path, file, changes, line):
    path = write_image(tmp_path / "a.zarr", pixels(3, 2, 1), "0.5")
    edit(path / file, **changes)
    if line == "secret":
        from celltraces.errors import UserError
        from celltraces.readers.movie_file import open_movie

        with open_movie(path) as read, pytest.raises(UserError, match="FOV 0, frame 0: .*secret"):
            read(0, 0, [0], None)
        return
    assert line in refusal(path)
    assert listed(path)  # planning asks for the files first, in its own process


def test_damaged_files_are_one_line(tmp_path):
    path = write_image(tmp_path / "a.zarr", pixels(3, 2, 1), "0.5")
    for text in (
        "[]",
        '{"attributes": 3}',
        '{"attributes": {"ome": {"multiscales": 3}}}',
        '{"attributes": {"ome": {"plate": {}}}}',
    ):
        kept = (path / "zarr.json").read_text()
        (path / "zarr.json").write_text(text)
        refusal(path)
        assert listed(path) == [path / "zarr.json"]
        (path / "zarr.json").write_text(kept)
    (path / "0/zarr.json").write_text("{")
    assert "zarr.json in 0 is damaged" in refusal(path)
    (path / "0/zarr.json").unlink()
    assert "missing; copy the whole folder again" in refusal(path)


# -------------------------------------------------------------------------------------------------- our own results


def write_results(folder: Path, images: np.ndarray) -> Path:
    """images (F, T, C, H, W), of which FOV 1 is not there; frame 1 of channel 2 is missing."""
    for fov in (0, 2):
        store = folder / f"fov_{fov:03d}/images.zarr"
        for at, name in enumerate(("pc_ch_0", "fl_ch_2")):
            attributes = {"missing_frames": [1] if at else [], "uncovered": []}
            if at:
                attributes["uncovered"] = [{"first": 0, "last": 2, "boxes": [[0, 0, 2, WIDTH]]}]
            with writing(
                store / name / "0", images.shape[1:2] + images.shape[3:], np.uint16, PIXELS, attributes=attributes
            ) as append:
                for frame in images[fov, :, at]:
                    append(frame)
        described = {
            "name": f"Pos{fov}",
            "channels": {"0": "Phase", "2": "GFP"},
            "pixel_size_um": 0.65,
            "times_min": [0.5 * fov, 10.0, 20.0],
            "times_from": "file time stamps",
        }
        write_group(store / "zarr.json", described)
        (store / "seg_labeled_ch_0/0").mkdir(parents=True)
    return folder


def test_own_results(tmp_path):
    from celltraces.readers.movie_file import open_movie

    images = pixels(3, 3, 2)
    path = write_results(tmp_path / "monday", images)
    assert kind_of_folder(path) == "results"
    movie = inspect_movie(path)
    assert (movie.format, movie.channels, movie.pixel_size_um) == ("celltraces", ["Phase", "C1", "GFP"], 0.65)
    assert [fov["name"] for fov in movie.fovs] == ["Pos0", "FOV 1", "Pos2"]
    assert [fov["times_min"] for fov in movie.fovs][::2] == [[0.0, 10.0, 20.0], [1.0, 10.0, 20.0]]
    assert movie.fovs[2]["missing"] == [[0, 1], [1, 1], [1, 2], [2, 1]]
    found = read_all(path)
    for fov in (0, 2):
        for at, channel in enumerate((0, 2)):
            for frame in range(3):
                expected = None if (frame, at) == (1, 1) else images[fov, frame, at]
                np.testing.assert_array_equal(found[fov, frame, channel, 0], expected)
    assert all(plane is None for plane in found[1].ravel())
    with open_movie(path) as read:
        assert read.uncovered(0, 0, 2, None) == ((0, 0, 2, WIDTH),)
        assert read.uncovered(0, 0, 0, None) == ()
    one = path / "fov_002/images.zarr"
    movie = inspect_movie(one)
    assert ([fov["name"] for fov in movie.fovs], movie.fovs[0]["height"]) == (["Pos2"], HEIGHT)
    before = content_identity(str(path), inspect_movie(path))
    (path / "fov_000/images.zarr/seg_labeled_ch_0/0/more").write_text("labels do not count")
    assert content_identity(str(path), inspect_movie(path)) == before
