"""Reading TIFFs that their names tell apart: patterns, and the .nd files of MetaMorph."""

from __future__ import annotations

import itertools
import re
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from movie_tools import check, read_all, refusal
from tiff_tools import HEIGHT, WIDTH, image, micro_manager_tag, ome, pixels, write_pages

from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.planning import doubts
from celltraces.planning.identity import content_identity
from celltraces.readers.input_files import is_input, listed
from celltraces.readers.movie_file import inspect_movie, open_movie
from celltraces.tiff import name_pattern

CHANNELS = {"pc": {"channel": 0, "features": ["area"]}}


def write_folder(folder: Path, images: np.ndarray, name: str, **first) -> None:
    """A file per plane; `first`: the number that an axis begins at."""
    for fov, frame, channel, z in np.ndindex(images.shape[:4]):
        values = {"fov": fov + first.get("fov", 0), "frame": frame + first.get("frame", 0), "channel": channel, "z": z}
        file = folder / name.format(**values)
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, images[fov, frame, channel, z], photometric="minisblack", metadata=None)


def pattern_refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        inspect_movie(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("Pos{fov}/img_{channel}_{frame}_{z}.tif", "Pos{fov}/img_{channel}_{frame}_{z}.tif"),
        ("a b/t{frame:03d}_z{z:02d}_c{channel}_p{fov:d}.tiff", "a b/t{frame}_z{z}_c{channel}_p{fov}.tiff"),
        ("p{fov}/p{fov}_{frame:04d}/c[{channel}] (z{z}).tif", "p{fov}/p{fov}_{frame}/c[{channel}] (z{z}).tif"),
    ],
)
def test_a_file_per_plane(tmp_path, written, pattern):
    """Eleven frames: 10 comes after 9, not after 1."""
    images = pixels(2, 11, 2, 2)
    write_folder(tmp_path, images, written, frame=1)
    movie = check(tmp_path / pattern, images)
    assert [fov["name"] for fov in movie.fovs] == ["0", "1"]
    assert movie.channels == ["0", "1"]
    assert len(movie.files) == images.size // (HEIGHT * WIDTH) == len(listed(tmp_path / pattern))


@pytest.mark.parametrize(("step", "first"), [(10, 0), (5, 5), (2, 1)])
def test_frames_numbered_in_steps_follow_each_other(tmp_path, step, first):
    """As by minutes; one that is not there is missing, as always."""
    images = pixels(1, 6, 1, 1)
    for frame in range(6):
        tifffile.imwrite(tmp_path / f"t{first + step * frame}.tif", images[0, frame, 0, 0], metadata=None)
    path = tmp_path / "t{frame}.tif"
    check(path, images)
    dataset = SimpleNamespace(name="x", path=str(path), movie=inspect_movie(path))
    (line,) = doubts._numbered_in_steps(dataset)
    assert f"in steps of {step}" in line
    assert "6 frames" in line
    (tmp_path / f"t{first + 2 * step}.tif").unlink()
    assert inspect_movie(path).fovs[0]["missing"] == [[2, 0]]
    tifffile.imwrite(tmp_path / f"t{first + 1}.tif", images[0, 0, 0, 0], metadata=None)
    assert inspect_movie(path).n_frames == 5 * step + 1
    assert list(doubts._numbered_in_steps(dataset)) == []


def test_files_of_another_depth(tmp_path):
    """One exported anew with 8 bits; a channel of its own may have them."""
    images = pixels(2, 3, 2, 1)
    write_folder(tmp_path, images, "{fov}_{channel}_{frame}.tif")
    path = tmp_path / "{fov}_{channel}_{frame}.tif"
    for fov, frame in np.ndindex(2, 3):
        tifffile.imwrite(tmp_path / f"{fov}_1_{frame}.tif", (images[fov, frame, 1, 0] >> 8).astype(np.uint8))
    assert inspect_movie(path).n_frames == 3
    tifffile.imwrite(tmp_path / "1_0_2.tif", (images[1, 2, 0, 0] >> 8).astype(np.uint8))
    line = pattern_refusal(path)
    assert "1_0_2.tif" in line
    assert "'0'" in line


def test_names_of_wells_and_channels(tmp_path):
    images = pixels(3, 2, 2, 1)
    for (fov, well), frame, (channel, dye) in itertools.product(
        enumerate(("A2", "A10", "B1")), range(2), enumerate(("DAPI 405", "phase_contrast"))
    ):
        tifffile.imwrite(tmp_path / f"{well}_{dye}_t{frame}.tif", images[fov, frame, channel, 0], metadata=None)
    movie = check(tmp_path / "{fov}_{channel}_t{frame}.tif", images)
    assert [fov["name"] for fov in movie.fovs] == ["A2", "A10", "B1"]
    assert movie.channels == ["DAPI 405", "phase_contrast"]


