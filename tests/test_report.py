"""Pages of the report from made-up results: their size, what they escape, what is said to be missing."""

import base64
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from report_tools import Parsed, carried, hostile, picture, results_in

import digest_images
import write_report
from celltraces.config.schema import load_schema
from celltraces.labels import left_out
from celltraces.pictures import web
from celltraces.report import comparison, digest, page, texts
from celltraces.report.build import build_report, cells_to_show, lines_with_room, within
from celltraces.storage.codecs import PIXELS, SMOOTH
from celltraces.storage.frames import writing

# ------------------------------------------------------------------------------------------------------ pieces of it


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-1e9, 1e9) | st.sampled_from([np.nan, np.inf]),
    )
)
def test_numbers_come_back_within_half_a_step(values):
    block = page.Block()
    block.add(b"before")
    place = block.add_rows(values)
    block.add(b"after")
    text = f'<p id="data">{page.packed(b"{}")}</p><p id="arrays">{page.packed(block.content())}</p>'
    _, rows, _ = carried(text)
    for got, row in zip(rows(place), values, strict=True):
        finite = np.isfinite(row)
        np.testing.assert_array_equal(np.isfinite(got), finite)
        if finite.any():
            half = np.ptp(row[finite]) / 65534 / 2
            np.testing.assert_allclose(got[finite], row[finite], atol=half * 1.01 + 1e-6, rtol=0)


@given(st.integers(1, 400), st.integers(1, 400))
def test_every_beginning_of_an_order_is_spread_evenly(n, taken):
    order = digest.evenly_spread(n)
    assert sorted(order) == list(range(n))
    places = sorted(order[:taken])
    assert max(np.diff([-1, *places, n])) <= 3 * n / min(taken, n) + 3


def test_cells_are_taken_from_all_fovs_and_not_only_the_dim_ones():
    """The first to be shown is the dimmest cell of a FOV; with room for one of each these are not all dim."""
    cells = [{"cell": rank, "bytes": 300} for rank in digest.evenly_spread(40)]
    digests = {fov: {"cells": cells} for fov in range(50)} | {50: {"problem": "x"}, 51: {"cells": []}}
    there = {(fov, rank): 0 for fov in range(50) for rank in range(40)} | {(3, 7): 0}
    chosen, left = within(cells_to_show(digests, there, 100), 50 * 511)
    assert sorted(fov for fov, _ in chosen) == list(range(50))
    assert left >= 0
    ranks = np.array([of_cell["cell"] for _, of_cell in chosen])
    assert np.histogram(ranks, bins=4, range=(0, 40))[0].min() >= 8
    all_of_them, _ = within(cells_to_show(digests, there, 100), 1e9)
    assert {(fov, of_cell["cell"]) for fov, of_cell in all_of_them} == set(there)


# -------------------------------------------------------------------------------------------------------- whole pages


@pytest.mark.parametrize(
    ("rules", "html", "scripts"),
    [
        ("report.smk", "page.html", page.SCRIPTS),
        ("compare.smk", comparison.HTML, comparison.SCRIPTS),
    ],
)
def test_every_file_of_the_page_is_a_reason_to_write_it_anew(rules, html, scripts):
    shared = re.search(r"^EVERY_PAGE = \((.*?)^\)", (ROOT / "rules/common.smk").read_text(), re.DOTALL | re.MULTILINE)
    text = (ROOT / "rules" / rules).read_text().replace("*EVERY_PAGE", shared[1])
    named = set(re.findall(r'"(celltraces/[^"]+\.(?:html|css|js))"', text))
    folder = Path(page.__file__).parent
    files = [*(folder / name for name in ("head.html", html, "page.css", *scripts)), *web.FILES]
    assert named == {str(path.relative_to(ROOT / "scripts")) for path in files}


def test_every_file_beside_the_pages_is_in_one_of_them():
    there = {path.name for path in Path(page.__file__).parent.iterdir() if path.suffix in (".html", ".css", ".js")}
    assert there == {"head.html", "page.html", "page.css", *page.SCRIPTS, comparison.HTML, *comparison.SCRIPTS}


