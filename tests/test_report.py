"""The report: it holds what the tables say, keeps its size, escapes what it is given, and does what is clicked."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from browser import CHROMIUM, expect, new_page
from conftest import ROOT, Checkout, small_config
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.segmentation import find_boundaries
from test_fit_workflow import LINE

import crop_cells
import digest_fov
import digest_images
import write_report
from celltraces import paths
from celltraces.config.schema import load_schema
from celltraces.features.cell_list import KINDS
from celltraces.labels import left_out, lineage
from celltraces.pictures import web
from celltraces.report import comparison, digest, fov_digest, page, texts
from celltraces.report.build import build, cells_to_show, lines_with_room, within
from celltraces.report.fov_digest import NOT_THERE
from celltraces.storage.cells import new_store
from celltraces.storage.codecs import LABELS, PIXELS, SMOOTH
from celltraces.storage.frames import open_frames, writing

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"quoted\" & 'quoted' {{ 7 * 7 }} ${1}",
    "Zelle µ Ü 細胞",
    "x" * 200,
)


class Parsed(HTMLParser):
    """The elements of a page, what they load or point to, and the text in those that have an id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.ids, self._open = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._open = dict(attributes).get("id")
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        if self._open:
            self.ids[self._open] = self.ids.get(self._open, "") + data


def carried(text):
    """The data of a page, and a function that reads a table of its numbers as (rows, columns)."""
    ids = Parsed(text).ids
    data, arrays = (zlib.decompress(base64.b64decode(ids[name])) for name in ("data", "arrays"))

    def rows(place):
        start, n_rows, n_columns = place
        low, step = np.frombuffer(arrays, "<f8", 2 * n_rows, start).reshape(2, n_rows, 1)
        codes = np.frombuffer(arrays, "<i2", n_rows * n_columns, start + 16 * n_rows).reshape(n_rows, n_columns)
        return np.where(codes == -32768, np.nan, low + (codes + 32767.0) * step)

    def content(place):
        return arrays[place[0] : place[0] + place[1]]

    return json.loads(data), rows, content


