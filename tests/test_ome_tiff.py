"""OME-TIFF, alone and in sets of files: pages, metadata that contradict themselves, times, identity."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from movie_tools import check, read_all, refusal
from tiff_tools import HEIGHT, WIDTH, image, ome, pixels, tiff_data, write_pages

from celltraces.metadata import length_um, seconds_per
from celltraces.planning.identity import content_identity
from celltraces.readers.input_files import listed
from celltraces.readers.movie_file import inspect_movie

# ------------------------------------------------------------------------------------------------------ OME-TIFF


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True, "byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"compression": "zstd"},
        {"compression": "packbits"},
        {"compression": "lzma"},
        {"tile": (16, 16), "compression": "zlib"},
        {"rowsperstrip": 4},
    ],
    ids=str,
)
def test_ome_tiff_as_tifffile_writes_it(tmp_path, options):
    """Two positions, with everything that OME-XML knows; tifffile reads the same pixels."""
    images = pixels(2, 3, 2, 4)
    path = tmp_path / "a.ome.tif"
    opened = {key: options[key] for key in ("bigtiff", "byteorder") if key in options}
    written = {key: value for key, value in options.items() if key not in opened}
    if options.get("compression") in ("zstd", "packbits") and not importlib.util.find_spec("imagecodecs"):
        pytest.skip("tifffile writes it with imagecodecs only")
    with tifffile.TiffWriter(path, ome=True, **opened) as writer:
        for fov in range(2):
            metadata = {
                "axes": "TCZYX",
                "Name": f"Pos{fov}",
                "Channel": {"Name": ["Phase", "GFP"]},
                "PhysicalSizeX": 650.0,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 650.0,
                "PhysicalSizeYUnit": "nm",
                "TimeIncrement": 10.0,
                "TimeIncrementUnit": "min",
                "Plane": {"DeltaT": [600.0 * t + 7 * fov + z for t in range(3) for c in range(2) for z in range(4)]},
            }
            writer.write(images[fov], photometric="minisblack", metadata=metadata, **written)
    movie = check(path, images)
    assert (movie.channels, movie.pixel_size_um, movie.period_min) == (["Phase", "GFP"], 0.65, 10.0)
    assert [fov["name"] for fov in movie.fovs] == ["Pos0", "Pos1"]
    np.testing.assert_allclose(movie.fovs[1]["times_min"], [7 / 60, 10 + 7 / 60, 20 + 7 / 60], atol=1e-6)
    with tifffile.TiffFile(path) as tiff:
        for fov, series in enumerate(tiff.series):
            np.testing.assert_array_equal(np.squeeze(series.asarray()), images[fov])


@pytest.mark.parametrize("order", ["XYCZT", "XYCTZ", "XYZCT", "XYZTC", "XYTCZ", "XYTZC"])
def test_pages_are_sorted_as_the_order_of_dimensions_says(tmp_path, order):
    """Z and T are never mistaken for each other."""
    images = pixels(1, 3, 2, 4)
    sizes = {"T": 3, "C": 2, "Z": 4}
    slowest_first = order[:1:-1]
    planes = images[0].transpose([*("TCZ".index(axis) for axis in slowest_first), 3, 4]).reshape(-1, HEIGHT, WIDTH)
    path = write_pages(tmp_path / "a.ome.tif", list(planes), ome(image(sizes, order=order)))
    check(path, images)
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        found = series.asarray().transpose([series.axes.index(axis) for axis in "TCZYX"])
    np.testing.assert_array_equal(found, images[0])


def test_pages_in_any_order(tmp_path):
    """TiffData says which page is which plane, one by one or in runs."""
    images = pixels(1, 2, 2, 3)
    places = [(t, c, z) for t in range(2) for c in range(2) for z in range(3)]
    order = np.random.default_rng(1).permutation(len(places))
    each = tiff_data([(*places[place], page) for page, place in enumerate(order)])
    path = write_pages(
        tmp_path / "a.ome.tif",
        [images[0][places[place]] for place in order],
        ome(image({"T": 2, "C": 2, "Z": 3}, each)),
    )
    check(path, images)
    runs = "".join(
        f'<TiffData FirstC="{c}" FirstT="{t}" IFD="{3 * (2 * c + t)}" PlaneCount="3"/>' for c in (0, 1) for t in (0, 1)
    )
    planes = [images[0, t, c, z] for c in range(2) for t in range(2) for z in range(3)]
    path = write_pages(tmp_path / "b.ome.tif", planes, ome(image({"T": 2, "C": 2, "Z": 3}, runs, order="XYZCT")))
    check(path, images)


def test_more_planes_promised_than_there_are(tmp_path):
    """An acquisition that was stopped: frames taken in no FOV do not count, others are missing."""
    images = pixels(1, 3, 2)
    planes = [images[0, t, c] for t in range(3) for c in range(2)][:5]
    path = write_pages(tmp_path / "a.ome.tif", planes, ome(image({"T": 7, "C": 2})))
    movie = inspect_movie(path)
    assert (movie.n_frames, movie.fovs[0]["missing"]) == (3, [[2, 1]])
    found = read_all(path)
    assert found[0, 2, 1, 0] is None
    for t, c in [(t, c) for t in range(3) for c in range(2)][:5]:
        np.testing.assert_array_equal(found[0, t, c, 0], images[0, t, c])


def set_of_files(folder: Path, images: np.ndarray, *, planes: str = "", stem: str = "x_MMStack_Pos") -> list[Path]:
    """As Micro-Manager: a file per position, each with the XML of all positions."""
    names = [f"{stem}{fov}.ome.tif" for fov in range(len(images))]
    uuids = [f"urn:uuid:00000000-0000-0000-0000-{fov:012d}" for fov in range(len(images))]
    n_frames, n_channels = images.shape[1:3]
    pages = [(t, c, 0, t * n_channels + c) for t in range(n_frames) for c in range(n_channels)]
    parts = [
        image(
            {"T": n_frames, "C": n_channels},
            tiff_data(pages, name, uuid),
            name=f"Pos{fov}",
            number=fov,
            channels=["Phase", "GFP"][:n_channels],
            pixel='PhysicalSizeX="0.65" PhysicalSizeXUnit="\u00b5m"',
            planes=planes,
        )
        for fov, (name, uuid) in enumerate(zip(names, uuids, strict=True))
    ]
    return [
        write_pages(folder / name, list(images[fov].reshape(-1, HEIGHT, WIDTH)), ome(*parts, uuid=uuid))
        for fov, (name, uuid) in enumerate(zip(names, uuids, strict=True))
    ]


def test_a_set_of_files_is_one_input_whichever_is_named(tmp_path):
    """All files repeat the XML of all positions: each position is there once."""
    images = pixels(3, 2, 2, 1)
    files = set_of_files(tmp_path, images)
    movies = [check(file, images) for file in files]
    assert movies[0] == movies[1] == movies[2]
    assert movies[0].files == [str(file) for file in files]
    assert [fov["name"] for fov in movies[0].fovs] == ["Pos0", "Pos1", "Pos2"]
    assert (movies[0].pixel_size_um, movies[0].channels) == (0.65, ["Phase", "GFP"])
    assert len({content_identity(str(file), movies[0]) for file in files}) == 1


def test_a_file_of_a_set_that_is_not_there(tmp_path):
    images = pixels(3, 2, 2, 1)
    files = set_of_files(tmp_path, images)
    before = content_identity(str(files[0]), inspect_movie(files[0]))
    files[1].rename(tmp_path / "elsewhere")
    movie = inspect_movie(files[2])
    assert [len(fov["missing"]) for fov in movie.fovs] == [0, 4, 0]
    found = read_all(files[2])
    assert all(plane is None for plane in found[1].ravel())
    np.testing.assert_array_equal(found[2, 1, 1, 0], images[2, 1, 1, 0])
    assert content_identity(str(files[2]), movie) != before


def test_files_of_a_set_that_were_renamed_are_known_by_their_uuid(tmp_path):
    images = pixels(2, 2, 2, 1)
    files = set_of_files(tmp_path, images)
    before = content_identity(str(files[0]), inspect_movie(files[0]))
    renamed = [file.rename(tmp_path / f"monday{fov}.ome.tif") for fov, file in enumerate(files)]
    for file in renamed:
        movie = check(file, images)
        assert content_identity(str(file), movie) == before


def test_a_renamed_file_that_names_itself_alone(tmp_path):
    """Without a UUID of its own: as long as the XML names one file, it is this one."""
    images = pixels(1, 2, 1, 1)
    parts = image({"T": 2}, tiff_data([(0, 0, 0, 0), (1, 0, 0, 1)], "as it was called.ome.tif", "urn:uuid:7"))
    check(write_pages(tmp_path / "now.ome.tif", list(images[0, :, 0, 0]), ome(parts)), images)
    check(write_pages(tmp_path / "bare.ome.tif", list(images[0, :, 0, 0]), ome(image({"T": 2}, ""))), images)


def test_a_file_that_another_describes(tmp_path):
    """BinaryOnly: newer files of Micro-Manager, and a companion of OME."""
    images = pixels(2, 2, 2, 1)
    files = set_of_files(tmp_path, images)
    companion = tmp_path / "x.companion.ome"
    companion.write_text(tifffile.TiffFile(files[0]).pages[0].description, encoding="utf-8")
    for fov, file in enumerate(files):
        only = f'<BinaryOnly MetadataFile="{companion.name}" UUID="urn:uuid:1"/>'
        write_pages(file, list(images[fov].reshape(-1, HEIGHT, WIDTH)), ome(only))
        check(file, images)
    assert check(companion, images).files == [str(file) for file in (*files, companion)]
    companion.unlink()
    assert "'x.companion.ome' describes the set: put that file beside it" in refusal(files[0])


def test_scenes_of_a_file_each(tmp_path):
    """PyAMA's way; FOVs have the numbers of the scenes, and one that is not there is missing."""
    images = pixels(3, 2, 2, 1)
    for fov, number in enumerate((0, 2, 10)):
        parts = image({"T": 2, "C": 2}, name="cells", channels=["Phase", "GFP"])
        write_pages(tmp_path / f"a_scene{number}.ome.tif", list(images[fov].reshape(-1, HEIGHT, WIDTH)), ome(parts))
    write_pages(tmp_path / "b_scene1.ome.tif", [images[0, 0, 0, 0]], ome(image({})))
    movie = inspect_movie(tmp_path / "a_scene2.ome.tif")
    assert movie == inspect_movie(tmp_path / "a_scene0.ome.tif")
    found = read_all(tmp_path / "a_scene2.ome.tif")
    assert found.shape[:2] == (11, 2)
    for fov, number in enumerate((0, 2, 10)):
        np.testing.assert_array_equal(np.stack(found[number, 1, :, 0]), images[fov, 1, :, 0])
    assert all(plane is None for plane in found[[1, *range(3, 10)]].ravel())
    assert movie.fovs[0]["name"] == movie.fovs[2]["name"] == "cells"
    assert [file.name for file in listed(tmp_path / "a_scene0.ome.tif")] == [f"a_scene{n}.ome.tif" for n in (0, 2, 10)]
    (tmp_path / "a_scene2.ome.tif").write_bytes(b"no picture")
    assert "a_scene2.ome.tif: " in refusal(tmp_path / "a_scene0.ome.tif")
    (tmp_path / "b_scene999999.ome.tif").write_bytes(b"")
    assert "is one of 2 scenes from 1 to 999999" in refusal(tmp_path / "b_scene1.ome.tif")
    (tmp_path / "b_scene999999.ome.tif").unlink()
    assert check(tmp_path / "b_scene1.ome.tif", images[:1, :1, :1]).n_frames == 1


