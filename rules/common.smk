# Look-ups that the rules share: the checked configuration, the planned datasets, names, settings, resources.
import atexit
import gc
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

# Not workflow.basedir, which in a module is the folder of the workflow that uses it.
sys.path.insert(
    0, workflow.current_basedir.join("../scripts").get_path_or_uri(secret_free=True)
)

from formats.registry import (
    CELLS,
    EARLIER,
    FORMATS,
    GROUPS,
    LABELS,
    LABELS_IF_ANY,
    TRACES,
    formats_of,
)
from pyama import (
    clock,
    corrections,
    curation,
    decisions,
    leftovers,
    lock,
    plan,
    preview,
)
from pyama import remainder, rerun
from pyama import resources, summary
from pyama.config import as_json, complete, refuse_repeated_keys, stage_settings
from pyama.errors import PyamaError
from pyama.paths import ALL, DATASET, Layout
from pyama.paths import background, corrected, fl, fov_text, labeled, pc
from pyama.paths import registered, tracked

# A plan is a million objects that live to the end. Looking for garbage among them takes a fifth of planning, and at the
# end as long again, where Python looks once more before it gives all memory back.
gc.set_threshold(1_000_000, 20, 100)
atexit.register(gc.freeze)

# Snakemake imports pandas to look at params; its BLAS would start a thread per core, which all wait busily. (Jobs are
# told their own number.)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

try:
    refuse_repeated_keys(workflow.configfiles)
    CONFIG = complete(config)
    LAYOUT = Layout(CONFIG["output_dir"], CONFIG["params"]["cells_store"])
    WITHOUT = remainder.left_out()
    LOCKED_AT = (
        lock.hold(Path(LAYOUT.results))
        if workflow.is_main_process
        and not workflow.output_settings.dryrun
        and not WITHOUT
        else 0
    )
    DATASETS = plan.plan_datasets(CONFIG, WITHOUT)
    CONFIG["params"] |= plan.spot_size(CONFIG, DATASETS)
    SHIFTS = plan.shifts_of(CONFIG, DATASETS)  # channel -> shift field
    FLAGS = curation.read_curation(Path(LAYOUT.curation), plan.shapes(DATASETS))
    CORRECTIONS = corrections.find(CONFIG, DATASETS)  # (dataset, fov) -> file
    if plan.traced(CONFIG, DATASETS) and workflow.is_main_process:
        writing = not workflow.output_settings.dryrun
        decisions.remember(LAYOUT, DATASETS.values(), FLAGS, write=writing)
except PyamaError as error:
    sys.exit(str(error))  # one line per mistake, before any job


PC, FL = plan.channels_of(DATASETS)
COPY_ONLY = CONFIG["params"]["copy_only"]
TRACING = PC is not None and not COPY_ONLY

if workflow.is_main_process and not workflow.output_settings.dryrun:
    corrections.forget(LAYOUT, DATASETS, CORRECTIONS)
    decisions.forget(LAYOUT, DATASETS.values(), FLAGS)

# Names of the arrays in images.zarr, in the order of the stages that make them.
RAW = ([pc(PC)] if PC is not None else []) + [fl(channel) for channel in FL]
ALIGNED = [registered(channel) if channel in SHIFTS else fl(channel) for channel in FL]
LABELED = [labeled(PC)] if PC is not None else []
TRACKED = [tracked(PC)] if PC is not None else []
BACKGROUNDS = [background(channel) for channel in FL]
REGISTERED = [registered(channel) for channel in SHIFTS]
IMAGES = RAW if COPY_ONLY else RAW + REGISTERED + LABELED + TRACKED + BACKGROUNDS

# What is merged: samples, and the columns of the traces.
SAMPLES = [sample["name"] for sample in CONFIG["samples"]]
COLUMNS = [
    f"{feature}_ch_{channel}"
    for channel, features in plan.features_of(CONFIG, PC, FL)
    for feature in features
]
MERGING = bool(TRACING and SAMPLES and COLUMNS)
FITS = plan.fits_of(CONFIG, DATASETS)  # (column, model) -> settings