def picture(webp):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(webp, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


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
    order = digest.spread(n)
    assert sorted(order) == list(range(n))
    places = sorted(order[:taken])
    assert max(np.diff([-1, *places, n])) <= 3 * n / min(taken, n) + 3


def test_cells_are_taken_from_all_fovs_and_not_only_the_dim_ones():
    """The first to be shown is the dimmest cell of a FOV; with room for one of each these are not all dim."""
    cells = [{"cell": rank, "bytes": 300} for rank in digest.spread(40)]
    digests = {fov: {"cells": cells} for fov in range(50)} | {50: {"problem": "x"}, 51: {"cells": []}}
    there = {(fov, rank): 0 for fov in range(50) for rank in range(40)} | {(3, 7): 0}
    chosen, left = within(cells_to_show(digests, there, 100), 50 * 511)
    assert sorted(fov for fov, _ in chosen) == list(range(50))
    assert left >= 0
    ranks = np.array([of_cell["cell"] for _, of_cell in chosen])
    assert np.histogram(ranks, bins=4, range=(0, 40))[0].min() >= 8
    all_of_them, _ = within(cells_to_show(digests, there, 100), 1e9)
    assert {(fov, of_cell["cell"]) for fov, of_cell in all_of_them} == set(there)


def write_array(path, frames, kind=PIXELS, missing=()):
    with writing(path, frames.shape, frames.dtype, kind, attributes={"missing_frames": list(missing)}) as append:
        for frame in frames:
            append(frame)
    return open_frames(path)


@pytest.fixture
def two_cells(tmp_path):
    """A FOV with two cells that move, light above a background, a frame without light; its digest and its arrays."""
    rng = np.random.default_rng(0)
    labels = np.zeros((6, 80, 100), np.uint16)
    for frame in range(6):
        labels[frame, 20:40, 20 + frame : 50 + frame] = 3
        labels[frame, 50:62, 60:72] = 9 if frame > 1 else 0
    pc = rng.integers(900, 1100, labels.shape).astype(np.uint16)
    background = np.full(labels.shape, 100, np.float32)
    fl = (100 + 50 * (labels == 3) + 400 * (labels == 9)).astype(np.uint16)
    arrays = {
        "pc_ch_0": write_array(tmp_path / "pc_ch_0/0", pc),
        "fl_ch_1": write_array(tmp_path / "fl_ch_1/0", fl, missing=[5]),
        "fl_background_ch_1": write_array(tmp_path / "fl_background_ch_1/0", background, SMOOTH),
    }
    tracked = write_array(tmp_path / "seg_tracked_ch_0/0", labels, LABELS)
    crop_cells.write_cells(tracked, list(arrays.values()), tmp_path / "cells.zarr", crop_padding=5)
    rows = [f"0,3,{frame},True,{50 * 600}" for frame in range(6)]
    (tmp_path / f"d_fov_000{paths.TRACES}").write_text("\n".join(["fov,cell,frame,good,total", *rows]) + "\n")
    rejected = np.zeros(labels.shape[1:], np.uint8)
    rejected[4:16, 60:90], rejected[66:76, 4:20] = left_out.TOO_LARGE, left_out.TOO_SMALL
    with writing(
        tmp_path / "seg_labeled_ch_0/0",
        labels.shape,
        labels.dtype,
        LABELS,
        attributes={
            left_out.ATTRIBUTE: left_out.by_frame([left_out.count(frame, rejected) for frame in labels]),
            left_out.SHOWN: left_out.to_show(3, rejected),
        },
    ) as append:
        for frame in labels:
            append(frame)
    lineage.write_lineage(tmp_path / "lineage.csv", 0, {3: (0, 5), 9: (2, 5)}, [])
    return digest_of_two_cells(tmp_path), labels


def digest_of_two_cells(folder, decisions=(), pixel_size_um=None):
    return fov_digest.make_digest(
        folder / "cells.zarr",
        folder / f"d_fov_000{paths.TRACES}",
        folder / "pc_ch_0/0",
        folder / "seg_tracked_ch_0/0",
        folder / "seg_labeled_ch_0/0",
        folder / "lineage.csv",
        list(decisions),
        pixel_size_um=pixel_size_um,
        pc=0,
        fl=[1],
        column="total",
        min_frames=5,
        border_margin=2,
        thumbnail_width=100,
        cells_per_fov=5,
        crop_frames=3,
        crop_width=40,
    )


def test_a_digest_counts_what_the_filters_leave_out(two_cells):
    known = json.loads(two_cells[0][digest.DIGEST])
    assert {key: known[key] for key in ("tracked", "kept", *KINDS, "taken_in")} == {
        **dict.fromkeys(("border", "both", "refused", "taken_in"), 0),
        "tracked": 2,
        "kept": 1,
        "short": 1,
    }
    assert known["tracked_by_frame"] == [1, 1, 2, 2, 2, 2]
    assert known["kept_by_frame"] == [1] * 6
    assert [of_cell["cell"] for of_cell in known["cells"]] == [3]
    assert known["cells"][0]["frames"] == [0, 2, 5]
    for name, size in [("thumbnail.webp", known["bytes"]), ("cell_3.webp", known["cells"][0]["bytes"])]:
        assert len(two_cells[0][name]) == size


def test_a_digest_follows_what_a_person_decided(two_cells, tmp_path):
    """Cell 3, which the filters keep, is refused; cell 9, which is in too few frames, is taken in."""
    decisions, taken_in = (tmp_path / f"d_fov_000{end}" for end in (paths.DECISIONS, paths.TAKEN_IN))
    columns = "source,cell,frame,good,status,cell_now,frames"
    decisions.write_text(f"{columns}\nedits,3,3,False,applied,3,\nedits,9,3,True,applied,9,\n")
    rows = [f"0,9,{frame},True,{144 * 400}" for frame in range(2, 6)]
    taken_in.write_text("\n".join(["fov,cell,frame,good,total", *rows]) + "\n")
    files = digest_of_two_cells(tmp_path, map(str, (decisions, taken_in)))
    known = json.loads(files[digest.DIGEST])
    assert {key: known[key] for key in ("tracked", "kept", *KINDS, "taken_in")} == {
        **dict.fromkeys(("short", "border", "both"), 0),
        **{"tracked": 2, "kept": 1, "refused": 1, "taken_in": 1},
    }
    assert known["kept_by_frame"] == [0, 0, 1, 1, 1, 1]
    assert [of_cell["cell"] for of_cell in known["cells"]] == [9]
    assert "cell_3.webp" not in files
    _, labels = two_cells
    shown = picture(files[digest.THUMBNAIL]).astype(int)
    colour = shown[..., 0] - shown[..., 2]
    border = find_boundaries(labels[3], connectivity=1, mode="inner")
    assert colour[border & (labels[3] == 9)].mean() > 100
    assert abs(colour[border & (labels[3] == 3)]).mean() < 30


def test_a_film_strip_has_a_scale_bar_and_outlines_on_light(two_cells, tmp_path):
    files = digest_of_two_cells(tmp_path, pixel_size_um=0.5)
    (cell,) = json.loads(files[digest.DIGEST])["cells"]
    # The crop is 30 x 40 px, as wide as 40 px of the strip: a bar near a sixth of 2 x 20 um is 5 um, 10 px.
    assert cell["bar"] == "5 µm"
    with_bar, without = (picture(of[f"cell_{cell['cell']}.webp"]).astype(int) for of in (files, two_cells[0]))
    changed = np.abs(with_bar - without).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert rows.max() < 40
    assert columns.max() < 40  # in the first picture alone
    assert 8 <= np.ptp(columns) <= 14
    ring = without[40:, :40, 0] - without[40:, :40, 2]  # of the light, the first frame
    assert ring[9:12].max(axis=0)[8:32].mean() > 30


def test_outlines_lie_on_the_cells(two_cells):
    files, labels = two_cells
    frame = json.loads(files[digest.DIGEST])["frame"]
    assert frame == 3
    shown = picture(files[digest.THUMBNAIL]).astype(int)
    assert shown.shape == (80, 100, 3)
    colour = shown[..., 0] - shown[..., 2]  # of the outlines of kept cells; the rest is grey
    border = find_boundaries(labels[frame], connectivity=1, mode="inner")
    assert colour[border & (labels[frame] == 3)].mean() > 100
    assert abs(colour[border & (labels[frame] == 9)]).mean() < 30
    assert abs(colour[labels[frame] == 0]).mean() < 15


def test_what_was_left_out_is_counted_and_outlined(two_cells):
    files, _ = two_cells
    known = json.loads(files[digest.DIGEST])
    assert known["left_out"]["too_large"] == 6 * 12 * 30
    assert (known["left_out"]["too_large_regions"], known["left_out"]["too_small_regions"]) == (6, 6)
    image = picture(files[digest.THUMBNAIL]).astype(int)
    blue = image[..., 2] - image[..., 0] > 60
    shown = np.zeros(image.shape[:2], bool)
    shown[4:16, 60:90] = True
    assert blue[find_boundaries(shown, mode="inner")].mean() > 0.5
    assert blue[~shown].mean() < 0.02
    assert image[66, 6:18].min() > 170  # white: too small


def test_a_film_strip_shows_channels_and_frames(two_cells):
    shown = picture(two_cells[0]["cell_3.webp"]).astype(int)
    assert shown.shape == (2 * 40, 3 * 40, 3)
    light = shown[40:].mean(axis=2)
    # The window is 30 x 40 px: the light is the cell, 20 x 30, in the middle, white above a black background.
    for at in range(2):
        tile = light[:, 40 * at : 40 * (at + 1)]
        assert tile[12:28, 7:33].mean() > 230
        assert tile[:9].mean() < 20
    assert abs(light[:, 80:] - NOT_THERE).max() < 8  # the file has no light in frame 5
    ring = shown[:40, :40, 0] - shown[:40, :40, 2]
    assert ring[9:12].max(axis=0)[8:32].mean() > 60  # the outline's upper edge; WebP has less of colours
    assert abs(ring[:5]).mean() < 15


def test_a_fov_of_which_nothing_can_be_read_is_no_failure(tmp_path, caplog):
    nothing = {name: tmp_path / name for name in ("cells", "traces", "pc_frames", "tracked", "labeled")}
    digest_fov.main(str(tmp_path / "d.zip"), **nothing)
    known = digest.read_digest(tmp_path / "d.zip")
    assert set(known) == {"problem"}
    assert "the report will not show this FOV" in caplog.text


# -------------------------------------------------------------------------------------------------------- whole pages


def results_in(folder, *, by_size=None, fovs=(0,), cells=2, columns=("area_ch_0",), n_frames=4, qc=(), broken=()):
    """Results of the other stages, made up, as `write_report.build` takes them."""
    folder.mkdir(exist_ok=True)
    rows = [(fov, cell, frame) for fov in fovs for cell in range(cells) for frame in range(n_frames)]
    table = {name: np.array([row[at] for row in rows], np.int64) for at, name in enumerate(("fov", "cell", "frame"))}
    table["time_min"] = table["frame"] * 10.0
    for at, column in enumerate(columns):
        table[column] = 100.0 * at + table["cell"] * 10.0 + table["frame"]
    pq.write_table(pa.table(table), folder / "t.parquet")
    (folder / "qc.csv").write_text("\n".join(["fov,frame,check,value,limit", *qc]) + "\n")
    record = {"params": {"min_frames": 3}, "channels": {}, "fits": [], "provenance": {}}
    (folder / "record.yaml").write_text(yaml.safe_dump(record))
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    webp = digest.as_webp(noise)
    for fov in fovs:
        known = {"tracked": cells + 4, "kept": cells, "short": 1, "border": 1, "both": 1, "refused": 1, "taken_in": 0}
        known |= {"frame": 1}
        known |= {"tracked_by_frame": [cells] * n_frames, "kept_by_frame": [cells] * n_frames, "bytes": len(webp)}
        known |= {"left_out": by_size}
        shown = [{"cell": cell, "frames": [0, 2], "bytes": len(webp)} for cell in range(cells)]
        with new_store(folder / f"{fov}.zip") as put:
            put(digest.DIGEST, json.dumps({**known, "levels": [[0, 9]], "cells": shown}).encode())
            for name in (digest.THUMBNAIL, *map(digest.strip_file, range(cells))):
                put(name, webp)
    listed = [
        f"made_up,all,{fov},{cell},0,{n_frames - 1},{n_frames},{cell < cells},{'' if cell < cells else 'near the edge'}"
        for fov in fovs
        for cell in range(cells + 4)
    ]
    header = "dataset,sample,fov,cell,first_frame,last_frame,frames,in_tables,left_out"
    (folder / "cells.csv").write_text("\n".join([header, *listed, ""]))
    for name in broken:
        (folder / name).write_bytes(b"\xff\x00 no such thing")
    return {
        "digest_files": {fov: folder / f"{fov}.zip" for fov in fovs},
        "tidy": folder / "t.parquet",
        "cell_list": folder / "cells.csv",
        "pixel_size_um": None,
        "quality": folder / "qc.csv",
        "record": folder / "record.yaml",
        "fit_tables": [],
        "name": "made_up",
        "fovs": list(fovs),
        "failed": [],
        "fov_names": {str(fov): f"Pos{fov}" for fov in fovs},
        "samples": {"all": list(fovs)},
        "channels": {"0": "Phase"},
        "used": [0],
        "columns": list(columns),
        "fits": [],
        "times_min": [10.0 * frame for frame in range(n_frames)],
        "size_mb": 8.0,
    }


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
    text = build(**{**given_results, "size_mb": size_mb})
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
    text = build(**{**given_results, "samples": samples, "size_mb": 3.0})
    data, rows, _ = carried(text)
    assert len(text.encode()) <= 3e6
    every = data["frames"][1]
    assert data["frames"] == list(range(0, 120, every))
    assert every > 1
    assert f"Every {every}th frame is drawn" in text
    assert rows(data["features"][0]["samples"]).shape == (4 * 40, len(data["frames"]))


def test_the_same_results_give_the_same_bytes_and_no_path(tmp_path):
    one, other = (build(**results_in(tmp_path / name, fovs=range(3))) for name in "ab")
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
    text = build(**made)
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
    assert "no pictures: UserError" in build(**made)
    (tmp_path / "r/0.zip").write_bytes(b"no zip")
    assert "could not be read" in build(**made)


def test_a_page_of_images_keeps_its_size(tmp_path):
    made, _ = light(tmp_path / "r", fovs=range(20))
    room = len(build(**made).encode()) - 300
    text = build(**{**made, "size_mb": room / 1e6})
    assert len(text.encode()) <= room
    assert 0 < Parsed(text).tags.count("img") < 20


def hostile(folder):
    made = results_in(folder, fovs=range(len(HOSTILE)), qc=[f'0,1,"{HOSTILE[1]}",1,2'])
    made |= {"fov_names": {str(fov): name for fov, name in enumerate(HOSTILE)}, "name": HOSTILE[0]}
    made |= {"channels": {"0": HOSTILE[1]}, "samples": {HOSTILE[2]: [0, 1], HOSTILE[1]: [2]}}
    record = {"params": {HOSTILE[0]: HOSTILE[1]}, "provenance": {"input": {"file": HOSTILE[1]}, "time": {"from": "x"}}}
    (folder / "record.yaml").write_text(yaml.safe_dump(record))
    return build(**made)


def test_names_from_files_are_text_and_nothing_else(tmp_path):
    text, plain = hostile(tmp_path / "h"), build(**results_in(tmp_path / "p"))
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
    text = build(**results_in(tmp_path / "r", **changes))
    for word in words:
        assert word in text
    carried(text)
    assert ('id="problems"' in text) == what.startswith("broken")


NONE_LEFT_OUT = {"foreground": 900, "left_out": 0, **dict.fromkeys(left_out.DETAILS, 0)}


@pytest.mark.parametrize("by_size", [None, NONE_LEFT_OUT])
def test_nothing_found_is_said_where_nothing_was(tmp_path, by_size):
    text = build(**results_in(tmp_path / "r", by_size=by_size))
    assert "the checks found nothing" in text
    assert 'id="by-size"' not in text


@pytest.mark.parametrize("reason", left_out.LIMITS)
def test_regions_that_were_left_out_are_said_even_where_no_check_strikes(tmp_path, reason):
    by_size = NONE_LEFT_OUT | {reason: 90, f"{reason}_regions": 7, "left_out": 90}
    text = build(**results_in(tmp_path / "r", by_size=by_size, fovs=(0, 1)))
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
    text = build(**{**made, "size_mb": 3.0})
    assert len(text.encode()) <= 3e6
    said = re.search(r"([\d,]+) of 30,000 cells are listed here", text)
    packed = zlib.decompress(base64.b64decode(Parsed(text).ids["cell-list"]))
    assert len(packed.splitlines()) - 1 == int(said[1].replace(",", "")) > 100


def test_failed_fovs_and_fovs_of_no_sample_are_listed(tmp_path):
    made = results_in(tmp_path / "r", fovs=(0, 1, 3), qc=["2,,failed,,"])
    made |= {"failed": [2], "fov_names": {str(fov): f"Pos{fov}" for fov in range(4)}, "samples": {"a": [0, 1]}}
    text = build(**made)
    assert re.search(r'data-fov="2">(?:(?!</button>).)*failed', text, re.DOTALL)
    assert "<b>1</b> FOV failed and is missing here" in text
    data, _, _ = carried(text)
    assert [(sample["name"], sample["fovs"]) for sample in data["samples"]] == [("a", [0, 1]), ("no sample", [3])]


def test_a_defect_of_the_report_fails_no_run(tmp_path, caplog):
    write_report.main(str(tmp_path / "report.html"), nonsense=1)
    assert "No report could be made (TypeError)" in (tmp_path / "report.html").read_text()
    assert "no report" in caplog.text


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


def open_page(tab, path):
    """Open a file and wait until its script is through."""
    tab.goto(path.resolve().as_uri())
    tab.locator("body[data-ready], #trouble:not([hidden])").wait_for()


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
            path.write_text(build(**results_in(tmp_path / f"r{at}", **changes)), encoding="utf-8")
            open_page(tab, path)
            assert tab.evaluate("document.getElementById('trouble').hidden") is True
        assert tab.errors == []