def test_positions_of_different_size_and_length_whose_names_repeat(tmp_path):
    small, large = pixels(2, 2, 1), np.random.default_rng(2).integers(1, 9999, (3, 2, 1, 20, 31), dtype=np.uint16)
    parts = (
        image({"T": 2, "C": 2}, tiff_data([(t, c, 0, 2 * t + c) for t in (0, 1) for c in (0, 1)]), name="A"),
        image(
            {"T": 3, "C": 2},
            tiff_data([(t, c, 0, 4 + 2 * t + c) for t in (0, 1, 2) for c in (0, 1)]),
            name="A",
            shape=(20, 31),
        ),
    )
    planes = [*small.reshape(-1, HEIGHT, WIDTH), *large.reshape(-1, 20, 31)]
    path = write_pages(tmp_path / "a.ome.tif", planes, ome(*parts))
    movie = inspect_movie(path)
    assert [(fov["name"], fov["height"], fov["width"]) for fov in movie.fovs] == [("A", 9, 14), ("A", 20, 31)]
    assert (movie.n_frames, movie.fovs[0]["missing"], movie.fovs[1]["missing"]) == (3, [[2, 0], [2, 1]], [])
    found = read_all(path)
    np.testing.assert_array_equal(found[0, 1, 1, 0], small[1, 1, 0])
    np.testing.assert_array_equal(found[1, 2, 1, 0], large[2, 1, 0])
    assert found[0, 2, 0, 0] is None


