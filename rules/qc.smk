# Checks that make silent wrongness loud: a row for each frame or FOV that a person should look at.
rule qc:
    input:
        **(
            {
                "cells": of_all_fovs(LAYOUT.cells),
                "traces": of_all_fovs(LAYOUT.traces),
                "labeled": of_all_fovs(LAYOUT.frames(labeled(PC))),
            }
            if TRACING
            else {}
        ),
        frames=of_all_fovs(*(LAYOUT.frames(name) for name in RAW)),
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
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **stage("qc", "check_quality.py"),
        fovs=planned(lambda dataset, _: dataset.fovs),
        plan=planned(lambda dataset, _: as_json(plan.quality_settings(CONFIG, dataset))),
    message:
        "Checking {wildcards.dataset}"
    script:
        "../scripts/check_quality.py"
