"""Killed at any instant and started again with the same command: the same bytes as undisturbed.

CELLTRACES_KILLS sets the number of kills (`make torture`: 200).
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import PYTHON, Checkout, Outcome, small_config
from process_tools import apart, start, wait_for
from results_tools import assert_same, results_of
from small_disk import small_disk
from snakemake_server import run_alone, run_snakemake

KILLS = int(os.environ.get("CELLTRACES_KILLS", "4"))


def kill_tree(process, with_signal=signal.SIGKILL):
    """Send a signal to a process and everything it started, all at once."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(with_signal)
    process.communicate()


@pytest.fixture(scope="module")
def undisturbed(movies, finished_fov):
    """Results of a run of one FOV that nothing disturbed, and its config."""
    return results_of(finished_fov), small_config(movies, fovs="0")


def wait_for_job(process, number):
    """Read what a run says until it begins its job of this number, from 1; False where the run ends before."""
    for line in process.stdout:
        number -= re.match(r"Job \d+: ", line) is not None
        if number == 0:
            return True
    return False


@pytest.mark.torture
def test_killed_at_random_instants_and_started_again(undisturbed, tmp_path):
    """While it plans, and at any time in and between any of its jobs."""
    expected, config = undisturbed
    rng = random.Random(os.environ.get("CELLTRACES_KILL_SEED", "1"))
    kills = rounds = 0
    while kills < KILLS:
        checkout = Checkout(tmp_path / f"round_{rounds}")
        rounds += 1
        to_begin = 14  # jobs, or somewhat less
        for _ in range(rng.randint(1, 4)):
            process = start(checkout, config, "--verbose")
            number = rng.randint(0, to_begin)
            if number == 0 or wait_for_job(process, number):
                time.sleep(rng.uniform(0, 1) if number else rng.uniform(0.3, 3))
            if process.poll() is None:
                kill_tree(process)
                kills += 1
            else:
                process.communicate()
            to_begin = max(to_begin - number, 1)
        outcome = checkout.run(config)
        assert outcome.code == 0, outcome.text
        assert_same(results_of(checkout.folder / "results"), expected)
    print(f"{kills} kills in {rounds} runs, no byte differs")


@pytest.mark.parametrize("moment", ["Copying small FOV 000", "Segmenting small FOV 000", "Tracking small FOV 000"])
def test_killed_while_its_jobs_live_on(undisturbed, tmp_path, moment):
    """The jobs of a run whose own process alone was killed end before the next run begins."""
    expected, config = undisturbed
    checkout = Checkout(tmp_path)
    process = start(checkout, config, "--verbose")
    wait_for(process, moment)
    time.sleep(0.5)
    process.kill()
    # With other parameters, so that what the jobs left behind would be wrong.
    changed = {**config, "params": {**config["params"], "morph_size": 5, "tile_size": 50, "max_gap": 0}}
    outcome = checkout.run(changed)
    assert outcome.code == 0, outcome.text
    process.communicate()
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    assert_same(results_of(checkout.folder / "results"), expected)


@pytest.mark.parametrize(
    ("with_signal", "to_jobs"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGTERM, True)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM to the jobs as well"],
)
def test_stopped_and_started_again(undisturbed, tmp_path, with_signal, to_jobs):
    expected, config = undisturbed
    checkout = Checkout(tmp_path)
    process = start(checkout, config)
    wait_for(process, " jobs to run")
    log = checkout.folder / "results/logs/small/fov_000/copy.log"
    while not log.exists() and process.poll() is None:  # then jobs have begun, and others begin to import
        time.sleep(0.05)
    # A signal can fall where Python swallows it (in an import, in a callback): a person presses the key again.
    for _ in range(3):
        if process.poll() is None:
            os.killpg(process.pid, with_signal) if to_jobs else process.send_signal(with_signal)
            time.sleep(2)
    text = process.communicate(timeout=600)[0]
    assert process.returncode != 0
    assert re.search(
        r"^Stopped: \d+ of \d+ jobs are done\. To go on, run the same command again\.$", text, re.MULTILINE
    )
    assert "Traceback" not in text
    assert "failed: " not in text
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    assert_same(results_of(checkout.folder / "results"), expected)


