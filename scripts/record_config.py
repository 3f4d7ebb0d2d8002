"""Write processing_config.yaml: params, channels and fits exactly as run, and the provenance of the data."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from celltraces.files import write_text
from celltraces.runs import job

# What the stages of every run import; a test compares this with the imports.
EVERY_RUN = ("snakemake", "numpy", "scipy", "opencv-python-headless", "numcodecs", "google-crc32c", "pandas", "pyarrow")
EVERY_RUN += ("pyyaml", "pillow", "plotly", "jinja2")
# What some import, by the format of the input and by the methods of segmentation and tracking.
READERS = {"nd2": ("nd2",), "czi": ("aicspylibczi", "pylibCZIrw"), "pyme": ("h5py",)}
READERS |= {"ome-zarr": ("zarr",), "lif": ("liffile",)}
READERS |= dict.fromkeys(("ome-tiff", "imagej", "tiff", "tiff files", "metamorph", "micro-manager"), ("tifffile",))
NETWORK = ("onnx", "onnxruntime", "scikit-image")
METHODS = {"cellpose": ("cellpose", "torch"), "btrack": ("btrack",), "deepsea": ("deepsea", *NETWORK), ".onnx": NETWORK}


def packages_of(record: Mapping[str, Any]) -> set[str]:
    """The packages that this run imports. (Which of the two for CZI has read the planes is in the log of `copy`.)"""
    params = record["params"]
    methods = (params.get("segmentation_method"), params.get("tracking_method"))
    methods = [".onnx" if str(method).endswith(".onnx") else method for method in methods]
    found = {*EVERY_RUN, *READERS.get(record["provenance"]["input"]["format"], ())}
    return found.union(*(METHODS.get(method, ()) for method in methods))


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Their versions in the environment of this job, sorted by name; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in sorted(packages, key=str.lower):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def record_text(record: Mapping[str, Any]) -> str:
    """The file's content: the plan's record with the versions of the software added."""
    software = {"python": platform.python_version(), **versions(packages_of(record))}
    provenance = {**record["provenance"], "software": software}
    ordered = {**{key: record[key] for key in ("params", "channels", "fits")}, "provenance": provenance}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))


class _Dumper(yaml.SafeDumper):
    """Writes a list of numbers or names, as the times of all frames, in one line."""

    def represent_list(self, data: list[Any]) -> yaml.Node:
        flow = not any(isinstance(item, (list, dict)) for item in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _Dumper.represent_list)


def main(output: str, record: Mapping[str, Any]) -> None:
    write_text(Path(output), record_text(record))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.output.record, **settings)
