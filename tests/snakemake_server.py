"""Snakemake for the tests' many short runs: each is a copy of a process that has imported Snakemake already.

A plan of the small experiment costs two seconds of a processor, one of them for imports of packages that are not ours.
Nothing of the workflow is imported before the copy is made: each run reads the Snakefile, rules and modules of its own
folder. What a user types is run as it stands by tests/test_commands.py and others.
"""

import faulthandler
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import partial

import copies  # first: see there
import script_server

PATIENCE_S = 900  # a run that takes longer hangs: it says where, and ends, before pytest ends the test's process
_servers = {}  # by their Python
READ_AT_START = ("PYTHON", "HOME", "XDG_", "LANG", "LC_", "TZ", "OMP_", "OPENBLAS_")


def _read_at_start():
    """The variables that count while Python starts and imports, where a copy is past that."""
    return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_START)}


USUAL = _read_at_start()
# What a run of any workflow imports, and ours and its scripts besides, as far as it is not ours: 0.9 s.
IMPORTED = (
    *("snakemake.cli", "snakemake.report.html_reporter", "snakemake.storage", "smart_open", "pandas"),
    *("cv2", "jsonschema", "numcodecs.blosc", "numcodecs.zstd", "pyarrow.parquet", "yaml"),
)


def _server(python):
    """The process that is copied. It ends with the one that started it, when its standard input is closed."""
    if python not in _servers:
        process = subprocess.Popen([python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        _servers[python] = process
    return _servers[python]


def end_servers():
    """Have the next run begin in a new process."""
    while _servers:
        with _servers.popitem()[1]:
            pass  # its standard input is closed, for which it ends


def run_snakemake(python, arguments, folder):
    """What `python -m snakemake ARGUMENTS`, run in a folder, wrote, and its exit status, as subprocess.run gives it."""
    if sys.platform != "linux" or _read_at_start() != USUAL:  # others do not copy a process that has imported numpy
        return run_alone(python, arguments, folder)
    umask = os.umask(0)
    os.umask(umask)
    server = _server(str(python))
    # Files without names, of which a test that is killed leaves none.
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as stdout,
        tempfile.TemporaryFile("w+", encoding="utf-8") as stderr,
    ):
        request = {"arguments": [*map(str, arguments)], "folder": str(folder), "umask": umask}
        request["environment"] = dict(os.environ)
        request["outputs"] = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (stdout, stderr)]
        try:
            print(json.dumps(request), file=server.stdin, flush=True)
            code = int(server.stdout.readline())
        except BaseException:  # of a test that took too long: the next answer would be that of its run
            del _servers[str(python)]
            server.kill()
            raise
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


def run_alone(python, arguments, folder):
    """As `run_snakemake`, with nothing but processes that Python starts."""
    command = [python, "-m", "snakemake", *arguments]
    where = {"cwd": folder, "env": dict(os.environ)}  # which lacks what libraries in C have set
    return subprocess.run(command, **where, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _become_snakemake(arguments, folder, umask, environment, outputs):
    """Run Snakemake in this process, as `python -m snakemake` does, and end it."""
    script_server.let_go()
    files = [os.open(os.devnull, os.O_RDONLY), *(os.open(path, os.O_WRONLY) for path in outputs)]
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    sys.path[0] = folder
    sys.argv = ["", *arguments]
    sys.orig_argv = [sys.executable, "-m", "snakemake", *arguments]
    run = partial(runpy.run_module, "snakemake", run_name="__main__", alter_sys=True)
    copies.run_and_end(run, folder, umask, environment, files)


def _serve():
    """Make a copy of this process for each line of standard input, and tell its exit status."""
    # As the Snakefile has it before Snakemake imports pandas. A copy has none of the threads.
    told = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for module in IMPORTED:
        importlib.import_module(module)
    if told is None:
        del os.environ["OPENBLAS_NUM_THREADS"]
    copies.check_threads()
    gc.freeze()  # no copy looks for garbage in what was imported
    script_server.use(script_server.start())
    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answers.close()
            _become_snakemake(**json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