def test_thumbnails_labels_and_colours_are_left_out(tmp_path):
    images = pixels(1, 2, 1, 1)
    colour = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    parts = (
        image({"C": 1}, tiff_data([(0, 0, 0, 0)]), name="label image"),
        image({"T": 2}, tiff_data([(0, 0, 0, 1), (1, 0, 0, 2)]), name="label free"),
        image({}, tiff_data([(0, 0, 0, 3)]), name="slide.vsi [macro image]"),
        image({"C": 3}, tiff_data([(0, 0, 0, 4)]), name="camera", channels=["RGB"], samples=3, kind="uint8"),
    )
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        for number, plane in enumerate([images[0, 0, 0, 0], *images[0, :, 0, 0], images[0, 0, 0, 0], colour]):
            kind = "rgb" if plane.ndim == 3 else "minisblack"
            text = ome(*parts).encode() if number == 0 else None
            writer.write(plane, photometric=kind, description=text, metadata=None, contiguous=False)
    assert [fov["name"] for fov in check(path, images).fovs] == ["label free"]


def test_pyramids_give_their_full_resolution(tmp_path):
    images = np.random.default_rng(3).integers(1, 999, (2, 64, 80), dtype=np.uint16)
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(images, subifds=1, photometric="minisblack", metadata={"axes": "TYX"}, tile=(16, 16))
        writer.write(images[:, ::2, ::2], subfiletype=1, photometric="minisblack", metadata=None, tile=(16, 16))
    check(path, images[None, :, None, None])


