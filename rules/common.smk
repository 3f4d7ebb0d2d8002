# Look-ups that the rules share: the checked configuration, the planned datasets, names, settings, resources.
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from formats.registry import (
    EARLIER,
    FORMATS,
    GROUPS,
    LABELS,
    LABELS_IF_ANY,
    TRACES,
    formats_of,
)
from pyama import corrections, lock, plan, resources, summary
from pyama.config import as_json, complete, stage_settings
from pyama.errors import PyamaError
from pyama.paths import (
    Layout,
    background,
    corrected,
    fl,
    fov_text,
    labeled,
    pc,
    tracked,
)
from pyama.rerun import code_digest

try:
    CONFIG = complete(config)
    if workflow.is_main_process and not workflow.dryrun:
        lock.hold(Path(CONFIG["output_dir"]))
    DATASETS = plan.plan_datasets(CONFIG)
    CORRECTIONS = corrections.find(CONFIG, DATASETS)  # (dataset, fov) -> file
except PyamaError as error:
    sys.exit(str(error))  # one line per mistake, before any job


LAYOUT = Layout(CONFIG["output_dir"], CONFIG["params"]["cells_store"])
PC, FL = plan.channels_of(DATASETS)
STAGES = (
    "copy",
    "segment",
    "track",
    *corrections.STAGES,
    "background",
    "crop",
    "extract",
    "cache",
    "index",
)
STAGES += tuple(f"export_{name}" for name in FORMATS)
COPY_ONLY = CONFIG["params"]["copy_only"]

if workflow.is_main_process and not workflow.dryrun:
    corrections.forget(LAYOUT, DATASETS, CORRECTIONS)

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


def targets():
    """Every result the configuration asks for."""
    per_fov = [LAYOUT.frames(name) for name in IMAGES] + [LAYOUT.group()]
    if not COPY_ONLY:
        per_fov += [LAYOUT.frames(name, level=1) for name in IMAGES]
        if PC is not None:
            per_fov += [LAYOUT.cells, LAYOUT.traces]
    exports = [
        path for name in CONFIG["exports"] for path in export_targets(*formats_of(name))
    ]
    per_dataset = [LAYOUT.record]
    if MERGING:
        per_dataset += expand(
            LAYOUT.merged, sample=SAMPLES, column=COLUMNS, allow_missing=True
        )
    return (
        exports
        + [target.format(dataset=name) for name in DATASETS for target in per_dataset]
        + [
            target.format(dataset=dataset.name, fov=fov_text(fov))
            for dataset in DATASETS.values()
            for fov in dataset.fovs
            for target in per_fov + corrected_targets(dataset.name, fov_text(fov))
        ]
    )


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


def corrected_targets(dataset, fov):
    """What a FOV with corrected labels has besides."""
    if (dataset, fov) not in CORRECTIONS:
        return []
    name = corrected(PC)
    return [LAYOUT.frames(name), LAYOUT.frames(name, level=1), LAYOUT.group(name)] + [
        LAYOUT.lineage
    ]


def correction(wildcards):
    return CORRECTIONS.get((wildcards.dataset, wildcards.fov), [])


def final_labels(wildcards):
    """The tracked labels, or what a person made of them."""
    return LAYOUT.frames((corrected if correction(wildcards) else tracked)(PC))


def lineage_table(wildcards):
    return LAYOUT.lineage if correction(wildcards) else []


def export_inputs(name):
    """What a format is made of. Where there are no cells the job gets no labels, and says so."""
    cells = PC is not None and not COPY_ONLY
    earlier = [array for array in IMAGES if array not in RAW + TRACKED]
    inputs = {"channels": [LAYOUT.frames(array) for array in RAW]}
    if EARLIER in FORMATS[name].needs:
        inputs["earlier"] = [LAYOUT.frames(array) for array in earlier]
    if cells and {LABELS, LABELS_IF_ANY} & {*FORMATS[name].needs}:
        inputs |= {"labels": final_labels, "lineage_table": lineage_table}
    if cells and TRACES in FORMATS[name].needs:
        inputs["traces"] = LAYOUT.traces
    return inputs


def export_paths(name):
    return [
        f"{LAYOUT.fov}/{path.format(base=LAYOUT.base, array=array, raw=array)}"
        for path in FORMATS[name].outputs
        for array in (
            IMAGES if "{array}" in path else RAW if "{raw}" in path else [""]
        )
    ]


def export_outputs(name):
    paths = export_paths(name)
    return list(map(directory, paths)) if FORMATS[name].folder else paths


def export_settings(name):
    """What a format depends on besides its inputs: params, and some of what the plan knows of the FOV."""

    def look_up(dataset, fov):
        known = CONFIG["params"] | plan.scales(dataset, fov, CONFIG["params"])
        known["source"] = dataset.identity
        known["steps"] = {
            step: stage_settings(CONFIG, step)
            for step in ("segment", "track", "background")
        }
        return as_json({key: known[key] for key in FORMATS[name].settings})

    return planned(look_up)


def export_targets(*names):
    return [
        path.format(dataset=dataset.name, fov=fov_text(fov))
        for dataset in DATASETS.values()
        for fov in dataset.fovs
        for name in names
        for path in export_paths(name)
    ]


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
        stage, DATASETS[wildcards.dataset].movie.fovs[int(wildcards.fov)]
    )


def runtime(stage):
    """Minutes a job of this stage may need, more at every further attempt."""
    return lambda wildcards, attempt: attempt * resources.runtime_min(
        stage, DATASETS[wildcards.dataset].movie, int(wildcards.fov)
    )
