"""Move results of earlier configurations out of the way, into a folder of their own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SET_ASIDE = "set_aside-"  # beginning of the name of the folder that leftovers are moved to; the date follows


def move(found: Iterable[Path], results: Path, date: str) -> Path:
    """Move files and folders of the results to a new folder among them, where they keep their places below it."""
    aside = results / f"{SET_ASIDE}{date}"
    count = 1
    while aside.exists():
        count += 1
        aside = results / f"{SET_ASIDE}{date}_{count}"
    for path in found:
        place = aside / path.relative_to(results)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    return aside
