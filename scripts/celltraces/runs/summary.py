"""Summarise the end of a run: what failed and why, and what the quality checks found."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from celltraces.edits.records import DOUBTFUL, LOST, OVERRULED, REFUSED, RENUMBERED
from celltraces.results.curation import APPLIED, EDITS
from celltraces.runs.job import DONE, ENDED, FAILED, SAID, STOPPED

KILLED = "ended without a word (killed or out of memory)"


@dataclass(frozen=True)
class Failure:
    """A job that was started and did not end well."""

    place: str
    reason: str
    log: Path

    @property
    def is_from_outside(self) -> bool:
        """Whether the job did not end by itself, as where the whole run is stopped."""
        return self.reason in (STOPPED, ENDED, KILLED)

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}; log: {self.log}"


def failure(log: str | Path, since: float) -> Failure | None:
    """How a job failed, from its log; None where it did not, or not since that time (of modification, seconds)."""
    log = Path(log)
    try:
        if log.stat().st_mtime < since:
            return None
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    if any(line.startswith(DONE) for line in lines[-1:]):
        return None
    place = lines[0] if lines else log.stem
    for line in reversed(lines):
        if line.startswith(FAILED):
            return Failure(place, line.removeprefix(FAILED), log)
        if line.startswith("Fatal Python error: "):  # faulthandler's words
            return Failure(place, f"crashed ({line.removeprefix('Fatal Python error: ')})", log)
    return Failure(place, KILLED, log)


def findings_by_dataset(qualities: Iterable[str]) -> Iterator[str]:
    """A line for each dataset whose qc.csv is not empty: how often each check struck, and where."""
    for quality in qualities:
        places: dict[str, list[str]] = defaultdict(list)
        try:
            with open(quality, encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    places[row["check"]].append(row["fov"])
        except (OSError, KeyError):
            continue
        if places:
            struck = "; ".join(
                f"{check} {len(fovs)} x (FOV {_listed(list(dict.fromkeys(fovs)))})" for check, fovs in places.items()
            )
            yield f"{quality}: {struck}"


def said(logs: Iterable[str], since: float) -> list[str]:
    """What jobs of this run have to say at its end, from those logs that are not older than `since`.

    Of lines of one dataset that begin alike, up to a colon, the first is taken.
    """
    lines: dict[tuple[str, str], str] = {}
    for log in map(Path, logs):
        with suppress(OSError):
            if log.stat().st_mtime >= since:
                for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                    if line.startswith(SAID):
                        text = line.removeprefix(SAID)
                        lines.setdefault((log.parent.name, text.partition(": ")[0]), f"{log.parent.name}: {text}")
    return list(lines.values())


def decisions(tables: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """A line for each dataset of whose tables of decisions a row is not applied, or applied under another number."""
    for dataset, paths in tables.items():
        rows: list[dict[str, str]] = []
        for path in paths:
            with suppress(OSError), open(path, encoding="utf-8", newline="") as file:
                rows += [{**row, "table": str(path)} for row in csv.DictReader(file) if row["source"] != EDITS]
        lost = [row for row in rows if row["status"] != APPLIED]
        moved = [row for row in rows if row["status"] == APPLIED and row["reason"]]
        if lost or moved:
            parts = [f"{len(lost)} not applied ({_listed([_cell(row) for row in lost])})"] if lost else []
            parts += [f"{len(moved)} applied ({_listed([_cell(row) for row in moved])})"] if moved else []
            first = (lost or moved)[0]["table"]
            yield f"decisions on cells of {dataset}: {len(rows)} in all, {', '.join(parts)}; see {first}"


def edits(tables: Iterable[str]) -> Iterator[str]:
    """A line for each list of what became of edits in which one is not applied, or applied under another number."""
    for table in tables:
        try:
            with open(table, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except OSError:
            continue
        moved = [row for row in rows if row["status"] == RENUMBERED]
        # Who changes their own mind, or takes an edit back, knows it.
        lost = [
            row
            for row in rows
            if row["status"] in (LOST, DOUBTFUL, REFUSED)
            or (row["status"] == OVERRULED and not row["reason"].startswith(f"{row['by']} "))
        ]
        if lost or moved:
            parts = [f"{len(lost)} not applied ({_listed([_edit(row) for row in lost])})"] if lost else []
            parts += [f"{len(moved)} applied to cells with other numbers"] if moved else []
            yield f"edits: {len(rows)} in all, {', '.join(parts)}; see {table}"


def _edit(row: Mapping[str, str]) -> str:
    return f"{row['op']} by {row['by']} in FOV {row['fov']}: {row['reason']}"


def _cell(row: Mapping[str, str]) -> str:
    """A decision in words: source, FOV and cell, and what became of it."""
    cell = f"cell {row['cell']}" if row["cell"] else f"the cell at x {row['x']}, y {row['y']}, frame {row['frame']}"
    return f"{row['source']}: FOV {row['fov']}, {cell}: {row['reason']}"


def _listed(fovs: list[str], most: int = 5) -> str:
    return ", ".join(fovs[:most]) + (f" and {len(fovs) - most} more" if len(fovs) > most else "")
