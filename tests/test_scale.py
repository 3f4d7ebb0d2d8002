"""Many FOVs and many files: what is planned without opening a file, and what runs when a file is added."""

import pytest
import scale
from conftest import Checkout, Outcome, small_config
from process_tools import start, wait_for
from results_tools import assert_same, results_of

from demo.make_demo import write_experiment
from demo.simulate import simulate

PER_FOV = {"copy", "segment", "track", "background", "crop", "extract", "cache", "index"}


@pytest.fixture(scope="module")
def files(movies, tmp_path_factory):
    """Files of two formats that differ in the number of FOVs and frames and in the size of the frames."""
    folder = tmp_path_factory.mktemp("more")
    experiment = simulate(n_fovs=1, n_frames=5, height=128, width=144, n_cells=4, seed=5)
    write_experiment(folder, experiment, "other")
    return {"small": str(movies / "small.nd2"), "other": str(folder / "other.czi"), "third": str(folder / "other.nd2")}


def of(files, *names):
    return {name: files[name] for name in names}


@pytest.fixture(scope="module")
def together(movies, files, finished_run, tmp_path_factory):
    """A finished run over two of the files."""
    checkout = Checkout(tmp_path_factory.mktemp("together"), finished_run)
    checkout.base = small_config(movies, samples=[{"name": "all", "fovs": "all"}])
    outcome = checkout.run({**checkout.base, "datasets": of(files, "small", "other")})
    assert outcome.code == 0, outcome.text
    assert {rule: outcome.jobs[rule] for rule in PER_FOV} == dict.fromkeys(PER_FOV, 1)  # the first was done
    return checkout


def test_each_file_gives_what_it_gives_alone(together, files, tmp_path):
    checkout = Checkout(tmp_path)
    outcome = checkout.run({**together.base, "datasets": of(files, "other")})
    assert outcome.code == 0, outcome.text
    assert_same(results_of(together.folder / "results/other"), results_of(tmp_path / "results/other"))


def test_one_more_file_runs_its_own_jobs_only(together, files):
    jobs = together.planned({**together.base, "datasets": of(files, "third", "other", "small")})
    assert {rule: jobs[rule] for rule in PER_FOV} == dict.fromkeys(PER_FOV, 1)
    assert set(jobs.values()) == {1}
    assert together.planned({**together.base, "datasets": of(files, "small")}) == {}


def test_copying_alone_opens_the_file(together, files, tmp_path):
    """With the frames copied, all other jobs run although the file can no longer be read once they are planned."""
    checkout = Checkout(tmp_path)
    file = tmp_path / "small.nd2"
    with open(files["small"], "rb") as source:
        file.write_bytes(source.read())
    config = {**together.base, "datasets": {"small": "small.nd2"}}
    outcome = checkout.run(config, "--until", "copy")
    assert outcome.code == 0, outcome.text
    run = start(checkout, config)
    planned = wait_for(run, " jobs to run")
    file.write_bytes(bytes(file.stat().st_size))
    said, _ = run.communicate()
    assert run.returncode == 0, planned + said
    assert "copy" not in Outcome(0, planned + said).jobs
    results, expected = (results_of(folder / "results/small") for folder in (tmp_path, together.folder))
    assert_same(results, expected)


def test_many_fovs_are_planned_from_the_plan(tmp_path):
    """The benchmark's dataset has no pixel: whatever opened its file would fail."""
    checkout = Checkout(tmp_path / "workflow")
    config = scale.prepare(tmp_path, 60)
    outcome = checkout.run(None, "-n", name=str(config))
    assert outcome.code == 0, outcome.text
    assert {rule: outcome.jobs[rule] for rule in PER_FOV} == dict.fromkeys(PER_FOV, 60)
    outcome = checkout.run(None, "-n", "--config", "fovs=0-19", name=str(config))
    assert outcome.code == 0, outcome.text
    assert {rule: outcome.jobs[rule] for rule in PER_FOV} == dict.fromkeys(PER_FOV, 20)
