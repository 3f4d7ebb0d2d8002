"""Compute a digest of the code that a script's results depend on: the script and all modules of ours that it imports.

Snakemake looks at a script's modification time and not at its imports. We put a digest of the code into the rule's
params instead: an edit of a shared module reruns the stages that import it, and a touch, a fresh checkout, a
comment or a docstring reruns nothing.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).parents[2]


def code_digest(script: str) -> str:
    """Digest of scripts/`script` and all modules below scripts/ that it imports, directly or through others."""
    digest = hashlib.sha256()
    for source in import_closure(script):
        digest.update(source.as_posix().encode() + b"\0" + _code(source).encode() + b"\0")
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
            waiting.extend(_imports(source))
    return sorted(found)


@cache
def _parse(source: Path) -> ast.Module:
    return ast.parse((SCRIPTS / source).read_text(encoding="utf-8"))


def _statements(block: ast.AST) -> Iterator[ast.AST]:
    """A module and everything in it, but no expressions, which are most of it."""
    yield block
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for statement in getattr(block, part, ()):
            yield from _statements(statement)


@cache
def _imports(source: Path) -> tuple[Path, ...]:
    names: set[str] = set()
    for node in _statements(_parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    modules: set[Path] = set()
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            stem = Path(*parts[:depth])
            for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
                if (SCRIPTS / candidate).is_file():
                    modules.add(candidate)
    return tuple(modules)


@cache
def _code(source: Path) -> str:
    """The source without comments, docstrings and formatting."""
    tree = _parse(source)
    for node in _statements(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)
