"""processing_config.yaml: params, channels and fits exactly as run, and the provenance of the data."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from pyama import job
from pyama.files import write_text

PACKAGES = (
    "snakemake",
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "numcodecs",
    "nd2",
    "pylibCZIrw",
)


def record_text(record: Mapping[str, Any]) -> str:
    """The file's content: the plan's record with the versions of the software added."""
    software = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    provenance = {**record["provenance"], "software": software}
    ordered = {**{key: record[key] for key in ("params", "channels", "fits")}, "provenance": provenance}
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120)


def main(output: str, record: Mapping[str, Any]) -> None:
    write_text(Path(output), record_text(record))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.output.record, **settings)
