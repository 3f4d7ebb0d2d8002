"""What a result was made from lies with it: any clone, folder or spelling of a path plans the same, and copies too."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import PYTHON, Checkout, small_config
from stages import EVERYTHING, EXTRACT, RECORD, TABLES

from celltraces.config.stage_settings import canonical_json
from celltraces.planning import reasons
from celltraces.storage import checksums, provenance


def settings(**values):
    return {"settings": canonical_json(values), "code": "c"}


def test_a_users_file_counts_by_its_content_under_any_name():
    def of(path, digest, function="segment"):
        return provenance.record_of(
            settings(method=f"{path}:{function}", plugins=[path], raw=path, files={path: digest}), {}
        )

    assert of("a.py", "1") == of("/elsewhere/b.py", "1")
    for other in (of("a.py", "2"), of("a.py", "1", "other")):
        assert provenance.changes(of("a.py", "1"), other)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (settings(a=1, b=3), ["b"]),
        (settings(a=3, b=1), ["a", "b"]),  # two values swapped
        (settings(a=1, b=3, c=0), ["b"]),  # c came with it, as a parameter that only another method has
        (settings(a=1, b=2, c=0), ["c"]),
        (settings(a=1), []),  # b is not used any more, and what uses it instead is named beside it
        ({**settings(a=1, b=2), "code": "d"}, ["code"]),
    ],
)
def test_a_change_is_named(other, names):
    recorded = provenance.record_of(settings(a=1, b=2), {"x": "1"})
    changes = reasons.reasons_to_run(recorded, provenance.record_of(other, {"x": "1"}))
    assert [change.split(":")[0] for change in changes] == names


def test_a_long_setting_counts_too():
    first, second = ([*range(500), last] for last in (1, 2))
    records = [provenance.record_of(settings(times=times), {}) for times in (first, second)]
    assert len(json.dumps(records[0])) < 500
    assert provenance.changes(*records)


def made(root, stage, content, **values):
    """An output of a job and its list."""
    output, listing = root / "d/fov_000/x.txt", root / f"checksums/d/fov_000/{stage}.txt"
    output.parent.mkdir(parents=True, exist_ok=True)
    listing.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(content)
    provenance.write(listing, provenance.record_of(settings(**values), {}), [output])
    return output, listing


def test_a_list_tells_what_is_in_a_file_and_what_it_was_made_from(tmp_path):
    output, listing = made(tmp_path, "a", b"1", size=1)
    assert list(checksums.read(listing)) == [output]
    (digest,) = provenance.digests_of(tmp_path, [output]).values()
    assert provenance.as_listed(tmp_path, output)
    os.utime(output, (1, 1))
    assert provenance.as_listed(tmp_path, output)
    output.write_bytes(b"2")
    assert not provenance.as_listed(tmp_path, output)
    assert provenance.digests_of(tmp_path, [output]) == {"d/fov_000/x.txt": digest}
    for content, size in ((b"2", 1), (b"1", 2)):
        made(tmp_path, "a", content, size=size)
        assert provenance.digests_of(tmp_path, [output]) != {"d/fov_000/x.txt": digest}
    other = tmp_path / "d/fov_000/other.txt"
    assert provenance.digests_of(tmp_path, [other, "elsewhere.txt"]) == {"d/fov_000/other.txt": "not made yet"}
    other.write_text("a user's")
    assert provenance.digests_of(tmp_path, [other, "elsewhere.txt"]) == {}


@pytest.mark.parametrize("text", ["", "# {\n", "# []\n", "# 1\n", "00000000 1 d/x\n", "\x00"])
def test_a_damaged_record_is_none(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    assert provenance.read(tmp_path / "a.txt") is None
    assert provenance.read(tmp_path / "b.txt") is None


# ------------------------------------------------------------------------------------------------ the workflow's plans


@pytest.fixture(scope="module")
def done(movies, tmp_path_factory):
    """A finished run of FOV 0 with its input and a plugin beside it, and another clone of the workflow."""
    checkout = Checkout(tmp_path_factory.mktemp("a"))
    shutil.copy(movies / "small.nd2", checkout.folder / "small.nd2")
    (checkout.folder / "plugin.py").write_text("def segment(image):\n    return (image > 9000).astype(int)\n")
    checkout.base = small_config(movies, fovs="0", samples=[{"name": "all", "fovs": "0"}])
    checkout.base["datasets"] = {"small": "small.nd2"}
    checkout.base["params"]["segmentation_method"] = "plugin.py:segment"
    outcome = checkout.run(checkout.base)
    assert outcome.code == 0, outcome.text
    checkout.other = Checkout(tmp_path_factory.mktemp("b"))
    return checkout


def elsewhere(done, results="results", **params):
    """The config of the run with absolute paths, for any folder."""
    folder = done.folder
    config = {**done.base, "output_dir": str(folder / results), "datasets": {"small": str(folder / "small.nd2")}}
    config["params"] = {**done.base["params"], "segmentation_method": f"{folder}/plugin.py:segment", **params}
    return config


@pytest.mark.parametrize("clone", ["same", "other"])
def test_another_spelling_or_clone_makes_nothing_and_notices_a_change(done, clone):
    checkout = done if clone == "same" else done.other
    outcome = checkout.run(elsewhere(done), "-n")
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == {}
    assert "provenance" not in outcome.text
    assert set(checkout.planned(elsewhere(done, background_weight=0.0))) == EXTRACT | RECORD
    jobs = checkout.planned({**elsewhere(done, background_weight=0.0), "fovs": "all", "samples": []})
    assert jobs["extract"] == 2
    assert jobs["copy"] == 1


def test_another_clone_with_other_code_makes_what_depends_on_it(done):
    source = done.other.folder / "scripts/celltraces/features/cell_features.py"
    before = source.read_text()
    source.write_text(before + "\n\ndef _added():\n    return 1\n")
    try:
        assert set(done.other.planned(elsewhere(done))) == EXTRACT
    finally:
        source.write_text(before)


def test_the_same_input_under_another_name_or_date_makes_nothing(done):
    shutil.copy(done.folder / "small.nd2", done.folder / "renamed.nd2")  # today's date
    (done.folder / "moved").mkdir()
    shutil.copy(done.folder / "plugin.py", done.folder / "moved/p.py")
    config = {**done.base, "datasets": {"small": "renamed.nd2"}}
    config["params"] = {**config["params"], "segmentation_method": "moved/p.py:segment"}
    assert done.planned(config) == {}


def test_an_older_input_with_other_content_is_noticed_by_another_clone(done):
    data = bytearray((done.folder / "small.nd2").read_bytes())
    data[len(data) // 2] ^= 1
    path = done.folder / "replaced.nd2"
    path.write_bytes(data)
    os.utime(path, (time.time() - 10_000_000,) * 2)
    config = {**elsewhere(done), "datasets": {"small": str(path)}}
    assert set(done.other.planned(config)) == EVERYTHING | RECORD


KILLS = """
import os
import signal

