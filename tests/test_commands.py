"""Every command that README and docs name is tried as it stands there, with what `make setup` installs.

A command that stands in none of the lists below fails: say how it is tried, or why it cannot be tried here.
"""

import os
import re
import shlex
import subprocess

import numpy as np
import pytest
import tifffile
from conftest import PYTHON, ROOT, Checkout, small_config

PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "config/README.md", "config/config.yaml")
    )
]
PAGES += sorted(ROOT.glob("docs/*.md"))
PROGRAMS = (
    *("make", "snakemake", "pip", "python", "python3", "source", "git", "conda", "mamba", "docker", "apptainer"),
    *("squeue", "sacct", "sbatch", "scancel", "for"),
)
ACTIVATE = "source .venv/bin/activate"  # before a command that begins with `snakemake`, as README says

# Tried one after the other, and then all of the next list on what they made; each with the file that it has to make.
FIRST = {
    ".venv/bin/snakemake --cores 4 --configfile my.yaml -n": None,
    ".venv/bin/snakemake --cores 4 --configfile my.yaml": "report.html",
}
THEN = {
    "snakemake --cores 4 --configfile my.yaml": "report.html",
    "snakemake --cores 1 --report all.zip --configfile my.yaml": "../../all.zip",
    ".venv/bin/snakemake --cores 4 preview --configfile my.yaml": "preview/preview.png",
    "snakemake --cores 4 preview": "preview/preview.png",
    ".venv/bin/snakemake --cores 4 pictures --configfile my.yaml": "fov_000/small_fov_000_overlay.gif",
    "snakemake --cores 4 pictures --configfile my.yaml": "fov_000/small_fov_000_overlay.gif",
    "snakemake --cores 4 pictures": "fov_000/small_fov_000_overlay.gif",
    ".venv/bin/snakemake --cores 4 ome_tiff --configfile my.yaml": "fov_000/exports/small_fov_000.ome.tif",
    "snakemake --cores 4 ome_tiff": "fov_000/exports/small_fov_000.ome.tif",
    "snakemake --cores 4 deepcell_label --configfile my.yaml": "fov_000/exports/small_fov_000.zip",
    "snakemake --cores 1 shift_field": "../shift_field.sf",
    "snakemake --cores 1 verify": None,
    "snakemake --cores 1 set_aside --configfile my.yaml": None,
    "snakemake --list-target-rules --configfile my.yaml": None,
    "snakemake --list-rules --configfile my.yaml": None,
}
IN_ANOTHER_FOLDER = "/opt/celltraces/.venv/bin/snakemake -s /opt/celltraces/Snakefile --cores 4 --configfile my.yaml"
ELSEWHERE = {
    IN_ANOTHER_FOLDER: "test_a_clone_that_others_look_after_is_used_from_a_folder_of_ones_own",
    ACTIVATE: "before each of the above that needs it",
    **dict.fromkeys(
        ("make demo", "make test", "make lint", "make docs", "make test-fast", "make test-evaluate", "make test-slurm"),
        ".ci/run",
    ),
    **dict.fromkeys(("make setup", "make slurm", "make setup slurm"), ".ci/run, as first steps of the others"),
    "make torture": "takes hours; make test does the same with fewer kills and files",
    "make bench": "takes half an hour",
    **dict.fromkeys(("make check", "make check CONFIG=my.yaml"), "tests/test_run_terminal.py"),
    ".ci/run": "runs these tests",
    ".venv/dev/bin/python -m pytest tests/test_tracking.py": "these tests run so",
    "make container": "needs Docker, Podman or Apptainer; tests/test_environment.py follows what they are told to do",
    **dict.fromkeys(
        ("make curate", "make curate RESULTS=results", "make curate RESULTS=/data/2026-11-21/results"),
        "tests/test_curation_page.py, without make",
    ),
    "ssh -L 8731:127.0.0.1:8731 you@machine": "needs another machine",
    **dict.fromkeys(
        (
            "make evaluate",
            "make evaluate CTC=path/to/set",
            'make evaluate ONLY="--method deepsea --set t98g"',
            'make evaluate ONLY="--set divisions:"',
            'make evaluate ONLY="--set phase"',
        ),
        "installs other programs, and takes long",
    ),
    "make test-peers": "installs other programs, gigabytes of them",
    "make .venv/peers/cellpose/.done": "gigabytes",
    "make lock": "changes the pins",
    **dict.fromkeys(
        (f".venv/dev/bin/python benchmarks/{name}" for name in ("fit.py", "libraries.py", "run.py plain")),
        "takes minutes",
    ),
    **dict.fromkeys(
        (
            ".venv/bin/pip install cellpose",
            ".venv/bin/pip install --no-deps cellpose==3.1.1.3",
            ".venv/bin/pip install torch numba natsort fastremap roifile fill-voids tqdm",
        ),
        "gigabytes, into the environment that is to hold nothing else",
    ),
    **dict.fromkeys(
        (f"pip install snakemake-executor-plugin-{name}" for name in ("lsf", "cluster-generic")),
        "for schedulers that are not here, and into the environment that is to hold nothing else",
    ),
    **dict.fromkeys(
        (
            ".venv/bin/snakemake --profile profiles/slurm --configfile my.yaml -n",
            ".venv/bin/snakemake --profile profiles/slurm --configfile my.yaml",
            "squeue --me",
            """squeue --me --noheader --format "%i %j" | awk '$2 ~ /^celltraces_/ {print $1}' """
            "| xargs --no-run-if-empty scancel",
        ),
        "tests/test_slurm.py, word by word",
    ),
    "for first in 0 1000 2000; do .venv/bin/snakemake --profile profiles/slurm --configfile my.yaml "
    '--config fovs="$first-$((first + 999))" samples="[]" done': "three thousand FOVs on a cluster",
}


