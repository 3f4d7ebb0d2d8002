"""What the tests share: the real files, a small simulated experiment, and the workflow run in a copy of itself."""

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

ROOT = Path(__file__).parents[1]
REAL_FILES = Path(os.environ.get("CELLTRACES_TEST_DATA", ROOT.parent / "shared" / "data"))
PARTS = ("Snakefile", "pyproject.toml", "rules", "scripts", "config", "envs", "profiles")
# Properties are tried with the same values in every run, so that a test fails for what was changed and for nothing
# else; `make torture` tries new ones.
settings.register_profile("same values", derandomize=True)
settings.register_profile("new values", derandomize=False, print_blob=True)
settings.load_profile("new values" if "CELLTRACES_FUZZ" in os.environ else "same values")
# What `make setup` installs, and nothing else. The tests run in .venv/dev, which adds pytest and the peers' libraries;
# whatever a user would start runs with this one, so that a package that only the tests have hides no failure.
PYTHON = ROOT / ".venv/bin/python"

# The level of the tests in tests/test_NAME.py, unless a mark on one says otherwise; pyproject.toml says what each is.
LEVELS = {
    "unit": """
        background bit_morphology cell_list child_process code_digest comparison config config_fuzz coverage crop curate
        curation divisions docs edits environment evaluation exposure features fitting flat_field foreign_arrays
        formats_deepcell formats_playnano formats_pyama formats_pyme formats_tracks future_dates house images
        kinetics left_out levels lif lock merge messages methods missing movie_file nd2_internals ndtiff
        ome_zarr outline phantoms pictures plan preview psf quality recipe report segmentation shifts simulate
        stage_movement stage_places store terminal tiff tiff_folder torch_file touching tracking userpaths
        versions zstacks
    """,
    "slow": """
        benchmarks curation_page learned report_page
    """,
    "workflow": """
        bad_input commands crash fit_workflow formats_corrections inputs_workflow isolation leftovers module
        peers provenance pyme_workflow reading register reruns run_terminal scale slurm times_workflow verify
        workflow
    """,
    "torture": """
        fuzz
    """,
}


def pytest_collection_modifyitems(items):
    """Give a test that names no level the one of its file; files that run the workflow come first.

    Two processes that take one file after the other are done at the same time if small ones are left for the end.
    """
    level_of = {f"test_{name}.py": level for level, names in LEVELS.items() for name in names.split()}
    for item in items:
        named = any(mark.name in (*LEVELS, "browser") for mark in item.iter_markers())
        if not named and item.path.name in level_of:
            item.add_marker(level_of[item.path.name])
    items.sort(key=lambda item: level_of.get(item.path.name) == "unit")


def pytest_runtest_setup(item):
    Checkout.allowed = item.get_closest_marker("unit") is None


def real_file(name):
    """Path of a real microscopy file; the test skips where it is absent (they are not ours to distribute)."""
    if not (REAL_FILES / name).is_file():
        pytest.skip(f"the real file {name} is not in {REAL_FILES}")
    return REAL_FILES / name


@dataclass
class Outcome:
    """How a run of the workflow ended."""

    code: int
    text: str

    @property
    def jobs(self):
        """How many jobs of each rule, targets left out.

        From the plan that a run prints, "CAUSE: RULE (COUNT), ..." in a line for each cause; where the workflow is a
        module of another, from the table that Snakemake prints.
        """
        table = re.search(r"^job +count\n[- ]+\n(.*?)^total", self.text, re.MULTILINE | re.DOTALL)
        if table:
            rows = re.findall(r"^(\w+) +(\d+)$", table[1], re.MULTILINE)
            return {rule: int(count) for rule, count in rows if rule != "all"}
        plan = re.search(r"^\d+ jobs? (?:would|to) run.*:\n((?:  .*\n)*)", self.text, re.MULTILINE)
        counts = Counter()
        for line in plan[1].splitlines() if plan else ():
            for rule, count in re.findall(r"(\w+) \((\d+)\)", line.rpartition(": ")[2]):
                counts[rule] += int(count)
        return dict(counts)


class Checkout:
    """A copy of the workflow in a folder of its own, with its own results and Snakemake state."""

    allowed = True

    def __init__(self, folder):
        assert self.allowed, "a test that runs the workflow takes seconds: mark it `workflow`, not `unit`"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / part)

    def configure(self, config, name="my.yaml"):
        (self.folder / name).write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return name

    def run(self, config, *arguments, name="my.yaml", cores=2, python=PYTHON):
        """Run `snakemake --cores N --configfile FILE`; `config` None leaves the file as it is."""
        if config is not None:
            self.configure(config, name)
        command = [python, "-m", "snakemake", "--cores", str(cores), *arguments, "--configfile", name]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout + done.stderr)

    def planned(self, config):
        """Jobs that a run with this config would do, by rule."""
        outcome = self.run(config, "-n")
        assert outcome.code == 0, outcome.text
        return outcome.jobs


@pytest.fixture(scope="session")
def experiment():
    """A simulated experiment that is quick to process: 2 FOVs x 8 frames x 160 x 192."""
    from demo.simulate import simulate

    return simulate(n_fovs=2, n_frames=8, height=160, width=192, n_cells=6, seed=3)


@pytest.fixture(scope="session")
def movies(experiment, tmp_path_factory):
    """Folder with the experiment as small.nd2 and small.czi."""
    from demo.make_demo import write_experiment

    folder = tmp_path_factory.mktemp("movies")
    write_experiment(folder, experiment, "small")
    return folder


def small_config(movies, **changes):
    """A config for the small experiment; `changes` replace top-level keys, and update `params`."""
    params = {"min_frames": 3, "border_margin": 5, **changes.pop("params", {})}
    return {
        "datasets": {"small": str(movies / "small.nd2")},
        "channels": {
            "pc": {"channel": 0, "features": ["area", "aspect_ratio"]},
            "fl": [
                {"channel": 1, "features": ["intensity_total", "intensity_mean"]},
                {"channel": 2, "features": ["intensity_total", "particle_num"]},
            ],
        },
        **changes,
        "params": params,
    }
