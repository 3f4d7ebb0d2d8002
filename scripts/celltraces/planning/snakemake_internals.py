"""Use the parts of Snakemake that it does not document: here, and for its messages in snakemake_messages.

A test fails where another version is installed: then run tests/test_provenance.py, test_reading.py, test_reruns.py,
test_isolation.py and test_slurm.py with it, mend what broke here, and name the new version.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from celltraces.planning import reasons
from celltraces.runs import interrupts
from celltraces.storage import checksums, provenance

CHECKED_WITH = "9.27.1"
READERS_STATE = ("metadata", "incomplete")  # folders below .snakemake that a command which only reads has to know

_changed: set[str] = set()  # which parts of Snakemake are changed already: a workflow may be read several times


# ------------------------------------------------------------------------------------------ what the workflow asks


def is_main_process(workflow: Any) -> bool:
    """Whether this is the process that the user started, and none of a job."""
    return workflow.is_main_process


def jobs_to_do(workflow: Any) -> list[Any]:
    """The jobs of this run that are not done, each with `rule.name`, `log` and `wildcards_dict`."""
    return list(workflow.dag.needrun_jobs())


def asked_for(workflow: Any) -> dict[str, list[str]]:
    """The targets of this run, by the names of their rules, and their files."""
    found: dict[str, list[str]] = {}
    for job in workflow.dag.targetjobs:
        listing = _listing(job)
        files = job.input if job.rule.norun else [file for file in job.output if Path(file) != listing]
        if files:
            found.setdefault(job.rule.name, []).extend(map(str, files))
    return found


def named_targets(workflow: Any) -> set[str]:
    """What the command names to be made, rules or files; known before the run is planned. None: the rule `all`."""
    return set(workflow.dag_settings.targets)


def deploys_software(workflow: Any) -> bool:
    """Whether jobs run in environments of their own (conda, containers), which may have other packages."""
    return bool(workflow.deployment_settings.deployment_method)


def started_in(workflow: Any) -> Path:
    """The folder in which the user typed the command; where --directory is given, as the shell tells."""
    return Path(os.environ.get("PWD", ".") if workflow.overwrite_workdir else ".").absolute()


def config_of_command(workflow: Any) -> Mapping[str, Any]:
    """What --config says, in which whatever stands within braces or brackets is text."""
    return workflow.config_settings.config


def is_forced(workflow: Any) -> bool:
    """Whether the user asked for jobs by -F, -f or -R."""
    return bool(workflow.dag_settings.forceall or workflow.dag_settings.forcerun)


def run_stages_within_a_cluster_job(workflow: Any) -> None:
    """Let a cluster job run its stages as a workstation does.

    The Slurm plugin would start a Snakemake of its own for each, which takes several times as long as a stage of a
    small FOV.
    """
    if workflow.remote_exec:
        workflow.localrules(*(rule.name for rule in workflow.rules))


def explain(workflow: Any, text: str) -> None:
    """Say in --list-rules what the rule defined last is for, where no docstring can: Snakemake takes it literally."""
    list(workflow.rules)[-1].docstring = text


# ------------------------------------------------------------------------------------------- before a run executes


def before_execution(
    workflow: Any, prepare: Callable[[], None], rehearse: Callable[[], None], stopped: Callable[[], str]
) -> None:
    """Call `prepare` when a run begins: before it plans its jobs, but in no command that only reads.

    Snakemake's `onstart` comes after the planning, which would then not know what another run did in between. Dry runs
    call `rehearse` instead; jobs' own processes, and --lint, --summary and the like, neither. `stopped` gives the line
    that a run ends with which Ctrl-C ends before or after Snakemake runs jobs.
    """
    execute = workflow.execute

    def prepared(*, executor_plugin: Any, **options: Any) -> Any:
        if workflow.is_main_process:
            (rehearse if executor_plugin.common_settings.dryrun_exec else prepare)()
        interrupts.allow()
        try:
            return execute(executor_plugin=executor_plugin, **options)
        except KeyboardInterrupt:  # while it plans; where jobs run, Snakemake stops them, unless it comes twice
            sys.exit(stopped())
        except OSError as error:  # of Snakemake itself, as where a log of somebody else's is to be replaced
            if error.filename is None:
                raise
            elsewhere = "; or type the command in a folder of your own, with -s and the path of the Snakefile"
            where = elsewhere if ".snakemake" in Path(error.filename).parts else ""
            sys.exit(f"{error.filename}: {error.strerror}; the run has to write there{where}")
        finally:
            interrupts.ignore()  # nothing but the end of Python is left

    workflow.execute = prepared


def hold_interrupts_until_jobs_listen() -> None:
    """Let jobs start with Ctrl-C and SIGTERM held; runs/job.py hears them where they can end a job in one line.

    In the second that imports take, each job would print a traceback, or end without a log that says why.
    """
    from snakemake.executors.local import Executor

    if "interrupts" in _changed or not hasattr(signal, "pthread_sigmask"):
        return
    _changed.add("interrupts")
    cached_or_run = Executor.cached_or_run

    @wraps(cached_or_run)
    def held(self: Any, *arguments: Any) -> None:
        interrupts.hold()  # in this thread, which starts nothing but jobs
        cached_or_run(self, *arguments)

    Executor.cached_or_run = held


def leave_state_as_it_is() -> None:
    """Let commands that only read keep what Snakemake would write below .snakemake in a temporary folder.

    They write an inventory of the files there, and make folders, which fails where one may only read.
    """
    from snakemake.persistence.file import FilePersistence

    if "state" in _changed:
        return
    _changed.add("state")
    initialise = FilePersistence.__init__

    @wraps(initialise)
    def initialised(self: Any, *args: Any, warn_only: bool = False, path: Path | None = None, **options: Any) -> None:
        if warn_only and path is None:  # how Snakemake tells these commands from others
            self._elsewhere = tempfile.TemporaryDirectory(prefix="snakemake-")  # removed with the object
            path = Path(self._elsewhere.name)
            present = [Path(".snakemake", part).absolute() for part in READERS_STATE]
            if all(part.is_dir() for part in present):
                for part in present:
                    (path / part.name).symlink_to(part)
        initialise(self, *args, warn_only=warn_only, path=path, **options)

    delete_locks = FilePersistence._delete_locks

    def deleted_locks(self: Any) -> None:
        if os.path.isdir(self._lockdir) and os.listdir(self._lockdir):  # else --unlock would delete an empty folder
            delete_locks(self)

    FilePersistence.__init__ = initialised
    FilePersistence._delete_locks = deleted_locks


# ------------------------------------------------------------------------------------------------------ provenance


def compare_with_records() -> None:
    """Let the records that lie with the results decide which of our jobs have to run again, and no other.

    Jobs of ours are those with an output named `checksums`. For these Snakemake's own notes of params, code and inputs,
    which it keeps below the working folder, are not asked; and an input that is newer than what was made from it counts
    only where its content is not what the job that made it listed, since copying changes dates.
    """
    from snakemake.jobs import Job
    from snakemake.persistence import PersistenceBase

    if "provenance" in _changed:
        return
    _changed.add("provenance")

    def answer(name: str, of_ours: Callable[..., Any]) -> None:
        original = getattr(PersistenceBase, name)

        @wraps(original)
        def method(self: Any, job: Any, file: Any = None) -> Any:
            if _listing(job) is None:
                return original(self, job) if file is None else original(self, job, file=file)
            return of_ours(job, file)

        setattr(PersistenceBase, name, method)

    answer("has_metadata", lambda job, _: True)
    answer("has_outdated_metadata", lambda job, _: False)
    answer("params_changed", _params_changed)
    answer("input_changed", lambda job, file: _those_changed(job, file, "inputs"))
    answer("code_changed", lambda job, file: _those_changed(job, file, "code"))
    answer("software_stack_changed", lambda job, file: [] if file is None else False)

    oldest_output = Job.output_mintime.fget
    finished = PersistenceBase.finished
    incomplete = PersistenceBase.incomplete

    async def output_mintime(job: Any) -> float | None:
        oldest = await oldest_output(job)
        if oldest is None or (listing := _listing(job)) is None:
            return oldest
        newer = [file for file in job.input if await file.exists() and await file.is_newer(oldest)]
        root = checksums.results_of(listing)
        return math.inf if newer and all(provenance.as_listed(root, file) for file in newer) else oldest

    async def incomplete_without_record(self: Any, job: Any) -> list[Any]:
        """A run that was killed leaves a mark below its working folder; another clone may have done the job since."""
        listing = _listing(job)  # removed when a job begins, and written last
        return [] if listing and provenance.read(listing) else await incomplete(self, job)

    async def finished_as_recorded(self: Any, job: Any) -> None:
        await finished(self, job)
        if self.dag.workflow.touch and (listing := _listing(job)) is not None:
            # Asked for by --touch: what is there counts as made from what it would be made from now.
            provenance.write(listing, _record(job, listing), (Path(out) for out in job.output if Path(out) != listing))

    Job.output_mintime = property(output_mintime)
    PersistenceBase.finished = finished_as_recorded
    PersistenceBase.incomplete = incomplete_without_record


def _listing(job: Any) -> Path | None:
    """The list of checksums of a job of ours; None for a job of another workflow."""
    listing = job.output.get("checksums")
    return Path(listing) if isinstance(listing, str) else None


def _record(job: Any, listing: Path) -> provenance.Record:
    """What the job would make its results from now."""
    inputs = provenance.digests_of(checksums.results_of(listing), job.input)
    return provenance.record_of(dict(job.params.items()), inputs)


def _changes(job: Any) -> list[str]:
    """How what the job's results were made from differs from what they would be made from now."""
    listing = _listing(job)
    assert listing is not None
    recorded = provenance.read(listing)
    if recorded is None:
        if not any(map(os.path.exists, job.output)):
            return []  # Snakemake makes what is missing where it is needed
        if listing.exists():
            _say_once(checksums.results_of(listing))
        return ["no record of what it was made from"]
    return reasons.reasons_to_run(recorded, _record(job, listing))


