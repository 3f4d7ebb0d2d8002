"""Runs in a peer's environment: `python load.py geff PATH` prints as JSON what the peer reads in a file."""

import json
import os
import sys
import warnings
from pathlib import Path


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
        "in_tables": [[data["cell"], data["t"]] for _, data in graph.nodes(data=True) if data["in_tables"]],
    }


def trackmate(path):
    """The reader for TrackMate files of pycellin."""
    import pycellin

    model = pycellin.load_TrackMate_XML(path)
    nodes, edges, in_tables = [], [], []
    for lineage in model.data.cell_data.values():
        in_tables += [[data["CELL"], data["timepoint"]] for _, data in lineage.nodes(data=True) if data["IN_TABLES"]]
        found = {node: [data["CELL"], data["timepoint"]] for node, data in lineage.nodes(data=True)}
        nodes += found.values()
        edges += [[found[a], found[b]] for a, b in lineage.edges]
    return {"nodes": nodes, "edges": edges, "in_tables": in_tables}


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


def pyme_images(path):
    """An image file with PYME: pixels as [frame][channel][x][y], times by its own mapping, names, voxel size."""
    import numpy as np
    from PYME.Analysis.piecewiseMapping import frames_to_times
    from PYME.IO.image import ImageStack

    image = ImageStack(filename=path, haveGUI=False)
    data = image.data_xyztc
    n_frames, n_channels = data.shape[3:]
    seen = {"shape": data.shape, "names": image.names, "voxelsize_nm": image.voxelsize_nm[:2]}
    planes = [[np.squeeze(data[:, :, 0, t, c]) for c in range(n_channels)] for t in range(n_frames)]
    seen["pixels"] = np.array(planes).tolist()
    if path.endswith(".h5"):
        from PYME.IO.DataSources import HDFDataSource

        source = HDFDataSource.DataSource(path)
        seen["dtype"] = str(source.getSlice(0).dtype)
        seen["times"] = frames_to_times(np.arange(n_frames * n_channels), source.getEvents(), source.mdh).tolist()
    return seen