@pytest.mark.parametrize("size_mb", [3.0, 4.0])
def test_the_page_keeps_its_size_and_says_of_how_many_it_shows_how_many(tmp_path, size_mb):
    given_results = results_in(tmp_path / "r", fovs=range(60), cells=30)
    text = build_report(**{**given_results, "size_mb": size_mb})
    assert len(text.encode()) <= size_mb * 1e6
    data, rows, _ = carried(text)
    shown = len(data["cells"])
    assert 60 <= shown < 1800
    words = "mean of the 1,800 cells in the tables; dashed: their median; band: 10 to 90 % of them; thin:"
    assert f"{words} {shown:,} of them" in text
    assert len({cell["fov"] for cell in data["cells"]}) == 60
    assert data["samples"][0]["cells"] == data["quantities"][0]["boxes"][0][-1] == 1800
    # Mean and spread are those of all cells, shown or not.
    low, middle, high = (1.0 + 10 * np.percentile(range(30), share) for share in (10, 50, 90))
    mean = 1.0 + 10 * np.mean(range(30))
    np.testing.assert_allclose(rows(data["features"][0]["samples"])[:, 1], [low, middle, high, mean], rtol=1e-3)


@pytest.mark.slow
def test_many_samples_of_a_long_movie_are_thinned_out_rather_than_too_large(tmp_path):
    fovs = range(40)
    given_results = results_in(
        tmp_path / "r", fovs=fovs, cells=3, n_frames=120, columns=[f"f{at}_ch_0" for at in range(30)]
    )
    samples = {f"s{fov}": [fov] for fov in fovs}
    text = build_report(**{**given_results, "samples": samples, "size_mb": 3.0})
    data, rows, _ = carried(text)
    assert len(text.encode()) <= 3e6
    every = data["frames"][1]
    assert data["frames"] == list(range(0, 120, every))
    assert every > 1
    assert f"Every {every}th frame is drawn" in text
    assert rows(data["features"][0]["samples"]).shape == (4 * 40, len(data["frames"]))


def test_the_same_results_give_the_same_bytes_and_no_path(tmp_path):
    one, other = (build_report(**results_in(tmp_path / name, fovs=range(3))) for name in "ab")
    assert one == other
    ids = Parsed(one).ids
    unpacked = b"".join(zlib.decompress(base64.b64decode(ids[name])) for name in ("data", "arrays"))
    assert str(tmp_path) not in one
    assert str(tmp_path).encode() not in unpacked


def light(folder, *, fovs=(0, 1), missing=(), with_background=True):
    """Results without cells, as `write_report.build` takes them, and the arrays that they were made of."""
    made = results_in(folder, fovs=fovs, n_frames=4)
    arrays = {}
    for fov in fovs:
        frames = np.full((4, 60, 90), 100 * (fov + 1), np.uint16) + np.arange(4, dtype=np.uint16)[:, None, None] * 7
        frames[:, 20:30, 20:30] += 500
        means = [None if frame in missing else float(frames[frame].mean()) for frame in range(4)]
        statistics = {"frame_statistics": {"mean": means}, "missing_frames": list(missing)}
        path, background = folder / f"{fov}/fl_ch_1/0", folder / f"{fov}/fl_background_ch_1/0"
        for at, values, kind, known in (
            (path, frames, PIXELS, statistics),
            (background, np.full(frames.shape, 90.0, np.float32), SMOOTH, {"display_limits": [89.5, 90.5]}),
        ):
            with writing(at, values.shape, values.dtype, kind, attributes=known) as append:
                for frame in values:
                    append(frame)
        backgrounds = [str(background)] if with_background else []
        digest_images.main(str(folder / f"{fov}.zip"), [str(path)], backgrounds, thumbnail_width=90)
        arrays[fov] = frames
    return made | {"tidy": None, "cell_list": None, "columns": [], "channels": {"1": "GFP"}, "used": [1]}, arrays


