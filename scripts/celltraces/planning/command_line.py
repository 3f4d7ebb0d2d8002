"""Tell the command line of this run, and make the one that a person types next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def command() -> list[str]:
    """The command line of this process, argument by argument, as its user typed it."""
    called = Path(sys.argv[0])
    name = [sys.orig_argv[0], "-m", called.parent.name] if called.name == "__main__.py" else [sys.argv[0]]
    return [*name, *sys.argv[1:]]


def with_target(command: Sequence[str], target: str) -> str:
    """The user's own command with one target more, first: an option before it might take it for a value."""
    at = command.index("snakemake") + 1 if "snakemake" in command else 1
    return shlex.join([*command[:at], target, *command[at:]])
