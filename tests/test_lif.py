"""Reading LIF: small files in Leica's layout, written here, with what real ones are known to hold."""

from __future__ import annotations

import struct
from pathlib import Path

import liffile
import numpy as np
import pytest
from movie_tools import check, read_all, refusal
from tiff_tools import HEIGHT, WIDTH, pixels

from celltraces.readers.movie_file import inspect_movie
from celltraces.results import time_checks

DIMENSIONS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "M": 10}
FILETIME = 116444736000000000  # of 1970
STEP = 0.65e-6  # m


def element(name: str, number: int, planes: np.ndarray, order: str, **options) -> tuple[str, bytes]:
    """An image and its pixels: planes (M, T, C, Z, H, W), stored with the axes in `order`, the slowest first."""
    axes = "MTCZYX"
    kept = tuple(slice(None) if axis in order else 0 for axis in axes)
    left = [axis for axis in axes if axis in order]
    stored = planes[kept].transpose([left.index(axis) for axis in order])
    strides = dict(
        zip(order, stored.strides if stored.flags.c_contiguous else np.ascontiguousarray(stored).strides, strict=True)
    )
    sizes = dict(zip(order, stored.shape, strict=True))
    resolution = options.get("resolution", 16)
    dyes = options.get("dyes", ("Phase", "GFP"))
    channels = "".join(
        f'<ChannelDescription DataType="{options.get("data_type", 0)}" ChannelTag="0" Resolution="{resolution}" '
        f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="Gray" IsLUTInverted="0" '
        f'BytesInc="{at * strides.get("C", 0)}" BitInc="0">'
        + (f"<ChannelProperty><Key>DyeName</Key><Value>{dyes[at]}</Value></ChannelProperty>" if dyes else "")
        + "</ChannelDescription>"
        for at in range(sizes.get("C", 1))
    )
    steps = {"T": 600.0}
    dimensions = "".join(
        f'<DimensionDescription DimID="{DIMENSIONS[axis]}" NumberOfElements="{sizes[axis]}" Origin="0" '
        f'Length="{steps.get(axis, STEP) * (sizes[axis] - 1)}" Unit="{"s" if axis == "T" else "m"}" '
        f'BytesInc="{strides[axis]}" BitInc="0"/>'
        for axis in reversed(order)
        if axis != "C"
    )
    stamps = ""
    if "times_s" in options:
        texts = (f"{FILETIME + round(second * 1e7):x}" for second in options["times_s"])
        stamps = f"<TimeStampList>{' '.join(texts)}</TimeStampList>"
    data = np.ascontiguousarray(stored).tobytes()
    xml = (
        f'<Element Name="{name}" UniqueID="u{number}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription>{stamps}</Image></Data>"
        f'<Memory Size="{len(data)}" MemoryBlockID="MemBlock_{number}"/></Element>'
    )
    return xml, data


def write_lif(path: Path, *elements: tuple[str, bytes]) -> Path:
    children = "".join(xml for xml, _ in elements)
    header = (
        f'<LMSDataContainerHeader Version="2"><Element Name="{path.name}"><Children>{children}</Children></Element>'
        "</LMSDataContainerHeader>"
    )
    content = struct.pack("<IIBI", 0x70, 2 * len(header) + 5, 0x2A, len(header)) + header.encode("utf-16-le")
    for number, (_, data) in enumerate(elements):
        name = f"MemBlock_{number}"
        content += struct.pack("<IIBQBI", 0x70, 2 * len(name) + 14, 0x2A, len(data), 0x2A, len(name))
        content += name.encode("utf-16-le") + data
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("order", ["TZCYX", "ZTCYX", "TCZYX", "CTZYX"])
def test_positions_are_fovs_and_axes_are_those_of_the_file(tmp_path, order):
    images = pixels(2, 3, 2, 4)
    path = write_lif(tmp_path / "a.lif", *(element(f"Pos{fov}", fov, images[fov : fov + 1], order) for fov in range(2)))
    movie = check(path, images)
    assert (movie.format, movie.channels, movie.pixel_size_um) == ("lif", ["Phase", "GFP"], 0.65)
    assert movie.period_min == 10.0
    assert [fov["name"] for fov in movie.fovs] == ["Pos0", "Pos1"]
    with liffile.LifFile(path) as file:
        for fov, image in enumerate(file.images):
            found = image.asarray().transpose([image.dims.index(axis) for axis in "TCZYX"])
            np.testing.assert_array_equal(found, images[fov])


