# Between copying and background: fluorescence frames laid over the phase contrast, for channels with a shift field.
rule register:
    input:
        fl=[LAYOUT.frames(fl(channel)) for channel in SHIFTS],
    output:
        registered=directory(
            expand(
                LAYOUT.frames("{channel}"),
                channel=map(registered, SHIFTS),
                allow_missing=True,
            )
        ),
        checksums=LAYOUT.checksums("register"),
    log:
        LAYOUT.log("register"),
    benchmark:
        LAYOUT.benchmark("register")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("register"),
        runtime=runtime("register"),
    params:
        settings=planned(
            lambda dataset, _: as_json(plan.register_settings(CONFIG, dataset, SHIFTS))
        ),
        code=code_digest("register_channels.py"),
    message:
        "Registering channels of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/register_channels.py"
