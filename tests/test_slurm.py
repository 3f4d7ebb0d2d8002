"""A real Slurm: the page docs/cluster.md word by word, a node that dies, memory that runs out, cancelling.

`make test-slurm` starts a Slurm on this machine and runs these; without it they are skipped.
"""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from conftest import PYTHON, ROOT, Checkout, small_config
from process_tools import hearing_ctrl_c
from results_tools import assert_same, results_of

pytestmark = pytest.mark.skipif(
    "CELLTRACES_SLURM" not in os.environ, reason="`make test-slurm` starts a Slurm for these"
)

HUNGRY = """
import time

def hungry(image, mask, context):
    if (context.label, context.frame) == (1, 0):
        block = bytearray(800_000_000)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(4)
    return 1

PHASE_FEATURES = {"hungry": hungry}
"""


def slurm(*words):
    """What a Slurm command prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def sandbox(what):
    subprocess.run([ROOT / ".ci/slurm", what], check=True, stdout=subprocess.DEVNULL)


def wait_until(true, seconds=300):
    for _ in range(seconds * 5):
        if true():
            return
        time.sleep(0.2)
    pytest.fail(f"{true} is not so after {seconds} s; squeue says:\n{slurm('squeue')}")


def jobs():
    """State, memory and number of restarts of each job Slurm remembers, by number."""
    lines = slurm("scontrol", "show", "job", "--oneliner").splitlines()
    fields = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]
    return {int(job["JobId"]): job for job in fields if "JobId" in job}


class Cluster(Checkout):
    """A copy of the workflow whose profile is adapted to the Slurm of the tests, as the page says."""

    def __init__(self, folder):
        super().__init__(folder)
        (folder / ".venv").symlink_to(PYTHON.parents[1])
        for name in ("Makefile", "requirements.txt", "requirements-slurm.txt"):
            shutil.copy2(ROOT / name, folder / name)
        profile = folder / "profiles/slurm/config.yaml"
        text = profile.read_text()
        assert "\n# slurm-status-command: squeue" in text
        text = text.replace("\n# slurm-status-command: squeue", "\nslurm-status-command: squeue")
        text = text.replace("# slurm_partition: my_partition", "slurm_partition: debug")
        text = re.sub(r"(status-checks): \d+", r"\1: 1", text)
        profile.write_text(text)
        self.before = set(jobs())
        self.run_now = None

    def start(self, config):
        """Start the workflow on the cluster."""
        command = [PYTHON, "-m", "snakemake", "--profile", "profiles/slurm", "--configfile"]
        with hearing_ctrl_c():
            self.run_now = subprocess.Popen(
                [*command, self.configure(config)],
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return self.run_now

    def jobs(self):
        """The Slurm jobs submitted from here, by number."""
        return {number: job for number, job in jobs().items() if number not in self.before}

    def fov_jobs(self):
        """Those that do the stages of a FOV."""
        return {number: job for number, job in self.jobs().items() if job["Comment"].startswith("rule_fov_")}

    def log(self, stage, fov="000"):
        return self.folder / f"results/logs/small/fov_{fov}/{stage}.log"

    def results(self):
        return results_of(self.folder / "results")


@pytest.fixture
def cluster(tmp_path):
    yield (cluster := Cluster(tmp_path / "cluster"))
    if cluster.run_now is not None and cluster.run_now.poll() is None:
        cluster.run_now.kill()
        cluster.run_now.communicate()
    for number in cluster.jobs():
        subprocess.run(["scancel", str(number)], check=False, capture_output=True)


@pytest.fixture
def config(movies):
    return small_config(movies)


@pytest.fixture
def expected(finished_run):
    """Results of the same experiment on a workstation."""
    return results_of(finished_run)


def test_the_page_word_by_word(cluster, config, expected):
    cluster.configure(config)
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/cluster.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    for block in blocks:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block],
            cwd=cluster.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    assert_same(cluster.results(), expected)
    submitted = cluster.jobs()
    assert len(cluster.fov_jobs()) == 2
    assert len(submitted) == 2 + len({"merge", "tidy", "qc", "write_report"})
    assert {job["JobState"] for job in submitted.values()} == {"COMPLETED"}
    assert {job["NumCPUs"] for job in submitted.values()} == {"1"}


def test_a_node_dies_and_returns(cluster, config, expected):
    run = cluster.start(config)
    wait_until(lambda: any(cluster.log("segment", fov).exists() for fov in ("000", "001")))
    sandbox("node-dies")
    time.sleep(2)
    sandbox("node-returns")
    wait_until(lambda: any(job["Restarts"] != "0" for job in cluster.jobs().values()))
    for number, job in cluster.jobs().items():
        if job["JobState"] == "PENDING":  # Slurm would wait for two minutes
            slurm("scontrol", "update", f"JobId={number}", "StartTime=now")
    text, _ = run.communicate(timeout=600)
    assert run.returncode == 0, text
    assert_same(cluster.results(), expected)


def test_what_runs_out_of_memory_gets_more(cluster, movies, tmp_path):
    (tmp_path / "hungry.py").write_text(HUNGRY)
    config = small_config(movies, fovs="0", plugins=[str(tmp_path / "hungry.py")])
    config["channels"]["pc"]["features"] = ["area", "hungry"]
    local = Checkout(tmp_path / "local")
    outcome = local.run(config)
    assert outcome.code == 0, outcome.text
    run = cluster.start(config)
    text, _ = run.communicate(timeout=600)
    assert run.returncode == 0, text
    first, second = (job for _, job in sorted(cluster.fov_jobs().items()))
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    memory = [int(job["MinMemoryNode"].removesuffix("M")) for job in (first, second)]
    assert memory[1] == 2 * memory[0]
    assert_same(cluster.results(), results_of(local.folder / "results"))


def test_stopped_then_a_job_cancelled_then_finished(cluster, movies, finished_fov):
    config = small_config(movies, fovs="0")
    run = cluster.start(config)
    wait_until(lambda: cluster.log("copy").exists())
    for _ in range(3):  # a signal can fall where Python swallows it: a person presses the key again
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
            time.sleep(5)
    run.communicate(timeout=600)
    assert run.returncode != 0
    wait_until(lambda: not {"RUNNING", "PENDING"} & {job["JobState"] for job in cluster.jobs().values()})
    stopped = set(cluster.jobs())
    assert stopped

    run = cluster.start(config)
    wait_until(lambda: any(job["JobState"] == "RUNNING" for job in cluster.jobs().values()))
    again = min(number for number, job in cluster.jobs().items() if job["JobState"] == "RUNNING")
    slurm("scancel", str(again))
    text, _ = run.communicate(timeout=600)
    assert run.returncode == 0, text
    assert cluster.jobs()[again]["JobState"] == "CANCELLED"
    assert_same(cluster.results(), results_of(finished_fov))