def test_files_that_are_not_there_are_missing_and_count(tmp_path):
    images = pixels(2, 4, 2, 1)
    write_folder(tmp_path, images, "{fov}_{channel}_{frame:02d}.tif")
    path = tmp_path / "{fov}_{channel}_{frame}.tif"
    whole = content_identity(str(path), inspect_movie(path))
    gone = (tmp_path / "1_0_02.tif").read_bytes()
    (tmp_path / "1_0_02.tif").unlink()
    movie = inspect_movie(path)
    assert [fov["missing"] for fov in movie.fovs] == [[], [[2, 0]]]
    assert read_all(path)[1, 2, 0, 0] is None
    np.testing.assert_array_equal(read_all(path)[1, 3, 0, 0], images[1, 3, 0, 0])
    identities = {whole, content_identity(str(path), movie)}
    # the same files under names that put the gap elsewhere are another movie
    (tmp_path / "1_0_03.tif").rename(tmp_path / "1_0_02.tif")
    identities.add(content_identity(str(path), inspect_movie(path)))
    assert len(identities) == 3
    (tmp_path / "1_0_02.tif").rename(tmp_path / "1_0_03.tif")
    (tmp_path / "1_0_02.tif").write_bytes(gone)
    assert content_identity(str(path), inspect_movie(path)) == whole


def test_the_same_files_under_other_names_are_the_same_input(tmp_path):
    images = pixels(2, 3, 2, 1)
    write_folder(tmp_path / "a", images, "{fov}_{channel}_{frame}.tif")
    write_folder(tmp_path / "b", images, "pos{fov:03d}/ch{channel}/{frame:05d}.tiff", frame=7, fov=3)
    paths = [tmp_path / "a/{fov}_{channel}_{frame}.tif", tmp_path / "b/pos{fov}/ch{channel}/{frame}.tiff"]
    first, second = (content_identity(str(path), inspect_movie(path)) for path in paths)
    assert first == second


def test_files_with_axes_of_their_own(tmp_path):
    """A pattern of positions alone, and of positions and frames: the files tell the rest, and are of any length."""
    images = pixels(2, 3, 2, 2)
    for fov in range(2):
        kept = images[fov, : 3 - fov].transpose(0, 2, 1, 3, 4)
        tifffile.imwrite(
            tmp_path / f"Pos{fov}.tif",
            kept,
            imagej=True,
            metadata={"axes": "TZCYX", "finterval": 60.0, "unit": "um"},
            resolution=(2.0, 2.0),
        )
    path = tmp_path / "Pos{fov}.tif"
    movie = inspect_movie(path)
    assert (movie.n_frames, movie.n_z, movie.pixel_size_um, movie.period_min) == (3, 2, 0.5, 1.0)
    assert movie.fovs[1]["missing"] == [[2, 0], [2, 1]]
    found = read_all(path)
    for at in np.ndindex(found.shape):
        expected = None if at[:2] == (1, 2) else images[at]
        np.testing.assert_array_equal(found[at], expected)
    for fov, frame in np.ndindex(2, 3):
        stack = ome(image({"C": 2, "Z": 2}, channels=["Phase", "GFP"], order="XYZCT"))
        write_pages(tmp_path / f"{fov}-{frame}.ome.tif", list(images[fov, frame].reshape(-1, HEIGHT, WIDTH)), stack)
    assert check(tmp_path / "{fov}-{frame}.ome.tif", images).channels == ["Phase", "GFP"]


@pytest.mark.parametrize("pattern", ["Pos{fov}_{frame}.tif", "Pos{fov}.tif"])
def test_files_of_two_objectives_are_no_dataset(tmp_path, pattern):
    """A file per plane, of which not all are looked at, or a file per FOV; not told where a file does not say."""

    def write(widths_um):
        for fov, frame in np.ndindex(len(widths_um), 2 if "{frame}" in pattern else 1):
            known = {"resolution": (1 / widths_um[fov],) * 2} if widths_um[fov] else {}
            unit = {"unit": "um"} if known else {}
            images = pixels(3, 2)[fov][:, None, None]
            images = images[frame : frame + 1] if "{frame}" in pattern else images
            file = tmp_path / pattern.format(fov=fov, frame=frame)
            tifffile.imwrite(file, images, imagej=True, metadata={**unit, "axes": "TZCYX"}, **known)
        return tmp_path / pattern

    assert inspect_movie(write([0.65, 0.65, 0.65])).pixel_size_um == pytest.approx(0.65, rel=1e-3)
    assert inspect_movie(write([0.65, None, 0.65])).pixel_size_um == pytest.approx(0.65, rel=1e-3)
    told = pattern_refusal(write([0.65, 0.65, 0.325]))
    assert "pixels are 0.325 um wide in 'Pos2" in told
    assert "and 0.65 um in 'Pos0" in told


