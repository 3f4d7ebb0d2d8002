# Formats of other programs, for each a rule that makes it and a target of its name: snakemake --cores N ome_tiff. What they
# are, and what they are made of, stands in scripts/formats/registry.py.
for name in FORMATS:

    rule:
        name:
            f"export_{name}"
        input:
            **export_inputs(name),
        output:
            files=export_outputs(name),
            checksums=LAYOUT.checksums(f"export_{name}"),
        log:
            LAYOUT.log(f"export_{name}"),
        benchmark:
            LAYOUT.benchmark(f"export_{name}")
        conda:
            "../envs/pyama.yaml"
        threads: 1
        resources:
            mem_mb=memory("export"),
            runtime=runtime("export"),
        params:
            settings=export_settings(name),
            code=code_digest("export_fov.py"),
            format_code=code_digest(f"formats/{FORMATS[name].module or name}.py"),
            format=name,
            base=lambda wildcards: LAYOUT.base.format(**wildcards),
        message:
            f"Exporting {{wildcards.dataset}} FOV {{wildcards.fov}}: {name}"
        script:
            "../scripts/export_fov.py"

    rule:
        name:
            name
        input:
            exports(name),
        message:
            f"All of {name} is there"


for name in GROUPS:

    rule:
        name:
            name
        input:
            exports(*formats_of(name)),
        message:
            f"All of {name} is there"
