"""Resolve samples of the configuration to FOVs of the datasets.

A sample is a set of FOVs of one or more datasets. Given as "0-2" it is these FOVs of every dataset that has them; given
as a mapping it is those of the datasets that the mapping names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celltraces.config.selection import expand_fovs, fovs_in, spell_fovs, split_fovs
from celltraces.errors import UserError
from celltraces.planning.dataset import Dataset


def sample_fovs(config: Mapping[str, Any], dataset: Dataset, sample: str) -> tuple[list[int], list[int]]:
    """FOVs of a sample in one dataset that are processed, and those that are not."""
    written = next(entry["fovs"] for entry in config["samples"] if entry["name"] == sample)
    fovs, _ = split_fovs(fovs_in(written, dataset.name, []), len(dataset.movie.fovs), f"samples.{sample}.fovs")
    processed = set(dataset.fovs)
    return [fov for fov in fovs if fov in processed], [fov for fov in fovs if fov not in processed]


def fovs_for(config: Mapping[str, Any], dataset: Dataset, wildcards: Mapping[str, str]) -> Sequence[int]:
    """The processed FOVs that a job of a dataset is for: one, those of its sample, or all."""
    if wildcards.get("fov"):
        return [int(wildcards["fov"])]
    if wildcards.get("sample"):
        return sample_fovs(config, dataset, wildcards["sample"])[0]
    return dataset.fovs


def samples_by_fov(config: Mapping[str, Any], dataset: Dataset) -> dict[str, str]:
    """The name of the sample that each processed FOV belongs to; FOVs of none are left out."""
    return {
        str(fov): sample["name"]
        for sample in config["samples"]
        for fov in sample_fovs(config, dataset, sample["name"])[0]
    }


def samples_of(config: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """Names of the samples that have a processed FOV in this dataset."""
    return [sample["name"] for sample in config["samples"] if sample_fovs(config, dataset, sample["name"])[0]]


def datasets_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset], sample: str) -> list[Dataset]:
    """The datasets in which a sample has a processed FOV, sorted by name."""
    return [dataset for _, dataset in sorted(datasets.items()) if sample_fovs(config, dataset, sample)[0]]


def fovs_by_sample(config: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """Each sample with its FOVs in one dataset, and FOVs of the sample that only other datasets have."""
    n_fovs = len(dataset.movie.fovs)
    for sample in config["samples"]:
        written = fovs_in(sample["fovs"], dataset.name, [])
        present, absent = split_fovs(written, n_fovs, f"samples.{sample['name']}.fovs")
        if present or absent:
            lacking = "; others are not in this file" if absent else ""
            yield f"{sample['name']} (FOV {spell_fovs(present) or 'none'}{lacking})"


def sample_mistakes(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """A line for each sample with FOVs that are not there or not processed, and for FOVs that are in two samples."""
    wrong = [line for sample in config["samples"] for line in _absent(sample, datasets)]
    yield from wrong
    if not wrong:
        for dataset in datasets.values():
            yield from _in_two(config, dataset)


def _absent(sample: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    key, written = f"samples.{sample['name']}.fovs", sample["fovs"]
    if isinstance(written, Mapping):
        places = [(f"{key}.{name}", fovs, [datasets[name]]) for name, fovs in written.items()]
    else:
        places = [(key, written, list(datasets.values()))]
    for place, fovs, of_datasets in places:
        largest = max(of_datasets, key=lambda dataset: len(dataset.movie.fovs))
        where = f" ({largest.path!r})" if len(of_datasets) == 1 else ""
        try:
            chosen = set(expand_fovs(fovs, len(largest.movie.fovs), place))
        except UserError as error:
            yield f"{error} ({largest.path!r}{'; the other files have no more' if not where else ''})"
        else:
            if not any(chosen & set(dataset.fovs) for dataset in of_datasets):
                yield f"{place}: none of them is processed; add them to `fovs`{where}"


def _in_two(config: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    first_of: dict[int, str] = {}
    shared: dict[tuple[str, str], list[int]] = {}
    for sample in config["samples"]:
        for fov in sorted(fov for part in sample_fovs(config, dataset, sample["name"]) for fov in part):
            if (first := first_of.setdefault(fov, sample["name"])) != sample["name"]:
                shared.setdefault((first, sample["name"]), []).append(fov)
    for (first, second), fovs in shared.items():
        what, verb = ("FOV", "is") if len(fovs) == 1 else ("FOVs", "are")
        yield (
            f"samples: {what} {spell_fovs(fovs)} of {dataset.name} {verb} in {first} and in {second}; "
            "a FOV belongs to one sample: take it out of the other"
        )
