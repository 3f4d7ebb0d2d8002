"""Each test has one level, so that `make test-fast` leaves out all that runs the workflow and nothing else."""

from pathlib import Path

import snakemake_server
from conftest import LEVELS, SLOW


def test_each_file_has_one_level():
    files = sorted(path.stem.removeprefix("test_") for path in Path(__file__).parent.rglob("test_*.py"))
    listed = sorted(name for names in LEVELS.values() for name in names.split())
    assert listed == files


def test_each_test_has_one_level(request):
    levels = {*LEVELS, "browser"}
    wrong = {}
    for item in request.session.items:
        found = [mark.name for mark in item.iter_markers() if mark.name in levels]
        if len(found) != 1:
            wrong[item.nodeid] = found
    assert wrong == {}


def test_slow_tests_are_there():
    for file, names in SLOW.items():
        assert file in LEVELS["unit"].split()
        text = Path(__file__).with_name(f"test_{file}.py").read_text(encoding="utf-8")
        assert [name for name in names.split() if f"\ndef test_{name}(" not in text] == []


def test_nothing_that_tests_import_changes_the_environment():
    """Else each run of the workflow starts a Snakemake of its own, which costs a second."""
    assert snakemake_server._read_at_start() == snakemake_server.USUAL
