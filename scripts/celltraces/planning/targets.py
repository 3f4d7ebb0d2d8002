"""List every result that the configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator

from celltraces.exports.registry import formats_of
from celltraces.paths import Layout, corrected, edited, fov_text
from celltraces.planning import decisions, edits, joined
from celltraces.planning.dataset import Dataset
from celltraces.planning.experiment import Experiment
from celltraces.planning.exports import export_targets
from celltraces.planning.samples import samples_of


def of_fovs(template: str, dataset: Dataset) -> list[str]:
    """A path of each processed FOV of a dataset."""
    return [template.format(dataset=dataset.name, fov=fov_text(fov)) for fov in dataset.fovs]


def all_targets(experiment: Experiment) -> list[str]:
    """Every result that the config asks for."""
    layout = experiment.layout
    found: list[str] = []
    for dataset in experiment.datasets.values():
        found += _of_dataset(experiment, dataset)
        for template in _per_fov(experiment):
            found += of_fovs(template, dataset)
        found += decisions.decision_tables(experiment, dataset, dataset.fovs)
        found += decisions.tables_taken_in(experiment, dataset, dataset.fovs)
        for fov in map(fov_text, dataset.fovs):
            templates: list[str] = []
            if (dataset.name, fov) in experiment.corrections:
                templates += _of_labels(layout, corrected(experiment.pc), layout.lineage_corrected)
            if experiment.edits.get((dataset.name, fov), edits.NONE).tracks:
                templates += _of_labels(layout, edited(experiment.pc), layout.lineage_edited, layout.base_regions)
            found += [path.format(dataset=dataset.name, fov=fov) for path in templates]
    found += edits.outcome_tables(experiment.layout, experiment.edits, experiment.datasets)
    found += joined.targets(experiment)
    for name in experiment.config["exports"]:
        found += export_targets(experiment, *formats_of(name))
    return found


def _per_fov(experiment: Experiment) -> Iterator[str]:
    layout, images = experiment.layout, experiment.arrays.images
    yield from (layout.frames(name) for name in images)
    yield from (layout.group(), layout.digest)
    if not experiment.copy_only:
        yield from (layout.frames(name, level=1) for name in images)
    if experiment.tracing:
        yield from (layout.cells, layout.traces, layout.lineage)


def _of_labels(layout: Layout, name: str, *tables: str) -> list[str]:
    """What a FOV has besides whose labels a person changed: the array `name`, and these tables."""
    return [layout.frames(name), layout.frames(name, level=1), layout.group(name), *tables]


def _of_dataset(experiment: Experiment, dataset: Dataset) -> list[str]:
    layout = experiment.layout
    templates = [layout.record, layout.quality]
    if dataset.fovs:
        templates.append(layout.report)
    if experiment.tracing and dataset.fovs:
        templates += [f"{layout.tidy}.csv", f"{layout.tidy}.parquet", layout.cell_list, layout.stage_movement]
    found = [template.format(dataset=dataset.name) for template in templates]
    for sample in samples_of(experiment.config, dataset):
        if experiment.merging:
            found += [
                layout.merged.format(dataset=dataset.name, sample=sample, column=column)
                for column in experiment.columns
            ]
    return found + joined.fits_of_dataset(experiment, dataset)


def overlay(experiment: Experiment) -> str:
    """The movie of a FOV, as a template."""
    return f"{experiment.layout.overlay}.{experiment.config['pictures']['movie_format']}"


def plots(layout: Layout, columns: tuple[str, ...]) -> list[str]:
    """The plots of a dataset, as templates."""
    drawn = ["cells", *(["distributions"] if columns else []), *map("traces_{}".format, columns)]
    return [f"{layout.pictures}/{plot}.{ending}" for plot in drawn for ending in ("png", "pdf")]


def pictures(experiment: Experiment) -> list[str]:
    """Every movie and plot."""
    datasets = [dataset for dataset in experiment.datasets.values() if dataset.fovs]
    found = [
        plot.format(dataset=dataset.name)
        for plot in plots(experiment.layout, experiment.columns)
        for dataset in datasets
    ]
    return found + [movie for dataset in datasets for movie in of_fovs(overlay(experiment), dataset)]
