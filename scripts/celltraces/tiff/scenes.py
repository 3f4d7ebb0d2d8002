"""Find the files of a movie whose positions were saved to a file each, `{name}_scene{n}.ome.tif`, as PyAMA does."""

from __future__ import annotations

import re
from pathlib import Path

SCENE = re.compile(r"^(.*)_scene(\d+)(\.ome\.tiff?)$", re.IGNORECASE)


def scenes_beside(path: Path) -> dict[int, Path]:
    """The files of the set that this one belongs to, by n; none where its name is of no such set."""
    own = SCENE.match(path.name)
    if own is None:
        return {}
    found = ((SCENE.match(file.name), file) for file in sorted(path.parent.iterdir()))
    same = ((other, file) for other, file in found if other and (other[1], other[3]) == (own[1], own[3]))
    return {int(other[2]): file for other, file in same}