def test_times_of_files_of_micro_manager(tmp_path):
    for frame in range(3):
        tags = [[micro_manager_tag(**{"ElapsedTime-ms": 60_000 * frame, "PixelSizeUm": 0.5})]]
        write_pages(tmp_path / f"img_channel000_time{frame:09d}.tif", [pixels(3)[frame]], tags=tags)
    movie = inspect_movie(tmp_path / "img_channel{channel}_time{frame}.tif")
    assert (movie.fovs[0]["times_min"], movie.pixel_size_um) == ([0.0, 1.0, 2.0], 0.5)


def test_patterns_that_cannot_be_meant(tmp_path):
    images = pixels(1, 2, 1, 1)
    write_folder(tmp_path, images, "{fov}_{frame:03d}.tif")
    assert "no file is named as" in pattern_refusal(tmp_path / "{fov}-{frame}.tif")
    assert "{time} is no place of a pattern" in pattern_refusal(tmp_path / "{fov}_{time}.tif")
    assert "two places beside each other" in pattern_refusal(tmp_path / "{fov}{frame}.tif")
    (tmp_path / "0_1.tif").write_bytes((tmp_path / "0_001.tif").read_bytes())
    assert "are the same plane of" in pattern_refusal(tmp_path / "{fov}_{frame}.tif")
    (tmp_path / "0_1.tif").rename(tmp_path / "0_900000.tif")
    assert "lie far apart" in pattern_refusal(tmp_path / "{fov}_{frame}.tif")
    tifffile.imwrite(tmp_path / "x1.tif", pixels(3), photometric="minisblack", metadata={"axes": "TYX"})
    assert "{frame} is in the pattern, and" in pattern_refusal(tmp_path / "x{frame}.tif")


def test_a_damaged_file_of_a_pattern_is_named(tmp_path):
    write_folder(tmp_path, pixels(1, 3, 1, 1), "{fov}_{frame}.tif")
    path = tmp_path / "{fov}_{frame}.tif"
    (tmp_path / "0_1.tif").write_bytes((tmp_path / "0_1.tif").read_bytes()[:-9])
    assert "the pixels of page 0 are not wholly in the file" in pattern_refusal(path)
    assert "0_1.tif" in pattern_refusal(path)
    (tmp_path / "0_1.tif").write_bytes(b"")
    assert "0_1.tif" in pattern_refusal(path)
    (tmp_path / "0_0.tif").write_bytes(b"no picture")
    assert "is not a readable set of TIFF files: 0_0.tif: " in pattern_refusal(path)
    tifffile.imwrite(tmp_path / "0_0.tif", pixels(), metadata=None)
    tifffile.imwrite(tmp_path / "0_1.tif", np.ones((HEIGHT, WIDTH + 1), np.uint16))
    with (
        open_movie(path) as read,
        pytest.raises(UserError, match="FOV 0, frame 1: page 0 has 15 x 9 pixels where 14 x 9"),
    ):
        read(0, 1, [0], None)