def test_channels_that_differ_between_positions(tmp_path):
    images = pixels(2, 1, 2, 1)
    parts = [
        image({"C": 2}, tiff_data([(0, 0, 0, 0), (0, 1, 0, 1)]), channels=["Phase", "GFP"]),
        image({"C": 1}, tiff_data([(0, 0, 0, 3)]), channels=["GFP"]),
    ]
    path = write_pages(tmp_path / "a.ome.tif", list(images.reshape(-1, HEIGHT, WIDTH)), ome(*parts))
    movie = inspect_movie(path)
    assert (movie.channels, movie.fovs[1]["missing"]) == (["Phase", "GFP"], [[0, 0]])
    np.testing.assert_array_equal(read_all(path)[1, 0, 1, 0], images[1, 0, 1, 0])
    parts[1] = image({"C": 2}, tiff_data([(0, 0, 0, 2), (0, 1, 0, 3)]), channels=["Phase", "RFP"])
    write_pages(path, list(images.reshape(-1, HEIGHT, WIDTH)), ome(*parts))
    assert "its FOVs have different channels, Phase, GFP and Phase, RFP" in refusal(path)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([image({"T": 2}), image({"T": 2})], "give the same page to two planes"),
        ([image({"T": 2}, tiff_data([(0, 0, 0, 0), (0, 0, 0, 1)]))], "gives two pages to the same plane"),
        ([image({"T": 2}, order="XYTC")], "DimensionOrder 'XYTC' is none of those of OME"),
        ([image({"T": 10**9, "Z": 10**9})], "it announces 1000000000 frames"),
        ([image({"T": 2}, shape=(HEIGHT, 15))], "planes have 14 x 9 pixels where 15 x 9 are announced"),
        ([image({"T": 2}, "<TiffData IFD='-1'/>")], "it holds no pixels"),
        ([], "has no images"),
        ([image({"T": "two"})], "say that SizeT is 'two', which is no whole number"),
        ([image({"T": 2}), "<SA><ModuloAlongT/></SA>"], "have a further axis (ModuloAlongT)"),
    ],
)
def test_metadata_that_contradict_themselves(tmp_path, parts, line):
    path = write_pages(tmp_path / "a.ome.tif", list(pixels(2)), ome(*parts))
    assert line in refusal(path)


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("\u00b5m", 2.0),
        ("\u03bcm", 2.0),
        ("um", 2.0),
        ("\u00c2\u00b5m", 2.0),
        ("\ufffdm", 2.0),
        ("?m", 2.0),
        ("\\u00B5m", 2.0),
        ("\u00e6m", 2.0),
        ("\u00ce\u00bcm", 2.0),
        ("micron", 2.0),
        ("Microns", 2.0),
        ("nm", 0.002),
        ("mm", 2000.0),
        ("m", 2e6),
        ("cm", 2e4),
        ("pixel", None),
        ("\u00c5", None),
        ("reference frame", None),
        ("inch", None),
        ("", None),
        (None, None),
    ],
)
def test_units_of_length(unit, um):
    assert length_um("2", unit) == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [
        ("s", 1),
        ("sec", 1),
        ("ms", 1e-3),
        ("\u00c2\u00b5s", 1e-6),
        ("min", 60),
        ("h", 3600),
        ("hours", 3600),
        ("frame", None),
    ],
)
def test_units_of_time(unit, seconds):
    assert seconds_per(unit) == seconds


