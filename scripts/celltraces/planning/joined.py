"""List the tables that are joined over all datasets, those of fits, and what samples are compared by."""

from __future__ import annotations

from celltraces.planning.dataset import Dataset
from celltraces.planning.experiment import Experiment
from celltraces.planning.samples import datasets_of, samples_of

COMPARED = ("cells", "fovs", "effects")  # tables of a comparison


def with_fovs(experiment: Experiment) -> list[Dataset]:
    """The datasets of which there are results to join, sorted by name: the order of keys in the config never counts."""
    return sorted((each for each in experiment.datasets.values() if each.fovs), key=lambda dataset: dataset.name)


def is_joined(experiment: Experiment) -> bool:
    """Whether there are tables over all datasets: where there is more than one."""
    return experiment.tracing and len(experiment.datasets) > 1 and bool(with_fovs(experiment))


def is_compared(experiment: Experiment) -> bool:
    """Whether samples are compared: where there is more than one, or one in several datasets."""
    several = len(experiment.samples) > 1 or len(experiment.datasets) > 1
    return experiment.merging and several and bool(with_fovs(experiment))


def samples_with_fovs(experiment: Experiment) -> list[str]:
    """Names of the samples that have a processed FOV in any dataset."""
    return [name for name in experiment.samples if datasets_of(experiment.config, experiment.datasets, name)]


def targets(experiment: Experiment) -> list[str]:
    """What lies beside the folders of the datasets."""
    layout = experiment.layout
    found = []
    if is_joined(experiment):
        found += [f"{layout.joined_traces}.csv", f"{layout.joined_traces}.parquet"]
        for sample in samples_with_fovs(experiment) if experiment.merging else ():
            found += [layout.joined.format(sample=sample, column=column) for column in experiment.columns]
            found += [
                layout.joined_fit.format(sample=sample, column=column, model=model) for column, model in experiment.fits
            ]
    if is_compared(experiment):
        found += [layout.comparison, *(layout.compared.format(table=table) for table in COMPARED)]
    return found


def tidy_tables(experiment: Experiment, ending: str) -> list[str]:
    """The tidy table of each dataset."""
    return [f"{experiment.layout.tidy}.{ending}".format(dataset=dataset.name) for dataset in with_fovs(experiment)]


def merged_tables(experiment: Experiment, sample: str) -> list[str]:
    """For each feature the merged table of a sample of each dataset in which it has FOVs."""
    return [
        experiment.layout.merged.format(dataset=dataset.name, sample=sample, column=column)
        for column in experiment.columns
        for dataset in datasets_of(experiment.config, experiment.datasets, sample)
    ]


def fits_of_sample(experiment: Experiment, sample: str) -> list[str]:
    """For each fit the table of a sample of each dataset in which it has FOVs."""
    return [
        experiment.layout.fitted.format(dataset=dataset.name, sample=sample, column=column, model=model)
        for column, model in experiment.fits
        for dataset in datasets_of(experiment.config, experiment.datasets, sample)
    ]


def fits_to_compare(experiment: Experiment) -> list[str]:
    """The tables of all fits of each dataset."""
    return [table for dataset in with_fovs(experiment) for table in fits_of_dataset(experiment, dataset)]


def fits_of_dataset(experiment: Experiment, dataset: Dataset) -> list[str]:
    """For each fit the table of each sample of a dataset."""
    return [table for column, model in experiment.fits for table in tables_of_fit(experiment, dataset, column, model)]


def tables_of_fit(experiment: Experiment, dataset: Dataset, column: str, model: str) -> list[str]:
    """The table of one fit of each sample that a dataset has."""
    return [
        experiment.layout.fitted.format(dataset=dataset.name, sample=sample, column=column, model=model)
        for sample in samples_of(experiment.config, dataset)
    ]
