"""Note in the folder of results by which command they were made last, for whoever wants to run it again.

The note decides over no result: it lies beside them, is written by every run, and may be missing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from celltraces.files import write_text
from celltraces.paths import LAST_RUN


class LastRun(NamedTuple):
    """How a run was started."""

    config_files: tuple[str, ...]
    """Absolute paths of the config files, in the order in which they were read: later ones count more."""
    command: tuple[str, ...]
    """The command line, argument by argument, as it was typed in `folder`."""
    folder: str
    results: str
    """Where the results were then, without links: a copy, or results that were moved, are made by another command."""

    def line(self) -> str:
        """What to type in a shell, wherever one is, to run it again."""
        return f"cd {shlex.quote(self.folder)} && {shlex.join(self.command)}"


def write(results: Path, config_files: Iterable[str | Path], command: Sequence[str], folder: Path) -> None:
    """Write the note. A folder that cannot be written to is no fault here: the run's first job says so."""
    files = dict.fromkeys(str(Path(folder, file).absolute()) for file in config_files)
    note = {"config_files": list(files), "command": list(command), "folder": str(folder.absolute())}
    with suppress(OSError, ValueError):
        note["results"] = str(results.resolve())
        write_text(results / LAST_RUN, json.dumps(note, indent=1) + "\n")


def read(results: Path) -> LastRun | None:
    """The note in a folder of results; None where there is none that says all."""
    try:
        note = json.loads((results / LAST_RUN).read_text(encoding="utf-8"))
        files, command = (tuple(map(str, note[name])) for name in ("config_files", "command"))
        return LastRun(files, command, str(note["folder"]), str(note["results"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
