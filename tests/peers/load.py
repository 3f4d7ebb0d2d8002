"""Runs in a peer's environment: `python load.py geff PATH` prints as JSON what the peer reads in a file."""

import json
import sys
import warnings


def geff(path):
    """All checks of the format's own validator; nodes (cell, frame, y, x, area) and edges."""
    from geff import read, validate_structure
    from geff.validate.data import ValidationConfig

    validate_structure(path)
    graph, metadata = read(
        path, structure_validation=True, data_validation=ValidationConfig(graph=True, lineage=True, tracklet=True)
    )
    names = ("cell", "t", "y", "x", "area")
    nodes = {node: [float(data[name]) for name in names] for node, data in graph.nodes(data=True)}
    axes = [[axis.name, axis.unit, axis.scale, axis.scaled_unit] for axis in metadata.axes]
    return {
        "nodes": list(nodes.values()),
        "edges": [[nodes[a][:2], nodes[b][:2]] for a, b in graph.edges],
        "axes": axes,
    }


def trackmate(path):
    """The reader for TrackMate files of pycellin."""
    import pycellin

    model = pycellin.load_TrackMate_XML(path)
    nodes, edges = [], []
    for lineage in model.data.cell_data.values():
        found = {node: [data["CELL"], data["timepoint"]] for node, data in lineage.nodes(data=True)}
        nodes += found.values()
        edges += [[found[a], found[b]] for a, b in lineage.edges]
    return {"nodes": nodes, "edges": edges}


def ctc(path):
    """The validator of py-ctcmetrics, and pycellin's reader."""
    import pycellin
    from ctc_metrics.scripts.validate import validate_sequence

    model = pycellin.load_CTC_file(f"{path}/01_RES/res_track.txt")
    sizes = sorted([len(lineage), lineage.number_of_edges()] for lineage in model.data.cell_data.values())
    return {"valid": validate_sequence(f"{path}/01_RES")["Valid"], "lineages": sizes}


def anndata(path):
    from anndata import read_h5ad

    table = read_h5ad(path)
    return {
        "shape": table.shape,
        "var": table.var_names.tolist(),
        "obs": table.obs.to_dict("list"),
        "X": table.X.tolist(),
    }


def playnano(path):
    """The program's own loader: its stack, layers, masks and provenance, as sums and names."""
    from pathlib import Path

    from playnano.io.loader import load_afm_stack

    stack = load_afm_stack(Path(path))
    layers = {**stack.processed, **stack.masks}
    return {
        "shape": stack.data.shape,
        "data": stack.data.tolist(),
        "layers": {key: [str(array.dtype), array.astype(float).tolist()] for key, array in layers.items()},
        "pixel_size_nm": stack.pixel_size_nm,
        "channel": stack.channel,
        "times": [float(time) for time in stack.get_frame_times()],
        "steps": [step["name"] for step in stack.provenance["processing"]["steps"]],
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    stdout, sys.stdout = sys.stdout, sys.stderr  # peers print
    answer = globals()[sys.argv[1]](sys.argv[2])
    json.dump(answer, stdout, default=float)
