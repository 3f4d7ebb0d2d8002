"""What a run does not read, or should not compare, is told: datasets beside each other, misnamed decisions."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import small_config

from celltraces.paths import DATASET, FOV, Layout
from celltraces.planning import decisions, doubts
from celltraces.planning.experiment import plan_experiment
from celltraces.storage import checksums


@pytest.fixture
def two(movies, tmp_path, monkeypatch):
    """Lines for two datasets of the small file: `two(first={...}, second={...})` changes what is known of each."""
    monkeypatch.chdir(tmp_path)
    experiment = plan_experiment(small_config(movies))
    known = replace(experiment.datasets["small"], identity="")

    def lines(params=None, samples=None, fits=(), flat=None, pyme=None, config=None, **changes):
        datasets = {}
        for name, change in changes.items():
            of_movie = {
                key: change.pop(key)
                for key in ("pixel_size_um", "fovs_of_movie", "period_min", "channels", "format")
                if key in change
            }
            if "fovs_of_movie" in of_movie:
                of_movie["fovs"] = of_movie.pop("fovs_of_movie")
            movie = replace(known.movie, **of_movie)
            datasets[name] = replace(known, name=name, identity=change.pop("identity", name), movie=movie, **change)
        config = {
            **experiment.config,
            **(config or {}),
            "fits": fits,
            "params": {**experiment.config["params"], **(params or {})},
        }
        config["samples"] = samples or config["samples"]
        config |= {"pyme": {**config["pyme"], **(pyme or {})}}
        planned = SimpleNamespace(
            tracing=True, layout=Layout("results"), datasets=datasets, config=config, flat=flat or {}
        )
        return list(doubts.lines_on_doubts(planned))

    lines.places, lines.n_frames = known.movie.fovs, known.movie.n_frames
    return lines


def test_datasets_that_go_together(two):
    assert two(a={}) == two(a={}, b={}) == []


def test_the_same_file_under_two_names(two):
    (line,) = two(a={"identity": "x"}, b={"identity": "x"})
    assert line.startswith("datasets a and b are the same file: cells of FOVs 0-1 count twice")
    assert two(a={"identity": "x", "fovs": (0,)}, b={"identity": "x", "fovs": (1,)}) == []  # wells of one file
    (line,) = two(a={"identity": "x", "fovs": (0, 1)}, b={"identity": "x", "fovs": (1,)})
    assert "cells of FOV 1 count twice" in line


@pytest.mark.parametrize("size", [0.325, None])
def test_datasets_with_other_pixels(two, size):
    (line,) = two(a={}, b={"pixel_size_um": size})
    assert line.startswith(f"pixels differ: 0.65 um in a, {size or 'unknown'}{' um' if size else ''} in b;")
    assert two(a={}, b={"pixel_size_um": 0.652}) == []
    assert two({"pixel_size_um": 0.65}, a={}, b={"pixel_size_um": None}) == []


@pytest.mark.parametrize("name", ["pixel_size_um", "frame_interval"])
def test_a_scale_in_the_config_that_the_file_overrides(two, name):
    own = {"pixel_size_um": 0.65, "frame_interval": 10.0}[name]
    assert two({name: own * 1.01}, a={}) == two({name: own}, a={}) == []
    (line,) = two({name: own / 2}, a={})
    assert line.startswith(f"params.{name}: {own / 2:g} is not used for a, since ")
    assert f"says {own:g} " in line
    of_config = {"fovs_of_movie": [{**place, "times_min": None} for place in two.places]}
    unknown = {"pixel_size_um": {"pixel_size_um": None}, "frame_interval": {**of_config, "period_min": None}}[name]
    assert two({name: own / 2}, a=unknown) == []


@pytest.mark.parametrize(("factor", "told"), [(1e-3, True), (1000, True), (1 / 60_000, True), (0.1, False), (6, False)])
def test_datasets_with_times_in_other_units(two, factor, told):
    places = [{**place, "times_min": [time * factor for time in place["times_min"]]} for place in two.places]
    lines = two(a={}, b={"fovs_of_movie": places})
    assert len(lines) == told
    assert all(line.startswith("frames follow each other every") for line in lines)


@pytest.mark.parametrize(
    "name",
    [
        *("results/curation.xlsx", "results/Curation.csv", "results/curation (1).csv", "results/curation.csv.txt"),
        *("results/a/curation.csv", "results/a/fov_001/curation.csv", "results/a/a_fov_000_traces_inspected.csv"),
        *("results/a/fov_000/a_fov_000_traces_inspected.xlsx", "results/a/fov_001/a_fov_000_traces_inspected.csv"),
    ],
)
def test_tables_of_decisions_that_are_not_read(two, tmp_path, name):
    for good in ("results/curation.csv", "results/a/fov_001/a_fov_001_traces_inspected.csv"):
        (tmp_path / good).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / good).touch()
    (tmp_path / "results/curation_places").mkdir()
    (tmp_path / "results/a/a_traces.csv").touch()
    assert two(a={}) == []
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    (line,) = two(a={})
    assert line.startswith(f"{name} is not read: decisions on cells are those of results/curation.csv")


@pytest.mark.parametrize(
    ("name", "other", "told"),
    [
        ("GFP", "mCherry", True),
        ("FITC", "TRITC", True),
        ("AF488", "Cy5", True),
        ("eGFP", "mCherry_emission", True),
        ("YFP", "CFP", True),
        ("GFP", "FITC", False),  # one filter under two names
        ("mCherry", "Texas Red", False),
        ("GFP", "channel 2", False),
        ("Ch1", "Ch2", False),
        ("LED470", "GFP", False),
    ],
)
def test_files_with_another_dye_in_a_channel(two, name, other, told):
    lines = two(a={"channels": ["PC", name, "x"]}, b={"channels": ["PC", other, "x"]})
    assert [line.partition(",")[0] for line in lines] == (
        [f"channel 1 is {name!r} in a and {other!r} in b"] if told else []
    )


def test_files_with_their_channels_in_another_order(two):
    names = ["Phase contrast", "GFP", "mCherry", "DAPI"]
    assert two(a={"channels": names}, b={"channels": names}) == []
    assert two(a={"channels": names}, b={"channels": [*names[:3], "Cy5"]}) == []  # not used
    assert two(a={"channels": names}, b={"channels": ["PC", "eGFP", "RFP"]}) == []  # other names, perhaps for the same
    lines = two(a={"channels": names}, b={"channels": ["Phase contrast", "mCherry", "GFP", "DAPI"]})
    assert [line.split(":")[0] for line in lines] == [
        "channel 1 is 'GFP' in a and 'mCherry' in b",
        "channel 2 is 'mCherry' in a and 'GFP' in b",
    ]
    (line,) = two(a={"channels": names}, b={"channels": ["Phase contrast", "GFP", "DAPI", "mCherry"]})
    assert line.startswith("channel 2 is 'mCherry' in a and 'DAPI' in b: ")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["Phase contrast", "GFP", "mCherry"], []),
        (["Ph2", "FITC", "TRITC"], []),
        (["DIC", "Transfected_GFP", "TL brightened"], ["fl"]),  # a word of both kinds is told, it may be either
        (["C0", "C1", "C2"], []),
        (["Mono", "DAPI", "FITC BP", "TRITC BP"], []),
        (["GFP", "Phase contrast", "mCherry"], ["pc", "fl"]),
        (["GFP", "mCherry", "DAPI", "Trans"], ["pc"]),  # what is phase contrast is not used
        (["FITC BP", "mCherry", "Cy5"], ["pc"]),
        (["Brightfield_10x", "GFP", "BF"], ["fl"]),
        (["LED555", "LED470", "AF488"], []),
        (["Ph3 100ms", "5-FAM/pH 9.0", "BCECF pH 7"], []),  # the second of a real file
        (["PhL", "FITC", "Ph 1"], ["fl"]),
    ],
)
def test_channels_by_their_names(two, names, told):
    """Channel 0 is the phase contrast, 1 and 2 are fluorescence."""
    lines = two(a={"channels": names})
    assert [line.split(":")[0] for line in lines] == [f"channels.{kind}" for kind in told]
    if names[0] == "GFP":
        assert f"should it be channel {'1' if 'Phase contrast' in names else '3'} " in lines[0]
    own = two(a={"channels": names}, params={"segmentation_method": "nuclei.py:segment"})
    assert [line.split(":")[0] for line in own] == [f"channels.{kind}" for kind in told if kind == "fl"]


def test_what_is_found_on_fovs_that_are_left_out(two):
    assert two(a={"fovs": (0,)}) == two(a={}, flat={1: "estimate"}) == []
    assert two(a={"fovs": (0,)}, flat={1: "flat.tif"}) == []
    (line,) = two(a={"fovs": (0,)}, flat={1: "flat.tif", 2: "estimate"})
    assert line.startswith(
        "a: frames of all FOVs of the file, also of 1, which `fovs` leaves out, tell the flat field,"
    )
    params = {"segmentation_method": "deepsea"}
    (line,) = two(a={"fovs": (1,)}, params=params)
    assert "also of 0, which `fovs` leaves out, tell the scale for the network," in line
    assert two(a={"fovs": (1,)}, params={**params, "segmentation_scale": 0.5}) == []
    assert two(a={"failed": (1,), "fovs": (0,)}, flat={1: "estimate"}) == []  # processed, though not to the end


def test_features_that_no_table_will_have(two):
    light = [{"channel": 1, "features": ["intensity_mean"]}, {"channel": "GFP", "features": []}]
    cells = {"channel": 0, "features": []}
    assert two(a={}, config={"channels": {"pc": cells, "fl": light}}) == []
    usual = {"min_frames": 30, "border_margin": 50}
    (line,) = two(a={"pc": None}, config={"channels": {"pc": None, "fl": light}}, params=usual)
    assert line.startswith("channels.fl: features of channel 1 are not measured: no cells are looked for")
    assert two(a={"pc": None}, config={"channels": {"pc": None, "fl": light[1:]}}, params=usual) == []
    assert two(a={"pc": None}, config={"channels": {"pc": None, "fl": light}}, params={"copy_only": True}) == []
    (line,) = two(a={}, config={"channels": {"pc": cells, "fl": light[1:]}})
    assert line.startswith("channels: no channel has features")


def test_light_that_is_summed_beyond_the_crops(two):
    for params in ({"light_margin": 6}, {"mask_margin": 4}, {"crop_padding": 1}):
        (line,) = two(params, a={})
        assert line.startswith("params.light_margin: intensity_total is to be summed")
    of_means = {"channels": {"pc": {"channel": 0, "features": ["area"]}, "fl": [{"channel": 1, "features": []}]}}
    assert all("summed" not in line for line in two({"light_margin": 6}, config=of_means, a={}))
    for params in (
        {"light_margin": 6, "copy_only": True},
        {"light_margin": 6, "crop_padding": 6},
        {"light_margin": 6, "mask_margin": -1},
        {"light_margin": 0, "mask_margin": 5},
    ):
        assert all("summed" not in line for line in two(params, a={}))


def test_how_another_format_is_read(two):
    assert two(a={"format": "pyme"}, pyme={"axes": "yx"}) == []
    (line,) = two(a={}, pyme={"axes": "yx"})
    assert line.startswith("pyme.axes: no dataset is an .h5 file of PYME")


def sized(place, height, width):
    return {**place, "height": height, "width": width}


@pytest.mark.parametrize(
    ("size", "told"), [((80, 96), True), ((53, 64), True), ((160, 180), False), ((100, 100), False)]
)
def test_another_binning(two, size, told):
    """The small file has frames of 160 x 192 px."""
    first, second = two.places
    lines = two(a={"fovs_of_movie": [first, sized(second, *size)]})
    assert [line.startswith(f"a: frames are {size[0]} x {size[1]} px in FOV 1 and 160 x 192") for line in lines] == (
        [True] * told
    )
    lines = two(a={}, b={"fovs_of_movie": [sized(place, *size) for place in two.places]})
    assert [line.startswith(f"frames are {size[0]} x {size[1]} px in b and 160 x 192") for line in lines] == [
        True
    ] * told
    binned = {"fovs_of_movie": [sized(place, *size) for place in two.places], "pixel_size_um": 1.3}
    assert [line for line in two(a={}, b=binned) if not line.startswith("pixels differ")] == []


def test_fovs_that_no_sample_has(two):
    whole = [{"name": "all", "fovs": "all"}]
    assert two(None, whole, a={}) == two(None, [{"name": "x", "fovs": "0"}, {"name": "y", "fovs": "1"}], a={}) == []
    assert two(None, [{"name": "x", "fovs": {"b": "all"}}], a={}) == []  # none of its FOVs is
    (line,) = two(None, [{"name": "x", "fovs": "1"}], a={})
    assert line == "FOV 0 of a is in no sample, and so in no merged table: see `samples`"


@pytest.mark.parametrize("rows", ["small,0,3,false\nsmall,1,4,true\n", "small,1,4,true\n"])
def test_decisions_by_number_before_there_are_cells(movies, tmp_path, monkeypatch, capsys, rows):
    """As where curation.csv was copied from other results; a row with a place says itself which cell is meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    header = "dataset,fov,cell,good"
    (tmp_path / "results/curation.csv").write_text(f"{header}\n{rows}")
    decisions.remember(plan_experiment(small_config(movies)), write=False)
    (line,) = capsys.readouterr().err.splitlines()
    which = "FOVs 0-1" if "0,3" in rows else "FOV 1"
    assert line.startswith(f"results/curation.csv: rows name cells of {which} of small by number, and there are no ")
    placed = "".join(f"{row},2,50,60\n" for row in rows.splitlines())
    (tmp_path / "results/curation.csv").write_text(f"{header},frame,x,y\n{placed}")
    decisions.remember(plan_experiment(small_config(movies)), write=False)
    assert capsys.readouterr().err == ""


