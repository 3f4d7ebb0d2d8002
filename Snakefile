# From time-lapse microscopy to single-cell traces.
#
#   ND2, CZI ... -- copy --+-- segment -- track --+------------------+-- crop -- extract --+-- merge -- fit
#                          |      |               |                  |                     |
#                          |      |               +-- corrections ---+                     +-- tidy -- report
#                          |      |               and edits, if any  |                     |
#                          |      +------------------- background ---+                     +-- qc, pictures
#                          +-- (flatten, register) -----+
#                                                                              cache, index, exports: of the images
#                                                                              join, compare: of all datasets
#
# The stages stand in rules/, what they compute in scripts/, what is decided before any job in scripts/celltraces/planning/,
# and what a user may change in config/config.yaml. `snakemake --list-target-rules` tells what one may ask for,
# `snakemake --list-rules` every rule.
from snakemake.utils import min_version

min_version("9.20")


report: "rules/report/workflow.rst"


if "datasets" not in config:

    configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/run.smk"


rule all:
    """Target of a run that names no other: every result that the config asks for."""
    default_target: True
    input:
        targets,
    message:
        "What does not need the failed FOVs"
        if WITHOUT
        else f"All results: {LAYOUT.results}"


# ---------------------------------------------------------------------------------- before a run, where asked for


if PC is not None:

    include: "rules/preview.smk"


if CONFIG["shift_field"]["beads"]:

    include: "rules/shift_field.smk"


# --------------------------------------------------------------------------------------- from the file to images


include: "rules/record.smk"
include: "rules/copy.smk"


if EXPERIMENT.flat:

    include: "rules/flat_field.smk"


if EXPERIMENT.shifts:

    include: "rules/register.smk"


# ------------------------------------------------------------------------------------- from images to cells' traces


if PC is not None:

    include: "rules/segment.smk"
    include: "rules/track.smk"
    include: "rules/corrections.smk"
    include: "rules/edits.smk"


if EXPERIMENT.fl:

    include: "rules/background.smk"


if PC is not None:

    include: "rules/crop.smk"
    include: "rules/extract.smk"


# ------------------------------------------------------------------------------------------ images for viewers


include: "rules/cache.smk"
include: "rules/index.smk"


# ------------------------------------------------------------------------------------- tables of whole datasets


include: "rules/qc.smk"


if EXPERIMENT.tracing:

    include: "rules/curation.smk"
    include: "rules/tidy.smk"


if EXPERIMENT.merging:

    include: "rules/merge.smk"


if EXPERIMENT.fits:

    include: "rules/fit.smk"


if joined.is_joined(EXPERIMENT):

    include: "rules/join.smk"


if joined.is_compared(EXPERIMENT):

    include: "rules/compare.smk"


# -------------------------------------------------------------------------- what one looks at, and hands on


if EXPERIMENT.tracing:

    include: "rules/digest.smk"

else:

    include: "rules/digest_images.smk"


include: "rules/report.smk"


if EXPERIMENT.tracing:

    include: "rules/pictures.smk"


include: "rules/export.smk"
include: "rules/verify.smk"
include: "rules/set_aside.smk"


internals.run_stages_within_a_cluster_job(workflow)
