"""Say on the terminal what a run is about to do and how far it is, in the place of Snakemake's lines for each job."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from celltraces.planning import doubts
from celltraces.planning.command_line import command
from celltraces.planning.end_of_run import NEXT, result_lines, target_lines
from celltraces.planning.experiment import Experiment
from celltraces.planning.input_summary import input_lines
from celltraces.planning.reasons import PlannedJob, plan_lines
from celltraces.planning.workflow_version import version_text
from celltraces.runs import interrupts, summary
from celltraces.runs.progress import Job, Progress, columns, took

MANY_FAILURES = 20  # of which the end of a run tells


class Terminal:
    """What Snakemake's messages become on the terminal; snakemake_messages.show_on calls the methods.

    began: tells when this run began, by the clock of the file system of its results. targets: tells the targets that
    were asked for, and their files. shows_plan, shows_progress: whether to print them; failures and warnings are
    printed always.
    """

    def __init__(
        self,
        experiment: Experiment,
        began: Callable[[], float],
        targets: Callable[[], Mapping[str, list[str]]],
        *,
        shows_plan: bool,
        shows_progress: bool,
    ) -> None:
        self.experiment, self.began, self.targets = experiment, began, targets
        self.shows_plan, self.shows_progress = shows_plan, shows_progress
        self.rehearsing = False
        self.progress = Progress(sys.stderr)
        self.logs: Mapping[int, str] = {}
        self.told_to_stop = False
        # Jobs that ended from outside, and what to say of them if no stop explains it.
        self._unsure: dict[int, str] = {}
        self._faults: set[Path] = set()  # logs of jobs that failed for sure

    def inputs(self) -> None:
        """Say what is in the input files: a dry run does."""
        self.rehearsing = True
        if not self.shows_plan:
            return
        for line in input_lines(self.experiment.config, self.experiment.datasets):
            print(folded(line, sys.stdout))
        for line in doubts.lines_on_doubts(self.experiment):
            print(folded(line, sys.stdout))
        print(flush=True)

    def planned(
        self, jobs: Mapping[int, Job], logs: Mapping[int, str], reasons: list[PlannedJob], stages: list[str]
    ) -> None:
        """Say what runs and why, and begin to show the progress of a run."""
        self.logs = logs
        stream = sys.stdout if self.rehearsing else sys.stderr
        if self.shows_plan or self.rehearsing:
            n_fovs = len({job.place for job in jobs.values() if job.place})
            of_fovs = f", for {n_fovs} FOV{'s' * (n_fovs != 1)}" if n_fovs else ""
            would = "would run" if self.rehearsing else "to run"
            head = f"{len(jobs)} job{'s' * (len(jobs) != 1)} {would}{of_fovs}, with celltraces {version_text()}:"
            print(folded(head, stream), file=stream)
            for line in plan_lines(reasons, stages):
                print(folded(f"  {line}", stream), file=stream)
            print(end="", file=stream, flush=True)
        if self.shows_progress and not self.rehearsing:
            self.progress.begin(jobs)

    def nothing(self) -> None:
        """Say that all is done."""
        stream = sys.stdout if self.rehearsing else sys.stderr
        print("Nothing to be done: all that was asked for is there and up to date.", file=stream, flush=True)
        if self.shows_plan and not self.rehearsing:
            self._print(self.results())

    def started(self, number: int) -> None:
        """A job began."""
        self._settle()
        self.progress.job_started(number)

    def finished(self, number: int) -> None:
        """A job is done."""
        self._settle()
        self.progress.job_finished(number)

    def failed(self, numbers: Iterable[int], said: str) -> None:
        """Say which of these jobs failed; `said`: what is known where no log says how.

        What ended from outside, or in a way that its log does not say, is said when the run goes on: Ctrl-C ends jobs
        and the run at once, and which of them Snakemake reports first is chance.
        """
        numbers = list(numbers)
        found = {number: summary.failure(log, self.began()) for number in numbers if (log := self.logs.get(number))}
        known = {number: failure for number, failure in found.items() if failure}
        for number, failure in known.items():
            self._unsure[number] = f"failed: {failure}"
            if not failure.is_from_outside:
                self._say_failed(number)
        if not known:
            self._unsure[numbers[0]] = f"failed: {said}; log: {self.logs.get(numbers[0], '-')}"

    def stop(self) -> None:
        """Note that the run is told to stop: what ends from outside from now on, or did just now, has not failed."""
        self.told_to_stop = True

    def has_failed(self, failure: summary.Failure) -> bool:
        """Whether a job failed by itself, and not because the run was told to stop."""
        self._settle()
        return not failure.is_from_outside or not self.told_to_stop or failure.log in self._faults

    def _settle(self) -> None:
        """Say what failed, unless the run was told to stop."""
        for number in [] if self.told_to_stop else list(self._unsure):
            self._say_failed(number)

    def _say_failed(self, number: int) -> None:
        if line := self._unsure.pop(number, None):
            self._faults.add(Path(self.logs.get(number, "")))
            self.progress.job_failed(number)
            self.say(line)

    def say(self, text: str) -> None:
        """Say what Snakemake warns of."""
        self.progress.say(folded(text, sys.stderr))

    def end(self) -> None:
        """Take the line of the progress away."""
        self._settle()
        self.progress.end()

    def done(self, notes: Iterable[str]) -> None:
        """Say what came out of a run in which all went well; notes: what checks found, and what lies in the way."""
        self.end()
        n_jobs = len(self.progress.took)
        spent = f": {n_jobs} job{'s' * (n_jobs != 1)} in {took(self.progress.spent())}" if n_jobs else ""
        self._print([f"Done{spent}", *self.results(), *notes])

    def failures(self, failed: Sequence[summary.Failure], notes: Iterable[str]) -> None:
        """Say what failed in a run, if anything, and how to go on."""
        self._print([*notes, *(self.results() if failed and self.has_report() else [])])
        if failed:
            self._print(
                [
                    "\nNot everything is done. Correct the cause and run the same command again:",
                    *(f"  {failure}" for failure in failed[:MANY_FAILURES]),
                    *([f"  and {len(failed) - MANY_FAILURES} more"] if len(failed) > MANY_FAILURES else []),
                ]
            )
        elif self.told_to_stop:
            self._print([self.stopped()])
        else:
            self._print(["\nNot everything is done. To go on, run the same command again."])

    def stopped(self) -> str:
        """What to say where the run was told to stop, and nothing failed."""
        self.end()
        if not self.logs:
            return interrupts.STOPPED
        n_done, n_jobs = len(self.progress.took), len(self.progress.jobs)
        how_far = f": {n_done} of {n_jobs} jobs are done" if n_jobs else ""  # not counted with --quiet progress
        return f"Stopped{how_far}. To go on, run the same command again."

    def has_report(self) -> bool:
        """Whether a report is there, as after the second run that does without what failed."""
        layout = self.experiment.layout
        return any(Path(layout.report.format(dataset=name)).exists() for name in self.experiment.datasets)

    def results(self) -> list[str]:
        """Where the results of the targets are that were asked for, and what is doubtful in them."""
        targets = dict(self.targets())
        lines = list(result_lines(self.experiment, command())) if targets.pop("all", None) else []
        return [*lines, *target_lines(targets), *doubts.lines_on_doubts(self.experiment)]

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            print(folded(line, sys.stderr), file=sys.stderr)
        print(end="", file=sys.stderr, flush=True)


def folded(line: str, stream: TextIO) -> str:
    """The line in the width of the terminal, if it is one; what goes on is indented. Paths and commands stay whole."""
    if not stream.isatty() or "\n" in line or line.startswith(NEXT):
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    width = max(columns(stream) - 1, 20)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