def test_times_that_some_planes_lack(tmp_path):
    times = '<Plane TheT="0" TheC="0" TheZ="0" DeltaT="100" DeltaTUnit="ms"/><Plane TheT="1" TheC="0" TheZ="0"/>'
    times += '<Plane TheT="2" TheC="0" TheZ="0" DeltaT="nan"/><Plane TheT="9" TheC="0" TheZ="0" DeltaT="1"/>'
    path = write_pages(tmp_path / "a.ome.tif", list(pixels(3)), ome(image({"T": 3}, planes=times)))
    movie = inspect_movie(path)
    assert (movie.fovs[0]["times_min"], movie.fovs[0]["senseless_stamps"]) == (None, [1, 2])


# ------------------------------------------------------------------------------------------------------- identity


def test_the_identity_is_that_of_the_content(tmp_path):
    images = pixels(2, 2, 2, 1)
    files = set_of_files(tmp_path, images)
    identity = content_identity(str(files[0]), inspect_movie(files[0]))
    other = tmp_path / "other folder"
    other.mkdir()
    for file in files:
        shutil.copy(file, other)
    assert content_identity(str(other / files[1].name), inspect_movie(other / files[1].name)) == identity
    images[1, 1, 1, 0, 3, 3] ^= 1
    set_of_files(other, images)
    assert content_identity(str(other / files[1].name), inspect_movie(other / files[1].name)) != identity