def segment(image):
    try:
        open({flag!r}, "x").close()
    except FileExistsError:
        return (image > 9000).astype(int)
    os.killpg(0, signal.SIGKILL)
"""


def test_what_a_killed_run_left_and_another_clone_finished_is_not_made_again(done):
    """Snakemake notes below the working folder which jobs were at work."""
    plugin = done.folder / "kills.py"
    plugin.write_text(KILLS.format(flag=str(done.folder / "was killed")))
    config = elsewhere(done, "interrupted", segmentation_method=f"{plugin}:segment")
    command = [PYTHON, "-m", "snakemake", "--cores", "1", "--configfile", done.configure(config)]
    killed = subprocess.run(command, cwd=done.folder, start_new_session=True, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {"segment", "extract"} <= set(done.planned(config))
    assert done.other.run(config).code == 0
    assert done.planned(config) == {}


def backwards(source, target):
    """Copy a folder without its dates, what was made last first."""
    files = sorted(source.rglob("*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    now = time.time() - len(files)
    for at, path in enumerate(files):
        to = target / path.relative_to(source)
        if path.is_dir():
            to.mkdir(parents=True, exist_ok=True)
        else:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
            os.utime(to, (now + at, now + at))


def test_copied_and_moved_results_make_nothing_again(done):
    backwards(done.folder / "results", done.folder / "copied")
    outcome = done.run(elsewhere(done, "copied"), "-n")
    assert outcome.jobs == {}, outcome.text
    assert "provenance" not in outcome.text
    (done.folder / "copied").rename(done.folder / "moved_results")
    assert done.other.planned(elsewhere(done, "moved_results")) == {}
    # What was replaced since is still told from what was copied.
    traces = done.folder / "moved_results/small/fov_000/small_fov_000_traces.csv"
    traces.write_text(traces.read_text().replace("True", "False", 1))
    assert set(done.other.planned(elsewhere(done, "moved_results"))) == TABLES | {"digest"}


def test_results_without_records_are_made_once_and_it_is_said_why(done):
    """As an earlier release left them."""
    shutil.copytree(done.folder / "results", done.folder / "earlier")
    for listing in (done.folder / "earlier/checksums").rglob("*.txt"):
        listing.write_text("".join(line for line in listing.open() if not line.startswith("#")))
    outcome = done.run(elsewhere(done, "earlier"), "-n")
    assert set(outcome.jobs) == EVERYTHING | RECORD | {"merge"}
    assert outcome.text.count("which did not record what they were made from, are made again") == 1
    # One list lost alone, as by a job that was killed.
    shutil.copytree(done.folder / "results", done.folder / "killed")
    Path(done.folder / "killed/checksums/small/fov_000/extract.txt").unlink()
    assert set(done.run(elsewhere(done, "killed"), "-n").jobs) == EXTRACT
    touched = done.run(elsewhere(done, "killed", background_weight=0.0), "--touch")
    assert touched.code == 0, touched.text
    assert done.planned(elsewhere(done, "killed", background_weight=0.0)) == {}
