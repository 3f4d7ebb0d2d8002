"""Write traces as AnnData (.h5ad), one row per cell and frame and one column per feature, for scanpy and its kin.

The layout of the file is AnnData's specification 0.1.0 / 0.2.0 (encoding-type and encoding-version of each element).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celltraces.exports.fov import Fov, traces_of_good_cells
from celltraces.files import whole
from celltraces.labels.lineage import TRACE_COLUMNS
from celltraces.storage.hdf5 import new_file, new_group

if TYPE_CHECKING:
    import h5py
    import pandas as pd


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write the traces of the FOV as one .h5ad."""
    traces = traces_of_good_cells(fov)
    for at, name in enumerate(TRACE_COLUMNS):
        traces[name] = traces["cell"].map({cell: origin[at] for cell, origin in fov.origins.items()}).astype(float)
    write_anndata(outputs[0], traces, fov.settings["times_min"])


def write_anndata(path: Path, traces: pd.DataFrame, times_min: Sequence[float]) -> None:
    """Write a traces table; `times_min`: the time of each frame."""
    features = [name for name in traces.columns if "_ch_" in name]
    described = traces.drop(columns=features)
    described.insert(3, "time_min", np.array(times_min, float)[traces["frame"].to_numpy(np.int64)])
    names = [f"fov {fov} cell {cell} frame {frame}" for fov, cell, frame in traces[["fov", "cell", "frame"]].to_numpy()]
    with whole(path) as partial, new_file(partial) as file:
        _mark(file, "anndata", "0.1.0")
        matrix = traces[features].to_numpy(np.float64)
        _mark(file.create_dataset("X", data=matrix, track_times=False), "array", "0.2.0")
        _frame(file, "obs", names, {name: described[name].to_numpy() for name in described.columns})
        _frame(
            file, "var", features, {"channel": np.array([int(name.rpartition("_")[2]) for name in features], np.int64)}
        )
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            _mark(new_group(file, name), "dict", "0.1.0")


def _frame(file: h5py.File, name: str, index: Sequence[str], columns: dict[str, np.ndarray]) -> None:
    group = new_group(file, name)
    _mark(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = _texts(list(columns))
    _mark(group.create_dataset("_index", data=_texts(index), track_times=False), "string-array", "0.2.0")
    for column, values in columns.items():
        _mark(group.create_dataset(column, data=values, track_times=False), "array", "0.2.0")


def _texts(values: Sequence[str]) -> np.ndarray:
    import h5py

    return np.array(values, h5py.string_dtype("utf-8"))


def _mark(element: Any, kind: str, version: str) -> None:
    element.attrs["encoding-type"], element.attrs["encoding-version"] = kind, version
