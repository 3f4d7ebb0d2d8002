"""Collect what jobs depend on besides their input files, for each rule.

The key `files` names every file of the user's that counts by its content, with a digest: it is a reason to run again,
never a parameter, and in comparisons the digest stands for the path (see celltraces.storage.provenance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from celltraces.config.contradictions import ESTIMATE
from celltraces.config.stage_settings import canonical_json, digests, stage_settings
from celltraces.config.unused_keys import in_use
from celltraces.planning import acquisition, joined, tried_segmentation
from celltraces.planning.channels import features_of, known_pixel_size_um, pixel_size_um, planes, reader_settings, shape
from celltraces.planning.dataset import Dataset
from celltraces.planning.decisions import decisions_on
from celltraces.planning.edits import as_settings, list_settings
from celltraces.planning.experiment import Experiment
from celltraces.planning.exports import export_settings
from celltraces.planning.frame_times import frame_times
from celltraces.planning.identity import content_identity
from celltraces.planning.processing_record import named_files, processing_record
from celltraces.planning.samples import datasets_of, sample_fovs, samples_by_fov, samples_of
from celltraces.preview import frame_choice
from celltraces.results import time_checks

Wildcards = Mapping[str, str]


def settings_of(experiment: Experiment, job: str, wildcards: Wildcards) -> str:
    """The settings of one job, as JSON in one canonical spelling.

    job: the name of the rule; of an export, "export_" and the name of a format.
    """
    if job.startswith("export_"):
        dataset, fov = _place(experiment, wildcards)
        placed = scales(experiment.config, dataset, fov)
        return canonical_json(export_settings(experiment, dataset, fov, job.removeprefix("export_"), placed))
    if job not in OF_JOB:
        return _of_stage_alone(experiment, job)
    return canonical_json({**_in_use(experiment, job), **OF_JOB[job](experiment, wildcards)})


@cache
def _of_stage_alone(experiment: Experiment, stage: str) -> str:
    return canonical_json(_in_use(experiment, stage))


def _in_use(experiment: Experiment, stage: str) -> dict[str, Any]:
    """What the schema gives to a stage, without what changes nothing."""
    return in_use(stage_settings(experiment.config, stage), experiment.config)


def _place(experiment: Experiment, wildcards: Wildcards) -> tuple[Dataset, int]:
    return experiment.datasets[wildcards["dataset"]], int(wildcards.get("fov", 0))


def _scales(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return {"scales": scales(experiment.config, *_place(experiment, wildcards))}


def _copy(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, fov = _place(experiment, wildcards)
    return {
        **_input_file(dataset),
        **reader_settings(experiment.config, dataset),
        "fov": fov,
        "channels": [index for index in (experiment.pc, *experiment.fl) if index is not None],
        "shape": shape(dataset, fov),
        "planes": planes(dataset, experiment.config["z"]),
    }


def _input_file(dataset: Dataset) -> dict[str, Any]:
    return {"raw": dataset.path, "files": {dataset.path: dataset.identity}}


def _track(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return {"fov": int(wildcards["fov"])}


def _apply_corrections(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    file = experiment.corrections[wildcards["dataset"], wildcards["fov"]]
    return {"correction": file, "fov": int(wildcards["fov"]), "files": {file: content_identity(file)}}


def _apply_edits(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    edits = experiment.edits[wildcards["dataset"], wildcards["fov"]].tracks
    return {"fov": int(wildcards["fov"]), "edits": as_settings(edits)}


def _list_edits(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return list_settings(experiment.edits, _place(experiment, wildcards)[0])


def _extract_taken_in(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return {**_in_use(experiment, "extract"), **_extract(experiment, wildcards)}


def _extract(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    features = features_of(experiment.config, experiment.pc, experiment.fl)
    corrected = (wildcards["dataset"], wildcards["fov"]) in experiment.corrections
    return {"fov": int(wildcards["fov"]), "pc": experiment.pc, "chosen": features, "lineage_columns": corrected}


def _register(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    return {"fields": dict(experiment.shifts), "pixel_size_um": pixel_size_um(experiment.config, dataset)}


def _flat_field(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, fov = _place(experiment, wildcards)
    height, width = shape(dataset, dataset.fovs[0] if dataset.fovs else fov)[1:]
    references = [source for source in experiment.flat.values() if source != ESTIMATE]
    return {
        "sources": {
            str(channel): None if source == ESTIMATE else source for channel, source in experiment.flat.items()
        },
        "shape": [height, width],
        "frames": frame_choice.frames_for_flat_field(dataset, (height, width)),
        "planes": planes(dataset, experiment.config["z"]),
        **reader_settings(experiment.config, dataset),
        "raw": dataset.path,
        "files": {**digests(references), dataset.path: dataset.identity},
    }


def _qc(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    """What the checks of quality look at besides the results."""
    dataset, _ = _place(experiment, wildcards)
    places, period = dataset.movie.fovs, dataset.movie.period_min
    with_stamps = {fov for fov, place in enumerate(places) if place["times_min"] is not None}
    times = {fov: frame_times(dataset, fov, experiment.config["params"]) for fov in dataset.fovs}
    return {
        "fovs": dataset.fovs,
        "times_min": {str(fov): times[fov][0] for fov in dataset.fovs},
        "times_assumed": {
            str(fov): list(time_checks.assumed(*times[fov], places[fov], bool(with_stamps - {fov}), period))
            for fov in dataset.fovs
        },
        "senseless_stamps": {str(fov): places[fov]["senseless_stamps"] for fov in dataset.fovs},
        "failed": dataset.failed,
        "pixel_size_um": known_pixel_size_um(experiment.config, dataset),
        "overlaps": acquisition.overlaps_of(experiment.config, dataset) if dataset.pc is not None else [],
        "exposures": acquisition.other_exposures(dataset),
    }


def _record(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    return {"record": processing_record(experiment.config, dataset), "files": named_files(experiment.config, dataset)}


def _apply_curation(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return {"pc": experiment.pc, **decisions_on(experiment, *_place(experiment, wildcards))}


def _digest(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    shown = {"pc": experiment.pc, "fl": experiment.fl, "column": experiment.ranked_by}
    return {**shown, "pixel_size_um": known_pixel_size_um(experiment.config, dataset)}


def _merge(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    fovs, missing = sample_fovs(experiment.config, dataset, wildcards["sample"])
    return {**merge_settings(experiment.config, dataset, fovs, missing), "columns": experiment.columns}


def _tidy(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    merged = merge_settings(experiment.config, dataset, dataset.fovs, dataset.failed)
    samples = samples_by_fov(experiment.config, dataset)
    place = {"dataset": dataset.name, "fovs": dataset.fovs, "samples": samples}
    return {**merged, **place, "pc": experiment.pc, "columns": experiment.columns}


def _draw_overlay(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return {**_scales(experiment, wildcards), "channel": experiment.pc}


def _draw_plots(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    shown = merge_settings(experiment.config, dataset, dataset.fovs, dataset.failed)
    return {**shown, **plot_settings(experiment.config, dataset), "columns": experiment.columns}


def _fit(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return dict(experiment.fits[wildcards["column"], wildcards["model"]])


def _write_report(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    """A model from a file counts with the file's content."""
    dataset, _ = _place(experiment, wildcards)
    fits, files = _fits_in_settings(experiment)
    everything = sorted((*dataset.fovs, *dataset.failed))
    return {
        **plot_settings(experiment.config, dataset),
        "name": dataset.name,
        "failed": dataset.failed,
        "fov_names": {str(fov): dataset.movie.fovs[fov]["name"] for fov in everything},
        "used": [index for index in (dataset.pc, *dataset.fl) if index is not None],
        "times_min": frame_times(dataset, everything[0], experiment.config["params"])[0],
        "columns": experiment.columns,
        "fits": fits,
        "files": files,
    }


