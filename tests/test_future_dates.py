"""Dates in the future become dates just past, in their order; all others stay."""

import os

from hypothesis import given
from hypothesis import strategies as st

from celltraces.runs import future_dates


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=8))
def test_dates_in_the_future(tmp_path_factory, offsets):
    folder = tmp_path_factory.mktemp("results")
    now = 1_700_000_000
    paths = []
    for at, offset in enumerate(offsets):
        path = folder / f"{at}"
        if at % 2:
            path.mkdir()
            (path / ".snakemake_timestamp").touch()
            os.utime(path / ".snakemake_timestamp", (now + offset, now + offset))
        else:
            path.touch()
            os.utime(path, (now + offset, now + offset))
        paths.append(path)
    future_dates.bring_back([*paths, folder / "absent"], now)
    dates = [(path / ".snakemake_timestamp" if path.is_dir() else path).stat().st_mtime_ns for path in paths]
    for offset, date in zip(offsets, dates, strict=True):
        if offset <= 0:
            assert date == (now + offset) * 10**9
        assert date <= now * 10**9
    order = sorted(range(len(offsets)), key=lambda at: offsets[at])
    for first, second in zip(order, order[1:], strict=False):
        if offsets[first] < 0 or offsets[first] == offsets[second] or offsets[first] > 0:
            assert (dates[first] < dates[second]) == (offsets[first] < offsets[second])
