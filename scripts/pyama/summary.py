"""What is said at the end of a run: which jobs failed, why, and where their logs are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pyama.job import DONE, FAILED


def failures(logs: Iterable[Path]) -> Iterator[str]:
    """One line for each job whose log does not end with success, from the logs that exist."""
    for log in logs:
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        if not any(line.startswith(DONE) for line in lines[-1:]):
            reason = next((line.removeprefix(FAILED) for line in reversed(lines) if line.startswith(FAILED)), None)
            place = lines[0] if lines else log.stem
            yield f"{place}: {reason or 'ended without a word (stopped, killed or out of memory)'}; log: {log}"
