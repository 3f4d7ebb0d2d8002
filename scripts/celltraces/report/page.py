"""Assemble the page: one HTML file with text, pictures, data and the plotting library in it.

Numbers and pictures of cells are one block of bytes, which is compressed and written as base64, as is the library. A
table of numbers takes two bytes each: its rows are counted in steps of 1/65,534 of their own range.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.pictures import web

SCRIPTS = ("data.js", "charts.js", "cell_list.js", "page.js")
STEPS, NOTHING = 65534, -32768  # of a quantised number; what stands for NaN
BASE64 = 4 / 3  # characters per byte
ALIGNED = 8  # bytes: where a browser can read numbers in place


class Block:
    """Bytes that a page carries, and what lies where in them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, content: bytes) -> list[int]:
        """Add some bytes: [start, length]."""
        place = [self._size, len(content)]
        self._parts.append(content + bytes(-len(content) % ALIGNED))
        self._size += len(self._parts[-1])
        return place

    def add_rows(self, values: np.ndarray) -> list[int]:
        """Add numbers (rows, columns): [start, rows, columns]. What is not finite becomes NaN.

        First each row's lowest value and step (float64), then int16: a value is lowest + (code + 32767) step.
        """
        values = np.asarray(values, np.float64)
        finite = np.isfinite(values)
        low = np.where(finite, values, np.inf).min(axis=1, initial=np.inf)
        high = np.where(finite, values, -np.inf).max(axis=1, initial=-np.inf)
        low = np.where(low <= high, low, 0.0)
        step = (high - low) / STEPS
        step = np.where(step > 0, step, 1.0)
        steps = np.rint((np.where(finite, values, low[:, None]) - low[:, None]) / step[:, None])
        codes = np.where(finite, steps + NOTHING + 1, NOTHING)
        start, _ = self.add(low.astype("<f8").tobytes() + step.astype("<f8").tobytes() + codes.astype("<i2").tobytes())
        return [start, *values.shape]

    def content(self) -> bytes:
        """All that was added."""
        return b"".join(self._parts)


def packed(content: bytes) -> str:
    """Bytes as text that the page unpacks. (zlib's format: the header of gzip's differs between systems.)"""
    return base64.b64encode(zlib.compress(content, 6)).decode()


def page_data(data: Mapping[str, Any]) -> bytes:
    """JSON, the same for the same data; NaN is refused, since browsers do not know it."""
    return json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def as_source(webp: bytes) -> str:
    """A picture as the `src` of an <img>."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def library() -> str:
    """The plotting library, plotly.js, as text that the page unpacks."""
    from plotly.offline import get_plotlyjs

    return packed(get_plotlyjs().encode())


def renderer(html: str = "page.html", scripts: Sequence[str] = SCRIPTS) -> Callable[..., str]:
    """A function that puts the page together. All text that it is given is escaped; what is not there is left out.

    html, scripts: names of files of this folder; what all our pages share stands above these scripts, and head.html is
    how each of them begins.
    """
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    folder = Path(__file__).parent
    css = "".join(path.read_text(encoding="utf-8") for path in (web.STYLE, folder / "page.css"))
    js = "".join(path.read_text(encoding="utf-8") for path in (web.SCRIPT, *(folder / name for name in scripts)))
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template(html)

    def render(**content: Any) -> str:
        return template.render(style=css, script=js, curation_page=web.CURATION_PAGE, **content)

    return render
