# Look-ups that the rules share: the checked configuration, the planned datasets, names, settings, resources.
import re
import sys
from pathlib import Path

# Not workflow.basedir, which in a module is the folder of the workflow that uses it.
sys.path.insert(
    0, workflow.current_basedir.join("../scripts").get_path_or_uri(secret_free=True)
)

from pyama import lock, plan, resources, summary
from pyama.config import as_json, complete, stage_settings
from pyama.errors import PyamaError
from pyama.paths import Layout, background, fl, fov_text, labeled, pc, tracked
from pyama.rerun import code_digest

try:
    CONFIG = complete(config)
    if workflow.is_main_process and not workflow.dryrun:
        lock.hold(Path(CONFIG["output_dir"]))
    DATASETS = plan.plan_datasets(CONFIG)
except PyamaError as error:
    sys.exit(str(error))  # one line per mistake, before any job


LAYOUT = Layout(CONFIG["output_dir"], CONFIG["params"]["cells_store"])
PC, FL = plan.channels_of(DATASETS)
STAGES = ("copy", "segment", "track", "background", "crop", "extract", "cache", "index")
COPY_ONLY = CONFIG["params"]["copy_only"]

# Names of the arrays in images.zarr, in the order of the stages that make them.
RAW = ([pc(PC)] if PC is not None else []) + [fl(channel) for channel in FL]
LABELED = [labeled(PC)] if PC is not None else []
TRACKED = [tracked(PC)] if PC is not None else []
BACKGROUNDS = [background(channel) for channel in FL]
IMAGES = RAW if COPY_ONLY else RAW + LABELED + TRACKED + BACKGROUNDS

# What is merged: samples, and the columns of the traces.
SAMPLES = [sample["name"] for sample in CONFIG["samples"]]
COLUMNS = [
    f"{feature}_ch_{channel}"
    for channel, features in plan.features_of(CONFIG, PC, FL)
    for feature in features
]
MERGING = bool(PC is not None and not COPY_ONLY and SAMPLES and COLUMNS)


wildcard_constraints:
    dataset="|".join(map(re.escape, DATASETS)),
    sample="|".join(map(re.escape, SAMPLES)),
    fov=r"\d\d\d+",


def targets(_):
    """Every result the configuration asks for. Looked up by the run, not by each of its cluster jobs."""
    per_fov = [LAYOUT.frames(name) for name in IMAGES] + [LAYOUT.group()]
    if not COPY_ONLY:
        per_fov += [LAYOUT.frames(name, level=1) for name in IMAGES]
        if PC is not None:
            per_fov += [LAYOUT.cells, LAYOUT.traces]
    per_dataset = [LAYOUT.record]
    if MERGING:
        per_dataset += expand(
            LAYOUT.merged, sample=SAMPLES, column=COLUMNS, allow_missing=True
        )
    return [
        target.format(dataset=name) for name in DATASETS for target in per_dataset
    ] + [
        target.format(dataset=dataset.name, fov=fov_text(fov))
        for dataset in DATASETS.values()
        for fov in dataset.fovs
        for target in per_fov
    ]


def failures():
    """A line for each job that failed."""
    return summary.failures(
        Path(log.format(dataset=dataset.name, fov=fov_text(fov)))
        for dataset in DATASETS.values()
        for fov in dataset.fovs
        for log in map(LAYOUT.log, STAGES)
    )


def stage(name, script):
    """Everything a stage's result depends on besides its inputs: its settings, and its code by content."""
    return {
        "settings": as_json(stage_settings(CONFIG, name)),
        "code": code_digest(script),
    }


def sample_traces(wildcards):
    fovs, _ = plan.sample_fovs(CONFIG, DATASETS[wildcards.dataset], wildcards.sample)
    return [
        LAYOUT.traces.format(dataset=wildcards.dataset, fov=fov_text(fov))
        for fov in fovs
    ]


def merge_settings(wildcards):
    return as_json(
        plan.merge_settings(
            CONFIG, DATASETS[wildcards.dataset], wildcards.sample, COLUMNS
        )
    )


def raw_file(wildcards):
    return DATASETS[wildcards.dataset].path


def planned(look_up):
    """A param or resource that comes from the plan: look_up(dataset, fov) for the job's dataset and FOV."""
    return lambda wildcards: look_up(
        DATASETS[wildcards.dataset], int(wildcards.get("fov", 0))
    )


def memory(stage):
    """Megabytes a job of this stage may need, more at every further attempt."""
    return lambda wildcards, attempt: attempt * resources.memory_mb(
        stage, DATASETS[wildcards.dataset].movie, int(wildcards.fov)
    )


def runtime(stage):
    """Minutes a job of this stage may need, more at every further attempt."""
    return lambda wildcards, attempt: attempt * resources.runtime_min(
        stage, DATASETS[wildcards.dataset].movie, int(wildcards.fov)
    )


def merging(resource):
    """Megabytes or minutes that merging a sample may need, more at every further attempt."""

    def look_up(wildcards, attempt):
        dataset = DATASETS[wildcards.dataset]
        fovs, _ = plan.sample_fovs(CONFIG, dataset, wildcards.sample)
        return attempt * resources.merging(dataset.movie, fovs)[resource]

    return look_up
