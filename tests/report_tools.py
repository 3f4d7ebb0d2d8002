"""Made-up results for pages of the report, and what a page carries."""

import base64
import json
import zlib
from html.parser import HTMLParser

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from celltraces.report import digest
from celltraces.report.build import build_report
from celltraces.storage.cells import new_store

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


def hostile(folder):
    made = results_in(folder, fovs=range(len(HOSTILE)), qc=[f'0,1,"{HOSTILE[1]}",1,2'])
    made |= {"fov_names": {str(fov): name for fov, name in enumerate(HOSTILE)}, "name": HOSTILE[0]}
    made |= {"channels": {"0": HOSTILE[1]}, "samples": {HOSTILE[2]: [0, 1], HOSTILE[1]: [2]}}
    record = {"params": {HOSTILE[0]: HOSTILE[1]}, "provenance": {"input": {"file": HOSTILE[1]}, "time": {"from": "x"}}}
    (folder / "record.yaml").write_text(yaml.safe_dump(record))
    return build_report(**made)


def open_page(tab, path):
    """Open a file and wait until its script is through."""
    tab.goto(path.resolve().as_uri())
    tab.locator("body[data-ready], #trouble:not([hidden])").wait_for()
