"""What the digest of a FOV holds, and in which order its cells are to be shown. (digest_fov.py writes it.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pyama import store

DIGEST, THUMBNAIL = "digest.json", "thumbnail.webp"
GOLDEN = 0.6180339887498949


def strip_file(cell: int) -> str:
    """Name of a cell's film strip."""
    return f"cell_{cell}.webp"


def spread(n: int) -> list[int]:
    """0 to n - 1 in an order of which every beginning is spread evenly over all: by multiples of the golden section."""
    return sorted(range(n), key=lambda at: at * GOLDEN % 1)


def read_digest(path: Path) -> dict[str, Any]:
    """digest.json of one FOV."""
    with store.open_store(path) as get:
        return json.loads(get(DIGEST))