def pyme_metadata(path):
    """Entries of a metadata file, or of the metadata inside an HDF5 file, each with the name of its type."""
    from PYME.IO import MetaDataHandler

    if path.endswith(".json"):
        found = MetaDataHandler.load_json(path)
    elif path.endswith(".md"):
        found = MetaDataHandler.SimpleMDHandler(path)
    elif path.endswith(".xml"):
        found = MetaDataHandler.XMLMDHandler(path)
    else:
        import tables

        found = MetaDataHandler.HDFMDHandler(tables.open_file(path))
    values = {name: found.getEntry(name) for name in found.getEntryNames()}
    values = {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
    return {name: [type(value).__name__, value] for name, value in values.items()}


def pyme_traces(path):
    from PYME.IO import tabular

    table = tabular.HDFSource(path, "Traces")
    return {name: table[name].tolist() for name in list(table.keys())}


def pyme_spots(path):
    """What PYMEVisualize works with."""
    from PYME.IO import tabular

    table = tabular.H5RSource(path)
    return {name: table[name].tolist() for name in ("t", "x", "y", "A", "sig", "error_x", "error_y")}


def pyme_pzf(path):
    """All frames of a folder: shape, type and pixels, and the number in the header."""
    from pathlib import Path

    from PYME.IO import PZFFormat

    found = [PZFFormat.loads(file.read_bytes()) for file in sorted(Path(path).glob("*.pzf"))]
    return [[str(data.dtype), data[:, :, 0].tolist(), int(header["FrameNum"].item())] for data, header in found]


def pyme_shifts(path):
    """Displacements of channel 1 at some places, by the program's own reading of an .sf; and one of its own making."""
    import pickle

    import numpy as np
    from PYME.Analysis.points import multiview
    from PYME.Analysis.points.twoColour import lin3Model

    x, y = np.mgrid[0:60000:9000, 0:50000:7000].astype(float).reshape(2, -1)
    places = {"x": x, "y": y, "multiviewChannel": np.ones(len(x))}
    dx, dy = multiview.calc_shifts_for_points(places, multiview.load_shiftmap(path))
    names = ("x0", "mx", "my", "mx2", "my2", "mxy", "mxy2", "mx2y", "mx3", "my3")
    pair = [lin3Model(dict={name: n * (at + 1.0) for at, name in enumerate(names)}) for n in (1, -2)]
    with open(f"{path}.pickled", "wb") as file:
        pickle.dump(tuple(pair), file, 2)
    own = [model.ev(x, y).tolist() for model in pair]
    return {"places": [x.tolist(), y.tolist()], "seen": [dx.tolist(), dy.tolist()], "own": own}


def pyme_recipe(folder):
    """The result of recipe.yaml on input.npy (H, W), taken with X first; leaves a .psf of its own making."""
    import pickle

    import numpy as np
    from PYME.IO import MetaDataHandler
    from PYME.IO.image import ImageStack
    from PYME.recipes import base, filters, processing  # noqa: F401
    from PYME.recipes.recipe import Recipe

    with open(f"{folder}/recipe.yaml") as file:
        recipe = Recipe.fromYAML(file.read())
    image = ImageStack(np.load(f"{folder}/input.npy").T, haveGUI=False)
    result = recipe.execute(input=image)
    metadata = MetaDataHandler.NestedClassMDHandler()
    metadata["voxelsize.x"], metadata["voxelsize.y"], metadata["voxelsize.z"] = 0.07, 0.07, 0.2
    x, y, z = np.mgrid[-15:16, -15:16, -5:6]
    with open(f"{folder}/own.psf", "wb") as file:
        pickle.dump((np.exp(-(x**2 + y**2) / 8.0 - z**2 / 18.0), metadata.voxelsize), file, 2)
    return np.squeeze(result.data_xyztc[:, :, 0, 0, 0]).T.astype(float).tolist()


def pyme_write(folder):
    """A spool of PYME's own making, and what is in it: frames, metadata, events, and frames of each compression."""
    import shutil

    import numpy as np
    import tables
    from PYME.IO import MetaDataHandler, PZFFormat
    from PYME.IO.events import SpoolEvent

    frames = np.random.default_rng(0).poisson(300, (6, 12, 9)).astype(np.uint16)
    with tables.open_file(f"{folder}/spool.h5", "w") as file:
        filters = tables.Filters(6, "zlib", shuffle=True)
        data = file.create_earray(
            file.root, "ImageData", tables.UInt16Atom(), (0, 12, 9), filters=filters, chunkshape=(1, 12, 9)
        )
        for frame in frames:
            data.append(frame[None])
        for name, value in {"DimOrder": "XYCZT", "SizeC": 2, "SizeZ": 1, "SizeT": 3}.items():
            setattr(data.attrs, name, value)
        metadata = MetaDataHandler.HDFMDHandler(file)
        for name, value in {
            **{"voxelsize.x": 0.107, "Camera.ROIWidth": 12, "Camera.ROIHeight": 9, "Camera.CycleTime": 0.5},
            **{"ChannelNames": ["a", "b"], "StartTime": 1e9, "Empty": "", "On": True, "Word": "grün"},
        }.items():
            metadata.setEntry(name, value)
        file.create_table(file.root, "Events", SpoolEvent).append([("3", "StartAq", 1e9 + 60)])
    shutil.copy(f"{folder}/spool.h5", f"{folder}/old.h5")
    with tables.open_file(f"{folder}/old.h5", "a") as file:  # spools of some years ago have another type of times
        file.remove_node("/Events")
        columns = {"EventName": tables.StringCol(32), "Time": tables.Time64Col(), "EventDescr": tables.StringCol(256)}
        file.create_table(file.root, "Events", columns).append([("3", "StartAq", 1e9 + 60)])
    kinds = {"raw": PZFFormat.DATA_COMP_RAW, "huffman": PZFFormat.DATA_COMP_HUFFCODE}
    for name, kind in kinds.items():
        packed = PZFFormat.dumps(frames[0], sequenceID=1, frameNum=5, compression=kind)
        with open(f"{folder}/{name}.pzf", "wb") as file:
            file.write(packed)
    quantized = PZFFormat.dumps(
        frames[0],
        sequenceID=1,
        frameNum=5,
        compression=PZFFormat.DATA_COMP_HUFFCODE,
        quantization=PZFFormat.DATA_QUANT_SQRT,
        quantizationOffset=0,
        quantizationScale=1,
    )
    with open(f"{folder}/rounded.pzf", "wb") as file:
        file.write(quantized)
    return {"frames": frames.tolist(), "rounded": PZFFormat.loads(quantized)[0][:, :, 0].tolist()}


def btrack(folder):
    """For each frame label -> ID, as `tracking_method: btrack` gives them for folder/labels.npy (T, H, W)."""
    import numpy as np

    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    from celltraces.tracking.btrack_method import btrack_track

    frames = np.load(f"{folder}/labels.npy")
    return [dict(zip(m.labels.tolist(), m.ids.tolist(), strict=True)) for m in btrack_track(frames, max_gap=3)]


def cellpose(folder):
    """Labels of folder/image.npy by `segmentation_method: cellpose`, in folder/labels.npy; (method, what it takes).

    The weights are the original ones ("cyto") that the package scellseg ships, whose layers have other names there.
    """
    import tarfile

    import cv2
    import numpy as np
    import torch
    from cellpose.resnet_torch import CPnet

    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    from celltraces.segmentation.cellpose_method import cellpose_segmenter

    cv2.setNumThreads(1)  # as the rule does; the network is to keep to it
    with tarfile.open(next(Path(sys.prefix).glob("scellseg-*.tar.gz"))) as archive:
        name = next(name for name in archive.getnames() if name.endswith("/pretrained_models/cellpose"))
        shipped = torch.load(archive.extractfile(name), map_location="cpu", weights_only=True)
    weights = CPnet([2, 32, 64, 128, 256], 3, sz=3).state_dict()
    for key, values in shipped.items():
        here = (
            key.replace("extractor.", "").replace("tasker.base_bn", "output.0").replace("tasker.base_conv", "output.2")
        )
        assert weights[here].shape == values.shape
        weights[here] = values
    torch.save(weights, f"{folder}/cyto")
    torch.save(shipped, f"{folder}/other_names")
    torch.save({name.replace("res_down_1", "down_1"): values for name, values in weights.items()}, f"{folder}/partly")
    segment = cellpose_segmenter(30, f"{folder}/cyto", 30.0)
    labels = segment(np.load(f"{folder}/image.npy"))
    np.save(f"{folder}/labels.npy", labels)
    even = segment(np.full((40, 50), 700, np.uint16))
    refused = {}
    for given in ("none", *(f"{folder}/{name}" for name in ("image.npy", "other_names", "partly"))):
        try:
            cellpose_segmenter(30, given, 30.0)
        except Exception as error:
            refused[given] = [type(error).__name__, str(error)]
    return {
        "dtype": str(labels.dtype),
        "even": [even.shape, int(even.max())],
        "threads": torch.get_num_threads(),
        "again": bool((segment(np.load(f"{folder}/image.npy")) == labels).all()),
        "refused": refused,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    stdout = os.dup(1)
    os.dup2(2, 1)  # peers print, some of them in C
    answer = globals()[sys.argv[1]](sys.argv[2])
    with open(stdout, "w") as file:
        json.dump(answer, file, default=float)
