"""After a run with failed FOVs, run again without them so that the merged tables exist.

Snakemake runs no job whose inputs are not all there, so that one broken FOV would cost the merged tables of a
hundred. The second run is the same command with the failed FOVs named in an environment variable. Its tables name them
too, and as the list of FOVs is among the rules' inputs and params, the next ordinary run makes complete ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

VARIABLE = "CELLTRACES_WITHOUT"


def without_fovs() -> dict[str, list[int]]:
    """FOVs by dataset that this run does without."""
    return json.loads(os.environ.get(VARIABLE, "{}"))


def to_leave_out(waiting: Iterable[Mapping[str, str]], failed: Iterable[Mapping[str, str]]) -> dict[str, list[int]]:
    """FOVs by dataset without which the rest can be done, from the wildcards of the jobs that wait and that failed.

    None where a FOV waits in which nothing failed, as after Ctrl-C: there the run is to go on, not to be summed up.
    """
    places = {(job["dataset"], int(job["fov"])) for job in failed if "fov" in job}
    if any((job["dataset"], int(job["fov"])) not in places for job in waiting if "fov" in job):
        return {}
    return {dataset: sorted(fov for name, fov in places if name == dataset) for dataset, _ in sorted(places)}


def finish_without(fovs: Mapping[str, Sequence[int]]) -> None:
    """Run the same command again without these FOVs, and wait for it, also after Ctrl-C, which it answers itself."""
    print("\nFinishing what does not need the FOVs that failed.", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "snakemake", *sys.argv[1:]]
    run = subprocess.Popen(command, env={**os.environ, VARIABLE: json.dumps(fovs)})
    while run.returncode is None:
        with suppress(KeyboardInterrupt):
            run.wait()
