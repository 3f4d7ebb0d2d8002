"""Runs of the workflow as a person sees them: on a terminal of 40 columns, in a pipe, and commands that only read."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
import tomllib

import pytest
from conftest import PYTHON, ROOT, Checkout, small_config

COLUMNS = 40
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def done(movies, finished_run, tmp_path_factory):
    """The small experiment after a run, in a checkout of its own."""
    checkout = Checkout(tmp_path_factory.mktemp("done"), finished_run)
    checkout.config = small_config(movies)
    return checkout


def on_a_terminal(checkout, *arguments):
    """What a run writes to a terminal of 40 columns, and its exit status."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, COLUMNS, 0, 0))
    command = [PYTHON, "-m", "snakemake", "--cores", "2", *arguments, "--configfile", "my.yaml"]
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=checkout.folder, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 1 << 16):
            written += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    return written.decode(), process.wait()


def only(checkout, *arguments):
    """Standard output of a command."""
    command = [PYTHON, "-m", "snakemake", "--cores", "1", *arguments, "--configfile", "my.yaml"]
    return subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=True).stdout


def test_a_dry_run_says_what_is_in_the_files_and_why_what_would_run(done):
    done.configure({**done.config, "params": {**done.config["params"], "border_margin": 6}})
    lines = only(done, "-n").splitlines()
    assert lines[0].startswith("small: ")
    assert lines[4] == "  channels: 0 Phase contrast (pc), 1 GFP (fl), 2 mCherry (fl)"
    assert lines[6:] == [
        f"9 jobs would run, for 2 FOVs, with celltraces {VERSION}:",
        "  processing_config.yaml says something else: record (1)",
        "  border_margin 5 -> 6: extract (2), qc (1), tidy (1), merge (1), digest (2), write_report (1)",
    ]
    assert only(done, "-n", "--quiet").startswith("9 jobs would run")
    assert "Job stats:" in only(done, "-n", "--verbose")
    done.configure(done.config)
    assert only(done, "-n").splitlines()[-1].startswith("Nothing to be done")


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["--dag"], r"digraph snakemake_dag \{"),
        (["--summary"], r"output_file\tdate"),
        (["--list-rules"], r"all \("),
        (["--list-target-rules"], r"all \("),
    ],
)
def test_commands_that_only_read_print_nothing_else(done, arguments, begins):
    assert re.match(begins, only(done, *arguments))


def test_a_run_on_a_narrow_terminal(done):
    done.configure({**done.config, "report": {"crop_frames": 4}})
    text, code = on_a_terminal(done)
    assert code == 0, text
    shown = re.split(r"[\r\n]+", text)
    line = re.compile(r"\d+/\d+ \d+ %( · FOVs \d/2)?( · 0 failed)?( · (about \d+ s|about \d+ min|a few s) left)?")
    progress = [row.rstrip() for row in shown if line.fullmatch(row.rstrip())]
    done_jobs = [int(row.partition("/")[0]) for row in progress]  # a line comes each second: what is quick has none
    assert done_jobs == sorted(done_jobs)
    assert "FOVs " in progress[0]
    assert progress[-1].startswith("3/3 100 %")
    assert max(map(len, progress)) < COLUMNS
    words = " ".join(text[text.index("Done: 3 jobs in ") :].split())
    assert re.search(r"report: results/small/report.html \(2 FOVs, \d+ of \d+ cells kept\)", words)
    assert "next: " in words
    # Snakemake's own line comes before it reads the workflow; paths are never divided.
    assert [
        row for row in shown if len(row) > COLUMNS and " " in row.strip() and not row.startswith(("Using", "next: "))
    ] == []
    text, code = on_a_terminal(done, "--quiet")
    assert code == 0
    assert "%" not in text


def test_targets_say_where_their_files_are(done):
    done.configure(done.config)
    assert "ome_tiff: results/small/fov_*/exports/*.ome.tif (2)" in done.run(None, "ome_tiff").text
    text = done.run(None, "ome_tiff").text
    assert "Nothing to be done" in text
    assert "ome_tiff: results/small/fov_*/exports/*.ome.tif (2)" in text


def make_check(done, name):
    """`make check`, with the environment that is there (-o: taken as made)."""
    shutil.copy(ROOT / "Makefile", done.folder)
    if not (done.folder / ".venv").exists():
        (done.folder / ".venv").symlink_to(ROOT / ".venv")
    command = ["make", "--silent", "-o", ".venv/.done", "check", f"CONFIG={name}"]
    # As from a terminal: what `make test` tells the makes below it changes what these say.
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(command, cwd=done.folder, env=own, capture_output=True, text=True, check=False)


def test_make_check(done):
    (done.folder / "tab.yaml").write_text("datasets:\n\ta: x\n")
    for name, said in (("tab.yaml", "tab.yaml, line 2, column 1: a tab"), ("absent.yaml", "there is no such file")):
        ran = make_check(done, name)
        assert (ran.returncode, ran.stdout) == (2, "")
        line, by_make = ran.stderr.splitlines()
        assert said in line
        assert by_make.startswith("make: ***")
    done.configure(done.config)
    ran = make_check(done, "my.yaml")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("small: ")
    assert ran.stdout == only(done, "-n")
