"""What files say of the stage and of exposures: read from each format, and told where results suffer from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from conftest import REAL_FILES, small_config
from movie_tools import HEIGHT, WIDTH, nd2_file, pixels
from test_lif import element, write_lif
from test_ome_zarr import write_image

from celltraces.errors import UserError
from celltraces.metadata import exposure_changes, position_um
from celltraces.planning import acquisition, doubts
from celltraces.planning.datasets import write_notes
from celltraces.planning.experiment import plan_experiment
from celltraces.readers.movie_file import inspect_movie
from celltraces.results.overlapping_fovs import most_overlapping, overlaps
from celltraces.results.quality import check_acquisition
from demo.czi_writer import Subblock, movie_xml, write_subblocks
from demo.nd2_writer import Position

# ------------------------------------------------------------------------------------------------- what is read


def places(path):
    return [fov["position_um"] for fov in inspect_movie(path).fovs]


def exposures(path):
    return [fov["exposures_ms"] for fov in inspect_movie(path).fovs]


@pytest.mark.parametrize("turned", [False, True])
def test_points_of_an_nd2(tmp_path, turned):
    """The package nd2 finds the same points; a camera that is turned has its columns along the stage's y."""
    import nd2

    images = pixels(3, 2)
    stays = [Position("A", 10.5, -20.0), Position("B", 300.0, 7.0, valid=False), Position("C", 40.0, -20.0)]
    stays += [Position("D", -99.0, 1.0)]
    path = nd2_file(tmp_path / "a.nd2", images, positions=stays, camera_turned=turned, exposures_ms=[20.0, 300.0])
    with nd2.ND2File(path) as file:
        points = next(loop.parameters.points for loop in file.experiment if loop.type == "XYPosLoop")
    known = [[point.stagePositionUm.x, point.stagePositionUm.y] for point in points]
    assert known == [[10.5, -20.0], [40.0, -20.0], [-99.0, 1.0]]
    assert places(path) == ([stay[::-1] for stay in known] if turned else known)
    assert exposures(path) == [[[[0, 20.0]], [[0, 300.0]]]] * 3


def scenes(path, at, exposure_ns=("", "")):
    """A CZI of one frame with scenes at these places of the canvas (px)."""
    subblocks = [
        Subblock({"S": scene, "C": channel}, pixels(1, 1)[0, 0, channel, 0], x=x, y=y)
        for scene, (x, y) in enumerate(at)
        for channel in range(2)
    ]
    xml = movie_xml(["Phase", "GFP"], {scene: f"P{scene}" for scene in range(len(at))}, 0.5, None).decode()
    for name, ns in zip(("Phase", "GFP"), exposure_ns, strict=True):
        assert xml.count(f'Name="{name}" />') == 1 or xml.count(f'Name="{name}"/>') == 1
        filled = f'Name="{name}"><ExposureTime>{ns}</ExposureTime></Channel>'
        xml = xml.replace(f'Name="{name}" />', filled).replace(f'Name="{name}"/>', filled) if ns else xml
    write_subblocks(path, subblocks, xml=xml.encode())
    return path


def test_scenes_of_a_czi(tmp_path):
    path = scenes(tmp_path / "a.czi", [(0, 0), (-40, 10)], ("10000000", "250000000"))
    assert places(path) == [[WIDTH / 4, HEIGHT / 4], [WIDTH / 4 - 20, HEIGHT / 4 + 5]]
    assert exposures(path) == [[[[0, 10.0]], [[0, 250.0]]]] * 2


