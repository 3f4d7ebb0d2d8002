"""Say in a line for each cause which jobs would run, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from celltraces.storage import provenance

# Causes that are no change of a setting, in the words of the plan.
NOT_MADE = "not made yet"
REMOVED = "its files are not all there any more"
HALF_DONE = "left half done by a run that was stopped"
FORCED = "asked for by --force, --forceall or --forcerun"
OTHER_INPUTS = "what it is made from is not the same any more"
NEVER_KEPT = "asked for"  # targets that leave nothing behind
UNKNOWN = "needed for what follows"
# Changes whose two values say nothing to a person, by the name under which they are recorded.
WORDS = {
    "raw": "the content of the input file changed",
    "files": "the content of a file that it reads changed",
    "code": "the code of the workflow changed",
    "sources": "flat_field changed, or a picture that it names",
    "record": "processing_config.yaml says something else",
    "times_min": "the times of the frames changed",
    "times_assumed": "the times of the frames changed",
    "senseless_stamps": "the times of the frames changed",
    "overlaps": "the overlap of FOVs changed",
    "exposures": "the exposure times that the file states changed",
    "position_um": "where the stage stood, as the file states it, changed",
    "failed": "other FOVs failed than before",
    "no record of what it was made from": "made by a release that did not record what from",
}
SPELLED = {"None": "null", "True": "true", "False": "false", "-": "not there"}
LONG = 40  # characters of a value, beyond which only the name of its setting is said


class PlannedJob(NamedTuple):
    """A job that has to run."""

    stage: str
    causes: tuple[str, ...]  # of its own
    after: tuple[int, ...]  # places, in the list of all, of the jobs that it waits for


def reasons_to_run(recorded: provenance.Record, now: provenance.Record) -> list[str]:
    """What differs between what a job's result was made from and what it would be made from, in words.

    A setting that the job does not use any more counts for nothing. One that it did not use before is told only where
    no other differs: it came with another method, or with what is measured now. (Here and not in storage, which all
    jobs import: an edit there makes every result anew.)
    """
    before, after = recorded["params"]["settings"], now["params"]["settings"]
    still_used = {name: value for name, value in before.items() if name in after}
    found = provenance.changes({**recorded, "params": {**recorded["params"], "settings": still_used}}, now)
    came_with_others = after.keys() - before.keys()
    told = [change for change in found if change.partition(":")[0] not in came_with_others]
    return told if set(told) - {"inputs"} else found


def worded(change: str) -> str:
    """A recorded change ("border_margin: 50 -> 20") as a person reads it ("border_margin 50 -> 20")."""
    name, _, values = change.partition(": ")
    if name in WORDS:
        return WORDS[name]
    before, arrow, after = values.partition(" -> ")
    if not arrow or max(len(before), len(after)) > LONG or "sha256:" in values or "<" in values:
        return f"{name} changed"
    return f"{name} {SPELLED.get(before, before)} -> {SPELLED.get(after, after)}"


def plan_lines(jobs: Sequence[PlannedJob], stages: Sequence[str]) -> list[str]:
    """A line for each cause with the stages that run because of it: "min_iou 0.1 -> 0.2: track (6), crop (6)".

    stages: all, in the order of the data. A job without a cause of its own has those of the jobs that it waits for.
    """
    causes: dict[int, tuple[str, ...]] = {}

    def causes_of(at: int) -> tuple[str, ...]:
        if at not in causes:
            causes[at] = ()  # a circle cannot be, but would not end
            own = jobs[at].causes or [cause for before in jobs[at].after for cause in causes_of(before)]
            told = tuple(cause for cause in dict.fromkeys(own) if cause != WORDS["record"])  # it follows from others
            causes[at] = told or tuple(own[:1]) or (UNKNOWN,)
        return causes[at]

    counts: dict[tuple[str, ...], dict[str, int]] = {}
    for at, job in enumerate(jobs):
        of_cause = counts.setdefault(tuple(sorted(causes_of(at))), {})
        of_cause[job.stage] = of_cause.get(job.stage, 0) + 1
    place = {stage: at for at, stage in enumerate(stages)}
    ordered = sorted(counts.items(), key=lambda item: min(place[stage] for stage in item[1]))
    return [
        f"{', '.join(cause)}: "
        + ", ".join(
            f"{stage} ({number})" for stage, number in sorted(of_cause.items(), key=lambda item: place[item[0]])
        )
        for cause, of_cause in ordered
    ]
