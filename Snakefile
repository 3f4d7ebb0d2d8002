# From time-lapse microscopy to single-cell traces. The stages stand in rules/, in their order; what they compute
# stands in scripts/; what a user may change stands in config/config.yaml.
from snakemake.utils import min_version

min_version("9.20")


report: "rules/report/workflow.rst"


if "datasets" not in config:

    configfile: "config/config.yaml"


include: "rules/common.smk"


rule all:
    default_target: True
    input:
        targets,
    message:
        f"All results are there: {LAYOUT.results}"


onsuccess:
    if workflow.is_main_process:
        said = [*findings(), *leftovers.line(left_over(), LAYOUT, set_aside())]
        print("".join(f"{line}\n" for line in said), end="", file=sys.stderr)


onerror:
    if workflow.is_main_process:
        failed = failures()
        finish_rest(failed)
        faults = any(not failure.stopped for _, failure in failed)
        remedy = "Correct the cause and run" if faults else "To go on, run"
        print(
            *findings(),
            f"\nNot everything is done. {remedy} the same command again{':' if failed else '.'}",
            *(f"  {failure}" for _, failure in failed),
            sep="\n",
            file=sys.stderr,
        )


if PC is not None:

    include: "rules/preview.smk"


include: "rules/record.smk"
include: "rules/copy.smk"


if PC is not None:

    include: "rules/segment.smk"
    include: "rules/track.smk"


if CONFIG["shift_field"]["beads"]:

    include: "rules/shift_field.smk"


if SHIFTS:

    include: "rules/register.smk"


if FL:

    include: "rules/background.smk"


if PC is not None:

    include: "rules/crop.smk"
    include: "rules/extract.smk"


include: "rules/cache.smk"
include: "rules/index.smk"


if PC is not None:

    include: "rules/corrections.smk"


include: "rules/qc.smk"


if TRACING:

    include: "rules/curation.smk"
    include: "rules/tidy.smk"


if MERGING:

    include: "rules/merge.smk"


if FITS:

    include: "rules/fit.smk"


if TRACING:

    include: "rules/report.smk"
    include: "rules/pictures.smk"

else:

    include: "rules/report_images.smk"


include: "rules/export.smk"
include: "rules/verify.smk"
include: "rules/set_aside.smk"


# A cluster job runs its stages as a workstation does. The Slurm plugin would start a Snakemake of its own for each,
# which takes several times as long as a stage of a small FOV.
if workflow.remote_exec:
    workflow.localrules(*(rule.name for rule in workflow.rules))
