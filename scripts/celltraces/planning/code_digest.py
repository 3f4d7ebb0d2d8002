"""Compute a digest of the code that a script's results depend on: the script and all modules of ours that it imports.

Snakemake looks at a script's modification time and not at its imports. We put a digest of the code into the rule's
params instead: an edit of a shared module reruns the stages that import it, and a touch, a fresh checkout, a
comment or a docstring reruns nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from celltraces import files

SCRIPTS = Path(__file__).parents[2]


def code_digest(script: str) -> str:
    """Digest of scripts/`script` and all modules below scripts/ that it imports, directly or through others."""
    before = dict(_kept())
    digest = hashlib.sha256()
    for source in import_closure(script):
        digest.update(f"{source.as_posix()}\0{_source(source).code}\0".encode())
    if _kept() != before:
        _keep()
    return digest.hexdigest()[:16]


def text_digest(*files: str) -> str:
    """Digest of files below scripts/ that are no Python, and that a script reads."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.encode() + b"\0" + (SCRIPTS / file).read_text(encoding="utf-8").encode() + b"\0")
    return digest.hexdigest()[:16]


def import_closure(script: str) -> list[Path]:
    """The script and every module of ours that it can import, lazily or not; paths relative to scripts/, sorted."""
    found: set[Path] = set()
    waiting = [Path(script)]
    while waiting:
        source = waiting.pop()
        if source not in found:
            found.add(source)
            waiting.extend(path for name in _source(source).names for path in _modules(name))
    return sorted(found)


class Source(NamedTuple):
    """What is to be known of a module: digests of its bytes and of its code, and the dotted names that it imports."""

    content: str
    names: list[str]
    code: str


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _source(source: Path) -> Source:
    content = (SCRIPTS / source).read_bytes()
    known = _kept().get(source.as_posix())
    if known and known.content == _digest(content):
        return known
    tree = ast.parse(content)
    names = _names(tree)
    found = Source(_digest(content), names, _digest(_code(tree).encode()))
    _kept()[source.as_posix()] = found
    return found


def _file_of_kept() -> Path:
    return SCRIPTS / "__pycache__" / f"code_digest.{sys.implementation.cache_tag}.json"


@cache
def _kept() -> dict[str, Source]:
    """What this module, as it is now, found of each module before; kept beside Python's bytecode.

    To parse all modules takes a quarter of the processor time of a dry run. What has the same bytes is not parsed
    again.
    """
    with suppress(OSError, ValueError, TypeError, LookupError):
        kept = json.loads(_file_of_kept().read_bytes())
        if kept["by"] == _digest(Path(__file__).read_bytes()):
            return {name: Source(*found) for name, found in kept["modules"].items()}
    return {}


def _keep() -> None:
    """Write what was found, where Python may write its bytecode; elsewhere it is found again."""
    if not sys.dont_write_bytecode and not sys.pycache_prefix:
        with suppress(OSError):
            by = _digest(Path(__file__).read_bytes())
            files.write_text(_file_of_kept(), json.dumps({"by": by, "modules": _kept()}))


def _statements(block: ast.AST) -> Iterator[ast.AST]:
    """A module and everything in it, but no expressions, which are most of it."""
    yield block
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for statement in getattr(block, part, ()):
            yield from _statements(statement)


def _names(tree: ast.Module) -> list[str]:
    """The dotted names that a module imports, and names of what it takes from them, which may be modules."""
    names: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return sorted(names)


@cache
def _modules(name: str) -> frozenset[Path]:
    """The modules of ours that importing a dotted name reads."""
    parts = name.split(".")
    stems = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    candidates = (path for stem in stems for path in (f"{stem}.py", f"{stem}/__init__.py"))
    return frozenset(Path(path) for path in candidates if path in _files())


@cache
def _files() -> frozenset[str]:
    """All modules below scripts/: one look at the folders, not two at the disk for each name that a module imports."""
    files: set[str] = set()
    for folder, _, names in os.walk(SCRIPTS, followlinks=True):
        inside = os.path.relpath(folder, SCRIPTS).replace(os.sep, "/") + "/"
        files.update(inside.removeprefix("./") + name for name in names if name.endswith(".py"))
    return frozenset(files)


def _code(tree: ast.Module) -> str:
    """The source without comments, docstrings and formatting."""
    for node in _statements(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)
