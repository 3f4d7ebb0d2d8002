"""The formats that a FOV can be exported to: where each goes, and what it is made of.

The module formats/{name}.py has `export(fov, outputs)`, which writes the outputs from a `formats.fov.Fov`.
"""

from __future__ import annotations

from dataclasses import dataclass

CHANNELS, LABELS, STAGES, TRACES = "channels", "labels", "stages", "traces"


@dataclass(frozen=True)
class Format:
    """One format.

    `outputs`: below the FOV's folder; {base} is {dataset}_fov_{fov}, {array} stands for each array of images.zarr.
    `needs`: the raw channels, the final labels of cells, the labels of single frames and the backgrounds, the traces.
    `settings`: what it depends on besides, see `export_settings` in rules/common.smk.
    """

    outputs: tuple[str, ...]
    needs: tuple[str, ...]
    settings: tuple[str, ...] = ()
    folder: bool = False


FORMATS = {
    "pyama_files": Format(
        ("{base}_{array}.npy", "{base}_crops.h5"), needs=(CHANNELS, LABELS, STAGES), settings=("crop_padding",)
    ),
    "deepcell_label": Format(
        ("exports/{base}.zip", "exports/{base}.sha256.json"),
        needs=(CHANNELS, LABELS),
        settings=("pixel_size_um", "source"),
    ),
    "deepcell_trk": Format(("exports/{base}.trk",), needs=(CHANNELS, LABELS)),
    "ome_tiff": Format(
        ("exports/{base}.ome.tif",), needs=(CHANNELS,), settings=("channels", "pixel_size_um", "times_min")
    ),
    # Folders stand one level below the rule's output: Snakemake puts a file of its own into a folder that is an output.
    "ctc": Format(("exports/ctc",), needs=(CHANNELS, LABELS), folder=True),
    "geff": Format(("exports/geff",), needs=(LABELS,), settings=("pixel_size_um", "times_min"), folder=True),
    "trackmate": Format(("exports/{base}_trackmate.xml",), needs=(LABELS,), settings=("pixel_size_um", "times_min")),
    "anndata": Format(("exports/{base}.h5ad",), needs=(TRACES,), settings=("times_min",)),
}