# The report: the feature that ranks the cells of which it shows some, and what its page is made of.
OF_LIGHT = [column for column in COLUMNS if not column.endswith(f"_ch_{PC}")]
RANKED_BY = next(iter(OF_LIGHT + COLUMNS), None)
PAGE = [f"report/page.{ending}" for ending in ("html", "css", "js")]

# What is drawn: the movie of a FOV, the channel laid over it, and the plots of a dataset.
OVERLAY = f"{LAYOUT.overlay}.{CONFIG['pictures']['movie_format']}"
LAID_OVER = [
    name
    for channel in plan.laid_over(CONFIG, FL)
    for name in (ALIGNED[FL.index(channel)], background(channel))
]
PLOTS = expand(
    f"{LAYOUT.pictures}/{{plot}}.{{ending}}",
    plot=[
        "cells",
        *(["distributions"] if COLUMNS else []),
        *map("traces_{}".format, COLUMNS),
    ],
    ending=["png", "pdf"],
    allow_missing=True,
)


wildcard_constraints:
    dataset="|".join(map(re.escape, DATASETS)),
    sample="|".join(map(re.escape, SAMPLES)),
    column="|".join(map(re.escape, COLUMNS)),
    model=r"\w+",
    fov=r"\d\d\d+",


def of_fovs(template, dataset):
    """A path of each FOV of a dataset."""
    return [
        template.format(dataset=dataset.name, fov=fov_text(fov)) for fov in dataset.fovs
    ]


def pictures(_):
    """Every movie and plot. Looked up when asked for, as `targets` are."""
    processed = [dataset.name for dataset in DATASETS.values() if dataset.fovs]
    return expand(PLOTS, dataset=processed) + [
        movie for dataset in DATASETS.values() for movie in of_fovs(OVERLAY, dataset)
    ]


def for_report(plot):
    """A plot as an output: those that a browser shows are in Snakemake's report."""
    if not plot.endswith(".png"):
        return plot
    labels = {"dataset": "{dataset}", "plot": Path(plot).stem.replace("_", " ")}
    return report(plot, category="Plots", labels=labels)


def targets(_):
    """Every result the configuration asks for. Looked up by the run, not by each of its cluster jobs."""
    per_fov = [LAYOUT.frames(name) for name in IMAGES]
    per_fov += [LAYOUT.group(), LAYOUT.digest]
    if not COPY_ONLY:
        per_fov += [LAYOUT.frames(name, level=1) for name in IMAGES]
    if TRACING:
        per_fov += [LAYOUT.cells, LAYOUT.traces]
    per_dataset = [LAYOUT.record, LAYOUT.quality]
    tidy = [LAYOUT.report]
    if TRACING:
        tidy += [f"{LAYOUT.tidy}.csv", f"{LAYOUT.tidy}.parquet"]
    per_sample = []
    if MERGING:
        per_sample += expand(LAYOUT.merged, column=COLUMNS, allow_missing=True)
    for column, model in FITS:
        per_sample += expand(
            LAYOUT.fitted, column=column, model=model, allow_missing=True
        )
    found = []
    for dataset in DATASETS.values():
        of_dataset = per_dataset + (tidy if dataset.fovs else [])
        found += [target.format(dataset=dataset.name) for target in of_dataset]
        for sample in samples_of(dataset):
            found += [
                target.format(dataset=dataset.name, sample=sample)
                for target in per_sample
            ]
        for target in per_fov:
            found += of_fovs(target, dataset)
        found += decided_tables(dataset.name, dataset.fovs)
        for fov in map(fov_text, dataset.fovs):
            found += [
                target.format(dataset=dataset.name, fov=fov)
                for target in corrected_targets(dataset.name, fov)
            ]
    for name in CONFIG["exports"]:
        found += export_targets(*formats_of(name))
    return found


def samples_of(dataset):
    """Names of the samples that have an FOV in this dataset."""
    return [name for name in SAMPLES if plan.sample_fovs(CONFIG, dataset, name)[0]]


