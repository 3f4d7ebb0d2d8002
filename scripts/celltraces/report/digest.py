"""Define the digest of a FOV (what the report needs of it) and the order in which its cells are shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import raise_what_passes
from celltraces.runs import job
from celltraces.storage import cells

DIGEST, THUMBNAIL = "digest.json", "thumbnail.webp"
QUALITY, EFFORT = 60, 2  # of WebP; the usual effort of 4 takes twice the time to save 4 % of the bytes
GOLDEN = 0.6180339887498949


def strip_file(cell: int) -> str:
    """Name of a cell's film strip."""
    return f"cell_{cell}.webp"


def evenly_spread(n: int) -> list[int]:
    """0 to n - 1 in an order of which every beginning is spread evenly over all: by multiples of the golden section."""
    return sorted(range(n), key=lambda at: at * GOLDEN % 1)


def read_digest(path: Path) -> dict[str, Any]:
    """digest.json of one FOV."""
    with cells.open_store(path) as get:
        return json.loads(get(DIGEST))


def write_digest(output: Path, make: Callable[[], Mapping[str, bytes]]) -> None:
    """Write the files that `make` returns, by name, into one zip file.

    Where they cannot be made there is only a digest.json that says why: a report never costs the run its data.
    """
    files: Mapping[str, bytes]
    try:
        files = make()
    except Exception as error:
        raise_what_passes(error)
        job.log.exception("the report will not show this FOV")
        files = {DIGEST: json.dumps({"problem": type(error).__name__}).encode()}
    with cells.new_store(output) as put:
        for name, content in files.items():
            put(name, content)
    job.log.info("%d files, %d bytes", len(files), sum(map(len, files.values())))


def as_webp(picture: np.ndarray) -> bytes:
    """A picture (h, w, 3) uint8 as a WebP file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=QUALITY, method=EFFORT)
    return buffer.getvalue()
