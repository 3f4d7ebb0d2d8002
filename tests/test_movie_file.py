"""Reading ND2 and CZI: every trap of real files, against written truth and against independent readers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from celltraces.errors import UserError
from celltraces.readers import time_stamps
from celltraces.readers.checks import as_uint16
from celltraces.readers.movie import Movie
from celltraces.readers.movie_file import inspect_movie, open_movie
from demo import nd2_writer
from demo.czi_writer import Subblock, movie_xml, write_czi, write_subblocks
from demo.nd2_writer import Channel, Position, write_nd2

DATA = Path(os.environ.get("CELLTRACES_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
PHASE, GFP = Channel("Phase"), Channel("GFP", (0, 255, 0), 488, 525)
HEIGHT, WIDTH = 13, 17


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here (set CELLTRACES_TEST_DATA to the folder of real files)")
    return path


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


# ------------------------------------------------------------------------------------------------- both formats


@WRITERS
def test_movie_says_what_was_written(tmp_path, write):
    path = write(tmp_path / name_for(write), pixels(2, 3))
    movie = inspect_movie(path)
    place = {"height": HEIGHT, "width": WIDTH, "senseless_stamps": [], "missing": []}
    # the second FOV is imaged a second after the first
    times = [[0.0, 10.0, 20.0], [0.016667, 10.016667, 20.016667]]
    names = ["Pos000", "Pos001"] if write is nd2_file else ["P1", "P2"]
    assert movie == Movie(
        format=path.suffix[1:],
        dtype="uint16",
        n_frames=3,
        n_z=1,
        channels=["Phase", "GFP"],
        pixel_size_um=0.65,
        period_min=10.0,
        fovs=[{"name": name, "times_min": of_fov, **place} for name, of_fov in zip(names, times, strict=True)],
    )
    assert Movie(**json.loads(json.dumps(asdict(movie)))) == movie


@WRITERS
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "sizes", [(3, 4, 2, 1), (1, 4, 1, 1), (3, 1, 2, 1), (1, 1, 1, 1), (1, 1, 3, 1), (2, 3, 2, 4), (1, 2, 1, 3)]
)
def test_pixels_come_back(tmp_path, write, sizes, compress):
    images = pixels(*sizes)
    assert_planes(write(tmp_path / name_for(write), images, compress=compress), images)


@WRITERS
def test_channels_come_in_the_order_asked_for(tmp_path, write):
    images = pixels(1, 2, 3)
    with open_movie(write(tmp_path / name_for(write), images)) as read:
        for channels in ([2], [2, 0], [0, 1, 2], []):
            planes = read(0, 1, channels, None)
            assert len(planes) == len(channels)
            for channel, plane in zip(channels, planes, strict=True):
                np.testing.assert_array_equal(plane, images[0, 1, channel, 0])


@WRITERS
def test_uint8_is_widened(tmp_path, write):
    images = pixels(1, 2).astype(np.uint8)
    options = {"dtype": np.uint8} if write is nd2_file else {}
    path = write(tmp_path / name_for(write), images, **options)
    assert inspect_movie(path).dtype == "uint8"
    assert_planes(path, images.astype(np.uint16))


@WRITERS
def test_float_and_colour_pixels_are_refused(tmp_path, write):
    for kind, images, options in (
        ("float", pixels(1, 1).astype(np.float32), {"dtype": np.float32}),
        ("colour", np.ones((1, 1, 2, 1, HEIGHT, WIDTH, 3), np.uint8), {"dtype": np.uint8, "samples": 3}),
    ):
        path = tmp_path / name_for(write)
        if write is nd2_file:
            sizes = {"n_fovs": 1, "n_frames": 1, "height": HEIGHT, "width": WIDTH, "channels": [PHASE, GFP]}
            write_nd2(path, lambda *index, images=images: images[index], **sizes, **options)
        else:
            write_czi(
                path,
                lambda *index, images=images: images[index],
                n_fovs=1,
                n_frames=1,
                width=WIDTH,
                channels=["Phase", "GFP"],
            )
        with pytest.raises(UserError, match=f"FOV 0, frame 0, channel 0 .'Phase'.: {kind}.* pixels cannot be used"):
            inspect_movie(path)
        with pytest.raises(UserError, match=f"FOV 0, frame 0, channel 0.*{kind}"), open_movie(path) as read:
            read(0, 0, [0], None)


@WRITERS
def test_several_z_planes_need_a_choice(tmp_path, write):
    path = write(tmp_path / name_for(write), pixels(1, 1, 1, 3))
    with open_movie(path) as read, pytest.raises(UserError, match="has 3 Z planes"):
        read(0, 0, [0], None)


@WRITERS
@pytest.mark.parametrize(
    ("index", "name"),
    [((2, 0, [0], None), "FOV 2"), ((0, 3, [0], None), "frame 3"), ((0, 0, [0, 2], None), "channel 2"),
     ((0, 0, [0], 1), "Z plane 1"), ((0, -1, [0], None), "frame -1")],
)  # fmt: skip
def test_places_that_the_file_does_not_have(tmp_path, write, index, name):
    path = write(tmp_path / name_for(write), pixels(2, 3))
    with open_movie(path) as read, pytest.raises(UserError, match=f"has no {name};"):
        read(*index)


@WRITERS
def test_inputs_are_only_read_and_closed(tmp_path, write):
    path = write(tmp_path / name_for(write), pixels(1, 2))
    path.chmod(0o444)
    before, status = path.read_bytes(), path.stat()
    descriptors = Path("/proc/self/fd")
    handles = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            inspect_movie(path)
            with open_movie(path) as read:
                read(0, 0, [0], None)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    if descriptors.exists():
        assert len(list(descriptors.iterdir())) == handles


@WRITERS
def test_files_are_not_mapped_into_memory(tmp_path, write):
    """Memory would grow with the movie; and planes must outlive the file."""
    images = pixels(1, 2, 1)
    path = write(tmp_path / name_for(write), images)
    maps = Path("/proc/self/maps")
    with open_movie(path) as read:
        planes = [read(0, frame, [0], None)[0] for frame in range(2)]
        assert not maps.exists() or path.name not in maps.read_text()
    for frame, plane in enumerate(planes):
        np.testing.assert_array_equal(plane, images[0, frame, 0, 0])
        plane += 1


@WRITERS
@pytest.mark.parametrize("pixel_um", [None, 0.0, -1.0, float("nan"), 1e7])
def test_pixel_sizes_that_make_no_sense_are_none(tmp_path, write, pixel_um):
    path = write(tmp_path / name_for(write), pixels(1, 1), pixel_um=pixel_um)
    assert inspect_movie(path).pixel_size_um is None


@WRITERS
def test_a_pixel_size_of_one_micrometre_is_believed(tmp_path, write):
    path = write(tmp_path / name_for(write), pixels(1, 1), pixel_um=1.0)
    assert inspect_movie(path).pixel_size_um == 1.0


@WRITERS
def test_times_count_from_the_first_frame_of_the_file(tmp_path, write):
    """Uneven stamps that do not start at 0, another pace in each FOV."""
    seconds = np.array([[100.25, 160.5, 400.125], [101.75, 190.5, 420.0]])
    options = (
        {"times_ms": lambda fov, frame: seconds[fov, frame] * 1000}
        if write is nd2_file
        else {"times_s": lambda fov, frame: seconds[fov, frame], "attach_times": False}
    )
    movie = inspect_movie(write(tmp_path / name_for(write), pixels(2, 3), **options))
    assert [fov["times_min"] for fov in movie.fovs] == [pytest.approx((row - 100.25) / 60, abs=1e-6) for row in seconds]


@WRITERS
@pytest.mark.parametrize("stamp", [lambda frame: 0.0, lambda frame: -frame, lambda frame: frame // 2])
def test_stamps_that_do_not_rise_are_no_stamps(tmp_path, write, stamp):
    key = "times_ms" if write is nd2_file else "times_s"
    movie = inspect_movie(write(tmp_path / name_for(write), pixels(1, 4), **{key: lambda fov, frame: stamp(frame)}))
    assert movie.fovs[0]["times_min"] is None
    assert movie.period_min == 10.0
    stamps = [stamp(frame) for frame in range(4)]
    assert movie.fovs[0]["senseless_stamps"] == [at for at in range(1, 4) if stamps[at] <= max(stamps[:at])]


@WRITERS
@pytest.mark.parametrize("period", [600.0, 0.0])
def test_without_stamps_the_period_is_left(tmp_path, write, period):
    options = (
        {"times_ms": None, "period_ms": period * 1000} if write is nd2_file else {"times_s": None, "interval_s": period}
    )
    movie = inspect_movie(write(tmp_path / name_for(write), pixels(2, 3), **options))
    assert [fov["times_min"] for fov in movie.fovs] == [None, None]
    assert [fov["senseless_stamps"] for fov in movie.fovs] == [[], []]
    assert movie.period_min == (10.0 if period else None)


@WRITERS
def test_missing_planes_never_shift_others(tmp_path, write):
    """A hole in the middle of one FOV: all channels of a frame, which both formats can leave out."""
    images = pixels(2, 5)
    gone = {(1, 2, c, 0) for c in range(2)}
    path = write(tmp_path / name_for(write), images, plane=lambda *i: None if i in gone else images[i])
    assert_planes(path, images, gone)
    movie = inspect_movie(path)
    assert movie.fovs[1]["times_min"] == pytest.approx(10 * np.arange(5) + 1 / 60, abs=1e-6)


@WRITERS
def test_acquisition_stopped_in_the_middle_of_a_time_point(tmp_path, write):
    """10 frames were announced; the fourth was taken in one of three FOVs only."""
    images = pixels(3, 10)
    path = write(
        tmp_path / name_for(write), images, plane=lambda *i: images[i] if i[1] < 3 or i[:2] == (0, 3) else None
    )
    movie = inspect_movie(path)
    assert movie.n_frames == 4
    assert [fov["missing"] for fov in movie.fovs] == [[], [[3, 0], [3, 1]], [[3, 0], [3, 1]]]
    for fov in range(3):
        assert movie.fovs[fov]["times_min"] == pytest.approx(10 * np.arange(4) + fov / 60, abs=1e-6)
    assert_planes(path, images[:, :4], {(fov, 3, c, 0) for fov in (1, 2) for c in range(2)})


@WRITERS
def test_first_frame_missing(tmp_path, write):
    images = pixels(1, 4, 1)
    path = write(tmp_path / name_for(write), images, plane=lambda *i: None if i[1] == 0 else images[i])
    if write is czi_file:
        # nothing in a CZI says that its time should begin before the first subblock
        assert_planes(path, images[:, 1:])
        return
    assert_planes(path, images, {(0, 0, 0, 0)})
    assert inspect_movie(path).fovs[0]["times_min"] == [0.0, 10.0, 20.0, 30.0]


@WRITERS
def test_incomplete_z_stacks_count_as_missing(tmp_path, write):
    images = pixels(1, 3, 1, 3)
    gone = {(0, 1, 0, 2)}
    path = write(tmp_path / name_for(write), images, plane=lambda *i: None if i in gone else images[i])
    assert_planes(path, images, gone)


@WRITERS
def test_names_are_kept_as_they_are(tmp_path, write):
    names = ["5-FAM/pH 9.0", "FM 4-64/2% CHAPS", "", "DAPI", "DAPI", "µ <&> 'x'"]
    channels = [Channel(name) for name in names] if write is nd2_file else names
    movie = inspect_movie(write(tmp_path / name_for(write), pixels(1, 1, 6), channels=channels))
    assert movie.channels == [*names[:2], "C2", *names[3:]]


# ------------------------------------------------------------------------------------------------- files that fail


LFS = b"version https://git-lfs.example/spec/v1\noid sha256:4d7a214614ab2935c943f9e0\nsize 12345\n"
BROKEN = {
    "missing.nd2": (None, "does not exist"),
    "missing.czi": (None, "does not exist"),
    "empty.nd2": (b"", "is not a readable ND2 file: it is empty; copy it again"),
    "empty.czi": (b"", "is not a readable CZI file: it is empty; copy it again"),
    "image.png": (b"II*\0" + bytes(100), "unknown ending; microscopy files end in .nd2 or .czi"),
    "noending": (b"II*\0" + bytes(100), "unknown ending"),
    "tiff.nd2": (b"II*\0" + bytes(100), "is not a readable ND2 file: it is a TIFF file; name a file written by NIS"),
    "archive.czi": (b"PK\x03\x04" + bytes(99), "is not a readable CZI file: it is a ZIP archive; name a file"),
    "text.czi": (b"fov,cell,frame\n", "it is something else (text that begins with 'fov,cell,frame')"),
    "bytes.czi": (bytes(8) + b"ab", "it is something else (it begins with the bytes 00 00 00 00 00 00 00 00)"),
    "lfs.nd2": (LFS, "it is a Git LFS pointer, which stands for a file that was not downloaded; fetch the file itself"),
    "lfs.czi": (LFS, "not downloaded; fetch the file itself with `git lfs pull`"),
    "lfs.h5": (LFS, "it is a Git LFS pointer"),
    "annex.czi": (b"/annex/objects/MD5-s1--0", "it is a git-annex pointer"),
    "page.czi": (b"<html>not found</html>", "is not a readable CZI file: it is a web page"),
    "old.nd2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "JPEG 2000 kind; open it in NIS-Elements and save it"),
    "onlymagic.nd2": (b"\xda\xce\xbe\x0a", "is not a readable ND2 file: the index at its end is missing"),
    "onlymagic.czi": (b"ZISRAWFILE", "is not a readable CZI file: no ZISRAWFILE segment at byte 0"),
}


@pytest.mark.parametrize("use", [inspect_movie, lambda path: open_movie(path).__enter__()], ids=["inspect", "open"])
@pytest.mark.parametrize("name", BROKEN)
def test_files_that_cannot_be_used_give_one_line(tmp_path, name, use):
    content, message = BROKEN[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        use(path)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.nd2").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        inspect_movie(tmp_path / "folder.nd2")


def test_the_first_bytes_decide_the_format(tmp_path):
    images = pixels(1, 2)
    czi = czi_file(tmp_path / "really_a_czi.nd2", images)
    assert inspect_movie(czi).format == "czi"
    assert_planes(czi, images)
    assert inspect_movie(nd2_file(tmp_path / "MOVIE.ND2", images)).format == "nd2"


@WRITERS
def test_files_that_are_cut_off(tmp_path, write):
    """Cut anywhere, a file gives one line that names it, or, where only padding is lost, its pixels."""
    images = pixels(1, 2)
    path = write(tmp_path / name_for(write), images)
    whole = path.read_bytes()
    assert_planes(path, images)
    for length in np.linspace(1, len(whole) - 1, 60).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"{path.name}' is not a readable") as caught:
            inspect_movie(path)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    images = pixels(2, 2, 1)
    return {
        ".nd2": nd2_file(folder / "a.nd2", images).read_bytes(),
        ".czi": czi_file(folder / "a.czi", images).read_bytes(),
    }


@pytest.mark.torture
@pytest.mark.parametrize("suffix", [".nd2", ".czi"])
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(damage=st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0x00, 0x01, 0x7F, 0xFF])), min_size=1, max_size=6))
def test_damaged_files_never_give_a_raw_error(tmp_path, small_files, suffix, damage):
    """Bytes of the structure (not of the padding, which is most of an ND2) are overwritten."""
    content = np.frombuffer(small_files[suffix], np.uint8).copy()
    filled = np.flatnonzero(content)
    for place, value in damage:
        content[filled[int(place * (len(filled) - 1))]] = value
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content.tobytes())
    try:
        movie = inspect_movie(path)
        with open_movie(path) as read:
            read(0, 0, range(len(movie.channels)), 0)
    except UserError as error:
        assert "\n" not in str(error)


# ------------------------------------------------------------------------------------------------- ND2


@pytest.mark.parametrize("loops", ["TP", "PT", "TPZ", "PTZ", "ZTP", "TZP", "ZPT", "PZT"])
def test_nd2_loops_in_any_order(tmp_path, loops):
    import nd2

    images = pixels(3, 4, 2, 2 if "Z" in loops else 1)
    path = nd2_file(tmp_path / "a.nd2", images, loops=loops)
    assert_planes(path, images)
    assert inspect_movie(path).fovs[2]["times_min"] == pytest.approx(10 * np.arange(4) + 2 / 60, abs=1e-6)
    with nd2.ND2File(path) as file:
        axes = list(file.sizes)
        theirs = file.asarray()
    ours = images[:, :, :, 0] if "Z" not in loops else images
    np.testing.assert_array_equal(theirs.transpose([axes.index(a) for a in "PTCZYX" if a in axes]), ours)


@pytest.mark.parametrize("loops", ["", "T", "P", "Z", "TP", "PT", "TPZ"])
def test_nd2_axes_of_length_one(tmp_path, loops):
    """An axis of length 1 is left out of the loops or is one of them; nd2 drops it either way."""
    sizes = [4 if loops == axis else 1 for axis in "PT"]
    images = pixels(*sizes, 1, 3 if loops == "Z" else 1)
    assert_planes(nd2_file(tmp_path / "a.nd2", images, loops=loops), images)


def test_nd2_stopped_with_positions_outermost(tmp_path):
    """FOV after FOV: the second was cut short, the third was never begun and is not there."""
    images = pixels(3, 4)
    path = nd2_file(tmp_path / "a.nd2", images, loops="PT", plane=lambda *i: images[i] if i[0] * 4 + i[1] < 6 else None)
    assert_planes(path, images[:2], {(1, t, c, 0) for t in (2, 3) for c in range(2)})


def test_nd2_gap_images_read_as_none(tmp_path):
    """NIS-Elements stores zeros for a channel that skips time points."""
    images = pixels(1, 4)
    path = nd2_file(tmp_path / "a.nd2", images, plane=lambda *i: None if i[2] == 1 and i[1] % 2 else images[i])
    planes = read_all(path)
    for frame in range(4):
        np.testing.assert_array_equal(planes[0, frame, 0, 0], images[0, frame, 0, 0])
        assert (planes[0, frame, 1, 0] is None) == bool(frame % 2)
    assert inspect_movie(path).fovs[0]["missing"] == []


def test_nd2_black_planes_of_a_stack_are_planes(tmp_path):
    images = pixels(1, 1, 2, 3)
    images[0, 0, 1, 0] = 0
    assert_planes(nd2_file(tmp_path / "a.nd2", images), images)


def test_nd2_positions_that_were_switched_off(tmp_path):
    """pItemValid: four points in the list, two were visited."""
    images = pixels(2, 3)
    points = [Position("A", valid=False), Position("B"), Position("", valid=True), Position("D", valid=False)]
    path = nd2_file(tmp_path / "a.nd2", images, positions=points)
    assert [fov["name"] for fov in inspect_movie(path).fovs] == ["B", "FOV 1"]
    assert_planes(path, images)


@pytest.mark.parametrize(("second", "period"), [(60_000.0, None), (600_000.0, 10.0)])
@pytest.mark.parametrize("stamps", [True, False])
def test_nd2_acquisitions_in_phases(tmp_path, second, period, stamps):
    images = pixels(2, 5)
    starts = np.concatenate([[0.0, 600_000.0, 1_200_000.0], 1_200_000.0 + second * np.arange(1, 3)])
    options = {"times_ms": (lambda fov, frame: starts[frame]) if stamps else None}
    path = nd2_file(tmp_path / "a.nd2", images, phases=[(3, 600_000.0), (2, second)], **options)
    movie = inspect_movie(path)
    assert movie.period_min == period
    assert movie.fovs[1]["times_min"] == ((starts / 60_000).tolist() if stamps else None)
    assert_planes(path, images)


@pytest.mark.parametrize(
    ("declared", "measured", "minutes"), [(60_000.0, 90_000.0, 1.0), (0.0, 90_000.0, 1.5), (0.0, 0.0, None)]
)
def test_nd2_period_is_the_declared_one_or_the_measured_one(tmp_path, monkeypatch, declared, measured, minutes):
    period = nd2_writer._period
    monkeypatch.setattr(nd2_writer, "_period", lambda *args: {**period(*args), "dAvgPeriodDiff": measured})
    path = nd2_file(tmp_path / "a.nd2", pixels(1, 3), period_ms=declared)
    assert inspect_movie(path).period_min == minutes


def test_nd2_with_more_frames_than_its_loops_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(nd2_writer, "_experiment", lambda *_: None)
    path = nd2_file(tmp_path / "a.nd2", pixels(1, 3))
    with pytest.raises(UserError, match="holds 3 images, and it has no loops, which say"):
        inspect_movie(path)


def test_nd2_with_more_frames_than_its_loops_say(tmp_path, monkeypatch):
    experiment = nd2_writer._experiment
    fewer = {"P": 2, "T": 2, "Z": 1}
    monkeypatch.setattr(nd2_writer, "_experiment", lambda loops, sizes, *rest: experiment(loops, fewer, *rest))
    with pytest.raises(UserError, match="holds 6 images, and its loops announce 2 time points x 2 positions x 1 Z pl"):
        inspect_movie(nd2_file(tmp_path / "a.nd2", pixels(2, 3)))


@pytest.mark.parametrize("name", ["SLxImageAttributes", "uiWidth", "uiComp", "Points", "SLxExperiment"])
def test_nd2_that_lacks_a_part_of_its_metadata(tmp_path, name):
    """What Python says of it is for programmers."""
    path = nd2_file(tmp_path / "a.nd2", pixels(2, 3))
    name = name.encode("utf-16-le")
    path.write_bytes(path.read_bytes().replace(name, b"Q\0" + name[2:]))
    with pytest.raises(UserError, match="not a readable ND2 file") as caught:
        inspect_movie(path)
    assert not re.search("NoneType|object|attribute|chunkmap|codec|buffer", str(caught.value))


def test_nd2_frames_beyond_the_end_of_the_file_are_missing(tmp_path):
    """The map at the end names a frame that was lost; nd2 gives zeros for it."""
    images = pixels(1, 3, 1)
    path = nd2_file(tmp_path / "a.nd2", images)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"ImageDataSeq|1!") + len(b"ImageDataSeq|1!")
    content[entry : entry + 8] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(content)
    assert_planes(path, images, {(0, 1, 0, 0)})


def test_nd2_compressed_with_loss_is_refused(tmp_path, monkeypatch):
    attributes = nd2_writer._attributes

    def lossy(*args):
        tree = attributes(*args)
        tree["SLxImageAttributes"]["eCompression"] = 1
        return tree

    monkeypatch.setattr(nd2_writer, "_attributes", lossy)
    with pytest.raises(UserError, match="compressed with loss"):
        inspect_movie(nd2_file(tmp_path / "a.nd2", pixels(1, 3)))


def test_nd2_without_any_frame_is_refused(tmp_path):
    path = nd2_file(tmp_path / "a.nd2", pixels(1, 3), plane=lambda *_: None)
    with pytest.raises(UserError, match="it holds no images"):
        inspect_movie(path)


# ------------------------------------------------------------------------------------------------- CZI


@pytest.mark.parametrize("axes", ["STCZ", "STC", "ST", "T", "TC", "SC", "S", "C", "CZ", ""])
@pytest.mark.parametrize("further", [{}, {"B": 0}, {"V": 0, "H": 0, "I": 0, "B": 0}])
def test_czi_absent_and_further_dimensions(tmp_path, axes, further):
    images = pixels(*[{"S": 2, "T": 3, "C": 2, "Z": 2}[axis] if axis in axes else 1 for axis in "STCZ"])
    path = czi_file(tmp_path / "a.czi", images, axes=axes, first=further)
    assert_planes(path, images)
    aics_equal(path, images, axes)


def aics_equal(path: Path, images: np.ndarray, axes: str) -> None:
    """aicspylibczi, asked for one plane with every dimension named, gives the same."""
    from aicspylibczi import CziFile

    file = CziFile(path)
    for index in np.ndindex(images.shape[:4]):
        at = {axis: value for axis, value in zip("STCZ", index, strict=True) if axis in axes}
        plane, _ = file.read_image(**at)
        np.testing.assert_array_equal(np.squeeze(plane), images[index])


def test_czi_scene_ids_are_any_numbers(tmp_path):
    images = pixels(3, 2)
    path = czi_file(tmp_path / "a.czi", images, scene_ids=[1, 3, 8], scene_names=["D6", "E7", "A1"])
    assert [fov["name"] for fov in inspect_movie(path).fovs] == ["D6", "E7", "A1"]
    assert_planes(path, images)


def test_czi_indices_that_do_not_begin_at_zero(tmp_path):
    images = pixels(2, 3, 2, 2)
    path = czi_file(tmp_path / "a.czi", images, first={"T": 5, "C": 2, "Z": 7})
    assert_planes(path, images)
    assert inspect_movie(path).channels == ["Phase", "GFP"]


def test_czi_that_holds_some_of_its_channels(tmp_path):
    path = tmp_path / "a.czi"
    tiles = [Subblock({"C": c}, pixels(1, 1)[0, 0, 0, 0]) for c in (1, 3)]
    write_subblocks(path, tiles, xml=movie_xml(["a", "b", "c", "d"], {}, 1.0, 1.0))
    assert inspect_movie(path).channels == ["b", "d"]


def test_czi_scenes_that_lie_on_each_other(tmp_path):
    images = pixels(3, 2)
    path = tmp_path / "a.czi"
    tiles = [Subblock({"S": s, "T": t, "C": c}, images[s, t, c, 0]) for s, t, c in np.ndindex(3, 2, 2)]
    write_subblocks(path, tiles, xml=movie_xml(["a", "b"], {}, 1.0, 1.0))
    assert_planes(path, images)


@pytest.mark.parametrize("letter", "BVHI")
def test_czi_with_several_planes_per_place_is_refused(tmp_path, letter):
    image = pixels(1, 1)[0, 0, 0, 0]
    path = tmp_path / "a.czi"
    write_subblocks(path, [Subblock({"C": 0, letter: i}, image) for i in range(2)], xml=movie_xml(["a"], {}, 1.0, 1.0))
    with pytest.raises(UserError, match=f"dimension {letter}"):
        inspect_movie(path)


def test_czi_channel_that_skips_time_points(tmp_path):
    """ZEN writes no subblock: fluorescence in every third frame, in one scene not in the last frames either."""
    images = pixels(2, 7)
    gone = {(f, t, 1, 0) for f in range(2) for t in range(7) if t % 3} | {(1, 6, c, 0) for c in range(2)}
    path = czi_file(tmp_path / "a.czi", images, plane=lambda *i: None if i in gone else images[i])
    assert_planes(path, images, gone)


def test_czi_scenes_of_different_size(tmp_path):
    """aicspylibczi is killed by such a file."""
    shapes = [(13, 17), (20, 9), (5, 30)]
    rng = np.random.default_rng(3)
    images = {
        (f, t, c, 0): rng.integers(0, 65536, shapes[f], dtype=np.uint16)
        for f in range(3) for t in range(2) for c in range(2)
    }  # fmt: skip
    path = tmp_path / "a.czi"
    write_czi(path, lambda *i: images[i], n_fovs=3, n_frames=2, width=30, channels=["a", "b"])
    movie = inspect_movie(path)
    assert [(fov["height"], fov["width"]) for fov in movie.fovs] == shapes
    with open_movie(path) as read:
        for fov, frame, channel, _ in images:
            np.testing.assert_array_equal(read(fov, frame, [channel], None)[0], images[fov, frame, channel, 0])


def mosaic(images: np.ndarray, left_out: tuple[int, ...] | None = None) -> Iterator[Subblock]:
    """Every plane of `images` (S, T, C, H, W) as 2 x 2 tiles that overlap by one pixel, and a pyramid tile on top."""
    half_y, half_x = images.shape[-2] // 2, images.shape[-1] // 2
    for s, t, c in np.ndindex(images.shape[:3]):
        image = images[s, t, c]
        for m, (y, x) in enumerate(((0, 0), (0, half_x), (half_y, 0), (half_y, half_x))):
            tile = image[y : y + half_y + 1, x : x + half_x + 1].copy()
            if (s, t, c, m) != left_out:
                yield Subblock({"S": s, "T": t, "C": c, "M": m}, tile, x=s * 1000 - 300 + x, y=y - 40)
        yield Subblock({"S": s, "T": t, "C": c}, image[::2, ::2].copy(), x=s * 1000 - 300, y=-40, shrink=2)


def test_czi_mosaics(tmp_path):
    images = pixels(2, 2)[:, :, :, 0]
    path = tmp_path / "a.czi"
    write_subblocks(path, mosaic(images), xml=movie_xml(["a", "b"], {}, 1.0, 1.0))
    assert_planes(path, images[:, :, :, None])


def test_czi_mosaics_that_lack_a_tile_are_read_as_far_as_they_go(tmp_path):
    images = pixels(2, 2)[:, :, :, 0]
    path = tmp_path / "a.czi"
    write_subblocks(path, mosaic(images, left_out=(1, 0, 1, 3)), xml=movie_xml(["a", "b"], {}, 1.0, 1.0))
    height, width = images.shape[-2:]
    half_y, half_x = height // 2, width // 2
    with open_movie(path) as read:
        gone = read.uncovered(1, 0, 1, 0)
        assert read.uncovered(1, 1, 1, 0) == ()
    assert gone == ((half_y + 1, half_x + 1, 2 * half_y + 1, 2 * half_x + 1),)
    images[1, 0, 1, half_y + 1 :, half_x + 1 :] = 0
    assert_planes(path, images[:, :, :, None])


def test_czi_positions_that_are_tiles_are_refused(tmp_path):
    image = pixels(1, 1)[0, 0, 0, 0]
    path = tmp_path / "a.czi"
    write_subblocks(
        path, [Subblock({"M": m}, image, x=m * 90_000) for m in range(3)], xml=movie_xml(["a"], {}, 1.0, 1.0)
    )
    with pytest.raises(UserError, match="FOV 0: its 3 tiles lie far apart"):
        inspect_movie(path)


def test_czi_channels_with_other_binning_are_refused(tmp_path):
    path = tmp_path / "a.czi"
    tiles = [Subblock({"C": 0}, np.ones((20, 20), np.uint16)), Subblock({"C": 1}, np.ones((10, 10), np.uint16))]
    write_subblocks(path, tiles, xml=movie_xml(["a", "b"], {}, 1.0, 1.0))
    with pytest.raises(UserError, match="FOV 0: planes of different size"):
        inspect_movie(path)


def test_czi_stage_that_moves_between_frames(tmp_path):
    """The tile of each frame lies elsewhere on the canvas: each is one plane all the same."""
    images = pixels(1, 4, 1)
    path = tmp_path / "a.czi"
    tiles = [Subblock({"T": t}, images[0, t, 0, 0], x=3 * t, y=-2 * t) for t in range(4)]
    write_subblocks(path, tiles, xml=movie_xml(["a"], {}, 1.0, 1.0))
    assert_planes(path, images)


def test_czi_of_many_planes(tmp_path):
    """More than are taken from the directory at once."""
    n_frames = 4500
    path = tmp_path / "a.czi"
    tiles = (
        Subblock({"T": t, **({"C": 0} if t % 1000 else {})}, np.full((1, 2), t, np.uint16)) for t in range(n_frames)
    )
    write_subblocks(path, tiles, xml=movie_xml(["a"], {}, 1.0, 1.0))
    movie = inspect_movie(path)
    assert (movie.n_frames, movie.fovs[0]["missing"]) == (n_frames, [])
    with open_movie(path) as read:
        for frame in (0, 999, 1000, 1001, 4095, 4096, 4097, 4499):
            assert read(0, frame, [0], None)[0].tolist() == [[frame, frame]]


def czi_of(images: np.ndarray, **changes) -> list[Subblock]:
    """A subblock per plane of `images` (S, T, C, H, W), scenes side by side."""
    return [
        Subblock({"S": s, "T": t, "C": c}, images[s, t, c], x=1000 * s, **changes)
        for s, t, c in np.ndindex(images.shape[:3])
    ]


def _with_pyramid(images: np.ndarray) -> list[Subblock]:
    small = [tile._replace(pixels=tile.pixels[::2, ::2].copy(), shrink=2) for tile in czi_of(images)]
    return [tile for pair in zip(czi_of(images), small, strict=True) for tile in pair]


ORDINARY = {
    "scenes": czi_of,
    "no scenes": lambda images: [
        tile._replace(dims={"T": tile.dims["T"], "C": tile.dims["C"]}) for tile in czi_of(images[:1])
    ],
    "one tile each, numbered": lambda images: [tile._replace(dims={**tile.dims, "M": 0}) for tile in czi_of(images)],
    "a pyramid on each plane": _with_pyramid,
    "scenes that lie on each other": lambda images: [tile._replace(x=0) for tile in czi_of(images)],
    "a stage that moves": lambda images: [tile._replace(y=3 * tile.dims["T"]) for tile in czi_of(images)],
    "planes missing": lambda images: czi_of(images)[:-3],
}
OTHERS = {
    "scenes of different size": lambda images: [
        tile._replace(pixels=tile.pixels[: 8 + 2 * tile.dims["S"]].copy()) for tile in czi_of(images)
    ],
    "tiles": lambda images: list(mosaic(images)),
    "channels of different type": lambda images: [
        tile._replace(pixels=tile.pixels.astype(np.uint8)) if tile.dims["C"] else tile for tile in czi_of(images)
    ],
    "dimensions that some subblocks do not name": lambda images: [
        tile._replace(dims={letter: at for letter, at in tile.dims.items() if letter != "C" or tile.dims["T"]})
        for tile in czi_of(images[:, :, :1])
    ],
    "very many subblocks": lambda images: [
        Subblock({"S": s, "T": t, "C": c}, images[s, t % 2, c, :2, :3].copy(), x=100 * s)
        for s, t, c in np.ndindex(2, 1001, 2)
    ],
}


@pytest.mark.parametrize("library", ["aicspylibczi", "pylibCZIrw"])
def test_czi_pixels_come_from_aicspylibczi_and_what_it_cannot_from_pylibczirw(tmp_path, monkeypatch, library):
    """Compressed with zstd, so that a library has to undo it; the planes are compared with what was written."""
    started = []
    start = subprocess.Popen

    def popen(command, **options):
        started.append(command[3])
        return start(command, **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    images = pixels(2, 2)[:, :, :, 0]
    for name, layout in (ORDINARY if library == "aicspylibczi" else OTHERS).items():
        path = tmp_path / "a.czi"
        tiles = layout(images)
        write_subblocks(path, tiles, xml=movie_xml(["a", "b"], {}, 1.0, 1.0), compress=True)
        with open_movie(path) as read:
            if name == "tiles":
                np.testing.assert_array_equal(read(1, 1, [1], None)[0], images[1, 1, 1])
            for tile in tiles if name != "tiles" else ():
                if tile.shrink == 1 and tile.dims["T"] in (0, 1, 1000):
                    plane = read(tile.dims.get("S", 0), tile.dims["T"], [tile.dims.get("C", 0)], None)[0]
                    np.testing.assert_array_equal(plane, tile.pixels)
        assert started == [library], name
        started.clear()


@pytest.mark.parametrize("letter", "STC")
@pytest.mark.parametrize("compress", [False, True])
def test_czi_planes_that_do_not_name_a_dimension_are_never_taken_for_others(tmp_path, letter, compress):
    """Both libraries give one plane for another without a word."""
    images = pixels(2, 2)[:, :, :, 0]
    path = tmp_path / "a.czi"
    tiles = [
        tile._replace(dims={name: at for name, at in tile.dims.items() if name != letter or at})
        for tile in czi_of(images)
    ]
    write_subblocks(path, tiles, xml=movie_xml(["a", "b"], {}, 1.0, 1.0), compress=compress)
    if not compress:
        assert_planes(path, images[:, :, :, None])
        return
    with open_movie(path) as read, pytest.raises(UserError, match=f"do not name dimension {letter}"):
        read(0, 0, [0], None)


def test_czi_with_an_absurd_index_is_refused(tmp_path):
    """Not an array of two thousand million frames."""
    path = tmp_path / "a.czi"
    tiles = [Subblock({"T": t}, pixels(1, 1)[0, 0, 0, 0]) for t in (0, 2_000_000_000)]
    write_subblocks(path, tiles, xml=movie_xml(["a"], {}, 1.0, 1.0))
    with pytest.raises(UserError, match="directory of subblocks is damaged"):
        inspect_movie(path)


def test_czi_colour_channel_beside_a_grey_one(tmp_path):
    """The grey channel is usable; the other is refused when it is read."""
    path = tmp_path / "a.czi"
    grey = pixels(1, 1)[0, 0, 0, 0]
    tiles = [Subblock({"C": 0}, grey), Subblock({"C": 1}, np.ones((HEIGHT, WIDTH, 3), np.uint8))]
    write_subblocks(path, tiles, xml=movie_xml(["a", "b"], {}, 1.0, 1.0))
    assert inspect_movie(path).dtype == "uint16"
    with open_movie(path) as read:
        np.testing.assert_array_equal(read(0, 0, [0], None)[0], grey)
        with pytest.raises(UserError, match="FOV 0, frame 0, channel 1: colour"):
            read(0, 0, [0, 1], None)


def test_czi_stamps_of_several_scenes_are_those_of_their_subblocks(tmp_path):
    """The attached list has one stamp per time point: that of the first scene."""
    path = czi_file(tmp_path / "a.czi", pixels(2, 3), times_s=lambda fov, frame: 7.0 + 1500 * fov + 60.0 * frame)
    assert [fov["times_min"] for fov in inspect_movie(path).fovs] == [[0.0, 1.0, 2.0], [25.0, 26.0, 27.0]]


@pytest.mark.parametrize("zone", ["+02:00", "-0730", "+05", ""])
def test_czi_stamps_with_a_time_zone(tmp_path, zone):
    """Nothing else in the file tells that the second scene was imaged 25 min after the first."""
    path = czi_file(tmp_path / "a.czi", pixels(2, 3), times_s=lambda fov, frame: 7.0 + 1500 * fov + 60.0 * frame)
    written = path.read_bytes()
    path.write_bytes(re.sub(rb"\.(\d{7})Z<", rb".%b%b<" % (b"0" * (8 - len(zone)), zone.encode()), written))
    assert path.stat().st_size == len(written)
    assert [fov["times_min"] for fov in inspect_movie(path).fovs] == [[0.0, 1.0, 2.0], [25.0, 26.0, 27.0]]


def scenes(images: np.ndarray, taken_s) -> list[Subblock]:
    """Scenes of `images` (P, T, C, Z, H, W), channel 0, each with the stamp taken_s(fov, frame) or None."""
    return [
        Subblock({"S": f, "T": t}, images[f, t, 0, 0], x=500 * f, taken_s=taken_s(f, t))
        for f, t in np.ndindex(images.shape[:2])
    ]


def xml_with_offsets(*offsets: float, announced: int | None = None) -> bytes:
    xml = movie_xml(["a"], {}, 1.0, None).decode()
    listed = f"<T><Positions><List><Offsets>{' '.join(map(str, offsets))}</Offsets></List></Positions></T>"
    size = "" if announced is None else f"<SizeT>{announced}</SizeT>"
    return xml.replace("<Dimensions>", f"{size}<Dimensions>{listed if offsets else ''}").encode()


def test_czi_stamps_that_only_some_scenes_have(tmp_path):
    """Scene 1 takes the list, which is on another clock; that it has no stamps of its own is said."""
    path = tmp_path / "a.czi"
    tiles = scenes(pixels(3, 3), lambda f, t: None if f == 1 else 100.0 + 900 * f + 60 * t)
    write_subblocks(path, tiles, xml=xml_with_offsets(), times_s=[5.0, 65.0, 125.0])
    fovs = inspect_movie(path).fovs
    assert [fov["times_min"] for fov in fovs] == [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [30.0, 31.0, 32.0]]
    assert [fov["senseless_stamps"] for fov in fovs] == [[], [0, 1, 2], []]
    write_subblocks(path, tiles, xml=xml_with_offsets())
    fovs = inspect_movie(path).fovs
    assert [fov["times_min"] for fov in fovs] == [[0.0, 1.0, 2.0], None, [30.0, 31.0, 32.0]]
    assert [fov["senseless_stamps"] for fov in fovs] == [[], [0, 1, 2], []]


@pytest.mark.parametrize("same", [True, False])
def test_czi_subblocks_whose_stamps_are_useless(tmp_path, same):
    """A list serves all scenes then."""
    path = tmp_path / "a.czi"
    tiles = scenes(pixels(2, 3), lambda f, t: 7.0 if same else None)
    write_subblocks(path, tiles, xml=xml_with_offsets(), times_s=[5.0, 65.0, 125.0])
    for fov in inspect_movie(path).fovs:
        assert (fov["times_min"], fov["senseless_stamps"]) == ([0.0, 1.0, 2.0], [])


@pytest.mark.parametrize("n_fovs", [1, 2])
def test_czi_list_that_cannot_be_used_is_reported(tmp_path, n_fovs):
    path = tmp_path / "a.czi"
    tiles = scenes(pixels(n_fovs, 4), lambda f, t: None)
    listed = [1951.3, 1951.3, 2005.3, 1951.3]
    write_subblocks(path, tiles, xml=xml_with_offsets(), times_s=listed)
    for fov in inspect_movie(path).fovs:
        assert (fov["times_min"], fov["senseless_stamps"]) == (None, [1, 3])
    # the metadata list the times too
    write_subblocks(path, tiles, xml=xml_with_offsets(0, 30, 60.5, 90), times_s=listed)
    for fov in inspect_movie(path).fovs:
        assert fov["times_min"] == pytest.approx(np.array([0, 30, 60.5, 90]) / 60, abs=1e-6)
        assert fov["senseless_stamps"] == [1, 3]


@pytest.mark.parametrize(
    ("listed", "announced", "times", "bad"),
    [
        ([0, 60, 120], None, None, [3]),  # too short: a stamp is missing
        ([0, 60, 120, 180, 240, 300], 6, [0.0, 1.0, 2.0, 3.0], []),  # stopped after 4 of 6
        ([0, 60, 120, 180, 240, 300], None, None, [0, 1, 2, 3]),  # what stands for what?
        ([0, 1, 60, 61, 120, 121, 180, 181], 4, None, [0, 1, 2, 3]),  # two channels: so it seems
    ],
)
def test_czi_lists_of_other_lengths(tmp_path, listed, announced, times, bad):
    path = tmp_path / "a.czi"
    tiles = scenes(pixels(1, 4), lambda f, t: None)
    write_subblocks(path, tiles, xml=xml_with_offsets(announced=announced), times_s=listed)
    fov = inspect_movie(path).fovs[0]
    assert (fov["times_min"], fov["senseless_stamps"]) == (times, bad)


@pytest.mark.parametrize("offsets", ["0 a 2 3", "0 5 5 6", "0 1 2", ""])
def test_czi_offsets_that_make_no_sense_are_none(tmp_path, offsets):
    path = tmp_path / "a.czi"
    xml = xml_with_offsets(1).replace(b"<Offsets>1<", f"<Offsets>{offsets}<".encode())
    write_subblocks(path, scenes(pixels(1, 4), lambda f, t: None), xml=xml)
    assert inspect_movie(path).fovs[0]["times_min"] is None


def test_czi_stamps_of_the_subblocks(tmp_path):
    """The attached list is useless; the first channel is not there at each time."""
    images = pixels(1, 3)
    tiles = [
        Subblock({"T": t, "C": c}, images[0, t, c, 0], taken_s=t * 30.0) for t, c in [(0, 0), (0, 1), (1, 1), (2, 1)]
    ]
    path = tmp_path / "a.czi"
    write_subblocks(path, tiles, xml=movie_xml(["a", "b"], {}, 1.0, 1.0), times_s=[0.0, 0.0, 0.0])
    assert inspect_movie(path).fovs[0]["times_min"] == [0.0, 0.5, 1.0]


def test_czi_without_names(tmp_path):
    path = czi_file(tmp_path / "a.czi", pixels(2, 1), channels=[None, "b"], scene_names=["", ""])
    movie = inspect_movie(path)
    assert movie.channels == ["C0", "b"]
    assert [fov["name"] for fov in movie.fovs] == ["FOV 0", "FOV 1"]


@pytest.mark.parametrize("compression", [None, "zstd0:ExplicitLevel=2", "zstd1:PreProcess=HiLoByteUnpack"])
def test_czi_of_zeiss_own_writer(tmp_path, compression):
    """libCZI as an independent writer."""
    from pylibCZIrw import czi

    images = pixels(2, 3)
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path), compression_options=compression) as document:
        for s, t, c in np.ndindex(2, 3, 2):
            place = {"T": t, "C": c, "Z": 0}
            document.write(images[s, t, c, 0][..., None], plane=place, scene=s, location=(s * 100, 0))
        document.write_metadata(channel_names={0: "Phase", 1: "GFP"}, scale_x=0.65e-6, scale_y=0.65e-6)
    movie = inspect_movie(path)
    assert (movie.channels, movie.pixel_size_um) == (["Phase", "GFP"], 0.65)
    assert_planes(path, images)


def test_our_czi_is_strictly_valid(tmp_path):
    """libCZI without its leniency, and its own list of subblocks, agree with what was written."""
    from pylibCZIrw import czi

    images = pixels(2, 3, 2, 2)
    path = czi_file(tmp_path / "a.czi", images, compress=True)
    strict = czi.ReaderOptions(lax_subblock_coordinate_checks=False)
    with czi.open_czi(str(path), reader_options=strict) as document:
        found = set()
        document.enumerate_subblocks(
            lambda _, block: found.add(tuple(block.coordinate.to_dict()[axis] for axis in "STCZ")) is None
        )
        assert found == set(np.ndindex(2, 3, 2, 2))
        for s, t, c, z in found:
            plane = document.read(plane={"T": t, "C": c, "Z": z}, scene=s)[..., 0]
            np.testing.assert_array_equal(plane, images[s, t, c, z])


# ------------------------------------------------------------------------------------------------- real files


@pytest.mark.parametrize("name", ["example-cerevisiae.nd2", "example-multichannel.nd2", "cluster.nd2"])
def test_real_nd2_against_nd2s_own_array(name):
    import nd2

    path = real(f"nd2/{name}")
    with nd2.ND2File(path) as file:
        sizes = {axis: file.sizes.get(axis, 1) for axis in "PTCZYX"}
        axes = list(file.sizes)
        theirs = file.asarray().transpose([axes.index(a) for a in "PTCZYX" if a in axes])
        names = [channel.channel.name for channel in file.metadata.channels]
        stamps = [
            file.frame_metadata(i).channels[0].time.relativeTimeMs / 60_000
            for i in range(0, sizes["T"] * sizes["Z"], sizes["Z"])
        ]
        size = file.voxel_size().x
    assert_planes(path, theirs.reshape([sizes[axis] for axis in "PTCZYX"]))
    movie = inspect_movie(path)
    assert movie.channels == names
    assert movie.pixel_size_um == pytest.approx(size)
    assert movie.fovs[0]["times_min"] == pytest.approx(np.array(stamps) - stamps[0], abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["CellDivision_T3_Z5_CH2_X240_Y170.czi", "LLS7_small.czi", "WellD6-7_S2.czi", "s_1_t_1_c_1_z_1.czi"],
)
def test_real_czi_against_aicspylibczi(name):
    from aicspylibczi import CziFile

    path = real(f"czi/{name}")
    file = CziFile(path)
    sizes = dict(zip(file.dims, file.size, strict=True))
    shape = [sizes.get(axis, 1) for axis in "STCZYX"]
    images = np.empty(shape, np.uint16)
    for index in np.ndindex(*shape[:4]):
        at = {axis: i for axis, i in zip("STCZ", index, strict=True) if axis in sizes}
        images[index] = np.squeeze(file.read_image(**at)[0])
    assert_planes(path, images)
    movie = inspect_movie(path)
    assert movie.channels == [e.get("Name") for e in file.meta.iterfind(".//Dimensions/Channels/Channel")]
    scale = float(file.meta.findtext(".//Scaling/Items/Distance[@Id='X']/Value"))
    assert movie.pixel_size_um == pytest.approx(scale * 1e6)


def test_real_czi_times_and_names():
    """The attached list says the same as the subblocks' own stamps; a file with neither has its metadata's."""
    from aicspylibczi import CziFile

    path = real("czi/CellDivision_T3_Z5_CH2_X240_Y170.czi")
    file = CziFile(path)
    taken = []
    for frame in range(3):
        (_, xml), *_ = file.read_subblock_metadata(T=frame, C=0, Z=2)
        taken.append(np.datetime64(xml.split("<AcquisitionTime>")[1].split("Z<")[0]))
    minutes = (np.array(taken) - taken[0]) / np.timedelta64(1, "m")
    assert inspect_movie(path).fovs[0]["times_min"] == pytest.approx(minutes, abs=0.01)
    # here they stand in the metadata alone
    path = real("czi/LLS7_small.czi")
    offsets = CziFile(path).meta.findtext(".//T/Positions/List/Offsets").split()
    assert inspect_movie(path).fovs[0]["times_min"] == pytest.approx(np.array(offsets, float) / 60, abs=1e-6)
    assert [fov["name"] for fov in inspect_movie(real("czi/WellD6-7_S2.czi")).fovs] == ["D6", "D7"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_real_czi_cut_off(tmp_path, share):
    """ZEN writes the directory before the pixels: it is whole, and points beyond the end."""
    content = real("czi/CellDivision_T3_Z5_CH2_X240_Y170.czi").read_bytes()
    path = tmp_path / "cut.czi"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"is not a readable CZI file: .*file is cut off"):
        inspect_movie(path)


# ------------------------------------------------------------------------------------------------- small parts


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=4),
    )
)
def test_integers_are_widened_if_no_value_is_lost(plane):
    values = [[int(value) for value in row] for row in plane]
    if all(0 <= value <= 65535 for row in values for value in row):
        assert as_uint16(plane, "here").dtype == np.uint16
        assert as_uint16(plane, "here").tolist() == values
    else:
        with pytest.raises(UserError, match="here: values"):
            as_uint16(plane, "here")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, bool])
def test_other_pixels_are_refused(dtype):
    with pytest.raises(UserError, match="cannot be used"):
        as_uint16(np.zeros((2, 2), dtype), "here")


@given(
    steps=st.lists(st.floats(0.01, 1e4), min_size=1, max_size=20),
    start=st.floats(-1e6, 1e6),
    data=st.data(),
)
def test_times_of_frames(steps, start, data):
    """Rising stamps come back in minutes; frames that do not exist lie between or beyond them, in order."""
    seconds = start + np.cumsum(steps)
    taken = np.array(data.draw(st.lists(st.booleans(), min_size=len(seconds), max_size=len(seconds))))
    known = np.where(taken, seconds, np.nan)
    (minutes,) = time_stamps.minutes_since_first(known[None], taken[None])
    if taken.sum() < min(2, len(taken)):
        assert minutes is None
        return
    assert len(minutes) == len(taken)
    assert minutes[0] == 0.0
    assert (np.diff(minutes) > 0).all()
    there = np.flatnonzero(taken)
    expected = (seconds[there] - seconds[there[0]]) / 60
    np.testing.assert_allclose(np.array(minutes)[there] - minutes[there[0]], expected, atol=2e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("place", [1, 2])
def test_one_bad_stamp_spoils_all(bad, place):
    seconds = np.array([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]])
    seconds[0, place] = bad
    taken = np.ones((2, 3), bool)
    assert time_stamps.minutes_since_first(seconds, taken) == [None, [0.0, 0.016667, 0.033333]]
    assert time_stamps.senseless(seconds, taken) == [[place], []]


@given(
    steps=st.lists(st.floats(0.01, 1e4), min_size=2, max_size=12),
    starts=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4),
    data=st.data(),
)
def test_times_of_fovs_at_one_pace(steps, starts, data):
    """FOVs that start at any time, overlapping or not, and lack frames: one of them has all, and all pause with it."""
    seconds = np.array(starts)[:, None] + np.cumsum([0.0, *steps])
    taken = np.array([[data.draw(st.booleans()) or fov == 0 for _ in seconds[0]] for fov in range(len(starts))])
    taken[:, data.draw(st.integers(0, len(steps)))] = True
    minutes = time_stamps.minutes_since_first(np.where(taken, seconds, np.nan), taken)
    np.testing.assert_allclose(minutes, (seconds - seconds[taken].min()) / 60, atol=2e-6)


def test_a_file_whose_first_frame_is_of_no_fov():
    seconds = np.array([[np.nan, 70.0, 130.0], [np.nan, 75.0, np.nan]])
    minutes = time_stamps.minutes_since_first(seconds, np.isfinite(seconds))
    np.testing.assert_allclose(minutes, np.array([[0, 60, 120], [5, 65, 125]]) / 60, atol=1e-6)


@pytest.mark.parametrize("bad", [0, 3, 7])
@pytest.mark.parametrize("stamp", [np.nan, 0.0, 1e6])
@pytest.mark.parametrize("n_frames", [8, 50])
def test_a_single_bad_stamp_is_interpolated(bad, stamp, n_frames):
    """FOV 1 begins later; its other stamps are right. A late stamp at the end is no contradiction, nor an early one."""
    good = 60.0 * np.arange(n_frames) + np.array([[0.0], [1500.0]])
    seconds = good.copy()
    seconds[1, bad] = stamp
    taken = np.ones(seconds.shape, bool)
    rises = bool((np.diff(seconds[1]) > 0).all())
    assert time_stamps.senseless(seconds, taken) == [[], [] if rises else [bad]]
    times = time_stamps.minutes_since_first(seconds, time_stamps.trusted(seconds, taken), taken)
    if not rises:
        np.testing.assert_allclose(times, good / 60, atol=1e-6)


@pytest.mark.parametrize(
    "stamps",
    [
        [1951.3, 1951.3, 2005.3, 1951.3, 2100.0, 2200.0, 2300.0, 2400.0],
        [0.0] * 8,
        [0.0, 1.0, np.nan, np.nan, 4.0, 5.0, 6.0, 7.0],
        [0.0, 2.0, 1.0, 3.0],
    ],
)
def test_of_many_bad_stamps_none_is_used(stamps):
    seconds, taken = np.array([stamps]), np.ones((1, len(stamps)), bool)
    np.testing.assert_array_equal(time_stamps.trusted(seconds, taken), taken)
    assert time_stamps.minutes_since_first(seconds, taken) == [None]
    assert time_stamps.senseless(seconds, taken) != [[]]


@pytest.mark.parametrize("where", ["attached", "offsets"])
def test_a_czi_list_with_a_single_bad_stamp(tmp_path, where):
    path, stamps = tmp_path / "a.czi", [0.0, 300.0, 600.0, 300.0, 1200.0, 1500.0]
    xml = movie_xml(["a"], {}, 1.0, None)
    if where == "offsets":
        offsets = " ".join(map(str, stamps)).encode()
        of_times = b"<T><Positions><List><Offsets>" + offsets + b"</Offsets></List></Positions></T>"
        xml = xml.replace(b"<Dimensions>", b"<Dimensions>" + of_times)
    tiles = [Subblock({"T": t}, np.ones((9, 9), np.uint16)) for t in range(6)]
    write_subblocks(path, tiles, xml=xml, times_s=stamps if where == "attached" else None)
    (place,) = inspect_movie(path).fovs
    assert (place["times_min"], place["senseless_stamps"]) == ([0.0, 5.0, 10.0, 15.0, 20.0, 25.0], [3])


def test_a_first_frame_whose_stamp_cannot_be_read_is_the_first_all_the_same():
    seconds = np.array([[np.nan, 70.0, 130.0], [15.0, 75.0, 135.0]])
    minutes = time_stamps.minutes_since_first(seconds, np.isfinite(seconds), np.ones((2, 3), bool))
    np.testing.assert_allclose(minutes, np.array([[0, 60, 120], [5, 65, 125]]) / 60, atol=1e-6)


def test_a_fov_without_stamps_beside_others():
    seconds = np.array([[1.0, 2.0], [np.nan, np.nan]])
    assert time_stamps.senseless(seconds, np.ones((2, 2), bool)) == [[], [0, 1]]
    assert time_stamps.senseless(seconds[1:], np.ones((1, 2), bool)) == [[]]
