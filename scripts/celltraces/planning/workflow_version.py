"""Tell the version and the commit of the workflow."""

from __future__ import annotations

import os
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PARTS = ("Snakefile", "rules", "scripts", "config/schema.yaml", "pyproject.toml")  # what decides over results
SECONDS = 20  # for git, on a slow disk


@cache
def workflow_version(root: Path = ROOT) -> dict[str, Any]:
    """`version` by pyproject.toml; `commit`, 40 hex digits; `changed`: whether PARTS are no longer as in this commit.

    commit and changed are None without git, or where the workflow lies unversioned in a repository of somebody else.
    """
    found: dict[str, Any] = {"version": None, "commit": None, "changed": None}
    if (root / "pyproject.toml").is_file():
        found["version"] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    tracked = _git(root, "ls-files", "--error-unmatch", "--", "Snakefile")
    commit = _git(root, "rev-parse", "HEAD") if tracked else None
    if commit:
        changes = _git(root, "status", "--porcelain", "--", *PARTS)
        found |= {"commit": commit, "changed": None if changes is None else changes != ""}
    return found


def _git(root: Path, *arguments: str) -> str | None:
    """What a git command prints; None where it fails or there is no git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},  # git status would write into the repository
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
