"""List the export formats: for each its files, what it is made of, and the module that writes it.

Each module has `export(fov, outputs)`, which writes the outputs from a `celltraces.exports.fov.Fov`.
"""

from __future__ import annotations

from dataclasses import dataclass

CHANNELS, LABELS, EARLIER, CELLS, TRACES = "channels", "labels", "earlier", "cells", "traces"
LABELS_IF_ANY = "labels_if_any"
SCALES = ("channels", "pixel_size_um", "times_min")


@dataclass(frozen=True)
class Format:
    """One format.

    `outputs`: below the FOV's folder; {base} is {dataset}_fov_{fov}, {array} stands for each array of images.zarr,
    {raw} for each raw channel, {light} for each of them but the phase contrast.
    `needs`: the raw channels, the final labels of cells, the labels of single frames and the backgrounds, the crops of
    the cells, the traces.
    `settings`: what it depends on besides, see `export_settings` in planning/exports.py.
    """

    outputs: tuple[str, ...]
    needs: tuple[str, ...]
    settings: tuple[str, ...] = ()
    folder: bool = False
    module: str = ""  # where it is not `exports.{name}`: its name below the package


FORMATS = {
    "pyama_files": Format(
        ("{base}_{array}.npy", "{base}_crops.h5"), needs=(CHANNELS, LABELS, EARLIER), settings=("crop_padding",)
    ),
    "deepcell_label": Format(
        ("exports/{base}.zip", "exports/{base}.sha256.json"),
        needs=(CHANNELS, LABELS),
        settings=("pixel_size_um", "source"),
    ),
    "deepcell_trk": Format(("exports/{base}.trk",), needs=(CHANNELS, LABELS, TRACES), settings=("times_min",)),
    "ome_tiff": Format(("exports/{base}.ome.tif",), needs=(CHANNELS,), settings=SCALES),
    # Folders stand one level below the rule's output: Snakemake puts a file of its own into a folder that is an output.
    "ctc": Format(("exports/ctc",), needs=(CHANNELS, LABELS, TRACES), settings=("times_min",), folder=True),
    "geff": Format(("exports/geff",), needs=(LABELS, TRACES), settings=("pixel_size_um", "times_min"), folder=True),
    "trackmate": Format(
        ("exports/{base}_trackmate.xml",), needs=(LABELS, TRACES), settings=("pixel_size_um", "times_min")
    ),
    **{
        f"playnano_{kind}": Format(
            (f"exports/{{base}}_{{raw}}_playnano.{suffix}",),
            needs=(CHANNELS, LABELS_IF_ANY, EARLIER),
            settings=("channels", "pixel_size_um", "times_min", "steps", "source"),
            module="exports.playnano",
        )
        for kind, suffix in (("npz", "npz"), ("h5", "h5"), ("tif", "ome.tif"))
    },
    "gif": Format(
        ("exports/{base}_{raw}.gif",),
        needs=(CHANNELS, LABELS_IF_ANY),
        settings=("pixel_size_um", "times_min", "gif_fps", "gif_scale_bar_um", "gif_outlines"),
    ),
    "pyme_h5": Format(("exports/{base}_pyme.h5",), needs=(CHANNELS,), settings=SCALES, module="pyme.images"),
    "pyme_tif": Format(
        tuple(f"exports/{{base}}_pyme.{ending}" for ending in ("tif", "json", "md", "xml")),
        needs=(CHANNELS,),
        settings=SCALES,
        module="pyme.images",
    ),
    "pyme_pzf": Format(("exports/pyme_pzf",), needs=(CHANNELS,), settings=SCALES, folder=True, module="pyme.images"),
    "pyme_traces": Format(
        ("exports/{base}_traces.hdf",), needs=(TRACES,), settings=("pixel_size_um", "times_min"), module="pyme.tables"
    ),
    "pyme_spots": Format(
        ("exports/{base}_{light}.h5r",),
        needs=(CHANNELS, CELLS, TRACES),
        settings=(
            *("pixel_size_um", "times_min"),
            *("background_weight", "mask_margin", "particle_sigma", "particle_threshold"),
        ),
        module="pyme.tables",
    ),
    "anndata": Format(("exports/{base}.h5ad",), needs=(TRACES,), settings=("times_min",)),
}

# What each is, in a few words.
TITLES = {
    "pyama_files": "the tree of PyAMA",
    "deepcell_label": "a project of DeepCell Label",
    "deepcell_trk": "a file of deepcell-tracking",
    "ome_tiff": "OME-TIFF, for Fiji, Bio-Formats, napari",
    "ctc": "folders of the Cell Tracking Challenge",
    "geff": "a graph of cells and divisions, for motile and napari",
    "trackmate": "XML of TrackMate in Fiji",
    "playnano_npz": "numpy archives of playNano",
    "playnano_h5": "HDF5 of playNano",
    "playnano_tif": "OME-TIFF of playNano",
    "gif": "movies for talks",
    "pyme_h5": "a spool of PYME",
    "pyme_tif": "TIFF with the metadata of PYME",
    "pyme_pzf": "frames of PYME, Huffman coded",
    "pyme_traces": "a table of PYMEVisualize",
    "pyme_spots": "spots with fits, for PYMEVisualize",
    "anndata": "tables of anndata, for scanpy",
}

# Names that stand for several formats.
GROUPS = {"playnano": ("playnano_npz", "playnano_h5"), "pyme": ("pyme_h5", "pyme_traces")}


def formats_of(name: str) -> tuple[str, ...]:
    """The formats that a name in `exports` stands for."""
    return GROUPS.get(name, (name,))


def module_of(name: str) -> str:
    """Dotted name of the module that writes a format."""
    return f"celltraces.{FORMATS[name].module or f'exports.{name}'}"


def module_file(name: str) -> str:
    """That module's file, below scripts/."""
    return module_of(name).replace(".", "/") + ".py"
