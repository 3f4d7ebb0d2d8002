"""Resolve samples of the configuration to FOVs of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celltraces.config.selection import expand_fovs
from celltraces.planning.dataset import Dataset


def sample_fovs(config: Mapping[str, Any], dataset: Dataset, sample: str) -> tuple[list[int], list[int]]:
    """FOVs of a sample that are processed, and those that are not."""
    written = next(entry["fovs"] for entry in config["samples"] if entry["name"] == sample)
    fovs = expand_fovs(written, len(dataset.movie.fovs), f"samples.{sample}.fovs")
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
    """Names of the samples that each FOV belongs to, with ";" between."""
    names: dict[str, list[str]] = {}
    for sample in config["samples"]:
        for fov in sample_fovs(config, dataset, sample["name"])[0]:
            names.setdefault(str(fov), []).append(sample["name"])
    return {fov: ";".join(of_fov) for fov, of_fov in names.items()}


def samples_of(config: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """Names of the samples that have a processed FOV in this dataset."""
    return [sample["name"] for sample in config["samples"] if sample_fovs(config, dataset, sample["name"])[0]]
