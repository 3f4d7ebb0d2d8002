"""Say on the terminal what Snakemake's messages mean for a person, by parts of it that it does not document.

A test fails where a version is installed with which this was not tried: see snakemake_internals.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from celltraces.planning.reasons import PlannedJob
from celltraces.planning.snakemake_internals import causes_of
from celltraces.runs.job import SAID_BY_RUN
from celltraces.runs.progress import Job

ORDINARY = "DefaultStreamHandler"  # Snakemake's name for what prints its messages
# Messages that say what the terminal has said already, or what jobs' own messages say better.
SAID = ("Exiting because a job execution failed", "WorkflowError:\nAt least one job did not complete successfully")
OF_A_JOB = ("returned non-zero exit status", "died with <Signals.")  # in errors of Python about a script


class Listener(Protocol):
    """What show_on tells of a run. Jobs have numbers; those of targets, which do nothing, are left out."""

    def planned(
        self, jobs: Mapping[int, Job], logs: Mapping[int, str], reasons: list[PlannedJob], stages: list[str]
    ) -> None: ...
    def nothing(self) -> None: ...
    def started(self, number: int) -> None: ...
    def finished(self, number: int) -> None: ...
    def failed(self, numbers: Iterable[int], said: str) -> None: ...
    def say(self, text: str) -> None: ...
    def end(self) -> None: ...


def owns_terminal(workflow: Any) -> bool:
    """Whether the Snakefile that is being read is no module of another workflow, whose terminal it would be."""
    return workflow.is_main_process and workflow.modifier.is_main_snakefile()


def is_shown(workflow: Any, what: str) -> bool:
    """Whether --quiet leaves "progress", "rules" ... on the terminal."""
    quiet = {str(kind).lower() for kind in workflow.output_settings.quiet or ()}
    return not {what, "all"} & quiet


def show_on(workflow: Any, listener: Listener) -> None:
    """Let `listener` print what Snakemake would print; its own lines stay in its log file, .snakemake/log.

    All stays as it is with --verbose and --debug-dag, with a logger plugin that prints, and where another version of
    Snakemake does not have what this needs.
    """
    from snakemake.logging import logger

    ordinary = _ordinary(workflow)
    if not ordinary:
        return
    logger.removeHandler(ordinary[0])
    logger.addHandler(_Listening(workflow, listener, ordinary[0]))
    # Else each job that fails says so itself as well, into the line that is updated.
    os.environ[SAID_BY_RUN] = "1"


def hide_progress() -> None:
    """Leave "5 of 5 steps (100%) done" out of what this process prints."""
    from snakemake.logging import logger
    from snakemake_interface_logger_plugins.common import LogEvent

    def is_wanted(record: logging.LogRecord) -> bool:
        return getattr(record, "event", None) != LogEvent.PROGRESS

    logger.addFilter(is_wanted)


def when_told_to_stop(note: Callable[[], None]) -> None:
    """Call `note` when Ctrl-C or SIGTERM tells the run to stop, before any job that ends by the same is reported."""
    from snakemake.logging import logger
    from snakemake.scheduling.job_scheduler import JobScheduler

    def hear(record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Terminating processes"):
            note()
            if threading.current_thread() is threading.main_thread():
                # Jobs end by the Ctrl-C that they got as well. A second one would end this process before them.
                signal.signal(signal.SIGINT, lambda *_: None)
        return True

    def exit_gracefully(self: Any, *arguments: Any) -> None:
        note()
        # In a thread of its own: the main thread, which signals interrupt, may hold the lock that this waits for.
        threading.Thread(target=original, args=(self, *arguments), daemon=True).start()

    original = inspect.unwrap(JobScheduler.exit_gracefully)  # a workflow may be read several times
    exit_gracefully.__wrapped__ = original  # type: ignore[attr-defined]
    JobScheduler.exit_gracefully = exit_gracefully
    # A filter: handlers wait for one another, and one may be at work on a job that ended.
    logger.addFilter(hear)


def leave_out_assumptions(workflow: Any) -> None:
    """Leave "Assuming unrestricted shared filesystem usage." to Snakemake's log, before a run takes the terminal."""
    for handler in _ordinary(workflow):
        handler.addFilter(lambda record: not str(record.msg).startswith("Assuming "))


def _ordinary(workflow: Any) -> list[logging.Handler]:
    """What prints Snakemake's messages; none where it is to print them all."""
    from snakemake.logging import logger

    settings = workflow.output_settings
    printing = [handler for handler in logger.handlers if handler.name == ORDINARY]
    return [] if settings.verbose or settings.debug_dag else printing


class _Listening(logging.Handler):
    """Tells a listener what Snakemake logs; goes back to Snakemake's own lines where that fails."""

    def __init__(self, workflow: Any, listener: Listener, ordinary: logging.Handler) -> None:
        super().__init__()
        self.workflow, self.listener, self.ordinary = workflow, listener, ordinary
        self.planned = self.is_ending = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell(record, str(getattr(record, "event", None) or ""), str(record.msg))
        except Exception:
            from snakemake.logging import logger

            logger.removeHandler(self)
            logger.addHandler(self.ordinary)
            os.environ.pop(SAID_BY_RUN, None)
            self.ordinary.handle(record)

    def close(self) -> None:
        self.listener.end()
        super().close()

    def _tell(self, record: Any, event: str, message: str) -> None:
        listener = self.listener
        if event == "run_info":
            if not self.planned:
                self.planned = True
                listener.planned(*_plan(self.workflow))
        elif event == "job_info":
            listener.started(record.jobid)
        elif event == "job_finished":
            listener.finished(record.job_id)
        elif event == "job_error":
            if not record.indent:  # else the group has told of it
                listener.failed([record.jobid], record.rule_msg or f"{record.rule_name}, and its log does not say why")
        elif event == "group_error":
            jobs = record.job_error_info
            stages = ", ".join(info["rule_name"] for info in jobs)
            listener.failed([info["jobid"] for info in jobs], f"one of {stages}, and no log says why")
        elif message.startswith("Nothing to be done"):
            listener.nothing()
        elif message.startswith("Will exit after"):
            if not self.is_ending:  # it comes again for each job that ends
                self.is_ending = True
                listener.say("Stopping as soon as the jobs that run now are done.")
        elif record.levelno >= logging.WARNING and not _is_said(message):
            listener.say(message)


def _is_said(message: str) -> bool:
    return message.startswith(SAID) or any(text in message for text in OF_A_JOB)


def _plan(workflow: Any) -> tuple[dict[int, Job], dict[int, str], list[PlannedJob], list[str]]:
    """The jobs that do something by their numbers, their logs, why they run; all stages in the Snakefile's order."""
    dag = workflow.dag
    todo = [job for job in dag.needrun_jobs() if not job.rule.norun]
    at = {job: place for place, job in enumerate(todo)}
    jobs, logs = {}, {}
    for job in todo:
        of = job.wildcards_dict
        place = (of["dataset"], of["fov"]) if {"dataset", "fov"} <= of.keys() else None
        jobs[dag.jobid(job)] = Job(job.rule.name, place)
        logs.update({dag.jobid(job): log for log in job.log[:1]})
    why = [
        PlannedJob(
            job.rule.name,
            tuple(causes_of(job, dag.reason(job))),
            tuple(at[before] for before in dag.dependencies[job] if before in at),
        )
        for job in todo
    ]
    return jobs, logs, why, [rule.name for rule in workflow.rules]
