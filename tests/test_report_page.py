"""The report on small and large screens, in the dark, on paper, by keyboard and for screen readers."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, new_page
from report_tools import open_page, results_in

from celltraces.report.build import build_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
COLUMNS = ("area_ch_0", "intensity_total_ch_0", "aspect_ratio_ch_0")
LARGE = 1785225.5  # an intensity that takes many digits


def written(folder, **changes):
    """A made-up report in a file; `values` replaces what the traces say of the second column."""
    values = changes.pop("values", None)
    more = {name: changes.pop(name) for name in ("samples", "pixel_size_um") if name in changes}
    made = results_in(folder / "r", columns=COLUMNS, **changes) | more
    if values is not None:
        table = pq.read_table(made["tidy"])
        at = table.column_names.index(COLUMNS[1])
        numbers = np.resize(np.asarray(values, float), table.num_rows)
        pq.write_table(table.set_column(at, COLUMNS[1], [numbers]), made["tidy"])
    path = folder / "page.html"
    path.write_text(build_report(**made), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page_of_six(tmp_path_factory):
    """Six FOVs in two samples, with findings."""
    samples = {"one": [0, 1, 2], "two": [3, 4, 5]}
    changes = {"fovs": range(6), "cells": 8, "samples": samples, "qc": ["2,1,blank,,"]}
    return written(tmp_path_factory.mktemp("six"), **changes)


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1366, True)])
def test_axe_finds_nothing(page_of_six, width, dark):
    with new_page(width, 900, dark) as tab:
        open_page(tab, page_of_six)
        tab.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        found = Axe().run(tab).response["violations"]
        assert [(each["id"], [node["target"] for node in each["nodes"]][:3]) for each in found] == []


@pytest.mark.parametrize("width", [400, 768, 1366, 3840])
def test_it_fits_whatever_the_width(page_of_six, width):
    with new_page(width, 900) as tab:
        open_page(tab, page_of_six)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        assert tab.evaluate("document.documentElement.scrollHeight") < 9000
        # A column of text is wide enough for words.
        assert tab.evaluate(
            "Math.min(...Array.from(document.querySelectorAll('.parameters td:last-child'), (c) => c.clientWidth))"
        ) >= min(200, width / 2)
        cut = tab.evaluate(
            "(({scrollHeight, clientHeight}) => scrollHeight - clientHeight)(document.querySelector('.cards'))"
        )
        assert cut <= 0
        # A distribution has the width of the page, and points in both halves of it.
        box = tab.locator("#plot-distribution .plot-container").bounding_box()
        body = tab.locator("main").bounding_box()
        assert box["width"] >= 0.98 * body["width"]
        points = [point.bounding_box()["x"] for point in tab.locator("#plot-distribution .point").all()]
        assert min(points) < box["x"] + 0.5 * box["width"]
        assert max(points) > box["x"] + 0.85 * box["width"]
        assert tab.errors == []


def ticks(tab, plot, axis):
    return [words.replace("−", "-") for words in tab.locator(f"#{plot} .{axis}tick text").all_text_contents()]


@pytest.mark.parametrize(
    "values",
    [
        [150.0, 170.0, 153.0, 161.0],
        [2.0, 8.0],
        [0.5, 4000.0, 30.0],
        [1e-3, 1e7],
        [7.0],
        [-3.0, -2.0],
        [-3.0, 12.0, 14.0],
    ],
    ids=str,
)
def test_a_logarithmic_axis_has_ticks(tmp_path, values):
    with new_page() as tab:
        open_page(tab, written(tmp_path, values=values))
        tab.select_option("#feature", label="Phase: intensity total (counts)")
        tab.select_option("#quantity", label="Phase: intensity total (counts), mean over time")
        tab.locator("#log").check()
        tab.locator("#log-quantity").check()
        assert len(ticks(tab, "plot-traces", "y")) >= 2
        assert len(ticks(tab, "plot-distribution", "x")) >= 2
        assert tab.errors == []


def test_one_frame_of_one_fov_can_be_read(tmp_path):
    path = written(tmp_path, n_frames=1, values=[LARGE])
    assert "<b>1</b> FOV</li>" in path.read_text("utf-8")
    with new_page() as tab:
        open_page(tab, path)
        tab.select_option("#feature", label="Phase: intensity total (counts)")
        for plot in ("plot-cell", "plot-traces"):
            shown = ticks(tab, plot, "y")
            assert len(shown) >= 2
            assert all(re.fullmatch(r"-?[\d.]{1,5}M?", words) for words in shown), shown
        strip = tab.locator("#film img").bounding_box()
        assert strip["width"] <= 2 * 150  # results_in gives two frames to a strip
        assert tab.errors == []


def test_large_numbers_have_commas(tmp_path):
    with new_page() as tab:
        open_page(tab, written(tmp_path, values=[120000.0, 250000.0]))
        tab.select_option("#feature", label="Phase: intensity total (counts)")
        assert any(re.fullmatch(r"\d{3},\d{3}", words) for words in ticks(tab, "plot-traces", "y"))


@pytest.mark.parametrize(("pixel_size_um", "unit", "factor"), [(None, "px", 1), (0.5, "µm²", 0.25)])
def test_areas_are_in_square_micrometres_where_the_pixel_size_is_known(tmp_path, pixel_size_um, unit, factor):
    with new_page() as tab:
        open_page(tab, written(tmp_path, pixel_size_um=pixel_size_um))
        tab.select_option("#feature", label=f"Phase: area ({unit})")
        assert tab.evaluate("document.getElementById('plot-cell').layout.yaxis.title.text") == f"Phase: area ({unit})"
        assert "time (min)" in tab.evaluate("document.getElementById('plot-cell').layout.xaxis.title.text")
        drawn = tab.evaluate("Array.from(document.getElementById('plot-cell').data[0].y)")
        np.testing.assert_allclose(drawn, factor * np.arange(4.0), atol=1e-3)  # as results_in makes cell 0


def test_samples_are_told_apart_without_colours(page_of_six):
    with new_page() as tab:
        open_page(tab, page_of_six)
        assert tab.locator("#plot-traces .annotation-text").all_text_contents() == ["one", "two"]
        patterns = tab.evaluate(
            "Array.from(document.getElementById('plot-left-out').data, (bar) => bar.marker.pattern.shape)"
        )
        assert len(set(patterns)) == len(patterns)


def test_colours_follow_the_system_and_paper_is_light(page_of_six):
    colours = (
        "[getComputedStyle(document.body).backgroundColor, "
        "document.getElementById('plot-traces')._fullLayout.font.color]"
    )
    with new_page(dark=True) as tab:
        open_page(tab, page_of_six)
        dark = tab.evaluate(colours)
        tab.emulate_media(color_scheme="light")
        tab.wait_for_function(f"() => {colours}[1] !== '{dark[1]}'")
        light = tab.evaluate(colours)
        assert light[0] != dark[0]
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function(f"() => {colours}[1] === '{dark[1]}'")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.evaluate(colours) == light
        assert tab.locator("details:not([open])").count() == 0
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert tab.evaluate(colours) == dark
        assert tab.locator("details:not([open])").count() > 0
        assert tab.pdf().startswith(b"%PDF")
        assert tab.errors == []


def test_everything_is_reached_by_keys(page_of_six):
    """Tab goes through all controls in their order, and each shows that it has the focus."""
    with new_page() as tab:
        open_page(tab, page_of_six)
        wanted = {
            "flagged-only",
            "feature",
            "log",
            "fov",
            "number",
            "previous",
            "next",
            "link",
            "quantity",
            "log-quantity",
        }
        wanted |= {"list-kind", "list-find", "list-download"}
        reached = set()
        for _ in range(150):
            tab.keyboard.press("Tab")
            here = tab.evaluate("document.activeElement.id")
            reached.add(here)
            if here == "next":
                assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
                before = tab.evaluate("document.getElementById('number').value")
                tab.keyboard.press("Enter")
                assert tab.evaluate("document.getElementById('number').value") != before
        assert wanted - reached == set()
