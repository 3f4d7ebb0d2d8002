"""Digests of code: the named sources are what a script really imports, and only real changes change them."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PYTHON

from celltraces.planning import code_digest

SCRIPTS = Path(__file__).parents[1] / "scripts"
STAGES = sorted(path.name for path in SCRIPTS.glob("*.py"))

# Each script in a process of its own, which has what most of them import and is not ours.
IMPORT_AND_LIST = """
import os, pathlib, runpy, sys
import numpy, pandas, zarr

scripts = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(scripts))
for script in sys.argv[2:]:
    process = os.fork()
    if process:
        if os.waitpid(process, 0)[1]:
            sys.exit(script)
        continue
    runpy.run_path(str(scripts / script), run_name="imported")
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and scripts in pathlib.Path(file).parents:
            print(script, pathlib.Path(file).relative_to(scripts).as_posix(), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def imported():
    """What each script imports of ours when it is started: pairs of script and module."""
    command = [PYTHON, "-c", IMPORT_AND_LIST, SCRIPTS, *STAGES]
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a copy of a process has none of its threads
    listed = subprocess.run(command, capture_output=True, text=True, env=alone, check=False)
    assert listed.returncode == 0, listed.stderr
    return [line.split() for line in listed.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("script", STAGES)
def test_closure_holds_every_module_that_python_imports(script, imported):
    listed = {module for importing, module in imported if importing == script}
    assert listed
    closure = {path.as_posix() for path in code_digest.import_closure(script)}
    assert listed <= closure
    # What is in the closure beyond that is imported lazily, inside a function: it must be named in some source.
    sources = "".join((SCRIPTS / name).read_text() for name in closure)
    for name in closure - listed - {script}:
        assert Path(name).stem in sources


def test_rules_name_their_own_script_for_the_digest():
    for rule in (SCRIPTS.parent / "rules").glob("*.smk"):
        text = rule.read_text()
        for line in text.splitlines():
            if line.strip().startswith('"../scripts/'):
                script = line.strip().strip('"').rpartition("/")[2]
                digested = re.findall(r'code=code_of\(\s*"([^"]+)"', text)
                assert script in digested, f"{rule.name} runs {script} but takes the digest of another"


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/__init__.py").write_text("")
    (tmp_path / "lib/a.py").write_text("from lib import b\n")
    (tmp_path / "lib/b.py").write_text("X = 1\n")
    (tmp_path / "lib/c.py").write_text("Y = 1\n")
    (tmp_path / "s.py").write_text("import numpy\ndef f():\n    from lib.a import b\n")

    def digest():
        """As another process would compute it: what the module has read once, it does not read again."""
        specification = importlib.util.spec_from_file_location("another", code_digest.__file__)
        another = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(another)
        another.SCRIPTS = tmp_path
        return another.code_digest("s.py")

    return tmp_path, digest


def test_an_edit_of_an_imported_module_changes_the_digest(tree):
    folder, digest = tree
    before = digest()
    (folder / "lib/b.py").write_text("X = 2\n")
    assert digest() != before


@pytest.mark.parametrize(
    ("file", "text"),
    [("lib/c.py", "Y = 2\n"), ("lib/b.py", '"""Now documented."""\n\nX  =  1  # a comment\n')],
)
def test_other_modules_comments_and_docstrings_do_not(tree, file, text):
    folder, digest = tree
    before = digest()
    (folder / file).write_text(text)
    assert digest() == before


def test_a_new_import_changes_the_digest(tree):
    folder, digest = tree
    before = digest()
    (folder / "lib/b.py").write_text("import lib.c\nX = 1\n")
    assert digest() != before


def test_what_was_found_before_is_looked_up_and_found_anew_after_any_change(tree, monkeypatch):
    """Whether kept, changed since, of an edited digest module, or damaged: the digest is that of the sources."""
    folder, digest = tree
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sound = digest()
    assert not (folder / "__pycache__").exists()
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert digest() == sound
    (kept,) = (folder / "__pycache__").iterdir()
    with monkeypatch.context() as context:
        context.setattr(ast, "parse", None)
        assert digest() == sound
    found = json.loads(kept.read_text())
    for damaged in (b"", b"[]", b"{}", b"\xff", json.dumps({**found, "modules": {"s.py": 1}}).encode()):
        kept.write_bytes(damaged)
        assert digest() == sound
    assert json.loads(kept.read_text()) == found
    of_another = {name: [content, names, "other"] for name, (content, names, _) in found["modules"].items()}
    kept.write_text(json.dumps({"by": "another", "modules": of_another}))
    assert digest() == sound
    date = (folder / "lib/b.py").stat()
    (folder / "lib/b.py").write_text("X = 2\n")  # of the same size and, as from an archive, the same date
    os.utime(folder / "lib/b.py", ns=(date.st_atime_ns, date.st_mtime_ns))
    changed = digest()
    assert changed != sound
    assert digest() == changed
    (folder / "lib/b.py").write_text("X = 1\n")
    assert digest() == sound
