"""Scripts in copies of a process see what they see in a process of their own, and end as they end there."""

import json
import re

from conftest import PYTHON
from snakemake_server import run_alone, run_snakemake

RULE = """
rule {name}:
    {output}threads: 2
    script: "{name}.py"
"""
TELL = """
import atexit, json, os, sys
umask = os.umask(0)
sees = {
    "name": __name__, "file": os.path.basename(__file__), "folder": os.getcwd(), "umask": umask,
    "arguments": [os.path.dirname(argument) for argument in sys.argv], "path": sys.path[0],
    "python": [sys.executable, os.path.dirname(sys.orig_argv[1])], "threads": os.environ["OPENBLAS_NUM_THREADS"],
    "environment": sorted(name for name in os.environ if name != "_"), "input": sys.stdin.read(),
    "ours": sorted(name for name in sys.modules if name.split(".")[0] == "celltraces"),
}
atexit.register(lambda: json.dump(sees, open(snakemake.output[0], "w")))
"""
ENDS = {
    "at_once": "raise SystemExit",
    "with_a_status": "raise SystemExit(3)",
    "with_a_word": "import sys; sys.exit('a word')",
    "by_an_exception": "raise ValueError('a word')",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "crashed": "import os; os.kill(os.getpid(), 11)",
}


def test_a_script_sees_what_it_sees_alone(tmp_path):
    (tmp_path / "Snakefile").write_text(RULE.format(name="tell", output='output: "told.json"\n    '))
    (tmp_path / "tell.py").write_text(TELL)
    sees = []
    for run in (run_snakemake, run_alone):
        done = run(PYTHON, ["--cores", "2", "--force"], tmp_path)
        assert done.returncode == 0, done.stderr
        sees.append(json.loads((tmp_path / "told.json").read_text()))
    copy, alone = sees
    assert copy == alone
    assert copy["folder"] == str(tmp_path)
    assert copy["ours"] == []


def test_scripts_end_as_they_end_alone(tmp_path):
    (tmp_path / "Snakefile").write_text("".join(RULE.format(name=name, output="") for name in ENDS))
    for name, script in ENDS.items():
        (tmp_path / f"{name}.py").write_text(script)
    ends = []
    for run in (run_snakemake, run_alone):
        done = run(PYTHON, ["--cores", "2", "--keep-going", *ENDS], tmp_path)
        assert done.returncode == 1
        text = done.stdout + done.stderr
        said = re.findall(r"(\w+)\.py' (returned.*|died.*)", text)
        words = [line for line in text.splitlines() if line.endswith("a word")]
        ends.append((sorted({*said}), sorted(words)))
    copies, alone = ends
    assert copies == alone
    assert {name for name, _ in copies[0]} == {*ENDS} - {"at_once"}
    assert len(copies[1]) >= 2