@pytest.mark.parametrize(
    ("cores", "run"), [(1, run_snakemake), (4, run_alone)], ids=["1 core", "4 cores, and sets in orders of their own"]
)
def test_any_number_of_cores_in_any_folder_gives_the_same_bytes(movies, finished_run, tmp_path, cores, run):
    """Also in processes that Python starts, in each of which sets of texts have another order."""
    checkout = Checkout(tmp_path / "with a space" / "ünïcode")
    config = checkout.configure(small_config(movies))
    done = run(PYTHON, ["--cores", str(cores), "--configfile", config], checkout.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(results_of(checkout.folder / "results"), results_of(finished_run))


def test_two_runs_at_once_on_the_same_results(undisturbed, tmp_path):
    expected, config = undisturbed
    checkout = Checkout(tmp_path)
    first = start(checkout, config, "--verbose")
    wait_for(first, "Copying small FOV 000")
    second = checkout.run(None)
    assert second.code != 0
    lines = [line for line in second.text.splitlines() if line.startswith("output_dir: another run (process ")]
    assert len(lines) == 1
    assert "Traceback" not in second.text
    text, _ = first.communicate()
    assert first.returncode == 0, text
    assert_same(results_of(checkout.folder / "results"), expected)


def fill(folder, keep):
    """Fill the file system of a folder up to `keep` bytes."""
    stats = os.statvfs(folder)
    with open(folder / "filler", "wb") as file:
        file.write(b"\0" * max(stats.f_bavail * stats.f_frsize - keep, 0))


@pytest.fixture
def disk(tmp_path):
    """A file system of 24 MB, where the tests may mount one."""
    with small_disk(tmp_path / "disk", 24):
        yield tmp_path / "disk"


@pytest.mark.parametrize("keep", [60_000, 600_000, 2_500_000])
def test_full_disk_then_room_again(undisturbed, tmp_path, disk, keep):
    expected, config = undisturbed
    checkout = Checkout(tmp_path / "run")
    config = {**config, "output_dir": str(disk / "results")}
    fill(disk, keep)
    outcome: Outcome = checkout.run(config)
    assert outcome.code != 0
    (disk / "filler").unlink()
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    assert_same(results_of(disk / "results"), expected)


def test_a_disk_that_becomes_read_only(undisturbed, tmp_path, disk):
    expected, config = undisturbed
    checkout = Checkout(tmp_path / "run")
    config = {**config, "output_dir": str(disk / "results")}
    process = start(checkout, config, "--verbose")
    wait_for(process, "Segmenting small FOV 000")
    remount = subprocess.run(["mount", "-o", "remount,ro", disk], check=False)
    text = process.communicate()[0]
    if remount.returncode == 0:  # busy while a job has a file open for writing
        assert process.returncode != 0, text
        outcome = checkout.run(None)
        assert outcome.code != 0
        assert f"output_dir: cannot write to '{disk}/results' (Read-only file system)" in outcome.text
        assert "Traceback" not in outcome.text
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    outcome = checkout.run(None)
    assert outcome.code == 0, outcome.text
    assert_same(results_of(disk / "results"), expected)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows")
def test_tests_that_are_killed_leave_nothing_mounted(tmp_path):
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from small_disk import small_disk
with small_disk(Path("disk"), 1):
    print(Path("/proc/self/mountinfo").read_text().count({str(tmp_path)!r}), flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    mounted = process.stdout.readline()
    process.kill()
    process.wait()
    if mounted == "":
        pytest.skip("mounting a small file system needs root, and Linux")
    assert mounted == "1\n"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits")
def test_too_little_memory_then_enough(undisturbed, tmp_path):
    expected, config = undisturbed
    checkout = Checkout(tmp_path)
    limit = 400 << 10  # kB of address space: not enough for the libraries of some stages
    command = [PYTHON, "-m", "snakemake", "--cores", "2", "--configfile", checkout.configure(config)]
    starved = subprocess.Popen(
        ["sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh", *command],
        cwd=checkout.folder,
        env=apart(checkout.folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        starved.wait(timeout=60)
    except subprocess.TimeoutExpired:  # Snakemake's scheduler waits for ever for a job whose thread could not begin:
        kill_tree(starved)  # a person ends it
    assert starved.returncode != 0
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    assert_same(results_of(checkout.folder / "results"), expected)


def test_clocks_that_disagree(undisturbed, movies, tmp_path):
    """A movie, and results, from machines whose clocks are ahead: the same bytes, and a movie's date reruns nothing."""
    expected, config = undisturbed
    checkout = Checkout(tmp_path / "run")
    shutil.copy(movies / "small.nd2", tmp_path / "small.nd2")
    config = {**config, "datasets": {"small": str(tmp_path / "small.nd2")}}
    ahead = time.time() + 1_000_000
    os.utime(tmp_path / "small.nd2", (ahead, ahead))
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    assert checkout.run(None, "-n").jobs == {}
    for path in (checkout.folder / "results/small/fov_000/images.zarr/fl_ch_1").rglob("*"):
        os.utime(path, (ahead, ahead))
    outcome = checkout.run(None)
    assert outcome.code == 0, outcome.text
    assert_same(results_of(checkout.folder / "results"), expected)


def test_a_folder_that_cannot_be_written(undisturbed, tmp_path):
    _, config = undisturbed
    checkout = Checkout(tmp_path)
    (tmp_path / "file").write_text("")
    outcome = checkout.run({**config, "output_dir": "file/results"})
    assert outcome.code != 0
    assert "output_dir: cannot write to" in outcome.text
    assert "Traceback" not in outcome.text