def test_real_files():
    """ZEN's own numbers: the centres of scenes, and where the stage's axes stood."""
    if not REAL_FILES.is_dir():
        pytest.skip("no CELLTRACES_TEST_DATA")
    first, second = places(REAL_FILES / "czi" / "WellD6-7_S2.czi")
    assert np.subtract(second, first).tolist() == [58500 - 49500, 0]
    assert np.abs(np.subtract(places(REAL_FILES / "czi" / "s_1_t_1_c_1_z_1.czi"), [[43427.982, 42720.296]])).max() < 10
    assert exposures(REAL_FILES / "czi" / "CellDivision_T3_Z5_CH2_X240_Y170.czi") == [[[[0, 100.0]], [[0, 200.0]]]]
    assert exposures(REAL_FILES / "nd2" / "example-cerevisiae.nd2") == [[[[0, 100.0]], [[0, 300.0]]]]


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1000.0), ("µm", 1.0), ("reference frame", None)])
def test_planes_of_an_ome_tiff(tmp_path, unit, factor):
    images = pixels(2, 3)
    path = tmp_path / "a.ome.tif"
    ms = [5.0, 100.0, 5.0, 100.0, 5.0, 200.0]  # of frames and channels
    with tifffile.TiffWriter(path, ome=True) as writer:
        for fov in range(2):
            plane = {"PositionX": [1.5 + fov] * 6, "PositionXUnit": [unit] * 6, "PositionY": [-2.0] * 6}
            plane |= {"PositionYUnit": [unit] * 6, "ExposureTime": ms, "ExposureTimeUnit": ["ms"] * 6}
            metadata = {"axes": "TCYX", "Channel": {"Name": ["Phase", "GFP"]}, "Plane": plane}
            writer.write(images[fov, :, :, 0], photometric="minisblack", metadata=metadata)
    assert places(path) == [None if factor is None else [(1.5 + fov) * factor, -2.0 * factor] for fov in range(2)]
    assert exposures(path) == [[[[0, 5.0]], [[0, 100.0], [2, 200.0]]]] * 2


def test_tiles_of_a_lif(tmp_path):
    """Leica writes metres; `SwapXY` says that the camera is turned."""
    images = pixels(2, 1)
    xml, data = element("tiles", 0, images, "MCYX")
    for swap, expected in (("0", [[500.0, 20.0], [800.0, 20.0]]), ("1", [[20.0, 500.0], [20.0, 800.0]])):
        tiles = "".join(
            f'<Tile FieldX="{at}" FieldY="0" PosX="{x}" PosY="2e-05"/>' for at, x in enumerate((5e-4, 8e-4))
        )
        scan = f'<Attachment Name="TileScanInfo" FlipX="0" FlipY="0" SwapXY="{swap}">{tiles}</Attachment>'
        path = write_lif(tmp_path / f"{swap}.lif", (xml.replace("</Image>", f"{scan}</Image>"), data))
        assert places(path) == expected


def test_translations_of_an_ome_zarr(tmp_path):
    """A translation is that of the first pixel, in the axes' own unit."""
    path = write_image(tmp_path / "a.zarr", pixels(1, 1)[0], "0.5")
    described = json.loads((path / "zarr.json").read_text())
    (image,) = described["attributes"]["ome"]["multiscales"]
    axes = [axis["name"] for axis in image["axes"]]
    for dataset in image["datasets"]:
        moved = [{"x": 100.0, "y": -7.0}.get(axis, 0.0) for axis in axes]
        dataset["coordinateTransformations"].append({"type": "translation", "translation": moved})
    (path / "zarr.json").write_text(json.dumps(described))
    unit = {"micrometer": 1.0, "millimeter": 1000.0, "nanometer": 1e-3}[image["axes"][-1]["unit"]]
    movie = inspect_movie(path)
    assert movie.fovs[0]["position_um"] == pytest.approx(
        [100.0 * unit + WIDTH / 2 * movie.pixel_size_um, -7.0 * unit + HEIGHT / 2 * movie.pixel_size_um]
    )


@pytest.mark.parametrize("x", [None, "", "east", "nan", float("inf")])
def test_no_place(x):
    assert position_um(x, 0.0) is None


def test_exposures_of_frames_that_are_not_known_are_those_before():
    assert exposure_changes([None, 100.0, 100.9, None, "200", 0.0, 100.0]) == [[1, 100.0], [4, 200.0], [6, 100.0]]


