# What all rules share: the config, read and checked, and look-ups, which turn a job's wildcards into inputs, params and
# resources. What is decided in them is plain Python in scripts/celltraces/planning/.
import atexit
import gc
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

# This workflow's own scripts/, also where another workflow uses it as a module (there workflow.basedir is the other's
# folder). All else that Snakemake does not document stands in planning/snakemake_internals.py, which lies there.
sys.path.insert(
    0, workflow.current_basedir.join("../scripts").get_path_or_uri(secret_free=True)
)

from celltraces.runs import interrupts

if workflow.is_main_process:
    interrupts.end_in_one_line()

from celltraces.config.read_config import as_in_a_file, misread_yaml
from celltraces.errors import UserError
from celltraces.exports.registry import FORMATS, GROUPS, TITLES, formats_of
from celltraces.exports.registry import module_file
from celltraces.paths import ALL, DATASET, background, corrected, fl, fov_text
from celltraces.paths import edited, labeled, pc, registered, tracked
from celltraces.planning import code_digest, command_line, corrections, decisions
from celltraces.planning import edits, exports
from celltraces.planning import job_settings, joined, leftovers, resources, samples
from celltraces.planning import tried_segmentation, usable_methods
from celltraces.planning import snakemake_internals as internals
from celltraces.planning import snakemake_messages as messages
from celltraces.planning import targets as planned
from celltraces.planning.datasets import filters_that_leave_nothing, write_notes
from celltraces.planning.experiment import plan_experiment
from celltraces.planning.terminal import Terminal
from celltraces.preview import frame_choice
from celltraces.preview import sets as preview
from celltraces.runs import future_dates, last_run, lock, partial_run, summary

# Planning creates about a million long-lived objects; cyclic garbage collection over them costs a fifth of the time, and
# as long again when Python ends.
gc.set_threshold(1_000_000, 20, 100)
atexit.register(gc.freeze)

# Snakemake imports pandas to look at params; its BLAS would start a thread per core, which all wait busily. (Jobs are
# told their own number.)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Snakemake writes the interpreter's path into shell commands without quotes. One with a space, as below "My Documents",
# is found by its name instead.
if shlex.quote(sys.executable) != sys.executable:
    folders = [os.path.dirname(sys.executable), *os.get_exec_path()]
    os.environ.update(PATH=os.pathsep.join(folders))
    sys.executable = os.path.basename(sys.executable)

try:
    # FOVs that failed, in the second run, which does without them
    WITHOUT = partial_run.without_fovs()
    EXPERIMENT = plan_experiment(
        as_in_a_file(config, internals.config_of_command(workflow)),
        WITHOUT,
        of_run=not internals.is_main_process(workflow),
        misread=misread_yaml(workflow.configfiles),
    )
except UserError as error:
    sys.exit(str(error))  # one line per mistake, before any job
except KeyboardInterrupt:
    sys.exit(interrupts.STOPPED)

CONFIG, LAYOUT, DATASETS = EXPERIMENT.config, EXPERIMENT.layout, EXPERIMENT.datasets
ARRAYS, PC = EXPERIMENT.arrays, EXPERIMENT.pc

BEGAN = 0.0  # when this run began, by the clock of the file system of its results

internals.compare_with_records()
internals.leave_state_as_it_is()
if WITHOUT:
    messages.hide_progress()

# Of a module of another workflow the terminal is the other's.
OWNS_TERMINAL = messages.owns_terminal(workflow)
SHOWS_PROGRESS = messages.is_shown(workflow, "progress")
SHOWS_END = messages.is_shown(workflow, "all")
TERMINAL = Terminal(
    EXPERIMENT,
    lambda: BEGAN,
    lambda: internals.asked_for(workflow),
    shows_plan=SHOWS_PROGRESS and not WITHOUT,
    shows_progress=SHOWS_PROGRESS,
)
if OWNS_TERMINAL:
    messages.leave_out_assumptions(workflow)


wildcard_constraints:
    dataset="|".join(map(re.escape, DATASETS)),
    sample="|".join(map(re.escape, EXPERIMENT.samples)),
    column="|".join(map(re.escape, EXPERIMENT.columns)),
    model=r"\w+",
    fov=r"\d\d\d+",


# ------------------------------------------------------------------------------------- params: what a job is told


def settings_of(job):
    """All that a job's result depends on besides its inputs and its code, as JSON: planning/job_settings.py."""
    return lambda wildcards: job_settings.settings_of(EXPERIMENT, job, wildcards)


@cache
def digest_of(*sources):
    """Digests of the code of these files below scripts/, with commas between: of Python with all that it imports."""
    return ",".join(
        (
            code_digest.code_digest(source)
            if source.endswith(".py")
            else code_digest.text_digest(source)
        )
        for source in sources
    )


def code_of(*sources):
    """The code of a script and of all it imports, by content. Read where a job needs it: most runs export nothing."""
    return lambda wildcards: digest_of(*sources)


# Files besides Python that each of our pages is put together from.
EVERY_PAGE = (
    "celltraces/pictures/shared.css",
    "celltraces/pictures/shared.js",
    "celltraces/report/head.html",
    "celltraces/report/page.css",
    "celltraces/report/data.js",
    "celltraces/report/charts.js",
)


# ---------------------------------------------------------------------- inputs that more than the rule decides about


def of_all_fovs(*templates):
    """These paths of each FOV of the job's dataset."""
    return lambda wildcards: [
        path
        for template in templates
        for path in planned.of_fovs(template, DATASETS[wildcards.dataset])
    ]


