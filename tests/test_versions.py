"""What processing_config.yaml says of the software: the workflow's own version, and the packages that really ran."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from conftest import syntax_tree

import record_config
from celltraces.planning import code_digest
from celltraces.planning.workflow_version import version_text, workflow_version

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
OPTIONAL = {"btrack", "cellpose", "torch"}  # methods that users install themselves
# Needed at run time without an import of ours.
NOT_IMPORTED = {
    "pygments": "`snakemake --report` imports it and does not ask for it",
    "deepsea": "only the weights that it ships are read",
}
WITH_SNAKEMAKE = {"snakemake-interface-logger-plugins"}  # Snakemake's own parts, in the version that it asks for
# Scripts of the stages of every run.
EVERY_RUN = ("copy_frames", "segment_cells", "track_cells", "estimate_background", "crop_cells", "extract_features")
EVERY_RUN += ("cache_levels", "index_images", "digest_fov", "record_config", "check_quality", "tidy_traces")
EVERY_RUN += ("merge_samples", "write_report")
# Imported lazily, for what not every run has.
SELDOM = {
    "zarr": "arrays that somebody else put in the place of ours",
    "matplotlib": "colours of more than eight samples; the font of pictures",
    "tifffile": "TIFF files",
    "h5py": "spools and spreads of PYME",
}


def imported(sources):
    """Top-level names of packages that Python files import and that are neither Python's nor ours, lazily or not."""
    own = {path.stem for path in SCRIPTS.iterdir()}
    names = set()
    for source in sources:
        for node in ast.walk(syntax_tree(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{source}: relative imports are not read"
                names.add(node.module)
    names = {name.partition(".")[0] for name in names}
    return {name for name in names if name not in sys.stdlib_module_names and name not in own}


def packages(names):
    """The names of the packages that bring these modules, as they stand in requirements.in, in lower case."""
    known = packages_distributions()
    return {known[name][0].lower() if name in known else name.lower() for name in names}


def required():
    lines = (ROOT / "requirements.in").read_text().splitlines()
    return {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines if line and line[0] not in "#-"}


def test_requirements_list_what_run_time_imports_and_nothing_else():
    imports = packages(imported(SCRIPTS.rglob("*.py"))) - OPTIONAL - WITH_SNAKEMAKE
    assert required() == imports | {"snakemake"} | set(NOT_IMPORTED)
    assert not imports & set(NOT_IMPORTED)


def test_the_record_names_the_packages_of_every_run():
    closure = {SCRIPTS / module for script in EVERY_RUN for module in code_digest.import_closure(f"{script}.py")}
    lazily = {name for group in (*record_config.READERS.values(), *record_config.METHODS.values()) for name in group}
    expected = packages(imported(closure)) - {name.lower() for name in lazily} - set(SELDOM) | {"snakemake"}
    assert {name.lower() for name in record_config.EVERY_RUN} == expected


@pytest.mark.parametrize(
    ("format_", "params", "there", "not_there"),
    [
        ("nd2", {}, {"nd2"}, {"aicspylibczi", "pylibCZIrw", "h5py"}),
        ("czi", {}, {"aicspylibczi", "pylibCZIrw"}, {"nd2", "h5py"}),
        ("pyme", {}, {"h5py"}, {"nd2", "aicspylibczi"}),
        ("pyama", {}, set(), {"nd2", "aicspylibczi", "h5py"}),
        ("nd2", {"tracking_method": "btrack"}, {"btrack"}, {"cellpose"}),
        ("nd2", {"segmentation_method": "cellpose"}, {"cellpose", "torch"}, {"btrack"}),
        ("nd2", {"segmentation_method": "plugins/mine.py:find"}, set(), {"btrack", "cellpose", "onnxruntime"}),
        ("nd2", {"segmentation_method": "deepsea"}, {"deepsea", "onnxruntime", "scikit-image"}, {"cellpose"}),
        ("nd2", {"segmentation_method": "models/unet.onnx"}, {"onnxruntime", "scikit-image"}, {"deepsea"}),
    ],
)
def test_the_record_names_what_ran(format_, params, there, not_there):
    record = {
        "params": {"segmentation_method": "logstd", "tracking_method": "iou", **params},
        "provenance": {"input": {"format": format_}},
    }
    named = record_config.packages_of(record)
    assert there <= named
    assert not named & not_there
    installed = {name: value for name, value in record_config.versions(named).items() if value}
    assert installed == {name: version(name) for name in installed}
    assert {"numpy", "scipy", "snakemake"} <= set(installed)


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def workflow(tmp_path):
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "config").mkdir()
    for name, text in (
        ("pyproject.toml", '[project]\nversion = "7.8.9"\n'),
        ("Snakefile", "a\n"),
        ("scripts/a.py", "a = 1\n"),
        ("config/config.yaml", "a: 1\n"),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def version_of(folder):
    workflow_version.cache_clear()
    return workflow_version(folder)


def test_version_and_commit(workflow, monkeypatch):
    version = {"version": "7.8.9"}
    assert version_of(workflow) == {**version, "commit": None, "changed": None}
    git(workflow, "init", "-q")
    assert version_of(workflow) == {**version, "commit": None, "changed": None}
    git(workflow, "add", ".")
    git(workflow, "commit", "-qm", "a")
    commit = git(workflow, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert version_of(workflow) == {**version, "commit": commit, "changed": False}
    (workflow / "config/config.yaml").write_text("a: 2\n")  # the user's: it is recorded anyway
    assert version_of(workflow)["changed"] is False
    (workflow / "scripts/b.py").write_text("b = 1\n")
    assert version_of(workflow) == {**version, "commit": commit, "changed": True}
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert version_of(workflow)["commit"] == commit
    monkeypatch.setenv("PATH", "/nowhere")
    assert version_of(workflow) == {**version, "commit": None, "changed": None}


def test_the_commit_of_somebody_elses_repository_is_not_ours(workflow):
    """The workflow was unpacked in the folder of a project that has its own history."""
    project = workflow / "project"
    project.mkdir()
    (workflow / "readme").write_text("a")
    git(workflow, "init", "-q")
    git(workflow, "add", "readme")
    git(workflow, "commit", "-qm", "a")
    for name in ("pyproject.toml", "Snakefile"):
        shutil.copy(workflow / name, project / name)
    assert version_of(project) == {"version": "7.8.9", "commit": None, "changed": None}


def test_without_pyproject_there_is_no_version(tmp_path):
    assert version_of(tmp_path)["version"] is None


def test_the_image_of_a_container_says_its_commit(workflow):
    for written, commit, changed in (("a" * 40, "a" * 40, False), ("a" * 40 + "+", "a" * 40, True), ("", None, None)):
        (workflow / "COMMIT").write_text(written)
        assert version_of(workflow) == {"version": "7.8.9", "commit": commit, "changed": changed}


def test_version_for_a_person(workflow):
    workflow_version.cache_clear()
    assert version_text(workflow) == "7.8.9"
    (workflow / "COMMIT").write_text("1234567" + "8" * 33 + "+")
    workflow_version.cache_clear()
    assert version_text(workflow) == "7.8.9 (1234567, changed)"
    (workflow / "pyproject.toml").unlink()
    workflow_version.cache_clear()
    assert version_text(workflow) == "of unknown version (1234567, changed)"


def test_our_own_version():
    assert (
        version_of(ROOT)["version"] == re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    )