def _say_once(root: Path) -> None:
    if f"said {root}" not in _changed:
        _changed.add(f"said {root}")
        from snakemake.logging import logger

        logger.warning(
            f"{root}: results of an earlier release, which did not record what they were made from, are made again"
        )


def causes_of(job: Any, reason: Any) -> Iterator[str]:
    """Why a job runs besides the jobs that it waits for; reason: Snakemake's, `dag.reason(job)`."""
    listing = _listing(job)
    if reason.forced:
        yield reasons.FORCED
    elif reason.noio or reason.nooutput:
        yield reasons.NEVER_KEPT
    elif reason.missing_output:
        yield reasons.REMOVED if listing and listing.exists() else reasons.NOT_MADE
    elif reason.incomplete_output:
        yield reasons.HALF_DONE
    elif listing is not None:
        changes = _changes(job)
        named = [change for change in changes if not _is(change, "inputs")]
        # The digest of a file stands beside the setting that names it.
        told = [change for change in named if not (_is(change, "files") and len(named) > 1)]
        yield from map(reasons.worded, told)
        if not told and (reason.updated_input or (changes and not reason.updated_input_run)):
            yield reasons.OTHER_INPUTS


_compared: tuple[Any, list[str]] = (None, [])  # the job whose params were asked for last, and its changes


def _params_changed(job: Any, file: Any) -> Any:
    """Snakemake asks for this first, then for inputs and code of the same job, which are compared at once."""
    global _compared
    from snakemake.persistence import NO_PARAMS_CHANGE, ParamsChange

    _compared = job, _changes(job)
    changed = [change for change in _compared[1] if not _is(change, "inputs")]
    if not changed:
        return NO_PARAMS_CHANGE
    return ParamsChange(only_new=set(changed), files=set(job.output if file is None else [file]))


def _those_changed(job: Any, file: Any, what: str) -> Any:
    changes = _compared[1] if job is _compared[0] else _changes(job)
    changed = any(_is(change, what) for change in changes)
    if file is not None:
        return changed
    return list(job.output) if changed else []


def _is(change: str, what: str) -> bool:
    return change.partition(":")[0] == what
