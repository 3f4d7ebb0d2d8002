"""What the curation page shows of a FOV, and what the tables say of it after a run, for comparison."""

import numpy as np
import pandas as pd

from celltraces.curate import browse
from celltraces.curate.decide import Author
from celltraces.curate.views import Results


def open_results(folder, author="anna"):
    """Results as the server has them."""
    found = Results(folder, Author(folder / "edits", author), "snakemake --cores 2")
    found.look_again()
    return found


def decide(results, dataset, fov, op, **fields):
    """Save a decision as the page does; its id."""
    return browse.save_decision(results, {"dataset": dataset, "fov": fov, "op": op, **fields})["id"]


def shown(results, dataset, fov):
    """What the page says the tables will have: {(cell, frame)} of the rows, {cell: (parent, division frame)}."""
    now = browse.cells_now(results, dataset, fov)
    cells, valid = now["cells"], browse.boxes(results, dataset, fov)[..., 2] > 0
    excluded = {tuple(pair) for pair in now["excluded"]}
    rows = {
        (cell, frame)
        for cell, there, state in zip(cells["n"], valid, cells["state"], strict=True)
        for frame in np.flatnonzero(there).tolist()
        if state == "kept" and (cell, frame) not in excluded and frame not in now["excluded_frames"]
    }
    descent = zip(cells["n"], cells["parent"], cells["division_frame"], strict=True)
    return rows, {cell: (parent, frame) for cell, parent, frame in descent if parent is not None}


def check_tables(results, dataset, fov):
    """Assert that the tables of a run, and its table of the lineage, say what the page shows."""
    rows, descent = shown(results, dataset, fov)
    folder = results.folder / dataset
    tidy = pd.read_csv(folder / f"{dataset}_traces.csv").query("fov == @fov")
    assert {*zip(tidy.cell, tidy.frame, strict=True)} == rows
    parents = tidy[["cell", "parent", "division_frame"]].dropna().drop_duplicates().astype(int)
    in_tables = {cell: origin for cell, origin in descent.items() if cell in {*tidy.cell}}
    assert {cell: (parent, frame) for cell, parent, frame in parents.itertuples(index=False)} == in_tables
    lineage = pd.read_csv(folder / f"fov_{fov:03d}/{dataset}_fov_{fov:03d}_lineage_edited.csv")
    born = lineage[["cell", "parent", "division_frame"]].dropna().astype(int)
    assert {cell: (parent, frame) for cell, parent, frame in born.itertuples(index=False)} == descent
    now = browse.cells_now(results, dataset, fov)["cells"]
    assert (
        lineage[["cell", "first_frame", "last_frame"]].to_numpy().tolist()
        == np.transpose([now[name] for name in ("n", "first", "last")]).tolist()
    )