def test_times_of_frames_that_count_from_1(two):
    n_frames = two.n_frames
    assert two({"time_mapping": {frame: 10 * frame for frame in range(n_frames)}}, a={}) == []
    (line,) = two({"time_mapping": {frame + 1: 10 * frame for frame in range(n_frames)}}, a={})
    assert line.startswith(f"params.time_mapping: frame {n_frames} is in no movie; frames count from 0")


@pytest.mark.parametrize(
    ("onset", "told"),
    [
        ({"bounds": [0, 30]}, False),
        ({"fixed": 0}, False),
        ({"bounds": [30, 60]}, True),
        ({"fixed": 45}, True),
        (None, False),
    ],
)
def test_an_onset_after_the_last_frame(two, onset, told):
    """As where minutes were meant."""
    parameters = {"km": {"fixed": 1.28}} | ({"t0": onset} if onset else {})
    lines = two(
        fits=[{"channel": 1, "feature": "intensity_total", "model": "maturation", "parameters": parameters}], a={}
    )
    assert [line.startswith("fits.0.parameters.t0: ") for line in lines] == [True] * told
    assert two(fits=[{"channel": 1, "feature": "intensity_total", "model": "maturation"}], a={}) == []


@pytest.mark.parametrize("keeps_dates", [False, True])
def test_images_of_another_dataset_copied_over(two, keeps_dates):
    """Their own content with new dates is as it was written."""
    layout = Layout("results")
    arrays = {}
    for stage, name in (("copy", "pc_ch_0"), ("copy", "fl_ch_1"), ("segment", "seg_labeled_ch_0"), ("cache", "other")):
        listing = Path(layout.checksums(stage).format(dataset="a", fov="000"))
        file = Path(layout.frames(name).format(dataset="a", fov="000")) / "c/0/0/0"
        file.parent.mkdir(parents=True)
        file.write_bytes(name.encode())
        arrays.setdefault(listing, []).append(file)
    for listing, files in arrays.items():
        checksums.write(listing, checksums.lines_of(listing, files), "{}")
        os.utime(listing, (1e9, 1e9))
    assert two(a={}) == []
    for files in arrays.values():
        for file in files:
            file.write_bytes(b"of another dataset")
            if keeps_dates:
                os.utime(file, (1e8, 1e8))
    (line,) = two(a={})
    assert line.startswith("results/a/fov_000/images.zarr: not as it was written, so changed or of another dataset: fl")
    assert "fl_ch_1, pc_ch_0, seg_labeled_ch_0; tables" in line


def test_tables_that_a_spreadsheet_saved(two, tmp_path):
    """Those of a FOV and of the dataset; copies with new dates are as they were written."""
    assert two(a={}) == []
    layout = Layout("results")
    tables = {}
    for stage, of, table in (("extract", FOV, "a/fov_000/a_fov_000_traces.csv"), ("tidy", DATASET, "a/a_traces.csv")):
        file = Path("results") / table
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("fov,cell,value\n0,1,12.345\n")
        listing = Path(layout.checksums(stage, of).format(dataset="a", fov="000"))
        checksums.write(listing, checksums.lines_of(listing, [file]), "{}")
        os.utime(listing, (1e9, 1e9))  # tables are newer than their lists, as in a copy
        tables[file] = file.read_text()
    assert two(a={}) == []
    for file, text in tables.items():
        file.write_text(text.replace("12.345", "12,345"))
        (line,) = two(a={})
        assert line.startswith(f"{file}: changed since it was written, by hand or a spreadsheet")
        file.write_text(text)
