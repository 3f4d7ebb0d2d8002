"""Reading CZI: dimensions, mosaics, scenes, libraries and time stamps."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from movie_tools import HEIGHT, WIDTH, assert_planes, czi_file, pixels

from celltraces.errors import UserError
from celltraces.readers.movie_file import inspect_movie, open_movie
from demo.czi_writer import Subblock, movie_xml, write_czi, write_subblocks


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
