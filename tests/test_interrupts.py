"""Ctrl-C and SIGTERM: what a job says of its end, and which ends of jobs a run takes for failures."""

import logging
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from conftest import ROOT
from process_tools import hearing_ctrl_c

from celltraces.planning import snakemake_messages as messages
from celltraces.planning.terminal import Terminal
from celltraces.runs import interrupts, partial_run, summary
from celltraces.runs.job import DONE, ENDED, FAILED, STOPPED
from celltraces.runs.progress import Job

posix = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows")

# ------------------------------------------------------------------------------------------------- the end of a job

JOB = """
import atexit, os, signal, sys, threading, time
from types import SimpleNamespace
from celltraces.errors import UserError
from celltraces.runs import interrupts, job

def give():
    os.kill(os.getpid(), signal.{name})

class Fields(dict):
    settings = "{{}}"

{before}
threading.Thread(target=time.sleep, args=(9,), daemon=True).start()  # to which the signal can be given as well
with job.running(SimpleNamespace(
    log=["logs/copy.log"], wildcards={{}}, params=Fields(), rule="copy", threads=1, output={{}}, input=[]
)):
    {body}
"""
SWALLOWED = """try:
        give()
    except KeyboardInterrupt:
        raise {}("the reader crashed") from None"""


def run_job(folder, name, body, before=""):
    """The exit status of a job, the end of its log, and what it printed."""
    with hearing_ctrl_c():
        done = subprocess.run(
            [sys.executable, "-c", JOB.format(name=name, body=body, before=before)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        )
    return done.returncode, (folder / "logs/copy.log").read_text().splitlines()[-1], done.stderr


@posix
@pytest.mark.parametrize(("name", "code", "said"), [("SIGINT", 130, STOPPED), ("SIGTERM", 143, ENDED)])
@pytest.mark.parametrize(
    ("body", "before"),
    [
        ("give()", ""),
        ("pass", "interrupts.hold(); give()"),
        (SWALLOWED.format("UserError"), ""),
        (SWALLOWED.format("ImportError"), ""),
    ],
    ids=["at work", "while it begins", "as a mistake of the user's", "as an error of a library's"],
)
def test_a_job_that_is_ended_says_so(tmp_path, name, code, said, body, before):
    assert run_job(tmp_path, name, body, before) == (code, FAILED + said, "")


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_job_that_is_done_or_has_failed_ends_as_such(tmp_path, name):
    code, last, said = run_job(tmp_path, name, "pass", "atexit.register(give)")
    assert (code, last[: len(DONE)], said) == (0, DONE, "")
    code, last, said = run_job(tmp_path, name, "raise UserError('no such FOV')", "atexit.register(give)")
    assert (code, last, said) == (1, FAILED + "no such FOV", "copy: no such FOV\n")


# ------------------------------------------------------------------------------------------------- the end of a run

LOGS = {
    "stopped": f"copy\n{FAILED}{STOPPED}\n",
    "ended": f"copy\n{FAILED}{ENDED}\n",
    "killed": "copy\nsettings: ...\n",
    "done": f"copy\n{DONE} 0.1 s\n",  # and killed, while Python ended
    "no log": None,
}
FAULT = f"copy\n{FAILED}the file is truncated\n"


class Run:
    """A run of three jobs, of which the first is done, as Snakemake's messages tell of it."""

    def __init__(self, folder):
        self.terminal = Terminal(
            SimpleNamespace(datasets={}, layout=None), lambda: 0.0, dict, shows_plan=False, shows_progress=True
        )
        self.logs = {number: folder / f"{number}.log" for number in range(3)}
        jobs = {number: Job("copy", None) for number in self.logs}
        self.terminal.planned(jobs, {number: str(log) for number, log in self.logs.items()}, [], ["copy"])
        self.terminal.finished(0)

    def ends(self, number, text):
        """A job ends by an error, with this in its log."""
        if text is not None:
            self.logs[number].write_text(text)
        self.terminal.failed([number], "copy, and its log does not say why")

    def over(self):
        """The run ends: as `onerror` and `failures` do."""
        self.terminal.end()
        found = filter(None, (summary.failure(log, 0.0) for log in self.logs.values()))
        self.terminal.failures([failure for failure in found if self.terminal.has_failed(failure)], [])


@pytest.mark.parametrize("text", LOGS.values(), ids=LOGS.keys())
@pytest.mark.parametrize("first", ["the run", "the job"])
def test_what_ends_with_the_run_has_not_failed(tmp_path, capsys, text, first):
    run = Run(tmp_path)
    if first == "the run":
        run.terminal.stop()
    run.ends(1, text)
    run.terminal.stop()
    run.over()
    assert capsys.readouterr().err == "Stopped: 1 of 3 jobs are done. To go on, run the same command again.\n"


@pytest.mark.parametrize("text", LOGS.values(), ids=LOGS.keys())
@pytest.mark.parametrize("then", ["goes on", "ends", "goes on, then stops"])
def test_what_ends_alone_has_failed(tmp_path, capsys, text, then):
    """As where a cluster's time limit, the system or another person ended it."""
    run = Run(tmp_path)
    run.ends(1, text)
    if then != "ends":
        run.terminal.started(2)
        assert capsys.readouterr().err.startswith("failed: copy")
    if then == "goes on, then stops":
        run.terminal.stop()
    run.over()
    said = capsys.readouterr().err
    if then == "ends":
        assert said.startswith("failed: copy")
    is_known = summary.failure(run.logs[1], 0.0) is not None
    if is_known:
        assert "Not everything is done. Correct the cause" in said
        assert said.endswith(f"; log: {run.logs[1]}\n")
    assert ("Stopped" in said) == (then == "goes on, then stops" and not is_known)
    assert run.terminal.progress.failed == {1}


def test_what_fails_by_itself_is_said_at_once_and_at_the_end(tmp_path, capsys):
    run = Run(tmp_path)
    run.ends(1, FAULT)
    assert "failed: copy: the file is truncated" in capsys.readouterr().err
    run.terminal.stop()
    run.ends(2, LOGS["stopped"])
    run.over()
    said = capsys.readouterr().err
    assert f"copy: the file is truncated; log: {run.logs[1]}" in said
    assert STOPPED not in said


def test_stopped_while_no_job_runs(tmp_path, capsys):
    terminal = Terminal(
        SimpleNamespace(datasets={}, layout=None), lambda: 0.0, dict, shows_plan=False, shows_progress=False
    )
    assert terminal.stopped() == interrupts.STOPPED
    terminal.planned({0: Job("copy", None)}, {0: str(tmp_path / "0.log")}, [], ["copy"])
    assert terminal.stopped() == "Stopped. To go on, run the same command again."
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------------------- how a run learns of its stop


@pytest.fixture
def told(monkeypatch):
    """Notes that the run was told to stop; leaves Snakemake as it was."""
    from snakemake.logging import logger
    from snakemake.scheduling.job_scheduler import JobScheduler

    monkeypatch.setattr(logger, "filters", list(logger.filters))
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setattr(JobScheduler, "exit_gracefully", JobScheduler.exit_gracefully)
    before = signal.getsignal(signal.SIGINT)
    noted = []
    messages.when_told_to_stop(lambda: noted.append("first"))
    messages.when_told_to_stop(lambda: noted.append("stop"))
    yield noted
    signal.signal(signal.SIGINT, before)


def test_sigterm_while_the_scheduler_is_at_work(told):
    """Its lock is not one that the thread that holds it could take again."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    scheduler = SimpleNamespace(_lock=threading.Lock(), _user_kill=None, _open_jobs=threading.Semaphore(0))
    with scheduler._lock:
        JobScheduler.exit_gracefully(scheduler, signal.SIGTERM, None)
        assert told == ["stop"]
    assert scheduler._open_jobs.acquire(timeout=60)
    assert scheduler._user_kill == "graceful"


def test_ctrl_c_while_jobs_run(told, monkeypatch):
    """It is noted while messages wait for one that is being printed, and a second one ends nothing."""
    from snakemake.logging import logger

    handler = logging.NullHandler()
    handler.handle = lambda record: seen.append(told[-1:])
    seen = []
    monkeypatch.setattr(logger, "handlers", [handler])
    logger.info("Select jobs to execute...")
    logger.info("Terminating processes on user request, this might take some time.")
    assert seen == [[], ["stop"]]
    os.kill(os.getpid(), signal.SIGINT)


@posix
def test_ctrl_c_while_the_rest_is_finished(monkeypatch):
    """The second run answers it itself; the first waits, to say what failed."""
    waits = iter([KeyboardInterrupt, KeyboardInterrupt, None])

    class Second:
        returncode = None

        def wait(self):
            if error := next(waits):
                raise error
            self.returncode = 1

    monkeypatch.setattr(partial_run.subprocess, "Popen", lambda *_, **__: Second())
    partial_run.finish_without({"a": [1]})
    assert next(waits, "waited") == "waited"
