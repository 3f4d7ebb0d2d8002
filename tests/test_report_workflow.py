"""Reports of finished runs: what they show is what the tables say, and a browser shows it."""

import base64
import json
import re
import zlib
from urllib.parse import parse_qsl

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from browser import CHROMIUM, expect, new_page
from conftest import Checkout, small_config
from report_tools import HOSTILE, Parsed, carried, hostile, open_page, picture, results_in
from test_fit_workflow import LINE

from celltraces.features.cell_list import KINDS
from celltraces.pictures import web
from celltraces.report.build import build_report
from celltraces.storage.frames import open_frames

# ------------------------------------------------------------------------------------------------------ the workflow


@pytest.fixture(scope="module")
def finished(movies, finished_run, tmp_path_factory):
    """A run with two samples, a fit, and a cell that a person refused."""
    checkout = Checkout(tmp_path_factory.mktemp("run"), finished_run)
    samples = [{"name": "a", "fovs": "0"}, {"name": "b", "fovs": "1"}]
    (checkout.folder / "mine.py").write_text(LINE)
    fits = [
        {"channel": 2, "feature": "intensity_total", "model": "mine.py:line"},
        {"channel": 1, "feature": "intensity_total", "model": "maturation"},
    ]
    checkout.base = small_config(movies, samples=samples, fits=fits)
    (checkout.folder / "results/curation.csv").write_text("dataset,fov,cell,good\nsmall,1,2,no\n")
    outcome = checkout.run(checkout.base)
    assert outcome.code == 0, outcome.text
    checkout.page = checkout.folder / "results/small/report.html"
    return checkout


def tables_of(finished):
    folder = finished.folder / "results/small"
    return folder, pd.read_csv(folder / "small_traces.csv")


@pytest.mark.workflow
def test_traces_on_the_page_are_those_of_the_table(finished):
    _, table = tables_of(finished)
    data, rows, content = carried(finished.page.read_text("utf-8"))
    assert "problems" not in Parsed(finished.page.read_text("utf-8")).ids
    places = [(cell["fov"], cell["cell"]) for cell in data["cells"]]
    assert set(places) == set(zip(table.fov, table.cell, strict=True))  # a small experiment: all of them
    assert (1, 2) not in places
    times = rows(data["fov_times"])
    for feature in data["features"]:
        shown = rows(feature["cells"])
        for place, row in zip(places, shown, strict=True):
            of_cell = table[(table.fov == place[0]) & (table.cell == place[1])]
            expected = np.full(8, np.nan)
            expected[of_cell.frame] = of_cell[feature["column"]]
            half = (np.nanmax(expected) - np.nanmin(expected)) / 65534 / 2
            np.testing.assert_allclose(row, expected, atol=1.01 * half, rtol=1e-6)
            at = times[data["fovs"].index(place[0])][of_cell.frame]
            np.testing.assert_allclose(at, of_cell.time_min, atol=0.01)
    for cell in data["cells"]:
        strip = picture(content(cell["strip"]))
        assert strip.shape == (3 * 64, 64 * len(cell["frames"]), 3)
        assert strip.std() > 10


@pytest.mark.workflow
def test_means_spreads_and_distributions_are_those_of_the_table(finished):
    _, table = tables_of(finished)
    data, rows, _ = carried(finished.page.read_text("utf-8"))
    assert [sample["fovs"] for sample in data["samples"]] == [[0], [1]]
    for at, (feature, quantity) in enumerate(zip(data["features"], data["quantities"], strict=False)):
        got = rows(feature["samples"])
        for sample in range(2):
            of_sample = table[table.fov == sample]
            grouped = of_sample.groupby("frame")[feature["column"]]
            for which, expected in enumerate([*map(grouped.quantile, (0.1, 0.5, 0.9)), grouped.mean()]):
                expected = expected[grouped.count() >= 3]
                row = got[4 * sample + which]
                assert np.flatnonzero(np.isfinite(row)).tolist() == expected.index.tolist()
                np.testing.assert_allclose(
                    row[expected.index], expected, atol=np.ptp(expected) / 65534 + 1e-6, rtol=1e-6
                )
            means = of_sample.groupby("cell")[feature["column"]].mean()
            expected = [*means.quantile([0.1, 0.25, 0.5, 0.75, 0.9]), len(means)]
            np.testing.assert_allclose(quantity["boxes"][sample], expected, rtol=1e-5)
        assert quantity["label"].startswith(data["features"][at]["label"])


