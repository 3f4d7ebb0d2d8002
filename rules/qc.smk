rule qc:
    """Check a dataset: one row in qc.csv per frame or FOV that a person should look at."""
    input:
        **(
            {
                "cells": of_all_fovs(LAYOUT.cells),
                "traces": of_all_fovs(LAYOUT.traces),
                "labeled": of_all_fovs(LAYOUT.frames(labeled(PC))),
                "tracked": of_each_fov(final_labels),
                "lineages": of_each_fov(lineage_table),
                "light": of_all_fovs(*map(LAYOUT.frames, ARRAYS.aligned)),
                "under_light": of_all_fovs(*map(LAYOUT.frames, ARRAYS.backgrounds)),
            }
            if EXPERIMENT.tracing
            else {}
        ),
        **({"flat_fields": LAYOUT.flat_fields} if EXPERIMENT.flat else {}),
        backgrounds=(
            of_all_fovs(
                *(LAYOUT.frames(background(channel)) for channel in EXPERIMENT.fl)
            )
            if not EXPERIMENT.copy_only
            else []
        ),
        frames=of_all_fovs(*(LAYOUT.frames(name) for name in ARRAYS.raw)),
    output:
        quality=report(
            LAYOUT.quality,
            caption="report/checks.rst",
            category="Checks of quality",
            labels={"dataset": "{dataset}"},
        ),
        checksums=LAYOUT.checksums("qc", DATASET),
    log:
        LAYOUT.log("qc", DATASET),
    benchmark:
        LAYOUT.benchmark("qc", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("qc"),
        code=code_of("check_quality.py"),
    message:
        "Checking {wildcards.dataset}"
    script:
        "../scripts/check_quality.py"