def dated(minute: float, stamps: list[float], increment: str = "", number: int = 0) -> str:
    """An image of two frames with the moment of its acquisition, as OME-XML."""
    planes = "".join(f'<Plane TheT="{t}" TheC="0" TheZ="0" DeltaT="{stamp}"/>' for t, stamp in enumerate(stamps))
    places = tiff_data([(t, 0, 0, 2 * number + t) for t in range(2)])
    text = image({"T": 2}, places, number=number, planes=planes, pixel=increment)
    moment = f"2025-03-01T{9 + int(minute // 60):02d}:{int(minute % 60):02d}:00"
    return text.replace("<Pixels", f"<AcquisitionDate>{moment}</AcquisitionDate><Pixels", 1)


@pytest.mark.parametrize(
    ("stamps", "increment"),
    [
        ([[0.0, 600.0], [0.0, 600.0]], ""),  # each from the start of its own acquisition
        ([[1.5, 601.5], [3.0, 603.0]], ""),
        ([[0.0, 600.0], [1500.0, 2100.0]], ""),  # from the start of the experiment
        ([[2.0, 602.0], [1503.0, 2103.0]], ""),
        ([[], []], 'TimeIncrement="600"'),
    ],
)
def test_fovs_that_began_at_different_times(tmp_path, stamps, increment):
    """FOV 1 was imaged 25 min after FOV 0, as images of a file, as scenes, and as files that a pattern names."""
    planes = pixels(2, 2)
    every = [dated(25 * fov, stamps[fov], increment, number=fov) for fov in range(2)]
    paths = [write_pages(tmp_path / "a.ome.tif", [*planes[0], *planes[1]], ome(*every))]
    for fov in range(2):
        for folder in ("b_scene", "c"):
            text = ome(dated(25 * fov, stamps[fov], increment))
            write_pages(tmp_path / f"{folder}{fov}.ome.tif", list(planes[fov]), text)
    paths += [tmp_path / "b_scene0.ome.tif", tmp_path / "c{fov}.ome.tif"]
    for path in paths:
        times = [fov["times_min"] for fov in inspect_movie(path).fovs]
        np.testing.assert_allclose(times, [[0, 10], [25, 35]], atol=0.03)


def test_a_date_that_one_fov_lacks_tells_nothing(tmp_path):
    with_date, without = dated(25, [0.0, 600.0]), dated(0, [0.0, 600.0], number=1)
    without = without.replace("<AcquisitionDate>2025-03-01T09:00:00</AcquisitionDate>", "")
    path = write_pages(tmp_path / "a.ome.tif", [*pixels(2, 2).reshape(4, HEIGHT, WIDTH)], ome(with_date, without))
    assert [fov["times_min"] for fov in inspect_movie(path).fovs] == [[0, 10], [0, 10]]


def test_fovs_with_periods_of_their_own(tmp_path):
    """A hyperstack per FOV; of one without a period the check of times says so."""
    for fov, period in enumerate((300.0, 60.0, 0.0)):
        metadata = {"axes": "TYX", "finterval": period}
        tifffile.imwrite(tmp_path / f"a{fov}.tif", pixels(3, seed=fov), imagej=True, metadata=metadata)
    fovs = inspect_movie(tmp_path / "a{fov}.tif").fovs
    assert [fov["times_min"] for fov in fovs] == [[0.0, 5.0, 10.0], [0.0, 1.0, 2.0], None]
    assert [fov["senseless_stamps"] for fov in fovs] == [[], [], [0, 1, 2]]
    every = [dated(0, [], f'TimeIncrement="{period}"', number=fov) for fov, period in enumerate((300, 60))]
    path = write_pages(tmp_path / "b.ome.tif", [*pixels(2, 2).reshape(4, HEIGHT, WIDTH)], ome(*every))
    assert [fov["times_min"] for fov in inspect_movie(path).fovs] == [[0.0, 5.0], [0.0, 1.0]]