def commands_of(text):
    """The commands in a page: lines of its shell blocks (a loop is one), and what stands between backticks."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    found = []
    for language, block in blocks:
        if language in ("sh", "bash", "shell", "console"):
            block = re.sub(r"\s+# .*$", "", block, flags=re.MULTILINE)
            block = re.sub(r"^ *for .*?\bdone$", lambda loop: " ".join(loop[0].split()), block, flags=re.M | re.S)
            found += [line.strip().removeprefix("$ ") for line in block.splitlines() if line.strip()]
    text = re.sub(r"^ *```\w+\n.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text))
    found += [span for span in spans if " " in span and span.split()[0].rpartition("/")[2] in PROGRAMS]
    return found


def test_commands_are_found_in_a_page():
    page = """
`make lint`, `make` and `min_frames: 3`; `snakemake --cores 4
report`.

1. In a list

   ```sh
   .venv/bin/snakemake -n   # why
   for x in 1 2; do
       echo $x
   done
   ```
```yaml
a: `make no`
```
```
tree  `snakemake --cores 1 verify`
```
"""
    assert commands_of(page) == [
        *(".venv/bin/snakemake -n", "for x in 1 2; do echo $x done"),
        *("make lint", "snakemake --cores 4 report", "snakemake --cores 1 verify"),
    ]


def test_every_command_of_the_pages_is_in_a_list_and_no_other():
    named = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".yaml":  # its comments
            text = "\n".join(line.partition("#")[2] for line in text.splitlines())
            text = re.sub(r"^ +(snakemake .*)$", r"`\1`", text, flags=re.MULTILINE)
        for command in commands_of(text):
            named.setdefault(command, page.relative_to(ROOT).as_posix())
    known = {*FIRST, *THEN, *ELSEWHERE}
    assert {command: page for command, page in named.items() if command not in known} == {}
    assert known - set(named) == set()


def test_make_targets_and_scripts_in_commands_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^([^\t#=\n]+?):(?!=)", makefile, re.MULTILINE) for name in line.split()}
    for command in ELSEWHERE:
        program, *words = shlex.split(command)
        words = [word for word in words if "=" not in word]
        if program == "make":
            assert set(words) <= targets, command
        elif words and words[0].endswith(".py"):
            assert (ROOT / words[0]).is_file(), command


def type_in(folder, command):
    """What a shell says to a command that a user types in the folder of the workflow; it has to succeed."""
    if command.startswith("snakemake "):
        command = f"{ACTIVATE} && {command}"
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(movies, tmp_path_factory):
    """A workflow in which the first commands were run; its config/config.yaml is my.yaml."""
    checkout = Checkout(tmp_path_factory.mktemp("commands"))
    (checkout.folder / ".venv").symlink_to(PYTHON.parents[1])
    # Shifted by 3 and 2 pixels from one channel to the other, as far as the matching of beads may go.
    y, x = np.mgrid[:200, :240]
    places = [(row + column % 3, column) for row in range(20, 180, 25) for column in range(20, 220, 29)]
    beads = [
        100 + sum(400 * np.exp(-((y - b - dy) ** 2 + (x - a - dx) ** 2) / 4) for b, a in places)
        for dy, dx in ((0, 0), (2, 3))
    ]
    tifffile.imwrite(
        checkout.folder / "beads.tif", np.array(beads, np.uint16), photometric="minisblack", metadata={"axes": "CYX"}
    )
    tried = {"n_frames": 1, "vary": {"morph_size": [5]}}
    config = small_config(
        movies, fovs="0", shift_field={"beads": "beads.tif"}, preview=tried, params={"pixel_size_um": 0.65}
    )
    checkout.configure(config)
    checkout.configure(config, "config/config.yaml")
    for command, made in FIRST.items():
        said = type_in(checkout.folder, command)
        assert "extract" in said
        assert (checkout.folder / "results/small/report.html").exists() == (made is not None)
    return checkout.folder


@pytest.mark.parametrize("command", THEN)
def test_a_command_does_what_its_page_says(folder, command):
    made = folder / "results/small" / (THEN[command] or "report.html")
    type_in(folder, command)
    assert made.stat().st_size > 0


def test_a_clone_that_others_look_after_is_used_from_a_folder_of_ones_own(folder, tmp_path):
    """Nothing is written into the clone, whose place stands for /opt/celltraces."""
    (tmp_path / "my.yaml").write_text((folder / "my.yaml").read_text())
    (tmp_path / "beads.tif").symlink_to(folder / "beads.tif")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    type_in(tmp_path, IN_ANOTHER_FOLDER.replace("/opt/celltraces", str(folder)))
    assert (tmp_path / "results/small/report.html").stat().st_size > 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