def ome_tiff(path, *sizes):
    """A FOV for each pair of width and height of a pixel, um."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for (width, height), images in zip(sizes, pixels(len(sizes), 2)[:, :, :, 0], strict=True):
            metadata = {"axes": "TCYX", "PhysicalSizeX": width, "PhysicalSizeY": height * 1000}
            metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "nm"}
            writer.write(images, photometric="minisblack", metadata=metadata)
    return path


def imagej(path, width, height):
    """A hyperstack, whose tags tell pixels per um."""
    options = {"resolution": (1 / width, 1 / height), "metadata": {"axes": "TCYX", "unit": "um"}}
    tifffile.imwrite(path, pixels(1, 2)[0, :, :, 0], imagej=True, **options)
    return path


def czi(path, width, height):
    xml = movie_xml(["Phase"], {}, width, None).decode()
    one, other = xml.split('<Distance Id="Y">')
    assert repr(width * 1e-6) in other
    xml = one + '<Distance Id="Y">' + other.replace(repr(width * 1e-6), repr(height * 1e-6), 1)
    write_subblocks(path, [Subblock({"C": 0}, pixels(1, 1)[0, 0, 0, 0])], xml=xml.encode())
    return path


def zarr_image(path, width, height):
    write_image(path, pixels(1, 1)[0], "0.5")
    described = json.loads((path / "zarr.json").read_text())
    (image,) = described["attributes"]["ome"]["multiscales"]
    at = [axis["name"] for axis in image["axes"]]
    for step in image["datasets"][0]["coordinateTransformations"]:
        step["scale"][at.index("x")], step["scale"][at.index("y")] = width, height
    (path / "zarr.json").write_text(json.dumps(described))
    return path


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda path, *size: ome_tiff(path, size), "a.ome.tif"),
        (imagej, "a.tif"),
        (czi, "a.czi"),
        (zarr_image, "a.zarr"),
    ],
    ids=["ome-tiff", "imagej", "czi", "ome-zarr"],
)
def test_pixels_that_are_no_squares(tmp_path, write, name):
    for height, told in ((1.3, 1.3), (0.652, None)):  # metadata round
        (tmp_path / str(height)).mkdir()
        movie = inspect_movie(write(tmp_path / str(height) / name, 0.65, height))
        assert movie.pixel_size_um == pytest.approx(0.65, rel=1e-5)
        assert movie.pixel_height_um == (told and pytest.approx(told, rel=1e-5))


def test_fovs_of_two_objectives(tmp_path):
    """Each FOV has its own pixels; FOVs that are processed have to have the same."""
    movie = inspect_movie(ome_tiff(tmp_path / "a.ome.tif", (0.65, 0.65), (0.325, 0.325), (0.651, 0.651)))
    assert movie.pixel_sizes_um == [0.65, 0.325, 0.651]
    same = inspect_movie(ome_tiff(tmp_path / "b.ome.tif", (0.65, 0.65), (0.65, 0.65)))
    assert (same.pixel_size_um, same.pixel_sizes_um) == (0.65, [])


def test_images_of_a_lif_of_two_objectives(tmp_path):
    images = pixels(1, 2)
    one, data = element("a", 0, images, "TCYX")
    other, its = element("b", 1, images, "TCYX")
    length = f'Length="{0.65e-6 * (WIDTH - 1)}"'
    assert other.count(length) == 1
    path = write_lif(tmp_path / "a.lif", (one, data), (other.replace(length, f'Length="{0.13e-6 * (WIDTH - 1)}"'), its))
    assert inspect_movie(path).pixel_sizes_um == pytest.approx([0.65, 0.13])


@pytest.mark.parametrize(("fovs", "width"), [("0, 2", 0.65), ("1", 0.325), ("0-1", None), ("all", None)])
def test_fovs_that_are_processed_have_pixels_of_one_size(tmp_path, monkeypatch, fovs, width):
    monkeypatch.chdir(tmp_path)
    ome_tiff(tmp_path / "a.ome.tif", (0.65, 0.65), (0.325, 0.325), (0.651, 0.651))
    config = {"datasets": {"a": "a.ome.tif"}, "channels": {"fl": [{"channel": 0}]}, "fovs": fovs}
    if width is None:
        with pytest.raises(UserError, match=r"^fovs: pixels of 'a.ome.tif' are 0.325 um wide in FOV 1 and 0.65"):
            plan_experiment(config)
    else:
        assert plan_experiment(config).datasets["a"].movie.pixel_size_um == width


# ------------------------------------------------------------------------------------------------- what overlaps


def fovs(*middles_px, size=(100, 80), pixel=0.5):
    """Places of FOVs of this width and height, whose middles are these, in um."""
    return {
        at: {"position_um": None if xy is None else [pixel * axis for axis in xy], "width": size[0], "height": size[1]}
        for at, xy in enumerate(middles_px)
    }


def counted_twice(one, other, size, margin):
    """The share of the pixels of a FOV, less the margin, that are in another one less the margin: drawn and counted."""
    canvas = np.zeros((2, 400, 400), bool)
    for at, (x, y) in enumerate((one, other)):
        left, top = x - size[0] // 2 + 200, y - size[1] // 2 + 200
        canvas[at, top + margin : top + size[1] - margin, left + margin : left + size[0] - margin] = True
    return canvas.all(axis=0).sum() / canvas[0].sum()


@pytest.mark.parametrize("margin", [0, 7])
@pytest.mark.parametrize("shift", [(90, 0), (-90, 0), (0, 70), (50, -30), (99, 79), (100, 0), (0, 80), (86, 0)])
def test_share_that_two_fovs_count(shift, margin):
    expected = counted_twice((0, 0), shift, (100, 80), margin)
    found = overlaps(fovs((0, 0), shift), 0.5, margin)
    assert [pair.share for pair in found] == pytest.approx([expected] if expected else [])
    for pair in found:  # with the margin that is advised none is counted twice, with one less some are
        assert overlaps(fovs((0, 0), shift), 0.5, pair.margin_px) == []
        assert pair.margin_px == margin + 1 or overlaps(fovs((0, 0), shift), 0.5, pair.margin_px - 1)


def test_places_that_say_nothing():
    assert overlaps(fovs((0, 0), (0, 0), (0, 0)), 0.5, 0) == []  # never set
    assert overlaps(fovs((5, 5), (5, 5)), 0.5, 0) == []
    assert overlaps(fovs((0, 0), (0, 0), (500, 0), (550, 0)), 0.5, 0) == overlaps(
        {at: place for at, place in fovs((0, 0), (0, 0), (500, 0), (550, 0)).items() if at > 1}, 0.5, 0
    )
    assert overlaps(fovs((0, 0), None, (50, 0)), None, 0) == []
    assert [pair[:2] for pair in overlaps(fovs((0, 0), None, (50, 0)), 0.5, 0)] == [(0, 2)]


def test_a_point_that_was_visited_twice():
    (pair,) = overlaps(fovs((0, 0), (900, 0), (900, 0)), 0.5, 0)
    assert (pair.fov, pair.other, pair.share) == (1, 2, 1.0)


def test_a_small_fov_within_a_large_one():
    both = {**fovs((0, 0), size=(200, 200)), 1: fovs((10, 0), size=(50, 40))[0]}
    assert [pair.share for pair in overlaps(both, 0.5, 5)] == [1.0]


def test_each_fov_is_told_of_the_one_that_shares_most():
    pairs = overlaps(fovs((0, 0), (90, 0), (150, 0), (400, 0)), 0.5, 0)
    assert most_overlapping(pairs, 0.02) == {0: 1, 1: 2, 2: 1}
    assert most_overlapping(pairs, 0.1) == {1: 2, 2: 1}
    rows = check_acquisition(pairs, [(0, 3, 1, 200.0, 100.0), (2, None, 2, 50.0, 100.0)], qc_overlap=0.1)
    assert [(row.fov, row.frame, row.check, row.value, row.limit) for row in rows] == [
        (1, None, "fov_overlap", 2, None),
        (2, None, "fov_overlap", 1, None),
        (0, 3, "exposure_time_fl_ch_1", 200.0, 100.0),
        (2, None, "exposure_time_fl_ch_2", 50.0, 100.0),
    ]


# ------------------------------------------------------------------------------------------------- what is told


@pytest.fixture
def told(movies, tmp_path, monkeypatch):
    """Lines for two datasets of the small file whose FOVs are changed as given."""
    monkeypatch.chdir(tmp_path)
    experiment = plan_experiment(small_config(movies))
    known = experiment.datasets["small"]

    def lines(tracing=True, params=None, **changes):
        datasets = {}
        for name, change in changes.items():
            places = [{**place, **new} for place, new in zip(known.movie.fovs, change, strict=True)]
            datasets[name] = replace(known, name=name, movie=replace(known.movie, fovs=places))
        config = {**experiment.config, "params": {**experiment.config["params"], **(params or {})}}
        return list(acquisition.lines_on_acquisition(config, datasets, tracing))

    lines.height = known.movie.fovs[0]["height"]
    lines.pixel = known.movie.pixel_size_um
    return lines


def exposed(gfp, mcherry=None):
    return {"exposures_ms": [[[0, 5.0]], gfp, mcherry or [[0, 50.0]]]}


def test_fovs_that_overlap(told):
    near = [{"position_um": [0.0, 0.0]}, {"position_um": [0.0, told.pixel * 0.8 * told.height]}]
    (line,) = told(a=near)
    assert line.startswith("a: FOVs 0 and 1 overlap, by the places of the stage in the file: cells in ")
    assert line.endswith(" are counted twice; leave FOVs out by `fovs`, or set border_margin to 16 px")
    assert 0.1 * told.height == 16
    assert told(a=near, params={"border_margin": 16}) == []
    assert told(a=near, params={"qc_overlap": 0.5}) == []
    assert told(a=near, tracing=False) == []  # no cells are counted
    assert told(a=[{}, {}]) == []


def test_files_of_other_depth(movies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = plan_experiment(small_config(movies)).datasets["small"]
    eight = replace(dataset, name="b", movie=replace(dataset.movie, dtype="uint8"))
    config = {"params": {"qc_overlap": 0.02, "border_margin": 5}}
    (line,) = acquisition.lines_on_acquisition(config, {"small": dataset, "b": eight}, False)
    assert line.startswith("pixels are uint16 in small and uint8 in b: ")
    assert list(acquisition.lines_on_acquisition(config, {"a": eight, "b": eight}, False)) == []


def test_no_squares(told, movies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = plan_experiment(small_config(movies)).datasets["small"]
    high = replace(dataset, movie=replace(dataset.movie, pixel_height_um=1.3))
    config = {"params": {"qc_overlap": 0.02, "border_margin": 5}}
    (line,) = acquisition.lines_on_acquisition(config, {"small": high}, False)
    assert line.startswith("small: pixels are 0.65 um wide and 1.3 um high, says ")


def test_an_input_that_changes_while_it_is_read(movies, tmp_path, monkeypatch):
    """At the end of a run its files are compared with what they were when it was planned."""
    monkeypatch.chdir(tmp_path)
    path = shutil.copy(movies / "small.nd2", tmp_path / "own.nd2")
    experiment = plan_experiment({**small_config(movies), "datasets": {"small": path.name}})
    of_change = [line for line in doubts.lines_on_doubts(experiment) if "changed since" in line]
    assert of_change == []
    write_notes(experiment.layout, experiment.datasets.values())
    again = plan_experiment({**small_config(movies), "datasets": {"small": path.name}})
    assert again.datasets["small"].note == ""
    with open(path, "ab") as file:
        file.write(b"more")
    for planned in (experiment, again):
        (line,) = (line for line in doubts.lines_on_doubts(planned) if "changed since" in line)
        assert line.startswith("small: own.nd2 changed since this run began (is it still being written or copied?): ")


def test_exposures(told):
    same = exposed([[0, 100.0]])
    assert told(a=[same, same], b=[same, same]) == []
    (line,) = told(a=[same, exposed([[0, 200.0]])])
    assert line.startswith("a: channel 1 'GFP' is exposed 200 ms in FOV 1 and 100 ms in others, says the file: ")
    (line,) = told(a=[exposed([[0, 100.0], [3, 150.0]]), same])
    assert line.startswith("a: channel 1 'GFP' is exposed 150 ms from frame 3 of FOV 0 on and 100 ms before")
    (line,) = told(a=[same, same], b=[exposed([[0, 100.0]], [[0, 75.0]])] * 2)
    assert line.startswith("channel 2 is exposed 50 ms in a and 75 ms in b, say the files: ")
    assert told(a=[same, same], b=[exposed([], [[0, 51.0]])] * 2) == []  # unknown, or rounded
    assert told(a=[{"exposures_ms": [[[0, 5.0], [1, 9.0]], [], []]}, same]) == []  # phase contrast