def failures():
    """What failed in this run: the wildcards of each job that did, and how."""
    jobs = sorted(
        (job for job in workflow.dag.needrun_jobs() if job.log),
        key=lambda job: job.log[0],
    )
    found = [
        (job.wildcards_dict, summary.failure(job.log[0], LOCKED_AT)) for job in jobs
    ]
    return [(wildcards, failure) for wildcards, failure in found if failure]


def finish_rest(failed):
    """Merge and check what is complete, where nothing but failed FOVs keeps that from being done."""
    jobs = list(workflow.dag.needrun_jobs())
    fovs = remainder.to_leave_out(
        waiting=[job.wildcards_dict for job in jobs],
        failed=[wildcards for wildcards, failure in failed if not failure.stopped],
    )
    forced = workflow.dag_settings.forceall or workflow.dag_settings.forcerun
    if fovs and not forced and any(job.rule.name == "all" for job in jobs):
        remainder.finish_without(fovs)


def findings():
    """What the checks of quality found, and what became of a person's decisions: a line for each dataset."""
    tables = [
        decided_tables(dataset.name, dataset.fovs) for dataset in DATASETS.values()
    ]
    return [
        *summary.findings(
            LAYOUT.quality.format(dataset=dataset) for dataset in DATASETS
        ),
        *summary.decisions(dict(zip(DATASETS, tables))),
    ]


def left_over():
    """What lies in the results and does not belong to this configuration."""
    return leftovers.find(LAYOUT, CONFIG, DATASETS, targets(None))


def set_aside():
    """The command that moves this away: the user's own, with one target more."""
    words = rerun.command()
    at = words.index("snakemake") + 1 if "snakemake" in words else 1
    return shlex.join([*words[:at], "set_aside", *words[at:]])


def stage(name, script):
    """Everything a stage's result depends on besides its inputs: its settings, and its code by content."""
    return {
        "settings": as_json(stage_settings(CONFIG, name)),
        "code": code_digest(script),
    }


digest_of = cache(rerun.code_digest)


def code_digest(script):
    """A param: the code of a script by content. Read where a job needs it: most runs preview and export nothing."""
    return lambda wildcards: digest_of(script)


def sample_traces(wildcards):
    fovs, _ = plan.sample_fovs(CONFIG, DATASETS[wildcards.dataset], wildcards.sample)
    return [
        LAYOUT.traces.format(dataset=wildcards.dataset, fov=fov_text(fov))
        for fov in fovs
    ]


def of_all_fovs(*templates):
    """An input: these paths of each FOV of the job's dataset."""
    return lambda wildcards: [
        path
        for template in templates
        for path in of_fovs(template, DATASETS[wildcards.dataset])
    ]


def fit_settings(wildcards):
    return as_json(FITS[wildcards.column, wildcards.model])


@cache
def decided(dataset, fov):
    """What a person decided on the cells of a FOV; "" for nothing."""
    found = decisions.decided(LAYOUT, DATASETS[dataset], fov, FLAGS)
    return as_json(found) if found else ""


def decided_tables(dataset, fovs):
    """The tables of decisions of those of these FOVs on which a person decided something."""
    return [
        LAYOUT.decisions.format(dataset=dataset, fov=fov_text(fov))
        for fov in fovs
        if TRACING and decided(dataset, fov)
    ]


def decisions_of(wildcards):
    """An input: the tables of decisions of the job's FOV, of its sample, or of its dataset."""
    dataset = DATASETS[wildcards.dataset]
    if wildcards.get("fov"):
        return decided_tables(dataset.name, [int(wildcards.fov)])
    if wildcards.get("sample"):
        fovs, _ = plan.sample_fovs(CONFIG, dataset, wildcards.sample)
        return decided_tables(dataset.name, fovs)
    return decided_tables(dataset.name, dataset.fovs)


def plot_settings(wildcards):
    dataset = DATASETS[wildcards.dataset]
    shown = plan.merge_settings(CONFIG, dataset, dataset.fovs, dataset.failed)
    plots = plan.plot_settings(CONFIG, dataset)
    return as_json({**shown, **plots, "columns": COLUMNS})


def shift_field_settings(_):
    return as_json(
        {
            **CONFIG["shift_field"],
            "pyme": CONFIG["pyme"],
            "pixel_size_um": CONFIG["params"]["pixel_size_um"],
        }
    )