def is_corrected(wildcards):
    """Whether a person put corrected labels of the job's FOV into the folder `corrections`."""
    return (wildcards.dataset, wildcards.fov) in EXPERIMENT.corrections


def base_labels(wildcards):
    """The tracked labels, or those of a person's correction: edits point into them."""
    return LAYOUT.frames((corrected if is_corrected(wildcards) else tracked)(PC))


def base_lineage(wildcards):
    """The divisions that were found, or those of a person's correction."""
    return LAYOUT.lineage_corrected if is_corrected(wildcards) else LAYOUT.lineage


def edits_of(wildcards):
    """A person's edits of the job's FOV."""
    return EXPERIMENT.edits.get((wildcards.dataset, wildcards.fov), edits.NONE)


def final_labels(wildcards):
    """The labels that cells are cropped along: the tracked ones, or what a person made of them."""
    tracks_edited = edits_of(wildcards).tracks
    return LAYOUT.frames(edited(PC)) if tracks_edited else base_labels(wildcards)


def lineage_table(wildcards):
    """The divisions that were found, or what a person made of them."""
    tracks_edited = edits_of(wildcards).tracks
    return LAYOUT.lineage_edited if tracks_edited else base_lineage(wildcards)


def of_each_fov(look_up):
    """What a look-up gives for each FOV of the job's dataset."""

    def look_up_all(wildcards):
        dataset = DATASETS[wildcards.dataset]
        places = [
            SimpleNamespace(dataset=dataset.name, fov=fov_text(fov))
            for fov in dataset.fovs
        ]
        return [look_up(place).format(**vars(place)) for place in places]

    return look_up_all


def of_fovs_with_edits(path, tracks=False):
    """A path, or what a look-up gives, of each processed FOV of the job's dataset that has edits (or edits of tracks)."""

    def look_up(wildcards):
        chosen = edits.list_settings(EXPERIMENT.edits, DATASETS[wildcards.dataset])
        fovs = [f for f in chosen["fovs"] if not tracks or f in chosen["tracks_edited"]]
        places = [SimpleNamespace(dataset=wildcards.dataset, fov=fov) for fov in fovs]
        return [
            (path(place) if callable(path) else path).format(**vars(place))
            for place in places
        ]

    return look_up


def traces_of_sample(wildcards):
    """The traces of each processed FOV of the job's sample in the job's dataset."""
    dataset = DATASETS[wildcards.dataset]
    fovs, _ = samples.sample_fovs(CONFIG, dataset, wildcards.sample)
    return [
        LAYOUT.traces.format(dataset=dataset.name, fov=fov_text(fov)) for fov in fovs
    ]


def decisions_of(wildcards):
    """The tables of a person's decisions on the job's FOV, its sample or its dataset."""
    return decisions.tables_for(EXPERIMENT, wildcards)


def fitted_tables(wildcards):
    """The tables of all fits of the job's dataset."""
    return joined.fits_of_dataset(EXPERIMENT, DATASETS[wildcards.dataset])


def segmentations_to_compare(wildcards):
    """What each set of parameters of a preview makes of the job's dataset."""
    return [
        LAYOUT.preview_labels.format(
            dataset=wildcards.dataset, parameters=preview.file_stem(tried)
        )
        for tried in preview.parameter_sets(CONFIG)
    ]


# ----------------------------------------------------------------------------- targets, looked up when asked for


def targets(_):
    """Every result that the config asks for."""
    return planned.all_targets(EXPERIMENT)


def pictures(_):
    """Every movie and plot."""
    return planned.pictures(EXPERIMENT)


def exports_to(*names):
    """The files of these formats, of every FOV."""
    return lambda _: exports.export_targets(EXPERIMENT, *names)


# ------------------------------------------------------------------------------------------------------- resources


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


def method_tried(wildcards):
    """The stage whose figures hold for a set of parameters of a preview."""
    tried = preview.set_named(CONFIG, wildcards.parameters)
    return resources.segmenting({**CONFIG["params"], **tried})


def trying_memory(wildcards, attempt):
    """Megabytes for a set of parameters of a preview."""
    return largest_fov_memory(method_tried(wildcards))(wildcards, attempt)


def trying_time(wildcards, attempt):
    """Minutes for a set of parameters of a preview."""
    dataset = DATASETS[wildcards.dataset]
    fovs = [fov for fov, _ in frame_choice.frames_to_try(CONFIG, dataset)]
    return attempt * resources.trying_min(method_tried(wildcards), dataset.movie, fovs)


def runtime(stage):
    """Minutes a job of this stage may need, more at every further attempt."""
    return lambda wildcards, attempt: attempt * resources.runtime_min(
        stage, DATASETS[wildcards.dataset].movie, int(wildcards.fov)
    )


def merging(resource):
    """Megabytes or minutes that the traces of a FOV, or of a sample, may need, more at every further attempt."""

    def look_up(wildcards, attempt):
        dataset = DATASETS[wildcards.dataset]
        fovs = samples.fovs_for(CONFIG, dataset, wildcards)
        return attempt * resources.merging(dataset.movie, fovs)[resource]

    return look_up


def for_report(plot):
    """A plot as an output: those that a browser shows are in Snakemake's report."""
    if not plot.endswith(".png"):
        return plot
    labels = {"dataset": "{dataset}", "plot": Path(plot).stem.replace("_", " ")}
    return report(plot, category="Plots", labels=labels)
