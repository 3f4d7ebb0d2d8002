"""The ways to install say the same: pip pins, conda environment, the rules that name it."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import PARTS, PYTHON, small_config, syntax_tree

ROOT = Path(__file__).parents[1]


def pins(name):
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


def wanted(name):
    lines = (ROOT / name).read_text().splitlines()
    return [re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines if line and line[0] not in "#-"]


def test_conda_environment_has_the_versions_of_the_pip_pins():
    content = yaml.safe_load((ROOT / "envs/celltraces.yaml").read_text())
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    versions = dict(re.split(r" ?==", entry.lower()) for entry in [*conda, *pip] if "==" in entry)
    locked = pins("requirements.txt")
    assert versions == {name: locked[name] for name in wanted("requirements.in")}


def test_test_pins_agree_with_run_time_pins():
    locked, test = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: version for name, version in test.items() if name in locked} == {
        name: locked[name] for name in test if name in locked
    }
    assert set(wanted("requirements-dev.in")) <= set(test)
    slurm = pins("requirements-slurm.txt")
    assert slurm.items() >= {name: locked[name] for name in slurm if name in locked}.items()
    assert set(wanted("requirements-slurm.in")) <= set(slurm)
    assert set(wanted("requirements-docs.in")) <= set(pins("requirements-docs.txt"))


def asked(code, *arguments):
    """What a Python program prints in the environment of the user's."""
    done = subprocess.run([PYTHON, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_environment_of_the_user_holds_what_requirements_name_and_nothing_else():
    """What runs there in the tests then runs for whoever typed `make setup`."""
    code = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in asked(code)}
    named = {*pins("requirements.txt"), "pip", "setuptools"}
    if (PYTHON.parents[1] / ".done-slurm").exists():
        named |= {*pins("requirements-slurm.txt")}
    assert installed - {re.sub(r"[-_.]+", "-", name).lower() for name in named} == set(), (
        "`make setup` did not install these; without them tests may fail: `make clean`, then once more"
    )
    assert {name.lower() for name in wanted("requirements.in")} <= installed


def test_whatever_a_script_imports_is_there_for_the_user():
    """Also what only one function imports, and no test may reach."""
    optional = {"cellpose", "torch", "btrack", "msvcrt"}  # docs/plugins.md; Windows
    names = set()
    for source in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(syntax_tree(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    own = {path.stem for path in (ROOT / "scripts").iterdir()}
    names = sorted(names - own - optional)
    assert len(names) > 30
    code = (
        "import sys, json, importlib.util as u; print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n) is None]))"
    )
    assert asked(code, *names) == []


def test_every_pin_has_hashes_and_no_host_is_named():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-slurm.txt", "requirements-docs.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_every_rule_names_a_script_an_environment_and_its_costs():
    rules = list((ROOT / "rules").glob("*.smk"))
    assert len(rules) > 5
    for rule in rules:
        if rule.name in ("common.smk", "run.smk"):
            continue
        text = rule.read_text()
        for word in ("log:", "benchmark:", "mem_mb=", "runtime=", "conda:", "message:", "script:"):
            assert word in text or (word == "benchmark:" and rule.name in ("verify.smk", "set_aside.smk")), (
                f"{rule.name}: {word}"
            )
        for kind, place in re.findall(r'(conda|script):\s+"\.\./(.+)"', text):
            assert (ROOT / place).is_file(), f"{rule.name}: {kind} {place}"


def test_images_hold_the_pins_and_every_part_of_the_workflow():
    """Dockerfile and Apptainer recipe: no engine is there to build them with, but what they name must be there."""
    docker, apptainer = ((ROOT / "envs" / name).read_text() for name in ("Dockerfile", "celltraces.def"))
    copied = {
        name for names in re.findall(r"^COPY (.+) /celltraces/\S*$", docker, re.MULTILINE) for name in names.split()
    }
    files = re.search(r"^%files\n(.*?)^%", apptainer, re.MULTILINE | re.DOTALL)[1]
    places = dict(line.split() for line in files.split("\n") if line)
    assert {name: f"/celltraces/{name}" for name in places} == places
    let_in = set(re.findall(r"^!(.+)$", (ROOT / "envs/Dockerfile.dockerignore").read_text(), re.MULTILINE))
    assert copied == set(places) == let_in == {*PARTS, "requirements.txt", "LICENSE"}
    assert all((ROOT / name).exists() for name in copied)
    install = "python -m pip install --no-cache-dir --require-hashes --requirement /celltraces/requirements.txt"
    python = re.compile(r"^from:? python:(3\.\d+)-slim$", re.IGNORECASE | re.MULTILINE)
    oldest = re.search(r'requires-python = ">=(.+)"', (ROOT / "pyproject.toml").read_text())[1]
    for recipe in (docker, apptainer):
        assert install in recipe
        assert python.search(recipe)[1] == oldest
        assert "snakemake" in recipe
        assert "/celltraces/Snakefile" in recipe


@pytest.mark.workflow
def test_the_workflow_runs_where_the_recipes_of_images_put_it(movies, tmp_path):
    """What they do, with a folder in the place of /celltraces and the installed pins; an image has no git, no home."""
    place, commit = tmp_path / "celltraces", "0123456789" * 4
    place.mkdir()
    docker, apptainer = ((ROOT / "envs" / name).read_text() for name in ("Dockerfile", "celltraces.def"))
    for names, target in re.findall(r"^COPY (.+) /celltraces/(\S*)$", docker, re.MULTILINE):
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, place / target)
    lines = [re.search(r"^RUN (printf .+)$", docker, re.MULTILINE)[1].replace("$COMMIT", f"{commit}+")]
    lines += [re.search(r"^ +(printf .+)$", apptainer, re.MULTILINE)[1].replace("{{ COMMIT }}", f"{commit}+")]
    written = set()
    for line in lines:
        subprocess.run(["sh", "-c", line.replace("/celltraces", shlex.quote(str(place)))], check=True)
        written.add((place / "COMMIT").read_text())
    assert written == {f"{commit}+"}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(small_config(movies)))
    command = [PYTHON, "-m", "snakemake", "--snakefile", place / "Snakefile", "-n", "--configfile", "my.yaml"]
    environment = {"PATH": "/nowhere", "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"with celltraces {our_version()} (0123456, changed):\n" in done.stdout


def test_a_machine_without_an_engine_for_images_is_told_so(tmp_path):
    for tool in ("make", "sh", "git", "env"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    command = ["make", "--silent", "container"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"No image was built: [^\n]+\n", done.stderr)


def test_a_disk_with_too_little_room_is_told_in_one_line(tmp_path):
    def room(gigabytes):
        command = [ROOT / ".ci/room", str(gigabytes), tmp_path]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    enough, too_little = room(0), room(10**9)
    assert (enough.returncode, enough.stdout + enough.stderr) == (0, "")
    assert (too_little.returncode, too_little.stdout) == (1, "")
    (line,) = too_little.stderr.splitlines()
    said = re.fullmatch(rf"{tmp_path}: the disk has (\d+) GB free, and 1000000000 GB are needed \(.*\)", line)
    assert abs(int(said[1]) - shutil.disk_usage(tmp_path).free / 1e9) < 5  # to which others write


def test_contributing_says_how_much_room_tests_need():
    said = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path, command in (("Makefile", "`make test` needs"), (".ci/run", "`.ci/run`")):
        needed = re.search(r"\.ci/room (\d+)", (ROOT / path).read_text(encoding="utf-8"))[1]
        assert f"{command} {needed} GB" in said


def our_version():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_citation_says_what_it_has_to_and_is_of_this_version():
    """Keys by the schema of CFF 1.2.0; the version is repeated there, since the file cannot read another one."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert set(citation) <= {
        "cff-version",
        "message",
        "title",
        "authors",
        "type",
        "abstract",
        "version",
        "license",
        "keywords",
    }
    assert citation["version"] == our_version()
    assert citation["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
    assert all(set(author) == {"name"} for author in citation["authors"])


def test_what_github_runs_and_asks_for():
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    (job,) = flow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=" + job["strategy"]["matrix"]["python"][0]
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 2
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= set(form)
        questions = [part for part in form["body"] if part["type"] in ("textarea", "input")]
        assert len({part["id"] for part in questions}) == len(form["body"])
        assert all(part["attributes"]["label"] for part in questions)


def test_slurm_profile_groups_the_stages_of_a_fov_and_no_other_rule():
    """A stage that is forgotten there would be a Slurm job of its own."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    groups = dict(entry.split("=") for entry in profile["groups"])
    text = "\n".join(rule.read_text() for rule in (ROOT / "rules").glob("*.smk"))
    rules = dict(re.findall(r"^rule (\w+):\n((?: .*\n|\n)*)", text, re.MULTILINE))
    per_fov = {name for name, body in rules.items() if "FOV {wildcards.fov}" in body}
    per_fov |= {new for old, new in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.MULTILINE) if old in per_fov}
    assert len(per_fov) > 5
    assert set(groups.values()) == {"fov"}
    assert per_fov <= set(groups)
    assert not set(groups) & (set(rules) - per_fov)
    assert [entry.split("=")[0] for entry in profile["group-components"]] == ["fov"]


def test_the_catalogue_finds_what_it_looks_for():
    entry = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(entry) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert entry["software-stack-deployment"]["conda"] is True
    page = (ROOT / "config/README.md").read_text()
    for name in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (ROOT / "config" / name).exists(), name


def test_a_library_keeps_to_the_threads_of_its_rule_whenever_it_is_imported():
    for first, then in (("", "import cv2"), ("import cv2", "")):
        code = f"from celltraces.runs import job\n{first}\njob.limit_threads(1)\n{then}\n"
        code += "import cv2; print(cv2.getNumThreads())"
        done = subprocess.run([PYTHON, "-c", code], cwd=ROOT / "scripts", capture_output=True, check=True)
        assert int(done.stdout) == 1
