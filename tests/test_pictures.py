"""Pictures beside the numbers: outlines on the labels, movies that play, plots of what the tables say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import Checkout, small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage.segmentation import find_boundaries

import crop_cells
import draw_overlay
import draw_plots
from celltraces.config.read_config import complete
from celltraces.errors import UserError
from celltraces.labels import lineage
from celltraces.pictures import draw, legend, movie
from celltraces.pictures.plots import count_plot, distribution_plot, save_figure, trace_plot
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import open_frames, writing

SCRIPTS = Path(draw_overlay.__file__).parent
GREYS = np.repeat(np.arange(0, 256, 5)[:, None], 3, axis=1).astype(np.uint8)

# ------------------------------------------------------------------------------------------------------------ drawing


@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=st.integers(0, 3))
)
def test_borders_are_those_of_scikit_image(labels):
    np.testing.assert_array_equal(draw.borders(labels), find_boundaries(labels, connectivity=1, mode="inner"))


def test_broader_borders_grow_inwards():
    labels = np.zeros((20, 20), np.uint32)
    labels[2:12, 2:12] = 70000
    inside = np.zeros((20, 20), bool)
    inside[2:12, 2:12] = True
    inside[4:10, 4:10] = False
    np.testing.assert_array_equal(draw.borders(labels, 2), inside)


def test_outlines_have_the_colours_of_their_cells_and_change_nothing_else():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 9, (8, 8)), np.ones((12, 12), int)).astype(np.uint16)
    picture = np.full((*labels.shape, 3), 128, np.uint8)
    colours = draw.colour_table(8, {cell: draw.cell_colours(cell) for cell in range(1, 6)})
    draw.draw_outlines(picture, labels, colours)
    border = find_boundaries(labels, connectivity=1, mode="inner")
    assert (picture[~border] == 128).all()
    np.testing.assert_array_equal(picture[border], colours[labels[border]])
    assert (colours[6:] == draw.OTHER).all()


def test_colours_are_bright_stable_and_differ_between_neighbours():
    colours = draw.cell_colours(np.arange(1000)).astype(int)
    np.testing.assert_array_equal(draw.cell_colours([7, 507]), colours[[7, 507]])
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 100
    assert colours.max(axis=1).min() == 255
    assert len(np.unique(colours, axis=0)) == draw.N_HUES


@given(st.integers(1, 300), st.integers(1, 300), st.integers(64, 400))
def test_pictures_keep_their_proportions_and_have_even_sides(height, width, longest):
    shape = draw.picture_shape(height, width, longest)
    assert all(side % 2 == 0 and side >= 2 for side in shape)
    scale = longest / max(height, width)
    assert abs(shape[0] - height * scale) <= 2
    assert abs(shape[1] - width * scale) <= 2


@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 9)),
    st.integers(1, 4),
)
def test_labels_are_enlarged_pixel_by_pixel(labels, factor):
    large = draw.resize_labels(labels, tuple(side * factor for side in labels.shape))
    np.testing.assert_array_equal(large, np.kron(labels, np.ones((factor, factor), int)))
    np.testing.assert_array_equal(draw.resize_labels(large, labels.shape), labels)


@given(hnp.arrays(np.uint16, (3, 5, 7)))
def test_levels_are_percentiles(frames):
    ordered = np.sort(frames, axis=None)
    for share, got in zip((10, 90), draw.grey_levels(frames, 10, 90), strict=True):
        at = share / 100 * (ordered.size - 1)
        assert ordered[max(int(at) - 1, 0)] <= got <= ordered[min(int(at) + 2, ordered.size - 1)]


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (0, "0:00 h"),
        (9.6, "0:10 h"),
        (59.7, "1:00 h"),
        (750, "12:30 h"),
        (6000, "100:00 h"),
        (-10, "-0:10 h"),
        (-0.2, "0:00 h"),
    ],
)
def test_time_stamps(minutes, text):
    assert draw.hours_and_minutes(minutes) == text


@given(st.floats(0.001, 100), st.integers(64, 4096))
def test_scale_bar_is_a_round_length_that_fits(um_per_pixel, width):
    pixels, label = draw.scale_bar(um_per_pixel, width)
    number, unit = label.split()
    length = float(number) * {"µm": 1, "nm": 0.001}[unit]
    assert pixels == pytest.approx(length / um_per_pixel, abs=0.5 + 1e-3 * pixels)
    assert width / 12.6 <= pixels + 1
    assert pixels <= width / 5 + 1
    digits = f"{float(number):e}".split("e")[0].rstrip("0").rstrip(".")
    assert digits in ("1", "2", "5")


def test_light_is_added_in_its_colour_only():
    picture = np.full((1, 3, 3), 100, np.uint8)
    draw.lay_over(picture, np.uint8([[0, 128, 255]]))
    assert picture[0].tolist() == [[100, 100, 100], [100, 178, 100], [100, 255, 100]]


# ------------------------------------------------------------------------------------------------------------- movies


def pictures(n=4, shape=(30, 44)):
    ramp = np.linspace(20, 200, shape[1])
    return [np.repeat(np.tile(ramp + 10 * at, (shape[0], 1))[..., None], 3, axis=2).astype(np.uint8) for at in range(n)]


def film_of(path, frames, speed=10, colours=GREYS):
    with movie.writing_movie(path, frames[0].shape[:2], speed, colours) as append:
        for frame in frames:
            append(frame)
    return path


def decoded(path):
    if path.suffix == ".gif":
        image = Image.open(path)
        frames = []
        for at in range(image.n_frames):
            image.seek(at)
            frames.append(np.asarray(image.convert("RGB")))
        return frames
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_movie_decodes_to_its_frames(tmp_path, ending):
    frames = pictures()
    frames.insert(2, frames[1])  # two that are equal stay two
    found = decoded(film_of(tmp_path / f"a.{ending}", frames))
    assert len(found) == len(frames)
    for got, expected in zip(found, frames, strict=True):
        assert got.shape == expected.shape
        off = np.abs(got.astype(int) - expected)
        assert off.max() <= 5 if ending == "gif" else off.mean() <= 5
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{ending}"]


@given(hnp.arrays(np.uint8, (8, 8, 3)), hnp.arrays(np.uint8, (5, 3)))
@settings(max_examples=20, deadline=None)
def test_a_gif_shows_the_nearest_of_its_colours(tmp_path_factory, picture, colours):
    path = tmp_path_factory.mktemp("gif") / "a.gif"
    (got,) = decoded(film_of(path, [picture], colours=colours))
    distance = np.sqrt(((picture[:, :, None].astype(float) - colours) ** 2).sum(axis=-1))
    chosen = np.sqrt(((picture.astype(float) - got) ** 2).sum(axis=-1))
    assert (chosen <= distance.min(axis=-1) + 4).all()  # colours are looked up by their upper six bits


@pytest.mark.parametrize(("speed", "milliseconds"), [(1, 1000), (10, 100), (25, 40), (50, 20)])
def test_speed(tmp_path, speed, milliseconds):
    image = Image.open(film_of(tmp_path / "a.gif", pictures(2), speed))
    assert image.info["duration"] == milliseconds
    assert image.info["loop"] == 0
    assert cv2.VideoCapture(str(film_of(tmp_path / "a.mp4", pictures(2), speed))).get(cv2.CAP_PROP_FPS) == speed


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_movie_that_fails_leaves_the_last_one_alone(tmp_path, ending):
    path = film_of(tmp_path / f"a.{ending}", pictures())
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), movie.writing_movie(path, (30, 44), 10, GREYS) as append:
        append(pictures()[0])
        1 / 0  # noqa: B018
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_build_of_opencv_without_an_encoder_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoWriter", lambda *_: type("Closed", (), {"isOpened": lambda self: False})())
    with pytest.raises(UserError, match="writes no MP4; set pictures.movie_format to gif"):
        film_of(tmp_path / "a.mp4", pictures())
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------ the whole thing


@pytest.fixture(scope="module")
def finished(movies, finished_run, tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("run"), finished_run)
    samples = [{"name": "one", "fovs": "0"}, {"name": "two", "fovs": "1"}]
    checkout.config = small_config(movies, samples=samples, pictures={"movie_width": 320, "fl": 1})
    checkout.outcome = checkout.run(checkout.config, "all", "pictures")
    assert checkout.outcome.code == 0, checkout.outcome.text
    return checkout


def fov_of(finished, fov):
    return finished.folder / f"results/small/fov_{fov:03d}"


def traces_of(finished, fov):
    return pd.read_csv(fov_of(finished, fov) / f"small_fov_{fov:03d}_traces.csv")


@pytest.mark.workflow
def test_movies_and_plots_are_there(finished, experiment):
    assert finished.outcome.jobs["draw_overlay"] == 2
    assert finished.outcome.jobs["draw_plots"] == 1
    columns = [name for name in traces_of(finished, 0).columns if "_ch_" in name]
    stems = ["cells", "distributions", *(f"traces_{column}" for column in columns)]
    folder = finished.folder / "results/small/pictures"
    assert {path.name for path in folder.iterdir()} == {f"{stem}.{end}" for stem in stems for end in ("png", "pdf")}
    for path in folder.glob("*.png"):
        assert np.ptp(cv2.imread(str(path))) == 255
    for path in folder.glob("*.pdf"):
        content = path.read_bytes()
        assert content.startswith(b"%PDF-")
        assert not re.search(rb"CreationDate|Producer|Creator|/Type3", content)


@pytest.mark.workflow
@pytest.mark.parametrize("fov", [0, 1])
def test_the_movie_shows_each_cell_in_its_colour(finished, experiment, fov):
    frames = decoded(fov_of(finished, fov) / f"small_fov_{fov:03d}_overlay.gif")
    assert len(frames) == experiment.n_frames
    assert {frame.shape for frame in frames} == {(266, 320, 3)}
    tracked = open_frames(fov_of(finished, fov) / "images.zarr/seg_tracked_ch_0/0")
    kept = set(traces_of(finished, fov)["cell"])
    assert kept
    for at, frame in enumerate(frames):
        labels = draw.resize_labels(tracked.read(at), frame.shape[:2])
        border = find_boundaries(labels, connectivity=1, mode="inner")
        for cell in np.unique(labels[labels > 0]).tolist():
            colour = draw.cell_colours([cell])[0] if cell in kept else draw.OTHER
            mine = frame[border & (labels == cell)]
            # Numbers, the time, the bar and the legend may lie on a part of an outline.
            assert (np.abs(mine.astype(int) - colour).sum(axis=1) <= 6).mean() > 0.6, (at, cell)


def test_missing_frames_and_unknown_pixel_size(tmp_path, caplog):
    rng = np.random.default_rng(1)
    frames = rng.integers(1000, 2000, (3, 40, 60), dtype=np.uint16)
    frames[1] = 0
    with writing(tmp_path / "pc", frames.shape, np.uint16, PIXELS, attributes={"missing_frames": [1]}) as put:
        list(map(put, frames))
    with writing(tmp_path / "seg", frames.shape, np.uint16, LABELS) as put:
        list(map(put, np.zeros_like(frames)))
    (tmp_path / "a_traces.csv").write_text("fov,cell,frame,good\n")
    crop_cells.write_cells(open_frames(tmp_path / "seg"), [], tmp_path / "cells.zarr", crop_padding=1)
    lineage.write_lineage(tmp_path / "lineage.csv", 0, {}, [])
    scales = {"times_min": [0, 5, 10], "pixel_size_um": None}
    output = tmp_path / "a.gif"
    wanted = {"decisions": [], "scales": scales, "movie_width": 200, "movie_speed": 5, "channel": 0}
    wanted |= {"cells": str(tmp_path / "cells.zarr"), "lineage": str(tmp_path / "lineage.csv")}
    wanted |= {"pc": str(tmp_path / "pc"), "tracked": str(tmp_path / "seg"), "fl": []}
    wanted |= {"traces": str(tmp_path / "a_traces.csv"), "min_frames": 1, "border_margin": 0}
    draw_overlay.main(str(output), **wanted)
    shown = decoded(output)
    assert [(frame == 255).all(axis=-1).any() for frame in shown] == [True] * 3  # time, and "not in the file"
    assert (shown[1] == 0).all(axis=-1).mean() > 0.8
    assert shown[0].std() > 30
    assert "no scale bar" in caplog.text


@pytest.mark.workflow
def test_the_same_pictures_are_the_same_bytes(finished):
    folder = finished.folder / "results/small"
    made = [*folder.glob("pictures/*"), *folder.glob("fov_*/*_overlay.gif")]
    before = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    assert finished.run(finished.config, "pictures", cores=1).code == 0
    assert {path: path.read_bytes() for path in made} == before


@pytest.mark.slow
def test_mp4_is_the_same_bytes_in_another_process(tmp_path):
    code = "import sys; from test_pictures import *; film_of(Path(sys.argv[1]), pictures(12, (266, 320)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPTS), str(Path(__file__).parent)])}
    for name in ("a.mp4", "b.mp4"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], env=environment, check=True)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"pictures": {"movie_width": 320, "fl": 2}}, {"draw_overlay"}),
        ({"samples": [{"name": "one", "fovs": "0-1"}]}, {"draw_plots"}),
    ],
)
def test_a_change_draws_what_shows_it(finished, changes, rules):
    outcome = finished.run({**finished.config, **changes}, "-n", "pictures")
    assert set(outcome.jobs) == rules


@pytest.mark.workflow
def test_a_run_draws_nothing(finished):
    jobs = finished.run(finished.config, "-n", "--forceall").jobs
    assert jobs["segment"] == 2
    assert not any(rule.startswith(("draw", "pictures")) for rule in jobs)


# -------------------------------------------------------------------------------------------------------------- plots


def table(n_cells=5, n_frames=6, fov=0):
    rng = np.random.default_rng(fov)
    rows = [(fov, cell, frame, frame / 6, rng.uniform(1, 9)) for cell in range(n_cells) for frame in range(n_frames)]
    return pd.DataFrame(rows, columns=["fov", "cell", "frame", "time", "area_ch_0"]).astype(
        {"time": float, "area_ch_0": float}
    )


def test_traces_with_mean_and_spread():
    tables = {"a": table(), "b": table(3, fov=2), "few": table(2), "none": table(0)}
    tracked = {"a": 1234, "b": 3, "few": 2, "none": 1}
    figure = trace_plot(tables, "area_ch_0", "area", tracked, "h")
    for panel, (name, data) in zip(figure.axes, tables.items(), strict=True):
        lines, median, mean = panel.get_lines()
        values = lines.get_ydata()
        np.testing.assert_array_equal(values[~np.isnan(values)], data["area_ch_0"])
        expected = data.pivot(index="frame", columns="cell", values="area_ch_0").to_numpy()
        if name in ("a", "b"):
            np.testing.assert_allclose(mean.get_ydata(), np.mean(expected, axis=1))
            np.testing.assert_allclose(median.get_ydata(), np.median(expected, axis=1))
            np.testing.assert_allclose(mean.get_xdata(), np.arange(6) / 6)
            band = panel.collections[0].get_paths()[0].vertices[:, 1]
            assert band.max() == pytest.approx(np.quantile(expected, 0.9, axis=1).max())
            assert band.min() == pytest.approx(np.quantile(expected, 0.1, axis=1).min())
        else:
            assert not len(mean.get_ydata())
        assert panel.get_title() == f"{name}: {data['cell'].nunique()} of {tracked[name]:,} cells"
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["10 to 90 % of the cells", "median", "mean"]


def test_distributions_are_of_means_over_time():
    tables = {"a": table(20), "b": table(4, fov=1)}
    figure = distribution_plot(tables, {"area_ch_0": "area"}, {"a": 30, "b": 4})
    points = [line.get_ydata() for line in figure.axes[0].get_lines()]
    for at, data in enumerate(tables.values()):
        means = data.groupby("cell")["area_ch_0"].mean()
        np.testing.assert_allclose(points[2 * at], means)
        np.testing.assert_allclose(points[2 * at + 1], means.median())
        whisker, quartiles = (
            figure.axes[0].collections[3 * at + which].get_segments()[0][:, 1] for which in (1, 2)
        )  # after the violin
        np.testing.assert_allclose(whisker, means.quantile([0.1, 0.9]), rtol=1e-5)
        np.testing.assert_allclose(quartiles, means.quantile([0.25, 0.75]), rtol=1e-5)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["a\n20 of\n30 cells", "b\n4 of\n4 cells"]


@pytest.mark.parametrize(
    ("column", "pixel_size_um", "label", "scale"),
    [
        ("area_ch_0", None, "P: area (px)", 1),
        ("area_ch_0", 0.5, "P: area (µm²)", 0.25),
        ("perimeter_ch_0", 0.5, "P: perimeter (µm)", 0.5),
        ("perimeter_ch_0", None, "P: perimeter (px)", 1),
        ("intensity_mean_ch_1", 0.5, "G: intensity mean (counts)", 1),
        ("particle_num_ch_1", 0.5, "G: particle num (spots)", 1),
        ("aspect_ratio_ch_0", 0.5, "P: aspect ratio", 1),
    ],
)
def test_features_have_units_and_are_scaled_to_them(column, pixel_size_um, label, scale):
    assert legend.label_of(column, {"0": "P", "1": "G"}, pixel_size_um) == label
    assert legend.scale_of(column, pixel_size_um) == scale
    table = pd.DataFrame({"fov": [0], "cell": [1], "frame": [2], "time_min": [90.0], column: [8.0]})
    typed = draw_plots.typed(table, {column: scale}, 60)
    assert typed[["time", column]].to_numpy().tolist() == [[1.5, 8.0 * scale]]


@pytest.mark.workflow
def test_cells_are_counted_by_fov_and_frame(finished):
    counts = draw_plots.count_cells(np.array([[1, 1, 0], [1, 0, 0]], bool), 4, [0, 30, 60])
    assert counts.to_dict("list") == {"time": [0, 30, 60], "fov": [4] * 3, "cells": [2, 1, 0]}
    figure = count_plot({"x": pd.concat([counts, counts.assign(fov=7, cells=9)])}, "min")
    assert [line.get_ydata().tolist() for line in figure.axes[0].get_lines()] == [[2, 1, 0], [9, 9, 9]]


def test_many_samples_and_fovs_have_a_colour_each():
    assert len({str(colour) for colour in legend.colours(100)}) == 100
    assert list(legend.colours(2)) == list(legend.COLOURS[:2])


def test_tables_without_rows_are_drawn(tmp_path):
    empty = draw_plots.typed(
        pd.DataFrame([], columns=["fov", "cell", "frame", "time_min", "area_ch_0"]), {"area_ch_0": 1}, 60
    )
    for figure in (
        trace_plot({"a": empty}, "area_ch_0", "area", {"a": 0}, "h"),
        distribution_plot({"a": empty}, {"area_ch_0": "area"}, {"a": 0}),
    ):
        save_figure(figure, tmp_path / "a")
    assert np.ptp(cv2.imread(str(tmp_path / "a.png"))) == 255


@pytest.mark.workflow
def test_a_cell_that_a_person_refused_is_dark_and_in_no_plot(finished):
    gone = int(traces_of(finished, 0)["cell"].iloc[0])
    curation = finished.folder / "results/curation.csv"
    curation.write_text(f"dataset,fov,cell,good\nsmall,0,{gone},false\n")
    try:
        outcome = finished.run(finished.config, "pictures")
        assert outcome.code == 0, outcome.text
        assert outcome.jobs == {"apply_curation": 1, "draw_overlay": 1, "draw_plots": 1}
        shown = decoded(fov_of(finished, 0) / "small_fov_000_overlay.gif")[0]
        tracked = open_frames(fov_of(finished, 0) / "images.zarr/seg_tracked_ch_0/0")
        labels = draw.resize_labels(tracked.read(0), shown.shape[:2])
        border = find_boundaries(labels, connectivity=1, mode="inner") & (labels == gone)
        assert (np.abs(shown[border].astype(int) - draw.OTHER).sum(axis=1) <= 6).mean() > 0.6
    finally:
        curation.unlink()
        assert finished.run(finished.config, "pictures").code == 0


@pytest.mark.parametrize(
    ("pictures", "line"),
    [
        ({"fl": 3}, "pictures.fl: channel 3 is not among channels.fl; there are 1, GFP"),
        ({"movie_format": "avi"}, "pictures.movie_format: 'avi' is not one of gif, mp4"),
        (
            {"movie_width": 20},
            "pictures.movie_width: 20 is not allowed; allowed: at least 64, at most 4096 px; for example "
            "movie_width: 800",
        ),
        (
            {"movie_speed": 60},
            "pictures.movie_speed: 60 is not allowed; allowed: at least 1, at most 50 frames per second; for example "
            "movie_speed: 10",
        ),
        ({"speed": 6}, "pictures.speed: unknown key; did you mean movie_speed?"),
    ],
)
def test_a_mistake_in_the_config_is_one_line(pictures, line):
    channels = {"pc": {"channel": 0}, "fl": [{"channel": 1}, {"channel": "GFP"}]}
    with pytest.raises(UserError) as caught:
        complete({"datasets": {"a": "a.nd2"}, "channels": channels, "pictures": pictures})
    assert str(caught.value) == line