@pytest.mark.workflow
def test_the_list_of_cells_says_what_the_tables_say(finished):
    folder, table = tables_of(finished)
    listed = pd.read_csv(folder / "small_cells.csv")
    data, _, _ = carried(finished.page.read_text("utf-8"))
    packed = Parsed(finished.page.read_text("utf-8")).ids["cell-list"]
    assert zlib.decompress(base64.b64decode(packed)) == (folder / "small_cells.csv").read_bytes()
    grouped = table.groupby(["fov", "cell"])
    indexed = listed.set_index(["fov", "cell"])
    assert set(indexed.index[indexed["in_tables"]]) == set(grouped.groups)
    for feature in data["features"]:
        got, expected = indexed[f"median_{feature['column']}"], grouped[feature["column"]].median()
        np.testing.assert_allclose(got[expected.index], expected, rtol=1e-5)
    refused = indexed.loc[(1, 2)]
    assert (refused["left_out"], refused["in_tables"]) == ("refused by a person", False)
    assert np.isfinite(refused["median_area_ch_0"])
    for fov, of_fov in listed.groupby("fov"):
        tracked = open_frames(folder / f"fov_{fov:03d}/images.zarr/seg_tracked_ch_0/0")
        labels = [set(np.unique(tracked.read(frame)).tolist()) - {0} for frame in range(8)]
        assert of_fov["cell"].tolist() == sorted(set.union(*labels))
        for row in of_fov.itertuples():
            there = [frame for frame in range(8) if row.cell in labels[frame]]
            assert [row.first_frame, row.last_frame, row.frames] == [there[0], there[-1], len(there)]
        card = next(card for card in data["cards"] if card["fov"] == fov)
        assert sum(card[kind] for kind in KINDS) == (~of_fov["in_tables"]).sum()
        sample = data["samples"][fov]
        assert (sample["cells"], sample["tracked"]) == (of_fov["in_tables"].sum(), len(of_fov))
    left_out = listed[~listed["in_tables"]]
    assert (left_out["left_out"] != "").all()
    (cell,) = listed[listed["in_tables"]].iloc[[0]].itertuples()
    rows = table[(table.fov == cell.fov) & (table.cell == cell.cell)]
    slope = np.polyfit(rows["time_min"] / 60, np.log(rows["area_ch_0"]), 1)[0]
    assert cell.area_growth_per_h == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.workflow
def test_fits_on_the_page_are_those_of_the_tables(finished):
    folder, _ = tables_of(finished)
    data, rows, _ = carried(finished.page.read_text("utf-8"))
    fit = data["fits"][0]
    fitted = pd.concat(
        pd.read_csv(folder / f"{sample}_intensity_total_ch_2_fitted_line.csv", comment="#") for sample in "ab"
    ).set_index(["fov", "cell"])
    ends = rows(data["ends"]) / 60  # the small experiment is shown in minutes
    curves = rows(fit["curves"])
    drawn = 0
    for cell, told, end, curve in zip(data["cells"], fit["cells"], ends, curves, strict=True):
        row = fitted.loc[(cell["fov"], cell["cell"])]
        assert told["flag"] == row["flag"]
        names = {name: (value, low, high) for name, _, value, low, high, _ in told["parameters"]}
        for name, values in names.items():
            expected = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
            np.testing.assert_allclose(np.array(values, float), expected, rtol=1e-5)
        if not row["success"]:
            assert np.isnan(curve).all()
            continue
        drawn += 1
        expected = row["level_best"] + row["slope_best"] * np.linspace(*end, len(curve))
        np.testing.assert_allclose(curve, expected, atol=np.ptp(expected) / 1000 + 1e-3)
    assert drawn
    assert data["unit"] == "min"


