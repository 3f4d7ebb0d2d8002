"""Merged tables: rows that are not good are left out, times come from each FOV's own frames."""

import pandas as pd

from merge_samples import merge_traces


def test_good_rows_with_the_times_of_their_own_fov():
    columns = {"frame": [0, 2, 0, 2], "cell": [7, 7, 9, 9], "good": [True, True, False, True], "x": [1.5, 2, 3, 4]}
    tables = [pd.DataFrame({**columns, "fov": fov}) for fov in (3, 1)]
    merged = merge_traces(tables, [[0.0, 10.0, 21.0], [0.5, 10.5, 21.0]], "x")
    assert merged.to_numpy().tolist() == [
        [0.0, 3, 7, 1.5],
        [0.5, 1, 7, 1.5],
        [21.0, 1, 7, 2.0],
        [21.0, 1, 9, 4.0],
        [21.0, 3, 7, 2.0],
        [21.0, 3, 9, 4.0],
    ]


def test_a_fov_without_cells():
    empty = pd.DataFrame(columns=["fov", "cell", "frame", "good", "x"])
    assert list(merge_traces([empty], [[0.0]], "x").columns) == ["time", "fov", "cell", "value"]
    assert len(merge_traces([empty], [[0.0]], "x")) == 0