@pytest.mark.parametrize("order", ["MTCYX", "TMCYX"])
def test_tiles_are_fovs_and_times_are_those_of_their_planes(tmp_path, order):
    images = pixels(3, 2, 2, 1)
    seconds = {(m, t, c): 600.0 * t + 20 * m + c for m in range(3) for t in range(2) for c in range(2)}
    at = sorted(seconds, key=lambda place: [place["MTC".index(axis)] for axis in order[:3]])
    path = write_lif(tmp_path / "a.lif", element("Scan", 0, images, order, times_s=[seconds[place] for place in at]))
    movie = check(path, images)
    assert [fov["name"] for fov in movie.fovs] == ["Scan 1", "Scan 2", "Scan 3"]
    for fov, place in enumerate(movie.fovs):
        np.testing.assert_allclose(place["times_min"], [fov / 3, 10 + fov / 3], atol=1e-5)


@pytest.mark.parametrize("n_stamps", [3, 9])
def test_stamps_of_an_acquisition_that_was_stopped(tmp_path, n_stamps):
    """Which planes they belong to is not known: the frames follow each other at the period, and a check says so."""
    images = pixels(2, 4, 1, 2)
    elements = [
        element(f"Pos{fov}", fov, images[fov : fov + 1], "TZYX", times_s=[300.0 * at for at in range(n_stamps)])
        for fov in range(2)
    ]
    movie = inspect_movie(write_lif(tmp_path / "a.lif", *elements))
    assert [fov["times_min"] for fov in movie.fovs] == [None, None]
    assert [fov["senseless_stamps"] for fov in movie.fovs] == [[1, 2, 3]] * 2
    rows = time_checks.assumed([0.0, 10.0, 20.0, 30.0], "file period", movie.fovs[0], False)
    assert [check for check, _, _ in rows] == ["time_assumed"]


def test_what_is_left_out_and_what_is_missing(tmp_path):
    """Tiles put together and pictures in colour are no FOVs; a channel that an image lacks is missing."""
    images = pixels(2, 2, 2, 1)
    path = write_lif(
        tmp_path / "a.lif",
        element("Scan_Merged", 0, pixels(1, 1, 2, 1), "TCYX"),
        element("A", 1, images[:1], "TCYX"),
        element("A", 2, images[1:, :1, 1:], "TYX", dyes=("GFP",)),
    )
    movie = inspect_movie(path)
    assert movie.channels == ["Phase", "GFP"]
    assert [fov["name"] for fov in movie.fovs] == ["A", "A (2)"]
    assert [fov["missing"] for fov in movie.fovs] == [[], [[0, 0], [1, 0], [1, 1]]]
    found = read_all(path)
    np.testing.assert_array_equal(found[0, 1, 1, 0], images[0, 1, 1, 0])
    np.testing.assert_array_equal(found[1, 0, 1, 0], images[1, 0, 1, 0])


def test_what_is_refused(tmp_path):
    images = pixels(1, 2, 2, 1)
    path = tmp_path / "a.lif"
    write_lif(path, element("A", 0, images, "TCYX"))
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) - images.nbytes, len(content) // 2, 20):
        path.write_bytes(content[:length])
        refusal(path)
    path.write_bytes(b"II*\0" + bytes(100))
    assert "it is a TIFF file; name a file written by LAS X" in refusal(path)
    floats = np.zeros((1, 1, 1, 1, HEIGHT, WIDTH), np.float32)
    write_lif(path, element("A", 0, floats, "YX", resolution=32, data_type=1))
    assert "float32 pixels, which cannot be used" in refusal(path)
    write_lif(path, element("A", 0, images, "TCYX"), element("B", 1, images, "TCYX", dyes=("Phase", "RFP")))
    assert "its FOVs have different channels" in refusal(path)
    bomb = '<!DOCTYPE b [<!ENTITY a "x">]>'.encode("utf-16-le")
    header = struct.pack("<IIBI", 0x70, len(bomb) + 5, 0x2A, len(bomb) // 2)
    path.write_bytes(header + bomb + bytes(50))
    assert "declare a document type" in refusal(path)
