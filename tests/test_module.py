"""The workflow as a part of another one: as a module, under names of its own, twice, and run from another folder."""

import re
import subprocess

import pytest
import yaml
from conftest import PYTHON, ROOT, Checkout, Outcome, small_config
from results_tools import assert_same, results_of

# Besides what docs/cluster.md tells the author of another workflow to write.
OTHER = """
configfile: "other.yaml"


{module}

module copies:
    snakefile: "celltraces/Snakefile"
    config: {{**config["celltraces"], "output_dir": "copies", "params": {{"copy_only": True}}}}


use rule * from copies as copies_*


rule all:
    default_target: True
    input:
        rules.celltraces_all.input,
        "rows.txt",


rule count_rows:
    input:
        "results/small/fov_000/small_fov_000_traces.csv",
    output:
        "rows.txt",
    script:
        "count.py"
"""
COUNT = "open(snakemake.output[0], 'w').write(str(len(open(snakemake.input[0]).readlines()) - 1))"


def snakemake(folder, *arguments):
    command = [PYTHON, "-m", "snakemake", "--cores", "2", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def config(movies):
    return small_config(movies, fovs="0")


@pytest.fixture(scope="module")
def workflow(finished_fov, tmp_path_factory):
    """The workflow with the results of a run of its own."""
    return Checkout(tmp_path_factory.mktemp("workflow"), finished_fov)


def test_as_a_module_of_another_workflow(workflow, config, tmp_path):
    (module,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/cluster.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "Snakefile").write_text(OTHER.format(module=module))
    (tmp_path / "celltraces").symlink_to(workflow.folder)
    (tmp_path / "count.py").write_text(COUNT)
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"celltraces": config}))
    outcome = snakemake(tmp_path)
    assert outcome.code == 0, outcome.text
    assert outcome.jobs["celltraces_extract"] == outcome.jobs["count_rows"] == 1
    assert "copies_copy" not in outcome.jobs
    assert "not present in the Snakefile" not in outcome.text
    expected = results_of(workflow.folder / "results")
    assert_same(results_of(tmp_path / "results"), expected)
    rows = expected["small/fov_000/small_fov_000_traces.csv"].count(b"\n") - 1
    assert (tmp_path / "rows.txt").read_text() == str(rows)
    assert "Nothing to be done" in snakemake(tmp_path).text

    outcome = snakemake(tmp_path, "copies_all")
    assert outcome.code == 0, outcome.text
    assert set(outcome.jobs) >= {"copies_copy", "copies_index", "copies_record"}
    name = "small/fov_000/images.zarr/pc_ch_0/0/c/0/0/0"
    assert results_of(tmp_path / "copies")[name] == expected[name]


def test_from_another_folder(workflow, config, tmp_path):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    outcome = snakemake(tmp_path, "--snakefile", workflow.folder / "Snakefile", "--configfile", "my.yaml")
    assert outcome.code == 0, outcome.text
    assert_same(results_of(tmp_path / "results"), results_of(workflow.folder / "results"))
