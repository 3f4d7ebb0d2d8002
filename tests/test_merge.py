"""Merged and tidy tables: good rows only, with the times of their own FOV. (A person's decisions: test_curation.py.)"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Checkout, small_config

import merge_samples
import tidy_traces
from celltraces.labels import lineage
from celltraces.results.curation import good_traces


@pytest.fixture
def traces(tmp_path):
    """Traces of FOVs 3 and 1, of which cell 9 is not good in frame 0, and their times."""
    columns = {"cell": [7, 7, 9, 9], "frame": [0, 2, 0, 2], "good": [True, True, False, True], "x": [1.5, 2, 3, 4]}
    paths = []
    for fov in (3, 1):
        paths.append(str(tmp_path / f"d_fov_{fov:03d}_traces.csv"))
        pd.DataFrame({"fov": fov, **columns}).to_csv(paths[-1], index=False)
    return paths, [[0.0, 10.0, 21.0], [0.5, 10.5, 21.0]]


def kept(traces, decisions=()):
    """(fov, cell, frame) of the good rows."""
    tables = good_traces(*traces, decisions)
    return {tuple(row) for table in tables for row in table[["fov", "cell", "frame"]].to_numpy().tolist()}


ALL = {(fov, cell, frame) for fov in (3, 1) for cell in (7, 9) for frame in (0, 2)}
AS_EXTRACTED = ALL - {(3, 9, 0), (1, 9, 0)}


def test_good_rows_with_the_times_of_their_own_fov(traces):
    merged = merge_samples.merge_traces(list(good_traces(*traces, [])), "x")
    assert merged.to_numpy().tolist() == [
        [0.0, 3, 7, 1.5],
        [0.5, 1, 7, 1.5],
        [21.0, 1, 7, 2.0],
        [21.0, 1, 9, 4.0],
        [21.0, 3, 7, 2.0],
        [21.0, 3, 9, 4.0],
    ]


def test_values_keep_their_digits(tmp_path):
    """Six decimals, as ever, and what they would round has nine digits: a user's feature may be small."""
    values = [0.853, 12.5, -1.25e-7, 3.3333333333e-5, 123456789.123, 0.0, np.nan]
    frame = pd.DataFrame({"time": 1 / 3, "fov": 0, "cell": 1, "value": values})
    (tmp_path / "t.csv").write_text(merge_samples.as_csv(frame))
    read = pd.read_csv(tmp_path / "t.csv")
    np.testing.assert_allclose(read["value"], values, rtol=1e-8)
    plain = frame[frame["value"].isna() | (frame["value"].abs() >= 1e-3) | (frame["value"] == 0)]
    assert merge_samples.as_csv(plain) == plain.to_csv(index=False, float_format="%.6f", na_rep="NaN")
    assert merge_samples.as_csv(frame[:0]) == "time,fov,cell,value\n"


def test_fovs_without_cells(tmp_path):
    path = tmp_path / "d_fov_000_traces.csv"
    path.write_text("fov,cell,frame,good,x\n")
    tables = list(good_traces([str(path)], [[0.0]], []))
    merged = merge_samples.merge_traces(tables, "x")
    assert list(merged.columns) == ["time", "fov", "cell", "value"]
    assert len(merged) == 0


def test_what_is_missing_stands_above_the_table(traces, tmp_path):
    settings = {
        "columns": ["x"],
        "times_min": traces[1],
        "missing": {"4": "failed", "6": "not among fovs"},
    }
    merge_samples.main(traces[0], [str(tmp_path / "s_x.csv")], [], **settings)
    lines = (tmp_path / "s_x.csv").read_text().splitlines()
    assert lines[:3] == ["# Time units: min", "# Missing FOVs: 4 (failed), 6 (not among fovs)", "time,fov,cell,value"]
    assert len(pd.read_csv(tmp_path / "s_x.csv", comment="#")) == len(AS_EXTRACTED)


