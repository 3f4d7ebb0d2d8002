"""The lock of a run and its jobs' shares of another, also on a file system that has no locks or does not answer."""

import errno
import os
import subprocess
import sys
import time

import pytest
from conftest import PYTHON, ROOT, Checkout, small_config

from celltraces.errors import UserError
from celltraces.runs import lock

fcntl = pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def released(monkeypatch):
    """What a test holds is given back at its end."""
    held = []
    monkeypatch.setattr(lock, "_held", held)
    yield
    for file in held:
        file.close()


def elsewhere(take, folder):
    """Another process that takes a lock, says so, and holds it until its input ends."""
    code = f"import sys; from pathlib import Path; from celltraces.runs import lock; lock.{take}(Path(sys.argv[1]))"
    return subprocess.Popen(
        [PYTHON, "-c", f"{code}; print('holding', flush=True); sys.stdin.read()", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_run_is_refused_until_the_first_ends(tmp_path):
    first = elsewhere("hold", tmp_path)
    assert first.stdout.readline() == "holding\n"
    with pytest.raises(UserError, match=rf"another run \(process {first.pid}\) works on"):
        lock.hold(tmp_path)
    first.kill()
    first.communicate()
    lock.hold(tmp_path)


def test_jobs_share_and_a_new_run_waits_for_them(tmp_path):
    jobs = [elsewhere("join", tmp_path) for _ in range(2)]
    assert [job.stdout.readline() for job in jobs] == ["holding\n"] * 2
    run = elsewhere("hold", tmp_path)
    said = run.stderr.readline()
    assert "waiting for the last jobs" in said
    if sys.platform == "linux":
        numbers = ", ".join(map(str, sorted(job.pid for job in jobs)))
        assert f"of a run that was killed (process {numbers}); on a cluster" in said
    for job in jobs:
        assert run.poll() is None
        job.communicate("")
    assert run.communicate("") == ("holding\n", "")


def test_jobs_that_do_not_end_are_not_waited_for_without_end(tmp_path, monkeypatch, capsys):
    job = elsewhere("join", tmp_path)
    assert job.stdout.readline() == "holding\n"
    for name, value in (("JOBS_H", 1 / 3600), ("SAY_S", 0.3), ("LOOK_S", 0.01)):
        monkeypatch.setattr(lock, name, value)
    with pytest.raises(UserError, match=r"^output_dir: jobs of a run that was killed still work on '") as error:
        lock.hold(tmp_path)
    assert f"or remove the file '{tmp_path}/.jobs'" in str(error.value)
    said = capsys.readouterr().err.splitlines()
    assert 1 < len(said) < 6
    assert len({*said}) == 1
    job.communicate("")
    lock._held.pop().close()
    lock.hold(tmp_path)


def test_a_job_holds_its_share_of_the_results_it_writes(tmp_path):
    code = """import sys
from types import SimpleNamespace
from celltraces.runs import job
params = SimpleNamespace(settings="{}")
with job.running(SimpleNamespace(
    log=["logs/small/copy.log"], wildcards={}, params=params, rule="copy", threads=1, output={}, input=[]
)):
    print("holding", flush=True)
    sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    at_work = subprocess.Popen([PYTHON, "-c", code], cwd=tmp_path, env=environment, **pipes)
    assert at_work.stdout.readline() == "holding\n"
    run = elsewhere("hold", tmp_path)
    run.stdin.close()  # it ends as soon as it has the lock
    assert "waiting for the last jobs" in run.stderr.readline()
    at_work.communicate("")
    assert run.stdout.read() == "holding\n"


@pytest.mark.parametrize("answer", ["no locks", "none"])
def test_a_file_system_without_locks_keeps_nothing_from_running(tmp_path, monkeypatch, answer):
    def flock(file, how):
        if answer == "no locks":
            raise OSError(errno.ENOLCK, "No locks available")
        time.sleep(60)

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(lock, "PATIENCE_S", 0.1)
    started = lock.hold(tmp_path)
    lock.join(tmp_path)
    assert started == (tmp_path / ".lock").stat().st_mtime
    assert (tmp_path / ".lock").read_text() == str(os.getpid())
    # Nothing is held, neither the run's lock nor a share of the jobs': whoever has locks there is not kept waiting.
    other = elsewhere("hold", tmp_path)
    assert other.communicate("", timeout=300) == ("holding\n", "")


@pytest.mark.workflow
def test_a_look_at_the_plan_takes_no_lock_and_needs_none(movies, tmp_path):
    checkout = Checkout(tmp_path)
    config = small_config(movies)
    assert checkout.planned(config)
    assert not (tmp_path / "results/.lock").exists()
    first = elsewhere("hold", tmp_path / "results")
    assert first.stdout.readline() == "holding\n"
    assert checkout.planned(config)
    refused = checkout.run(config)
    assert "another run" in refused.text
    first.communicate("")