def test_how_a_config_names_a_pattern(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    config = complete({"datasets": {"a": {"files": "$DATA/{fov}_{frame}.tif"}}, "channels": CHANNELS})
    assert config["datasets"] == {"a": f"{tmp_path}/{{fov}}_{{frame}}.tif"}
    assert is_input(Path(config["datasets"]["a"]))
    for wrong in ({"files": "a.tif"}, {"files": 3}, {"file": "{fov}.tif"}, {}, {"files": "{fov}.tif", "more": 1}):
        with pytest.raises(UserError) as caught:
            complete({"datasets": {"a": wrong}, "channels": CHANNELS})
        assert "datasets.a" in str(caught.value)
        assert re.search(r"\bfiles\b", str(caught.value))


def test_texts_that_are_no_input():
    for text in ("a" * 5000, "a" * 5000 + "{frame}", "a\0b", ".", "/no/such/folder"):
        assert not is_input(Path(text))


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    path = write_pages(tmp_path / "a{frame}.tif", [pixels()])
    assert not name_pattern.is_pattern(path)
    check(path, pixels()[None, None, None, None])


# ---------------------------------------------------------------------------------------------------------- MetaMorph

ND = """"NDInfoFile", Version 1.0
"Description", File recreated from images.
"StartTime1", 20240719 14:19:15
"DoTimelapse", {timelapse}
"NTimePoints", {frames}
"DoStage", {stage}
"NStagePositions", 2
"Stage1", "Row A, 1"
"Stage2", "Row B"
"DoWave", TRUE
"NWavelengths", 2
"WaveName1", "BF 10x/Ph"
"WaveDoZ1", {in_z}
"WaveName2", "491"
"WaveDoZ2", {in_z}
"DoZSeries", {in_z}
"NZSteps", {steps}
"ZStepSize", 0
"WaveInFileName", TRUE
"NEvents", 0
"EndFile"
"""
METASERIES = (
    '<MetaData><prop id="Description" type="string" value=""/><PlaneInfo>'
    '<prop id="spatial-calibration-x" type="float" value="0.65"/><prop id="spatial-calibration-units" type="string" '
    'value="um"/><prop id="stage-label" type="string" value="x"/><prop id="acquisition-time-local" type="time" '
    'value="20240719 14:{minute:02d}:54.500"/></PlaneInfo></MetaData>'
)


def test_the_nd_file_of_metamorph(tmp_path):
    images = pixels(2, 11, 2, 1)
    path = tmp_path / "exp 1.nd"
    path.write_text(ND.format(timelapse="TRUE", frames=12, stage="TRUE", in_z="FALSE", steps=1), encoding="cp1252")
    for fov, frame, channel in np.ndindex(2, 11, 2):
        name = f"exp 1_w{channel + 1}{('BF 10x-Ph', '491')[channel]}_s{fov + 1}_t{frame + 1}.TIF"
        write_pages(tmp_path / name, [images[fov, frame, channel, 0]], METASERIES.format(minute=3 * frame))
    (tmp_path / "exp 1_thumb_w1BF 10x-Ph_s1_t1.TIF").write_bytes(b"no movie")
    movie = check(path, images)
    assert movie.channels == ["BF 10x/Ph", "491"]
    assert [fov["name"] for fov in movie.fovs] == ["Row A, 1", "Row B"]
    assert movie.pixel_size_um == 0.65
    np.testing.assert_allclose(movie.fovs[1]["times_min"], np.arange(11) * 3.0)
    assert str(path) in movie.files
    (tmp_path / "exp 1_w2491_s2_t4.TIF").unlink()
    assert [fov["missing"] for fov in inspect_movie(path).fovs] == [[], [[3, 1]]]
    path.write_text("something else")
    assert "something else" in refusal(path)


def test_z_planes_of_metamorph(tmp_path):
    """Pages of a TIFF, where one file has fewer than announced."""
    images = pixels(1, 1, 2, 3)
    path = tmp_path / "e.nd"
    path.write_text(ND.format(timelapse="FALSE", frames=1, stage="FALSE", in_z="TRUE", steps=3), encoding="cp1252")
    for channel, name in enumerate(("e_w1BF 10x-Ph.tif", "e_w2491.tif")):
        write_pages(tmp_path / name, list(images[0, 0, channel]))
    check(path, images)
    write_pages(tmp_path / "e_w2491.tif", list(images[0, 0, 1, :2]))
    movie = inspect_movie(path)
    assert movie.fovs[0]["missing"] == [[0, 1]]
    assert read_all(path)[0, 0, 1, 2] is None
    write_pages(tmp_path / "e_w2491.tif", list(pixels(4)))
    assert "has 4 planes where 3 are announced" in refusal(path)


def write_stk(path: Path, planes: np.ndarray, heights: list[int], minutes: list[int]) -> Path:
    """A stack of MetaMorph: the tags of the first page tell the planes, whose pixels lie one behind the other."""
    number = len(planes)
    of_planes = np.array([[z, 1, 2_460_000, 60_000 * minute, 0, 0] for z, minute in zip(heights, minutes, strict=True)])
    tags = [(33628, 4, 4, (0, 0, 0, 0), True), (33629, 4, 6 * number, of_planes.ravel().tolist(), True)]
    write_pages(path, [planes[0]], tags=[tags])
    content = bytearray(path.read_bytes()) + planes[1:].tobytes()
    texts = len(content)
    content += struct.pack("<II", 65, 100) + struct.pack("<I", 3) + b"um\0\0"
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].dataoffsets[0] + planes[0].nbytes == path.stat().st_size
        places = {code: tiff.pages[0].tags[code].offset for code in (33628, 33629)}
        values = tiff.pages[0].tags[33628].valueoffset
    struct.pack_into("<4I", content, values, 4, texts, 6, texts + 8)  # the size of a pixel, and its unit
    struct.pack_into("<HI", content, places[33628] + 2, 4, 2)  # counted in pairs
    struct.pack_into("<HI", content, places[33629] + 2, 5, number)  # counted in planes
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("heights", "in_z"), [([0, 0, 0], False), ([5, 5, 5], True)])
def test_stacks_of_metamorph(tmp_path, heights, in_z):
    """Planes without a distance between them are frames, with their times; tifffile finds the same planes."""
    images = pixels(3)
    path = write_stk(tmp_path / "a.stk", images, heights, [0, 10, 25])
    movie = check(path, images[None, None, None] if in_z else images[None, :, None, None])
    assert movie.pixel_size_um == 0.65
    assert movie.fovs[0]["times_min"] == ([0.0] if in_z else [0.0, 10.0, 25.0])
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].axes == ("ZYX" if in_z else "TYX")
        np.testing.assert_array_equal(tiff.series[0].asarray(), images)
    write_stk(tmp_path / "b.stk", images, [0, 0, 0], [1, 1, 1])
    assert "does not say whether they are frames or z planes" in refusal(tmp_path / "b.stk")
    path.write_bytes(path.read_bytes()[: -images[0].nbytes])
    with open_movie(path) as read, pytest.raises(UserError, match="plane 2 behind page 0 is not wholly in the file"):
        read(0, 0 if in_z else 2, [0], 2 if in_z else None)