@pytest.mark.workflow
def test_the_tidy_table_says_the_same_as_csv_and_parquet(movies, finished_run, tmp_path):
    checkout = Checkout(tmp_path, finished_run)
    config = small_config(movies, samples=[{"name": "b", "fovs": "0-1"}], exports=["anndata"])
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    folder = tmp_path / "results/small"

    def exported(fov):
        """The cells of a FOV in the table for another program."""
        with h5py.File(folder / f"fov_{fov:03d}/exports/small_fov_{fov:03d}.h5ad") as file:
            return set(file["obs/cell"][:].tolist())

    table = pd.read_csv(folder / "small_traces.csv")
    pd.testing.assert_frame_equal(
        table, pq.read_table(folder / "small_traces.parquet").to_pandas(), check_dtype=False, rtol=1e-15
    )
    expected = pd.concat(
        pd.read_csv(folder / f"fov_{fov:03d}/small_fov_{fov:03d}_traces.csv") for fov in (0, 1)
    ).reset_index()
    for column in set(expected.columns) - {"good", "index"}:
        np.testing.assert_array_equal(table[column], expected[column])
    assert set(table["sample"]) == {"b"}
    # the microscope takes FOV 1 two seconds after FOV 0, and both have one clock
    np.testing.assert_allclose(table.time_min, table.frame * 10 + table.fov * 2 / 60, atol=1e-5)

    # A person's decision reruns what comes after extraction, and is undone by taking it away.
    before = (folder / "b_area_ch_0.csv").read_bytes()
    cell = int(table.cell[table.fov == 0].iloc[0])
    curation = tmp_path / "results/curation.csv"
    curation.write_text(f"dataset,fov,cell,good,note\nsmall,0,{cell},no,dead\n")
    outcome = checkout.run(None)
    again = {"digest", "merge", "tidy", "write_report", "export_anndata"}
    assert set(outcome.jobs) == {"apply_curation", *again}
    assert exported(0) == set(table.cell[table.fov == 0]) - {cell}
    for name, value in (("small_traces.csv", "frame"), ("b_area_ch_0.csv", "value")):
        left = pd.read_csv(folder / name, comment="#")
        assert not ((left.fov == 0) & (left.cell == cell)).any()
        assert left[value].notna().any()
    curation.unlink()
    inspected = folder / "fov_001/small_fov_001_traces_inspected.csv"
    pd.read_csv(folder / "fov_001/small_fov_001_traces.csv").assign(good=False).to_csv(inspected, index=False)
    outcome = checkout.run(None)
    assert set(outcome.jobs) == {"apply_curation", *again}
    assert exported(1) == set()
    assert set(pd.read_csv(folder / "small_traces.csv").fov) == {0}
    inspected.unlink()
    assert set(checkout.run(None).jobs) == again
    assert exported(1) == set(table.cell[table.fov == 1])
    assert (folder / "b_area_ch_0.csv").read_bytes() == before


def test_types_of_an_empty_fov_do_not_matter(tmp_path):
    path = tmp_path / "d_fov_000_traces.csv"
    path.write_text("fov,cell,frame,good,position_x\n")
    out = [str(tmp_path / name) for name in ("t.csv", "t.parquet")]
    settings = {"samples": {}, "times_min": [[0.0]], "missing": {"3": "failed"}}
    lineage.write_lineage(tmp_path / "l.csv", 0, {}, [])
    tidy_traces.main([str(path)], *out, [], [str(tmp_path / "l.csv")], dataset="d", **settings)
    table = pq.read_table(out[1])
    assert {str(table.schema.field(name).type) for name in ("cell", "parent", "division_frame")} == {"int64"}
    assert table.schema.metadata[b"missing_fovs"] == b"3 (failed)"
    assert pd.read_csv(out[0]).columns.tolist() == table.column_names


@pytest.mark.parametrize("corrected", [{}, {"parent": [4], "division_frame": [3]}])
def test_every_row_says_where_its_cell_came_from(tmp_path, corrected):
    """Whether the traces of a FOV have these columns, as those of a corrected one, or not."""
    tables = {fov: [str(tmp_path / f"d_fov_00{fov}_{name}.csv") for name in ("traces", "lineage")] for fov in (0, 1)}
    for fov, (traces, table) in tables.items():
        columns = {"fov": [fov], "cell": [7], "frame": [0], "good": [True], "x": [1.5], **(corrected if fov else {})}
        pd.DataFrame(columns).to_csv(traces, index=False)
        divisions = [lineage.Division(4, (7, 8), 3)] if fov else []
        lineage.write_lineage(Path(table), fov, {4: (0, 2), 7: (3, 5), 8: (3, 5)}, divisions)
    out = [str(tmp_path / name) for name in ("t.csv", "t.parquet")]
    settings = {"samples": {}, "times_min": [[0.0], [0.0]], "missing": {}}
    traces, lineages = zip(*tables.values(), strict=True)
    tidy_traces.main(traces, *out, [], lineages, dataset="d", **settings)
    for table in (pd.read_csv(out[0]), pq.read_table(out[1]).to_pandas()):
        assert list(table.columns)[-3:] == ["x", "parent", "division_frame"]
        assert table[["parent", "division_frame"]].isna().all(axis=1).tolist() == [True, False]
        assert table.loc[1, ["parent", "division_frame"]].tolist() == [4, 3]
    assert Path(out[0]).read_text().splitlines()[1:] == ["d,,0,7,0,0.0,1.5,NaN,NaN", "d,,1,7,0,0.0,1.5,4,3"]
