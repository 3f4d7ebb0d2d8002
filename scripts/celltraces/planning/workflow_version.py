"""Tell the version and the commit of the workflow."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]  # Snakemake imports this from "rules/../scripts"
PARTS = ("Snakefile", "rules", "scripts", "config/schema.yaml", "pyproject.toml")  # what decides over results
IMAGE_COMMIT = "COMMIT"  # 40 digits, and + where the image was built from changed files
SECONDS = 20  # for git, on a slow disk


@cache
def workflow_version(root: Path = ROOT) -> dict[str, Any]:
    """`version` by pyproject.toml; `commit`, 40 hex digits; `changed`: whether PARTS are no longer as in this commit.

    commit and changed are None without git, or where the workflow lies unversioned in a repository of somebody else. An
    image of a container, which has no git, names its commit in the file COMMIT.
    """
    found: dict[str, Any] = {"version": None, "commit": None, "changed": None}
    if (root / "pyproject.toml").is_file():
        found["version"] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if (root / IMAGE_COMMIT).is_file():
        commit = (root / IMAGE_COMMIT).read_text(encoding="utf-8").strip()
        known = re.fullmatch(r"([0-9a-f]{40})(\+?)", commit)
        return found | ({"commit": known[1], "changed": known[2] == "+"} if known else {})
    tracked = _git(root, "ls-files", "--error-unmatch", "--", "Snakefile")
    commit = _git(root, "rev-parse", "HEAD") if tracked else None
    if commit:
        changes = _git(root, "status", "--porcelain", "--", *PARTS)
        found |= {"commit": commit, "changed": None if changes is None else changes != ""}
    return found


def version_text(root: Path = ROOT) -> str:
    """Version and commit for a person: "0.2.0 (2f0eb2c, changed)"."""
    found = workflow_version(root)
    commit = [found["commit"][:7]] if found["commit"] else []
    state = ", ".join([*commit, *(["changed"] if found["changed"] else [])])
    return f"{found['version'] or 'of unknown version'}{f' ({state})' if state else ''}"


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
