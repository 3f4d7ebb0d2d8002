"""Find results that no longer belong to the configuration.

Tables of a sample that has another name now, arrays of a channel that was dropped, FOVs and datasets that are no longer
asked for. Only what the workflow itself must have written is named, by the names that its rules give. A person's files
(curation.csv, inspected tables, corrections, edits) and whatever else lies there are never among it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from celltraces.exports.registry import CELLS, FORMATS, LABELS, TRACES
from celltraces.paths import ALL, BENCHMARKS, CHECKSUMS, LOGS, PLACES, Layout, fov_text
from celltraces.planning.command_line import with_target
from celltraces.planning.dataset import Dataset
from celltraces.planning.experiment import Experiment
from celltraces.planning.joined import COMPARED
from celltraces.planning.targets import all_targets
from celltraces.planning.tried_segmentation import finds_scale
from celltraces.results.set_aside import SET_ASIDE

OUR_FOLDERS = (LOGS, BENCHMARKS, CHECKSUMS, PLACES)
ARRAY = (
    r"(?P<array>(?:pc|fl|seg_labeled|seg_tracked|seg_corrected|seg_edited|fl_flat|fl_registered|fl_background)_ch_\d+)"
)
FOV = r"fov_(?P<fov>\d{3,})"
COLUMN = r"\w+_ch_\d+"
NOT_COUNTED = (".snakemake_timestamp",)
UNITS = b"# Time units: "  # how a merged table begins

Ours = Callable[[str], bool | None]
"""Path below a dataset's folder -> whether the configuration explains it; None for what is not known to be ours."""
Pattern = tuple[str, Callable[[re.Match[str]], bool]]
"""A pattern of paths that the workflow writes, and whether the configuration explains a path that matches."""


def find_leftovers(experiment: Experiment) -> list[Path]:
    """Files and folders in the results that the configuration does not explain, sorted; a folder stands for all in it.

    All that it asks for in every run is explained, and what it makes on request as well.
    """
    results = Path(experiment.layout.results)
    wanted = set(all_targets(experiment))
    inputs = [Path(os.path.abspath(path)) for path in experiment.config["datasets"].values()]
    found = [path for path in _over_datasets(experiment.layout) if path.as_posix() not in wanted]
    for folder in _entries(results):
        name = folder.name
        if name in OUR_FOLDERS or name.startswith(SET_ASIDE) or not folder.is_dir() or folder.is_symlink():
            continue
        at = Path(os.path.abspath(folder))
        if not (folder / ".movie.json").exists() or any(at == path or at in path.parents for path in inputs):
            continue  # no dataset of ours, or one that is read
        ours = _judge(experiment, name, wanted)
        found += _scan(folder, "", ours)[0]
    return sorted(found)


def _over_datasets(layout: Layout) -> Iterator[Path]:
    """What lies beside the folders of the datasets and was written by us, as logs of such jobs tell."""
    results, logs = Path(layout.results), Path(layout.log("x", ALL)).parent
    stems = [path.stem for path in _entries(logs) if path.suffix == ".log"]
    samples = [stem.removeprefix("join_tables_") for stem in stems if stem.startswith("join_tables_")]
    names = [f"traces{ending}" for ending in (".csv", ".parquet") if "join_traces" in stems]
    if "compare_samples" in stems:
        names += ["report.html", *(Path(layout.compared.format(table=table)).name for table in COMPARED)]
    for path in _entries(results):
        is_ours = path.name in names or _is_merged(str(path), path.name, samples) or _is_fitted(path, samples)
        if path.is_file() and is_ours:
            yield path


def _is_fitted(path: Path, samples: Collection[str]) -> bool:
    """Whether a file is a joined table of fits of a sample: by its name, and by how it begins."""
    match = re.fullmatch(r"(.+_ch_\d+)_fitted_\w+\.csv", path.name)
    return match is not None and _is_merged(str(path), f"{match[1]}.csv", samples)


def _scan(folder: Path, below: str, ours: Ours) -> tuple[list[Path], bool]:
    """The leftovers in a folder, and whether there is nothing else in it: then they are the folder itself."""
    found: list[Path] = []
    only = True
    for entry in _entries(folder):
        if entry.name in NOT_COUNTED:
            continue
        name = f"{below}{entry.name}"
        explained = ours(name)
        if explained is None and entry.is_dir() and not entry.is_symlink() and _may_hold_ours(name):
            inside, whole = _scan(entry, f"{name}/", ours)
            found += inside
            only &= whole
        else:
            if explained is False:
                found.append(entry)
            only &= explained is False
    only &= bool(found)
    return ([folder] if only else found), only


def _may_hold_ours(name: str) -> bool:
    return re.fullmatch(rf"{FOV}(/images\.zarr|/exports)?|pictures|preview|preview/segmentations", name) is not None


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return


# ------------------------------------------------------------------------------------------- whose is it, and what for


def _judge(experiment: Experiment, name: str, wanted: Collection[str]) -> Ours:
    """A function that judges paths below the folder of a dataset, which the configuration may not have."""
    folder = experiment.layout.dataset.format(dataset=name)
    dataset: Dataset | None = experiment.datasets.get(name)
    samples, fits = _once_made(experiment.layout, name)
    patterns = _of_dataset(experiment, name, dataset) + _of_fovs(experiment, name, dataset, folder, wanted)
    known = [(re.compile(pattern), explains) for pattern, explains in patterns]

    def ours(below: str) -> bool | None:
        path = f"{folder}/{below}"
        if path in wanted:
            return True
        for pattern, explains in known:
            if match := pattern.fullmatch(below):
                return explains(match)
        if below.endswith(".csv") and (below.removesuffix(".csv") in fits or _is_merged(path, below, samples)):
            return False
        return None

    return ours


