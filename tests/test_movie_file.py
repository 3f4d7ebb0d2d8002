"""Reading ND2 and CZI: every trap of real files, against written truth and against independent readers."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import real_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from movie_tools import GFP, HEIGHT, PHASE, WIDTH, WRITERS, assert_planes, czi_file, name_for, nd2_file, pixels

from celltraces.errors import UserError
from celltraces.readers import time_stamps
from celltraces.readers.checks import as_uint16
from celltraces.readers.movie import Movie
from celltraces.readers.movie_file import inspect_movie, open_movie
from demo.czi_writer import Subblock, movie_xml, write_czi, write_subblocks
from demo.nd2_writer import Channel, write_nd2

# ------------------------------------------------------------------------------------------------- both formats


@WRITERS
def test_movie_says_what_was_written(tmp_path, write):
    path = write(tmp_path / name_for(write), pixels(2, 3))
    movie = inspect_movie(path)
    place = {"height": HEIGHT, "width": WIDTH, "senseless_stamps": [], "missing": [], "exposures_ms": [[], []]}
    # the second FOV is imaged a second after the first
    times = [[0.0, 10.0, 20.0], [0.016667, 10.016667, 20.016667]]
    names = ["Pos000", "Pos001"] if write is nd2_file else ["P1", "P2"]
    # the writers put points 1000 um, scenes 500 px apart
    stays = [[0.0, 0.0], [1000.0, 0.0]]
    if write is czi_file:
        stays = [[round(0.65 * x, 6), round(0.65 * HEIGHT / 2, 6)] for x in (WIDTH / 2, WIDTH + 500 + WIDTH / 2)]
    assert movie == Movie(
        format=path.suffix[1:],
        dtype="uint16",
        n_frames=3,
        n_z=1,
        channels=["Phase", "GFP"],
        pixel_size_um=0.65,
        period_min=10.0,
        fovs=[
            {"name": name, "times_min": of_fov, "position_um": stay, **place}
            for name, of_fov, stay in zip(names, times, stays, strict=True)
        ],
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


# ------------------------------------------------------------------------------------------------- real files


@pytest.mark.parametrize("name", ["example-cerevisiae.nd2", "example-multichannel.nd2", "cluster.nd2"])
def test_real_nd2_against_nd2s_own_array(name):
    import nd2

    path = real_file(f"nd2/{name}")
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

    path = real_file(f"czi/{name}")
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

    path = real_file("czi/CellDivision_T3_Z5_CH2_X240_Y170.czi")
    file = CziFile(path)
    taken = []
    for frame in range(3):
        (_, xml), *_ = file.read_subblock_metadata(T=frame, C=0, Z=2)
        taken.append(np.datetime64(xml.split("<AcquisitionTime>")[1].split("Z<")[0]))
    minutes = (np.array(taken) - taken[0]) / np.timedelta64(1, "m")
    assert inspect_movie(path).fovs[0]["times_min"] == pytest.approx(minutes, abs=0.01)
    # here they stand in the metadata alone
    path = real_file("czi/LLS7_small.czi")
    offsets = CziFile(path).meta.findtext(".//T/Positions/List/Offsets").split()
    assert inspect_movie(path).fovs[0]["times_min"] == pytest.approx(np.array(offsets, float) / 60, abs=1e-6)
    assert [fov["name"] for fov in inspect_movie(real_file("czi/WellD6-7_S2.czi")).fovs] == ["D6", "D7"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_real_czi_cut_off(tmp_path, share):
    """ZEN writes the directory before the pixels: it is whole, and points beyond the end."""
    content = real_file("czi/CellDivision_T3_Z5_CH2_X240_Y170.czi").read_bytes()
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
