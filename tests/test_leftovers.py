"""What earlier configurations left: exactly what a run of the present one alone would not have written, and no more."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import Checkout, small_config

from celltraces.planning.leftovers import line
from celltraces.results import set_aside

ACCOMPANYING = ("logs", "benchmarks", "checksums")


def results_of(checkout):
    """All files but those that go with the results, and Snakemake's own."""
    root = checkout.folder / "results"
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return {
        name
        for name in names
        if not name.startswith((*ACCOMPANYING, "."))
        and "set_aside-" not in name
        and not name.endswith(".snakemake_timestamp")
    }


def listed(outcome):
    """The paths that the end of a run names, and the command that it gives; nothing where it names none."""
    found = re.search(r"lies what does not belong to this configuration: (.*)\. This moves it .*\n  (.*)", outcome.text)
    return (found[1].split(", "), shlex.split(found[2])) if found else ([], [])


USERS = (
    "curation.csv",
    "edits/anna.jsonl",
    "notes/small_traces.csv",
    "small/all_mine.csv",
    "small/mine_area_ch_0.csv",
    "small/fov_001/small_fov_001_traces_inspected.csv",
    "small/fov_001/exports/mine.tif",
    "small/pictures/figure 1.png",
    "old/fov_000/thoughts.txt",
)


def test_what_is_left_over_is_what_a_run_alone_would_not_have_written(movies, finished_run, tmp_path):
    first = small_config(movies, exports=["ome_tiff", "gif", "pyama_files"])
    first["datasets"]["old"] = str(movies / "small.czi")
    first["fovs"] = {"small": "0-1", "old": "0"}
    first["fits"] = [{"channel": 1, "feature": "intensity_total", "model": "trivial"}]
    second = small_config(movies, fovs="0", samples=[{"name": "named", "fovs": "0"}], params={"cells_store": "zip"})
    del second["channels"]["fl"][1]
    both, alone = Checkout(tmp_path / "both", finished_run), Checkout(tmp_path / "alone")
    outcome = both.run(first, "all", "pictures")
    assert outcome.code == 0, outcome.text
    assert listed(outcome) == ([], [])
    results = both.folder / "results"
    for name in USERS:
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text("dataset,fov,cell,good\n" if name == "curation.csv" else "mine\n")
    before = results_of(both)

    outcome = both.run(second)
    assert outcome.code == 0, outcome.text
    names, command = listed(outcome)
    assert names[-1].endswith(" more")
    assert command[1:4] == ["-m", "snakemake", "set_aside"]
    outcome = both.run_named(command)
    assert outcome.code == 0, outcome.text
    outcome = alone.run(second)
    assert outcome.code == 0, outcome.text
    # Pictures and exports on request would be made by this configuration too, but for those of the dropped channel.
    on_request = {name for name in before if name.startswith(("small/pictures/", "small/fov_000/"))}
    on_request = {name for name in on_request if "exports/" in name or "pictures/" in name or "overlay" in name}
    on_request |= {name for name in before if name.endswith((".npy", "crops.h5"))}
    kept = {name for name in on_request if name.startswith(("small/pictures", "small/fov_000")) and "ch_2" not in name}
    assert results_of(both) == results_of(alone) | set(USERS) | kept
    (aside,) = results.glob("set_aside-*")
    moved = {path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()}
    moved = {name for name in moved if not name.endswith(".snakemake_timestamp")}
    assert before - results_of(both) <= moved <= before
    assert listed(both.run(second)) == ([], [])
    assert both.run(None, "verify").code == 0
    assert "All results belong to the configuration." in both.run(None, "set_aside").text


def test_results_without_cells(movies, finished_fov, tmp_path):
    """Copying alone: cells, traces and all that was made of them belong to nothing any more."""
    both, alone = Checkout(tmp_path / "both", finished_fov), Checkout(tmp_path / "alone")
    copying = small_config(movies, fovs="0", params={"copy_only": True})
    outcome = both.run(copying)
    assert outcome.code == 0, outcome.text
    assert listed(outcome)[0]
    assert both.run(None, "set_aside").code == 0
    assert alone.run(copying).code == 0
    levels = {name for name in results_of(both) if re.search(r"images\.zarr/\w+/1/", name)}  # not told apart
    assert results_of(both) - levels == results_of(alone)


@pytest.mark.unit
def test_moving_twice_on_a_day_overwrites_nothing(tmp_path):
    for turn in range(3):
        file = tmp_path / "d/x.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(turn))
        set_aside.move([file], tmp_path, "2026-11-26")
    found = sorted(tmp_path.glob("set_aside-*"))
    assert [path.name for path in found] == [f"set_aside-2026-11-26{end}" for end in ("", "_2", "_3")]
    assert [(path / "d/x.csv").read_text() for path in found] == ["0", "1", "2"]


@pytest.mark.unit
@pytest.mark.parametrize("n", [0, 1, 5, 7])
def test_a_long_list_is_cut(n):
    said = list(line([Path(f"results/{at}") for at in range(n)], "results", ["snakemake", "-c1"]))
    assert len(said) == min(n, 1)
    assert all(("and 2 more" in text) == (n == 7) and text.endswith("\n  snakemake set_aside -c1") for text in said)
