"""Record beside every result what it was made from, and tell whether it would be made from the same now.

Snakemake keeps that below the working folder, by the paths of the results as they were spelled. Here it is the first
line of the list of checksums that every job writes last, so that it moves and is copied with the results and says the
same to every clone. It holds what counts and no path: params (settings and code; the user's files by their content),
and digests of what was read and written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from celltraces.paths import CHECKSUMS
from celltraces.storage import checksums

Record = dict[str, Any]
"""`params`: name -> value, `inputs` and `outputs`: path below the folder of all results -> digest.

The digest of an output is one of its checksums and of what it was made from.
"""

NOT_MADE = "not made yet"  # in the place of the digest of an input
LONG = 200  # characters of a setting, beyond which its digest is recorded


def record_of(params: Mapping[str, Any], inputs: Mapping[str, str]) -> Record:
    """What a job with these params and inputs makes its results from. params: `settings` (JSON), `code`."""
    return {
        "params": {
            "settings": _comparable(params["settings"]),
            **{name: value for name, value in params.items() if name != "settings"},
        },
        "inputs": dict(inputs),
    }


def write(listing: Path, record: Record, outputs: Iterable[Path]) -> None:
    """Write the list of checksums of a job's outputs, headed by its record. Call it when all outputs are there."""
    listed = checksums.lines_of(listing, outputs)
    made_from = json.dumps(record, sort_keys=True)
    digests = {name: _digest(made_from + "".join(lines)) for name, lines in listed.items()}
    checksums.write(listing, listed, json.dumps({**record, "outputs": digests}, sort_keys=True))


def read(listing: Path) -> Record | None:
    """The record of a job; None where there is none, as in results of an older release."""
    try:
        status = listing.stat()
    except OSError:
        return None
    return _read(listing, status.st_mtime_ns, status.st_size)


@cache
def _read(listing: Path, _modified: int, _size: int) -> Record | None:
    try:
        with open(listing, encoding="utf-8") as file:
            line = file.readline()
        if not line.startswith(checksums.RECORD):
            return None
        record = json.loads(line.removeprefix(checksums.RECORD))
        return record if {"params", "inputs", "outputs"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def changes(recorded: Record, now: Record) -> list[str]:
    """What differs between two records, in words; empty where nothing does."""
    before, after = ({**record["params"], **record["params"]["settings"]} for record in (recorded, now))
    names = sorted((before.keys() | after.keys()) - {"settings"})
    different = [
        f"{name}: {before.get(name, '-')} -> {after.get(name, '-')}"
        for name in names
        if before.get(name) != after.get(name)
    ]
    if recorded["inputs"] != now["inputs"]:
        different.append("inputs")
    return different


def digests_of(root: Path, inputs: Iterable[str | Path]) -> dict[str, str]:
    """Digests of inputs by their path below `root`, as the jobs that made them listed them.

    A result that no job has made yet is NOT_MADE, so that what is to be made from it runs. Other inputs that are not
    listed, as a file of the user's, are left out.
    """
    inputs = list(inputs)
    found = {}
    for name, listing in _listings(root, inputs):
        record = read(listing)
        assert record is not None
        found[name] = record["outputs"][name]
    if len(found) < len(inputs):
        below = {Path(path).relative_to(root).as_posix() for path in inputs if Path(path).is_relative_to(root)}
        found |= {name: NOT_MADE for name in sorted(below - found.keys()) if not (root / name).exists()}
    return found


def as_listed(root: Path, path: str | Path) -> bool:
    """Whether an input has the content that the job that made it listed, whatever its date. Reads the whole input."""
    for name, listing in _listings(root, [path]):
        place = root / name
        files = {file: listed for file, listed in checksums.read(listing).items() if place in (file, *file.parents)}
        return bool(files) and not any(True for _ in checksums.differences(files))
    return False


def _listings(root: Path, inputs: Iterable[str | Path]) -> Iterator[tuple[str, Path]]:
    """The list in which each input stands. The jobs of a FOV, and those of a dataset, have a folder of lists."""
    for path in inputs:
        try:
            name = Path(path).relative_to(root).as_posix()
        except ValueError:
            continue
        folder = Path(root, CHECKSUMS, *_place(name))
        kind = re.sub(r"fov_\d+", "", name)
        for stage in _candidates(folder, kind):
            record = read(folder / stage)
            if record is not None and name in record["outputs"]:
                _stage_of[kind] = stage
                yield name, folder / stage
                break


_stage_of: dict[str, str] = {}  # which list held an input of this kind last: what many FOVs have is made by one stage


def _candidates(folder: Path, kind: str) -> Iterator[str]:
    """Names of the lists in a folder, the likeliest first; looks into the folder only where that one is wrong."""
    likely = _stage_of.get(kind)
    if likely:
        yield likely
    yield from sorted(file.name for file in folder.glob("*.txt") if file.name != likely)


def _place(name: str) -> list[str]:
    """Folders below that of all lists: dataset and FOV, or dataset alone."""
    parts = name.split("/")[:-1]
    return parts[: 2 if len(parts) > 1 and parts[1].startswith("fov_") else 1]


@lru_cache(maxsize=64)
def _comparable(text: str) -> dict[str, Any]:
    """Settings with the digest of a user's file in the place of its path, and the digest of what is long."""
    settings = json.loads(text)
    files: dict[str, str] = {}
    _collect(settings, files)
    short: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "files":
            value = sorted(files.values())
        else:
            value = _without_paths(value, files)
        spelled = json.dumps(value, sort_keys=True)
        short[key] = value if len(spelled) <= LONG else f"sha256:{_digest(spelled)}"
    return short


def _collect(value: Any, files: dict[str, str]) -> None:
    """Gather what all `files` in the settings say."""
    if isinstance(value, dict):
        if isinstance(value.get("files"), dict):
            files.update(value["files"])
        for item in value.values():
            _collect(item, files)


def _without_paths(value: Any, files: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: sorted(item.values()) if key == "files" else _without_paths(item, files) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_paths(item, files) for item in value]
    if isinstance(value, str):
        if value in files:
            return f"<{files[value]}>"
        path, colon, function = value.rpartition(":")  # a method: FILE.py:FUNCTION
        if colon and path in files:
            return f"<{files[path]}>:{function}"
    return value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
