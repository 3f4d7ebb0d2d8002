"""Reset modification times of results that lie in the future (clock skew).

Snakemake refuses what a job made from an input of the future, on every run until that time has come.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from celltraces.storage.checksums import NOT_OURS

STEP_NS = 1_000_000


def bring_back(results: Iterable[Path], now: float) -> None:
    """Give files and folders that are newer than `now` (seconds) dates just before it, in their old order.

    They stay newer than all others: where in doubt a stage runs once more than it had to, never once too few.
    """
    limit = int(now * 1e9)
    ahead: dict[int, list[Path]] = {}
    for result in results:
        for path in (result / NOT_OURS, result):
            with suppress(OSError):
                modified = path.stat().st_mtime_ns
                if modified > limit + STEP_NS:
                    ahead.setdefault(modified, []).append(path)
                break
    for steps, modified in enumerate(sorted(ahead, reverse=True)):
        for path in ahead[modified]:
            with suppress(OSError):
                os.utime(path, ns=(limit - steps * STEP_NS,) * 2)
