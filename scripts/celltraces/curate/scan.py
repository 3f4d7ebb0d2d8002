"""Find what a folder of results holds: datasets, FOVs, channels, frames.

The page names these things by what this table says; it never names a path. Whatever is looked at is described by its
`file_stamp`, which changes when a run puts another in its place.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from celltraces import paths
from celltraces.errors import UserError
from celltraces.report import digest, texts
from celltraces.storage import display_level
from celltraces.storage.codecs import ARRAY_FILE
from celltraces.storage.frames import open_frames

FOV_FOLDER = re.compile(r"fov_(\d{3,})")
SHOWN = re.compile(r"(pc|fl|fl_flat|fl_registered|fl_background)_ch_(\d+)")  # arrays whose pixels the page may ask for
# What the list of cells depends on, besides arrays and traces.
OTHER_FILES = (paths.DECISIONS, paths.TAKEN_IN, "base_regions.zarr.zip", paths.LINEAGE, paths.LINEAGE_CORRECTED)
ORDER = ("pc", "fl", "fl_flat", "fl_registered", "fl_background")


@dataclass(frozen=True)
class FovFiles:
    """One field of view of the results, and where its files are."""

    dataset: str
    number: int
    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images.zarr"

    def array(self, name: str, level: int = 0) -> Path:
        return self.images / name / str(level)

    def file(self, end: str) -> Path:
        """A file of the FOV by the end of its name."""
        return self.folder / f"{self.dataset}_{self.folder.name}_{end.removeprefix('_')}"

    @property
    def traces(self) -> Path:
        return self.file(paths.TRACES)

    @property
    def digest(self) -> Path:
        return self.file("digest.zip")

    @property
    def cells(self) -> Path:
        """The store of crops, a folder or a zip; the folder where there is none."""
        packed = self.folder / "cells.zarr.zip"
        return packed if packed.exists() else self.folder / "cells.zarr"

    @property
    def has_cells(self) -> bool:
        """Whether the crops are there. An empty folder is what a run leaves where it is going to make them."""
        return self.cells.is_file() or (self.cells / "metadata" / ARRAY_FILE).is_file()


def scan(results: Path) -> dict[str, dict[int, FovFiles]]:
    """The FOVs of each dataset in a folder of results. Raises UserError where there are none."""
    found: dict[str, dict[int, FovFiles]] = {}
    try:
        folders = sorted(folder for folder in results.iterdir() if not folder.name.startswith("."))
    except OSError as error:
        raise UserError(f"{results}: cannot be read ({error.strerror}); name the folder of results") from None
    for folder in folders:
        fovs = dict(sorted(_fovs(folder)))
        if fovs:
            found[folder.name] = fovs
    if not found:
        raise UserError(f"{results}: no results of the workflow; name its output_dir, which holds a folder per dataset")
    return found


def _fovs(folder: Path) -> Iterator[tuple[int, FovFiles]]:
    if not folder.is_dir():
        return
    for place in folder.iterdir():
        match = FOV_FOLDER.fullmatch(place.name)
        if match and (place / "images.zarr").is_dir():
            number = int(match[1])
            yield number, FovFiles(folder.name, number, place)


def file_stamp(path: Path) -> str:
    """What changes when a file is replaced or written to: its inode, date and size; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_ino:x}.{status.st_mtime_ns:x}.{status.st_size:x}"


def channels(fov: FovFiles) -> list[str]:
    """Names of the arrays of the FOV that hold pixels to look at: phase contrast, light, backgrounds."""
    try:
        names = [entry.name for entry in fov.images.iterdir()]
    except OSError:
        return []
    matches = [match for match in map(SHOWN.fullmatch, names) if match and fov.array(match[0]).is_dir()]
    matches.sort(key=lambda match: (ORDER.index(match[1]), int(match[2])))
    return [match[0] for match in matches]


def phase_contrast(fov: FovFiles) -> int | None:
    """Number of the phase-contrast channel; None where there is none, and so no cells."""
    return next((int(name.rsplit("_", 1)[1]) for name in channels(fov) if paths.is_phase_contrast(name)), None)


def version(fov: FovFiles) -> str:
    """What changes when anything of the FOV that the page shows is made anew."""
    files = [fov.images / ARRAY_FILE, fov.traces, fov.cells, *map(fov.file, OTHER_FILES)]
    try:
        folders = sorted(entry for entry in fov.images.iterdir() if entry.is_dir())
    except OSError:
        folders = []
    files += [folder / "0" / ARRAY_FILE for folder in folders]
    return "-".join(map(file_stamp, files))


def record(results: Path, dataset: str) -> dict[str, Any]:
    """processing_config.yaml of a dataset; empty where it is not there or cannot be read."""
    try:
        text = (results / dataset / "processing_config.yaml").read_text(encoding="utf-8")
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def findings_by_fov(results: Path, dataset: str) -> dict[int, list[dict[str, str]]]:
    """The rows of qc.csv by FOV, each with what its check means; empty where there is no table."""
    by_fov: dict[int, list[dict[str, str]]] = {}
    try:
        rows = texts.read_findings(results / dataset / "qc.csv")
        for row in rows:
            by_fov.setdefault(int(row["fov"]), []).append({**row, "meaning": texts.meaning(row["check"])})
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return by_fov


def doubtful_fits(results: Path, dataset: str) -> dict[int, dict[int, str]]:
    """By FOV and cell: model and flag of a fit of it that is not ok; empty where there are no fits."""
    found: dict[int, dict[int, str]] = {}
    for path in sorted((results / dataset).glob("*_fitted_*.csv")):
        model = path.stem.rpartition("_fitted_")[2]
        with suppress(OSError, ValueError, KeyError, TypeError), open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(line for line in file if not line.startswith("#")):
                if row["flag"] != "ok":
                    found.setdefault(int(row["fov"]), {})[int(row["cell"])] = f"{model} fit: {row['flag']}"
    return found


def attributes(fov: FovFiles) -> dict[str, Any]:
    """What images.zarr says of the FOV: name, times_min, channels, pixel_size_um; empty where it cannot be read."""
    try:
        return dict(json.loads((fov.images / ARRAY_FILE).read_bytes())["attributes"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def summary(fov: FovFiles) -> dict[str, Any]:
    """What the list of FOVs says of one: name, numbers of cells, whether it has a picture."""
    known: dict[str, Any] = {}
    with suppress(UserError, ValueError, KeyError):
        known = digest.read_digest(fov.digest)
    return {
        "fov": fov.number,
        "name": str(attributes(fov).get("name", "")),
        "tracked": known.get("tracked"),
        "kept": known.get("kept"),
        "picture": "frame" in known,
    }


def channel_details(fov: FovFiles, name: str, titles: dict[str, str]) -> dict[str, Any]:
    """What the page needs to draw a channel: title, size, black and white, frames that the file does not hold."""
    frames = open_frames(fov.array(name))
    kind, _, number = name.rpartition("_ch_")
    words = {"fl_background": " background", "fl_flat": " flat", "fl_registered": " registered"}.get(kind, "")
    low, high = display_level.limits_of_movie(frames)
    return {
        "name": name,
        "title": f"{titles.get(number, f'channel {number}')}{words}",
        "shape": list(frames.shape),
        "limits": [float(low), float(high)],
        "half": (fov.array(name, 1) / ARRAY_FILE).is_file(),
        "missing": list(frames.attributes.get("missing_frames", ())),
    }
