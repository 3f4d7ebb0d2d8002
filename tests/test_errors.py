"""What goes on without an optional part that fails ends where the machine is the cause: the next run makes the part."""

import errno
import os

import pytest

import cache_levels
import compare_samples
import write_report
from celltraces.errors import UserError, raise_what_passes
from celltraces.report import build, digest


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_memory(*_, **__):
    raise MemoryError


def display_level(folder, fail, monkeypatch):
    monkeypatch.setattr(cache_levels, "cache_level", fail)
    cache_levels.main([str(folder / "pc_ch_0/0")], [str(folder / "pc_ch_0/1")])


def report(folder, fail, monkeypatch):
    monkeypatch.setattr(write_report, "build_report", fail)
    write_report.main(str(folder / "report.html"))


def part_of_the_report(folder, fail, monkeypatch):
    with build.tolerant([], "traces"):
        fail()


def digest_of_a_fov(folder, fail, monkeypatch):
    digest.write_digest(folder / "digest.zip", fail)


def comparison(folder, fail, monkeypatch):
    for writer in ("write_cells", "write_fovs", "write_effects"):
        monkeypatch.setattr(compare_samples.comparison_tables, writer, lambda *_: None)
    monkeypatch.setattr(compare_samples.comparison, "build_comparison", fail)
    names = [str(folder / name) for name in ("report.html", "cells.csv", "fovs.csv", "effects.csv")]
    compare_samples.main(
        [], [], names[0], names[1:], datasets=[], samples=[], columns=[], channels=[], fits=[], size_mb=1
    )


@pytest.mark.parametrize("part", [display_level, report, part_of_the_report, digest_of_a_fov, comparison])
@pytest.mark.parametrize("fail", [no_room, no_memory])
def test_nothing_is_left_out_for_good_where_the_machine_is_the_cause(tmp_path, monkeypatch, part, fail):
    with pytest.raises((OSError, MemoryError)):
        part(tmp_path, fail, monkeypatch)
    assert [*tmp_path.rglob("*")] == []


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "no such file"), UserError("damaged"), ValueError()])
def test_what_does_not_pass_is_left_to_who_asks(error):
    raise_what_passes(error)