def _join_traces(experiment: Experiment, _: Wildcards) -> dict[str, Any]:
    return {"datasets": [dataset.name for dataset in joined.with_fovs(experiment)]}


def _join_tables(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    of_sample = datasets_of(experiment.config, experiment.datasets, wildcards["sample"])
    return {"datasets": [dataset.name for dataset in of_sample]}


def _compare_samples(experiment: Experiment, _: Wildcards) -> dict[str, Any]:
    """A model from a file counts with the file's content."""
    compared = joined.with_fovs(experiment)
    fits, files = _fits_in_settings(experiment)
    return {
        "datasets": [
            {
                "name": dataset.name,
                "n_frames": dataset.movie.n_frames,
                "pixel_size_um": known_pixel_size_um(experiment.config, dataset),
                "samples": samples_by_fov(experiment.config, dataset),
                "missing": _missing(experiment, dataset),
                "n_tables": len(samples_of(experiment.config, dataset)),
            }
            for dataset in compared
        ],
        "samples": joined.samples_with_fovs(experiment),
        "channels": dict(enumerate(compared[0].movie.channels)),
        "columns": experiment.columns,
        "fits": fits,
        "files": files,
    }


def _missing(experiment: Experiment, dataset: Dataset) -> dict[str, str]:
    """Why FOVs of samples are not in the results of a dataset."""
    places = (sample_fovs(experiment.config, dataset, sample)[1] for sample in experiment.samples)
    absent = sorted(fov for missing in places for fov in missing)
    return merge_settings(experiment.config, dataset, [], absent)["missing"]


def _fits_in_settings(experiment: Experiment) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The fits with their columns, and the digests of the files that models are in."""
    fits = [{"column": column, **fit} for (column, _), fit in experiment.fits.items()]
    return fits, {path: digest for fit in fits for path, digest in fit.pop("files", {}).items()}


def _shift_field(experiment: Experiment, _: Wildcards) -> dict[str, Any]:
    config = experiment.config
    beads = config["shift_field"]["beads"]
    return {
        **config["shift_field"],
        "pyme": config["pyme"],
        "pixel_size_um": config["params"]["pixel_size_um"],
        "files": {beads: content_identity(beads)},
    }


def _preview_segment(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    return tried_segmentation.preview_segmentation(experiment.config, dataset, wildcards["parameters"])


def _preview_compare(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    dataset, _ = _place(experiment, wildcards)
    return {**tried_segmentation.preview_comparison(experiment.config, dataset), **_input_file(dataset)}


def _find_scale(experiment: Experiment, wildcards: Wildcards) -> dict[str, Any]:
    return tried_segmentation.scale_search(experiment.config, _place(experiment, wildcards)[0])


def merge_settings(
    config: Mapping[str, Any], dataset: Dataset, fovs: Sequence[int], missing: Sequence[int]
) -> dict[str, Any]:
    """What tables merged from the traces of `fovs` depend on besides: times, missing FOVs."""
    return {
        "times_min": [frame_times(dataset, fov, config["params"])[0] for fov in fovs],
        "missing": {str(fov): "failed" if fov in dataset.failed else "not among fovs" for fov in missing},
    }


def scales(config: Mapping[str, Any], dataset: Dataset, fov: int) -> dict[str, Any]:
    """What a viewer needs to place the frames of one FOV: names, pixel size (um) and times (minutes)."""
    times, source = frame_times(dataset, fov, config["params"])
    channels = [index for index in (dataset.pc, *dataset.fl) if index is not None]
    return {
        "name": dataset.movie.fovs[fov]["name"],
        "channels": {str(index): dataset.movie.channels[index] for index in channels},
        "pixel_size_um": known_pixel_size_um(config, dataset),
        "times_min": times,
        "times_from": source,
        "position_um": dataset.movie.fovs[fov]["position_um"],
    }


def plot_settings(config: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """What the plots of a dataset depend on besides the traces; without samples all FOVs are one."""
    samples = {sample["name"]: sample_fovs(config, dataset, sample["name"])[0] for sample in config["samples"]}
    return {
        "channels": dict(enumerate(dataset.movie.channels)),
        "samples": {name: fovs for name, fovs in samples.items() if fovs} or {dataset.name: dataset.fovs},
        "fovs": dataset.fovs,
        "pixel_size_um": known_pixel_size_um(config, dataset),
    }


OF_JOB: Mapping[str, Callable[[Experiment, Wildcards], dict[str, Any]]] = {
    "apply_corrections": _apply_corrections,
    "apply_curation": _apply_curation,
    "apply_edits": _apply_edits,
    "compare_samples": _compare_samples,
    "copy": _copy,
    "digest": _digest,
    "draw_overlay": _draw_overlay,
    "draw_plots": _draw_plots,
    "extract": _extract,
    "extract_taken_in": _extract_taken_in,
    "find_scale": _find_scale,
    "fit": _fit,
    "flat_field": _flat_field,
    "index": _scales,
    "join_tables": _join_tables,
    "join_traces": _join_traces,
    "list_edits": _list_edits,
    "merge": _merge,
    "preview_compare": _preview_compare,
    "preview_segment": _preview_segment,
    "qc": _qc,
    "record": _record,
    "register": _register,
    "shift_field": _shift_field,
    "tidy": _tidy,
    "track": _track,
    "write_report": _write_report,
}
"""Of each stage that needs more than the keys that the schema gives it."""