def _of_dataset(experiment: Experiment, name: str, dataset: Dataset | None) -> list[Pattern]:
    """What the workflow writes into the folder of a dataset."""
    traced = dataset is not None and experiment.tracing
    columns = experiment.columns if traced else ()
    flat = () if dataset is None or experiment.copy_only else experiment.flat
    return [
        (r"\.movie\.json", lambda match: dataset is not None),
        (r"segmentation_scale\.json", lambda match: traced and finds_scale(experiment.config)),
        (r"flat_field\.json", lambda match: bool(flat)),
        (r"flat_field_ch_(?P<flat>\d+)\.npy", lambda match: int(match["flat"]) in flat),
        (r"report\.html|processing_config\.yaml|(qc|edits)\.csv", lambda match: False),
        (rf"{re.escape(name)}_(traces\.(csv|parquet)|(stage_movement|cells)\.csv)", lambda match: False),
        (r"preview/(preview\.(png|csv)|preview_(frames|pairs)\.csv|segmentations/.+\.zip)", lambda match: traced),
        (r"pictures/(cells|distributions)\.(png|pdf)", lambda match: traced),
        (rf"pictures/traces_(?P<column>{COLUMN})\.(png|pdf)", lambda match: match["column"] in columns),
    ]


def _of_fovs(
    experiment: Experiment, name: str, dataset: Dataset | None, folder: str, wanted: Collection[str]
) -> list[Pattern]:
    """What the workflow writes into the folders of the FOVs of a dataset; those that fail are explained wholly."""
    traced = dataset is not None and experiment.tracing
    fovs = set(map(fov_text, dataset.fovs)) if dataset else set()
    failed = set(map(fov_text, dataset.failed)) if dataset else set()  # this run does without them, not the config
    movie = f"overlay.{experiment.config['pictures']['movie_format']}"
    arrays_of: dict[str, set[str]] = {}  # those that are asked for, by FOV
    for path in wanted:
        if path.startswith(folder) and (match := re.match(rf"/{FOV}/images\.zarr/{ARRAY}/", path[len(folder) :])):
            arrays_of.setdefault(match["fov"], set()).add(match["array"])

    def arrays(fov: str) -> set[str]:
        return arrays_of.get(fov, set())

    base = rf"{re.escape(name)}_fov_(?P=fov)"
    patterns: list[Pattern] = [
        (rf"images\.zarr/{ARRAY}", lambda match: match["array"] in arrays(match["fov"])),
        (r"images\.zarr/zarr\.json|cells\.zarr(\.zip)?", lambda match: False),
        (rf"{base}_(traces|traces_taken_in|decisions)\.csv", lambda match: False),
        (rf"{base}_lineage(_corrected|_edited)?\.csv", lambda match: False),
        (rf"{base}_(digest|base_regions\.zarr)\.zip", lambda match: False),
        (rf"{base}_(?P<movie>overlay\.\w+)", lambda match: traced and match["movie"] == movie),
        *(_of_format(entry, path, base, traced, arrays) for entry in FORMATS.values() for path in entry.outputs),
    ]
    return [
        (
            rf"{FOV}/(?:{pattern})",
            lambda match, explains=explains: match["fov"] in failed or (match["fov"] in fovs and explains(match)),
        )
        for pattern, explains in patterns
    ]


def _of_format(entry: Any, path: str, base: str, traced: bool, arrays: Callable[[str], set[str]]) -> Pattern:
    """A pattern for an output of an export, and what explains it: exports are also made on request."""
    pattern = re.escape(path.format(base="<base>", array="<array>", raw="<array>", light="<array>"))
    pattern = pattern.replace(re.escape("<base>"), base).replace(re.escape("<array>"), ARRAY)
    possible = traced or not {LABELS, CELLS, TRACES} & {*entry.needs}

    def explains(match: re.Match[str]) -> bool:
        array = match.groupdict().get("array")
        return possible and (array is None or array in arrays(match["fov"]))

    return pattern, explains


def _once_made(layout: Layout, name: str) -> tuple[set[str], set[str]]:
    """Samples that were merged, and {sample}_{column}_fitted_{model} of fits that were made, by their jobs' logs."""
    logs = Path(layout.log("x", "{dataset}/").format(dataset=name)).parent
    stems = [path.stem for path in _entries(logs) if path.suffix == ".log"]
    samples = {stem.removeprefix("merge_") for stem in stems if stem.startswith("merge_")}
    fits = set()
    for stem in stems:
        if match := re.fullmatch(r"fit_(.+_ch_\d+)_(\w+)", stem):
            fits.add(f"{match[1]}_fitted_{match[2]}")
    return samples, fits


def _is_merged(path: str, below: str, samples: Collection[str]) -> bool:
    """Whether a file is the merged table of a sample: by its name, and by how it begins."""
    if not any(re.fullmatch(rf"{re.escape(sample)}_{COLUMN}\.csv", below) for sample in samples):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(UNITS)) == UNITS
    except OSError:
        return False


# ------------------------------------------------------------------------------------------------ what is done about it


def line(found: Sequence[Path], results: str, command: Sequence[str], most: int = 5) -> Iterator[str]:
    """What is said at the end of a run, if there is something: the leftovers, and the command that moves them away.

    command: the command line of this run, argument by argument.
    """
    if found:
        listed = ", ".join(map(str, found[:most])) + (f" and {len(found) - most} more" if len(found) > most else "")
        yield (
            f"In {results} lies what does not belong to this configuration: {listed}. "
            f"This moves it to {results}/{SET_ASIDE}DATE:\n  {with_target(command, 'set_aside')}"
        )