def test_stacks_that_an_nd_file_names(tmp_path):
    images = pixels(1, 1, 2, 3)
    path = tmp_path / "e.nd"
    path.write_text(ND.format(timelapse="FALSE", frames=1, stage="FALSE", in_z="TRUE", steps=3), encoding="cp1252")
    for channel, name in enumerate(("e_w1BF 10x-Ph.STK", "e_w2491.STK")):
        write_stk(tmp_path / name, images[0, 0, channel], [0, 0, 0], [0, 0, 0])
    check(path, images)


def write_named(path: Path, images: np.ndarray, names: list[str]) -> None:
    """An OME-TIFF of images (T, C, H, W) whose channels have names."""
    metadata = {"axes": "TCYX", "Channel": {"Name": names}}
    tifffile.imwrite(path, images, ome=True, photometric="minisblack", metadata=metadata)


def test_channels_that_files_list_in_another_order(tmp_path):
    """Light is not taken for phase contrast since one file begins with it; a file may lack a channel."""
    images = pixels(3, 2, 2, 1)
    write_named(tmp_path / "p0.ome.tif", images[0, :, :, 0], ["Phase", "GFP"])
    write_named(tmp_path / "p1.ome.tif", images[1, :, ::-1, 0], ["GFP", "Phase"])
    write_named(tmp_path / "p2.ome.tif", images[2, :, 1:, 0], ["GFP"])
    path = tmp_path / "p{fov}.ome.tif"
    movie = inspect_movie(path)
    assert movie.channels == ["Phase", "GFP"]
    found = read_all(path)
    for fov, frame, channel in np.ndindex(3, 2, 2):
        if (fov, channel) == (2, 0):
            assert found[fov, frame, channel, 0] is None
        else:
            np.testing.assert_array_equal(found[fov, frame, channel, 0], images[fov, frame, channel, 0])
    write_named(tmp_path / "p2.ome.tif", images[2, :, :, 0], ["Phase", "RFP"])
    assert "different channels, Phase, GFP and Phase, RFP" in pattern_refusal(path)


@pytest.mark.parametrize("single", [0, 1])
def test_files_of_one_frame_and_of_several(tmp_path, single):
    """A position whose acquisition was stopped has one frame: the others have theirs, whichever comes first."""
    images = pixels(2, 3, 1, 1)
    lengths = [1 if fov == single else 3 for fov in range(2)]
    for fov, length in enumerate(lengths):
        written = images[fov, :length, 0, 0]
        tifffile.imwrite(tmp_path / f"p{fov}.tif", written, imagej=True, metadata={"axes": "TYX"})
    path = tmp_path / "p{fov}.tif"
    movie = inspect_movie(path)
    assert [len(fov["missing"]) for fov in movie.fovs] == [3 - length for length in lengths]
    found = read_all(path)
    for fov, length in enumerate(lengths):
        for frame in range(length):
            np.testing.assert_array_equal(found[fov, frame, 0, 0], images[fov, frame, 0, 0])
    for fov in range(2):
        (tmp_path / f"p{fov}.tif").rename(tmp_path / f"p0_t{fov}.tif")
    assert "{frame} is in the pattern, and" in pattern_refusal(tmp_path / "p{fov}_t{frame}.tif")
