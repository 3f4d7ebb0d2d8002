"""Commands that execute no job lock, make, delete and touch nothing, also during a run."""

import shutil
import subprocess
import sys
from compileall import compile_dir

import pytest
import yaml
from conftest import ROOT, Checkout, Outcome, small_config
from small_disk import small_disk
from test_lock import elsewhere

from celltraces.planning import snakemake_internals

READING = {
    "dry run": ["-n"],
    "dry run of a target": ["-n", "pictures"],
    "lint": ["--lint"],
    "list rules": ["--list-rules"],
    "list targets": ["--list-target-rules"],
    "changes of params": ["--list-changes", "params"],
    "changes of code": ["--list-changes", "code"],
    "changes of inputs": ["--list-changes", "input"],
    "summary": ["--summary"],
    "detailed summary": ["--detailed-summary"],
    "dag": ["--dag"],
    "rulegraph": ["--rulegraph"],
    "unlock": ["--unlock"],
}


def tree(folder):
    """Everything in a folder: kind, bytes and time of modification; without the log of the command itself."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".snakemake/log") or name == ".snakemake" or "__pycache__" in name:
            continue
        status = path.stat()
        found[name] = (status.st_mtime_ns, path.read_bytes() if path.is_file() else "folder")
    return found


@pytest.fixture(scope="module")
def finished(movies, tmp_path_factory):
    """A finished run of FOV 0, with a FOV that is planned and not done."""
    checkout = Checkout(tmp_path_factory.mktemp("run"))
    outcome = checkout.run(small_config(movies, fovs="0"))  # with what Snakemake notes of a run
    assert outcome.code == 0, outcome.text
    checkout.configure(small_config(movies), "both.yaml")
    return checkout


@pytest.mark.parametrize("command", READING.values(), ids=READING)
def test_a_command_that_reads_changes_nothing_also_during_a_run(finished, command):
    run = elsewhere("hold", finished.folder / "results")
    assert run.stdout.readline() == "holding\n"
    before = tree(finished.folder)
    outcome = finished.run(None, *command, name="my.yaml")
    assert tree(finished.folder) == before
    assert outcome.code == 0, outcome.text
    assert "another run" not in outcome.text
    if command[0] == "--list-changes":
        assert "results/" not in outcome.text
    run.communicate("")


def test_a_report_changes_no_result(finished, tmp_path):
    before = tree(finished.folder / "results")
    outcome = finished.run(None, "--report", str(tmp_path / "report.html"))
    assert outcome.code == 0, outcome.text
    assert (tmp_path / "report.html").is_file()
    assert tree(finished.folder / "results") == before


@pytest.mark.parametrize("command", [["-n"], ["--summary"], ["--list-rules"]], ids=" ".join)
def test_a_look_at_a_workflow_that_never_ran_makes_no_folder(movies, tmp_path, command):
    checkout = Checkout(tmp_path)
    checkout.configure(small_config(movies))
    compile_dir(checkout.folder / "scripts", quiet=2)  # as `make setup` does; else Python itself writes beside them
    before = tree(tmp_path)
    outcome = checkout.run(None, *command)
    assert outcome.code == 0, outcome.text
    assert tree(tmp_path) == before


def test_a_dry_run_as_a_module_changes_nothing(movies, tmp_path):
    checkout = Checkout(tmp_path / "celltraces")
    compile_dir(checkout.folder / "scripts", quiet=2)
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"celltraces": small_config(movies)}))
    (tmp_path / "Snakefile").write_text(
        'configfile: "other.yaml"\n\n'
        'module celltraces:\n    snakefile: "celltraces/Snakefile"\n    config: config["celltraces"]\n\n'
        "use rule * from celltraces as celltraces_*\n"
    )
    before = tree(tmp_path)
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "celltraces_all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    outcome = Outcome(done.returncode, done.stdout + done.stderr)
    assert outcome.code == 0, outcome.text
    assert outcome.jobs["celltraces_copy"] == 2
    assert tree(tmp_path) == before
    assert checkout.folder.is_dir()


@pytest.mark.parametrize("done", [False, True], ids=["nothing done", "results there"])
def test_a_dry_run_where_one_may_only_read(finished, movies, tmp_path, done):
    folder = tmp_path / "disk"
    with small_disk(folder, 64):
        if done:
            shutil.copytree(finished.folder, folder / "run", symlinks=True)
            checkout = object.__new__(Checkout)
            checkout.folder = folder / "run"
        else:
            checkout = Checkout(folder / "run")
            checkout.configure(small_config(movies))
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        before = tree(folder)
        outcome = checkout.run(None, "-n")
        assert outcome.code == 0, outcome.text
        assert (outcome.jobs == {}) == done
        assert tree(folder) == before


def test_every_rule_is_explained_in_a_line_and_targets_are_told_from_others(finished):
    lines = [line for line in finished.run(None, "--list-rules").text.splitlines() if not line.startswith("Using")]
    explained = dict(line.removesuffix(")").split(" (", 1) for line in lines)
    assert {"copy", "crop", "export_ctc", "verify"} <= explained.keys()
    assert len(set(explained.values())) == len(explained)
    listed = finished.run(None, "--list-target-rules").text.splitlines()
    targets = {line.split(" (")[0] for line in listed if not line.startswith("Using")}
    assert {"all", "preview", "pictures", "verify", "ctc", "pyme"} <= targets
    assert targets == {rule for rule, text in explained.items() if text.startswith("Target")}


def test_the_undocumented_parts_of_snakemake_were_checked_with_this_version():
    import snakemake

    assert snakemake.__version__ == snakemake_internals.CHECKED_WITH


def test_the_undocumented_parts_of_snakemake_stand_in_two_modules():
    words = ("workflow.dag", "dag_settings", "output_settings", "remote_exec", "needrun", ".persistence")
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk"), *(ROOT / "scripts").rglob("*.py")]
    for file in files:
        if file.name not in ("snakemake_internals.py", "snakemake_messages.py"):
            for word in words:
                assert word not in file.read_text(), f"{file.name} uses {word}"