def test_a_page_of_images_alone(tmp_path):
    made, arrays = light(tmp_path / "r", missing=[0], with_background=True)
    text = build_report(**made)
    parsed = Parsed(text)
    assert "script" not in parsed.tags
    assert parsed.tags.count("img") == 2
    assert {"fovs", "images", "checks", "parameters"} <= set(re.findall(r'<section id="([\w-]+)"', text))
    assert not {"traces", "left-out", "distributions"} & set(re.findall(r'<section id="([\w-]+)"', text))
    for address in parsed.addresses:
        assert address.startswith("data:image/webp;base64,") or f'id="{address[1:]}"' in text
    rows = re.findall(r"<tr><td class=\"number\">(\d)</td><td>GFP</td>(.*?)</tr>", text)
    assert [int(fov) for fov, _ in rows] == [0, 1]
    for fov, cells in rows:
        of_fov = arrays[int(fov)]
        expected = ["3 of 4", f"{of_fov[1].mean():.1f}", f"{of_fov[3].mean():.1f}", "89.5 to 90.5"]
        assert re.findall(r">([^<]+)</td>", cells) == expected
    shown = picture(base64.b64decode(next(a for a in parsed.addresses if "base64" in a).partition("base64,")[2]))
    assert shown.shape == (60, 90, 3)
    assert shown[22:28, 22:28].mean() > 240
    assert shown[:15].mean() < 15
    assert "<b>4</b> frames" in text
    assert "cells in the tables" not in text


def test_a_page_of_images_of_which_nothing_can_be_read(tmp_path, caplog):
    made, _ = light(tmp_path / "r", fovs=(0,))
    digest_images.main(str(tmp_path / "r/0.zip"), [str(tmp_path / "none/fl_ch_1/0")], [], thumbnail_width=90)
    assert "no pictures: UserError" in build_report(**made)
    (tmp_path / "r/0.zip").write_bytes(b"no zip")
    assert "could not be read" in build_report(**made)


def test_a_page_of_images_keeps_its_size(tmp_path):
    made, _ = light(tmp_path / "r", fovs=range(20))
    room = len(build_report(**made).encode()) - 300
    text = build_report(**{**made, "size_mb": room / 1e6})
    assert len(text.encode()) <= room
    assert 0 < Parsed(text).tags.count("img") < 20


def test_names_from_files_are_text_and_nothing_else(tmp_path):
    text, plain = hostile(tmp_path / "h"), build_report(**results_in(tmp_path / "p"))
    tags, usual = Parsed(text).tags, Parsed(plain).tags
    assert tags.count("script") == usual.count("script") == 5
    assert tags.count("img") == 5  # thumbnails
    assert "7 * 7" in text
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in Parsed(text).addresses)