def merge_settings(wildcards):
    dataset = DATASETS[wildcards.dataset]
    fovs, missing = plan.sample_fovs(CONFIG, dataset, wildcards.sample)
    merged = plan.merge_settings(CONFIG, dataset, fovs, missing)
    return as_json({**merged, "columns": COLUMNS})


def tidy_settings(wildcards):
    dataset = DATASETS[wildcards.dataset]
    tidied = plan.merge_settings(CONFIG, dataset, dataset.fovs, dataset.failed)
    return as_json({**tidied, "samples": plan.samples_by_fov(CONFIG, dataset)})


def fitted_tables(wildcards):
    """For each fit the table of each sample."""
    samples = samples_of(DATASETS[wildcards.dataset])
    return [
        LAYOUT.fitted.format(
            dataset=wildcards.dataset, sample=sample, column=column, model=model
        )
        for column, model in FITS
        for sample in samples
    ]


def report_settings(wildcards):
    """What a report depends on besides its inputs; a model from a file counts with the file's content."""
    settings = plan.report_settings(CONFIG, DATASETS[wildcards.dataset])
    fits = [{"column": column, **fit} for (column, _), fit in FITS.items()]
    files = [fit.pop("files", {}) for fit in fits]
    settings |= {"columns": COLUMNS, "fits": fits, "files": files}
    return as_json(settings | stage_settings(CONFIG, "report"))


@cache
def preview_space():
    """The sets of segmentation parameters that a preview tries. (Only a preview pays for importing pandas.)"""
    from pandas import DataFrame
    from snakemake.utils import Paramspace

    return Paramspace(
        DataFrame(preview.parameter_sets(CONFIG)),
        filename_params="*",
        filename_sep=",",
        single_wildcard="parameters",
    )


def preview_labels(wildcards):
    return [
        LAYOUT.preview_labels.format(dataset=wildcards.dataset, parameters=tried)
        for tried in preview_space().instance_patterns
    ]


def preview_segment_settings(wildcards):
    tried = preview_space().instance(wildcards)
    return as_json(
        stage_settings(CONFIG, "segment")
        | {key: int(value) for key, value in tried.items()}
        | plan.preview_frames(CONFIG, DATASETS[wildcards.dataset])
    )


def preview_compare_settings(wildcards):
    return as_json(plan.preview_comparison(CONFIG, DATASETS[wildcards.dataset]))


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
    earlier = [array for array in IMAGES if array not in RAW + TRACKED]
    inputs = {"channels": [LAYOUT.frames(array) for array in RAW]}
    if EARLIER in FORMATS[name].needs:
        inputs["earlier"] = [LAYOUT.frames(array) for array in earlier]
    if TRACING and {LABELS, LABELS_IF_ANY} & {*FORMATS[name].needs}:
        inputs |= {"labels": final_labels, "lineage_table": lineage_table}
    if TRACING and CELLS in FORMATS[name].needs:
        inputs["cells"] = LAYOUT.cells
    if TRACING and TRACES in FORMATS[name].needs:
        inputs["traces"] = LAYOUT.traces
    return inputs


def export_paths(name):
    light = [fl(channel) for channel in FL]
    stands_for = {"{array}": IMAGES, "{raw}": RAW, "{light}": light}
    return [
        f"{LAYOUT.fov}/{path.format(base=LAYOUT.base, array=array, raw=array, light=array)}"
        for path in FORMATS[name].outputs
        for array in next(
            (stands_for[word] for word in stands_for if word in path), [""]
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


def exports(*names):
    """An input: these formats of every FOV. Looked up when asked for: listing them costs a large dataset seconds."""
    return lambda _: export_targets(*names)


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


def largest_fov_memory(stage):
    """Megabytes for a job that reads any FOV of a dataset."""
    return lambda wildcards, attempt: attempt * max(
        resources.memory_mb(stage, DATASETS[wildcards.dataset].movie, fov)
        for fov in DATASETS[wildcards.dataset].fovs
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


if LOCKED_AT:
    clock.bring_back(map(Path, targets(None)), LOCKED_AT)
