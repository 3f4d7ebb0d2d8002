# What was run, on what: params and channels as the stages used them, and where the data came from.
rule record:
    output:
        record=LAYOUT.record,
        checksums=LAYOUT.checksums("record", DATASET),
    log:
        LAYOUT.log("record", DATASET),
    benchmark:
        LAYOUT.benchmark("record", DATASET)
    localrule: True
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=planned(lambda dataset, _: as_json(plan.record_of(CONFIG, dataset))),
        code=code_digest("record_config.py"),
    message:
        "Recording the configuration of {wildcards.dataset}"
    script:
        "../scripts/record_config.py"