@pytest.mark.parametrize(
    ("what", "changes", "words"),
    [
        ("no cells", {"cells": 0}, ["<b>0</b> of <b>4</b> cells in the tables"]),
        ("no features", {"columns": ()}, ["<b>2</b> of <b>6</b> cells in the tables"]),
        ("one frame", {"n_frames": 1}, ["<b>1</b> frame</li>"]),
        ("broken list of cells", {"broken": ["cells.csv"]}, ["list of cells (UnicodeDecodeError)"]),
        ("broken table", {"broken": ["t.parquet"]}, ["could not be read", "traces (Arrow"]),
        ("broken pictures", {"fovs": (0, 1), "broken": ["1.zip"]}, ["pictures of FOV 1 (UserError)"]),
        ("broken record", {"broken": ["record.yaml"]}, ["parameters and versions (UnicodeDecodeError)"]),
        ("broken checks", {"broken": ["qc.csv"]}, ["findings of the checks (UnicodeDecodeError)"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_there_is_shown_and_not_raised(tmp_path, what, changes, words):
    text = build_report(**results_in(tmp_path / "r", **changes))
    for word in words:
        assert word in text
    carried(text)
    assert ('id="problems"' in text) == what.startswith("broken")


NONE_LEFT_OUT = {"foreground": 900, "left_out": 0, **dict.fromkeys(left_out.DETAILS, 0)}


@pytest.mark.parametrize("by_size", [None, NONE_LEFT_OUT])
def test_nothing_found_is_said_where_nothing_was(tmp_path, by_size):
    text = build_report(**results_in(tmp_path / "r", by_size=by_size))
    assert "the checks found nothing" in text
    assert 'id="by-size"' not in text


@pytest.mark.parametrize("reason", left_out.LIMITS)
def test_regions_that_were_left_out_are_said_even_where_no_check_strikes(tmp_path, reason):
    by_size = NONE_LEFT_OUT | {reason: 90, f"{reason}_regions": 7, "left_out": 90}
    text = build_report(**results_in(tmp_path / "r", by_size=by_size, fovs=(0, 1)))
    assert "the checks found nothing" not in text
    summary = re.search(r'id="by-size">(.*?)</li>', text).group(1)
    assert "<b>10 %</b>" in summary
    assert f"<b>14</b> regions {reason.replace('_', ' ')} (<code>{left_out.LIMITS[reason]}</code>)" in summary


def test_parameters_stand_by_stage_and_the_changed_ones_first():
    defaults = {
        name: declared["default"]
        for name, declared in load_schema()["properties"]["params"]["properties"].items()
        if "default" in declared
    }
    groups = texts.parameters({**defaults, "min_frames": 7, "min_iou": 0.5, "z": None})
    assert [row["name"] for row in groups[0]["rows"]] == ["min_iou", "min_frames"]
    assert [(row["value"], row["default"]) for row in groups[0]["rows"]] == [("0.5", "0.1"), ("7", "30")]
    assert [group["changed"] for group in groups] == [True] + [False] * (len(groups) - 1)
    by_title = {group["title"]: [row["name"] for row in group["rows"]] for group in groups}
    assert list(by_title)[1:4] == ["Segmentation", "Tracking", "Background"]
    assert by_title["Background"] == ["tile_size", "background_dilation"]
    assert by_title["Input, storage, exports"][-1] == "z"
    assert sorted(name for names in by_title.values() for name in names) == sorted({*defaults, "z"})
    assert "Changed from the default" not in [group["title"] for group in texts.parameters(defaults)]


def test_the_list_of_cells_is_thinned_out_where_there_is_no_room(tmp_path):
    """Rows that are left are spread over all FOVs; the page says how many there are."""
    rng = np.random.default_rng(0)
    lines = ["fov,cell,x", *(f"{fov},{cell},{rng.random()}" for fov in range(50) for cell in range(40))]
    whole, n = lines_with_room(lines, 1e9)
    assert (zlib.decompress(base64.b64decode(whole)).decode(), n) == ("\n".join([*lines, ""]), 2000)
    text, n = lines_with_room(lines, len(whole) / 4)
    assert len(text) <= len(whole) / 4
    header, *rows = zlib.decompress(base64.b64decode(text)).decode().splitlines()
    assert (header, len(rows)) == (lines[0], n)
    assert n >= 400
    assert set(rows) <= set(lines)
    assert {int(row.split(",")[0]) for row in rows} == set(range(50))
    assert lines_with_room(lines, 0)[1] == 0
    made = results_in(tmp_path / "r")
    rows = (f"made_up,all,0,{cell},0,3,4,True,{rng.random()}{rng.random()}" for cell in range(30000))
    made["cell_list"].write_text("\n".join([made["cell_list"].read_text().splitlines()[0], *rows, ""]))
    text = build_report(**{**made, "size_mb": 3.0})
    assert len(text.encode()) <= 3e6
    said = re.search(r"([\d,]+) of 30,000 cells are listed here", text)
    packed = zlib.decompress(base64.b64decode(Parsed(text).ids["cell-list"]))
    assert len(packed.splitlines()) - 1 == int(said[1].replace(",", "")) > 100


def test_failed_fovs_and_fovs_of_no_sample_are_listed(tmp_path):
    made = results_in(tmp_path / "r", fovs=(0, 1, 3), qc=["2,,failed,,"])
    made |= {"failed": [2], "fov_names": {str(fov): f"Pos{fov}" for fov in range(4)}, "samples": {"a": [0, 1]}}
    text = build_report(**made)
    assert re.search(r'data-fov="2">(?:(?!</button>).)*failed', text, re.DOTALL)
    assert "<b>1</b> FOV failed and is missing here" in text
    data, _, _ = carried(text)
    assert [(sample["name"], sample["fovs"]) for sample in data["samples"]] == [("a", [0, 1]), ("no sample", [3])]


def test_a_defect_of_the_report_fails_no_run(tmp_path, caplog):
    write_report.main(str(tmp_path / "report.html"), nonsense=1)
    assert "No report could be made (TypeError)" in (tmp_path / "report.html").read_text()
    assert "no report" in caplog.text