@pytest.mark.workflow
def test_what_was_left_out_is_counted_as_the_logs_and_a_person_say(finished):
    data, _, _ = carried(finished.page.read_text("utf-8"))
    _, table = tables_of(finished)
    refused = 0
    for card in data["cards"]:
        log = (finished.folder / f"results/logs/small/fov_{card['fov']:03d}/extract.log").read_text()
        tracked, short, border, both, kept = map(
            int,
            re.search(
                r"(\d+) cells; left out: (\d+) in .* (\d+) within .* \((\d+) of them both\); kept: (\d+)", log
            ).groups(),
        )
        assert (card["short"], card["border"], card["both"]) == (short - both, border - both, both)
        good = table[table.fov == card["fov"]].cell.nunique()
        assert (card["good"], card["refused"]) == (good, kept - good)
        assert tracked == sum(card[key] for key in ("good", "short", "border", "both", "refused"))
        refused += card["refused"]
    assert refused == 1


@pytest.mark.workflow
def test_parameters_and_versions_are_those_recorded(finished):
    text = finished.page.read_text("utf-8")
    record = yaml.safe_load((finished.folder / "results/small/processing_config.yaml").read_text())
    assert re.search(r'class="changed"><td><code>border_margin</code></td><td>5 px <small>\(default 50\)', text)
    assert f"snakemake&nbsp;{record['provenance']['software']['snakemake']}" in text
    assert "model: maturation" in text


@pytest.mark.workflow
def test_there_is_a_report_where_there_are_no_traces_too(finished):
    config = finished.base
    copied = {**config, "params": {**config["params"], "copy_only": True}, "fits": []}
    jobs = finished.run(copied, "-n", "--forceall", name="other.yaml").jobs
    assert jobs["digest_images"] == 2
    assert jobs["write_report"] == 1
    assert "digest" not in jobs
    bare = {**config, "channels": {"pc": {"channel": 0}}, "samples": [], "fits": []}
    assert finished.run(bare, "-n", "--forceall", name="other.yaml").jobs["write_report"] == 1


@pytest.mark.workflow
def test_snakemakes_own_report_has_it(finished):
    import zipfile

    outcome = finished.run(finished.base, "--report", "r.zip")
    assert outcome.code == 0, outcome.text
    with zipfile.ZipFile(finished.folder / "r.zip") as archive:
        names = archive.namelist()
        inside = [name for name in names if name.endswith("/report.html") and "/data/" in name]
        pages = [finished.page, finished.folder / "results/report.html"]
        assert sorted(archive.read(name) for name in inside) == sorted(path.read_bytes() for path in pages)
        assert any(name.endswith("/qc.csv") for name in names)


# ------------------------------------------------------------------------------------------------------- in a browser


in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def opened(finished):
    with new_page() as tab:
        open_page(tab, finished.page)
        yield tab


def on_screen(tab, plot, x, y):
    """Where a point of a plot is on the screen."""
    return tab.evaluate(f"""(() => {{
        const plot = document.getElementById({json.dumps(plot)});
        plot.scrollIntoView({{block: "center"}});
        const [box, {{xaxis, yaxis}}] = [plot.getBoundingClientRect(), plot._fullLayout];
        return [box.x + xaxis._offset + xaxis.d2p({x}), box.y + yaxis._offset + yaxis.d2p({y})];
    }})()""")


def chosen(tab):
    return tab.evaluate(
        "[Number(document.getElementById('fov').value), "
        "Number(document.getElementById('number').selectedOptions[0].textContent)]"
    )


@pytest.mark.browser
@in_a_browser
def test_a_click_on_a_trace_shows_its_cell(opened, finished):
    data, rows, _ = carried(finished.page.read_text("utf-8"))
    which = [feature["column"] for feature in data["features"]].index("intensity_total_ch_2")
    feature = data["features"][which]
    opened.select_option("#feature", str(which))
    values, times = rows(feature["cells"]), rows(data["fov_times"])
    last = np.where([told["flag"] == "ok" for told in data["fits"][0]["cells"]], values[:, -1], np.nan)
    at = int(np.nanargmax(last))
    cell = data["cells"][at]
    opened.select_option("#fov", str(1 - cell["fov"]))
    assert chosen(opened) != [cell["fov"], cell["cell"]]
    opened.mouse.click(*on_screen(opened, "plot-traces", times[data["fovs"].index(cell["fov"])][-1], last[at]))
    opened.wait_for_function(
        f"() => document.querySelector('#film img').alt === 'Film strip of FOV {cell['fov']}, cell {cell['cell']}'"
    )
    assert chosen(opened) == [cell["fov"], cell["cell"]]
    size = opened.evaluate(
        "(async () => { const image = document.querySelector('#film img'); await image.decode();"
        "return [image.naturalWidth, image.naturalHeight]; })()"
    )
    assert size == [64 * len(cell["frames"]), 3 * 64]
    drawn = opened.evaluate("Array.from(document.getElementById('plot-cell').data[0].y)")
    np.testing.assert_allclose(drawn, values[at], rtol=1e-9)
    assert opened.evaluate("document.getElementById('plot-cell').data.length") == 2  # and its fit
    assert "slope (counts/h)" in opened.evaluate("document.getElementById('fits').textContent")
    assert opened.evaluate("document.querySelector('.card.chosen').dataset.fov") == str(cell["fov"])
    address, _, place = opened.get_attribute("#correct", "href").partition("#")
    assert address == web.CURATION_PAGE
    told = {"dataset": finished.page.parent.name, "fov": str(cell["fov"]), "cell": str(cell["cell"])}
    assert dict(parse_qsl(place)) == {**told, "frame": str(cell["frames"][len(cell["frames"]) // 2])}


@pytest.mark.browser
@in_a_browser
def test_cells_can_be_reached_by_keys_lists_and_pictures(opened):
    opened.evaluate("document.getElementById('fov').focus()")
    opened.select_option("#fov", str(0))
    first = chosen(opened)
    opened.evaluate("document.getElementById('number').focus()")
    opened.keyboard.press("ArrowDown")
    opened.wait_for_function(f"() => document.getElementById('number').selectedOptions[0].textContent !== '{first[1]}'")
    second = chosen(opened)
    assert f"FOV 0, cell {second[1]}" in opened.evaluate("document.querySelector('#film img').alt")
    opened.locator("#previous").first.click()
    assert chosen(opened) == first
    opened.locator('.card[data-fov="1"]').first.click()
    opened.wait_for_function("() => document.getElementById('fov').value === '1'")
    assert "FOV 1" in opened.evaluate("document.querySelector('#film img').alt")


@pytest.mark.browser
@in_a_browser
def test_a_point_of_the_distributions_shows_its_cell(opened):
    x, y, cell = opened.evaluate(
        "(() => { const points = document.getElementById('plot-distribution').data.find((trace) =>"
        "trace.type === 'scatter'); return [points.x[0], points.y[0], points.text[0]]; })()"
    )
    opened.mouse.click(*on_screen(opened, "plot-distribution", x, y))
    opened.wait_for_function(f"() => document.querySelector('#film img').alt === 'Film strip of {cell}'")


@pytest.mark.browser
@in_a_browser
def test_features_samples_and_scales_can_be_chosen(opened):
    lines = opened.evaluate("document.getElementById('plot-traces').data.length")
    opened.locator("#samples input").first.click()
    assert (
        opened.evaluate("document.getElementById('plot-traces').data.length") == lines - 4
    )  # lines, band, median, mean
    opened.locator("#samples input").first.click()
    opened.select_option("#feature", str(0))
    assert "area" in opened.evaluate("document.getElementById('plot-traces').layout.yaxis.title.text")
    assert opened.evaluate("document.getElementById('plot-cell').data.length") == 1  # no fit of areas
    opened.locator("#log").first.click()
    assert opened.evaluate("document.getElementById('plot-traces').layout.yaxis.type") == "log"
    opened.locator("#log").first.click()
    for at in range(opened.evaluate("document.getElementById('quantity').options.length")):
        opened.select_option("#quantity", str(at))


@pytest.mark.browser
@in_a_browser
def test_the_list_is_sorted_and_filtered(opened, finished):
    folder, _ = tables_of(finished)
    listed = pd.read_csv(folder / "small_cells.csv")

    def column(heading):
        at = opened.locator("#list th button").all_text_contents().index(heading)
        return opened.locator(f"#list tbody td:nth-child({at + 1})").all_text_contents()

    area = "median of Phase contrast: area (µm²)"
    assert column("cell") == [str(cell) for cell in listed["cell"][:20]]
    opened.get_by_role("button", name=area).click()
    expected = listed["median_area_ch_0"].sort_values() * 0.65**2
    shown = [float(words.replace(",", "")) for words in column(f"{area} ▲") if words != "–"]
    np.testing.assert_allclose(shown, expected.dropna()[: len(shown)], rtol=1e-3)
    opened.get_by_role("button", name=area).press("Enter")
    shown = [float(words.replace(",", "")) for words in column(f"{area} ▼") if words != "–"]
    np.testing.assert_allclose(shown, expected.dropna()[::-1][: len(shown)], rtol=1e-3)
    opened.select_option("#list-kind", "left-out")
    expect(opened.locator("#list-count")).to_have_text(re.compile(rf"\b{(~listed['in_tables']).sum()} cells?$"))
    assert "refused by a person" in column("why left out")
    opened.select_option("#list-kind", "all")
    opened.locator("#list-find").fill("FOV 1, cell 2")
    expect(opened.locator("#list-count")).to_have_text("1 cell")
    opened.locator("#list-find").fill("")


@pytest.mark.browser
@in_a_browser
def test_a_link_opens_its_cell_or_says_why_not(opened, finished):
    data, _, _ = carried(finished.page.read_text("utf-8"))
    cell = data["cells"][-1]
    link = f"#fov={cell['fov']}&cell={cell['cell']}"
    opened.evaluate(f"location.hash = {json.dumps(link)}")
    opened.wait_for_function(f"() => document.getElementById('fov').value === '{cell['fov']}'")
    assert chosen(opened) == [cell["fov"], cell["cell"]]
    assert opened.get_attribute("#link", "href") == link
    opened.locator("#previous").click()
    other = chosen(opened)
    assert opened.evaluate("location.hash") == f"#fov={other[0]}&cell={other[1]}"
    with new_page() as tab:
        tab.goto(finished.page.resolve().as_uri() + link)
        tab.locator("body[data-ready]").wait_for()
        assert chosen(tab) == [cell["fov"], cell["cell"]]
        assert tab.locator("#list [aria-current] td a").text_content() == str(cell["cell"])
        tab.evaluate("location.hash = '#fov=1&cell=2'")
        expect(tab.locator("#not-shown")).to_contain_text("FOV 1, cell 2 has no pictures here: it is left out, refused")
        tab.locator("#next").click()
        expect(tab.locator("#not-shown")).to_be_hidden()
        tab.evaluate("location.hash = '#fov=7&cell=x'")
        expect(tab.locator("#not-shown")).to_contain_text("it is not in the list of cells")
        assert tab.errors == []


def downloaded(tab, locator):
    with tab.expect_download() as download:
        locator.click()
    return download.value.suggested_filename, download.value.path()


@pytest.mark.browser
@in_a_browser
def test_the_data_of_a_plot_are_those_of_the_tables(opened, finished):
    folder, table = tables_of(finished)
    opened.select_option("#feature", label="GFP: intensity total (counts)")
    opened.select_option("#quantity", label="GFP: intensity total (counts), mean over time")
    name, path = downloaded(opened, opened.locator('[data-plot="traces"]'))
    assert name == "small_plot_traces.csv"
    got, column = pd.read_csv(path), "intensity_total_ch_1"
    values = f"{column} (counts)"
    of_cells = got[got.statistic == "cell"].set_index(["fov", "cell", "time_min"])[values]
    span = table.groupby(["fov", "cell"])[column].agg(np.ptp).max()
    for row in table.itertuples():
        rows = of_cells.loc[(row.fov, row.cell)]
        near = np.abs(rows.index.to_numpy() - row.time_min).argmin()
        assert rows.index[near] == pytest.approx(row.time_min, abs=0.01)
        assert rows.iloc[near] == pytest.approx(getattr(row, column), abs=span / 60000 + 0.01, rel=1e-5)
    for fov, sample in enumerate("ab"):
        grouped = table[table.fov == fov].groupby("frame")[column]
        for what, expected in (("mean", grouped.mean()), ("10 %", grouped.quantile(0.1)), ("median", grouped.median())):
            rows = got[(got["sample"] == sample) & (got.statistic == what)]
            expected = expected[grouped.count() >= 3]
            np.testing.assert_allclose(rows[values], expected, atol=np.ptp(expected) / 60000 + 0.01, rtol=1e-4)
    _, path = downloaded(opened, opened.locator('[data-plot="distribution"]'))
    got = pd.read_csv(path)
    means = table.groupby(["fov", "cell"])[column].mean()
    rows = got[got.statistic == "cell"].set_index(["fov", "cell"]).iloc[:, -1]
    np.testing.assert_allclose(rows[means.index], means, rtol=1e-4)
    name, path = downloaded(opened, opened.locator("#list-download"))
    assert (name, path.read_bytes()) == ("small_cells.csv", (folder / "small_cells.csv").read_bytes())
    _, path = downloaded(opened, opened.locator('[data-plot="left_out"]'))
    assert pd.read_csv(path)["in the tables"].tolist() == table.groupby("fov")["cell"].nunique().tolist()


@pytest.mark.browser
@in_a_browser
def test_nothing_is_loaded_from_elsewhere_or_sent(opened, finished):
    """Last of this page: what it asked for in all the tests above."""
    asked = {address for address in opened.requests if not address.startswith(("blob:", "data:"))}
    assert asked == {finished.page.resolve().as_uri()}
    assert opened.errors == []
    buttons = opened.evaluate("Array.from(document.querySelectorAll('.modebar-btn'), (button) => button.dataset.title)")
    assert buttons
    assert not [title for title in buttons if re.search("cloud|share|edit", title or "", re.IGNORECASE)]


@pytest.mark.browser
@in_a_browser
def test_it_fits_on_a_laptop_and_is_no_blank_page(opened, tmp_path):
    opened.evaluate("window.scrollTo(0, 0)")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 1366
    opened.screenshot(path=tmp_path / "page.png", full_page=True)
    shot = cv2.imread(str(tmp_path / "page.png"))
    assert shot.shape[0] > 1500
    of_plot = opened.evaluate(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.getElementById('plot-traces').getBoundingClientRect())"
    )
    x, y, width, height = map(int, of_plot)
    colours = np.unique(shot[y : y + height, x : x + width].reshape(-1, 3), axis=0)
    assert len(colours) > 50


@pytest.mark.browser
@in_a_browser
def test_hostile_names_run_nothing(tmp_path):
    (tmp_path / "h.html").write_text(hostile(tmp_path / "r"), encoding="utf-8")
    with new_page() as tab:
        tab.add_init_script("window.alert = () => { window.struck = true; };")
        open_page(tab, tmp_path / "h.html")
        tab.locator('.card[data-fov="1"]').first.click()
        assert tab.evaluate("window.struck") is None
        assert tab.evaluate("document.title").startswith(HOSTILE[0])
        assert tab.evaluate("Array.from(document.querySelectorAll('.card .name'), (name) => name.textContent)") == list(
            HOSTILE
        )
        assert HOSTILE[1] in tab.evaluate("document.getElementById('samples').textContent")
        assert tab.evaluate("document.querySelectorAll('script').length") == 6  # and the library's
        assert tab.evaluate("document.querySelectorAll('img').length") == 6  # thumbnails and a film strip
        assert tab.errors == []


@pytest.mark.browser
@in_a_browser
def test_pages_with_little_on_them_open(tmp_path):
    with new_page() as tab:
        for at, changes in enumerate([{"cells": 0}, {"n_frames": 1}, {"broken": ["0.zip"]}]):
            path = tmp_path / f"{at}.html"
            path.write_text(build_report(**results_in(tmp_path / f"r{at}", **changes)), encoding="utf-8")
            open_page(tab, path)
            assert tab.evaluate("document.getElementById('trouble').hidden") is True
        assert tab.errors == []
