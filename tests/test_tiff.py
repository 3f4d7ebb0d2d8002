"""Reading TIFF: OME-TIFF and sets of it, ImageJ, tifffile's own, Micro-Manager, MetaMorph; the traps of each."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import real_file
from movie_tools import check, read_all, refusal
from tiff_tools import HEIGHT, WIDTH, image, micro_manager_tag, ome, pixels, write_pages

from celltraces.errors import UserError
from celltraces.readers.movie_file import inspect_movie, open_movie

SCRIPTS = Path(__file__).parents[1] / "scripts"


# -------------------------------------------------------------------------------- ImageJ, tifffile, MetaMorph, others


@pytest.mark.parametrize("gone", [False, True], ids=["a page per plane", "one page for all planes"])
def test_hyperstacks_of_imagej(tmp_path, gone):
    images = pixels(1, 3, 2, 4)
    path = tmp_path / "a.tif"
    labels = ["Phase", "GFP"] * 12
    tifffile.imwrite(
        path,
        images[0].transpose(0, 2, 1, 3, 4),
        imagej=True,
        resolution=(1 / 0.65, 1 / 0.65),
        metadata={"axes": "TZCYX", "unit": "\\u00B5m", "finterval": 300.0, "Labels": labels},
    )
    if gone:  # as files beyond 4 GB: the first page alone, and the pixels of all behind its own
        with tifffile.TiffFile(path) as tiff:
            at = tiff.pages[0].offset
            assert tiff.pages[0].dataoffsets[0] + images.nbytes <= path.stat().st_size
        content = bytearray(path.read_bytes())
        (n_tags,) = struct.unpack_from(">H" if content[:2] == b"MM" else "<H", content, at)
        content[at + 2 + 12 * n_tags : at + 6 + 12 * n_tags] = bytes(4)
        path.write_bytes(content)
    movie = check(path, images)
    assert (movie.pixel_size_um, movie.period_min, movie.channels) == (0.65, 5.0, ["Phase", "GFP"])
    with tifffile.TiffFile(path) as tiff:
        np.testing.assert_array_equal(tiff.asarray().transpose(0, 2, 1, 3, 4), images[0])


def test_axes_are_never_guessed(tmp_path):
    images = list(pixels(6))
    assert "has 6 pages and does not say which are frames" in refusal(write_pages(tmp_path / "a.tif", images))
    bare = write_pages(tmp_path / "b.tif", images, "ImageJ=1.53t\nimages=6\n")
    assert "has 6 images and does not say which are frames" in refusal(bare)
    odd = write_pages(tmp_path / "c.tif", images, "ImageJ=1.53t\nimages=6\nchannels=2\nframes=2\n")
    assert "its 6 images are not those of its channels, slices and frames" in refusal(odd)
    tifffile.imwrite(tmp_path / "d.tif", np.stack(images), photometric="minisblack")
    assert "has the shape 6x9x14 and does not say which axes" in refusal(tmp_path / "d.tif")
    few = write_pages(tmp_path / "e.tif", images[:5], "ImageJ=1.53t\nimages=6\nframes=6\n")
    assert "fewer planes than the 6 that it announces" in refusal(few)


def test_axes_that_tifffile_was_told(tmp_path):
    images = pixels(1, 3, 2, 4)
    tifffile.imwrite(tmp_path / "a.tif", images[0], photometric="minisblack", metadata={"axes": "TCZYX"})
    check(tmp_path / "a.tif", images)
    tifffile.imwrite(
        tmp_path / "a.tif", images[0, 0].swapaxes(0, 1), photometric="minisblack", metadata={"axes": "ZCYX"}
    )
    check(tmp_path / "a.tif", images[:, :1])
    tifffile.imwrite(tmp_path / "a.tif", images[0, 0, 0, 0])
    check(tmp_path / "a.tif", images[:, :1, :1, :1])


def test_pages_that_micro_manager_describes_each(tmp_path):
    """An acquisition that crashed has no OME-XML; the elapsed times are those of the pages."""
    images = pixels(2, 2, 2, 1)
    planes, tags = [], []
    for frame, fov, channel in np.ndindex(2, 2, 2):
        planes.append(images[fov, frame, channel, 0])
        values = {
            "PositionIndex": fov,
            "FrameIndex": frame,
            "ChannelIndex": channel,
            "SliceIndex": 0,
            "Channel": ["Ph", "GFP"][channel],
            "PositionName": f"Pos{fov}",
            "ElapsedTime-ms": 60_000.0 * frame + 6000 * fov + 10 * channel,
            "PixelSizeUm": 0.65,
        }
        tags.append([micro_manager_tag(**values)])
    movie = check(write_pages(tmp_path / "a.tif", planes[:-1] + [planes[-1]], tags=tags), images)
    assert (movie.channels, movie.pixel_size_um) == (["Ph", "GFP"], 0.65)
    assert [fov["times_min"] for fov in movie.fovs] == [[0.0, 1.0], [0.1, 1.1]]
    assert [fov["name"] for fov in movie.fovs] == ["Pos0", "Pos1"]
    movie = inspect_movie(write_pages(tmp_path / "a.tif", planes[:-1], tags=tags[:-1]))
    assert movie.fovs[1]["missing"] == [[1, 1]]


def test_elapsed_times_of_micro_manager_where_its_xml_has_none(tmp_path):
    images = pixels(1, 2, 1, 1)
    tags = [[micro_manager_tag(**{"ElapsedTime-ms": 500 + 90_000 * frame})] for frame in range(2)]
    path = write_pages(tmp_path / "a.ome.tif", list(images.reshape(-1, HEIGHT, WIDTH)), ome(image({"T": 2})), tags=tags)
    assert check(path, images).fovs[0]["times_min"] == [0.0, 1.5]


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("plane", "options", "line"),
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), {"photometric": "rgb"}, "colours cannot be used"),
        (np.zeros((HEIGHT, WIDTH), np.float32), {}, "float32 pixels cannot be used; export the movie with 16-bit"),
        (
            np.zeros((HEIGHT, WIDTH), np.uint8),
            {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
            "colours",
        ),
    ],
)
def test_pixels_that_cannot_be_used(tmp_path, plane, options, line):
    assert line in refusal(write_pages(tmp_path / "a.tif", [plane], **options))


def test_whole_numbers_of_other_kinds(tmp_path):
    for dtype in (np.uint8, np.int8, np.int16, np.uint32, np.int32):
        plane = (pixels() % 100).astype(dtype)
        check(write_pages(tmp_path / "a.tif", [plane]), plane.astype(np.uint16)[None, None, None, None])
    path = write_pages(tmp_path / "a.tif", [np.full((HEIGHT, WIDTH), 65536, np.uint32)])
    with (
        open_movie(path) as read,
        pytest.raises(UserError, match="FOV 0, frame 0, channel 0: values 0..65536 do not"),
    ):
        read(0, 0, [0], None)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (5, "LZW, which needs the package imagecodecs"),
        (50000, "ZSTD, which needs the package imagecodecs"),
        (7, "with loss \\(JPEG\\)"),
    ],
)
def test_compressions_that_are_refused(tmp_path, code, line):
    path = write_pages(tmp_path / "a.tif", [pixels()])
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].tags["Compression"].valueoffset
    struct.pack_into("<H", content, at, code)
    path.write_bytes(content)
    if code != 7 and any(map(importlib.util.find_spec, ("imagecodecs", "compression"))):
        pytest.skip("imagecodecs is installed, or this Python has a decoder")
    with pytest.raises(UserError, match=line):
        inspect_movie(path)


def test_files_that_were_cut_off(tmp_path):
    images = pixels(1, 3, 2, 1)
    path = write_pages(tmp_path / "a.ome.tif", list(images.reshape(-1, HEIGHT, WIDTH)), ome(image({"T": 3, "C": 2})))
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) - 400, len(content) // 2, 300):
        path.write_bytes(content[:length])
        refusal(path)
    path.write_bytes(b"")
    assert "it is empty; copy it again" in refusal(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    assert "git lfs pull" in refusal(path)


def test_pages_that_follow_each_other_in_a_circle(tmp_path):
    path = write_pages(tmp_path / "a.tif", list(pixels(3)), "ImageJ=1\nimages=3\nframes=3\n")
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0].offset, tiff.pages[2].offset
    content = bytearray(path.read_bytes())
    (n_tags,) = struct.unpack_from("<H", content, last)
    struct.pack_into("<I", content, last + 2 + 12 * n_tags, first)
    path.write_bytes(content)
    assert "its pages follow each other in a circle" in refusal(path)


def test_a_real_file():
    path = real_file("t98g/01_phase.tif")
    movie = inspect_movie(path)
    with tifffile.TiffFile(path) as tiff:
        expected = tiff.asarray()
    found = read_all(path)
    assert found.size == expected.size // (movie.fovs[0]["height"] * movie.fovs[0]["width"])
    np.testing.assert_array_equal(np.stack(found.ravel()).ravel(), expected.ravel())
    assert "float32 pixels cannot be used" in refusal(real_file("pyme/test.tif"))


# ------------------------------------------------------------------------------------------------------- identity


def test_no_library_for_tiff_is_imported_for_other_files(movies):
    program = (
        "import sys; from pathlib import Path\n"
        "from celltraces.readers.movie_file import inspect_movie, open_movie\n"
        "import celltraces.planning.datasets\n"
        "inspect_movie(Path(sys.argv[1]))\n"
        "with open_movie(Path(sys.argv[1])) as read: read(0, 0, [0], None)\n"
        "print([name for name in ('tifffile', 'liffile', 'zarr') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(movies / "small.nd2")],
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr
